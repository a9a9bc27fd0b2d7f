//! Our initiator asks the target of a real service: every command, many connections, peers that
//! misbehave, namespaces that go, and a kill -9 under load.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use device::nvme_tcp::{compare, deallocate, flush, keep_alive, read, verify, write, write_zeroes};
use nvme::Status;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::host::{ENTRIES, Queue, connecting};
use super::{HOST, NQN, address, export};
use crate::daemon::{Daemon, Place, malloc, raid5};

pub(super) const BLOCK: u32 = 4096;

pub(super) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// What the groups of all reactors say, added up.
pub(super) fn stat(daemon: &Daemon, key: &str) -> u64 {
    let stats = daemon.ask("nvmf_get_stats", Value::Null);
    stats["poll_groups"].as_array().unwrap().iter().map(|group| group[key].as_u64().unwrap()).sum()
}

pub(super) fn connections(daemon: &Daemon) -> u64 {
    ["current_admin_qpairs", "current_io_qpairs", "current_unassociated_qpairs"]
        .iter()
        .map(|key| stat(daemon, key))
        .sum()
}

/// Goal: every command does what it says, with digests and without, from one block to the largest
/// transfer, on queues of both reactors; what is refused has done nothing. Method: against bytes that
/// the test keeps.
#[test]
fn every_command_does_what_it_says() {
    let place = Place::new();
    let daemon = place.start_with(&["--cores".as_ref(), "0,1".as_ref()]);
    for name in ["a", "b", "c"] {
        daemon.ask("bdev_malloc_create", malloc(name, 16));
    }
    daemon.ask("bdev_raid_create", raid5("r", &["a", "b", "c"]));
    let port = export(&daemon, "r");
    for digests in [false, true] {
        let (mut admin, facts) = Queue::admin(port, digests).unwrap();
        let queues = (1..=2).map(|qid| Queue::io(port, digests, facts.cntlid, qid).unwrap());
        for (seed, mut queue) in queues.enumerate() {
            every_command(&mut queue, seed as u64 + 10);
        }
        let (cqe, _) = admin.call(keep_alive(), Vec::new()).unwrap();
        assert!(cqe.status().is_ok());
        let controllers = daemon.ask("nvmf_subsystem_get_controllers", json!({ "nqn": NQN }));
        assert_eq!(controllers[0]["hostnqn"], HOST);
        let queues = daemon.ask("nvmf_subsystem_get_qpairs", json!({ "nqn": NQN }));
        assert!(!queues.as_array().unwrap().is_empty());
        drop(admin);
        daemon.wait_until("the connections are gone", |daemon| connections(daemon) == 0);
    }
    assert_eq!(stat(&daemon, "pending_bdev_io"), 0);
    daemon.stop();
}

fn every_command(queue: &mut Queue, seed: u64) {
    let mut call = |command, buffer: Vec<u8>| {
        let (cqe, buffer) = queue.call(command, buffer).unwrap();
        (cqe.status().plain(), buffer)
    };
    let ok = Status::SUCCESS;
    for (blocks, at) in [(1_u32, 0_u64), (2, 5), (3, 77), (32, 512), (256, 1024)] {
        let data = pattern(seed + at, (blocks * BLOCK) as usize);
        let empty = vec![0x5a; data.len()];
        assert_eq!(call(write(1, at, blocks, BLOCK, blocks % 2 == 0), data.clone()).0, ok);
        let (status, back) = call(read(1, at, blocks, BLOCK), empty);
        assert!(status == ok && back == data, "{blocks} blocks at {at}: {status}");
        assert_eq!(call(compare(1, at, blocks, BLOCK), data.clone()).0, ok);
        let mut other = data.clone();
        *other.last_mut().unwrap() ^= 1;
        assert_eq!(call(compare(1, at, blocks, BLOCK), other).0, Status::COMPARE_FAILURE);
        assert_eq!(call(verify(1, at, blocks), Vec::new()).0, ok);
    }
    assert_eq!(call(flush(1), Vec::new()).0, ok);
    let zeroes = vec![0; (4 * BLOCK) as usize];
    for (at, command, buffer) in [
        (1024, write_zeroes(1, 1024, 4, false), Vec::new()),
        (1028, write_zeroes(1, 1028, 4, true), Vec::new()),
    ] {
        assert_eq!(call(command, buffer).0, ok);
        assert_eq!(call(read(1, at, 4, BLOCK), vec![1; zeroes.len()]), (ok, zeroes.clone()));
    }
    let mut ranges = vec![0; 4096];
    let command = deallocate(1, &[(1040, 4), (1100, 4), (2000, 1)], &mut ranges);
    assert_eq!(call(command, ranges).0, ok);
    assert_eq!(call(read(1, 1100, 4, BLOCK), vec![1; zeroes.len()]), (ok, zeroes.clone()));
    // 32 MiB are 8192 blocks.
    let outside = Status::LBA_OUT_OF_RANGE;
    assert_eq!(call(read(1, 8190, 4, BLOCK), zeroes.clone()).0, outside);
    let mut ranges = vec![0; 4096];
    let command = deallocate(1, &[(0, 4), (8192, 1)], &mut ranges);
    assert_eq!(call(command, ranges).0, outside);
    assert_eq!(call(read(2, 0, 4, BLOCK), zeroes).0, Status::INVALID_NAMESPACE);
}

