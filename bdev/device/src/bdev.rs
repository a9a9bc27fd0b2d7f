//! What a block device is to the rest of the project: [`Bdev`], the control handle that any
//! thread may hold, and [`IoChannel`], its data path on one reactor.
//!
//! ```text
//!   Arc<dyn Bdev>  --open_channel(cx)-->  Box<dyn IoChannel>   (one per user and reactor, !Send)
//!     info()                                submit, poll
//! ```
//!
//! The pair is SPDK's bdev and io_channel. Two traits and not one: what is shared between cores
//! does not change but for a size that may grow ([`BdevInfo`] is a snapshot), what is mutable
//! belongs to one core, so no lock is needed on the way of a request.
//!
//! Invariants: R6 (`submit` refuses by handing back), and [`BdevInfo::admit`] is the only place
//! where a request's range is judged: no backend sees a request that reaches outside its device.
//!
//! Not here: names and lookup of bdevs (the service's registry), claims, aliases.

use std::fmt::Debug;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reactor::Cx;
use uuid::Uuid;

use crate::counted::CountedChannel;
use crate::io::{BdevIo, Completion, IoOp, IoStatus};
use crate::resize::{Resize, ResizeError};

/// Which requests a bdev serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoTypes {
    /// Reads.
    pub read: bool,
    /// Writes; false on a read-only device.
    pub write: bool,
    /// Flushes. True also where there is nothing to flush.
    pub flush: bool,
    /// Unmap (discard, deallocate).
    pub unmap: bool,
    /// Write-zeroes.
    pub write_zeroes: bool,
}

impl IoTypes {
    /// Everything.
    pub const ALL: Self =
        Self { read: true, write: true, flush: true, unmap: true, write_zeroes: true };
    /// What a read-only device serves.
    pub const READ_ONLY: Self =
        Self { read: true, write: false, flush: true, unmap: false, write_zeroes: false };

    /// Whether requests of this kind are served.
    #[inline]
    pub fn allows(self, op: &IoOp) -> bool {
        match op {
            IoOp::Read { .. } => self.read,
            IoOp::Write { .. } => self.write,
            IoOp::Flush => self.flush,
            IoOp::Unmap => self.unmap,
            IoOp::WriteZeroes { .. } => self.write_zeroes,
        }
    }
}

/// What only one kind of bdev can tell about itself, for `driver_specific` of `bdev_get_bdevs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendDetail {
    /// Nothing here: the bdev's own object knows more (stacked bdevs such as raid).
    None,
    /// The null bdev has no details.
    Null,
    /// The RAM disk has no details.
    Malloc,
    /// A file or block device behind io_uring.
    Uring {
        /// As it was given at creation.
        filename: PathBuf,
        /// Whether the page cache is bypassed.
        direct: bool,
    },
    /// A file or block device behind Linux AIO.
    Aio {
        /// As it was given at creation.
        filename: PathBuf,
        /// Whether the page cache is bypassed.
        direct: bool,
        /// Whether the block size was given and not asked from the device.
        block_size_override: bool,
        /// Whether the file is open for reading only.
        readonly: bool,
        /// Whether unmap and write-zeroes were asked for.
        fallocate: bool,
    },
}

/// What is known of a bdev at a moment. Its UUID, kind and block size are fixed while it exists; its
/// size changes where [`Bdev::resize`] can change it.
#[derive(Clone, Debug)]
pub struct BdevInfo {
    /// Unique name in the service.
    pub name: String,
    /// Unique for ever.
    pub uuid: Uuid,
    /// Kind of bdev in SPDK's words; clients match on it ("AIO disk", "Malloc disk", ...).
    pub product_name: &'static str,
    /// Bytes in a block: 512 or 4096.
    pub block_size_bytes: u32,
    /// Size in blocks.
    pub num_blocks: u64,
    /// Whether a completed write may be lost with the power until a flush has completed.
    pub volatile_cache: bool,
    /// Whether an unmapped range reads as zeroes.
    pub unmap_reads_zero: bool,
    /// Writes of multiples of this many bytes, so aligned, are best; 0 = no preference.
    pub optimal_write_bytes: u32,
    /// Requests that are served.
    pub supported: IoTypes,
    /// What only this kind of bdev has.
    pub detail: BackendDetail,
}

impl BdevInfo {
    /// Size in bytes.
    #[inline]
    pub fn size_bytes(&self) -> u64 {
        self.num_blocks * u64::from(self.block_size_bytes)
    }

    /// Judges a request before anything is done about it.
    ///
    /// # Errors
    ///
    /// `Unsupported` when the device does not serve such requests; `InvalidRequest` when offset or
    /// length is not a multiple of the block size, when the range is empty or leaves the device,
    /// or when the buffers hold another number of bytes than the request says. Flushes have no
    /// range.
    #[inline]
    pub fn admit(&self, io: &BdevIo) -> Result<(), IoStatus> {
        self.admit_within(io, self.size_bytes())
    }

