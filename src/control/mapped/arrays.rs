//! The arrays of a mapped device: from what a table says to one that runs.
//!
//! ```text
//!   ArrayFacts --+-- no metadata devices: RaidSpec ----------------------------> RaidBdev
//!                +-- metadata devices: superblocks found? known : new (metadata) ---^
//!                                                                                   |
//!   Last, of an array over the same devices that ran before ------------------------+
//! ```
//!
//! A table is what its author believes; an array that ran under the table before *knows*. So what it
//! knows goes over to the next: a member that was not in sync, or that is another bdev now, is rebuilt,
//! and parity that was not right is made right, whatever the table says (**R7**, **R8**). Where a log or
//! superblocks on devices say it, they do.
//!
//! Not here: starting one (crate `array`), superblocks (`metadata`).

use std::collections::BTreeSet;
use std::sync::Arc;

use array::{Before, LastEnd, MemberSnapshot, RaidBdev, RaidOptions, RaidSnapshot, RaidSpec};
use device::Bdev;
use raid::coordinator::pace::Rates;
use raid::coordinator::{OnMemberFailure, Permit};
use raid::layout::{Layout, Level};
use raid::member::MemberState;
use raid::units::{Slot, SlotSet};
use uuid::Uuid;

use super::super::Control;
use super::super::error::ControlError;
use super::super::keeping::OnFailure;
use super::super::permits::Who;
use super::super::recipe::log_failed;
use super::super::registry::Entry;
use super::messages::Dials;
use super::metadata::Found;
use super::{LiveArray, Mapped, MappedError};
use crate::dm::log::LogPlace;
use crate::dm::{ArrayFacts, DeviceName, Errno, Start, Table};

const SECTOR_BYTES: u64 = 512;

/// What dm-raid says of an array that cannot run.
const FAILED_TO_RUN: &str = "Failed to run raid array";

/// What an array knew when it was stopped.
#[derive(Debug, Clone)]
pub(super) struct Last {
    shape: Shape,
    members: Vec<MemberSnapshot>,
    in_sync: bool,
    /// Nothing is to be believed of what is on its log's bdev.
    log_failed: bool,
    end: LastEnd,
}

/// What two arrays over the same devices have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape {
    level: Level,
    layout: Layout,
    strip_bytes: u32,
    component_bytes: u64,
    members: usize,
}

impl Shape {
    fn of(facts: &ArrayFacts) -> Self {
        Self {
            level: facts.level,
            layout: facts.layout,
            strip_bytes: facts.strip_bytes,
            component_bytes: facts.component_sectors * SECTOR_BYTES,
            members: facts.members.len(),
        }
    }
}

impl Last {
    /// `snapshot` is of before the stop, or of the end of it.
    pub(super) fn of(facts: &ArrayFacts, snapshot: &RaidSnapshot) -> Self {
        let in_sync = snapshot.regions > 0 && snapshot.regions_in_sync == snapshot.regions;
        let (shape, members) = (Shape::of(facts), snapshot.members.clone());
        let log_failed = log_failed(snapshot);
        Self { shape, members, in_sync, log_failed, end: LastEnd::CutOff }
    }

    /// It was stopped in order.
    pub(super) fn stopped_in_order(self) -> Self {
        Self { end: if self.in_sync { LastEnd::InOrder } else { self.end }, ..self }
    }

    /// Nothing is to be believed of what is on its log's bdev.
    pub(super) fn log_failed(&self) -> bool {
        self.log_failed
    }

    /// Whether parity was right everywhere.
    pub(super) fn in_sync(&self) -> bool {
        self.in_sync
    }

    /// Its members, as they were.
    pub(super) fn members(&self) -> &[MemberSnapshot] {
        &self.members
    }

    /// The state of that bdev there, if it was a member in that slot.
    fn state(&self, slot: usize, uuid: Uuid, offset_bytes: u64) -> Option<MemberState> {
        let member = self.members.get(slot)?;
        let same = member.uuid == Some(uuid) && member.data_offset_bytes == offset_bytes;
        same.then_some(member.state)
    }
}

/// KiB/s of a table in bytes; `None` for 0, which is the default.
pub(super) fn rate(kib_per_s: u32) -> Option<u64> {
    (kib_per_s > 0).then(|| u64::from(kib_per_s) << 10)
}

