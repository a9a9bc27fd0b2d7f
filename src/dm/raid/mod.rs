//! Target `raid`: mainline's dm-raid, as far as it is RAID 4, 5 and 6 (linux-raid.md, sections 2.2 to 2.9).
//!
//! ```text
//!   <raid_type> <#raid_params> <chunk_size> [option [value]]...  <#raid_devs> (<meta>|- <data>|-)...
//!               \------------- #raid_params words ------------/
//!
//!   words --args--> Options --validate--> RaidTable --Display--> TABLE status, in canonical order
//! ```
//!
//! | option | value | here |
//! |---|---|---|
//! | `sync`, `nosync` | | parity is made anew; parity is taken to be right (not at level 6) |
//! | `rebuild` | slot | that member is made anew; several |
//! | `daemon_sleep` | ms | how long a mark stays after the last write |
//! | `min_recovery_rate`, `max_recovery_rate` | KiB/s a member | 0: the default |
//! | `stripe_cache` | stripes | raised to half a chunk's sectors; 17 to 32768 |
//! | `region_size` | sectors | 0: 8192, or what 2^21 regions take |
//! | `data_offset` | sectors | 0 only; a reshape is not supported yet |
//! | `delta_disks`, `journal_dev`, `journal_mode` | | checked as the kernel does, then: not supported yet |
//!
//! Names are taken in any case, options in any order, and what stands behind the devices is ignored, all
//! as the kernel does. Checks go in the kernel's order and answer with its sentences. Where the kernel
//! takes a table and this does not:
//!
//! - two members at level 4 or 5 (a mirror in disguise), strips above 16 MiB, components below one chunk,
//!   one device in two places;
//! - what is not supported yet, above;
//! - types `raid0`, `raid1` and `raid10`, which are unknown here.
//!
//! What the options mean is what they were meant to (section 2.9): `sync` makes parity anew whatever is
//! recorded; without metadata devices nothing is recorded, so it is made anew too; see
//! [`Start`](super::facts::Start).
//!
//! Not here: INFO (`status`), messages (`message`), superblocks (`raid::superblock`).

mod args;
mod validate;

pub(super) use args::{Dialect, Options};
pub(super) use validate::check_members;

use std::collections::BTreeSet;
use std::fmt;

use raid::dirty_log::SyncOption;
use raid::layout::{Layout, Level};

use super::device::{DeviceName, Devices, NONE, or_none};
use super::error::{Errno, TargetError};
use super::words::Words;

/// Most members.
pub(super) const DEVICES_MAX: u32 = 253;

/// A `raid` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaidTable {
    /// Length of the line.
    pub sectors: u64,
    /// Level of its type.
    pub level: Level,
    /// Layout of its type.
    pub layout: Layout,
    /// Sectors of a chunk.
    pub chunk_sectors: u32,
    /// `sync`, `nosync`, or neither.
    pub sync: SyncOption,
    /// Members whose contents are made anew.
    pub rebuild: BTreeSet<usize>,
    /// Milliseconds between two passes that clear marks.
    pub daemon_sleep: Option<u32>,
    /// KiB/s on each member that recovery takes in any case; 0: the default.
    pub min_recovery_rate: Option<u32>,
    /// KiB/s on each member that recovery never exceeds; 0: the default.
    pub max_recovery_rate: Option<u32>,
    /// Stripes of the cache, already raised to what the chunk takes.
    pub stripe_cache: Option<u32>,
    /// Sectors of a region, if it was given; already the default if that was 0.
    pub region_size: Option<u64>,
    /// Whether `data_offset 0` was given.
    pub data_offset: bool,
    /// Members by slot.
    pub members: Vec<RaidMember>,
}

/// A pair of devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RaidMember {
    /// For superblock and bitmap.
    pub meta: Option<DeviceName>,
    /// For data and parity.
    pub data: Option<DeviceName>,
}

impl RaidTable {
    /// Reads the arguments of a line of `sectors` sectors.
    ///
    /// # Errors
    ///
    /// dm-raid's sentence for the first check that fails.
    pub fn parse(
        sectors: u64,
        mut words: Words<'_>,
        devices: &dyn Devices,
    ) -> Result<Self, TargetError> {
        let count_max = u32::try_from(words.len()).unwrap_or(u32::MAX);
        let raid_type = words.shift().ok_or(TargetError::invalid("No arguments"))?;
        let (level, layout) = Layout::from_dm_type(raid_type).map_err(|error| {
            TargetError::invalid("Unrecognised raid_type").with(error.to_string())
        })?;
        let count = words.group(0..=count_max);
        let count =
            count.ok_or(TargetError::invalid("Cannot understand number of raid parameters"))?;
        let slots = Self::parse_slots(words, count)?;
        if slots <= level.parity_count() {
            return Err(TargetError::invalid("Insufficient number of devices"));
        }
        let options = Options::parse(&mut words, count, slots, devices, Dialect::Raid)?;
        options.check_exclusions()?;
        let region_size = options.check_region(sectors)?;
        options.check_level(level)?;
        // Where the options end is where the words led, which bad counts can make another place.
        words.shift().ok_or_else(disagree)?;
        let (members, sizes) = parse_members(words, slots, &options.rebuild, devices)?;
        let mut table = Self {
            sectors,
            level,
            layout,
            chunk_sectors: options.chunk_sectors,
            sync: options.sync_option(),
            rebuild: options.rebuild.clone(),
            daemon_sleep: options.daemon_sleep,
            min_recovery_rate: options.min_recovery_rate,
            max_recovery_rate: options.max_recovery_rate,
            stripe_cache: options.stripe_cache,
            region_size,
            data_offset: options.data_offset.is_some(),
            members,
        };
        table.check_sizes(&sizes)?;
        table.check_runs()?;
        table.raise_stripe_cache()?;
        options.check_chunk(table.component_sectors())?;
        table.check_distinct()?;
        options.check_supported()?;
        Ok(table)
    }

