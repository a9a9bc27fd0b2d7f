//! One connection on its reactor: the socket, the machine that understands it, and its commands' buffers.
//!
//! ```text
//!   socket --readv--> [ buffer of a command | stage ] --> Connection --> Event
//!                                                                         | Command
//!   command   Free -> Wants (a buffer) -> Receiving -> Io, Asked, Held -> Sending -> Free
//!                          '-- refused ------------------------------------^
//!   socket <-writev-- parts of Connection and of buffers                   at most once a turn
//! ```
//!
//! Data is received right into the buffer of its command as soon as the machine says where it goes; what
//! came with a header before that is copied from the stage.
//!
//! Invariants: a command that wants a buffer is not accepted before it has one; the bytes that a link has
//! in buffers are bounded, but one command always may; when the stream is paused because data in a capsule
//! has no buffer, and data that was asked for is behind it in the stream, it gets one from the heap, out of
//! turn: whoever has the buffers waits for that data. That is at most a capsule for each command.
//!
//! Not here: bdevs (`io`), answers of the desk (`adopt`), which links there are (`group`).

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use nvme::stream::Part;
use nvme::{Sqe, Status};
use reactor::memory::{IoBufMut, Pool};

use super::group::LinkNo;
use super::io::Job;
use super::pulse::Pulse;
use crate::limits::{
    NVMF_BUFFER_BYTES_PER_LINK_MAX, NVMF_READS_PER_TURN_MAX, NVMF_SLICES_PER_WRITE_MAX,
    NVMF_STAGE_BYTES, NVMF_WRITES_PER_TURN_MAX,
};
use crate::nvmf::auth::{self, Session};
use crate::nvmf::connection::{
    Accepted, Completion, Connection, ConnectionConfig, Event, Tag, Want,
};
use crate::nvmf::controller::{Controller, Usage, error_entry};
use crate::nvmf::limits::HANDSHAKE_US;
use crate::nvmf::queue::{CONNECT_TRANSFER, Queue, Work};
use crate::nvmf::subsystem::AssociationId;
use crate::nvmf::transfer::Transfer;

/// Which queue of which controller a link is.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) association: AssociationId,
    pub(crate) qid: u16,
    pub(crate) pulse: Arc<Pulse>,
}

/// What a command's buffer is, and where.
#[derive(Debug)]
pub(crate) enum Stage {
    Free,
    /// It moves this, and has no buffer.
    Wants(Transfer),
    /// Data of the host is coming, or is here.
    Receiving(Option<IoBufMut>),
    /// A bdev has it, or will.
    Io(Job),
    /// The desk has been asked.
    Asked,
    /// An Asynchronous Event Request that waits for its event.
    Held,
    /// It is answered; the answer may refer to the buffer.
    Sending(Option<IoBufMut>),
}

/// A command of a link.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) sqe: Sqe,
    pub(crate) work: Work,
    pub(crate) stage: Stage,
    /// Bytes of the pool that are lent for it.
    pub(crate) lent_bytes: usize,
}

impl Default for Command {
    fn default() -> Self {
        Self { sqe: Sqe::default(), work: Work::Disconnect, stage: Stage::Free, lent_bytes: 0 }
    }
}

/// A link as others may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It belongs to no queue yet.
    Unassociated,
    /// It is a queue.
    Active,
    /// It ends.
    Deactivating,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) no: LinkNo,
    /// Where it came from.
    pub(crate) peer: SocketAddr,
    pub(crate) stream: Option<TcpStream>,
    pub(crate) connection: Connection,
    pub(crate) queue: Queue,
    pub(crate) commands: Vec<Command>,
    pub(crate) joined: Option<Joined>,
    pub(crate) controller: Option<Box<Controller>>,
    /// How its host proves who it is, if it has to.
    pub(crate) session: Option<Box<Session>>,
    /// Since when it has to.
    pub(crate) unproven_since_us: Option<u64>,
    /// Commands whose data is there.
    pub(crate) ready: VecDeque<Tag>,
    /// Commands without a buffer, in their order.
    pub(crate) waiting: VecDeque<Tag>,
    /// Commands whose request the bdev's channel had no room for.
    pub(crate) stalled: VecDeque<Tag>,
    pub(crate) done: Usage,
    pub(crate) completed: u64,
    stage: Box<[u8]>,
    staged: std::ops::Range<usize>,
    lent_bytes: usize,
    /// The socket took less than there was.
    pub(crate) is_blocked: bool,
    /// Close when everything has been sent.
    pub(crate) ends: bool,
    pub(crate) active_us: u64,
}

