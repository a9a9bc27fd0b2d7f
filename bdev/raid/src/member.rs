//! The members' states: one immutable generation of the array's map.
//!
//! ```text
//!              device fails             a device takes the slot        all of it recovered
//!   InSync --------------> Faulty ----------------------> Rebuilding -----------------> InSync
//!     |                      |                                |
//!     +--- taken out ---> Missing <------ taken out ----------+
//! ```
//!
//! A change is a new generation. Every shard is quiesced, is given the new one and goes on, so no two
//! shards ever act on different maps: a read that still trusts a member can then not miss a write that
//! already left it out (**R5**).
//!
//! Not here: why a member is lost, and making that durable (`coordinator`).

use crate::geometry::{Geometry, Rotation};
use crate::plan::{ROLE_P, ROLE_Q};
use crate::units::{Role, RoleSet, Slot, SlotSet};

/// State of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// Holds what it should: is read and written.
    InSync,
    /// Is written, and read where it has been recovered: in regions that are not stale.
    Rebuilding,
    /// Its device failed: neither read nor written.
    Faulty,
    /// There is no device: neither read nor written.
    Missing,
}

/// The states of all members, by slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberMap {
    generation: u64,
    states: Vec<MemberState>,
    missing: SlotSet,
    rebuilding: SlotSet,
}

impl MemberMap {
    /// Generation 1 of a map.
    #[must_use]
    pub fn new(states: Vec<MemberState>) -> Self {
        Self::with_generation(1, states)
    }

    fn with_generation(generation: u64, states: Vec<MemberState>) -> Self {
        let (mut missing, mut rebuilding) = (SlotSet::empty(), SlotSet::empty());
        for (slot, state) in (0u8..).zip(&states) {
            match state {
                MemberState::InSync => {}
                MemberState::Rebuilding => rebuilding.insert(Slot(slot)),
                MemberState::Faulty | MemberState::Missing => missing.insert(Slot(slot)),
            }
        }
        Self { generation, states, missing, rebuilding }
    }

    /// The next generation, with one member's state changed.
    #[must_use]
    pub fn with_state(&self, slot: Slot, state: MemberState) -> Self {
        self.with_states(SlotSet::single(slot), state)
    }

    /// The next generation, with the states of some members changed.
    #[must_use]
    pub fn with_states(&self, slots: SlotSet, state: MemberState) -> Self {
        let mut states = self.states.clone();
        for slot in slots.iter() {
            states[slot.index()] = state;
        }
        Self::with_generation(self.generation + 1, states)
    }

    /// Number of this generation, from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// State of a member.
    #[must_use]
    pub fn state(&self, slot: Slot) -> MemberState {
        self.states[usize::from(slot.0)]
    }

    /// The states by slot.
    #[must_use]
    pub fn states(&self) -> &[MemberState] {
        &self.states
    }

    /// Slots that are neither read nor written: without a device, or with one that failed.
    #[must_use]
    pub fn missing(&self) -> SlotSet {
        self.missing
    }

    /// Slots that are being rebuilt.
    #[must_use]
    pub fn rebuilding(&self) -> SlotSet {
        self.rebuilding
    }

    /// Slots that are written: with a device that works.
    #[must_use]
    pub fn writable(&self) -> SlotSet {
        SlotSet::first_n(self.states.len()).difference(self.missing)
    }

    /// Whether every member is in sync.
    #[must_use]
    pub fn is_optimal(&self) -> bool {
        self.missing.is_empty() && self.rebuilding.is_empty()
    }

    /// Whether more members are not in sync than `parity_strips` can stand for: nothing may be written
    /// any more, or what could be recovered later would be destroyed.
    #[must_use]
    pub fn is_broken(&self, parity_strips: usize) -> bool {
        self.missing.len() + self.rebuilding.len() > parity_strips
    }

    /// A set of members as roles of a stripe with the given rotation.
    #[must_use]
    pub fn roles_of(slots: SlotSet, geometry: &Geometry, rotation: Rotation) -> RoleSet {
        slots
            .iter()
            .map(|slot| match geometry.role(rotation, slot) {
                Role::Data(strip) => strip,
                Role::P => ROLE_P,
                Role::Q => ROLE_Q,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_follow_the_states() {
        use MemberState::{Faulty, InSync, Missing, Rebuilding};
        let map = MemberMap::new(vec![InSync, Faulty, Rebuilding, Missing]);
        assert_eq!(map.missing(), [Slot(1), Slot(3)].into_iter().collect());
        assert_eq!(map.rebuilding(), SlotSet::single(Slot(2)));
        assert_eq!(map.writable(), [Slot(0), Slot(2)].into_iter().collect());
        assert!(!map.is_optimal() && map.is_broken(2) && !map.is_broken(3));
        let next = map.with_states([Slot(1), Slot(2), Slot(3)].into_iter().collect(), InSync);
        assert!(next.is_optimal() && next.generation() == 2);
    }
}
