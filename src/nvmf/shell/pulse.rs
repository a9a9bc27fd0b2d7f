//! What the queues of one controller tell each other across reactors: signs of life, and what they did.
//!
//! Not here: who looks at it (`link`).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::nvmf::controller::Usage;

/// Counters of one association, written by its I/O queues and read by its Admin queue.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    heard_us: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    media_errors: AtomicU64,
}

impl Pulse {
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
}
