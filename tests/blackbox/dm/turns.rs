//! Arrays of mapped devices that share a bdev with others: background actions one after the other.
//!
//! Not here: arrays that are bdevs (`crate::sharing`), who goes first in every case (`control::permits`).

use serde_json::{Value, json};

use super::{line, ram_disk, ram_disks};
use crate::daemon::{Daemon, Place};

const SLOW: &str = "min_recovery_rate 1 max_recovery_rate 64";

fn create(daemon: &Daemon, name: &str, table: &str) {
    daemon.ask("dm_create", json!({ "name": name, "table": table }));
}

fn message(daemon: &Daemon, name: &str, words: &str) {
    daemon.ask("dm_message", json!({ "name": name, "message": words }));
}

/// Events about background actions: kind, array, what is said of it.
fn events(daemon: &Daemon) -> Vec<(String, String, String)> {
    let events = daemon.ask("notify_get_notifications", json!({ "id": 0, "max": 1000 }));
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let one = |event: &Value| (text(event, "type"), text(event, "ctx"), event.to_string());
    let all = events.as_array().unwrap().iter().map(one);
    all.filter(|(kind, ..)| kind.starts_with("raid_sync_")).collect()
}

fn count(daemon: &Daemon, kind: &str, array: &str) -> usize {
    events(daemon).iter().filter(|(k, a, _)| k == kind && a == array).count()
}

fn action(daemon: &Daemon, name: &str) -> String {
    line(daemon, "dm_status", name).split(' ').nth(7).unwrap().to_owned()
}

/// Goal: arrays of mapped devices, and those that are bdevs, take turns when they share a bdev, even where
/// that is younger than what stands on it; who waits says for whom, and one that shares nothing does not
/// wait. Method: slow resyncs over linear devices of one RAM disk; the one that works is frozen, and all
/// are let go in the end.
#[test]
fn arrays_of_mapped_devices_take_turns() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_raid_set_options", json!({ "process_max_bandwidth_mb_sec": 1 }));
    ram_disks(&daemon, 0..9);
    create(&daemon, "a0", "0 8192 linear 1:0 0");
    ram_disk(&daemon, 9);
    daemon.ask("dm_table_load", json!({ "name": "a0", "table": "0 8192 linear 1:9 0" }));
    daemon.ask("dm_resume", json!({ "name": "a0" }));
    create(&daemon, "b0", "0 8192 linear 1:9 8192");
    create(&daemon, "c0", "0 8192 linear 1:9 16384");
    create(&daemon, "c1", "0 8192 linear 1:5 0");
    create(&daemon, "c2", "0 8192 linear 1:6 0");
    let table = |options: &str, members: [&str; 3]| {
        let members = members.map(|member| format!("- {member}")).join(" ");
        format!("0 16384 raid raid5_ls {options} 3 {members}")
    };
    let slow = format!("6 128 sync {SLOW}");
    create(&daemon, "ra", &table(&slow, ["a0", "1:1", "1:2"]));
    daemon.wait_until("ra works", |daemon| count(daemon, "raid_sync_started", "ra") == 1);
    create(&daemon, "rb", &table(&slow, ["b0", "1:3", "1:4"]));
    daemon.ask(
        "bdev_raid_create",
        json!({ "name": "rc", "raid_level": "5", "strip_size_kb": 64, "base_bdevs": ["c0", "c1", "c2"] }),
    );
    for waits in ["rb", "rc"] {
        daemon.wait_until(waits, |daemon| count(daemon, "raid_sync_delayed", waits) == 1);
    }
    let told = events(&daemon);
    let delayed = told.iter().filter(|(kind, ..)| kind == "raid_sync_delayed");
    assert!(delayed.clone().all(|(.., text)| text.contains("until ra has finished")), "{told:?}");
    assert_eq!(action(&daemon, "rb"), "resync", "as md says of one that is delayed");
    assert_eq!(line(&daemon, "dm_status", "rb"), "0 16384 raid raid5_ls 3 aaa 0/8192 resync 0 0 -");
    let arrays = daemon.ask("bdev_raid_get_bdevs", json!({ "category": "all" }));
    assert_eq!(arrays[0]["process"]["delayed_behind"], "ra", "{arrays}");
    // One that shares nothing with them.
    create(&daemon, "rd", &table("1 128", ["1:0", "1:7", "1:8"]));
    daemon.wait_until("rd is done", |daemon| count(daemon, "raid_sync_ended", "rd") == 1);
    assert_eq!(count(&daemon, "raid_sync_delayed", "rd"), 0);
    assert_eq!(
        count(&daemon, "raid_sync_started", "rb") + count(&daemon, "raid_sync_started", "rc"),
        0
    );
    // Whoever is frozen gives its turn up, and waits behind the others afterwards.
    message(&daemon, "ra", "frozen");
    daemon.wait_until("rb works", |daemon| count(daemon, "raid_sync_started", "rb") == 1);
    message(&daemon, "ra", "idle");
    daemon.wait_until("ra waits", |daemon| count(daemon, "raid_sync_delayed", "ra") == 1);
    // Suspended, it is in nobody's way either.
    daemon.ask("dm_suspend", json!({ "name": "rb" }));
    daemon.wait_until("rc works", |daemon| count(daemon, "raid_sync_started", "rc") == 1);
    daemon.ask("dm_resume", json!({ "name": "rb" }));
    daemon.ask("bdev_raid_set_rates", json!({ "name": "rc", "max_kb_per_s": 0 }));
    for name in ["ra", "rb"] {
        message(&daemon, name, "max_recovery_rate 0");
    }
    for name in ["ra", "rb"] {
        let idle = "0 16384 raid raid5_ls 3 AAA 8192/8192 idle 0 0 -";
        daemon.wait_until(name, |daemon| line(daemon, "dm_status", name) == idle);
    }
    daemon.wait_until("rc", |daemon| {
        daemon.ask("bdev_raid_get_bdevs", json!({ "category": "all" }))[0]["in_sync"] == true
    });
    let mut working: Option<String> = None;
    for (kind, array, text) in events(&daemon).into_iter().filter(|(_, array, _)| array != "rd") {
        match kind.as_str() {
            "raid_sync_started" => assert_eq!(working.replace(array), None, "{text}"),
            "raid_sync_ended" => assert_eq!(working.take(), Some(array), "{text}"),
            _ => {}
        }
    }
    daemon.stop();
}
