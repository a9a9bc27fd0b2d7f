//! How members leave and join: one change of the map at a time, with every shard at rest.
//!
//! ```text
//!   None --wanted--> Quiescing --all shards at rest--> new map, Resume --> None
//!                                                        |
//!                   a member failed: writes are held ----+--> superblocks durable, or the owner
//!                                                             allows them --> AllowWrites   (R4)
//! ```
//!
//! An owner who records failures by itself ([`Policy::recorded`](super::Policy)) says which: what has failed since
//! keeps writes held.
//!
//! What fails while a change is under way joins it, or makes the next one. An array that would lose more
//! than its parity stands for is broken: it reads what it can, writes nothing, and its superblocks stay
//! as they are, so that the members can still be put together again.
//!
//! Not here: writing superblocks (`ledger`); who decides that a member joins (the control plane).

use super::{Coordinator, OnMemberFailure, Order, Orders, RaidEvent, Scope};
use crate::bitmap::Bitmap;
use crate::event::FailCause;
use crate::member::MemberState;
use crate::shard::Writes;
use crate::units::{Slot, SlotSet};
use uuid::Uuid;

/// What a change is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Joining {
    slot: Slot,
    scope: Scope,
    member_uuid: Uuid,
}

/// Changes of the map: wanted, and under way.
#[derive(Debug)]
pub(super) struct Change {
    /// Members that have to leave.
    failed: Vec<(Slot, FailCause)>,
    /// How many have failed so far, by cause.
    pub(super) failures: [u64; FailCause::ALL.len()],
    joining: Option<Joining>,
    /// Devices that were to join of which it has been decided whether they do.
    joins_decided: u64,
    /// Members that have been rebuilt and flushed.
    promoted: SlotSet,
    /// Shards that are not at rest yet, while a change is under way.
    pending: Option<usize>,
    /// Writes are held until this version of the superblocks is durable, or the owner allows them.
    held: Held,
    /// The owner's record says that the log has failed.
    pub(super) log_failure_recorded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    No,
    UntilDurable(u64),
    UntilAllowed,
    /// The owner will say that it knows who is missing.
    UntilRecorded,
}

impl Change {
    pub(super) fn new() -> Self {
        Self {
            failed: Vec::new(),
            failures: [0; FailCause::ALL.len()],
            joining: None,
            joins_decided: 0,
            promoted: SlotSet::empty(),
            pending: None,
            held: Held::No,
            log_failure_recorded: false,
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether members have failed of which neither shards nor superblocks know yet.
    pub(super) fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    fn is_wanted(&self) -> bool {
        !self.failed.is_empty() || self.joining.is_some() || !self.promoted.is_empty()
    }

    /// Whether nothing is wanted, under way or waits for superblocks.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_under_way() && !self.is_wanted() && !matches!(self.held, Held::UntilDurable(_))
    }
}

impl Coordinator {
    pub(super) fn member_failed(&mut self, slot: Slot, cause: FailCause, orders: &mut Orders) {
        if self.map.missing().contains(slot) {
            return;
        }
        match self.change.failed.iter_mut().find(|(failed, _)| *failed == slot) {
            // What it has failed to read is the least of it.
            Some((_, known)) if *known == FailCause::Read => *known = cause,
            Some(_) => {}
            None => {
                self.change.failed.push((slot, cause));
                self.forgive_reads();
                if self.change.has_failures() {
                    self.change.failures[cause as usize] += 1;
                    self.begin_change(orders);
                }
            }
        }
    }

    /// To take a member out for what it could not read must not cost what it can read: where parity does not stand for
    /// all of that, or too many have failed otherwise, it stays.
    fn forgive_reads(&mut self) {
        let breaks = self.out().len() > self.parity_strips;
        let in_sync = self.log.sync_count() == self.log.regions();
        let vouched = self.vouched;
        self.change.failed.retain(|&(slot, cause)| {
            cause != FailCause::Read || !breaks && (in_sync || vouched.contains(slot))
        });
    }

