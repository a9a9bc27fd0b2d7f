//! Targets that dm users rehearse failures with: `linear`, `error`, `zero`, `delay`, `flakey`.
//!
//! ```text
//!   linear   <dev> <offset>
//!   error    [anything]                                        INFO
//!   zero                                                       linear, error, zero, flakey: nothing
//!   delay    (<dev> <offset> <delay ms>){1,3}                  delay: <reads> <writes> <flushes>
//!   flakey   <dev> <offset> <up s> <down s> [<#features> <feature>...]
//! ```
//!
//! `delay` takes one device for everything, or one for reads and one for writes, or a third for flushes.
//! `flakey` lets everything through for `up` seconds and misbehaves for `down` seconds; how, its features
//! say, and without any everything fails:
//!
//! | feature | words | while it is down |
//! |---|---|---|
//! | `error_reads` | 1 | reads fail |
//! | `drop_writes` | 1 | writes are dropped and succeed |
//! | `error_writes` | 1 | writes fail |
//! | `corrupt_bio_byte <nth> <r\|w> <value> <flags>` | 5 | that byte of each request gets that value |
//!
//! Checks and sentences are the kernel's (dm-linear, dm-delay, dm-flakey of 6.1, with `error_reads` of
//! 6.5). A device that ends before the line does is refused, as dm's core does it.
//!
//! Not here: what they do to I/O.

use std::fmt;

use super::device::{DeviceName, Devices};
use super::error::{Errno, TargetError};
use super::words::{Words, unsigned};

/// A stretch of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The device.
    pub device: DeviceName,
    /// Its first sector.
    pub offset: u64,
}

/// `<dev> <offset>`: TABLE status of `linear`, and a part of that of others.
impl fmt::Display for Stretch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.device, self.offset)
    }
}

/// A `linear` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearTable {
    /// What it maps.
    pub stretch: Stretch,
}

impl LinearTable {
    /// Reads the arguments of a line of `sectors` sectors.
    ///
    /// # Errors
    ///
    /// dm-linear's sentence.
    pub fn parse(
        sectors: u64,
        mut words: Words<'_>,
        devices: &dyn Devices,
    ) -> Result<Self, TargetError> {
        if words.len() != 2 {
            return Err(TargetError::invalid("Invalid argument count"));
        }
        let (device, offset) = (words.shift().unwrap_or_default(), words.shift());
        let offset = parse_offset(offset)?;
        Ok(Self { stretch: find(sectors, device, offset, devices)? })
    }
}

/// TABLE status.
impl fmt::Display for LinearTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stretch.fmt(f)
    }
}

/// Reads the arguments of a `zero` line: there are none.
///
/// # Errors
///
/// If there are.
pub(super) fn parse_zero(words: Words<'_>) -> Result<(), TargetError> {
    match words.is_empty() {
        true => Ok(()),
        false => Err(TargetError::invalid("No arguments required")),
    }
}

/// A stretch of a device, and how long requests wait before they go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayClass {
    /// Where they go.
    pub stretch: Stretch,
    /// Milliseconds.
    pub delay_ms: u32,
}

impl DelayClass {
    fn parse(
        sectors: u64,
        mut words: Words<'_>,
        devices: &dyn Devices,
    ) -> Result<Self, TargetError> {
        let device = words.shift().unwrap_or_default();
        let offset = parse_offset(words.shift())?;
        let delay_ms = words.number(0..=u32::MAX).ok_or(TargetError::invalid("Invalid delay"))?;
        Ok(Self { stretch: find(sectors, device, offset, devices)?, delay_ms })
    }
}

impl fmt::Display for DelayClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.stretch, self.delay_ms)
    }
}

/// A `delay` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayTable {
    /// Reads, and everything that has no place of its own.
    pub read: DelayClass,
    /// Writes.
    pub write: Option<DelayClass>,
    /// Flushes; never without writes.
    pub flush: Option<DelayClass>,
}

