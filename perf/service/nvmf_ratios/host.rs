//! One queue of a host that polls: the initiator's core, a socket that does not block, and a buffer for
//! every command.
//!
//! Data is received into the buffer of its command, or copied there from the stage if it came with a
//! header; what is submitted between two calls of [`Host::flush`] is one gathered write.
//!
//! Not here: what is asked, and how long it took.

use std::hint::spin_loop;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::TcpStream;
use std::ops::Range;

use device::nvme_tcp::{
    Command, Connecting, ControllerFacts, HostConfig, HostEvent, HostQueue, HostWant, Setup,
    SetupStep, Tag, connect,
};
use nvme::Cqe;
use nvme::pdu::{Digests, digest};
use nvme::stream::Part;

/// Bytes that are received before it is known whose they are.
const STAGE_BYTES: usize = 128 << 10;

/// Parts of one gathered write.
const SLICES_MAX: usize = 256;

/// What a queue is to be like.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Who connects to what.
    pub connecting: Connecting,
    /// Digests of headers and data.
    pub digests: Digests,
    /// Largest data in the capsule of a command, in bytes.
    pub in_capsule_bytes: u32,
    /// Buffer of every command, in bytes.
    pub buffer_bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Host {
    stream: TcpStream,
    queue: HostQueue,
    buffers: Vec<Box<[u8]>>,
    stage: Box<[u8]>,
    staged: Range<usize>,
    is_open: bool,
}

fn lost(what: impl std::fmt::Debug) -> io::Error {
    io::Error::other(format!("{what:?}"))
}