impl Link {
    pub(crate) fn new(
        no: LinkNo,
        stream: TcpStream,
        peer: SocketAddr,
        config: ConnectionConfig,
        now_us: u64,
    ) -> Self {
        Self {
            no,
            peer,
            stream: Some(stream),
            connection: Connection::new(config, now_us),
            queue: Queue::default(),
            commands: Vec::new(),
            joined: None,
            controller: None,
            session: None,
            unproven_since_us: None,
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            stalled: VecDeque::new(),
            done: Usage::default(),
            completed: 0,
            stage: vec![0; NVMF_STAGE_BYTES].into(),
            staged: 0..0,
            lent_bytes: 0,
            is_blocked: false,
            ends: false,
            active_us: now_us,
        }
    }

    /// Room for the commands that its machine has slots for, so that nothing grows later.
    pub(crate) fn make_room(&mut self) {
        let slots = usize::from(self.connection.slots());
        if self.commands.len() < slots {
            self.commands.resize_with(slots, Command::default);
        }
        for list in [&mut self.ready, &mut self.waiting, &mut self.stalled] {
            list.reserve(slots.saturating_sub(list.len()));
        }
    }

    pub(crate) fn state(&self) -> LinkState {
        match (&self.stream, self.ends, self.queue.role()) {
            (None, ..) | (_, true, _) => LinkState::Deactivating,
            (Some(_), false, None) => LinkState::Unassociated,
            (Some(_), false, Some(_)) => LinkState::Active,
        }
    }

    /// Whether it is done with: closed, and nobody has a command of it.
    pub(crate) fn is_over(&self) -> bool {
        self.stream.is_none() && self.connection.is_idle()
    }

    /// Whether it would take bytes of the socket now.
    pub(crate) fn reads(&self) -> bool {
        self.stream.is_some()
            && !self.ends
            && !matches!(self.connection.want(), Want::Paused | Want::Closed)
    }

    /// Whether it has to be looked at again although nothing comes from outside.
    pub(crate) fn is_restless(&self) -> bool {
        !self.waiting.is_empty()
            || !self.stalled.is_empty()
            || !self.ready.is_empty()
            || (!self.staged.is_empty() && self.reads())
            || (self.stream.is_some()
                && !self.is_blocked
                && (self.ends || self.connection.has_output()))
    }

    // ---- what comes in

