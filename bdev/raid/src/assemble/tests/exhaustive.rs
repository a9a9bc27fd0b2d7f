//! Every small array: each member recorded in every state, away or there with every event count,
//! under every patience.
//!
//! Goal: `assemble` decides as the table in its docs. Method: a spare carries the freshest
//! superblock, so that every combination of members is possible; the oracle counts, slot by slot
//! and without looking at a superblock, who is in, who is awaited and who has a history of its own.

use super::*;

const TOP: u64 = 5;
const DECLARED_AT: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recorded {
    InSync,
    Rebuilding,
    Faulty,
    Missing,
}

/// A slot: what the freshest says of it, and the event count of who is there.
#[derive(Debug, Clone, Copy)]
struct Case {
    recorded: Recorded,
    there: Option<u64>,
}

const RECORDED: [Recorded; 4] =
    [Recorded::InSync, Recorded::Rebuilding, Recorded::Faulty, Recorded::Missing];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for recorded in RECORDED {
        // Who is out of use does not carry the update that says so.
        let out = matches!(recorded, Recorded::Faulty | Recorded::Missing);
        let most = if out { DECLARED_AT } else { TOP };
        cases.push(Case { recorded, there: None });
        cases.extend((2..=most).map(|events| Case { recorded, there: Some(events) }));
    }
    cases
}

fn world(level: Level, slots: &[Case]) -> Vec<Candidate> {
    let whole = array(level, slots.len() as u8, TOP);
    let mut freshest = whole.clone();
    for (member, case) in freshest.members.iter_mut().zip(slots) {
        member.state = match case.recorded {
            Recorded::InSync => InSync,
            Recorded::Rebuilding => {
                MemberRecordState::Rebuilding { recovered_to_bytes: 0, partial: true }
            }
            Recorded::Faulty => Faulty { failed_at: DECLARED_AT },
            Recorded::Missing => Missing { since: DECLARED_AT },
        };
    }
    let mut candidates = vec![spare(0, &freshest)];
    for (slot, case) in (0..).zip(slots) {
        let Some(events) = case.there else { continue };
        let mut carried = Superblock { events, ..freshest.clone() };
        if matches!(case.recorded, Recorded::Faulty | Recorded::Missing) {
            // By its own account it is in use, as the others were then.
            carried = Superblock { events, ..whole.clone() };
        } else if events < DECLARED_AT {
            carried = Superblock { events, ..whole.clone() };
        }
        candidates.push(on(slot, &carried));
    }
    candidates
}

/// What is right, by slot number: in sync, being rebuilt, awaited, with a history of its own.
#[derive(Debug, Default)]
struct Oracle {
    in_sync: Vec<u8>,
    rebuilding: Vec<u8>,
    awaited: Vec<u8>,
    split: Vec<u8>,
    out: Vec<u8>,
}

fn oracle(slots: &[Case]) -> Oracle {
    let mut right = Oracle::default();
    for (slot, case) in (0..).zip(slots) {
        match (case.recorded, case.there) {
            (Recorded::InSync, Some(4 | 5)) => right.in_sync.push(slot),
            (Recorded::Rebuilding, Some(4 | 5)) => right.rebuilding.push(slot),
            (Recorded::InSync | Recorded::Rebuilding, there) => {
                right.awaited.push(slot);
                right.out.extend(there.map(|_| slot));
            }
            (Recorded::Faulty | Recorded::Missing, Some(4)) => {
                right.split.push(slot);
                right.out.push(slot);
            }
            (Recorded::Faulty | Recorded::Missing, there) => {
                right.out.extend(there.map(|_| slot));
            }
        }
    }
    right
}

fn check_ready(assembly: &Assembly, candidates: &[Candidate], right: &Oracle) {
    let mut seats = Vec::new();
    for (slot, seat) in (0_u8..).zip(&assembly.seats) {
        let Seat::Taken { candidate, state } = seat else { continue };
        assert_eq!(candidates[*candidate].name, format!("m{slot}"));
        seats.push((slot, *state == SeatState::InSync));
    }
    let mut taken: Vec<_> = right.in_sync.iter().map(|slot| (*slot, true)).collect();
    taken.extend(right.rebuilding.iter().map(|slot| (*slot, false)));
    taken.sort_unstable();
    assert_eq!(seats, taken);
    let out: Vec<_> = right.out.iter().map(|slot| format!("m{slot}")).collect();
    let left_out: Vec<_> = assembly.left_out.iter().map(|out| out.name.clone()).collect();
    assert_eq!(left_out, out);
    assert_eq!(assembly.spares, [0]);
    assert!(assembly.superblock.is_same_update(&candidates[0].found));
}

fn check(level: Level, slots: &[Case]) {
    let candidates = world(level, slots);
    let right = oracle(slots);
    let needed = slots.len() - level.parity_count();
    for patience in [Wait, Degraded, Force] {
        let found = verdict(&candidates, patience);
        if !right.split.is_empty() && patience != Force {
            assert!(matches!(found, Err(Refusal::Split { .. })), "{slots:?}: {found:?}");
        } else if patience == Wait && !right.awaited.is_empty() {
            assert_eq!(found, incomplete(&right.awaited), "{slots:?}");
        } else if right.in_sync.len() < needed {
            let Err(Refusal::TooFewMembers { present, needed: told, missing, .. }) = found else {
                panic!("{slots:?}: {found:?}");
            };
            assert_eq!((present, told), (right.in_sync.len(), needed), "{slots:?}");
            assert_eq!(missing, SlotSet::first_n(slots.len()).difference(set(&right.in_sync)));
        } else {
            let Ok(Verdict::Ready(assembly)) = found else { panic!("{slots:?}: {found:?}") };
            check_ready(&assembly, &candidates, &right);
        }
    }
}

#[test]
fn every_raid5_of_three() {
    let cases = cases();
    for a in &cases {
        for b in &cases {
            for c in &cases {
                check(Level::Raid5, &[*a, *b, *c]);
            }
        }
    }
}

/// Both event counts that are stale, and both that are honest, are alike: one of each is enough.
#[test]
fn every_raid6_of_four() {
    let cases: Vec<_> = cases().into_iter().filter(|case| case.there != Some(2)).collect();
    for a in &cases {
        for b in &cases {
            for c in &cases {
                for d in &cases {
                    check(Level::Raid6, &[*a, *b, *c, *d]);
                }
            }
        }
    }
}
