//! A regular file or block device that backs a bdev: opened, asked about itself, described.
//!
//! Everything that the data path needs to know of the file is found out here, once: sizes,
//! alignments, whether holes can be punched, whether there is a cache to flush. A file that is to be
//! written is locked, and not opened exclusively: tools that look at a member while it is in use
//! must not be shut out.
//!
//! ```text
//!   open(O_DIRECT) --EINVAL--> open() + a warning     other errors: CreateError::Open
//!        |
//!      fstat: regular file, block device, or CreateError::FileKind
//!        |
//!      block size: given, or the device's own; 512 or 4096; not below what O_DIRECT can address
//!        |
//!      lock, which may take a moment (`lock.rs`)
//!        |
//!      size: a whole number of blocks, at least one
//! ```
//!
//! Not here: engines; the bdev types (`uring`, `aio`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Mode, OFlags, SeekFrom, Stat, StatxFlags, fallocate,
    fcntl_getfl, fcntl_setfl, fstat, ioctl_blksszget, major, minor, open, seek, statx,
};
use rustix::io::Errno;

use super::lock::FileLock;
use crate::create::{CreateError, check_block_size};
use crate::io::IoStatus;

/// What the caller wants of a file.
#[derive(Clone, Debug)]
pub(crate) struct BackingSpec {
    /// Name of the bdev, for errors.
    pub(crate) name: String,
    /// Path of the file.
    pub(crate) filename: PathBuf,
    /// Absent: the device's own logical block size.
    pub(crate) block_size_bytes: Option<u32>,
    /// Open for reading only.
    pub(crate) readonly: bool,
}

/// An open file and what was found out about it.
#[derive(Debug)]
pub(crate) struct Backing {
    lock: FileLock,
    fd: OwnedFd,
    /// Path of the file, as given.
    pub(crate) filename: PathBuf,
    /// Bytes in a block.
    pub(crate) block_size_bytes: u32,
    /// Size in blocks when it was opened.
    pub(crate) num_blocks: u64,
    /// Whether the page cache is bypassed, and what that asks of buffers.
    access: Access,
    /// What kind of file it is.
    kind: Kind,
    /// Whether completed writes may sit in a cache that a power failure empties.
    pub(crate) volatile_cache: bool,
    /// Whether holes can be punched. They read as zeroes, on files and on block devices.
    pub(crate) punch_hole: bool,
    /// Cleared when the kernel has said that it cannot zero ranges of this file.
    zero_range: AtomicBool,
    /// Set when a block device turned out to have been removed.
    gone: AtomicBool,
    /// Set when a sync has failed: something that was written before may be lost.
    lost_writes: AtomicBool,
}

/// How bytes get from a buffer to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Through the page cache: any buffer will do.
    Buffered,
    /// Straight to the device.
    Direct {
        /// Buffers must begin at a multiple of this.
        memory_align_bytes: u32,
        /// Offsets and lengths must be multiples of this.
        file_align_bytes: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    RegularFile,
    BlockDevice { logical_block_bytes: u32 },
}

impl Backing {
    /// Opens the file, once nobody else writes to it, and finds out about it. Waits for a moment, so it is not
    /// for a reactor's thread.
    pub(crate) fn open(spec: BackingSpec) -> Result<Self, CreateError> {
        Self::open_by(spec, |path, flags| open(path, flags, Mode::empty()))
    }

    /// As [`Self::open`], with the system call as an argument.
    pub(crate) fn open_by(
        spec: BackingSpec,
        mut open: impl FnMut(&Path, OFlags) -> Result<OwnedFd, Errno>,
    ) -> Result<Self, CreateError> {
        if let Some(block_size_bytes) = spec.block_size_bytes {
            check_block_size(&spec.name, block_size_bytes)?;
        }
        let (fd, direct) = open_direct_or_buffered(&spec, &mut open)?;
        let stat = fstat(&fd).map_err(|errno| spec.inspect_failed("the type", errno))?;
        let kind = spec.kind_of(&fd, &stat)?;
        let access = if direct { direct_access(&fd, kind) } else { Access::Buffered };
        let block_size_bytes = spec.block_size(kind, access)?;
        let lock = FileLock::take(&spec, fd.as_fd(), &stat, kind)?;
        let size_bytes =
            seek(&fd, SeekFrom::End(0)).map_err(|errno| spec.inspect_failed("the size", errno))?;
        let num_blocks = spec.num_blocks(kind, size_bytes, block_size_bytes)?;
        let punch_hole = !spec.readonly && can_punch_holes(&fd, &stat, kind, size_bytes);
        Ok(Self {
            lock,
            fd,
            filename: spec.filename,
            block_size_bytes,
            num_blocks,
            access,
            kind,
            volatile_cache: !(direct && writes_through(&stat, kind)),
            punch_hole,
            zero_range: AtomicBool::new(true),
            gone: AtomicBool::new(false),
            lost_writes: AtomicBool::new(false),
        })
    }

