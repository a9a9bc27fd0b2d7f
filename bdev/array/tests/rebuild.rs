//! Members that leave and come back on real reactors.
//!
//! Not here: every fault in every order (`tests/sim`), the daemon (`tests/blackbox`).

mod support;

use device::Bdev;
use raid::coordinator::Scope;
use raid::event::WorkKind;
use raid::layout::{Layout, Level};
use raid::member::MemberState;
use raid::units::{Slot, StripeId};
use std::sync::Arc;
use support::{Remote, Rng, malloc, reactors, spec, two_reactors, wait};
use uuid::Uuid;

const STRIP: u32 = 16 << 10;

/// Goal: a member that is replaced holds what it should once it is in sync, on one reactor and on two.
/// Method: random contents, a member taken out, another put in, and the contents read with a second one
/// missing.
#[test]
fn a_replaced_member_is_rebuilt() {
    for cores in ["0", "0-1"] {
        let reactors = reactors(cores);
        let size = 2 << 20;
        let members: Vec<Option<Arc<dyn Bdev>>> =
            (0..4).map(|slot| Some(malloc(&format!("m{slot}"), 512, size))).collect();
        let spec = spec(Level::Raid5, Layout::LeftSymmetric, STRIP, members);
        let array = array::RaidBdev::create(reactors.handles(), spec).unwrap();
        let bdev: Arc<dyn Bdev> = array.clone();
        let remote = Remote::open(&reactors.handles()[0], &bdev);
        let bytes = Rng(7).bytes(array.info().size_bytes() as usize);
        remote.write_all(&bytes);
        array.remove_member(Slot(1)).unwrap();
        let fresh = malloc("fresh", 512, size);
        array.add_member(&fresh, None, Scope::Whole, Uuid::new_v4()).unwrap();
        wait(|| array.snapshot().members[1].state == MemberState::InSync);
        array.remove_member(Slot(3)).unwrap();
        let found = remote.read_all(bytes.len() as u64).unwrap();
        assert!(found == bytes, "the rebuilt member holds something else");
        drop(remote);
        array.stop().unwrap();
        reactors.stop();
    }
}

/// Goal: a check of a RAID 6 that lacks a member compares what is left: Q where P is missing, P where Q is, and Q
/// with the strip that P gives where data is; and changes nothing. Method: one byte damaged in each stripe of a
/// rotation.
#[test]
fn a_degraded_array_is_checked_as_far_as_it_goes() {
    let reactors = two_reactors();
    let size = 64 * u64::from(STRIP);
    let members: Vec<Option<Arc<dyn Bdev>>> =
        (0..5).map(|slot| Some(malloc(&format!("m{slot}"), 512, size))).collect();
    let spec = spec(Level::Raid6, Layout::LeftSymmetric, STRIP, members.clone());
    let array = array::RaidBdev::create(reactors.handles(), spec).unwrap();
    let bdev: Arc<dyn Bdev> = array.clone();
    let remote = Remote::open(&reactors.handles()[0], &bdev);
    remote.write_all(&Rng(9).bytes(array.info().size_bytes() as usize));
    array.remove_member(Slot(2)).unwrap();
    let check = || {
        array.request(WorkKind::Check).unwrap();
        wait(|| array.snapshot().last_action.is_some() && array.snapshot().progress.is_none());
        array.snapshot().mismatched_rows
    };
    assert_eq!(check(), 0);
    let geometry = array.geometry();
    let mut expected = 0;
    for stripe in 0..5 {
        let damaged = Slot(if stripe == 4 { 0 } else { 4 });
        let member =
            Remote::open(&reactors.handles()[0], members[damaged.index()].as_ref().unwrap());
        let at = geometry.member_byte(damaged, StripeId(stripe), 0);
        let mut block = member.read(at, 512).unwrap();
        block[3] ^= 0x40;
        member.write(at, &block);
        expected += 1;
    }
    assert_eq!(check(), expected);
    assert_eq!(check(), expected, "a check changes nothing");
    drop(remote);
    array.stop().unwrap();
    reactors.stop();
}

/// Goal: a new RAID 6 that lacks a member from the beginning can lose another one, whatever was on its members:
/// both parities match what is there once it has come to rest. Method: members full of noise, with each slot
/// missing; blocks written to the array; every other member taken out in turn, and all of it read.
#[test]
fn a_new_raid6_without_one_member_can_lose_another() {
    let reactors = two_reactors();
    let size = 16 * u64::from(STRIP);
    for missing in 0..5_u8 {
        for lost in (0..5).filter(|slot| *slot != missing) {
            let members: Vec<Option<Arc<dyn Bdev>>> =
                (0..5).map(|slot| Some(malloc(&format!("m{slot}"), 512, size))).collect();
            for (seed, member) in (1..).zip(members.iter().flatten()) {
                let noise = Rng(seed).bytes(size as usize);
                Remote::open(&reactors.handles()[0], member).write(0, &noise);
            }
            let mut members = members;
            members[usize::from(missing)] = None;
            let mut spec = spec(Level::Raid6, Layout::LeftSymmetric, STRIP, members);
            spec.assume_clean = false;
            let array = array::RaidBdev::create(reactors.handles(), spec).unwrap();
            let bdev: Arc<dyn Bdev> = array.clone();
            let remote = Remote::open(&reactors.handles()[0], &bdev);
            // Where parity is updated by the difference, and where it is computed afresh.
            for at in [512, 40 << 10, 3 * u64::from(STRIP), 200 << 10] {
                remote.write(at, &Rng(at).bytes(4096));
            }
            let is_out = |member: &array::MemberSnapshot| member.state != MemberState::InSync;
            wait(|| array.snapshot().members.iter().filter(|member| is_out(member)).count() == 1);
            let bytes = remote.read_all(array.info().size_bytes()).unwrap();
            for at in [512, 40 << 10, 3 * u64::from(STRIP), 200 << 10] {
                let found = &bytes[at as usize..][..4096];
                assert!(found == Rng(at).bytes(4096), "without {missing}, at {at}");
            }
            array.remove_member(Slot(lost)).unwrap();
            let found = remote.read_all(bytes.len() as u64).unwrap();
            assert!(found == bytes, "without {missing} and {lost} something else is read");
            drop(remote);
            array.stop().unwrap();
        }
    }
    reactors.stop();
}
