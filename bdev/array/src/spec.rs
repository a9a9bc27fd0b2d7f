//! What an array is made from, and why it may not be.
//!
//! Not here: making it (`raid_bdev`).

use device::{Bdev, OpenError};
use parity::UnknownKernel;
use raid::geometry::{Geometry, GeometryError, GeometrySpec};
use raid::layout::{Layout, Level};
use raid::units::Slot;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use uuid::Uuid;

/// What an array is made from.
#[derive(Debug, Clone)]
pub struct RaidSpec {
    /// Name of the bdev.
    pub name: String,
    /// Its UUID; a random one if none is given.
    pub uuid: Option<Uuid>,
    /// Level.
    pub level: Level,
    /// Layout of that level.
    pub layout: Layout,
    /// Strip size in bytes.
    pub strip_bytes: u32,
    /// Members by slot; `None` where one is missing.
    pub members: Vec<Option<Arc<dyn Bdev>>>,
    /// Where the array's data begins on each member, by slot.
    pub data_offsets_bytes: Vec<u64>,
    /// Parity is known to match data: no initial resync (mdadm's `--assume-clean`).
    pub assume_clean: bool,
}

/// Why an array could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Geometry: level, layout, number of members, strip size.
    #[error("raid bdev {name}: {source}")]
    Geometry {
        /// The array.
        name: String,
        /// What is wrong.
        source: GeometryError,
    },
    /// No member at all is there to take the size from.
    #[error("raid bdev {name}: none of its {members} members is present; give at least {needed}")]
    NoMember {
        /// The array.
        name: String,
        /// Members asked for.
        members: usize,
        /// Members needed.
        needed: usize,
    },
    /// More members are missing than the level can do without.
    #[error(
        "raid bdev {name}: {missing} of {members} members are missing; {level} can do without {allowed}"
    )]
    TooManyMissing {
        /// The array.
        name: String,
        /// Missing members.
        missing: usize,
        /// All members.
        members: usize,
        /// The level.
        level: Level,
        /// Most that may be missing.
        allowed: usize,
    },
    /// The same bdev twice.
    #[error(
        "raid bdev {name}: base bdev {member} stands in slots {first} and {second}; each member must be a bdev of its own"
    )]
    DuplicateMember {
        /// The array.
        name: String,
        /// The member.
        member: String,
        /// First slot.
        first: usize,
        /// Second slot.
        second: usize,
    },
    /// A member has no room for a single strip.
    #[error(
        "raid bdev {name}: base bdev {member} has {size_bytes} bytes, too few: its data offset of {offset_bytes} and one strip take {needed_bytes}"
    )]
    MemberTooSmall {
        /// The array.
        name: String,
        /// The member.
        member: String,
        /// Its size.
        size_bytes: u64,
        /// Its data offset.
        offset_bytes: u64,
        /// The least that would do.
        needed_bytes: u64,
    },
    /// Members differ in size.
    #[error(
        "raid bdev {name}: base bdev {member} holds {strips} strips and {other} holds {other_strips}; members must be equal in size after their data offsets"
    )]
    UnequalMembers {
        /// The array.
        name: String,
        /// One member.
        member: String,
        /// Its strips.
        strips: u64,
        /// Another member.
        other: String,
        /// Its strips.
        other_strips: u64,
    },
    /// As many data offsets as members are needed.
    #[error("raid bdev {name}: {offsets} data offsets for {members} members; give one for each")]
    DataOffsets {
        /// The array.
        name: String,
        /// Offsets given.
        offsets: usize,
        /// Members.
        members: usize,
    },
    /// No reactor to run on.
    #[error("raid bdev {name}: there is no reactor to run it on; start at least one")]
    NoReactor {
        /// The array.
        name: String,
    },
    /// A reactor stopped meanwhile.
    #[error("raid bdev {name}: reactor {reactor} is stopped")]
    Stopped {
        /// The array.
        name: String,
        /// The reactor.
        reactor: usize,
    },
    /// A member's channel could not be opened.
    #[error("raid bdev {name}: {source}")]
    Open {
        /// The array.
        name: String,
        /// What is wrong.
        source: OpenError,
    },
    /// No memory for scratch buffers.
    #[error("raid bdev {name}: no memory for the buffers of its shard: {source}")]
    Memory {
        /// The array.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// `RAID456_PARITY` names no kernel that this CPU has.
    #[error("raid bdev {name}: RAID456_PARITY: {source}")]
    Kernel {
        /// The array.
        name: String,
        /// What is wrong.
        source: UnknownKernel,
    },
}

