//! Requests of a cached bdev that take several requests to the base.
//!
//! ```text
//!   WriteBack(left) --all landed--> Flush --> done         flush, FUA
//!        |      ^
//!        |      `-- no room yet --+
//!        `--all landed--> Admit --+--> into the cache --> done, or WriteBack for FUA
//!   Straight: claim the range --> base --> done            unmap, long writes
//! ```
//!
//! Jobs go on in `poll`. One that waits for another channel's write of the same block is woken by it.
//!
//! Not here: the cached blocks (`blocks`), reads (`super`).

use std::collections::VecDeque;

use reactor::memory::IoBuf;

use super::blocks::{ClaimOutcome, Version};
use super::{CacheChannel, Origin};
use crate::io::{BdevIo, IoOp, IoStatus, Sgl};
use crate::limits::{CACHE_EVICT_BLOCKS, CACHE_RUN_BLOCKS_MAX};
use crate::stacked::lock;

/// One request under way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) id: u64,
    /// None while the base has it.
    pub(super) io: Option<BdevIo>,
    step: Step,
    /// The power was lost so often when it began.
    losses: u64,
    /// Requests that the base has for it.
    at_base: usize,
    /// The first failure.
    status: IoStatus,
}

#[derive(Debug)]
enum Step {
    /// Write these back, then.
    WriteBack { left: VecDeque<Version>, then: Then },
    /// The base flushes.
    Flush { sent: bool },
    /// The request itself goes to the base.
    Straight { sent: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Flush,
    Admit,
}

/// Whether a job has come to its end.
#[derive(PartialEq, Eq)]
enum Progress {
    Waits,
    GoesOn,
    Done,
}

impl Job {
    /// One of its requests is back.
    pub(super) fn returned(&mut self, status: IoStatus) {
        self.at_base -= 1;
        if self.status.is_ok() {
            self.status = status;
        }
    }
}

impl CacheChannel {
    /// Begins a request that the device admits and that is no read. Most writes end here.
    pub(super) fn begin(&mut self, io: BdevIo) {
        let step = match &io.op {
            IoOp::Flush => {
                let left = lock(&self.cache.blocks).all().into();
                Step::WriteBack { left, then: Then::Flush }
            }
            IoOp::Read { .. } | IoOp::Unmap => Step::Straight { sent: false },
            IoOp::Write { .. } | IoOp::WriteZeroes { .. } => match self.admit(&io) {
                Some(None) => {
                    self.ready.push_back(io.complete(IoStatus::Ok));
                    return;
                }
                Some(Some(step)) => step,
                None => Step::Straight { sent: false },
            },
        };
        self.jobs_made += 1;
        let losses = lock(&self.cache.blocks).losses();
        let id = self.jobs_made;
        let status = IoStatus::Ok;
        self.jobs.push(Job { id, io: Some(io), step, losses, at_base: 0, status });
    }

    /// Puts a write into the cache. None if it goes past the cache; the outer `Some` holds what is
    /// still to be done.
    fn admit(&self, io: &BdevIo) -> Option<Option<Step>> {
        let data = self.cacheable(io)?;
        let mut blocks = lock(&self.cache.blocks);
        if !blocks.has_room(data.len()) {
            let left = blocks.oldest(data.len().max(CACHE_EVICT_BLOCKS)).into();
            return Some(Some(Step::WriteBack { left, then: Then::Admit }));
        }
        let versions = blocks.write(self.blocks_of(io).start, data);
        let fua = matches!(io.op, IoOp::Write { fua: true, .. } | IoOp::WriteZeroes { fua: true });
        Some(fua.then(|| Step::WriteBack { left: versions.into(), then: Then::Flush }))
    }

    /// Goes on with every job as far as that is possible now.
    pub(super) fn advance_jobs(&mut self) {
        let mut place = 0;
        while place < self.jobs.len() {
            let mut job = self.jobs.swap_remove(place);
            let mut progress = Progress::GoesOn;
            while progress == Progress::GoesOn {
                progress = self.advance(&mut job);
            }
            match (progress, job.io.take()) {
                (Progress::Done, Some(io)) => self.ready.push_back(io.complete(job.status)),
                (_, io) => {
                    job.io = io;
                    self.jobs.push(job);
                    let last = self.jobs.len() - 1;
                    self.jobs.swap(place, last);
                    place += 1;
                }
            }
        }
    }

