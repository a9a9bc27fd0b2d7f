//! The log against dm-log's rules, its format byte by byte, and against what a kernel wrote.

mod golden;
mod properties;

use super::*;

/// The whole area.
fn image_of(log: &DirtyLog) -> Vec<u8> {
    let area = log.area().expect("a log with an area");
    let mut image = vec![0xff; area.area_bytes() as usize];
    log.copy_out(0, &mut image);
    image
}

/// A log resumed from a device of zeros.
fn fresh(area: DiskArea, sync: SyncOption) -> DirtyLog {
    let zeros = vec![0; area.area_bytes() as usize];
    let Loaded { log, found } = DirtyLog::load(Some(&zeros), area, sync);
    assert_eq!(found, Found::Fresh);
    log
}

/// What is to be written next, the header at the end if the log is new.
fn take(log: &mut DirtyLog, max_bytes: u64) -> Option<Range<u64>> {
    log.take_touched(max_bytes).or_else(|| log.take_header())
}

/// A log whose touched blocks have all been taken.
fn written(mut log: DirtyLog) -> DirtyLog {
    while take(&mut log, u64::MAX).is_some() {}
    log
}

fn dirty(log: &DirtyLog) -> Vec<u64> {
    (0..log.regions()).filter(|&region| !log.is_clean(region)).collect()
}

#[test]
fn every_region_out_of_sync_is_handed_out_once() {
    let mut log = DirtyLog::new(3, Initially::OutOfSync);
    assert_eq!([log.resync_work(), log.resync_work()], [Some(0), Some(1)]);
    log.set_region_sync(0, true);
    log.set_region_sync(1, false);
    assert_eq!([log.resync_work(), log.resync_work()], [Some(2), None]);
    log.rewind();
    assert_eq!(log.resync_work(), Some(1), "2 is still being recovered, 0 is in sync");
    assert_eq!(log.sync_count(), 1);
}

#[test]
fn nosync_begins_in_sync() {
    let mut log = DirtyLog::new(5, Initially::InSync);
    assert_eq!((log.sync_count(), log.resync_work()), (5, None));
    log.mark(2);
    assert_eq!((log.is_clean(2), log.dirty_count(), log.in_sync(2)), (false, 1, true));
    assert_eq!((log.next_dirty(0), log.next_dirty(3)), (Some(2), None));
    log.clear(2);
    assert_eq!(log.dirty_count(), 0);
}

#[test]
fn a_log_in_memory_has_nothing_to_write() {
    let mut log = DirtyLog::new(5, Initially::InSync);
    log.mark(2);
    assert_eq!((log.touched(), log.take_touched(4096)), (Touched::Nothing, None));
    assert_eq!(log.area(), None);
}

/// Goal: the two examples of linux-raid.md, 3.3.
#[test]
fn the_examples_of_the_format() {
    let area = |block| DiskArea::new(block, 20_971_520 / 1024);
    assert_eq!((area(512).regions(), area(512).area_bytes()), (20_480, 3584));
    assert_eq!((area(4096).area_bytes(), area(4096).blocks()), (4096, 1));

    let mut log = fresh(DiskArea::new(512, 10), SyncOption::NoSync);
    log.mark(3);
    log.mark(8);
    let mut right = vec![0; 1536];
    right[..16]
        .copy_from_slice(&[0x72, 0x52, 0x69, 0x4d, 0x02, 0, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0]);
    right[1024..1026].copy_from_slice(&[0xf7, 0x02]);
    assert_eq!(image_of(&log), right);
}

#[test]
fn a_change_touches_one_block() {
    let area = DiskArea::new(512, 100_000);
    let mut log = written(fresh(area, SyncOption::NoSync));
    assert_eq!(log.touched(), Touched::Nothing);
    log.mark(4095);
    log.mark(4095);
    assert_eq!(log.touched(), Touched::Marked);
    assert_eq!((log.take_touched(1 << 20), log.take_touched(1 << 20)), (Some(1024..1536), None));
    log.mark(4096);
    assert_eq!(log.take_touched(1 << 20), Some(1536..2048));
    log.clear(4096);
    log.clear(4096);
    assert_eq!(log.touched(), Touched::Cleared);
    log.mark(99_999);
    assert_eq!((log.touched(), log.take_touched(1 << 20)), (Touched::Marked, Some(1536..2048)));
    assert_eq!(log.touched(), Touched::Marked, "the mark is in the block that is left");
    assert_eq!(log.take_touched(1 << 20), Some(13_312..13_824));
    log.mark(99_999);
    assert_eq!(log.touched(), Touched::Nothing, "it was marked already");
    log.set_region_sync(5, false);
    assert_eq!(log.touched(), Touched::Nothing, "bits of sync are not on the device");
}

