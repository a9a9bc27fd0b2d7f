//! Random logs, random bytes and random changes.

use super::super::*;
use super::{fresh, image_of, take, written};
use proptest::collection::vec;
use proptest::prelude::*;

fn block_bytes() -> impl Strategy<Value = u32> {
    prop_oneof![Just(512), Just(4096)]
}

fn sync_option() -> impl Strategy<Value = SyncOption> {
    prop_oneof![Just(SyncOption::Default), Just(SyncOption::Sync), Just(SyncOption::NoSync)]
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Mark(u64),
    Clear(u64),
    Sync(u64, bool),
    Write(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => any::<u64>().prop_map(Step::Mark),
        20 => any::<u64>().prop_map(Step::Clear),
        5 => (any::<u64>(), any::<bool>()).prop_map(|(region, in_sync)| Step::Sync(region, in_sync)),
        10 => (0..5000u64).prop_map(Step::Write),
    ]
}

/// Writes the next run of touched blocks to the device.
fn write(log: &mut DirtyLog, device: &mut [u8], max_bytes: u64) -> bool {
    let Some(range) = take(log, max_bytes) else { return false };
    let block = u64::from(log.area().unwrap().block_bytes());
    assert!(range.start % block == 0 && range.end % block == 0 && range.start < range.end);
    assert!(range.end - range.start <= max_bytes.max(block));
    log.copy_taken(range.start, &mut device[range.start as usize..range.end as usize]);
    true
}

proptest! {
    /// Goal: what is written is what is read, whatever pieces it goes out and comes in by.
    #[test]
    fn a_log_survives_its_device(
        block in block_bytes(),
        regions in 1..40_000u64,
        changes in vec((any::<u64>(), any::<bool>()), 0..50),
        begin in sync_option(),
        cuts in vec(1..3000usize, 1..20),
        bytes_beyond in 0..2000usize,
    ) {
        let area = DiskArea::new(block, regions);
        let mut log = fresh(area, begin);
        for (region, mark) in changes {
            if mark { log.mark(region % regions) } else { log.clear(region % regions) }
        }
        let mut image = image_of(&log);
        let mut loader = Loader::new(area, SyncOption::Default);
        let mut at = 0;
        for cut in cuts.iter().cycle() {
            let end = (at + cut).min(image.len());
            let mut piece = vec![0xff; end - at];
            log.copy_out(at as u64, &mut piece);
            prop_assert_eq!(&piece, &image[at..end]);
            loader.feed(&piece);
            at = end;
            prop_assert_eq!(loader.missing_bytes(), (image.len() - at) as u64);
            if at == image.len() {
                break;
            }
        }
        let pieces = loader.finish();
        image.resize(image.len() + bytes_beyond, 0xff);
        let whole = DirtyLog::load(Some(&image), area, SyncOption::Default);
        for Loaded { log: loaded, found } in [pieces, whole] {
            prop_assert_eq!(found, Found::Existing { regions });
            prop_assert_eq!(&loaded.clean, &log.clean);
            prop_assert_eq!(&loaded.in_sync, &log.clean);
            prop_assert_eq!(loaded.recovering.ones(), 0);
            prop_assert_eq!(image_of(&loaded), image_of(&log));
        }
    }

    /// Goal: no bytes on a log device are a panic, and whatever is loaded can be written.
    #[test]
    fn any_bytes_can_be_loaded(
        block in block_bytes(),
        regions in 0..5000u64,
        sync in sync_option(),
        header in prop_oneof![
            vec(any::<u8>(), 0..16),
            (0..4u8, any::<u64>()).prop_map(|(version, regions)| {
                let mut header = vec![0x72, 0x52, 0x69, 0x4d, version, 0, 0, 0];
                header.extend(regions.to_le_bytes());
                header
            }),
        ],
        rest in vec(any::<u8>(), 0..3000),
    ) {
        let area = DiskArea::new(block, regions);
        let image: Vec<u8> = header.into_iter().chain(rest).collect();
        let Loaded { log, found } = DirtyLog::load(Some(&image), area, sync);
        prop_assert_eq!(log.sync_count(), log.regions() - log.dirty_count());
        prop_assert_eq!(found == Found::ReadError, (image.len() as u64) < area.area_bytes());
        let again = DirtyLog::load(Some(&image_of(&log)), area, SyncOption::Default);
        prop_assert_eq!(again.found, Found::Existing { regions });
        prop_assert_eq!(again.log.clean, log.clean);
    }

    /// Goal: touched blocks cover all changes. Method: a device that only ever gets the touched blocks
    /// holds the whole log whenever nothing is touched.
    #[test]
    fn writing_what_is_touched_is_enough(
        block in block_bytes(),
        regions in 1..100_000u64,
        begin in sync_option(),
        steps in vec(step(), 0..200),
    ) {
        let mut log = fresh(DiskArea::new(block, regions), begin);
        let mut device = image_of(&log);
        log = written(log);
        for step in steps {
            match step {
                Step::Mark(region) => {
                    log.mark(region % regions);
                    prop_assert!(!log.is_clean(region % regions));
                }
                Step::Clear(region) => log.clear(region % regions),
                Step::Sync(region, in_sync) => log.set_region_sync(region % regions, in_sync),
                Step::Write(max_bytes) => {
                    write(&mut log, &mut device, max_bytes);
                }
            }
            if log.touched() == Touched::Nothing {
                prop_assert_eq!(&device, &image_of(&log));
            }
        }
        while write(&mut log, &mut device, 4096) {}
        prop_assert_eq!(log.touched(), Touched::Nothing);
        prop_assert_eq!(device, image_of(&log));
    }
}
