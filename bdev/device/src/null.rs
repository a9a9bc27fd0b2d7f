//! The null bdev: completes every request at the next poll and moves no byte.
//!
//! It is for measuring what is above it, and as cheap as a device can be: one range check, one
//! move of the request into the queue, one move out. As with SPDK's null bdev a read leaves the
//! buffer as it is: what is "read" is undefined. Filling it with zeroes would cost more than the
//! rest of the device together and would make it look like a disk, which it is not: nothing that
//! is written can be read back, and an array over null members must never be checked or repaired.
//!
//! Invariants: R6 (a full queue hands the request back).
//!
//! Not here: a device that keeps its data (`malloc`).

use std::collections::VecDeque;
use std::sync::Arc;

use reactor::Cx;
use uuid::Uuid;

use crate::bdev::{BackendDetail, Bdev, BdevInfo, IoChannel, IoTypes, OpenError};
use crate::create::{CreateError, check_size, uuid_or_new};
use crate::io::{BdevIo, Completion, IoStatus};
use crate::limits::{CHANNEL_IN_FLIGHT_MAX, COMPLETIONS_PER_POLL_MAX};
use crate::resize::{Described, NewSize, Resize, ResizeError};

/// What a null bdev is made from.
#[derive(Clone, Debug)]
pub struct NullSpec {
    /// Unique name in the service.
    pub name: String,
    /// Drawn at random when absent.
    pub uuid: Option<Uuid>,
    /// 512 or 4096.
    pub block_size_bytes: u32,
    /// At least 1.
    pub num_blocks: u64,
}

/// A device that does nothing.
#[derive(Debug)]
pub struct NullBdev {
    described: Arc<Described>,
}

impl NullBdev {
    /// Makes the device.
    ///
    /// # Errors
    ///
    /// [`CreateError`] for a block size or a number of blocks that no device can have.
    pub fn create(spec: NullSpec) -> Result<Arc<dyn Bdev>, CreateError> {
        check_size(&spec.name, spec.block_size_bytes, spec.num_blocks)?;
        Ok(Arc::new(Self {
            described: Arc::new(Described::new(BdevInfo {
                name: spec.name,
                uuid: uuid_or_new(spec.uuid),
                product_name: "Null disk",
                block_size_bytes: spec.block_size_bytes,
                num_blocks: spec.num_blocks,
                volatile_cache: false,
                unmap_reads_zero: false,
                optimal_write_bytes: 0,
                supported: IoTypes::ALL,
                detail: BackendDetail::Null,
            })),
        }))
    }
}

impl Bdev for NullBdev {
    fn info(&self) -> Arc<BdevInfo> {
        self.described.info()
    }

    fn resize(&self, Resize { to, may_shrink }: Resize) -> Result<(), ResizeError> {
        let fixed = self.described.fixed();
        let NewSize::Blocks(num_blocks) = to else {
            let (name, product_name) = (fixed.name.clone(), fixed.product_name);
            return Err(ResizeError::Fixed { name, product_name });
        };
        check_size(&fixed.name, fixed.block_size_bytes, num_blocks)?;
        self.described.resize(num_blocks, may_shrink)
    }

    fn open_channel(&self, _cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        Ok(Box::new(NullChannel {
            described: Arc::clone(&self.described),
            done: VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX),
        }))
    }
}

struct NullChannel {
    described: Arc<Described>,
    done: VecDeque<Completion>,
}

impl IoChannel for NullChannel {
    #[inline]
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        if self.done.len() == CHANNEL_IN_FLIGHT_MAX {
            return Err(io);
        }
        let status = self.described.admit(&io).err().unwrap_or(IoStatus::Ok);
        self.done.push_back(io.complete(status));
        Ok(())
    }

    #[inline]
    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let finished = self.done.len().min(COMPLETIONS_PER_POLL_MAX);
        done.extend(self.done.drain(..finished));
        finished
    }
}