    fn advance(&mut self, job: &mut Job) -> Progress {
        if job.status.is_ok() && job.losses != lock(&self.cache.blocks).losses() {
            job.status = IoStatus::Gone;
        }
        if !job.status.is_ok() {
            return if job.at_base == 0 { Progress::Done } else { Progress::Waits };
        }
        match &mut job.step {
            Step::WriteBack { left, .. } if !left.is_empty() => {
                let at_base = self.write_back(job.id, left);
                job.at_base += at_base;
                Progress::Waits
            }
            _ if job.at_base > 0 => Progress::Waits,
            Step::WriteBack { then: Then::Flush, .. } => {
                job.step = Step::Flush { sent: !self.cache.base.info().supported.flush };
                Progress::GoesOn
            }
            Step::WriteBack { then: Then::Admit, .. } => {
                let step = job.io.as_ref().and_then(|io| self.admit(io)).flatten();
                let Some(step) = step else { return Progress::Done };
                job.step = step;
                Progress::GoesOn
            }
            Step::Flush { sent } | Step::Straight { sent } if *sent => Progress::Done,
            Step::Flush { sent } => {
                let flush = BdevIo::flush(0);
                *sent = self.send(flush, Origin::Flush { job: job.id }).is_ok();
                job.at_base += usize::from(*sent);
                Progress::Waits
            }
            Step::Straight { sent } => {
                *sent = self.send_straight(job.id, &mut job.io);
                job.at_base += usize::from(*sent);
                Progress::Waits
            }
        }
    }

    /// Sends what can be sent of `left` now, in runs; returns how many requests that were.
    fn write_back(&mut self, job: u64, left: &mut VecDeque<Version>) -> usize {
        let mut claimed = Vec::new();
        let mut blocks = lock(&self.cache.blocks);
        for _ in 0..left.len() {
            let Some(wanted) = left.pop_front() else { break };
            match blocks.claim(wanted) {
                ClaimOutcome::Clean => {}
                ClaimOutcome::Busy => left.push_back(wanted),
                ClaimOutcome::Send(version, data) => claimed.push((version, data)),
            }
        }
        drop(blocks);
        let follows = |a: &(Version, IoBuf), b: &(Version, IoBuf)| a.0.block + 1 == b.0.block;
        let mut sent = 0;
        for run in claimed.chunk_by(follows).flat_map(|run| run.chunks(CACHE_RUN_BLOCKS_MAX)) {
            let versions: Vec<_> = run.iter().map(|(version, _)| *version).collect();
            let data = run.iter().map(|(_, data)| data.clone()).collect();
            let offset_bytes = versions[0].block * u64::from(self.cache.block_size_bytes);
            let io = BdevIo::write(0, offset_bytes, Sgl::Many(data), false);
            match self.send(io, Origin::WriteBack { job, run: versions.clone() }) {
                Ok(()) => sent += 1,
                Err(_) => {
                    // Not sent, so it has not landed.
                    self.landed(&versions, false);
                    left.extend(versions);
                }
            }
        }
        sent
    }

    /// Sends a request past the cache, unless a block under it is on its way.
    fn send_straight(&mut self, job: u64, io: &mut Option<BdevIo>) -> bool {
        let Some(request) = io.take() else { return false };
        let range = self.blocks_of(&request);
        let claimed = lock(&self.cache.blocks).claim_range(range);
        let Some(run) = claimed else {
            *io = Some(request);
            return false;
        };
        let token = request.token;
        let origin = Origin::Straight { job, token, run: run.clone() };
        match self.send(request, origin) {
            Ok(()) => true,
            Err(mut back) => {
                self.landed(&run, false);
                back.token = token;
                *io = Some(back);
                false
            }
        }
    }

    fn send(&mut self, mut io: BdevIo, origin: Origin) -> Result<(), BdevIo> {
        if !self.slots.has_room() {
            return Err(io);
        }
        io.token = self.slots.put(origin);
        self.base.submit(io).inspect_err(|io| {
            self.slots.take(io.token);
        })
    }
}