    /// Slots that nothing can be read from everywhere: with no member, with one that has failed, though the shards do
    /// not know it yet, and with one that is being rebuilt.
    fn out(&self) -> SlotSet {
        let failed: SlotSet = self.change.failed.iter().map(|&(slot, _)| slot).collect();
        failed.union(self.map.missing()).union(self.map.rebuilding())
    }

    pub(super) fn add_member(
        &mut self,
        slot: Slot,
        scope: Scope,
        member_uuid: Uuid,
        orders: &mut Orders,
    ) {
        self.change.joining = Some(Joining { slot, scope, member_uuid });
        self.begin_change(orders);
    }

    /// A change that is under way goes on without the device.
    pub(super) fn cancel_add(&mut self, slot: Slot) {
        if self.change.joining.take_if(|joining| joining.slot == slot).is_some() {
            self.change.joins_decided += 1;
        }
    }

    /// Whether a device is to take the slot and has not yet.
    #[must_use]
    pub fn is_joining(&self, slot: Slot) -> bool {
        self.change.joining.is_some_and(|joining| joining.slot == slot)
    }

    /// Of how many devices that were to join it has been decided whether they do. Whoever waits for one
    /// waits for this: the device may have failed again before anybody looks at the map.
    #[must_use]
    pub fn joins_decided(&self) -> u64 {
        self.change.joins_decided
    }

    /// Whether a device may take the slot now.
    ///
    /// # Errors
    /// Says what stands in the way.
    pub fn check_add(&self, slot: Slot) -> Result<(), AddRefusal> {
        match self.map.state(slot) {
            MemberState::InSync | MemberState::Rebuilding => Err(AddRefusal::Taken { slot }),
            _ if self.is_broken() => Err(AddRefusal::Broken),
            _ if !self.map.rebuilding().is_empty() && self.background.is_exhausted() => {
                Err(self.why_stuck())
            }
            _ if !self.map.rebuilding().is_empty() || self.change.joining.is_some() => {
                Err(AddRefusal::Busy)
            }
            // The answer would be taken for the new device's.
            _ if self.flushes.awaits(slot) || self.ledger.awaits(slot) => {
                Err(AddRefusal::Leaving { slot })
            }
            MemberState::Faulty | MemberState::Missing => Ok(()),
        }
    }

    /// Why the rebuild that has ended did not get everywhere.
    fn why_stuck(&self) -> AddRefusal {
        let stale = std::iter::successors(self.stale.next_one(0), |at| self.stale.next_one(at + 1));
        match stale.filter(|&region| !self.log.in_sync(region)).count() as u64 {
            regions if regions > 0 && !self.out().is_subset_of(self.vouched) => {
                AddRefusal::Stuck { regions }
            }
            _ => AddRefusal::Unreadable { regions: self.stale.ones() },
        }
    }

    /// Whether the array can do without the member of a slot, and the state of that now: one that is not in
    /// sync can always go. Members that have failed count as missing at once, though shards do not know yet. Where
    /// parity is right wherever it was written it stands for a member in whole, but is made right everywhere first
    /// if that can be done.
    ///
    /// # Errors
    /// Says why it cannot.
    pub fn check_remove(&self, slot: Slot) -> Result<MemberState, RemoveRefusal> {
        let mut out = self.out();
        let failure = self.change.failed.iter().find(|&&(failed, _)| failed == slot);
        match (failure, self.map.state(slot)) {
            // It may stay, if others fail.
            (None | Some((_, FailCause::Read)), MemberState::InSync) => out.remove(slot),
            (None, state) => return Ok(state),
            (Some(_), _) => return Ok(MemberState::Faulty),
        }
        if out.len() >= self.parity_strips {
            return Err(RemoveRefusal::NotRedundant { missing: out.len() });
        }
        let regions = self.log.regions();
        let cannot_be_synced = self.ledger.is_fresh() && self.background.is_exhausted();
        match regions - self.log.sync_count() {
            unsynced if unsynced == 0 || cannot_be_synced => Ok(MemberState::InSync),
            unsynced => Err(RemoveRefusal::NotInSync { unsynced, regions }),
        }
    }

    pub(super) fn promote(&mut self, slots: SlotSet) {
        self.change.promoted = slots;
    }

