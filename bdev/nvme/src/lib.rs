//! The language of NVMe, NVMe over Fabrics and NVMe/TCP: what target and initiator both speak.
//!
//! ```text
//!   Sqe, Cqe, Status          commands and their answers
//!   identify, log, feature    what an Admin command carries
//!   fabrics, register, nqn    how a host gets to a controller
//!   pdu                       what is on the wire of NVMe/TCP
//!   stream                    bytes -> PDUs -> bytes, without sockets and without the data itself
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`limits`] | every bound |
//! | [`command`] | submission and completion queue entries, opcodes, SGL descriptors |
//! | [`status`] | status codes and their names |
//! | [`fabrics`] | Connect, Property Get and Set, Authentication, Disconnect |
//! | [`register`] | the properties of a controller: CAP, VS, CC, CSTS |
//! | [`identify`] | Identify data structures |
//! | [`log`] | log pages and asynchronous events |
//! | [`feature`] | Get and Set Features |
//! | [`nqn`] | qualified names |
//! | [`pdu`] | NVMe/TCP PDUs |
//! | [`stream`] | reading and writing a stream of PDUs |
//!
//! Sources, by the short names that the modules cite: *Base* is NVM Express Base Specification 2.0,
//! *NVM* is NVM Command Set Specification 1.0, *TCP* is NVMe/TCP Transport Specification 1.0.
//!
//! Every structure is one table of offsets (`layout`): it is decoded and encoded by that table, the
//! compiler checks that no two fields overlap, and bytes that no field names are zero. Numbers are
//! little-endian (Base, 1.4.2).
//!
//! It depends on no other room, and knows neither sockets nor block devices. Not here: what a target
//! answers (`raid456::nvmf`) and what an initiator asks (`device::nvme_tcp`).

#![forbid(unsafe_code)]

pub mod command;
pub mod fabrics;
pub mod feature;
pub mod identify;
mod layout;
pub mod limits;
pub mod log;
pub mod nqn;
pub mod pdu;
pub mod register;
pub mod status;
pub mod stream;

pub use command::{Cqe, Sgl, Sqe};
pub use layout::{Field, Layout, ascii};
pub use nqn::Nqn;
pub use status::Status;
