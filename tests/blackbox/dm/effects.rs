//! What targets and messages do to reads and writes, seen from a host: failures and lateness that are
//! rehearsed, `raid456`, and `raid45` under load; hints and congestion.
//!
//! Not here: how their lines read (`verbs`, `conformance`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use golden::intended::WITHOUT_EFFECT;
use reactor::clock;
use serde_json::{Value, json};

use super::{line, ram_disk, ram_disks, wait};
use crate::daemon::{Daemon, Place};
use crate::nvmf::disk::Disk;

const BLOCK: usize = 4096;

fn create(daemon: &Daemon, name: &str, table: &str) {
    daemon.ask("dm_create", json!({ "name": name, "table": table }));
}

/// Without a flush, which a device that fails could not do.
fn load(daemon: &Daemon, name: &str, table: &str) {
    daemon.ask("dm_table_load", json!({ "name": name, "table": table }));
    daemon.ask("dm_suspend", json!({ "name": name, "noflush": true }));
    daemon.ask("dm_resume", json!({ "name": name }));
}

fn message(daemon: &Daemon, words: &str) {
    daemon.ask("dm_message", json!({ "name": "r", "message": words }));
}

fn timed<T>(act: impl FnOnce() -> T) -> (Duration, T) {
    let begin_ns = clock::now().as_nanos();
    let done = act();
    (Duration::from_nanos(clock::now().as_nanos() - begin_ns), done)
}

/// Goal: `delay` makes reads and writes late, each by its own time, and says how many wait; with other
/// times it is faster at once. Method: one request each; bounds from below, and loosely from above.
#[test]
fn delays_are_felt() {
    let place = Place::new();
    let daemon = place.start();
    ram_disk(&daemon, 0);
    create(&daemon, "d", "0 8192 delay 1:0 0 100 1:0 8192 400");
    let mut disk = Disk::of(&daemon, "d");
    let (reading, read) = timed(|| disk.read(0, BLOCK));
    assert_eq!(read, Some(vec![0; BLOCK]));
    let (writing, written) = timed(|| disk.write(0, &[7; BLOCK]));
    assert!(written && reading >= Duration::from_millis(100), "{reading:?}");
    assert!(writing >= Duration::from_millis(400) && writing > reading, "{writing:?}");
    // Writes went to another stretch.
    assert_eq!(disk.read(0, BLOCK), Some(vec![0; BLOCK]));
    let waits = thread::scope(|scope| {
        let late = scope.spawn(|| disk.write(0, &[8; BLOCK]));
        let mut most = String::new();
        while !late.is_finished() {
            most = most.max(line(&daemon, "dm_status", "d"));
        }
        assert!(late.join().unwrap());
        most
    });
    assert_eq!(waits, "0 8192 delay 0 1 0");
    load(&daemon, "d", "0 8192 delay 1:0 8192 0");
    let (reading, read) = timed(|| disk.read(0, BLOCK));
    assert!(read == Some(vec![8; BLOCK]) && reading < writing, "{reading:?}");
    disk.close(&daemon);
    daemon.stop();
}

/// Goal: `flakey` lets everything through while it is up and does what its features say while it is down.
/// Method: devices that are always down, one feature each; one that goes up and down, watched for both.
#[test]
fn flakey_devices_fail_while_they_are_down() {
    let place = Place::new();
    let daemon = place.start();
    ram_disk(&daemon, 0);
    create(&daemon, "f", "0 8192 linear 1:0 0");
    let mut disk = Disk::of(&daemon, "f");
    assert!(disk.write(0, &[1; BLOCK]));
    let always =
        |features: &str| load(&daemon, "f", &format!("0 8192 flakey 1:0 0 0 3600{features}"));
    always("");
    assert_eq!((disk.read(0, BLOCK), disk.write(0, &[2; BLOCK])), (None, false));
    always(" 1 error_writes");
    assert_eq!((disk.read(0, BLOCK), disk.write(0, &[2; BLOCK])), (Some(vec![1; BLOCK]), false));
    always(" 1 error_reads");
    assert_eq!((disk.read(0, BLOCK), disk.write(0, &[3; BLOCK])), (None, true));
    always(" 1 drop_writes");
    assert_eq!((disk.write(0, &[4; BLOCK]), disk.read(0, BLOCK)), (true, Some(vec![3; BLOCK])));
    always(" 5 corrupt_bio_byte 2 r 9 0");
    let mut wrong = vec![3; BLOCK];
    wrong[1] = 9;
    assert_eq!(disk.read(0, BLOCK), Some(wrong));
    load(&daemon, "f", "0 8192 flakey 1:0 0 1 1");
    let (mut up, mut down) = (false, false);
    daemon.wait_until("it is up, and down", |_| {
        match disk.read(0, BLOCK) {
            Some(found) => up = found == vec![3; BLOCK],
            None => down = true,
        }
        up && down
    });
    disk.close(&daemon);
    daemon.stop();
}

