//! Target `raid456`: the 2010 target that put md/raid5 under a dirty log. Its source is lost; what is
//! known of it stands in linux-raid.md, section 2.1, and the rest of the grammar is ours.
//!
//! ```text
//!   <log_type> <#log_params> <log_param>...      as raid45: core or disk, over a component
//!   <raid_type> <#raid_params> <chunk_size>      types as dm-raid has them: raid4 has parity first
//!       [rebuild <idx>]... [min_recovery_rate <kB/s>] [max_recovery_rate <kB/s>]
//!   <#raid_devs> (<dev>|- <offset>){#raid_devs}
//! ```
//!
//! - What is proved: log arguments come first, `-` is a missing member, and options are those that LVM
//!   sets. Region size, `sync` and `nosync` are the log's; everything else that dm-raid takes in a table
//!   (`stripe_cache`, `daemon_sleep`) is a message here, as are the rates once the array runs.
//! - A member may also be missing by having a device of `error` targets in its place, as LVM of those days
//!   does it ([`Device::fails`](super::device::Device)).
//! - `#raid_params` counts words, the chunk size among them, and options are printed in this order.
//! - Offsets are sectors before the array's data, as in raid45. That of a missing member is printed, so
//!   that a line stays the same but for the name when it comes back.
//! - A component is the length divided by the data members, and whole chunks of it, as in raid45.
//!
//! The sentences are dm-raid's, and raid45's about the log.
//!
//! Not here: INFO (`status`), messages (`message`).

use std::collections::BTreeSet;
use std::fmt;

use raid::layout::{Layout, Level};

use super::device::{DeviceName, Devices, NONE, named_twice, or_none};
use super::error::{Errno, TargetError};
use super::log::LogSpec;
use super::raid::{DEVICES_MAX, Dialect, Options, check_members};
use super::raid45::{check_region, component_sectors, duplicate, parse_log, too_small};
use super::table::SECTORS_MAX;
use super::words::{Words, unsigned};

/// A `raid456` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raid456Table {
    /// Length of the line.
    pub sectors: u64,
    /// The dirty log.
    pub log: LogSpec,
    /// Level of its type.
    pub level: Level,
    /// Layout of its type.
    pub layout: Layout,
    /// Sectors of a chunk.
    pub chunk_sectors: u32,
    /// Members whose contents are made anew.
    pub rebuild: BTreeSet<usize>,
    /// KiB/s on each member that recovery takes in any case; 0: the default.
    pub min_recovery_rate: Option<u32>,
    /// KiB/s on each member that recovery never exceeds; 0: the default.
    pub max_recovery_rate: Option<u32>,
    /// Members by slot.
    pub members: Vec<Raid456Member>,
}

/// A member and where the array begins on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raid456Member {
    /// The device, if there is one.
    pub name: Option<DeviceName>,
    /// Sectors before the array's data.
    pub offset: u64,
    /// Whether the device does nothing but fail.
    pub fails: bool,
}

impl Raid456Member {
    /// The device, if it is of use.
    #[must_use]
    pub fn live(&self) -> Option<&DeviceName> {
        self.name.as_ref().filter(|_| !self.fails)
    }
}

