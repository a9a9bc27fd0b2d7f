//! The small words of the core: positions, rows, roles, and sets of up to 256 of them.
//!
//! Sets are four machine words, `Copy` and free of allocation, because every I/O works with a
//! handful of them (which slots are readable, which strips are written):
//!
//! ```text
//!   element    0 ........ 63 | 64 ....... 127 | 128 ...... 191 | 192 ...... 255
//!   word              0      |       1        |       2        |       3
//!   bit               element mod 64, least significant first
//! ```
//!
//! An array has at most 255 members, so 256 bits hold every set of slots or data strips, and two
//! elements stay free for the parities of a [`RoleSet`]. That a set cannot grow is part of **R6**.
//!
//! Not here: which slot has which role (`geometry`), the bounds themselves (`limits`).

use core::fmt;
use core::marker::PhantomData;

/// Position of a member (base bdev) in its array: 0 to 254, in the order of the array's definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u8);

impl Slot {
    /// The position as an index into per-member tables.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a stripe: a row of strips, one on each member, counted from the start of the members'
/// data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StripeId(pub u64);

impl fmt::Display for StripeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a strip holds in its stripe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Data, with its ordinal in the stripe: array addresses grow with it.
    Data(u8),
    /// The xor of the stripe's data strips.
    P,
    /// The Reed-Solomon syndrome of the stripe's data strips (level 6).
    Q,
}

/// `D3`, `P` or `Q`, as layouts are usually drawn.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(d) => write!(f, "D{d}"),
            Self::P => f.write_str("P"),
            Self::Q => f.write_str("Q"),
        }
    }
}

/// A set of members.
pub type SlotSet = BitSet256<Slot>;

/// A set of roles, each named by a byte: data ordinals from 0 up; the planner puts P and Q at the
/// top.
pub type RoleSet = BitSet256<u8>;

/// A set of data strips of a stripe, by ordinal: a [`RoleSet`] without parities.
pub type StripSet = RoleSet;

/// A set over 256 possible elements, each of which has a byte as its index.
///
/// One type with the element as a parameter, so that a set of slots and a set of strips cannot be
/// mixed up while the arithmetic stands here once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BitSet256<T> {
    words: [u64; 4],
    element: PhantomData<T>,
}

impl<T> BitSet256<T> {
    const fn from_words(words: [u64; 4]) -> Self {
        Self { words, element: PhantomData }
    }

    /// The set without elements.
    #[inline]
    #[must_use]
    pub const fn empty() -> Self {
        Self::from_words([0; 4])
    }

    /// The elements of index 0 to `n - 1`.
    ///
    /// # Panics
    /// If `n` is above 256.
    #[inline]
    #[must_use]
    pub const fn first_n(n: usize) -> Self {
        assert!(n <= 256, "a set has room for 256 elements");
        let mut words = [0; 4];
        let mut word = 0;
        while word < 4 {
            words[word] = match n.saturating_sub(word * 64) {
                0 => 0,
                bits @ 1..64 => (1 << bits) - 1,
                _ => u64::MAX,
            };
            word += 1;
        }
        Self::from_words(words)
    }

    /// The elements of either set.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        let ([a, b, c, d], [w, x, y, z]) = (self.words, other.words);
        Self::from_words([a | w, b | x, c | y, d | z])
    }

    /// The elements of both sets.
    #[inline]
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        let ([a, b, c, d], [w, x, y, z]) = (self.words, other.words);
        Self::from_words([a & w, b & x, c & y, d & z])
    }

    /// The elements of this set that are not in `other`.
    #[inline]
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        let ([a, b, c, d], [w, x, y, z]) = (self.words, other.words);
        Self::from_words([a & !w, b & !x, c & !y, d & !z])
    }

    /// Whether there is no element.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        let [a, b, c, d] = self.words;
        a | b | c | d == 0
    }

    /// Number of elements, 0 to 256.
    #[inline]
    #[must_use]
    pub const fn len(self) -> usize {
        let [a, b, c, d] = self.words;
        (a.count_ones() + b.count_ones() + c.count_ones() + d.count_ones()) as usize
    }

    /// Whether every element is also in `other`.
    #[inline]
    #[must_use]
    pub const fn is_subset_of(self, other: Self) -> bool {
        self.difference(other).is_empty()
    }

    /// Whether the sets share no element.
    #[inline]
    #[must_use]
    pub const fn is_disjoint_from(self, other: Self) -> bool {
        self.intersection(other).is_empty()
    }

    /// The elements in ascending order.
    #[inline]
    #[must_use]
    pub const fn iter(self) -> Iter<T> {
        Iter { rest: self, word: 0 }
    }
}

