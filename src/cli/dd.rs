//! `raid456 dd`: copies between a bdev and a file, or between two bdevs, in this process.
//!
//! ```text
//!   file --> bdev     this thread reads   --chunks-->  pump on a reactor writes
//!   bdev --> file     pump on a reactor reads  --chunks-->  this thread writes, in order
//!   bdev --> bdev     pump on a reactor does both; this thread looks on
//! ```
//!
//! As many chunks of `--bs` as `--iodepth` are under way; their buffers go round and are never
//! copied. What was copied is on stable storage when the command ends well: the output bdev is
//! flushed, the output file synced.
//!
//! Like dd it copies what there is when the input is shorter than `--count`, reads and writes pipes
//! and devices, and truncates an output file at `--seek` unless told not to. Unlike dd it says
//! before it begins when the copy cannot fit.
//!
//! Not here: copies from file to file, for which there is dd.

mod file;
mod plan;
mod pump;
mod remote;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{ArgGroup, Args};
use device::Bdev;
use indicatif::{ProgressBar, ProgressStyle};
use perf::units;
use reactor::clock;

use super::ReactorArgs;
use super::session::{Session, pool_bytes};
use file::{FileInput, FileOutput};
use plan::{InputEnd, OutputEnd, Plan, Request};
use pump::Ends;
use remote::Pumped;

/// Arguments of `raid456 dd`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("input").required(true), group = ArgGroup::new("output").required(true))]
pub struct DdArgs {
    /// Configuration that makes the bdevs, in SPDK's shape
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Bdev to copy from
    #[arg(long, value_name = "BDEV", group = "input")]
    pub ib: Option<String>,
    /// File to copy from
    #[arg(long = "if", value_name = "FILE", group = "input")]
    pub input_file: Option<PathBuf>,
    /// Bdev to copy to
    #[arg(long, value_name = "BDEV", group = "output")]
    pub ob: Option<String>,
    /// File to copy to; made if it is missing
    #[arg(long = "of", value_name = "FILE", group = "output")]
    pub output_file: Option<PathBuf>,
    /// Bytes of a block, a multiple of the bdev's block size
    #[arg(long, value_name = "SIZE", default_value = "1m", value_parser = units::parse_size)]
    pub bs: u64,
    /// Blocks to copy [default: all]
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Blocks to skip at the start of the input
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip: u64,
    /// Blocks to skip at the start of the output
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seek: u64,
    /// Blocks that are under way at a time
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub iodepth: usize,
    /// Fill the output bdev's last block with zeroes where the input ends within it
    #[arg(long)]
    pub pad_zero: bool,
    /// Leave what the output file has after the copy
    #[arg(long)]
    pub notrunc: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the description of the command")]
    pub reactors: ReactorArgs,
}

/// Copies, and says on stderr how much and how fast.
///
/// # Errors
///
/// What could not be read, written or made durable, with the side and the offset.
pub fn run(args: DdArgs) -> Result<(), Box<dyn Error>> {
    if let (Some(from), Some(to)) = (&args.input_file, &args.output_file) {
        let (from, to) = (from.display(), to.display());
        return Err(format!(
            "--if {from} and --of {to}: one side has to be a bdev; dd copies between files"
        )
        .into());
    }
    let extra_bytes = pool_bytes(args.iodepth, args.bs);
    let session = Session::start(&args.config, &args.reactors, extra_bytes)?;
    let outcome = copy(&args, &session);
    session.end(outcome)
}

/// One side of the copy, found but not touched.
enum Side {
    Bdev(Arc<dyn Bdev>),
    File(PathBuf),
}

