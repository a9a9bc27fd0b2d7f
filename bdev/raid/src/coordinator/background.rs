//! Background actions: resync, rebuild, check, repair, one at a time, in stretches of stripes.
//!
//! ```text
//!          choose            pace: go             next stretch, of this region or of the next
//!   Idle ---------> (pass) ------------> room? -----------------------------> shards at work
//!    ^                |  ^                                                       |
//!    | nothing left,  |  +--- every shard answered for a stretch <---------------+
//!    | nothing out    |           its region over: in sync, or rebuilt
//!    +----------------+
//! ```
//!
//! What has to be done comes first, whatever was asked for: members to be rebuilt, then regions out of
//! sync, then the check or repair that somebody requested (linux-raid.md, section 2.6). A change of the
//! members ends the pass; what is left to do is chosen anew afterwards.
//!
//! Without a [`Permit`] no stretch is handed out: a pass that has not begun does not begin, one that runs
//! stands still once what is out is done. Both are *delayed*, can be interrupted, and end when the array stops. Host
//! I/O, changes of the members and the log do not wait for a permit.
//!
//! Not here: which stretches are out (`stretches`), how a shard works on its stripes (`shard`), how fast
//! (`pace`), who is given the permit when arrays share a device (the control plane).

use super::flushes::Purposes;
use super::pace::{Pace, Rates, Verdict};
use super::stretches::{Ended, RegionOver, Stretches};
use super::{Coordinator, Order, Orders, RaidEvent};
use crate::event::{Work, WorkKind};
use crate::limits::{CHECKPOINT_NS, CHECKPOINT_PARTS};

/// What is going on, in md's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Idle,
    /// Nothing, and nothing will start by itself.
    Frozen,
    /// A pass of this kind.
    Running(WorkKind),
    /// A pass of this kind, as soon as it is permitted.
    Delayed(WorkKind),
}

/// Whether background actions may work: arrays that share a device do so one after the other (md:
/// "delaying resync ... until ... has finished").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// They may.
    Granted,
    /// They wait.
    Withheld,
}

/// How far a pass is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Regions that are done.
    pub done: u64,
    /// Regions that the pass goes over.
    pub total: u64,
    /// Speed on each member in bytes a second.
    pub speed_bytes_per_s: u64,
}

/// Why an action could not be requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// Another one is running, or waits for its permit.
    #[error("{0:?} is running: wait for its end, or send idle or frozen first")]
    Busy(WorkKind),
    /// The array has lost too much, or is stopping.
    #[error("the array cannot work on its stripes: it is broken or stopping")]
    Unable,
}

#[derive(Debug)]
struct Pass {
    kind: WorkKind,
    out: Stretches,
    /// Where the search for the next region goes on.
    cursor: u64,
    done: u64,
    total: u64,
    /// A region could not be done.
    incomplete: bool,
    aborted: bool,
    pace: Pace,
    wait_ns: Option<u64>,
    checkpoint_done: u64,
    checkpoint_ns: u64,
}

/// Background actions of an array.
#[derive(Debug)]
pub(super) struct Background {
    rates: Rates,
    /// Most stripes of a stretch.
    stretch: u64,
    permit: Permit,
    /// The delay that was told of last, while it lasts.
    told_delayed: Option<WorkKind>,
    frozen: bool,
    requested: Option<WorkKind>,
    pass: Option<Pass>,
    /// Nothing changed since a pass found that it cannot do more: it is not tried again.
    exhausted: bool,
    promoting: bool,
    last: Option<WorkKind>,
    mismatched_rows: u64,
}

impl Background {
    pub(super) fn new(rates: Rates, stretch: u64, permit: Permit, frozen: bool) -> Self {
        Self {
            rates,
            stretch,
            permit,
            told_delayed: None,
            frozen,
            requested: None,
            pass: None,
            exhausted: false,
            promoting: false,
            last: None,
            mismatched_rows: 0,
        }
    }

    /// What could not be done before may be possible now.
    pub(super) fn members_changed(&mut self) {
        self.exhausted = false;
    }

    /// Whether nothing more can be done with the members as they are.
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    pub(super) fn is_idle(&self) -> bool {
        self.pass.is_none() && !self.promoting
    }
}

