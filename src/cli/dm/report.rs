//! `info -c`: a report in columns, of the fields that are asked for (libdm's reports, dmsetup's fields).
//!
//! ```text
//!   -o name,events   those fields     -o +events   the usual ones and that one    -o help   lists them
//!   -O open,-name    sorted by        --separator ,  not aligned   --noheadings   neither, and `:` between
//! ```
//!
//! Not here: dmsetup's statistics of regions, and its selection (`-S`).

use std::cmp::Ordering;
use std::fmt::Write as _;

use clap::Args;
use rpc::results::{DmDepsOf, DmDeviceInfo};

use super::Refused;
use super::print::NO_DEVICES;

/// Arguments of `raid456 dm info` about columns.
#[derive(Debug, Clone, Default, Args)]
pub struct ReportArgs {
    /// In columns
    #[arg(short = 'c', short_alias = 'C', long)]
    pub columns: bool,
    /// The columns, with commas between them; help lists them
    #[arg(short = 'o', long, value_name = "FIELDS")]
    pub options: Option<String>,
    /// Sorted by these columns; a minus before one turns the order round
    #[arg(short = 'O', long, value_name = "FIELDS", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// Without headings, and a colon between columns
    #[arg(long)]
    pub noheadings: bool,
    /// What stands between columns
    #[arg(long)]
    pub separator: Option<String>,
    /// With DM_, the name of the field and an equals sign before each value
    #[arg(long)]
    pub nameprefixes: bool,
    /// Without quotes around values that have a prefix
    #[arg(long)]
    pub unquoted: bool,
    /// A line for each field instead of each device
    #[arg(long)]
    pub rows: bool,
}

