//! Many clients at once, for a while: nothing is left behind, and no call gets stuck.
//!
//! Not here: what single calls do (the other files); the data of an array under faults (`crash`).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rpc::{Client, RpcError};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Place, malloc, raid5};

/// Connections at a time.
const CONNECTIONS: usize = 32;

/// Calls of one turn of a connection.
const CALLS_PER_TURN: usize = 19;

/// Turns of each connection, so that there are 10,000 calls at least.
const TURNS: usize = 10_000_usize.div_ceil(CONNECTIONS * CALLS_PER_TURN);

/// Before that, so that caches, rings and the allocator's arenas are as full as they get.
const WARM_UP_TURNS: usize = TURNS + TURNS / 2;

/// How much more memory may be resident after a round than before, for what the allocator cannot put
/// together again: 100 bytes a call.
const RESIDENT_GROWTH_KIB_MAX: u64 = 1024;

/// Rounds at most until one of them has grown no more than that: what is lost is lost in every one, what
/// the allocator has spread is not.
const ROUNDS: usize = 4;

/// Looks at what the system says, of which the least counts: threads and sockets of clients that have
/// just left go a moment later.
const LOOKS: usize = 50;

/// The array that is there all the time, under I/O.
const STANDING: &str = "standing";

/// One client's calls: three RAM disks, an array of them, questions, refusals, and all of it gone again.
struct Worker {
    client: Client,
    calls: usize,
}

impl Worker {
    /// Calls a method; without an answer the test fails.
    fn call(&mut self, method: &str, params: Value) -> Result<Value, RpcError> {
        self.calls += 1;
        let answer = self.client.call(method, Some(params));
        answer.map_err(|error| error.rpc().unwrap_or_else(|| panic!("{method}: {error}")).clone())
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let shown = params.to_string();
        self.call(method, params).unwrap_or_else(|error| panic!("{method} {shown}: {error}"))
    }

    fn refused(&mut self, method: &str, params: Value, code: i64) {
        let answer = self.call(method, params);
        assert_eq!(answer.as_ref().map_err(|error| error.code), Err(code), "{method}: {answer:?}");
    }

    fn turn(&mut self, connection: usize, turn: usize) {
        let members = [0, 1, 2].map(|slot| format!("m{connection}-{slot}"));
        let array = format!("r{connection}");
        let with_superblock = turn % 2 == 1;
        for member in &members {
            self.ask("bdev_malloc_create", malloc(member, if with_superblock { 2 } else { 1 }));
        }
        let mut raid = raid5(&array, &members.each_ref().map(String::as_str));
        raid["superblock"] = with_superblock.into();
        self.ask("bdev_raid_create", raid.clone());
        self.refused("bdev_raid_create", raid, -17);
        self.ask("bdev_set_qos_limit", json!({ "name": array, "rw_ios_per_sec": 1000 }));
        // Busy while it resyncs, which is as good.
        let _ = self.call("bdev_raid_message", json!({ "name": array, "message": "check" }));
        assert_eq!(self.ask("bdev_get_bdevs", json!({ "name": array }))[0]["name"], array);
        self.ask("bdev_get_iostat", json!({ "names": [array, members[0]] }));
        self.ask("bdev_raid_get_bdevs", json!({ "category": "online" }));
        self.ask("thread_get_pollers", json!({}));
        self.refused("bdev_malloc_delete", json!({ "name": members[1] }), -16);
        self.refused("bdev_get_bdevs", json!({ "name": "nobody" }), -19);
        self.refused("bdev_null_create", json!({ "name": 7 }), -32602);
        self.refused("bdev_nothing", json!({}), -32601);
        self.ask("bdev_raid_delete", json!({ "name": array }));
        for member in &members {
            self.ask("bdev_malloc_delete", json!({ "name": member }));
        }
    }
}

/// What there is at one moment.
#[derive(Debug, PartialEq)]
struct Inventory {
    bdevs: Vec<String>,
    waiting_arrays: Value,
    pollers: Vec<Value>,
    channels: Value,
    buffers: Vec<[Value; 2]>,
    descriptors: usize,
    threads: usize,
}

