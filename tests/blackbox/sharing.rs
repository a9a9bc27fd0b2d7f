//! Bdevs that are cut into parts, and arrays that share them: background actions one after the other.
//!
//! Not here: who goes first in every case (`control::permits`), standing still at any time (`tests/sim`).

use serde_json::{Value, json};

use crate::daemon::{Daemon, Place, malloc, raid5};
use crate::observe::get;

/// A daemon whose arrays are resynced slowly, over these bdevs of 32 MiB, each cut into two parts.
fn start(place: &Place, bases: &[&str]) -> Daemon {
    let daemon = place.start_with(&["--metrics".as_ref(), "0".as_ref()]);
    daemon.ask("bdev_raid_set_options", json!({ "process_max_bandwidth_mb_sec": 1 }));
    for base in bases {
        daemon.ask("bdev_malloc_create", malloc(base, 32));
        let split = json!({ "base_bdev": base, "split_count": 2 });
        daemon.ask("bdev_split_create", split);
    }
    daemon
}

fn array(daemon: &Daemon, name: &str) -> Value {
    let arrays = daemon.ask("bdev_raid_get_bdevs", json!({ "category": "all" }));
    let found = arrays.as_array().unwrap().iter().find(|array| array["name"] == name);
    found.unwrap_or_else(|| panic!("{name} in {arrays}")).clone()
}

/// What an array does, and behind which other it waits.
fn doing(daemon: &Daemon, name: &str) -> (String, Value) {
    let array = array(daemon, name);
    let delayed = array["process"]["delayed"] == true;
    let word = array["sync_action"].as_str().unwrap();
    let word = if delayed { format!("{word}, delayed") } else { word.to_owned() };
    (word, array["process"]["delayed_behind"].clone())
}

fn wait_for(daemon: &Daemon, name: &str, word: &str, behind: Value) {
    let what = format!("{name}: {word} behind {behind}");
    daemon.wait_until(&what, |daemon| doing(daemon, name) == (word.to_owned(), behind.clone()));
}

fn message(daemon: &Daemon, name: &str, word: &str) {
    daemon.ask("bdev_raid_message", json!({ "name": name, "message": word }));
}

/// Events of one kind: the arrays, and what is said of them.
fn events(daemon: &Daemon) -> Vec<(String, String, String)> {
    let events = daemon.ask("notify_get_notifications", json!({ "id": 0, "max": 1000 }));
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let one = |event: &Value| (text(event, "type"), text(event, "ctx"), event.to_string());
    events.as_array().unwrap().iter().map(one).collect()
}

/// Says in which order actions began, and panics if one began while another one of those ran.
fn one_after_the_other(daemon: &Daemon) -> Vec<String> {
    let (mut order, mut running) = (Vec::new(), None);
    for (kind, array, _) in events(daemon) {
        match kind.as_str() {
            "raid_sync_started" => {
                assert_eq!(running, None, "{array} begins");
                running = Some(array.clone());
                order.push(array);
            }
            "raid_sync_ended" => assert_eq!(running.take(), Some(array)),
            _ => {}
        }
    }
    order
}

