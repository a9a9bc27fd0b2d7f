//! Known arrays on the real daemon: why one is not put together, in exact words, and that nothing has
//! changed on its members then.
//!
//! Bdevs are created one by one, as hot plug would, and an array waits for all of its members.
//!
//! Not here: what is refused before anything is looked at (`refusals`); the rules (crate `raid`).

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rpc::RpcError;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{Daemon, Place};

const MEMBER_BYTES: u64 = 5 << 20;

/// Files of members and of a log, and what an array of them is like.
pub(crate) struct Shelf {
    pub(crate) place: Place,
    level: &'static str,
    members: Vec<String>,
    /// Changes to the array's parameters.
    changes: Value,
}

impl Shelf {
    /// Four members of an array that has been in sync, and was stopped.
    pub(crate) fn new(level: &'static str, changes: Value) -> Self {
        let place = Place::new();
        let members: Vec<_> = (0..4).map(|slot| format!("m{slot}")).collect();
        for name in &members {
            place.file(name, MEMBER_BYTES);
        }
        place.file("log", 1 << 20);
        let shelf = Self { place, level, members, changes };
        let daemon = shelf.start(&["m0", "m1", "m2", "m3", "log"]);
        daemon.ask("bdev_raid_create", shelf.array());
        shelf.wait_in_sync(&daemon);
        daemon.stop();
        shelf
    }

    pub(crate) fn array(&self) -> Value {
        let mut array = json!({
            "name": "r0", "raid_level": self.level, "strip_size_kb": 64, "superblock": true,
            "base_bdevs": self.members, "log_bdev": "log", "region_size_kb": 256,
        });
        for (key, value) in self.changes.as_object().unwrap() {
            array[key] = value.clone();
        }
        array
    }

    /// A daemon with bdevs of these files, which waits for members that are missing.
    pub(crate) fn start(&self, names: &[&str]) -> Daemon {
        let daemon = self.place.start_with(&["--patience".as_ref(), "3600".as_ref()]);
        names.iter().for_each(|name| self.plug(&daemon, name));
        daemon
    }

    pub(crate) fn plug(&self, daemon: &Daemon, name: &str) {
        let file = json!({ "name": name, "filename": self.place.path(name), "block_size": 4096 });
        daemon.ask("bdev_uring_create", file);
    }

    fn wait_in_sync(&self, daemon: &Daemon) {
        daemon.wait_until("in sync", |daemon| {
            let raid = raid(daemon);
            raid["in_sync"] == true && raid["sync_action"] == "idle"
        });
    }

    /// Everything on every file.
    pub(crate) fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = self.place.files().into_iter().filter(|path| path.is_file());
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// Starts a daemon with these bdevs, where the array has to be refused with this reason, also when it
    /// is asked for, with nothing changed on any file.
    fn refuse(&self, names: &[&str], force: bool, code: i64, reason: &str) -> Daemon {
        let before = self.contents();
        let daemon = self.start(names);
        let error = assemble(&daemon, force).expect_err(reason);
        assert_eq!((error.code, error.message.as_str()), (code, reason));
        let told = raid(&daemon);
        assert_eq!(told["state"], "configuring", "{told}");
        assert!(reason.ends_with(told["reason"].as_str().unwrap()), "{told}");
        assert!(self.contents() == before, "something was written: {reason}");
        daemon
    }

    /// The same, once a running array has nothing more to record.
    pub(crate) fn contents_at_rest(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut contents = self.contents();
        loop {
            thread::park_timeout(Duration::from_millis(800));
            let now = self.contents();
            if now == contents {
                return now;
            }
            contents = now;
        }
    }

    pub(crate) fn patch(&self, name: &str, offset: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(self.place.path(name)).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    }
}

/// The only array.
pub(crate) fn raid(daemon: &Daemon) -> Value {
    let raids = daemon.ask("bdev_raid_get_bdevs", Value::Null);
    assert_eq!(raids.as_array().map(Vec::len), Some(1), "{raids}");
    raids[0].clone()
}

fn assemble(daemon: &Daemon, force: bool) -> Result<Value, RpcError> {
    daemon.call("bdev_raid_assemble", json!({ "name": "r0", "force": force }))
}

