//! dmsetup's forms (dmsetup 1.02.185): what programs read.
//!
//! ```text
//!   status, table   [name: ]start length target text      the name unless one device was asked for
//!   info            a paragraph for each device
//!   deps            [name: ]2 dependencies<TAB>: (253, 0) (m1)      the last in the table first
//!   ls              name<TAB>(253:0)
//! ```
//!
//! Not here: what is printed; `info -c` (`report`), `ls --tree` (`tree`).

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;

use rpc::results::{DmDepsOf, DmDeviceInfo, DmListed, DmTargetVersion, DmTargetsOf};

use super::Refused;

pub(super) const NO_DEVICES: &str = "No devices found\n";

/// Kernel interface that the verbs are those of.
const DRIVER_VERSION: &str = "4.47.0";

/// How devices are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// By number; a bdev that is no mapped device has none, and goes by its name.
    Devno,
    /// By name.
    Devname,
    /// By the name of the block device; a bdev that is no mapped device goes by its own.
    Blkdevname,
}

impl Naming {
    /// What `-o` says.
    pub(super) fn parse(option: Option<&str>) -> Result<Self, Refused> {
        match option {
            None | Some("devno") => Ok(Self::Devno),
            Some("devname") => Ok(Self::Devname),
            Some("blkdevname") => Ok(Self::Blkdevname),
            Some(other) => Err(Refused::usage(&format!("Option not recognised: {other}."))),
        }
    }

    fn of(self, name: &str, number: Option<(u32, u32)>, between: &str) -> String {
        match (self, number) {
            (Self::Devno, Some((major, minor))) => format!("({major}{between}{minor})"),
            (Self::Blkdevname, Some((_, minor))) => format!("(dm-{minor})"),
            _ => format!("({name})"),
        }
    }
}

/// Writes to stdout. A reader that has seen enough (`| head`) is no failure.
pub(super) fn out(text: &str) -> Result<(), Box<dyn Error>> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// `status` and `table`. `any` says that there are devices, though of another type.
pub(super) fn targets(told: &[DmTargetsOf], one: bool, any: bool) -> String {
    if told.is_empty() {
        return if one { String::new() } else { none(any) };
    }
    let mut text = String::new();
    for device in told {
        let before = if one { String::new() } else { format!("{}: ", device.name) };
        if device.targets.is_empty() {
            let _ = writeln!(text, "{before}");
        }
        for target in &device.targets {
            let (start, length, kind) = (target.start, target.length, &target.target);
            let _ = writeln!(text, "{before}{start} {length} {kind} {}", target.text);
        }
    }
    text
}

/// What is said where nothing is listed.
fn none(any: bool) -> String {
    if any { String::new() } else { NO_DEVICES.to_owned() }
}

/// `deps`.
pub(super) fn deps(told: &[DmDepsOf], infos: &[DmDeviceInfo], naming: Naming, one: bool) -> String {
    if told.is_empty() {
        return NO_DEVICES.to_owned();
    }
    let mut text = String::new();
    for device in told {
        if !one {
            let _ = write!(text, "{}: ", device.name);
        }
        let _ = write!(text, "{} dependencies\t:", device.devices.len());
        // A kernel has the last one that a table named in front.
        for name in device.devices.iter().rev() {
            let number = infos.iter().find(|info| info.name == *name);
            let number = number.map(|info| (info.major, info.minor));
            let _ = write!(text, " {}", naming.of(name, number, ", "));
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
        // Without a table dmsetup finds no device that it could ask.
        let read_ahead = if device.live_table { "Read Ahead:        0\n" } else { "" };
        let DmDeviceInfo { name, open_count, event_nr, major, minor, target_count, .. } = device;
        let _ = write!(
            text,
            "Name:              {name}\n\
             State:             {state}{readonly}{deferred}\n\
             {read_ahead}\
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

/// `ls`. `any` says that there are devices, though of another type.
pub(super) fn list(told: &[DmListed], naming: Naming, of_target: bool, any: bool) -> String {
    if told.is_empty() {
        return none(any);
    }
    // dmsetup prints numbers in another form for a type of target.
    let between = if of_target { ", " } else { ":" };
    let line = |DmListed { name, major, minor }: &DmListed| {
        let number = naming.of(name, Some((*major, *minor)), between);
        format!("{name}\t{number}\n")
    };
    told.iter().map(line).collect()
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
