//! Bytes to PDUs.
//!
//! ```text
//!            header(bytes)                     data(bytes) / skip(n)
//!   Header ----------------> Arrival::Pdu ---> Data ---------------> Arrival::DataEnd ---> Header
//!      |                         |               |    header(bytes)          ^
//!      |                         '-- no data --> |  Digest ------------------'
//!      '--> FatalError: Closed
//! ```
//!
//! Invariants: the outcome does not depend on how the stream was cut; no header is believed before its
//! digest was checked; after an error nothing is read any more.
//!
//! Not here: which PDU may come when.

use crate::layout::Layout;
use crate::limits::{DIGEST_BYTES, PDO_MAX, TERM_PDU_BYTES_MAX};
use crate::pdu::{
    Common, Digests, FatalError, Fes, Header, Kind, Pdu, common_at, digest, digest_append, flag,
};

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The controller, from a host.
    Controller,
    /// The host, from a controller.
    Host,
}

/// What the next bytes of the stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderWant {
    /// A header, or a data digest: pass them to [`Reader::header`].
    Header,
    /// Data of the last PDU: pass them to [`Reader::data`] or [`Reader::skip`].
    Data {
        /// How many bytes are left.
        left: u32,
    },
    /// Nothing.
    Closed,
}

/// What the bytes brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A header. Its data, if any, comes next.
    Pdu(Pdu),
    /// The last byte of its data.
    DataEnd {
        /// The data digest is right, or there is none.
        intact: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `need` bytes make the next step: the common header, then all that comes before the data.
    Header {
        need: usize,
    },
    Data {
        left: u32,
        crc: u32,
        skipped: bool,
        digest: bool,
    },
    Digest {
        crc: u32,
        skipped: bool,
    },
    Closed,
}

/// The reading half of a connection.
#[derive(Debug)]
pub struct Reader {
    side: Side,
    digests: Digests,
    /// CPDA or HPDA of this side.
    alignment: u8,
    state: State,
    /// The header so far, padding included; also the last one, for whoever finds a fault in it later.
    bytes: [u8; PDO_MAX + 1],
    have: usize,
    /// Bytes of the last header that was judged.
    last: usize,
}

const START: State = State::Header { need: Common::SIZE };

impl Reader {
    /// A reader at the start of a connection: no digests yet.
    #[must_use]
    pub fn new(side: Side) -> Self {
        let bytes = [0; PDO_MAX + 1];
        Self {
            side,
            digests: Digests::default(),
            alignment: 0,
            state: START,
            bytes,
            have: 0,
            last: 0,
        }
    }

    /// From the next PDU on, digests and alignment of the data are these.
    pub fn negotiated(&mut self, digests: Digests, alignment: u8) {
        self.digests = digests;
        self.alignment = alignment;
    }

    /// What the next bytes are.
    #[inline]
    #[must_use]
    pub fn want(&self) -> ReaderWant {
        match self.state {
            State::Header { .. } | State::Digest { .. } => ReaderWant::Header,
            State::Data { left, .. } => ReaderWant::Data { left },
            State::Closed => ReaderWant::Closed,
        }
    }

