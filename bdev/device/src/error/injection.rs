//! Which requests are hit by which fault: a list of rules, and the one function that asks it.
//!
//! ```text
//!   Injection --add--> rules: (kind, range) -> fault, how many are left to hit
//!                        |
//!   request ---judge--->-+--> Pass | Fail | Hold | Corrupt | HandBack | Gone
//!                        |
//!   write that is done --heal--> blocks that are good again
//! ```
//!
//! A rule is for one kind of request; an injection for "all" makes one for each. A new rule takes the
//! place of one with the same kind and range, as in SPDK, where there are no ranges and so one rule
//! per kind. Of several that fit, the oldest is used.
//!
//! Owns: `left` counts down once per request that is hit, and a rule without any left is gone.
//! Invariants: R6 (rules and bad sectors are bounded).
//!
//! Not here: locks, channels, what becomes of a request (`channel`).

use std::ops::Range;

use crate::bdev::BdevInfo;
use crate::io::{BdevIo, IoOp};
use crate::limits::{INJECTIONS_MAX, WRITABLE_BAD_BLOCKS_MAX};

/// Kinds of requests, as SPDK's `bdev_error_inject_error` divides them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victims {
    /// Reads.
    Read,
    /// Writes and write-zeroes.
    Write,
    /// Unmaps.
    Unmap,
    /// Flushes.
    Flush,
    /// Each of them; they are counted one kind apart from the other.
    All,
}

impl Victims {
    /// As SPDK's methods spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Unmap => "unmap",
            Self::Flush => "flush",
            Self::All => "all",
        }
    }

    fn of(op: &IoOp) -> Self {
        match op {
            IoOp::Read { .. } => Self::Read,
            IoOp::Write { .. } | IoOp::WriteZeroes { .. } => Self::Write,
            IoOp::Unmap => Self::Unmap,
            IoOp::Flush => Self::Flush,
        }
    }

    /// The kinds that a rule with this fault and range can hit.
    fn kinds(self, injection: &Injection) -> Vec<Self> {
        let fits = |kind: &Self| match injection.fault {
            Fault::CorruptData { .. } => matches!(kind, Self::Read | Self::Write),
            _ => *kind != Self::Flush || injection.range_blocks.is_none(),
        };
        match self {
            Self::All => [Self::Read, Self::Write, Self::Unmap, Self::Flush]
                .into_iter()
                .filter(fits)
                .collect(),
            one => vec![one],
        }
    }
}

/// What happens to a request that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It completes with `MediaError`, and the base never sees it.
    Failure,
    /// It is kept, unanswered, until pending requests are resumed.
    Pending,
    /// One byte of its data is changed: of what a read returns, of what a write puts on the base.
    CorruptData {
        /// Where in the request, in bytes. Beyond its end nothing is changed.
        offset_bytes: u64,
        /// What is XORed into the byte. Not 0.
        value: u8,
    },
    /// `submit` hands it back, as a device does that is full: its owner tries again.
    NoMemory,
    /// The device vanishes: from now on everything completes with `Gone`, also what is in flight.
    Gone,
}

impl Fault {
    /// As SPDK's methods spell it; the last word is ours.
    pub fn word(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Pending => "pending",
            Self::CorruptData { .. } => "corrupt_data",
            Self::NoMemory => "nomem",
            Self::Gone => "gone",
        }
    }
}

/// What is to go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Requests of this kind are hit.
    pub victims: Victims,
    /// What happens to them.
    pub fault: Fault,
    /// How many are hit; [`Injection::FOR_EVER`] never ends, 0 takes the rule back.
    pub count: u32,
    /// Only requests are hit that find as many others of their channel at the base.
    pub queue_depth: u64,
    /// Only requests are hit that touch these blocks.
    pub range_blocks: Option<Range<u64>>,
    /// A write that succeeds makes the blocks good that it covers, as sectors of real disks are.
    pub until_written: bool,
}

impl Injection {
    /// A `count` without end.
    pub const FOR_EVER: u32 = u32::MAX;

    /// The next `count` requests of a kind.
    pub fn next(victims: Victims, fault: Fault, count: u32) -> Self {
        Self { victims, fault, count, queue_depth: 0, range_blocks: None, until_written: false }
    }

    /// A bad sector: reads of these blocks fail until the blocks are written.
    pub fn bad_blocks(range_blocks: Range<u64>) -> Self {
        Self {
            range_blocks: Some(range_blocks),
            until_written: true,
            ..Self::next(Victims::Read, Fault::Failure, Self::FOR_EVER)
        }
    }
}

