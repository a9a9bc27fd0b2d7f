//! Each verb of mapped devices: what it does, what it refuses, and what it leaves behind.
//!
//! Not here: I/O while tables change (`reload`).

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{line, ram_disk, ram_disks, wait as pause};
use crate::daemon::{Daemon, Place};

fn info(daemon: &Daemon, name: &str) -> Value {
    daemon.ask("dm_info", json!({ "name": name }))[0].clone()
}

fn load(name: &str, table: &str) -> Value {
    json!({ "name": name, "table": table })
}

fn named(name: &str) -> Value {
    json!({ "name": name })
}

/// Goal: the life of a device: created empty, loaded, resumed, loaded again, cleared, suspended, resumed,
/// renamed, removed; each step shows in dm_info, and its bdev has the size of the active table.
#[test]
fn a_device_lives_as_with_dmsetup() {
    let place = Place::new();
    let daemon = place.start();
    ram_disks(&daemon, 0..2);
    daemon.ask("dm_create", json!({ "name": "d", "uuid": "LVM-abc" }));
    let blocks = |daemon: &Daemon, name: &str| daemon.bdev(name)["num_blocks"].clone();
    assert_eq!(
        (&info(&daemon, "d")["live_table"], blocks(&daemon, "d")),
        (&json!(false), json!(0))
    );
    daemon.ask("dm_table_load", load("LVM-abc", "0 100 linear 1:0 0\n100 50 zero\n150 8 error"));
    let now = info(&daemon, "d");
    assert_eq!((&now["live_table"], &now["inactive_table"]), (&json!(false), &json!(true)));
    let inactive = daemon.ask("dm_table", json!({ "name": "d", "inactive": true }));
    assert_eq!(inactive[0]["targets"][2]["target"], "error");
    daemon.ask("dm_resume", named("/dev/mapper/d"));
    assert_eq!(line(&daemon, "dm_table", "d"), "0 100 linear 1:0 0\n100 50 zero\n150 8 error");
    assert_eq!(
        (blocks(&daemon, "d"), daemon.bdev("d")["product_name"].clone()),
        (json!(158), json!("Mapped device"))
    );
    assert_eq!(daemon.ask("dm_deps", named("d")), json!([{ "name": "d", "devices": ["1:0"] }]));
    assert_eq!(daemon.bdev("1:0")["claimed"], true);

    daemon.ask("dm_table_load", load("d", "0 64 linear 1:1 8"));
    assert_eq!(daemon.bdev("1:1")["claimed"], true, "from the load on");
    daemon.ask("dm_table_clear", named("d"));
    assert_eq!(daemon.bdev("1:1")["claimed"], false);
    daemon.ask("dm_resume", named("d"));
    assert_eq!(blocks(&daemon, "d"), 158, "nothing was loaded any more");
    daemon.ask("dm_table_load", load("d", "0 64 linear 1:1 8"));
    daemon.ask("dm_suspend", json!({ "name": "d", "noflush": true }));
    assert_eq!(info(&daemon, "d")["suspended"], true);
    assert_eq!(daemon.ask("dm_status", named("d"))[0]["io"]["congested"], true);
    daemon.ask("dm_resume", named("d"));
    assert_eq!(
        (blocks(&daemon, "d"), info(&daemon, "d")["suspended"].clone()),
        (json!(64), json!(false))
    );
    assert_eq!(daemon.bdev("1:0")["claimed"], false);

    daemon.ask("dm_create", load("over", "0 8 linear /dev/mapper/d 0"));
    daemon.ask("dm_rename", json!({ "name": "d", "new_name": "e" }));
    assert_eq!(line(&daemon, "dm_table", "over"), "0 8 linear e 0", "tables follow");
    let error = daemon.refused("dm_remove", named("e"));
    assert!(error.code == -16 && error.message.contains("over"), "{error}");
    daemon.ask("dm_rename", json!({ "name": "over", "new_uuid": "late" }));
    let error = daemon.refused("dm_rename", json!({ "name": "over", "new_uuid": "later" }));
    assert_eq!(error.code, -22, "{error}");
    daemon.ask("dm_remove", named("late"));
    daemon.ask("dm_remove", named("e"));
    assert_eq!(daemon.ask("dm_ls", json!({})), json!([]));
    assert_eq!(daemon.bdevs(), ["1:0", "1:1"]);
    daemon.stop();
}

