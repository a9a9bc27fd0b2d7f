//! Faults, and those who deal with them: the operator who has spares, the owner of a table.
//!
//! Faults that cost a member its place respect what the seed drew as the most that may be lost at the same
//! time. What follows from them does not: the core is held to what is then possible.
//!
//! Not here: what a fault does to a device (`disk`), crashes (`run`).

use crate::judge;
use crate::plant::Plant;
use crate::swarm::{Faults, Permits};
use crate::trace;
use crate::truth::sectors;
use crate::world::{Device, Happening, Io, Kind, Note, Party, Purpose, SECOND_NS, World};
use raid::assemble::{self, Candidate, Patience, Reason, Rebuild};
use raid::coordinator::{Input, OnMemberFailure, Permit, RaidEvent, Scope};
use raid::event::{FailCause, WorkKind};
use raid::superblock::DATA_OFFSET_BYTES_MIN;
use raid::units::{Slot, StripeId};

impl World {
    /// Faults between two requests.
    pub fn chaos(&mut self) {
        self.change_permit();
        let Faults { bad_sector, gone, removed, .. } = self.swarm.faults;
        if !self.faults_on {
            return;
        }
        if self.prng.one_in(bad_sector) {
            self.spoil();
        }
        if self.prng.one_in(gone) {
            self.unplug_device();
        }
        if self.prng.one_in(removed) {
            let slot = self.random_slot();
            if self.may_lose(slot) {
                self.stats.removed += 1;
                let input = Input::MemberFailed { slot, cause: FailCause::Removed };
                self.schedule(self.now_ns, Happening::Input(input));
            }
        }
        if self.swarm.checks && self.prng.one_in(40) {
            let kind = self.prng.pick(&[WorkKind::Check, WorkKind::Repair]);
            // Being refused is an answer too.
            let _ = self.life.coordinator.request(kind);
            self.coordinator_turn();
        }
    }

    /// Another array that shares a device begins, or ends, its background action.
    fn change_permit(&mut self) {
        let Permits::Changing(often) = self.permits else { return };
        if self.faults_on && self.permit_prng.one_in(often) {
            let permit = self.permit_prng.pick(&[Permit::Granted, Permit::Withheld]);
            self.schedule(self.now_ns, Happening::Input(Input::Permit(permit)));
        }
    }

    fn random_slot(&mut self) -> Slot {
        Slot(u8::try_from(self.prng.index(self.swarm.members)).expect("few members"))
    }

    /// Whether a member may lose its place, which it then will.
    pub fn may_lose(&mut self, slot: Slot) -> bool {
        let map = self.life.coordinator.map();
        let lost = self.life.doomed.union(map.missing()).union(map.rebuilding());
        if lost.contains(slot) && !map.missing().contains(slot) {
            self.life.doomed.insert(slot);
            return true;
        }
        let may = lost.len() < self.swarm.lost_max && !map.missing().contains(slot);
        if may {
            self.life.doomed.insert(slot);
        }
        may
    }

    fn spoil(&mut self) {
        let slot = self.random_slot();
        let Some(device) = self.life.device_of[slot.index()] else { return };
        let sector = self.prng.below(self.swarm.component_bytes() / 512);
        trace!(self, "sector {sector} of device {device} goes bad");
        self.stats.bad_sectors += 1;
        self.disks[device].spoil(DATA_OFFSET_BYTES_MIN + sector * 512);
    }

    fn unplug_device(&mut self) {
        let slot = self.random_slot();
        let Some(device) = self.life.device_of[slot.index()] else { return };
        if !self.disks[device].present || !self.may_lose(slot) {
            return;
        }
        trace!(self, "device {device} of slot {slot} is gone");
        self.stats.gone += 1;
        self.disks[device].present = false;
        self.lose_cache_unnoticed(device);
        if self.prng.one_in(2) {
            let from = Party::Reactor(self.prng.index(self.life.reactors.len()));
            self.input(from, Input::MemberFailed { slot, cause: FailCause::Gone });
        }
    }

    /// The cache of a device is lost, and it is on no record. What is lost is wrong on it once it is out.
    fn lose_cache_unnoticed(&mut self, device: usize) {
        let Self { disks, prng, truth, .. } = self;
        for sector in disks[device].lose_power(prng) {
            truth.suspect.push((device, sector..sector + 1));
        }
    }

    /// The cache of a device that is out is lost.
    pub fn lose_cache(&mut self, device: usize) {
        let Self { disks, prng, truth, .. } = self;
        for sector in disks[device].lose_power(prng) {
            truth.valid[device][sector] = false;
        }
    }

    /// Whether a request is never answered.
    pub fn hangs(&mut self, device: Device, kind: &Kind, purpose: Purpose) -> bool {
        let Device::Member(device) = device else { return false };
        if !self.faults_on || !self.prng.one_in(self.swarm.faults.hang) {
            return false;
        }
        let costs_place = !matches!(kind, Kind::Read(_));
        let hangs = !costs_place || self.may_lose_device(device);
        if hangs {
            trace!(self, "{purpose:?} hangs");
            self.stats.hangs += 1;
        }
        hangs
    }

