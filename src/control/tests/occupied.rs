//! Bdevs that carry something, and arrays to which that belongs, or does not.

use ::raid::superblock::COPY_OFFSETS_BYTES;
use device::{Fault, Injection, Victims};

use super::marks::{EXT4, GPT};
use super::*;

fn refused(outcome: Result<(), ControlError>, what: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.errno(), rpc::error::errno::EEXIST, "{error}");
    assert!(error.to_string().contains(what), "{what}: {error}");
}

/// Goal: an array without superblocks takes back what it had, whatever is on it, as long as nobody else has had it;
/// after that, what is on it counts. Method: members with somebody's signature, which is the array's own data for all
/// that it knows; a member, a spare, one that has had another bdev on it, another array of the same name.
#[test]
fn an_array_without_superblocks_knows_what_it_had() {
    let plane = Plane::start();
    let names = ["a", "b", "c"];
    plane.disks(&names);
    plane.disks(&["d", "x"]);
    names.iter().for_each(|name| plane.sign(name, EXT4));
    plane.sign("x", EXT4);
    let plain = || RaidRequest { superblock: false, ..request(&names) };
    plane.control.create_raid(plain()).unwrap();
    plane.settle();
    let control = &plane.control;
    let back = |force| control.add_base_bdev(ARRAY, "c", force);
    let carries = "raid bdev r0: base bdev c carries ext2, ext3 or ext4: clear it first, or force";
    control.remove_base_bdev("c", None).unwrap();
    back(false).unwrap();
    plane.settle();
    control.remove_base_bdev("c", None).unwrap();
    // It takes the slot at once.
    control.add_spare("c", Some(ARRAY), false).unwrap();
    plane.settle();
    assert_eq!(plane.states(), [MemberState::InSync; 3]);

    control.remove_base_bdev("c", None).unwrap();
    refused(
        control.add_spare("c", None, false),
        "bdev \"c\" carries ext2, ext3 or ext4: clear it first, or force to overwrite it",
    );
    let error_bdev = || {
        control.create_error("c", None, false).unwrap();
        control.delete(Kind::Error, "EE_c").unwrap();
    };
    let mapped = || {
        plane.mapped("m", "0 8 linear c 0");
        control.dm_remove("m", false, false).unwrap();
    };
    let others: [&dyn Fn(); 2] = [&error_bdev, &mapped];
    for has_it in others {
        has_it();
        let before = plane.contents("c");
        refused(back(false), carries);
        refused(control.add_spare("c", Some(ARRAY), false), carries);
        assert!(plane.contents("c") == before && plane.claim("c").is_none());
        back(true).unwrap();
        plane.settle();
        control.remove_base_bdev("c", None).unwrap();
    }
    back(false).unwrap();
    plane.settle();

    control.delete_raid(ARRAY, false).unwrap();
    let members = vec![Some("a".to_owned()), Some("b".to_owned()), None];
    control.create_raid(RaidRequest { members, ..plain() }).unwrap();
    refused(back(false), carries);
    control.add_base_bdev(ARRAY, "d", false).unwrap();
    plane.settle();
    // Asked for again, at the next start say, they take force.
    let forced = Claim::Spare { array: Some(ARRAY.to_owned()), forced: true };
    for spare in ["c", "x"] {
        refused(control.add_spare(spare, Some(ARRAY), false), "carries ext2, ext3 or ext4");
        control.add_spare(spare, Some(ARRAY), true).unwrap();
        assert_eq!(plane.claim(spare), Some(forced.clone()));
    }
    control.remove_base_bdev("x", None).unwrap();
    control.add_spare("x", Some(ARRAY), false).unwrap();
    assert_eq!(plane.claim("x"), Some(forced));
    plane.stop();
}

