//! The NVMe/TCP target: what a host's bytes mean, and what is answered. All but [`shell`] is pure: no I/O,
//! no clock.
//!
//! ```text
//!   socket bytes --> connection --> queue --> nvm         I/O commands: requests to a bdev
//!        ^               |            |  '--> controller  Admin commands: answered at once, or held
//!        |               |            '-----> subsystem   Connect: which controller, and whether
//!        '--- parts -----'                    view        what a controller sees of its subsystem
//! ```
//!
//! | module | what it is | lives |
//! |---|---|---|
//! | [`connection`] | PDUs, command slots, data placement, responses | with the socket, on one reactor |
//! | [`queue`] | which commands a queue takes now, and whose they are | beside its connection |
//! | [`nvm`] | NVM commands to bdev requests | pure functions |
//! | [`view`] | namespaces and ANA states as seen through one listener; immutable | shared |
//! | [`controller`] | properties, Admin commands, events, keep alive | with its Admin queue |
//! | [`subsystem`] | the model of all that is exported, and who is connected | with its one owner |
//! | [`auth`] | DH-HMAC-CHAP: keys and the controller's side of a transaction | beside its queue |
//! | [`transfer`] | where the data of a command is | pure functions |
//! | [`model`] | a whole target over byte arrays, without a socket: for tests and fuzzing | |
//! | [`fuzz`] | the fuzz target of the connection | |
//! | [`shell`] | sockets, buffers and bdevs around all of this | on every reactor |
//! | [`limits`] | every bound of the core; the shell's are the service's | |
//!
//! Bytes never enter: a buffer is named by its command's [`connection::Tag`], and the shell has it. The
//! machine says where the next bytes of a stream belong, so that they can be received right there.
//!
//! Invariants: the outcome does not depend on how a stream is cut; every command is answered once, or its
//! connection ends; memory is bounded by the depth of the queues that were granted (R6).
//!
//! Not here: JSON-RPC, the registry of bdevs.

pub mod auth;
pub mod connection;
pub mod controller;
pub mod fuzz;
pub mod limits;
pub mod model;
pub mod nvm;
pub mod queue;
pub mod shell;
pub mod subsystem;
pub mod transfer;
pub mod view;

#[cfg(test)]
mod tests;
