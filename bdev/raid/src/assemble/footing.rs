//! What an array that may start begins with: its log, its members' states, what has to be rebuilt, and what its
//! parity is worth.
//!
//! | start | the log begins | in sync |
//! |---|---|---|
//! | in sync to here | anew, dirty from here | to here |
//! | dirty regions out of sync | as found | what is clean |
//! | all out of sync | anew, all of it dirty | nothing |
//! | trusted | as found, or anew and dirty if it failed | everything |
//! | trusted by force | the same | what is clean |
//!
//! A whole array whose owner asks for a resync begins as one that is out of sync everywhere.
//!
//! Not here: whether it may start (`start`), reading the log.

use super::{Assembly, Seat, SeatState, Start, Vacancy};
use crate::bitmap::Bitmap;
use crate::dirty_log::{DirtyLog, DiskArea, Initially, Regions, SyncOption};
use crate::member::{MemberMap, MemberState};
use crate::units::SlotSet;

/// What is known of the dirty log when an array starts.
#[derive(Debug, Default)]
pub struct LogAtHand {
    /// The log, as it was read; `None` if it could not be.
    pub found: Option<DirtyLog>,
    /// Where a log can be begun anew; `None` if no device can hold one: it is in memory then.
    pub area: Option<DiskArea>,
}

/// What an array begins with.
#[derive(Debug)]
pub struct Footing {
    /// Its log.
    pub log: DirtyLog,
    /// Its members' states.
    pub map: MemberMap,
    /// Regions in which members that are being rebuilt do not hold what they should.
    pub stale: Bitmap,
    /// Slots that parity may stand for where it is not in sync: all where it is right wherever it was written, those
    /// that are out where the operator insists, else none.
    pub vouched: SlotSet,
}

/// What an array begins with that may start like this; `resync` says that its owner asks for one.
#[must_use]
pub fn footing(
    assembly: &Assembly,
    start: Start,
    log: LogAtHand,
    regions: Regions,
    resync: bool,
) -> Footing {
    let is_distrusted = resync && !assembly.is_degraded();
    let count = regions.count();
    let log = match (start, log.found) {
        _ if is_distrusted => anew(log.area, count, 0),
        (Start::InSyncTo { bytes, .. }, _) => anew(log.area, count, bytes / regions.region_bytes()),
        (Start::AllOutOfSync { .. }, _) => anew(log.area, count, 0),
        (Start::DirtyRegionsOutOfSync { .. }, found) => {
            found.expect("its dirty regions were counted")
        }
        (Start::Trusted { forced, log_failed }, found) => {
            let mut log = match found.filter(|_| !log_failed) {
                Some(found) => found,
                // Nothing is out of sync, or nobody knows what is.
                None if log_failed || forced => anew(log.area, count, 0),
                None => anew(log.area, count, count),
            };
            if !forced {
                log.assume_in_sync();
            }
            log
        }
    };
    let is_forced = matches!(start, Start::Trusted { forced: true, .. });
    Footing {
        map: MemberMap::new(assembly.seats.iter().map(member_state).collect()),
        stale: stale(assembly, &log, regions),
        vouched: match is_forced {
            true => assembly.missing(),
            false if assembly.superblock.is_fresh() && !is_distrusted => {
                SlotSet::first_n(assembly.seats.len())
            }
            false => SlotSet::empty(),
        },
        log,
    }
}

/// A log that says nothing of the time before: its first regions are clean, the others dirty and out of sync.
fn anew(area: Option<DiskArea>, regions: u64, dirty_from: u64) -> DirtyLog {
    let mut log = match area {
        Some(area) => DirtyLog::load(None, area, SyncOption::NoSync).log,
        None => DirtyLog::new(regions, Initially::InSync),
    };
    log.distrust_from(dirty_from);
    log
}

fn member_state(seat: &Seat) -> MemberState {
    match seat {
        Seat::Taken { state: SeatState::InSync, .. } => MemberState::InSync,
        Seat::Taken { state: SeatState::Rebuilding { .. }, .. } => MemberState::Rebuilding,
        Seat::Empty { vacancy: Vacancy::Missing { .. } } => MemberState::Missing,
        Seat::Empty { .. } => MemberState::Faulty,
    }
}

fn stale(assembly: &Assembly, log: &DirtyLog, regions: Regions) -> Bitmap {
    let mut stale = Bitmap::new(regions.count(), false);
    for seat in &assembly.seats {
        let Seat::Taken { state: SeatState::Rebuilding { recovered_to_bytes, partial }, .. } =
            *seat
        else {
            continue;
        };
        let first = recovered_to_bytes / regions.region_bytes();
        for region in first..regions.count() {
            if !partial || !log.is_clean(region) {
                stale.set(region, true);
            }
        }
    }
    stale
}
