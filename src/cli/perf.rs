//! `raid456 perf`: a load on one bdev of a configuration, in this process.
//!
//! The result is a table on stdout and, with `--json`, a file; a line on stderr says each second how
//! it is going, when stderr is a terminal. Requests that fail and contents that are not what was
//! written end in exit code 1.
//!
//! Not here: the load itself (crate `perf`).

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use perf::{Job, LatencyClock, Limit, OnError, Pattern, Progress, Report, Run, Stage, units};
use reactor::{CpuSet, ReactorHandle, Ticks};
use uuid::Uuid;

use super::ReactorArgs;
use super::session::{Session, pool_bytes};

/// How often the command looks for signals.
const LOOK: Duration = Duration::from_millis(100);

/// Looks between two lines of progress.
const LOOKS_PER_LINE: u32 = 10;

/// Arguments of `raid456 perf`.
#[derive(Debug, Args)]
pub struct PerfArgs {
    /// Configuration that makes the bdev, in SPDK's shape
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// The bdev; what it holds is overwritten by patterns that write
    #[arg(short, long, value_name = "NAME")]
    pub bdev: String,
    /// read, write, randread, randwrite or randrw
    #[arg(long, value_name = "PATTERN")]
    pub rw: Pattern,
    /// Bytes of a request
    #[arg(long, value_name = "SIZE", default_value = "4k", value_parser = units::parse_size)]
    pub bs: u64,
    /// Requests in flight on each reactor
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub iodepth: usize,
    /// How long, in seconds or as 500ms, 2m [default: as many requests as the range has]
    #[arg(long, value_name = "TIME", value_parser = units::parse_span,
          conflicts_with_all = ["ios", "io_size"])]
    pub runtime: Option<Ticks>,
    /// How many requests, over all reactors
    #[arg(long, value_name = "N", conflicts_with = "io_size")]
    pub ios: Option<u64>,
    /// How many bytes, over all reactors
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    pub io_size: Option<u64>,
    /// Load before anything is counted
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::parse_span)]
    pub ramp: Ticks,
    /// Share of reads of randrw in percent [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub rwmixread: Option<u8>,
    /// First byte of the range
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = units::parse_size)]
    pub offset: u64,
    /// Length of the range [default: the rest of the bdev]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    pub size: Option<u64>,
    /// Stamp what is written and read it back; with read and randread: check what an earlier run of
    /// the same seed has written
    #[arg(long)]
    pub verify: bool,
    /// Decides offsets and stamps
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Buffers that the writes of a reactor take turns with, if more than --iodepth
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub write_buffers: usize,
    /// Read the clock at each submission and completion, not once a turn
    #[arg(long)]
    pub precise: bool,
    /// Count requests that fail and go on
    #[arg(long)]
    pub keep_going: bool,
    /// Reactors that make the load, of those in --cores [default: all]
    #[arg(long, value_name = "LIST")]
    pub load_cores: Option<CpuSet>,
    /// Write the result to this file too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the description of the command")]
    pub reactors: ReactorArgs,
}

/// Runs a load and tells the result.
///
/// # Errors
///
/// Why it could not run, or that requests failed, or that contents were wrong.
pub fn run(args: PerfArgs) -> Result<(), Box<dyn Error>> {
    let extra_bytes = pool_bytes(args.iodepth.saturating_mul(2).max(args.write_buffers), args.bs);
    let session = Session::start(&args.config, &args.reactors, extra_bytes)?;
    let outcome = load(&args, &session);
    session.end(outcome)
}

fn load(args: &PerfArgs, session: &Session) -> Result<(), Box<dyn Error>> {
    let job = job(args, session)?;
    let reactors = chosen(session.reactors(), args.load_cores.as_ref())?;
    for name in session.resyncing() {
        eprintln!("raid456 perf: array {name} is being resynced, which takes part of the machine");
    }
    let report = watch(Run::start(job, &reactors)?, session)?;
    print!("{}", report.table());
    if let Some(path) = &args.json {
        std::fs::write(path, report.json())
            .map_err(|error| format!("--json {}: {error}", path.display()))?;
    }
    judge(&report)
}

fn job(args: &PerfArgs, session: &Session) -> Result<Job, Box<dyn Error>> {
    let pattern = match (args.rw, args.rwmixread) {
        (Pattern::RandRw { .. }, Some(read_percent)) => Pattern::RandRw { read_percent },
        (pattern, None) => pattern,
        (pattern, Some(_)) => {
            return Err(format!("--rwmixread is for randrw: --rw {pattern} has no mix").into());
        }
    };
    let bdev = if pattern.writes() {
        session.writable(&args.bdev)?
    } else {
        session.readable(&args.bdev)?
    };
    Ok(Job {
        block_bytes: args.bs,
        io_depth: args.iodepth,
        offset_bytes: args.offset,
        size_bytes: args.size,
        limit: match (args.runtime, args.ios, args.io_size) {
            (Some(runtime), _, _) => Limit::Time(runtime),
            (_, Some(ios), _) => Limit::Ios(ios),
            (_, _, Some(bytes)) => Limit::Bytes(bytes),
            _ => Limit::OnePass,
        },
        ramp: args.ramp,
        verify: args.verify,
        seed: args.seed,
        run_id: Uuid::new_v4().as_u64_pair().0,
        clock: if args.precise { LatencyClock::Precise } else { LatencyClock::Turn },
        on_error: if args.keep_going { OnError::Continue } else { OnError::Stop },
        write_buffers: args.write_buffers,
        ..Job::new(bdev, pattern)
    })
}

