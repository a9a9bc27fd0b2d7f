//! Hot spares, and what is done when something happens to an array.
//!
//! ```text
//!   array --event--> monitor thread --+--> an empty slot: a spare of the array's own, or of the pool,
//!                                     |    takes it and is rebuilt
//!   start-up over, patience at its end --> arrays that wait for members start without them
//!   a device has come late, likewise   --> the same
//!   every few seconds                  --> what was asked for, and could not be made, is tried again
//! ```
//!
//! Of a member that has failed the keeper of the state hears first: writes may wait for it (`keeping`). It
//! takes as long as a command that holds the state of the control plane.
//!
//! Not here: which events there are (`raid::coordinator`), assembling (`assembly`), what may be written over
//! (`occupied`).

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, Weak};
use std::thread;
use std::time::Duration;

use array::{AddError, ArrayEvent, Occupant, RaidBdev};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use device::Bdev;
use raid::coordinator::{RaidEvent, Scope};
use raid::member::MemberState;
use raid::units::Slot;
use reactor::clock;
use uuid::Uuid;

use super::error::ControlError;
use super::notices::NoticeKind;
use super::occupied::{Asker, Found, Terms, admit};
use super::registry::{Claim, Entry, Membership};
use super::{Control, Lifecycle, State};

impl Control {
    /// Adds a spare: for one array, or for any. What is on it is overwritten only if it is that array's own, or by
    /// `force`.
    ///
    /// # Errors
    ///
    /// When there is no such bdev or array, the bdev is in use, does not fit the array or carries something.
    pub fn add_spare(
        &self,
        name: &str,
        array: Option<&str>,
        force: bool,
    ) -> Result<(), ControlError> {
        {
            let state = self.state();
            if state.lifecycle == Lifecycle::Starting && serves_already(&state, name, array) {
                // A configuration that adds a spare adds it once; after that it is found, or has been needed.
                tracing::info!(bdev = name, "it is a spare or a member already");
                return Ok(());
            }
            // Nothing is read of what could not be one anyway.
            check_spare(&state, name, array)?;
        }
        let (mut state, found) = self.recall(name, array)?;
        let (bdev, raid) = check_spare(&state, name, array)?;
        let asker = match &raid {
            Some(raid) => Asker::array(&state, raid, name, false, force),
            None => Asker::new(force),
        };
        let array = raid.as_ref().map(|raid| raid.info().name.clone());
        let terms = admit(array.as_deref(), &bdev, asker, found)?;
        // Also if it cannot be marked: what was there is written over.
        state.known.forget(&bdev.name());
        if let Some(raid) = &raid {
            self.mark_spare(raid, &bdev)?;
        }
        state.registry.claim_one(&bdev, spare_of(raid.as_ref(), terms));
        let array = array.as_deref().unwrap_or("any");
        tracing::info!(bdev = name, array, ?terms, "spare added");
        match raid {
            Some(raid) => self.activate_spares(&mut state, &raid),
            None => {
                for raid in running(&state) {
                    self.activate_spares(&mut state, &raid);
                }
            }
        }
        Ok(())
    }

    /// Whether a bdev is a spare of that array, or of any, or has become a member.
    pub(crate) fn serves(&self, name: &str, array: Option<&str>) -> bool {
        serves_already(&self.state(), name, array)
    }

    /// Whether a bdev is, or may have been, a spare or member of some array.
    pub(crate) fn has_served(&self, name: &str) -> bool {
        let bdev = match self.state().registry.find(name) {
            None => return false,
            Some(Entry { claim: Some(claim), .. }) => {
                return matches!(claim, Claim::Member(_) | Claim::Spare { .. });
            }
            Some(entry) => Arc::clone(&entry.bdev),
        };
        !matches!(self.occupant(&bdev), Ok(None | Some(Occupant::Stranger(_))))
    }

