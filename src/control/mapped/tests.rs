//! Verbs that have waited for their turn.
//!
//! Not here: one verb at a time (`tests/blackbox/dm`).

use std::thread;
use std::time::Duration;

use super::super::tests::Plane;
use super::*;

const TABLE: &str = "0 16384 raid456 core 1 1024 raid5_ls 1 128 3 a 0 b 0 c 0";

/// Goal: a verb that has waited while its device was removed does nothing, neither to that nor to a device that has
/// its name now; above all no array of it runs, and its members are free. Method: all verbs wait for a turn in
/// which the device is removed, and another one made under its name.
#[test]
fn verbs_do_nothing_to_a_device_that_is_gone() {
    type Verb = fn(&Control) -> Result<(), ControlError>;
    let verbs: [(&str, Verb); 8] = [
        ("resume", |control| control.dm_resume("d")),
        ("suspend", |control| control.dm_suspend("d", false)),
        ("load", |control| control.dm_load("d", TABLE)),
        ("clear", |control| control.dm_clear("d")),
        ("rename", |control| control.dm_rename("d", "e")),
        ("uuid", |control| control.dm_set_uuid("d", "u")),
        ("message", |control| control.dm_message("d", 0, "check")),
        ("remove", |control| control.dm_remove("d", false, true).map(drop)),
    ];
    for (name, verb) in verbs {
        for is_replaced in [false, true] {
            let plane = Plane::start();
            plane.disks(&["a", "b", "c"]);
            plane.mapped("d", TABLE);
            if name == "resume" {
                plane.control.dm_load("d", TABLE).unwrap();
            }
            let device = plane.control.mapped("d").unwrap();
            let held = lock(&device.verb);
            thread::scope(|scope| {
                let control = &plane.control;
                let waits = scope.spawn(move || verb(control));
                // Nothing tells from outside that it waits.
                thread::park_timeout(Duration::from_millis(50));
                assert!(control.remove_now(&device, false, false).unwrap());
                if is_replaced {
                    plane.mapped("d", "0 8 zero");
                }
                drop(held);
                let error = waits.join().unwrap().unwrap_err();
                assert_eq!(error.errno(), errno::ENXIO, "{name}: {error}");
            });
            for member in ["a", "b", "c"] {
                assert_eq!(plane.claim(member), None, "{name}");
            }
            assert!(device.raids().is_empty(), "{name}: its array runs");
            let other = plane.control.mapped("d").ok();
            assert_eq!(other.is_some(), is_replaced, "{name}");
            assert!(other.is_none_or(|other| !other.is_suspended()), "{name}");
            plane.stop();
        }
    }
}

/// Goal: no verb starts arrays once the service has stopped. Method: one that waits for its turn while it stops.
#[test]
fn verbs_do_nothing_after_the_end() {
    let plane = Plane::start();
    plane.disks(&["a", "b", "c"]);
    plane.mapped("d", TABLE);
    let device = plane.control.mapped("d").unwrap();
    plane.control.dm_suspend("d", false).unwrap();
    plane.control.dm_load("d", TABLE).unwrap();
    let held = lock(&device.verb);
    thread::scope(|scope| {
        let control = &plane.control;
        let waits = scope.spawn(move || control.dm_resume("d"));
        thread::park_timeout(Duration::from_millis(50));
        let stops = scope.spawn(move || control.shutdown());
        plane.wait_until("stopping", |plane| plane.control.is_stopped());
        drop(held);
        let error = waits.join().unwrap().unwrap_err();
        assert_eq!(error.errno(), errno::ESHUTDOWN, "{error}");
        stops.join().unwrap().unwrap();
    });
    let arrays = device.raids();
    assert!(arrays.iter().all(|raid| raid.snapshot().members.iter().all(|m| m.name.is_none())));
}
