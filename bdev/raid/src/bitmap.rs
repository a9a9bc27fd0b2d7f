//! A plain bitset over regions, little-endian in bit order as dm-log keeps it (linux-raid.md, 3.2).
//!
//! ```text
//!   bit       0 ........ 63 | 64 ....... 127 | ... | len-1 | padding: always zero
//!   word            0       |       1        | ... |     last word              |
//!   bytes     0 1 2 ..... 7 | 8 .......... 15 | ...      bit i is bit i mod 8 of byte i / 8
//! ```
//!
//! Whatever writes bits keeps two things true: padding bits are zero, and the number of ones is known.
//! The count answers the searches of a map that has nothing to find; the others go by words, so that a
//! map of 10^8 bits is read through in milliseconds. Memory is allocated by [`Bitmap::new`] only.
//!
//! Not here: what a bit means, and where its bytes lie on a device (`dirty_log`).

use std::ops::Range;

const WORD_BITS: u64 = u64::BITS as u64;
const WORD_BYTES: usize = size_of::<u64>();

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
        let words = usize::try_from(len.div_ceil(WORD_BITS)).expect("the bitmap fits into memory");
        let mut map = Self { words: vec![0; words], len, ones: 0 };
        if value {
            map.fill(true);
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

    /// Makes every bit `value`.
    pub fn fill(&mut self, value: bool) {
        self.words.fill(if value { u64::MAX } else { 0 });
        if let Some(last) = self.words.last_mut() {
            *last &= last_word_mask(self.len);
        }
        self.ones = if value { self.len } else { 0 };
    }

    /// Makes the bits of `range` `value`.
    ///
    /// # Panics
    /// If the range reaches beyond the last bit.
    pub fn set_range(&mut self, range: Range<u64>, value: bool) {
        assert!(range.end <= self.len, "bits {range:?} of a bitmap of {}", self.len);
        if range.is_empty() {
            return;
        }
        let (first, first_bit) = self.place(range.start);
        let (last, last_bit) = self.place(range.end - 1);
        for index in first..=last {
            let mut mask = u64::MAX;
            if index == first {
                mask &= u64::MAX << first_bit;
            }
            if index == last {
                mask &= u64::MAX >> (63 - last_bit);
            }
            let word = self.words[index];
            self.replace(index, if value { word | mask } else { word & !mask });
        }
    }

    /// The first zero at or after `from`.
    #[must_use]
    pub fn next_zero(&self, from: u64) -> Option<u64> {
        if self.is_full() {
            return None;
        }
        self.search(from, |word| !word)
    }

    /// The first one at or after `from`.
    #[must_use]
    pub fn next_one(&self, from: u64) -> Option<u64> {
        if self.ones == 0 {
            return None;
        }
        self.search(from, |word| word)
    }

    /// The bits as words, bit 0 lowest in the first; the padding of the last is zero.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Replaces 64 bits at once and returns what they were. Ones beyond the last bit are dropped.
    ///
    /// # Panics
    /// If there is no such word.
    pub fn set_word(&mut self, index: usize, word: u64) -> u64 {
        let was = self.words[index];
        let mask = match index + 1 == self.words.len() {
            true => last_word_mask(self.len),
            false => u64::MAX,
        };
        self.replace(index, word & mask);
        was
    }

    /// Number of bytes of the bits on a device: whole words, as 64-bit kernels pad them.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.words.len() as u64 * WORD_BYTES as u64
    }

    /// Writes the bytes from `from` on into `out`.
    ///
    /// # Panics
    /// If they reach beyond [`Self::byte_len`].
    pub fn copy_bytes(&self, from: u64, out: &mut [u8]) {
        self.check_bytes(from, out.len());
        for_each_word(from, out.len(), |index, in_word, in_bytes| {
            let bytes = self.words[index].to_le_bytes();
            out[in_bytes].copy_from_slice(&bytes[in_word]);
        });
    }

    /// Takes the bytes from `from` on out of `bytes`. Ones beyond the last bit are dropped.
    ///
    /// # Panics
    /// If they reach beyond [`Self::byte_len`].
    pub fn load_bytes(&mut self, from: u64, bytes: &[u8]) {
        self.check_bytes(from, bytes.len());
        for_each_word(from, bytes.len(), |index, in_word, in_bytes| {
            let mut word = self.words[index].to_le_bytes();
            word[in_word].copy_from_slice(&bytes[in_bytes]);
            self.set_word(index, u64::from_le_bytes(word));
        });
    }

    fn search(&self, from: u64, wanted: impl Fn(u64) -> u64) -> Option<u64> {
        if from >= self.len {
            return None;
        }
        let (start, bit) = self.place(from);
        let mut mask = u64::MAX << bit;
        for (index, word) in self.words.iter().enumerate().skip(start) {
            let hits = wanted(*word) & mask;
            mask = u64::MAX;
            if hits != 0 {
                let found = index as u64 * WORD_BITS + u64::from(hits.trailing_zeros());
                return (found < self.len).then_some(found);
            }
        }
        None
    }

    /// The one place where more than a bit changes: it keeps the count.
    fn replace(&mut self, index: usize, word: u64) {
        let was = std::mem::replace(&mut self.words[index], word);
        self.ones = self.ones - u64::from(was.count_ones()) + u64::from(word.count_ones());
    }

    fn place(&self, index: u64) -> (usize, u32) {
        assert!(index < self.len, "bit {index} of a bitmap of {}", self.len);
        let word = usize::try_from(index / WORD_BITS).expect("the bitmap fits into memory");
        (word, u32::try_from(index % WORD_BITS).expect("less than 64"))
    }

    fn check_bytes(&self, from: u64, count: usize) {
        let end = from.checked_add(count as u64);
        assert!(
            end.is_some_and(|end| end <= self.byte_len()),
            "{count} bytes at {from} of a bitmap of {} bytes",
            self.byte_len()
        );
    }
}

