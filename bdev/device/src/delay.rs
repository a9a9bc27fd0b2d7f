//! The delay bdev: a slow disk, to see what an array does about one.
//!
//! It stands on any other bdev and is SPDK's delay bdev: reads and writes are done at once and
//! answered late, one in a hundred of them with the p99 latency, the others with the average one;
//! other requests are not delayed. As in SPDK answers of one sort stay in order, so after a latency
//! was lowered, later answers wait for those that still have the higher one.
//!
//! ```text
//!   submit -----------> base, done at once
//!                         |
//!   poll <-- queues <-----'  due: the time of the base's answer and the latency of its sort
//! ```
//!
//! A timer for the first answer that is due lets the reactor sleep until then (`due`).
//!
//! Invariants: R6 (an answer that waits counts as in flight; latencies are bounded).
//!
//! Not here: failures (`error`).

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reactor::{Cx, Ticks, TurnClock};
use uuid::Uuid;

use crate::bdev::{Bdev, BdevInfo, IoChannel, Leeway, OpenError};
use crate::due::Due;
use crate::io::{BdevIo, Completion, IoOp};
use crate::limits::{CHANNEL_IN_FLIGHT_MAX, COMPLETIONS_PER_POLL_MAX, DELAY_MICROS_MAX};
use crate::stacked::{Likeness, Slots, scramble};

/// Which latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Of most reads.
    AvgRead,
    /// Of one read in a hundred.
    P99Read,
    /// Of most writes.
    AvgWrite,
    /// Of one write in a hundred.
    P99Write,
}

impl Latency {
    /// All of them, in SPDK's order.
    pub const ALL: [Self; 4] = [Self::AvgRead, Self::P99Read, Self::AvgWrite, Self::P99Write];

    /// As SPDK's methods spell it.
    pub fn word(self) -> &'static str {
        match self {
            Self::AvgRead => "avg_read",
            Self::P99Read => "p99_read",
            Self::AvgWrite => "avg_write",
            Self::P99Write => "p99_write",
        }
    }

    /// The latency of a request; `draw` is from 0 to 99.
    fn of(op: &IoOp, draw: u64) -> Option<Self> {
        match (op, draw) {
            (IoOp::Read { .. }, 0) => Some(Self::P99Read),
            (IoOp::Read { .. }, _) => Some(Self::AvgRead),
            (IoOp::Write { .. }, 0) => Some(Self::P99Write),
            (IoOp::Write { .. }, _) => Some(Self::AvgWrite),
            (IoOp::Flush | IoOp::Unmap | IoOp::WriteZeroes { .. }, _) => None,
        }
    }
}

/// What a delay bdev is made from.
#[derive(Clone, Debug)]
pub struct DelaySpec {
    /// Unique name in the service.
    pub name: String,
    /// Drawn at random when absent.
    pub uuid: Option<Uuid>,
    /// What it stands on.
    pub base: Arc<dyn Bdev>,
    /// Latencies in microseconds, in the order of [`Latency::ALL`].
    pub latencies_us: [u64; 4],
}

/// Why a latency is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelayError {
    /// Most requests would be slower than the slowest.
    #[error(
        "bdev {name}: the p99 latency of {kind}s, {p99_us} us, is below the average, {avg_us} us: give at least the average"
    )]
    P99BelowAverage {
        /// Name of the bdev.
        name: String,
        /// "read" or "write".
        kind: &'static str,
        /// The average.
        avg_us: u64,
        /// The refused value.
        p99_us: u64,
    },
    /// Longer than anyone should wait.
    #[error("bdev {name}: {what} latency {micros} us: give at most {} (an hour)", DELAY_MICROS_MAX)]
    TooLong {
        /// Name of the bdev.
        name: String,
        /// Which.
        what: &'static str,
        /// The refused value.
        micros: u64,
    },
}

impl DelayError {
    /// The number that SPDK would answer with, negative as there.
    pub fn errno(&self) -> i32 {
        -libc::EINVAL
    }
}

/// A bdev that answers late.
#[derive(Debug)]
pub struct DelayBdev {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    likeness: Likeness,
    base: Arc<dyn Bdev>,
    /// In microseconds, in the order of [`Latency::ALL`].
    latencies_us: [AtomicU64; 4],
    channels: AtomicU64,
}

