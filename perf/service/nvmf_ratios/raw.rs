//! The bound: what two threads that poll get through a loopback socket without any protocol.
//!
//! ```text
//!   round trips   client: n requests of a fixed length --> server: n replies of a fixed length
//!   streams       one side sends, the other receives
//! ```
//!
//! Whatever one read brings is answered with one write, on both sides: batches form by themselves.
//!
//! Not here: NVMe/TCP.

use std::hint::spin_loop;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use core_affinity::CoreId;
use reactor::clock;

use crate::sample::{Sample, Window, thread_cpu};

/// Bytes that one read may bring, and one write may take.
const CHUNK_BYTES: usize = 1 << 20;

/// What goes over the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// So many requests at a time, each of which is answered.
    RoundTrips { request_bytes: usize, reply_bytes: usize, depth: usize },
    /// Writes of so many bytes, to the client or from it.
    Stream { write_bytes: usize, to_client: bool },
}

/// Sends what the socket takes of `count` messages of `len` bytes, of which `sent` bytes are gone.
fn push(stream: &mut TcpStream, chunk: &[u8], owed: &mut usize) -> io::Result<()> {
    while *owed > 0 {
        match stream.write(&chunk[..chunk.len().min(*owed)]) {
            Ok(len) => *owed -= len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What one read brings; nothing if there is nothing.
fn pull(stream: &mut TcpStream, chunk: &mut [u8]) -> io::Result<usize> {
    match stream.read(chunk) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(len) => Ok(len),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            spin_loop();
            Ok(0)
        }
        Err(error) => Err(error),
    }
}

/// The server's side, until it is told to stop.
fn serve(stream: &mut TcpStream, shape: Shape, stop: &AtomicBool) -> io::Result<()> {
    let mut chunk = vec![1; CHUNK_BYTES];
    let (mut here, mut owed) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        match shape {
            Shape::RoundTrips { request_bytes, reply_bytes, .. } => {
                here += pull(stream, &mut chunk)?;
                owed += here / request_bytes * reply_bytes;
                here %= request_bytes;
            }
            Shape::Stream { to_client: false, .. } => {
                pull(stream, &mut chunk)?;
            }
            Shape::Stream { to_client: true, write_bytes } => {
                owed = if owed == 0 { write_bytes } else { owed };
            }
        }
        push(stream, &chunk, &mut owed)?;
    }
    Ok(())
}

fn start(core: usize, shape: Shape) -> io::Result<(TcpStream, Arc<AtomicBool>, JoinHandle<f64>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let until = Arc::clone(&stop);
    let serving = move || {
        core_affinity::set_for_current(CoreId { id: core });
        let (begin, cpu) = (clock::now(), thread_cpu());
        // The client sees it when the server ends early.
        let _ = serve(&mut server, shape, &until);
        (thread_cpu() - cpu).as_secs_f64() / (clock::now() - begin).as_secs_f64()
    };
    let thread = std::thread::Builder::new().name("raw server".to_owned()).spawn(serving)?;
    Ok((client, stop, thread))
}

/// One window, with the server on that core and the client on the core of the caller.
///
/// # Errors
/// What the sockets say.
pub(crate) fn window(core: usize, shape: Shape, window: Window) -> io::Result<Sample> {
    let (mut stream, stop, thread) = start(core, shape)?;
    let mut chunk = vec![2; CHUNK_BYTES];
    let mut counting = window.begin();
    let (mut here, mut owed) = (0, 0);
    let unit_bytes = match shape {
        Shape::RoundTrips { request_bytes, reply_bytes, depth } => {
            owed = depth * request_bytes;
            reply_bytes
        }
        Shape::Stream { write_bytes, .. } => write_bytes,
    };
    let mut begun = clock::now();
    while counting.goes_on() {
        let done = match shape {
            Shape::Stream { to_client: false, write_bytes } => {
                // What the socket takes is what the server receives, but for its buffer.
                let before = if owed == 0 { write_bytes } else { owed };
                owed = before;
                push(&mut stream, &chunk, &mut owed)?;
                usize::from(owed == 0)
            }
            Shape::Stream { to_client: true, .. } | Shape::RoundTrips { .. } => {
                push(&mut stream, &chunk, &mut owed)?;
                here += pull(&mut stream, &mut chunk)?;
                let done = here / unit_bytes;
                here %= unit_bytes;
                done
            }
        };
        if let Shape::RoundTrips { request_bytes, depth, .. } = shape {
            owed += done * request_bytes;
            if depth == 1 && done > 0 {
                counting.took(begun);
                begun = clock::now();
            }
        }
        counting.count(done as u64);
    }
    let mut sample = counting.end();
    stop.store(true, Ordering::Relaxed);
    // A server that waits for room is told by the end of the connection.
    drop(stream);
    let share = thread.join().unwrap_or_default();
    sample.target_share = share;
    sample.bytes = sample.ios * unit_bytes as u64;
    Ok(sample)
}
