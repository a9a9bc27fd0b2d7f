//! What every sector of the array may hold: the values that a read may return.
//!
//! ```text
//!   entry of a sector:   issued ---- acknowledged ---- durable (flushed, or FUA)
//!                                                         \ what was acknowledged before this one was
//!                                                           issued can never come back: it is dropped
//! ```
//!
//! A read may return whatever is not *certainly* overwritten: an entry is, for a read, if another one was
//! acknowledged before the read began and issued after the first was acknowledged. After a power loss
//! whatever is in the list may be there; what is then read is what is there from then on.
//!
//! A sector's contents name the sector and the write that made them, so that misplaced data is seen.
//!
//! Not here: who may fail to read at all (`judge`).

use crate::disk::SECTOR;
use crate::prng::mix;

/// A write that stands for every contents: what is there is nobody's fault.
pub const ANY: u32 = u32::MAX;

const PENDING: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    id: u32,
    issued: u64,
    acked: u64,
    /// It ended without success, or in a crash: it may be there, and replaces nothing for certain.
    doubtful: bool,
    durable: bool,
}

#[derive(Debug, Clone, Default)]
struct Cell {
    entries: Vec<Entry>,
    /// Power was lost since it was written: what is there is there for good.
    stable: bool,
}

/// The legal values of every sector.
#[derive(Debug, Clone)]
pub struct Oracle {
    cells: Vec<Cell>,
    salt: u64,
    /// Sectors that were compared.
    pub judged: u64,
}

/// Contents of a sector after write `id`.
pub fn fill(salt: u64, sector: usize, id: u32, out: &mut [u8]) {
    let key = mix(salt ^ (sector as u64) << 32 ^ u64::from(id));
    for (word, chunk) in (0u64..).zip(out.chunks_exact_mut(8)) {
        let value = mix(key.wrapping_add(word));
        chunk.copy_from_slice(&value.to_le_bytes());
    }
    let sector = u32::try_from(sector).expect("arrays are small");
    out[..4].copy_from_slice(&sector.to_le_bytes());
    out[4..8].copy_from_slice(&id.to_le_bytes());
}

impl Oracle {
    /// An array of `sectors` that were written by write 0.
    #[must_use]
    pub fn new(sectors: usize, salt: u64) -> Self {
        let first = Entry { id: 0, issued: 0, acked: 0, doubtful: false, durable: true };
        let cell = Cell { entries: vec![first], stable: true };
        Self { cells: vec![cell; sectors], salt, judged: 0 }
    }

    /// Sectors of the array.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The data of a write.
    #[must_use]
    pub fn data(&self, first: usize, count: usize, id: u32) -> Vec<u8> {
        let mut data = vec![0; count * SECTOR];
        for (sector, bytes) in (first..).zip(data.chunks_mut(SECTOR)) {
            fill(self.salt, sector, id, bytes);
        }
        data
    }

    /// A write is issued.
    pub fn issued(&mut self, first: usize, count: usize, id: u32, at: u64) {
        for cell in &mut self.cells[first..first + count] {
            cell.stable = false;
            let entry = Entry { id, issued: at, acked: PENDING, doubtful: false, durable: false };
            cell.entries.push(entry);
        }
    }

    /// It is acknowledged; `floor` is when the oldest read under way began.
    pub fn acked(
        &mut self,
        range: (usize, usize),
        id: u32,
        at: u64,
        ok: bool,
        fua: bool,
        floor: u64,
    ) {
        let (first, count) = range;
        for cell in &mut self.cells[first..first + count] {
            let entry = cell.entries.iter_mut().find(|e| e.id == id && e.acked == PENDING);
            let entry = entry.expect("it was issued");
            entry.acked = at;
            entry.doubtful = !ok;
            entry.durable = ok && fua;
            cell.prune(floor);
        }
    }

    /// A flush that was issued at `issued` was acknowledged.
    pub fn flushed(&mut self, issued: u64, floor: u64) {
        for cell in &mut self.cells {
            if cell.entries.iter().all(|e| e.durable) {
                continue;
            }
            for entry in &mut cell.entries {
                entry.durable |= entry.acked <= issued && !entry.doubtful;
            }
            cell.prune(floor);
        }
    }

