//! Which memory regions are registered with a ring, and under which slots of its buffer table.
//!
//! A registered ("fixed") buffer spares the kernel the pinning of its pages in every request. The
//! table is filled lazily: a region is registered when a request first uses it. A region longer
//! than 1 GiB takes several slots, since the kernel takes no longer buffers:
//!
//! ```text
//!   region 7, 2.5 GiB   |---- slot 3 ----|---- slot 4 ----|- slot 5 -|
//!   a request's buffer          ^ offset in the region / 1 GiB says which
//! ```
//!
//! When the kernel refuses (usually RLIMIT_MEMLOCK), that is said once, and from then on requests
//! name plain addresses. When a region is gone its slots are cleared; its id never comes back, so a
//! stale entry could not be used even for a moment.
//!
//! The table decides only; the system call is an argument, and `ring.rs` makes it.
//!
//! Invariant: a slot that `slot_of` names covers the buffer that it was asked about.
//!
//! Not here: mapping of memory (`reactor::memory`).

use std::io;
use std::sync::Arc;

use reactor::memory::{Region, RegionId};

use crate::limits::{BUFFER_SLOT_BYTES_MAX, BUFFER_SLOTS_MAX};

/// A change of the ring's table: these slots, from the first one on, take these pieces of memory.
/// An empty piece clears its slot.
pub(super) struct Update<'a> {
    /// First slot.
    pub(super) first_slot: u16,
    /// One piece per slot.
    pub(super) pieces: &'a [libc::iovec],
}

/// The table as the ring has it.
#[derive(Debug)]
pub(super) struct BufferTable {
    entries: Vec<Entry>,
    taken: Vec<bool>,
    complained: bool,
    generation: u64,
}

/// What became of one region.
#[derive(Debug)]
struct Entry {
    id: RegionId,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Registered { first_slot: u16, slots: u16 },
    Refused,
}

impl BufferTable {
    /// The table of a ring that has one, or of one that has none, which then registers nothing.
    pub(super) fn new(ring_has_table: bool) -> Self {
        let slots = if ring_has_table { BUFFER_SLOTS_MAX } else { 0 };
        Self {
            entries: Vec::new(),
            taken: vec![false; slots],
            complained: !ring_has_table,
            generation: 0,
        }
    }

