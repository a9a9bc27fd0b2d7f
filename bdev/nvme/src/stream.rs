//! A stream of PDUs, both ways, without the data itself: [`Reader`] and [`Outbox`].
//!
//! Target and initiator use the same two. Data never enters: the reader says where the next bytes
//! belong and sees them where they lie, the outbox names what has to be sent.
//!
//! Not here: what the PDUs mean.

mod outbox;
mod reader;

pub use outbox::{Outbox, Part};
pub use reader::{Arrival, Reader, ReaderWant, Side, advance};
