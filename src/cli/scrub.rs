//! `raid456 scrub`: a check of arrays, from the beginning to its end, as a timer starts it once a month.
//!
//! ```text
//!   online, idle  --check--> under way --idle again--> ended: how much parity is wrong
//!   anything else --> left out, with the reason     `--> broken off: something else came in between
//! ```
//!
//! All of them are asked at once: arrays that share a device take turns by themselves, and rates are the
//! arrays' own. Exit code 0: everything that was checked is right; 1: wrong parity, a check that was refused
//! or broken off, or an array that was named and left out.
//!
//! Not here: the check (crate `raid`).

use std::error::Error;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use rpc::{Client, ClientError};
use serde_json::json;

use super::print;
use super::socket::SocketArgs;
use super::status::ask;
use crate::limits;
use crate::status::{ArrayStatus, Status};

/// What a method says of an array that it does not know: `ENODEV`.
const NO_SUCH_DEVICE: i64 = -19;

/// Arguments of `raid456 scrub`.
#[derive(Debug, Args)]
pub struct ScrubArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the description of the command")]
    pub socket: SocketArgs,
    /// Seconds to wait for each answer
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    pub timeout: u64,
    /// Do not wait until the checks have ended
    #[arg(long)]
    pub no_wait: bool,
    /// Only these arrays [default: all that are online and idle]
    #[arg(value_name = "ARRAY")]
    pub arrays: Vec<String>,
}

/// What becomes of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It is not to be checked now.
    LeftOut(String),
    /// The service does not want to.
    Refused(String),
    /// It has begun.
    UnderWay,
    /// Sectors with wrong parity.
    Ended { mismatches: u64 },
    /// It did not come to its end.
    BrokenOff(String),
}

/// What the service says of an array, as far as it matters here.
#[derive(Debug, Clone, Copy)]
struct Seen<'a> {
    state: &'a str,
    action: &'a str,
    checked_unix_ms: Option<u64>,
    mismatches: u64,
}

impl<'a> From<&'a ArrayStatus> for Seen<'a> {
    fn from(array: &'a ArrayStatus) -> Self {
        Self {
            state: array.state.word(),
            action: &array.sync_action,
            checked_unix_ms: array.checked_unix_ms,
            mismatches: array.mismatches,
        }
    }
}

/// Whether an array is to be checked, and if not, why.
fn judge(seen: Seen<'_>) -> Result<(), String> {
    match (seen.state, seen.action) {
        ("online", "idle") => Ok(()),
        ("online", action) => Err(action.to_owned()),
        (state, _) => Err(state.to_owned()),
    }
}

/// A check that is waited for.
#[derive(Debug)]
struct Pending {
    array: String,
    /// When the last one before had ended.
    before_unix_ms: Option<u64>,
    /// It was idle at the last look: the action ends a moment before its end is on record.
    was_idle: bool,
}

impl Pending {
    /// What has become of it; `None` while it is under way.
    fn look(&mut self, now: Option<Seen<'_>>) -> Option<Fate> {
        let Some(seen) = now else {
            return Some(Fate::BrokenOff("the array is gone".to_owned()));
        };
        let was_idle = std::mem::replace(&mut self.was_idle, seen.action == "idle");
        match seen.action {
            "check" => None,
            "idle" if seen.checked_unix_ms != self.before_unix_ms => {
                Some(Fate::Ended { mismatches: seen.mismatches })
            }
            "idle" if !was_idle => None,
            action => Some(Fate::BrokenOff(format!("{}, {action}", seen.state))),
        }
    }
}

fn line(name: &str, fate: &Fate) -> String {
    match fate {
        Fate::LeftOut(why) => format!("{name}: left out: {why}"),
        Fate::Refused(why) => format!("{name}: {why}"),
        Fate::UnderWay => format!("{name}: check begun"),
        Fate::Ended { mismatches: 0 } => format!("{name}: all parity is right"),
        Fate::Ended { mismatches } => format!("{name}: {mismatches} sectors with wrong parity"),
        Fate::BrokenOff(why) => format!("{name}: the check did not come to its end: {why}"),
    }
}

