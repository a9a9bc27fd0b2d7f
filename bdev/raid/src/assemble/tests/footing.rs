//! What an array begins with: every way to start, with every log, against the table of `footing` put the other way
//! round: what has to be true of each region.

use super::*;
use crate::dirty_log::{DirtyLog, DiskArea, Regions, SyncOption};
use crate::member::MemberState;
use crate::superblock::{IN_SYNC_EVERYWHERE, Shutdown};

const REGION_BYTES: u64 = 1 << 20;
const COUNT: u64 = 8;

fn regions() -> Regions {
    Regions::new(REGION_BYTES, 64 << 10, COUNT * 16)
}

fn area() -> DiskArea {
    DiskArea::new(512, COUNT)
}

/// A log that was read, with these regions dirty.
fn found(dirty: &[u64]) -> DirtyLog {
    let mut log = DirtyLog::load(None, area(), SyncOption::NoSync).log;
    dirty.iter().for_each(|&region| log.mark(region));
    let mut image = vec![0; usize::try_from(area().area_bytes()).unwrap()];
    log.copy_out(0, &mut image);
    DirtyLog::load(Some(&image), area(), SyncOption::Default).log
}

/// An array whose slot 1 is whatever is said here.
fn with_slot_1(seat: Seat, fresh: bool) -> Assembly {
    let superblock = array(Level::Raid6, 5, 4);
    let superblock = Superblock { fresh, shutdown: Shutdown::Clean, ..superblock };
    let taken = |candidate| Seat::Taken { candidate, state: SeatState::InSync };
    let mut seats: Vec<_> = (0..5).map(taken).collect();
    seats[1] = seat;
    Assembly { superblock, seats, left_out: vec![], spares: vec![] }
}

fn starts() -> Vec<Start> {
    let mut starts = vec![Start::DirtyRegionsOutOfSync { dirty: 2 }];
    for log_failed in [false, true] {
        for bytes in [0, 3 * REGION_BYTES, IN_SYNC_EVERYWHERE] {
            starts.push(Start::InSyncTo { bytes, log_failed });
        }
        starts.push(Start::AllOutOfSync { log_failed });
        for forced in [false, true] {
            starts.push(Start::Trusted { forced, log_failed });
        }
    }
    starts
}

/// Regions of which nobody may believe that their parity is right, and those that have to be dirty.
fn doubtful(start: Start, dirty: Option<&[u64]>, distrusted: bool) -> (Vec<u64>, Vec<u64>) {
    let all: Vec<u64> = (0..COUNT).collect();
    let in_log = || dirty.map_or_else(|| all.clone(), <[u64]>::to_vec);
    match start {
        _ if distrusted => (all.clone(), all),
        Start::InSyncTo { bytes, .. } => {
            let from: Vec<u64> = (0..COUNT).filter(|at| at * REGION_BYTES >= bytes).collect();
            (from.clone(), from)
        }
        Start::AllOutOfSync { .. } => (all.clone(), all),
        Start::DirtyRegionsOutOfSync { .. } => (in_log(), in_log()),
        Start::Trusted { forced: true, log_failed: true } => (all.clone(), all),
        Start::Trusted { forced: true, log_failed: false } => (in_log(), in_log()),
        Start::Trusted { forced: false, log_failed: true } => (vec![], all),
        // Nobody has a log to say, and what was stopped in sync has nothing dirty.
        Start::Trusted { forced: false, log_failed: false } => {
            (vec![], dirty.map_or_else(Vec::new, <[u64]>::to_vec))
        }
    }
}

#[test]
fn every_start_has_its_footing() {
    let seats = [
        (Seat::Taken { candidate: 1, state: SeatState::InSync }, MemberState::InSync),
        (
            Seat::Taken {
                candidate: 1,
                state: SeatState::Rebuilding {
                    recovered_to_bytes: 2 * REGION_BYTES,
                    partial: true,
                },
            },
            MemberState::Rebuilding,
        ),
        (
            Seat::Taken {
                candidate: 1,
                state: SeatState::Rebuilding { recovered_to_bytes: 0, partial: false },
            },
            MemberState::Rebuilding,
        ),
        (Seat::Empty { vacancy: Vacancy::Missing { since: 3 } }, MemberState::Missing),
        (Seat::Empty { vacancy: Vacancy::NotFound }, MemberState::Faulty),
    ];
    for (seat, state) in seats {
        for start in starts() {
            for dirty in [None, Some(&[][..]), Some(&[1, 5][..])] {
                for (resync, fresh) in [(false, false), (true, false), (false, true), (true, true)]
                {
                    if dirty.is_none() && matches!(start, Start::DirtyRegionsOutOfSync { .. }) {
                        continue;
                    }
                    let assembly = with_slot_1(seat, fresh);
                    let log = LogAtHand { found: dirty.map(found), area: dirty.map(|_| area()) };
                    let begun = footing(&assembly, start, log, regions(), resync);
                    let shown = format!("{seat:?} {start:?} {dirty:?} resync {resync}");
                    let distrusted = resync && state == MemberState::InSync;
                    let (out, marked) = doubtful(start, dirty, distrusted);
                    let which = |is: &dyn Fn(u64) -> bool| (0..COUNT).filter(|&r| is(r)).collect();
                    let found: Vec<u64> = which(&|region| !begun.log.in_sync(region));
                    assert_eq!(found, out, "{shown}: out of sync");
                    let found: Vec<u64> = which(&|region| !begun.log.is_clean(region));
                    assert_eq!(found, marked, "{shown}: dirty");
                    assert_eq!(begun.log.area().is_some(), dirty.is_some(), "{shown}");
                    assert_eq!(begun.map.state(Slot(1)), state, "{shown}");
                    let forced = matches!(start, Start::Trusted { forced: true, .. });
                    let vouched = match forced {
                        true => assembly.missing(),
                        false if fresh && !distrusted => SlotSet::first_n(5),
                        false => SlotSet::empty(),
                    };
                    assert_eq!(begun.vouched, vouched, "{shown}");
                    let stale: Vec<u64> = which(&|region| begun.stale.get(region));
                    let should: Vec<u64> = match seat {
                        Seat::Taken {
                            state: SeatState::Rebuilding { recovered_to_bytes, partial },
                            ..
                        } => (recovered_to_bytes / REGION_BYTES..COUNT)
                            .filter(|region| !partial || marked.contains(region))
                            .collect(),
                        _ => vec![],
                    };
                    assert_eq!(stale, should, "{shown}: stale");
                }
            }
        }
    }
}

/// Goal: a log in memory of an array that was stopped in sync begins in sync. Method: no log at all.
#[test]
fn a_log_in_memory_begins_as_the_start_says() {
    let whole = with_slot_1(Seat::Taken { candidate: 1, state: SeatState::InSync }, false);
    let start = Start::Trusted { forced: false, log_failed: false };
    let begun = footing(&whole, start, LogAtHand::default(), regions(), false);
    assert_eq!((begun.log.sync_count(), begun.log.dirty_count()), (COUNT, 0));
    let forced = Start::Trusted { forced: true, log_failed: false };
    let begun = footing(&whole, forced, LogAtHand::default(), regions(), false);
    assert_eq!((begun.log.sync_count(), begun.log.dirty_count()), (0, COUNT));
}