/// Goal: the `raid456` target runs on a daemon: table and status to the letter, a missing member and an
/// error target in the place of one, messages, and a log on a device that is believed at the next start.
#[test]
fn raid456_runs() {
    let place = Place::new();
    let daemon = place.start();
    ram_disks(&daemon, (0..4).chain([8]));
    let table =
        |log: &str, members: &str| format!("0 98304 raid456 {log} raid5_ls 1 128 4 {members}");
    let all = "1:0 0 1:1 0 1:2 0 1:3 0";
    let healthy =
        |log: &str| format!("0 98304 raid456 raid5_ls 4 AAAA 32768/32768 idle 0 0 - {log}");
    create(&daemon, "r", &table("core 2 1024 nosync", all));
    assert_eq!(line(&daemon, "dm_table", "r"), table("core 2 1024 nosync", all));
    assert_eq!(line(&daemon, "dm_status", "r"), healthy("1 core"));
    let mut disk = Disk::of(&daemon, "r");
    assert!((0..48).all(|at| disk.write(at << 16, &[at as u8; 1 << 16])));
    // A slot without a device, and one that fails: what was there is computed.
    for member in ["-", "bad"] {
        if member == "bad" {
            create(&daemon, "bad", "0 32768 error");
        }
        load(&daemon, "r", &table("core 2 1024 nosync", &all.replace("1:2", member)));
        assert!(line(&daemon, "dm_status", "r").contains(" AA-A "), "{member}");
        assert!((0..48).all(|at| disk.read(at << 16, 1 << 16) == Some(vec![at as u8; 1 << 16])));
    }
    load(&daemon, "r", &table("core 2 1024 nosync", all));
    daemon.wait_until("the rebuild", |daemon| line(daemon, "dm_status", "r") == healthy("1 core"));
    message(&daemon, "check");
    daemon.wait_until("the check", |daemon| line(daemon, "dm_status", "r") == healthy("1 core"));
    disk.close(&daemon);
    daemon.ask("dm_remove", json!({ "name": "r" }));
    let logged = |sync: &str| match sync {
        "" => table("disk 2 1:8 1024", all),
        sync => table(&format!("disk 3 1:8 1024 {sync}"), all),
    };
    create(&daemon, "r", &logged("sync"));
    daemon.wait_until("the resync", |daemon| {
        line(daemon, "dm_status", "r") == healthy("3 disk 1:8 A")
    });
    daemon.ask("dm_remove", json!({ "name": "r" }));
    create(&daemon, "r", &logged(""));
    assert_eq!(line(&daemon, "dm_status", "r"), healthy("3 disk 1:8 A"), "the log says so");
    assert_eq!(daemon.ask("dm_info", json!({ "name": "r" }))[0]["event_nr"], 0);
    daemon.stop();
}