    /// Brings the shards to rest, if members have to leave or join.
    pub(super) fn begin_change(&mut self, orders: &mut Orders) {
        if self.change.is_under_way() || !self.change.is_wanted() {
            return;
        }
        self.change.pending = Some(self.shards);
        self.abort_work(orders);
        orders.push_back(Order::Quiesce);
    }

    pub(super) fn quiesced(&mut self, orders: &mut Orders) {
        let pending = self.change.pending.as_mut().expect("a change is under way");
        *pending -= 1;
        if *pending > 0 {
            return;
        }
        self.change.pending = None;
        let was_broken = self.is_broken();
        let was_optimal = self.map.is_optimal();
        // Whoever is in sync again counts when it is judged whether too much has failed.
        self.apply_promotion();
        self.apply_failures(was_optimal, orders);
        let stale = self.apply_joining(orders);
        if self.map.is_optimal() && !was_optimal {
            orders.push_back(Order::Event(RaidEvent::Optimal));
            self.clean_up();
        }
        self.background.members_changed();
        if self.is_broken() && !was_broken {
            orders.push_back(Order::Event(RaidEvent::Broken));
        }
        let writes = match self.change.held {
            Held::No => Writes::Allowed,
            // They are not held: they fail.
            _ if self.is_broken() => Writes::Allowed,
            Held::UntilDurable(_) | Held::UntilAllowed | Held::UntilRecorded => Writes::Held,
        };
        orders.push_back(Order::Resume { stale, writes });
        self.begin_superblocks(orders);
    }

    fn apply_failures(&mut self, was_optimal: bool, orders: &mut Orders) {
        self.forgive_reads();
        let failed = std::mem::take(&mut self.change.failed);
        if failed.is_empty() {
            return;
        }
        for &(slot, cause) in &failed {
            let state = match cause {
                FailCause::Removed => MemberState::Missing,
                _ => MemberState::Faulty,
            };
            self.map = self.map.with_state(slot, state);
            orders.push_back(Order::Event(RaidEvent::MemberFailed { slot, cause }));
        }
        if self.is_broken() {
            return;
        }
        if was_optimal {
            orders.push_back(Order::Event(RaidEvent::Degraded));
        }
        let told = failed.iter().all(|&(_, cause)| cause == FailCause::Removed);
        if self.ledger.has_superblocks() {
            for &(slot, _) in &failed {
                self.ledger.member_left(slot, self.map.state(slot));
            }
            self.change.held = Held::UntilDurable(self.ledger.wanted());
            return;
        }
        self.change.held = match (self.policy.member, self.change.held) {
            (OnMemberFailure::Hold, _) if !told => Held::UntilAllowed,
            // What is asked for now does not answer for what has failed before.
            (_, Held::UntilAllowed) => Held::UntilAllowed,
            // Also what the owner has asked for is not in its record yet.
            _ if self.policy.recorded => Held::UntilRecorded,
            (_, held) => held,
        };
    }

    /// Whether the shards need to know the stale regions.
    fn apply_joining(&mut self, orders: &mut Orders) -> bool {
        let Some(joining) = self.change.joining.take() else { return false };
        self.change.joins_decided += 1;
        let Joining { slot, scope, member_uuid } = joining;
        if self.is_broken() || !self.map.missing().contains(slot) {
            return false;
        }
        self.map = self.map.with_state(slot, MemberState::Rebuilding);
        let regions = self.log.regions();
        self.stale = Bitmap::new(regions, scope == Scope::Whole);
        if scope == Scope::Dirty {
            let mut at = 0;
            while let Some(region) = self.log.next_dirty(at) {
                self.stale.set(region, true);
                at = region + 1;
            }
        }
        self.ledger.member_joined(slot, scope, member_uuid);
        orders.push_back(Order::Event(RaidEvent::MemberAdded { slot }));
        true
    }

    fn apply_promotion(&mut self) {
        let mut promoted = std::mem::replace(&mut self.change.promoted, SlotSet::empty());
        for &(slot, _) in &self.change.failed {
            promoted.remove(slot);
        }
        if promoted.is_empty() {
            return;
        }
        self.map = self.map.with_states(promoted, MemberState::InSync);
        for slot in promoted.iter() {
            self.ledger.member_in_sync(slot);
        }
    }

