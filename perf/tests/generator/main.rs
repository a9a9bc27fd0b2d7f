//! The generator as its users have it: jobs on real reactors over devices, good ones and bad ones.
//!
//! Not here: tests of single parts, which are beside them.

mod devices;
mod load;
mod verify;