pub(crate) fn states(daemon: &Daemon) -> Vec<String> {
    let list = raid(daemon)["base_bdevs_list"].take();
    let state = |member: &Value| member["state"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(state).collect()
}

pub(crate) const ALL: [&str; 5] = ["m0", "m1", "m2", "m3", "log"];

/// Goal: an array is there as soon as all of it is, and says what it waits for until then; the log counts.
#[test]
fn an_array_waits_for_all_of_it() {
    let shelf = Shelf::new("raid5", json!({}));
    let waits = "Device or resource busy: array \"r0\" waits for its members in slots 1, 3: create them, \
                 or start without them with bdev_raid_assemble";
    let daemon = shelf.start(&["m0", "m2"]);
    assert!(waits.ends_with(raid(&daemon)["reason"].as_str().unwrap()));
    shelf.plug(&daemon, "m1");
    shelf.plug(&daemon, "m3");
    assert_eq!(
        raid(&daemon)["reason"],
        "array \"r0\" waits for its log bdev \"log\": create it, or start without it with bdev_raid_assemble"
    );
    shelf.plug(&daemon, "log");
    assert_eq!(raid(&daemon)["state"], "online");
    assert_eq!(raid(&daemon)["in_sync"], true);
    let unknown = daemon.refused("bdev_raid_assemble", json!({ "name": "r1" }));
    assert_eq!(
        (unknown.code, unknown.message.as_str()),
        (
            -19,
            "No such device: array \"r1\": none of that name or UUID is known: bdev_raid_get_bdevs lists \
             them"
        )
    );
    daemon.stop();
}

/// Goal: an array under error bdevs is found as well, and its members are those and not their bases.
#[test]
fn members_may_be_stacked() {
    let shelf = Shelf::new("raid5", json!({ "log_bdev": Value::Null }));
    let daemon = shelf.start(&[]);
    for name in ["m0", "m1", "m2", "m3"] {
        shelf.plug(&daemon, name);
        if name != "m3" {
            daemon.ask("bdev_error_create", json!({ "base_name": name }));
        }
    }
    assert_eq!(raid(&daemon)["state"], "online");
    let list = raid(&daemon)["base_bdevs_list"].take();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|member| &member["name"]).collect();
    assert_eq!(names, ["EE_m0", "EE_m1", "EE_m2", "m3"]);
    daemon.stop();

    let shelf = Shelf::new("raid5", json!({ "log_bdev": Value::Null }));
    let daemon = shelf.start(&["m0", "m1", "m2"]);
    let list = |daemon: &Daemon| raid(daemon)["base_bdevs_list"][2]["name"].take();
    assert_eq!(list(&daemon), "m2");
    daemon.ask("bdev_error_create", json!({ "base_name": "m2" }));
    shelf.plug(&daemon, "m3");
    assert_eq!(raid(&daemon)["state"], "online", "{}", daemon.log());
    assert_eq!(list(&daemon), "EE_m2");
    assert!(!daemon.log().contains("not assembled"), "{}", daemon.log());
    daemon.stop();
}

/// Goal: a member that has missed updates never takes its slot (R8). Method: an old copy of it.
#[test]
fn a_stale_member_is_left_out() {
    let shelf = Shelf::new("raid5", json!({}));
    let old = fs::read(shelf.place.path("m1")).unwrap();
    for _ in 0..2 {
        shelf.start(&ALL).stop();
    }
    fs::write(shelf.place.path("m1"), old).unwrap();
    let before = shelf.contents();
    let daemon = shelf.start(&ALL);
    assert_eq!(
        raid(&daemon)["reason"],
        "array \"r0\" waits for its members in slots 1: create them, or start without them with \
         bdev_raid_assemble"
    );
    assert!(shelf.contents() == before);
    assemble(&daemon, false).unwrap();
    assert_eq!(states(&daemon), ["in_sync", "faulty", "in_sync", "in_sync"]);
    let told = "bdev m1 of slot 1 is stale, at event ";
    assert!(daemon.log().contains(told), "{}", daemon.log());
    assert!(daemon.log().contains(": all of it has to be rebuilt"), "{}", daemon.log());
    daemon.ask("bdev_raid_add_base_bdev", json!({ "raid_bdev": "r0", "base_bdev": "m1" }));
    daemon.wait_until("rebuilt", |daemon| states(daemon) == ["in_sync"; 4]);
    daemon.stop();
}

