//! Numbers that look random: a small fast generator and a permutation, both from a seed.
//!
//! Owns: a seed names a run for ever; the same seed gives the same numbers on every machine.
//!
//! Not here: where seeds come from. Randomness is an argument of the job.

/// Finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
/// OOPSLA 2014): a bijection of 64-bit words in which each input bit changes half of the output.
#[inline]
pub(crate) const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// 2^64 divided by the golden ratio: the step of SplitMix64.
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64. One addition and two multiplications a number, period 2^64.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// The generator number `stream` of a seed; streams of one seed are unrelated.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self { state: mix(seed ^ mix(stream.wrapping_add(GOLDEN))) }
    }

    /// The next 64 bits.
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A number below `bound` (at least 1), without a division: the high half of a product. Some
    /// values come up more often than others by less than `bound / 2^64` of their share.
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// A permutation of `0..count` that needs no table: a Feistel network over the next even number
/// of bits, walked until it is back below `count` (Black and Rogaway: Ciphers with Arbitrary Finite
/// Domains, CT-RSA 2002). The domain is less than 4 times `count`, so that takes less than 4 steps
/// on average.
#[derive(Clone, Debug)]
pub(crate) struct Permutation {
    count: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

const ROUNDS: usize = 4;

impl Permutation {
    /// The permutation number `stream` of a seed.
    pub(crate) fn new(count: u64, seed: u64, stream: u64) -> Self {
        let mut keys = SplitMix64::new(seed, stream);
        let bits = u64::BITS - count.saturating_sub(1).leading_zeros();
        Self { count, half_bits: bits.div_ceil(2).max(1), keys: [(); ROUNDS].map(|()| keys.next()) }
    }

    /// The value at `index`, which must be below the count.
    pub(crate) fn at(&self, index: u64) -> u64 {
        debug_assert!(index < self.count, "index {index} of {}", self.count);
        let mut value = self.round_trip(index);
        // It ends: the walk from an index below the count comes back to it at the latest.
        while value >= self.count {
            value = self.round_trip(value);
        }
        value
    }

    fn round_trip(&self, value: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (value >> self.half_bits, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the generator is SplitMix64. Method: the first numbers from state 0, as in the
    /// reference implementation (Vigna, prng.di.unimi.it/splitmix64.c).
    #[test]
    fn numbers_are_those_of_the_reference() {
        let mut random = SplitMix64 { state: 0 };
        let found = [random.next(), random.next(), random.next()];
        assert_eq!(found, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    /// Goal: numbers below a bound are spread evenly. Method: a chi-squared statistic over a bound
    /// that is no power of two; 4.9 standard deviations above the mean would be a broken one.
    #[test]
    fn numbers_below_a_bound_are_even() {
        const BOUND: usize = 1000;
        const DRAWS: usize = 1_000_000;
        let mut seen = vec![0_f64; BOUND];
        let mut random = SplitMix64::new(1, 2);
        for _ in 0..DRAWS {
            seen[random.below(BOUND as u64) as usize] += 1.0;
        }
        let mean = (DRAWS / BOUND) as f64;
        let chi_squared: f64 = seen.iter().map(|n| (n - mean) * (n - mean) / mean).sum();
        let deviation = (2.0 * BOUND as f64).sqrt();
        assert!((chi_squared - BOUND as f64).abs() < 4.9 * deviation, "{chi_squared}");
    }

    #[test]
    fn streams_differ() {
        let first = |seed, stream| SplitMix64::new(seed, stream).next();
        assert_ne!(first(1, 0), first(1, 1));
        assert_ne!(first(1, 0), first(2, 0));
        assert_eq!(first(7, 3), first(7, 3));
    }

    /// Goal: each index has its own value and none is left out, whatever the count.
    #[test]
    fn a_permutation_is_one() {
        for count in (1..70).chain([255, 256, 257, 1000, 4095, 4096, 4097, 65_537]) {
            let order = Permutation::new(count, 42, count);
            let mut values: Vec<_> = (0..count).map(|index| order.at(index)).collect();
            values.sort_unstable();
            assert!(values.iter().copied().eq(0..count), "count {count}");
        }
    }

    /// Goal: a permutation shuffles. Method: of 10000 values nearly none stays at its place or next
    /// to its neighbour (one of each is expected at random).
    #[test]
    fn a_permutation_shuffles() {
        let order = Permutation::new(10_000, 5, 0);
        let fixed = (0..10_000).filter(|&index| order.at(index) == index).count();
        let runs = (1..10_000).filter(|&at| order.at(at) == order.at(at - 1) + 1).count();
        assert!(fixed < 12 && runs < 12, "{fixed} fixed, {runs} in sequence");
        let other = Permutation::new(10_000, 5, 1);
        assert!((0..10_000).filter(|&at| order.at(at) == other.at(at)).count() < 12);
    }
}
