//! What arrays without superblocks have behind them: members taken out, logs that have failed, ends in order or
//! not; that the state has it on record before writes go past it, and that the next start goes by it.
//!
//! Not here: members that fail by themselves (the parent).

use ::raid::event::WorkKind;
use array::RaidSnapshot;
use reactor::clock;

use super::*;

/// An array whose log is in a file, of which a life leaves more than of a RAM disk.
fn with_log(service: &Service, place: &Place, change: &[(&str, Value)]) {
    service.disks(&["a", "b", "c", "d"]);
    service.ask("bdev_error_create", json!({ "base_name": "b" }));
    let file = place.0.path().join("log");
    fs::write(&file, vec![0; 1 << 20]).unwrap();
    let aio = json!({ "name": "log", "filename": file.to_str().unwrap(), "block_size": 512 });
    service.ask("bdev_aio_create", aio);
    service.ask("bdev_error_create", json!({ "base_name": "log" }));
    let mut params = json!({ "name": "r", "raid_level": "raid5", "strip_size_kb": 64,
                             "base_bdevs": ["a", "EE_b", "c", "d"], "assume_clean": true,
                             "log_bdev": "EE_log", "region_size_kb": 64,
                             "on_failure": "continue" });
    for (key, value) in change {
        params[key] = value.clone();
    }
    service.ask("bdev_raid_create", params);
}

/// A log that was begun anew is believed once all of it is there, and the state says so with the next change.
fn until_believed(service: &Service, place: &Place) {
    let patience = clock::now() + PATIENCE.into();
    while place.call("r")["params"]["log_failed"] == true {
        assert!(clock::now() < patience);
        service.nudge().unwrap();
    }
}

fn snapshot(service: &Service) -> RaidSnapshot {
    service.control.raid("r").unwrap().snapshot()
}

/// Goal: with policy `hold` too, no write goes past a member before the state says that it is out: not when it
/// was taken out, and not when somebody allows writes (R4). Method: both, while the state cannot be written.
#[test]
fn what_is_asked_for_waits_for_the_state_too() {
    for taken_out in [true, false] {
        let place = Place::mounted();
        let service = Service::start(&place);
        with_log(&service, &place, &[("on_failure", json!("hold"))]);
        service.write("r");
        until_believed(&service, &place);
        place.unmount();
        let answer = if taken_out {
            let out = service.call("bdev_raid_remove_base_bdev", json!({ "name": "EE_b" }));
            assert!(out.is_err(), "the state cannot be written");
            service.write_later("r")
        } else {
            service.fail_a_write("EE_b");
            let answer = service.write_later("r");
            assert!(answer.recv_timeout(PAUSE).is_err(), "held");
            let allow = json!({ "name": "r", "message": "allow_writes" });
            assert!(service.call("bdev_raid_message", allow).is_err(), "cannot be written");
            answer
        };
        assert!(answer.recv_timeout(PAUSE).is_err(), "acknowledged, but not recorded");
        place.mount();
        service.nudge().unwrap();
        answer.recv_timeout(PATIENCE).expect("an answer").unwrap();
        assert_eq!(place.call("r")["params"]["base_bdevs"], json!(["a", null, "c", "d"]));
        service.stop();
    }
}

/// Goal: what is on a log that has failed is not believed after a crash (R1, R7), and no write goes past the
/// failure before that is on record. Method: the log fails its first mark, while the state cannot be written;
/// what it says then is that all is clean. The life after that begins it anew, and from then on it counts again.
#[test]
fn a_log_that_failed_is_begun_anew() {
    let place = Place::mounted();
    let service = Service::start(&place);
    with_log(&service, &place, &[]);
    until_believed(&service, &place);
    service.fail_the_log(&place);
    service.cut_off();

    let service = Service::start(&place);
    assert_eq!(snapshot(&service).last_action, Some(WorkKind::Resync), "of everything");
    let patience = clock::now() + PATIENCE.into();
    while snapshot(&service).regions_dirty > 0 {
        assert!(clock::now() < patience, "it is clean some time");
    }
    until_believed(&service, &place);
    service.cut_off();

    let service = Service::start(&place);
    assert_eq!(snapshot(&service).last_action, None, "the log says that all is clean");
    service.stop();
}

/// Goal: an array that lacks a member is there again after a stop in order, whatever its log calls dirty and
/// whether there is one; after any other end only if its log says that nothing is (R7). Method: writes without
/// the member, then each end, with the log as it was and wiped.
#[test]
fn degraded_arrays_come_back_after_a_stop_in_order() {
    for (in_order, wiped, comes_back) in
        [(true, false, true), (true, true, true), (false, false, false), (false, true, false)]
    {
        let place = Place::mounted();
        let service = Service::start(&place);
        with_log(&service, &place, &[]);
        service.fail_a_write("EE_b");
        service.write("r");
        assert!(snapshot(&service).regions_dirty > 0);
        service.nudge().unwrap();
        if in_order {
            service.stop()
        } else {
            service.cut_off()
        }
        if wiped {
            fs::write(place.0.path().join("log"), vec![0; 1 << 20]).unwrap();
        }
        let service = Service::start(&place);
        assert_eq!(service.has("r"), comes_back, "in order {in_order}, wiped {wiped}");
        if comes_back {
            service.write("r");
        }
        service.stop();
    }
}

/// Goal: the member of a degraded mapped device is replaced by another table, the only way with raid45,
/// whatever its log on a bdev calls dirty. Method: so.
#[test]
fn a_degraded_device_with_a_log_takes_its_next_table() {
    let place = Place::mounted();
    let service = Service::start(&place);
    service.disks(&["a", "b", "c", "d", "e", "log"]);
    service.ask("bdev_error_create", json!({ "base_name": "b" }));
    let table = |to_init: i32, second: &str| {
        format!(
            "0 24576 raid45 disk 3 log 1024 nosync raid5_ls 0 4 {to_init} a 0 {second} 0 c 0 d 0"
        )
    };
    service.ask("dm_create", json!({ "name": "r", "table": table(-1, "EE_b") }));
    service.fail_a_write("EE_b");
    let answer = service.write_later("r");
    assert!(answer.recv_timeout(PAUSE).is_err(), "held");
    service.ask("dm_message", json!({ "name": "r", "message": "allow_writes" }));
    answer.recv_timeout(PATIENCE).expect("an answer").unwrap();
    let next = table(1, "e").replace(" nosync", "").replace("disk 3", "disk 2");
    service.ask("dm_table_load", json!({ "name": "r", "table": next }));
    service.ask("dm_resume", json!({ "name": "r" }));
    service.write("r");
    service.stop();
}

/// Goal: a failure is on record with everybody who is left (R4, R8), so members without a metadata device do not
/// stand beside some that have one. Method: a table of each sort, and nothing is written by the one refused.
#[test]
fn all_members_have_a_metadata_device_or_none() {
    let place = Place::mounted();
    let service = Service::start(&place);
    service.disks(&["a", "b", "c", "ma", "mb", "mc"]);
    let table = |second: &str| format!("0 8192 raid raid5_ls 1 128 3 ma a {second} b mc c");
    let params = |second| json!({ "name": "r", "table": table(second) });
    let error = service.call("dm_create", params("-")).unwrap_err();
    assert!(error.message.contains("slot 1 has no metadata device and others have"), "{error}");
    assert!(!service.has("r"));
    let reactor = &service.control.reactors()[0];
    let first = service.control.bdev("ma").unwrap();
    assert!(blocking::read(reactor, &first, 0, 1 << 20, PATIENCE).unwrap().iter().all(|b| *b == 0));
    service.ask("dm_create", params("mb"));
    service.stop();
}
