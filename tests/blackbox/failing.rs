//! Failures of members and logs while an array runs: what hosts see, what becomes of the member, what the
//! superblocks say at the next start.
//!
//! Members are files under error bdevs, so that an array can be stopped and found again.
//!
//! Not here: what is told of a failure, word for word (`causes`), sectors that cannot be read (`unreadable`), crashes
//! (`crash`), power (crate `array`).

use std::fs;

use device::{IoStatus, lingering_requests};
use raid::dirty_log::LogHealth;
use raid::event::WorkKind;
use raid::member::MemberState;
use raid::superblock::SUPERBLOCK_BYTES;
use raid456::control::{Claim, NoticeKind};
use serde_json::{Value, json};

use crate::daemon::{Place, entry};
use crate::rig::{ARRAY, BLOCK, Rig, stamped};

use MemberState::{Faulty, InSync, Missing};

const MEMBER_BYTES: u64 = 5 << 20;
const MEMBERS: usize = 4;
const REGIONS: u64 = 16;
const REGION_BYTES: u64 = 256 << 10;
/// Bytes of a stripe's data: three strips of 64 KiB.
const STRIPE_BYTES: u64 = 192 << 10;
pub(crate) const FOR_EVER: u32 = u32::MAX;

/// Members `EE_u0` to `EE_u3`, a spare `EE_u4`, a log `EE_log`, and an array of them.
pub(crate) struct Bench {
    place: Place,
    pub(crate) rig: Rig,
    /// Changes to the parameters of the array.
    changes: Value,
    data: Vec<u8>,
    version: u64,
}

impl Bench {
    pub(crate) fn new(changes: Value) -> Self {
        let place = Place::new();
        for name in names() {
            place.file(&name, MEMBER_BYTES);
        }
        let rig = Rig::start();
        let mut bench = Self { place, rig, changes, data: Vec::new(), version: 0 };
        bench.rig.apply(&bench.entries()).unwrap();
        bench.rig.settle();
        bench.data = vec![0; bench.rig.size_bytes() as usize];
        bench
    }

    fn entries(&self) -> Vec<Value> {
        let mut entries = Vec::new();
        for name in names() {
            let file =
                json!({ "name": name, "filename": self.place.path(&name), "block_size": 4096 });
            entries.push(entry("bdev_uring_create", file));
            entries.push(entry("bdev_error_create", json!({ "base_name": name })));
        }
        entries.push(entry("bdev_raid_create", self.array()));
        entries
    }

    pub(crate) fn array(&self) -> Value {
        let mut array = json!({
            "name": ARRAY, "raid_level": "raid5", "strip_size_kb": 64, "superblock": true,
            "base_bdevs": ["EE_u0", "EE_u1", "EE_u2", "EE_u3"], "log_bdev": "EE_log",
            "region_size_kb": 256,
        });
        for (key, value) in self.changes.as_object().unwrap() {
            array[key] = value.clone();
        }
        array
    }

    /// Writes all over the array, every write of which has to succeed.
    pub(crate) fn write(&mut self) {
        for stripe in (0..self.data.len() as u64 / STRIPE_BYTES).step_by(3) {
            let blocks = [1, 5, 48][(self.version % 3) as usize];
            self.write_at(stripe * STRIPE_BYTES, blocks);
        }
    }

    fn write_at(&mut self, at: u64, blocks: usize) {
        self.version += 1;
        let bytes = stamped(at / BLOCK as u64, blocks, self.version);
        self.rig.write(at, &bytes).unwrap();
        self.data[at as usize..][..bytes.len()].copy_from_slice(&bytes);
    }

    /// Writes to these regions of the log, a block each.
    fn write_regions(&mut self, regions: &[u64]) {
        for region in regions {
            // A region is as many bytes of every member: three of the four have data.
            self.write_at(region * 3 * REGION_BYTES, 1);
        }
    }

    /// No region is dirty any more: whoever fails from now on misses what is written from now on.
    pub(crate) fn wait_clean(&self) {
        self.rig.wait_until("all clean", |rig| rig.snapshot().regions_dirty == 0);
    }

