//! The judgement, case by case, and the document of a service.

use reactor::CpuSet;
use rpc::Service;
use serde_json::json;
use std::sync::Arc;

use super::*;
use crate::control::Options;
use crate::methods::{Boot, Methods};

fn array(state: ArrayState) -> ArrayStatus {
    let member = |state: &str| MemberStatus {
        name: Some("m".to_owned()),
        state: state.to_owned(),
        errors: 0,
        io: IoStatus::default(),
    };
    let last = if state == ArrayState::Online { "in_sync" } else { "faulty" };
    ArrayStatus {
        name: "r".to_owned(),
        uuid: String::new(),
        level: "raid5".to_owned(),
        layout: "left-symmetric".to_owned(),
        size_bytes: 1,
        strip_bytes: 65536,
        state,
        reason: String::new(),
        writes_held: false,
        members: vec![member("in_sync"), member("in_sync"), member(last)],
        spares: Vec::new(),
        sync_action: "idle".to_owned(),
        sync_delayed: false,
        sync_delayed_behind: None,
        sync: None,
        mismatches: 0,
        checked_unix_ms: None,
        log: LogStatus { state: "alive".to_owned(), ..LogStatus::default() },
        io: IoStatus::default(),
        work: WorkStatus::default(),
    }
}

/// Goal: each thing that can be wrong has its health and its words, and the worst counts.
#[test]
fn health_is_the_worst_of_everything() {
    let reactor =
        |answers| ReactorStatus { core: 3, answers, busy_ns: 0, idle_ns: 0, asleep_ns: 0 };
    let fine = || array(ArrayState::Online);
    let logged = |state: &str| LogStatus {
        bdev: Some("l".to_owned()),
        state: state.to_owned(),
        ..LogStatus::default()
    };
    assert_eq!(judge(&[reactor(true)], &[fine()], &[]), (Health::Healthy, Vec::new()));
    for (array, health, reason) in [
        (
            array(ArrayState::Degraded),
            Health::Warning,
            "array r is degraded: 1 of 3 members not in sync",
        ),
        (
            array(ArrayState::Failed),
            Health::Critical,
            "array r has lost more than parity can stand for: 1 of 3 members not in sync",
        ),
        (
            array(ArrayState::Configuring),
            Health::Critical,
            "array r does not run: members are missing",
        ),
        (
            ArrayStatus { reason: "split".to_owned(), ..array(ArrayState::Configuring) },
            Health::Critical,
            "array r does not run: split",
        ),
        (
            ArrayStatus { writes_held: true, ..fine() },
            Health::Critical,
            "array r holds writes until the message allow_writes",
        ),
        (
            ArrayStatus { log: logged("flush_failed"), ..fine() },
            Health::Critical,
            "array r: its log has failed (flush_failed)",
        ),
        (
            ArrayStatus { log: logged("missing"), ..fine() },
            Health::Warning,
            "array r runs without its log l: a crash costs a resync of everything",
        ),
        (
            ArrayStatus { mismatches: 8, ..fine() },
            Health::Warning,
            "array r: 8 sectors with wrong parity were found",
        ),
    ] {
        assert_eq!(judge(&[], &[fine(), array], &[]), (health, vec![reason.to_owned()]));
    }
    let both = judge(&[reactor(false)], &[array(ArrayState::Degraded)], &[]);
    assert_eq!((both.0, both.1.len()), (Health::Critical, 2));
    assert_eq!(both.1[0], "the reactor on core 3 does not answer");
    let alive = judge(&[], &[ArrayStatus { log: logged("alive"), ..fine() }], &[]);
    assert_eq!(alive.0, Health::Healthy);
}

/// Goal: a call that cannot be made is told, and many of them are told in bounds.
#[test]
fn calls_that_cannot_be_made_are_critical() {
    let kept = |bdev: &str| KeptStatus {
        source: "config".to_owned(),
        method: "bdev_uring_create".to_owned(),
        bdev: bdev.to_owned(),
        reason: "no such file".to_owned(),
    };
    let (health, reasons) = judge(&[], &[array(ArrayState::Online)], &[kept("d3")]);
    assert_eq!(health, Health::Critical);
    assert_eq!(reasons, ["bdev_uring_create d3 of the config is not made: no such file"]);
    let many: Vec<_> = (0..NAMES_TOLD_MAX + 3).map(|n| kept(&format!("d{n}"))).collect();
    let (_, reasons) = judge(&[], &[], &many);
    assert_eq!(reasons.len(), NAMES_TOLD_MAX + 1);
    assert_eq!(reasons.last().unwrap(), "3 more calls are not made");
}

/// Goal: the method tells what is there, in the shape that its readers read.
#[test]
fn the_method_tells_what_is_there() {
    let options = Options { cores: CpuSet::single(0), buffer_bytes: 4 << 20, ..Options::default() };
    let control = Control::start(options).unwrap();
    let methods = Methods::new(Arc::clone(&control), Arc::new(Boot::default()));
    let ask = |method: &str, params| methods.call(method, Some(params)).unwrap();
    let told = || serde_json::from_value::<Status>(ask("raid456_get_status", json!({}))).unwrap();
    assert!(!told().started);
    control.finish_startup();
    for name in ["a", "b", "s"] {
        ask("bdev_malloc_create", json!({ "name": name, "block_size": 4096, "num_blocks": 512 }));
    }
    let members = json!(["a", null, "b"]);
    ask(
        "bdev_raid_create",
        json!({ "name": "r", "raid_level": "raid5", "strip_size_kb": 64, "base_bdevs": members }),
    );
    ask("bdev_raid_add_spare", json!({ "base_bdev": "s" }));
    let status = told();
    assert!(status.started);
    let [array] = &status.arrays[..] else { panic!("{status:?}") };
    assert_eq!((array.members.len(), array.size_bytes), (3, 2 * 512 * 4096));
    assert_eq!(status.events[0].bdev, "r");
    assert!(status.events.is_sorted_by_key(|event| std::cmp::Reverse(event.id)));
    assert!(status.events[0].at_unix_ms > 1_600_000_000_000);
    control.shutdown().unwrap();
}
