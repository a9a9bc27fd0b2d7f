//! A host: the initiator's core with a socket that waits.
//!
//! Not here: what is asked.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use device::nvme_tcp::{
    Command, Connecting, ControllerFacts, HostConfig, HostEvent, HostQueue, Setup, SetupStep,
    connect,
};
use nvme::pdu::{Digests, digest};
use nvme::stream::Part;
use nvme::{Cqe, Nqn};

use super::{HOST, NQN};
use crate::daemon::PATIENCE;

/// Entries of the queues.
pub(super) const ENTRIES: u16 = 32;

/// One queue of a host.
pub(crate) struct Queue {
    stream: TcpStream,
    queue: HostQueue,
    buffers: Vec<Vec<u8>>,
    /// Numbers of the commands that have the tags: a tag is used again before its end is looked at.
    numbers: Vec<u64>,
    last_number: u64,
    done: VecDeque<(u64, Cqe, Vec<u8>)>,
}

pub(super) fn connecting(subsystem: &str, host: &str) -> Connecting {
    Connecting {
        subsystem: Nqn::parse(subsystem).unwrap(),
        host: Nqn::parse(host).unwrap(),
        host_id: [7; 16],
        keep_alive_ms: 0,
        entries: ENTRIES,
        flow_control: false,
    }
}

fn lost(what: impl std::fmt::Debug) -> io::Error {
    io::Error::other(format!("{what:?}"))
}

impl Queue {
    /// A connection, which is no queue yet.
    pub(crate) fn open(port: u16, digests: bool) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let config = HostConfig {
            digests: Digests { header: digests, data: digests },
            alignment: 0,
            in_capsule_bytes: 8192,
            entries: ENTRIES,
        };
        let buffers = vec![Vec::new(); usize::from(ENTRIES)];
        let mut queue = Self {
            stream,
            queue: HostQueue::new(config),
            numbers: vec![0; buffers.len()],
            last_number: 0,
            buffers,
            done: VecDeque::new(),
        };
        queue.send()?;
        while queue.receive()? != Some(HostEvent::Opened) {}
        Ok(queue)
    }

    /// The Admin queue of a new controller.
    pub(crate) fn admin(port: u16, digests: bool) -> io::Result<(Self, ControllerFacts)> {
        Self::admin_of(port, digests, &connecting(NQN, HOST))
    }

    pub(crate) fn admin_of(
        port: u16,
        digests: bool,
        what: &Connecting,
    ) -> io::Result<(Self, ControllerFacts)> {
        let mut queue = Self::open(port, digests)?;
        let mut buffer = vec![0; 4096];
        let (mut setup, mut command) = Setup::start(what, 4, &mut buffer);
        loop {
            let (cqe, back) = queue.call(command, buffer)?;
            buffer = back;
            match setup.completed(&cqe, &buffer) {
                Ok(SetupStep::Submit(next)) => command = next,
                Ok(SetupStep::Ready(facts)) => return Ok((queue, *facts)),
                other => return Err(lost(other)),
            }
        }
    }

    /// An I/O queue of a controller.
    pub(crate) fn io(port: u16, digests: bool, cntlid: u16, qid: u16) -> io::Result<Self> {
        let mut queue = Self::open(port, digests)?;
        let mut buffer = vec![0; 1024];
        let command = connect(&connecting(NQN, HOST), qid, cntlid, &mut buffer);
        let (cqe, _) = queue.call(command, buffer)?;
        if cqe.status().is_ok() { Ok(queue) } else { Err(lost(cqe.status())) }
    }

    /// Sends a command, and says its number; `None` if the queue is full.
    pub(crate) fn submit(&mut self, command: Command, buffer: Vec<u8>) -> io::Result<Option<u64>> {
        let crc = |len: u32| digest(&buffer[..len as usize]);
        let Ok(tag) = self.queue.submit(command.sqe, command.data, crc) else { return Ok(None) };
        let (tag, number) = (usize::from(tag), self.last_number + 1);
        self.last_number = number;
        self.numbers[tag] = number;
        self.buffers[tag] = buffer;
        self.send()?;
        Ok(Some(number))
    }

    /// Sends a command and waits for its end.
    pub(crate) fn call(&mut self, command: Command, buffer: Vec<u8>) -> io::Result<(Cqe, Vec<u8>)> {
        let number = self.submit(command, buffer)?.ok_or_else(|| lost("full"))?;
        loop {
            let at = self.done.iter().position(|done| done.0 == number);
            if let Some((_, cqe, buffer)) = at.and_then(|at| self.done.remove(at)) {
                return Ok((cqe, buffer));
            }
            self.receive()?;
        }
    }

    /// Waits for the end of any command.
    pub(crate) fn next(&mut self) -> io::Result<(u64, Cqe, Vec<u8>)> {
        loop {
            if let Some(done) = self.done.pop_front() {
                return Ok(done);
            }
            self.receive()?;
        }
    }

    /// Commands whose end nobody has looked at.
    pub(crate) fn in_flight(&self) -> usize {
        self.queue.in_flight() + self.done.len()
    }

    /// The bare socket, for hosts that misbehave.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn send(&mut self) -> io::Result<()> {
        loop {
            let buffers = &self.buffers;
            self.queue.pump(|tag, at, len| {
                digest(&buffers[usize::from(tag)][at as usize..(at + len) as usize])
            });
            let mut bytes = Vec::new();
            for part in self.queue.parts() {
                match part {
                    Part::Bytes(part) => bytes.extend_from_slice(part),
                    Part::Data { tag, offset, len_bytes } => {
                        let range = offset as usize..(offset + len_bytes) as usize;
                        bytes.extend_from_slice(&self.buffers[usize::from(tag)][range]);
                    }
                }
            }
            if bytes.is_empty() {
                return Ok(());
            }
            self.stream.write_all(&bytes)?;
            self.queue.sent(bytes.len());
            self.take_completed();
        }
    }

    /// Waits for bytes, and takes them.
    fn receive(&mut self) -> io::Result<Option<HostEvent>> {
        let mut bytes = vec![0; 256 << 10];
        let len = self.stream.read(&mut bytes)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut rest, mut said) = (&bytes[..len], None);
        while !rest.is_empty() {
            let taken = self.queue.take(rest, |tag| &mut self.buffers[usize::from(tag)]);
            let Some((used, event)) = taken else { return Err(lost(said)) };
            said = said.or(event);
            rest = &rest[used..];
            self.take_completed();
        }
        self.send()?;
        match said {
            Some(HostEvent::Ending { .. } | HostEvent::Terminated { .. }) => Err(lost(said)),
            said => Ok(said),
        }
    }

    fn take_completed(&mut self) {
        while let Some((tag, cqe)) = self.queue.next_completed() {
            let tag = usize::from(tag);
            let buffer = std::mem::take(&mut self.buffers[tag]);
            self.done.push_back((self.numbers[tag], cqe, buffer));
        }
    }
}
