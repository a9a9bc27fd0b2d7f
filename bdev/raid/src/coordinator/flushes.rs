//! Flushing the members, and what it is good for: bits are cleared only afterwards (**R2**).
//!
//! ```text
//!   region released --> idle --round begins--> flushing --every member flushed--> log bit cleared
//!        ^               |                        |
//!        +--- marked ----+------------------------+
//! ```
//!
//! A round flushes every member that is in use, once, and serves every purpose that waited for it. A
//! member that fails its flush is out (**R9**): it is never asked again, and the bits stay.
//!
//! Not here: the clearing on the log bdev (`commit`), what follows a checkpoint (`ledger`).

use super::{Coordinator, Order, Orders};
use crate::bitmap::Bitmap;
use crate::event::FailCause;
use crate::limits::CLEAR_INTERVAL_NS;
use crate::units::{Slot, SlotSet};

/// What a round is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Purposes {
    /// Recording how far a background action is, in the superblocks.
    pub(super) checkpoint: bool,
    /// Trusting members that have been rebuilt.
    pub(super) promote: bool,
    /// The end of the array.
    pub(super) stop: bool,
}

impl Purposes {
    fn any(self) -> bool {
        self.checkpoint || self.promote || self.stop
    }
}

#[derive(Debug)]
struct Round {
    purposes: Purposes,
    pending: SlotSet,
    ok: bool,
    /// Generation of the map when it began: a member that left or joined since makes it worth nothing.
    generation: u64,
    /// How far the rebuild was when it began.
    first_stale: Option<u64>,
}

/// Flush rounds of an array.
#[derive(Debug)]
pub(super) struct Flushes {
    /// Regions that nobody holds and whose bit is still set.
    idle: Bitmap,
    /// Those of them that the round under way covers.
    flushing: Bitmap,
    wanted: Purposes,
    round: Option<Round>,
    next_clear_ns: u64,
}

impl Flushes {
    pub(super) fn new(regions: u64) -> Self {
        Self {
            idle: Bitmap::new(regions, false),
            flushing: Bitmap::new(regions, false),
            wanted: Purposes::default(),
            round: None,
            next_clear_ns: 0,
        }
    }

    /// A region is written again: its bit must stay.
    pub(super) fn forget(&mut self, region: u64) {
        self.idle.set(region, false);
        self.flushing.set(region, false);
    }

    pub(super) fn want(&mut self, purposes: Purposes) {
        self.wanted.checkpoint |= purposes.checkpoint;
        self.wanted.promote |= purposes.promote;
        self.wanted.stop |= purposes.stop;
    }

    /// Whether a member has not answered its flush yet.
    pub(super) fn awaits(&self, slot: Slot) -> bool {
        self.round.as_ref().is_some_and(|round| round.pending.contains(slot))
    }

    /// Whether nothing is under way and no bit waits to be cleared.
    pub(super) fn is_idle(&self) -> bool {
        self.round.is_none() && !self.wanted.any()
    }
}

impl Coordinator {
    /// Nobody holds the region any more.
    pub(super) fn note_idle(&mut self, region: u64) {
        if !self.log.in_sync(region) || self.log.is_clean(region) {
            return;
        }
        if self.log.area().is_none() && self.map.is_optimal() {
            // A log in memory outlives nothing.
            self.log.clear(region);
        } else {
            self.flushes.idle.set(region, true);
        }
    }

    /// Every bit that nothing stands behind any more may go: the members are all there.
    pub(super) fn clean_up(&mut self) {
        let mut at = 0;
        while let Some(region) = self.log.next_dirty(at) {
            if !self.commit.is_held(region) {
                self.note_idle(region);
            }
            at = region + 1;
        }
    }

    pub(super) fn flushes_due_ns(&self) -> Option<u64> {
        let waiting = self.flushes.idle.ones() > 0 && self.may_clear();
        // What is under way is followed by a look at what is due.
        let free = self.flushes.round.is_none() && !self.change.is_under_way();
        if free && self.flushes.wanted.any() {
            return Some(self.now_ns);
        }
        (free && waiting).then_some(self.flushes.next_clear_ns)
    }

