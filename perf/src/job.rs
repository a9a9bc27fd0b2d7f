//! [`Job`]: what a load is, and the judgement whether its bdev can bear it.
//!
//! ```text
//!   bdev   |........|==================== range ====================|......|
//!                    part 0          | part 1          | part 2       rest < one block
//! ```
//!
//! Sequential and verified jobs give each reactor its own part of the range, so that no two
//! reactors ever write the same block; random ones let every reactor roam over the whole range.
//!
//! Not here: doing it (`run`, `worker`).

use crate::limits::{BLOCK_BYTES_MAX, BUFFERS_BYTES_MAX, IO_DEPTH_MAX};
use device::Bdev;
use reactor::Ticks;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// Which requests a job makes, and in which order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// Reads in ascending order.
    Read,
    /// Writes in ascending order.
    Write,
    /// Reads of random blocks.
    RandRead,
    /// Writes of random blocks.
    RandWrite,
    /// Reads and writes of random blocks.
    RandRw {
        /// How many of 100 requests are reads, on average.
        read_percent: u8,
    },
}

/// Share of reads in `randrw` unless the job says otherwise.
pub const READ_PERCENT_DEFAULT: u8 = 50;

impl Pattern {
    /// Whether it has reads.
    pub fn reads(self) -> bool {
        !matches!(self, Self::Write | Self::RandWrite | Self::RandRw { read_percent: 0 })
    }

    /// Whether it has writes.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Read | Self::RandRead | Self::RandRw { read_percent: 100 })
    }

    /// Whether it takes blocks in ascending order.
    pub fn is_sequential(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }
}

impl FromStr for Pattern {
    type Err = JobError;

    fn from_str(text: &str) -> Result<Self, JobError> {
        Ok(match text {
            "read" => Self::Read,
            "write" => Self::Write,
            "randread" => Self::RandRead,
            "randwrite" => Self::RandWrite,
            "randrw" => Self::RandRw { read_percent: READ_PERCENT_DEFAULT },
            _ => return Err(JobError::Pattern { text: text.to_owned() }),
        })
    }
}

impl fmt::Display for Pattern {
    /// The name that is read back; the share of reads is not part of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::RandRead => "randread",
            Self::RandWrite => "randwrite",
            Self::RandRw { .. } => "randrw",
        })
    }
}

/// When a job has done enough. All reactors stop on the same condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// As many requests as the range has blocks. Without verification of random requests that is
    /// not each block once.
    OnePass,
    /// That much time after the ramp.
    Time(Ticks),
    /// That many requests over all reactors.
    Ios(u64),
    /// That many bytes over all reactors, rounded up to whole requests.
    Bytes(u64),
}

/// Which clock the latencies come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LatencyClock {
    /// The reactor's, which is read once a turn. Costs nothing; a latency is exact to a turn.
    Turn,
    /// Read at each submission and each completion: two readings per request, some 20 to 50 ns
    /// each. For latencies that are not much longer than a turn.
    Precise,
}

/// What a failed request does to the job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnError {
    /// All reactors stop.
    Stop,
    /// It is counted.
    Continue,
}

/// A load on one bdev.
#[derive(Clone, Debug)]
pub struct Job {
    /// The device under load.
    pub bdev: Arc<dyn Bdev>,
    /// Which requests.
    pub pattern: Pattern,
    /// Bytes of a request, a multiple of the device's block size.
    pub block_bytes: u64,
    /// Requests that each reactor keeps in flight.
    pub io_depth: usize,
    /// First byte of the range, a multiple of the device's block size.
    pub offset_bytes: u64,
    /// Length of the range; up to the end of the device when absent. What is left over after the
    /// last whole request is not touched.
    pub size_bytes: Option<u64>,
    /// When it is enough.
    pub limit: Limit,
    /// The load runs that long before anything is counted.
    pub ramp: Ticks,
    /// Writes are stamped and read back at the end, reads are checked for stamps.
    pub verify: bool,
    /// Decides the random offsets and the stamps.
    pub seed: u64,
    /// Names this run in its stamps, so that a write of it that was lost is not mistaken for an
    /// equal one of an earlier run. Draw it at random.
    pub run_id: u64,
    /// Where latencies come from.
    pub clock: LatencyClock,
    /// What a failed request does.
    pub on_error: OnError,
    /// Buffers that the writes of a reactor take turns with; never less than the depth. More of
    /// them make the data colder in the cache.
    pub write_buffers: usize,
}

