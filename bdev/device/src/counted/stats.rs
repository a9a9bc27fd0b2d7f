//! What has been done with a bdev, as numbers: those of one reactor, and sums of them.
//!
//! ```text
//!   completion --> Meter (one per bdev and reactor, written there only) --message--> IoStats
//! ```
//!
//! Requests that were done count by kind, with their bytes; those that failed count by status, as in
//! SPDK. Latencies are the time that requests were in flight.
//!
//! Not here: who asks (the service), the channel that counts (`super`).

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use reactor::{Cx, Latencies, Ticks};

use super::histogram::{Histogram, HistogramSpec};
use crate::due::Due;
use crate::io::{Completion, IoOp, IoStatus};

/// What a request asked for, without what it carries. In the order of [`IoOp`], which makes one number
/// of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoKind {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Flushes.
    Flush,
    /// Unmaps.
    Unmap,
    /// Write-zeroes.
    WriteZeroes,
}

impl IoKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Read, Self::Write, Self::Flush, Self::Unmap, Self::WriteZeroes];

    /// That of a request.
    #[inline]
    pub(crate) fn of(op: &IoOp) -> Self {
        match op {
            IoOp::Read { .. } => Self::Read,
            IoOp::Write { .. } => Self::Write,
            IoOp::Unmap => Self::Unmap,
            IoOp::Flush => Self::Flush,
            IoOp::WriteZeroes { .. } => Self::WriteZeroes,
        }
    }
}

/// Requests of one kind that were done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindStats {
    /// How many.
    pub ios: u64,
    /// The bytes of their ranges.
    pub bytes: u64,
    /// The time in flight, of all together, in nanoseconds.
    pub latency_ns: u64,
    /// The longest, in nanoseconds; 0 where there is none.
    pub max_latency_ns: u64,
    /// The shortest, in nanoseconds; the largest number where there is none.
    pub min_latency_ns: u64,
}

impl Default for KindStats {
    fn default() -> Self {
        Self { ios: 0, bytes: 0, latency_ns: 0, max_latency_ns: 0, min_latency_ns: u64::MAX }
    }
}

impl KindStats {
    #[inline]
    fn note_extreme(&mut self, latency: Ticks) {
        self.max_latency_ns = self.max_latency_ns.max(latency.0);
        self.min_latency_ns = self.min_latency_ns.min(latency.0);
    }

    fn merge(&mut self, other: &Self) {
        self.ios += other.ios;
        self.bytes += other.bytes;
        self.latency_ns += other.latency_ns;
        self.max_latency_ns = self.max_latency_ns.max(other.max_latency_ns);
        self.min_latency_ns = self.min_latency_ns.min(other.min_latency_ns);
    }
}

/// Requests that failed, by what they failed with. There is none that failed with `Ok`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusCounts([u64; IoStatus::ALL.len()]);

impl StatusCounts {
    /// Each status with how often it came.
    pub fn iter(&self) -> impl Iterator<Item = (IoStatus, u64)> {
        IoStatus::ALL.into_iter().zip(self.0)
    }

    fn merge(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

/// What has been done with a bdev.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoStats {
    kinds: [KindStats; IoKind::ALL.len()],
    /// Those of requests that were watched.
    latencies: [Latencies; IoKind::ALL.len()],
    /// What failed.
    pub failed: StatusCounts,
    /// The same by kind.
    failed_of: [StatusCounts; IoKind::ALL.len()],
}

impl IoStats {
    /// Requests of one kind that were done.
    #[must_use]
    pub fn of(&self, kind: IoKind) -> &KindStats {
        &self.kinds[kind as usize]
    }

    /// How long requests of one kind took that were done and watched: all of them while there is a limit
    /// or a histogram, else one at a time on each channel. Those hide stalls: what waits beside the watched
    /// one is not there (coordinated omission). The mean of all is their time over their count, always.
    #[must_use]
    pub fn latencies_of(&self, kind: IoKind) -> &Latencies {
        &self.latencies[kind as usize]
    }

    /// Requests of one kind that failed.
    #[must_use]
    pub fn failed_of(&self, kind: IoKind) -> &StatusCounts {
        &self.failed_of[kind as usize]
    }

    fn fail(&mut self, kind: IoKind, status: IoStatus) {
        self.failed.0[status as usize] += 1;
        self.failed_of[kind as usize].0[status as usize] += 1;
    }

    #[inline]
    fn note_latency(&mut self, kind: IoKind, latency: Ticks) {
        self.kinds[kind as usize].note_extreme(latency);
        self.latencies[kind as usize].record(latency.0);
    }

