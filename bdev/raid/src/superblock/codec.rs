//! The superblock's bytes: the one place that reads and writes the table of `superblock`.
//!
//! ```text
//!   bytes -> magic? -> checksum? -> version? -> parse -> check -> encode again: the same bytes?
//! ```
//!
//! The checksum comes before the version, so that a flipped bit is never taken for a later version;
//! the magic before both, because without it nothing else has a meaning. The last step is what
//! keeps reserved bytes zero. It is left out for a later minor version, which may have put
//! something there.
//!
//! Not here: which of two copies counts (`pair`).

use uuid::Uuid;

use super::check::{FieldError, field};
use super::{
    LogHealth, LogRecord, MemberRecord, MemberRecordState, OnLogFailure, SUPERBLOCK_BYTES, Shape,
    Shutdown, Superblock, VERSION,
};
use crate::layout::{Layout, Level};
use crate::limits::{MEMBERS_MAX, NAME_BYTES_MAX};
use crate::units::Slot;

const MAGIC: [u8; 8] = *b"raid456\0";

/// The slot of a spare.
const SPARE: u8 = 255;

/// The layout whose parity is on the member of the next field; md's numbers end far below.
const LAYOUT_PARITY_AT: u8 = 255;

const FLAG_BLOCK_ON_LOG_FAILURE: u32 = 1;
const FLAG_FRESH: u32 = 2;

const SHUTDOWN_RUNNING: u8 = 0;
const SHUTDOWN_CLEAN: u8 = 1;

const LOG_NONE: u8 = 0;
const LOG_ALIVE: u8 = 1;
const LOG_FAILED: u8 = 2;

const STATE_IN_SYNC: u8 = 1;
const STATE_FAULTY: u8 = 2;
const STATE_MISSING: u8 = 3;
const STATE_REBUILDING: u8 = 4;

/// Where the fields are.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const MAJOR: usize = 8;
    pub(super) const MINOR: usize = 12;
    pub(super) const CRC: usize = 16;
    pub(super) const FLAGS: usize = 20;
    pub(super) const ARRAY_UUID: usize = 24;
    pub(super) const MEMBER_UUID: usize = 40;
    pub(super) const EVENTS: usize = 56;
    pub(super) const SLOT: usize = 64;
    pub(super) const LEVEL: usize = 65;
    pub(super) const LAYOUT: usize = 66;
    pub(super) const PARITY_SLOT: usize = 67;
    pub(super) const SHUTDOWN: usize = 68;
    pub(super) const LOG: usize = 69;
    pub(super) const ARRAY_NAME_BYTES: usize = 70;
    pub(super) const LOG_NAME_BYTES: usize = 71;
    pub(super) const MEMBER_COUNT: usize = 72;
    pub(super) const STRIP_BYTES: usize = 76;
    pub(super) const BLOCK_SIZE_BYTES: usize = 80;
    pub(super) const COMPONENT_BYTES: usize = 88;
    pub(super) const IN_SYNC_TO_BYTES: usize = 96;
    pub(super) const REGION_BYTES: usize = 104;
    pub(super) const REGIONS: usize = 112;
    pub(super) const LOG_UUID: usize = 120;
    pub(super) const ARRAY_NAME: usize = 256;
    pub(super) const LOG_NAME: usize = 512;
    pub(super) const MEMBERS: usize = 4096;

    /// Within a member.
    pub(super) mod member {
        pub(in super::super) const UUID: usize = 0;
        pub(in super::super) const DATA_OFFSET_BYTES: usize = 16;
        pub(in super::super) const NUMBER: usize = 24;
        pub(in super::super) const READ_ERRORS: usize = 32;
        pub(in super::super) const STATE: usize = 36;
        pub(in super::super) const PARTIAL: usize = 37;
        /// Bytes of a member.
        pub(in super::super) const SIZE: usize = 48;
    }
}

const _: () = assert!(at::LOG_UUID + 16 <= at::ARRAY_NAME);
const _: () = assert!(at::ARRAY_NAME + NAME_BYTES_MAX <= at::LOG_NAME);
const _: () = assert!(at::LOG_NAME + NAME_BYTES_MAX <= at::MEMBERS);
const _: () = assert!(at::MEMBERS + MEMBERS_MAX * at::member::SIZE <= SUPERBLOCK_BYTES);
const _: () = assert!(at::member::PARTIAL < at::member::SIZE);

