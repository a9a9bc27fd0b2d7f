//! What happens to arrays: crashes, members that come back, halves that ran alone, replacements,
//! spares.

use super::*;
use crate::superblock::Shutdown;

/// What a member needs to come back, if it is left out because it has failed.
fn rebuild_of(assembly: &Assembly, name: &str) -> Option<Rebuild> {
    assembly.left_out.iter().find(|out| out.name == name).and_then(|out| match out.reason {
        Reason::Failed { rebuild, .. } | Reason::Removed { rebuild, .. } => Some(rebuild),
        _ => None,
    })
}

/// Every set of members that an update may have reached when the array crashed.
fn crash(before: &Superblock, after: &Superblock, written_to: &[u8], check: impl Fn(&[Candidate])) {
    for reached in 0..1_u32 << written_to.len() {
        let members = 0..before.members.len() as u8;
        let candidates: Vec<_> = members
            .map(|slot| {
                let place = written_to.iter().position(|written| *written == slot);
                match place.is_some_and(|place| reached >> place & 1 == 1) {
                    true => on(slot, after),
                    false => on(slot, before),
                }
            })
            .collect();
        check(&candidates);
    }
}

#[test]
fn a_crash_in_the_middle_of_an_update_loses_nobody() {
    for (level, members) in [(Level::Raid5, 3), (Level::Raid6, 4)] {
        let before = array(level, members, 7);
        let after = Superblock { shutdown: Shutdown::Clean, ..update(&before, &[]) };
        let all: Vec<u8> = (0..members).collect();
        crash(&before, &after, &all, |candidates| {
            let assembly = ready(candidates, Wait);
            assert!(!assembly.is_degraded() && assembly.left_out.is_empty());
            let reached = candidates.iter().any(|c| c.found.events == 8);
            let shutdown = if reached { Shutdown::Clean } else { Shutdown::Running };
            assert_eq!(assembly.superblock.shutdown, shutdown);
        });
    }
}

#[test]
fn a_crash_while_a_failure_is_recorded_trusts_whoever_knows_more() {
    let before = array(Level::Raid6, 4, 7);
    let after = update(&before, &[(2, Faulty { failed_at: 8 })]);
    crash(&before, &after, &[0, 1, 3], |candidates| {
        let assembly = ready(candidates, Wait);
        if candidates.iter().all(|c| c.found.events == 7) {
            assert!(!assembly.is_degraded(), "nothing was acknowledged without slot 2");
        } else {
            assert_eq!(
                assembly.seats[2],
                Seat::Empty { vacancy: Vacancy::Faulty { failed_at: 8 } }
            );
            assert_eq!(
                left_out(&assembly),
                [
                    "bdev m2 of slot 2 was declared faulty at event 8 and is at 7: to come back, what \
                  is dirty in the log has to be rebuilt"
                ]
            );
        }
    });
}

/// The update that brings a member in is written to it first, so it is either known to nobody or
/// there.
#[test]
fn a_crash_while_a_member_is_brought_in() {
    let failed = update(&array(Level::Raid5, 3, 6), &[(1, Faulty { failed_at: 7 })]);
    let state = MemberRecordState::Rebuilding { recovered_to_bytes: 0, partial: true };
    let after = update(&failed, &[(1, state)]);
    for reached in 0..=3 {
        let carries = |place: usize| if reached > place { &after } else { &failed };
        let member = if reached > 0 { on(1, &after) } else { on(1, &array(Level::Raid5, 3, 6)) };
        let candidates = [on(0, carries(1)), member, on(2, carries(2))];
        let assembly = ready(&candidates, Wait);
        assert_eq!(assembly.missing(), set(&[1]), "{reached} reached");
        let state = SeatState::Rebuilding { recovered_to_bytes: 0, partial: true };
        let right = match reached {
            0 => Seat::Empty { vacancy: Vacancy::Faulty { failed_at: 7 } },
            _ => Seat::Taken { candidate: 1, state },
        };
        assert_eq!(assembly.seats[1], right, "{reached} reached");
    }
}

