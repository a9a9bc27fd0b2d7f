//! Dirty logs: no area panics; counts, marks and what is written agree with the bits.
#![no_main]

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use raid::dirty_log::{DirtyLog, DiskArea, Found, SyncOption, Touched};

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let (how, regions) = (input.byte(), u64::from(input.number() % 4000) + 1);
    let area = DiskArea::new(if how & 1 == 0 { 512 } else { 4096 }, regions);
    let sync = match how >> 1 & 3 {
        0 => SyncOption::Sync,
        1 => SyncOption::NoSync,
        _ => SyncOption::Default,
    };
    let mut image = vec![0; area.area_bytes() as usize];
    // A header that is right, unless the input has one of its own; then the bits.
    let (header, bits) = match how & 8 {
        0 => (Vec::new(), input.0),
        _ => {
            let mut header = b"rRiM\x02\0\0\0".to_vec();
            header.extend(regions.to_le_bytes());
            (header, input.0)
        }
    };
    let mut put = |at: usize, bytes: &[u8]| {
        let end = image.len().min(at + bytes.len());
        image[at..end].copy_from_slice(&bytes[..end - at]);
    };
    match header.is_empty() {
        true => put(0, bits),
        false => {
            put(0, &header);
            put(1024, bits);
        }
    }
    let loaded = DirtyLog::load(Some(&image), area, sync);
    let (mut log, found) = (loaded.log, loaded.found);
    assert_eq!(log.regions(), regions);
    assert!(how & 16 == 0 || found != Found::ReadError);
    check(&log);

    for (at, byte) in bits.iter().take(64).enumerate() {
        let region = (u64::from(*byte) << 4 | at as u64 & 15) % regions;
        match byte & 1 {
            0 => log.mark(region),
            _ => log.clear(region),
        }
        assert_eq!(log.is_clean(region), byte & 1 == 1);
    }
    check(&log);
    write_and_read(&mut log, area);
});

fn check(log: &DirtyLog) {
    let dirty = (0..log.regions()).filter(|region| !log.is_clean(*region)).count();
    assert_eq!(log.dirty_count(), dirty as u64);
    let in_sync = (0..log.regions()).filter(|region| log.in_sync(*region)).count();
    assert_eq!(log.sync_count(), in_sync as u64);
    let first = (0..log.regions()).find(|region| !log.is_clean(*region));
    assert_eq!(log.next_dirty(0), first);
}

/// What is taken as touched, written and read again is the same log.
fn write_and_read(log: &mut DirtyLog, area: DiskArea) {
    let mut image = vec![0; area.area_bytes() as usize];
    while let Some(range) = log.take_touched(4096).or_else(|| log.take_header()) {
        log.copy_taken(range.start, &mut image[range.start as usize..range.end as usize]);
    }
    assert_eq!(log.touched(), Touched::Nothing);
    let again = DirtyLog::load(Some(&image), area, SyncOption::Default);
    assert_eq!(again.found, Found::Existing { regions: log.regions() });
    for region in 0..log.regions() {
        assert_eq!(again.log.is_clean(region), log.is_clean(region), "region {region}");
    }
}
