//! The dirty log: which regions may be inconsistent, with dm-log's semantics (linux-raid.md, 3.2-3.4).
//!
//! Three bits a region: *clean* (no write pending), *in sync* (parity matches data) and *recovering*
//! (handed out for resync). Only clean bits go to a device, because they are enough: a region that
//! leaves sync is marked and stays marked until it is in sync again.
//!
//! ```text
//!                 mark: clean = 0        set_region_sync(false)        a load: in sync = clean
//!   clean, in sync --------> dirty, in sync --------> dirty, out of sync <-----------+
//!        ^    ^                    |                         | resync_work           |
//!        |    +------- clear ------+                         v                       | crash
//!        +-------- clear, set_region_sync(true) ------ recovering                    | (dirty on
//!                                                                                    |  the device)
//! ```
//!
//! dm-log's two types are one type here. Type `core` ([`DirtyLog::new`]) is memory only: a restart
//! begins with every region out of sync, or in sync when the creator vouches for it (`nosync`). Type
//! `disk` ([`DirtyLog::load`]) has an area on a log bdev besides. It remembers which blocks of that area
//! no longer hold what is in memory: [`DirtyLog::take_touched`] says what to write,
//! [`DirtyLog::copy_taken`] gives the bytes. dm-log writes the whole area instead; ours may be 12 MB.
//!
//! Its part in **R1** and **R2**: a change of a bit always touches its block, so that nothing that was
//! marked can be left out of the next write.
//!
//! Not here: writing, flushing and group commit; who holds which region (`coordinator`).

mod disk;
mod regions;
mod status;

#[cfg(test)]
mod tests;

pub use disk::{DiskArea, Found, Loaded, Loader, LogError, check_regions, is_log};
pub use regions::Regions;
pub use status::{LogFailure, LogHealth, LogType, status_info, status_table};

use crate::bitmap::Bitmap;
use std::ops::Range;

/// How a new log in memory begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initially {
    /// Every region is out of sync: resync makes parity match data.
    OutOfSync,
    /// Every region is taken to be in sync (`nosync`, mdadm's `--assume-clean`).
    InSync,
}

/// The word `sync` or `nosync` of a dirty-log table line. It acts at every load, so whoever owns the
/// table drops it after the first: a leftover `nosync` discards what a crash left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncOption {
    /// No word: what the log says counts.
    Default,
    /// Every region is out of sync, whatever the log says.
    Sync,
    /// Every region is in sync, whatever the log says.
    NoSync,
}

/// What of a log has changed since it was last written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touched {
    /// Nothing: there is nothing to write.
    Nothing,
    /// Regions were cleared. The write needs no flush of the log bdev after it.
    Cleared,
    /// Regions were marked. Nobody may write to them before the log has been written *and* flushed.
    Marked,
}

/// The log.
#[derive(Debug)]
pub struct DirtyLog {
    clean: Bitmap,
    in_sync: Bitmap,
    recovering: Bitmap,
    cursor: u64,
    disk: Option<Disk>,
}

/// What a log with an area on a device keeps besides.
#[derive(Debug)]
struct Disk {
    area: DiskArea,
    /// Blocks of the area that differ from memory.
    touched: Bitmap,
    /// Among them may be one with a region that was marked.
    marked: bool,
    /// The device holds no log, or another one.
    begun_anew: bool,
    /// The header is not to be written before all of the bits are there for good: what the device held before
    /// would be believed. Where its block has bits too, that is written twice, without it first: blocks may be
    /// torn.
    header_held: bool,
}