/// Goal: parts have SPDK's names and description, hold their base, come and go together, and are refused
/// in words. Method: each once.
#[test]
fn a_bdev_is_cut_into_parts() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m0", 32));
    let split = json!({ "base_bdev": "m0", "split_count": 4, "split_size_mb": 10 });
    let names = json!(["m0p0", "m0p1", "m0p2"]);
    assert_eq!(daemon.ask("bdev_split_create", split.clone()), names, "a fourth has no room");
    let part = daemon.bdev("m0p2");
    assert_eq!((&part["product_name"], &part["num_blocks"]), (&json!("Split Disk"), &json!(2560)));
    let specific = json!({ "split": { "base_bdev": "m0", "offset_blocks": 5120 } });
    assert_eq!(part["driver_specific"], specific);
    assert_eq!(daemon.bdev("m0")["claimed"], true);
    daemon.ask("bdev_error_create", json!({ "base_name": "m0p1" }));
    for (method, params, text) in [
        (
            "bdev_split_create",
            split.clone(),
            "Operation not permitted: base bdev \"m0\" is split into 3 parts, \"m0p0\" and so on: \
             give a bdev that nobody uses",
        ),
        (
            "bdev_split_delete",
            json!({ "base_bdev": "m0" }),
            "Device or resource busy: bdev \"m0p1\" is claimed by error bdev \"EE_m0p1\" as its \
             base: delete that one first, with bdev_error_delete",
        ),
        (
            "bdev_malloc_delete",
            json!({ "name": "m0" }),
            "Device or resource busy: bdev \"m0\" is split into 3 parts, \"m0p0\" and so on: delete \
             its parts first, with bdev_split_delete",
        ),
        (
            "bdev_malloc_delete",
            json!({ "name": "m0p0" }),
            "No such device: bdev \"m0p0\" is a split bdev and not a malloc bdev: use \
             bdev_split_delete",
        ),
        (
            "bdev_split_delete",
            json!({ "base_bdev": "m0p0" }),
            "No such file or directory: bdev \"m0p0\" is not split: give the base bdev, not its \
             parts",
        ),
        (
            "bdev_split_create",
            json!({ "base_bdev": "m0p0", "split_count": 0 }),
            "Invalid argument: split_count 0: give 1 to 2560, the blocks of bdev \"m0p0\"",
        ),
    ] {
        assert_eq!(daemon.refused(method, params).message, text);
    }
    daemon.ask("bdev_error_delete", json!({ "name": "EE_m0p1" }));
    daemon.ask("bdev_split_delete", json!({ "base_bdev": "m0" }));
    assert_eq!(daemon.bdevs(), ["m0"]);
    assert_eq!(daemon.bdev("m0")["claimed"], false);
    // A name that is taken leaves nothing behind.
    daemon.ask("bdev_malloc_create", malloc("m0p2", 1));
    let error = daemon.refused("bdev_split_create", split);
    assert_eq!(
        error.message,
        "File exists: bdev \"m0p2\": the name is taken by a malloc bdev: choose another or delete \
         that one"
    );
    assert_eq!(
        (daemon.bdevs(), daemon.bdev("m0")["claimed"].clone()),
        (vec!["m0".to_owned(), "m0p2".to_owned()], json!(false))
    );
    daemon.stop();
}

