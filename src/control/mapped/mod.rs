//! Mapped devices: device-mapper's verbs over the registry.
//!
//! ```text
//!                    create                     resume: arrays of the old table are stopped,
//!                      |                        those of the new one started, what waited goes on
//!                      v        load                        |
//!   active table    (none) <--------------- inactive table -+
//!                      |  suspend: what is in flight ends, what comes then waits
//!                      v
//!   bdev "r0" -- MappedBdev --+-- linear, delay, flakey --> bdevs, shared with other mapped devices
//!                             +-- raid, raid45, raid456 --> an array of its own, which claims its members
//! ```
//!
//! A mapped device is a bdev of its name from its creation on, of no blocks before it has a table. The
//! array of a target is not: it goes by `dm-<minor>.<line>` in the log, and is the device's alone.
//!
//! | module | what |
//! |---|---|
//! | `tables` | names of devices, who may use them, loading and clearing |
//! | `arrays` | from what a table says to a running array, and what an old table knew |
//! | `metadata` | superblocks of dm-raid's metadata devices |
//! | `switch` | suspend, resume, removal |
//! | `revive` | members that had failed, and answer again |
//! | `remade` | the table that makes a device again |
//! | `status`, `messages` | what goes out, what comes in |
//! | `plane` | the data plane's words |
//!
//! One verb at a time changes a device (`verb`); whoever only looks does not wait for it. Locks are taken
//! in the order verb, state of the control plane, tables; reactors take none of them.
//!
//! What is not as with a kernel: a bdev below an array has no other user; a table that is refused at
//! resume leaves the old one in place; a reload that brings another device into an array, or back one
//! that had failed, rebuilds it even if the table does not say so.
//!
//! Not here: the language (`dm`), JSON (`methods`), I/O (crate `device`).

mod arrays;
mod error;
mod messages;
mod metadata;
mod plane;
mod remade;
mod revive;
mod status;
mod switch;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use array::{ArrayEvent, Before, MemberSnapshot, RaidBdev};
use device::{Bdev, LagBdev, MappedBdev};
use raid::coordinator::RaidEvent;
use reactor::clock;
use rpc::error::errno;
use uuid::Uuid;

use super::error::ControlError;
use super::hints::Hints;
use super::keeping::{Parity, stop_for_good};
use super::notices::NoticeKind;
use super::registry::{Backing, Registry};
use super::{Control, lock, recipe};
use crate::dm::{ArrayFacts, IoHints, Table, Target};
use crate::limits;
pub use error::MappedError;
pub use remade::Remade;
pub use status::{MappedInfo, MappedStatus, TargetLine};

/// Longest UUID of a mapped device: device-mapper's `DM_UUID_LEN`, less its final zero.
const DM_UUID_BYTES_MAX: usize = 128;

/// Largest minor number: Linux has 20 bits for it (`MINORBITS`).
const MINOR_MAX: u32 = (1 << 20) - 1;

/// Number of device-mapper's block devices, as far as one can be said to have one here.
pub const MAJOR: u32 = 253;

/// What a mapped device is to be.
#[derive(Debug, Clone, Copy, Default)]
pub struct MappedRequest<'a> {
    /// Device-mapper's UUID.
    pub uuid: Option<&'a str>,
    /// The bdev's, where that is not device-mapper's.
    pub bdev_uuid: Option<Uuid>,
    /// Its number, where that matters.
    pub minor: Option<u32>,
    /// The table.
    pub table: Option<&'a str>,
    /// Whether nothing may be written to it.
    pub readonly: bool,
    /// What is known of the life of its arrays before this one.
    pub before: Before,
}

/// A mapped device.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) bdev: Arc<MappedBdev>,
    minor: u32,
    /// Whether that number was asked for.
    has_own_minor: bool,
    /// One verb at a time.
    verb: Mutex<()>,
    tables: Mutex<Tables>,
    events: Events,
}

/// What a mapped device consists of.
#[derive(Debug, Default)]
struct Tables {
    uuid: String,
    active: Option<Active>,
    /// The table that takes its place now: its arrays run, and no request goes to it yet.
    coming: Option<Active>,
    inactive: Option<Inactive>,
    suspended: bool,
    readonly: bool,
    deferred: bool,
}

