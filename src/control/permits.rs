//! Arrays that share a device take turns with their background actions (md: "delaying resync of X until
//! Y has finished (they share one or more physical units)").
//!
//! ```text
//!   array waits for its permit --event--> monitor --> who shares what, who works, who waits
//!                                                          |
//!                    withheld first, then granted <-- permits (pure)
//! ```
//!
//! An array that shares no device always has its permit. One that does has it while it works, and gets it
//! when it waits and nobody with whom it shares works or waits in front of it. What is necessary goes
//! before what was asked for: rebuilds, resyncs, then checks and repairs; otherwise who waited first goes
//! first. So the granted ones never share, the first in the queue is never held up by those behind it,
//! and an array that is idle or frozen is in nobody's way.
//!
//! The monitor looks at the state of the arrays and not at events only, so that a lost event costs a tenth
//! of a second and no more.
//!
//! The arrays of mapped devices take part, under the names of their devices.
//!
//! Not here: standing still without a permit (`raid::coordinator`). Devices that are one in ways that bdevs
//! do not show, such as two files on one disk, are not known to be shared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::raid::coordinator::{Action, Permit};
use ::raid::event::WorkKind;
use array::RaidBdev;

use super::notices::{NoticeKind, action_word};
use super::registry::{Claim, Entry, Registry};
use super::{Control, State};

/// What an array does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Nothing, and wants nothing.
    Nothing,
    /// It waits, since this number.
    Waiting { kind: WorkKind, since: u64 },
    /// It works.
    Working,
}

#[derive(Debug, Clone)]
struct Contender {
    /// What it stands on, by number.
    devices: BTreeSet<usize>,
    doing: Doing,
}

impl Contender {
    fn shares(&self, other: &Self) -> bool {
        !self.devices.is_disjoint(&other.devices)
    }

    /// Its place in the queue: who works, then who waits. Nothing for who wants nothing.
    fn place(&self) -> Option<(u8, u64)> {
        match self.doing {
            Doing::Nothing => None,
            Doing::Working => Some((0, 0)),
            Doing::Waiting { kind, since } => Some(match kind {
                WorkKind::Rebuild => (1, since),
                WorkKind::Resync => (2, since),
                WorkKind::Check | WorkKind::Repair => (3, since),
            }),
        }
    }
}

/// What is decided for one array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    Granted,
    /// Withheld; of an array that waits, until this one is done.
    Withheld {
        behind: Option<usize>,
    },
}

fn is_alone(arrays: &[Contender], me: usize) -> bool {
    (0..arrays.len()).all(|at| at == me || !arrays[me].shares(&arrays[at]))
}

/// Who may work.
fn permits(arrays: &[Contender]) -> Vec<Decision> {
    let mut decisions: Vec<Decision> = (0..arrays.len())
        .map(|me| {
            if is_alone(arrays, me) {
                Decision::Granted
            } else {
                Decision::Withheld { behind: None }
            }
        })
        .collect();
    let mut queue: Vec<_> =
        (0..arrays.len()).filter_map(|at| Some((arrays[at].place()?, at))).collect();
    queue.sort_unstable();
    for (place, &(_, me)) in queue.iter().enumerate() {
        let in_front = queue[..place].iter().map(|&(_, at)| at);
        let behind = in_front.into_iter().find(|&at| arrays[me].shares(&arrays[at]));
        decisions[me] = match behind {
            None => Decision::Granted,
            Some(_) => Decision::Withheld { behind },
        };
    }
    decisions
}

/// Which array: what mapped devices call theirs is no bdev's name, and may be one all the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// The bdev of that name.
    Bdev(String),
    /// That of a mapped device.
    Mapped(String),
}

/// An array that may want to work.
struct Candidate {
    who: Who,
    /// As users know it.
    name: String,
    raid: Arc<RaidBdev>,
    /// What it stands on, by number.
    devices: BTreeSet<usize>,
}

/// Who waits for whom.
#[derive(Debug, Default)]
pub(super) struct Queue {
    next: u64,
    /// By the array that waits: since when, and behind which.
    waiting: BTreeMap<Who, (u64, Option<String>)>,
    /// What arrays were told last. They begin without a permit.
    told: BTreeMap<Who, Permit>,
}

impl Queue {
    /// That array is a new one.
    pub(super) fn forget(&mut self, who: &Who) {
        self.waiting.remove(who);
        self.told.remove(who);
    }

    /// The array that has to finish first before a background action of this one goes on.
    pub(super) fn behind(&self, who: &Who) -> Option<String> {
        self.waiting.get(who)?.1.clone()
    }

    fn tell(&mut self, who: &Who, raid: &RaidBdev, permit: Permit) {
        let told = self.told.insert(who.clone(), permit);
        if told.unwrap_or(Permit::Withheld) != permit {
            raid.set_permit(permit);
        }
    }