impl Job {
    /// 4 KiB at depth 1 over the whole device, once.
    pub fn new(bdev: Arc<dyn Bdev>, pattern: Pattern) -> Self {
        Self {
            bdev,
            pattern,
            block_bytes: 4096,
            io_depth: 1,
            offset_bytes: 0,
            size_bytes: None,
            limit: Limit::OnePass,
            ramp: Ticks::ZERO,
            verify: false,
            seed: 0,
            run_id: 0,
            clock: LatencyClock::Turn,
            on_error: OnError::Stop,
            write_buffers: 0,
        }
    }

    /// Judges the job and divides it between that many reactors (at least one).
    pub(crate) fn plan(&self, reactors: usize) -> Result<Plan, JobError> {
        assert!(reactors > 0, "a job runs on at least one reactor");
        self.check_requests()?;
        self.check_support()?;
        let blocks = self.blocks_in_range()?;
        let has_parts = self.verify || self.pattern.is_sequential();
        if has_parts && blocks < reactors as u64 {
            return Err(JobError::TooFewBlocks { blocks, reactors });
        }
        let whole = Part { first: 0, blocks };
        let ios = match self.limit {
            Limit::OnePass => Some(blocks),
            Limit::Ios(ios) => Some(ios),
            Limit::Bytes(bytes) => Some(bytes.div_ceil(self.block_bytes)),
            Limit::Time(_) => None,
        };
        let of = reactors as u64;
        let shares = (0..of).map(|index| Share {
            part: if has_parts { whole.share(index, of) } else { whole },
            ios: ios.map(|blocks| Part { first: 0, blocks }.share(index, of).blocks),
        });
        Ok(Plan { blocks, shares: shares.collect() })
    }

    fn check_requests(&self) -> Result<(), JobError> {
        let info = self.bdev.info();
        let device_bytes = u64::from(info.block_size_bytes);
        let aligned = self.block_bytes.is_multiple_of(device_bytes);
        if self.block_bytes == 0 || !aligned || self.block_bytes > BLOCK_BYTES_MAX {
            return Err(JobError::BlockBytes {
                bdev: info.name.clone(),
                block_bytes: self.block_bytes,
                device_bytes,
            });
        }
        if self.io_depth == 0 || self.io_depth > IO_DEPTH_MAX {
            return Err(JobError::Depth { io_depth: self.io_depth });
        }
        let buffers = self.io_depth.max(self.write_buffers) as u64;
        if buffers > BUFFERS_BYTES_MAX / self.block_bytes {
            return Err(JobError::Buffers { buffers, block_bytes: self.block_bytes });
        }
        match (self.pattern, self.limit) {
            (Pattern::RandRw { read_percent }, _) if read_percent > 100 => {
                Err(JobError::ReadPercent { read_percent })
            }
            (_, Limit::Time(Ticks(0)) | Limit::Ios(0) | Limit::Bytes(0)) => Err(JobError::NoLimit),
            _ => Ok(()),
        }
    }

    fn check_support(&self) -> Result<(), JobError> {
        let info = self.bdev.info();
        let reads = self.pattern.reads() || self.verify;
        let missing = match (reads && !info.supported.read, self.pattern.writes()) {
            (true, _) => Some("reads"),
            (false, true) if !info.supported.write => Some("writes"),
            _ => None,
        };
        match missing {
            Some(what) => Err(JobError::Unsupported { bdev: info.name.clone(), what }),
            None => Ok(()),
        }
    }

    fn blocks_in_range(&self) -> Result<u64, JobError> {
        let info = self.bdev.info();
        let device_bytes = u64::from(info.block_size_bytes);
        let bdev_bytes = info.size_bytes();
        let out_of_range = |size_bytes| JobError::Range {
            bdev: info.name.clone(),
            offset_bytes: self.offset_bytes,
            size_bytes,
            block_bytes: self.block_bytes,
            device_bytes,
            bdev_bytes,
        };
        let rest_bytes = bdev_bytes.saturating_sub(self.offset_bytes);
        let size_bytes = self.size_bytes.unwrap_or(rest_bytes);
        let aligned = self.offset_bytes.is_multiple_of(device_bytes);
        if !aligned || size_bytes > rest_bytes || size_bytes < self.block_bytes {
            return Err(out_of_range(size_bytes));
        }
        Ok(size_bytes / self.block_bytes)
    }
}

