//! The model of all that is exported: subsystems, namespaces, listeners, hosts, and who is connected.
//!
//! ```text
//!   Target -- subsystems by NQN -- namespaces by identifier
//!     |                        '-- listeners by address -- ANA state by group
//!     |                        '-- hosts that may connect, their keys
//!     '------ associations by number: a controller, its host, its listener, its queues
//! ```
//!
//! It has one owner, who is told by JSON-RPC and asked by every Connect. A change answers with
//! [`Changes`]: which associations see another view from now on, and which end. The owner carries them to
//! the reactors where those live.
//!
//! Invariants: a change that is refused has changed nothing; identifiers of controllers are used again only
//! when all others of the range have been; views of one subsystem rise in generation.
//!
//! Not here: the controllers themselves, sockets, where keys come from.

mod connect;
mod discovery;
mod error;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use device::IoTypes;
use nvme::Nqn;
use nvme::log::AnaState;

use super::controller::{Identity, Kind};
use super::limits::{
    ANA_GROUPS_MAX, CNTLID_MAX, HOSTS_MAX, IN_CAPSULE_BYTES, IO_QUEUES_MAX, LISTENERS_MAX,
    NAMESPACES_BOUND, SUBSYSTEMS_MAX,
};
use super::view::{Health, Identifiers, Namespace, View};
pub use connect::{Admitted, ConnectRefused, ConnectRequest};
pub use discovery::DiscoveryLog;
pub use error::TargetError;

/// Where a transport listens, as hosts are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// IPv6, not IPv4.
    pub ipv6: bool,
    /// TRADDR.
    pub address: String,
    /// TRSVCID: the port.
    pub service: String,
}

/// What every subsystem has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetConfig {
    /// Largest data in the capsule of an I/O command, in bytes.
    pub in_capsule_bytes: u32,
    /// I/O queues of a controller.
    pub io_queues_max: u16,
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self { in_capsule_bytes: IN_CAPSULE_BYTES, io_queues_max: IO_QUEUES_MAX }
    }
}

/// A subsystem to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubsystemSpec {
    /// Its name.
    pub nqn: Nqn,
    /// Up to 20 printable ASCII characters.
    pub serial: String,
    /// Up to 40 printable ASCII characters.
    pub model: String,
    /// Largest namespace identifier.
    pub namespaces_max: u32,
    /// Smallest controller identifier.
    pub cntlid_min: u16,
    /// Largest controller identifier.
    pub cntlid_max: u16,
    /// Every host may connect.
    pub allow_any_host: bool,
    /// ANA states are reported.
    pub ana_reporting: bool,
}

/// A namespace to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceSpec {
    /// Its identifier; the lowest free one if there is none.
    pub nsid: Option<u32>,
    /// What it is known by.
    pub ids: Identifiers,
    /// Its ANA group; one of its own, with the number of its identifier, if there is none.
    pub ana_group: Option<u32>,
    /// The bdev.
    pub bdev: BdevFacts,
}

/// What a subsystem knows of a bdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BdevFacts {
    /// The owner's name for it.
    pub key: u64,
    /// Bytes in a block: 512 or 4096.
    pub block_size_bytes: u32,
    /// Size in blocks.
    pub size_blocks: u64,
    /// Writes of multiples of this many bytes, so aligned, are best; 0 is no preference.
    pub optimal_write_bytes: u32,
    /// Strip of the array, in bytes; 0 if it is none.
    pub strip_bytes: u32,
    /// Whether a completed write may be lost with the power until a flush.
    pub volatile_cache: bool,
    /// Whether deallocated blocks read as zeroes.
    pub unmap_reads_zero: bool,
    /// Requests that are served.
    pub supported: IoTypes,
}

/// A host that may connect, and how it proves who it is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HostEntry {
    /// Name of the key that the host proves to have; none: it need not.
    pub key: Option<String>,
    /// Name of the key that the controller proves to have, if the host asks.
    pub controller_key: Option<String>,
}