/// A table that was loaded.
#[derive(Debug, Clone)]
struct Inactive {
    table: Table,
    /// What is known of the life of its arrays before this one.
    before: Before,
}

/// The table in use.
#[derive(Debug)]
struct Active {
    table: Table,
    /// Arrays by their line.
    arrays: BTreeMap<usize, LiveArray>,
    /// The bdevs of `delay` by their line.
    lags: Lags,
}

/// The bdevs of `delay` by their line.
type Lags = BTreeMap<usize, Arc<LagBdev>>;

/// The array of a line.
#[derive(Debug, Clone)]
struct LiveArray {
    facts: ArrayFacts,
    /// None between an array that was stopped for a table that was refused, and the next resume.
    raid: Option<Arc<RaidBdev>>,
    /// What it knew when it was stopped.
    last: Option<arrays::Last>,
    dials: messages::Dials,
}

/// The event number, and those who wait for it.
#[derive(Debug, Default)]
struct Events {
    number: Mutex<u32>,
    changed: Condvar,
}

impl LiveArray {
    /// Its members as they are, or as they were when it was stopped (**R8**).
    fn members(&self) -> Vec<MemberSnapshot> {
        match (&self.raid, &self.last) {
            (Some(raid), _) => raid.members_known(),
            (None, Some(last)) => last.members().to_vec(),
            (None, None) => Vec::new(),
        }
    }

    /// Whether nothing is to be believed of what is on its log's bdev.
    fn log_failed(&self) -> bool {
        match (&self.raid, &self.last) {
            (Some(raid), _) => recipe::log_failed(&raid.snapshot()),
            (None, last) => last.as_ref().is_some_and(arrays::Last::log_failed),
        }
    }
}

impl Tables {
    /// The table that makes the device again: who writes from now on writes through it.
    fn current(&self) -> Option<&Active> {
        self.coming.as_ref().or(self.active.as_ref())
    }
}

impl Mapped {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        lock(&self.tables)
    }

    fn event_number(&self) -> u32 {
        *lock(&self.events.number)
    }

    fn bump(&self) {
        let mut number = lock(&self.events.number);
        *number = number.wrapping_add(1);
        self.events.changed.notify_all();
    }

    /// That it has another name or UUID is an event, if it has a table: so it is in a kernel
    /// (`dm_hash_rename`).
    fn note_renamed(&self) {
        if self.tables().active.is_some() {
            self.bump();
        }
    }

    /// Whether one of its arrays goes by that name.
    fn has_array(&self, name: &str) -> bool {
        let prefix = format!("dm-{}.", self.minor);
        name.starts_with(&prefix)
    }

    /// The arrays that run: what they go by, and the bdevs of their members.
    pub(in crate::control) fn running_arrays(&self) -> Vec<(String, Arc<RaidBdev>, Vec<String>)> {
        let tables = self.tables();
        let arrays = tables.active.iter().flat_map(|active| &active.arrays);
        let running = arrays.filter_map(|(index, array)| {
            let members = array.facts.members.iter().flatten();
            let members = members.map(|name| name.as_str().to_owned()).collect();
            Some((self.array_name(*index), array.raid.clone()?, members))
        });
        running.collect()
    }

    /// The arrays of the table that makes the device again, as users know them: by the device's name, with
    /// the line, from 0, where there are several.
    pub(in crate::control) fn named_arrays(&self) -> Vec<(String, Arc<RaidBdev>)> {
        let device = self.bdev.name();
        let tables = self.tables();
        let Some(current) = tables.current() else { return Vec::new() };
        let is_alone = current.arrays.len() == 1;
        let name = |line: &usize| match is_alone {
            true => device.clone(),
            // No other mapped device's name has a slash.
            false => format!("{device}/{line}"),
        };
        let all = current.arrays.iter();
        all.filter_map(|(line, array)| Some((name(line), array.raid.clone()?))).collect()
    }

    /// Whether requests wait until it is resumed.
    pub(in crate::control) fn is_suspended(&self) -> bool {
        self.tables().suspended
    }

    /// How requests are best cut; else the bdev that says so.
    pub(in crate::control) fn hints(&self) -> Result<Hints, Option<String>> {
        let tables = self.tables();
        let lines = tables.active.as_ref().map(|active| active.table.lines());
        let Some([only]) = lines else { return Err(None) };
        match (only.target.io_hints(), &only.target) {
            (Some(IoHints { min_bytes, optimal_bytes, .. }), _) => {
                Ok(Hints { min_bytes, optimal_bytes })
            }
            (None, Target::Linear(table)) => Err(Some(table.stretch.device.as_str().to_owned())),
            (None, _) => Err(None),
        }
    }

    /// What the array of a line goes by.
    fn array_name(&self, index: usize) -> String {
        format!("dm-{}.{index}", self.minor)
    }

    /// What waits because it is suspended goes on: the service stops.
    pub(crate) fn let_go(&self) {
        if plane::is_suspended(self)
            && let Err(error) = plane::resume(self, None)
        {
            tracing::error!(bdev = self.bdev.name(), %error, "requests stay where they are");
        }
    }

    /// Stops its arrays for good. Tells whether their parity is right, and all is known of their members.
    pub(crate) fn stop(&self) -> Result<Parity, String> {
        let first = self.arrays();
        let stopped = stop_arrays(&first);
        // A verb that has begun may wait for what has just been stopped. What it has started is stopped too.
        let _verb = lock(&self.verb);
        let is_stopped = |array: &LiveArray| match &array.raid {
            Some(raid) => {
                first.iter().any(|it| it.raid.as_ref().is_some_and(|it| Arc::ptr_eq(it, raid)))
            }
            None => true,
        };
        let late = self.arrays();
        match late.iter().all(is_stopped) {
            true => stopped,
            false => stop_arrays(&late),
        }
    }

    fn arrays(&self) -> Vec<LiveArray> {
        let tables = self.tables();
        tables.active.iter().flat_map(|active| active.arrays.values()).cloned().collect()
    }

    /// The arrays of the table that makes the device again.
    pub(crate) fn raids(&self) -> Vec<Arc<RaidBdev>> {
        let tables = self.tables();
        let arrays = tables.current().into_iter().flat_map(|active| active.arrays.values());
        arrays.filter_map(|array| array.raid.clone()).collect()
    }
}

