//! The shard's part of a background action: it walks its stripes of the stretches that it has, a few
//! operations at a time, and mends what members could not read.
//!
//! Stretches are begun in order. The first operations of one start while the last ones of the one before
//! are in flight, so that members and kernels do not run dry between them; each is answered for by itself.
//!
//! Each operation reads what it needs of a band. Resync, check and repair compare parity with data and
//! never change data (**R10**); a rebuild computes what the members being rebuilt should hold. All go
//! through the same table as host I/O, so a host write to the same rows waits for them or goes first.
//!
//! Not here: which stretch is next, and what a region is good for afterwards (`coordinator`).

use super::op::{NONE, OpKind, Phase, StripeOp};
use super::{Shard, shard_of};
use crate::event::{Action, Actions, Mismatch, OpId, Work, WorkKind};
use crate::limits::{STRETCHES_MAX, STRIPE_OPS_RESERVED, SYNC_OPS_MAX};
use crate::units::{RoleSet, StripeId};
use std::collections::VecDeque;
use std::ops::Range;

/// The stretches that a shard has.
#[derive(Debug)]
pub(super) struct SyncWalk {
    /// In order; at most [`STRETCHES_MAX`].
    parts: VecDeque<Part>,
    /// Operations of all of them.
    in_flight: usize,
}

/// The shard's stripes of one stretch.
#[derive(Debug)]
struct Part {
    work: Work,
    /// Where its next operation begins.
    stripe: u64,
    row: u32,
    in_flight: usize,
    ok: bool,
    mismatched_rows: u64,
}

impl Part {
    fn is_begun(&self) -> bool {
        !self.ok || self.stripe >= self.work.end
    }

    fn is_over(&self) -> bool {
        self.is_begun() && self.in_flight == 0
    }
}

impl SyncWalk {
    pub(super) fn new() -> Self {
        Self { parts: VecDeque::with_capacity(STRETCHES_MAX), in_flight: 0 }
    }

    /// The part that a stripe belongs to.
    ///
    /// # Panics
    /// If there is none: a background operation belongs to a stretch.
    fn part_of(&mut self, stripe: StripeId) -> &mut Part {
        let mut parts = self.parts.iter_mut();
        parts
            .find(|part| (part.work.first..part.work.end).contains(&stripe.0))
            .unwrap_or_else(|| panic!("stripe {stripe:?} is worked on outside of every stretch"))
    }
}

impl Shard {
    /// Takes a stretch to work on this shard's stripes of; [`Action::WorkDone`] says how it ended.
    ///
    /// # Panics
    /// If there are [`STRETCHES_MAX`] already.
    pub fn start_work(&mut self, work: Work, out: &mut Actions) {
        assert!(self.sync.parts.len() < STRETCHES_MAX, "too many stretches of work: {work:?}");
        let part =
            Part { work, stripe: work.first, row: 0, in_flight: 0, ok: true, mismatched_rows: 0 };
        self.sync.parts.push_back(part);
        self.continue_sync(out);
    }

    /// Queues the next bands of the walk, and answers for the stretches that are over. Host pieces that
    /// wait for room come first, unless it is only their own share that is used up.
    pub(super) fn continue_sync(&mut self, out: &mut Actions) {
        while self.sync.in_flight < SYNC_OPS_MAX {
            let Some((kind, stripe, rows)) = self.next_band() else { break };
            let hosts_wait = !self.uncut.is_empty() && !self.is_throttled();
            if self.ops.vacant() == 0 || hosts_wait {
                break;
            }
            let part = self.sync.part_of(stripe);
            part.in_flight += 1;
            part.row = rows.end;
            self.sync.in_flight += 1;
            let kind = OpKind::Work(kind);
            self.queue_op(self.background_op(kind, stripe, rows, RoleSet::empty()));
        }
        self.sync.parts.retain(|part| {
            if part.is_over() {
                let Part { work, ok, mismatched_rows, .. } = *part;
                out.push_back(Action::WorkDone { first: work.first, ok, mismatched_rows });
            }
            !part.is_over()
        });
    }

    /// The next rows to work on.
    fn next_band(&mut self) -> Option<(WorkKind, StripeId, Range<u32>)> {
        let strip_bytes = self.geometry.strip_bytes();
        let band_bytes = self.band_bytes;
        loop {
            let part = self.sync.parts.iter_mut().find(|part| !part.is_begun())?;
            let stripe = StripeId(part.stripe);
            if shard_of(stripe, self.place.count) == self.place.index && part.row < strip_bytes {
                let row_end = (part.row + band_bytes).min(strip_bytes);
                return Some((part.work.kind, stripe, part.row..row_end));
            }
            part.stripe += 1;
            part.row = 0;
        }
    }

    /// Gives up the rest of all stretches: operations in flight end, none follows, and
    /// [`Action::WorkDone`] says of each that not all was done.
    pub fn abort_work(&mut self, out: &mut Actions) {
        self.sync.parts.iter_mut().for_each(|part| part.ok = false);
        self.continue_sync(out);
    }

    /// Queues the mending of what could not be read, behind the operation that found it. Without room it
    /// is left out: whoever reads there next finds it again.
    pub(super) fn queue_mend(&mut self, id: OpId, roles: RoleSet) {
        if self.ops.vacant() <= STRIPE_OPS_RESERVED {
            return;
        }
        let (stripe, rows) = (self.ops[id].stripe, self.ops[id].row..self.ops[id].row_end);
        self.queue_op(self.background_op(OpKind::Mend, stripe, rows, roles));
    }

    fn background_op(
        &self,
        kind: OpKind,
        stripe: StripeId,
        rows: Range<u32>,
        targets: RoleSet,
    ) -> StripeOp {
        StripeOp {
            kind,
            stripe,
            rotation: self.geometry.rotation(stripe),
            row: rows.start,
            row_end: rows.end,
            strips: RoleSet::empty(),
            unreadable: targets,
            targets,
            leased: false,
            phase: Phase::Queued,
            fragments: NONE,
            fragments_tail: NONE,
            fragment_count: 0,
            blocked_since_ns: None,
            next: NONE,
            prev: NONE,
        }
    }

    pub(super) fn note_mismatch(&mut self, stripe: StripeId, mismatch: Mismatch) {
        self.sync.part_of(stripe).mismatched_rows += mismatch.rows;
    }

    pub(super) fn work_op_ended(&mut self, stripe: StripeId, ok: bool) {
        let part = self.sync.part_of(stripe);
        part.in_flight -= 1;
        part.ok &= ok;
        self.sync.in_flight -= 1;
    }
}
