//! [`LocalReactor`]: a reactor run by hand on the caller's thread, for tests and simple tools.
//!
//! Owns: it turns by the very function that the threads use (`turn`); only the loop around it and
//! the sleep are missing.
//!
//! Not here: pinning and sleeping (`thread`).

use crate::clock::{self, Guard, Ticks};
use crate::cx::Cx;
use crate::handle::{OnReactor, Place, ReactorHandle};
use crate::turn::Reactor;

/// A reactor that turns when told to.
#[derive(Debug)]
pub struct LocalReactor {
    reactor: Reactor,
    guard: Guard,
}

impl LocalReactor {
    /// Reactor 0 with a pool of `buffer_bytes`.
    ///
    /// # Panics
    /// If the kernel refuses memory or fds.
    pub fn new(buffer_bytes: usize) -> Self {
        Self::with_index(0, buffer_bytes)
    }

    /// As [`LocalReactor::new`], as the last one of several on this thread; its core number is its index.
    ///
    /// # Panics
    /// If the kernel refuses memory or fds.
    pub fn with_index(index: usize, buffer_bytes: usize) -> Self {
        let place = Place { index, core: index, reactors: index + 1 };
        let reactor = ReactorHandle::new(place, false)
            .and_then(|handle| Reactor::new(handle, buffer_bytes))
            .unwrap_or_else(|e| panic!("local reactor {index} of {buffer_bytes} bytes: {e}"));
        let mut local = Self { reactor, guard: Guard::default() };
        let now = local.guard.forward(clock::now());
        local.reactor.cx.set_now(now);
        local
    }

    /// What a message or a poller would be lent. Pollers that are added here are polled from the
    /// next turn on.
    pub fn cx(&mut self) -> &mut Cx {
        &mut self.reactor.cx
    }

    /// A handle; messages run in [`LocalReactor::turn`].
    pub fn handle(&self) -> ReactorHandle {
        self.reactor.cx.handle().clone()
    }

    /// One turn by the real clock; returns the progress that was made.
    pub fn turn(&mut self) -> usize {
        self.turn_at(clock::now())
    }

    /// One turn at a time of the caller's choice, or at the latest time so far if that is later.
    pub fn turn_at(&mut self, now: Ticks) -> usize {
        let _on_reactor = OnReactor::enter();
        let now = self.guard.forward(now);
        self.reactor.turn(now)
    }

    /// Turns by the real clock until `done` says so.
    ///
    /// # Panics
    /// If that takes longer than `limit`.
    pub fn run_until(&mut self, limit: Ticks, mut done: impl FnMut(&mut Cx) -> bool) {
        let start = clock::now();
        while !done(&mut self.reactor.cx) {
            if self.turn() == 0 {
                std::thread::yield_now();
            }
            let taken = clock::now() - start;
            assert!(taken <= limit, "not done after {taken}: at most {limit} is right");
        }
    }
}
