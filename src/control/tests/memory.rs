//! Superblocks that were read once, and bdevs that have been something else since.

use device::{Fault, Injection, Victims};

use super::*;

/// Sectors of a disk.
const SECTORS: u64 = DISK_BYTES / 512;

/// An array over a, b and d, of which d and a are known and b is still to come. d is a mapped device over m,
/// and n is another disk, which is blank.
fn waiting() -> Plane {
    let plane = Plane::start();
    plane.disks(&["a", "b", "m", "n"]);
    plane.mapped("d", &format!("0 {SECTORS} linear m 0"));
    plane.array(&["a", "b", "d"], |_| {});
    plane.control.delete_raid(ARRAY, false).unwrap();
    plane.examine(&["a", "d"]);
    let waits = "array \"r0\" waits for its members in slots 1: create them, or start without them with \
                 bdev_raid_assemble";
    assert_eq!(plane.reason(), waits);
    plane
}

/// Goal: no array is put together from what a bdev once was (**R8**). Method: while an array waits for its last
/// member one of the others becomes something else, in every way that there is; then the last one comes, or the
/// operator asks for the array.
#[test]
fn a_bdev_that_is_another_by_now_is_no_member() {
    type Change = fn(&Plane);
    let switch: Change = |plane| {
        plane.control.dm_load("d", &format!("0 {SECTORS} linear n 0")).unwrap();
        plane.control.dm_resume("d").unwrap();
    };
    let shift: Change = |plane| {
        plane.control.dm_load("d", &format!("0 {} linear m 8", SECTORS - 8)).unwrap();
        plane.control.dm_resume("d").unwrap();
    };
    let made_anew: Change = |plane| {
        plane.control.dm_remove("d", false, false).unwrap();
        plane.mapped("d", &format!("0 {SECTORS} linear n 0"));
    };
    let used_meanwhile: Change = |plane| {
        plane.control.create_error("d", None, false).unwrap();
        plane.wipe("EE_d");
        plane.control.delete(Kind::Error, "EE_d").unwrap();
    };
    let used_below: Change = |plane| {
        plane.mapped("e", &format!("0 {SECTORS} linear m 0"));
        plane.wipe("e");
        plane.control.dm_remove("e", false, false).unwrap();
    };
    let wiped_and_looked_at: Change = |plane| {
        plane.wipe("d");
        plane.examine(&["d"]);
    };
    let damaged_and_looked_at: Change = |plane| {
        for offset_bytes in [4096, 512 << 10] {
            let mut bytes = plane.read("d", offset_bytes, 4096);
            bytes[100] ^= 1;
            plane.write("d", offset_bytes, &bytes);
        }
        plane.examine(&["d"]);
    };
    let changes = [
        switch,
        shift,
        made_anew,
        used_meanwhile,
        used_below,
        wiped_and_looked_at,
        damaged_and_looked_at,
    ];
    for (index, change) in changes.into_iter().enumerate() {
        for asked_for in [false, true] {
            let plane = waiting();
            change(&plane);
            if asked_for {
                let error = plane.control.assemble_raid(ARRAY, true).unwrap_err().to_string();
                let few = "1 members are in sync, but 2 are needed";
                assert!(error.contains(few), "{index}: {error}");
            }
            plane.examine(&["b"]);
            assert!(!plane.runs(), "{index}: it runs with what it has not read");
            assert!(plane.reason().contains("waits for its members in slots 2"), "{index}");
            plane.control.assemble_raid(ARRAY, false).unwrap();
            assert_eq!(plane.states()[2], MemberState::Faulty, "{index}");
            plane.stop();
        }
    }
}

/// Goal: what has had a user and is still what it was takes its slot by itself.
#[test]
fn a_bdev_that_is_as_it_was_is_read_again() {
    let plane = waiting();
    plane.control.create_error("d", None, false).unwrap();
    plane.control.delete(Kind::Error, "EE_d").unwrap();
    // Another part of the same disk is somebody else's.
    plane.mapped("e", "0 8 linear m 0");
    plane.control.dm_rename("d", "f").unwrap();
    plane.examine(&["b"]);
    assert_eq!(plane.states(), [MemberState::InSync; 3]);
    assert_eq!(plane.snapshot().members[2].name.as_deref(), Some("f"));
    plane.stop();
}

/// Goal: a member that has failed and was let go comes back to its array by being looked at, and not because
/// its superblock was read before. Method: it is wiped meanwhile; the array is asked for again.
#[test]
fn a_member_that_was_let_go_is_not_taken_back_from_memory() {
    let plane = Plane::start();
    plane.disks(&["a", "b", "c", "log"]);
    plane.control.create_error("c", None, false).unwrap();
    let members = ["a", "b", "EE_c"];
    plane.array(&members, |request| request.log = Some("log".to_owned()));
    plane.control.delete_raid(ARRAY, false).unwrap();
    plane.examine(&members);
    plane.settle();

    let failing = Injection::next(Victims::Write, Fault::Failure, 1);
    plane.control.inject_error("EE_c", &failing).unwrap();
    plane.write(ARRAY, 0, &[0x5a; 128 << 10]);
    plane.wait_until("degraded", |plane| plane.states()[2] == MemberState::Faulty);
    plane.control.remove_base_bdev("EE_c", None).unwrap();
    plane.wipe("EE_c");
    plane.control.assemble_raid(ARRAY, false).unwrap();
    assert_eq!(plane.states()[2], MemberState::Faulty);
    plane.control.add_base_bdev(ARRAY, "EE_c", false).unwrap();
    plane.settle();
    assert_eq!(plane.states(), [MemberState::InSync; 3]);
    plane.stop();
}
