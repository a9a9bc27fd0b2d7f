//! The language between a shard of the core and its shell: events in, actions out.
//!
//! Bytes never enter the core. A buffer is named by (stripe operation, role): the shell keeps what was
//! read there, computes there with a parity kernel, and writes from there; the data of a host write it
//! takes from the pieces that the operation's fragments name.
//!
//! Not here: who executes actions (crate `array`, or a test).

use crate::geometry::Location;
use crate::plan::{Recipe, WriteKind};
use crate::rectangle::Span;
use crate::units::{RoleSet, Slot, StripeId};
use std::collections::VecDeque;

/// Index of an admitted piece of a host request.
pub type PieceId = u32;
/// Index of a stripe operation.
pub type OpId = u32;

/// What a host request wants of a stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// Read the span.
    Read,
    /// Write the span; with `fua`, members are asked to make it durable before they answer.
    Write {
        /// Force unit access.
        fua: bool,
    },
}

/// The part of a host request that falls into one stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceSpec {
    /// Read or write.
    pub kind: PieceKind,
    /// The stripe.
    pub stripe: StripeId,
    /// The bytes of the stripe's data.
    pub span: Span,
}

impl PieceSpec {
    /// Byte of the piece's own buffer at which (`strip`, `row`) of the stripe lies.
    #[must_use]
    pub fn buffer_offset(&self, strip: u8, row: u32, strip_bytes: u32) -> usize {
        let at = u64::from(strip) * u64::from(strip_bytes) + u64::from(row);
        usize::try_from(at - self.span.start).expect("a piece fits into memory")
    }
}

/// Why a member is taken out of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailCause {
    /// It failed a write.
    Write,
    /// It could not read, and could not be made to by writing what should be there.
    Read,
    /// It failed a flush: what it had acknowledged may be lost.
    Flush,
    /// Its superblock could not be written.
    Superblock,
    /// It did not answer in time.
    TimedOut,
    /// Its device is no longer there.
    Gone,
    /// The operator took it out.
    Removed,
}

impl FailCause {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Write,
        Self::Read,
        Self::Flush,
        Self::Superblock,
        Self::TimedOut,
        Self::Gone,
        Self::Removed,
    ];
}

impl std::fmt::Display for FailCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Write => "a write failed",
            Self::Read => "a read failed and could not be repaired",
            Self::Flush => "a flush failed",
            Self::Superblock => "its superblock could not be written",
            Self::TimedOut => "it did not answer in time",
            Self::Gone => "its device is gone",
            Self::Removed => "it was taken out",
        })
    }
}

/// What a background action does to a stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkKind {
    /// Compare parity with data and rewrite it where it is wrong: regions that are out of sync.
    Resync,
    /// Compute what the members that are being rebuilt should hold, and write it to them.
    Rebuild,
    /// Compare parity with data and count.
    Check,
    /// Compare parity with data, count, and rewrite parity where it is wrong.
    Repair,
}

/// A stretch of stripes of one region that all shards work on together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// What to do.
    pub kind: WorkKind,
    /// First stripe.
    pub first: u64,
    /// End of the stripes (exclusive).
    pub end: u64,
}

/// How a piece ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceStatus {
    /// All of it was read or written.
    Done,
    /// A member failed it, or more is lost than the level has parity for.
    Failed,
}

/// What a comparison of parity with data found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mismatch {
    /// P is wrong somewhere.
    pub p: bool,
    /// Q is wrong somewhere.
    pub q: bool,
    /// Rows of 4 KiB in which one of them is wrong.
    pub rows: u64,
}

/// Place and length of one member access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The operation.
    pub op: OpId,
    /// Whose contents: data strip 0 to 253, P or Q (`plan::ROLE_P`, `ROLE_Q`).
    pub role: u8,
    /// The member.
    pub slot: Slot,
    /// First byte on the member, its data offset included.
    pub offset_bytes: u64,
    /// Length.
    pub len_bytes: u32,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Answer to [`Action::Acquire`]: whether the buffers are there.
    Acquired {
        /// The operation.
        op: OpId,
        /// All of them, or none.
        ok: bool,
    },
    /// A member read ended.
    ReadDone {
        /// The operation.
        op: OpId,
        /// What was read.
        role: u8,
        /// Whether it was read.
        ok: bool,
    },
    /// A recipe was computed.
    Computed {
        /// The operation.
        op: OpId,
        /// What a check found; nothing for other recipes.
        mismatch: Mismatch,
    },
    /// A member write ended.
    WriteDone {
        /// The operation.
        op: OpId,
        /// What was written.
        role: u8,
        /// Whether it was written.
        ok: bool,
    },
    /// The coordinator marked the region.
    LeaseGranted {
        /// The region.
        region: u64,
    },
    /// The coordinator trusts, or no longer trusts, the region's parity.
    RegionSync {
        /// The region.
        region: u64,
        /// Whether parity matches data.
        in_sync: bool,
    },
    /// The members that are being rebuilt hold what they should in the region.
    RegionRebuilt {
        /// The region.
        region: u64,
    },
}

