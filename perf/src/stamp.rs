//! Stamps: blocks that say who they are, so that a wrong one says what went wrong.
//!
//! Every device block of a verified write is stamped on its own; a request of 64 KiB on a device
//! with 4 KiB blocks carries 16 stamps. All numbers are little-endian.
//!
//! ```text
//!   byte  0        8        16      24      32           40       44          48          block end
//!        +--------+--------+-------+-------+------------+--------+-----------+-----------+
//!        | magic  | block  | seed  | run   | generation | writer | len_bytes | pattern   |
//!        +--------+--------+-------+-------+------------+--------+-----------+-----------+
//! ```
//!
//! The pattern is a function of everything before it, so it is the block's checksum too: a block
//! that was torn, shifted, or mixed with another one (also by xor, as a wrong parity would) does
//! not fit its own head. What a wrong block tells:
//!
//! | found | meaning |
//! |---|---|
//! | no magic | never written, or overwritten by somebody else |
//! | another block | misdirected read or write |
//! | another run or an older generation | a write was lost |
//! | right head, wrong pattern | torn or corrupted |
//!
//! Not here: which stamps are expected where (`verify`).

use crate::random::{GOLDEN, mix};
use serde::Serialize;
use std::fmt;

/// First word of a stamped block: "r456perf".
const MAGIC: u64 = u64::from_le_bytes(*b"r456perf");

const WORD_BYTES: usize = size_of::<u64>();
const HEAD_WORDS: usize = 6;
const HEAD_BYTES: usize = HEAD_WORDS * WORD_BYTES;

/// What the head of a stamped block says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Stamp {
    /// Number of the block on its device, in device blocks.
    pub block: u64,
    /// Seed of the job that wrote it.
    pub seed: u64,
    /// Run of the job that wrote it.
    pub run: u64,
    /// How many times the run had been through its range before.
    pub generation: u64,
    /// Index of the reactor that wrote it.
    pub writer: u32,
    /// Length of the block in bytes.
    pub len_bytes: u32,
}

impl Stamp {
    fn head(&self) -> [u64; HEAD_WORDS] {
        let last = u64::from(self.writer) | u64::from(self.len_bytes) << 32;
        [MAGIC, self.block, self.seed, self.run, self.generation, last]
    }

    /// Fills a block whose length is the stamp's.
    pub(crate) fn fill(&self, block: &mut [u8]) {
        assert_eq!(block.len(), self.len_bytes as usize, "a stamp is as long as its block");
        let head = self.head();
        let (head_bytes, pattern) = block.split_at_mut(HEAD_BYTES);
        for (bytes, word) in head_bytes.chunks_exact_mut(WORD_BYTES).zip(head) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let key = key(&head);
        for (at, bytes) in pattern.chunks_exact_mut(WORD_BYTES).enumerate() {
            bytes.copy_from_slice(&pattern_word(key, at).to_le_bytes());
        }
    }

    /// Reads the head of a block; `None` without the magic.
    pub(crate) fn read(block: &[u8]) -> Option<Self> {
        let mut head = [0; HEAD_WORDS];
        for (into, word) in head.iter_mut().zip(words(block.get(..HEAD_BYTES)?)) {
            *into = word;
        }
        let [MAGIC, block, seed, run, generation, last] = head else { return None };
        let (writer, len_bytes) = (last as u32, (last >> 32) as u32);
        Some(Self { block, seed, run, generation, writer, len_bytes })
    }

    /// The first byte of a block that is not as this stamp fills it.
    pub(crate) fn first_difference(&self, block: &[u8]) -> Option<usize> {
        let head = self.head();
        let (head_bytes, pattern) = block.split_at(HEAD_BYTES.min(block.len()));
        let key = key(&head);
        // Comparing all words first and looking for the place later keeps the usual case free of
        // branches.
        let wrong_head = words(head_bytes).zip(head).fold(0, |bad, (is, was)| bad | (is ^ was));
        let wrong_pattern = words(pattern)
            .enumerate()
            .fold(0, |bad, (at, word)| bad | (word ^ pattern_word(key, at)));
        if wrong_head | wrong_pattern == 0 && block.len() == self.len_bytes as usize {
            return None;
        }
        let mut right = vec![0; self.len_bytes as usize];
        self.fill(&mut right);
        let differs = right.iter().zip(block).position(|(right, is)| right != is);
        Some(differs.unwrap_or(block.len().min(right.len())))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "block {} of {} bytes, seed {}, run {:#x}, generation {}, written by reactor {}",
            self.block, self.len_bytes, self.seed, self.run, self.generation, self.writer
        )
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(WORD_BYTES).map(|chunk| {
        let mut word = [0; WORD_BYTES];
        word.copy_from_slice(chunk);
        u64::from_le_bytes(word)
    })
}

