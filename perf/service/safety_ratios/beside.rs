//! Hosts' reads beside a rebuild, and without one.
//!
//! ```text
//!   reads begin -- member added -- what goes out at once is done, and paid for -- window ------------| end
//!                                                                                 ^ rebuilt so far  ^
//! ```
//!
//! A rebuild begins with as many stretches as may be out at a time, whatever its rate, and then waits until it
//! is owed more. A window begins when that time is over, so what it sees is the rate that was asked for.
//!
//! Without a rebuild the array is degraded all the same: that is how a rebuild finds it.
//!
//! Not here: rebuilds without hosts (`perf/examples/rebuild_ratios.rs`).

use std::fmt::Write;
use std::sync::Arc;

use array::{RaidBdev, RaidOptions};
use device::Bdev;
use perf::ratio::{Sample, Samples, Spread};
use perf::{Job, LatencyClock, Limit, Pattern, Run, RunError};
use raid::coordinator::Scope;
use raid::coordinator::pace::Rates;
use raid::limits::{STRETCHES_MAX, WORK_BYTES};
use raid::units::Slot;
use reactor::{Ticks, clock};
use uuid::Uuid;

use crate::bench::{Bench, MIB, Result, wait_until};

/// Minimum rates, in bytes a second.
const RATES: [(&str, u64); 4] = [
    ("1000 KiB/s (default)", 1000 << 10),
    ("10 MiB/s", 10 << 20),
    ("100 MiB/s", 100 << 20),
    ("400 MiB/s", 400 << 20),
];
const SLOT: Slot = Slot(2);
/// Reads before anything is counted.
const RAMP: Ticks = Ticks::from_millis(500);
/// How long before the end of a window the rebuild is looked at: without hosts it would be faster.
const MARGIN: Ticks = Ticks::from_millis(50);

/// Windows with one rate.
struct Row {
    name: &'static str,
    min_bytes_per_s: u64,
    samples: Samples,
    /// Rebuilt while it was looked at, and for how long that was.
    bytes: u64,
    span: Ticks,
}

/// The array, and the member that is rebuilt again and again.
struct Subject<'a> {
    bench: &'a Bench<'a>,
    raid: Arc<RaidBdev>,
    member: Arc<dyn Bdev>,
}

pub(crate) fn beside(bench: &Bench<'_>) -> Result<String> {
    let args = bench.args;
    let members = bench.members("beside", args.rebuild_member_mib)?;
    // Progress is counted in regions: as small as what is handed out.
    let options = RaidOptions { region_bytes: Some(WORK_BYTES), ..RaidOptions::default() };
    let raid = bench.array("beside", &members, options)?;
    bench.fill(&raid)?;
    raid.remove_member(SLOT)?;
    let subject = Subject { bench, raid, member: members[SLOT.index()].clone() };
    let none = |name: &str| Samples { name: name.to_owned(), samples: Vec::new() };
    let mut alone = none("alone");
    let mut rows = RATES.map(|(name, min_bytes_per_s)| Row {
        name,
        min_bytes_per_s,
        samples: none(name),
        bytes: 0,
        span: Ticks::ZERO,
    });
    for round in 0..args.rounds {
        alone.samples.push(subject.alone(round)?);
        for row in &mut rows {
            subject.rebuilt_beside(round, row)?;
        }
    }
    subject.raid.stop()?;
    Ok(table(bench, &alone, &rows))
}

impl Subject<'_> {
    fn reads(&self, round: usize, ramp: Ticks) -> Job {
        Job {
            block_bytes: 4096,
            io_depth: 4,
            limit: Limit::Time(Ticks::from_millis(self.bench.args.read_window_ms)),
            ramp,
            seed: round as u64,
            clock: LatencyClock::Precise,
            ..Job::new(self.raid.clone() as Arc<dyn Bdev>, Pattern::RandRead)
        }
    }

    fn alone(&self, round: usize) -> Result<Sample> {
        let run = Run::start(self.reads(round, RAMP), self.bench.reactors)?;
        finish(run, "reads without a rebuild")
    }

    /// One window of a row.
    fn rebuilt_beside(&self, round: usize, row: &mut Row) -> Result<()> {
        let rate = row.min_bytes_per_s;
        let burst_ns = STRETCHES_MAX as u64 * WORK_BYTES * 1_000_000_000 / rate;
        let ramp = RAMP + Ticks::from_nanos(burst_ns);
        let window = Ticks::from_millis(self.bench.args.read_window_ms);
        self.raid.set_rates(Rates { min_bytes_per_s: rate, ..Rates::default() });
        let run = Run::start(self.reads(round, ramp), self.bench.reactors)?;
        let begin = clock::now();
        self.raid.add_member(&self.member, Some(SLOT), Scope::Whole, Uuid::new_v4())?;
        wait_until(begin + ramp);
        let (before, since) = self.rebuilt()?;
        wait_until(begin + ramp + (window - MARGIN));
        let (after, until) = self.rebuilt()?;
        row.samples.samples.push(finish(run, row.name)?);
        row.bytes += after - before;
        row.span += until - since;
        self.raid.remove_member(SLOT)?;
        Ok(())
    }

    /// Bytes of the member that are rebuilt, and when that was.
    fn rebuilt(&self) -> Result<(u64, Ticks)> {
        let progress = self.raid.snapshot().progress;
        let now = clock::now();
        let progress = progress.ok_or("a rebuild has ended: take a larger --rebuild-member-mib")?;
        Ok((progress.done * WORK_BYTES, now))
    }
}

fn finish(run: Run, case: &str) -> Result<Sample> {
    let report = run.finish()?;
    match report.is_good() {
        true => Ok(Sample::of(&report)),
        false => Err(RunError::Failed { case: case.to_owned(), report: report.table() }.into()),
    }
}

fn table(bench: &Bench<'_>, alone: &Samples, rows: &[Row]) -> String {
    let args = bench.args;
    let seconds = args.rounds as f64 * args.read_window_ms as f64 / 1e3;
    let mut text = format!(
        "\n## Rebuild beside 4 KiB random reads (QD 4)\n\n\
         Members of {} MiB, which no window sees the end of; {} windows of {} ms for each line, {seconds:.0} \
         s in all. The degraded array without a rebuild is what one finds. The goal is a p99 below twice \
         that at the default rates.\n\n\
         | minimum rate | rebuild MiB/s | reads/s | p99 of reads, ns | of the p99 without | windows |\n\
         |---|---|---|---|---|---|\n",
        args.rebuild_member_mib, args.rounds, args.read_window_ms
    );
    let mut line = |name: &str, rate: f64, samples: &Samples, ratio: Spread| {
        let _ = writeln!(
            text,
            "| {name} | {rate:.1} | {} | {} | {ratio:.2} | {} |",
            samples.spread(|sample| sample.iops),
            samples.spread(|sample| sample.p99_ns as f64),
            samples.counted().count()
        );
    };
    let p99 = |sample: &Sample| sample.p99_ns.max(1) as f64;
    line("no rebuild (degraded)", 0.0, alone, alone.ratio_to(alone, p99));
    for row in rows {
        let rate = row.bytes as f64 / MIB as f64 / row.span.as_secs_f64().max(1e-9);
        line(row.name, rate, &row.samples, row.samples.ratio_to(alone, p99));
    }
    text
}
