//! The start: every combination of what decides, against an oracle; and the words of its refusals.
//!
//! The oracle states R7 and the rules of the log one by one, and learns from `geometry` which
//! members hold nothing but parity.

use super::*;
use crate::geometry::Geometry;
use crate::superblock::{IN_SYNC_EVERYWHERE, OnLogFailure, Shutdown};
use crate::units::{Role, StripeId};

const REGIONS: u64 = 256;

/// An assembly in which some slots are empty and the others in sync.
fn assembly(superblock: Superblock, missing: SlotSet) -> Assembly {
    let seat = |slot: usize| match missing.contains(Slot(slot as u8)) {
        true => Seat::Empty { vacancy: Vacancy::NotFound },
        false => Seat::Taken { candidate: slot, state: SeatState::InSync },
    };
    let seats = (0..superblock.members.len()).map(seat).collect();
    Assembly { superblock, seats, left_out: vec![], spares: vec![] }
}

/// The same with the missing ones being rebuilt, which makes no difference.
fn rebuilding(mut assembly: Assembly) -> Assembly {
    for (candidate, seat) in assembly.seats.iter_mut().enumerate() {
        if let Seat::Empty { .. } = seat {
            let state = SeatState::Rebuilding { recovered_to_bytes: 1 << 20, partial: true };
            *seat = Seat::Taken { candidate, state };
        }
    }
    assembly
}

/// Slots that hold parity in every stripe.
fn only_parity(superblock: &Superblock) -> SlotSet {
    let geometry = Geometry::new(superblock.geometry_spec()).unwrap();
    let mut slots = SlotSet::first_n(geometry.members());
    for stripe in 0..geometry.stripes().min(100) {
        let rotation = geometry.rotation(StripeId(stripe));
        for (slot, role) in (0..).zip(geometry.roles(rotation)) {
            if let Role::Data(_) = role {
                slots.remove(Slot(slot));
            }
        }
    }
    slots
}

#[derive(Debug, PartialEq, Eq)]
enum Right {
    Start(Start),
    Mismatch,
    LogGone,
    DirtyDegraded,
}

fn oracle(superblock: &Superblock, missing: SlotSet, found: LogFound, force: bool) -> Right {
    let has_record = superblock.log.is_some();
    let health = superblock.log.as_ref().map(|log| log.health);
    let clean = superblock.shutdown == Shutdown::Clean;
    if let (true, LogFound::Loaded { regions, .. }) = (has_record, found)
        && regions != REGIONS
    {
        return Right::Mismatch;
    }
    let was_read = matches!(found, LogFound::Loaded { .. });
    // What was written off, or never there, may be begun where there is a device for it.
    let is_begun = found == LogFound::Blank && health == Some(LogHealth::Failed);
    let blocks = superblock.on_log_failure == OnLogFailure::Block;
    if has_record && !was_read && !is_begun && blocks && !force {
        return Right::LogGone;
    }
    let dirty = match found {
        LogFound::Loaded { dirty, .. } if health == Some(LogHealth::Alive) => Some(dirty),
        _ => None,
    };
    let log_failed = has_record && dirty.is_none();
    let ended_in_sync = clean && superblock.in_sync_to_bytes == IN_SYNC_EVERYWHERE;
    if ended_in_sync && !missing.is_empty() {
        return Right::Start(Start::Trusted { forced: false, log_failed });
    }
    let has_data = missing.difference(only_parity(superblock)).is_empty();
    if !has_data && dirty == Some(0) {
        return Right::Start(Start::Trusted { forced: false, log_failed });
    }
    if has_data || superblock.fresh && clean {
        return Right::Start(match dirty {
            Some(dirty) => Start::DirtyRegionsOutOfSync { dirty },
            None if clean && (!has_record || missing.is_empty()) => {
                Start::InSyncTo { bytes: superblock.in_sync_to_bytes, log_failed }
            }
            None => Start::AllOutOfSync { log_failed },
        });
    }
    match force {
        true => Right::Start(Start::Trusted { forced: true, log_failed }),
        false => Right::DirtyDegraded,
    }
}

fn right(found: &Result<Start, StartRefusal>) -> Right {
    match found {
        Ok(start) => Right::Start(*start),
        Err(StartRefusal::LogMismatch { .. }) => Right::Mismatch,
        Err(StartRefusal::LogGone { .. }) => Right::LogGone,
        Err(StartRefusal::DirtyDegraded { .. }) => Right::DirtyDegraded,
    }
}

/// Every combination of shutdown, sync, log and policy of an array.
fn every_state(base: &Superblock, mut check: impl FnMut(Superblock)) {
    let logs = [None, Some(log(LogHealth::Alive)), Some(log(LogHealth::Failed))];
    for shutdown in [Shutdown::Running, Shutdown::Clean] {
        for in_sync_to_bytes in [0, 1 << 20, IN_SYNC_EVERYWHERE] {
            for log in &logs {
                for on_log_failure in [OnLogFailure::Continue, OnLogFailure::Block] {
                    for fresh in [false, true] {
                        check(Superblock {
                            shutdown,
                            in_sync_to_bytes,
                            log: log.clone(),
                            on_log_failure,
                            fresh,
                            ..base.clone()
                        });
                    }
                }
            }
        }
    }
}