impl DirtyLog {
    /// A log of `regions` regions in memory.
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
            disk: None,
        }
    }

    /// Resumes a log from the bytes of its area; `None` says that they could not be read. The whole
    /// area is touched then, as dm-log writes it whole at every resume. [`Loader`] does the same in
    /// pieces.
    #[must_use]
    pub fn load(image: Option<&[u8]>, area: DiskArea, sync: SyncOption) -> Loaded {
        let mut loader = Loader::new(area, sync);
        loader.feed(image.unwrap_or_default());
        loader.finish()
    }

    /// A log whose clean bits were read, or made up, at a resume. Memory for the rest comes from here.
    fn resumed(clean: Bitmap, area: DiskArea, begun_anew: bool) -> Self {
        let mut touched = Bitmap::new(area.blocks(), true);
        touched.set(0, !begun_anew || area.has_bits_beside_header());
        let header_held = begun_anew;
        Self {
            in_sync: clean.clone(),
            recovering: Bitmap::new(clean.len(), false),
            clean,
            cursor: 0,
            disk: Some(Disk { area, touched, marked: true, begun_anew, header_held }),
        }
    }

    /// A write to the region is about to be issued.
    pub fn mark(&mut self, region: u64) {
        if self.clean.set(region, false) {
            self.touch(region, true);
        }
    }

    /// No write to the region is in flight any more.
    pub fn clear(&mut self, region: u64) {
        if !self.clean.set(region, true) {
            self.touch(region, false);
        }
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
    ///
    /// The device does not see this: who ends a recovery clears the region as well, and who takes a
    /// region out of sync marks it.
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

    /// The first region at or after `from` that is not clean.
    #[must_use]
    pub fn next_dirty(&self, from: u64) -> Option<u64> {
        self.clean.next_zero(from)
    }

    /// The first region at or after `from` that is not in sync.
    #[must_use]
    pub fn next_out_of_sync(&self, from: u64) -> Option<u64> {
        self.in_sync.next_zero(from)
    }

    /// Regions that are in sync.
    #[must_use]
    pub fn in_sync_bits(&self) -> &Bitmap {
        &self.in_sync
    }

    /// Takes every region for in sync, dirty or not: while a member is missing parity is all that stands
    /// for it, and has to be trusted.
    pub fn assume_in_sync(&mut self) {
        self.in_sync.fill(true);
        self.recovering.fill(false);
    }

    /// Takes the regions from `from` on out of sync, and marks them.
    pub fn distrust_from(&mut self, from: u64) {
        for region in from..self.regions() {
            self.mark(region);
            self.set_region_sync(region, false);
        }
    }

    /// Number of regions.
    #[must_use]
    pub fn regions(&self) -> u64 {
        self.clean.len()
    }

    /// Whether its device held no log, or one that was not used, when it began: until it has been written, what
    /// is there says nothing of this array.
    #[must_use]
    pub fn is_begun_anew(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.begun_anew)
    }

    /// Where the log lies on its device; `None` if it has none.
    #[must_use]
    pub fn area(&self) -> Option<DiskArea> {
        self.disk.as_ref().map(|disk| disk.area)
    }

    /// What has changed since everything touched was last taken. Ask before taking.
    #[must_use]
    pub fn touched(&self) -> Touched {
        match &self.disk {
            Some(disk) if disk.header_held => Touched::Marked,
            Some(disk) if disk.touched.ones() > 0 => match disk.marked {
                true => Touched::Marked,
                false => Touched::Cleared,
            },
            _ => Touched::Nothing,
        }
    }

    /// Takes the first run of touched blocks: the bytes of the area to write next, at most `max_bytes`
    /// of them, but one block at least. They are no longer touched, so a caller that does not get them
    /// onto the device has to take the log as failed. The header of a log that was begun anew is not among
    /// them: see [`Self::take_header`].
    pub fn take_touched(&mut self, max_bytes: u64) -> Option<Range<u64>> {
        let disk = self.disk.as_mut()?;
        let block_bytes = u64::from(disk.area.block_bytes());
        let skipped = disk.header_held && !disk.area.has_bits_beside_header();
        let start = disk.touched.next_one(u64::from(skipped))?;
        let end = disk.touched.next_zero(start).unwrap_or(disk.touched.len());
        let end = end.min(start.saturating_add((max_bytes / block_bytes).max(1)));
        disk.touched.set_range(start..end, false);
        disk.marked &= disk.touched.ones() > 0;
        Some(start * block_bytes..end * block_bytes)
    }

    /// Takes the block with the header of a log that was begun anew, once. To be asked when all that
    /// [`Self::take_touched`] gave before is on the device for good.
    pub fn take_header(&mut self) -> Option<Range<u64>> {
        let disk = self.disk.as_mut().filter(|disk| disk.header_held)?;
        disk.header_held = false;
        Some(0..u64::from(disk.area.block_bytes()))
    }

    /// The bytes of the area from `byte_offset` on, as they should be on the device when all is written.
    ///
    /// # Panics
    /// If the log has no area on a device, or the bytes reach beyond it.
    pub fn copy_out(&self, byte_offset: u64, out: &mut [u8]) {
        self.disk().area.encode(&self.clean, true, byte_offset, out);
    }

    /// The same for what was taken to be written: without the header as long as that is not taken.
    ///
    /// # Panics
    /// As [`copy_out`](Self::copy_out).
    pub fn copy_taken(&self, byte_offset: u64, out: &mut [u8]) {
        let disk = self.disk();
        disk.area.encode(&self.clean, !disk.header_held, byte_offset, out);
    }

    fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("only a log with an area on a device has bytes")
    }

    fn touch(&mut self, region: u64, marked: bool) {
        if let Some(disk) = &mut self.disk {
            disk.touched.set(disk.area.block_of(region), true);
            disk.marked |= marked;
        }
    }
}
