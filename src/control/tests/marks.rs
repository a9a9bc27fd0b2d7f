//! What is left on bdevs that have been spares, members or logs, and what is written over.

use ::raid::superblock::{COPY_OFFSETS_BYTES, SUPERBLOCK_BYTES, Superblock};
use device::{Fault, Injection, Victims};

use super::*;

/// Where GPT begins on disks with blocks of 512 bytes.
pub(super) const GPT: (u64, &[u8]) = (512, b"EFI PART");

/// Where ext4 says so.
pub(super) const EXT4: (u64, &[u8]) = (1080, &[0x53, 0xef]);

impl Plane {
    /// Leaves somebody's signature on a disk.
    pub(super) fn sign(&self, name: &str, (at, signature): (u64, &[u8])) {
        let mut first = self.read(name, 0, 4096);
        first[at as usize..][..signature.len()].copy_from_slice(signature);
        self.write(name, 0, &first);
    }

    /// All of a disk.
    pub(super) fn contents(&self, name: &str) -> Vec<u8> {
        self.read(name, 0, DISK_BYTES as usize)
    }

    pub(super) fn fail_writes(&self, name: &str) {
        let failing = Injection::next(Victims::Write, Fault::Failure, Injection::FOR_EVER);
        self.control.inject_error(name, &failing).unwrap();
    }
}

/// Goal: a spare that was taken back is nobody's spare, now or at the next start; one whose superblock cannot be
/// wiped is free too, with a word about it. Method: spares of the array, of the pool, of the array but not of the
/// one that is named.
#[test]
fn a_spare_that_is_taken_back_is_none_any_more() {
    let plane = Plane::start();
    plane.disks(&["a", "b", "c", "s", "t", "pool"]);
    plane.array(&["a", "b", "c"], |_| {});
    plane.control.create_error("t", None, false).unwrap();
    for spare in ["s", "EE_t"] {
        plane.control.add_spare(spare, Some(ARRAY), false).unwrap();
        assert!(plane.is_marked(spare));
    }
    plane.sign("pool", EXT4);
    let before = plane.contents("pool");
    plane.control.add_spare("pool", None, true).unwrap();

    let error = plane.control.remove_base_bdev("pool", Some(ARRAY)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "bdev \"pool\" is no member of array \"r0\": bdev_raid_get_bdevs lists the members"
    );
    plane.control.remove_base_bdev("pool", None).unwrap();
    assert!(plane.contents("pool") == before, "nothing is wiped that was not written");

    plane.control.remove_base_bdev("s", Some(ARRAY)).unwrap();
    assert_eq!((plane.claim("s"), plane.is_marked("s")), (None, false));
    plane.examine(&["s"]);
    assert_eq!(plane.claim("s"), None);

    plane.fail_writes("EE_t");
    let error = plane.control.remove_base_bdev("EE_t", None).unwrap_err().to_string();
    assert!(error.starts_with("bdev \"EE_t\" is free, but its superblock may still be"), "{error}");
    assert_eq!((plane.claim("EE_t"), plane.is_marked("EE_t")), (None, true));
    plane.stop();
}

/// Goal: what has somebody's signature is not taken for a spare, though one copy of a spare's superblock is left;
/// a spare that was forced onto such a disk is one again. Method: a partition table over the first copy; an array
/// that is deleted and found again.
#[test]
fn a_spare_that_has_become_something_else_is_not_taken() {
    let plane = Plane::start();
    plane.disks(&["a", "b", "c", "s", "forced"]);
    plane.sign("forced", EXT4);
    plane.array(&["a", "b", "c"], |request| {
        request.spares = vec!["s".to_owned(), "forced".to_owned()];
        request.force = true;
    });
    plane.control.delete_raid(ARRAY, false).unwrap();
    plane.write("s", 0, &[0; 32 << 10]);
    plane.sign("s", GPT);
    assert!(plane.is_marked("s"), "by its second copy");
    plane.examine(&["s", "forced", "a", "b", "c"]);
    assert!(plane.runs());
    assert_eq!(plane.claim("s"), None);
    let spare = Claim::Spare { array: Some(ARRAY.to_owned()), forced: false };
    assert_eq!(plane.claim("forced"), Some(spare));
    plane.control.remove_base_bdev("c", None).unwrap();
    plane.control.add_spare("c", None, true).unwrap();
    plane.settle();
    let names: Vec<_> = plane.snapshot().members.into_iter().filter_map(|m| m.name).collect();
    assert!(!names.contains(&"s".to_owned()), "{names:?}");
    plane.stop();
}