    /// A bdev takes the slot of the member that is missing, and is rebuilt. Asserts that so many regions are
    /// written to it and not a byte more, but for superblocks.
    fn add_and_rebuild(&self, name: &str, regions: u64) {
        let rig = &self.rig;
        let (events, before) = (rig.snapshot().events, rig.written_bytes(name));
        rig.ask("bdev_raid_add_base_bdev", json!({ "raid_bdev": ARRAY, "base_bdev": name }));
        rig.settle();
        assert_eq!(rig.states(), [InSync; MEMBERS]);
        let written = rig.written_bytes(name) - before;
        let superblocks = (rig.snapshot().events - events) * 2 * SUPERBLOCK_BYTES as u64;
        let rebuilt = regions * REGION_BYTES;
        assert!(
            (rebuilt..=rebuilt + superblocks).contains(&written),
            "{written} bytes for {regions} regions, {rebuilt} bytes, and superblocks of {superblocks}"
        );
    }

    /// Requests that a device has kept since it was given up; there are some.
    pub(crate) fn lingering(&self, name: &str) -> usize {
        let requests = lingering_requests(self.rig.control.bdev(name).unwrap().info().uuid);
        assert!(requests > 0, "{name} has let go of everything");
        requests
    }

    /// What is on the device of a bdev.
    pub(crate) fn contents(&self, name: &str) -> Vec<u8> {
        fs::read(self.place.path(name)).unwrap()
    }

    pub(crate) fn verify(&self) {
        assert!(self.rig.read_all() == self.data, "other bytes are read");
    }

    /// Everything is there, and parity is right.
    pub(crate) fn verify_all(&self) {
        self.verify();
        assert_eq!(self.rig.check(), 0);
    }

    /// Stops the service in order, and starts it again.
    fn restart(self) -> Self {
        let Self { place, rig, changes, data, version } = self;
        rig.stop();
        let rig = Rig::start();
        let bench = Self { place, rig, changes, data, version };
        bench.rig.apply(&bench.entries()).unwrap();
        bench
    }

    pub(crate) fn wait_for(&self, slot: usize, state: MemberState) {
        self.rig.wait_until("the member's state", |rig| rig.states()[slot] == state);
    }
}

fn names() -> Vec<String> {
    let members = (0..=MEMBERS).map(|member| format!("u{member}"));
    members.chain(["log".to_owned()]).collect()
}

/// Goal: one failed write costs the member, no host write, and the spare takes over; at the next start the
/// array has the spare and not the member that failed.
#[test]
fn a_write_error_costs_the_member_and_a_spare_takes_over() {
    let mut bench = Bench::new(json!({ "spares": ["EE_u4"] }));
    bench.write();
    let events = bench.rig.snapshot().events;
    bench.rig.inject("EE_u1", "write", "failure", 1);
    bench.write();
    bench.rig.wait_until("the spare is in", |rig| {
        rig.snapshot().members[1].name.as_deref() == Some("EE_u4")
    });
    bench.write();
    bench.rig.settle();
    assert_eq!(bench.rig.states(), [InSync; MEMBERS]);
    assert!(bench.rig.snapshot().events > events);
    assert_eq!(bench.rig.claim("EE_u1"), None, "it is free");
    bench.verify_all();
    let bench = bench.restart();
    let members = bench.rig.snapshot().members;
    assert_eq!(members[1].name.as_deref(), Some("EE_u4"));
    assert_eq!(bench.rig.snapshot().last_action, None, "nothing has to be resynced");
    bench.verify_all();
    bench.rig.stop();
}

