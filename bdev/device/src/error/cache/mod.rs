//! A volatile write cache over a bdev: writes complete when they are in memory, and reach the base at
//! a flush, with FUA, or when the cache is full.
//!
//! ```text
//!   read ----> cached blocks copied ----------------> done
//!         `--> base, cached blocks laid over it ----> done
//!   write ---> room: into the cache ----------------> done
//!         `--> none: Job, writes the oldest back, then as above
//!   write with FUA --> into the cache, Job: writes these blocks back, flushes the base
//!   flush -----------> Job: writes every block back, flushes the base
//!   unmap, long write, long write-zeroes --> Job: straight to the base, takes the blocks' place
//! ```
//!
//! The cache is shared by all reactors, behind a mutex: a disk has one cache, what one core wrote
//! another reads, and a rehearsal need not be fast. Nothing else in the project may do so.
//!
//! Owns: a flush completes only when everything that had completed before it is on the base, and the
//! base has flushed. After a loss of power no job goes on: what it has not sent is not sent.
//! Invariants: R6 (the cache is bounded; writes wait for room), R9 (a flush that fails says so, and
//! what has not landed stays in the cache).
//!
//! Not here: which blocks survive (`blocks`), refusing requests while the power is off (`channel`).

mod blocks;
mod job;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use reactor::Cx;
use reactor::memory::{IoBuf, IoBufMut};

use crate::bdev::{Bdev, BdevInfo, IoChannel, Leeway, OpenError};
use crate::io::{BdevIo, Completion, IoOp, IoStatus, Sgl};
use crate::limits::{CACHE_WRITE_BLOCKS_MAX, CHANNEL_IN_FLIGHT_MAX, COMPLETIONS_PER_POLL_MAX};
use crate::stacked::{Slots, Wakers, lock};
use blocks::{Blocks, Version};
use job::Job;

/// The cache and what is below it.
#[derive(Debug)]
pub(super) struct CacheBdev {
    cache: Arc<Cache>,
}

#[derive(Debug)]
struct Cache {
    block_size_bytes: u32,
    base: Arc<dyn Bdev>,
    blocks: Mutex<Blocks>,
    wakers: Wakers,
}

impl Cache {
    /// That of the base, with what the cache adds.
    fn info(&self) -> BdevInfo {
        let mut info = BdevInfo::clone(&self.base.info());
        info.volatile_cache = true;
        info.supported.flush = true;
        info
    }
}

impl CacheBdev {
    /// An empty cache over `base`.
    pub(super) fn new(base: Arc<dyn Bdev>) -> Self {
        let block_size_bytes = base.info().block_size_bytes;
        let cache =
            Cache { block_size_bytes, base, blocks: Mutex::default(), wakers: Wakers::default() };
        Self { cache: Arc::new(cache) }
    }

    /// The power goes. Without a seed every block is lost that was not flushed, else some.
    pub(super) fn lose(&self, seed: Option<u64>) {
        lock(&self.cache.blocks).lose(seed);
        self.cache.wakers.wake();
    }

    /// Blocks that a loss of power would lose.
    pub(super) fn dirty_blocks(&self) -> usize {
        lock(&self.cache.blocks).dirty()
    }
}

impl Bdev for CacheBdev {
    fn info(&self) -> Arc<BdevInfo> {
        Arc::new(self.cache.info())
    }

    fn leeway(&self) -> Leeway {
        self.cache.base.leeway()
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        let base = self.cache.base.open_channel(cx)?;
        let id = self.cache.wakers.join(cx.handle().waker());
        Ok(Box::new(CacheChannel {
            cache: Arc::clone(&self.cache),
            id,
            base,
            slots: Slots::new(),
            ready: VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX),
            jobs: Vec::new(),
            jobs_made: 0,
            in_flight: 0,
        }))
    }
}

/// What the base has a request for.
#[derive(Debug)]
enum Origin {
    /// A read, with the blocks that the cache had of it.
    Read { token: u64, cached: Vec<(u64, IoBuf)> },
    /// A write of cached blocks, or of something in their place.
    WriteBack { job: u64, run: Vec<Version> },
    /// The flush that ends a job.
    Flush { job: u64 },
    /// A request that goes past the cache.
    Straight { job: u64, token: u64, run: Vec<Version> },
}

struct CacheChannel {
    cache: Arc<Cache>,
    id: u64,
    base: Box<dyn IoChannel>,
    slots: Slots<Origin>,
    ready: VecDeque<Completion>,
    jobs: Vec<Job>,
    jobs_made: u64,
    /// Requests between `submit` and `poll`, wherever they are.
    in_flight: usize,
}

impl CacheChannel {
    fn blocks_of(&self, io: &BdevIo) -> Range<u64> {
        let block_bytes = u64::from(self.cache.block_size_bytes);
        let first = io.offset_bytes / block_bytes;
        first..first + io.len_bytes / block_bytes
    }

    /// Reads what is cached, and the rest from the base.
    fn read(&mut self, mut io: BdevIo) -> Result<(), BdevIo> {
        let blocks = self.blocks_of(&io);
        let cached = lock(&self.cache.blocks).read(blocks.clone());
        if cached.len() as u64 == blocks.end - blocks.start {
            self.lay_over(&mut io, &cached);
            self.ready.push_back(io.complete(IoStatus::Ok));
            return Ok(());
        }
        if !self.slots.has_room() {
            return Err(io);
        }
        let token = io.token;
        io.token = self.slots.put(Origin::Read { token, cached });
        self.base.submit(io).map_err(|mut io| {
            self.slots.take(io.token);
            io.token = token;
            io
        })
    }

