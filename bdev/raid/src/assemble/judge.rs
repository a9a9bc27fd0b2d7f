//! One candidate against the freshest superblock: the table of `assemble`, and words for it.
//!
//! ```text
//!   who is it there?     -> spare, replaced, in another slot
//!   faulty or missing    -> left out, or with a history of its own
//!   another geometry     -> left out
//!   in sync, rebuilding  -> takes its slot, or is stale
//! ```
//!
//! Invariant owned: **R8**. What a member that comes back has missed is in the regions that are
//! dirty in the log, because bits are not cleared while it is away (R2); but only if it was
//! complete when it left, if it left when the array says it did, if it has not run without the others since,
//! and if the log is on a device and never failed. A log that is put in the place of another has to begin with every region dirty.
//!
//! Not here: candidates against each other (`history`).

use core::fmt;

use super::{Entry, SeatState};
use crate::superblock::{LogHealth, MemberRecord, MemberRecordState, Shape, Superblock};
use crate::units::Slot;

/// What becomes of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It takes its slot.
    Seat {
        /// The slot.
        slot: Slot,
        /// In which state.
        state: SeatState,
    },
    /// It is a spare.
    Spare,
    /// It is left out.
    Out(Reason),
}

/// A candidate and what becomes of it.
#[derive(Debug, Clone)]
pub(super) struct Judged<'a> {
    pub(super) entry: Entry<'a>,
    pub(super) judgement: Judgement,
}

/// A candidate that takes no part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its index.
    pub candidate: usize,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bdev {} {}", self.name, self.reason)
    }
}

/// How much of a member has to be rebuilt before it is in sync again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuild {
    /// The regions that are dirty in the log, if the log can still be read.
    DirtyRegions,
    /// Everything.
    All,
}

/// Why a candidate takes no part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It should have been in use, and has missed updates (R8).
    Stale {
        /// Its slot.
        slot: Slot,
        /// Its event count.
        events: u64,
        /// That of the freshest.
        freshest: u64,
    },
    /// It was declared faulty.
    Failed {
        /// Its slot.
        slot: Slot,
        /// Number of the update that declared it.
        failed_at: u64,
        /// Its event count.
        events: u64,
        /// What it takes to come back.
        rebuild: Rebuild,
    },
    /// It was removed on purpose.
    Removed {
        /// Its slot.
        slot: Slot,
        /// Number of the update that removed it.
        since: u64,
        /// Its event count.
        events: u64,
        /// What it takes to come back.
        rebuild: Rebuild,
    },
    /// The array does not know it: another device is in its slot.
    Replaced {
        /// The slot that was its.
        slot: Slot,
    },
    /// It says another slot than the array does.
    Moved {
        /// By its own account.
        own: Slot,
        /// By the array's.
        recorded: Slot,
    },
    /// Its geometry is not that of the array.
    OtherGeometry {
        /// As found.
        found: String,
        /// The array's.
        right: String,
    },
    /// It belongs to the side of a split array that was not kept.
    OtherHistory {
        /// Its event count.
        events: u64,
        /// That of the side that was kept.
        kept: u64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale { slot, events, freshest } => write!(
                f,
                "of slot {slot} is stale, at event {events} of {freshest}: all of it has to be \
                 rebuilt"
            ),
            Self::Failed { slot, failed_at, events, rebuild } => write!(
                f,
                "of slot {slot} was declared faulty at event {failed_at} and is at {events}: to come \
                 back, {rebuild}"
            ),
            Self::Removed { slot, since, events, rebuild } => write!(
                f,
                "of slot {slot} was removed at event {since} and is at {events}: to come back, \
                 {rebuild}"
            ),
            Self::Replaced { slot } => {
                write!(f, "was replaced: slot {slot} has another member now")
            }
            Self::Moved { own, recorded } => {
                write!(f, "is in slot {own} by its own account, but in {recorded} by the array's")
            }
            Self::OtherGeometry { found, right } => {
                write!(f, "has another geometry: {found}. Right is: {right}")
            }
            Self::OtherHistory { events, kept } => write!(
                f,
                "has a history of its own, at event {events}, and the one at event {kept} is kept: \
                 all of it has to be rebuilt"
            ),
        }
    }
}

impl fmt::Display for Rebuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DirtyRegions => "what is dirty in the log has to be rebuilt",
            Self::All => "all of it has to be rebuilt",
        })
    }
}

/// What becomes of a candidate that carries `found`, by what `freshest` says.
pub(super) fn judge(freshest: &Superblock, found: &Superblock) -> Judgement {
    let (slot, own) = match (freshest.slot_of(found.member_uuid), found.slot) {
        (None, None) => return Judgement::Spare,
        (None, Some(slot)) => return Judgement::Out(Reason::Replaced { slot }),
        (Some(slot), own) => (slot, own),
    };
    let state = freshest.members[slot.index()].state;
    match state {
        MemberRecordState::InSync => judge_in_use(freshest, found, slot, SeatState::InSync),
        MemberRecordState::Rebuilding { recovered_to_bytes, partial } => {
            let state = SeatState::Rebuilding { recovered_to_bytes, partial };
            judge_in_use(freshest, found, slot, state)
        }
        // A former member that was made a spare.
        MemberRecordState::Faulty { .. } | MemberRecordState::Missing { .. } if own.is_none() => {
            Judgement::Spare
        }
        MemberRecordState::Faulty { failed_at } => {
            let rebuild = rebuild(freshest, found, failed_at);
            let reason = Reason::Failed { slot, failed_at, events: found.events, rebuild };
            judge_out_of_use(freshest, found, failed_at, reason)
        }
        MemberRecordState::Missing { since } => {
            let rebuild = rebuild(freshest, found, since);
            let reason = Reason::Removed { slot, since, events: found.events, rebuild };
            judge_out_of_use(freshest, found, since, reason)
        }
    }
}