    /// Whether a PDU has begun and not ended.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        match self.state {
            State::Header { .. } => self.have > 0,
            State::Data { .. } | State::Digest { .. } => true,
            State::Closed => false,
        }
    }

    /// Reads nothing any more.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// The header of the last PDU, as far as it has come: what a termination request quotes.
    #[must_use]
    pub fn last_header(&self) -> &[u8] {
        &self.bytes[..self.last]
    }

    /// Takes bytes of a header or of a data digest, up to the next arrival: how many, and which.
    /// Takes nothing where data is expected.
    ///
    /// # Errors
    /// What is wrong with the header. The reader is closed.
    pub fn header(&mut self, bytes: &[u8]) -> Result<(usize, Option<Arrival>), FatalError> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            let step = match self.state {
                State::Header { need } => {
                    // A header that follows another overwrites it only when it begins.
                    used += self.fill(rest, need);
                    if self.have < need { None } else { self.header_step(need)? }
                }
                State::Digest { crc, skipped } => {
                    used += self.fill(rest, DIGEST_BYTES);
                    (self.have == DIGEST_BYTES).then(|| {
                        self.begin();
                        let right = self.bytes[..DIGEST_BYTES] == crc.to_le_bytes();
                        Arrival::DataEnd { intact: right || skipped }
                    })
                }
                State::Data { .. } | State::Closed => return Ok((used, None)),
            };
            if step.is_some() || used == bytes.len() {
                return Ok((used, step));
            }
        }
    }

    /// Takes data where it lies. More than what is left is not looked at.
    pub fn data(&mut self, bytes: &[u8]) -> Option<Arrival> {
        let State::Data { left, crc, skipped, digest } = self.state else { return None };
        let bytes = &bytes[..bytes.len().min(left as usize)];
        let crc = if digest { digest_append(crc, bytes) } else { 0 };
        self.data_step(left - bytes.len() as u32, crc, skipped, digest)
    }

    /// Leaves out data that nobody wants. Its digest is not judged.
    pub fn skip(&mut self, len_bytes: u32) -> Option<Arrival> {
        let State::Data { left, crc, digest, .. } = self.state else { return None };
        self.data_step(left - len_bytes.min(left), crc, true, digest)
    }

    fn data_step(&mut self, left: u32, crc: u32, skipped: bool, digest: bool) -> Option<Arrival> {
        if left > 0 {
            self.state = State::Data { left, crc, skipped, digest };
            return None;
        }
        self.have = 0;
        if digest {
            self.state = State::Digest { crc, skipped };
            return None;
        }
        self.begin();
        Some(Arrival::DataEnd { intact: true })
    }

    fn begin(&mut self) {
        self.state = START;
        self.have = 0;
    }

    /// Copies up to `need` bytes in all; how many it took.
    fn fill(&mut self, bytes: &[u8], need: usize) -> usize {
        let len = bytes.len().min(need - self.have);
        self.bytes[self.have..self.have + len].copy_from_slice(&bytes[..len]);
        self.have += len;
        len
    }

    fn header_step(&mut self, need: usize) -> Result<Option<Arrival>, FatalError> {
        let judged = if need == Common::SIZE { self.judge_common() } else { self.judge_rest() };
        if judged.is_err() {
            self.close();
        }
        judged
    }

    /// The common header is there: how much comes before the data?
    fn judge_common(&mut self) -> Result<Option<Arrival>, FatalError> {
        let common = Common::get(&self.bytes);
        self.last = Common::SIZE;
        let shape = self.shape(&common)?;
        self.state = State::Header { need: shape.data_at };
        Ok(None)
    }

    /// Everything before the data is there.
    fn judge_rest(&mut self) -> Result<Option<Arrival>, FatalError> {
        let common = Common::get(&self.bytes);
        let shape = self.shape(&common)?;
        let header_bytes = shape.kind.header_bytes();
        self.last = header_bytes;
        if common.flags & flag::HEADER_DIGEST != 0 {
            let mut found = [0; DIGEST_BYTES];
            found.copy_from_slice(&self.bytes[header_bytes..header_bytes + DIGEST_BYTES]);
            let found = u32::from_le_bytes(found);
            if found != digest(&self.bytes[..header_bytes]) {
                return Err(FatalError { status: Fes::HeaderDigest, information: found });
            }
        }
        let header = Header::get(shape.kind, &self.bytes[Common::SIZE..]);
        let pdu = Pdu { header, flags: common.flags, data_bytes: shape.data_bytes };
        self.state = match shape.data_bytes {
            0 => START,
            left => State::Data { left, crc: 0, skipped: false, digest: shape.data_digest },
        };
        if shape.data_bytes == 0 {
            self.have = 0;
        }
        Ok(Some(Arrival::Pdu(pdu)))
    }

    /// What the common header says of the PDU's parts (TCP, 3.6.1).
    fn shape(&self, common: &Common) -> Result<Shape, FatalError> {
        let from_host = self.side == Side::Controller;
        let kind = Kind::from_number(common.kind)
            .filter(|kind| kind.is_from_host() == from_host)
            .ok_or(FatalError::header(common_at::KIND))?;
        let header_bytes = kind.header_bytes();
        if usize::from(common.header_bytes) != header_bytes {
            return Err(FatalError::header(common_at::HEADER_BYTES));
        }
        let has_digest = self.digests.header && kind.has_digests();
        if has_digest != (common.flags & flag::HEADER_DIGEST != 0) {
            return Err(FatalError::header(common_at::FLAGS));
        }
        let header_end = header_bytes + if has_digest { DIGEST_BYTES } else { 0 };
        let len_bytes = common.len_bytes as usize;
        if len_bytes < header_end || (len_bytes > header_end && !kind.may_carry_data()) {
            return Err(FatalError::header(common_at::LEN_BYTES));
        }
        if !kind.has_digests() && len_bytes > TERM_PDU_BYTES_MAX {
            return Err(FatalError::header(common_at::LEN_BYTES));
        }
        if len_bytes == header_end {
            let (data_at, data_bytes) = (header_end, 0);
            return Ok(Shape { kind, data_at, data_bytes, data_digest: false });
        }
        self.data_shape(common, kind, header_end)
    }

    fn data_shape(
        &self,
        common: &Common,
        kind: Kind,
        header_end: usize,
    ) -> Result<Shape, FatalError> {
        // Termination requests have no data offset: what they quote follows at once.
        let data_at = if kind.has_digests() { usize::from(common.data_at) } else { header_end };
        let multiple = (usize::from(self.alignment) + 1) * 4;
        if data_at < header_end || (kind.has_digests() && !data_at.is_multiple_of(multiple)) {
            return Err(FatalError::header(common_at::DATA_AT));
        }
        let data_digest = self.digests.data && kind.has_digests();
        if data_digest != (common.flags & flag::DATA_DIGEST != 0) {
            return Err(FatalError::header(common_at::FLAGS));
        }
        let tail = if data_digest { DIGEST_BYTES } else { 0 };
        let data_bytes = (common.len_bytes as usize)
            .checked_sub(data_at + tail)
            .filter(|data_bytes| *data_bytes > 0)
            .ok_or(FatalError::header(common_at::LEN_BYTES))?;
        Ok(Shape { kind, data_at, data_bytes: data_bytes as u32, data_digest })
    }
}

/// Has a machine take bytes that are no data: how many, up to its first event, and that. `reader` is its
/// reader; it says what an arrival means, and makes an event of what is wrong, its own findings and the
/// reader's alike.
pub fn advance<M, E>(
    machine: &mut M,
    bytes: &[u8],
    reader: impl Fn(&mut M) -> &mut Reader,
    arrived: impl Fn(&mut M, Arrival) -> Result<Option<E>, FatalError>,
    end: impl FnOnce(&mut M, FatalError) -> E,
) -> (usize, Option<E>) {
    let mut used = 0;
    while used < bytes.len() && reader(machine).want() == ReaderWant::Header {
        let step = match reader(machine).header(&bytes[used..]) {
            Ok((len, arrival)) => {
                used += len;
                arrival.map_or(Ok(None), |arrival| arrived(machine, arrival))
            }
            Err(error) => Err(error),
        };
        match step {
            Ok(None) => {}
            Ok(Some(event)) => return (used, Some(event)),
            Err(error) => return (used, Some(end(machine, error))),
        }
    }
    (used, None)
}

struct Shape {
    kind: Kind,
    data_at: usize,
    data_bytes: u32,
    data_digest: bool,
}

#[cfg(test)]
mod tests;
