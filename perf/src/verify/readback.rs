//! [`ReadBack`]: reads everything that a reactor has written, once, and compares it.
//!
//! Not here: the writing (`writes`).

use crate::job::Job;
use crate::source::{Prepared, Source};
use crate::verify::checks::{Checks, Expected, Findings};
use crate::verify::order::Order;
use crate::verify::writes::Written;
use device::{BdevIo, IoStatus};

/// The blocks of the last pass in its order; what that pass did not reach is from the one before.
pub(crate) struct ReadBack {
    written: Written,
    order: Order,
    next: u64,
    run_id: u64,
    first_bytes: u64,
    block_bytes: u64,
    checks: Checks,
}

impl ReadBack {
    pub(crate) fn new(job: &Job, written: Written) -> Self {
        Self {
            written,
            order: Order::new(job, written.part, written.writer, written.pass),
            next: 0,
            run_id: job.run_id,
            first_bytes: job.offset_bytes + written.part.first * job.block_bytes,
            block_bytes: job.block_bytes,
            checks: Checks::new(job.seed, job.bdev.info().block_size_bytes),
        }
    }
}

impl Source for ReadBack {
    fn prepare(&mut self, io: &mut BdevIo, note: &mut u64) -> Prepared {
        if self.next == self.written.blocks() {
            return Prepared::Exhausted;
        }
        *note = self.next;
        io.offset_bytes = self.first_bytes + self.order.block(self.next) * self.block_bytes;
        self.next += 1;
        Prepared::Ready
    }

    fn inspect(&mut self, io: &BdevIo, note: u64, status: IoStatus) {
        if status.is_ok() {
            let Written { pass, next, writer, .. } = self.written;
            let generation = if note < next { pass } else { pass - 1 };
            let expected = Expected::Exactly { run: self.run_id, generation, writer };
            self.checks.check(io, expected);
        }
    }

    fn findings(&mut self) -> Findings {
        self.checks.take()
    }
}
