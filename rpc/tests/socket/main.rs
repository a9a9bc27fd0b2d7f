//! Server and client over real Unix sockets.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic, as tests do")]

mod client;
mod server;
mod support;
