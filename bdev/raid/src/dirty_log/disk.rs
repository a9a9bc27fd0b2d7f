//! dm-log's `disk` format, byte for byte, and what a resume makes of it (linux-raid.md, 3.3 and 3.4).
//!
//! ```text
//!   byte     0        4          8            16        1024                    1024 + B     area
//!            | magic  | version  | nr_regions | zeros   | clean bits            | zeros      |
//!            | u32 LE | u32 LE 2 | u64 LE     |         | bit i: region i clean |            |
//!            |---- block 0 ----|---- block 1 ----| ...  blocks of the log bdev, whole
//!
//!   B = roundup(regions, 64) / 8, its padding bits zero      area = roundup(1024 + B, block)
//! ```
//!
//! The region size is not stored: a log that is read with another one is silently misread. Whoever has
//! the right number from elsewhere asks [`check_regions`].
//!
//! A resume:
//!
//! | found | bits of the log count for | the device |
//! |---|---|---|
//! | magic, version 2 or 1, no `sync` or `nosync` | regions below `nr_regions` | is used |
//! | no magic, or `sync` or `nosync` given | none | is used |
//! | another version, or it could not be read | none | has failed: nothing is written to it |
//!
//! Regions for which they do not count are in sync with `nosync`, and out of sync otherwise.
//!
//! Not here: reading and writing; what the bits mean (`dirty_log`).

use super::{DirtyLog, LogHealth, SyncOption};
use crate::bitmap::Bitmap;
use crate::limits::BLOCK_BYTES_MIN;
use std::ops::Range;

/// `MIRROR_MAGIC`: bytes `72 52 69 4D`.
const MAGIC: u32 = 0x4D69_5272;
const VERSION: u32 = 2;
/// In the byte order of its host: on a little-endian one the same format.
const VERSION_LITTLE_ENDIAN: u32 = 1;

const HEADER_BYTES: usize = 16;
/// Where the clean bits begin.
const BITS_OFFSET: u64 = 1024;

/// Where a log lies on its device: from byte 0 on, in whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskArea {
    block_bytes: u32,
    regions: u64,
}

impl DiskArea {
    /// The area of a log of `regions` regions on a bdev with logical blocks of `block_bytes`.
    ///
    /// # Panics
    /// If that is not the block of a bdev: a power of two, 512 bytes at least.
    #[must_use]
    pub fn new(block_bytes: u32, regions: u64) -> Self {
        assert!(
            block_bytes.is_power_of_two() && block_bytes >= BLOCK_BYTES_MIN,
            "blocks of a log bdev have {block_bytes} bytes, not a power of two from 512 on"
        );
        Self { block_bytes, regions }
    }

    /// Logical block of the log bdev.
    #[must_use]
    pub fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// Number of regions.
    #[must_use]
    pub fn regions(&self) -> u64 {
        self.regions
    }

    /// Size of the area: what a log bdev has to have, and what is read at a resume.
    #[must_use]
    pub fn area_bytes(&self) -> u64 {
        self.blocks() * u64::from(self.block_bytes)
    }

