//! Checking buffers against stamps, and what was found.
//!
//! Owns: the list of mismatches is bounded (R6), their number is exact.
//!
//! Not here: which stamp belongs where.

use crate::limits::MISMATCHES_KEPT_MAX;
use crate::stamp::Stamp;
use crate::verify::Written;
use device::{BdevIo, IoOp};
use serde::Serialize;
use std::fmt;

/// A device block that is not what was written there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Mismatch {
    /// First byte of the block on the device.
    pub offset_bytes: u64,
    /// First wrong byte in the block.
    pub at_byte: usize,
    /// What the block should say. Where any run will do, its run, generation and writer are those
    /// that were found.
    pub expected: Stamp,
    /// What it says; absent when it has no stamp.
    pub found: Option<Stamp>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset_bytes, at_byte, expected, found } = self;
        write!(
            f,
            "block {} at byte {offset_bytes}: byte {at_byte} of it is wrong: expected {expected}; ",
            expected.block
        )?;
        match found {
            Some(found) if found == expected => f.write_str("found its stamp over other content"),
            Some(found) => write!(f, "found {found}"),
            None => f.write_str("found no stamp"),
        }
    }
}

/// What a source has found out.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Device blocks that were compared.
    pub(crate) blocks_checked: u64,
    /// How many of them were wrong.
    pub(crate) blocks_wrong: u64,
    /// The first few of those.
    pub(crate) mismatches: Vec<Mismatch>,
    /// What there is to be read back.
    pub(crate) written: Option<Written>,
}

impl Findings {
    /// Adds another reactor's, or another phase's.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.blocks_checked += other.blocks_checked;
        self.blocks_wrong += other.blocks_wrong;
        let room = MISMATCHES_KEPT_MAX - self.mismatches.len();
        self.mismatches.extend(other.mismatches.into_iter().take(room));
    }
}

/// What the stamps of a request's blocks should say.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expected {
    /// Exactly this run, generation and writer.
    Exactly { run: u64, generation: u64, writer: u32 },
    /// Whatever run wrote them with the seed.
    AnyRun,
}

/// Checks the requests of one source.
#[derive(Debug)]
pub(crate) struct Checks {
    seed: u64,
    block_size_bytes: u32,
    findings: Findings,
}

impl Checks {
    pub(crate) fn new(seed: u64, block_size_bytes: u32) -> Self {
        let mismatches = Vec::with_capacity(MISMATCHES_KEPT_MAX);
        let findings = Findings { mismatches, ..Findings::default() };
        Self { seed, block_size_bytes, findings }
    }

    /// Checks what a read has brought.
    pub(crate) fn check(&mut self, io: &BdevIo, expected: Expected) {
        let IoOp::Read { into } = &io.op else { return };
        let block_bytes = self.block_size_bytes as usize;
        let mut offset_bytes = io.offset_bytes;
        // A worker's buffers are in one piece, so no block is split between two.
        for segment in into.segments() {
            for block in segment.chunks_exact(block_bytes) {
                self.check_block(offset_bytes, block, expected);
                offset_bytes += block_bytes as u64;
            }
        }
    }

    fn check_block(&mut self, offset_bytes: u64, block: &[u8], expected: Expected) {
        let found = Stamp::read(block);
        let (run, generation, writer) = match (expected, found) {
            (Expected::Exactly { run, generation, writer }, _) => (run, generation, writer),
            (Expected::AnyRun, Some(found)) => (found.run, found.generation, found.writer),
            (Expected::AnyRun, None) => (0, 0, 0),
        };
        let expected = Stamp {
            block: offset_bytes / u64::from(self.block_size_bytes),
            seed: self.seed,
            run,
            generation,
            writer,
            len_bytes: self.block_size_bytes,
        };
        self.findings.blocks_checked += 1;
        let Some(at_byte) = expected.first_difference(block) else { return };
        self.findings.blocks_wrong += 1;
        if self.findings.mismatches.len() < MISMATCHES_KEPT_MAX {
            let mismatch = Mismatch { offset_bytes, at_byte, expected, found };
            self.findings.mismatches.push(mismatch);
        }
    }

