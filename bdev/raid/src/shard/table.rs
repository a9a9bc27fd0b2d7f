//! The stripe table: which operations are queued or active on which stripe, in order of arrival.
//!
//! A fixed number of buckets, each a doubly linked list through the operations themselves. An operation
//! may start when nothing before it in its stripe overlaps it, and nothing active does (**R3**); so
//! overlapping writes run one after the other, in order, and all others side by side.
//!
//! Not here: what starting means (`shard`).

use super::op::{NONE, Phase, StripeOp};
use crate::event::OpId;
use crate::slab::Slab;
use crate::units::StripeId;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    head: u32,
    tail: u32,
}

/// Buckets of operations by stripe.
#[derive(Debug)]
pub(super) struct StripeTable {
    buckets: Vec<Bucket>,
}

impl StripeTable {
    /// A table for at most `ops` operations.
    pub(super) fn new(ops: usize) -> Self {
        let buckets = vec![Bucket { head: NONE, tail: NONE }; (ops * 2).next_power_of_two()];
        Self { buckets }
    }

    /// Appends an operation to its stripe.
    pub(super) fn link(&mut self, ops: &mut Slab<StripeOp>, id: OpId) {
        let index = self.index(ops[id].stripe);
        let bucket = &mut self.buckets[index];
        ops[id].prev = bucket.tail;
        ops[id].next = NONE;
        if bucket.tail == NONE {
            bucket.head = id;
        } else {
            ops[bucket.tail].next = id;
        }
        bucket.tail = id;
    }

    /// Takes an operation out of its stripe.
    pub(super) fn unlink(&mut self, ops: &mut Slab<StripeOp>, id: OpId) {
        let index = self.index(ops[id].stripe);
        let bucket = &mut self.buckets[index];
        let (prev, next) = (ops[id].prev, ops[id].next);
        if prev == NONE {
            bucket.head = next;
        } else {
            ops[prev].next = next;
        }
        if next == NONE {
            bucket.tail = prev;
        } else {
            ops[next].prev = prev;
        }
    }

    /// The operations in the bucket of a stripe, oldest first. Other stripes' may be among them.
    pub(super) fn bucket<'a>(
        &self,
        ops: &'a Slab<StripeOp>,
        stripe: StripeId,
    ) -> impl Iterator<Item = (OpId, &'a StripeOp)> + use<'a> {
        let mut at = self.buckets[self.index(stripe)].head;
        std::iter::from_fn(move || {
            let id = at;
            let op = ops.get(id)?;
            at = op.next;
            Some((id, op))
        })
    }

    /// Whether a queued operation must wait for another one.
    pub(super) fn is_blocked(&self, ops: &Slab<StripeOp>, id: OpId) -> bool {
        let op = &ops[id];
        let mut before = true;
        for (other_id, other) in self.bucket(ops, op.stripe) {
            if other_id == id {
                before = false;
            } else if (before || other.phase != Phase::Queued) && op.conflicts_with(other) {
                return true;
            }
        }
        false
    }

    fn index(&self, stripe: StripeId) -> usize {
        // Fibonacci hashing: a sequential stream fills the buckets evenly.
        let hash = stripe.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        usize::try_from(hash).expect("24 bits") & (self.buckets.len() - 1)
    }
}