/// A namespace as it stands in its subsystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceEntry {
    /// What it is known by.
    pub ids: Identifiers,
    /// ANAGRPID.
    pub ana_group: u32,
    /// The bdev.
    pub bdev: BdevFacts,
    /// How well it is.
    pub health: Health,
}

/// A listener as it stands in its subsystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// PORTID.
    pub port_id: u16,
    /// State of groups that were given one.
    pub groups: BTreeMap<u32, AnaState>,
    /// State of all others.
    pub state: AnaState,
}

/// A subsystem as it stands.
#[derive(Clone, Debug)]
pub struct Subsystem {
    /// What was asked for.
    pub spec: SubsystemSpec,
    /// Its namespaces.
    pub namespaces: BTreeMap<u32, NamespaceEntry>,
    /// Its listeners.
    pub listeners: BTreeMap<Address, Listener>,
    /// Hosts that may connect.
    pub hosts: BTreeMap<Nqn, HostEntry>,
    identity: Arc<Identity>,
    generation: u64,
    ana_changes: u64,
    cntlid_last: Option<u16>,
}

/// Number of an association, never used again.
pub type AssociationId = u64;

/// A controller and its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// The subsystem.
    pub nqn: Nqn,
    /// CNTLID.
    pub cntlid: u16,
    /// What it is for.
    pub kind: Kind,
    /// The host.
    pub host: Nqn,
    /// Host identifier.
    pub host_id: [u8; 16],
    /// The listener that it connected to.
    pub address: Address,
    /// I/O queues.
    pub io_queues: BTreeSet<u16>,
    /// The controller is enabled: I/O queues may be connected.
    pub enabled: bool,
}

/// What an association has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// It sees this from now on: its controller (`set_view`) and all of its queues.
    View {
        /// Namespaces and ANA states.
        view: Arc<View>,
        /// Namespaces that came, went or changed.
        changed: Vec<u32>,
    },
    /// The discovery log is this from now on.
    Discovery(Arc<DiscoveryLog>),
    /// It ends: close all of its connections.
    Close,
}

/// What a change means for those who are connected, in order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Changes(pub Vec<(AssociationId, Update)>);

/// All that is exported. See the module.
#[derive(Debug)]
pub struct Target {
    config: TargetConfig,
    subsystems: BTreeMap<Nqn, Subsystem>,
    associations: BTreeMap<AssociationId, Association>,
    association_next: AssociationId,
    /// PORTID of the addresses of all listeners.
    ports: BTreeMap<Address, u16>,
    discovery_generation: u64,
    discovery_identity: Arc<Identity>,
    discovery_cntlid_last: Option<u16>,
}

impl Target {
    /// Nothing is exported.
    #[must_use]
    pub fn new(config: TargetConfig) -> Self {
        let discovery_identity = Arc::new(Identity {
            kind: Kind::Discovery,
            nqn: Nqn::discovery(),
            serial: String::new(),
            model: "raid456".to_owned(),
            firmware: env!("CARGO_PKG_VERSION").to_owned(),
            ana_reporting: false,
            in_capsule_bytes: config.in_capsule_bytes,
            io_queues_max: 0,
        });
        Self {
            config,
            subsystems: BTreeMap::new(),
            associations: BTreeMap::new(),
            association_next: 1,
            ports: BTreeMap::new(),
            discovery_generation: 0,
            discovery_identity,
            discovery_cntlid_last: None,
        }
    }

    /// The subsystems, by name.
    #[must_use]
    pub fn subsystems(&self) -> &BTreeMap<Nqn, Subsystem> {
        &self.subsystems
    }

    /// Who is connected.
    #[must_use]
    pub fn associations(&self) -> &BTreeMap<AssociationId, Association> {
        &self.associations
    }