/// Goal: a member that was away while the array ran comes back by what changed, if a log says what that is,
/// and is left out if none does.
#[test]
fn a_member_that_was_away() {
    for log in [true, false] {
        let log_bdev = if log { json!("log") } else { Value::Null };
        let shelf = Shelf::new("raid5", json!({ "log_bdev": log_bdev }));
        let daemon = shelf.start(&["m0", "m2", "m3", "log"]);
        assemble(&daemon, false).unwrap();
        daemon.stop();
        let daemon = shelf.start(&ALL);
        if log {
            daemon.wait_until("rebuilt", |daemon| states(daemon) == ["in_sync"; 4]);
        } else {
            assert_eq!(states(&daemon), ["in_sync", "faulty", "in_sync", "in_sync"]);
        }
        let rest = match log {
            true => "to come back, what is dirty in the log has to be rebuilt",
            false => "to come back, all of it has to be rebuilt",
        };
        let told = daemon.log();
        assert!(told.contains("bdev m1 of slot 1 was declared faulty at event "), "{told}");
        assert!(told.contains(rest), "{told}");
        daemon.stop();
    }
}

/// Goal: an array that ran in parts is not put together without an operator's word.
#[test]
fn a_split_array_is_refused() {
    let shelf = Shelf::new("raid6", json!({ "log_bdev": Value::Null }));
    for side in [["m0", "m1"], ["m2", "m3"]] {
        let daemon = shelf.start(&side);
        assemble(&daemon, false).unwrap();
        daemon.stop();
    }
    let events = |name: &str| {
        let bytes = fs::read(shelf.place.path(name)).unwrap();
        u64::from_le_bytes(bytes[4096 + 56..][..8].try_into().unwrap())
    };
    // Were one side complete before the other is seen, it would run, as it did before.
    let reason = format!(
        "Invalid argument: array r0 has run in parts without each other: m0, m1 at event {} against m2, m3 \
         at event {}. Wipe the superblocks of all sides but one, or force to keep the first",
        events("m0"),
        events("m2")
    );
    let daemon = shelf.refuse(&["m0", "m2", "m1", "m3"], false, -22, &reason);
    assemble(&daemon, true).unwrap();
    assert_eq!(states(&daemon), ["in_sync", "in_sync", "faulty", "faulty"]);
    daemon.stop();
}

/// Goal: the other half of a split array that is plugged in while the first one runs stays out of it, whichever
/// has the higher event count, with nothing written to it; to come back, all of it is rebuilt. Method: with a
/// log, by which members that were only away come back for what changed.
#[test]
fn the_other_half_stays_out_of_a_running_array() {
    for (first, second) in [(1, 3), (3, 1)] {
        let shelf = Shelf::new("raid6", json!({}));
        for (side, runs) in [(["m0", "m1", "log"], first), (["m2", "m3", "log"], second)] {
            for _ in 0..runs {
                let daemon = shelf.start(&side);
                if raid(&daemon)["state"] != "online" {
                    assemble(&daemon, false).unwrap();
                }
                daemon.stop();
            }
        }
        let others = || ["m2", "m3"].map(|name| fs::read(shelf.place.path(name)).unwrap());
        let before = others();
        let daemon = shelf.start(&["m0", "m1", "log"]);
        if raid(&daemon)["state"] != "online" {
            assemble(&daemon, false).unwrap();
        }
        for name in ["m2", "m3"] {
            shelf.plug(&daemon, name);
        }
        assert_eq!(states(&daemon), ["in_sync", "in_sync", "faulty", "faulty"]);
        assert!(others() == before, "something was written to the other half");
        for name in ["m2", "m3"] {
            daemon.ask("bdev_raid_add_base_bdev", json!({ "raid_bdev": "r0", "base_bdev": name }));
            let log = daemon.log();
            let line = log.lines().rfind(|line| line.contains("member added")).unwrap();
            assert!(line.contains("scope=Whole"), "{line}");
            let slot = usize::from(name == "m3") + 2;
            daemon.wait_until("rebuilt", |daemon| states(daemon)[slot] == "in_sync");
        }
        assert_eq!(states(&daemon), ["in_sync"; 4]);
        daemon.stop();
    }
}

