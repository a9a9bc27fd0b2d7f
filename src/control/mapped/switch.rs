//! Suspend, resume and removal: when arrays are stopped and started, and what waits meanwhile.
//!
//! ```text
//!   resume with an inactive table
//!     suspend, if that is not done -> stop the arrays of the active table, in order: logs are clean
//!       -> start those of the inactive one -> swap -> what waited goes on
//!                  | one cannot
//!                  +-> the inactive table is dropped, the device stays suspended; the next resume starts
//!                      the arrays of the active table again
//! ```
//!
//! Arrays below a suspended device do nothing in the background.
//!
//! Not here: queueing and draining (`device::mapped`).

use std::collections::BTreeMap;
use std::sync::Arc;

use array::RaidBdev;
use device::{Bdev, SuspendMode};

use super::super::error::ControlError;
use super::super::notices::NoticeKind;
use super::super::registry::Claim;
use super::super::{Control, lock};
use super::arrays::{Last, stop_all};
use super::{Active, Inactive, LiveArray, Mapped, MappedError, plane};

impl Control {
    /// Suspends a device. One that is suspended stays so.
    ///
    /// # Errors
    ///
    /// When there is no such device, or what is in flight does not end; it goes on then.
    pub fn dm_suspend(&self, name: &str, noflush: bool) -> Result<(), ControlError> {
        let device = self.mapped(name)?;
        let _verb = lock(&device.verb);
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
        let device = self.mapped(name)?;
        let _verb = lock(&device.verb);
        let inactive = device.tables().inactive.clone();
        let first = device.tables().active.is_none() && inactive.is_some();
        match inactive {
            Some(inactive) => self.switch(&device, inactive)?,
            None => self.go_on(&device)?,
        }
        self.arrange_permits(&mut self.state());
        if first {
            self.examine_bdev(&device.bdev.name())?;
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
        let table = match stopped {
            None => None,
            Some((table, last)) => {
                let arrays = self.build_arrays(device, &table, &last)?;
                let (plane, lags) = self.plane_table(device, &table, &arrays)?;
                device.tables().active = Some(Active { table, arrays, lags });
                Some(plane)
            }
        };
        let frozen_before = table.is_none() && device.tables().suspended;
        plane::resume(device, table)?;
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
        let last = stop_active(device);
        let switched = self.start_table(device, inactive, &last);
        let mut state = self.state();
        {
            let mut tables = device.tables();
            tables.inactive = None;
            if let Ok(active) = switched {
                tables.active = Some(active);
                tables.suspended = false;
                drop(tables);
                state.registry.claim_mapped();
                drop(state);
                self.nvmf().look_at_sizes();
                return Ok(());
            }
        }
        state.registry.claim_mapped();
        switched.map(drop)
    }

    /// Starts the arrays of a table, and has requests go to it.
    fn start_table(
        &self,
        device: &Mapped,
        inactive: Inactive,
        last: &[Last],
    ) -> Result<Active, ControlError> {
        let table = inactive.table;
        let arrays = self.build_arrays(device, &table, last)?;
        let resumed = self
            .plane_table(device, &table, &arrays)
            .and_then(|(plane, lags)| plane::resume(device, Some(plane)).map(|()| lags));
        match resumed {
            Ok(lags) => Ok(Active { table, arrays, lags }),
            Err(error) => {
                stop_all(arrays.values());
                Err(error)
            }
        }
    }

    /// Removes a device; says whether it is gone already.
    ///
    /// # Errors
    ///
    /// When there is no such device, or somebody uses it and it is not to be removed later.
    pub fn dm_remove(&self, name: &str, deferred: bool, force: bool) -> Result<bool, ControlError> {
        let device = self.mapped(name)?;
        let verb = lock(&device.verb);
        let name = device.bdev.name();
        if force && device.tables().active.is_some() {
            self.fail_everything(&device)?;
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
            state.registry.claim_named(&name, Claim::Removal);
        }
        stop_active(&device);
        let mut state = self.state();
        let removed = state.registry.remove(&name);
        state.registry.claim_mapped();
        self.changed.notify_all();
        drop(state);
        drop(removed);
        self.notices.push(NoticeKind::BdevUnregister, &name, None);
        tracing::info!(bdev = name, "mapped device removed");
        drop(verb);
        // What it was made of may be due now.
        self.remove_deferred();
        Ok(true)
    }

    /// Removes the devices that were to be removed when nobody uses them any more.
    pub(in crate::control) fn remove_deferred(&self) {
        loop {
            let due = {
                let state = self.state();
                let mut devices = state.registry.mapped().filter(|device| {
                    let free = state.registry.find(&device.bdev.name());
                    device.tables().deferred && free.is_some_and(|entry| entry.claim.is_none())
                });
                devices.next()
            };
            let Some(device) = due else { return };
            if let Err(error) = self.dm_remove(&device.bdev.name(), true, false) {
                tracing::error!(%error, "deferred removal");
                return;
            }
        }
    }

    /// Puts a table of errors in place of the active one: requests end.
    fn fail_everything(&self, device: &Mapped) -> Result<(), ControlError> {
        if !device.tables().suspended {
            suspend(device, SuspendMode::NoFlush)?;
        }
        stop_active(device);
        plane::resume(device, Some(plane::errors(device)?))?;
        device.tables().suspended = false;
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
    let mut arrays: BTreeMap<usize, LiveArray> = {
        let tables = device.tables();
        tables.active.as_ref().map(|active| active.arrays.clone()).unwrap_or_default()
    };
    for array in arrays.values_mut() {
        let Some(raid) = array.raid.take() else { continue };
        array.last = Some(Last::of(&array.facts, &raid.snapshot()));
        let stopped = LiveArray { raid: Some(raid), ..array.clone() };
        stop_all(std::iter::once(&stopped));
    }
    let last = arrays.values().filter_map(|array| array.last.clone()).collect();
    if let Some(active) = &mut device.tables().active {
        active.arrays = arrays;
    }
    last
}
