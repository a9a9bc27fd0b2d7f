//! What a volatile cache holds, and what is left of it when the power goes: a plain value.
//!
//! ```text
//!             write                    claim               landed, nothing newer
//!   (absent) ------> dirty ----------------> on its way ------------------------> (absent)
//!                     | ^--- write ----------'   | power is lost
//!      power is lost, | survives                 v
//!                     +---------------------> settled: as good as on the medium, and
//!                     | does not survive       written back like any other block
//!                     v
//!             the settled version, or (absent)
//! ```
//!
//! A block that is absent is on the base. A settled block has outlived a loss of power: it counts as
//! being on the medium, though the base gets it later, so that deciding what survives needs no I/O.
//!
//! Owns: at most one write of a block is on its way to the base at any time, whoever sent it, also
//! across a loss of power; else an old version could land on top of a newer one. What is on its way
//! when the power goes lands.
//! Invariants: R6 (`has_room`).
//!
//! Not here: requests, the base, locks (`super`).

use std::collections::BTreeMap;
use std::ops::Range;

use reactor::memory::IoBuf;

use crate::limits::CACHE_BLOCKS_MAX;
use crate::stacked::scramble;

/// One version of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) block: u64,
    /// Greater than that of every earlier write to the device.
    pub(super) seq: u64,
}

/// Whether a block may be sent to the base.
#[derive(Debug)]
pub(super) enum ClaimOutcome {
    /// It is there already.
    Clean,
    /// Someone else's write of it is on its way.
    Busy,
    /// This is to be sent, and reported with [`Blocks::landed`].
    Send(Version, IoBuf),
}

#[derive(Debug)]
struct Entry {
    data: IoBuf,
    seq: u64,
    /// Whether `data` would be lost with the power.
    dirty: bool,
    /// What the block would be then, unless it is what the base has.
    settled: Option<IoBuf>,
}

/// A write that is on its way.
#[derive(Debug)]
struct OnItsWay {
    seq: u64,
    /// None when what is sent is not the cached version but something that takes its place.
    data: Option<IoBuf>,
}

/// The blocks of one cache.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    entries: BTreeMap<u64, Entry>,
    /// Blocks by the age of what they hold.
    by_age: BTreeMap<u64, u64>,
    on_their_way: BTreeMap<u64, OnItsWay>,
    seq: u64,
    /// How often the power was lost.
    losses: u64,
}

impl Blocks {
    /// Blocks that would be lost with the power.
    pub(super) fn dirty(&self) -> usize {
        self.entries.values().filter(|entry| entry.dirty).count()
    }

    /// How often the power was lost.
    pub(super) fn losses(&self) -> u64 {
        self.losses
    }

    /// Whether so many blocks may be written.
    pub(super) fn has_room(&self, blocks: usize) -> bool {
        self.entries.len() + blocks <= CACHE_BLOCKS_MAX
    }

    /// Puts the blocks from `first` on into the cache.
    pub(super) fn write(
        &mut self,
        first: u64,
        data: impl IntoIterator<Item = IoBuf>,
    ) -> Vec<Version> {
        let versions = (first..).zip(data).map(|(block, data)| {
            self.seq += 1;
            let seq = self.seq;
            let before = self.entries.remove(&block);
            if let Some(before) = &before {
                self.by_age.remove(&before.seq);
            }
            let settled = before.and_then(|before| match before.dirty {
                true => before.settled,
                false => Some(before.data),
            });
            self.entries.insert(block, Entry { data, seq, dirty: true, settled });
            self.by_age.insert(seq, block);
            Version { block, seq }
        });
        versions.collect()
    }

    /// The blocks of a range that the cache has.
    pub(super) fn read(&self, blocks: Range<u64>) -> Vec<(u64, IoBuf)> {
        self.entries.range(blocks).map(|(&block, entry)| (block, entry.data.clone())).collect()
    }

    /// Everything, in the order of the device.
    pub(super) fn all(&self) -> Vec<Version> {
        self.versions(0..u64::MAX)
    }