fn inventory(daemon: &Daemon) -> Inventory {
    let threads = daemon.ask("thread_get_pollers", Value::Null)["threads"].take();
    let poller_names = |thread: &Value| {
        let pollers = thread["active_pollers"].as_array().unwrap();
        pollers.iter().map(|poller| poller["name"].clone()).collect::<Vec<_>>()
    };
    let buffers = daemon.ask("iobuf_get_stats", Value::Null);
    let buffers = buffers.as_array().unwrap().iter();
    let least = |directory: &str| {
        let look = |_| {
            thread::park_timeout(Duration::from_millis(10));
            daemon.entries_of_proc(directory)
        };
        (0..LOOKS).map(look).min().unwrap()
    };
    Inventory {
        bdevs: daemon.bdevs(),
        waiting_arrays: daemon.ask("bdev_raid_get_bdevs", json!({ "category": "configuring" })),
        pollers: threads.as_array().unwrap().iter().flat_map(poller_names).collect(),
        channels: daemon.ask("thread_get_io_channels", Value::Null)["threads"].take(),
        buffers: buffers.map(|b| [b["pool_bytes"].clone(), b["free_bytes"].clone()]).collect(),
        descriptors: least("fd"),
        threads: least("task"),
    }
}

/// Waits until the standing array does nothing and looks.
fn at_rest(daemon: &Daemon) -> (Inventory, u64) {
    daemon.wait_until("the standing array is at rest", |daemon| {
        let array = &daemon.ask("bdev_raid_get_bdevs", json!({ "category": "online" }))[0];
        array["in_sync"] == true && array.get("process").is_none()
    });
    (inventory(daemon), daemon.resident_kib())
}

/// All connections for so many turns, beside I/O on the standing array; returns the calls.
fn round(daemon: &Daemon, turns: usize) -> usize {
    let done = AtomicBool::new(false);
    let checks = AtomicU64::new(0);
    let calls = thread::scope(|scope| {
        scope.spawn(|| {
            let check = json!({ "name": STANDING, "message": "check" });
            while !done.load(Ordering::Relaxed) {
                match daemon.call("bdev_raid_message", check.clone()) {
                    Ok(_) => drop(checks.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => assert_eq!(error.code, -16, "{error}"),
                }
                thread::park_timeout(Duration::from_millis(5));
            }
        });
        let work = |connection| {
            let mut worker = Worker { client: daemon.client(), calls: 0 };
            (0..turns).for_each(|turn| worker.turn(connection, turn));
            worker.calls
        };
        let workers: Vec<_> =
            (0..CONNECTIONS).map(|connection| scope.spawn(move || work(connection))).collect();
        let counts: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        counts.into_iter().map(Result::unwrap).sum()
    });
    assert!(checks.load(Ordering::Relaxed) > 0, "there was no I/O");
    calls
}

/// Goal: 10,000 calls from 32 connections at once, with arrays made and deleted beside I/O, leave nothing
/// behind: bdevs, pollers, channels, buffers, threads and descriptors are as before, memory within what
/// the allocator keeps; and every call is answered. Method: a warm-up, then the soak, compared.
#[test]
fn many_clients_leave_nothing_behind() {
    let place = Place::new();
    let daemon = place.start_in_one_arena();
    for name in ["s0", "s1", "s2"] {
        daemon.ask("bdev_malloc_create", malloc(name, 16));
    }
    daemon.ask("bdev_raid_create", raid5(STANDING, &["s0", "s1", "s2"]));
    round(&daemon, WARM_UP_TURNS);
    let (before, resident_kib) = at_rest(&daemon);
    assert!(before.buffers.iter().all(|[pool, free]| pool == free), "{before:?}");

    let mut resident_kib = vec![resident_kib];
    let has_settled = (0..ROUNDS).any(|_| {
        let calls = round(&daemon, TURNS);
        assert!(calls >= 10_000, "{calls}");
        let (after, now_kib) = at_rest(&daemon);
        assert_eq!(after, before);
        let before_kib = resident_kib[resident_kib.len() - 1];
        resident_kib.push(now_kib);
        now_kib.saturating_sub(before_kib) <= RESIDENT_GROWTH_KIB_MAX
    });
    assert!(has_settled, "resident after each round, in KiB: {resident_kib:?}");
    println!("resident after each round, in KiB: {resident_kib:?}");
    daemon.ask("bdev_raid_delete", json!({ "name": STANDING }));
    let buffers = inventory(&daemon).buffers;
    assert_eq!(buffers[1], [json!(0), json!(0)], "an array's buffers go with it");
    daemon.stop();
}
