//! NVMe/TCP PDUs: headers, digests, and the errors that end a connection.
//!
//! ```text
//!   0 type | 1 flags | 2 HLEN | 3 PDO | 4 PLEN        common header, 8 bytes            TCP, 3.6.1
//!   8 specific to the type, up to HLEN
//!     header digest, 4 bytes, if HDGSTF
//!     padding up to PDO
//!   PDO data | data digest, 4 bytes, if DDGSTF        up to PLEN
//! ```
//!
//! Not here: reading them from a stream ([`crate::stream`]).

use crate::command::{Cqe, Sqe};
use crate::layout::{Layout, layout};
use crate::limits::DIGEST_BYTES;

/// Flags of the common header (TCP, 3.6.2).
pub mod flag {
    /// HDGSTF: a header digest follows the header.
    pub const HEADER_DIGEST: u8 = 1;
    /// DDGSTF: a data digest follows the data.
    pub const DATA_DIGEST: u8 = 1 << 1;
    /// LAST_PDU: no more data PDUs of this transfer.
    pub const LAST: u8 = 1 << 2;
    /// SUCCESS: of C2HData, there will be no response, the command was done.
    pub const SUCCESS: u8 = 1 << 3;
}

layout! {
    /// The common header (TCP, 3.6.1, figure 25).
    Common, 8 bytes {
        /// PDU-Type.
        0 kind: u8,
        /// FLAGS.
        1 flags: u8,
        /// HLEN: bytes of the header, without digest.
        2 header_bytes: u8,
        /// PDO: where data begins.
        3 data_at: u8,
        /// PLEN: bytes of the PDU, everything counted.
        4 len_bytes: u32,
    }
}

/// Offsets of the common header's fields, for [`FatalError`].
pub mod common_at {
    /// PDU-Type.
    pub const KIND: u32 = 0;
    /// FLAGS.
    pub const FLAGS: u32 = 1;
    /// HLEN.
    pub const HEADER_BYTES: u32 = 2;
    /// PDO.
    pub const DATA_AT: u32 = 3;
    /// PLEN.
    pub const LEN_BYTES: u32 = 4;
}

/// Types of PDUs (TCP, 3.6, figure 24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Initialize connection request, from the host.
    IcReq,
    /// Its response.
    IcResp,
    /// The host gives the connection up.
    H2CTermReq,
    /// The controller gives the connection up.
    C2HTermReq,
    /// A command.
    CapsuleCmd,
    /// Its response.
    CapsuleResp,
    /// Data from the host.
    H2CData,
    /// Data to the host.
    C2HData,
    /// Ready to transfer: the controller asks for data.
    R2T,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::IcReq,
        Self::IcResp,
        Self::H2CTermReq,
        Self::C2HTermReq,
        Self::CapsuleCmd,
        Self::CapsuleResp,
        Self::H2CData,
        Self::C2HData,
        Self::R2T,
    ];

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::IcReq => 0x00,
            Self::IcResp => 0x01,
            Self::H2CTermReq => 0x02,
            Self::C2HTermReq => 0x03,
            Self::CapsuleCmd => 0x04,
            Self::CapsuleResp => 0x05,
            Self::H2CData => 0x06,
            Self::C2HData => 0x07,
            Self::R2T => 0x09,
        }
    }

    /// Of its number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// HLEN: the size of its header, in bytes.
    #[must_use]
    pub fn header_bytes(self) -> usize {
        match self {
            Self::IcReq | Self::IcResp => 128,
            Self::CapsuleCmd => 72,
            Self::H2CTermReq
            | Self::C2HTermReq
            | Self::CapsuleResp
            | Self::H2CData
            | Self::C2HData
            | Self::R2T => 24,
        }
    }

    /// Whether hosts send it.
    #[must_use]
    pub fn is_from_host(self) -> bool {
        matches!(self, Self::IcReq | Self::H2CTermReq | Self::CapsuleCmd | Self::H2CData)
    }

    /// Whether it may carry data behind its header.
    #[must_use]
    pub fn may_carry_data(self) -> bool {
        matches!(
            self,
            Self::CapsuleCmd | Self::H2CData | Self::C2HData | Self::H2CTermReq | Self::C2HTermReq
        )
    }

    /// Whether digests are for it: those that open and end a connection have none.
    #[must_use]
    pub fn has_digests(self) -> bool {
        !matches!(self, Self::IcReq | Self::IcResp | Self::H2CTermReq | Self::C2HTermReq)
    }

    /// The flags that it may have, beside those of digests.
    #[must_use]
    pub fn flags(self) -> u8 {
        match self {
            Self::H2CData => flag::LAST,
            Self::C2HData => flag::LAST | flag::SUCCESS,
            _ => 0,
        }
    }
}

