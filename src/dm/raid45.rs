//! Target `raid45`: Heinz Mauelshagen's dm-raid45, v0.2597k (linux-raid.md, section 1).
//!
//! ```text
//!   <log_type> <#log_params> <log_param>...          region log over a component, not over the array
//!   <raid_type> [<parity_dev>]                       parity_dev: raid4 only; -1 is the last device
//!   <#raid_params> <raid_param>{0,7}                 -1: the default
//!   [locking none]
//!   <#raid_devs> <dev_to_init>                       -1: make parity; else that device is rebuilt
//!   (<dev> <offset>){#raid_devs}
//! ```
//!
//! | raid_param | default | legal |
//! |---|---|---|
//! | chunk_size, sectors | 64 | power of two, 8 to 16384 |
//! | stripes | 80 | 8 to 16384 |
//! | io_size, sectors | 8, or chunk_size if that is given | power of two, 8 to min(1024, chunk_size) |
//! | recovery_io_size, sectors | 256 | power of two, 64 to 1024 |
//! | bandwidth, % | 10 | 1 to 100 |
//! | recovery | sync | `sync` or `nosync`: whether recovery ever runs |
//! | recovery_stripes | 1 | 1 to 64 |
//!
//! Checks go in dm-raid45's order and answer with its sentences. Three of its defects are mended:
//!
//! - its TABLE status leaves out raid4's parity_dev, so that the line cannot be loaded; here it is there;
//! - `locking none` makes it read the word `locking` as the number of devices; here it is taken, in any
//!   case and abbreviated as there, and not printed, because it changes nothing;
//! - its count of the arguments forgets that pair; here it is counted.
//!
//! And on purpose: a number with something behind it is none; a component that is smaller than the table
//! needs is refused, as is more than one can have; io hints are in bytes (it gives sectors for bytes).
//!
//! Parameters and messages that change nothing but what is told are listed with their reasons in
//! `golden::intended`, with all other differences.
//!
//! Not here: INFO (`status`), messages (`message`).

use std::fmt;

use raid::layout::{Layout, Level};
use raid::limits::MEMBERS_MAX;

use super::device::{DeviceName, Devices, named_twice};
use super::error::{Errno, TargetError};
use super::log::LogSpec;
use super::words::{Words, signed, unsigned};

/// Fewest arguments.
const ARGUMENTS_MIN: usize = 13;
/// Most parameters of a log; the number is dm-raid45's joke.
const LOG_PARAMS_MAX: i32 = 4711;
/// Fewest devices.
const DEVICES_MIN: usize = 3;
/// Half of the largest bio: 256 pages of 8 sectors.
const IO_SECTORS_MAX: i32 = 1024;

/// Fewest and most stripes of the cache.
pub const STRIPES: std::ops::RangeInclusive<u32> = 8..=16384;
/// Least and most bandwidth of recovery, in percent.
pub const BANDWIDTH: std::ops::RangeInclusive<u32> = 1..=100;

/// A `raid45` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raid45Table {
    /// Length of the line.
    pub sectors: u64,
    /// The dirty log.
    pub log: LogSpec,
    /// Type.
    pub raid_type: Raid45Type,
    /// Parameters.
    pub params: Raid45Params,
    /// The device that is rebuilt. Whoever owns the table sets it to `None` when that is done: user
    /// space looks for it.
    pub dev_to_init: Option<usize>,
    /// Devices by slot.
    pub devices: Vec<Raid45Device>,
}

/// Its types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raid45Type {
    /// Parity on one device.
    Raid4 {
        /// Which; `None`: the last.
        parity: Option<usize>,
    },
    /// Left asymmetric.
    Raid5La,
    /// Right asymmetric.
    Raid5Ra,
    /// Left symmetric.
    Raid5Ls,
    /// Right symmetric.
    Raid5Rs,
}

impl Raid45Type {
    /// Case counts.
    fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Raid4 { parity: None },
            Self::Raid5La,
            Self::Raid5Ra,
            Self::Raid5Ls,
            Self::Raid5Rs,
        ];
        all.into_iter().find(|raid_type| raid_type.name() == name)
    }

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raid4 { .. } => "raid4",
            Self::Raid5La => "raid5_la",
            Self::Raid5Ra => "raid5_ra",
            Self::Raid5Ls => "raid5_ls",
            Self::Raid5Rs => "raid5_rs",
        }
    }

    /// Level and layout with so many devices.
    #[must_use]
    pub fn level_and_layout(self, devices: usize) -> (Level, Layout) {
        match self {
            Self::Raid4 { parity } => (
                Level::Raid4,
                match parity {
                    None => Layout::ParityLast,
                    Some(slot) if slot + 1 == devices => Layout::ParityLast,
                    Some(slot) => u8::try_from(slot).map_or(Layout::ParityLast, Layout::ParityAt),
                },
            ),
            Self::Raid5La => (Level::Raid5, Layout::LeftAsymmetric),
            Self::Raid5Ra => (Level::Raid5, Layout::RightAsymmetric),
            Self::Raid5Ls => (Level::Raid5, Layout::LeftSymmetric),
            Self::Raid5Rs => (Level::Raid5, Layout::RightSymmetric),
        }
    }
}

