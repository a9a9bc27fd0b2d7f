//! One NVMe/TCP connection, which is one queue: bytes to commands, answers to bytes.
//!
//! ```text
//!   phase   Opening --ICReq/ICResp--> Open --error--> Ending (C2HTermReq is queued) --> Closed
//!
//!   slot    Free --CapsuleCmd--> Deciding --accept--> Receiving --last byte--> Executing
//!             ^                     |   '----accept, nothing to receive----------^   |
//!             |                     '--refuse--.      '--wrong digest--.             | complete
//!             '--------sent---------------- Responding <---------------'<------------'
//! ```
//!
//! The shell drives it. It asks [`Connection::want`] what the next bytes are, puts data where it belongs
//! and shows it to [`Connection::placed`], passes everything else to [`Connection::header`], and sends
//! what [`Connection::parts`] lists. A command comes as [`Event::Command`]; the shell finds out what it
//! moves, gets a buffer, and accepts it. Until it has decided about a command with data in its capsule,
//! nothing more is read: that is the back-pressure from buffers to the socket.
//!
//! Digests: the data digest of what is received is taken while the bytes are shown; of what is sent the
//! shell computes it when it completes the command, over its own buffers.
//!
//! Invariants: every command is answered once, or the connection ends; of commands with one identifier one is
//! executed at a time; a tag is given back (`sent`,
//! `close`, [`Event::Dropped`]) exactly once, and only when nothing refers to its buffer any more; one R2T a
//! command, for all of its data, so any MAXR2T will do. Nothing is allocated between
//! [`Connection::bind`] and the end.
//!
//! Not here: what commands mean (`queue`), buffers, sockets, the clock.

mod slots;

use nvme::limits::ALIGNMENT_MAX;
use nvme::pdu::{
    self, Digests, FatalError, Fes, Format, Header, IcReq, IcResp, Pdu, TermReq, flag,
};
use nvme::stream::{self, Arrival, Outbox, Part, Reader, ReaderWant, Side};
use nvme::{Cqe, Sqe, Status};

use super::limits::{
    ADMIN_IN_CAPSULE_BYTES, HALF_PDU_US, HANDSHAKE_US, OUTBOX_BYTES_BASE, OUTBOX_BYTES_PER_SLOT,
    OUTBOX_CUTS_PER_SLOT, UNCONNECTED_SLOTS, UNREAD_US,
};
use super::transfer::{Placement, Transfer, place};
use slots::{Slot, Slots};

/// Name of a command on its connection: the index of its slot, and TTAG of its R2T.
pub type Tag = u16;

/// What a transport offers to hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// Digests that a host may ask for.
    pub digests: Digests,
    /// CPDA: data of hosts is wanted at multiples of (this + 1) * 4 bytes of its PDU.
    pub alignment: u8,
    /// MAXH2CDATA, in bytes; at least 4096, a multiple of 4.
    pub max_h2c_data_bytes: u32,
    /// Most data in the capsule of an I/O command, in bytes.
    pub in_capsule_bytes: u32,
    /// Whether C2HData may stand for the response (SUCCESS), where the specification allows it.
    pub c2h_success: bool,
}

/// What the next bytes of the stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Any: pass them to [`Connection::header`].
    Header,
    /// Data: put them into the buffer, then show them to [`Connection::placed`].
    Data {
        /// Whose buffer.
        tag: Tag,
        /// Where in it.
        offset: u32,
        /// How many of them.
        len_bytes: u32,
    },
    /// Data that nobody wants: drop them and tell [`Connection::discarded`].
    Discard {
        /// How many.
        len_bytes: u32,
    },
    /// Read nothing: a command waits for a decision.
    Paused,
    /// Read nothing any more.
    Closed,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command: find out what it moves, get a buffer, [`Connection::accept`] or
    /// [`Connection::refuse`] it. Not at once, if there is no buffer.
    Command {
        /// Its name from now on.
        tag: Tag,
        /// The command.
        sqe: Sqe,
    },
    /// A command with the identifier of one that has not been answered. It has been refused, and what it
    /// carries is dropped (`Command ID Conflict`; Base, 4.2.3).
    Conflict {
        /// Its name until the answer is sent.
        tag: Tag,
        /// The command.
        sqe: Sqe,
    },
    /// All of its data is in its buffer: execute it.
    Ready {
        /// The command.
        tag: Tag,
    },
    /// Its data came garbled and the connection has answered: the buffer is free.
    Dropped {
        /// The command.
        tag: Tag,
    },
    /// The host broke the protocol. Send what is queued, then close.
    Ending {
        /// What it did.
        error: FatalError,
    },
    /// The host gave up (H2CTermReq). Close.
    Terminated {
        /// FES.
        status: u16,
        /// FEI.
        information: u32,
    },
}

