//! Why an array is not put together, in words.
//!
//! ```text
//!   array a: what is wrong, with names and numbers: what would be right
//! ```
//!
//! Not here: why a candidate takes no part in an array that is (`judge`).

use uuid::Uuid;

use crate::units::{Slot, SlotSet};

/// Candidates that say the same of the array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// Their event count.
    pub events: u64,
    /// Their names, in order.
    pub names: Vec<String>,
}

/// Why an array is not put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no candidate.
    #[error("no bdev carries a superblock of array {array_uuid}")]
    NoSuperblock {
        /// The array that was asked for.
        array_uuid: Uuid,
    },
    /// Several candidates are the same member.
    #[error(
        "array {array}: bdevs {} all are member {member_uuid}, as copies of one device or paths to \
         it: leave one and hide the others",
        .names.join(", ")
    )]
    Duplicate {
        /// Name of the array.
        array: String,
        /// The member.
        member_uuid: Uuid,
        /// The candidates.
        names: Vec<String>,
    },
    /// Parts of the array have run without each other.
    #[error(
        "array {array} has run in parts without each other: {}. Wipe the superblocks of all sides \
         but one, or force to keep the first",
        describe(.sides)
    )]
    Split {
        /// Name of the array.
        array: String,
        /// Who says what; first the side that [`Force`](super::Patience::Force) keeps.
        sides: Vec<Side>,
    },
    /// A member has shrunk.
    #[error(
        "array {array}: bdev {name} of {size_bytes} bytes is too small for slot {slot}, which needs \
         {needed_bytes}"
    )]
    TooSmall {
        /// Name of the array.
        array: String,
        /// The candidate.
        name: String,
        /// Its slot.
        slot: Slot,
        /// Its size.
        size_bytes: u64,
        /// Bytes that the array needs there, what comes before its data included.
        needed_bytes: u64,
    },
    /// More members are missing than there are parities.
    #[error(
        "array {array}: {present} members are in sync, but {needed} are needed; missing or not \
         rebuilt: {}",
        slots(*.missing)
    )]
    TooFewMembers {
        /// Name of the array.
        array: String,
        /// Members in sync that are there.
        present: usize,
        /// Members that are needed.
        needed: usize,
        /// Slots that are empty or being rebuilt.
        missing: SlotSet,
    },
}

/// `m0, m1 at event 7 against m2 at event 6`.
fn describe(sides: &[Side]) -> String {
    let side = |side: &Side| format!("{} at event {}", side.names.join(", "), side.events);
    sides.iter().map(side).collect::<Vec<_>>().join(" against ")
}

/// `slot 1`, `slots 1, 2`.
pub(super) fn slots(set: SlotSet) -> String {
    let word = if set.len() == 1 { "slot" } else { "slots" };
    let numbers: Vec<_> = set.iter().map(|slot| slot.to_string()).collect();
    format!("{word} {}", numbers.join(", "))
}
