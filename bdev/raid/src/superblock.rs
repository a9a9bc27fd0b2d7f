//! The superblock: what every member says of the array that it belongs to, byte for byte.
//!
//! Our own format, at home on every member and spare of an array that keeps superblocks. Two
//! copies, so that a write that is torn leaves the other; they are written one after the other,
//! never at once:
//!
//! ```text
//!   byte      0      4 KiB       20 KiB          512 KiB     528 KiB         1 MiB or later
//!   member    |      | copy 0    |               | copy 1    |               | data ...
//! ```
//!
//! One copy, 16 KiB. Numbers are little-endian, UUIDs are their 16 bytes in the order of the text,
//! names are UTF-8 and padded with zeros. What the table does not name is reserved and zero.
//!
//! | byte | size | unit | field |
//! |---:|---:|---|---|
//! | 0 | 8 | | magic: `raid456\0` |
//! | 8 | 4 | | version, major: 1. Another one is not understood |
//! | 12 | 4 | | version, minor: 0. A later one may add what can be ignored, in reserved bytes |
//! | 16 | 4 | | CRC32C of all 16 KiB with these four bytes zero |
//! | 20 | 4 | bits | bit 0, block writes when the log fails ([`OnLogFailure`]); bit 1, fresh ([`Superblock::fresh`]) |
//! | 24 | 16 | | UUID of the array |
//! | 40 | 16 | | UUID of the member that carries this copy |
//! | 56 | 8 | updates | events: number of the update that wrote this, from 1 |
//! | 64 | 1 | | slot of the member that carries this copy; 255: a spare |
//! | 65 | 1 | | level: 4, 5, 6 |
//! | 66 | 1 | | layout: md's number; 255: parity on the member of the next field |
//! | 67 | 1 | slot | who holds parity if the layout is 255, otherwise 0 |
//! | 68 | 1 | | shutdown: 0 running, 1 clean |
//! | 69 | 1 | | log on a device: 0 none, 1 alive, 2 failed |
//! | 70 | 1 | bytes | length of the array's name, 1 to 255 |
//! | 71 | 1 | bytes | length of the log's name, 1 to 255; 0 if there is none |
//! | 72 | 4 | | number of members |
//! | 76 | 4 | bytes | strip |
//! | 80 | 4 | bytes | block |
//! | 88 | 8 | bytes | component: what the array uses of each member, whole strips |
//! | 96 | 8 | bytes | in sync up to here, of each component; all ones: everywhere |
//! | 104 | 8 | bytes | region of the dirty log, of each component |
//! | 112 | 8 | | number of regions: follows from the two before, and is compared |
//! | 120 | 16 | | UUID of the log bdev |
//! | 256 | 255 | | name of the array |
//! | 512 | 255 | | name of the log bdev |
//! | 4096 | 48 each | | members by slot, at most 255 |
//!
//! A member:
//!
//! | byte | size | unit | field |
//! |---:|---:|---|---|
//! | 0 | 16 | | UUID; zero if the slot never had a device |
//! | 16 | 8 | bytes | where the array's data begins on it |
//! | 24 | 8 | | faulty, missing: the update since which; rebuilding: bytes recovered; else 0 |
//! | 32 | 4 | | read errors that were corrected |
//! | 36 | 1 | | state: 1 in sync, 2 faulty, 3 missing, 4 rebuilding |
//! | 37 | 1 | | rebuilding: 1 if only regions that are dirty in the log, else 0 |
//!
//! There is one encoding of one content: whatever [`Superblock::decode`] takes,
//! [`Superblock::encode`] gives back byte for byte, so that reserved bytes stay free for later
//! minor versions. Neither of them lets a superblock through that means nothing (**R6**: every
//! count in it is bounded by `limits`). Magic, version, size and checksum stay where they are in
//! every version.
//!
//! # Who writes it, and in which order
//!
//! An *update* is one content with its own number of events, written to every member in use and
//! every spare, each with its own UUID and slot in it. What `assemble` concludes rests on four
//! rules:
//!
//! 1. Update k + 1 begins only after update k has finished on every member in use; a member on which it
//!    failed is declared [`Faulty`](MemberRecordState::Faulty) by update k + 1.
//! 2. The update that declares a member faulty or missing is not written to that member.
//! 3. A life begins with the last update as it is, on every member: what a killed process has written last may
//!    be in a cache only. Of the two copies that which the update before has written last is written first
//!    ([`copy_order`]), and flushed before the other: wherever updates are cut off, and however often, the
//!    better one is overwritten with nothing but what it says already.
//! 4. Geometry never changes in the life of an array.
//!
//! Not here: reading and writing it (crate `array`), who belongs together and may start
//! (`assemble`).

