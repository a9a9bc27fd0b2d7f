//! A latency histogram with SPDK's buckets, so that its clients can read it.
//!
//! ```text
//!   granularity g, min_range m: a value v is looked up as w = v >> m
//!
//!   range 0      w below 2^g          2^g buckets of width 1 << m
//!   range i > 0  w has g + i bits     2^g buckets of width 1 << (i - 1 + m)
//! ```
//!
//! There are `max_range - min_range` ranges; what is beyond the last bucket counts in it. Values are
//! nanoseconds, which are this project's ticks.
//!
//! Not here: who records (`super`), how it travels (the service).

use crate::limits::HISTOGRAM_GRANULARITY_MAX;

/// What a histogram is to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistogramSpec {
    /// Each power of two is divided into two to the power of this many buckets.
    pub granularity: u8,
    /// Below this, in nanoseconds, buckets need not be told apart.
    pub min_ns: u64,
    /// The largest value, in nanoseconds, that has a bucket of its own.
    pub max_ns: u64,
}

/// Why there can be no such histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// Too many buckets for a power of two, or none.
    #[error("granularity {0}: give 1 to {HISTOGRAM_GRANULARITY_MAX}")]
    Granularity(u8),
    /// The range is empty.
    #[error("min_nsec {min_ns} and max_nsec {max_ns}: give a minimum below the maximum")]
    Range {
        /// As given.
        min_ns: u64,
        /// As given.
        max_ns: u64,
    },
}

impl Default for HistogramSpec {
    /// SPDK's: buckets of less than a hundredth, from a microsecond to two minutes.
    fn default() -> Self {
        Self { granularity: 7, min_ns: 1_000, max_ns: 120_000_000_000 }
    }
}

impl HistogramSpec {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    ///
    /// Which of the values it is.
    pub fn check(self) -> Result<Self, HistogramError> {
        let Self { granularity, min_ns, max_ns } = self;
        if !(1..=HISTOGRAM_GRANULARITY_MAX).contains(&granularity) {
            return Err(HistogramError::Granularity(granularity));
        }
        if min_ns >= max_ns {
            return Err(HistogramError::Range { min_ns, max_ns });
        }
        Ok(self)
    }

    /// The range that a value is in if the first one has buckets of width 1.
    fn range_of(self, value: u64) -> u32 {
        (u64::BITS - value.leading_zeros()).saturating_sub(self.granularity.into())
    }
}

/// How often which latency was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    spec: HistogramSpec,
    /// Of the first range.
    min_range: u32,
    /// Behind the last range.
    max_range: u32,
    buckets: Vec<u64>,
}

impl Histogram {
    /// An empty one, of a spec that was [checked](HistogramSpec::check).
    #[must_use]
    pub fn new(spec: HistogramSpec) -> Self {
        let (min_range, max_range) = (spec.range_of(spec.min_ns), spec.range_of(spec.max_ns) + 1);
        let buckets = (max_range - min_range) as usize;
        Self { spec, min_range, max_range, buckets: vec![0; buckets << spec.granularity] }
    }

    /// What it looks like.
    #[must_use]
    pub fn spec(&self) -> HistogramSpec {
        self.spec
    }

    /// The first range, as SPDK counts them.
    #[must_use]
    pub fn min_range(&self) -> u32 {
        self.min_range
    }

    /// The end of the ranges.
    #[must_use]
    pub fn max_range(&self) -> u32 {
        self.max_range
    }

    /// The counts.
    #[must_use]
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// Counts one value.
    #[inline]
    pub(crate) fn record(&mut self, value: u64) {
        let shifted = value >> self.min_range;
        let range = self.spec.range_of(shifted);
        let within = shifted >> range.saturating_sub(1) & ((1 << self.spec.granularity) - 1);
        let index = ((range as usize) << self.spec.granularity) + within as usize;
        let last = self.buckets.len() - 1;
        self.buckets[index.min(last)] += 1;
    }

