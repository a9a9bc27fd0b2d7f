//! A table: lines that map one stretch of a mapped device after the other.
//!
//! ```text
//!   # comments and empty lines count for nothing
//!   0     4096 linear /dev/a 0                0        4096            102400
//!   4096 98304 raid raid5_ls 1 128 ...        | linear |     raid      |
//!   start len  target args                    each begins where the one before it ends
//! ```
//!
//! Checks of a line go in the kernel's order: format (dmsetup's), length, target, place, arguments.
//! Printed, a table is what `dmsetup table` prints, and reading that gives the table again.
//!
//! Not here: the arguments of each target; active and inactive tables, and devices made of them (`control`).

use std::collections::BTreeSet;
use std::fmt;

use super::device::{DeviceName, Devices};
use super::error::{TableError, TargetError};
use super::facts::{ArrayFacts, IoHints};
use super::raid::RaidTable;
use super::raid45::Raid45Table;
use super::raid456::Raid456Table;
use super::simple::{DelayTable, FlakeyTable, LinearTable, parse_zero};
use super::words::{Words, split, unsigned};

/// Most lines of a table: as many as a reply has room for, whatever they say.
pub const TARGETS_MAX: usize = 4096;

/// Most sectors of a device: the kernel counts its bytes as a file's (`loff_t`).
pub const SECTORS_MAX: u64 = i64::MAX as u64 / 512;

/// The targets and their versions, as `dmsetup targets` lists them.
pub const TARGETS: &[(&str, [u32; 3])] = &[
    ("flakey", [1, 5, 0]),
    ("delay", [1, 3, 0]),
    ("raid45", [1, 0, 0]),
    ("raid456", [1, 0, 0]),
    ("raid", [1, 15, 1]),
    ("zero", [1, 2, 0]),
    ("linear", [1, 4, 0]),
    ("error", [1, 6, 0]),
];

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    lines: Vec<TableLine>,
}

/// A line of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLine {
    /// First sector of the mapped device.
    pub start: u64,
    /// Sectors.
    pub sectors: u64,
    /// What is there.
    pub target: Target,
}

/// A target with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A stretch of a device.
    Linear(LinearTable),
    /// Everything fails.
    Error,
    /// Reads are zeros, writes are dropped.
    Zero,
    /// Devices, later.
    Delay(DelayTable),
    /// A device that fails now and then.
    Flakey(FlakeyTable),
    /// dm-raid.
    Raid(RaidTable),
    /// dm-raid45.
    Raid45(Raid45Table),
    /// dm-raid456.
    Raid456(Raid456Table),
}

impl Table {
    /// Reads a table, as a file or an argument of dmsetup has it.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn parse(text: &str, devices: &dyn Devices) -> Result<Self, TableError> {
        let mut lines: Vec<TableLine> = Vec::new();
        let is_line = |text: &str| !text.is_empty() && !text.starts_with('#');
        let texts = text.lines().map(str::trim_start).zip(1..).filter(|(text, _)| is_line(text));
        for (line, number) in texts {
            if lines.len() == TARGETS_MAX {
                let lines = text.lines().count();
                return Err(TableError::TooMany { lines, max: TARGETS_MAX });
            }
            let end = lines.last().map_or(0, |last| last.start + last.sectors);
            lines.push(TableLine::parse(line, number, end, devices)?);
        }
        match lines.is_empty() {
            true => Err(TableError::NoTargets),
            false => Ok(Self { lines }),
        }
    }

    /// Its lines: one at least, without gaps, from 0 on.
    #[must_use]
    pub fn lines(&self) -> &[TableLine] {
        &self.lines
    }

    /// Length of the mapped device.
    #[must_use]
    pub fn sectors(&self) -> u64 {
        self.lines.iter().map(|line| line.sectors).sum()
    }

    /// The line that a message for that sector goes to; 0 is the first.
    #[must_use]
    pub fn line_at(&self, sector: u64) -> Option<&TableLine> {
        let after = self.lines.partition_point(|line| line.start <= sector);
        let line = self.lines.get(after.checked_sub(1)?)?;
        (sector - line.start < line.sectors).then_some(line)
    }

    /// Every device that it names, once, in the order in which it does.
    #[must_use]
    pub fn devices(&self) -> Vec<&DeviceName> {
        let mut seen = BTreeSet::new();
        let devices = self.lines.iter().flat_map(|line| line.target.devices());
        devices.filter(|name| seen.insert(*name)).collect()
    }

    /// Whether it does nothing but fail, as what stands for a missing member does.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.lines.iter().all(|line| line.target == Target::Error)
    }
}

/// What `dmsetup table` prints: a line for each target.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, number) in self.lines.iter().zip(0..) {
            if number > 0 {
                f.write_str("\n")?;
            }
            line.fmt(f)?;
        }
        Ok(())
    }
}