impl DelayTable {
    /// Reads the arguments of a line of `sectors` sectors.
    ///
    /// # Errors
    ///
    /// dm-delay's sentence.
    pub fn parse(
        sectors: u64,
        mut words: Words<'_>,
        devices: &dyn Devices,
    ) -> Result<Self, TargetError> {
        if ![3, 6, 9].contains(&words.len()) {
            return Err(TargetError::invalid("Requires exactly 3, 6 or 9 arguments"));
        }
        let mut class = || {
            let words = words.take(3);
            let given = !words.is_empty();
            given.then(|| DelayClass::parse(sectors, words, devices)).transpose()
        };
        let read = class()?.ok_or(TargetError::invalid("Invalid device sector"))?;
        Ok(Self { read, write: class()?, flush: class()? })
    }
}

/// TABLE status.
impl fmt::Display for DelayTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read.fmt(f)?;
        for class in [&self.write, &self.flush].into_iter().flatten() {
            write!(f, " {class}")?;
        }
        Ok(())
    }
}

/// Which requests a corrupted byte is put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Reads.
    Read,
    /// Writes.
    Write,
}

/// A byte that is made wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorruptByte {
    /// Which byte of a request, from 1.
    pub nth: u32,
    /// Of which requests.
    pub direction: Direction,
    /// Its value then.
    pub value: u8,
    /// Only requests with all of these flags.
    pub flags: u32,
}

impl fmt::Display for CorruptByte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Read => 'r',
            Direction::Write => 'w',
        };
        write!(f, "corrupt_bio_byte {} {direction} {} {}", self.nth, self.value, self.flags)
    }
}

/// What becomes of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadWrites {
    /// They are dropped and succeed.
    Drop,
    /// They fail.
    Error,
}

/// A `flakey` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlakeyTable {
    /// What it maps.
    pub stretch: Stretch,
    /// Seconds for which everything goes through.
    pub up_s: u32,
    /// Seconds for which it misbehaves.
    pub down_s: u32,
    /// Whether reads fail.
    pub error_reads: bool,
    /// What becomes of writes.
    pub writes: Option<BadWrites>,
    /// A byte that is made wrong.
    pub corrupt: Option<CorruptByte>,
}

impl FlakeyTable {
    /// Reads the arguments of a line of `sectors` sectors.
    ///
    /// # Errors
    ///
    /// dm-flakey's sentence.
    pub fn parse(
        sectors: u64,
        mut words: Words<'_>,
        devices: &dyn Devices,
    ) -> Result<Self, TargetError> {
        if words.len() < 4 {
            return Err(TargetError::invalid("Invalid argument count"));
        }
        let device = words.shift().unwrap_or_default();
        let offset = parse_offset(words.shift())?;
        let mut seconds = |text| words.number(0..=u32::MAX).ok_or(TargetError::invalid(text));
        let (up_s, down_s) = (seconds("Invalid up interval")?, seconds("Invalid down interval")?);
        match up_s.checked_add(down_s) {
            Some(0) => return Err(TargetError::invalid("Total (up + down) interval is zero")),
            None => return Err(TargetError::invalid("Interval overflow")),
            Some(_) => {}
        }
        let features = Features::parse(words)?;
        let stretch = find(sectors, device, offset, devices)?;
        let Features { error_reads, writes, corrupt } = features;
        Ok(Self { stretch, up_s, down_s, error_reads, writes, corrupt })
    }

    /// Whether everything fails while it is down: no feature says what else.
    #[must_use]
    pub fn fails_everything(&self) -> bool {
        !self.error_reads && self.writes.is_none() && self.corrupt.is_none()
    }
}

/// TABLE status.
impl fmt::Display for FlakeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = usize::from(self.error_reads)
            + usize::from(self.writes.is_some())
            + 5 * usize::from(self.corrupt.is_some());
        // dm-flakey puts a blank behind each word.
        write!(f, "{} {} {} {count} ", self.stretch, self.up_s, self.down_s)?;
        if self.error_reads {
            f.write_str("error_reads ")?;
        }
        match self.writes {
            Some(BadWrites::Drop) => f.write_str("drop_writes ")?,
            Some(BadWrites::Error) => f.write_str("error_writes ")?,
            None => {}
        }
        match &self.corrupt {
            Some(corrupt) => write!(f, "{corrupt} "),
            None => Ok(()),
        }
    }
}

#[derive(Default)]
struct Features {
    error_reads: bool,
    writes: Option<BadWrites>,
    corrupt: Option<CorruptByte>,
}

