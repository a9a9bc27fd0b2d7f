//! The lag bdev: dm-delay, which holds requests for a time of their class before it sends them, each
//! class to a place of its own.
//!
//! ```text
//!   read    --delay--> read.bdev  + offset
//!   flush   --delay--> flush.bdev          without one of its own: the write's, or the read's
//!   others  --delay--> write.bdev + offset      "                  the read's
//! ```
//!
//! Requests of one class leave in their order. A class without a delay sends at once. When it is told to
//! hurry (dm-delay before it is suspended) everything that is held leaves, and nothing is held.
//!
//! Invariants: R6 (a request that is held counts as in flight).
//!
//! Not here: SPDK's delay bdev, whose answers are late and not its requests (`delay`).

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use reactor::{Cx, Ticks, TurnClock};
use uuid::Uuid;

use crate::bdev::{Bdev, BdevInfo, IoChannel, Leeway, OpenError};
use crate::due::Due;
use crate::io::{BdevIo, Completion, IoOp};
use crate::limits::{CHANNEL_IN_FLIGHT_MAX, COMPLETIONS_PER_POLL_MAX};
use crate::mapped::{MappedTable, Segment, SegmentTarget, TableError};
use crate::stacked::{Likeness, Slots, Wakers};

/// Where requests of a class go, and when.
#[derive(Clone, Debug)]
pub struct LagClass {
    /// The bdev.
    pub bdev: Arc<dyn Bdev>,
    /// Where the lag bdev begins on it.
    pub offset_bytes: u64,
    /// How long requests are held.
    pub delay_ms: u32,
}

/// What a lag bdev is made from.
#[derive(Clone, Debug)]
pub struct LagSpec {
    /// Unique name in the service.
    pub name: String,
    /// Drawn at random when absent.
    pub uuid: Option<Uuid>,
    /// Its size.
    pub size_bytes: u64,
    /// For reads, and for all that has no class of its own.
    pub read: LagClass,
    /// For writes, and for flushes without a class of their own.
    pub write: Option<LagClass>,
    /// For flushes.
    pub flush: Option<LagClass>,
}

/// Places in the arrays of classes.
const READ: usize = 0;
const WRITE: usize = 1;
const FLUSH: usize = 2;

/// A bdev that is late.
#[derive(Debug)]
pub struct LagBdev {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    info: Arc<BdevInfo>,
    classes: [LagClass; 3],
    hurries: AtomicBool,
    /// Requests that are held, by class.
    held: [AtomicU64; 3],
    wakers: Wakers,
}

impl LagBdev {
    /// Makes the device.
    ///
    /// # Errors
    ///
    /// As for a table of one segment, for each class: what does not fit its bdev, or is not in blocks.
    pub fn create(spec: LagSpec) -> Result<Arc<Self>, TableError> {
        let LagSpec { name, uuid, size_bytes, read, write, flush } = spec;
        let write = write.unwrap_or_else(|| read.clone());
        let flush = flush.unwrap_or_else(|| write.clone());
        let classes = [read, write, flush];
        let mut info = Likeness::new(name, uuid, "Lagging disk").of(&classes[READ].bdev.info());
        for class in &classes {
            let target = SegmentTarget::Bdev {
                bdev: Arc::clone(&class.bdev),
                offset_bytes: class.offset_bytes,
            };
            let whole =
                Segment { start_bytes: 0, len_bytes: size_bytes, target, boundary_bytes: None };
            let below = MappedTable::new(vec![whole])?.describe(&info, false);
            info.block_size_bytes = info.block_size_bytes.max(below.block_size_bytes);
            info.volatile_cache |= below.volatile_cache;
        }
        let [write, flush] = [WRITE, FLUSH].map(|class| classes[class].bdev.info());
        info.supported = write.supported;
        info.supported.read = classes[READ].bdev.info().supported.read;
        info.supported.flush = flush.supported.flush;
        info.unmap_reads_zero = write.unmap_reads_zero;
        info.num_blocks = size_bytes / u64::from(info.block_size_bytes);
        Ok(Arc::new(Self {
            shared: Arc::new(Shared {
                info: Arc::new(info),
                classes,
                hurries: AtomicBool::new(false),
                held: Default::default(),
                wakers: Wakers::default(),
            }),
        }))
    }

