//! What a controller says of what goes wrong: errors of its queues, how well its arrays are; and what happens to
//! the writes of a path that is lost.

use std::thread;
use std::time::Duration;

use device::nvme_tcp::{Command, Data, compare, flush, read, write};
use nvme::command::admin;
use nvme::log::{ErrorEntry, Event, Smart, id};
use nvme::{Layout, Sqe, Status, feature};
use serde_json::json;

use super::NQN;
use super::export;
use super::host::Queue;
use super::initiator::{BLOCK, pattern, stat};
use crate::daemon::{Place, malloc, raid5};

/// A log page.
fn log(admin: &mut Queue, page: u8, len_bytes: u32) -> Vec<u8> {
    let dwords = len_bytes / 4 - 1;
    let cdw10 = u32::from(page) | dwords << 16;
    let sqe = Sqe { opcode: admin::GET_LOG_PAGE, nsid: u32::MAX, cdw10, ..Sqe::default() };
    let command = Command { sqe, data: Data::ToHost { len_bytes } };
    let (cqe, bytes) = admin.call(command, vec![0x5a; len_bytes as usize]).unwrap();
    assert!(cqe.status().is_ok(), "log page {page}: {}", cqe.status());
    bytes
}

fn plain(opcode: u8, cdw10: u32, cdw11: u32) -> Command {
    Command { sqe: Sqe { opcode, cdw10, cdw11, ..Sqe::default() }, data: Data::None }
}

/// Goal: commands of I/O queues that fail or are refused are in the error log of their controller, the last one
/// first, whichever reactor their queue is on; those of another controller are not. Method: an error of each
/// sort on two queues of one controller, none on the other.
#[test]
fn errors_of_queues_are_logged() {
    let place = Place::new();
    let daemon = place.start_with(&["--cores".as_ref(), "0,1".as_ref()]);
    daemon.ask("bdev_malloc_create", malloc("m", 16));
    daemon.ask("bdev_error_create", json!({ "base_name": "m" }));
    let port = export(&daemon, "EE_m");
    let (mut admin, facts) = Queue::admin(port, false).unwrap();
    let (mut other, _) = Queue::admin(port, false).unwrap();
    let queues = (1..=2).map(|qid| Queue::io(port, false, facts.cntlid, qid).unwrap());
    let mut queues: Vec<Queue> = queues.collect();
    let block = || vec![7; BLOCK as usize];
    let inject = json!({ "name": "EE_m", "io_type": "write", "error_type": "failure", "num": 1 });
    let mut expected = Vec::new();
    for (qid, queue) in (1_u16..).zip(&mut queues) {
        daemon.ask("bdev_error_inject_error", inject.clone());
        let commands = [
            (read(1, 1 << 40, 1, BLOCK), Status::LBA_OUT_OF_RANGE, 1 << 40),
            (read(9, 3, 1, BLOCK), Status::INVALID_NAMESPACE, 3),
            (write(1, 5, 1, BLOCK, false), Status::WRITE_FAULT, 5),
            (compare(1, 6, 1, BLOCK), Status::COMPARE_FAILURE, 6),
        ];
        for (command, status, start_block) in commands {
            let (cqe, _) = queue.call(command, block()).unwrap();
            assert_eq!(cqe.status().plain(), status);
            expected.insert(0, (qid, status.bits(), start_block, command.sqe.opcode));
        }
        assert!(queue.call(flush(1), Vec::new()).unwrap().0.status().is_ok());
    }
    let page = log(&mut admin, id::ERROR, 16 * 64);
    let entries = page.chunks(64).map(ErrorEntry::get).take_while(|entry| entry.count > 0);
    let entries: Vec<_> = entries.collect();
    let dnr = Status::SUCCESS.finally().bits();
    let found: Vec<_> = entries
        .iter()
        .map(|one| (one.sq_id, one.status_field >> 1 & !dnr, one.start_block, one.opcode))
        .collect();
    assert_eq!(found, expected);
    let counts: Vec<u64> = entries.iter().map(|entry| entry.count).collect();
    assert_eq!(counts, (1..=8).rev().collect::<Vec<_>>());
    assert_eq!(Smart::get(&log(&mut admin, id::SMART, 512)).error_entries, 8);
    assert!(log(&mut other, id::ERROR, 64).iter().all(|byte| *byte == 0));
    daemon.stop();
}

