//! The data path allocates nothing per request.
//!
//! Goal: between a client's submit and its completion nothing is allocated, for fast reads, degraded
//! reads, read-modify-writes, full-stripe writes and merged small writes. Method: a counting allocator;
//! one reactor runs by itself; after a warm-up that lets every table and list grow to its size, a
//! measured span of requests must not change the reactor thread's count.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod support;

use device::{Bdev, BdevIo, Completion, IoChannel, IoOp, NullBdev, NullSpec};
use raid::layout::{Layout, Level};
use reactor::memory::{IoBuf, IoBufMut};
use reactor::{Cx, Poller, Reactors};
use std::alloc::{GlobalAlloc, Layout as MemoryLayout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use support::{create, malloc, reactors, spec};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged, which upholds the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: MemoryLayout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: MemoryLayout) {
        // SAFETY: the caller upholds the contract of `dealloc`, and `alloc` took it from `System`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Read,
    Write,
    /// Ascending writes, so that neighbours merge.
    Sequential,
}

const WARM_UP: u64 = 3000;
const MEASURED: u64 = 3000;

struct Load {
    channel: Box<dyn IoChannel>,
    kind: Kind,
    len: usize,
    size: u64,
    idle: Vec<Buffer>,
    done: Vec<Completion>,
    issued: u64,
    completed: u64,
    at_start: u64,
    report: Option<Sender<u64>>,
}

enum Buffer {
    Read(IoBufMut),
    Write(IoBuf),
}

impl Load {
    fn offset(&self) -> u64 {
        let blocks = self.size / self.len as u64;
        let index = match self.kind {
            Kind::Sequential => self.issued,
            // A multiplicative walk visits blocks all over the array.
            Kind::Read | Kind::Write => self.issued.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 17,
        };
        index % blocks * self.len as u64
    }
}

impl Poller for Load {
    fn name(&self) -> &str {
        "load"
    }

    fn poll(&mut self, _: &mut Cx) -> usize {
        let progress = self.channel.poll(&mut self.done);
        for completion in self.done.drain(..) {
            assert!(completion.status.is_ok());
            self.idle.push(match completion.io.op {
                IoOp::Read { into } => Buffer::Read(into.into_one().unwrap()),
                IoOp::Write { from, .. } => Buffer::Write(from.into_one().unwrap()),
                op => panic!("{op:?}"),
            });
            self.completed += 1;
            if self.completed == WARM_UP {
                self.at_start = ALLOCATIONS.with(Cell::get);
            }
            if self.completed == WARM_UP + MEASURED
                && let Some(report) = self.report.take()
            {
                report.send(ALLOCATIONS.with(Cell::get) - self.at_start).unwrap();
            }
        }
        if self.report.is_some() {
            while let Some(buffer) = self.idle.pop() {
                let offset = self.offset();
                let io = match buffer {
                    Buffer::Read(buffer) => BdevIo::read(self.issued, offset, buffer),
                    Buffer::Write(buffer) => BdevIo::write(self.issued, offset, buffer, false),
                };
                self.issued += 1;
                self.channel.submit(io).expect("the depth is small");
            }
        }
        progress
    }
}

fn allocations(reactors: &Reactors, bdev: &Arc<dyn Bdev>, kind: Kind, len: usize) -> u64 {
    let (report, counted) = channel();
    let bdev = bdev.clone();
    let poller = reactors.handles()[0].call(move |cx| {
        let idle = (0..32).map(|_| {
            let buffer = IoBufMut::heap(len);
            match kind {
                Kind::Read => Buffer::Read(buffer),
                Kind::Write | Kind::Sequential => Buffer::Write(buffer.freeze()),
            }
        });
        let channel = bdev.open_channel(cx).unwrap();
        cx.add_poller(Box::new(Load {
            channel,
            kind,
            len,
            size: bdev.info().size_bytes(),
            idle: idle.collect(),
            done: Vec::with_capacity(256),
            issued: 0,
            completed: 0,
            at_start: 0,
            report: Some(report),
        }))
    });
    let count = counted.recv_timeout(Duration::from_secs(60)).expect("the load ends");
    let poller = poller.unwrap();
    reactors.handles()[0]
        .call(move |cx| {
            cx.remove_poller(poller);
        })
        .unwrap();
    count
}

fn members(null: bool, missing: usize) -> Vec<Option<Arc<dyn Bdev>>> {
    let member = |i| {
        let name = format!("m{i}");
        if null {
            let (block_size_bytes, num_blocks) = (4096, 1 << 14);
            NullBdev::create(NullSpec { name, uuid: None, block_size_bytes, num_blocks }).unwrap()
        } else {
            malloc(&name, 4096, 16 << 20)
        }
    };
    (0..6).map(|i| (i >= missing).then(|| member(i))).collect()
}

#[test]
fn requests_allocate_nothing() {
    let reactors = reactors("0");
    let cases = [
        ("direct reads", true, 0, Kind::Read, 4096),
        ("reads of two strips", false, 0, Kind::Read, 32 << 10),
        ("degraded reads", false, 2, Kind::Read, 4096),
        ("read-modify-writes", false, 0, Kind::Write, 4096),
        ("degraded writes", false, 1, Kind::Write, 4096),
        ("full-stripe writes", true, 0, Kind::Sequential, 64 << 10),
        ("merged writes", false, 0, Kind::Sequential, 4096),
    ];
    for (name, null, missing, kind, len) in cases {
        let spec = spec(Level::Raid6, Layout::LeftSymmetric, 16 << 10, members(null, missing));
        let (array, bdev) = create(&reactors, spec);
        let count = allocations(&reactors, &bdev, kind, len);
        assert_eq!(count, 0, "{name}: {count} allocations in {MEASURED} requests");
        let snapshot = array.snapshot();
        if name == "merged writes" {
            assert!(snapshot.shards[0].core.merges > MEASURED / 2, "{snapshot:?}");
        }
        array.stop().unwrap();
    }
    reactors.stop();
}
