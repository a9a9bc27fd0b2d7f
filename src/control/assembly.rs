//! Known arrays: superblocks are looked for on every bdev that appears, and what belongs together is put
//! together.
//!
//! ```text
//!   bdev appears --examine--> candidate --+--> array runs already: its member comes back (re-add)
//!                                         |
//!                                         +--> all members there --------------> assembled
//!                                         +--> some are missing: waits
//!                                                 | patience at its end, also after a device of the
//!                                                 | configuration that was late, or the operator says so
//!                                                 +-------------------------------> assembled, degraded
//! ```
//!
//! A superblock that was read is believed as long as nobody else has had leave to write to its bdev, or to
//! what that stands on; after that it is read again before an array is put together from it (**R8**). Of an
//! array that runs it does not count any more: a member comes back by being looked at, not by memory.
//!
//! What is refused (a split array, dirty and degraded, a foreign log ...) is kept with its reason and tried
//! again when another bdev appears, or by force. Nothing is written to the members of an array that is
//! refused.
//!
//! Not here: the rules (`raid::assemble`), starting an array (crate `array`), spares (`spares`), bdevs that are asked
//! for (`occupied`).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use array::{KnownRaid, RaidBdev};
use device::{Bdev, Counted};
use raid::assemble::{
    Assembly, Candidate, LeftOut, Patience, Reason, Rebuild, Seat, Verdict, assemble,
};
use raid::coordinator::{Permit, Scope};
use raid::member::MemberState;
use raid::superblock::{LogRecord, MemberRecordState, NoValidCopy, Superblock};
use raid::units::{Slot, SlotSet};
use uuid::Uuid;

use super::error::ControlError;
use super::registry::{Backing, Claim, Entry, Membership, Standing};
use super::{Control, Kind, Lifecycle, State};

/// Superblocks that were found, and arrays that could not be put together.
#[derive(Debug, Default)]
pub(crate) struct Known {
    found: Vec<Read>,
    /// Why an array is not running.
    refused: BTreeMap<Uuid, String>,
}

/// A superblock that was read.
#[derive(Debug)]
struct Read {
    candidate: Candidate,
    /// What the bdev was then.
    standing: Standing,
}

/// An array of which superblocks were found, and that does not run.
#[derive(Debug, Clone)]
pub struct WaitingRaid {
    /// A superblock of it, the freshest that was found.
    pub superblock: Superblock,
    /// Names of the bdevs that carry superblocks of it, by slot.
    pub members: Vec<Option<String>>,
    /// Why it does not run.
    pub reason: String,
}

impl Known {
    fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.found.iter().map(|read| &read.candidate)
    }

    pub(super) fn add(&mut self, candidate: Candidate, standing: Standing) {
        self.forget(&candidate.name);
        self.found.push(Read { candidate, standing });
    }

    /// The bdev is gone, or is something else now.
    pub(crate) fn forget(&mut self, name: &str) {
        self.found.retain(|read| read.candidate.name != name);
    }

    /// The array has run since its superblocks were read: what they said does not hold any more (**R8**).
    pub(crate) fn forget_array(&mut self, array: Uuid) {
        self.found.retain(|read| read.candidate.found.array_uuid != array);
        self.refused.remove(&array);
    }

    /// The bdev has another name.
    pub(crate) fn rename(&mut self, old: &str, new: &str) {
        let candidates = self.found.iter_mut().map(|read| &mut read.candidate);
        for candidate in candidates.filter(|candidate| candidate.name == old) {
            new.clone_into(&mut candidate.name);
        }
    }

    /// Whether a superblock was found on that bdev.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.array_of(name).is_some()
    }

    /// The array whose superblock was found on that bdev.
    fn array_of(&self, name: &str) -> Option<Uuid> {
        let found = self.candidates().find(|candidate| candidate.name == name);
        found.map(|candidate| candidate.found.array_uuid)
    }

    fn arrays(&self) -> Vec<Uuid> {
        let mut arrays: Vec<_> = self.candidates().map(|c| c.found.array_uuid).collect();
        arrays.sort_unstable();
        arrays.dedup();
        arrays
    }

    /// Arrays whose log is on that bdev.
    fn arrays_with_log(&self, bdev: &Arc<dyn Bdev>) -> Vec<Uuid> {
        let (name, uuid) = (&bdev.info().name, bdev.info().uuid);
        let is_on = |candidate: &&Candidate| {
            let log = candidate.found.log.as_ref();
            log.is_some_and(|log| log.uuid == uuid || log.name == *name)
        };
        let mut arrays: Vec<_> =
            self.candidates().filter(is_on).map(|c| c.found.array_uuid).collect();
        arrays.sort_unstable();
        arrays.dedup();
        arrays
    }

    fn of(&self, array: Uuid) -> impl Iterator<Item = &Candidate> {
        self.candidates().filter(move |candidate| candidate.found.array_uuid == array)
    }

    /// An array by name or UUID.
    fn find(&self, name: &str) -> Option<Uuid> {
        let is_it = |candidate: &&Candidate| {
            candidate.found.array_name == name || candidate.found.array_uuid.to_string() == name
        };
        self.candidates().find(is_it).map(|candidate| candidate.found.array_uuid)
    }
}

