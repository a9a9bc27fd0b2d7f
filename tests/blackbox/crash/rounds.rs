//! The rounds: a victim is killed, and whatever it leaves behind has to be what its journal allows.
//!
//! Files stand for devices: one that is hidden is not there when a service starts. One more than the
//! array needs is its spare, or waits to become a member again.
//!
//! Not here: the victim, the model.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::Duration;

use raid::dirty_log::{DirtyLog, DiskArea, SyncOption};
use raid::member::MemberState;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::model::Model;
use super::number;
use super::victim::{CHUNK_BLOCKS, Orders, READY, Record};
use crate::daemon::{Place, entry};
use crate::locked::until_let_go;
use crate::rig::{ARRAY, BLOCK, Rig, Rng, is_at_rest, stamped};

const MEMBER_BYTES: u64 = 5 << 20;
/// 1 MiB of it is in front of the data.
const COMPONENT_BYTES: u64 = 4 << 20;
const REGION_KIB: u64 = 256;
const REGIONS: u64 = COMPONENT_BYTES / (REGION_KIB << 10);
/// RAID 5 of three data strips and RAID 6 of as many.
const DATA_STRIPS: usize = 3;

/// Rounds, unless `RAID456_CRASH_ROUNDS` says otherwise.
const ROUNDS: u64 = 6;

#[test]
fn raid5_survives_kills() {
    survives_kills("raid5", 1, "uring");
}

#[test]
fn raid6_survives_kills() {
    survives_kills("raid6", 2, "aio");
}

/// Goal: after a kill -9 at any moment every acknowledged block is there, parity is right once the dirty
/// regions are resynced, and an array that is dirty and degraded does not start by itself. Method: the
/// seed of a round decides everything but time; `RAID456_CRASH_SEED` gives a run again.
fn survives_kills(level: &'static str, parity: usize, kind: &'static str) {
    let seed = number("RAID456_CRASH_SEED", u64::from(std::process::id()));
    let begin = seed.wrapping_mul(2000).wrapping_add(1000 * parity as u64);
    let mut world = World::new(level, parity, kind);
    for round in 0..number("RAID456_CRASH_ROUNDS", ROUNDS) {
        let mut rng = Rng::new(begin.wrapping_add(round));
        world.shown = format!("{level}, RAID456_CRASH_SEED={seed}, round {round}");
        world.round(round, &mut rng);
    }
    eprintln!("{level}, seed {seed}: {:?}", world.tally);
}

/// What has happened.
#[derive(Debug, Default)]
struct Tally {
    killed_before_ready: usize,
    crashes_unseen: usize,
    acknowledged: usize,
    in_flight: usize,
    dirty_regions: u64,
    regions: u64,
    refused: usize,
    forced: usize,
    completed_by_return: usize,
    garbage_blocks: usize,
    lost_members: usize,
    lost_after_crash: usize,
    rebuilt: usize,
    spares_used: usize,
}