/// The devices of an array, as it is to use them.
pub(super) struct Parts {
    pub(super) members: Vec<Option<Arc<dyn Bdev>>>,
    pub(super) metadata: Vec<Option<Arc<dyn Bdev>>>,
    log: Option<Arc<dyn Bdev>>,
}

/// An array that is to be made.
pub(super) struct Plan<'a> {
    device: String,
    pub(super) array: String,
    target: &'static str,
    pub(super) facts: &'a ArrayFacts,
    pub(super) dials: &'a Dials,
    /// What is known of its life before this one.
    before: Before,
}

impl Plan<'_> {
    /// The refusal of the target.
    pub(super) fn refused(
        &self,
        sentence: &'static str,
        errno: Errno,
        detail: impl ToString,
    ) -> ControlError {
        let (name, target) = (self.device.clone(), self.target);
        MappedError::Array { name, target, sentence, errno, detail: detail.to_string() }.into()
    }

    /// The refusal of an array that cannot run.
    pub(super) fn cannot_run(&self, error: impl ToString) -> ControlError {
        self.refused(FAILED_TO_RUN, Errno::Io, error)
    }
}

impl Control {
    /// Makes the arrays of a table; all or none. `last` are those that ran before on this device; `before`
    /// is what is known of others.
    pub(super) fn build_arrays(
        &self,
        device: &Mapped,
        table: &Table,
        last: &[Last],
        before: Before,
    ) -> Result<std::collections::BTreeMap<usize, LiveArray>, ControlError> {
        let mut arrays = std::collections::BTreeMap::new();
        for (index, line) in table.lines().iter().enumerate() {
            let Some(facts) = line.target.array() else { continue };
            let dials = Dials::of(&facts);
            let plan = Plan {
                device: device.bdev.name(),
                array: device.array_name(index),
                target: line.target.name(),
                facts: &facts,
                dials: &dials,
                before,
            };
            match self.build_array(&plan, last) {
                Ok(raid) => {
                    let raid = Some(raid);
                    arrays.insert(index, LiveArray { facts, raid, last: None, dials });
                }
                Err(error) => {
                    stop_all(arrays.values());
                    return Err(error);
                }
            }
        }
        Ok(arrays)
    }

    fn build_array(&self, plan: &Plan<'_>, last: &[Last]) -> Result<Arc<RaidBdev>, ControlError> {
        let parts = self.parts(plan)?;
        self.state().queue.forget(&Who::Mapped(plan.array.clone()));
        if !plan.facts.metadata.iter().all(Option::is_none) {
            let found = self.find_superblocks(plan, &parts)?;
            if let Found::Known(known) = found {
                return self.start_known_array(plan, &parts, *known);
            }
        }
        let start = start_of(plan, &parts, last)?;
        let raid = RaidBdev::create(self.reactors(), self.spec(plan, parts, &start));
        raid.map_err(|error| plan.cannot_run(error))
    }

    /// The bdevs that a table names. Its claims keep them.
    fn parts(&self, plan: &Plan<'_>) -> Result<Parts, ControlError> {
        let state = self.state();
        let find = |name: &Option<DeviceName>| {
            let found = name.as_ref().map(|name| state.registry.get(name.as_str()));
            found.transpose().map(|entry| entry.map(|entry| Arc::clone(&entry.bdev)))
        };
        let all =
            |names: &[Option<DeviceName>]| names.iter().map(find).collect::<Result<Vec<_>, _>>();
        let log = plan.facts.log.as_ref().and_then(|log| log.device()).cloned();
        Ok(Parts {
            members: state.registry.as_used(&all(&plan.facts.members)?),
            metadata: all(&plan.facts.metadata)?,
            log: find(&log)?,
        })
    }

    pub(super) fn table_rates(&self, facts: &ArrayFacts) -> Rates {
        let default = self.defaults().rates;
        Rates {
            min_bytes_per_s: facts
                .min_recovery_rate
                .and_then(rate)
                .unwrap_or(default.min_bytes_per_s),
            max_bytes_per_s: facts
                .max_recovery_rate
                .and_then(rate)
                .unwrap_or(default.max_bytes_per_s),
            share_percent: facts.bandwidth_percent,
        }
    }

