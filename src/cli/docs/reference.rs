//! The tables of `deploy/CONFIGURATION.md` that are made of the program: options of `serve`, and bounds.
//!
//! Not here: the text around them.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, CommandFactory};

use super::super::Cli;
use crate::{dm, limits, nvmf};

/// An option as people write it, and what it is for.
fn row(arg: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(arg.get_short().map(|short| format!("`-{short}`")));
    names.extend(arg.get_long().map(|long| format!("`--{long}`")));
    names.extend(arg.get_visible_aliases().into_iter().flatten().map(|name| format!("`--{name}`")));
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let value = arg.get_value_names().filter(|_| takes_value).map(|names| names[0].to_string());
    let choices = arg.get_possible_values();
    let choices: Vec<_> =
        choices.iter().filter(|_| takes_value).map(|one| one.get_name()).collect();
    let value = if choices.is_empty() { value.unwrap_or_default() } else { choices.join(", ") };
    let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy());
    let defaults: Vec<_> = defaults.filter(|_| takes_value).collect();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let cells = [names.join(", "), value, defaults.join(", "), help];
    format!("| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

fn options() -> String {
    let mut cli = Cli::command();
    cli.build();
    let serve = cli.find_subcommand("serve").expect("there is serve");
    let rows = |command: &Command| {
        let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
        let shown = shown.filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()));
        shown.map(row).collect::<Vec<_>>()
    };
    let head = "| option | value | default | |\n|---|---|---|---|\n".to_owned();
    head + &rows(serve).join("\n") + "\n"
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        _ if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes as f64 / 1024.0),
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// What, how much, and what happens beyond it.
type Bound = (&'static str, String, &'static str);

const REFUSED: &str = "refused";
const WAITS: &str = "waits";

/// Of arrays and of the bdevs below them.
fn bounds_of_arrays() -> Vec<Bound> {
    let (min, max) = (::raid::limits::MEMBERS_MIN, ::raid::limits::MEMBERS_MAX);
    let strip = [::raid::limits::STRIP_BYTES_MIN, ::raid::limits::STRIP_BYTES_MAX];
    let strip = strip.map(|bytes| size(bytes.into())).join(" to ");
    let scratch = [::raid::limits::SCRATCH_BYTES_MIN, ::raid::limits::SCRATCH_BYTES_MAX];
    let scratch = scratch.map(|bytes| size(bytes as u64)).join(" to ");
    let timeout = format!("{} s", array::limits::IO_TIMEOUT_S);
    vec![
        ("cores", reactor::limits::CORES_MAX.to_string(), REFUSED),
        ("buffers of a reactor", size(limits::BUFFER_BYTES_PER_REACTOR as u64), WAITS),
        ("bdevs", limits::BDEVS_MAX.to_string(), REFUSED),
        ("name of a bdev", size(limits::NAME_BYTES_MAX as u64), REFUSED),
        ("members of an array", format!("{min} to {max}"), REFUSED),
        ("strip of an array", strip, REFUSED),
        ("time a request may be with a member, by default", timeout, "the member is given up"),
        ("injections of an error bdev", device::limits::INJECTIONS_MAX.to_string(), REFUSED),
        ("lines of a table", dm::table::TARGETS_MAX.to_string(), REFUSED),
        ("suspending a mapped device", seconds(limits::SUSPEND_TIME_LIMIT), REFUSED),
        ("flush of one bdev at the end", seconds(limits::FLUSH_TIME_LIMIT), "exit code 1"),
        ("of an array on each reactor: buffers", scratch, WAITS),
        ("users", array::limits::CLIENTS_MAX.to_string(), REFUSED),
        ("requests of hosts", array::limits::HOSTS_MAX.to_string(), WAITS),
        ("stripe operations", ::raid::limits::STRIPE_OPS_MAX.to_string(), WAITS),
        ("requests at one member", array::limits::MEMBER_IN_FLIGHT_MAX.to_string(), WAITS),
        ("regions that it may write in", ::raid::limits::LEASES_MAX.to_string(), WAITS),
        ("requests followed", array::limits::TRACED_IN_FLIGHT_MAX.to_string(), "not followed"),
    ]
}

