//! One seed from its beginning to its end.
//!
//! ```text
//!   make --> boot --> requests, faults --+--> crash --> judge the images --> boot ...
//!              |                         +--> stop in order --> boot ...
//!              | refused                 +--> heal, drain, rebuild, read all, stop: the end
//!              v
//!             end
//! ```
//!
//! Not here: anything of this in detail.

use crate::images;
use crate::plant::Plant;
use crate::stats::Stats;
use crate::trace;
use crate::world::{Happening, Io, Purpose, SECOND_NS, World};
use raid::coordinator::{Action, Input, Permit};
use raid::event::WorkKind;

/// Steps in which everything has to come to its end once faults have stopped.
const STEPS_MAX: u64 = 400_000;

/// What a run was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Counts.
    pub stats: Stats,
    /// Hash of everything that happened.
    pub digest: u64,
}

/// Runs a seed. Whatever must not be, panics.
pub fn run(seed: u64, plant: Plant, tracing: bool) -> Outcome {
    let mut world = World::new(seed, plant, tracing);
    trace!(world, "{:#?}", world.swarm);
    world.lives();
    world.stats.steps = world.step;
    world.stats.judged_bytes = world.oracle.judged * 512;
    Outcome { stats: world.stats, digest: world.digest }
}

impl World {
    fn lives(&mut self) {
        if !self.boot() {
            panic!("an array that was just made does not start");
        }
        let mut crashes = self.swarm.crashes;
        while crashes > 0 {
            if self.prng.percent(self.swarm.orderly) {
                self.live(self.swarm.requests);
                self.stop();
            } else {
                let part = self.prng.within(0, self.swarm.requests);
                self.live_until_crash(part);
                self.crash();
                crashes -= 1;
            }
            if !self.boot() {
                return;
            }
        }
        self.live(self.swarm.requests);
        self.end();
    }

    /// A life in which all requests are answered.
    fn live(&mut self, requests: u64) {
        self.life.to_issue = requests;
        self.more_requests();
        self.until("requests are answered", |world| {
            world.life.issued >= world.life.to_issue && world.life.hosts.is_empty()
        });
    }

    /// A life that ends in the middle.
    fn live_until_crash(&mut self, requests: u64) {
        self.life.to_issue = self.swarm.requests;
        self.more_requests();
        if self.swarm.cuts_updates {
            return self.live_until_an_update();
        }
        let mut limit = STEPS_MAX;
        while self.life.issued < requests && limit > 0 {
            limit -= 1;
            assert!(self.advance(), "nothing happens any more");
        }
        for _ in 0..self.prng.below(300) {
            self.advance();
        }
        if self.prng.one_in(4) {
            // A quiet time first: leases end, bits are cleared, a resync comes far.
            let until = self.now_ns + self.prng.below(8 * SECOND_NS);
            let mut limit = 20_000;
            while self.now_ns < until && limit > 0 {
                limit -= 1;
                self.advance();
            }
        }
    }

    /// A life that ends in the middle of an update of the superblocks, soon after its start.
    fn live_until_an_update(&mut self) {
        let is_update = |io: &Io| matches!(io.purpose, Purpose::Superblock { .. });
        for _ in 0..1000 {
            if self.life.ios.values().any(is_update) {
                break;
            }
            self.advance();
        }
        for _ in 0..self.prng.below(20) {
            self.advance();
        }
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..STEPS_MAX {
            if done(self) {
                return;
            }
            assert!(self.advance(), "liveness: nothing happens before {what}");
        }
        let life = &self.life;
        trace!(self, "stuck: {:?}", life.hosts);
        for reactor in life.reactors.iter().filter(|_| self.tracing) {
            // The tables have many empty places.
            let text = format!("{:?}", reactor.core).replace("None, ", "");
            trace!(self, "stuck: {text}");
        }
        panic!(
            "liveness: {what} not after {STEPS_MAX} steps: {} requests under way, {:?}, doing {:?}",
            life.hosts.len(),
            life.coordinator.map(),
            life.coordinator.action()
        );
    }