/// Why bytes are no superblock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not ours: blank, or somebody else's.
    #[error(
        "no superblock: it begins with \"{}\", not with \"{}\"",
        .found.escape_ascii(), MAGIC.escape_ascii()
    )]
    NoMagic {
        /// The first bytes.
        found: [u8; 8],
    },
    /// Ours, but not as it was written.
    #[error("superblock: the checksum is {found:#010x}, but that of the contents is {right:#010x}")]
    BadChecksum {
        /// As found in the superblock.
        found: u32,
        /// Of what else was found.
        right: u32,
    },
    /// Ours, and from another time.
    #[error(
        "superblock: version {}.{} is not understood, only {}.x is", .found.0, .found.1, VERSION.0
    )]
    Version {
        /// Major and minor.
        found: (u32, u32),
    },
    /// Ours and intact, but it means nothing.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// Not as many bytes as a superblock has.
    #[error("a superblock has {SUPERBLOCK_BYTES} bytes, not {found}")]
    Length {
        /// Bytes given.
        found: usize,
    },
}

type Bytes = [u8; SUPERBLOCK_BYTES];

impl Superblock {
    /// Writes the superblock over all of `bytes`.
    ///
    /// # Errors
    /// What [`check`](Self::check) finds: nothing is written that [`decode`](Self::decode) would
    /// refuse.
    pub fn encode(&self, bytes: &mut [u8; SUPERBLOCK_BYTES]) -> Result<(), FieldError> {
        self.check()?;
        bytes.fill(0);
        put(bytes, at::MAGIC, MAGIC);
        put(bytes, at::MAJOR, VERSION.0.to_le_bytes());
        put(bytes, at::MINOR, VERSION.1.to_le_bytes());
        put(bytes, at::ARRAY_UUID, self.array_uuid.into_bytes());
        put(bytes, at::MEMBER_UUID, self.member_uuid.into_bytes());
        put(bytes, at::EVENTS, self.events.to_le_bytes());
        put(bytes, at::SLOT, [self.slot.map_or(SPARE, |slot| slot.0)]);
        put(bytes, at::IN_SYNC_TO_BYTES, self.in_sync_to_bytes.to_le_bytes());
        put_name(bytes, at::ARRAY_NAME, at::ARRAY_NAME_BYTES, &self.array_name);
        put(bytes, at::MEMBER_COUNT, (self.members.len() as u32).to_le_bytes());
        self.put_shape(bytes);
        self.put_policy(bytes);
        for (index, member) in self.members.iter().enumerate() {
            put_member(bytes, at::MEMBERS + index * at::member::SIZE, member);
        }
        let crc = checksum(bytes);
        put(bytes, at::CRC, crc.to_le_bytes());
        Ok(())
    }

    fn put_shape(&self, bytes: &mut Bytes) {
        let Shape { level, layout, strip_bytes, block_size_bytes, component_bytes } = self.shape;
        let parity_slot = match layout {
            Layout::ParityAt(slot) => slot,
            _ => 0,
        };
        put(bytes, at::LEVEL, [level.number()]);
        put(bytes, at::LAYOUT, [layout.md_algorithm().unwrap_or(LAYOUT_PARITY_AT)]);
        put(bytes, at::PARITY_SLOT, [parity_slot]);
        put(bytes, at::STRIP_BYTES, strip_bytes.to_le_bytes());
        put(bytes, at::BLOCK_SIZE_BYTES, block_size_bytes.to_le_bytes());
        put(bytes, at::COMPONENT_BYTES, component_bytes.to_le_bytes());
        put(bytes, at::REGION_BYTES, self.region_bytes.to_le_bytes());
        put(bytes, at::REGIONS, self.regions().to_le_bytes());
    }

    fn put_policy(&self, bytes: &mut Bytes) {
        let block = match self.on_log_failure {
            OnLogFailure::Continue => 0,
            OnLogFailure::Block => FLAG_BLOCK_ON_LOG_FAILURE,
        };
        let fresh = if self.fresh { FLAG_FRESH } else { 0 };
        put(bytes, at::FLAGS, u32::to_le_bytes(block | fresh));
        let shutdown = match self.shutdown {
            Shutdown::Running => SHUTDOWN_RUNNING,
            Shutdown::Clean => SHUTDOWN_CLEAN,
        };
        put(bytes, at::SHUTDOWN, [shutdown]);
        let Some(log) = &self.log else {
            put(bytes, at::LOG, [LOG_NONE]);
            return;
        };
        let health = match log.health {
            LogHealth::Alive => LOG_ALIVE,
            LogHealth::Failed => LOG_FAILED,
        };
        put(bytes, at::LOG, [health]);
        put(bytes, at::LOG_UUID, log.uuid.into_bytes());
        put_name(bytes, at::LOG_NAME, at::LOG_NAME_BYTES, &log.name);
    }

