//! The RAM disk: memory that all reactors share without locks.
//!
//! A read or a write is a copy made while it is submitted; the completion waits for the next
//! poll. Unmaps and write-zeroes are done likewise when they are short, and step by step by a
//! poller of the reactor when they are long (`zeroing.rs`), since a host that trims a whole disk
//! must not stop the reactor for a tenth of a second. A flush has nothing to do.
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
use crate::create::{CreateError, check_size};
use crate::io::{BdevIo, Completion, IoOp, IoStatus};
use crate::limits::{CHANNEL_IN_FLIGHT_MAX, COMPLETIONS_PER_POLL_MAX, MALLOC_ZERO_STEP_BYTES};
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
    info: BdevInfo,
    memory: Memory,
}

/// Completions of one channel that wait for its next poll.
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
            uuid: spec.uuid.unwrap_or_else(Uuid::new_v4),
            product_name: "Malloc disk",
            block_size_bytes: spec.block_size_bytes,
            num_blocks: spec.num_blocks,
            volatile_cache: false,
            unmap_reads_zero: true,
            optimal_write_bytes: 0,
            supported: IoTypes::ALL,
            detail: BackendDetail::Malloc,
        };
        Ok(Arc::new(Self { disk: Arc::new(Disk { info, memory }) }))
    }
}

impl Bdev for MallocBdev {
    fn info(&self) -> &BdevInfo {
        &self.disk.info
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        Ok(Box::new(MallocChannel {
            disk: Arc::clone(&self.disk),
            jobs: ZeroJobs::of_reactor(cx),
            done: Rc::new(RefCell::new(VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX))),
            in_flight: 0,
        }))
    }
}

struct MallocChannel {
    disk: Arc<Disk>,
    jobs: Rc<ZeroJobs>,
    done: Rc<DoneQueue>,
    in_flight: usize,
}

impl MallocChannel {
    /// Does the request, unless it is long enough to become a job.
    fn perform(&self, io: &mut BdevIo) -> Outcome {
        if let Err(refused) = self.disk.info.admit(io) {
            return Outcome::Done(refused);
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
                _ => return Outcome::Job,
            },
            IoOp::Flush => {}
        }
        Outcome::Done(IoStatus::Ok)
    }
}

/// What became of a request while it was submitted.
enum Outcome {
    Done(IoStatus),
    Job,
}

impl IoChannel for MallocChannel {
    fn submit(&mut self, mut io: BdevIo) -> Result<(), BdevIo> {
        if self.in_flight == CHANNEL_IN_FLIGHT_MAX {
            return Err(io);
        }
        self.in_flight += 1;
        match self.perform(&mut io) {
            Outcome::Done(status) => self.done.borrow_mut().push_back(io.complete(status)),
            Outcome::Job => self.jobs.push(ZeroJob::new(&self.disk, io, &self.done)),
        }
        Ok(())
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let mut finished = self.done.borrow_mut();
        let count = finished.len().min(COMPLETIONS_PER_POLL_MAX);
        done.extend(finished.drain(..count));
        self.in_flight -= count;
        count
    }
}