/// Goal: arrays over parts of the same bdevs are resynced one after the other; the one that waits says so
/// and for whom, begins by itself when the other one is frozen or done, can be interrupted and deleted
/// while it waits, and an array that shares nothing does not wait. Method: slow resyncs.
#[test]
fn arrays_that_share_bdevs_take_turns() {
    let place = Place::new();
    let daemon = start(&place, &["a", "b", "c", "d", "e", "f"]);
    let delay = json!({ "name": "slow", "base_bdev_name": "ap1", "avg_read_latency": 0,
        "p99_read_latency": 0, "avg_write_latency": 0, "p99_write_latency": 0 });
    daemon.ask("bdev_delay_create", delay);
    daemon.ask("bdev_raid_create", raid5("r0", &["ap0", "bp0", "cp0"]));
    // One bdev is enough, and what stands between does not hide it.
    daemon.ask("bdev_raid_create", raid5("r1", &["slow", "dp0", "ep0"]));
    daemon.ask("bdev_raid_create", raid5("r2", &["dp1", "ep1", "bp1"]));
    wait_for(&daemon, "r0", "resync", Value::Null);
    wait_for(&daemon, "r1", "resync, delayed", json!("r0"));
    wait_for(&daemon, "r2", "resync, delayed", json!("r0"));
    let told = events(&daemon).into_iter().filter(|(kind, ..)| kind == "raid_sync_delayed");
    let told: Vec<_> = told.map(|(_, array, _)| array).collect();
    assert_eq!(told, ["r1", "r2"]);
    // And so do status, and the metrics: who only waits does not stall.
    let socket = place.socket().to_str().unwrap().to_owned();
    let output = place.run(&["status", "--socket", &socket]);
    let said = String::from_utf8(output.stdout).unwrap();
    let line = "\n  resync, delayed until r0 has finished\n";
    assert!(
        said.lines().next().unwrap().contains("; r1: resync delayed; r2: resync delayed"),
        "{said}"
    );
    assert_eq!((said.matches(line).count(), output.status.code()), (2, Some(0)), "{said}");
    let metrics = get(&daemon, "/metrics", "").1;
    for (name, delayed) in [("r0", 0), ("r1", 1), ("r2", 1)] {
        let series = format!("\nraid456_raid_sync_delayed{{array=\"{name}\"}} {delayed}\n");
        assert!(metrics.contains(&series), "{series}: {metrics}");
    }
    let refused = daemon.refused("bdev_raid_message", json!({ "name": "r1", "message": "check" }));
    assert!(refused.message.contains("Resync is running"), "{refused}");
    // Whoever is frozen gives its turn up, and waits behind the others afterwards.
    message(&daemon, "r0", "frozen");
    wait_for(&daemon, "r1", "resync", Value::Null);
    wait_for(&daemon, "r2", "resync, delayed", json!("r1"));
    message(&daemon, "r0", "resync");
    wait_for(&daemon, "r0", "resync, delayed", json!("r1"));
    message(&daemon, "r2", "frozen");
    wait_for(&daemon, "r2", "frozen", Value::Null);
    message(&daemon, "r2", "resync");
    wait_for(&daemon, "r2", "resync, delayed", json!("r1"));
    // One that shares nothing with them.
    daemon.ask("bdev_raid_create", raid5("r3", &["cp1", "fp0", "fp1"]));
    daemon.ask("bdev_raid_delete", json!({ "name": "r3" }));
    // One that waits goes.
    daemon.ask("bdev_raid_delete", json!({ "name": "r2" }));
    for name in ["r0", "r1"] {
        daemon.ask("bdev_raid_set_rates", json!({ "name": name, "max_kb_per_s": 0 }));
    }
    for name in ["r1", "r0"] {
        daemon.wait_until("all is in sync", |daemon| array(daemon, name)["in_sync"] == true);
        assert_eq!(doing(&daemon, name).0, "idle");
    }
    daemon.stop();
}

/// Goal: no deadlock where every array shares a bdev with each of the others, and no two work together;
/// what is asked for later waits like what has to be done. Method: a ring of three, as fast as it goes.
#[test]
fn a_ring_of_arrays_gets_done() {
    let place = Place::new();
    let daemon = start(&place, &["a", "b", "c"]);
    daemon.ask("bdev_raid_set_options", json!({ "process_max_bandwidth_mb_sec": 0 }));
    for (base, name) in [("x", 0), ("y", 1), ("z", 2)] {
        daemon.ask("bdev_malloc_create", malloc(base, 16));
        let (left, right) = (["ap0", "bp0", "cp0"][name], ["bp1", "cp1", "ap1"][name]);
        daemon.ask("bdev_raid_create", raid5(&format!("r{name}"), &[left, right, base]));
    }
    let names = ["r0", "r1", "r2"];
    for round in 0..3 {
        for name in names {
            daemon.wait_until("it is done", |daemon| {
                array(daemon, name)["in_sync"] == true && doing(daemon, name).0 == "idle"
            });
        }
        if round < 2 {
            let word = ["check", "repair"][round];
            names.iter().for_each(|name| message(&daemon, name, word));
        }
    }
    let order = one_after_the_other(&daemon);
    let count = |name| order.iter().filter(|array| **array == name).count();
    assert_eq!(names.map(count), [3, 3, 3], "{order:?}");
    daemon.stop();
}
