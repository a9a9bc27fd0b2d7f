//! The turn: the one function that moves a reactor on, for threads and for tests alike.
//!
//! ```text
//!   now --> messages --> pollers, up ----> due timers --> pollers, down --> next turn
//!           (bounded)    poll()                           unplug()
//!                ^ added and                         ^ added          ^ added and
//!                  removed pollers                     pollers          removed pollers
//! ```
//!
//! Owns: a turn is bounded (R6) and allocates nothing unless a message, poller or timer does.
//!
//! At the end: the inbox is closed first, so that nobody waits for an answer that will not come;
//! then pollers are dropped in the reverse order of polling, then timers, then singletons from the
//! youngest to the oldest, then the pool. Buffers that are still out elsewhere stay valid.
//!
//! Not here: when to turn (`thread`, `local`).

use crate::clock::Ticks;
use crate::cx::Cx;
use crate::handle::ReactorHandle;
use crate::inbox;
use crate::limits;
use crate::poller::Pollers;
use crate::timer::TimerId;
use std::io;

/// A reactor without a loop.
#[derive(Debug)]
pub(crate) struct Reactor {
    pub(crate) cx: Cx,
    pollers: Pollers,
    /// Room for the timers of one turn.
    due: Vec<TimerId>,
    last: LastTurn,
}

/// For the accounts: when the last turn (or sleep) was, and whether it did anything.
#[derive(Debug)]
struct LastTurn {
    at: Option<Ticks>,
    busy: bool,
}

impl Reactor {
    /// A reactor at home on this thread.
    pub(crate) fn new(handle: ReactorHandle, buffer_bytes: usize) -> io::Result<Self> {
        handle.settle();
        Ok(Self {
            cx: Cx::new(handle, buffer_bytes)?,
            pollers: Pollers::default(),
            due: Vec::new(),
            last: LastTurn { at: None, busy: false },
        })
    }

    /// One turn at `now`; returns the progress that was made.
    #[inline]
    pub(crate) fn turn(&mut self, now: Ticks) -> usize {
        self.account_awake(now);
        self.cx.handle().counters().turn();
        self.cx.set_now(now);
        let mut progress = inbox::flush_outbox();
        progress += self.run_messages();
        progress += self.change_pollers();
        progress += self.pollers.poll(&mut self.cx);
        progress += self.run_timers(now);
        progress += self.pollers.admit(&mut self.cx.changes);
        self.pollers.unplug(&mut self.cx);
        progress += self.change_pollers();
        self.last.busy = progress > 0;
        progress
    }

    #[inline]
    fn account_awake(&mut self, now: Ticks) {
        let span = self.last.at.map_or(Ticks::ZERO, |last| now - last);
        self.cx.handle().counters().awake(span, self.last.busy);
        self.last.at = Some(now);
    }

    #[inline]
    fn run_messages(&mut self) -> usize {
        if self.cx.handle().inbox().is_empty() {
            return 0;
        }
        let mut count = 0;
        while count < limits::MESSAGES_PER_TURN_MAX {
            let Some(message) = self.cx.handle().inbox().pop() else { break };
            // Counted first: whoever has the answer of a message finds it counted.
            self.cx.handle().counters().message();
            message(&mut self.cx);
            count += 1;
        }
        count
    }

    #[inline]
    fn change_pollers(&mut self) -> usize {
        self.pollers.admit(&mut self.cx.changes) + self.pollers.dismiss(&mut self.cx.changes)
    }

    #[inline]
    fn run_timers(&mut self, now: Ticks) -> usize {
        if !self.cx.timers.may_be_due(now) {
            return 0;
        }
        // What is due is fixed before any of it runs: a timer that is due again at once waits for
        // the next turn.
        self.cx.timers.take_due(now, &mut self.due);
        let mut count = 0;
        for id in self.due.drain(..) {
            // Not there: an earlier timer of this turn has cancelled it.
            let Some(mut f) = self.cx.timers.start(id) else { continue };
            self.cx.handle().counters().timer();
            let next = f(&mut self.cx);
            self.cx.timers.finish(id, f, next);
            count += 1;
        }
        count
    }

    /// Whether a sleep from `now` on would keep nobody waiting.
    pub(crate) fn may_sleep(&mut self, now: Ticks) -> bool {
        let near = now + limits::SLEEP_MIN;
        self.cx.timers.next().is_none_or(|at| at >= near)
            && self.pollers.can_sleep()
            && inbox::outbox_is_empty()
    }

    /// Sleeps until the next timer, a watched fd or the doorbell; `read_clock` tells when that was.
    pub(crate) fn sleep(&mut self, mut read_clock: impl FnMut() -> Ticks) {
        let from = read_clock();
        self.account_awake(from);
        let span = self.cx.timers.next().map(|at| at - from);
        self.cx.sleeper.sleep(span);
        let until = read_clock();
        self.cx.handle().counters().slept(until - from);
        self.last.at = Some(until);
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        self.cx.handle().inbox().close();
        self.cx.changes.clear();
        self.pollers.clear();
        self.cx.drop_timers_and_locals();
    }
}
