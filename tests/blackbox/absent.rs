//! A service that is started while devices are not there: it serves what it can, says what it cannot, and
//! makes that when they come.
//!
//! Not here: states that name what is not there (`dm`), arrays that wait for members (`known`).

use std::fs;

use device::nvme_tcp::{read, write};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Place, entry, raid5};
use crate::known::{raid, states};
use crate::nvmf::{NQN, Queue, address, free_port};
use crate::observe::get;

const DISKS: [&str; 4] = ["d0", "d1", "d2", "d3"];

fn uring(place: &Place, name: &str) -> Value {
    let file = json!({ "name": name, "filename": place.path(name), "block_size": 4096 });
    entry("bdev_uring_create", file)
}

/// An array over files, exported.
fn config(place: &Place, changes: Value) -> String {
    let mut array = raid5("r0", &DISKS);
    array["superblock"] = json!(true);
    for (key, value) in changes.as_object().unwrap() {
        array[key] = value.clone();
    }
    let mut bdevs: Vec<Value> = DISKS.iter().map(|name| uring(place, name)).collect();
    bdevs.push(uring(place, "log"));
    bdevs.push(entry("bdev_raid_create", array));
    bdevs.push(entry("bdev_raid_set_rates", json!({ "name": "r0", "min_kb_per_s": 1 << 20 })));
    let namespace = json!({ "nqn": NQN, "namespace": { "bdev_name": "r0" } });
    let target = [
        entry("nvmf_create_transport", json!({ "trtype": "TCP" })),
        entry("nvmf_create_subsystem", json!({ "nqn": NQN, "allow_any_host": true })),
        entry("nvmf_subsystem_add_ns", namespace),
    ];
    let subsystem = |name: &str, config: &[Value]| json!({ "subsystem": name, "config": config });
    let both = [subsystem("bdev", &bdevs), subsystem("nvmf", &target)];
    json!({ "subsystems": both }).to_string()
}

fn make_disks(place: &Place) {
    for name in DISKS {
        place.file(name, 8 << 20);
    }
    place.file("log", 1 << 20);
}

/// A disk is not there any more.
fn pull(place: &Place, name: &str) {
    fs::rename(place.path(name), place.path(&format!("{name}.away"))).unwrap();
}

fn plug(place: &Place, name: &str) {
    fs::rename(place.path(&format!("{name}.away")), place.path(name)).unwrap();
}

fn start(place: &Place, config: &str, patience_s: &str) -> Daemon {
    let config = place.config_text(config);
    place.start_with(&[
        "--config".as_ref(),
        config.as_os_str(),
        "--state".as_ref(),
        place.path("state.json").as_ref(),
        "--patience".as_ref(),
        patience_s.as_ref(),
        "--metrics".as_ref(),
        "0".as_ref(),
    ])
}