/// Goal: a host is told when an array below loses a member, and that it is whole again. Method: the event, and
/// the critical warning before, meanwhile and afterwards; with two namespaces, so that not all is degraded.
#[test]
fn hosts_hear_of_degraded_arrays() {
    let place = Place::new();
    let daemon = place.start();
    for name in ["a", "b", "c", "other"] {
        daemon.ask("bdev_malloc_create", malloc(name, 16));
    }
    daemon.ask("bdev_raid_create", raid5("r", &["a", "b", "c"]));
    let port = export(&daemon, "r");
    let namespace = json!({ "nqn": NQN, "namespace": { "bdev_name": "other" } });
    daemon.ask("nvmf_subsystem_add_ns", namespace);
    daemon.wait_until("it is in sync", |daemon| {
        let arrays = daemon.ask("bdev_raid_get_bdevs", json!({ "category": "all" }));
        arrays[0]["sync_action"] == "idle"
    });
    let (mut admin, _) = Queue::admin(port, false).unwrap();
    let warning = |admin: &mut Queue| Smart::get(&log(admin, id::SMART, 512)).critical_warning;
    daemon.wait_until("it is whole", |_| warning(&mut admin) == 0);
    let config = u32::from(feature::id::ASYNC_EVENT_CONFIG);
    let bits = Event::ReliabilityDegraded.config_bit();
    let (cqe, _) = admin.call(plain(admin::SET_FEATURES, config, bits), Vec::new()).unwrap();
    assert!(cqe.status().is_ok());
    let event = admin.submit(plain(admin::ASYNC_EVENT_REQUEST, 0, 0), Vec::new()).unwrap();

    daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": "b" }));
    let (number, cqe, _) = admin.next().unwrap();
    assert_eq!(Some(number), event);
    assert_eq!(Event::from_result(cqe.result as u32), Some(Event::ReliabilityDegraded));
    assert_eq!(cqe.result as u32, 0x0002_0001, "type 1, information 0, log page 2");
    assert_eq!(warning(&mut admin), 1 << 2);

    daemon.ask("bdev_raid_add_base_bdev", json!({ "raid_bdev": "r", "base_bdev": "b" }));
    daemon.wait_until("it is whole again", |_| warning(&mut admin) == 0);

    // A controller that comes later sees what is, too.
    for name in ["a", "b"] {
        daemon.ask("bdev_raid_remove_base_bdev", json!({ "name": name }));
        let (mut late, _) = Queue::admin(port, false).unwrap();
        daemon.wait_until("it is degraded", |_| warning(&mut late) == 1 << 2);
        if name == "a" {
            daemon.ask("bdev_raid_add_base_bdev", json!({ "raid_bdev": "r", "base_bdev": "a" }));
            daemon.wait_until("it is whole once more", |_| warning(&mut late) == 0);
        }
    }
    daemon.stop();
}

/// Goal: a write of a path that is lost never lands on one that the host made afterwards by another path. Method:
/// a write that its bdev keeps; its connection ends; a newer write of the same block by a path that lives does
/// not get ahead of it, on either reactor, while reads go on. Then the bdev lets go.
#[test]
fn a_lost_path_overwrites_nothing() {
    let place = Place::new();
    let daemon = place.start_with(&["--cores".as_ref(), "0,1".as_ref()]);
    daemon.ask("bdev_malloc_create", malloc("m", 16));
    daemon.ask("bdev_error_create", json!({ "base_name": "m" }));
    let port = export(&daemon, "EE_m");
    for round in 0..2_u64 {
        // Connections are dealt in turn: one more here, and the queues are on other reactors.
        let _shift = (round == 1).then(|| Queue::open(port, false).unwrap());
        let (first_admin, first) = Queue::admin(port, false).unwrap();
        let (_second_admin, second) = Queue::admin(port, false).unwrap();
        let mut lost = Queue::io(port, false, first.cntlid, 1).unwrap();
        let mut living: Vec<Queue> =
            (1..=2).map(|qid| Queue::io(port, false, second.cntlid, qid).unwrap()).collect();
        let inject =
            json!({ "name": "EE_m", "io_type": "write", "error_type": "pending", "num": 1 });
        daemon.ask("bdev_error_inject_error", inject);
        let (old, new) = (pattern(1 + round, BLOCK as usize), pattern(9 + round, BLOCK as usize));
        lost.submit(write(1, 3, 1, BLOCK, false), old).unwrap().unwrap();
        daemon.wait_until("it is pending", |daemon| stat(daemon, "pending_bdev_io") == 1);
        drop((lost, first_admin));
        daemon.wait_until("the path is lost", |daemon| {
            let controllers = daemon.ask("nvmf_subsystem_get_controllers", json!({ "nqn": NQN }));
            controllers.as_array().unwrap().len() == 1
        });
        let command = write(1, 3, 1, BLOCK, false);
        let begun: Vec<_> = living
            .iter_mut()
            .map(|queue| queue.submit(command, new.clone()).unwrap().unwrap())
            .collect();
        for queue in &mut living {
            let other = queue.submit(read(1, 3, 1, BLOCK), vec![0; BLOCK as usize]).unwrap();
            let (number, cqe, _) = queue.next().unwrap();
            assert!(Some(number) == other && cqe.status().is_ok(), "the write is held");
        }
        thread::park_timeout(Duration::from_millis(200));
        assert_eq!(stat(&daemon, "pending_bdev_io"), 1, "and nothing but the old one is there");
        daemon.ask("bdev_error_resume_pending", json!({ "name": "EE_m" }));
        for (queue, number) in living.iter_mut().zip(begun) {
            let (ended, cqe, _) = queue.next().unwrap();
            assert!(ended == number && cqe.status().is_ok());
            let (_, back) = queue.call(read(1, 3, 1, BLOCK), vec![0; BLOCK as usize]).unwrap();
            assert!(back == new, "the newer write is there");
        }
    }
    daemon.stop();
}
