//! [`Latencies`]: how long things took, in buckets whose ends double.
//!
//! ```text
//!   bucket   0      1      2      3   ...   23           24
//!   ends at  1 us   2 us   4 us   8 us ...  8.388608 s   never
//! ```
//!
//! The buckets are those that the metrics show, so that nothing has to be guessed on the way there, and
//! recording is a shift and two additions. One writer each: they live where they are counted, and sums are
//! made of copies.
//!
//! Not here: SPDK's finer histograms, which are there when somebody asks for one (crate `device`).

/// Buckets with an end.
pub const LATENCY_BOUNDS: usize = 24;

/// How long things took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    /// The last one has no end.
    counts: [u64; LATENCY_BOUNDS + 1],
    sum_ns: u64,
}

impl Latencies {
    /// The end of a bucket in nanoseconds; what took exactly as long belongs to it.
    #[must_use]
    pub const fn bound_ns(bucket: usize) -> u64 {
        1_000 << bucket
    }

    /// Counts one.
    #[inline]
    pub fn record(&mut self, took_ns: u64) {
        let micros = took_ns.saturating_sub(1) / 1_000;
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.counts[bucket.min(LATENCY_BOUNDS)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(took_ns);
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// How many took at most as long as each bucket's end, and not as long as the end before it; behind
    /// them those that took longer than any.
    #[must_use]
    pub fn counts(&self) -> &[u64; LATENCY_BOUNDS + 1] {
        &self.counts
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, in nanoseconds.
    #[must_use]
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every latency counts in the first bucket whose end it does not exceed. Method: both sides of
    /// every end, and the extremes.
    #[test]
    fn latencies_count_up_to_the_end_of_their_bucket() {
        for bucket in 0..LATENCY_BOUNDS {
            let bound_ns = Latencies::bound_ns(bucket);
            for (took_ns, expected) in [(bound_ns, bucket), (bound_ns + 1, bucket + 1)] {
                let mut latencies = Latencies::default();
                latencies.record(took_ns);
                assert_eq!(latencies.counts()[expected], 1, "{took_ns} ns");
                assert_eq!((latencies.count(), latencies.sum_ns()), (1, took_ns));
            }
        }
        let mut latencies = Latencies::default();
        latencies.record(0);
        latencies.record(u64::MAX);
        assert_eq!((latencies.counts()[0], latencies.counts()[LATENCY_BOUNDS]), (1, 1));
    }

    #[test]
    fn sums_are_sums() {
        let mut one = Latencies::default();
        one.record(700);
        one.record(3_000);
        let mut both = one;
        both.merge(&one);
        assert_eq!((both.count(), both.sum_ns()), (4, 2 * one.sum_ns()));
        assert_eq!(both.counts()[2], 2);
    }
}
