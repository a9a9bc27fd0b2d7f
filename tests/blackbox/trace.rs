//! Following the requests of one array in the log of a running service, and the log as JSON.
//!
//! The requests are a host's, over NVMe/TCP, of two arrays whose members take a known time to read; what is
//! compared are lines that the service has written.
//!
//! Not here: how many requests are followed at a time (crate `array`), levels and flags (`spdk`, `src/log`).

use device::nvme_tcp::{flush, read, write};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Place, entry, malloc, raid5};
use crate::nvmf::{NQN, export, host::Queue};

const BLOCK: u32 = 4096;

/// How long a member takes for a read, in microseconds.
const READ_US: u64 = 20_000;

/// Two arrays, r0 and r1, exported as namespaces 1 and 2.
fn start(place: &Place, format: &str) -> (Daemon, u16) {
    let mut entries = Vec::new();
    for array in ["r0", "r1"] {
        let members: Vec<_> = (0..3).map(|number| format!("{array}m{number}")).collect();
        for name in &members {
            entries.push(entry("bdev_malloc_create", malloc(&format!("{name}-fast"), 4)));
            let slow = json!({ "name": name, "base_bdev_name": format!("{name}-fast"),
                "avg_read_latency": READ_US, "p99_read_latency": READ_US,
                "avg_write_latency": 0, "p99_write_latency": 0 });
            entries.push(entry("bdev_delay_create", slow));
        }
        let members: Vec<_> = members.iter().map(String::as_str).collect();
        let mut params = raid5(array, &members);
        params["assume_clean"] = json!(true);
        entries.push(entry("bdev_raid_create", params));
    }
    let config = place.config(&entries);
    let args = ["--config".as_ref(), config.as_os_str(), "--log-format".as_ref(), format.as_ref()];
    let daemon = place.start_with(&args);
    let port = export(&daemon, "r0");
    daemon.ask("nvmf_subsystem_add_ns", json!({ "nqn": NQN, "namespace": { "bdev_name": "r1" } }));
    (daemon, port)
}

/// A write, two reads and a flush of an array.
fn ask(queue: &mut Queue, nsid: u32) {
    let buffer = |blocks: u32| vec![0x5a; (blocks * BLOCK) as usize];
    for (command, buffer) in [
        (write(nsid, 5, 1, BLOCK, false), buffer(1)),
        (read(nsid, 5, 1, BLOCK), buffer(1)),
        (read(nsid, 16, 4, BLOCK), buffer(4)),
        (flush(nsid), Vec::new()),
    ] {
        let (cqe, _) = queue.call(command, buffer).unwrap();
        assert!(cqe.status().is_ok(), "{}", cqe.status());
    }
}

fn follow(daemon: &Daemon, what: Value) {
    let mut params = json!({ "name": "r0" });
    params.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
    daemon.ask("bdev_raid_set_trace", params);
}

/// The lines of the log as JSON, which all of them have to be.
fn lines(daemon: &Daemon) -> Vec<Value> {
    let log = daemon.log();
    let parse =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    log.lines().map(parse).collect()
}

/// The messages of followed requests and answers.
fn followed(daemon: &Daemon) -> Vec<(String, Value)> {
    let lines = lines(daemon).into_iter().filter(|line| line["target"] == "array::trace");
    let fields = lines.map(|mut line| line["fields"].take());
    fields.map(|fields| (fields["message"].as_str().unwrap().to_owned(), fields)).collect()
}

