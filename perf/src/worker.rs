//! [`Worker`]: the poller that keeps a job's requests in flight on one reactor.
//!
//! ```text
//!            go            ramp over        limit or stop       all back
//!   Waiting ----> Ramp ---------------> Measure -----> Draining --------> Over
//!                   |  stop                              ^
//!                   '------------------------------------'
//!
//!   one turn:  channel.poll --> settle (count, inspect) --> prepare --> channel.submit
//! ```
//!
//! Owns: at most `io_depth` requests are in flight; in the steady state a request costs no
//! allocation, no lock and no system call. A request that the channel refused is kept as it is and
//! is submitted first in the next turn (its source has counted on it); while there is one, no other
//! is prepared.
//!
//! Not here: what the requests are (`source`), who starts and stops workers (`run`).

use crate::job::{Job, LatencyClock, Limit, OnError};
use crate::source::{Direction, Prepared, Source};
use crate::tally::{Counts, Gauge, Tally};
use crate::verify::Findings;
use crate::window::{Clean, Slices, Window, WindowOpening};
use device::limits::COMPLETIONS_PER_POLL_MAX;
use device::{BdevIo, ClientChannel, Completion, IoChannel, IoStatus};
use reactor::{Cx, Poller, Ticks, clock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

/// What all workers of a run look at once a turn.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    go: AtomicBool,
    stop: AtomicBool,
}

impl Signals {
    /// Everybody is ready: begin. Wake the reactors afterwards.
    pub(crate) fn go(&self) {
        self.go.store(true, Ordering::Release);
    }

    /// Take back what is in flight and end. Wake the reactors afterwards.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn is_go(&self) -> bool {
        self.go.load(Ordering::Acquire)
    }
}

/// The first request of a worker that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) direction: Direction,
    pub(crate) offset_bytes: u64,
    pub(crate) status: IoStatus,
}

/// Everything that a worker has to tell at its end.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Which of the run's workers it was.
    pub(crate) worker: usize,
    pub(crate) window: Window,
    /// The undisturbed part of the window.
    pub(crate) clean: Clean,
    pub(crate) read: Tally,
    pub(crate) write: Tally,
    /// Of all time, the ramp included.
    pub(crate) counts: Counts,
    pub(crate) fault: Option<Fault>,
    pub(crate) findings: Findings,
}

enum Phase {
    Waiting,
    Ramp { until: Ticks },
    Measure { opening: WindowOpening, until: Ticks, slices: Slices },
    Draining { window: Window, clean: Clean },
    Over,
}

struct Slot {
    submitted: Ticks,
    note: u64,
}

/// What a worker is made of, but for its source.
pub(crate) struct Post {
    pub(crate) worker: usize,
    pub(crate) channel: ClientChannel,
    pub(crate) ios: Vec<BdevIo>,
    /// Requests to make while measuring, unless it goes by the clock.
    pub(crate) budget: Option<u64>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) gauge: Arc<Gauge>,
    /// Has room for the outcomes of all workers.
    pub(crate) outcomes: SyncSender<Outcome>,
}

/// See the module's notes.
pub(crate) struct Worker<S> {
    post: Post,
    source: S,
    ramp: Ticks,
    runtime: Ticks,
    precise: bool,
    stop_on_error: bool,
    phase: Phase,
    /// Requests that may still be prepared.
    budget: u64,
    refused: Option<BdevIo>,
    in_flight: usize,
    slots: Vec<Slot>,
    done: Vec<Completion>,
    read: Tally,
    write: Tally,
    counts: Counts,
    fault: Option<Fault>,
}

