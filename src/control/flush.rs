//! Flushing one bdev from a control thread.
//!
//! Not here: which bdevs to flush, and when (`super`).

use std::sync::Arc;
use std::time::Duration;

use device::blocking::{self, BlockingError};
use device::{Bdev, BdevIo};
use reactor::ReactorHandle;

/// Flushes `bdev` on a reactor and waits for it, at most `limit`.
///
/// # Errors
///
/// [`BlockingError`]; what was written before may not be durable then.
pub fn flush(
    reactor: &ReactorHandle,
    bdev: &Arc<dyn Bdev>,
    limit: Duration,
) -> Result<(), BlockingError> {
    blocking::run_one(reactor, bdev, BdevIo::flush(0), limit).map(drop)
}

#[cfg(test)]
mod tests {
    use device::{Completion, IoChannel, IoStatus, IoTypes, MallocBdev, MallocSpec, OpenError};
    use reactor::{CpuSet, Cx, PollMode, Reactors, ReactorsConfig};

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
        fn info(&self) -> Arc<device::BdevInfo> {
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
        assert_eq!(error.to_string(), "bdev m0: a flush failed: media error");

        let limit = Duration::from_millis(20);
        let error = flush(reactor, &slow(None), limit).unwrap_err();
        assert_eq!(error.to_string(), "bdev m0: no answer within 20ms");
        reactors.stop();
    }
}
