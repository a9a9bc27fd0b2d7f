//! The bounds of the raid bdev's shell (invariant R6).
//!
//! Not here: the bounds of the core (`raid::limits`) and of the members' channels (`device::limits`).

/// Direct reads that one shard has with its members, and as many other host requests.
pub const HOSTS_MAX: usize = 2048;

/// Parts (member reads and pieces) of one host request that are under way at a time. A request of any
/// length goes on as its parts end.
pub const PARTS_MAX: u32 = 64;

/// Messages that wait in one shard's mailbox. What finds it full waits with its sender, who has a
/// bound of its own: [`HOSTS_MAX`] requests of [`PARTS_MAX`] parts.
pub const MAILBOX_MAX: usize = 1024;

/// Messages that one turn takes out of the mailbox.
pub const MESSAGES_PER_TURN_MAX: usize = 256;

/// Users of one array on one reactor.
pub const CLIENTS_MAX: usize = 4096;

/// Requests that one device has from one shard at a time; more wait for their turn.
pub const MEMBER_IN_FLIGHT_MAX: usize = 1024;

/// Requests under way that one shard follows for its log at a time; others pass by.
pub const TRACED_IN_FLIGHT_MAX: usize = 256;

/// Memory of one array for writes of its log: as much as one write can have. More at a time, which are
/// rare, come from the heap.
pub const LOG_BUFFER_BYTES: usize = raid::limits::LOG_IO_BYTES_MAX as usize;

/// How often a shard looks for idle leases, and for requests that take too long. A turn that takes longer
/// counts for so much only: what it found to be overdue may have been answered meanwhile.
pub const LEASE_CHECK_NS: u64 = 500_000_000;

/// How long a request may be with a member before the member is taken for failed, unless another time is
/// asked for: what Linux gives an NVMe device.
pub const IO_TIMEOUT_S: u64 = 30;

/// How many times as long a device may take no request at all, while it has none: it is full of what others
/// have asked of it, who are given up before that.
pub const REFUSED_TIMES_MAX: u64 = 4;

/// What an array takes, besides the time that it waits for a device, until it answers in the device's place:
/// it notices late, comes to rest, and puts the failure on record.
pub const ANSWER_MARGIN_NS: u64 = 10_000_000_000;

/// How long the control path waits for an array to come to rest before it says that it does not; longer where
/// the array may take longer to give up its members and to answer.
pub const QUIESCE_TIMEOUT_S: u64 = 60;

/// How long it waits for the first update of a new array's superblocks to begin, which it does with the first turn
/// unless a member fails meanwhile.
pub const FIRST_UPDATE_S: u64 = 1;

/// How long the control path waits for rest where writes are held until the array's owner allows them, which nobody will do any more.
pub const DRAIN_BLOCKED_S: u64 = 1;

const _: () = assert!(ANSWER_MARGIN_NS >= 4 * LEASE_CHECK_NS, "who is above notices later");
const _: () = assert!(HOSTS_MAX <= 1 << 23 && CLIENTS_MAX <= 1 << 16, "they are packed in tokens");