/// Goal: under load raid45's recovery keeps to its bandwidth, runs as fast as it may with all of it, and
/// does not run at all with `nosync`; `overwrite` changes nothing, as written down. Method: a host that
/// writes without a pause; regions in sync are counted.
#[test]
fn raid45_recovers_as_it_is_told() {
    let place = Place::new();
    let daemon = place.start();
    ram_disks(&daemon, 0..4);
    let table = |params: &str| {
        format!("0 98304 raid45 core 2 256 sync raid5_ls {params} 4 -1 1:0 0 1:1 0 1:2 0 1:3 0")
    };
    let regions = |daemon: &Daemon| -> u64 {
        let status = line(daemon, "dm_status", "r");
        let ratio = status.split(' ').find(|word| word.ends_with("/128")).unwrap().to_owned();
        ratio.split('/').next().unwrap().parse().unwrap()
    };
    create(&daemon, "r", &table("6 -1 -1 -1 -1 1 nosync"));
    wait(Duration::from_millis(300));
    assert_eq!(regions(&daemon), 0, "recovery is off");
    let mut disk = Disk::of(&daemon, "r");
    let stripe = vec![5; (3 * 32) << 10];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let load_it = scope.spawn(|| {
            let mut writes = 0_u64;
            while !over.load(Ordering::Relaxed) {
                // Within the first region, so that the rest is for recovery.
                assert!(disk.write(0, &stripe));
                writes += 1;
            }
            (disk, writes)
        });
        wait(Duration::from_millis(200));
        load(&daemon, "r", &table("6 -1 -1 -1 -1 1 sync"));
        let begin = regions(&daemon);
        wait(Duration::from_millis(1000));
        let slow = regions(&daemon);
        message(&daemon, "bandwidth set 100");
        let (fast, ()) = timed(|| {
            let mut tries = 0;
            while regions(&daemon) < 128 && tries < 200 {
                wait(Duration::from_millis(100));
                tries += 1;
            }
        });
        over.store(true, Ordering::Relaxed);
        let (mut disk, writes) = load_it.join().unwrap();
        println!(
            "{begin} regions, {slow} after a second at 1%, 128 after {fast:?} more, {writes} writes"
        );
        assert!(slow < 128, "one percent of the work of hosts, and not all at once");
        assert_eq!(regions(&daemon), 128);
        message(&daemon, "statistics on");
        let full_stripes = |daemon: &Daemon| -> u64 {
            let status = line(daemon, "dm_status", "r");
            let (_, rest) = status.split_once("full_stripe=").unwrap();
            rest.split(|digit: char| !digit.is_ascii_digit()).next().unwrap().parse().unwrap()
        };
        let counts = ["on", "off"].map(|switch| {
            if switch == "off" {
                message(&daemon, "overwrite off");
            }
            let before = full_stripes(&daemon);
            assert!(disk.write(0, &stripe));
            full_stripes(&daemon) - before
        });
        assert_eq!(counts, [1, 1], "whole stripes are never read first");
        assert!(WITHOUT_EFFECT.iter().any(|(word, _)| *word == "overwrite"));
        disk.close(&daemon);
    });
    daemon.stop();
}

