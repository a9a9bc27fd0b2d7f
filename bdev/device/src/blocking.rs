//! Requests from a control thread, which waits for them: reading a superblock, flushing a device.
//!
//! ```text
//!   control thread --message--> reactor: opens a channel, adds a poller
//!        ^                                   | submits, polls, removes itself
//!        `-------- completions --------------'
//! ```
//!
//! Not here: anything fast. A channel and a poller are made for every call.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reactor::memory::{IoBuf, IoBufMut};
use reactor::{Cx, Poller, PollerId, ReactorHandle};

use crate::bdev::{Bdev, IoChannel, OpenError};
use crate::io::{BdevIo, Completion, IoOp, IoStatus};
use crate::lingering::Lingering;
use crate::stacked::lock;

/// Why requests were not done.
#[derive(Debug, thiserror::Error)]
pub enum BlockingError {
    /// There was no channel.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The device says no.
    #[error("bdev {name}: {what} failed: {status}")]
    Failed {
        /// Name of the bdev.
        name: String,
        /// What was asked for.
        what: String,
        /// What the device said.
        status: IoStatus,
    },
    /// The device, or the reactor, says nothing.
    #[error("bdev {name}: no answer within {limit:?}")]
    TimedOut {
        /// Name of the bdev.
        name: String,
        /// How long it was waited for.
        limit: Duration,
    },
}

/// Performs requests on a reactor and waits for all of them, at most `limit`. They come back in no
/// particular order, each with its status.
///
/// # Errors
///
/// When there is no channel, or no answer in time: what becomes of the requests is not known then, and
/// they linger (`lingering`) until the device answers.
pub fn run(
    reactor: &ReactorHandle,
    bdev: &Arc<dyn Bdev>,
    ios: Vec<BdevIo>,
    limit: Duration,
) -> Result<Vec<Completion>, BlockingError> {
    let (report, reported) = mpsc::sync_channel(1);
    let target = Arc::clone(bdev);
    let requests = ios.len();
    let given_up = Arc::<GivenUp>::default();
    let seen = Arc::clone(&given_up);
    reactor.send(move |cx| match target.open_channel(cx) {
        Ok(channel) => Batch::begin(cx, channel, ios, report, seen),
        Err(error) => tell(&report, Err(error)),
    });
    match reported.recv_timeout(limit) {
        Ok(answer) => Ok(answer?),
        // A reactor that has stopped drops the message, and the sender with it.
        Err(_) => {
            // Counted before the caller hears of it: he may be about to use the device again.
            *lock(&given_up.requests) = Some(Lingering::begin(bdev.info().uuid, requests));
            given_up.is_so.store(true, Ordering::Release);
            Err(BlockingError::TimedOut { name: bdev.info().name.clone(), limit })
        }
    }
}

/// Performs one request, which has to succeed.
///
/// # Errors
///
/// As [`run`], and when the device fails it.
pub fn run_one(
    reactor: &ReactorHandle,
    bdev: &Arc<dyn Bdev>,
    io: BdevIo,
    limit: Duration,
) -> Result<Completion, BlockingError> {
    let what = match io.op {
        IoOp::Read { .. } => format!("a read of {} bytes at {}", io.len_bytes, io.offset_bytes),
        IoOp::Write { .. } => format!("a write of {} bytes at {}", io.len_bytes, io.offset_bytes),
        IoOp::Flush => "a flush".to_owned(),
        IoOp::Unmap | IoOp::WriteZeroes { .. } => format!("zeroing {} bytes", io.len_bytes),
    };
    let mut done = run(reactor, bdev, vec![io], limit)?;
    match done.pop() {
        Some(completion) if completion.status.is_ok() => Ok(completion),
        other => Err(BlockingError::Failed {
            name: bdev.info().name.clone(),
            what,
            status: other.map_or(IoStatus::Aborted, |completion| completion.status),
        }),
    }
}

