//! What crosses on the wire and must not go wrong: small writes in front of the data of large ones, a second
//! Connect in front of the first one's answer, data for a namespace that has gone, a host that comes back
//! and goes again while a bdev has its requests.

use std::thread;
use std::time::Duration;

use device::nvme_tcp::{connect, read, write};
use nvme::Status;
use serde_json::json;

use super::host::{Queue, connecting};
use super::initiator::{BLOCK, connections, pattern, stat};
use super::{HOST, NQN, export};
use crate::daemon::{Place, malloc};

const LARGE_BLOCKS: u32 = (1 << 20) / BLOCK;

/// Goal: small writes that stand in the stream before the data of large ones, which have all the buffers, go
/// through. Method: as many large writes as a connection may have buffers for and more, none of whose data is
/// sent until the small ones have been; then all of it has to end.
#[test]
fn small_writes_pass_large_ones() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m", 16));
    let port = export(&daemon, "m");
    let free_bytes = stat(&daemon, "free_buffer_bytes");
    let (admin, facts) = Queue::admin(port, false).unwrap();
    let mut queue = Queue::io(port, false, facts.cntlid, 1).unwrap();
    for round in 0..4_u64 {
        for number in 0..10_u64 {
            let data = pattern(round << 8 | number, 1 << 20);
            queue.submit(write(1, 0, LARGE_BLOCKS, BLOCK, false), data).unwrap().unwrap();
        }
        let small = |number: u64| pattern(round << 8 | number | 1 << 32, BLOCK as usize);
        for number in 0..12_u64 {
            let command = write(1, 1000 + number, 1, BLOCK, number % 3 == 0);
            queue.submit(command, small(number)).unwrap().unwrap();
        }
        while queue.in_flight() > 0 {
            assert!(queue.next().unwrap().1.status().is_ok());
        }
        for number in 0..12_u64 {
            let empty = vec![0; BLOCK as usize];
            let (_, back) = queue.call(read(1, 1000 + number, 1, BLOCK), empty).unwrap();
            assert!(back == small(number), "block {number} of round {round}");
        }
    }
    drop((queue, admin));
    daemon.wait_until("all is given back", |daemon| {
        connections(daemon) == 0 && stat(daemon, "free_buffer_bytes") == free_bytes
    });
    daemon.stop();
}

/// Goal: a connection is one queue of one controller, whatever is asked before the first answer has come.
/// Method: two Connects in one breath; the second is refused, and nothing of it is left.
#[test]
fn a_second_connect_is_refused() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m", 16));
    let port = export(&daemon, "m");
    let mut queue = Queue::open(port, false).unwrap();
    let other = "nqn.2014-08.org.nvmexpress:uuid:11111111-1111-1111-1111-111111111111";
    for host in [HOST, other] {
        let mut buffer = vec![0; 1024];
        let command = connect(&connecting(NQN, host), 0, 0xffff, &mut buffer);
        queue.submit(command, buffer).unwrap().unwrap();
    }
    let mut statuses = [queue.next().unwrap(), queue.next().unwrap()]
        .map(|(number, cqe, _)| (number, cqe.status().plain()));
    statuses.sort_by_key(|(number, _)| *number);
    let statuses = statuses.map(|(_, status)| status);
    assert_eq!(statuses, [Status::SUCCESS, Status::SEQUENCE_ERROR]);
    let controllers = daemon.ask("nvmf_subsystem_get_controllers", json!({ "nqn": NQN }));
    assert_eq!(controllers.as_array().unwrap().len(), 1);
    assert_eq!(controllers[0]["hostnqn"], HOST);
    drop(queue);
    daemon.wait_until("it is gone", |daemon| {
        let controllers = daemon.ask("nvmf_subsystem_get_controllers", json!({ "nqn": NQN }));
        controllers.as_array().unwrap().is_empty() && connections(daemon) == 0
    });
    daemon.stop();
}

/// Goal: data that a host sends for a namespace that has gone does not get onto the one that has its number
/// now. Method: a write whose data is sent after its bdev has been exchanged.
#[test]
fn late_data_stays_off_a_new_namespace() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m", 16));
    daemon.ask("bdev_malloc_create", malloc("other", 16));
    let port = export(&daemon, "m");
    let (_admin, facts) = Queue::admin(port, false).unwrap();
    let mut queue = Queue::io(port, false, facts.cntlid, 1).unwrap();
    let command = write(1, 0, LARGE_BLOCKS, BLOCK, false);
    queue.submit(command, pattern(7, 1 << 20)).unwrap().unwrap();
    let lent = stat(&daemon, "free_buffer_bytes");
    daemon.wait_until("the write waits for its data", |daemon| {
        stat(daemon, "free_buffer_bytes") + (1 << 20) <= lent + (1 << 20)
    });
    daemon.ask("nvmf_subsystem_remove_ns", json!({ "nqn": NQN, "nsid": 1 }));
    let other = json!({ "nqn": NQN, "namespace": { "bdev_name": "other", "nsid": 1 } });
    daemon.ask("nvmf_subsystem_add_ns", other);
    let (_, cqe, _) = queue.next().unwrap();
    assert_eq!(cqe.status().plain(), Status::INVALID_NAMESPACE);
    let (cqe, back) = queue.call(read(1, 0, LARGE_BLOCKS, BLOCK), vec![1; 1 << 20]).unwrap();
    assert!(cqe.status().is_ok() && back.iter().all(|byte| *byte == 0), "the new bdev is blank");
    daemon.stop();
}

/// Goal: a host whose earlier requests are still at a bdev waits with its new controller until they are
/// over; if it gives up meanwhile, nothing of it is left. Method: writes that are pending at an error bdev,
/// a new Connect, and one that is given up.
#[test]
fn a_host_waits_for_its_own_past() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m", 16));
    daemon.ask("bdev_error_create", json!({ "base_name": "m" }));
    let port = export(&daemon, "EE_m");
    let (admin, facts) = Queue::admin(port, false).unwrap();
    let mut queue = Queue::io(port, false, facts.cntlid, 1).unwrap();
    let inject = json!({ "name": "EE_m", "io_type": "write", "error_type": "pending", "num": 1 });
    daemon.ask("bdev_error_inject_error", inject);
    queue.submit(write(1, 0, 1, BLOCK, false), pattern(1, BLOCK as usize)).unwrap().unwrap();
    daemon.wait_until("it is pending", |daemon| stat(daemon, "pending_bdev_io") == 1);
    drop((queue, admin));
    thread::scope(|scope| {
        let waits = scope.spawn(|| Queue::admin(port, false).map(drop));
        let mut given_up = Queue::open(port, false).unwrap();
        let mut buffer = vec![0; 1024];
        let command = connect(&connecting(NQN, HOST), 0, 0xffff, &mut buffer);
        given_up.submit(command, buffer).unwrap().unwrap();
        thread::park_timeout(Duration::from_millis(500));
        assert!(!waits.is_finished(), "its write is at the bdev");
        drop(given_up);
        daemon.ask("bdev_error_resume_pending", json!({ "name": "EE_m" }));
        waits.join().unwrap().unwrap();
    });
    // What is counted and what is listed are two looks: a connection that has just gone is in one of them.
    daemon.wait_until("nobody is left", |daemon| {
        let queues = daemon.ask("nvmf_subsystem_get_qpairs", json!({ "nqn": NQN }));
        let none = queues.as_array().unwrap().is_empty();
        none && connections(daemon) == 0 && stat(daemon, "pending_bdev_io") == 0
    });
    daemon.stop();
}
