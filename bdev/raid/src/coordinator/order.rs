//! The language between the coordinator and its shell: inputs in, orders out.
//!
//! Not here: who carries orders out (crate `array`, or the simulator).

use super::background::Permit;
use crate::event::{FailCause, Work};
use crate::shard::Writes;
use crate::units::{Slot, SlotSet};
use std::collections::VecDeque;
use uuid::Uuid;

/// How a member that joins is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it: nothing is known of what it holds.
    Whole,
    /// The regions that the log calls dirty: it was a member before, and every region that changed since
    /// is dirty (**R8**).
    Dirty,
}

/// What the coordinator is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The array starts: its shards are there.
    Start,
    /// A shard wants to write in a region.
    Mark {
        /// Index of the shard.
        shard: usize,
        /// The region.
        region: u64,
    },
    /// A shard gives a region back: no write of its own is in flight there.
    Release {
        /// The region.
        region: u64,
    },
    /// A write of the region failed halfway on an array that has lost too much: its parity may no longer
    /// match.
    WriteFailed {
        /// The region.
        region: u64,
    },
    /// A member has to be taken out of use.
    MemberFailed {
        /// The member.
        slot: Slot,
        /// Why.
        cause: FailCause,
    },
    /// A strip that a member could not read was computed, written back and read again.
    ReadCorrected {
        /// The member.
        slot: Slot,
    },
    /// A shard has nothing in flight any more.
    Quiesced,
    /// A shard ended its part of a stretch of the background work.
    WorkDone {
        /// First stripe of the stretch.
        first: u64,
        /// Whether all of it could be done.
        ok: bool,
        /// Rows of 4 KiB whose parity was wrong.
        mismatched_rows: u64,
    },
    /// A write to the log bdev ended.
    LogWritten {
        /// Whether it was written.
        ok: bool,
    },
    /// The flush of the log bdev ended.
    LogFlushed {
        /// Whether it was done.
        ok: bool,
    },
    /// A flush of a member ended.
    MemberFlushed {
        /// The member.
        slot: Slot,
        /// Whether it was done.
        ok: bool,
    },
    /// Both copies of a member's superblock are on it for good, or could not be written.
    SuperblockWritten {
        /// The member.
        slot: Slot,
        /// Whether they are.
        ok: bool,
    },
    /// Background actions may work from now on, or may not.
    Permit(Permit),
    /// The owner of the array has recorded the failures, and writes may go on (raid45's message).
    AllowWrites,
    /// The owner has recorded durably how the array is.
    Recorded {
        /// Slots that have no member.
        missing: SlotSet,
        /// Whether what is on the log's bdev is not to be believed.
        log_failed: bool,
    },
    /// A device takes an empty slot. Its channels are there.
    AddMember {
        /// The slot.
        slot: Slot,
        /// What of it has to be rebuilt.
        scope: Scope,
        /// Who it is, for the superblocks.
        member_uuid: Uuid,
    },
    /// The device is not to take the slot after all, if it has not yet: its channels go.
    CancelAdd {
        /// The slot.
        slot: Slot,
    },
    /// The array is about to stop in order: no host request is left, and the shards give back their
    /// leases.
    Stop,
}

/// What happened, for whoever watches the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaidEvent {
    /// A member was taken out of use.
    MemberFailed {
        /// The member.
        slot: Slot,
        /// Why.
        cause: FailCause,
    },
    /// The array goes on without some members.
    Degraded,
    /// Too much is lost: nothing is written any more.
    Broken,
    /// Every member is in sync again.
    Optimal,
    /// A device took a slot, and is being rebuilt.
    MemberAdded {
        /// The slot.
        slot: Slot,
    },
    /// The log bdev failed.
    LogFailed,
    /// A background action waits for its permit.
    SyncDelayed {
        /// Which.
        kind: crate::event::WorkKind,
    },
    /// A background action began.
    SyncStarted {
        /// Which.
        kind: crate::event::WorkKind,
    },
    /// A background action came to its end.
    SyncEnded {
        /// Which.
        kind: crate::event::WorkKind,
        /// Whether all of it was done.
        complete: bool,
    },
}

/// What the coordinator wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Tell one shard that it may write in the region.
    Grant {
        /// Index of the shard.
        shard: usize,
        /// The region.
        region: u64,
    },
    /// Tell every shard that the region's parity can, or can no longer, be trusted.
    RegionSync {
        /// The region.
        region: u64,
        /// Whether parity matches data.
        in_sync: bool,
    },
    /// Tell every shard that the members being rebuilt hold what they should in the region.
    RegionRebuilt {
        /// The region.
        region: u64,
    },
    /// Tell every shard to work on its stripes of a stretch; each answers once. There may be
    /// [`STRETCHES_MAX`](crate::limits::STRETCHES_MAX) that are not answered.
    StartWork(Work),
    /// Tell every shard to give up the rest of all of them.
    AbortWork,
    /// Tell every shard to come to rest; each answers once.
    Quiesce,
    /// Tell every shard to go on with the coordinator's map as it is now.
    Resume {
        /// Give it the coordinator's stale regions too.
        stale: bool,
        /// Whether host writes may start.
        writes: Writes,
    },
    /// Tell every shard that writes may go on.
    AllowWrites,
    /// Write these bytes of the log's area, as [`DirtyLog::copy_taken`](crate::dirty_log::DirtyLog::copy_taken)
    /// gives them now, to the log bdev.
    WriteLog {
        /// First byte.
        offset_bytes: u64,
        /// Length.
        len_bytes: u64,
    },
    /// Flush the log bdev.
    FlushLog,
    /// Flush a member.
    FlushMember {
        /// The member.
        slot: Slot,
    },
    /// Write both copies of a member's superblock, one after the other, each followed by a flush.
    WriteSuperblock {
        /// The member.
        slot: Slot,
    },
    /// Tell whoever watches.
    Event(RaidEvent),
    /// The array is stopped in order; nothing may be asked of it any more.
    Stopped,
}

/// Orders in the order in which they must be carried out.
pub type Orders = VecDeque<Order>;
