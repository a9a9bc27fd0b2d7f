//! What the queues of one controller tell each other across reactors: signs of life, what they did, and what
//! went wrong; and what all controllers of a subsystem did, for those who look on.
//!
//! ```text
//!   I/O queues, each on its reactor --add, once a second--> Pulse of the controller --> Admin queue: SMART
//!        |                                                    '--> Traffic of the subsystem --> metrics
//!        '-- an error --> ring of the last ERRORS_MAX --> Admin queue: Error Information
//! ```
//!
//! Nothing here waits: counters are atomic, and a ring that is full loses its oldest error.
//!
//! Not here: who looks at it (`link`, `service`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use nvme::log::ErrorEntry;

use crate::nvmf::controller::Usage;
use crate::nvmf::limits::ERRORS_MAX;

/// Counters of one subsystem since it was made.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    reads: AtomicU64,
    writes: AtomicU64,
    others: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    errors: AtomicU64,
    /// Queues that were connected.
    pub(crate) connects: AtomicU64,
    /// Hosts that did not prove who they are.
    pub(crate) authentication_failures: AtomicU64,
}

/// The same as a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficView {
    /// What I/O queues did.
    pub usage: Usage,
    /// Queues that were connected.
    pub connects: u64,
    /// Hosts that did not prove who they are.
    pub authentication_failures: u64,
}

impl Traffic {
    fn add(&self, did: &Usage) {
        self.reads.fetch_add(did.reads, Ordering::Relaxed);
        self.writes.fetch_add(did.writes, Ordering::Relaxed);
        self.others.fetch_add(did.others, Ordering::Relaxed);
        self.read_bytes.fetch_add(did.read_bytes, Ordering::Relaxed);
        self.written_bytes.fetch_add(did.written_bytes, Ordering::Relaxed);
        self.errors.fetch_add(did.errors, Ordering::Relaxed);
    }

    pub(crate) fn view(&self) -> TrafficView {
        let usage = Usage {
            reads: self.reads.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            others: self.others.load(Ordering::Relaxed),
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            ..Usage::default()
        };
        TrafficView {
            usage,
            connects: self.connects.load(Ordering::Relaxed),
            authentication_failures: self.authentication_failures.load(Ordering::Relaxed),
        }
    }
}

/// Counters of one association, written by its I/O queues and read by its Admin queue.
#[derive(Debug)]
pub(crate) struct Pulse {
    heard_us: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    media_errors: AtomicU64,
    errors: ArrayQueue<ErrorEntry>,
    pub(crate) traffic: Arc<Traffic>,
}

impl Pulse {
    /// Of a controller of that subsystem.
    pub(crate) fn new(traffic: Arc<Traffic>) -> Self {
        Self {
            heard_us: AtomicU64::default(),
            reads: AtomicU64::default(),
            writes: AtomicU64::default(),
            read_bytes: AtomicU64::default(),
            written_bytes: AtomicU64::default(),
            media_errors: AtomicU64::default(),
            errors: ArrayQueue::new(ERRORS_MAX),
            traffic,
        }
    }

    /// A command has come.
    pub(crate) fn beat(&self, now_us: u64) {
        // Queues of several reactors write: the latest wins, and a microsecond more or less is nothing.
        self.heard_us.store(now_us, Ordering::Relaxed);
    }

    /// When a command came last.
    pub(crate) fn heard_us(&self) -> u64 {
        self.heard_us.load(Ordering::Relaxed)
    }

    /// Adds what a queue did since it told last.
    pub(crate) fn add(&self, did: &Usage) {
        self.reads.fetch_add(did.reads, Ordering::Relaxed);
        self.writes.fetch_add(did.writes, Ordering::Relaxed);
        self.read_bytes.fetch_add(did.read_bytes, Ordering::Relaxed);
        self.written_bytes.fetch_add(did.written_bytes, Ordering::Relaxed);
        self.media_errors.fetch_add(did.media_errors, Ordering::Relaxed);
        self.traffic.add(did);
    }

    /// All that was done.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            reads: self.reads.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
            media_errors: self.media_errors.load(Ordering::Relaxed),
            ..Usage::default()
        }
    }

    /// A command of an I/O queue has failed.
    pub(crate) fn note_error(&self, entry: ErrorEntry) {
        // The oldest one makes room.
        let _ = self.errors.force_push(entry);
    }

    /// The oldest error that the Admin queue has not seen.
    pub(crate) fn take_error(&self) -> Option<ErrorEntry> {
        self.errors.pop()
    }
}