/// Goal: no array without superblocks is made where one of another array would be found at the next start, unless
/// by force.
#[test]
fn a_known_member_is_not_used_without_a_question() {
    let plane = Plane::start();
    plane.disks(&["a", "b", "c"]);
    plane.array(&["a", "b", "c"], |_| {});
    plane.control.delete_raid(ARRAY, false).unwrap();
    plane.examine(&["b"]);
    let plain = || RaidRequest { superblock: false, ..request(&["a", "b", "c"]) };
    let error = plane.control.create_raid(plain()).unwrap_err();
    assert_eq!(error.errno(), rpc::error::errno::EEXIST);
    assert!(error.to_string().contains("base bdev b carries a member of array \"r0\""), "{error}");
    plane.control.create_raid(RaidRequest { force: true, ..plain() }).unwrap();
    plane.control.delete_raid(ARRAY, false).unwrap();
    plane.wipe("b");
    plane.examine(&["b"]);
    plane.control.create_raid(plain()).unwrap();
    plane.stop();
}

/// Goal: what is wiped belongs to nobody before it is wiped. Method: an array is deleted with its superblocks
/// while somebody else keeps asking for one of the same members; writes take a while. The new array's superblocks
/// are there in the end.
#[test]
fn members_are_free_when_they_are_wiped() {
    let plane = Plane::start();
    plane.disks(&["a", "b", "c"]);
    let (name, base) = ("slow".to_owned(), "a".to_owned());
    let request_of = DelayRequest { name, uuid: None, base, latencies_us: [0, 0, 30_000, 30_000] };
    plane.control.create_delay(request_of).unwrap();
    let members = ["slow", "b", "c"];
    plane.array(&members, |_| {});
    thread::scope(|scope| {
        let control = &plane.control;
        let deletes = scope.spawn(|| control.delete_raid(ARRAY, true));
        let anew = || RaidRequest {
            name: "r1".to_owned(),
            force: true,
            assume_clean: true,
            ..request(&members)
        };
        plane.wait_until("made anew", |_| control.create_raid(anew()).is_ok());
        deletes.join().unwrap().unwrap();
    });
    let runs = |plane: &Plane| {
        let raid = plane.control.raid("r1").unwrap();
        raid.superblock().is_some_and(|superblock| superblock.events > 0)
    };
    plane.wait_until("its superblocks are written", runs);
    for member in members {
        assert!(plane.is_marked(member), "{member} has lost its superblock");
    }
    plane.stop();
}

/// Goal: a spare that was refused because it could not be marked is none at the next start either; where that cannot be
/// had, the refusal says so. Method: writes to the place of either copy fail, once or for ever.
#[test]
fn a_spare_that_cannot_be_marked_is_not_marked_half() {
    let plane = Plane::start();
    plane.disks(&["a", "b", "c", "s"]);
    plane.array(&["a", "b", "c"], |_| {});
    plane.control.create_error("s", None, false).unwrap();
    let add = || plane.control.add_spare("EE_s", Some(ARRAY), true).unwrap_err();
    for (copy, offset_bytes) in COPY_OFFSETS_BYTES.into_iter().enumerate() {
        let blocks = |bytes: u64| bytes / u64::from(BLOCK_BYTES);
        let at = blocks(offset_bytes)..blocks(offset_bytes + SUPERBLOCK_BYTES as u64);
        for times in [1, Injection::FOR_EVER] {
            let failing = Injection::next(Victims::Write, Fault::Failure, times);
            let failing = Injection { range_blocks: Some(at.clone()), ..failing };
            plane.control.inject_error("EE_s", &failing).unwrap();
            let error = add();
            assert_eq!((plane.claim("EE_s"), error.errno()), (None, 5), "{error}");
            assert!(!plane.is_marked("EE_s"), "copy {copy} fails {times} times");
            let tells = error.to_string().contains("part of a superblock may be left on it");
            assert_eq!(tells, times > 1, "{error}");
            plane.examine(&["EE_s"]);
            assert_eq!(plane.claim("EE_s"), None, "it is a spare now");
            plane.control.error_bdev("EE_s").unwrap().settle();
        }
    }
    plane.control.add_spare("EE_s", Some(ARRAY), false).unwrap();
    assert!(plane.is_marked("EE_s"));
    plane.stop();
}

/// Goal: superblocks that were to be cleared are, however the array has stopped. Method: one that is broken.
#[test]
fn superblocks_of_a_broken_array_are_cleared() {
    let plane = Plane::start();
    plane.disks(&["a", "b", "c"]);
    plane.control.create_error("a", None, false).unwrap();
    plane.control.create_error("b", None, false).unwrap();
    let members = ["EE_a", "EE_b", "c"];
    plane.array(&members, |_| {});
    for member in ["EE_a", "EE_b"] {
        plane.fail_writes(member);
    }
    let (reactor, bdev) = (&plane.control.reactors()[0], plane.bdev(ARRAY));
    let bytes = IoBufMut::heap_copy(&[1; 128 << 10]).freeze();
    blocking::write_durably(reactor, &bdev, 0, bytes, PATIENCE).unwrap_err();
    drop(bdev);
    plane.wait_until("broken", |plane| plane.snapshot().broken);
    for member in ["EE_a", "EE_b"] {
        plane.control.error_bdev(member).unwrap().settle();
    }
    let error = plane.control.delete_raid(ARRAY, true).unwrap_err().to_string();
    assert!(error.starts_with("the array is deleted, but not cleanly: "), "{error}");
    for member in members {
        assert_eq!((plane.is_marked(member), plane.claim(member)), (false, None), "{member}");
    }
    plane.stop();
}

