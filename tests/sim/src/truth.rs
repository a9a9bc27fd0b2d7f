//! What is right on the devices, whatever the core believes: the judge's own books.
//!
//! | book | says | written when |
//! |---|---|---|
//! | `valid` | this sector of this device holds what its slot should | a member write ends; one is left out; a device is new |
//! | `trusted` | parity of the region matches data | a start; the end of a resync (after looking) |
//! | `weak` | an operator insisted here: nothing is promised | a forced start |
//!
//! Not here: the checks themselves (`judge`).

use crate::disk::SECTOR;
use raid::units::Slot;
use std::ops::Range;

/// The books.
#[derive(Debug, Clone)]
pub struct Truth {
    /// By device and sector of the component.
    pub valid: Vec<Vec<bool>>,
    /// The slot that a device last had.
    pub home: Vec<Option<Slot>>,
    /// By region.
    pub trusted: Vec<bool>,
    /// By region.
    pub weak: Vec<bool>,
    /// Writes that a device failed: its sectors are wrong once it is out.
    pub suspect: Vec<(usize, Range<usize>)>,
    /// By region: the step in which it was last not trusted.
    pub doubted: Vec<u64>,
    /// By slot: the step in which it was last not in sync, as far as any shard knew.
    pub lost: Vec<u64>,
    /// When a read of a stripe last failed on a slot: stripe, slot, step.
    pub read_faults: Vec<(u64, Slot, u64)>,
}

impl Truth {
    /// Books of devices of which the first ones are members.
    #[must_use]
    pub fn new(members: usize, devices: usize, sectors: usize, regions: usize, sync: bool) -> Self {
        let slot = |device| u8::try_from(device).map(Slot).ok();
        Self {
            valid: (0..devices).map(|device| vec![device < members; sectors]).collect(),
            home: (0..devices).map(|device| slot(device).filter(|_| device < members)).collect(),
            trusted: vec![sync; regions],
            weak: vec![false; regions],
            doubted: vec![0; regions],
            lost: vec![0; members],
            suspect: Vec::new(),
            read_faults: Vec::new(),
        }
    }

    /// Whether all of a range of a device is right.
    #[must_use]
    pub fn is_valid(&self, device: usize, sectors: Range<usize>) -> bool {
        self.valid[device][sectors].iter().all(|&valid| valid)
    }

    /// Every device that once had the slot, but for `device`, has missed a write there.
    pub fn missed(&mut self, slot: Slot, sectors: &Range<usize>) {
        for device in 0..self.valid.len() {
            if self.home[device] == Some(slot) {
                self.valid[device][sectors.clone()].fill(false);
            }
        }
    }

    /// A device was written.
    pub fn written(&mut self, device: usize, sectors: Range<usize>) {
        self.suspect.retain(|(at, failed)| {
            *at != device || failed.start < sectors.start || failed.end > sectors.end
        });
        self.valid[device][sectors].fill(true);
    }

    /// A device is out: what it failed to write is wrong there.
    pub fn left(&mut self, device: usize) {
        let (gone, rest) =
            std::mem::take(&mut self.suspect).into_iter().partition(|s| s.0 == device);
        self.suspect = rest;
        let gone: Vec<(usize, Range<usize>)> = gone;
        for (_, sectors) in gone {
            self.valid[device][sectors].fill(false);
        }
    }
}

/// Sectors of the component that bytes of it lie in.
#[must_use]
pub fn sectors(from_bytes: u64, len_bytes: u64) -> Range<usize> {
    let narrow = |bytes: u64| usize::try_from(bytes).expect("devices are small") / SECTOR;
    narrow(from_bytes)..narrow(from_bytes + len_bytes)
}
