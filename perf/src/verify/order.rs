//! The order in which a pass takes the blocks of a part: each once.
//!
//! Not here: which pass it is.

use crate::job::{Job, Part};
use crate::random::Permutation;

/// A bijection from the steps of a pass to the blocks of a part.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// For sequential patterns.
    Ascending,
    /// For random ones: another order in each pass and part.
    Shuffled(Permutation),
}

impl Order {
    /// The order of that pass over the part of that writer.
    pub(crate) fn new(job: &Job, part: Part, writer: u32, pass: u64) -> Self {
        if job.pattern.is_sequential() {
            Self::Ascending
        } else {
            let stream = u64::from(writer) << 40 | pass;
            Self::Shuffled(Permutation::new(part.blocks, job.seed, stream))
        }
    }

    /// The block, counted from the start of the part, that step number `step` takes.
    pub(crate) fn block(&self, step: u64) -> u64 {
        match self {
            Self::Ascending => step,
            Self::Shuffled(permutation) => permutation.at(step),
        }
    }
}
