//! The split bdev: a window of another bdev, as if it were a device of its own.
//!
//! It is one part of SPDK's split vbdev; whatever else needs a range of a bdev can use it as well.
//!
//! ```text
//!   base    |        0 ......... offset ............. offset + size ........ |
//!   window                         0 ................. size
//! ```
//!
//! Requests pass through with their place moved, and come back with it moved back: nothing is kept of
//! them, so a window costs two additions. A flush has no place and flushes the whole base.
//!
//! Invariants: R6 (no request reaches outside the window: it is judged here before it is moved; one that
//! is refused counts as in flight until it is polled).
//!
//! Not here: how a bdev is cut into parts, and claims on it (the service).

use std::collections::VecDeque;
use std::sync::Arc;

use reactor::Cx;
use uuid::{Builder, Uuid};

use crate::bdev::{Bdev, BdevInfo, IoChannel, Leeway, OpenError};
use crate::io::{BdevIo, Completion, IoOp};
use crate::limits::{CHANNEL_IN_FLIGHT_MAX, COMPLETIONS_PER_POLL_MAX};
use crate::stacked::{Likeness, scramble};

/// What a split bdev is made from.
#[derive(Clone, Debug)]
pub struct SplitSpec {
    /// Unique name in the service.
    pub name: String,
    /// Made of the base's UUID and the window when absent, so that it is the same each time.
    pub uuid: Option<Uuid>,
    /// What it is a window of.
    pub base: Arc<dyn Bdev>,
    /// Where the window begins, in blocks of the base.
    pub offset_blocks: u64,
    /// How long it is, in blocks of the base.
    pub num_blocks: u64,
}

/// Why a window is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// It is empty, or leaves the base.
    #[error(
        "bdev {name}: {num_blocks} blocks from block {offset_blocks} on are no part of {base}, which has {base_blocks}: give at least 1, inside of it"
    )]
    Outside {
        /// Name of the bdev.
        name: String,
        /// Where the window was to begin.
        offset_blocks: u64,
        /// How long it was to be.
        num_blocks: u64,
        /// Name of the base.
        base: String,
        /// Its size in blocks.
        base_blocks: u64,
    },
}

impl SplitError {
    /// The number that SPDK would answer with, negative as there.
    pub fn errno(&self) -> i32 {
        -libc::EINVAL
    }
}

/// A window of a bdev.
#[derive(Debug)]
pub struct SplitBdev {
    info: Arc<BdevInfo>,
    base: Arc<dyn Bdev>,
    offset_blocks: u64,
}

impl SplitBdev {
    /// Makes the device.
    ///
    /// # Errors
    ///
    /// [`SplitError`] for a window that is not inside of its base.
    pub fn create(spec: SplitSpec) -> Result<Arc<Self>, SplitError> {
        let SplitSpec { name, uuid, base, offset_blocks, num_blocks } = spec;
        let base_blocks = base.info().num_blocks;
        if num_blocks == 0
            || offset_blocks > base_blocks
            || num_blocks > base_blocks - offset_blocks
        {
            let base = base.info().name.clone();
            return Err(SplitError::Outside { name, offset_blocks, num_blocks, base, base_blocks });
        }
        let uuid = uuid.filter(|uuid| !uuid.is_nil());
        let uuid = uuid.unwrap_or_else(|| uuid_of(base.info().uuid, offset_blocks, num_blocks));
        let likeness = Likeness::new(name, Some(uuid), "Split Disk");
        let info = BdevInfo { num_blocks, ..likeness.of(&base.info()) };
        Ok(Arc::new(Self { info: Arc::new(info), base, offset_blocks }))
    }

    /// The bdev that it is a window of.
    #[must_use]
    pub fn base(&self) -> &Arc<dyn Bdev> {
        &self.base
    }

    /// Where the window begins, in blocks of the base.
    #[must_use]
    pub fn offset_blocks(&self) -> u64 {
        self.offset_blocks
    }
}

/// A UUID (version 8, RFC 9562 section 5.8) that the base and the window determine.
fn uuid_of(base: Uuid, offset_blocks: u64, num_blocks: u64) -> Uuid {
    let (high, low) = base.as_u64_pair();
    let window = scramble(scramble(offset_blocks) ^ num_blocks);
    let (high, low) = (scramble(high ^ window), scramble(low ^ scramble(window)));
    let both = (u128::from(high) << 64) | u128::from(low);
    Builder::from_custom_bytes(both.to_be_bytes()).into_uuid()
}

impl Bdev for SplitBdev {
    fn info(&self) -> Arc<BdevInfo> {
        Arc::clone(&self.info)
    }

    fn leeway(&self) -> Leeway {
        self.base.leeway()
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        Ok(Box::new(SplitChannel {
            base: self.base.open_channel(cx)?,
            offset_bytes: self.offset_blocks * u64::from(self.info.block_size_bytes),
            info: Arc::clone(&self.info),
            refused: VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX),
        }))
    }
}

struct SplitChannel {
    info: Arc<BdevInfo>,
    base: Box<dyn IoChannel>,
    offset_bytes: u64,
    /// Answers to what never went to the base.
    refused: VecDeque<Completion>,
}

impl IoChannel for SplitChannel {
    #[inline]
    fn submit(&mut self, mut io: BdevIo) -> Result<(), BdevIo> {
        if let Err(status) = self.info.admit(&io) {
            if self.refused.len() == CHANNEL_IN_FLIGHT_MAX {
                return Err(io);
            }
            self.refused.push_back(io.complete(status));
            return Ok(());
        }
        let shift = if matches!(io.op, IoOp::Flush) { 0 } else { self.offset_bytes };
        io.offset_bytes += shift;
        self.base.submit(io).map_err(|mut io| {
            io.offset_bytes -= shift;
            io
        })
    }

