//! Plain loads over null and malloc bdevs: limits, ranges, depths, errors, stopping, and what the
//! report says of them.
//!
//! Not here: verified loads (`verify.rs`).

use crate::devices::{Fault, Faulty, malloc, null, reactors};
use device::Bdev;
use perf::{Job, LatencyClock, Limit, OnError, Pattern, Report, Run, RunError, Stage, run};
use reactor::Ticks;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const PATTERNS: [Pattern; 5] = [
    Pattern::Read,
    Pattern::Write,
    Pattern::RandRead,
    Pattern::RandWrite,
    Pattern::RandRw { read_percent: 70 },
];

fn job(bdev: Arc<dyn Bdev>, pattern: Pattern) -> Job {
    Job { io_depth: 8, ..Job::new(bdev, pattern) }
}

fn ios(report: &Report) -> (u64, u64) {
    (report.read.map_or(0, |read| read.ios), report.write.map_or(0, |write| write.ios))
}

/// Goal: a counted job makes exactly that many requests in each pattern, on one reactor and on
/// several, and the report's sums agree.
#[test]
fn counted_jobs_make_that_many_requests() {
    for count in [1, 2] {
        let reactors = reactors(count);
        for pattern in PATTERNS {
            let job = Job { limit: Limit::Ios(1001), ..job(null(8000), pattern) };
            let report = run(job, reactors.handles()).unwrap();
            let (reads, writes) = ios(&report);
            assert_eq!(reads + writes, 1001, "{pattern}");
            assert_eq!(report.total.ios, 1001);
            assert_eq!((reads > 0, writes > 0), (pattern.reads(), pattern.writes()));
            assert_eq!(report.read.is_some(), pattern.reads());
            let of_reactors: u64 = report.reactors.iter().map(|r| r.reads + r.writes).sum();
            let shares: f64 = report.reactors.iter().map(|r| r.share).sum();
            assert_eq!(of_reactors, 1001);
            assert!((shares - 1.0).abs() < 1e-9);
            assert!(report.is_good() && !report.interrupted);
            assert!(report.total.latency.unwrap().min_ns <= report.total.latency.unwrap().max_ns);
        }
        reactors.stop();
    }
}

/// Goal: a mixed load keeps its share of reads.
#[test]
fn a_mixed_load_keeps_its_share() {
    let reactors = reactors(1);
    let job = Job {
        limit: Limit::Ios(20_000),
        ..job(malloc(1024), Pattern::RandRw { read_percent: 70 })
    };
    let (reads, writes) = ios(&run(job, reactors.handles()).unwrap());
    assert!((13_500..=14_500).contains(&reads), "{reads} reads, {writes} writes");
    reactors.stop();
}

/// Goal: one pass of sequential writes covers exactly the range, each byte, and nothing beside it.
/// Method: over a device of zeroes; the generator's data has no zero block.
#[test]
fn a_pass_covers_its_range() {
    let reactors = reactors(2);
    let bdev = malloc(64);
    let mut job = job(Arc::clone(&bdev), Pattern::Write);
    (job.block_bytes, job.offset_bytes, job.size_bytes) = (1024, 512, Some(20 * 1024 + 512));
    let report = run(job, reactors.handles()).unwrap();
    assert_eq!(report.total.ios, 20);
    assert_eq!(report.job.size_bytes, 20 * 1024);
    let contents = crate::devices::contents(&bdev);
    let touched: Vec<_> =
        contents.chunks_exact(512).map(|block| block.iter().any(|byte| *byte != 0)).collect();
    let expected: Vec<_> = (0..64).map(|block| (1..41).contains(&block)).collect();
    assert_eq!(touched, expected);
    reactors.stop();
}

/// Goal: a timed job lasts about as long as it was told, the ramp not counted.
#[test]
fn timed_jobs_end_in_time() {
    let reactors = reactors(1);
    let job = Job {
        limit: Limit::Time(Ticks::from_millis(60)),
        ramp: Ticks::from_millis(30),
        ..job(null(8000), Pattern::RandRead)
    };
    let report = run(job, reactors.handles()).unwrap();
    // The upper bound only says that it ends: the machine may be busy with something else.
    assert!((0.06..20.0).contains(&report.elapsed_s), "{} s", report.elapsed_s);
    assert!(report.total.ios > 0 && report.reactors[0].turns > 0);
    assert!((report.total.iops * report.elapsed_s - report.total.ios as f64).abs() < 1.0);
    assert_eq!(report.total.bytes_per_s, report.total.iops * 4096.0);
    reactors.stop();
}