#[test]
fn a_stale_member_stays_out() {
    let old = array(Level::Raid5, 3, 3);
    let new = array(Level::Raid5, 3, 9);
    let candidates = [on(0, &new), on(1, &old), on(2, &new)];
    assert_eq!(verdict(&candidates, Wait), incomplete(&[1]));
    for patience in [Degraded, Force] {
        let assembly = ready(&candidates, patience);
        assert_eq!(assembly.superblock, candidates[0].found);
        assert_eq!(assembly.seats[1], Seat::Empty { vacancy: Vacancy::LeftOut { candidate: 1 } });
        assert_eq!(
            left_out(&assembly),
            ["bdev m1 of slot 1 is stale, at event 3 of 9: all of it has to be rebuilt"]
        );
    }
    let newest_alone = [on(0, &old), on(1, &new), on(2, &old)];
    assert_eq!(
        refusal(&newest_alone, Force),
        "array a: 1 members are in sync, but 2 are needed; missing or not rebuilt: slots 0, 2",
        "more of them are stale, and stale they are"
    );
}

#[test]
fn a_member_comes_back_by_its_dirty_regions_only_if_that_is_enough() {
    let whole = array(Level::Raid6, 4, 6);
    let failed = update(&whole, &[(2, Faulty { failed_at: 7 })]);
    let later = update(&update(&failed, &[]), &[]);
    let others = |superblock: &Superblock| [0, 1, 3].map(|slot| on(slot, superblock));
    let needs = |freshest: &Superblock, member: &Superblock| {
        let mut candidates = others(freshest).to_vec();
        candidates.push(on(2, member));
        let assembly = ready(&candidates, Wait);
        assert_eq!(assembly.missing(), set(&[2]));
        rebuild_of(&assembly, "m2").unwrap()
    };
    for events in 1..=6 {
        let member = Superblock { events, ..whole.clone() };
        // The update before is the one that may have failed on it.
        let right = if events >= 5 { Rebuild::DirtyRegions } else { Rebuild::All };
        assert_eq!([needs(&failed, &member), needs(&later, &member)], [right; 2], "{events}");
    }
    for (partial, right) in [(true, Rebuild::DirtyRegions), (false, Rebuild::All)] {
        let state = MemberRecordState::Rebuilding { recovered_to_bytes: 4096, partial };
        let mut member = whole.clone();
        member.members[2].state = state;
        assert_eq!(needs(&later, &member), right, "it left before its own rebuild was over");
    }
    for log in [None, Some(log(LogHealth::Failed))] {
        let without = Superblock { log, ..later.clone() };
        assert_eq!(needs(&without, &whole), Rebuild::All, "no log has kept what it missed");
    }
    let knows = Superblock { events: 8, ..failed.clone() };
    assert_eq!(needs(&later, &knows), Rebuild::All, "it was told, against the rules: no history");
}

#[test]
fn a_member_that_was_removed_may_come_back() {
    let whole = array(Level::Raid5, 3, 6);
    let removed = update(&whole, &[(0, Missing { since: 7 })]);
    let assembly = ready(&[on(0, &whole), on(1, &removed), on(2, &removed)], Wait);
    assert_eq!(assembly.seats[0], Seat::Empty { vacancy: Vacancy::Missing { since: 7 } });
    assert_eq!(
        left_out(&assembly),
        [
            "bdev m0 of slot 0 was removed at event 7 and is at 6: to come back, what is dirty in the \
          log has to be rebuilt"
        ]
    );
    let without = Superblock { log: None, ..removed };
    let assembly = ready(&[on(0, &whole), on(1, &without), on(2, &without)], Wait);
    assert_eq!(
        left_out(&assembly),
        [
            "bdev m0 of slot 0 was removed at event 7 and is at 6: to come back, all of it has to be \
          rebuilt"
        ]
    );
}

/// Goal: a member that left in the middle of an update is only trusted to hold what it held then if it has not run
/// without the others since. Method: update 11 fails on two members, which run alone from update 10 on, and are
/// killed before their second update; against the same two when update 11 had reached them.
#[test]
fn one_update_of_a_history_of_its_own_is_enough_for_a_whole_rebuild() {
    let whole = array(Level::Raid6, 4, 10);
    let eleven = update(&whole, &[]);
    let twelve = update(&eleven, &[(2, Faulty { failed_at: 12 }), (3, Faulty { failed_at: 12 })]);
    let alone = update(&whole, &[(0, Missing { since: 11 }), (1, Missing { since: 11 })]);
    for freshest in [&twelve, &update(&update(&twelve, &[]), &[])] {
        for (left, right) in [(&eleven, Rebuild::DirtyRegions), (&alone, Rebuild::All)] {
            let candidates = [on(0, freshest), on(1, freshest), on(2, left), on(3, left)];
            let assembly = ready(&candidates, Wait);
            assert_eq!(assembly.missing(), set(&[2, 3]));
            for name in ["m2", "m3"] {
                assert_eq!(rebuild_of(&assembly, name), Some(right), "{name} at {left:?}");
            }
        }
    }
}