    /// Has a spare of an array with superblocks carry one, so that it is found again. If it cannot, it carries none:
    /// half of one would make it a spare at the next start, whatever is on it then.
    pub(super) fn mark_spare(
        &self,
        raid: &Arc<RaidBdev>,
        bdev: &Arc<dyn Bdev>,
    ) -> Result<(), ControlError> {
        let (Some(reactor), Some(superblock)) = (self.reactors().first(), raid.superblock()) else {
            return Ok(());
        };
        if superblock.events == 0 {
            return Err(ControlError::NoUpdate { array: superblock.array_name });
        }
        array::mark_spare(reactor, bdev, &superblock).map_err(|source| {
            let name = bdev.name();
            match array::wipe(reactor, bdev) {
                Ok(()) => source.into(),
                Err(left) => ControlError::HalfMarked { name, source, left: Box::new(left) },
            }
        })
    }

    /// Takes a spare back. One that carries the superblock of its array is wiped before it is free: it would
    /// be a spare again at the next start, whatever is on it then.
    pub(super) fn take_spare(
        &self,
        mut state: MutexGuard<'_, State>,
        name: &str,
        array: Option<&str>,
    ) -> Result<(), ControlError> {
        let bdev = Arc::clone(&state.registry.get(name)?.bdev);
        let raid = array.and_then(|array| state.registry.find(array)).and_then(|it| it.raid());
        let marked = raid.is_some_and(|raid| raid.superblock().is_some());
        tracing::info!(bdev = name, "no spare any more");
        if !marked {
            state.registry.release(name);
            return Ok(());
        }
        state.registry.claim_one(&bdev, Claim::Removal);
        drop(state);
        self.wipe_and_free(&bdev)
    }

    /// Puts a bdev into a slot of an array. One that was a member before is rebuilt only where something
    /// has changed since. What is on it is overwritten only if it is the array's own, or by `force`.
    ///
    /// # Errors
    ///
    /// When there is no such bdev or array, the bdev is in use, it does not fit, or carries something.
    pub fn add_base_bdev(&self, array: &str, name: &str, force: bool) -> Result<(), ControlError> {
        let (mut state, found) = self.recall(name, Some(array))?;
        state.admit_change(name)?;
        let raid = state.registry.get(array)?.raid().cloned();
        let raid = raid.ok_or_else(|| ControlError::NoSuchArray { name: array.to_owned() })?;
        // One that has failed still has its claim, until it is let go of or is back.
        let before = failed_member(&state, &raid, name);
        let bdev = Arc::clone(&state.registry.get(name)?.bdev);
        if before.is_some() {
            state.registry.release(name);
        }
        let asker = Asker::array(&state, &raid, name, before.is_some(), force);
        let joined = join(&state, &raid, name, asker, found);
        let (slot, scope) = match (joined, before) {
            (Ok(joined), _) => joined,
            (Err(error), None) => return Err(error),
            (Err(error), Some(claim)) => {
                state.registry.claim_one(&bdev, claim);
                return Err(error);
            }
        };
        self.seat(&mut state, &raid, &bdev, slot);
        tracing::info!(array, bdev = name, %slot, ?scope, "member added");
        Ok(())
    }

    /// The registry learns who is in a slot now; who was there before is free.
    fn seat(&self, state: &mut State, raid: &Arc<RaidBdev>, bdev: &Arc<dyn Bdev>, slot: Slot) {
        let array = raid.info().name.clone();
        state.registry.release_slot(&array, slot);
        state.registry.claim_one(bdev, Claim::Member(Membership { array, slot }));
        state.known.forget(&bdev.info().name);
    }

