//! Log pages, and asynchronous events that tell of them (Base, 5.16.1 and 5.2.1).
//!
//! Not here: what stands in them.

use crate::layout::{Layout, layout};

/// Log page identifiers (Base, figures 200 to 202).
pub mod id {
    /// Supported Log Pages.
    pub const SUPPORTED: u8 = 0x00;
    /// Error Information.
    pub const ERROR: u8 = 0x01;
    /// SMART / Health Information.
    pub const SMART: u8 = 0x02;
    /// Firmware Slot Information.
    pub const FIRMWARE: u8 = 0x03;
    /// Changed Namespace List.
    pub const CHANGED_NAMESPACES: u8 = 0x04;
    /// Commands Supported and Effects.
    pub const EFFECTS: u8 = 0x05;
    /// Asymmetric Namespace Access.
    pub const ANA: u8 = 0x0c;
    /// Discovery.
    pub const DISCOVERY: u8 = 0x70;
}

/// Bits of an entry of Commands Supported and Effects (Base, figure 210).
pub mod effects {
    /// CSUPP: supported.
    pub const SUPPORTED: u32 = 1;
    /// LBCC: content of logical blocks may change.
    pub const CONTENT: u32 = 1 << 1;
}

/// LSUPP of an entry of Supported Log Pages (Base, figure 204).
pub const LOG_SUPPORTED: u32 = 1;

/// Bytes of Commands Supported and Effects.
pub const EFFECTS_BYTES: usize = 4096;
/// First entry of an I/O command in Commands Supported and Effects.
pub const EFFECTS_IO_AT: usize = 1024;
/// Bytes of Supported Log Pages: an entry of four for every identifier.
pub const SUPPORTED_BYTES: usize = 1024;

/// What a Get Log Page wants (Base, 5.16, figures 196 to 199).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// LID.
    pub id: u8,
    /// LSP.
    pub specific: u8,
    /// RAE: keep the event that tells of it.
    pub retain_event: bool,
    /// NUMD, in bytes.
    pub len_bytes: u64,
    /// LPO, in bytes.
    pub offset_bytes: u64,
    /// OT: the offset is an index.
    pub is_index: bool,
}

impl Wanted {
    /// Of a command.
    #[must_use]
    pub fn of(sqe: &crate::Sqe) -> Self {
        let dwords = u64::from(sqe.cdw10 >> 16) | u64::from(sqe.cdw11 & 0xffff) << 16;
        Self {
            id: sqe.cdw10 as u8,
            specific: (sqe.cdw10 >> 8) as u8 & 0x7f,
            retain_event: sqe.cdw10 & 1 << 15 != 0,
            len_bytes: (dwords + 1) * 4,
            offset_bytes: u64::from(sqe.cdw12) | u64::from(sqe.cdw13) << 32,
            is_index: sqe.cdw14 & 1 << 23 != 0,
        }
    }

    /// Into a command.
    ///
    /// # Panics
    /// Unless the length is a positive multiple of four, of at most 16 GiB.
    pub fn put(&self, sqe: &mut crate::Sqe) {
        let dwords = u32::try_from(self.len_bytes / 4 - 1).expect("at most 16 GiB");
        sqe.cdw10 = u32::from(self.id)
            | u32::from(self.specific) << 8
            | u32::from(self.retain_event) << 15
            | dwords << 16;
        sqe.cdw11 = sqe.cdw11 & !0xffff | dwords >> 16;
        sqe.cdw12 = self.offset_bytes as u32;
        sqe.cdw13 = (self.offset_bytes >> 32) as u32;
        sqe.cdw14 = sqe.cdw14 & !(1 << 23) | u32::from(self.is_index) << 23;
    }
}

layout! {
    /// An entry of Error Information (Base, 5.16.1.2, figure 205).
    ErrorEntry, 64 bytes {
        /// Number of the error; 0 if there is none.
        0 count: u64,
        /// Queue.
        8 sq_id: u16,
        /// Command.
        10 cid: u16,
        /// Status field, bits 15:1, with the phase tag below.
        12 status_field: u16,
        /// Byte and bit of the command's parameter; FFFFh if it is none.
        14 parameter_at: u16,
        /// First block.
        16 start_block: u64,
        /// Namespace.
        24 nsid: u32,
        /// Transport type: 3 is TCP.
        29 transport: u8,
        /// Opcode.
        31 opcode: u8,
    }
}

