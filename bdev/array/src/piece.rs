//! The bytes behind pieces and stripe operations on their owner.
//!
//! A *piece* is the part of a host request inside one stripe; its bytes are the host's. A *stripe
//! operation* of the core names its buffers by role; this module keeps them:
//!
//! ```text
//!   operation write     data role it writes: slices of its pieces     other roles: scratch buffers
//!   operation read      data role it wants:  cells of its piece       other roles: scratch buffers
//! ```
//!
//! A *cell* is one strip of one rectangle of a read: a unique part of the host's buffer, so a member
//! read, or a recovery, puts the bytes where they belong without a copy.
//!
//! Not here: what is computed from the buffers (`compute`), when they are needed (crate `raid`).

use crate::message::PieceData;
use crate::segments::{self, Join};
use device::Sgl;
use raid::event::{OpId, PieceId, PieceSpec};
use raid::plan::{ROLE_P, ROLE_Q};
use raid::rectangle;
use reactor::memory::{IoBuf, IoBufMut};

/// One strip of one rectangle of a read.
#[derive(Debug)]
pub(crate) struct Cell {
    strip: u8,
    row: u32,
    buffer: Option<Sgl<IoBufMut>>,
}

/// The bytes of a piece on its owner.
#[derive(Debug)]
pub(crate) enum PieceBody {
    Write(Sgl<IoBuf>),
    Zeroes,
    /// A read that is a single cell.
    ReadWhole(Option<Sgl<IoBufMut>>),
    /// A read in several cells.
    ReadCells {
        cells: Vec<Cell>,
        join: Join,
    },
}

impl PieceBody {
    /// Lays the bytes of a piece out for its owner.
    pub(crate) fn open(
        data: PieceData,
        spec: &PieceSpec,
        strip_bytes: u32,
        band_bytes: u32,
    ) -> Self {
        match data {
            PieceData::Write(buffers) => Self::Write(buffers),
            PieceData::Zeroes => Self::Zeroes,
            PieceData::Read(buffers) => {
                if is_one_cell(spec, strip_bytes, band_bytes) {
                    return Self::ReadWhole(Some(buffers));
                }
                let mut cells = cells_of(spec, strip_bytes, band_bytes);
                cells.sort_by_key(|&(at, ..)| at);
                let (mut join, mut rest) = segments::open(buffers);
                let cells = cells
                    .into_iter()
                    .map(|(_, strip, row, len)| Cell { strip, row, buffer: Some(rest.take(len)) })
                    .collect();
                join.absorb_rest(rest);
                Self::ReadCells { cells, join }
            }
        }
    }

    /// The bytes as they were given, for the answer.
    ///
    /// # Panics
    /// If a cell is still lent to an operation.
    pub(crate) fn close(self) -> PieceData {
        match self {
            Self::Write(buffers) => PieceData::Write(buffers),
            Self::Zeroes => PieceData::Zeroes,
            Self::ReadWhole(buffers) => {
                PieceData::Read(buffers.expect("the operation gave its cell back"))
            }
            Self::ReadCells { cells, join } => PieceData::Read(close_cells(cells, join)),
        }
    }

    /// Lends the cell of a read to an operation.
    pub(crate) fn lend(&mut self, strip: u8, row: u32) -> Sgl<IoBufMut> {
        self.cell(strip, row).take().expect("a cell is lent to one operation at a time")
    }

    /// Takes a cell back.
    pub(crate) fn give_back(&mut self, strip: u8, row: u32, buffer: Sgl<IoBufMut>) {
        *self.cell(strip, row) = Some(buffer);
    }

    fn cell(&mut self, strip: u8, row: u32) -> &mut Option<Sgl<IoBufMut>> {
        match self {
            Self::ReadWhole(buffers) => buffers,
            Self::ReadCells { cells, .. } => {
                let cell = cells.iter_mut().find(|cell| cell.strip == strip && cell.row == row);
                &mut cell.expect("operations read the cells of their pieces").buffer
            }
            Self::Write(_) | Self::Zeroes => panic!("a write has no cells"),
        }
    }
}