    /// Whether requests are sent at once, with all that are held: while a device above is suspended.
    pub fn hurry(&self, hurries: bool) {
        self.shared.hurries.store(hurries, Ordering::Relaxed);
        self.shared.wakers.wake();
    }

    /// Reads, writes and flushes that are held now.
    #[must_use]
    pub fn held(&self) -> [u64; 3] {
        self.shared.held.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

impl Bdev for LagBdev {
    fn info(&self) -> Arc<BdevInfo> {
        Arc::clone(&self.shared.info)
    }

    fn leeway(&self) -> Leeway {
        Leeway::over(self.shared.classes.iter().map(|class| &class.bdev))
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        let mut open = |class: usize| self.shared.classes[class].bdev.open_channel(cx);
        let bases = [open(READ)?, open(WRITE)?, open(FLUSH)?];
        Ok(Box::new(LagChannel {
            bases,
            due: Due::of_reactor(cx),
            clock: cx.turn_clock(),
            id: self.shared.wakers.join(cx.handle().waker()),
            shared: Arc::clone(&self.shared),
            slots: Slots::new(),
            queues: std::array::from_fn(|_| VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX)),
            ready: VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX),
            taken: Vec::with_capacity(COMPLETIONS_PER_POLL_MAX),
            in_flight: 0,
        }))
    }
}

struct LagChannel {
    shared: Arc<Shared>,
    bases: [Box<dyn IoChannel>; 3],
    due: Rc<Due>,
    clock: TurnClock,
    id: u64,
    /// The submitter's token, and how its offset was shifted.
    slots: Slots<(u64, u64)>,
    /// Requests that are held, with the time at which they leave, by class.
    queues: [VecDeque<(Ticks, BdevIo)>; 3],
    ready: VecDeque<Completion>,
    /// Room for one poll of a base.
    taken: Vec<Completion>,
    /// Requests between `submit` and `poll`, wherever they are.
    in_flight: usize,
}

impl LagChannel {
    fn send(&mut self, class: usize, mut io: BdevIo) -> Result<(), BdevIo> {
        let shift = match io.op {
            IoOp::Flush => 0,
            _ => self.shared.classes[class].offset_bytes,
        };
        let token = io.token;
        io.token = self.slots.put((token, shift));
        io.offset_bytes += shift;
        self.bases[class].submit(io).map_err(|mut io| {
            self.slots.take(io.token);
            io.token = token;
            io.offset_bytes -= shift;
            io
        })
    }

    /// Sends what is due.
    fn release(&mut self) {
        let (now, hurries) = (self.clock.now(), self.shared.hurries.load(Ordering::Relaxed));
        for class in [READ, WRITE, FLUSH] {
            while let Some((at, io)) =
                self.queues[class].pop_front_if(|(at, _)| hurries || *at <= now)
            {
                if let Err(io) = self.send(class, io) {
                    self.queues[class].push_front((at, io));
                    break;
                }
                self.shared.held[class].fetch_sub(1, Ordering::Relaxed);
            }
            if let Some((at, _)) = self.queues[class].front() {
                self.due.note((*at).max(now));
            }
        }
    }
}

impl IoChannel for LagChannel {
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        if self.in_flight == CHANNEL_IN_FLIGHT_MAX {
            return Err(io);
        }
        let class = match io.op {
            IoOp::Read { .. } => READ,
            IoOp::Flush => FLUSH,
            IoOp::Write { .. } | IoOp::Unmap | IoOp::WriteZeroes { .. } => WRITE,
        };
        let delay_ms = u64::from(self.shared.classes[class].delay_ms);
        if let Err(refused) = self.shared.info.admit(&io) {
            self.ready.push_back(io.complete(refused));
        } else if self.queues[class].is_empty()
            && (delay_ms == 0 || self.shared.hurries.load(Ordering::Relaxed))
        {
            self.send(class, io)?;
        } else {
            let at = self.clock.now() + Ticks::from_millis(delay_ms);
            self.queues[class].push_back((at, io));
            self.shared.held[class].fetch_add(1, Ordering::Relaxed);
        }
        self.in_flight += 1;
        Ok(())
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        for class in [READ, WRITE, FLUSH] {
            self.bases[class].poll(&mut self.taken);
            for mut completion in self.taken.drain(..) {
                let (token, shift) = self.slots.take(completion.io.token);
                completion.io.token = token;
                completion.io.offset_bytes -= shift;
                self.ready.push_back(completion);
            }
        }
        self.release();
        let count = self.ready.len().min(COMPLETIONS_PER_POLL_MAX);
        done.extend(self.ready.drain(..count));
        self.in_flight -= count;
        count
    }
}