    /// Number of blocks of the area.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.bits().end.div_ceil(u64::from(self.block_bytes))
    }

    /// Refuses a log bdev that is too small.
    ///
    /// # Errors
    /// [`LogError::TooSmall`]
    pub fn check_fits(&self, device: &str, device_bytes: u64) -> Result<(), LogError> {
        let need = self.area_bytes();
        if device_bytes >= need {
            return Ok(());
        }
        let device = device.to_owned();
        Err(LogError::TooSmall { device, device_bytes, need, regions: self.regions })
    }

    /// The block that holds a region's bit.
    pub(super) fn block_of(&self, region: u64) -> u64 {
        (BITS_OFFSET + region / 8) / u64::from(self.block_bytes)
    }

    /// Whether the block of the header has clean bits too.
    pub(super) fn has_bits_beside_header(&self) -> bool {
        u64::from(self.block_bytes) > BITS_OFFSET
    }

    /// The bytes of the area from `byte_offset` on; without the header on demand.
    pub(super) fn encode(&self, clean: &Bitmap, header: bool, byte_offset: u64, out: &mut [u8]) {
        let end = byte_offset.checked_add(out.len() as u64);
        assert!(
            end.is_some_and(|end| end <= self.area_bytes()),
            "{} bytes at {byte_offset} of a log of {} bytes",
            out.len(),
            self.area_bytes()
        );
        out.fill(0);
        if let Some((from, part)) = overlap(0..HEADER_BYTES as u64, byte_offset, out.len())
            && header
        {
            let header = header_of(self.regions);
            let from = usize::try_from(from).expect("within the header");
            out[part.clone()].copy_from_slice(&header[from..from + part.len()]);
        }
        if let Some((from, part)) = overlap(self.bits(), byte_offset, out.len()) {
            clean.copy_bytes(from, &mut out[part]);
        }
    }

    /// The bytes of the area that hold clean bits.
    fn bits(&self) -> Range<u64> {
        BITS_OFFSET..BITS_OFFSET + self.regions.div_ceil(64) * 8
    }
}

/// What a resume found on the log device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A log of so many regions, which may be more or fewer than there are now.
    Existing {
        /// Regions that it was written for.
        regions: u64,
    },
    /// No log, or one that `sync` or `nosync` made void: a new one begins.
    Fresh,
    /// A log in a version that is not understood. The log device has to be taken as failed.
    BadVersion {
        /// Its version.
        version: u32,
    },
    /// It could not be read whole. The log device has to be taken as failed.
    ReadError,
}

impl Found {
    /// How the log device is after that: alive, or failed, and then nothing is written to it.
    #[must_use]
    pub fn health(self) -> LogHealth {
        match self {
            Self::Existing { .. } | Self::Fresh => LogHealth::Alive,
            Self::BadVersion { .. } | Self::ReadError => LogHealth::ReadFailed,
        }
    }
}

/// A log that was resumed.
#[derive(Debug)]
pub struct Loaded {
    /// The log. Every block of it is touched.
    pub log: DirtyLog,
    /// What was on the device.
    pub found: Found,
}

/// Resumes a log from pieces of its area, fed in order. Its memory is the log's own.
#[derive(Debug)]
pub struct Loader {
    area: DiskArea,
    sync: SyncOption,
    header: [u8; HEADER_BYTES],
    clean: Bitmap,
    fed_bytes: u64,
}

impl Loader {
    /// A loader that has seen nothing yet.
    ///
    /// # Panics
    /// If the regions do not fit into this machine's memory.
    #[must_use]
    pub fn new(area: DiskArea, sync: SyncOption) -> Self {
        let clean = Bitmap::new(area.regions, false);
        Self { area, sync, header: [0; HEADER_BYTES], clean, fed_bytes: 0 }
    }

    /// Bytes of the area that have not been fed yet.
    #[must_use]
    pub fn missing_bytes(&self) -> u64 {
        self.area.area_bytes().saturating_sub(self.fed_bytes)
    }

    /// Takes the bytes that follow on those of the call before. What lies beyond the area is ignored.
    pub fn feed(&mut self, bytes: &[u8]) {
        let at = self.fed_bytes;
        if let Some((from, part)) = overlap(0..HEADER_BYTES as u64, at, bytes.len()) {
            let from = usize::try_from(from).expect("within the header");
            self.header[from..from + part.len()].copy_from_slice(&bytes[part]);
        }
        if let Some((from, part)) = overlap(self.area.bits(), at, bytes.len()) {
            self.clean.load_bytes(from, &bytes[part]);
        }
        self.fed_bytes = at.saturating_add(bytes.len() as u64);
    }