/// Reads bytes.
///
/// # Errors
///
/// As [`run_one`].
pub fn read(
    reactor: &ReactorHandle,
    bdev: &Arc<dyn Bdev>,
    offset_bytes: u64,
    len_bytes: usize,
    limit: Duration,
) -> Result<IoBuf, BlockingError> {
    let io = BdevIo::read(0, offset_bytes, IoBufMut::heap(len_bytes));
    let done = run_one(reactor, bdev, io, limit)?;
    let IoOp::Read { into } = done.io.op else { panic!("a read came back as {:?}", done.io.op) };
    let buffer = into.into_one().expect("it went out as one buffer");
    Ok(buffer.freeze())
}

/// Writes bytes and flushes them.
///
/// # Errors
///
/// As [`run_one`].
pub fn write_durably(
    reactor: &ReactorHandle,
    bdev: &Arc<dyn Bdev>,
    offset_bytes: u64,
    bytes: IoBuf,
    limit: Duration,
) -> Result<(), BlockingError> {
    run_one(reactor, bdev, BdevIo::write(0, offset_bytes, bytes, false), limit)?;
    run_one(reactor, bdev, BdevIo::flush(0), limit)?;
    Ok(())
}

type Report = SyncSender<Result<Vec<Completion>, OpenError>>;

fn tell(report: &Report, what: Result<Vec<Completion>, OpenError>) {
    // Nobody listens any more when it took too long.
    drop(report.try_send(what));
}

/// That the caller waits no longer, and what is left with the device then.
#[derive(Debug, Default)]
struct GivenUp {
    is_so: AtomicBool,
    requests: Mutex<Option<Lingering>>,
}

struct Batch {
    /// Until somebody else keeps it.
    channel: Option<Box<dyn IoChannel>>,
    /// What the channel has had no room for.
    requests: VecDeque<BdevIo>,
    pending: usize,
    done: Vec<Completion>,
    report: Report,
    given_up: Arc<GivenUp>,
    id: Rc<Cell<Option<PollerId>>>,
}

impl Batch {
    fn begin(
        cx: &mut Cx,
        channel: Box<dyn IoChannel>,
        ios: Vec<BdevIo>,
        report: Report,
        given_up: Arc<GivenUp>,
    ) {
        let id = Rc::default();
        let poller = Self {
            channel: Some(channel),
            pending: ios.len(),
            requests: ios.into(),
            done: Vec::new(),
            report,
            given_up,
            id: Rc::clone(&id),
        };
        id.set(Some(cx.add_poller(Box::new(poller))));
    }

    /// What the device has of it stays with it until it has let go.
    fn give_up(&mut self, cx: &mut Cx) {
        cx.remove_poller(self.id.get().expect("set before the first poll"));
        if let (Some(channel), Some(mut lingering)) =
            (self.channel.take(), lock(&self.given_up.requests).take())
        {
            lingering.ended(self.requests.len() + self.done.len());
            lingering.keep(cx, channel);
        }
    }
}

impl Poller for Batch {
    fn name(&self) -> &str {
        "blocking"
    }

    fn poll(&mut self, cx: &mut Cx) -> usize {
        if self.given_up.is_so.load(Ordering::Acquire) {
            self.give_up(cx);
            return 0;
        }
        let Some(channel) = &mut self.channel else { return 0 };
        while let Some(request) = self.requests.pop_front() {
            if let Err(request) = channel.submit(request) {
                self.requests.push_front(request);
                break;
            }
        }
        let progress = channel.poll(&mut self.done);
        if self.done.len() == self.pending {
            tell(&self.report, Ok(std::mem::take(&mut self.done)));
            self.pending = usize::MAX;
            cx.remove_poller(self.id.get().expect("set before the first poll"));
        }
        progress
    }

    fn can_sleep(&self) -> bool {
        // Only for the moment of a few requests, which is shorter than going to sleep.
        false
    }
}
