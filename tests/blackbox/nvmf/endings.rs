//! What hosts see of the end of a service, and of a start at which something was missing.
//!
//! Not here: what is on the disks then (`initiator`, `crash`).

use std::ffi::OsStr;
use std::fs;
use std::thread;
use std::time::Duration;

use device::nvme_tcp::write;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::host::Queue;
use super::{NQN, export};
use crate::daemon::{Place, malloc, raid5};

const BLOCK: u32 = 4096;

/// Goal: a write that waits when the service stops is answered by nobody: the host loses its connection, and
/// comes back, instead of taking the device for broken. Method: a mapped device that is suspended, and an
/// error bdev that keeps its request; SIGTERM.
#[test]
fn what_waits_at_the_end_is_not_answered() {
    for suspended in [true, false] {
        let place = Place::new();
        let daemon = place.start();
        daemon.ask("bdev_malloc_create", malloc("m", 4));
        daemon.ask("bdev_error_create", json!({ "base_name": "m" }));
        daemon.ask("dm_create", json!({ "name": "d", "table": "0 8192 linear EE_m 0" }));
        let port = export(&daemon, "d");
        let (_admin, facts) = Queue::admin(port, false).unwrap();
        let mut queue = Queue::io(port, false, facts.cntlid, 1).unwrap();
        if suspended {
            daemon.ask("dm_suspend", json!({ "name": "d" }));
        } else {
            let pending =
                json!({ "name": "EE_m", "io_type": "write", "error_type": "pending", "num": 1 });
            daemon.ask("bdev_error_inject_error", pending);
        }
        let command = write(1, 0, 1, BLOCK, false);
        queue.submit(command, vec![1; BLOCK as usize]).unwrap().unwrap();
        thread::park_timeout(Duration::from_millis(300));
        let status = daemon.end(Signal::TERM);
        assert_eq!(status.code(), Some(0));
        let answer = queue.next().map(|(_, cqe, _)| cqe.status());
        assert!(answer.is_err(), "suspended: {suspended}: {answer:?}");
    }
}

/// Goal: an array that starts without a member, once patience is at its end, is exported as before, though
/// nobody calls. Method: superblocks, a state, a file that is gone; nothing but looks.
#[test]
fn a_late_array_is_exported() {
    let place = Place::new();
    let state = place.data().join("state.json");
    let args: [&OsStr; 4] =
        ["--state".as_ref(), state.as_os_str(), "--patience".as_ref(), "1".as_ref()];
    let daemon = place.start_with(&args);
    for name in ["m0", "m1", "m2"] {
        let file = place.path(name);
        daemon.ask(
            "bdev_uring_create",
            json!({ "name": name, "filename": file, "block_size": 4096, "create_size_mib": 8 }),
        );
    }
    let mut array = raid5("r", &["m0", "m1", "m2"]);
    array["superblock"] = json!(true);
    daemon.ask("bdev_raid_create", array);
    daemon.wait_until("in sync", |daemon| {
        daemon.ask("bdev_raid_get_bdevs", Value::Null)[0]["in_sync"] == true
    });
    export(&daemon, "r");
    daemon.stop();
    fs::rename(place.path("m2"), place.path("away")).unwrap();
    let daemon = place.start_with(&args);
    daemon.wait_until("exported", |daemon| {
        let subsystems = daemon.ask("nvmf_get_subsystems", Value::Null);
        let of = |nqn: &Value| nqn["nqn"] == NQN;
        let subsystem = subsystems.as_array().unwrap().iter().find(|nqn| of(nqn)).cloned();
        subsystem.is_some_and(|subsystem| subsystem["namespaces"][0]["bdev_name"] == "r")
    });
    daemon.stop();
}