mod check;
mod codec;
mod foreign;
mod pair;
#[cfg(test)]
pub(crate) mod tests;

pub use check::FieldError;
pub use codec::DecodeError;
pub use foreign::{FOREIGN_BYTES, foreign};
pub use pair::{CopyError, NoValidCopy, OtherCopy, Pair, ReadFailed, decode_pair};

use uuid::Uuid;

use crate::dirty_log::Regions;
use crate::geometry::GeometrySpec;
use crate::layout::{Layout, Level};
use crate::limits::MEMBERS_MAX;
use crate::units::{Slot, SlotSet};

/// Bytes of one copy.
pub const SUPERBLOCK_BYTES: usize = 16 << 10;

/// Where the two copies begin on a member, in bytes: blocks of 4 KiB, and far enough from each
/// other that one torn or misdirected write does not take both.
pub const COPY_OFFSETS_BYTES: [u64; 2] = [4 << 10, 512 << 10];

/// The copies in the order in which the update with this event count writes them. Every update has the other
/// order than the one before it: of one that was cut off between the two, the next begins with the older.
#[must_use]
pub const fn copy_order(events: u64) -> [usize; 2] {
    if events.is_multiple_of(2) { [0, 1] } else { [1, 0] }
}

/// Where the array's data begins on a member at the earliest, in bytes.
pub const DATA_OFFSET_BYTES_MIN: u64 = 1 << 20;

/// The version that is written: major, minor.
pub const VERSION: (u32, u32) = (1, 0);

/// `in_sync_to_bytes` of an array whose parity matches its data everywhere.
pub const IN_SYNC_EVERYWHERE: u64 = u64::MAX;

const _: () = assert!(SUPERBLOCK_BYTES.is_multiple_of(4096), "whole blocks of every device");
const _: () = assert!(COPY_OFFSETS_BYTES[0] + SUPERBLOCK_BYTES as u64 <= COPY_OFFSETS_BYTES[1]);
const _: () = assert!(COPY_OFFSETS_BYTES[1] + SUPERBLOCK_BYTES as u64 <= DATA_OFFSET_BYTES_MIN);

/// The content of one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Which array this is. Never nil.
    pub array_uuid: Uuid,
    /// The array's name: 1 to 255 bytes.
    pub array_name: String,
    /// Who carries this copy. Never nil; stays with the device through every slot.
    pub member_uuid: Uuid,
    /// The slot of who carries this copy; `None`: a spare.
    pub slot: Option<Slot>,
    /// Number of the update that wrote this, from 1.
    pub events: u64,
    /// What does not change in the life of the array.
    pub shape: Shape,
    /// Whether the array was stopped in order.
    pub shutdown: Shutdown,
    /// Bytes of each component below which parity matches the data, if no log on a device knows
    /// better; [`IN_SYNC_EVERYWHERE`] if everywhere. At a clean stop, with any log, it is
    /// [`IN_SYNC_EVERYWHERE`] exactly if no region was out of sync.
    pub in_sync_to_bytes: u64,
    /// Bytes of each component that one region of the dirty log covers, wherever the log is: a
    /// power of two, at least a strip.
    pub region_bytes: u64,
    /// The dirty log's bdev; `None`: the log is in memory.
    pub log: Option<LogRecord>,
    /// What to do when the log fails.
    pub on_log_failure: OnLogFailure,
    /// Whether the array was made new, or an operator vouched for its parity, and it has been stopped in order each
    /// time since: parity is right wherever it was written ([`Trust::WhereWritten`](crate::plan::Trust)), in sync or
    /// not. See [`is_fresh`](Self::is_fresh).
    pub fresh: bool,
    /// The members by slot.
    pub members: Vec<MemberRecord>,
}

/// Level, layout and sizes of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// RAID level.
    pub level: Level,
    /// A layout of that level.
    pub layout: Layout,
    /// Bytes of a strip.
    pub strip_bytes: u32,
    /// Bytes of a block of the array.
    pub block_size_bytes: u32,
    /// Bytes that the array uses of each member: whole strips.
    pub component_bytes: u64,
}

/// Whether the array was stopped in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// It runs, or has crashed: writes may have been in flight.
    Running,
    /// It was stopped with no write in flight, and every member was flushed after the last one.
    Clean,
}

