//! Verified loads: good devices pass, and each way in which a device can be wrong is caught.
//!
//! Not here: the bytes of a stamp (`stamp`), the words for a mismatch (`verify::checks`).

use crate::devices::{Fault, Faulty, malloc, reactors};
use device::Bdev;
use perf::{Job, Limit, Pattern, ReadBackState, Report, Run, run};
use reactor::{Reactors, Ticks};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const BLOCKS: u64 = 512;

fn job(bdev: Arc<dyn Bdev>, pattern: Pattern) -> Job {
    Job {
        io_depth: 8,
        block_bytes: 2048,
        verify: true,
        seed: 7,
        run_id: 0x51,
        ..Job::new(bdev, pattern)
    }
}

fn verified(reactors: &Reactors, job: Job) -> Report {
    let report = run(job, reactors.handles()).unwrap();
    assert_eq!(report.total.errors, 0, "{}", report.table());
    report
}

/// Goal: on a device that reorders, refuses and holds buffers back, but keeps its data, every
/// verified load passes; nothing that overlaps is in flight together; all that was written is read
/// back. Method: passes and parts of passes, one reactor and two.
#[test]
fn good_devices_pass() {
    for count in [1, 2] {
        let reactors = reactors(count);
        for pattern in [Pattern::Write, Pattern::RandWrite, Pattern::RandRw { read_percent: 40 }] {
            for requests in [1, 37, 128, 300, 1000] {
                let faulty = Faulty::over(malloc(BLOCKS), Fault::None, 5);
                let stats = Arc::clone(&faulty.stats);
                let mut job = job(faulty, pattern);
                job.limit = Limit::Ios(requests);
                let report = verified(&reactors, job);
                let verify = report.verify.as_ref().unwrap();
                assert_eq!(verify.blocks_wrong, 0, "{}", report.table());
                assert_eq!(verify.read_back, ReadBackState::Done);
                assert_eq!(report.total.ios, requests);
                assert_eq!(stats.conflicts.load(Ordering::SeqCst), 0);
                // In blocks of the device, of which a request has four. Everything that was
                // written is at most the device.
                let writes = report.write.unwrap().ios;
                let reads = report.read.map_or(0, |read| read.ios);
                let read_back = (verify.blocks_checked / 4).checked_sub(reads).unwrap();
                assert!(read_back <= BLOCKS / 4 && read_back >= writes.min(BLOCKS / 4) / 2);
                if count == 1 {
                    assert_eq!(read_back, writes.min(BLOCKS / 4), "{pattern} {requests}");
                }
            }
        }
        reactors.stop();
    }
}

/// Goal: a job that goes through its range many times is read back right, counted or timed.
#[test]
fn many_passes_are_verified() {
    let reactors = reactors(2);
    let counted = Job {
        limit: Limit::Ios(5000),
        ..job(malloc(BLOCKS), Pattern::RandRw { read_percent: 30 })
    };
    let timed = Job {
        limit: Limit::Time(Ticks::from_millis(50)),
        ramp: Ticks::from_millis(5),
        ..counted.clone()
    };
    let checked = [counted, timed].map(|job| {
        let verify = verified(&reactors, job).verify.unwrap();
        assert_eq!((verify.blocks_wrong, verify.read_back), (0, ReadBackState::Done));
        verify.blocks_checked
    });
    // All of the device in the end, and the reads of nearly forty passes.
    assert!(checked[0] > BLOCKS + 4 * 1000, "{checked:?}");
    reactors.stop();
}

/// Goal: each planted fault is caught, in every pattern that can meet it, and the report names the
/// block. Method: a fault at the first byte of block 8 (a request's first) or inside block 9.
#[test]
fn planted_faults_are_caught() {
    let reactors = reactors(1);
    let at = 4096;
    for (fault, block, words) in [
        (Fault::FlipBit(at + 700), 9, "byte 188 of it is wrong"),
        (Fault::FlipBit(at), 8, "byte 0 of it is wrong"),
        (Fault::LoseFirstWrite(at), 8, "found no stamp"),
        (Fault::Misdirect(at, 3 * at), 8, "found no stamp"),
    ] {
        for pattern in [Pattern::Write, Pattern::RandWrite, Pattern::RandRw { read_percent: 30 }] {
            let mut job = job(Faulty::over(malloc(BLOCKS), fault, 64), pattern);
            // Enough for a mixed load to have written every block, not enough for a second pass to
            // hide what the first has lost.
            job.limit = match pattern {
                Pattern::RandRw { .. } => Limit::Ios(178),
                _ => Limit::OnePass,
            };
            let report = verified(&reactors, job);
            let verify = report.verify.as_ref().unwrap();
            assert!(!report.is_good() && verify.blocks_wrong > 0, "{fault:?} {pattern}");
            let mismatch = verify.mismatches.iter().find(|found| found.expected.block == block);
            let message = mismatch.expect("the block is named").to_string();
            assert!(message.contains(words), "{fault:?} {pattern}: {message}");
            assert!(report.table().contains("wrong; all that was written was read back"));
        }
    }
    reactors.stop();
}

