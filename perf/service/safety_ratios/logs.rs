//! What a dirty log on a bdev costs, against one in memory: in regions that are leased, and in clean ones.
//!
//! ```text
//!   a round of cold:  leases given back, bits cleared, all arrays at rest --> a burst on each in turn
//! ```
//!
//! | log | a commit |
//! |---|---|
//! | memory | nothing |
//! | no cache | a write that takes 20 us; a flush costs nothing, as with a device that keeps what it has when the power goes |
//! | volatile cache | the same, and the flush takes a millisecond |
//! | file | what `O_DIRECT` and fdatasync take on the disk of this machine, through io_uring |
//!
//! Not here: the bdev with such a flush (`slow`).

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use array::{RaidBdev, RaidOptions, RaidSnapshot, Tuning};
use device::{BackendDetail, Bdev, UringBdev, UringSpec};
use perf::bench::{malloc, run_well};
use perf::ratio::{Case, Rounds, Spread, alternate};
use perf::{Job, Limit, Pattern};
use reactor::Ticks;
use tempfile::TempDir;

use crate::Args;
use crate::bench::{Bench, MIB, Result, folder, pause, wait_for, zeroes};
use crate::slow::Slow;

const LOG_BYTES: u64 = MIB;
const IO_DEPTH: usize = 64;
/// Writes of a burst.
const BURST_IOS: u64 = 4096;
const REGIONS_KIB: [u64; 5] = [64, 256, 1024, 4096, 16384];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Memory,
    NoCache,
    VolatileCache,
    File,
}

impl Place {
    const ALL: [Self; 4] = [Self::Memory, Self::NoCache, Self::VolatileCache, Self::File];

    fn shown(self, args: &Args) -> String {
        let (write, flush) = (args.log_write_us, args.log_flush_us);
        match self {
            Self::Memory => "in memory".to_owned(),
            Self::NoCache => format!("bdev: write {write} us, flush nothing"),
            Self::VolatileCache => format!("bdev: write {write} us, flush {flush} us"),
            Self::File => "file on this machine's disk".to_owned(),
        }
    }
}

/// Makes logs, each for one array.
struct Logs<'a> {
    args: &'a Args,
    folder: TempDir,
    made: usize,
}

impl<'a> Logs<'a> {
    fn new(args: &'a Args) -> Result<Self> {
        Ok(Self { args, folder: folder(args)?, made: 0 })
    }

    fn log(&mut self, place: Place) -> Result<Option<Arc<dyn Bdev>>> {
        self.made += 1;
        let name = format!("log{}", self.made);
        let flush_us = match place {
            Place::Memory => return Ok(None),
            Place::File => return self.file(name).map(Some),
            Place::NoCache => 0,
            Place::VolatileCache => self.args.log_flush_us,
        };
        Ok(Some(Arc::new(Slow {
            base: malloc(&name, LOG_BYTES)?,
            write: Ticks::from_micros(self.args.log_write_us),
            flush: Ticks::from_micros(flush_us),
        })))
    }

    fn file(&self, name: String) -> Result<Arc<dyn Bdev>> {
        let filename = self.folder.path().join(&name);
        zeroes(&filename, LOG_BYTES)?;
        let shown = filename.display().to_string();
        let spec = UringSpec { name, filename, block_size_bytes: Some(4096), uuid: None };
        let bdev = UringBdev::create(spec)?;
        match bdev.info().detail {
            BackendDetail::Uring { direct: true, .. } => Ok(bdev),
            _ => {
                Err(format!("{shown} cannot be opened with O_DIRECT: give --dir on a disk").into())
            }
        }
    }
}

/// Commits that somebody has waited for.
fn mark_commits(raid: &RaidBdev) -> u64 {
    raid.snapshot().log_counters.mark_commits
}

/// Writes in regions that stay leased, so that none of them is marked.
pub(crate) fn steady(bench: &Bench<'_>) -> Result<String> {
    let args = bench.args;
    let mut logs = Logs::new(args)?;
    let (mut arrays, mut cases) = (Vec::new(), Vec::new());
    for place in Place::ALL {
        let name = place.shown(args);
        let members = bench.members(&name, args.member_mib)?;
        // For as long as the others have their windows.
        let tuning = Tuning { lease_idle: Duration::from_secs(3600), ..Tuning::default() };
        let options = RaidOptions { log: logs.log(place)?, tuning, ..RaidOptions::default() };
        let raid = bench.array(&name, &members, options)?;
        bench.fill(&raid)?;
        let bdev = raid.clone() as Arc<dyn Bdev>;
        let job =
            Job { block_bytes: 4096, io_depth: IO_DEPTH, ..Job::new(bdev, Pattern::RandWrite) };
        cases.push(Case { name, job });
        arrays.push(raid);
    }
    let rounds = Rounds {
        count: args.rounds,
        window: Ticks::from_millis(args.window_ms),
        ramp: Ticks::from_millis(20),
    };
    let commits = || arrays.iter().map(|raid| mark_commits(raid)).sum::<u64>();
    let before = commits();
    let samples = alternate(&cases, bench.reactors, rounds, |_, _| {})?;
    let marked = commits() - before;
    let mut text = format!(
        "\n## Steady state: 4 KiB random writes (QD {IO_DEPTH}) in regions that are leased\n\n\
         Windows of {} ms. Commits with marks in all windows together: {marked}.\n\n\
         | log | IOPS | of the log in memory (goal: at least 0.97) |\n|---|---|---|\n",
        args.window_ms
    );
    for case in &samples {
        let iops = case.spread(|sample| sample.iops);
        let ratio = case.ratio_to(&samples[0], |sample| sample.iops);
        let _ = writeln!(text, "| {} | {iops} | {ratio:.3} |", case.name);
    }
    arrays.iter().try_for_each(|raid| raid.stop())?;
    Ok(text)
}

