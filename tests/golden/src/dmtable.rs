//! Tables of device-mapper that a Linux kernel took or refused, and what it said about them.
//!
//! ```text
//!   dmtables.tsv    accepted  table                    -> dmsetup table, dmsetup status
//!                   refused   table                    -> the ioctl's error, the target's message
//!                   status    a moment of an array     -> dmsetup table, dmsetup status, events
//! ```
//!
//! Tables name devices as they were loaded (`/dev/ram3`), what the kernel answers names them by number
//! (`1:3`). README.md tells how they came about.
//!
//! Not here: what any word of a table means. That is what the readers test.

use crate::{number, rows_of};

const ROWS: &str = include_str!("../data/dmtables.tsv");

/// A table that was tried on its own, and what the kernel made of it.
#[derive(Debug, Clone, Copy)]
pub struct GoldenTable {
    /// The table as it was loaded: one line.
    pub table: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What the kernel made of a table.
#[derive(Debug, Clone, Copy)]
pub enum Outcome {
    /// It was loaded and resumed.
    Accepted {
        /// What `dmsetup table` said then.
        table: &'static str,
        /// What `dmsetup status` said then.
        status: &'static str,
    },
    /// It was refused.
    Refused {
        /// The ioctl's error, as dmsetup put it.
        ioctl: &'static str,
        /// The target's message in the kernel's log.
        message: &'static str,
        /// The target's errno: `EINVAL`.
        errno: &'static str,
        /// Further messages, of dm-log and md, separated by ` | `.
        details: Option<&'static str>,
    },
}

/// An array at one moment.
#[derive(Debug, Clone, Copy)]
pub struct GoldenStatus {
    /// The history that it is part of.
    pub group: &'static str,
    /// What had just been done.
    pub moment: &'static str,
    /// The table as it was loaded.
    pub created: &'static str,
    /// What `dmsetup table` said.
    pub table: &'static str,
    /// What `dmsetup status` said.
    pub status: &'static str,
    /// The event counter, where it was looked at.
    pub events: Option<usize>,
}

/// Every table that was tried on its own.
#[must_use]
pub fn tables() -> Vec<GoldenTable> {
    let accepted = rows_of::<3>(ROWS, "accepted").map(|[loaded, table, status]| GoldenTable {
        table: loaded,
        outcome: Outcome::Accepted { table, status },
    });
    let refused = rows_of::<5>(ROWS, "refused").map(|[loaded, ioctl, message, errno, details]| {
        let details = (details != "-").then_some(details);
        GoldenTable { table: loaded, outcome: Outcome::Refused { ioctl, message, errno, details } }
    });
    accepted.chain(refused).collect()
}

/// Every moment of every array, in the order in which they were looked at.
#[must_use]
pub fn statuses() -> Vec<GoldenStatus> {
    rows_of::<6>(ROWS, "status")
        .map(|[group, moment, created, table, status, events]| GoldenStatus {
            group,
            moment,
            created,
            table,
            status,
            events: (events != "-").then(|| number(events)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_there() {
        let (tables, statuses) = (tables(), statuses());
        let refused =
            tables.iter().filter(|table| matches!(table.outcome, Outcome::Refused { .. }));
        assert_eq!((tables.len(), refused.count(), statuses.len()), (77, 57, 98));
        let fields = statuses.iter().map(|moment| moment.status.split(' ').count());
        assert!(fields.min() == Some(11), "place, target, and eight words since dm-raid 1.10");
    }
}