    fn may_lose_device(&mut self, device: usize) -> bool {
        let at = self.life.device_of.iter().position(|&d| d == Some(device));
        let Some(slot) = at.and_then(|slot| u8::try_from(slot).ok()) else { return true };
        self.may_lose(Slot(slot))
    }

    /// Whether a request to a device succeeds.
    pub fn succeeds(&mut self, io: &Io) -> bool {
        let faults = self.swarm.faults;
        let device = match io.device {
            Device::Log => {
                let fails = self.faults_on && self.prng.one_in(faults.log_error);
                self.stats.log_errors += u64::from(fails);
                return !fails;
            }
            Device::Member(device) => device,
        };
        if !self.disks[device].present {
            self.note_read_fault(device, io);
            return false;
        }
        match io.kind {
            Kind::Read(len) => {
                let bad = self.disks[device].is_bad(io.offset_bytes, len);
                let fails = self.faults_on && self.prng.one_in(faults.read_error);
                self.stats.read_errors += u64::from(bad || fails);
                if bad || fails {
                    self.note_read_fault(device, io);
                }
                !bad && !fails
            }
            Kind::Write { .. } => {
                let fails = self.faults_on && self.prng.one_in(faults.write_error);
                let fails = fails && self.may_lose_device(device);
                self.stats.write_errors += u64::from(fails);
                !fails
            }
            // A device that has failed a flush fails every other one: crate `device` latches it (R9).
            Kind::Flush(_) if self.life.flush_latched.contains(&device) => false,
            Kind::Flush(_) => {
                let fails = self.faults_on && self.prng.one_in(faults.flush_error);
                let fails = fails && self.may_lose_device(device);
                self.stats.flush_errors += u64::from(fails);
                if fails && self.plant != Plant::FlushRetried {
                    self.life.flush_latched.insert(device);
                }
                !fails
            }
        }
    }

    /// A read that failed may be the reason why a request fails.
    pub fn note_read_fault(&mut self, device: usize, io: &Io) {
        let Kind::Read(_) = io.kind else { return };
        let Some(slot) = self.truth.home[device] else { return };
        let stripe = (io.offset_bytes - DATA_OFFSET_BYTES_MIN) / u64::from(self.swarm.strip_bytes);
        self.truth.read_faults.push((stripe, slot, self.step));
    }

    /// The coordinator has something to say.
    pub fn event(&mut self, event: RaidEvent) {
        match event {
            RaidEvent::MemberFailed { slot, cause } => {
                self.stats.failures += 1;
                let broken = self.life.coordinator.is_broken();
                assert!(
                    cause != FailCause::Read || !broken,
                    "R5: slot {slot} is taken out for what it could not read, and the array is broken"
                );
                let told = cause == FailCause::Removed
                    || self.swarm.on_member_failure == OnMemberFailure::Continue;
                if told && !self.swarm.recorded {
                    self.notes[slot.index()].in_sync = false;
                    self.notes[slot.index()].rebuild = false;
                }
                self.want_repair();
            }
            RaidEvent::LogFailed => self.noted_log_failed |= !self.swarm.recorded,
            RaidEvent::Broken => self.stats.broken += 1,
            RaidEvent::Optimal => {
                self.stats.promoted += 1;
                judge::whole_again(self);
            }
            RaidEvent::Degraded
            | RaidEvent::MemberAdded { .. }
            | RaidEvent::SyncDelayed { .. }
            | RaidEvent::SyncStarted { .. }
            | RaidEvent::SyncEnded { .. } => {}
        }
    }

    /// The owner of the table looks whether the array waits for it, or for its record.
    pub fn look_for_owner(&mut self) {
        if self.life.coordinator.is_waiting_for_owner() && !self.life.owner_asked {
            self.life.owner_asked = true;
            self.schedule_within(SECOND_NS / 10, Happening::OwnerAllows);
        }
    }

    /// The owner takes note of what failed, for good, and then allows writes. Where it keeps a record, which of
    /// the two comes first is chance, and who fails between a note and the word of it is not in that.
    pub fn owner_allows(&mut self) {
        self.life.owner_asked = false;
        if self.swarm.recorded && self.prng.one_in(2) {
            self.life.log_waived |= self.life.log_failed;
            self.coordinator_told(Input::AllowWrites);
            return;
        }
        let missing = self.life.coordinator.map().missing();
        for slot in missing.iter().filter(|_| self.plant != Plant::RecordForgotten) {
            self.notes[slot.index()].in_sync = false;
            self.notes[slot.index()].rebuild = false;
        }
        if self.swarm.recorded {
            let log_failed = self.life.log_failed;
            self.noted_log_failed |= log_failed && self.plant != Plant::RecordForgotten;
            let recorded = Input::Recorded { missing, log_failed };
            self.schedule_within(SECOND_NS / 100, Happening::Input(recorded));
            return;
        }
        self.life.log_waived |= self.life.log_failed;
        self.coordinator_told(Input::AllowWrites);
    }

    /// The operator will look for a device.
    pub fn want_repair(&mut self) {
        if !std::mem::replace(&mut self.life.repairing, true) {
            self.schedule_within(SECOND_NS, Happening::Repair);
        }
    }

