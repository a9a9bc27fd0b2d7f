//! A plain bitset over regions, little-endian in bit order as dm-log keeps it (linux-raid.md, 3.2).
//!
//! Not here: what a bit means (`dirty_log`).

/// Fixed-size bitset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: u64,
    ones: u64,
}

impl Bitmap {
    /// `len` bits, all `value`.
    ///
    /// # Panics
    /// If the bits do not fit into this machine's memory.
    #[must_use]
    pub fn new(len: u64, value: bool) -> Self {
        let words = usize::try_from(len.div_ceil(64)).expect("the bitmap fits into memory");
        let mut map = Self { words: vec![0; words], len, ones: 0 };
        if value {
            map.words.fill(u64::MAX);
            if !len.is_multiple_of(64) {
                map.words[words - 1] = (1 << (len % 64)) - 1;
            }
            map.ones = len;
        }
        map
    }

    /// Number of bits.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bits at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of bits that are one.
    #[must_use]
    pub fn ones(&self) -> u64 {
        self.ones
    }

    /// Whether every bit is one.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// The bit at `index`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn get(&self, index: u64) -> bool {
        let (word, bit) = self.place(index);
        self.words[word] >> bit & 1 == 1
    }

    /// Sets the bit at `index` and returns what it was.
    ///
    /// # Panics
    /// If there is none.
    pub fn set(&mut self, index: u64, value: bool) -> bool {
        let (word, bit) = self.place(index);
        let was = self.words[word] >> bit & 1 == 1;
        if was != value {
            self.words[word] ^= 1 << bit;
            if value {
                self.ones += 1;
            } else {
                self.ones -= 1;
            }
        }
        was
    }

    /// The first zero at or after `from`.
    #[must_use]
    pub fn next_zero(&self, from: u64) -> Option<u64> {
        if from >= self.len {
            return None;
        }
        let (start, bit) = self.place(from);
        let mut mask = u64::MAX << bit;
        for (index, word) in self.words.iter().enumerate().skip(start) {
            let zeros = !word & mask;
            mask = u64::MAX;
            if zeros != 0 {
                let found = index as u64 * 64 + u64::from(zeros.trailing_zeros());
                return (found < self.len).then_some(found);
            }
        }
        None
    }

    fn place(&self, index: u64) -> (usize, u32) {
        assert!(index < self.len, "bit {index} of a bitmap of {}", self.len);
        let word = usize::try_from(index / 64).expect("the bitmap fits into memory");
        (word, u32::try_from(index % 64).expect("less than 64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Goal: the same as a vector of booleans, for counts and searches too.
        #[test]
        fn behaves_like_a_vector_of_booleans(
            len in 1..300u64,
            value in any::<bool>(),
            sets in proptest::collection::vec((0..300u64, any::<bool>()), 0..200),
        ) {
            let mut map = Bitmap::new(len, value);
            let mut model = vec![value; len as usize];
            for (index, value) in sets {
                let index = index % len;
                prop_assert_eq!(map.set(index, value), model[index as usize]);
                model[index as usize] = value;
            }
            prop_assert_eq!(map.ones(), model.iter().filter(|&&b| b).count() as u64);
            prop_assert_eq!(map.is_full(), model.iter().all(|&b| b));
            for from in 0..=len {
                let right = (from..len).find(|&i| !model[i as usize]);
                prop_assert_eq!(map.next_zero(from), right);
            }
        }
    }
}
