//! What of a `raid` line has to go together, in the kernel's order.
//!
//! ```text
//!   options        exclusions -> rates -> region size -> level
//!   devices        lookups (mod.rs) -> length divides -> large enough -> any at all
//!   md             enough members -> enough of them there -> stripe cache
//!   ours           strip size, whole strips, no device twice, not supported yet
//! ```
//!
//! What is ours comes last, so that a table which the kernel refuses gets the kernel's sentence.
//!
//! Not here: single values (`args`).

use std::collections::BTreeSet;

use raid::dirty_log::SyncOption;
use raid::layout::Level;
use raid::limits::{MEMBERS_MIN, STRIP_BYTES_MAX};

use super::super::device::named_twice;
use super::super::error::{Errno, TargetError};
use super::super::raid45::{duplicate, too_small};
use super::args::Options;
use super::{RaidMember, RaidTable};

/// dm-raid's region: 4 MiB.
const REGION_SECTORS_DEFAULT: u64 = 1 << 13;
/// Most regions that md's bitmap has.
const REGIONS_MAX: u64 = 1 << 21;
/// Stripes of md's cache.
const STRIPE_CACHE: std::ops::RangeInclusive<u32> = 17..=32768;

impl Options {
    /// Options that exclude each other.
    pub(in crate::dm) fn check_exclusions(&self) -> Result<(), TargetError> {
        if self.sync && self.nosync {
            return Err(TargetError::invalid("sync and nosync are mutually exclusive"));
        }
        if !self.rebuild.is_empty() && (self.sync || self.nosync) {
            return Err(TargetError::invalid("sync/nosync and rebuild are mutually exclusive"));
        }
        let (min, max) = (self.min_recovery_rate.unwrap_or(0), self.max_recovery_rate.unwrap_or(0));
        if max != 0 && min > max {
            return Err(TargetError::invalid("Bogus recovery rates"));
        }
        Ok(())
    }

    /// The region size, if it was given, for a line of `sectors`.
    pub(super) fn check_region(&self, sectors: u64) -> Result<Option<u64>, TargetError> {
        let Some(region) = self.region_size.map(u64::from) else { return Ok(None) };
        if region == 0 {
            return Ok(Some(default_region(sectors, self.chunk_sectors)));
        }
        if region > sectors {
            return Err(TargetError::invalid("Supplied region size is too large"));
        }
        let min = sectors / REGIONS_MAX;
        if region < min {
            let detail = format!("Supplied region_size ({region} sectors) below minimum ({min})");
            return Err(TargetError::invalid("Supplied region size is too small").with(detail));
        }
        if !region.is_power_of_two() {
            return Err(TargetError::invalid("Region size is not a power of 2"));
        }
        if region < u64::from(self.chunk_sectors) {
            return Err(TargetError::invalid("Region size is smaller than the chunk size"));
        }
        Ok(Some(region))
    }

    /// Options that the level does not have.
    pub(super) fn check_level(&self, level: Level) -> Result<(), TargetError> {
        if !self.raid10.is_empty() || (level == Level::Raid6 && self.nosync) {
            return Err(TargetError::invalid("Invalid flags combination"));
        }
        Ok(())
    }

    /// Ours: strips that an array can have, and one of them at least.
    pub(in crate::dm) fn check_chunk(&self, component: u64) -> Result<(), TargetError> {
        let (chunk, max) = (self.chunk_sectors, STRIP_BYTES_MAX / 512);
        if chunk > max {
            let detail = format!("{chunk} sectors, at most {max}");
            return Err(TargetError::invalid("Chunk size value is too large").with(detail));
        }
        if component < u64::from(chunk) {
            let detail =
                format!("{component} sectors of a device are less than a chunk of {chunk}");
            return Err(TargetError::invalid("Target length is too small").with(detail));
        }
        Ok(())
    }

