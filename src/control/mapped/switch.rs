//! Suspend, resume and removal: when arrays are stopped and started, and what waits meanwhile.
//!
//! ```text
//!   resume with an inactive table
//!     suspend, if that is not done -> stop the arrays of the active table, in order: logs are clean
//!       -> start those of the inactive one -> the state says so -> what waited goes on -> swap
//!                  | one cannot                    | it cannot
//!                  +-------------------------------+-> the inactive table is dropped, the device stays
//!                      suspended; the next resume starts the arrays of the active table again
//! ```
//!
//! Arrays below a suspended device do nothing in the background.
//!
//! Invariants: **R8**: no write is let through to a table before the state of the service, where it keeps
//! one, is of that table; what arrays knew when they were stopped is never forgotten.
//!
//! Not here: queueing and draining (`device::mapped`).

use std::collections::BTreeMap;
use std::sync::Arc;

use array::{Before, RaidBdev};
use device::{Bdev, MappedTable, SuspendMode, lingering_requests, still_lingering};
use rpc::error::errno;

use super::super::Control;
use super::super::error::ControlError;
use super::super::notices::NoticeKind;
use super::super::registry::Claim;
use super::arrays::{Last, stop_all};
use super::{Active, Inactive, Mapped, MappedError, plane};

impl Control {
    /// Suspends a device. One that is suspended stays so.
    ///
    /// # Errors
    ///
    /// When there is no such device, or what is in flight does not end; it goes on then.
    pub fn dm_suspend(&self, name: &str, noflush: bool) -> Result<(), ControlError> {
        let device = self.mapped(name)?;
        let _verb = self.turn(&device)?;
        if device.tables().suspended {
            return Ok(());
        }
        suspend(&device, if noflush { SuspendMode::NoFlush } else { SuspendMode::Flush })?;
        tracing::info!(bdev = device.bdev.name(), "suspended");
        self.changed.notify_all();
        Ok(())
    }

    /// Makes the inactive table the active one, if there is one, and lets requests go on.
    ///
    /// # Errors
    ///
    /// When there is no such device, or the table is refused: the device stays suspended then, with the
    /// table that it had.
    pub fn dm_resume(&self, name: &str) -> Result<(), ControlError> {
        self.resume(&*self.mapped(name)?)
    }

    pub(super) fn resume(&self, device: &Mapped) -> Result<(), ControlError> {
        let _verb = self.turn(device)?;
        let inactive = device.tables().inactive.clone();
        let switches = inactive.is_some();
        let first = device.tables().active.is_none() && switches;
        match inactive {
            Some(inactive) => self.switch(device, inactive)?,
            None => self.go_on(device)?,
        }
        self.arrange_permits(&mut self.state());
        let name = device.bdev.name();
        if first || switches && self.state().known.has(&name) {
            self.examine_bdev(&name)?;
        }
        tracing::info!(bdev = device.bdev.name(), "resumed");
        self.changed.notify_all();
        Ok(())
    }

    /// Requests go on to the table that there is.
    fn go_on(&self, device: &Mapped) -> Result<(), ControlError> {
        let stopped = {
            let tables = device.tables();
            let arrays = tables.active.iter().flat_map(|active| active.arrays.values());
            let any_stopped = arrays.clone().any(|array| array.raid.is_none());
            let last: Vec<Last> = arrays.filter_map(|array| array.last.clone()).collect();
            let table = tables.active.as_ref().filter(|_| any_stopped);
            table.map(|active| (active.table.clone(), last))
        };
        if let Some((table, last)) = stopped {
            return self.start_table(device, Inactive { table, before: Before::default() }, &last);
        }
        let frozen_before = device.tables().suspended;
        plane::resume(device, None)?;
        device.tables().suspended = false;
        if frozen_before {
            thaw(device);
            self.revive(device);
        }
        Ok(())
    }