impl CreateError {
    /// The number that SPDK would answer with, negative as there.
    #[must_use]
    pub fn errno(&self) -> i32 {
        const EINVAL: i32 = -22;
        const ENODEV: i32 = -19;
        const ENOMEM: i32 = -12;
        match self {
            Self::Geometry { .. }
            | Self::NoMember { .. }
            | Self::TooManyMissing { .. }
            | Self::DuplicateMember { .. }
            | Self::MemberTooSmall { .. }
            | Self::UnequalMembers { .. }
            | Self::DataOffsets { .. }
            | Self::Kernel { .. } => EINVAL,
            Self::NoReactor { .. } | Self::Stopped { .. } => ENODEV,
            Self::Memory { .. } => ENOMEM,
            Self::Open { source, .. } => source.errno(),
        }
    }
}

/// Why a member could not be taken out of an array.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is no such slot, or no member in it.
    #[error("raid bdev {name}: slot {slot} has no member; members are in slots {present:?}")]
    NoMember {
        /// The array.
        name: String,
        /// The slot.
        slot: usize,
        /// Slots with a member.
        present: Vec<usize>,
    },
    /// The array cannot do without.
    #[error(
        "raid bdev {name}: {missing} of its members are missing; {level} can do without {allowed} and not one more"
    )]
    NotRedundant {
        /// The array.
        name: String,
        /// Missing members.
        missing: usize,
        /// The level.
        level: Level,
        /// Most that may be missing.
        allowed: usize,
    },
    /// Parity does not stand for the data yet.
    #[error(
        "raid bdev {name}: {unsynced} of {regions} regions are not in sync; wait until its resync has ended"
    )]
    NotInSync {
        /// The array.
        name: String,
        /// Regions out of sync.
        unsynced: u64,
        /// All regions.
        regions: u64,
    },
    /// It does not come to rest, or is stopped.
    #[error(transparent)]
    Rest(#[from] RestError),
}

impl RemoveError {
    /// The number that SPDK would answer with, negative as there.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoMember { .. } => -19,
            Self::NotRedundant { .. } | Self::NotInSync { .. } => -16,
            Self::Rest(_) => -110,
        }
    }
}

/// Why an array did not come to rest.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// Time ran out with requests in flight.
    #[error("raid bdev {name}: requests are still in flight after {seconds} s; a member may hang")]
    TimedOut {
        /// The array.
        name: String,
        /// The time given.
        seconds: u64,
    },
    /// A reactor is gone, or the array is stopped already.
    #[error("raid bdev {name}: it, or the reactor it runs on, is stopped")]
    Stopped {
        /// The array.
        name: String,
    },
    /// Members could not be flushed at the end.
    #[error("raid bdev {name}: {count} members could not be flushed: the first said {status}")]
    Flush {
        /// The array.
        name: String,
        /// How many.
        count: usize,
        /// What one of them said.
        status: device::IoStatus,
    },
}

/// The geometry that a spec asks for, once its members are found fit.
pub(crate) fn geometry(spec: &RaidSpec) -> Result<Geometry, CreateError> {
    let name = || spec.name.clone();
    let members = spec.members.len();
    if spec.data_offsets_bytes.len() != members {
        let offsets = spec.data_offsets_bytes.len();
        return Err(CreateError::DataOffsets { name: name(), offsets, members });
    }
    check_duplicates(spec)?;
    let block_sizes = spec.members.iter().flatten().map(|member| member.info().block_size_bytes);
    let block_size_bytes = block_sizes.max().unwrap_or(512);
    let shape = |member_bytes| {
        Geometry::new(GeometrySpec {
            level: spec.level,
            layout: spec.layout,
            members,
            strip_bytes: spec.strip_bytes,
            block_size_bytes,
            member_bytes,
            data_offsets_bytes: spec.data_offsets_bytes.clone(),
        })
        .map_err(|source| CreateError::Geometry { name: name(), source })
    };
    // The shape first, with the least size: what it says of a strip size makes more sense than what a
    // wrong strip size says of members.
    shape(u64::from(spec.strip_bytes))?;
    let component_bytes = component_bytes(spec)?;
    let geometry = shape(component_bytes.unwrap_or(u64::from(spec.strip_bytes)))?;
    let missing = spec.members.iter().filter(|member| member.is_none()).count();
    let allowed = geometry.parity_strips();
    if component_bytes.is_none() {
        return Err(CreateError::NoMember { name: name(), members, needed: members - allowed });
    }
    if missing > allowed {
        let level = spec.level;
        return Err(CreateError::TooManyMissing { name: name(), missing, members, level, allowed });
    }
    Ok(geometry)
}

