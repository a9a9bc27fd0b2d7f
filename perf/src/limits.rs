//! Every bound of the load generator in one place (invariant R6).
//!
//! Not here: what a channel holds at most (`device::limits`); a depth beyond it is allowed, and
//! the rest of the requests waits until the channel has room.

/// Requests that one reactor keeps in flight at most.
pub const IO_DEPTH_MAX: usize = 4096;

/// Largest request, in bytes.
pub const BLOCK_BYTES_MAX: u64 = 64 << 20;

/// Buffers that one reactor allocates for one direction at most, in bytes.
pub const BUFFERS_BYTES_MAX: u64 = 4 << 30;

/// The generator takes buffers from its reactor's pool only while this fraction of the pool stays
/// free for the devices and arrays below it; the rest comes from the heap.
pub const POOL_RESERVE_DIVISOR: usize = 4;

/// Mismatches that a report lists one by one; the rest is only counted.
pub const MISMATCHES_KEPT_MAX: usize = 16;

/// Stamped writes that may be ahead of the oldest one in flight, per reactor. A power of two, at
/// least the depth.
pub const VERIFY_WINDOW: u64 = 8192;

/// Longest latency that a histogram tells apart, in nanoseconds (one minute); longer ones count as
/// this long.
pub const LATENCY_NANOS_MAX: u64 = 60_000_000_000;

/// Latencies that one reactor keeps aside for one direction until it is known whether the moment was
/// undisturbed; runs of equal ones count once.
pub const LATENCY_RUNS_MAX: usize = 4096;

/// Significant decimal digits of a histogram's values.
pub const LATENCY_DIGITS: u8 = 3;

const _: () = assert!(VERIFY_WINDOW.is_power_of_two());
const _: () = assert!(VERIFY_WINDOW >= IO_DEPTH_MAX as u64);
