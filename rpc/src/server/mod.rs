//! The server: a Unix stream socket, a thread per connection, a thread per waiting call.
//!
//! ```text
//!   rpc-accept --- at most 64 seats ---> rpc-connection: read, decode, call, reply, in order
//!                                              | methods that may wait
//!                                              `--- at most 256 ---> rpc-wait: call, reply
//! ```
//!
//! Ordinary blocking threads: this is the control plane, where a request is rare and straight-line
//! code is worth more than a thread costs. Owns R6 for the control socket: seats, waiting calls and
//! buffers are bounded by [`limits`]; a 65th client waits in the listen queue as with SPDK; a
//! client that does not read its replies is not read from either.
//!
//! Unlike SPDK, a client may shut down its side for writing and still gets every answer.
//!
//! Not here: the bytes (`codec`), the files (`socket`), one connection (`connection`), methods.

mod connection;
mod socket;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::Shutdown;

pub use socket::{NoSocketMode, ServerError, SocketMode};

use crate::limits;
use crate::service::Service;
use connection::Connection;
use socket::SocketFiles;

/// A running server. Dropping it stops it.
pub struct Server {
    shared: Arc<Shared>,
    files: SocketFiles,
    listener: Arc<UnixListener>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `service` on the socket `path`, which has mode 0600.
    ///
    /// # Errors
    ///
    /// When another server has the path, or it cannot be listened on.
    pub fn start(path: impl AsRef<Path>, service: Arc<dyn Service>) -> Result<Self, ServerError> {
        Self::start_for(SocketMode::Owner, path, service)
    }

    /// The same for those whom `mode` lets in.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_for(
        mode: SocketMode,
        path: impl AsRef<Path>,
        service: Arc<dyn Service>,
    ) -> Result<Self, ServerError> {
        let path = path.as_ref();
        let (files, listener) = SocketFiles::listen(path, mode)?;
        let listener = Arc::new(listener);
        let shared = Arc::new(Shared::new(service));
        let accepting = thread::Builder::new()
            .name("rpc-accept".to_owned())
            .spawn({
                let (shared, listener) = (Arc::clone(&shared), Arc::clone(&listener));
                move || accept(&shared, &listener)
            })
            .map_err(|source| ServerError::Io {
                path: path.to_owned(),
                action: "start a thread",
                source,
            })?;
        tracing::info!(path = %path.display(), "rpc server listens");
        Ok(Self { shared, files, listener, accepting: Some(accepting) })
    }

    /// The socket's path, as it was given.
    pub fn path(&self) -> &Path {
        self.files.path()
    }

    /// Stops with [`limits::STOP_GRACE`].
    pub fn stop(self) {
        self.stop_within(limits::STOP_GRACE);
    }

    /// Stops. New clients find no socket, and no request is read any more; requests that were sent
    /// are answered. What is not done within `grace` is answered with `ECANCELED` and its
    /// connection closed, so this returns soon after `grace` even if a method hangs.
    ///
    /// Not to be called by a method: the method would wait for itself.
    pub fn stop_within(mut self, grace: Duration) {
        self.shut_down(grace);
    }

    fn shut_down(&mut self, grace: Duration) {
        let Some(accepting) = self.accepting.take() else { return };
        self.files.remove_socket();
        for connection in self.shared.begin_stop() {
            connection.stop_reading();
        }
        // On Linux this ends an accept() that waits, with EINVAL.
        if let Err(error) = rustix::net::shutdown(&*self.listener, Shutdown::Both) {
            tracing::warn!(%error, "cannot shut the rpc listener down");
        }
        if accepting.join().is_err() {
            tracing::error!("the rpc listener's thread has panicked");
        }
        if !self.shared.wait_idle(grace) {
            for connection in self.shared.connections() {
                connection.cancel();
            }
            if !self.shared.wait_idle(limits::STOP_CANCEL) {
                tracing::warn!("rpc methods hang; their threads are left behind");
            }
        }
        tracing::info!(path = %self.path().display(), "rpc server stopped");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shut_down(limits::STOP_GRACE);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("path", &self.path()).finish_non_exhaustive()
    }
}

