//! The stretches of a pass that shards have, and the regions that these are parts of.
//!
//! ```text
//!   regions      |   7 (ended)    |        8 (ended)        |    9 (open)
//!   stretches    |  ...  |  a     |   b   |   c    |   d    |  e  |
//!   shard 0         done    done     done    works            queued
//!   shard 1         done    works    queued  queued           queued
//! ```
//!
//! A shard that has done its stripes of one stretch goes on with the next, so none waits for another
//! before [`STRETCHES_MAX`] are out (**R6**). A region is over when all of it was handed out and every
//! shard has answered for every stretch of it, in whatever order; what follows from that (it is in sync,
//! it is rebuilt) is true of whole regions only. After a stretch that failed no more of its region is
//! handed out.
//!
//! Not here: which region is next, and what its end means (`background`); how fast (`pace`).

use crate::limits::STRETCHES_MAX;
use std::ops::Range;

/// A range of stripes of one region that every shard was told of.
#[derive(Debug)]
struct Stretch {
    region: u64,
    stripes: Range<u64>,
    /// Shards that have not answered.
    pending: usize,
}

#[derive(Debug)]
struct Region {
    region: u64,
    /// Stripes that are not handed out.
    rest: Range<u64>,
    /// Stretches that are not over.
    out: usize,
    ok: bool,
}

/// A region that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RegionOver {
    pub(super) region: u64,
    /// All of it was done.
    pub(super) ok: bool,
}

/// What an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing: other shards are at work on the stretch.
    Nothing,
    /// A stretch of so many stripes, and with it maybe its region.
    Stretch { stripes: u64, region: Option<RegionOver> },
}

/// Stretches that are handed out and not over.
#[derive(Debug)]
pub(super) struct Stretches {
    shards: usize,
    stretches: Vec<Stretch>,
    /// Those of the stretches, and the one of which more is to be handed out, if there is one: the last.
    regions: Vec<Region>,
}

impl Stretches {
    /// None, of an array of so many shards.
    pub(super) fn new(shards: usize) -> Self {
        Self {
            shards,
            stretches: Vec::with_capacity(STRETCHES_MAX),
            regions: Vec::with_capacity(STRETCHES_MAX + 1),
        }
    }

    /// Whether none is out.
    pub(super) fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// Whether no more may be handed out before one is over.
    pub(super) fn is_full(&self) -> bool {
        self.stretches.len() == STRETCHES_MAX
    }

    /// Stripes that are out.
    pub(super) fn stripes_out(&self) -> u64 {
        self.stretches.iter().map(|stretch| stretch.stripes.end - stretch.stripes.start).sum()
    }

    /// Whether there is a region of which more is to be handed out.
    pub(super) fn is_open(&self) -> bool {
        self.regions.last().is_some_and(|last| last.ok && !last.rest.is_empty())
    }

    /// Begins with a region.
    ///
    /// # Panics
    /// While another one is open.
    pub(super) fn open(&mut self, region: u64, stripes: Range<u64>) {
        assert!(!self.is_open(), "region {region} begins while another one is open");
        self.regions.push(Region { region, rest: stripes, out: 0, ok: true });
    }

    /// The next stretch of the open region, of at most `most` stripes.
    ///
    /// # Panics
    /// Without an open region, and when it is full.
    pub(super) fn hand_out(&mut self, most: u64) -> Range<u64> {
        assert!(self.is_open() && !self.is_full(), "nothing can be handed out: {self:?}");
        let at = self.regions.last_mut().expect("it is open");
        let end = at.rest.end.min(at.rest.start + most);
        let stripes = at.rest.start..end;
        at.rest.start = end;
        at.out += 1;
        let stretch = Stretch { region: at.region, stripes: stripes.clone(), pending: self.shards };
        self.stretches.push(stretch);
        stripes
    }

