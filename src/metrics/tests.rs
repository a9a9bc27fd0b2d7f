//! What a scrape looks like, in both formats, for a service with something of everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use reactor::{CpuSet, Latencies};
use rpc::Service;
use serde_json::json;

use super::*;
use crate::control::Options;
use crate::methods::{Boot, Methods};

/// The name of a bdev in which everything that has to be escaped occurs.
const ODD: &str = "a \"\\ b";

/// A service with arrays, one of them degraded and with a log, and some traffic.
struct World {
    control: Arc<Control>,
    exporter: Exporter,
}

impl World {
    fn new() -> Self {
        let options =
            Options { cores: CpuSet::single(0), buffer_bytes: 8 << 20, ..Options::default() };
        let control = Control::start(options).unwrap();
        control.finish_startup();
        let methods = Methods::new(Arc::clone(&control), Arc::new(Boot::default()));
        let ask = |method: &str, params| {
            methods.call(method, Some(params)).unwrap_or_else(|e| panic!("{method}: {e}"))
        };
        for name in [ODD, "b", "c", "log"] {
            let params = json!({ "name": name, "block_size": 4096, "num_blocks": 2048 });
            ask("bdev_malloc_create", params);
        }
        // As large as the first array will be.
        for name in ["d", "e"] {
            let params = json!({ "name": name, "block_size": 4096, "num_blocks": 2 * 7 * 256 });
            ask("bdev_malloc_create", params);
        }
        ask("bdev_error_create", json!({ "base_name": "b" }));
        ask(
            "bdev_raid_create",
            json!({ "name": "r", "raid_level": "raid5", "strip_size_kb": 64, "superblock": true,
                    "base_bdevs": [ODD, "EE_b", "c"], "log_bdev": "log" }),
        );
        ask(
            "bdev_raid_create",
            json!({ "name": "half", "raid_level": "raid6", "strip_size_kb": 64,
                    "base_bdevs": ["d", null, "r", "e"], "assume_clean": true }),
        );
        ask("nvmf_create_transport", json!({ "trtype": "TCP" }));
        let nqn = "nqn.2016-06.io.spdk:cnode1";
        ask("nvmf_create_subsystem", json!({ "nqn": nqn }));
        ask("nvmf_subsystem_add_ns", json!({ "nqn": nqn, "namespace": { "bdev_name": "half" } }));
        methods.call("bdev_get_bdevs", Some(json!({ "name": "x" }))).unwrap_err();
        methods.call("no_such_method", None).unwrap_err();
        let disk = control.bdev("half").unwrap();
        let limit = Duration::from_secs(60);
        device::blocking::read(&control.reactors()[0], &disk, 0, 1 << 20, limit).unwrap();
        let exporter = Exporter::new(Arc::clone(&control), vec![methods.meter()]);
        Self { control, exporter }
    }
}

/// A family as a scrape shows it.
#[derive(Debug, Default, Clone, PartialEq)]
struct Shown {
    kind: String,
    help: String,
    /// Values by name and labels, as they are written.
    samples: BTreeMap<String, f64>,
    /// Names of labels.
    labels: BTreeSet<String>,
}

/// Reads either format, strictly: every sample stands below its family's HELP and TYPE.
fn parse(text: &str, format: Format) -> BTreeMap<String, Shown> {
    let mut families: BTreeMap<String, Shown> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            current = name.to_owned();
            let before = families.insert(current.clone(), Shown::default());
            assert_eq!(before, None, "{name} twice");
            families.get_mut(name).unwrap().help = help.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current);
            families.get_mut(name).unwrap().kind = kind.to_owned();
        } else if let Some(unit) = line.strip_prefix("# UNIT ") {
            let (name, unit) = unit.split_once(' ').unwrap();
            assert!(name == current && name.ends_with(&format!("_{unit}")), "{line}");
        } else if line != "# EOF" {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let family = families.get_mut(&current).unwrap();
            let suffixes: &[&str] = match (&*family.kind, format) {
                ("histogram", _) => &["_bucket", "_sum", "_count"],
                ("counter", Format::OpenMetrics) => &["_total"],
                _ => &[""],
            };
            let belongs = |suffix: &&str| name.strip_suffix(*suffix) == Some(&*current);
            assert!(suffixes.iter().any(belongs), "{line} below {current}");
            let before = family.samples.insert(series.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "{series} twice");
            let labels = series.split_once('{').map_or("", |(_, labels)| labels);
            let keys = labels.split("=\"").filter_map(|part| part.rsplit(['{', ',']).next());
            let names = keys.filter(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            family.labels.extend(names.filter(|key| !key.is_empty()).map(str::to_owned));
        }
    }
    families
}