/// The halves of a raid6 of four that ran alone, for so many updates each.
fn halves(first: u64, second: u64) -> [Candidate; 4] {
    let whole = array(Level::Raid6, 4, 10);
    let run = |lost: [usize; 2], updates| {
        let alone = update(&whole, &lost.map(|slot| (slot, Faulty { failed_at: 11 })));
        Superblock { events: 10 + updates, ..alone }
    };
    let (first, second) = (run([2, 3], first), run([0, 1], second));
    [on(0, &first), on(1, &first), on(2, &second), on(3, &second)]
}

#[test]
fn two_halves_that_ran_alone_are_a_split() {
    for (first, second) in [(3, 1), (3, 2), (3, 3), (1, 1)] {
        let candidates = halves(first, second);
        let (a, b) = (10 + first, 10 + second);
        for patience in [Wait, Degraded] {
            assert_eq!(
                refusal(&candidates, patience),
                format!(
                    "array a has run in parts without each other: m0, m1 at event {a} against m2, \
                     m3 at event {b}. Wipe the superblocks of all sides but one, or force to keep \
                     the first"
                )
            );
        }
        let assembly = ready(&candidates, Force);
        assert_eq!(assembly.missing(), set(&[2, 3]));
        let text = |name| {
            format!(
                "bdev {name} has a history of its own, at event {b}, and the one at event {a} is \
                 kept: all of it has to be rebuilt"
            )
        };
        assert_eq!(left_out(&assembly), [text("m2"), text("m3")]);
        assert_eq!(ready(&candidates[..2], Wait).missing(), set(&[2, 3]), "each half by itself");
        assert_eq!(ready(&candidates[2..], Wait).missing(), set(&[0, 1]));
    }
    let assembly = ready(&halves(1, 2), Force);
    assert_eq!(assembly.missing(), set(&[0, 1]), "the freshest side is kept");
}

#[test]
fn one_member_of_the_other_side_is_enough_for_a_split() {
    let candidates = halves(3, 2);
    assert_eq!(
        refusal(&candidates[..3], Wait),
        "array a has run in parts without each other: m0, m1 at event 13 against m2 at event 12. \
         Wipe the superblocks of all sides but one, or force to keep the first"
    );
    assert_eq!(
        refusal(&candidates[1..], Wait),
        "array a has run in parts without each other: m1 at event 13 against m2, m3 at event 12. \
         Wipe the superblocks of all sides but one, or force to keep the first"
    );
    let tie = halves(1, 1);
    let assembly = ready(&tie[1..], Force);
    assert_eq!(assembly.missing(), set(&[0, 1]), "of equal counts, what more members carry");
}

/// A half that never wrote its own superblock has no history: it only missed something.
#[test]
fn a_half_that_never_ran_is_no_split() {
    let assembly = ready(&halves(2, 0), Wait);
    assert_eq!(assembly.missing(), set(&[2, 3]));
    assert_eq!(rebuild_of(&assembly, "m3"), Some(Rebuild::DirtyRegions));
}

#[test]
fn one_update_has_one_content() {
    let mine = array(Level::Raid6, 4, 9);
    let other = Superblock { array_name: "b".to_owned(), ..mine.clone() };
    let candidates = [on(0, &other), on(1, &mine), on(2, &mine), on(3, &mine)];
    assert_eq!(
        refusal(&candidates, Degraded),
        "array a has run in parts without each other: m1, m2, m3 at event 9 against m0 at event 9. \
         Wipe the superblocks of all sides but one, or force to keep the first"
    );
    assert_eq!(ready(&candidates, Force).missing(), set(&[0]));
    // The update before has one content too.
    let next = update(&mine, &[]);
    let candidates = [on(0, &other), on(1, &mine), on(2, &mine), on(3, &next)];
    assert_eq!(
        refusal(&candidates, Degraded),
        "array a has run in parts without each other: m3 at event 10 against m0 at event 9. Wipe \
         the superblocks of all sides but one, or force to keep the first"
    );
    assert_eq!(ready(&candidates, Force).missing(), set(&[0]));
}

