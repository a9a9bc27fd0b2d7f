//! What mapped devices tell: INFO and TABLE status from arrays as they are, and what they are made of.
//!
//! ```text
//!   RaidSnapshot --> RaidState, Raid45State --> dm::status --> "raid5_ls 4 AaAA 2056/32768 recover 0 0 -"
//! ```
//!
//! How far an action is counts by regions: what it has done, and what did not need it.
//!
//! Not here: the form of the lines (`dm::status`).

use std::sync::Arc;
use std::time::Duration;

use array::{RaidBdev, RaidSnapshot};
use device::{Bdev, LagBdev};
use raid::coordinator::Action;
use raid::event::WorkKind;
use raid::member::MemberState;
use raid::plan::WriteKind;

use super::super::Control;
use super::super::Hints;
use super::super::error::ControlError;
use super::super::registry::Registry;
use super::messages::Dials;
use super::{LiveArray, Mapped, plane};
use crate::dm::status::{
    DelayState, JournalHealth, MemberHealth, Raid45State, Raid45Statistics, RaidState, SyncAction,
};
use crate::dm::{ArrayFacts, TableLine, Target};

/// A mapped device as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedInfo {
    /// Name.
    pub name: String,
    /// Device-mapper's UUID; empty if it has none.
    pub uuid: String,
    /// Its number.
    pub minor: u32,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Whether nothing may be written to it.
    pub readonly: bool,
    /// Whether it has an active table.
    pub live: bool,
    /// Whether it has an inactive one.
    pub inactive: bool,
    /// Whether it goes when nobody uses it any more.
    pub deferred: bool,
    /// Who uses it.
    pub open_count: u32,
    /// Event number.
    pub events: u32,
    /// Types of the targets of the active table.
    pub targets: Vec<&'static str>,
    /// The bdevs of the active table, or the inactive one if there is none.
    pub devices: Vec<String>,
}

/// The targets of a device, each with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedStatus {
    /// Name.
    pub name: String,
    /// The targets.
    pub lines: Vec<TargetLine>,
    /// How requests are best cut.
    pub hints: Hints,
    /// Requests that wait.
    pub queued: u64,
    /// Longest that one has waited since the device was last suspended.
    pub queued_longest: Duration,
    /// Whether more would only wait.
    pub congested: bool,
}

/// A target and a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetLine {
    /// First sector.
    pub start: u64,
    /// Sectors.
    pub sectors: u64,
    /// Its type.
    pub target: &'static str,
    /// INFO or arguments.
    pub text: String,
}

/// A line of the active table, and its array.
struct Line {
    line: TableLine,
    array: Option<LiveArray>,
    lag: Option<Arc<LagBdev>>,
}

impl Control {
    /// The mapped devices, or the one of that name.
    ///
    /// # Errors
    ///
    /// When there is no such device.
    pub fn dm_info(&self, name: Option<&str>) -> Result<Vec<MappedInfo>, ControlError> {
        let devices = self.mapped_devices(name)?;
        let state = self.state();
        Ok(devices.iter().map(|device| self.info_of(&state.registry, device)).collect())
    }

    /// How the targets of the active tables are.
    ///
    /// # Errors
    ///
    /// When there is no such device.
    pub fn dm_status(&self, name: Option<&str>) -> Result<Vec<MappedStatus>, ControlError> {
        let devices = self.mapped_devices(name)?;
        Ok(devices.iter().map(|device| self.status(device)).collect())
    }

    /// The active tables, or the inactive ones.
    ///
    /// # Errors
    ///
    /// When there is no such device.
    pub fn dm_table(
        &self,
        name: Option<&str>,
        inactive: bool,
    ) -> Result<Vec<MappedStatus>, ControlError> {
        let devices = self.mapped_devices(name)?;
        Ok(devices.iter().map(|device| table(device, inactive)).collect())
    }

    fn status(&self, device: &Mapped) -> MappedStatus {
        let name = device.bdev.name();
        let queueing = plane::queueing(device);
        MappedStatus {
            lines: told(device),
            hints: self.io_hints(&name),
            queued: if plane::is_suspended(device) { queueing.requests } else { 0 },
            queued_longest: queueing.longest,
            congested: self.is_congested(&name),
            name,
        }
    }

    fn mapped_devices(&self, name: Option<&str>) -> Result<Vec<Arc<Mapped>>, ControlError> {
        match name {
            Some(name) => Ok(vec![self.mapped(name)?]),
            None => Ok(self.state().registry.mapped().collect()),
        }
    }

