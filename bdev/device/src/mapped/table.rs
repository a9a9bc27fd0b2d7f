//! The table of a mapped device: which stretch of it is where.
//!
//! ```text
//!   bytes    0            a                    b         size
//!            | segment 0  | segment 1          | segment 2 |
//!            | Bdev m0 +o | Bdev m1            | Zero      |
//!                         |--boundary--|--...  counted from the segment's start
//! ```
//!
//! Owns: segments follow each other without a gap from byte 0, each lies inside of its bdev, and all of
//! it is in whole blocks. What is looked up in a table cannot miss.
//!
//! Not here: the words of a table (the service's `dm`), requests (`mapper`).

use std::sync::Arc;

use crate::bdev::{Bdev, BdevInfo, IoTypes};
use crate::limits::MAPPED_SEGMENTS_MAX;

/// What is behind a segment.
#[derive(Clone, Debug)]
pub enum SegmentTarget {
    /// Bytes of a bdev.
    Bdev {
        /// Which.
        bdev: Arc<dyn Bdev>,
        /// Where the segment begins on it.
        offset_bytes: u64,
    },
    /// Reads as zeroes; what is written is dropped.
    Zero,
    /// Fails everything.
    Error,
}

/// A stretch of a mapped device.
#[derive(Clone, Debug)]
pub struct Segment {
    /// First byte on the mapped device.
    pub start_bytes: u64,
    /// Length in bytes.
    pub len_bytes: u64,
    /// What is behind it.
    pub target: SegmentTarget,
    /// Requests are split at multiples of this many bytes, counted from the segment's start (dm's
    /// `max_io_len`); 0 is none, too.
    pub boundary_bytes: Option<u64>,
}

/// Why segments are no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A device without a byte.
    #[error("the table has no segment: give at least one")]
    Empty,
    /// More than anyone should need.
    #[error("the table has {count} segments: give at most {}", MAPPED_SEGMENTS_MAX)]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A gap or an overlap.
    #[error("segment {index} starts at byte {start_bytes}: it should start at {right_bytes}")]
    Gap {
        /// Position in the table.
        index: usize,
        /// The refused value.
        start_bytes: u64,
        /// Where the one before it ends.
        right_bytes: u64,
    },
    /// A length that is nothing, or beyond what a device can have.
    #[error(
        "segment {index} at byte {start_bytes} has {len_bytes} bytes: give at least 1, and less than 2^63 in all"
    )]
    Length {
        /// Position in the table.
        index: usize,
        /// Its start.
        start_bytes: u64,
        /// The refused value.
        len_bytes: u64,
    },
    /// Parts of blocks.
    #[error(
        "segment {index}: {what} {value_bytes} is not a multiple of the block size {block_size_bytes}"
    )]
    Unaligned {
        /// Position in the table.
        index: usize,
        /// Which number.
        what: &'static str,
        /// The refused value.
        value_bytes: u64,
        /// The largest block size of the bdevs.
        block_size_bytes: u32,
    },
    /// A bdev that ends before the segment.
    #[error(
        "segment {index}: bdev {bdev} has {size_bytes} bytes, and {len_bytes} from byte {offset_bytes} on do not fit"
    )]
    TooSmall {
        /// Position in the table.
        index: usize,
        /// Name of the bdev.
        bdev: String,
        /// Its size.
        size_bytes: u64,
        /// Where the segment begins on it.
        offset_bytes: u64,
        /// Length of the segment.
        len_bytes: u64,
    },
}

/// A segment as requests look it up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) start_bytes: u64,
    pub(super) end_bytes: u64,
    /// 0: none.
    boundary_bytes: u64,
    pub(super) behind: Behind,
}

/// What is behind a segment, as requests look it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// One of [`MappedTable::bdevs`], and what is added to an offset on the way there.
    Bdev {
        index: usize,
        shift: u64,
    },
    Zero,
    Error,
}

impl Place {
    /// Bytes from `at` to the next border.
    pub(super) fn room_bytes(&self, at: u64) -> u64 {
        let to_end = self.end_bytes - at;
        match (at - self.start_bytes).checked_rem(self.boundary_bytes) {
            None => to_end,
            Some(over) => to_end.min(self.boundary_bytes - over),
        }
    }
}

/// The table of a mapped device.
#[derive(Debug)]
pub struct MappedTable {
    segments: Vec<Segment>,
    bdevs: Vec<Arc<dyn Bdev>>,
    /// Of each of them, whether it has anything to flush.
    pub(super) flushes: Vec<bool>,
    places: Vec<Place>,
    block_size_bytes: u32,
}

