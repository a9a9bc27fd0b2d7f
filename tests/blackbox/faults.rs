//! Failures, rehearsed on the real daemon: error and delay bdevs over the socket and in configurations.
//!
//! Not here: every fault as a user of the bdev sees it (crate `device`).

use std::fs;
use std::process::Output;

use reactor::{Ticks, clock};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Place, entry, malloc, raid5};

const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

/// Bytes of a member that is a file.
const MEMBER_BYTES: usize = 4 << 20;

/// What an error bdev says of itself.
fn error_disk(daemon: &Daemon, name: &str) -> Value {
    daemon.bdev(name)["driver_specific"]["error_disk"].take()
}

fn inject(daemon: &Daemon, name: &str, params: Value) {
    let mut params = params;
    params["name"] = json!(name);
    assert_eq!(daemon.ask("bdev_error_inject_error", params), true);
}

fn in_sync(daemon: &Daemon) -> bool {
    daemon.bdev("r0")["driver_specific"]["raid"]["in_sync"] == true
}

/// Goal: an error bdev comes, shows itself in SPDK's words with ours behind, holds its base, and goes.
#[test]
fn an_error_bdev_comes_and_goes() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m0", 4));
    let params = json!({ "base_name": "m0", "uuid": UUID });
    assert_eq!(daemon.ask("bdev_error_create", params), true);
    assert_eq!(daemon.bdevs(), ["m0", "EE_m0"]);
    let bdev = daemon.bdev(UUID);
    assert_eq!(bdev["name"], "EE_m0");
    assert_eq!(bdev["product_name"], "Error Injection Disk");
    assert_eq!((&bdev["block_size"], &bdev["num_blocks"]), (&json!(4096), &json!(1024)));
    assert_eq!(
        bdev["driver_specific"],
        json!({ "error_disk": {
            "base_bdev": "m0", "volatile_cache": false, "has_power": true, "gone": false,
            "unflushed_blocks": 0, "injections": [],
        } })
    );
    let base = daemon.bdev("m0");
    assert_eq!((&base["claimed"], &base["claim_type"]), (&json!(true), &json!("exclusive_write")));
    assert_eq!(daemon.ask("bdev_error_delete", json!({ "name": "EE_m0" })), true);
    assert_eq!(daemon.bdev("m0")["claimed"], false);
    daemon.stop();
}

/// Goal: what is injected is listed in the order in which it is looked at, and cleared.
#[test]
fn injections_are_listed() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m0", 4));
    daemon.ask("bdev_error_create", json!({ "base_name": "m0", "uuid": UUID }));
    inject(&daemon, UUID, json!({ "io_type": "all", "error_type": "failure", "num": 3 }));
    inject(
        &daemon,
        "EE_m0",
        json!({
            "io_type": "read", "error_type": "failure", "offset_blocks": 8, "num_blocks": 4,
            "until_written": true,
        }),
    );
    inject(
        &daemon,
        "EE_m0",
        json!({
            "io_type": "write", "error_type": "corrupt_data", "corrupt_offset": 5,
            "corrupt_value": 255,
        }),
    );
    assert_eq!(
        error_disk(&daemon, "EE_m0")["injections"],
        json!([
            { "io_type": "read", "error_type": "failure", "num": 3 },
            { "io_type": "unmap", "error_type": "failure", "num": 3 },
            { "io_type": "flush", "error_type": "failure", "num": 3 },
            {
                "io_type": "read", "error_type": "failure", "num": u32::MAX,
                "offset_blocks": 8, "num_blocks": 4, "bad_blocks": 4,
            },
            { "io_type": "write", "error_type": "corrupt_data", "num": 1 },
        ])
    );
    inject(&daemon, "EE_m0", json!({ "io_type": "all", "error_type": "gone" }));
    assert_eq!(error_disk(&daemon, "EE_m0")["gone"], true);
    inject(&daemon, "EE_m0", json!({ "io_type": "clear" }));
    let clear = error_disk(&daemon, "EE_m0");
    assert_eq!((&clear["gone"], &clear["injections"]), (&json!(false), &json!([])));
    daemon.stop();
}