#[test]
fn runs_of_touched_blocks_are_bounded() {
    let mut log = fresh(DiskArea::new(4096, 1_000_000), SyncOption::Default);
    assert_eq!(log.area().map(|area| area.area_bytes()), Some(31 * 4096));
    assert_eq!(log.take_touched(10 * 4096 + 4095), Some(0..10 * 4096));
    assert_eq!(log.take_touched(0), Some(10 * 4096..11 * 4096), "one block at least");
    assert_eq!(log.take_touched(u64::MAX), Some(11 * 4096..31 * 4096));
    assert_eq!(log.take_touched(u64::MAX), None);
}

/// Goal: the header of a new log, without which nothing of it is believed, is the last that is written, also of a
/// block that may be torn, and what is marked meanwhile is not forgotten. Of a log that is there it is written
/// with the rest.
#[test]
fn the_header_of_a_new_log_comes_last() {
    for (block, regions) in [(512, 5000), (4096, 100)] {
        let block_bytes = u64::from(block);
        let mut log = fresh(DiskArea::new(block, regions), SyncOption::NoSync);
        let area_bytes = log.area().unwrap().area_bytes();
        let mut first = vec![0xff; block as usize];
        let from = if block == 4096 { 0 } else { block_bytes };
        assert_eq!(log.touched(), Touched::Marked);
        assert_eq!(log.take_touched(1 << 20), Some(from..area_bytes));
        log.copy_taken(0, &mut first);
        assert_eq!(first[..16], [0; 16], "what is written has no header yet");
        assert_eq!(log.touched(), Touched::Marked, "the header is not there yet");
        log.mark(0);
        let at = 1024 / block_bytes * block_bytes;
        assert_eq!(log.take_touched(1 << 20), Some(at..at + block_bytes));
        assert_eq!((log.take_header(), log.take_header()), (Some(0..block_bytes), None));
        log.copy_taken(0, &mut first);
        assert_eq!(first, image_of(&log)[..block as usize]);
        assert_eq!((log.take_touched(1 << 20), log.touched()), (None, Touched::Nothing));
        let loaded =
            DirtyLog::load(Some(&image_of(&log)), log.area().unwrap(), SyncOption::Default);
        let mut known = loaded.log;
        assert_eq!((known.take_touched(1 << 20), known.take_header()), (Some(0..area_bytes), None));
    }
}

/// Goal: every row of the table of resumes, for regions that the log knows and others that it does not.
#[test]
fn a_resume_believes_the_log_only_where_it_counts() {
    let mut old = fresh(DiskArea::new(512, 100), SyncOption::NoSync);
    old.mark(7);
    let image = image_of(&old);
    let mut version_1 = image.clone();
    version_1[4] = 1;
    let mut version_3 = image.clone();
    version_3[4] = 3;
    let mut no_magic = image.clone();
    no_magic[0] ^= 1;
    let existing = Found::Existing { regions: 100 };
    let bad_version = Found::BadVersion { version: 3 };
    // Image, found, regions in sync of 100, 130 and 5.
    let cases = [
        (Some(image.as_slice()), existing, [99, 99, 5]),
        (Some(version_1.as_slice()), existing, [99, 99, 5]),
        (Some(no_magic.as_slice()), Found::Fresh, [0, 0, 0]),
        (Some(version_3.as_slice()), bad_version, [0, 0, 0]),
        (Some(&image[..1535]), Found::ReadError, [0, 0, 0]),
        (None, Found::ReadError, [0, 0, 0]),
    ];
    for (image, right, in_sync) in cases {
        for (regions, right_count) in [100, 130, 5].into_iter().zip(in_sync) {
            let area = DiskArea::new(512, regions);
            let load = |sync| DirtyLog::load(image, area, sync);
            let Loaded { log, found } = load(SyncOption::Default);
            assert_eq!((found, log.sync_count()), (right, right_count), "{regions}");
            assert_eq!(log.dirty_count(), regions - right_count, "in sync is what is clean");
            assert_eq!(log.touched(), Touched::Marked);

            // The words of the table make what was found void, but not that it could not be read.
            let found = if right == Found::ReadError { right } else { Found::Fresh };
            let synced = load(SyncOption::Sync);
            assert_eq!((synced.found, synced.log.sync_count()), (found, 0));
            let vouched = load(SyncOption::NoSync);
            assert_eq!((vouched.found, vouched.log.sync_count()), (found, regions));
        }
    }
    assert_eq!(existing.health(), LogHealth::Alive);
    assert_eq!(Found::Fresh.health(), LogHealth::Alive);
    assert_eq!([bad_version.health().letter(), Found::ReadError.health().letter()], ['D', 'D']);
}

