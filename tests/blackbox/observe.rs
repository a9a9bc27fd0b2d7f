//! What a running service shows of itself: metrics, health, status, and the commands that show it.
//!
//! Not here: each metric (`metrics`), Prometheus itself (`prometheus`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use device::nvme_tcp::{read, write};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{Daemon, PATIENCE, Place, entry, malloc, raid5};
use crate::nvmf::host::Queue;
use crate::tools;

/// Gets a page: its status and its body.
pub(crate) fn get(daemon: &Daemon, path: &str, headers: &str) -> (u16, String) {
    let address = web_address(daemon);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Where the daemon says that it shows itself.
pub(crate) fn web_address(daemon: &Daemon) -> &str {
    daemon.ready_line().split("metrics: http://").nth(1).expect("it was started with --metrics")
}

/// A RAID 5 of memory with one member that can be made to fail, on a daemon that shows itself.
fn start(place: &Place) -> Daemon {
    let members = ["m0", "m1", "EE_m2"];
    let mut entries: Vec<Value> =
        ["m0", "m1", "m2"].map(|name| entry("bdev_malloc_create", malloc(name, 32))).into();
    entries.push(entry("bdev_error_create", json!({ "base_name": "m2" })));
    entries.push(entry("bdev_raid_create", raid5("r0", &members)));
    let config = place.config(&entries);
    place.start_with(&["--config".as_ref(), config.as_os_str(), "--metrics".as_ref(), "0".as_ref()])
}

/// Waits for the resync of its one array.
pub(crate) fn settle(daemon: &Daemon) {
    daemon.wait_until("at rest", |daemon| {
        daemon.ask("bdev_raid_get_bdevs", json!({}))[0]["sync_action"] == "idle"
    });
}

/// Families of the reference.
fn documented() -> Vec<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/METRICS.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned()).collect()
}