impl Control {
    /// Makes a mapped device; with a table it is loaded and resumed, or there is no device.
    ///
    /// # Errors
    ///
    /// A name or UUID that is taken, a table that is refused.
    pub fn dm_create(
        &self,
        name: &str,
        request: MappedRequest<'_>,
    ) -> Result<MappedInfo, ControlError> {
        let device = self.add_mapped(name, &request)?;
        let made = request.table.map_or(Ok(()), |table| {
            self.load(&device, table, request.before).and_then(|()| self.resume(&device))
        });
        match made {
            Ok(()) => {
                tracing::info!(bdev = name, "mapped device created");
                let state = self.state();
                Ok(self.info_of(&state.registry, &device))
            }
            Err(error) => {
                if let Err(error) = self.remove(&device, false, false) {
                    tracing::error!(bdev = name, %error, "a mapped device without a table is left");
                }
                Err(error)
            }
        }
    }

    fn add_mapped(
        &self,
        name: &str,
        request: &MappedRequest<'_>,
    ) -> Result<Arc<Mapped>, ControlError> {
        let readonly = request.readonly;
        let dm_uuid = request.uuid.unwrap_or_default();
        let mut state = self.state();
        state.admit_change(name)?;
        check_name(&state.registry, name)?;
        let uuid = check_uuid(&state.registry, name, dm_uuid)?.or(request.bdev_uuid);
        match state.registry.admit(name, uuid) {
            Err(ControlError::NameTaken { .. }) => {
                return Err(MappedError::NameTaken { name: name.to_owned() }.into());
            }
            other => other?,
        }
        let minor = minor_for(&state.registry, name, request.minor)?;
        if let Some(table) = request.table {
            // A call that is refused, and maybe tried again and again, leaves no trace.
            tables::check_words(&state.registry, name, table)?;
        }
        let device = Arc::new(Mapped {
            bdev: plane::create(name, uuid, readonly)?,
            minor,
            has_own_minor: request.minor.is_some(),
            verb: Mutex::default(),
            tables: Mutex::new(Tables { uuid: dm_uuid.to_owned(), readonly, ..Tables::default() }),
            events: Events::default(),
        });
        let bdev = Arc::clone(&device.bdev) as Arc<dyn Bdev>;
        self.add(&mut state, bdev, Backing::Mapped(Arc::clone(&device)));
        Ok(device)
    }