    /// The slot that covers `len_bytes` at `offset_bytes` of the region; registers the region when
    /// it is new.
    #[inline]
    pub(super) fn slot_of(
        &mut self,
        id: RegionId,
        offset_bytes: usize,
        len_bytes: usize,
        regions: impl FnOnce() -> Vec<Arc<Region>>,
        update: impl FnOnce(Update<'_>) -> io::Result<()>,
    ) -> Option<u16> {
        let entry = match self.entries.iter().position(|entry| entry.id == id) {
            Some(at) => &self.entries[at],
            None => self.register(id, regions, update),
        };
        let State::Registered { first_slot, .. } = entry.state else { return None };
        let piece = offset_bytes / BUFFER_SLOT_BYTES_MAX;
        let last_piece = (offset_bytes + len_bytes - 1) / BUFFER_SLOT_BYTES_MAX;
        (piece == last_piece).then(|| first_slot + piece as u16)
    }

    #[cold]
    fn register(
        &mut self,
        id: RegionId,
        regions: impl FnOnce() -> Vec<Arc<Region>>,
        update: impl FnOnce(Update<'_>) -> io::Result<()>,
    ) -> &Entry {
        let state = match self.try_register(id, regions, update) {
            Ok(state) => state,
            Err(refused) => {
                if !self.complained {
                    self.complained = true;
                    tracing::warn!(
                        %refused,
                        "I/O buffers cannot be registered with io_uring; requests cost a little \
                         more: raise RLIMIT_MEMLOCK above the size of all buffers, or grant \
                         CAP_IPC_LOCK"
                    );
                }
                State::Refused
            }
        };
        self.entries.push(Entry { id, state });
        &self.entries[self.entries.len() - 1]
    }

    fn try_register(
        &mut self,
        id: RegionId,
        regions: impl FnOnce() -> Vec<Arc<Region>>,
        update: impl FnOnce(Update<'_>) -> io::Result<()>,
    ) -> io::Result<State> {
        let regions = regions();
        let region = regions
            .iter()
            .find(|region| region.id() == id)
            .ok_or_else(|| io::Error::other("the region is not mapped"))?;
        let pieces = pieces_of(region.as_ptr(), region.len_bytes());
        let first_slot = self
            .taken
            .windows(pieces.len())
            .position(|window| window.iter().all(|taken| !taken))
            .ok_or_else(|| io::Error::other("the ring's buffer table is full"))?;
        update(Update { first_slot: first_slot as u16, pieces: &pieces })?;
        self.taken[first_slot..first_slot + pieces.len()].fill(true);
        Ok(State::Registered { first_slot: first_slot as u16, slots: pieces.len() as u16 })
    }

    /// Clears the slots of regions that are gone. Cheap while no region has come or gone, which
    /// the generation tells.
    #[inline]
    pub(super) fn prune(
        &mut self,
        generation: u64,
        regions: impl FnOnce() -> Vec<Arc<Region>>,
        update: impl FnMut(Update<'_>) -> io::Result<()>,
    ) {
        if generation != self.generation {
            self.generation = generation;
            self.forget_all_but(&regions(), update);
        }
    }

    #[cold]
    fn forget_all_but(
        &mut self,
        regions: &[Arc<Region>],
        mut update: impl FnMut(Update<'_>) -> io::Result<()>,
    ) {
        let is_gone = |entry: &mut Entry| regions.iter().all(|region| region.id() != entry.id);
        for entry in self.entries.extract_if(.., is_gone) {
            let State::Registered { first_slot, slots } = entry.state else { continue };
            let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
            let pieces = vec![empty; usize::from(slots)];
            // A slot that could not be cleared keeps its pages pinned; it is not used again.
            match update(Update { first_slot, pieces: &pieces }) {
                Ok(()) => {
                    self.taken[usize::from(first_slot)..][..usize::from(slots)].fill(false);
                }
                Err(refused) => {
                    tracing::warn!(%refused, "memory could not be unregistered from io_uring");
                }
            }
        }
    }
}

/// Cuts a range of memory into what one slot can hold.
fn pieces_of(base: *mut u8, len_bytes: usize) -> Vec<libc::iovec> {
    (0..len_bytes)
        .step_by(BUFFER_SLOT_BYTES_MAX)
        .map(|at| libc::iovec {
            iov_base: base.wrapping_add(at).cast(),
            iov_len: (len_bytes - at).min(BUFFER_SLOT_BYTES_MAX),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ring's side: what is registered under each slot.
    #[derive(Default)]
    struct Kernel {
        slots: std::collections::BTreeMap<u16, (usize, usize)>,
        calls: usize,
    }

    impl Kernel {
        fn update(&mut self, update: &Update<'_>) -> io::Result<()> {
            self.calls += 1;
            for (slot, piece) in (update.first_slot..).zip(update.pieces) {
                match piece.iov_len {
                    0 => self.slots.remove(&slot),
                    len_bytes => self.slots.insert(slot, (piece.iov_base.addr(), len_bytes)),
                };
            }
            Ok(())
        }
    }

    /// Goal: a region is registered once, when first used, and cleared when gone; its slots are
    /// used again. Method: two regions against a kernel of our own.
    #[test]
    fn regions_come_and_go() {
        let mut kernel = Kernel::default();
        let mut table = BufferTable::new(true);
        let one = Region::map(1 << 16).unwrap();
        let other = Region::map(1 << 16).unwrap();
        let all = vec![Arc::clone(&one), Arc::clone(&other)];
        for round in 0..3 {
            for (region, slot) in [(&one, 0), (&other, 1)] {
                let found = table.slot_of(
                    region.id(),
                    4096 * round,
                    4096,
                    || all.clone(),
                    |update| kernel.update(&update),
                );
                assert_eq!(found, Some(slot));
                let registered = kernel.slots[&slot];
                assert_eq!(registered, (region.as_ptr().addr(), region.len_bytes()));
            }
        }
        assert_eq!(kernel.calls, 2);

        table.prune(1, || vec![Arc::clone(&other)], |update| kernel.update(&update));
        assert_eq!(kernel.slots.keys().copied().collect::<Vec<_>>(), [1]);
        table.prune(1, || panic!("the generation has not changed"), |_| Ok(()));
        let third = Region::map(1 << 16).unwrap();
        let found = table.slot_of(
            third.id(),
            0,
            4096,
            || vec![Arc::clone(&third)],
            |update| kernel.update(&update),
        );
        assert_eq!(found, Some(0));
    }

    /// Goal: a refusal costs one attempt per region and leaves plain addresses. Method: a kernel
    /// that always refuses, and a ring without a table.
    #[test]
    fn refusal_is_final() {
        let region = Region::map(1 << 16).unwrap();
        let mut attempts = 0;
        let mut table = BufferTable::new(true);
        for _ in 0..3 {
            let found = table.slot_of(
                region.id(),
                0,
                4096,
                || vec![Arc::clone(&region)],
                |_| {
                    attempts += 1;
                    Err(io::Error::from_raw_os_error(libc::ENOMEM))
                },
            );
            assert_eq!(found, None);
        }
        assert_eq!(attempts, 1);

        let mut table = BufferTable::new(false);
        let regions = || vec![Arc::clone(&region)];
        let found = table.slot_of(region.id(), 0, 4096, regions, |_| panic!("there is no table"));
        assert_eq!(found, None);
    }

    /// Goal: long regions are cut at 1 GiB, and a buffer across a cut is not taken for registered.
    #[test]
    fn long_regions_take_several_slots() {
        let base = std::ptr::without_provenance_mut::<u8>(1 << 40);
        let pieces = pieces_of(base, (5 << 30) / 2);
        let lengths: Vec<_> = pieces.iter().map(|piece| piece.iov_len).collect();
        assert_eq!(lengths, [1 << 30, 1 << 30, 1 << 29]);
        assert_eq!(pieces[2].iov_base.addr(), (1 << 40) + (2 << 30));

        let mut table = BufferTable::new(true);
        let region = Region::map(4096).unwrap();
        let state = State::Registered { first_slot: 3, slots: 3 };
        table.entries.push(Entry { id: region.id(), state });
        let mut slot_of = |offset_bytes, len_bytes| {
            table.slot_of(region.id(), offset_bytes, len_bytes, Vec::new, |_| Ok(()))
        };
        assert_eq!(slot_of(0, 1 << 30), Some(3));
        assert_eq!(slot_of(1 << 30, 4096), Some(4));
        assert_eq!(slot_of((1 << 30) - 4096, 8192), None);
    }
}
