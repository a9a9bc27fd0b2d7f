//! The properties of a controller: CAP, VS, CC and CSTS (Base, 3.1.3).
//!
//! Not here: what a controller does when they are set.

/// Offsets of properties (Base, 3.1.3, figure 35).
pub mod offset {
    /// Controller Capabilities, 8 bytes.
    pub const CAP: u32 = 0x00;
    /// Version, 4 bytes.
    pub const VS: u32 = 0x08;
    /// Controller Configuration, 4 bytes.
    pub const CC: u32 = 0x14;
    /// Controller Status, 4 bytes.
    pub const CSTS: u32 = 0x1c;
    /// NVM Subsystem Reset, 4 bytes.
    pub const NSSR: u32 = 0x20;
    /// Controller Ready Timeouts, 4 bytes.
    pub const CRTO: u32 = 0x68;
}

/// VS of this implementation: 2.0.0.
pub const VERSION: u32 = 0x0002_0000;

/// Controller Capabilities (Base, figure 36).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// Entries of the largest queue (MQES is 0's based).
    pub queue_entries_max: u32,
    /// TO, in units of 500 ms: how long CSTS.RDY may take.
    pub timeout_500ms: u8,
}

impl Cap {
    const CQR: u64 = 1 << 16;
    const CSS_NVM: u64 = 1 << 37;

    /// The property. Queues are contiguous (CQR), the command set is NVM, pages are of 4 KiB.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        u64::from(self.queue_entries_max - 1) & 0xffff
            | Self::CQR
            | u64::from(self.timeout_500ms) << 24
            | Self::CSS_NVM
    }

    /// What a host needs of it.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self { queue_entries_max: (bits & 0xffff) as u32 + 1, timeout_500ms: (bits >> 24) as u8 }
    }
}

/// Controller Configuration (Base, figure 46).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Cc(pub u32);

impl Cc {
    /// What a host sets to enable a controller: EN, 64-byte submission and 16-byte completion queue
    /// entries.
    pub const ENABLED: Self = Self(1 | 6 << 16 | 4 << 20);

    /// EN.
    #[must_use]
    pub fn is_enabled(self) -> bool {
        self.0 & 1 != 0
    }

    /// CSS: 000b is NVM, 110b all that are supported.
    #[must_use]
    pub fn command_set(self) -> u32 {
        self.0 >> 4 & 7
    }

    /// MPS: pages of 2^(12 + MPS) bytes.
    #[must_use]
    pub fn page_size(self) -> u32 {
        self.0 >> 7 & 0xf
    }

    /// SHN: 0 is none, 1 is normal, 2 is abrupt.
    #[must_use]
    pub fn shutdown(self) -> u32 {
        self.0 >> 14 & 3
    }

    /// IOSQES: entries of I/O submission queues have 2^IOSQES bytes.
    #[must_use]
    pub fn sq_entry_size(self) -> u32 {
        self.0 >> 16 & 0xf
    }

    /// IOCQES: entries of I/O completion queues have 2^IOCQES bytes.
    #[must_use]
    pub fn cq_entry_size(self) -> u32 {
        self.0 >> 20 & 0xf
    }

    /// The same with a shutdown wanted, normal.
    #[must_use]
    pub fn with_shutdown(self) -> Self {
        Self(self.0 & !(3 << 14) | 1 << 14)
    }
}

/// Controller Status (Base, figure 47).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Csts(pub u32);

impl Csts {
    /// RDY.
    pub const READY: u32 = 1;
    /// CFS: a fatal error.
    pub const FATAL: u32 = 1 << 1;
    /// SHST: shutdown is complete (10b).
    pub const SHUTDOWN_COMPLETE: u32 = 2 << 2;

    /// Whether commands are taken.
    #[must_use]
    pub fn is_ready(self) -> bool {
        self.0 & Self::READY != 0
    }

    /// Whether a reset is needed.
    #[must_use]
    pub fn is_fatal(self) -> bool {
        self.0 & Self::FATAL != 0
    }

    /// Whether a shutdown is complete.
    #[must_use]
    pub fn is_shut_down(self) -> bool {
        self.0 & 3 << 2 == Self::SHUTDOWN_COMPLETE
    }
}
