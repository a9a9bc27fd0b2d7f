//! Goal: once warm, the NVMe/TCP target neither allocates nor frees for a command. Method: a global allocator that
//! counts on the reactor's thread, around commands of every way that data takes: read, write with its data in
//! the capsule and asked for with R2T, flush, with digests and without; over the null bdev, a malloc bdev and an
//! array of those, at a queue depth that fills the queue.
//!
//! This file holds `unsafe`, as every global allocator does; it only counts and passes on.

#![expect(clippy::unwrap_used, reason = "test code may panic")]

#[path = "../perf/service/nvmf_ratios/host.rs"]
mod host;

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use device::nvme_tcp::{Command, Connecting, flush, read, write};
use host::{Host, Wanted};
use nvme::Nqn;
use nvme::pdu::Digests;
use raid456::control::{Control, Options};
use raid456::methods::{Boot, Methods};
use reactor::{CpuSet, Ticks, clock};
use rpc::Service;
use serde_json::{Value, json};

thread_local! {
    /// Whether the thread is the reactor's.
    static COUNTS: Cell<bool> = const { Cell::new(false) };
}

static COUNT: AtomicU64 = AtomicU64::new(0);

/// While nothing may be counted, whoever is tells where it is.
static TELLS: AtomicBool = AtomicBool::new(false);

struct Counting;

fn count() {
    // A thread that ends frees what it has after its locals are gone.
    if COUNTS.try_with(Cell::get).unwrap_or(false) {
        COUNT.fetch_add(1, Ordering::Relaxed);
        if TELLS.swap(false, Ordering::Relaxed) {
            COUNTS.set(false);
            eprintln!("{}", Backtrace::force_capture());
            COUNTS.set(true);
        }
    }
}

// SAFETY: each method passes its arguments on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's promise about pointer and layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NQN: &str = "nqn.2016-06.io.spdk:cnode1";
const BLOCK: u32 = 4096;
const DEPTH: usize = 31;
const BLOCKS: u64 = 4096;
/// More than a capsule holds, so that it is asked for.
const LONG: u32 = 16;

/// Carries out so many commands, `DEPTH` at a time.
fn circulate(host: &mut Host, commands: u64, make: impl Fn(u64) -> Command) {
    let (mut begun, mut ended) = (0, 0);
    while ended < commands {
        while begun < commands && host.in_flight() < DEPTH {
            host.submit(make(begun)).unwrap();
            begun += 1;
        }
        host.flush().unwrap();
        while let Some((_, cqe)) = host.next().unwrap() {
            assert!(cqe.status().is_ok(), "{}", cqe.status());
            ended += 1;
        }
    }
}

/// A command of one sort: the `at`-th.
type Make = fn(u32, u64) -> Command;

const LOADS: [(&str, Make); 6] = [
    ("read", |nsid, at| read(nsid, at * 7 % BLOCKS, 1, BLOCK)),
    ("long read", |nsid, at| read(nsid, at * 64 % BLOCKS, LONG, BLOCK)),
    ("write in the capsule", |nsid, at| write(nsid, at * 7 % BLOCKS, 1, BLOCK, false)),
    ("write by R2T", |nsid, at| write(nsid, at * 64 % BLOCKS, LONG, BLOCK, false)),
    ("flush", |nsid, _| flush(nsid)),
    ("all", |nsid, at| match at % 4 {
        0 => read(nsid, at % BLOCKS, 1, BLOCK),
        1 => write(nsid, at % BLOCKS, 1, BLOCK, at % 8 == 1),
        2 => write(nsid, at * 64 % BLOCKS, LONG, BLOCK, false),
        _ => flush(nsid),
    }),
];

/// Three namespaces at a port.
fn export(methods: &Methods) -> u16 {
    let ask = |method: &str, params: Value| methods.call(method, Some(params)).unwrap();
    let size = |name: &str| json!({ "name": name, "block_size": BLOCK, "num_blocks": BLOCKS });
    ask("bdev_null_create", size("null"));
    for name in ["malloc", "a", "b", "c"] {
        ask("bdev_malloc_create", size(name));
    }
    let members = ["a", "b", "c"];
    ask(
        "bdev_raid_create",
        json!({ "name": "raid5", "raid_level": "raid5", "strip_size_kb": 64,
                "base_bdevs": members, "assume_clean": true }),
    );
    ask("nvmf_create_transport", json!({ "trtype": "TCP" }));
    ask("nvmf_create_subsystem", json!({ "nqn": NQN, "allow_any_host": true }));
    for name in ["null", "malloc", "raid5"] {
        ask("nvmf_subsystem_add_ns", json!({ "nqn": NQN, "namespace": { "bdev_name": name } }));
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen_address = json!({ "trtype": "TCP", "traddr": "127.0.0.1",
                                 "trsvcid": port.to_string() });
    ask("nvmf_subsystem_add_listener", json!({ "nqn": NQN, "listen_address": listen_address }));
    port
}

#[test]
fn commands_allocate_nothing() {
    let options =
        Options { cores: CpuSet::single(0), buffer_bytes: 32 << 20, ..Options::default() };
    let control = Control::start(options).unwrap();
    control.finish_startup();
    let methods = Methods::new(Arc::clone(&control), Arc::new(Boot::default()));
    let port = export(&methods);
    let counting = control.reactors()[0].call(|_| {
        COUNTS.set(true);
        drop(std::hint::black_box(Box::new(1)));
        COUNT.load(Ordering::Relaxed)
    });
    assert_eq!(counting.unwrap(), 2, "the counter counts");
    for digests in [false, true] {
        let connecting = Connecting {
            subsystem: Nqn::parse(NQN).unwrap(),
            host: Nqn::parse(
                "nqn.2014-08.org.nvmexpress:uuid:0f01fb42-9f7f-4856-b0b3-51e60b8de349",
            )
            .unwrap(),
            host_id: [7; 16],
            keep_alive_ms: 0,
            entries: DEPTH as u16 + 1,
            flow_control: false,
        };
        let digests = Digests { header: digests, data: digests };
        let buffer_bytes = (LONG * BLOCK) as usize;
        let wanted = Wanted { connecting, digests, in_capsule_bytes: 8192, buffer_bytes };
        let (_admin, facts) = Host::admin(port, &wanted).unwrap();
        let mut host = Host::io(port, &wanted, facts.cntlid).unwrap();
        // Digests are of the first buffer, so all are the same.
        host.buffers().iter_mut().for_each(|buffer| buffer.fill(0));
        // The first timers, which tick once a second, make the reactor's list of those that are due.
        let begin = clock::now();
        while clock::now() - begin < Ticks::from_millis(2500) {
            circulate(&mut host, 100, |at| LOADS[0].1(2, at));
        }
        // What a null bdev reads is what was in the buffer before, so with it digests are not the same for all.
        for nsid in if digests.data { 2..=3 } else { 1..=3 } {
            for (name, make) in LOADS {
                circulate(&mut host, 1000, |at| make(nsid, at));
                let before = COUNT.load(Ordering::Relaxed);
                TELLS.store(true, Ordering::Relaxed);
                circulate(&mut host, 1000, |at| make(nsid, at));
                TELLS.store(false, Ordering::Relaxed);
                let count = COUNT.load(Ordering::Relaxed) - before;
                assert_eq!(count, 0, "{name}, namespace {nsid}, {digests:?}");
            }
        }
    }
    control.reactors()[0].call(|_| COUNTS.set(false)).unwrap();
    control.shutdown().unwrap();
}