/// Calls that are refused: method, parameters, code, and words of the message.
fn refusals() -> Vec<(&'static str, Value, i64, &'static str)> {
    vec![
        ("dm_create", named("d"), -16, "taken"),
        ("dm_create", named("1:0"), -16, "taken"),
        ("dm_create", named("a/b"), -22, "slash"),
        ("dm_create", json!({ "name": "x", "uuid": "u".repeat(129) }), -22, "at most 128"),
        (
            "dm_create",
            load("x", "0 8 linear 1:9 0"),
            -19,
            "linear: Device lookup failure (-ENODEV): 1:9",
        ),
        (
            "dm_create",
            load("x", "0 8 linear 1:5 0"),
            -16,
            "Device lookup failure (-EBUSY): bdev \"1:5\" is claimed by delay bdev",
        ),
        (
            "dm_create",
            load("x", "0 8 linear 1:1 0"),
            -16,
            "claimed by the tables of mapped devices r",
        ),
        (
            "dm_create",
            load("x", "0 98304 raid raid5_ls 1 128 4 - 1:0 - slow - - - d"),
            -22,
            "too small",
        ),
        ("dm_create", load("x", "0 8 linear 1:0 0\n9 1 zero"), -22, "zero: Gap in table (-EINVAL)"),
        ("dm_create", load("x", "0 8 striped"), -22, "striped: unknown target type"),
        ("dm_create", load("x", "# nothing"), -22, "no targets specified"),
        ("dm_table_load", load("d", "0 8 linear d 0"), -16, "Device lookup failure"),
        ("dm_table_load", load("x", "0 8 zero"), -6, "mapped device \"x\""),
        ("dm_resume", named("1:0"), -6, "dm_ls lists"),
        ("dm_message", json!({ "name": "d", "message": "check" }), -22, "check"),
        ("dm_message", json!({ "name": "r", "message": "check", "sector": 98304 }), -22, "check"),
        ("dm_message", json!({ "name": "r", "message": "stripe_cache 16" }), -22, "stripe_cache"),
        ("dm_rename", json!({ "name": "d", "new_name": "r" }), -16, "taken"),
        ("dm_rename", json!({ "name": "d", "new_name": "1:0" }), -16, "taken"),
        ("dm_rename", json!({ "name": "d" }), -32602, "one of them"),
        ("dm_wait", json!({ "name": "d", "timeout_s": 0 }), -110, "no event"),
        ("bdev_malloc_delete", named("1:0"), -16, "claimed by the tables of mapped devices d"),
        ("bdev_malloc_delete", named("d"), -19, "use dm_remove"),
        (
            "bdev_raid_create",
            json!({ "name": "x", "raid_level": "raid5", "strip_size_kb": 64,
            "base_bdevs": ["1:0", "1:1", "1:2"] }),
            -1,
            "claimed by the tables",
        ),
    ]
}

/// Goal: what cannot be is refused with device-mapper's number, names what is wrong, and changes nothing.
#[test]
fn refusals_leave_everything_as_it_was() {
    let place = Place::new();
    let daemon = place.start();
    ram_disks(&daemon, 0..6);
    daemon.ask("dm_create", load("d", "0 100 linear 1:0 0"));
    let array = "0 98304 raid raid5_ls 2 128 nosync 4 - 1:1 - 1:2 - 1:3 - 1:4";
    daemon.ask("dm_create", load("r", array));
    daemon.ask(
        "bdev_delay_create",
        json!({
            "name": "slow", "base_bdev_name": "1:5", "avg_read_latency": 1, "p99_read_latency": 1,
            "avg_write_latency": 1, "p99_write_latency": 1,
        }),
    );
    let before = (daemon.ask("dm_info", json!({})), daemon.ask("bdev_get_bdevs", json!({})));
    for (method, params, code, words) in refusals() {
        let error = daemon.refused(method, params.clone());
        assert_eq!(error.code, code, "{method} {params}: {error}");
        assert!(error.message.contains(words), "{method} {params}: {error}, not {words}");
    }
    let after = (daemon.ask("dm_info", json!({})), daemon.ask("bdev_get_bdevs", json!({})));
    assert_eq!(after, before);
    daemon.stop();
}