/// What was found on a bdev.
enum Sight {
    /// A superblock that counts.
    Superblock(Superblock),
    /// None.
    Nothing,
    /// One that does not count, and why.
    Unusable(String),
}

/// A bdev that is to be looked at for a superblock.
#[derive(Debug)]
pub(super) struct Examinee {
    bdev: Arc<Counted>,
    /// Whether somebody has asked for it, so that its reads count.
    is_asked_for: bool,
    /// What it was when it was begun with.
    standing: Standing,
}

impl Examinee {
    fn to_read(&self) -> Arc<dyn Bdev> {
        match self.is_asked_for {
            true => self.bdev.clone(),
            false => Arc::clone(self.bdev.inner()),
        }
    }
}

impl State {
    /// Has the bdev of that name be looked at.
    pub(super) fn will_examine(&mut self, name: &str, is_asked_for: bool) {
        let Some(entry) = self.registry.find(name) else { return };
        let bdev = Arc::clone(&entry.counted);
        let standing = self.registry.standing(&entry.name());
        let is_queued = |queued: &Examinee| Arc::ptr_eq(&queued.bdev, &bdev);
        match self.unexamined.iter_mut().find(|queued| is_queued(queued)) {
            // What it was before has not been read, and need not be.
            Some(queued) => queued.standing = standing,
            None => self.unexamined.push(Examinee { bdev, is_asked_for, standing }),
        }
    }

    /// What a bdev that was looked at is now, if nobody uses it.
    fn standing_of(&self, examinee: &Examinee) -> Option<Standing> {
        let is_it = |entry: &&Entry| Arc::ptr_eq(&entry.counted, &examinee.bdev);
        let entry = self.registry.entries().iter().find(is_it)?;
        entry.claim.is_none().then(|| self.registry.standing(&entry.name()))
    }

    /// Has superblocks of an array that does not run be read again, if somebody may have written to them
    /// since. Tells whether there are any.
    fn reread(&mut self, array: Uuid) -> bool {
        if self.registry.find(&array.to_string()).is_some() {
            return false;
        }
        let stale = self.free(array).filter(|read| !self.is_as_read(read));
        let stale: Vec<String> = stale.map(|read| read.candidate.name.clone()).collect();
        stale.iter().for_each(|name| self.will_examine(name, false));
        !stale.is_empty()
    }

    /// What was read from bdevs that nobody uses.
    fn free(&self, array: Uuid) -> impl Iterator<Item = &Read> {
        self.known.found.iter().filter(move |read| {
            let entry = self.registry.find(&read.candidate.name);
            let is_free = entry.is_some_and(|entry| entry.claim.is_none());
            is_free && read.candidate.found.array_uuid == array
        })
    }

    /// The superblock of an array that was found on a bdev, and is there still.
    pub(super) fn superblock_on(&self, name: &str) -> Option<&Superblock> {
        let read = self.known.found.iter().find(|read| read.candidate.name == name)?;
        self.is_as_read(read).then_some(&read.candidate.found)
    }