    /// A shard has answered for the stretch that begins with this stripe.
    ///
    /// # Panics
    /// If no such stretch is out.
    pub(super) fn answered(&mut self, first: u64, ok: bool) -> Ended {
        let at = self.stretches.iter().position(|stretch| stretch.stripes.start == first);
        let at = at.unwrap_or_else(|| panic!("no stretch at stripe {first} is out: {self:?}"));
        let of = self.regions.iter().position(|r| r.region == self.stretches[at].region);
        let of = of.expect("a region stays until its stretches are over");
        self.regions[of].ok &= ok;
        self.stretches[at].pending -= 1;
        if self.stretches[at].pending > 0 {
            return Ended::Nothing;
        }
        let Stretch { stripes, .. } = self.stretches.swap_remove(at);
        self.regions[of].out -= 1;
        let Region { region, ref rest, out, ok } = self.regions[of];
        let over = out == 0 && (rest.is_empty() || !ok);
        if over {
            self.regions.remove(of);
        }
        let region = over.then_some(RegionOver { region, ok });
        Ended::Stretch { stripes: stripes.end - stripes.start, region }
    }

    /// Regions that have begun and are not over.
    pub(super) fn regions(&self) -> impl Iterator<Item = u64> + '_ {
        self.regions.iter().map(|region| region.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the shards know: stretches by their first stripe, with the shards that owe an answer.
    type Owed = Vec<(u64, usize)>;

    proptest! {
        /// Goal: whatever the order of the answers, a region is over exactly when all of it was handed out
        /// and answered, or one of its stretches failed and none of it is out; each region once, with what
        /// its answers said; never more is out than may be. Method: random regions, sizes, failures and
        /// orders, against a list of what the shards owe.
        #[test]
        fn regions_are_over_when_every_shard_has_answered(
            shards in 1..4usize,
            lengths in proptest::collection::vec(1..9u64, 1..12),
            most in 1..4u64,
            picks in proptest::collection::vec((0..64usize, 0..10u8), 600),
        ) {
            let mut out = Stretches::new(shards);
            let mut owed = Owed::new();
            let (mut begun, mut start) = (0, 0);
            // Per region: stripes handed out and answered, whether a shard failed it, whether it is over.
            let mut state = vec![(0_u64, 0_u64, false, None); lengths.len()];
            for (pick, luck) in picks {
                if pick % 2 == 0 && !out.is_full() {
                    if !out.is_open() && begun < lengths.len() {
                        out.open(begun as u64, start..start + lengths[begun]);
                        start += lengths[begun];
                        begun += 1;
                    }
                    if out.is_open() {
                        let stripes = out.hand_out(most);
                        let len = stripes.end - stripes.start;
                        prop_assert!((1..=most).contains(&len));
                        state[begun - 1].0 += len;
                        owed.push((stripes.start, shards));
                        prop_assert!(owed.len() <= STRETCHES_MAX);
                    }
                    continue;
                }
                if owed.is_empty() {
                    continue;
                }
                let at = pick % owed.len();
                let (first, ok) = (owed[at].0, luck > 0);
                let of = region_at(&lengths, first);
                state[of].2 |= !ok;
                owed[at].1 -= 1;
                match out.answered(first, ok) {
                    Ended::Nothing => prop_assert!(owed[at].1 > 0),
                    Ended::Stretch { stripes, region } => {
                        prop_assert_eq!(owed.swap_remove(at).1, 0);
                        state[of].1 += stripes;
                        let (handed, answered, failed, over) = &mut state[of];
                        let all = *answered == *handed && (*handed == lengths[of] || *failed);
                        prop_assert_eq!(region.is_some(), all);
                        if let Some(region) = region {
                            let right = RegionOver { region: of as u64, ok: !*failed };
                            prop_assert_eq!(region, right);
                            prop_assert!(over.replace(region).is_none(), "over twice");
                        }
                    }
                }
                prop_assert_eq!(out.is_empty(), owed.is_empty());
                let open: Vec<u64> = (0..begun as u64)
                    .filter(|&region| state[region as usize].3.is_none())
                    .collect();
                prop_assert_eq!(out.regions().collect::<Vec<_>>(), open);
            }
        }
    }

    /// The region that a stripe belongs to.
    fn region_at(lengths: &[u64], stripe: u64) -> usize {
        let mut end = 0;
        lengths
            .iter()
            .position(|len| {
                end += len;
                stripe < end
            })
            .expect("stripes are handed out of regions")
    }
}
