//! Histories of arrays that a Linux kernel had, lived again on a real daemon: tables, messages, members
//! that fail and come back, reads and writes; at each moment the status and the event number.
//!
//! Every golden moment is here or is refused on purpose (`golden::intended::TABLES`). What is not the same
//! stands in [`MOMENTS`] with its reason.
//!
//! Not here: tables that are refused (`conformance`).

use std::fs::File;
use std::os::unix::fs::FileExt;

use golden::dmtable::{GoldenStatus, statuses};
use golden::intended::{MOMENTS, TABLES};
use serde_json::{Value, json};

use super::{line, ram_disks};
use crate::daemon::{Daemon, Place};
use crate::nvmf::disk::Disk;

/// What a status says behind the type; how far an action is is left out.
fn shape(status: &str) -> String {
    let mut words: Vec<String> = status.split(' ').skip(4).map(str::to_owned).collect();
    if !matches!(words[3].as_str(), "idle" | "frozen") {
        let total = words[2].split('/').next_back().unwrap().to_owned();
        words[2] = format!("*/{total}");
    }
    words.join(" ")
}

/// The moments of a group that are still to come.
struct History {
    daemon: Daemon,
    place: Place,
    group: &'static str,
    left: Vec<GoldenStatus>,
    different: Vec<usize>,
}

impl History {
    fn of(group: &'static str) -> Self {
        let place = Place::new();
        let daemon = place.start();
        ram_disks(&daemon, (0..4).filter(|number| *number != 1).chain(8..13));
        // Whose contents are changed behind the array's back.
        let filename = place.file("leg1", 16 << 20);
        let leg = json!({ "name": "1:1", "filename": filename, "block_size": 512 });
        daemon.ask("bdev_aio_create", leg);
        let mut left: Vec<_> = statuses().into_iter().filter(|row| row.group == group).collect();
        left.reverse();
        Self { daemon, place, group, left, different: Vec::new() }
    }

    /// The linear devices over the legs.
    fn linear(&self) {
        for number in 0..4 {
            let table = format!("0 32768 linear 1:{number} 0");
            self.dm("dm_create", json!({ "name": format!("253:{number}"), "table": table }));
        }
    }

    fn dm(&self, method: &str, params: Value) -> Value {
        self.daemon.ask(method, params)
    }

    fn create(&self, table: &str) {
        let table = table.replace("/dev/ram", "1:").replace("/dev/mapper/d", "253:");
        self.dm("dm_create", json!({ "name": "r", "table": table }));
    }

    /// The table of the next moment.
    fn create_next(&self) {
        self.create(self.left.last().unwrap().created);
    }

    fn named(&self, method: &str) {
        self.dm(method, json!({ "name": "r" }));
    }

    fn message(&self, words: &str) {
        self.dm("dm_message", json!({ "name": "r", "message": words }));
    }

    fn table_of_leg(&self, leg: u32, table: &str) {
        let name = format!("253:{leg}");
        self.dm("dm_table_load", json!({ "name": name, "table": table }));
        self.dm("dm_suspend", json!({ "name": name, "noflush": true }));
        self.dm("dm_resume", json!({ "name": name }));
    }

    fn fail(&self, leg: u32) {
        self.table_of_leg(leg, "0 32768 error");
    }

    fn mend(&self, leg: u32) {
        self.table_of_leg(leg, &format!("0 32768 linear 1:{leg} 0"));
    }

