//! Every way of getting a bdev under test.

use std::fs::File as StdFile;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::files::backing::{Backing, BackingSpec};
use crate::{
    AioBdev, AioSpec, Bdev, Counted, DelayBdev, DelaySpec, ErrorBdev, ErrorSpec, Limits,
    MallocBdev, MallocSpec, MappedBdev, MappedSpec, MappedTable, Segment, SegmentTarget, SplitBdev,
    SplitSpec, UringBdev, UringSpec,
};

/// Size of every device under test.
pub(crate) const DEVICE_BYTES: u64 = 8 << 20;

/// A kind of bdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    Malloc,
    /// An error bdev over memory, with nothing injected.
    Error,
    /// The same with a volatile cache.
    Cached,
    /// A delay bdev over memory.
    Delay,
    /// A window in the middle of a larger piece of memory.
    Split,
    /// Memory, counted.
    Counted,
    /// The same with limits that are not reached.
    Limited,
    /// A mapped device that is all of memory.
    Mapped,
    /// One of two stretches of memory in the other order, with borders inside of them.
    MappedSplit,
    Uring(File),
    Aio(File),
}

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    /// A regular file beside the test binary, with `O_DIRECT`.
    OnDisk,
    /// The same, as if its file system had no `O_DIRECT`.
    Buffered,
    /// A file in /dev/shm.
    InMemory,
    /// A loop device over a regular file.
    Loop,
}

/// A bdev under test, and what must outlive it.
pub(super) struct Subject {
    pub(super) bdev: Arc<dyn Bdev>,
    pub(super) home: Home,
}

/// Where a subject's bytes are.
pub(super) enum Home {
    Memory,
    File(NamedTempFile),
    Loop(LoopDevice),
}

impl Backend {
    /// Makes a fresh, zeroed device; none when the machine cannot.
    pub(super) fn make(self, block_size_bytes: u32) -> Option<Subject> {
        let file = match self {
            Self::Malloc
            | Self::Error
            | Self::Cached
            | Self::Delay
            | Self::Split
            | Self::Counted
            | Self::Limited
            | Self::Mapped
            | Self::MappedSplit => {
                let bdev = self.over_memory(memory(block_size_bytes));
                return Some(Subject { bdev, home: Home::Memory });
            }
            Self::Uring(file) | Self::Aio(file) => file,
        };
        let home = match file {
            File::OnDisk | File::Buffered => Home::File(zeroed_file(&beside_the_test())),
            File::InMemory => Home::File(zeroed_file(Path::new("/dev/shm"))),
            File::Loop => Home::Loop(LoopDevice::attach(block_size_bytes)?),
        };
        let bdev = self.over(home.path(), file, block_size_bytes);
        Some(Subject { bdev, home })
    }

    fn over_memory(self, base: Arc<dyn Bdev>) -> Arc<dyn Bdev> {
        let (name, uuid) = ("over0".to_owned(), None);
        match self {
            Self::Error | Self::Cached => {
                let volatile_cache = self == Self::Cached;
                ErrorBdev::create(ErrorSpec { name, uuid, base, volatile_cache })
            }
            Self::Delay => {
                let latencies_us = [20, 500, 30, 600];
                DelayBdev::create(DelaySpec { name, uuid, base, latencies_us }).unwrap()
            }
            Self::Split => {
                let block_size_bytes = base.info().block_size_bytes;
                let blocks = base.info().num_blocks;
                let base = memory_of("larger0", block_size_bytes, 3 * blocks);
                let (offset_blocks, num_blocks) = (blocks / 2 + 3, blocks);
                let spec = SplitSpec { name, uuid, base, offset_blocks, num_blocks };
                SplitBdev::create(spec).unwrap()
            }
            Self::Counted | Self::Limited => {
                let counted = Counted::over(base);
                if self == Self::Limited {
                    let (rw_ios, rw_bytes) = (1_000_000, 1 << 40);
                    counted.set_limits(Limits { rw_ios, rw_bytes, ..Limits::default() });
                }
                counted
            }
            Self::Mapped | Self::MappedSplit => {
                let (boundary_bytes, cuts) = match self {
                    Self::MappedSplit => {
                        (Some(5 << 12), [0, DEVICE_BYTES / 2, DEVICE_BYTES].to_vec())
                    }
                    _ => (None, vec![0, DEVICE_BYTES]),
                };
                let segments = cuts.windows(2).map(|cut| {
                    let (bdev, offset_bytes) = (Arc::clone(&base), DEVICE_BYTES - cut[1]);
                    let target = SegmentTarget::Bdev { bdev, offset_bytes };
                    let (start_bytes, len_bytes) = (cut[0], cut[1] - cut[0]);
                    Segment { start_bytes, len_bytes, target, boundary_bytes }
                });
                let mapped = MappedBdev::create(MappedSpec { name, uuid, read_only: false });
                let table = MappedTable::new(segments.collect()).unwrap();
                mapped.resume(Some(table)).unwrap();
                mapped
            }
            Self::Malloc | Self::Uring(_) | Self::Aio(_) => base,
        }
    }