    /// Adds a subsystem.
    ///
    /// # Errors
    /// [`TargetError`] says which field is wrong, or that it exists.
    pub fn add_subsystem(&mut self, spec: SubsystemSpec) -> Result<Changes, TargetError> {
        error::check_subsystem(&spec)?;
        if spec.nqn.is_discovery() || self.subsystems.contains_key(&spec.nqn) {
            return Err(TargetError::SubsystemExists { nqn: spec.nqn });
        }
        if self.subsystems.len() == SUBSYSTEMS_MAX {
            return Err(TargetError::Full { what: "subsystems", max: SUBSYSTEMS_MAX });
        }
        let identity = Arc::new(Identity {
            kind: Kind::Io,
            nqn: spec.nqn.clone(),
            serial: spec.serial.clone(),
            model: spec.model.clone(),
            firmware: env!("CARGO_PKG_VERSION").to_owned(),
            ana_reporting: spec.ana_reporting,
            in_capsule_bytes: self.config.in_capsule_bytes,
            io_queues_max: self.config.io_queues_max,
        });
        let subsystem = Subsystem {
            namespaces: BTreeMap::new(),
            listeners: BTreeMap::new(),
            hosts: BTreeMap::new(),
            identity,
            generation: 0,
            ana_changes: 0,
            cntlid_last: None,
            spec,
        };
        self.subsystems.insert(subsystem.spec.nqn.clone(), subsystem);
        // No listener yet: discovery does not see it.
        Ok(Changes::default())
    }

