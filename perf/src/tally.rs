//! Counting: what a worker has done, for itself while it runs and for others to look at.
//!
//! Owns: one writer each. A [`Tally`] belongs to its worker until the end; a [`Gauge`] is written
//! by its worker only, once a turn, with relaxed stores, so that a look at it costs the worker
//! nothing but its own cache line.
//!
//! Latencies are recorded as they are measured. They are corrected for coordinated omission in
//! neither way: a closed loop of a fixed depth submits less while the device is slow, and the
//! histogram tells the latency of what was submitted, not what an open arrival process would have
//! seen. Throughput carries that information instead.
//!
//! Not here: percentiles and units (`report`).

use crate::limits::{LATENCY_DIGITS, LATENCY_NANOS_MAX, LATENCY_RUNS_MAX};
use device::limits::COMPLETIONS_PER_POLL_MAX;
use hdrhistogram::Histogram;
use reactor::Ticks;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests of one direction that were done. Failed ones have no latency worth counting.
///
/// Latencies are first kept as runs of equal values: requests that were submitted in one turn and
/// come back in another have one latency, so a fast device costs one run per turn. At the end of
/// each slice of the window (see `window`) the runs go into the histogram of all requests, and, if
/// the slice was undisturbed, into that of the clean ones.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) ios: u64,
    all: Histogram<u64>,
    clean: Histogram<u64>,
    /// Latency and how often it came in a row.
    runs: Vec<(u64, u64)>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        // What one turn may add beyond the mark.
        let runs = Vec::with_capacity(LATENCY_RUNS_MAX + COMPLETIONS_PER_POLL_MAX);
        Self { ios: 0, all: empty_histogram(), clean: empty_histogram(), runs }
    }

    /// A request that was done. `tainted`: it was under way when its reactor had lost the core, so
    /// its latency is no clean one.
    #[inline]
    pub(crate) fn done(&mut self, latency: Ticks, tainted: bool) {
        self.ios += 1;
        if tainted {
            self.all.saturating_record(latency.0);
            return;
        }
        match self.runs.last_mut() {
            Some((value, count)) if *value == latency.0 => *count += 1,
            _ => self.runs.push((latency.0, 1)),
        }
    }

    /// Whether the slice has to end for want of room.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.runs.len() >= LATENCY_RUNS_MAX
    }

    /// A slice has ended.
    pub(crate) fn end_slice(&mut self, clean: bool) {
        for (value, count) in self.runs.drain(..) {
            self.all.saturating_record_n(value, count);
            if clean {
                self.clean.saturating_record_n(value, count);
            }
        }
    }

    /// The latencies of all that was done in slices that have ended, in nanoseconds.
    pub(crate) fn all(&self) -> &Histogram<u64> {
        &self.all
    }

    /// The latencies of what was not disturbed, in nanoseconds.
    pub(crate) fn clean(&self) -> &Histogram<u64> {
        &self.clean
    }
}

/// A histogram of nanoseconds that knows its bounds.
pub(crate) fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, LATENCY_DIGITS)
        .expect("the bounds in `limits` are a histogram's")
}

/// What a worker has done so far, for others; the ramp counts too. On a cache line of its own, so
/// that workers do not share one, nor with whoever looks.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Gauge {
    reads: AtomicU64,
    writes: AtomicU64,
    read_errors: AtomicU64,
    write_errors: AtomicU64,
}

impl Gauge {
    /// The worker's counts of all it has ever done.
    #[inline]
    pub(crate) fn set(&self, counts: Counts) {
        self.reads.store(counts.reads, Ordering::Relaxed);
        self.writes.store(counts.writes, Ordering::Relaxed);
        self.read_errors.store(counts.read_errors, Ordering::Relaxed);
        self.write_errors.store(counts.write_errors, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Counts {
        Counts {
            reads: self.reads.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
            read_errors: self.read_errors.load(Ordering::Relaxed),
            write_errors: self.write_errors.load(Ordering::Relaxed),
        }
    }
}

/// Requests that have ended.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Reads that were done.
    pub reads: u64,
    /// Writes that were done.
    pub writes: u64,
    /// Reads that failed.
    pub read_errors: u64,
    /// Writes that failed.
    pub write_errors: u64,
}

impl Counts {
    /// Requests that were done.
    pub fn ios(&self) -> u64 {
        self.reads + self.writes
    }

    /// Requests that failed.
    pub fn errors(&self) -> u64 {
        self.read_errors + self.write_errors
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.read_errors += other.read_errors;
        self.write_errors += other.write_errors;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: recording runs of equal values is recording each of them, and only undisturbed ones
    /// are clean. Method: the same values by both ways, in two slices, the second one disturbed.
    #[test]
    fn runs_are_recorded_in_full() {
        let values = [5, 5, 5, 0, 0, 7, 5, 900, 900, 70_000_000_000, 5];
        let mut tally = Tally::new();
        let (mut all, mut clean) = (empty_histogram(), empty_histogram());
        for slice_is_clean in [true, false] {
            for (at, value) in values.into_iter().enumerate() {
                let tainted = at == 4;
                tally.done(Ticks(value), tainted);
                all.saturating_record(value);
                if slice_is_clean && !tainted {
                    clean.saturating_record(value);
                }
            }
            tally.end_slice(slice_is_clean);
        }
        assert_eq!((tally.all(), tally.clean()), (&all, &clean));
        assert_eq!(tally.ios, 2 * values.len() as u64);
        assert_eq!(tally.all().len(), tally.ios);
    }

    #[test]
    fn a_tally_says_when_it_is_full() {
        let mut tally = Tally::new();
        for at in 0..LATENCY_RUNS_MAX as u64 {
            assert!(!tally.is_full());
            tally.done(Ticks(at), false);
            tally.done(Ticks(at), false);
        }
        assert!(tally.is_full());
        tally.end_slice(true);
        assert!(!tally.is_full());
        assert_eq!(tally.clean().len(), 2 * LATENCY_RUNS_MAX as u64);
    }

    #[test]
    fn a_gauge_tells_what_was_set() {
        let gauge = Gauge::default();
        let counts = Counts { reads: 1, writes: 2, read_errors: 3, write_errors: 4 };
        gauge.set(counts);
        let mut sum = gauge.get();
        sum += counts;
        assert_eq!(sum, Counts { reads: 2, writes: 4, read_errors: 6, write_errors: 8 });
        assert_eq!((sum.ios(), sum.errors()), (6, 14));
    }
}