    fn since(&mut self, who: &Who) -> u64 {
        let next = self.next;
        let (since, _) = self.waiting.entry(who.clone()).or_insert((next, None));
        self.next += u64::from(*since == next);
        *since
    }
}

impl Control {
    /// Looks who may work in the background, and tells the arrays.
    pub(super) fn arrange_permits(&self, state: &mut State) {
        let arrays = candidates(&state.registry);
        let mut contenders: Vec<Contender> = arrays
            .iter()
            .map(|array| Contender { devices: array.devices.clone(), doing: Doing::Nothing })
            .collect();
        for (at, array) in arrays.iter().enumerate() {
            if is_alone(&contenders, at) {
                // It is not asked: it may, whatever it does.
                continue;
            }
            contenders[at].doing = match array.raid.action() {
                Action::Idle | Action::Frozen => Doing::Nothing,
                Action::Running(_) => Doing::Working,
                Action::Delayed(kind) => {
                    Doing::Waiting { kind, since: state.queue.since(&array.who) }
                }
            };
        }
        let decisions = permits(&contenders);
        // Taken back first, so that no two have one.
        for permit in [Permit::Withheld, Permit::Granted] {
            for (decision, array) in decisions.iter().zip(&arrays) {
                if (*decision == Decision::Granted) == (permit == Permit::Granted) {
                    state.queue.tell(&array.who, &array.raid, permit);
                }
            }
        }
        for ((decision, contender), array) in decisions.iter().zip(&contenders).zip(&arrays) {
            match (decision, contender.doing) {
                (Decision::Withheld { behind: Some(other) }, Doing::Waiting { kind, .. }) => {
                    self.note_delay(state, array, kind, &arrays[*other].name);
                }
                _ => {
                    state.queue.waiting.remove(&array.who);
                }
            }
        }
        let is_there = |who: &Who| arrays.iter().any(|array| array.who == *who);
        state.queue.waiting.retain(|who, _| is_there(who));
        state.queue.told.retain(|who, _| is_there(who));
    }

    fn note_delay(&self, state: &mut State, array: &Candidate, kind: WorkKind, other: &str) {
        let Some((_, behind)) = state.queue.waiting.get_mut(&array.who) else { return };
        if behind.as_deref() == Some(other) {
            return;
        }
        *behind = Some(other.to_owned());
        let word = action_word(kind);
        let detail = format!("{word} waits until {other} has finished: they share a device");
        self.notices.push(NoticeKind::RaidSyncDelayed, &array.name, Some(detail));
    }

    /// The array that has to finish first before a background action of this one, a bdev, goes on.
    pub fn delayed_behind(&self, array: &str) -> Option<String> {
        self.state().queue.behind(&Who::Bdev(array.to_owned()))
    }
}

/// Every array that runs: those that are bdevs, and those of mapped devices.
fn candidates(registry: &Registry) -> Vec<Candidate> {
    let units = units(registry);
    let mut all = Vec::new();
    for entry in registry.entries() {
        let name = entry.name();
        if let Some(raid) = entry.raid() {
            let devices = units.get(&name).cloned().unwrap_or_default();
            let (who, raid) = (Who::Bdev(name.clone()), Arc::clone(raid));
            all.push(Candidate { who, name, raid, devices });
        } else if let Some(device) = entry.mapped() {
            for (array, raid, members) in device.running_arrays() {
                let parts = members.iter().filter_map(|member| units.get(member));
                let devices = parts.flatten().copied().collect();
                all.push(Candidate { who: Who::Mapped(array), name: name.clone(), raid, devices });
            }
        }
    }
    all
}