/// Writes and compares until it is told to stop, with the queue full.
fn load(mut queue: Queue, stop: &AtomicBool, done: &AtomicU64) {
    let (mut round, mut wrong) = (0_u64, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let mut expected = std::collections::BTreeMap::new();
        for slot in 0..16_u64 {
            let data = pattern(round * 100 + slot, (4 * BLOCK) as usize);
            queue.submit(write(1, slot * 4, 4, BLOCK, false), data).unwrap().unwrap();
        }
        while queue.in_flight() > 0 {
            assert!(queue.next().unwrap().1.status().is_ok());
            done.fetch_add(1, Ordering::Relaxed);
        }
        for slot in 0..16_u64 {
            let empty = vec![0; (4 * BLOCK) as usize];
            let tag = queue.submit(read(1, slot * 4, 4, BLOCK), empty).unwrap().unwrap();
            expected.insert(tag, slot);
        }
        while queue.in_flight() > 0 {
            let (tag, cqe, data) = queue.next().unwrap();
            assert!(cqe.status().is_ok());
            if data != pattern(round * 100 + expected[&tag], data.len()) {
                wrong.push((round, expected[&tag]));
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    }
    assert!(wrong.is_empty(), "{} blocks are wrong, first {:?}", wrong.len(), wrong[0]);
}

/// Goal: 1,000 connections come and go, in order and not, while I/O is verified on another one; nothing
/// of them is left. Method: a third are controllers that are set up, a third say half of what they have
/// to, a third say nothing.
#[test]
fn a_thousand_connections_come_and_go() {
    let place = Place::new();
    let daemon = place.start_with(&["--cores".as_ref(), "0,1".as_ref()]);
    daemon.ask("bdev_malloc_create", malloc("m", 16));
    let port = export(&daemon, "m");
    let free_bytes = stat(&daemon, "free_buffer_bytes");
    let (_admin, facts) = Queue::admin(port, false).unwrap();
    let queue = Queue::io(port, false, facts.cntlid, 1).unwrap();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let load = scope.spawn(|| load(queue, &stop, &done));
        for number in 0..1000 {
            match number % 3 {
                0 => drop(Queue::admin(port, number % 2 == 0).unwrap()),
                1 => drop(Queue::open(port, false).unwrap()),
                _ => {
                    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                    stream.write_all(&[0, 0, 128][..number % 4]).unwrap();
                }
            }
        }
        let before = done.load(Ordering::Relaxed);
        daemon.wait_until("I/O goes on", |_| {
            assert!(!load.is_finished(), "the load has ended");
            done.load(Ordering::Relaxed) > before + 100
        });
        daemon.wait_until("the others are gone", |daemon| connections(daemon) == 2);
        stop.store(true, Ordering::Relaxed);
    });
    drop(_admin);
    daemon.wait_until("all are gone", |daemon| connections(daemon) == 0);
    assert_eq!(stat(&daemon, "free_buffer_bytes"), free_bytes);
    daemon.stop();
}

