//! `raid456 top`: what goes on, again and again: cores, arrays, members, percentiles of latencies.
//!
//! ```text
//!   status --interval--> status: differences of counters --> a frame, or a line of JSON
//! ```
//!
//! On a terminal each frame takes the place of the one before; elsewhere they follow each other.
//!
//! Not here: the numbers (`crate::status`).

use std::error::Error;
use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::status::{AskArgs, ask, connect, headline, picture, progress};
use super::{print, units};
use crate::status::{ArrayStatus, IoStatus, OpStatus, ReactorStatus, Status};

/// Columns of a bar.
const BAR: usize = 20;

/// Home, and nothing below.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Arguments of `raid456 top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the description of the command")]
    pub ask: AskArgs,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1.0)]
    pub interval: f64,
    /// Frames to show [default: until SIGINT]
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// Only these arrays
    #[arg(value_name = "ARRAY")]
    pub arrays: Vec<String>,
    /// Do not show members
    #[arg(long)]
    pub no_members: bool,
    /// Print each frame as one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// What happened in one interval.
#[derive(Debug, PartialEq, Serialize)]
struct Frame {
    interval_s: f64,
    health: crate::status::Health,
    /// Whether every reactor has answered. Where one has not, nothing is known of what was done.
    whole: bool,
    reactors: Vec<CoreUse>,
    arrays: Vec<ArrayUse>,
}

/// How a core was used.
#[derive(Debug, PartialEq, Serialize)]
struct CoreUse {
    core: usize,
    busy: f64,
    idle: f64,
    asleep: f64,
}

/// What was done with an array.
#[derive(Debug, PartialEq, Serialize)]
struct ArrayUse {
    name: String,
    state: String,
    sync_action: String,
    sync_delayed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_ratio: Option<f64>,
    #[serde(flatten)]
    io: Option<IoUse>,
    members: Vec<MemberUse>,
    #[serde(skip)]
    picture: String,
    #[serde(skip)]
    progress: Option<String>,
}

/// What was done with a member.
#[derive(Debug, PartialEq, Serialize)]
struct MemberUse {
    slot: usize,
    name: Option<String>,
    state: String,
    errors: u64,
    #[serde(flatten)]
    io: Option<IoUse>,
}

#[derive(Debug, PartialEq, Serialize)]
struct IoUse {
    read: OpUse,
    write: OpUse,
}

/// Rates of one kind of requests.
#[derive(Debug, PartialEq, Serialize)]
struct OpUse {
    ops_per_s: f64,
    bytes_per_s: f64,
    queue_depth: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_us: Option<f64>,
}

/// Shows frames.
///
/// # Errors
///
/// A service that is not there any more, an interval that is none.
pub fn run(args: TopArgs) -> Result<ExitCode, Box<dyn Error>> {
    if !(0.05..=3600.0).contains(&args.interval) {
        return Err(format!("--interval {}: give 0.05 to 3600 seconds", args.interval).into());
    }
    let mut client = connect(&args.ask)?;
    let mut last = Last::new(ask(&mut client)?);
    for name in &args.arrays {
        if !last.seen.arrays.iter().any(|array| array.name == *name) {
            return Err(format!("there is no array {name:?}: raid456 status lists them").into());
        }
    }
    let clear = if std::io::stdout().is_terminal() && !args.json { CLEAR } else { "" };
    // Nobody ever sends: it is there to be waited for.
    let (_keep, never) = mpsc::channel::<()>();
    for _ in 0..args.count.unwrap_or(u64::MAX) {
        let _ = never.recv_timeout(Duration::from_secs_f64(args.interval));
        let now = ask(&mut client)?;
        let frame = Frame::between(&last, &now, &args.arrays);
        match args.json {
            true => print(&serde_json::to_string(&frame)?)?,
            false => print(&format!("{clear}{}\n", text(&frame, &now, !args.no_members)))?,
        }
        last.next(now);
    }
    Ok(ExitCode::SUCCESS)
}

/// What was seen before, to take differences of.
struct Last {
    seen: Status,
    /// The last one in which every reactor has answered, if it is not the last: one that is silent takes
    /// what it did out of every sum, and would bring it back in a leap.
    whole: Option<Status>,
}

impl Last {
    fn new(seen: Status) -> Self {
        Self { seen, whole: None }
    }

    fn next(&mut self, now: Status) {
        let before = std::mem::replace(&mut self.seen, now);
        match (self.seen.whole, before.whole) {
            (true, _) => self.whole = None,
            (false, true) => self.whole = Some(before),
            (false, false) => {}
        }
    }

    /// What sums of now can be compared with.
    fn comparable(&self) -> Option<&Status> {
        if self.seen.whole { Some(&self.seen) } else { self.whole.as_ref() }
    }
}