/// Goal: too many members away is refused, and not even force helps.
#[test]
fn too_few_members_are_refused() {
    let shelf = Shelf::new("raid5", json!({}));
    let reason = "Invalid argument: array r0: 2 members are in sync, but 3 are needed; missing or not \
                  rebuilt: slots 1, 2";
    for force in [false, true] {
        shelf.refuse(&["m0", "m3", "log"], force, -22, reason).stop();
    }
    let daemon = shelf.refuse(&["m0", "m3", "log"], true, -22, reason);
    shelf.plug(&daemon, "m1");
    shelf.plug(&daemon, "m2");
    assert_eq!(states(&daemon), ["in_sync"; 4]);
    daemon.stop();
}

/// Goal: copies of a member and members that have shrunk are refused, and not even force helps.
#[test]
fn copies_and_shrunken_members_are_refused() {
    let shelf = Shelf::new("raid5", json!({}));
    fs::copy(shelf.place.path("m1"), shelf.place.path("m1_copy")).unwrap();
    let names = ["m0", "m1", "m1_copy", "m2", "m3", "log"];
    let uuid = fs::read(shelf.place.path("m1")).unwrap()[4096 + 40..][..16].to_vec();
    let uuid = uuid::Uuid::from_slice(&uuid).unwrap();
    // The array is complete before the last of these appears; then the copy is nobody.
    let before = shelf.contents();
    let daemon = shelf.start(&["m1", "m1_copy", "m0"]);
    let reason = format!(
        "Invalid argument: array r0: bdevs m1, m1_copy all are member {uuid}, as copies of one device or \
         paths to it: leave one and hide the others"
    );
    for force in [false, true] {
        let error = assemble(&daemon, force).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (-22, reason.as_str()));
    }
    assert!(shelf.contents() == before);
    daemon.stop();
    drop(shelf.refuse(&names, true, -22, &reason));

    fs::remove_file(shelf.place.path("m1_copy")).unwrap();
    let file = OpenOptions::new().write(true).open(shelf.place.path("m1")).unwrap();
    file.set_len(4 << 20).unwrap();
    let reason = "Invalid argument: array r0: bdev m1 of 4194304 bytes is too small for slot 1, which \
                  needs 5242880";
    for force in [false, true] {
        drop(shelf.refuse(&ALL, force, -22, reason));
    }
}

/// Leaves an array behind that is dirty everywhere. Method: its resync hangs, and it is killed.
fn dirty(level: &'static str, changes: Value) -> Shelf {
    let shelf = Shelf::new(level, changes);
    let daemon = shelf.start(&ALL);
    daemon.ask("bdev_raid_delete", json!({ "name": "r0", "clear_sb": true }));
    // One whose data nobody looks for a superblock in: the first data strip is in slot 0, or in 1 of RAID 6.
    let slot = usize::from(level != "raid6");
    daemon.ask("bdev_error_create", json!({ "base_name": ALL[slot] }));
    let hung = format!("EE_{}", ALL[slot]);
    let hang =
        json!({ "name": hung, "io_type": "read", "error_type": "pending", "num": 1_000_000 });
    let mut array = shelf.array();
    array["base_bdevs"][slot] = json!(hung);
    array["force"] = json!(true);
    daemon.ask("bdev_error_inject_error", hang);
    daemon.ask("bdev_raid_create", array);
    daemon.wait_until("resync", |daemon| raid(daemon)["sync_action"] == "resync");
    daemon.wait_until("running", |daemon| raid(daemon)["events"] != 0);
    let dirty = |bytes: &[u8]| bytes[1024..1026] == [0, 0] && bytes[..4] == *b"rRiM";
    daemon.wait_until("the log is written", |_| {
        shelf.array()["log_bdev"].is_null() || dirty(&fs::read(shelf.place.path("log")).unwrap())
    });
    // That the log can be trusted is recorded after that.
    shelf.contents_at_rest();
    daemon.end(Signal::KILL);
    shelf
}

