//! Files and block devices behind io_uring.
//!
//! | file | what it is |
//! |---|---|
//! | `ring` | one reactor's ring, the `Kernel` of its engine |
//! | `buffers` | memory that is registered with it |
//!
//! Not here: channels and the course of a request, which the AIO backend shares (`files`).

mod buffers;
mod ring;

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
use ring::Ring;

/// What an io_uring bdev is made from.
#[derive(Clone, Debug)]
pub struct UringSpec {
    /// Unique name in the service.
    pub name: String,
    /// A regular file or a block device.
    pub filename: PathBuf,
    /// 512 or 4096. May be absent for block devices: then it is their logical block size.
    pub block_size_bytes: Option<u32>,
    /// Drawn at random when absent.
    pub uuid: Option<Uuid>,
}

/// A file or block device that is reached through io_uring.
#[derive(Debug)]
pub struct UringBdev {
    disk: Arc<FileDisk>,
}

impl UringBdev {
    /// Opens the file, past the page cache where that is possible.
    ///
    /// # Errors
    ///
    /// [`CreateError`] when the file cannot be opened, is of the wrong kind, or does not hold a
    /// whole number of blocks.
    pub fn create(spec: UringSpec) -> Result<Arc<dyn Bdev>, CreateError> {
        let backing = Backing::open(BackingSpec {
            name: spec.name.clone(),
            filename: spec.filename.clone(),
            block_size_bytes: spec.block_size_bytes,
            readonly: false,
        })?;
        Ok(Arc::new(Self::over(backing, spec)))
    }

    pub(crate) fn over(backing: Backing, spec: UringSpec) -> Self {
        let direct = backing.is_direct();
        let disk = FileDisk::new(
            backing,
            DiskSpec {
                name: spec.name,
                uuid: spec.uuid,
                product_name: "URING bdev",
                readonly: false,
                fallocate: true,
                detail: BackendDetail::Uring { filename: spec.filename, direct },
            },
        );
        Self { disk: Arc::new(disk) }
    }
}

impl Bdev for UringBdev {
    fn info(&self) -> Arc<BdevInfo> {
        self.disk.described.info()
    }

    fn resize(&self, resize: Resize) -> Result<(), ResizeError> {
        self.disk.resize(resize)
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        open_channel::<Ring>(&self.disk, cx)
    }
}
