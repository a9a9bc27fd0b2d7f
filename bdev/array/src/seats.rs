//! Devices that take and leave the slots of an array while it runs.
//!
//! ```text
//!   add_member --> channels on every reactor --> AddMember --decided--> the map says Rebuilding
//!                                                   |    |         `--> Missing again: it has failed
//!                                     not in time --'    `--> CancelAdd --> channels closed
//!   remove_member --> MemberFailed(Removed) --> the map says Missing
//! ```
//!
//! A device that does not come to its slot in time is taken back from the coordinator before its channels
//! are closed: a map that names a member without channels would be the end of the shard.
//!
//! Not here: which device should join (the service), what a change does (`raid::coordinator`).

use crate::member::Member;
use crate::raid_bdev::{Local, RaidBdev};
use crate::shard::ArrayShard;
use crate::snapshot::RaidSnapshot;
use crate::spec::{AddError, RemoveError, RestError};
use device::{Bdev, OpenError, still_lingering};
use raid::coordinator::{AddRefusal, Input, RemoveRefusal, Scope};
use raid::event::FailCause;
use raid::geometry::Geometry;
use raid::member::MemberState;
use raid::units::Slot;
use reactor::Ticks;
use std::sync::Arc;
use uuid::Uuid;

impl RaidBdev {
    /// Takes a member out while the array runs: it is degraded from then on. One that has failed is only
    /// let go of.
    ///
    /// # Errors
    /// When there is no such member, or the array cannot do without it.
    pub fn remove_member(&self, slot: Slot) -> Result<(), RemoveError> {
        let _command = self.lock();
        self.check_seat(slot)?;
        // Decided where failures arrive, and in one step with the removal: another member may be failing.
        let decided = self.on_shard(0, move |shard, now| {
            shard.command(now, |core, orders| {
                let state = core.check_remove(slot)?;
                if matches!(state, MemberState::InSync | MemberState::Rebuilding) {
                    let cause = FailCause::Removed;
                    core.handle(now.0, Input::MemberFailed { slot, cause }, orders);
                }
                Ok::<(), RemoveRefusal>(())
            })
        });
        match decided {
            Some(Ok(())) => self.wait_for(|state| state.map.missing().contains(slot))?,
            Some(Err(refusal)) => return Err(self.refuse_removal(refusal)),
            // Of an array that is stopped a member is only let go of.
            None => {}
        }
        self.seats()[slot.index()] = None;
        Ok(())
    }

    fn check_seat(&self, slot: Slot) -> Result<(), RemoveError> {
        let members = self.members();
        if matches!(members.get(slot.index()), Some(Some(_))) {
            return Ok(());
        }
        let name = self.common.info.name.clone();
        let present = (0..members.len()).filter(|&i| members[i].is_some()).collect();
        Err(RemoveError::NoMember { name, slot: slot.index(), present })
    }

    fn refuse_removal(&self, refusal: RemoveRefusal) -> RemoveError {
        let name = self.common.info.name.clone();
        match refusal {
            RemoveRefusal::NotRedundant { missing } => {
                let (level, allowed) = (self.geometry.level(), self.geometry.parity_strips());
                RemoveError::NotRedundant { name, missing, level, allowed }
            }
            RemoveRefusal::NotInSync { unsynced, regions } => {
                RemoveError::NotInSync { name, unsynced, regions }
            }
        }
    }

    /// Puts a device into an empty or failed slot, the first one if none is given, and starts to rebuild
    /// it. Returns the slot.
    ///
    /// # Errors
    /// When no slot is free or the device does not fit; nothing has changed then.
    pub fn add_member(
        &self,
        bdev: &Arc<dyn Bdev>,
        slot: Option<Slot>,
        scope: Scope,
        member_uuid: Uuid,
    ) -> Result<Slot, AddError> {
        self.add_member_within(self.quiesce_timeout_s(), bdev, slot, scope, member_uuid)
    }

    fn add_member_within(
        &self,
        seconds: u64,
        bdev: &Arc<dyn Bdev>,
        slot: Option<Slot>,
        scope: Scope,
        member_uuid: Uuid,
    ) -> Result<Slot, AddError> {
        let name = || self.common.info.name.clone();
        let snapshot = self.snapshot();
        let _command = self.lock();
        // Before channels are opened: they would take the place of those of a device that is just joining.
        let slot = self.check_free(&snapshot, bdev, slot)?;
        self.open_everywhere(bdev, slot)?;
        let asked = self.on_shard(0, move |shard, now| {
            shard.command(now, |core, orders| {
                core.check_add(slot)?;
                let decided = core.joins_decided();
                core.handle(now.0, Input::AddMember { slot, scope, member_uuid }, orders);
                Ok::<u64, AddRefusal>(decided)
            })
        });
        let decided = match asked {
            Some(Ok(decided)) => decided,
            Some(Err(source)) => {
                self.close_everywhere();
                return Err(AddError::Refused { name: name(), source });
            }
            None => return Err(RestError::Stopped { name: name() }.into()),
        };
        let waited = self.poll_until(seconds, || {
            let now = self.on_shard(0, |shard, _| {
                shard.conductor.as_ref().map(|conductor| conductor.core.joins_decided())
            });
            now.flatten().is_none_or(|now| now > decided)
        });
        if let Err(error) = waited
            && self.cancel_add(slot)
        {
            self.close_everywhere();
            return Err(error.into());
        }
        self.check_joined(bdev, slot)?;
        self.seats()[slot.index()] = Some(bdev.clone());
        Ok(slot)
    }

