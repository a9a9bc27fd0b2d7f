//! The RAM disk: memory that all reactors share without locks.
//!
//! `submit` only queues; `poll` copies, at most `MALLOC_POLL_BYTES_MAX` at a time. Copying later
//! has a reason: the next request's memory is fetched while the current one is copied, which takes
//! a random 4 KiB from 600 to 430 ns (the processor's own prefetcher does not know where the next
//! request is). Long unmaps and write-zeroes are done step by step by a poller of the reactor
//! (`zeroing.rs`), since a host that trims a whole disk must not stop the reactor for a tenth of a
//! second. A flush has nothing to do.
//!
//! ```text
//!   channel on reactor 0 --copy--> +--------+ <--copy-- channel on reactor 1
//!                                  | Memory |
//!                zeroing poller -> +--------+ <- zeroing poller
//! ```
//!
//! `volatile_cache` is false although the content dies with the process: a flush could not
//! prevent that, so asking for one is of no use.
//!
//! Invariants: R6. What happens when two requests overlap is said, and made sound, in
//! `memory.rs`.
//!
//! Not here: persistence, and sharing between processes.

mod memory;
mod zeroing;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use reactor::Cx;
use uuid::Uuid;

use crate::bdev::{BackendDetail, Bdev, BdevInfo, IoChannel, IoTypes, OpenError};
use crate::create::{CreateError, check_size, uuid_or_new};
use crate::io::{BdevIo, Completion, IoOp, IoStatus};
use crate::limits::{
    CHANNEL_IN_FLIGHT_MAX, COMPLETIONS_PER_POLL_MAX, MALLOC_POLL_BYTES_MAX, MALLOC_ZERO_STEP_BYTES,
};
use memory::Memory;
use zeroing::{ZeroJob, ZeroJobs};

/// What a RAM disk is made from.
#[derive(Clone, Debug)]
pub struct MallocSpec {
    /// Unique name in the service.
    pub name: String,
    /// Drawn at random when absent.
    pub uuid: Option<Uuid>,
    /// 512 or 4096.
    pub block_size_bytes: u32,
    /// At least 1.
    pub num_blocks: u64,
}

/// A RAM disk.
#[derive(Debug)]
pub struct MallocBdev {
    disk: Arc<Disk>,
}

/// What the channels of one RAM disk share.
#[derive(Debug)]
struct Disk {
    info: Arc<BdevInfo>,
    memory: Memory,
}

/// Finished fills of one channel that wait for its next poll.
type DoneQueue = RefCell<VecDeque<Completion>>;

impl MallocBdev {
    /// Maps the memory, all zeroes. None of it is taken before it is written to.
    ///
    /// # Errors
    ///
    /// [`CreateError`] for a block size or a number of blocks that no device can have, and when
    /// the memory cannot be had.
    pub fn create(spec: MallocSpec) -> Result<Arc<dyn Bdev>, CreateError> {
        let len_bytes = check_size(&spec.name, spec.block_size_bytes, spec.num_blocks)?;
        let memory = Memory::map(len_bytes).map_err(|source| CreateError::Memory {
            name: spec.name.clone(),
            len_bytes,
            source,
        })?;
        let info = BdevInfo {
            name: spec.name,
            uuid: uuid_or_new(spec.uuid),
            product_name: "Malloc disk",
            block_size_bytes: spec.block_size_bytes,
            num_blocks: spec.num_blocks,
            volatile_cache: false,
            unmap_reads_zero: true,
            optimal_write_bytes: 0,
            supported: IoTypes::ALL,
            detail: BackendDetail::Malloc,
        };
        Ok(Arc::new(Self { disk: Arc::new(Disk { info: Arc::new(info), memory }) }))
    }
}

impl Bdev for MallocBdev {
    fn info(&self) -> Arc<BdevInfo> {
        Arc::clone(&self.disk.info)
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        Ok(Box::new(MallocChannel {
            disk: Arc::clone(&self.disk),
            jobs: ZeroJobs::of_reactor(cx),
            queued: VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX),
            zeroed: Rc::new(RefCell::new(VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX))),
            in_flight: 0,
        }))
    }
}

struct MallocChannel {
    disk: Arc<Disk>,
    jobs: Rc<ZeroJobs>,
    /// What was submitted, in order.
    queued: VecDeque<BdevIo>,
    /// What the zeroing poller has finished.
    zeroed: Rc<DoneQueue>,
    /// Requests between `submit` and `poll`, wherever they are.
    in_flight: usize,
}

impl MallocChannel {
    /// Performs a request of the queue; none when it has become a job.
    #[inline]
    fn perform(&self, mut io: BdevIo) -> Option<Completion> {
        if let Err(refused) = self.disk.info.admit(&io) {
            return Some(io.complete(refused));
        }
        let memory = &self.disk.memory;
        let mut at = io.offset_bytes;
        match &mut io.op {
            IoOp::Read { into } => {
                for segment in into.segments_mut() {
                    memory.read(at, segment);
                    at += segment.len() as u64;
                }
            }
            IoOp::Write { from, .. } => {
                for segment in from.segments() {
                    memory.write(at, segment);
                    at += segment.len() as u64;
                }
            }
            IoOp::Unmap | IoOp::WriteZeroes { .. } => match usize::try_from(io.len_bytes) {
                Ok(len_bytes) if len_bytes <= MALLOC_ZERO_STEP_BYTES => memory.zero(at, len_bytes),
                _ => {
                    self.jobs.push(ZeroJob::new(&self.disk, io, &self.zeroed));
                    return None;
                }
            },
            IoOp::Flush => {}
        }
        Some(io.complete(IoStatus::Ok))
    }
}

impl IoChannel for MallocChannel {
    #[inline]
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        if self.in_flight == CHANNEL_IN_FLIGHT_MAX {
            return Err(io);
        }
        self.in_flight += 1;
        self.queued.push_back(io);
        Ok(())
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let mut zeroed = self.zeroed.borrow_mut();
        let mut count = zeroed.len().min(COMPLETIONS_PER_POLL_MAX);
        done.extend(zeroed.drain(..count));
        drop(zeroed);
        let mut copied_bytes = 0_u64;
        while count < COMPLETIONS_PER_POLL_MAX && copied_bytes < MALLOC_POLL_BYTES_MAX {
            let Some(io) = self.queued.pop_front() else { break };
            if let Some(next) = self.queued.front() {
                self.disk.memory.prefetch(next.offset_bytes);
            }
            // The length is not judged yet.
            copied_bytes = copied_bytes.saturating_add(io.len_bytes);
            if let Some(completion) = self.perform(io) {
                done.push(completion);
                count += 1;
            }
        }
        self.in_flight -= count;
        count
    }
}

impl Drop for MallocChannel {
    /// What was submitted is done, as on any other device, though nobody is told.
    fn drop(&mut self) {
        while let Some(io) = self.queued.pop_front() {
            drop(self.perform(io));
        }
    }
}