    /// The same with another size, for bdevs that can change theirs.
    #[inline]
    pub(crate) fn admit_within(&self, io: &BdevIo, size_bytes: u64) -> Result<(), IoStatus> {
        if !self.supported.allows(&io.op) {
            return Err(IoStatus::Unsupported);
        }
        let buffer_bytes = match &io.op {
            IoOp::Read { into } => into.len_bytes(),
            IoOp::Write { from, .. } => from.len_bytes(),
            IoOp::Unmap | IoOp::WriteZeroes { .. } => io.len_bytes,
            IoOp::Flush => return Ok(()),
        };
        let block_mask = u64::from(self.block_size_bytes) - 1;
        let aligned = (io.offset_bytes | io.len_bytes) & block_mask == 0;
        // The subtraction is on the side that cannot overflow: a hostile offset plus length could.
        let inside = io.offset_bytes <= size_bytes && io.len_bytes <= size_bytes - io.offset_bytes;
        if aligned && inside && io.len_bytes != 0 && buffer_bytes == io.len_bytes {
            Ok(())
        } else {
            Err(IoStatus::InvalidRequest)
        }
    }
}

/// What whoever waits for a bdev's answers has to allow for. Of a bdev over others: what all of them need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leeway {
    /// An array below gives up devices that do not answer, and answers in their place within this time;
    /// zero: nobody below does, and what is not answered may never be.
    pub answers_within: Duration,
    /// Requests are held back on purpose for now, as by a device that is suspended: that they are not
    /// answered says nothing of any device.
    pub waits: bool,
}

impl Leeway {
    /// That of a bdev over these.
    #[must_use]
    pub fn over<'a>(bases: impl IntoIterator<Item = &'a Arc<dyn Bdev>>) -> Self {
        bases.into_iter().fold(Self::default(), |all, base| {
            let Self { answers_within, waits } = base.leeway();
            Self {
                answers_within: all.answers_within.max(answers_within),
                waits: all.waits || waits,
            }
        })
    }
}

/// A block device: what any thread may know of it, and the way to its data path.
pub trait Bdev: Send + Sync + Debug {
    /// What is known of it now. Control path: channels keep what they need.
    fn info(&self) -> Arc<BdevInfo>;

    /// Its name now.
    fn name(&self) -> String {
        self.info().name.clone()
    }

    /// Gives it another size. Requests that arrive from then on are judged by it, on every channel.
    ///
    /// # Errors
    ///
    /// [`ResizeError`], and the size is what it was.
    fn resize(&self, _to: Resize) -> Result<(), ResizeError> {
        let info = self.info();
        Err(ResizeError::Fixed { name: info.name.clone(), product_name: info.product_name })
    }

    /// Whether a channel may be closed with requests under way: the bdev ends them as soon as it can, and counts
    /// them until then as [`Lingering`](crate::Lingering). Of any other bdev whoever gives a channel up has to
    /// keep it until they have ended ([`Lingering::keep`](crate::Lingering::keep)).
    fn ends_what_is_given_up(&self) -> bool {
        false
    }

    /// What whoever waits for its answers has to allow for, now. Bdevs over others hand on what those say.
    /// Also called on reactors, now and then.
    fn leeway(&self) -> Leeway {
        Leeway::default()
    }

    /// Opens the data path on the reactor that `cx` belongs to. Control path: it may allocate and
    /// make system calls.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says which resource could not be had.
    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError>;

    /// The same for those who bring requests in (load generators, network targets): what a counted bdev
    /// counts costs them no call.
    ///
    /// # Errors
    ///
    /// As [`open_channel`](Self::open_channel).
    fn open_client(&self, cx: &mut Cx) -> Result<ClientChannel, OpenError> {
        Ok(ClientChannel::Plain(self.open_channel(cx)?))
    }
}

/// A channel of someone who brings requests in.
#[derive(Debug)]
pub enum ClientChannel {
    /// The bdev's own.
    Plain(Box<dyn IoChannel>),
    /// With the counting in it.
    Counted(CountedChannel),
}

impl IoChannel for ClientChannel {
    #[inline]
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        match self {
            Self::Plain(channel) => channel.submit(io),
            Self::Counted(channel) => channel.submit(io),
        }
    }

    #[inline]
    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        match self {
            Self::Plain(channel) => channel.poll(done),
            Self::Counted(channel) => channel.poll(done),
        }
    }
}

/// One bdev on one reactor for one user. Not `Send`.
///
/// Dropping it with requests in flight is allowed: their completions are discarded, and their
/// buffers are kept alive until the kernel has let go of them.
pub trait IoChannel {
    /// Takes a request. Never blocks, and never completes it before the next [`poll`].
    ///
    /// A request that cannot be served (range, alignment, kind) is taken as well, and completes
    /// with the status that says so.
    ///
    /// [`poll`]: IoChannel::poll
    ///
    /// # Errors
    ///
    /// The request itself when the channel is full now: try again after `poll`.
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo>;