impl MappedTable {
    /// Checks the segments.
    ///
    /// # Errors
    ///
    /// [`TableError`] names the first segment that cannot be.
    pub fn new(segments: Vec<Segment>) -> Result<Self, TableError> {
        let count = segments.len();
        if count == 0 {
            return Err(TableError::Empty);
        }
        if count > MAPPED_SEGMENTS_MAX {
            return Err(TableError::TooMany { count });
        }
        let infos = segments.iter().filter_map(|segment| match &segment.target {
            SegmentTarget::Bdev { bdev, .. } => Some(bdev.info()),
            SegmentTarget::Zero | SegmentTarget::Error => None,
        });
        let block_size_bytes = infos.map(|info| info.block_size_bytes).max().unwrap_or(512);
        let mut bdevs: Vec<Arc<dyn Bdev>> = Vec::new();
        let mut places: Vec<Place> = Vec::with_capacity(count);
        for (index, segment) in segments.iter().enumerate() {
            check(
                index,
                segment,
                places.last().map_or(0, |last| last.end_bytes),
                block_size_bytes,
            )?;
            places.push(Place {
                start_bytes: segment.start_bytes,
                end_bytes: segment.start_bytes + segment.len_bytes,
                boundary_bytes: segment.boundary_bytes.unwrap_or(0),
                behind: behind(segment, &mut bdevs),
            });
        }
        let flushes = bdevs.iter().map(|bdev| bdev.info().supported.flush).collect();
        Ok(Self { segments, bdevs, flushes, places, block_size_bytes })
    }

    /// Its segments in order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The bdevs behind it, each once.
    #[must_use]
    pub fn bdevs(&self) -> &[Arc<dyn Bdev>] {
        &self.bdevs
    }

    /// Size of the mapped device.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.places.last().map_or(0, |last| last.end_bytes)
    }

    /// The segment with that byte, which is inside of the device.
    pub(super) fn place(&self, at: u64) -> Place {
        let index = self.places.partition_point(|place| place.end_bytes <= at);
        self.places[index]
    }

    /// What is added to offsets, when the whole device is one stretch of one bdev without borders.
    pub(super) fn straight(&self) -> Option<u64> {
        match self.places[..] {
            [Place { boundary_bytes: 0, behind: Behind::Bdev { index, shift }, .. }] => {
                self.flushes[index].then_some(shift)
            }
            _ => None,
        }
    }

    /// The description of a device with this table, otherwise as `before`.
    pub(crate) fn describe(&self, before: &BdevInfo, read_only: bool) -> BdevInfo {
        let below: Vec<_> = self.bdevs.iter().map(|bdev| bdev.info()).collect();
        let all = |has: fn(&IoTypes) -> bool| below.iter().all(|info| has(&info.supported));
        let supported = match read_only {
            true => IoTypes::READ_ONLY,
            false => IoTypes {
                read: true,
                write: all(|types| types.write),
                flush: true,
                unmap: all(|types| types.unmap),
                write_zeroes: all(|types| types.write_zeroes),
            },
        };
        BdevInfo {
            block_size_bytes: self.block_size_bytes,
            num_blocks: self.size_bytes() / u64::from(self.block_size_bytes),
            volatile_cache: below.iter().any(|info| info.volatile_cache),
            unmap_reads_zero: supported.unmap && below.iter().all(|info| info.unmap_reads_zero),
            optimal_write_bytes: match &below[..] {
                [only] => only.optimal_write_bytes,
                _ => 0,
            },
            supported,
            ..before.clone()
        }
    }
}

fn behind(segment: &Segment, bdevs: &mut Vec<Arc<dyn Bdev>>) -> Behind {
    let (bdev, offset_bytes) = match &segment.target {
        SegmentTarget::Zero => return Behind::Zero,
        SegmentTarget::Error => return Behind::Error,
        SegmentTarget::Bdev { bdev, offset_bytes } => (bdev, *offset_bytes),
    };
    let address = |bdev: &Arc<dyn Bdev>| Arc::as_ptr(bdev).cast::<()>();
    let known = bdevs.iter().position(|known| address(known) == address(bdev));
    let index = known.unwrap_or_else(|| {
        bdevs.push(Arc::clone(bdev));
        bdevs.len() - 1
    });
    Behind::Bdev { index, shift: offset_bytes.wrapping_sub(segment.start_bytes) }
}

fn check(
    index: usize,
    segment: &Segment,
    right_bytes: u64,
    block_size_bytes: u32,
) -> Result<(), TableError> {
    let Segment { start_bytes, len_bytes, target, boundary_bytes } = segment;
    let (start_bytes, len_bytes) = (*start_bytes, *len_bytes);
    if start_bytes != right_bytes {
        return Err(TableError::Gap { index, start_bytes, right_bytes });
    }
    let end = start_bytes.checked_add(len_bytes).filter(|&end| i64::try_from(end).is_ok());
    if len_bytes == 0 || end.is_none() {
        return Err(TableError::Length { index, start_bytes, len_bytes });
    }
    let aligned = |what, value_bytes: u64, block_size_bytes: u32| match value_bytes
        .is_multiple_of(u64::from(block_size_bytes))
    {
        true => Ok(()),
        false => Err(TableError::Unaligned { index, what, value_bytes, block_size_bytes }),
    };
    aligned("length", len_bytes, block_size_bytes)?;
    if let Some(boundary_bytes) = *boundary_bytes {
        aligned("boundary", boundary_bytes, block_size_bytes)?;
    }
    let SegmentTarget::Bdev { bdev, offset_bytes } = target else { return Ok(()) };
    let (info, offset_bytes) = (bdev.info(), *offset_bytes);
    aligned("offset", offset_bytes, info.block_size_bytes)?;
    let size_bytes = info.size_bytes();
    if offset_bytes.checked_add(len_bytes).is_none_or(|end| end > size_bytes) {
        let bdev = info.name.clone();
        return Err(TableError::TooSmall { index, bdev, size_bytes, offset_bytes, len_bytes });
    }
    Ok(())
}
