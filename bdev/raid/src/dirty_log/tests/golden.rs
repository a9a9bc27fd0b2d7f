//! Logs that the Linux kernel wrote, and what it said about them.

use super::super::*;
use super::{dirty, fresh, image_of};
use ::golden::dmlog::{GoldenLog, find, logs};

/// The log devices had blocks of 512 bytes; the area with blocks of 4096 bytes is what is kept.
fn areas(golden: &GoldenLog) -> [DiskArea; 2] {
    [512, 4096].map(|block| DiskArea::new(block, golden.regions))
}

fn load(golden: &GoldenLog, area: DiskArea) -> Loaded {
    DirtyLog::load(Some(&golden.bytes), area, SyncOption::Default)
}

fn area_of(golden: &GoldenLog, area: DiskArea) -> &[u8] {
    &golden.bytes[..area.area_bytes() as usize]
}

/// What was not put there by the kernel's log.
fn is_foreign(golden: &GoldenLog) -> bool {
    golden.name.starts_with("badmagic") || golden.name.starts_with("badversion")
}

/// Goal: every log of the kernel is read, and written back byte by byte; what it says of itself fits.
#[test]
fn logs_of_the_kernel_are_read_and_written_byte_for_byte() {
    let mut checked = 0;
    for golden in logs().iter().filter(|golden| !is_foreign(golden)) {
        for area in areas(golden) {
            let Loaded { log, found } = load(golden, area);
            assert_eq!(found, Found::Existing { regions: golden.regions }, "{}", golden.name);
            assert_eq!(image_of(&log), area_of(golden, area), "{}", golden.name);
            check_status(golden, &log);
            checked += 1;
        }
        check_table(golden);
    }
    assert_eq!(checked, 2 * 36);
}

/// What the kernel said just after: as many regions in sync, more if it was resyncing, or if writes
/// to regions in sync were in flight.
fn check_status(golden: &GoldenLog, log: &DirtyLog) {
    let Some(in_sync) = golden.sync_count() else { return };
    let was_moving = ["part", "default-fresh", "grow-64to129-resumed", "crash-dirty"];
    if was_moving.iter().any(|name| golden.name.ends_with(name)) {
        assert!(log.sync_count() <= in_sync, "{}", golden.name);
    } else {
        assert_eq!(log.sync_count(), in_sync, "{}", golden.name);
    }
    let status = golden.status.as_ref().unwrap();
    let ours = status_info(LogType::Disk { device: "254:0" }, LogHealth::Alive).to_string();
    assert!(status.ends_with(&format!(" {ours}")), "{status}");
}

fn check_table(golden: &GoldenLog) {
    let Some(table) = &golden.table else { return };
    let sync = match () {
        () if table.contains(" nosync ") => SyncOption::NoSync,
        () if table.contains(" sync ") => SyncOption::Sync,
        () => SyncOption::Default,
    };
    let disk = LogType::Disk { device: "254:0" };
    let ours = status_table(disk, golden.region_sectors, sync).to_string();
    let head = format!("0 {} mirror {ours}2 ", golden.component_sectors);
    assert!(table.starts_with(&head), "{table} does not begin with {head}");
    assert_eq!(golden.component_sectors.div_ceil(golden.region_sectors), golden.regions);
}

/// Goal: from the same state our own log writes the same bytes. Method: begin as the kernel did, do
/// what it did, compare the whole area.
#[test]
fn the_same_states_are_the_same_bytes() {
    for golden in logs().iter().filter(|golden| !is_foreign(golden)) {
        for area in areas(golden) {
            let log = redo(golden, area);
            assert_eq!(image_of(&log), area_of(golden, area), "{}: {}", golden.name, golden.how);
        }
    }
}

fn redo(golden: &GoldenLog, area: DiskArea) -> DirtyLog {
    let after = |name: &str, sync| {
        let before = find(name).bytes;
        DirtyLog::load(Some(&before), area, sync).log
    };
    let step =
        golden.name.trim_start_matches("len65536-rs1024-").trim_start_matches("len33000-rs256-");
    // How far the kernel's resync had come is the one thing that is read off its log.
    let resynced = |mut log: DirtyLog| {
        let done = load(golden, area).log;
        while let Some(region) = log.resync_work()
            && done.is_clean(region)
        {
            log.clear(region);
            log.set_region_sync(region, true);
        }
        log
    };
    match step {
        "nosync-fresh" => fresh(area, SyncOption::NoSync),
        "sync-fresh" => fresh(area, SyncOption::Sync),
        "sync-part" | "sync-partremoved" => resynced(fresh(area, SyncOption::Sync)),
        "default-fresh" | "default-synced" | "default-removed" => {
            resynced(fresh(area, SyncOption::Default))
        }
        "nosync-removed" => after("len65536-rs1024-nosync-fresh", SyncOption::NoSync),
        "crash-before" => after("len65536-rs1024-nosync-removed", SyncOption::Default),
        // Of the writes in flight, to 0 3 5 31 32 and 63, four had come as far as the log.
        "crash-dirty" | "crash-crash" => {
            let mut log = after("len65536-rs1024-crash-before", SyncOption::Default);
            [0, 3, 5, 31].iter().for_each(|&region| log.mark(region));
            log
        }
        "recover-resumed" | "recover-recovered" | "recover-removed" => {
            let log = after("len65536-rs1024-crash-crash", SyncOption::Default);
            assert_eq!(dirty(&log), [0, 3, 5, 31]);
            if step == "recover-resumed" { log } else { resynced(log) }
        }
        "grow-64to129-resumed" | "grow-64to129-removed" => {
            let log = after("len65536-rs1024-nosync-removed", SyncOption::Default);
            assert_eq!(dirty(&log), (64..129).collect::<Vec<_>>());
            resynced(log)
        }
        lazy if lazy.starts_with("lazy-") => {
            let mut log = fresh(area, SyncOption::NoSync);
            for region in [3, 9] {
                log.mark(region);
                log.clear(region);
            }
            log
        }
        other => panic!("no golden log is called {other}"),
    }
}

/// Goal: random bytes are no log. The kernel began a new one over them and left what stood around it;
/// we write zeros there.
#[test]
fn bad_magic_begins_a_new_log() {
    let garbage = find("badmagic-garbage");
    for area in areas(&garbage) {
        let Loaded { log, found } = load(&garbage, area);
        assert_eq!((found, log.sync_count()), (Found::Fresh, 0));

        let kernels = find("badmagic-resumed");
        let resumed = load(&kernels, area);
        assert_eq!(resumed.found, Found::Existing { regions: 64 });
        let ours = image_of(&resumed.log);
        assert_eq!(
            (&ours[..16], &ours[1024..1032]),
            (&kernels.bytes[..16], &kernels.bytes[1024..1032])
        );
        assert!(ours[16..1024].iter().chain(&ours[1032..]).all(|&byte| byte == 0));
        assert_eq!(kernels.bytes[16..1024], garbage.bytes[16..1024]);
    }
}

/// Goal: a version that is not known fails the log device, here as in the kernel, whose status then
/// says D.
#[test]
fn bad_version_fails_the_log_device() {
    let golden = find("badversion-resumed");
    for area in areas(&golden) {
        let Loaded { log, found } = load(&golden, area);
        assert_eq!((found, log.sync_count()), (Found::BadVersion { version: 7 }, 0));
        let ours = status_info(LogType::Disk { device: "254:0" }, found.health()).to_string();
        assert!(golden.status.as_ref().unwrap().ends_with(&format!(" {ours}")), "{ours}");
    }
}