/// Its parameters as they were given; `None` is -1, or not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raid45Params {
    /// How many were given.
    pub given: usize,
    /// Sectors of a chunk.
    pub chunk_sectors: Option<u32>,
    /// Stripes of the cache.
    pub stripes: Option<u32>,
    /// Sectors of a request.
    pub io_sectors: Option<u32>,
    /// Sectors of a request of recovery.
    pub recovery_io_sectors: Option<u32>,
    /// Percent of the bandwidth for recovery.
    pub bandwidth: Option<u32>,
    /// Whether recovery runs.
    pub recovery: bool,
    /// Regions that are recovered at a time; never `None` when it was given.
    pub recovery_stripes: Option<u32>,
}

impl Default for Raid45Params {
    fn default() -> Self {
        Self {
            given: 0,
            chunk_sectors: None,
            stripes: None,
            io_sectors: None,
            recovery_io_sectors: None,
            bandwidth: None,
            recovery: true,
            recovery_stripes: None,
        }
    }
}

impl Raid45Params {
    /// Sectors of a chunk.
    #[must_use]
    pub fn chunk(&self) -> u32 {
        self.chunk_sectors.unwrap_or(64)
    }

    /// Stripes of the cache.
    #[must_use]
    pub fn stripes(&self) -> u32 {
        self.stripes.unwrap_or(80)
    }

    /// Sectors of a request: a chunk if that was given.
    #[must_use]
    pub fn io(&self) -> u32 {
        self.io_sectors.or(self.chunk_sectors).unwrap_or(8)
    }

    /// Sectors of a request of recovery.
    #[must_use]
    pub fn recovery_io(&self) -> u32 {
        self.recovery_io_sectors.unwrap_or(256)
    }

    /// Percent of the bandwidth for recovery.
    #[must_use]
    pub fn bandwidth(&self) -> u32 {
        self.bandwidth.unwrap_or(10)
    }

    /// Regions that are recovered at a time.
    #[must_use]
    pub fn recovery_stripes(&self) -> u32 {
        self.recovery_stripes.unwrap_or(1)
    }

    /// Takes the parameters, each by its place.
    fn parse(words: &mut Words<'_>) -> Result<Self, TargetError> {
        let given = words.shift().and_then(signed).filter(|count| (0..=7).contains(count));
        let given = given.ok_or(TargetError::invalid("Bad variable raid parameters number"))?;
        let mut params = Self { given: given.unsigned_abs() as usize, ..Self::default() };
        for place in 0..params.given {
            params.take(place, words.shift().unwrap_or_default())?;
        }
        Ok(params)
    }

    fn take(&mut self, place: usize, word: &str) -> Result<(), TargetError> {
        let io_max = IO_SECTORS_MAX.min(self.chunk() as i32);
        let (text, range, power_of_two) = match place {
            0 => ("Invalid chunk size; must be -1 or 2^^n and <= 16384", 8..=16384, true),
            1 => ("Invalid number of stripes: must be -1 or >= 8 and <= 16384", 8..=16384, false),
            2 => (
                "Invalid io size; must -1 or >= 8, 2^^n and less equal min(BIO_MAX_SECTORS/2, chunk size)",
                8..=io_max,
                true,
            ),
            3 => (
                "Invalid recovery io size; must be -1 or 2^^n and less equal BIO_MAX_SECTORS/2",
                64..=IO_SECTORS_MAX,
                true,
            ),
            4 => (
                "Invalid recovery bandwidth percentage; must be -1 or > 0 and <= 100",
                1..=100,
                false,
            ),
            5 => {
                self.recovery = match word {
                    "sync" => true,
                    "nosync" => false,
                    _ => {
                        let text = "Invalid recovery switch; must be \"sync\" or \"nosync\"";
                        return Err(TargetError::invalid(text));
                    }
                };
                return Ok(());
            }
            _ => ("Invalid number of recovery stripes;must be -1, > 0 and <= 64", 1..=64, false),
        };
        let value = signed(word).ok_or(TargetError::invalid(text))?;
        let fits =
            range.contains(&value) && (!power_of_two || value.unsigned_abs().is_power_of_two());
        if value != -1 && !fits {
            return Err(TargetError::invalid(text));
        }
        let value = u32::try_from(value).ok();
        match place {
            0 => self.chunk_sectors = value,
            1 => self.stripes = value,
            2 => self.io_sectors = value,
            3 => self.recovery_io_sectors = value,
            4 => self.bandwidth = value,
            _ => self.recovery_stripes = value.or(Some(1)),
        }
        Ok(())
    }
}

