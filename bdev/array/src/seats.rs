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

use crate::limits::QUIESCE_TIMEOUT_S;
use crate::member::Member;
use crate::raid_bdev::{Local, RaidBdev};
use crate::shard::ArrayShard;
use crate::spec::{AddError, RemoveError, RestError};
use device::{Bdev, OpenError, still_lingering};
use raid::coordinator::{AddRefusal, Input, RemoveRefusal, Scope};
use raid::event::FailCause;
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
        self.add_member_within(QUIESCE_TIMEOUT_S, bdev, slot, scope, member_uuid)
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
        let slot = match slot {
            Some(slot) => slot,
            None => snapshot.missing().next().ok_or_else(|| AddError::NoSlot { name: name() })?,
        };
        self.check_fits(bdev, slot)?;
        // Asked before channels are opened too: they would take the place of those of a device that is
        // just joining.
        self.check_add(slot)?;
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
        let (name, info) = (|| self.common.info.name.clone(), bdev.info());
        let needed_bytes = self.geometry.data_offset_bytes(slot) + self.geometry.component_bytes();
        let size_bytes = info.size_bytes();
        if size_bytes < needed_bytes {
            let member = info.name.clone();
            return Err(AddError::TooSmall { name: name(), member, size_bytes, needed_bytes });
        }
        let right = self.geometry.block_size_bytes();
        if info.block_size_bytes > right {
            let (member, block_size_bytes) = (info.name.clone(), info.block_size_bytes);
            return Err(AddError::Blocks { name: name(), member, block_size_bytes, right });
        }
        let requests = still_lingering(info.uuid);
        if requests > 0 {
            return Err(AddError::Lingering { name: name(), member: info.name.clone(), requests });
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

#[cfg(test)]
mod tests;
