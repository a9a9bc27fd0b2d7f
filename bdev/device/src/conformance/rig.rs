//! A reactor run by hand with one channel on it.

use reactor::memory::{IoBuf, IoBufMut};
use reactor::{LocalReactor, Ticks};

use crate::{Bdev, BdevIo, Completion, IoChannel, IoOp, IoStatus};

/// Longest time that any request of these tests may take.
const PATIENCE: Ticks = Ticks::from_secs(20);

/// Size of the rig's buffer pool.
pub(crate) const POOL_BYTES: usize = 16 << 20;

/// The channel comes first: it is dropped before its reactor.
pub(crate) struct Rig {
    pub(crate) channel: Box<dyn IoChannel>,
    pub(crate) reactor: LocalReactor,
}

impl Rig {
    pub(crate) fn new(bdev: &dyn Bdev) -> Self {
        let mut reactor = LocalReactor::new(POOL_BYTES);
        let channel = bdev.open_channel(reactor.cx()).unwrap();
        Self { channel, reactor }
    }

    /// Turns until `count` requests have completed.
    pub(crate) fn finish(&mut self, count: usize) -> Vec<Completion> {
        let Self { channel, reactor } = self;
        let mut done = Vec::new();
        reactor.run_until(PATIENCE, |_| {
            channel.poll(&mut done);
            done.len() >= count
        });
        assert_eq!(done.len(), count, "more completions than requests");
        done
    }

    /// Submits all of them at once, turning when the channel is full, and waits for all.
    pub(crate) fn run_all(&mut self, requests: Vec<BdevIo>) -> Vec<Completion> {
        let count = requests.len();
        let mut done = Vec::new();
        for mut io in requests {
            while let Err(back) = self.channel.submit(io) {
                io = back;
                self.reactor.turn();
                self.channel.poll(&mut done);
            }
        }
        let left = count - done.len();
        done.extend(self.finish(left));
        done
    }

    pub(crate) fn run(&mut self, io: BdevIo) -> Completion {
        self.run_all(vec![io]).pop().unwrap()
    }

    /// Reads a range that must be readable.
    pub(crate) fn read(&mut self, offset_bytes: u64, len_bytes: usize) -> Vec<u8> {
        let into = IoBufMut::heap(len_bytes);
        let done = self.run(BdevIo::read(0, offset_bytes, into));
        assert_eq!(done.status, IoStatus::Ok, "read of {len_bytes} bytes at {offset_bytes}");
        contents(&done.io)
    }

    /// Writes a range that must be writable.
    pub(crate) fn write(&mut self, offset_bytes: u64, bytes: &[u8]) {
        let done = self.run(BdevIo::write(0, offset_bytes, buffer_of(bytes), false));
        assert_eq!(done.status, IoStatus::Ok, "write of {} bytes", bytes.len());
    }

    /// A buffer of the reactor's pool, which io_uring registers, or else of the heap.
    pub(crate) fn buffer(&mut self, len_bytes: usize, pooled: bool) -> IoBufMut {
        let pooled = pooled.then(|| self.reactor.cx().pool().alloc(len_bytes)).flatten();
        pooled.unwrap_or_else(|| IoBufMut::heap(len_bytes))
    }
}

/// What the buffers of a request hold.
pub(crate) fn contents(io: &BdevIo) -> Vec<u8> {
    match &io.op {
        IoOp::Read { into } => into.segments().flat_map(|buf| buf.to_vec()).collect(),
        IoOp::Write { from, .. } => from.segments().flat_map(|buf| buf.to_vec()).collect(),
        IoOp::Flush | IoOp::Unmap | IoOp::WriteZeroes { .. } => Vec::new(),
    }
}

/// A heap buffer with these bytes.
pub(crate) fn buffer_of(bytes: &[u8]) -> IoBuf {
    let mut buf = IoBufMut::heap(bytes.len());
    buf.copy_from_slice(bytes);
    buf.freeze()
}

/// Pseudo-random numbers from a seed (splitmix64): the same every time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end` - 1.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    }
}