/// The buffers of a read in cells, or a copy if a device that was given up still has some of them.
fn close_cells(cells: Vec<Cell>, mut join: Join) -> Sgl<IoBufMut> {
    let lent = "the operation gave its cell back";
    if !cells.iter().all(|cell| join.owns(cell.buffer.as_ref().expect(lent))) {
        // They lie in order, one next to the other.
        let parts = cells.iter().map(|cell| cell.buffer.as_ref().expect(lent));
        return Sgl::One(segments::copied(parts));
    }
    for cell in cells {
        assert!(join.absorb(cell.buffer.expect(lent)), "it was just found to be a part");
    }
    join.close()
}

/// Whether a read is a single cell, as small ones are: it needs no list.
fn is_one_cell(spec: &PieceSpec, strip_bytes: u32, band_bytes: u32) -> bool {
    let first = rectangle::next(spec.span, strip_bytes, band_bytes, 0);
    first.is_some_and(|part| part.first == part.last && u64::from(part.len()) == spec.span.len)
}

/// (byte in the piece, strip, row, length) of every cell of a read.
fn cells_of(spec: &PieceSpec, strip_bytes: u32, band_bytes: u32) -> Vec<(usize, u8, u32, usize)> {
    let (mut cells, mut row) = (Vec::new(), 0);
    while let Some(part) = rectangle::next(spec.span, strip_bytes, band_bytes, row) {
        for strip in part.first..=part.last {
            let at = spec.buffer_offset(strip, part.row, strip_bytes);
            cells.push((at, strip, part.row, part.len() as usize));
        }
        row = part.row_end;
    }
    cells
}

/// A piece that its owner works on.
#[derive(Debug)]
pub(crate) struct PieceSlot {
    /// Shard that has the host request.
    pub(crate) origin: usize,
    /// The host request there.
    pub(crate) host: u32,
    /// The bytes.
    pub(crate) body: PieceBody,
}

/// The pieces of one shard, by the core's index.
#[derive(Debug)]
pub(crate) struct Pieces(Vec<Option<PieceSlot>>);

impl Pieces {
    pub(crate) fn new() -> Self {
        Self((0..raid::limits::PIECES_MAX).map(|_| None).collect())
    }

    pub(crate) fn put(&mut self, id: PieceId, slot: PieceSlot) {
        let old = self.0[id as usize].replace(slot);
        assert!(old.is_none(), "piece {id} is in use");
    }

    pub(crate) fn take(&mut self, id: PieceId) -> PieceSlot {
        self.0[id as usize].take().expect("the piece is live")
    }

    pub(crate) fn get(&self, id: PieceId) -> &PieceSlot {
        self.0[id as usize].as_ref().expect("the piece is live")
    }

    pub(crate) fn get_mut(&mut self, id: PieceId) -> &mut PieceSlot {
        self.0[id as usize].as_mut().expect("the piece is live")
    }
}

/// The buffers of stripe operations, by (operation, role).
#[derive(Debug)]
pub(crate) struct OpBuffers {
    slots: Vec<Option<Sgl<IoBufMut>>>,
    data_strips: usize,
    members: usize,
}

impl OpBuffers {
    pub(crate) fn new(data_strips: usize, members: usize) -> Self {
        let slots = (0..raid::limits::STRIPE_OPS_MAX * members).map(|_| None).collect();
        Self { slots, data_strips, members }
    }

    fn index(&self, op: OpId, role: u8) -> usize {
        let position = match role {
            ROLE_P => self.data_strips,
            ROLE_Q => self.data_strips + 1,
            strip => usize::from(strip),
        };
        op as usize * self.members + position
    }

    pub(crate) fn put(&mut self, op: OpId, role: u8, buffer: Sgl<IoBufMut>) {
        let index = self.index(op, role);
        self.slots[index] = Some(buffer);
    }

    pub(crate) fn take(&mut self, op: OpId, role: u8) -> Option<Sgl<IoBufMut>> {
        let index = self.index(op, role);
        self.slots[index].take()
    }

    pub(crate) fn get(&self, op: OpId, role: u8) -> &Sgl<IoBufMut> {
        self.slots[self.index(op, role)].as_ref().expect("the role has a buffer")
    }

    /// Drops every buffer of an operation: scratch goes back to its pool.
    pub(crate) fn clear(&mut self, op: OpId) {
        let start = op as usize * self.members;
        self.slots[start..start + self.members].fill_with(|| None);
    }
}