/// Goal: R7. An array that is dirty and degraded is refused; the member that is missing helps, and so does
/// force, which is recorded.
#[test]
fn dirty_and_degraded_is_refused() {
    let reason = |dirty: &str| {
        format!(
            "Structure needs cleaning: array r0 is dirty and degraded: {dirty} of 16 regions may have \
             wrong parity, and slot 2 would be computed from it: bring the missing members back, or force \
             to trust the parity"
        )
    };
    let shelf = dirty("raid5", json!({}));
    let daemon = shelf.refuse(&["m0", "m1", "m3", "log"], false, -117, &reason("16"));
    let saved = shelf.contents();
    shelf.plug(&daemon, "m2");
    shelf.wait_in_sync(&daemon);
    assert_eq!(states(&daemon), ["in_sync"; 4]);
    daemon.stop();

    for (path, bytes) in saved {
        fs::write(path, bytes).unwrap();
    }
    let daemon = shelf.refuse(&["m0", "m1", "m3", "log"], false, -117, &reason("16"));
    assemble(&daemon, true).unwrap();
    assert_eq!(states(&daemon), ["in_sync", "in_sync", "faulty", "in_sync"]);
    let told = daemon.log();
    assert!(told.contains("dirty and degraded: parity is trusted by force"), "{told}");
    daemon.stop();

    let shelf = dirty("raid5", json!({ "log_bdev": Value::Null }));
    drop(shelf.refuse(&["m0", "m1", "m3"], false, -117, &reason("all")));
}

/// Goal: a RAID 6 that is started by force without a member trusts P, and makes Q anew: nothing is computed from
/// a Q that nobody has vouched for, and it matches again. Method: Q of the first stripe is damaged on a member
/// that stays, the member of slot 2, which has data there, is missing; with all members back nothing mismatches.
#[test]
fn force_makes_both_parities_anew() {
    let shelf = dirty("raid6", json!({}));
    let of_q = 1 << 20;
    shelf.patch("m0", of_q, &[0x5a; 4096]);
    let daemon = shelf.start(&["m0", "m1", "m3", "log"]);
    assemble(&daemon, true).unwrap();
    assert_eq!(states(&daemon), ["in_sync", "in_sync", "faulty", "in_sync"]);
    shelf.plug(&daemon, "m2");
    daemon.wait_until("rebuilt", |daemon| states(daemon) == ["in_sync"; 4]);
    shelf.wait_in_sync(&daemon);
    daemon.ask("bdev_raid_message", json!({ "name": "r0", "message": "check" }));
    shelf.wait_in_sync(&daemon);
    assert_eq!(raid(&daemon)["mismatch_sectors"], 0, "{}", raid(&daemon));
    daemon.stop();
}

/// Goal: a log that is another's, or gone where the array must not run without it, is refused.
#[test]
fn a_log_that_does_not_belong_is_refused() {
    let shelf = Shelf::new("raid5", json!({ "on_log_failure": "block" }));
    let log = fs::read(shelf.place.path("log")).unwrap();
    shelf.patch("log", 8, &8_u64.to_le_bytes());
    let reason = "Structure needs cleaning: array r0: log log has 8 regions, but must have 16, of 262144 \
                  bytes: use the log that belongs to the array";
    for force in [false, true] {
        drop(shelf.refuse(&ALL, force, -117, reason));
    }
    let gone = |uuid: &str, state: &str| {
        format!(
            "Structure needs cleaning: array r0: log log ({uuid}) {state}, and the array blocks writes \
             when its log fails: bring the log back, or force to resync everything"
        )
    };
    let superblock = fs::read(shelf.place.path("m0")).unwrap();
    let uuid = uuid::Uuid::from_slice(&superblock[4096 + 120..][..16]).unwrap().to_string();
    drop(shelf.refuse(&["m0", "m1", "m2", "m3"], false, -117, &gone(&uuid, "is missing")));
    shelf.patch("log", 0, &[0; 4]);
    drop(shelf.refuse(&ALL, false, -117, &gone(&uuid, "cannot be read")));
    fs::write(shelf.place.path("log"), &log).unwrap();
    let daemon = shelf.start(&["m0", "m1", "m2", "m3"]);
    assemble(&daemon, true).unwrap();
    shelf.wait_in_sync(&daemon);
    daemon.stop();
}

