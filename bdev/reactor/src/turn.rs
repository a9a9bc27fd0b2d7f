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
//! Not here: who turns it (`thread`, `local`), the race between sleeping and waking (`sleep`).

use crate::clock::Ticks;
use crate::cx::Cx;
use crate::handle::ReactorHandle;
use crate::inbox;
use crate::limits;
use crate::poller::Pollers;
use crate::sleep::{Idle, Next};
use crate::timer::TimerId;
use std::hint::spin_loop;
use std::io;

/// A reactor without a loop.
#[derive(Debug)]
pub(crate) struct Reactor {
    pub(crate) cx: Cx,
    pollers: Pollers,
    /// Room for the timers of one turn.
    due: Vec<TimerId>,
    idle: Idle,
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
            idle: Idle::Awake,
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

    /// What an adaptive reactor does after a turn that began at `now`: goes on, spins, prepares to
    /// sleep, or sleeps until the next timer, a watched fd or the doorbell.
    #[inline]
    pub(crate) fn rest(
        &mut self,
        now: Ticks,
        progress: usize,
        read_clock: &mut impl FnMut() -> Ticks,
    ) {
        let mut idle = self.idle;
        match idle.after_turn(now, progress, || self.may_sleep(now)) {
            Next::Turn => {}
            Next::Pause => spin_loop(),
            Next::Arm => self.cx.handle().doorbell().arm(),
            Next::Disarm => self.cx.handle().doorbell().disarm(),
            Next::Sleep => {
                self.sleep(read_clock);
                self.cx.handle().doorbell().disarm();
            }
        }
        self.idle = idle;
    }

    /// Whether a sleep from `now` on would keep nobody waiting.
    fn may_sleep(&mut self, now: Ticks) -> bool {
        let near = now + limits::SLEEP_MIN;
        self.cx.timers.next().is_none_or(|at| at >= near)
            && self.pollers.can_sleep()
            && inbox::outbox_is_empty()
    }

    fn sleep(&mut self, read_clock: &mut impl FnMut() -> Ticks) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::Place;

    const IDLE: Ticks = limits::IDLE_BEFORE_SLEEP;

    /// An adaptive reactor on this thread, and a turn and a rest of it at a time of our choice.
    fn adaptive() -> (Reactor, impl FnMut(&mut Reactor, Ticks)) {
        let place = Place { index: 0, core: 0, reactors: 1 };
        let handle = ReactorHandle::new(place, true).expect("fds");
        let reactor = Reactor::new(handle, 4096).expect("memory");
        let step = |reactor: &mut Reactor, now: Ticks| {
            let progress = reactor.turn(now);
            // A sleep takes one tick, by this clock.
            let mut clock = now;
            reactor.rest(now, progress, &mut || {
                clock += Ticks(1);
                clock
            });
        };
        (reactor, step)
    }

    fn is_armed(reactor: &Reactor) -> bool {
        reactor.cx.handle().doorbell().is_armed()
    }

    #[test]
    fn the_doorbell_is_armed_for_the_last_look_and_the_sleep_only() {
        let (mut reactor, mut step) = adaptive();
        // A ring ends the sleep at once.
        let ring = |reactor: &Reactor| reactor.cx.handle().waker().wake();
        step(&mut reactor, Ticks(0));
        assert!(!is_armed(&reactor));
        step(&mut reactor, IDLE);
        assert!(is_armed(&reactor));
        ring(&reactor);
        step(&mut reactor, IDLE);
        assert_eq!(reactor.cx.handle().stats().sleeps, 1);
        assert!(!is_armed(&reactor));
        assert_eq!(reactor.cx.handle().stats().sleep_ticks, 1);

        // The last look finds something for which nobody rings: no sleep.
        let due = Ticks(3 * IDLE.0) + limits::SLEEP_MIN;
        reactor.cx.add_timer(due, Box::new(|_| None));
        step(&mut reactor, Ticks(2 * IDLE.0));
        step(&mut reactor, Ticks(3 * IDLE.0));
        assert!(is_armed(&reactor));
        step(&mut reactor, due);
        assert!(!is_armed(&reactor));
        assert_eq!(reactor.cx.handle().stats().sleeps, 1);
    }

    #[test]
    fn a_timer_that_is_near_is_spun_for() {
        let (mut reactor, mut step) = adaptive();
        let at = IDLE + limits::SLEEP_MIN;
        reactor.cx.add_timer(at, Box::new(|_| None));
        step(&mut reactor, Ticks(0));
        step(&mut reactor, IDLE);
        assert!(is_armed(&reactor), "just far enough");
        step(&mut reactor, IDLE + Ticks(1));
        assert!(!is_armed(&reactor), "now it is near");
        step(&mut reactor, IDLE + Ticks(1) + IDLE);
        assert!(!is_armed(&reactor));
        step(&mut reactor, at);
        assert_eq!(reactor.cx.handle().stats().timers, 1);
        assert_eq!(reactor.cx.handle().stats().sleeps, 0);
    }

    #[test]
    fn a_sleep_lasts_until_the_next_timer() {
        let (mut reactor, mut step) = adaptive();
        let far = IDLE + Ticks::from_millis(30);
        reactor.cx.add_timer(far, Box::new(|_| None));
        step(&mut reactor, Ticks(0));
        step(&mut reactor, IDLE);
        let before = crate::clock::now();
        step(&mut reactor, IDLE);
        // It began one tick after IDLE and is rounded down to whole milliseconds.
        assert!(crate::clock::now() - before >= Ticks::from_millis(29));
        assert_eq!(reactor.cx.handle().stats().sleeps, 1);
        assert!(!is_armed(&reactor), "nobody need ring any more");
    }
}
