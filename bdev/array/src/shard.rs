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

use crate::conduct::Conductor;
use crate::host::Host;
use crate::limits::{
    CLIENTS_MAX, HOSTS_MAX, LEASE_CHECK_NS, LOG_BUFFER_BYTES, MESSAGES_PER_TURN_MAX,
};
use crate::member::{Graveyard, Member, Purpose};
use crate::message::{PieceData, Post};
use crate::patience::Patience;
use crate::piece::{OpBuffers, Pieces};
use crate::snapshot::MemberErrors;
use crate::trace::Tracer;
use crossbeam::utils::CachePadded;
use device::{BdevInfo, BdevIo, Completion, IoOp, IoStatus, Lingering, Sgl};
use parity::Kernel;
use raid::bitmap::Bitmap;
use raid::coordinator::Input;
use raid::event::{Actions, Event, FailCause, PieceId, PieceSpec};
use raid::limits::{STRIPE_OPS_MAX, band_bytes, scratch_bytes};
use raid::member::MemberMap;
use raid::shard::{Shard, Writes};
use raid::slab::Slab;
use raid::units::{RoleSet, Slot};
use reactor::memory::{IoBuf, IoBufMut, Pool};
use reactor::{Cx, Layer, Poller, Ticks};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// What the shards of one array have in common.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) info: Arc<BdevInfo>,
    /// The kernel in use: its place among `parity::available()`.
    pub(crate) kernel: AtomicUsize,
    /// How long a request may be with a member.
    pub(crate) io_timeout_ns: u64,
    /// Host writes are held until the owner says something.
    pub(crate) waits_for_owner: AtomicBool,
    /// Bytes that hosts have read and written, by shard: each is written by its own shard only.
    pub(crate) host_bytes: Box<[CachePadded<AtomicU64>]>,
}

impl Common {
    /// The kernel in use.
    pub(crate) fn kernel(&self) -> &'static dyn Kernel {
        parity::available()[self.kernel.load(Ordering::Relaxed)]
    }

    /// Bytes that hosts have read and written so far, on all shards.
    pub(crate) fn foreground_bytes(&self) -> u64 {
        self.host_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }
}

/// Whether a shard issues requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Requests are taken and held; what is in flight ends.
    Closing,
    Closed,
}

/// Whether a shard takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Open,
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
    /// Of one that is gone: what it had in flight, which nobody may overtake.
    lingering: Option<Lingering>,
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
    /// Most host requests at a time, but for reads that went straight to a member.
    pub hosts_most: u64,
    /// Bytes of parity and of lost strips that were computed, or compared with what is there.
    pub computed_bytes: u64,
}

impl ShellCounters {
    /// Adds what another shard has counted.
    pub fn merge(&mut self, other: &Self) {
        self.direct_reads += other.direct_reads;
        self.failed_direct_reads += other.failed_direct_reads;
        self.forwards += other.forwards;
        self.local_pieces += other.local_pieces;
        self.host_bytes += other.host_bytes;
        self.hosts_most += other.hosts_most;
        self.computed_bytes += other.computed_bytes;
    }
}

/// The shard.
#[derive(Debug)]
pub(crate) struct ArrayShard {
    pub(crate) common: Arc<Common>,
    pub(crate) index: usize,
    pub(crate) core: Shard,
    pub(crate) actions: Actions,
    /// On shard 0.
    pub(crate) conductor: Option<Box<Conductor>>,
    pub(crate) members: Vec<Option<Member>>,
    /// A device that is about to take a slot.
    joining: Option<(Slot, Member)>,
    pub(crate) graveyard: Graveyard,
    /// Host flushes that wait until a member's failure is durable.
    pub(crate) parked_flushes: Vec<u32>,
    pub(crate) hosts: Slab<Host>,
    pub(crate) direct_reads: Slab<DirectRead>,
    pub(crate) post: Post,
    pub(crate) pieces: Pieces,
    pub(crate) buffers: OpBuffers,
    pub(crate) lent: Vec<Option<LentCells>>,
    /// Scratch memory of stripe operations, and of nothing else: one that is alone gets what it needs.
    pub(crate) pool: Rc<Pool>,
    /// For what is written to the log bdev, on the shard that has it.
    pub(crate) log_pool: Option<Rc<Pool>>,
    pub(crate) zeroes: IoBuf,
    /// Lists of buffers to be used again.
    pub(crate) lists: Vec<Vec<IoBuf>>,
    pub(crate) incoming: VecDeque<Incoming>,
    /// Requests that wait for the array to be resumed.
    held: VecDeque<u32>,
    clients: Vec<Client>,
    gate: Gate,
    admission: Admission,
    core_quiesced: bool,
    /// Member requests made for hosts and not for the core.
    pub(crate) direct: usize,
    done: Vec<Completion>,
    pub(crate) now: Ticks,
    pub(crate) patience: Patience,
    next_check: Ticks,
    pub(crate) counters: ShellCounters,
    pub(crate) tracer: Tracer,
    /// Requests that members failed, by slot.
    pub(crate) member_errors: Box<[MemberErrors]>,
}

