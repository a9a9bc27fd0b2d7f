//! What is told of members and logs that fail, and of what is refused then, word for word.
//!
//! | what | text |
//! |---|---|
//! | a member is taken out | the cause, in the event `raid_member_failed` |
//! | a log fails | how, in the reasons of `raid456 status` |
//! | a device is still at work for an array that is gone | in the refusal of the next array |
//! | an array that does not come to rest is deleted | in the error of the deletion |
//! | a device fails as it takes a slot | in the refusal |
//! | a member cannot be rebuilt | in the refusal of the next one |
//!
//! Each is brought about on a running array over files, and the bytes of members that are out stay as they are.
//!
//! Not here: what becomes of members and hosts (`failing`), refusals that nothing has to fail for (`audit`).

use raid::event::FailCause;
use raid::member::MemberState;
use raid456::control::NoticeKind;
use serde_json::{Value, json};

use crate::failing::{Bench, FOR_EVER};
use crate::rig::{ARRAY, stamped};

/// Blocks in front of the data: both copies of the superblock.
const BLOCKS_BEFORE_DATA: u64 = 256;

/// All blocks of a member.
const BLOCKS: u64 = 5 << 8;

/// Has requests fail that touch these blocks, for ever.
fn fail(bench: &Bench, name: &str, io_type: &str, first: u64, end: u64) {
    let rule = json!({
        "name": name, "io_type": io_type, "error_type": "failure", "num": FOR_EVER,
        "offset_blocks": first, "num_blocks": end - first,
    });
    bench.rig.ask("bdev_error_inject_error", rule);
}

fn remove(bench: &Bench, name: &str) {
    bench.rig.ask("bdev_raid_remove_base_bdev", json!({ "name": name }));
}

/// Has the member in slot 1 fail for a cause, and returns what has to be told of all that fail.
fn bring_about(bench: &mut Bench, cause: FailCause) -> Vec<&'static str> {
    match cause {
        FailCause::Write => {
            bench.rig.inject("EE_u1", "write", "failure", 1);
            bench.write();
            vec!["slot 1: a write failed"]
        }
        FailCause::Read => {
            fail(bench, "EE_u1", "read", BLOCKS_BEFORE_DATA, BLOCKS);
            bench.verify();
            vec!["slot 1: a read failed and could not be repaired"]
        }
        FailCause::Flush => {
            bench.rig.inject("EE_u1", "flush", "failure", 1);
            bench.rig.flush().unwrap();
            vec!["slot 1: a flush failed"]
        }
        FailCause::Superblock => {
            fail(bench, "EE_u1", "write", 0, BLOCKS_BEFORE_DATA);
            // The superblocks have something new to say.
            remove(bench, "EE_u2");
            vec!["slot 2: it was taken out", "slot 1: its superblock could not be written"]
        }
        FailCause::TimedOut => {
            bench.rig.inject("EE_u1", "write", "pending", FOR_EVER);
            bench.write();
            vec!["slot 1: it did not answer in time"]
        }
        FailCause::Gone => {
            bench.rig.inject("EE_u1", "all", "gone", 1);
            bench.verify();
            vec!["slot 1: its device is gone"]
        }
        FailCause::Removed => {
            remove(bench, "EE_u1");
            vec!["slot 1: it was taken out"]
        }
    }
}