    /// Gives a mapped device another name. Tables that name it follow.
    ///
    /// # Errors
    ///
    /// When there is no such device, or the name is taken or can be none.
    pub fn dm_rename(&self, name: &str, new_name: &str) -> Result<(), ControlError> {
        let device = self.mapped(name)?;
        let _verb = self.turn(&device)?;
        let mut state = self.state();
        let old = device.bdev.name();
        if old == new_name {
            return Err(MappedError::NameTaken { name: new_name.to_owned() }.into());
        }
        check_name(&state.registry, new_name)?;
        match state.registry.admit(new_name, None) {
            Err(ControlError::NameTaken { .. } | ControlError::TooMany { .. }) => {
                return Err(MappedError::NameTaken { name: new_name.to_owned() }.into());
            }
            other => other?,
        }
        plane::rename(&device.bdev, new_name);
        for other in state.registry.mapped() {
            other.tables().rename(&old, new_name);
        }
        for request in state.requests.values_mut() {
            request.rename(&old, new_name);
        }
        state.registry.claim_mapped();
        state.known.rename(&old, new_name);
        drop(state);
        device.note_renamed();
        self.notices.push(NoticeKind::BdevUnregister, &old, None);
        self.notices.push(NoticeKind::BdevRegister, new_name, None);
        tracing::info!(bdev = old, new_name, "mapped device renamed");
        Ok(())
    }

    /// Gives a mapped device the UUID that it does not have yet.
    ///
    /// # Errors
    ///
    /// When there is no such device, it has one, or the UUID is taken.
    pub fn dm_set_uuid(&self, name: &str, uuid: &str) -> Result<(), ControlError> {
        let device = self.mapped(name)?;
        let _verb = self.turn(&device)?;
        let state = self.state();
        if !device.tables().uuid.is_empty() {
            let name = device.bdev.name();
            let why = "it has a UUID, which stays".to_owned();
            return Err(MappedError::Refused { name, errno: errno::EINVAL, why }.into());
        }
        check_uuid(&state.registry, name, uuid)?;
        device.tables().uuid = uuid.to_owned();
        device.note_renamed();
        Ok(())
    }

    /// Waits until the event number of a device is above `known`, or above what it is now. Gives up when
    /// `give_up` says so, the device is removed or the service stops.
    ///
    /// # Errors
    ///
    /// When there is no such device, or the time is over.
    pub fn dm_wait(
        &self,
        name: &str,
        known: Option<u32>,
        patience: Option<Duration>,
        give_up: impl Fn() -> bool,
    ) -> Result<u32, ControlError> {
        let device = self.mapped(name)?;
        let patience = patience.unwrap_or(limits::WAIT_MAX).min(limits::WAIT_MAX);
        let begin = clock::now();
        let known = known.unwrap_or_else(|| device.event_number());
        loop {
            let waited = Duration::from_nanos(clock::now().as_nanos() - begin.as_nanos());
            let number = lock(&device.events.number);
            if *number > known {
                return Ok(*number);
            }
            let left = patience.saturating_sub(waited);
            if left.is_zero() || give_up() || self.is_stopped() {
                let name = device.bdev.name();
                return Err(MappedError::NoEvent { name, number: *number }.into());
            }
            let slice = left.min(limits::WAIT_SLICE);
            let woken = device.events.changed.wait_timeout(number, slice);
            drop(woken.unwrap_or_else(PoisonError::into_inner));
            self.mapped(&device.bdev.name())?;
        }
    }

    /// Something has happened to an array: the event number of its mapped device goes up. The event comes
    /// back under the device's name.
    pub(super) fn note_mapped(&self, event: ArrayEvent) -> ArrayEvent {
        let device = {
            let state = self.state();
            state.registry.mapped().find(|device| device.has_array(&event.array))
        };
        let Some(device) = device else { return event };
        match event.event {
            RaidEvent::MemberFailed { .. } | RaidEvent::LogFailed | RaidEvent::SyncEnded { .. } => {
                device.bump()
            }
            RaidEvent::Degraded
            | RaidEvent::Broken
            | RaidEvent::Optimal
            | RaidEvent::MemberAdded { .. }
            | RaidEvent::SyncStarted { .. }
            | RaidEvent::SyncDelayed { .. } => {}
        }
        ArrayEvent { array: device.bdev.name(), ..event }
    }

