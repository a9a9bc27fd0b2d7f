//! One connection of an initiator, which is one queue.
//!
//! ```text
//!   phase   Opening --ICResp--> Open --error--> Ending (H2CTermReq is queued)
//!   slot    Free --submit--> Active --response, and everything sent--> completed --> Free
//! ```
//!
//! After every call that takes or sends bytes the shell calls [`HostQueue::pump`], which queues the next
//! H2CData that fit: a controller that asks for a megabyte in pieces of 4 KiB needs no more room than one
//! that asks for 4 KiB.

use std::collections::VecDeque;

use nvme::limits::{ALIGNMENT_MAX, MAX_H2C_DATA_BYTES_MIN, TERM_PDU_BYTES_MAX};
use nvme::pdu::{
    Digests, FatalError, Fes, Format, Header, IcReq, IcResp, PREFIX_BYTES_MAX, Pdu, TermReq,
    Transfer, common_at, flag,
};
use nvme::stream::{self, Arrival, Outbox, Part, Reader, ReaderWant, Side};
use nvme::{Cqe, Sgl, Sqe, Status};

/// Name of a command: its slot, and its command identifier.
pub type Tag = u16;

/// Most bytes that one PDU before its data, and its digest, take in the outbox.
const PDU_BYTES_MAX: usize = PREFIX_BYTES_MAX + 4;

/// PDUs of one command that wait to be sent: the capsule and one H2CData.
const PDUS_PER_SLOT: usize = 2;

/// What a host wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// Digests to be used, if the controller agrees.
    pub digests: Digests,
    /// HPDA: data is wanted at multiples of (this + 1) * 4 bytes of its PDU; at most 31.
    pub alignment: u8,
    /// Largest data in the capsule of a command, in bytes: 8192 on Admin queues; on I/O queues what
    /// Identify says (IOCCSZ).
    pub in_capsule_bytes: u32,
    /// Commands at a time.
    pub entries: u16,
}

/// What a command moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing.
    None,
    /// From the buffer to the controller.
    FromHost {
        /// How much.
        len_bytes: u32,
    },
    /// From the controller into the buffer.
    ToHost {
        /// How much.
        len_bytes: u32,
    },
}

/// What the next bytes of the stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostWant {
    /// Any: pass them to [`HostQueue::header`].
    Header,
    /// Data: put them into the buffer, then show them to [`HostQueue::placed`].
    Data {
        /// Whose buffer.
        tag: Tag,
        /// Where in it.
        offset: u32,
        /// How many of them.
        len_bytes: u32,
    },
    /// Read nothing any more.
    Closed,
}

/// What has happened to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostEvent {
    /// Commands may be submitted.
    Opened,
    /// The controller broke the protocol. Send what is queued, then close.
    Ending {
        /// What it did.
        error: FatalError,
    },
    /// The controller gave up (C2HTermReq). Close.
    Terminated {
        /// FES.
        status: u16,
        /// FEI.
        information: u32,
    },
}

/// No slot is free, or the connection is not open: try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue takes no command now")]
pub struct QueueFull;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Open,
    Ending,
}

/// Data that the controller has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    transfer_tag: u16,
    at: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Active {
    data: Data,
    /// Of data for the host: so much is there. Of the host's data: so much has been asked for.
    moved_bytes: u32,
    asked: Option<Asked>,
    garbled: bool,
    response: Option<Cqe>,
    /// PDUs in the outbox.
    unsent: u8,
}

/// One connection of an initiator.
#[derive(Debug)]
pub struct HostQueue {
    config: HostConfig,
    phase: Phase,
    reader: Reader,
    outbox: Outbox,
    format: Format,
    max_h2c_data_bytes: u32,
    slots: Vec<Option<Active>>,
    free: Vec<Tag>,
    /// Commands whose data has to be queued, in order.
    sending: VecDeque<Tag>,
    completed: VecDeque<(Tag, Cqe)>,
    incoming: Option<(Tag, u32)>,
    /// Flags of the C2HData that is coming.
    incoming_flags: u8,
}

impl HostQueue {
    /// A connection that was just made: ICReq is queued.
    #[must_use]
    pub fn new(config: HostConfig) -> Self {
        let entries = usize::from(config.entries);
        let pdus = entries * PDUS_PER_SLOT;
        let mut queue = Self {
            config,
            phase: Phase::Opening,
            reader: Reader::new(Side::Host),
            outbox: Outbox::new(pdus * PDU_BYTES_MAX + 2 * TERM_PDU_BYTES_MAX, pdus * 2),
            format: Format::default(),
            max_h2c_data_bytes: 0,
            slots: vec![None; entries],
            free: (0..config.entries).rev().collect(),
            sending: VecDeque::with_capacity(entries),
            completed: VecDeque::with_capacity(entries),
            incoming: None,
            incoming_flags: 0,
        };
        let request = IcReq {
            version: 0,
            alignment: config.alignment.min(ALIGNMENT_MAX),
            digests: config.digests.bits(),
            max_r2t: 0,
        };
        queue.queue(Pdu { header: Header::IcReq(request), flags: 0, data_bytes: 0 });
        queue
    }