    pub(super) fn info_of(&self, registry: &Registry, device: &Mapped) -> MappedInfo {
        let name = device.bdev.name();
        let claim = registry.find(&name).and_then(|entry| entry.claim.as_ref());
        let tables = device.tables();
        let active = tables.active.as_ref();
        let table = active.map(|active| &active.table);
        let made_of = table.or(tables.inactive.as_ref().map(|inactive| &inactive.table));
        let devices = made_of.map(|table| table.devices()).unwrap_or_default();
        let lines = table.map(|table| table.lines()).unwrap_or_default();
        MappedInfo {
            uuid: tables.uuid.clone(),
            minor: device.minor,
            suspended: tables.suspended,
            readonly: tables.readonly,
            live: active.is_some(),
            inactive: tables.inactive.is_some(),
            deferred: tables.deferred,
            open_count: claim.map_or(0, |claim| claim.count()),
            events: device.event_number(),
            targets: lines.iter().map(|line| line.target.name()).collect(),
            devices: devices.into_iter().map(|name| name.as_str().to_owned()).collect(),
            name,
        }
    }
}

fn lines(device: &Mapped) -> (Vec<Line>, bool) {
    let tables = device.tables();
    let lines = tables.active.iter().flat_map(|active| {
        active.table.lines().iter().enumerate().map(|(index, line)| Line {
            line: line.clone(),
            array: active.arrays.get(&index).cloned(),
            lag: active.lags.get(&index).cloned(),
        })
    });
    (lines.collect(), tables.suspended)
}

fn told(device: &Mapped) -> Vec<TargetLine> {
    let (lines, suspended) = lines(device);
    let mut told = Vec::new();
    for Line { line, array, lag } in lines {
        let text = match (&array, lag) {
            (None, None) => String::new(),
            (None, Some(lag)) => {
                let [reads, writes, flushes] = lag.held();
                DelayState { reads, writes, flushes }.to_string()
            }
            (Some(array), _) => {
                let snapshot = array.raid.as_ref().map(|raid| raid.snapshot());
                info(&line.target, array, snapshot.as_ref(), suspended)
            }
        };
        let target = line.target.name();
        told.push(TargetLine { start: line.start, sectors: line.sectors, target, text });
    }
    told
}

fn table(device: &Mapped, inactive: bool) -> MappedStatus {
    let lines = match inactive {
        false => lines(device).0,
        true => {
            let tables = device.tables();
            let lines = tables.inactive.iter().flat_map(|inactive| inactive.table.lines());
            lines.map(|line| Line { line: line.clone(), array: None, lag: None }).collect()
        }
    };
    let told = lines.into_iter().map(|Line { line, array, .. }| TargetLine {
        start: line.start,
        sectors: line.sectors,
        target: line.target.name(),
        text: live(&line.target, array.as_ref()).to_string(),
    });
    MappedStatus {
        name: device.bdev.name(),
        lines: told.collect(),
        hints: Hints::default(),
        queued: 0,
        queued_longest: Duration::ZERO,
        congested: false,
    }
}

/// The target as it is now: raid45's device to rebuild is none once it is rebuilt.
fn live(target: &Target, array: Option<&LiveArray>) -> Target {
    let mut target = target.clone();
    if let Target::Raid45(table) = &mut target
        && let Some(slot) = table.dev_to_init
        && let Some(raid) = array.and_then(|array| array.raid.as_ref())
        && raid.snapshot().members.get(slot).is_some_and(|m| m.state == MemberState::InSync)
    {
        table.dev_to_init = None;
    }
    target
}

/// What `dmsetup status` prints behind the type of an array's target.
fn info(
    target: &Target,
    array: &LiveArray,
    snapshot: Option<&RaidSnapshot>,
    suspended: bool,
) -> String {
    let Some(snapshot) = snapshot else {
        return "not running".to_owned();
    };
    let state = raid_state(&array.facts, snapshot, suspended);
    match live(target, Some(array)) {
        Target::Raid(table) => table.info(&state).to_string(),
        Target::Raid456(table) => table.info(&state, snapshot.log_health).to_string(),
        Target::Raid45(table) => {
            let raid = array.raid.as_deref();
            let statistics = raid.filter(|_| array.dials.statistics);
            let state = Raid45State {
                failed: snapshot.members.iter().map(|member| is_lost(member.state)).collect(),
                synced_regions: snapshot.regions_in_sync,
                regions: snapshot.regions,
                log: snapshot.log_health,
                statistics: statistics.map(|raid| counted(raid, snapshot, &array.dials)),
            };
            table.info(&state).to_string()
        }
        _ => String::new(),
    }
}

fn is_lost(state: MemberState) -> bool {
    matches!(state, MemberState::Faulty | MemberState::Missing)
}

