//! The raid bdev: the pure core (crate `raid`), the parity kernels and the members' channels, put
//! together on reactors.
//!
//! ```text
//!   channel --> shard <-----------------> other shards of the array
//!                 |  issue    host requests fall into parts: fast reads, pieces
//!                 |  execute  actions of the core, orders of the coordinator
//!                 |  compute  recipes over buffers      piece  whose bytes they are
//!                 v
//!              member channels
//!
//!   raid_bdev (control thread): create, remove a member, stop -- commands to shards, answers back
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
mod execute;
mod host;
mod issue;
pub mod limits;
mod member;
mod message;
mod piece;
mod raid_bdev;
mod segments;
mod shard;
mod spec;

pub use raid_bdev::RaidBdev;
pub use shard::ShellCounters;
pub use spec::{
    CreateError, MemberSnapshot, RaidSnapshot, RaidSpec, RemoveError, RestError, ResyncProgress,
    ShardSnapshot,
};