/// As many members on each side: the lowest slot decides, whatever the UUIDs.
#[test]
fn of_equal_sides_the_one_of_the_lowest_slot_comes_first() {
    let mut mine = array(Level::Raid6, 4, 9);
    mine.members[0].member_uuid = member_uuid(60);
    let other = Superblock { array_name: "b".to_owned(), ..mine.clone() };
    let found = mine.carried_by(member_uuid(60), Some(Slot(0)));
    let first = Candidate { found, ..on(0, &mine) };
    assert_eq!(
        refusal(&[on(1, &other), first.clone(), spare(0, &other)], Wait),
        "array a has run in parts without each other: m0 at event 9 against m1, s0 at event 9. Wipe \
         the superblocks of all sides but one, or force to keep the first",
        "a spare does not count"
    );
    let assembly = ready(&[first, on(3, &mine), on(1, &other), on(2, &other)], Force);
    assert_eq!(assembly.missing(), set(&[1, 2]));
}

#[test]
fn a_replaced_member_stays_out() {
    let before = array(Level::Raid5, 3, 9);
    let mut after = update(&before, &[]);
    after.members[1].member_uuid = member_uuid(50);
    let found = after.carried_by(member_uuid(50), Some(Slot(1)));
    let new = Candidate { name: "new".to_owned(), size_bytes: SIZE_BYTES, found };
    let candidates = [on(0, &after), on(1, &before), on(2, &after), new];
    let assembly = ready(&candidates, Wait);
    assert_eq!(assembly.seats[1], Seat::Taken { candidate: 3, state: SeatState::InSync });
    let text = "bdev m1 was replaced: slot 1 has another member now";
    assert_eq!(left_out(&assembly), [text]);
    let assembly = ready(&candidates[..3], Degraded);
    assert_eq!(assembly.seats[1], Seat::Empty { vacancy: Vacancy::NotFound });
    assert_eq!(left_out(&assembly), [text], "not even if its successor is away");
}

#[test]
fn spares_are_found_and_what_they_know_counts() {
    let before = array(Level::Raid5, 3, 9);
    let after = update(&before, &[(1, Faulty { failed_at: 10 })]);
    let candidates = [spare(1, &before), on(0, &before), on(2, &before), spare(0, &after)];
    let assembly = ready(&candidates, Wait);
    assert_eq!(assembly.spares, [3, 0]);
    assert_eq!((assembly.superblock.events, assembly.missing()), (10, set(&[1])));
    assert_eq!(verdict(&candidates[..1], Wait), incomplete(&[0, 1, 2]));
    assert_eq!(
        refusal(&candidates[..1], Degraded),
        "array a: 0 members are in sync, but 2 are needed; missing or not rebuilt: slots 0, 1, 2"
    );
}

/// A spare that is put into a slot takes it as soon as anyone knows.
#[test]
fn a_spare_takes_the_slot_that_the_freshest_gives_it() {
    let before = update(&array(Level::Raid5, 3, 8), &[(1, Faulty { failed_at: 9 })]);
    let state = MemberRecordState::Rebuilding { recovered_to_bytes: 0, partial: false };
    let mut after = update(&before, &[(1, state)]);
    after.members[1].member_uuid = member_uuid(100);
    let candidates = [on(0, &after), spare(0, &before), on(2, &before)];
    let assembly = ready(&candidates, Wait);
    let state = SeatState::Rebuilding { recovered_to_bytes: 0, partial: false };
    assert_eq!(assembly.seats[1], Seat::Taken { candidate: 1, state });
    assert_eq!(assembly.spares, [0; 0]);
    // A member that failed and was made a spare is one, though its slot still has its name.
    let recycled = before.carried_by(member_uuid(1), None);
    let recycled = Candidate { found: recycled, ..on(1, &before) };
    let assembly = ready(&[on(0, &before), recycled, on(2, &before)], Wait);
    assert_eq!((assembly.spares, assembly.left_out), (vec![1], vec![]));
}