/// Goal: an array with superblocks takes what carries its own, and nobody else's; a member that has failed is its own
/// whatever is on it, until it is let go of. Method: a member of another array that was deleted; a signature that
/// comes over the superblock of a member that has failed.
#[test]
fn an_array_with_superblocks_knows_its_own() {
    let plane = Plane::start();
    plane.disks(&["a", "b", "c", "x", "y", "z"]);
    let control = &plane.control;
    let other = RaidRequest { name: "r1".to_owned(), ..request(&["x", "y", "z"]) };
    control.create_raid(other).unwrap();
    let in_sync = |plane: &Plane| {
        let now = plane.control.raid("r1").unwrap().snapshot();
        now.events > 0 && now.regions_in_sync == now.regions && now.action == Action::Idle
    };
    plane.wait_until("the other one is in sync", in_sync);
    control.delete_raid("r1", false).unwrap();
    control.create_error("c", None, false).unwrap();
    plane.array(&["a", "b", "EE_c"], |_| {});
    let back = || control.add_base_bdev(ARRAY, "EE_c", false);

    control.remove_base_bdev("EE_c", None).unwrap();
    let before = plane.contents("x");
    let theirs = "raid bdev r0: base bdev x carries a member of array \"r1\" (";
    refused(control.add_base_bdev(ARRAY, "x", false), theirs);
    refused(control.add_spare("x", Some(ARRAY), false), theirs);
    refused(control.add_spare("x", None, false), "bdev \"x\" carries a member of array \"r1\" (");
    // To the pool nothing is its own.
    refused(control.add_spare("EE_c", None, false), "carries a member of array \"r0\" (");
    assert!(plane.contents("x") == before && plane.claim("x").is_none());
    back().unwrap();
    plane.settle();

    let lose = || {
        let failing = Injection::next(Victims::Write, Fault::Failure, 1);
        control.inject_error("EE_c", &failing).unwrap();
        plane.write(ARRAY, 0, &[0x5a; 128 << 10]);
        plane.wait_until("degraded", |plane| plane.states()[2] == MemberState::Faulty);
        plane.wipe("c");
        plane.sign("c", EXT4);
    };
    lose();
    back().unwrap();
    plane.settle();
    assert_eq!(plane.states(), [MemberState::InSync; 3]);
    lose();
    control.remove_base_bdev("EE_c", None).unwrap();
    refused(back(), "raid bdev r0: base bdev EE_c carries ext2, ext3 or ext4: clear it first");
    plane.stop();
}

/// Goal: a member over which somebody has begun something else is none any more, though one copy of its superblock
/// is left: its array waits for it, and rebuilds it only by force, and then all of it. One that has kept somebody's
/// signature from before it was a member is one, whichever copy is damaged. Method: a partition table over the first
/// copy; a torn copy on a disk with the signature of a file system.
#[test]
fn a_member_that_has_become_something_else_is_none() {
    let plane = Plane::start();
    let names = ["a", "b", "c"];
    plane.disks(&names);
    plane.disks(&["log"]);
    plane.sign("a", EXT4);
    plane.array(&names, |request| {
        (request.log, request.force) = (Some("log".to_owned()), true);
    });
    plane.control.delete_raid(ARRAY, false).unwrap();
    plane.write("a", COPY_OFFSETS_BYTES[0] + 4096, &[0xff; 4096]);
    plane.write("c", 0, &[0; 32 << 10]);
    plane.sign("c", GPT);
    assert!(plane.is_marked("a") && plane.is_marked("c"), "by their second copies");
    let before = plane.contents("c");
    plane.examine(&["log", "a", "b", "c"]);
    assert!(!plane.runs());
    assert!(plane.reason().contains("in slots 2:"), "{}", plane.reason());
    plane.control.assemble_raid(ARRAY, false).unwrap();
    plane.examine(&["c"]);
    assert_ne!(plane.states()[2], MemberState::InSync);
    refused(
        plane.control.add_base_bdev(ARRAY, "c", false),
        "raid bdev r0: base bdev c carries a GPT partition table, over what was a member of array \
         \"r0\" (",
    );
    assert!(plane.contents("c") == before, "something was written");
    plane.control.add_base_bdev(ARRAY, "c", true).unwrap();
    plane.settle();
    assert_eq!(plane.states(), [MemberState::InSync; 3]);
    plane.stop();
}
