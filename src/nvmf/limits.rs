//! Every bound of the target (R6).

/// Data that a command may carry in its capsule before it is known which queue it is, and on Admin
/// queues, in bytes (TCP, 3.3.2.1: Admin and Fabrics commands take 8192).
pub const ADMIN_IN_CAPSULE_BYTES: u32 = 8192;

/// Default of the data that an I/O command may carry in its capsule, in bytes.
pub const IN_CAPSULE_BYTES: u32 = 8192;

/// Default of the largest H2CData, in bytes.
pub const MAX_H2C_DATA_BYTES: u32 = 128 << 10;

/// Commands on a connection that has not connected to a queue: Connect, one at a time.
pub const UNCONNECTED_SLOTS: u16 = 2;

/// Largest queue, in entries: MQES and the bound of Connect's SQSIZE for I/O queues.
pub const QUEUE_ENTRIES_MAX: u16 = 128;

/// Largest Admin queue, in entries.
pub const ADMIN_ENTRIES_MAX: u16 = 128;

/// Default of the I/O queues of a controller.
pub const IO_QUEUES_MAX: u16 = 127;

/// MDTS: largest transfer is 2^this pages of 4 KiB: 1 MiB.
pub const MDTS_PAGES_LOG2: u8 = 8;

/// Largest transfer, in bytes.
pub const TRANSFER_BYTES_MAX: u32 = 4096 << MDTS_PAGES_LOG2;

/// Most bytes that wait to be sent for one command: R2T, or header, padding, digest and response.
pub const OUTBOX_BYTES_PER_SLOT: usize = 256;

/// Pieces of the outbox for one command: its data, and the mark that releases it.
pub const OUTBOX_CUTS_PER_SLOT: usize = 2;

/// Bytes of the outbox for ICResp and C2HTermReq.
pub const OUTBOX_BYTES_BASE: usize = 512;

/// How long a connection may take until it belongs to a queue, in microseconds.
pub const HANDSHAKE_US: u64 = 10_000_000;

/// How long a host may leave a PDU half, or data that was asked for unsent, in microseconds.
pub const HALF_PDU_US: u64 = 30_000_000;

/// How long a host may not read anything of what is there for it, in microseconds.
pub const UNREAD_US: u64 = 30_000_000;

/// Errors that Error Information lists (ELPE), and that I/O queues keep for it.
pub const ERRORS_MAX: usize = 16;

/// Asynchronous Event Requests that a controller holds.
pub const ASYNC_EVENTS_MAX: usize = 4;

/// Shortest keep alive timeout, in milliseconds; shorter ones are rounded up to it.
pub const KEEP_ALIVE_MS_MIN: u32 = 1000;

/// Keep alive timeout of a discovery controller that asked for none: it has to go some time.
pub const DISCOVERY_KEEP_ALIVE_MS: u32 = 120_000;

/// Default of the largest namespace identifier of a subsystem.
pub const NAMESPACES_MAX: u32 = 32;

/// Bound of the largest namespace identifier of a subsystem: what one changed list names.
pub const NAMESPACES_BOUND: u32 = 1024;

/// Largest message of authentication, in bytes: a reply with the values of ffdhe8192 has 1168.
pub const AUTH_BYTES_MAX: u32 = 4096;

/// Subsystems, the discovery subsystem not counted.
pub const SUBSYSTEMS_MAX: usize = 1024;

/// Listeners of one subsystem.
pub const LISTENERS_MAX: usize = 16;

/// Hosts in the list of one subsystem.
pub const HOSTS_MAX: usize = 1024;

/// Controllers of one subsystem.
pub const CONTROLLERS_MAX: usize = 1024;

/// Controllers of one host in one subsystem.
pub const CONTROLLERS_PER_HOST_MAX: usize = 128;

/// Largest controller identifier (Base, 6.3: FFF0h and above are reserved).
pub const CNTLID_MAX: u16 = 0xffef;

/// ANA groups: one for every namespace, at most.
pub const ANA_GROUPS_MAX: u32 = NAMESPACES_BOUND;

/// Largest discovery log page: its header and an entry for every listener.
pub const DISCOVERY_ENTRIES_MAX: usize = 4096;

/// Largest answer of an Admin command in one transfer, in bytes: [`TRANSFER_BYTES_MAX`].
pub const ADMIN_BYTES_MAX: u32 = TRANSFER_BYTES_MAX;
