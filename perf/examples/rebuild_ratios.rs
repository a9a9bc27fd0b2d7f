//! A rebuild without hosts against copying one member to another, as ratios of figures from one run.
//!
//! ```text
//!   cargo run --release -p perf --example rebuild_ratios -- --rounds 6 --member-mib 256
//! ```
//!
//! Every member is in memory. For each shape the array runs on one core and on two; the copy beside it is
//! one stream on one core: 128 KiB read and written, from rates of each that were measured in windows
//! between the rebuilds (1 / (1/read + 1/write)). Medians of the ratios of all rounds. The bound is what a
//! rebuild could be were all it does copies at that speed: it reads as many members as there are data
//! strips and writes one, the copy reads one and writes one.
//!
//! Prints the table and writes `rebuild.md` into the results folder.
//!
//! Not here: rebuilds beside hosts (`safety_ratios`).

use array::{RaidBdev, RaidOptions, RaidSpec};
use clap::Parser;
use device::{Bdev, MallocBdev, MallocSpec};
use perf::{Job, Limit, Pattern, run};
use raid::coordinator::Scope;
use raid::layout::{Layout, Level};
use raid::member::MemberState;
use raid::units::Slot;
use reactor::{PollMode, ReactorHandle, Reactors, ReactorsConfig, Ticks, clock};
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

const MIB: u64 = 1 << 20;

#[derive(Debug, Parser)]
struct Args {
    /// Cores of the reactors; the copy runs on the first of them
    #[arg(long, default_value = "0-1")]
    cores: String,
    /// Rebuilds of each case
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Length of a window of the copy
    #[arg(long, default_value_t = 200)]
    window_ms: u64,
    /// Size of a member
    #[arg(long, default_value_t = 256)]
    member_mib: u64,
    /// Folder for rebuild.md
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    out: PathBuf,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// (level, members)
const SHAPES: [(Level, usize); 4] =
    [(Level::Raid5, 3), (Level::Raid5, 4), (Level::Raid5, 5), (Level::Raid6, 6)];

fn main() -> Result<()> {
    let args = Args::parse();
    let reactors = Reactors::start(ReactorsConfig {
        cores: args.cores.parse()?,
        poll: PollMode::Adaptive,
        buffer_bytes: 256 << 20,
    })?;
    let mut text = format!(
        "# A rebuild without hosts against a copy: 64 KiB strips over malloc members\n\n    \
         cargo run --release -p perf --example rebuild_ratios -- --cores {} --rounds {} --window-ms {} \
         --member-mib {}\n\n\
         | array | cores | rebuild MiB/s | one-stream copy MiB/s | ratio | bound | of the bound |\n\
         |---|---|---|---|---|---|---|\n",
        args.cores, args.rounds, args.window_ms, args.member_mib
    );
    print!("{text}");
    for (level, members) in SHAPES {
        for cores in 1..=reactors.handles().len() {
            let row = case(&args, &reactors.handles()[..cores], level, members)?;
            print!("{row}");
            text.push_str(&row);
        }
    }
    reactors.stop();
    std::fs::create_dir_all(&args.out)?;
    std::fs::write(args.out.join("rebuild.md"), text)?;
    Ok(())
}

fn malloc(name: &str, size_bytes: u64) -> Result<Arc<dyn Bdev>> {
    let (name, uuid, block_size_bytes) = (name.to_owned(), None, 4096);
    let num_blocks = size_bytes / u64::from(block_size_bytes);
    Ok(MallocBdev::create(MallocSpec { name, uuid, block_size_bytes, num_blocks })?)
}

/// Bytes a second of a load on one core.
fn rate(job: Job, reactor: &[ReactorHandle]) -> Result<f64> {
    let report = run(job, reactor)?;
    if !report.is_good() {
        return Err(format!("a load failed:\n{}", report.table()).into());
    }
    Ok(report.total.bytes_per_s)
}

fn fill(bdev: &Arc<dyn Bdev>, reactor: &[ReactorHandle]) -> Result<()> {
    let job = Job { block_bytes: 256 << 10, io_depth: 4, ..Job::new(bdev.clone(), Pattern::Write) };
    rate(job, reactor).map(drop)
}

fn case(args: &Args, cores: &[ReactorHandle], level: Level, members: usize) -> Result<String> {
    let (size, one) = (args.member_mib * MIB, &cores[..1]);
    let devices = (0..members).map(|slot| malloc(&format!("m{slot}"), size).map(Some));
    let spec = RaidSpec {
        name: "r".to_owned(),
        uuid: None,
        level,
        layout: Layout::default_for(level),
        strip_bytes: 64 << 10,
        data_offsets_bytes: vec![0; members],
        members: devices.collect::<Result<_>>()?,
        assume_clean: true,
        options: RaidOptions::default(),
    };
    let raid = RaidBdev::create(cores, spec)?;
    fill(&(raid.clone() as Arc<dyn Bdev>), one)?;
    // As large as all members together, so that both miss the caches alike.
    let plain = malloc("plain", members as u64 * size)?;
    fill(&plain, one)?;
    let stream = |pattern| {
        let limit = Limit::Time(Ticks::from_millis(args.window_ms));
        rate(
            Job { block_bytes: 128 << 10, io_depth: 8, limit, ..Job::new(plain.clone(), pattern) },
            one,
        )
    };
    let copy = || -> Result<f64> {
        let (read, write) = (stream(Pattern::Read)?, stream(Pattern::Write)?);
        Ok(1.0 / (1.0 / read + 1.0 / write))
    };
    let (mut ratios, mut rebuilds, mut copies) = (Vec::new(), Vec::new(), Vec::new());
    let mut before = copy()?;
    for _ in 0..args.rounds {
        let rebuilt = size as f64 / rebuild_seconds(&raid, size, one)?;
        let after = copy()?;
        // The machine changes from second to second: the copies on both sides.
        let copied = f64::midpoint(before, after);
        before = after;
        ratios.push(rebuilt / copied);
        rebuilds.push(rebuilt);
        copies.push(copied);
    }
    raid.stop()?;
    let ratio = median(ratios);
    let data = members - level.parity_count();
    let bound = cores.len() as f64 * 2.0 / (data + 1) as f64;
    let mut row = String::new();
    writeln!(
        row,
        "| {level} {data}+{} | {} | {:.0} | {:.0} | {ratio:.2} | {bound:.2} | {:.2} |",
        level.parity_count(),
        cores.len(),
        median(rebuilds) / MIB as f64,
        median(copies) / MIB as f64,
        ratio / bound
    )?;
    Ok(row)
}

/// Seconds that the rebuild of one member takes.
fn rebuild_seconds(raid: &Arc<RaidBdev>, size: u64, one: &[ReactorHandle]) -> Result<f64> {
    raid.remove_member(Slot(1))?;
    let fresh = malloc("fresh", size)?;
    // The first touch of memory is the kernel's cost.
    fill(&fresh, one)?;
    let begin = clock::now().as_nanos();
    raid.add_member(&fresh, None, Scope::Whole, Uuid::new_v4())?;
    while raid.snapshot().members[1].state != MemberState::InSync {
        std::thread::park_timeout(std::time::Duration::from_micros(200));
    }
    Ok((clock::now().as_nanos() - begin) as f64 / 1e9)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}