/// Goal: linear tables share a bdev, as LVM needs it; an array does not.
#[test]
fn linear_tables_share_what_arrays_do_not() {
    let place = Place::new();
    let daemon = place.start();
    ram_disks(&daemon, 0..4);
    daemon.ask("dm_create", load("a", "0 8 linear 1:0 0"));
    daemon.ask("dm_create", load("b", "0 8 linear 1:0 8"));
    let array = "0 98304 raid raid5_ls 2 128 nosync 4 - 1:0 - 1:1 - 1:2 - 1:3";
    let error = daemon.refused("dm_create", load("r", array));
    assert!(error.message.contains("RAID device lookup failure (-EBUSY)"), "{error}");
    daemon.ask("dm_remove", named("a"));
    assert_eq!(daemon.bdev("1:0")["claimed"], true, "b is left");
    daemon.ask("dm_table_load", load("b", "0 8 linear 1:1 0"));
    daemon.ask("dm_resume", named("b"));
    assert_eq!(daemon.bdev("1:0")["claimed"], false);
    daemon.ask("dm_remove", named("b"));
    daemon.ask("dm_create", load("r", array));
    daemon.ask("dm_remove", named("r"));
    daemon.stop();
}

/// Goal: a device in use goes when it is free, if it is asked to; a forced one fails its requests.
#[test]
fn removal_can_wait_and_can_be_forced() {
    let place = Place::new();
    let daemon = place.start();
    ram_disk(&daemon, 0);
    daemon.ask("dm_create", load("a", "0 64 linear 1:0 0"));
    daemon.ask("dm_create", load("b", "0 64 linear a 0"));
    assert_eq!(daemon.ask("dm_remove", json!({ "name": "a", "deferred": true })), false);
    assert_eq!(info(&daemon, "a")["deferred_remove"], true);
    daemon.ask("dm_remove", named("b"));
    daemon.wait_until("it is gone", |daemon| daemon.bdevs() == ["1:0"]);
    daemon.ask("dm_create", load("a", "0 64 linear 1:0 0"));
    daemon.ask("dm_suspend", named("a"));
    assert_eq!(daemon.ask("dm_remove", json!({ "name": "a", "force": true })), true);
    assert_eq!(daemon.bdev("1:0")["claimed"], false);
    daemon.stop();
}

/// Goal: who waits for an event is told when a check ends, and not before; waits end with their time, and
/// with the device.
#[test]
fn waits_end_with_events() {
    let place = Place::new();
    let daemon = place.start();
    ram_disks(&daemon, 0..4);
    let array = "0 98304 raid raid5_ls 2 128 nosync 4 - 1:0 - 1:1 - 1:2 - 1:3";
    daemon.ask("dm_create", load("r", array));
    let wait = |params: Value| {
        let mut client = daemon.client();
        move || client.call("dm_wait", Some(params)).map_err(|error| error.rpc().unwrap().code)
    };
    thread::scope(|scope| {
        let first = scope.spawn(wait(json!({ "name": "r", "event_nr": 0 })));
        pause(Duration::from_millis(300));
        assert!(!first.is_finished());
        daemon.ask("dm_message", json!({ "name": "r", "message": "check" }));
        assert_eq!(first.join().unwrap(), Ok(json!(1)));
        assert_eq!(wait(json!({ "name": "r", "event_nr": 0 }))(), Ok(json!(1)), "it has been");
        assert_eq!(wait(json!({ "name": "r", "timeout_s": 1 }))(), Err(-110));
        let last = scope.spawn(wait(named("r")));
        pause(Duration::from_millis(300));
        daemon.ask("dm_remove", named("r"));
        assert_eq!(last.join().unwrap(), Err(-6));
    });
    daemon.stop();
}