    /// Sends a command. Its identifier and SGL are filled in; `crc` gives the CRC32C of the first bytes of
    /// its buffer and is called only with data digests.
    ///
    /// # Errors
    /// No slot is free, or ICResp has not come.
    pub fn submit(
        &mut self,
        sqe: Sqe,
        data: Data,
        crc: impl FnOnce(u32) -> u32,
    ) -> Result<Tag, QueueFull> {
        if self.phase != Phase::Open {
            return Err(QueueFull);
        }
        let tag = self.free.pop().ok_or(QueueFull)?;
        let (sgl, in_capsule_bytes) = match data {
            Data::None => (Sgl::transport(0), 0),
            Data::ToHost { len_bytes } => (Sgl::transport(len_bytes), 0),
            Data::FromHost { len_bytes } if len_bytes <= self.config.in_capsule_bytes => {
                (Sgl::in_capsule(len_bytes), len_bytes)
            }
            Data::FromHost { len_bytes } => (Sgl::transport(len_bytes), 0),
        };
        let sqe = Sqe { cid: tag, ..sqe.with_sgl(sgl) };
        let active = Active {
            data,
            moved_bytes: in_capsule_bytes,
            asked: None,
            garbled: false,
            response: None,
            unsent: 0,
        };
        self.slots[usize::from(tag)] = Some(active);
        let pdu = Pdu { header: Header::CapsuleCmd(sqe), flags: 0, data_bytes: in_capsule_bytes };
        self.queue_with_data(tag, pdu, 0, |_, len_bytes| crc(len_bytes));
        Ok(tag)
    }

    /// Queues data that controllers have asked for, as much as there is room for. `crc` gives the CRC32C
    /// of (tag, offset, length) of a buffer and is called only with data digests.
    pub fn pump(&mut self, mut crc: impl FnMut(Tag, u32, u32) -> u32) {
        for _ in 0..self.sending.len() {
            let Some(tag) = self.sending.pop_front() else { return };
            let Some(Active { asked: Some(asked), unsent, response: None, .. }) =
                self.slots[usize::from(tag)]
            else {
                continue;
            };
            if usize::from(unsent) >= PDUS_PER_SLOT {
                self.sending.push_back(tag);
                continue;
            }
            let Asked { transfer_tag, at, end } = asked;
            let len_bytes = self.max_h2c_data_bytes.min(end - at);
            let next = at + len_bytes;
            if let Some(active) = &mut self.slots[usize::from(tag)] {
                active.asked = (next < end).then_some(Asked { at: next, ..asked });
            }
            let flags = if next == end { flag::LAST } else { 0 };
            let transfer = Transfer { cid: tag, tag: transfer_tag, offset: at, len_bytes };
            let pdu = Pdu { header: Header::H2CData(transfer), flags, data_bytes: len_bytes };
            self.queue_with_data(tag, pdu, at, |at, len_bytes| crc(tag, at, len_bytes));
            if next < end {
                self.sending.push_back(tag);
            }
        }
    }

    /// A command that has ended: its buffer and its tag are free.
    pub fn next_completed(&mut self) -> Option<(Tag, Cqe)> {
        self.completed.pop_front()
    }

    /// Commands that have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// What the next bytes of the stream are.
    #[must_use]
    pub fn want(&self) -> HostWant {
        match (self.reader.want(), self.incoming) {
            (ReaderWant::Header, _) => HostWant::Header,
            (ReaderWant::Data { left }, Some((tag, offset))) => {
                HostWant::Data { tag, offset, len_bytes: left }
            }
            (ReaderWant::Data { .. }, None) | (ReaderWant::Closed, _) => HostWant::Closed,
        }
    }

    /// Takes bytes that are no data: how many, up to the first event, and that.
    pub fn header(&mut self, bytes: &[u8]) -> (usize, Option<HostEvent>) {
        stream::advance(self, bytes, |queue| &mut queue.reader, Self::arrived, Self::end)
    }

    /// Data has been put where [`want`](Self::want) said: these bytes, all of them or the first ones.
    pub fn placed(&mut self, bytes: &[u8]) {
        let Some((tag, offset)) = self.incoming else { return };
        self.incoming = Some((tag, offset + bytes.len() as u32));
        if let Some(end) = self.reader.data(bytes) {
            self.data_end(end);
        }
    }