    /// Whether a device could be put into that slot, the first empty or failed one if none is given. Returns
    /// the slot. What is on the device is not looked at.
    ///
    /// # Errors
    /// As [`add_member`](Self::add_member).
    pub fn check_member(&self, bdev: &Arc<dyn Bdev>, slot: Option<Slot>) -> Result<Slot, AddError> {
        let snapshot = self.snapshot();
        let _command = self.lock();
        self.check_free(&snapshot, bdev, slot)
    }

    fn check_free(
        &self,
        snapshot: &RaidSnapshot,
        bdev: &Arc<dyn Bdev>,
        slot: Option<Slot>,
    ) -> Result<Slot, AddError> {
        let Some(slot) = slot.or_else(|| snapshot.missing().next()) else {
            return Err(AddError::NoSlot { name: self.common.info.name.clone() });
        };
        self.check_fits(bdev, slot)?;
        self.check_add(slot)?;
        Ok(slot)
    }

    fn check_add(&self, slot: Slot) -> Result<(), AddError> {
        let name = || self.common.info.name.clone();
        let check = move |shard: &mut ArrayShard, _| {
            shard.conductor.as_ref().map(|conductor| conductor.core.check_add(slot))
        };
        match self.on_shard(0, check).flatten() {
            Some(Ok(())) => Ok(()),
            Some(Err(source)) => Err(AddError::Refused { name: name(), source }),
            None => Err(RestError::Stopped { name: name() }.into()),
        }
    }

    /// Takes a device back that has not joined; says whether it still had not. Only then may its channels
    /// be closed: the coordinator would give it its slot whenever the shards come to rest.
    fn cancel_add(&self, slot: Slot) -> bool {
        let cancel = move |shard: &mut ArrayShard, now: Ticks| {
            shard.command(now, |core, orders| {
                let waits = core.is_joining(slot);
                core.handle(now.0, Input::CancelAdd { slot }, orders);
                waits
            })
        };
        self.on_shard(0, cancel).unwrap_or(true)
    }

    /// Whether the device has its slot. It may have failed in the very moment in which it took it.
    fn check_joined(&self, bdev: &Arc<dyn Bdev>, slot: Slot) -> Result<(), AddError> {
        let name = || self.common.info.name.clone();
        match self.on_shard(0, |shard, _| shard.see()).flatten() {
            None => Err(RestError::Stopped { name: name() }.into()),
            Some(seen) if seen.map.missing().contains(slot) => {
                Err(AddError::Failed { name: name(), member: bdev.info().name.clone(), slot })
            }
            Some(_) => Ok(()),
        }
    }

    fn check_fits(&self, bdev: &Arc<dyn Bdev>, slot: Slot) -> Result<(), AddError> {
        let (name, info) = (&self.common.info.name, bdev.info());
        check_shape(name, &self.geometry, bdev, self.geometry.data_offset_bytes(slot))?;
        let requests = still_lingering(info.uuid);
        if requests > 0 {
            let (name, member) = (name.clone(), info.name.clone());
            return Err(AddError::Lingering { name, member, requests });
        }
        Ok(())
    }

    /// Opens a channel on every reactor for a device that is about to take a slot.
    fn open_everywhere(&self, bdev: &Arc<dyn Bdev>, slot: Slot) -> Result<(), AddError> {
        let (key, name) = (self.key(), || self.common.info.name.clone());
        for reactor in &self.reactors {
            let device = bdev.clone();
            let opened = reactor.call(move |cx| {
                let channel = device.open_channel(cx)?;
                if let Some(local) = cx.find_local::<Local>(key) {
                    let member = Member::new(&device, channel);
                    local.shard.borrow_mut().prepare(slot, member);
                }
                Ok::<(), OpenError>(())
            });
            match opened {
                Ok(Ok(())) => {}
                Ok(Err(source)) => {
                    self.close_everywhere();
                    return Err(AddError::Open { name: name(), source });
                }
                Err(_) => {
                    self.close_everywhere();
                    return Err(RestError::Stopped { name: name() }.into());
                }
            }
        }
        Ok(())
    }

    /// Closes them again.
    fn close_everywhere(&self) {
        self.on_every_shard(|shard, _| shard.unprepare());
    }
}

/// Refuses a device that could not take a slot of an array: that is too small for what the largest slot takes,
/// or has larger blocks than the array.
///
/// # Errors
/// What is wrong with it, in the words in which a slot would be refused to it.
pub fn check_spare(name: &str, geometry: &Geometry, bdev: &Arc<dyn Bdev>) -> Result<(), AddError> {
    let slots = (0u8..).take(geometry.members()).map(Slot);
    let offset_bytes = slots.map(|slot| geometry.data_offset_bytes(slot)).max().unwrap_or_default();
    check_shape(name, geometry, bdev, offset_bytes)
}

/// The same for the slot in which the data begins there.
fn check_shape(
    name: &str,
    geometry: &Geometry,
    bdev: &Arc<dyn Bdev>,
    offset_bytes: u64,
) -> Result<(), AddError> {
    let info = bdev.info();
    let (name, member) = (|| name.to_owned(), || info.name.clone());
    let needed_bytes = offset_bytes.saturating_add(geometry.component_bytes());
    let size_bytes = info.size_bytes();
    if size_bytes < needed_bytes {
        let (name, member) = (name(), member());
        return Err(AddError::TooSmall { name, member, size_bytes, needed_bytes });
    }
    let right = geometry.block_size_bytes();
    if info.block_size_bytes > right {
        let (name, member) = (name(), member());
        let block_size_bytes = info.block_size_bytes;
        return Err(AddError::Blocks { name, member, block_size_bytes, right });
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
