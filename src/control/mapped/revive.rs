//! Members that had failed come back when their device is resumed, if they answer again: dm-raid's
//! `attempt_restore_of_faulty_devices`.
//!
//! As there, only those with a metadata device, which is what is asked. What such a member holds is not
//! trusted: all of it is rebuilt (**R8**).
//!
//! Not here: members that come back with another table (`arrays`, `metadata`).

use array::RaidBdev;
use device::Bdev;
use raid::coordinator::Scope;
use raid::units::Slot;
use uuid::Uuid;

use super::super::Control;
use super::Mapped;
use crate::dm::ArrayFacts;

impl Control {
    /// Takes failed members back that answer.
    pub(super) fn revive(&self, device: &Mapped) {
        let arrays: Vec<_> = {
            let tables = device.tables();
            let arrays = tables.active.iter().flat_map(|active| active.arrays.values());
            arrays.filter_map(|array| Some((array.facts.clone(), array.raid.clone()?))).collect()
        };
        for (facts, raid) in arrays {
            let missing: Vec<Slot> = raid.snapshot().missing().collect();
            for slot in missing {
                self.revive_member(device, &facts, &raid, slot);
            }
        }
    }

    fn revive_member(&self, device: &Mapped, facts: &ArrayFacts, raid: &RaidBdev, slot: Slot) {
        let of = |names: &[Option<crate::dm::DeviceName>]| {
            let name = names.get(slot.index())?.as_ref()?;
            self.bdev(name.as_str()).ok()
        };
        let (Some(member), Some(metadata)) = (of(&facts.members), of(&facts.metadata)) else {
            return;
        };
        let Some(reactor) = self.reactors().first() else { return };
        let name = device.bdev.name();
        if array::probe(reactor, &metadata).is_err() {
            tracing::warn!(bdev = name, %slot, "its metadata device does not answer: stays out");
            return;
        }
        let used = self.state().registry.as_used(&[Some(member)]);
        let Some(member) = used.into_iter().flatten().next() else { return };
        match raid.add_member(&member, Some(slot), Scope::Whole, Uuid::new_v4()) {
            Ok(_) => tracing::info!(bdev = name, %slot, "had failed, answers, and is rebuilt"),
            Err(error) => tracing::warn!(bdev = name, %slot, %error, "member cannot come back"),
        }
    }
}
