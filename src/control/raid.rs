//! Arrays: from what a client asks for to a running [`RaidBdev`], and taking members out of one.
//!
//! Not here: geometry and its limits (crate `raid`), starting shards (crate `array`).

use std::sync::Arc;
use std::time::Duration;

use array::{Before, RaidBdev, RaidOptions, RaidSpec};
use device::Bdev;
use raid::coordinator::pace::Rates;
use raid::coordinator::{OnLogFailure, OnMemberFailure, Permit};
use raid::event::WorkKind;
use raid::layout::{Layout, Level};
use uuid::Uuid;

use super::error::ControlError;
use super::keeping::OnFailure;
use super::occupied::{Asker, Terms, admit};
use super::registry::{Backing, Claim, Entry};
use super::spares::spare_of;
use super::{Control, Kind, Lifecycle, RaidDefaults, State};

/// What an array can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaidMessage {
    /// Interrupt what goes on in the background; what is needed starts again by itself.
    Idle,
    /// Interrupt it, and let nothing start until the next message.
    Frozen,
    /// Go on with the resync, if there is anything to resync.
    Resync,
    /// Go on with the rebuild, if there is anything to rebuild.
    Recover,
    /// Compare parity with data, and count.
    Check,
    /// Compare parity with data, and make it right.
    Repair,
    /// The owner has recorded what failed: writes go on.
    AllowWrites,
}

/// What an array is to be.
#[derive(Debug, Clone)]
pub struct RaidRequest {
    /// Name of the new bdev.
    pub name: String,
    /// Drawn at random when absent.
    pub uuid: Option<Uuid>,
    /// The level.
    pub level: Level,
    /// The layout by one of its names; absent: the level's usual one.
    pub layout: Option<String>,
    /// RAID 4 only: the slot that holds the parity.
    pub parity_slot: Option<u32>,
    /// Size of a strip in KiB.
    pub strip_size_kib: u32,
    /// Names of the members by slot; `None` where one is missing.
    pub members: Vec<Option<String>>,
    /// Where the array's data begins on the members, in sectors of 512 bytes, by slot.
    pub data_offsets_sectors: Vec<u64>,
    /// Whether the parity is right already.
    pub assume_clean: bool,
    /// Name of the bdev for the dirty log; absent: it is in memory.
    pub log: Option<String>,
    /// Size of a region of the log in KiB.
    pub region_size_kib: Option<u64>,
    /// Whether members get superblocks.
    pub superblock: bool,
    /// What is done when the log fails; absent: it goes on where that is recorded, and else as members do.
    pub on_log_failure: Option<OnLogFailure>,
    /// What is done when a member fails and there are no superblocks to record it in.
    pub on_member_failure: OnMemberFailure,
    /// How long a request may be with a member; absent: the service's default.
    pub io_timeout: Option<Duration>,
    /// Overwrite what is on the members, trust parity of a dirty degraded array.
    pub force: bool,
    /// What is known of its life before this one.
    pub before: Before,
    /// Names of spares.
    pub spares: Vec<String>,
}

