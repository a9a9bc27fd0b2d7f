//! Aligned I/O memory that travels by ownership.
//!
//! Owns these invariants (the files below argue each one where it is kept):
//!
//! - a byte of a block is reachable through at most one [`IoBufMut`], or through any number of
//!   [`IoBuf`]s, never both;
//! - a block goes home exactly once, when its last view is dropped, on whatever thread that is;
//! - memory is mapped for as long as one view of it lives, even when its [`Pool`] is gone;
//! - a pool never grows (R6): `alloc` answers `None`, and the caller waits.
//!
//! ```text
//!   Region  (mmap, 2 MiB aligned, listed globally so that rings can register it)
//!   +--------+--------+----------------+--------------------------------+
//!   | block  | block  | block          | block                          |   Pool = Buddy over units
//!   +--------+--------+----------------+--------------------------------+   of 4 KiB
//!       ^                ^      ^
//!       | IoBufMut       |      +---- IoBuf, IoBuf    ptr, len, block header: 24 bytes
//!       |                +----------- IoBuf
//!   headers: [refs | unit | base | owner] one per unit, apart from the data, made once
//! ```
//!
//! | file | holds | unsafe |
//! |---|---|---|
//! | `home` | thread tokens, `HomeOnly`: a value that only its home thread reaches | one `impl Sync` |
//! | `block` | the reference-counted block header and the untyped view of a block | yes |
//! | `buf` | [`IoBufMut`], [`IoBuf`] | slices |
//! | `rejoin` | [`Rejoin`] | none |
//! | `mapping` | one mmap, from its start to its end | system calls |
//! | `region` | [`Region`]: kinds of pages, the global list | none |
//! | `buddy` | index arithmetic of the allocator | none |
//! | `pool` | [`Pool`]: buddy + headers + the way home from foreign threads | yes |
//!
//! Not here: registering regions with io_uring or a device, and when to wait for memory.

mod block;
mod buddy;
mod buf;
pub(crate) mod home;
mod mapping;
mod pool;
mod region;
mod rejoin;
#[cfg(test)]
mod tests;

pub use buf::{IoBuf, IoBufMut};
pub use pool::{LoanCounts, Pool, PoolStats};
pub use region::{PageKind, Region, RegionId, regions, regions_generation};
pub use rejoin::Rejoin;

/// Alignment of every block, in bytes: what `O_DIRECT` and NVMe PRPs ask for at most.
pub const BUF_ALIGN_BYTES: usize = 4096;
