//! The tools `raid456 perf` and `raid456 dd` as people run them: the real program on real files.
//!
//! Not here: the service and its client (`blackbox`), single parts of the tools (beside them).

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod dd;
mod perf;
mod place;