/// What a shard is built from.
pub(crate) struct Parts {
    pub(crate) common: Arc<Common>,
    pub(crate) index: usize,
    pub(crate) core: Shard,
    pub(crate) conductor: Option<Box<Conductor>>,
    pub(crate) members: Vec<Option<Member>>,
    pub(crate) post: Post,
}

impl ArrayShard {
    /// A running shard.
    ///
    /// # Errors
    /// When there is no memory for its scratch buffers.
    pub(crate) fn new(parts: Parts, cx: &mut Cx) -> io::Result<Self> {
        let Parts { common, index, core, conductor, members, post } = parts;
        let geometry = core.geometry().clone();
        let member_errors = vec![MemberErrors::default(); geometry.members()].into_boxed_slice();
        let band = band_bytes(geometry.members(), geometry.strip_bytes());
        let scratch = scratch_bytes(geometry.members(), geometry.strip_bytes());
        let has_log = conductor.as_ref().is_some_and(|conductor| conductor.has_log());
        let log_pool = has_log.then(|| cx.new_pool(LOG_BUFFER_BYTES)).transpose()?;
        Ok(Self {
            common,
            index,
            core,
            actions: Actions::with_capacity(1024),
            conductor,
            members,
            joining: None,
            graveyard: Graveyard::default(),
            parked_flushes: Vec::new(),
            hosts: Slab::new(2 * HOSTS_MAX),
            direct_reads: Slab::new(HOSTS_MAX),
            post,
            pieces: Pieces::new(),
            buffers: OpBuffers::new(geometry.data_strips(), geometry.members()),
            lent: vec![None; STRIPE_OPS_MAX],
            pool: cx.new_pool(scratch)?,
            log_pool,
            zeroes: IoBufMut::heap(band as usize).freeze(),
            lists: Vec::new(),
            incoming: VecDeque::new(),
            held: VecDeque::new(),
            clients: Vec::new(),
            gate: Gate::Open,
            admission: Admission::Open,
            core_quiesced: false,
            direct: 0,
            done: Vec::new(),
            now: Ticks(0),
            patience: Patience::default(),
            next_check: Ticks(0),
            counters: ShellCounters::default(),
            tracer: Tracer::default(),
            member_errors,
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

    /// A user is gone: what it has in flight ends unheard, and as soon as it can. What was acknowledged since
    /// must not be overwritten by it, so the array counts as one with requests of somebody who has given it up.
    pub(crate) fn remove_client(&mut self, id: u32) {
        let client = &mut self.clients[id as usize];
        client.open = false;
        client.done.clear();
        if client.in_flight > 0 {
            client.lingering = Some(Lingering::begin(self.common.info.uuid, client.in_flight));
        }
        self.tracer.forget(id);
        for host in std::mem::take(&mut self.held) {
            self.hold_or_end(host);
        }
    }

    /// Whether a request's user is gone.
    pub(crate) fn is_given_up(&self, host: u32) -> bool {
        !self.clients[self.hosts[host].client as usize].open
    }

    fn hold_or_end(&mut self, host: u32) {
        match self.is_given_up(host) {
            true => self.complete_host(host, None),
            false => self.held.push_back(host),
        }
    }

    /// A request of a user ends; the user, if it is still there.
    fn end_request(&mut self, client: u32) -> Option<&mut Client> {
        let client = &mut self.clients[client as usize];
        client.in_flight -= 1;
        if let Some(lingering) = &mut client.lingering {
            lingering.ended(1);
        }
        Some(client).filter(|client| client.open)
    }

    /// Takes a host request.
    ///
    /// # Errors
    /// The request, when the table of requests is full.
    pub(crate) fn submit(&mut self, client: u32, io: BdevIo) -> Result<(), BdevIo> {
        let refused = match self.admission {
            Admission::Draining | Admission::Stopped => Err(IoStatus::Gone),
            Admission::Open => self.common.info.admit(&io),
        };
        if let Err(status) = refused {
            self.clients[client as usize].done.push_back(io.complete(status));
            return Ok(());
        }
        if self.may_issue()
            && let Some((slot, member_byte)) = self.direct_place(&io)
        {
            return self.submit_direct(client, io, slot, member_byte);
        }
        if self.is_full() {
            return Err(io);
        }
        self.clients[client as usize].in_flight += 1;
        let host = self.hosts.insert(Host::new(client, io)).expect("there is a vacant entry");
        self.counters.hosts_most = self.counters.hosts_most.max(self.hosts.len() as u64);
        match self.may_issue() {
            true => self.issue(host),
            false => self.held.push_back(host),
        }
        Ok(())
    }

    /// The same for a request that is followed.
    #[cold]
    pub(crate) fn submit_traced(&mut self, client: u32, io: BdevIo) -> Result<(), BdevIo> {
        let array = &self.common.info.name;
        self.tracer.submitted(array, client, &io, self.now);
        let outcome = self.submit(client, io);
        if outcome.is_err() {
            self.tracer.handed_back(&self.common.info.name);
        }
        outcome
    }

    /// Answers go to a user, some of which may be followed.
    #[cold]
    pub(crate) fn trace_answers(&mut self, client: u32, done: &[Completion]) {
        self.tracer.answered(&self.common.info.name, client, done, self.now);
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
        self.submit_to_member(slot, io);
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
        if let Some(client) = self.end_request(client) {
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
        self.gate == Gate::Open
    }

    /// Holds a request whose next parts must wait for the array to be resumed.
    pub(crate) fn hold(&mut self, host: u32) {
        self.hold_or_end(host);
    }

    /// Answers a host request.
    pub(crate) fn complete_host(&mut self, id: u32, part: Option<IoOp>) {
        let host = self.hosts.remove(id);
        if host.status.is_ok() {
            self.counters.host_bytes += host.len_bytes;
        }
        if let Some(client) = self.end_request(host.client) {
            client.done.push_back(host.into_completion(part));
        }
    }

    /// Completions of members, messages of other shards, and what follows from them.
    fn poll(&mut self, now: Ticks) -> usize {
        self.now = now;
        self.patience.turn(now);
        let mut progress = self.poll_members(now);
        progress += self.poll_log(now);
        progress += self.poll_metadata(now);
        for _ in 0..MESSAGES_PER_TURN_MAX {
            let Some(message) = self.post.take(self.index) else { break };
            self.on_message(now, message);
            progress += 1;
        }
        self.pump(now);
        if now >= self.next_check {
            self.next_check = Ticks(now.0 + LEASE_CHECK_NS);
            let all = self.admission != Admission::Open;
            self.core.return_leases(now.0, all, &mut self.actions);
            self.check_overdue(now);
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
            progress += member.poll(self.patience.now_ns(), &mut done);
            for completion in done.drain(..) {
                self.on_completion(now, completion);
            }
        }
        if self.graveyard.poll(&mut done) {
            self.core.feed_starved(now.0, &mut self.actions);
        }
        self.done = done;
        progress
    }

    /// Members that do not answer in time are failed, here and on every shard.
    fn check_overdue(&mut self, now: Ticks) {
        let limit_ns = self.common.io_timeout_ns;
        for index in 0..self.members.len() {
            let Some(member) = &mut self.members[index] else { continue };
            if member.is_overdue(self.patience.now_ns(), limit_ns) {
                let slot = Slot(u8::try_from(index).expect("at most 255 members"));
                self.abandon(now, slot, IoStatus::TimedOut);
                let cause = FailCause::TimedOut;
                self.tell_coordinator(now, Input::MemberFailed { slot, cause });
            }
        }
    }

    /// Answers for a member that does not, and uses it no more. The core learns of failures only, which
    /// it would learn of from the device as well.
    pub(crate) fn abandon(&mut self, now: Ticks, slot: Slot, status: IoStatus) {
        let Some(member) = self.members[slot.index()].take_if(|member| !member.is_dead()) else {
            return;
        };
        tracing::warn!(array = self.common.info.name, %slot, %status, "member is given up");
        self.members[slot.index()] = Some(Member::dead(status));
        for completion in member.abandon(status, &mut self.graveyard) {
            self.on_completion(now, completion);
        }
    }

    fn on_completion(&mut self, now: Ticks, completion: Completion) {
        let purpose = Purpose::of(completion.io.token);
        if !completion.status.is_ok() {
            self.count_error(purpose, &completion);
        }
        if completion.status == IoStatus::Gone
            && let Some(slot) = self.slot_of(purpose)
        {
            self.tell_coordinator(now, Input::MemberFailed { slot, cause: FailCause::Gone });
        }
        if let Purpose::DirectRead { index, slot } = purpose {
            return self.direct_done(index, slot, completion);
        }
        let Completion { io, status } = completion;
        let ok = status.is_ok();
        match purpose {
            Purpose::DirectRead { .. } | Purpose::LogWrite | Purpose::LogFlush => {}
            Purpose::HostRead { host, slot } => {
                self.direct -= 1;
                self.strip_read_done(host, slot, io, status);
            }
            Purpose::HostFlush { host, slot } => self.flush_part_done(now, host, slot, status),
            Purpose::OpRead { op, role } if status == IoStatus::MediaError => {
                let token = Purpose::OpReadAgain { op, role }.token();
                self.submit_to_member(self.core.slot_of(op, role), BdevIo { token, ..io });
            }
            Purpose::OpRead { op, role } | Purpose::OpReadAgain { op, role } => {
                if let IoOp::Read { into } = io.op {
                    self.buffers.put(op, role, into);
                }
                self.core.handle(now.0, Event::ReadDone { op, role, ok }, &mut self.actions);
            }
            Purpose::OpWrite { op, role } => {
                if let IoOp::Write { from: Sgl::Many(mut list), .. } = io.op {
                    list.clear();
                    self.lists.push(list);
                }
                self.core.handle(now.0, Event::WriteDone { op, role, ok }, &mut self.actions);
            }
            Purpose::Flush { slot } => {
                self.tell_coordinator(now, Input::MemberFlushed { slot, ok });
            }
            Purpose::Superblock { slot } => self.superblock_step(now, slot, ok),
        }
    }

    /// A request that came back failed. Those that were given up with their member count for nothing.
    #[cold]
    fn count_error(&mut self, purpose: Purpose, Completion { io, status }: &Completion) {
        let Some(slot) = self.slot_of(purpose).filter(|_| *status != IoStatus::Aborted) else {
            return;
        };
        let errors = &mut self.member_errors[slot.index()];
        match io.op {
            IoOp::Read { .. } => errors.reads += 1,
            IoOp::Flush => errors.flushes += 1,
            IoOp::Write { .. } | IoOp::Unmap | IoOp::WriteZeroes { .. } => errors.writes += 1,
        }
    }

    /// The member that a request went to.
    fn slot_of(&self, purpose: Purpose) -> Option<Slot> {
        match purpose {
            Purpose::DirectRead { slot, .. }
            | Purpose::HostRead { slot, .. }
            | Purpose::HostFlush { slot, .. }
            | Purpose::Flush { slot }
            | Purpose::Superblock { slot } => Some(slot),
            Purpose::OpRead { op, role }
            | Purpose::OpReadAgain { op, role }
            | Purpose::OpWrite { op, role } => Some(self.core.slot_of(op, role)),
            Purpose::LogWrite | Purpose::LogFlush => None,
        }
    }

    /// End of the reactor's turn.
    fn unplug(&mut self, now: Ticks) {
        self.now = now;
        self.pump(now);
        self.core.unplug(now.0, &mut self.actions);
        self.pump(now);
        self.common.host_bytes[self.index].store(self.counters.host_bytes, Ordering::Relaxed);
        self.conduct(now);
        self.post.flush();
    }

    /// Lets what is in flight end and holds everything else.
    pub(crate) fn quiesce(&mut self) {
        self.gate = Gate::Closing;
        self.core_quiesced = false;
        self.core.quiesce(&mut self.actions);
    }

    fn check_quiesced(&mut self) {
        if self.gate == Gate::Closing && self.core_quiesced && self.direct == 0 {
            self.gate = Gate::Closed;
            self.tell_coordinator(self.now, Input::Quiesced);
        }
    }

    /// Goes on with the members as they are now.
    pub(crate) fn resume(
        &mut self,
        now: Ticks,
        map: &MemberMap,
        stale: Option<Arc<Bitmap>>,
        writes: Writes,
    ) {
        self.gate = Gate::Open;
        self.core_quiesced = false;
        for slot in map.missing().iter() {
            if let Some(member) = self.members[slot.index()].take() {
                // Nothing of the core's or the hosts' is in flight; a flush or superblock may be.
                for completion in member.abandon(IoStatus::Aborted, &mut self.graveyard) {
                    self.on_completion(now, completion);
                }
            }
        }
        if let Some((slot, member)) = self.joining.take() {
            match map.writable().contains(slot) {
                true => {
                    self.members[slot.index()] = Some(member);
                    self.member_errors[slot.index()] = MemberErrors::default();
                }
                false => self.joining = Some((slot, member)),
            }
        }
        for slot in map.writable().iter() {
            if self.members[slot.index()].is_none() {
                // Whatever has become of its channel here: it cannot be a member.
                self.members[slot.index()] = Some(Member::dead(IoStatus::Gone));
                self.tell_coordinator(now, Input::MemberFailed { slot, cause: FailCause::Gone });
            }
        }
        let stale = stale.map(Arc::unwrap_or_clone);
        self.core.resume(map.clone(), stale, writes, now.0, &mut self.actions);
        for _ in 0..self.held.len() {
            let Some(host) = self.held.pop_front() else { break };
            self.issue(host);
        }
        if writes == Writes::Allowed {
            self.retry_flushes();
        }
    }

    /// Keeps a device for a slot that it is about to take.
    pub(crate) fn prepare(&mut self, slot: Slot, member: Member) {
        self.joining = Some((slot, member));
    }

    /// The device does not take its slot after all.
    pub(crate) fn unprepare(&mut self) {
        self.joining = None;
    }

    /// Refuses new requests from now on.
    pub(crate) fn drain(&mut self) {
        self.admission = Admission::Draining;
        self.next_check = Ticks(0);
    }

    /// Whether no host request is unanswered, here or on behalf of another shard.
    pub(crate) fn is_drained(&self) -> bool {
        self.hosts.is_empty()
            && self.direct_reads.is_empty()
            && self.incoming.is_empty()
            && self.post.is_flushed()
    }

    /// Closes the members' channels. Later requests are answered with `Gone`. What devices still have
    /// stays with the reactor, until they have let go of it.
    pub(crate) fn stop(&mut self, cx: &mut Cx) {
        self.admission = Admission::Stopped;
        let conductor = self.conductor.take().map(|conductor| conductor.into_devices());
        let members = self.members.iter_mut().filter_map(Option::take);
        let joining = self.joining.take().map(|(_, member)| member);
        for device in members.chain(joining).chain(conductor.into_iter().flatten()) {
            // Nobody is left to hear of it.
            drop(device.abandon(IoStatus::Aborted, &mut self.graveyard));
        }
        self.graveyard.hand_over(cx);
    }

    fn can_sleep(&self) -> bool {
        let idle = self.conductor.as_ref().is_none_or(|conductor| conductor.can_sleep());
        idle && self.post.is_flushed() && self.incoming.is_empty() && self.actions.is_empty()
    }

    /// Sends a request to a member.
    ///
    /// # Panics
    /// If the member is missing: a plan went wrong (**R5**).
    pub(crate) fn submit_to_member(&mut self, slot: Slot, io: BdevIo) {
        let member = self.members[slot.index()].as_mut();
        let member =
            member.unwrap_or_else(|| panic!("slot {slot:?} has no member and must not be used"));
        member.submit(io, self.patience.now_ns());
    }

    /// Carries out what the core wants, and feeds it pieces, until there is nothing more to do.
    ///
    /// A piece is submitted only between actions: the core frees a piece's index before the shell has
    /// seen its `Complete`.
    pub(crate) fn pump(&mut self, now: Ticks) {
        loop {
            if let Some(action) = self.actions.pop_front() {
                self.execute(now, action);
            } else if let Some(order) = self.next_order() {
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
