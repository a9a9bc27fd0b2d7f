//! Candidates against each other: which superblock is the freshest, and did the array run in parts.
//!
//! ```text
//!   common history      .. 9 --- 10 --- 11 --- 12   m0 m1: "m2, m3 faulty at 10"    the freshest
//!                            \
//!                             -- 10 --- 11          m2 m3: "m0, m1 faulty at 10"    a split
//! ```
//!
//! An update has one content, whoever carries it. Two contents of one event count are therefore two
//! histories: at the highest count, and among those at the count before it that would take their
//! slots. Everyone else who has a history of its own is found by `judge`.
//!
//! Of several histories of one event count that one is kept which more members carry, then that of
//! the lowest slot, then that of the lowest member UUID: not because it is the better one, but
//! because the same candidates have to give the same array.
//!
//! Invariant owned: **R8**.

use std::cmp::Reverse;

use super::judge::{Judged, Judgement, Reason, judge, other_history};
use super::{Entry, Refusal, Side};
use crate::superblock::Superblock;
use crate::units::Slot;

/// The slot of a spare, for the order: after all others.
const NO_SLOT: Slot = Slot(u8::MAX);

/// The freshest candidate, and what becomes of everyone by it; `None` if there is no candidate.
pub(super) fn settle<'a>(ours: &[Entry<'a>]) -> Option<(Entry<'a>, Vec<Judged<'a>>)> {
    let top = ours.iter().map(|entry| entry.found().events).max()?;
    let sides = histories(ours.iter().filter(|entry| entry.found().events == top).copied());
    let (kept, others) = sides.split_first()?;
    let freshest = *kept.iter().min_by_key(|entry| entry.found().slot.unwrap_or(NO_SLOT))?;
    let judged_by = |entry: &Entry<'a>| Judged {
        entry: *entry,
        judgement: judge(freshest.found(), entry.found()),
    };
    let mut judged: Vec<Judged<'a>> = ours.iter().map(judged_by).collect();
    disown(&mut judged, others, freshest.found());
    let before = judged.iter().filter(|judged| {
        judged.entry.found().events < top && matches!(judged.judgement, Judgement::Seat { .. })
    });
    let sides = histories(before.map(|judged| judged.entry));
    disown(&mut judged, sides.get(1..).unwrap_or(&[]), freshest.found());
    Some((freshest, judged))
}

/// Who carries the same update: one or more each, in the order in which they are preferred.
fn histories<'a>(entries: impl Iterator<Item = Entry<'a>>) -> Vec<Vec<Entry<'a>>> {
    let mut sides: Vec<Vec<Entry<'a>>> = Vec::new();
    for entry in entries {
        let says_the_same = |side: &&mut Vec<Entry<'a>>| {
            side.first().is_some_and(|first| first.found().is_same_update(entry.found()))
        };
        match sides.iter_mut().find(says_the_same) {
            Some(side) => side.push(entry),
            None => sides.push(vec![entry]),
        }
    }
    sides.sort_by_key(|side| {
        let found = || side.iter().map(Entry::found);
        let members = found().filter(|superblock| superblock.slot.is_some()).count();
        let slot = found().map(|superblock| superblock.slot.unwrap_or(NO_SLOT)).min();
        let uuid = found().map(|superblock| superblock.member_uuid).min();
        // The highest count first: sides of several counts are listed in one message.
        let events = found().map(|superblock| superblock.events).max();
        (Reverse(events), Reverse(members), slot, uuid)
    });
    sides
}

/// Leaves out those whose history is not kept.
fn disown(judged: &mut [Judged<'_>], sides: &[Vec<Entry<'_>>], freshest: &Superblock) {
    for other in sides.iter().flatten() {
        if let Some(judged) = judged.iter_mut().find(|judged| judged.entry.index == other.index) {
            judged.judgement = Judgement::Out(other_history(freshest, other.found()));
        }
    }
}

/// A split array needs an operator's word.
pub(super) fn refuse_split(freshest: Entry<'_>, judged: &[Judged<'_>]) -> Result<(), Refusal> {
    let is_other = |judged: &&Judged<'_>| {
        matches!(judged.judgement, Judgement::Out(Reason::OtherHistory { .. }))
    };
    let others = histories(judged.iter().filter(is_other).map(|judged| judged.entry));
    if others.is_empty() {
        return Ok(());
    }
    let (array, events) = (freshest.found().array_name.clone(), freshest.found().events);
    let kept = judged
        .iter()
        .filter(|judged| !is_other(judged) && judged.entry.found().events == events)
        .map(|judged| judged.entry)
        .collect();
    let side = |entries: &Vec<Entry<'_>>| Side {
        events: entries.iter().map(|entry| entry.found().events).max().unwrap_or(0),
        names: entries.iter().map(|entry| entry.candidate.name.clone()).collect(),
    };
    let sides = std::iter::once(&kept).chain(&others).map(side).collect();
    Err(Refusal::Split { array, sides })
}
