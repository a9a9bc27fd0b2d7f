//! What a mapped device costs over the bdev behind it, on one core: 4 KiB at depth 64 over a null bdev.
//!
//! ```text
//!   cargo run --release -p perf --example mapped_ratios -- --core 1 --rounds 12 --window-ms 300
//! ```
//!
//! All cases take turns in short windows; see `perf::ratio`. Prints the table and writes `mapped.md` into
//! the results folder.
//!
//! Not here: what a table change costs its users (`tests/generator/mapped.rs`).

use clap::Parser;
use device::{
    Bdev, MappedBdev, MappedSpec, MappedTable, NullBdev, NullSpec, Segment, SegmentTarget,
};
use perf::ratio::{Case, Rounds, Samples, alternate};
use perf::{Job, Pattern};
use reactor::{CpuSet, PollMode, Reactors, ReactorsConfig, Ticks};
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

const SIZE_BYTES: u64 = 64 << 30;

#[derive(Debug, Parser)]
struct Args {
    /// Core that the one reactor runs on
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Windows of each case
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// Length of a window
    #[arg(long, default_value_t = 300)]
    window_ms: u64,
    /// Folder for mapped.md
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    out: PathBuf,
}

fn mapped(
    bdev: &Arc<dyn Bdev>,
    stretches: u64,
    first_byte: u64,
    boundary_bytes: Option<u64>,
) -> Result<Arc<dyn Bdev>, Box<dyn Error>> {
    let len_bytes = (SIZE_BYTES - first_byte) / stretches;
    let segment = |index: u64| {
        // From the end, so that no two of them are one.
        let offset_bytes = first_byte + (stretches - 1 - index) * len_bytes;
        let target = SegmentTarget::Bdev { bdev: Arc::clone(bdev), offset_bytes };
        Segment { start_bytes: index * len_bytes, len_bytes, target, boundary_bytes }
    };
    let table = MappedTable::new((0..stretches).map(segment).collect())?;
    let spec = MappedSpec { name: "dm0".into(), uuid: None, read_only: false };
    let mapped = MappedBdev::create(spec);
    mapped.resume(Some(table))?;
    Ok(mapped)
}

fn case(name: &str, bdev: &Arc<dyn Bdev>, pattern: Pattern, block_bytes: u64) -> Case {
    let job = Job { block_bytes, io_depth: 64, ..Job::new(Arc::clone(bdev), pattern) };
    Case { name: name.to_owned(), job }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let reactors = Reactors::start(ReactorsConfig {
        cores: CpuSet::single(args.core),
        poll: PollMode::Busy,
        buffer_bytes: 256 << 20,
    })?;
    let null = NullBdev::create(NullSpec {
        name: "null0".into(),
        uuid: None,
        block_size_bytes: 512,
        num_blocks: SIZE_BYTES / 512,
    })?;
    let whole = mapped(&null, 1, 0, None)?;
    let shifted = mapped(&null, 1, 1 << 30, None)?;
    let stretches = mapped(&null, 16, 0, None)?;
    let cut = mapped(&null, 1, 0, Some(4096))?;
    let (read, write) = (Pattern::RandRead, Pattern::RandWrite);
    let cases = [
        case("null", &null, read, 4096),
        case("mapped: all of it", &whole, read, 4096),
        case("mapped: from 1 GiB on", &shifted, read, 4096),
        case("mapped: 16 stretches", &stretches, read, 4096),
        case("null, writes", &null, write, 4096),
        case("mapped: all of it, writes", &whole, write, 4096),
        case("mapped: 16 KiB reads in 4 parts", &cut, read, 16384),
    ];
    let window = Ticks::from_millis(args.window_ms);
    let rounds = Rounds { count: args.rounds, window, ramp: Ticks::from_millis(20) };
    let samples = alternate(&cases, reactors.handles(), rounds, |_, _| {})?;
    reactors.stop();
    let text = markdown(&args, &samples)?;
    print!("{text}");
    std::fs::create_dir_all(&args.out)?;
    std::fs::write(args.out.join("mapped.md"), text)?;
    Ok(())
}

fn markdown(args: &Args, samples: &[Samples]) -> Result<String, std::fmt::Error> {
    let mut text = String::from("# What a mapped device costs, on one core\n\n");
    writeln!(
        text,
        "    cargo run --release -p perf --example mapped_ratios -- --core {} --rounds {} --window-ms {}\n",
        args.core, args.rounds, args.window_ms
    )?;
    text.push_str("Random requests of 4 KiB at depth 64 over a null bdev, which does nothing.\n\n");
    text.push_str("| case | ns a request | more than null | of null's IOPS |\n|---|---|---|---|\n");
    let null = samples.first().map_or(0.0, Samples::nanos_per_io);
    for sample in samples {
        let nanos = sample.nanos_per_io();
        let (name, more, share) = (&sample.name, nanos - null, null / nanos);
        writeln!(text, "| {name} | {nanos:.1} | {more:+.1} | {share:.2} |")?;
    }
    Ok(text)
}
