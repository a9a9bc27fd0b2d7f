//! A bdev whose writes and flushes take time, for logs: SPDK's delay bdev, which `device` has, delays no
//! flush, and dm-delay's counts in milliseconds.
//!
//! ```text
//!   submit --> base, done at once      poll --> those that are due: the base's answer and the time of its kind
//! ```
//!
//! For reactors that do not sleep: nothing wakes one for an answer that is due.
//!
//! Not here: reads, which are as fast as the base.

use std::sync::Arc;

use device::{Bdev, BdevInfo, BdevIo, Completion, IoChannel, IoOp, OpenError};
use reactor::{Cx, Ticks, TurnClock};

/// See the module.
#[derive(Debug)]
pub(crate) struct Slow {
    pub(crate) base: Arc<dyn Bdev>,
    pub(crate) write: Ticks,
    pub(crate) flush: Ticks,
}

impl Bdev for Slow {
    fn info(&self) -> Arc<BdevInfo> {
        self.base.info()
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        Ok(Box::new(SlowChannel {
            base: self.base.open_channel(cx)?,
            clock: cx.turn_clock(),
            write: self.write,
            flush: self.flush,
            taken: Vec::new(),
            waiting: Vec::new(),
        }))
    }
}

struct SlowChannel {
    base: Box<dyn IoChannel>,
    clock: TurnClock,
    write: Ticks,
    flush: Ticks,
    taken: Vec<Completion>,
    /// When each is due. A log has few requests at a time.
    waiting: Vec<(Ticks, Completion)>,
}

impl IoChannel for SlowChannel {
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        self.base.submit(io)
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let now = self.clock.now();
        self.base.poll(&mut self.taken);
        for completion in self.taken.drain(..) {
            let span = match completion.io.op {
                IoOp::Read { .. } => Ticks::ZERO,
                IoOp::Flush => self.flush,
                IoOp::Write { .. } | IoOp::Unmap | IoOp::WriteZeroes { .. } => self.write,
            };
            self.waiting.push((now + span, completion));
        }
        let before = done.len();
        done.extend(self.waiting.extract_if(.., |(at, _)| *at <= now).map(|(_, done)| done));
        done.len() - before
    }
}
