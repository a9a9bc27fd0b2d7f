//! The core of an NVMe/TCP initiator, without sockets: one queue, its commands, bringing a controller up.
//!
//! ```text
//!   Setup     Connect -> CAP -> CC.EN -> CSTS.RDY -> Identify -> Number of Queues -> Ready
//!               | one command at a time
//!   HostQueue submit(Sqe, Data) --> parts --> socket --> header / placed --> next_completed
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | `queue` | one connection: PDUs, command slots, data placement |
//! | `command` | the commands that an initiator sends |
//! | `setup` | what has to be said before I/O |
//!
//! As in the target, data never enters: buffers are the shell's, by the command's [`Tag`].
//!
//! Invariants: a command is completed once, when its response is there *and* nothing of its buffer waits
//! to be sent; a controller that breaks the protocol is told so (H2CTermReq) and not listened to any more.
//!
//! Not here: sockets, a [`crate::Bdev`] over all this, reconnecting.

mod command;
mod queue;
mod setup;

pub use command::{
    Command, Connecting, compare, connect, deallocate, flush, keep_alive, read, verify, write,
    write_zeroes,
};
pub use queue::{Data, HostConfig, HostEvent, HostQueue, HostWant, QueueFull, Tag};
pub use setup::{ControllerFacts, Setup, SetupError, SetupStep};