    /// Whether nobody may have written to it since.
    fn is_as_read(&self, read: &Read) -> bool {
        self.registry.standing(&read.candidate.name) == read.standing
    }
}

impl Control {
    /// Looks for superblocks on what was added, and does what follows from them. The state is let go while
    /// devices are read: one that does not answer holds up who waits for it, and nobody else.
    pub(super) fn examine_new<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        loop {
            let new = std::mem::take(&mut state.unexamined);
            if new.is_empty() {
                return;
            }
            state.examining += new.len();
            for examinee in new {
                drop(state);
                let found = self.probe(&examinee.to_read());
                state = self.state();
                state.examining -= 1;
                match state.standing_of(&examinee) {
                    Some(now) if now == examinee.standing => {
                        self.conclude(&mut state, examinee, found);
                    }
                    // Somebody has had it meanwhile.
                    Some(_) => {
                        state.will_examine(&examinee.bdev.name(), examinee.is_asked_for);
                    }
                    None => {}
                }
            }
            self.changed.notify_all();
        }
    }

    /// Waits until nothing is being looked at.
    pub fn wait_for_examine(&self) {
        let busy = |state: &mut State| state.examining > 0 && state.lifecycle != Lifecycle::Stopped;
        drop(self.changed.wait_while(self.state(), busy));
    }

    fn probe(&self, bdev: &Arc<dyn Bdev>) -> Sight {
        let Some(reactor) = self.reactors().first() else { return Sight::Nothing };
        let found = match array::probe(reactor, bdev) {
            Ok(pair) => pair.superblock,
            Err(NoValidCopy::None) => return Sight::Nothing,
            Err(error) => return Sight::Unusable(error.to_string()),
        };
        // It may have become something else, with a copy left that says nothing of that.
        match array::replaced_by(reactor, bdev, &found) {
            Ok(None) => Sight::Superblock(found),
            Ok(Some(whose)) => {
                let what = if found.slot.is_some() { "member" } else { "spare" };
                let array = found.array_name;
                Sight::Unusable(format!("it was a {what} of array {array:?}, and carries {whose}"))
            }
            Err(error) => Sight::Unusable(error.to_string()),
        }
    }

    /// What follows from what was found on a bdev.
    fn conclude(&self, state: &mut State, examinee: Examinee, found: Sight) {
        let Examinee { bdev, standing, .. } = examinee;
        let bdev: Arc<dyn Bdev> = bdev;
        let name = bdev.name();
        let before = state.known.array_of(&name);
        state.known.forget(&name);
        let mut due: Vec<Uuid> = Vec::new();
        match found {
            // A metadata device: its array is what a table says.
            Sight::Superblock(found) if found.is_apart() => {}
            Sight::Superblock(found) => {
                let (array, uuid) = (found.array_name.clone(), found.array_uuid);
                tracing::info!(bdev = name, array, events = found.events, "superblock found");
                let size_bytes = bdev.info().size_bytes();
                state.known.add(Candidate { name, size_bytes, found }, standing);
                due.push(uuid);
            }
            Sight::Nothing => {}
            Sight::Unusable(error) => {
                tracing::warn!(bdev = name, error, "superblock cannot be used");
            }
        }
        due.extend(state.known.arrays_with_log(&bdev));
        due.extend(before);
        for (index, &uuid) in due.iter().enumerate() {
            if !due[..index].contains(&uuid) && state.known.of(uuid).next().is_some() {
                self.try_patiently(state, uuid);
            }
        }
    }

    /// Whoever does this goes on with [`examine_new`](Self::examine_new).
    fn try_patiently(&self, state: &mut State, uuid: Uuid) {
        if state.reread(uuid) {
            // It is tried again by what is found.
            return;
        }
        match self.try_assemble(state, uuid, Patience::Wait) {
            Ok(()) => {}
            Err(error @ (ControlError::Incomplete { .. } | ControlError::LogMissing { .. })) => {
                tracing::debug!(array = %uuid, %error, "not assembled yet");
            }
            Err(error) => tracing::error!(array = %uuid, %error, "not assembled"),
        }
    }

    /// Looks for a superblock on a bdev again.
    ///
    /// # Errors
    ///
    /// When there is no such bdev.
    pub fn examine_bdev(&self, name: &str) -> Result<(), ControlError> {
        let mut state = self.state();
        if state.registry.get(name)?.claim.is_none() {
            state.will_examine(name, true);
            self.examine_new(state);
        }
        Ok(())
    }

    /// Starts an array that waits for members, without them; with `force` also one that is refused for
    /// being split, or dirty and degraded.
    ///
    /// # Errors
    ///
    /// Why it cannot start all the same.
    pub fn assemble_raid(&self, name: &str, force: bool) -> Result<String, ControlError> {
        let mut state = self.state();
        let uuid = loop {
            state.admit_change(name)?;
            let Some(uuid) = state.known.find(name) else {
                return Err(ControlError::NoSuchArray { name: name.to_owned() });
            };
            if !state.reread(uuid) {
                break uuid;
            }
            self.examine_new(state);
            state = self.state();
        };
        let patience = if force { Patience::Force } else { Patience::Degraded };
        self.try_assemble(&mut state, uuid, patience)?;
        let raid = state.registry.find(&uuid.to_string());
        let name = raid.map_or_else(|| name.to_owned(), |entry| entry.name());
        self.examine_new(state);
        Ok(name)
    }

    /// A device that was not there at the start has come: arrays that wait for members are given the time
    /// of a start for the others to come.
    pub(crate) fn be_patient_again(&self) {
        self.has_come.store(true, Ordering::Release);
    }

    /// Patience is at its end: starts every array that can start without what it waits for.
    pub(super) fn assemble_waiting(&self) {
        let mut state = self.state();
        loop {
            let mut stale = false;
            for uuid in state.known.arrays() {
                stale |= state.reread(uuid);
            }
            if !stale {
                break;
            }
            self.examine_new(state);
            state = self.state();
        }
        for uuid in state.known.arrays() {
            if state.registry.find(&uuid.to_string()).is_some() {
                continue;
            }
            if let Err(error) = self.try_assemble(&mut state, uuid, Patience::Degraded) {
                tracing::error!(array = %uuid, %error, "not assembled");
            }
        }
        self.examine_new(state);
    }

    /// Arrays of which superblocks were found, and that do not run.
    pub fn waiting_raids(&self) -> Vec<WaitingRaid> {
        Self::waiting_in(&self.state())
    }

    /// The same for those who hold the state.
    pub(super) fn waiting_in(state: &State) -> Vec<WaitingRaid> {
        let idle = |uuid: &Uuid| state.registry.find(&uuid.to_string()).is_none();
        let describe = |uuid: Uuid| {
            let freshest = state.known.of(uuid).max_by_key(|candidate| candidate.found.events)?;
            let superblock = freshest.found.clone();
            let mut members = vec![None; superblock.members.len()];
            for candidate in state.known.of(uuid) {
                if let Some(slot) = superblock.slot_of(candidate.found.member_uuid) {
                    members[slot.index()] = Some(candidate.name.clone());
                }
            }
            let reason = state.known.refused.get(&uuid).cloned().unwrap_or_default();
            Some(WaitingRaid { superblock, members, reason })
        };
        state.known.arrays().into_iter().filter(idle).filter_map(describe).collect()
    }

    /// Whether superblocks of an array of that name were found.
    pub(super) fn knows_raid(state: &State, name: &str) -> bool {
        state.known.find(name).is_some()
    }

    fn try_assemble(
        &self,
        state: &mut State,
        uuid: Uuid,
        patience: Patience,
    ) -> Result<(), ControlError> {
        if let Some(raid) = state.registry.find(&uuid.to_string()).and_then(|entry| entry.raid()) {
            let raid = Arc::clone(raid);
            self.take_back(state, &raid);
            self.activate_spares(state, &raid);
            return Ok(());
        }
        let outcome = self.assemble_from(state, uuid, patience);
        match &outcome {
            Ok(()) => state.known.refused.remove(&uuid),
            Err(error) => state.known.refused.insert(uuid, error.to_string()),
        };
        outcome
    }

    fn assemble_from(
        &self,
        state: &mut State,
        uuid: Uuid,
        patience: Patience,
    ) -> Result<(), ControlError> {
        let candidates = free_candidates(state, uuid);
        let assembly = match assemble(uuid, &candidates, patience)? {
            Verdict::Ready(assembly) => *assembly,
            Verdict::Incomplete { missing } => {
                let array = candidates.first().map(|c| c.found.array_name.clone());
                let array = array.unwrap_or_else(|| uuid.to_string());
                return Err(ControlError::Incomplete { array, missing: list(missing) });
            }
        };
        let log = assembly.superblock.log.as_ref().and_then(|record| find_log(state, record));
        let log = log.filter(|log| self.may_be_log(log, &assembly.superblock.array_name));
        if patience == Patience::Wait
            && log.is_none()
            && let Some(record) = &assembly.superblock.log
        {
            let array = assembly.superblock.array_name.clone();
            return Err(ControlError::LogMissing { array, log: record.name.clone() });
        }
        self.start_known(state, &candidates, assembly, log, patience == Patience::Force)
    }

    /// Whether a bdev holds a log, or nothing that a new one would overwrite: it may only have the name of the
    /// array's log.
    fn may_be_log(&self, bdev: &Arc<dyn Bdev>, array: &str) -> bool {
        let Some(reactor) = self.reactors().first() else { return false };
        match array::log_occupant(reactor, bdev) {
            None => true,
            Some(what) => {
                tracing::warn!(array, bdev = bdev.name(), what, "not taken for its log");
                false
            }
        }
    }

    fn start_known(
        &self,
        state: &mut State,
        candidates: &[Candidate],
        assembly: Assembly,
        log: Option<Arc<dyn Bdev>>,
        force: bool,
    ) -> Result<(), ControlError> {
        let name = assembly.superblock.array_name.clone();
        state.registry.admit(&name, Some(assembly.superblock.array_uuid))?;
        let bdev = |index: usize| {
            let entry = state.registry.find(&candidates[index].name);
            entry.map(|entry| Arc::clone(&entry.bdev))
        };
        let members: Vec<Option<Arc<dyn Bdev>>> = assembly
            .seats
            .iter()
            .map(|seat| match seat {
                Seat::Taken { candidate, .. } => bdev(*candidate),
                Seat::Empty { .. } => None,
            })
            .collect();
        let spares: Vec<Arc<dyn Bdev>> =
            assembly.spares.iter().filter_map(|&index| bdev(index)).collect();
        let left_out = assembly.left_out.clone();
        let degraded = assembly.is_degraded();
        let raid = RaidBdev::assemble(
            self.reactors(),
            KnownRaid {
                assembly,
                members: members.clone(),
                log: log.clone(),
                rates: self.defaults().rates,
                permit: Permit::Withheld,
                io_timeout: self.defaults().io_timeout,
                force,
                events: Some(self.event_sender()),
                name: None,
                metadata: Vec::new(),
                resync: false,
                tuning: array::Tuning::default(),
            },
        )?;
        self.add(state, Arc::clone(&raid) as Arc<dyn Bdev>, Backing::Raid(Arc::clone(&raid)));
        state.registry.claim(&name, &members);
        if let Some(log) = &log {
            state.registry.claim_one(log, Claim::Log { array: name.clone() });
        }
        for spare in &spares {
            let claim = Claim::Spare { array: Some(name.clone()), forced: false };
            state.registry.claim_one(spare, claim);
        }
        for out in &left_out {
            tracing::warn!(array = name, reason = %out, "left out");
        }
        tracing::info!(array = name, degraded, force, "assembled");
        self.take_back(state, &raid);
        self.activate_spares(state, &raid);
        self.arrange_permits(state);
        Ok(())
    }

    /// Members that an array has lost, and that can come back by rebuilding only what changed, do (**R8**).
    fn take_back(&self, state: &mut State, raid: &Arc<RaidBdev>) {
        let Returning { left_out, spares } = returning(state, raid);
        for spare in &spares {
            let claim = Claim::Spare { array: Some(raid.info().name.clone()), forced: false };
            state.registry.claim_one(spare, claim);
            tracing::info!(array = raid.info().name, bdev = spare.info().name, "spare found");
        }
        for left_out in left_out {
            let Reason::Failed { slot, rebuild: Rebuild::DirtyRegions, .. } = left_out.reason
            else {
                continue;
            };
            let name = left_out.name;
            let Some(bdev) = state.registry.find(&name).map(|entry| Arc::clone(&entry.bdev)) else {
                continue;
            };
            let Some(member_uuid) = member_uuid(state, &name) else { continue };
            match raid.add_member(&bdev, Some(slot), Scope::Dirty, member_uuid) {
                Ok(slot) => {
                    let array = raid.info().name.clone();
                    state.registry.release_slot(&array, slot);
                    let membership = Membership { array: array.clone(), slot };
                    state.registry.claim_one(&bdev, Claim::Member(membership));
                    tracing::info!(array, bdev = name, %slot, "member is back");
                }
                Err(error) => tracing::warn!(bdev = name, %error, "member cannot come back"),
            }
        }
    }

    /// How much of a device has to be rebuilt if it joins an array now, and who it says it is.
    pub(super) fn scope_of(
        state: &State,
        raid: &Arc<RaidBdev>,
        name: &str,
    ) -> (Option<Slot>, Scope, Uuid) {
        let left_out = returning(state, raid).left_out;
        let back = left_out.into_iter().find(|left_out| left_out.name == name);
        let known = back.and_then(|left_out| match left_out.reason {
            Reason::Failed { slot, rebuild: Rebuild::DirtyRegions, .. }
            | Reason::Removed { slot, rebuild: Rebuild::DirtyRegions, .. } => Some(slot),
            _ => None,
        });
        match (known, member_uuid(state, name)) {
            (Some(slot), Some(uuid)) => (Some(slot), Scope::Dirty, uuid),
            _ => (None, Scope::Whole, Uuid::new_v4()),
        }
    }
}

