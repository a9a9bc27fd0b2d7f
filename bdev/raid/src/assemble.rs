//! Assembly: who belongs together, who may take part, and may it start.
//!
//! Superblocks that were found on bdevs go in, and what to do comes out; nothing is read or written
//! here. Invariants owned: **R8**, a stale member never comes back (`judge`, `history`), and
//! **R7**, an array that is dirty and degraded does not start silently (`start`).
//!
//! ```text
//!   candidates --group--> arrays
//!   one array  --assemble--> Incomplete: wait
//!                            Refusal: split, duplicate, too small, too few
//!                            Assembly --start--> how it starts, or a refusal
//!                                     --footing--> log, members' states, what to rebuild
//! ```
//!
//! The *freshest* superblock is the one of the highest event count; what it says of the others
//! holds. How a candidate is judged by it:
//!
//! | recorded there as | the candidate's own events | judgement |
//! |---|---|---|
//! | in sync, rebuilding | freshest - 1, or the freshest | takes its slot |
//! | in sync, rebuilding | fewer | stale: left out |
//! | faulty, missing | fewer than the update that declared it | left out; may come back by a rebuild |
//! | faulty, missing | as many or more, and in use by its own account | has a history of its own: split |
//! | not at all | any | replaced: left out |
//! | (carried by a spare) | any | spare |
//!
//! Why freshest - 1 is fresh: update k + 1 begins only after update k has finished on every member
//! in use, or declares the member on which it failed faulty (`superblock`, "Who writes it"). A
//! crash in the middle of update k leaves some members at k - 1, and nothing was done yet that
//! rests on k. Why a member that was declared faulty by update f has fewer events than f: that
//! update was not written to it. If it has them, it has run without those that declared it faulty.
//!
//! A split is also reported if the freshest was written by a crash that left it alone: then nothing
//! rests on it, but nothing here can know that. A question too many is better than data lost.
//!
//! Not here: finding the bdevs and reading them (crate `array`), the bytes (`superblock`).

mod footing;
mod history;
mod judge;
mod refusal;
mod start;
#[cfg(test)]
mod tests;

pub use footing::{Footing, LogAtHand, footing};
pub use judge::{LeftOut, Reason, Rebuild};
pub use refusal::{Refusal, Side};
pub use start::{LogFound, Start, StartRefusal, start};

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::superblock::{MemberRecordState, Superblock};
use crate::units::{Slot, SlotSet};
use judge::{Judged, Judgement};

/// A bdev on which a valid superblock was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Name of the bdev, which no other one has.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// What it carries.
    pub found: Superblock,
}

/// How long to wait, and what to put up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// More bdevs may still appear.
    Wait,
    /// Time is up: start with what is there, if the level allows.
    Degraded,
    /// As [`Degraded`](Self::Degraded), and the operator insists: of a split array the freshest
    /// side is kept.
    Force,
}

/// What the candidates of one array make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Members that the array last had in use are not there, and may still appear.
    Incomplete {
        /// Their slots.
        missing: SlotSet,
    },
    /// The array can be put together like this.
    Ready(Box<Assembly>),
}

/// An array that can be put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembly {
    /// The freshest superblock. Of several that say the same it is that of the lowest slot.
    pub superblock: Superblock,
    /// Who is in which slot.
    pub seats: Vec<Seat>,
    /// Candidates of this array that take no part, by name.
    pub left_out: Vec<LeftOut>,
    /// Indices of the candidates that are spares, by name.
    pub spares: Vec<usize>,
}

impl Assembly {
    /// Slots that nothing is read from as a matter of course: empty, or being rebuilt.
    #[must_use]
    pub fn missing(&self) -> SlotSet {
        slots_where(&self.seats, |seat| match seat {
            Seat::Taken { state: SeatState::InSync, .. } => false,
            Seat::Taken { state: SeatState::Rebuilding { .. }, .. } | Seat::Empty { .. } => true,
        })
    }

    /// Whether a member is missing or being rebuilt.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        !self.missing().is_empty()
    }
}

/// A slot of the array that is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seat {
    /// A candidate is in it.
    Taken {
        /// Its index.
        candidate: usize,
        /// Its state.
        state: SeatState,
    },
    /// Nobody is.
    Empty {
        /// Why not.
        vacancy: Vacancy,
    },
}

/// State of a member that takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeatState {
    /// Holds what it should.
    InSync,
    /// Its rebuild goes on.
    Rebuilding {
        /// Bytes of the component that are rebuilt.
        recovered_to_bytes: u64,
        /// Only regions that are dirty in the log are rebuilt.
        partial: bool,
    },
}

/// Why a slot is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vacancy {
    /// The array had a member in use here, and no candidate is it.
    NotFound,
    /// The array had a member in use here, and the candidate that is it was left out.
    LeftOut {
        /// Its index.
        candidate: usize,
    },
    /// The member has failed.
    Faulty {
        /// Number of the update that declared it.
        failed_at: u64,
    },
    /// The slot never had a member, or it was removed on purpose.
    Missing {
        /// Number of the update that declared it.
        since: u64,
    },
}

/// A candidate of the array in question, and its index among all.
#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    index: usize,
    candidate: &'a Candidate,
}

impl Entry<'_> {
    fn found(&self) -> &Superblock {
        &self.candidate.found
    }
}

