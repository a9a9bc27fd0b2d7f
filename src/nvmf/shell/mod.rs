//! The target's shell: sockets, buffers and bdevs around the pure core, spread over the reactors.
//!
//! ```text
//!   control threads                            reactors
//!   RPC ---> service: Target model, links      group: links, channels of namespaces
//!              |  ^                              link: socket, Connection, Queue, commands
//!   listener --'  |  accept, adopt ------------>      |   '- Controller, on its Admin queue
//!   desk thread --'<--- Ask: Connect, Gone --- bounded queue   io: requests to bdevs
//!              '------ messages: admitted, views, close ------>
//! ```
//!
//! A connection belongs to one reactor for its life; connections are dealt in turn. What is shared between
//! the queues of a controller is one `pulse::Pulse` of counters. Reactors never take the service's lock:
//! they ask through a bounded queue, and the desk's thread answers with messages.
//!
//! Invariants: R6: buffers come from a pool of the target's own on each reactor, so that what waits for an
//! array never holds what the array waits for; a link reads nothing while it has neither a slot nor a
//! buffer for what would come. A namespace that is removed has no request at its bdev any more when
//! the removal is answered.
//!
//! Not here: what bytes mean (the modules beside), which bdevs there are (`control`).

mod adopt;
mod fence;
mod group;
mod io;
mod link;
mod listener;
mod pulse;
mod service;

pub use group::{GroupStats, LinkNo};
pub use link::LinkState;
pub use listener::ListenError;
pub use pulse::TrafficView;
pub use service::{
    ExportError, LinkView, Service, ServiceError, SubsystemLook, TargetLook, Transport,
    TransportError, same_address,
};