    /// Four blocks of 4 KiB of leg 1 are others.
    fn corrupt(&self) {
        let leg = File::options().write(true).open(self.place.path("leg1")).unwrap();
        let noise: Vec<u8> =
            (0..16384_u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 13) as u8).collect();
        leg.write_all_at(&noise, 64 << 10).unwrap();
        leg.sync_all().unwrap();
    }

    fn now(&self) -> (String, Value) {
        let status = shape(&line(&self.daemon, "dm_status", "r"));
        (status, self.dm("dm_info", json!({ "name": "r" }))[0]["event_nr"].clone())
    }

    /// The next moment: it is as the kernel had it, or as [`MOMENTS`] says.
    fn moment(&mut self, moment: &str) {
        let golden = self.left.pop().unwrap_or_else(|| panic!("{}: no more {moment}", self.group));
        assert_eq!(golden.moment, moment, "{}", self.group);
        assert_eq!(line(&self.daemon, "dm_table", "r"), golden.table, "{}: {moment}", self.group);
        let different =
            MOMENTS.iter().position(|(group, at, ..)| *group == self.group && moment.ends_with(at));
        let (status, events) = match different {
            Some(at) => (MOMENTS[at].2.to_owned(), Some(MOMENTS[at].3)),
            None => (shape(golden.status), golden.events),
        };
        self.different.extend(different);
        let what = format!("{}: {moment}: {status}, {events:?} events", self.group);
        let mut last = self.now();
        let is_it = |(now, count): &(String, Value)| {
            *now == status && events.is_none_or(|events| *count == events)
        };
        for _ in 0..100 {
            if is_it(&last) {
                return;
            }
            super::wait(std::time::Duration::from_millis(100));
            last = self.now();
        }
        panic!("{what}, and not {last:?}");
    }

    /// The places in [`MOMENTS`] that were seen.
    fn end(self) -> Vec<usize> {
        assert!(self.left.is_empty(), "{}: {:?}", self.group, self.left.last());
        self.daemon.stop();
        self.different
    }
}

/// 1 MiB, 64 KiB at a time, as dd does it: how many were written before one could not be.
fn write_all(disk: &mut Disk) -> usize {
    let zeroes = vec![0; 64 << 10];
    (0..16).take_while(|at| disk.write(at << 16, &zeroes)).count()
}

fn healthy() -> Vec<usize> {
    let mut history = History::of("healthy");
    while let Some(golden) = history.left.last().copied() {
        history.create(golden.created);
        history.moment(golden.moment);
        history.named("dm_remove");
    }
    history.end()
}

fn degraded() -> Vec<usize> {
    let mut history = History::of("degraded");
    while let Some(golden) = history.left.last().copied() {
        history.create(golden.created);
        history.moment(golden.moment);
        history.named("dm_remove");
    }
    history.end()
}

fn syncing() -> Vec<usize> {
    let mut history = History::of("syncing");
    history.create_next();
    for moment in ["t=0", "t=1", "t=3", "t=5"] {
        history.moment(moment);
    }
    history.end()
}

fn syncing_meta() -> Vec<usize> {
    let mut history = History::of("syncing_meta");
    history.create_next();
    for moment in ["t=0 (new set with metadata)", "t=1", "t=3"] {
        history.moment(moment);
    }
    history.message("frozen");
    history.moment("frozen");
    history.moment("frozen +2");
    history.message("check");
    history.moment("check while was frozen");
    history.message("idle");
    history.moment("idle");
    history.moment("idle +1");
    history.end()
}

fn sync6_meta() -> Vec<usize> {
    let mut history = History::of("sync6_meta");
    history.create_next();
    history.moment("t=0 (new raid6 set, metadata)");
    history.moment("t=2");
    history.end()
}

fn synced_meta() -> Vec<usize> {
    let mut history = History::of("synced_meta");
    history.create_next();
    history.moment("t=0");
    history.moment("after initial resync");
    let table = line(&history.daemon, "dm_table", "r");
    history.named("dm_suspend");
    history.moment("suspended");
    history.dm("dm_table_load", json!({ "name": "r", "table": table }));
    history.named("dm_resume");
    history.moment("after reload+resume");
    history.named("dm_remove");
    history.create_next();
    history.moment("second activation");
    history.named("dm_remove");
    history.create_next();
    history.moment("second activation, leg 0 absent");
    let mut disk = Disk::of(&history.daemon, "r");
    assert_eq!(write_all(&mut disk), 16);
    history.moment("written degraded");
    disk.close(&history.daemon);
    history.named("dm_remove");
    history.create_next();
    history.moment("leg 0 back");
    history.moment("leg 0 back +2s");
    history.end()
}