impl Control {
    /// Makes an array and returns its name. Its members are claimed.
    ///
    /// # Errors
    ///
    /// A name or UUID that is taken; members or spares that are not there, are in use, carry something or do not
    /// fit each other; whatever the geometry refuses. Nothing has changed then.
    pub fn create_raid(&self, request: RaidRequest) -> Result<String, ControlError> {
        let mut state = self.state();
        let name = request.name.clone();
        state.admit_change(&name)?;
        let starting = state.lifecycle == Lifecycle::Starting;
        if starting && request.superblock && !request.force && Self::knows_raid(&state, &name) {
            // A configuration that makes an array makes it once; after that it is found.
            tracing::info!(bdev = name, "the array is there: it is assembled, not created");
            return Ok(name);
        }
        state.registry.admit(&name, request.uuid)?;
        let members = state.registry.members(&request.members)?;
        if !(starting || request.superblock || request.force) {
            // Its superblock would stay, and be found at the next start.
            Self::check_unknown(&state, &name, &members)?;
        }
        let log = request.log.as_ref().map(|log| state.registry.base(log)).transpose()?;
        request.spares.iter().try_for_each(|spare| state.registry.check_rest(spare))?;
        let spares = request.spares.iter().map(|spare| state.registry.base(spare));
        let spares = spares.collect::<Result<Vec<_>, _>>()?;
        check_distinct(&members, log.as_ref(), &spares)?;
        let policy = request.on_failure().policy(state.registry.will_be_recorded(&name));
        let asked = (!request.superblock).then(|| request.clone());
        let mut spec = request.into_spec(state.registry.as_used(&members), self.defaults())?;
        spec.options.log = log.clone();
        spec.options.policy = policy;
        spec.options.events = Some(self.event_sender());
        let terms = self.check_spares(&spec, &spares)?;
        let raid = RaidBdev::create(self.reactors(), spec)?;
        self.add(&mut state, Arc::clone(&raid) as Arc<dyn Bdev>, Backing::Raid(Arc::clone(&raid)));
        state.registry.claim(&name, &members);
        if let Some(log) = &log {
            state.registry.claim_one(log, Claim::Log { array: name.clone() });
        }
        for (spare, terms) in spares.iter().zip(terms) {
            if let Err(error) = self.mark_spare(&raid, spare) {
                tracing::warn!(array = name, %error, "spare is not marked as one");
            }
            state.registry.claim_one(spare, spare_of(Some(&raid), terms));
        }
        for member in members.iter().flatten().chain(&spares) {
            state.known.forget(&member.info().name);
        }
        state.requests.extend(asked.map(|request| (name.clone(), request)));
        tracing::info!(bdev = name, "array created");
        self.arrange_permits(&mut state);
        self.activate_spares(&mut state, &raid);
        self.examine_new(state);
        Ok(name)
    }

    /// Takes a member out of the array that uses it, which is `array` if that is given, or a spare. The
    /// array goes on without it; the bdev is free.
    ///
    /// # Errors
    ///
    /// When no array uses the bdev, or its array cannot do without it.
    pub fn remove_base_bdev(&self, name: &str, array: Option<&str>) -> Result<(), ControlError> {
        let mut state = self.state();
        state.admit_change(name)?;
        if let Some(Claim::Spare { array: of, .. }) = state.registry.get(name)?.claim.clone() {
            let asked = array.map(|array| state.registry.get(array)).transpose()?;
            if asked.is_some_and(|asked| Some(asked.name()) != of) {
                let (name, array) = (name.to_owned(), array.map(str::to_owned));
                return Err(ControlError::NotAMember { name, array });
            }
            return self.take_spare(state, name, of.as_deref());
        }
        let (raid, claim) = state.registry.user_of(name)?;
        if let Some(array) = array
            && state.registry.get(array)?.name() != claim.array
        {
            let (name, array) = (name.to_owned(), array.to_owned());
            return Err(ControlError::NotAMember { name, array: Some(array) });
        }
        raid.remove_member(claim.slot)?;
        state.registry.release(name);
        tracing::info!(bdev = name, array = claim.array, "no member any more");
        Ok(())
    }

    /// The arrays in the order of their creation.
    pub fn raids(&self) -> Vec<Arc<RaidBdev>> {
        self.state().registry.entries().iter().filter_map(|entry| entry.raid().cloned()).collect()
    }