    /// The number of devices, which stands behind `count` parameters.
    fn parse_slots(words: Words<'_>, count: usize) -> Result<usize, TargetError> {
        let mut after = words;
        after.take(count);
        let pairs = u32::try_from(after.len().saturating_sub(1) / 2).unwrap_or(u32::MAX);
        let slots = after.number(1..=pairs);
        let slots = slots
            .ok_or(TargetError::invalid("Cannot understand number of raid devices parameters"))?;
        if slots > DEVICES_MAX {
            return Err(TargetError::invalid("Invalid number of supplied raid devices"));
        }
        Ok(slots as usize)
    }

    /// dm-raid's name of its type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.layout.dm_type(self.level).unwrap_or(NONE)
    }

    /// Members that hold data in each stripe.
    #[must_use]
    pub fn data_members(&self) -> usize {
        self.members.len() - self.level.parity_count()
    }

    /// Sectors of each data device that the table asks for; whole chunks of it are used.
    #[must_use]
    pub fn component_sectors(&self) -> u64 {
        self.sectors / self.data_members() as u64
    }

    /// Sectors of a region: what was given, or the default.
    #[must_use]
    pub fn region_sectors(&self) -> u64 {
        let default = || validate::default_region(self.sectors, self.chunk_sectors);
        self.region_size.unwrap_or_else(default)
    }

    /// Whether anything is recorded: one metadata device at least.
    #[must_use]
    pub fn has_metadata(&self) -> bool {
        self.members.iter().any(|member| member.meta.is_some())
    }

    /// The options in canonical order, each with its value.
    fn options(&self) -> impl Iterator<Item = (&'static str, Option<u64>)> {
        let word = match self.sync {
            SyncOption::Default => None,
            SyncOption::Sync => Some("sync"),
            SyncOption::NoSync => Some("nosync"),
        };
        let rebuild = self.rebuild.iter().map(|slot| ("rebuild", Some(*slot as u64)));
        let values = [
            ("daemon_sleep", self.daemon_sleep.map(u64::from)),
            ("min_recovery_rate", self.min_recovery_rate.map(u64::from)),
            ("max_recovery_rate", self.max_recovery_rate.map(u64::from)),
            ("stripe_cache", self.stripe_cache.map(u64::from)),
            ("region_size", self.region_size),
            ("data_offset", self.data_offset.then_some(0)),
        ];
        let values = values.into_iter().filter(|(_, value)| value.is_some());
        word.into_iter().map(|word| (word, None)).chain(rebuild).chain(values)
    }
}

/// TABLE status.
impl fmt::Display for RaidTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.options().map(|(_, value)| 1 + usize::from(value.is_some()));
        let count = 1 + words.sum::<usize>();
        write!(f, "{} {count} {}", self.type_name(), self.chunk_sectors)?;
        for (name, value) in self.options() {
            write!(f, " {name}")?;
            if let Some(value) = value {
                write!(f, " {value}")?;
            }
        }
        write!(f, " {}", self.members.len())?;
        for RaidMember { meta, data } in &self.members {
            write!(f, " {} {}", or_none(meta.as_ref()), or_none(data.as_ref()))?;
        }
        Ok(())
    }
}

/// Reads the pairs. With them come the sizes of the data devices.
fn parse_members(
    mut words: Words<'_>,
    slots: usize,
    rebuild: &BTreeSet<usize>,
    devices: &dyn Devices,
) -> Result<(Vec<RaidMember>, Vec<Option<u64>>), TargetError> {
    let mut members = Vec::new();
    let mut sizes = Vec::new();
    for slot in 0..slots {
        let find = |word: &str, text: &'static str| match word {
            NONE => Ok(None),
            _ => match devices.find(word) {
                Some(device) => Ok(Some(device)),
                None => Err(TargetError::new(Errno::NoDev, text).with(word)),
            },
        };
        let meta = words.shift().ok_or_else(disagree)?;
        let meta = find(meta, "RAID metadata device lookup failure")?;
        let data = words.shift().ok_or_else(disagree)?;
        if data == NONE && rebuild.contains(&slot) {
            return Err(TargetError::invalid("Drive designated for rebuild not specified"));
        }
        if data == NONE && meta.is_some() {
            return Err(TargetError::invalid("No data device supplied with metadata device"));
        }
        let data = find(data, "RAID device lookup failure")?;
        sizes.push(data.as_ref().map(|device| device.sectors));
        let (meta, data) = (meta.map(|device| device.name), data.map(|device| device.name));
        members.push(RaidMember { meta, data });
    }
    Ok((members, sizes))
}

/// The kernel has no sentence for counts that lead beyond the end; its first version had this one.
fn disagree() -> TargetError {
    TargetError::invalid("Arguments do not agree with counts given")
}
