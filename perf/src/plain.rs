//! Plain loads: offsets and directions, and nothing else.
//!
//! Owns: every offset is inside the job's range and a multiple of its request size away from its
//! start. No division and no table per request.
//!
//! Not here: stamps (`verify`).

use crate::buffers::Stock;
use crate::job::{Job, Part, Pattern};
use crate::random::SplitMix64;
use crate::source::{Direction, Prepared, Source};
use crate::verify::Findings;
use device::{BdevIo, IoStatus};

/// Where the next request goes.
#[derive(Debug)]
pub(crate) enum Offsets {
    /// Ascending, and from the start again.
    Sequential { next_bytes: u64, first_bytes: u64, end_bytes: u64, step_bytes: u64 },
    /// Any block, each as likely as any other.
    Random { random: SplitMix64, first_bytes: u64, blocks: u64, step_bytes: u64 },
}

impl Offsets {
    /// The offsets of one reactor in its part of the job's range.
    pub(crate) fn new(job: &Job, part: Part, reactor: usize) -> Self {
        let step_bytes = job.block_bytes;
        let first_bytes = job.offset_bytes + part.first * step_bytes;
        if job.pattern.is_sequential() {
            let end_bytes = first_bytes + part.blocks * step_bytes;
            Self::Sequential { next_bytes: first_bytes, first_bytes, end_bytes, step_bytes }
        } else {
            let random = SplitMix64::new(job.seed, reactor as u64);
            Self::Random { random, first_bytes, blocks: part.blocks, step_bytes }
        }
    }

    /// The next one.
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        match self {
            Self::Sequential { next_bytes, first_bytes, end_bytes, step_bytes } => {
                let at = *next_bytes;
                let after = at + *step_bytes;
                *next_bytes = if after == *end_bytes { *first_bytes } else { after };
                at
            }
            Self::Random { random, first_bytes, blocks, step_bytes } => {
                *first_bytes + random.below(*blocks) * *step_bytes
            }
        }
    }
}

/// Which way the next request goes.
#[derive(Debug)]
pub(crate) enum Mix {
    /// All the same way; their operations stay as they are.
    Pure(Direction),
    /// At random.
    Random { random: SplitMix64, read_percent: u64 },
}

impl Mix {
    /// The directions of one reactor's requests.
    pub(crate) fn new(job: &Job, reactor: usize) -> Self {
        match (job.pattern.reads(), job.pattern.writes(), job.pattern) {
            (true, true, Pattern::RandRw { read_percent }) => Self::Random {
                // A generator of its own: the offsets do not depend on the share of reads.
                random: SplitMix64::new(!job.seed, reactor as u64),
                read_percent: read_percent.into(),
            },
            (_, true, _) => Self::Pure(Direction::Write),
            _ => Self::Pure(Direction::Read),
        }
    }

    /// The next one.
    #[inline]
    pub(crate) fn next(&mut self) -> Direction {
        match self {
            Self::Pure(direction) => *direction,
            Self::Random { random, read_percent } => {
                if random.below(100) < *read_percent {
                    Direction::Read
                } else {
                    Direction::Write
                }
            }
        }
    }
}

/// The requests of a plain load on one reactor. They never end: the worker's limit does that.
#[derive(Debug)]
pub(crate) struct Plain {
    offsets: Offsets,
    mix: Mix,
    stock: Stock,
    /// Whether operations change between requests.
    turns: bool,
}

impl Plain {
    pub(crate) fn new(job: &Job, part: Part, reactor: usize, stock: Stock) -> Self {
        let mix = Mix::new(job, reactor);
        let turns = stock.rotates();
        Self { offsets: Offsets::new(job, part, reactor), mix, stock, turns }
    }
}

impl Source for Plain {
    #[inline]
    fn prepare(&mut self, io: &mut BdevIo, _note: &mut u64) -> Prepared {
        io.offset_bytes = self.offsets.next();
        if self.turns {
            self.stock.turn_to(io, self.mix.next());
        }
        Prepared::Ready
    }

    #[inline]
    fn inspect(&mut self, _io: &BdevIo, _note: u64, _status: IoStatus) {}

    fn findings(&mut self) -> Findings {
        Findings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Limit;
    use device::{NullBdev, NullSpec};

    fn job(pattern: Pattern) -> Job {
        let spec =
            NullSpec { name: "n0".into(), uuid: None, block_size_bytes: 512, num_blocks: 1000 };
        let mut job = Job::new(NullBdev::create(spec).unwrap(), pattern);
        (job.block_bytes, job.offset_bytes, job.limit) = (1024, 512, Limit::Ios(1));
        job
    }

    #[test]
    fn sequential_offsets_ascend_and_wrap() {
        let job = job(Pattern::Write);
        let mut offsets = Offsets::new(&job, Part { first: 2, blocks: 3 }, 0);
        let found: Vec<_> = (0..7).map(|_| offsets.next()).collect();
        assert_eq!(found, [2560, 3584, 4608, 2560, 3584, 4608, 2560]);
    }

    /// Goal: random offsets are aligned, inside their part, reach all of it, and repeat with the
    /// seed only.
    #[test]
    fn random_offsets_stay_inside() {
        let job = job(Pattern::RandRead);
        let part = Part { first: 1, blocks: 37 };
        let mut offsets = Offsets::new(&job, part, 0);
        let found: Vec<_> = (0..2000).map(|_| offsets.next()).collect();
        let mut blocks: Vec<_> = found.iter().map(|at| (at - 512) / 1024).collect();
        assert!(found.iter().all(|at| (at - 512).is_multiple_of(1024)));
        blocks.sort_unstable();
        blocks.dedup();
        assert!(blocks.into_iter().eq(1..38));
        let mut again = Offsets::new(&job, part, 0);
        assert!(found.iter().all(|at| again.next() == *at));
        let mut other = Offsets::new(&job, part, 1);
        assert!(found.iter().filter(|at| other.next() == **at).count() < 200);
    }

    #[test]
    fn the_mix_keeps_its_share() {
        for (read_percent, range) in [(0, 0..=0), (30, 2800..=3200), (100, 10_000..=10_000)] {
            let mut mix = Mix::new(&job(Pattern::RandRw { read_percent }), 0);
            let reads = (0..10_000).filter(|_| mix.next() == Direction::Read).count();
            assert!(range.contains(&reads), "{reads} of 10000 for {read_percent} %");
        }
    }
}
