//! What the raid layer costs on one core, as ratios of figures from one run: RAID 5 of 4+1 members
//! with strips of 64 KiB over null and malloc bdevs, against the same load on a bare bdev.
//!
//! ```text
//!   cargo run --release -p perf --example raid_ratios -- --core 1 --rounds 12 --window-ms 500
//! ```
//!
//! All cases take turns in short windows; see `perf::ratio` for how a figure is made of them. Prints
//! the tables and writes `raid.json` and `raid.md` into the results folder.
//!
//! The bare malloc bdev is as large as the array, so that both loads miss the caches and the TLB
//! alike. All of them are written once before: the first touch of memory is the kernel's cost.
//!
//! Not here: the parity kernels alone (`parity_ratios`).

use array::{RaidBdev, RaidSpec};
use clap::Parser;
use device::{Bdev, MallocBdev, MallocSpec, NullBdev, NullSpec};
use perf::bench::{fill, machine};
use perf::ratio::{Case, Rounds, Samples, alternate};
use perf::{Job, Pattern, units};
use raid::layout::{Layout, Level};
use reactor::{CpuSet, PollMode, ReactorHandle, Reactors, ReactorsConfig, Ticks};
use serde::Serialize;
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

const STRIP_BYTES: u32 = 64 << 10;
const STRIPE_BYTES: u64 = 256 << 10;
const MEMBERS: usize = 5;
const POOL_BYTES: usize = 48 << 20;

#[derive(Debug, Parser)]
struct Args {
    /// Core that the one reactor runs on
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Windows of each case
    #[arg(long, default_value_t = 12)]
    rounds: usize,
    /// Length of a window
    #[arg(long, default_value_t = 500)]
    window_ms: u64,
    /// Size of a malloc member
    #[arg(long, default_value_t = 256)]
    member_mib: u64,
    /// Folder for raid.json and raid.md
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    out: PathBuf,
}

/// Devices of one kind: a bare one, an array, and the same array without its first member.
struct Kind {
    name: &'static str,
    bare: Arc<dyn Bdev>,
    healthy: Arc<RaidBdev>,
    degraded: Arc<RaidBdev>,
}

/// One figure that is worth something on any machine.
#[derive(Clone, Debug, Serialize)]
struct Ratio {
    what: &'static str,
    value: f64,
    unit: &'static str,
    /// What it should be, and what it could be at best.
    goal: &'static str,
}

#[derive(Debug, Serialize)]
struct Results {
    command: String,
    machine: String,
    method: String,
    ratios: Vec<Ratio>,
    cases: Vec<Samples>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let reactors = Reactors::start(ReactorsConfig {
        cores: CpuSet::single(args.core),
        poll: PollMode::Busy,
        buffer_bytes: 512 << 20,
    })?;
    let null = null_kind(reactors.handles())?;
    let malloc = malloc_kind(reactors.handles(), args.member_mib)?;
    let mut cases = cases_of(&null);
    cases.extend(cases_of(&malloc));
    cases.extend(bandwidth_cases(&malloc));
    let rounds = Rounds {
        count: args.rounds,
        window: Ticks::from_millis(args.window_ms),
        ramp: Ticks::from_millis(20),
    };
    let mut begun = 0;
    let samples = alternate(&cases, reactors.handles(), rounds, |_, round| {
        if round == begun {
            begun += 1;
            eprintln!("round {begun} of {}", args.rounds);
        }
    })?;
    for kind in [null, malloc] {
        kind.healthy.stop()?;
        kind.degraded.stop()?;
    }
    reactors.stop();
    let results = Results {
        command: command(&args),
        machine: machine(),
        method: format!(
            "{} rounds of {} ms a case in turn, one busy-polled reactor; figures are medians over \
             the windows of what was done in moments in which the thread had its core",
            args.rounds, args.window_ms
        ),
        ratios: [read_ratios, small_write_ratios, full_stripe_ratios]
            .iter()
            .map(|ratios| ratios(&Book(&samples)))
            .collect::<Result<Vec<_>, _>>()?
            .concat(),
        cases: samples,
    };
    let text = markdown(&results);
    print!("{text}");
    std::fs::create_dir_all(&args.out)?;
    std::fs::write(args.out.join("raid.md"), text)?;
    std::fs::write(args.out.join("raid.json"), serde_json::to_string_pretty(&results)? + "\n")?;
    Ok(())
}