/// Goal: both formats say the same of the same families; nothing is there twice; histograms are whole; what
/// has to be escaped is.
#[test]
fn both_formats_say_the_same() {
    let world = World::new();
    let text = world.exporter.scrape(Format::Text);
    let open = world.exporter.scrape(Format::OpenMetrics);
    assert!(open.ends_with("# EOF\n") && !text.contains("# EOF"));
    let (text, open) = (parse(&text, Format::Text), parse(&open, Format::OpenMetrics));
    let without_total = |name: &String| name.strip_suffix("_total").unwrap_or(name).to_owned();
    assert_eq!(
        text.keys().map(without_total).collect::<Vec<_>>(),
        open.keys().cloned().collect::<Vec<_>>()
    );
    for (name, family) in &text {
        let other = &open[&without_total(name)];
        assert_eq!((&family.kind, &family.labels), (&other.kind, &other.labels), "{name}");
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name}");
        assert!(family.help.ends_with('.'), "{name}: {}", family.help);
        if family.kind == "histogram" {
            check_histogram(name, family);
        } else {
            let series = |shown: &Shown| shown.samples.keys().cloned().collect::<Vec<_>>();
            assert_eq!(series(family), series(other), "{name}");
        }
    }
    let size = &text["raid456_bdev_size_bytes"].samples;
    assert_eq!(size["raid456_bdev_size_bytes{bdev=\"a \\\"\\\\ b\"}"], 8_388_608.0);
    assert!(open["raid456_bdev_size_bytes"].samples.keys().eq(size.keys()));
    world.control.shutdown().unwrap();
}

/// Buckets grow, and the last one has everything.
fn check_histogram(name: &str, family: &Shown) {
    let mut counts: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (series, value) in &family.samples {
        let Some((before, rest)) = series.split_once("le=\"") else { continue };
        let bound: f64 = rest.trim_end_matches("\"}").parse().unwrap();
        let labels = before.replace("_bucket", "").trim_end_matches([',', '{']).to_owned();
        counts.entry(labels).or_default().push((bound, *value));
    }
    assert!(!counts.is_empty(), "{name}");
    for (labels, mut buckets) in counts {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert_eq!(buckets.len(), reactor::LATENCY_BOUNDS + 1, "{labels}");
        assert!(buckets.is_sorted_by_key(|(_, count)| *count), "{labels}: {buckets:?}");
        assert_eq!(buckets[0].0, Latencies::bound_ns(0) as f64 / 1e9);
        let total = family.samples.iter().find(|(series, _)| {
            let bare = series.replace("_count", "");
            series.contains("_count") && bare.trim_end_matches('}') == labels
        });
        assert_eq!(buckets.last().unwrap().1, *total.unwrap().1, "{labels}");
    }
}