    /// Adds what another of the same spec has counted.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.spec, other.spec);
        for (sum, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += count;
        }
    }

    /// The first value behind a bucket.
    fn end_of(&self, bucket: usize) -> u64 {
        let granularity = u32::from(self.spec.granularity);
        let range = (bucket >> granularity) as u32;
        let next = (bucket & ((1 << granularity) - 1)) as u64 + 1;
        match range.checked_sub(1) {
            None => next << self.min_range,
            Some(shift) => ((1_u64 << granularity) + next) << (shift + self.min_range),
        }
    }

    /// How many values were at most each of `borders_ns`, in ascending order, and behind them how many
    /// there were. A bucket counts for the first border that its end does not exceed.
    #[must_use]
    pub fn counts_up_to(&self, borders_ns: &[u64]) -> Vec<u64> {
        let mut counts: Vec<u64> = borders_ns
            .iter()
            .map(|border| {
                let below = (0..self.buckets.len()).take_while(|&b| self.end_of(b) <= *border);
                below.map(|bucket| self.buckets[bucket]).sum()
            })
            .collect();
        counts.push(self.buckets.iter().sum());
        counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where SPDK's own script (`scripts/histogram.py`) says that a bucket begins and ends.
    fn as_the_script_has_it(histogram: &Histogram) -> Vec<(u64, u64)> {
        let (g, min) = (u32::from(histogram.spec().granularity), histogram.min_range());
        let mut bounds = Vec::new();
        let mut end = 0;
        for i in 0..histogram.max_range() - min {
            for j in 0..1_u64 << g {
                let start = end;
                end = match i {
                    0 => (j + 1) << min,
                    i => (1 << (i + g + min - 1)) + ((j + 1) << (i + min - 1)),
                };
                bounds.push((start, end));
            }
        }
        bounds
    }

    proptest! {
        /// Goal: a value is in the bucket where SPDK's script looks for it.
        #[test]
        fn values_are_where_clients_look(
            granularity in 1_u8..=HISTOGRAM_GRANULARITY_MAX,
            min_bits in 0_u32..20,
            max_bits in 20_u32..45,
            value in 0_u64..1 << 46,
        ) {
            let (min_ns, max_ns) = (1 << min_bits, 1 << max_bits);
            let spec = HistogramSpec { granularity, min_ns, max_ns }.check().unwrap();
            let mut histogram = Histogram::new(spec);
            histogram.record(value);
            let bounds = as_the_script_has_it(&histogram);
            prop_assert_eq!(bounds.len(), histogram.buckets().len());
            let at = histogram.buckets().iter().position(|count| *count == 1).unwrap();
            prop_assert_eq!(histogram.end_of(at), bounds[at].1);
            let beyond = value >= bounds[bounds.len() - 1].1;
            let inside = (bounds[at].0..bounds[at].1).contains(&value);
            prop_assert!(inside || beyond && at == bounds.len() - 1, "{value} in {:?}", bounds[at]);
        }
    }

    #[test]
    fn the_default_has_the_ranges_of_spdks() {
        let histogram = Histogram::new(HistogramSpec::default());
        assert_eq!((histogram.min_range(), histogram.max_range()), (3, 31));
        assert_eq!(histogram.buckets().len(), 28 * 128);
    }

    #[test]
    fn borders_count_up() {
        let mut histogram = Histogram::new(HistogramSpec::default());
        for value in [5_000, 20_000, 20_000, 900_000] {
            histogram.record(value);
        }
        let counts = histogram.counts_up_to(&[1_000, 10_000, 100_000, 10_000_000]);
        assert_eq!(counts, [0, 1, 3, 4, 4]);
        let mut twice = histogram.clone();
        twice.merge(&histogram);
        assert_eq!(twice.counts_up_to(&[]), [8]);
    }

    #[test]
    fn nonsense_is_refused() {
        let spec = HistogramSpec::default();
        for granularity in [0, HISTOGRAM_GRANULARITY_MAX + 1, 255] {
            let error = HistogramSpec { granularity, ..spec }.check().unwrap_err();
            assert_eq!(error, HistogramError::Granularity(granularity));
        }
        let error = HistogramSpec { max_ns: 1_000, ..spec }.check().unwrap_err();
        assert_eq!(error, HistogramError::Range { min_ns: 1_000, max_ns: 1_000 });
    }
}
