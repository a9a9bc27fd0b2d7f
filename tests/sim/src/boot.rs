//! Starting an array: from what is on the devices, with the production code's decisions.
//!
//! ```text
//!   superblocks --decode_pair--> assemble --> log's device --Loader--> start --> shards, coordinator
//!   the owner's notes ----------------------> log's device -----------^          (arrays of a table)
//! ```
//!
//! Invariants judged here: **R7**, a refusal has to be right and a start has to be allowed.
//!
//! Not here: what becomes of the array then (`run`).

use crate::images;
use crate::make::ARRAY_UUID;
use crate::oracle;
use crate::plant::Plant;
use crate::swarm::{LogAtStart, Permits, Swarm};
use crate::trace;
use crate::world::Happening;
use crate::world::{Life, Reactor, SECOND_NS, World};
use raid::assemble::{
    self, Assembly, Candidate, Footing, LogAtHand, LogFound, Patience, Seat, Start,
};
use raid::bitmap::Bitmap;
use raid::coordinator::pace::Rates;
use raid::coordinator::{Coordinator, CoordinatorSpec, Input, Permit, Policy};
use raid::dirty_log::{
    DirtyLog, DiskArea, Found, Initially, Loader, LogHealth, Regions, SyncOption,
};
use raid::event::Actions;
use raid::geometry::Geometry;
use raid::limits::STRIPE_OPS_MAX;
use raid::member::{MemberMap, MemberState};
use raid::shard::{Shard, ShardPlace, Writes};
use raid::superblock::{self, IN_SYNC_EVERYWHERE, MemberRecordState, Shutdown, Superblock};
use raid::units::{Slot, SlotSet, StripeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What a start is made from.
struct Plan {
    log: DirtyLog,
    map: MemberMap,
    stale: Bitmap,
    device_of: Vec<Option<usize>>,
    superblock: Option<Superblock>,
    /// Regions of which nothing is promised any more: the operator insisted.
    weak: Vec<u64>,
    /// Slots that parity may stand for where it is not in sync.
    vouched: SlotSet,
}

/// Why an array did not start.
#[derive(Debug)]
enum Refused {
    /// Too little is there.
    TooFew,
    /// It is dirty and degraded (R7).
    Dirty,
    /// Its log is gone, and it blocks without.
    LogGone,
    /// Its log is another array's.
    LogForeign,
}

impl World {
    /// Starts the array. `false` when it may not start, and that is right.
    pub fn boot(&mut self) -> bool {
        let own = self.swap_log();
        let plan = match self.try_plan(false) {
            Ok(plan) => plan,
            Err(refused) => {
                self.judge_refusal(&refused);
                // Perhaps what is missing can be found.
                for disk in &mut self.disks {
                    disk.present = true;
                }
                let force = self.swarm.force;
                if !force || matches!(refused, Refused::LogForeign) {
                    self.log_at_start = LogAtStart::Itself;
                    self.log_disk.preset(0, &own);
                }
                match self.try_plan(force) {
                    Ok(plan) => plan,
                    Err(refused) => {
                        self.judge_refusal(&refused);
                        // The next start looks again.
                        self.log_at_start = LogAtStart::Itself;
                        self.log_disk.preset(0, &own);
                        return false;
                    }
                }
            }
        };
        self.begin(plan);
        true
    }

    /// What this start finds of the log, and what was on its device.
    fn swap_log(&mut self) -> Vec<u8> {
        let len = self.log_area().area_bytes();
        let own = self.log_disk.current(0, usize::try_from(len).expect("small")).to_vec();
        let has_log = self.swarm.superblocks && self.swarm.log_on_disk && self.faults_on;
        let swaps = if has_log { self.swarm.log_swaps } else { 0 };
        let regions = self.regions.count();
        self.log_at_start = match LogAtStart::draw(&mut self.later_prng, swaps, regions) {
            LogAtStart::Missing if self.swarm.log_unreadable => LogAtStart::Unreadable,
            drawn => drawn,
        };
        self.stats.log_swaps += u64::from(self.log_at_start != LogAtStart::Itself);
        let mut image = vec![0; own.len()];
        match self.log_at_start {
            LogAtStart::Itself | LogAtStart::Missing | LogAtStart::Unreadable => {}
            LogAtStart::Blank => {
                // No header, and what would call every region clean if there were one.
                image.fill(0xff);
                self.log_disk.preset(0, &image);
            }
            LogAtStart::Foreign(regions) => {
                let area = DiskArea::new(self.swarm.log_block_bytes, regions);
                let log = DirtyLog::load(None, area, SyncOption::NoSync).log;
                let mut other = vec![0; usize::try_from(area.area_bytes()).expect("small")];
                log.copy_out(0, &mut other);
                let len = image.len().min(other.len());
                image[..len].copy_from_slice(&other[..len]);
                self.log_disk.preset(0, &image);
            }
        }
        trace!(self, "log: {:?}", self.log_at_start);
        own
    }

    fn try_plan(&mut self, force: bool) -> Result<Plan, Refused> {
        let plan = match self.swarm.superblocks {
            true => self.plan_from_superblocks(force),
            false => self.plan_from_notes(force),
        };
        trace!(
            self,
            "start{}: {:?}",
            if force { " by force" } else { "" },
            plan.as_ref().map(|p| &p.map)
        );
        plan
    }

    fn judge_refusal(&mut self, refused: &Refused) {
        trace!(self, "refused: {refused:?}");
        self.stats.refusals += 1;
        let is_foreign = matches!(self.log_at_start, LogAtStart::Foreign(_));
        let too_few = matches!(refused, Refused::TooFew);
        let right = matches!(refused, Refused::LogForeign) == is_foreign || too_few;
        assert!(right, "R7: {refused:?} with {:?}", self.log_at_start);
        assert!(!too_few || !self.is_enough_there(), "R8: members that were never out are refused");
        let lost = self.stats.failures + self.stats.log_errors + self.stats.log_swaps;
        if self.swarm.lost_max == 0 && lost == 0 {
            panic!("R7: {refused:?}, but nothing was ever lost");
        }
    }

    /// Nobody is left out who is there, whom the newest superblock calls in sync, and who was never out.
    fn judge_seats(&self, assembly: &Assembly) {
        for (slot, (seat, record)) in
            assembly.seats.iter().zip(&assembly.superblock.members).enumerate()
        {
            let device = self.uuids.iter().position(|uuid| *uuid == record.member_uuid);
            let (Seat::Empty { .. }, Some(device)) = (seat, device) else { continue };
            let left_out = record.state == MemberRecordState::InSync
                && self.disks[device].present
                && !self.life.out.contains(&device);
            assert!(!left_out, "R8: device {device} is left out of slot {slot}: {seat:?}");
        }
    }

    /// Whether members are there that the newest superblock calls in sync and that were never out, as many as
    /// an array needs, whatever their own superblocks have come to.
    fn is_enough_there(&self) -> bool {
        let there = || (0..self.disks.len()).filter(|&device| self.disks[device].present);
        let found = there().filter_map(|device| self.read_superblock(device));
        let Some(newest) = found.max_by_key(|superblock| superblock.events) else { return false };
        let good = there().filter(|&device| {
            let record = newest.members.iter().find(|m| m.member_uuid == self.uuids[device]);
            record.is_some_and(|record| record.state == MemberRecordState::InSync)
                && !self.life.out.contains(&device)
        });
        good.count() + self.geometry.parity_strips() >= self.swarm.members
    }

    /// Where the log lies on its device.
    pub(crate) fn log_area(&self) -> DiskArea {
        DiskArea::new(self.swarm.log_block_bytes, self.regions.count())
    }

    /// What may not match does not stand for data that is missing, unless an operator insists (R7).
    fn judge_degraded(&self, assembly: &Assembly, start: &Start, dirty: u64) {
        let (missing, superblock) = (assembly.missing(), &assembly.superblock);
        let is_lost = |stripe, strip| missing.contains(self.slot_of(stripe, strip));
        let mut stripes = (0..self.geometry.stripes()).map(StripeId);
        let data_is_lost = stripes.any(|stripe| (0..self.strips()).any(|s| is_lost(stripe, s)));
        let stopped = superblock.shutdown == Shutdown::Clean;
        let right = match start {
            Start::Trusted { .. } => {
                dirty == 0 || stopped && superblock.in_sync_to_bytes == IN_SYNC_EVERYWHERE
            }
            _ => stopped && superblock.fresh,
        };
        assert!(
            !data_is_lost || right,
            "R7: {start:?} with {dirty} regions dirty, {missing:?} missing, fresh {}",
            superblock.fresh
        );
    }

    /// What the newest superblock says of the log.
    fn log_health_on_record(&self) -> Option<superblock::LogHealth> {
        let there = (0..self.disks.len()).filter(|&device| self.disks[device].present);
        let found = there.filter_map(|device| self.read_superblock(device));
        let newest = found.max_by_key(|superblock| superblock.events)?;
        newest.log.map(|log| log.health)
    }

    fn load_log(&self) -> (DirtyLog, Found) {
        let area = self.log_area();
        let mut loader = Loader::new(area, SyncOption::Default);
        if self.log_at_start != LogAtStart::Unreadable {
            let len = usize::try_from(area.area_bytes()).expect("small");
            loader.feed(self.log_disk.current(0, len));
        }
        let loaded = loader.finish();
        (loaded.log, loaded.found)
    }

    fn plan_from_superblocks(&mut self, force: bool) -> Result<Plan, Refused> {
        let mut candidates = Vec::new();
        let mut devices = Vec::new();
        for device in (0..self.disks.len()).filter(|&device| self.disks[device].present) {
            let Some(mut found) = self.read_superblock(device) else { continue };
            if let (Plant::LogTrustedEarly, Some(log)) = (self.plant, &mut found.log) {
                log.health = superblock::LogHealth::Alive;
            }
            candidates.push(Candidate { name: format!("d{device}"), size_bytes: u64::MAX, found });
            devices.push(device);
        }
        if self.plant == Plant::StaleMember {
            let most = candidates.iter().map(|c| c.found.events).max().unwrap_or(0);
            if let Some(freshest) = candidates.iter().find(|c| c.found.events == most).cloned() {
                for candidate in &mut candidates {
                    let (uuid, slot) = (candidate.found.member_uuid, candidate.found.slot);
                    candidate.found = freshest.found.carried_by(uuid, slot);
                    for member in &mut candidate.found.members {
                        member.state = MemberRecordState::InSync;
                    }
                }
            }
        }
        let patience = if force { Patience::Force } else { Patience::Degraded };
        let assembly = match assemble::assemble(ARRAY_UUID, &candidates, patience) {
            Ok(assemble::Verdict::Ready(assembly)) => *assembly,
            Ok(verdict) => panic!("assembly with patience {patience:?} says {verdict:?}"),
            Err(assemble::Refusal::TooFewMembers { .. }) => return Err(Refused::TooFew),
            Err(refusal) => panic!("R8: assembly refuses: {refusal}"),
        };
        self.judge_seats(&assembly);
        let health = self.log_health_on_record();
        let (log, found) = match &assembly.superblock.log {
            None => (DirtyLog::new(self.regions.count(), Initially::OutOfSync), LogFound::Memory),
            Some(_) if self.log_at_start == LogAtStart::Missing => {
                (DirtyLog::new(self.regions.count(), Initially::OutOfSync), LogFound::Missing)
            }
            Some(_) => match self.load_log() {
                (log, Found::Existing { regions }) => {
                    let dirty = log.dirty_count();
                    (log, LogFound::Loaded { dirty, regions })
                }
                (log, Found::Fresh) => (log, LogFound::Blank),
                (log, Found::BadVersion { .. } | Found::ReadError) => (log, LogFound::Unreadable),
            },
        };
        let insist = force || self.plant == Plant::StartDirtyDegraded;
        let start = match assemble::start(&assembly, found, insist) {
            Ok(start) => start,
            Err(assemble::StartRefusal::DirtyDegraded { .. }) => return Err(Refused::Dirty),
            Err(assemble::StartRefusal::LogGone { .. }) => return Err(Refused::LogGone),
            Err(assemble::StartRefusal::LogMismatch { .. }) => return Err(Refused::LogForeign),
        };
        if !force {
            let usable = health == Some(superblock::LogHealth::Alive);
            let dirty = match found {
                LogFound::Loaded { dirty, .. } if usable => dirty,
                _ => self.regions.count(),
            };
            self.judge_degraded(&assembly, &start, dirty);
        }
        Ok(self.plan_of(&assembly, &start, log, &devices, force))
    }

    fn plan_of(
        &mut self,
        assembly: &Assembly,
        start: &Start,
        log: DirtyLog,
        devices: &[usize],
        force: bool,
    ) -> Plan {
        trace!(self, "assembled, {start:?}");
        let regions = self.regions.count();
        let superblock = assembly.superblock.clone();
        let is_usable = superblock.log.is_some()
            && !matches!(self.log_at_start, LogAtStart::Missing | LogAtStart::Unreadable);
        let area = is_usable.then(|| self.log_area());
        let weak = match start {
            Start::Trusted { forced: true, log_failed } if force => {
                (0..regions).filter(|&region| *log_failed || !log.in_sync(region)).collect()
            }
            _ => Vec::new(),
        };
        let at_hand = LogAtHand { found: superblock.log.is_some().then_some(log), area };
        let Footing { log, map, stale, vouched } =
            assemble::footing(assembly, *start, at_hand, self.regions, false);
        let device = |seat: &Seat| match *seat {
            Seat::Taken { candidate, .. } => Some(devices[candidate]),
            Seat::Empty { .. } => None,
        };
        let device_of = assembly.seats.iter().map(device).collect();
        Plan { log, map, stale, device_of, superblock: Some(superblock), weak, vouched }
    }

    fn plan_from_notes(&mut self, force: bool) -> Result<Plan, Refused> {
        let regions = self.regions.count();
        let mut states = Vec::new();
        let mut device_of = Vec::new();
        for note in &mut self.notes {
            let present = self.disks[note.device].present;
            note.in_sync &= present;
            note.rebuild &= present;
            states.push(match (note.in_sync, note.rebuild) {
                (true, _) => MemberState::InSync,
                (false, true) => MemberState::Rebuilding,
                (false, false) => MemberState::Missing,
            });
            device_of.push((note.in_sync || note.rebuild).then_some(note.device));
        }
        let map = MemberMap::new(states);
        let lost = map.missing().union(map.rebuilding());
        if lost.len() > self.geometry.parity_strips() {
            return Err(Refused::TooFew);
        }
        let stopped = self.noted_stop == Some(true);
        let anew = |option| DirtyLog::load(None, self.log_area(), option).log;
        let mut log = match (self.swarm.log_on_disk, self.noted_log_failed) {
            // Whatever became of the log.
            (true, _) if stopped && lost.is_empty() => anew(SyncOption::NoSync),
            (true, false) => self.load_log().0,
            // The owner begins a new log.
            (true, true) => anew(SyncOption::Sync),
            (false, _) if stopped => DirtyLog::new(regions, Initially::InSync),
            (false, _) => DirtyLog::new(regions, Initially::OutOfSync),
        };
        let mut weak = Vec::new();
        if !lost.is_empty() {
            let doubtful: Vec<u64> = (0..regions).filter(|&r| !log.in_sync(r)).collect();
            let insist = force || self.plant == Plant::StartDirtyDegraded;
            if !doubtful.is_empty() && !stopped && !insist {
                return Err(Refused::Dirty);
            }
            let is_dirty = !doubtful.is_empty() && !stopped && !force;
            assert!(
                !is_dirty,
                "R7: {doubtful:?} are dirty, {lost:?} is lost, and the array starts"
            );
            if !stopped && force {
                weak = doubtful;
            }
            if weak.is_empty() {
                log.assume_in_sync();
            }
        }
        let stale = Bitmap::new(regions, !map.rebuilding().is_empty());
        let vouched = if weak.is_empty() { SlotSet::empty() } else { lost };
        Ok(Plan { log, map, stale, device_of, superblock: None, weak, vouched })
    }

    fn permit_of_start(&mut self) -> Permit {
        let withheld = match self.permits {
            _ if !self.faults_on => false,
            Permits::Always => false,
            Permits::Changing(_) => self.permit_prng.one_in(2),
            Permits::Late => true,
        };
        if withheld { Permit::Withheld } else { Permit::Granted }
    }

    /// What is true from now on: who is where, what is trusted, and of what nothing is promised.
    fn note_truth(&mut self, plan: &Plan) {
        for (slot, device) in (0u8..).map(Slot).zip(&plan.device_of) {
            if let Some(device) = device {
                self.truth.home[*device] = Some(slot);
            }
        }
        for region in 0..plan.log.regions() {
            let at = usize::try_from(region).expect("few");
            self.truth.trusted[at] = plan.log.in_sync(region);
        }
        for &region in &plan.weak {
            let at = usize::try_from(region).expect("few");
            // What the core calls in sync is held to it.
            self.truth.weak[at] = !self.truth.trusted[at];
            images::give_up(self, region);
        }
    }

    /// A new life.
    fn begin(&mut self, mut plan: Plan) {
        if self.plant == Plant::ForcedInSync && !plan.weak.is_empty() {
            plan.log.assume_in_sync();
        }
        self.stats.starts += 1;
        self.stats.forced += u64::from(!plan.weak.is_empty());
        self.stats.regions += plan.log.regions();
        self.stats.resynced += plan.log.regions() - plan.log.sync_count();
        let expect_sync = match plan.map.is_optimal() {
            true => self.stopped_in_sync,
            false => self.stopped_degraded_in_sync,
        };
        assert!(
            !expect_sync || plan.log.sync_count() == plan.log.regions(),
            "a stop in order leaves {} of {} regions to resync",
            plan.log.regions() - plan.log.sync_count(),
            plan.log.regions()
        );
        self.stopped_in_sync = false;
        self.stopped_degraded_in_sync = false;
        self.noted_stop = None;
        let mut life = Life::empty(&self.swarm, &self.geometry, self.regions);
        life.device_of = plan.device_of.clone();
        life.out = (0..self.disks.len()).filter(|d| !plan.device_of.contains(&Some(*d))).collect();
        let in_sync = plan.log.in_sync_bits().clone();
        let host_ops_max = match self.plant {
            Plant::StripeCacheForgotten => STRIPE_OPS_MAX,
            _ => self.swarm.host_ops_max,
        };
        let vouched = plan.vouched;
        let Self { swarm, geometry, regions, .. } = &*self;
        life.reactors =
            reactors(swarm, geometry, *regions, &plan.map, &in_sync, vouched, host_ops_max);
        for reactor in &mut life.reactors {
            let mut out = Actions::new();
            let stale = Some(plan.stale.clone());
            let map = plan.map.clone();
            reactor.core.resume(map, stale, Writes::Allowed, self.now_ns, &mut out);
            assert!(out.is_empty(), "a new shard has nothing to do");
        }
        self.note_truth(&plan);
        let area = plan.log.area().is_some();
        let Plan { log, map, stale, superblock, .. } = plan;
        let spec = spec(&self.swarm, &self.geometry, self.regions, log, map, stale);
        life.permit = self.permit_of_start();
        let permit = life.permit;
        life.coordinator =
            Coordinator::new(CoordinatorSpec { superblock, vouched, permit, ..spec });
        life.clean =
            (0..self.regions.count()).map(|r| life.coordinator.log().is_clean(r)).collect();
        life.log_used = area;
        self.life = life;
        for region in 0..self.regions.count() {
            if self.truth.trusted[usize::try_from(region).expect("few")] {
                images::parity_is_right(self, region, false, "R7: a region is in sync at a start");
            }
        }
        self.schedule(self.now_ns, Happening::Input(Input::Start));
        self.schedule(self.now_ns + SECOND_NS, Happening::Tick);
        if !self.life.coordinator.map().missing().is_empty() {
            self.want_repair();
        }
    }
}

fn reactors(
    swarm: &Swarm,
    geometry: &Arc<Geometry>,
    regions: Regions,
    map: &MemberMap,
    in_sync: &Bitmap,
    vouched: SlotSet,
    host_ops_max: usize,
) -> Vec<Reactor> {
    let core = |index| {
        let place = ShardPlace { index, count: swarm.shards };
        let (geometry, in_sync) = (geometry.clone(), in_sync.clone());
        let mut core = Shard::new(geometry, map.clone(), place, regions, in_sync, vouched);
        core.set_host_ops_max(host_ops_max);
        core
    };
    let reactor = |index| Reactor {
        core: core(index),
        buffers: BTreeMap::new(),
        buffer_bytes: 0,
        pieces: BTreeMap::new(),
        backlog: VecDeque::new(),
        turning: false,
        quiescing: false,
        rest_untold: false,
        direct: 0,
        held: Vec::new(),
        trusted: (0..regions.count()).map(|region| in_sync.get(region)).collect(),
        vouched,
        planned: BTreeMap::new(),
    };
    (0..swarm.shards).map(reactor).collect()
}

/// What a coordinator of an array without superblocks is made from.
fn spec(
    swarm: &Swarm,
    geometry: &Geometry,
    regions: Regions,
    log: DirtyLog,
    map: MemberMap,
    stale: Bitmap,
) -> CoordinatorSpec {
    CoordinatorSpec {
        log,
        log_health: LogHealth::Alive,
        regions,
        shards: swarm.shards,
        map,
        stale,
        parity_strips: geometry.parity_strips(),
        parity_slots: geometry.layout().parity_slots(geometry.level(), geometry.members()),
        strip_bytes: swarm.strip_bytes,
        superblock: None,
        vouched: SlotSet::empty(),
        policy: Policy {
            log: swarm.on_log_failure,
            member: swarm.on_member_failure,
            recorded: swarm.recorded,
        },
        rates: Rates::default(),
        stretch_bytes: swarm.stretch_bytes,
        frozen: false,
        permit: Permit::Granted,
    }
}

impl Life {
    pub(crate) fn empty(swarm: &Swarm, geometry: &Arc<Geometry>, regions: Regions) -> Self {
        let map = MemberMap::new(vec![MemberState::InSync; swarm.members]);
        let log = DirtyLog::new(regions.count(), Initially::OutOfSync);
        let stale = Bitmap::new(regions.count(), false);
        Self {
            queue: BTreeMap::new(),
            reactors: Vec::new(),
            coordinator: Coordinator::new(spec(swarm, geometry, regions, log, map, stale)),
            device_of: (0..swarm.members).map(Some).collect(),
            ios: BTreeMap::new(),
            hosts: BTreeMap::new(),
            channels: BTreeMap::new(),
            coordinator_turning: false,
            timer_ns: None,
            clean: Vec::new(),
            issued: 0,
            to_issue: 0,
            requesting: false,
            stopping: false,
            stopped: false,
            owner_asked: false,
            repairing: false,
            log_waived: false,
            log_used: false,
            permit: Permit::Granted,
            foreground_bytes: 0,
            superblocks: BTreeMap::new(),
            doomed: SlotSet::empty(),
            flush_failed: SlotSet::empty(),
            flush_latched: BTreeSet::new(),
            unrecorded: BTreeSet::new(),
            log_failed: false,
            touching: Vec::new(),
            wrote: BTreeMap::new(),
            granted_early: BTreeSet::new(),
            answered_early: BTreeSet::new(),
            stretches_out: BTreeMap::new(),
            aborting: false,
            known_out: BTreeSet::new(),
            out: BTreeSet::new(),
            reads: BTreeMap::new(),
        }
    }
}

const _: () = assert!(oracle::ANY > 0);
