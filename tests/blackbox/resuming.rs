//! Background actions that are cut off: after the next start they go on where they were, and not from the beginning.
//!
//! ```text
//!   rebuild   checkpoint in the superblocks --kill -9--> rebuilt from there on
//!   resync    stop in order: the log, or without one the superblocks, say what is done --> the rest
//! ```
//!
//! What is read and written after the start is counted by the members' bdevs, and is judged by what the devices said
//! before it.
//!
//! Not here: resync after a crash (`crash`), members that come back (`failing`).

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use raid::superblock::{COPY_OFFSETS_BYTES, MemberRecordState, SUPERBLOCK_BYTES, Superblock};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{Daemon, Place};
use crate::known::{raid, states};
use crate::rig::Rng;

const REGION_BYTES: u64 = 256 << 10;
const REGIONS: u64 = 32;
const COMPONENT_BYTES: u64 = REGIONS * REGION_BYTES;
/// Behind the superblocks.
const MEMBER_BYTES: u64 = (1 << 20) + COMPONENT_BYTES;
const MEMBERS: [&str; 4] = ["m0", "m1", "m2", "m3"];
/// Takes the place of the last one.
const SPARE: &str = "m4";

/// Bytes of one update of a superblock: both copies.
const UPDATE_BYTES: u64 = 2 * SUPERBLOCK_BYTES as u64;

/// Files of members, full of noise so that no parity is right by chance, of a spare, and of a log.
fn place() -> Place {
    let place = Place::new();
    for (seed, name) in (1..).zip(MEMBERS) {
        let mut random = Rng::new(seed);
        let words = (0..MEMBER_BYTES / 8).flat_map(|_| random.next().to_le_bytes());
        place.file(name, MEMBER_BYTES);
        let file = OpenOptions::new().write(true).open(place.path(name)).unwrap();
        file.write_all_at(&words.collect::<Vec<u8>>(), 0).unwrap();
    }
    place.file(SPARE, MEMBER_BYTES);
    place.file("log", 1 << 20);
    place
}

/// A daemon with bdevs of these files, which waits for members that are missing.
fn start(place: &Place, names: &[&str]) -> Daemon {
    let daemon = place.start_with(&["--patience".as_ref(), "3600".as_ref()]);
    for name in names {
        let file = json!({ "name": name, "filename": place.path(name), "block_size": 4096 });
        daemon.ask("bdev_uring_create", file);
    }
    daemon
}

/// Makes the array. Its members are overwritten.
fn create(daemon: &Daemon, has_log: bool) {
    let mut array = json!({
        "name": "r0", "raid_level": "raid5", "strip_size_kb": 64, "superblock": true,
        "base_bdevs": MEMBERS, "region_size_kb": REGION_BYTES >> 10,
    });
    if has_log {
        array["log_bdev"] = json!("log");
    }
    daemon.ask("bdev_raid_create", array);
}

fn wait_in_sync(daemon: &Daemon) {
    daemon.wait_until("in sync", |daemon| {
        let raid = raid(daemon);
        let at_rest = raid["in_sync"] == true && raid["sync_action"] == "idle";
        at_rest && states(daemon) == ["in_sync"; 4]
    });
}

/// Asserts that all parity is right.
fn check(daemon: &Daemon) {
    daemon.ask("bdev_raid_message", json!({ "name": "r0", "message": "check" }));
    wait_in_sync(daemon);
    assert_eq!(raid(daemon)["mismatch_sectors"], 0);
}

/// What was done with a bdev since the daemon was started, of a kind: `bytes_read`, `bytes_written`.
fn count(daemon: &Daemon, name: &str, kind: &str) -> u64 {
    let told = daemon.ask("bdev_get_iostat", json!({ "name": name }));
    told["bdevs"][0][kind].as_u64().unwrap()
}

fn number(raid: &Value, key: &str) -> u64 {
    raid[key].as_u64().unwrap()
}

/// The superblock of a member; none while a copy is being written.
fn superblock(place: &Place, name: &str) -> Option<Superblock> {
    let device = fs::File::open(place.path(name)).unwrap();
    let copies = COPY_OFFSETS_BYTES.map(|offset| {
        let mut bytes = vec![0; SUPERBLOCK_BYTES];
        device.read_exact_at(&mut bytes, offset).unwrap();
        Superblock::decode(&bytes).ok()
    });
    copies.into_iter().flatten().max_by_key(|superblock| superblock.events)
}

