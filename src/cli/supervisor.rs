//! The service manager: telling it how far the service is, and that it is alive.
//!
//! ```text
//!   NOTIFY_SOCKET   <-- READY=1 when clients are served, STOPPING=1 when it ends, STATUS=... for people
//!   WATCHDOG_USEC   <-- WATCHDOG=1 twice in that time, as long as every reactor turns
//! ```
//!
//! This is sd_notify(3)'s protocol, datagrams of lines on a Unix socket, which systemd and others speak; where
//! nobody has asked for it, nothing is sent. A watchdog that only said that the process exists would be
//! worth little: it is fed when the reactors answer, and while the service comes to its end.
//!
//! Not here: when the service is ready (`serve`).

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::control::Control;

/// Who supervises the service, if anybody does.
#[derive(Debug)]
pub(super) struct Supervisor {
    socket: Option<Arc<Socket>>,
    stopping: Arc<AtomicBool>,
    watchdog: Option<Watchdog>,
}

#[derive(Debug)]
struct Socket {
    socket: UnixDatagram,
    address: SocketAddr,
}

#[derive(Debug)]
struct Watchdog {
    /// The thread ends when this does.
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Socket {
    /// The socket of the environment; none if there is none, or it is no address.
    fn from_environment() -> Option<Self> {
        let name = env::var_os("NOTIFY_SOCKET")?;
        match Self::open(name.as_bytes()) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(?name, %error, "the service manager cannot be told anything");
                None
            }
        }
    }

    fn open(name: &[u8]) -> io::Result<Self> {
        let address = match name {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            name => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        };
        Ok(Self { socket: UnixDatagram::unbound()?, address })
    }

    fn tell(&self, lines: &str) {
        // A manager that does not listen is no reason to stop.
        if let Err(error) = self.socket.send_to_addr(lines.as_bytes(), &self.address) {
            tracing::warn!(%error, "the service manager cannot be told anything");
        }
    }
}

/// How often the watchdog is to be fed; `None` if there is none, or it is another process's.
fn period(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own_pid)) {
        return None;
    }
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    // Twice in the time that it has, as sd_watchdog_enabled(3) recommends.
    Some(Duration::from_micros(usec) / 2)
}

impl Supervisor {
    /// The one that the environment names.
    pub(super) fn from_environment() -> Self {
        let socket = Socket::from_environment().map(Arc::new);
        Self { socket, stopping: Arc::default(), watchdog: None }
    }

    /// Clients are served; from now on the watchdog is fed.
    pub(super) fn ready(&mut self, control: &Arc<Control>, status: &str) {
        let Some(socket) = &self.socket else { return };
        socket.tell(&format!("READY=1\nSTATUS={status}\n"));
        let (usec, pid) = (env::var("WATCHDOG_USEC").ok(), env::var("WATCHDOG_PID").ok());
        if let Some(period) = period(usec.as_deref(), pid.as_deref(), std::process::id()) {
            self.watchdog = Watchdog::start(period, control, socket, &self.stopping);
        }
    }

    /// The service ends, in order.
    pub(super) fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(socket) = &self.socket {
            socket.tell("STOPPING=1\nSTATUS=draining and flushing\n");
        }
    }
}

impl Watchdog {
    fn start(
        period: Duration,
        control: &Arc<Control>,
        socket: &Arc<Socket>,
        stopping: &Arc<AtomicBool>,
    ) -> Option<Self> {
        let (alive, end) = mpsc::channel::<()>();
        let (control, socket, stopping) =
            (Arc::downgrade(control), Arc::clone(socket), Arc::clone(stopping));
        let feed = move || {
            loop {
                let answers = stopping.load(Ordering::Acquire)
                    || control.upgrade().is_some_and(|control| control.reactors_answer());
                match answers {
                    true => socket.tell("WATCHDOG=1\n"),
                    false => tracing::error!("a reactor does not turn: the watchdog is not fed"),
                }
                match end.recv_timeout(period) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        match thread::Builder::new().name("watchdog".to_owned()).spawn(feed) {
            Ok(thread) => Some(Self { alive: Some(alive), thread: Some(thread) }),
            Err(error) => {
                tracing::error!(%error, "the watchdog is not fed");
                None
            }
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.alive = None;
        if let Some(thread) = self.thread.take() {
            // One that has panicked has said so.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the watchdog is fed only where this process is to feed it, twice as often as it must.
    #[test]
    fn the_period_is_half_of_what_is_left() {
        let second = Duration::from_secs(1);
        assert_eq!(period(Some("2000000"), None, 7), Some(second));
        assert_eq!(period(Some("2000000"), Some("7"), 7), Some(second));
        for (usec, pid) in
            [(None, None), (Some("0"), None), (Some("x"), None), (Some("9"), Some("8"))]
        {
            assert_eq!(period(usec, pid, 7), None, "{usec:?} {pid:?}");
        }
    }

    /// Goal: what is told arrives, at both kinds of addresses.
    #[test]
    fn datagrams_arrive() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("raid456-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        for (to, from) in [
            (path.as_os_str().as_bytes().to_vec(), by_path),
            (format!("@{name}").into_bytes(), by_name),
        ] {
            Socket::open(&to).unwrap().tell("READY=1\n");
            let mut bytes = [0; 64];
            let count = from.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..count], b"READY=1\n");
        }
    }
}
