//! Connect: which controller a queue belongs to, and whether it may (Base, 6.3).
//!
//! ```text
//!   format -> names -> subsystem -> host -> listener -> Admin: a new controller
//!                                                   '-> I/O: the controller, its host, the queue
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use nvme::fabrics::{
    CATTR_NO_FLOW_CONTROL, CNTLID_DYNAMIC, Connect, ConnectData, connect_at, invalid_parameter,
};
use nvme::limits::QUEUE_ENTRIES_MIN;
use nvme::{Nqn, Status};

use super::{Address, Association, AssociationId, DiscoveryLog, HostEntry, Subsystem, Target};
use crate::nvmf::controller::{HostFacts, Identity, Kind};
use crate::nvmf::limits::{
    ADMIN_ENTRIES_MAX, CNTLID_MAX, CONTROLLERS_MAX, CONTROLLERS_PER_HOST_MAX, QUEUE_ENTRIES_MAX,
};
use crate::nvmf::queue::Role;
use crate::nvmf::view::View;

/// A Connect, and where it came from.
#[derive(Clone, Copy, Debug)]
pub struct ConnectRequest<'a> {
    /// Where the connection was accepted.
    pub address: &'a Address,
    /// The command.
    pub connect: Connect,
    /// Its data.
    pub data: &'a ConnectData,
}

/// A Connect that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The association that the queue belongs to.
    pub association: AssociationId,
    /// Which queue.
    pub role: Role,
    /// QID.
    pub qid: u16,
    /// Entries of the queue: for `Connection::bind`.
    pub entries: u16,
    /// Whether SQHD is kept.
    pub flow_control: bool,
    /// What a new controller says of itself; for I/O queues the same.
    pub identity: Arc<Identity>,
    /// Who connected: for `Controller::new`.
    pub host: HostFacts,
    /// What it sees.
    pub view: Arc<View>,
    /// What a discovery controller tells.
    pub discovery: Arc<DiscoveryLog>,
    /// Keys that the host has to prove; none: it need not.
    pub keys: Option<HostEntry>,
}

/// A Connect that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRefused {
    /// Status.
    pub status: Status,
    /// Dword 0: which parameter.
    pub result: u32,
}

impl From<Status> for ConnectRefused {
    fn from(status: Status) -> Self {
        Self { status: status.finally(), result: 0 }
    }
}

fn invalid(offset: u16, in_data: bool) -> ConnectRefused {
    let status = Status::CONNECT_INVALID_PARAMETERS.finally();
    ConnectRefused { status, result: invalid_parameter(offset, in_data) }
}

/// The next identifier of a range, after the last one that was given: one that has just become free is
/// not used again at once.
fn next_cntlid(min: u16, max: u16, last: Option<u16>, taken: &BTreeSet<u16>) -> Option<u16> {
    let start = last.map_or(min, |last| if last < max { last + 1 } else { min });
    (start..=max).chain(min..start).find(|cntlid| !taken.contains(cntlid))
}

impl Subsystem {
    /// Whether a host may connect.
    pub(super) fn allows(&self, host: &Nqn) -> bool {
        self.spec.allow_any_host || self.hosts.contains_key(host)
    }
}

impl Target {
    /// Judges a Connect. An Admin queue makes an association, an I/O queue joins one.
    ///
    /// # Errors
    /// Status and result for the host.
    pub fn connect(&mut self, request: &ConnectRequest<'_>) -> Result<Admitted, ConnectRefused> {
        let ConnectRequest { address, connect, data } = *request;
        if connect.record_format != 0 {
            return Err(Status::CONNECT_FORMAT.into());
        }
        let host = Nqn::from_field(&data.host_nqn)
            .map_err(|_| invalid(connect_at::DATA_HOST_NQN, true))?;
        let subsystem = Nqn::from_field(&data.subsystem_nqn)
            .map_err(|_| invalid(connect_at::DATA_SUBSYSTEM_NQN, true))?;
        if data.host_id == [0; 16] {
            return Err(invalid(connect_at::DATA_HOST_ID, true));
        }
        let kind = if subsystem.is_discovery() { Kind::Discovery } else { Kind::Io };
        if kind == Kind::Io {
            let found = self.subsystems.get(&subsystem);
            let found = found.ok_or(invalid(connect_at::DATA_SUBSYSTEM_NQN, true))?;
            if !found.allows(&host) || !found.listeners.contains_key(address) {
                return Err(Status::CONNECT_INVALID_HOST.into());
            }
        }
        let entries = u32::from(connect.sq_size) + 1;
        let max = if connect.qid == 0 { ADMIN_ENTRIES_MAX } else { QUEUE_ENTRIES_MAX };
        if !(QUEUE_ENTRIES_MIN..=u32::from(max)).contains(&entries) {
            return Err(invalid(connect_at::SQ_SIZE, false));
        }
        let (association, cntlid) = match connect.qid {
            0 => self.new_association(request, kind, &subsystem, &host)?,
            _ => self.join(request, kind, &subsystem, &host)?,
        };
        let (identity, view, keys) = self.seen(&subsystem, address, &host);
        let discovery = match kind {
            Kind::Discovery => self.discovery_log(&host, address),
            Kind::Io => Arc::default(),
        };
        Ok(Admitted {
            association,
            role: if connect.qid == 0 { Role::Admin } else { Role::Io },
            qid: connect.qid,
            entries: entries as u16,
            flow_control: connect.attributes & CATTR_NO_FLOW_CONTROL == 0,
            identity,
            host: HostFacts {
                cntlid,
                nqn: host,
                id: data.host_id,
                keep_alive_ms: connect.keep_alive_ms,
            },
            view,
            discovery,
            keys,
        })
    }

