//! Members that cannot read some sectors: each is mended, and there are limits to that (linux-raid.md, section 5.4).
//!
//! | what | what becomes of the member |
//! |---|---|
//! | a sector that can be read again once it is written | it stays |
//! | one that cannot | it is out |
//! | 256 reads in a row that fail, and are mended | it stays |
//! | one more | it is out |
//! | as many where it is all that is left of a stripe | it stays, and hosts see the errors |
//!
//! Not here: bad sectors all over the members (`failing`).

use device::{Bdev, IoStatus};
use raid::event::FailCause;
use raid::limits::READ_ERRORS_MAX;
use raid::member::MemberState;
use raid::units::Slot;
use raid456::control::NoticeKind;
use serde_json::json;

use crate::daemon::{entry, malloc};
use crate::failing::FOR_EVER;
use crate::rig::{ARRAY, BLOCK, Rig, stamped};

/// Six of them: a small write reads what it replaces, and not what stands beside it.
const MEMBERS: usize = 6;
const MEMBER_MIB: u64 = 5;
/// The member that cannot read.
const SLOT: Slot = Slot(1);
const TEXT: &str = "slot 1: a read failed and could not be repaired";

/// An array of error bdevs over memory. One core counts all reads that fail.
fn start() -> Rig {
    let rig = Rig::start_on("0");
    let mut entries = Vec::new();
    for slot in 0..MEMBERS {
        entries.push(entry("bdev_malloc_create", malloc(&format!("m{slot}"), MEMBER_MIB)));
        entries.push(entry("bdev_error_create", json!({ "base_name": format!("m{slot}") })));
    }
    let members: Vec<_> = (0..MEMBERS).map(|slot| format!("EE_m{slot}")).collect();
    let array = json!({
        "name": ARRAY, "raid_level": "raid5", "strip_size_kb": 64, "base_bdevs": members,
        "on_failure": "continue", "assume_clean": true,
    });
    entries.push(entry("bdev_raid_create", array));
    rig.apply(&entries).unwrap();
    rig.settle();
    rig
}

/// A block of the array, and where it lies on its member.
#[derive(Debug, Clone, Copy)]
struct Place {
    block: u64,
    on_member: u64,
}

/// The blocks of the array that lie on [`SLOT`].
fn places(rig: &Rig) -> Vec<Place> {
    let array = rig.raid().unwrap();
    let geometry = array.geometry();
    let place = |block: u64| {
        let at = geometry.locate(block * BLOCK as u64);
        let slot = geometry.data_slot(geometry.rotation(at.stripe), at.strip);
        let on_member = geometry.member_byte(slot, at.stripe, at.offset) / BLOCK as u64;
        (slot == SLOT).then_some(Place { block, on_member })
    };
    (0..array.info().num_blocks).filter_map(place).collect()
}

/// Has reads of blocks of the member fail, until they are written or for ever.
fn spoil(rig: &Rig, first: u64, blocks: u64, until_written: bool) {
    let mut rule = json!({
        "name": "EE_m1", "io_type": "read", "error_type": "failure", "offset_blocks": first,
        "num_blocks": blocks, "until_written": until_written,
    });
    if !until_written {
        rule["num"] = json!(FOR_EVER);
    }
    rig.ask("bdev_error_inject_error", rule);
}

fn write(rig: &Rig, place: Place) {
    rig.write(place.block * BLOCK as u64, &stamped(place.block, 1, 7)).unwrap();
}

fn read(rig: &Rig, place: Place) -> Result<bool, IoStatus> {
    let found = rig.read(place.block * BLOCK as u64, BLOCK)?;
    Ok(found == stamped(place.block, 1, 7))
}

fn read_failures(rig: &Rig) -> u64 {
    rig.snapshot().failures[FailCause::Read as usize]
}

/// Asserts that the member is in use, and nobody has said otherwise.
fn assert_in_use(rig: &Rig) {
    assert_eq!(rig.states(), [MemberState::InSync; MEMBERS]);
    assert_eq!(read_failures(rig), 0);
    assert!(rig.told(NoticeKind::RaidMemberFailed).is_empty());
}

