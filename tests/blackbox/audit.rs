//! Refusals of arrays, word for word, and nothing changed on the members. Where each is reached:
//!
//! | refusal | by whom | where |
//! |---|---|---|
//! | `assemble`: copies of a member, split, too small, too few members | daemon, files | `known` |
//! | `assemble`: too small, and what an operator does then | daemon, killed | `crash::served` |
//! | `assemble`: no superblock of that array | library (asking by name is refused before) | `raid::assemble` |
//! | `start`: another array's log, log gone, dirty and degraded | daemon, files | `known`, `crash` |
//! | superblock: checksum, version, a field, in both copies | daemon, files | here |
//! | superblock: every field and its bounds, length, magic, unreadable copies | library | `raid::superblock` |
//! | log: too small for its regions; of another number of regions, for a new array | daemon, files | here, `known` |
//! | new array: members missing, given twice, unequal, too small, in use, unreadable, dirty and degraded; its name, UUID | daemon, files | here |
//! | new array: somebody's data on its log, data offsets, parity kernel | daemon, files | here |
//! | new array: somebody's data, no room for a superblock, region size | daemon, files | `known` |
//! | new array: a device that still works for one that is gone | service in the test, files | `causes` |
//! | new array: a slot to be rebuilt without a member, a component larger than a member, a bdev in two slots, no reactor | library (tables and the registry are checked before) | `array::spec` |
//! | member taken out: the last one that may be, an array that is not in sync | daemon, files | here |
//! | member added: every slot taken, too small | daemon, files | `known` |
//! | member or spare added, spare of a new array: somebody's data, too small, other blocks | daemon, files | `occupied` |
//! | member added: other blocks, one rebuild at a time | daemon, files | here |
//! | member added: requests from before it failed; broken array | service in the test, files | `failing` |
//! | member added: another one cannot be rebuilt | service in the test, files | `causes` |
//! | member added: failed as soon as it had its slot | service in the test, files; library | `causes`, `array::seats` |
//! | member added: a slot that is taken, or whose last member still has an answer to give; array that is stopped | library (nobody can ask for a slot) | `array::seats` |
//! | member taken out: no member in the slot | library (asking by name is refused before) | `array::seats` |
//! | array deleted: writes that are held | service in the test, files | `causes` |
//! | array deleted: requests, or a last flush, that do not end | library, with a second for the minute | `array::raid_bdev` |
//! | array deleted: a superblock that cannot be wiped | daemon, files | here |
//! | array stopped that is broken | service in the test, files | `failing` |
//! | failures: every cause of a member's, each of a log's | service in the test, files | `causes` |
//! | failures: reads that cannot be repaired, or are too many | service in the test | `unreadable` |
//! | action: another one runs | daemon | `known` |
//! | action: broken array | service in the test | `failing` |
//! | array that waits for members; of an unknown name | daemon, files | `known` |
//! | mapped devices' tables and messages | library, daemon | `raid456::dm`, `dm` |
//! | parameters, names and sizes of other bdevs | daemon | `refusals` |
//!
//! Not reached by any test: that there is no memory for a shard; that a channel of a bdev cannot be opened; that a
//! parity kernel is asked for which this CPU lacks; and what races alone bring about (a slot that is taken between a
//! question and its answer, a reactor that stops meanwhile).

use serde_json::{Value, json};

use crate::daemon::{Daemon, Place, malloc, raid5};
use crate::known::{ALL, Shelf, raid, states};

const CREATE: &str = "Failed to create RAID bdev r1: ";
const REMOVE: &str = "Failed to remove base bdev from raid bdev: Device or resource busy: ";
const ADD: &str = "Failed to add base bdev to RAID bdev: ";

/// Asserts that a call is refused with exactly this, and that no file has changed.
fn refuse(
    shelf: &Shelf,
    daemon: &Daemon,
    method: &str,
    params: Value,
    (code, text): (i64, String),
) {
    let before = shelf.contents_at_rest();
    let shown = params.to_string();
    let error = daemon.refused(method, params);
    assert_eq!((error.code, error.message), (code, text), "{method} {shown}");
    assert!(shelf.contents() == before, "something was written: {method} {shown}");
}

