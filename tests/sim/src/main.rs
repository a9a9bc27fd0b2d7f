//! The simulator's command line: runs seeds and says what they have been through.
//!
//! ```text
//!   sim --seeds N [--from S] [--jobs J] [--plant NAME]
//!   sim --seed S [--trace] [--plant NAME]
//! ```
//!
//! A seed that fails is printed as `SIM_SEED=S`, and the exit code is 1. Jobs are processes, each of which
//! runs whole seeds.
//!
//! Not here: what a run is (crate `sim`).

#![forbid(unsafe_code)]

use sim::plant::Plant;
use sim::run::run;
use sim::stats::Stats;
use std::process::{Command, ExitCode, Stdio, exit};
use std::sync::atomic::{AtomicU64, Ordering};

static SEED: AtomicU64 = AtomicU64::new(0);

struct Arguments {
    seeds: u64,
    from: u64,
    step: u64,
    jobs: u64,
    seed: Option<u64>,
    trace: bool,
    plant: Plant,
}

fn parse() -> Option<Arguments> {
    let mut arguments = Arguments {
        seeds: 1000,
        from: 1,
        step: 1,
        jobs: 1,
        seed: None,
        trace: false,
        plant: Plant::None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--trace" {
            arguments.trace = true;
            continue;
        }
        let value = words.next()?;
        match word.as_str() {
            "--seeds" => arguments.seeds = value.parse().ok()?,
            "--from" => arguments.from = value.parse().ok()?,
            "--step" => arguments.step = value.parse().ok()?,
            "--jobs" => arguments.jobs = value.parse().ok().filter(|&jobs| jobs > 0)?,
            "--seed" => arguments.seed = Some(value.parse().ok()?),
            "--plant" => arguments.plant = Plant::parse(&value)?,
            _ => return None,
        }
    }
    Some(arguments)
}

fn main() -> ExitCode {
    let Some(arguments) = parse() else {
        let plants: Vec<String> = Plant::ALL.iter().map(|plant| format!("{plant:?}")).collect();
        eprintln!(
            "usage: sim --seeds N [--from S] [--jobs J] | --seed S [--trace]; [--plant NAME]"
        );
        eprintln!("plants: {}", plants.join(" "));
        return ExitCode::from(2);
    };
    std::panic::set_hook(Box::new(|panic| {
        let seed = SEED.load(Ordering::Relaxed);
        eprintln!("SIM_SEED={seed}: {panic}");
        exit(1);
    }));
    if let Some(seed) = arguments.seed {
        SEED.store(seed, Ordering::Relaxed);
        let outcome = run(seed, arguments.plant, arguments.trace);
        println!("{}digest {:016x}", outcome.stats, outcome.digest);
        return ExitCode::SUCCESS;
    }
    if arguments.jobs > 1 {
        return run_jobs(&arguments);
    }
    let mut total = Stats::default();
    for index in 0..arguments.seeds {
        let seed = arguments.from + index * arguments.step;
        SEED.store(seed, Ordering::Relaxed);
        total.add(&run(seed, arguments.plant, false).stats);
    }
    match arguments.step {
        1 => print!("{total}"),
        _ => println!("{}", total.line()),
    }
    ExitCode::SUCCESS
}

/// Deals the seeds out to processes and adds up what they say.
fn run_jobs(arguments: &Arguments) -> ExitCode {
    let program = std::env::current_exe().expect("this program has a path");
    let Arguments { seeds, from, jobs, plant, .. } = arguments;
    let children: Vec<_> = (0..*jobs)
        .map(|job| {
            let share = (seeds + jobs - 1 - job) / jobs;
            let mut command = Command::new(&program);
            for (word, value) in
                [("--seeds", share), ("--from", from + job), ("--step", *jobs), ("--jobs", 1)]
            {
                command.arg(word).arg(value.to_string());
            }
            if *plant != Plant::None {
                command.arg("--plant").arg(format!("{plant:?}"));
            }
            command.stdout(Stdio::piped()).spawn().expect("a process for every job")
        })
        .collect();
    let mut total = Stats::default();
    let mut failed = false;
    for child in children {
        let output = child.wait_with_output().expect("the process ends");
        let text = String::from_utf8_lossy(&output.stdout);
        failed |= !output.status.success();
        if let Some(stats) = text.lines().find_map(Stats::parse) {
            total.add(&stats);
        }
    }
    print!("{total}");
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
