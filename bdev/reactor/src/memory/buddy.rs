//! The buddy allocator's index arithmetic: units in, units out, not a pointer in sight.
//!
//! Owns: blocks never overlap; a free block and its free buddy of the same order are always one
//! block of the next order (Knuth, TAOCP 1, 2.5).
//!
//! A block of order `k` is `2^k` units that start at a multiple of `2^k`; its buddy is the block
//! at `start ^ 2^k`. Each order has a doubly linked list of its free blocks, kept in the units
//! themselves, so that taking a buddy out of its list is O(1).
//!
//! ```text
//!   unit      0      1      2      3      4      5      6      7
//!   tag     Used(0) Free(0) Used(1) Inside Free(2) Inside Inside Inside
//! ```
//!
//! Not here: keeping hot blocks from being merged and split again at once (`pool`).

/// Orders there are: a block has at most `2^31` units.
pub(super) const ORDERS: usize = 32;

/// End of a list.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tag {
    /// Part of a block that starts before this unit.
    Inside,
    /// A free block of this order starts here.
    Free(u8),
    /// A block of this order that is lent starts here.
    Used(u8),
}

#[derive(Clone, Copy, Debug)]
struct Unit {
    tag: Tag,
    /// Neighbours in the list of free blocks; meaningful only where `tag` is `Free`.
    prev: u32,
    next: u32,
}

/// Free memory, in units.
#[derive(Debug)]
pub(super) struct Buddy {
    units: Vec<Unit>,
    /// First free block of each order.
    heads: [u32; ORDERS],
    /// Bit `k` is set when order `k` has a free block.
    stocked: u32,
    free_units: usize,
}

/// The order of the smallest block that has `units` units (at least one).
#[inline]
pub(super) fn order_for(units: usize) -> usize {
    units.max(1).next_power_of_two().trailing_zeros() as usize
}

impl Buddy {
    /// `units` free units, in the fewest blocks. At most `2^31`.
    pub(super) fn new(units: u32) -> Self {
        assert!(units <= 1 << (ORDERS - 1), "{units} units: at most 2^31");
        let unit = Unit { tag: Tag::Inside, prev: NONE, next: NONE };
        let mut buddy = Self {
            units: vec![unit; units as usize],
            heads: [NONE; ORDERS],
            stocked: 0,
            free_units: 0,
        };
        let mut start = 0;
        while start < units {
            let aligned = start.trailing_zeros().min(ORDERS as u32 - 1);
            let order = aligned.min((units - start).ilog2());
            buddy.push(start, order as usize);
            start += 1 << order;
        }
        buddy
    }

    /// Units that are free.
    pub(super) fn free_units(&self) -> usize {
        self.free_units
    }

    /// Lends a block of `2^order` units and tells its first; `None` when no block is that large.
    #[inline]
    pub(super) fn alloc(&mut self, order: usize) -> Option<u32> {
        let large_enough = self.stocked.checked_shr(order as u32).unwrap_or(0);
        if large_enough == 0 {
            return None;
        }
        let mut have = order + large_enough.trailing_zeros() as usize;
        let start = self.heads[have];
        self.unlink(start, have);
        while have > order {
            have -= 1;
            self.push(start + (1 << have), have);
        }
        self.units[start as usize].tag = Tag::Used(order as u8);
        Some(start)
    }

    /// The order of the block that is lent at `start`.
    ///
    /// # Panics
    /// If no lent block starts there: somebody gave a block back twice.
    #[inline]
    pub(super) fn order_of(&self, start: u32) -> usize {
        match self.units[start as usize].tag {
            Tag::Used(order) => order.into(),
            tag => panic!("unit {start} is not the start of a lent block but {tag:?}"),
        }
    }

    /// Takes the block at `start` back and joins it with its buddies as far as they are free.
    #[inline]
    pub(super) fn free(&mut self, start: u32) {
        let mut order = self.order_of(start);
        let mut start = start;
        while order + 1 < ORDERS {
            let buddy = start ^ (1 << order);
            let free = self.units.get(buddy as usize).map(|unit| unit.tag);
            if free != Some(Tag::Free(order as u8)) {
                break;
            }
            self.unlink(buddy, order);
            self.units[start.max(buddy) as usize].tag = Tag::Inside;
            start = start.min(buddy);
            order += 1;
        }
        self.push(start, order);
    }

    /// Puts a block at the head of its list.
    #[inline]
    fn push(&mut self, start: u32, order: usize) {
        let next = self.heads[order];
        self.units[start as usize] = Unit { tag: Tag::Free(order as u8), prev: NONE, next };
        if next != NONE {
            self.units[next as usize].prev = start;
        }
        self.heads[order] = start;
        self.stocked |= 1 << order;
        self.free_units += 1 << order;
    }