/// Goal: a delay bdev comes with SPDK's description, changes its latencies, holds its base, and goes.
#[test]
fn a_delay_bdev_comes_and_goes() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m0", 4));
    let params = json!({
        "name": "d0", "base_bdev_name": "m0", "avg_read_latency": 10, "p99_read_latency": 20,
        "avg_write_latency": 30, "p99_write_latency": 40, "uuid": UUID,
    });
    assert_eq!(daemon.ask("bdev_delay_create", params), json!("d0"));
    let bdev = daemon.bdev(UUID);
    assert_eq!(bdev["product_name"], "delay");
    for (latency_type, latency_us) in [("avg_read", 31_000_000), ("p99_write", 41)] {
        let params = json!({
            "delay_bdev_name": "d0", "latency_type": latency_type, "latency_us": latency_us,
        });
        assert_eq!(daemon.ask("bdev_delay_update_latency", params), true);
    }
    assert_eq!(
        daemon.bdev("d0")["driver_specific"],
        json!({ "delay": {
            "name": "d0", "base_bdev_name": "m0", "avg_read_latency": 31_000_000,
            "p99_read_latency": 20, "avg_write_latency": 30, "p99_write_latency": 41,
        } })
    );
    let error = daemon.refused("bdev_malloc_delete", json!({ "name": "m0" }));
    assert_eq!(error.code, -16);
    assert_eq!(daemon.ask("bdev_delay_delete", json!({ "name": "d0" })), true);
    daemon.ask("bdev_malloc_delete", json!({ "name": "m0" }));
    daemon.stop();
}

/// Goal: an array waits for a member that does not answer, for ever if need be, and goes on when it
/// does. Method: one read of the first resync is held.
#[test]
fn an_array_waits_for_a_pending_member() {
    let place = Place::new();
    let daemon = place.start();
    for name in ["m0", "m1", "m2"] {
        daemon.ask("bdev_malloc_create", malloc(name, 4));
        daemon.ask("bdev_error_create", json!({ "base_name": name }));
    }
    inject(&daemon, "EE_m1", json!({ "io_type": "read", "error_type": "pending" }));
    inject(&daemon, "EE_m2", json!({ "io_type": "all", "error_type": "nomem", "num": 5 }));
    daemon.ask("bdev_raid_create", raid5("r0", &["EE_m0", "EE_m1", "EE_m2"]));
    let hit = |daemon: &Daemon| error_disk(daemon, "EE_m1")["injections"] == json!([]);
    daemon.wait_until("a read is pending", hit);
    for _ in 0..20 {
        assert!(!in_sync(&daemon));
    }
    daemon.ask("bdev_error_resume_pending", json!({ "name": "EE_m1" }));
    daemon.wait_until("in sync", in_sync);
    assert_eq!(error_disk(&daemon, "EE_m2")["injections"][0]["io_type"], "write");
    let error = daemon.refused("bdev_error_delete", json!({ "name": "EE_m1" }));
    assert_eq!((error.code, error.message.contains("array \"r0\" as slot 1")), (-16, true));
    daemon.stop();
}

/// Goal: a stop does not wait for what is pending.
#[test]
fn a_stop_resumes_what_is_pending() {
    let place = Place::new();
    let daemon = place.start();
    for name in ["m0", "m1", "m2"] {
        daemon.ask("bdev_malloc_create", malloc(name, 4));
    }
    daemon.ask("bdev_error_create", json!({ "base_name": "m0" }));
    let params = json!({ "io_type": "read", "error_type": "pending", "num": u32::MAX });
    inject(&daemon, "EE_m0", params);
    daemon.ask("bdev_raid_create", raid5("r0", &["EE_m0", "m1", "m2"]));
    let begin = clock::now();
    daemon.stop();
    assert!(clock::now() - begin < Ticks::from_secs(20));
}

