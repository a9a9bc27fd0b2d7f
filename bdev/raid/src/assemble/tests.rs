//! Assembly: what happens to arrays (`scenarios`), every small case against an oracle
//! (`exhaustive`), any order of the candidates (`order`), the start (`start`, `footing`), and here the words
//! of every refusal.

mod exhaustive;
mod footing;
mod order;
mod scenarios;
mod start;

use super::*;
use crate::layout::{Layout, Level};
use crate::superblock::tests::{log, member_uuid, sample};
use crate::superblock::{LogHealth, MemberRecordState};
use MemberRecordState::{Faulty, InSync, Missing};
use Patience::{Degraded, Force, Wait};

const SIZE_BYTES: u64 = 2 << 30;

/// An array of event `events` whose members are in sync, with a log on a device.
fn array(level: Level, members: u8, events: u64) -> Superblock {
    let log = Some(log(LogHealth::Alive));
    Superblock { events, log, ..sample(level, Layout::default_for(level), members) }
}

/// The next update, with some states changed.
fn update(before: &Superblock, states: &[(usize, MemberRecordState)]) -> Superblock {
    let mut next = Superblock { events: before.events + 1, ..before.clone() };
    for (slot, state) in states {
        next.members[*slot].state = *state;
    }
    next
}

/// The member of a slot, carrying an update.
fn on(slot: u8, superblock: &Superblock) -> Candidate {
    let found = superblock.carried_by(member_uuid(slot), Some(Slot(slot)));
    Candidate { name: format!("m{slot}"), size_bytes: SIZE_BYTES, found }
}

/// A spare, carrying an update.
fn spare(index: u8, superblock: &Superblock) -> Candidate {
    let found = superblock.carried_by(member_uuid(100 + index), None);
    Candidate { name: format!("s{index}"), size_bytes: SIZE_BYTES, found }
}

fn verdict(candidates: &[Candidate], patience: Patience) -> Result<Verdict, Refusal> {
    assemble(sample(Level::Raid5, Layout::LeftSymmetric, 3).array_uuid, candidates, patience)
}

fn ready(candidates: &[Candidate], patience: Patience) -> Assembly {
    match verdict(candidates, patience) {
        Ok(Verdict::Ready(assembly)) => *assembly,
        other => panic!("not ready: {other:?}"),
    }
}

fn refusal(candidates: &[Candidate], patience: Patience) -> String {
    verdict(candidates, patience).unwrap_err().to_string()
}

fn incomplete(slots: &[u8]) -> Result<Verdict, Refusal> {
    Ok(Verdict::Incomplete { missing: set(slots) })
}

fn set(slots: &[u8]) -> SlotSet {
    slots.iter().copied().map(Slot).collect()
}

/// Who is left out, in words.
fn left_out(assembly: &Assembly) -> Vec<String> {
    assembly.left_out.iter().map(ToString::to_string).collect()
}

#[test]
fn arrays_are_told_apart() {
    let mine = array(Level::Raid5, 3, 4);
    let other = Superblock { array_uuid: Uuid::from_u128(5), ..mine.clone() };
    let candidates = [on(0, &mine), on(0, &other), on(2, &mine), on(1, &other), on(1, &mine)];
    let right = [(Uuid::from_u128(5), vec![1, 3]), (mine.array_uuid, vec![0, 2, 4])];
    assert_eq!(group(&candidates), BTreeMap::from(right));
    let assembly = ready(&candidates, Wait);
    let taken = |candidate| Seat::Taken { candidate, state: SeatState::InSync };
    assert_eq!(assembly.seats, [taken(0), taken(4), taken(2)]);
    assert!(!assembly.is_degraded() && assembly.left_out.is_empty());
    assert_eq!(
        assemble(Uuid::from_u128(6), &candidates, Force).unwrap_err().to_string(),
        "no bdev carries a superblock of array 00000000-0000-0000-0000-000000000006"
    );
}

#[test]
fn two_of_the_same_member_are_refused_even_by_force() {
    let mine = array(Level::Raid5, 3, 4);
    let older = Superblock { events: 2, ..mine.clone() };
    let mut copy = on(1, &older);
    copy.name = "copy".to_owned();
    let candidates = [on(0, &mine), on(1, &mine), on(2, &mine), copy];
    for patience in [Wait, Degraded, Force] {
        assert_eq!(
            refusal(&candidates, patience),
            "array a: bdevs copy, m1 all are member 40404040-4040-4040-4040-404040404001, as copies \
             of one device or paths to it: leave one and hide the others"
        );
    }
    let mut path = spare(0, &mine);
    path.name = "path".to_owned();
    assert_eq!(
        refusal(&[spare(0, &mine), path], Degraded),
        "array a: bdevs path, s0 all are member 40404040-4040-4040-4040-404040404064, as copies of \
         one device or paths to it: leave one and hide the others"
    );
}