    /// A version of the superblocks has become durable: what waited for it goes on.
    pub(super) fn release_writes(&mut self, orders: &mut Orders) {
        if let Held::UntilDurable(version) = self.change.held
            && self.ledger.durable() >= version
        {
            self.change.held = Held::No;
            self.tell_writes_allowed(orders);
        }
    }

    pub(super) fn allow_writes(&mut self, orders: &mut Orders) {
        if self.change.held == Held::UntilAllowed {
            // Whoever allows it need not be who keeps the record.
            self.change.held = if self.policy.recorded { Held::UntilRecorded } else { Held::No };
            if self.change.held == Held::No {
                self.tell_writes_allowed(orders);
            }
        }
        if !self.log_health.is_alive() {
            self.policy.log = super::OnLogFailure::Continue;
            self.ledger.log_failed();
            self.grant(orders);
        }
    }

    /// The owner's record says of these slots that they have no member, and whether the log has failed.
    pub(super) fn recorded(&mut self, missing: SlotSet, log_failed: bool, orders: &mut Orders) {
        if log_failed && !self.log_health.is_alive() {
            self.change.log_failure_recorded = true;
            self.grant(orders);
        }
        if self.change.held == Held::UntilRecorded && self.map.missing().is_subset_of(missing) {
            self.change.held = Held::No;
            self.tell_writes_allowed(orders);
        }
    }

    /// While shards are coming to rest they hear of it when they resume.
    fn tell_writes_allowed(&self, orders: &mut Orders) {
        if !self.change.is_under_way() {
            orders.push_back(Order::AllowWrites);
        }
    }

    /// Whether host writes are held, and not only for the time that a superblock takes to be written.
    #[must_use]
    pub fn is_waiting_for_owner(&self) -> bool {
        let unrecorded =
            self.ledger.is_owners(self.policy.recorded) && !self.is_log_failure_on_record();
        let blocked = !self.log_health.is_alive()
            && (self.policy.log == super::OnLogFailure::Block || unrecorded);
        matches!(self.change.held, Held::UntilAllowed | Held::UntilRecorded) || blocked
    }
}

/// Why a member may not be taken out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoveRefusal {
    /// As many are missing as parity can stand for.
    NotRedundant {
        /// Members that are missing, or not in sync.
        missing: usize,
    },
    /// Parity does not stand for all of the data yet.
    NotInSync {
        /// Regions out of sync.
        unsynced: u64,
        /// All regions.
        regions: u64,
    },
}