/// Changes to an array of `free0`, nobody and `free1`, the code, and the text behind [`CREATE`].
const NO_ARRAY: [(&str, i64, &str); 14] = [
    (
        r#"{ "base_bdevs": ["free0", "none", "free1"] }"#,
        -19,
        "No such device: base bdev \"none\" for slot 1: create it first, or give null for a missing member",
    ),
    (
        r#"{ "base_bdevs": ["free0", "free1", "free0"] }"#,
        -1,
        "Operation not permitted: base bdev \"free0\" is given for slot 0 and for slot 2: give each once",
    ),
    (
        r#"{ "base_bdevs": ["free0", "free1", "m0"] }"#,
        -1,
        "Operation not permitted: base bdev \"m0\" for slot 2 is claimed by array \"r0\" as slot 0: give a \
         bdev that nobody uses",
    ),
    (
        r#"{ "base_bdevs": [null, null, null] }"#,
        -22,
        "Invalid argument: raid bdev r1: none of its 3 members is present; give at least 2",
    ),
    (
        r#"{ "base_bdevs": ["free0", null, null] }"#,
        -22,
        "Invalid argument: raid bdev r1: 2 of 3 members are missing; raid5 can do without 1",
    ),
    (
        r#"{ "base_bdevs": ["free0", "free1", "small"] }"#,
        -22,
        "Invalid argument: raid bdev r1: base bdev small has 1110016 bytes, too few: its data offset of \
         1048576 and one strip take 1114112",
    ),
    (
        r#"{ "base_bdevs": ["free0", "free1", "large"] }"#,
        -22,
        "Invalid argument: raid bdev r1: base bdev large holds 80 strips and free1 holds 64; members must be \
         equal in size after their data offsets",
    ),
    (
        r#"{ "log_bdev": "tiny", "region_size_kb": 64 }"#,
        -22,
        "Invalid argument: raid bdev r1: log device tiny too small: it has 512 bytes, need 1536 bytes for 64 \
         regions",
    ),
    (
        r#"{ "log_bdev": "ext4" }"#,
        -17,
        "File exists: raid bdev r1: log bdev ext4 carries ext2, ext3 or ext4: clear it first, or force to \
         overwrite it",
    ),
    (
        r#"{ "data_offset": [2048, 2048] }"#,
        -22,
        "Invalid argument: raid bdev r1: 2 data offsets for 3 members; give one for each",
    ),
    (
        r#"{ "base_bdevs": ["free0", "EE_bad", "free1"] }"#,
        -5,
        "Input/output error: raid bdev r1: bdev EE_bad: a read of 8192 bytes at 0 failed: media error",
    ),
    (r#"{ "log_bdev": "none" }"#, -19, "No such device: base bdev \"none\": create it first"),
    (
        r#"{ "superblock": false, "log_bdev": "dirty", "region_size_kb": 64 }"#,
        -117,
        "Structure needs cleaning: raid bdev r1 is dirty and degraded: 80 of 80 regions may have wrong \
         parity: bring the missing members back, or force to trust the parity",
    ),
    (
        r#"{ "uuid": "67e55044-10b1-426f-9247-bb680e5fe0c8" }"#,
        -17,
        "File exists: bdev \"r1\": UUID 67e55044-10b1-426f-9247-bb680e5fe0c8 is taken by bdev \"tiny\": choose \
         another or leave it out",
    ),
];

/// Goal: an array that cannot be made is refused in exact words. Method: one of each, over files.
#[test]
fn arrays_that_cannot_be_made() {
    let shelf = Shelf::new("raid5", json!({}));
    let daemon = shelf.start(&ALL);
    for (name, bytes) in [
        ("free0", 5 << 20),
        ("free1", 5 << 20),
        ("small", 1_110_016),
        ("large", 6 << 20),
        ("dirty", 1 << 20),
        ("ext4", 1 << 20),
        ("bad", 5 << 20),
    ] {
        shelf.place.file(name, bytes);
        shelf.plug(&daemon, name);
    }
    shelf.patch("ext4", 1080, &[0x53, 0xef]);
    // Where others have their signatures, and none of our superblocks is.
    daemon.ask("bdev_error_create", json!({ "base_name": "bad" }));
    let bad = json!({
        "name": "EE_bad", "io_type": "read", "error_type": "failure", "offset_blocks": 0,
        "num_blocks": 1, "num": 1_000_000,
    });
    daemon.ask("bdev_error_inject_error", bad);
    let mut header = [0; 16];
    header[..4].copy_from_slice(b"rRiM");
    header[4..8].copy_from_slice(&2_u32.to_le_bytes());
    header[8..].copy_from_slice(&80_u64.to_le_bytes());
    shelf.patch("dirty", 0, &header);
    let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let tiny = json!({ "name": "tiny", "block_size": 512, "num_blocks": 1, "uuid": uuid });
    daemon.ask("bdev_malloc_create", tiny);
    let create = |changes: &Value, code, text: String| {
        let mut array = json!({
            "name": "r1", "raid_level": "raid5", "strip_size_kb": 64, "superblock": true,
            "base_bdevs": ["free0", null, "free1"],
        });
        for (key, value) in changes.as_object().unwrap() {
            array[key] = value.clone();
        }
        refuse(&shelf, &daemon, "bdev_raid_create", array, (code, text));
    };
    for (changes, code, text) in NO_ARRAY {
        create(&serde_json::from_str(changes).unwrap(), code, format!("{CREATE}{text}"));
    }
    let text = "Failed to create RAID bdev free0: File exists: bdev \"free0\": the name is taken by a uring bdev: \
                choose another or delete that one";
    create(&json!({ "name": "free0" }), -17, text.to_owned());
    daemon.stop();
}

/// Goal: a parity kernel that does not exist is refused, in exact words, where it is used. Method: the environment.
#[test]
fn a_kernel_that_does_not_exist() {
    let place = Place::new();
    let daemon = place.start_in(&[("RAID456_PARITY", "mmx")], &[]);
    for name in ["m0", "m1", "m2"] {
        daemon.ask("bdev_malloc_create", malloc(name, 4));
    }
    let error = daemon.refused("bdev_raid_create", raid5("r1", &["m0", "m1", "m2"]));
    let text = "Invalid argument: raid bdev r1: RAID456_PARITY: parity kernel \"mmx\" does not exist: use one of \
                reference, portable, neon, avx2, avx512-gfni";
    assert_eq!((error.code, error.message), (-22, format!("{CREATE}{text}")));
    assert_eq!(daemon.bdevs(), ["m0", "m1", "m2"]);
    daemon.stop();
}

/// Goal: who deletes an array with its superblocks is told, in exact words, which of them may still be there; the
/// others are wiped, and nothing is an array or a member any more. Method: a member whose writes fail.
#[test]
fn a_superblock_that_cannot_be_wiped() {
    let shelf = Shelf::new("raid5", json!({ "log_bdev": Value::Null }));
    let daemon = shelf.start(&["m0", "m1"]);
    daemon.ask("bdev_error_create", json!({ "base_name": "m1" }));
    for name in ["m2", "m3"] {
        shelf.plug(&daemon, name);
    }
    assert_eq!(raid(&daemon)["state"], "online");
    let fail =
        json!({ "name": "EE_m1", "io_type": "write", "error_type": "failure", "num": 1_000_000 });
    daemon.ask("bdev_error_inject_error", fail);
    let device = |name: &str| std::fs::read(shelf.place.path(name)).unwrap();
    let before = device("m1");
    let delete = json!({ "name": "r0", "clear_sb": true });
    let error = daemon.refused("bdev_raid_delete", delete);
    let text = "Input/output error: bdev \"EE_m1\" is free, but its superblock may still be there: bdev EE_m1: a \
                write of 16384 bytes at 4096 failed: media error; clear it before it is used";
    assert_eq!((error.code, error.message.as_str()), (-5, text));
    assert!(device("m1") == before);
    for name in ["m0", "m2", "m3"] {
        let bytes = device(name);
        for copy in [4096, 512 << 10] {
            assert!(bytes[copy..][..16 << 10].iter().all(|byte| *byte == 0), "{name} at {copy}");
        }
    }
    assert_eq!(daemon.ask("bdev_raid_get_bdevs", Value::Null), json!([]));
    for name in ["m0", "EE_m1", "m2", "m3"] {
        assert_eq!(daemon.bdev(name)["claimed"], false, "{name}");
    }
    daemon.stop();
}

/// Goal: superblocks that are damaged, of a later version or senseless are not used, and said to be so in
/// exact words. Method: both copies of one member, with the right checksum where that is not the point.
#[test]
fn superblocks_that_cannot_be_used() {
    const BYTES: usize = 16 << 10;
    let cases: [(usize, u32, bool, &str); 3] = [
        (64, 9, false, ""),
        (8, 9, true, "copy 0: superblock: version 9.0 is not understood, only 1.x is"),
        (
            76,
            48 << 10,
            true,
            "superblock: strip_bytes is 49152, but must be a power of two from 4096 to 16777216",
        ),
    ];
    for (at, value, sealed, text) in cases {
        let shelf = Shelf::new("raid5", json!({ "log_bdev": Value::Null }));
        let mut copy = std::fs::read(shelf.place.path("m1")).unwrap()[4096..][..BYTES].to_vec();
        copy[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let found = u32::from_le_bytes(copy[16..20].try_into().unwrap());
        copy[16..20].fill(0);
        let right = nvme::pdu::digest(&copy);
        let seal = if sealed { right } else { found };
        copy[16..20].copy_from_slice(&seal.to_le_bytes());
        for place in [4096, 512 << 10] {
            shelf.patch("m1", place, &copy);
        }
        let text = match (sealed, text) {
            (false, _) => format!(
                "superblock: the checksum is {found:#010x}, but that of the contents is {right:#010x}"
            ),
            (true, text) => text.to_owned(),
        };
        let said = if text.starts_with("copy") {
            text
        } else {
            format!("there is a superblock that cannot be used. Copy 0: {text}. Copy 1: {text}")
        };
        let before = shelf.contents();
        let daemon = shelf.start(&["m0", "m1", "m2", "m3"]);
        let reason = "array \"r0\" waits for its members in slots 1: create them, or start without them with \
             bdev_raid_assemble";
        assert_eq!(raid(&daemon)["reason"], reason);
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains("superblock cannot be used"));
        assert!(line.is_some_and(|line| line.contains(&said)), "{said}: {log}");
        assert!(shelf.contents() == before, "something was written: {said}");
        daemon.stop();
    }
}

/// Goal: members do not leave or join when that cannot be; in exact words. Method: degraded arrays, one whose
/// rebuild is frozen, one whose resync hangs.
#[test]
fn members_that_cannot_come_or_go() {
    let shelf = Shelf::new("raid5", json!({}));
    let daemon = shelf.start(&ALL);
    for name in ["b0", "b1", "b2"] {
        let disk = json!({ "name": name, "block_size": 512, "num_blocks": 10_240 });
        daemon.ask("bdev_malloc_create", disk);
    }
    daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": "m3" }));
    daemon.wait_until("it is told", |daemon| {
        let events = daemon.ask("notify_get_notifications", json!({}));
        let left = events.as_array().unwrap().iter();
        left.filter(|event| event["type"] == "raid_member_failed")
            .map(|event| (&event["ctx"], &event["detail"]))
            .eq([(&json!("r0"), &json!("slot 3: it was taken out"))])
    });
    let text =
        "raid bdev r0: 1 of its members are missing; raid5 can do without 1 and not one more";
    let remove = |name: &str| json!({ "name": name });
    let add = |name: &str| json!({ "raid_bdev": "r0", "base_bdev": name });
    let refusal = (-16, format!("{REMOVE}{text}"));
    refuse(&shelf, &daemon, "bdev_raid_remove_base_bdev", remove("m0"), refusal);
    let mut array = raid5("small", &["b0", "b1", "b2"]);
    array["assume_clean"] = json!(true);
    daemon.ask("bdev_raid_create", array);
    daemon.ask("bdev_raid_remove_base_bdev", remove("b2"));
    let text = "Invalid argument: raid bdev small: base bdev m3 has blocks of 4096 bytes; the array's are 512";
    let other = json!({ "raid_bdev": "small", "base_bdev": "m3" });
    let refusal = (-22, format!("{ADD}{text}"));
    refuse(&shelf, &daemon, "bdev_raid_add_base_bdev", other, refusal);
    daemon.ask("bdev_raid_delete", json!({ "name": "small" }));
    assert_eq!(states(&daemon)[..3], ["in_sync"; 3]);
    daemon.stop();

    let shelf = Shelf::new("raid6", json!({}));
    let daemon = shelf.start(&ALL);
    for name in ["m0", "m1"] {
        daemon.ask("bdev_raid_remove_base_bdev", remove(name));
    }
    daemon.ask("bdev_raid_message", json!({ "name": "r0", "message": "frozen" }));
    daemon.ask("bdev_raid_add_base_bdev", add("m0"));
    let text = "Device or resource busy: raid bdev r0: another member is being rebuilt: wait until that has \
                ended";
    let refusal = (-16, format!("{ADD}{text}"));
    refuse(&shelf, &daemon, "bdev_raid_add_base_bdev", add("m1"), refusal);
    daemon.stop();

    let shelf = Shelf::new("raid5", json!({}));
    let daemon = shelf.start(&ALL);
    daemon.ask("bdev_raid_delete", json!({ "name": "r0", "clear_sb": true }));
    daemon.ask("bdev_error_create", json!({ "base_name": "m1" }));
    let hang =
        json!({ "name": "EE_m1", "io_type": "read", "error_type": "pending", "num": 1_000_000 });
    daemon.ask("bdev_error_inject_error", hang);
    let mut array = shelf.array();
    array["base_bdevs"] = json!(["m0", "EE_m1", "m2", "m3"]);
    array["force"] = json!(true);
    daemon.ask("bdev_raid_create", array);
    daemon.wait_until("resync", |daemon| raid(daemon)["sync_action"] == "resync");
    let text = "raid bdev r0: 16 of 16 regions are not in sync; wait until its resync has ended";
    let refusal = (-16, format!("{REMOVE}{text}"));
    refuse(&shelf, &daemon, "bdev_raid_remove_base_bdev", remove("m0"), refusal);
    daemon.end(rustix::process::Signal::KILL);
}
