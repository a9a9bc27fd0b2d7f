//! [`Report`]: what a run has brought, for people ([`Report::table`]) and for programs (serde).
//!
//! Units stand in the names: `_s`, `_ns`, `_bytes`. Rates are per second of the measured window of
//! each reactor, summed. On a machine that others use too, the figures under `clean` are the ones
//! to compare: they are from the moments in which the threads had their cores.
//!
//! Not here: measuring (`worker`, `tally`, `window`).

use crate::buffers::BufferHome;
use crate::job::{Job, LatencyClock, Pattern};
use crate::run::Load;
use crate::source::Direction;
use crate::tally::{Counts, Tally, empty_histogram};
use crate::verify::Mismatch;
#[cfg(doc)]
use crate::window::CLEAN_CPU_SHARE;
use crate::worker::{Fault, Outcome};
use hdrhistogram::Histogram;
use reactor::ReactorHandle;
use serde::Serialize;

/// The outcome of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was asked for.
    pub job: JobReport,
    /// Length of the longest measured window.
    pub elapsed_s: f64,
    /// Whether a reactor did not have its core all the time (see [`CLEAN_CPU_SHARE`]).
    pub disturbed: bool,
    /// The same load in undisturbed moments only.
    pub clean: CleanReport,
    /// Reads, if the job has any.
    pub read: Option<DirectionReport>,
    /// Writes, if the job has any.
    pub write: Option<DirectionReport>,
    /// Both.
    pub total: DirectionReport,
    /// Who did how much.
    pub reactors: Vec<ReactorReport>,
    /// The first request that failed.
    pub first_error: Option<FirstError>,
    /// What verification found, if it was asked for.
    pub verify: Option<VerifyReport>,
    /// Whether it was told to stop before its limit.
    pub interrupted: bool,
    /// How latencies were taken.
    pub latency_method: &'static str,
    /// Where the buffers were.
    pub buffers: BufferHome,
}

/// The job, as it was run.
#[derive(Clone, Debug, Serialize)]
pub struct JobReport {
    /// Name of the bdev.
    pub bdev: String,
    /// Kind of the bdev.
    pub product_name: String,
    /// `read`, `write`, `randread`, `randwrite` or `randrw`.
    pub rw: String,
    /// Share of reads of `randrw`.
    pub rwmixread_percent: Option<u8>,
    /// Bytes of a request.
    pub block_bytes: u64,
    /// Requests in flight per reactor.
    pub io_depth: usize,
    /// First byte of the range.
    pub offset_bytes: u64,
    /// Bytes of the range that requests can reach.
    pub size_bytes: u64,
    /// Seed of offsets and stamps.
    pub seed: u64,
    /// Whether contents were verified.
    pub verify: bool,
}

/// Requests of one direction, or of both.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct DirectionReport {
    /// Requests that were done in the measured window.
    pub ios: u64,
    /// Requests that failed, at any time.
    pub errors: u64,
    /// Requests per second.
    pub iops: f64,
    /// Bytes per second.
    pub bytes_per_s: f64,
    /// Latencies of what was done; absent when nothing was.
    pub latency: Option<LatencyReport>,
}

/// What was done in the moments in which the threads had their cores. Absent such moments, zeroes.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct CleanReport {
    /// Share of the measured time that this is, of the reactor that has least.
    pub time_share: f64,
    /// Requests per second, summed over the reactors.
    pub iops: f64,
    /// Bytes per second.
    pub bytes_per_s: f64,
    /// Latencies of requests that were not under way while a core was away; absent without any.
    /// Long requests meet a disturbance more often, so this is the truth only for latencies that
    /// are short against the undisturbed moments (some milliseconds).
    pub latency: Option<LatencyReport>,
}

/// Latencies in nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct LatencyReport {
    /// Shortest.
    pub min_ns: u64,
    /// Mean.
    pub mean_ns: f64,
    /// Median.
    pub p50_ns: u64,
    /// 90 % took at most this.
    pub p90_ns: u64,
    /// 99 % took at most this.
    pub p99_ns: u64,
    /// 99.9 % took at most this.
    pub p99_9_ns: u64,
    /// 99.99 % took at most this.
    pub p99_99_ns: u64,
    /// Longest.
    pub max_ns: u64,
}