fn copy(args: &DdArgs, session: &Session) -> Result<(), Box<dyn Error>> {
    let from = match (&args.ib, &args.input_file) {
        (Some(name), _) => Side::Bdev(session.readable(name)?),
        (None, path) => Side::File(path.clone().unwrap_or_default()),
    };
    let to = match (&args.ob, &args.output_file) {
        (Some(name), _) => Side::Bdev(session.writable(name)?),
        (None, path) => Side::File(path.clone().unwrap_or_default()),
    };
    let request = Request {
        block_bytes: args.bs,
        count: args.count,
        skip: args.skip,
        seek: args.seek,
        depth: args.iodepth,
        pad_zero: args.pad_zero,
    };
    // The output file is the last thing that is touched: an error before leaves it as it was.
    let (plan, mut sides) = match (from, to) {
        (Side::Bdev(from), Side::Bdev(to)) => {
            (plan_of(&request, &from, &to)?, Sides::Bdevs { from, to })
        }
        (Side::File(path), Side::Bdev(to)) => {
            let mut from = FileInput::open(&path)?;
            let plan = Plan::new(&request, &from.end(), &OutputEnd::of_bdev(&to))?;
            from.skip_to(plan.input_offset_bytes)?;
            (plan, Sides::FromFile { from, to })
        }
        (Side::Bdev(from), Side::File(path)) => {
            let plan = Plan::new(&request, &InputEnd::of_bdev(&from), &OutputEnd::File)?;
            let to = FileOutput::open(&path, plan.output_offset_bytes, !args.notrunc)?;
            (plan, Sides::ToFile { from, to })
        }
        (Side::File(from), Side::File(_)) => return Err(no_bdev(&from)),
    };
    let bar = bar(plan.total_bytes);
    let begin = clock::now();
    let pumped = sides.pump(session, &plan, |bytes| bar.set_position(bytes));
    let taken = clock::now() - begin;
    bar.finish_and_clear();
    eprintln!("{}", summary(pumped.copied_bytes, taken.as_secs_f64()));
    pumped.outcome
}

fn no_bdev(path: &Path) -> Box<dyn Error> {
    format!("--if {}: one side has to be a bdev", path.display()).into()
}

fn plan_of(
    request: &Request,
    from: &Arc<dyn Bdev>,
    to: &Arc<dyn Bdev>,
) -> Result<Plan, Box<dyn Error>> {
    let plan = Plan::new(request, &InputEnd::of_bdev(from), &OutputEnd::of_bdev(to))?;
    if from.info().uuid == to.info().uuid {
        plan.check_overlap(&from.info().name)?;
    }
    Ok(plan)
}

/// Both sides, ready.
enum Sides {
    Bdevs { from: Arc<dyn Bdev>, to: Arc<dyn Bdev> },
    FromFile { from: FileInput, to: Arc<dyn Bdev> },
    ToFile { from: Arc<dyn Bdev>, to: FileOutput },
}

impl Sides {
    fn pump(&mut self, session: &Session, plan: &Plan, watch: impl Fn(u64)) -> Pumped {
        // One reactor moves the bytes; arrays spread their stripes over all of them.
        let reactor = &session.reactors()[0];
        let stop = || session.is_interrupted();
        match self {
            Self::Bdevs { from, to } => {
                let ends = Ends { input: Some(Arc::clone(from)), output: Some(Arc::clone(to)) };
                remote::between_bdevs(reactor, plan, ends, stop, watch)
            }
            Self::FromFile { from, to } => {
                let ends = Ends { input: None, output: Some(Arc::clone(to)) };
                remote::from_file(reactor, plan, ends, from, stop, watch)
            }
            Self::ToFile { from, to } => {
                let ends = Ends { input: Some(Arc::clone(from)), output: None };
                remote::to_file(reactor, plan, ends, to, stop, watch)
            }
        }
    }
}

/// A bar on stderr; nothing where that is no terminal.
fn bar(total_bytes: Option<u64>) -> ProgressBar {
    let (bar, template) = match total_bytes {
        Some(total) => (
            ProgressBar::new(total),
            "{wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {binary_bytes}, {binary_bytes_per_sec}"),
    };
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    bar.with_style(style)
}

/// The last line, in the manner of dd.
fn summary(bytes: u64, taken_s: f64) -> String {
    let rate = if taken_s > 0.0 { bytes as f64 / taken_s / 1e6 } else { 0.0 };
    format!("{bytes} bytes copied, {taken_s:.3} s, {rate:.1} MB/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_dd_s() {
        assert_eq!(summary(10_000_000, 2.0), "10000000 bytes copied, 2.000 s, 5.0 MB/s");
        assert_eq!(summary(0, 0.0), "0 bytes copied, 0.000 s, 0.0 MB/s");
    }

    /// Goal: the bars' templates are well formed; indicatif finds out only when it reads them.
    #[test]
    fn bars_can_be_drawn() {
        bar(Some(10)).finish_and_clear();
        bar(None).finish_and_clear();
    }
}