    /// While a member is missing its copy of what is written is out of date: the bits stay (**R2**).
    fn may_clear(&self) -> bool {
        self.map.is_optimal() && self.log_health.is_alive()
    }

    /// Starts a round, if one is due.
    pub(super) fn begin_flushes(&mut self, orders: &mut Orders) {
        let clear = self.flushes.idle.ones() > 0
            && self.may_clear()
            && (self.now_ns >= self.flushes.next_clear_ns || self.flushes.wanted.stop);
        if self.flushes.round.is_some() || self.change.is_under_way() {
            return;
        }
        if !clear && !self.flushes.wanted.any() {
            return;
        }
        if clear {
            std::mem::swap(&mut self.flushes.idle, &mut self.flushes.flushing);
        }
        let pending = self.map.writable();
        for slot in pending.iter() {
            orders.push_back(Order::FlushMember { slot });
        }
        let round = Round {
            purposes: std::mem::take(&mut self.flushes.wanted),
            pending,
            ok: !pending.is_empty(),
            generation: self.map.generation(),
            first_stale: self.stale.next_one(0),
        };
        match pending.is_empty() {
            // Every member is lost: nobody will answer.
            true => self.round_ended(&round, orders),
            false => self.flushes.round = Some(round),
        }
    }

    pub(super) fn member_flushed(&mut self, slot: Slot, ok: bool, orders: &mut Orders) {
        let round = self.flushes.round.as_mut().expect("a flush answers a round");
        assert!(round.pending.contains(slot), "slot {slot} was not asked to flush");
        round.pending.remove(slot);
        round.ok &= ok;
        let over = round.pending.is_empty();
        if !ok {
            self.member_failed(slot, FailCause::Flush, orders);
        }
        if over && let Some(round) = self.flushes.round.take() {
            self.round_ended(&round, orders);
        }
    }

    fn round_ended(&mut self, round: &Round, orders: &mut Orders) {
        // A member that has failed meanwhile, and be it at somebody else's flush, may have lost what this round
        // was to make durable (R9).
        let same = round.generation == self.map.generation() && !self.change.has_failures();
        let good = round.ok && same;
        let mut at = 0;
        while let Some(region) = self.flushes.flushing.next_one(at) {
            self.flushes.flushing.set(region, false);
            if good && self.may_clear() && self.log.in_sync(region) {
                self.log.clear(region);
            } else {
                self.flushes.idle.set(region, true);
            }
            at = region + 1;
        }
        self.flushes.next_clear_ns = self.now_ns + CLEAR_INTERVAL_NS;
        if round.purposes.checkpoint && good {
            self.record_checkpoint(round.first_stale);
        }
        if round.purposes.promote {
            self.promotion_flushed(good, orders);
        }
        if round.purposes.stop {
            self.stop_flushed(good);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::tests::{spec, tell};
    use crate::coordinator::{CoordinatorSpec, Input};
    use crate::dirty_log::{DirtyLog, DiskArea, SyncOption};

    /// Goal: a round clears nothing once a member has failed, and be it at somebody else's flush that took the error
    /// away from this one (R2, R9). Method: a round of which every flush succeeds, with and without a failure meanwhile.
    #[test]
    fn a_round_beside_a_failure_clears_nothing() {
        for fails in [false, true] {
            let log = DirtyLog::load(None, DiskArea::new(512, 4), SyncOption::NoSync).log;
            let mut array = Coordinator::new(CoordinatorSpec { log, ..spec(4, 1) });
            tell(&mut array, Input::Start);
            tell(&mut array, Input::Mark { shard: 0, region: 2 });
            tell(&mut array, Input::Release { region: 2 });
            let mut orders = Orders::new();
            array.unplug(CLEAR_INTERVAL_NS, 0, &mut orders);
            for slot in (0..4).map(Slot) {
                assert!(orders.contains(&Order::FlushMember { slot }), "{orders:?}");
                if fails && slot == Slot(3) {
                    let cause = FailCause::Flush;
                    tell(&mut array, Input::MemberFailed { slot: Slot(1), cause });
                }
                tell(&mut array, Input::MemberFlushed { slot, ok: true });
            }
            assert_eq!(array.log().is_clean(2), !fails);
        }
    }
}