    fn switch(&self, device: &Mapped, inactive: Inactive) -> Result<(), ControlError> {
        if !device.tables().suspended {
            suspend(device, SuspendMode::Flush)?;
        }
        // Whoever reads it after this is answered by the new table.
        self.state().registry.touch(&device.bdev.name());
        let last = stop_active(device);
        let switched = self.start_table(device, inactive, &last);
        device.tables().inactive = None;
        self.state().registry.claim_mapped();
        switched?;
        self.nvmf().look_at_sizes();
        Ok(())
    }

    /// Starts the arrays of a table, and has requests go to it. If that cannot be, all is as it was.
    fn start_table(
        &self,
        device: &Mapped,
        inactive: Inactive,
        last: &[Last],
    ) -> Result<(), ControlError> {
        let Inactive { table, before } = inactive;
        let arrays = self.build_arrays(device, &table, last, before)?;
        let entered = self.plane_table(device, &table, &arrays).and_then(|(plane, lags)| {
            let arrays = arrays.clone();
            self.enter(device, plane, Active { table, arrays, lags })
        });
        entered.inspect_err(|_| stop_all(arrays.values()))
    }

    /// Lets requests go to a table whose arrays run.
    fn enter(
        &self,
        device: &Mapped,
        plane: MappedTable,
        active: Active,
    ) -> Result<(), ControlError> {
        let is_first = {
            let mut tables = device.tables();
            tables.coming = Some(active);
            tables.active.is_none()
        };
        // Of a new device nobody knows yet: its call is answered when the state is written.
        let recorded = if is_first { Ok(()) } else { self.record(device) };
        let resumed = recorded.and_then(|()| plane::resume(device, Some(plane)));
        let mut tables = device.tables();
        let coming = tables.coming.take();
        resumed?;
        tables.active = coming;
        tables.suspended = false;
        Ok(())
    }

    /// Has the state of the service say how the device is now.
    fn record(&self, device: &Mapped) -> Result<(), ControlError> {
        self.tell_keeper(false).map_err(|error| {
            let (name, errno) = (device.bdev.name(), errno::EIO);
            let reason = format!("the state cannot be written: {error}");
            MappedError::Plane { name, reason, errno }.into()
        })
    }

    /// Removes a device; says whether it is gone already.
    ///
    /// # Errors
    ///
    /// When there is no such device, or somebody uses it and it is not to be removed later.
    pub fn dm_remove(&self, name: &str, deferred: bool, force: bool) -> Result<bool, ControlError> {
        self.remove(&*self.mapped(name)?, deferred, force)
    }

    pub(super) fn remove(
        &self,
        device: &Mapped,
        deferred: bool,
        force: bool,
    ) -> Result<bool, ControlError> {
        let verb = self.turn(device)?;
        let removed = self.remove_now(device, deferred, force);
        drop(verb);
        if let Ok(true) = removed {
            // What it was made of may be due now.
            self.remove_deferred();
        }
        removed
    }

    /// The same in its turn.
    pub(super) fn remove_now(
        &self,
        device: &Mapped,
        deferred: bool,
        force: bool,
    ) -> Result<bool, ControlError> {
        let name = device.bdev.name();
        if force && device.tables().active.is_some() {
            self.fail_everything(device)?;
        }
        {
            let mut state = self.state();
            let claim = state.registry.get(&name)?.claim.clone();
            match claim {
                None => {}
                Some(_) if deferred => {
                    device.tables().deferred = true;
                    tracing::info!(bdev = name, "to be removed when nobody uses it");
                    return Ok(false);
                }
                Some(claim) => return Err(MappedError::Busy { name, claim }.into()),
            }
            let requests = still_lingering(device.bdev.info().uuid);
            match requests {
                0 => {}
                // What it was made of would be free, and nobody would know of them.
                _ if deferred => {
                    device.tables().deferred = true;
                    tracing::info!(bdev = name, requests, "to be removed when they have ended");
                    return Ok(false);
                }
                requests => return Err(ControlError::Lingering { name, requests }),
            }
            state.registry.claim_named(&name, Claim::Removal);
        }
        stop_active(device);
        let mut state = self.state();
        let removed = state.registry.remove(&name);
        state.known.forget(&name);
        state.registry.claim_mapped();
        self.changed.notify_all();
        drop(state);
        drop(removed);
        self.notices.push(NoticeKind::BdevUnregister, &name, None);
        tracing::info!(bdev = name, "mapped device removed");
        Ok(true)
    }