fn member_uuid(state: &State, name: &str) -> Option<Uuid> {
    let candidate = state.known.candidates().find(|candidate| candidate.name == name);
    candidate.map(|candidate| candidate.found.member_uuid)
}

/// Candidates of an array that nobody uses, or may have written to since they were read.
fn free_candidates(state: &State, array: Uuid) -> Vec<Candidate> {
    let as_read = state.free(array).filter(|read| state.is_as_read(read));
    as_read.map(|read| read.candidate.clone()).collect()
}

/// Candidates of an array that runs, and who do not take part in it.
#[derive(Default)]
struct Returning {
    left_out: Vec<LeftOut>,
    /// Spares that nobody has claimed yet.
    spares: Vec<Arc<dyn Bdev>>,
}

/// What the rules say of free candidates of an array that runs.
fn returning(state: &State, raid: &Arc<RaidBdev>) -> Returning {
    let states: Vec<_> = raid.snapshot().members.iter().map(|member| member.state).collect();
    let Some(superblock) = raid.superblock() else { return Returning::default() };
    let superblock = states_as_they_will_be(superblock, states);
    let uuid = superblock.array_uuid;
    let mut candidates = free_candidates(state, uuid);
    let records = superblock.members.iter().zip(raid.members()).enumerate();
    for (slot, (record, member)) in records {
        let (Ok(slot), true) = (u8::try_from(slot), record.state.is_in_use()) else { continue };
        let Some(member) = member else { continue };
        candidates.retain(|candidate| candidate.name != member.info().name);
        candidates.push(Candidate {
            name: member.info().name.clone(),
            size_bytes: member.info().size_bytes(),
            found: superblock.carried_by(record.member_uuid, Some(Slot(slot))),
        });
    }
    let Ok(Verdict::Ready(assembly)) = assemble(uuid, &candidates, Patience::Force) else {
        return Returning::default();
    };
    let spares = assembly.spares.iter().filter_map(|&index| {
        let entry = state.registry.find(&candidates[index].name)?;
        entry.claim.is_none().then(|| Arc::clone(&entry.bdev))
    });
    Returning { spares: spares.collect(), left_out: assembly.left_out }
}

