//! A log bdev that was somebody else's before: what it says is of an earlier array, and counts for nothing.
//!
//! Not here: logs of other arrays that are refused by their size (`known`), logs that fail (`failing`).

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{Daemon, Place};
use crate::rig::Rng;

const MEMBER_BYTES: usize = 5 << 20;
const MEMBERS: [&str; 4] = ["m0", "m1", "m2", "m3"];

/// Members full of noise, so that no parity is right by chance and no superblock is left.
fn make_noise(place: &Place, seed: u64) {
    let mut random = Rng::new(seed);
    for name in MEMBERS {
        let bytes: Vec<u8> =
            (0..MEMBER_BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        let file = OpenOptions::new().write(true).open(place.path(name)).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
    }
}

/// A daemon with the members and, over the log's file, an error bdev.
fn start(place: &Place) -> Daemon {
    let daemon = place.start_with(&["--patience".as_ref(), "3600".as_ref()]);
    let plug = |name: &str| {
        let file = json!({ "name": name, "filename": place.path(name), "block_size": 4096 });
        daemon.ask("bdev_uring_create", file);
    };
    plug("log");
    daemon.ask("bdev_error_create", json!({ "base_name": "log" }));
    MEMBERS.into_iter().for_each(plug);
    daemon
}

fn array(assume_clean: bool) -> Value {
    json!({
        "name": "r0", "raid_level": "raid5", "strip_size_kb": 64, "superblock": true,
        "base_bdevs": MEMBERS, "log_bdev": "EE_log", "region_size_kb": 256,
        "assume_clean": assume_clean,
    })
}

fn wait_idle(daemon: &Daemon) {
    let raid = |daemon: &Daemon| daemon.ask("bdev_raid_get_bdevs", Value::Null)[0].clone();
    daemon.wait_until("in sync", |daemon| {
        let raid = raid(daemon);
        raid["in_sync"] == true && raid["sync_action"] == "idle"
    });
}

/// Goal: a new array whose service is killed before its log is on the log's bdev is resynced at the next start,
/// though the bdev holds a log of the same shape that calls everything clean. Method: that log is made by an
/// earlier array; the writes of the new one are kept from the bdev; the members' bytes are the judge.
#[test]
fn a_new_array_does_not_believe_an_old_log() {
    let place = Place::new();
    MEMBERS.into_iter().for_each(|name| drop(place.file(name, MEMBER_BYTES as u64)));
    place.file("log", 1 << 20);
    let daemon = start(&place);
    daemon.ask("bdev_raid_create", array(true));
    wait_idle(&daemon);
    daemon.stop();

    make_noise(&place, 5);
    let daemon = start(&place);
    let inject =
        json!({ "name": "EE_log", "io_type": "write", "error_type": "pending", "num": 1000 });
    daemon.ask("bdev_error_inject_error", inject);
    daemon.ask("bdev_raid_create", array(false));
    daemon.end(Signal::KILL);

    let daemon = start(&place);
    wait_idle(&daemon);
    daemon.stop();
    let files = MEMBERS.map(|name| fs::read(place.path(name)).unwrap());
    let xor = |at: usize| files.iter().fold(0, |sum, bytes| sum ^ bytes[at]);
    let wrong = (1 << 20..MEMBER_BYTES).filter(|at| xor(*at) != 0).count();
    assert_eq!(wrong, 0, "bytes of parity are wrong");
}

/// Goal: R7 for an array that is known by its creator only: with a member missing, a log that cannot be read may
/// say that anything is dirty, so the array is refused, and nothing is written; with force it starts. A log of
/// another version is refused whoever is there. Method: bad blocks under the log, and a header with another
/// number.
#[test]
fn a_log_that_cannot_be_read_is_no_clean_log() {
    let place = Place::new();
    MEMBERS.into_iter().for_each(|name| drop(place.file(name, MEMBER_BYTES as u64)));
    place.file("log", 1 << 20);
    make_noise(&place, 6);
    let daemon = start(&place);
    let wanted = |members: Value, force: bool| {
        json!({
            "name": "r0", "raid_level": "raid5", "strip_size_kb": 64, "base_bdevs": members,
            "log_bdev": "EE_log", "region_size_kb": 256, "force": force,
        })
    };
    let degraded = json!(["m0", null, "m2", "m3"]);
    let inject = json!({ "name": "EE_log", "io_type": "read", "error_type": "failure", "num": 9 });
    daemon.ask("bdev_error_inject_error", inject);
    let refused = daemon.refused("bdev_raid_create", wanted(degraded.clone(), false));
    let right = "Failed to create RAID bdev r0: Structure needs cleaning: raid bdev r0 is dirty and degraded: \
                 20 of 20 regions may have wrong parity: bring the missing members back, or force to trust \
                 the parity";
    assert_eq!((refused.code, refused.message.as_str()), (-117, right));
    daemon.ask("bdev_raid_create", wanted(degraded, true));
    daemon.ask("bdev_raid_delete", json!({ "name": "r0" }));
    daemon.ask("bdev_error_delete", json!({ "name": "EE_log" }));

    let log = OpenOptions::new().write(true).open(place.path("log")).unwrap();
    log.write_all_at(b"rRiM\x07\0\0\0", 0).unwrap();
    daemon.ask("bdev_error_create", json!({ "base_name": "log" }));
    let refused = daemon.refused("bdev_raid_create", wanted(json!(MEMBERS), false));
    let right = "log device EE_log holds a log of version 7, but this is version 2 (1 is read too): use \
                 another device, or clear its first block if it is not needed";
    assert!(refused.message.ends_with(right), "{refused}");
    daemon.stop();
}