/// Goal: a host that asks for much and reads nothing holds no more than its share, and keeps nobody from
/// working; the same of one that has been asked for data and sends none. Method: both, many times, beside
/// a host that works.
#[test]
fn slow_hosts_are_bounded() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m", 16));
    let port = export(&daemon, "m");
    let free_bytes = stat(&daemon, "free_buffer_bytes");
    let (_admin, facts) = Queue::admin(port, false).unwrap();
    let mut reader = Queue::io(port, false, facts.cntlid, 1).unwrap();
    let mut worker = Queue::io(port, false, facts.cntlid, 2).unwrap();
    for _ in 0..ENTRIES - 1 {
        let command = read(1, 0, 256, BLOCK);
        assert!(reader.submit(command, vec![0; 1 << 20]).unwrap().is_some());
    }
    // Writes without their data: everything but H2CData.
    let mut promiser = Queue::io(port, false, facts.cntlid, 3).unwrap();
    for _ in 0..ENTRIES - 1 {
        let command = write(1, 0, 256, BLOCK, false);
        assert!(promiser.submit(command, vec![0; 1 << 20]).unwrap().is_some());
    }
    let share = raid456::limits::NVMF_BUFFER_BYTES_PER_LINK_MAX as u64;
    for round in 0..200 {
        let data = pattern(round, BLOCK as usize);
        let (cqe, _) = worker.call(write(1, 3000, 1, BLOCK, false), data.clone()).unwrap();
        assert!(cqe.status().is_ok());
        let (_, back) = worker.call(read(1, 3000, 1, BLOCK), vec![0; data.len()]).unwrap();
        assert_eq!(back, data);
        // One more 4 KiB may be lent to the worker.
        let lent = free_bytes - stat(&daemon, "free_buffer_bytes");
        assert!(lent <= 2 * (share + (1 << 20)) + 8192, "{lent} bytes are lent");
    }
    assert!(reader.stream().set_read_timeout(None).is_ok());
    drop((reader, promiser, worker, _admin));
    daemon.wait_until("all is given back", |daemon| {
        connections(daemon) == 0 && stat(daemon, "free_buffer_bytes") == free_bytes
    });
    daemon.stop();
}

/// Goal: what breaks the protocol is told so and ends; the service stays. Method: bytes that are no PDU,
/// and a connection that says nothing after its first byte.
#[test]
fn nonsense_is_answered_with_the_end() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m", 16));
    let port = export(&daemon, "m");
    for bytes in [&[0xff_u8; 256][..], b"GET / HTTP/1.1\r\n\r\n", &[4; 128]] {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // A reset may come first, because bytes of ours were left unread.
        drop(stream.read_to_end(&mut answer));
        assert!(answer.is_empty() || answer[0] == 3, "C2HTermReq or nothing: {answer:?}");
    }
    assert!(Queue::admin(port, true).is_ok());
    let other = connecting("nqn.2016-06.io.spdk:none", HOST);
    let refused = Queue::admin_of(port, false, &other).err().unwrap();
    assert!(refused.to_string().contains("Refused"), "{refused}");
    daemon.stop();
}

/// Goal: a namespace goes while its bdev answers nothing: the host is answered, the bdev is free. Method:
/// requests that are pending at an error bdev, which are resumed when the namespace is being removed.
#[test]
fn a_namespace_goes_in_order() {
    let place = Place::new();
    let daemon = place.start();
    daemon.ask("bdev_malloc_create", malloc("m", 16));
    daemon.ask("bdev_error_create", json!({ "base_name": "m" }));
    let port = export(&daemon, "EE_m");
    let (_admin, facts) = Queue::admin(port, false).unwrap();
    let mut queue = Queue::io(port, false, facts.cntlid, 1).unwrap();
    let inject = json!({ "name": "EE_m", "io_type": "write", "error_type": "pending", "num": 4 });
    daemon.ask("bdev_error_inject_error", inject);
    for at in 0..4 {
        let data = pattern(at, BLOCK as usize);
        queue.submit(write(1, at, 1, BLOCK, false), data).unwrap().unwrap();
    }
    daemon.wait_until("they are pending", |daemon| stat(daemon, "pending_bdev_io") == 4);
    let busy = daemon.refused("bdev_error_delete", json!({ "name": "EE_m" }));
    assert_eq!(busy.code, -16);
    thread::scope(|scope| {
        let remove = json!({ "nqn": NQN, "nsid": 1 });
        let removed = scope.spawn(|| daemon.ask("nvmf_subsystem_remove_ns", remove));
        thread::park_timeout(Duration::from_millis(300));
        assert!(!removed.is_finished(), "requests are at the bdev");
        daemon.ask("bdev_error_resume_pending", json!({ "name": "EE_m" }));
        for _ in 0..4 {
            assert!(queue.next().unwrap().1.status().is_ok());
        }
        assert_eq!(removed.join().unwrap(), true);
    });
    let (cqe, _) = queue.call(read(1, 0, 1, BLOCK), vec![0; BLOCK as usize]).unwrap();
    assert_eq!(cqe.status().plain(), Status::INVALID_NAMESPACE);
    daemon.ask("bdev_error_delete", json!({ "name": "EE_m" }));
    // A listener that goes takes its connections with it.
    let listen_address = address("127.0.0.1", &port.to_string());
    let listener = json!({ "nqn": NQN, "listen_address": listen_address });
    daemon.ask("nvmf_subsystem_remove_listener", listener);
    assert!(queue.call(flush(1), Vec::new()).is_err());
    daemon.wait_until("nobody is connected", |daemon| connections(daemon) == 0);
    daemon.stop();
}