impl Frame {
    fn between(last: &Last, now: &Status, wanted: &[String]) -> Self {
        let before = last.comparable().filter(|_| now.whole);
        let since_ns = before.map_or(last.seen.at_ns, |before| before.at_ns);
        let interval_s = now.at_ns.saturating_sub(since_ns) as f64 / 1e9;
        let cores = now.reactors.iter().map(|reactor| {
            let earlier = last.seen.reactors.iter().find(|earlier| earlier.core == reactor.core);
            CoreUse::between(earlier.unwrap_or(reactor), reactor)
        });
        let is_wanted = |array: &&ArrayStatus| wanted.is_empty() || wanted.contains(&array.name);
        let arrays = now.arrays.iter().filter(is_wanted).map(|array| {
            // One that was made meanwhile has done all that it did in this interval.
            let earlier = before
                .map(|before| before.arrays.iter().find(|earlier| earlier.uuid == array.uuid));
            ArrayUse::between(earlier, array, interval_s)
        });
        Self {
            interval_s,
            health: now.health,
            whole: now.whole,
            reactors: cores.collect(),
            arrays: arrays.collect(),
        }
    }
}

impl CoreUse {
    fn between(before: &ReactorStatus, now: &ReactorStatus) -> Self {
        let spent = |now: u64, before: u64| now.saturating_sub(before) as f64;
        let busy = spent(now.busy_ns, before.busy_ns);
        let idle = spent(now.idle_ns, before.idle_ns);
        let asleep = spent(now.asleep_ns, before.asleep_ns);
        // One long turn or sleep is counted at its end only, so parts are of what was counted.
        let all = (busy + idle + asleep).max(1.0);
        Self { core: now.core, busy: busy / all, idle: idle / all, asleep: asleep / all }
    }
}

impl ArrayUse {
    /// Without numbers where there is nothing to compare them with: `before` is none.
    fn between(before: Option<Option<&ArrayStatus>>, now: &ArrayStatus, interval_s: f64) -> Self {
        let members = now.members.iter().enumerate().map(|(slot, member)| {
            let since = |array: Option<&ArrayStatus>| {
                let earlier = array.and_then(|array| array.members.get(slot));
                let earlier = earlier.filter(|earlier| earlier.name == member.name);
                IoUse::between(earlier.map(|earlier| &earlier.io), &member.io, interval_s)
            };
            MemberUse {
                slot,
                name: member.name.clone(),
                state: member.state.clone(),
                errors: member.errors,
                io: before.map(since),
            }
        });
        Self {
            name: now.name.clone(),
            state: now.state.to_string(),
            sync_action: now.sync_action.clone(),
            sync_delayed: now.sync_delayed,
            sync_ratio: now.sync.as_ref().map(crate::status::SyncStatus::ratio),
            io: before
                .map(|array| IoUse::between(array.map(|array| &array.io), &now.io, interval_s)),
            members: members.collect(),
            picture: picture(now),
            progress: progress(now, BAR),
        }
    }
}

impl IoUse {
    fn between(before: Option<&IoStatus>, now: &IoStatus, interval_s: f64) -> Self {
        let read = before.map(|io| &io.read);
        let write = before.map(|io| &io.write);
        Self {
            read: OpUse::between(read, &now.read, interval_s),
            write: OpUse::between(write, &now.write, interval_s),
        }
    }
}

impl OpUse {
    fn between(before: Option<&OpStatus>, now: &OpStatus, interval_s: f64) -> Self {
        let nothing = OpStatus::default();
        // Counters that were reset meanwhile begin again at nothing.
        let before = before.filter(|before| before.ops <= now.ops).unwrap_or(&nothing);
        let per_s = |now: u64, before: u64| {
            if interval_s > 0.0 { now.saturating_sub(before) as f64 / interval_s } else { 0.0 }
        };
        let earlier = |bucket: usize| before.latencies.get(bucket).copied().unwrap_or(0);
        let latencies: Vec<u64> = now
            .latencies
            .iter()
            .enumerate()
            .map(|(bucket, count)| count.saturating_sub(earlier(bucket)))
            .collect();
        Self {
            ops_per_s: per_s(now.ops, before.ops),
            bytes_per_s: per_s(now.bytes, before.bytes),
            queue_depth: per_s(now.time_ns, before.time_ns) / 1e9,
            p50_us: units::quantile(&latencies, 0.5),
            p99_us: units::quantile(&latencies, 0.99),
        }
    }
}

fn text(frame: &Frame, status: &Status, with_members: bool) -> String {
    let mut text = headline(status);
    let mut line = |words: String| {
        // Writing into a string does not fail.
        let _ = write!(text, "\n{}", words.trim_end());
    };
    for core in &frame.reactors {
        let (busy, asleep) = (core.busy * 100.0, core.asleep * 100.0);
        let bar = units::bar(core.busy, BAR);
        line(format!("core {:<4} {bar} {busy:3.0} % busy, {asleep:.0} % asleep", core.core));
    }
    if !frame.whole {
        line("a reactor does not answer: what was done is not known".to_owned());
    }
    line(String::new());
    line(format!(
        "{:<26} {:>8} {:>12} {:>9} {:>9} {:>8} {:>12} {:>9} {:>9}",
        "", "reads/s", "read/s", "p50", "p99", "writes/s", "written/s", "p50", "p99"
    ));
    for array in &frame.arrays {
        line(format!("{} {} [{}]", array.name, array.state, array.picture));
        if let Some(progress) = &array.progress {
            line(format!("  {progress}"));
        }
        line(row("  hosts", array.io.as_ref()));
        for member in array.members.iter().filter(|_| with_members) {
            let name = member.name.as_deref().unwrap_or("-");
            let note = if member.state == "in_sync" { "" } else { &*member.state };
            let errors = match member.errors {
                0 => String::new(),
                errors => format!(" {errors} errors"),
            };
            let title = format!("  {:<3} {name}", member.slot);
            line(format!("{}  {note}{errors}", row(&title, member.io.as_ref())));
        }
    }
    text
}