    /// Everything so far; starts again from nothing.
    pub(crate) fn take(&mut self) -> Findings {
        std::mem::take(&mut self.findings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reactor::memory::IoBufMut;

    const EXACTLY: Expected = Expected::Exactly { run: 9, generation: 1, writer: 0 };

    fn stamp(block: u64) -> Stamp {
        Stamp { block, seed: 5, run: 9, generation: 1, writer: 0, len_bytes: 512 }
    }

    /// A read of four blocks from block 8 on, as the job of `stamp` wrote them.
    fn read() -> IoBufMut {
        let mut buf = IoBufMut::heap(2048);
        for (block, bytes) in (8..).zip(buf.chunks_exact_mut(512)) {
            stamp(block).fill(bytes);
        }
        buf
    }

    fn check(buf: IoBufMut, expected: Expected) -> Findings {
        let mut checks = Checks::new(5, 512);
        checks.check(&BdevIo::read(0, 8 * 512, buf), expected);
        checks.take()
    }

    #[test]
    fn good_blocks_pass() {
        for expected in [EXACTLY, Expected::AnyRun] {
            let findings = check(read(), expected);
            assert_eq!((findings.blocks_checked, findings.blocks_wrong), (4, 0));
        }
    }

    /// Goal: each kind of damage is found in the right block and told apart in words.
    #[test]
    fn damage_is_told_apart() {
        type Damage = fn(&mut [u8]);
        let cases: [(Damage, Expected, &str); 6] = [
            (|block| block[100] ^= 4, EXACTLY, "byte 100 of it is wrong"),
            (|block| block[100] ^= 4, Expected::AnyRun, "found its stamp over other content"),
            (|block| block.fill(0), Expected::AnyRun, "found no stamp"),
            (|block| stamp(77).fill(block), EXACTLY, "found block 77"),
            (
                |block| Stamp { generation: 0, ..stamp(9) }.fill(block),
                EXACTLY,
                "generation 1, written by reactor 0; found block 9 of 512 bytes, seed 5, run 0x9, \
                 generation 0",
            ),
            (|block| Stamp { seed: 6, ..stamp(9) }.fill(block), Expected::AnyRun, "found block 9"),
        ];
        for (damage, expected, words) in cases {
            let mut buf = read();
            damage(&mut buf[512..1024]);
            let findings = check(buf, expected);
            assert_eq!((findings.blocks_checked, findings.blocks_wrong), (4, 1), "{words}");
            let message = findings.mismatches[0].to_string();
            assert!(message.starts_with("block 9 at byte 4608: "), "{message}");
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn an_older_run_passes_only_where_any_will_do() {
        let mut buf = read();
        Stamp { run: 8, ..stamp(9) }.fill(&mut buf[512..1024]);
        assert_eq!(check(buf, Expected::AnyRun).blocks_wrong, 0);
        let mut buf = read();
        Stamp { run: 8, ..stamp(9) }.fill(&mut buf[512..1024]);
        assert_eq!(check(buf, EXACTLY).blocks_wrong, 1);
    }

    #[test]
    fn the_list_is_bounded_and_the_count_is_not() {
        let mut checks = Checks::new(5, 512);
        for _ in 0..10 {
            checks.check(&BdevIo::read(0, 0, IoBufMut::heap(4096)), EXACTLY);
        }
        let mut all = Findings::default();
        all.absorb(checks.take());
        checks.check(&BdevIo::read(0, 0, IoBufMut::heap(4096)), EXACTLY);
        all.absorb(checks.take());
        assert_eq!(all.blocks_wrong, 88);
        assert_eq!(all.mismatches.len(), MISMATCHES_KEPT_MAX);
    }
}