    /// Takes a block out of its list.
    #[inline]
    fn unlink(&mut self, start: u32, order: usize) {
        let Unit { prev, next, .. } = self.units[start as usize];
        match prev {
            NONE => self.heads[order] = next,
            prev => self.units[prev as usize].next = next,
        }
        if next != NONE {
            self.units[next as usize].prev = prev;
        }
        if self.heads[order] == NONE {
            self.stocked &= !(1 << order);
        }
        self.free_units -= 1 << order;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl Buddy {
        /// The free blocks as (start, order), in ascending order, from the lists; checks that the
        /// lists, the tags, the stock mask and the count say the same.
        fn free_blocks(&self) -> Vec<(u32, usize)> {
            let mut listed = Vec::new();
            for (order, head) in self.heads.iter().enumerate() {
                assert_eq!(self.stocked & (1 << order) != 0, *head != NONE, "order {order}");
                let (mut prev, mut at) = (NONE, *head);
                while at != NONE {
                    let unit = self.units[at as usize];
                    assert_eq!((unit.tag, unit.prev), (Tag::Free(order as u8), prev));
                    listed.push((at, order));
                    (prev, at) = (at, unit.next);
                }
            }
            listed.sort_unstable();
            let is_free = |unit: &Unit| matches!(unit.tag, Tag::Free(_));
            assert_eq!(self.units.iter().filter(|unit| is_free(unit)).count(), listed.len());
            assert_eq!(self.free_units, listed.iter().map(|(_, order)| 1 << order).sum());
            listed
        }
    }

    /// Every unit is in exactly one block, free or lent; blocks are aligned; no two free buddies.
    fn check(buddy: &Buddy, lent: &BTreeMap<u32, usize>) {
        let free = buddy.free_blocks();
        let mut blocks: Vec<_> =
            free.iter().copied().chain(lent.iter().map(|(s, o)| (*s, *o))).collect();
        blocks.sort_unstable();
        let mut next = 0;
        for (start, order) in blocks {
            assert_eq!(start, next, "a gap or an overlap before unit {start}");
            assert!(start.is_multiple_of(1 << order), "block {start} of order {order}");
            next = start + (1 << order);
        }
        assert_eq!(next as usize, buddy.units.len());
        for (start, order) in &free {
            let other = (start ^ (1 << order), *order);
            assert!(!free.contains(&other), "{start} and its buddy of order {order} are both free");
        }
    }

    /// Whether an aligned run of `2^order` units has no lent unit.
    fn has_room(units: u32, lent: &BTreeMap<u32, usize>, order: usize) -> bool {
        let size = 1_u32 << order;
        (0..units / size)
            .map(|i| i * size)
            .any(|start| lent.iter().all(|(s, o)| s + (1 << o) <= start || *s >= start + size))
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Alloc(usize),
        /// Frees the n-th lent block.
        Free(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step =
            prop_oneof![(0..6_usize).prop_map(Step::Alloc), (0..64_usize).prop_map(Step::Free)];
        prop::collection::vec(step, 0..120)
    }

    proptest! {
        /// Any history of loans and returns: blocks tile the pool, an allocation fails only when
        /// there is no aligned room at all, and when all is back the pool is as it was at first.
        #[test]
        fn blocks_tile_the_pool_and_join_again(units in 1..200_u32, steps in steps()) {
            let mut buddy = Buddy::new(units);
            let fresh = buddy.free_blocks();
            let mut lent = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Alloc(order) => {
                        let room = has_room(units, &lent, order);
                        let start = buddy.alloc(order);
                        prop_assert_eq!(start.is_some(), room);
                        if let Some(start) = start {
                            prop_assert_eq!(buddy.order_of(start), order);
                            lent.insert(start, order);
                        }
                    }
                    Step::Free(n) => {
                        if let Some(start) = lent.keys().nth(n).copied() {
                            lent.remove(&start);
                            buddy.free(start);
                        }
                    }
                }
                check(&buddy, &lent);
            }
            for start in lent.keys() {
                buddy.free(*start);
            }
            prop_assert_eq!(buddy.free_blocks(), fresh);
        }
    }

    #[test]
    fn a_new_pool_is_the_fewest_blocks() {
        assert_eq!(Buddy::new(16).free_blocks(), [(0, 4)]);
        assert_eq!(Buddy::new(13).free_blocks(), [(0, 3), (8, 2), (12, 0)]);
        assert_eq!(Buddy::new(0).free_blocks(), []);
    }

    #[test]
    fn the_order_is_that_of_the_smallest_block_that_suffices() {
        assert_eq!([0, 1, 2, 3, 4, 5, 512].map(order_for), [0, 0, 1, 2, 2, 3, 9]);
        assert_eq!(order_for(usize::MAX >> 12), 52);
    }

    #[test]
    fn an_order_that_no_pool_has_is_refused() {
        let mut buddy = Buddy::new(16);
        assert_eq!(buddy.alloc(5), None);
        assert_eq!(buddy.alloc(52), None);
        assert_eq!(buddy.alloc(4), Some(0));
    }

    #[test]
    #[should_panic(expected = "unit 0 is not the start of a lent block")]
    fn giving_back_twice_is_noticed() {
        let mut buddy = Buddy::new(4);
        let start = buddy.alloc(0).expect("a unit");
        buddy.free(start);
        buddy.free(start);
    }
}
