//! What an array is made from, and why it may not be.
//!
//! Not here: making it (`raid_bdev`).

use crate::limits::IO_TIMEOUT_S;
use crate::tuning::Tuning;
use crossbeam::channel::Sender;
use device::blocking::BlockingError;
use device::{Bdev, OpenError};
use parity::UnknownKernel;
use raid::assemble::{Assembly, StartRefusal};
use raid::coordinator::pace::Rates;
use raid::coordinator::{AddRefusal, OnLogFailure, OnMemberFailure, Permit, Policy, RaidEvent};
use raid::dirty_log::LogError;
use raid::geometry::{Geometry, GeometryError, GeometrySpec};
use raid::layout::{Layout, Level};
use raid::units::{Slot, SlotSet};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
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
    /// What most arrays leave at its default.
    pub options: RaidOptions,
}

/// Something that happened to an array.
#[derive(Debug, Clone)]
pub struct ArrayEvent {
    /// Name of the array.
    pub array: String,
    /// What happened.
    pub event: RaidEvent,
}

/// What somebody knows of an array that has run before and has no superblocks to say so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Before {
    /// How it came to its end.
    pub end: LastEnd,
    /// What is on the log's bdev is not to be believed: the log had failed, or was not all there yet.
    pub log_failed: bool,
}

/// How an array came to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LastEnd {
    /// Nobody knows: what the log says counts.
    #[default]
    Unknown,
    /// In order, and parity was right everywhere: what is dirty in the log says only what members that are out
    /// have missed.
    InOrder,
    /// Perhaps in the middle of writes: where no log says what is dirty, all is (**R7**).
    CutOff,
}

/// How an array behaves.
#[derive(Debug, Clone)]
pub struct RaidOptions {
    /// The bdev that holds the dirty log; without it the log is in memory.
    pub log: Option<Arc<dyn Bdev>>,
    /// Bytes of each component that one region of the log covers; absent: 4 MiB, or more where that would
    /// make too many regions.
    pub region_bytes: Option<u64>,
    /// Whether members get superblocks, so that the array is found again.
    pub superblock: bool,
    /// What is done when a member or the log fails.
    pub policy: Policy,
    /// How fast background actions go.
    pub rates: Rates,
    /// Whether they may work from the start.
    pub permit: Permit,
    /// How long a request may be with a member before that is taken for failed.
    pub io_timeout: Duration,
    /// The operator insists: overwrite what is on the members, trust parity of a dirty degraded array.
    pub force: bool,
    /// What is known of its life before this one, where no superblock says so.
    pub before: Before,
    /// Who is told of what happens to the array.
    pub events: Option<Sender<ArrayEvent>>,
    /// Parity is made anew, whatever the log says (dm's `sync`).
    pub resync: bool,
    /// Members that are there, and hold nothing of the array yet.
    pub rebuild: SlotSet,
    /// Bytes of each member that are used, whole strips; absent: all that the smallest has.
    pub component_bytes: Option<u64>,
    /// Devices for the superblocks, by slot, in the members' place (dm-raid's metadata devices); empty:
    /// none.
    pub metadata: Vec<Option<Arc<dyn Bdev>>>,
    /// What can also be changed while the array runs.
    pub tuning: Tuning,
}

impl Default for RaidOptions {
    fn default() -> Self {
        Self {
            log: None,
            region_bytes: None,
            superblock: false,
            policy: Policy {
                log: OnLogFailure::Continue,
                member: OnMemberFailure::Continue,
                recorded: false,
            },
            rates: Rates::default(),
            permit: Permit::Granted,
            io_timeout: Duration::from_secs(IO_TIMEOUT_S),
            force: false,
            before: Before::default(),
            events: None,
            resync: false,
            rebuild: SlotSet::empty(),
            component_bytes: None,
            metadata: Vec::new(),
            tuning: Tuning::default(),
        }
    }
}

