//! A log of 10^8 regions: what it takes to load it, to look for what is dirty, and to mark.
//!
//! The log by itself first, then a start of an array with as many regions, over null members: a region is a
//! strip of 4 KiB of each of them.
//!
//! Not here: writing the log (`logs`).

use std::fmt::Write;
use std::sync::Arc;

use array::{RaidBdev, RaidOptions, RaidSpec, Tuning};
use device::{Bdev, NullBdev, NullSpec};
use perf::bench::malloc;
use perf::ratio::Spread;
use raid::dirty_log::{DirtyLog, DiskArea, Loader, SyncOption};
use raid::layout::{Layout, Level};
use raid::limits::LOG_IO_BYTES_MAX;
use reactor::clock;

use crate::bench::{Bench, MEMBERS, Result};

const REGIONS: u64 = 100_000_000;
const BLOCK_BYTES: u32 = 4096;
const MARKS: u64 = 1_000_000;

/// What is measured, and what each round has brought.
struct Line {
    what: &'static str,
    unit: &'static str,
    figures: Vec<f64>,
}

/// Milliseconds that something takes, and what comes of it.
fn timed<T>(act: impl FnOnce() -> T) -> (f64, T) {
    let begin = clock::now();
    let came = act();
    ((clock::now() - begin).as_nanos() as f64 / 1e6, came)
}

pub(crate) fn scan(bench: &Bench<'_>) -> Result<String> {
    let line = |what, unit| Line { what, unit, figures: Vec::new() };
    let mut lines = [
        line("loaded, all regions clean", "ms"),
        line("loaded, no region clean", "ms"),
        line("searched for a dirty region, all regions clean", "ms"),
        line("the same, only the last one dirty", "ms"),
        line("all regions handed out for resync, one by one", "ms"),
        line("a mark, of a million at random", "ns"),
        line("the bytes to write after those", "ms"),
        line("start of an array, all regions clean", "ms"),
        line("start of an array, nothing on its log bdev", "ms"),
    ];
    for _ in 0..bench.args.rounds {
        let by_itself = log_alone()?;
        let of_array = starts(bench)?;
        for (line, figure) in lines.iter_mut().zip(by_itself.into_iter().chain(of_array)) {
            line.figures.push(figure);
        }
    }
    let mut text = format!(
        "\n## A log of {REGIONS} regions (goal: well under a second)\n\n| what | time |\n|---|---|\n"
    );
    for Line { what, unit, figures } in &lines {
        let _ = writeln!(text, "| {what} | {:.1} {unit} |", Spread::of(figures.iter().copied()));
    }
    Ok(text)
}

/// The log in pieces, as an array reads it.
fn load(image: &[u8], area: DiskArea) -> DirtyLog {
    let mut loader = Loader::new(area, SyncOption::Default);
    image.chunks(LOG_IO_BYTES_MAX as usize).for_each(|piece| loader.feed(piece));
    loader.finish().log
}

/// The area of a log that holds no bit, or every one.
fn image(area: DiskArea, sync: SyncOption) -> Vec<u8> {
    let mut image = vec![0; area.area_bytes() as usize];
    DirtyLog::load(Some(&image), area, sync).log.copy_out(0, &mut image);
    image
}

fn log_alone() -> Result<[f64; 7]> {
    let area = DiskArea::new(BLOCK_BYTES, REGIONS);
    let (clean, dirty) = (image(area, SyncOption::NoSync), image(area, SyncOption::Sync));
    let (load_clean, mut log) = timed(|| load(&clean, area));
    let (load_dirty, mut all) = timed(|| load(&dirty, area));
    let counts = [log.dirty_count(), all.dirty_count()];
    if counts != [0, REGIONS] {
        return Err(format!("{counts:?} dirty regions were loaded").into());
    }
    let (search_clean, found) = timed(|| (log.next_dirty(0), log.resync_work()));
    if found != (None, None) {
        return Err(format!("{found:?} is dirty in a clean log").into());
    }
    log.mark(REGIONS - 1);
    let (search_last, found) = timed(|| log.next_dirty(0));
    if found != Some(REGIONS - 1) {
        return Err(format!("{found:?} is the only dirty region").into());
    }
    let (hand_out, count) = timed(|| std::iter::from_fn(|| all.resync_work()).count());
    if count as u64 != REGIONS {
        return Err(format!("{count} regions were handed out").into());
    }
    // What has to be written for the load itself is not what is measured.
    while log.take_touched(u64::MAX).is_some() {}
    let mut state = 1_u64;
    let (mark, ()) = timed(|| {
        for _ in 0..MARKS {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            log.mark(state % REGIONS);
        }
    });
    let mut out = vec![0; LOG_IO_BYTES_MAX as usize];
    let (copy_out, ()) = timed(|| {
        while let Some(range) = log.take_touched(LOG_IO_BYTES_MAX) {
            log.copy_out(range.start, &mut out[..(range.end - range.start) as usize]);
        }
    });
    let mark_ns = mark * 1e6 / MARKS as f64;
    Ok([load_clean, load_dirty, search_clean, search_last, hand_out, mark_ns, copy_out])
}

fn starts(bench: &Bench<'_>) -> Result<[f64; 2]> {
    let area = DiskArea::new(BLOCK_BYTES, REGIONS);
    let log = || malloc("log", area.area_bytes());
    let (written, blank) = (log()?, log()?);
    start(bench, &written, true, 0)?;
    let clean = start(bench, &written, false, 0)?;
    let fresh = start(bench, &blank, false, REGIONS)?;
    Ok([clean, fresh])
}

/// Milliseconds that the start of an array takes which then has so many dirty regions.
fn start(bench: &Bench<'_>, log: &Arc<dyn Bdev>, assume_clean: bool, dirty: u64) -> Result<f64> {
    let member = |slot| -> Result<Option<Arc<dyn Bdev>>> {
        let name = format!("null{slot}");
        let block_size_bytes = BLOCK_BYTES;
        let spec = NullSpec { name, uuid: None, block_size_bytes, num_blocks: REGIONS };
        Ok(Some(NullBdev::create(spec)?))
    };
    let spec = RaidSpec {
        name: "wide".to_owned(),
        uuid: None,
        level: Level::Raid5,
        layout: Layout::LeftSymmetric,
        strip_bytes: BLOCK_BYTES,
        data_offsets_bytes: vec![0; MEMBERS],
        members: (0..MEMBERS).map(member).collect::<Result<_>>()?,
        assume_clean,
        options: RaidOptions {
            log: Some(Arc::clone(log)),
            region_bytes: Some(u64::from(BLOCK_BYTES)),
            // The log of the array before it.
            force: true,
            // Members that hold nothing have no parity to be made right.
            tuning: Tuning { frozen: true, ..Tuning::default() },
            ..RaidOptions::default()
        },
    };
    let (took, raid) = timed(|| RaidBdev::create(bench.reactors, spec));
    let raid = raid?;
    let seen = raid.snapshot();
    let counts = (seen.regions, seen.regions_dirty);
    raid.stop()?;
    if counts != (REGIONS, dirty) {
        return Err(
            format!("{counts:?} regions and dirty ones, expected {REGIONS}, {dirty}").into()
        );
    }
    Ok(took)
}