    /// Fills empty slots of an array with spares, one rebuild at a time. A spare that fails as it takes its
    /// slot is none any more.
    pub(super) fn activate_spares(&self, state: &mut State, raid: &Arc<RaidBdev>) {
        let snapshot = raid.snapshot();
        let rebuilding = snapshot.members.iter().any(|m| m.state == MemberState::Rebuilding);
        if snapshot.broken || rebuilding || snapshot.missing().next().is_none() {
            return;
        }
        let array = raid.info().name.clone();
        for spare in state.registry.spares_for(&array) {
            let name = &spare.info().name;
            match raid.add_member(&spare, None, Scope::Whole, Uuid::new_v4()) {
                Ok(slot) => {
                    self.seat(state, raid, &spare, slot);
                    tracing::warn!(array, bdev = name, %slot, "spare activated");
                    let detail = Some(format!("{name} in slot {slot}"));
                    self.notices.push(NoticeKind::RaidSpareActivated, &array, detail);
                    return;
                }
                Err(error @ AddError::Failed { .. }) => {
                    // It would be taken again and again, as nothing else keeps it from the slot.
                    state.registry.release(name);
                    tracing::warn!(array, bdev = name, %error, "no spare any more");
                }
                Err(error @ AddError::Rest(_)) => {
                    // The others would have to wait as long, and with them whoever waits for the state. The
                    // array tells when something has changed.
                    tracing::error!(array, bdev = name, %error, "no spare can take a slot now");
                    return;
                }
                Err(error) => tracing::warn!(array, bdev = name, %error, "spare does not fit"),
            }
        }
    }

    /// Starts the thread that watches the arrays. It ends with the service.
    pub(super) fn start_monitor(
        self: &Arc<Self>,
        events: Receiver<ArrayEvent>,
        patience: Duration,
    ) {
        let control = Arc::downgrade(self);
        let run =
            move || Monitor { control, events, patience, waited_since: None, told: None }.run();
        if let Err(error) = thread::Builder::new().name("monitor".to_owned()).spawn(run) {
            tracing::error!(%error, "arrays are not watched: spares have to be added by hand");
        }
    }

    pub(super) fn event_sender(&self) -> Sender<ArrayEvent> {
        self.events.clone()
    }
}

struct Monitor {
    control: Weak<Control>,
    events: Receiver<ArrayEvent>,
    patience: Duration,
    /// When the start-up was over; `None` once the arrays that waited then have been dealt with.
    waited_since: Option<u64>,
    /// When the keeper of the state was told last; `None` before the start-up is over.
    told: Option<u64>,
}

impl Monitor {
    fn run(mut self) {
        let mut patient = true;
        loop {
            let event = match self.events.recv_timeout(crate::limits::WAIT_SLICE) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let Some(control) = self.control.upgrade() else { return };
            if control.is_stopped() {
                return;
            }
            let failed = |event: &ArrayEvent| matches!(event.event, RaidEvent::MemberFailed { .. });
            if event.as_ref().is_some_and(failed) {
                control.tell_failed();
            }
            control.arrange_permits(&mut control.state());
            let mut changed = false;
            if control.has_come.swap(false, Ordering::AcqRel) {
                (patient, self.waited_since) = (true, None);
            }
            if patient && control.is_started() {
                let now_ns = clock::now().as_nanos();
                let since_ns = *self.waited_since.get_or_insert(now_ns);
                if u128::from(now_ns - since_ns) >= self.patience.as_nanos() {
                    patient = false;
                    // What has come since it was last tried comes first.
                    self.tell(&control, true);
                    control.assemble_waiting();
                    changed = true;
                }
            }
            control.remove_deferred();
            if let Some(event) = event {
                let event = control.note_mapped(event);
                control.notices.push_raid(&event);
                handle(&control, &event);
                control.look_at_health(&event.array);
                changed = true;
            }
            self.tell(&control, changed);
        }
    }

    /// Tells the keeper of the state that something has changed. Now and then that is so for reasons that
    /// nobody tells of: an address is up, an event was lost, there is room on the disk again.
    fn tell(&mut self, control: &Control, changed: bool) {
        let now_ns = clock::now().as_nanos();
        let every_ns = crate::limits::STATE_RETRY.as_nanos();
        let is_due = |told: u64| u128::from(now_ns - told) >= every_ns;
        if changed || control.is_started() && self.told.is_none_or(is_due) {
            control.tell_changed();
            self.told = Some(now_ns);
        }
    }
}