/// A field of a report.
struct Field {
    id: &'static str,
    heading: &'static str,
    /// Least width of its column.
    width: usize,
    is_number: bool,
    help: &'static str,
    value: fn(&Row<'_>) -> String,
}

const fn text(
    id: &'static str,
    heading: &'static str,
    width: usize,
    help: &'static str,
    value: fn(&Row<'_>) -> String,
) -> Field {
    Field { id, heading, width, is_number: false, help, value }
}

const fn number(
    id: &'static str,
    heading: &'static str,
    width: usize,
    help: &'static str,
    value: fn(&Row<'_>) -> String,
) -> Field {
    Field { is_number: true, ..text(id, heading, width, help, value) }
}

/// What a device's values are made of.
struct Row<'a> {
    info: &'a DmDeviceInfo,
    all: &'a [DmDeviceInfo],
    deps: &'a [DmDepsOf],
}

/// A section of fields: its name for `-o`, its title, the fields.
type Section = (&'static str, &'static str, &'static [Field]);

const SECTIONS: &[Section] = &[
    ("name_all", "Mapped Device Name Fields", NAME),
    ("info_all", "Mapped Device Information Fields", INFO),
    ("deps_all", "Mapped Device Relationship Information Fields", RELATIONS),
    ("splitname_all", "Mapped Device Name Components Fields", COMPONENTS),
];

const NAME: &[Field] = &[
    text("name", "Name", 16, "Name of mapped device.", |row| row.info.name.clone()),
    text("uuid", "UUID", 32, "Unique (optional) identifier for mapped device.", |row| {
        row.info.uuid.clone()
    }),
    number("read_ahead", "RAhead", 6, "Read ahead value.", |_| "0".to_owned()),
];

const INFO: &[Field] = &[
    text("blkdevname", "BlkDevName", 16, "Name of block device.", |row| {
        format!("dm-{}", row.info.minor)
    }),
    text("attr", "Stat", 4, "(L)ive, (I)nactive, (s)uspended, (r)ead-only, read-(w)rite.", |row| {
        attributes(row.info)
    }),
    text(
        "tables_loaded",
        "Tables",
        6,
        "Which of the live and inactive table slots are filled.",
        |row| {
            match (row.info.live_table, row.info.inactive_table) {
                (false, false) => "None",
                (true, false) => "Live",
                (false, true) => "Inactive",
                (true, true) => "Both",
            }
            .to_owned()
        },
    ),
    text("suspended", "Suspended", 9, "Whether the device is suspended.", |row| {
        if row.info.suspended { "Suspended" } else { "Active" }.to_owned()
    }),
    text("readonly", "Read-only", 9, "Whether the device is read-only or writeable.", |row| {
        if row.info.readonly { "Read-only" } else { "Writeable" }.to_owned()
    }),
    text("devno", "DevNo", 5, "Device major and minor numbers", |row| devno(row.info)),
    number("major", "Maj", 3, "Block device major number.", |row| row.info.major.to_string()),
    number("minor", "Min", 3, "Block device minor number.", |row| row.info.minor.to_string()),
    number("open", "Open", 4, "Number of references to open device, if requested.", |row| {
        row.info.open_count.to_string()
    }),
    number("segments", "Targ", 4, "Number of segments in live table, if present.", |row| {
        row.info.target_count.to_string()
    }),
    number("events", "Event", 6, "Number of most recent event.", |row| {
        row.info.event_nr.to_string()
    }),
];

const RELATIONS: &[Field] = &[
    number("device_count", "#Devs", 5, "Number of devices used by this one.", |row| {
        row.used().count().to_string()
    }),
    text(
        "devs_used",
        "DevNamesUsed",
        16,
        "List of names of mapped devices used by this one.",
        |row| joined(row.used().filter(|name| row.find(name).is_some()).map(str::to_owned)),
    ),
    text(
        "devnos_used",
        "DevNosUsed",
        16,
        "List of device numbers of devices used by this one.",
        |row| joined(row.used().map(|name| row.find(name).map_or(name.to_owned(), devno))),
    ),
    text(
        "blkdevs_used",
        "BlkDevNamesUsed",
        16,
        "List of names of block devices used by this one.",
        |row| {
            let block_device = |name: &str| match row.find(name) {
                Some(info) => format!("dm-{}", info.minor),
                None => name.to_owned(),
            };
            joined(row.used().map(block_device))
        },
    ),
    number(
        "device_ref_count",
        "#Refs",
        5,
        "Number of mapped devices referencing this one.",
        |row| row.users().count().to_string(),
    ),
    text(
        "names_using_dev",
        "RefNames",
        8,
        "List of names of mapped devices using this one.",
        |row| joined(row.users().map(|info| info.name.clone())),
    ),
    text(
        "devnos_using_dev",
        "RefDevNos",
        9,
        "List of device numbers of mapped devices using this one.",
        |row| joined(row.users().map(devno)),
    ),
];

const COMPONENTS: &[Field] = &[
    text("subsystem", "Subsys", 6, "Userspace subsystem responsible for this device.", |row| {
        subsystem(row.info).to_owned()
    }),
    text("vg_name", "VG", 4, "LVM Volume Group name.", |row| lvm_part(row.info, 0)),
    text("lv_name", "LV", 4, "LVM Logical Volume name.", |row| lvm_part(row.info, 1)),
    text("lv_layer", "LVLayer", 7, "LVM device layer.", |row| lvm_part(row.info, 2)),
];

/// What is shown if nothing else is asked for.
const USUAL: &str = "name,major,minor,attr,open,segments,events,uuid";

impl<'a> Row<'a> {
    /// What it is made of, as a kernel has it: the last one that a table named in front.
    fn used(&self) -> impl Iterator<Item = &'a str> {
        let own = self.deps.iter().find(|device| device.name == self.info.name);
        own.into_iter().flat_map(|device| device.devices.iter().rev()).map(String::as_str)
    }

    fn users(&self) -> impl Iterator<Item = &'a DmDeviceInfo> {
        let name = &self.info.name;
        let users = self.deps.iter().filter(move |device| device.devices.contains(name));
        let all = self.all;
        users.filter_map(move |user| all.iter().find(|info| info.name == user.name))
    }

    fn find(&self, name: &str) -> Option<&'a DmDeviceInfo> {
        self.all.iter().find(|info| info.name == name)
    }
}