    /// The log. If part of the area is missing, it could not be read: that is how a caller says so.
    #[must_use]
    pub fn finish(self) -> Loaded {
        let found = match self.missing_bytes() {
            0 => judge(&self.header, self.sync),
            _ => Found::ReadError,
        };
        let known = match found {
            Found::Existing { regions } => regions.min(self.area.regions),
            Found::Fresh | Found::BadVersion { .. } | Found::ReadError => 0,
        };
        let mut clean = self.clean;
        clean.set_range(known..self.area.regions, self.sync == SyncOption::NoSync);
        let begun_anew = !matches!(found, Found::Existing { .. });
        Loaded { log: DirtyLog::resumed(clean, self.area, begun_anew), found }
    }
}

/// Refuses a log of an unknown version, as dm-log does, and one that was written for another number of
/// regions. dm-log takes that, since devices may
/// grow and shrink; a caller that knows the log's parameters from elsewhere knows that something is
/// wrong, most likely the region size.
///
/// # Errors
/// [`LogError::Regions`], [`LogError::Version`]
pub fn check_regions(device: &str, found: Found, expected: u64) -> Result<(), LogError> {
    match found {
        Found::Existing { regions } if regions != expected => {
            Err(LogError::Regions { device: device.to_owned(), found: regions, expected })
        }
        Found::BadVersion { version } => {
            Err(LogError::Version { device: device.to_owned(), version })
        }
        _ => Ok(()),
    }
}

/// Why a log device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The area does not fit.
    #[error(
        "log device {device} too small: it has {device_bytes} bytes, need {need} bytes for \
         {regions} regions"
    )]
    TooSmall {
        /// Name of the device.
        device: String,
        /// Its size.
        device_bytes: u64,
        /// The size that it would need.
        need: u64,
        /// Regions of the log.
        regions: u64,
    },
    /// It is a log, but not one that can be understood.
    #[error(
        "log device {device} holds a log of version {version}, but this is version 2 (1 is read too): \
         use another device, or clear its first block if it is not needed"
    )]
    Version {
        /// Name of the device.
        device: String,
        /// What its header says.
        version: u32,
    },
    /// It was written for another number of regions.
    #[error(
        "log device {device} holds a log of {found} regions, but {expected} are expected: use the \
         region size and the device size that it was written with, or begin a new log with sync"
    )]
    Regions {
        /// Name of the device.
        device: String,
        /// Regions that the log was written for.
        found: u64,
        /// Regions that there are.
        expected: u64,
    },
}

/// What the header of a log that could be read says.
fn judge(header: &[u8; HEADER_BYTES], sync: SyncOption) -> Found {
    let [m0, m1, m2, m3, v0, v1, v2, v3, regions @ ..] = *header;
    let magic = u32::from_le_bytes([m0, m1, m2, m3]);
    let version = u32::from_le_bytes([v0, v1, v2, v3]);
    if sync != SyncOption::Default || magic != MAGIC {
        return Found::Fresh;
    }
    match version {
        VERSION | VERSION_LITTLE_ENDIAN => Found::Existing { regions: u64::from_le_bytes(regions) },
        _ => Found::BadVersion { version },
    }
}

/// Whether the first bytes of a device are those of a dirty log, of whatever version.
#[must_use]
pub fn is_log(first: &[u8]) -> bool {
    first.starts_with(&MAGIC.to_le_bytes())
}

fn header_of(regions: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..8].copy_from_slice(&VERSION.to_le_bytes());
    header[8..16].copy_from_slice(&regions.to_le_bytes());
    header
}

/// The part of `target` that `len` bytes at `at` cover: where it begins in the target, and where it
/// lies in those bytes.
fn overlap(target: Range<u64>, at: u64, len: usize) -> Option<(u64, Range<usize>)> {
    let start = target.start.max(at);
    let end = target.end.min(at.saturating_add(len as u64));
    let in_bytes = |byte: u64| usize::try_from(byte - at).expect("within a slice");
    (start < end).then(|| (start - target.start, in_bytes(start)..in_bytes(end)))
}