    /// Removes the devices that were to be removed when nobody uses them any more.
    pub(in crate::control) fn remove_deferred(&self) {
        loop {
            let due = {
                let state = self.state();
                let mut devices = state.registry.mapped().filter(|device| {
                    let free = state.registry.find(&device.bdev.name());
                    let at_rest = lingering_requests(device.bdev.info().uuid) == 0;
                    let free = free.is_some_and(|entry| entry.claim.is_none());
                    device.tables().deferred && at_rest && free
                });
                devices.next()
            };
            let Some(device) = due else { return };
            match self.remove(&device, true, false) {
                Ok(true) => {}
                // Somebody uses it again.
                Ok(false) => return,
                Err(error) => {
                    tracing::error!(%error, "deferred removal");
                    return;
                }
            }
        }
    }

    /// Puts a table of errors in place of the active one, which is gone then: requests end.
    fn fail_everything(&self, device: &Mapped) -> Result<(), ControlError> {
        if !device.tables().suspended {
            suspend(device, SuspendMode::NoFlush)?;
        }
        self.state().registry.touch(&device.bdev.name());
        let table = plane::error_table(device);
        stop_active(device);
        let (plane, lags) = self.plane_table(device, &table, &BTreeMap::new())?;
        plane::resume(device, Some(plane))?;
        let arrays = BTreeMap::new();
        let mut tables = device.tables();
        tables.active = Some(Active { table, arrays, lags });
        tables.suspended = false;
        drop(tables);
        self.state().registry.claim_mapped();
        Ok(())
    }
}

fn suspend(device: &Mapped, mode: SuspendMode) -> Result<(), ControlError> {
    for (raid, _) in running(device) {
        raid.interrupt(true);
    }
    match plane::suspend(device, mode) {
        Ok(()) => {
            device.tables().suspended = true;
            Ok(())
        }
        Err(error) => {
            thaw(device);
            Err(error)
        }
    }
}

/// Arrays do again what they have to in the background, but for those that a message has frozen.
fn thaw(device: &Mapped) {
    for (raid, frozen) in running(device) {
        if !frozen {
            raid.interrupt(false);
        }
    }
}

/// The arrays that run, and whether a message has frozen them.
fn running(device: &Mapped) -> Vec<(Arc<RaidBdev>, bool)> {
    let tables = device.tables();
    let arrays = tables.active.iter().flat_map(|active| active.arrays.values());
    arrays.filter_map(|array| Some((array.raid.clone()?, array.dials.frozen))).collect()
}

/// Stops the arrays of the active table, and tells what they knew.
fn stop_active(device: &Mapped) -> Vec<Last> {
    let running: Vec<(usize, Arc<RaidBdev>)> = {
        let mut tables = device.tables();
        let arrays = tables.active.iter_mut().flat_map(|active| active.arrays.iter_mut());
        // What they know stands in the table before they are gone (**R8**).
        let taken = arrays.filter_map(|(&index, array)| {
            let raid = array.raid.take()?;
            array.last = Some(Last::of(&array.facts, &raid.snapshot()));
            Some((index, raid))
        });
        taken.collect()
    };
    for (index, raid) in running {
        let (end, outcome) = raid.stop_telling();
        if let Err(error) = &outcome {
            tracing::error!(array = raid.name(), %error, "not stopped cleanly");
        }
        let mut tables = device.tables();
        let array = tables.active.as_mut().and_then(|active| active.arrays.get_mut(&index));
        if let Some(array) = array {
            let last = Last::of(&array.facts, &end);
            array.last = Some(if outcome.is_ok() { last.stopped_in_order() } else { last });
        }
    }
    let tables = device.tables();
    let arrays = tables.active.iter().flat_map(|active| active.arrays.values());
    arrays.filter_map(|array| array.last.clone()).collect()
}
