//! JSON-RPC 2.0 over a Unix socket, as SPDK's clients speak it: codec, server, client, and the
//! typed parameters of the methods.
//!
//! | module | what |
//! |---|---|
//! | [`codec`] | bytes to requests, outcomes to bytes; no I/O |
//! | [`service`] | the trait behind a server |
//! | [`server`] | socket, lock file, connections, waiting calls |
//! | [`client`] | blocking calls with a time limit |
//! | [`error`] | codes, error numbers and their texts |
//! | [`schema`] | methods and their parameters as data; decoding them |
//! | [`params`] | the methods' parameters as structs, and the registry of all of them |
//! | [`results`] | the shapes of results that SPDK's clients decode |
//! | [`mod@reference`] | methods explained to people |
//! | [`cli_args`] | `key=value` words of a command line as parameters |
//! | [`limits`] | every bound |
//!
//! Two principles. *Lenient in what is accepted, canonical in what is sent*: keys that a method
//! does not know are ignored and reported, numbers may be written as doubles, levels as numbers;
//! replies have SPDK's shapes, extended only at the end. And *one home per fact*: a parameter's
//! name, type, default and explanation are written once, in `params`, and the struct, its decoder,
//! the command line's coercion and the reference are made of that.
//!
//! This crate knows no engine: a method here is a name and a shape.

#![forbid(unsafe_code)]

pub mod cli_args;
pub mod client;
pub mod codec;
pub mod error;
pub mod limits;
pub mod params;
pub mod reference;
pub mod results;
pub mod schema;
pub mod server;
pub mod service;

pub use client::{Client, ClientError};
pub use error::RpcError;
pub use server::{Server, ServerError, SocketMode};
pub use service::{Caller, Service};