/// Elements of a [`BitSet256`] in ascending order.
#[derive(Debug, Clone)]
pub struct Iter<T> {
    rest: BitSet256<T>,
    /// First word that may still have a bit set; 4 at the end.
    word: u8,
}

impl<T> Iter<T> {
    /// Takes the lowest index out of what is left.
    #[inline]
    fn pop(&mut self) -> Option<u8> {
        while let Some(word) = self.rest.words.get_mut(usize::from(self.word)) {
            if *word != 0 {
                let bit = word.trailing_zeros() as u8;
                *word &= *word - 1;
                return Some(self.word * 64 + bit);
            }
            self.word += 1;
        }
        None
    }
}

/// The methods that take or give an element, for one type of element. They are a macro and not a
/// trait because the methods of a trait cannot be `const`.
macro_rules! elements {
    ($element:ty, $value:ident => $to_index:expr, $index:ident => $from_index:expr) => {
        impl BitSet256<$element> {
            /// The set of one element.
            #[inline]
            #[must_use]
            pub const fn single($value: $element) -> Self {
                let mut set = Self::empty();
                set.insert($value);
                set
            }

            /// Puts an element in.
            #[inline]
            pub const fn insert(&mut self, $value: $element) {
                let index: u8 = $to_index;
                self.words[(index / 64) as usize] |= 1 << (index % 64);
            }

            /// Takes an element out.
            #[inline]
            pub const fn remove(&mut self, $value: $element) {
                let index: u8 = $to_index;
                self.words[(index / 64) as usize] &= !(1 << (index % 64));
            }

            /// Whether the element is in the set.
            #[inline]
            #[must_use]
            pub const fn contains(self, $value: $element) -> bool {
                let index: u8 = $to_index;
                self.words[(index / 64) as usize] >> (index % 64) & 1 == 1
            }
        }

        impl Iterator for Iter<$element> {
            type Item = $element;

            #[inline]
            fn next(&mut self) -> Option<$element> {
                self.pop().map(|$index| $from_index)
            }

            fn size_hint(&self) -> (usize, Option<usize>) {
                let len = self.rest.len();
                (len, Some(len))
            }
        }

        impl ExactSizeIterator for Iter<$element> {}

        impl IntoIterator for BitSet256<$element> {
            type Item = $element;
            type IntoIter = Iter<$element>;

            #[inline]
            fn into_iter(self) -> Iter<$element> {
                self.iter()
            }
        }

        impl FromIterator<$element> for BitSet256<$element> {
            fn from_iter<I: IntoIterator<Item = $element>>(elements: I) -> Self {
                let mut set = Self::empty();
                for element in elements {
                    set.insert(element);
                }
                set
            }
        }
    };
}

elements!(Slot, slot => slot.0, index => Slot(index));
elements!(u8, ordinal => ordinal, index => index);

/// The indices, as in `{0, 3, 254}`.
impl<T> fmt::Debug for BitSet256<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut indices = Iter { rest: BitSet256::<u8>::from_words(self.words), word: 0 };
        let mut list = f.debug_set();
        while let Some(index) = indices.pop() {
            list.entry(&index);
        }
        list.finish()
    }
}

#[cfg(test)]
mod tests;