struct World {
    place: Place,
    shown: String,
    level: &'static str,
    parity: usize,
    kind: &'static str,
    /// Names of all files that are or may become members.
    files: Vec<String>,
    hidden: Vec<String>,
    /// Members that were not in sync when the array was seen last, or have left since.
    missing: usize,
    /// A crash was left as it is.
    unseen: bool,
    /// A service has had the time to make the array: before, all of its members have to be there.
    made: bool,
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
        let stripe_blocks = DATA_STRIPS as u64 * (64 << 10) / BLOCK as u64;
        assert_eq!(stripe_blocks, CHUNK_BLOCKS);
        let blocks = COMPONENT_BYTES * DATA_STRIPS as u64 / BLOCK as u64;
        Self {
            place,
            shown: String::new(),
            level,
            parity,
            kind,
            files,
            hidden: Vec::new(),
            missing: 0,
            unseen: false,
            made: false,
            model: Model::new(blocks, stripe_blocks),
            tally: Tally::default(),
        }
    }

    fn file_entry(&self, name: &str) -> Value {
        let params = json!({ "name": name, "filename": self.place.path(name), "block_size": 4096 });
        entry(&format!("bdev_{}_create", self.kind), params)
    }

    fn is_hidden(&self, name: &str) -> bool {
        self.hidden.iter().any(|hidden| hidden == name)
    }

    /// What a service starts with: the files that are there, and an array that is made the first time.
    fn entries(&self) -> Vec<Value> {
        let there = self.files.iter().filter(|name| !self.is_hidden(name));
        let mut entries: Vec<_> = there.map(|name| self.file_entry(name)).collect();
        entries.push(self.file_entry("log"));
        let (spare, members) = self.files.split_last().unwrap();
        entries.push(entry(
            "bdev_raid_create",
            json!({
                "name": ARRAY, "raid_level": self.level, "strip_size_kb": 64, "superblock": true,
                "base_bdevs": members, "log_bdev": "log", "region_size_kb": REGION_KIB,
                "spares": [spare],
            }),
        ));
        entries
    }

    fn round(&mut self, round: u64, rng: &mut Rng) {
        let journal = PathBuf::from(self.place.path("journal"));
        // A crash may have left a rebuild, too, and nobody has looked.
        let force = self.missing > 0;
        let orders = Orders {
            entries: self.entries(),
            journal: journal.clone(),
            seed: rng.next(),
            first_version: (round + 1) << 32,
            force,
        };
        self.kill_one(&orders, rng);
        if force {
            self.model.forced();
        }
        let told = self.model.hear(Record::read_all(&fs::read(&journal).unwrap_or_default()));
        drop(fs::remove_file(&journal));
        self.tally.acknowledged += told.acknowledged;
        self.tally.in_flight += told.in_flight;
        if rng.one_in(4) {
            self.tally.crashes_unseen += 1;
            self.unseen = true;
            return;
        }
        let may_lose = self.missing == 0 && !self.unseen && self.made;
        let lost = (may_lose && rng.one_in(2)).then(|| self.lose(rng));
        self.tally.lost_after_crash += usize::from(lost.is_some());
        self.inspect(round, lost.as_deref(), rng);
        self.unseen = false;
    }

    /// Starts a victim, and kills it at some moment.
    fn kill_one(&mut self, orders: &Orders, rng: &mut Rng) {
        let mut child = orders.start(Path::new(&self.place.path("orders")));
        if rng.one_in(6) {
            self.tally.killed_before_ready += 1;
        } else {
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains(READY));
            if !ready {
                self.fail_with(child, "did not begin to write");
            }
            self.made = true;
        }
        thread::park_timeout(Duration::from_millis(5 + rng.below(296) as u64));
        if child.try_wait().unwrap().is_some() {
            self.fail_with(child, "ended by itself");
        }
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        child.wait().unwrap();
        // What the kernel still has of its requests is written first: the files are read as they stay.
        for name in self.files.iter().map(String::as_str).chain(["log"]) {
            until_let_go(&self.place.path(name));
        }
    }

    fn fail_with(&self, mut child: Child, what: &str) -> ! {
        drop(child.kill());
        let status = child.wait();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        panic!("{}: the victim {what}: {status:?}:\n{said}", self.shown);
    }

    /// Hides a member of an array that has all of them. Returns its name.
    fn lose(&mut self, rng: &mut Rng) -> String {
        let there: Vec<_> = self.files.iter().filter(|name| !self.is_hidden(name)).collect();
        // Never the one that may be the spare: who is what, the superblocks know.
        let name = there[rng.below(there.len())].clone();
        self.hide(&name);
        name
    }

    fn hide(&mut self, name: &str) {
        self.hidden.push(name.to_owned());
        self.missing += 1;
        self.tally.lost_members += 1;
    }

    /// Assembles the array here, and looks at everything.
    fn inspect(&mut self, round: u64, lost: Option<&str>, rng: &mut Rng) {
        let dirty = self.dirty_regions();
        self.tally.dirty_regions += dirty;
        self.tally.regions += REGIONS;
        let before = self.contents();
        let rig = Rig::start();
        rig.apply(&self.entries()).unwrap();
        self.made = true;
        if rig.raid().is_none() {
            self.overcome_refusal(&rig, &before, lost, rng);
        }
        self.compare(&rig, round);
        self.complete(&rig, rng);
        rig.wait_until(&self.shown, |rig| is_at_rest(&rig.snapshot()));
        self.compare(&rig, round);
        let mismatched = rig.check();
        assert_eq!(mismatched, 0, "{}: rows with wrong parity", self.shown);
        self.model.settled();
        let states = rig.states();
        self.missing = states.iter().filter(|state| **state != MemberState::InSync).count();
        if rng.one_in(3) && self.missing < self.parity {
            // It is hidden once the service has stopped.
            let members = rig.snapshot().members;
            let present: Vec<_> = members.iter().filter_map(|member| member.name.clone()).collect();
            let name = present[rng.below(present.len())].clone();
            rig.stop();
            self.hide(&name);
        } else {
            rig.stop();
            self.expect_clean_start();
        }
    }

    /// The array did not start by itself: it has to be for the one reason that there may be.
    fn overcome_refusal(
        &mut self,
        rig: &Rig,
        before: &[(String, Vec<u8>)],
        lost: Option<&str>,
        rng: &mut Rng,
    ) {
        let reason = rig.reason();
        let right = reason.starts_with("array r0 is dirty and degraded: ")
            && reason.ends_with("or force to trust the parity");
        assert!(right, "{}: {reason}", self.shown);
        assert!(self.missing > 0, "{}: nobody is missing: {reason}", self.shown);
        assert!(self.contents() == before, "{}: a refusal has changed a member", self.shown);
        self.tally.refused += 1;
        if let Some(lost) = lost.filter(|_| rng.one_in(2)) {
            self.hidden.retain(|hidden| hidden != lost);
            let back = self.file_entry(lost);
            rig.apply(&[back]).unwrap();
            assert!(rig.raid().is_some(), "{}: complete again: {}", self.shown, rig.reason());
            self.tally.completed_by_return += 1;
        } else {
            rig.ask("bdev_raid_assemble", json!({ "name": ARRAY, "force": true }));
            self.model.forced();
            self.tally.forced += 1;
        }
    }

    /// Reads every block. Those that may hold anything, and hold nothing, are written anew.
    fn compare(&mut self, rig: &Rig, round: u64) {
        let seen = self.model.observe(&rig.read_all());
        let garbage = seen.unwrap_or_else(|wrong| {
            panic!("{}: {wrong}\n{:?}", self.shown, rig.snapshot());
        });
        self.tally.garbage_blocks += garbage.len();
        let version = (round + 1) << 32 | 0xffff_ffff;
        for block in garbage {
            rig.write(block * BLOCK as u64, &stamped(block, 1, version)).unwrap();
            self.model.wrote(block, version);
        }
    }

    /// Hidden files come back, and whoever is not a member may become one, or a spare.
    fn complete(&mut self, rig: &Rig, rng: &mut Rng) {
        for name in std::mem::take(&mut self.hidden) {
            if rng.one_in(3) {
                self.hidden.push(name);
            } else {
                rig.apply(&[self.file_entry(&name)]).unwrap();
            }
        }
        rig.settle();
        for name in self.files.clone() {
            if self.is_hidden(&name) || rig.claim(&name).is_some() {
                continue;
            }
            let array = json!({ "raid_bdev": ARRAY, "base_bdev": name });
            let vacant = rig.snapshot().missing().next().is_some();
            if vacant {
                rig.ask("bdev_raid_add_base_bdev", array);
                self.tally.rebuilt += 1;
                rig.settle();
            } else if rng.one_in(2) {
                rig.ask("bdev_raid_add_spare", array);
                self.tally.spares_used += 1;
            }
        }
    }

    /// After a stop in order nothing is out of sync, and nobody is out of date.
    fn expect_clean_start(&mut self) {
        if self.missing > 0 {
            return;
        }
        assert_eq!(self.dirty_regions(), 0, "{}: dirty after a stop in order", self.shown);
        let rig = Rig::start();
        rig.apply(&self.entries()).unwrap();
        let snapshot = rig.snapshot();
        assert_eq!(snapshot.regions_in_sync, REGIONS, "{}: {snapshot:?}", self.shown);
        assert_eq!(snapshot.last_action, None, "{}: {snapshot:?}", self.shown);
        rig.stop();
    }

    /// What the log on its device says.
    fn dirty_regions(&self) -> u64 {
        let bytes = fs::read(self.place.path("log")).unwrap();
        let area = DiskArea::new(BLOCK as u32, REGIONS);
        let image = &bytes[..area.area_bytes() as usize];
        DirtyLog::load(Some(image), area, SyncOption::Default).log.dirty_count()
    }

    fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let read = |name: &String| (name.clone(), fs::read(self.place.path(name)).unwrap());
        self.files.iter().map(read).collect()
    }
}
