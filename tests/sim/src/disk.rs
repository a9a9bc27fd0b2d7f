//! A simulated device: what is on it for good, what is only in its cache, and how it fails.
//!
//! ```text
//!   write --> current (what reads see) --flush, or the cache's own whim--> durable
//!                 |
//!                 power loss: every sector that is not durable survives or not, on its own
//! ```
//!
//! Sectors of 512 bytes are atomic, nothing larger is. A write in flight at a power loss may have left any
//! of its sectors. After a flush that failed, what it was to make durable is never flushed again, as Linux
//! does with dirty pages after an error: whoever tries again and believes it is found out (**R9**).
//!
//! The bytes between superblocks and data are not kept: superblocks at 4 KiB and 512 KiB lie side by side.
//!
//! Not here: latency and when things happen (`world`), who asks (`shell`, `orders`).

use crate::prng::Prng;
use raid::superblock::{COPY_OFFSETS_BYTES, DATA_OFFSET_BYTES_MIN, SUPERBLOCK_BYTES};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The atom of a device.
pub const SECTOR: usize = 512;

const HEAD_BYTES: usize = 2 * SUPERBLOCK_BYTES;

/// A simulated device.
#[derive(Debug, Clone)]
pub struct Disk {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that differ in their being durable: number of the write that made them.
    dirty: BTreeMap<usize, u64>,
    /// Sectors that cannot be read until they are written.
    bad: BTreeSet<usize>,
    /// Number of the last write that has come to its end.
    writes: u64,
    /// Flushes under way: number of the last write that each covers.
    flushes: Vec<u64>,
    /// Whether writes stay in a cache until a flush.
    cached: bool,
    /// Whether a superblock area comes before the data.
    has_head: bool,
    /// Whether it answers at all.
    pub present: bool,
}

/// A flush that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushTicket(u64);

impl Disk {
    /// A device of `data_bytes` behind the place for superblocks, or of `data_bytes` only. Blank.
    #[must_use]
    pub fn new(data_bytes: usize, has_head: bool, cached: bool) -> Self {
        let bytes = data_bytes + if has_head { HEAD_BYTES } else { 0 };
        Self {
            current: vec![0; bytes],
            durable: vec![0; bytes],
            dirty: BTreeMap::new(),
            bad: BTreeSet::new(),
            writes: 0,
            flushes: Vec::new(),
            cached,
            has_head,
            present: true,
        }
    }

    /// Where a byte of the device is kept.
    fn place(&self, offset_bytes: u64) -> usize {
        let at = usize::try_from(offset_bytes).expect("devices are small");
        if !self.has_head {
            return at;
        }
        let [first, second] = COPY_OFFSETS_BYTES.map(|o| usize::try_from(o).expect("small"));
        let data = usize::try_from(DATA_OFFSET_BYTES_MIN).expect("small");
        match at {
            _ if at >= data => at - data + HEAD_BYTES,
            _ if at >= second => at - second + SUPERBLOCK_BYTES,
            _ => at - first,
        }
    }

    fn range(&self, offset_bytes: u64, len: usize) -> Range<usize> {
        let start = self.place(offset_bytes);
        assert!(
            start + len <= self.current.len(),
            "access beyond the device: {offset_bytes}+{len}"
        );
        assert!(start.is_multiple_of(SECTOR) && len.is_multiple_of(SECTOR), "not whole sectors");
        start..start + len
    }

    fn sectors(range: &Range<usize>) -> Range<usize> {
        range.start / SECTOR..range.end / SECTOR
    }

    /// What reads see.
    #[must_use]
    pub fn current(&self, offset_bytes: u64, len: usize) -> &[u8] {
        &self.current[self.range(offset_bytes, len)]
    }

    /// What would be left if everything in the cache were lost.
    #[must_use]
    pub fn durable(&self, offset_bytes: u64, len: usize) -> &[u8] {
        &self.durable[self.range(offset_bytes, len)]
    }

    /// Whether all of a range is durable as reads see it.
    #[must_use]
    pub fn is_durable(&self, offset_bytes: u64, len: usize) -> bool {
        self.current(offset_bytes, len) == self.durable(offset_bytes, len)
    }

    /// Puts bytes there for good, as before the beginning of time.
    pub fn preset(&mut self, offset_bytes: u64, bytes: &[u8]) {
        let range = self.range(offset_bytes, bytes.len());
        self.current[range.clone()].copy_from_slice(bytes);
        self.durable[range].copy_from_slice(bytes);
    }