    /// Reads one copy: exactly [`SUPERBLOCK_BYTES`].
    ///
    /// # Errors
    /// Any [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let Some(bytes) = bytes.as_array::<SUPERBLOCK_BYTES>() else {
            return Err(DecodeError::Length { found: bytes.len() });
        };
        let magic = get(bytes, at::MAGIC);
        if magic != MAGIC {
            return Err(DecodeError::NoMagic { found: magic });
        }
        let (found, right) = (get_u32(bytes, at::CRC), checksum(bytes));
        if found != right {
            return Err(DecodeError::BadChecksum { found, right });
        }
        let version = (get_u32(bytes, at::MAJOR), get_u32(bytes, at::MINOR));
        if version.0 != VERSION.0 {
            return Err(DecodeError::Version { found: version });
        }
        let superblock = parse(bytes)?;
        superblock.check()?;
        let regions = get_u64(bytes, at::REGIONS);
        if regions != superblock.regions() {
            let right = format!(
                "{}, for regions of {} bytes of components of {}",
                superblock.regions(),
                superblock.region_bytes,
                superblock.shape.component_bytes
            );
            return Err(field("regions", regions, right).into());
        }
        if version.1 <= VERSION.1 {
            superblock.check_reserved(bytes)?;
        }
        Ok(superblock)
    }

    /// Whether `bytes` are what this superblock is encoded as.
    fn check_reserved(&self, bytes: &Bytes) -> Result<(), FieldError> {
        let mut canonical = [0; SUPERBLOCK_BYTES];
        self.encode(&mut canonical)?;
        // A checksum differs if anything else does: it says nothing of its own.
        canonical[at::CRC..at::CRC + 4].copy_from_slice(&bytes[at::CRC..at::CRC + 4]);
        if *bytes == canonical {
            return Ok(());
        }
        let mut pairs = bytes.iter().zip(&canonical).enumerate();
        let differs = |(_, (found, right)): &(usize, (&u8, &u8))| found != right;
        let Some((at, (found, right))) = pairs.find(differs) else { return Ok(()) };
        Err(field(format!("reserved byte {at}"), format!("{found:#04x}"), format!("{right:#04x}")))
    }
}

/// CRC32C with the field itself taken as zero.
fn checksum(bytes: &Bytes) -> u32 {
    let crc = crc32c::crc32c(&bytes[..at::CRC]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &bytes[at::CRC + 4..])
}

fn put<const N: usize>(bytes: &mut Bytes, at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

/// A name that has passed the check: at most 255 bytes.
fn put_name(bytes: &mut Bytes, at: usize, length_at: usize, name: &str) {
    bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
    bytes[length_at] = name.len() as u8;
}

fn put_member(bytes: &mut Bytes, start: usize, member: &MemberRecord) {
    let (state, number, partial) = match member.state {
        MemberRecordState::InSync => (STATE_IN_SYNC, 0, false),
        MemberRecordState::Faulty { failed_at } => (STATE_FAULTY, failed_at, false),
        MemberRecordState::Missing { since } => (STATE_MISSING, since, false),
        MemberRecordState::Rebuilding { recovered_to_bytes, partial } => {
            (STATE_REBUILDING, recovered_to_bytes, partial)
        }
    };
    put(bytes, start + at::member::UUID, member.member_uuid.into_bytes());
    put(bytes, start + at::member::DATA_OFFSET_BYTES, member.data_offset_bytes.to_le_bytes());
    put(bytes, start + at::member::NUMBER, number.to_le_bytes());
    put(bytes, start + at::member::READ_ERRORS, member.read_errors.to_le_bytes());
    put(bytes, start + at::member::STATE, [state]);
    put(bytes, start + at::member::PARTIAL, [u8::from(partial)]);
}

fn get<const N: usize>(bytes: &Bytes, at: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[at..at + N]);
    value
}

fn get_u32(bytes: &Bytes, at: usize) -> u32 {
    u32::from_le_bytes(get(bytes, at))
}

fn get_u64(bytes: &Bytes, at: usize) -> u64 {
    u64::from_le_bytes(get(bytes, at))
}

fn get_uuid(bytes: &Bytes, at: usize) -> Uuid {
    Uuid::from_bytes(get(bytes, at))
}

fn get_name(
    bytes: &Bytes,
    at: usize,
    length_at: usize,
    field_name: &str,
) -> Result<String, FieldError> {
    let name = &bytes[at..at + usize::from(bytes[length_at])];
    let text = std::str::from_utf8(name);
    let not_text = |_| field(field_name, format!("\"{}\"", name.escape_ascii()), "UTF-8");
    text.map(str::to_owned).map_err(not_text)
}

