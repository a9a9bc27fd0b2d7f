//! A real Prometheus that scrapes a real daemon through a failure and a rebuild, with the rules, alerts and
//! the board of `deploy/`; and the unit tests of the alerts.
//!
//! An array that is a member of another one has a host in the same daemon: what the outer one rebuilds onto
//! it are writes, what it resyncs are reads.
//!
//! Not here: the metrics (`src/metrics`), one by one.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use device::nvme_tcp::{read, write};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{Daemon, PATIENCE, Place, entry, malloc, raid5};
use crate::nvmf;
use crate::nvmf::Queue;
use crate::observe::web_address;
use crate::tools;

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// Goal: rules and alerts are well-formed, and fire when they should and not else.
#[test]
fn alerts_pass_their_unit_tests() {
    let Some(promtool) = tools::find("promtool", "prometheus") else { return };
    let directory = deploy("prometheus");
    let check = ["check", "rules", "raid456.rules.yml", "raid456.alerts.yml"];
    for words in [&check[..], &["test", "rules", "raid456_test.yml"]] {
        let output = Command::new(&promtool).args(words).current_dir(&directory).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
}

/// A running Prometheus with everything of ours, faster than in life.
struct Prometheus {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Prometheus {
    fn start(program: &Path, place: &Path, target: &str) -> Self {
        for name in ["raid456.rules.yml", "raid456.alerts.yml"] {
            let text = fs::read_to_string(deploy("prometheus").join(name)).unwrap();
            fs::write(place.join(name), faster(&text)).unwrap();
        }
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": ["raid456.rules.yml", "raid456.alerts.yml"],
            "scrape_configs": [{
                "job_name": "raid456",
                "static_configs": [{ "targets": [target] }],
            }],
        });
        // JSON is YAML.
        fs::write(place.join("prometheus.yml"), config.to_string()).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (address, log) = (free.to_string(), place.join("prometheus.log"));
        let child = Command::new(program)
            .arg(format!("--config.file={}", place.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", place.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, address, log }
    }

    fn get(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let host = &self.address;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let body = match head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            true => unchunked(body),
            false => body.to_owned(),
        };
        serde_json::from_str(&body).ok()
    }

    fn ask(&self, query: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={}", percent_encoded(query));
        let mut answer = self.get(&path).unwrap_or_else(|| panic!("{query}: {}", self.log()));
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array_mut().unwrap().drain(..).collect()
    }

    /// The series of the last `seconds`, second by second.
    fn ask_range(&self, query: &str, seconds: u64) -> Vec<Value> {
        let end: f64 = self.ask("time()")[1].as_str().unwrap_or("0").parse().unwrap();
        let (start, query) = (end - seconds as f64, percent_encoded(query));
        let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step=1");
        let mut answer = self.get(&path).unwrap_or_else(|| panic!("{query}: {}", self.log()));
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array_mut().unwrap().drain(..).collect()
    }

    fn wait_for(&self, what: &str, query: &str) {
        let step = Duration::from_millis(250);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            let path = format!("/api/v1/query?query={}", percent_encoded(query));
            let answer = self.get(&path).unwrap_or_default();
            if answer["data"]["result"].as_array().is_some_and(|found| !found.is_empty()) {
                return;
            }
            thread::park_timeout(step);
        }
        panic!("not within {PATIENCE:?}: {what}: {query}\n{}", self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The same rules over seconds instead of minutes.
fn faster(rules: &str) -> String {
    let lines = rules.lines().map(|line| match line.trim_start().starts_with("for: ") {
        true => line.split("for: ").next().unwrap().to_owned() + "for: 1s",
        false => line.replace("[5m]", "[10s]").replace("[10m]", "[10s]"),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn unchunked(body: &str) -> String {
    let (mut rest, mut whole) = (body, String::new());
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        if length == 0 {
            break;
        }
        whole.push_str(&after[..length]);
        rest = after[length..].trim_start_matches("\r\n");
    }
    whole
}

/// An array with a spare and a log, that is a member of another one.
fn start(place: &Place) -> Daemon {
    let mut entries: Vec<Value> = ["m0", "m1", "m2", "m3", "s"]
        .map(|name| entry("bdev_malloc_create", malloc(name, 8)))
        .into();
    // What three data strips of 8 MiB leave beside the superblocks.
    let outer = |name| json!({ "name": name, "block_size": 4096, "num_blocks": 3 * 7 * 256 });
    entries.extend([
        entry("bdev_malloc_create", malloc("l", 1)),
        entry("bdev_error_create", json!({ "base_name": "m3" })),
        entry(
            "bdev_raid_create",
            json!({ "name": "r0", "raid_level": "raid5", "strip_size_kb": 64, "superblock": true,
                    "base_bdevs": ["m0", "m1", "m2", "EE_m3"], "log_bdev": "l", "spares": ["s"],
                    "region_size_kb": 256 }),
        ),
        entry("bdev_malloc_create", outer("x0")),
        entry("bdev_malloc_create", outer("x1")),
        entry("bdev_raid_create", raid5("outer", &["r0", "x0", "x1"])),
    ]);
    let config = place.config(&entries);
    place.start_with(&["--config".as_ref(), config.as_os_str(), "--metrics".as_ref(), "0".as_ref()])
}

fn set_rate(daemon: &Daemon, array: &str, kb_per_s: u64) {
    let params = json!({ "name": array, "min_kb_per_s": kb_per_s, "max_kb_per_s": kb_per_s });
    daemon.ask("bdev_raid_set_rates", params);
}

/// Goal: through a failure, a rebuild and the end of the service every panel of the board has data, the
/// alerts fire that should, and no other.
#[test]
fn a_failure_and_a_rebuild_are_seen() {
    let Some(program) = tools::find("prometheus", "prometheus") else { return };
    let place = Place::new();
    let daemon = start(&place);
    let prometheus = Prometheus::start(&program, place.data(), web_address(&daemon));
    prometheus.wait_for("it is scraped", "up{job=\"raid456\"} == 1");
    let idle = "sum(raid456_raid_sync_action{action=\"idle\"}) == 2";
    prometheus.wait_for("both arrays are in sync", idle);

    // The outer array rebuilds onto the inner one, slowly: those are its host's writes.
    daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": "r0", "raid_bdev": "outer" }));
    set_rate(&daemon, "outer", 1024);
    daemon.ask("bdev_raid_add_base_bdev", json!({ "raid_bdev": "outer", "base_bdev": "r0" }));
    // A host does a little by network, and asks for what there is not.
    serve_a_host(&daemon);
    prometheus.wait_for(
        "the host is seen",
        "sum by (nqn) (rate(raid456_nvmf_bytes_total{op=\"write\"}[10s])) > 0 \
         and sum by (nqn) (raid456_nvmf_command_errors_total) == 1",
    );
    let written = "rate(raid456_bdev_bytes_total{bdev=\"r0\",op=\"write\"}[10s]) > 0";
    prometheus.wait_for("the inner array is written", written);

    // One of its members cannot read a block, which is read again.
    daemon.ask(
        "bdev_error_inject_error",
        json!({ "name": "EE_m3", "io_type": "read", "error_type": "failure", "num": 1 }),
    );
    let errors = "ALERTS{alertname=\"Raid456MemberErrors\",alertstate=\"firing\"}";
    prometheus.wait_for("the error is told", errors);

    // Now it fails for good; the spare is rebuilt, slowly.
    set_rate(&daemon, "r0", 512);
    daemon.ask(
        "bdev_error_inject_error",
        json!({ "name": "EE_m3", "io_type": "write", "error_type": "failure", "num": 1000 }),
    );
    prometheus.wait_for(
        "it is degraded",
        "ALERTS{alertname=\"Raid456ArrayDegraded\",array=\"r0\",alertstate=\"firing\"}",
    );
    prometheus.wait_for("its spare is rebuilt", "raid456:raid_sync:ratio{array=\"r0\"} > 0.3");
    prometheus
        .wait_for("the end is in sight", "raid456:raid_sync_remaining_seconds{array=\"r0\"} > 0");
    set_rate(&daemon, "r0", 1 << 20);
    prometheus
        .wait_for("it is whole again", "raid456_raid_state{array=\"r0\",state=\"online\"} == 1");
    set_rate(&daemon, "outer", 1 << 20);
    prometheus.wait_for("all is whole", "sum(raid456_raid_state{state=\"online\"}) == 2");
    prometheus.wait_for(
        "the alert has ended",
        "absent(ALERTS{alertname=\"Raid456ArrayDegraded\",alertstate=\"firing\"})",
    );
    check_board(&prometheus);

    let _ = daemon.end(Signal::KILL);
    prometheus.wait_for("it is missed", "ALERTS{alertname=\"Raid456Down\",alertstate=\"firing\"}");
    let mut fired: Vec<String> = prometheus
        .ask_range("count by (alertname) (ALERTS{alertstate=\"firing\"})", 300)
        .iter()
        .map(|series| series["metric"]["alertname"].as_str().unwrap().to_owned())
        .collect();
    fired.sort();
    for wanted in
        ["Raid456ArrayDegraded", "Raid456Down", "Raid456MemberErrors", "Raid456MemberFailed"]
    {
        assert!(fired.iter().any(|name| name == wanted), "{wanted}: {fired:?}");
    }
    for unwanted in [
        "Raid456ArrayFailed",
        "Raid456ArrayNotRunning",
        "Raid456CallsKept",
        "Raid456LogFailed",
        "Raid456MismatchesFound",
        "Raid456ReactorStuck",
        "Raid456WritesHeld",
    ] {
        assert!(!fired.iter().any(|name| name == unwanted), "{unwanted}: {fired:?}");
    }
}

/// The outer array is exported, and written and read a few times.
fn serve_a_host(daemon: &Daemon) {
    let port = nvmf::export(daemon, "outer");
    let (_admin, facts) = Queue::admin(port, false).unwrap();
    let mut queue = Queue::io(port, false, facts.cntlid, 1).unwrap();
    for at in 0..64 {
        let block = vec![at as u8; 4096];
        let (cqe, _) = queue.call(write(1, at, 1, 4096, false), block.clone()).unwrap();
        assert!(cqe.status().is_ok());
        assert_eq!(queue.call(read(1, at, 1, 4096), vec![0; 4096]).unwrap().1, block);
        // So that a scrape falls among them.
        thread::park_timeout(Duration::from_millis(50));
    }
    let (cqe, _) = queue.call(read(1, 1 << 40, 1, 4096), vec![0; 4096]).unwrap();
    assert!(!cqe.status().is_ok());
}

/// Every query of the board has a number at some time of the run.
fn check_board(prometheus: &Prometheus) {
    let board = fs::read_to_string(deploy("grafana/raid456.json")).unwrap();
    let board: Value = serde_json::from_str(&board).unwrap();
    let mut queries = 0;
    for panel in board["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"]
                .as_str()
                .unwrap()
                .replace("$__rate_interval", "10s")
                .replace("$job", ".*")
                .replace("$instance", ".*")
                .replace("$array", "r0|outer");
            let series = prometheus.ask_range(&query, 300);
            let numbers = series.iter().flat_map(|series| series["values"].as_array().unwrap());
            let has_number = numbers.into_iter().any(|pair| pair[1] != "NaN");
            assert!(has_number, "{title}: {query}: {series:?}");
            queries += 1;
        }
    }
    assert!(queries > 50, "{queries} queries");
}
