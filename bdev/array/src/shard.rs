//! One shard of an array on its reactor: the shell around the core.
//!
//! ```text
//!   client channels --submit--> hosts --issue--> member channels            (healthy reads)
//!                                  \---pieces--> own core, or another shard's mailbox
//!   core --actions--> buffers, kernels, member channels --completions--> core --> hosts --> clients
//! ```
//!
//! Everything here runs on one reactor and is reached through one `RefCell`: no lock, no atomic
//! operation but those of the mailboxes. The core decides, this module acts and keeps the bytes.
//!
//! Owns the shell's half of **R5** (the fast path reads only members in sync, and nothing while the
//! array is quiesced) and of **R6** (host requests are refused when the table is full).
//!
//! Not here: how a request falls into parts (`issue`), how actions are carried out (`execute`).

use crate::host::Host;
use crate::limits::{CLIENTS_MAX, HOSTS_MAX, LEASE_CHECK_NS, MESSAGES_PER_TURN_MAX};
use crate::member::{Member, Purpose};
use crate::message::{PieceData, Post};
use crate::piece::{OpBuffers, Pieces};
use crossbeam::channel::Sender;
use device::{BdevInfo, BdevIo, Completion, IoOp, IoStatus, Sgl};
use parity::Kernel;
use raid::coordinator::{Coordinator, Order};
use raid::event::{Actions, Event, PieceId, PieceSpec};
use raid::limits::{STRIPE_OPS_MAX, band_bytes, scratch_bytes};
use raid::member::MemberMap;
use raid::shard::Shard;
use raid::slab::Slab;
use raid::units::{RoleSet, Slot};
use reactor::memory::{IoBuf, IoBufMut, Pool};
use reactor::{Cx, Layer, Poller, Ticks};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// What the shards of one array have in common.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) info: BdevInfo,
    pub(crate) kernel: &'static dyn Kernel,
}

/// Whether a shard takes and issues requests.
#[derive(Debug)]
enum State {
    Running,
    /// Requests are taken and held; what is in flight ends. The control path waits for the word.
    Quiescing {
        ready: Sender<()>,
    },
    Quiesced,
    /// New requests are answered with `Gone`; those that were taken are served.
    Draining,
    Stopped,
}

/// One user of the array on this reactor.
#[derive(Debug, Default)]
struct Client {
    done: VecDeque<Completion>,
    in_flight: usize,
    open: bool,
}

/// A piece that waits for the core.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) origin: usize,
    pub(crate) host: u32,
    pub(crate) spec: PieceSpec,
    pub(crate) data: PieceData,
}

/// Cells of a piece that are lent to a read operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LentCells {
    pub(crate) piece: PieceId,
    pub(crate) row: u32,
    pub(crate) strips: RoleSet,
}

/// A read of one strip, while its member has the request itself: what to put back into it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DirectRead {
    pub(crate) client: u32,
    pub(crate) token: u64,
    pub(crate) offset_bytes: u64,
}

/// Work of the shell, counted since the shard was built.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShellCounters {
    /// Strip reads that went straight to a member.
    pub direct_reads: u64,
    /// Of those, the ones that a member failed and that went to the stripe's owner.
    pub failed_direct_reads: u64,
    /// Pieces handed to another shard.
    pub forwards: u64,
    /// Pieces handed to this shard's own core.
    pub local_pieces: u64,
    /// Bytes of host requests answered well.
    pub host_bytes: u64,
}

/// The shard.
#[derive(Debug)]
pub(crate) struct ArrayShard {
    pub(crate) common: Arc<Common>,
    pub(crate) index: usize,
    pub(crate) core: Shard,
    pub(crate) actions: Actions,
    /// On shard 0.
    pub(crate) coordinator: Option<Coordinator>,
    pub(crate) orders: VecDeque<Order>,
    pub(crate) members: Vec<Option<Member>>,
    pub(crate) hosts: Slab<Host>,
    pub(crate) direct_reads: Slab<DirectRead>,
    pub(crate) post: Post,
    pub(crate) pieces: Pieces,
    pub(crate) buffers: OpBuffers,
    pub(crate) lent: Vec<Option<LentCells>>,
    pub(crate) pool: Pool,
    pub(crate) zeroes: IoBuf,
    /// Lists of buffers to be used again.
    pub(crate) lists: Vec<Vec<IoBuf>>,
    pub(crate) incoming: VecDeque<Incoming>,
    /// Requests that wait for the array to be resumed.
    held: VecDeque<u32>,
    clients: Vec<Client>,
    state: State,
    pub(crate) core_quiesced: bool,
    /// Member requests made for hosts and not for the core.
    pub(crate) direct: usize,
    last_flush: Option<LastFlush>,
    done: Vec<Completion>,
    next_lease_check: Ticks,
    pub(crate) counters: ShellCounters,
}

