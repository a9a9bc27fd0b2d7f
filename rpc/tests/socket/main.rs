//! Server and client over real Unix sockets.

#![expect(clippy::unwrap_used, reason = "test code may panic")]

mod client;
mod server;
mod support;
