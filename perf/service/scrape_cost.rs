//! What a scrape costs: how long it takes with 64 arrays of 24 members under load, and what it takes from
//! the load. Prints the tables of `perf/results/metrics.md`.
//!
//! Windows take turns, so that what else happens on the machine hits all alike; the medians are compared:
//!
//! | window | once a second, on the core beside the reactor's |
//! |---|---|
//! | quiet | nothing |
//! | survey | what a scrape asks of the reactor |
//! | scrape | all of a scrape |
//! | stranger | as long as a scrape takes somebody who has nothing to do with the service goes over as much memory |
//!
//! The last shows what the two cores have in common on this machine: caches, and with two threads of one
//! core everything. Prometheus usually scrapes every 15 seconds or more.
//!
//! Not here: what the numbers mean (`perf/results/metrics.md`).

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a measurement that fails has to stop")]

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use perf::{Job, Limit, Pattern, Run};
use raid456::control::{Control, Options};
use raid456::methods::{Boot, Methods};
use raid456::metrics::{Exporter, Format};
use reactor::{CpuSet, clock};
use rpc::Service;
use serde_json::json;

const ARRAYS: usize = 64;
const MEMBERS: usize = 24;
const ROUNDS: usize = 20;
const WINDOW: Duration = Duration::from_secs(1);
const PERIOD: Duration = Duration::from_secs(1);

fn main() {
    let core: usize = std::env::args().nth(1).map_or(1, |core| core.parse().unwrap());
    // The scraper is beside the reactor, as it is where a reactor has its core to itself.
    core_affinity::set_for_current(core_affinity::CoreId { id: if core == 0 { 1 } else { 0 } });
    let options =
        Options { cores: CpuSet::single(core), buffer_bytes: 64 << 20, ..Options::default() };
    let control = Control::start(options).unwrap();
    control.finish_startup();
    let methods = Methods::new(Arc::clone(&control), Arc::new(Boot::default()));
    make_arrays(&control, &methods);
    measure(&control, &Exporter::new(Arc::clone(&control), vec![methods.meter()]));
    control.shutdown().unwrap();
}

/// The arrays that are looked at, each of which has done something, and the one under load.
fn make_arrays(control: &Control, methods: &Methods) {
    let ask = |method: &str, params| methods.call(method, Some(params)).unwrap();
    let malloc = |name: &str, num_blocks| {
        let params = json!({ "name": name, "block_size": 4096, "num_blocks": num_blocks });
        ask("bdev_malloc_create", params);
    };
    let raid = |name: &str, level, members: &[String]| {
        let params = json!({ "name": name, "raid_level": level, "strip_size_kb": 64,
                             "base_bdevs": members, "assume_clean": true });
        ask("bdev_raid_create", params);
    };
    for array in 0..ARRAYS {
        let members: Vec<_> = (0..MEMBERS).map(|slot| format!("m{array}-{slot}")).collect();
        members.iter().for_each(|member| malloc(member, 64));
        raid(&format!("r{array}"), "raid6", &members);
    }
    let members: Vec<_> = (0..5).map(|slot| format!("load-{slot}")).collect();
    members.iter().for_each(|member| malloc(member, 16384));
    raid("load", "raid5", &members);
    // Every member has something to tell.
    for array in 0..ARRAYS {
        for pattern in [Pattern::Write, Pattern::Read] {
            let disk = control.bdev(&format!("r{array}")).unwrap();
            let job = Job { block_bytes: 65536, ..Job::new(disk, pattern) };
            let mut run = Run::start(job, control.reactors()).unwrap();
            while !run.wait(PERIOD).unwrap() {}
            run.finish().unwrap();
        }
    }
}

