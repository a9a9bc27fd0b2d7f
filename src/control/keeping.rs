//! What the keeper of the state has to know, and what waits for it.
//!
//! ```text
//!   member or log fails --> writes held --> event --> monitor --> keeper: state says so, durably
//!                               ^                                              |
//!                               '---------- recorded(who was missing) ---------'
//! ```
//!
//! An array without superblocks has nothing of its own that could say that a member or the log has failed. Where the
//! service keeps a state, that says it, and until it does no write is acknowledged (**R4**), whatever else the
//! array's policy makes it wait for; without one, it does what its policy says, as the kernel's. What the configuration makes is not in the
//! state: it is its author's.
//!
//! Not here: the state (`methods::state`), holding writes (`raid::coordinator`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ::raid::coordinator::Policy;
use ::raid::units::SlotSet;
use array::RaidBdev;
use device::Bdev;

use super::recipe::log_failed;
use super::registry::Entry;
use super::{Control, lock};

/// What is known of the parity of arrays that have been stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parity {
    /// It matches the data everywhere, and no member has failed in the end.
    Right,
    /// Nothing is known.
    Unknown,
}

impl Parity {
    pub(super) fn of(is_right: bool) -> Self {
        if is_right { Self::Right } else { Self::Unknown }
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self::of(self == Self::Right && other == Self::Right)
    }
}

/// Who is missing in an array whose writes may wait for that to be recorded, and whether its log has failed.
#[derive(Debug, Clone)]
pub(crate) struct Unrecorded {
    raid: Arc<RaidBdev>,
    missing: SlotSet,
    log_failed: bool,
}

impl Unrecorded {
    /// The state says so, durably.
    pub(crate) fn is_recorded(&self) {
        self.raid.recorded(self.missing, self.log_failed);
    }
}

impl Control {
    /// From now on what is made is kept in a state.
    pub(crate) fn begin_keeping(&self) {
        self.keeping.store(true, Ordering::Release);
    }

    /// The policy of an array that asks for this one: where there is a state, writes wait for it.
    pub(super) fn kept_policy(&self, asked: Policy) -> Policy {
        Policy { recorded: self.keeping.load(Ordering::Acquire), ..asked }
    }

    /// Arrays whose writes wait. To be asked before the state is put together: who fails meanwhile may not
    /// be in it.
    pub(crate) fn unrecorded(&self) -> Vec<Unrecorded> {
        let raids: Vec<Arc<RaidBdev>> = {
            let state = self.state();
            let own = state.registry.entries().iter().filter_map(|entry| entry.raid().cloned());
            own.chain(state.registry.mapped().flat_map(|device| device.raids())).collect()
        };
        let waiting = raids.into_iter().filter_map(|raid| {
            let snapshot = raid.snapshot();
            let missing = snapshot.missing().collect();
            let log_failed = log_failed(&snapshot);
            snapshot.waiting_for_owner.then_some(Unrecorded { raid, missing, log_failed })
        });
        waiting.collect()
    }

    /// Bdevs whose arrays were stopped with their parity right, once the service is stopped.
    pub(crate) fn stopped_in_order(&self) -> BTreeSet<String> {
        lock(&self.stopped).clone()
    }

    pub(super) fn note_stopped(&self, entry: &Entry, parity: Parity) {
        if parity == Parity::Right {
            lock(&self.stopped).insert(entry.name());
        }
    }
}

/// Stops an array. What its state of now says holds at the end too, unless a member has failed its last
/// flush.
///
/// # Errors
/// What could not be done in order.
pub(super) fn stop_for_good(raid: &RaidBdev) -> Result<Parity, String> {
    let before: SlotSet = raid.snapshot().missing().collect();
    let (end, outcome) = raid.stop_telling();
    outcome.map_err(|error| error.to_string())?;
    let missing: SlotSet = end.missing().collect();
    if missing != before {
        tracing::error!(array = raid.info().name, ?missing, "a member has failed its last flush");
    }
    Ok(Parity::of(missing == before && end.regions > 0 && end.regions_in_sync == end.regions))
}