/// Goal: regions that a log grows by are resynced unless `nosync`, those it shrinks by are forgotten.
#[test]
fn growth_and_shrink_of_the_region_count() {
    let image = image_of(&fresh(DiskArea::new(512, 64), SyncOption::NoSync));
    let grown = DirtyLog::load(Some(&image), DiskArea::new(512, 129), SyncOption::Default).log;
    assert_eq!((grown.sync_count(), dirty(&grown)), (64, (64..129).collect()));
    let shrunk =
        DirtyLog::load(Some(&image_of(&grown)), DiskArea::new(512, 3), SyncOption::Default).log;
    assert_eq!(image_of(&shrunk)[1024..1034], [0b111, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let again =
        DirtyLog::load(Some(&image_of(&shrunk)), DiskArea::new(512, 64), SyncOption::Default).log;
    assert_eq!(dirty(&again), (3..64).collect::<Vec<_>>(), "what was forgotten is in doubt");
}

#[test]
fn after_a_crash_what_was_dirty_is_resync_work() {
    let area = DiskArea::new(4096, 1000);
    let mut log = fresh(area, SyncOption::NoSync);
    for region in [0, 63, 64, 999] {
        log.mark(region);
    }
    let Loaded { mut log, found } =
        DirtyLog::load(Some(&image_of(&log)), area, SyncOption::Default);
    assert_eq!((found, log.sync_count()), (Found::Existing { regions: 1000 }, 996));
    let work: Vec<u64> = std::iter::from_fn(|| log.resync_work()).collect();
    assert_eq!(work, [0, 63, 64, 999]);
}

#[test]
fn errors_name_both_numbers_and_the_device() {
    let area = DiskArea::new(512, 20_480);
    assert_eq!(area.check_fits("nvme0", 3584), Ok(()));
    assert_eq!(
        area.check_fits("nvme0", 3583).unwrap_err().to_string(),
        "log device nvme0 too small: it has 3583 bytes, need 3584 bytes for 20480 regions"
    );
    let existing = Found::Existing { regions: 64 };
    assert_eq!(check_regions("nvme0", existing, 64), Ok(()));
    assert_eq!(check_regions("nvme0", Found::Fresh, 129), Ok(()));
    assert_eq!(
        check_regions("nvme0", existing, 129).unwrap_err().to_string(),
        "log device nvme0 holds a log of 64 regions, but 129 are expected: use the region size and \
         the device size that it was written with, or begin a new log with sync"
    );
    assert_eq!(
        check_regions("nvme0", Found::BadVersion { version: 3 }, 64).unwrap_err().to_string(),
        "log device nvme0 holds a log of version 3, but this is version 2 (1 is read too): use \
         another device, or clear its first block if it is not needed"
    );
}

/// Goal: a log of 10^8 regions is loaded and written in pieces without looking at single bits.
#[test]
fn a_log_of_a_hundred_million_regions_is_no_trouble() {
    let area = DiskArea::new(4096, 100_000_000);
    let mut log = fresh(area, SyncOption::NoSync);
    log.mark(77_777_777);
    let mut loader = Loader::new(area, SyncOption::Default);
    let mut device = vec![0; area.area_bytes() as usize];
    while let Some(range) = take(&mut log, 1 << 20) {
        log.copy_taken(range.start, &mut device[range.start as usize..range.end as usize]);
    }
    device.chunks(1 << 20).for_each(|piece| loader.feed(piece));
    assert_eq!(loader.missing_bytes(), 0);
    let Loaded { mut log, found } = loader.finish();
    assert_eq!((found, log.dirty_count()), (Found::Existing { regions: 100_000_000 }, 1));
    assert_eq!([log.resync_work(), log.resync_work()], [Some(77_777_777), None]);
}
