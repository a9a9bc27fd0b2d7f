//! The target as its service has it: the model, the sockets that listen, and where every connection lives.
//!
//! ```text
//!   RPC threads -----lock-----> Inner: Target, links, exports, listeners
//!   accept threads ---lock----->   |
//!   desk thread <--asks-- groups   '--messages, sent under the lock--> groups
//! ```
//!
//! Whatever changes the model sends its messages before it gives the lock back, so every reactor hears of
//! changes in the order in which they were made.
//!
//! Invariants: a refused change has changed nothing; a host's new controller begins when no request of its
//! earlier connections is at a bdev any more, so that an old write never lands on a new one (those who are
//! connected already are kept from it by their `fence`).
//!
//! Not here: what reactors ask (`desk`), names of bdevs and claims (`control`), JSON (`methods`).

mod desk;
mod look;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};
use device::{Bdev, OpenError};
use nvme::Nqn;
use nvme::log::AnaState;
use nvme::pdu::Digests;
use reactor::{ReactorHandle, Stopped, clock};

use super::adopt;
use super::fence::Fence;
use super::group::{self, Ask, GroupStats, LinkNo};
use super::io::place_of;
use super::listener::{ListenError, Listening};
use super::pulse::{Pulse, Traffic};
use crate::keyring::Keyring;
use crate::limits::{NVMF_ASKS_MAX, NVMF_CONNECTIONS_MAX, NVMF_DRAIN_SLICE, NVMF_DRAIN_TIME_LIMIT};
use crate::nvmf::auth::{Group, Hash};
use crate::nvmf::connection::ConnectionConfig;
use crate::nvmf::limits::{IN_CAPSULE_BYTES, IO_QUEUES_MAX, MAX_H2C_DATA_BYTES};
use crate::nvmf::subsystem::{
    Address, Association, AssociationId, BdevFacts, Changes, HostEntry, NamespaceSpec, Subsystem,
    SubsystemSpec, Target, TargetConfig, TargetError, Update,
};
use crate::nvmf::view::{Health, Identifiers};

pub use look::{SubsystemLook, TargetLook};

/// What the transport offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Largest data in the capsule of an I/O command, in bytes.
    pub in_capsule_bytes: u32,
    /// I/O queues of a controller.
    pub io_queues_max: u16,
    /// Whether the last data of a read may stand for its response.
    pub c2h_success: bool,
}

impl Default for Transport {
    fn default() -> Self {
        Self { in_capsule_bytes: IN_CAPSULE_BYTES, io_queues_max: IO_QUEUES_MAX, c2h_success: true }
    }
}

/// Why there is no transport.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// SPDK's clients look for this text.
    #[error("Transport type 'TCP' already exists")]
    Exists,
    /// There can be no thread.
    #[error("transport TCP: the desk's thread cannot be started: {0}")]
    Desk(std::io::Error),
    /// A reactor has no group.
    #[error("transport TCP: reactor {reactor} cannot have its share: {source}")]
    Group {
        /// Which.
        reactor: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// Subsystems were made with other values.
    #[error(
        "transport TCP: subsystems exist already, so in_capsule_data_size and \
         max_io_qpairs_per_ctrlr cannot be changed: create the transport first"
    )]
    Late,
}

/// Why a bdev is no namespace.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A reactor cannot use it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A reactor does not answer.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Why the target refuses. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The model.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The transport.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The bdev.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// An address that is none.
    #[error("listen address {what} {value:?}: {right}")]
    Address {
        /// Which part of it.
        what: &'static str,
        /// As given.
        value: String,
        /// What would be right.
        right: &'static str,
    },
    /// Listeners need a transport.
    #[error("there is no transport TCP: create it with nvmf_create_transport first")]
    NoTransport,
    /// The service is on its way out.
    #[error("the target is stopping")]
    Stopping,
}

