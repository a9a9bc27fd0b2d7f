//! What is on a bdev, and whether it becomes a member or spare all the same: every way to ask for that, in exact
//! words, and not a byte changed on what is refused.
//!
//! Not here: members of new arrays (`known`, `audit`); what is decided (`raid456::control`).

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use rpc::RpcError;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{Daemon, entry, raid5};
use crate::known::Shelf;

/// Bytes of the files and RAM disks here.
const BYTES: u64 = 5 << 20;

const MD: (u64, [u8; 4]) = (4096, [0xfc, 0x4e, 0x2b, 0xa9]);
const EXT4: (u64, [u8; 2]) = (1080, [0x53, 0xef]);

const EXISTS: &str = "File exists: ";
const ADD: &str = "Failed to add base bdev to RAID bdev: ";
const CREATE: &str = "Failed to create RAID bdev new: ";

/// The ways to ask for a member or spare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Member(&'static str),
    Spare(&'static str),
    Pool,
    /// With superblocks, or without.
    New(bool),
}

const WAYS: [Way; 7] = [
    Way::Member("marked"),
    Way::Member("plain"),
    Way::Spare("marked"),
    Way::Spare("plain"),
    Way::Pool,
    Way::New(true),
    Way::New(false),
];

impl Way {
    /// Asks for a bdev; without `force` where that is not said.
    fn ask(self, daemon: &Daemon, name: &str, force: Option<bool>) -> Result<Value, RpcError> {
        let (method, mut params) = match self {
            Self::Member(array) => {
                ("bdev_raid_add_base_bdev", json!({ "raid_bdev": array, "base_bdev": name }))
            }
            Self::Spare(array) => {
                ("bdev_raid_add_spare", json!({ "raid_bdev": array, "base_bdev": name }))
            }
            Self::Pool => ("bdev_raid_add_spare", json!({ "base_bdev": name })),
            Self::New(superblock) => {
                let mut array = raid5("new", &["n0", "n1", "n2"]);
                array["superblock"] = superblock.into();
                array["spares"] = json!([name]);
                ("bdev_raid_create", array)
            }
        };
        if let Some(force) = force {
            params["force"] = force.into();
        }
        daemon.call(method, params)
    }

    /// The refusal of a bdev that carries something.
    fn refusal(self, name: &str, what: &str) -> String {
        let begin = match self {
            Self::Member(array) => format!("{ADD}{EXISTS}raid bdev {array}: base bdev {name}"),
            Self::Spare(array) => format!("{EXISTS}raid bdev {array}: base bdev {name}"),
            Self::Pool => format!("{EXISTS}bdev {name:?}"),
            Self::New(_) => format!("{CREATE}{EXISTS}raid bdev new: base bdev {name}"),
        };
        format!("{begin} carries {what}: clear it first, or force to overwrite it")
    }
}

/// A daemon with these files of the shelf, RAM disks for a new array, and two arrays that lack a member each: one
/// with superblocks, one without.
fn start(shelf: &Shelf, files: &[&str]) -> Daemon {
    let daemon = shelf.start(files);
    for name in ["n0", "n1", "n2", "s0", "s1", "p0", "p1"] {
        disk(&daemon, name, 4096);
    }
    for (name, first, second) in [("marked", "s0", "s1"), ("plain", "p0", "p1")] {
        let mut array = raid5(name, &[first, second]);
        array["base_bdevs"] = json!([first, null, second]);
        array["superblock"] = (name == "marked").into();
        daemon.ask("bdev_raid_create", array);
    }
    daemon
}

fn disk(daemon: &Daemon, name: &str, block_size: u64) {
    let disk = json!({ "name": name, "block_size": block_size, "num_blocks": BYTES / block_size });
    daemon.ask("bdev_malloc_create", disk);
}

fn is_claimed(daemon: &Daemon, name: &str) -> bool {
    daemon.bdev(name)["claimed"] == true
}

/// Waits until an array lacks nobody and does nothing.
fn wait_whole(daemon: &Daemon, name: &str) {
    daemon.wait_until("it is whole", |daemon| {
        let raids = daemon.ask("bdev_raid_get_bdevs", Value::Null);
        let raid = raids.as_array().unwrap().iter().find(|raid| raid["name"] == name).unwrap();
        raid["num_base_bdevs_degraded"] == 0 && raid["sync_action"] == "idle"
    });
}