    /// The array of that name or alias.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn raid(&self, name: &str) -> Result<Arc<RaidBdev>, ControlError> {
        let state = self.state();
        let raid = state.registry.get(name)?.raid().cloned();
        raid.ok_or_else(|| ControlError::NoSuchArray { name: name.to_owned() })
    }

    /// The array of that name or alias, or those of the mapped device.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn raids_of(&self, name: &str) -> Result<Vec<Arc<RaidBdev>>, ControlError> {
        let state = self.state();
        let entry = state.registry.get(name)?;
        let mut raids = entry.mapped().map(|device| device.raids()).unwrap_or_default();
        raids.extend(entry.raid().cloned());
        match raids.is_empty() {
            true => Err(ControlError::NoSuchArray { name: name.to_owned() }),
            false => Ok(raids),
        }
    }

    /// Refuses what an array that is about to be made could not have as spares, or may not write over.
    fn check_spares(
        &self,
        spec: &RaidSpec,
        spares: &[Arc<dyn Bdev>],
    ) -> Result<Vec<Terms>, ControlError> {
        if spares.is_empty() {
            return Ok(Vec::new());
        }
        let (geometry, asker) = (spec.geometry()?, Asker::new(spec.options.force));
        let check = |spare: &Arc<dyn Bdev>| {
            array::check_spare(&spec.name, &geometry, spare)?;
            admit(Some(&spec.name), spare, asker, self.occupant(spare))
        };
        spares.iter().map(check).collect()
    }

    /// Refuses members that carry superblocks of known arrays.
    fn check_unknown(
        state: &State,
        name: &str,
        members: &[Option<Arc<dyn Bdev>>],
    ) -> Result<(), ControlError> {
        for member in members.iter().flatten() {
            if let Some(found) = state.superblock_on(&member.name()) {
                let (name, member) = (name.to_owned(), member.name());
                let what = array::describe(found);
                return Err(array::CreateError::InUse { name, member, what }.into());
            }
        }
        Ok(())
    }

    /// Deletes an array. Its members are free, and what is on them stays, but for their superblocks if
    /// `clear_superblocks` says so: nobody else has them before they are wiped, however the array stops.
    ///
    /// # Errors
    ///
    /// When there is no such array, or another array is made of it; when it does not stop cleanly, or a
    /// superblock cannot be wiped.
    pub fn delete_raid(&self, name: &str, clear_superblocks: bool) -> Result<(), ControlError> {
        let mut state = self.state();
        state.admit_change(name)?;
        let entry = state.registry.check_delete(Kind::Raid, name)?;
        let marked = entry.raid().filter(|_| clear_superblocks);
        let mut marked = marked.map(|raid| devices_of(&state, raid)).unwrap_or_default();
        let (removed, stopped) = self.delete_in(&mut state, Kind::Raid, name)?;
        marked.retain(|device| state.registry.find(&device.name()).is_some_and(Entry::is_free));
        for device in &marked {
            state.registry.claim_named(&device.name(), Claim::Removal);
        }
        drop(state);
        drop(removed);
        tracing::info!(bdev = name, "deleted");
        let wiped = marked.iter().map(|device| self.wipe_and_free(device));
        // All of them, whatever the first one says.
        let wiped: Vec<_> = wiped.collect();
        wiped.into_iter().fold(stopped, Result::and)
    }

    /// Wipes the superblock of a bdev that is claimed for that, which is free then.
    pub(super) fn wipe_and_free(&self, device: &Arc<dyn Bdev>) -> Result<(), ControlError> {
        let reactor = self.reactors().first();
        let wiped = reactor.map_or(Ok(()), |reactor| array::wipe(reactor, device));
        let name = device.name();
        let mut state = self.state();
        state.known.forget(&name);
        state.registry.release(&name);
        self.changed.notify_all();
        wiped.map_err(|source| ControlError::NotWiped { name, source })
    }

    /// Carries out one of dm-raid's messages, or raid45's `allow_writes`.
    ///
    /// # Errors
    ///
    /// When there is no such array, or it cannot now.
    pub fn message_raid(&self, name: &str, message: RaidMessage) -> Result<(), ControlError> {
        let raid = self.raid(name)?;
        let request = |kind| {
            let array = raid.info().name.clone();
            raid.request(kind).map_err(|source| ControlError::Action { array, source })
        };
        match message {
            RaidMessage::Idle => raid.interrupt(false),
            RaidMessage::Frozen => raid.interrupt(true),
            RaidMessage::Resync => request(WorkKind::Resync)?,
            RaidMessage::Recover => request(WorkKind::Rebuild)?,
            RaidMessage::Check => request(WorkKind::Check)?,
            RaidMessage::Repair => request(WorkKind::Repair)?,
            RaidMessage::AllowWrites => raid.allow_writes(),
        }
        self.arrange_permits(&mut self.state());
        tracing::info!(array = name, ?message, "message");
        Ok(())
    }

    /// Changes how fast background actions of an array go.
    ///
    /// # Errors
    ///
    /// When there is no such array.
    pub fn set_rates(
        &self,
        name: &str,
        change: impl FnOnce(&mut Rates),
    ) -> Result<(), ControlError> {
        let raid = self.raid(name)?;
        let mut rates = raid.snapshot().rates;
        change(&mut rates);
        raid.set_rates(rates);
        Ok(())
    }
}

