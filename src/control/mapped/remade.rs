//! The table that makes a mapped device again, as it is: what the state of a service keeps.
//!
//! | | |
//! |---|---|
//! | `sync`, `nosync` | act once; what is recorded counts then, and parity of which nothing is recorded is made anew |
//! | a member that has failed | is missing (`-`), or is to be rebuilt where a table cannot say so; superblocks say it themselves |
//! | a member that is being rebuilt | is to be rebuilt; superblocks know how far that is |
//!
//! Of an array that is stopped, for another table or because that was refused, counts what it knew last.
//!
//! Invariants: **R8**: at no time does it name a member as good that is not.
//!
//! Not here: other bdevs (`control::recipe`).

use std::collections::BTreeSet;

use array::MemberSnapshot;
use raid::dirty_log::SyncOption;
use raid::member::MemberState;

use super::{Active, LiveArray, Mapped};
use crate::dm::{Table, TableLine, Target};

/// How a mapped device is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remade {
    /// Device-mapper's UUID; empty if it has none.
    pub uuid: String,
    /// Its number, where one was asked for.
    pub minor: Option<u32>,
    /// The table, if it has one.
    pub table: Option<String>,
    /// Whether nothing may be written to it.
    pub readonly: bool,
    /// Whether nothing is to be believed of what is on the log of one of its arrays.
    pub log_failed: bool,
    /// The bdevs of the table.
    pub parts: Vec<String>,
}

impl Mapped {
    /// How it is made again.
    pub(crate) fn remade(&self) -> Remade {
        let (uuid, readonly, active) = {
            let tables = self.tables();
            let active = tables.current();
            let active = active.map(|Active { table, arrays, .. }| (table.clone(), arrays.clone()));
            (tables.uuid.clone(), tables.readonly, active)
        };
        let parts = |table: &Table| {
            table.devices().into_iter().map(|name| name.as_str().to_owned()).collect()
        };
        let lines = active.as_ref().map(|(table, arrays)| {
            let lines = table.lines().iter().enumerate();
            let lines = lines.map(|(index, line)| remade_line(line, arrays.get(&index)));
            lines.collect::<Vec<_>>().join("\n")
        });
        let parts = active.as_ref().map(|(table, _)| parts(table)).unwrap_or_default();
        let minor = self.has_own_minor.then_some(self.minor);
        let mut arrays = active.iter().flat_map(|(_, arrays)| arrays.values());
        let log_failed = arrays.any(LiveArray::log_failed);
        Remade { uuid, minor, table: lines, readonly, log_failed, parts }
    }
}

fn remade_line(line: &TableLine, array: Option<&LiveArray>) -> String {
    let members = array.map(LiveArray::members).unwrap_or_default();
    TableLine { target: remade(&line.target, &members), ..line.clone() }.to_string()
}

/// The target that makes an array with these members again.
fn remade(target: &Target, members: &[MemberSnapshot]) -> Target {
    let slots = |is_so: fn(MemberState) -> bool| -> BTreeSet<usize> {
        let slots = members.iter().enumerate().filter(|(_, member)| is_so(member.state));
        slots.map(|(slot, _)| slot).collect()
    };
    let lost = slots(|state| matches!(state, MemberState::Faulty | MemberState::Missing));
    let rebuilding = slots(|state| state == MemberState::Rebuilding);
    let mut target = target.clone();
    match &mut target {
        Target::Raid(table) => {
            table.sync = SyncOption::Default;
            if table.has_metadata() {
                table.rebuild.clear();
            } else {
                table.rebuild = rebuilding;
                for &slot in &lost {
                    table.members[slot].data = None;
                }
            }
        }
        Target::Raid456(table) => {
            table.log.sync = SyncOption::Default;
            table.rebuild = rebuilding;
            for &slot in &lost {
                table.members[slot].name = None;
            }
        }
        Target::Raid45(table) => {
            table.log.sync = SyncOption::Default;
            table.dev_to_init = rebuilding.union(&lost).next().copied();
        }
        _ => {}
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::{Device, DeviceName};

    fn members(states: &[MemberState]) -> Vec<MemberSnapshot> {
        let member = |&state| MemberSnapshot {
            name: None,
            uuid: None,
            state,
            read_errors: 0,
            data_offset_bytes: 0,
            data_size_bytes: 0,
        };
        states.iter().map(member).collect()
    }

    /// Goal: what acts once is left out, and no member that was not in sync is trusted. Method: one table
    /// of each sort in each state; what comes of it can be read again.
    #[test]
    fn tables_say_what_is_so() {
        use MemberState::{Faulty, InSync, Rebuilding};
        let find = |name: &str| {
            let name = DeviceName::new(name)?;
            Some(Device { name, sectors: 32768, block_bytes: 512, fails: false })
        };
        let healthy = [InSync; 4];
        let failed = [InSync, Faulty, InSync, InSync];
        let rebuilt = [InSync, InSync, Rebuilding, InSync];
        for (states, table, right) in [
            (
                healthy,
                "0 98304 raid raid5_ls 2 128 nosync 4 - a - b - c - d",
                "0 98304 raid raid5_ls 1 128 4 - a - b - c - d",
            ),
            (
                healthy,
                "0 98304 raid raid5_ls 3 128 rebuild 1 4 - a - b - c - d",
                "0 98304 raid raid5_ls 1 128 4 - a - b - c - d",
            ),
            (
                failed,
                "0 98304 raid raid5_ls 2 128 nosync 4 - a - b - c - d",
                "0 98304 raid raid5_ls 1 128 4 - a - - - c - d",
            ),
            (
                rebuilt,
                "0 98304 raid raid5_ls 1 128 4 - a - b - c - d",
                "0 98304 raid raid5_ls 3 128 rebuild 2 4 - a - b - c - d",
            ),
            (
                failed,
                "0 98304 raid raid5_ls 3 128 rebuild 1 4 w a x b y c z d",
                "0 98304 raid raid5_ls 1 128 4 w a x b y c z d",
            ),
            (
                failed,
                "0 98304 raid456 core 2 1024 nosync raid5_ls 1 128 4 a 0 b 0 c 0 d 0",
                "0 98304 raid456 core 1 1024 raid5_ls 1 128 4 a 0 - 0 c 0 d 0",
            ),
            (
                rebuilt,
                "0 98304 raid45 core 2 1024 nosync raid5_ls 0 4 -1 a 0 b 0 c 0 d 0",
                "0 98304 raid45 core 1 1024 raid5_ls 0 4 2 a 0 b 0 c 0 d 0",
            ),
            (
                failed,
                "0 98304 raid45 core 1 1024 raid5_ls 0 4 -1 a 0 b 0 c 0 d 0",
                "0 98304 raid45 core 1 1024 raid5_ls 0 4 1 a 0 b 0 c 0 d 0",
            ),
        ] {
            let parsed = Table::parse(table, &find).unwrap();
            let line = &parsed.lines()[0];
            let target = remade(&line.target, &members(&states));
            let again = TableLine { target, ..line.clone() }.to_string();
            assert_eq!(again, right, "{table}");
            assert_eq!(Table::parse(&again, &find).unwrap().to_string(), again);
        }
    }
}