#[test]
fn a_member_that_has_shrunk_is_refused() {
    let mine = array(Level::Raid5, 3, 4);
    let needed = (1 << 20) + (1 << 30);
    let mut candidates = [on(0, &mine), on(1, &mine), on(2, &mine)];
    candidates[1].size_bytes = needed;
    assert!(!ready(&candidates, Wait).is_degraded());
    candidates[1].size_bytes = needed - 1;
    for patience in [Wait, Degraded, Force] {
        assert_eq!(
            refusal(&candidates, patience),
            "array a: bdev m1 of 1074790399 bytes is too small for slot 1, which needs 1074790400"
        );
    }
    let mut gone = update(&mine, &[(1, Faulty { failed_at: 5 })]);
    gone.log = None;
    let candidates = [on(0, &gone), candidates[1].clone(), on(2, &gone)];
    assert!(ready(&candidates, Wait).is_degraded(), "who takes no part may have any size");
}

#[test]
fn too_few_members_are_refused() {
    let mine = array(Level::Raid6, 5, 4);
    let candidates = [on(0, &mine), on(3, &mine)];
    assert_eq!(verdict(&candidates, Wait), incomplete(&[1, 2, 4]));
    for patience in [Degraded, Force] {
        assert_eq!(
            refusal(&candidates, patience),
            "array a: 2 members are in sync, but 3 are needed; missing or not rebuilt: slots 1, 2, 4"
        );
    }
    let rebuilding = MemberRecordState::Rebuilding { recovered_to_bytes: 0, partial: false };
    let three = update(&mine, &[(0, rebuilding), (1, rebuilding), (4, Missing { since: 2 })]);
    let candidates = [0, 1, 2, 3].map(|slot| on(slot, &three));
    assert_eq!(
        refusal(&candidates, Wait),
        "array a: 2 members are in sync, but 3 are needed; missing or not rebuilt: slots 0, 1, 4",
        "nobody is awaited who would help"
    );
    let one = array(Level::Raid5, 3, 4);
    let one = update(&one, &[(2, Faulty { failed_at: 4 }), (1, Faulty { failed_at: 5 })]);
    assert_eq!(
        refusal(&[on(0, &one)], Force),
        "array a: 1 members are in sync, but 2 are needed; missing or not rebuilt: slots 1, 2"
    );
}

#[test]
fn another_geometry_is_left_out() {
    let mine = array(Level::Raid5, 3, 4);
    let mut other = Superblock { events: 3, ..mine.clone() };
    other.shape.strip_bytes = 128 << 10;
    let assembly = ready(&[on(0, &mine), on(1, &other), on(2, &mine)], Degraded);
    assert_eq!(assembly.missing(), set(&[1]));
    assert_eq!(
        left_out(&assembly),
        ["bdev m1 has another geometry: raid5 left-symmetric, 3 members of 1073741824 bytes from \
          1048576 on, strips of 131072, blocks of 4096. Right is: raid5 left-symmetric, 3 members of \
          1073741824 bytes from 1048576 on, strips of 65536, blocks of 4096"]
    );
    let mut other = Superblock { events: 3, ..mine.clone() };
    other.members[1].data_offset_bytes = 2 << 20;
    let assembly = ready(&[on(0, &mine), on(1, &other), on(2, &mine)], Degraded);
    assert_eq!(assembly.seats[1], Seat::Empty { vacancy: Vacancy::LeftOut { candidate: 1 } });
}

#[test]
fn a_member_in_another_slot_is_left_out() {
    let mine = array(Level::Raid6, 4, 4);
    let mut swapped = Superblock { events: 3, ..mine.clone() };
    swapped.members.swap(1, 2);
    let found = swapped.carried_by(member_uuid(1), Some(Slot(2)));
    let stray = Candidate { found, ..on(1, &mine) };
    let assembly = ready(&[on(0, &mine), stray, on(2, &mine), on(3, &mine)], Degraded);
    assert_eq!(assembly.missing(), set(&[1]));
    assert_eq!(
        left_out(&assembly),
        ["bdev m1 is in slot 2 by its own account, but in 1 by the array's"]
    );
}
