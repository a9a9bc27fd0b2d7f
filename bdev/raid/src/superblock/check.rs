//! What a superblock may say: every field against its bounds and against the others.
//!
//! ```text
//!   encode:  content --check--> bytes         what means nothing never reaches a device
//!   decode:  bytes --parse--> content --check--> content
//! ```
//!
//! Sizes follow `geometry`: what passes here makes a geometry. Checks run in the order of the
//! fields, and the first that fails is the answer.
//!
//! Not here: whether the superblock fits the device that it was found on (`assemble`).

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{DATA_OFFSET_BYTES_MIN, IN_SYNC_EVERYWHERE, MemberRecordState, Shape, Superblock};
use crate::layout::{Layout, names_of};
use crate::limits::{
    BLOCK_BYTES_MIN, MEMBERS_MAX, MEMBERS_MIN, NAME_BYTES_MAX, STRIP_BYTES_MAX, STRIP_BYTES_MIN,
};
use crate::units::Slot;

/// A field that cannot be what it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("superblock: {name} is {value}, but must be {right}")]
pub struct FieldError {
    /// Which field, as `strip_bytes` or `members[3].state`.
    pub name: String,
    /// As found.
    pub value: String,
    /// What would be right.
    pub right: String,
}

/// The error of one field.
pub(super) fn field(
    name: impl Into<String>,
    value: impl Display,
    right: impl Into<String>,
) -> FieldError {
    FieldError { name: name.into(), value: value.to_string(), right: right.into() }
}

impl Superblock {
    /// Whether the content means something: what [`encode`](Self::encode) and
    /// [`decode`](Self::decode) let through.
    ///
    /// # Errors
    /// The first field that is out of its bounds or does not fit the others.
    pub fn check(&self) -> Result<(), FieldError> {
        self.check_count()?;
        self.check_identity()?;
        self.check_shape()?;
        self.check_log()?;
        let mut slots = BTreeMap::new();
        for index in 0..self.members.len() as u8 {
            self.check_member(Slot(index))?;
            let uuid = self.members[usize::from(index)].member_uuid;
            if let Some(first) = slots.insert(uuid, index).filter(|_| !uuid.is_nil()) {
                let right = format!("another than that of slot {first}");
                return Err(field(format!("members[{index}].member_uuid"), uuid, right));
            }
        }
        Ok(())
    }

    /// The number of members, on which all other checks rest.
    fn check_count(&self) -> Result<(), FieldError> {
        let (count, level) = (self.members.len(), self.shape.level);
        let least = MEMBERS_MIN - 1 + level.parity_count();
        if (least..=MEMBERS_MAX).contains(&count) {
            return Ok(());
        }
        Err(field("members", count, format!("{least} to {MEMBERS_MAX} for {level}")))
    }

    fn check_identity(&self) -> Result<(), FieldError> {
        for (name, uuid) in [("array_uuid", self.array_uuid), ("member_uuid", self.member_uuid)] {
            if uuid.is_nil() {
                return Err(field(name, uuid, "a UUID that is not nil"));
            }
        }
        check_name("array_name", &self.array_name)?;
        if self.events == 0 {
            return Err(field("events", 0, "at least 1: updates are counted from 1"));
        }
        let Some(slot) = self.slot else { return Ok(()) };
        let Some(record) = self.members.get(slot.index()) else {
            let last = self.members.len() - 1;
            return Err(field("slot", slot, format!("0 to {last}, or 255 for a spare")));
        };
        if record.member_uuid != self.member_uuid {
            let right = format!("{}, the member of slot {slot}", record.member_uuid);
            return Err(field("member_uuid", self.member_uuid, right));
        }
        Ok(())
    }