    /// Appends finished requests to `done`, in no particular order, and says how many. A request comes
    /// back with its own buffers, but for a read that a device below has been given up with: what it still
    /// may write to stays with it, and other buffers, of the same length in all, have the bytes. At most
    /// [`COMPLETIONS_PER_POLL_MAX`](crate::limits::COMPLETIONS_PER_POLL_MAX). Makes no system call:
    /// it takes what the engine's poller has put aside.
    fn poll(&mut self, done: &mut Vec<Completion>) -> usize;
}

impl Debug for dyn IoChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IoChannel")
    }
}

/// Why a channel could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel refused the reactor's engine (ring, AIO context, event descriptor).
    #[error(
        "bdev {bdev}: the {engine} engine of reactor {reactor} could not start: {source}; {hint}"
    )]
    Engine {
        /// Name of the bdev.
        bdev: String,
        /// "io_uring" or "aio".
        engine: &'static str,
        /// Index of the reactor.
        reactor: usize,
        /// What the kernel said.
        source: io::Error,
        /// What usually helps.
        hint: &'static str,
    },
    /// The engine has no room for another channel.
    #[error(
        "bdev {bdev}: the {engine} engine of reactor {reactor} already serves {channels_max} channels: close one or use more reactors"
    )]
    EngineFull {
        /// Name of the bdev.
        bdev: String,
        /// "io_uring" or "aio".
        engine: &'static str,
        /// Index of the reactor.
        reactor: usize,
        /// The bound.
        channels_max: usize,
    },
    /// The kernel refused to make the file known to the engine.
    #[error(
        "bdev {bdev}: {filename} could not be attached to the {engine} engine of reactor {reactor}: {source}",
        filename = filename.display()
    )]
    Attach {
        /// Name of the bdev.
        bdev: String,
        /// The file.
        filename: PathBuf,
        /// "io_uring" or "aio".
        engine: &'static str,
        /// Index of the reactor.
        reactor: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// The bdev is not in a state in which it can be used (stacked bdevs: stopped, offline).
    #[error("bdev {bdev}: not available: {reason}")]
    Unavailable {
        /// Name of the bdev.
        bdev: String,
        /// Why, and what would make it available.
        reason: String,
    },
}

impl OpenError {
    /// The number that SPDK would answer with, negative as there: -12 for `ENOMEM`.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Engine { source, .. } | Self::Attach { source, .. } => {
                -source.raw_os_error().unwrap_or(libc::EIO)
            }
            Self::EngineFull { .. } => -libc::ENOMEM,
            Self::Unavailable { .. } => -libc::ENODEV,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn info(block_size_bytes: u32, num_blocks: u64) -> BdevInfo {
        BdevInfo {
            name: "b0".into(),
            uuid: Uuid::nil(),
            product_name: "Null disk",
            block_size_bytes,
            num_blocks,
            volatile_cache: false,
            unmap_reads_zero: false,
            optimal_write_bytes: 0,
            supported: IoTypes::ALL,
            detail: BackendDetail::None,
        }
    }

    /// Numbers near the interesting ones: 0, blocks, the device's end, the end of `u64`.
    fn near() -> impl Strategy<Value = u64> {
        let anchors = prop::sample::select(vec![0, 512, 4096, 4096 * 64, 1 << 32, u64::MAX]);
        (anchors, -2_i64..3, prop::bool::ANY).prop_map(|(anchor, steps, whole)| {
            anchor.wrapping_add_signed(steps * if whole { 4096 } else { 1 })
        })
    }

    proptest! {
        /// Goal: a range is let through exactly if it is made of whole blocks of the device and
        /// not empty. Method: the same question in numbers that cannot overflow.
        #[test]
        fn ranges_are_judged_exactly(
            offset_bytes in near(),
            len_bytes in near(),
            small in prop::bool::ANY,
        ) {
            let info = info(if small { 512 } else { 4096 }, 64);
            let (block, size) = (i128::from(info.block_size_bytes), i128::from(info.size_bytes()));
            let (first, len) = (i128::from(offset_bytes), i128::from(len_bytes));
            let good = first % block == 0 && len % block == 0 && len > 0 && first + len <= size;
            let io = BdevIo::write_zeroes(0, offset_bytes, len_bytes, false);
            let expected = if good { Ok(()) } else { Err(IoStatus::InvalidRequest) };
            prop_assert_eq!(info.admit(&io), expected);
        }
    }

    /// Goal: what is not served is refused before its range is looked at; flushes have no range.
    #[test]
    fn kinds_are_judged_first() {
        let mut info = info(512, 8);
        info.supported = IoTypes::READ_ONLY;
        for (io, expected) in [
            (BdevIo::unmap(0, 1, 1), Err(IoStatus::Unsupported)),
            (BdevIo::write_zeroes(0, 0, 512, true), Err(IoStatus::Unsupported)),
            (BdevIo { offset_bytes: 77, len_bytes: 1 << 60, ..BdevIo::flush(0) }, Ok(())),
        ] {
            assert_eq!(info.admit(&io), expected, "{io:?}");
        }
    }
}
