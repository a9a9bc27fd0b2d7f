//! Deterministic simulator: the production core (`raid`) over simulated members, with crashes and faults.
//!
//! ```text
//!   seed --> swarm: shape, load, faults       run: lives, crashes, the end
//!              | make: devices, filled          |
//!            world: time, queue, messages  <----+---->  boot: superblocks, log, assembly
//!              |            |          |
//!            shell        orders      host, chaos       who does what the core says, or to it
//!              |            |          |
//!            disk: cache, torn writes, bad sectors, failed flushes
//!
//!            oracle, truth, images, judge               what must be true, R1 to R10
//!            plant                                      bugs that the judge must find
//! ```
//!
//! One thread, one source of chance, virtual time: the same seed is the same run, bit for bit. Shards,
//! coordinator, superblocks, assembly and dirty log are the production code; everything else is written
//! anew here, so that no mistake is made twice.
//!
//! Not here: real devices, threads and queues (crate `array`), kernels (crate `parity`).

#![forbid(unsafe_code)]

pub mod boot;
pub mod chaos;
pub mod compute;
pub mod disk;
pub mod host;
pub mod images;
pub mod judge;
pub mod make;
pub mod math;
pub mod oracle;
pub mod orders;
pub mod plant;
pub mod prng;
pub mod run;
pub mod shell;
pub mod stats;
pub mod swarm;
pub mod truth;
pub mod world;
