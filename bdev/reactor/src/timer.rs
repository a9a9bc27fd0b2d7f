//! Timers of one reactor: a binary heap of deadlines over a slab of callbacks.
//!
//! Owns: a cancelled timer never runs again; a timer that names its next deadline runs again, in a
//! later turn even if that deadline has passed already, so timers cannot keep a turn from ending.
//!
//! ```text
//!   Free --insert--> Armed(f)    --due--> Running --next deadline--> Armed
//!    ^                  | cancel              | cancel, or no next deadline
//!    +------------------+---------------------+
//! ```
//!
//! Cancelling leaves a stale entry in the heap, told by the slot's round number; when stale
//! entries outnumber live ones the heap is rebuilt.
//!
//! Not here: reading the clock.

use crate::clock::Ticks;
use crate::cx::Cx;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;

/// What runs when a timer is due: returns the next deadline, if any.
pub type TimerFn = Box<dyn FnMut(&mut Cx) -> Option<Ticks>>;

/// Names a timer on its reactor; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TimerId {
    slot: u32,
    round: u32,
}

/// Deadline first, then the order in which deadlines were set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Due {
    at: Ticks,
    seq: u64,
    id: TimerId,
}

enum Slot {
    Free,
    Armed(TimerFn),
    Running,
}

#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Due>>,
    slots: Vec<(u32, Slot)>,
    free: Vec<u32>,
    armed: usize,
    seq: u64,
}

impl Timers {
    pub(crate) fn insert(&mut self, at: Ticks, f: TimerFn) -> TimerId {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 timers at a time");
            self.slots.push((0, Slot::Free));
            slot
        });
        let id = TimerId { slot, round: self.slots[slot as usize].0 };
        self.arm(id, at, f);
        id
    }

    /// The timer will not run (again). Unknown and ended timers are fine.
    pub(crate) fn cancel(&mut self, id: TimerId) {
        let Some(slot @ (Slot::Armed(_) | Slot::Running)) = self.slot(id) else { return };
        if let Slot::Armed(_) = std::mem::replace(slot, Slot::Free) {
            self.armed -= 1;
        }
        self.retire(id);
        self.sweep();
    }

    /// The next deadline.
    pub(crate) fn next(&mut self) -> Option<Ticks> {
        self.drop_stale();
        self.heap.peek().map(|Reverse(due)| due.at)
    }

    /// Whether there may be something due: one comparison.
    #[inline]
    pub(crate) fn may_be_due(&self, now: Ticks) -> bool {
        self.heap.peek().is_some_and(|Reverse(due)| due.at <= now)
    }

    /// Moves all that is due by `now` to `due`, in order.
    pub(crate) fn take_due(&mut self, now: Ticks, due: &mut Vec<TimerId>) {
        while self.may_be_due(now) {
            let Some(Reverse(first)) = self.heap.pop() else { break };
            if self.is_live(&first) {
                due.push(first.id);
            }
        }
    }

    /// Takes the callback of a timer that is due out, unless it was cancelled meanwhile.
    pub(crate) fn start(&mut self, id: TimerId) -> Option<TimerFn> {
        let slot = self.slot(id)?;
        let Slot::Armed(f) = std::mem::replace(slot, Slot::Running) else {
            unreachable!("timer {id:?} is due, so it is armed");
        };
        self.armed -= 1;
        Some(f)
    }

    /// The callback has run: waits for the next deadline, or ends.
    pub(crate) fn finish(&mut self, id: TimerId, f: TimerFn, next: Option<Ticks>) {
        match (self.slot(id), next) {
            (Some(Slot::Running), Some(at)) => self.arm(id, at, f),
            (Some(slot @ Slot::Running), None) => {
                *slot = Slot::Free;
                self.retire(id);
            }
            // It was cancelled while it ran.
            (Some(Slot::Free | Slot::Armed(_)) | None, _) => {}
        }
    }

    fn arm(&mut self, id: TimerId, at: Ticks, f: TimerFn) {
        self.slots[id.slot as usize].1 = Slot::Armed(f);
        self.armed += 1;
        self.seq += 1;
        self.heap.push(Reverse(Due { at, seq: self.seq, id }));
    }

    fn slot(&mut self, id: TimerId) -> Option<&mut Slot> {
        let (round, slot) = self.slots.get_mut(id.slot as usize)?;
        (*round == id.round).then_some(slot)
    }

    /// Makes the slot ready for another timer, under a name that was never given. After `2^32`
    /// timers a slot is out of names and stays unused.
    fn retire(&mut self, id: TimerId) {
        let round = &mut self.slots[id.slot as usize].0;
        *round = round.wrapping_add(1);
        if *round != 0 {
            self.free.push(id.slot);
        }
    }

    fn is_live(&self, due: &Due) -> bool {
        let (round, slot) = &self.slots[due.id.slot as usize];
        *round == due.id.round && matches!(slot, Slot::Armed(_))
    }

    fn drop_stale(&mut self) {
        while let Some(Reverse(first)) = self.heap.peek() {
            if self.is_live(first) {
                break;
            }
            self.heap.pop();
        }
    }

    /// Keeps the heap within twice the number of timers.
    fn sweep(&mut self) {
        if self.heap.len() > 2 * self.armed + 16 {
            let mut all = std::mem::take(&mut self.heap).into_vec();
            all.retain(|Reverse(due)| self.is_live(due));
            self.heap = all.into();
        }
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers")
            .field("armed", &self.armed)
            .field("first", &self.heap.peek().map(|Reverse(due)| due.at))
            .finish_non_exhaustive()
    }
}
