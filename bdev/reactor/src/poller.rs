//! [`Poller`]: what a reactor runs in every turn, and the order in which it does.
//!
//! Owns: pollers may come and go at any time, also from inside a poller. The list itself changes
//! only between the phases of a turn:
//!
//! ```text
//!   added, removed in ...      takes effect
//!   a message, between turns   before this turn polls
//!   a poll, a timer            added: before this turn unplugs; removed: at the end of the turn
//!   an unplug                  at the end of the turn
//! ```
//!
//! Not here: the turn itself (`turn`).

use crate::cx::Cx;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// Something that is polled once a turn. Lives on one reactor; need not be `Send`.
pub trait Poller {
    /// A name for logs and statistics.
    fn name(&self) -> &str;

    /// Does what there is to do and returns how much progress that was; 0 means idle. Must not
    /// block.
    fn poll(&mut self, cx: &mut Cx) -> usize;

    /// End of the turn: hands over what the turn has staged, for example by one system call. Runs
    /// every turn, in the reverse order of polling.
    fn unplug(&mut self, cx: &mut Cx) {
        let _ = cx;
    }

    /// Whether the reactor may sleep now as far as this poller knows. False while it has work in
    /// flight whose end nothing that is watched would announce.
    fn can_sleep(&self) -> bool {
        true
    }

    /// Where in the turn this poller belongs; asked once, when it is added. The default keeps the
    /// order of registration.
    fn layer(&self) -> Layer {
        Layer::Client
    }
}

/// Order of pollers within a turn. Polling goes up (completions first), unplugging goes down, so
/// that one turn carries a request from the client through the array into the engine's single
/// system call, whatever was registered first. Within a layer: in order of registration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Layer {
    /// Device engines.
    Engine,
    /// What sits on devices and is used by others: array shards, coordinators.
    Array,
    /// What brings requests in: sockets, load generators.
    Client,
}

/// Names a poller on its reactor; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PollerId(u64);

impl PollerId {
    /// The number behind it.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// A poller as others may see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PollerStats {
    /// Which it is.
    pub id: PollerId,
    /// Its name.
    pub name: String,
    /// How often it was polled.
    pub polls: u64,
    /// How often that was progress.
    pub busy_polls: u64,
}

/// The pollers of one reactor, in order of polling.
#[derive(Default)]
pub(crate) struct Pollers {
    entries: Vec<Entry>,
}

/// Changes that wait for a safe moment.
#[derive(Default)]
pub(crate) struct Changes {
    ids: u64,
    added: Vec<Entry>,
    removed: Vec<PollerId>,
    roster: BTreeMap<PollerId, Listed>,
}

/// What is known of a poller without touching it.
struct Listed {
    name: String,
    polls: Rc<Polls>,
}

/// Written by the turn only.
#[derive(Default)]
struct Polls {
    all: Cell<u64>,
    busy: Cell<u64>,
}

struct Entry {
    id: PollerId,
    layer: Layer,
    polls: Rc<Polls>,
    poller: Box<dyn Poller>,
}

impl Changes {
    pub(crate) fn add(&mut self, poller: Box<dyn Poller>) -> PollerId {
        self.ids += 1;
        let id = PollerId(self.ids);
        let polls = Rc::<Polls>::default();
        let listed = Listed { name: poller.name().to_owned(), polls: Rc::clone(&polls) };
        self.roster.insert(id, listed);
        self.added.push(Entry { id, layer: poller.layer(), polls, poller });
        id
    }

    pub(crate) fn remove(&mut self, id: PollerId) {
        self.roster.remove(&id);
        self.removed.push(id);
    }

    /// The pollers that are there, in the order of their coming.
    pub(crate) fn list(&self) -> Vec<PollerStats> {
        let view = |(id, listed): (&PollerId, &Listed)| PollerStats {
            id: *id,
            name: listed.name.clone(),
            polls: listed.polls.all.get(),
            busy_polls: listed.polls.busy.get(),
        };
        self.roster.iter().map(view).collect()
    }

    /// Drops the pollers that wait to be added, the last one first.
    pub(crate) fn clear(&mut self) {
        while self.added.pop().is_some() {}
    }
}

impl Pollers {
    /// Polls all of them and returns their progress.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Cx) -> usize {
        let mut sum = 0;
        for entry in &mut self.entries {
            let progress = entry.poller.poll(cx);
            entry.polls.all.set(entry.polls.all.get() + 1);
            entry.polls.busy.set(entry.polls.busy.get() + u64::from(progress > 0));
            sum += progress;
        }
        sum
    }

    /// Unplugs all of them, the last one first.
    #[inline]
    pub(crate) fn unplug(&mut self, cx: &mut Cx) {
        for entry in self.entries.iter_mut().rev() {
            entry.poller.unplug(cx);
        }
    }

    /// Whether none of them minds a sleep.
    pub(crate) fn can_sleep(&self) -> bool {
        self.entries.iter().all(|entry| entry.poller.can_sleep())
    }

    /// Takes new pollers in; returns how many.
    #[inline]
    pub(crate) fn admit(&mut self, changes: &mut Changes) -> usize {
        let count = changes.added.len();
        for entry in changes.added.drain(..) {
            let after = self.entries.partition_point(|other| other.layer <= entry.layer);
            tracing::debug!(poller = entry.poller.name(), "poller added");
            self.entries.insert(after, entry);
        }
        count
    }

    /// Drops what was removed; returns how many that were.
    #[inline]
    pub(crate) fn dismiss(&mut self, changes: &mut Changes) -> usize {
        if changes.removed.is_empty() {
            return 0;
        }
        let before = self.entries.len();
        for id in changes.removed.drain(..) {
            self.entries.retain(|entry| entry.id != id);
        }
        before - self.entries.len()
    }

    /// Drops all of them, the last one first.
    pub(crate) fn clear(&mut self) {
        while self.entries.pop().is_some() {}
    }
}

impl fmt::Debug for Pollers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| entry.poller.name())).finish()
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let added: Vec<_> = self.added.iter().map(|entry| entry.poller.name()).collect();
        f.debug_struct("Changes")
            .field("added", &added)
            .field("removed", &self.removed)
            .finish_non_exhaustive()
    }
}
