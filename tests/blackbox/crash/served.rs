//! The same with everything that users have: `raid456 serve --state` over real files, its array exported
//! over NVMe/TCP, a host that writes. It is killed, loses members while it runs and while it does not, and
//! is started again.
//!
//! ```text
//!   start --> the array is there, or refused for a reason --> roles, dirty regions, every block
//!     ^                                                                     |
//!     |                                                     whoever is not there comes back
//!     |                                                                     v
//!   a file is moved, deleted or cut  <-- kill -9, or SIGTERM <-- load, a member is taken out under it
//! ```
//!
//! | a member that is lost | at the start |
//! |---|---|
//! | taken out while hosts write | it is rebuilt, or a spare is |
//! | its file is moved away | the array starts without it, if it is not dirty |
//! | its file is deleted | the same; a blank one takes its place later |
//! | its file is cut short | refused until the bdev is deleted |
//!
//! After a stop in order nothing is dirty, and nothing is resynced.
//!
//! Not here: the host (`load`), what blocks may hold (`model`), kills of the library (`rounds`).

use std::fs::{self, OpenOptions};
use std::thread;
use std::time::Duration;

use raid::dirty_log::{DirtyLog, DiskArea, SyncOption};
use reactor::clock;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::load::Host;
use super::model::Model;
use super::number;
use super::victim::CHUNK_BLOCKS;
use crate::daemon::{Daemon, Place};
use crate::locked::until_let_go;
use crate::nvmf::export;
use crate::rig::{ARRAY, BLOCK, Rng};

const MEMBER_BYTES: u64 = 5 << 20;
/// 1 MiB of it is in front of the data.
const COMPONENT_BYTES: u64 = 4 << 20;
const REGION_KIB: u64 = 64;
const REGIONS: u64 = COMPONENT_BYTES / (REGION_KIB << 10);
const DATA_STRIPS: usize = 3;
const BLOCKS: u64 = COMPONENT_BYTES * DATA_STRIPS as u64 / BLOCK as u64;

/// Rounds, unless `RAID456_CRASH_ROUNDS` says otherwise.
const ROUNDS: u64 = 5;

#[test]
fn a_served_raid5_survives_kills() {
    survives_kills("raid5", 1, "aio");
}

#[test]
fn a_served_raid6_survives_kills() {
    survives_kills("raid6", 2, "uring");
}

/// Goal: whatever kill -9 and the loss of members leave behind, the service starts again, serves at once,
/// resyncs no more than what was dirty in the log, and has every acknowledged block; what it refuses it
/// refuses in the right words with nothing changed. Method: the seed of a round decides everything but
/// time; `RAID456_CRASH_SEED` gives a run again.
fn survives_kills(level: &'static str, parity: usize, kind: &'static str) {
    let seed = number("RAID456_CRASH_SEED", u64::from(std::process::id()));
    let begin = seed.wrapping_mul(4000).wrapping_add(1000 * (1 + parity as u64));
    let mut world = World::new(level, parity, kind);
    for round in 1..=number("RAID456_CRASH_ROUNDS", ROUNDS) {
        world.shown = format!("{level}, RAID456_CRASH_SEED={seed}, round {round}");
        world.round(round, &mut Rng::new(begin.wrapping_add(round)));
    }
    world.end();
    eprintln!("{level}, seed {seed}: {}", world.tally.told());
}

/// What has happened.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    kills_before_ready: usize,
    stops: usize,
    acknowledged: usize,
    in_flight: usize,
    /// Regions that were dirty in the log before a start, not after a stop in order.
    dirty_regions: u64,
    /// Those of them that were out of sync when the array was first seen after it: the resync has begun then.
    out_of_sync_regions: u64,
    /// All regions at those starts.
    regions: u64,
    taken_out: usize,
    moved: usize,
    deleted: usize,
    cut: usize,
    refused: usize,
    forced: usize,
    completed_by_return: usize,
    rebuilt: usize,
    spares: usize,
    garbage_blocks: usize,
    /// From the start of the process until a host has read, where no member was missing.
    serving_ms: Vec<u64>,
}

impl Tally {
    fn told(&self) -> String {
        let mut times = self.serving_ms.clone();
        times.sort_unstable();
        let at = |part: usize| times.get((times.len().max(1) - 1) * part / 10).copied();
        let (median, most) = (at(5), at(10));
        let (dirty, out_of_sync, all) =
            (self.dirty_regions, self.out_of_sync_regions, self.regions);
        format!(
            "{self:?}; at starts that did not follow a clean stop, of {all} regions {dirty} were dirty and \
             {out_of_sync} out of sync; serving after {median:?} ms (median), {most:?} ms at the most"
        )
    }
}

