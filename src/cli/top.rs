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
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_ratio: Option<f64>,
    #[serde(flatten)]
    io: IoUse,
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
    io: IoUse,
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
    let mut before = ask(&mut client)?;
    for name in &args.arrays {
        if !before.arrays.iter().any(|array| array.name == *name) {
            return Err(format!("there is no array {name:?}: raid456 status lists them").into());
        }
    }
    let clear = if std::io::stdout().is_terminal() && !args.json { CLEAR } else { "" };
    // Nobody ever sends: it is there to be waited for.
    let (_keep, never) = mpsc::channel::<()>();
    for _ in 0..args.count.unwrap_or(u64::MAX) {
        let _ = never.recv_timeout(Duration::from_secs_f64(args.interval));
        let now = ask(&mut client)?;
        let frame = Frame::between(&before, &now, &args.arrays);
        match args.json {
            true => print(&serde_json::to_string(&frame)?)?,
            false => print(&format!("{clear}{}\n", text(&frame, &now, !args.no_members)))?,
        }
        before = now;
    }
    Ok(ExitCode::SUCCESS)
}

impl Frame {
    fn between(before: &Status, now: &Status, wanted: &[String]) -> Self {
        let interval_s = now.at_ns.saturating_sub(before.at_ns) as f64 / 1e9;
        let cores = now.reactors.iter().map(|reactor| {
            let earlier = before.reactors.iter().find(|earlier| earlier.core == reactor.core);
            CoreUse::between(earlier.unwrap_or(reactor), reactor)
        });
        let is_wanted = |array: &&ArrayStatus| wanted.is_empty() || wanted.contains(&array.name);
        let arrays = now.arrays.iter().filter(is_wanted).map(|array| {
            // One that was made meanwhile has done all that it did in this interval.
            let earlier = before.arrays.iter().find(|earlier| earlier.uuid == array.uuid);
            ArrayUse::between(earlier, array, interval_s)
        });
        Self { interval_s, health: now.health, reactors: cores.collect(), arrays: arrays.collect() }
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
    fn between(before: Option<&ArrayStatus>, now: &ArrayStatus, interval_s: f64) -> Self {
        let members = now.members.iter().enumerate().map(|(slot, member)| {
            let earlier = before.and_then(|array| array.members.get(slot));
            let earlier = earlier.filter(|earlier| earlier.name == member.name);
            MemberUse {
                slot,
                name: member.name.clone(),
                state: member.state.clone(),
                errors: member.errors,
                io: IoUse::between(earlier.map(|earlier| &earlier.io), &member.io, interval_s),
            }
        });
        Self {
            name: now.name.clone(),
            state: now.state.clone(),
            sync_action: now.sync_action.clone(),
            sync_ratio: now.sync.as_ref().map(crate::status::SyncStatus::ratio),
            io: IoUse::between(before.map(|array| &array.io), &now.io, interval_s),
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
        line(row("  hosts", &array.io));
        for member in array.members.iter().filter(|_| with_members) {
            let name = member.name.as_deref().unwrap_or("-");
            let note = if member.state == "in_sync" { "" } else { &*member.state };
            let errors = match member.errors {
                0 => String::new(),
                errors => format!(" {errors} errors"),
            };
            let title = format!("  {:<3} {name}", member.slot);
            line(format!("{}  {note}{errors}", row(&title, &member.io)));
        }
    }
    text
}

fn row(title: &str, io: &IoUse) -> String {
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