/// A known array that is started again from the superblocks of its members.
#[derive(Debug, Clone)]
pub struct KnownRaid {
    /// Who is in which slot, as `raid::assemble` has decided.
    pub assembly: Assembly,
    /// The members in use by slot, as the assembly has them.
    pub members: Vec<Option<Arc<dyn Bdev>>>,
    /// The bdev of its log, if it was found.
    pub log: Option<Arc<dyn Bdev>>,
    /// How fast background actions go.
    pub rates: Rates,
    /// Whether they may work from the start.
    pub permit: Permit,
    /// How long a request may be with a member before that is taken for failed.
    pub io_timeout: Duration,
    /// The operator insists.
    pub force: bool,
    /// Who is told of what happens to the array.
    pub events: Option<Sender<ArrayEvent>>,
    /// Name of the bdev, where it is another than the superblock says.
    pub name: Option<String>,
    /// Devices of the superblocks, by slot, where they are not on the members.
    pub metadata: Vec<Option<Arc<dyn Bdev>>>,
    /// Parity is made anew, whatever is recorded.
    pub resync: bool,
    /// What can also be changed while the array runs.
    pub tuning: Tuning,
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
    /// A device is still at work for somebody who has given it up.
    #[error(
        "raid bdev {name}: bdev {device} still has {requests} requests from before it was given up; what it \
         writes late would be wrong, so it cannot be used before they end"
    )]
    Lingering {
        /// The array.
        name: String,
        /// The member, the log or the device of a superblock.
        device: String,
        /// Requests.
        requests: usize,
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
    /// A member to be rebuilt is not there.
    #[error("raid bdev {name}: slot {slot} is to be rebuilt, and has no member: give it one")]
    RebuildsNobody {
        /// The array.
        name: String,
        /// The slot.
        slot: usize,
    },
    /// A size that is no whole number of strips, or that a member does not have.
    #[error(
        "raid bdev {name}: base bdev {member} has {size_bytes} bytes, too few: its data offset and \
         {component_bytes} bytes of data take more"
    )]
    ComponentTooLarge {
        /// The array.
        name: String,
        /// The member.
        member: String,
        /// Its size.
        size_bytes: u64,
        /// As asked for.
        component_bytes: u64,
    },
    /// A member has something else on it.
    #[error(
        "raid bdev {name}: base bdev {member} carries {what}: clear it first, or force to overwrite it"
    )]
    InUse {
        /// The array.
        name: String,
        /// The member.
        member: String,
        /// What was found on it.
        what: String,
    },
    /// The log's bdev has something else on it.
    #[error(
        "raid bdev {name}: log bdev {log} carries {what}: clear it first, or force to overwrite it"
    )]
    LogInUse {
        /// The array.
        name: String,
        /// The bdev.
        log: String,
        /// What was found on it.
        what: String,
    },
    /// A member cannot hold a superblock in front of its data.
    #[error(
        "raid bdev {name}: data offset {offset_bytes} in slot {slot} leaves no room for the superblock: \
         give at least {least} bytes, or leave it out"
    )]
    NoRoomForSuperblock {
        /// The array.
        name: String,
        /// The slot.
        slot: usize,
        /// Its data offset.
        offset_bytes: u64,
        /// The least that would do.
        least: u64,
    },
    /// A region size that no log can have.
    #[error(
        "raid bdev {name}: region size {region_bytes} is not possible: give a power of two from {least} \
         (a strip) to {most} bytes"
    )]
    Region {
        /// The array.
        name: String,
        /// As given.
        region_bytes: u64,
        /// The least that would do.
        least: u64,
        /// The most that would do.
        most: u64,
    },
    /// The log bdev does not fit, or holds another array's log.
    #[error("raid bdev {name}: {source}")]
    Log {
        /// The array.
        name: String,
        /// What is wrong.
        source: LogError,
    },
    /// The array may not start like this.
    #[error(transparent)]
    Start(#[from] StartRefusal),
    /// The log says that the array is dirty, and a member is missing (R7).
    #[error(
        "raid bdev {name} is dirty and degraded: {dirty} of {regions} regions may have wrong parity: \
         bring the missing members back, or force to trust the parity"
    )]
    DirtyDegraded {
        /// The array.
        name: String,
        /// Regions that are dirty in its log.
        dirty: u64,
        /// All regions.
        regions: u64,
    },
    /// A device could not be read or written at the start.
    #[error("raid bdev {name}: {source}")]
    Blocking {
        /// The array.
        name: String,
        /// What is wrong.
        source: BlockingError,
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
        const EBUSY: i32 = -16;
        const EEXIST: i32 = -17;
        const EIO: i32 = -5;
        const EUCLEAN: i32 = -117;
        match self {
            Self::Geometry { .. }
            | Self::NoMember { .. }
            | Self::RebuildsNobody { .. }
            | Self::ComponentTooLarge { .. }
            | Self::TooManyMissing { .. }
            | Self::DuplicateMember { .. }
            | Self::MemberTooSmall { .. }
            | Self::UnequalMembers { .. }
            | Self::DataOffsets { .. }
            | Self::NoRoomForSuperblock { .. }
            | Self::Region { .. }
            | Self::Log { .. }
            | Self::Kernel { .. } => EINVAL,
            Self::Lingering { .. } => EBUSY,
            Self::InUse { .. } | Self::LogInUse { .. } => EEXIST,
            Self::Start(_) | Self::DirtyDegraded { .. } => EUCLEAN,
            Self::Blocking { .. } => EIO,
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

/// Why a device could not take a slot.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// No slot is free, or the one that was asked for is not.
    #[error("raid bdev {name}: {source}")]
    Refused {
        /// The array.
        name: String,
        /// What stands in the way.
        source: AddRefusal,
    },
    /// Every slot has a member.
    #[error("raid bdev {name}: every slot has a member; take the failed one out first")]
    NoSlot {
        /// The array.
        name: String,
    },
    /// The device is too small.
    #[error(
        "raid bdev {name}: base bdev {member} has {size_bytes} bytes, too few: its data offset and the \
         array's component take {needed_bytes}"
    )]
    TooSmall {
        /// The array.
        name: String,
        /// The device.
        member: String,
        /// Its size.
        size_bytes: u64,
        /// The least that would do.
        needed_bytes: u64,
    },
    /// Its blocks are larger than the array's.
    #[error(
        "raid bdev {name}: base bdev {member} has blocks of {block_size_bytes} bytes; the array's are \
         {right}"
    )]
    Blocks {
        /// The array.
        name: String,
        /// The device.
        member: String,
        /// Its block size.
        block_size_bytes: u32,
        /// The array's.
        right: u32,
    },
    /// It is still at work from when it was a member before.
    #[error(
        "raid bdev {name}: base bdev {member} still has {requests} requests from before it failed; what it \
         writes late would be wrong, so it cannot come back before they end"
    )]
    Lingering {
        /// The array.
        name: String,
        /// The device.
        member: String,
        /// Requests.
        requests: usize,
    },
    /// A channel could not be opened.
    #[error("raid bdev {name}: {source}")]
    Open {
        /// The array.
        name: String,
        /// What is wrong.
        source: OpenError,
    },
    /// It was out again as soon as it was in.
    #[error(
        "raid bdev {name}: base bdev {member} failed as soon as it had taken slot {slot}: look at what is \
         wrong with it, or add another one"
    )]
    Failed {
        /// The array.
        name: String,
        /// The device.
        member: String,
        /// The slot that it had.
        slot: Slot,
    },
    /// It does not come to rest, or is stopped.
    #[error(transparent)]
    Rest(#[from] RestError),
}