impl Host {
    /// A connection, which is no queue yet.
    ///
    /// # Errors
    /// What the socket says, or that the target gives up.
    pub(crate) fn open(port: u16, wanted: &Wanted) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let entries = wanted.connecting.entries;
        let config = HostConfig {
            digests: wanted.digests,
            alignment: 0,
            in_capsule_bytes: wanted.in_capsule_bytes,
            entries,
        };
        let buffer = |at: u16| vec![at as u8; wanted.buffer_bytes].into();
        let mut host = Self {
            stream,
            queue: HostQueue::new(config),
            buffers: (0..entries).map(buffer).collect(),
            stage: vec![0; STAGE_BYTES].into(),
            staged: 0..0,
            is_open: false,
        };
        while !host.is_open {
            host.flush()?;
            host.receive()?;
        }
        Ok(host)
    }

    /// The Admin queue of a new controller with one I/O queue.
    ///
    /// # Errors
    /// What the socket or the target says.
    pub(crate) fn admin(port: u16, wanted: &Wanted) -> io::Result<(Self, ControllerFacts)> {
        let mut host = Self::open(port, wanted)?;
        let mut buffer = vec![0; 4096];
        let (mut setup, mut command) = Setup::start(&wanted.connecting, 1, &mut buffer);
        loop {
            let (cqe, back) = host.call(command, &buffer)?;
            match setup.completed(&cqe, &back).map_err(lost)? {
                SetupStep::Submit(next) => command = next,
                SetupStep::Ready(facts) => return Ok((host, *facts)),
                SetupStep::Wait { .. } => return Err(lost("the controller is not ready at once")),
            }
            buffer = back;
        }
    }

    /// I/O queue 1 of a controller.
    ///
    /// # Errors
    /// What the socket or the target says.
    pub(crate) fn io(port: u16, wanted: &Wanted, cntlid: u16) -> io::Result<Self> {
        let mut host = Self::open(port, wanted)?;
        let mut buffer = vec![0; 1024];
        let command = connect(&wanted.connecting, 1, cntlid, &mut buffer);
        let (cqe, _) = host.call(command, &buffer)?;
        if cqe.status().is_ok() { Ok(host) } else { Err(lost(cqe.status())) }
    }

    /// Sends a command with the first bytes of its buffer being `data`, and waits for its end and what is
    /// in its buffer then.
    fn call(&mut self, command: Command, data: &[u8]) -> io::Result<(Cqe, Vec<u8>)> {
        let crc = |len: u32| digest(&data[..len as usize]);
        let tag = self.queue.submit(command.sqe, command.data, crc).map_err(lost)?;
        let buffer = &mut self.buffers[usize::from(tag)];
        let len = data.len().min(buffer.len());
        buffer[..len].copy_from_slice(&data[..len]);
        loop {
            self.flush()?;
            if let Some((ended, cqe)) = self.next()? {
                assert_eq!(ended, tag, "it is the only one");
                let buffer = &self.buffers[usize::from(tag)];
                return Ok((cqe, buffer[..len].to_vec()));
            }
        }
    }

    /// Queues a command, to be sent by [`flush`](Self::flush); `None` if all tags are taken. What it writes
    /// is what is in the buffer of its tag; with digests of data that has to be the same for all.
    pub(crate) fn submit(&mut self, command: Command) -> Option<Tag> {
        let data = &self.buffers[0];
        let crc = |len: u32| digest(&data[..len as usize]);
        self.queue.submit(command.sqe, command.data, crc).ok()
    }

    /// All buffers, by tag.
    pub(crate) fn buffers(&mut self) -> &mut [Box<[u8]>] {
        &mut self.buffers
    }

    /// A command that has ended. One read of the socket at most.
    ///
    /// # Errors
    /// What the socket or the target says.
    pub(crate) fn next(&mut self) -> io::Result<Option<(Tag, Cqe)>> {
        if let Some(done) = self.queue.next_completed() {
            return Ok(Some(done));
        }
        self.receive()?;
        Ok(self.queue.next_completed())
    }

    /// Commands that have not ended.
    #[must_use]
    pub(crate) fn in_flight(&self) -> usize {
        self.queue.in_flight()
    }

    /// Sends what is queued, all of it.
    ///
    /// # Errors
    /// What the socket says.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        loop {
            let buffers = &self.buffers;
            self.queue.pump(|tag, at, len| {
                digest(&buffers[usize::from(tag)][at as usize..(at + len) as usize])
            });
            if !self.queue.has_output() {
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (part, slice) in self.queue.parts().zip(&mut slices) {
                *slice = IoSlice::new(match part {
                    Part::Bytes(bytes) => bytes,
                    Part::Data { tag, offset, len_bytes } => {
                        &buffers[usize::from(tag)][offset as usize..(offset + len_bytes) as usize]
                    }
                });
                count += 1;
            }
            match self.stream.write_vectored(&slices[..count]) {
                Ok(len) => self.queue.sent(len),
                // The target may wait for this side to read.
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.receive()?,
                Err(error) => return Err(error),
            }
        }
    }

    /// One read of the socket.
    fn receive(&mut self) -> io::Result<()> {
        let stage = &mut self.stage[..];
        let (read, place) = match self.queue.want() {
            HostWant::Data { tag, offset, len_bytes } => {
                let range = offset as usize..(offset + len_bytes) as usize;
                let room = range.len();
                let buffer = &mut self.buffers[usize::from(tag)][range.clone()];
                let mut slices = [IoSliceMut::new(buffer), IoSliceMut::new(stage)];
                (self.stream.read_vectored(&mut slices), Some((tag, range.start, room)))
            }
            HostWant::Header => (self.stream.read(stage), None),
            HostWant::Closed => return Err(lost("the target broke the protocol or gave up")),
        };
        let len = match read {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                spin_loop();
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut placed = 0;
        if let Some((tag, at, room)) = place {
            placed = len.min(room);
            self.queue.placed(&self.buffers[usize::from(tag)][at..at + placed]);
        }
        self.staged = 0..len - placed;
        self.digest_stage()
    }

    fn digest_stage(&mut self) -> io::Result<()> {
        while !self.staged.is_empty() {
            let bytes = &self.stage[self.staged.clone()];
            let taken = self.queue.take(bytes, |tag| &mut self.buffers[usize::from(tag)]);
            let Some((used, event)) = taken else {
                return Err(lost("the target broke the protocol or gave up"));
            };
            match event {
                None => {}
                Some(HostEvent::Opened) => self.is_open = true,
                Some(other) => return Err(lost(other)),
            }
            self.staged.start += used;
        }
        Ok(())
    }
}
