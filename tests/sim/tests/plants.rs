//! The judge bites: every planted bug is found, as the violation named here, within so many seeds.

use sim::plant::Plant;
use sim::run::run;
use std::ops::RangeInclusive;
use std::panic::catch_unwind;

/// The first of `seeds` in which `plant` makes the judge say `what`.
fn found(plant: Plant, what: &str, mut seeds: RangeInclusive<u64>) -> Option<u64> {
    seeds.find(|&seed| {
        let Err(panic) = catch_unwind(|| run(seed, plant, false)) else { return false };
        let text = match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.as_str(),
            (None, Some(text)) => text,
            (None, None) => "",
        };
        text.starts_with(what)
    })
}

#[test]
fn every_planted_bug_is_found() {
    let bugs = [
        (Plant::GrantEarly, "R1: ", 1..=20),
        (Plant::LogFlushDropped, "R1: ", 1..=20),
        (Plant::FlushDropped, "R2: ", 1..=40),
        (Plant::ClearEarly, "R2: ", 1..=60),
        (Plant::AnswerEarly, "R3: ", 1..=100),
        (Plant::SuperblockForgotten, "R4: ", 1..=40),
        (Plant::AllowAtOnce, "R4: ", 1..=40),
        (Plant::RecordForgotten, "R4: ", 1..=200),
        (Plant::ReadStale, "R5: ", 1..=100),
        (Plant::WriteElsewhere, "R5: ", 1..=20),
        (Plant::NoBound, "R6: ", 1..=20),
        (Plant::StripeCacheForgotten, "R6: ", 1..=100),
        (Plant::StartDirtyDegraded, "R7: ", 1..=60),
        (Plant::LogTrustedEarly, "R7: ", 1..=100),
        (Plant::ForcedInSync, "R7: ", 1..=200),
        (Plant::StaleMember, "R5: ", 1..=60),
        (Plant::ReturnUnrebuilt, "R5: ", 1..=800),
        (Plant::WorkAnsweredEarly, "R8: ", 1..=100),
        (Plant::WorkAnsweredEarly, "R10: ", 1..=100),
        (Plant::FlushRetried, "R9: ", 1..=60),
        (Plant::LogErrorIgnored, "R9: ", 1..=60),
        (Plant::PermitIgnored, "permit: ", 1..=60),
        (Plant::PermitForgotten, "liveness: ", 1..=60),
        (Plant::DataFromParity, "R10: ", 1..=60),
    ];
    let named = |invariant: u8| {
        let prefix = format!("R{invariant}: ");
        bugs.iter().any(|(_, what, _)| *what == prefix)
    };
    assert!((1..=10).all(named), "an invariant without a bug");
    std::panic::set_hook(Box::new(|_| {}));
    let misses: Vec<_> = bugs
        .iter()
        .filter(|(plant, what, seeds)| found(*plant, what, seeds.clone()).is_none())
        .collect();
    let _ = std::panic::take_hook();
    assert!(misses.is_empty(), "the judge does not see {misses:?}");
}
