//! A rebuild without hosts against copying one member to another, and against the same work without an
//! array, as ratios of figures from one run.
//!
//! ```text
//!   cargo run --release -p perf --example rebuild_ratios -- --cores 0-1 --rounds 9 --member-mib 256
//! ```
//!
//! Every member is in memory. For each shape the array runs on one core and on two. Beside it, in every
//! round:
//!
//! | column | what |
//! |---|---|
//! | copy | one member is read and written to another one, in 128 KiB, on one core: a member's copy rate |
//! | copies | two such streams, of halves of the member, on as many cores as the array has |
//! | loop | as many members as a rebuild reads are read a strip each, added up, and the sum is written, on as many cores as the array has: what is left of a rebuild without an array. The bound |
//!
//! A round in which others had the cores does not count, and is done again, up to a bound.
//!
//! Figures are medians over the rounds; ratios are of two figures of one round, and told with the least and the
//! most. Prints the table and writes `rebuild.md` into the results folder.
//!
//! Not here: rebuilds beside hosts (`service/safety_ratios`).

use array::{ArrayEvent, RaidBdev, RaidOptions, RaidSpec};
use clap::Parser;
use crossbeam::channel::{Receiver, unbounded};
use device::Bdev;
use perf::bench::{Others, fill, load_averages, machine, malloc};
use perf::ratio::Spread;
use perf::rows::Rows;
use raid::coordinator::{RaidEvent, Scope};
use raid::layout::{Layout, Level};
use raid::units::Slot;
use reactor::{PollMode, ReactorHandle, Reactors, ReactorsConfig, clock};
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const MIB: u64 = 1 << 20;
const STRIP_BYTES: u32 = 64 << 10;
/// Requests of a copy.
const COPY_BYTES: usize = 128 << 10;
/// Rows under way, as many as a shard has operations of a background action.
const DEPTH: usize = 4;
/// Cores that others may have in a round that counts.
const OTHERS_CORES_MAX: f64 = 0.1;
/// Most rounds that are begun for each that has to count.
const TRIES: usize = 4;

#[derive(Debug, Parser)]
struct Args {
    /// Cores of the reactors; the one copy runs on the first of them
    #[arg(long, default_value = "0-1")]
    cores: String,
    /// Rebuilds of each case
    #[arg(long, default_value_t = 9)]
    rounds: usize,
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
         cargo run --release -p perf --example rebuild_ratios -- --cores {} --rounds {} --member-mib {}\n\n\
         {}. Load averages of the machine before the run: {}.\n\n\
         | array | cores | rebuild MiB/s | copy, one core | copies | loop | of the copy on one core | of \
         as many cores' copies | of the loop | rounds |\n|---|---|---|---|---|---|---|---|---|---|\n",
        args.cores,
        args.rounds,
        args.member_mib,
        machine(),
        load_averages()
    );
    print!("{text}");
    for (level, members) in SHAPES {
        for cores in 1..=reactors.handles().len() {
            let row = case(&args, &reactors.handles()[..cores], level, members)?;
            print!("{row}");
            text.push_str(&row);
        }
    }
    text.push_str(
        "\nRates are MiB/s of a member, medians over the rounds; ratios are of figures of one round: the \
         median, the least and the most. The copy on one core is the goal's measure, a member's raw copy \
         rate: a rebuild should reach half of it. Copies are one stream on each of as many cores as the \
         array has, which is what these cores copy: with one core the two are measured alike. The loop is \
         the bound: it does the reads, the sum and the write of a rebuild on the same cores, without an \
         array. A round counts if others had less than a tenth of a core in it.\n",
    );
    reactors.stop();
    std::fs::create_dir_all(&args.out)?;
    std::fs::write(args.out.join("rebuild.md"), text)?;
    Ok(())
}

/// Bytes a second of one round.
struct Round {
    rebuild: f64,
    copy: f64,
    copies: f64,
    bound: f64,
}

fn case(args: &Args, cores: &[ReactorHandle], level: Level, members: usize) -> Result<String> {
    let size = args.member_mib * MIB;
    let devices = (0..members).map(|slot| Ok(malloc(&format!("m{slot}"), size)?));
    let devices = devices.collect::<Result<Vec<_>>>()?;
    let (sender, events) = unbounded();
    let spec = RaidSpec {
        name: "r".to_owned(),
        uuid: None,
        level,
        layout: Layout::default_for(level),
        strip_bytes: STRIP_BYTES,
        data_offsets_bytes: vec![0; members],
        members: devices.iter().cloned().map(Some).collect(),
        assume_clean: true,
        options: RaidOptions { events: Some(sender), ..RaidOptions::default() },
    };
    let raid = RaidBdev::create(cores, spec)?;
    fill(&(raid.clone() as Arc<dyn Bdev>), cores)?;
    let target = malloc("target", size)?;
    fill(&target, cores)?;
    let data = members - level.parity_count();
    let walk = |sources, strip_bytes| Rows {
        sources: devices[devices.len() - sources..].to_vec(),
        target: target.clone(),
        strip_bytes,
        depth: DEPTH,
        len_bytes: size,
    };
    let (copy, sum) = (walk(1, COPY_BYTES), walk(data, STRIP_BYTES as usize));
    let (mut rounds, mut tries) = (Vec::new(), 0);
    while rounds.len() < args.rounds && tries < TRIES * args.rounds {
        tries += 1;
        let others = Others::since_now();
        let round = Round {
            copy: copy.run(&cores[..1])?,
            copies: copy.run(cores)?,
            bound: sum.run(cores)?,
            rebuild: size as f64 / rebuild_seconds(&raid, &events, size, cores)?,
        };
        if others.cores() <= OTHERS_CORES_MAX {
            rounds.push(round);
        }
    }
    raid.stop()?;
    if rounds.is_empty() {
        let what = format!("{level} {data}+{} on {} cores", level.parity_count(), cores.len());
        let why = format!("others had the cores in all of {tries} rounds");
        return Err(format!("{what}: {why}: measure again when they do not").into());
    }
    let of = |figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
    let mib = |figure: fn(&Round) -> f64| of(figure).median / MIB as f64;
    Ok(format!(
        "| {level} {data}+{} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {} of {tries} |\n",
        level.parity_count(),
        cores.len(),
        mib(|round| round.rebuild),
        mib(|round| round.copy),
        mib(|round| round.copies),
        mib(|round| round.bound),
        of(|round| round.rebuild / round.copy),
        of(|round| round.rebuild / round.copies),
        of(|round| round.rebuild / round.bound),
        rounds.len(),
    ))
}

/// Seconds that the rebuild of one member takes, until the array is whole again.
fn rebuild_seconds(
    raid: &Arc<RaidBdev>,
    events: &Receiver<ArrayEvent>,
    size: u64,
    cores: &[ReactorHandle],
) -> Result<f64> {
    raid.remove_member(Slot(0))?;
    let fresh = malloc("fresh", size)?;
    fill(&fresh, cores)?;
    let begin = clock::now();
    raid.add_member(&fresh, None, Scope::Whole, Uuid::new_v4())?;
    // Asking the array now and then would take its reactors' time.
    while events.recv_timeout(Duration::from_secs(60))?.event != RaidEvent::Optimal {}
    Ok((clock::now() - begin).as_nanos() as f64 / 1e9)
}