/// Goal: whatever a member is taken out for, the event says which slot and why, word for word, once; the count of
/// the cause is one more, the others stay, and nothing is written to the member any more. Method: every cause there
/// is, brought about in an array that runs.
#[test]
fn every_cause_of_a_failure_is_told() {
    for cause in FailCause::ALL {
        let mut changes = json!({ "raid_level": "raid6" });
        if cause == FailCause::TimedOut {
            changes["io_timeout_s"] = json!(1);
        }
        let mut bench = Bench::new(changes);
        bench.write();
        let texts = bring_about(&mut bench, cause);
        let told: Vec<_> = texts.iter().map(|text| Some((*text).to_owned())).collect();
        bench.rig.wait_until(&format!("{cause:?} is told"), |rig| {
            rig.told(NoticeKind::RaidMemberFailed).len() >= told.len()
        });
        // Writes go on once the failure is durable.
        bench.write();
        let out = bench.contents("u1");
        bench.write();
        bench.verify();
        assert!(bench.contents("u1") == out, "{cause:?}: it is written to");
        assert_eq!(bench.rig.told(NoticeKind::RaidMemberFailed), told, "{cause:?}");
        assert_eq!(bench.rig.told(NoticeKind::RaidDegraded), [None], "{cause:?}");
        let mut counts = [0; FailCause::ALL.len()];
        counts[cause as usize] += 1;
        if cause == FailCause::Superblock {
            counts[FailCause::Removed as usize] += 1;
        }
        let now = bench.rig.snapshot();
        assert_eq!(now.failures, counts, "{cause:?}");
        let state = match cause {
            FailCause::Removed => MemberState::Missing,
            _ => MemberState::Faulty,
        };
        assert_eq!(now.members[1].state, state, "{cause:?}");
        bench.rig.stop();
    }
}

/// Goal: a log that fails is told of once, and the status says how it has failed, word for word; hosts and members
/// see nothing of it.
#[test]
fn every_failure_of_a_log_is_told() {
    for (io_type, text) in [
        ("write", "array r0: its log has failed (write_failed)"),
        ("flush", "array r0: its log has failed (flush_failed)"),
    ] {
        let mut bench = Bench::new(json!({ "on_log_failure": "continue" }));
        bench.wait_clean();
        bench.rig.inject("EE_log", io_type, "failure", 1);
        bench.write();
        bench.rig.wait_until("told", |rig| rig.told(NoticeKind::RaidLogFailed) == [None]);
        assert_eq!(raid456::status::of(&bench.rig.control).reasons, [text]);
        let log = bench.contents("log");
        bench.write();
        bench.verify();
        assert!(bench.contents("log") == log, "a log that has failed is written to");
        assert!(bench.rig.told(NoticeKind::RaidMemberFailed).is_empty());
        bench.rig.stop();
    }
}

/// Goal: a device that still has requests of an array that is gone is no member of another one, word for word,
/// until it has let go of them.
#[test]
fn a_device_that_lingers_is_no_member() {
    let mut bench = Bench::new(json!({ "io_timeout_s": 1, "force": true }));
    bench.write();
    bench.rig.inject("EE_u0", "write", "pending", FOR_EVER);
    bench.write();
    bench.rig.ask("bdev_raid_delete", json!({ "name": ARRAY }));
    let kept = ["u0", "u1", "u2", "u3"].map(|name| bench.contents(name));
    let requests = bench.lingering("EE_u0");
    let refusal = bench.rig.refused("bdev_raid_create", bench.array());
    let text = format!(
        "Failed to create RAID bdev r0: Device or resource busy: raid bdev r0: bdev EE_u0 still has {requests} \
         requests from before it was given up; what it writes late would be wrong, so it cannot be used before \
         they end"
    );
    assert_eq!((refusal.code, refusal.message), (-16, text));
    assert!(kept == ["u0", "u1", "u2", "u3"].map(|name| bench.contents(name)));
    bench.rig.heal("EE_u0");
    bench.rig.ask("bdev_error_resume_pending", json!({ "name": "EE_u0" }));
    bench
        .rig
        .wait_until("it has let go", |rig| rig.call("bdev_raid_create", bench.array()).is_ok());
    bench.rig.settle();
    assert_eq!(bench.rig.check(), 0);
    bench.rig.stop();
}

/// Goal: an array whose writes wait for the owner is deleted without long delay, and what deletes it is told that
/// not everything has ended, word for word.
#[test]
fn an_array_that_holds_writes_is_not_deleted_cleanly() {
    let mut bench = Bench::new(json!({ "superblock": false, "on_failure": "hold" }));
    bench.write();
    bench.rig.inject("EE_u1", "write", "failure", 1);
    let later = bench.rig.write_later(0, stamped(0, 48, 1 << 20));
    bench.rig.wait_until("held", |rig| rig.snapshot().waiting_for_owner);
    let refusal = bench.rig.refused("bdev_raid_delete", json!({ "name": ARRAY }));
    let text = "Input/output error: the array is deleted, but not cleanly: raid bdev r0: requests are still in \
                flight after 1 s; a member may hang";
    assert_eq!((refusal.code, refusal.message.as_str()), (-5, text));
    assert!(later.is_held(), "it was not written");
    assert!(bench.rig.raid().is_none());
    assert_eq!(bench.rig.claim("EE_u0"), None, "it is deleted all the same");
    bench.rig.stop();
}

