//! `raid456 perf`: results, verification over processes, signals, and what is refused.

use std::fs;
use std::io::Read;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::place::{Place, Run};

fn json(place: &Place, name: &str) -> Value {
    serde_json::from_slice(&fs::read(place.path(name)).unwrap()).unwrap()
}

/// Goal: a table for people on stdout, the same for programs in the file, and exit code 0.
#[test]
fn results_are_told() {
    let place = Place::new();
    let words = "--bdev n0 --rw randrw --rwmixread 70 --bs 8k --iodepth 32 --runtime 0.2 --ramp 20ms \
                 --cores 0 --poll busy --json r.json";
    let run = place.run("perf", words).good();
    let table = run.text();
    let head = "n0 (Null disk): randrw 70 % reads, 8 KiB, depth 32, 1 reactor, ";
    assert!(table.starts_with(head), "{table}");
    for word in ["\nread ", "\nwrite ", "\ntotal ", "p99.99", "reactor 0 on core 0"] {
        assert!(table.contains(word), "{table}");
    }
    assert!(!run.stderr.contains("IOPS"), "a line of progress without a terminal: {}", run.stderr);
    let result = json(&place, "r.json");
    assert_eq!(result["job"]["block_bytes"], 8192);
    assert!(result["elapsed_s"].as_f64().unwrap() >= 0.2);
    assert!(result["read"]["ios"].as_u64() > result["write"]["ios"].as_u64());
    assert!(result["total"]["latency"]["p50_ns"].is_u64());
}

/// Goal: each pattern writes an array on files and reads it back, with all reactors.
#[test]
fn arrays_are_verified() {
    let place = Place::new();
    for words in [
        "--rw write --bs 256k --iodepth 4",
        "--rw randwrite --bs 4k --iodepth 16 --ios 1500 --offset 16k --size 2m",
        "--rw randrw --bs 12k --iodepth 16 --io-size 8m",
    ] {
        let run = place.run("perf", &format!("--bdev r0 --verify {words} --json r.json")).good();
        assert!(run.text().contains("all that was written was read back"), "{}", run.text());
        let verify = &json(&place, "r.json")["verify"];
        assert_eq!(verify["blocks_wrong"], 0);
        assert!(verify["blocks_checked"].as_u64().unwrap() > 0);
    }
}

/// Goal: reads verify what another process has written with the seed, and a byte that has changed
/// on a member since then is found and ends in exit code 1.
#[test]
fn another_process_verifies() {
    let place = Place::new();
    place.run("perf", "--bdev r0 --rw randwrite --bs 16k --iodepth 8 --verify --seed 5").good();
    let reads = "--bdev r0 --rw randread --bs 64k --iodepth 8 --verify --seed 5";
    place.run("perf", reads).good();
    place.run("perf", &reads.replace("seed 5", "seed 6")).bad(1, &["not what was written"]);

    // Left-symmetric: strip 0 of the array is the first one of member 0.
    let member = place.path("member0");
    let mut bytes = fs::read(&member).unwrap();
    bytes[4096 + 100] ^= 1;
    fs::write(&member, bytes).unwrap();
    let run = place.run("perf", reads);
    let run = run.bad(1, &["bdev r0: 1 blocks are not what was written"]);
    let table = run.text();
    assert!(table.contains("block 1 at byte 4096: byte 100 of it is wrong"), "{table}");
}

/// Goal: a signal ends a load in order: the table of what was done, exit code 1, soon.
#[test]
fn a_signal_ends_it_in_order() {
    let place = Place::new();
    let mut command = place.command("perf", "--bdev r0 --rw randwrite --iodepth 4 --runtime 1h");
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped()).env("RUST_LOG", "debug");
    let mut child = command.spawn().unwrap();
    // The log tells when the load has begun.
    let mut log = child.stderr.take().unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("poller=\"perf\"") {
        let mut more = [0; 4096];
        let read = log.read(&mut more).unwrap();
        assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&seen));
        seen.extend(&more[..read]);
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    log.read_to_end(&mut seen).unwrap();
    let run = Run::of(child.wait_with_output().unwrap());
    assert_eq!(run.code, Some(1));
    assert!(run.text().contains("interrupted before its limit"), "{}", run.text());
    let log = String::from_utf8_lossy(&seen);
    assert!(log.contains("raid456: interrupted"), "{log}");
}

/// Goal: what cannot be run is refused with its name and what would be right.
#[test]
fn wrong_loads_are_refused() {
    let place = Place::new();
    for (words, parts) in [
        ("--bdev nobody --rw read", &["no bdev \"nobody\"", "member4, r0"][..]),
        ("--bdev r0 --rw read --bs 512", &["bdev r0", "512 bytes", "multiple", "4096"]),
        ("--bdev r0 --rw read --size 1t", &["bdev r0", "1099511627776", "16777216 bytes"]),
        ("--bdev r0 --rw read --rwmixread 7", &["--rwmixread", "--rw read has no mix"]),
        ("--bdev member0 --rw write", &["\"member0\" is claimed by array \"r0\" as slot 0"]),
        ("--bdev readonly --rw write --bs 512", &["bdev readonly", "does not serve writes"]),
        ("--bdev r0 --rw read --cores 0 --load-cores 1", &["no reactor on core 1", "--cores"]),
        ("--bdev n0 --rw read --ios 1 --json no/such/r.json", &["no/such/r.json"]),
    ] {
        place.run("perf", words).bad(1, parts);
    }
    place.run("perf", "--bdev member0 --rw read").good();
    for words in ["--bdev r0", "--bdev r0 --rw rw", "--bdev r0 --rw read --runtime soon"] {
        place.run("perf", words).bad(2, &["--help"]);
    }
}
