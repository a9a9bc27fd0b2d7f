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
//! array's policy makes it wait for; without one, its owner has to know, and writes wait for `allow_writes`, unless its
//! policy lets them go on. What the configuration makes is not in the state, and neither is what is made later in its
//! place or under its name: that is its author's, who has to know.
//!
//! Not here: the state (`methods::state`), holding writes (`raid::coordinator`).

use std::collections::BTreeSet;
use std::sync::Arc;

use ::raid::coordinator::{OnLogFailure, OnMemberFailure, Policy};
use ::raid::units::SlotSet;
use array::{RaidBdev, RaidSnapshot};
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

/// What an array is asked to do when something fails.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnFailure {
    /// When the log fails, if that is said.
    pub(super) log: Option<OnLogFailure>,
    /// When a member fails, and there are no superblocks.
    pub(super) member: OnMemberFailure,
    /// Whether there are.
    pub(super) superblock: bool,
}

impl OnFailure {
    /// The policy; `recorded`: the service keeps a state that says how the array is made.
    ///
    /// A log that has failed still says what it said before: who believes it after a crash takes stale parity
    /// for right. So writes go on only if something says that it has failed. Where nothing can, it is the owner who has to know,
    /// as with a member: writes wait for `allow_writes`, unless the array is to go on by itself.
    pub(in crate::control) fn policy(self, recorded: bool) -> Policy {
        let Self { log, member, superblock } = self;
        let usual = match (superblock || recorded, member) {
            (true, _) | (false, OnMemberFailure::Continue) => OnLogFailure::Continue,
            (false, OnMemberFailure::Hold) => OnLogFailure::Block,
        };
        Policy { log: log.unwrap_or(usual), member, recorded }
    }
}

/// Who is missing in an array whose writes may wait for that to be recorded, and whether its log has failed.
#[derive(Debug, Clone)]
pub(crate) struct Unrecorded {
    bdev: String,
    raid: Arc<RaidBdev>,
    missing: SlotSet,
    log_failed: bool,
}

impl Unrecorded {
    fn of(bdev: &str, raid: Arc<RaidBdev>, snapshot: &RaidSnapshot) -> Self {
        let (missing, log_failed) = (snapshot.missing().collect(), log_failed(snapshot));
        Self { bdev: bdev.to_owned(), raid, missing, log_failed }
    }

    /// Name of the bdev whose call has to say so: the array, or the mapped device that it is of.
    pub(crate) fn bdev(&self) -> &str {
        &self.bdev
    }

    /// The state says so, durably: writes that have waited for that go on.
    pub(crate) fn release_writes(&self) {
        self.raid.recorded(self.missing, self.log_failed);
    }
}

impl Control {
    /// From now on what is made is kept in a state, but for what has one of these names.
    pub(crate) fn begin_keeping(&self, configured: BTreeSet<String>) {
        self.state().registry.begin_recording(configured);
    }

    /// Arrays in the state whose writes wait. To be asked before it is put together: who fails meanwhile may
    /// not be in it.
    pub(crate) fn unrecorded(&self) -> Vec<Unrecorded> {
        let raids: Vec<(String, Arc<RaidBdev>)> = {
            let state = self.state();
            let recorded = state.registry.entries().iter().filter(|entry| entry.is_recorded());
            let raids_of = |entry: &Entry| {
                let mapped = entry.mapped().map(|device| device.raids()).unwrap_or_default();
                let raids = entry.raid().cloned().into_iter().chain(mapped);
                raids.map(|raid| (entry.name(), raid)).collect::<Vec<_>>()
            };
            recorded.flat_map(raids_of).collect()
        };
        let waiting = raids.into_iter().filter_map(|(bdev, raid)| {
            let snapshot = raid.snapshot();
            snapshot.waiting_for_owner.then(|| Unrecorded::of(&bdev, raid, &snapshot))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: in every case, writes go on after the log has failed only if something says that it has, or
    /// whoever made the array asked for it.
    #[test]
    fn who_records_that_the_log_has_failed() {
        use {OnLogFailure as Log, OnMemberFailure as Member};
        for said in [None, Some(Log::Continue), Some(Log::Block)] {
            for member in [Member::Hold, Member::Continue] {
                for (superblock, recorded) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    let asked = OnFailure { log: said, member, superblock };
                    let policy = asked.policy(recorded);
                    let case = format!("{asked:?}, recorded: {recorded}");
                    assert_eq!((policy.member, policy.recorded), (member, recorded), "{case}");
                    let goes_on = policy.log == Log::Continue;
                    let by_itself = superblock || recorded || member == Member::Continue;
                    assert_eq!(
                        goes_on,
                        said.map_or(by_itself, |log| log == Log::Continue),
                        "{case}"
                    );
                }
            }
        }
    }
}