    /// Takes bytes that came before it was known where they go: how many, up to the first event or the end of
    /// a piece of data, which is copied into its command's buffer. `None` if none are taken any more.
    pub fn take<'b>(
        &mut self,
        bytes: &[u8],
        buffer: impl FnOnce(Tag) -> &'b mut [u8],
    ) -> Option<(usize, Option<HostEvent>)> {
        match self.want() {
            HostWant::Header => Some(self.header(bytes)),
            HostWant::Data { tag, offset, len_bytes } => {
                let len = bytes.len().min(len_bytes as usize);
                let place = &mut buffer(tag)[offset as usize..offset as usize + len];
                place.copy_from_slice(&bytes[..len]);
                self.placed(place);
                Some((len, None))
            }
            HostWant::Closed => None,
        }
    }

    /// What has to be sent, in order: for one gathered write.
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.outbox.parts()
    }

    /// Whether anything has to be sent.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The socket took so many bytes.
    ///
    /// # Panics
    /// If that is more than there was.
    pub fn sent(&mut self, len_bytes: usize) {
        let Self { outbox, slots, free, completed, .. } = self;
        outbox.sent(len_bytes, |tag| {
            if let Some(active) = &mut slots[usize::from(tag)] {
                active.unsent -= 1;
            }
            complete(slots, free, completed, tag);
        });
    }

    // ---- what comes in

    fn arrived(&mut self, arrival: Arrival) -> Result<Option<HostEvent>, FatalError> {
        let pdu = match arrival {
            Arrival::DataEnd { .. } => {
                self.data_end(arrival);
                return Ok(None);
            }
            Arrival::Pdu(pdu) => pdu,
        };
        match (self.phase, pdu.header) {
            (_, Header::C2HTermReq(TermReq { status, information })) => {
                self.phase = Phase::Ending;
                self.reader.close();
                Ok(Some(HostEvent::Terminated { status, information }))
            }
            (Phase::Opening, Header::IcResp(response)) => {
                self.open(&response).map(|()| Some(HostEvent::Opened))
            }
            (Phase::Open, Header::CapsuleResp(cqe)) => self.response(cqe).map(|()| None),
            (Phase::Open, Header::C2HData(transfer)) => self.data(&pdu, transfer).map(|()| None),
            (Phase::Open, Header::R2T(transfer)) => self.asked(transfer).map(|()| None),
            _ => Err(FatalError::of(Fes::Sequence)),
        }
    }

    /// ICResp (TCP, 3.6.2.2).
    fn open(&mut self, response: &IcResp) -> Result<(), FatalError> {
        if response.version != 0 {
            return Err(FatalError { status: Fes::UnsupportedParameter, information: 8 });
        }
        if response.alignment > ALIGNMENT_MAX {
            return Err(FatalError::header(10));
        }
        let digests = Digests::from_bits(response.digests)
            // A digest that was not asked for cannot be had.
            .filter(|digests| digests.and(self.config.digests) == *digests)
            .ok_or(FatalError::header(11))?;
        if response.max_h2c_data_bytes < MAX_H2C_DATA_BYTES_MIN {
            return Err(FatalError::header(12));
        }
        self.reader.negotiated(digests, self.config.alignment);
        self.format = Format { digests, alignment: response.alignment };
        self.max_h2c_data_bytes = response.max_h2c_data_bytes;
        self.phase = Phase::Open;
        Ok(())
    }

    /// The command that the PDU's byte `at` names.
    fn active(&mut self, cid: u16, at: u32) -> Result<&mut Active, FatalError> {
        let slot = self.slots.get_mut(usize::from(cid)).and_then(Option::as_mut);
        slot.filter(|active| active.response.is_none()).ok_or(FatalError::header(at))
    }

    fn response(&mut self, cqe: Cqe) -> Result<(), FatalError> {
        let active = self.active(cqe.cid, 20)?;
        let missing = match active.data {
            Data::ToHost { len_bytes } => active.moved_bytes < len_bytes,
            Data::None | Data::FromHost { .. } => false,
        };
        // Without its data, or with data that was garbled, a success is none (TCP, 3.3.1.1.1).
        let failed = active.garbled || (missing && cqe.status().is_ok());
        let cqe = match failed && cqe.status().is_ok() {
            true => cqe.with_status(Status::TRANSIENT_TRANSPORT_ERROR),
            false => cqe,
        };
        active.response = Some(cqe);
        active.asked = None;
        complete(&mut self.slots, &mut self.free, &mut self.completed, cqe.cid);
        Ok(())
    }

    /// C2HData (TCP, 3.6.2.8).
    fn data(&mut self, pdu: &Pdu, transfer: Transfer) -> Result<(), FatalError> {
        let Transfer { cid, offset, len_bytes, .. } = transfer;
        let active = self.active(cid, 8)?;
        let Data::ToHost { len_bytes: total } = active.data else {
            return Err(FatalError::header(8));
        };
        if len_bytes == 0 || len_bytes != pdu.data_bytes {
            return Err(FatalError::header(16));
        }
        if offset != active.moved_bytes || len_bytes > total - offset {
            return Err(FatalError::of(Fes::DataOutOfRange));
        }
        if pdu.flags & (flag::LAST | flag::SUCCESS) == flag::SUCCESS {
            return Err(FatalError::header(common_at::FLAGS));
        }
        self.incoming = Some((cid, offset));
        self.incoming_flags = pdu.flags;
        Ok(())
    }

    fn data_end(&mut self, end: Arrival) {
        let (Arrival::DataEnd { intact }, Some((tag, offset))) = (end, self.incoming.take()) else {
            return;
        };
        if let Some(active) = &mut self.slots[usize::from(tag)] {
            active.moved_bytes = offset;
            active.garbled |= !intact;
        }
        if self.incoming_flags & flag::SUCCESS != 0 {
            // It stands for a response without a result.
            let cqe = Cqe { cid: tag, ..Cqe::default() };
            let known = self.response(cqe);
            debug_assert!(known.is_ok(), "data came for a command that is active");
        }
    }

    /// R2T (TCP, 3.6.2.9). One at a time for a command: MAXR2T was 1.
    fn asked(&mut self, transfer: Transfer) -> Result<(), FatalError> {
        let Transfer { cid, tag, offset, len_bytes } = transfer;
        let active = self.active(cid, 8)?;
        let Data::FromHost { len_bytes: total } = active.data else {
            return Err(FatalError::header(8));
        };
        if active.asked.is_some() {
            return Err(FatalError::of(Fes::LimitExceeded));
        }
        if len_bytes == 0 || offset != active.moved_bytes || len_bytes > total - offset {
            return Err(FatalError::of(Fes::DataOutOfRange));
        }
        active.moved_bytes += len_bytes;
        active.asked = Some(Asked { transfer_tag: tag, at: offset, end: offset + len_bytes });
        self.sending.push_back(cid);
        Ok(())
    }

    // ---- what goes out

    fn queue(&mut self, pdu: Pdu) {
        let mut bytes = [0; PREFIX_BYTES_MAX];
        let len = self.format.put(&pdu, &mut bytes);
        self.outbox.put(len, |into| into.copy_from_slice(&bytes[..len]));
    }

    /// Queues a PDU with data from `offset` of the tag's buffer on, and a mark behind it.
    fn queue_with_data(
        &mut self,
        tag: Tag,
        pdu: Pdu,
        offset: u32,
        crc: impl FnOnce(u32, u32) -> u32,
    ) {
        self.queue(pdu);
        if pdu.data_bytes > 0 {
            self.outbox.put_data(tag, offset, pdu.data_bytes);
            if self.format.digests.data {
                let digest = crc(offset, pdu.data_bytes);
                self.outbox.put(4, |bytes| bytes.copy_from_slice(&digest.to_le_bytes()));
            }
        }
        self.outbox.put_release(tag);
        if let Some(active) = &mut self.slots[usize::from(tag)] {
            active.unsent += 1;
        }
    }

    /// H2CTermReq with the header that is wrong (TCP, 3.6.2.3).
    fn end(&mut self, error: FatalError) -> HostEvent {
        self.phase = Phase::Ending;
        self.reader.close();
        self.incoming = None;
        let quoted = self.reader.last_header();
        let term = TermReq { status: error.status.number(), information: error.information };
        let data_bytes = quoted.len() as u32;
        let pdu = Pdu { header: Header::H2CTermReq(term), flags: 0, data_bytes };
        let mut bytes = [0; TERM_PDU_BYTES_MAX];
        let len = self.format.put(&pdu, &mut bytes);
        let end = len + quoted.len();
        bytes[len..end].copy_from_slice(quoted);
        self.outbox.put(end, |into| into.copy_from_slice(&bytes[..end]));
        HostEvent::Ending { error }
    }
}

/// Completes a command whose response is there and of which nothing waits to be sent.
fn complete(
    slots: &mut [Option<Active>],
    free: &mut Vec<Tag>,
    completed: &mut VecDeque<(Tag, Cqe)>,
    tag: Tag,
) {
    if let Some(Active { response: Some(cqe), unsent: 0, .. }) = slots[usize::from(tag)] {
        slots[usize::from(tag)] = None;
        free.push(tag);
        completed.push_back((tag, cqe));
    }
}