/// How far the spare is on record to be rebuilt.
fn recovered_to(superblock: &Superblock) -> Option<u64> {
    match superblock.members[3].state {
        MemberRecordState::Rebuilding { recovered_to_bytes, .. } => Some(recovered_to_bytes),
        _ => None,
    }
}

/// Goal: a rebuild that a kill -9 cuts off goes on from its checkpoint: what was rebuilt is not written again, and
/// in the end everything is right. Method: it is slow, and killed when half of it is on record; the record is read
/// off the members then.
#[test]
fn a_rebuild_goes_on_from_its_checkpoint() {
    let place = place();
    let daemon = start(&place, &[&MEMBERS[..], &[SPARE, "log"]].concat());
    create(&daemon, true);
    wait_in_sync(&daemon);
    // Dirty and degraded it would not start again.
    daemon.wait_until("clean", |daemon| raid(daemon)["log"]["regions_dirty"] == 0);
    daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": "m3" }));
    let slowly = json!({ "name": "r0", "min_kb_per_s": 1024, "max_kb_per_s": 1024 });
    daemon.ask("bdev_raid_set_rates", slowly);
    daemon.ask("bdev_raid_add_base_bdev", json!({ "raid_bdev": "r0", "base_bdev": SPARE }));
    daemon.wait_until("half of it is on record", |_| {
        let found = superblock(&place, "m0");
        found.and_then(|found| recovered_to(&found)).is_some_and(|to| to >= COMPONENT_BYTES / 2)
    });
    daemon.end(Signal::KILL);
    let newest = ["m0", "m1", "m2", SPARE].map(|name| superblock(&place, name).unwrap());
    let newest = newest.into_iter().max_by_key(|superblock| superblock.events).unwrap();
    let recovered = recovered_to(&newest).unwrap();
    assert!(recovered < COMPONENT_BYTES, "it has come to its end");

    let daemon = start(&place, &["m0", "m1", "m2", SPARE, "log"]);
    wait_in_sync(&daemon);
    // The first update is that of before, once more.
    let written = count(&daemon, SPARE, "bytes_written");
    let updates = number(&raid(&daemon), "events") - newest.events + 1;
    let rest = COMPONENT_BYTES - recovered;
    eprintln!(
        "{recovered} of {COMPONENT_BYTES} bytes rebuilt before the kill, {written} written after it"
    );
    assert!(
        (rest..=rest + updates * UPDATE_BYTES).contains(&written),
        "{written} bytes are written, {rest} are left and {updates} updates of superblocks"
    );
    check(&daemon);
    daemon.stop();
}

/// Goal: the initial resync of an array that is stopped in order goes on after the next start where it was, with a
/// log as without one: no member is read where parity is right already, and in the end all of it is. Method: it is
/// slow, and stopped when a quarter is done.
#[test]
fn a_resync_goes_on_after_a_stop_in_order() {
    for has_log in [true, false] {
        let place = place();
        let names: Vec<_> = MEMBERS.into_iter().chain(has_log.then_some("log")).collect();
        let daemon = start(&place, &names);
        daemon.ask("bdev_raid_set_options", json!({ "process_max_bandwidth_mb_sec": 1 }));
        create(&daemon, has_log);
        let done = |daemon: &Daemon| number(&raid(daemon)["log"], "regions_in_sync");
        daemon.wait_until("a quarter is done", |daemon| done(daemon) >= REGIONS / 4);
        let at_least = done(&daemon);
        assert!(at_least < REGIONS, "it has come to its end");
        daemon.stop();
        let events = superblock(&place, "m0").unwrap().events;

        let daemon = start(&place, &names);
        wait_in_sync(&daemon);
        let rest = (REGIONS - at_least) * REGION_BYTES;
        let read = MEMBERS.map(|name| count(&daemon, name, "bytes_read"));
        eprintln!(
            "log: {has_log}; {at_least} of {REGIONS} regions done before the stop, {read:?} bytes read after it"
        );
        // Each member is read where the resync goes, and nowhere else but for a look at its superblock.
        let most = rest + REGION_BYTES / 2;
        assert!(
            read.iter().all(|read| (REGION_BYTES..=most).contains(read)),
            "{read:?}, {rest} left"
        );
        let written: u64 = MEMBERS.map(|name| count(&daemon, name, "bytes_written")).iter().sum();
        let updates = number(&raid(&daemon), "events") - events + 1;
        assert!(written <= rest + 4 * updates * UPDATE_BYTES, "{written} bytes, {rest} left");
        check(&daemon);
        daemon.stop();
    }
}
