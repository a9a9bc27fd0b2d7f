//! The desk: what reactors ask of the model, answered one at a time on a thread of its own.
//!
//! Not here: changes that clients ask for (`service`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam::channel::Receiver;
use nvme::fabrics::ConnectData;
use nvme::{Nqn, Status};
use reactor::ReactorHandle;
use reactor::memory::IoBufMut;
use rustix::rand::GetRandomFlags;

use super::{Inner, Record, Shared};
use crate::limits::NVMF_PARKED_MAX;
use crate::nvmf::auth::{AuthConfig, Secret, Session};
use crate::nvmf::connection::Tag;
use crate::nvmf::shell::adopt;
use crate::nvmf::shell::group::{Ask, LinkNo};
use crate::nvmf::shell::pulse::Pulse;
use crate::nvmf::subsystem::{AssociationId, ConnectRefused, ConnectRequest, HostEntry};

impl Inner {
    /// What the queues of an association share.
    fn pulse(&mut self, association: AssociationId, subsystem: &Nqn) -> Arc<Pulse> {
        let make = || {
            let known = self.target.subsystems().contains_key(subsystem);
            let traffic = match known {
                true => Arc::clone(self.traffic.entry(subsystem.clone()).or_default()),
                // The discovery subsystem: nobody looks.
                false => Arc::default(),
            };
            Arc::new(Pulse::new(traffic))
        };
        Arc::clone(self.pulses.entry(association).or_insert_with(make))
    }

    /// Whether a bdev may still have requests that the host's earlier connections to the subsystem brought:
    /// those that are closed, and those that are to close, for their controller is no more.
    fn is_haunted(&self, host: &Nqn, subsystem: &Nqn) -> bool {
        let of_it = |record: &Record| {
            let is_its = |(its, where_to): &(Nqn, Nqn)| its == host && where_to == subsystem;
            let lives =
                |(id, _): (AssociationId, u16)| self.target.associations().contains_key(&id);
            let is_live = record.view.queue.is_some_and(lives);
            let is_past = record.view.is_closed || record.ends || !is_live;
            is_past && record.host.as_ref().is_some_and(is_its)
        };
        self.links.values().any(of_it)
    }
}

impl Shared {
    /// What a host with keys is asked for; none if its keys are gone.
    fn auth_config(&self, inner: &Inner, keys: &HostEntry) -> Option<AuthConfig> {
        let secret = |name: &String| {
            let key = self.keyring.get(name).ok()?;
            Secret::parse(key.secret.expose()).ok()
        };
        let controller_secret = match &keys.controller_key {
            Some(name) => Some(secret(name)?),
            None => None,
        };
        Some(AuthConfig {
            secret: secret(keys.key.as_ref()?)?,
            controller_secret,
            hashes: inner.hashes.clone(),
            groups: inner.groups.clone(),
        })
    }

    /// Answers what reactors ask, until it is told to stop.
    pub(super) fn attend(&self, asked: &Receiver<Ask>) {
        while let Ok(ask) = asked.recv() {
            // Without the lock: it takes a while.
            let ask = match ask {
                Ask::Authenticate { link, tag, session, is_send, buffer } => {
                    let reactor = self.lock().links.get(&link).map(|record| record.view.reactor);
                    let Some(reactor) = reactor.map(|index| &self.reactors[index]) else {
                        continue;
                    };
                    answer(reactor, link, tag, (session, is_send, buffer));
                    continue;
                }
                other => other,
            };
            let mut inner = self.lock();
            match ask {
                Ask::Stop => return,
                Ask::Authenticate { .. } => unreachable!("it is answered above"),
                Ask::Enabled { association, enabled } => {
                    inner.target.set_enabled(association, enabled);
                    if !enabled {
                        self.close_queues(&mut inner, association, |qid| qid > 0);
                    }
                }
                Ask::Gone { link } => self.gone(&mut inner, link),
                Ask::Over { link } => {
                    inner.links.remove(&link);
                    for ask in std::mem::take(&mut inner.parked) {
                        self.connect(&mut inner, ask);
                    }
                }
                ask @ Ask::Connect { .. } => self.connect(&mut inner, ask),
            }
        }
    }