impl Coordinator {
    /// Requests a check or repair, or a resync or rebuild of what needs it.
    ///
    /// # Errors
    /// While another action is running, and on an array that cannot.
    pub fn request(&mut self, kind: WorkKind) -> Result<(), ActionError> {
        let action = self.action();
        self.background.frozen = false;
        if let Action::Running(kind) | Action::Delayed(kind) = action {
            return Err(ActionError::Busy(kind));
        }
        if self.is_broken() || self.stop.is_begun() {
            return Err(ActionError::Unable);
        }
        self.background.exhausted = false;
        if matches!(kind, WorkKind::Check | WorkKind::Repair) {
            self.background.requested = Some(kind);
        }
        Ok(())
    }

    /// Interrupts what is running; what still has to be done starts again by itself unless `frozen`.
    pub fn interrupt(&mut self, frozen: bool, orders: &mut Orders) {
        self.background.frozen = frozen;
        self.background.exhausted = false;
        self.background.requested = None;
        self.abort_work(orders);
    }

    /// When there is something to do though nothing happens: at once where a pass has ended without a
    /// stretch to wait for, and another is to begin.
    pub(super) fn work_due_ns(&self) -> Option<u64> {
        match &self.background.pass {
            Some(pass) => pass.wait_ns,
            None if self.background.permit == Permit::Withheld => None,
            None => self.next_kind().map(|_| self.now_ns),
        }
    }

    /// Changes the bounds of the speed.
    pub fn set_rates(&mut self, rates: Rates) {
        self.background.rates = rates;
        if let Some(pass) = &mut self.background.pass {
            pass.pace.set_rates(rates);
            pass.wait_ns = None;
        }
    }

    /// The bounds of the speed.
    #[must_use]
    pub fn rates(&self) -> Rates {
        self.background.rates
    }

    /// Grants or withholds the permit. Stretches that are handed out already are done to their end.
    pub(super) fn set_permit(&mut self, permit: Permit) {
        if self.background.permit == permit {
            return;
        }
        self.background.permit = permit;
        if let Some(pass) = &mut self.background.pass {
            // The time that it stood still is no time in which it was slow.
            pass.pace = Pace::new(self.background.rates, self.now_ns, self.foreground_bytes);
            pass.wait_ns = None;
        }
    }

    /// What is going on.
    #[must_use]
    pub fn action(&self) -> Action {
        let withheld = self.background.permit == Permit::Withheld;
        match &self.background.pass {
            Some(pass) if withheld && pass.out.is_empty() => Action::Delayed(pass.kind),
            Some(pass) => Action::Running(pass.kind),
            None if self.background.frozen => Action::Frozen,
            None if withheld => self.next_kind().map_or(Action::Idle, Action::Delayed),
            // About to begin: whoever was given a permit has not let it pass.
            None => self.next_kind().map_or(Action::Idle, Action::Running),
        }
    }