    fn versions(&self, blocks: Range<u64>) -> Vec<Version> {
        let entries = self.entries.range(blocks);
        entries.map(|(&block, entry)| Version { block, seq: entry.seq }).collect()
    }

    /// The oldest blocks, in the order of the device.
    pub(super) fn oldest(&self, blocks: usize) -> Vec<Version> {
        let oldest = self.by_age.iter().take(blocks);
        let mut versions: Vec<_> = oldest.map(|(&seq, &block)| Version { block, seq }).collect();
        versions.sort_unstable();
        versions
    }

    /// Claims a block that is to be on the base in this version or a later one.
    pub(super) fn claim(&mut self, wanted: Version) -> ClaimOutcome {
        let Some(entry) = self.entries.get(&wanted.block) else { return ClaimOutcome::Clean };
        if self.on_their_way.contains_key(&wanted.block) {
            return ClaimOutcome::Busy;
        }
        let version = Version { block: wanted.block, seq: entry.seq };
        let data = entry.data.clone();
        let on_its_way = OnItsWay { seq: entry.seq, data: Some(data.clone()) };
        self.on_their_way.insert(wanted.block, on_its_way);
        ClaimOutcome::Send(version, data)
    }

    /// Claims all blocks of a range for something that takes their place on the base, or none of
    /// them if one is on its way.
    pub(super) fn claim_range(&mut self, blocks: Range<u64>) -> Option<Vec<Version>> {
        if self.on_their_way.range(blocks.clone()).next().is_some() {
            return None;
        }
        let versions = self.versions(blocks);
        for version in &versions {
            let on_its_way = OnItsWay { seq: version.seq, data: None };
            self.on_their_way.insert(version.block, on_its_way);
        }
        Some(versions)
    }

    /// What was claimed is on the base, or not.
    pub(super) fn landed(&mut self, version: Version, ok: bool) {
        self.on_their_way.remove(&version.block);
        if !ok {
            return;
        }
        let Some(entry) = self.entries.get_mut(&version.block) else { return };
        if entry.seq == version.seq {
            self.entries.remove(&version.block);
            self.by_age.remove(&version.seq);
        } else {
            // The base has something later than what was settled.
            entry.settled = None;
        }
    }

    /// The power goes: dirty blocks are lost. With a seed, some of them survive; which ones depends
    /// on the seed and the block and nothing else.
    pub(super) fn lose(&mut self, seed: Option<u64>) {
        self.losses += 1;
        let entries = std::mem::take(&mut self.entries);
        self.by_age.clear();
        for (block, entry) in entries {
            let on_its_way =
                self.on_their_way.get(&block).and_then(|way| Some((way.seq, way.data.clone()?)));
            let survives = !entry.dirty || seed.is_some_and(|seed| survives(seed, block));
            let kept = match (survives, on_its_way, entry.settled) {
                (true, ..) => Some((entry.seq, entry.data)),
                (false, Some((seq, data)), _) => Some((seq, data)),
                (false, None, Some(settled)) => {
                    self.seq += 1;
                    Some((self.seq, settled))
                }
                (false, None, None) => None,
            };
            if let Some((seq, data)) = kept {
                self.entries.insert(block, Entry { data, seq, dirty: false, settled: None });
                self.by_age.insert(seq, block);
            }
        }
    }
}

/// A coin for each block.
fn survives(seed: u64, block: u64) -> bool {
    scramble(scramble(seed) ^ block) & 1 == 1
}

#[cfg(test)]
mod tests {
    use reactor::memory::IoBufMut;

    use super::*;

    fn data(byte: u8) -> IoBuf {
        IoBufMut::heap_copy(&[byte; 512]).freeze()
    }

    /// First bytes of what the cache has of blocks 0 to 9.
    fn seen(blocks: &Blocks) -> Vec<(u64, u8)> {
        blocks.read(0..10).into_iter().map(|(block, data)| (block, data[0])).collect()
    }

