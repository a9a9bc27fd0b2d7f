//! The superblocks: what they say now, and which version of that is durable on the members.
//!
//! ```text
//!   content changes: wanted += 1
//!   idle --wanted > durable--> writing to every member in use --all answered--> durable = version
//! ```
//!
//! An update begins only when the one before it has ended and every member that failed it has been
//! declared faulty: so a member that is in use is never more than one update behind (`assemble`, **R8**).
//! The event count grows by one with each. A start begins with the last one, as it is, on every member: some may
//! not have got it, and others have it in a volatile cache only, because whoever wrote it was killed.
//!
//! Read errors that were corrected are counted as they come and recorded with the next update, whatever makes that
//! one necessary: as md does it.
//!
//! Not here: bytes (`superblock`), what a superblock is good for at the next start (`assemble`).

use super::{Coordinator, Order, Orders, Scope};
use crate::event::FailCause;
use crate::member::MemberState;
use crate::superblock::{LogHealth, MemberRecordState, Shutdown, Superblock};
use crate::units::{Slot, SlotSet};
use uuid::Uuid;

#[derive(Debug)]
struct Writing {
    version: u64,
    pending: SlotSet,
}

/// What superblocks say. One event count has one content: what happens while an update is being written is in the
/// next one.
#[derive(Debug)]
struct Content {
    /// In the last update that was begun.
    told: Superblock,
    /// In the next one, but for its event count.
    next: Superblock,
}

/// Superblocks of an array, if it has them.
#[derive(Debug)]
pub(super) struct Ledger {
    content: Option<Content>,
    wanted: u64,
    durable: u64,
    writing: Option<Writing>,
    /// Version that says that the array runs, once it has started.
    running: Option<u64>,
    /// Version that says that the log failed, once it has.
    log_failed: Option<u64>,
    /// Read errors of each member that were corrected from parity.
    read_errors: Vec<u32>,
    /// Whether the array is fresh in this life of it.
    fresh: bool,
    /// Version that says who joined last.
    joined: u64,
}

impl Ledger {
    pub(super) fn new(superblock: Option<Superblock>, fresh: bool, members: usize) -> Self {
        let read_errors = match &superblock {
            Some(superblock) => superblock.members.iter().map(|m| m.read_errors).collect(),
            None => vec![0; members],
        };
        Self {
            content: superblock.map(|told| Content { next: told.clone(), told }),
            wanted: 0,
            durable: 0,
            writing: None,
            running: None,
            log_failed: None,
            read_errors,
            fresh,
            joined: 0,
        }
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    pub(super) fn has_superblocks(&self) -> bool {
        self.content.is_some()
    }

    pub(super) fn wanted(&self) -> u64 {
        self.wanted
    }

    pub(super) fn durable(&self) -> u64 {
        if self.content.is_some() { self.durable } else { self.wanted }
    }

    /// Whether a member's superblock is being written.
    pub(super) fn awaits(&self, slot: Slot) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.pending.contains(slot))
    }

    /// Whether nothing has to be written, or is being written.
    pub(super) fn is_settled(&self) -> bool {
        self.writing.is_none() && self.durable() == self.wanted
    }

    /// Changes the content, which makes a new version; returns its number.
    fn amend(&mut self, change: impl FnOnce(&mut Superblock)) -> u64 {
        self.wanted += 1;
        if let Some(content) = &mut self.content {
            change(&mut content.next);
        }
        self.wanted
    }

    pub(super) fn started(&mut self) {
        let fresh = self.fresh;
        let version = self.amend(|superblock| {
            superblock.shutdown = Shutdown::Running;
            superblock.fresh = fresh;
        });
        self.running = Some(version);
    }

    /// Whether the last update of the life before is with everybody, so that the next one may be prepared.
    pub(super) fn is_caught_up(&self) -> bool {
        self.running.is_some()
    }

    /// Whether the members know that the array runs: from then on it may be written.
    pub(super) fn is_running(&self) -> bool {
        self.running.is_some_and(|version| self.durable() >= version)
    }

    pub(super) fn log_failed(&mut self) {
        let version = self.amend(|superblock| {
            if let Some(log) = &mut superblock.log {
                log.health = LogHealth::Failed;
            }
        });
        self.log_failed = Some(version);
    }

    /// Whether the superblocks name a bdev for the log.
    fn names_log(&self) -> bool {
        self.content.as_ref().is_some_and(|content| content.next.log.is_some())
    }

    /// A log that had failed before this start was begun anew, and all of it is on its bdev for good: from
    /// now on it can be trusted again, and not a moment earlier.
    pub(super) fn log_is_durable(&mut self) {
        let log = self.content.as_ref().and_then(|content| content.next.log.as_ref());
        if log.is_some_and(|log| log.health == LogHealth::Failed) {
            self.amend(|superblock| {
                if let Some(log) = &mut superblock.log {
                    log.health = LogHealth::Alive;
                }
            });
        }
    }

    fn is_log_failure_durable(&self) -> bool {
        self.log_failed.is_some_and(|version| self.durable() >= version)
    }

    /// Whether the owner's record stands for superblocks, where there are none.
    pub(super) fn is_owners(&self, recorded: bool) -> bool {
        recorded && self.content.is_none()
    }

    pub(super) fn member_left(&mut self, slot: Slot, state: MemberState) {
        self.amend(|superblock| {
            // The event count of the update that will say so.
            let events = superblock.events + 1;
            let record = &mut superblock.members[slot.index()];
            record.state = match state {
                MemberState::Missing => MemberRecordState::Missing { since: events },
                _ => MemberRecordState::Faulty { failed_at: events },
            };
        });
    }

    pub(super) fn member_joined(&mut self, slot: Slot, scope: Scope, member_uuid: Uuid) {
        self.read_errors[slot.index()] = 0;
        self.joined = self.amend(|superblock| {
            // A device that had another slot before does not have it any more.
            let since = superblock.events + 1;
            let had = superblock.slot_of(member_uuid).filter(|&had| had != slot);
            if let Some(had) = had {
                let record = &mut superblock.members[had.index()];
                record.member_uuid = Uuid::nil();
                record.state = MemberRecordState::Missing { since };
            }
            let record = &mut superblock.members[slot.index()];
            record.member_uuid = member_uuid;
            record.state = MemberRecordState::Rebuilding {
                recovered_to_bytes: 0,
                partial: scope == Scope::Dirty,
            };
        });
    }

    /// Whether who joined last has a superblock: it is not rebuilt before, or a later update could call it in sync
    /// that it never gets.
    pub(super) fn is_join_durable(&self) -> bool {
        self.durable() >= self.joined
    }

    pub(super) fn member_in_sync(&mut self, slot: Slot) {
        self.amend(|superblock| {
            superblock.members[slot.index()].state = MemberRecordState::InSync;
        });
    }

    pub(super) fn stopped(&mut self, in_sync_to_bytes: u64) {
        self.amend(|superblock| {
            superblock.shutdown = Shutdown::Clean;
            superblock.in_sync_to_bytes = in_sync_to_bytes;
        });
    }
}