/// The contents field by field: each one may be what it is, but not yet against the others.
fn parse(bytes: &Bytes) -> Result<Superblock, FieldError> {
    let level = parse_level(bytes[at::LEVEL])?;
    let flags = get_u32(bytes, at::FLAGS);
    let on_log_failure = match flags & !FLAG_FRESH {
        0 => OnLogFailure::Continue,
        FLAG_BLOCK_ON_LOG_FAILURE => OnLogFailure::Block,
        _ => return Err(field("flags", format!("{flags:#010x}"), "0x00000000 to 0x00000003")),
    };
    let shutdown = match bytes[at::SHUTDOWN] {
        SHUTDOWN_RUNNING => Shutdown::Running,
        SHUTDOWN_CLEAN => Shutdown::Clean,
        other => return Err(field("shutdown", other, "0 (running) or 1 (clean)")),
    };
    let count = get_u32(bytes, at::MEMBER_COUNT);
    if count as usize > MEMBERS_MAX {
        return Err(field("members", count, format!("up to {MEMBERS_MAX}")));
    }
    let members: Result<_, _> = (0..count as usize).map(|slot| parse_member(bytes, slot)).collect();
    let slot = bytes[at::SLOT];
    Ok(Superblock {
        array_uuid: get_uuid(bytes, at::ARRAY_UUID),
        array_name: get_name(bytes, at::ARRAY_NAME, at::ARRAY_NAME_BYTES, "array_name")?,
        member_uuid: get_uuid(bytes, at::MEMBER_UUID),
        slot: (slot != SPARE).then_some(Slot(slot)),
        events: get_u64(bytes, at::EVENTS),
        shape: Shape {
            level,
            layout: parse_layout(level, bytes[at::LAYOUT], bytes[at::PARITY_SLOT])?,
            strip_bytes: get_u32(bytes, at::STRIP_BYTES),
            block_size_bytes: get_u32(bytes, at::BLOCK_SIZE_BYTES),
            component_bytes: get_u64(bytes, at::COMPONENT_BYTES),
        },
        shutdown,
        in_sync_to_bytes: get_u64(bytes, at::IN_SYNC_TO_BYTES),
        region_bytes: get_u64(bytes, at::REGION_BYTES),
        log: parse_log(bytes)?,
        on_log_failure,
        fresh: flags & FLAG_FRESH != 0,
        members: members?,
    })
}

fn parse_level(number: u8) -> Result<Level, FieldError> {
    let found = Level::ALL.into_iter().find(|level| level.number() == number);
    found.ok_or_else(|| field("level", number, "4, 5 or 6"))
}

fn parse_layout(level: Level, number: u8, parity_slot: u8) -> Result<Layout, FieldError> {
    if number == LAYOUT_PARITY_AT {
        return Ok(Layout::ParityAt(parity_slot));
    }
    let mut listed = Layout::of_level(level).iter().copied();
    listed.find(|layout| layout.md_algorithm() == Some(number)).ok_or_else(|| {
        field("layout", number, format!("md's number of a layout of {level}, or 255"))
    })
}

fn parse_log(bytes: &Bytes) -> Result<Option<LogRecord>, FieldError> {
    let health = match bytes[at::LOG] {
        LOG_NONE => return Ok(None),
        LOG_ALIVE => LogHealth::Alive,
        LOG_FAILED => LogHealth::Failed,
        other => return Err(field("log", other, "0 (none), 1 (alive) or 2 (failed)")),
    };
    let name = get_name(bytes, at::LOG_NAME, at::LOG_NAME_BYTES, "log.name")?;
    Ok(Some(LogRecord { name, uuid: get_uuid(bytes, at::LOG_UUID), health }))
}

fn parse_member(bytes: &Bytes, slot: usize) -> Result<MemberRecord, FieldError> {
    let start = at::MEMBERS + slot * at::member::SIZE;
    let number = get_u64(bytes, start + at::member::NUMBER);
    let state = match bytes[start + at::member::STATE] {
        STATE_IN_SYNC => MemberRecordState::InSync,
        STATE_FAULTY => MemberRecordState::Faulty { failed_at: number },
        STATE_MISSING => MemberRecordState::Missing { since: number },
        STATE_REBUILDING => MemberRecordState::Rebuilding {
            recovered_to_bytes: number,
            // Any other value than 0 and 1 is found with the reserved bytes.
            partial: bytes[start + at::member::PARTIAL] != 0,
        },
        other => {
            let right = "1 (in sync), 2 (faulty), 3 (missing) or 4 (rebuilding)";
            return Err(field(format!("members[{slot}].state"), other, right));
        }
    };
    Ok(MemberRecord {
        member_uuid: get_uuid(bytes, start + at::member::UUID),
        data_offset_bytes: get_u64(bytes, start + at::member::DATA_OFFSET_BYTES),
        state,
        read_errors: get_u32(bytes, start + at::member::READ_ERRORS),
    })
}
