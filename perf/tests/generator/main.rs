//! The generator as its users have it: jobs on real reactors over devices, good ones and bad ones.
//!
//! Not here: tests of single parts, which are beside them.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod arrays;
mod devices;
mod load;
mod mapped;
mod verify;