fn array(
    reactors: &[ReactorHandle],
    name: &str,
    members: Vec<Option<Arc<dyn Bdev>>>,
) -> Result<Arc<RaidBdev>, array::CreateError> {
    let spec = RaidSpec {
        name: name.to_owned(),
        uuid: None,
        level: Level::Raid5,
        layout: Layout::LeftSymmetric,
        strip_bytes: STRIP_BYTES,
        data_offsets_bytes: vec![0; members.len()],
        members,
        assume_clean: true,
        options: array::RaidOptions::default(),
    };
    RaidBdev::create(reactors, spec)
}

fn kind(
    reactors: &[ReactorHandle],
    name: &'static str,
    bare: Arc<dyn Bdev>,
    members: Vec<Arc<dyn Bdev>>,
) -> Result<Kind, Box<dyn Error>> {
    let all: Vec<_> = members.into_iter().map(Some).collect();
    let mut rest = all.clone();
    rest[0] = None;
    let healthy = array(reactors, &format!("raid5 over {name}"), all)?;
    let degraded = array(reactors, &format!("degraded raid5 over {name}"), rest)?;
    Ok(Kind { name, bare, healthy, degraded })
}

fn null_kind(reactors: &[ReactorHandle]) -> Result<Kind, Box<dyn Error>> {
    let make = |name: String, size_bytes: u64| {
        let num_blocks = size_bytes / 512;
        NullBdev::create(NullSpec { name, uuid: None, block_size_bytes: 512, num_blocks })
    };
    let members = (0..MEMBERS).map(|slot| make(format!("null{slot}"), 16 << 30));
    let members = members.collect::<Result<Vec<_>, _>>()?;
    kind(reactors, "null", make("null".into(), 64 << 30)?, members)
}

fn malloc_kind(reactors: &[ReactorHandle], member_mib: u64) -> Result<Kind, Box<dyn Error>> {
    let make = |name: String, size_mib: u64| {
        let num_blocks = (size_mib << 20) / 512;
        MallocBdev::create(MallocSpec { name, uuid: None, block_size_bytes: 512, num_blocks })
    };
    let members = (0..MEMBERS).map(|slot| make(format!("malloc{slot}"), member_mib));
    let members = members.collect::<Result<Vec<_>, _>>()?;
    let data_members = MEMBERS as u64 - 1;
    let kind =
        kind(reactors, "malloc", make("malloc".into(), data_members * member_mib)?, members)?;
    let array: Arc<dyn Bdev> = Arc::clone(&kind.healthy) as Arc<dyn Bdev>;
    for bdev in [Arc::clone(&kind.bare), array] {
        fill(&bdev, reactors)?;
    }
    Ok(kind)
}

fn case(name: String, bdev: &Arc<dyn Bdev>, pattern: Pattern, bytes: u64, depth: usize) -> Case {
    let job = Job { block_bytes: bytes, io_depth: depth, ..Job::new(Arc::clone(bdev), pattern) };
    Case { name, job }
}

/// The comparison proper, over one kind of member.
fn cases_of(kind: &Kind) -> Vec<Case> {
    let name = kind.name;
    let healthy: Arc<dyn Bdev> = Arc::clone(&kind.healthy) as Arc<dyn Bdev>;
    let degraded: Arc<dyn Bdev> = Arc::clone(&kind.degraded) as Arc<dyn Bdev>;
    let (read, write) = (Pattern::RandRead, Pattern::RandWrite);
    let mut cases = vec![
        case(format!("{name}: 4K randread QD64"), &kind.bare, read, 4096, 64),
        case(format!("{name}: 4K randwrite QD64"), &kind.bare, write, 4096, 64),
        case(format!("raid5/{name}: 4K randread QD64"), &healthy, read, 4096, 64),
        case(format!("raid5/{name}: 4K randwrite QD64"), &healthy, write, 4096, 64),
        case(format!("raid5/{name}: 4K randread QD64, degraded"), &degraded, read, 4096, 64),
    ];
    for depth in [8, 32] {
        let what = format!("raid5/{name}: full-stripe write QD{depth}");
        cases.push(case(what, &healthy, Pattern::Write, STRIPE_BYTES, depth));
    }
    let what = format!("raid5/{name}: full-stripe write QD8, 48 MiB of buffers");
    let mut pooled = case(what, &healthy, Pattern::Write, STRIPE_BYTES, 8);
    pooled.job.write_buffers = POOL_BYTES / STRIPE_BYTES as usize;
    cases.push(pooled);
    let what = format!("raid5/{name}: full-stripe write QD8, degraded");
    cases.push(case(what, &degraded, Pattern::Write, STRIPE_BYTES, 8));
    cases
}