/// Goal: what is shown is what is so: states, members, traffic, errors of methods.
#[test]
fn numbers_are_what_happened() {
    let world = World::new();
    let families = parse(&world.exporter.scrape(Format::Text), Format::Text);
    let value = |series: &str| {
        let series = format!("raid456_{series}");
        let all = families.values().flat_map(|family| &family.samples);
        let found: Vec<_> = all.filter(|(name, _)| **name == series).map(|(_, v)| *v).collect();
        assert_eq!(found.len(), 1, "{series}");
        found[0]
    };
    for (series, expected) in [
        ("raid_state{array=\"r\",state=\"online\"}", 1.0),
        ("raid_state{array=\"half\",state=\"online\"}", 0.0),
        ("raid_state{array=\"half\",state=\"degraded\"}", 1.0),
        ("raid_members{array=\"half\",state=\"active\"}", 3.0),
        ("raid_members{array=\"half\",state=\"missing\"}", 1.0),
        ("raid_members_required{array=\"half\"}", 4.0),
        ("raid_member_state{array=\"half\",slot=\"1\",member=\"\",state=\"missing\"}", 1.0),
        ("raid_member_state{array=\"r\",slot=\"1\",member=\"EE_b\",state=\"in_sync\"}", 1.0),
        ("bdev_claim_info{bdev=\"log\",holder=\"r\",role=\"log\"}", 1.0),
        ("bdev_operations_total{bdev=\"half\",op=\"read\"}", 1.0),
        ("bdev_bytes_total{bdev=\"half\",op=\"read\"}", 1_048_576.0),
        ("bdev_operation_duration_seconds_count{bdev=\"half\",op=\"read\"}", 1.0),
        ("log_state{array=\"r\",log_bdev=\"log\",state=\"alive\"}", 1.0),
        ("raid_sync_limit_bytes_per_second{array=\"r\",limit=\"max\"}", f64::INFINITY),
        ("rpc_requests_total{method=\"bdev_malloc_create\",code=\"0\"}", 6.0),
        ("rpc_requests_total{method=\"bdev_get_bdevs\",code=\"-19\"}", 1.0),
        ("rpc_requests_total{method=\"unknown\",code=\"-32601\"}", 1.0),
        ("reactor_up{core=\"0\"}", 1.0),
        ("started", 1.0),
        ("kept_calls{source=\"config\"}", 0.0),
        ("raid_sync_delayed{array=\"half\"}", 0.0),
        ("log_state{array=\"r\",log_bdev=\"log\",state=\"missing\"}", 0.0),
    ] {
        assert_eq!(value(series), expected, "{series}");
    }
    assert!(value("raid_degraded_reads_total{array=\"half\"}") > 0.0);
    assert!(value("raid_parity_bytes_total{array=\"half\"}") > 0.0);
    assert!(value("bdev_bytes_total{bdev=\"r\",op=\"read\"}") > 0.0, "it is a member of the other");
    let at = value("bdev_operation_time_seconds_total{bdev=\"half\",op=\"read\"}");
    assert!(at > 0.0 && at < 60.0, "{at}");
    world.control.shutdown().unwrap();
}

/// Goal: arrays of mapped devices are seen like others, under names that nobody else has, and can be traced.
/// Method: one in a table, two in a table, and a bdev with the name that the second of those would have.
#[test]
fn arrays_of_mapped_devices_are_seen() {
    let options = Options { cores: CpuSet::single(0), buffer_bytes: 8 << 20, ..Options::default() };
    let control = Control::start(options).unwrap();
    control.finish_startup();
    let methods = Methods::new(Arc::clone(&control), Arc::new(Boot::default()));
    let ask = |method: &str, params| {
        methods.call(method, Some(params)).unwrap_or_else(|e| panic!("{method}: {e}"))
    };
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        ask("bdev_malloc_create", json!({ "name": name, "block_size": 512, "num_blocks": 8192 }));
    }
    ask("bdev_null_create", json!({ "name": "pair/1", "block_size": 512, "num_blocks": 8 }));
    let line = |at: u64, members: [&str; 3]| {
        let [one, two, three] = members;
        format!("{at} 16384 raid raid5_ls 2 128 nosync 3 - {one} - {two} - {three}")
    };
    ask("dm_create", json!({ "name": "one", "table": line(0, ["a", "b", "c"]) }));
    let pair = [line(0, ["d", "e", "f"]), line(16384, ["g", "-", "i"])].join("\n");
    ask("dm_create", json!({ "name": "pair", "table": pair }));
    let exporter = Exporter::new(Arc::clone(&control), Vec::new());
    let families = parse(&exporter.scrape(Format::Text), Format::Text);
    let states = &families["raid456_raid_state"].samples;
    let is = |series: &str| states[&format!("raid456_raid_state{{{series}}}")];
    assert_eq!(is("array=\"one\",state=\"online\""), 1.0);
    assert_eq!(is("array=\"pair/0\",state=\"online\""), 1.0);
    assert_eq!(is("array=\"pair/1'\",state=\"degraded\""), 1.0);
    assert_eq!(states.len(), 3 * 4);
    let member =
        "raid456_raid_member_state{array=\"one\",slot=\"1\",member=\"b\",state=\"in_sync\"}";
    assert_eq!(families["raid456_raid_member_state"].samples[member], 1.0);

    let status = crate::status::of(&control);
    let arrays: Vec<_> = status
        .arrays
        .iter()
        .map(|array| (&*array.name, array.state.word(), array.size_bytes))
        .collect();
    let size = 16384 * 512;
    let expected =
        [("one", "online", size), ("pair/0", "online", size), ("pair/1'", "degraded", size)];
    assert_eq!(arrays, expected);
    assert_eq!(status.reasons, ["array pair/1' is degraded: 1 of 3 members not in sync"]);
    for name in ["one", "pair"] {
        ask("bdev_raid_set_trace", json!({ "name": name, "enable": true }));
    }
    let refused = methods
        .call("bdev_raid_set_trace", Some(json!({ "name": "a", "enable": true })))
        .unwrap_err();
    assert_eq!(refused.code, -19, "{refused}");
    let disk = control.bdev("one").unwrap();
    let limit = Duration::from_secs(60);
    let reads = || crate::status::of(&control).arrays[0].io.read.ops;
    let before = reads();
    device::blocking::read(&control.reactors()[0], &disk, 0, 4096, limit).unwrap();
    assert_eq!(reads() - before, 1, "what hosts did");
    control.shutdown().unwrap();
}