fn attributes(info: &DmDeviceInfo) -> String {
    let flag = |is_so: bool, letter: char| if is_so { letter } else { '-' };
    [
        flag(info.live_table, 'L'),
        flag(info.inactive_table, 'I'),
        flag(info.suspended, 's'),
        if info.readonly { 'r' } else { 'w' },
    ]
    .iter()
    .collect()
}

fn devno(info: &DmDeviceInfo) -> String {
    format!("{}:{}", info.major, info.minor)
}

fn joined(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(",")
}

/// What stands before the first hyphen of the UUID.
fn subsystem(info: &DmDeviceInfo) -> &str {
    info.uuid.split_once('-').map_or("", |(subsystem, _)| subsystem)
}

/// A part of LVM's names: hyphens divide them, and are doubled within them.
fn lvm_part(info: &DmDeviceInfo, part: usize) -> String {
    if subsystem(info) != "LVM" {
        return String::new();
    }
    let name = info.name.replace("--", "\0");
    name.splitn(3, '-').nth(part).unwrap_or_default().replace('\0', "-")
}

fn find(id: &str) -> Option<&'static Field> {
    SECTIONS.iter().flat_map(|(_, _, fields)| *fields).find(|field| field.id == id)
}

/// The fields of a list of names.
fn fields(names: &str) -> Result<Vec<&'static Field>, Refused> {
    let mut found = Vec::new();
    // What concerns two devices is no part of dmsetup's section.
    let of_one = |field: &&'static Field| {
        !["devs_used", "device_ref_count", "names_using_dev", "devnos_using_dev"]
            .contains(&field.id)
    };
    for name in names.split(',').filter(|name| !name.is_empty()) {
        let section = SECTIONS.iter().find(|(all, ..)| *all == name);
        match (section, find(name)) {
            (Some((_, _, fields)), _) => found.extend(fields.iter().filter(of_one)),
            (None, Some(field)) => found.push(field),
            (None, None) if name == "all" => {
                found.extend(SECTIONS.iter().flat_map(|(_, _, fields)| *fields));
            }
            (None, None) => return Err(unknown(name)),
        }
    }
    Ok(found)
}

fn unknown(name: &str) -> Refused {
    Refused(format!("{}Unrecognised field: {name}", help()))
}

/// The fields that there are.
fn help() -> String {
    let mut text = String::new();
    for (all, title, fields) in SECTIONS {
        let _ = writeln!(text, "{title}\n{}", "-".repeat(title.len()));
        let _ = writeln!(text, "  {all:<21} - All fields in this section.");
        for field in *fields {
            let _ = writeln!(text, "  {:<21} - {}", field.id, field.help);
        }
        text.push_str(" \n");
    }
    text
}

/// How a report looks.
pub(super) struct Layout {
    fields: Vec<&'static Field>,
    /// Each with whether the order is turned round.
    keys: Vec<(&'static Field, bool)>,
    /// `None`: in columns.
    separator: Option<String>,
    headings: bool,
    /// Whether values have prefixes, and those quotes.
    prefixes: Option<bool>,
    rows: bool,
    help: bool,
}

impl Layout {
    /// `None` if no report is asked for.
    pub(super) fn of(args: &ReportArgs) -> Result<Option<Self>, Refused> {
        if !args.columns && args.options.is_none() && args.sort.is_none() {
            return Ok(None);
        }
        let names = match args.options.as_deref() {
            None => USUAL.to_owned(),
            Some(more) if more.starts_with('+') => format!("{USUAL},{}", &more[1..]),
            Some(names) => names.to_owned(),
        };
        let help = matches!(names.as_str(), "help" | "?");
        let mut keys = Vec::new();
        for key in args.sort.iter().flat_map(|keys| keys.split(',')).filter(|key| !key.is_empty()) {
            let name = key.trim_start_matches(['+', '-']);
            let field = find(name).ok_or_else(|| unknown(name))?;
            keys.push((field, key.starts_with('-')));
        }
        let plain = args.noheadings || args.nameprefixes || args.rows;
        let separator = args.separator.clone().or_else(|| plain.then(|| ":".to_owned()));
        Ok(Some(Self {
            fields: if help { Vec::new() } else { fields(&names)? },
            keys,
            separator,
            headings: !args.noheadings && !args.nameprefixes,
            prefixes: args.nameprefixes.then_some(!args.unquoted),
            rows: args.rows,
            help,
        }))
    }

