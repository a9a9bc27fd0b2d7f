//! Every bound of the control socket in one place (R6: everything is bounded, and full means
//! back-pressure or a clear refusal, never growth).
//!
//! The first group is SPDK's (`lib/jsonrpc/jsonrpc_internal.h`), so that whatever its clients get
//! away with there, they get away with here.
//!
//! Not here: limits of arrays, stripes or I/O.

use std::time::Duration;

/// Longest request or batch, in bytes (SPDK's receive buffer).
pub const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// Most JSON values in a request or batch, counted as SPDK does: a member's name is a value, and
/// so are the opening and the closing bracket of an object or array.
pub const REQUEST_VALUES_MAX: usize = 8192;
/// Longest reply, in bytes, its newline included. A result that does not fit becomes an error;
/// those small error replies are all that a batch may be longer by.
pub const RESPONSE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Connections served at a time; the next one waits in the listen queue, as with SPDK.
pub const CONNECTIONS_MAX: usize = 64;
/// Connections that the kernel keeps waiting for a place.
pub const LISTEN_BACKLOG: i32 = 512;
/// Most bdevs that one request for statistics may name (SPDK's).
pub const NAMES_MAX: usize = 1024;
/// Most borders that one request for a histogram may give (SPDK's).
pub const NUMBERS_MAX: usize = 256;
/// Most base bdevs that one request may name.
pub const BASE_BDEVS_MAX: usize = 255;

/// Bytes asked of the socket at a time. A connection holds at most [`REQUEST_BYTES_MAX`] and this.
pub const READ_BYTES: usize = 64 * 1024;
/// Calls of methods that may wait, each on a thread of its own, over all connections of a server.
/// One more is refused with `EAGAIN`: to let it wait its turn could wait for ever, because what it
/// would be behind waits for an event, and the request that causes the event may be behind it.
pub const WAITING_CALLS_MAX: usize = 256;

/// Bytes of an unfinished value that may be looked at again per byte received, to find its first
/// error early. It keeps a request that trickles in byte by byte linear in time.
pub const RECHECK_BYTES_PER_BYTE: usize = 8;
/// What every value may be looked at again beyond that, so that short requests are always checked.
pub const RECHECK_BYTES_FREE: usize = 64 * 1024;

/// Reads that throw away what a client still sends after a fatal error, before its socket closes.
pub const DISCARD_READS_MAX: usize = 64;
/// How long each of them waits.
pub const DISCARD_READ_TIMEOUT: Duration = Duration::from_millis(250);

/// How long a client that reads nothing keeps a reply, and those behind it, waiting before its connection is
/// closed. What waits has one of few places ([`WAITING_CALLS_MAX`]).
pub const REPLY_TIME_LIMIT: Duration = Duration::from_secs(30);

/// How long `Server::stop` lets requests in flight finish.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
/// After that: how long one cancellation may take to be written ...
pub const CANCEL_WRITE_TIMEOUT: Duration = Duration::from_millis(50);
/// ... and how long the threads have to notice.
pub const STOP_CANCEL: Duration = Duration::from_millis(500);
/// How long the listener pauses when the process has no file descriptor left to accept with.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How long a client waits for one reply unless it is told otherwise (as SPDK's Python client).
pub const CALL_TIME_LIMIT: Duration = Duration::from_secs(60);
/// Characters of an offending value that an error message shows.
pub const SHOWN_CHARS_MAX: usize = 80;
