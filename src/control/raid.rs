//! Arrays: from what a client asks for to a running [`RaidBdev`], and taking members out of one.
//!
//! Not here: geometry and its limits (crate `raid`), starting shards (crate `array`).

use std::sync::Arc;

use array::{RaidBdev, RaidSpec};
use device::Bdev;
use raid::layout::{Layout, Level};
use uuid::Uuid;

use super::error::ControlError;
use super::registry::Backing;
use super::{Control, Kind};

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
}

impl Control {
    /// Makes an array and returns its name. Its members are claimed.
    ///
    /// # Errors
    ///
    /// A name or UUID that is taken; members that are not there, are in use or do not fit each
    /// other; whatever the geometry refuses. Nothing has changed then.
    pub fn create_raid(&self, request: RaidRequest) -> Result<String, ControlError> {
        let mut state = self.state();
        state.admit_change(&request.name)?;
        state.registry.admit(&request.name, request.uuid)?;
        let members = state.registry.members(&request.members)?;
        let name = request.name.clone();
        let raid = RaidBdev::create(self.reactors(), request.into_spec(members.clone())?)?;
        self.add(&mut state, Arc::clone(&raid) as Arc<dyn Bdev>, Backing::Raid(raid));
        state.registry.claim(&name, &members);
        tracing::info!(bdev = name, "array created");
        Ok(name)
    }

    /// Takes a member out of the array that uses it, which is `array` if that is given. The array
    /// goes on without it; the member is free.
    ///
    /// # Errors
    ///
    /// When no array uses the bdev, or its array cannot do without it.
    pub fn remove_base_bdev(&self, name: &str, array: Option<&str>) -> Result<(), ControlError> {
        let mut state = self.state();
        state.admit_change(name)?;
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

    /// Deletes an array. Its members are free, and what is on them stays.
    ///
    /// # Errors
    ///
    /// When there is no such array, or another array is made of it.
    pub fn delete_raid(&self, name: &str) -> Result<(), ControlError> {
        self.delete(Kind::Raid, name)
    }
}

impl RaidRequest {
    fn into_spec(self, members: Vec<Option<Arc<dyn Bdev>>>) -> Result<RaidSpec, ControlError> {
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
        Ok(RaidSpec {
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
