//! INFO status: what `dmsetup status` prints behind `<start> <length> <target>`.
//!
//! ```text
//!   raid      <type> <#devices> <health> <cur>/<total> <action> <mismatches> <data_offset> <journal>
//!   raid456   the same, then the log:                                               1 core
//!   raid45    <#devices> <device>... 2 <health> <regions in sync>/<regions> <log>
//!   delay     <reads> <writes> <flushes>, which wait
//! ```
//!
//! Health of `raid` and `raid456`, a letter for each place in the table; the first line that fits counts:
//!
//! | | |
//! |---|---|
//! | `-` | no device in the table |
//! | `D` | it has failed |
//! | `a` | a resync runs, or is due; or the member is not in sync, and no check or repair runs |
//! | `A` | it works and is in sync |
//!
//! So a resync shows every member as `a`, a rebuild only those that are rebuilt, and a check none. dm-raid
//! has a further case, a rebuild that is done while members are not marked in sync yet; here both happen
//! at once.
//!
//! `cur` and `total` are sectors of a component. While an action runs `cur` is what it has done; at rest
//! it is the checkpoint of the resync; frozen or suspended it is 0. Mismatches are sectors, and are shown
//! while the last action is a check.
//!
//! Health of `raid45`: `A` or `D`, then `p` if that device holds the parity, `i` if it is rebuilt.
//!
//! Everything here is a function of plain state. TABLE status is each table's `Display`.
//!
//! Not here: where the state comes from (`control`).

use std::fmt;

use raid::dirty_log::LogHealth;

use super::raid::RaidTable;
use super::raid45::Raid45Table;
use super::raid456::Raid456Table;

/// dm-raid's `sync_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncAction {
    /// Nothing may start.
    Frozen,
    /// The layout changes.
    Reshape,
    /// Parity is made to match the data.
    Resync,
    /// Parity is compared.
    Check,
    /// Parity is compared and made right.
    Repair,
    /// Members are rebuilt.
    Recover,
    /// Nothing.
    Idle,
}

/// Its word.
impl fmt::Display for SyncAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frozen => "frozen",
            Self::Reshape => "reshape",
            Self::Resync => "resync",
            Self::Check => "check",
            Self::Repair => "repair",
            Self::Recover => "recover",
            Self::Idle => "idle",
        })
    }
}

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberHealth {
    /// The table has none here.
    Absent,
    /// It has failed.
    Failed,
    /// It works, and is not rebuilt yet.
    OutOfSync,
    /// It works.
    InSync,
}

/// How a journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalHealth {
    /// There is none.
    Absent,
    /// It has failed.
    Failed,
    /// It works, and writes are acknowledged when they are on the members.
    WriteThrough,
    /// It works, and writes are acknowledged when they are in the journal.
    WriteBack,
}

/// What INFO status of `raid` and `raid456` is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaidState {
    /// Members by place in the table.
    pub members: Vec<MemberHealth>,
    /// Sectors of a component: whole strips.
    pub component_sectors: u64,
    /// What goes on. [`SyncAction::Frozen`] also while the device is suspended.
    pub action: SyncAction,
    /// Sectors of a component that the action has done.
    pub done_sectors: u64,
    /// How far the resync is, while none runs; `None`: it is complete.
    pub checkpoint: Option<u64>,
    /// Whether something is due that has not begun.
    pub pending: bool,
    /// Sectors that did not match at the last check.
    pub mismatches: u64,
    /// Whether the last action, or the one that goes on, is a check.
    pub last_is_check: bool,
    /// Sectors before the data on the first member.
    pub data_offset: u64,
    /// The journal.
    pub journal: JournalHealth,
}

impl RaidState {
    /// A new array of so many members, healthy and in sync.
    #[must_use]
    pub fn healthy(members: usize, component_sectors: u64) -> Self {
        Self {
            members: vec![MemberHealth::InSync; members],
            component_sectors,
            action: SyncAction::Idle,
            done_sectors: 0,
            checkpoint: None,
            pending: false,
            mismatches: 0,
            last_is_check: false,
            data_offset: 0,
            journal: JournalHealth::Absent,
        }
    }

    /// The part of a component that is done.
    #[must_use]
    pub fn progress(&self) -> u64 {
        let done = match self.action {
            SyncAction::Frozen => 0,
            SyncAction::Idle => self.checkpoint.unwrap_or(self.component_sectors),
            _ => self.done_sectors,
        };
        done.min(self.component_sectors)
    }

    /// The letter of a member.
    #[must_use]
    pub fn letter(&self, member: MemberHealth) -> char {
        let resyncing = match self.action {
            SyncAction::Resync | SyncAction::Reshape => true,
            SyncAction::Idle => self.pending && self.progress() < self.component_sectors,
            _ => false,
        };
        let compares = matches!(self.action, SyncAction::Check | SyncAction::Repair);
        match member {
            MemberHealth::Absent => '-',
            MemberHealth::Failed => 'D',
            _ if resyncing => 'a',
            MemberHealth::OutOfSync if !compares => 'a',
            MemberHealth::OutOfSync | MemberHealth::InSync => 'A',
        }
    }