    /// Removes a subsystem with everything in it. Its associations end.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn remove_subsystem(&mut self, nqn: &Nqn) -> Result<Changes, TargetError> {
        self.subsystem(nqn)?;
        self.subsystems.remove(nqn);
        let subsystems = &self.subsystems;
        self.ports.retain(|address, _| {
            subsystems.values().any(|one| one.listeners.contains_key(address))
        });
        let mut changes = self.close(|association| association.nqn == *nqn);
        self.discovery_changed(&mut changes);
        Ok(changes)
    }

    /// Adds a namespace; the answer is its identifier.
    ///
    /// # Errors
    /// If the identifier is taken or out of range, or there is no room.
    pub fn add_namespace(
        &mut self,
        nqn: &Nqn,
        spec: NamespaceSpec,
    ) -> Result<(u32, Changes), TargetError> {
        let subsystem = self.subsystem(nqn)?;
        let max = subsystem.spec.namespaces_max;
        let free = || (1..=max).find(|nsid| !subsystem.namespaces.contains_key(nsid));
        let nsid = match spec.nsid {
            Some(nsid) if !(1..=max).contains(&nsid) => {
                return Err(TargetError::NamespaceRange { nqn: nqn.clone(), nsid, max });
            }
            Some(nsid) if subsystem.namespaces.contains_key(&nsid) => {
                return Err(TargetError::NamespaceExists { nqn: nqn.clone(), nsid });
            }
            Some(nsid) => nsid,
            None => free().ok_or(TargetError::Full { what: "namespaces", max: max as usize })?,
        };
        let ana_group = spec.ana_group.unwrap_or(nsid);
        error::check_group(nqn, ana_group, max)?;
        error::check_bdev(nqn, &spec.bdev)?;
        let health = Health::default();
        let entry = NamespaceEntry { ids: spec.ids, ana_group, bdev: spec.bdev, health };
        self.subsystem_mut(nqn)?.namespaces.insert(nsid, entry);
        Ok((nsid, self.views_changed(nqn, &[nsid])))
    }

    /// Removes a namespace.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn remove_namespace(&mut self, nqn: &Nqn, nsid: u32) -> Result<Changes, TargetError> {
        self.namespace_mut(nqn, nsid)?;
        self.subsystem_mut(nqn)?.namespaces.remove(&nsid);
        Ok(self.views_changed(nqn, &[nsid]))
    }

    /// The bdev of a namespace has another size, or another bdev has taken its place.
    ///
    /// # Errors
    /// If the namespace does not exist.
    pub fn change_namespace(
        &mut self,
        nqn: &Nqn,
        nsid: u32,
        bdev: BdevFacts,
    ) -> Result<Changes, TargetError> {
        error::check_bdev(nqn, &bdev)?;
        self.namespace_mut(nqn, nsid)?.bdev = bdev;
        Ok(self.views_changed(nqn, &[nsid]))
    }

    /// The bdev of a namespace is better or worse than before.
    ///
    /// # Errors
    /// If the namespace does not exist.
    pub fn set_health(
        &mut self,
        nqn: &Nqn,
        nsid: u32,
        health: Health,
    ) -> Result<Changes, TargetError> {
        let namespace = self.namespace_mut(nqn, nsid)?;
        let before = std::mem::replace(&mut namespace.health, health);
        // The namespace itself has not changed, so no host has to look at it again.
        if before == health { Ok(Changes::default()) } else { Ok(self.views_changed(nqn, &[])) }
    }

    /// Moves a namespace to another ANA group.
    ///
    /// # Errors
    /// If the namespace does not exist or the group is out of range.
    pub fn set_ana_group(
        &mut self,
        nqn: &Nqn,
        nsid: u32,
        ana_group: u32,
    ) -> Result<Changes, TargetError> {
        let max = self.subsystem(nqn)?.spec.namespaces_max;
        error::check_group(nqn, ana_group, max)?;
        self.namespace_mut(nqn, nsid)?.ana_group = ana_group;
        self.subsystem_mut(nqn)?.ana_changes += 1;
        Ok(self.views_changed(nqn, &[nsid]))
    }

    /// Makes a subsystem reachable through an address.
    ///
    /// # Errors
    /// If it is already, or there is no room.
    pub fn add_listener(
        &mut self,
        nqn: &Nqn,
        address: Address,
        state: AnaState,
    ) -> Result<Changes, TargetError> {
        let subsystem = self.subsystem(nqn)?;
        error::check_address(&address)?;
        if subsystem.listeners.contains_key(&address) {
            return Err(TargetError::ListenerExists { nqn: nqn.clone(), address });
        }
        if subsystem.listeners.len() == LISTENERS_MAX {
            return Err(TargetError::Full { what: "listeners", max: LISTENERS_MAX });
        }
        let port_id = self.port_id(&address);
        let listener = Listener { port_id, groups: BTreeMap::new(), state };
        self.subsystem_mut(nqn)?.listeners.insert(address, listener);
        let mut changes = Changes::default();
        self.discovery_changed(&mut changes);
        Ok(changes)
    }

    /// The number of an address: its own, or the lowest that is free.
    fn port_id(&mut self, address: &Address) -> u16 {
        let taken: BTreeSet<u16> = self.ports.values().copied().collect();
        let free = (0..=u16::MAX).find(|port_id| !taken.contains(port_id)).unwrap_or(u16::MAX);
        *self.ports.entry(address.clone()).or_insert(free)
    }

    /// Takes an address away. Associations that came through it end.
    ///
    /// # Errors
    /// If the subsystem is not reachable through it.
    pub fn remove_listener(
        &mut self,
        nqn: &Nqn,
        address: &Address,
    ) -> Result<Changes, TargetError> {
        self.listener_mut(nqn, address)?;
        self.subsystem_mut(nqn)?.listeners.remove(address);
        if !self.subsystems.values().any(|one| one.listeners.contains_key(address)) {
            self.ports.remove(address);
        }
        let gone = |one: &Association| one.nqn == *nqn && one.address == *address;
        let mut changes = self.close(gone);
        self.discovery_changed(&mut changes);
        Ok(changes)
    }

    /// Sets the ANA state of a group through an address, or of all groups.
    ///
    /// # Errors
    /// If the subsystem is not reachable through it, does not report ANA, or the group is out of range.
    pub fn set_ana_state(
        &mut self,
        nqn: &Nqn,
        address: &Address,
        group: Option<u32>,
        state: AnaState,
    ) -> Result<Changes, TargetError> {
        let spec = &self.subsystem(nqn)?.spec;
        let max = spec.namespaces_max;
        if !spec.ana_reporting {
            return Err(TargetError::NoAna { nqn: nqn.clone() });
        }
        if let Some(group) = group {
            error::check_group(nqn, group, max)?;
        }
        let listener = self.listener_mut(nqn, address)?;
        match group {
            Some(group) => {
                listener.groups.insert(group, state);
            }
            None => {
                listener.groups.clear();
                listener.state = state;
            }
        }
        self.subsystem_mut(nqn)?.ana_changes += 1;
        Ok(self.views_changed(nqn, &[]))
    }

    /// Lets a host connect, or changes its keys. Those who are connected stay.
    ///
    /// # Errors
    /// If the subsystem does not exist, or there is no room.
    pub fn add_host(
        &mut self,
        nqn: &Nqn,
        host: Nqn,
        entry: HostEntry,
    ) -> Result<Changes, TargetError> {
        let subsystem = self.subsystem_mut(nqn)?;
        if subsystem.hosts.len() == HOSTS_MAX && !subsystem.hosts.contains_key(&host) {
            return Err(TargetError::Full { what: "hosts", max: HOSTS_MAX });
        }
        subsystem.hosts.insert(host, entry);
        let mut changes = Changes::default();
        self.discovery_changed(&mut changes);
        Ok(changes)
    }

    /// Lets a host connect no more. Its associations end, unless every host may connect.
    ///
    /// # Errors
    /// If it is not listed.
    pub fn remove_host(&mut self, nqn: &Nqn, host: &Nqn) -> Result<Changes, TargetError> {
        let subsystem = self.subsystem_mut(nqn)?;
        if subsystem.hosts.remove(host).is_none() {
            return Err(TargetError::NoHost { nqn: nqn.clone(), host: host.clone() });
        }
        let any = subsystem.spec.allow_any_host;
        let mut changes = match any {
            true => Changes::default(),
            false => self.close(|one| one.nqn == *nqn && one.host == *host),
        };
        self.discovery_changed(&mut changes);
        Ok(changes)
    }

    /// Lets every host connect, or only those that are listed; associations of others end.
    ///
    /// # Errors
    /// If the subsystem does not exist.
    pub fn allow_any_host(&mut self, nqn: &Nqn, allow: bool) -> Result<Changes, TargetError> {
        let subsystem = self.subsystem_mut(nqn)?;
        subsystem.spec.allow_any_host = allow;
        let listed: BTreeSet<Nqn> = subsystem.hosts.keys().cloned().collect();
        let mut changes = match allow {
            true => Changes::default(),
            false => self.close(|one| one.nqn == *nqn && !listed.contains(&one.host)),
        };
        self.discovery_changed(&mut changes);
        Ok(changes)
    }

    /// What is seen of a subsystem through an address.
    ///
    /// # Errors
    /// If it is not reachable through it.
    pub fn view(&self, nqn: &Nqn, address: &Address) -> Result<Arc<View>, TargetError> {
        let subsystem = self.subsystem(nqn)?;
        let listener = subsystem.listeners.get(address).ok_or_else(|| TargetError::NoListener {
            nqn: nqn.clone(),
            address: address.clone(),
        })?;
        Ok(Arc::new(subsystem.view(listener)))
    }

    fn subsystem(&self, nqn: &Nqn) -> Result<&Subsystem, TargetError> {
        self.subsystems.get(nqn).ok_or_else(|| TargetError::NoSubsystem { nqn: nqn.clone() })
    }

    fn subsystem_mut(&mut self, nqn: &Nqn) -> Result<&mut Subsystem, TargetError> {
        self.subsystems.get_mut(nqn).ok_or_else(|| TargetError::NoSubsystem { nqn: nqn.clone() })
    }

    fn namespace_mut(&mut self, nqn: &Nqn, nsid: u32) -> Result<&mut NamespaceEntry, TargetError> {
        let namespaces = &mut self.subsystem_mut(nqn)?.namespaces;
        namespaces.get_mut(&nsid).ok_or_else(|| TargetError::NoNamespace { nqn: nqn.clone(), nsid })
    }

    fn listener_mut(&mut self, nqn: &Nqn, address: &Address) -> Result<&mut Listener, TargetError> {
        let listeners = &mut self.subsystem_mut(nqn)?.listeners;
        listeners
            .get_mut(address)
            .ok_or_else(|| TargetError::NoListener { nqn: nqn.clone(), address: address.clone() })
    }

    /// The associations of a subsystem see another view: one for every listener, shared.
    fn views_changed(&mut self, nqn: &Nqn, changed: &[u32]) -> Changes {
        let Some(subsystem) = self.subsystems.get_mut(nqn) else { return Changes::default() };
        subsystem.generation += 1;
        let views: BTreeMap<&Address, Arc<View>> = subsystem
            .listeners
            .iter()
            .map(|(address, listener)| (address, Arc::new(subsystem.view(listener))))
            .collect();
        let of_it = self.associations.iter().filter(|(_, one)| one.nqn == *nqn);
        let updates = of_it.filter_map(|(id, one)| {
            let view = Arc::clone(views.get(&one.address)?);
            Some((*id, Update::View { view, changed: changed.to_vec() }))
        });
        Changes(updates.collect())
    }

    fn close(&mut self, gone: impl Fn(&Association) -> bool) -> Changes {
        let ids: Vec<AssociationId> = self
            .associations
            .iter()
            .filter(|(_, association)| gone(association))
            .map(|(id, _)| *id)
            .collect();
        for id in &ids {
            self.associations.remove(id);
        }
        Changes(ids.into_iter().map(|id| (id, Update::Close)).collect())
    }
}