/// Why a device may not take a slot now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddRefusal {
    /// The slot has a member.
    #[error("slot {slot} has a member: take it out first, or choose an empty slot")]
    Taken {
        /// The slot.
        slot: Slot,
    },
    /// Nothing can be rebuilt.
    #[error("more members have failed than parity can stand for: nothing can be rebuilt")]
    Broken,
    /// One rebuild at a time.
    #[error("another member is being rebuilt: wait until that has ended")]
    Busy,
    /// The one before it cannot end.
    #[error(
        "another member cannot be rebuilt in {regions} regions that are not in sync: stop the array, and assemble \
         it by force, which trusts their parity"
    )]
    Stuck {
        /// Regions out of sync.
        regions: u64,
    },
    /// The one before it has not ended well: too much of what it needs cannot be read.
    #[error(
        "another member could not be rebuilt in {regions} regions, as others have blocks there that cannot be read: \
         try again with the message recover, or take it out"
    )]
    Unreadable {
        /// Regions that are not rebuilt.
        regions: u64,
    },
    /// The device that was in the slot has not answered yet.
    #[error(
        "slot {slot}: what was asked of its last member is still under way: wait until that has ended"
    )]
    Leaving {
        /// The slot.
        slot: Slot,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::tests::{spec, tell, tell_and_unplug};
    use crate::coordinator::{CoordinatorSpec, Input, Policy};
    use crate::dirty_log::{DirtyLog, Initially};
    use crate::member::MemberMap;

    /// Six members, two of which may be missing.
    fn coordinator(member: OnMemberFailure, recorded: bool) -> Coordinator {
        let spec = spec(6, 2);
        let policy = Policy { member, recorded, ..spec.policy };
        Coordinator::new(CoordinatorSpec { policy, ..spec })
    }

    /// A member is gone; says whether writes are held.
    fn lose(coordinator: &mut Coordinator, slot: u8, cause: FailCause) -> bool {
        tell(coordinator, Input::MemberFailed { slot: Slot(slot), cause });
        let orders = tell(coordinator, Input::Quiesced);
        let held = |order: &Order| match order {
            Order::Resume { writes, .. } => Some(*writes == Writes::Held),
            _ => None,
        };
        orders.iter().find_map(held).expect("the shards go on")
    }

    fn recorded(coordinator: &mut Coordinator, slots: &[u8]) -> bool {
        let missing = slots.iter().copied().map(Slot).collect();
        tell(coordinator, Input::Recorded { missing, log_failed: false })
            .contains(&Order::AllowWrites)
    }

    /// Goal: writes go on when the owner's record names everybody who is missing, and not before (R4).
    /// Method: every subset of slots as the record, after one and after two failures, of every cause; a
    /// failure that is known but not applied yet keeps them held too.
    #[test]
    fn a_record_that_names_too_few_allows_nothing() {
        for cause in FailCause::ALL {
            for record in 0_u8..64 {
                let slots: Vec<u8> = (0..6).filter(|slot| record >> slot & 1 == 1).collect();
                let mut array = coordinator(OnMemberFailure::Continue, true);
                assert!(!recorded(&mut array, &slots), "nothing is held");
                assert!(lose(&mut array, 1, cause));
                assert!(array.is_waiting_for_owner());
                let first = recorded(&mut array, &slots);
                assert_eq!(first, slots.contains(&1), "{cause:?} {slots:?}");
                assert!(lose(&mut array, 4, cause));
                let both = recorded(&mut array, &slots);
                assert_eq!(both, slots.contains(&1) && slots.contains(&4), "{cause:?} {slots:?}");
                assert_eq!(array.is_waiting_for_owner(), !both);
            }
        }
        let mut array = coordinator(OnMemberFailure::Continue, true);
        assert!(lose(&mut array, 1, FailCause::ALL[0]));
        tell(&mut array, Input::MemberFailed { slot: Slot(2), cause: FailCause::ALL[0] });
        assert!(!recorded(&mut array, &[1]), "shards come to rest first");
        let orders = tell(&mut array, Input::Quiesced);
        let held = Order::Resume { stale: false, writes: Writes::Held };
        assert!(orders.contains(&held), "{orders:?}");
    }

    /// Goal: nobody takes out more members than parity stands for, whatever the shards know of failures. Method:
    /// every slot, after each number of failures that have not been applied yet, and after they have.
    #[test]
    fn members_that_fail_count_before_they_are_out() {
        for failures in 0..3_u8 {
            let mut array = coordinator(OnMemberFailure::Continue, false);
            for slot in 0..failures {
                tell(&mut array, Input::MemberFailed { slot: Slot(slot), cause: FailCause::Write });
            }
            for applied in [false, true] {
                if applied && failures > 0 {
                    tell(&mut array, Input::Quiesced);
                }
                for slot in (0..6).map(Slot) {
                    let right = match (slot.0 < failures, failures) {
                        (true, _) => Ok(MemberState::Faulty),
                        (false, 2) => Err(RemoveRefusal::NotRedundant { missing: 2 }),
                        (false, _) => Ok(MemberState::InSync),
                    };
                    assert_eq!(array.check_remove(slot), right, "{failures} {applied} {slot}");
                }
            }
        }
        let mut log = DirtyLog::new(4, Initially::InSync);
        log.distrust_from(3);
        let array = Coordinator::new(CoordinatorSpec { log, ..spec(6, 2) });
        let refused = RemoveRefusal::NotInSync { unsynced: 1, regions: 4 };
        assert_eq!(array.check_remove(Slot(0)), Err(refused));
    }

    /// Goal: where a resync or a rebuild cannot get everywhere, what is said and allowed goes by the reason: a member
    /// of an array whose parity is right where it was written can go, others wait for parity; a rebuild needs force
    /// where parity is not in sync, and else blocks that can be read. Method: every stretch of the pass fails.
    #[test]
    fn what_cannot_be_done_says_why() {
        let begin = |vouched: &[u8], out_of_sync_from, map| {
            let mut log = DirtyLog::new(4, Initially::InSync);
            log.distrust_from(out_of_sync_from);
            let stale = Bitmap::new(4, true);
            let vouched = vouched.iter().copied().map(Slot).collect();
            let spec = CoordinatorSpec { log, vouched, map, stale, ..spec(6, 2) };
            let mut array = Coordinator::new(spec);
            let mut orders = tell_and_unplug(&mut array, Input::Start);
            while let Some(order) = orders.pop_front() {
                if let Order::StartWork(work) = order {
                    let done = Input::WorkDone { first: work.first, ok: false, mismatched_rows: 0 };
                    orders.extend(tell_and_unplug(&mut array, done));
                }
            }
            array
        };
        let whole = || MemberMap::new(vec![MemberState::InSync; 6]);
        let all = [0, 1, 2, 3, 4, 5];
        assert_eq!(begin(&all, 3, whole()).check_remove(Slot(0)), Ok(MemberState::InSync));
        let refused = RemoveRefusal::NotInSync { unsynced: 1, regions: 4 };
        for vouched in [&[][..], &[1], &[0, 1]] {
            // What force has vouched for is who was out then.
            assert_eq!(begin(vouched, 3, whole()).check_remove(Slot(0)), Err(refused));
        }
        let states = [MemberState::Missing, MemberState::Rebuilding];
        let rebuilding = || whole().with_state(Slot(0), states[0]).with_state(Slot(1), states[1]);
        for (vouched, from, why) in [
            (&[][..], 1, AddRefusal::Stuck { regions: 3 }),
            (&[], 4, AddRefusal::Unreadable { regions: 4 }),
            (&[0], 1, AddRefusal::Stuck { regions: 3 }),
            (&[0, 1], 1, AddRefusal::Unreadable { regions: 4 }),
        ] {
            assert_eq!(begin(vouched, from, rebuilding()).check_add(Slot(0)), Err(why));
        }
    }

    /// Goal: nobody is taken out for what it could not read where that breaks the array, and everybody is where it does
    /// not; whoever fails otherwise is out. Method: every number of parities, of members that are missing or
    /// being rebuilt, and of others that fail a write before or after the read.
    #[test]
    fn read_errors_break_no_array() {
        for parity_strips in [1, 2_usize] {
            for (rebuilt, earlier) in [(false, 0), (false, 1), (true, 1), (false, 2), (true, 2)] {
                for (first, later) in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0)] {
                    let before = spec(6, parity_strips);
                    let out: SlotSet = (0..earlier).map(Slot).collect();
                    let state =
                        if rebuilt { MemberState::Rebuilding } else { MemberState::Missing };
                    let map = before.map.with_states(out, state);
                    let mut array = Coordinator::new(CoordinatorSpec { map, ..before });
                    let mut fail = |slot, cause| {
                        tell(&mut array, Input::MemberFailed { slot: Slot(slot), cause });
                    };
                    (0..first).for_each(|nth| fail(4 - nth, FailCause::Write));
                    fail(5, FailCause::Read);
                    (0..later).for_each(|nth| fail(4 - first - nth, FailCause::Write));
                    if array.change.is_under_way() {
                        tell(&mut array, Input::Quiesced);
                    }
                    let others = usize::from(earlier + first + later);
                    let should = match others < parity_strips {
                        true => MemberState::Faulty,
                        false => MemberState::InSync,
                    };
                    let shown = format!("{parity_strips} {rebuilt} {earlier} {first} {later}");
                    assert_eq!(array.map().state(Slot(5)), should, "{shown}");
                    assert_eq!(array.is_broken(), others > parity_strips, "{shown}");
                    let writes = array.failures()[FailCause::Write as usize];
                    assert_eq!(writes, u64::from(first + later), "{shown}");
                }
            }
        }
        // What it fails to write counts, whatever it has failed to read before.
        let mut array = Coordinator::new(spec(6, 1));
        for (slot, cause) in [(5, FailCause::Read), (5, FailCause::Write), (4, FailCause::Read)] {
            tell(&mut array, Input::MemberFailed { slot: Slot(slot), cause });
        }
        tell(&mut array, Input::Quiesced);
        assert_eq!(array.map().missing(), SlotSet::single(Slot(5)));
        // Where a region is not in sync it is taken out only if parity may stand for it.
        for vouched in [&[][..], &[4], &[4, 5]] {
            let mut log = DirtyLog::new(4, Initially::InSync);
            log.distrust_from(3);
            let slots: SlotSet = vouched.iter().copied().map(Slot).collect();
            let spec = CoordinatorSpec { log, vouched: slots, ..spec(6, 1) };
            let mut array = Coordinator::new(spec);
            tell(&mut array, Input::MemberFailed { slot: Slot(5), cause: FailCause::Read });
            assert_eq!(array.change.is_under_way(), vouched.contains(&5), "{vouched:?}");
        }
    }

    /// Goal: a member that may yet be forgiven is taken out when somebody asks for it, whoever fails meanwhile. Method:
    /// a read error that waits for the shards, the removal, and a second member that fails a write.
    #[test]
    fn a_removal_goes_past_what_may_be_forgiven() {
        let mut array = coordinator(OnMemberFailure::Continue, false);
        tell(&mut array, Input::MemberFailed { slot: Slot(5), cause: FailCause::Read });
        assert_eq!(array.check_remove(Slot(5)), Ok(MemberState::InSync));
        tell(&mut array, Input::MemberFailed { slot: Slot(5), cause: FailCause::Removed });
        for slot in [2, 3] {
            tell(&mut array, Input::MemberFailed { slot: Slot(slot), cause: FailCause::Write });
        }
        tell(&mut array, Input::Quiesced);
        assert_eq!(array.map().state(Slot(5)), MemberState::Missing);
    }

    /// Goal: writes go on when everybody has said so whom the policy asks: the operator, the record, both in
    /// either order, or nobody. Method: each policy, after a failure, after a removal, and after one of each.
    #[test]
    fn who_may_allow_writes_depends_on_the_policy() {
        use FailCause::{Removed, Write};
        use OnMemberFailure::{Continue, Hold};
        for (policy, recorded, causes, word, record) in [
            (Hold, false, vec![Write], true, false),
            (Hold, false, vec![Removed], false, false),
            (Hold, false, vec![Write, Removed], true, false),
            (Hold, true, vec![Write], true, true),
            (Hold, true, vec![Removed], false, true),
            (Hold, true, vec![Write, Removed], true, true),
            (Hold, true, vec![Removed, Write], true, true),
            (Continue, false, vec![Write, Removed], false, false),
            (Continue, true, vec![Write], false, true),
            (Continue, true, vec![Removed], false, true),
        ] {
            let case = format!("{policy:?}, recorded {recorded}, {causes:?}");
            for word_first in [false, true] {
                let mut array = coordinator(policy, recorded);
                let mut held = false;
                for (slot, cause) in (3..).zip(&causes) {
                    held = lose(&mut array, slot, *cause);
                }
                assert_eq!(held, word || record, "{case}");
                let (mut word_given, mut record_made) = (false, false);
                // A record that was made too early counts when it is made again.
                for is_word in [word_first, !word_first, word_first] {
                    let input = match is_word {
                        true => Input::AllowWrites,
                        false => Input::Recorded {
                            missing: [3, 4].map(Slot).into_iter().collect(),
                            log_failed: false,
                        },
                    };
                    word_given |= is_word;
                    record_made |= !is_word && (word_given || !word);
                    let goes_on = held && (word_given || !word) && (record_made || !record);
                    let orders = tell(&mut array, input);
                    assert_eq!(orders.contains(&Order::AllowWrites), goes_on, "{case}");
                    held &= !goes_on;
                    assert_eq!(array.is_waiting_for_owner(), held, "{case}");
                }
                assert!(!held, "{case}");
            }
        }
    }
}