    #[inline]
    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let before = done.len();
        self.base.poll(done);
        for completion in &mut done[before..] {
            if !matches!(completion.io.op, IoOp::Flush) {
                completion.io.offset_bytes -= self.offset_bytes;
            }
        }
        let room = COMPLETIONS_PER_POLL_MAX.saturating_sub(done.len() - before);
        done.extend(self.refused.drain(..room.min(self.refused.len())));
        done.len() - before
    }
}

#[cfg(test)]
mod tests {
    use reactor::memory::IoBufMut;
    use reactor::{LocalReactor, Ticks};

    use super::*;
    use crate::{IoStatus, MallocBdev, MallocSpec};

    fn base() -> Arc<dyn Bdev> {
        let (name, uuid) = ("m0".to_owned(), Some(Uuid::from_u128(7)));
        MallocBdev::create(MallocSpec { name, uuid, block_size_bytes: 512, num_blocks: 100 })
            .unwrap()
    }

    fn window(offset_blocks: u64, num_blocks: u64) -> Result<Arc<SplitBdev>, SplitError> {
        let (name, base) = ("w".to_owned(), base());
        SplitBdev::create(SplitSpec { name, uuid: None, base, offset_blocks, num_blocks })
    }

    /// Goal: only windows inside of the base exist; their UUIDs are told apart and do not change.
    /// Method: the edges, and numbers whose sum overflows.
    #[test]
    fn windows_lie_inside_of_their_base() {
        for (offset, blocks) in [(0, 0), (0, 101), (100, 1), (101, 1), (u64::MAX, 2), (99, 2)] {
            let error = window(offset, blocks).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "bdev w: {blocks} blocks from block {offset} on are no part of m0, which has \
                     100: give at least 1, inside of it"
                )
            );
        }
        let uuid = |offset, blocks| window(offset, blocks).unwrap().info().uuid;
        assert_eq!(uuid(0, 100), uuid(0, 100));
        let uuids = [uuid(0, 100), uuid(0, 50), uuid(50, 50), uuid(99, 1)];
        assert!((1..4).all(|at| !uuids[..at].contains(&uuids[at])), "{uuids:?}");
        assert_eq!(uuids[0].get_version_num(), 8);
        assert_eq!(window(99, 1).unwrap().info().product_name, "Split Disk");
    }

    /// Goal: a byte of the window is the byte of the base that it stands for, and requests come back as
    /// they went; what leaves the window is refused though the base has it. Method: two windows and the
    /// base itself over one memory.
    #[test]
    fn a_window_moves_places_and_keeps_inside() {
        let base = base();
        let window = |offset_blocks| {
            let (name, base) = (format!("w{offset_blocks}"), Arc::clone(&base));
            let spec = SplitSpec { name, uuid: None, base, offset_blocks, num_blocks: 50 };
            SplitBdev::create(spec).unwrap()
        };
        let mut reactor = LocalReactor::new(1 << 20);
        let bdevs = [Arc::clone(&base), window(0) as Arc<dyn Bdev>, window(50)];
        let mut channels = bdevs.map(|bdev| bdev.open_channel(reactor.cx()).unwrap());
        let mut ask = |which: usize, io: BdevIo| {
            channels[which].submit(io).unwrap();
            reactor.turn_at(Ticks::from_secs(1 << 20));
            let mut done = Vec::new();
            assert_eq!(channels[which].poll(&mut done), 1);
            done.remove(0)
        };
        let bytes = |fill: u8| IoBufMut::heap_copy(&[fill; 512]).freeze();
        for (which, block, fill) in [(1, 0, 1), (1, 49, 2), (2, 0, 3), (2, 49, 4)] {
            let done = ask(which, BdevIo::write(9, block * 512, bytes(fill), false));
            assert_eq!(
                (done.status, done.io.offset_bytes, done.io.token),
                (IoStatus::Ok, block * 512, 9)
            );
        }
        for (block, fill) in [(0, 1), (49, 2), (50, 3), (99, 4)] {
            let done = ask(0, BdevIo::read(1, block * 512, IoBufMut::heap(512)));
            let IoOp::Read { into: crate::Sgl::One(into) } = done.io.op else { panic!("a read") };
            assert_eq!(&into[..], [fill; 512]);
        }
        for which in [1, 2] {
            let done = ask(which, BdevIo::read(2, 50 * 512, IoBufMut::heap(512)));
            assert_eq!((done.status, done.io.offset_bytes), (IoStatus::InvalidRequest, 50 * 512));
            let done = ask(which, BdevIo::write_zeroes(3, 49 * 512, 1024, false));
            assert_eq!(done.status, IoStatus::InvalidRequest);
            assert_eq!(ask(which, BdevIo::flush(4)).status, IoStatus::Ok);
            assert_eq!(ask(which, BdevIo::unmap(5, 512, 48 * 512)).status, IoStatus::Ok);
        }
        let done = ask(0, BdevIo::read(6, 50 * 512, IoBufMut::heap(512)));
        let IoOp::Read { into: crate::Sgl::One(into) } = done.io.op else { panic!("a read") };
        assert_eq!(&into[..], [3; 512], "the neighbour's unmap has not touched it");
    }
}