/// One reactor's share.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct ReactorReport {
    /// Its index.
    pub index: usize,
    /// Its core.
    pub core: usize,
    /// Reads in its window.
    pub reads: u64,
    /// Writes in its window.
    pub writes: u64,
    /// Requests per second of its window.
    pub iops: f64,
    /// Its part of all requests.
    pub share: f64,
    /// Length of its window.
    pub window_s: f64,
    /// Share of its awake time in which the thread had a CPU.
    pub cpu_share: f64,
    /// Share of its window in which its turns made progress.
    pub busy_share: f64,
    /// Turns in its window.
    pub turns: u64,
}

/// The first request that failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FirstError {
    /// "read" or "write".
    pub direction: &'static str,
    /// Where.
    pub offset_bytes: u64,
    /// What the bdev said.
    pub status: String,
}

/// What verification found.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Device blocks that were compared.
    pub blocks_checked: u64,
    /// How many of them were wrong.
    pub blocks_wrong: u64,
    /// The first few wrong ones.
    pub mismatches: Vec<Mismatch>,
    /// What became of the read-back.
    pub read_back: ReadBackState,
}

/// What became of the read-back of a verified job.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadBackState {
    /// All that was written has been read back.
    Done,
    /// The job has no writes: every read was checked.
    NotNeeded,
    /// It was not begun or not finished: requests failed, or the run was told to stop.
    Skipped,
}

impl Report {
    pub(crate) fn new(
        job: &Job,
        blocks: u64,
        reactors: &[ReactorHandle],
        load: Load,
        interrupted: bool,
    ) -> Self {
        let Load { outcomes, home, read_back } = load;
        let mut counts = Counts::default();
        let all = outcomes.iter().chain(read_back.iter().flatten());
        all.clone().for_each(|outcome| counts += outcome.counts);
        let fault = all.clone().find_map(|outcome| outcome.fault);
        let ios_sum = outcomes.iter().map(|outcome| outcome.read.ios + outcome.write.ios).sum();
        let reactors: Vec<_> = outcomes
            .iter()
            .map(|outcome| ReactorReport::new(outcome, &reactors[outcome.worker], ios_sum))
            .collect();
        let disturbed = !outcomes.iter().all(|outcome| outcome.window.is_clean());
        let clean = CleanReport::new(job, &outcomes);
        let read = Sum::of(job, &outcomes, counts.read_errors, |outcome| &outcome.read);
        let write = Sum::of(job, &outcomes, counts.write_errors, |outcome| &outcome.write);
        let verify = job.verify.then(|| VerifyReport::new(job, counts, outcomes, read_back));
        Self {
            job: JobReport::new(job, blocks),
            elapsed_s: reactors.iter().map(|reactor| reactor.window_s).fold(0.0, f64::max),
            disturbed,
            clean,
            // A read-back may fail on a job that has no reads of its own.
            read: (job.pattern.reads() || counts.read_errors > 0).then(|| read.report()),
            write: job.pattern.writes().then(|| write.report()),
            total: read.with(&write).report(),
            reactors,
            first_error: fault.map(FirstError::new),
            verify,
            interrupted,
            latency_method: match job.clock {
                LatencyClock::Turn => "turn clock, not corrected for coordinated omission",
                LatencyClock::Precise => "own clock, not corrected for coordinated omission",
            },
            buffers: home,
        }
    }

    /// Whether no request has failed and nothing was read that was not written.
    pub fn is_good(&self) -> bool {
        self.total.errors == 0 && self.verify.as_ref().is_none_or(|verify| verify.blocks_wrong == 0)
    }

    /// The report as JSON, for a file.
    pub fn json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(self).expect("a report has only string keys and numbers");
        text.push('\n');
        text
    }
}

impl JobReport {
    fn new(job: &Job, blocks: u64) -> Self {
        let info = job.bdev.info();
        Self {
            bdev: info.name.clone(),
            product_name: info.product_name.to_owned(),
            rw: job.pattern.to_string(),
            rwmixread_percent: match job.pattern {
                Pattern::RandRw { read_percent } => Some(read_percent),
                _ => None,
            },
            block_bytes: job.block_bytes,
            io_depth: job.io_depth,
            offset_bytes: job.offset_bytes,
            size_bytes: blocks * job.block_bytes,
            seed: job.seed,
            verify: job.verify,
        }
    }
}

/// One direction, summed over the workers.
struct Sum {
    ios: u64,
    errors: u64,
    iops: f64,
    block_bytes: u64,
    latency: Histogram<u64>,
}

impl Sum {
    fn of(
        job: &Job,
        outcomes: &[Outcome],
        errors: u64,
        tally: impl Fn(&Outcome) -> &Tally,
    ) -> Self {
        let block_bytes = job.block_bytes;
        let mut sum = Self { ios: 0, errors, iops: 0.0, block_bytes, latency: empty_histogram() };
        for outcome in outcomes {
            let wall_s = outcome.window.wall.as_secs_f64();
            let tally = tally(outcome);
            sum.ios += tally.ios;
            sum.iops += per_second(tally.ios, wall_s);
            add(&mut sum.latency, tally.all());
        }
        sum
    }

