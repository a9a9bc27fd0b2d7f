//! How regions, the granules of the dirty log, lie over stripes.
//!
//! ```text
//!   stripe     0   1   2   3 | 4   5   6   7 | 8   9       every member's strips, in order
//!   region           0       |       1       |   2         stripes_per_region = 4; the last is short
//!   component  |-region_bytes-|                            = stripes_per_region * strip_bytes
//! ```
//!
//! A region covers a range of every *component* (the part of a member that the array uses), so one
//! write dirties one region however many members there are. A region holds whole strips.
//!
//! Not here: what is known of a region (`dirty_log`).

use crate::units::StripeId;

/// Sector of dm tables, whatever the blocks of the devices.
const SECTOR_BYTES: u64 = 512;

/// How regions lie over stripes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regions {
    stripes_per_region: u64,
    strip_bytes: u32,
    stripes: u64,
}

impl Regions {
    /// Regions of `region_bytes` of each component, over `stripes` rows of strips of `strip_bytes`.
    /// A region holds whole strips: it is never smaller than one.
    #[must_use]
    pub fn new(region_bytes: u64, strip_bytes: u32, stripes: u64) -> Self {
        let stripes_per_region = (region_bytes / u64::from(strip_bytes)).max(1);
        Self { stripes_per_region, strip_bytes, stripes }
    }

    /// Number of regions; the last one may be short.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.stripes.div_ceil(self.stripes_per_region)
    }

    /// The region that a stripe lies in.
    #[must_use]
    pub fn of(&self, stripe: StripeId) -> u64 {
        stripe.0 / self.stripes_per_region
    }

    /// The stripes of a region.
    #[must_use]
    pub fn stripes(&self, region: u64) -> std::ops::Range<u64> {
        let start = region * self.stripes_per_region;
        start..(start + self.stripes_per_region).min(self.stripes)
    }

    /// Number of stripes of every region but the last.
    #[must_use]
    pub fn stripes_per_region(&self) -> u64 {
        self.stripes_per_region
    }

    /// Bytes of each component that a region covers. It is what was asked for, rounded down to whole
    /// strips, and one strip at least.
    #[must_use]
    pub fn region_bytes(&self) -> u64 {
        self.stripes_per_region * u64::from(self.strip_bytes)
    }

    /// The region size of a dm table: sectors of the component. `None` if dm-log would refuse it,
    /// because it is not a power of two (linux-raid.md, 3.1).
    #[must_use]
    pub fn region_sectors(&self) -> Option<u64> {
        let sectors = self.region_bytes() / SECTOR_BYTES;
        sectors.is_power_of_two().then_some(sectors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_region_may_be_short() {
        let regions = Regions::new(1 << 20, 64 << 10, 33);
        assert_eq!(regions.count(), 3);
        assert_eq!(regions.stripes(2), 32..33);
        assert_eq!(regions.of(StripeId(31)), 1);
        assert_eq!(Regions::new(4096, 64 << 10, 3).count(), 3, "never less than a strip");
    }

    #[test]
    fn a_region_is_whole_strips_of_the_component() {
        let of = |bytes, strip| {
            let regions = Regions::new(bytes, strip, 100);
            (regions.stripes_per_region(), regions.region_bytes(), regions.region_sectors())
        };
        assert_eq!(of(1 << 20, 64 << 10), (16, 1 << 20, Some(2048)));
        assert_eq!(of(4096, 64 << 10), (1, 64 << 10, Some(128)));
        assert_eq!(of(200 << 10, 64 << 10), (3, 192 << 10, None), "dm-log wants a power of two");
    }
}