    /// Waits for the turn of a verb to change a device. Meanwhile it may have been removed, and its name
    /// given to another.
    fn turn<'a>(&self, device: &'a Mapped) -> Result<MutexGuard<'a, ()>, ControlError> {
        let verb = lock(&device.verb);
        let (state, name) = (self.state(), device.bdev.name());
        state.admit_change(&name)?;
        match state.registry.mapped().any(|it| std::ptr::eq(&*it, device)) {
            true => Ok(verb),
            false => Err(MappedError::NoDevice { name }.into()),
        }
    }

    /// The mapped device of that name, `/dev/mapper/` name, or UUID of either sort.
    fn mapped(&self, name: &str) -> Result<Arc<Mapped>, ControlError> {
        let state = self.state();
        let found = find_mapped(&state.registry, name);
        found.ok_or_else(|| MappedError::NoDevice { name: name.to_owned() }.into())
    }
}

/// All of them stop, whatever the first one says.
fn stop_arrays(arrays: &[LiveArray]) -> Result<Parity, String> {
    let stop = |array: &LiveArray| match (&array.raid, &array.last) {
        (Some(raid), _) => stop_for_good(raid),
        (None, last) => Ok(Parity::of(last.as_ref().is_some_and(arrays::Last::in_sync))),
    };
    let stopped: Vec<_> = arrays.iter().map(stop).collect();
    stopped.into_iter().try_fold(Parity::Right, |all, one| Ok(all.and(one?)))
}

fn find_mapped(registry: &Registry, name: &str) -> Option<Arc<Mapped>> {
    let short = name.strip_prefix(tables::DIRECTORY).unwrap_or(name);
    let named = registry.find(short).and_then(|entry| entry.mapped().cloned());
    named.or_else(|| registry.mapped().find(|device| device.tables().uuid == name))
}

/// A name that no bdev has as its own, and that could stand in a table.
fn check_name(registry: &Registry, name: &str) -> Result<(), ControlError> {
    let bad = name.contains('/') || name == "-";
    match bad {
        true => {
            let why = "a mapped device's name has no slash in it, and is not \"-\"".to_owned();
            Err(MappedError::Refused { name: name.to_owned(), errno: errno::EINVAL, why }.into())
        }
        false if find_mapped(registry, name).is_some() => {
            Err(MappedError::NameTaken { name: name.to_owned() }.into())
        }
        false => Ok(()),
    }
}

/// The bdev's UUID, if device-mapper's is one.
fn check_uuid(registry: &Registry, name: &str, uuid: &str) -> Result<Option<Uuid>, ControlError> {
    let refused = |errno, why: &str| {
        Err(MappedError::Refused { name: name.to_owned(), errno, why: why.to_owned() }.into())
    };
    if uuid.len() > DM_UUID_BYTES_MAX || uuid.chars().any(char::is_control) {
        return refused(errno::EINVAL, "a UUID has at most 128 bytes, and no control characters");
    }
    let taken = |device: Arc<Mapped>| device.tables().uuid == uuid;
    if !uuid.is_empty() && registry.mapped().any(taken) {
        return refused(errno::EBUSY, "another mapped device has this UUID");
    }
    Ok(uuid.parse().ok())
}

/// The number that a new device is to have, or a free one.
fn minor_for(registry: &Registry, name: &str, wanted: Option<u32>) -> Result<u32, ControlError> {
    let taken: Vec<u32> = registry.mapped().map(|device| device.minor).collect();
    let Some(minor) = wanted else {
        let mut all = 0..=MINOR_MAX;
        return Ok(all.find(|minor| !taken.contains(minor)).expect("there are fewer devices"));
    };
    let refused =
        |errno, why: String| Err(MappedError::Refused { name: name.to_owned(), errno, why }.into());
    match taken.contains(&minor) {
        _ if minor > MINOR_MAX => {
            refused(errno::EINVAL, format!("minor {minor}: give 0 to {MINOR_MAX}"))
        }
        true => {
            let why =
                format!("minor {minor}: another mapped device has this number: dm_ls lists them");
            refused(errno::EBUSY, why)
        }
        false => Ok(minor),
    }
}
