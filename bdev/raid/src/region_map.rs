//! A map from region numbers to small values: fixed capacity, no allocation after it is built.
//!
//! Not here: what the values mean (`lease`, `coordinator`).

use crate::slab::Slab;

const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Entry<T> {
    region: u64,
    value: T,
    next: u32,
}

/// Chained hash map with a fixed number of entries.
#[derive(Debug)]
pub struct RegionMap<T> {
    entries: Slab<Entry<T>>,
    heads: Vec<u32>,
}

impl<T> RegionMap<T> {
    /// An empty map for `capacity` regions.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            entries: Slab::new(capacity),
            heads: vec![NONE; capacity.next_power_of_two().max(1)],
        }
    }

    /// The value of a region.
    pub fn get_mut(&mut self, region: u64) -> Option<&mut T> {
        let index = self.find(region)?;
        Some(&mut self.entries[index].value)
    }

    /// Adds a region that is not in the map, or gives the value back when the map is full.
    ///
    /// # Errors
    /// The value, when there is no room.
    pub fn insert(&mut self, region: u64, value: T) -> Result<(), T> {
        debug_assert!(self.find(region).is_none(), "region {region} is in the map already");
        let bucket = self.bucket(region);
        let entry = Entry { region, value, next: self.heads[bucket] };
        self.heads[bucket] = self.entries.insert(entry).map_err(|entry| entry.value)?;
        Ok(())
    }

    /// Takes a region out.
    pub fn remove(&mut self, region: u64) -> Option<T> {
        let index = self.find(region)?;
        Some(self.unlink(index).value)
    }

    /// The entry at a position, for walks over the whole map; positions go from 0 to `capacity - 1`.
    #[must_use]
    pub fn at(&self, position: u32) -> Option<(u64, &T)> {
        self.entries.get(position).map(|entry| (entry.region, &entry.value))
    }

    /// Regions in the map.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether no region can be added.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.vacant() == 0
    }

    /// Most regions that it can hold.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        u32::try_from(self.entries.len() + self.entries.vacant()).expect("a small constant")
    }

    fn unlink(&mut self, index: u32) -> Entry<T> {
        let entry = self.entries.remove(index);
        let bucket = self.bucket(entry.region);
        if self.heads[bucket] == index {
            self.heads[bucket] = entry.next;
        } else {
            let mut at = self.heads[bucket];
            while self.entries[at].next != index {
                at = self.entries[at].next;
            }
            self.entries[at].next = entry.next;
        }
        entry
    }

    fn find(&self, region: u64) -> Option<u32> {
        let mut at = self.heads[self.bucket(region)];
        while at != NONE {
            let entry = &self.entries[at];
            if entry.region == region {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    fn bucket(&self, region: u64) -> usize {
        // Fibonacci hashing: neighbouring regions, the common case, fall into different buckets.
        let hash = region.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        usize::try_from(hash).expect("32 bits") & (self.heads.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Goal: the same as an ordered map of the same capacity.
        #[test]
        fn behaves_like_a_map(steps in proptest::collection::vec((0..12u64, 0..3u8, any::<u16>()), 0..200)) {
            let mut map = RegionMap::new(6);
            let mut model = BTreeMap::new();
            for (region, step, value) in steps {
                match step {
                    0 if !model.contains_key(&region) => {
                        let fits = model.len() < 6;
                        prop_assert_eq!(map.insert(region, value).is_ok(), fits);
                        if fits {
                            model.insert(region, value);
                        }
                    }
                    1 => prop_assert_eq!(map.remove(region), model.remove(&region)),
                    _ => prop_assert_eq!(map.get_mut(region), model.get_mut(&region)),
                }
                prop_assert_eq!((map.len(), map.is_full()), (model.len(), model.len() == 6));
            }
            let found: BTreeMap<u64, u16> =
                (0..map.capacity()).filter_map(|i| map.at(i)).map(|(r, &v)| (r, v)).collect();
            prop_assert_eq!(found, model);
        }
    }
}
