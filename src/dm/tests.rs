//! Tests of the language as a whole.
//!
//! Not here: tests of one module, which stand in it.

mod golden;
mod round_trip;
mod sentences;