    /// The operator gives an empty slot a device, if there is one.
    pub fn repair(&mut self) {
        self.life.repairing = false;
        if self.life.stopping {
            return;
        }
        let missing = self.life.coordinator.map().missing();
        for slot in missing.iter() {
            if self.life.coordinator.check_add(slot).is_err() {
                continue;
            }
            if self.takes_back.as_mut().is_some_and(|prng| prng.one_in(2)) {
                self.add_and_take_back(slot);
                break;
            }
            let Some((device, scope)) = self.find_device(slot) else { continue };
            self.add_member(slot, device, scope);
            break;
        }
        if !missing.is_empty() {
            self.want_repair();
        }
    }

    /// The operator loses patience: the change that has begun for the device goes on without it.
    fn add_and_take_back(&mut self, slot: Slot) {
        self.stats.taken_back += 1;
        let member_uuid = uuid::Uuid::from_u128(u128::MAX);
        self.coordinator_told(Input::AddMember { slot, scope: Scope::Whole, member_uuid });
        assert!(self.life.coordinator.is_joining(slot), "shards come to rest by messages");
        self.coordinator_told(Input::CancelAdd { slot });
        assert!(!self.life.coordinator.is_joining(slot), "it was taken back");
    }

    /// A device for a slot, and what of it has to be rebuilt.
    fn find_device(&mut self, slot: Slot) -> Option<(usize, Scope)> {
        let last = self.life.device_of[slot.index()];
        let busy = |world: &Self, device: usize| {
            world.life.ios.values().any(|io| io.device == Device::Member(device))
        };
        if let Some(device) = last
            && (self.swarm.returns || !self.faults_on)
            && self.prng.one_in(2)
            && !busy(self, device)
        {
            self.disks[device].present = true;
            // Whoever pulls it out and plugs it in again takes its power.
            if self.life.out.contains(&device) {
                self.lose_cache(device);
            } else {
                self.lose_cache_unnoticed(device);
            }
            let scope = self.scope_of(device);
            return Some((device, scope));
        }
        let used = |device: usize| self.life.device_of.contains(&Some(device));
        let spare = (self.swarm.members..self.disks.len()).find(|&device| !used(device));
        spare.map(|device| (device, Scope::Whole))
    }

    /// What the rules of assembly say of a device that comes back to a running array.
    fn scope_of(&mut self, device: usize) -> Scope {
        if self.plant == Plant::ReturnUnrebuilt {
            return Scope::Dirty;
        }
        let Some(found) = self.read_superblock(device) else { return Scope::Whole };
        let mut candidates = Vec::new();
        for slot in self.life.coordinator.map().writable().iter() {
            let found = self.life.coordinator.superblock(slot);
            candidates.push(Candidate { name: format!("s{slot}"), size_bytes: u64::MAX, found });
        }
        candidates.push(Candidate { name: "returned".to_owned(), size_bytes: u64::MAX, found });
        let array = crate::make::ARRAY_UUID;
        let verdict = assemble::assemble(array, &candidates, Patience::Force);
        let Ok(assemble::Verdict::Ready(assembly)) = verdict else { return Scope::Whole };
        let out = assembly.left_out.iter().find(|out| out.name == "returned");
        match out.map(|out| &out.reason) {
            Some(
                Reason::Failed { rebuild: Rebuild::DirtyRegions, .. }
                | Reason::Removed { rebuild: Rebuild::DirtyRegions, .. },
            ) => Scope::Dirty,
            _ => Scope::Whole,
        }
    }

    fn add_member(&mut self, slot: Slot, device: usize, scope: Scope) {
        trace!(self, "device {device} joins slot {slot}, {scope:?}");
        match (scope, self.truth.home[device] == Some(slot)) {
            (Scope::Dirty, _) => self.stats.partial_rebuilds += 1,
            (Scope::Whole, true) => self.stats.whole_returns += 1,
            (Scope::Whole, false) => self.stats.spares_added += 1,
        }
        // What comes back to its own slot holds what it holds, whatever is made of that.
        if self.truth.home[device] != Some(slot) {
            self.truth.valid[device].fill(false);
        }
        self.truth.home[device] = Some(slot);
        self.life.device_of[slot.index()] = Some(device);
        self.life.doomed.remove(slot);
        self.life.flush_failed.remove(slot);
        self.life.known_out.remove(&device);
        if !self.life.out.remove(&device) {
            // That it was out is not on record: a crash may bring it back as if nothing had happened.
            self.life.unrecorded.insert(device);
        }
        self.life.flush_latched.remove(&device);
        self.notes[slot.index()] = Note { device, in_sync: false, rebuild: true };
        let member_uuid = self.uuids[device];
        self.coordinator_told(Input::AddMember { slot, scope, member_uuid });
    }

    /// The sectors of a stripe on its members.
    #[must_use]
    pub fn stripe_sectors(&self, stripe: StripeId) -> std::ops::Range<usize> {
        let strip = u64::from(self.swarm.strip_bytes);
        sectors(stripe.0 * strip, strip)
    }
}
