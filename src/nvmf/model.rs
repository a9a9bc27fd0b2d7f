//! A whole target in memory: byte arrays for bdevs, a call for a socket. For tests and fuzzing, and the
//! shortest answer to how a shell uses this core.
//!
//! ```text
//!   feed(bytes) --> Connection --> Queue --> Target | Controller | disk --> Connection --> output
//! ```
//!
//! Invariants, which it checks of the core: a command has a buffer from its acceptance until it is given
//! back, once; a command that is ready is completed once.
//!
//! Not here: anything that a service needs: it allocates, and does one thing at a time.

mod shell;

use std::collections::BTreeMap;

use nvme::pdu::Digests;
use nvme::{Nqn, Sqe};

use super::connection::{CloseReason, Connection, ConnectionConfig, Tag};
use super::controller::Controller;
use super::limits::{IN_CAPSULE_BYTES, MAX_H2C_DATA_BYTES};
use super::nvm::Op;
use super::queue::{Queue, Work};
use super::subsystem::{
    Address, AssociationId, BdevFacts, Changes, NamespaceSpec, SubsystemSpec, Target, TargetConfig,
    Update,
};
use super::view::Identifiers;

/// Index of a connection of the model.
pub type LinkId = usize;

/// In which order commands that are ready are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they became ready.
    Arrival,
    /// In any, drawn from this.
    Shuffled(u64),
}

#[derive(Debug)]
struct Command {
    sqe: Sqe,
    work: Work,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    queue: Queue,
    commands: Vec<Option<Command>>,
    ready: Vec<Tag>,
    association: Option<(AssociationId, u16)>,
    address: Address,
    /// Close when everything has been sent.
    ending: bool,
    closed: bool,
}

/// A target in memory.
#[derive(Debug)]
pub struct Model {
    /// What is exported.
    pub target: Target,
    /// How connections are made.
    pub config: ConnectionConfig,
    /// In which order commands are executed.
    pub order: Order,
    /// The time.
    pub now_us: u64,
    disks: BTreeMap<u64, Vec<u8>>,
    links: Vec<Link>,
    controllers: BTreeMap<AssociationId, (LinkId, Controller)>,
}

/// Digests, alignment and SUCCESS as a service would have them.
#[must_use]
pub fn connection_config() -> ConnectionConfig {
    ConnectionConfig {
        digests: Digests { header: true, data: true },
        alignment: 0,
        max_h2c_data_bytes: MAX_H2C_DATA_BYTES,
        in_capsule_bytes: IN_CAPSULE_BYTES,
        c2h_success: true,
    }
}

/// The address that the model listens on.
#[must_use]
pub fn address() -> Address {
    Address { ipv6: false, address: "192.0.2.1".to_owned(), service: "4420".to_owned() }
}

/// The subsystem of the model.
///
/// # Panics
/// Never.
#[must_use]
pub fn nqn() -> Nqn {
    Nqn::parse("nqn.2016-06.io.spdk:cnode1").expect("a name")
}

/// Facts of a disk of the model.
#[must_use]
pub fn bdev(key: u64, block_size_bytes: u32, size_blocks: u64) -> BdevFacts {
    BdevFacts {
        key,
        block_size_bytes,
        size_blocks,
        optimal_write_bytes: 0,
        strip_bytes: 0,
        volatile_cache: true,
        unmap_reads_zero: true,
        supported: device::IoTypes::ALL,
    }
}

impl Model {
    /// A target with one subsystem that every host may connect to, and one namespace over a disk of
    /// `size_blocks` blocks of 512 bytes.
    ///
    /// # Panics
    /// Never, unless the model itself is wrong.
    #[must_use]
    pub fn new(size_blocks: u64) -> Self {
        let mut model = Self {
            target: Target::new(TargetConfig::default()),
            config: connection_config(),
            order: Order::Arrival,
            now_us: 0,
            disks: BTreeMap::new(),
            links: Vec::new(),
            controllers: BTreeMap::new(),
        };
        let spec = SubsystemSpec {
            nqn: nqn(),
            serial: "SPDK00000000000001".to_owned(),
            model: "raid456".to_owned(),
            namespaces_max: 32,
            cntlid_min: 1,
            cntlid_max: 0xffef,
            allow_any_host: true,
            ana_reporting: true,
        };
        model.target.add_subsystem(spec).expect("a subsystem");
        let state = nvme::log::AnaState::Optimized;
        model.target.add_listener(&nqn(), address(), state).expect("a listener");
        model.add_namespace(size_blocks);
        model
    }

