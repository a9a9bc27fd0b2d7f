//! [`StampedWrites`]: the writes of a verified job on one reactor, with the reads of `randrw`.
//!
//! ```text
//!   pass 0: each block of the part once      pass 1: the same, in another order      ...
//!   |--------------------------------|-drain-|--------------------------------|-drain-|
//! ```
//!
//! Not here: reading back at the end (`readback`).

use crate::buffers::Stock;
use crate::job::{Job, Part};
use crate::plain::Mix;
use crate::random::SplitMix64;
use crate::source::{Direction, Prepared, Source};
use crate::stamp::Stamp;
use crate::verify::checks::{Checks, Expected, Findings};
use crate::verify::order::Order;
use crate::verify::window::Window;
use device::{BdevIo, IoOp, IoStatus, Sgl};
use std::mem;

/// What a reactor has written: in pass `pass` the first `next` blocks of the pass's order, and in
/// the pass before all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Written {
    pub(crate) part: Part,
    pub(crate) writer: u32,
    pub(crate) pass: u64,
    pub(crate) next: u64,
}

impl Written {
    /// Requests that read everything back.
    pub(crate) fn blocks(&self) -> u64 {
        if self.pass > 0 { self.part.blocks } else { self.next }
    }
}

/// See the module's notes.
pub(crate) struct StampedWrites {
    job: Job,
    part: Part,
    writer: u32,
    mix: Mix,
    stock: Stock,
    /// Draws the blocks that are read.
    random: SplitMix64,
    pass: u64,
    order: Order,
    window: Window,
    in_flight: usize,
    checks: Checks,
}

impl StampedWrites {
    pub(crate) fn new(job: &Job, part: Part, reactor: usize, stock: Stock) -> Self {
        let writer = reactor as u32;
        Self {
            part,
            writer,
            mix: Mix::new(job, reactor),
            stock,
            random: SplitMix64::new(job.seed, reactor as u64),
            pass: 0,
            order: Order::new(job, part, writer, 0),
            window: Window::new(),
            in_flight: 0,
            checks: Checks::new(job.seed, job.bdev.info().block_size_bytes),
            job: job.clone(),
        }
    }

    /// Goes on to the next pass when this one is over. False while it is not quite.
    fn is_within_pass(&mut self) -> bool {
        if self.window.next() < self.part.blocks {
            return true;
        }
        if self.in_flight > 0 {
            return false;
        }
        self.window.restart();
        self.pass += 1;
        self.order = Order::new(&self.job, self.part, self.writer, self.pass);
        true
    }

    fn offset_of(&self, step: u64) -> u64 {
        let block = self.part.first + self.order.block(step);
        self.job.offset_bytes + block * self.job.block_bytes
    }

    fn prepare_read(&mut self, io: &mut BdevIo) -> u64 {
        self.stock.turn_to(io, Direction::Read);
        let step = self.random.below(self.window.prefix());
        io.offset_bytes = self.offset_of(step);
        step
    }

    /// `None` while the buffer is not ours alone: somebody below has not let go of it yet.
    fn prepare_write(&mut self, io: &mut BdevIo) -> Option<u64> {
        self.stock.turn_to(io, Direction::Write);
        let (op, step) = match mem::replace(&mut io.op, IoOp::Flush) {
            IoOp::Write { from: Sgl::One(buf), fua } => match buf.try_into_mut() {
                Ok(mut buf) => {
                    let step = self.window.begin();
                    io.offset_bytes = self.offset_of(step);
                    self.fill(io.offset_bytes, &mut buf);
                    (IoOp::Write { from: Sgl::One(buf.freeze()), fua }, Some(step))
                }
                Err(buf) => (IoOp::Write { from: Sgl::One(buf), fua }, None),
            },
            other => panic!("a write came back from {:?} as {other:?}", self.job.bdev),
        };
        io.op = op;
        step
    }

    fn fill(&self, offset_bytes: u64, buf: &mut [u8]) {
        let len_bytes = self.job.bdev.info().block_size_bytes;
        let first = offset_bytes / u64::from(len_bytes);
        for (block, bytes) in (first..).zip(buf.chunks_exact_mut(len_bytes as usize)) {
            let stamp = Stamp {
                block,
                seed: self.job.seed,
                run: self.job.run_id,
                generation: self.pass,
                writer: self.writer,
                len_bytes,
            };
            stamp.fill(bytes);
        }
    }
}

impl Source for StampedWrites {
    fn prepare(&mut self, io: &mut BdevIo, note: &mut u64) -> Prepared {
        if !self.is_within_pass() {
            return Prepared::Wait;
        }
        // Until something is written there is nothing to read.
        let reads = self.mix.next() == Direction::Read && self.window.prefix() > 0;
        let step = if reads {
            Some(self.prepare_read(io))
        } else if self.window.is_full() {
            None
        } else {
            self.prepare_write(io)
        };
        let Some(step) = step else { return Prepared::Wait };
        *note = step;
        self.in_flight += 1;
        Prepared::Ready
    }

    fn inspect(&mut self, io: &BdevIo, note: u64, status: IoStatus) {
        self.in_flight -= 1;
        match Direction::of(&io.op) {
            Direction::Write => self.window.end(note),
            Direction::Read if status.is_ok() => {
                let (run, generation, writer) = (self.job.run_id, self.pass, self.writer);
                self.checks.check(io, Expected::Exactly { run, generation, writer });
            }
            Direction::Read => {}
        }
    }

    fn findings(&mut self) -> Findings {
        let (part, writer, pass) = (self.part, self.writer, self.pass);
        let written = Written { part, writer, pass, next: self.window.next() };
        Findings { written: Some(written), ..self.checks.take() }
    }
}
