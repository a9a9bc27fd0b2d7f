//! `raid456 status`: how everything is, once, for people and for monitoring scripts.
//!
//! Exit codes are those of Nagios's plugins, which most monitoring takes: 0 healthy, 1 warning (degraded,
//! without its log, or wrong parity was found), 2 critical (failed, not running, writes held, log failed, a
//! reactor hangs, a call of configuration or state cannot be made), 3 unknown (the service does not
//! answer). The first line says why, and what goes on.
//!
//! Not here: the judgement (`crate::status`), numbers over time (`top`).

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use rpc::Client;

use super::socket::SocketArgs;
use super::{print, units};
use crate::metrics::LOG_MISSING;
use crate::status::{ArrayStatus, Health, KeptStatus, Status};

/// The exit code of a service that cannot be asked.
const UNKNOWN: u8 = 3;

/// Arrays that the first line names for what they do in the background.
const ACTIONS_TOLD_MAX: usize = 4;

/// Columns of a progress bar.
const BAR: usize = 30;

/// Where to ask, which `status` and `top` share.
#[derive(Debug, Clone, Args)]
pub struct AskArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the description of the command")]
    pub socket: SocketArgs,
    /// Seconds to wait for an answer
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    pub timeout: u64,
}

/// Arguments of `raid456 status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the description of the command")]
    pub ask: AskArgs,
    /// Print everything that is known as JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints the status.
///
/// # Errors
///
/// None: what cannot be told is exit code 3.
pub fn run(args: StatusArgs) -> Result<ExitCode, Box<dyn Error>> {
    let asked = connect(&args.ask).and_then(|mut client| ask(&mut client));
    let status = match asked {
        Ok(status) => status,
        Err(error) => {
            eprintln!("raid456: UNKNOWN: {error}");
            return Ok(ExitCode::from(UNKNOWN));
        }
    };
    match args.json {
        true => print(&serde_json::to_string_pretty(&status)?)?,
        false => print(&text(&status))?,
    }
    Ok(ExitCode::from(code(status.health)))
}

fn code(health: Health) -> u8 {
    match health {
        Health::Healthy => 0,
        Health::Warning => 1,
        Health::Critical => 2,
    }
}

pub(super) fn connect(args: &AskArgs) -> Result<Client, Box<dyn Error>> {
    Ok(args.socket.connect(Duration::from_secs(args.timeout))?)
}

pub(super) fn ask(client: &mut Client) -> Result<Status, Box<dyn Error>> {
    Ok(serde_json::from_value(client.call("raid456_get_status", None)?)?)
}

/// The line that says how it is, and why.
pub(super) fn headline(status: &Status) -> String {
    let word = match status.health {
        Health::Healthy => "OK",
        Health::Warning => "WARNING",
        Health::Critical => "CRITICAL",
    };
    let starting = if status.started { "" } else { ", starting" };
    let how = match &status.reasons[..] {
        [] => {
            let arrays = status.arrays.len();
            let plural = if arrays == 1 { "" } else { "s" };
            format!("{arrays} array{plural}, all members in sync")
        }
        reasons => reasons.join("; "),
    };
    let actions: Vec<_> = status.arrays.iter().filter_map(action).collect();
    let actions = match actions.len() {
        0 => String::new(),
        more if more > ACTIONS_TOLD_MAX => format!("; {more} arrays are at work in the background"),
        _ => format!("; {}", actions.join("; ")),
    };
    format!("{word}: {how}{actions}{starting}")
}

/// What an array does in the background, in a few words.
fn action(array: &ArrayStatus) -> Option<String> {
    let (name, action) = (&array.name, &array.sync_action);
    match &array.sync {
        Some(sync) => Some(format!("{name}: {action} {:.1} %", sync.ratio() * 100.0)),
        None if array.sync_delayed => Some(format!("{name}: {action} delayed")),
        None => None,
    }
}

fn text(status: &Status) -> String {
    let mut text = headline(status);
    for array in &status.arrays {
        text.push_str("\n\n");
        push_array(&mut text, array);
    }
    for KeptStatus { source, method, bdev, reason } in &status.kept {
        // Writing into a string does not fail.
        let _ = write!(text, "\n\nof the {source}, not made yet: {method} {bdev}\n  {reason}");
    }
    if !status.spares.is_empty() {
        // Writing into a string does not fail.
        let _ = write!(text, "\n\nspares of any array: {}", status.spares.join(" "));
    }
    text
}

/// md's picture of the members: U in sync, _ not.
pub(super) fn picture(array: &ArrayStatus) -> String {
    let letter = |state: &str| if state == "in_sync" { 'U' } else { '_' };
    array.members.iter().map(|member| letter(&member.state)).collect()
}

/// What goes on in the background, or would, if anything does.
pub(super) fn progress(array: &ArrayStatus, width: usize) -> Option<String> {
    let action = &array.sync_action;
    let Some(sync) = &array.sync else {
        return match &array.sync_delayed_behind {
            Some(other) => Some(format!("{action}, delayed until {other} has finished")),
            None if array.sync_delayed => Some(format!("{action}, delayed")),
            None => (action != "idle").then(|| action.clone()),
        };
    };
    let left = sync.eta_s.map_or("no end in sight".to_owned(), |s| units::clock(s) + " left");
    Some(format!(
        "{action} {} {:.1} %  {}/s  {left}",
        units::bar(sync.ratio(), width),
        sync.ratio() * 100.0,
        units::size(sync.speed_bytes_per_s as f64),
    ))
}

fn push_array(text: &mut String, array: &ArrayStatus) {
    let mut push = |line: std::fmt::Arguments<'_>| {
        // Writing into a string does not fail.
        let _ = write!(text, "{line}");
    };
    push(format_args!(
        "{}: {} {}, strip {}, {}, {} [{}]",
        array.name,
        array.level,
        array.layout,
        units::size(array.strip_bytes.into()),
        units::size(array.size_bytes as f64),
        array.state,
        picture(array)
    ));
    if !array.reason.is_empty() {
        push(format_args!("\n  it does not run: {}", array.reason));
    }
    if let Some(progress) = progress(array, BAR) {
        push(format_args!("\n  {progress}"));
    }
    for (slot, member) in array.members.iter().enumerate() {
        let name = member.name.as_deref().unwrap_or("-");
        push(format_args!("\n  slot {slot:<3} {name:<24} {:<10}", member.state));
        if member.errors > 0 {
            push(format_args!(" {} errors", member.errors));
        }
    }
    let log = &array.log;
    if let Some(bdev) = log.bdev.as_ref().filter(|_| log.state == LOG_MISSING) {
        push(format_args!("\n  log {bdev}: {LOG_MISSING}"));
    } else if let Some(bdev) = &log.bdev {
        let (dirty, regions) = (log.dirty_regions, log.regions);
        push(format_args!("\n  log {bdev}: {}, {dirty} of {regions} regions dirty", log.state));
    }
    if !array.spares.is_empty() {
        push(format_args!("\n  spares: {}", array.spares.join(" ")));
    }
    if array.mismatches > 0 {
        push(format_args!("\n  {} sectors with wrong parity", array.mismatches));
    }
}