    /// Adds what another reactor has counted.
    pub fn merge(&mut self, other: &Self) {
        for (sum, kind) in self.kinds.iter_mut().zip(&other.kinds) {
            sum.merge(kind);
        }
        for (sum, latencies) in self.latencies.iter_mut().zip(&other.latencies) {
            sum.merge(latencies);
        }
        self.failed.merge(&other.failed);
        for (sum, failed) in self.failed_of.iter_mut().zip(&other.failed_of) {
            sum.merge(failed);
        }
    }
}

/// What is to begin again at nothing. SPDK's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Everything.
    All,
    /// The longest and shortest latencies.
    MaxMin,
    /// The failures.
    Error,
    /// Nothing.
    None,
}

/// A histogram, and what it is of.
#[derive(Debug)]
struct Recorder {
    histogram: Histogram,
    /// `None`: all kinds.
    kind: Option<IoKind>,
}

/// The numbers of one bdev on one reactor, where they are counted.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    now: RefCell<IoStats>,
    recorder: RefCell<Option<Recorder>>,
    channels: Cell<u32>,
    /// There once there have been limits.
    due: OnceCell<Rc<Due>>,
}

impl Meter {
    /// A channel was opened.
    pub(crate) fn join(&self) {
        self.channels.set(self.channels.get() + 1);
    }

    /// A channel has gone.
    pub(crate) fn leave(&self) {
        self.channels.set(self.channels.get() - 1);
    }

    /// Channels that are open.
    pub(crate) fn channels(&self) -> u32 {
        self.channels.get()
    }

    /// So many requests of each kind were in flight for so long.
    #[inline]
    pub(crate) fn pass_time(&self, in_flight: &[u32; IoKind::ALL.len()], span: Ticks) {
        let mut now = self.now.borrow_mut();
        for (kind, count) in now.kinds.iter_mut().zip(in_flight) {
            kind.latency_ns += u64::from(*count) * span.0;
        }
    }

    /// Requests that are in flight have come back.
    #[inline]
    pub(crate) fn record(&self, done: &[Completion], in_flight: &mut [u32; IoKind::ALL.len()]) {
        let mut now = self.now.borrow_mut();
        let mut rest = done;
        // Runs of one kind that were done are the rule, and cost one addition.
        while let Some(first) = rest.first() {
            let kind = IoKind::of(&first.io.op);
            let mut bytes = 0;
            let mut count = 0;
            for Completion { io, status } in rest {
                if IoKind::of(&io.op) != kind || !status.is_ok() {
                    break;
                }
                bytes += io.len_bytes;
                count += 1;
            }
            if count == 0 {
                now.fail(kind, first.status);
                in_flight[kind as usize] -= 1;
                rest = &rest[1..];
                continue;
            }
            in_flight[kind as usize] -= count as u32;
            now.kinds[kind as usize].ios += count as u64;
            now.kinds[kind as usize].bytes += bytes;
            rest = &rest[count..];
        }
    }

    /// How long one request took that was done.
    #[inline]
    pub(crate) fn note_latency(&self, kind: IoKind, latency: Ticks) {
        self.now.borrow_mut().note_latency(kind, latency);
    }

    /// A request that was looked at by itself has come back.
    pub(crate) fn record_one(&self, Completion { io, status }: &Completion, latency: Ticks) {
        let mut now = self.now.borrow_mut();
        let kind = IoKind::of(&io.op);
        if !status.is_ok() {
            now.fail(kind, *status);
            return;
        }
        let numbers = &mut now.kinds[kind as usize];
        numbers.ios += 1;
        numbers.bytes += io.len_bytes;
        numbers.latency_ns += latency.0;
        now.note_latency(kind, latency);
        if let Some(recorder) = &mut *self.recorder.borrow_mut()
            && recorder.kind.is_none_or(|wanted| wanted == kind)
        {
            recorder.histogram.record(latency.0);
        }
    }

    /// The numbers as they are, and as `reset` asks they begin again.
    pub(crate) fn snapshot(&self, reset: Reset) -> IoStats {
        let mut now = self.now.borrow_mut();
        let seen = now.clone();
        match reset {
            Reset::None => {}
            Reset::All => *now = IoStats::default(),
            Reset::Error => {
                let IoStats { failed, failed_of, .. } = IoStats::default();
                (now.failed, now.failed_of) = (failed, failed_of);
            }
            Reset::MaxMin => {
                for kind in &mut now.kinds {
                    let KindStats { max_latency_ns, min_latency_ns, .. } = KindStats::default();
                    *kind = KindStats { max_latency_ns, min_latency_ns, ..*kind };
                }
            }
        }
        seen
    }

    /// From now on requests may have to wait for a limit.
    pub(crate) fn expect_waits(&self, cx: &mut Cx) {
        self.due.get_or_init(|| Due::of_reactor(cx));
    }

    /// A request waits until then.
    pub(crate) fn note_due(&self, at: Ticks) {
        if let Some(due) = self.due.get() {
            due.note(at);
        }
    }

