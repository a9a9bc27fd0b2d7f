//! The shard's part of a background action: it walks its stripes of one stretch of work, a few
//! operations at a time, and mends what members could not read.
//!
//! Each operation reads what it needs of a band. Resync, check and repair compare parity with data and
//! never change data (**R10**); a rebuild computes what the members being rebuilt should hold. All go
//! through the same table as host I/O, so a host write to the same rows waits for them or goes first.
//!
//! Not here: which stretch is next, and what a region is good for afterwards (`coordinator`).

use super::op::{NONE, OpKind, Phase, StripeOp};
use super::{Shard, shard_of};
use crate::event::{Action, Actions, Mismatch, OpId, Work};
use crate::limits::{STRIPE_OPS_RESERVED, SYNC_OPS_MAX};
use crate::units::{RoleSet, StripeId};

/// A walk over the stripes of one stretch.
#[derive(Debug)]
pub(super) struct SyncWalk {
    work: Work,
    stripe: u64,
    row: u32,
    in_flight: usize,
    ok: bool,
    mismatched_rows: u64,
}

impl Shard {
    /// Starts to work on this shard's stripes of a stretch; [`Action::WorkDone`] says how it ended.
    ///
    /// # Panics
    /// If there is work already.
    pub fn start_work(&mut self, work: Work, out: &mut Actions) {
        assert!(self.sync.is_none(), "one stretch of work at a time");
        let walk = SyncWalk {
            work,
            stripe: work.first,
            row: 0,
            in_flight: 0,
            ok: true,
            mismatched_rows: 0,
        };
        self.sync = Some(walk);
        self.continue_sync(out);
    }

    /// Queues the next bands of the walk, or ends it. Host pieces that wait for room come first, unless it
    /// is only their own share that is used up.
    pub(super) fn continue_sync(&mut self, out: &mut Actions) {
        let Some(mut walk) = self.sync.take() else { return };
        while walk.in_flight < SYNC_OPS_MAX && walk.ok && walk.stripe < walk.work.end {
            let stripe = StripeId(walk.stripe);
            if shard_of(stripe, self.place.count) != self.place.index {
                walk.stripe += 1;
                continue;
            }
            let hosts_wait = !self.uncut.is_empty() && !self.is_throttled();
            if self.ops.vacant() == 0 || hosts_wait {
                break;
            }
            let row_end = (walk.row + self.band_bytes).min(self.geometry.strip_bytes());
            self.queue_op(self.background_op(
                OpKind::Work(walk.work.kind),
                stripe,
                walk.row..row_end,
                RoleSet::empty(),
            ));
            walk.in_flight += 1;
            walk.row = row_end;
            if row_end == self.geometry.strip_bytes() {
                walk.row = 0;
                walk.stripe += 1;
            }
        }
        let over = walk.in_flight == 0 && (!walk.ok || walk.stripe >= walk.work.end);
        if over {
            let SyncWalk { ok, mismatched_rows, .. } = walk;
            out.push_back(Action::WorkDone { ok, mismatched_rows });
        } else {
            self.sync = Some(walk);
        }
    }

    /// Gives up the rest of the walk, if there is one: operations in flight end, none follows, and
    /// [`Action::WorkDone`] says that not all was done.
    pub fn abort_work(&mut self, out: &mut Actions) {
        if let Some(walk) = &mut self.sync {
            walk.ok = false;
        }
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
        rows: std::ops::Range<u32>,
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

    pub(super) fn note_mismatch(&mut self, mismatch: Mismatch) {
        if let Some(walk) = &mut self.sync {
            walk.mismatched_rows += mismatch.rows;
        }
    }

    pub(super) fn work_op_ended(&mut self, ok: bool) {
        let walk = self.sync.as_mut().expect("a background operation belongs to a walk");
        walk.in_flight -= 1;
        walk.ok &= ok;
    }
}
