//! The members' states: one immutable generation of the array's map.
//!
//! A change (a member is lost) is a new generation. Every shard is quiesced, is given the new one and
//! goes on, so no two shards ever act on different maps: a read that still trusts a member can then
//! not miss a write that already left it out (R5).
//!
//! Not here: why a member is lost, and making that durable.

use crate::geometry::{Geometry, Rotation};
use crate::plan::{ROLE_P, ROLE_Q};
use crate::units::{Role, RoleSet, Slot, SlotSet};

/// State of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// Holds what it should: is read and written.
    InSync,
    /// There is no device: neither read nor written.
    Missing,
}

/// The states of all members, by slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberMap {
    generation: u64,
    states: Vec<MemberState>,
    missing: SlotSet,
}

impl MemberMap {
    /// Generation 1 of a map.
    #[must_use]
    pub fn new(states: Vec<MemberState>) -> Self {
        Self::with_generation(1, states)
    }

    fn with_generation(generation: u64, states: Vec<MemberState>) -> Self {
        let mut missing = SlotSet::empty();
        for (slot, state) in (0u8..).zip(&states) {
            match state {
                MemberState::InSync => {}
                MemberState::Missing => {
                    missing.insert(Slot(slot));
                }
            }
        }
        Self { generation, states, missing }
    }

    /// The next generation, with one member's state changed.
    #[must_use]
    pub fn with_state(&self, slot: Slot, state: MemberState) -> Self {
        let mut states = self.states.clone();
        states[usize::from(slot.0)] = state;
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

    /// Slots without a device.
    #[must_use]
    pub fn missing(&self) -> SlotSet {
        self.missing
    }

    /// Whether every member is in sync.
    #[must_use]
    pub fn is_optimal(&self) -> bool {
        self.missing.is_empty()
    }

    /// The missing members as roles of a stripe with the given rotation.
    #[must_use]
    pub fn missing_roles(&self, geometry: &Geometry, rotation: Rotation) -> RoleSet {
        let mut roles = RoleSet::empty();
        for slot in self.missing.iter() {
            roles.insert(match geometry.role(rotation, slot) {
                Role::Data(strip) => strip,
                Role::P => ROLE_P,
                Role::Q => ROLE_Q,
            });
        }
        roles
    }
}