/// How a member that is not there was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// Its file has another name.
    Moved,
    /// Its file is deleted: a blank one takes its place.
    Deleted,
    /// Its file is too short: it is deleted before the next one takes its place.
    Cut,
}

struct World {
    place: Place,
    shown: String,
    level: &'static str,
    parity: usize,
    kind: &'static str,
    port: u16,
    /// Names of all files that are or may become members.
    files: Vec<String>,
    hidden: Vec<(String, Loss)>,
    /// Who is known to be in sync, by slot.
    roles: Vec<Option<String>>,
    /// Slots whose member was not in sync when the array was seen last, or has left since.
    missing: usize,
    /// The array was stopped in order, and nothing was out of sync.
    clean: bool,
    /// All parity was right when the last load began.
    settled: bool,
    model: Model,
    tally: Tally,
}

impl World {
    fn new(level: &'static str, parity: usize, kind: &'static str) -> Self {
        let place = Place::new();
        let files: Vec<_> = (0..=DATA_STRIPS + parity).map(|file| format!("f{file}")).collect();
        for name in &files {
            place.file(name, MEMBER_BYTES);
        }
        place.file("log", 1 << 20);
        let mut world = Self {
            place,
            shown: String::new(),
            level,
            parity,
            kind,
            port: 0,
            hidden: Vec::new(),
            roles: files[..DATA_STRIPS + parity].iter().cloned().map(Some).collect(),
            files,
            missing: 0,
            clean: false,
            settled: false,
            model: Model::new(BLOCKS, CHUNK_BLOCKS),
            tally: Tally::default(),
        };
        world.make();
        world
    }

    /// What an operator does once.
    fn make(&mut self) {
        let daemon = self.launch(&mut Rng::new(1));
        for name in self.files.iter().map(String::as_str).chain(["log"]) {
            self.plug(&daemon, name);
        }
        let (spare, members) = self.files.split_last().unwrap();
        daemon.ask(
            "bdev_raid_create",
            json!({
                "name": ARRAY, "raid_level": self.level, "strip_size_kb": 64, "superblock": true,
                "base_bdevs": members, "log_bdev": "log", "region_size_kb": REGION_KIB,
                "spares": [spare],
            }),
        );
        self.port = export(&daemon, ARRAY);
        self.settle(&daemon);
        daemon.stop();
        self.clean = true;
    }

