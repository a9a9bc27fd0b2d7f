//! What the tests of the generator share: reactors, devices, and a device that misbehaves.
//!
//! Not here: tests.

use device::{
    Bdev, BdevInfo, BdevIo, Completion, IoChannel, IoOp, IoStatus, MallocBdev, MallocSpec,
    NullBdev, NullSpec, OpenError, Sgl,
};
use reactor::memory::{IoBuf, IoBufMut};
use reactor::{CpuSet, Cx, PollMode, Reactors, ReactorsConfig};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// One reactor on each of the first cores of this machine, at most `count`.
pub(crate) fn reactors(count: usize) -> Reactors {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    Reactors::start(ReactorsConfig {
        cores: CpuSet::from_cores(0..count.min(available)).unwrap(),
        poll: PollMode::Adaptive,
        buffer_bytes: 16 << 20,
    })
    .unwrap()
}

/// A null bdev with blocks of 512 bytes.
pub(crate) fn null(num_blocks: u64) -> Arc<dyn Bdev> {
    let spec = NullSpec { name: "n0".into(), uuid: None, block_size_bytes: 512, num_blocks };
    NullBdev::create(spec).unwrap()
}

/// A RAM disk with blocks of 512 bytes.
pub(crate) fn malloc(num_blocks: u64) -> Arc<dyn Bdev> {
    let spec = MallocSpec { name: "m0".into(), uuid: None, block_size_bytes: 512, num_blocks };
    MallocBdev::create(spec).unwrap()
}

/// What a [`Faulty`] bdev does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Flips a bit of each read of the byte at this offset.
    FlipBit(u64),
    /// Says that the first write at this offset is done, and drops it.
    LoseFirstWrite(u64),
    /// Does the same with the second write at this offset.
    LoseSecondWrite(u64),
    /// Puts writes at the first offset to the second one.
    Misdirect(u64, u64),
    /// Answers requests at this offset with a media error.
    Fail(u64),
}

/// A bdev over another one that misbehaves, holds on to written buffers, and completes requests in
/// reverse order, a few at a time.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn Bdev>,
    fault: Fault,
    room: usize,
    pub(crate) stats: Arc<Stats>,
}

/// What a [`Faulty`] bdev has seen.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) submitted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) in_flight_max: AtomicUsize,
    /// Requests that overlapped one in flight while one of the two was a write.
    pub(crate) conflicts: AtomicU64,
    pub(crate) open_channels: AtomicUsize,
    seen_at_fault: AtomicU64,
}

impl Faulty {
    /// Each channel takes `room` requests at a time.
    pub(crate) fn over(inner: Arc<dyn Bdev>, fault: Fault, room: usize) -> Arc<Self> {
        Arc::new(Self { inner, fault, room, stats: Arc::default() })
    }
}

impl Bdev for Faulty {
    fn info(&self) -> Arc<BdevInfo> {
        self.inner.info()
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        self.stats.open_channels.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(FaultyChannel {
            inner: self.inner.open_channel(cx)?,
            fault: self.fault,
            room: self.room,
            stats: Arc::clone(&self.stats),
            ranges: Vec::new(),
            waiting: Vec::new(),
            held: VecDeque::new(),
        }))
    }
}

struct FaultyChannel {
    inner: Box<dyn IoChannel>,
    fault: Fault,
    room: usize,
    stats: Arc<Stats>,
    /// What is in flight, as it was submitted.
    ranges: Vec<Range>,
    waiting: Vec<Completion>,
    held: VecDeque<IoBuf>,
}

struct Range {
    token: u64,
    start: u64,
    end: u64,
    write: bool,
}

fn is_write(io: &BdevIo) -> bool {
    matches!(io.op, IoOp::Write { .. })
}