    fn lay_over(&self, io: &mut BdevIo, cached: &[(u64, IoBuf)]) {
        let block_bytes = self.cache.block_size_bytes as usize;
        let first = self.blocks_of(io).start;
        if let IoOp::Read { into } = &mut io.op {
            for (block, data) in cached {
                copy_into(into, (block - first) as usize * block_bytes, data);
            }
        }
    }

    /// What a write puts into the cache; none if it goes past it.
    fn cacheable(&self, io: &BdevIo) -> Option<Vec<IoBuf>> {
        let blocks = self.blocks_of(io);
        let count = usize::try_from(blocks.end - blocks.start).ok()?;
        if count > CACHE_WRITE_BLOCKS_MAX {
            return None;
        }
        let block_bytes = self.cache.block_size_bytes as usize;
        match &io.op {
            IoOp::Write { from, .. } => Some(cut(from, block_bytes)),
            IoOp::WriteZeroes { .. } => Some(vec![IoBufMut::heap(block_bytes).freeze(); count]),
            IoOp::Read { .. } | IoOp::Flush | IoOp::Unmap => None,
        }
    }

    /// A completion of the base: for a user, or for a job.
    fn settle(&mut self, mut completion: Completion) -> Option<Completion> {
        let status = completion.status;
        match self.slots.take(completion.io.token) {
            Origin::Read { token, cached } => {
                completion.io.token = token;
                if status.is_ok() {
                    self.lay_over(&mut completion.io, &cached);
                }
                return Some(completion);
            }
            Origin::WriteBack { job, run } => {
                self.landed(&run, status.is_ok());
                self.job(job).returned(status);
            }
            Origin::Flush { job } => self.job(job).returned(status),
            Origin::Straight { job, token, run } => {
                self.landed(&run, status.is_ok());
                completion.io.token = token;
                let job = self.job(job);
                job.io = Some(completion.io);
                job.returned(status);
            }
        }
        None
    }

    fn landed(&self, run: &[Version], ok: bool) {
        let mut blocks = lock(&self.cache.blocks);
        run.iter().for_each(|&version| blocks.landed(version, ok));
        drop(blocks);
        // Another channel's job may wait for one of them.
        self.cache.wakers.wake();
    }

    fn job(&mut self, id: u64) -> &mut Job {
        let job = self.jobs.iter_mut().find(|job| job.id == id);
        job.expect("a job stays until all its requests are back")
    }
}

impl IoChannel for CacheChannel {
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        if self.in_flight == CHANNEL_IN_FLIGHT_MAX {
            return Err(io);
        }
        if let Err(refused) = self.cache.info().admit(&io) {
            self.ready.push_back(io.complete(refused));
        } else if matches!(io.op, IoOp::Read { .. }) {
            self.read(io)?;
        } else {
            self.begin(io);
        }
        self.in_flight += 1;
        Ok(())
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let before = done.len();
        self.base.poll(done);
        // Those of jobs are taken out; the order of completions means nothing.
        let mut place = before;
        while place < done.len() {
            let completion = done.swap_remove(place);
            if let Some(completion) = self.settle(completion) {
                done.push(completion);
                let last = done.len() - 1;
                done.swap(place, last);
                place += 1;
            }
        }
        self.advance_jobs();
        let room = COMPLETIONS_PER_POLL_MAX.saturating_sub(done.len() - before);
        let ready = self.ready.len().min(room);
        done.extend(self.ready.drain(..ready));
        let count = done.len() - before;
        self.in_flight -= count;
        count
    }
}

impl Drop for CacheChannel {
    /// What it has at the base lands, though nobody is told. Others may write these blocks again, and a
    /// base that takes them in another order leaves the older ones: close a channel when it is idle.
    fn drop(&mut self) {
        self.cache.wakers.leave(self.id);
        let runs = self.slots.drain().filter_map(|origin| match origin {
            Origin::WriteBack { run, .. } | Origin::Straight { run, .. } => Some(run),
            Origin::Read { .. } | Origin::Flush { .. } => None,
        });
        let runs: Vec<_> = runs.collect();
        runs.iter().for_each(|run| self.landed(run, false));
    }
}

/// The bytes of a list of buffers, block by block, copied: the buffers are their owner's again when
/// the write is done.
fn cut(from: &Sgl<IoBuf>, block_bytes: usize) -> Vec<IoBuf> {
    let mut blocks = Vec::new();
    let mut block = IoBufMut::heap(block_bytes);
    let mut filled = 0;
    for segment in from.segments() {
        let mut rest: &[u8] = segment;
        while !rest.is_empty() {
            let len = rest.len().min(block_bytes - filled);
            block[filled..filled + len].copy_from_slice(&rest[..len]);
            (filled, rest) = (filled + len, &rest[len..]);
            if filled == block_bytes {
                let full = std::mem::replace(&mut block, IoBufMut::heap(block_bytes));
                blocks.push(full.freeze());
                filled = 0;
            }
        }
    }
    blocks
}

/// Copies `bytes` to byte `at` of a list of buffers.
fn copy_into(into: &mut Sgl<IoBufMut>, mut at: usize, mut bytes: &[u8]) {
    for segment in into.segments_mut() {
        if at >= segment.len() {
            at -= segment.len();
            continue;
        }
        let len = bytes.len().min(segment.len() - at);
        segment[at..at + len].copy_from_slice(&bytes[..len]);
        (at, bytes) = (0, &bytes[len..]);
        if bytes.is_empty() {
            break;
        }
    }
}