    fn with(mut self, other: &Self) -> Self {
        add(&mut self.latency, &other.latency);
        self.ios += other.ios;
        self.errors += other.errors;
        self.iops += other.iops;
        self
    }

    fn report(&self) -> DirectionReport {
        DirectionReport {
            ios: self.ios,
            errors: self.errors,
            iops: self.iops,
            bytes_per_s: self.iops * self.block_bytes as f64,
            latency: LatencyReport::new(&self.latency),
        }
    }
}

fn add(sum: &mut Histogram<u64>, latency: &Histogram<u64>) {
    sum.add(latency).expect("all histograms have the same bounds");
}

fn per_second(ios: u64, wall_s: f64) -> f64 {
    if wall_s > 0.0 { ios as f64 / wall_s } else { 0.0 }
}

impl CleanReport {
    fn new(job: &Job, outcomes: &[Outcome]) -> Self {
        let time_share = |outcome: &Outcome| {
            let wall_s = outcome.window.wall.as_secs_f64();
            if wall_s > 0.0 { outcome.clean.wall.as_secs_f64() / wall_s } else { 0.0 }
        };
        let iops = outcomes
            .iter()
            .map(|outcome| per_second(outcome.clean.ios, outcome.clean.wall.as_secs_f64()))
            .sum::<f64>();
        let mut latency = empty_histogram();
        for outcome in outcomes {
            add(&mut latency, outcome.read.clean());
            add(&mut latency, outcome.write.clean());
        }
        Self {
            latency: LatencyReport::new(&latency),
            time_share: outcomes.iter().map(time_share).fold(1.0, f64::min),
            iops,
            bytes_per_s: iops * job.block_bytes as f64,
        }
    }
}

impl LatencyReport {
    /// `None` of nothing.
    fn new(latency: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| latency.value_at_quantile(quantile);
        (!latency.is_empty()).then(|| Self {
            min_ns: latency.min(),
            mean_ns: latency.mean(),
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p99_9_ns: at(0.999),
            p99_99_ns: at(0.9999),
            max_ns: latency.max(),
        })
    }
}

impl ReactorReport {
    fn new(outcome: &Outcome, reactor: &ReactorHandle, ios_sum: u64) -> Self {
        let ios = outcome.read.ios + outcome.write.ios;
        let window_s = outcome.window.wall.as_secs_f64();
        Self {
            index: reactor.index(),
            core: reactor.core(),
            reads: outcome.read.ios,
            writes: outcome.write.ios,
            iops: per_second(ios, window_s),
            share: if ios_sum == 0 { 0.0 } else { ios as f64 / ios_sum as f64 },
            window_s,
            cpu_share: outcome.window.cpu_share(),
            busy_share: outcome.window.busy_share(),
            turns: outcome.window.turns,
        }
    }
}

impl FirstError {
    fn new(fault: Fault) -> Self {
        Self {
            direction: match fault.direction {
                Direction::Read => "read",
                Direction::Write => "write",
            },
            offset_bytes: fault.offset_bytes,
            status: fault.status.to_string(),
        }
    }
}

impl VerifyReport {
    fn new(job: &Job, counts: Counts, load: Vec<Outcome>, read_back: Option<Vec<Outcome>>) -> Self {
        let state = match &read_back {
            _ if !job.pattern.writes() => ReadBackState::NotNeeded,
            // One that was stopped on its way has not seen everything.
            Some(outcomes) if counts.errors() == 0 && was_complete(&load, outcomes) => {
                ReadBackState::Done
            }
            _ => ReadBackState::Skipped,
        };
        let mut findings = Outcome::findings_of(load);
        findings.absorb(Outcome::findings_of(read_back.unwrap_or_default()));
        Self {
            blocks_checked: findings.blocks_checked,
            blocks_wrong: findings.blocks_wrong,
            mismatches: findings.mismatches,
            read_back: state,
        }
    }
}

/// Whether all that the load has written was read.
fn was_complete(load: &[Outcome], read_back: &[Outcome]) -> bool {
    let written = load.iter().filter_map(|outcome| outcome.findings.written);
    let read: u64 = read_back.iter().map(|outcome| outcome.counts.reads).sum();
    written.map(|written| written.blocks()).sum::<u64>() == read
}
