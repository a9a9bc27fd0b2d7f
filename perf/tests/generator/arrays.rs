//! Verified loads over arrays: healthy and degraded, from one reactor and from two, in requests
//! that are smaller and larger than a strip and a stripe.
//!
//! Not here: arrays on their own (crate `array`).

use std::sync::Arc;

use crate::devices::reactors;
use array::{RaidBdev, RaidSpec};
use device::{Bdev, MallocBdev, MallocSpec};
use perf::{Job, Limit, Pattern, ReadBackState, run};
use raid::layout::{Layout, Level};
use reactor::ReactorHandle;

const MEMBERS: usize = 5;

fn array(reactors: &[ReactorHandle], level: Level, missing: &[usize]) -> Arc<RaidBdev> {
    let member = |slot: usize| {
        let name = format!("m{slot}");
        let spec = MallocSpec { name, uuid: None, block_size_bytes: 512, num_blocks: 2048 };
        MallocBdev::create(spec).unwrap()
    };
    let present = |slot: usize| (!missing.contains(&slot)).then(|| member(slot));
    let spec = RaidSpec {
        name: "r0".into(),
        uuid: None,
        level,
        layout: Layout::default_for(level),
        strip_bytes: 8192,
        members: (0..MEMBERS).map(present).collect(),
        data_offsets_bytes: vec![0; MEMBERS],
        // Memory is all zeroes, so parity is right.
        assume_clean: true,
        options: array::RaidOptions::default(),
    };
    RaidBdev::create(reactors, spec).unwrap()
}

/// Goal: an array gives back what was written to it, to every reactor, with none, one and two
/// members missing.
#[test]
fn arrays_keep_what_is_written() {
    for count in [1, 2] {
        let reactors = reactors(count);
        for (level, missing) in [
            (Level::Raid5, &[][..]),
            (Level::Raid5, &[1]),
            (Level::Raid6, &[]),
            (Level::Raid6, &[4]),
            (Level::Raid6, &[0, 3]),
        ] {
            let array = array(reactors.handles(), level, missing);
            for (pattern, block_bytes) in [
                (Pattern::RandRw { read_percent: 40 }, 4096),
                (Pattern::RandWrite, 512),
                (Pattern::RandWrite, 20 * 1024),
                (Pattern::Write, 96 * 1024),
            ] {
                let bdev: Arc<dyn Bdev> = Arc::clone(&array) as Arc<dyn Bdev>;
                let job = Job {
                    block_bytes,
                    io_depth: 16,
                    limit: Limit::Ios(600),
                    verify: true,
                    run_id: block_bytes,
                    ..Job::new(bdev, pattern)
                };
                let report = run(job, reactors.handles()).unwrap();
                assert!(report.is_good(), "{level:?} without {missing:?}: {}", report.table());
                assert_eq!(report.verify.unwrap().read_back, ReadBackState::Done);
            }
            array.stop().unwrap();
        }
        reactors.stop();
    }
}