impl<S: Source> Worker<S> {
    pub(crate) fn new(job: &Job, mut post: Post, source: S) -> Self {
        for (slot, io) in post.ios.iter_mut().enumerate() {
            io.token = slot as u64;
        }
        let slots = post.ios.iter().map(|_| Slot { submitted: Ticks::ZERO, note: 0 }).collect();
        Self {
            source,
            ramp: job.ramp,
            runtime: match job.limit {
                Limit::Time(runtime) => runtime,
                Limit::OnePass | Limit::Ios(_) | Limit::Bytes(_) => Ticks::MAX,
            },
            precise: job.clock == LatencyClock::Precise,
            stop_on_error: job.on_error == OnError::Stop,
            phase: Phase::Waiting,
            budget: u64::MAX,
            refused: None,
            in_flight: 0,
            slots,
            done: Vec::with_capacity(COMPLETIONS_PER_POLL_MAX),
            read: Tally::new(),
            write: Tally::new(),
            counts: Counts::default(),
            fault: None,
            post,
        }
    }

    /// Goes on to the next phase where it is time.
    fn advance(&mut self, cx: &Cx) {
        let now = cx.now();
        if matches!(self.phase, Phase::Waiting) && self.post.signals.is_go() {
            self.phase = Phase::Ramp { until: now + self.ramp };
        }
        match self.phase {
            Phase::Waiting | Phase::Draining { .. } | Phase::Over => {}
            Phase::Ramp { .. } if self.post.signals.is_stopped() => {
                let (window, clean) = (Window::default(), Clean::default());
                self.phase = Phase::Draining { window, clean };
            }
            Phase::Ramp { until } if now >= until => self.begin_to_measure(cx),
            Phase::Ramp { .. } => {}
            Phase::Measure { opening, until, .. } => {
                let spent = self.budget == 0 && self.is_quiet();
                if spent || now >= until || self.post.signals.is_stopped() {
                    let clean = self.cut_slice(cx);
                    self.phase = Phase::Draining { window: opening.close(cx), clean };
                }
            }
        }
    }

    fn begin_to_measure(&mut self, cx: &Cx) {
        self.budget = self.post.budget.unwrap_or(u64::MAX);
        let opening = WindowOpening::now(cx);
        let until = opening.at() + self.runtime;
        self.phase = Phase::Measure { opening, until, slices: Slices::begin(opening) };
    }

    /// Ends a slice of the window, which comes after the requests that have come back in this turn:
    /// those that waited while the core was away belong to the slice that was disturbed.
    fn end_slice(&mut self, cx: &Cx) {
        let full = self.read.is_full() || self.write.is_full();
        if let Phase::Measure { slices, .. } = &self.phase
            && (full || slices.is_due(cx.now()))
        {
            self.cut_slice(cx);
        }
    }

    fn cut_slice(&mut self, cx: &Cx) -> Clean {
        let Phase::Measure { slices, .. } = &mut self.phase else { return Clean::default() };
        let clean = slices.cut(cx, self.read.ios + self.write.ios);
        self.read.end_slice(clean);
        self.write.end_slice(clean);
        slices.clean()
    }

    /// Nothing is out.
    fn is_quiet(&self) -> bool {
        self.in_flight == 0 && self.refused.is_none()
    }

    #[inline]
    fn clock(&self, now: Ticks) -> Ticks {
        if self.precise { clock::now() } else { now }
    }

    /// Counts a request that has come back, and shows it to the source.
    #[inline]
    fn settle(&mut self, io: &BdevIo, status: IoStatus, now: Ticks) {
        self.in_flight -= 1;
        let slot = &self.slots[io.token as usize];
        let (submitted, note) = (slot.submitted, slot.note);
        let latency = self.clock(now) - submitted;
        let direction = Direction::of(&io.op);
        if status.is_ok() {
            let (tally, count) = match direction {
                Direction::Read => (&mut self.read, &mut self.counts.reads),
                Direction::Write => (&mut self.write, &mut self.counts.writes),
            };
            *count += 1;
            // Before that it is the ramp, and while draining it is too late to count.
            if let Phase::Measure { slices, .. } = &self.phase {
                tally.done(latency, slices.is_tainted(submitted));
            }
        } else {
            self.note_fault(Fault { direction, offset_bytes: io.offset_bytes, status });
        }
        self.source.inspect(io, note, status);
    }

