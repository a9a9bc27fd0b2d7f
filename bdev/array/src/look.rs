//! Looking at an array: what its shards and its coordinator know, put together.
//!
//! ```text
//!   reactor 0: look --> ShardLook (and what the coordinator says) --\
//!   reactor 1: look --> ShardLook -----------------------------------+--> snapshot_of --> RaidSnapshot
//! ```
//!
//! A look is made on the shard's own reactor, by message. Whoever asks for many arrays sends one message
//! for all of them and calls [`RaidBdev::look`] there; nothing here waits for a command that is under way.
//!
//! Not here: counting (`shard`, crate `raid`).

use crate::limits::HOSTS_MAX;
use crate::raid_bdev::{Local, RaidBdev};
use crate::shard::ArrayShard;
use crate::snapshot::{MemberSnapshot, RaidSnapshot, ShardSnapshot};
use raid::coordinator::pace::Rates;
use raid::coordinator::{Action, Coordinator, LogCounters, Progress};
use raid::dirty_log::LogHealth;
use raid::event::{FailCause, WorkKind};
use raid::member::{MemberMap, MemberState};
use raid::units::Slot;
use reactor::{Cx, Latencies};

/// What one reactor knows of an array.
#[derive(Debug)]
pub struct ShardLook {
    shard: ShardSnapshot,
    /// Of the shard with the coordinator.
    seen: Option<Box<Seen>>,
}

impl RaidBdev {
    /// The array as it is now.
    #[must_use]
    pub fn snapshot(&self) -> RaidSnapshot {
        let looks = self.reactors().iter().filter_map(|reactor| {
            let key = self.key();
            reactor.call(move |cx| look(cx, key)).ok().flatten()
        });
        self.snapshot_of(looks.collect())
    }

    /// What this reactor knows of it, for those who ask it for many arrays at once. `None` if the array
    /// is stopped.
    #[must_use]
    pub fn look(&self, cx: &Cx) -> Option<ShardLook> {
        look(cx, self.key())
    }

    /// The array as its reactors see it.
    #[must_use]
    pub fn snapshot_of(&self, looks: Vec<ShardLook>) -> RaidSnapshot {
        let mut shards = Vec::with_capacity(looks.len());
        let mut state = None;
        for ShardLook { shard, seen } in looks {
            shards.push(shard);
            state = state.or(seen);
        }
        let seats = self.members();
        let state = state.unwrap_or_else(|| Box::new(Seen::stopped(seats.len())));
        let geometry = self.geometry();
        let members = (0u8..).zip(&seats).map(|(slot, member)| MemberSnapshot {
            name: member.as_ref().map(|member| member.info().name.clone()),
            uuid: member.as_ref().map(|member| member.info().uuid),
            state: state.map.state(Slot(slot)),
            read_errors: state.read_errors[usize::from(slot)],
            data_offset_bytes: geometry.data_offset_bytes(Slot(slot)),
            data_size_bytes: geometry.component_bytes(),
        });
        RaidSnapshot {
            level: geometry.level(),
            layout: geometry.layout(),
            strip_bytes: geometry.strip_bytes(),
            members: members.collect(),
            action: state.action,
            progress: state.progress,
            last_action: state.last_action,
            log_health: state.log_health,
            log: self.log_name().map(str::to_owned),
            log_believed: state.log_believed,
            log_recorded: state.log_recorded,
            superblock: state.events.is_some(),
            events: state.events.unwrap_or(0),
            waiting_for_owner: state.waiting_for_owner,
            broken: state.map.is_broken(geometry.parity_strips()),
            rates: state.rates,
            regions: state.regions,
            regions_in_sync: state.regions_in_sync,
            regions_dirty: state.regions_dirty,
            mismatched_rows: state.mismatched_rows,
            failures: state.failures,
            region_bytes: state.region_bytes,
            log_counters: state.log_counters,
            log_latencies: state.log_latencies,
            shards,
        }
    }
}

/// What the reactor of `cx` knows of the array under `key`.
fn look(cx: &Cx, key: u64) -> Option<ShardLook> {
    let local = cx.find_local::<Local>(key)?;
    let mut look = local.shard.borrow().look();
    look.shard.on_core = cx.handle().core();
    Some(look)
}

/// What shard 0 tells about the array.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) map: MemberMap,
    read_errors: Vec<u32>,
    action: Action,
    progress: Option<Progress>,
    last_action: Option<WorkKind>,
    log_health: LogHealth,
    log_believed: bool,
    events: Option<u64>,
    log_recorded: Option<String>,
    waiting_for_owner: bool,
    rates: Rates,
    regions: u64,
    regions_in_sync: u64,
    regions_dirty: u64,
    mismatched_rows: u64,
    failures: [u64; FailCause::ALL.len()],
    region_bytes: u64,
    log_counters: LogCounters,
    log_latencies: Latencies,
}

impl Seen {
    fn of(coordinator: &Coordinator, log_latencies: Latencies) -> Self {
        let (log, superblocks) = (coordinator.log(), coordinator.superblocks());
        Self {
            map: coordinator.map().clone(),
            read_errors: coordinator.read_errors().to_vec(),
            action: coordinator.action(),
            progress: coordinator.progress(),
            last_action: coordinator.last_action(),
            log_health: coordinator.log_health(),
            log_believed: coordinator.is_log_believed(),
            events: superblocks.map(|superblock| superblock.events),
            log_recorded: superblocks
                .and_then(|superblock| Some(superblock.log.as_ref()?.name.clone())),
            waiting_for_owner: coordinator.is_waiting_for_owner(),
            rates: coordinator.rates(),
            regions: log.regions(),
            regions_in_sync: log.sync_count(),
            regions_dirty: log.dirty_count(),
            mismatched_rows: coordinator.mismatched_rows(),
            failures: coordinator.failures(),
            region_bytes: coordinator.region_bytes(),
            log_counters: coordinator.log_counters(),
            log_latencies,
        }
    }

    /// Of an array that is not there any more.
    fn stopped(members: usize) -> Self {
        Self {
            map: MemberMap::new(vec![MemberState::Missing; members]),
            read_errors: vec![0; members],
            action: Action::Idle,
            progress: None,
            last_action: None,
            log_health: LogHealth::Alive,
            log_believed: true,
            events: None,
            log_recorded: None,
            waiting_for_owner: false,
            rates: Rates::default(),
            regions: 0,
            regions_in_sync: 0,
            regions_dirty: 0,
            mismatched_rows: 0,
            failures: [0; FailCause::ALL.len()],
            region_bytes: 0,
            log_counters: LogCounters::default(),
            log_latencies: Latencies::default(),
        }
    }
}

impl ArrayShard {
    fn look(&self) -> ShardLook {
        let shard = ShardSnapshot {
            on_core: 0,
            core: *self.core.counters(),
            shell: self.counters,
            host_ops: self.core.host_ops(),
            hosts: self.hosts.len(),
            full: self.core.host_ops() >= self.core.host_ops_max() || self.hosts.len() >= HOSTS_MAX,
            active: self.core.active(),
            leases: self.core.leases(),
            member_errors: self.member_errors.to_vec(),
        };
        ShardLook { shard, seen: self.see().map(Box::new) }
    }

    /// What the coordinator says, on the shard that has it.
    pub(crate) fn see(&self) -> Option<Seen> {
        let conductor = self.conductor.as_ref()?;
        Some(Seen::of(&conductor.core, conductor.log_latencies))
    }
}
