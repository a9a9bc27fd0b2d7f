//! The options of a `raid` line: unordered words, most of them with a value.
//!
//! ```text
//!   128 region_size 1024 nosync rebuild 1       as many words as #raid_params says
//!   |   |           |    +- a flag               case does not count; each once, but for rebuild
//!   |   +- a name   +- its value: before the name is looked at, it has to be a number
//!   +- chunk_size, always
//! ```
//!
//! Two habits of the kernel are kept because programs see them: `#raid_params 0` takes every word that
//! is left for an option, and a pair at the end may reach one word further than the count says.
//!
//! Not here: which options go together (`validate`).

use std::collections::BTreeSet;

use super::super::device::{DeviceName, Devices};
use super::super::error::{Errno, TargetError};
use super::super::words::{Words, signed};
use super::DEVICES_MAX;
use super::disagree;

/// Smallest journal: 4 MiB.
const JOURNAL_SECTORS_MIN: u64 = 8192;
/// Least space for a reshape, and what it is a multiple of: 16 KiB and a page.
const RESHAPE_SECTORS_MIN: i32 = 32;
const PAGE_SECTORS: i32 = 8;
/// Fewest members of any type, as the kernel's table of types has it.
const NOMINAL_MEMBERS_MIN: u32 = 2;

/// Whose options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dm) enum Dialect {
    /// dm-raid's.
    Raid,
    /// Those that raid456 has: rebuild and the rates.
    Raid456,
}

/// What the options say.
#[derive(Debug, Clone, Default)]
pub(in crate::dm) struct Options {
    pub(in crate::dm) chunk_sectors: u32,
    pub(super) sync: bool,
    pub(super) nosync: bool,
    pub(in crate::dm) rebuild: BTreeSet<usize>,
    pub(super) daemon_sleep: Option<u32>,
    pub(in crate::dm) min_recovery_rate: Option<u32>,
    pub(in crate::dm) max_recovery_rate: Option<u32>,
    pub(super) stripe_cache: Option<u32>,
    /// As the kernel holds it: of a negative number the bits.
    pub(super) region_size: Option<u32>,
    pub(super) data_offset: Option<u32>,
    pub(super) delta_disks: Option<i32>,
    pub(super) journal: Option<DeviceName>,
    pub(super) journal_mode: bool,
    /// An option of level 10.
    pub(super) raid10: BTreeSet<&'static str>,
}

impl Options {
    /// Takes the chunk size and the options: `count` words altogether, for `slots` members.
    pub(in crate::dm) fn parse(
        words: &mut Words<'_>,
        count: usize,
        slots: usize,
        devices: &dyn Devices,
        dialect: Dialect,
    ) -> Result<Self, TargetError> {
        let mut options = Self { chunk_sectors: parse_chunk(words)?, ..Self::default() };
        let mut left = count.wrapping_sub(1);
        while left > 0 {
            let name = words.shift();
            let name = name.ok_or(TargetError::invalid("Not enough raid parameters given"))?;
            let name = name.to_ascii_lowercase();
            left -= 1;
            if dialect == Dialect::Raid && options.take_flag(&name)? {
                continue;
            }
            let value = words.shift();
            let value =
                value.ok_or(TargetError::invalid("Wrong number of raid parameters given"))?;
            left = left.saturating_sub(1);
            if dialect == Dialect::Raid && options.take_word(&name, value, devices)? {
                continue;
            }
            let value = signed(value);
            let value =
                value.ok_or(TargetError::invalid("Bad numerical argument given in raid params"))?;
            if options.take_common(&name, value, slots)? {
                continue;
            }
            if dialect == Dialect::Raid456 || !options.take_number(&name, value, slots)? {
                return Err(TargetError::invalid("Unable to parse RAID parameter")
                    .with(format!("Unable to parse RAID parameter: {name}")));
            }
        }
        Ok(options)
    }