/// A connection as others may see it.
#[derive(Clone, Debug)]
pub struct LinkView {
    /// The queue, once it is one: association and QID.
    pub queue: Option<(AssociationId, u16)>,
    /// Its socket is closed, but a bdev has requests of it.
    pub is_closed: bool,
    /// Index of its reactor.
    pub reactor: usize,
    /// Where it came in.
    pub address: Address,
    /// Where it came from.
    pub peer: SocketAddr,
}

/// Where a connection lives.
#[derive(Debug)]
struct Record {
    view: LinkView,
    /// Host and subsystem, once they are known.
    host: Option<(Nqn, Nqn)>,
    /// Its reactor has been told to close it.
    ends: bool,
}

/// A bdev that is a namespace.
#[derive(Debug)]
struct Export {
    bdev: Arc<dyn Bdev>,
    nqn: Nqn,
    nsid: u32,
}

#[derive(Debug)]
struct Inner {
    target: Target,
    transport: Option<Transport>,
    links: BTreeMap<LinkNo, Record>,
    pulses: BTreeMap<AssociationId, Arc<Pulse>>,
    /// What was done with each subsystem, the discovery subsystem not among them.
    traffic: BTreeMap<Nqn, Arc<Traffic>>,
    /// Connects that were refused.
    refused: u64,
    listening: BTreeMap<Address, Listening>,
    exports: BTreeMap<u64, Export>,
    /// Exports that there have been.
    exported: u64,
    parked: Vec<Ask>,
    last_link: LinkNo,
    is_stopping: bool,
    hashes: Vec<Hash>,
    groups: Vec<Group>,
}

/// What desk, listeners and callers share.
#[derive(Debug)]
struct Shared {
    reactors: Vec<ReactorHandle>,
    inner: Mutex<Inner>,
    keyring: Keyring,
}

/// See the module.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    asks: Sender<Ask>,
    asked: Receiver<Ask>,
    /// Attends once there is something to be asked about.
    desk: Mutex<Option<JoinHandle<()>>>,
    last_look: Mutex<TargetLook>,
}

/// Whether an address is the one that was given, in any case and spelling.
///
/// # Errors
/// [`ServiceError::Address`] if it is none.
pub fn same_address(
    trtype: &str,
    adrfam: Option<&str>,
    traddr: &str,
    trsvcid: Option<&str>,
) -> Result<(Address, SocketAddr), ServiceError> {
    let wrong = |what, value: &str, right| {
        Err(ServiceError::Address { what, value: value.to_owned(), right })
    };
    if !trtype.eq_ignore_ascii_case("tcp") {
        return wrong("trtype", trtype, "the transport is TCP");
    }
    let Ok(ip) = traddr.parse::<IpAddr>() else {
        return wrong("traddr", traddr, "give an address like 192.0.2.1 or 2001:db8::1");
    };
    match adrfam.map(str::to_ascii_lowercase).as_deref() {
        None => {}
        Some("ipv4") if ip.is_ipv4() => {}
        Some("ipv6") if ip.is_ipv6() => {}
        Some(_) => {
            let adrfam = adrfam.unwrap_or_default();
            return wrong("adrfam", adrfam, "give IPv4 or IPv6, as traddr is");
        }
    }
    let service = trsvcid.unwrap_or("4420");
    match service.parse::<u16>() {
        Ok(port) if port > 0 => {
            let (address, service) = (ip.to_string(), port.to_string());
            let ipv6 = ip.is_ipv6();
            Ok((Address { ipv6, address, service }, SocketAddr::new(ip, port)))
        }
        _ => wrong("trsvcid", service, "give a port from 1 to 65535"),
    }
}

