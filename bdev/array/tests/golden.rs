//! Arrays over members that a Linux kernel wrote (`tests/golden`).
//!
//! Goal: every set reads back as the kernel would read it, whole, with each single member missing and,
//! at level 6, with each pair missing; and what we write, the kernel's layout rules find right.
//! Method: the members' images go into bdevs in memory; a set is assembled once for every failure set.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod support;

use device::{Bdev, IoStatus};
use golden::GoldenSet;
use raid::layout::{Layout, Level};
use reactor::Reactors;
use std::sync::Arc;
use support::{Remote, Rng, create, malloc, spec, two_reactors, wrong_stripes};

fn level_and_layout(set: &GoldenSet) -> (Level, Layout) {
    let level: Level = set.level.parse().unwrap();
    (level, Layout::parse(level, &set.layout).unwrap())
}

fn load(reactors: &Reactors, set: &GoldenSet) -> Vec<Arc<dyn Bdev>> {
    let images = set.members();
    let bdevs = images.iter().enumerate().map(|(slot, image)| {
        let bdev = malloc(&format!("{}-{slot}", set.name), 512, set.member_bytes);
        Remote::open(&reactors.handles()[0], &bdev).write_all(image);
        bdev
    });
    bdevs.collect()
}

/// No member missing, each single one, and each pair where there are two parities.
fn failure_sets(members: usize, parities: usize) -> Vec<Vec<usize>> {
    let mut sets = vec![Vec::new()];
    for first in 0..members {
        sets.push(vec![first]);
        if parities == 2 {
            sets.extend((first + 1..members).map(|second| vec![first, second]));
        }
    }
    sets
}

fn without(members: &[Arc<dyn Bdev>], missing: &[usize]) -> Vec<Option<Arc<dyn Bdev>>> {
    let there = |slot: &usize| !missing.contains(slot);
    (0..members.len()).map(|slot| there(&slot).then(|| members[slot].clone())).collect()
}

#[test]
fn kernel_written_members_read_back_with_every_failure_set() {
    let reactors = two_reactors();
    let mut assemblies = 0;
    for set in golden::sets() {
        let (level, layout) = level_and_layout(&set);
        let members = load(&reactors, &set);
        let expected = set.expected();
        for missing in failure_sets(set.devices, level.parity_count()) {
            let spec = spec(level, layout, set.strip_bytes(), without(&members, &missing));
            let (array, bdev) = create(&reactors, spec);
            assert_eq!(bdev.info().size_bytes(), set.array_bytes, "{}", set.name);
            let reactor = &reactors.handles()[assemblies % reactors.handles().len()];
            let found = Remote::open(reactor, &bdev).read_all(set.array_bytes).unwrap();
            assert!(found == expected, "{} without {missing:?}", set.name);
            array.stop().unwrap();
            assemblies += 1;
        }
    }
    assert!(assemblies > 300, "only {assemblies} assemblies");
    reactors.stop();
}

#[test]
fn what_is_written_into_kernel_members_keeps_their_parity_right() {
    let reactors = two_reactors();
    for (seed, set) in (1..).zip(golden::sets()) {
        let (level, layout) = level_and_layout(&set);
        let members = load(&reactors, &set);
        let mut rng = Rng(seed);
        let missing: Vec<usize> = match seed % 3 {
            0 => vec![],
            n => vec![(n as usize * 7 + seed as usize) % set.devices],
        };
        let present = without(&members, &missing);
        let (array, bdev) =
            create(&reactors, spec(level, layout, set.strip_bytes(), present.clone()));
        let mut model = set.expected();
        for round in 0..40 {
            let remote = Remote::open(&reactors.handles()[round % reactors.handles().len()], &bdev);
            let sectors = model.len() / 512;
            let start = rng.below(sectors);
            let len = (1 + rng.below(600)).min(sectors - start);
            let data = rng.bytes(len * 512);
            assert_eq!(remote.write(start as u64 * 512, &data), IoStatus::Ok);
            model[start * 512..(start + len) * 512].copy_from_slice(&data);
        }
        let geometry = array.geometry().clone();
        array.stop().unwrap();
        let contents: Vec<_> = present
            .iter()
            .map(|member| {
                let remote = Remote::open(&reactors.handles()[0], member.as_ref()?);
                Some(remote.read_all(set.member_bytes).unwrap())
            })
            .collect();
        assert_eq!(wrong_stripes(&geometry, &contents, &model), [], "{}", set.name);
    }
    reactors.stop();
}