impl Drop for LagChannel {
    fn drop(&mut self) {
        self.shared.wakers.leave(self.id);
        for (queue, held) in self.queues.iter().zip(&self.shared.held) {
            held.fetch_sub(queue.len() as u64, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use reactor::memory::IoBufMut;

    use super::*;
    use crate::IoStatus;
    use crate::conformance::backends::{DEVICE_BYTES, memory};
    use crate::conformance::rig::{Rig, buffer_of};

    const SIZE_BYTES: u64 = 1 << 20;

    fn class(bdev: &Arc<dyn Bdev>, offset_bytes: u64, delay_ms: u32) -> LagClass {
        LagClass { bdev: Arc::clone(bdev), offset_bytes, delay_ms }
    }

    fn lag(read: LagClass, write: Option<LagClass>) -> Result<Arc<LagBdev>, TableError> {
        let (name, uuid, size_bytes, flush) = ("l0".into(), None, SIZE_BYTES, None);
        LagBdev::create(LagSpec { name, uuid, size_bytes, read, write, flush })
    }

    /// Goal: each class goes to its own place. Method: reads and writes of different bdevs, with offsets.
    #[test]
    fn classes_have_places() {
        let (from, to) = (memory(512), memory(512));
        Rig::new(&*from).write(4096 + 512, &[1; 512]);
        let lag = lag(class(&from, 4096, 0), Some(class(&to, 8192, 0))).unwrap();
        assert_eq!(lag.info().size_bytes(), SIZE_BYTES);
        let mut rig = Rig::new(&*lag);
        rig.write(512, &[2; 512]);
        assert_eq!(rig.read(512, 512), [1; 512]);
        assert_eq!(Rig::new(&*to).read(8192 + 512, 512), [2; 512]);
        let done = rig.run(BdevIo::read(7, SIZE_BYTES, IoBufMut::heap(512)));
        assert_eq!((done.status, done.io.token), (IoStatus::InvalidRequest, 7));
    }

    /// Goal: requests are held for the time of their class, are counted while they are, and leave at once
    /// when there is a hurry. Method: writes with an hour's delay, reads with 10 ms.
    #[test]
    fn requests_are_held() {
        let disk = memory(512);
        let lag = lag(class(&disk, 0, 10), Some(class(&disk, 0, 3_600_000))).unwrap();
        let mut rig = Rig::new(&*lag);
        for token in 0..3 {
            rig.channel.submit(BdevIo::write(token, 0, buffer_of(&[9; 512]), false)).unwrap();
        }
        rig.channel.submit(BdevIo::flush(3)).unwrap();
        let begun = reactor::clock::now();
        rig.channel.submit(BdevIo::read(4, 0, IoBufMut::heap(512))).unwrap();
        assert_eq!(lag.held(), [1, 3, 1]);
        let done = rig.finish(1);
        assert_eq!(done[0].io.token, 4);
        assert!(reactor::clock::now() - begun >= Ticks::from_millis(9));
        assert_eq!(lag.held(), [0, 3, 1]);
        lag.hurry(true);
        assert_eq!(rig.finish(4).len(), 4);
        rig.write(0, &[8; 512]);
        assert_eq!(lag.held(), [0; 3]);
        lag.hurry(false);
        rig.channel.submit(BdevIo::flush(5)).unwrap();
        assert_eq!(lag.held(), [0, 0, 1]);
        drop(rig);
        assert_eq!(lag.held(), [0; 3]);
    }

    /// Goal: what does not fit is refused. Method: a write class that ends too early.
    #[test]
    fn classes_must_fit() {
        let disk = memory(512);
        let error = lag(class(&disk, 0, 0), Some(class(&disk, DEVICE_BYTES, 0))).unwrap_err();
        assert!(matches!(error, TableError::TooSmall { .. }), "{error}");
    }
}