    /// Adds a namespace over a disk of its own; its identifier.
    ///
    /// # Panics
    /// If there is no room.
    pub fn add_namespace(&mut self, size_blocks: u64) -> u32 {
        let key = self.disks.len() as u64;
        self.disks.insert(key, vec![0; size_blocks as usize * 512]);
        let ids =
            Identifiers { uuid: [key as u8 + 1; 16], nguid: [key as u8 + 1; 16], eui64: [0; 8] };
        let bdev = bdev(key, 512, size_blocks);
        let spec = NamespaceSpec { nsid: None, ids, ana_group: None, bdev };
        let (nsid, changes) = self.target.add_namespace(&nqn(), spec).expect("a namespace");
        self.apply(changes);
        nsid
    }

    /// The bytes of a disk.
    #[must_use]
    pub fn disk(&self, key: u64) -> &[u8] {
        &self.disks[&key]
    }

    /// A host has made a connection.
    pub fn open(&mut self) -> LinkId {
        self.links.push(Link {
            connection: Connection::new(self.config, self.now_us),
            queue: Queue::default(),
            commands: Vec::new(),
            ready: Vec::new(),
            association: None,
            address: address(),
            ending: false,
            closed: false,
        });
        self.links.len() - 1
    }

    /// Whether the connection is closed.
    #[must_use]
    pub fn is_closed(&self, link: LinkId) -> bool {
        self.links[link].closed
    }

    /// The connection's own state, to look at.
    #[must_use]
    pub fn connection(&self, link: LinkId) -> &Connection {
        &self.links[link].connection
    }

    /// Carries what a change of `target` means to those who are connected.
    pub fn apply(&mut self, changes: Changes) {
        for (id, update) in changes.0 {
            match update {
                Update::View { view, changed } => {
                    for link in self.links.iter_mut().filter(|link| link.belongs_to(id)) {
                        link.queue.set_view(view.clone());
                    }
                    if let Some((_, controller)) = self.controllers.get_mut(&id) {
                        controller.set_view(view, &changed);
                    }
                }
                Update::Discovery(log) => {
                    if let Some((_, controller)) = self.controllers.get_mut(&id) {
                        controller.set_discovery(log);
                    }
                }
                Update::Close => self.end_association(id),
            }
            self.tell_events(id);
        }
    }

    /// Time passes: connections that it closes, and why.
    pub fn advance(&mut self, us: u64) -> Vec<(LinkId, CloseReason)> {
        self.now_us += us;
        let mut closed = Vec::new();
        for link in 0..self.links.len() {
            if let Some(reason) = self.links[link].connection.tick(self.now_us) {
                self.close(link);
                closed.push((link, reason));
            }
        }
        let now_us = self.now_us;
        let expired: Vec<AssociationId> = self
            .controllers
            .iter()
            .filter(|(_, (_, controller))| controller.is_expired(now_us))
            .map(|(id, _)| *id)
            .collect();
        for id in expired {
            self.end_association(id);
        }
        closed
    }

    /// The host has closed the connection, or it ends.
    pub fn close(&mut self, id: LinkId) {
        let link = &mut self.links[id];
        if link.closed {
            return;
        }
        link.closed = true;
        let commands = &mut link.commands;
        link.connection.close(|tag| {
            commands[usize::from(tag)] = None;
        });
        if let Some((association, qid)) = link.association
            && (self.target.disconnected(association, qid) || qid == 0)
        {
            self.end_association(association);
        }
    }

    fn end_association(&mut self, id: AssociationId) {
        let ended = self.controllers.remove(&id);
        for link in 0..self.links.len() {
            if self.links[link].belongs_to(id) {
                self.close(link);
            }
        }
        if let Some((link, mut controller)) = ended {
            for tag in controller.take_held() {
                self.abandon(link, tag);
            }
        }
    }
}

impl Link {
    fn belongs_to(&self, id: AssociationId) -> bool {
        self.association.is_some_and(|association| association.0 == id)
    }
}

/// Executes a request of an I/O command on the bytes of a disk.
fn execute(
    disk: &mut [u8],
    op: Op,
    offset_bytes: u64,
    len_bytes: u32,
    buffer: &mut [u8],
    ranges: &[(u64, u64)],
) -> bool {
    let range = offset_bytes as usize..offset_bytes as usize + len_bytes as usize;
    match op {
        Op::Read => buffer.copy_from_slice(&disk[range]),
        Op::Write { .. } => disk[range].copy_from_slice(buffer),
        Op::WriteZeroes { .. } => disk[range].fill(0),
        Op::Compare => return disk[range] == *buffer,
        Op::Flush | Op::Verify => {}
        Op::Deallocate { effective: false, .. } => {}
        Op::Deallocate { effective: true, .. } => {
            for (offset_bytes, len_bytes) in ranges {
                disk[*offset_bytes as usize..(offset_bytes + len_bytes) as usize].fill(0);
            }
        }
    }
    true
}
