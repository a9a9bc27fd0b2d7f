//! Dirty logs that we wrote, given to the Linux kernel, and those that it wrote back.
//!
//! The other half, logs that the kernel wrote and we read, stands in crate `raid` with `golden`'s logs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

use e2e::{Guest, lab};
use raid::dirty_log::{DirtyLog, DiskArea, Found, Loaded, SyncOption};
use raid::limits::LOG_IO_BYTES_MAX;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// More than the largest log here needs, with blocks of either size.
const DEVICE_BYTES: u64 = 64 << 10;

struct Case {
    block_bytes: u32,
    /// Regions that the log is written for.
    written: u64,
    dirty: &'static [u64],
    component_sectors: u64,
    region_sectors: u64,
    /// Regions in sync when the kernel has resumed it.
    in_sync: u64,
}

impl Case {
    /// Regions that the kernel's table makes.
    fn regions(&self) -> u64 {
        self.component_sectors.div_ceil(self.region_sectors)
    }

    fn area(&self) -> DiskArea {
        DiskArea::new(self.block_bytes, self.regions())
    }
}

const CASES: &[Case] = &[
    // Bits in both words of 32 and at both ends.
    Case {
        block_bytes: 512,
        written: 64,
        dirty: &[0, 3, 5, 31, 32, 63],
        component_sectors: 65_536,
        region_sectors: 1024,
        in_sync: 58,
    },
    // A short last region, in a word with padding; blocks of either size.
    Case {
        block_bytes: 512,
        written: 129,
        dirty: &[128],
        component_sectors: 33_000,
        region_sectors: 256,
        in_sync: 128,
    },
    Case {
        block_bytes: 4096,
        written: 129,
        dirty: &[0, 64, 128],
        component_sectors: 33_000,
        region_sectors: 256,
        in_sync: 126,
    },
    // Bits in more than one block.
    Case {
        block_bytes: 512,
        written: 8250,
        dirty: &[0, 4095, 4096, 8191, 8192, 8249],
        component_sectors: 66_000,
        region_sectors: 8,
        in_sync: 8244,
    },
    // The component has grown: regions 64 to 128 are to be resynced too.
    Case {
        block_bytes: 512,
        written: 64,
        dirty: &[7],
        component_sectors: 33_000,
        region_sectors: 256,
        in_sync: 63,
    },
    // And has shrunk: region 100 is gone.
    Case {
        block_bytes: 512,
        written: 129,
        dirty: &[3, 100],
        component_sectors: 33_000,
        region_sectors: 1024,
        in_sync: 32,
    },
    // Nothing is dirty.
    Case {
        block_bytes: 4096,
        written: 33,
        dirty: &[],
        component_sectors: 33_000,
        region_sectors: 1024,
        in_sync: 33,
    },
];

/// Writes what is touched, as a log bdev would be written.
fn write_touched(log: &mut DirtyLog, device: &File) {
    while let Some(range) = log.take_touched(LOG_IO_BYTES_MAX).or_else(|| log.take_header()) {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        log.copy_taken(range.start, &mut bytes);
        device.write_all_at(&bytes, range.start).unwrap();
    }
}

/// A log as a crash would leave it.
fn write_log(case: &Case, path: &Path) {
    let device = File::create(path).unwrap();
    device.set_len(DEVICE_BYTES).unwrap();
    let area = DiskArea::new(case.block_bytes, case.written);
    let zeros = vec![0; area.area_bytes() as usize];
    let Loaded { mut log, .. } = DirtyLog::load(Some(&zeros), area, SyncOption::NoSync);
    write_touched(&mut log, &device);
    for &region in case.dirty {
        log.mark(region);
        write_touched(&mut log, &device);
    }
}

/// Goal: the kernel takes our logs for its own: what is dirty is what it resyncs, and nothing else; and
/// we take what it leaves for ours. Method: one guest, one log device a case; the legs of the mirror are
/// slow until the first status is there.
#[test]
fn the_kernel_resumes_logs_that_we_wrote() {
    let Some(lab) = lab(env!("CARGO_TARGET_TMPDIR")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut guest = Guest::new(include_str!("dmlog.sh"));
    let mut lines = String::new();
    let image_of = |index: usize| folder.path().join(format!("log{index}"));
    for (index, case) in CASES.iter().enumerate() {
        write_log(case, &image_of(index));
        guest = guest.disk_of_blocks(&image_of(index), case.block_bytes);
        let disk = char::from(b'a' + index as u8);
        lines += &format!("/dev/vd{disk} {} {}\n", case.component_sectors, case.region_sectors);
    }
    let outcome = guest.file("cases", lines.as_bytes()).run(lab);
    let mut said = outcome.expect_success().lines();
    for (index, case) in CASES.iter().enumerate() {
        let regions = case.regions();
        for (word, in_sync) in [("resumed", case.in_sync), ("synced", regions)] {
            let line = said.next().unwrap_or_default();
            assert!(line.starts_with(&format!("{word}: 0 {}", case.component_sectors)), "{line}");
            assert!(line.contains(&format!(" {in_sync}/{regions} ")), "case {index}: {line}");
            assert!(line.contains(" 3 disk "), "{line}");
            assert!(line.ends_with(" A"), "the log device is well: {line}");
        }

        let left = fs::read(image_of(index)).unwrap();
        let Loaded { log, found } = DirtyLog::load(Some(&left), case.area(), SyncOption::Default);
        assert_eq!(found, Found::Existing { regions }, "case {index}");
        assert_eq!((log.dirty_count(), log.sync_count()), (0, regions), "case {index}");
        let mut ours = vec![0xff; case.area().area_bytes() as usize];
        log.copy_out(0, &mut ours);
        if case.written > regions {
            // What the kernel read behind the last word of bits it writes back; we write zeros.
            ours.truncate(1024 + regions.div_ceil(64) as usize * 8);
        }
        assert!(left[..ours.len()] == ours, "case {index}: the kernel's bytes are ours");
    }
    assert_eq!(said.next(), None);
}
