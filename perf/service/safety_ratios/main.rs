//! What crash safety costs, as ratios of figures from one run: the dirty log, hosts' reads beside a
//! rebuild, and a start after a crash.
//!
//! ```text
//!   cargo run --release --example safety_ratios -- --core 1 --rounds 7
//! ```
//!
//! | part | what is compared | file |
//! |---|---|---|
//! | scan | a log of 10^8 regions: loaded, searched, marked | `scan` |
//! | steady | 4 KiB random writes in leased regions: logs on bdevs against one in memory | `logs` |
//! | cold | the first write of every region, by region size, over the same logs | `logs` |
//! | beside | 4 KiB random reads beside a rebuild and without one, by the rebuild's minimum rate | `beside` |
//! | restart | the service after kill -9 under load, and after a stop in order | `restart` |
//!
//! What is compared takes turns, round after round; ratios are of figures of one round. Prints the tables and,
//! unless only a part was asked for, writes `safety.md` into the results folder.
//!
//! The service that is killed is this program: asked to `serve` it does what `raid456 serve` does.
//!
//! Not here: what the raid layer costs without faults (`perf/examples/raid_ratios.rs`), a rebuild without
//! hosts (`rebuild_ratios.rs` there), what survives kills (`tests/blackbox/crash`).

#![forbid(unsafe_code)]

mod bench;
mod beside;
mod logs;
#[path = "../nvmf_ratios/host.rs"]
mod queue;
mod restart;
mod scan;
mod slow;

use std::path::PathBuf;
use std::process::ExitCode;

use bench::{Bench, Result};
use clap::{Parser, ValueEnum};
use perf::bench::{load_averages, machine};
use reactor::{CpuSet, PollMode, Reactors, ReactorsConfig};

#[derive(Debug, Parser)]
struct Args {
    /// Core that the one reactor runs on
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// How often everything is measured
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Length of a window of writes
    #[arg(long, default_value_t = 1000)]
    window_ms: u64,
    /// Length of a window of reads beside a rebuild
    #[arg(long, default_value_t = 3000)]
    read_window_ms: u64,
    /// Size of a malloc member
    #[arg(long, default_value_t = 256)]
    member_mib: u64,
    /// Size of a malloc member that is rebuilt beside reads: no window may see its end
    #[arg(long, default_value_t = 1536)]
    rebuild_member_mib: u64,
    /// Time of a write of a log bdev in memory
    #[arg(long, default_value_t = 20)]
    log_write_us: u64,
    /// Time of a flush of the slower log bdev in memory
    #[arg(long, default_value_t = 1000)]
    log_flush_us: u64,
    /// How often the service is killed, and how often it is stopped in order
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Folder on a disk, for files; the program's own if absent
    #[arg(long)]
    dir: Option<PathBuf>,
    /// One part only, which is printed and not written
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Folder for safety.md
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/perf/results"))]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Part {
    Scan,
    Steady,
    Cold,
    Beside,
    Restart,
}

/// Measures one part, and gives its tables.
type Measure = fn(&Bench<'_>) -> Result<String>;

const PARTS: [(Part, Measure); 4] = [
    (Part::Scan, scan::scan),
    (Part::Steady, logs::steady),
    (Part::Cold, logs::cold),
    (Part::Beside, beside::beside),
];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return raid456::cli::main();
    }
    match measure(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("safety_ratios: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<()> {
    let mut text = head(args);
    print!("{text}");
    let wanted = |part| args.only.is_none_or(|only| only == part);
    let mut add = |table: String| {
        print!("{table}");
        text.push_str(&table);
    };
    let reactors = Reactors::start(ReactorsConfig {
        cores: CpuSet::single(args.core),
        poll: PollMode::Busy,
        buffer_bytes: 256 << 20,
    })?;
    let bench = Bench { reactors: reactors.handles(), args };
    for (_, measured) in PARTS.into_iter().filter(|(part, _)| wanted(*part)) {
        add(measured(&bench)?);
    }
    // The service has reactors of its own, and is alone with its host.
    reactors.stop();
    if wanted(Part::Restart) {
        add(restart::restart(args)?);
    }
    if args.only.is_none() {
        std::fs::create_dir_all(&args.out)?;
        std::fs::write(args.out.join("safety.md"), text)?;
    }
    Ok(())
}

fn head(args: &Args) -> String {
    let Args { core, rounds, window_ms, read_window_ms, member_mib, .. } = args;
    let Args { rebuild_member_mib, log_write_us, log_flush_us, kills, .. } = args;
    format!(
        "# What crash safety costs: RAID 5, 4+1 x 64 KiB, on one core\n\n    \
         cargo run --release --example safety_ratios -- --core {core} --rounds {rounds} --window-ms \
         {window_ms} \\\n        --read-window-ms {read_window_ms} --member-mib {member_mib} \
         --rebuild-member-mib {rebuild_member_mib} \\\n        --log-write-us {log_write_us} \
         --log-flush-us {log_flush_us} --kills {kills}\n\n\
         {}. Load averages of the machine before the run: {}.\n\
         {rounds} rounds, in which all cases of a table take turns; figures are medians, with the least and \
         the most in brackets. Ratios are of figures of one round. Members are malloc bdevs of {member_mib} \
         MiB where nothing else is said.\n",
        machine(),
        load_averages(),
    )
}
