//! Merging: queued writes of one stripe that fit together become one operation.
//!
//! Two rectangles fit when their union is a rectangle again: the same rows and different strips (side
//! by side), or the same strips and adjoining rows of one band (one below the other). So a sequential
//! stream of small writes grows columns first and full-stripe writes out of the columns, and needs no
//! reads at all.
//!
//! Not here: when operations are started (`shard`).

use super::Shard;
use super::op::{NONE, OpKind, Phase, StripeOp};
use crate::event::OpId;
use crate::limits::FRAGMENTS_PER_OP_MAX;

impl Shard {
    /// Absorbs into a queued write every other queued write of its stripe that fits, until none does.
    pub(super) fn merge_into(&mut self, id: OpId) {
        if !matches!(self.ops[id].kind, OpKind::Write { .. }) {
            return;
        }
        while let Some(other) = self.find_fitting(id) {
            self.absorb(id, other);
            self.counters.merges += 1;
        }
    }

    fn find_fitting(&self, id: OpId) -> Option<OpId> {
        let op = &self.ops[id];
        self.table
            .bucket(&self.ops, op.stripe)
            .find(|&(other, candidate)| other != id && fits(op, candidate, self.band_bytes))
            .map(|(other, _)| other)
    }

    fn absorb(&mut self, id: OpId, other_id: OpId) {
        self.table.unlink(&mut self.ops, other_id);
        let other = self.ops.remove(other_id);
        self.host_ops -= 1;
        let tail = self.ops[id].fragments_tail;
        self.fragments[tail].next = other.fragments;
        let op = &mut self.ops[id];
        op.fragments_tail = other.fragments_tail;
        op.fragment_count += other.fragment_count;
        op.strips = op.strips.union(other.strips);
        op.row = op.row.min(other.row);
        op.row_end = op.row_end.max(other.row_end);
        if let (OpKind::Write { fua }, OpKind::Write { fua: other_fua }) =
            (&mut op.kind, other.kind)
        {
            *fua |= other_fua;
        }
        debug_assert_ne!(op.fragments_tail, NONE);
    }
}

/// Whether the union of two queued writes is a rectangle of one band.
fn fits(op: &StripeOp, other: &StripeOp, band_bytes: u32) -> bool {
    let queued_write = matches!((other.kind, other.phase), (OpKind::Write { .. }, Phase::Queued));
    if !queued_write
        || op.stripe != other.stripe
        || op.fragment_count + other.fragment_count > FRAGMENTS_PER_OP_MAX
    {
        return false;
    }
    let side_by_side = op.row == other.row
        && op.row_end == other.row_end
        && op.strips.is_disjoint_from(other.strips);
    let adjoining = op.strips == other.strips
        && (op.row_end == other.row || other.row_end == op.row)
        && op.row / band_bytes == other.row / band_bytes;
    side_by_side || adjoining
}
