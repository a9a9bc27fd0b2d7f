//! The shard's part of a resync: it walks its stripes of one region, a few operations at a time.
//!
//! Each operation reads every member of a band, compares parity with data and rewrites the parity that
//! is wrong; data is never changed (**R10**). It goes through the same table as host I/O, so a host
//! write to the same rows waits for it or goes first.
//!
//! Not here: which region is next, and what a region in sync is good for (`coordinator`).

use super::op::{NONE, OpKind, Phase, StripeOp};
use super::{Shard, shard_of};
use crate::event::{Action, Actions, Mismatch};
use crate::limits::SYNC_OPS_MAX;
use crate::units::{RoleSet, StripeId};

/// A walk over the stripes of one region.
#[derive(Debug)]
pub(super) struct SyncWalk {
    region: u64,
    stripe: u64,
    end: u64,
    row: u32,
    in_flight: usize,
    ok: bool,
    mismatched_rows: u64,
}

impl Shard {
    /// Starts to compare and repair the parity of this shard's stripes of a region;
    /// [`Action::RegionSynced`] says how it ended.
    ///
    /// # Panics
    /// If a region is being worked on already.
    pub fn sync_region(&mut self, region: u64, out: &mut Actions) {
        assert!(self.sync.is_none(), "one region at a time");
        let stripes = self.regions.stripes(region);
        self.sync = Some(SyncWalk {
            region,
            stripe: stripes.start,
            end: stripes.end,
            row: 0,
            in_flight: 0,
            ok: true,
            mismatched_rows: 0,
        });
        self.continue_sync(out);
    }

    /// Queues the next bands of the walk, or ends it. Host pieces that wait for room come first.
    pub(super) fn continue_sync(&mut self, out: &mut Actions) {
        let Some(mut walk) = self.sync.take() else { return };
        while walk.in_flight < SYNC_OPS_MAX && walk.ok && walk.stripe < walk.end {
            let stripe = StripeId(walk.stripe);
            if shard_of(stripe, self.place.count) != self.place.index {
                walk.stripe += 1;
                continue;
            }
            if self.ops.vacant() == 0 || !self.uncut.is_empty() {
                break;
            }
            let row_end = (walk.row + self.band_bytes).min(self.geometry.strip_bytes());
            self.queue_op(StripeOp {
                kind: OpKind::Sync,
                stripe,
                rotation: self.geometry.rotation(stripe),
                row: walk.row,
                row_end,
                strips: RoleSet::empty(),
                unreadable: RoleSet::empty(),
                phase: Phase::Queued,
                fragments: NONE,
                fragments_tail: NONE,
                fragment_count: 0,
                next: NONE,
                prev: NONE,
            });
            walk.in_flight += 1;
            walk.row = row_end;
            if row_end == self.geometry.strip_bytes() {
                walk.row = 0;
                walk.stripe += 1;
            }
        }
        let over = walk.in_flight == 0 && (!walk.ok || walk.stripe >= walk.end);
        if over {
            let SyncWalk { region, ok, mismatched_rows, .. } = walk;
            out.push_back(Action::RegionSynced { region, ok, mismatched_rows });
        } else {
            self.sync = Some(walk);
        }
    }

    pub(super) fn note_mismatch(&mut self, mismatch: Mismatch) {
        if let Some(walk) = &mut self.sync {
            walk.mismatched_rows += mismatch.rows;
        }
    }

    pub(super) fn sync_op_ended(&mut self, ok: bool) {
        let walk = self.sync.as_mut().expect("a sync operation belongs to a walk");
        walk.in_flight -= 1;
        walk.ok &= ok;
    }
}
