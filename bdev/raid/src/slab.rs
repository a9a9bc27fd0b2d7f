//! A table of fixed capacity with stable indexes: no allocation after it is built, full is an answer.
//!
//! Not here: ordering. Queues are made of links inside the entries (`queue`).

/// Fixed-capacity table; freed entries are reused, last freed first.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// An empty table for `capacity` entries.
    ///
    /// # Panics
    /// If `capacity` does not fit an index of 32 bits.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let last = u32::try_from(capacity).expect("capacities are small constants");
        Self { entries: (0..last).map(|_| None).collect(), free: (0..last).rev().collect() }
    }

    /// Stores `value`, or gives it back when the table is full.
    ///
    /// # Errors
    /// The value, when there is no free entry.
    pub fn insert(&mut self, value: T) -> Result<u32, T> {
        let Some(index) = self.free.pop() else { return Err(value) };
        self.entries[index as usize] = Some(value);
        Ok(index)
    }

    /// Takes an entry out.
    ///
    /// # Panics
    /// If there is none at `index`.
    pub fn remove(&mut self, index: u32) -> T {
        let value = self.entries[index as usize].take().expect("the entry is live");
        self.free.push(index);
        value
    }

    /// The entry at `index`, if it is live.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&T> {
        self.entries.get(index as usize)?.as_ref()
    }

    /// Number of live entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether no entry is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.entries.len()
    }

    /// The entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().flatten()
    }

    /// Number of entries that can still be inserted.
    #[must_use]
    pub fn vacant(&self) -> usize {
        self.free.len()
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        self.entries[index as usize].as_ref().expect("the entry is live")
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        self.entries[index as usize].as_mut().expect("the entry is live")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_gives_the_value_back_and_reuses_what_is_freed() {
        let mut slab = Slab::new(2);
        let a = slab.insert('a').unwrap();
        let b = slab.insert('b').unwrap();
        assert_eq!(slab.insert('c'), Err('c'));
        assert_eq!(slab.remove(a), 'a');
        assert_eq!((slab.len(), slab.vacant(), slab[b]), (1, 1, 'b'));
        assert_eq!(slab.insert('d'), Ok(a));
        assert_eq!(slab.get(a), Some(&'d'));
    }
}