    fn spec(&self, plan: &Plan<'_>, parts: Parts, begin: &Begin) -> RaidSpec {
        let facts = plan.facts;
        let metadata = match facts.metadata.iter().all(Option::is_none) {
            true => Vec::new(),
            false => parts.metadata,
        };
        let superblock = !metadata.is_empty();
        let recorded = self.state().registry.find(&plan.device).is_some_and(Entry::is_recorded);
        RaidSpec {
            name: plan.array.clone(),
            uuid: None,
            level: facts.level,
            layout: facts.layout,
            strip_bytes: facts.strip_bytes,
            members: parts.members,
            data_offsets_bytes: facts.data_offsets.iter().map(|at| at * SECTOR_BYTES).collect(),
            assume_clean: begin.start == Start::InSync,
            options: RaidOptions {
                log: parts.log,
                region_bytes: Some(facts.region_sectors * SECTOR_BYTES),
                superblock,
                policy: on_failure(facts, superblock).policy(recorded),
                rates: self.table_rates(facts),
                io_timeout: self.defaults().io_timeout,
                force: false,
                before: begin.before,
                events: Some(self.event_sender()),
                resync: begin.start == Start::Resync,
                rebuild: slot_set(&begin.rebuild),
                component_bytes: Some(facts.component_sectors * SECTOR_BYTES),
                metadata,
                tuning: plan.dials.tuning,
                permit: Permit::Withheld,
            },
        }
    }
}

fn on_failure(facts: &ArrayFacts, superblock: bool) -> OnFailure {
    let member = match facts.writes_wait_after_failure {
        true => OnMemberFailure::Hold,
        false => OnMemberFailure::Continue,
    };
    OnFailure { log: None, member, superblock }
}

pub(super) fn slot_set(slots: &BTreeSet<usize>) -> SlotSet {
    slots.iter().filter_map(|&slot| u8::try_from(slot).ok()).map(Slot).collect()
}

/// What an array begins with.
struct Begin {
    start: Start,
    rebuild: BTreeSet<usize>,
    before: Before,
}

/// What the table says, corrected by what is known.
fn start_of(plan: &Plan<'_>, parts: &Parts, last: &[Last]) -> Result<Begin, ControlError> {
    let facts = plan.facts;
    let (rebuild, before) = (facts.rebuild.clone(), plan.before);
    let mut begin = Begin { start: facts.start, rebuild, before };
    let uuid_in = |slot: usize| parts.members[slot].as_ref().map(|bdev| bdev.info().uuid);
    let offset_of = |slot: usize| facts.data_offsets[slot] * SECTOR_BYTES;
    let state = |last: &Last, slot: usize| last.state(slot, uuid_in(slot)?, offset_of(slot));
    let shape = Shape::of(facts);
    let is_it = |last: &&Last| {
        last.shape == shape && (0..shape.members).any(|slot| state(last, slot).is_some())
    };
    let Some(last) = last.iter().find(is_it) else { return Ok(begin) };
    begin.before = Before { end: last.end, log_failed: last.log_failed };
    for slot in 0..shape.members {
        let right = state(last, slot) == Some(MemberState::InSync);
        if uuid_in(slot).is_some() && !right {
            begin.rebuild.insert(slot);
        }
    }
    if last.in_sync {
        return Ok(begin);
    }
    let complete = begin.rebuild.is_empty() && parts.members.iter().all(Option::is_some);
    let on_disk = facts.log.as_ref().is_some_and(|log| log.place != LogPlace::Core);
    match (begin.start, complete) {
        (_, false) => Err(plan.cannot_run(
            "its parity is not right everywhere yet, so it can do without no member: wait until its \
             resync has ended",
        )),
        (Start::InSync, true) => {
            begin.start = if on_disk { Start::Recorded } else { Start::Resync };
            Ok(begin)
        }
        (Start::Resync | Start::Recorded, true) => Ok(begin),
    }
}

/// Stops arrays, which nobody uses any more. What goes wrong is in the log; they are stopped anyway.
pub(super) fn stop_all<'a>(arrays: impl Iterator<Item = &'a LiveArray>) {
    for raid in arrays.filter_map(|array| array.raid.as_ref()) {
        if let Err(error) = raid.stop() {
            tracing::error!(array = raid.name(), %error, "not stopped cleanly");
        }
    }
}