/// A range of requests, counted in requests from the start of the job's range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) first: u64,
    pub(crate) blocks: u64,
}

impl Part {
    /// The part number `index` of `of` nearly equal ones.
    fn share(self, index: u64, of: u64) -> Self {
        let start = |index: u64| index * (self.blocks / of) + index.min(self.blocks % of);
        Self { first: self.first + start(index), blocks: start(index + 1) - start(index) }
    }
}

/// A judged job: who does what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    /// Requests that fit into the range.
    pub(crate) blocks: u64,
    /// One for each reactor.
    pub(crate) shares: Vec<Share>,
}

/// What one reactor does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Share {
    /// The blocks that it may touch.
    pub(crate) part: Part,
    /// How many requests it makes, unless it goes by the clock.
    pub(crate) ios: Option<u64>,
}

/// Why a job cannot run.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum JobError {
    /// An unknown name.
    #[error("pattern \"{text}\" is unknown: give read, write, randread, randwrite or randrw")]
    Pattern {
        /// As it was written.
        text: String,
    },
    /// A request size that the device cannot serve.
    #[error(
        "bdev {bdev}: requests of {block_bytes} bytes: give a multiple of its block size \
         {device_bytes}, at most {BLOCK_BYTES_MAX}"
    )]
    BlockBytes {
        /// Name of the bdev.
        bdev: String,
        /// The refused value.
        block_bytes: u64,
        /// The device's block size.
        device_bytes: u64,
    },
    /// No depth, or one that no device is in need of.
    #[error("depth {io_depth}: give 1 to {IO_DEPTH_MAX}")]
    Depth {
        /// The refused value.
        io_depth: usize,
    },
    /// More memory than the generator takes.
    #[error(
        "{buffers} buffers of {block_bytes} bytes per reactor: give a depth or a request size \
         that needs at most {BUFFERS_BYTES_MAX} bytes"
    )]
    Buffers {
        /// How many.
        buffers: u64,
        /// How large.
        block_bytes: u64,
    },
    /// No percentage.
    #[error("share of reads {read_percent} %: give 0 to 100")]
    ReadPercent {
        /// The refused value.
        read_percent: u8,
    },
    /// Nothing to do.
    #[error("the job's time, count or amount is 0: give more than 0")]
    NoLimit,
    /// The device does not do it at all.
    #[error("bdev {bdev}: it does not serve {what}: choose another pattern or bdev")]
    Unsupported {
        /// Name of the bdev.
        bdev: String,
        /// "reads" or "writes".
        what: &'static str,
    },
    /// The range is not on the device, or has no room for a request.
    #[error(
        "bdev {bdev}: a range of {size_bytes} bytes at {offset_bytes}: give an offset that is a \
         multiple of {device_bytes} and a size of at least one request ({block_bytes} bytes) \
         within its {bdev_bytes} bytes"
    )]
    Range {
        /// Name of the bdev.
        bdev: String,
        /// First byte.
        offset_bytes: u64,
        /// Length.
        size_bytes: u64,
        /// Bytes of a request.
        block_bytes: u64,
        /// The device's block size.
        device_bytes: u64,
        /// The device's size.
        bdev_bytes: u64,
    },
    /// Each reactor needs a part of its own.
    #[error(
        "{blocks} requests fit into the range, less than one for each of {reactors} reactors: \
         give a larger range or fewer cores"
    )]
    TooFewBlocks {
        /// Requests that fit.
        blocks: u64,
        /// Reactors of the job.
        reactors: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use device::{NullBdev, NullSpec};

    fn bdev(block_size_bytes: u32, num_blocks: u64) -> Arc<dyn Bdev> {
        NullBdev::create(NullSpec { name: "n0".into(), uuid: None, block_size_bytes, num_blocks })
            .unwrap()
    }

    fn shares(job: &Job, reactors: usize) -> Vec<(u64, u64, Option<u64>)> {
        let plan = job.plan(reactors).unwrap();
        plan.shares.iter().map(|share| (share.part.first, share.part.blocks, share.ios)).collect()
    }

    #[test]
    fn pattern_names_are_read_back() {
        for name in ["read", "write", "randread", "randwrite", "randrw"] {
            assert_eq!(name.parse::<Pattern>().unwrap().to_string(), name);
        }
        let message = "rw".parse::<Pattern>().unwrap_err().to_string();
        assert!(message.contains("\"rw\"") && message.contains("randrw"), "{message}");
        assert!(!Pattern::RandRw { read_percent: 100 }.writes());
        assert!(!Pattern::RandRw { read_percent: 0 }.reads());
    }

    /// Goal: the parts of sequential and verified jobs are disjoint and cover the range, random
    /// jobs share it, and the limit is spread over the reactors.
    #[test]
    fn the_range_is_divided() {
        let mut job = Job::new(bdev(512, 100), Pattern::Write);
        job.block_bytes = 1024;
        assert_eq!(shares(&job, 1), [(0, 50, Some(50))]);
        assert_eq!(shares(&job, 3), [(0, 17, Some(17)), (17, 17, Some(17)), (34, 16, Some(16))]);
        job.pattern = Pattern::RandWrite;
        assert_eq!(shares(&job, 2), [(0, 50, Some(25)), (0, 50, Some(25))]);
        job.verify = true;
        job.limit = Limit::Bytes(1025);
        assert_eq!(shares(&job, 2), [(0, 25, Some(1)), (25, 25, Some(1))]);
        job.limit = Limit::Ios(3);
        assert_eq!(shares(&job, 2), [(0, 25, Some(2)), (25, 25, Some(1))]);
        job.limit = Limit::Time(Ticks::from_secs(1));
        (job.offset_bytes, job.size_bytes) = (512, Some(5000));
        assert_eq!(shares(&job, 1), [(0, 4, None)]);
    }

    /// Goal: each wrong value is refused by name with what would be right. Method: one change at a
    /// time to a right job.
    #[test]
    fn wrong_jobs_are_named() {
        let wrong = |change: fn(&mut Job)| {
            let mut job = Job::new(bdev(4096, 256), Pattern::Write);
            change(&mut job);
            job.plan(2).unwrap_err().to_string()
        };
        for (message, parts) in [
            (
                wrong(|job| job.block_bytes = 0),
                ["n0", "0 bytes", "multiple of its block size 4096"],
            ),
            (wrong(|job| job.block_bytes = 512), ["n0", "512 bytes", "4096"]),
            (wrong(|job| job.block_bytes = 128 << 20), ["n0", "134217728", "at most 67108864"]),
            (wrong(|job| job.io_depth = 0), ["depth 0", "1 to", "4096"]),
            (wrong(|job| job.io_depth = 5000), ["depth 5000", "1 to", "4096"]),
            (
                wrong(|job| job.write_buffers = 1 << 21),
                ["2097152 buffers", "4096 bytes", "at most"],
            ),
            (
                wrong(|job| job.pattern = Pattern::RandRw { read_percent: 101 }),
                ["101 %", "0 to 100", ""],
            ),
            (wrong(|job| job.limit = Limit::Ios(0)), ["is 0", "more than 0", ""]),
            (wrong(|job| job.offset_bytes = 100), ["n0", "at 100", "multiple of 4096"]),
            (wrong(|job| job.offset_bytes = 1 << 20), ["n0", "at 1048576", "1048576 bytes"]),
            (wrong(|job| job.offset_bytes = 2 << 20), ["n0", "at 2097152", "1048576 bytes"]),
            (wrong(|job| job.size_bytes = Some(2 << 20)), ["n0", "2097152 bytes", "1048576 bytes"]),
            (wrong(|job| job.size_bytes = Some(100)), ["n0", "100 bytes", "at least one request"]),
            (wrong(|job| job.size_bytes = Some(4096)), ["1 requests", "2 reactors", "fewer cores"]),
        ] {
            assert!(parts.iter().all(|part| message.contains(part)), "{message}: {parts:?}");
        }
    }
}
