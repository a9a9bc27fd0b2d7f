//! `raid456 rpc` against a running service, and without one.
//!
//! Not here: how words become parameters, case by case (crate `rpc`).

use std::process::Output;

use serde_json::{Value, json};

use crate::daemon::Place;

/// What the command printed, which has to have succeeded.
fn result(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the command complained of, which has to have failed.
fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Goal: an array can be made and looked at with nothing but the command line.
#[test]
fn the_command_line_does_it_all() {
    let place = Place::new();
    let daemon = place.start();
    for name in ["m0", "m1", "m2"] {
        let name_is = format!("name={name}");
        let output =
            place.rpc(&["bdev_malloc_create", &name_is, "block_size=4096", "num_blocks:=1024"]);
        assert_eq!(result(&output), json!(name));
    }
    let output = place.rpc(&[
        "bdev_raid_create",
        "name=r0",
        "raid_level=6",
        "strip_size_kb=64",
        "base_bdevs=m0,m1,-,m2",
        "assume_clean=true",
    ]);
    assert_eq!(result(&output), json!(true));
    let output = place.rpc(&["bdev_raid_get_bdevs", "category=all"]);
    assert!(String::from_utf8_lossy(&output.stdout).lines().count() > 10, "for people to read");
    let raids = result(&output);
    assert_eq!(raids[0]["raid_level"], "raid6");
    assert_eq!(raids[0]["base_bdevs_list"][2]["name"], Value::Null);
    assert_eq!(result(&place.rpc(&["bdev_raid_delete", "name=r0"])), json!(true));
    daemon.stop();
}

/// Goal: every failure is one line on stderr and exit code 1.
#[test]
fn failures_go_to_stderr_with_code_1() {
    let place = Place::new();
    let error = complaint(&place.rpc(&["bdev_get_bdevs"]));
    assert!(error.contains(place.socket().to_str().unwrap()), "{error}");
    assert!(error.contains("is the server running?"), "{error}");

    let daemon = place.start();
    for (words, wanted) in [
        (&["bdev_get_bdevs", "name=x"][..], "No such device: bdev \"x\""),
        (&["no_such_method"], "Method not found: no_such_method"),
        (&["bdev_get_bdevs", "name"], "should be key=value"),
        (&["bdev_get_bdevs", "timeout=soon", "name=x"], "timeout"),
        (&["bdev_get_bdevs", "timeout:=soon"], "not JSON"),
        (&["bdev_null_create", "name=n0"], "block_size is missing"),
    ] {
        let error = complaint(&place.rpc(words));
        assert!(error.starts_with("raid456: ") && error.contains(wanted), "{words:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let usage = place.rpc(&[]);
    assert_eq!(usage.status.code(), Some(2), "{usage:?}");
    daemon.stop();
}