    fn over(self, path: &Path, file: File, block_size_bytes: u32) -> Arc<dyn Bdev> {
        let backing = Backing::open_by(
            BackingSpec {
                name: "file0".into(),
                filename: path.into(),
                block_size_bytes: Some(block_size_bytes),
                readonly: false,
            },
            |path, flags| {
                if file == File::Buffered && flags.contains(OFlags::DIRECT) {
                    return Err(Errno::INVAL);
                }
                open(path, flags, Mode::empty())
            },
        );
        let backing = backing.unwrap();
        assert_eq!(backing.is_direct(), file != File::Buffered);
        let (name, filename) = ("file0".to_owned(), PathBuf::from(path));
        let block_size_bytes = Some(block_size_bytes);
        match self {
            Self::Aio(_) => {
                let (readonly, fallocate) = (false, true);
                let spec =
                    AioSpec { name, filename, block_size_bytes, uuid: None, readonly, fallocate };
                Arc::new(AioBdev::over(backing, spec))
            }
            _ => {
                let spec = UringSpec { name, filename, block_size_bytes, uuid: None };
                Arc::new(UringBdev::over(backing, spec))
            }
        }
    }
}

/// A fresh RAM disk.
pub(crate) fn memory(block_size_bytes: u32) -> Arc<dyn Bdev> {
    memory_of("malloc0", block_size_bytes, DEVICE_BYTES / u64::from(block_size_bytes))
}

fn memory_of(name: &str, block_size_bytes: u32, num_blocks: u64) -> Arc<dyn Bdev> {
    let (name, uuid) = (name.to_owned(), None);
    MallocBdev::create(MallocSpec { name, uuid, block_size_bytes, num_blocks }).unwrap()
}

impl Home {
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Memory => panic!("memory has no path"),
            Self::File(file) => file.path(),
            Self::Loop(device) => &device.path,
        }
    }
}

/// A folder on a real file system: the one that the test binary is in.
pub(super) fn beside_the_test() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

pub(super) fn zeroed_file(folder: &Path) -> NamedTempFile {
    let file = NamedTempFile::with_prefix_in("device-test-", folder).unwrap();
    file.as_file().set_len(DEVICE_BYTES).unwrap();
    file
}

/// A loop device, detached when dropped.
pub(crate) struct LoopDevice {
    pub(crate) path: PathBuf,
    pub(super) file: NamedTempFile,
}

impl LoopDevice {
    /// Attaches a loop device with this logical block size; none when the machine cannot, which is
    /// a failure when `RAID456_REQUIRE_E2E` is 1.
    pub(crate) fn attach(block_size_bytes: u32) -> Option<Self> {
        let file = zeroed_file(&beside_the_test());
        let output = Command::new("losetup")
            .args(["--find", "--show", "--sector-size", &block_size_bytes.to_string()])
            .arg(file.path())
            .output();
        let reason = match output {
            Ok(output) if output.status.success() => {
                let path = String::from_utf8(output.stdout).unwrap().trim().into();
                return Some(Self { path, file });
            }
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        let required = std::env::var("RAID456_REQUIRE_E2E").is_ok_and(|value| value == "1");
        assert!(!required, "no loop device: {reason}");
        println!("skipped, no loop device: {reason}");
        None
    }

    /// Makes the device as long as its file has become.
    pub(super) fn follow_file(&self, len_bytes: u64) {
        self.file.as_file().set_len(len_bytes).unwrap();
        let status = Command::new("losetup").arg("--set-capacity").arg(&self.path).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let status = Command::new("losetup").arg("--detach").arg(&self.path).status();
        let detached = status.is_ok_and(|status| status.success());
        assert!(detached || std::thread::panicking(), "a loop device is left over");
    }
}

/// A file for tests that need one of no particular kind.
pub(super) fn plain_file(len_bytes: u64) -> (NamedTempFile, StdFile) {
    let file = NamedTempFile::with_prefix_in("device-test-", beside_the_test()).unwrap();
    file.as_file().set_len(len_bytes).unwrap();
    let again = file.reopen().unwrap();
    (file, again)
}