layout! {
    /// SMART / Health Information (Base, 5.16.1.3, figure 206).
    Smart, 512 bytes {
        /// Critical warnings: bit 3 is a medium that is read-only or lost, bit 2 one that is degraded.
        0 critical_warning: u8,
        /// Composite temperature, in kelvins.
        1 temperature_k: u16,
        /// Available spare, in per cent.
        3 spare_percent: u8,
        /// Threshold of the spare, in per cent.
        4 spare_threshold_percent: u8,
        /// Life used, in per cent.
        5 used_percent: u8,
        /// Thousands of 512 bytes read, rounded up.
        32 read_units: u128,
        /// Thousands of 512 bytes written, rounded up.
        48 written_units: u128,
        /// Read commands.
        64 reads: u128,
        /// Write commands.
        80 writes: u128,
        /// Busy, in minutes.
        96 busy_minutes: u128,
        /// Power cycles.
        112 power_cycles: u128,
        /// Power on, in hours.
        128 power_on_hours: u128,
        /// Losses of power without notice.
        144 unsafe_shutdowns: u128,
        /// Data that could not be read.
        160 media_errors: u128,
        /// Entries of Error Information ever.
        176 error_entries: u128,
    }
}

layout! {
    /// Firmware Slot Information (Base, 5.16.1.4, figure 208).
    Firmware, 512 bytes {
        /// AFI: the active slot.
        0 active: u8,
        /// Revision in slot 1.
        8 revision: [u8; 8],
    }
}

layout! {
    /// Header of the ANA log page (Base, 5.16.1.13, figure 216).
    AnaHeader, 16 bytes {
        /// Change count.
        0 change_count: u64,
        /// Descriptors that follow.
        8 groups: u16,
    }
}

layout! {
    /// A descriptor of an ANA group (Base, figure 217); its namespaces follow, four bytes each.
    AnaGroup, 32 bytes {
        /// ANAGRPID.
        0 group: u32,
        /// Namespaces that follow.
        4 namespaces: u32,
        /// Change count.
        8 change_count: u64,
        /// State, in bits 3:0.
        16 state: u8,
    }
}

/// RGO of the ANA log page (LSP, bit 0): groups only.
pub const ANA_GROUPS_ONLY: u8 = 1;

/// ANA states (Base, 8.1.2, figure 217).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum AnaState {
    /// The best path.
    #[default]
    Optimized,
    /// Another one is better.
    NonOptimized,
    /// Not over this one.
    Inaccessible,
    /// Not over this one, and not for long over another.
    PersistentLoss,
    /// Between two others.
    Change,
}

impl AnaState {
    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Optimized => 0x1,
            Self::NonOptimized => 0x2,
            Self::Inaccessible => 0x3,
            Self::PersistentLoss => 0x4,
            Self::Change => 0xf,
        }
    }

    /// Of its number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let all = [
            Self::Optimized,
            Self::NonOptimized,
            Self::Inaccessible,
            Self::PersistentLoss,
            Self::Change,
        ];
        all.into_iter().find(|state| state.number() == number)
    }

    /// Whether I/O is served.
    #[inline]
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Optimized | Self::NonOptimized)
    }
}

layout! {
    /// Header of the discovery log page (Base, 5.16.1.23, figure 264).
    DiscoveryHeader, 1024 bytes {
        /// GENCTR: changes with every change of the page.
        0 generation: u64,
        /// NUMREC: entries that follow.
        8 records: u64,
        /// RECFMT: 0.
        16 record_format: u16,
    }
}

