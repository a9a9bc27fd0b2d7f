//! Goal: once warm, no backend allocates or frees for a request. Method: a global allocator that
//! counts on the calling thread, around requests whose buffers and lists go round and round.
//!
//! This file holds `unsafe`, as every global allocator does; it only counts and passes on.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use device::{
    AioBdev, AioSpec, Bdev, BdevIo, Completion, Counted, ErrorBdev, ErrorSpec, HistogramSpec,
    IoChannel, IoOp, MallocBdev, MallocSpec, MappedBdev, MappedSpec, MappedTable, NullBdev,
    NullSpec, Segment, SegmentTarget, Sgl, UringBdev, UringSpec,
};
use reactor::LocalReactor;
use reactor::memory::IoBufMut;
use tempfile::NamedTempFile;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: each method passes its arguments on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise about the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise about pointer and layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BLOCKS: u64 = 2048;
const QUEUE_DEPTH: u64 = 32;

/// Turns until everything is back, then sends it out again, `rounds` times.
fn circulate(
    rounds: usize,
    reactor: &mut LocalReactor,
    channel: &mut dyn IoChannel,
    done: &mut Vec<Completion>,
) {
    for _ in 0..rounds {
        while done.len() < QUEUE_DEPTH as usize {
            reactor.turn();
            channel.poll(done);
        }
        for Completion { mut io, status } in done.drain(..) {
            assert!(status.is_ok(), "{status}: {io:?}");
            io.offset_bytes = (io.offset_bytes + QUEUE_DEPTH * 4096) % (BLOCKS * 4096);
            channel.submit(io).expect("the channel has room");
        }
    }
}

fn request(token: u64, reactor: &mut LocalReactor) -> BdevIo {
    let mut buffer = || reactor.cx().pool().alloc(4096).expect("the pool is large enough");
    let offset_bytes = token * 4096;
    match token % 6 {
        0 => BdevIo::flush(token),
        1 => BdevIo::write_zeroes(token, offset_bytes, 4096, false),
        2 => BdevIo::write(token, offset_bytes, buffer().freeze(), false),
        3 => {
            let mut front = buffer();
            let back = front.split_to(512);
            let list = [back, front].map(IoBufMut::freeze);
            BdevIo::write(token, offset_bytes, Sgl::Many(list.into()), false)
        }
        4 => {
            let mut front = buffer();
            let back = front.split_to(1024);
            BdevIo::read(token, offset_bytes, Sgl::Many(vec![back, front]))
        }
        _ => BdevIo::read(token, offset_bytes, buffer()),
    }
}

fn allocates_nothing(bdev: Arc<dyn Bdev>) {
    let mut reactor = LocalReactor::new(4 << 20);
    let mut channel = bdev.open_channel(reactor.cx()).expect("the engine starts");
    let mut done = Vec::with_capacity(QUEUE_DEPTH as usize);
    for token in 0..QUEUE_DEPTH {
        let io = request(token, &mut reactor);
        assert!(matches!(io.op, IoOp::Flush) || io.len_bytes == 4096);
        channel.submit(io).expect("the channel has room");
    }
    circulate(20, &mut reactor, &mut *channel, &mut done);
    let before = COUNT.get();
    circulate(50, &mut reactor, &mut *channel, &mut done);
    assert_eq!(COUNT.get() - before, 0, "{}", bdev.info().product_name);
}

fn file() -> NamedTempFile {
    let file = NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    file.as_file().set_len(BLOCKS * 4096).expect("a sparse file");
    file
}

#[test]
fn the_counter_counts() {
    let before = COUNT.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(COUNT.get() - before, 2);
}

fn null() -> Arc<dyn Bdev> {
    let (name, uuid) = ("null0".to_owned(), None);
    let spec = NullSpec { name, uuid, block_size_bytes: 512, num_blocks: BLOCKS * 8 };
    NullBdev::create(spec).expect("a good spec")
}

fn malloc() -> Arc<dyn Bdev> {
    let (name, uuid) = ("malloc0".to_owned(), None);
    let spec = MallocSpec { name, uuid, block_size_bytes: 512, num_blocks: BLOCKS * 8 };
    MallocBdev::create(spec).expect("a good spec")
}

/// With nothing injected and no cache it is to cost nothing.
fn error() -> Arc<dyn Bdev> {
    let (name, uuid, base, volatile_cache) = ("EE_malloc0".to_owned(), None, malloc(), false);
    ErrorBdev::create(ErrorSpec { name, uuid, base, volatile_cache })
}

/// With a histogram on, too.
fn counted() -> Arc<dyn Bdev> {
    let counted = Counted::over(null());
    counted.start_histogram(HistogramSpec::default(), None).expect("a good spec");
    counted
}

/// Straight, or with all that a table can do: stretches, zeroes, and a border in each request.
fn mapped(boundary_bytes: Option<u64>) -> Arc<dyn Bdev> {
    let (bdev, half) = (malloc(), BLOCKS / 2 * 4096);
    let part = |start_bytes, len_bytes, offset_bytes| Segment {
        start_bytes,
        len_bytes,
        target: SegmentTarget::Bdev { bdev: Arc::clone(&bdev), offset_bytes },
        boundary_bytes,
    };
    let segments = match boundary_bytes {
        None => vec![part(0, half * 2, 0)],
        Some(_) => {
            let zero = Segment { target: SegmentTarget::Zero, ..part(half - 4096, 4096, 0) };
            vec![part(0, half - 4096, half), zero, part(half, half, 0)]
        }
    };
    let (name, uuid, read_only) = ("dm0".to_owned(), None, false);
    let mapped = MappedBdev::create(MappedSpec { name, uuid, read_only });
    let table = MappedTable::new(segments).expect("a good table");
    mapped.resume(Some(table)).expect("nobody has a channel yet");
    mapped
}

fn uring(file: &NamedTempFile) -> Arc<dyn Bdev> {
    let (name, filename) = ("uring0".to_owned(), file.path().into());
    let spec = UringSpec { name, filename, block_size_bytes: Some(512), uuid: None };
    UringBdev::create(spec).expect("a good spec")
}

/// Without fallocate: that goes through a channel of the standard kind to a thread.
fn aio(file: &NamedTempFile) -> Arc<dyn Bdev> {
    let (name, filename) = ("aio0".to_owned(), file.path().into());
    let (readonly, fallocate) = (false, false);
    let block_size_bytes = Some(512);
    let spec = AioSpec { name, filename, block_size_bytes, uuid: None, readonly, fallocate };
    AioBdev::create(spec).expect("a good spec")
}

/// One test for all, one after the other: a ring looks at the list of memory regions when it has
/// changed, and a reactor that starts beside it would change it.
#[test]
fn requests_allocate_nothing() {
    let files = [file(), file()];
    for bdev in [null(), malloc(), error(), counted(), uring(&files[0]), aio(&files[1])] {
        allocates_nothing(bdev);
    }
    for boundary_bytes in [None, Some(1 << 20), Some(512)] {
        allocates_nothing(mapped(boundary_bytes));
    }
}