/// A candidate that the freshest has in use in `slot`. It may call itself a spare: the update that
/// gives it the slot has not reached it.
fn judge_in_use(
    freshest: &Superblock,
    found: &Superblock,
    slot: Slot,
    state: SeatState,
) -> Judgement {
    if let Some(reason) = misplaced(freshest, found) {
        return Judgement::Out(reason);
    }
    if found.events.saturating_add(1) < freshest.events {
        let (events, freshest) = (found.events, freshest.events);
        return Judgement::Out(Reason::Stale { slot, events, freshest });
    }
    Judgement::Seat { slot, state }
}

/// A candidate that update `declared_at` has put out of use.
fn judge_out_of_use(
    freshest: &Superblock,
    found: &Superblock,
    declared_at: u64,
    reason: Reason,
) -> Judgement {
    let in_use = own_record(found).is_some_and(|record| record.state.is_in_use());
    if in_use && found.events >= declared_at {
        return Judgement::Out(other_history(freshest, found));
    }
    Judgement::Out(misplaced(freshest, found).unwrap_or(reason))
}

pub(super) fn other_history(freshest: &Superblock, found: &Superblock) -> Reason {
    Reason::OtherHistory { events: found.events, kept: freshest.events }
}

/// The candidate's own account of itself.
fn own_record(found: &Superblock) -> Option<&MemberRecord> {
    found.members.get(found.slot?.index())
}

/// What a candidate that update `declared_at` has put out of use takes to come back.
fn rebuild(freshest: &Superblock, found: &Superblock, declared_at: u64) -> Rebuild {
    let log = freshest.log.as_ref();
    let has_log = log.is_some_and(|log| log.health == LogHealth::Alive);
    // One that was in the middle of its rebuild has never had what is not dirty; if only what was
    // dirty was rebuilt, that is dirty still.
    let was_complete = own_record(found).is_some_and(|record| match record.state {
        MemberRecordState::InSync | MemberRecordState::Rebuilding { partial: true, .. } => true,
        MemberRecordState::Rebuilding { partial: false, .. }
        | MemberRecordState::Faulty { .. }
        | MemberRecordState::Missing { .. } => false,
    });
    // In use until the update before, which may be the one that failed on it. With fewer events it
    // is an old copy, of a time from which bits may have been cleared since; with more it has a
    // history of its own, and nobody asks.
    let left_then = found.events.saturating_add(2) >= declared_at;
    let one_history = !ran_alone(freshest, found);
    match has_log && was_complete && left_then && one_history {
        true => Rebuild::DirtyRegions,
        false => Rebuild::All,
    }
}

/// Whether the last update of a candidate declares somebody lost of whom the freshest says no such thing. It may
/// be the first of a history of its own, in which case no log says what was written in it; its event count alone
/// does not tell, if it left in the middle of an update.
fn ran_alone(freshest: &Superblock, found: &Superblock) -> bool {
    let declared = |record: &MemberRecord| match record.state {
        MemberRecordState::Faulty { failed_at: update }
        | MemberRecordState::Missing { since: update } => Some(update),
        MemberRecordState::InSync | MemberRecordState::Rebuilding { .. } => None,
    };
    let mut records = found.members.iter().zip(&freshest.members);
    records.any(|(own, now)| declared(own) == Some(found.events) && declared(now) != declared(own))
}

/// Whether a candidate is in another slot than it says, or of another geometry.
fn misplaced(freshest: &Superblock, found: &Superblock) -> Option<Reason> {
    let recorded = freshest.slot_of(found.member_uuid)?;
    if let Some(own) = found.slot.filter(|own| *own != recorded) {
        return Some(Reason::Moved { own, recorded });
    }
    let right = &freshest.members[recorded.index()];
    // A spare does not know yet where its data will begin.
    let own = own_record(found).unwrap_or(right);
    let (found, right) = (describe(found, own), describe(freshest, right));
    (found != right).then_some(Reason::OtherGeometry { found, right })
}

/// The geometry as one member sees it.
fn describe(superblock: &Superblock, member: &MemberRecord) -> String {
    let Shape { level, layout, strip_bytes, block_size_bytes, component_bytes } = superblock.shape;
    format!(
        "{level} {layout}, {} members of {component_bytes} bytes from {} on, strips of {strip_bytes}, \
         blocks of {block_size_bytes}",
        superblock.members.len(),
        member.data_offset_bytes
    )
}