/// Goal: nothing that is known to be somebody's is overwritten without force.
#[test]
fn what_is_on_a_device_is_not_overwritten() {
    let shelf = Shelf::new("raid5", json!({}));
    let superblock = fs::read(shelf.place.path("m0")).unwrap();
    let uuid = uuid::Uuid::from_slice(&superblock[4096 + 24..][..16]).unwrap();
    let events = u64::from_le_bytes(superblock[4096 + 56..][..8].try_into().unwrap());
    for name in ["md", "ext4", "damaged", "free0", "free1"] {
        shelf.place.file(name, MEMBER_BYTES);
    }
    shelf.patch("md", 4096, &[0xfc, 0x4e, 0x2b, 0xa9]);
    shelf.patch("ext4", 1080, &[0x53, 0xef]);
    fs::copy(shelf.place.path("m1"), shelf.place.path("damaged")).unwrap();
    for copy in [4096, 512 << 10] {
        shelf.patch("damaged", copy + 64, &[9]);
    }
    let daemon = shelf.start(&["md", "ext4", "damaged", "free0", "free1", "m0"]);
    let before = shelf.contents();
    let create = |name: &str, force: bool| {
        let array = json!({
            "name": "r1", "raid_level": "raid5", "strip_size_kb": 64, "superblock": true,
            "base_bdevs": ["free0", name, "free1"], "force": force,
        });
        daemon.call("bdev_raid_create", array)
    };
    let ours = format!("a member of array \"r0\" ({uuid}, event {events})");
    let what = [
        ("md", "Linux md RAID"),
        ("ext4", "ext2, ext3 or ext4"),
        (
            "damaged",
            "something that may be ours: there is a superblock that cannot be used. Copy 0: ",
        ),
        ("m0", ours.as_str()),
    ];
    for (name, what) in what {
        let error = create(name, false).unwrap_err();
        let start = format!(
            "Failed to create RAID bdev r1: File exists: raid bdev r1: base bdev {name} carries {what}"
        );
        let end = ": clear it first, or force to overwrite it";
        let exact = name == "damaged" || error.message == format!("{start}{end}");
        assert!(error.message.starts_with(&start) && error.message.ends_with(end), "{error}");
        assert!(exact && error.code == -17, "{error}");
        assert!(shelf.contents() == before, "{error}");
    }
    create("md", true).unwrap();
    daemon.stop();
}

/// Goal: a bdev that cannot be a member or a spare of a running array is refused, and so is a background
/// action while another one runs. Method: a check that cannot go on.
#[test]
fn a_running_array_refuses_what_does_not_fit() {
    let shelf = Shelf::new("raid5", json!({}));
    shelf.place.file("md", MEMBER_BYTES);
    shelf.place.file("small", MEMBER_BYTES - 4096);
    shelf.patch("md", 4096, &[0xfc, 0x4e, 0x2b, 0xa9]);
    let daemon = shelf.start(&["m0", "m1", "m2", "log", "md", "small"]);
    daemon.ask(
        "bdev_malloc_create",
        json!({ "name": "free", "block_size": 512, "num_blocks": 10_240 }),
    );
    assemble(&daemon, false).unwrap();
    let before = shelf.contents_at_rest();
    let refuse = |method: &str, params: Value, code: i64, text: &str| {
        let error = daemon.refused(method, params);
        assert_eq!((error.code, error.message.as_str()), (code, text));
    };
    let add = |name: &str| json!({ "raid_bdev": "r0", "base_bdev": name });
    refuse(
        "bdev_raid_add_base_bdev",
        add("small"),
        -22,
        "Failed to add base bdev to RAID bdev: Invalid argument: raid bdev r0: base bdev small has 5238784 \
         bytes, too few: its data offset and the array's component take 5242880",
    );
    refuse(
        "bdev_raid_add_base_bdev",
        add("m1"),
        -1,
        "Failed to add base bdev to RAID bdev: Operation not permitted: base bdev \"m1\" is claimed by \
         array \"r0\" as slot 1: give a bdev that nobody uses",
    );
    refuse(
        "bdev_raid_add_spare",
        add("md"),
        -17,
        "File exists: raid bdev r0: base bdev md carries Linux md RAID: clear it first, or force to \
         overwrite it",
    );
    refuse(
        "bdev_raid_add_spare",
        json!({ "raid_bdev": "m0", "base_bdev": "free" }),
        -19,
        "No such device: array \"m0\": none of that name or UUID is known: bdev_raid_get_bdevs lists them",
    );
    assert!(shelf.contents() == before, "something was written");

    shelf.plug(&daemon, "m3");
    daemon.wait_until("rebuilt", |daemon| states(daemon) == ["in_sync"; 4]);
    refuse(
        "bdev_raid_add_base_bdev",
        add("free"),
        -16,
        "Failed to add base bdev to RAID bdev: Device or resource busy: raid bdev r0: every slot has a \
         member; take the failed one out first",
    );
    daemon.stop();
}