    fn args(&self, rng: &mut Rng) -> Vec<String> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let cores = if cores > 1 && rng.one_in(2) { "0,1" } else { "0" };
        let state = self.place.path("state.json");
        ["--state", &state, "--patience", "1", "--cores", cores].map(str::to_owned).to_vec()
    }

    fn launch(&self, rng: &mut Rng) -> Daemon {
        let args = self.args(rng);
        self.place.start_with(&args.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    fn plug(&self, daemon: &Daemon, name: &str) {
        let file = json!({ "name": name, "filename": self.place.path(name), "block_size": 4096 });
        daemon.ask(&format!("bdev_{}_create", self.kind), file);
    }

    /// The same where the service may have found the file by itself: what failed at its start it tries again
    /// whenever something has changed.
    fn plug_back(&self, daemon: &Daemon, name: &str) {
        let file = json!({ "name": name, "filename": self.place.path(name), "block_size": 4096 });
        if let Err(error) = daemon.call(&format!("bdev_{}_create", self.kind), file) {
            assert_eq!(error.code, -17, "{}: {error}", self.shown);
        }
    }

    fn is_hidden(&self, name: &str) -> bool {
        self.hidden.iter().any(|(hidden, _)| hidden == name)
    }

    fn round(&mut self, round: u64, rng: &mut Rng) {
        if rng.one_in(8) {
            let args = self.args(rng);
            let args: Vec<_> = args.iter().map(AsRef::as_ref).collect();
            self.place.kill_at_start(&args, Duration::from_millis(rng.below(150) as u64));
            self.let_go();
            self.tally.kills_before_ready += 1;
        }
        let lost = (self.missing < self.parity && rng.one_in(3)).then(|| self.lose(rng));
        let (daemon, mut host) = self.start(lost, rng);
        self.compare(&mut host, round);
        self.settled = false;
        if !rng.one_in(4) {
            self.complete(&daemon, rng);
            self.settle(&daemon);
            self.compare(&mut host, round);
            self.check(&daemon);
        }
        self.live(daemon, host, round, rng);
    }

    /// Load, perhaps the loss of a member under it, and the end.
    fn live(&mut self, daemon: Daemon, host: Host, round: u64, rng: &mut Rng) {
        let load = host.load(BLOCKS, rng.next(), round << 32);
        let moment = |rng: &mut Rng| {
            thread::park_timeout(Duration::from_millis(5 + rng.below(250) as u64));
        };
        moment(rng);
        if self.missing < self.parity && rng.one_in(4) {
            let present: Vec<_> = self.roles.iter().flatten().cloned().collect();
            let name = present[rng.below(present.len())].clone();
            match daemon.call("bdev_raid_remove_base_bdev", json!({ "name": name })) {
                Ok(_) => {
                    self.leaves(&name);
                    self.tally.taken_out += 1;
                }
                Err(error) => {
                    let right = error.message.ends_with("wait until its resync has ended");
                    assert!(right && !self.settled, "{}: {error}", self.shown);
                }
            }
            moment(rng);
        }
        assert!(!load.has_ended(), "{}: the load has ended:\n{}", self.shown, daemon.log());
        let in_order = rng.one_in(5);
        if in_order {
            daemon.stop();
            self.tally.stops += 1;
        } else {
            daemon.end(Signal::KILL);
            self.tally.kills += 1;
            self.let_go();
        }
        let told = self.model.hear(load.journal());
        self.tally.acknowledged += told.acknowledged;
        self.tally.in_flight += told.in_flight;
        self.clean = in_order && self.missing == 0 && self.settled;
        if self.clean {
            assert_eq!(self.dirty_regions(), 0, "{}: dirty after a stop in order", self.shown);
        }
    }

    /// Waits for what the kernel still has of a service that was killed, so that the files are read as they stay.
    fn let_go(&self) {
        for name in self.files.iter().map(String::as_str).chain(["log"]) {
            if !self.is_hidden(name) {
                until_let_go(&self.place.path(name));
            }
        }
    }

    fn leaves(&mut self, name: &str) {
        let slot = self.roles.iter_mut().find(|role| role.as_deref() == Some(name));
        *slot.unwrap() = None;
        self.missing += 1;
    }

    /// Loses a member while nothing runs.
    fn lose(&mut self, rng: &mut Rng) -> (String, Loss) {
        let there: Vec<_> = self.roles.iter().flatten().cloned().collect();
        let name = there[rng.below(there.len())].clone();
        let path = self.place.path(&name);
        let loss = [Loss::Moved, Loss::Moved, Loss::Deleted, Loss::Cut][rng.below(4)];
        match loss {
            Loss::Moved => {
                fs::rename(&path, format!("{path}.away")).unwrap();
                self.tally.moved += 1;
            }
            Loss::Deleted => {
                fs::remove_file(&path).unwrap();
                self.tally.deleted += 1;
            }
            Loss::Cut => {
                let file = OpenOptions::new().write(true).open(&path).unwrap();
                file.set_len(COMPONENT_BYTES).unwrap();
                self.tally.cut += 1;
            }
        }
        self.leaves(&name);
        self.hidden.push((name.clone(), loss));
        (name, loss)
    }

    /// The file of a member is there again: the same, or a blank one.
    fn unhide(&mut self, at: usize) -> String {
        let (name, loss) = self.hidden.remove(at);
        let path = self.place.path(&name);
        match loss {
            Loss::Moved => fs::rename(format!("{path}.away"), &path).unwrap(),
            Loss::Deleted | Loss::Cut => drop(self.place.file(&name, MEMBER_BYTES)),
        }
        name
    }

    /// Starts the service, and has it serve the array: by itself, or as an operator would.
    fn start(&mut self, lost: Option<(String, Loss)>, rng: &mut Rng) -> (Daemon, Host) {
        let dirty = self.dirty_regions();
        let before = self.contents();
        let begin = clock::now();
        let daemon = self.launch(rng);
        let whole = self.hidden.is_empty();
        let mut by_itself = true;
        if let Some((name, Loss::Cut)) = &lost {
            self.expect_too_small(&daemon, name, &before);
            by_itself = false;
        }
        let told = self.await_verdict(&daemon, "dirty and degraded");
        if told["state"] != "online" {
            by_itself = false;
            self.overcome_refusal(&daemon, &told, &before, lost, rng);
        }
        let mut host = self.connect(&daemon);
        if whole {
            self.tally.serving_ms.push((clock::now().0 - begin.0) / 1_000_000);
        }
        host.read(0, 1).unwrap();
        let out_of_sync = by_itself.then(|| out_of_sync(&told));
        self.look(&daemon, out_of_sync.map(|out_of_sync| Found { dirty, out_of_sync }));
        (daemon, host)
    }

    /// Waits until the array runs, or does not for this reason.
    fn await_verdict(&self, daemon: &Daemon, refused: &str) -> Value {
        let mut told = Value::Null;
        daemon.wait_until(&self.shown, |daemon| {
            told = raid(daemon);
            told["state"] == "online" || told["reason"].as_str().unwrap().contains(refused)
        });
        told
    }

    /// A host connects as soon as it can: the namespace comes with the array, if that was late.
    fn connect(&self, daemon: &Daemon) -> Host {
        let mut host = None;
        daemon.wait_until(&format!("{}: a host reads", self.shown), |_| {
            let connected = Host::connect(self.port);
            host = connected.and_then(|mut host| host.read(0, 1).map(|_| host)).ok();
            host.is_some()
        });
        host.unwrap()
    }

    /// A member that has shrunk: nothing helps but to take it away.
    fn expect_too_small(&mut self, daemon: &Daemon, name: &str, before: &[(String, Vec<u8>)]) {
        let told = self.await_verdict(daemon, "is too small");
        let slot = raid(daemon)["base_bdevs_list"]
            .as_array()
            .unwrap()
            .iter()
            .position(|member| member["name"] == name);
        let expected = format!(
            "array {ARRAY}: bdev {name} of {COMPONENT_BYTES} bytes is too small for slot {}, which \
             needs {MEMBER_BYTES}",
            slot.unwrap()
        );
        assert_eq!(told["reason"], expected, "{}", self.shown);
        assert!(self.contents() == before, "{}: a refusal has changed a member", self.shown);
        self.tally.refused += 1;
        daemon.ask(&format!("bdev_{}_delete", self.kind), json!({ "name": name }));
        fs::remove_file(self.place.path(name)).unwrap();
        // It is refused again if it is dirty.
        drop(daemon.call("bdev_raid_assemble", json!({ "name": ARRAY })));
    }

    /// The array did not start by itself: it has to be for the one reason that there may be.
    fn overcome_refusal(
        &mut self,
        daemon: &Daemon,
        told: &Value,
        before: &[(String, Vec<u8>)],
        lost: Option<(String, Loss)>,
        rng: &mut Rng,
    ) {
        let reason = told["reason"].as_str().unwrap();
        let right = reason.starts_with("array r0 is dirty and degraded: ")
            && reason.ends_with("or force to trust the parity");
        assert!(right, "{}: {reason}", self.shown);
        assert!(self.missing > 0 && !self.clean, "{}: {reason}", self.shown);
        let cut = lost.as_ref().filter(|(_, loss)| *loss == Loss::Cut).map(|(name, _)| name);
        let now = self.contents();
        let same = before.iter().filter(|(name, _)| Some(name) != cut).eq(&now);
        assert!(same, "{}: a refusal has changed a member", self.shown);
        self.tally.refused += 1;
        let back = lost.filter(|(_, loss)| *loss == Loss::Moved && rng.one_in(2));
        if let Some((name, _)) = back {
            let at = self.hidden.iter().position(|(hidden, _)| *hidden == name).unwrap();
            let name = self.unhide(at);
            self.plug_back(daemon, &name);
            if raid(daemon)["state"] == "online" {
                self.tally.completed_by_return += 1;
                return;
            }
            // Another one is missing as well.
            assert!(self.missing > 1, "{}: complete again: {}", self.shown, raid(daemon));
        }
        daemon.ask("bdev_raid_assemble", json!({ "name": ARRAY, "force": true }));
        self.model.forced();
        self.tally.forced += 1;
    }

    /// Whoever was in sync is, in the slot that it had; no more is out of sync than the log has dirty.
    fn look(&mut self, daemon: &Daemon, found: Option<Found>) {
        let told = raid(daemon);
        let list = told["base_bdevs_list"].as_array().unwrap();
        for (slot, role) in self.roles.iter().enumerate() {
            let Some(name) = role else { continue };
            let member = &list[slot];
            let same = member["name"] == **name && member["state"] == "in_sync";
            assert!(same, "{}: {name} in slot {slot}: {told}\n{}", self.shown, daemon.log());
        }
        self.remember(&told);
        let log = &told["log"];
        assert_eq!((&log["regions"], &log["health"]), (&json!(REGIONS), &json!("A")), "{told}");
        let Some(Found { dirty, out_of_sync: first }) = found else { return };
        let now = out_of_sync(&told);
        assert!(now <= first && first <= dirty, "{}: {dirty} dirty, {first}, {told}", self.shown);
        if self.clean {
            assert_eq!(dirty + first, 0, "{}: after a stop in order: {told}", self.shown);
        } else {
            self.tally.dirty_regions += dirty;
            self.tally.out_of_sync_regions += first;
            self.tally.regions += REGIONS;
        }
    }

    fn remember(&mut self, told: &Value) {
        let list = told["base_bdevs_list"].as_array().unwrap();
        let role = |member: &Value| {
            (member["state"] == "in_sync").then(|| member["name"].as_str().unwrap().to_owned())
        };
        self.roles = list.iter().map(role).collect();
        self.missing = self.roles.iter().filter(|role| role.is_none()).count();
    }

    /// Waits until nothing goes on, and nothing is left to be done.
    fn settle(&mut self, daemon: &Daemon) {
        let mut told = Value::Null;
        daemon.wait_until(&format!("{}: at rest", self.shown), |daemon| {
            told = raid(daemon);
            let list = told["base_bdevs_list"].as_array().unwrap();
            let any = |state: &str| list.iter().any(|member| member["state"] == state);
            let optimal = list.iter().all(|member| member["state"] == "in_sync");
            let rebuilding = any("rebuilding");
            told["sync_action"] == "idle" && !rebuilding && (told["in_sync"] == true || !optimal)
        });
        self.remember(&told);
    }

    /// Reads every block. Those that may hold anything, and hold nothing, are written anew.
    fn compare(&mut self, host: &mut Host, round: u64) {
        let seen = self.model.observe(&host.read_all(BLOCKS));
        let garbage = seen.unwrap_or_else(|wrong| panic!("{}: {wrong}", self.shown));
        self.tally.garbage_blocks += garbage.len();
        let version = round << 32 | 0xffff_ffff;
        for block in garbage {
            host.write(block, version);
            self.model.wrote(block, version);
        }
    }

    /// Those that were lost come back, and whoever is not a member may become one, or a spare.
    fn complete(&mut self, daemon: &Daemon, rng: &mut Rng) {
        let mut at = 0;
        while at < self.hidden.len() {
            if rng.one_in(3) {
                at += 1;
            } else {
                let name = self.unhide(at);
                self.plug_back(daemon, &name);
            }
        }
        self.settle(daemon);
        for name in self.files.clone() {
            if self.is_hidden(&name) || daemon.bdev(&name)["claimed"] == true {
                continue;
            }
            let array = json!({ "raid_bdev": ARRAY, "base_bdev": name });
            if self.missing > 0 {
                daemon.ask("bdev_raid_add_base_bdev", array);
                self.tally.rebuilt += 1;
                self.settle(daemon);
            } else if rng.one_in(2) {
                daemon.ask("bdev_raid_add_spare", array);
                self.tally.spares += 1;
            }
        }
    }

    /// All parity has to be right.
    fn check(&mut self, daemon: &Daemon) {
        if self.missing < self.parity {
            daemon.ask("bdev_raid_message", json!({ "name": ARRAY, "message": "check" }));
            self.settle(daemon);
            let told = raid(daemon);
            let (shown, log) = (&self.shown, daemon.log());
            assert_eq!(told["mismatch_sectors"], 0, "{shown}: wrong parity: {told}\n{log}");
        }
        self.model.settled();
        self.settled = true;
    }

    /// The last round's traces are looked at, too, and a stop in order.
    fn end(&mut self) {
        let mut rng = Rng::new(0);
        for _ in 0..2 {
            let (daemon, mut host) = self.start(None, &mut rng);
            self.compare(&mut host, 1 << 20);
            self.settle(&daemon);
            drop(host);
            daemon.stop();
            self.clean = self.missing == 0;
        }
    }

    /// What the log on its device says.
    fn dirty_regions(&self) -> u64 {
        let bytes = fs::read(self.place.path("log")).unwrap();
        let area = DiskArea::new(BLOCK as u32, REGIONS);
        let image = &bytes[..area.area_bytes() as usize];
        DirtyLog::load(Some(image), area, SyncOption::Default).log.dirty_count()
    }

    fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let there = self.files.iter().filter(|name| fs::exists(self.place.path(name)).unwrap());
        there.map(|name| (name.clone(), fs::read(self.place.path(name)).unwrap())).collect()
    }
}

/// What a start has found.
struct Found {
    /// Regions that were dirty in the log before it.
    dirty: u64,
    /// Regions that were out of sync when the array was first seen.
    out_of_sync: u64,
}

fn out_of_sync(told: &Value) -> u64 {
    let count = |key: &str| told["log"][key].as_u64().unwrap();
    count("regions") - count("regions_in_sync")
}

/// The only array.
fn raid(daemon: &Daemon) -> Value {
    daemon.ask("bdev_raid_get_bdevs", json!({ "category": "all" }))[0].take()
}