impl AddError {
    /// The number that SPDK would answer with, negative as there.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::Refused { .. } | Self::NoSlot { .. } | Self::Lingering { .. } => -16,
            Self::TooSmall { .. } | Self::Blocks { .. } => -22,
            Self::Open { source, .. } => source.errno(),
            Self::Failed { .. } => -5,
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
    /// More members have failed than parity can stand for.
    #[error(
        "raid bdev {name}: more members have failed than parity can stand for; what was written last may be lost"
    )]
    Broken {
        /// The array.
        name: String,
    },
}

impl RaidSpec {
    /// The geometry that it asks for.
    ///
    /// # Errors
    /// When its members do not fit it, or each other; nothing was read then.
    pub fn geometry(&self) -> Result<Geometry, CreateError> {
        geometry(self)
    }
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
    let rebuild = spec.options.rebuild;
    let absent = |slot: &usize| spec.members.get(*slot).is_none_or(Option::is_none);
    if let Some(slot) = rebuild.iter().map(|slot| slot.index()).find(absent) {
        return Err(CreateError::RebuildsNobody { name: name(), slot });
    }
    let missing = spec.members.iter().filter(|member| member.is_none()).count() + rebuild.len();
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
    if let Some(component_bytes) = spec.options.component_bytes {
        return given_component(spec, component_bytes);
    }
    let strip_bytes = u64::from(spec.strip_bytes.max(1));
    let mut found: Option<(u64, String)> = None;
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
        match &found {
            Some((other_strips, other)) if *other_strips != strips => {
                return Err(CreateError::UnequalMembers {
                    name: spec.name.clone(),
                    member: info.name.clone(),
                    strips,
                    other: other.clone(),
                    other_strips: *other_strips,
                });
            }
            _ => found = Some((strips, info.name.clone())),
        }
    }
    Ok(found.map(|(strips, _)| strips * strip_bytes))
}

/// The size that was asked for, if every member has it.
fn given_component(spec: &RaidSpec, component_bytes: u64) -> Result<Option<u64>, CreateError> {
    let mut found = None;
    for (member, &offset_bytes) in spec.members.iter().zip(&spec.data_offsets_bytes) {
        let Some(member) = member else { continue };
        let size_bytes = member.info().size_bytes();
        if size_bytes < offset_bytes.saturating_add(component_bytes) {
            let (name, member) = (spec.name.clone(), member.info().name.clone());
            return Err(CreateError::ComponentTooLarge {
                name,
                member,
                size_bytes,
                component_bytes,
            });
        }
        found = Some(component_bytes);
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
