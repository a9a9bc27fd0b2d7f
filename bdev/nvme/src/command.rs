//! Submission and completion queue entries, opcodes, SGL descriptors.
//!
//! ```text
//!   SQE   0 opcode | 1 flags | 2 cid | 4 nsid | 8 cdw2,3 | 16 mptr | 24 SGL 1 | 40 cdw10 ... cdw15    64
//!   CQE   0 result | 8 SQ head | 10 SQ id | 12 cid | 14 status << 1                                   16
//!   SGL   0 address | 8 length | 12 reserved | 15 type << 4, subtype                                  16
//! ```
//!
//! Not here: commands of Fabrics ([`crate::fabrics`]), statuses ([`crate::status`]).

use crate::layout::{Layout, layout};
use crate::status::Status;

/// Opcodes of Admin commands (Base, 5, figure 139).
pub mod admin {
    /// Get Log Page (5.16).
    pub const GET_LOG_PAGE: u8 = 0x02;
    /// Identify (5.17).
    pub const IDENTIFY: u8 = 0x06;
    /// Abort (5.1).
    pub const ABORT: u8 = 0x08;
    /// Set Features (5.27).
    pub const SET_FEATURES: u8 = 0x09;
    /// Get Features (5.15).
    pub const GET_FEATURES: u8 = 0x0a;
    /// Asynchronous Event Request (5.2).
    pub const ASYNC_EVENT_REQUEST: u8 = 0x0c;
    /// Keep Alive (5.18).
    pub const KEEP_ALIVE: u8 = 0x18;
}

/// Opcodes of I/O commands (NVM, 3, figure 14; Flush is Base, 7.1).
pub mod io {
    /// Flush.
    pub const FLUSH: u8 = 0x00;
    /// Write (NVM, 3.2.6).
    pub const WRITE: u8 = 0x01;
    /// Read (NVM, 3.2.4).
    pub const READ: u8 = 0x02;
    /// Compare (NVM, 3.2.1).
    pub const COMPARE: u8 = 0x05;
    /// Write Zeroes (NVM, 3.2.8).
    pub const WRITE_ZEROES: u8 = 0x08;
    /// Dataset Management (NVM, 3.2.3).
    pub const DATASET_MANAGEMENT: u8 = 0x09;
    /// Verify (NVM, 3.2.5).
    pub const VERIFY: u8 = 0x0c;
}

/// The opcode of all Fabrics commands (Base, 6).
pub const FABRICS: u8 = 0x7f;

/// Every namespace (Base, 1.5.*, "NSID FFFFFFFFh").
pub const NSID_ALL: u32 = 0xffff_ffff;

layout! {
    /// A submission queue entry (Base, 3.3.3.1, figure 87).
    Sqe, 64 bytes {
        /// OPC.
        0 opcode: u8,
        /// FUSE in bits 1:0, PSDT in bits 7:6.
        1 flags: u8,
        /// Command identifier.
        2 cid: u16,
        /// Namespace identifier; the type of a Fabrics command is its first byte.
        4 nsid: u32,
        /// Command dword 2.
        8 cdw2: u32,
        /// Command dword 3.
        12 cdw3: u32,
        /// Metadata pointer.
        16 mptr: u64,
        /// SGL 1: where the data is.
        24 dptr: [u8; 16],
        /// Command dword 10.
        40 cdw10: u32,
        /// Command dword 11.
        44 cdw11: u32,
        /// Command dword 12.
        48 cdw12: u32,
        /// Command dword 13.
        52 cdw13: u32,
        /// Command dword 14.
        56 cdw14: u32,
        /// Command dword 15.
        60 cdw15: u32,
    }
}

/// PSDT: SGLs are used (Base, figure 87): the only way over Fabrics.
pub const FLAG_SGL: u8 = 0x40;
/// Bits of PSDT.
pub const FLAGS_PSDT: u8 = 0xc0;
/// Bits of FUSE.
pub const FLAGS_FUSE: u8 = 0x03;