    /// Ours: what is there in the kernel and not here.
    pub(super) fn check_supported(&self) -> Result<(), TargetError> {
        let what = match () {
            () if self.delta_disks.is_some() => "delta_disks: adding and removing members",
            () if self.data_offset.is_some_and(|offset| offset != 0) => {
                "data_offset: space for a reshape"
            }
            () if self.journal.is_some() => "journal_dev: a journal",
            () => return Ok(()),
        };
        Err(TargetError::new(Errno::OpNotSupp, format!("{what} is not supported yet")))
    }

    /// The two flags as one.
    pub(super) fn sync_option(&self) -> SyncOption {
        match (self.sync, self.nosync) {
            (true, _) => SyncOption::Sync,
            (_, true) => SyncOption::NoSync,
            _ => SyncOption::Default,
        }
    }
}

impl RaidTable {
    /// `sizes`: those of the data devices.
    pub(super) fn check_sizes(&self, sizes: &[Option<u64>]) -> Result<(), TargetError> {
        if !self.sectors.is_multiple_of(self.data_members() as u64) {
            let text = "Target length not divisible by number of data devices";
            return Err(TargetError::invalid(text));
        }
        let component = self.component_sectors();
        for (member, size) in self.members.iter().zip(sizes) {
            if let (Some(name), Some(size)) = (&member.data, size)
                && *size < component
            {
                return Err(too_small(name, *size, component));
            }
        }
        if sizes.iter().flatten().all(|size| *size == 0) {
            return Err(TargetError::invalid("Invalid rdev size"));
        }
        Ok(())
    }

    /// Whether md could run it.
    pub(super) fn check_runs(&self) -> Result<(), TargetError> {
        let present: Vec<bool> = self.members.iter().map(|member| member.data.is_some()).collect();
        check_members(self.level, &present, &self.rebuild)
    }

    /// dm-raid raises what is too small for the chunk, given or default; md refuses what is out of range.
    pub(super) fn raise_stripe_cache(&mut self) -> Result<(), TargetError> {
        let least = self.chunk_sectors / 2;
        let entries = self.stripe_cache.unwrap_or(256).max(least);
        if self.stripe_cache.is_some() {
            self.stripe_cache = Some(entries);
        }
        // A default that md refuses is that of a chunk which is too large anyway.
        if self.stripe_cache.is_some() && !STRIPE_CACHE.contains(&entries) {
            let detail = format!(
                "{entries} stripes, {} to {} are possible",
                STRIPE_CACHE.start(),
                STRIPE_CACHE.end()
            );
            let text = "Failed to set raid4/5/6 stripe cache size";
            return Err(TargetError::invalid(text).with(detail));
        }
        Ok(())
    }

    /// Ours: every device once. The kernel warns in its log.
    pub(super) fn check_distinct(&self) -> Result<(), TargetError> {
        let names = self.members.iter().flat_map(|RaidMember { meta, data }| [meta, data]);
        named_twice(names.flatten()).map_or(Ok(()), |name| Err(duplicate(name)))
    }
}

/// Whether md could run an array of these members.
pub(in crate::dm) fn check_members(
    level: Level,
    present: &[bool],
    rebuild: &BTreeSet<usize>,
) -> Result<(), TargetError> {
    let text = "Failed to run raid array";
    let members = present.len();
    let least = MEMBERS_MIN + level.parity_count() - 1;
    if members < least {
        let detail = format!("not enough configured devices ({members}, minimum {least})");
        return Err(TargetError::invalid(text).with(detail));
    }
    let works = |slot: &usize| present[*slot] && !rebuild.contains(slot);
    let failed = members - (0..members).filter(works).count();
    if failed > level.parity_count() {
        let detail = format!("not enough operational devices ({failed}/{members} failed)");
        return Err(TargetError::new(Errno::Io, text).with(detail));
    }
    Ok(())
}

/// dm-raid's region size for a line of `sectors`, and a chunk at least.
pub(super) fn default_region(sectors: u64, chunk_sectors: u32) -> u64 {
    let least = (sectors / REGIONS_MAX).max(REGION_SECTORS_DEFAULT);
    least.next_power_of_two().max(u64::from(chunk_sectors))
}
