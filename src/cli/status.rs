//! `raid456 status`: how everything is, once, for people and for monitoring scripts.
//!
//! Exit codes are those of Nagios's plugins, which most monitoring takes: 0 healthy, 1 warning (degraded, or
//! wrong parity was found), 2 critical (failed, not running, writes held, log failed, a reactor hangs), 3
//! unknown (the service does not answer). The first line says why.
//!
//! Not here: the judgement (`crate::status`), numbers over time (`top`).

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use rpc::Client;

use super::{SOCKET_PATH, SOCKET_VARIABLE, print, units};
use crate::status::{ArrayStatus, Health, Status};

/// The exit code of a service that cannot be asked.
const UNKNOWN: u8 = 3;

/// Columns of a progress bar.
const BAR: usize = 30;

/// Where to ask, which `status` and `top` share.
#[derive(Debug, Clone, Args)]
pub struct AskArgs {
    /// Unix socket of the service
    #[arg(short, long, value_name = "PATH", default_value = SOCKET_PATH, env = SOCKET_VARIABLE)]
    pub socket: PathBuf,
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
    let path: &Path = &args.socket;
    Ok(Client::connect(path)?.with_time_limit(Duration::from_secs(args.timeout)))
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
    match &status.reasons[..] {
        [] => {
            let arrays = status.arrays.len();
            let plural = if arrays == 1 { "" } else { "s" };
            format!("{word}: {arrays} array{plural}, all members in sync{starting}")
        }
        reasons => format!("{word}: {}{starting}", reasons.join("; ")),
    }
}

fn text(status: &Status) -> String {
    let mut text = headline(status);
    for array in &status.arrays {
        text.push_str("\n\n");
        push_array(&mut text, array);
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

/// What goes on in the background, if anything does.
pub(super) fn progress(array: &ArrayStatus, width: usize) -> Option<String> {
    let sync = array.sync.as_ref()?;
    let left = sync.eta_s.map_or("no end in sight".to_owned(), |s| units::clock(s) + " left");
    Some(format!(
        "{} {} {:.1} %  {}/s  {left}",
        array.sync_action,
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
    } else if array.sync_action != "idle" {
        push(format_args!("\n  {}", array.sync_action));
    }
    for (slot, member) in array.members.iter().enumerate() {
        let name = member.name.as_deref().unwrap_or("-");
        push(format_args!("\n  slot {slot:<3} {name:<24} {:<10}", member.state));
        if member.errors > 0 {
            push(format_args!(" {} errors", member.errors));
        }
    }
    let log = &array.log;
    if let Some(bdev) = &log.bdev {
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
