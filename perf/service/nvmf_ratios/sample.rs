//! What a window has brought, and what many of them say together.
//!
//! Windows in which both threads had their cores are *clean*; medians are over those, or over all if
//! there are fewer than three.
//!
//! Not here: what was done in them.

use hdrhistogram::Histogram;
use reactor::{Ticks, clock};
use rustix::time::{ClockId, clock_gettime};

/// Least share of its core that a thread has in a clean window.
const CLEAN_SHARE: f64 = 0.97;

/// Clean windows that make a median.
const CLEAN_WINDOWS_MIN: usize = 3;

/// Time that the calling thread has had a core since it began.
#[must_use]
pub(crate) fn thread_cpu() -> Ticks {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Ticks::from_secs(time.tv_sec as u64) + Ticks::from_nanos(time.tv_nsec as u64)
}

/// How long is counted, after how long that is not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// What is not counted.
    pub ramp: Ticks,
    /// What is.
    pub len: Ticks,
}

impl Window {
    /// It begins now.
    #[must_use]
    pub(crate) fn begin(self) -> Counting {
        let now = clock::now();
        Counting {
            window: self,
            from: now + self.ramp,
            counts: false,
            cpu: Ticks::ZERO,
            ios: 0,
            latencies: histogram(),
            end: now,
        }
    }
}

fn histogram() -> Histogram<u64> {
    // Nanoseconds, to three digits; a minute is more than a window lasts.
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are right")
}

/// A window that goes on.
#[derive(Debug)]
pub(crate) struct Counting {
    window: Window,
    from: Ticks,
    counts: bool,
    cpu: Ticks,
    ios: u64,
    latencies: Histogram<u64>,
    end: Ticks,
}

impl Counting {
    /// Whether it does. Looks at the clock.
    pub(crate) fn goes_on(&mut self) -> bool {
        let now = clock::now();
        if !self.counts && now >= self.from {
            self.counts = true;
            self.from = now;
            self.cpu = thread_cpu();
        }
        self.end = now;
        !self.counts || now < self.from + self.window.len
    }

    /// So many requests have ended.
    pub(crate) fn count(&mut self, ios: u64) {
        if self.counts {
            self.ios += ios;
        }
    }

    /// A request that began then ends now.
    pub(crate) fn took(&mut self, begun: Ticks) {
        if self.counts && begun >= self.from {
            self.latencies.saturating_record((clock::now() - begun).as_nanos());
        }
    }

    /// What it has brought. What the other side had of its core is for the caller to say.
    #[must_use]
    pub(crate) fn end(self) -> Sample {
        let wall = self.end - self.from;
        Sample {
            seconds: wall.as_secs_f64(),
            ios: self.ios,
            bytes: 0,
            latencies: self.latencies,
            host_share: (thread_cpu() - self.cpu).as_secs_f64() / wall.as_secs_f64(),
            target_share: 0.0,
            target_busy_ns: None,
        }
    }
}

/// What a window has brought.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// How long it was.
    pub seconds: f64,
    /// Requests that ended.
    pub ios: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// How long they took.
    pub latencies: Histogram<u64>,
    /// Share of its core that the host's thread had.
    pub host_share: f64,
    /// The same of the target's.
    pub target_share: f64,
    /// Time of turns in which the reactor moved something, in nanoseconds.
    pub target_busy_ns: Option<u64>,
}

impl Sample {
    fn is_clean(&self) -> bool {
        self.host_share >= CLEAN_SHARE && self.target_share >= CLEAN_SHARE
    }

    fn iops(&self) -> f64 {
        self.ios as f64 / self.seconds
    }
}

/// Least, middle and most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// Least.
    pub min: f64,
    /// Middle.
    pub median: f64,
    /// Most.
    pub max: f64,
}

fn spread(values: impl Iterator<Item = f64>) -> Spread {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |at: usize| values.get(at).copied().unwrap_or_default();
    Spread { min: at(0), median: at(values.len() / 2), max: at(values.len().saturating_sub(1)) }
}

/// The windows of one load.
#[derive(Debug, Default)]
pub(crate) struct Samples(pub Vec<Sample>);

impl Samples {
    /// The windows that count.
    fn counted(&self) -> impl Iterator<Item = &Sample> {
        let enough = self.clean() >= CLEAN_WINDOWS_MIN;
        self.0.iter().filter(move |sample| !enough || sample.is_clean())
    }

    /// Windows in which nobody took a core away.
    #[must_use]
    pub(crate) fn clean(&self) -> usize {
        self.0.iter().filter(|sample| sample.is_clean()).count()
    }

    /// Requests a second.
    #[must_use]
    pub(crate) fn iops(&self) -> Spread {
        spread(self.counted().map(Sample::iops))
    }

    /// Bytes a second, in the middle.
    #[must_use]
    pub(crate) fn bytes_per_s(&self) -> f64 {
        spread(self.counted().map(|sample| sample.bytes as f64 / sample.seconds)).median
    }

    /// Reactor time for one request, in nanoseconds, in the middle.
    #[must_use]
    pub(crate) fn busy_ns(&self) -> Option<f64> {
        let each = |sample: &Sample| {
            sample.target_busy_ns.map(|busy_ns| busy_ns as f64 / sample.ios.max(1) as f64)
        };
        let all: Vec<f64> = self.counted().filter_map(each).collect();
        (!all.is_empty()).then(|| spread(all.into_iter()).median)
    }

    /// Percentiles over all windows that count, in microseconds; none if nothing was timed.
    #[must_use]
    pub(crate) fn latencies_us(&self, percentiles: &[f64]) -> Option<Vec<f64>> {
        let mut all = histogram();
        for sample in self.counted() {
            all.add(&sample.latencies).expect("the bounds are the same");
        }
        let at = |percentile: &f64| all.value_at_percentile(*percentile) as f64 / 1e3;
        (!all.is_empty()).then(|| percentiles.iter().map(at).collect())
    }
}