/// Goal: a device that fails as it takes its slot is refused, word for word, and is free again. Method: its writes
/// fail; whether it is still in its slot when the service looks is a matter of luck, so until it is not.
#[test]
fn a_device_that_fails_as_it_joins_is_refused() {
    let mut bench = Bench::new(json!({}));
    bench.write();
    remove(&bench, "EE_u1");
    bench.rig.inject("EE_u4", "write", "failure", FOR_EVER);
    let add = json!({ "raid_bdev": ARRAY, "base_bdev": "EE_u4" });
    let blank = bench.contents("u4");
    let mut refusal: Option<Value> = None;
    for _ in 0..200 {
        match bench.rig.call("bdev_raid_add_base_bdev", add.clone()) {
            // What its predecessor was asked may be under way.
            Err(error) if error.code == -16 => {}
            Err(error) => {
                refusal = Some(json!([error.code, error.message]));
                break;
            }
            Ok(()) => bench.wait_for(1, MemberState::Faulty),
        }
    }
    let text = "Failed to add base bdev to RAID bdev: Input/output error: raid bdev r0: base bdev EE_u4 failed as \
                soon as it had taken slot 1: look at what is wrong with it, or add another one";
    assert_eq!(refusal, Some(json!([-5, text])));
    assert!(bench.contents("u4") == blank, "it is written to");
    bench.verify();
    bench.rig.heal("EE_u4");
    bench.rig.wait_until("a sound one is in", |rig| {
        rig.call("bdev_raid_add_base_bdev", add.clone()).is_ok()
    });
    bench.rig.settle();
    bench.verify_all();
    bench.rig.stop();
}

/// Goal: a member that is to be rebuilt after one that cannot be is refused, word for word. Method: two of four
/// members fail while most of the array is out of sync, so that nothing says what they should hold there.
#[test]
fn a_rebuild_that_cannot_end_is_told() {
    let bench = Bench::new(json!({
        "raid_level": "raid6", "superblock": false, "on_failure": "continue", "log_bdev": Value::Null,
    }));
    let rig = &bench.rig;
    rig.ask("bdev_raid_delete", json!({ "name": ARRAY }));
    rig.ask("bdev_raid_set_options", json!({ "process_max_bandwidth_mb_sec": 1 }));
    rig.ask("bdev_raid_create", bench.array());
    for name in ["EE_u1", "EE_u2"] {
        rig.inject(name, "write", "failure", FOR_EVER);
    }
    // Whether a host is told that it is written is not the point here.
    let _ = rig.write(rig.size_bytes() - (192 << 10), &stamped(0, 48, 1));
    for (slot, name) in [(1, "EE_u1"), (2, "EE_u2")] {
        bench.wait_for(slot, MemberState::Faulty);
        rig.heal(name);
    }
    rig.ask("bdev_raid_set_rates", json!({ "name": ARRAY, "max_kb_per_s": 0 }));
    let add = |name: &str| {
        rig.call("bdev_raid_add_base_bdev", json!({ "raid_bdev": ARRAY, "base_bdev": name }))
    };
    add("EE_u1").unwrap();
    let now = rig.snapshot();
    let regions = now.regions - now.regions_in_sync;
    let text = format!(
        "Failed to add base bdev to RAID bdev: Device or resource busy: raid bdev r0: another member cannot be \
         rebuilt in {regions} regions that are not in sync: stop the array, and assemble it by force, which \
         trusts their parity"
    );
    // As long as it is tried, that is in the way.
    rig.wait_until("it is told", |_| {
        let refusal = add("EE_u2").unwrap_err();
        (refusal.code, &refusal.message) == (-16, &text)
    });
    assert_eq!(rig.states()[1..3], [MemberState::Rebuilding, MemberState::Faulty]);
    bench.rig.stop();
}
