//! Several jobs in alternating short windows of one run, so that their figures can be compared.
//!
//! A shared machine changes from second to second; a ratio of two figures holds only if both were
//! taken under the same conditions. So each round gives every case one short window; the figure of
//! a window is that of its undisturbed moments (see [`CLEAN_CPU_SHARE`]), and a case's figure is the
//! median of the windows that had enough of them ([`CLEAN_SHARE_MIN`]).
//!
//! ```text
//!   round 0   | a | b | c |     round 1   | a | b | c |     ...
//!                   ^ disturbed nearly all the time: not counted
//! ```
//!
//! Not here: which cases (`examples/raid_ratios.rs`).
//!
//! [`CLEAN_CPU_SHARE`]: crate::CLEAN_CPU_SHARE

use crate::job::{Job, Limit};
use crate::report::Report;
use crate::run::{RunError, run};
use crate::window::CLEAN_SHARE_MIN;
use reactor::{ReactorHandle, Ticks};
use serde::Serialize;
use std::fmt;

/// A job with a name.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is called in tables.
    pub name: String,
    /// The load; its limit is replaced by the window.
    pub job: Job,
}

/// How long, how often.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rounds {
    /// Windows of each case.
    pub count: usize,
    /// Length of a window.
    pub window: Ticks,
    /// Load before each window that is not counted.
    pub ramp: Ticks,
}

/// One window of one case.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Sample {
    /// Requests per second of undisturbed time.
    pub iops: f64,
    /// Bytes per second of undisturbed time.
    pub bytes_per_s: f64,
    /// Median latency, undisturbed.
    pub p50_ns: u64,
    /// 99 % took at most this, undisturbed.
    pub p99_ns: u64,
    /// How much of the window was undisturbed.
    pub clean_share: f64,
}

/// All windows of one case.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Samples {
    /// Name of the case.
    pub name: String,
    /// In order of time.
    pub samples: Vec<Sample>,
}

/// The middle of a case's windows, and how far they lie apart.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Spread {
    /// Smallest.
    pub min: f64,
    /// Median.
    pub median: f64,
    /// Largest.
    pub max: f64,
}

impl Samples {
    /// Windows that count.
    pub fn counted(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| sample.counts())
    }

    /// Spread of a figure over the windows that count.
    pub fn spread(&self, figure: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(self.counted().map(figure))
    }

    /// Spread of the ratios of a figure to that of another case, over the rounds in which both windows
    /// count.
    pub fn ratio_to(&self, other: &Self, figure: impl Fn(&Sample) -> f64) -> Spread {
        let rounds = self.samples.iter().zip(&other.samples);
        let counted = rounds.filter(|(own, other)| own.counts() && other.counts());
        Spread::of(counted.map(|(own, other)| figure(own) / figure(other)))
    }

    /// Median of the requests per second.
    pub fn iops(&self) -> f64 {
        self.spread(|sample| sample.iops).median
    }

    /// Median of the bytes per second.
    pub fn bytes_per_s(&self) -> f64 {
        self.spread(|sample| sample.bytes_per_s).median
    }

    /// Nanoseconds per request on one busy core.
    pub fn nanos_per_io(&self) -> f64 {
        1e9 / self.iops()
    }
}

/// Runs the cases in turn, round after round. `watch` is told the case and the round before each
/// window.
///
/// # Errors
/// [`RunError`] of the first window that cannot be run; [`RunError::Failed`] when requests fail in
/// one, for then its figures say nothing.
pub fn alternate(
    cases: &[Case],
    reactors: &[ReactorHandle],
    rounds: Rounds,
    mut watch: impl FnMut(&Case, usize),
) -> Result<Vec<Samples>, RunError> {
    let mut all: Vec<_> =
        cases.iter().map(|case| Samples { name: case.name.clone(), samples: Vec::new() }).collect();
    for round in 0..rounds.count {
        for (case, samples) in cases.iter().zip(&mut all) {
            watch(case, round);
            let mut job = case.job.clone();
            (job.limit, job.ramp) = (Limit::Time(rounds.window), rounds.ramp);
            // Another round, other offsets: no case lives on what its last window left in a cache.
            job.seed = job.seed.wrapping_add(round as u64);
            let report = run(job, reactors)?;
            if !report.is_good() {
                return Err(RunError::Failed { case: case.name.clone(), report: report.table() });
            }
            samples.samples.push(Sample::of(&report));
        }
    }
    Ok(all)
}

impl Spread {
    /// Of these figures; of none, zeroes.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<_> = figures.into_iter().collect();
        figures.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(0.0);
        let last = figures.len().saturating_sub(1);
        let median = f64::midpoint(at(last / 2), at(figures.len() / 2));
        Self { min: at(0), median, max: at(last) }
    }
}

/// `1.01 (0.98 to 1.03)`, with as many decimals as asked for: none unless they are.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, median, max } = self;
        let decimals = f.precision().unwrap_or(0);
        write!(f, "{median:.decimals$} ({min:.decimals$} to {max:.decimals$})")
    }
}

impl Sample {
    /// What a window has brought.
    pub fn of(report: &Report) -> Self {
        let latency = report.clean.latency;
        Self {
            iops: report.clean.iops,
            bytes_per_s: report.clean.bytes_per_s,
            p50_ns: latency.map_or(0, |latency| latency.p50_ns),
            p99_ns: latency.map_or(0, |latency| latency.p99_ns),
            clean_share: report.clean.time_share,
        }
    }

    /// Whether enough of the window was undisturbed.
    fn counts(&self) -> bool {
        self.clean_share >= CLEAN_SHARE_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(figures: &[(f64, f64)]) -> Samples {
        let sample = |&(iops, clean_share)| Sample {
            iops,
            bytes_per_s: 0.0,
            p50_ns: 0,
            p99_ns: 0,
            clean_share,
        };
        Samples { name: "x".into(), samples: figures.iter().map(sample).collect() }
    }

    #[test]
    fn disturbed_windows_do_not_count() {
        let some = samples(&[(5.0, 1.0), (1.0, 0.0), (3.0, 0.5), (4.0, 0.1), (9.0, 0.05)]);
        assert_eq!(some.counted().count(), 3);
        let spread = some.spread(|sample| sample.iops);
        assert_eq!(spread, Spread { min: 3.0, median: 4.0, max: 5.0 });
        assert_eq!(samples(&[(2.0, 1.0), (4.0, 1.0)]).iops(), 3.0);
        let none = samples(&[(1.0, 0.0)]);
        assert_eq!((none.counted().count(), none.iops()), (0, 0.0));
    }
    /// Goal: a ratio is one of two windows of the same round, and a round counts if both do. Method: a case
    /// whose figures change more from round to round than the ratio does, and one disturbed window of each.
    #[test]
    fn ratios_are_of_one_round() {
        let fast = samples(&[(100.0, 1.0), (10.0, 1.0), (60.0, 0.0), (8.0, 1.0)]);
        let slow = samples(&[(50.0, 1.0), (4.0, 1.0), (1.0, 1.0), (1.0, 0.0)]);
        let ratio = slow.ratio_to(&fast, |sample| sample.iops);
        assert_eq!(ratio, Spread { min: 0.4, median: 0.45, max: 0.5 });
        assert_eq!(format!("{ratio:.2}"), "0.45 (0.40 to 0.50)");
        assert_eq!(format!("{}", Spread::of([7.0])), "7 (7 to 7)");
        assert_eq!(Spread::of([]), Spread { min: 0.0, median: 0.0, max: 0.0 });
    }
}