/// Goal: a spare that fails as it takes its slot is taken once and not for ever, commands go on meanwhile, and
/// a sound one takes the slot. Method: the spare cannot be written to, so its superblock cannot.
#[test]
fn a_spare_that_fails_at_once_is_none_any_more() {
    let mut bench = Bench::new(json!({ "spares": ["EE_u4"] }));
    bench.write();
    bench.rig.inject("EE_u4", "write", "failure", FOR_EVER);
    bench.rig.inject("EE_u1", "write", "failure", 1);
    bench.write();
    bench.rig.wait_until("the spare is given up", |rig| {
        rig.states()[1] == Faulty && !matches!(rig.claim("EE_u4"), Some(Claim::Spare { .. }))
    });
    let failures = |rig: &Rig| rig.snapshot().failures.iter().sum::<u64>();
    let before = failures(&bench.rig);
    assert!(before <= 2, "the member and the spare, each once: {before}");
    bench.write();
    bench.verify();
    assert_eq!(failures(&bench.rig), before);
    bench.rig.heal("EE_u4");
    let sound = json!({ "raid_bdev": ARRAY, "base_bdev": "EE_u4" });
    bench
        .rig
        .wait_until("it is in", |rig| rig.call("bdev_raid_add_base_bdev", sound.clone()).is_ok());
    bench.rig.settle();
    assert_eq!(bench.rig.states(), [InSync; MEMBERS]);
    bench.verify_all();
    bench.rig.stop();
}

/// Goal: a member that fails its flush is out (R9), the host's flush succeeds without it, and it comes back
/// by a rebuild of what has changed only.
#[test]
fn a_flush_error_costs_the_member() {
    let mut bench = Bench::new(json!({}));
    bench.write();
    bench.wait_clean();
    bench.rig.inject("EE_u2", "flush", "failure", 1);
    bench.rig.flush().unwrap();
    bench.wait_for(2, Faulty);
    bench.write_regions(&[0]);
    bench.verify();
    bench.add_and_rebuild("EE_u2", 1);
    bench.verify_all();
    bench.restart().rig.stop();
}

/// Goal: a member that does not answer is given up, the array goes on, and the member cannot come back while
/// it still has requests, which might be written late.
#[test]
fn a_hang_is_a_failure_and_what_lingers_keeps_it_out() {
    let mut bench = Bench::new(json!({ "io_timeout_s": 1 }));
    bench.write();
    bench.rig.inject("EE_u0", "write", "pending", FOR_EVER);
    bench.write();
    assert_eq!(bench.rig.states(), [Faulty, InSync, InSync, InSync]);
    bench.verify();
    let back = json!({ "raid_bdev": ARRAY, "base_bdev": "EE_u0" });
    let refusal = bench.rig.refused("bdev_raid_add_base_bdev", back.clone());
    let requests = bench.lingering("EE_u0");
    let text = format!(
        "Failed to add base bdev to RAID bdev: Device or resource busy: raid bdev r0: base bdev EE_u0 still has \
         {requests} requests from before it failed; what it writes late would be wrong, so it cannot come back \
         before they end"
    );
    assert_eq!((refusal.code, refusal.message), (-16, text));
    bench.rig.heal("EE_u0");
    bench.rig.ask("bdev_error_resume_pending", json!({ "name": "EE_u0" }));
    bench.rig.wait_until("what lingers has ended", |rig| {
        rig.call("bdev_raid_add_base_bdev", back.clone()).is_ok()
    });
    bench.rig.settle();
    assert_eq!(bench.rig.states(), [InSync; MEMBERS]);
    bench.verify_all();
    bench.rig.stop();
}

/// Goal: a device that vanishes is out at once, for reads as for writes, and what changed meanwhile is
/// rebuilt when it is back.
#[test]
fn a_member_that_is_gone_is_out() {
    let mut bench = Bench::new(json!({}));
    bench.write();
    bench.rig.inject("EE_u3", "all", "gone", 1);
    bench.verify();
    bench.wait_for(3, Faulty);
    bench.write();
    bench.verify();
    let mut bench = bench.restart();
    // It was healed by the restart, and is back by itself.
    bench.rig.settle();
    assert_eq!(bench.rig.states(), [InSync; MEMBERS]);
    assert_eq!(bench.rig.snapshot().last_action, Some(WorkKind::Rebuild));
    bench.write();
    bench.verify_all();
    bench.rig.stop();
}