/// A superblock with members that are out as such, as the next update has it if the last one was begun before they
/// were: whoever comes back in between is not one that takes its slot as if nothing had been.
fn states_as_they_will_be(
    mut superblock: Superblock,
    states: impl IntoIterator<Item = MemberState>,
) -> Superblock {
    let next = superblock.events + 1;
    for (record, state) in superblock.members.iter_mut().zip(states) {
        let out = match state {
            MemberState::Faulty => MemberRecordState::Faulty { failed_at: next },
            MemberState::Missing => MemberRecordState::Missing { since: next },
            MemberState::InSync | MemberState::Rebuilding => continue,
        };
        if record.state.is_in_use() {
            record.state = out;
            superblock.events = next;
        }
    }
    superblock
}

/// The bdev of a log: by UUID, else by name.
fn find_log(state: &State, record: &LogRecord) -> Option<Arc<dyn Bdev>> {
    let found = state.registry.find(&record.uuid.to_string());
    let found = found.or_else(|| state.registry.find(&record.name));
    found.filter(|entry| entry.claim.is_none()).map(|entry| Arc::clone(&entry.bdev))
}

fn list(slots: SlotSet) -> String {
    let slots: Vec<_> = slots.iter().map(|slot| slot.to_string()).collect();
    slots.join(", ")
}

