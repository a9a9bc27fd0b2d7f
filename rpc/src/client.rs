//! A blocking client: one call at a time, within a time limit.
//!
//! It gives every request its own id and skips replies to others, so a call that timed out does
//! not disturb the next one. An error without an id is taken for the answer to the request that is
//! open: the server could not read that one's id.
//!
//! Not here: which methods there are; typed parameters (`crate::params`) turn into the `Value` that
//! `call` takes.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::codec::{FrameError, Id, ReplyDecoder, Request};
use crate::error::RpcError;
use crate::limits;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens there.
    #[error("cannot connect to {path}: {source}; is the server running?")]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The server answered with an error.
    #[error("{method}: {error}")]
    Rpc {
        /// The method that was called.
        method: String,
        /// Its code and message.
        error: RpcError,
    },
    /// No reply within the time limit. The server may still execute the request.
    #[error("{method}: no reply within {limit:?}")]
    TimedOut {
        /// The method that was called.
        method: String,
        /// The limit that has passed.
        limit: Duration,
    },
    /// The server closed the connection without a reply.
    #[error("{method}: the server closed the connection without a reply")]
    Closed {
        /// The method that was called.
        method: String,
    },
    /// What came back is not JSON-RPC. The connection is of no further use.
    #[error("{method}: illegible reply: {source}")]
    Illegible {
        /// The method that was called.
        method: String,
        /// What is wrong with it.
        source: FrameError,
    },
    /// The socket failed.
    #[error("{method}: {source}")]
    Io {
        /// The method that was called.
        method: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl ClientError {
    /// The server's error, if it was the server that refused.
    pub fn rpc(&self) -> Option<&RpcError> {
        match self {
            Self::Rpc { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    decoder: ReplyDecoder,
    calls_ever: u64,
    time_limit: Duration,
}

impl Client {
    /// Connects to the socket `path`. Each call may take [`limits::CALL_TIME_LIMIT`].
    ///
    /// # Errors
    ///
    /// `ClientError::Connect`.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path)
            .map_err(|source| ClientError::Connect { path: path.to_owned(), source })?;
        Ok(Self {
            stream,
            decoder: ReplyDecoder::new(),
            calls_ever: 0,
            time_limit: limits::CALL_TIME_LIMIT,
        })
    }

    /// The same client with another limit for each call, from sending it to its reply;
    /// `Duration::MAX` is none.
    #[must_use]
    pub fn with_time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// Calls `method` and waits for its result. `params` is an object, an array or nothing.
    ///
    /// # Errors
    ///
    /// The server's error, or why there is no reply.
    pub fn call(&mut self, method: &str, params: Option<Value>) -> Result<Value, ClientError> {
        self.calls_ever += 1;
        let id = Id::from(self.calls_ever);
        let request = Request { id: Some(id.clone()), method: method.to_owned(), params };
        let deadline = now().checked_add(self.time_limit);
        let sent = self.send(&request.encode(), deadline);
        if sent.is_err() {
            // Part of the request may be out, so nothing may follow it.
            drop(self.stream.shutdown(Shutdown::Both));
        }
        sent.and_then(|()| self.receive(&id, deadline))
            .map_err(|failure| failure.of(method, self.time_limit))
    }

    fn send(&mut self, mut bytes: &[u8], deadline: Option<Instant>) -> Result<(), Failure> {
        while !bytes.is_empty() {
            self.stream.set_write_timeout(left(deadline)?)?;
            match self.stream.write(bytes) {
                Ok(len_bytes) => bytes = &bytes[len_bytes..],
                // The reason stands in the reply, if the server has sent one before it closed.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) if is_interruption(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, id: &Id, deadline: Option<Instant>) -> Result<Value, Failure> {
        let mut input = vec![0; limits::READ_BYTES];
        loop {
            while let Some(reply) = self.decoder.next_reply()? {
                let ours = match &reply.id {
                    Some(other) => other == id,
                    None => reply.outcome.is_err(),
                };
                if ours {
                    return reply.outcome.map_err(Failure::Rpc);
                }
            }
            self.stream.set_read_timeout(left(deadline)?)?;
            match self.stream.read(&mut input) {
                Ok(0) => return Err(Failure::Closed),
                Ok(len_bytes) => self.decoder.push(&input[..len_bytes]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(Failure::Closed);
                }
                Err(error) if is_interruption(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A `ClientError` that does not know its method yet.
enum Failure {
    Rpc(RpcError),
    TimedOut,
    Closed,
    Illegible(FrameError),
    Io(io::Error),
}

impl Failure {
    fn of(self, method: &str, limit: Duration) -> ClientError {
        let method = method.to_owned();
        match self {
            Self::Rpc(error) => ClientError::Rpc { method, error },
            Self::TimedOut => ClientError::TimedOut { method, limit },
            Self::Closed => ClientError::Closed { method },
            Self::Illegible(source) => ClientError::Illegible { method, source },
            Self::Io(source) => ClientError::Io { method, source },
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::Illegible(error)
    }
}

/// A signal, or the socket's timeout; the deadline is looked at next.
fn is_interruption(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// The time until `deadline`, which is more than nothing; none if there is no deadline.
fn left(deadline: Option<Instant>) -> Result<Option<Duration>, Failure> {
    let Some(deadline) = deadline else { return Ok(None) };
    let left = deadline.saturating_duration_since(now());
    if left.is_zero() { Err(Failure::TimedOut) } else { Ok(Some(left)) }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a client runs outside any reactor, and its limit is in real time"
)]
fn now() -> Instant {
    Instant::now()
}