    /// The service ended without a warning. What was under way may be there or not; with `power`, so may
    /// everything that was not flushed.
    pub fn crashed(&mut self, at: u64, power: bool) {
        for cell in &mut self.cells {
            for entry in &mut cell.entries {
                if entry.acked == PENDING {
                    entry.acked = at;
                    entry.doubtful = true;
                }
            }
            if power {
                cell.stable = true;
                for entry in &mut cell.entries {
                    *entry = Entry { issued: 0, acked: at, doubtful: true, ..*entry };
                }
                if let [only] = &mut cell.entries[..] {
                    only.doubtful = false;
                    only.durable = true;
                }
            }
        }
    }

    /// Whether nobody has ever written a sector for certain.
    #[must_use]
    pub fn is_unwritten(&self, sector: usize) -> bool {
        let is_doubtful = |e: &Entry| e.acked == PENDING || e.doubtful;
        self.cells[sector].entries.iter().all(|e| e.id == 0 || is_doubtful(e))
    }

    /// Nothing is known of a sector until it is written again.
    pub fn give_up(&mut self, sector: usize, at: u64) {
        let any = Entry { id: ANY, issued: 0, acked: at, doubtful: true, durable: false };
        self.cells[sector].entries.push(any);
    }

    /// Whether `bytes` may be in `sector`, for a read that began at `began`; with `settle` the sector has
    /// this value from now on.
    ///
    /// # Errors
    /// What was found, and what may be there.
    pub fn check(
        &mut self,
        sector: usize,
        bytes: &[u8],
        began: u64,
        settle: Option<(u64, u64)>,
    ) -> Result<(), String> {
        self.judged += 1;
        let salt = self.salt;
        let cell = &mut self.cells[sector];
        if let [only] = &cell.entries[..]
            && only.id != ANY
        {
            return same(salt, sector, only.id, bytes)
                .then_some(())
                .ok_or_else(|| describe(sector, bytes, &cell.entries, &[only.id]));
        }
        let legal = cell.legal(began);
        if legal.contains(&ANY) {
            return Ok(());
        }
        let Some(&id) = legal.iter().find(|&&id| same(salt, sector, id, bytes)) else {
            return Err(describe(sector, bytes, &cell.entries, &legal));
        };
        if let Some((now, floor)) = settle {
            let busy = cell.entries.iter().any(|e| e.acked == PENDING || e.issued > began);
            if !busy && legal.len() > 1 {
                let durable = cell.stable;
                let entry = Entry { id, issued: began, acked: now, doubtful: false, durable };
                cell.entries.push(entry);
                cell.prune(floor);
            }
        }
        Ok(())
    }
}

fn same(salt: u64, sector: usize, id: u32, bytes: &[u8]) -> bool {
    if bytes[4..8] != id.to_le_bytes() {
        return false;
    }
    let mut right = [0; SECTOR];
    fill(salt, sector, id, &mut right);
    bytes == right
}

fn describe(sector: usize, bytes: &[u8], entries: &[Entry], legal: &[u32]) -> String {
    let word =
        |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    format!(
        "sector {sector} holds write {} of sector {}; legal are {legal:?} of {entries:?}",
        word(4),
        word(0)
    )
}

impl Cell {
    fn legal(&self, began: u64) -> Vec<u32> {
        let overwritten = |x: &Entry| {
            self.entries
                .iter()
                .any(|y| !y.doubtful && y.acked <= began && x.acked <= y.issued && x != y)
        };
        self.entries.iter().filter(|x| !overwritten(x)).map(|x| x.id).collect()
    }

    fn prune(&mut self, floor: u64) {
        if self.entries.len() < 2 {
            return;
        }
        let entries = self.entries.clone();
        self.entries.retain(|x| {
            !entries.iter().any(|y| {
                y.durable && !y.doubtful && y.acked <= floor && x.acked <= y.issued && x != y
            })
        });
    }
}
