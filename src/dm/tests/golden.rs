//! What a Linux kernel answered, held against what is answered here.
//!
//! Not here: how the kernel was asked (`tests/golden`).

use super::super::raid::RaidTable;
use super::super::status::{JournalHealth, MemberHealth, RaidState, SyncAction};
use super::super::words::{Words, split};
use super::super::{Device, DeviceName, Errno, Start, Table, TableError, Target, log};
use golden::dmtable::{GoldenTable, Outcome, statuses, tables};
use golden::intended::TABLES;
use raid::dirty_log::{LogFailure, LogHealth};

/// RAM disks of 16 MiB, and linear devices over them, by name and by number.
fn ram(name: &str) -> Option<Device> {
    let name = match (name.strip_prefix("/dev/ram"), name.strip_prefix("/dev/mapper/d")) {
        (Some(number), _) => format!("1:{number}"),
        (_, Some(number)) => format!("253:{number}"),
        _ if name.starts_with("1:") || name.starts_with("253:") => name.to_owned(),
        _ => return None,
    };
    Some(Device { name: DeviceName::new(&name)?, sectors: 32768, block_bytes: 512, fails: false })
}

fn intended(table: &str) -> Option<&'static str> {
    TABLES.iter().find(|(words, ..)| table.contains(words)).map(|(_, answer, _)| *answer)
}

/// What the kernel's log would have.
fn sentence(result: &Result<Table, TableError>) -> String {
    match result {
        Ok(table) => table.to_string(),
        Err(TableError::Target { error, .. }) => error.text.to_string(),
        Err(other) => other.to_string(),
    }
}

fn is_raid(table: &GoldenTable) -> bool {
    split(table.table)[2] == "raid"
}

/// Goal: the same sentence, errno and details for what is refused, the same table for what is taken.
#[test]
fn tables_are_taken_and_refused_as_by_the_kernel() {
    let mut compared = (0, 0);
    for golden in tables().iter().filter(|table| is_raid(table)) {
        let ours = Table::parse(golden.table, &ram);
        if let Some(answer) = intended(golden.table) {
            assert!(ours.is_err(), "{}", golden.table);
            assert_eq!(sentence(&ours), answer, "{}", golden.table);
            continue;
        }
        match golden.outcome {
            Outcome::Accepted { table, status } => {
                assert_eq!(sentence(&ours), table, "{}", golden.table);
                check_status(table, status);
                compared.0 += 1;
            }
            Outcome::Refused { ioctl, message, errno, details } => {
                assert_eq!(sentence(&ours), message, "{}", golden.table);
                let Err(TableError::Target { error, .. }) = ours else { panic!("{ours:?}") };
                assert_eq!(
                    (error.errno.name(), error.errno.text()),
                    (errno, ioctl),
                    "{}",
                    golden.table
                );
                if let Some(details) = details {
                    assert_eq!(error.detail.as_deref(), Some(details), "{}", golden.table);
                }
                compared.1 += 1;
            }
        }
    }
    assert_eq!(compared, (12, 49));
    for (words, ..) in TABLES {
        assert!(
            tables().iter().any(|golden| golden.table.contains(words))
                || statuses().iter().any(|golden| golden.created.contains(words)),
            "{words} does not occur"
        );
    }
}

/// Goal: every status line's table is the canonical form of what was loaded, reads back as itself, and
/// the line follows from the state that it implies.
#[test]
fn status_lines_are_those_of_the_kernel() {
    let mut compared = 0;
    for golden in statuses() {
        if let Some(answer) = intended(golden.created) {
            assert_eq!(sentence(&Table::parse(golden.created, &ram)), answer, "{}", golden.created);
            continue;
        }
        let loaded = Table::parse(golden.created, &ram);
        assert_eq!(sentence(&loaded), golden.table, "{}: {}", golden.group, golden.moment);
        let again = Table::parse(golden.table, &ram);
        assert_eq!(again, loaded);
        check_status(golden.table, golden.status);
        compared += 1;
    }
    assert_eq!(compared, 93);
}

/// Reads the state off a status line and prints it again.
fn check_status(table: &str, status: &str) {
    let table = Table::parse(table, &ram).unwrap();
    let line = &table.lines()[0];
    let Target::Raid(raid) = &line.target else { panic!("{line}") };
    let state = implied(raid, status);
    assert_eq!(line.status(raid.info(&state)).to_string(), status);
}