impl Subsystem {
    /// ANA state of a group through a listener. Without ANA every path is as good.
    fn state(&self, listener: &Listener, group: u32) -> AnaState {
        match self.spec.ana_reporting {
            true => listener.groups.get(&group).copied().unwrap_or(listener.state),
            false => AnaState::Optimized,
        }
    }

    fn view(&self, listener: &Listener) -> View {
        let namespace = |(nsid, entry): (&u32, &NamespaceEntry)| {
            let bdev = entry.bdev;
            Namespace {
                nsid: *nsid,
                ids: entry.ids,
                ana_group: if self.spec.ana_reporting { entry.ana_group } else { 0 },
                ana_state: self.state(listener, entry.ana_group),
                block_size_bytes: bdev.block_size_bytes,
                size_blocks: bdev.size_blocks,
                optimal_write_bytes: bdev.optimal_write_bytes,
                strip_bytes: bdev.strip_bytes,
                volatile_cache: bdev.volatile_cache,
                unmap_reads_zero: bdev.unmap_reads_zero,
                supported: bdev.supported,
                health: entry.health,
                key: bdev.key,
            }
        };
        let groups: BTreeSet<u32> =
            self.namespaces.values().map(|namespace| namespace.ana_group).collect();
        View {
            generation: self.generation,
            namespaces: self.namespaces.iter().map(namespace).collect(),
            groups: groups.into_iter().map(|group| (group, self.state(listener, group))).collect(),
            ana_changes: self.ana_changes,
            namespaces_max: self.spec.namespaces_max,
        }
    }
}

const _: () = assert!(ANA_GROUPS_MAX <= NAMESPACES_BOUND && CNTLID_MAX < 0xfff0);
const _: () = assert!(SUBSYSTEMS_MAX * LISTENERS_MAX <= u16::MAX as usize);

#[cfg(test)]
mod tests;