/// Goal: what is shown to Prometheus passes its own linter, every family that the reference has, in the format it
/// is for; and health is told. Method: a service with an array that has a log, and a host of NVMe/TCP.
#[test]
fn metrics_pass_promtool() {
    let place = Place::new();
    let daemon = start(&place);
    daemon.ask("bdev_malloc_create", malloc("log0", 1));
    for name in ["l0", "l1", "l2"] {
        daemon.ask("bdev_malloc_create", malloc(name, 8));
    }
    let mut logged = raid5("logged", &["l0", "l1", "l2"]);
    logged["log_bdev"] = json!("log0");
    logged["superblock"] = json!(true);
    daemon.ask("bdev_raid_create", logged);
    let port = crate::nvmf::export(&daemon, "logged");
    let (_admin, facts) = Queue::admin(port, false).unwrap();
    let mut queue = Queue::io(port, false, facts.cntlid, 1).unwrap();
    for command in [write(1, 0, 1, 4096, false), read(1, 0, 1, 4096), read(1, 1 << 40, 1, 4096)] {
        queue.call(command, vec![0; 4096]).unwrap();
    }
    assert_eq!(get(&daemon, "/healthz", ""), (200, "ok\n".to_owned()));
    assert_eq!(get(&daemon, "/readyz", "").0, 200);
    assert_eq!(get(&daemon, "/nothing", "").0, 404);
    assert!(get(&daemon, "/", "").1.contains("<html"));
    let open = "Accept: application/openmetrics-text;version=1.0.0\r\n";
    assert!(get(&daemon, "/metrics", open).1.ends_with("# EOF\n"));
    let (status, text) = get(&daemon, "/metrics", "");
    assert_eq!(status, 200);
    let families = documented();
    assert!(families.len() > 70, "{families:?}");
    let missing: Vec<_> = families
        .iter()
        .filter(|name| {
            let has = |after: &str| text.contains(&format!("\n{name}{after}"));
            !["{", " ", "_count{", "_count "].iter().any(|after| has(after))
        })
        .collect();
    assert!(missing.is_empty(), "no sample of {missing:?}");
    if let Some(promtool) = tools::find("promtool", "prometheus") {
        let mut child = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    daemon.stop();
}

/// Goal: while it starts it is healthy and not ready.
#[test]
fn a_service_that_starts_is_not_ready() {
    let place = Place::new();
    let daemon = place.start_with(&["--wait-for-rpc".as_ref(), "--metrics".as_ref(), "0".as_ref()]);
    assert_eq!(get(&daemon, "/healthz", "").0, 200);
    assert_eq!(get(&daemon, "/readyz", ""), (503, "starting, or stopping\n".to_owned()));
    daemon.ask("framework_start_init", Value::Null);
    assert_eq!(get(&daemon, "/readyz", "").0, 200);
    daemon.stop();
}

/// Goal: an address that cannot be had is a clear refusal, from the command line and the configuration.
#[test]
fn an_address_that_cannot_be_had_is_refused() {
    let place = Place::new();
    let daemon = start(&place);
    let taken = web_address(&daemon).to_owned();
    let other = Place::new();
    let said = other.fail_to_start(&["--metrics".as_ref(), taken.as_ref()]);
    assert!(said.contains(&format!("metrics on {taken}: ")), "{said}");
    let config = json!({ "metrics": { "listen": taken }, "subsystems": [] }).to_string();
    let config = other.config_text(&config);
    let said = other.fail_to_start(&["--config".as_ref(), config.as_os_str()]);
    assert!(said.contains(&format!("metrics on {taken}: ")), "{said}");
    assert!(!other.socket().exists(), "nothing is left behind");
    daemon.stop();
}

/// Goal: `status` tells how it is in words, in JSON and in its exit code; `top` shows what is done.
#[test]
fn the_commands_tell_how_it_is() {
    let place = Place::new();
    let daemon = start(&place);
    settle(&daemon);
    let socket = place.socket().to_str().unwrap().to_owned();
    let status = |words: &[&str]| {
        let words = [&["status", "--socket", &socket], words].concat();
        let output = place.run(&words);
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = status(&[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("OK: 1 array, all members in sync\n"), "{said}");
    assert!(
        said.contains("\nr0: raid5 left-symmetric, strip 64.0 KiB, 64.0 MiB, online [UUU]\n"),
        "{said}"
    );

    daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": "EE_m2" }));
    let (code, said) = status(&[]);
    assert_eq!(code, 1, "{said}");
    let first = "WARNING: array r0 is degraded: 1 of 3 members not in sync";
    assert!(said.starts_with(&format!("{first}\n")), "{said}");
    assert!(said.contains("degraded [UU_]"), "{said}");
    let (code, json) = status(&["--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["health"]), (1, &json!("warning")));
    assert_eq!(json["arrays"][0]["members"][2]["state"], "missing");

    // Rebuilt slowly, so that there is something to be seen.
    daemon.ask(
        "bdev_raid_set_rates",
        json!({ "name": "r0", "min_kb_per_s": 4096, "max_kb_per_s": 4096 }),
    );
    daemon.ask("bdev_raid_add_base_bdev", json!({ "raid_bdev": "r0", "base_bdev": "EE_m2" }));
    daemon.wait_until("the rebuild has begun", |_| status(&[]).1.contains("recover ["));
    let said = status(&[]).1;
    assert!(said.starts_with(&format!("{first}; r0: recover ")), "{said}");
    let top = |words: &[&str]| {
        let words = [&["top", "--socket", &socket, "--interval", "0.3"], words].concat();
        let output = place.run(&words);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let frames = top(&["--count", "2"]);
    assert_eq!(frames.matches("core 0 ").count(), 2, "{frames}");
    assert!(frames.contains("r0 degraded [UU_]") && frames.contains("recover ["), "{frames}");
    assert!(!frames.contains('\x1b'), "no terminal, no escapes");
    let lines = top(&["--count", "3", "--json", "r0"]);
    let frames: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(frames.len(), 3);
    let written = |frame: &Value| frame["arrays"][0]["members"][2]["write"]["ops_per_s"].as_f64();
    assert!(frames.iter().any(|frame| written(frame).unwrap() > 0.0), "{frames:?}");
    assert!(frames[0]["reactors"][0]["busy"].as_f64().unwrap() > 0.0);
    let wrong = place.run(&["top", "--socket", &socket, "nobody"]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no array \"nobody\""), "{wrong:?}");

    let _ = daemon.end(Signal::KILL);
    let output = place.run(&["status", "--socket", &socket]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).starts_with("raid456: UNKNOWN: "),
        "{output:?}"
    );
}