impl Coordinator {
    /// Whether it is on record for good that the log has failed: from then on nobody believes what it says.
    pub(super) fn is_log_failure_on_record(&self) -> bool {
        match self.ledger.is_owners(self.policy.recorded) {
            true => self.change.log_failure_recorded,
            false => self.ledger.is_log_failure_durable(),
        }
    }

    /// A member could not read a strip, and it was corrected.
    pub(super) fn read_corrected(&mut self, slot: Slot) {
        let errors = &mut self.ledger.read_errors[slot.index()];
        *errors = errors.saturating_add(1);
    }

    /// Read errors of each member that were corrected from parity since it took its slot, by slot; without
    /// superblocks, since the array was made.
    #[must_use]
    pub fn read_errors(&self) -> &[u32] {
        &self.ledger.read_errors
    }

    /// What the superblock of a member says in the last update that was begun.
    ///
    /// # Panics
    /// If the array has none.
    #[must_use]
    pub fn superblock(&self, slot: Slot) -> Superblock {
        let told = self.superblocks().expect("the array has superblocks");
        told.carried_by(told.members[slot.index()].member_uuid, Some(slot))
    }

    /// What all superblocks say in the last update that was begun, for arrays that have them.
    #[must_use]
    pub fn superblocks(&self) -> Option<&Superblock> {
        self.ledger.content.as_ref().map(|content| &content.told)
    }

    /// The array starts. Whoever had not got the last update, or were to lose it from its cache, would be two
    /// behind with the next one: so everybody has it for good first. A new array has none yet.
    pub(super) fn start_ledger(&mut self, orders: &mut Orders) {
        let is_known = self.superblocks().is_some_and(|superblock| superblock.events > 0);
        let pending = self.map.writable();
        if !is_known || pending.is_empty() {
            return self.caught_up();
        }
        for slot in pending.iter() {
            orders.push_back(Order::WriteSuperblock { slot });
        }
        self.ledger.writing = Some(Writing { version: 0, pending });
    }