fn handle(control: &Arc<Control>, event: &ArrayEvent) {
    let wants_spare = matches!(
        event.event,
        RaidEvent::MemberFailed { .. } | RaidEvent::Degraded | RaidEvent::Optimal
    ) || matches!(event.event, RaidEvent::SyncEnded { .. });
    if !wants_spare {
        return;
    }
    let mut state = control.state();
    let raid = state.registry.find(&event.array).and_then(|entry| entry.raid()).cloned();
    if let Some(raid) = raid {
        control.activate_spares(&mut state, &raid);
    }
}

/// Whether a bdev is a spare of that array, or of any, or has become a member. Of any is who has become one's.
fn serves_already(state: &State, name: &str, array: Option<&str>) -> bool {
    let claim = state.registry.find(name).and_then(|entry| entry.claim.as_ref());
    let whose = match claim {
        Some(Claim::Member(membership)) => Some(&membership.array),
        Some(Claim::Spare { array, .. }) => array.as_ref(),
        _ => return false,
    };
    let Some(array) = array else { return true };
    let asked = state.registry.find(array).map(Entry::name);
    asked.is_some() && asked.as_ref() == whose
}

/// A bdev that could be a spare, and the array that it is for, if not any.
type Candidate = (Arc<dyn Bdev>, Option<Arc<RaidBdev>>);

/// The bdev of that name, if it can be a spare of that array, or of any.
fn check_spare(state: &State, name: &str, array: Option<&str>) -> Result<Candidate, ControlError> {
    state.admit_change(name)?;
    state.registry.check_rest(name)?;
    let bdev = state.registry.base(name)?;
    let Some(array) = array else { return Ok((bdev, None)) };
    let raid = state.registry.get(array)?.raid().cloned();
    let raid = raid.ok_or_else(|| ControlError::NoSuchArray { name: array.to_owned() })?;
    array::check_spare(&raid.info().name, raid.geometry(), &bdev)?;
    Ok((bdev, Some(raid)))
}

/// The claim of a spare that is taken on these terms, for that array or for any. One that gets a superblock carries
/// nothing else any more.
pub(super) fn spare_of(raid: Option<&Arc<RaidBdev>>, terms: Terms) -> Claim {
    let is_marked = raid.is_some_and(|raid| raid.superblock().is_some());
    Claim::Spare {
        array: raid.map(|raid| raid.info().name.clone()),
        forced: terms != Terms::Blank && !is_marked,
    }
}

/// Has a bdev take a slot of an array. What an array could not use is refused whatever is on it.
fn join(
    state: &State,
    raid: &Arc<RaidBdev>,
    name: &str,
    asker: Asker,
    found: Found,
) -> Result<(Slot, Scope), ControlError> {
    let bdev = state.registry.base(name)?;
    let (slot, scope, uuid) = Control::scope_of(state, raid, &bdev.info().name);
    raid.check_member(&bdev, slot)?;
    // What is not the array's own is not known of it either, so that all of it is rebuilt.
    admit(Some(&raid.info().name), &bdev, asker, found)?;
    Ok((raid.add_member(&bdev, slot, scope, uuid)?, scope))
}

/// The claim of a bdev that is a member of the array, and has failed.
fn failed_member(state: &State, raid: &RaidBdev, name: &str) -> Option<Claim> {
    let claim = state.registry.find(name)?.claim.clone()?;
    let Claim::Member(Membership { array, slot }) = &claim else { return None };
    let own = *array == raid.info().name;
    (own && raid.snapshot().missing().any(|missing| missing == *slot)).then_some(claim)
}

fn running(state: &State) -> Vec<Arc<RaidBdev>> {
    state.registry.entries().iter().filter_map(|entry| entry.raid().cloned()).collect()
}
