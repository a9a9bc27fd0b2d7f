//! The raid bdev: the pure core (crate `raid`), the parity kernels and the members' channels, put
//! together on reactors.
//!
//! ```text
//!   channel --> shard <-----------------> other shards of the array
//!                 |  issue    host requests fall into parts: fast reads, pieces
//!                 |  execute  actions of the core
//!                 |  conduct  orders of the coordinator: log bdev, superblocks, flushes   (shard 0)
//!                 |  compute  recipes over buffers      piece  whose bytes they are
//!                 v
//!              member channels
//!
//!   raid_bdev (control thread): create, assemble, stop
//!   seats     (control thread): members that come and go
//!   look      what shards and coordinator know, put together
//!   start     (control thread): what an array starts with: superblocks and log are read
//!   occupant  (control thread): what is on a device before
//! ```
//!
//! An array has one shard on every reactor; each stripe belongs to one of them. An array is a bdev like
//! any other, so it can be the member of another one.
//!
//! Unmap writes zeroes: parity has to match what is read afterwards, and zeroes are what hosts expect.
//!
//! Not here: any decision about stripes, regions or plans (crate `raid`); names and configuration.
#![forbid(unsafe_code)]

mod channel;
mod compute;
mod conduct;
mod execute;
mod host;
mod issue;
pub mod limits;
mod look;
mod member;
mod message;
mod occupant;
mod patience;
mod piece;
mod raid_bdev;
mod seats;
mod segments;
mod shard;
mod snapshot;
mod spec;
mod start;
mod trace;
mod tuning;

pub use look::ShardLook;
pub use occupant::{
    Occupant, describe, log_occupant, mark_spare, occupant, probe, replaced_by, wipe,
};
pub use raid_bdev::RaidBdev;
pub use seats::check_spare;
pub use shard::ShellCounters;
pub use snapshot::{MemberErrors, MemberSnapshot, RaidSnapshot, ShardSnapshot};
pub use spec::{
    AddError, ArrayEvent, Before, CreateError, KnownRaid, LastEnd, RaidOptions, RaidSpec,
    RemoveError, RestError,
};
pub use tuning::Tuning;