impl Features {
    fn parse(mut words: Words<'_>) -> Result<Self, TargetError> {
        let mut features = Self::default();
        if words.is_empty() {
            return Ok(features);
        }
        let count = words.group(0..=8);
        let count = count.ok_or(TargetError::invalid("Invalid number of feature args"))?;
        let mut words = words.take(count);
        while let Some(name) = words.shift() {
            features.take(&name.to_ascii_lowercase(), &mut words)?;
        }
        let corrupts = features.corrupt.map(|corrupt| corrupt.direction);
        let incompatible = match (corrupts, features.writes, features.error_reads) {
            (Some(Direction::Write), Some(BadWrites::Drop), _) => {
                "drop_writes is incompatible with corrupt_bio_byte with the WRITE flag set"
            }
            (Some(Direction::Write), Some(BadWrites::Error), _) => {
                "error_writes is incompatible with corrupt_bio_byte with the WRITE flag set"
            }
            (Some(Direction::Read), _, true) => {
                "error_reads is incompatible with corrupt_bio_byte with the READ flag set"
            }
            _ => return Ok(features),
        };
        Err(TargetError::invalid(incompatible))
    }

    fn take(&mut self, name: &str, words: &mut Words<'_>) -> Result<(), TargetError> {
        let text = match (name, self.writes) {
            ("error_reads", _) if self.error_reads => "Feature error_reads duplicated",
            ("error_reads", _) => {
                self.error_reads = true;
                return Ok(());
            }
            ("drop_writes", Some(BadWrites::Drop)) => "Feature drop_writes duplicated",
            ("drop_writes", Some(BadWrites::Error)) => {
                "Feature drop_writes conflicts with feature error_writes"
            }
            ("drop_writes", None) => {
                self.writes = Some(BadWrites::Drop);
                return Ok(());
            }
            ("error_writes", Some(BadWrites::Error)) => "Feature error_writes duplicated",
            ("error_writes", Some(BadWrites::Drop)) => {
                "Feature error_writes conflicts with feature drop_writes"
            }
            ("error_writes", None) => {
                self.writes = Some(BadWrites::Error);
                return Ok(());
            }
            ("corrupt_bio_byte", _) => {
                self.corrupt = Some(parse_corrupt(words)?);
                return Ok(());
            }
            _ => "Unrecognised flakey feature requested",
        };
        Err(TargetError::invalid(text))
    }
}

fn parse_corrupt(words: &mut Words<'_>) -> Result<CorruptByte, TargetError> {
    if words.is_empty() {
        return Err(TargetError::invalid("Feature corrupt_bio_byte requires parameters"));
    }
    let nth = words.number(1..=u32::MAX);
    let nth = nth.ok_or(TargetError::invalid("Invalid corrupt bio byte"))?;
    let direction = match words.shift().map(str::to_ascii_lowercase).as_deref() {
        Some("r") => Direction::Read,
        Some("w") => Direction::Write,
        _ => return Err(TargetError::invalid("Invalid corrupt bio direction (r or w)")),
    };
    let value = words.number(0..=255).and_then(|value| u8::try_from(value).ok());
    let value = value.ok_or(TargetError::invalid("Invalid corrupt value"))?;
    let flags = words.number(0..=u32::MAX);
    let flags = flags.ok_or(TargetError::invalid("Invalid corrupt bio flags"))?;
    Ok(CorruptByte { nth, direction, value, flags })
}

fn parse_offset(word: Option<&str>) -> Result<u64, TargetError> {
    word.and_then(unsigned).ok_or(TargetError::invalid("Invalid device sector"))
}

fn find(
    sectors: u64,
    name: &str,
    offset: u64,
    devices: &dyn Devices,
) -> Result<Stretch, TargetError> {
    let device = devices
        .find(name)
        .ok_or_else(|| TargetError::new(Errno::NoDev, "Device lookup failure").with(name))?;
    let (name, size) = (device.name, device.sectors);
    if offset.checked_add(sectors).is_none_or(|end| end > size) {
        let detail =
            format!("{name} too small for target: start={offset}, len={sectors}, dev_size={size}");
        return Err(TargetError::invalid("Device is too small for the target").with(detail));
    }
    Ok(Stretch { device: name, offset })
}
