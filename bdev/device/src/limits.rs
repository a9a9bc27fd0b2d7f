//! Every bound of the crate in one place (invariant R6: full means back-pressure, never growth).
//!
//! A bound on requests is enforced where they come in: `IoChannel::submit` hands the request
//! back. A bound on resources (channels, file slots, buffer slots) is enforced where they are
//! opened or registered, on the control path.
//!
//! Not here: sizes that belong to one device (its block size, its number of blocks).

use reactor::Ticks;

/// Block sizes that a bdev may have, in bytes: what the RAID layouts and NVMe hosts agree on.
pub const BLOCK_SIZES_BYTES: [u32; 2] = [512, 4096];

/// Completions that one `IoChannel::poll` appends at most, so that one busy channel cannot keep
/// a reactor from its other work.
pub const COMPLETIONS_PER_POLL_MAX: usize = 128;

/// Requests that one channel holds at most, from `submit` until `poll` has given them back.
pub const CHANNEL_IN_FLIGHT_MAX: usize = 256;

/// Requests that one engine (the io_uring or the AIO context of one reactor) has with the kernel
/// at most. It is also the size of the submission ring: a request has one entry in it at most,
/// so the ring cannot be full while the engine has a free slot. A power of two, as rings are.
pub const ENGINE_IN_FLIGHT_MAX: usize = 8192;

/// The same of an io_uring where there is too little memory for that.
pub const URING_IN_FLIGHT_LEAST: usize = 1024;

/// Part of `fs.aio-max-nr` that the AIO contexts of a process have together, as a divisor: the rest is for
/// others. By the default of 65536, 64 reactors have 512 each, and four the full size.
pub const AIO_SHARE_DIVISOR: u64 = 2;

/// Requests that an AIO context has at least: so many are asked for where there are more reactors, and
/// where others have taken too much.
pub const AIO_IN_FLIGHT_LEAST: usize = 128;

/// Slots of an engine that are kept for each channel. What a device does not answer keeps its slot
/// for ever, so devices that hang may take all those that are everybody's, and none of these: the
/// others go on, if with less at a time. Half of an engine's slots are kept so; channels for which these are
/// not enough have none of their own.
pub const CHANNEL_OWN_SLOTS: usize = 4;

/// Channels that one engine serves at most; each holds one slot of the ring's file table.
pub const ENGINE_CHANNELS_MAX: usize = 1024;

/// Slots of a ring's buffer table. A memory region takes one per [`BUFFER_SLOT_BYTES_MAX`].
pub const BUFFER_SLOTS_MAX: usize = 1024;

/// Largest piece of memory that the kernel registers as one fixed buffer
/// (`io_buffer_validate` in io_uring/rsrc.c: 1 GiB).
pub const BUFFER_SLOT_BYTES_MAX: usize = 1 << 30;

/// Bytes that one kernel request moves at most. The kernel itself stops at `MAX_RW_COUNT`
/// (2 GiB less a page); what is longer goes on where the kernel stopped, as after any short
/// transfer.
pub const TRANSFER_BYTES_MAX: usize = 1 << 30;

/// Segments that one kernel request carries at most (`UIO_MAXIOV`).
pub const SEGMENTS_PER_TRANSFER_MAX: usize = 1024;

/// Segments that a request may have without an allocation.
pub const SEGMENTS_RESERVED: usize = 16;

/// How long a request is tried again after `EAGAIN`, `EINTR`, `EBUSY` or `ENOMEM`, once a turn of the
/// reactor, before it completes with `IoStatus::TimedOut`. What is short has come back by then, or the
/// system has other troubles; it is far less than an array waits for its members.
pub const RETRY_TIME: Ticks = Ticks::from_secs(5);

/// The least number of times, however long the process was stopped meanwhile.
pub const RETRIES_LEAST: u32 = 16;

/// Size of an engine's buffer of zeroes, in bytes, for write-zeroes where the kernel has no better
/// way. Longer ranges take several writes.
pub const ZERO_BUFFER_BYTES: usize = 1 << 20;

/// Bytes that one poll of a RAM disk's channel copies before it leaves the rest to the next one
/// (about 100 us).
pub const MALLOC_POLL_BYTES_MAX: u64 = 1 << 20;

/// Bytes of a RAM disk that one turn of the reactor zeroes at most (about 20 us).
pub const MALLOC_ZERO_STEP_BYTES: usize = 256 << 10;