    /// The first update of this start says that the array runs, and who is not there: what is written
    /// from now on passes them by.
    fn caught_up(&mut self) {
        for slot in self.map.missing().iter() {
            let content = self.ledger.content.as_ref();
            let record = content.map(|content| content.next.members[slot.index()].state);
            if record.is_some_and(MemberRecordState::is_in_use) {
                self.ledger.member_left(slot, self.map.state(slot));
            }
        }
        // What is on the log's bdev, if that is there, is not to be trusted before all of a log that was begun anew
        // has been written. Said with this update and not before, because members are given
        // the last one as it was: one event count has one content.
        if !self.log_health.is_alive() || !self.is_log_believed() && self.ledger.names_log() {
            self.ledger.log_failed();
        } else if self.commit.is_durable() {
            self.ledger.log_is_durable();
        }
        self.ledger.started();
    }

    /// Starts to write superblocks, if they have something new to say.
    pub(super) fn begin_superblocks(&mut self, orders: &mut Orders) {
        let ledger = &mut self.ledger;
        let Some(content) = &mut ledger.content else {
            // Nothing to write: what waits for it may go on at once.
            self.superblocks_durable(orders);
            return;
        };
        let broken = self.map.is_broken(self.parity_strips);
        let must_wait = ledger.writing.is_some() || self.change.has_failures() || broken;
        if must_wait || ledger.durable == ledger.wanted {
            return;
        }
        content.next.events += 1;
        for (record, &errors) in content.next.members.iter_mut().zip(&ledger.read_errors) {
            record.read_errors = errors;
        }
        content.told = content.next.clone();
        let pending = self.map.writable();
        for slot in pending.iter() {
            orders.push_back(Order::WriteSuperblock { slot });
        }
        ledger.writing = Some(Writing { version: ledger.wanted, pending });
    }

    pub(super) fn superblock_written(&mut self, slot: Slot, ok: bool, orders: &mut Orders) {
        let writing = self.ledger.writing.as_mut().expect("a superblock was to be written");
        assert!(writing.pending.contains(slot), "slot {slot} was not asked for its superblock");
        writing.pending.remove(slot);
        let over = writing.pending.is_empty();
        let version = writing.version;
        if !ok {
            self.member_failed(slot, FailCause::Superblock, orders);
        }
        if over {
            self.ledger.writing = None;
            self.ledger.durable = version;
            if self.ledger.running.is_none() {
                self.caught_up();
            }
            self.superblocks_durable(orders);
            self.begin_superblocks(orders);
        }
    }

    fn superblocks_durable(&mut self, orders: &mut Orders) {
        self.release_writes(orders);
        self.grant(orders);
    }

    /// Records how far the background action is. What lies below is on its devices for good.
    pub(super) fn record_checkpoint(&mut self, first_stale: Option<u64>) {
        let region_bytes = self.regions.region_bytes();
        let in_sync_to = self.in_sync_to_bytes();
        self.ledger.amend(|superblock| {
            let component_bytes = superblock.shape.component_bytes;
            let recovered_to = first_stale.map_or(component_bytes, |region| region * region_bytes);
            superblock.in_sync_to_bytes = in_sync_to;
            for record in &mut superblock.members {
                if let MemberRecordState::Rebuilding { recovered_to_bytes, .. } = &mut record.state
                {
                    *recovered_to_bytes = recovered_to;
                }
            }
        });
    }

