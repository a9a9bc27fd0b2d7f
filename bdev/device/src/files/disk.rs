//! A file as a disk: its description as a bdev and the file that backs it.
//!
//! Not here: channels (`engine.rs`); which engine serves it (`uring`, `aio`).

use uuid::Uuid;

use super::backing::Backing;
use crate::bdev::{BackendDetail, BdevInfo, IoTypes};
use crate::create::uuid_or_new;
use crate::io::{BdevIo, IoOp, IoStatus};
use crate::resize::{Described, NewSize, Resize, ResizeError};

/// What all channels to one file share.
#[derive(Debug)]
pub(crate) struct FileDisk {
    /// The bdev's description.
    pub(crate) described: Described,
    /// The open file.
    pub(crate) backing: Backing,
    /// Whether unmap and write-zeroes may change the file's allocation.
    pub(crate) fallocate: bool,
}

/// What a bdev type adds to an open file.
pub(crate) struct DiskSpec {
    /// Name of the bdev.
    pub(crate) name: String,
    /// Drawn at random when absent.
    pub(crate) uuid: Option<Uuid>,
    /// SPDK's word for the kind.
    pub(crate) product_name: &'static str,
    /// Whether the file is open for reading only.
    pub(crate) readonly: bool,
    /// Whether unmap and write-zeroes may change the file's allocation.
    pub(crate) fallocate: bool,
    /// For `driver_specific`.
    pub(crate) detail: BackendDetail,
}

impl FileDisk {
    /// Describes an open file.
    pub(crate) fn new(backing: Backing, spec: DiskSpec) -> Self {
        let supported = if spec.readonly {
            IoTypes::READ_ONLY
        } else {
            IoTypes { unmap: spec.fallocate && backing.punch_hole, ..IoTypes::ALL }
        };
        let info = BdevInfo {
            name: spec.name,
            uuid: uuid_or_new(spec.uuid),
            product_name: spec.product_name,
            block_size_bytes: backing.block_size_bytes,
            num_blocks: backing.num_blocks,
            volatile_cache: backing.volatile_cache,
            unmap_reads_zero: supported.unmap,
            optimal_write_bytes: 0,
            supported,
            detail: spec.detail,
        };
        Self { described: Described::new(info), backing, fallocate: spec.fallocate }
    }

    /// Has the bdev be as long as its file is now.
    pub(crate) fn resize(&self, Resize { to, may_shrink }: Resize) -> Result<(), ResizeError> {
        let fixed = self.described.fixed();
        if to != NewSize::OfFile {
            let (name, product_name) = (fixed.name.clone(), fixed.product_name);
            return Err(ResizeError::Fixed { name, product_name });
        }
        let num_blocks = self.backing.measure(&fixed.name)?;
        self.described.resize(num_blocks, may_shrink)
    }

    /// Judges a request: its range, and whether the kernel can work with its buffers as they are.
    /// Buffers of a pool, and slices of them at multiples of the block size, always pass; copying
    /// others into place would need memory on the data path, so they are refused.
    #[inline]
    pub(crate) fn admit(&self, io: &BdevIo) -> Result<(), IoStatus> {
        self.described.admit(io)?;
        let accepted = match &io.op {
            IoOp::Read { into } => into.segments().all(|buf| self.backing.accepts(buf)),
            IoOp::Write { from, .. } => from.segments().all(|buf| self.backing.accepts(buf)),
            IoOp::Flush | IoOp::Unmap | IoOp::WriteZeroes { .. } => true,
        };
        if accepted { Ok(()) } else { Err(IoStatus::InvalidRequest) }
    }
}
