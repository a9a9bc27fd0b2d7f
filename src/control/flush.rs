//! Flushing one bdev from a control thread.
//!
//! A channel and a poller for one request: the poller submits it, waits for its completion, reports
//! and removes itself.
//!
//! Not here: which bdevs to flush, and when (`super`).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use device::{Bdev, BdevIo, Completion, IoChannel, IoStatus, OpenError};
use reactor::{Cx, Poller, PollerId, ReactorHandle};

/// Why a bdev is not known to be flushed.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// There was no channel to flush through.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The device says no.
    #[error("bdev {name:?}: the flush failed: {status:?}")]
    Failed {
        /// Name of the bdev.
        name: String,
        /// What the device said.
        status: IoStatus,
    },
    /// The device, or the reactor, says nothing.
    #[error("bdev {name:?}: the flush was not done within {limit:?}")]
    TimedOut {
        /// Name of the bdev.
        name: String,
        /// How long it was waited for.
        limit: Duration,
    },
}

/// Flushes `bdev` on a reactor and waits for it, at most `limit`.
///
/// # Errors
///
/// [`FlushError`]; what was written before may not be durable then.
pub fn flush(
    reactor: &ReactorHandle,
    bdev: &Arc<dyn Bdev>,
    limit: Duration,
) -> Result<(), FlushError> {
    let name = || bdev.info().name.clone();
    let (report, reported) = mpsc::sync_channel(1);
    let flushed = Arc::clone(bdev);
    reactor.send(move |cx| match flushed.open_channel(cx) {
        Ok(channel) => Flush::begin(cx, channel, report),
        Err(error) => tell(&report, Err(error)),
    });
    match reported.recv_timeout(limit) {
        Ok(Ok(IoStatus::Ok)) => Ok(()),
        Ok(Ok(status)) => Err(FlushError::Failed { name: name(), status }),
        Ok(Err(error)) => Err(error.into()),
        // A reactor that has stopped drops the message, and the sender with it.
        Err(_) => Err(FlushError::TimedOut { name: name(), limit }),
    }
}

type Report = SyncSender<Result<IoStatus, OpenError>>;

fn tell(report: &Report, what: Result<IoStatus, OpenError>) {
    // Nobody listens any more when it took too long.
    drop(report.try_send(what));
}

struct Flush {
    channel: Box<dyn IoChannel>,
    /// Until the channel has room for it.
    request: Option<BdevIo>,
    done: Vec<Completion>,
    report: Report,
    id: Rc<Cell<Option<PollerId>>>,
}

impl Flush {
    fn begin(cx: &mut Cx, channel: Box<dyn IoChannel>, report: Report) {
        let id = Rc::default();
        let request = Some(BdevIo::flush(0));
        let poller = Self { channel, request, done: Vec::new(), report, id: Rc::clone(&id) };
        id.set(Some(cx.add_poller(Box::new(poller))));
    }
}

impl Poller for Flush {
    fn name(&self) -> &str {
        "flush"
    }

    fn poll(&mut self, cx: &mut Cx) -> usize {
        if let Some(request) = self.request.take() {
            self.request = self.channel.submit(request).err();
        }
        let progress = self.channel.poll(&mut self.done);
        if let Some(completion) = self.done.pop() {
            tell(&self.report, Ok(completion.status));
            cx.remove_poller(self.id.get().expect("set before the first poll"));
        }
        progress
    }

    fn can_sleep(&self) -> bool {
        // Only for the moment of one flush, which is shorter than going to sleep.
        false
    }
}

#[cfg(test)]
mod tests {
    use device::{IoTypes, MallocBdev, MallocSpec};
    use reactor::{CpuSet, PollMode, Reactors, ReactorsConfig};

    use super::*;

    /// A bdev whose flushes take some polls, and then fail; or are never answered.
    #[derive(Debug)]
    struct Slow {
        inner: Arc<dyn Bdev>,
        answers: Option<IoStatus>,
    }

    struct SlowChannel {
        answers: Option<IoStatus>,
        taken: Vec<BdevIo>,
        polls: u32,
    }

    impl Bdev for Slow {
        fn info(&self) -> &device::BdevInfo {
            self.inner.info()
        }

        fn open_channel(&self, _cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
            Ok(Box::new(SlowChannel { answers: self.answers, taken: Vec::new(), polls: 0 }))
        }
    }

    impl IoChannel for SlowChannel {
        fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
            self.taken.push(io);
            Ok(())
        }

        fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
            self.polls += 1;
            let Some(status) = self.answers.filter(|_| self.polls > 3) else { return 0 };
            done.extend(self.taken.drain(..).map(|io| io.complete(status)));
            done.len()
        }
    }

    /// Goal: a flush that worked, failed, or is never answered is reported as what it is (R9).
    #[test]
    fn reports_what_the_device_says() {
        let reactors = Reactors::start(ReactorsConfig {
            cores: CpuSet::single(0),
            poll: PollMode::Adaptive,
            buffer_bytes: 2 << 20,
        })
        .unwrap();
        let reactor = &reactors.handles()[0];
        let spec =
            MallocSpec { name: "m0".into(), uuid: None, block_size_bytes: 512, num_blocks: 64 };
        let malloc: Arc<dyn Bdev> = MallocBdev::create(spec).unwrap();
        assert_eq!(malloc.info().supported, IoTypes::ALL);
        let limit = Duration::from_secs(20);
        flush(reactor, &malloc, limit).unwrap();
        flush(reactor, &malloc, limit).unwrap();

        let slow =
            |answers| -> Arc<dyn Bdev> { Arc::new(Slow { inner: Arc::clone(&malloc), answers }) };
        flush(reactor, &slow(Some(IoStatus::Ok)), limit).unwrap();
        let error = flush(reactor, &slow(Some(IoStatus::MediaError)), limit).unwrap_err();
        assert_eq!(error.to_string(), "bdev \"m0\": the flush failed: MediaError");

        let limit = Duration::from_millis(20);
        let error = flush(reactor, &slow(None), limit).unwrap_err();
        assert_eq!(error.to_string(), "bdev \"m0\": the flush was not done within 20ms");
        reactors.stop();
    }
}