layout! {
    /// ICReq, from byte 8 (TCP, 3.6.2.1, figure 27).
    IcReq, 120 bytes {
        /// PFV: 0.
        0 version: u16,
        /// HPDA: the host wants data at multiples of (HPDA + 1) * 4 bytes.
        2 alignment: u8,
        /// DGST: bit 0 header, bit 1 data.
        3 digests: u8,
        /// MAXR2T: R2T outstanding for a command, 0's based.
        4 max_r2t: u32,
    }
}

layout! {
    /// ICResp, from byte 8 (TCP, 3.6.2.2, figure 28).
    IcResp, 120 bytes {
        /// PFV: 0.
        0 version: u16,
        /// CPDA: the controller wants data at multiples of (CPDA + 1) * 4 bytes.
        2 alignment: u8,
        /// DGST: bit 0 header, bit 1 data.
        3 digests: u8,
        /// MAXH2CDATA: largest H2CData, in bytes.
        4 max_h2c_data_bytes: u32,
    }
}

layout! {
    /// H2CTermReq and C2HTermReq, from byte 8 (TCP, 3.6.2.3 and 3.6.2.4, figures 29 and 31).
    TermReq, 16 bytes {
        /// FES: fatal error status.
        0 status: u16,
        /// FEI: fatal error information.
        2 information: u32,
    }
}

layout! {
    /// H2CData, C2HData and R2T, from byte 8 (TCP, 3.6.2.7 to 3.6.2.9, figures 34 to 36).
    Transfer, 16 bytes {
        /// CCCID: the command.
        0 cid: u16,
        /// TTAG: the controller's name for the transfer; reserved in C2HData.
        2 tag: u16,
        /// DATAO, R2TO: where in the command's data.
        4 offset: u32,
        /// DATAL, R2TL: how many bytes.
        8 len_bytes: u32,
    }
}

/// Digests of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Digests {
    /// Headers carry one.
    pub header: bool,
    /// Data carries one.
    pub data: bool,
}

impl Digests {
    /// DGST of ICReq and ICResp.
    #[must_use]
    pub fn bits(self) -> u8 {
        u8::from(self.header) | u8::from(self.data) << 1
    }

    /// Of DGST; `None` if a reserved bit is set.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        (bits & !3 == 0).then_some(Self { header: bits & 1 != 0, data: bits & 2 != 0 })
    }

    /// What both sides want.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { header: self.header && other.header, data: self.data && other.data }
    }
}

/// The digest of bytes: CRC32C (TCP, 3.3.1.1).
#[inline]
#[must_use]
pub fn digest(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// The digest of bytes whose beginning has the digest `before`.
#[inline]
#[must_use]
pub fn digest_append(before: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(before, bytes)
}

/// FES: why a connection ends (TCP, figures 30 and 32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fes {
    /// A field of a header is not valid; the information is its offset.
    InvalidHeader,
    /// A PDU that may not come now.
    Sequence,
    /// The header digest is wrong; the information is the digest that came.
    HeaderDigest,
    /// Data outside of its command, or not where it should be.
    DataOutOfRange,
    /// More data than allowed, or to a host more R2T than allowed.
    LimitExceeded,
    /// A parameter that is not supported; the information is its offset.
    UnsupportedParameter,
}

impl Fes {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::InvalidHeader,
        Self::Sequence,
        Self::HeaderDigest,
        Self::DataOutOfRange,
        Self::LimitExceeded,
        Self::UnsupportedParameter,
    ];

    /// Its number.
    #[must_use]
    pub fn number(self) -> u16 {
        match self {
            Self::InvalidHeader => 1,
            Self::Sequence => 2,
            Self::HeaderDigest => 3,
            Self::DataOutOfRange => 4,
            Self::LimitExceeded => 5,
            Self::UnsupportedParameter => 6,
        }
    }

    /// Of its number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.number() == number)
    }
}

/// An error after which a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fatal transport error: {status:?}, information {information:#x}")]
pub struct FatalError {
    /// FES.
    pub status: Fes,
    /// FEI: an offset in the PDU's header, or the header digest that came.
    pub information: u32,
}

impl FatalError {
    /// A field of a header is not valid.
    #[must_use]
    pub const fn header(offset: u32) -> Self {
        Self { status: Fes::InvalidHeader, information: offset }
    }

    /// An error that has no information.
    #[must_use]
    pub const fn of(status: Fes) -> Self {
        Self { status, information: 0 }
    }
}

/// A PDU's header, and how many bytes of data follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pdu {
    /// What it is.
    pub header: Header,
    /// FLAGS.
    pub flags: u8,
    /// Bytes of data that follow, without digest.
    pub data_bytes: u32,
}

/// What is specific to a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// Initialize connection request.
    IcReq(IcReq),
    /// Its response.
    IcResp(IcResp),
    /// The host ends the connection.
    H2CTermReq(TermReq),
    /// The controller ends the connection.
    C2HTermReq(TermReq),
    /// A command.
    CapsuleCmd(Sqe),
    /// Its response.
    CapsuleResp(Cqe),
    /// Data from the host.
    H2CData(Transfer),
    /// Data to the host.
    C2HData(Transfer),
    /// The controller asks for data.
    R2T(Transfer),
}