/// Goal: with a volatile cache parity that was not flushed goes with the power, and is on its file when
/// the bdev was deleted in order. Method: a resync of members whose
/// parity is wrong everywhere.
#[test]
fn unflushed_parity_goes_with_the_power() {
    let place = Place::new();
    let daemon = place.start();
    let mut names = Vec::new();
    for slot in 0..3_u8 {
        let name = format!("u{slot}");
        fs::write(place.path(&name), vec![1 << slot; MEMBER_BYTES]).unwrap();
        let file = json!({ "name": name, "filename": place.path(&name), "block_size": 4096 });
        daemon.ask("bdev_uring_create", file);
        let params = json!({ "base_name": name, "volatile_cache": true });
        daemon.ask("bdev_error_create", params);
        assert_eq!(daemon.bdev(&format!("EE_{name}"))["volatile_write_cache"], true);
        names.push(format!("EE_{name}"));
    }
    let members: Vec<&str> = names.iter().map(String::as_str).collect();
    let unflushed = |name: &str| error_disk(&daemon, name)["unflushed_blocks"].as_u64().unwrap();
    daemon.ask("bdev_raid_create", raid5("r0", &members));
    daemon.wait_until("in sync", in_sync);
    assert!(names.iter().all(|name| unflushed(name) > 0), "parity is in the caches");

    assert_eq!(daemon.ask("bdev_error_lose_power", json!({ "name": "EE_u0" })), true);
    let lost = error_disk(&daemon, "EE_u0");
    assert_eq!((&lost["has_power"], &lost["unflushed_blocks"]), (&json!(false), &json!(0)));
    daemon.ask("bdev_error_lose_power", json!({ "name": "EE_u1", "seed": 7 }));
    for name in ["EE_u0", "EE_u1"] {
        assert_eq!(daemon.ask("bdev_error_restore_power", json!({ "name": name })), true);
        assert_eq!(error_disk(&daemon, name)["has_power"], true);
    }
    daemon.ask("bdev_raid_delete", json!({ "name": "r0" }));
    for name in &names {
        assert_eq!(daemon.ask("bdev_error_delete", json!({ "name": name })), true);
    }
    daemon.stop();
    let changed = [0, 1, 2_u8].map(|slot| {
        let bytes = fs::read(place.path(&format!("u{slot}"))).unwrap();
        bytes.iter().filter(|byte| **byte != 1 << slot).count()
    });
    assert_eq!(changed[0], 0, "all of it was lost");
    assert!(0 < changed[1] && changed[1] < changed[2], "{changed:?}: some of it was");
}