/// What the threads of a server have in common.
struct Shared {
    service: Arc<dyn Service>,
    census: Mutex<Census>,
    /// Whenever the census has changed.
    changed: Condvar,
}

/// Who is there.
#[derive(Default)]
struct Census {
    stopping: bool,
    connections: BTreeMap<u64, Arc<Connection>>,
    connections_ever: u64,
    waiting_calls: usize,
}

impl Shared {
    fn new(service: Arc<dyn Service>) -> Self {
        Self { service, census: Mutex::default(), changed: Condvar::new() }
    }

    /// False when the server is stopping, true when a connection has a seat.
    fn wait_for_seat(&self) -> bool {
        let full = |census: &mut Census| {
            !census.stopping && census.connections.len() >= limits::CONNECTIONS_MAX
        };
        let census = self.changed.wait_while(lock(&self.census), full);
        !census.unwrap_or_else(PoisonError::into_inner).stopping
    }

    /// Waits for `time`, or until the server stops.
    fn pause(&self, time: Duration) {
        let running = |census: &mut Census| !census.stopping;
        drop(self.changed.wait_timeout_while(lock(&self.census), time, running));
    }

    fn is_stopping(&self) -> bool {
        lock(&self.census).stopping
    }

    fn begin_stop(&self) -> Vec<Arc<Connection>> {
        lock(&self.census).stopping = true;
        self.changed.notify_all();
        self.connections()
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        lock(&self.census).connections.values().cloned().collect()
    }

    /// Waits until every connection and call is done; false if that takes longer than `time`.
    fn wait_idle(&self, time: Duration) -> bool {
        let busy = |census: &mut Census| !census.connections.is_empty() || census.waiting_calls > 0;
        let waited = self.changed.wait_timeout_while(lock(&self.census), time, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Gives a connection its seat; none when the server is stopping.
    fn seat(self: &Arc<Self>, stream: UnixStream) -> Option<Seat> {
        let mut census = lock(&self.census);
        if census.stopping {
            return None;
        }
        census.connections_ever += 1;
        let number = census.connections_ever;
        let connection = Arc::new(Connection::new(stream, limits::REPLY_TIME_LIMIT));
        census.connections.insert(number, Arc::clone(&connection));
        Some(Seat { shared: Arc::clone(self), number, connection })
    }

    /// Room for one more waiting call, if there is some.
    fn waiting_call(self: &Arc<Self>) -> Option<WaitingCall> {
        let mut census = lock(&self.census);
        if census.waiting_calls >= limits::WAITING_CALLS_MAX {
            return None;
        }
        census.waiting_calls += 1;
        Some(WaitingCall(Arc::clone(self)))
    }
}

/// A connection's place among the 64. Dropping it makes room for another.
struct Seat {
    shared: Arc<Shared>,
    number: u64,
    connection: Arc<Connection>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.shared.census).connections.remove(&self.number);
        self.shared.changed.notify_all();
    }
}

/// A waiting call's place among the 256. Dropping it makes room for another.
struct WaitingCall(Arc<Shared>);

impl Drop for WaitingCall {
    fn drop(&mut self) {
        lock(&self.0.census).waiting_calls -= 1;
        self.0.changed.notify_all();
    }
}

fn accept(shared: &Arc<Shared>, listener: &UnixListener) {
    while shared.wait_for_seat() {
        let seated = match listener.accept() {
            Ok((stream, _)) => serve_on_thread(shared, stream),
            Err(error) => Err(error),
        };
        if let Err(error) = seated
            && !shared.is_stopping()
        {
            // Out of file descriptors or threads: others may give some back.
            tracing::warn!(%error, "cannot take an rpc connection");
            shared.pause(limits::ACCEPT_RETRY);
        }
    }
}

fn serve_on_thread(shared: &Arc<Shared>, stream: UnixStream) -> io::Result<()> {
    let Some(seat) = shared.seat(stream) else { return Ok(()) };
    let builder = thread::Builder::new().name("rpc-connection".to_owned());
    builder.spawn(move || connection::serve(&seat.shared, &seat.connection))?;
    Ok(())
}

/// Locks. A thread that panicked has left consistent state: each critical section here makes one
/// change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