    fn gone(&self, inner: &mut Inner, link: LinkNo) {
        let Some(record) = inner.links.get_mut(&link) else { return };
        record.view.is_closed = true;
        let Some((association, qid)) = record.view.queue else { return };
        inner.target.disconnected(association, qid);
        if qid == 0 {
            inner.pulses.remove(&association);
            self.close_queues(inner, association, |_| true);
        }
    }

    fn close_queues(&self, inner: &mut Inner, association: AssociationId, which: fn(u16) -> bool) {
        for (no, record) in &mut inner.links {
            let Some((of, qid)) = record.view.queue else { continue };
            if of == association && which(qid) && !record.view.is_closed {
                let no = *no;
                record.ends = true;
                self.reactors[record.view.reactor].send(move |cx| adopt::close(cx, no));
            }
        }
    }

    fn connect(&self, inner: &mut Inner, ask: Ask) {
        let Ask::Connect { link, tag, connect, data } = ask else { return };
        let Some(record) = inner.links.get(&link) else { return };
        let (index, address) = (record.view.reactor, record.view.address.clone());
        let reactor = &self.reactors[index];
        let refuse = |status: Status| {
            let refused = ConnectRefused { status, result: 0 };
            reactor.send(move |cx| adopt::refused(cx, link, tag, refused));
        };
        if record.view.is_closed || record.view.queue.is_some() {
            // Of a link that has closed meanwhile the command has to come back all the same.
            return refuse(Status::SEQUENCE_ERROR.finally());
        }
        let names = names(&data);
        if let Some((host, subsystem)) = &names
            && inner.is_haunted(host, subsystem)
        {
            match inner.parked.len() < NVMF_PARKED_MAX {
                true => inner.parked.push(Ask::Connect { link, tag, connect, data }),
                false => refuse(Status::CONNECT_BUSY),
            }
            return;
        }
        let request = ConnectRequest { address: &address, connect, data: &data };
        match inner.target.connect(&request) {
            Ok(admitted) => {
                let (association, qid) = (admitted.association, admitted.qid);
                if let Some(record) = inner.links.get_mut(&link) {
                    record.view.queue = Some((association, qid));
                    record.host = names;
                }
                let pulse = inner.pulse(association, &admitted.identity.nqn);
                pulse.traffic.connects.fetch_add(1, Ordering::Relaxed);
                let auth = match &admitted.keys {
                    Some(keys) => self.auth_config(inner, keys).map(Some),
                    None => Some(None),
                };
                match auth {
                    Some(auth) => reactor.send(move |cx| {
                        adopt::admitted(cx, link, tag, admitted, pulse, auth);
                    }),
                    None => {
                        inner.target.disconnected(association, qid);
                        if let Some(record) = inner.links.get_mut(&link) {
                            (record.view.queue, record.host) = (None, None);
                        }
                        refuse(Status::CONNECT_INVALID_HOST.finally());
                    }
                }
            }
            Err(refused) => {
                inner.refused += 1;
                tracing::info!(?refused, ?names, "a host may not connect");
                reactor.send(move |cx| adopt::refused(cx, link, tag, refused));
            }
        }
    }
}

/// Deals with a message of authentication, and sends the answer back.
fn answer(
    reactor: &ReactorHandle,
    link: LinkNo,
    tag: Tag,
    (mut session, is_send, mut buffer): (Box<Session>, bool, IoBufMut),
) {
    let mut random = |bytes: &mut [u8]| {
        // It fails with bad arguments only, and blocks until there is entropy.
        let filled = rustix::rand::getrandom(bytes, GetRandomFlags::empty());
        debug_assert!(filled.is_ok());
    };
    let outcome = match is_send {
        true => Ok((0, session.send(&buffer, &mut random))),
        // A host gets as many bytes as it has asked for.
        false => session.receive(&mut buffer).map(|(len, progress)| {
            buffer[len..].fill(0);
            (buffer.len(), progress)
        }),
    };
    reactor.send(move |cx| adopt::authenticated(cx, link, tag, session, buffer, outcome));
}

/// Host and subsystem of a Connect.
fn names(data: &ConnectData) -> Option<(Nqn, Nqn)> {
    let host = Nqn::from_field(&data.host_nqn).ok()?;
    Some((host, Nqn::from_field(&data.subsystem_nqn).ok()?))
}