/// The state that a status line implies: the letters name the members, except that during a resync, and
/// only then, `a` says nothing about its member.
fn implied(table: &RaidTable, status: &str) -> RaidState {
    let words = split(status);
    let (health, ratio, action) = (&words[5], &words[6], &words[7]);
    let (done, total) = ratio.split_once('/').unwrap();
    let all = [
        SyncAction::Frozen,
        SyncAction::Resync,
        SyncAction::Check,
        SyncAction::Repair,
        SyncAction::Recover,
        SyncAction::Idle,
    ];
    let action = all.into_iter().find(|named| named.to_string() == *action).unwrap();
    let members = health.chars().map(|letter| match letter {
        '-' => MemberHealth::Absent,
        'D' => MemberHealth::Failed,
        'a' if action != SyncAction::Resync => MemberHealth::OutOfSync,
        _ => MemberHealth::InSync,
    });
    let array = Target::Raid(table.clone()).array().unwrap();
    assert_eq!(array.component_sectors.to_string(), total, "{status}");
    let present: Vec<bool> = array.members.iter().map(Option::is_some).collect();
    assert_eq!(present, health.chars().map(|letter| letter != '-').collect::<Vec<_>>(), "{status}");
    let done: u64 = done.parse().unwrap();
    RaidState {
        members: members.collect(),
        action,
        // Frozen, what had been done before does not count.
        done_sectors: if action == SyncAction::Frozen { 4711 } else { done },
        checkpoint: (done < array.component_sectors).then_some(done),
        // Left over from a check before, if it is not shown.
        mismatches: words[8].parse::<u64>().unwrap().max(u64::from(words[8] == "0") * 4711),
        last_is_check: words[8] != "0",
        journal: JournalHealth::Absent,
        ..RaidState::healthy(0, array.component_sectors)
    }
}

/// Goal: every array whose members the kernel wrote is described by its table as what it is.
#[test]
fn facts_are_those_of_the_arrays_that_the_kernel_made() {
    let mut arrays = 0;
    for set in golden::sets().iter().filter(|set| set.create.starts_with("0 ")) {
        let table = Table::parse(&set.create, &ram).unwrap();
        assert_eq!(table.to_string(), set.create.replace("/dev/ram", "1:"));
        let array = table.lines()[0].target.array().unwrap();
        assert_eq!(array.layout.dm_type(array.level), Some(set.layout.as_str()));
        assert_eq!((array.members.len(), array.strip_bytes), (set.devices, set.strip_bytes()));
        assert_eq!(array.component_sectors * 512, set.member_bytes);
        assert_eq!(array.array_sectors() * 512, set.array_bytes);
        assert_eq!(array.start, Start::Resync, "nothing is recorded anywhere");
        assert_eq!(array.io_hints().min_bytes, set.strip_bytes());
        let data = (set.array_bytes / set.member_bytes) * u64::from(set.strip_bytes());
        assert_eq!(array.io_hints().optimal_bytes, data);
        arrays += 1;
    }
    assert_eq!(arrays, 42);
}

/// Reads the log of a `mirror` line, which is all that we know of that target.
fn mirror_log(table: &str) -> Result<log::LogSpec, String> {
    let words = split(table);
    let sectors = words[1].parse().unwrap();
    let count: usize = words[4].parse().unwrap();
    log::LogSpec::parse(&words[3], Words::new(&words[5..5 + count]), sectors, &log_device)
}

/// As [`ram`], and the devices of the dirty logs.
fn log_device(name: &str) -> Option<Device> {
    let device = ram("1:0").unwrap();
    let name =
        name.strip_prefix("/dev/ram").map_or(name.to_owned(), |number| format!("1:{number}"));
    (name != "/dev/nosuch").then(|| Device { name: DeviceName::new(&name).unwrap(), ..device })
}

/// Goal: dm-log's arguments are taken and refused as by the kernel.
#[test]
fn logs_are_those_of_the_kernel() {
    let mut compared = (0, 0);
    for golden in tables().iter().filter(|table| !is_raid(table)) {
        let ours = mirror_log(golden.table);
        match golden.outcome {
            Outcome::Accepted { table, status } => {
                let ours = ours.unwrap();
                let head = split(table)[..3].join(" ");
                assert!(table.starts_with(&format!("{head} {ours}")), "{table}: {ours}");
                let info = ours.info(LogHealth::Alive).to_string();
                assert!(status.ends_with(&info), "{status}: {info}");
                compared.0 += 1;
            }
            Outcome::Refused { details, .. } => {
                let ours = ours.unwrap_err();
                if let Some(details) = details {
                    assert_eq!(ours, details, "{}", golden.table);
                }
                compared.1 += 1;
            }
        }
    }
    for golden in golden::dmlog::logs() {
        let (Some(table), Some(status)) = (&golden.table, &golden.status) else { continue };
        let ours = mirror_log(table).unwrap();
        assert!(table.contains(&format!("mirror {ours}")), "{table}: {ours}");
        let mut health = LogHealth::Alive;
        if status.ends_with('D') {
            health.fail(LogFailure::Read);
        }
        let info = ours.info(health).to_string();
        assert!(status.ends_with(&info), "{status}: {info}");
        compared.0 += 1;
    }
    assert_eq!(compared, (31, 6));
}

#[test]
fn errnos_are_those_of_linux() {
    for (errno, code) in
        [(Errno::Inval, 22), (Errno::Busy, 16), (Errno::NoDev, 19), (Errno::Nxio, 6)]
    {
        assert_eq!(errno.code(), code);
    }
}
