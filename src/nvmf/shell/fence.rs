//! What keeps an old write from landing on a newer one, when a host has lost the path that it sent the old one
//! by.
//!
//! ```text
//!   path A   write --> bdev ............ the connection ends: the write is a ghost ........ done
//!   path B                 the host writes there again:  held until no ghost is left -------> bdev
//! ```
//!
//! A host whose connection ends takes the commands of that connection for failed, and sends them again by
//! another path. The first one may still be at the bdev: in the queue of a device that is suspended, or of a
//! member that does not answer. So what changes a namespace waits while requests of connections that have
//! ended, which change it too, are at its bdev, on whatever reactor. Reads do not wait.
//!
//! Both sides see one counter for each namespace: nobody else waits, and nobody sends a message.
//!
//! What this cannot know is that a connection has ended before the target is told by its socket or by the keep
//! alive timer. Writes of two connections that are both alive are as if both had been sent at once: an array
//! carries them out one after the other where they overlap, in the order in which they came to it (R3).
//!
//! Not here: a host's new controller, which begins when its connections of before are over (`service`).

use std::sync::atomic::{AtomicU64, Ordering};

/// The ghosts of one namespace.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    ghosts: AtomicU64,
}

impl Fence {
    /// Whether what changes the namespace has to wait.
    #[inline]
    pub(crate) fn is_up(&self) -> bool {
        // A write that begins after it has seen the last ghost go lands after it.
        self.ghosts.load(Ordering::Acquire) > 0
    }

    /// So many requests at the bdev have lost their connection.
    pub(crate) fn raise(&self, ghosts: u64) {
        self.ghosts.fetch_add(ghosts, Ordering::AcqRel);
    }

    /// One of them is done.
    pub(crate) fn lower(&self) {
        let before = self.ghosts.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "a ghost goes once");
    }
}