/// Goal: a write that is lost over an older version of the same block is caught: by generation
/// within a run, by the run's number between runs.
#[test]
fn a_lost_overwrite_is_caught() {
    let reactors = reactors(1);
    let mut job_of_two_passes =
        job(Faulty::over(malloc(BLOCKS), Fault::LoseSecondWrite(0), 64), Pattern::RandWrite);
    job_of_two_passes.limit = Limit::Ios(2 * BLOCKS / 4);
    let report = verified(&reactors, job_of_two_passes);
    let verify = report.verify.unwrap();
    assert_eq!(verify.blocks_wrong, 4);
    assert_eq!(verify.mismatches[0].found.unwrap().generation, 0);
    assert_eq!(verify.mismatches[0].expected.generation, 1);

    let disk = malloc(BLOCKS);
    verified(&reactors, job(Arc::clone(&disk), Pattern::Write));
    let mut second = job(Faulty::over(disk, Fault::LoseFirstWrite(2048), 64), Pattern::Write);
    second.run_id = 0x52;
    let verify = verified(&reactors, second).verify.unwrap();
    assert_eq!(verify.blocks_wrong, 4);
    assert_eq!(verify.mismatches[0].found.unwrap().run, 0x51);
    reactors.stop();
}

/// Goal: reads verify what an earlier run wrote with the same seed, whatever its request size and
/// reactors were, all of it in one pass; another seed, or a range that was not written, is wrong.
#[test]
fn reads_verify_an_earlier_run() {
    let (one, two) = (reactors(1), reactors(2));
    let disk = malloc(BLOCKS);
    let mut write = job(Arc::clone(&disk), Pattern::RandWrite);
    write.size_bytes = Some(200 * 1024);
    verified(&two, write);
    for pattern in [Pattern::Read, Pattern::RandRead, Pattern::RandRw { read_percent: 100 }] {
        let mut read = job(Arc::clone(&disk), pattern);
        (read.block_bytes, read.run_id, read.size_bytes) = (1024, 99, Some(200 * 1024));
        for reactors in [&one, &two] {
            let report = verified(reactors, read.clone());
            let verify = report.verify.as_ref().unwrap();
            assert_eq!(verify.read_back, ReadBackState::NotNeeded);
            assert_eq!((verify.blocks_checked, verify.blocks_wrong), (400, 0));
            assert!(report.is_good() && report.table().contains("every read was checked"));
        }
        let beyond = Job { size_bytes: Some(201 * 1024), ..read.clone() };
        assert_eq!(verified(&one, beyond).verify.unwrap().blocks_wrong, 2);
        let other = Job { seed: 8, ..read.clone() };
        assert_eq!(verified(&one, other).verify.unwrap().blocks_wrong, 400);
        let flipped = Job { bdev: Faulty::over(Arc::clone(&disk), Fault::FlipBit(77), 9), ..read };
        let report = verified(&one, flipped);
        assert_eq!(report.verify.as_ref().unwrap().blocks_wrong, 1);
        assert!(!report.is_good());
    }
    one.stop();
    two.stop();
}

/// Goal: after a failed request, or when told to stop, nothing is read back, and the report says so.
#[test]
fn what_was_not_read_back_is_said() {
    let reactors = reactors(1);
    let failing = Faulty::over(malloc(BLOCKS), Fault::Fail(2048), 64);
    let report = run(job(failing, Pattern::Write), reactors.handles()).unwrap();
    assert!(!report.is_good());
    assert_eq!(report.verify.unwrap().read_back, ReadBackState::Skipped);

    let mut endless = job(malloc(BLOCKS), Pattern::RandWrite);
    endless.limit = Limit::Time(Ticks::from_secs(3600));
    let mut run = Run::start(endless, reactors.handles()).unwrap();
    run.stop();
    let report = run.finish().unwrap();
    assert!(report.interrupted);
    assert_eq!(report.verify.unwrap().read_back, ReadBackState::Skipped);
    reactors.stop();
}
