//! The JSON-RPC 2.0 codec, sans-IO: bytes in, requests out; outcomes in, bytes out.
//!
//! ```text
//!   bytes --> Framer --> Value --> Message: one request, or a batch of them
//!   reply <-- encode_reply / BatchReply <-- outcome
//! ```
//!
//! The rules are SPDK's (`lib/jsonrpc`): JSON values follow each other with nothing between them,
//! `jsonrpc` may be left out, null parameters are none, a request without an id gets no result but
//! does get its error.
//!
//! Not here: sockets, threads, methods.

mod envelope;
mod frame;

pub(crate) use envelope::shown_value;
pub use envelope::{
    BatchReply, Decoder, Id, Item, Message, Refusal, Reply, ReplyDecoder, Request, encode_reply,
};
pub use frame::FrameError;
