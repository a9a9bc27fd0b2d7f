//! Identify: what a controller and its namespaces say of themselves (Base, 5.17; NVM, 4.1.5).
//!
//! Fields that nobody here sets or reads are not in the tables, and zero.
//!
//! Not here: the values.

use crate::layout::{Field, Layout, layout};

/// Bytes of every data structure of Identify.
pub const IDENTIFY_BYTES: usize = 4096;

/// CNS: which data structure (Base, 5.17.1, figure 273).
pub mod cns {
    /// A namespace.
    pub const NAMESPACE: u8 = 0x00;
    /// The controller.
    pub const CONTROLLER: u8 = 0x01;
    /// Namespaces that are active, above an identifier.
    pub const ACTIVE_NAMESPACES: u8 = 0x02;
    /// Descriptors of a namespace's identifiers.
    pub const DESCRIPTORS: u8 = 0x03;
    /// A namespace, as its command set sees it.
    pub const NAMESPACE_OF_SET: u8 = 0x05;
    /// The controller, as a command set sees it.
    pub const CONTROLLER_OF_SET: u8 = 0x06;
    /// Namespaces of a command set that are active.
    pub const ACTIVE_NAMESPACES_OF_SET: u8 = 0x07;
    /// A namespace, whatever its command set.
    pub const NAMESPACE_INDEPENDENT: u8 = 0x08;
    /// Combinations of command sets.
    pub const COMMAND_SETS: u8 = 0x1c;
}

/// Command set identifier of NVM (dword 11, bits 31:24).
pub const CSI_NVM: u8 = 0;

layout! {
    /// Identify Controller (Base, 5.17.2.1, figure 275).
    Controller, 4096 bytes {
        /// PCI vendor.
        0 vid: u16,
        /// PCI subsystem vendor.
        2 ssvid: u16,
        /// SN: serial number, ASCII.
        4 serial: [u8; 20],
        /// MN: model number, ASCII.
        24 model: [u8; 40],
        /// FR: firmware revision, ASCII.
        64 firmware: [u8; 8],
        /// RAB: recommended arbitration burst.
        72 rab: u8,
        /// IEEE OUI.
        73 ieee: [u8; 3],
        /// CMIC: bit 0 several ports, 1 several controllers, 3 ANA.
        76 cmic: u8,
        /// MDTS: largest transfer is 2^MDTS pages of 4 KiB; 0 is without limit.
        77 mdts: u8,
        /// CNTLID.
        78 cntlid: u16,
        /// VER.
        80 version: u32,
        /// RTD3R, in microseconds.
        84 resume_us: u32,
        /// RTD3E: shutdown, in microseconds.
        88 shutdown_us: u32,
        /// OAES: asynchronous events that are supported.
        92 oaes: u32,
        /// CTRATT: bit 0 host identifier of 128 bits, bit 6 traffic based keep alive.
        96 ctratt: u32,
        /// CNTRLTYPE: 1 is I/O, 2 discovery.
        111 kind: u8,
        /// OACS.
        256 oacs: u16,
        /// ACL: Aborts at a time, 0's based.
        258 acl: u8,
        /// AERL: Asynchronous Event Requests at a time, 0's based.
        259 aerl: u8,
        /// FRMW: bit 0 slot 1 is read-only, bits 3:1 slots.
        260 frmw: u8,
        /// LPA: bit 1 effects log, bit 2 extended data (offsets), bit 5 supported pages.
        261 lpa: u8,
        /// ELPE: entries of Error Information, 0's based.
        262 elpe: u8,
        /// NPSS: power states, 0's based.
        263 npss: u8,
        /// WCTEMP, in kelvins.
        266 warning_temperature_k: u16,
        /// CCTEMP, in kelvins.
        268 critical_temperature_k: u16,
        /// KAS: granularity of the keep alive timer, in units of 100 ms.
        320 kas_100ms: u16,
        /// ANATT: longest ANA transition, in seconds.
        342 ana_transition_s: u8,
        /// ANACAP: states that may be reported; bit 6 group identifiers do not change.
        343 anacap: u8,
        /// ANAGRPMAX.
        344 ana_group_max: u32,
        /// NANAGRPID.
        348 ana_groups: u32,
        /// SQES: 2^(bits 3:0) bytes at least, 2^(bits 7:4) at most.
        512 sqes: u8,
        /// CQES.
        513 cqes: u8,
        /// MAXCMD: commands at a time.
        514 maxcmd: u16,
        /// NN: largest namespace identifier.
        516 namespaces: u32,
        /// ONCS: optional I/O commands.
        520 oncs: u16,
        /// FUSES.
        522 fuses: u16,
        /// FNA.
        524 fna: u8,
        /// VWC: bit 0 volatile write cache, bits 2:1 whether Flush takes the identifier of all.
        525 vwc: u8,
        /// AWUN, in logical blocks, 0's based.
        526 awun: u16,
        /// AWUPF, in logical blocks, 0's based.
        528 awupf: u16,
        /// SGLS.
        536 sgls: u32,
        /// MNAN: largest number of namespaces.
        540 namespaces_max: u32,
        /// SUBNQN.
        768 nqn: [u8; 256],
        /// IOCCSZ: largest command capsule of I/O queues, in units of 16 bytes.
        1792 command_capsule_16: u32,
        /// IORCSZ: largest response capsule of I/O queues, in units of 16 bytes.
        1796 response_capsule_16: u32,
        /// ICDOFF, in units of 16 bytes.
        1800 in_capsule_offset_16: u16,
        /// FCATT: bit 0 static controllers.
        1802 fcatt: u8,
        /// MSDBD: largest number of SGL descriptors.
        1803 sgl_descriptors: u8,
        /// OFCS: bit 0 Disconnect.
        1804 ofcs: u16,
        /// PSD0: power state 0.
        2048 power_state_0: [u8; 32],
    }
}