/// What became of an accepted command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// Execute it.
    Ready,
    /// [`Event::Ready`] will tell.
    Receiving,
}

/// A command whose SGL was refused. It has been answered; its buffer is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub Status);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Its status.
    pub status: Status,
    /// Dwords 0 and 1 of its completion queue entry.
    pub result: u64,
}

impl Completion {
    /// Done, with nothing to say.
    pub const OK: Self = Self { status: Status::SUCCESS, result: 0 };

    /// Ended with a status.
    #[must_use]
    pub const fn of(status: Status) -> Self {
        Self { status, result: 0 }
    }

    /// Done, with a result.
    #[must_use]
    pub const fn result(result: u64) -> Self {
        Self { status: Status::SUCCESS, result }
    }
}

/// Why time closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// It belongs to no queue yet.
    #[error("the host did not connect to a queue within {} s", HANDSHAKE_US / 1_000_000)]
    Handshake,
    /// A PDU, or data that was asked for, does not come.
    #[error("the host left a PDU or a transfer half for {} s", HALF_PDU_US / 1_000_000)]
    HalfPdu,
    /// The host does not read.
    #[error("the host has read nothing for {} s", UNREAD_US / 1_000_000)]
    Unread,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Open,
    Ending,
    Closed,
}

/// Whose data comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incoming {
    Nobody,
    Undecided { tag: Tag },
    Into { tag: Tag, offset: u32 },
    Discard,
}

/// What Connect said of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    qid: u16,
    entries: u16,
    flow_control: bool,
    /// The response of Connect itself says that there is no flow control (Base, 6.3).
    announces: bool,
}

/// A count, and since when it has not moved.
#[derive(Clone, Copy, Debug)]
struct Progress {
    bytes: u64,
    since_us: u64,
}

impl Progress {
    /// How long nothing has moved.
    fn stuck_us(&mut self, now_us: u64, bytes: u64, idle: bool) -> u64 {
        if idle || bytes != self.bytes {
            *self = Self { bytes, since_us: now_us };
        }
        now_us.saturating_sub(self.since_us)
    }
}

/// The state of one connection.
#[derive(Debug)]
pub struct Connection {
    config: ConnectionConfig,
    phase: Phase,
    reader: Reader,
    outbox: Outbox,
    /// Of what is sent.
    format: Format,
    slots: Slots,
    incoming: Incoming,
    bound: Option<Bound>,
    sq_head: u16,
    received_bytes: u64,
    opened_us: u64,
    receiving: Progress,
    sending: Progress,
}

/// The bytes of an outbox for so many commands.
fn outbox_bytes(slots: u16) -> usize {
    OUTBOX_BYTES_BASE + usize::from(slots) * OUTBOX_BYTES_PER_SLOT
}

impl Connection {
    /// A connection that a host has just made.
    #[must_use]
    pub fn new(config: ConnectionConfig, now_us: u64) -> Self {
        let slots = UNCONNECTED_SLOTS;
        let cuts = usize::from(slots) * OUTBOX_CUTS_PER_SLOT;
        let progress = Progress { bytes: 0, since_us: now_us };
        Self {
            config,
            phase: Phase::Opening,
            reader: Reader::new(Side::Controller),
            outbox: Outbox::new(outbox_bytes(slots), cuts),
            format: Format::default(),
            slots: Slots::new(slots),
            incoming: Incoming::Nobody,
            bound: None,
            sq_head: 0,
            received_bytes: 0,
            opened_us: now_us,
            receiving: progress,
            sending: progress,
        }
    }