/// What `raid456 status` says, and its exit code.
fn status(place: &Place, words: &[&str]) -> (i32, String) {
    let socket = place.socket().to_str().unwrap().to_owned();
    let output = place.run(&[&["status", "--socket", &socket], words].concat());
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// Calls of the configuration that are not made, as status and metrics say it.
fn kept(place: &Place, daemon: &Daemon) -> Vec<(String, String)> {
    let told: Value = serde_json::from_str(&status(place, &["--json"]).1).unwrap();
    let text = |call: &Value, key: &str| call[key].as_str().unwrap().to_owned();
    let kept = told["kept"].as_array().unwrap().iter();
    let kept: Vec<_> = kept.map(|call| (text(call, "method"), text(call, "bdev"))).collect();
    let series = format!("\nraid456_kept_calls{{source=\"config\"}} {}\n", kept.len());
    let metrics = get(daemon, "/metrics", "").1;
    // A call may have been made in between.
    assert!(metrics.contains(&series) || !kept.is_empty(), "{series}: {metrics}");
    kept
}

fn settled(daemon: &Daemon) -> bool {
    let raids = daemon.ask("bdev_raid_get_bdevs", Value::Null);
    let raid = &raids[0];
    raid["state"] == "online" && raid["in_sync"] == true && raid["sync_action"] == "idle"
}

/// The host's side of the namespace, once it is there.
fn connect(daemon: &Daemon) -> (Queue, Queue) {
    let namespaces = |daemon: &Daemon| {
        let subsystems = daemon.ask("nvmf_get_subsystems", json!({ "nqn": NQN }));
        subsystems[0]["namespaces"].as_array().unwrap().len()
    };
    daemon.wait_until("exported", |daemon| namespaces(daemon) == 1);
    let port = free_port();
    let listen_address = address("127.0.0.1", &port.to_string());
    let params = json!({ "nqn": NQN, "listen_address": listen_address });
    daemon.ask("nvmf_subsystem_add_listener", params.clone());
    let (admin, facts) = Queue::admin(port, false).unwrap();
    (admin, Queue::io(port, false, facts.cntlid, 1).unwrap())
}

fn block(at: u64, round: u8) -> Vec<u8> {
    (0..4096).map(|byte| (at as usize * 7 + byte + usize::from(round) * 13) as u8).collect()
}

fn write_all(queue: &mut Queue, round: u8) {
    for at in 0..64 {
        let (cqe, _) = queue.call(write(1, at * 16, 1, 4096, true), block(at, round)).unwrap();
        assert!(cqe.status().is_ok());
    }
}

fn check_all(queue: &mut Queue, round: u8) {
    for at in 0..64 {
        let (_, bytes) = queue.call(read(1, at * 16, 1, 4096), vec![0; 4096]).unwrap();
        assert!(bytes == block(at, round), "block {at}");
    }
}

/// Goal: a start with a dead disk serves the array degraded and exports it, tells what is missing
/// (status, exit code, metrics), rebuilds what has changed when the disk is back, and the state takes nothing of
/// all that for a client's. Method: its file is away over a restart; data is written and read by NVMe/TCP.
#[test]
fn a_dead_disk_at_the_start_leaves_the_array_degraded() {
    let place = Place::new();
    make_disks(&place);
    let text = config(&place, json!({ "log_bdev": "log", "region_size_kb": 256 }));
    let daemon = start(&place, &text, "1");
    daemon.wait_until("in sync", settled);
    write_all(&mut connect(&daemon).1, 1);
    assert_eq!(kept(&place, &daemon), []);
    daemon.stop();

    pull(&place, "d3");
    let daemon = start(&place, &text, "1");
    assert!(daemon.log().contains("it cannot be made yet, and is kept"), "{}", daemon.log());
    daemon.wait_until("degraded", |daemon| {
        daemon.ask("bdev_raid_get_bdevs", Value::Null)[0]["state"] == "online"
    });
    assert_eq!(states(&daemon), ["in_sync", "in_sync", "in_sync", "faulty"]);
    let (_admin, mut queue) = connect(&daemon);
    check_all(&mut queue, 1);
    write_all(&mut queue, 2);
    let waits = || kept(&place, &daemon) == [("bdev_uring_create".to_owned(), "d3".to_owned())];
    daemon.wait_until("all else is made", |_| waits());
    let (code, said) = status(&place, &[]);
    assert_eq!(code, 2, "{said}");
    let first =
        "CRITICAL: bdev_uring_create d3 of the config is not made: No such file or directory: ";
    assert!(said.starts_with(first) && said.contains("array r0 is degraded"), "{said}");
    assert!(said.contains("\nof the config, not made yet: bdev_uring_create d3\n"), "{said}");
    let saved = daemon.ask("framework_get_config", json!({ "name": "bdev" }));
    assert!(saved.to_string().contains("\"d3\""), "{saved}");

    plug(&place, "d3");
    daemon.wait_until("rebuilt", |daemon| states(daemon) == ["in_sync"; 4]);
    daemon.wait_until("at rest", settled);
    check_all(&mut queue, 2);
    assert_eq!((status(&place, &[]).0, kept(&place, &daemon)), (0, Vec::new()));
    daemon.stop();
    let state = fs::read_to_string(place.path("state.json")).unwrap();
    assert!(!state.contains("d3") && !state.contains("r0"), "{state}");

    let daemon = start(&place, &text, "3600");
    daemon.wait_until("in sync", settled);
    check_all(&mut connect(&daemon).1, 2);
    daemon.stop();
}

/// Goal: an array that has never been is not made with a hole; it is made when its last disk comes. What is
/// wrong in itself ends the start all the same, and what is not wanted any more is forgotten.
#[test]
fn an_array_that_has_never_been_waits_for_all_of_its_disks() {
    for superblock in [true, false] {
        let place = Place::new();
        make_disks(&place);
        pull(&place, "d2");
        let text = config(&place, json!({ "superblock": superblock }));
        for (entry, word) in [
            (uring(&place, "d1"), "File exists"),
            (entry("bdev_null_create", json!({ "name": "n", "block_size": 4096 })), "num_blocks"),
            (
                entry(
                    "bdev_uring_create",
                    json!({ "name": "x", "filename": place.path("d1"), "block_size": 7 }),
                ),
                "block size 7",
            ),
        ] {
            let mut wrong: Value = serde_json::from_str(&text).unwrap();
            wrong["subsystems"][0]["config"].as_array_mut().unwrap().push(entry);
            let wrong = place.config_text(&wrong.to_string());
            let said = place.fail_to_start(&["--config".as_ref(), wrong.as_os_str()]);
            assert!(said.lines().last().unwrap().contains(word), "{said}");
        }
        let daemon = start(&place, &text, "0");
        assert_eq!(daemon.bdevs(), ["d0", "d1", "d3", "log"]);
        let methods: Vec<_> = kept(&place, &daemon).into_iter().map(|(method, _)| method).collect();
        let expected = [
            "bdev_uring_create",
            "bdev_raid_create",
            "bdev_raid_set_rates",
            "nvmf_subsystem_add_ns",
        ];
        assert_eq!(methods, expected);
        assert_eq!(status(&place, &[]).0, 2);
        plug(&place, "d2");
        daemon.wait_until("made", settled);
        assert_eq!(states(&daemon), ["in_sync"; 4]);
        daemon.wait_until("all is made", |daemon| kept(&place, daemon).is_empty());
        drop(connect(&daemon));
        daemon.stop();

        if superblock {
            continue;
        }
        pull(&place, "d2");
        let daemon = start(&place, &text, "0");
        daemon.ask("bdev_uring_delete", json!({ "name": "d2" }));
        daemon.ask("bdev_raid_delete", json!({ "name": "r0" }));
        let left = kept(&place, &daemon);
        assert_eq!(left, [], "what nobody wants any more");
        assert_eq!(daemon.refused("bdev_raid_delete", json!({ "name": "r0" })).code, -19);
        daemon.stop();
    }
}

/// Goal: what comes late overwrites nothing. Method: an array whose configuration makes it by force, two disks
/// of which are away, one for ever: when the other is back the array is as it was; an array without
/// superblocks over bdevs that were written meanwhile is not made, as its disk that was away is stale.
#[test]
fn what_comes_late_overwrites_nothing() {
    let place = Place::new();
    make_disks(&place);
    let daemon = start(&place, &config(&place, json!({})), "0");
    daemon.wait_until("in sync", settled);
    write_all(&mut connect(&daemon).1, 1);
    let uuid = raid(&daemon)["uuid"].clone();
    daemon.stop();

    fs::write(place.path("d2"), vec![0; 8 << 20]).unwrap();
    pull(&place, "d3");
    let read = || ["d0", "d1", "d3"].map(|name| fs::read(place.path(name)).unwrap());
    let daemon = start(&place, &config(&place, json!({ "force": true })), "3600");
    plug(&place, "d3");
    let before = read();
    daemon.wait_until("there is only the array to be made", |daemon| {
        daemon.bdevs().contains(&"d3".to_owned())
            && kept(&place, daemon).iter().all(|(method, _)| method != "bdev_raid_create")
    });
    assert_eq!((&raid(&daemon)["state"], &raid(&daemon)["uuid"]), (&json!("configuring"), &uuid));
    assert!(read() == before, "something was written");
    daemon.ask("bdev_raid_assemble", json!({ "name": "r0" }));
    check_all(&mut connect(&daemon).1, 1);
    daemon.stop();

    let place = Place::new();
    make_disks(&place);
    pull(&place, "d1");
    let daemon = start(&place, &config(&place, json!({ "superblock": false })), "0");
    let members = json!(["d0", null, "d2", "d3"]);
    let mut rescue = raid5("rescue", &[]);
    rescue["base_bdevs"] = members;
    daemon.ask("bdev_raid_create", rescue);
    daemon.ask("bdev_raid_delete", json!({ "name": "rescue" }));
    plug(&place, "d1");
    daemon.wait_until("it is refused", |_| status(&place, &[]).1.contains("may be stale"));
    assert!(!daemon.bdevs().contains(&"r0".to_owned()));
    daemon.stop();
}

/// Goal: a spare that comes late to its array, by force too, is not taken if somebody has used it meanwhile: what was
/// given up by force is not what has been written since. One that nobody has used is. Method: the array waits for a
/// disk; one spare of it is the base of another bdev for a while, the other one is let alone.
#[test]
fn a_spare_that_comes_late_is_not_taken_from_who_has_used_it() {
    let place = Place::new();
    make_disks(&place);
    let mut text: Value =
        serde_json::from_str(&config(&place, json!({ "superblock": false }))).unwrap();
    for name in ["used", "alone"] {
        place.file(name, 8 << 20);
        let spare = json!({ "base_bdev": name, "raid_bdev": "r0", "force": true });
        let bdevs = text["subsystems"][0]["config"].as_array_mut().unwrap();
        bdevs.extend([uring(&place, name), entry("bdev_raid_add_spare", spare)]);
    }
    pull(&place, "d2");
    let daemon = start(&place, &text.to_string(), "0");
    daemon.ask("bdev_error_create", json!({ "base_name": "used" }));
    daemon.ask("bdev_error_delete", json!({ "name": "EE_used" }));
    plug(&place, "d2");
    daemon.wait_until("made", settled);
    daemon.wait_until("all but one are made", |daemon| kept(&place, daemon).len() == 1);
    assert_eq!(kept(&place, &daemon), [("bdev_raid_add_spare".to_owned(), "used".to_owned())]);
    let said = status(&place, &[]).1;
    assert!(said.contains("bdev \"used\" was used since the start"), "{said}");
    let claimed = |name: &str| daemon.bdev(name)["claimed"] == true;
    assert!(!claimed("used") && claimed("alone"));
    daemon.ask("bdev_raid_add_spare", json!({ "base_bdev": "used", "raid_bdev": "r0" }));
    daemon.wait_until("all is made", |daemon| kept(&place, daemon).is_empty());
    daemon.stop();
}

/// Goal: an array that runs without its log is told of as long as it does so, however often it is started.
/// Method: the log's file is away over a restart, and over another one.
#[test]
fn an_array_without_its_log_is_told_of() {
    let place = Place::new();
    make_disks(&place);
    let text = config(&place, json!({ "log_bdev": "log", "region_size_kb": 256 }));
    let told = |daemon: &Daemon, state: &str| {
        let metrics = get(daemon, "/metrics", "").1;
        let series = |word: &str, is: bool| {
            let labels = format!("array=\"r0\",log_bdev=\"log\",state=\"{word}\"");
            format!("\nraid456_log_state{{{labels}}} {}\n", u8::from(is))
        };
        for word in ["alive", "missing"] {
            let series = series(word, word == state);
            assert!(metrics.contains(&series), "{series}: {metrics}");
        }
    };
    let daemon = start(&place, &text, "0");
    daemon.wait_until("in sync", settled);
    told(&daemon, "alive");
    daemon.stop();
    pull(&place, "log");
    for _ in 0..2 {
        let daemon = start(&place, &text, "0");
        daemon.wait_until("in sync", settled);
        let (code, said) = status(&place, &[]);
        assert_eq!(code, 2, "the log's file is asked for: {said}");
        let what = "array r0 runs without its log log: a crash costs a resync of everything";
        assert!(said.contains(what) && said.contains("\n  log log: missing\n"), "{said}");
        told(&daemon, "missing");
        daemon.stop();
    }
    plug(&place, "log");
    let daemon = start(&place, &text, "0");
    daemon.wait_until("in sync", settled);
    told(&daemon, "alive");
    assert_eq!(status(&place, &[]).0, 0);
    daemon.stop();
}

/// Goal: of disks that come late an array waits for the last one as at a start, and goes on without it then.
/// Method: two are away, which are too many; one comes.
#[test]
fn an_array_does_not_wait_for_ever_for_the_last_of_its_late_disks() {
    let place = Place::new();
    make_disks(&place);
    let text = config(&place, json!({}));
    let daemon = start(&place, &text, "1");
    daemon.wait_until("in sync", settled);
    daemon.stop();
    pull(&place, "d1");
    pull(&place, "d3");
    let daemon = start(&place, &text, "1");
    let reason = "2 members are in sync, but 3 are needed";
    daemon.wait_until("it is refused", |daemon| {
        raid(daemon)["reason"].as_str().unwrap().contains(reason)
    });
    plug(&place, "d1");
    daemon.wait_until("it goes on", |daemon| raid(daemon)["state"] == "online");
    assert_eq!(states(&daemon), ["in_sync", "in_sync", "in_sync", "faulty"]);
    daemon.stop();
}
