//! What crash safety costs, as ratios of figures from one run: the dirty log in steady state and on
//! clean regions, and hosts' reads beside a rebuild.
//!
//! ```text
//!   cargo run --release -p perf --example safety_ratios -- --core 1 --rounds 12 --window-ms 500
//! ```
//!
//! | part | what is compared |
//! |---|---|
//! | steady | 4 KiB random writes in leased regions: log on a bdev against log in memory |
//! | cold | the first write of every region, by region size; the log bdev takes 20 us for a write |
//! | yield | a rebuild beside 4 KiB random reads, by its minimum rate |
//!
//! Prints the tables and writes `safety.md` into the results folder.
//!
//! Not here: what the raid layer costs without faults (`raid_ratios`), a rebuild without hosts
//! (`rebuild_ratios`).

use array::{RaidBdev, RaidOptions, RaidSpec};
use clap::Parser;
use device::{Bdev, DelayBdev, DelaySpec};
use perf::bench::{fill, malloc, run_well};
use perf::ratio::{Case, Rounds, alternate};
use perf::{Job, LatencyClock, Limit, Pattern};
use raid::coordinator::Scope;
use raid::coordinator::pace::Rates;
use raid::layout::{Layout, Level};
use raid::units::Slot;
use reactor::{CpuSet, PollMode, ReactorHandle, Reactors, ReactorsConfig, Ticks, clock};
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

const STRIP_BYTES: u32 = 64 << 10;
const MEMBERS: usize = 5;
const MIB: u64 = 1 << 20;

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
    /// Folder for safety.md
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    out: PathBuf,
}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let args = Args::parse();
    let reactors = Reactors::start(ReactorsConfig {
        cores: CpuSet::single(args.core),
        poll: PollMode::Busy,
        buffer_bytes: 256 << 20,
    })?;
    let bench = Bench { reactors: reactors.handles(), args: &args };
    let mut text = format!(
        "# What crash safety costs: RAID 5, 4+1 x 64 KiB over malloc members, on one core\n\n    \
         cargo run --release -p perf --example safety_ratios -- --core {} --rounds {} --window-ms \
         {} --member-mib {}\n",
        args.core, args.rounds, args.window_ms, args.member_mib
    );
    for part in [Bench::steady, Bench::cold, Bench::yields] {
        let table = part(&bench)?;
        print!("{table}");
        text.push_str(&table);
    }
    reactors.stop();
    std::fs::create_dir_all(&args.out)?;
    std::fs::write(args.out.join("safety.md"), text)?;
    Ok(())
}

struct Bench<'a> {
    reactors: &'a [ReactorHandle],
    args: &'a Args,
}