/// What to do with writes when the log on a device fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLogFailure {
    /// Go on without: after a crash everything is resynced.
    Continue,
    /// Block writes until an operator decides.
    Block,
}

/// The bdev that holds the dirty log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its name: 1 to 255 bytes.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Whether what it says can be trusted.
    pub health: LogHealth,
}

/// Whether a log can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogHealth {
    /// Every dirty region is marked in it.
    Alive,
    /// A write to it has failed (R9): regions may be dirty that it calls clean.
    Failed,
}

/// What the array knows of one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    /// The device in the slot, or that was last in it; nil if there never was one, which is then
    /// [`Missing`](MemberRecordState::Missing).
    pub member_uuid: Uuid,
    /// Where the array's data begins on it, or would begin: at least [`DATA_OFFSET_BYTES_MIN`], a
    /// multiple of the block; or 0 on every member, if superblocks are on devices of their own.
    pub data_offset_bytes: u64,
    /// Its state.
    pub state: MemberRecordState,
    /// Read errors on it that were corrected from parity. Stops at the largest number.
    pub read_errors: u32,
}

/// State of a member, as far as it must survive a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberRecordState {
    /// Holds what it should.
    InSync,
    /// Failed while in use.
    Faulty {
        /// Number of the update that declared it.
        failed_at: u64,
    },
    /// Never had a device, or it was removed on purpose.
    Missing {
        /// Number of the update that declared it.
        since: u64,
    },
    /// Is being rebuilt: counts as missing where it is not recovered yet.
    Rebuilding {
        /// Bytes of the component that are rebuilt.
        recovered_to_bytes: u64,
        /// Only the regions that are dirty in the log are rebuilt: the member was away for a while
        /// and came back.
        partial: bool,
    },
}

impl MemberRecordState {
    /// Whether the member is written to: it is in sync or being rebuilt.
    #[must_use]
    pub const fn is_in_use(self) -> bool {
        match self {
            Self::InSync | Self::Rebuilding { .. } => true,
            Self::Faulty { .. } | Self::Missing { .. } => false,
        }
    }
}

impl Superblock {
    /// Number of regions of the dirty log.
    #[must_use]
    pub fn regions(&self) -> u64 {
        let Shape { strip_bytes, component_bytes, .. } = self.shape;
        let stripes = component_bytes / u64::from(strip_bytes.max(1));
        Regions::new(self.region_bytes, strip_bytes.max(1), stripes).count()
    }

    /// Whether parity is right wherever it was written: the array is fresh, and was stopped in order the last
    /// time.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh && self.shutdown == Shutdown::Clean
    }

    /// Slots that hold parity in every row.
    #[must_use]
    pub fn parity_slots(&self) -> SlotSet {
        self.shape.layout.parity_slots(self.shape.level, self.members.len())
    }

    /// Whether superblocks are on devices of their own, as with dm-raid, and not on the members.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.members.iter().all(|member| member.data_offset_bytes == 0)
    }

    /// What the array's geometry is made from. [`Geometry::new`](crate::geometry::Geometry::new)
    /// takes it whenever [`encode`](Self::encode) takes the superblock.
    #[must_use]
    pub fn geometry_spec(&self) -> GeometrySpec {
        let Shape { level, layout, strip_bytes, block_size_bytes, component_bytes } = self.shape;
        GeometrySpec {
            level,
            layout,
            members: self.members.len(),
            strip_bytes,
            block_size_bytes,
            member_bytes: component_bytes,
            data_offsets_bytes: self.members.iter().map(|m| m.data_offset_bytes).collect(),
        }
    }

    /// The same update as another member carries it.
    #[must_use]
    pub fn carried_by(&self, member_uuid: Uuid, slot: Option<Slot>) -> Self {
        Self { member_uuid, slot, ..self.clone() }
    }

    /// Whether both are the same update, carried by the same member or by two.
    #[must_use]
    pub fn is_same_update(&self, other: &Self) -> bool {
        // The number first: it nearly always decides.
        self.events == other.events && *self == other.carried_by(self.member_uuid, self.slot)
    }

    /// The slot whose record names this device.
    #[must_use]
    pub fn slot_of(&self, member_uuid: Uuid) -> Option<Slot> {
        let found =
            self.members.iter().take(MEMBERS_MAX).position(|m| m.member_uuid == member_uuid);
        found.filter(|_| !member_uuid.is_nil()).map(|index| Slot(index as u8))
    }
}