/// Asserts that the member is out, for the right reason and in the right words, and the others are not.
fn assert_out(rig: &Rig) {
    rig.wait_until("told", |rig| !rig.told(NoticeKind::RaidMemberFailed).is_empty());
    assert_eq!(rig.told(NoticeKind::RaidMemberFailed), [Some(TEXT.to_owned())]);
    assert_eq!(read_failures(rig), 1);
    let mut states = [MemberState::InSync; MEMBERS];
    states[SLOT.index()] = MemberState::Faulty;
    assert_eq!(rig.states(), states);
}

/// Goal: a member may fail 256 reads in a row, all of them mended, and not one more; a read that succeeds begins
/// the count anew. Method: every sector of it is bad until it is written. Each small write reads what it replaces,
/// which fails, and is done another way, which makes the sector good: so no read of the member succeeds in between.
#[test]
fn one_read_error_too_many_in_a_row_costs_the_member() {
    let rig = start();
    let places = places(&rig);
    let (limit, sound) = (READ_ERRORS_MAX as usize, places[0]);
    spoil(&rig, 0, MEMBER_MIB << 8, true);
    // What the member has failed: each read is tried a second time.
    let failed = |rig: &Rig| rig.snapshot().shards[0].member_errors[SLOT.index()].reads;
    for round in 1..=2 {
        places[(round - 1) * limit..round * limit].iter().for_each(|place| write(&rig, *place));
        assert_eq!(failed(&rig), 2 * (round * limit) as u64);
        assert_in_use(&rig);
        if round == 1 {
            write(&rig, sound);
            assert_eq!(failed(&rig), 2 * limit as u64, "it has been made good");
        }
    }
    write(&rig, places[2 * limit]);
    assert_out(&rig);
    let written = &places[..=2 * limit];
    assert!(written.iter().all(|place| read(&rig, *place) == Ok(true)));
    rig.stop();
}

/// Goal: a sector that cannot be read is computed, written, and read again; if that fails too, the member is out.
/// The host has the right bytes both times. Method: a sector that a write makes good, and one that stays bad.
#[test]
fn a_sector_that_stays_bad_costs_the_member() {
    let rig = start();
    let places = places(&rig);
    let (curable, incurable) = (places[3], places[places.len() - 5]);
    for place in [curable, incurable] {
        write(&rig, place);
    }
    let mends = |rig: &Rig| rig.snapshot().work().0.mends;
    spoil(&rig, curable.on_member, 1, true);
    assert_eq!(read(&rig, curable), Ok(true));
    rig.wait_until("mended", |rig| mends(rig) == 1);
    rig.wait_until("counted", |rig| rig.snapshot().members[SLOT.index()].read_errors == 1);
    assert_in_use(&rig);
    assert_eq!(read(&rig, curable), Ok(true));

    spoil(&rig, incurable.on_member, 1, false);
    assert_eq!(read(&rig, incurable), Ok(true));
    assert_out(&rig);
    assert_eq!(mends(&rig), 1, "it is not mended");
    assert_eq!(read(&rig, incurable), Ok(true));
    rig.stop();
}

/// Goal: a member without which the array is lost is kept, however often it cannot read: hosts see errors where it
/// cannot, and everything is there again once it can. Method: a degraded array, and more errors than one may have.
#[test]
fn a_member_that_cannot_be_spared_stays() {
    let rig = start();
    let places = places(&rig);
    let places = &places[..=READ_ERRORS_MAX as usize];
    places.iter().for_each(|place| write(&rig, *place));
    rig.ask("bdev_raid_remove_base_bdev", json!({ "name": "EE_m3" }));
    spoil(&rig, 0, MEMBER_MIB << 8, true);
    for place in places {
        assert_eq!(read(&rig, *place), Err(IoStatus::MediaError), "{place:?}");
    }
    let mut states = [MemberState::InSync; MEMBERS];
    states[3] = MemberState::Missing;
    assert_eq!((rig.states(), read_failures(&rig)), (states.to_vec(), 0));
    rig.heal("EE_m1");
    assert!(places.iter().all(|place| read(&rig, *place) == Ok(true)));
    rig.stop();
}