    /// Its size in blocks now. A device that has been taken away has none, which is an error.
    pub(crate) fn measure(&self, name: &str) -> Result<u64, CreateError> {
        let spec = BackingSpec {
            name: name.to_owned(),
            filename: self.filename.clone(),
            block_size_bytes: Some(self.block_size_bytes),
            readonly: false,
        };
        let size_bytes = seek(&self.fd, SeekFrom::End(0))
            .map_err(|errno| spec.inspect_failed("the size", errno))?;
        spec.num_blocks(self.kind, size_bytes, self.block_size_bytes)
    }

    /// The open file.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The same file, opened once more for one user: what the kernel could not write it tells to one sync of
    /// each open file, so that users who share one would hear of it one instead of the other. It is locked
    /// as the first one is. None where the way is barred (no /proc, no more descriptors): then they do share it.
    pub(crate) fn open_again(&self) -> Option<OwnedFd> {
        let path = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let flags = fcntl_getfl(&self.fd);
        let opened = flags.and_then(|flags| open(path, flags | OFlags::CLOEXEC, Mode::empty()));
        let locked = opened.and_then(|fd| self.lock.share(fd.as_fd()).map(|()| fd));
        locked
            .inspect_err(|errno| {
                tracing::warn!(
                    filename = %self.filename.display(),
                    %errno,
                    "the file could not be opened once more: its users share what is said of syncs"
                );
            })
            .ok()
    }

    /// A sync has failed. The kernel has told of what it could not write, and forgets it: no sync of this
    /// disk can be believed any more.
    #[cold]
    pub(crate) fn lose_writes(&self, errno: Errno) {
        if !self.lost_writes.swap(true, Ordering::AcqRel) {
            tracing::error!(
                filename = %self.filename.display(),
                %errno,
                "a sync failed: what was written before may be lost; every sync of this bdev fails from now on"
            );
        }
    }

    /// Whether a sync has failed.
    #[inline]
    pub(crate) fn has_lost_writes(&self) -> bool {
        self.lost_writes.load(Ordering::Acquire)
    }

    /// Whether the page cache is bypassed.
    pub(crate) fn is_direct(&self) -> bool {
        self.access != Access::Buffered
    }

    /// Whether a buffer can be handed to the kernel as it is.
    #[inline]
    pub(crate) fn accepts(&self, buffer: &[u8]) -> bool {
        match self.access {
            Access::Buffered => true,
            Access::Direct { memory_align_bytes, file_align_bytes } => {
                buffer.is_empty()
                    || buffer.as_ptr().addr().is_multiple_of(memory_align_bytes as usize)
                        && buffer.len().is_multiple_of(file_align_bytes as usize)
            }
        }
    }

    /// Offsets at which the kernel can go on after a short transfer are multiples of this.
    #[inline]
    pub(crate) fn resume_align_bytes(&self) -> u64 {
        match self.access {
            Access::Buffered => 1,
            Access::Direct { file_align_bytes, .. } => u64::from(file_align_bytes),
        }
    }

    /// Whether zeroing by fallocate is worth trying.
    #[inline]
    pub(crate) fn can_zero_range(&self) -> bool {
        self.zero_range.load(Ordering::Relaxed)
    }

    /// Notes that this file cannot be zeroed by fallocate. Says so in the log, once.
    pub(crate) fn forget_zero_range(&self) {
        if self.zero_range.swap(false, Ordering::Relaxed) {
            tracing::info!(
                filename = %self.filename.display(),
                "the file cannot be zeroed by fallocate; write-zeroes writes zeroes instead"
            );
        }
    }

    /// Tells a damaged medium from a device that was taken away: the kernel answers `EIO`, a short
    /// read or `ENOSPC` for either, but the size of the latter has become 0. It stays gone: the
    /// open file does not follow a device that comes back.
    pub(crate) fn refine(&self, status: IoStatus) -> IoStatus {
        let suspicious = matches!(status, IoStatus::MediaError | IoStatus::NoSpace);
        if !suspicious || self.kind == Kind::RegularFile {
            return status;
        }
        if !self.gone.load(Ordering::Relaxed) {
            if seek(&self.fd, SeekFrom::End(0)) != Ok(0) {
                return status;
            }
            if !self.gone.swap(true, Ordering::Relaxed) {
                tracing::error!(
                    filename = %self.filename.display(),
                    "the block device is gone; every request to it will fail"
                );
            }
        }
        IoStatus::Gone
    }
}

