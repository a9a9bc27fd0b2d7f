//! The command slots of a connection.
//!
//! Which identifiers are taken is looked up in chains, one for each remainder of the identifier: hosts that
//! count, or number their tags, have chains of one.
//!
//! Invariant: a slot is in the list of free ones exactly if it is [`Slot::Free`], and in the chain of its
//! identifier otherwise.

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

/// No slot.
const NONE: Tag = Tag::MAX;

#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<Tag>,
    /// The command identifier of a slot that is not free, and the next slot of its chain.
    named: Vec<(u16, Tag)>,
    /// The first slot of each chain. A power of two.
    chains: Vec<Tag>,
}

impl Slots {
    pub(super) fn new(count: u16) -> Self {
        let (slots, free) = (Vec::new(), Vec::new());
        let mut slots = Self { slots, free, named: Vec::new(), chains: Vec::new() };
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
            self.named.resize(usize::from(count), (0, NONE));
            self.chains = vec![NONE; usize::from(count).next_power_of_two()];
            for tag in 0..old {
                if self.get(tag) != Slot::Free {
                    self.link(tag);
                }
            }
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

    /// A slot for a command with that identifier.
    pub(super) fn take(&mut self, cid: u16, slot: Slot) -> Option<Tag> {
        let tag = self.free.pop()?;
        self.set(tag, slot);
        self.named[usize::from(tag)].0 = cid;
        self.link(tag);
        Some(tag)
    }

    pub(super) fn free(&mut self, tag: Tag) {
        debug_assert_ne!(self.get(tag), Slot::Free);
        self.set(tag, Slot::Free);
        self.free.push(tag);
        self.unlink(tag);
    }

    /// Whether another slot has the same identifier.
    pub(super) fn is_twice(&self, tag: Tag) -> bool {
        let (cid, mut next) = self.named[usize::from(tag)];
        // What has come last is the first of its chain, so the others are behind it.
        while next != NONE {
            let (other, after) = self.named[usize::from(next)];
            if other == cid {
                return true;
            }
            next = after;
        }
        false
    }

    fn chain(&self, tag: Tag) -> usize {
        usize::from(self.named[usize::from(tag)].0) & (self.chains.len() - 1)
    }

    fn link(&mut self, tag: Tag) {
        let chain = self.chain(tag);
        self.named[usize::from(tag)].1 = std::mem::replace(&mut self.chains[chain], tag);
    }

    fn unlink(&mut self, tag: Tag) {
        let (chain, after) = (self.chain(tag), self.named[usize::from(tag)].1);
        let mut at = self.chains[chain];
        if at == tag {
            self.chains[chain] = after;
            return;
        }
        while at != NONE {
            let next = &mut self.named[usize::from(at)].1;
            if *next == tag {
                *next = after;
                return;
            }
            at = *next;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an identifier is taken exactly while a slot has it. Method: every sequence of six steps of taking
    /// one of four identifiers, two of them in one chain, and freeing one of the slots, against a list; in the
    /// middle the slots grow.
    #[test]
    fn identifiers_are_taken_while_they_are() {
        const CIDS: [u16; 4] = [0, 1, 4, 0xfff8];
        const STEPS: u32 = 8;
        let slot = Slot::Executing { cid: 0, to_host_bytes: 0 };
        for script in 0..STEPS.pow(6) {
            let (mut slots, mut held) = (Slots::new(4), Vec::<(u16, Tag)>::new());
            let mut rest = script;
            for step in 0..6 {
                let choice = rest % STEPS;
                rest /= STEPS;
                if step == 3 {
                    slots.grow(8);
                }
                if choice < 4 {
                    let cid = CIDS[choice as usize];
                    let Some(tag) = slots.take(cid, slot) else {
                        assert_eq!(held.len(), usize::from(slots.len()));
                        continue;
                    };
                    let known = held.iter().any(|(other, _)| *other == cid);
                    assert_eq!(slots.is_twice(tag), known, "{script}: {cid} of {held:?}");
                    held.push((cid, tag));
                } else if let Some(at) = (choice as usize - 4).checked_rem(held.len()) {
                    slots.free(held.remove(at).1);
                }
            }
            held.drain(..).for_each(|(_, tag)| slots.free(tag));
            assert!(slots.is_idle() && slots.chains.iter().all(|first| *first == NONE));
        }
    }
}
