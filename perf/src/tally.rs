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

use crate::limits::{LATENCY_DIGITS, LATENCY_NANOS_MAX};
use hdrhistogram::Histogram;
use reactor::Ticks;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests of one direction that were done. Failed ones have no latency worth counting.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) ios: u64,
    latency: Histogram<u64>,
    /// A value that has been seen that often in a row and is not in the histogram yet. Requests
    /// that were submitted in one turn and come back in another have one latency, so a fast device
    /// costs one visit to the histogram per turn.
    run: (u64, u64),
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { ios: 0, latency: empty_histogram(), run: (0, 0) }
    }

    /// A request that was done.
    #[inline]
    pub(crate) fn done(&mut self, latency: Ticks) {
        self.ios += 1;
        let (value, count) = &mut self.run;
        if *value == latency.0 {
            *count += 1;
        } else {
            if *count > 0 {
                self.latency.saturating_record_n(*value, *count);
            }
            self.run = (latency.0, 1);
        }
    }

    /// The latencies of all that was done, in nanoseconds.
    pub(crate) fn latency(&mut self) -> &Histogram<u64> {
        let (value, count) = std::mem::take(&mut self.run);
        if count > 0 {
            self.latency.saturating_record_n(value, count);
        }
        &self.latency
    }

    /// Forgets everything.
    pub(crate) fn restart(&mut self) {
        (self.ios, self.run) = (0, (0, 0));
        self.latency.reset();
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

    /// Goal: recording runs of equal values is recording each of them. Method: the same values by
    /// both ways.
    #[test]
    fn runs_are_recorded_in_full() {
        let values = [5, 5, 5, 0, 0, 7, 5, 900, 900, 70_000_000_000, 5];
        let mut tally = Tally::new();
        let mut plain = empty_histogram();
        for value in values {
            tally.done(Ticks(value));
            plain.saturating_record(value);
        }
        assert_eq!(tally.latency(), &plain);
        assert_eq!(tally.latency().len(), values.len() as u64);
        assert_eq!(tally.ios, values.len() as u64);
        tally.restart();
        assert!(tally.latency().is_empty());
        assert_eq!(tally.ios, 0);
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