/// What the shell must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Provide buffers for these roles, each of `len_bytes`; answer with [`Event::Acquired`].
    Acquire {
        /// The operation.
        op: OpId,
        /// The roles.
        roles: RoleSet,
        /// Height of the operation.
        len_bytes: u32,
    },
    /// Read from a member into the buffer (op, role); answer with [`Event::ReadDone`].
    Read(Access),
    /// Compute in the buffers of the operation; answer with [`Event::Computed`].
    Compute {
        /// The operation.
        op: OpId,
        /// What to compute.
        recipe: Recipe,
    },
    /// Write the contents of (op, role) to a member; answer with [`Event::WriteDone`].
    Write {
        /// Where.
        access: Access,
        /// Force unit access.
        fua: bool,
    },
    /// Give the operation's buffers back.
    Release {
        /// The operation.
        op: OpId,
    },
    /// Answer a piece. Its id is free from now on.
    Complete {
        /// The piece.
        piece: PieceId,
        /// How it ended.
        status: PieceStatus,
    },
    /// Ask the coordinator to mark a region; it answers with [`Event::LeaseGranted`].
    RequestLease {
        /// The region.
        region: u64,
    },
    /// Give a region back to the coordinator.
    ReturnLease {
        /// The region.
        region: u64,
    },
    /// Tell the coordinator that a write of the region failed halfway.
    WriteFailed {
        /// The region.
        region: u64,
    },
    /// Tell the coordinator that a member has to be taken out of use. Writes that it failed are not
    /// answered before that is durable (**R4**).
    MemberFailed {
        /// The member.
        slot: Slot,
        /// Why.
        cause: FailCause,
    },
    /// Tell the coordinator that a member could not read a strip, which was computed, written back and read
    /// again.
    ReadCorrected {
        /// The member.
        slot: Slot,
    },
    /// Tell the coordinator that this shard's part of a stretch of the background work is done.
    WorkDone {
        /// First stripe of the stretch.
        first: u64,
        /// Whether all of it could be.
        ok: bool,
        /// Rows of 4 KiB that were wrong.
        mismatched_rows: u64,
    },
    /// No operation is in flight any more: the answer to `Shard::quiesce`.
    Quiesced,
}

/// Actions in the order in which they must be executed.
pub type Actions = VecDeque<Action>;

/// Counters of one shard since it was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShardCounters {
    /// Planned writes by kind, in the order of [`WriteKind`].
    pub writes: [u64; 5],
    /// Reads that had to reconstruct.
    pub degraded_reads: u64,
    /// Operations that another one absorbed.
    pub merges: u64,
    /// Operations that waited for an overlapping one.
    pub conflicts: u64,
    /// How long they waited until they started, all together, in nanoseconds.
    pub conflict_wait_ns: u64,
    /// Operations that waited for the lease of their region.
    pub lease_waits: u64,
    /// Operations that waited for scratch memory.
    pub starvations: u64,
    /// Operations planned again because a strip could not be read.
    pub replans: u64,
    /// Strips that a member could not read and that were rewritten and read back.
    pub mends: u64,
    /// Most stripe operations with host data at a time.
    pub host_ops_most: u64,
}

impl ShardCounters {
    /// Adds what another shard has counted.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.writes.iter_mut().zip(other.writes) {
            *sum += count;
        }
        self.degraded_reads += other.degraded_reads;
        self.merges += other.merges;
        self.conflicts += other.conflicts;
        self.conflict_wait_ns += other.conflict_wait_ns;
        self.lease_waits += other.lease_waits;
        self.starvations += other.starvations;
        self.replans += other.replans;
        self.mends += other.mends;
    }

    /// The writes of one kind.
    #[must_use]
    pub fn writes_of(&self, kind: WriteKind) -> u64 {
        self.writes[kind as usize]
    }
}

/// The span from a location on, inside its stripe.
#[must_use]
pub fn span_at(location: Location, strip_bytes: u32, len: u64) -> Span {
    let start = u64::from(location.strip) * u64::from(strip_bytes) + u64::from(location.offset);
    Span { start, len }
}