fn check_duplicates(spec: &RaidSpec) -> Result<(), CreateError> {
    let mut seen = BTreeMap::new();
    for (slot, member) in spec.members.iter().enumerate() {
        let Some(member) = member else { continue };
        if let Some(first) = seen.insert(member.info().uuid, slot) {
            return Err(CreateError::DuplicateMember {
                name: spec.name.clone(),
                member: member.info().name.clone(),
                first,
                second: slot,
            });
        }
    }
    Ok(())
}

/// Bytes that every member has for data, in whole strips; `None` when no member is present.
fn component_bytes(spec: &RaidSpec) -> Result<Option<u64>, CreateError> {
    let strip_bytes = u64::from(spec.strip_bytes.max(1));
    let mut found: Option<(u64, &str)> = None;
    for (member, &offset_bytes) in spec.members.iter().zip(&spec.data_offsets_bytes) {
        let Some(member) = member else { continue };
        let info = member.info();
        let size_bytes = info.size_bytes();
        let strips = size_bytes.saturating_sub(offset_bytes) / strip_bytes;
        if strips == 0 {
            return Err(CreateError::MemberTooSmall {
                name: spec.name.clone(),
                member: info.name.clone(),
                size_bytes,
                offset_bytes,
                needed_bytes: offset_bytes.saturating_add(strip_bytes),
            });
        }
        match found {
            Some((other_strips, other)) if other_strips != strips => {
                return Err(CreateError::UnequalMembers {
                    name: spec.name.clone(),
                    member: info.name.clone(),
                    strips,
                    other: other.to_owned(),
                    other_strips,
                });
            }
            _ => found = Some((strips, &info.name)),
        }
    }
    Ok(found.map(|(strips, _)| strips * strip_bytes))
}

/// One member of an array, as it is now.
#[derive(Debug, Clone)]
pub struct MemberSnapshot {
    /// Name of the bdev; `None` where it is missing.
    pub name: Option<String>,
    /// Its UUID.
    pub uuid: Option<Uuid>,
    /// Where the array's data begins on it.
    pub data_offset_bytes: u64,
    /// How much of it holds data.
    pub data_size_bytes: u64,
}

/// How far a resync is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResyncProgress {
    /// Regions in sync.
    pub regions_done: u64,
    /// All regions.
    pub regions: u64,
}

/// An array as it is now.
#[derive(Debug, Clone)]
pub struct RaidSnapshot {
    /// Level.
    pub level: Level,
    /// Layout.
    pub layout: Layout,
    /// Strip size in bytes.
    pub strip_bytes: u32,
    /// Members by slot.
    pub members: Vec<MemberSnapshot>,
    /// The resync that is running, if one is.
    pub resync: Option<ResyncProgress>,
    /// Regions of the dirty log.
    pub regions: u64,
    /// Regions in sync.
    pub regions_in_sync: u64,
    /// Regions with writes under way, or not long ago.
    pub regions_dirty: u64,
    /// Rows of 4 KiB whose parity a resync found wrong.
    pub mismatched_rows: u64,
    /// Work of each shard, by reactor.
    pub shards: Vec<ShardSnapshot>,
}

/// The work of one shard.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShardSnapshot {
    /// Work of the core.
    pub core: raid::event::ShardCounters,
    /// Work of the shell.
    pub shell: crate::shard::ShellCounters,
}

impl RaidSnapshot {
    /// Slots without a member.
    pub fn missing(&self) -> impl Iterator<Item = Slot> {
        (0u8..).zip(&self.members).filter(|(_, m)| m.name.is_none()).map(|(slot, _)| Slot(slot))
    }
}