/// What a burst has brought.
#[derive(Clone, Copy, Debug)]
struct Burst {
    iops: f64,
    commits: u64,
    /// Of one commit, on average.
    commit_us: f64,
}

/// Writes to regions of which none is dirty.
pub(crate) fn cold(bench: &Bench<'_>) -> Result<String> {
    let args = bench.args;
    let mut logs = Logs::new(args)?;
    let mut text = format!(
        "\n## Clean regions: {BURST_IOS} random 4 KiB writes (QD {IO_DEPTH}) on an array on which nothing \
         is dirty\n\n\
         A commit is one write of the log and one flush for all marks that wait; its time is the mean of \
         all commits of a burst. Smaller regions have more first writes, which wait for one.\n\n\
         | region | regions | log | IOPS | of the log in memory | commits | us a commit |\n\
         |---|---|---|---|---|---|---|\n"
    );
    let sets = Place::ALL.map(|place| bench.members(&place.shown(args), args.member_mib));
    let sets = sets.into_iter().collect::<Result<Vec<_>>>()?;
    for (at, region_kib) in REGIONS_KIB.into_iter().enumerate() {
        let mut arrays = Vec::new();
        for (place, members) in Place::ALL.into_iter().zip(&sets) {
            let (log, region_bytes) = (logs.log(place)?, Some(region_kib << 10));
            let options = RaidOptions { log, region_bytes, ..RaidOptions::default() };
            let raid = bench.array(&place.shown(args), members, options)?;
            if at == 0 {
                bench.fill(&raid)?;
            }
            arrays.push(raid);
        }
        let bursts = bursts(bench, &arrays)?;
        let regions = (args.member_mib << 10).div_ceil(region_kib);
        for (place, own) in Place::ALL.into_iter().zip(&bursts) {
            let ratios = own.iter().zip(&bursts[0]).map(|(own, memory)| own.iops / memory.iops);
            let spread = |figure: fn(&Burst) -> f64| Spread::of(own.iter().map(figure));
            let _ = writeln!(
                text,
                "| {region_kib} KiB | {regions} | {} | {} | {:.2} | {} | {:.0} |",
                place.shown(args),
                spread(|burst| burst.iops),
                Spread::of(ratios),
                spread(|burst| burst.commits as f64),
                spread(|burst| burst.commit_us),
            );
        }
        arrays.iter().try_for_each(|raid| raid.stop())?;
    }
    Ok(text)
}

/// Bursts on each of the arrays, in turn.
fn bursts(bench: &Bench<'_>, arrays: &[Arc<RaidBdev>]) -> Result<Vec<Vec<Burst>>> {
    let mut all = vec![Vec::new(); arrays.len()];
    for round in 0..bench.args.rounds {
        rest(arrays)?;
        for (raid, bursts) in arrays.iter().zip(&mut all) {
            bursts.push(burst(bench, raid, round as u64)?);
        }
    }
    Ok(all)
}

fn burst(bench: &Bench<'_>, raid: &Arc<RaidBdev>, seed: u64) -> Result<Burst> {
    let job = Job {
        block_bytes: 4096,
        io_depth: IO_DEPTH,
        limit: Limit::Ios(BURST_IOS),
        seed,
        ..Job::new(raid.clone() as Arc<dyn Bdev>, Pattern::RandWrite)
    };
    let before = raid.snapshot();
    let report = run_well(job, bench.reactors)?;
    let after = raid.snapshot();
    let count = |snapshot: &RaidSnapshot| snapshot.log_latencies.count();
    let sum_ns = |snapshot: &RaidSnapshot| snapshot.log_latencies.sum_ns();
    let commits = count(&after) - count(&before);
    let took_us = (sum_ns(&after) - sum_ns(&before)) as f64 / 1e3;
    Ok(Burst { iops: report.total.iops, commits, commit_us: took_us / commits.max(1) as f64 })
}

/// Has all leases given back, and waits until nothing is dirty any more and no log has anything to write.
fn rest(arrays: &[Arc<RaidBdev>]) -> Result<()> {
    let idle = |lease_idle| Tuning { lease_idle, ..Tuning::default() };
    arrays.iter().for_each(|raid| raid.set_tuning(idle(Duration::ZERO)));
    wait_for("regions are clean though nobody writes", || {
        Ok(arrays.iter().all(|raid| raid.snapshot().regions_dirty == 0))
    })?;
    arrays.iter().for_each(|raid| raid.set_tuning(Tuning::default()));
    // Bits that were cleared may still be on their way, which nobody waits for but the next mark.
    pause(Ticks::from_millis(50));
    Ok(())
}