    /// Component bytes below which every region is in sync; `u64::MAX` if all are.
    pub(super) fn in_sync_to_bytes(&self) -> u64 {
        match self.log.next_out_of_sync(0) {
            Some(region) => region * self.regions.region_bytes(),
            None => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::tests::{spec, tell, tell_and_unplug};
    use crate::coordinator::{CoordinatorSpec, Input};
    use crate::layout::{Layout, Level};
    use crate::superblock::tests::sample;

    /// Answers every superblock that is ordered, and says what the last one of slot 0 was.
    fn settle(array: &mut Coordinator, mut orders: Orders) -> Option<Superblock> {
        let mut last = None;
        while let Some(order) = orders.pop_front() {
            let answer = match order {
                Order::WriteSuperblock { slot } => {
                    if slot == Slot(0) {
                        last = Some(array.superblock(slot));
                    }
                    Input::SuperblockWritten { slot, ok: true }
                }
                Order::Quiesce => Input::Quiesced,
                _ => continue,
            };
            orders.extend(tell_and_unplug(array, answer));
        }
        last
    }

    /// Goal: what everybody gets in an update is what it was when the update began, and means something, though the
    /// next failure is known before it is written. Method: a second member fails between the order and the write.
    #[test]
    fn an_update_has_one_content() {
        let superblock = Some(sample(Level::Raid6, Layout::LeftSymmetric, 6));
        let mut array = Coordinator::new(CoordinatorSpec { superblock, ..spec(6, 2) });
        let orders = tell_and_unplug(&mut array, Input::Start);
        settle(&mut array, orders);
        let mut fail = |slot| {
            tell(&mut array, Input::MemberFailed { slot: Slot(slot), cause: FailCause::Write });
            tell(&mut array, Input::Quiesced)
        };
        let writes = |orders: Orders| orders.contains(&Order::WriteSuperblock { slot: Slot(0) });
        assert!(writes(fail(3)));
        assert!(!writes(fail(2)), "one update at a time");
        let found = array.superblock(Slot(0));
        let mut bytes = [0; crate::superblock::SUPERBLOCK_BYTES];
        found.encode(&mut bytes).expect("it means something");
        let states = [2, 3].map(|slot| found.members[slot].state);
        let failed = MemberRecordState::Faulty { failed_at: found.events };
        assert_eq!(states, [MemberRecordState::InSync, failed]);
        // A spare gets no other.
        let of_all = array.superblocks().expect("it has them");
        assert_eq!(of_all.carried_by(found.member_uuid, found.slot), found);
        let mut orders = Orders::new();
        for slot in [0, 1, 2, 4, 5] {
            let written = Input::SuperblockWritten { slot: Slot(slot), ok: true };
            orders = tell_and_unplug(&mut array, written);
        }
        let next = settle(&mut array, orders).expect("the second failure is recorded too");
        assert_eq!(next.members[2].state, MemberRecordState::Faulty { failed_at: next.events });
        assert_eq!(next.events, found.events + 1);
    }

    /// Goal: who joins is rebuilt when it has a superblock, and not before: it could be called in sync by an
    /// update that it never gets (R8). Method: the update before the one that names it takes its time.
    #[test]
    fn nobody_is_rebuilt_without_a_superblock() {
        let superblock = Some(sample(Level::Raid6, Layout::LeftSymmetric, 6));
        let mut array = Coordinator::new(CoordinatorSpec { superblock, ..spec(6, 2) });
        let orders = tell_and_unplug(&mut array, Input::Start);
        settle(&mut array, orders);
        tell(&mut array, Input::MemberFailed { slot: Slot(3), cause: FailCause::Write });
        tell_and_unplug(&mut array, Input::Quiesced);
        let member_uuid = Uuid::from_u128(99);
        let joins = Input::AddMember { slot: Slot(3), scope: Scope::Whole, member_uuid };
        tell(&mut array, joins);
        let is_rebuilt =
            |orders: &Orders| orders.iter().any(|order| matches!(order, Order::StartWork(_)));
        let mut orders = tell_and_unplug(&mut array, Input::Quiesced);
        for (update, slots) in [("before", 5), ("its own", 6)] {
            let slots: Vec<u8> = (0..6).filter(|&slot| slots == 6 || slot != 3).collect();
            for &slot in &slots {
                assert!(!is_rebuilt(&orders), "{update}, {slot}");
                let written = Input::SuperblockWritten { slot: Slot(slot), ok: true };
                orders = tell_and_unplug(&mut array, written);
            }
        }
        assert!(is_rebuilt(&orders));
    }

    /// Goal: read errors that were corrected are on record after the next update, go on from there in the next life,
    /// and begin anew with another device in the slot; they make no update by themselves, and an update that is
    /// under way is the same on every member.
    #[test]
    fn corrected_read_errors_are_recorded() {
        let mut first = sample(Level::Raid5, Layout::LeftSymmetric, 4);
        first.members[1].read_errors = 7;
        let spec = CoordinatorSpec { superblock: Some(first), ..spec(4, 1) };
        let mut array = Coordinator::new(spec);
        let orders = tell_and_unplug(&mut array, Input::Start);
        settle(&mut array, orders);
        for slot in [1, 1, 3] {
            let orders = tell_and_unplug(&mut array, Input::ReadCorrected { slot: Slot(slot) });
            assert!(orders.is_empty(), "{orders:?}");
        }
        assert_eq!(array.read_errors(), [0, 9, 0, 1]);
        let failed = Input::MemberFailed { slot: Slot(3), cause: FailCause::Write };
        let mut orders = tell_and_unplug(&mut array, failed);
        assert_eq!(orders.pop_front(), Some(Order::Quiesce));
        let orders = tell_and_unplug(&mut array, Input::Quiesced);
        tell(&mut array, Input::ReadCorrected { slot: Slot(0) });
        let written = settle(&mut array, orders).expect("the failure is recorded");
        let recorded: Vec<u32> = written.members.iter().map(|m| m.read_errors).collect();
        assert_eq!(recorded, [0, 9, 0, 1], "what came later waits for the next update");
        let member_uuid = Uuid::from_u128(99);
        let joins = Input::AddMember { slot: Slot(3), scope: Scope::Whole, member_uuid };
        let orders = tell_and_unplug(&mut array, joins);
        let written = settle(&mut array, orders).expect("who joined is recorded");
        let recorded: Vec<u32> = written.members.iter().map(|m| m.read_errors).collect();
        assert_eq!(recorded, [1, 9, 0, 0]);
    }
}