/// Goal: a bad sector is read from the others and written again, which heals it; nobody is lost.
#[test]
fn a_read_error_is_mended() {
    let mut bench = Bench::new(json!({}));
    bench.write();
    for (name, block) in [("EE_u0", 300), ("EE_u1", 700), ("EE_u2", 1000)] {
        let bad = json!({
            "name": name, "io_type": "read", "error_type": "failure", "offset_blocks": block,
            "num_blocks": 3, "until_written": true,
        });
        bench.rig.ask("bdev_error_inject_error", bad);
    }
    bench.verify();
    // Those in parity are found by a check.
    assert_eq!(bench.rig.check(), 0);
    let healed = |rig: &Rig| {
        let error = |name| rig.control.error_bdev(name).unwrap().snapshot().injections;
        ["EE_u0", "EE_u1", "EE_u2"].iter().all(|name| error(name).is_empty())
    };
    bench.rig.wait_until("healed", healed);
    assert_eq!(bench.rig.states(), [InSync; MEMBERS]);
    bench.verify_all();
    bench.rig.stop();
}

/// Goal: with `continue` a log that fails costs nothing but its use: after a stop in order nothing is
/// resynced, and the log is used again; whoever was away meanwhile is rebuilt in full, because no log says
/// what has changed.
#[test]
fn a_log_that_fails_is_done_without() {
    let mut bench = Bench::new(json!({ "on_log_failure": "continue" }));
    bench.wait_clean();
    bench.rig.inject("EE_log", "write", "failure", 1);
    bench.write();
    let now = bench.rig.snapshot();
    assert_eq!(now.log_health, LogHealth::WriteFailed, "{now:?}");
    assert!(!now.waiting_for_owner);
    bench.verify();
    let mut bench = bench.restart();
    let now = bench.rig.snapshot();
    assert_eq!((now.last_action, now.regions_in_sync), (None, REGIONS), "{now:?}");
    assert_eq!(now.log_health, LogHealth::Alive, "{now:?}");
    bench.write();
    bench.verify_all();

    bench.wait_clean();
    bench.rig.inject("EE_log", "write", "failure", 1);
    bench.rig.inject("EE_u1", "write", "failure", 1);
    bench.write();
    bench.wait_for(1, Faulty);
    let mut bench = bench.restart();
    bench.verify();
    // It is back by itself if the log, in which all is dirty, was written before it was looked at.
    if bench.rig.states()[1] == Faulty {
        let array = json!({ "raid_bdev": ARRAY, "base_bdev": "EE_u1" });
        bench.rig.ask("bdev_raid_add_base_bdev", array);
    }
    bench.rig.settle();
    bench.write();
    bench.verify_all();
    bench.rig.stop();
}

/// Goal: with `block` writes wait when the log has failed, until the owner allows them.
#[test]
fn a_log_that_fails_blocks_writes() {
    let mut bench = Bench::new(json!({ "on_log_failure": "block" }));
    bench.write();
    // Regions that are marked already may be written.
    bench.wait_clean();
    bench.rig.inject("EE_log", "flush", "failure", 1);
    let bytes = stamped(0, 1, 1 << 20);
    let later = bench.rig.write_later(0, bytes.clone());
    // On a machine that is busy the log is not asked at once.
    bench.rig.wait_until("the log has failed", |rig| rig.snapshot().waiting_for_owner);
    assert!(later.is_held());
    bench.verify();
    bench.rig.message("allow_writes");
    later.answer().unwrap();
    bench.data[..BLOCK].copy_from_slice(&bytes);
    assert!(!bench.rig.snapshot().waiting_for_owner);
    bench.write();
    bench.verify_all();
    bench.rig.stop();
}

/// Goal: nor can anybody but the owner record that the log has failed, whose old bits a start after a crash
/// would believe. An array that may go on by itself after a member has failed may do so here.
#[test]
fn without_a_superblock_a_log_that_fails_is_the_owners_to_record() {
    for (on_failure, waits) in [("hold", true), ("continue", false)] {
        let mut bench = Bench::new(json!({ "superblock": false, "on_failure": on_failure }));
        bench.write();
        bench.wait_clean();
        bench.rig.inject("EE_log", "write", "failure", 1);
        let bytes = stamped(0, 1, 1 << 20);
        let later = bench.rig.write_later(0, bytes.clone());
        let failed = |rig: &Rig| rig.snapshot().log_health == LogHealth::WriteFailed;
        bench.rig.wait_until("the log has failed", failed);
        assert_eq!(bench.rig.snapshot().waiting_for_owner, waits, "on_failure={on_failure}");
        if waits {
            assert!(later.is_held());
            bench.verify();
            bench.rig.message("allow_writes");
        }
        later.answer().unwrap();
        bench.data[..BLOCK].copy_from_slice(&bytes);
        bench.write();
        bench.verify_all();
        bench.rig.stop();
    }
}

