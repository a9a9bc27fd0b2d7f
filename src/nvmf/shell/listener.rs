//! Sockets that listen: one thread for each address, which accepts and hands over.
//!
//! Not here: what becomes of a connection (`service`).

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, bind, ipproto, listen, shutdown, socket_with,
    sockopt,
};

use crate::limits::{NVMF_ACCEPT_RETRY, NVMF_LISTEN_BACKLOG, NVMF_SILENCE};

/// An address cannot be listened at.
#[derive(Debug, thiserror::Error)]
#[error("listener {address}: cannot {action}: {source}")]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// What was tried.
    pub action: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// A socket that listens, until this is dropped.
#[derive(Debug)]
pub(super) struct Listening {
    socket: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    /// Listens at `address`, and passes every connection on.
    pub(super) fn start(
        address: SocketAddr,
        accepted: impl Fn(TcpStream, SocketAddr) + Send + 'static,
    ) -> Result<Self, ListenError> {
        let failed = |action| move |source| ListenError { address, action, source };
        let socket = open(address).map_err(failed("listen"))?;
        let accepting = socket.try_clone().map_err(failed("listen"))?;
        let thread = std::thread::Builder::new()
            .name("nvmf accept".to_owned())
            .spawn(move || accept(&accepting, address, accepted))
            .map_err(failed("start a thread"))?;
        Ok(Self { socket, thread: Some(thread) })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // Ends the accept that the thread is in.
        let _ = shutdown(&self.socket, Shutdown::Both);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a thread that accepts connections has panicked");
        }
    }
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let family = match address.ip() {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    // After a crash the address is free at once.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // IPv4 has listeners of its own.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, NVMF_LISTEN_BACKLOG)?;
    Ok(socket.into())
}

/// A host without keep alive that has vanished is found out by the system.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, NVMF_SILENCE)?;
    sockopt::set_tcp_keepintvl(stream, NVMF_SILENCE / 6)?;
    sockopt::set_tcp_keepcnt(stream, 6)?;
    Ok(())
}

fn accept(socket: &TcpListener, address: SocketAddr, accepted: impl Fn(TcpStream, SocketAddr)) {
    loop {
        match socket.accept() {
            Ok((stream, peer)) => match prepare(&stream) {
                Ok(()) => accepted(stream, peer),
                Err(error) => tracing::info!(%peer, %error, "connection lost at once"),
            },
            // The listener was shut down.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Out of descriptors, or of memory: some will come back.
                tracing::warn!(%address, %error, "cannot accept a connection");
                std::thread::park_timeout(NVMF_ACCEPT_RETRY);
            }
        }
    }
}