impl TableLine {
    fn parse(text: &str, line: usize, end: u64, devices: &dyn Devices) -> Result<Self, TableError> {
        let format = || TableError::Format { line };
        let words = split(text);
        let [start, sectors, target, args @ ..] = words.as_slice() else { return Err(format()) };
        let start = unsigned(start).ok_or_else(format)?;
        let sectors = unsigned(sectors).ok_or_else(format)?;
        let line_end = start.checked_add(sectors).ok_or_else(format)?;
        if sectors == 0 {
            return Err(TableError::ZeroLength { line });
        }
        if line_end > SECTORS_MAX {
            return Err(TableError::TooLong { line, end: line_end, max: SECTORS_MAX });
        }
        let name = target.clone();
        if !TARGETS.iter().any(|(known, _)| *known == name) {
            return Err(TableError::UnknownTarget { line, target: name });
        }
        if start != end {
            return Err(TableError::Gap { line, target: name });
        }
        let target = Target::parse(&name, sectors, Words::new(args), devices)
            .map_err(|error| TableError::Target { line, target: name, error })?;
        Ok(Self { start, sectors, target })
    }
}

impl TableLine {
    /// What `dmsetup status` prints of it, with the target's INFO; nothing if it has none.
    pub fn status(&self, info: impl fmt::Display) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            let Self { start, sectors, target } = self;
            write!(f, "{start} {sectors} {} {info}", target.name())
        })
    }
}

/// `start length target` and the arguments; dmsetup prints the blank before them even if there are none.
impl fmt::Display for TableLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, sectors, target } = self;
        write!(f, "{start} {sectors} {} {target}", target.name())
    }
}

impl Target {
    fn parse(
        name: &str,
        sectors: u64,
        args: Words<'_>,
        devices: &dyn Devices,
    ) -> Result<Self, TargetError> {
        Ok(match name {
            "linear" => Self::Linear(LinearTable::parse(sectors, args, devices)?),
            "zero" => {
                parse_zero(args)?;
                Self::Zero
            }
            "delay" => Self::Delay(DelayTable::parse(sectors, args, devices)?),
            "flakey" => Self::Flakey(FlakeyTable::parse(sectors, args, devices)?),
            "raid" => Self::Raid(RaidTable::parse(sectors, args, devices)?),
            "raid45" => Self::Raid45(Raid45Table::parse(sectors, args, devices)?),
            "raid456" => Self::Raid456(Raid456Table::parse(sectors, args, devices)?),
            _ => Self::Error,
        })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Linear(_) => "linear",
            Self::Error => "error",
            Self::Zero => "zero",
            Self::Delay(_) => "delay",
            Self::Flakey(_) => "flakey",
            Self::Raid(_) => "raid",
            Self::Raid45(_) => "raid45",
            Self::Raid456(_) => "raid456",
        }
    }

    /// The devices that it names.
    #[must_use]
    pub fn devices(&self) -> Vec<&DeviceName> {
        match self {
            Self::Error | Self::Zero => Vec::new(),
            Self::Linear(table) => vec![&table.stretch.device],
            Self::Delay(table) => {
                let classes = [Some(&table.read), table.write.as_ref(), table.flush.as_ref()];
                classes.into_iter().flatten().map(|class| &class.stretch.device).collect()
            }
            Self::Flakey(table) => vec![&table.stretch.device],
            Self::Raid(table) => {
                let pairs = table.members.iter().flat_map(|member| [&member.meta, &member.data]);
                pairs.flatten().collect()
            }
            Self::Raid45(table) => {
                let devices = table.devices.iter().map(|device| &device.name);
                table.log.device().into_iter().chain(devices).collect()
            }
            Self::Raid456(table) => {
                let devices = table.members.iter().filter_map(|member| member.name.as_ref());
                table.log.device().into_iter().chain(devices).collect()
            }
        }
    }

    /// The array that it asks for, if it is one.
    #[must_use]
    pub fn array(&self) -> Option<ArrayFacts> {
        match self {
            Self::Raid(table) => Some(ArrayFacts::of_raid(table)),
            Self::Raid45(table) => Some(ArrayFacts::of_raid45(table)),
            Self::Raid456(table) => Some(ArrayFacts::of_raid456(table)),
            _ => None,
        }
    }

    /// How requests to it are best cut; `None`: as its devices want it.
    #[must_use]
    pub fn io_hints(&self) -> Option<IoHints> {
        self.array().map(|array| array.io_hints())
    }
}

/// The arguments: TABLE status.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error | Self::Zero => Ok(()),
            Self::Linear(table) => table.fmt(f),
            Self::Delay(table) => table.fmt(f),
            Self::Flakey(table) => table.fmt(f),
            Self::Raid(table) => table.fmt(f),
            Self::Raid45(table) => table.fmt(f),
            Self::Raid456(table) => table.fmt(f),
        }
    }
}