    /// Whether a sector of the range cannot be read.
    #[must_use]
    pub fn is_bad(&self, offset_bytes: u64, len: usize) -> bool {
        self.bad.range(Self::sectors(&self.range(offset_bytes, len))).next().is_some()
    }

    /// Makes a sector unreadable until it is written.
    pub fn spoil(&mut self, offset_bytes: u64) {
        let range = self.range(offset_bytes, SECTOR);
        self.bad.insert(range.start / SECTOR);
    }

    /// No sector is unreadable any more, by magic.
    pub fn heal(&mut self) {
        self.bad.clear();
    }

    /// A write ends: all of it is there, and durable if it was asked for.
    pub fn write(&mut self, prng: &mut Prng, offset_bytes: u64, bytes: &[u8], fua: bool) {
        let range = self.range(offset_bytes, bytes.len());
        self.writes += 1;
        for (sector, bytes) in Self::sectors(&range).zip(bytes.chunks(SECTOR)) {
            self.write_sector(prng, sector, bytes, fua);
        }
    }

    /// A write comes to a bad end: any of its sectors may be there.
    pub fn write_torn(&mut self, prng: &mut Prng, offset_bytes: u64, bytes: &[u8]) {
        let range = self.range(offset_bytes, bytes.len());
        self.writes += 1;
        let fate = prng.below(4);
        for (sector, bytes) in Self::sectors(&range).zip(bytes.chunks(SECTOR)) {
            let lands = match fate {
                0 => true,
                1 => false,
                _ => prng.one_in(2),
            };
            if lands {
                self.write_sector(prng, sector, bytes, false);
            }
        }
    }

    fn write_sector(&mut self, prng: &mut Prng, sector: usize, bytes: &[u8], fua: bool) {
        let at = sector * SECTOR..(sector + 1) * SECTOR;
        self.bad.remove(&sector);
        let was = self.dirty.get(&sector).copied();
        if let Some(was) = was {
            // The cache may have let the last contents go to the medium; a flush under way that covers
            // them has to.
            if self.flushes.iter().any(|&covers| covers >= was) || prng.one_in(3) {
                self.durable[at.clone()].copy_from_slice(&self.current[at.clone()]);
            }
        }
        self.current[at.clone()].copy_from_slice(bytes);
        if fua || !self.cached {
            self.durable[at].copy_from_slice(bytes);
            self.dirty.remove(&sector);
        } else {
            self.dirty.insert(sector, self.writes);
        }
    }

    /// A flush begins.
    pub fn begin_flush(&mut self) -> FlushTicket {
        self.flushes.push(self.writes);
        FlushTicket(self.writes)
    }

    /// A flush ends: what had ended when it began is durable. If it failed, nobody will ever know.
    pub fn end_flush(&mut self, ticket: FlushTicket, ok: bool) {
        if let Some(at) = self.flushes.iter().position(|&covers| covers == ticket.0) {
            self.flushes.swap_remove(at);
        }
        let covered: Vec<usize> =
            self.dirty.iter().filter(|(_, made)| **made <= ticket.0).map(|(&s, _)| s).collect();
        for sector in covered {
            self.dirty.remove(&sector);
            if ok {
                let at = sector * SECTOR..(sector + 1) * SECTOR;
                self.durable[at.clone()].copy_from_slice(&self.current[at]);
            }
        }
    }

    /// Power is lost: what is not durable survives or not, sector by sector. Returns the data sectors
    /// that did not.
    pub fn lose_power(&mut self, prng: &mut Prng) -> Vec<usize> {
        let fate = prng.below(4);
        for &sector in self.dirty.keys() {
            let survives = match fate {
                0 => true,
                1 => false,
                _ => prng.one_in(2),
            };
            if survives {
                let at = sector * SECTOR..(sector + 1) * SECTOR;
                self.durable[at.clone()].copy_from_slice(&self.current[at]);
            }
        }
        let head = if self.has_head { HEAD_BYTES / SECTOR } else { 0 };
        let sectors = self.current.len() / SECTOR;
        let lost = (head..sectors).filter(|s| {
            let at = s * SECTOR..(s + 1) * SECTOR;
            self.current[at.clone()] != self.durable[at]
        });
        let lost = lost.map(|sector| sector - head).collect();
        self.current.copy_from_slice(&self.durable);
        self.dirty.clear();
        self.flushes.clear();
        lost
    }

    /// The process that used it was killed: the cache stays, flushes under way are void.
    pub fn lose_user(&mut self) {
        self.flushes.clear();
    }
}