/// Goal: no log is begun on what is somebody's, neither where a new array is to have it nor where a known array
/// finds a bdev by the name of its log; on a blank one, or on an old log, it is. Method: a disk with ext4, one with
/// a member's superblock, an old log, and a blank one that is too small for a second copy of a superblock.
#[test]
fn a_log_is_not_begun_on_somebodys_data() {
    let plane = Plane::start();
    plane.disks(&["a", "b", "c", "ext4", "member"]);
    plane.disk("small", 64 << 10);
    plane.sign("ext4", EXT4);
    plane.array(&["a", "b", "member"], |_| {});
    plane.control.delete_raid(ARRAY, false).unwrap();
    plane.examine(&["member"]);
    let with_log = |log: &str| RaidRequest {
        log: Some(log.to_owned()),
        force: false,
        superblock: false,
        ..request(&["c", "b2", "c2"])
    };
    plane.disks(&["b2", "c2"]);
    for (log, carries) in [
        ("ext4", "log bdev ext4 carries ext2, ext3 or ext4: clear it first, or force"),
        ("member", "log bdev member carries a member of array \"r0\""),
    ] {
        let before = plane.contents(log);
        let error = plane.control.create_raid(with_log(log)).unwrap_err();
        assert!(error.to_string().contains(carries), "{error}");
        assert_eq!(error.errno(), rpc::error::errno::EEXIST);
        assert!(plane.contents(log) == before, "{log} is written to");
    }
    for _ in 0..2 {
        // Blank first, then a log.
        plane.control.create_raid(with_log("small")).unwrap();
        plane.settle();
        plane.control.delete_raid(ARRAY, false).unwrap();
    }
    plane.control.create_raid(RaidRequest { force: true, ..with_log("ext4") }).unwrap();
    plane.stop();

    let plane = Plane::start();
    plane.disks(&["a", "b", "c", "log"]);
    plane.array(&["a", "b", "c"], |request| request.log = Some("log".to_owned()));
    plane.control.delete_raid(ARRAY, false).unwrap();
    plane.control.delete(Kind::Malloc, "log").unwrap();
    plane.disk("log", DISK_BYTES);
    plane.sign("log", EXT4);
    let before = plane.contents("log");
    plane.examine(&["a", "b", "c"]);
    let waits = "array \"r0\" waits for its log bdev \"log\": create it, or start without it with \
                 bdev_raid_assemble";
    assert_eq!(plane.reason(), waits);
    plane.control.assemble_raid(ARRAY, false).unwrap();
    plane.settle();
    assert!(plane.contents("log") == before, "it was taken for the log");
    plane.stop();
}

/// Goal: a superblock says nothing that a new array could not be asked for. Method: sparse members, and more
/// regions in their superblocks than there may be.
#[test]
fn a_superblock_asks_for_no_more_than_a_client_may() {
    let plane = Plane::start();
    let place = tempfile::tempdir().unwrap();
    let names = ["u0", "u1", "u2"];
    for name in names {
        let request = FileRequest {
            name: name.to_owned(),
            filename: place.path().join(name),
            block_size_bytes: Some(BLOCK_BYTES),
            uuid: None,
            create_size_mib: Some(400 << 10),
        };
        plane.control.create_uring(request).unwrap();
    }
    plane.array(&names, |request| {
        (request.strip_size_kib, request.region_size_kib, request.assume_clean) = (4, None, true);
    });
    plane.control.delete_raid(ARRAY, false).unwrap();
    for name in names {
        let found = array::probe(&plane.control.reactors()[0], &plane.bdev(name)).unwrap();
        let superblock = Superblock { region_bytes: 4096, ..found.superblock };
        let mut bytes = Box::new([0; SUPERBLOCK_BYTES]);
        superblock.encode(&mut bytes).unwrap();
        for offset_bytes in COPY_OFFSETS_BYTES {
            plane.write(name, offset_bytes, &bytes[..]);
        }
    }
    plane.examine(&names);
    assert!(!plane.runs());
    assert!(plane.reason().contains("region size 4096"), "{}", plane.reason());
    plane.stop();
}