fn succeeded(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// Goal: a configuration makes such bdevs and injects into them, and what is in the cache is on the file
/// when the process ends in order. Method: copies by `raid456 dd`, with a bad sector in the way.
#[test]
fn configurations_rehearse_too() {
    let place = Place::new();
    fs::write(place.path("in"), vec![9; MEMBER_BYTES]).unwrap();
    let image = place.file("disk", MEMBER_BYTES as u64);
    let config = place.config(&[
        entry("bdev_uring_create", json!({ "name": "u0", "filename": image, "block_size": 4096 })),
        entry("bdev_error_create", json!({ "base_name": "u0", "volatile_cache": true })),
        entry(
            "bdev_error_inject_error",
            json!({
                "name": "EE_u0", "io_type": "read", "error_type": "failure",
                "offset_blocks": 100, "until_written": true,
            }),
        ),
        entry(
            "bdev_delay_create",
            json!({
                "name": "d0", "base_bdev_name": "EE_u0", "avg_read_latency": 5000,
                "p99_read_latency": 5000, "avg_write_latency": 0, "p99_write_latency": 0,
            }),
        ),
    ]);
    let config = config.to_str().unwrap();
    let dd = |words: &str| {
        let words = ["dd", "--config", config].into_iter().chain(words.split(' '));
        place.run(&words.collect::<Vec<_>>())
    };
    let begin = clock::now();
    succeeded(&dd("--ib d0 --of out --bs 4k --count 40 --iodepth 1"));
    assert!(clock::now() - begin >= Ticks::from_millis(40 * 5));
    let bad = dd("--ib d0 --of out --bs 4k --count 200");
    assert_eq!(bad.status.code(), Some(1), "{bad:?}");
    let told = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert!(told.contains("media error"), "{told}");
    let below = dd("--if in --ob u0 --bs 1m");
    let told = String::from_utf8_lossy(&below.stderr).into_owned();
    assert!(
        told.contains("claimed by error bdev \"EE_u0\" as its base: write to \"EE_u0\""),
        "{told}"
    );
    succeeded(&dd("--if in --ob d0 --bs 64k"));
    assert!(fs::read(&image).unwrap() == vec![9; MEMBER_BYTES]);
}

/// Goal: what makes no sense is refused with SPDK's code and in full words, and changes nothing.
#[test]
fn refusals_say_what_would_be_right() {
    let place = Place::new();
    let daemon = place.start();
    for name in ["m0", "m1", "m2"] {
        daemon.ask("bdev_malloc_create", malloc(name, 4));
    }
    daemon.ask("bdev_error_create", json!({ "base_name": "m0" }));
    let before = daemon.ask("bdev_get_bdevs", Value::Null);
    let refuse = |method: &str, params: Value, code: i64, text: &str| {
        let error = daemon.refused(method, params);
        assert_eq!((error.code, error.message.as_str()), (code, text), "{method}");
        assert_eq!(daemon.ask("bdev_get_bdevs", Value::Null), before, "{method}");
    };
    let busy = "claimed by error bdev \"EE_m0\" as its base";
    let create = |base: &str| json!({ "base_name": base });
    refuse(
        "bdev_error_create",
        create("x"),
        -19,
        "No such device: base bdev \"x\": create it first",
    );
    refuse(
        "bdev_error_create",
        create("m0"),
        -1,
        &format!(
            "Operation not permitted: base bdev \"m0\" is {busy}: give a bdev that nobody uses"
        ),
    );
    refuse(
        "bdev_malloc_delete",
        json!({ "name": "m0" }),
        -16,
        &format!(
            "Device or resource busy: bdev \"m0\" is {busy}: delete that one first, with \
             bdev_error_delete"
        ),
    );
    let error = daemon.refused("bdev_raid_create", raid5("r0", &["m0", "m1", "m2"]));
    assert!(error.message.contains(&format!("\"m0\" for slot 0 is {busy}")), "{error}");

    for (name, text) in [
        ("x", "No such device: bdev \"x\": bdev_get_bdevs lists those that are there"),
        (
            "m1",
            "No such device: bdev \"m1\" is a malloc bdev and not an error bdev: give one of that kind",
        ),
    ] {
        for method in ["resume_pending", "lose_power", "restore_power"] {
            refuse(&format!("bdev_error_{method}"), json!({ "name": name }), -19, text);
        }
        let params = json!({ "name": name, "io_type": "read", "error_type": "failure" });
        refuse("bdev_error_inject_error", params, -19, text);
        let clear = json!({ "name": name, "io_type": "clear", "error_type": "failure" });
        refuse("bdev_error_inject_error", clear, -19, text);
    }
    refuse(
        "bdev_error_delete",
        json!({ "name": "m1" }),
        -19,
        "No such device: bdev \"m1\" is a malloc bdev and not an error bdev: use bdev_malloc_delete",
    );
    daemon.stop();
}

/// Goal: the same for what is injected. Method: one call with one thing wrong for each text.
#[test]
fn injections_that_cannot_be_are_refused() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m0", 4));
    daemon.ask("bdev_error_create", json!({ "base_name": "m0" }));
    for (changes, code, text) in wrong_injections() {
        let mut params = json!({ "name": "EE_m0", "io_type": "read", "error_type": "failure" });
        params.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let error = daemon.refused("bdev_error_inject_error", params);
        assert_eq!((error.code, error.message.as_str()), (code, text.as_str()), "{changes}");
        assert_eq!(error_disk(&daemon, "EE_m0")["injections"], json!([]), "{changes}");
    }
    daemon.stop();
}

/// What is wrong, the code, and the text.
fn wrong_injections() -> Vec<(Value, i64, String)> {
    let types =
        "\"failure\", \"pending\", \"corrupt_data\", \"nomem\", \"nvme_failure\" or \"gone\"";
    let key = |changes, text: &str| {
        (changes, -32602, format!("Invalid parameters: bdev_error_inject_error: {text}"))
    };
    let value = |changes, text: &str| (changes, -22, format!("Invalid argument: {text}"));
    vec![
        key(
            json!({ "io_type": "reed" }),
            "io_type: \"reed\" should be \"clear\", \"read\", \"write\", \"unmap\", \"flush\" or \"all\"",
        ),
        key(
            json!({ "error_type": "broken" }),
            &format!("error_type: \"broken\" should be {types}"),
        ),
        key(
            json!({ "error_type": null }),
            &format!("error_type is missing: it should be {types}"),
        ),
        key(
            json!({ "corrupt_value": 256 }),
            "corrupt_value: 256 should be a number from 0 to 255",
        ),
        (
            json!({ "error_type": "nvme_failure", "nvme_sct": 2 }),
            -95,
            "Operation not supported: error_type nvme_failure is not supported yet: bdevs carry no \
             NVMe status: give failure"
                .to_owned(),
        ),
        value(
            json!({ "nvme_sc": 6 }),
            "nvme_sct and nvme_sc are for error_type nvme_failure: leave them out",
        ),
        value(json!({ "num_blocks": 6 }), "num_blocks 6: give offset_blocks with it"),
        value(
            json!({ "offset_blocks": 1020, "num_blocks": 5 }),
            "bdev EE_m0: blocks 1020 to 1025 (not included) are not on it: give a range that is not empty within its 1024 blocks",
        ),
        value(
            json!({ "error_type": "corrupt_data" }),
            "bdev EE_m0: corrupt_value 0 changes nothing: give 1 to 255",
        ),
        value(
            json!({ "error_type": "gone" }),
            "bdev EE_m0: a device is gone for everything: give io_type all",
        ),
        value(
            json!({ "until_written": true }),
            "bdev EE_m0: until_written is for a range: give offset_blocks and num_blocks",
        ),
    ]
}