impl Raid456Table {
    /// Reads the arguments of a line of `sectors` sectors.
    ///
    /// # Errors
    ///
    /// The sentence for the first check that fails.
    pub fn parse(
        sectors: u64,
        mut words: Words<'_>,
        devices: &dyn Devices,
    ) -> Result<Self, TargetError> {
        let log_type = words.shift().ok_or(TargetError::invalid("No arguments"))?;
        let bad_log = TargetError::invalid("Bad dirty log parameters number");
        let log_params = words.group(1..=u32::MAX).ok_or(bad_log)?;
        let log_words = words.take(log_params);
        let raid_type = words.shift().unwrap_or_default();
        let (level, layout) = Layout::from_dm_type(raid_type).map_err(|error| {
            TargetError::invalid("Unrecognised raid_type").with(error.to_string())
        })?;
        let count = words.group(1..=u32::MAX);
        let count =
            count.ok_or(TargetError::invalid("Cannot understand number of raid parameters"))?;
        let mut params = words.take(count);
        let slots = words.number(1..=DEVICES_MAX);
        let slots = slots
            .filter(|slots| *slots as usize * 2 <= words.len())
            .ok_or(TargetError::invalid("Cannot understand number of raid devices parameters"))?
            as usize;
        if slots <= level.parity_count() {
            return Err(TargetError::invalid("Insufficient number of devices"));
        }
        let options = Options::parse(&mut params, count, slots, devices, Dialect::Raid456)?;
        options.check_exclusions()?;
        let component =
            component_sectors(sectors, slots - level.parity_count(), options.chunk_sectors)?;
        let log = parse_log(log_type, log_words, component, devices)?;
        check_region(&log, options.chunk_sectors, 0)?;
        let members = parse_members(words, slots, component, &options.rebuild, devices)?;
        let present: Vec<bool> = members.iter().map(|member| member.live().is_some()).collect();
        check_members(level, &present, &options.rebuild)?;
        let names = members.iter().filter_map(|member| member.name.as_ref());
        if let Some(name) = named_twice(names.chain(log.device())) {
            return Err(duplicate(name));
        }
        options.check_chunk(component)?;
        Ok(Self {
            sectors,
            log,
            level,
            layout,
            chunk_sectors: options.chunk_sectors,
            rebuild: options.rebuild,
            min_recovery_rate: options.min_recovery_rate,
            max_recovery_rate: options.max_recovery_rate,
            members,
        })
    }

    /// Sectors of a component.
    #[must_use]
    pub fn component_sectors(&self) -> u64 {
        self.sectors / (self.members.len() - self.level.parity_count()) as u64
    }
}

/// TABLE status.
impl fmt::Display for Raid456Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let raid_type = self.layout.dm_type(self.level).unwrap_or(NONE);
        let rates = [self.min_recovery_rate, self.max_recovery_rate];
        let params = 1 + 2 * (self.rebuild.len() + rates.iter().flatten().count());
        write!(f, "{}{raid_type} {params} {}", self.log, self.chunk_sectors)?;
        for slot in &self.rebuild {
            write!(f, " rebuild {slot}")?;
        }
        for (name, rate) in ["min_recovery_rate", "max_recovery_rate"].iter().zip(rates) {
            if let Some(rate) = rate {
                write!(f, " {name} {rate}")?;
            }
        }
        write!(f, " {}", self.members.len())?;
        for Raid456Member { name, offset, .. } in &self.members {
            write!(f, " {} {offset}", or_none(name.as_ref()))?;
        }
        Ok(())
    }
}

fn parse_members(
    mut words: Words<'_>,
    slots: usize,
    component: u64,
    rebuild: &BTreeSet<usize>,
    devices: &dyn Devices,
) -> Result<Vec<Raid456Member>, TargetError> {
    let mut members = Vec::new();
    let mut small = None;
    for slot in 0..slots {
        let (word, offset) = (words.shift().unwrap_or_default(), words.shift().unwrap_or_default());
        // Also that of a member that is missing.
        let fits =
            |offset: &u64| offset.checked_add(component).is_some_and(|end| end <= SECTORS_MAX);
        let offset = unsigned(offset).filter(fits);
        let offset = offset.ok_or(TargetError::invalid("Invalid RAID device offset parameter"))?;
        let device = match word {
            NONE => None,
            _ => Some(devices.find(word).ok_or_else(|| {
                TargetError::new(Errno::NoDev, "RAID device lookup failure").with(word)
            })?),
        };
        let fails = device.as_ref().is_some_and(|device| device.fails);
        if (device.is_none() || fails) && rebuild.contains(&slot) {
            return Err(TargetError::invalid("Drive designated for rebuild not specified"));
        }
        let needs = offset + component;
        if let Some(device) = device.as_ref().filter(|device| !fails && device.sectors < needs) {
            small.get_or_insert_with(|| too_small(&device.name, device.sectors, needs));
        }
        members.push(Raid456Member { name: device.map(|device| device.name), offset, fails });
    }
    small.map_or(Ok(members), Err)
}