fn every_missing(base: &Superblock) -> Vec<SlotSet> {
    let count = base.members.len() as u8;
    let mut sets = vec![SlotSet::empty()];
    for a in 0..count {
        sets.extend((a..count).map(|b| set(&[a, b])));
    }
    sets.retain(|set| set.len() <= base.shape.level.parity_count());
    sets
}

const LOGS: [LogFound; 8] = [
    LogFound::Memory,
    LogFound::Loaded { dirty: 0, regions: REGIONS },
    LogFound::Loaded { dirty: 3, regions: REGIONS },
    LogFound::Loaded { dirty: 0, regions: REGIONS + 1 },
    LogFound::Loaded { dirty: 3, regions: REGIONS - 1 },
    LogFound::Blank,
    LogFound::Unreadable,
    LogFound::Missing,
];

fn check_array(base: &Superblock) {
    let missing_sets = every_missing(base);
    every_state(base, |superblock| {
        for &missing in &missing_sets {
            let assembly = assembly(superblock.clone(), missing);
            let with_rebuilds = rebuilding(assembly.clone());
            for found in LOGS {
                for force in [false, true] {
                    let result = start(&assembly, found, force);
                    let expected = oracle(&superblock, missing, found, force);
                    assert_eq!(right(&result), expected, "{assembly:?} {found:?} {force}");
                    assert_eq!(start(&with_rebuilds, found, force), result);
                }
            }
        }
    });
}

#[test]
fn every_layout_starts_as_it_may() {
    for (level, members) in [(Level::Raid4, 3), (Level::Raid5, 3), (Level::Raid6, 4)] {
        let parity_at = (0..members).map(Layout::ParityAt);
        let layouts = Layout::of_level(level).iter().copied().chain(parity_at);
        for layout in layouts.filter(|layout| layout.is_of_level(level)) {
            let base = sample(level, layout, members);
            assert_eq!(base.regions(), REGIONS);
            check_array(&base);
        }
    }
}

#[test]
fn the_widest_arrays_know_their_parity_members() {
    for (level, layout, missing, data_is_there) in [
        (Level::Raid6, Layout::N6, [253, 254], true),
        (Level::Raid6, Layout::N6, [252, 254], false),
        (Level::Raid6, Layout::ParityFirst6, [0, 254], true),
        (Level::Raid6, Layout::LeftSymmetric6, [254, 254], true),
        (Level::Raid4, Layout::ParityAt(200), [200, 200], true),
        (Level::Raid4, Layout::ParityAt(200), [199, 199], false),
    ] {
        let result =
            start(&assembly(sample(level, layout, 255), set(&missing)), LogFound::Memory, false);
        let all = Start::AllOutOfSync { log_failed: false };
        assert_eq!(result.ok(), data_is_there.then_some(all), "{layout} without {missing:?}");
    }
}

#[test]
fn a_log_of_another_array_is_never_used() {
    let mine = array(Level::Raid5, 3, 4);
    let found = LogFound::Loaded { dirty: 0, regions: 255 };
    for force in [false, true] {
        let refusal = start(&assembly(mine.clone(), set(&[])), found, force).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "array a: log l has 255 regions, but must have 256, of 4194304 bytes: use the log that \
             belongs to the array"
        );
    }
}

#[test]
fn a_log_that_must_be_there_is_missed() {
    let mine = Superblock { on_log_failure: OnLogFailure::Block, ..array(Level::Raid5, 3, 4) };
    for (found, state) in [
        (LogFound::Memory, "is missing"),
        (LogFound::Missing, "is missing"),
        (LogFound::Blank, "cannot be read"),
        (LogFound::Unreadable, "cannot be read"),
    ] {
        let whole = assembly(mine.clone(), set(&[]));
        assert_eq!(
            start(&whole, found, false).unwrap_err().to_string(),
            format!(
                "array a: log l (bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb) {state}, and the array \
                 blocks writes when its log fails: bring the log back, or force to resync everything"
            )
        );
        let running = Superblock { shutdown: Shutdown::Running, ..mine.clone() };
        let all = Ok(Start::AllOutOfSync { log_failed: true });
        assert_eq!(start(&assembly(running, set(&[])), found, true), all);
        let bytes = IN_SYNC_EVERYWHERE;
        let stopped =
            Superblock { shutdown: Shutdown::Clean, in_sync_to_bytes: bytes, ..mine.clone() };
        let none = Ok(Start::InSyncTo { bytes, log_failed: true });
        assert_eq!(start(&assembly(stopped, set(&[])), found, true), none);
    }
}

#[test]
fn dirty_and_degraded_is_refused_unless_forced() {
    let mine = array(Level::Raid6, 4, 4);
    let two = assembly(mine.clone(), set(&[1, 3]));
    let found = LogFound::Loaded { dirty: 7, regions: REGIONS };
    assert_eq!(
        start(&two, found, false).unwrap_err().to_string(),
        "array a is dirty and degraded: 7 of 256 regions may have wrong parity, and slots 1, 3 would \
         be computed from it: bring the missing members back, or force to trust the parity"
    );
    assert_eq!(start(&two, found, true), Ok(Start::Trusted { forced: true, log_failed: false }));
    let one = assembly(Superblock { log: None, ..mine }, set(&[2]));
    assert_eq!(
        start(&one, LogFound::Memory, false).unwrap_err().to_string(),
        "array a is dirty and degraded: all of 256 regions may have wrong parity, and slot 2 would be \
         computed from it: bring the missing members back, or force to trust the parity"
    );
}