    #[cold]
    fn note_fault(&mut self, fault: Fault) {
        match fault.direction {
            Direction::Read => self.counts.read_errors += 1,
            Direction::Write => self.counts.write_errors += 1,
        }
        self.fault.get_or_insert(fault);
        if self.stop_on_error {
            self.post.signals.stop();
        }
    }

    /// Prepares and submits `io`, or puts it aside. False when nothing more can be submitted now.
    #[inline]
    fn issue(&mut self, mut io: BdevIo, now: Ticks) -> bool {
        let closed = !matches!(self.phase, Phase::Ramp { .. } | Phase::Measure { .. });
        if closed || self.budget == 0 || self.refused.is_some() {
            self.post.ios.push(io);
            return false;
        }
        let slot = &mut self.slots[io.token as usize];
        match self.source.prepare(&mut io, &mut slot.note) {
            Prepared::Ready => {
                self.budget -= 1;
                self.submit(io, now)
            }
            Prepared::Wait => {
                self.post.ios.push(io);
                false
            }
            Prepared::Exhausted => {
                self.budget = 0;
                self.post.ios.push(io);
                false
            }
        }
    }

    // A call of its own would cost more than what is in it.
    #[inline(always)]
    fn submit(&mut self, io: BdevIo, now: Ticks) -> bool {
        let submitted = self.clock(now);
        self.slots[io.token as usize].submitted = submitted;
        match self.post.channel.submit(io) {
            Ok(()) => {
                self.in_flight += 1;
                true
            }
            Err(io) => {
                self.refused = Some(io);
                false
            }
        }
    }

    /// Submits what can be submitted beside what has just come back. Returns how many.
    #[inline]
    fn issue_idle(&mut self, now: Ticks) -> usize {
        let mut issued = 0;
        while let Some(io) = self.post.ios.pop() {
            if !self.issue(io, now) {
                break;
            }
            issued += 1;
        }
        issued
    }

    fn end(&mut self, window: Window, clean: Clean) {
        self.phase = Phase::Over;
        let outcome = Outcome {
            worker: self.post.worker,
            window,
            clean,
            read: std::mem::replace(&mut self.read, Tally::new()),
            write: std::mem::replace(&mut self.write, Tally::new()),
            counts: self.counts,
            fault: self.fault,
            findings: self.source.findings(),
        };
        // There is room; if nobody listens any more the run was given up.
        let _ = self.post.outcomes.try_send(outcome);
    }
}

impl<S: Source> Poller for Worker<S> {
    fn name(&self) -> &str {
        "perf"
    }

    fn poll(&mut self, cx: &mut Cx) -> usize {
        self.advance(cx);
        if matches!(self.phase, Phase::Waiting | Phase::Over) {
            return 0;
        }
        let now = cx.now();
        let finished = self.post.channel.poll(&mut self.done);
        let mut progress = finished;
        if let Some(io) = self.refused.take() {
            progress += usize::from(self.submit(io, now));
        }
        while let Some(Completion { io, status }) = self.done.pop() {
            self.settle(&io, status, now);
            self.issue(io, now);
        }
        progress += self.issue_idle(now);
        if finished > 0 {
            self.post.gauge.set(self.counts);
            self.end_slice(cx);
        }
        if let Phase::Draining { window, clean } = self.phase
            && self.is_quiet()
        {
            self.end(window, clean);
            progress += 1;
        }
        progress
    }

    fn can_sleep(&self) -> bool {
        match self.phase {
            // Whoever says go, or stop, wakes the reactor.
            Phase::Waiting | Phase::Over => true,
            // The device wakes it for what is in flight.
            _ => self.in_flight > 0 && self.refused.is_none(),
        }
    }
}
