//! The channel that counts.
//!
//! ```text
//!              roughly                                closely: a limit or a histogram is set
//!   submit     how many of each kind are in flight    wait for the limit; slot: token, since when
//!   poll       those, times the time since the        the latency of each
//!              last poll; one is timed
//! ```
//!
//! Most of the time nobody asks for the latency of one request. Then the requests in flight, times how
//! long they are, are the sum of the latencies (Little's law), which needs no memory and no clock per
//! request; the longest and the shortest are of one request at a time that is watched. Once somebody
//! asks, each request has a slot, whose number goes down in place of its token. Requests that were on
//! their way when that changed are told apart by a tag in those tokens that nobody else has.
//!
//! A request that a limit holds back waits here and is in flight to its user. Its latency includes that,
//! as in SPDK.
//!
//! Invariants: R6 (as many requests as the bdev's own channel takes, and those that a limit holds back,
//! which are bounded; slots are made when they are first needed and used again).
//!
//! Not here: who asks (`super`).

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use reactor::{Ticks, TurnClock};
use uuid::Uuid;

use super::Shared;
use super::stats::{IoKind, Meter};
use crate::bdev::IoChannel;
use crate::io::{BdevIo, Completion};
use crate::limits::CHANNEL_IN_FLIGHT_MAX;

/// Bits of a token that are a slot's number.
const SLOT_BITS: u32 = 16;

/// See the module's notes.
pub struct CountedChannel {
    inner: Box<dyn IoChannel>,
    clock: TurnClock,
    /// Requests in flight that are counted roughly, by kind.
    in_flight: [u32; IoKind::ALL.len()],
    /// Whether new requests are looked at one by one. Changes in `poll`.
    closely: bool,
    /// Whether the next request needs more than to be counted: `closely`, or it is to be watched.
    attend: bool,
    /// One of those that are counted roughly.
    watched: Option<Watched>,
    last_poll: Ticks,
    meter: Rc<Meter>,
    shared: Arc<Shared>,
    slots: Slots,
    /// Requests that a limit holds back, in their order; their tokens are slots already.
    held: VecDeque<BdevIo>,
}

/// A request whose latency is wanted.
#[derive(Debug)]
struct Watched {
    token: u64,
    since: Ticks,
}

impl CountedChannel {
    pub(super) fn new(
        inner: Box<dyn IoChannel>,
        meter: Rc<Meter>,
        clock: TurnClock,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            inner,
            in_flight: [0; IoKind::ALL.len()],
            closely: shared.closely.load(Ordering::Relaxed),
            attend: true,
            watched: None,
            last_poll: clock.now(),
            clock,
            meter,
            shared,
            slots: Slots::new(),
            held: VecDeque::new(),
        }
    }

    #[cold]
    fn submit_attended(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        if self.closely {
            return self.submit_closely(io);
        }
        self.watched = Some(Watched { token: io.token, since: self.clock.now() });
        self.attend = false;
        self.submit_roughly(io)
    }

    #[inline]
    fn submit_roughly(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        let kind = IoKind::of(&io.op) as usize;
        self.in_flight[kind] += 1;
        let outcome = self.inner.submit(io);
        if outcome.is_err() {
            self.in_flight[kind] -= 1;
        }
        outcome
    }

    #[cold]
    fn submit_closely(&mut self, mut io: BdevIo) -> Result<(), BdevIo> {
        if self.held.len() >= CHANNEL_IN_FLIGHT_MAX || self.slots.is_full() {
            return Err(io);
        }
        let (kind, bytes, now) = (IoKind::of(&io.op), io.len_bytes, self.clock.now());
        io.token = self.slots.put(io.token, now);
        if self.held.is_empty() {
            match self.shared.gate.pass(kind, bytes, now) {
                Ok(()) => {
                    return self.inner.submit(io).map_err(|mut io| {
                        io.token = self.slots.take(io.token).map_or(io.token, |slot| slot.token);
                        io
                    });
                }
                Err(at) => self.meter.note_due(at),
            }
        }
        self.held.push_back(io);
        Ok(())
    }

    /// Passes on what has waited long enough.
    #[cold]
    fn release(&mut self) {
        let now = self.clock.now();
        while let Some(io) = self.held.pop_front() {
            let at = match self.shared.gate.pass(IoKind::of(&io.op), io.len_bytes, now) {
                Err(at) => Err((io, at)),
                // It has paid, and pays again: the bdev itself is the limit then.
                Ok(()) => self.inner.submit(io).map_err(|io| (io, now)),
            };
            if let Err((io, at)) = at {
                self.held.push_front(io);
                self.meter.note_due(at);
                return;
            }
        }
    }

    /// Counts the time that requests have been in flight since the last poll.
    #[inline]
    fn pass_time(&mut self, now: Ticks) {
        let span = now - self.last_poll;
        self.last_poll = now;
        if self.in_flight != [0; IoKind::ALL.len()] {
            self.meter.pass_time(&self.in_flight, span);
        }
    }

    #[inline]
    fn settle_roughly(&mut self, done: &[Completion], now: Ticks) {
        self.meter.record(done, &mut self.in_flight);
        if let Some(Watched { token, since }) = self.watched
            && let Some(seen) = done.iter().find(|completion| completion.io.token == token)
        {
            if seen.status.is_ok() {
                self.meter.note_latency(IoKind::of(&seen.io.op), now - since);
            }
            self.watched = None;
        }
    }

    #[cold]
    fn settle_closely(&mut self, done: &mut [Completion], now: Ticks) {
        for completion in done {
            match self.slots.take(completion.io.token) {
                None => self.settle_roughly(std::slice::from_ref(completion), now),
                Some(slot) => {
                    completion.io.token = slot.token;
                    self.meter.record_one(completion, now - slot.since);
                }
            }
        }
    }
}