/// Goal: while a reactor does not turn, no sum without it is shown, which would look like a fall and then
/// like a leap, and no array is said to be in a state that nobody knows.
#[test]
fn what_is_not_known_is_not_shown() {
    let world = World::new();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    world.control.reactors()[0].send(move |_| {
        let _ = wait.recv();
    });
    let families = parse(&world.exporter.scrape(Format::Text), Format::Text);
    assert_eq!(families["raid456_reactor_up"].samples["raid456_reactor_up{core=\"0\"}"], 0.0);
    assert!(families.contains_key("raid456_bdev_size_bytes"));
    for name in ["bdev_operations_total", "raid_state", "raid_stripe_writes_total", "log_regions"] {
        assert!(!families.contains_key(&format!("raid456_{name}")), "{name}");
    }
    drop(go);
    let families = parse(&world.exporter.scrape(Format::Text), Format::Text);
    assert!(families.contains_key("raid456_raid_state"));
    world.control.shutdown().unwrap();
}

/// Goal: the reference of the metrics is what is scraped. Method: with `RAID456_BLESS=1` the page is
/// written instead of compared.
#[test]
fn the_reference_is_what_is_scraped() {
    let world = World::new();
    let families = parse(&world.exporter.scrape(Format::Text), Format::Text);
    let mut page = String::from(
        "# Metrics\n\nWhat `serve --metrics` shows at `/metrics`. A test makes this page of a scrape: \
         `RAID456_BLESS=1 cargo test -p raid456 --lib metrics`.\n\n| metric | type | labels | what it \
         is |\n|---|---|---|---|\n",
    );
    for (name, family) in &families {
        let labels: Vec<_> = family.labels.iter().filter(|label| *label != "le").cloned().collect();
        let (kind, help, labels) = (&family.kind, &family.help, labels.join(", "));
        writeln!(page, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/METRICS.md");
    if std::env::var("RAID456_BLESS").is_ok() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "deploy/METRICS.md is not what is scraped: RAID456_BLESS=1 makes it anew"
    );
    world.control.shutdown().unwrap();
}

/// Goal: who says what it would rather have gets it; everybody else gets text.
#[test]
fn formats_are_negotiated() {
    for (accept, expected) in [
        (None, Format::Text),
        (Some(""), Format::Text),
        (Some("*/*"), Format::Text),
        (Some("text/html,*/*;q=0.1"), Format::Text),
        (Some("application/openmetrics-text"), Format::OpenMetrics),
        (Some("application/openmetrics-text; version=\"1.0.0\", */*"), Format::OpenMetrics),
        (Some("application/openmetrics-text;version=0.0.1"), Format::Text),
        (Some("application/openmetrics-text;q=0.5,text/plain;version=0.0.4"), Format::Text),
        (Some("application/openmetrics-text;q=0"), Format::Text),
        // Prometheus 2.42 asks with this.
        (
            Some(
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;\
                 version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            ),
            Format::OpenMetrics,
        ),
    ] {
        assert_eq!(Format::negotiate(accept), expected, "{accept:?}");
    }
}