/// The arrays that candidates belong to: indices by the array's UUID.
#[must_use]
pub fn group(candidates: &[Candidate]) -> BTreeMap<Uuid, Vec<usize>> {
    let mut arrays = BTreeMap::<_, Vec<_>>::new();
    for (index, candidate) in candidates.iter().enumerate() {
        arrays.entry(candidate.found.array_uuid).or_default().push(index);
    }
    arrays
}

/// Puts one array together from its candidates; those of other arrays are passed over. The order of
/// the candidates does not matter, except that results name them by index.
///
/// # Errors
/// Any [`Refusal`]. More patience helps against [`Refusal::TooFewMembers`] only, and
/// [`Patience::Force`] against [`Refusal::Split`] only.
pub fn assemble(
    array_uuid: Uuid,
    candidates: &[Candidate],
    patience: Patience,
) -> Result<Verdict, Refusal> {
    let mut ours: Vec<Entry<'_>> = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| candidate.found.array_uuid == array_uuid)
        .map(|(index, candidate)| Entry { index, candidate })
        .collect();
    ours.sort_by_key(|entry| &entry.candidate.name);
    refuse_duplicates(&ours)?;
    let Some((freshest, judged)) = history::settle(&ours) else {
        return Err(Refusal::NoSuperblock { array_uuid });
    };
    if patience != Patience::Force {
        history::refuse_split(freshest, &judged)?;
    }
    let assembly = seat(freshest, &judged)?;
    let awaited = slots_where(&assembly.seats, |seat| {
        matches!(seat, Seat::Empty { vacancy: Vacancy::NotFound | Vacancy::LeftOut { .. } })
    });
    if patience == Patience::Wait && !awaited.is_empty() {
        return Ok(Verdict::Incomplete { missing: awaited });
    }
    refuse_too_few(&assembly)?;
    Ok(Verdict::Ready(Box::new(assembly)))
}

/// Slots whose seats are of a kind.
fn slots_where(seats: &[Seat], is_so: impl Fn(&Seat) -> bool) -> SlotSet {
    (0..=u8::MAX).zip(seats).filter(|(_, seat)| is_so(seat)).map(|(slot, _)| Slot(slot)).collect()
}

/// Two candidates that are the same member cannot be told apart, not even by force.
fn refuse_duplicates(ours: &[Entry<'_>]) -> Result<(), Refusal> {
    let mut members = BTreeMap::<_, Vec<&Entry<'_>>>::new();
    for entry in ours {
        members.entry(entry.found().member_uuid).or_default().push(entry);
    }
    for (member_uuid, entries) in members {
        if let [first, _, ..] = entries.as_slice() {
            return Err(Refusal::Duplicate {
                array: first.found().array_name.clone(),
                member_uuid,
                names: entries.iter().map(|entry| entry.candidate.name.clone()).collect(),
            });
        }
    }
    Ok(())
}

/// Gives everyone the place that the judgement says.
fn seat(freshest: Entry<'_>, judged: &[Judged<'_>]) -> Result<Assembly, Refusal> {
    let superblock = freshest.found();
    let vacant = |state| Seat::Empty {
        vacancy: match state {
            MemberRecordState::InSync | MemberRecordState::Rebuilding { .. } => Vacancy::NotFound,
            MemberRecordState::Faulty { failed_at } => Vacancy::Faulty { failed_at },
            MemberRecordState::Missing { since } => Vacancy::Missing { since },
        },
    };
    let mut seats: Vec<_> = superblock.members.iter().map(|member| vacant(member.state)).collect();
    let (mut left_out, mut spares) = (Vec::new(), Vec::new());
    for Judged { entry, judgement } in judged {
        match judgement {
            Judgement::Seat { slot, state } => {
                refuse_too_small(superblock, *slot, entry)?;
                seats[slot.index()] = Seat::Taken { candidate: entry.index, state: *state };
            }
            Judgement::Spare => spares.push(entry.index),
            Judgement::Out(reason) => {
                let empty = Seat::Empty { vacancy: Vacancy::NotFound };
                if let Some(slot) = superblock.slot_of(entry.found().member_uuid)
                    && seats[slot.index()] == empty
                {
                    let vacancy = Vacancy::LeftOut { candidate: entry.index };
                    seats[slot.index()] = Seat::Empty { vacancy };
                }
                left_out.push(LeftOut {
                    candidate: entry.index,
                    name: entry.candidate.name.clone(),
                    reason: reason.clone(),
                });
            }
        }
    }
    Ok(Assembly { superblock: superblock.clone(), seats, left_out, spares })
}

fn refuse_too_small(superblock: &Superblock, slot: Slot, entry: &Entry<'_>) -> Result<(), Refusal> {
    let data_offset_bytes = superblock.members[slot.index()].data_offset_bytes;
    let needed_bytes = data_offset_bytes.saturating_add(superblock.shape.component_bytes);
    let size_bytes = entry.candidate.size_bytes;
    if size_bytes >= needed_bytes {
        return Ok(());
    }
    Err(Refusal::TooSmall {
        array: superblock.array_name.clone(),
        name: entry.candidate.name.clone(),
        slot,
        size_bytes,
        needed_bytes,
    })
}

/// Members that are being rebuilt count as missing.
fn refuse_too_few(assembly: &Assembly) -> Result<(), Refusal> {
    let Superblock { array_name, shape, members, .. } = &assembly.superblock;
    let missing = assembly.missing();
    if missing.len() <= shape.level.parity_count() {
        return Ok(());
    }
    Err(Refusal::TooFewMembers {
        array: array_name.clone(),
        present: members.len() - missing.len(),
        needed: members.len().saturating_sub(shape.level.parity_count()),
        missing,
    })
}