/// Files that carry something, beside the members of `r0`, which waits for its log; and what the refusals say.
fn occupied(shelf: &Shelf) -> Vec<(&'static str, String)> {
    let superblock = fs::read(shelf.place.path("m0")).unwrap()[4096..][..16 << 10].to_vec();
    let uuid = uuid::Uuid::from_slice(&superblock[24..][..16]).unwrap();
    let events = u64::from_le_bytes(superblock[56..][..8].try_into().unwrap());
    for name in ["md", "ext4", "damaged"] {
        shelf.place.file(name, BYTES);
    }
    shelf.patch("md", MD.0, &MD.1);
    shelf.patch("ext4", EXT4.0, &EXT4.1);
    let mut damaged = superblock;
    damaged[64] = 9;
    for copy in [4096, 512 << 10] {
        shelf.patch("damaged", copy, &damaged);
    }
    let found = u32::from_le_bytes(damaged[16..20].try_into().unwrap());
    damaged[16..20].fill(0);
    let right = nvme::pdu::digest(&damaged);
    let text = format!(
        "superblock: the checksum is {found:#010x}, but that of the contents is {right:#010x}"
    );
    let ours = format!("a member of array \"r0\" ({uuid}, event {events})");
    vec![
        ("m0", ours.clone()),
        ("m1", ours),
        ("md", "Linux md RAID".to_owned()),
        ("ext4", "ext2, ext3 or ext4".to_owned()),
        (
            "damaged",
            format!(
                "something that may be ours: there is a superblock that cannot be used. Copy 0: {text}. Copy \
                 1: {text}"
            ),
        ),
    ]
}

/// Goal: nothing that is known to be somebody's is taken without force, whoever asks for it, and nothing has changed
/// then; what is blank is. Method: every occupant in every way, with `force` left out and false.
#[test]
fn what_is_somebodys_is_no_member_and_no_spare() {
    let shelf = Shelf::new("raid5", json!({}));
    let occupied = occupied(&shelf);
    shelf.place.file("blank", BYTES);
    let names: Vec<_> = occupied.iter().map(|(name, _)| *name).chain(["blank"]).collect();
    let daemon = start(&shelf, &names);
    let (before, bdevs) = (shelf.contents(), daemon.bdevs());
    for (name, what) in &occupied {
        for (way, force) in WAYS.into_iter().zip([None, Some(false)].into_iter().cycle()) {
            let error = way.ask(&daemon, name, force).expect_err(name);
            assert_eq!((error.code, error.message), (-17, way.refusal(name, what)), "{way:?}");
            assert!(!is_claimed(&daemon, name), "{way:?} {name}");
        }
    }
    assert!(shelf.contents() == before, "something was written");
    assert_eq!(daemon.bdevs(), bdevs, "something was made");
    assert!(!is_claimed(&daemon, "n0"));
    Way::Member("marked").ask(&daemon, "blank", None).unwrap();
    wait_whole(&daemon, "marked");
    daemon.stop();
}

