//! Black-box tests: a real `raid456 serve` in a process of its own, its socket, its signals, its
//! files, and `raid456 rpc` beside it.
//!
//! | file | what |
//! |---|---|
//! | `daemon` | starting, asking and ending it |
//! | `bdevs` | making, looking at and deleting every kind of bdev |
//! | `refusals` | wrong parameters: the right code, and nothing left behind |
//! | `wire` | what comes over the socket |
//! | `lifecycle` | start, configuration, signals, sockets |
//! | `client` | the command line |
//!
//! Not here: the bytes on the members (`tests/golden`, crate `array`).

#![expect(clippy::unwrap_used, reason = "test code may panic")]

mod bdevs;
mod client;
mod daemon;
mod lifecycle;
mod refusals;
mod wire;
