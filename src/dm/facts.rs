//! What a table of an array says, in one form for all three targets: what control makes an array from.
//!
//! ```text
//!   raid     members as pairs       metadata: superblocks            --+
//!   raid45   members with offsets   a dirty log, dev_to_init         --+--> ArrayFacts
//!   raid456  members with offsets   a dirty log, `-`, rebuild        --+
//! ```
//!
//! | | parity at the start |
//! |---|---|
//! | [`Start::Resync`] | is made anew: `sync`; a log in memory; no metadata device and nothing else said |
//! | [`Start::InSync`] | is right: `nosync`; members to rebuild and nothing recorded |
//! | [`Start::Recorded`] | is what superblocks or the log on a device say; where they say nothing, it is made anew |
//!
//! That is what the documentation of dm-raid says, not what its newer versions do (linux-raid.md, 2.9):
//! they take an array without metadata to be in sync, and `sync` for nothing.
//!
//! Not here: whether the members are there and fit (`control`, `array`).

use std::collections::BTreeSet;

use raid::dirty_log::SyncOption;
use raid::layout::{Layout, Level};

use super::device::DeviceName;
use super::log::{LogPlace, LogSpec};
use super::raid::RaidTable;
use super::raid45::Raid45Table;
use super::raid456::Raid456Table;

const SECTOR_BYTES: u64 = 512;

/// Whether parity is right when an array starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It is made anew.
    Resync,
    /// It is right.
    InSync,
    /// As recorded; new arrays: it is made anew.
    Recorded,
}

/// An array as a table asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayFacts {
    /// Level.
    pub level: Level,
    /// Layout, a layout of that level.
    pub layout: Layout,
    /// Bytes of a strip.
    pub strip_bytes: u32,
    /// Members by slot; `None` where one is missing.
    pub members: Vec<Option<DeviceName>>,
    /// Their metadata devices by slot: target `raid` only.
    pub metadata: Vec<Option<DeviceName>>,
    /// Sectors before the array's data, by slot.
    pub data_offsets: Vec<u64>,
    /// Sectors of each member that are used: whole strips.
    pub component_sectors: u64,
    /// Length of the line.
    pub line_sectors: u64,
    /// Sectors of a region.
    pub region_sectors: u64,
    /// The dirty log: targets `raid45` and `raid456`.
    pub log: Option<LogSpec>,
    /// Whether parity is right.
    pub start: Start,
    /// Whether recovery runs at all: raid45's recovery switch.
    pub recovery: bool,
    /// Members that are made anew.
    pub rebuild: BTreeSet<usize>,
    /// KiB/s on each member that recovery takes in any case.
    pub min_recovery_rate: Option<u32>,
    /// KiB/s on each member that recovery never exceeds.
    pub max_recovery_rate: Option<u32>,
    /// Percent of what hosts do that recovery may take: raid45.
    pub bandwidth_percent: Option<u32>,
    /// Stripes of the cache.
    pub stripes: Option<u32>,
    /// Milliseconds for which a mark stays after the last write.
    pub daemon_sleep_ms: Option<u32>,
    /// Requests do not cross multiples of this: raid45's io_size, a chunk elsewhere.
    pub io_boundary_sectors: u32,
    /// Whether writes wait for `allow_writes` after a member has failed: raid45.
    pub writes_wait_after_failure: bool,
}

/// How requests are best cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoHints {
    /// Least that is not wasteful: a strip.
    pub min_bytes: u32,
    /// Best: a stripe.
    pub optimal_bytes: u64,
    /// Requests do not cross multiples of this.
    pub boundary_sectors: u32,
}

impl ArrayFacts {
    pub(super) fn of_raid(table: &RaidTable) -> Self {
        let start = match (table.sync, table.has_metadata()) {
            (SyncOption::Sync, _) => Start::Resync,
            (SyncOption::NoSync, _) => Start::InSync,
            (SyncOption::Default, true) => Start::Recorded,
            (SyncOption::Default, false) if table.rebuild.is_empty() => Start::Resync,
            (SyncOption::Default, false) => Start::InSync,
        };
        let component = whole_strips(table.component_sectors(), table.chunk_sectors);
        Self {
            members: table.members.iter().map(|member| member.data.clone()).collect(),
            metadata: table.members.iter().map(|member| member.meta.clone()).collect(),
            data_offsets: vec![0; table.members.len()],
            region_sectors: table.region_sectors(),
            log: None,
            rebuild: table.rebuild.clone(),
            min_recovery_rate: table.min_recovery_rate,
            max_recovery_rate: table.max_recovery_rate,
            stripes: table.stripe_cache,
            daemon_sleep_ms: table.daemon_sleep,
            ..Self::bare(
                table.level,
                table.layout,
                table.chunk_sectors,
                component,
                table.sectors,
                start,
            )
        }
    }

