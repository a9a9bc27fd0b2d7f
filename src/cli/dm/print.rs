//! dmsetup's forms (dmsetup 1.02.185, `dmsetup.c` and libdm's reports): what programs read.
//!
//! ```text
//!   status, table   [name: ]start length target text      the name unless one device was asked for
//!   info            a paragraph for each device; -c: columns
//!   deps            [name: ]2 dependencies<TAB>: (m0) (m1)
//!   ls              name<TAB>(253:0);  --tree: with what it is made of
//! ```
//!
//! Not here: what is printed.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;

use rpc::results::{DmDepsOf, DmDeviceInfo, DmListed, DmTargetVersion, DmTargetsOf};

const NO_DEVICES: &str = "No devices found\n";

/// Kernel interface that the verbs are those of.
const DRIVER_VERSION: &str = "4.47.0";

/// Writes to stdout. A reader that has seen enough (`| head`) is no failure.
pub(super) fn out(text: &str) -> Result<(), Box<dyn Error>> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// `status` and `table`.
pub(super) fn targets(told: &[DmTargetsOf], one: bool) -> String {
    if told.is_empty() {
        return if one { String::new() } else { NO_DEVICES.to_owned() };
    }
    let mut text = String::new();
    for device in told {
        let before = if one { String::new() } else { format!("{}: ", device.name) };
        if device.targets.is_empty() && !one {
            let _ = writeln!(text, "{before}");
        }
        for target in &device.targets {
            let (start, length, kind) = (target.start, target.length, &target.target);
            let _ = writeln!(text, "{before}{start} {length} {kind} {}", target.text);
        }
    }
    text
}

/// `deps`.
pub(super) fn deps(told: &[DmDepsOf], one: bool) -> String {
    if told.is_empty() {
        return NO_DEVICES.to_owned();
    }
    let mut text = String::new();
    for device in told {
        if !one {
            let _ = write!(text, "{}: ", device.name);
        }
        let _ = write!(text, "{} dependencies\t:", device.devices.len());
        for name in &device.devices {
            let _ = write!(text, " ({name})");
        }
        text.push('\n');
    }
    text
}

/// `info`.
pub(super) fn info(told: &[DmDeviceInfo]) -> String {
    if told.is_empty() {
        return NO_DEVICES.to_owned();
    }
    let mut text = String::new();
    for device in told {
        let state = if device.suspended { "SUSPENDED" } else { "ACTIVE" };
        let readonly = if device.readonly { " (READ-ONLY)" } else { "" };
        let deferred = if device.deferred_remove { " (DEFERRED REMOVE)" } else { "" };
        let tables = match (device.live_table, device.inactive_table) {
            (false, false) => "None",
            (true, false) => "LIVE",
            (false, true) => "INACTIVE",
            (true, true) => "LIVE & INACTIVE",
        };
        let DmDeviceInfo { name, open_count, event_nr, major, minor, target_count, .. } = device;
        let _ = write!(
            text,
            "Name:              {name}\n\
             State:             {state}{readonly}{deferred}\n\
             Read Ahead:        0\n\
             Tables present:    {tables}\n\
             Open count:        {open_count}\n\
             Event number:      {event_nr}\n\
             Major, minor:      {major}, {minor}\n\
             Number of targets: {target_count}\n"
        );
        if !device.uuid.is_empty() {
            let _ = writeln!(text, "UUID: {}", device.uuid);
        }
        text.push('\n');
    }
    text
}

/// `info -c`.
pub(super) fn columns(told: &[DmDeviceInfo], headings: bool) -> String {
    if told.is_empty() {
        return NO_DEVICES.to_owned();
    }
    const HEADINGS: [&str; 8] = ["Name", "Maj", "Min", "Stat", "Open", "Targ", "Event", "UUID"];
    const WIDTHS: [usize; 8] = [16, 3, 3, 4, 4, 4, 6, 0];
    const RIGHT: [bool; 8] = [false, true, true, false, true, true, true, false];
    let row = |device: &DmDeviceInfo| {
        let flag = |is_so: bool, letter: char| if is_so { letter } else { '-' };
        let stat: String = [
            flag(device.live_table, 'L'),
            flag(device.inactive_table, 'I'),
            flag(device.suspended, 's'),
            if device.readonly { 'r' } else { 'w' },
        ]
        .iter()
        .collect();
        [
            device.name.clone(),
            device.major.to_string(),
            device.minor.to_string(),
            stat,
            device.open_count.to_string(),
            device.target_count.to_string(),
            device.event_nr.to_string(),
            device.uuid.clone(),
        ]
    };
    let rows: Vec<[String; 8]> = told.iter().map(row).collect();
    let mut widths = WIDTHS;
    for (column, width) in widths.iter_mut().enumerate() {
        let longest = rows.iter().map(|row| row[column].chars().count()).max();
        *width = (*width).max(longest.unwrap_or(0));
    }
    let mut text = String::new();
    let mut line = |cells: &[&str], right: &[bool]| {
        let mut line = String::new();
        for ((cell, width), right) in cells.iter().zip(widths).zip(right) {
            let _ = match right {
                true => write!(line, "{cell:>width$} "),
                false => write!(line, "{cell:<width$} "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    if headings {
        // Headings stand on the left, whatever the column.
        line(&HEADINGS, &[false; 8]);
    }
    for row in &rows {
        line(&row.each_ref().map(String::as_str), &RIGHT);
    }
    text
}

/// `ls`.
pub(super) fn list(told: &[DmListed]) -> String {
    if told.is_empty() {
        return NO_DEVICES.to_owned();
    }
    let line = |DmListed { name, major, minor }: &DmListed| format!("{name}\t({major}:{minor})\n");
    told.iter().map(line).collect()
}

/// `ls --tree`.
pub(super) fn tree(infos: &[DmDeviceInfo], deps: &[DmDepsOf]) -> String {
    if infos.is_empty() {
        return NO_DEVICES.to_owned();
    }
    let is_part = |name: &str| deps.iter().any(|device| device.devices.iter().any(|d| d == name));
    let mut text = String::new();
    for info in infos.iter().filter(|info| !is_part(&info.name)) {
        let _ = writeln!(text, "{} ({}:{})", info.name, info.major, info.minor);
        branch(infos, deps, &info.name, " ", &mut text);
    }
    text
}

fn branch(infos: &[DmDeviceInfo], deps: &[DmDepsOf], name: &str, before: &str, text: &mut String) {
    let Some(device) = deps.iter().find(|device| device.name == name) else { return };
    for (number, part) in device.devices.iter().enumerate() {
        let last = number + 1 == device.devices.len();
        let corner = if last { "└─" } else { "├─" };
        let mapped = infos.iter().find(|info| info.name == *part);
        let number = mapped.map(|info| format!(" ({}:{})", info.major, info.minor));
        let _ = writeln!(text, "{before}{corner}{part}{}", number.unwrap_or_default());
        let further = format!("{before}{}", if last { "   " } else { "│  " });
        branch(infos, deps, part, &further, text);
    }
}

/// `targets`.
pub(super) fn versions(told: &[DmTargetVersion]) -> String {
    let line = |DmTargetVersion { name, version: [major, minor, patch] }: &DmTargetVersion| {
        format!("{name:<16} v{major}.{minor}.{patch}\n")
    };
    told.iter().map(line).collect()
}

/// `version`.
pub(super) fn version() -> String {
    let library = env!("CARGO_PKG_VERSION");
    format!("Library version:   {library} (raid456)\nDriver version:    {DRIVER_VERSION}\n")
}