impl Header {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::IcReq(_) => Kind::IcReq,
            Self::IcResp(_) => Kind::IcResp,
            Self::H2CTermReq(_) => Kind::H2CTermReq,
            Self::C2HTermReq(_) => Kind::C2HTermReq,
            Self::CapsuleCmd(_) => Kind::CapsuleCmd,
            Self::CapsuleResp(_) => Kind::CapsuleResp,
            Self::H2CData(_) => Kind::H2CData,
            Self::C2HData(_) => Kind::C2HData,
            Self::R2T(_) => Kind::R2T,
        }
    }

    /// Reads what is specific to `kind` from the bytes behind the common header.
    ///
    /// # Panics
    /// On fewer bytes than the type's header has.
    #[must_use]
    pub fn get(kind: Kind, bytes: &[u8]) -> Self {
        match kind {
            Kind::IcReq => Self::IcReq(Layout::get(bytes)),
            Kind::IcResp => Self::IcResp(Layout::get(bytes)),
            Kind::H2CTermReq => Self::H2CTermReq(Layout::get(bytes)),
            Kind::C2HTermReq => Self::C2HTermReq(Layout::get(bytes)),
            Kind::CapsuleCmd => Self::CapsuleCmd(Layout::get(bytes)),
            Kind::CapsuleResp => Self::CapsuleResp(Layout::get(bytes)),
            Kind::H2CData => Self::H2CData(Layout::get(bytes)),
            Kind::C2HData => Self::C2HData(Layout::get(bytes)),
            Kind::R2T => Self::R2T(Layout::get(bytes)),
        }
    }

    fn put(&self, bytes: &mut [u8]) {
        match self {
            Self::IcReq(header) => header.put(bytes),
            Self::IcResp(header) => header.put(bytes),
            Self::H2CTermReq(header) | Self::C2HTermReq(header) => header.put(bytes),
            Self::CapsuleCmd(header) => header.put(bytes),
            Self::CapsuleResp(header) => header.put(bytes),
            Self::H2CData(header) | Self::C2HData(header) | Self::R2T(header) => header.put(bytes),
        }
    }
}

/// How the sender of a connection makes its PDUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Format {
    /// Digests that were agreed on.
    pub digests: Digests,
    /// HPDA or CPDA of the receiver, at most [`ALIGNMENT_MAX`](crate::limits::ALIGNMENT_MAX).
    pub alignment: u8,
}

/// Most bytes of a header with digest and padding, of any PDU: a capsule of 76 bytes padded to a multiple
/// of 72.
pub const PREFIX_BYTES_MAX: usize = 144;

impl Format {
    /// Where the data of a PDU begins.
    #[must_use]
    pub fn data_at(self, kind: Kind) -> usize {
        let header_end = kind.header_bytes() + self.header_digest_bytes(kind);
        header_end.next_multiple_of((usize::from(self.alignment) + 1) * 4)
    }

    fn header_digest_bytes(self, kind: Kind) -> usize {
        if self.digests.header && kind.has_digests() { DIGEST_BYTES } else { 0 }
    }

    /// Writes everything of a PDU that comes before its data: header, digest, padding; how many bytes
    /// that are. A data digest is announced if there is data, and is the caller's to append.
    ///
    /// # Panics
    /// If `bytes` are too few: [`PREFIX_BYTES_MAX`] always do.
    pub fn put(self, pdu: &Pdu, bytes: &mut [u8]) -> usize {
        let kind = pdu.header.kind();
        let header_bytes = kind.header_bytes();
        let header_digest = self.header_digest_bytes(kind);
        let header_end = header_bytes + header_digest;
        let has_data = pdu.data_bytes > 0;
        let data_at = match (has_data, kind.has_digests()) {
            (false, _) => header_end,
            (true, false) => header_bytes,
            (true, true) => self.data_at(kind),
        };
        let data_digest = has_data && self.digests.data && kind.has_digests();
        let mut flags = pdu.flags & kind.flags();
        if header_digest > 0 {
            flags |= flag::HEADER_DIGEST;
        }
        if data_digest {
            flags |= flag::DATA_DIGEST;
        }
        let tail = if data_digest { DIGEST_BYTES as u32 } else { 0 };
        let common = Common {
            kind: kind.number(),
            flags,
            header_bytes: header_bytes as u8,
            // Termination requests have a reserved PDO (TCP, figures 29 and 31).
            data_at: if has_data && kind.has_digests() { data_at as u8 } else { 0 },
            len_bytes: data_at as u32 + pdu.data_bytes + tail,
        };
        common.put(bytes);
        pdu.header.put(&mut bytes[Common::SIZE..]);
        if header_digest > 0 {
            let crc = digest(&bytes[..header_bytes]);
            bytes[header_bytes..header_end].copy_from_slice(&crc.to_le_bytes());
        }
        bytes[header_end..data_at].fill(0);
        data_at
    }
}

#[cfg(test)]
mod tests;