    fn seen(
        &self,
        nqn: &Nqn,
        address: &Address,
        host: &Nqn,
    ) -> (Arc<Identity>, Arc<View>, Option<HostEntry>) {
        match self.subsystems.get(nqn) {
            Some(subsystem) => {
                let listener = subsystem.listeners.get(address);
                let view = listener.map(|listener| Arc::new(subsystem.view(listener)));
                let keys = subsystem.hosts.get(host).filter(|entry| entry.key.is_some());
                (Arc::clone(&subsystem.identity), view.unwrap_or_default(), keys.cloned())
            }
            None => (Arc::clone(&self.discovery_identity), Arc::default(), None),
        }
    }

    fn new_association(
        &mut self,
        request: &ConnectRequest<'_>,
        kind: Kind,
        nqn: &Nqn,
        host: &Nqn,
    ) -> Result<(AssociationId, u16), ConnectRefused> {
        if request.data.cntlid != CNTLID_DYNAMIC {
            return Err(invalid(connect_at::DATA_CNTLID, true));
        }
        let there = || self.associations.values().filter(|one| one.nqn == *nqn);
        let taken: BTreeSet<u16> = there().map(|one| one.cntlid).collect();
        let of_host = there().filter(|one| one.host == *host).count();
        if taken.len() >= CONTROLLERS_MAX || of_host >= CONTROLLERS_PER_HOST_MAX {
            return Err(ConnectRefused { status: Status::CONNECT_BUSY, result: 0 });
        }
        let (min, max, last) = match self.subsystems.get_mut(nqn) {
            Some(one) => (one.spec.cntlid_min, one.spec.cntlid_max, &mut one.cntlid_last),
            None => (1, CNTLID_MAX, &mut self.discovery_cntlid_last),
        };
        let cntlid = next_cntlid(min, max, *last, &taken)
            .ok_or(ConnectRefused { status: Status::CONNECT_BUSY, result: 0 })?;
        *last = Some(cntlid);
        let id = self.association_next;
        self.association_next += 1;
        let association = Association {
            nqn: nqn.clone(),
            cntlid,
            kind,
            host: host.clone(),
            host_id: request.data.host_id,
            address: request.address.clone(),
            io_queues: BTreeSet::new(),
            enabled: false,
        };
        self.associations.insert(id, association);
        Ok((id, cntlid))
    }

    fn join(
        &mut self,
        request: &ConnectRequest<'_>,
        kind: Kind,
        nqn: &Nqn,
        host: &Nqn,
    ) -> Result<(AssociationId, u16), ConnectRefused> {
        let ConnectRequest { address, connect, data } = *request;
        if kind == Kind::Discovery || connect.qid > self.config.io_queues_max {
            return Err(invalid(connect_at::QID, false));
        }
        let (id, association) = self
            .associations
            .iter_mut()
            .find(|(_, one)| one.nqn == *nqn && one.cntlid == data.cntlid)
            .ok_or(invalid(connect_at::DATA_CNTLID, true))?;
        if association.host != *host {
            return Err(invalid(connect_at::DATA_HOST_NQN, true));
        }
        if association.host_id != data.host_id {
            return Err(invalid(connect_at::DATA_HOST_ID, true));
        }
        if association.address != *address {
            // All queues of a controller come through its port (Base, 3.1).
            return Err(Status::CONNECT_INVALID_HOST.into());
        }
        if !association.enabled {
            return Err(Status::SEQUENCE_ERROR.into());
        }
        if !association.io_queues.insert(connect.qid) {
            return Err(invalid(connect_at::QID, false));
        }
        Ok((*id, association.cntlid))
    }

    /// The controller of an association was enabled, or reset or shut down.
    pub fn set_enabled(&mut self, id: AssociationId, enabled: bool) {
        if let Some(association) = self.associations.get_mut(&id) {
            association.enabled = enabled;
        }
    }

    /// A connection is gone. With the Admin queue the association ends: `true`, and the owner closes the
    /// connections of its I/O queues.
    pub fn disconnected(&mut self, id: AssociationId, qid: u16) -> bool {
        if qid == 0 {
            return self.associations.remove(&id).is_some();
        }
        if let Some(association) = self.associations.get_mut(&id) {
            association.io_queues.remove(&qid);
        }
        false
    }
}
