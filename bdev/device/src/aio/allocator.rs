//! `fallocate` beside the reactor: Linux AIO has no operation for it, and the system call may wait
//! for the file system's journal.
//!
//! ```text
//!   engine --Job--> bounded channel --> thread "aio_fallocate": fallocate(2)
//!     ^                                        |
//!     '---- done queue <-- then the eventfd ---'
//! ```
//!
//! One thread per engine, started by the first job. Jobs carry no buffers, so nothing depends on
//! the thread's end: it leaves when the engine has let go of the channel.
//!
//! Invariants: R6: both queues hold as many jobs as the engine has requests.
//!
//! Not here: what to do where fallocate is not supported (`files/request.rs`).

use std::io;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};
use crossbeam::queue::ArrayQueue;
use rustix::fd::OwnedFd;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::files::disk::FileDisk;

/// One call of fallocate.
#[derive(Debug)]
pub(super) struct Job {
    /// The engine's name for the request.
    pub(super) index: u32,
    /// The file.
    pub(super) disk: Arc<FileDisk>,
    /// Punch a hole or zero a range.
    pub(super) mode: FallocateFlags,
    /// Where.
    pub(super) offset_bytes: u64,
    /// How much.
    pub(super) len_bytes: u64,
}

/// The outcome of a job, by the engine's name for it.
pub(super) type Outcome = (u32, Result<(), Errno>);

/// The engine's side.
#[derive(Debug)]
pub(super) struct Allocator {
    event: Arc<OwnedFd>,
    jobs_max: usize,
    outcomes: Arc<ArrayQueue<Outcome>>,
    thread: Option<Sender<Job>>,
}

impl Allocator {
    /// An allocator that signals this eventfd when a job is done.
    pub(super) fn new(event: &Arc<OwnedFd>, jobs_max: usize) -> Self {
        Self {
            event: Arc::clone(event),
            jobs_max,
            outcomes: Arc::new(ArrayQueue::new(jobs_max)),
            thread: None,
        }
    }

    /// Takes a job. It fails at once, as an outcome, when there can be no thread.
    pub(super) fn push(&mut self, job: Job) {
        let index = job.index;
        let refused = match self.thread() {
            Ok(thread) => thread.try_send(job).err().map(|_| Errno::AGAIN),
            Err(refused) => Some(Errno::from_io_error(&refused).unwrap_or(Errno::AGAIN)),
        };
        if let Some(errno) = refused {
            put(&self.outcomes, (index, Err(errno)));
        }
    }

    /// The next outcome.
    #[inline]
    pub(super) fn pop(&self) -> Option<Outcome> {
        self.outcomes.pop()
    }

    /// Whether there is no outcome now.
    pub(super) fn is_quiet(&self) -> bool {
        self.outcomes.is_empty()
    }

    fn thread(&mut self) -> io::Result<&Sender<Job>> {
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => {
                let (sender, receiver) = bounded(self.jobs_max);
                let (outcomes, event) = (Arc::clone(&self.outcomes), Arc::clone(&self.event));
                std::thread::Builder::new()
                    .name("aio_fallocate".to_owned())
                    .spawn(move || run(&receiver, &outcomes, &event))?;
                sender
            }
        };
        Ok(self.thread.insert(thread))
    }
}

/// The thread: one job after the other until the engine is gone.
fn run(jobs: &Receiver<Job>, outcomes: &ArrayQueue<Outcome>, event: &OwnedFd) {
    for Job { index, disk, mode, offset_bytes, len_bytes } in jobs {
        let outcome = fallocate(disk.backing.fd(), mode, offset_bytes, len_bytes);
        put(outcomes, (index, outcome));
        // A counter at its end is readable already.
        let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
    }
}

fn put(outcomes: &ArrayQueue<Outcome>, outcome: Outcome) {
    outcomes.push(outcome).expect("there are no more outcomes than requests");
}