impl FaultyChannel {
    fn enter(&mut self, io: &BdevIo) {
        let (token, start, write) = (io.token, io.offset_bytes, is_write(io));
        let new = Range { token, start, end: start + io.len_bytes, write };
        let conflicts = self.ranges.iter().filter(|other| {
            new.start < other.end && other.start < new.end && (new.write || other.write)
        });
        self.stats.conflicts.fetch_add(conflicts.count() as u64, Ordering::SeqCst);
        self.ranges.push(new);
        self.stats.submitted.fetch_add(1, Ordering::SeqCst);
        let in_flight = self.stats.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.stats.in_flight_max.fetch_max(in_flight, Ordering::SeqCst);
    }

    /// The request is as it was when it was submitted, wherever it went.
    fn leave(&mut self, io: &mut BdevIo) {
        let at = self.ranges.iter().position(|range| range.token == io.token);
        io.offset_bytes = self.ranges.swap_remove(at.expect("it was in flight")).start;
        self.stats.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether this is one of the requests that are to be dropped.
    fn is_lost(&self, io: &BdevIo) -> bool {
        let (at, which) = match self.fault {
            Fault::LoseFirstWrite(at) => (at, 0),
            Fault::LoseSecondWrite(at) => (at, 1),
            _ => return false,
        };
        is_write(io)
            && io.offset_bytes == at
            && self.stats.seen_at_fault.fetch_add(1, Ordering::SeqCst) == which
    }

    fn holds(io: &BdevIo, at: u64) -> bool {
        (io.offset_bytes..io.offset_bytes + io.len_bytes).contains(&at)
    }

    fn tamper(&self, io: &mut BdevIo) {
        let Fault::FlipBit(at) = self.fault else { return };
        if !Self::holds(io, at) {
            return;
        }
        let in_request = (at - io.offset_bytes) as usize;
        if let IoOp::Read { into: Sgl::One(buf) } = &mut io.op {
            buf[in_request] ^= 0x10;
        }
    }
}

impl IoChannel for FaultyChannel {
    fn submit(&mut self, mut io: BdevIo) -> Result<(), BdevIo> {
        if self.ranges.len() == self.room {
            self.stats.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io);
        }
        self.enter(&io);
        if let IoOp::Write { from: Sgl::One(buf), .. } = &io.op {
            // Somebody below who lets go of a buffer a little later than its write is done.
            self.held.push_back(buf.slice(0..buf.len()));
        }
        match self.fault {
            Fault::Fail(at) if Self::holds(&io, at) => {
                self.waiting.push(io.complete(IoStatus::MediaError));
                return Ok(());
            }
            _ if self.is_lost(&io) => {
                self.waiting.push(io.complete(IoStatus::Ok));
                return Ok(());
            }
            Fault::Misdirect(from, to) if is_write(&io) && io.offset_bytes == from => {
                io.offset_bytes = to;
            }
            _ => {}
        }
        self.inner.submit(io)
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        self.inner.poll(&mut self.waiting);
        while self.held.len() > 4 || (self.ranges.is_empty() && !self.held.is_empty()) {
            self.held.pop_front();
        }
        // The youngest first, and not all at once.
        let keep = self.waiting.len() / 2;
        let finished: Vec<_> = self.waiting.drain(keep..).rev().collect();
        let count = finished.len();
        for mut completion in finished {
            self.leave(&mut completion.io);
            self.tamper(&mut completion.io);
            done.push(completion);
        }
        count
    }
}

impl Drop for FaultyChannel {
    fn drop(&mut self) {
        self.stats.open_channels.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A read of a whole small device, by hand on this thread.
pub(crate) fn contents(bdev: &Arc<dyn Bdev>) -> Vec<u8> {
    let mut local = reactor::LocalReactor::new(1 << 20);
    let mut channel = bdev.open_channel(local.cx()).unwrap();
    let buf = IoBufMut::heap(bdev.info().size_bytes() as usize);
    channel.submit(BdevIo::read(0, 0, buf)).unwrap();
    let mut done = Vec::new();
    local.run_until(reactor::Ticks::from_secs(10), |_| channel.poll(&mut done) > 0);
    let Some(Completion { io, status: IoStatus::Ok }) = done.pop() else { panic!("read failed") };
    let IoOp::Read { into } = io.op else { panic!("a read came back as {:?}", io.op) };
    into.into_one().unwrap().to_vec()
}