/// Why an injection is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// A range that is not on the device.
    #[error(
        "bdev {name}: blocks {first} to {end} (not included) are not on it: give a range that is not empty within its {num_blocks} blocks"
    )]
    Range {
        /// Name of the bdev.
        name: String,
        /// First block.
        first: u64,
        /// Block after the last.
        end: u64,
        /// Blocks of the bdev.
        num_blocks: u64,
    },
    /// Parts that do not go together.
    #[error("bdev {name}: {what}: {right}")]
    Combination {
        /// Name of the bdev.
        name: String,
        /// What does not go together.
        what: &'static str,
        /// What would be right.
        right: &'static str,
    },
    /// More blocks than are kept track of one by one.
    #[error(
        "bdev {name}: {num_blocks} blocks with until_written are too many: give at most {} in one call",
        WRITABLE_BAD_BLOCKS_MAX
    )]
    TooManyBlocks {
        /// Name of the bdev.
        name: String,
        /// The refused value.
        num_blocks: u64,
    },
    /// No room for another rule.
    #[error(
        "bdev {name}: there are {} injections already, of which one for \"all\" makes up to four: clear them first",
        INJECTIONS_MAX
    )]
    Full {
        /// Name of the bdev.
        name: String,
    },
}

impl InjectError {
    /// The number that SPDK would answer with, negative as there.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Range { .. } | Self::Combination { .. } | Self::TooManyBlocks { .. } => {
                -libc::EINVAL
            }
            Self::Full { .. } => -libc::ENOSPC,
        }
    }
}

/// One rule as others may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectionView {
    /// Requests of this kind are hit.
    pub victims: Victims,
    /// What happens to them.
    pub fault: Fault,
    /// How many are still to be hit; [`Injection::FOR_EVER`] never ends.
    pub left: u32,
    /// Only requests that touch these blocks are hit.
    pub range_blocks: Option<Range<u64>>,
    /// How many of these blocks are still bad, if a write heals them.
    pub bad_blocks: Option<u64>,
}

/// What is to become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Fail,
    Hold,
    Corrupt { offset_bytes: u64, value: u8 },
    HandBack,
    Gone,
}

#[derive(Debug)]
struct Rule {
    victims: Victims,
    fault: Fault,
    left: u32,
    queue_depth: u64,
    range_blocks: Option<Range<u64>>,
    /// Which blocks of the range are still bad, if a write heals them.
    bad: Option<Vec<bool>>,
}

impl Rule {
    fn hits(&self, io: &BdevIo, blocks: &Range<u64>, depth: usize) -> bool {
        let has_data = !matches!(io.op, IoOp::WriteZeroes { .. });
        self.victims == Victims::of(&io.op)
            && depth as u64 >= self.queue_depth
            && (has_data || !matches!(self.fault, Fault::CorruptData { .. }))
            && self.touches(blocks)
    }

    fn touches(&self, blocks: &Range<u64>) -> bool {
        let Some(range) = &self.range_blocks else { return true };
        let both = overlap(range, blocks);
        match &self.bad {
            None => !both.is_empty(),
            Some(bad) => both.into_iter().any(|block| bad[(block - range.start) as usize]),
        }
    }

    fn heal(&mut self, blocks: &Range<u64>) {
        if let (Some(range), Some(bad)) = (&self.range_blocks, &mut self.bad) {
            for block in overlap(range, blocks) {
                bad[(block - range.start) as usize] = false;
            }
        }
    }

    fn bad_blocks(&self) -> Option<u64> {
        self.bad.as_ref().map(|bad| bad.iter().filter(|bad| **bad).count() as u64)
    }