/// All that carry the superblock of an array: its members and spares, if it has one. Without it there is
/// data where it would be.
fn devices_of(state: &State, raid: &RaidBdev) -> Vec<Arc<dyn Bdev>> {
    if raid.superblock().is_none() {
        return Vec::new();
    }
    let mut devices: Vec<_> = raid.members().into_iter().flatten().collect();
    devices.extend(state.registry.own_spares(&raid.info().name));
    devices
}

/// Refuses one bdev in two places.
fn check_distinct(
    members: &[Option<Arc<dyn Bdev>>],
    log: Option<&Arc<dyn Bdev>>,
    spares: &[Arc<dyn Bdev>],
) -> Result<(), ControlError> {
    let mut seen: Vec<&Arc<dyn Bdev>> = members.iter().flatten().collect();
    for bdev in log.into_iter().chain(spares) {
        if seen.iter().any(|other| Arc::ptr_eq(other, bdev)) {
            return Err(ControlError::BadValue {
                what: "base bdev",
                value: bdev.info().name.clone(),
                right: "it is given twice: members, log and spares are different bdevs".to_owned(),
            });
        }
        seen.push(bdev);
    }
    Ok(())
}

impl RaidRequest {
    fn on_failure(&self) -> OnFailure {
        OnFailure {
            log: self.on_log_failure,
            member: self.on_member_failure,
            superblock: self.superblock,
        }
    }

    /// A bdev has another name.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        let members = self.members.iter_mut().flatten();
        for name in members.chain(&mut self.log).chain(&mut self.spares) {
            if name == old {
                new.clone_into(name);
            }
        }
    }

    fn into_spec(
        self,
        members: Vec<Option<Arc<dyn Bdev>>>,
        defaults: RaidDefaults,
    ) -> Result<RaidSpec, ControlError> {
        let strip_bytes = self.strip_size_kib.checked_mul(1 << 10);
        let strip_bytes = strip_bytes.ok_or_else(|| ControlError::BadValue {
            what: "strip_size_kb",
            value: self.strip_size_kib.to_string(),
            right: "give a power of two from 4 to 16384".to_owned(),
        })?;
        let data_offsets_bytes = self.data_offsets_sectors.iter().map(|sectors| {
            sectors.checked_mul(512).ok_or_else(|| ControlError::BadValue {
                what: "data_offset",
                value: sectors.to_string(),
                right: "give a number of 512-byte sectors that the member has".to_owned(),
            })
        });
        let region_bytes = self.region_size_kib.map(|kib| {
            kib.checked_mul(1 << 10).ok_or_else(|| ControlError::BadValue {
                what: "region_size_kb",
                value: kib.to_string(),
                right: "give a power of two, at least the strip size".to_owned(),
            })
        });
        let options = RaidOptions {
            region_bytes: region_bytes.transpose()?,
            superblock: self.superblock,
            rates: defaults.rates,
            // Until it is known whether it shares a device with another.
            permit: Permit::Withheld,
            io_timeout: self.io_timeout.unwrap_or(defaults.io_timeout),
            force: self.force,
            before: self.before,
            ..RaidOptions::default()
        };
        Ok(RaidSpec {
            options,
            data_offsets_bytes: data_offsets_bytes.collect::<Result<_, _>>()?,
            layout: self.parsed_layout()?,
            name: self.name,
            uuid: self.uuid,
            level: self.level,
            strip_bytes,
            members,
            assume_clean: self.assume_clean,
        })
    }

    fn parsed_layout(&self) -> Result<Layout, ControlError> {
        let Some(slot) = self.parity_slot else {
            return Ok(match &self.layout {
                Some(name) => Layout::parse(self.level, name)?,
                None => Layout::default_for(self.level),
            });
        };
        let bad = |right: &str| ControlError::BadValue {
            what: "parity_device",
            value: slot.to_string(),
            right: right.to_owned(),
        };
        if self.level != Level::Raid4 {
            return Err(bad("only raid4 has a parity device; leave it out"));
        }
        if self.layout.is_some() {
            return Err(bad("it says the same as a layout; give one of them"));
        }
        let slot = u8::try_from(slot).ok().filter(|slot| usize::from(*slot) < self.members.len());
        let slot = slot.ok_or_else(|| bad("give the slot of a member"))?;
        Ok(Layout::ParityAt(slot))
    }
}