    /// Connect was accepted: the connection is this queue. To be called before the Connect is completed.
    /// The only call after [`new`](Self::new) that allocates.
    pub fn bind(&mut self, qid: u16, entries: u16, flow_control: bool) {
        self.bound = Some(Bound { qid, entries, flow_control, announces: !flow_control });
        // The Connect itself took an entry.
        self.sq_head = 1 % entries.max(1);
        self.slots.grow(entries);
        let slots = self.slots.len();
        self.outbox.grow(outbox_bytes(slots), usize::from(slots) * OUTBOX_CUTS_PER_SLOT);
    }

    /// Commands that there may be at a time: what tags are below.
    #[must_use]
    pub fn slots(&self) -> u16 {
        self.slots.len()
    }

    /// Whether data has been asked for and is not there.
    #[must_use]
    pub fn awaits_data(&self) -> bool {
        self.slots.asks()
    }

    /// What was agreed on, once it was.
    #[must_use]
    pub fn digests(&self) -> Digests {
        self.format.digests
    }

    /// What the next bytes of the stream are.
    #[inline]
    #[must_use]
    pub fn want(&self) -> Want {
        match (self.reader.want(), self.incoming) {
            (ReaderWant::Closed, _) => Want::Closed,
            (ReaderWant::Header, _) => Want::Header,
            (ReaderWant::Data { .. }, Incoming::Undecided { .. }) => Want::Paused,
            (ReaderWant::Data { left }, Incoming::Into { tag, offset }) => {
                Want::Data { tag, offset, len_bytes: left }
            }
            (ReaderWant::Data { left }, Incoming::Discard | Incoming::Nobody) => {
                Want::Discard { len_bytes: left }
            }
        }
    }

    /// Takes bytes that are no data: how many, up to the first event, and that. Call again with the rest,
    /// after a look at [`want`](Self::want).
    pub fn header(&mut self, bytes: &[u8]) -> (usize, Option<Event>) {
        let taken = stream::advance(
            self,
            bytes,
            |connection| &mut connection.reader,
            Self::arrived,
            Self::end,
        );
        self.received_bytes += taken.0 as u64;
        taken
    }

    /// Data has been put where [`want`](Self::want) said: these bytes, all of them or the first ones.
    pub fn placed(&mut self, bytes: &[u8]) -> Option<Event> {
        let Incoming::Into { tag, offset } = self.incoming else { return None };
        self.received_bytes += bytes.len() as u64;
        self.incoming = Incoming::Into { tag, offset: offset + bytes.len() as u32 };
        self.reader.data(bytes).and_then(|end| self.data_end(end))
    }

    /// Data has been dropped.
    pub fn discarded(&mut self, len_bytes: u32) {
        self.received_bytes += u64::from(len_bytes);
        if self.reader.skip(len_bytes).is_some() {
            self.incoming = Incoming::Nobody;
        }
    }

    /// Takes a command that moves `transfer`. Its buffer is there.
    ///
    /// # Errors
    /// The SGL does not describe such a transfer: the command has been refused.
    ///
    /// # Panics
    /// If the command is not to be decided about.
    pub fn accept(&mut self, tag: Tag, transfer: Transfer) -> Result<Accepted, Refused> {
        let Slot::Deciding { cid, sgl, in_capsule_bytes } = self.slots.get(tag) else {
            panic!("command {tag} is not to be decided about: {:?}", self.slots.get(tag));
        };
        let placement = match place(&sgl, in_capsule_bytes, transfer) {
            Ok(placement) => placement,
            Err(status) => {
                self.refuse(tag, status);
                return Err(Refused(status));
            }
        };
        let (slot, accepted) = match placement {
            Placement::None => (Slot::Executing { cid, to_host_bytes: 0 }, Accepted::Ready),
            Placement::ToHost { len_bytes } => {
                (Slot::Executing { cid, to_host_bytes: len_bytes }, Accepted::Ready)
            }
            Placement::InCapsule { len_bytes } => {
                self.incoming = Incoming::Into { tag, offset: 0 };
                (Slot::receiving(cid, len_bytes, false), Accepted::Receiving)
            }
            Placement::AtHost { len_bytes } => {
                self.ask(cid, tag, len_bytes);
                (Slot::receiving(cid, len_bytes, true), Accepted::Receiving)
            }
        };
        self.slots.set(tag, slot);
        if accepted == Accepted::Ready {
            self.leave_out(tag);
        }
        Ok(accepted)
    }