/// A block that says where it belongs and which write it is of.
fn stamped(block: u64, version: u64) -> Vec<u8> {
    pattern(block << 32 | version, BLOCK as usize)
}

/// Each block holds its last acknowledged version, or the one that was under way.
fn look(queue: &mut Queue, versions: &mut [(u64, u64)]) {
    for (block, (acknowledged, begun)) in (0_u64..).zip(versions) {
        let empty = vec![0; BLOCK as usize];
        let (cqe, back) = queue.call(read(1, block * 9, 1, BLOCK), empty).unwrap();
        assert!(cqe.status().is_ok());
        let is = |version| match version {
            0 => back.iter().all(|byte| *byte == 0),
            version => back == stamped(block, version),
        };
        assert!(is(*acknowledged) || is(*begun), "block {block}: not {acknowledged}, not {begun}");
        let found = if is(*begun) { *begun } else { *acknowledged };
        (*acknowledged, *begun) = (found, found);
    }
}

/// Goal: what was acknowledged over NVMe/TCP is there after a kill -9 of the service. Method: an array of
/// files with a dirty log under verified load, killed three times; each block then holds its last
/// acknowledged version, or one that was under way.
#[test]
fn acknowledged_writes_survive_kill_9() {
    const BLOCKS: u64 = 64;
    let place = Place::new();
    let state = place.data().join("state.json");
    let args: [&OsStr; 4] =
        ["--state".as_ref(), state.as_os_str(), "--patience".as_ref(), "1".as_ref()];
    let mut daemon = place.start_with(&args);
    for (name, mib) in [("m0", 32), ("m1", 32), ("m2", 32), ("log", 1)] {
        let file = place.path(name);
        daemon.ask(
            "bdev_uring_create",
            json!({ "name": name, "filename": file, "block_size": 4096, "create_size_mib": mib }),
        );
    }
    let mut array = raid5("r", &["m0", "m1", "m2"]);
    array["superblock"] = json!(true);
    array["log_bdev"] = json!("log");
    daemon.ask("bdev_raid_create", array);
    let port = export(&daemon, "r");
    let mut versions = vec![(0_u64, 0_u64); BLOCKS as usize];
    for round in 1..=3_u64 {
        let (admin, facts) = Queue::admin(port, false).unwrap();
        let mut queue = Queue::io(port, false, facts.cntlid, 1).unwrap();
        let killed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&killed);
        let killer = thread::spawn(move || {
            thread::park_timeout(Duration::from_millis(700));
            flag.store(true, Ordering::Relaxed);
            daemon.end(Signal::KILL)
        });
        let (mut count, mut busy) = (0_u64, std::collections::BTreeMap::new());
        'load: loop {
            while busy.len() < 16 {
                count += 1;
                let block = (count * 7) % BLOCKS;
                if busy.values().any(|of| *of == block) {
                    break;
                }
                let version = round << 24 | count;
                versions[block as usize].1 = version;
                let command = write(1, block * 9, 1, BLOCK, count % 8 == 0);
                match queue.submit(command, stamped(block, version)) {
                    Ok(tag) => busy.insert(tag.unwrap(), block),
                    Err(_) => break 'load,
                };
            }
            let Ok((tag, cqe, _)) = queue.next() else { break };
            assert!(cqe.status().is_ok());
            let block = busy.remove(&tag).unwrap() as usize;
            versions[block].0 = versions[block].1;
        }
        assert!(killed.load(Ordering::Relaxed), "nothing but the kill ends the load");
        assert!(count > 20, "only {count} writes");
        drop(admin);
        killer.join().unwrap();
        daemon = place.start_with(&args);
        let (_admin, facts) = Queue::admin(port, false).unwrap();
        let mut queue = Queue::io(port, false, facts.cntlid, 1).unwrap();
        look(&mut queue, &mut versions);
    }
    daemon.stop();
}