impl Bench<'_> {
    /// An array whose parity is taken for right, filled once.
    fn array(&self, name: &str, options: RaidOptions) -> Result<Arc<RaidBdev>> {
        let size = self.args.member_mib * MIB;
        let members = (0..MEMBERS).map(|slot| malloc(&format!("{name}-{slot}"), size).map(Some));
        let spec = RaidSpec {
            name: name.to_owned(),
            uuid: None,
            level: Level::Raid5,
            layout: Layout::LeftSymmetric,
            strip_bytes: STRIP_BYTES,
            data_offsets_bytes: vec![0; MEMBERS],
            members: members.collect::<std::result::Result<_, _>>()?,
            assume_clean: true,
            options,
        };
        Ok(RaidBdev::create(self.reactors, spec)?)
    }

    fn fill(&self, bdev: &Arc<dyn Bdev>) -> Result<()> {
        Ok(fill(bdev, self.reactors)?)
    }

    fn run(&self, job: Job) -> Result<perf::Report> {
        Ok(run_well(job, self.reactors)?)
    }

    fn steady(&self) -> Result<String> {
        let core = self.array("core", RaidOptions::default())?;
        let log = malloc("log", MIB)?;
        let disk = self.array("disk", RaidOptions { log: Some(log), ..RaidOptions::default() })?;
        let mut cases = Vec::new();
        for raid in [&core, &disk] {
            let bdev = raid.clone() as Arc<dyn Bdev>;
            self.fill(&bdev)?;
            let job = Job { block_bytes: 4096, io_depth: 64, ..Job::new(bdev, Pattern::RandWrite) };
            cases.push(Case { name: raid.info().name.clone(), job });
        }
        let rounds = Rounds {
            count: self.args.rounds,
            window: Ticks::from_millis(self.args.window_ms),
            ramp: Ticks::from_millis(20),
        };
        let samples = alternate(&cases, self.reactors, rounds, |_, _| {})?;
        let [in_memory, on_bdev] = [samples[0].iops(), samples[1].iops()];
        core.stop()?;
        disk.stop()?;
        Ok(format!(
            "\n## Steady state: 4 KiB random writes (QD 64) in regions that are leased\n\n\
             | log | IOPS | of the log in memory |\n|---|---|---|\n| in memory | {in_memory:.0} | 1 |\n\
             | on a bdev | {on_bdev:.0} | {:.3} (goal: at least 0.97) |\n",
            on_bdev / in_memory
        ))
    }

    fn cold(&self) -> Result<String> {
        let mut text = "\n## Clean regions: 4096 random 4 KiB writes (QD 64) on an array on which \
                        nothing is dirty\n\nThe log bdev takes 20 us for a write.\n\n\
                        | region | regions | IOPS, log on a bdev | IOPS, log in memory | ratio |\n\
                        |---|---|---|---|---|\n"
            .to_owned();
        for region_kib in [64, 256, 1024, 4096, 16384_u64] {
            let mut iops = [0.0; 2];
            for (at, on_bdev) in [true, false].into_iter().enumerate() {
                iops[at] = self.cold_iops(region_kib, on_bdev)?;
            }
            let regions = (self.args.member_mib << 10).div_ceil(region_kib);
            let _ = writeln!(
                text,
                "| {region_kib} KiB | {regions} | {:.0} | {:.0} | {:.2} |",
                iops[0],
                iops[1],
                iops[0] / iops[1]
            );
        }
        Ok(text)
    }

    fn cold_iops(&self, region_kib: u64, on_bdev: bool) -> Result<f64> {
        let log = malloc("log-base", MIB)?;
        let log = DelayBdev::create(DelaySpec {
            name: "log".to_owned(),
            uuid: None,
            base: log,
            latencies_us: [0, 0, 20, 20],
        })?;
        let log: Option<Arc<dyn Bdev>> = if on_bdev { Some(log) } else { None };
        let region_bytes = Some(region_kib << 10);
        let raid =
            self.array("cold", RaidOptions { log, region_bytes, ..RaidOptions::default() })?;
        let bdev = raid.clone() as Arc<dyn Bdev>;
        self.fill(&bdev)?;
        self.wait_until_clean(&raid)?;
        let limit = Limit::Ios(4096);
        let job =
            Job { block_bytes: 4096, io_depth: 64, limit, ..Job::new(bdev, Pattern::RandWrite) };
        let report = self.run(job)?;
        raid.stop()?;
        Ok(report.total.iops)
    }

    /// Waits until the leases of the fill are given back and nothing is dirty any more.
    fn wait_until_clean(&self, raid: &Arc<RaidBdev>) -> Result<()> {
        let begin = clock::now();
        while raid.snapshot().regions_dirty > 0 {
            if clock::now() - begin > Ticks::from_secs(30) {
                return Err("regions stay dirty though nobody writes".into());
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    fn yields(&self) -> Result<String> {
        let raid = self.array("yield", RaidOptions::default())?;
        let bdev = raid.clone() as Arc<dyn Bdev>;
        self.fill(&bdev)?;
        let reads = || Job {
            block_bytes: 4096,
            io_depth: 4,
            limit: Limit::Time(Ticks::from_millis(self.args.window_ms.max(200) * 2)),
            clock: LatencyClock::Precise,
            ..Job::new(bdev.clone(), Pattern::RandRead)
        };
        // Reads of a degraded array, which is what a rebuild finds: the rebuild is compared with that.
        raid.remove_member(Slot(2))?;
        let alone = self.run(reads())?;
        let p99 = |report: &perf::Report| {
            let latency = report.clean.latency.as_ref().or(report.total.latency.as_ref());
            latency.map_or(0, |latency| latency.p99_ns)
        };
        let mut text = format!(
            "\n## Rebuild beside 4 KiB random reads (QD 4)\n\n\
             | minimum rate | rebuild MiB/s | reads/s | p99 of reads | of the p99 alone |\n\
             |---|---|---|---|---|\n| no rebuild (degraded) | 0 | {:.0} | {} ns | 1 |\n",
            alone.total.iops,
            p99(&alone)
        );
        let limits = [
            ("1000 KiB/s (default)", 1000 << 10),
            ("10 MiB/s", 10 << 20),
            ("100 MiB/s", 100 << 20),
            ("none: hosts do not count", u64::MAX),
        ];
        for (round, (name, min_bytes_per_s)) in limits.into_iter().enumerate() {
            raid.set_rates(Rates { min_bytes_per_s, ..Rates::default() });
            let fresh = malloc(&format!("yield-fresh{round}"), self.args.member_mib * MIB)?;
            self.fill(&fresh)?;
            let begin = clock::now().as_nanos();
            raid.interrupt(true);
            raid.add_member(&fresh, None, Scope::Whole, Uuid::new_v4())?;
            let job = reads();
            raid.interrupt(false);
            let report = self.run(job)?;
            let done = raid.snapshot().progress.map_or(1.0, |p| p.done as f64 / p.total as f64);
            let seconds = (clock::now().as_nanos() - begin) as f64 / 1e9;
            let rate = done * self.args.member_mib as f64 / seconds;
            let _ = writeln!(
                text,
                "| {name} | {}{rate:.0} | {:.0} | {} ns | {:.2} |",
                if done >= 1.0 { "over " } else { "" },
                report.total.iops,
                p99(&report),
                p99(&report) as f64 / p99(&alone).max(1) as f64
            );
            raid.remove_member(Slot(2))?;
        }
        raid.stop()?;
        text.push_str(
            "\nWhere a rebuild ended before the reads did (\"over\"), the figures of the reads hold a \
             time without it.\n",
        );
        Ok(text)
    }
}
