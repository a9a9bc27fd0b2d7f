//! The dirty log: which regions may be inconsistent, with dm-log's semantics (linux-raid.md, 3.2-3.4).
//!
//! Three bits a region: *clean* (no write pending), *in sync* (parity matches data) and *recovering*
//! (handed out for resync). This is dm-log's type `core`, in memory: a restart begins with every region
//! out of sync, or in sync when the creator vouches for it (`nosync`).
//!
//! A region covers a range of every *component* (member), so one write dirties one region however many
//! members there are.
//!
//! Not here: the log on a device, and group commit; who holds which region (`coordinator`).

use crate::bitmap::Bitmap;
use crate::units::StripeId;

/// How a new log begins: the words of a dirty-log table line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initially {
    /// Every region is out of sync: resync makes parity match data.
    OutOfSync,
    /// Every region is taken to be in sync (`nosync`, mdadm's `--assume-clean`).
    InSync,
}

/// How regions lie over stripes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Regions {
    stripes_per_region: u64,
    stripes: u64,
}

impl Regions {
    /// Regions of `region_bytes` of each component, over `stripes` rows of strips of `strip_bytes`.
    /// A region holds whole strips: it is never smaller than one.
    #[must_use]
    pub fn new(region_bytes: u64, strip_bytes: u32, stripes: u64) -> Self {
        Self { stripes_per_region: (region_bytes / u64::from(strip_bytes)).max(1), stripes }
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
}

/// The log.
#[derive(Debug)]
pub struct DirtyLog {
    clean: Bitmap,
    in_sync: Bitmap,
    recovering: Bitmap,
    cursor: u64,
}

impl DirtyLog {
    /// A log of `regions` regions.
    #[must_use]
    pub fn new(regions: u64, initially: Initially) -> Self {
        let in_sync = match initially {
            Initially::OutOfSync => false,
            Initially::InSync => true,
        };
        Self {
            clean: Bitmap::new(regions, true),
            in_sync: Bitmap::new(regions, in_sync),
            recovering: Bitmap::new(regions, false),
            cursor: 0,
        }
    }

    /// A write to the region is about to be issued.
    pub fn mark(&mut self, region: u64) {
        self.clean.set(region, false);
    }

    /// No write to the region is in flight any more.
    pub fn clear(&mut self, region: u64) {
        self.clean.set(region, true);
    }

    /// Whether no write to the region is pending.
    #[must_use]
    pub fn is_clean(&self, region: u64) -> bool {
        self.clean.get(region)
    }

    /// Whether the region's parity is known to match its data.
    #[must_use]
    pub fn in_sync(&self, region: u64) -> bool {
        self.in_sync.get(region)
    }

    /// Hands out the next region to resync. The cursor goes over the log once; [`Self::rewind`] starts
    /// it again.
    pub fn resync_work(&mut self) -> Option<u64> {
        loop {
            let region = self.in_sync.next_zero(self.cursor)?;
            self.cursor = region + 1;
            if !self.recovering.set(region, true) {
                return Some(region);
            }
        }
    }

    /// Starts the search for resync work from the first region again.
    pub fn rewind(&mut self) {
        self.cursor = 0;
    }

    /// Ends the recovery of a region, or takes it out of sync after a failed write.
    pub fn set_region_sync(&mut self, region: u64, in_sync: bool) {
        self.recovering.set(region, false);
        self.in_sync.set(region, in_sync);
    }

    /// Number of regions in sync.
    #[must_use]
    pub fn sync_count(&self) -> u64 {
        self.in_sync.ones()
    }

    /// Number of regions that are not clean.
    #[must_use]
    pub fn dirty_count(&self) -> u64 {
        self.clean.len() - self.clean.ones()
    }

    /// Number of regions.
    #[must_use]
    pub fn regions(&self) -> u64 {
        self.clean.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_out_of_sync_is_handed_out_once() {
        let mut log = DirtyLog::new(3, Initially::OutOfSync);
        assert_eq!([log.resync_work(), log.resync_work()], [Some(0), Some(1)]);
        log.set_region_sync(0, true);
        log.set_region_sync(1, false);
        assert_eq!([log.resync_work(), log.resync_work()], [Some(2), None]);
        log.rewind();
        assert_eq!(log.resync_work(), Some(1), "2 is still being recovered, 0 is in sync");
        assert_eq!(log.sync_count(), 1);
    }

    #[test]
    fn nosync_begins_in_sync() {
        let mut log = DirtyLog::new(5, Initially::InSync);
        assert_eq!((log.sync_count(), log.resync_work()), (5, None));
        log.mark(2);
        assert_eq!((log.is_clean(2), log.dirty_count(), log.in_sync(2)), (false, 1, true));
        log.clear(2);
        assert_eq!(log.dirty_count(), 0);
    }

    #[test]
    fn the_last_region_may_be_short() {
        let regions = Regions::new(1 << 20, 64 << 10, 33);
        assert_eq!(regions.count(), 3);
        assert_eq!(regions.stripes(2), 32..33);
        assert_eq!(regions.of(StripeId(31)), 1);
        assert_eq!(Regions::new(4096, 64 << 10, 3).count(), 3, "never less than a strip");
    }
}
