//! What a Linux kernel answered, held against what the real verbs answer on a real daemon.
//!
//! Not here: how the kernel was asked, and where we mean to differ (`golden::intended`).

use golden::dmtable::{Outcome, statuses, tables};
use golden::intended::TABLES;
use serde_json::json;

use super::{line, ram_disk, ram_disks};
use crate::daemon::{Daemon, Place};

/// The names of the kernel's devices as ours have them.
fn renamed(text: &str) -> String {
    text.replace("/dev/ram", "1:").replace("/dev/mapper/d", "253:")
}

fn is_intended(table: &str) -> bool {
    TABLES.iter().any(|(words, ..)| table.contains(words))
}

/// Members, metadata devices and linear devices over the members.
fn equip(daemon: &Daemon) {
    ram_disks(daemon, (0..4).chain(8..13));
    for number in 0..4 {
        let table = format!("0 32768 linear 1:{number} 0");
        daemon.ask("dm_create", json!({ "name": format!("253:{number}"), "table": table }));
    }
}

/// Blank metadata devices.
fn wipe_metadata(daemon: &Daemon) {
    for number in 8..12 {
        daemon.ask("bdev_malloc_delete", json!({ "name": format!("1:{number}") }));
        ram_disk(daemon, number);
    }
}

/// The table whose devices are the RAM disks themselves where it uses both, because a bdev in an array
/// has no second user.
fn free_members(daemon: &Daemon, table: &str) {
    let linear = table.contains("/dev/mapper/d");
    for number in 0..4 {
        let name = format!("253:{number}");
        let is_there = !daemon
            .ask("dm_ls", json!({}))
            .as_array()
            .unwrap()
            .iter()
            .all(|device| device["name"] != name.as_str());
        if is_there && !linear {
            daemon.ask("dm_remove", json!({ "name": name }));
        }
        if !is_there && linear {
            let table = format!("0 32768 linear 1:{number} 0");
            daemon.ask("dm_create", json!({ "name": name, "table": table }));
        }
    }
}

/// What a status line becomes when what goes on is over.
fn at_rest(status: &str) -> String {
    let mut words: Vec<String> = status.split(' ').map(str::to_owned).collect();
    if words[7] != "idle" {
        let total = words[6].split('/').next_back().unwrap().to_owned();
        words[5] = words[5].replace('a', "A");
        words[6] = format!("{total}/{total}");
        words[7] = "idle".to_owned();
    }
    words.join(" ")
}

/// Goal: what a kernel refuses is refused with its errno and its sentence, and nothing is left; what it
/// takes is taken, and prints its table and its status. Method: all 77 tables, one after the other.
#[test]
fn tables_are_taken_and_refused_as_by_the_kernel() {
    let place = Place::new();
    let daemon = place.start();
    equip(&daemon);
    let mut compared = (0, 0);
    for golden in tables() {
        let words: Vec<&str> = golden.table.split_whitespace().collect();
        if words[2] != "raid" || is_intended(golden.table) {
            continue;
        }
        free_members(&daemon, golden.table);
        let params = json!({ "name": "r", "table": renamed(golden.table) });
        match golden.outcome {
            Outcome::Accepted { table, status } => {
                daemon.ask("dm_create", params);
                assert_eq!(line(&daemon, "dm_table", "r"), table, "{}", golden.table);
                let status = at_rest(status);
                daemon.wait_until(&status, |daemon| line(daemon, "dm_status", "r") == status);
                daemon.ask("dm_remove", json!({ "name": "r" }));
                wipe_metadata(&daemon);
                compared.0 += 1;
            }
            Outcome::Refused { ioctl, message, errno, details } => {
                let error = daemon.refused("dm_create", params);
                let table = golden.table;
                assert!(error.message.starts_with(ioctl), "{table}: {error}");
                let sentence = format!("raid: {message} (-{errno})");
                assert!(error.message.contains(&sentence), "{table}: {error}, not {sentence}");
                let details = renamed(details.unwrap_or_default());
                assert!(error.message.contains(&details), "{table}: {error}, not {details}");
                let left = daemon.ask("dm_info", json!({}));
                let left = left.as_array().unwrap();
                assert!(left.iter().all(|device| device["name"] != "r"), "{table}");
                compared.1 += 1;
            }
        }
    }
    assert_eq!(compared, (12, 49));
    daemon.stop();
}