/// Goal: while it is wanted every request of the array is in the log, what it asks for and what has become of it
/// after how long, and nothing of other arrays; before and after, nothing is; and an order of so many ends.
#[test]
fn requests_of_one_array_are_followed_while_it_is_wanted() {
    let place = Place::new();
    let (daemon, port) = start(&place, "json");
    let (_admin, facts) = Queue::admin(port, false).unwrap();
    let mut queue = Queue::io(port, false, facts.cntlid, 1).unwrap();
    ask(&mut queue, 1);
    assert_eq!(followed(&daemon), [], "nobody has asked for it");

    follow(&daemon, json!({ "enable": true }));
    ask(&mut queue, 1);
    ask(&mut queue, 2);
    follow(&daemon, json!({ "enable": false }));
    let found = followed(&daemon);
    let requests: Vec<_> = found.iter().filter(|(what, _)| what == "request").collect();
    let answers: Vec<_> = found.iter().filter(|(what, _)| what == "answer").collect();
    let asked = [("write", 5, 1), ("read", 5, 1), ("read", 16, 4), ("flush", 0, 0)];
    assert_eq!((requests.len(), answers.len(), found.len()), (4, 4, 8), "{found:?}");
    for (number, (op, block, blocks)) in asked.into_iter().enumerate() {
        let (request, answer) = (&requests[number].1, &answers[number].1);
        assert_eq!(request["array"], "r0");
        assert_eq!((&request["op"], &request["number"]), (&json!(op), &json!(number)));
        assert_eq!(request["offset_bytes"], block * BLOCK, "{request}");
        assert_eq!(request["len_bytes"], blocks * BLOCK, "{request}");
        assert!(request["client"].is_u64(), "{request}");
        assert_eq!((&answer["array"], &answer["number"]), (&json!("r0"), &json!(number)));
        assert_eq!(answer["status"], "ok", "{answer}");
        let took_us = answer["took_us"].as_u64().unwrap();
        // A write of one block reads what it needs for the parity.
        let least_us = if op == "flush" { 0 } else { READ_US };
        assert!((least_us..1000 * READ_US).contains(&took_us), "{op}: {answer}");
    }

    ask(&mut queue, 1);
    assert_eq!(followed(&daemon).len(), 8, "it was switched off");
    follow(&daemon, json!({ "enable": true, "requests": 3 }));
    ask(&mut queue, 1);
    ask(&mut queue, 1);
    assert_eq!(followed(&daemon).len(), 8 + 2 * 3, "three were ordered");
    daemon.stop();
}

/// Goal: with `--log-format json` every line is an object with time, level, target and message, whatever is
/// said; as text the same lines can be read by people.
#[test]
fn the_log_is_json_or_text() {
    let mut messages = Vec::new();
    for format in ["json", "text"] {
        let place = Place::new();
        let (daemon, port) = start(&place, format);
        follow(&daemon, json!({ "enable": true }));
        let (_admin, facts) = Queue::admin(port, false).unwrap();
        ask(&mut Queue::io(port, false, facts.cntlid, 1).unwrap(), 1);
        daemon.refused("bdev_raid_create", raid5("r0", &["r0m0", "r1m0", "r1m1"]));
        // Keys that a method does not know are a warning.
        daemon.ask("bdev_get_bdevs", json!({ "name": "r0", "colour": "red" }));
        match format {
            "json" => {
                let lines = lines(&daemon);
                for line in &lines {
                    let time = line["timestamp"].as_str().unwrap();
                    assert!(time.len() == 27 && time.ends_with('Z'), "{line}");
                    let level = line["level"].as_str().unwrap();
                    assert!(["INFO", "WARN"].contains(&level), "{line}");
                    assert!(line["target"].is_string(), "{line}");
                    messages.push(line["fields"]["message"].as_str().unwrap().to_owned());
                }
                assert!(
                    lines.iter().any(|line| line["level"] == "WARN"
                        && line["fields"].to_string().contains("colour"))
                );
            }
            _ => {
                let log = daemon.log();
                for message in &messages {
                    assert!(log.contains(message), "{message:?} is not in:\n{log}");
                }
                let request = "request array=\"r0\" number=1 ";
                assert!(log.contains(request) && log.contains("op=\"read\" offset_bytes=20480"));
            }
        }
        daemon.stop();
    }
    assert!(messages.iter().filter(|message| *message == "answer").count() == 4, "{messages:?}");
}