    fn send(blocks: &mut Blocks, wanted: Version) -> Version {
        match blocks.claim(wanted) {
            ClaimOutcome::Send(version, _) => version,
            other => panic!("{other:?}"),
        }
    }

    /// Goal: what has landed leaves the cache unless it was overwritten meanwhile, and no block is
    /// sent twice at a time. Method: a write, a newer one while it is on its way, a failure.
    #[test]
    fn blocks_leave_when_their_newest_version_has_landed() {
        let mut blocks = Blocks::default();
        let first = blocks.write(3, [data(1), data(2)]);
        assert_eq!(blocks.all(), first);
        let sent = send(&mut blocks, first[0]);
        assert!(matches!(blocks.claim(first[0]), ClaimOutcome::Busy));
        assert!(blocks.claim_range(0..9).is_none());
        let second = blocks.write(3, [data(9)]);
        blocks.landed(sent, true);
        assert_eq!(seen(&blocks), [(3, 9), (4, 2)]);
        assert_eq!(blocks.oldest(1), [first[1]], "the overwritten block is the younger one now");

        let sent = send(&mut blocks, first[0]);
        assert_eq!(sent, second[0], "the newest version is sent");
        blocks.landed(sent, false);
        assert_eq!(blocks.dirty(), 2);
        let claimed = blocks.claim_range(0..9).unwrap();
        assert!(matches!(blocks.claim(first[1]), ClaimOutcome::Busy));
        claimed.into_iter().for_each(|version| blocks.landed(version, true));
        assert!(matches!(blocks.claim(first[0]), ClaimOutcome::Clean));
        assert!(blocks.entries.is_empty());
        assert!(blocks.on_their_way.is_empty() && blocks.by_age.is_empty());
    }

    /// Goal: without a seed nothing dirty is left, but what was on its way; what has settled is not
    /// lost again, not even when it was overwritten since.
    #[test]
    fn a_loss_leaves_what_has_settled() {
        let mut blocks = Blocks::default();
        let versions = blocks.write(0, (0..4).map(data));
        let sent = send(&mut blocks, versions[2]);
        blocks.write(2, [data(7)]);
        blocks.lose(None);
        assert_eq!((seen(&blocks), blocks.dirty()), (vec![(2, 2)], 0));
        blocks.write(2, [data(8)]);
        blocks.landed(sent, false);
        blocks.lose(None);
        assert_eq!(seen(&blocks), [(2, 2)], "back to what had settled");
        let sent = send(&mut blocks, Version { block: 2, seq: 0 });
        blocks.landed(sent, true);
        assert_eq!((blocks.entries.len(), blocks.losses()), (0, 2));

        // A version between the settled one and the newest lands: what had settled is no more.
        blocks.write(7, [data(1)]);
        blocks.lose(Some((0..).find(|&seed| survives(seed, 7)).unwrap()));
        let between = blocks.write(7, [data(2)])[0];
        let sent = send(&mut blocks, between);
        blocks.write(7, [data(3)]);
        blocks.landed(sent, true);
        blocks.lose(None);
        assert!(blocks.entries.is_empty(), "the base has 2, and not 1");

        // Landed after it was overwritten: the base has it, so nothing settled is left.
        let version = blocks.write(5, [data(1)])[0];
        let sent = send(&mut blocks, version);
        blocks.write(5, [data(2)]);
        blocks.landed(sent, true);
        blocks.lose(None);
        assert!(blocks.entries.is_empty());
    }

    /// Goal: with a seed about half survives, the same half every time, and another with another
    /// seed.
    #[test]
    fn a_seed_decides_who_survives() {
        let survivors = |seed| {
            let mut blocks = Blocks::default();
            blocks.write(0, (0..=255).map(data));
            blocks.lose(Some(seed));
            assert_eq!(blocks.dirty(), 0);
            blocks.all().into_iter().map(|version| version.block).collect::<Vec<_>>()
        };
        let some = survivors(1);
        assert!((64..192).contains(&some.len()), "{}", some.len());
        assert_eq!(some, survivors(1));
        assert_ne!(some, survivors(2));
    }
}