/// The bdevs at the bottom of every bdev, by number, by name.
fn units(registry: &Registry) -> BTreeMap<String, BTreeSet<usize>> {
    let mut below: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, entry) in registry.entries().iter().enumerate() {
        match &entry.claim {
            Some(Claim::Member(membership)) => below.entry(&membership.array).or_default().push(at),
            Some(Claim::Base { above, .. }) => below.entry(above).or_default().push(at),
            Some(Claim::Split { parts }) => {
                parts.iter().for_each(|part| below.entry(part).or_default().push(at));
            }
            Some(Claim::Mapped { devices, .. }) => {
                devices.iter().for_each(|above| below.entry(above).or_default().push(at));
            }
            Some(
                Claim::Log { .. } | Claim::Spare { .. } | Claim::Namespace { .. } | Claim::Removal,
            )
            | None => {}
        }
    }
    // What a bdev is made of came before it, so that one walk in the order of creation meets the bottom
    // first; but a mapped device may have got a table of what is younger, and is met again.
    let mut found: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let entries: &[Entry] = registry.entries();
    let mut left: Vec<usize> = (0..entries.len()).collect();
    loop {
        let before = left.len();
        left.retain(|&at| {
            let name = entries[at].name();
            let parts = below.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            let bottoms = match parts {
                [] => Some(BTreeSet::from([at])),
                parts => {
                    let parts = parts.iter().map(|&part| found.get(&entries[part].name()));
                    parts
                        .collect::<Option<Vec<_>>>()
                        .map(|all| all.into_iter().flatten().copied().collect())
                }
            };
            let known = bottoms.is_some();
            found.extend(bottoms.map(|bottoms| (name, bottoms)));
            !known
        });
        // Nothing is made of itself.
        if left.is_empty() || left.len() == before {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Doing; 5] = [
        Doing::Nothing,
        Doing::Working,
        Doing::Waiting { kind: WorkKind::Rebuild, since: 0 },
        Doing::Waiting { kind: WorkKind::Resync, since: 0 },
        Doing::Waiting { kind: WorkKind::Check, since: 0 },
    ];

    /// Every way in which `count` arrays stand on some of three devices, do something, and wait in some
    /// order.
    fn all(count: usize, mut look: impl FnMut(&[Contender])) {
        let options = 7 * KINDS.len();
        for code in 0..options.pow(count as u32) {
            let mut rest = code;
            let mut arrays = Vec::new();
            for at in 0..count {
                let (devices, doing) = (1 + rest % 7, KINDS[rest / 7 % KINDS.len()]);
                rest /= options;
                let doing = match doing {
                    // Later ones came first, so that the order of the list is not that of the queue.
                    Doing::Waiting { kind, .. } => {
                        Doing::Waiting { kind, since: (count - at) as u64 }
                    }
                    doing => doing,
                };
                let devices = (0..3).filter(|bit| devices >> bit & 1 == 1).collect();
                arrays.push(Contender { devices, doing });
            }
            look(&arrays);
        }
    }

    fn granted(decisions: &[Decision]) -> Vec<usize> {
        (0..decisions.len()).filter(|&at| decisions[at] == Decision::Granted).collect()
    }

    /// Goal: of arrays that share, one works; whoever waits is behind somebody who works or waits in front
    /// of it and shares with it; whoever works alone goes on; whoever shares with nobody may. Method: all
    /// cases of three arrays over three devices.
    #[test]
    fn those_that_share_never_work_together() {
        all(3, |arrays| {
            let decisions = permits(arrays);
            let granted = granted(&decisions);
            for &a in &granted {
                for &b in granted.iter().filter(|&&b| b != a) {
                    assert!(!arrays[a].shares(&arrays[b]), "{arrays:?} {decisions:?}");
                }
            }
            for (at, array) in arrays.iter().enumerate() {
                let others = || (0..arrays.len()).filter(move |&other| other != at);
                let alone = others().all(|other| !array.shares(&arrays[other]));
                let rival = |other: &usize| {
                    array.shares(&arrays[*other]) && arrays[*other].doing == Doing::Working
                };
                match (decisions[at], array.doing) {
                    (Decision::Granted, Doing::Nothing) => assert!(alone),
                    (Decision::Withheld { behind }, Doing::Nothing) => {
                        assert!(!alone && behind.is_none());
                    }
                    (Decision::Granted, _) => {}
                    (Decision::Withheld { behind }, doing) => {
                        let behind = behind.expect("somebody is in front");
                        assert!(array.shares(&arrays[behind]));
                        assert!(arrays[behind].place() <= array.place());
                        assert!(doing != Doing::Working || others().any(|o| rival(&o)));
                    }
                }
            }
        });
    }

    /// Goal: no deadlock and no starvation: everybody who works or waits has worked when at most as many
    /// have finished as there are arrays, one after the other, and the one in front of all is never
    /// overtaken. Method: all cases of three arrays; who works finishes, who is granted works.
    #[test]
    fn everybody_gets_a_turn() {
        all(3, |arrays| {
            let mut arrays = arrays.to_vec();
            let wanted = arrays.iter().filter(|array| array.doing != Doing::Nothing).count();
            for _ in 0..wanted {
                let granted = granted(&permits(&arrays));
                for &at in &granted {
                    if arrays[at].doing != Doing::Nothing {
                        arrays[at].doing = Doing::Working;
                    }
                }
                let again = self::granted(&permits(&arrays));
                assert_eq!(granted, again, "who works keeps the permit: {arrays:?}");
                let first = granted.iter().find(|&&at| arrays[at].doing == Doing::Working);
                arrays[*first.expect("somebody works")].doing = Doing::Nothing;
            }
            assert!(arrays.iter().all(|array| array.doing == Doing::Nothing), "{arrays:?}");
        });
    }
}