    /// Begins an empty histogram, or ends it.
    pub(crate) fn set_histogram(&self, spec: Option<(HistogramSpec, Option<IoKind>)>) {
        *self.recorder.borrow_mut() =
            spec.map(|(spec, kind)| Recorder { histogram: Histogram::new(spec), kind });
    }

    /// The histogram, if there is one.
    pub(crate) fn histogram(&self) -> Option<Histogram> {
        self.recorder.borrow().as_ref().map(|recorder| recorder.histogram.clone())
    }
}

#[cfg(test)]
mod tests {
    use reactor::memory::IoBufMut;

    use super::*;
    use crate::io::BdevIo;

    const MICRO: u64 = 1_000;

    fn done(io: BdevIo, status: IoStatus) -> Completion {
        io.complete(status)
    }

    fn read(len_bytes: usize, status: IoStatus) -> Completion {
        done(BdevIo::read(0, 0, IoBufMut::heap(len_bytes)), status)
    }

    fn write(status: IoStatus) -> Completion {
        done(BdevIo::write(0, 0, IoBufMut::heap(512).freeze(), false), status)
    }

    fn filled() -> Meter {
        let meter = Meter::default();
        meter.record_one(&read(4096, IoStatus::Ok), Ticks(5 * MICRO));
        let mut in_flight = [1, 1, 1, 0, 0];
        meter.pass_time(&in_flight, Ticks(2 * MICRO));
        let back = [
            read(512, IoStatus::Ok),
            write(IoStatus::MediaError),
            done(BdevIo::flush(0), IoStatus::Ok),
        ];
        meter.record(&back, &mut in_flight);
        assert_eq!(in_flight, [0; 5]);
        meter.note_latency(IoKind::Read, Ticks(2 * MICRO));
        meter
    }

    /// Goal: what was done counts by kind, what failed by status, and sums are sums.
    #[test]
    fn requests_are_counted_where_they_belong() {
        let seen = filled().snapshot(Reset::None);
        let read = KindStats {
            ios: 2,
            bytes: 4608,
            latency_ns: 7 * MICRO,
            max_latency_ns: 5 * MICRO,
            min_latency_ns: 2 * MICRO,
        };
        assert_eq!(*seen.of(IoKind::Read), read);
        assert_eq!(seen.of(IoKind::Write).ios, 0);
        assert_eq!(seen.of(IoKind::Flush).ios, 1);
        let failed: Vec<_> = seen.failed.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(failed, [(IoStatus::MediaError, 1)]);
        assert_eq!(*seen.failed_of(IoKind::Write), seen.failed);
        assert_eq!(*seen.failed_of(IoKind::Read), StatusCounts::default());
        let latencies = IoKind::ALL.map(|kind| seen.latencies_of(kind).count());
        assert_eq!(latencies, [2, 0, 0, 0, 0]);
        assert_eq!(seen.latencies_of(IoKind::Read).counts()[..4], [0, 1, 0, 1]);

        let mut sum = IoStats::default();
        sum.merge(&seen);
        assert_eq!(sum, seen);
        sum.merge(&seen);
        assert_eq!(sum.of(IoKind::Read).ios, 4);
        assert_eq!(sum.latencies_of(IoKind::Read).count(), 4);
        assert_eq!(sum.of(IoKind::Read).min_latency_ns, 2 * MICRO);
    }

    /// Goal: each word takes back what it names and nothing else.
    #[test]
    fn resets_take_back_what_they_name() {
        let after = |reset| {
            let meter = filled();
            let before = meter.snapshot(reset);
            assert_eq!(before, filled().snapshot(Reset::None));
            meter.snapshot(Reset::None)
        };
        assert_eq!(after(Reset::All), IoStats::default());
        assert_eq!(after(Reset::Error).failed, StatusCounts::default());
        assert_eq!(after(Reset::Error).of(IoKind::Read).ios, 2);
        let read = *after(Reset::MaxMin).of(IoKind::Read);
        let extremes = (read.ios, read.max_latency_ns, read.min_latency_ns);
        assert_eq!(extremes, (2, 0, u64::MAX));
    }

    /// Goal: a histogram begins empty, counts what it is of, and ends.
    #[test]
    fn histograms_count_what_they_are_of() {
        let meter = Meter::default();
        let spec = HistogramSpec::default();
        assert_eq!(meter.histogram(), None);
        for (kind, count) in [(None, 2), (Some(IoKind::Read), 1), (Some(IoKind::Unmap), 0)] {
            meter.set_histogram(Some((spec, kind)));
            for back in [read(512, IoStatus::Ok), read(512, IoStatus::Gone), write(IoStatus::Ok)] {
                meter.record_one(&back, Ticks(5 * MICRO));
            }
            assert_eq!(meter.histogram().unwrap().counts_up_to(&[]), [count]);
        }
        meter.set_histogram(None);
        assert_eq!(meter.histogram(), None);
    }
}