/// The bits of the last word that are not padding.
fn last_word_mask(len: u64) -> u64 {
    match len % WORD_BITS {
        0 => u64::MAX,
        used => (1 << used) - 1,
    }
}

/// Cuts `count` bytes from byte `from` on at the borders of words: `f(word, bytes in that word, bytes
/// in the caller's slice)`.
fn for_each_word(from: u64, count: usize, mut f: impl FnMut(usize, Range<usize>, Range<usize>)) {
    let from = usize::try_from(from).expect("the bitmap fits into memory");
    let mut done = 0;
    while done < count {
        let at = from + done;
        let start = at % WORD_BYTES;
        let step = (WORD_BYTES - start).min(count - done);
        f(at / WORD_BYTES, start..start + step, done..done + step);
        done += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything that a map tells, against a vector of booleans.
    fn check(map: &Bitmap, model: &[bool]) {
        let len = model.len() as u64;
        assert_eq!((map.len(), map.is_empty()), (len, len == 0));
        assert_eq!(map.ones(), model.iter().filter(|&&b| b).count() as u64);
        assert_eq!(map.is_full(), model.iter().all(|&b| b));
        for from in 0..=len + 1 {
            let next = |value: bool| (from..len).find(|&i| model[i as usize] == value);
            assert_eq!((map.next_zero(from), map.next_one(from)), (next(false), next(true)));
        }
        let bit = |i: u64| model.get(i as usize).copied().unwrap_or(false);
        let byte = |i: u64| (0..8).fold(0, |byte, b| byte | u8::from(bit(i * 8 + b)) << b);
        let bytes: Vec<u8> = (0..len.div_ceil(64) * 8).map(byte).collect();
        let mut out = vec![0xff; bytes.len()];
        map.copy_bytes(0, &mut out);
        assert_eq!(out, bytes, "bytes, with zeros for padding");
        let words: Vec<u8> = map.words().iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!((words, map.byte_len()), (bytes, out.len() as u64));
    }

    #[derive(Debug, Clone)]
    enum Change {
        Set(u64, bool),
        Range(u64, u64, bool),
        Fill(bool),
        Word(usize, u64),
        Bytes(u64, Vec<u8>),
    }

    fn change() -> impl Strategy<Value = Change> {
        let byte = prop_oneof![Just(0), Just(0xff), any::<u8>()];
        prop_oneof![
            4 => (any::<u64>(), any::<bool>()).prop_map(|(i, v)| Change::Set(i, v)),
            4 => (any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(a, b, v)| Change::Range(a, b, v)),
            1 => any::<bool>().prop_map(Change::Fill),
            2 => (any::<usize>(), any::<u64>()).prop_map(|(i, w)| Change::Word(i, w)),
            2 => (any::<u64>(), proptest::collection::vec(byte, 0..40)).prop_map(|(i, b)| Change::Bytes(i, b)),
        ]
    }

    fn write_bits(model: &mut [bool], from: u64, bits: impl Iterator<Item = bool>) {
        for (index, bit) in (from..).zip(bits) {
            if let Some(place) = model.get_mut(index as usize) {
                *place = bit;
            }
        }
    }

    fn apply(map: &mut Bitmap, model: &mut [bool], change: Change) {
        let len = model.len() as u64;
        match change {
            Change::Set(index, value) => {
                let was = std::mem::replace(&mut model[(index % len) as usize], value);
                assert_eq!(map.set(index % len, value), was);
                assert_eq!(map.get(index % len), value);
            }
            Change::Range(a, b, value) => {
                let (a, b) = (a % (len + 1), b % (len + 1));
                let range = a.min(b)..a.max(b);
                model[range.start as usize..range.end as usize].fill(value);
                map.set_range(range, value);
            }
            Change::Fill(value) => {
                model.fill(value);
                map.fill(value);
            }
            Change::Word(index, word) => {
                let index = index % map.words().len();
                let was = map.words()[index];
                assert_eq!(map.set_word(index, word), was);
                write_bits(model, index as u64 * 64, (0..64).map(|b| word >> b & 1 == 1));
            }
            Change::Bytes(from, mut bytes) => {
                let from = from % map.byte_len();
                bytes.truncate((map.byte_len() - from) as usize);
                map.load_bytes(from, &bytes);
                let mut out = vec![0; bytes.len()];
                map.copy_bytes(from, &mut out);
                let bits = bytes.iter().flat_map(|byte| (0..8).map(move |b| byte >> b & 1 == 1));
                write_bits(model, from * 8, bits);
                // What was loaded comes back, but for ones in the padding.
                assert!(out.iter().zip(&bytes).all(|(out, byte)| out & !byte == 0));
            }
        }
    }

    proptest! {
        /// Goal: the same as a vector of booleans, for counts, searches and bytes too.
        #[test]
        fn behaves_like_a_vector_of_booleans(
            len in 1..300u64,
            value in any::<bool>(),
            changes in proptest::collection::vec(change(), 0..40),
        ) {
            let mut map = Bitmap::new(len, value);
            let mut model = vec![value; len as usize];
            check(&map, &model);
            for change in changes {
                apply(&mut map, &mut model, change);
                check(&map, &model);
            }
        }
    }

    #[test]
    fn a_map_without_bits_has_nothing_to_find() {
        let mut map = Bitmap::new(0, true);
        map.fill(true);
        map.set_range(0..0, true);
        check(&map, &[]);
    }

    /// Goal: a log of 10^8 regions is read through by words. Method: no clock here, but bit by bit
    /// this test would take minutes.
    #[test]
    fn maps_of_a_hundred_million_bits_are_searched_by_words() {
        let len = 100_000_000;
        let mut map = Bitmap::new(len, false);
        for _ in 0..1000 {
            assert_eq!(map.next_one(0), None);
        }
        for round in 0..20 {
            map.set(len - 1 - round, true);
            assert_eq!(map.next_one(0), Some(len - 1 - round));
        }
        map.set_range(0..len, true);
        assert_eq!((map.ones(), map.next_zero(0)), (len, None));
    }
}
