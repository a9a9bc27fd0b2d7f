//! The command slots of a connection.
//!
//! Invariant: a slot is in the list of free ones exactly if it is [`Slot::Free`].

use nvme::Sgl;

use super::Tag;

/// Where a command is. See the diagram of `connection`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    Free,
    /// The shell has to say what it moves.
    Deciding {
        cid: u16,
        sgl: Sgl,
        in_capsule_bytes: u32,
    },
    /// Its data is coming.
    Receiving {
        cid: u16,
        len_bytes: u32,
        /// Of PDUs that are complete.
        received_bytes: u32,
        /// With R2T.
        asked: bool,
        /// A data digest was wrong.
        garbled: bool,
    },
    /// The shell has it.
    Executing {
        cid: u16,
        to_host_bytes: u32,
    },
    /// Its answer is in the outbox.
    Responding,
}

impl Slot {
    pub(super) fn receiving(cid: u16, len_bytes: u32, asked: bool) -> Self {
        Self::Receiving { cid, len_bytes, received_bytes: 0, asked, garbled: false }
    }
}

#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<Tag>,
}

impl Slots {
    pub(super) fn new(count: u16) -> Self {
        let mut slots = Self { slots: Vec::new(), free: Vec::new() };
        slots.grow(count);
        slots
    }

    /// At least `count` slots.
    pub(super) fn grow(&mut self, count: u16) {
        let old = self.len();
        if count > old {
            self.slots.resize(usize::from(count), Slot::Free);
            self.free.reserve(usize::from(count) - self.free.len());
            // The lowest is taken first.
            self.free.splice(0..0, (old..count).rev());
        }
    }

    pub(super) fn len(&self) -> u16 {
        self.slots.len() as u16
    }

    pub(super) fn get(&self, tag: Tag) -> Slot {
        self.slots[usize::from(tag)]
    }

    /// The same for a tag that a host sent.
    pub(super) fn find(&self, tag: Tag) -> Option<Slot> {
        self.slots.get(usize::from(tag)).copied()
    }

    pub(super) fn set(&mut self, tag: Tag, slot: Slot) {
        self.slots[usize::from(tag)] = slot;
    }

    pub(super) fn take(&mut self, slot: Slot) -> Option<Tag> {
        let tag = self.free.pop()?;
        self.set(tag, slot);
        Some(tag)
    }

    pub(super) fn free(&mut self, tag: Tag) {
        debug_assert_ne!(self.get(tag), Slot::Free);
        self.set(tag, Slot::Free);
        self.free.push(tag);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Whether data has been asked for and is not there.
    pub(super) fn asks(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Receiving { asked: true, .. }))
    }

    pub(super) fn free_all_but_executing(&mut self, released: &mut impl FnMut(Tag)) {
        for tag in 0..self.len() {
            match self.get(tag) {
                Slot::Free | Slot::Executing { .. } => {}
                Slot::Deciding { .. } | Slot::Receiving { .. } | Slot::Responding => {
                    self.free(tag);
                    released(tag);
                }
            }
        }
    }
}