/// Goal: arrays that a kernel had at rest print its table and come to rest with its status here. Method:
/// all 98 moments; of those in the middle of something the table only, because that is over here before
/// anyone looks, and of those after a failure too, which has to happen first.
#[test]
fn arrays_at_rest_are_as_the_kernel_has_them() {
    let place = Place::new();
    let daemon = place.start();
    equip(&daemon);
    let (mut at_rest, mut seen) = (0, Vec::new());
    for golden in statuses() {
        if is_intended(golden.created) || seen.contains(&(golden.created, golden.status)) {
            continue;
        }
        seen.push((golden.created, golden.status));
        free_members(&daemon, golden.created);
        let params = json!({ "name": "r", "table": renamed(golden.created) });
        daemon.ask("dm_create", params);
        assert_eq!(line(&daemon, "dm_table", "r"), golden.table, "{}", golden.moment);
        let words: Vec<&str> = golden.status.split(' ').collect();
        let (health, action, mismatches) = (words[5], words[7], words[8]);
        if action == "idle" && mismatches == "0" && !health.contains(['D', 'a']) {
            daemon.ask("dm_message", json!({ "name": "r", "message": "max_recovery_rate 0" }));
            let status = golden.status;
            daemon.wait_until(status, |daemon| line(daemon, "dm_status", "r") == status);
            at_rest += 1;
        }
        daemon.ask("dm_remove", json!({ "name": "r" }));
        wipe_metadata(&daemon);
    }
    assert!(at_rest > 25, "{at_rest}");
    daemon.stop();
}

/// Goal: the actions of a history are told as by the kernel. Method: the groups `frozen`, `checkslow` and
/// `rebuild_meta` again: each message, its errno, and the status then.
#[test]
fn messages_do_what_they_do_in_the_kernel() {
    let place = Place::new();
    let daemon = place.start();
    equip(&daemon);
    free_members(&daemon, "");
    let table = |options: &str| {
        json!({ "name": "r", "table": format!(
            "0 98304 raid raid5_ls {options} 4 1:8 1:0 1:9 1:1 1:10 1:2 1:11 1:3") })
    };
    let message = |words: &str| json!({ "name": "r", "message": words });
    let status = |daemon: &Daemon| line(daemon, "dm_status", "r").replace("0 98304 raid ", "");
    daemon.ask("dm_create", table("2 128 nosync"));
    let idle = "raid5_ls 4 AAAA 32768/32768 idle 0 0 -";
    daemon.ask("dm_message", message("frozen"));
    assert_eq!(status(&daemon), "raid5_ls 4 AAAA 0/32768 frozen 0 0 -");
    for words in ["idle", "resync", "recover"] {
        daemon.ask("dm_message", message(words));
        assert_eq!(status(&daemon), idle, "{words}");
    }
    let events =
        |daemon: &Daemon| daemon.ask("dm_info", json!({ "name": "r" }))[0]["event_nr"].clone();
    assert_eq!(events(&daemon), 0);
    for (words, number) in [("CHECK", 1), ("check x", 2)] {
        daemon.ask("dm_message", message(words));
        daemon.wait_until("the check's end", |daemon| events(daemon) == number);
        assert_eq!(status(&daemon), idle);
    }
    for words in ["reshape", "bogus"] {
        let error = daemon.refused("dm_message", message(words));
        assert_eq!(error.code, -22, "{words}: {error}");
    }
    daemon.ask("dm_remove", json!({ "name": "r" }));

    daemon.ask("dm_create", table("4 128 nosync max_recovery_rate 1024"));
    daemon.ask("dm_message", message("check"));
    let checks = |daemon: &Daemon| status(daemon).contains(" check ");
    daemon.wait_until("the check", checks);
    let error = daemon.refused("dm_message", message("repair"));
    assert!(error.code == -16 && error.message.starts_with("Device or resource busy"), "{error}");
    daemon.ask("dm_message", message("frozen"));
    daemon.wait_until("frozen", |daemon| status(daemon) == "raid5_ls 4 AAAA 0/32768 frozen 0 0 -");
    daemon.ask("dm_message", message("repair"));
    daemon.wait_until("the repair", |daemon| status(daemon).contains(" repair 0 0 -"));
    daemon.ask("dm_message", message("idle"));
    daemon.wait_until("idle", |daemon| status(daemon) == idle);
    daemon.ask("dm_remove", json!({ "name": "r" }));

    daemon.ask("dm_create", table("5 128 rebuild 1 max_recovery_rate 1024"));
    daemon.wait_until("the rebuild", |daemon| {
        let status = status(daemon);
        status.starts_with("raid5_ls 4 AaAA ") && status.ends_with("/32768 recover 0 0 -")
    });
    daemon.ask("dm_message", message("max_recovery_rate 0"));
    daemon.wait_until("the rebuild's end", |daemon| status(daemon) == idle);
    daemon.ask("dm_remove", json!({ "name": "r" }));
    daemon.stop();
}