    /// The report of `told`; `all` and `deps` are of every device.
    pub(super) fn print(
        &self,
        told: &[DmDeviceInfo],
        all: &[DmDeviceInfo],
        deps: &[DmDepsOf],
    ) -> String {
        if self.help {
            return help();
        }
        if told.is_empty() {
            return NO_DEVICES.to_owned();
        }
        let mut rows: Vec<Row<'_>> = told.iter().map(|info| Row { info, all, deps }).collect();
        rows.sort_by(|a, b| self.compare(a, b));
        let mut lines: Vec<Vec<String>> = Vec::new();
        if self.headings {
            lines.push(self.fields.iter().map(|field| field.heading.to_owned()).collect());
        }
        for row in &rows {
            lines.push(self.fields.iter().map(|field| self.cell(field, row)).collect());
        }
        match &self.separator {
            None => self.aligned(&lines),
            Some(separator) => {
                let lines = if self.rows { turned(&lines) } else { lines };
                lines.iter().map(|line| line.join(separator) + "\n").collect()
            }
        }
    }

    fn compare(&self, a: &Row<'_>, b: &Row<'_>) -> Ordering {
        for (field, reverse) in &self.keys {
            let (left, right) = ((field.value)(a), (field.value)(b));
            let order = match (left.parse::<u64>(), right.parse::<u64>()) {
                (Ok(left), Ok(right)) if field.is_number => left.cmp(&right),
                _ => left.cmp(&right),
            };
            if order != Ordering::Equal {
                return if *reverse { order.reverse() } else { order };
            }
        }
        Ordering::Equal
    }

    fn cell(&self, field: &Field, row: &Row<'_>) -> String {
        let value = (field.value)(row);
        let prefix = format!("DM_{}=", field.id.to_ascii_uppercase());
        match self.prefixes {
            None => value,
            Some(true) => format!("{prefix}'{value}'"),
            Some(false) => format!("{prefix}{value}"),
        }
    }

    /// In columns, each as wide as its widest value; the first line may be the headings, which stand on
    /// the left whatever the column.
    fn aligned(&self, lines: &[Vec<String>]) -> String {
        let width = |column: usize, field: &Field| {
            let widest = lines.iter().map(|line| line[column].chars().count()).max();
            widest.unwrap_or(0).max(field.width)
        };
        let widths: Vec<usize> =
            self.fields.iter().enumerate().map(|(column, field)| width(column, field)).collect();
        let mut text = String::new();
        for (at, line) in lines.iter().enumerate() {
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let between = if column == 0 { "" } else { " " };
                let right = self.fields[column].is_number && !(at == 0 && self.headings);
                let _ = match right {
                    true => write!(text, "{between}{cell:>width$}"),
                    false => write!(text, "{between}{cell:<width$}"),
                };
            }
            text.push('\n');
        }
        text
    }
}

/// Columns for lines.
fn turned(lines: &[Vec<String>]) -> Vec<Vec<String>> {
    let columns = lines.first().map_or(0, Vec::len);
    (0..columns).map(|column| lines.iter().map(|line| line[column].clone()).collect()).collect()
}
