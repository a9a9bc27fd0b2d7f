//! Verified jobs: what is written is stamped, what is read is checked.
//!
//! ```text
//!   write, randwrite, randrw      StampedWrites ---- written: which blocks, which pass ---+
//!                                 (reads of randrw are checked as they come)              |
//!                                                                                         v
//!                                 ReadBack: every written block, exactly this stamp   by another
//!                                                                                     reactor
//!   read, randread                CheckedReads: any stamp of the job's seed
//! ```
//!
//! Owns: two requests that overlap are never in flight together while one of them is a write. Each
//! reactor writes only its part of the range; in it every pass takes each block once, in an order
//! that needs no table (ascending, or a permutation); between two passes everything comes back.
//! Reads of `randrw` take only blocks that this pass has written, all of whose predecessors in the
//! pass have been written too.
//!
//! The read-back of a part is done by the next reactor, not by the one that wrote it: an array
//! must show every core the same bytes.
//!
//! Not here: the bytes of a stamp (`stamp`), the order of the phases (`run`).

mod checks;
mod order;
mod readback;
mod reads;
mod window;
mod writes;

pub(crate) use checks::Findings;
pub use checks::Mismatch;
pub(crate) use readback::ReadBack;
pub(crate) use reads::CheckedReads;
pub(crate) use writes::{StampedWrites, Written};
