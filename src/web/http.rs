//! A small HTTP/1.1 server for GET: one thread, bounded, no use for anybody's patience but its own.
//!
//! ```text
//!   accept --> Reading (the head, HTTP_HEAD_TIME at most) --> Site::get --> Writing --> Lingering --> gone
//!                  `- too long, illegible, other methods: an error is written
//!                  `- no room: the oldest connection that is still reading makes it
//! ```
//!
//! One request a connection, and then it is closed: scrapers and a page that asks every other second need
//! no more, and there is no state to get wrong. All connections wait in one `poll`, so one that is slow, or
//! says nothing, holds a place and nothing else.
//!
//! Invariant: R6 (connections, head, times: [`crate::limits`]).
//!
//! Not here: what there is to get (`super`).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use reactor::{Ticks, clock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::limits::{
    HTTP_ACCEPT_RETRY, HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEAD_TIME, HTTP_LINGER_TIME,
    HTTP_WRITE_TIME,
};

/// A request, as far as anybody looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The path, without what may follow a question mark.
    pub path: String,
    /// The header `Accept`.
    pub accept: Option<String>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: &'static str,
    /// What follows the head.
    pub body: Vec<u8>,
}

impl Response {
    /// A line of text.
    #[must_use]
    pub fn text(status: u16, line: &str) -> Self {
        let body = format!("{line}\n").into_bytes();
        Self { status, content_type: "text/plain; charset=utf-8", body }
    }
}

/// What there is to get.
pub trait Site: Send + Sync {
    /// The answer to a GET or HEAD. Called on the server's thread.
    fn get(&self, request: &Request) -> Response;
}

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
    /// The server's thread ends when this does.
    alive: UnixStream,
}

impl HttpServer {
    /// Serves `site` on `address`.
    ///
    /// # Errors
    ///
    /// What the system refuses: the address is in use, or not of this machine.
    pub fn start(address: &[SocketAddr], site: Arc<dyn Site>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (alive, stop) = UnixStream::pair()?;
        let server = Serving { listener, stop, site, connections: Vec::new(), accept_after: None };
        let thread = thread::Builder::new().name("http".to_owned()).spawn(|| server.run())?;
        Ok(Self { address, thread: Some(thread), alive })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // Ends the poll of the thread.
        drop(self.alive.shutdown(Shutdown::Both));
        if let Some(thread) = self.thread.take() {
            // One that has panicked has said so.
            drop(thread.join());
        }
    }
}

#[derive(Debug)]
enum Phase {
    Reading {
        head: Vec<u8>,
    },
    Writing {
        bytes: Vec<u8>,
        at: usize,
    },
    /// All is written; what the client still sends is thrown away, or it might never see the answer.
    Lingering,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    phase: Phase,
    until: Ticks,
}

struct Serving {
    listener: TcpListener,
    stop: UnixStream,
    site: Arc<dyn Site>,
    /// The oldest first.
    connections: Vec<Connection>,
    /// No file descriptor was left to accept with.
    accept_after: Option<Ticks>,
}

impl Serving {
    fn run(mut self) {
        loop {
            let now = clock::now();
            let (stopping, ready) = match self.wait(now) {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, "the HTTP server ends");
                    return;
                }
            };
            if stopping {
                return;
            }
            let now = clock::now();
            let mut place = 0;
            let site = &self.site;
            self.connections.retain_mut(|connection| {
                place += 1;
                let alive = !ready[place - 1] || connection.step(&**site, now);
                alive && connection.until > now
            });
            if self.accept_after.is_none_or(|after| after <= now) {
                self.accept(now);
            }
        }
    }

    /// Waits until something can be done: whether that is to stop, and on which connections.
    fn wait(&self, now: Ticks) -> io::Result<(bool, Vec<bool>)> {
        let may_accept = self.accept_after.is_none_or(|after| after <= now);
        let mut fds = vec![PollFd::new(&self.stop, PollFlags::IN)];
        let listening = if may_accept { PollFlags::IN } else { PollFlags::empty() };
        fds.push(PollFd::new(&self.listener, listening));
        for connection in &self.connections {
            let interest = match connection.phase {
                Phase::Writing { .. } => PollFlags::OUT,
                Phase::Reading { .. } | Phase::Lingering => PollFlags::IN,
            };
            fds.push(PollFd::new(&connection.stream, interest));
        }
        let deadlines = self.connections.iter().map(|connection| connection.until);
        let next = deadlines.chain(self.accept_after.filter(|_| !may_accept)).min();
        let timeout = next.map(|next| {
            let left = next - now;
            let nanos = left.as_nanos();
            Timespec {
                tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0),
            }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let stopping = !fds[0].revents().is_empty();
        Ok((stopping, fds[2..].iter().map(|fd| !fd.revents().is_empty()).collect()))
    }

    fn accept(&mut self, now: Ticks) {
        self.accept_after = None;
        for _ in 0..HTTP_CONNECTIONS_MAX {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // A client that has left already, or no file descriptor.
                Err(_) => {
                    self.accept_after = Some(now + Ticks::from(HTTP_ACCEPT_RETRY));
                    return;
                }
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.connections.len() >= HTTP_CONNECTIONS_MAX {
                let reading = |connection: &Connection| {
                    matches!(connection.phase, Phase::Reading { .. } | Phase::Lingering)
                };
                let victim = self.connections.iter().position(reading).unwrap_or(0);
                self.connections.remove(victim);
            }
            let until = now + Ticks::from(HTTP_HEAD_TIME);
            let phase = Phase::Reading { head: Vec::new() };
            self.connections.push(Connection { stream, phase, until });
        }
    }
}