/// Goal: with force everything is taken, in every way, and what is rebuilt is right: it comes from the array alone.
/// Method: members of one array that could be assembled, which is not done any more then.
#[test]
fn force_overwrites_what_is_somebodys() {
    let shelf = Shelf::new("raid5", json!({}));
    occupied(&shelf);
    let daemon = start(&shelf, &["m0", "m1", "m2", "md", "ext4", "damaged"]);
    let takes = |way: Way, name: &str| {
        assert!(way.ask(&daemon, name, None).is_err(), "{way:?} {name}");
        way.ask(&daemon, name, Some(true)).unwrap();
        assert!(is_claimed(&daemon, name), "{way:?} {name}");
    };
    takes(Way::Member("marked"), "m0");
    wait_whole(&daemon, "marked");
    takes(Way::Member("plain"), "ext4");
    wait_whole(&daemon, "plain");
    takes(Way::Spare("marked"), "m1");
    takes(Way::Spare("plain"), "md");
    takes(Way::New(true), "damaged");
    let log = daemon.log();
    let scopes: Vec<_> = log.lines().filter(|line| line.contains("scope=")).collect();
    assert_eq!(scopes.len(), 2, "{scopes:?}");
    assert!(scopes.iter().all(|line| line.contains("scope=Whole")), "{scopes:?}");
    let raids = daemon.ask("bdev_raid_get_bdevs", Value::Null);
    let r0 = raids.as_array().unwrap().iter().find(|raid| raid["name"] == "r0").unwrap();
    assert_eq!(r0["num_base_bdevs_discovered"], 1, "m2 alone is left of it: {r0}");
    takes(Way::Pool, "m2");
    daemon.stop();

    let daemon = start(&shelf, &["ext4", "md", "m0", "m1"]);
    let error = Way::New(false).ask(&daemon, "m0", None).unwrap_err();
    assert!(error.message.contains("carries a member of array \"marked\""), "{error}");
    let error = Way::New(false).ask(&daemon, "m1", None).unwrap_err();
    assert!(error.message.contains("carries a spare of array \"marked\""), "{error}");
    Way::New(false).ask(&daemon, "md", Some(true)).unwrap();
    assert!(is_claimed(&daemon, "md"));
    daemon.stop();
}

/// Goal: what cannot be a spare of its array is refused when it is given, in the words in which the slot would be,
/// and nothing is made; force does not help. To the pool it may come: there is no array yet. Method: too small, and
/// larger blocks than the array's, of running and of new arrays.
#[test]
fn what_does_not_fit_is_no_spare() {
    let shelf = Shelf::new("raid5", json!({}));
    shelf.place.file("small", BYTES - 4096);
    shelf.place.file("coarse", BYTES);
    let daemon = start(&shelf, &["small", "coarse"]);
    for name in ["f0", "f1", "f2"] {
        disk(&daemon, name, 512);
    }
    let mut fine = raid5("fine", &["f0", "f1"]);
    fine["base_bdevs"] = json!(["f0", null, "f1"]);
    daemon.ask("bdev_raid_create", fine);
    let (before, bdevs) = (shelf.contents(), daemon.bdevs());
    let refuse = |method: &str, mut params: Value, text: &str| {
        for force in [false, true] {
            params["force"] = force.into();
            let error = daemon.refused(method, params.clone());
            assert_eq!((error.code, error.message.as_str()), (-22, text));
            assert!(shelf.contents() == before, "something was written: {text}");
            assert_eq!(daemon.bdevs(), bdevs, "something was made: {text}");
        }
    };
    let small = |array: &str| {
        format!(
            "Invalid argument: raid bdev {array}: base bdev small has 5238784 bytes, too few: its data offset and \
             the array's component take 5242880"
        )
    };
    let coarse = |array: &str| {
        format!(
            "Invalid argument: raid bdev {array}: base bdev coarse has blocks of 4096 bytes; the array's are 512"
        )
    };
    let spare = |array: &str, name: &str| json!({ "raid_bdev": array, "base_bdev": name });
    let member = "bdev_raid_add_base_bdev";
    for array in ["marked", "plain"] {
        refuse("bdev_raid_add_spare", spare(array, "small"), &small(array));
        refuse(member, spare(array, "small"), &format!("{ADD}{}", small(array)));
    }
    refuse("bdev_raid_add_spare", spare("fine", "coarse"), &coarse("fine"));
    refuse(member, spare("fine", "coarse"), &format!("{ADD}{}", coarse("fine")));
    let new = |members: &[&str], name: &str| {
        let mut array = raid5("new", members);
        array["spares"] = json!([name]);
        array
    };
    let (wide, narrow) = (["n0", "n1", "n2"], ["f2", "n1", "n2"]);
    refuse("bdev_raid_create", new(&wide, "small"), &format!("{CREATE}{}", small("new")));
    // The largest blocks of a member are the array's: no spare has larger ones than these members.
    daemon.ask("bdev_raid_create", new(&narrow, "coarse"));
    daemon.ask("bdev_raid_add_spare", json!({ "base_bdev": "small" }));
    assert!(is_claimed(&daemon, "small") && is_claimed(&daemon, "coarse"));
    daemon.stop();
}