    fn check_shape(&self) -> Result<(), FieldError> {
        let Shape { level, layout, strip_bytes, block_size_bytes, component_bytes } = self.shape;
        let count = self.members.len();
        if !layout.is_of_level(level) {
            let right = format!("a layout of {level}: {}", names_of(level));
            return Err(field("layout", layout, right));
        }
        if let Layout::ParityAt(slot) = layout
            && usize::from(slot) >= count
        {
            return Err(field("parity_slot", slot, format!("0 to {}", count - 1)));
        }
        if !is_power_within(strip_bytes, STRIP_BYTES_MIN, STRIP_BYTES_MAX) {
            let right = format!("a power of two from {STRIP_BYTES_MIN} to {STRIP_BYTES_MAX}");
            return Err(field("strip_bytes", strip_bytes, right));
        }
        if !is_power_within(block_size_bytes, BLOCK_BYTES_MIN, strip_bytes) {
            let right = format!("a power of two from {BLOCK_BYTES_MIN} to a strip, {strip_bytes}");
            return Err(field("block_size_bytes", block_size_bytes, right));
        }
        let data_strips = (count - level.parity_count()) as u64;
        let most = u64::MAX / data_strips;
        let strip_bytes = u64::from(strip_bytes);
        if !(strip_bytes..=most).contains(&component_bytes)
            || !component_bytes.is_multiple_of(strip_bytes)
        {
            let right = format!("a multiple of a strip, {strip_bytes}, up to {most}");
            return Err(field("component_bytes", component_bytes, right));
        }
        Ok(())
    }

    fn check_log(&self) -> Result<(), FieldError> {
        let Shape { strip_bytes, component_bytes, .. } = self.shape;
        if self.in_sync_to_bytes > component_bytes && self.in_sync_to_bytes != IN_SYNC_EVERYWHERE {
            let right = format!("up to {component_bytes}, or {IN_SYNC_EVERYWHERE} for everywhere");
            return Err(field("in_sync_to_bytes", self.in_sync_to_bytes, right));
        }
        if !self.region_bytes.is_power_of_two() || self.region_bytes < u64::from(strip_bytes) {
            let right = format!("a power of two, at least a strip, {strip_bytes}");
            return Err(field("region_bytes", self.region_bytes, right));
        }
        self.log.as_ref().map_or(Ok(()), |log| check_name("log.name", &log.name))
    }

    fn check_member(&self, slot: Slot) -> Result<(), FieldError> {
        let record = &self.members[slot.index()];
        let name = |part: &str| format!("members[{slot}].{part}");
        let Shape { block_size_bytes, component_bytes, .. } = self.shape;
        let (offset, most) = (record.data_offset_bytes, u64::MAX - component_bytes);
        let in_place = (DATA_OFFSET_BYTES_MIN..=most).contains(&offset) || self.is_apart();
        if !in_place || !offset.is_multiple_of(u64::from(block_size_bytes)) {
            let right = format!(
                "a multiple of a block, {block_size_bytes}, from {DATA_OFFSET_BYTES_MIN} to {most}"
            );
            return Err(field(name("data_offset_bytes"), offset, right));
        }
        let since = |part: &str, update: u64| match (1..=self.events).contains(&update) {
            true => Ok(()),
            false => Err(field(name(part), update, format!("1 to {}, the events", self.events))),
        };
        match record.state {
            MemberRecordState::InSync => {}
            MemberRecordState::Faulty { failed_at } => since("failed_at", failed_at)?,
            MemberRecordState::Missing { since: update } => return since("since", update),
            MemberRecordState::Rebuilding { recovered_to_bytes, .. } => {
                if recovered_to_bytes > component_bytes {
                    let right = format!("up to {component_bytes}, the component");
                    return Err(field(name("recovered_to_bytes"), recovered_to_bytes, right));
                }
            }
        }
        if record.member_uuid.is_nil() {
            let right = "a UUID that is not nil: only a missing member has none";
            return Err(field(name("member_uuid"), record.member_uuid, right));
        }
        Ok(())
    }
}

fn check_name(field_name: &str, name: &str) -> Result<(), FieldError> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    let value = format!("{} bytes long", name.len());
    Err(field(field_name, value, format!("1 to {NAME_BYTES_MAX} bytes long")))
}

fn is_power_within(bytes: u32, least: u32, most: u32) -> bool {
    bytes.is_power_of_two() && (least..=most).contains(&bytes)
}
