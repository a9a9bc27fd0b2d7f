//! Verified loads over a mapped device whose table changes under them.
//!
//! Not here: what a mapped device is (crate `device`), the verbs (the service).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::devices::reactors;
use device::{
    Bdev, Counted, MallocBdev, MallocSpec, MappedBdev, MappedSpec, MappedTable, Segment,
    SegmentTarget, SuspendMode,
};
use perf::{Job, Limit, Pattern, ReadBackState, Run, run};
use reactor::Ticks;

const SIZE_BYTES: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// The disk in stretches of equal length, with borders at each `boundary_bytes`. Bytes are where they are in
/// every table: the second half of the disk comes first.
fn table(disk: &Arc<dyn Bdev>, stretch_bytes: u64, boundary_bytes: Option<u64>) -> MappedTable {
    let segment = |index: u64| {
        let start_bytes = index * stretch_bytes;
        let offset_bytes = (start_bytes + SIZE_BYTES / 2) % SIZE_BYTES;
        let target = SegmentTarget::Bdev { bdev: Arc::clone(disk), offset_bytes };
        Segment { start_bytes, len_bytes: stretch_bytes, target, boundary_bytes }
    };
    MappedTable::new((0..SIZE_BYTES / stretch_bytes).map(segment).collect()).unwrap()
}

/// Goal: suspend, another table, resume, as often as one likes, under a verified load from two reactors:
/// no request fails, no write is lost or comes late, and how long requests waited is known. Method: writes
/// and mixed loads for a while, tables that cut the same bytes differently and go through another bdev.
#[test]
fn tables_change_under_verified_loads() {
    let reactors = reactors(2);
    let (name, uuid, num_blocks) = ("m0".to_owned(), None, SIZE_BYTES / 512);
    let spec = MallocSpec { name, uuid, block_size_bytes: 512, num_blocks };
    let plain = MallocBdev::create(spec).unwrap();
    let counted: Arc<dyn Bdev> = Counted::over(Arc::clone(&plain));
    let (name, read_only) = ("dm0".to_owned(), false);
    let mapped = MappedBdev::create(MappedSpec { name, uuid, read_only });
    mapped.resume(Some(table(&plain, SIZE_BYTES / 2, None))).unwrap();
    let mut waited = (0, Duration::ZERO);
    for (pattern, block_bytes) in [
        (Pattern::RandRw { read_percent: 40 }, 4096),
        (Pattern::RandWrite, 512),
        (Pattern::Write, 96 * 1024),
    ] {
        let job = Job {
            block_bytes,
            io_depth: 16,
            limit: Limit::Time(Ticks::from_millis(400)),
            verify: true,
            run_id: block_bytes,
            ..Job::new(Arc::clone(&mapped) as Arc<dyn Bdev>, pattern)
        };
        let over = AtomicBool::new(false);
        let (report, swaps) = std::thread::scope(|scope| {
            let swapping = scope.spawn(|| {
                let mut swaps = 0;
                while !over.load(Ordering::Relaxed) {
                    let mode = [SuspendMode::Flush, SuspendMode::NoFlush][swaps % 2];
                    mapped.suspend(mode, PATIENCE).unwrap();
                    let disk = [&counted, &plain][swaps / 2 % 2];
                    let stretch_bytes = [SIZE_BYTES / 2, 64 << 10, 16 << 10][swaps % 3];
                    let boundary_bytes = [None, Some(512), Some(12 << 10)][swaps % 3];
                    mapped.resume(Some(table(disk, stretch_bytes, boundary_bytes))).unwrap();
                    let queueing = mapped.queueing();
                    waited = (waited.0 + queueing.requests, queueing.longest.max(waited.1));
                    swaps += 1;
                }
                swaps
            });
            let report = run(job, reactors.handles());
            over.store(true, Ordering::Relaxed);
            (report.unwrap(), swapping.join().unwrap())
        });
        assert!(report.is_good(), "{}", report.table());
        assert_eq!(report.total.errors, 0);
        assert_eq!(report.verify.as_ref().unwrap().read_back, ReadBackState::Done);
        // Dozens on a machine that has nothing else to do.
        assert!(swaps > 1 && report.total.ios > 0, "{swaps} swaps: {}", report.table());
    }
    // Requests came while it was suspended, and none waited for longer than it took.
    assert!(waited.0 > 0 && waited.1 > Duration::ZERO && waited.1 < PATIENCE, "{waited:?}");
    reactors.stop();
}

/// Goal: a reactor that may sleep does not while parts of a request come and go, though for longer than it
/// spins no request completes; in memory nothing would wake it. Method: one request at a time, of 2048
/// parts; one that hangs does not end in time.
#[test]
fn parts_keep_the_reactor_awake() {
    let reactors = reactors(1);
    let (name, uuid, num_blocks) = ("m0".to_owned(), None, SIZE_BYTES / 512);
    let spec = MallocSpec { name, uuid, block_size_bytes: 512, num_blocks };
    let disk: Arc<dyn Bdev> = MallocBdev::create(spec).unwrap();
    let (name, read_only) = ("dm0".to_owned(), false);
    let mapped = MappedBdev::create(MappedSpec { name, uuid, read_only });
    mapped.resume(Some(table(&disk, SIZE_BYTES / 2, Some(512)))).unwrap();
    let job = Job {
        block_bytes: 1 << 20,
        io_depth: 1,
        limit: Limit::Ios(16),
        ..Job::new(mapped as Arc<dyn Bdev>, Pattern::Write)
    };
    let mut run = Run::start(job, reactors.handles()).unwrap();
    assert!(run.wait(PATIENCE).unwrap(), "a request hangs");
    assert!(run.finish().unwrap().is_good());
    reactors.stop();
}