/// Goal: without a superblock nobody but the owner can record a failure, so writes wait for its word;
/// reads go on.
#[test]
fn without_a_superblock_writes_wait_for_the_owner() {
    let mut bench = Bench::new(json!({ "superblock": false, "on_failure": "hold" }));
    bench.write();
    bench.rig.inject("EE_u1", "write", "failure", 1);
    let bytes = stamped(0, 48, 1 << 20);
    let later = bench.rig.write_later(0, bytes.clone());
    bench.wait_for(1, Faulty);
    assert!(later.is_held());
    assert!(bench.rig.snapshot().waiting_for_owner);
    let tail = bench.data.len() - BLOCK;
    assert!(bench.rig.read(tail as u64, BLOCK).unwrap() == bench.data[tail..]);
    bench.rig.message("allow_writes");
    later.answer().unwrap();
    bench.data[..bytes.len()].copy_from_slice(&bytes);
    bench.write();
    bench.verify();
    bench.rig.stop();
}

#[test]
fn without_a_superblock_writes_may_go_on() {
    let mut bench = Bench::new(json!({ "superblock": false, "on_failure": "continue" }));
    bench.rig.inject("EE_u1", "write", "failure", 1);
    bench.write();
    assert_eq!(bench.rig.states()[1], Faulty);
    assert!(!bench.rig.snapshot().waiting_for_owner);
    bench.verify();
    bench.rig.stop();
}

fn a_broken_array_refuses(rig: &Rig) {
    let refusal =
        rig.refused("bdev_raid_add_base_bdev", json!({ "raid_bdev": ARRAY, "base_bdev": "EE_u4" }));
    assert_eq!(
        (refusal.code, refusal.message.as_str()),
        (
            -16,
            "Failed to add base bdev to RAID bdev: Device or resource busy: raid bdev r0: more members have \
             failed than parity can stand for: nothing can be rebuilt"
        )
    );
    let refusal = rig.refused("bdev_raid_message", json!({ "name": ARRAY, "message": "check" }));
    assert_eq!(
        (refusal.code, refusal.message.as_str()),
        (
            -16,
            "Device or resource busy: array \"r0\": the array cannot work on its stripes: it is broken or \
             stopping"
        )
    );
}