impl DelayBdev {
    /// Makes the device.
    ///
    /// # Errors
    ///
    /// [`DelayError`] for latencies that make no sense.
    pub fn create(spec: DelaySpec) -> Result<Arc<Self>, DelayError> {
        let DelaySpec { name, uuid, base, latencies_us } = spec;
        let [avg_read, p99_read, avg_write, p99_write] = latencies_us;
        for (kind, avg_us, p99_us) in
            [("read", avg_read, p99_read), ("write", avg_write, p99_write)]
        {
            if p99_us < avg_us {
                return Err(DelayError::P99BelowAverage { name, kind, avg_us, p99_us });
            }
        }
        for (latency, micros) in Latency::ALL.into_iter().zip(latencies_us) {
            check_micros(&name, latency, micros)?;
        }
        let likeness = Likeness::new(name, uuid, "delay");
        let latencies_us = latencies_us.map(AtomicU64::new);
        let channels = AtomicU64::new(0);
        Ok(Arc::new(Self { shared: Arc::new(Shared { likeness, base, latencies_us, channels }) }))
    }

    /// Sets one latency, of requests that the base answers from now on. As in SPDK it is not compared
    /// with the others, so that they can be changed one after the other in any order.
    ///
    /// # Errors
    ///
    /// When it is too long.
    pub fn set_latency(&self, latency: Latency, micros: u64) -> Result<(), DelayError> {
        check_micros(&self.shared.likeness.name, latency, micros)?;
        self.shared.latencies_us[latency as usize].store(micros, Ordering::Relaxed);
        Ok(())
    }

    /// One latency, in microseconds.
    #[must_use]
    pub fn latency_us(&self, latency: Latency) -> u64 {
        self.shared.latencies_us[latency as usize].load(Ordering::Relaxed)
    }

    /// The bdev that it stands on.
    #[must_use]
    pub fn base(&self) -> &Arc<dyn Bdev> {
        &self.shared.base
    }
}

fn check_micros(name: &str, latency: Latency, micros: u64) -> Result<(), DelayError> {
    if micros <= DELAY_MICROS_MAX {
        return Ok(());
    }
    Err(DelayError::TooLong { name: name.to_owned(), what: latency.word(), micros })
}

impl Bdev for DelayBdev {
    fn info(&self) -> Arc<BdevInfo> {
        Arc::new(self.shared.likeness.of(&self.shared.base.info()))
    }

    fn leeway(&self) -> Leeway {
        self.shared.base.leeway()
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        Ok(Box::new(DelayChannel {
            base: self.shared.base.open_channel(cx)?,
            due: Due::of_reactor(cx),
            clock: cx.turn_clock(),
            // Channels draw differently, and every run draws the same.
            seed: scramble(self.shared.channels.fetch_add(1, Ordering::Relaxed)),
            drawn: 0,
            shared: Arc::clone(&self.shared),
            slots: Slots::new(),
            queues: std::array::from_fn(|_| VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX)),
            prompt: VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX),
            taken: Vec::with_capacity(COMPLETIONS_PER_POLL_MAX),
            in_flight: 0,
        }))
    }
}

struct DelayChannel {
    shared: Arc<Shared>,
    base: Box<dyn IoChannel>,
    due: Rc<Due>,
    clock: TurnClock,
    seed: u64,
    drawn: u64,
    /// The submitter's token, and the latency.
    slots: Slots<(u64, Option<Latency>)>,
    /// Answers that wait, by latency.
    queues: [VecDeque<(Ticks, Completion)>; 4],
    /// Answers that need not wait.
    prompt: VecDeque<Completion>,
    /// Room for one poll of the base.
    taken: Vec<Completion>,
    /// Requests between `submit` and `poll`, wherever they are.
    in_flight: usize,
}

impl DelayChannel {
    /// Puts what the base has answered into its queue.
    fn queue(&mut self, now: Ticks) {
        for mut completion in self.taken.drain(..) {
            let (token, latency) = self.slots.take(completion.io.token);
            completion.io.token = token;
            match latency {
                None => self.prompt.push_back(completion),
                Some(latency) => {
                    let micros = self.shared.latencies_us[latency as usize].load(Ordering::Relaxed);
                    let at = now + Ticks::from_micros(micros);
                    self.queues[latency as usize].push_back((at, completion));
                }
            }
        }
    }
}

