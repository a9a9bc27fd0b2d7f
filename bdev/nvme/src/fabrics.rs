//! Commands of Fabrics: how a host gets to a controller and to its properties (Base, 6).
//!
//! ```text
//!   SQE of Fabrics   0 7Fh | 1 PSDT | 2 cid | 4 FCTYPE | 24 SGL 1 | 40 specific to the type     64
//! ```
//!
//! Not here: the properties ([`crate::register`]), messages of authentication.

use crate::command::{FABRICS, Sqe};
use crate::layout::{Layout, layout};

/// FCTYPE: which command of Fabrics (Base, 6, figure 373).
pub mod kind {
    /// Property Set (6.6).
    pub const PROPERTY_SET: u8 = 0x00;
    /// Connect (6.3).
    pub const CONNECT: u8 = 0x01;
    /// Property Get (6.5).
    pub const PROPERTY_GET: u8 = 0x04;
    /// Authentication Send (6.2).
    pub const AUTHENTICATION_SEND: u8 = 0x05;
    /// Authentication Receive (6.1).
    pub const AUTHENTICATION_RECEIVE: u8 = 0x06;
    /// Disconnect (6.4).
    pub const DISCONNECT: u8 = 0x08;
}

/// The controller identifier of a host that takes any (dynamic controller model; Base, 6.3).
pub const CNTLID_DYNAMIC: u16 = 0xffff;

/// CATTR: submission queue flow control is not wanted (Base, figure 378, bit 2).
pub const CATTR_NO_FLOW_CONTROL: u8 = 1 << 2;

/// Result of Connect: an authentication transaction is required (AUTHREQ.ATR; Base, figure 381).
pub const RESULT_AUTHENTICATION_REQUIRED: u32 = 1 << 17;

layout! {
    /// Command Connect, from byte 40 of its entry (Base, 6.3, figure 378).
    Connect, 24 bytes {
        /// RECFMT: format of the record, 0.
        0 record_format: u16,
        /// QID: 0 is the Admin queue.
        2 qid: u16,
        /// SQSIZE: entries of the queue, 0's based.
        4 sq_size: u16,
        /// CATTR.
        6 attributes: u8,
        /// KATO, in milliseconds; 0 is none. Of the Admin queue only.
        8 keep_alive_ms: u32,
    }
}

layout! {
    /// Data of Connect (Base, 6.3, figure 380).
    ConnectData, 1024 bytes {
        /// Host identifier.
        0 host_id: [u8; 16],
        /// Controller identifier.
        16 cntlid: u16,
        /// NQN of the subsystem, ended with a zero.
        256 subsystem_nqn: [u8; 256],
        /// NQN of the host, ended with a zero.
        512 host_nqn: [u8; 256],
    }
}

/// Bytes of [`Connect`] that may be wrong, for its result (IPO).
pub mod connect_at {
    /// QID.
    pub const QID: u16 = 42;
    /// SQSIZE.
    pub const SQ_SIZE: u16 = 44;
    /// CATTR.
    pub const ATTRIBUTES: u16 = 46;
    /// KATO.
    pub const KEEP_ALIVE: u16 = 48;
    /// Of the data: the host identifier.
    pub const DATA_HOST_ID: u16 = 0;
    /// Of the data: the controller identifier.
    pub const DATA_CNTLID: u16 = 16;
    /// Of the data: the subsystem's NQN.
    pub const DATA_SUBSYSTEM_NQN: u16 = 256;
    /// Of the data: the host's NQN.
    pub const DATA_HOST_NQN: u16 = 512;
}

/// Result of a Connect with an invalid parameter (Base, figure 382): which byte, of the command or
/// (IATTR) of its data.
#[must_use]
pub fn invalid_parameter(offset: u16, in_data: bool) -> u32 {
    u32::from(offset) | u32::from(in_data) << 16
}

layout! {
    /// Command Property Get, from byte 40 of its entry (Base, 6.5, figure 384).
    PropertyGet, 24 bytes {
        /// ATTRIB: 0 for 4 bytes, 1 for 8.
        0 size_code: u8,
        /// OFST: which property.
        4 offset: u32,
    }
}

layout! {
    /// Command Property Set, from byte 40 of its entry (Base, 6.6, figure 387).
    PropertySet, 24 bytes {
        /// ATTRIB: 0 for 4 bytes, 1 for 8.
        0 size_code: u8,
        /// OFST: which property.
        4 offset: u32,
        /// VALUE.
        8 value: u64,
    }
}

layout! {
    /// Commands Authentication Send and Receive, from byte 40 (Base, 6.1 and 6.2, figures 374, 376).
    Authentication, 24 bytes {
        /// SPSP0.
        1 specific0: u8,
        /// SPSP1.
        2 specific1: u8,
        /// SECP: E9h.
        3 protocol: u8,
        /// TL or AL: bytes that are transferred.
        4 len_bytes: u32,
    }
}

impl Sqe {
    /// Type of a Fabrics command.
    #[inline]
    #[must_use]
    pub fn fabrics_kind(&self) -> u8 {
        self.nsid as u8
    }

    /// What is specific to a command, from byte 40 on.
    #[must_use]
    pub fn specific<T: Layout>(&self) -> T {
        T::get(&self.to_bytes()[40..])
    }

    /// A Fabrics command with what is specific to it.
    #[must_use]
    pub fn fabrics<T: Layout>(kind: u8, specific: &T) -> Self {
        let mut bytes = [0; 64];
        bytes[0] = FABRICS;
        bytes[1] = crate::command::FLAG_SGL;
        bytes[4] = kind;
        specific.put(&mut bytes[40..]);
        Self::get(&bytes)
    }
}