    /// Answers a command that is not executed.
    ///
    /// # Panics
    /// If the command is not to be decided about.
    pub fn refuse(&mut self, tag: Tag, status: Status) {
        let Slot::Deciding { cid, .. } = self.slots.get(tag) else {
            panic!("command {tag} is not to be decided about: {:?}", self.slots.get(tag));
        };
        self.leave_out(tag);
        self.respond(tag, cid, Completion::of(status));
    }

    /// Answers a command that was executed. The first `data_bytes` of its buffer are sent to the host;
    /// `crc` gives the CRC32C of that many bytes of the buffer and is called only if digests of data were
    /// agreed on. After the connection has ended this gives the slot back and nothing else; `true` then:
    /// the buffer is free.
    ///
    /// # Panics
    /// If the command is not being executed, or moves fewer bytes.
    pub fn complete(
        &mut self,
        tag: Tag,
        completion: Completion,
        data_bytes: u32,
        crc: impl FnOnce(u32) -> u32,
    ) -> bool {
        let Slot::Executing { cid, to_host_bytes } = self.slots.get(tag) else {
            panic!("command {tag} is not being executed: {:?}", self.slots.get(tag));
        };
        assert!(data_bytes <= to_host_bytes, "command {tag} moves {to_host_bytes} bytes");
        if matches!(self.phase, Phase::Ending | Phase::Closed) {
            self.slots.free(tag);
            return true;
        }
        if data_bytes == 0 {
            self.respond(tag, cid, completion);
            return false;
        }
        let flow_control = self.bound.is_none_or(|bound| bound.flow_control);
        let success = self.config.c2h_success && !flow_control && completion == Completion::OK;
        let flags = if success { flag::LAST | flag::SUCCESS } else { flag::LAST };
        let transfer = pdu::Transfer { cid, tag: 0, offset: 0, len_bytes: data_bytes };
        self.queue(Pdu { header: Header::C2HData(transfer), flags, data_bytes });
        self.outbox.put_data(tag, 0, data_bytes);
        if self.format.digests.data {
            let digest = crc(data_bytes);
            self.outbox.put(4, |bytes| bytes.copy_from_slice(&digest.to_le_bytes()));
        }
        if success {
            self.slots.set(tag, Slot::Responding);
            self.outbox.put_release(tag);
        } else {
            self.respond(tag, cid, completion);
        }
        false
    }