/// What the same memory gives without any layer: a malloc read is a copy from cold memory, a long
/// malloc write one with non-temporal stores.
fn bandwidth_cases(malloc: &Kind) -> Vec<Case> {
    let plain = |name: &str, pattern, bytes| case(name.into(), &malloc.bare, pattern, bytes, 32);
    let cold_name = "malloc: 64K write QD32, 48 MiB of buffers";
    let mut cold = plain(cold_name, Pattern::Write, 64 << 10);
    cold.job.write_buffers = POOL_BYTES / (64 << 10);
    vec![
        plain("malloc: 128K read QD32", Pattern::Read, 128 << 10),
        plain("malloc: 128K write QD32", Pattern::Write, 128 << 10),
        plain("malloc: 64K write QD32", Pattern::Write, 64 << 10),
        cold,
    ]
}

/// The cases by name.
struct Book<'a>(&'a [Samples]);

impl Book<'_> {
    fn find(&self, name: &str) -> Result<&Samples, String> {
        let found = self.0.iter().find(|samples| samples.name == name);
        found.ok_or_else(|| format!("there is no case {name:?}"))
    }

    fn nanos(&self, name: &str) -> Result<f64, String> {
        self.find(name).map(Samples::nanos_per_io)
    }

    fn miops(&self, name: &str) -> Result<f64, String> {
        self.find(name).map(|samples| samples.iops() / 1e6)
    }

    fn gbytes(&self, name: &str) -> Result<f64, String> {
        self.find(name).map(|samples| samples.bytes_per_s() / 1e9)
    }

    fn p99_of_p50(&self, name: &str) -> Result<f64, String> {
        let samples = self.find(name)?;
        Ok(samples.spread(|sample| sample.p99_ns as f64 / sample.p50_ns.max(1) as f64).median)
    }
}

fn ratio(what: &'static str, value: f64, unit: &'static str, goal: &'static str) -> Ratio {
    Ratio { what, value, unit, goal }
}

fn read_ratios(book: &Book<'_>) -> Result<Vec<Ratio>, String> {
    let (bare, null) = ("null: 4K randread QD64", "raid5/null: 4K randread QD64");
    let (bare_malloc, malloc) = ("malloc: 4K randread QD64", "raid5/malloc: 4K randread QD64");
    Ok(vec![
        ratio(
            "4K randread: what the layer adds to a null bdev",
            book.nanos(null)? - book.nanos(bare)?,
            "ns",
            "at most 100 ns; SPDK's raid0 118 ns",
        ),
        ratio("4K randread over null members", book.miops(null)?, "M/s", "above 6 M/s"),
        ratio(
            "4K randread over malloc members, of a bare malloc bdev",
            book.miops(malloc)? / book.miops(bare_malloc)?,
            "",
            "at least 0.95; SPDK raid5f 0.82 (0.97 per CPU second)",
        ),
        ratio(
            "the same, p99 of p50",
            book.p99_of_p50(malloc)?,
            "",
            "at most 2; SPDK's malloc bdev alone 2",
        ),
        ratio(
            "degraded 4K randread over null members, of healthy",
            book.miops("raid5/null: 4K randread QD64, degraded")? / book.miops(null)?,
            "",
            "SPDK raid5f 0.49, which is 2.67 M/s",
        ),
        ratio(
            "degraded 4K randread over malloc members, of healthy",
            book.miops("raid5/malloc: 4K randread QD64, degraded")? / book.miops(malloc)?,
            "",
            "at least 0.56 (90 % of the CPU bound 0.625); SPDK raid5f 0.56",
        ),
    ])
}