/// Goal: an array that has lost too much fails writes, reads what it can, says so, and has every
/// acknowledged byte again when its members are back.
#[test]
fn more_failures_than_parity_break_the_array_and_nothing_is_lost() {
    let mut bench = Bench::new(json!({}));
    bench.write();
    for name in ["EE_u0", "EE_u1"] {
        bench.rig.inject(name, "write", "failure", FOR_EVER);
    }
    let members = || ["u0", "u1", "u2", "u3"].map(|name| bench.contents(name));
    let mut broken_with = None;
    for stripe in 0..bench.data.len() / STRIPE_BYTES as usize {
        let at = stripe * STRIPE_BYTES as usize;
        // Full stripes: both members are written. What the first one holds now is not known.
        let bytes = stamped((at / BLOCK) as u64, 48, (1 << 20) + stripe as u64);
        assert_eq!(bench.rig.write(at as u64, &bytes), Err(IoStatus::MediaError), "{stripe}");
        broken_with.get_or_insert_with(members);
    }
    assert!(bench.rig.snapshot().broken);
    assert_eq!(bench.rig.flush(), Err(IoStatus::MediaError));
    let blocks = bench.data.len() / BLOCK;
    let reads = (0..blocks).map(|block| bench.rig.read((block * BLOCK) as u64, BLOCK).map(drop));
    let (readable, failed): (Vec<_>, Vec<_>) = reads.partition(Result::is_ok);
    assert!(readable.len() > blocks / 4, "{} blocks", readable.len());
    assert!(!failed.is_empty() && failed.iter().all(|read| *read == Err(IoStatus::MediaError)));
    a_broken_array_refuses(&bench.rig);
    bench.rig.wait_until("told", |rig| rig.told(NoticeKind::RaidOffline) == [None]);
    let stopped = bench.rig.control.shutdown().unwrap_err().to_string();
    assert_eq!(
        stopped,
        "not everything is known to be on its device: raid bdev r0: more members have failed than parity can \
         stand for; what was written last may be lost"
    );
    assert!(broken_with == Some(members()), "a member was written to after the array had broken");
    let Bench { place, rig, changes, data, version } = bench;
    drop(rig);
    let rig = Rig::start();
    let bench = Bench { place, rig, changes, data: Vec::new(), version };
    bench.rig.apply(&bench.entries()).unwrap();
    if bench.rig.raid().is_none() {
        let reason = bench.rig.reason();
        assert!(reason.starts_with("array r0 is dirty and degraded: "), "{reason}");
        bench.rig.ask("bdev_raid_assemble", json!({ "name": ARRAY, "force": true }));
    }
    let found = bench.rig.read_all();
    let stripe_bytes = STRIPE_BYTES as usize;
    let stripes = found.chunks_exact(stripe_bytes).zip(data.chunks_exact(stripe_bytes));
    for (stripe, (found, data)) in stripes.enumerate() {
        // Of a write that failed, a part may be there.
        let at = (stripe * 48) as u64;
        let attempted = stamped(at, 48, (1 << 20) + stripe as u64);
        for (block, found) in found.chunks_exact(BLOCK).enumerate() {
            let bytes = block * BLOCK..(block + 1) * BLOCK;
            let known = found == &data[bytes.clone()] || found == &attempted[bytes];
            assert!(known, "stripe {stripe}, block {block}");
        }
    }
    bench.rig.settle();
    bench.rig.stop();
}

/// Goal: what superblocks said when they were read does not count once the array has run (R8). Method: the
/// array is found, loses a member, is deleted, and is put together again in the same service.
#[test]
fn a_stale_member_does_not_come_back_by_way_of_the_service_memory() {
    let mut bench = Bench::new(json!({}));
    bench.write();
    let mut bench = bench.restart();
    bench.rig.inject("EE_u1", "write", "failure", FOR_EVER);
    bench.write();
    bench.wait_for(1, Faulty);
    bench.rig.ask("bdev_raid_delete", json!({ "name": ARRAY }));
    bench.rig.heal("EE_u1");
    for name in ["EE_u0", "EE_u1", "EE_u2", "EE_u3"] {
        bench.rig.ask("bdev_examine", json!({ "name": name }));
    }
    if bench.rig.raid().is_none() {
        bench.rig.ask("bdev_raid_assemble", json!({ "name": ARRAY }));
    }
    bench.verify();
    bench.rig.settle();
    bench.verify_all();
    assert_eq!(bench.rig.states(), [InSync; MEMBERS]);
    bench.rig.stop();
}

/// Goal: a member that is taken out comes back by a rebuild of what changed meanwhile, and of nothing else; one that
/// never was a member is rebuilt as a whole. Method: the bytes that are written to it.
#[test]
fn a_member_that_was_taken_out_comes_back() {
    let mut bench = Bench::new(json!({}));
    bench.write();
    bench.wait_clean();
    let take_out = |bench: &Bench| {
        bench.rig.ask("bdev_raid_remove_base_bdev", json!({ "name": "EE_u2" }));
        assert_eq!(bench.rig.states()[2], Missing);
    };
    take_out(&bench);
    bench.write_regions(&[1, 2, 9]);
    assert_eq!(bench.rig.snapshot().regions_dirty, 3);
    bench.add_and_rebuild("EE_u2", 3);
    bench.verify_all();
    take_out(&bench);
    bench.add_and_rebuild("EE_u4", REGIONS);
    bench.verify_all();
    bench.rig.stop();
}