/// Of clients and hosts.
fn bounds_of_clients() -> Vec<Bound> {
    use nvmf::limits as target;
    let namespaces = [target::NAMESPACES_MAX, target::NAMESPACES_BOUND];
    let namespaces = namespaces.map(|count| count.to_string()).join(", if asked for ");
    let queues = format!("{}, {}", target::IO_QUEUES_MAX, target::QUEUE_ENTRIES_MAX);
    vec![
        ("configuration file", size(limits::CONFIG_BYTES_MAX), REFUSED),
        ("events that are kept", limits::EVENTS_KEPT_MAX.to_string(), "the oldest go"),
        ("connections of the RPC socket", ::rpc::limits::CONNECTIONS_MAX.to_string(), WAITS),
        ("request of a client", size(::rpc::limits::REQUEST_BYTES_MAX as u64), REFUSED),
        ("answer", size(::rpc::limits::RESPONSE_BYTES_MAX as u64), "an error"),
        ("calls that wait", ::rpc::limits::WAITING_CALLS_MAX.to_string(), REFUSED),
        ("connections for metrics", limits::HTTP_CONNECTIONS_MAX.to_string(), "a silent one goes"),
        ("keys of the keyring", limits::KEYS_MAX.to_string(), REFUSED),
        ("NVMe subsystems", target::SUBSYSTEMS_MAX.to_string(), REFUSED),
        ("of a subsystem: namespaces", namespaces, REFUSED),
        ("hosts", target::HOSTS_MAX.to_string(), REFUSED),
        ("controllers", target::CONTROLLERS_MAX.to_string(), REFUSED),
        ("listeners", target::LISTENERS_MAX.to_string(), REFUSED),
        ("I/O queues of a controller, entries of a queue", queues, REFUSED),
        ("transfer of one command", size(target::TRANSFER_BYTES_MAX.into()), REFUSED),
        ("connections of the target", limits::NVMF_CONNECTIONS_MAX.to_string(), REFUSED),
        (
            "buffers of the target on each reactor",
            size(limits::NVMF_BUFFER_BYTES_PER_REACTOR as u64),
            WAITS,
        ),
    ]
}

fn bounds() -> String {
    let mut table = String::from("| what | bound | beyond it |\n|---|---|---|\n");
    for (what, bound, beyond) in [bounds_of_arrays(), bounds_of_clients()].concat() {
        // Writing into a string does not fail.
        let _ = writeln!(table, "| {what} | {bound} | {beyond} |");
    }
    table
}

/// Puts a table between its comments.
fn put(document: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- {name} -->\n");
    let (before, rest) = document.split_once(&begin).expect("its comment");
    let (_, after) = rest.split_once("<!-- end -->").expect("its end");
    format!("{before}{begin}{table}<!-- end -->{after}")
}

/// Goal: the reference says what the program does. Method: with `RAID456_BLESS=1` the tables are written
/// instead of compared.
#[test]
fn the_reference_of_the_configuration_is_the_programs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/CONFIGURATION.md");
    let found = fs::read_to_string(&path).unwrap();
    let made = put(&put(&found, "options", &options()), "bounds", &bounds());
    if std::env::var("RAID456_BLESS").is_ok() {
        fs::write(&path, made).unwrap();
        return;
    }
    assert!(found == made, "deploy/CONFIGURATION.md is not what the program does: RAID456_BLESS=1");
}

/// Goal: the guide's table of memory speaks of the bounds that there are.
#[test]
fn the_guide_knows_how_much_memory_is_needed() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/GUIDE.md");
    let guide = fs::read_to_string(guide).unwrap();
    let table = guide.split("### How much memory").nth(1).unwrap();
    let table = table.split("\n\n").nth(1).unwrap();
    let strip = 64 << 10;
    let scratch = |members| ::raid::limits::scratch_bytes(members, strip) as u64;
    for words in [
        format!("control plane | {} |", size(limits::BUFFER_BYTES_PER_REACTOR as u64)),
        format!("transport | {} |", size(limits::NVMF_BUFFER_BYTES_PER_REACTOR as u64)),
        format!("| {} to ", ::raid::limits::SCRATCH_BYTES_MIN >> 20),
        format!(" to {}: ", size(::raid::limits::SCRATCH_BYTES_MAX as u64)),
        format!("{} for 4+1 of 64 KiB", size(scratch(5))),
        format!("({} at most)", size(::raid::limits::BAND_BYTES_MAX.into())),
    ] {
        assert!(table.contains(&words), "{words:?}: {table}");
    }
}