impl BackingSpec {
    fn inspect_failed(&self, what: &'static str, errno: Errno) -> CreateError {
        CreateError::Inspect {
            name: self.name.clone(),
            filename: self.filename.clone(),
            what,
            source: errno.into(),
        }
    }

    fn open_failed(&self, errno: Errno) -> CreateError {
        CreateError::Open {
            name: self.name.clone(),
            filename: self.filename.clone(),
            source: errno.into(),
        }
    }

    fn kind_of(&self, fd: &OwnedFd, stat: &Stat) -> Result<Kind, CreateError> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return Ok(Kind::RegularFile),
            FileType::BlockDevice => {
                let logical_block_bytes = ioctl_blksszget(fd)
                    .map_err(|errno| self.inspect_failed("the logical block size", errno))?;
                return Ok(Kind::BlockDevice { logical_block_bytes });
            }
            FileType::CharacterDevice => "character device",
            FileType::Directory => "directory",
            FileType::Fifo => "fifo",
            FileType::Socket => "socket",
            FileType::Symlink => "symbolic link",
            FileType::Unknown => "file of unknown type",
        };
        Err(CreateError::FileKind {
            name: self.name.clone(),
            filename: self.filename.clone(),
            kind,
        })
    }

    /// The block size, which must be one that the device can address.
    fn block_size(&self, kind: Kind, access: Access) -> Result<u32, CreateError> {
        let block_size_bytes = match (self.block_size_bytes, kind) {
            (Some(given), _) => given,
            (None, Kind::BlockDevice { logical_block_bytes }) => logical_block_bytes,
            (None, Kind::RegularFile) => {
                return Err(CreateError::BlockSizeMissing {
                    name: self.name.clone(),
                    filename: self.filename.clone(),
                });
            }
        };
        check_block_size(&self.name, block_size_bytes)?;
        let logical_bytes = match kind {
            Kind::BlockDevice { logical_block_bytes } => logical_block_bytes,
            Kind::RegularFile => 1,
        };
        let device_bytes = match access {
            Access::Buffered => logical_bytes,
            Access::Direct { file_align_bytes, .. } => logical_bytes.max(file_align_bytes),
        };
        if !block_size_bytes.is_multiple_of(device_bytes) {
            return Err(CreateError::BlockSizeBelowDevice {
                name: self.name.clone(),
                filename: self.filename.clone(),
                block_size_bytes,
                device_bytes,
            });
        }
        Ok(block_size_bytes)
    }

    fn num_blocks(
        &self,
        kind: Kind,
        size_bytes: u64,
        block_size_bytes: u32,
    ) -> Result<u64, CreateError> {
        if size_bytes == 0 && kind != Kind::RegularFile {
            // What is left of a device that was taken away, or has died, while somebody holds it.
            return Err(self.inspect_failed("the size", Errno::NXIO));
        }
        if size_bytes == 0 {
            return Err(CreateError::FileEmpty {
                name: self.name.clone(),
                filename: self.filename.clone(),
                block_size_bytes,
            });
        }
        if !size_bytes.is_multiple_of(u64::from(block_size_bytes)) {
            return Err(CreateError::FileSize {
                name: self.name.clone(),
                filename: self.filename.clone(),
                size_bytes,
                block_size_bytes,
            });
        }
        Ok(size_bytes / u64::from(block_size_bytes))
    }
}

/// Opens past the page cache where the file system can do that.
fn open_direct_or_buffered(
    spec: &BackingSpec,
    open: &mut impl FnMut(&Path, OFlags) -> Result<OwnedFd, Errno>,
) -> Result<(OwnedFd, bool), CreateError> {
    let mode = if spec.readonly { OFlags::RDONLY } else { OFlags::RDWR };
    // A fifo would be waited at for somebody at its other end before it is seen to be one.
    let flags = mode | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match open(&spec.filename, flags | OFlags::DIRECT) {
        Ok(fd) => Ok((waiting(spec, fd)?, true)),
        // The one number by which open(2) says that the file system has no O_DIRECT.
        Err(Errno::INVAL) => {
            let fd = open(&spec.filename, flags).map_err(|errno| spec.open_failed(errno))?;
            let fd = waiting(spec, fd)?;
            tracing::warn!(
                bdev = %spec.name,
                filename = %spec.filename.display(),
                "the file system has no O_DIRECT; I/O goes through the page cache"
            );
            Ok((fd, false))
        }
        Err(errno) => Err(spec.open_failed(errno)),
    }
}