    /// Takes an option without a value.
    fn take_flag(&mut self, name: &str) -> Result<bool, TargetError> {
        match name {
            "nosync" => once(&mut self.nosync, "Only one 'nosync' argument allowed")?,
            "sync" => once(&mut self.sync, "Only one 'sync' argument allowed")?,
            "raid10_use_near_sets" => {
                // The kernel's slip of the pen.
                self.take_raid10(
                    "raid10_use_near_sets",
                    "Only one 'raid10_use_new_sets' argument allowed",
                )?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes an option whose value is a word.
    fn take_word(
        &mut self,
        name: &str,
        value: &str,
        devices: &dyn Devices,
    ) -> Result<bool, TargetError> {
        match name {
            "raid10_format" => {
                let text = "'raid10_format' is an invalid parameter for this RAID type";
                return Err(TargetError::invalid(text));
            }
            "journal_dev" => {
                if self.journal.is_some() {
                    let text = "Only one raid4/5/6 set journaling device allowed";
                    return Err(TargetError::invalid(text));
                }
                let device = devices.find(value).ok_or_else(|| {
                    let text = "raid4/5/6 journal device lookup failure";
                    TargetError::new(Errno::NoDev, text).with(value)
                })?;
                if device.sectors < JOURNAL_SECTORS_MIN {
                    return Err(TargetError::new(Errno::NoSpc, "No space for raid4/5/6 journal"));
                }
                self.journal = Some(device.name);
            }
            "journal_mode" => {
                if self.journal.is_none() {
                    let text = "raid4/5/6 'journal_mode' is invalid without 'journal_dev'";
                    return Err(TargetError::invalid(text));
                }
                let text = "Only one raid4/5/6 'journal_mode' argument allowed";
                once(&mut self.journal_mode, text)?;
                if !["writethrough", "writeback"]
                    .iter()
                    .any(|mode| value.eq_ignore_ascii_case(mode))
                {
                    return Err(TargetError::invalid("Invalid 'journal_mode' argument"));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes an option that both dialects have.
    fn take_common(&mut self, name: &str, value: i32, slots: usize) -> Result<bool, TargetError> {
        match name {
            "rebuild" => {
                let slot = usize::try_from(value).ok().filter(|slot| *slot < slots);
                let slot = slot.ok_or(TargetError::invalid("Invalid rebuild index given"))?;
                if !self.rebuild.insert(slot) {
                    return Err(TargetError::invalid("rebuild for this index already given"));
                }
            }
            "min_recovery_rate" => {
                only_one(&self.min_recovery_rate, name)?;
                self.min_recovery_rate = Some(natural(value, "min_recovery_rate out of range")?);
            }
            "max_recovery_rate" => {
                only_one(&self.max_recovery_rate, name)?;
                self.max_recovery_rate = Some(natural(value, "max_recovery_rate out of range")?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes an option whose value is a number, and that dm-raid alone has.
    fn take_number(&mut self, name: &str, value: i32, slots: usize) -> Result<bool, TargetError> {
        match name {
            "write_mostly" | "max_write_behind" => {
                let text = format!("{name} option is only valid for RAID1");
                return Err(TargetError::invalid(text));
            }
            "daemon_sleep" => {
                only_one(&self.daemon_sleep, name)?;
                self.daemon_sleep = Some(natural(value, "daemon sleep period out of range")?);
            }
            "data_offset" => {
                only_one(&self.data_offset, name)?;
                let bogus = "Bogus data_offset value";
                let offset = natural(value, bogus)?;
                if value != 0 && (value < RESHAPE_SECTORS_MIN || value % PAGE_SECTORS != 0) {
                    return Err(TargetError::invalid(bogus));
                }
                self.data_offset = Some(offset);
            }
            "delta_disks" => {
                only_one(&self.delta_disks, name)?;
                if !(1..=DEVICES_MAX - NOMINAL_MEMBERS_MIN).contains(&value.unsigned_abs()) {
                    return Err(TargetError::invalid("Too many delta_disk requested"));
                }
                self.delta_disks = Some(value);
            }
            "stripe_cache" => {
                only_one(&self.stripe_cache, name)?;
                self.stripe_cache = Some(natural(value, "Bogus stripe cache entries value")?);
            }
            "region_size" => {
                only_one(&self.region_size, name)?;
                self.region_size = Some(value.cast_unsigned());
            }
            "raid10_copies" => {
                self.take_raid10("raid10_copies", "Only one raid10_copies argument pair allowed")?;
                if !usize::try_from(value).is_ok_and(|copies| (2..=slots).contains(&copies)) {
                    return Err(TargetError::invalid("Bad value for 'raid10_copies'"));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_raid10(&mut self, name: &'static str, twice: &'static str) -> Result<(), TargetError> {
        match self.raid10.insert(name) {
            true => Ok(()),
            false => Err(TargetError::invalid(twice)),
        }
    }
}

fn parse_chunk(words: &mut Words<'_>) -> Result<u32, TargetError> {
    let word = words.shift().ok_or_else(disagree)?;
    let value =
        signed(word).ok_or(TargetError::invalid("Bad numerical argument given for chunk_size"))?;
    let chunk = u32::try_from(value).ok().filter(|chunk| chunk.is_power_of_two());
    let chunk = chunk.ok_or(TargetError::invalid("Chunk size must be a power of 2"))?;
    if chunk < 8 {
        return Err(TargetError::invalid("Chunk size value is too small"));
    }
    Ok(chunk)
}

fn once(given: &mut bool, twice: &'static str) -> Result<(), TargetError> {
    match std::mem::replace(given, true) {
        false => Ok(()),
        true => Err(TargetError::invalid(twice)),
    }
}

fn only_one<T>(given: &Option<T>, name: &str) -> Result<(), TargetError> {
    match given {
        None => Ok(()),
        Some(_) => Err(TargetError::invalid(format!("Only one {name} argument pair allowed"))),
    }
}

fn natural(value: i32, negative: &'static str) -> Result<u32, TargetError> {
    u32::try_from(value).map_err(|_| TargetError::invalid(negative))
}
