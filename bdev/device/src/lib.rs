//! Block devices: [`Bdev`] and [`IoChannel`], and every backend.
//!
//! A bdev is a handle that any thread may hold, with a description whose size may change; its data path
//! is a channel, of which every user opens one per reactor. Requests go in by value and come back by value, with
//! their buffers ([`BdevIo`], [`Completion`]).
//!
//! ```text
//!             Arc<dyn Bdev>                            any thread
//!   ===============|================================== one reactor ====================
//!        Box<dyn IoChannel>   submit, poll             one per user
//!                  |
//!        +---------+----------+-------------------+
//!        |         |          |                   |
//!      null     malloc      uring                aio
//!    (nothing) (copies)  UringEngine          AioEngine   one per reactor and kind, with one
//!                        one ring             one context poller: one system call a turn
//!                             \                  /
//!                              files/  what both share: opening, sizes, the steps of a request
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`limits`] | every bound |
//! | `io`, `bdev` | requests and the two traits |
//! | [`blocking`] | requests from a control thread, which waits for them |
//! | `create` | why a bdev could not be created |
//! | `null` | completes everything at once |
//! | `malloc` | RAM disk |
//! | `files` | files and block devices, without an engine |
//! | `uring` | io_uring engine |
//! | `aio` | Linux AIO engine |
//! | `stacked` | what bdevs over another bdev have in common |
//! | `error` | fails when it is told to, over another bdev |
//! | `delay` | answers late, over another bdev |
//! | `flakey` | dm-flakey: is down now and then, over another bdev |
//! | `lag` | dm-delay: sends late, each kind of request to a place of its own |
//! | `mapped` | device-mapper's devices: a table over other bdevs, changed under load |
//! | `resize` | bdevs that change their size |
//! | `split` | a window of another bdev |
//! | [`nvme_tcp`] | the core of an NVMe/TCP initiator: a queue, its commands, bringing a controller up; no socket yet |
//! | `due` | waking a reactor for what becomes due |
//! | `lingering` | requests that devices still have of users who have given them up |
//! | `counted` | statistics, latency histograms and limits around any bdev |
//!
//! # Who owns a buffer
//!
//! The submitter until `submit`; the engine, in its table of requests in flight, until the kernel
//! has answered; the channel's queue until `poll`; then the submitter again. A channel that is
//! dropped leaves its requests in the engine's table; an engine that is dropped waits for the
//! kernel first. So no buffer is freed while the kernel may write to it.
//!
//! # Unsafe code
//!
//! Only in `uring/`, `aio/` and `malloc/memory.rs`.
//!
//! # Locks
//!
//! Three bdevs hold a mutex on the data path, all to rehearse failures: an error bdev while something
//! is injected into it, its volatile cache, and a flakey bdev while it is down. The count of lingering
//! requests is behind one too, which is taken when a device is given up and when it answers late.
//!
//! Not here: names and claims (the service), striping (array), retries of failed requests (the
//! array decides what a media error means).

#![deny(unsafe_code)]

mod aio;
mod bdev;
pub mod blocking;
#[cfg(test)]
mod conformance;
mod counted;
mod create;
mod delay;
mod due;
mod error;
mod files;
mod flakey;
mod io;
mod lag;
pub mod limits;
mod lingering;
mod malloc;
mod mapped;
mod null;
pub mod nvme_tcp;
mod resize;
mod split;
mod stacked;
mod uring;

pub use aio::{AioBdev, AioSpec};
pub use bdev::{
    BackendDetail, Bdev, BdevInfo, ClientChannel, IoChannel, IoTypes, Leeway, OpenError,
};
pub use counted::{
    Counted, CountedChannel, Histogram, HistogramError, HistogramSpec, IoKind, IoStats, KindStats,
    Limits, Reset, StatusCounts,
};
pub use create::{CreateError, uuid_or_new};
pub use delay::{DelayBdev, DelayError, DelaySpec, Latency};
pub use error::{
    ErrorBdev, ErrorSnapshot, ErrorSpec, Fault, InjectError, Injection, InjectionView, Victims,
};
pub use flakey::{FlakeyBdev, FlakeyByte, FlakeyFeatures, FlakeySpec, FlakeyWrites};
pub use io::{BdevIo, Completion, IoOp, IoStatus, Sgl};
pub use lag::{LagBdev, LagClass, LagSpec};
pub use lingering::{Lingering, lingering_requests, still_lingering};
pub use malloc::{MallocBdev, MallocSpec};
pub use mapped::{
    MappedBdev, MappedSpec, MappedState, MappedTable, Queueing, ResumeError, Segment,
    SegmentTarget, SuspendError, SuspendMode, TableError,
};
pub use null::{NullBdev, NullSpec};
pub use resize::{NewSize, Resize, ResizeError};
pub use split::{SplitBdev, SplitError, SplitSpec};
pub use uring::{UringBdev, UringSpec};
