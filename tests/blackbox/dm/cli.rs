//! `raid456 dm`: dmsetup's words in, dmsetup's forms out.
//!
//! Not here: what verbs do (`verbs`).

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::ram_disks;
use crate::daemon::Place;

/// What `raid456 dm` prints.
fn dm(place: &Place, args: &[&str]) -> Output {
    let socket = place.socket();
    place.run(&[&["dm", "--socket", socket.to_str().unwrap()], args].concat())
}

fn printed(place: &Place, args: &[&str]) -> String {
    let output = dm(place, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn complaint(place: &Place, args: &[&str]) -> String {
    let output = dm(place, args);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{args:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Goal: a session as the manual of dmsetup has it, letter for letter.
#[test]
fn a_session_with_dmsetups_words() {
    let place = Place::new();
    let daemon = place.start();
    for verb in ["ls", "info", "status", "table", "deps"] {
        assert_eq!(printed(&place, &[verb]), "No devices found\n", "{verb}");
    }
    ram_disks(&daemon, 0..5);
    let array = "0 98304 raid raid5_ls 2 128 nosync 4 - 1:0 - 1:1 - 1:2 - 1:3";
    assert_eq!(printed(&place, &["create", "r", "--table", array, "-u", "LVM-1"]), "");
    let file = place.path("table");
    std::fs::write(&file, "# two lines\n0 100 linear 1:4 0\n100 28 zero\n").unwrap();
    printed(&place, &["create", "over", &file, "--readonly"]);
    printed(&place, &["create", "empty", "--notable"]);

    assert_eq!(
        printed(&place, &["status", "r"]),
        "0 98304 raid raid5_ls 4 AAAA 32768/32768 idle 0 0 -\n"
    );
    assert_eq!(printed(&place, &["table", "over"]), "0 100 linear 1:4 0\n100 28 zero \n");
    assert_eq!(
        printed(&place, &["table"]),
        format!("empty: \nover: 0 100 linear 1:4 0\nover: 100 28 zero \nr: {array}\n")
    );
    assert_eq!(
        printed(&place, &["status", "--target", "raid"]),
        "r: 0 98304 raid raid5_ls 4 AAAA 32768/32768 idle 0 0 -\n"
    );
    assert_eq!(printed(&place, &["deps", "r"]), "4 dependencies\t: (1:3) (1:2) (1:1) (1:0)\n");
    assert_eq!(printed(&place, &["ls"]), "empty\t(253:2)\nover\t(253:1)\nr\t(253:0)\n");
    assert_eq!(printed(&place, &["ls", "--target", "linear"]), "over\t(253, 1)\n");
    assert_eq!(
        printed(&place, &["info", "r"]),
        "Name:              r\nState:             ACTIVE\nRead Ahead:        0\n\
         Tables present:    LIVE\nOpen count:        0\nEvent number:      0\n\
         Major, minor:      253, 0\nNumber of targets: 1\nUUID: LVM-1\n\n"
    );
    let columns: Vec<String> =
        printed(&place, &["info", "-c"]).lines().map(|line| line.trim_end().to_owned()).collect();
    assert_eq!(
        columns,
        [
            "Name             Maj Min Stat Open Targ Event  UUID",
            "empty            253   2 ---w    0    0      0",
            "over             253   1 L--r    0    2      0",
            "r                253   0 L--w    0    1      0 LVM-1",
        ]
    );
    assert!(printed(&place, &["targets"]).contains("raid             v1.15.1\n"));
    assert!(printed(&place, &["version"]).contains("Driver version:    4."));
    daemon.stop();
}

/// Goal: verbs that change something print nothing, take their options, and the tree shows what stands on
/// what; tables come from stdin too.
#[test]
fn verbs_that_change_something_are_silent() {
    let place = Place::new();
    let daemon = place.start();
    ram_disks(&daemon, 0..2);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_raid456"))
        .args(["dm", "--socket", place.socket().to_str().unwrap(), "create", "a"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"0 64 linear 1:0 0\n").unwrap();
    assert!(child.wait().unwrap().success());
    for args in [
        &["create", "b", "--table", "0 32 linear a 0"][..],
        &["suspend", "--noflush", "--nolockfs", "b"],
        &["load", "b", "--table", "0 8 linear a 0\n8 8 linear 1:1 0"],
        &["clear", "b"],
        &["reload", "b", "--table", "0 8 linear a 0\n8 8 linear 1:1 0"],
        &["resume", "b"],
        &["rename", "b", "c"],
        &["rename", "--setuuid", "c", "u-1"],
    ] {
        assert_eq!(printed(&place, args), "", "{args:?}");
    }
    assert_eq!(
        printed(&place, &["ls", "--tree", "-o", "utf"]),
        "c (253:1)\n ├─ (1:1)\n └─a (253:0)\n    └─ (1:0)\n"
    );
    let told: Value = serde_json::from_str(&printed(&place, &["info", "--json", "c"])).unwrap();
    assert_eq!(told[0]["uuid"], "u-1");
    assert_eq!(complaint(&place, &["remove", "a"]).lines().last(), Some("Command failed."),);
    printed(&place, &["remove", "--deferred", "a"]);
    printed(&place, &["remove", "--retry", "--force", "c"]);
    daemon.wait_until("a is gone too", |daemon| daemon.bdevs() == ["1:0", "1:1"]);
    daemon.stop();
}

/// Goal: refusals have dmsetup's words, the kernel's sentence, and exit code 1; wrong usage has 2.
#[test]
fn refusals_are_dmsetups() {
    let place = Place::new();
    let daemon = place.start();
    ram_disks(&daemon, 0..4);
    assert_eq!(complaint(&place, &["status", "x"]), "Device does not exist.\nCommand failed.\n");
    assert_eq!(
        complaint(
            &place,
            &["create", "x", "--table", "0 98304 raid raid7 1 128 4 - 1:0 - 1:1 - 1:2 - 1:3"]
        )
        .lines()
        .next(),
        Some("device-mapper: reload ioctl on x  failed: Invalid argument")
    );
    let told = complaint(
        &place,
        &["create", "x", "--table", "0 98304 raid raid5_ls 1 128 4 - - - - - 1:2 - 1:3"],
    );
    assert!(
        told.contains("failed: Input/output error\n")
            && told.contains("raid: Failed to run raid array (-EIO)"),
        "{told}"
    );
    printed(
        &place,
        &[
            "create",
            "r",
            "--table",
            "0 98304 raid raid5_ls 4 128 nosync max_recovery_rate 64 4 - 1:0 - 1:1 - 1:2 - 1:3",
        ],
    );
    printed(&place, &["message", "r", "0", "check"]);
    daemon.wait_until("the check", |_| printed(&place, &["status", "r"]).contains(" check "));
    assert_eq!(
        complaint(&place, &["message", "r", "0", "repair"]).lines().next(),
        Some("device-mapper: message ioctl on r  failed: Device or resource busy")
    );
    assert_eq!(dm(&place, &["create"]).status.code(), Some(2));
    assert_eq!(dm(&place, &["frobnicate"]).status.code(), Some(2));
    printed(&place, &["message", "r", "0", "idle"]);
    assert_eq!(printed(&place, &["wait", "r", "0"]), "");
    daemon.stop();
}
