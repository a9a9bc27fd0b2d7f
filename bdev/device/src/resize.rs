//! Bdevs that can change their size: what they are told, and a description that follows.
//!
//! ```text
//!   control: resize --> Described: info (a new snapshot)   size_bytes
//!                                                              | one relaxed load a request
//!   channel: admit <-------------------------------------------'
//! ```
//!
//! A request that is judged at the moment of a change may be judged by either size. Whoever has learned
//! of a new size in any way that orders memory (a message, a lock) has its requests judged by it.
//!
//! Not here: whether somebody would miss what is cut off (the service knows who uses a bdev).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::bdev::BdevInfo;
use crate::create::CreateError;
use crate::io::{BdevIo, IoStatus};
use crate::stacked::lock;

/// Which size a bdev is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Which.
    pub to: NewSize,
    /// Whether it may become smaller: nobody uses it.
    pub may_shrink: bool,
}

/// A size for a bdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewSize {
    /// This many blocks; for bdevs that have nothing behind them.
    Blocks(u64),
    /// That of the file or block device behind it, which is looked at again.
    OfFile,
}

/// Why a bdev keeps its size.
#[derive(Debug, thiserror::Error)]
pub enum ResizeError {
    /// Bdevs of this kind do not change their size in this way.
    #[error("bdev {name}: a {product_name} keeps its size: delete it and make it again")]
    Fixed {
        /// Name of the bdev.
        name: String,
        /// What it is.
        product_name: &'static str,
    },
    /// Somebody would miss what is cut off.
    #[error(
        "bdev {name}: it is in use, and cannot shrink from {num_blocks} blocks to {wanted_blocks}: give at least {num_blocks} blocks, or delete what uses it first"
    )]
    WouldShrink {
        /// Name of the bdev.
        name: String,
        /// Its size.
        num_blocks: u64,
        /// The refused size.
        wanted_blocks: u64,
    },
    /// A size that no such bdev can have, or a file that cannot be looked at.
    #[error(transparent)]
    Size(#[from] CreateError),
}

impl ResizeError {
    /// The number that SPDK would answer with, negative as there.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Fixed { .. } => -libc::EOPNOTSUPP,
            Self::WouldShrink { .. } => -libc::EBUSY,
            Self::Size(error) => error.errno(),
        }
    }
}

/// The description of a bdev whose size may change.
#[derive(Debug)]
pub(crate) struct Described {
    /// What it was made as: true in everything but the size.
    made: BdevInfo,
    now: Mutex<Arc<BdevInfo>>,
    /// Of `now`.
    size_bytes: AtomicU64,
}

impl Described {
    pub(crate) fn new(made: BdevInfo) -> Self {
        let size_bytes = AtomicU64::new(made.size_bytes());
        Self { now: Mutex::new(Arc::new(made.clone())), size_bytes, made }
    }

    /// What never changes.
    pub(crate) fn fixed(&self) -> &BdevInfo {
        &self.made
    }

    /// What is known now.
    pub(crate) fn info(&self) -> Arc<BdevInfo> {
        Arc::clone(&lock(&self.now))
    }

    /// As [`BdevInfo::admit`], by the size that it has now.
    #[inline]
    pub(crate) fn admit(&self, io: &BdevIo) -> Result<(), IoStatus> {
        self.made.admit_within(io, self.size_bytes.load(Ordering::Relaxed))
    }

