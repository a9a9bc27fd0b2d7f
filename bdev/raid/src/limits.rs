//! Every bound of the core, with the inequalities that hold between them (invariant R6: everything is
//! bounded, full means back-pressure, never growth).
//!
//! Not here: the bounds of reactors (`reactor::limits`), of devices (`device::limits`) and of sockets.

/// Most members an array can have. Slots are named by a byte and md's Q exponents run to 254.
pub const MEMBERS_MAX: usize = 255;

/// Fewest members of a RAID 4 or RAID 5 array.
pub const MEMBERS_MIN: usize = 3;

/// Longest name of an array or of a log bdev that a superblock keeps, in bytes: what every bdev's name
/// stays within.
pub const NAME_BYTES_MAX: usize = 255;

/// Smallest block of an array.
pub const BLOCK_BYTES_MIN: u32 = 512;

/// Smallest strip: md's unit of work, and the smallest block that every device can be asked for.
pub const STRIP_BYTES_MIN: u32 = 4 << 10;

/// Largest strip. dm-raid45 stops at 8 MiB; md's own limit is far beyond any use.
pub const STRIP_BYTES_MAX: u32 = 16 << 20;

/// Most rows, in bytes per member, that one stripe operation covers. Sources and parity of one
/// operation then stay in the second-level cache, and scratch memory per operation stays bounded.
pub const BAND_BYTES_MAX: u32 = 128 << 10;

/// Fewest rows of a band, however many members there are.
pub const BAND_BYTES_MIN: u32 = 4 << 10;

/// Stripe operations that one shard has queued or in flight: the stripe cache of md and dm-raid45.
pub const STRIPE_OPS_MAX: usize = 512;

/// Fewest stripe operations of hosts that a shard is left with, however small the stripe cache.
pub const STRIPE_OPS_MIN: usize = 1;

/// Requests (each the part of a host request that falls into one stripe) admitted to one shard.
pub const PIECES_MAX: usize = 512;

/// Fragments: the cells (one strip of one band) of all admitted pieces.
pub const FRAGMENTS_MAX: usize = 4096;

/// Fragments that one stripe operation may gather by merging: bounds the length of a vectored write.
pub const FRAGMENTS_PER_OP_MAX: u32 = 256;

/// Regions that one shard holds a lease on, or waits for one, at a time.
pub const LEASES_MAX: usize = 4096;

/// Time that a shard keeps the lease of a region in which it no longer writes, unless another is asked
/// for: md's default `daemon_sleep` of 5 s (linux-raid.md, section 5.8).
pub const LEASE_IDLE_NS: u64 = 5_000_000_000;

/// Most bytes of the dirty log's area that are read or written at once: the whole log of most arrays,
/// and a bound on the buffer for the others.
pub const LOG_IO_BYTES_MAX: u64 = 1 << 20;

/// Stripe operations of a background action (resync, check) that one shard has in flight.
pub const SYNC_OPS_MAX: usize = 4;

/// Component bytes of one stretch of a background action: the grain at which it is paced.
pub const WORK_BYTES: u64 = 1 << 20;

/// Stretches of a background action that shards have at a time: a shard that is done with its stripes of
/// one goes on with the next while others are still at work.
pub const STRETCHES_MAX: usize = 4;

/// Marks from which the speed of a background action is measured: md's `SYNC_MARKS`.
pub const PACE_MARKS: usize = 10;

/// Time between two marks: md's `SYNC_MARK_STEP` of 3 s.
pub const PACE_MARK_NS: u64 = 3_000_000_000;

/// Longest time that a background action that is too fast waits before it looks again: md's 500 ms.
pub const PACE_WAIT_MAX_NS: u64 = 500_000_000;

/// Time that a background action waits while hosts are at work, before it looks again.
pub const PACE_BUSY_WAIT_NS: u64 = 50_000_000;

/// Time between two passes that clear bits of regions that are idle.
pub const CLEAR_INTERVAL_NS: u64 = 500_000_000;

/// A rebuild or resync is recorded in the superblocks whenever it has done one part in so many...
pub const CHECKPOINT_PARTS: u64 = 16;

/// ... or when so much time has passed (linux-raid.md, section 5.6).
pub const CHECKPOINT_NS: u64 = 300_000_000_000;

/// Stripe operations that are kept free of the mending of unreadable blocks.
pub const STRIPE_OPS_RESERVED: usize = 128;

/// Reads in a row that a member may fail, all of them mended, before it is taken out of use: md's
/// `max_nr_stripes` at its default of 256 (linux-raid.md, section 5.4).
pub const READ_ERRORS_MAX: u32 = 256;

/// Most scratch memory of one shard. The height of a band shrinks so that several operations over all
/// members fit (see [`band_bytes`]).
pub const SCRATCH_BYTES_MAX: usize = 32 << 20;

/// Least scratch memory of one shard: what a deep queue of small read-modify-writes takes.
pub const SCRATCH_BYTES_MIN: usize = 4 << 20;

const _: () =
    assert!(MEMBERS_MAX == u8::MAX as usize, "255 is no slot: it means spare on a device");
const _: () = assert!(NAME_BYTES_MAX == u8::MAX as usize, "lengths of names are bytes on a device");
const _: () = assert!(FRAGMENTS_MAX > MEMBERS_MAX, "one band of the widest stripe must fit");
const _: () = assert!(FRAGMENTS_PER_OP_MAX as usize > MEMBERS_MAX - 1, "and in one operation");
const _: () = assert!(STRIPE_OPS_RESERVED < STRIPE_OPS_MAX);
const _: () = assert!(LEASES_MAX > STRIPE_OPS_MAX, "an operation keeps one lease busy at most");
const _: () = assert!(STRIPE_OPS_MAX > SYNC_OPS_MAX, "a background action never takes every slot");
const _: () = assert!(
    MEMBERS_MAX.next_power_of_two() * BAND_BYTES_MIN as usize * 4 <= SCRATCH_BYTES_MAX,
    "four operations over the widest array fit into the scratch memory"
);

/// Height of a band in bytes for an array of `members` with strips of `strip_bytes`: a power of two,
/// such that four operations that need a buffer for every member fit into [`SCRATCH_BYTES_MAX`].
#[must_use]
pub fn band_bytes(members: usize, strip_bytes: u32) -> u32 {
    let fit = SCRATCH_BYTES_MAX / (4 * members.next_power_of_two());
    let fit = u32::try_from(fit).unwrap_or(u32::MAX);
    fit.clamp(BAND_BYTES_MIN, BAND_BYTES_MAX).min(strip_bytes)
}

/// Scratch memory of one shard in bytes: sixteen operations over all members, within the bounds.
#[must_use]
pub fn scratch_bytes(members: usize, strip_bytes: u32) -> usize {
    let operation = members.next_power_of_two() * band_bytes(members, strip_bytes) as usize;
    (16 * operation).clamp(SCRATCH_BYTES_MIN, SCRATCH_BYTES_MAX)
}