    fn crash(&mut self) {
        self.count_mends();
        let power = self.prng.percent(self.swarm.power) || self.has_lost_a_cache();
        trace!(self, "CRASH, {}", if power { "power is lost" } else { "the process is killed" });
        if power {
            self.stats.power_losses += 1
        } else {
            self.stats.kills += 1
        }
        let shards = self.swarm.shards;
        let uneven = self.life.stretches_out.values().any(|&pending| pending < shards);
        self.stats.uneven_ends += u64::from(uneven);
        for io in std::mem::take(&mut self.life.ios).into_values() {
            let crate::world::Kind::Write { bytes, .. } = &io.kind else { continue };
            let Self { disks, log_disk, prng, .. } = self;
            match io.device {
                crate::world::Device::Log => log_disk.write_torn(prng, io.offset_bytes, bytes),
                crate::world::Device::Member(d) if disks[d].present => {
                    disks[d].write_torn(prng, io.offset_bytes, bytes);
                }
                crate::world::Device::Member(_) => {}
            }
        }
        if power {
            self.lose_power();
        } else {
            self.disks.iter_mut().for_each(crate::disk::Disk::lose_user);
            self.log_disk.lose_user();
        }
        let now = self.stamp();
        self.oracle.crashed(now, power);
        self.life.touching.clear();
        self.judge_images();
        // What was gone is found again now and then.
        for device in 0..self.disks.len() {
            if self.prng.one_in(2) {
                self.disks[device].present = true;
            }
        }
        self.truth.suspect.clear();
        self.truth.read_faults.clear();
        self.now_ns += SECOND_NS;
    }

    /// Whether a member that may be taken for good at the next start has lost what was in its cache: it
    /// was pulled out, or failed a flush, and that is not on record. To the hosts that is a loss of power.
    fn has_lost_a_cache(&self) -> bool {
        (0..self.disks.len()).any(|device| {
            let lost = !self.disks[device].present
                || self.life.flush_latched.contains(&device)
                || self.life.unrecorded.contains(&device);
            lost && !self.life.out.contains(&device)
        })
    }

    fn lose_power(&mut self) {
        self.log_disk.lose_power(&mut self.prng);
        let rebuilding = self.life.coordinator.map().rebuilding();
        for device in 0..self.disks.len() {
            let is_rebuilding =
                rebuilding.iter().any(|slot| self.life.device_of[slot.index()] == Some(device));
            if self.life.out.contains(&device) {
                self.lose_cache(device);
            } else if is_rebuilding && !self.life.unrecorded.contains(&device) {
                self.lose_cache_of_rebuilding(device);
            } else {
                self.disks[device].lose_power(&mut self.prng);
            }
        }
    }

    /// What a rebuild had written and not flushed is lost; what hosts had written is in doubt.
    fn lose_cache_of_rebuilding(&mut self, device: usize) {
        let lost = self.disks[device].lose_power(&mut self.prng);
        let strip_sectors = u64::from(self.swarm.strip_bytes) / 512;
        for sector in lost {
            let stripe = raid::units::StripeId(sector as u64 / strip_sectors);
            let region = self.regions.of(stripe);
            let stale = self.life.coordinator.stale().get(region);
            if stale {
                self.truth.valid[device][sector] = false;
            }
        }
    }

    /// What must be true of the devices now, before anything is put right.
    fn judge_images(&mut self) {
        if !self.life.log_used || self.life.log_failed {
            return;
        }
        let believed = !crate::judge::log_failure_recorded(self);
        for region in 0..self.regions.count() {
            let clean = believed && images::is_read_as_clean(self, region);
            if clean {
                images::parity_is_right(self, region, false, "after a crash, a clean region");
            }
            images::data_is_legal(self, region, clean, "after a crash");
        }
    }

    fn count_mends(&mut self) {
        let mends = self.life.reactors.iter().map(|reactor| reactor.core.counters().mends);
        self.stats.mends += mends.sum::<u64>();
    }

