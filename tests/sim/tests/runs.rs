//! Runs of the simulator: seeds that failed once, fresh ones, and that a seed is a run.
//!
//! `tests/regressions/` has a file for every seed that has found something: its name is the seed, its text what
//! it was. The binary runs many more.

use sim::plant::Plant;
use sim::run::run;
use std::fs;
use std::path::Path;

#[test]
fn seeds_that_failed_once_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../regressions");
    let mut seeds = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let seed = name.parse().unwrap_or_else(|_| panic!("{name} is no seed"));
        println!("SIM_SEED={seed}");
        run(seed, Plant::None, false);
        seeds += 1;
    }
    assert!(seeds > 0);
}

#[test]
fn fresh_seeds_pass() {
    for seed in 1_000_000..1_000_060 {
        println!("SIM_SEED={seed}");
        run(seed, Plant::None, false);
    }
}

/// Goal: a failure can be repeated. Method: everything that happens goes into a digest.
#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1..10 {
        let (first, second) = (run(seed, Plant::None, false), run(seed, Plant::None, false));
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(first.digest, run(seed + 1, Plant::None, false).digest);
    }
}