/// Goal: strip and stripe are told as hints of arrays, of mapped devices that are arrays, and of stretches
/// of those; congestion is told of a device that is suspended and of what stands on it, and of one whose
/// writes are held, and goes with its cause; so is how long requests have waited.
#[test]
fn hints_and_congestion_are_told() {
    let place = Place::new();
    let daemon = place.start();
    ram_disks(&daemon, 0..8);
    create(&daemon, "r", "0 98304 raid raid5_ls 2 128 nosync 4 - 1:0 - 1:1 - 1:2 - 1:3");
    create(&daemon, "over", "0 49152 linear r 0");
    let members = json!(["1:4", "1:5", "1:6", "1:7"]);
    daemon.ask(
        "bdev_raid_create",
        json!({ "name": "a", "raid_level": "raid6", "strip_size_kb": 16, "base_bdevs": members }),
    );
    let hints = |name: &str| {
        let bdev = daemon.bdev(name);
        let of = |key: &str| bdev[key].as_u64().unwrap();
        assert_eq!(of("minimum_io_bytes"), of("preferred_write_granularity") * of("block_size"));
        (of("minimum_io_bytes"), of("optimal_io_bytes"))
    };
    assert_eq!(["r", "over"].map(hints), [(65536, 196_608); 2]);
    assert_eq!((hints("a"), hints("1:0")), ((16384, 32768), (0, 0)));
    let io = |name: &str| daemon.ask("dm_status", json!({ "name": name }))[0]["io"].clone();
    assert_eq!(
        (io("r")["minimum_bytes"].clone(), io("r")["optimal_bytes"].clone()),
        (json!(65536), json!(196_608))
    );
    let congested =
        |name: &str| [daemon.bdev(name)["congested"].clone(), io(name)["congested"].clone()];
    let both = |is_so: bool| [json!(is_so), json!(is_so)];
    assert_eq!(["r", "over"].map(congested), [both(false), both(false)]);
    let mut disk = Disk::of(&daemon, "over");
    daemon.ask("dm_suspend", json!({ "name": "r" }));
    assert_eq!(["r", "over"].map(congested), [both(true), both(true)], "one is made of the other");
    assert_eq!(daemon.bdev("a")["congested"], json!(false));
    thread::scope(|scope| {
        let waits = scope.spawn(|| disk.write(0, &[1; BLOCK]));
        daemon.wait_until("a request waits", |_| io("r")["queued"] == 1);
        wait(Duration::from_millis(100));
        daemon.ask("dm_resume", json!({ "name": "r" }));
        assert!(waits.join().unwrap());
    });
    assert_eq!((io("r")["queued"].clone(), congested("over")), (json!(0), both(false)));
    assert!(io("r")["queued_longest_us"].as_u64().unwrap() >= 100_000, "{}", io("r"));
    disk.close(&daemon);
    for name in ["over", "r"] {
        daemon.ask("dm_remove", json!({ "name": name }));
    }
    // raid45 holds writes back once a member has failed, until it is told to go on.
    daemon.ask("bdev_error_create", json!({ "base_name": "1:3" }));
    create(
        &daemon,
        "r",
        "0 98304 raid45 core 2 1024 nosync raid5_ls 0 4 -1 1:0 0 1:1 0 1:2 0 EE_1:3 0",
    );
    daemon.ask(
        "bdev_error_inject_error",
        json!({ "name": "EE_1:3", "io_type": "write", "error_type": "failure", "num": 1 }),
    );
    let mut disk = Disk::of(&daemon, "r");
    thread::scope(|scope| {
        let waits = scope.spawn(|| disk.write(0, &vec![1; (3 * 32) << 10]));
        daemon.wait_until("it is held", |_| congested("r") == both(true));
        assert!(!waits.is_finished());
        message(&daemon, "allow_writes");
        assert!(waits.join().unwrap());
    });
    assert_eq!(congested("r"), both(false));
    assert_eq!(line(&daemon, "dm_status", "r").split(' ').nth(9), Some("AAAD"));
    disk.close(&daemon);
    daemon.stop();
}

/// Goal: a device has the number that was asked for, and has it again after a restart; one that another
/// device has, or that Linux has not, is refused. Method: each once, with the state on disk.
#[test]
fn numbers_are_as_asked_for() {
    let place = Place::new();
    let state = place.path("state.json");
    let start = || place.start_with(&["--state".as_ref(), state.as_ref()]);
    let daemon = start();
    let with =
        |name: &str, minor: Value| json!({ "name": name, "table": "0 8 zero", "minor": minor });
    daemon.ask("dm_create", with("first", Value::Null));
    daemon.ask("dm_create", with("pinned", json!(77)));
    for (minor, code) in [(77, -16), (0, -16), (1 << 20, -22)] {
        let error = daemon.refused("dm_create", with("other", json!(minor)));
        assert!(error.code == code && error.message.contains("minor "), "{error}");
    }
    daemon.ask("dm_remove", json!({ "name": "first" }));
    daemon.stop();
    let daemon = start();
    let listed = daemon.ask("dm_ls", json!({}));
    assert_eq!(listed, json!([{ "name": "pinned", "major": 253, "minor": 77 }]));
    daemon.stop();
}