/// Goal: raid45 takes its messages, and their effects show.
#[test]
fn raid45_takes_its_messages() {
    let place = Place::new();
    let daemon = place.start();
    ram_disks(&daemon, 0..4);
    let table = "0 98304 raid45 core 2 1024 nosync raid5_ls 0 4 -1 1:0 0 1:1 0 1:2 0 1:3 0";
    daemon.ask("dm_create", load("r", table));
    let healthy = "0 98304 raid45 4 1:0 1:1 1:2 1:3 2 AAAA 32/32 1 core";
    assert_eq!(
        (line(&daemon, "dm_table", "r"), line(&daemon, "dm_status", "r")),
        (table.to_owned(), healthy.to_owned())
    );
    let message = |words: &str| json!({ "name": "r", "message": words });
    for (words, code) in [
        ("allow_writes", -1),
        ("ban set 50", 0),
        ("ban grow 51", -22),
        ("str set 8", 0),
        ("str set 8", -22),
        ("sta reset", -1),
        ("sta on", 0),
        ("sta on", -1),
        ("ove on", -1),
        ("ove off", 0),
        ("xor portable 2", 0),
        ("xor portable 5", -22),
        ("xor none 2", -22),
        ("idle", -22),
    ] {
        let answer =
            daemon.call("dm_message", message(words)).map_or_else(|error| error.code, |_| 0);
        assert_eq!(answer, code, "{words}");
    }
    let told = line(&daemon, "dm_status", "r");
    for words in ["portable=2 bw=50", "checkovr=off", "sc=64/8/8/1/256/"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    daemon.ask("dm_message", message("sta off"));
    assert_eq!(line(&daemon, "dm_status", "r"), healthy);
    daemon.stop();
}

/// Goal: devices that fail and are late are as dm's: status and table of `flakey` and `delay`.
#[test]
fn targets_for_rehearsals_are_there() {
    let place = Place::new();
    let daemon = place.start();
    ram_disk(&daemon, 0);
    for (table, status) in [
        ("0 8 delay 1:0 0 100 1:0 8 200 1:0 16 300", "0 8 delay 0 0 0"),
        ("0 8 flakey 1:0 0 5 1 1 error_reads", "0 8 flakey"),
        ("0 8 flakey 1:0 0 5 1 5 corrupt_bio_byte 1 w 7 0", "0 8 flakey"),
    ] {
        daemon.ask("dm_create", load("x", table));
        let blank = if table.contains("flakey") { " " } else { "" };
        assert_eq!(
            line(&daemon, "dm_table", "x"),
            format!("{table}{blank}"),
            "as dm-flakey has it"
        );
        assert_eq!(line(&daemon, "dm_status", "x"), status);
        daemon.ask("dm_remove", named("x"));
    }
    let targets = daemon.ask("dm_targets", json!({}));
    assert_eq!(targets.as_array().unwrap().len(), 8);
    daemon.stop();
}

/// Goal: what was made is there again after a restart with --state, and a saved configuration makes it.
#[test]
fn devices_survive_a_restart() {
    let place = Place::new();
    let state = place.path("state.json");
    let start = || place.start_with(&["--state".as_ref(), state.as_ref()]);
    let daemon = start();
    ram_disks(&daemon, (0..4).chain([8]));
    daemon.ask("dm_create", json!({ "name": "l", "table": "0 16 linear 1:8 0", "uuid": "LVM-1" }));
    daemon.ask(
        "dm_create",
        load("r", "0 98304 raid raid5_ls 2 128 nosync 4 - 1:0 - 1:1 - 1:2 - 1:3"),
    );
    daemon.ask("dm_rename", json!({ "name": "l", "new_name": "m" }));
    let view = |daemon: &Daemon| {
        let uuids: Vec<Value> =
            ["m", "r"].iter().map(|name| daemon.bdev(name)["uuid"].clone()).collect();
        let mut infos = daemon.ask("dm_info", json!({}));
        for info in infos.as_array_mut().unwrap() {
            // It counts from the start on.
            info["event_nr"] = json!(0);
        }
        (infos, uuids)
    };
    let before = view(&daemon);
    daemon.stop();
    let daemon = start();
    assert_eq!(view(&daemon), before);
    assert_eq!(
        line(&daemon, "dm_table", "r"),
        "0 98304 raid raid5_ls 1 128 4 - 1:0 - 1:1 - 1:2 - 1:3",
        "nosync acts once"
    );
    let saved = daemon.ask("framework_get_config", json!({ "name": "bdev" }));
    assert!(saved.as_array().unwrap().iter().any(|call| call["method"] == "dm_create"), "{saved}");
    daemon.stop();
}