/// The number, and a blank before each parameter.
impl fmt::Display for Raid45Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.given)?;
        for place in 0..self.given {
            let value = match place {
                0 => self.chunk_sectors,
                1 => self.stripes,
                2 => self.io_sectors,
                3 => self.recovery_io_sectors,
                4 => self.bandwidth,
                5 => {
                    f.write_str(if self.recovery { " sync" } else { " nosync" })?;
                    continue;
                }
                _ => Some(self.recovery_stripes()),
            };
            match value {
                Some(value) => write!(f, " {value}")?,
                None => f.write_str(" -1")?,
            }
        }
        Ok(())
    }
}

/// A device and where the array begins on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raid45Device {
    /// The device.
    pub name: DeviceName,
    /// Sectors before the array's data.
    pub offset: u64,
}

impl Raid45Table {
    /// Reads the arguments of a line of `sectors` sectors.
    ///
    /// # Errors
    ///
    /// dm-raid45's sentence for the first check that fails.
    pub fn parse(
        sectors: u64,
        words: Words<'_>,
        devices: &dyn Devices,
    ) -> Result<Self, TargetError> {
        if words.len() < ARGUMENTS_MIN {
            return Err(TargetError::invalid("Not enough parameters"));
        }
        let mut words = words;
        let log_type = words.shift().unwrap_or_default();
        let log_params =
            words.shift().and_then(signed).filter(|n| (1..=LOG_PARAMS_MAX).contains(n));
        let log_params =
            log_params.ok_or(TargetError::invalid("Bad dirty log parameters number"))?;
        let log_words = words.take(log_params.unsigned_abs() as usize);
        let raid_type = words.shift().and_then(Raid45Type::parse);
        let mut raid_type = raid_type.ok_or(TargetError::invalid("Bad raid type"))?;
        let mut parity_word = None;
        if let Raid45Type::Raid4 { .. } = raid_type {
            parity_word = Some(words.shift().unwrap_or_default());
        }
        let params = Raid45Params::parse(&mut words)?;
        skip_locking(&mut words)?;
        let bad_count = TargetError::invalid("Invalid number of raid devices");
        let count = words.shift().and_then(signed).and_then(|count| usize::try_from(count).ok());
        let count = count.filter(|count| *count >= DEVICES_MIN).ok_or(bad_count)?;
        if let Some(word) = parity_word {
            let bad = TargetError::invalid("Invalid RAID4 parity device index");
            raid_type = Raid45Type::Raid4 { parity: slot_or_none(word, count).ok_or(bad)? };
        }
        let dev_to_init = words
            .shift()
            .and_then(|word| slot_or_none(word, count))
            .ok_or(TargetError::invalid("Invalid number for raid device to initialize"))?;
        if Some(words.len()) != count.checked_mul(2) {
            return Err(TargetError::invalid("Wrong number of raid device/offset arguments"));
        }
        let component = component_sectors(sectors, count - 1, params.chunk())?;
        let log = parse_log(log_type, log_words, component, devices)?;
        check_region(&log, params.chunk(), params.recovery_io())?;
        if count > MEMBERS_MAX {
            let error = TargetError::invalid("Arry too big");
            return Err(error.with(format!("{count} devices, at most {MEMBERS_MAX}")));
        }
        let devices = parse_devices(words, component, devices)?;
        let used = log.device().into_iter().chain(devices.iter().map(|device| &device.name));
        if let Some(name) = named_twice(used) {
            return Err(duplicate(name));
        }
        Ok(Self { sectors, log, raid_type, params, dev_to_init, devices })
    }

    /// Sectors of a component.
    #[must_use]
    pub fn component_sectors(&self) -> u64 {
        self.sectors / (self.devices.len() as u64 - 1)
    }

    /// The slot that holds nothing but parity, if one does.
    #[must_use]
    pub fn parity_slot(&self) -> Option<usize> {
        match self.raid_type {
            Raid45Type::Raid4 { parity } => Some(parity.unwrap_or(self.devices.len() - 1)),
            _ => None,
        }
    }
}

