//! A host with the initiator's core, connected to the model by a pipe that cuts where it likes.

use device::nvme_tcp::{
    Command, Connecting, Data, HostConfig, HostEvent, HostQueue, Setup, SetupStep, Tag, connect,
};
use nvme::pdu::{Digests, digest};
use nvme::stream::Part;
use nvme::{Cqe, Nqn};

use crate::nvmf::model::{LinkId, Model, nqn};

/// Where the pipe cuts: a stream of lengths, at least 1.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cuts {
    Every(usize),
    Drawn { seed: u64, max: usize },
}

impl Cuts {
    fn next(&mut self) -> usize {
        match self {
            Self::Every(len) => *len,
            Self::Drawn { seed, max } => {
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (*seed >> 33) as usize % *max + 1
            }
        }
    }
}

/// One queue of a host.
pub(super) struct Host {
    pub(super) queue: HostQueue,
    pub(super) link: LinkId,
    buffers: Vec<Vec<u8>>,
    pub(super) done: Vec<(Tag, Cqe, Vec<u8>)>,
    pub(super) events: Vec<HostEvent>,
    cuts: Cuts,
}

pub(in crate::nvmf) fn host_nqn() -> Nqn {
    Nqn::parse("nqn.2014-08.org.nvmexpress:uuid:0f01fb42-9f7f-4856-b0b3-51e60b8de349").unwrap()
}

pub(super) fn connecting(subsystem: Nqn, flow_control: bool) -> Connecting {
    Connecting {
        subsystem,
        host: host_nqn(),
        host_id: [7; 16],
        keep_alive_ms: 10_000,
        entries: 32,
        flow_control,
    }
}

pub(super) fn host_config() -> HostConfig {
    HostConfig { digests: Digests::default(), alignment: 0, in_capsule_bytes: 8192, entries: 32 }
}

impl Host {
    /// Connects to the model's port; ICReq is answered.
    pub(super) fn open(model: &mut Model, config: HostConfig, cuts: Cuts) -> Self {
        let mut host = Self {
            queue: HostQueue::new(config),
            link: model.open(),
            buffers: vec![Vec::new(); usize::from(config.entries)],
            done: Vec::new(),
            events: Vec::new(),
            cuts,
        };
        host.exchange(model);
        assert_eq!(host.events, [HostEvent::Opened]);
        host
    }

    pub(super) fn submit(&mut self, command: Command, buffer: Vec<u8>) -> Tag {
        let crc = |len: u32| digest(&buffer[..len as usize]);
        let tag = self.queue.submit(command.sqe, command.data, crc).unwrap();
        self.buffers[usize::from(tag)] = buffer;
        tag
    }

    /// Moves bytes both ways until nothing moves.
    pub(super) fn exchange(&mut self, model: &mut Model) {
        loop {
            let buffers = &self.buffers;
            self.queue.pump(|tag, at, len| {
                digest(&buffers[usize::from(tag)][at as usize..(at + len) as usize])
            });
            let out = self.output();
            model.feed(self.link, &out);
            let cut = self.cuts.next();
            let back = model.output(self.link, cut);
            self.feed(&back);
            if out.is_empty() && back.is_empty() && !self.queue.has_output() {
                break;
            }
        }
    }

    fn output(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let max = self.cuts.next();
        for part in self.queue.parts() {
            let room = max - bytes.len();
            match part {
                _ if room == 0 => break,
                Part::Bytes(part) => bytes.extend_from_slice(&part[..part.len().min(room)]),
                Part::Data { tag, offset, len_bytes } => {
                    let len_bytes = len_bytes.min(room as u32);
                    let range = offset as usize..(offset + len_bytes) as usize;
                    bytes.extend_from_slice(&self.buffers[usize::from(tag)][range]);
                }
            }
        }
        self.queue.sent(bytes.len());
        self.take_completed();
        bytes
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = self.queue.take(rest, |tag| &mut self.buffers[usize::from(tag)]);
            let Some((used, event)) = taken else { return };
            self.events.extend(event);
            rest = &rest[used..];
            self.take_completed();
        }
    }

    fn take_completed(&mut self) {
        while let Some((tag, cqe)) = self.queue.next_completed() {
            let buffer = std::mem::take(&mut self.buffers[usize::from(tag)]);
            self.done.push((tag, cqe, buffer));
        }
    }

    /// Sends one command and waits for it.
    pub(super) fn call(
        &mut self,
        model: &mut Model,
        command: Command,
        buffer: Vec<u8>,
    ) -> (Cqe, Vec<u8>) {
        let tag = self.submit(command, buffer);
        self.exchange(model);
        let at = self.done.iter().position(|done| done.0 == tag);
        let (_, cqe, buffer) = self.done.remove(at.expect("it was answered"));
        (cqe, buffer)
    }

    /// An Admin command that reads into a buffer of its own.
    pub(super) fn ask(
        &mut self,
        model: &mut Model,
        sqe: nvme::Sqe,
        len_bytes: u32,
    ) -> (Cqe, Vec<u8>) {
        let data = if len_bytes == 0 { Data::None } else { Data::ToHost { len_bytes } };
        self.call(model, Command { sqe, data }, vec![0x5a; len_bytes as usize])
    }

    /// The Admin queue of a new controller that is ready; its identifier.
    pub(super) fn admin(model: &mut Model, config: HostConfig, cuts: Cuts, to: Nqn) -> (Self, u16) {
        let mut host = Self::open(model, config, cuts);
        let mut buffer = vec![0; 4096];
        let what = connecting(to, false);
        let (mut setup, first) = Setup::start(&what, 4, &mut buffer);
        let mut command = first;
        loop {
            let (cqe, back) = host.call(model, command, buffer);
            buffer = back;
            match setup.completed(&cqe, &buffer) {
                Ok(SetupStep::Submit(next)) => command = next,
                Ok(SetupStep::Ready(facts)) => return (host, facts.cntlid),
                other => panic!("{other:?}"),
            }
        }
    }

    /// I/O queue `qid` of a controller.
    pub(super) fn io(
        model: &mut Model,
        config: HostConfig,
        cuts: Cuts,
        cntlid: u16,
        qid: u16,
        flow_control: bool,
    ) -> Self {
        let mut host = Self::open(model, config, cuts);
        let mut buffer = vec![0; 1024];
        let command = connect(&connecting(nqn(), flow_control), qid, cntlid, &mut buffer);
        let (cqe, _) = host.call(model, command, buffer);
        assert!(cqe.status().is_ok(), "{}", cqe.status());
        host
    }
}
