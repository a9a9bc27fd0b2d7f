//! Every bound of this crate (R6): what is full makes its user wait, it never grows.
//!
//! Not here: limits of devices and arrays, which have files of this name of their own.

use crate::clock::Ticks;
use crate::memory::BUF_ALIGN_BYTES;

/// Control messages that may wait in one reactor's inbox. Senders wait while it is full.
pub const INBOX_MESSAGES_MAX: usize = 1024;

/// Control messages that one thread of reactors may hold for inboxes that are full. More than
/// that is a data path where a control path was meant, and panics.
pub const OUTBOX_MESSAGES_MAX: usize = 4 * INBOX_MESSAGES_MAX;

/// Messages that a reactor runs in one turn, so that they cannot keep pollers waiting.
pub const MESSAGES_PER_TURN_MAX: usize = 64;

/// An adaptive reactor sleeps after this time without progress. A wake-up costs from 5 us to some
/// 100 us in a virtual machine, so a shorter wait would trade latency for little.
pub const IDLE_BEFORE_SLEEP: Ticks = Ticks::from_micros(200);

/// An adaptive reactor spins through waits shorter than this: the kernel's sleep is measured in
/// milliseconds, and timers should not come late.
pub const SLEEP_MIN: Ticks = Ticks::from_millis(1);

/// Events that one sleep takes from the kernel. The rest stays there for the next.
pub const EVENTS_PER_SLEEP_MAX: usize = 64;

/// Largest buffer pool: `2^31` blocks of 4 KiB.
pub const POOL_BYTES_MAX: usize = BUF_ALIGN_BYTES << 31;

/// Largest block that counts as small in the statistics of a pool: SPDK's default.
pub const SMALL_BUFFER_BYTES_MAX: usize = 8192;

/// Blocks of one size that a pool keeps ready without joining them with their buddies.
pub const POOL_WARM_BLOCKS_MAX: usize = 64;

/// Blocks that a pool takes back from other threads in one allocation, unless it is out of memory.
pub const POOL_RETURNS_PER_ALLOC_MAX: usize = 64;

/// One more than the highest core number that can be named: the kernel's `CPU_SETSIZE`.
pub const CORES_MAX: usize = 1024;

const _: () = assert!(MESSAGES_PER_TURN_MAX <= INBOX_MESSAGES_MAX);
const _: () = assert!(POOL_RETURNS_PER_ALLOC_MAX <= POOL_WARM_BLOCKS_MAX);
const _: () = assert!(SLEEP_MIN.0 >= 1_000_000, "epoll's timeout is in milliseconds");