/// Goal: one background action at a time, in the words of the refusal. Method: one that cannot go on.
#[test]
fn one_background_action_at_a_time() {
    let shelf = Shelf::new("raid5", json!({}));
    let daemon = shelf.start(&["m0", "m1", "m2", "log"]);
    shelf.plug(&daemon, "m3");
    daemon.ask("bdev_raid_delete", json!({ "name": "r0", "clear_sb": true }));
    daemon.ask("bdev_error_create", json!({ "base_name": "m1" }));
    let mut array = shelf.array();
    array["base_bdevs"] = json!(["m0", "EE_m1", "m2", "m3"]);
    daemon.ask("bdev_raid_create", array);
    shelf.wait_in_sync(&daemon);
    let hang =
        json!({ "name": "EE_m1", "io_type": "read", "error_type": "pending", "num": 1_000_000 });
    daemon.ask("bdev_error_inject_error", hang);
    let message = |word: &str| json!({ "name": "r0", "message": word });
    daemon.ask("bdev_raid_message", message("check"));
    daemon.wait_until("check", |daemon| raid(daemon)["sync_action"] == "check");
    for word in ["check", "repair", "resync", "recover"] {
        let error = daemon.refused("bdev_raid_message", message(word));
        assert_eq!(
            (error.code, error.message.as_str()),
            (
                -16,
                "Device or resource busy: array \"r0\": Check is running: wait for its end, or send idle \
                 or frozen first"
            )
        );
    }
    daemon.ask("bdev_raid_message", message("frozen"));
    daemon.ask("bdev_error_inject_error", json!({ "name": "EE_m1", "io_type": "clear" }));
    daemon.ask("bdev_error_resume_pending", json!({ "name": "EE_m1" }));
    daemon.wait_until("frozen", |daemon| raid(daemon)["sync_action"] == "frozen");
    daemon.ask("bdev_raid_message", message("repair"));
    daemon.wait_until("idle", |daemon| raid(daemon)["sync_action"] == "idle");
    daemon.stop();
}