    /// What has to be sent, in order: for one gathered write.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.outbox.parts()
    }

    /// Whether anything has to be sent.
    #[inline]
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The socket took so many bytes. The buffers of commands that are `released` are free.
    ///
    /// # Panics
    /// If that is more than there was.
    pub fn sent(&mut self, len_bytes: usize, mut released: impl FnMut(Tag)) {
        let slots = &mut self.slots;
        self.outbox.sent(len_bytes, |tag| {
            slots.free(tag);
            released(tag);
        });
    }

    /// Time passes. Some means that the connection has to be closed.
    pub fn tick(&mut self, now_us: u64) -> Option<CloseReason> {
        if matches!(self.phase, Phase::Closed) {
            return None;
        }
        if self.bound.is_none() && now_us.saturating_sub(self.opened_us) > HANDSHAKE_US {
            return Some(CloseReason::Handshake);
        }
        // What waits for this side is not the host's fault.
        let idle = match self.want() {
            Want::Paused | Want::Closed => true,
            _ => !self.reader.is_inside() && !self.slots.asks(),
        };
        if self.receiving.stuck_us(now_us, self.received_bytes, idle) > HALF_PDU_US {
            return Some(CloseReason::HalfPdu);
        }
        let idle = self.outbox.is_empty();
        if self.sending.stuck_us(now_us, self.outbox.sent_bytes(), idle) > UNREAD_US {
            return Some(CloseReason::Unread);
        }
        None
    }

    /// The socket is gone: nothing comes and nothing goes any more. The buffers of commands that are
    /// `released` are free; those being executed are when they are completed.
    pub fn close(&mut self, mut released: impl FnMut(Tag)) {
        self.phase = Phase::Closed;
        self.reader.close();
        self.incoming = Incoming::Nobody;
        self.outbox.clear(|_| {});
        self.slots.free_all_but_executing(&mut released);
    }

    /// Whether no command is left.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.slots.is_idle()
    }

    // ---- what comes in

    fn arrived(&mut self, arrival: Arrival) -> Result<Option<Event>, FatalError> {
        let pdu = match arrival {
            Arrival::DataEnd { .. } => return Ok(self.data_end(arrival)),
            Arrival::Pdu(pdu) => pdu,
        };
        match (self.phase, pdu.header) {
            (_, Header::H2CTermReq(term)) => {
                self.phase = Phase::Ending;
                self.reader.close();
                let TermReq { status, information } = term;
                Ok(Some(Event::Terminated { status, information }))
            }
            (Phase::Opening, Header::IcReq(request)) => self.open(&request).map(|()| None),
            (Phase::Open, Header::CapsuleCmd(sqe)) => self.command(sqe, pdu.data_bytes).map(Some),
            (Phase::Open, Header::H2CData(transfer)) => {
                self.host_data(&pdu, transfer).map(|()| None)
            }
            _ => Err(FatalError::of(Fes::Sequence)),
        }
    }

    /// ICReq (TCP, 3.6.2.1), answered with ICResp.
    fn open(&mut self, request: &IcReq) -> Result<(), FatalError> {
        if request.version != 0 {
            return Err(FatalError { status: Fes::UnsupportedParameter, information: 8 });
        }
        if request.alignment > ALIGNMENT_MAX {
            return Err(FatalError::header(10));
        }
        let asked = Digests::from_bits(request.digests).ok_or(FatalError::header(11))?;
        let digests = asked.and(self.config.digests);
        let response = IcResp {
            version: 0,
            alignment: self.config.alignment,
            digests: digests.bits(),
            max_h2c_data_bytes: self.config.max_h2c_data_bytes,
        };
        self.queue(Pdu { header: Header::IcResp(response), flags: 0, data_bytes: 0 });
        self.reader.negotiated(digests, self.config.alignment);
        self.format = Format { digests, alignment: request.alignment };
        self.phase = Phase::Open;
        Ok(())
    }

    fn command(&mut self, sqe: Sqe, in_capsule_bytes: u32) -> Result<Event, FatalError> {
        let limit = match self.bound {
            Some(Bound { qid: 1.., .. }) => self.config.in_capsule_bytes,
            _ => ADMIN_IN_CAPSULE_BYTES,
        };
        if in_capsule_bytes > limit {
            return Err(FatalError::of(Fes::LimitExceeded));
        }
        let slot = Slot::Deciding { cid: sqe.cid, sgl: sqe.sgl(), in_capsule_bytes };
        // More commands than the queue has entries.
        let tag = self.slots.take(sqe.cid, slot).ok_or(FatalError::of(Fes::Sequence))?;
        if in_capsule_bytes > 0 {
            self.incoming = Incoming::Undecided { tag };
        }
        if let Some(bound) = self.bound.filter(|bound| bound.flow_control) {
            self.sq_head = (self.sq_head + 1) % bound.entries.max(1);
        }
        if self.slots.is_twice(tag) {
            self.refuse(tag, Status::CID_CONFLICT.finally());
            return Ok(Event::Conflict { tag, sqe });
        }
        Ok(Event::Command { tag, sqe })
    }

    /// H2CData (TCP, 3.6.2.7): of which command, and is it what comes next of its data?
    fn host_data(&mut self, pdu: &Pdu, transfer: pdu::Transfer) -> Result<(), FatalError> {
        let pdu::Transfer { cid, tag, offset, len_bytes } = transfer;
        let slot = self.slots.find(tag).ok_or(FatalError::header(10))?;
        let Slot::Receiving {
            cid: expected, len_bytes: total, received_bytes, asked: true, ..
        } = slot
        else {
            return Err(FatalError::header(10));
        };
        if cid != expected {
            return Err(FatalError::header(8));
        }
        if len_bytes == 0 || len_bytes != pdu.data_bytes {
            return Err(FatalError::header(16));
        }
        if len_bytes > self.config.max_h2c_data_bytes {
            return Err(FatalError::of(Fes::LimitExceeded));
        }
        if offset != received_bytes || len_bytes > total - offset {
            return Err(FatalError::of(Fes::DataOutOfRange));
        }
        let is_last = offset + len_bytes == total;
        if is_last != (pdu.flags & flag::LAST != 0) {
            return Err(FatalError::header(pdu::common_at::FLAGS));
        }
        self.incoming = Incoming::Into { tag, offset };
        Ok(())
    }

    /// The data of a PDU is there.
    fn data_end(&mut self, end: Arrival) -> Option<Event> {
        let incoming = std::mem::replace(&mut self.incoming, Incoming::Nobody);
        let (Arrival::DataEnd { intact }, Incoming::Into { tag, offset }) = (end, incoming) else {
            return None;
        };
        let Slot::Receiving { cid, len_bytes, asked, garbled, .. } = self.slots.get(tag) else {
            return None;
        };
        let garbled = garbled || !intact;
        if offset < len_bytes {
            let received_bytes = offset;
            let slot = Slot::Receiving { cid, len_bytes, received_bytes, asked, garbled };
            self.slots.set(tag, slot);
            return None;
        }
        if garbled {
            // Not fatal: the host may send the command again (TCP, 3.3.1.1.1).
            self.respond(tag, cid, Completion::of(Status::TRANSIENT_TRANSPORT_ERROR));
            return Some(Event::Dropped { tag });
        }
        self.slots.set(tag, Slot::Executing { cid, to_host_bytes: 0 });
        Some(Event::Ready { tag })
    }

    /// If the data of this command is what comes next, nobody wants it.
    fn leave_out(&mut self, tag: Tag) {
        if self.incoming == (Incoming::Undecided { tag }) {
            self.incoming = Incoming::Discard;
        }
    }

    // ---- what goes out

    fn queue(&mut self, pdu: Pdu) {
        // Termination requests quote a header of up to 128 bytes, which the caller appends.
        let mut bytes = [0; pdu::PREFIX_BYTES_MAX];
        let len = self.format.put(&pdu, &mut bytes);
        self.outbox.put(len, |into| into.copy_from_slice(&bytes[..len]));
    }

    /// R2T for all of the data (TCP, 3.6.2.9).
    fn ask(&mut self, cid: u16, tag: Tag, len_bytes: u32) {
        let transfer = pdu::Transfer { cid, tag, offset: 0, len_bytes };
        self.queue(Pdu { header: Header::R2T(transfer), flags: 0, data_bytes: 0 });
    }

    fn respond(&mut self, tag: Tag, cid: u16, completion: Completion) {
        let (sq_id, sq_head) = match &mut self.bound {
            None => (0, 0),
            Some(bound) if bound.flow_control => (bound.qid, self.sq_head),
            Some(bound) => {
                let announces = std::mem::take(&mut bound.announces);
                (bound.qid, if announces { 0xffff } else { 0 })
            }
        };
        let cqe = Cqe { result: completion.result, sq_head, sq_id, cid, status_field: 0 }
            .with_status(completion.status);
        self.queue(Pdu { header: Header::CapsuleResp(cqe), flags: 0, data_bytes: 0 });
        self.slots.set(tag, Slot::Responding);
        self.outbox.put_release(tag);
    }

    /// C2HTermReq with the header that is wrong (TCP, 3.6.2.4).
    fn end(&mut self, error: FatalError) -> Event {
        self.phase = Phase::Ending;
        self.reader.close();
        self.incoming = Incoming::Nobody;
        let quoted = self.reader.last_header();
        let term = TermReq { status: error.status.number(), information: error.information };
        let header = Header::C2HTermReq(term);
        let pdu = Pdu { header, flags: 0, data_bytes: quoted.len() as u32 };
        let mut bytes = [0; nvme::limits::TERM_PDU_BYTES_MAX];
        let len = self.format.put(&pdu, &mut bytes);
        let end = len + quoted.len();
        bytes[len..end].copy_from_slice(quoted);
        self.outbox.put(end, |into| into.copy_from_slice(&bytes[..end]));
        Event::Ending { error }
    }
}

#[cfg(test)]
mod tests;