/// Kinds of bdevs that are looked at for superblocks when they appear: a null bdev has nothing to be found,
/// and a mapped device has no table yet.
pub(super) fn is_examined(kind: Kind) -> bool {
    !matches!(kind, Kind::Null | Kind::Mapped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::raid::layout::{Layout, Level};
    use ::raid::superblock::{MemberRecord, OnLogFailure, Shape, Shutdown};

    fn superblock(states: &[MemberRecordState]) -> Superblock {
        let record = |&state: &MemberRecordState| MemberRecord {
            member_uuid: Uuid::new_v4(),
            data_offset_bytes: 1 << 20,
            state,
            read_errors: 0,
        };
        Superblock {
            array_uuid: Uuid::new_v4(),
            array_name: "r0".to_owned(),
            member_uuid: Uuid::nil(),
            slot: None,
            events: 7,
            shape: Shape {
                level: Level::Raid6,
                layout: Layout::LeftSymmetric,
                strip_bytes: 65_536,
                block_size_bytes: 512,
                component_bytes: 1 << 30,
            },
            shutdown: Shutdown::Running,
            in_sync_to_bytes: 0,
            region_bytes: 1 << 20,
            log: None,
            on_log_failure: OnLogFailure::Continue,
            fresh: false,
            members: states.iter().map(record).collect(),
        }
    }

    /// Goal: whoever is out though the last update does not know it yet is called so as the next one will, one that was
    /// taken out on purpose too, and nobody else's record changes. Method: every state against every record.
    #[test]
    fn the_next_update_is_foreseen() {
        use MemberRecordState::{Faulty, InSync, Missing, Rebuilding};
        let rebuilding = Rebuilding { recovered_to_bytes: 0, partial: false };
        let records = [InSync, rebuilding, Faulty { failed_at: 3 }, Missing { since: 4 }];
        for record in records {
            for (state, out) in [
                (MemberState::InSync, None),
                (MemberState::Rebuilding, None),
                (MemberState::Faulty, Some(Faulty { failed_at: 8 })),
                (MemberState::Missing, Some(Missing { since: 8 })),
            ] {
                let before = superblock(&[record, InSync]);
                let after = states_as_they_will_be(before.clone(), [state, MemberState::InSync]);
                let changed = out.filter(|_| record.is_in_use());
                let shown = format!("{record:?}, {state:?}");
                assert_eq!(after.members[0].state, changed.unwrap_or(record), "{shown}");
                assert_eq!(after.members[1].state, InSync, "{shown}");
                assert_eq!(after.events, before.events + u64::from(changed.is_some()), "{shown}");
            }
        }
    }
}