fn rebuild(group: &'static str) -> Vec<usize> {
    let mut history = History::of(group);
    if group == "rebuild_meta" {
        history.create_next();
        history.moment("nosync set with metadata");
        history.named("dm_remove");
    }
    history.create_next();
    history.moment("t=0");
    history.moment("t=2");
    history.message("max_recovery_rate 0");
    history.moment("t=22");
    history.end()
}

fn failed2_meta() -> Vec<usize> {
    let mut history = History::of("failed2_meta");
    history.linear();
    history.create_next();
    history.moment("healthy");
    let mut disk = Disk::of(&history.daemon, "r");
    history.fail(1);
    assert_eq!(write_all(&mut disk), 16);
    history.moment("leg 1 failed on write");
    history.fail(2);
    assert!(write_all(&mut disk) < 16);
    // A block that cannot be read is no reason to give up a member that is needed; a write is.
    assert!(!disk.write(0, &[0; 192 << 10]));
    history.moment("leg 2 failed too (array failed)");
    assert!(disk.read(0, 4096).is_some());
    history.moment("after read");
    disk.close(&history.daemon);
    // A service whose arrays are broken does not end well.
    history.named("dm_remove");
    history.end()
}

fn failedread() -> Vec<usize> {
    let mut history = History::of("failedread");
    history.linear();
    history.create_next();
    history.moment("healthy");
    let mut disk = Disk::of(&history.daemon, "r");
    history.fail(1);
    assert!((0..16).all(|at| disk.read(at << 16, 64 << 10) == Some(vec![0; 64 << 10])));
    history.moment("reads with leg 1 erroring");
    disk.close(&history.daemon);
    history.end()
}

fn failedmsg_meta() -> Vec<usize> {
    let mut history = History::of("failedmsg_meta");
    history.linear();
    history.create_next();
    let mut disk = Disk::of(&history.daemon, "r");
    history.fail(1);
    assert_eq!(write_all(&mut disk), 16);
    history.moment("leg 1 failed");
    history.message("check");
    history.moment("check while degraded");
    history.message("recover");
    history.moment("recover while leg 1 is D");
    disk.close(&history.daemon);
    history.end()
}

fn failed_meta() -> Vec<usize> {
    let mut history = History::of("failed_meta");
    history.linear();
    history.create_next();
    history.moment("healthy");
    let mut disk = Disk::of(&history.daemon, "r");
    history.fail(1);
    assert_eq!(write_all(&mut disk), 16);
    history.moment("leg 1 failed on write");
    history.mend(1);
    history.moment("medium mended, same table still loaded");
    history.named("dm_suspend");
    history.named("dm_resume");
    history.moment("after suspend+resume (attempt_restore_of_faulty_devices)");
    history.moment("+2s");
    assert!(disk.flush());
    disk.close(&history.daemon);
    history.end()
}

fn failed_long() -> Vec<usize> {
    let mut history = History::of("failed_long");
    history.linear();
    history.create_next();
    history.moment("healthy, no metadata devices");
    let mut disk = Disk::of(&history.daemon, "r");
    history.fail(1);
    assert_eq!(write_all(&mut disk), 16);
    history.moment("the full-stripe write is still hanging after 3 s");
    disk.close(&history.daemon);
    history.end()
}

fn check() -> Vec<usize> {
    let mut history = History::of("check");
    history.create_next();
    history.moment("zeroed, clean");
    history.message("check");
    history.moment("right after check");
    history.moment("check +2s");
    history.corrupt();
    history.message("check");
    history.moment("check after corrupting 4 x 4KiB of leg 1");
    history.message("repair");
    history.moment("right after repair");
    history.moment("repair +2s");
    history.message("check");
    history.moment("check after repair");
    history.message("idle");
    history.moment("idle");
    history.end()
}