#[derive(Debug)]
struct LastFlush {
    pending: usize,
    failed: Vec<IoStatus>,
    ready: Sender<Vec<IoStatus>>,
}

/// What a shard is built from.
pub(crate) struct Parts {
    pub(crate) common: Arc<Common>,
    pub(crate) index: usize,
    pub(crate) core: Shard,
    pub(crate) coordinator: Option<Coordinator>,
    pub(crate) members: Vec<Option<Member>>,
    pub(crate) post: Post,
}

impl ArrayShard {
    /// A running shard.
    ///
    /// # Errors
    /// When there is no memory for its scratch buffers.
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let Parts { common, index, core, coordinator, members, post } = parts;
        let geometry = core.geometry().clone();
        let band = band_bytes(geometry.members(), geometry.strip_bytes());
        let scratch = scratch_bytes(geometry.members(), geometry.strip_bytes());
        Ok(Self {
            common,
            index,
            core,
            actions: Actions::with_capacity(1024),
            coordinator,
            orders: VecDeque::new(),
            members,
            hosts: Slab::new(2 * HOSTS_MAX),
            direct_reads: Slab::new(HOSTS_MAX),
            post,
            pieces: Pieces::new(),
            buffers: OpBuffers::new(geometry.data_strips(), geometry.members()),
            lent: vec![None; STRIPE_OPS_MAX],
            pool: Pool::new(scratch)?,
            zeroes: IoBufMut::heap(band as usize).freeze(),
            lists: Vec::new(),
            incoming: VecDeque::new(),
            held: VecDeque::new(),
            clients: Vec::new(),
            state: State::Running,
            core_quiesced: false,
            direct: 0,
            last_flush: None,
            done: Vec::new(),
            next_lease_check: Ticks(0),
            counters: ShellCounters::default(),
        })
    }

    /// Registers a user; `None` when there are too many.
    pub(crate) fn add_client(&mut self) -> Option<u32> {
        let client = Client { open: true, ..Client::default() };
        let unused = |client: &Client| !client.open && client.in_flight == 0;
        match self.clients.iter().position(unused) {
            Some(index) => {
                self.clients[index] = client;
                u32::try_from(index).ok()
            }
            None if self.clients.len() < CLIENTS_MAX => {
                self.clients.push(client);
                u32::try_from(self.clients.len() - 1).ok()
            }
            None => None,
        }
    }

    /// A user is gone: what it has in flight ends unheard.
    pub(crate) fn remove_client(&mut self, client: u32) {
        let client = &mut self.clients[client as usize];
        client.open = false;
        client.done.clear();
    }

    /// Takes a host request.
    ///
    /// # Errors
    /// The request, when the table of requests is full.
    pub(crate) fn submit(&mut self, client: u32, io: BdevIo) -> Result<(), BdevIo> {
        let refused = match self.state {
            State::Draining | State::Stopped => Err(IoStatus::Gone),
            State::Running | State::Quiescing { .. } | State::Quiesced => {
                self.common.info.admit(&io)
            }
        };
        if let Err(status) = refused {
            self.clients[client as usize].done.push_back(io.complete(status));
            return Ok(());
        }
        if matches!(self.state, State::Running)
            && let Some((slot, member_byte)) = self.direct_place(&io)
        {
            return self.submit_direct(client, io, slot, member_byte);
        }
        if self.is_full() {
            return Err(io);
        }
        self.clients[client as usize].in_flight += 1;
        let host = self.hosts.insert(Host::new(client, io)).expect("there is a vacant entry");
        match self.state {
            State::Running => self.issue(host),
            _ => self.held.push_back(host),
        }
        Ok(())
    }

    /// Whether new requests are refused. Every direct read keeps an entry in reserve, should its member
    /// fail it.
    fn is_full(&self) -> bool {
        self.hosts.vacant() <= self.direct_reads.len()
    }

    /// Sends a read of one strip to its member as it is: the fast path.
    fn submit_direct(
        &mut self,
        client: u32,
        mut io: BdevIo,
        slot: Slot,
        member_byte: u64,
    ) -> Result<(), BdevIo> {
        if self.is_full() {
            return Err(io);
        }
        let read = DirectRead { client, token: io.token, offset_bytes: io.offset_bytes };
        let Ok(index) = self.direct_reads.insert(read) else { return Err(io) };
        self.clients[client as usize].in_flight += 1;
        self.direct += 1;
        self.counters.direct_reads += 1;
        io.token = Purpose::DirectRead { index, slot }.token();
        io.offset_bytes = member_byte;
        self.member(slot).submit(io);
        Ok(())
    }

    /// A read of one strip came back. What the member failed goes to the stripe's owner.
    fn direct_done(&mut self, index: u32, slot: Slot, mut done: Completion) {
        self.direct -= 1;
        let DirectRead { client, token, offset_bytes } = self.direct_reads.remove(index);
        if !done.status.is_ok() {
            return self.recover_direct(client, token, offset_bytes, slot, done.io);
        }
        done.io.token = token;
        done.io.offset_bytes = offset_bytes;
        self.counters.host_bytes += done.io.len_bytes;
        let client = &mut self.clients[client as usize];
        client.in_flight -= 1;
        if client.open {
            client.done.push_back(done);
        }
    }

    /// Moves up to `max` answers to a user.
    pub(crate) fn take_done(
        &mut self,
        client: u32,
        max: usize,
        out: &mut Vec<Completion>,
    ) -> usize {
        let done = &mut self.clients[client as usize].done;
        let count = done.len().min(max);
        out.extend(done.drain(..count));
        count
    }

    /// Whether requests may be issued now; else they are held until the array is resumed.
    pub(crate) fn may_issue(&self) -> bool {
        matches!(self.state, State::Running | State::Draining)
    }

    /// Holds a request whose next parts must wait for the array to be resumed.
    pub(crate) fn hold(&mut self, host: u32) {
        self.held.push_back(host);
    }

    /// Answers a host request.
    pub(crate) fn complete_host(&mut self, id: u32, part: Option<IoOp>) {
        let host = self.hosts.remove(id);
        let client = &mut self.clients[host.client as usize];
        client.in_flight -= 1;
        if host.status.is_ok() {
            self.counters.host_bytes += host.len_bytes;
        }
        if client.open {
            client.done.push_back(host.into_completion(part));
        }
    }

    /// Completions of members, messages of other shards, and what follows from them.
    fn poll(&mut self, now: Ticks) -> usize {
        let mut progress = self.poll_members(now);
        for _ in 0..MESSAGES_PER_TURN_MAX {
            let Some(message) = self.post.take(self.index) else { break };
            self.on_message(now, message);
            progress += 1;
        }
        self.pump(now);
        if now >= self.next_lease_check {
            self.next_lease_check = Ticks(now.0 + LEASE_CHECK_NS);
            self.core.return_leases(now.0, false, &mut self.actions);
            self.pump(now);
        }
        self.check_quiesced();
        self.post.flush();
        progress
    }

    fn poll_members(&mut self, now: Ticks) -> usize {
        let mut progress = 0;
        let mut done = std::mem::take(&mut self.done);
        for index in 0..self.members.len() {
            let Some(member) = &mut self.members[index] else { continue };
            progress += member.poll(&mut done);
            for completion in done.drain(..) {
                self.on_completion(now, completion);
            }
        }
        self.done = done;
        progress
    }

    fn on_completion(&mut self, now: Ticks, completion: Completion) {
        let purpose = Purpose::of(completion.io.token);
        if let Purpose::DirectRead { index, slot } = purpose {
            return self.direct_done(index, slot, completion);
        }
        let Completion { io, status } = completion;
        match purpose {
            Purpose::DirectRead { .. } => {}
            Purpose::HostRead { host, slot } => {
                self.direct -= 1;
                self.strip_read_done(host, slot, io, status);
            }
            Purpose::HostFlush { host } => {
                self.direct -= 1;
                self.part_ended(host, status, None);
            }
            Purpose::OpRead { op, role } => {
                if let IoOp::Read { into } = io.op {
                    self.buffers.put(op, role, into);
                }
                let event = Event::ReadDone { op, role, ok: status.is_ok() };
                self.core.handle(now.0, event, &mut self.actions);
            }
            Purpose::OpWrite { op, role } => {
                if let IoOp::Write { from: Sgl::Many(mut list), .. } = io.op {
                    list.clear();
                    self.lists.push(list);
                }
                let event = Event::WriteDone { op, role, ok: status.is_ok() };
                self.core.handle(now.0, event, &mut self.actions);
            }
            Purpose::LastFlush => self.last_flush_done(status),
        }
    }

    /// End of the reactor's turn.
    fn unplug(&mut self, now: Ticks) {
        self.pump(now);
        self.core.unplug(now.0, &mut self.actions);
        self.pump(now);
        self.post.flush();
    }

    /// Lets what is in flight end and holds everything else; `ready` gets a word when it has.
    pub(crate) fn quiesce(&mut self, now: Ticks, ready: Sender<()>) {
        self.state = State::Quiescing { ready };
        self.core.quiesce(&mut self.actions);
        self.pump(now);
        self.check_quiesced();
        self.post.flush();
    }

    fn check_quiesced(&mut self) {
        if let State::Quiescing { ready } = &self.state
            && self.core_quiesced
            && self.direct == 0
        {
            // A control thread that no longer listens has given up; there is nobody to tell.
            let _ = ready.try_send(());
            self.state = State::Quiesced;
        }
    }

    /// Goes on with the members as they are now.
    pub(crate) fn resume(&mut self, now: Ticks, map: MemberMap) {
        self.state = State::Running;
        self.core_quiesced = false;
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.set_degraded(!map.is_optimal());
        }
        for slot in map.missing().iter() {
            self.members[slot.index()] = None;
        }
        self.core.resume(map, now.0, &mut self.actions);
        for _ in 0..self.held.len() {
            let Some(host) = self.held.pop_front() else { break };
            self.issue(host);
        }
        self.pump(now);
        self.post.flush();
    }

    /// Refuses new requests from now on.
    pub(crate) fn drain(&mut self) {
        self.state = State::Draining;
    }

    /// Whether no host request is unanswered, here or on behalf of another shard.
    pub(crate) fn is_drained(&self) -> bool {
        self.hosts.is_empty()
            && self.direct_reads.is_empty()
            && self.incoming.is_empty()
            && self.post.is_flushed()
    }

    /// Flushes every member once; `ready` gets the failures.
    pub(crate) fn flush_members(&mut self, ready: Sender<Vec<IoStatus>>) {
        let present = self.members.iter().flatten().count();
        self.last_flush = Some(LastFlush { pending: present + 1, failed: Vec::new(), ready });
        for member in self.members.iter_mut().flatten() {
            member.submit(BdevIo::flush(Purpose::LastFlush.token()));
        }
        // One more than there are members, so that an array without any answers too.
        self.last_flush_done(IoStatus::Ok);
    }

    fn last_flush_done(&mut self, status: IoStatus) {
        let flush = self.last_flush.as_mut().expect("a last flush is under way");
        flush.pending -= 1;
        if !status.is_ok() {
            flush.failed.push(status);
        }
        if flush.pending == 0 {
            let _ = flush.ready.try_send(std::mem::take(&mut flush.failed));
            self.last_flush = None;
        }
    }

    /// Closes the members' channels. Later requests are answered with `Gone`.
    pub(crate) fn stop(&mut self) {
        self.state = State::Stopped;
        self.members.iter_mut().for_each(|member| *member = None);
    }

    fn can_sleep(&self) -> bool {
        self.post.is_flushed() && self.incoming.is_empty() && self.actions.is_empty()
    }

    /// Where a member's channel is.
    ///
    /// # Panics
    /// If the member is missing: a plan went wrong (**R5**).
    pub(crate) fn member(&mut self, slot: Slot) -> &mut Member {
        let member = self.members[slot.index()].as_mut();
        member.unwrap_or_else(|| panic!("slot {slot:?} has no member and must not be used"))
    }

    /// Carries out what the core wants, and feeds it pieces, until there is nothing more to do.
    ///
    /// A piece is submitted only between actions: the core frees a piece's index before the shell has
    /// seen its `Complete`.
    pub(crate) fn pump(&mut self, now: Ticks) {
        loop {
            if let Some(action) = self.actions.pop_front() {
                self.execute(now, action);
            } else if let Some(order) = self.orders.pop_front() {
                self.obey(now, order);
            } else if self.incoming.is_empty() || self.core.is_full() {
                return;
            } else {
                self.admit();
            }
        }
    }

    pub(crate) fn note_quiesced(&mut self) {
        self.core_quiesced = true;
    }

    /// Asks the coordinator, which is here, to resync what is not in sync.
    pub(crate) fn start_resync(&mut self, now: Ticks) {
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.start_resync(&mut self.orders);
        }
        self.pump(now);
        self.post.flush();
    }
}

/// Lets the reactor drive a shard.
#[derive(Debug)]
pub(crate) struct ShardPoller {
    name: String,
    shard: Rc<RefCell<ArrayShard>>,
}

impl ShardPoller {
    pub(crate) fn new(shard: Rc<RefCell<ArrayShard>>) -> Self {
        let name = format!("array {}", shard.borrow().common.info.name);
        Self { name, shard }
    }
}

impl Poller for ShardPoller {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll(&mut self, cx: &mut Cx) -> usize {
        self.shard.borrow_mut().poll(cx.now())
    }

    fn unplug(&mut self, cx: &mut Cx) {
        self.shard.borrow_mut().unplug(cx.now());
    }

    fn can_sleep(&self) -> bool {
        self.shard.borrow().can_sleep()
    }

    fn layer(&self) -> Layer {
        Layer::Array
    }
}