layout! {
    /// An entry of the discovery log page (Base, figure 265).
    DiscoveryEntry, 1024 bytes {
        /// TRTYPE: 3 is TCP.
        0 transport: u8,
        /// ADRFAM: 1 is IPv4, 2 is IPv6.
        1 family: u8,
        /// SUBTYPE: 1 refers to a discovery subsystem, 2 is an NVM subsystem, 3 the discovery subsystem
        /// that is asked.
        2 kind: u8,
        /// TREQ: bits 1:0 secure channel (2: not required), bit 2 may disable SQ flow control.
        3 requirements: u8,
        /// PORTID.
        4 port_id: u16,
        /// CNTLID: FFFFh for dynamic controllers.
        6 cntlid: u16,
        /// ASQSZ: largest Admin queue.
        8 admin_entries: u16,
        /// EFLAGS.
        10 flags: u16,
        /// TRSVCID: the port as text.
        32 service: [u8; 32],
        /// SUBNQN.
        256 nqn: [u8; 256],
        /// TRADDR: the address as text.
        512 address: [u8; 256],
        /// TSAS: SECTYPE, 0 is no security.
        768 security: u8,
    }
}

/// Values of [`DiscoveryEntry`].
pub mod discovery {
    /// TRTYPE of TCP.
    pub const TRANSPORT_TCP: u8 = 3;
    /// ADRFAM of IPv4.
    pub const FAMILY_IPV4: u8 = 1;
    /// ADRFAM of IPv6.
    pub const FAMILY_IPV6: u8 = 2;
    /// SUBTYPE: an NVM subsystem.
    pub const KIND_NVM: u8 = 2;
    /// SUBTYPE: the discovery subsystem that is asked.
    pub const KIND_CURRENT_DISCOVERY: u8 = 3;
    /// TREQ: nothing is said of secure channels, SQ flow control may be disabled. Tools of Linux ask
    /// their kernel for TLS where one is said not to be required.
    pub const REQUIREMENTS: u8 = 1 << 2;
    /// EFLAGS of the current discovery subsystem: explicit persistent connections are supported (bit 1).
    pub const FLAGS_PERSISTENT: u16 = 1 << 1;
}

/// An asynchronous event (Base, 5.2.1, figures 144 to 149).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// The reliability of the subsystem is degraded: a critical warning.
    ReliabilityDegraded,
    /// Namespaces came, went or changed.
    NamespaceChanged,
    /// An ANA state changed.
    AnaChanged,
    /// The discovery log changed.
    DiscoveryChanged,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::ReliabilityDegraded,
        Self::NamespaceChanged,
        Self::AnaChanged,
        Self::DiscoveryChanged,
    ];

    const HEALTH: u32 = 1;
    const NOTICE: u32 = 2;

    /// Dword 0 of its completion: type, information, log page.
    #[must_use]
    pub fn result(self) -> u32 {
        let (kind, information) = match self {
            Self::ReliabilityDegraded => (Self::HEALTH, 0x00),
            Self::NamespaceChanged => (Self::NOTICE, 0x00),
            Self::AnaChanged => (Self::NOTICE, 0x03),
            Self::DiscoveryChanged => (Self::NOTICE, 0xf0),
        };
        kind | information << 8 | u32::from(self.log()) << 16
    }

    /// Of dword 0 of a completion.
    #[must_use]
    pub fn from_result(result: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.result() == result & 0x00ff_ffff)
    }

    /// The log page that tells more; reading it clears the event.
    #[must_use]
    pub fn log(self) -> u8 {
        match self {
            Self::ReliabilityDegraded => id::SMART,
            Self::NamespaceChanged => id::CHANGED_NAMESPACES,
            Self::AnaChanged => id::ANA,
            Self::DiscoveryChanged => id::DISCOVERY,
        }
    }

    /// Its bit in the feature Asynchronous Event Configuration, and in OAES but for critical warnings, which
    /// every controller has.
    #[must_use]
    pub fn config_bit(self) -> u32 {
        match self {
            Self::ReliabilityDegraded => 1 << 2,
            Self::NamespaceChanged => 1 << 8,
            Self::AnaChanged => 1 << 11,
            Self::DiscoveryChanged => 1 << 31,
        }
    }
}

/// Bytes of an ANA log page with these groups and namespaces.
#[must_use]
pub fn ana_bytes(groups: usize, namespaces: usize) -> usize {
    AnaHeader::SIZE + groups * AnaGroup::SIZE + namespaces * 4
}
