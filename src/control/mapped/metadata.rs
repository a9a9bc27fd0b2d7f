//! Arrays whose superblocks are on metadata devices, as dm-raid has them.
//!
//! ```text
//!   metadata device 0   superblock: slot 0, event 17     --> candidate "m0"   \
//!   metadata device 1   superblock: slot 1, event 17     --> candidate "m1"    > raid::assemble
//!   metadata device 2   blank, and `rebuild 2`           --> joins afterwards /
//!   all of them blank                                    --> a new array
//! ```
//!
//! The superblock is ours, in both its copies, and not md's: a device that a kernel has written is blank
//! here. It says who belongs together and who is stale (**R8**) and how far resync and rebuild are. Which
//! regions are dirty stays in memory: after a crash all of the array is resynced, and one that is
//! degraded as well does not start (**R7**).
//!
//! All members of a table have a metadata device, or none has. With dm-raid some may; but whoever has failed must
//! be on record with everybody who is left (**R4**, **R8**): else a stale member whose superblock alone is
//! found would be believed.
//!
//! Not here: the rules (`raid::assemble`), superblocks on members (`control::assembly`).

use std::sync::Arc;

use array::{KnownRaid, RaidBdev};
use raid::assemble::{Candidate, Patience, Reason, Rebuild, Verdict, assemble};
use raid::coordinator::{Permit, Scope};
use raid::superblock::{COPY_OFFSETS_BYTES, SUPERBLOCK_BYTES, Superblock};
use raid::units::Slot;
use uuid::Uuid;

use super::super::Control;
use super::super::error::ControlError;
use super::arrays::{Parts, Plan};
use crate::dm::{Errno, Start};

const SECTOR_BYTES: u64 = 512;

/// What the metadata devices of a table say.
pub(super) enum Found {
    /// Nothing: the array is new.
    New,
    /// Who belongs together.
    Known(Box<Known>),
}

/// A known array: its candidates, and who of the table is none.
pub(super) struct Known {
    candidates: Vec<Candidate>,
    array: Uuid,
    /// Slots that are made anew.
    rebuild: Vec<Slot>,
}

impl Control {
    /// Reads the metadata devices of a table.
    pub(super) fn find_superblocks(
        &self,
        plan: &Plan<'_>,
        parts: &Parts,
    ) -> Result<Found, ControlError> {
        let reactor = self.reactors().first().ok_or_else(|| plan.cannot_run("no reactor"))?;
        check_everybody_has_one(plan, parts)?;
        let mut found: Vec<Option<Superblock>> = Vec::new();
        for device in &parts.metadata {
            let Some(device) = device else {
                found.push(None);
                continue;
            };
            let need = COPY_OFFSETS_BYTES[1] + SUPERBLOCK_BYTES as u64;
            let info = device.info();
            if info.size_bytes() < need {
                return Err(plan.cannot_run(format_args!(
                    "metadata device {} has {} bytes: superblocks take {need}",
                    info.name,
                    info.size_bytes()
                )));
            }
            found.push(array::probe(reactor, device).ok().map(|pair| pair.superblock));
        }
        let Some(freshest) = found.iter().flatten().max_by_key(|superblock| superblock.events)
        else {
            return Ok(Found::New);
        };
        let array = freshest.array_uuid;
        check_shape(plan, &found)?;
        candidates(plan, parts, &found, array)
    }

