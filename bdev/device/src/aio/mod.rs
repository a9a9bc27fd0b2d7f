//! Files and block devices behind Linux AIO.
//!
//! io_uring does all of this better; AIO is for kernels and containers that do not let io_uring
//! through, and for SPDK's users, whose `bdev_aio_create` it serves.
//!
//! | file | what it is |
//! |---|---|
//! | `abi` | the kernel's structures and system calls |
//! | `context` | one reactor's context, the `Kernel` of its engine |
//! | `allocator` | a thread for fallocate |
//!
//! On files without `O_DIRECT` the kernel does the whole transfer inside of `io_submit`, so the
//! reactor waits for it; io_uring does not have that fault.
//!
//! Not here: channels and the course of a request, which the io_uring backend shares (`files`).

mod abi;
mod allocator;
mod context;

use std::path::PathBuf;
use std::sync::Arc;

use reactor::Cx;
use uuid::Uuid;

use crate::bdev::{BackendDetail, Bdev, BdevInfo, IoChannel, OpenError};
use crate::create::CreateError;
use crate::files::backing::{Backing, BackingSpec};
use crate::files::disk::{DiskSpec, FileDisk};
use crate::files::engine::open_channel;
use crate::resize::{Resize, ResizeError};
use context::Aio;

/// What an AIO bdev is made from.
#[derive(Clone, Debug)]
pub struct AioSpec {
    /// Unique name in the service.
    pub name: String,
    /// A regular file or a block device.
    pub filename: PathBuf,
    /// 512 or 4096. May be absent for block devices: then it is their logical block size.
    pub block_size_bytes: Option<u32>,
    /// Drawn at random when absent.
    pub uuid: Option<Uuid>,
    /// Open for reading only; writes are then not supported.
    pub readonly: bool,
    /// Whether unmap and write-zeroes may change the file's allocation. Without it unmap is not
    /// supported and write-zeroes writes zeroes.
    pub fallocate: bool,
}

/// A file or block device that is reached through Linux AIO.
#[derive(Debug)]
pub struct AioBdev {
    disk: Arc<FileDisk>,
}

impl AioBdev {
    /// Opens the file, past the page cache where that is possible.
    ///
    /// # Errors
    ///
    /// [`CreateError`] when the file cannot be opened, is of the wrong kind, or does not hold a
    /// whole number of blocks.
    pub fn create(spec: AioSpec) -> Result<Arc<dyn Bdev>, CreateError> {
        let backing = Backing::open(BackingSpec {
            name: spec.name.clone(),
            filename: spec.filename.clone(),
            block_size_bytes: spec.block_size_bytes,
            readonly: spec.readonly,
        })?;
        Ok(Arc::new(Self::over(backing, spec)))
    }

    pub(crate) fn over(backing: Backing, spec: AioSpec) -> Self {
        let direct = backing.is_direct();
        let disk = FileDisk::new(
            backing,
            DiskSpec {
                name: spec.name,
                uuid: spec.uuid,
                product_name: "AIO disk",
                readonly: spec.readonly,
                fallocate: spec.fallocate,
                detail: BackendDetail::Aio {
                    filename: spec.filename,
                    direct,
                    block_size_override: spec.block_size_bytes.is_some(),
                    readonly: spec.readonly,
                    fallocate: spec.fallocate,
                },
            },
        );
        Self { disk: Arc::new(disk) }
    }
}

impl Bdev for AioBdev {
    fn info(&self) -> Arc<BdevInfo> {
        self.disk.described.info()
    }

    fn resize(&self, resize: Resize) -> Result<(), ResizeError> {
        self.disk.resize(resize)
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        open_channel::<Aio>(&self.disk, cx)
    }
}
