//! How a log device is, and what dm says about a log (linux-raid.md, 3.5).
//!
//! ```text
//!   INFO    1 core            3 disk <device> <A|D|F>
//!   TABLE   core 1 2048       core 2 2048 nosync        each with a space at the end
//!           disk 2 <device> 2048        disk 3 <device> 2048 sync
//! ```
//!
//! A failure latches (**R9**): a log device that has failed once stays failed until the log is loaded
//! again, and one event is raised for it.
//!
//! Not here: what is done about it (`coordinator`).

use super::SyncOption;
use core::fmt;

/// What went wrong on a log device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFailure {
    /// It could not be read, or not be understood.
    Read,
    /// A write failed.
    Write,
    /// A flush failed.
    Flush,
}

/// How a log device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogHealth {
    /// It has done all that was asked of it.
    #[default]
    Alive,
    /// A read failed first.
    ReadFailed,
    /// A write failed first.
    WriteFailed,
    /// A flush failed, whatever failed before.
    FlushFailed,
}

impl LogHealth {
    /// Notes a failure. Returns whether it is the first, which is the one that raises an event.
    pub fn fail(&mut self, failure: LogFailure) -> bool {
        let was_alive = self.is_alive();
        *self = match (*self, failure) {
            (Self::FlushFailed, _) | (_, LogFailure::Flush) => Self::FlushFailed,
            (Self::Alive, LogFailure::Read) => Self::ReadFailed,
            (Self::Alive, LogFailure::Write) => Self::WriteFailed,
            (Self::ReadFailed | Self::WriteFailed, LogFailure::Read | LogFailure::Write) => *self,
        };
        was_alive
    }

    /// Whether nothing has failed.
    #[must_use]
    pub fn is_alive(self) -> bool {
        self == Self::Alive
    }

    /// dm's letter for it.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Alive => 'A',
            Self::ReadFailed | Self::WriteFailed => 'D',
            Self::FlushFailed => 'F',
        }
    }
}

/// Type of a log, as dm tables name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogType<'a> {
    /// In memory.
    Core,
    /// With an area on a device.
    Disk {
        /// The device, as dm calls it: `major:minor`, or our name of it.
        device: &'a str,
    },
}

/// What `dmsetup status` shows of a log.
pub fn status_info(log: LogType<'_>, health: LogHealth) -> impl fmt::Display {
    fmt::from_fn(move |f| match log {
        LogType::Core => f.write_str("1 core"),
        LogType::Disk { device } => write!(f, "3 disk {device} {}", health.letter()),
    })
}

/// What `dmsetup table` shows of a log, with the space that dm puts at its end.
pub fn status_table(log: LogType<'_>, region_sectors: u64, sync: SyncOption) -> impl fmt::Display {
    let (extra, word) = match sync {
        SyncOption::Default => (0, ""),
        SyncOption::Sync => (1, "sync "),
        SyncOption::NoSync => (1, "nosync "),
    };
    fmt::from_fn(move |f| match log {
        LogType::Core => write!(f, "core {} {region_sectors} {word}", 1 + extra),
        LogType::Disk { device } => {
            write!(f, "disk {} {device} {region_sectors} {word}", 2 + extra)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a failure stays, and that of a flush is shown before all others. Method: every sequence
    /// of three failures.
    #[test]
    fn health_latches() {
        let failures = [LogFailure::Read, LogFailure::Write, LogFailure::Flush];
        for first in failures {
            for second in failures {
                for third in failures {
                    let mut health = LogHealth::default();
                    assert_eq!((health.letter(), health.is_alive()), ('A', true));
                    let sequence = [first, second, third];
                    assert_eq!(sequence.map(|failure| health.fail(failure)), [true, false, false]);
                    let flush = sequence.contains(&LogFailure::Flush);
                    assert_eq!(health.letter(), if flush { 'F' } else { 'D' }, "{sequence:?}");
                    assert!(!health.is_alive());
                }
            }
        }
    }

    #[test]
    fn status_strings_are_those_of_dm() {
        let disk = LogType::Disk { device: "254:0" };
        let table = |log, sync| status_table(log, 1024, sync).to_string();
        assert_eq!(table(LogType::Core, SyncOption::Default), "core 1 1024 ");
        assert_eq!(table(LogType::Core, SyncOption::Sync), "core 2 1024 sync ");
        assert_eq!(table(disk, SyncOption::Default), "disk 2 254:0 1024 ");
        assert_eq!(table(disk, SyncOption::NoSync), "disk 3 254:0 1024 nosync ");
        let info = |log, health| status_info(log, health).to_string();
        assert_eq!(info(LogType::Core, LogHealth::WriteFailed), "1 core");
        assert_eq!(info(disk, LogHealth::Alive), "3 disk 254:0 A");
        assert_eq!(info(disk, LogHealth::ReadFailed), "3 disk 254:0 D");
        assert_eq!(info(disk, LogHealth::FlushFailed), "3 disk 254:0 F");
    }
}