    /// Changes the size to one that such a bdev can have.
    pub(crate) fn resize(&self, num_blocks: u64, may_shrink: bool) -> Result<(), ResizeError> {
        let mut now = lock(&self.now);
        if num_blocks < now.num_blocks && !may_shrink {
            return Err(ResizeError::WouldShrink {
                name: now.name.clone(),
                num_blocks: now.num_blocks,
                wanted_blocks: num_blocks,
            });
        }
        let info = BdevInfo { num_blocks, ..BdevInfo::clone(&now) };
        self.size_bytes.store(info.size_bytes(), Ordering::Relaxed);
        *now = Arc::new(info);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reactor::memory::IoBufMut;
    use tempfile::NamedTempFile;

    use super::*;
    use crate::conformance::rig::Rig;
    use crate::{
        AioBdev, AioSpec, Bdev, DelayBdev, DelaySpec, ErrorBdev, ErrorSpec, MallocBdev, MallocSpec,
        NullBdev, NullSpec, UringBdev, UringSpec,
    };

    fn status_at(rig: &mut Rig, offset_bytes: u64) -> IoStatus {
        rig.run(BdevIo::read(0, offset_bytes, IoBufMut::heap(4096))).status
    }

    const GROW: Resize = Resize { to: NewSize::Blocks(64), may_shrink: false };

    /// Goal: an open channel judges by the size that the bdev has now, and so do those of bdevs above.
    /// Method: a null bdev under an error and a delay bdev grows, is refused to shrink, and shrinks.
    #[test]
    fn open_channels_follow() {
        let spec =
            NullSpec { name: "n0".into(), uuid: None, block_size_bytes: 4096, num_blocks: 16 };
        let null = NullBdev::create(spec).unwrap();
        let (name, uuid, base) = ("e0".into(), None, Arc::clone(&null));
        let error = ErrorBdev::create(ErrorSpec { name, uuid, base, volatile_cache: false });
        let (name, base, latencies_us) = ("d0".into(), error as Arc<dyn Bdev>, [0; 4]);
        let delay = DelayBdev::create(DelaySpec { name, uuid, base, latencies_us }).unwrap();
        let mut rig = Rig::new(&*delay);
        assert_eq!(status_at(&mut rig, 16 << 12), IoStatus::InvalidRequest);

        null.resize(GROW).unwrap();
        assert_eq!((delay.info().num_blocks, delay.name().as_str()), (64, "d0"));
        assert_eq!(status_at(&mut rig, 63 << 12), IoStatus::Ok);
        assert_eq!(status_at(&mut rig, 64 << 12), IoStatus::InvalidRequest);

        let to = NewSize::Blocks(32);
        let error = null.resize(Resize { to, may_shrink: false }).unwrap_err();
        assert_eq!(error.errno(), -libc::EBUSY);
        assert_eq!(null.info().num_blocks, 64);
        null.resize(Resize { to, may_shrink: true }).unwrap();
        assert_eq!(status_at(&mut rig, 32 << 12), IoStatus::InvalidRequest);
        for bad in [0, u64::MAX] {
            let to = NewSize::Blocks(bad);
            let error = null.resize(Resize { to, may_shrink: true }).unwrap_err();
            assert_eq!(error.errno(), -libc::EINVAL);
        }
        let error = delay.resize(GROW).unwrap_err();
        assert_eq!(
            error.to_string(),
            "bdev d0: a delay keeps its size: delete it and make it again"
        );
    }

    /// Goal: a file's bdev has the size of its file when it is told to look, also where a channel is
    /// open. Method: both engines; the file grows, is written where it has grown, is made ragged.
    #[test]
    fn files_are_followed() {
        for aio in [false, true] {
            let file = NamedTempFile::with_prefix_in("device-test-", std::env::temp_dir()).unwrap();
            file.as_file().set_len(16 << 12).unwrap();
            let (name, filename) = ("f0".to_owned(), file.path().to_owned());
            let (uuid, block_size_bytes) = (None, Some(4096));
            let bdev = if aio {
                let (readonly, fallocate) = (false, false);
                let spec = AioSpec { name, filename, uuid, block_size_bytes, readonly, fallocate };
                AioBdev::create(spec)
            } else {
                UringBdev::create(UringSpec { name, filename, uuid, block_size_bytes })
            };
            let bdev = bdev.unwrap();
            let mut rig = Rig::new(&*bdev);
            let look = Resize { to: NewSize::OfFile, may_shrink: false };
            bdev.resize(look).unwrap();
            assert_eq!(bdev.info().num_blocks, 16);

            file.as_file().set_len(20 << 12).unwrap();
            assert_eq!(status_at(&mut rig, 19 << 12), IoStatus::InvalidRequest);
            bdev.resize(look).unwrap();
            assert_eq!(bdev.info().num_blocks, 20);
            rig.write(19 << 12, &[7; 4096]);
            assert_eq!(rig.read(19 << 12, 4096), [7; 4096]);

            file.as_file().set_len((20 << 12) + 512).unwrap();
            assert_eq!(bdev.resize(look).unwrap_err().errno(), -libc::EINVAL);
            file.as_file().set_len(8 << 12).unwrap();
            assert_eq!(bdev.resize(look).unwrap_err().errno(), -libc::EBUSY);
            assert_eq!(bdev.resize(GROW).unwrap_err().errno(), -libc::EOPNOTSUPP);
            assert_eq!(bdev.info().num_blocks, 20);
        }
    }

    /// Goal: memory that is mapped once keeps its size and says so.
    #[test]
    fn others_keep_their_size() {
        let spec =
            MallocSpec { name: "m0".into(), uuid: None, block_size_bytes: 512, num_blocks: 8 };
        let malloc = MallocBdev::create(spec).unwrap();
        assert_eq!(malloc.resize(GROW).unwrap_err().errno(), -libc::EOPNOTSUPP);
        assert_eq!(malloc.info().num_blocks, 8);
    }
}