    pub(super) fn of_raid45(table: &Raid45Table) -> Self {
        let (level, layout) = table.raid_type.level_and_layout(table.devices.len());
        let component = table.component_sectors();
        let start = start_of_log(&table.log, table.dev_to_init.is_some());
        Self {
            members: table.devices.iter().map(|device| Some(device.name.clone())).collect(),
            metadata: vec![None; table.devices.len()],
            data_offsets: table.devices.iter().map(|device| device.offset).collect(),
            region_sectors: u64::from(table.log.region_sectors),
            log: Some(table.log.clone()),
            recovery: table.params.recovery,
            rebuild: table.dev_to_init.into_iter().collect(),
            bandwidth_percent: Some(table.params.bandwidth()),
            stripes: Some(table.params.stripes()),
            io_boundary_sectors: table.params.io(),
            writes_wait_after_failure: true,
            ..Self::bare(level, layout, table.params.chunk(), component, table.sectors, start)
        }
    }

    pub(super) fn of_raid456(table: &Raid456Table) -> Self {
        let component = table.component_sectors();
        let start = start_of_log(&table.log, !table.rebuild.is_empty());
        Self {
            members: table.members.iter().map(|member| member.live().cloned()).collect(),
            metadata: vec![None; table.members.len()],
            data_offsets: table.members.iter().map(|member| member.offset).collect(),
            region_sectors: u64::from(table.log.region_sectors),
            log: Some(table.log.clone()),
            rebuild: table.rebuild.clone(),
            min_recovery_rate: table.min_recovery_rate,
            max_recovery_rate: table.max_recovery_rate,
            ..Self::bare(
                table.level,
                table.layout,
                table.chunk_sectors,
                component,
                table.sectors,
                start,
            )
        }
    }

    /// An array without members, of which nothing is said.
    fn bare(
        level: Level,
        layout: Layout,
        chunk: u32,
        component_sectors: u64,
        line_sectors: u64,
        start: Start,
    ) -> Self {
        Self {
            level,
            layout,
            strip_bytes: chunk * SECTOR_BYTES as u32,
            members: Vec::new(),
            metadata: Vec::new(),
            data_offsets: Vec::new(),
            component_sectors,
            line_sectors,
            region_sectors: 0,
            log: None,
            start,
            recovery: true,
            rebuild: BTreeSet::new(),
            min_recovery_rate: None,
            max_recovery_rate: None,
            bandwidth_percent: None,
            stripes: None,
            daemon_sleep_ms: None,
            io_boundary_sectors: chunk,
            writes_wait_after_failure: false,
        }
    }

    /// Members that hold data in each stripe.
    #[must_use]
    pub fn data_members(&self) -> usize {
        self.members.len() - self.level.parity_count()
    }

    /// Sectors of the array: whole stripes, so at most the length of the line.
    #[must_use]
    pub fn array_sectors(&self) -> u64 {
        self.component_sectors * self.data_members() as u64
    }

    /// How requests are best cut. dm-raid45 gives sectors where bytes are asked for; these are bytes.
    #[must_use]
    pub fn io_hints(&self) -> IoHints {
        IoHints {
            min_bytes: self.strip_bytes,
            optimal_bytes: u64::from(self.strip_bytes) * self.data_members() as u64,
            boundary_sectors: self.io_boundary_sectors,
        }
    }
}

/// A log in memory remembers nothing, but who rebuilds a member must take the others' word for it.
fn start_of_log(log: &LogSpec, rebuilds: bool) -> Start {
    match (log.sync, &log.place) {
        (SyncOption::Sync, _) => Start::Resync,
        (SyncOption::NoSync, _) => Start::InSync,
        (SyncOption::Default, LogPlace::Disk { .. }) => Start::Recorded,
        (SyncOption::Default, LogPlace::Core) if rebuilds => Start::InSync,
        (SyncOption::Default, LogPlace::Core) => Start::Resync,
    }
}

fn whole_strips(sectors: u64, chunk: u32) -> u64 {
    sectors - sectors % u64::from(chunk)
}