/// Force unit access, in dword 12 of Read, Write, Compare, Verify and Write Zeroes (NVM, 3.2.4).
pub const CDW12_FUA: u32 = 1 << 30;
/// Protection information, in dword 12 (NVM, figure 28): PRACT and PRCHK.
pub const CDW12_PRINFO: u32 = 0xf << 26;
/// Storage tag check, in dword 12.
pub const CDW12_STC: u32 = 1 << 24;
/// Deallocate, in dword 12 of Write Zeroes (NVM, 3.2.8).
pub const CDW12_DEAC: u32 = 1 << 25;
/// Deallocate, in dword 11 of Dataset Management (NVM, 3.2.3, figure 39).
pub const DSM_DEALLOCATE: u32 = 1 << 2;

impl Sqe {
    /// First logical block of an I/O command (dwords 10 and 11).
    #[inline]
    #[must_use]
    pub fn start_block(&self) -> u64 {
        u64::from(self.cdw10) | u64::from(self.cdw11) << 32
    }

    /// Logical blocks of an I/O command; the field is 0's based (dword 12, 15:0).
    #[inline]
    #[must_use]
    pub fn blocks(&self) -> u32 {
        (self.cdw12 & 0xffff) + 1
    }

    /// SGL 1.
    #[inline]
    #[must_use]
    pub fn sgl(&self) -> Sgl {
        Sgl::get(&self.dptr)
    }

    /// The same entry with another SGL 1, and PSDT saying so.
    #[must_use]
    pub fn with_sgl(mut self, sgl: Sgl) -> Self {
        sgl.put(&mut self.dptr);
        self.flags = self.flags & !FLAGS_PSDT | FLAG_SGL;
        self
    }

    /// The same entry with these blocks in dwords 10 to 12; other bits of dword 12 stay.
    #[must_use]
    pub fn with_blocks(mut self, start_block: u64, blocks: u32) -> Self {
        self.cdw10 = start_block as u32;
        self.cdw11 = (start_block >> 32) as u32;
        self.cdw12 = self.cdw12 & !0xffff | (blocks.wrapping_sub(1) & 0xffff);
        self
    }
}

layout! {
    /// A completion queue entry (Base, 3.3.3.2, figure 89).
    Cqe, 16 bytes {
        /// Dwords 0 and 1: what is specific to the command.
        0 result: u64,
        /// SQHD: how far the controller has taken entries from the submission queue.
        8 sq_head: u16,
        /// Queue of the command.
        10 sq_id: u16,
        /// Command identifier.
        12 cid: u16,
        /// Status field in bits 15:1; the phase tag, bit 0, means nothing over Fabrics.
        14 status_field: u16,
    }
}

impl Cqe {
    /// Its status.
    #[inline]
    #[must_use]
    pub fn status(&self) -> Status {
        Status::from_bits(self.status_field >> 1)
    }

    /// The same entry with another status.
    #[inline]
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        self.status_field = status.bits() << 1;
        self
    }
}

layout! {
    /// An SGL descriptor (Base, 4.1.2, figures 93 to 95).
    Sgl, 16 bytes {
        /// Address, or an offset into the capsule.
        0 address: u64,
        /// Length, in bytes.
        8 len_bytes: u32,
        /// Type in bits 7:4, subtype in bits 3:0.
        15 identifier: u8,
    }
}

impl Sgl {
    /// A data block at an offset into the capsule (type 0h, subtype 1h).
    pub const IN_CAPSULE: u8 = 0x01;
    /// A data block that the transport moves (type 5h, subtype Ah; TCP, 3.3.2.1).
    pub const TRANSPORT: u8 = 0x5a;

    /// Data that follows in the capsule.
    #[must_use]
    pub fn in_capsule(len_bytes: u32) -> Self {
        Self { address: 0, len_bytes, identifier: Self::IN_CAPSULE }
    }

    /// Data that the transport moves: with R2T and H2CData, or with C2HData.
    #[must_use]
    pub fn transport(len_bytes: u32) -> Self {
        Self { address: 0, len_bytes, identifier: Self::TRANSPORT }
    }
}

layout! {
    /// A range of Dataset Management (NVM, 3.2.3, figure 40).
    DsmRange, 16 bytes {
        /// Context attributes.
        0 attributes: u32,
        /// Length, in logical blocks; not 0's based.
        4 blocks: u32,
        /// First logical block.
        8 start_block: u64,
    }
}
