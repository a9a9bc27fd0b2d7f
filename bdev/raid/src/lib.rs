//! The pure core of RAID 4/5/6: geometry, plans, stripe machine, regions.
//!
//! It decides and never acts: no I/O, clock, thread, randomness or unsafe code is in it, and bytes never
//! enter. The same core runs under the reactors (crate `array`) and under a simulator.
//!
//! ```text
//!   units, limits, slab, bitmap, region_map        words, bounds, containers
//!        |
//!   layout, geometry                               where a byte lies
//!   rectangle, plan                                what an operation must read, compute, write
//!   dirty_log, lease, member                       what is known of regions and members
//!        |
//!   shard (op, table, merge, step, sync)           the stripes of one core: events in, actions out
//!   superblock                                     what every member says of the array, byte for byte
//!   assemble                                       who belongs together, and may it start
//!        |
//!   coordinator                                    one per array: log, members, background actions
//! ```
//!
//! Invariants owned here: R1 to R10, each where its module says so.
//!
//! Citations of `linux-raid.md` are of the project's notes on Linux's md and dm; the sources behind them are
//! the kernel's `raid5.c`, `md.c`, `md-bitmap.c`, `dm-raid.c`, `dm-log.c` and `dm-region-hash.c` (6.13).
//!
//! Not here: buffers and devices (crate `array`), arithmetic over bytes (crate `parity`).
#![forbid(unsafe_code)]

pub mod assemble;
pub mod bitmap;
pub mod coordinator;
pub mod dirty_log;
pub mod event;
pub mod geometry;
pub mod layout;
pub mod lease;
pub mod limits;
pub mod member;
pub mod plan;
pub mod rectangle;
pub mod region_map;
pub mod shard;
pub mod slab;
pub mod superblock;
pub mod units;