/// md's word for what goes on.
pub(super) fn sync_action(action: Action) -> SyncAction {
    match action {
        // It goes on by itself; md says of it that it is resyncing too.
        Action::Delayed(kind) => sync_action(Action::Running(kind)),
        Action::Idle => SyncAction::Idle,
        Action::Frozen => SyncAction::Frozen,
        Action::Running(WorkKind::Resync) => SyncAction::Resync,
        Action::Running(WorkKind::Rebuild) => SyncAction::Recover,
        Action::Running(WorkKind::Check) => SyncAction::Check,
        Action::Running(WorkKind::Repair) => SyncAction::Repair,
    }
}

/// An array as dm-raid's status has it.
fn raid_state(facts: &ArrayFacts, snapshot: &RaidSnapshot, suspended: bool) -> RaidState {
    let members = facts.members.iter().zip(&snapshot.members).map(|(named, member)| {
        match (named, member.state) {
            (None, _) => MemberHealth::Absent,
            (Some(_), MemberState::Faulty | MemberState::Missing) => MemberHealth::Failed,
            (Some(_), MemberState::Rebuilding) => MemberHealth::OutOfSync,
            (Some(_), MemberState::InSync) => MemberHealth::InSync,
        }
    });
    let members: Vec<_> = members.collect();
    let rebuilds = members.contains(&MemberHealth::OutOfSync);
    let unsynced = snapshot.regions_in_sync < snapshot.regions;
    let left = match (snapshot.progress, snapshot.action) {
        (Some(progress), _) => progress.total.saturating_sub(progress.done),
        // It waits, and has done nothing yet.
        (None, Action::Delayed(WorkKind::Resync)) => snapshot.regions - snapshot.regions_in_sync,
        (None, Action::Delayed(_)) => snapshot.regions,
        (None, _) => 0,
    };
    RaidState {
        component_sectors: facts.component_sectors,
        action: if suspended { SyncAction::Frozen } else { sync_action(snapshot.action) },
        done_sectors: snapshot.regions.saturating_sub(left) * facts.region_sectors,
        checkpoint: unsynced.then_some(snapshot.regions_in_sync * facts.region_sectors),
        // What is broken makes nothing right any more.
        pending: (unsynced || rebuilds) && !snapshot.broken,
        // md counts by rows of 4 KiB.
        mismatches: snapshot.mismatched_rows * 8,
        last_is_check: snapshot.last_action == Some(WorkKind::Check),
        data_offset: facts.data_offsets.first().copied().unwrap_or_default(),
        journal: JournalHealth::Absent,
        members,
    }
}

fn members_bytes(snapshot: &RaidSnapshot) -> u64 {
    snapshot.members.first().map_or(0, |member| member.data_size_bytes)
}

/// raid45's development statistics, of what there is here.
fn counted(raid: &RaidBdev, snapshot: &RaidSnapshot, dials: &Dials) -> Raid45Statistics {
    let sum = |of: fn(&array::ShardSnapshot) -> u64| snapshot.shards.iter().map(of).sum::<u64>();
    let writes =
        |of: WriteKind| snapshot.shards.iter().map(|shard| shard.core.writes_of(of)).sum::<u64>();
    let members = snapshot.members.len() as u64;
    let left = snapshot.regions - snapshot.regions_in_sync;
    Raid45Statistics {
        version: concat!("raid456 ", env!("CARGO_PKG_VERSION")).to_owned(),
        xor_function: raid.kernel().to_owned(),
        xor_chunks: dials.xor_chunks,
        bandwidth: dials.bandwidth.unwrap_or_default(),
        ios: (sum(|shard| shard.hosts as u64), sum(|shard| shard.shell.hosts_most)),
        stripes_active: (sum(|shard| shard.host_ops as u64), sum(|shard| shard.core.host_ops_most)),
        counters: vec![
            ("direct_reads", sum(|shard| shard.shell.direct_reads)),
            ("degraded_reads", sum(|shard| shard.core.degraded_reads)),
            ("full_stripe", writes(WriteKind::FullStripe)),
            ("rmw", writes(WriteKind::ReadModifyWrite)),
            ("rcw", writes(WriteKind::ReconstructWrite)),
            ("merges", sum(|shard| shard.core.merges)),
            ("conflicts", sum(|shard| shard.core.conflicts)),
        ],
        overwrite: dials.overwrite,
        stripes: dials.tuning.stripes,
        buckets: u64::from(dials.tuning.stripes.next_power_of_two()),
        cache_sectors: members * u64::from(snapshot.strip_bytes / 512),
        recovered: (snapshot.regions_in_sync, snapshot.regions_in_sync + left),
        recovery_ms: snapshot.progress.map_or(0, |progress| {
            let bytes = progress.done * (members_bytes(snapshot) / snapshot.regions.max(1));
            (bytes * 1000).checked_div(progress.speed_bytes_per_s).unwrap_or(0)
        }),
    }
}