/// Goal: sizes that no array with a superblock, and no log, can have are refused.
#[test]
fn impossible_sizes_are_refused() {
    let shelf = Shelf::new("raid5", json!({}));
    for name in ["free0", "free1", "free2"] {
        shelf.place.file(name, MEMBER_BYTES);
    }
    shelf.place.file("tiny", 4096);
    shelf.place.file("other", 1 << 20);
    let mut header = [0; 16];
    header[..4].copy_from_slice(b"rRiM");
    header[4..8].copy_from_slice(&2_u32.to_le_bytes());
    header[8..].copy_from_slice(&9_u64.to_le_bytes());
    shelf.patch("other", 0, &header);
    let daemon = shelf.start(&["free0", "free1", "free2", "tiny", "other"]);
    let before = shelf.contents();
    let refuse = |changes: Value, text: &str| {
        let mut array = json!({
            "name": "r1", "raid_level": "raid5", "strip_size_kb": 64, "superblock": true,
            "base_bdevs": ["free0", "free1", "free2"],
        });
        for (key, value) in changes.as_object().unwrap() {
            array[key] = value.clone();
        }
        let error = daemon.refused("bdev_raid_create", array);
        let text = format!("Failed to create RAID bdev r1: Invalid argument: {text}");
        assert_eq!((error.code, error.message), (-22, text));
        assert!(shelf.contents() == before, "something was written");
    };
    for kib in [32, 100] {
        let text = format!(
            "raid bdev r1: region size {} is not possible: give a power of two from 65536 (a strip) to \
             1099511627776 bytes",
            kib << 10
        );
        refuse(json!({ "region_size_kb": kib }), &text);
    }
    refuse(
        json!({ "data_offset": 1024 }),
        "raid bdev r1: data offset 524288 in slot 0 leaves no room for the superblock: give at least \
         1048576 bytes, or leave it out",
    );
    refuse(
        json!({ "region_size_kb": 64, "log_bdev": "free0" }),
        "base bdev free0: it is given twice: members, log and spares are different bdevs",
    );
    refuse(
        json!({ "superblock": false, "log_bdev": "other", "region_size_kb": 64 }),
        "raid bdev r1: log device other holds a log of 9 regions, but 80 are expected: use the region size \
         and the device size that it was written with, or begin a new log with sync",
    );
    daemon.stop();
}

/// Goal: who deletes an array with its superblocks deletes all of them: nothing of it is found again.
#[test]
fn a_deleted_array_is_not_found_again() {
    let shelf = Shelf::new("raid5", json!({}));
    shelf.place.file("spare", MEMBER_BYTES);
    let daemon = shelf.start(&ALL);
    shelf.plug(&daemon, "spare");
    daemon.ask("bdev_raid_add_spare", json!({ "raid_bdev": "r0", "base_bdev": "spare" }));
    daemon.ask("bdev_raid_delete", json!({ "name": "r0", "clear_sb": true }));
    daemon.stop();
    let daemon = shelf.start(&["m0", "m1", "m2", "m3", "log", "spare"]);
    assert_eq!(daemon.ask("bdev_raid_get_bdevs", Value::Null), json!([]));
    daemon.stop();
}

/// Goal: an array without superblocks has none to be wiped, and data where they would be.
#[test]
fn nothing_is_wiped_where_there_is_no_superblock() {
    let shelf = Shelf::new("raid5", json!({ "superblock": false, "log_bdev": Value::Null }));
    for name in &shelf.members {
        fs::write(shelf.place.path(name), vec![0xab; MEMBER_BYTES as usize]).unwrap();
    }
    let before = shelf.contents();
    let daemon = shelf.start(&ALL);
    let mut array = shelf.array();
    array["assume_clean"] = json!(true);
    daemon.ask("bdev_raid_create", array);
    daemon.ask("bdev_raid_delete", json!({ "name": "r0", "clear_sb": true }));
    assert!(shelf.contents() == before);
    daemon.stop();
}

/// Goal: a spare that appears when its array runs degraded already takes over at once.
#[test]
fn a_spare_that_comes_late_takes_over() {
    let shelf = Shelf::new("raid5", json!({}));
    shelf.place.file("spare", MEMBER_BYTES);
    let daemon = shelf.start(&ALL);
    shelf.plug(&daemon, "spare");
    daemon.ask("bdev_raid_add_spare", json!({ "raid_bdev": "r0", "base_bdev": "spare" }));
    daemon.stop();
    let daemon = shelf.start(&["m0", "m2", "m3", "log"]);
    assemble(&daemon, false).unwrap();
    assert_eq!(states(&daemon), ["in_sync", "faulty", "in_sync", "in_sync"]);
    shelf.plug(&daemon, "spare");
    daemon.wait_until("rebuilt", |daemon| states(daemon) == ["in_sync"; 4]);
    assert_eq!(raid(&daemon)["base_bdevs_list"][1]["name"], "spare");
    daemon.stop();
}