/// Bits of ONCS (Base, figure 275).
pub mod oncs {
    /// Compare.
    pub const COMPARE: u16 = 1;
    /// Dataset Management.
    pub const DATASET_MANAGEMENT: u16 = 1 << 2;
    /// Write Zeroes.
    pub const WRITE_ZEROES: u16 = 1 << 3;
    /// Verify.
    pub const VERIFY: u16 = 1 << 7;
}

layout! {
    /// Identify Namespace of the NVM command set (NVM, 4.1.5.1, figure 97).
    Namespace, 4096 bytes {
        /// NSZE, in logical blocks.
        0 size_blocks: u64,
        /// NCAP, in logical blocks.
        8 capacity_blocks: u64,
        /// NUSE, in logical blocks.
        16 used_blocks: u64,
        /// NSFEAT: bit 1 the atomicity fields, bit 4 the fields for performance.
        24 nsfeat: u8,
        /// NLBAF: formats, 0's based.
        25 formats: u8,
        /// FLBAS: format in use.
        26 format: u8,
        /// NMIC: bit 0 may be shared.
        30 nmic: u8,
        /// DLFEAT: bits 2:0 what deallocated blocks read as (1: zeroes), bit 3 Write Zeroes deallocates.
        33 dlfeat: u8,
        /// NAWUN, in logical blocks, 0's based.
        34 nawun: u16,
        /// NAWUPF, in logical blocks, 0's based.
        36 nawupf: u16,
        /// NACWU, in logical blocks, 0's based.
        38 nacwu: u16,
        /// NABSN.
        40 nabsn: u16,
        /// NABO.
        42 nabo: u16,
        /// NABSPF.
        44 nabspf: u16,
        /// NOIOB: optimal boundary, in logical blocks.
        46 noiob: u16,
        /// NVMCAP, in bytes.
        48 capacity_bytes: u128,
        /// NPWG: preferred write granularity, in logical blocks, 0's based.
        64 npwg: u16,
        /// NPWA: preferred write alignment, in logical blocks, 0's based.
        66 npwa: u16,
        /// NPDG: preferred deallocate granularity, in logical blocks, 0's based.
        68 npdg: u16,
        /// NPDA: preferred deallocate alignment, in logical blocks, 0's based.
        70 npda: u16,
        /// NOWS: optimal write size, in logical blocks, 0's based.
        72 nows: u16,
        /// ANAGRPID.
        92 ana_group: u32,
        /// NSATTR: bit 0 write protected.
        99 nsattr: u8,
        /// NVMSETID.
        100 set_id: u16,
        /// ENDGID.
        102 endurance_group: u16,
        /// NGUID.
        104 nguid: [u8; 16],
        /// EUI64.
        120 eui64: [u8; 8],
        /// LBAF0: format 0, bits 23:16 the block size's logarithm.
        128 format_0: u32,
    }
}