    /// Takes what the socket has, up to a bound, and what was left over.
    pub(crate) fn receive(&mut self, pool: &Pool) -> usize {
        let mut progress = self.digest(pool);
        for _ in 0..NVMF_READS_PER_TURN_MAX {
            if !self.reads() || !self.staged.is_empty() {
                break;
            }
            match self.read() {
                Ok(Some((0, _))) => {
                    self.close();
                    return progress + 1;
                }
                Ok(Some((placed, room))) => {
                    progress += 1 + self.digest(pool);
                    // Less than asked for: the socket is empty, most likely.
                    if placed < room {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(peer = %self.peer, %error, "connection lost");
                    self.close();
                    return progress + 1;
                }
            }
        }
        progress
    }

    /// One read: how many bytes came, and for how many there was room. Data goes right into the buffer
    /// of its command, what follows it into the stage.
    fn read(&mut self) -> std::io::Result<Option<(usize, usize)>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let stage = &mut self.stage[..];
        let (outcome, place) = match self.connection.want() {
            Want::Data { tag, offset, len_bytes } => {
                let (from, to) = (offset as usize, offset as usize + len_bytes as usize);
                let Stage::Receiving(Some(buffer)) = &mut self.commands[usize::from(tag)].stage
                else {
                    unreachable!("a command that receives has a buffer")
                };
                let mut parts =
                    [IoSliceMut::new(&mut buffer[from..to]), IoSliceMut::new(&mut *stage)];
                (stream.read_vectored(&mut parts), Some((tag, from, to)))
            }
            Want::Header | Want::Discard { .. } => (stream.read(stage), None),
            Want::Paused | Want::Closed => return Ok(None),
        };
        let len = match outcome {
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some((tag, from, to)) = place else {
            self.staged = 0..len;
            return Ok(Some((len, NVMF_STAGE_BYTES)));
        };
        let placed = len.min(to - from);
        self.staged = 0..len - placed;
        if placed > 0 {
            let Stage::Receiving(Some(buffer)) = &self.commands[usize::from(tag)].stage else {
                unreachable!("it was there before the read")
            };
            let event = self.connection.placed(&buffer[from..from + placed]);
            self.note(event);
        }
        Ok(Some((len, to - from + NVMF_STAGE_BYTES)))
    }

    /// Takes what is staged as far as it can be decided about.
    fn digest(&mut self, pool: &Pool) -> usize {
        let mut progress = 0;
        while !self.staged.is_empty() && !self.ends {
            let bytes = &self.stage[self.staged.clone()];
            let (used, event) = match self.connection.want() {
                Want::Header => self.connection.header(bytes),
                Want::Data { tag, offset, len_bytes } => {
                    let len = bytes.len().min(len_bytes as usize);
                    let Stage::Receiving(Some(buffer)) = &mut self.commands[usize::from(tag)].stage
                    else {
                        unreachable!("a command that receives has a buffer")
                    };
                    let place = &mut buffer[offset as usize..offset as usize + len];
                    place.copy_from_slice(&bytes[..len]);
                    (len, self.connection.placed(place))
                }
                Want::Discard { len_bytes } => {
                    let len = bytes.len().min(len_bytes as usize);
                    self.connection.discarded(len as u32);
                    (len, None)
                }
                Want::Paused => {
                    self.settle(pool);
                    if self.connection.want() == Want::Paused && !self.let_pass() {
                        break;
                    }
                    continue;
                }
                Want::Closed => {
                    self.staged = 0..0;
                    break;
                }
            };
            self.staged.start += used;
            progress += 1;
            self.note(event);
        }
        progress + self.settle(pool)
    }

    fn note(&mut self, event: Option<Event>) {
        match event {
            None => {}
            Some(Event::Command { tag, sqe }) => self.judge(tag, sqe),
            Some(Event::Conflict { tag, sqe }) => {
                self.make_room();
                let command = &mut self.commands[usize::from(tag)];
                (command.sqe, command.work) = (sqe, Work::Disconnect);
                command.stage = Stage::Sending(None);
                self.note_error(tag, Status::CID_CONFLICT.finally());
            }
            Some(Event::Ready { tag }) => self.ready.push_back(tag),
            Some(Event::Dropped { tag }) => self.answered(tag, None),
            Some(Event::Ending { error }) => {
                tracing::info!(peer = %self.peer, ?error, "the host broke the protocol");
                self.ends = true;
            }
            Some(Event::Terminated { status, information }) => {
                tracing::info!(peer = %self.peer, status, information, "the host gives up");
                self.ends = true;
            }
        }
    }

    /// A command has come: what does it move, and may it?
    fn judge(&mut self, tag: Tag, sqe: Sqe) {
        self.make_room();
        let judged = self.queue.judge(&sqe).and_then(|work| {
            let transfer = match &work {
                // A connection is one queue: a second answer would make another one of it.
                Work::Connect if self.is_connecting() => {
                    return Err(Status::SEQUENCE_ERROR.finally());
                }
                Work::Connect => CONNECT_TRANSFER,
                Work::Admin => match &self.controller {
                    Some(controller) => controller.transfer(&sqe)?,
                    None => return Err(Status::SEQUENCE_ERROR.finally()),
                },
                Work::Io(request) => request.transfer(),
                Work::Disconnect => Transfer::None,
                Work::Authentication if self.session.is_none() => {
                    return Err(Status::SEQUENCE_ERROR.finally());
                }
                Work::Authentication => auth::transfer(&sqe)?,
            };
            Ok((work, transfer))
        });
        let command = &mut self.commands[usize::from(tag)];
        command.sqe = sqe;
        match judged {
            Ok((work, transfer)) => {
                command.work = work;
                command.stage = Stage::Wants(transfer);
                self.waiting.push_back(tag);
            }
            Err(status) => {
                command.work = Work::Disconnect;
                command.stage = Stage::Sending(None);
                self.note_error(tag, status);
                self.connection.refuse(tag, status);
            }
        }
    }

    /// Whether a Connect has come and is not answered.
    fn is_connecting(&self) -> bool {
        let is_open = |stage: &Stage| !matches!(stage, Stage::Free | Stage::Sending(_));
        self.commands.iter().any(|one| one.work == Work::Connect && is_open(&one.stage))
    }

    /// Gives buffers to those who wait for one, in their order.
    pub(crate) fn settle(&mut self, pool: &Pool) -> usize {
        let mut progress = 0;
        while let Some(tag) = self.waiting.front().copied() {
            let Stage::Wants(transfer) = self.commands[usize::from(tag)].stage else {
                unreachable!("who waits wants something")
            };
            let len = Job::buffer_bytes(&self.commands[usize::from(tag)].work, transfer);
            let within =
                self.lent_bytes + len <= NVMF_BUFFER_BYTES_PER_LINK_MAX || self.lent_bytes == 0;
            let buffer = if within && len > 0 { pool.alloc(len) } else { None };
            if buffer.is_none() && len > 0 {
                break;
            }
            self.waiting.pop_front();
            progress += 1;
            self.accept(tag, transfer, len, buffer);
        }
        progress
    }

    /// The stream is paused by the last command that has come. Says whether it goes on: with a buffer from
    /// the heap if data that others have asked for is behind it.
    fn let_pass(&mut self) -> bool {
        if !self.connection.awaits_data() {
            return false;
        }
        let Some(tag) = self.waiting.pop_back() else { return false };
        let command = &self.commands[usize::from(tag)];
        let Stage::Wants(transfer) = command.stage else {
            unreachable!("who waits wants something")
        };
        let len = Job::buffer_bytes(&command.work, transfer);
        self.accept(tag, transfer, len, Some(IoBufMut::heap(len)));
        true
    }

    /// A command has its buffer of `len` bytes, or needs none.
    fn accept(&mut self, tag: Tag, transfer: Transfer, len: usize, buffer: Option<IoBufMut>) {
        let command = &mut self.commands[usize::from(tag)];
        command.lent_bytes = len;
        command.stage = Stage::Receiving(buffer);
        self.lent_bytes += len;
        match self.connection.accept(tag, transfer) {
            Ok(Accepted::Ready) => self.ready.push_back(tag),
            Ok(Accepted::Receiving) => {}
            Err(refused) => {
                self.note_error(tag, refused.0);
                self.answered(tag, None);
            }
        }
    }

    // ---- what goes out

    /// Answers a command. `buffer` holds `data_bytes` for the host, or is not needed any more.
    pub(crate) fn complete(
        &mut self,
        tag: Tag,
        completion: Completion,
        buffer: Option<IoBufMut>,
        data_bytes: u32,
    ) {
        self.completed += 1;
        let data = buffer.as_deref().unwrap_or_default();
        let crc = |len: u32| nvme::pdu::digest(&data[..len as usize]);
        if self.connection.complete(tag, completion, data_bytes, crc) {
            self.free(tag);
        } else {
            self.answered(tag, buffer.filter(|_| data_bytes > 0));
        }
    }

    /// A command fails, or is refused: for Error Information of its controller.
    pub(crate) fn note_error(&mut self, tag: Tag, status: Status) {
        let sqe = self.commands[usize::from(tag)].sqe;
        tracing::debug!(peer = %self.peer, opcode = sqe.opcode, nsid = sqe.nsid, %status, "refused");
        match (&mut self.controller, &self.joined) {
            (Some(controller), _) => controller.note_error(&sqe, status),
            (None, Some(Joined { qid: qid @ 1.., pulse, .. })) => {
                self.done.errors += 1;
                pulse.note_error(error_entry(*qid, &sqe, status));
            }
            (None, _) => {}
        }
    }

    /// The controller learns what its other queues did.
    pub(crate) fn hear_queues(&mut self) {
        if let (Some(controller), Some(joined)) = (&mut self.controller, &self.joined) {
            controller.usage = joined.pulse.usage();
            controller.heard(joined.pulse.heard_us());
            while let Some(entry) = joined.pulse.take_error() {
                controller.log_error(entry);
            }
        }
    }

    /// The answer is queued; what it does not refer to is given back.
    fn answered(&mut self, tag: Tag, buffer: Option<IoBufMut>) {
        if buffer.is_none() {
            self.give_back(tag);
        }
        self.commands[usize::from(tag)].stage = Stage::Sending(buffer);
    }

    fn give_back(&mut self, tag: Tag) {
        let command = &mut self.commands[usize::from(tag)];
        self.lent_bytes -= std::mem::take(&mut command.lent_bytes);
    }

    fn free(&mut self, tag: Tag) {
        self.give_back(tag);
        self.commands[usize::from(tag)].stage = Stage::Free;
    }

    /// Sends what there is, as far as the socket takes it.
    pub(crate) fn send(&mut self) -> usize {
        let mut progress = 0;
        for _ in 0..NVMF_WRITES_PER_TURN_MAX {
            if !self.connection.has_output() || self.stream.is_none() {
                break;
            }
            match self.write() {
                Ok(0) => break,
                Ok(len_bytes) => {
                    progress += 1;
                    self.sent(len_bytes);
                    self.is_blocked = false;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => break,
                Err(error) => {
                    tracing::debug!(peer = %self.peer, %error, "connection lost");
                    self.close();
                    return progress + 1;
                }
            }
        }
        if self.ends && self.stream.is_some() && !self.connection.has_output() {
            self.close();
            progress += 1;
        }
        progress
    }

    fn write(&mut self) -> std::io::Result<usize> {
        let Some(stream) = &mut self.stream else { return Ok(0) };
        let mut slices = [IoSlice::new(&[]); NVMF_SLICES_PER_WRITE_MAX];
        let mut count = 0;
        for part in self.connection.parts().take(NVMF_SLICES_PER_WRITE_MAX) {
            let bytes = match part {
                Part::Bytes(bytes) => bytes,
                Part::Data { tag, offset, len_bytes } => {
                    let Stage::Sending(Some(buffer)) = &self.commands[usize::from(tag)].stage
                    else {
                        unreachable!("data to be sent has its buffer")
                    };
                    &buffer[offset as usize..(offset + len_bytes) as usize]
                }
            };
            slices[count] = IoSlice::new(bytes);
            count += 1;
        }
        stream.write_vectored(&slices[..count])
    }

    fn sent(&mut self, len_bytes: usize) {
        let Self { connection, commands, lent_bytes, .. } = self;
        connection.sent(len_bytes, |tag| {
            let command = &mut commands[usize::from(tag)];
            *lent_bytes -= std::mem::take(&mut command.lent_bytes);
            command.stage = Stage::Free;
        });
    }

    // ---- the end

    /// Closes the socket. Commands that somebody has are over when they come back.
    pub(crate) fn close(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        // The other side may be gone already.
        let _ = stream.shutdown(Shutdown::Both);
        if let Some(joined) = &self.joined {
            joined.pulse.add(&std::mem::take(&mut self.done));
        }
        let mut freed = Vec::new();
        self.connection.close(|tag| freed.push(tag));
        for tag in freed {
            self.free(tag);
        }
        self.waiting.clear();
        self.staged = 0..0;
        // What is ready is executed by nobody any more, and what waits for an event has none.
        let ready = std::mem::take(&mut self.ready);
        let stalled = std::mem::take(&mut self.stalled);
        let is_held = |command: &Command| matches!(command.stage, Stage::Held);
        let held = (0..self.commands.len()).filter(|at| is_held(&self.commands[*at]));
        let held: Vec<Tag> = held.map(|at| at as Tag).collect();
        for tag in ready.into_iter().chain(held) {
            self.complete(tag, Completion::of(Status::ABORT_REQUESTED), None, 0);
        }
        for tag in stalled {
            // What of it is at the bdev comes back first.
            let is_over = match &mut self.commands[usize::from(tag)].stage {
                Stage::Io(job) => job.abandon(),
                _ => true,
            };
            if is_over {
                self.complete(tag, Completion::of(Status::ABORT_REQUESTED), None, 0);
            }
        }
        self.controller = None;
    }

    /// Asynchronous events that are due are told.
    pub(crate) fn tell_events(&mut self) {
        while let Some((tag, completion)) =
            self.controller.as_mut().and_then(|controller| controller.next_event())
        {
            self.complete(tag, completion, None, 0);
        }
    }

    /// Time passes: tells what was done, and closes the link if it is time.
    pub(crate) fn tick(&mut self, now_us: u64) {
        if let Some(joined) = &self.joined {
            joined.pulse.add(&std::mem::take(&mut self.done));
        }
        self.hear_queues();
        if let Some(controller) = &self.controller
            && controller.is_expired(now_us)
        {
            let host = &controller.host().nqn;
            tracing::warn!(peer = %self.peer, %host, "keep alive timeout");
            self.close();
            return;
        }
        let is_unproven = self
            .unproven_since_us
            .is_some_and(|since_us| now_us.saturating_sub(since_us) > HANDSHAKE_US);
        if is_unproven {
            tracing::info!(peer = %self.peer, "the host does not prove who it is");
            self.close();
        }
        if let Some(reason) = self.connection.tick(now_us)
            && self.stream.is_some()
        {
            tracing::info!(peer = %self.peer, %reason, "connection closed");
            self.close();
        }
    }
}