/// Goal: the same for latencies.
#[test]
fn latencies_that_cannot_be_are_refused() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m0", 4));
    daemon.ask("bdev_malloc_create", malloc("m1", 4));
    let good = json!({
        "name": "d0", "base_bdev_name": "m0", "avg_read_latency": 10, "p99_read_latency": 20,
        "avg_write_latency": 30, "p99_write_latency": 40,
    });
    for (key, value, code, text) in [
        (
            "name",
            json!("m1"),
            -17,
            "File exists: bdev \"m1\": the name is taken by a malloc bdev: choose another or delete that one",
        ),
        ("base_bdev_name", json!("x"), -19, "No such device: base bdev \"x\": create it first"),
        (
            "p99_read_latency",
            json!(9),
            -22,
            "Invalid argument: bdev d0: the p99 latency of reads, 9 us, is below the average, 10 us: give at least the average",
        ),
        (
            "p99_write_latency",
            json!(3_600_000_001_u64),
            -22,
            "Invalid argument: bdev d0: p99_write latency 3600000001 us: give at most 3600000000 (an hour)",
        ),
        (
            "avg_read_latency",
            json!(null),
            -32602,
            "Invalid parameters: bdev_delay_create: avg_read_latency is missing: it should be a number from 0 to 18446744073709551615",
        ),
    ] {
        let mut params = good.clone();
        params[key] = value;
        let error = daemon.refused("bdev_delay_create", params);
        assert_eq!((error.code, error.message.as_str()), (code, text), "{key}");
        assert_eq!(daemon.bdevs(), ["m0", "m1"]);
        assert_eq!(daemon.bdev("m0")["claimed"], false);
    }
    daemon.stop();
}

/// Goal: the same for updates of latencies.
#[test]
fn updates_that_cannot_be_are_refused() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m0", 4));
    daemon.ask("bdev_malloc_create", malloc("m1", 4));
    let good = json!({
        "name": "d0", "base_bdev_name": "m0", "avg_read_latency": 10, "p99_read_latency": 20,
        "avg_write_latency": 30, "p99_write_latency": 40,
    });
    daemon.ask("bdev_delay_create", good);
    for (name, word, micros, code, text) in [
        (
            "x",
            "avg_read",
            1,
            -19,
            "No such device: bdev \"x\": bdev_get_bdevs lists those that are there",
        ),
        (
            "m1",
            "avg_read",
            1,
            -19,
            "No such device: bdev \"m1\" is a malloc bdev and not a delay bdev: give one of that kind",
        ),
        (
            "d0",
            "p50_read",
            1,
            -32602,
            "Invalid parameters: bdev_delay_update_latency: latency_type: \"p50_read\" should be \"avg_read\", \"p99_read\", \"avg_write\" or \"p99_write\"",
        ),
        (
            "d0",
            "avg_read",
            u64::MAX,
            -22,
            "Invalid argument: bdev d0: avg_read latency 18446744073709551615 us: give at most 3600000000 (an hour)",
        ),
    ] {
        let params = json!({ "delay_bdev_name": name, "latency_type": word, "latency_us": micros });
        let error = daemon.refused("bdev_delay_update_latency", params);
        assert_eq!((error.code, error.message.as_str()), (code, text), "{name} {word}");
    }
    let error = daemon.refused("bdev_error_delete", json!({ "name": "d0" }));
    assert_eq!(
        error.message,
        "No such device: bdev \"d0\" is a delay bdev and not an error bdev: use bdev_delay_delete"
    );
    daemon.stop();
}