    fn is_spent(&self) -> bool {
        self.left == 0 || self.bad_blocks() == Some(0)
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> Range<u64> {
    a.start.max(b.start)..a.end.min(b.end)
}

/// All rules of one bdev.
#[derive(Debug, Default)]
pub(super) struct Injections {
    rules: Vec<Rule>,
    gone: bool,
}

impl Injections {
    /// Adds a rule, or takes one back.
    pub(super) fn add(
        &mut self,
        injection: &Injection,
        info: &BdevInfo,
    ) -> Result<(), InjectError> {
        check(injection, info)?;
        if injection.fault == Fault::Gone {
            self.gone |= injection.count != 0;
            return Ok(());
        }
        let kinds = injection.victims.kinds(injection);
        let replaces = |rule: &Rule| {
            kinds.contains(&rule.victims) && rule.range_blocks == injection.range_blocks
        };
        let kept = self.rules.iter().filter(|rule| !replaces(rule)).count();
        if injection.count != 0 && kept + kinds.len() > INJECTIONS_MAX {
            return Err(InjectError::Full { name: info.name.clone() });
        }
        self.rules.retain(|rule| !replaces(rule));
        if injection.count == 0 {
            return Ok(());
        }
        self.rules.extend(kinds.iter().map(|&victims| {
            Rule {
                victims,
                fault: injection.fault,
                left: injection.count,
                queue_depth: injection.queue_depth,
                range_blocks: injection.range_blocks.clone(),
                bad: injection
                    .range_blocks
                    .as_ref()
                    .filter(|_| injection.until_written)
                    .map(|range| vec![true; (range.end - range.start) as usize]),
            }
        }));
        Ok(())
    }

    /// Everything is well again. Requests that are held stay held.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// No further request is held.
    pub(super) fn stop_holding(&mut self) {
        self.rules.retain(|rule| rule.fault != Fault::Pending);
    }

    /// Whether a request could be hit.
    pub(super) fn is_armed(&self) -> bool {
        self.gone || !self.rules.is_empty()
    }

    /// Whether the device has vanished.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Decides about a request that the device admits, and counts it. `depth`: how many others of
    /// its channel the base has.
    pub(super) fn judge(&mut self, io: &BdevIo, block_size_bytes: u32, depth: usize) -> Verdict {
        if self.gone {
            return Verdict::Gone;
        }
        let blocks = blocks_of(io, block_size_bytes);
        let Some(place) = self.rules.iter().position(|rule| rule.hits(io, &blocks, depth)) else {
            return Verdict::Pass;
        };
        let rule = &mut self.rules[place];
        let fault = rule.fault;
        if rule.left != Injection::FOR_EVER {
            rule.left -= 1;
        }
        if rule.is_spent() {
            self.rules.remove(place);
        }
        match fault {
            Fault::Failure => Verdict::Fail,
            Fault::Pending => Verdict::Hold,
            Fault::CorruptData { offset_bytes, value } => Verdict::Corrupt { offset_bytes, value },
            Fault::NoMemory => Verdict::HandBack,
            Fault::Gone => Verdict::Gone,
        }
    }

    /// A write of these blocks has succeeded.
    pub(super) fn heal(&mut self, io: &BdevIo, block_size_bytes: u32) {
        let blocks = blocks_of(io, block_size_bytes);
        self.rules.iter_mut().for_each(|rule| rule.heal(&blocks));
        self.rules.retain(|rule| !rule.is_spent());
    }

    /// The rules in the order in which they are asked.
    pub(super) fn list(&self) -> Vec<InjectionView> {
        let view = |rule: &Rule| InjectionView {
            victims: rule.victims,
            fault: rule.fault,
            left: rule.left,
            range_blocks: rule.range_blocks.clone(),
            bad_blocks: rule.bad_blocks(),
        };
        self.rules.iter().map(view).collect()
    }
}

fn blocks_of(io: &BdevIo, block_size_bytes: u32) -> Range<u64> {
    let block_size_bytes = u64::from(block_size_bytes);
    let first = io.offset_bytes / block_size_bytes;
    first..first + io.len_bytes / block_size_bytes
}

fn check(injection: &Injection, info: &BdevInfo) -> Result<(), InjectError> {
    let refuse =
        |what, right| Err(InjectError::Combination { name: info.name.clone(), what, right });
    let Injection { victims, fault, range_blocks, until_written, .. } = injection;
    match (fault, victims) {
        (Fault::CorruptData { value: 0, .. }, _) => {
            return refuse("corrupt_value 0 changes nothing", "give 1 to 255");
        }
        (Fault::CorruptData { .. }, Victims::Unmap | Victims::Flush) => {
            return refuse("there is no data to corrupt in it", "give io_type read, write or all");
        }
        (Fault::Gone, Victims::Read | Victims::Write | Victims::Unmap | Victims::Flush) => {
            return refuse("a device is gone for everything", "give io_type all");
        }
        _ => {}
    }
    let Some(range) = range_blocks else {
        if *until_written {
            return refuse("until_written is for a range", "give offset_blocks and num_blocks");
        }
        return Ok(());
    };
    if *fault == Fault::Gone {
        return refuse("a device is gone as a whole", "leave offset_blocks and num_blocks out");
    }
    if *victims == Victims::Flush {
        return refuse("a flush has no range", "leave offset_blocks and num_blocks out");
    }
    if range.is_empty() || range.end > info.num_blocks {
        let (first, end, num_blocks) = (range.start, range.end, info.num_blocks);
        return Err(InjectError::Range { name: info.name.clone(), first, end, num_blocks });
    }
    if *until_written {
        if (*victims, *fault) != (Victims::Read, Fault::Failure) {
            return refuse(
                "until_written is for reads that fail",
                "give io_type read and error_type failure",
            );
        }
        let num_blocks = range.end - range.start;
        if num_blocks > WRITABLE_BAD_BLOCKS_MAX {
            return Err(InjectError::TooManyBlocks { name: info.name.clone(), num_blocks });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use reactor::memory::IoBufMut;

    use super::*;
    use crate::bdev::{BackendDetail, IoTypes};

    fn info() -> BdevInfo {
        BdevInfo {
            name: "EE_m0".into(),
            uuid: uuid::Uuid::nil(),
            product_name: "Error Injection Disk",
            block_size_bytes: 512,
            num_blocks: 1 << 20,
            volatile_cache: false,
            unmap_reads_zero: false,
            optimal_write_bytes: 0,
            supported: IoTypes::ALL,
            detail: BackendDetail::None,
        }
    }

    fn read(block: u64, blocks: usize) -> BdevIo {
        BdevIo::read(0, block * 512, IoBufMut::heap(blocks * 512))
    }

    fn write(block: u64, blocks: usize) -> BdevIo {
        BdevIo::write(0, block * 512, IoBufMut::heap(blocks * 512).freeze(), false)
    }

    fn with(injections: &[Injection]) -> Injections {
        let mut made = Injections::default();
        for injection in injections {
            made.add(injection, &info()).unwrap();
        }
        made
    }

    /// Goal: as many requests of the kind are hit as were asked for, and no other. Method: every
    /// kind of request against every kind of rule.
    #[test]
    fn kinds_are_told_apart_and_counted() {
        let requests = || {
            [
                (Victims::Read, read(0, 1)),
                (Victims::Write, write(0, 1)),
                (Victims::Write, BdevIo::write_zeroes(0, 0, 512, false)),
                (Victims::Unmap, BdevIo::unmap(0, 0, 512)),
                (Victims::Flush, BdevIo::flush(0)),
            ]
        };
        for victims in [Victims::Read, Victims::Write, Victims::Unmap, Victims::Flush, Victims::All]
        {
            for (kind, io) in requests() {
                let mut rules = with(&[Injection::next(victims, Fault::Failure, 2)]);
                let verdicts = [0; 3].map(|_| rules.judge(&io, 512, 0));
                let hit = victims == kind || victims == Victims::All;
                let expected = if hit { Verdict::Fail } else { Verdict::Pass };
                assert_eq!(verdicts, [expected, expected, Verdict::Pass], "{victims:?} {io:?}");
                assert_eq!(rules.is_armed(), victims == Victims::All || !hit);
            }
        }
        let mut rules =
            with(&[Injection::next(Victims::Read, Fault::Pending, Injection::FOR_EVER)]);
        assert!((0..9).all(|_| rules.judge(&read(3, 1), 512, 0) == Verdict::Hold));
        rules.stop_holding();
        assert!(!rules.is_armed());
    }

    /// Goal: a range is hit by what touches it, at its ends too; a queue depth by who finds it.
    #[test]
    fn ranges_and_depths_are_exact() {
        let ranged = Injection {
            range_blocks: Some(10..12),
            ..Injection::next(Victims::Read, Fault::Failure, Injection::FOR_EVER)
        };
        let mut rules = with(&[ranged]);
        for (block, blocks, hit) in
            [(0, 10, false), (0, 11, true), (9, 8, true), (11, 1, true), (12, 1, false)]
        {
            let verdict = rules.judge(&read(block, blocks), 512, 0);
            assert_eq!(verdict == Verdict::Fail, hit, "{blocks} at {block}");
        }
        let deep =
            Injection { queue_depth: 2, ..Injection::next(Victims::Write, Fault::Failure, 1) };
        let mut rules = with(&[deep]);
        assert_eq!(rules.judge(&write(0, 1), 512, 1), Verdict::Pass);
        assert_eq!(rules.judge(&write(0, 1), 512, 2), Verdict::Fail);
    }

    /// Goal: a bad sector fails reads for ever, a write makes good what it covers, and with the last
    /// bad block the rule goes.
    #[test]
    fn writes_heal_what_they_cover() {
        let mut rules = with(&[Injection::bad_blocks(8..12)]);
        for _ in 0..5 {
            assert_eq!(rules.judge(&read(8, 1), 512, 0), Verdict::Fail);
        }
        rules.heal(&write(9, 1), 512);
        assert_eq!(rules.judge(&read(9, 1), 512, 0), Verdict::Pass);
        assert_eq!(rules.judge(&read(9, 2), 512, 0), Verdict::Fail);
        assert_eq!(rules.list()[0].bad_blocks, Some(3));
        rules.heal(&write(0, 9), 512);
        rules.heal(&BdevIo::write_zeroes(0, 9 * 512, 4096, false), 512);
        assert_eq!(rules.judge(&read(0, 64), 512, 0), Verdict::Pass);
        assert!(!rules.is_armed());
    }

    /// Goal: what cannot be is refused with words that say what could.
    #[test]
    fn what_makes_no_sense_is_refused() {
        let next = |victims, fault| Injection::next(victims, fault, 1);
        let corrupt = |value| Fault::CorruptData { offset_bytes: 0, value };
        let ranged =
            |injection: Injection, range| Injection { range_blocks: Some(range), ..injection };
        let read_failure = next(Victims::Read, Fault::Failure);
        for (injection, text) in [
            (
                next(Victims::Read, corrupt(0)),
                "bdev EE_m0: corrupt_value 0 changes nothing: give 1 to 255",
            ),
            (
                next(Victims::Flush, corrupt(1)),
                "bdev EE_m0: there is no data to corrupt in it: give io_type read, write or all",
            ),
            (
                next(Victims::Write, Fault::Gone),
                "bdev EE_m0: a device is gone for everything: give io_type all",
            ),
            (
                ranged(next(Victims::All, Fault::Gone), 0..1),
                "bdev EE_m0: a device is gone as a whole: leave offset_blocks and num_blocks out",
            ),
            (
                ranged(next(Victims::Flush, Fault::Failure), 0..1),
                "bdev EE_m0: a flush has no range: leave offset_blocks and num_blocks out",
            ),
            (
                ranged(read_failure.clone(), 1048575..1048577),
                "bdev EE_m0: blocks 1048575 to 1048577 (not included) are not on it: give a range that is not empty within its 1048576 blocks",
            ),
            (
                Injection { until_written: true, ..read_failure },
                "bdev EE_m0: until_written is for a range: give offset_blocks and num_blocks",
            ),
            (
                Injection { victims: Victims::Write, ..Injection::bad_blocks(0..1) },
                "bdev EE_m0: until_written is for reads that fail: give io_type read and error_type failure",
            ),
            (
                Injection::bad_blocks(0..65537),
                "bdev EE_m0: 65537 blocks with until_written are too many: give at most 65536 in one call",
            ),
        ] {
            let error = Injections::default().add(&injection, &info()).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.errno()), (text, -libc::EINVAL));
        }
        let mut rules = Injections::default();
        for block in 0..INJECTIONS_MAX as u64 {
            rules.add(&Injection::bad_blocks(block..block + 1), &info()).unwrap();
        }
        rules.add(&Injection::bad_blocks(0..1), &info()).unwrap();
        let error = rules.add(&Injection::bad_blocks(0..2), &info()).unwrap_err();
        assert_eq!(error.errno(), -libc::ENOSPC);
        rules.clear();
        assert!(!rules.is_armed());
    }

    /// Goal: a new rule takes the place of the one for the same requests; 0 takes it back.
    #[test]
    fn a_rule_replaces_its_like() {
        let mut rules = with(&[
            Injection::next(Victims::All, Fault::Failure, 5),
            Injection::next(Victims::Read, Fault::NoMemory, 7),
        ]);
        let listed: Vec<_> =
            rules.list().iter().map(|rule| (rule.fault.word(), rule.left)).collect();
        assert_eq!(listed, [("failure", 5), ("failure", 5), ("failure", 5), ("nomem", 7)]);
        rules.add(&Injection::next(Victims::All, Fault::Failure, 0), &info()).unwrap();
        assert!(!rules.is_armed());
        let corrupt = Fault::CorruptData { offset_bytes: 0, value: 1 };
        let mut rules = with(&[Injection::next(Victims::All, corrupt, 1)]);
        assert_eq!(rules.list().len(), 2, "reads and writes");
        let zeroes = BdevIo::write_zeroes(0, 0, 512, false);
        assert_eq!(rules.judge(&zeroes, 512, 0), Verdict::Pass, "no data");
    }
}