fn measure(control: &Control, exporter: &Exporter) {
    println!("## How long a scrape takes: {ARRAYS} arrays x {MEMBERS} members\n");
    println!(
        "| format | load | median ms | on the core, ms | longest ms | MiB |\n|---|---|---|---|---|---|"
    );
    for format in [Format::Text, Format::OpenMetrics] {
        show(exporter, format, "none");
    }
    // Busy turns of a reactor that has nothing else to do. Whoever took the core meanwhile made it longer, so
    // the least is what it costs.
    let reactor = &control.reactors()[0];
    let costs = (0..50).map(|_| {
        let before = reactor.stats().busy_ticks;
        drop(control.survey());
        (reactor.stats().busy_ticks - before) as f64 / 1e6
    });
    let least = costs.fold(f64::INFINITY, f64::min);
    let all = control.reactors().to_vec();
    let disk = control.bdev("load").unwrap();
    let mut rows = Vec::new();
    for (pattern, word) in [(Pattern::RandRead, "reads"), (Pattern::RandWrite, "writes")] {
        let limit = Limit::Time(Duration::from_secs(3600).into());
        let job = Job { block_bytes: 4096, io_depth: 32, limit, ..Job::new(disk.clone(), pattern) };
        let mut run = Run::start(job, &all).unwrap();
        let load = format!("4 KiB random {word}, QD 32");
        for format in [Format::Text, Format::OpenMetrics] {
            show(exporter, format, &load);
        }
        let [quiet, survey, scrape, stranger] = compare(&run, control, exporter);
        run.stop();
        let ratios = [survey, scrape, stranger].map(|rate| format!("{:.3}", rate / quiet));
        rows.push(format!("| {load} | {quiet:.0} | {} |", ratios.join(" | ")));
    }
    println!("\nA scrape takes {least:.2} ms of the reactor's time (the least of 50).");
    println!("\n## What a scrape a second takes from the load\n");
    println!(
        "| load | requests/s, quiet | survey | scrape | stranger |\n|---|---|---|---|---|\n{}",
        rows.join("\n")
    );
}

/// Requests a second in windows of each kind.
fn compare(run: &Run, control: &Control, exporter: &Exporter) -> [f64; 4] {
    let mut memory = vec![1_u8; 10 << 20];
    let mut rates = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        rates[0].push(window(run, || {}));
        rates[1].push(window(run, || drop(control.survey())));
        let begin = clock::now();
        drop(exporter.scrape(Format::OpenMetrics));
        let took = (clock::now() - begin).into();
        rates[2].push(window(run, || drop(exporter.scrape(Format::OpenMetrics))));
        rates[3].push(window(run, || go_over(&mut memory, took)));
    }
    rates.map(|mut rates| median(&mut rates))
}

/// Reads and writes memory for so long.
fn go_over(memory: &mut [u8], time: Duration) {
    let begin = clock::now();
    while Duration::from(clock::now() - begin) < time {
        for byte in memory.iter_mut() {
            *byte = byte.wrapping_mul(3);
        }
        std::hint::black_box(&memory);
    }
}

fn show(exporter: &Exporter, format: Format, load: &str) {
    let mut bytes = 0;
    let mut on_core = Vec::new();
    let mut times: Vec<f64> = (0..20)
        .map(|_| {
            let (begin, core_begin) = (clock::now(), on_core_ms());
            bytes = exporter.scrape(format).len();
            on_core.push(on_core_ms() - core_begin);
            (clock::now() - begin).as_secs_f64() * 1e3
        })
        .collect();
    let longest = times.iter().copied().fold(0.0, f64::max);
    let mib = bytes as f64 / f64::from(1 << 20);
    let (median, on_core) = (median(&mut times), median(&mut on_core));
    println!("| {format:?} | {load} | {median:.1} | {on_core:.1} | {longest:.1} | {mib:.1} |");
}

/// What this thread has had of a core so far: the first number of proc(5)'s schedstat is nanoseconds.
fn on_core_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

/// Requests a second over a window in which `each` is done once a period.
fn window(run: &Run, mut each: impl FnMut()) -> f64 {
    let before = run.progress();
    // Nobody ever sends: it is there to be waited for.
    let (_keep, never) = mpsc::channel::<()>();
    let begin = clock::now();
    for turn in 0..(WINDOW.as_millis() / PERIOD.as_millis()) as u32 {
        each();
        let next = PERIOD * (turn + 1);
        let _ = never.recv_timeout(next.saturating_sub((clock::now() - begin).into()));
    }
    let after = run.progress();
    let seconds = (after.elapsed - before.elapsed).as_secs_f64();
    (after.counts.ios() - before.counts.ios()) as f64 / seconds
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