/// Goal: a write that a namespace's end does not wait for any more may still land: until it has ended nobody
/// gets the bdev, and nothing that stands on it or is below it is made or goes; then everything can be. Method: an
/// error bdev keeps the write of a host; the namespace is taken out.
#[test]
fn what_is_given_up_is_still_waited_for() {
    let place = Place::new();
    let daemon = place.start();
    for name in ["m", "a", "b"] {
        daemon.ask("bdev_malloc_create", malloc(name, 4));
    }
    daemon.ask("bdev_error_create", json!({ "base_name": "m" }));
    let port = export(&daemon, "EE_m");
    let (_admin, facts) = Queue::admin(port, false).unwrap();
    let mut queue = Queue::io(port, false, facts.cntlid, 1).unwrap();
    let pending = json!({ "name": "EE_m", "io_type": "write", "error_type": "pending", "num": 1 });
    daemon.ask("bdev_error_inject_error", pending);
    let command = write(1, 0, 1, BLOCK, false);
    queue.submit(command, vec![1; BLOCK as usize]).unwrap().unwrap();
    thread::park_timeout(Duration::from_millis(300));
    daemon.ask("nvmf_subsystem_remove_ns", json!({ "nqn": NQN, "nsid": 1 }));

    let users = [
        (
            "nvmf_subsystem_add_ns",
            json!({ "nqn": NQN, "namespace": { "bdev_name": "EE_m", "nsid": 2 } }),
        ),
        ("bdev_raid_create", raid5("r", &["EE_m", "a", "b"])),
        ("bdev_raid_add_spare", json!({ "base_bdev": "EE_m" })),
        ("bdev_error_create", json!({ "base_name": "EE_m" })),
        (
            "bdev_delay_create",
            json!({
                "base_bdev_name": "EE_m", "name": "slow", "avg_read_latency": 0, "p99_read_latency": 0,
                "avg_write_latency": 0, "p99_write_latency": 0,
            }),
        ),
        ("bdev_split_create", json!({ "base_bdev": "EE_m", "split_count": 2 })),
        ("dm_create", json!({ "name": "d", "table": "0 8192 linear EE_m 0" })),
        ("bdev_error_delete", json!({ "name": "EE_m" })),
    ];
    for (method, params) in &users {
        let error = daemon.refused(method, params.clone());
        let code = if method.starts_with("nvmf") { -32602 } else { -16 };
        assert_eq!(error.code, code, "{method}: {error}");
        assert!(error.message.contains("still has 1 requests from before"), "{method}: {error}");
    }
    daemon.ask("bdev_error_resume_pending", json!({ "name": "EE_m" }));
    let (method, params) = &users[0];
    daemon.ask(method, params.clone());
    daemon.ask("nvmf_subsystem_remove_ns", json!({ "nqn": NQN, "nsid": 2 }));
    daemon.ask("bdev_error_delete", json!({ "name": "EE_m" }));
    daemon.stop();
}

/// Goal: an array that holds the write of a host that is gone can be deleted, and its members used again at once.
/// Method: an array without superblocks that waits for its owner after a member has failed; the host's namespace is
/// taken out.
#[test]
fn an_array_that_waits_for_its_owner_can_be_deleted() {
    let place = Place::new();
    let daemon = place.start();
    for name in ["m", "a", "b"] {
        daemon.ask("bdev_malloc_create", malloc(name, 4));
    }
    daemon.ask("bdev_error_create", json!({ "base_name": "m" }));
    let mut array = raid5("r", &["EE_m", "a", "b"]);
    array["assume_clean"] = json!(true);
    daemon.ask("bdev_raid_create", array.clone());
    let port = export(&daemon, "r");
    let (_admin, facts) = Queue::admin(port, false).unwrap();
    let mut queue = Queue::io(port, false, facts.cntlid, 1).unwrap();
    let fails = json!({ "name": "EE_m", "io_type": "write", "error_type": "failure", "num": 1 });
    daemon.ask("bdev_error_inject_error", fails);
    let command = write(1, 0, 1, BLOCK, false);
    queue.submit(command, vec![1; BLOCK as usize]).unwrap().unwrap();
    let raid = || daemon.ask("bdev_raid_get_bdevs", Value::Null)[0].take();
    daemon.wait_until("held", |_| raid()["writes_held"] == true);
    daemon.ask("nvmf_subsystem_remove_ns", json!({ "nqn": NQN, "nsid": 1 }));
    let error = daemon.refused("bdev_raid_delete", json!({ "name": "r" }));
    // What waits is not done, and not undone.
    assert!(error.message.contains("the array is deleted, but not cleanly: "), "{error}");
    daemon.ask("bdev_raid_create", array);
    daemon.ask("bdev_raid_delete", json!({ "name": "r" }));
    daemon.stop();
}