impl IoChannel for CountedChannel {
    #[inline]
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        if self.attend {
            return self.submit_attended(io);
        }
        self.submit_roughly(io)
    }

    #[inline]
    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let now = self.clock.now();
        if !self.held.is_empty() {
            self.release();
        }
        let from = done.len();
        let count = self.inner.poll(done);
        self.pass_time(now);
        if count > 0 {
            match self.slots.is_empty() {
                true => self.settle_roughly(&done[from..], now),
                false => self.settle_closely(&mut done[from..], now),
            }
        }
        self.closely = self.shared.closely.load(Ordering::Relaxed) || !self.held.is_empty();
        self.attend = self.closely || self.watched.is_none();
        count
    }
}

impl Drop for CountedChannel {
    fn drop(&mut self) {
        self.meter.leave();
    }
}

impl fmt::Debug for CountedChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountedChannel").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

/// What is known of requests that are looked at one by one.
#[derive(Debug)]
struct Slots {
    /// Upper bits of the tokens below, drawn at random.
    tag: u64,
    entries: Vec<Slot>,
    /// The first free one; the end of `entries` if none is.
    free: usize,
    taken: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The user's; of a free slot, the number of the next free one.
    token: u64,
    since: Ticks,
}

impl Slots {
    fn new() -> Self {
        let tag = Uuid::new_v4().as_u64_pair().0 << SLOT_BITS;
        Self { tag, entries: Vec::new(), free: 0, taken: 0 }
    }

    fn is_empty(&self) -> bool {
        self.taken == 0
    }

    fn is_full(&self) -> bool {
        self.taken == 1 << SLOT_BITS
    }

    fn put(&mut self, token: u64, since: Ticks) -> u64 {
        let at = self.free;
        if let Some(slot) = self.entries.get_mut(at) {
            self.free = slot.token as usize;
            *slot = Slot { token, since };
        } else {
            self.entries.push(Slot { token, since });
            self.free = self.entries.len();
        }
        self.taken += 1;
        self.tag | at as u64
    }

    /// What is in the slot of this token; `None` if it is nobody's.
    fn take(&mut self, token: u64) -> Option<Slot> {
        if token >> SLOT_BITS != self.tag >> SLOT_BITS {
            return None;
        }
        let at = (token & ((1 << SLOT_BITS) - 1)) as usize;
        let slot = self.entries.get_mut(at)?;
        let taken = *slot;
        slot.token = self.free as u64;
        self.free = at;
        self.taken -= 1;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: slots are told apart, from each other and from what is no slot, and are used again.
    #[test]
    fn slots_are_used_again() {
        let mut slots = Slots::new();
        for round in 0..3_u64 {
            let taken: Vec<u64> = (0..5).map(|n| slots.put(n + 100 * round, Ticks(n))).collect();
            for (n, token) in taken.into_iter().enumerate().rev() {
                assert!(slots.take(token ^ (1 << 63)).is_none());
                let slot = slots.take(token).unwrap();
                assert_eq!((slot.token, slot.since.0), (n as u64 + 100 * round, n as u64));
            }
        }
        assert_eq!(slots.entries.len(), 5);
        assert!(slots.is_empty());
    }
}