/// A file whose requests wait for what they need: with `O_NONBLOCK`, io_uring would fail them.
fn waiting(spec: &BackingSpec, fd: OwnedFd) -> Result<OwnedFd, CreateError> {
    let flags = fcntl_getfl(&fd).and_then(|flags| fcntl_setfl(&fd, flags - OFlags::NONBLOCK));
    flags.map_err(|errno| spec.inspect_failed("the flags", errno))?;
    Ok(fd)
}

/// Alignments that `O_DIRECT` asks for. Kernels from 6.1 tell; before, the logical block size is
/// right for devices, and for files a block of 512 is what nearly all have.
fn direct_access(fd: &OwnedFd, kind: Kind) -> Access {
    let told = statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok().filter(|told| {
        told.stx_mask & StatxFlags::DIOALIGN.bits() != 0 && told.stx_dio_offset_align != 0
    });
    match (told, kind) {
        (Some(told), _) => Access::Direct {
            memory_align_bytes: told.stx_dio_mem_align.max(1),
            file_align_bytes: told.stx_dio_offset_align,
        },
        (None, Kind::BlockDevice { logical_block_bytes }) => Access::Direct {
            memory_align_bytes: logical_block_bytes,
            file_align_bytes: logical_block_bytes,
        },
        (None, Kind::RegularFile) => {
            Access::Direct { memory_align_bytes: 512, file_align_bytes: 512 }
        }
    }
}

/// Whether `FALLOC_FL_PUNCH_HOLE` works. Files are asked by punching where no byte is: behind the
/// end, which changes nothing. Block devices punch by zeroing without writing, which the kernel
/// does only for devices with a write-zeroes command (blkdev_fallocate, `BLKDEV_ZERO_NOFALLBACK`).
fn can_punch_holes(fd: &OwnedFd, stat: &Stat, kind: Kind, size_bytes: u64) -> bool {
    match kind {
        Kind::RegularFile => {
            let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(fd, mode, size_bytes, 4096).is_ok()
        }
        Kind::BlockDevice { .. } => queue_attribute(stat, "write_zeroes_max_bytes")
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
            .is_some_and(|max_bytes| max_bytes > 0),
    }
}

/// Whether a completed direct write is on stable media without a flush. Unknown counts as no.
fn writes_through(stat: &Stat, kind: Kind) -> bool {
    matches!(kind, Kind::BlockDevice { .. })
        && queue_attribute(stat, "write_cache").is_ok_and(|text| text == "write through")
}

/// One attribute of a block device's request queue, from sysfs. A partition's queue is its disk's.
fn queue_attribute(stat: &Stat, attribute: &str) -> io::Result<String> {
    let device = format!("/sys/dev/block/{}:{}", major(stat.st_rdev), minor(stat.st_rdev));
    let text = fs::read_to_string(format!("{device}/queue/{attribute}"))
        .or_else(|_| fs::read_to_string(format!("{device}/../queue/{attribute}")))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every user of a file has an open file of his own, of the very file that is open, by the same
    /// flags. Method: its position, after the file has lost its name to another one.
    #[test]
    fn a_file_is_opened_again_as_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8192).unwrap();
        let spec = BackingSpec {
            name: "u0".into(),
            filename: file.path().into(),
            block_size_bytes: Some(512),
            readonly: false,
        };
        let backing = Backing::open(spec).unwrap();
        let other = tempfile::NamedTempFile::new().unwrap();
        fs::rename(other.path(), file.path()).unwrap();
        let again = backing.open_again().unwrap();
        let inode = |fd: BorrowedFd<'_>| fstat(fd).unwrap().st_ino;
        assert_eq!(inode(again.as_fd()), inode(backing.fd()));
        assert_eq!(fcntl_getfl(&again), fcntl_getfl(backing.fd()));
        seek(backing.fd(), SeekFrom::Start(0)).unwrap();
        seek(&again, SeekFrom::Start(512)).unwrap();
        assert_eq!(seek(backing.fd(), SeekFrom::Current(0)), Ok(0), "positions are apart");
        assert_eq!(fs::metadata(file.path()).unwrap().len(), 0, "the name is another file's");
    }

    /// Goal: an empty file is a wrong parameter, and a block device of no size one that is gone, which may
    /// come back.
    #[test]
    fn a_block_device_of_no_size_is_gone() {
        let (name, filename) = ("u0".to_owned(), "/dev/nvme0n1".into());
        let spec = BackingSpec { name, filename, block_size_bytes: None, readonly: false };
        let device = Kind::BlockDevice { logical_block_bytes: 512 };
        let refused = |kind| spec.num_blocks(kind, 0, 512).unwrap_err().errno();
        assert_eq!(refused(Kind::RegularFile), -libc::EINVAL);
        assert_eq!(refused(device), -libc::ENXIO);
        assert_eq!(spec.num_blocks(device, 4096, 512).unwrap(), 8);
    }
}