    /// Starts an array again, as its superblocks and its table say.
    pub(super) fn start_known_array(
        &self,
        plan: &Plan<'_>,
        parts: &Parts,
        known: Known,
    ) -> Result<Arc<RaidBdev>, ControlError> {
        let Known { candidates, array, rebuild } = known;
        let verdict = assemble(array, &candidates, Patience::Degraded);
        let assembly = match verdict.map_err(|error| plan.cannot_run(error))? {
            Verdict::Ready(assembly) => *assembly,
            Verdict::Incomplete { .. } => return Err(plan.cannot_run("members are missing")),
        };
        let left_out = assembly.left_out.clone();
        let seated = |slot: usize| match assembly.seats.get(slot) {
            Some(raid::assemble::Seat::Taken { .. }) => parts.members[slot].clone(),
            _ => None,
        };
        let members = (0..parts.members.len()).map(seated).collect();
        let raid = RaidBdev::assemble(
            self.reactors(),
            KnownRaid {
                members,
                log: None,
                rates: self.table_rates(plan.facts),
                io_timeout: self.defaults().io_timeout,
                force: false,
                events: Some(self.event_sender()),
                name: Some(plan.array.clone()),
                metadata: parts.metadata.clone(),
                resync: plan.facts.start == Start::Resync,
                tuning: plan.dials.tuning,
                permit: Permit::Withheld,
                assembly,
            },
        );
        let raid = raid.map_err(|error| plan.cannot_run(error))?;
        let returning = left_out.iter().filter_map(|out| match out.reason {
            Reason::Failed { slot, rebuild, .. } | Reason::Removed { slot, rebuild, .. } => {
                let candidate = candidates.iter().find(|candidate| candidate.name == out.name)?;
                let partly = rebuild == Rebuild::DirtyRegions;
                let scope = if partly { Scope::Dirty } else { Scope::Whole };
                Some((slot, scope, candidate.found.member_uuid))
            }
            Reason::Stale { slot, .. } => Some((slot, Scope::Whole, Uuid::new_v4())),
            _ => None,
        });
        let anew = rebuild.iter().map(|&slot| (slot, Scope::Whole, Uuid::new_v4()));
        for (slot, scope, uuid) in returning.chain(anew) {
            let Some(bdev) = &parts.members[slot.index()] else { continue };
            if let Err(error) = raid.add_member(bdev, Some(slot), scope, uuid) {
                tracing::warn!(array = plan.array, %slot, %error, "member cannot join");
            }
        }
        Ok(raid)
    }
}

/// Refuses members of which nothing could be recorded, beside some of which it can.
fn check_everybody_has_one(plan: &Plan<'_>, parts: &Parts) -> Result<(), ControlError> {
    let mut without = (0..).zip(parts.members.iter().zip(&parts.metadata));
    match without.find(|(_, (member, metadata))| member.is_some() && metadata.is_none()) {
        None => Ok(()),
        Some((slot, _)) => Err(plan.cannot_run(format_args!(
            "slot {slot} has no metadata device and others have: a failure would not be on record with \
             everybody who is left. Give all of them one, or none"
        ))),
    }
}

/// Refuses superblocks of another array than the table's.
fn check_shape(plan: &Plan<'_>, found: &[Option<Superblock>]) -> Result<(), ControlError> {
    const INVALID: &str = "Unable to assemble array: Invalid superblocks";
    let facts = plan.facts;
    let mut array = None;
    for (slot, superblock) in (0u8..).zip(found) {
        let Some(superblock) = superblock else { continue };
        let shape = superblock.shape;
        let fits = shape.level == facts.level
            && shape.layout == facts.layout
            && shape.strip_bytes == facts.strip_bytes
            && shape.component_bytes == facts.component_sectors * SECTOR_BYTES
            && superblock.members.len() == facts.members.len()
            && superblock.is_apart();
        if !fits {
            let detail = format!(
                "slot {slot}: its superblock is of another array, {:?}: {} {} of {} members",
                superblock.array_name,
                shape.level,
                shape.layout,
                superblock.members.len()
            );
            return Err(plan.refused(INVALID, Errno::Inval, detail));
        }
        if *array.get_or_insert(superblock.array_uuid) != superblock.array_uuid {
            let detail = format!("slot {slot}: its superblock is of another array than the others");
            return Err(plan.refused(INVALID, Errno::Inval, detail));
        }
    }
    Ok(())
}

fn candidates(
    plan: &Plan<'_>,
    parts: &Parts,
    found: &[Option<Superblock>],
    array: Uuid,
) -> Result<Found, ControlError> {
    const INJECTED: &str = "New device injected into existing raid set without 'delta_disks' or \
                            'rebuild' parameter specified";
    let mut candidates = Vec::new();
    let mut rebuild = Vec::new();
    for (slot, member) in (0u8..).zip(&parts.members) {
        let slot = Slot(slot);
        let Some(member) = member else { continue };
        if plan.facts.rebuild.contains(&slot.index()) {
            rebuild.push(slot);
            continue;
        }
        let Some(found) = found[slot.index()].clone() else {
            let detail = format!("slot {slot}: {}", member.name());
            return Err(plan.refused(INJECTED, Errno::Inval, detail));
        };
        let size_bytes = member.info().size_bytes();
        candidates.push(Candidate { name: member.name(), size_bytes, found });
    }
    Ok(Found::Known(Box::new(Known { candidates, array, rebuild })))
}