/// Goal: what was once taken by force is taken again when the state is replayed, after an orderly end and after
/// another one; what was on it stays. Method: spares of the pool and of an array without superblocks.
#[test]
fn a_restart_asks_nothing_again() {
    let shelf = Shelf::new("raid5", json!({}));
    occupied(&shelf);
    for name in ["a", "b", "c", "blank"] {
        shelf.place.file(name, BYTES);
    }
    let state = PathBuf::from(shelf.place.path("state.json"));
    let start = || shelf.place.start_with(&["--state".as_ref(), state.as_os_str()]);
    let on_it = || ["md", "ext4"].map(|name| fs::read(shelf.place.path(name)).unwrap());
    let before = on_it();
    let daemon = start();
    let spares = ["md", "ext4", "blank"];
    for name in ["a", "b", "c"].into_iter().chain(spares) {
        shelf.plug(&daemon, name);
    }
    let mut array = raid5("plain", &["a", "b", "c"]);
    array["spares"] = json!(["blank"]);
    daemon.ask("bdev_raid_create", array);
    let md = json!({ "base_bdev": "md", "raid_bdev": "plain", "force": true });
    daemon.ask("bdev_raid_add_spare", md);
    daemon.ask("bdev_raid_add_spare", json!({ "base_bdev": "ext4", "force": true }));
    let claims = |daemon: &Daemon| spares.map(|name| daemon.bdev(name)["claimed"].clone());
    let status = daemon.ask("raid456_get_status", Value::Null);
    assert_eq!(claims(&daemon), [true, true, true]);
    daemon.stop();
    for signal in [Signal::KILL, Signal::TERM] {
        let daemon = start();
        assert_eq!(claims(&daemon), [true, true, true], "{}", daemon.log());
        let now = daemon.ask("raid456_get_status", Value::Null);
        assert_eq!(now["kept"], json!([]));
        assert_eq!(now["spares"], status["spares"]);
        assert_eq!(now["arrays"][0]["spares"], status["arrays"][0]["spares"]);
        assert!(on_it() == before, "something was written to a spare");
        daemon.end(signal);
    }
}

/// Goal: a configuration with spares is one that a service can be started with again, whatever has become of them:
/// they are found, or have become members, or are members of an array that waits. Method: one spare of an array with
/// superblocks and one of the pool; both take slots; then members are not there.
#[test]
fn a_configuration_adds_a_spare_once() {
    let shelf = Shelf::new("raid6", json!({ "log_bdev": Value::Null }));
    for name in ["own", "pool"] {
        shelf.place.file(name, BYTES);
    }
    let start = |files: &[&str]| {
        let mut entries: Vec<_> = ["m0", "m1", "m2", "m3", "own", "pool"]
            .iter()
            .filter(|name| files.contains(name))
            .map(|name| {
                let filename = shelf.place.path(name);
                entry(
                    "bdev_uring_create",
                    json!({ "name": name, "filename": filename, "block_size": 4096 }),
                )
            })
            .collect();
        let own = json!({ "base_bdev": "own", "raid_bdev": "r0" });
        entries.push(entry("bdev_raid_add_spare", own));
        entries.push(entry("bdev_raid_add_spare", json!({ "base_bdev": "pool" })));
        let config = shelf.place.config(&entries);
        let args: [&OsStr; 4] =
            ["--config".as_ref(), config.as_os_str(), "--patience".as_ref(), "3600".as_ref()];
        shelf.place.start_with(&args)
    };
    let kept = |daemon: &Daemon| daemon.ask("raid456_get_status", Value::Null)["kept"].take();
    let all = ["m0", "m1", "m2", "m3", "own", "pool"];
    for _ in 0..2 {
        let daemon = start(&all);
        assert!(is_claimed(&daemon, "own") && is_claimed(&daemon, "pool"));
        assert_eq!(kept(&daemon), json!([]));
        daemon.stop();
    }
    let daemon = start(&all);
    for name in ["m0", "m1"] {
        daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": name }));
        wait_whole(&daemon, "r0");
    }
    daemon.stop();
    let daemon = start(&all);
    assert_eq!(kept(&daemon), json!([]));
    wait_whole(&daemon, "r0");
    daemon.stop();

    let before = fs::read(shelf.place.path("pool")).unwrap();
    let daemon = start(&["m2", "own", "pool"]);
    let waits = kept(&daemon);
    assert_eq!(waits.as_array().map(Vec::len), Some(2), "{waits}");
    assert_eq!(waits[1]["bdev"], "pool");
    assert!(waits[1]["reason"].as_str().unwrap().contains("carries a member of array \"r0\""));
    assert!(fs::read(shelf.place.path("pool")).unwrap() == before, "it was taken for a spare");
    shelf.plug(&daemon, "m3");
    wait_whole(&daemon, "r0");
    daemon.wait_until("nothing is kept", |daemon| kept(daemon) == json!([]));
    daemon.stop();
}