impl IoChannel for DelayChannel {
    #[inline]
    fn submit(&mut self, mut io: BdevIo) -> Result<(), BdevIo> {
        if self.in_flight == CHANNEL_IN_FLIGHT_MAX {
            return Err(io);
        }
        let draw = scramble(self.seed ^ self.drawn) % 100;
        let token = io.token;
        io.token = self.slots.put((token, Latency::of(&io.op, draw)));
        self.base.submit(io).map_err(|mut io| {
            self.slots.take(io.token);
            io.token = token;
            io
        })?;
        self.drawn += 1;
        self.in_flight += 1;
        Ok(())
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let now = self.clock.now();
        self.base.poll(&mut self.taken);
        self.queue(now);
        let mut count = self.prompt.len().min(COMPLETIONS_PER_POLL_MAX);
        done.extend(self.prompt.drain(..count));
        for queue in &mut self.queues {
            while count < COMPLETIONS_PER_POLL_MAX
                && let Some((_, completion)) = queue.pop_front_if(|(at, _)| *at <= now)
            {
                done.push(completion);
                count += 1;
            }
            if let Some((at, _)) = queue.front() {
                self.due.note(*at);
            }
        }
        self.in_flight -= count;
        count
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use reactor::memory::IoBufMut;
    use reactor::{LocalReactor, PollMode, Poller, Reactors, ReactorsConfig};

    use super::*;
    use crate::{NullBdev, NullSpec};

    fn delay(latencies_us: [u64; 4]) -> Result<Arc<DelayBdev>, DelayError> {
        let spec =
            NullSpec { name: "n0".into(), uuid: None, block_size_bytes: 512, num_blocks: 1 << 20 };
        let base = NullBdev::create(spec).unwrap();
        DelayBdev::create(DelaySpec { name: "d0".into(), uuid: None, base, latencies_us })
    }

    fn read(token: u64) -> BdevIo {
        BdevIo::read(token, token * 512, IoBufMut::heap(512))
    }

    fn write(token: u64) -> BdevIo {
        BdevIo::write(token, token * 512, IoBufMut::heap(512).freeze(), false)
    }

    /// A reactor whose time is ours, far ahead of the real one.
    struct Rig {
        channel: Box<dyn IoChannel>,
        reactor: LocalReactor,
        now: Ticks,
    }

    impl Rig {
        fn new(bdev: &dyn Bdev) -> Self {
            let mut reactor = LocalReactor::new(1 << 20);
            let channel = bdev.open_channel(reactor.cx()).unwrap();
            let mut rig = Self { channel, reactor, now: Ticks::from_secs(1 << 20) };
            rig.after(Ticks::ZERO);
            rig
        }

        /// What comes back when `span` has gone by.
        fn after(&mut self, span: Ticks) -> Vec<Completion> {
            self.now += span;
            self.reactor.turn_at(self.now);
            let mut done = Vec::new();
            self.channel.poll(&mut done);
            // The end of the turn, in which a timer may be set.
            self.reactor.turn_at(self.now);
            done
        }

        /// Submits, and lets the base answer at once.
        fn submit(&mut self, io: BdevIo) {
            self.channel.submit(io).unwrap();
            assert!(self.after(Ticks::ZERO).is_empty());
        }
    }

    const US: fn(u64) -> Ticks = Ticks::from_micros;

    /// Goal: answers come when they are due, not before, in the right sort's time; what is neither
    /// read nor write is not delayed. Method: fake time; p99 as the average, so that all are alike.
    #[test]
    fn answers_come_when_they_are_due() {
        let bdev = delay([100, 100, 300, 300]).unwrap();
        let mut rig = Rig::new(&*bdev);
        rig.submit(read(1));
        rig.submit(write(2));
        rig.channel.submit(BdevIo::flush(3)).unwrap();
        rig.channel.submit(BdevIo::unmap(4, 0, 512)).unwrap();
        rig.channel.submit(BdevIo::write_zeroes(5, 0, 512, false)).unwrap();
        let tokens = |done: Vec<Completion>| -> Vec<u64> {
            done.into_iter().map(|done| done.io.token).collect()
        };
        assert_eq!(tokens(rig.after(Ticks::ZERO)), [3, 4, 5]);
        assert_eq!(tokens(rig.after(US(99))), [0; 0]);
        assert_eq!(tokens(rig.after(US(1))), [1]);
        assert_eq!(tokens(rig.after(US(199))), [0; 0]);
        assert_eq!(tokens(rig.after(US(1))), [2]);

        // As in SPDK: an answer waits for those of its sort before it.
        rig.submit(read(1));
        bdev.set_latency(Latency::AvgRead, 10).unwrap();
        bdev.set_latency(Latency::P99Read, 10).unwrap();
        rig.submit(read(2));
        assert_eq!(tokens(rig.after(US(99))), [0; 0]);
        assert_eq!(rig.after(US(1)).len(), 2);
    }

    /// Goal: one in a hundred is slow. Method: many reads, counted when the fast ones are due.
    #[test]
    fn one_in_a_hundred_is_slow() {
        let bdev = delay([10, 1000, 10, 1000]).unwrap();
        let mut rig = Rig::new(&*bdev);
        let (mut fast, mut slow) = (0, 0);
        for round in 0..200_u64 {
            for token in 0..100 {
                let io = if round % 2 == 0 { read(token) } else { write(token) };
                rig.channel.submit(io).unwrap();
            }
            assert!(rig.after(Ticks::ZERO).is_empty());
            fast += rig.after(US(10)).len();
            slow += rig.after(US(990)).len();
        }
        assert_eq!(fast + slow, 20_000);
        assert!((130..270).contains(&slow), "{slow} of 20000");
    }

    /// Goal: latencies that make no sense are refused in words; an update is not compared.
    #[test]
    fn latencies_are_judged() {
        for (latencies_us, text) in [
            (
                [100, 99, 0, 0],
                "bdev d0: the p99 latency of reads, 99 us, is below the average, 100 us: give at least the average",
            ),
            (
                [0, 0, 2, 1],
                "bdev d0: the p99 latency of writes, 1 us, is below the average, 2 us: give at least the average",
            ),
            (
                [0, 3_600_000_001, 0, 0],
                "bdev d0: p99_read latency 3600000001 us: give at most 3600000000 (an hour)",
            ),
        ] {
            let error = delay(latencies_us).unwrap_err();
            assert_eq!((error.to_string().as_str(), error.errno()), (text, -libc::EINVAL));
        }
        let bdev = delay([1, 2, 3, 4]).unwrap();
        bdev.set_latency(Latency::AvgWrite, 31_000_000).unwrap();
        assert_eq!(Latency::ALL.map(|latency| bdev.latency_us(latency)), [1, 2, 31_000_000, 4]);
        assert!(bdev.set_latency(Latency::AvgWrite, u64::MAX).is_err());
        assert_eq!(bdev.info().product_name, "delay");
        assert_eq!(bdev.base().info().name, "n0");
    }

    /// A user with one request in flight, who would let the reactor sleep for ever.
    struct Patient {
        channel: Box<dyn IoChannel>,
        done: Vec<Completion>,
        left: u64,
        report: Sender<Ticks>,
    }

    impl Poller for Patient {
        fn name(&self) -> &str {
            "patient"
        }

        fn poll(&mut self, cx: &mut Cx) -> usize {
            let count = self.channel.poll(&mut self.done);
            for done in self.done.drain(..) {
                self.left -= 1;
                match self.left {
                    0 => self.report.send(cx.now()).unwrap(),
                    _ => self.channel.submit(done.io).unwrap(),
                }
            }
            count
        }
    }

    /// Goal: a reactor sleeps while answers wait, and wakes for them. Method: an adaptive reactor
    /// with nothing else to do.
    #[test]
    fn a_sleeping_reactor_wakes_for_answers() {
        let config = ReactorsConfig {
            cores: "0".parse().unwrap(),
            poll: PollMode::Adaptive,
            buffer_bytes: 1 << 20,
        };
        let reactors = Reactors::start(config).unwrap();
        let handle = reactors.handles()[0].clone();
        let (report, end) = channel();
        let bdev = delay([20_000; 4]).unwrap();
        handle.send(move |cx| {
            let mut channel = bdev.open_channel(cx).unwrap();
            channel.submit(read(0)).unwrap();
            cx.add_poller(Box::new(Patient { channel, done: Vec::new(), left: 5, report }));
        });
        let begin = reactor::clock::now();
        let ended = end.recv_timeout(Duration::from_secs(20));
        assert!(ended.is_ok(), "a reactor slept through an answer: {:?}", handle.stats());
        assert!(reactor::clock::now() - begin >= Ticks::from_millis(99));
        let stats = handle.stats();
        assert!((1..50).contains(&stats.sleeps), "{stats:?}");
        reactors.stop();
    }
}
