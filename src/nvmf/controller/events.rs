//! Asynchronous events: what is held, what is due, what has been told (Base, 5.2).
//!
//! Invariant: an event that was told is told again only after its log page was read without RAE.

use nvme::log::Event;
use nvme::{Sqe, Status};

use super::Kind;
use crate::nvmf::connection::{Completion, Tag};
use crate::nvmf::limits::{ASYNC_EVENTS_MAX, NAMESPACES_BOUND};

/// The changed namespace list names one for all (Base, 5.16.1.5).
pub(super) const TOO_MANY: u32 = 0xffff_ffff;

/// Bits of the configuration that are of critical warnings.
const CRITICAL_WARNINGS: u32 = 0xff;

#[derive(Debug)]
pub(super) struct Events {
    /// Requests that wait: tag, command identifier. The oldest first.
    held: Vec<(Tag, u16)>,
    /// Requests that were aborted.
    aborted: Vec<Tag>,
    /// Bits of [`Event::config_bit`]: supported, wanted, not told yet, told and not read.
    supported: u32,
    config: u32,
    due: u32,
    told: u32,
    /// In order, each once.
    changed: Vec<u32>,
}

impl Events {
    pub(super) fn new(kind: Kind, ana_reporting: bool) -> Self {
        let of = |events: &[Event]| events.iter().fold(0, |bits, event| bits | event.config_bit());
        let supported = match kind {
            Kind::Discovery => of(&[Event::DiscoveryChanged]),
            Kind::Io if ana_reporting => {
                of(&[Event::ReliabilityDegraded, Event::NamespaceChanged, Event::AnaChanged])
            }
            Kind::Io => of(&[Event::ReliabilityDegraded, Event::NamespaceChanged]),
        };
        Self {
            held: Vec::with_capacity(ASYNC_EVENTS_MAX),
            aborted: Vec::with_capacity(ASYNC_EVENTS_MAX),
            supported,
            config: 0,
            due: 0,
            told: 0,
            changed: Vec::new(),
        }
    }

    /// OAES.
    pub(super) fn supported(&self) -> u32 {
        self.supported & !CRITICAL_WARNINGS
    }

    pub(super) fn config(&self) -> u32 {
        self.config
    }

    /// Asynchronous Event Configuration: what is not supported cannot be had. Bits 7:0 are those of critical
    /// warnings; all are kept, and of one there is news.
    pub(super) fn set_config(&mut self, config: u32) {
        self.config = config & (self.supported | CRITICAL_WARNINGS);
    }

    pub(super) fn hold(&mut self, tag: Tag, cid: u16) -> Result<(), Status> {
        if self.held.len() == ASYNC_EVENTS_MAX {
            return Err(Status::ASYNC_EVENT_LIMIT);
        }
        self.held.push((tag, cid));
        Ok(())
    }

    /// Abort: only requests that are held can be (Base, 5.1: the result's bit 0 is 1 if nothing was).
    pub(super) fn abort(&mut self, sqe: &Sqe) -> Completion {
        let (sq_id, cid) = (sqe.cdw10 as u16, (sqe.cdw10 >> 16) as u16);
        let found = self.held.iter().position(|held| sq_id == 0 && held.1 == cid);
        match found {
            Some(at) => {
                self.aborted.push(self.held.remove(at).0);
                Completion::result(0)
            }
            None => Completion::result(1),
        }
    }

    pub(super) fn next(&mut self) -> Option<(Tag, Completion)> {
        if let Some(tag) = self.aborted.pop() {
            return Some((tag, Completion::of(Status::ABORT_REQUESTED)));
        }
        let wanted = self.due & self.config & !self.told;
        let event = Event::ALL.into_iter().find(|event| wanted & event.config_bit() != 0)?;
        if self.held.is_empty() {
            return None;
        }
        let (tag, _) = self.held.remove(0);
        self.due &= !event.config_bit();
        self.told |= event.config_bit();
        Some((tag, Completion::result(u64::from(event.result()))))
    }

    pub(super) fn take_held(&mut self) -> Vec<Tag> {
        self.aborted.drain(..).chain(self.held.drain(..).map(|held| held.0)).collect()
    }

    pub(super) fn namespaces_changed(&mut self, nsids: &[u32]) {
        for nsid in nsids {
            if let Err(at) = self.changed.binary_search(nsid)
                && self.changed.first() != Some(&TOO_MANY)
            {
                self.changed.insert(at, *nsid);
            }
        }
        if self.changed.len() > NAMESPACES_BOUND as usize {
            self.changed.clear();
            self.changed.push(TOO_MANY);
        }
        if !nsids.is_empty() {
            self.raise(Event::NamespaceChanged);
        }
    }

    pub(super) fn reliability_degraded(&mut self) {
        self.raise(Event::ReliabilityDegraded);
    }

    pub(super) fn ana_changed(&mut self) {
        self.raise(Event::AnaChanged);
    }

    pub(super) fn discovery_changed(&mut self) {
        self.raise(Event::DiscoveryChanged);
    }

    fn raise(&mut self, event: Event) {
        self.due |= event.config_bit() & self.supported;
    }

    /// The changed namespace list.
    pub(super) fn changed(&self) -> &[u32] {
        &self.changed
    }

    /// The log page of an event was read: the event may come again.
    pub(super) fn read(&mut self, log: u8, retain: bool) {
        if retain {
            return;
        }
        for event in Event::ALL.into_iter().filter(|event| event.log() == log) {
            self.told &= !event.config_bit();
        }
        if log == Event::NamespaceChanged.log() {
            self.changed.clear();
        }
    }

    /// The controller was reset: requests that are held are answered, nothing is remembered.
    pub(super) fn reset(&mut self) {
        self.aborted.extend(self.held.drain(..).map(|held| held.0));
        (self.config, self.due, self.told) = (0, 0, 0);
        self.changed.clear();
    }
}