/// LBAF of blocks of `block_size_bytes`, a power of two (NVM, figure 98).
#[must_use]
pub fn format(block_size_bytes: u32) -> u32 {
    block_size_bytes.trailing_zeros() << 16
}

impl Namespace {
    /// Bytes of a logical block, of format 0.
    #[must_use]
    pub fn block_size_bytes(&self) -> u32 {
        1_u32.checked_shl(self.format_0 >> 16 & 0xff).unwrap_or(0)
    }
}

layout! {
    /// Identify Namespace, whatever its command set (Base, 5.17.2.8, figure 280).
    NamespaceIndependent, 4096 bytes {
        /// NSFEAT.
        0 nsfeat: u8,
        /// NMIC: bit 0 may be shared.
        1 nmic: u8,
        /// ANAGRPID.
        4 ana_group: u32,
        /// NSATTR: bit 0 write protected.
        8 nsattr: u8,
        /// NSTAT: bit 0 ready.
        14 nstat: u8,
    }
}

layout! {
    /// Identify Controller of the NVM command set (NVM, 4.1.5.4, figure 103).
    ControllerNvm, 4096 bytes {
        /// VSL: largest Verify is 2^VSL pages; 0 is without limit.
        0 vsl: u8,
        /// WZSL: largest Write Zeroes is 2^WZSL pages; 0 is without limit.
        1 wzsl: u8,
        /// DMRL: ranges of one Dataset Management; 0 is without limit.
        3 dmrl: u8,
        /// DMRSL: logical blocks of one range; 0 is without limit.
        4 dmrsl: u32,
        /// DMSL: logical blocks of all ranges; 0 is without limit.
        8 dmsl: u64,
    }
}

/// Types of namespace identification descriptors (Base, 5.17.2.3, figure 277).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    /// EUI64 (1h).
    Eui64([u8; 8]),
    /// NGUID (2h).
    Nguid([u8; 16]),
    /// UUID (3h).
    Uuid([u8; 16]),
    /// Command set (4h).
    CommandSet(u8),
}

/// Bytes of a descriptor's header: type, length, two reserved.
const DESCRIPTOR_HEADER_BYTES: usize = 4;

impl Descriptor {
    /// Writes it to the start of `bytes`; how many it took.
    ///
    /// # Panics
    /// If they are too few.
    pub fn put(self, bytes: &mut [u8]) -> usize {
        let mut put = |kind: u8, value: &[u8]| {
            let end = DESCRIPTOR_HEADER_BYTES + value.len();
            bytes[..DESCRIPTOR_HEADER_BYTES].copy_from_slice(&[kind, value.len() as u8, 0, 0]);
            bytes[DESCRIPTOR_HEADER_BYTES..end].copy_from_slice(value);
            end
        };
        match self {
            Self::Eui64(value) => put(1, &value),
            Self::Nguid(value) => put(2, &value),
            Self::Uuid(value) => put(3, &value),
            Self::CommandSet(value) => put(4, &[value]),
        }
    }

    /// Reads the one at the start of `bytes`, and how many it took. `None` at the end of the list, and
    /// where there is nothing that could be one.
    #[must_use]
    pub fn get(bytes: &[u8]) -> Option<(Self, usize)> {
        let (kind, len) = (*bytes.first()?, usize::from(*bytes.get(1)?));
        let end = DESCRIPTOR_HEADER_BYTES + len;
        let value = bytes.get(DESCRIPTOR_HEADER_BYTES..end)?;
        let descriptor = match (kind, len) {
            (1, 8) => Self::Eui64(Field::get(value)),
            (2, 16) => Self::Nguid(Field::get(value)),
            (3, 16) => Self::Uuid(Field::get(value)),
            (4, 1) => Self::CommandSet(value[0]),
            _ => return None,
        };
        Some((descriptor, end))
    }
}

const _: () = assert!(Controller::SIZE == IDENTIFY_BYTES && Namespace::SIZE == IDENTIFY_BYTES);