/// TABLE status.
impl fmt::Display for Raid45Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} ", self.log, self.raid_type.name())?;
        if let Raid45Type::Raid4 { parity } = self.raid_type {
            write!(f, "{} ", slot_or_minus(parity))?;
        }
        write!(f, "{} {} {}", self.params, self.devices.len(), slot_or_minus(self.dev_to_init))?;
        for Raid45Device { name, offset } in &self.devices {
            write!(f, " {name} {offset}")?;
        }
        Ok(())
    }
}

/// Takes `locking none`, which is what one gets without it. The words may be abbreviated.
fn skip_locking(words: &mut Words<'_>) -> Result<(), TargetError> {
    let abbreviates = |word: &str, name: &str| {
        let head = name.get(..word.len());
        !word.is_empty() && head.is_some_and(|head| head.eq_ignore_ascii_case(word))
    };
    if !words.peek(0).is_some_and(|word| abbreviates(word, "locking")) {
        return Ok(());
    }
    words.shift();
    match words.shift().unwrap_or_default() {
        word if abbreviates(word, "none") => Ok(()),
        word if abbreviates(word, "cluster") => {
            Err(TargetError::invalid(format!("locking type \"{word}\" not yet implemented")))
        }
        word => Err(TargetError::invalid(format!("unknown locking type \"{word}\""))),
    }
}

/// -1 is none.
fn slot_or_none(word: &str, count: usize) -> Option<Option<usize>> {
    match signed(word)? {
        -1 => Some(None),
        slot => usize::try_from(slot).ok().filter(|slot| *slot < count).map(Some),
    }
}

fn slot_or_minus(slot: Option<usize>) -> impl fmt::Display {
    fmt::from_fn(move |f| match slot {
        Some(slot) => write!(f, "{slot}"),
        None => f.write_str("-1"),
    })
}

/// Divides the length of a line between data devices.
pub(super) fn component_sectors(sectors: u64, data: usize, chunk: u32) -> Result<u64, TargetError> {
    let data = data as u64;
    if !sectors.is_multiple_of(data) {
        return Err(TargetError::invalid("Target length not divisible by number of data devices"));
    }
    let component = sectors / data;
    if !component.is_multiple_of(u64::from(chunk)) {
        return Err(TargetError::invalid("Device length not divisible by chunk_size"));
    }
    Ok(component)
}

/// Reads a log, with the sentence for whatever is wrong with it.
pub(super) fn parse_log(
    log_type: &str,
    params: Words<'_>,
    component: u64,
    devices: &dyn Devices,
) -> Result<LogSpec, TargetError> {
    LogSpec::parse(log_type, params, component, devices)
        .map_err(|detail| TargetError::new(Errno::NoMem, "Error creating dirty log").with(detail))
}

/// What is done at once stays within a region.
pub(super) fn check_region(log: &LogSpec, chunk: u32, recovery_io: u32) -> Result<(), TargetError> {
    if chunk > log.region_sectors {
        return Err(TargetError::invalid("Chunk size larger than region size"));
    }
    if recovery_io > log.region_sectors {
        return Err(TargetError::invalid("Recover stripe io size larger than region size"));
    }
    Ok(())
}

/// The sentence for a device in two places.
pub(super) fn duplicate(name: &DeviceName) -> TargetError {
    TargetError::new(Errno::Nxio, "Duplicate RAID device").with(format!("{name} is given twice"))
}

/// The sentence for a device that ends too early.
pub(super) fn too_small(name: &DeviceName, has: u64, needs: u64) -> TargetError {
    TargetError::invalid("Component device(s) too small")
        .with(format!("{name} has {has} sectors, {needs} are needed"))
}

fn parse_devices(
    mut words: Words<'_>,
    component: u64,
    devices: &dyn Devices,
) -> Result<Vec<Raid45Device>, TargetError> {
    let mut parsed: Vec<Raid45Device> = Vec::new();
    let mut small = None;
    while let (Some(word), Some(offset)) = (words.shift(), words.shift()) {
        let offset = unsigned(offset).filter(|offset| *offset <= component);
        let offset = offset.ok_or(TargetError::invalid("Invalid RAID device offset parameter"))?;
        let device = devices.find(word).ok_or_else(|| {
            TargetError::new(Errno::NoDev, "RAID device lookup failure").with(word)
        })?;
        if parsed.iter().any(|other| other.name == device.name) {
            return Err(duplicate(&device.name));
        }
        let needs = offset.saturating_add(component);
        if device.sectors < needs {
            small.get_or_insert_with(|| too_small(&device.name, device.sectors, needs));
        }
        parsed.push(Raid45Device { name: device.name, offset });
    }
    small.map_or(Ok(parsed), Err)
}
