//! What the array's tests share: reactors, members in memory, and a way to do I/O from a test thread.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]
#![allow(dead_code, reason = "every test file uses a part of it")]

use array::{RaidBdev, RaidSpec};
use crossbeam::channel::{Receiver, Sender, unbounded};
use device::{Bdev, BdevIo, Completion, IoChannel, IoOp, IoStatus, MallocBdev, MallocSpec};
use parity::Kernel;
use raid::geometry::Geometry;
use raid::layout::{Layout, Level};
use raid::units::{Slot, StripeId};
use reactor::memory::IoBufMut;
use reactor::{Cx, PollMode, Poller, PollerId, ReactorHandle, Reactors, ReactorsConfig};
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// Waits until something has happened.
pub(crate) fn wait(is_so: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if is_so() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("it does not happen within 20 s");
}

pub(crate) fn reactors(cores: &str) -> Reactors {
    let cores = cores.parse().unwrap();
    let config = ReactorsConfig { cores, poll: PollMode::Adaptive, buffer_bytes: 4 << 20 };
    Reactors::start(config).unwrap()
}

/// As many reactors as the tests want and the machine has.
pub(crate) fn two_reactors() -> Reactors {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    reactors(if cores > 1 { "0-1" } else { "0" })
}

pub(crate) fn malloc(name: &str, block_size_bytes: u32, size_bytes: u64) -> Arc<dyn Bdev> {
    let num_blocks = size_bytes / u64::from(block_size_bytes);
    let spec = MallocSpec { name: name.into(), uuid: None, block_size_bytes, num_blocks };
    MallocBdev::create(spec).unwrap()
}

pub(crate) fn spec(
    level: Level,
    layout: Layout,
    strip_bytes: u32,
    members: Vec<Option<Arc<dyn Bdev>>>,
) -> RaidSpec {
    RaidSpec {
        name: "r0".into(),
        uuid: None,
        level,
        layout,
        strip_bytes,
        data_offsets_bytes: vec![0; members.len()],
        members,
        assume_clean: true,
        options: array::RaidOptions::default(),
    }
}

/// A bdev's channel on a reactor, driven from a test thread.
pub(crate) struct Remote {
    requests: Sender<BdevIo>,
    answers: Receiver<Completion>,
    reactor: ReactorHandle,
    poller: PollerId,
}

impl Drop for Remote {
    fn drop(&mut self) {
        let poller = self.poller;
        self.reactor.send(move |cx| {
            cx.remove_poller(poller);
        });
    }
}

struct RemotePoller {
    channel: Box<dyn IoChannel>,
    requests: Receiver<BdevIo>,
    refused: Option<BdevIo>,
    answers: Sender<Completion>,
    done: Vec<Completion>,
}

impl Poller for RemotePoller {
    fn name(&self) -> &str {
        "remote"
    }

    fn poll(&mut self, _: &mut Cx) -> usize {
        let mut progress = self.channel.poll(&mut self.done);
        for completion in self.done.drain(..) {
            let _ = self.answers.send(completion);
        }
        while let Some(io) = self.refused.take().or_else(|| self.requests.try_recv().ok()) {
            progress += 1;
            if let Err(io) = self.channel.submit(io) {
                self.refused = Some(io);
                break;
            }
        }
        progress
    }
}

impl Remote {
    pub(crate) fn open(reactor: &ReactorHandle, bdev: &Arc<dyn Bdev>) -> Self {
        let (requests, inbox) = unbounded();
        let (outbox, answers) = unbounded();
        let bdev = bdev.clone();
        let opened = reactor.call(move |cx| {
            let channel = bdev.open_channel(cx).unwrap();
            cx.add_poller(Box::new(RemotePoller {
                channel,
                requests: inbox,
                refused: None,
                answers: outbox,
                done: Vec::new(),
            }))
        });
        Self { requests, answers, reactor: reactor.clone(), poller: opened.unwrap() }
    }

    pub(crate) fn submit(&self, io: BdevIo) {
        self.requests.send(io).unwrap();
        self.reactor.waker().wake();
    }

    pub(crate) fn try_answer(&self) -> Option<Completion> {
        self.answers.try_recv().ok()
    }

    pub(crate) fn answer(&self) -> Completion {
        self.answers.recv_timeout(Duration::from_secs(60)).expect("an answer within a minute")
    }

    pub(crate) fn run(&self, io: BdevIo) -> Completion {
        self.submit(io);
        self.answer()
    }

    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, IoStatus> {
        let done = self.run(BdevIo::read(0, offset, IoBufMut::heap(len)));
        match done.io.op {
            IoOp::Read { into } if done.status.is_ok() => {
                Ok(into.segments().map(|segment| &segment[..]).collect::<Vec<_>>().concat())
            }
            _ => Err(done.status),
        }
    }

    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> IoStatus {
        self.run(BdevIo::write(0, offset, IoBufMut::heap_copy(data).freeze(), false)).status
    }

    /// Reads all of a bdev, a bit at a time.
    pub(crate) fn read_all(&self, len: u64) -> Result<Vec<u8>, IoStatus> {
        let mut all = Vec::new();
        while (all.len() as u64) < len {
            let step = (len - all.len() as u64).min(1 << 20) as usize;
            all.extend(self.read(all.len() as u64, step)?);
        }
        Ok(all)
    }

    pub(crate) fn write_all(&self, data: &[u8]) {
        for (index, part) in data.chunks(1 << 20).enumerate() {
            assert_eq!(self.write((index << 20) as u64, part), IoStatus::Ok);
        }
    }
}

/// Rows of strips whose parity does not match their data, on members that are all present or not.
pub(crate) fn wrong_stripes(
    geometry: &Geometry,
    members: &[Option<Vec<u8>>],
    data: &[u8],
) -> Vec<u64> {
    let kernel: &dyn Kernel = parity::select(Some("portable")).unwrap();
    let strip = geometry.strip_bytes() as usize;
    let mut wrong = Vec::new();
    for stripe in 0..geometry.stripes() {
        let rotation = geometry.rotation(StripeId(stripe));
        let base = stripe as usize * geometry.stripe_bytes() as usize;
        let strips: Vec<&[u8]> = (0..geometry.data_strips())
            .map(|d| &data[base + d * strip..base + (d + 1) * strip])
            .collect();
        let on_member = |slot: Slot| {
            let at = geometry.member_byte(slot, StripeId(stripe), 0) as usize;
            members[slot.index()].as_ref().map(|member| &member[at..at + strip])
        };
        let mut right = true;
        for (d, expected) in strips.iter().enumerate() {
            let slot = geometry.data_slot(rotation, d as u8);
            right &= on_member(slot).is_none_or(|found| found == *expected);
        }
        let p = on_member(geometry.p_slot(rotation));
        right &= p.is_none_or(|p| kernel.check_p(p, &strips));
        if let Some(q) = geometry.q_slot(rotation).and_then(on_member) {
            let mut expected = vec![0; strip];
            kernel.q_gen(&mut expected, &strips, geometry.q_exponents(rotation));
            right &= q == expected;
        }
        if !right {
            wrong.push(stripe);
        }
    }
    wrong
}

pub(crate) fn create(reactors: &Reactors, spec: RaidSpec) -> (Arc<RaidBdev>, Arc<dyn Bdev>) {
    let array = RaidBdev::create(reactors.handles(), spec).unwrap();
    (array.clone(), array)
}