/// Completion-queue entries that one turn reaps at most.
pub const REAPED_PER_TURN_MAX: usize = 256;

/// How long the drop of an engine waits for requests that the kernel still has, in seconds. After
/// that their buffers are leaked on purpose: the kernel may write to them at any later time.
pub const DRAIN_SECONDS_MAX: u32 = 30;

/// Rules of one error bdev; an injection for all kinds of requests makes up to four.
pub const INJECTIONS_MAX: usize = 64;

/// Blocks of one bad range that a write heals, since each is kept track of by itself.
pub const WRITABLE_BAD_BLOCKS_MAX: u64 = 1 << 16;

/// Blocks in the volatile cache of one error bdev. Each takes 4 KiB, whatever its size.
pub const CACHE_BLOCKS_MAX: usize = 8192;

/// Blocks of the longest write that goes into that cache; what is longer goes past it.
pub const CACHE_WRITE_BLOCKS_MAX: usize = 1024;

/// Blocks that a full cache writes back for a write that waits, unless the write is longer.
pub const CACHE_EVICT_BLOCKS: usize = 256;

/// Blocks that one write to the base carries from that cache.
pub const CACHE_RUN_BLOCKS_MAX: usize = 64;

/// Longest latency of a delay bdev, in microseconds: an hour. Whoever stops an array waits for what
/// its members hold.
pub const DELAY_MICROS_MAX: u64 = 3600 * 1_000_000;

/// Segments in the table of a mapped device.
pub const MAPPED_SEGMENTS_MAX: usize = 4096;

/// Parts of one request to a mapped device that are with the bdevs behind it at a time, so that one
/// long request does not keep the others of its channel waiting.
pub const MAPPED_PARTS_MAX: u32 = 32;

/// Finest histogram: two to the power of this many buckets for each power of two, a thousandth of a
/// value. One over all of 64 bits takes 440 KiB on each reactor.
pub const HISTOGRAM_GRANULARITY_MAX: u8 = 10;

/// How long whoever wants to use a device waits for requests of those who have given it up.
pub const LINGERING_PATIENCE: Ticks = Ticks::from_secs(1);

/// How long a file that somebody else has locked is waited for: what the kernel still has of a process that was
/// killed has ended by then, unless its device does not answer. It is the time of all files together.
pub const LOCK_PATIENCE: Ticks = Ticks::from_secs(3);

/// The same for each file by itself, when that time is over: its bdev may just have been deleted.
pub const LOCK_PATIENCE_LEAST: Ticks = Ticks(50_000_000);

/// How long no file may be found locked until the next one is waited for anew. Longer than it takes until what
/// could not be made is tried again.
pub const LOCK_RESPITE: Ticks = Ticks::from_secs(15);

/// What a bdev with a limit may be ahead of it, in nanoseconds of its rate.
pub const LIMIT_BURST_NS: u64 = 1_000_000;

const _: () = assert!(LOCK_PATIENCE.0 < LOCK_RESPITE.0);
const _: () = assert!(CACHE_EVICT_BLOCKS <= CACHE_WRITE_BLOCKS_MAX);
const _: () = assert!(CACHE_WRITE_BLOCKS_MAX <= CACHE_BLOCKS_MAX / 2);
const _: () = assert!(ENGINE_CHANNELS_MAX * CHANNEL_OWN_SLOTS * 2 <= ENGINE_IN_FLIGHT_MAX);
const _: () = assert!(CHANNEL_IN_FLIGHT_MAX * 16 <= ENGINE_IN_FLIGHT_MAX / 2);
const _: () = assert!(ENGINE_IN_FLIGHT_MAX.is_power_of_two() && ENGINE_IN_FLIGHT_MAX <= 1 << 15);
const _: () = assert!(URING_IN_FLIGHT_LEAST.is_power_of_two());
const _: () = assert!(AIO_IN_FLIGHT_LEAST >= 2 * 16 * CHANNEL_OWN_SLOTS);
const _: () = assert!(ENGINE_CHANNELS_MAX <= u16::MAX as usize);
const _: () = assert!(BUFFER_SLOTS_MAX <= u16::MAX as usize);
const _: () = assert!(TRANSFER_BYTES_MAX <= 0x7fff_f000);
const _: () = assert!(ZERO_BUFFER_BYTES <= TRANSFER_BYTES_MAX);