impl Connection {
    /// Does what can be done; false when it is over.
    fn step(&mut self, site: &dyn Site, now: Ticks) -> bool {
        match &mut self.phase {
            Phase::Reading { .. } => self.read(site, now),
            Phase::Writing { .. } => self.write(now),
            Phase::Lingering => {
                let mut scrap = [0; 4096];
                match self.stream.read(&mut scrap) {
                    Ok(count) => count > 0,
                    Err(error) => is_transient(&error),
                }
            }
        }
    }

    fn read(&mut self, site: &dyn Site, now: Ticks) -> bool {
        let Phase::Reading { head } = &mut self.phase else { return true };
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(count) => head.extend_from_slice(&bytes[..count]),
            Err(error) => return is_transient(&error),
        }
        let Some(answer) = answer(head, site) else { return true };
        self.until = now + Ticks::from(HTTP_WRITE_TIME);
        self.phase = Phase::Writing { bytes: answer, at: 0 };
        self.write(now)
    }

    fn write(&mut self, now: Ticks) -> bool {
        let Phase::Writing { bytes, at } = &mut self.phase else { return true };
        while *at < bytes.len() {
            match self.stream.write(&bytes[*at..]) {
                Ok(0) => return false,
                Ok(count) => *at += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return is_transient(&error),
            }
        }
        self.phase = Phase::Lingering;
        self.until = now + Ticks::from(HTTP_LINGER_TIME);
        self.stream.shutdown(Shutdown::Write).is_ok()
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// The answer to what has come so far; none while the head is not whole.
fn answer(head: &[u8], site: &dyn Site) -> Option<Vec<u8>> {
    let end = head.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, whole) = match end {
        Some(end) if end <= HTTP_HEAD_BYTES_MAX => (&head[..end], true),
        Some(_) => (head, false),
        None if head.len() > HTTP_HEAD_BYTES_MAX => (head, false),
        None => return None,
    };
    if !whole {
        return Some(written(&Response::text(431, "the head of the request is too long"), true));
    }
    Some(match parse(head) {
        Err(response) => written(&response, true),
        Ok((request, with_body)) => written(&site.get(&request), with_body),
    })
}

/// The request, and whether its answer has a body.
fn parse(head: &[u8]) -> Result<(Request, bool), Response> {
    let bad = || Response::text(400, "this is no request of HTTP/1");
    let head = std::str::from_utf8(head).map_err(|_| bad())?;
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version] = words[..] else { return Err(bad()) };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return Err(bad());
    }
    if !matches!(method, "GET" | "HEAD") {
        return Err(Response::text(405, "only GET and HEAD: nothing can be changed here"));
    }
    let mut accept: Option<String> = None;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        if name.eq_ignore_ascii_case("accept") {
            // Several are as good as one list (RFC 9110, section 5.3).
            accept = Some(match accept {
                None => value.trim().to_owned(),
                Some(before) => format!("{before},{}", value.trim()),
            });
        }
    }
    let path = target.split('?').next().unwrap_or_default().to_owned();
    Ok((Request { path, accept }, method == "GET"))
}

fn written(response: &Response, with_body: bool) -> Vec<u8> {
    let Response { status, content_type, body } = response;
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    };
    let allow = if *status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let length = body.len();
    // The page has its style and script in it, and nothing of anybody else's.
    let mut bytes = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         {allow}Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; script-src \
         'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\r\n"
    )
    .into_bytes();
    if with_body {
        bytes.extend_from_slice(body);
    }
    bytes
}

#[cfg(test)]
mod tests;