    fn stop(&mut self) {
        trace!(self, "stop");
        self.life.stopping = true;
        self.schedule(self.now_ns, Happening::Input(Input::Stop));
        self.until("the array is stopped", |world| world.life.stopped);
        self.stats.orderly_stops += 1;
        self.count_mends();
        for slot in self.life.coordinator.map().missing().iter() {
            // The owner has heard of it, at the latest, when it took the array down.
            self.notes[slot.index()].in_sync = false;
            self.notes[slot.index()].rebuild = false;
        }
        let coordinator = &self.life.coordinator;
        let complete = coordinator.map().is_optimal() && !coordinator.is_broken();
        let in_sync = coordinator.log().sync_count() == coordinator.log().regions();
        self.noted_stop = Some(in_sync && !coordinator.is_broken());
        // A log that has failed, or is not there, does not matter: the stop itself is on record.
        self.stopped_in_sync = complete && in_sync && self.life.doomed.is_empty();
        let gone = self.disks.iter().any(|disk| !disk.present);
        self.stopped_in_sync &= !gone;
        let recorded = self.swarm.superblocks && !coordinator.is_broken();
        let lost = gone || !self.life.doomed.is_empty();
        self.stopped_degraded_in_sync = recorded && !complete && in_sync && !lost;
        let now = self.stamp();
        let power = self.prng.one_in(2) || self.has_lost_a_cache();
        if power && self.life.hosts.is_empty() && complete {
            // Everything was flushed: the loss of power costs nothing.
            self.oracle.flushed(now, u64::MAX);
        }
        if power {
            self.lose_power();
            self.oracle.crashed(now, true);
        } else {
            self.disks.iter_mut().for_each(crate::disk::Disk::lose_user);
        }
        self.truth.suspect.clear();
        self.truth.read_faults.clear();
        self.now_ns += SECOND_NS;
    }

    /// Faults stop: everything has to come to rest, and to be right.
    fn end(&mut self) {
        trace!(self, "the end begins");
        self.faults_on = false;
        for disk in &mut self.disks {
            disk.heal();
        }
        self.schedule(self.now_ns, Happening::Input(Input::Permit(Permit::Granted)));
        self.want_repair();
        let until = self.now_ns + 20 * SECOND_NS;
        self.until("the end", |world| {
            world.now_ns > until && world.life.coordinator.action() == Action::Idle
        });
        let hosts = self.life.hosts.len();
        assert_eq!(hosts, 0, "liveness: {hosts} requests are never answered");
        self.end_rebuild();
        self.read_all();
        for region in 0..self.regions.count() {
            if self.truth.trusted[usize::try_from(region).expect("few")] {
                images::parity_is_right(self, region, false, "at the end");
            }
            images::data_is_legal(self, region, false, "at the end");
        }
        self.stop();
        if self.stopped_in_sync && self.boot() {
            self.read_all();
        }
    }

    /// A rebuild that can come to its end does, if the operator asks again after what stood in its way.
    fn end_rebuild(&mut self) {
        for _ in 0..3 {
            if self.rebuild_is_over() {
                return;
            }
            // What runs goes on.
            let _ = self.life.coordinator.request(WorkKind::Rebuild);
            self.coordinator_turn();
            let until = self.now_ns + 10 * SECOND_NS;
            self.until("a pass of the rebuild", |world| {
                world.now_ns > until && world.life.coordinator.action() == Action::Idle
            });
        }
        let map = self.life.coordinator.map();
        assert!(self.rebuild_is_over(), "liveness: a rebuild does not end: {map:?}");
    }

    /// Whether there is no rebuild that could come to its end.
    fn rebuild_is_over(&self) -> bool {
        let map = self.life.coordinator.map();
        let out = map.missing().union(map.rebuilding());
        let stands = self.life.reactors.iter().all(|at| out.is_subset_of(at.vouched));
        let can_end = stands || self.truth.trusted.iter().all(|&trusted| trusted);
        let ended = self.life.coordinator.map().rebuilding().is_empty();
        // A source that does not answer, and that nobody has written to, is not known to be gone.
        let mut devices = self.life.device_of.iter().flatten();
        let all_answer = devices.all(|&device| self.disks[device].present);
        ended || !can_end || !all_answer || self.life.coordinator.is_broken()
    }

    fn read_all(&mut self) {
        let stripe = self.geometry.stripe_bytes();
        for at in 0..self.geometry.stripes() {
            self.issue(crate::host::HostKind::Read, at * stripe, stripe);
        }
        self.until("all is read", |world| world.life.hosts.is_empty());
    }
}
