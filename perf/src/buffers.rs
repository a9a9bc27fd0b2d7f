//! Buffers of a worker: all allocated and touched before the load starts, then used again and
//! again.
//!
//! Requests own their buffers. A pure load has just as many as its depth; a mixed one keeps a
//! spare operation of the other direction for each request, and a write load may take turns with
//! more buffers than are in flight, so that its data is not always hot in the cache.
//!
//! ```text
//!   pure   ios: depth x Read           spare: none
//!   mixed  ios: depth x Read           spare: depth x Write      swapped as directions change
//!   cold   ios: depth x Write          spare: n - depth x Write  first in, first out
//! ```
//!
//! Not here: what is written into them in a verified job (`verify`).

use crate::job::{Job, Pattern};
use crate::limits::POOL_RESERVE_DIVISOR;
use crate::random::SplitMix64;
use crate::source::Direction;
use device::{BdevIo, IoOp, Sgl};
use reactor::Cx;
use reactor::memory::IoBufMut;
use serde::Serialize;
use std::collections::VecDeque;
use std::mem;

/// Where a worker's buffers come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BufferHome {
    /// All from the reactor's pool, which an engine can register with the kernel.
    Pool,
    /// Some or all from the heap: the pool is too small.
    Heap,
}

/// Operations with buffers that no request has at the moment.
#[derive(Debug)]
pub(crate) struct Stock {
    reads: Vec<IoOp>,
    writes: VecDeque<IoOp>,
}

/// Everything that a worker has to do I/O with.
pub(crate) struct Buffers {
    /// As many requests as the depth, idle.
    pub(crate) ios: Vec<BdevIo>,
    pub(crate) stock: Stock,
    pub(crate) home: BufferHome,
}

impl Buffers {
    /// Allocates all that the job needs on one reactor.
    pub(crate) fn allocate(cx: &Cx, job: &Job) -> Self {
        let depth = job.io_depth;
        let (ios, spare_writes) = match (job.pattern.reads(), job.pattern.writes()) {
            (true, false) => (Direction::Read, 0),
            (false, _) => (Direction::Write, job.write_buffers.saturating_sub(depth)),
            (true, true) => (Direction::Read, job.write_buffers.max(depth)),
        };
        let mut mint = Mint::new(cx, job);
        let ios = (0..depth).map(|_| mint.io(ios)).collect();
        let mut writes = VecDeque::with_capacity(spare_writes + 1);
        writes.extend((0..spare_writes).map(|_| mint.op(Direction::Write)));
        let reads = Vec::with_capacity(if matches!(job.pattern, Pattern::RandRw { .. }) {
            depth
        } else {
            0
        });
        Self { ios, stock: Stock { reads, writes }, home: mint.home }
    }

    /// As [`Buffers::allocate`], for a job's reads only.
    pub(crate) fn allocate_reads(cx: &Cx, job: &Job) -> Self {
        let mut mint = Mint::new(cx, job);
        let ios = (0..job.io_depth).map(|_| mint.io(Direction::Read)).collect();
        let stock = Stock { reads: Vec::new(), writes: VecDeque::new() };
        Self { ios, stock, home: mint.home }
    }
}

impl Stock {
    /// Makes `io` a request of that direction. A write gets the buffer that has rested longest.
    ///
    /// # Panics
    /// If the stock has no operation of a direction that `io` does not have: `Buffers::allocate`
    /// makes one for each request of a mixed job.
    #[inline]
    pub(crate) fn turn_to(&mut self, io: &mut BdevIo, direction: Direction) {
        match (Direction::of(&io.op), direction) {
            (Direction::Read, Direction::Read) => {}
            (Direction::Write, Direction::Write) => {
                if let Some(next) = self.writes.pop_front() {
                    self.writes.push_back(mem::replace(&mut io.op, next));
                }
            }
            (Direction::Read, Direction::Write) => {
                let next = self.writes.pop_front().expect("a spare write for each request");
                self.reads.push(mem::replace(&mut io.op, next));
            }
            (Direction::Write, Direction::Read) => {
                let next = self.reads.pop().expect("a spare read for each write");
                self.writes.push_back(mem::replace(&mut io.op, next));
            }
        }
    }

    /// Whether writes take turns with buffers.
    pub(crate) fn rotates(&self) -> bool {
        !self.writes.is_empty()
    }
}

/// Makes operations of one length.
struct Mint<'a> {
    cx: &'a Cx,
    len_bytes: usize,
    home: BufferHome,
    content: SplitMix64,
}

impl<'a> Mint<'a> {
    fn new(cx: &'a Cx, job: &Job) -> Self {
        // Stream numbers from the top are for contents, those from 0 on for offsets.
        let content = SplitMix64::new(job.seed, u64::MAX - cx.index() as u64);
        Self { cx, len_bytes: job.block_bytes as usize, home: BufferHome::Pool, content }
    }

    fn io(&mut self, direction: Direction) -> BdevIo {
        BdevIo {
            token: 0,
            op: self.op(direction),
            offset_bytes: 0,
            len_bytes: self.len_bytes as u64,
        }
    }

    fn op(&mut self, direction: Direction) -> IoOp {
        let mut buf = self.buffer();
        match direction {
            // Also without need for the content: the first touch of a page costs more than any
            // request, and must not be measured.
            Direction::Read => {
                buf.fill(0);
                IoOp::Read { into: Sgl::One(buf) }
            }
            Direction::Write => {
                for bytes in buf.chunks_mut(size_of::<u64>()) {
                    let word = self.content.next().to_le_bytes();
                    bytes.copy_from_slice(&word[..bytes.len()]);
                }
                IoOp::Write { from: Sgl::One(buf.freeze()), fua: false }
            }
        }
    }

    fn buffer(&mut self) -> IoBufMut {
        let (buf, home) = take_buffer(self.cx, self.len_bytes);
        if home == BufferHome::Heap {
            self.home = home;
        }
        buf
    }
}

/// A buffer for a tool's own use, taken before its work begins. From the reactor's pool as long as
/// that leaves enough to the devices and arrays below, else from the heap. The bytes are anything.
pub fn take_buffer(cx: &Cx, len_bytes: usize) -> (IoBufMut, BufferHome) {
    let pool = cx.pool();
    let reserve_bytes = pool.region().len_bytes() / POOL_RESERVE_DIVISOR;
    let spare_bytes = pool.free_bytes().saturating_sub(reserve_bytes);
    if len_bytes.next_power_of_two() <= spare_bytes
        && let Some(buf) = pool.alloc(len_bytes)
    {
        return (buf, BufferHome::Pool);
    }
    (IoBufMut::heap(len_bytes), BufferHome::Heap)
}