fn small_write_ratios(book: &Book<'_>) -> Result<Vec<Ratio>, String> {
    let null = "raid5/null: 4K randwrite QD64";
    Ok(vec![
        ratio(
            "4K randwrite (RMW) over null members",
            book.miops(null)?,
            "M/s",
            "at least 1.2 M/s; bound 2.2; raid5f cannot",
        ),
        ratio(
            "the same, time of one in times of a bare null write",
            book.nanos(null)? / book.nanos("null: 4K randwrite QD64")?,
            "",
            "it is 4 member I/Os and one parity delta",
        ),
        ratio(
            "4K randwrite (RMW) over malloc members",
            book.miops("raid5/malloc: 4K randwrite QD64")?,
            "M/s",
            "at least 0.5 M/s, stretch 0.7; bound 1.0",
        ),
    ])
}

fn full_stripe_ratios(book: &Book<'_>) -> Result<Vec<Ratio>, String> {
    let hot = book.gbytes("raid5/malloc: full-stripe write QD8")?;
    let cold = book.gbytes("raid5/malloc: full-stripe write QD8, 48 MiB of buffers")?;
    Ok(vec![
        ratio(
            "full-stripe write over null members, QD8",
            book.gbytes("raid5/null: full-stripe write QD8")?,
            "GB/s",
            "above 25 GB/s (SPDK raid5f 24.4); hot buffers at least 50",
        ),
        ratio(
            "full-stripe write over null members, QD8, cold data",
            book.gbytes("raid5/null: full-stripe write QD8, 48 MiB of buffers")?,
            "GB/s",
            "at least 18 GB/s; bound 24.5",
        ),
        ratio("full-stripe write over malloc members, QD8", hot, "GB/s", "above 9 (raid5f 5.2)"),
        ratio(
            "the same, of 4/5 of a bare malloc bdev's 64K writes",
            hot / (0.8 * book.gbytes("malloc: 64K write QD32")?),
            "",
            "1 is the bound: 5 strips go to memory for 4 of data",
        ),
        ratio("full-stripe write over malloc members, QD8, cold data", cold, "GB/s", "above 9"),
        ratio(
            "the same, of 4/5 of a bare malloc bdev's 64K writes of cold data",
            cold / (0.8 * book.gbytes("malloc: 64K write QD32, 48 MiB of buffers")?),
            "",
            "1 is the bound",
        ),
        ratio(
            "degraded full-stripe write over malloc members, of healthy",
            book.gbytes("raid5/malloc: full-stripe write QD8, degraded")? / hot,
            "",
            "SPDK raid5f 1.14",
        ),
    ])
}

fn markdown(results: &Results) -> String {
    let Results { command, machine, method, .. } = results;
    let mut text = format!(
        "# RAID 5, 4+1 x 64 KiB, on one core\n\n    {command}\n\n{machine}.\n{method}.\n\n\
         | ratio or rate | value | goal |\n|---|---|---|\n"
    );
    for Ratio { what, value, unit, goal } in &results.ratios {
        let _ = writeln!(text, "| {what} | {value:.2} {unit} | {goal} |");
    }
    text.push_str(
        "\n| case | IOPS min | med | max | rate med | ns per I/O | p50 | p99 | windows |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for case in &results.cases {
        let iops = case.spread(|sample| sample.iops);
        let p50 = case.spread(|sample| sample.p50_ns as f64);
        let p99 = case.spread(|sample| sample.p99_ns as f64);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.1} | {} | {} | {} |",
            case.name,
            units::count(iops.min),
            units::count(iops.median),
            units::count(iops.max),
            units::rate(case.bytes_per_s()),
            case.nanos_per_io(),
            units::latency(p50.median as u64),
            units::latency(p99.median as u64),
            case.counted().count()
        );
    }
    text.push_str(
        "\nThe goals are from the project's performance notes, most of them taken on another \
         processor.\n",
    );
    text
}

fn command(args: &Args) -> String {
    format!(
        "cargo run --release -p perf --example raid_ratios -- --core {} --rounds {} --window-ms {} \
         --member-mib {}",
        args.core, args.rounds, args.window_ms, args.member_mib
    )
}