/// The reactors on these cores, or all.
fn chosen(
    reactors: &[ReactorHandle],
    cores: Option<&CpuSet>,
) -> Result<Vec<ReactorHandle>, Box<dyn Error>> {
    let Some(cores) = cores else { return Ok(reactors.to_vec()) };
    let on = |core| reactors.iter().find(|reactor| reactor.core() == core).cloned();
    cores
        .iter()
        .map(|core| {
            on(core).ok_or_else(|| {
                format!("--load-cores: there is no reactor on core {core}: add it to --cores")
                    .into()
            })
        })
        .collect()
}

/// Waits for the end, or ends the run on a signal.
fn watch(mut run: Run, session: &Session) -> Result<Report, Box<dyn Error>> {
    let mut line = Line::new();
    while !run.wait(LOOK)? {
        if session.is_interrupted() {
            run.stop();
            break;
        }
        line.look(&run.progress());
    }
    line.clear();
    Ok(run.finish()?)
}

fn judge(report: &Report) -> Result<(), Box<dyn Error>> {
    let bdev = &report.job.bdev;
    let wrong = report.verify.as_ref().map_or(0, |verify| verify.blocks_wrong);
    match (report.total.errors, wrong) {
        (0, 0) if report.interrupted => Err("interrupted".into()),
        (0, 0) => Ok(()),
        (0, wrong) => Err(format!("bdev {bdev}: {wrong} blocks are not what was written").into()),
        (errors, 0) => Err(format!("bdev {bdev}: {errors} requests failed").into()),
        (errors, wrong) => Err(format!(
            "bdev {bdev}: {errors} requests failed, and {wrong} blocks are not what was written"
        )
        .into()),
    }
}

/// The line on a terminal that says how it is going.
struct Line {
    visible: bool,
    looks: u32,
    last: Option<Progress>,
}

impl Line {
    fn new() -> Self {
        Self { visible: std::io::stderr().is_terminal(), looks: 0, last: None }
    }

    fn look(&mut self, progress: &Progress) {
        self.looks += 1;
        if !self.visible || !self.looks.is_multiple_of(LOOKS_PER_LINE) {
            return;
        }
        eprint!("\r\x1b[K{}", line(progress, self.last.as_ref()));
        // A terminal that is gone has nobody to miss the line.
        drop(std::io::stderr().flush());
        self.last = Some(*progress);
    }

    fn clear(&self) {
        if self.visible && self.last.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

/// What has been done since the last line.
fn line(now: &Progress, last: Option<&Progress>) -> String {
    let last = last.filter(|last| last.stage == now.stage);
    let (since, ios_before) =
        last.map_or((Ticks::ZERO, 0), |last| (last.elapsed, last.counts.ios()));
    let span_s = (now.elapsed - since).as_secs_f64().max(1e-9);
    let iops = now.counts.ios().saturating_sub(ios_before) as f64 / span_s;
    let what = match now.stage {
        Stage::Load => "load",
        Stage::ReadBack => "reading back",
    };
    let errors = match now.counts.errors() {
        0 => String::new(),
        errors => format!(", {errors} errors"),
    };
    format!(
        "{what}: {:.0} s, {} IOPS, {} requests{errors}",
        now.elapsed.as_secs_f64(),
        units::count(iops),
        units::count(now.counts.ios() as f64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use perf::Counts;

    fn progress(stage: Stage, secs: u64, reads: u64, write_errors: u64) -> Progress {
        let counts = Counts { reads, write_errors, ..Counts::default() };
        Progress { stage, elapsed: Ticks::from_secs(secs), counts }
    }

    /// Goal: the line tells the rate since the last one, and starts again with each stage.
    #[test]
    fn the_line_tells_the_last_second() {
        let first = progress(Stage::Load, 1, 1000, 0);
        let second = progress(Stage::Load, 2, 4000, 7);
        let third = progress(Stage::ReadBack, 1, 2000, 0);
        assert_eq!(line(&first, None), "load: 1 s, 1.00 k IOPS, 1.00 k requests");
        let expected = "load: 2 s, 3.00 k IOPS, 4.00 k requests, 7 errors";
        assert_eq!(line(&second, Some(&first)), expected);
        let expected = "reading back: 1 s, 2.00 k IOPS, 2.00 k requests";
        assert_eq!(line(&third, Some(&second)), expected);
    }
}
