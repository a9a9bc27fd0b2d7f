//! What the tests of the generator share: reactors, devices, and a device that misbehaves.
//!
//! Not here: tests.

use device::{
    Bdev, BdevInfo, BdevIo, Completion, IoChannel, IoOp, IoStatus, MallocBdev, MallocSpec, NullBdev,
    NullSpec, OpenError, Sgl,
};
use reactor::memory::{IoBuf, IoBufMut};
use reactor::{CpuSet, Cx, PollMode, Reactors, ReactorsConfig};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// One reactor on each of the first cores of this machine, at most `count`.
pub fn reactors(count: usize) -> Reactors {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    Reactors::start(ReactorsConfig {
        cores: CpuSet::from_cores(0..count.min(available)).unwrap(),
        poll: PollMode::Adaptive,
        buffer_bytes: 16 << 20,
    })
    .unwrap()
}

/// A null bdev with blocks of 512 bytes.
#[allow(dead_code, reason = "each test file is a crate of its own and uses its part of this one")]
pub fn null(num_blocks: u64) -> Arc<dyn Bdev> {
    let spec = NullSpec { name: "n0".into(), uuid: None, block_size_bytes: 512, num_blocks };
    NullBdev::create(spec).unwrap()
}

/// A RAM disk with blocks of 512 bytes.
pub fn malloc(num_blocks: u64) -> Arc<dyn Bdev> {
    let spec = MallocSpec { name: "m0".into(), uuid: None, block_size_bytes: 512, num_blocks };
    MallocBdev::create(spec).unwrap()
}

/// What a [`Faulty`] bdev does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
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
pub struct Faulty {
    inner: Arc<dyn Bdev>,
    fault: Fault,
    room: usize,
    pub stats: Arc<Stats>,
}

/// What a [`Faulty`] bdev has seen.
#[derive(Debug, Default)]
pub struct Stats {
    pub submitted: AtomicU64,
    pub refused: AtomicU64,
    pub in_flight: AtomicUsize,
    pub in_flight_max: AtomicUsize,
    /// Requests that overlapped one in flight while one of the two was a write.
    pub conflicts: AtomicU64,
    pub open_channels: AtomicUsize,
    seen_at_fault: AtomicU64,
}

impl Faulty {
    /// Each channel takes `room` requests at a time.
    pub fn over(inner: Arc<dyn Bdev>, fault: Fault, room: usize) -> Arc<Self> {
        Arc::new(Self { inner, fault, room, stats: Arc::default() })
    }
}

impl Bdev for Faulty {
    fn info(&self) -> &BdevInfo {
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
    /// Offset, length and whether it is a write, of what is in flight.
    ranges: Vec<(u64, u64, bool)>,
    waiting: Vec<Completion>,
    held: VecDeque<IoBuf>,
}

fn is_write(io: &BdevIo) -> bool {
    matches!(io.op, IoOp::Write { .. })
}

impl FaultyChannel {
    fn enter(&mut self, io: &BdevIo) {
        let (start, end, write) = (io.offset_bytes, io.offset_bytes + io.len_bytes, is_write(io));
        let conflicts = self.ranges.iter().filter(|(other, len_bytes, other_writes)| {
            start < other + len_bytes && *other < end && (write || *other_writes)
        });
        self.stats.conflicts.fetch_add(conflicts.count() as u64, Ordering::SeqCst);
        self.ranges.push((start, io.len_bytes, write));
        self.stats.submitted.fetch_add(1, Ordering::SeqCst);
        let in_flight = self.stats.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.stats.in_flight_max.fetch_max(in_flight, Ordering::SeqCst);
    }

    fn leave(&mut self, io: &BdevIo) {
        let is_it = |range: &(u64, u64, bool)| range.0 == io.offset_bytes && range.2 == is_write(io);
        let at = self.ranges.iter().position(is_it).expect("it was in flight");
        self.ranges.swap_remove(at);
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

    fn tamper(&self, completion: &mut Completion) {
        let io = &mut completion.io;
        match self.fault {
            Fault::FlipBit(at) if Self::holds(io, at) => {
                let in_request = (at - io.offset_bytes) as usize;
                if let IoOp::Read { into: Sgl::One(buf) } = &mut io.op {
                    buf[in_request] ^= 0x10;
                }
            }
            Fault::Misdirect(from, to) if is_write(io) && io.offset_bytes == to => {
                io.offset_bytes = from;
            }
            _ => {}
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
            self.tamper(&mut completion);
            self.leave(&completion.io);
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
#[allow(dead_code, reason = "each test file is a crate of its own and uses its part of this one")]
pub fn contents(bdev: &Arc<dyn Bdev>) -> Vec<u8> {
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