fn key(head: &[u64; HEAD_WORDS]) -> u64 {
    head.iter().fold(0, |key, word| mix(key ^ word).wrapping_add(GOLDEN))
}

/// One word of the pattern. Additions, a shift and an xor only: the compiler makes vector code of
/// it, and the mix of both arithmetics keeps stripes of it from xoring to something simple.
#[inline]
fn pattern_word(key: u64, at: usize) -> u64 {
    let word = key.wrapping_add((at as u64).wrapping_mul(GOLDEN));
    word ^ (word >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(len_bytes: u32) -> Stamp {
        Stamp { block: 17, seed: 3, run: 0xfeed, generation: 2, writer: 1, len_bytes }
    }

    fn filled(stamp: Stamp) -> Vec<u8> {
        let mut block = vec![0xee; stamp.len_bytes as usize];
        stamp.fill(&mut block);
        block
    }

    /// Goal: a later version still knows what an earlier one wrote. Method: the bytes of one stamp,
    /// pinned.
    #[test]
    fn the_layout_stays() {
        let block = filled(stamp(512));
        assert_eq!(&block[..8], b"r456perf");
        for (at, word) in [(8, 17), (16, 3), (24, 0xfeed), (32, 2), (40, 512 << 32 | 1)] {
            assert_eq!(block[at..at + 8], u64::to_le_bytes(word), "word at byte {at}");
        }
        let sum = block.iter().fold(0_u64, |sum, byte| mix(sum ^ u64::from(*byte)));
        assert_eq!(sum, 0xb093_c677_7b3a_85c4);
    }

    #[test]
    fn stamps_are_read_back() {
        for len_bytes in [512, 4096] {
            let block = filled(stamp(len_bytes));
            assert_eq!(Stamp::read(&block), Some(stamp(len_bytes)));
            assert_eq!(stamp(len_bytes).first_difference(&block), None);
        }
        assert_eq!(Stamp::read(&[0; 512]), None);
        assert_eq!(Stamp::read(b"r456perf"), None);
    }

    /// Goal: each single flipped bit is found, at its place.
    #[test]
    fn every_flipped_bit_is_found() {
        let good = filled(stamp(512));
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert_eq!(stamp(512).first_difference(&bad), Some(at), "byte {at}, bit {bit}");
            }
        }
    }

    /// Goal: the stamp's fields all count. Method: change one, and the pattern is another one.
    #[test]
    fn every_field_is_in_the_pattern() {
        let good = filled(stamp(512));
        let change: [fn(&mut Stamp); 5] = [
            |stamp| stamp.block += 1,
            |stamp| stamp.seed += 1,
            |stamp| stamp.run += 1,
            |stamp| stamp.generation += 1,
            |stamp| stamp.writer += 1,
        ];
        for change in change {
            let mut other = stamp(512);
            change(&mut other);
            let block = filled(other);
            let equal = good[HEAD_BYTES..].iter().zip(&block[HEAD_BYTES..]).filter(|(a, b)| a == b);
            assert!(equal.count() < 24, "{other}");
        }
    }

    /// Goal: neighbouring blocks xored, as a parity does, are nothing like a stamped block.
    #[test]
    fn xored_blocks_are_not_stamps() {
        let blocks: Vec<_> = (0..4).map(|block| filled(Stamp { block, ..stamp(512) })).collect();
        let xor: Vec<u8> =
            (0..512).map(|at| blocks.iter().fold(0, |xor, block| xor ^ block[at])).collect();
        let zeroes = xor[HEAD_BYTES..].iter().filter(|byte| **byte == 0).count();
        assert!(zeroes < 24, "{zeroes} zero bytes");
        let other = stamp(512);
        assert_eq!(other.first_difference(&xor), Some(0));
    }

    #[test]
    fn a_block_of_another_length_differs() {
        let block = filled(stamp(512));
        assert_eq!(stamp(512).first_difference(&block[..480]), Some(480));
        assert_eq!(stamp(512).first_difference(&block[..40]), Some(40));
    }
}