/// Checks.
///
/// # Errors
///
/// A service that is not there or goes, and arrays that are not there.
pub fn run(args: ScrubArgs) -> Result<ExitCode, Box<dyn Error>> {
    let mut client = args.socket.connect(Duration::from_secs(args.timeout))?;
    let status = ask(&mut client)?;
    for name in &args.arrays {
        find(&status, name).ok_or_else(|| format!("no array {name:?}"))?;
    }
    let mut well = true;
    let mut waited_for = Vec::new();
    for array in &status.arrays {
        let named = args.arrays.contains(&array.name);
        if !named && !args.arrays.is_empty() {
            continue;
        }
        let fate = begin(&mut client, array)?;
        print(&line(&array.name, &fate))?;
        match fate {
            Fate::LeftOut(_) => well &= !named,
            Fate::UnderWay => waited_for.push(Pending {
                array: array.name.clone(),
                before_unix_ms: array.checked_unix_ms,
                was_idle: false,
            }),
            Fate::Refused(_) | Fate::Ended { .. } | Fate::BrokenOff(_) => well = false,
        }
    }
    if !args.no_wait {
        well &= wait(&mut client, waited_for)?;
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn find<'a>(status: &'a Status, name: &str) -> Option<&'a ArrayStatus> {
    status.arrays.iter().find(|array| array.name == name)
}

fn begin(client: &mut Client, array: &ArrayStatus) -> Result<Fate, Box<dyn Error>> {
    if let Err(why) = judge(array.into()) {
        return Ok(Fate::LeftOut(why));
    }
    let params = json!({ "name": array.name, "message": "check" });
    match client.call("bdev_raid_message", Some(params)) {
        Ok(_) => Ok(Fate::UnderWay),
        // An array in the table of a mapped device is not the methods' of arrays.
        Err(ClientError::Rpc { error, .. }) if error.code == NO_SUCH_DEVICE => {
            Ok(Fate::LeftOut("send its mapped device the message: raid456 dm message".to_owned()))
        }
        Err(ClientError::Rpc { error, .. }) => Ok(Fate::Refused(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Waits for all of them; whether all parity is right.
fn wait(client: &mut Client, mut checks: Vec<Pending>) -> Result<bool, Box<dyn Error>> {
    let mut well = true;
    // Nobody sends: it is a way to sleep.
    let (_nobody, pause) = mpsc::channel::<()>();
    while !checks.is_empty() {
        let _ = pause.recv_timeout(limits::SCRUB_LOOK_EVERY);
        let status = ask(client)?;
        let mut under_way = Vec::new();
        for mut check in checks {
            let Some(fate) = check.look(find(&status, &check.array).map(Seen::from)) else {
                under_way.push(check);
                continue;
            };
            print(&line(&check.array, &fate))?;
            well &= fate == Fate::Ended { mismatches: 0 };
        }
        checks = under_way;
    }
    Ok(well)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Seen<'_> =
        Seen { state: "online", action: "idle", checked_unix_ms: Some(7), mismatches: 0 };

    /// Goal: only what is whole and at rest is checked, and the rest is told why not.
    #[test]
    fn what_is_not_at_rest_is_left_out() {
        assert_eq!(judge(IDLE), Ok(()));
        for (state, action, why) in [
            ("online", "resync", "resync"),
            ("online", "check", "check"),
            ("online", "frozen", "frozen"),
            ("degraded", "recover", "degraded"),
            ("degraded", "idle", "degraded"),
            ("configuring", "idle", "configuring"),
        ] {
            assert_eq!(judge(Seen { state, action, ..IDLE }), Err(why.to_owned()));
        }
    }

    /// Goal: a check has ended when its end is on record, and not before; whatever else it comes to is told.
    #[test]
    fn the_end_of_a_check_is_its_record() {
        let pending = || Pending { array: "r".into(), before_unix_ms: Some(7), was_idle: false };
        let check = Seen { action: "check", ..IDLE };
        let ended = Seen { checked_unix_ms: Some(8), mismatches: 16, ..IDLE };
        let mut one = pending();
        for seen in [check, IDLE, check, IDLE] {
            assert_eq!(one.look(Some(seen)), None, "{seen:?}");
        }
        assert_eq!(one.look(Some(ended)), Some(Fate::Ended { mismatches: 16 }));
        assert_eq!(one.look(Some(IDLE)), Some(Fate::BrokenOff("online, idle".to_owned())));
        let recovers = Seen { state: "degraded", action: "recover", ..ended };
        let broken = Some(Fate::BrokenOff("degraded, recover".to_owned()));
        assert_eq!(pending().look(Some(recovers)), broken);
        assert!(matches!(pending().look(None), Some(Fate::BrokenOff(_))));
    }
}