/// Goal: never more in flight than the depth, and a channel that is full only slows the load down.
/// Method: a channel with room for 3 under a depth of 8, and one with room to spare.
#[test]
fn the_depth_is_kept() {
    let reactors = reactors(1);
    for (room, expected) in [(3, 3), (64, 8)] {
        let faulty = Faulty::over(malloc(1024), Fault::None, room);
        let stats = Arc::clone(&faulty.stats);
        let job = Job { limit: Limit::Ios(500), ..job(faulty, Pattern::RandRead) };
        let report = run(job, reactors.handles()).unwrap();
        assert_eq!(report.total.ios, 500);
        assert_eq!(stats.submitted.load(Ordering::SeqCst), 500);
        assert_eq!(stats.in_flight_max.load(Ordering::SeqCst), expected);
        assert_eq!(stats.refused.load(Ordering::SeqCst) > 0, room < 8);
        assert_eq!(stats.open_channels.load(Ordering::SeqCst), 0, "a channel is still open");
    }
    reactors.stop();
}

/// Goal: a failed request ends the load and is named; with `Continue` it is counted.
#[test]
fn failed_requests_are_reported() {
    let reactors = reactors(1);
    let faulty = || Faulty::over(malloc(80), Fault::Fail(4096 + 512), 64);
    let report = run(job(faulty(), Pattern::Write), reactors.handles()).unwrap();
    assert!(!report.is_good() && report.total.errors == 1);
    let error = report.first_error.clone().unwrap();
    assert_eq!((error.direction, error.offset_bytes), ("write", 4096));
    assert_eq!(error.status, "media error");
    assert!(report.table().contains("first error: write at byte 4096: media error"));

    let mut job = job(faulty(), Pattern::Read);
    (job.on_error, job.limit) = (OnError::Continue, Limit::Ios(100));
    let report = run(job, reactors.handles()).unwrap();
    assert_eq!((report.total.ios, report.total.errors), (90, 10));
    assert_eq!(report.read.unwrap().errors, 10);
    assert!(!report.is_good());
    reactors.stop();
}

/// Goal: a run that is stopped, or dropped, ends and leaves no channel open.
#[test]
fn a_run_can_be_stopped_and_dropped() {
    let reactors = reactors(2);
    let faulty = Faulty::over(malloc(1024), Fault::None, 64);
    let stats = Arc::clone(&faulty.stats);
    let endless = Job {
        limit: Limit::Time(Ticks::from_secs(3600)),
        ..job(faulty, Pattern::RandRw { read_percent: 50 })
    };
    let mut run = Run::start(endless.clone(), reactors.handles()).unwrap();
    assert_eq!(run.progress().stage, Stage::Load);
    let mut waits = 0;
    while run.progress().counts.reads == 0 {
        assert!(!run.wait(Duration::from_millis(5)).unwrap(), "an endless run is over");
        waits += 1;
        assert!(waits < 10_000, "no request is ever done: {:?}", run.progress());
    }
    assert!(run.progress().elapsed >= Ticks::from_millis(5 * waits));
    run.stop();
    let report = run.finish().unwrap();
    assert!(report.interrupted && report.is_good());
    assert!(report.table().contains("interrupted"));
    assert_eq!(stats.open_channels.load(Ordering::SeqCst), 0);

    let run = Run::start(endless, reactors.handles()).unwrap();
    drop(run);
    assert_eq!(stats.open_channels.load(Ordering::SeqCst), 0);
    reactors.stop();
}

/// Goal: the generator's own clock gives latencies too, and says so.
#[test]
fn the_precise_clock_is_an_option() {
    let reactors = reactors(1);
    let job = Job {
        limit: Limit::Ios(100),
        clock: LatencyClock::Precise,
        ..job(malloc(1024), Pattern::RandRead)
    };
    let report = run(job, reactors.handles()).unwrap();
    assert!(report.latency_method.starts_with("own clock"));
    assert!(report.read.unwrap().latency.unwrap().p50_ns > 0);
    reactors.stop();
}