    /// What `dmsetup status` prints, for an array of dm-raid's type `raid_type`.
    pub fn info(&self, raid_type: &str) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            write!(f, "{raid_type} {} ", self.members.len())?;
            for member in &self.members {
                write!(f, "{}", self.letter(*member))?;
            }
            let (done, total) = (self.progress(), self.component_sectors);
            let mismatches = if self.last_is_check { self.mismatches } else { 0 };
            let journal = match self.journal {
                JournalHealth::Absent => '-',
                JournalHealth::Failed => 'D',
                JournalHealth::WriteThrough => 'A',
                JournalHealth::WriteBack => 'a',
            };
            let Self { action, data_offset, .. } = self;
            write!(f, " {done}/{total} {action} {mismatches} {data_offset} {journal}")
        })
    }
}

impl RaidTable {
    /// INFO status.
    pub fn info(&self, state: &RaidState) -> impl fmt::Display {
        state.info(self.type_name())
    }
}

impl Raid456Table {
    /// INFO status.
    pub fn info(&self, state: &RaidState, log: LogHealth) -> impl fmt::Display {
        let raid_type = self.layout.dm_type(self.level).unwrap_or_default();
        fmt::from_fn(move |f| write!(f, "{} {}", state.info(raid_type), self.log.info(log)))
    }
}

/// What INFO status of `raid45` is made from, besides its table, whose `dev_to_init` is the live one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raid45State {
    /// Whether a device has failed, by slot.
    pub failed: Vec<bool>,
    /// Regions in sync.
    pub synced_regions: u64,
    /// Regions.
    pub regions: u64,
    /// The log's device.
    pub log: LogHealth,
    /// The development statistics, while they are switched on.
    pub statistics: Option<Raid45Statistics>,
}

/// What raid45 counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Raid45Statistics {
    /// Our name and version.
    pub version: String,
    /// How it xors.
    pub xor_function: String,
    /// Chunks that it xors at a time.
    pub xor_chunks: u32,
    /// Percent of the bandwidth for recovery.
    pub bandwidth: u32,
    /// Requests that are under way, and most of them at a time.
    pub ios: (u64, u64),
    /// Stripes that are in use, and most of them at a time.
    pub stripes_active: (u64, u64),
    /// Counters by name.
    pub counters: Vec<(&'static str, u64)>,
    /// Whether whole-chunk writes are recognised.
    pub overwrite: bool,
    /// Stripes of the cache.
    pub stripes: u32,
    /// Buckets of its hash.
    pub buckets: u64,
    /// Sectors that it takes in memory.
    pub cache_sectors: u64,
    /// Regions that were recovered, and those that there were to recover.
    pub recovered: (u64, u64),
    /// How long that has taken.
    pub recovery_ms: u64,
}

impl Raid45Statistics {
    fn dump(&self, table: &Raid45Table, regions: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let params = &table.params;
        let bandwidth = self.bandwidth;
        writeln!(f, "{} {}={} bw={bandwidth}", self.version, self.xor_function, self.xor_chunks)?;
        writeln!(f, "act_ios={} act_ios_max={}", self.ios.0, self.ios.1)?;
        let (active, most) = self.stripes_active;
        writeln!(f, "act_stripes={active} act_stripes_max={most}")?;
        for (name, count) in &self.counters {
            write!(f, "{name}={count} ")?;
        }
        writeln!(f, "checkovr={}", if self.overwrite { "on" } else { "off" })?;
        let (chunk, io, recovery_io) = (params.chunk(), params.io(), params.recovery_io());
        let recovery_stripes = params.recovery_stripes();
        write!(f, "sc={chunk}/{}/{io}/{recovery_stripes}/{recovery_io}/", self.stripes)?;
        writeln!(f, "{}/{}", self.buckets, self.cache_sectors)?;
        let (done, due) = self.recovered;
        let (s, hundredths) = (self.recovery_ms / 1000, self.recovery_ms % 1000 / 10);
        writeln!(f, "rg={done}/{due}/{regions}/{bandwidth} {s}.{hundredths:02}")
    }
}

impl Raid45Table {
    /// INFO status.
    pub fn info(&self, state: &Raid45State) -> impl fmt::Display {
        fmt::from_fn(move |f| {
            if let Some(statistics) = &state.statistics {
                statistics.dump(self, state.regions, f)?;
            }
            write!(f, "{} ", self.devices.len())?;
            for device in &self.devices {
                write!(f, "{} ", device.name)?;
            }
            f.write_str("2 ")?;
            for slot in 0..self.devices.len() {
                let failed = state.failed.get(slot).copied().unwrap_or_default();
                f.write_str(if failed { "D" } else { "A" })?;
                if self.parity_slot() == Some(slot) {
                    f.write_str("p")?;
                }
                if self.dev_to_init == Some(slot) {
                    f.write_str("i")?;
                }
            }
            let Raid45State { synced_regions, regions, log, .. } = state;
            write!(f, " {synced_regions}/{regions} {}", self.log.info(*log))
        })
    }
}

/// What INFO status of `delay` is made from: requests that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DelayState {
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
}

/// INFO status.
impl fmt::Display for DelayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.reads, self.writes, self.flushes)
    }
}
