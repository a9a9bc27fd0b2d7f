//! The channel of a mapped device: requests pass, or wait for the gate to open.
//!
//! ```text
//!   submit --open, nothing waits--> plan (straight, mapped) --> base channels
//!          `-else---> queue --gate opens--> plan
//!   poll   <-- ready <-- plan      while the gate closes without flushing: failures --> queue
//! ```
//!
//! The core of a channel is shared with the gate of its reactor, which changes its plan in messages, so
//! never while a request is being submitted or polled.
//!
//! Invariants: R6 (a channel holds `CHANNEL_IN_FLIGHT_MAX` requests at most, wherever they are).
//!
//! Not here: who opens and closes (`gate`, `super`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use reactor::{Ticks, TurnClock};

use super::gate::{Gate, Waiting};
use super::mapper::Plan;
use crate::bdev::IoChannel;
use crate::io::{BdevIo, Completion, IoStatus};
use crate::limits::{CHANNEL_IN_FLIGHT_MAX, COMPLETIONS_PER_POLL_MAX};

/// One user's channel.
pub(super) struct MappedChannel {
    core: Rc<RefCell<Core>>,
    gate: Rc<Gate>,
}

impl MappedChannel {
    pub(super) fn new(core: Rc<RefCell<Core>>, gate: Rc<Gate>) -> Self {
        Self { core, gate }
    }
}

impl IoChannel for MappedChannel {
    #[inline]
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        self.core.borrow_mut().submit(io)
    }

    #[inline]
    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        self.core.borrow_mut().poll(done)
    }
}

impl Drop for MappedChannel {
    fn drop(&mut self) {
        self.gate.leave(&self.core);
    }
}

/// What a channel and its gate share.
pub(super) struct Core {
    plan: Plan,
    /// The plan of a table that is about to come.
    next: Option<Plan>,
    /// Whether requests wait.
    closed: bool,
    /// Whether requests that fail wait for another table.
    push_back: bool,
    /// Whether `submit` has to queue: `closed`, or others wait.
    queues: bool,
    /// Requests that wait, and since when.
    queue: VecDeque<(Ticks, BdevIo)>,
    /// Finished, for the next poll.
    ready: VecDeque<Completion>,
    /// Requests between `submit` and `poll`, wherever they are.
    held: usize,
    waiting: Rc<Waiting>,
    clock: TurnClock,
}

impl Core {
    pub(super) fn new(plan: Plan, closed: bool, waiting: Rc<Waiting>, clock: TurnClock) -> Self {
        Self {
            plan,
            next: None,
            closed,
            push_back: false,
            queues: closed,
            queue: VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX),
            ready: VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX),
            held: 0,
            waiting,
            clock,
        }
    }

    /// Requests that the bases have, or that are on their way through the plan.
    pub(super) fn out(&self) -> usize {
        self.held - self.queue.len() - self.ready.len()
    }

    /// Requests wait from now on.
    pub(super) fn close(&mut self, push_back: bool) {
        (self.closed, self.queues, self.push_back) = (true, true, push_back);
    }

    /// Nothing is pushed back any more: everything has come back.
    pub(super) fn closed(&mut self) {
        self.push_back = false;
    }

    /// Keeps the plan of a table that is about to come; `None`: it does not come.
    pub(super) fn prepare(&mut self, next: Option<Plan>) {
        self.next = next;
    }

    /// Requests pass from now on, first those that wait: through the plan that was prepared, if there is
    /// one.
    pub(super) fn open(&mut self) {
        if let Some(next) = self.next.take() {
            assert_eq!(self.out(), 0, "a table is replaced when nothing is on its way through it");
            self.plan = next;
        }
        (self.closed, self.push_back) = (false, false);
        self.pump();
    }

    #[inline]
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        if self.held == CHANNEL_IN_FLIGHT_MAX {
            return Err(io);
        }
        if self.queues {
            self.put_off(io);
        } else {
            self.pass(io)?;
        }
        self.held += 1;
        Ok(())
    }

    #[inline]
    fn pass(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        match &mut self.plan {
            Plan::Straight(straight) => straight.submit(io, &mut self.ready),
            Plan::Mapped(mapper) => mapper.submit(io, &mut self.ready),
            Plan::None => {
                self.ready.push_back(io.complete(IoStatus::MediaError));
                Ok(())
            }
        }
    }

    #[cold]
    fn put_off(&mut self, io: BdevIo) {
        if self.closed {
            self.waiting.note_request();
        }
        self.queue.push_back((self.clock.now(), io));
    }

    /// Sends on what waits, in its order, until a base has no room.
    #[cold]
    fn pump(&mut self) {
        while let Some((since, io)) = self.queue.pop_front() {
            if let Err(io) = self.pass(io) {
                self.queue.push_front((since, io));
                break;
            }
            self.waiting.note_time(self.clock.now() - since);
            self.waiting.stir();
        }
        self.queues = !self.queue.is_empty();
    }

    #[inline]
    pub(super) fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let before = done.len();
        match &mut self.plan {
            Plan::Straight(straight) => {
                straight.poll(done);
            }
            Plan::Mapped(mapper) => {
                if mapper.poll(&mut self.ready) > 0 {
                    self.waiting.stir();
                }
            }
            Plan::None => {}
        }
        if self.push_back {
            self.push_back_failures(before, done);
        }
        if self.queues && !self.closed {
            self.pump();
        }
        if !self.ready.is_empty() {
            let room = COMPLETIONS_PER_POLL_MAX.saturating_sub(done.len() - before);
            done.extend(self.ready.drain(..self.ready.len().min(room)));
        }
        let count = done.len() - before;
        self.held -= count;
        count
    }

    /// Has what failed wait for the next table, in front of what came later.
    #[cold]
    fn push_back_failures(&mut self, before: usize, done: &mut Vec<Completion>) {
        let now = self.clock.now();
        let (queue, waiting) = (&mut self.queue, &self.waiting);
        let mut keep = |completion: Completion| match completion.status {
            IoStatus::MediaError | IoStatus::TimedOut | IoStatus::Gone | IoStatus::Aborted => {
                waiting.note_request();
                queue.push_front((now, completion.io));
                None
            }
            _ => Some(completion),
        };
        for _ in 0..self.ready.len() {
            let kept = self.ready.pop_front().and_then(&mut keep);
            self.ready.extend(kept);
        }
        let mut place = before;
        while place < done.len() {
            match keep(done.swap_remove(place)) {
                None => {}
                Some(completion) => {
                    done.push(completion);
                    let last = done.len() - 1;
                    done.swap(place, last);
                    place += 1;
                }
            }
        }
    }

    /// Its user is gone: what waits is forgotten, as what has come back is.
    pub(super) fn abandon(&mut self) {
        self.held = self.out();
        self.queue.clear();
        self.ready.clear();
    }
}
