//! Long fills of RAM disks, done a step a turn.
//!
//! One queue and one poller per reactor serve all RAM disks on it. The poller zeroes
//! `MALLOC_ZERO_STEP_BYTES` of the first job and puts the job back behind the others, so that
//! a short fill does not wait for a long one. While there is a job the reactor does not sleep:
//! nothing but the poller itself would wake it.
//!
//! A job outlives its channel: what was submitted is done, though nobody is told.
//!
//! Invariants: R6: a channel bounds its requests, so the queue is bounded by the channels that
//! there are and were.
//!
//! Not here: the copies (`memory.rs`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use reactor::{Cx, Layer, Poller};

use super::{Disk, DoneQueue};
use crate::io::{BdevIo, IoStatus};
use crate::limits::MALLOC_ZERO_STEP_BYTES;

/// One unmap or write-zeroes that takes several turns.
pub(super) struct ZeroJob {
    disk: Arc<Disk>,
    io: BdevIo,
    done_bytes: u64,
    done: Weak<DoneQueue>,
}

impl ZeroJob {
    /// A job for an admitted request of this disk.
    pub(super) fn new(disk: &Arc<Disk>, io: BdevIo, done: &Rc<DoneQueue>) -> Self {
        Self { disk: Arc::clone(disk), io, done_bytes: 0, done: Rc::downgrade(done) }
    }

    /// Zeroes one step; gives the job back unless it is finished.
    fn step(mut self) -> Option<Self> {
        let left_bytes = self.io.len_bytes - self.done_bytes;
        let step_bytes = left_bytes.min(MALLOC_ZERO_STEP_BYTES as u64);
        self.disk.memory.zero(self.io.offset_bytes + self.done_bytes, step_bytes as usize);
        self.done_bytes += step_bytes;
        if self.done_bytes < self.io.len_bytes {
            return Some(self);
        }
        if let Some(done) = self.done.upgrade() {
            done.borrow_mut().push_back(self.io.complete(IoStatus::Ok));
        }
        None
    }
}

/// The long fills of one reactor.
pub(super) struct ZeroJobs {
    jobs: RefCell<VecDeque<ZeroJob>>,
}

impl ZeroJobs {
    /// The queue of the reactor that `cx` belongs to, with its poller running.
    pub(super) fn of_reactor(cx: &mut Cx) -> Rc<Self> {
        if let Some(jobs) = cx.find_local::<Self>(0) {
            return jobs;
        }
        let jobs = cx.local::<Self>(0, |_| Self { jobs: RefCell::new(VecDeque::new()) });
        cx.add_poller(Box::new(ZeroPoller { jobs: Rc::clone(&jobs) }));
        jobs
    }

    /// Takes a job.
    pub(super) fn push(&self, job: ZeroJob) {
        self.jobs.borrow_mut().push_back(job);
    }
}

struct ZeroPoller {
    jobs: Rc<ZeroJobs>,
}

impl Poller for ZeroPoller {
    fn name(&self) -> &str {
        "malloc_zeroing"
    }

    fn poll(&mut self, _cx: &mut Cx) -> usize {
        let mut jobs = self.jobs.jobs.borrow_mut();
        let Some(job) = jobs.pop_front() else { return 0 };
        jobs.extend(job.step());
        1
    }

    fn can_sleep(&self) -> bool {
        self.jobs.jobs.borrow().is_empty()
    }

    fn layer(&self) -> Layer {
        Layer::Engine
    }
}
