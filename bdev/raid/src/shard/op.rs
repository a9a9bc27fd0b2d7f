//! One stripe operation: a rectangle of a stripe and the phase that its work is in.
//!
//! ```text
//!            start          lease held        buffers there      reads back
//!   Queued ---------> Marking -------> Acquiring ----------> Reading ----------> Computing
//!     ^  \  (writes only)  |               | no buffers         | a read failed      |
//!     |   +----------------+               v                    v                    v
//!     +------------------------------- Starved            (plan again)           Writing --> done
//!                                                                            |    |
//!       done <-- Verifying <-- VerifyAcquiring <-- (rewrote what could not <-+    | a host write failed
//!                                                   be read: read it back)        v
//!                                      done <-- fault durable (R4) <-------- Faulting
//! ```
//!
//! A phase carries its data. Beside it stands only what outlives phases: the lease, and when waiting began. A step with an impossible (phase, event)
//! pair is a panic that prints both (`shard::step`).
//!
//! Not here: which operation may start (`shard::table`), the plan itself (`plan`).

use crate::event::{PieceId, WorkKind};
use crate::geometry::Rotation;
use crate::plan::{Recipe, WriteKind};
use crate::units::{RoleSet, StripeId};
use std::num::NonZeroU64;

/// End of a list of indexes.
pub const NONE: u32 = u32::MAX;

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    /// Host reads that need reconstruction.
    Read,
    /// Host writes.
    Write {
        /// Force unit access.
        fua: bool,
    },
    /// Part of a background action.
    Work(WorkKind),
    /// Reconstruct what a member could not read, write it back and read it again.
    Mend,
}

/// What the planner decided, in one shape for all kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Kind of write; `None` for reads and syncs.
    pub kind: Option<WriteKind>,
    /// Roles to read.
    pub reads: RoleSet,
    /// What to compute.
    pub recipe: Recipe,
    /// Roles to write.
    pub writes: RoleSet,
}

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not started: staged in this turn, or behind an overlapping operation.
    Queued,
    /// Waits for the lease of its region.
    Marking,
    /// Waits for scratch memory, with its lease if it needs one.
    Starved,
    /// The shell was asked for buffers.
    Acquiring(Plan),
    /// Member reads are in flight.
    Reading {
        /// The plan.
        plan: Plan,
        /// Reads without an answer yet.
        pending: u32,
        /// Roles whose read failed.
        failed: RoleSet,
    },
    /// The shell computes.
    Computing(Plan),
    /// Member writes are in flight.
    Writing {
        /// Writes without an answer yet.
        pending: u32,
        /// Roles whose write failed.
        failed: RoleSet,
    },
    /// The shell was asked for buffers to read back what was rewritten.
    VerifyAcquiring,
    /// What was rewritten is read back.
    Verifying {
        /// Reads without an answer yet.
        pending: u32,
        /// Roles that still cannot be read.
        failed: RoleSet,
    },
    /// Members failed their part of a host write; everything else of it is written. It is not answered
    /// before the failure is durable (**R4**).
    Faulting {
        /// Generation of the map by which it was written. The next one leaves those members out, even if
        /// their slots have been given other devices since.
        generation: u64,
        /// Roles whose write failed.
        failed: RoleSet,
    },
}

impl Phase {
    /// Whether the shell or a member is at work on it: such an operation has to end before the members'
    /// states may change.
    #[must_use]
    pub fn is_in_flight(&self) -> bool {
        match self {
            Self::Queued | Self::Marking | Self::Faulting { .. } => false,
            Self::Starved
            | Self::Acquiring(_)
            | Self::Reading { .. }
            | Self::Computing(_)
            | Self::Writing { .. }
            | Self::VerifyAcquiring
            | Self::Verifying { .. } => true,
        }
    }
}

/// One stripe operation.
#[derive(Debug, Clone)]
pub struct StripeOp {
    /// What it is for.
    pub kind: OpKind,
    /// The stripe.
    pub stripe: StripeId,
    /// How roles lie on slots in this stripe.
    pub rotation: Rotation,
    /// First row, in bytes from the start of the strips.
    pub row: u32,
    /// End of the rows (exclusive).
    pub row_end: u32,
    /// Data strips that it reads or writes for the host.
    pub strips: RoleSet,
    /// Roles that turned out to be unreadable here.
    pub unreadable: RoleSet,
    /// Of those, the ones that it writes back.
    pub targets: RoleSet,
    /// Whether its region's lease is held for it.
    pub leased: bool,
    /// Where it is.
    pub phase: Phase,
    /// Since when it has waited for an overlapping operation, if it has.
    pub blocked_since_ns: Option<NonZeroU64>,
    /// First fragment of the host data.
    pub(super) fragments: u32,
    /// Last fragment.
    pub(super) fragments_tail: u32,
    /// Number of fragments.
    pub(super) fragment_count: u32,
    /// Next operation in the same bucket of the stripe table.
    pub(super) next: u32,
    /// Previous one.
    pub(super) prev: u32,
}

impl StripeOp {
    /// Whether it may write to members that are in use, so that its region has to be marked (**R1**). A
    /// rebuild writes only to members that are not trusted yet.
    #[must_use]
    pub fn needs_lease(&self) -> bool {
        match self.kind {
            OpKind::Read => false,
            OpKind::Write { .. } | OpKind::Mend => true,
            OpKind::Work(WorkKind::Resync | WorkKind::Repair) => true,
            OpKind::Work(WorkKind::Check | WorkKind::Rebuild) => !self.targets.is_empty(),
        }
    }

    /// Height in bytes.
    #[must_use]
    pub fn len_bytes(&self) -> u32 {
        self.row_end - self.row
    }

    /// Whether two operations must not run side by side: they share rows of a stripe, and one of them
    /// changes it (**R3**).
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let both_read = self.kind == OpKind::Read && other.kind == OpKind::Read;
        !both_read
            && self.stripe == other.stripe
            && self.row < other.row_end
            && other.row < self.row_end
    }
}

/// Part of a piece that one operation carries: rows of adjacent data strips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// The piece.
    pub piece: PieceId,
    /// First row.
    pub row: u32,
    /// End of the rows (exclusive).
    pub row_end: u32,
    /// First data strip.
    pub first: u8,
    /// Last data strip (inclusive).
    pub last: u8,
    /// Next fragment of the operation.
    pub(super) next: u32,
}