    /// How far the pass is that is running.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.background.pass.as_ref().map(|pass| Progress {
            done: pass.done,
            total: pass.total,
            speed_bytes_per_s: pass.pace.speed_bytes_per_s(self.now_ns),
        })
    }

    /// The action that ran last, or runs.
    #[must_use]
    pub fn last_action(&self) -> Option<WorkKind> {
        self.background.last
    }

    /// Rows of 4 KiB whose parity the last action found wrong.
    #[must_use]
    pub fn mismatched_rows(&self) -> u64 {
        self.background.mismatched_rows
    }

    /// Gives up the pass that is running: the stretches that are out end early.
    pub(super) fn abort_work(&mut self, orders: &mut Orders) {
        let Some(pass) = &mut self.background.pass else { return };
        if pass.aborted && !pass.out.is_empty() {
            return;
        }
        pass.aborted = true;
        pass.wait_ns = None;
        if pass.kind == WorkKind::Resync {
            // They were handed out and are not done.
            for region in pass.out.regions() {
                self.log.set_region_sync(region, false);
            }
        }
        if pass.out.is_empty() {
            self.end_pass(orders);
        } else {
            orders.push_back(Order::AbortWork);
        }
    }

    /// Goes on with the pass, or starts one, if it is time.
    pub(super) fn begin_work(&mut self, orders: &mut Orders) {
        self.tell_delayed(orders);
        if self.change.is_under_way()
            || !self.ledger.is_running()
            || self.background.permit == Permit::Withheld
        {
            return;
        }
        if self.background.pass.is_none() {
            self.choose(orders);
        }
        let now_ns = self.now_ns;
        let Some(pass) = &mut self.background.pass else { return };
        let waits = pass.wait_ns.is_some_and(|until| until > now_ns);
        if pass.aborted || pass.out.is_full() || waits {
            return;
        }
        pass.wait_ns = None;
        pass.pace.look(self.now_ns, self.foreground_bytes);
        while self.next_stretch(orders) {}
    }

    /// Says once that an action waits for its permit, so that whoever gives it looks.
    fn tell_delayed(&mut self, orders: &mut Orders) {
        let delayed = match self.action() {
            Action::Delayed(kind) => Some(kind),
            Action::Idle | Action::Frozen | Action::Running(_) => None,
        };
        let told = std::mem::replace(&mut self.background.told_delayed, delayed);
        if let Some(kind) = delayed.filter(|_| delayed != told) {
            orders.push_back(Order::Event(RaidEvent::SyncDelayed { kind }));
        }
    }

    /// What has to be done, or was asked for; `None` when nothing may start.
    fn next_kind(&self) -> Option<WorkKind> {
        let may_start = !self.background.frozen
            && !self.background.exhausted
            && !self.background.promoting
            && !self.stop.is_begun()
            && self.change.is_settled()
            && self.ledger.is_running()
            && !self.is_broken();
        if !may_start {
            None
        } else if !self.map.rebuilding().is_empty() {
            self.ledger.is_join_durable().then_some(WorkKind::Rebuild)
        } else if self.can_resync() && self.log.sync_count() < self.log.regions() {
            Some(WorkKind::Resync)
        } else {
            self.background.requested
        }
    }

    /// Starts what is next.
    fn choose(&mut self, orders: &mut Orders) {
        let Some(kind) = self.next_kind() else { return };
        let total = match kind {
            WorkKind::Rebuild => self.stale.ones(),
            WorkKind::Resync => self.log.regions() - self.log.sync_count(),
            WorkKind::Check | WorkKind::Repair => {
                self.background.requested = None;
                self.log.regions()
            }
        };
        self.log.rewind();
        self.background.last = Some(kind);
        self.background.mismatched_rows = 0;
        self.background.pass = Some(Pass {
            kind,
            out: Stretches::new(self.shards),
            cursor: 0,
            done: 0,
            total,
            incomplete: false,
            aborted: false,
            pace: Pace::new(self.background.rates, self.now_ns, self.foreground_bytes),
            wait_ns: None,
            checkpoint_done: 0,
            checkpoint_ns: self.now_ns,
        });
        orders.push_back(Order::Event(RaidEvent::SyncStarted { kind }));
    }

    /// Hands the next stretch out, of this region or of the next, if there is room and it is time; ends
    /// the pass when there is nothing left to do. Whether there may be more.
    fn next_stretch(&mut self, orders: &mut Orders) -> bool {
        let Some(pass) = &mut self.background.pass else { return false };
        if pass.out.is_full() {
            return false;
        }
        let out_bytes = pass.out.stripes_out() * u64::from(self.strip_bytes);
        if let Verdict::Wait { until_ns } = pass.pace.verdict(self.now_ns, out_bytes) {
            pass.wait_ns = Some(until_ns);
            return false;
        }
        if !pass.out.is_open() {
            let region = match pass.kind {
                WorkKind::Resync => self.log.resync_work(),
                WorkKind::Rebuild => self.stale.next_one(pass.cursor),
                WorkKind::Check | WorkKind::Repair => {
                    Some(pass.cursor).filter(|&region| region < self.log.regions())
                }
            };
            let Some(region) = region else {
                if pass.out.is_empty() {
                    self.end_pass(orders);
                }
                return false;
            };
            pass.cursor = region + 1;
            pass.out.open(region, self.regions.stripes(region));
        }
        let stripes = pass.out.hand_out(self.background.stretch);
        let (first, end) = (stripes.start, stripes.end);
        orders.push_back(Order::StartWork(Work { kind: pass.kind, first, end }));
        true
    }

    pub(super) fn work_done(
        &mut self,
        first: u64,
        ok: bool,
        mismatched_rows: u64,
        orders: &mut Orders,
    ) {
        self.background.mismatched_rows += mismatched_rows;
        let pass = self.background.pass.as_mut().expect("work belongs to a pass");
        let Ended::Stretch { stripes, region } = pass.out.answered(first, ok) else { return };
        pass.pace.done(stripes * u64::from(self.strip_bytes), self.now_ns);
        if !pass.aborted {
            region.into_iter().for_each(|over| self.region_over(over, orders));
        } else if pass.out.is_empty() {
            self.end_pass(orders);
        }
    }

    /// A region is over: it can be trusted now, if all of it was done.
    fn region_over(&mut self, over: RegionOver, orders: &mut Orders) {
        let RegionOver { region, ok } = over;
        let Some(pass) = &mut self.background.pass else { return };
        pass.done += 1;
        pass.incomplete |= !ok;
        match pass.kind {
            WorkKind::Resync => {
                let in_sync = ok && self.can_resync();
                self.log.set_region_sync(region, in_sync);
                if in_sync {
                    orders.push_back(Order::RegionSync { region, in_sync });
                    if !self.commit.is_held(region) {
                        self.note_idle(region);
                    }
                }
            }
            WorkKind::Rebuild if ok => {
                self.stale.set(region, false);
                orders.push_back(Order::RegionRebuilt { region });
            }
            WorkKind::Rebuild | WorkKind::Check | WorkKind::Repair => {}
        }
        self.check_checkpoint();
    }

    fn check_checkpoint(&mut self) {
        let Some(pass) = &mut self.background.pass else { return };
        let checked = matches!(pass.kind, WorkKind::Check | WorkKind::Repair);
        let part = (pass.total / CHECKPOINT_PARTS).max(1);
        let due = pass.done - pass.checkpoint_done >= part
            || self.now_ns - pass.checkpoint_ns >= CHECKPOINT_NS;
        if !checked && due && self.ledger.has_superblocks() {
            pass.checkpoint_done = pass.done;
            pass.checkpoint_ns = self.now_ns;
            self.flushes.want(Purposes { checkpoint: true, ..Purposes::default() });
        }
    }

    /// The pass is over, or is given up.
    fn end_pass(&mut self, orders: &mut Orders) {
        let Some(pass) = self.background.pass.take() else { return };
        let complete = !pass.aborted && !pass.incomplete;
        orders.push_back(Order::Event(RaidEvent::SyncEnded { kind: pass.kind, complete }));
        if pass.kind == WorkKind::Rebuild && self.stale.ones() == 0 && !pass.aborted {
            self.background.promoting = true;
            self.flushes.want(Purposes { promote: true, ..Purposes::default() });
        } else {
            self.background.exhausted = pass.incomplete && !pass.aborted;
        }
        if self.ledger.has_superblocks() && !pass.aborted {
            self.flushes.want(Purposes { checkpoint: true, ..Purposes::default() });
        }
    }

    /// What was rebuilt is on its devices for good, or is not known to be.
    pub(super) fn promotion_flushed(&mut self, good: bool, orders: &mut Orders) {
        self.background.promoting = false;
        // What broke the array is on no record: it stays broken, whoever could stand in now.
        if good && self.stale.ones() == 0 && !self.is_broken() {
            self.promote(self.map.rebuilding());
            self.begin_change(orders);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::tests::{spec, tell_and_unplug};
    use crate::coordinator::{CoordinatorSpec, Input};
    use crate::dirty_log::{DirtyLog, Initially};
    use crate::member::MemberState;
    use crate::units::{Slot, SlotSet};

    /// Goal: parity is made right while members are missing that hold nothing but parity, as long as one parity is left
    /// to be made right. Method: every set of up to two missing members, one and two parities with a place of their
    /// own.
    #[test]
    fn a_resync_needs_all_data_and_a_parity() {
        for parity_strips in [1, 2_u8] {
            let parity_slots: SlotSet = (6 - parity_strips..6).map(Slot).collect();
            for missing in 0_u8..64 {
                let missing: SlotSet =
                    (0..6).filter(|at| missing >> at & 1 == 1).map(Slot).collect();
                if missing.len() > usize::from(parity_strips) {
                    continue;
                }
                let before = spec(6, usize::from(parity_strips));
                let log = DirtyLog::new(4, Initially::OutOfSync);
                let map = before.map.with_states(missing, MemberState::Missing);
                let spec = CoordinatorSpec { log, map, parity_slots, ..before };
                let mut array = Coordinator::new(spec);
                let mut orders = tell_and_unplug(&mut array, Input::Start);
                while let Some(order) = orders.pop_front() {
                    if let Order::StartWork(work) = order {
                        assert_eq!(work.kind, WorkKind::Resync);
                        let done =
                            Input::WorkDone { first: work.first, ok: true, mismatched_rows: 0 };
                        orders.extend(tell_and_unplug(&mut array, done));
                    }
                }
                let can = missing.is_subset_of(parity_slots)
                    && missing.len() < usize::from(parity_strips);
                let synced = if can { 4 } else { 0 };
                assert_eq!(array.log().sync_count(), synced, "{parity_strips} without {missing:?}");
            }
        }
    }
}
