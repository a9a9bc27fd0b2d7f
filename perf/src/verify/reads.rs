//! [`CheckedReads`]: reads of what an earlier run with the same seed has written.
//!
//! That run must have written all of the range, as one without a time limit does. Its request
//! size and number of reactors do not matter, since every device block has a stamp of its own.
//! Random reads take each block once per pass too, so that one pass leaves nothing unread.
//!
//! Not here: reading back at the end of a job that writes (`readback`).

use crate::job::{Job, Part};
use crate::source::{Prepared, Source};
use crate::verify::checks::{Checks, Expected, Findings};
use crate::verify::order::Order;
use device::{BdevIo, IoStatus};

/// See the module's notes.
pub(crate) struct CheckedReads {
    job: Job,
    part: Part,
    reader: u32,
    pass: u64,
    order: Order,
    next: u64,
    checks: Checks,
}

impl CheckedReads {
    pub(crate) fn new(job: &Job, part: Part, reactor: usize) -> Self {
        let reader = reactor as u32;
        Self {
            part,
            reader,
            pass: 0,
            order: Order::new(job, part, reader, 0),
            next: 0,
            checks: Checks::new(job.seed, job.bdev.info().block_size_bytes),
            job: job.clone(),
        }
    }
}

impl Source for CheckedReads {
    fn prepare(&mut self, io: &mut BdevIo, _note: &mut u64) -> Prepared {
        if self.next == self.part.blocks {
            self.pass += 1;
            self.next = 0;
            self.order = Order::new(&self.job, self.part, self.reader, self.pass);
        }
        let block = self.part.first + self.order.block(self.next);
        io.offset_bytes = self.job.offset_bytes + block * self.job.block_bytes;
        self.next += 1;
        Prepared::Ready
    }

    fn inspect(&mut self, io: &BdevIo, _note: u64, status: IoStatus) {
        if status.is_ok() {
            self.checks.check(io, Expected::AnyRun);
        }
    }

    fn findings(&mut self) -> Findings {
        self.checks.take()
    }
}