/// Goal: more buffers than requests in flight make no difference but to the cache.
#[test]
fn writes_take_turns_with_buffers() {
    let reactors = reactors(1);
    let bdev = malloc(64);
    let mut job = job(Arc::clone(&bdev), Pattern::Write);
    (job.block_bytes, job.io_depth, job.write_buffers) = (512, 2, 64);
    run(job, reactors.handles()).unwrap();
    // 64 blocks from 64 buffers: all different.
    let contents = crate::devices::contents(&bdev);
    let mut blocks: Vec<_> = contents.chunks_exact(512).collect();
    blocks.sort_unstable();
    blocks.dedup();
    assert_eq!(blocks.len(), 64);
    reactors.stop();
}

/// Goal: a pool that is too small for the load costs its speed and not the run, and is told.
#[test]
fn a_small_pool_is_enough() {
    let reactors = reactors(1);
    let mut job = job(malloc(4096), Pattern::RandRw { read_percent: 50 });
    (job.block_bytes, job.io_depth, job.limit) = (1 << 20, 32, Limit::Ios(40));
    let report = run(job, reactors.handles()).unwrap();
    assert_eq!(report.total.ios, 40);
    assert_eq!(report.buffers, perf::BufferHome::Heap);
    reactors.stop();
}

/// Goal: a wrong job, no reactor and a stopped reactor are errors, and say what is wrong.
#[test]
fn what_cannot_run_is_refused() {
    let reactors = reactors(1);
    let wrong = Job { block_bytes: 100, ..job(null(8), Pattern::Read) };
    let error = run(wrong, reactors.handles()).unwrap_err();
    assert!(matches!(error, RunError::Job(_)) && error.to_string().contains("100"), "{error}");
    let error = run(job(null(8), Pattern::Read), &[]).unwrap_err();
    assert!(matches!(error, RunError::NoReactor), "{error}");
    let handles = reactors.handles().to_vec();
    reactors.stop();
    let error = run(job(null(80), Pattern::Read), &handles).unwrap_err();
    assert!(matches!(error, RunError::Stopped(_)), "{error}");
}

/// Goal: a reactor that stops under a run ends it with an error, not with a wait for ever.
#[test]
fn a_reactor_that_stops_ends_the_run() {
    let reactors = reactors(1);
    let job =
        Job { limit: Limit::Time(Ticks::from_secs(3600)), ..job(null(8000), Pattern::RandRead) };
    let run = Run::start(job, reactors.handles()).unwrap();
    reactors.stop();
    assert!(matches!(run.finish(), Err(RunError::Lost)));
}

/// Goal: the JSON has the names that others build on, and the table the figures for people.
#[test]
fn the_report_is_told_in_both_ways() {
    let reactors = reactors(1);
    let job =
        Job { limit: Limit::Ios(100), ..job(null(8000), Pattern::RandRw { read_percent: 50 }) };
    let report = run(job, reactors.handles()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    for pointer in [
        "/job/bdev",
        "/job/rw",
        "/job/block_bytes",
        "/job/io_depth",
        "/elapsed_s",
        "/disturbed",
        "/clean/iops",
        "/read/iops",
        "/write/bytes_per_s",
        "/total/errors",
        "/total/latency/min_ns",
        "/total/latency/mean_ns",
        "/total/latency/p50_ns",
        "/total/latency/p90_ns",
        "/total/latency/p99_ns",
        "/total/latency/p99_9_ns",
        "/total/latency/p99_99_ns",
        "/total/latency/max_ns",
        "/reactors/0/share",
        "/reactors/0/cpu_share",
        "/latency_method",
    ] {
        assert!(json.pointer(pointer).is_some_and(|value| !value.is_null()), "{pointer}: {json}");
    }
    let table = report.table();
    let head = "n0 (Null disk): randrw 50 % reads, 4 KiB, depth 8, 1 reactor";
    assert!(table.starts_with(head), "{table}");
    for word in ["\nread ", "\nwrite ", "\ntotal ", "IOPS", "p99.99", "reactor 0 on core 0", "turn"]
    {
        assert!(table.contains(word), "{word:?}: {table}");
    }
    reactors.stop();
}