fn row(title: &str, io: Option<&IoUse>) -> String {
    let Some(io) = io else { return format!("{title:<26} {:>8}", "-") };
    let part = |op: &OpUse| {
        format!(
            "{:>8} {:>12} {:>9} {:>9}",
            units::count(op.ops_per_s),
            units::size(op.bytes_per_s),
            units::latency(op.p50_us),
            units::latency(op.p99_us)
        )
    };
    format!("{title:<26} {} {}", part(&io.read), part(&io.write))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn op(ops: u64, latencies: Vec<u64>) -> OpStatus {
        OpStatus { ops, bytes: ops * 4096, time_ns: ops * 1000, latencies }
    }

    /// Goal: rates are of the interval, also for what has begun or begun again in it.
    #[test]
    fn rates_are_of_the_interval() {
        let (before, now) = (op(10, vec![10, 0]), op(30, vec![10, 20]));
        let during = OpUse::between(Some(&before), &now, 2.0);
        assert_eq!((during.ops_per_s, during.bytes_per_s), (10.0, 40960.0));
        assert_eq!(during.queue_depth, 1e-5);
        assert_eq!((during.p50_us, during.p99_us), (Some(1.5), Some(1.99)));
        assert_eq!(OpUse::between(None, &now, 2.0).ops_per_s, 15.0);
        assert_eq!(OpUse::between(Some(&now), &before, 2.0).ops_per_s, 5.0);
        assert_eq!(OpUse::between(Some(&now), &now, 0.0).ops_per_s, 0.0);
        assert_eq!(OpUse::between(Some(&now), &now, 1.0).p99_us, None);
    }

    fn status(at_s: u64, whole: bool, ops: u64) -> Status {
        let io = json!({ "read": op(ops, Vec::new()), "write": op(0, Vec::new()) });
        let array = json!({
            "name": "r", "uuid": "u", "level": "raid5", "layout": "ls", "size_bytes": 1,
            "strip_bytes": 1, "state": "online", "writes_held": false, "spares": [],
            "members": [{ "name": "a", "state": "in_sync", "errors": 0, "io": io }],
            "sync_action": "idle", "mismatches": 0, "io": io,
            "log": { "state": "alive", "regions": 0, "dirty_regions": 0, "in_sync_regions": 0,
                     "region_bytes": 0 },
            "work": { "stripe_writes": [0, 0, 0, 0, 0], "degraded_reads": 0, "read_repairs": 0 },
        });
        let status = json!({
            "version": "", "pid": 1, "at_unix_ms": 0, "at_ns": at_s * 1_000_000_000, "started": true,
            "health": "healthy", "reasons": [], "whole": whole, "reactors": [], "arrays": [array],
            "spares": [], "events": [],
        });
        serde_json::from_value(status).unwrap()
    }

    /// Goal: while a reactor is silent no rate is shown, and afterwards there is no leap: rates are over
    /// all of the time since the last sums that were right. Method: half of 100 reads a second are on a
    /// reactor that does not answer for two looks, or not from the first on.
    #[test]
    fn a_silent_reactor_makes_no_leap() {
        for (looks, expected) in [
            (
                &[(0, true, 0), (1, true, 100), (2, false, 100), (3, false, 150), (4, true, 400)][..],
                &[Some(100.0), None, None, Some(100.0)][..],
            ),
            (
                &[(0, false, 0), (1, false, 50), (2, true, 200), (3, true, 300)],
                &[None, None, Some(100.0)],
            ),
        ] {
            let mut looks = looks.iter().map(|&(at_s, whole, ops)| status(at_s, whole, ops));
            let mut last = Last::new(looks.next().unwrap());
            let mut told = Vec::new();
            for now in looks {
                let frame = Frame::between(&last, &now, &[]);
                let rate = |io: &Option<IoUse>| io.as_ref().map(|io| io.read.ops_per_s);
                let (array, member) = (&frame.arrays[0], &frame.arrays[0].members[0]);
                assert_eq!(rate(&array.io), rate(&member.io));
                assert_eq!(text(&frame, &now, true).contains("does not answer"), !now.whole);
                told.push(rate(&array.io));
                last.next(now);
            }
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn cores_are_used_in_parts() {
        let at = |busy_ns, idle_ns, asleep_ns| ReactorStatus {
            core: 3,
            answers: true,
            busy_ns,
            idle_ns,
            asleep_ns,
        };
        let used = CoreUse::between(&at(10, 10, 10), &at(40, 20, 70));
        assert_eq!((used.core, used.busy, used.idle, used.asleep), (3, 0.3, 0.1, 0.6));
    }
}
