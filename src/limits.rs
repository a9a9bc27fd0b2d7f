//! Every bound of the service itself (R6: everything is bounded, and full means a clear refusal).
//!
//! Not here: the bounds of sockets (`rpc::limits`), devices, reactors and the core, which have
//! files of this name of their own.

use std::time::Duration;

/// Bdevs that exist at a time. `bdev_get_bdevs` writes about 1 KiB for each, so all of them fit
/// into one reply of at most [`rpc::limits::RESPONSE_BYTES_MAX`].
pub const BDEVS_MAX: usize = 4096;

/// Longest name of a bdev, in bytes: what fits a log line, and a path component if one is ever made
/// of it.
pub const NAME_BYTES_MAX: usize = 255;

/// Largest configuration file. The largest that makes sense, [`BDEVS_MAX`] bdevs, is below 2 MiB.
pub const CONFIG_BYTES_MAX: u64 = 64 << 20;

/// Buffers of one reactor. They are resident from the start, on every core, so this is no more than
/// what requests of the control plane need; tools that bring load ask for more.
pub const BUFFER_BYTES_PER_REACTOR: usize = 16 << 20;

/// How long the flush of one bdev may take when the service stops.
pub const FLUSH_TIME_LIMIT: Duration = Duration::from_secs(60);

/// How long a mapped device may take to come to rest when it is suspended.
pub const SUSPEND_TIME_LIMIT: Duration = Duration::from_secs(60);

/// Buffers that `raid456 perf` and `raid456 dd` add to each reactor's; what they need beyond that
/// comes from the heap.
pub const TOOL_BUFFER_BYTES_MAX: usize = 4 << 30;

/// Largest block of `raid456 dd`, in bytes.
pub const DD_BLOCK_BYTES_MAX: u64 = 1 << 30;

/// Blocks that `raid456 dd` has under way at a time, all together, in bytes.
pub const DD_BUFFERS_BYTES_MAX: u64 = 4 << 30;

/// Names of bdevs that a message lists.
pub const NAMES_TOLD_MAX: usize = 16;

/// Events of arrays that wait for the monitor; whoever misses one looks at the array's state anyway.
pub const EVENTS_MAX: usize = 1024;

/// Events that are kept for those who ask later (SPDK's ring).
pub const EVENTS_KEPT_MAX: usize = 1024;

/// How often a call that waits for a bdev looks whether its caller is still there.
pub const WAIT_SLICE: Duration = Duration::from_millis(100);

/// How often what the state asks for, and could not be, is tried again though nothing seems to have changed.
pub const STATE_RETRY: Duration = Duration::from_secs(5);

/// How often context switches of the reactors are told, while they are.
pub const SWITCHES_TOLD_EVERY: Duration = Duration::from_secs(1);

/// Longest that a call waits for a bdev, whatever it asks for: a day.
pub const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How often `raid456 scrub` looks whether its checks have ended.
pub const SCRUB_LOOK_EVERY: Duration = Duration::from_millis(500);

/// Bdevs that one message to a reactor looks at: about 20 us of one turn. More of them are looked at in
/// the turns after it.
pub const LOOKS_PER_MESSAGE: usize = 32;

/// How long a survey waits for reactors; a healthy one answers within microseconds.
pub const SURVEY_TIME_LIMIT: Duration = Duration::from_secs(1);

/// How often a survey tries to have the registry before it goes by what it last said, and how long it
/// waits in between.
pub const REGISTRY_TRIES: u32 = 10;
/// See [`REGISTRY_TRIES`].
pub const REGISTRY_TRY_WAIT: Duration = Duration::from_millis(1);

/// Connections of the HTTP server at a time; one more takes the place of the oldest that says nothing.
pub const HTTP_CONNECTIONS_MAX: usize = 64;

/// Longest head of a request to it, in bytes.
pub const HTTP_HEAD_BYTES_MAX: usize = 8192;

/// How long a client may take for the head of its request ...
pub const HTTP_HEAD_TIME: Duration = Duration::from_secs(5);
/// ... to take the answer ...
pub const HTTP_WRITE_TIME: Duration = Duration::from_secs(30);
/// ... and to close its side after that.
pub const HTTP_LINGER_TIME: Duration = Duration::from_secs(1);

/// How long the HTTP server pauses when it cannot accept.
pub const HTTP_ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Events that the status page and `raid456 status` show.
pub const STATUS_EVENTS_MAX: usize = 50;

const _: () = assert!(BDEVS_MAX * 4096 <= rpc::limits::RESPONSE_BYTES_MAX);

/// Buffers of the NVMe/TCP target on one reactor, once there is a transport.
pub const NVMF_BUFFER_BYTES_PER_REACTOR: usize = 32 << 20;

/// Bytes of those that one connection may have at a time; one command always may.
pub const NVMF_BUFFER_BYTES_PER_LINK_MAX: usize = 8 << 20;

/// Bytes that are read from a socket before it is known where they belong.
pub const NVMF_STAGE_BYTES: usize = 16 << 10;

/// Reads from one connection in one turn.
pub const NVMF_READS_PER_TURN_MAX: usize = 4;

/// Gathered writes to one connection in one turn.
pub const NVMF_WRITES_PER_TURN_MAX: usize = 2;

/// Parts of one gathered write.
pub const NVMF_SLICES_PER_WRITE_MAX: usize = 256;

/// Connections that a reactor finds ready in one turn.
pub const NVMF_EVENTS_PER_TURN_MAX: usize = 64;

/// How long after it moved a connection is read every turn without asking first, in microseconds.
pub const NVMF_HOT_US: u64 = 500;

/// How long the others may go without being asked meanwhile, in microseconds.
pub const NVMF_LOOK_US: u64 = 20;

/// Connections to the target, over all listeners.
pub const NVMF_CONNECTIONS_MAX: usize = 4096;

/// Questions of reactors that wait for the target's desk.
pub const NVMF_ASKS_MAX: usize = 1024;

/// Connects that wait until requests of the same host's earlier connections have ended.
pub const NVMF_PARKED_MAX: usize = 256;

/// Connections that the kernel keeps until they are accepted.
pub const NVMF_LISTEN_BACKLOG: i32 = 512;

/// How long the target does not accept when the process has no file descriptor left.
pub const NVMF_ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How long a connection may be silent before the system asks whether its host is still there.
pub const NVMF_SILENCE: Duration = Duration::from_secs(60);

/// How long requests at a bdev may take to end when its namespace is removed; then its commands are
/// answered all the same.
pub const NVMF_DRAIN_TIME_LIMIT: Duration = Duration::from_secs(10);

/// How often it is looked whether they have.
pub const NVMF_DRAIN_SLICE: Duration = Duration::from_millis(2);

/// Keys of the keyring.
pub const KEYS_MAX: usize = 1024;

/// Largest file of a key, in bytes.
pub const KEY_FILE_BYTES_MAX: u64 = 4096;
