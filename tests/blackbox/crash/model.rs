//! What every block of the array may hold, by the journals of those who wrote to it.
//!
//! | block | may hold |
//! |---|---|
//! | acknowledged, nothing in flight at the crash | that write |
//! | a write in flight at the crash | it, or the one before |
//! | in a stripe with a write in flight, and the array was forced to start dirty and degraded | anything |
//!
//! What was read once is what the block holds from then on.
//!
//! Not here: reading (`rounds`).

use std::collections::BTreeSet;

use super::victim::{Record, Said};
use crate::rig::{BLOCK, version_of};

/// What is known of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    /// One of these writes.
    OneOf(Vec<u64>),
    /// Parity that may have been wrong was trusted for it.
    Anything,
}

/// What is known of all of them.
pub(super) struct Model {
    blocks: Vec<Known>,
    stripe_blocks: u64,
    /// Stripes with writes that no crash has left time to end, since the parity was last right.
    doubtful: BTreeSet<u64>,
}

/// What a journal says.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Told {
    pub(super) acknowledged: usize,
    pub(super) in_flight: usize,
}

impl Model {
    /// Of an array that was never written.
    pub(super) fn new(blocks: u64, stripe_blocks: u64) -> Self {
        let blocks = vec![Known::OneOf(vec![0]); blocks as usize];
        Self { blocks, stripe_blocks, doubtful: BTreeSet::new() }
    }

    /// Takes the journal of a life that a crash has ended.
    pub(super) fn hear(&mut self, journal: impl IntoIterator<Item = Record>) -> Told {
        let mut in_flight = BTreeSet::new();
        let mut acknowledged = 0;
        for Record { said, first_block, blocks, version } in journal {
            let range = first_block..first_block + blocks;
            match said {
                Said::Begun => {
                    in_flight.insert((first_block, blocks, version));
                    range.for_each(|block| self.may_hold(block, version));
                }
                Said::Done => {
                    acknowledged += 1;
                    in_flight.remove(&(first_block, blocks, version));
                    range.for_each(|block| self.holds(block, version));
                }
            }
        }
        for &(first_block, blocks, _) in &in_flight {
            let stripes =
                first_block / self.stripe_blocks..=(first_block + blocks - 1) / self.stripe_blocks;
            self.doubtful.extend(stripes);
        }
        Told { acknowledged, in_flight: in_flight.len() }
    }

    fn may_hold(&mut self, block: u64, version: u64) {
        if let Known::OneOf(versions) = &mut self.blocks[block as usize] {
            versions.push(version);
        }
    }

    fn holds(&mut self, block: u64, version: u64) {
        self.blocks[block as usize] = Known::OneOf(vec![version]);
    }

    /// Somebody insists that the parity of a dirty and degraded array is trusted.
    pub(super) fn forced(&mut self) {
        for stripe in &self.doubtful {
            let first = stripe * self.stripe_blocks;
            for block in first..first + self.stripe_blocks {
                self.blocks[block as usize] = Known::Anything;
            }
        }
    }

    /// All parity is right: nothing is in doubt any more.
    pub(super) fn settled(&mut self) {
        self.doubtful.clear();
    }

    /// Compares all of the array with what it may hold. Returns the blocks that hold no write at all,
    /// which only those may do that may hold anything.
    pub(super) fn observe(&mut self, bytes: &[u8]) -> Result<Vec<u64>, String> {
        let mut garbage = Vec::new();
        let mut wrong = Vec::new();
        for (block, bytes) in (0_u64..).zip(bytes.chunks_exact(BLOCK)) {
            let found = version_of(block, bytes);
            let known = &mut self.blocks[block as usize];
            match (&*known, found) {
                (Known::OneOf(versions), Some(found)) if versions.contains(&found) => {
                    *known = Known::OneOf(vec![found]);
                }
                (Known::Anything, Some(found)) => *known = Known::OneOf(vec![found]),
                (Known::Anything, None) => garbage.push(block),
                (Known::OneOf(versions), found) => {
                    let says = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                    wrong.push(format!("{block}: {found:x?} ({says:#x}), not of {versions:x?}"));
                }
            }
        }
        match wrong.len() {
            0 => Ok(garbage),
            count => Err(format!("{count} wrong blocks: {}", wrong[..count.min(8)].join("; "))),
        }
    }

    /// The test itself has written a block.
    pub(super) fn wrote(&mut self, block: u64, version: u64) {
        self.holds(block, version);
    }
}