/// Goal: a spare of the configuration that has served, and is out again, is no reason not to start: the service serves,
/// and tells what it has not got; nothing is written over, and force gives the spare back. So it is with a member of
/// another array. Method: one spare has another one after it in its slot, or has none; the other array is deleted.
#[test]
fn a_spare_that_has_served_is_no_reason_not_to_start() {
    for spares in [&["s1", "s2"][..], &["s1"]] {
        let shelf = Shelf::new("raid5", json!({ "log_bdev": Value::Null }));
        for name in ["s1", "s2", "x0", "x1", "x2"] {
            shelf.place.file(name, BYTES);
        }
        let start = |entries: &[Value]| {
            let disks = ["m0", "m1", "m2", "m3", "s1", "s2", "x0", "x1", "x2"].iter().map(|name| {
                let filename = shelf.place.path(name);
                let file = json!({ "name": name, "filename": filename, "block_size": 4096 });
                entry("bdev_uring_create", file)
            });
            let config =
                shelf.place.config(&disks.chain(entries.iter().cloned()).collect::<Vec<_>>());
            shelf.place.start_with(&["--config".as_ref(), config.as_os_str()])
        };
        let add = |name: &str| entry("bdev_raid_add_spare", json!({ "base_bdev": name }));
        let adds: Vec<Value> = spares.iter().map(|name| add(name)).collect();
        let kept = |daemon: &Daemon| daemon.ask("raid456_get_status", Value::Null)["kept"].take();
        let daemon = start(&adds);
        daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": "m1" }));
        wait_whole(&daemon, "r0");
        daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": "s1" }));
        if spares.len() > 1 {
            wait_whole(&daemon, "r0");
        }
        daemon.stop();

        let before = fs::read(shelf.place.path("s1")).unwrap();
        let daemon = start(&adds);
        assert!(daemon.log().contains("it cannot be made yet, and is kept"), "{}", daemon.log());
        let waits = kept(&daemon);
        assert_eq!((waits.as_array().map(Vec::len), &waits[0]["bdev"]), (Some(1), &json!("s1")));
        let reason = waits[0]["reason"].as_str().unwrap();
        assert!(reason.contains("carries a member of array \"r0\""), "{reason}");
        assert!(reason.ends_with("clear it first, or force to overwrite it"), "{reason}");
        assert!(fs::read(shelf.place.path("s1")).unwrap() == before, "it was written to");
        daemon.ask("bdev_raid_add_spare", json!({ "base_bdev": "s1", "force": true }));
        daemon.wait_until("nothing is kept", |daemon| kept(daemon) == json!([]));
        let mut other = raid5("r1", &["x0", "x1", "x2"]);
        other["superblock"] = json!(true);
        daemon.ask("bdev_raid_create", other);
        daemon.stop();

        let wrong = json!({ "base_bdev": "x1", "raid_bdev": "r0" });
        let daemon = start(&[entry("bdev_raid_add_spare", wrong)]);
        let reason = |daemon: &Daemon| kept(daemon)[0]["reason"].as_str().map(str::to_owned);
        let claimed = "bdev \"x1\" is claimed by array \"r1\" as slot 1";
        let is_told = |daemon: &Daemon| reason(daemon).is_some_and(|text| text.contains(claimed));
        assert!(is_told(&daemon), "{:?}", reason(&daemon));
        daemon.ask("bdev_raid_delete", json!({ "name": "r1", "clear_sb": true }));
        daemon.wait_until("tried again", |daemon| !is_told(daemon));
        let said = reason(&daemon).expect("it is not taken: it was used meanwhile");
        assert!(said.contains("\"x1\" was used since the start"), "{said}");
        daemon.stop();
    }
}