impl Service {
    /// A target that exports nothing.
    #[must_use]
    pub fn new(reactors: &[ReactorHandle], keyring: Keyring) -> Self {
        let (asks, asked) = bounded(NVMF_ASKS_MAX);
        let shared = Arc::new(Shared {
            reactors: reactors.to_vec(),
            inner: Mutex::new(Inner {
                target: Target::new(TargetConfig::default()),
                transport: None,
                links: BTreeMap::new(),
                pulses: BTreeMap::new(),
                traffic: BTreeMap::new(),
                refused: 0,
                listening: BTreeMap::new(),
                exports: BTreeMap::new(),
                exported: 0,
                parked: Vec::new(),
                last_link: 0,
                is_stopping: false,
                hashes: Hash::ALL.to_vec(),
                groups: Group::ALL.to_vec(),
            }),
            keyring,
        });
        Self { shared, asks, asked, desk: Mutex::default(), last_look: Mutex::default() }
    }

    // ---- what there is

    /// The transport, if there is one.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        self.shared.lock().transport
    }

    /// The subsystems, by name.
    #[must_use]
    pub fn subsystems(&self) -> Vec<Subsystem> {
        self.shared.lock().target.subsystems().values().cloned().collect()
    }

    /// Addresses where the discovery subsystem is found.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        self.shared.lock().listening.keys().cloned().collect()
    }

    /// Who is connected.
    #[must_use]
    pub fn associations(&self) -> BTreeMap<AssociationId, Association> {
        self.shared.lock().target.associations().clone()
    }

    /// All connections.
    #[must_use]
    pub fn links(&self) -> Vec<LinkView> {
        self.shared.lock().links.values().map(|record| record.view.clone()).collect()
    }

    /// The bdevs of namespaces: subsystem, identifier, bdev.
    #[must_use]
    pub fn exports(&self) -> Vec<(Nqn, u32, Arc<dyn Bdev>)> {
        let inner = self.shared.lock();
        let of = |export: &Export| (export.nqn.clone(), export.nsid, Arc::clone(&export.bdev));
        inner.exports.values().map(of).collect()
    }

    /// What each reactor has done.
    #[must_use]
    pub fn stats(&self) -> Vec<GroupStats> {
        self.shared.reactors.iter().map(|one| one.call(adopt::stats).unwrap_or_default()).collect()
    }

    /// Hash functions and groups that hosts may authenticate with.
    #[must_use]
    pub fn authentication(&self) -> (Vec<Hash>, Vec<Group>) {
        let inner = self.shared.lock();
        (inner.hashes.clone(), inner.groups.clone())
    }

    /// Changes them, for connections from now on.
    pub fn set_authentication(&self, hashes: Option<Vec<Hash>>, groups: Option<Vec<Group>>) {
        let mut inner = self.shared.lock();
        if let Some(hashes) = hashes {
            inner.hashes = hashes;
        }
        if let Some(groups) = groups {
            inner.groups = groups;
        }
    }

    // ---- changes

    /// Makes the transport: every reactor gets a group.
    ///
    /// # Errors
    /// If it is there, or cannot be.
    pub fn create_transport(&self, transport: Transport) -> Result<(), ServiceError> {
        let mut inner = self.shared.admit()?;
        if inner.transport.is_some() {
            return Err(TransportError::Exists.into());
        }
        let Transport { in_capsule_bytes, io_queues_max, .. } = transport;
        let config = TargetConfig { in_capsule_bytes, io_queues_max };
        if config != TargetConfig::default() {
            if !inner.target.subsystems().is_empty() {
                return Err(TransportError::Late.into());
            }
            inner.target = Target::new(config);
        }
        self.install()?;
        inner.transport = Some(transport);
        tracing::info!(?transport, "transport TCP created");
        Ok(())
    }

    /// Gives every reactor its group, those that have none, and starts the desk.
    fn install(&self) -> Result<(), ServiceError> {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        if desk.is_none() {
            let (shared, asked) = (Arc::clone(&self.shared), self.asked.clone());
            let thread = std::thread::Builder::new().name("nvmf desk".to_owned());
            let thread = thread.spawn(move || shared.attend(&asked));
            *desk = Some(thread.map_err(TransportError::Desk)?);
        }
        drop(desk);
        for (index, reactor) in self.shared.reactors.iter().enumerate() {
            let asks = self.asks.clone();
            let installed = reactor.call(move |cx| match group::group_of(cx) {
                Some(_) => Ok(()),
                None => group::install(cx, asks),
            });
            installed
                .map_err(ExportError::from)?
                .map_err(|source| TransportError::Group { reactor: index, source })?;
        }
        Ok(())
    }

    /// Adds a subsystem.
    ///
    /// # Errors
    /// What the model refuses.
    pub fn add_subsystem(&self, spec: SubsystemSpec) -> Result<(), ServiceError> {
        self.change(|target| target.add_subsystem(spec))
    }

    /// Removes a subsystem; the answer is the bdevs that are free.
    ///
    /// # Errors
    /// What the model refuses.
    pub fn remove_subsystem(&self, nqn: &Nqn) -> Result<Vec<Arc<dyn Bdev>>, ServiceError> {
        let (keys, idle) = {
            let mut inner = self.shared.admit()?;
            let changes = inner.target.remove_subsystem(nqn)?;
            inner.traffic.remove(nqn);
            self.shared.apply(&inner, changes);
            let of_it = |(key, export): (&u64, &Export)| (export.nqn == *nqn).then_some(*key);
            let keys: Vec<u64> = inner.exports.iter().filter_map(of_it).collect();
            (keys, inner.take_idle_listeners())
        };
        drop(idle);
        Ok(keys.into_iter().filter_map(|key| self.drain(key)).collect())
    }

    /// Adds a bdev to a subsystem; the answer is its identifier there.
    ///
    /// # Errors
    /// What the model or a reactor refuses.
    pub fn add_namespace(
        &self,
        nqn: &Nqn,
        bdev: &Arc<dyn Bdev>,
        strip_bytes: u32,
        spec: (Option<u32>, Identifiers, Option<u32>),
    ) -> Result<u32, ServiceError> {
        let mut inner = self.shared.admit()?;
        self.install()?;
        let key = inner.new_key();
        if let Err(error) = self.open(key, bdev) {
            self.retire(key, true);
            return Err(error.into());
        }
        let (nsid, ids, ana_group) = spec;
        let facts = facts(bdev, key, strip_bytes);
        let spec = NamespaceSpec { nsid, ids, ana_group, bdev: facts };
        let (nsid, changes) = match inner.target.add_namespace(nqn, spec) {
            Ok(added) => added,
            Err(error) => {
                self.retire(key, true);
                return Err(error.into());
            }
        };
        let export = Export { bdev: Arc::clone(bdev), nqn: nqn.clone(), nsid };
        inner.exports.insert(key, export);
        self.shared.apply(&inner, changes);
        tracing::info!(%nqn, nsid, bdev = bdev.name(), "namespace added");
        Ok(nsid)
    }

    fn open(&self, key: u64, bdev: &Arc<dyn Bdev>) -> Result<(), ExportError> {
        let fence = Arc::new(Fence::default());
        for reactor in &self.shared.reactors {
            let (bdev, fence) = (Arc::clone(bdev), Arc::clone(&fence));
            reactor.call(move |cx| adopt::open(cx, key, &bdev, fence))??;
        }
        Ok(())
    }

    /// Takes a namespace out; the answer is its bdev, which nobody uses any more.
    ///
    /// # Errors
    /// What the model refuses.
    pub fn remove_namespace(
        &self,
        nqn: &Nqn,
        nsid: u32,
    ) -> Result<Option<Arc<dyn Bdev>>, ServiceError> {
        let key = {
            let mut inner = self.shared.admit()?;
            // Not by name and nsid: an earlier namespace may still be on its way out.
            let subsystem = inner.target.subsystems().get(nqn);
            let entry = subsystem.and_then(|subsystem| subsystem.namespaces.get(&nsid));
            let key = entry.map(|entry| entry.bdev.key);
            let changes = inner.target.remove_namespace(nqn, nsid)?;
            self.shared.apply(&inner, changes);
            key
        };
        tracing::info!(%nqn, nsid, "namespace removed");
        Ok(key.and_then(|key| self.drain(key)))
    }

    /// Bdevs may have other sizes: hosts of those that have are told.
    pub fn look_at_sizes(&self) {
        let mut inner = self.shared.lock();
        let all = inner.exports.iter();
        let found: Vec<(u64, Arc<dyn Bdev>, Nqn, u32)> = all
            .map(|(key, one)| (*key, Arc::clone(&one.bdev), one.nqn.clone(), one.nsid))
            .collect();
        for (key, bdev, nqn, nsid) in found {
            let subsystem = inner.target.subsystems().get(&nqn);
            let entry = subsystem.and_then(|subsystem| subsystem.namespaces.get(&nsid));
            let Some(before) = entry.map(|entry| entry.bdev) else { continue };
            let facts = facts(&bdev, key, before.strip_bytes);
            if facts == before {
                continue;
            }
            match inner.target.change_namespace(&nqn, nsid, facts) {
                Ok(changes) => self.shared.apply(&inner, changes),
                Err(error) => tracing::error!(%nqn, nsid, %error, "hosts are not told"),
            }
        }
    }

    /// A bdev is better or worse than before: hosts of those that have it are told.
    pub fn set_health(&self, bdev: &str, health: Health) {
        let mut inner = self.shared.lock();
        let all = inner.exports.values().filter(|one| one.bdev.name() == bdev);
        let found: Vec<(Nqn, u32)> = all.map(|one| (one.nqn.clone(), one.nsid)).collect();
        for (nqn, nsid) in found {
            match inner.target.set_health(&nqn, nsid, health) {
                Ok(changes) => self.shared.apply(&inner, changes),
                Err(error) => tracing::error!(%nqn, nsid, %error, "hosts are not told"),
            }
        }
    }

    /// Has a subsystem listen.
    ///
    /// # Errors
    /// What the model or the system refuses.
    pub fn add_listener(
        &self,
        nqn: &Nqn,
        (address, socket): (Address, SocketAddr),
        state: AnaState,
    ) -> Result<(), ServiceError> {
        let mut inner = self.shared.admit()?;
        if inner.transport.is_none() {
            return Err(ServiceError::NoTransport);
        }
        let changes = inner.target.add_listener(nqn, address.clone(), state)?;
        if let Err(error) = self.listen(&mut inner, &address, socket) {
            // It was added above, so it is there to be removed.
            let _ = inner.target.remove_listener(nqn, &address);
            return Err(error.into());
        }
        self.shared.apply(&inner, changes);
        tracing::info!(%nqn, address = %socket, "listens");
        Ok(())
    }

    fn listen(
        &self,
        inner: &mut Inner,
        address: &Address,
        socket: SocketAddr,
    ) -> Result<(), ListenError> {
        if inner.listening.contains_key(address) {
            return Ok(());
        }
        let (shared, at) = (Arc::downgrade(&self.shared), address.clone());
        let accepted = move |stream, peer| Shared::accepted(&shared, &at, stream, peer);
        let listening = Listening::start(socket, accepted)?;
        inner.listening.insert(address.clone(), listening);
        Ok(())
    }

    /// Has a subsystem no longer listen.
    ///
    /// # Errors
    /// What the model refuses.
    pub fn remove_listener(&self, nqn: &Nqn, address: &Address) -> Result<(), ServiceError> {
        let idle = {
            let mut inner = self.shared.admit()?;
            let changes = inner.target.remove_listener(nqn, address)?;
            self.shared.apply(&inner, changes);
            inner.take_idle_listeners()
        };
        drop(idle);
        Ok(())
    }

    /// Changes the ANA state of a group through a listener, or of all.
    ///
    /// # Errors
    /// What the model refuses.
    pub fn set_ana_state(
        &self,
        nqn: &Nqn,
        address: &Address,
        group: Option<u32>,
        state: AnaState,
    ) -> Result<(), ServiceError> {
        self.change(|target| target.set_ana_state(nqn, address, group, state))
    }

    /// Lets a host connect, or changes its keys.
    ///
    /// # Errors
    /// What the model refuses.
    pub fn add_host(&self, nqn: &Nqn, host: Nqn, entry: HostEntry) -> Result<(), ServiceError> {
        self.change(|target| target.add_host(nqn, host, entry))
    }

    /// Changes the keys of a host that is listed.
    ///
    /// # Errors
    /// If it is not.
    pub fn set_keys(&self, nqn: &Nqn, host: Nqn, entry: HostEntry) -> Result<(), ServiceError> {
        self.change(|target| {
            let subsystem = target.subsystems().get(nqn);
            if subsystem.is_some_and(|subsystem| !subsystem.hosts.contains_key(&host)) {
                return Err(TargetError::NoHost { nqn: nqn.clone(), host });
            }
            target.add_host(nqn, host, entry)
        })
    }

    /// Lets a host connect no more.
    ///
    /// # Errors
    /// What the model refuses.
    pub fn remove_host(&self, nqn: &Nqn, host: &Nqn) -> Result<(), ServiceError> {
        self.change(|target| target.remove_host(nqn, host))
    }

    /// Lets every host connect, or only those that are listed.
    ///
    /// # Errors
    /// What the model refuses.
    pub fn allow_any_host(&self, nqn: &Nqn, allow: bool) -> Result<(), ServiceError> {
        self.change(|target| target.allow_any_host(nqn, allow))
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Target) -> Result<Changes, TargetError>,
    ) -> Result<(), ServiceError> {
        let mut inner = self.shared.admit()?;
        let changes = change(&mut inner.target)?;
        self.shared.apply(&inner, changes);
        Ok(())
    }

    // ---- the end of things

    /// Waits until no request is at the bdev of a namespace, and closes it.
    fn drain(&self, key: u64) -> Option<Arc<dyn Bdev>> {
        let begin = clock::now();
        while !self.retire(key, false) {
            let waited_ns = clock::now().as_nanos() - begin.as_nanos();
            if u128::from(waited_ns) > NVMF_DRAIN_TIME_LIMIT.as_nanos() {
                tracing::error!(key, "requests are given up: their bdev does not answer");
                self.retire(key, true);
                break;
            }
            std::thread::park_timeout(NVMF_DRAIN_SLICE);
        }
        self.shared.lock().exports.remove(&key).map(|export| export.bdev)
    }

    fn retire(&self, key: u64, by_force: bool) -> bool {
        let mut all = true;
        for reactor in &self.shared.reactors {
            // All of them are told, whatever the first one says.
            all &= reactor.call(move |cx| adopt::retire(cx, key, by_force)).unwrap_or(true);
        }
        all
    }

    /// Stops listeners and connections. What is at bdevs goes on there, and no host hears what becomes of it.
    pub fn disconnect(&self) {
        let listening = {
            let mut inner = self.shared.lock();
            inner.is_stopping = true;
            inner.parked.clear();
            std::mem::take(&mut inner.listening)
        };
        drop(listening);
        for reactor in &self.shared.reactors {
            let _ = reactor.call(adopt::close_all);
        }
    }

    /// Stops: listeners, then connections, then what is at bdevs ends. The second call does nothing.
    pub fn stop(&self) {
        self.disconnect();
        let keys: Vec<u64> = self.shared.lock().exports.keys().copied().collect();
        for key in keys {
            self.drain(key);
        }
        let desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(desk) = desk {
            // The desk empties its queue, so there is room some time.
            let _ = self.asks.send(Ask::Stop);
            if desk.join().is_err() {
                tracing::error!("the target's desk has panicked");
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a subsystem has to know of a bdev.
fn facts(bdev: &Arc<dyn Bdev>, key: u64, strip_bytes: u32) -> BdevFacts {
    let info = bdev.info();
    BdevFacts {
        key,
        block_size_bytes: info.block_size_bytes,
        size_blocks: info.num_blocks,
        optimal_write_bytes: info.optimal_write_bytes,
        strip_bytes,
        volatile_cache: info.volatile_cache,
        unmap_reads_zero: info.unmap_reads_zero,
        supported: info.supported,
    }
}

impl Inner {
    /// A key that no namespace has had: commands may have the keys of those that are gone. Its low half is
    /// the least place that is free.
    fn new_key(&mut self) -> u64 {
        self.exported += 1;
        let is_free = |place: &u64| !self.exports.keys().any(|key| place_of(*key) as u64 == *place);
        let place = (0..).find(is_free).unwrap_or_default();
        self.exported << 32 | place
    }

    /// Listeners that no subsystem has any more. Dropping them waits for their threads, which wait for the
    /// lock.
    fn take_idle_listeners(&mut self) -> Vec<Listening> {
        let used = |address: &Address| {
            let mut all = self.target.subsystems().values();
            all.any(|subsystem| subsystem.listeners.contains_key(address))
        };
        let idle: Vec<Address> = self.listening.keys().filter(|at| !used(at)).cloned().collect();
        idle.into_iter().filter_map(|address| self.listening.remove(&address)).collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For changes: not while the service is on its way out.
    fn admit(&self) -> Result<MutexGuard<'_, Inner>, ServiceError> {
        let inner = self.lock();
        if inner.is_stopping { Err(ServiceError::Stopping) } else { Ok(inner) }
    }

    /// Carries a change to the links that it is about.
    fn apply(&self, inner: &Inner, changes: Changes) {
        for (id, update) in changes.0 {
            let is_its = |record: &&Record| record.view.queue.is_some_and(|(of, _)| of == id);
            let links = inner.links.iter().filter(|(_, record)| is_its(record));
            for (no, record) in links {
                let (no, reactor) = (*no, &self.reactors[record.view.reactor]);
                match update.clone() {
                    Update::View { view, changed } => {
                        reactor.send(move |cx| adopt::set_view(cx, no, view, &changed));
                    }
                    Update::Discovery(log) => {
                        reactor.send(move |cx| adopt::set_discovery(cx, no, log));
                    }
                    Update::Close => reactor.send(move |cx| adopt::close(cx, no)),
                }
            }
        }
    }

    /// A listener has accepted a connection.
    fn accepted(shared: &Weak<Self>, address: &Address, stream: TcpStream, peer: SocketAddr) {
        let Some(shared) = shared.upgrade() else { return };
        let mut inner = shared.lock();
        let Some(transport) = inner.transport.filter(|_| !inner.is_stopping) else { return };
        if inner.links.len() >= NVMF_CONNECTIONS_MAX {
            tracing::warn!(%peer, "refused: there are {NVMF_CONNECTIONS_MAX} connections");
            return;
        }
        inner.last_link += 1;
        let no = inner.last_link;
        let index = no as usize % shared.reactors.len();
        let (queue, address) = (None, address.clone());
        let view = LinkView { queue, is_closed: false, reactor: index, address, peer };
        inner.links.insert(no, Record { view, host: None, ends: false });
        let config = ConnectionConfig {
            digests: Digests { header: true, data: true },
            alignment: 0,
            max_h2c_data_bytes: MAX_H2C_DATA_BYTES,
            in_capsule_bytes: transport.in_capsule_bytes,
            c2h_success: transport.c2h_success,
        };
        shared.reactors[index].send(move |cx| adopt::adopt(cx, no, stream, peer, config));
    }
}