fn check_nometa() -> Vec<usize> {
    let mut history = History::of("check_nometa");
    history.create_next();
    history.moment("zeroed, clean");
    history.message("check");
    history.moment("right after check");
    history.moment("check +2s");
    history.end()
}

fn checkslow() -> Vec<usize> {
    let mut history = History::of("checkslow");
    history.create_next();
    history.corrupt();
    history.message("check");
    for moment in ["checking 1", "checking 2", "checking 3"] {
        history.moment(moment);
    }
    history.message("frozen");
    history.moment("frozen in mid-check");
    history.message("repair");
    history.moment("repairing 1");
    history.moment("repairing 2");
    let busy = history.daemon.refused("dm_message", json!({ "name": "r", "message": "check" }));
    assert_eq!(busy.code, -16, "{busy}");
    history.message("idle");
    history.moment("idle");
    history.moment("idle +1");
    history.end()
}

fn frozen() -> Vec<usize> {
    let mut history = History::of("frozen");
    history.create_next();
    history.message("frozen");
    history.moment("frozen");
    history.message("idle");
    history.moment("idle");
    history.message("resync");
    history.moment("resync message");
    history.moment("+2");
    history.message("recover");
    history.moment("recover message");
    history.message("CHECK");
    history.moment("upper case CHECK");
    for words in ["reshape", "bogus"] {
        let error = history.daemon.refused("dm_message", json!({ "name": "r", "message": words }));
        assert_eq!(error.code, -22, "{words}: {error}");
    }
    history.message("check x");
    history.moment("after messages");
    history.end()
}

/// Lives a history, and tells the places in [`MOMENTS`] that were seen.
type Live = fn() -> Vec<usize>;

/// Goal: at each golden moment status, table and event number are the kernel's, or differ as written
/// down. Method: every history once; whatever was done to the kernel's array is done to ours.
#[test]
fn histories_are_those_of_the_kernel() {
    let groups: &[(&str, Live)] = &[
        ("healthy", healthy),
        ("degraded", degraded),
        ("syncing", syncing),
        ("syncing_meta", syncing_meta),
        ("sync6_meta", sync6_meta),
        ("synced_meta", synced_meta),
        ("rebuild", || rebuild("rebuild")),
        ("rebuild_meta", || rebuild("rebuild_meta")),
        ("failed2_meta", failed2_meta),
        ("failedread", failedread),
        ("failedmsg_meta", failedmsg_meta),
        ("failed_meta", failed_meta),
        ("failed_long", failed_long),
        ("check", check),
        ("check_nometa", check_nometa),
        ("checkslow", checkslow),
        ("frozen", frozen),
    ];
    let refused = |row: &GoldenStatus| TABLES.iter().any(|(words, ..)| row.created.contains(words));
    for row in statuses() {
        let lived = groups.iter().any(|(group, _)| *group == row.group);
        assert!(lived != refused(&row), "{}: {}", row.group, row.moment);
    }
    let outcomes: Vec<Result<Vec<usize>, String>> = std::thread::scope(|scope| {
        let live = |(group, live): &(&'static str, Live)| {
            let (group, live) = (*group, *live);
            let lived = scope.spawn(live).join();
            lived.map_err(|panic| match panic.downcast_ref::<String>() {
                Some(text) => format!("{group}: {text}"),
                None => format!("{group}: panicked"),
            })
        };
        groups.iter().map(live).collect()
    });
    let wrong: Vec<&String> =
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let seen: Vec<usize> = outcomes.into_iter().flatten().flatten().collect();
    for (at, different) in MOMENTS.iter().enumerate() {
        assert!(seen.contains(&at), "{different:?} does not occur");
    }
}
