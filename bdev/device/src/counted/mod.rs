//! Statistics, latency histograms and limits, around any bdev.
//!
//! ```text
//!   user --submit--> channel: how many are in flight --> the bdev's own channel
//!   user <--poll---- Meter: count, time in flight <------'
//!                      |
//!   control thread ----'  by message: sums over the reactors, reset, histogram on and off
//! ```
//!
//! A [`Counted`] is the bdev that it is around, with the same description. The numbers of a bdev on a
//! reactor are written and read on that reactor only: no lock, no shared cache line. They stay when
//! channels go.
//!
//! Not here: what the numbers are called outside (the service).

mod channel;
mod histogram;
mod limit;
mod stats;

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use reactor::{Cx, ReactorHandle};

pub use channel::CountedChannel;
pub use histogram::{Histogram, HistogramError, HistogramSpec};
pub use limit::Limits;
pub use stats::{IoKind, IoStats, KindStats, Reset, StatusCounts};

use crate::bdev::{Bdev, BdevInfo, ClientChannel, IoChannel, Leeway, OpenError};
use crate::resize::{Resize, ResizeError};
use crate::stacked::lock;
use limit::Gate;
use stats::Meter;

/// A histogram that is being recorded: what it looks like, and of which kind of requests it is.
type Recording = (HistogramSpec, Option<IoKind>);

/// A bdev, counted.
#[derive(Debug)]
pub struct Counted {
    inner: Arc<dyn Bdev>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Names the meters of this bdev on every reactor.
    key: u64,
    /// Whether requests are looked at one by one: there is a limit, or a histogram.
    closely: AtomicBool,
    gate: Gate,
    recording: Mutex<Option<Recording>>,
    /// Reactors that have a meter.
    reactors: Mutex<Vec<ReactorHandle>>,
}

impl Counted {
    /// Counts what is done with `inner` from now on.
    #[must_use]
    pub fn over(inner: Arc<dyn Bdev>) -> Arc<Self> {
        static NEXT_KEY: AtomicU64 = AtomicU64::new(1);
        let shared = Shared {
            key: NEXT_KEY.fetch_add(1, Ordering::Relaxed),
            closely: AtomicBool::new(false),
            gate: Gate::default(),
            recording: Mutex::new(None),
            reactors: Mutex::new(Vec::new()),
        };
        Arc::new(Self { inner, shared: Arc::new(shared) })
    }

    /// The bdev itself, of which nothing is counted.
    #[must_use]
    pub fn inner(&self) -> &Arc<dyn Bdev> {
        &self.inner
    }

    /// The numbers of each reactor that has ever had a channel: the reactor's index, channels that are
    /// open, and what was done. Then, as `reset` asks, they begin again.
    ///
    /// # Panics
    /// On a reactor's thread, which could not wait for the answers.
    #[must_use]
    pub fn stats(&self, reset: Reset) -> Vec<(usize, u32, IoStats)> {
        self.ask(move |meter| (meter.channels(), meter.snapshot(reset)))
            .into_iter()
            .map(|(index, (channels, stats))| (index, channels, stats))
            .collect()
    }

    /// What this reactor knows, for those who ask it for many bdevs at once: channels that are open, and
    /// what was done. `None` if it never had a channel.
    #[must_use]
    pub fn look(&self, cx: &Cx) -> Option<(u32, IoStats)> {
        let meter = cx.find_local::<Meter>(self.shared.key)?;
        Some((meter.channels(), meter.snapshot(Reset::None)))
    }

    /// Begins an empty histogram of one kind of requests, or all; one that is there already ends.
    ///
    /// # Errors
    ///
    /// When there can be no such histogram.
    pub fn start_histogram(
        &self,
        spec: HistogramSpec,
        kind: Option<IoKind>,
    ) -> Result<(), HistogramError> {
        self.record(Some((spec.check()?, kind)));
        Ok(())
    }

    /// Ends the histogram.
    pub fn stop_histogram(&self) {
        self.record(None);
    }

    fn record(&self, recording: Option<Recording>) {
        *lock(&self.shared.recording) = recording;
        self.choose_mode();
        self.ask(move |meter| meter.set_histogram(recording));
    }

    /// The histogram over all reactors; `None` unless one was started.
    #[must_use]
    pub fn histogram(&self) -> Option<Histogram> {
        let (spec, _) = (*lock(&self.shared.recording))?;
        let mut sum = Histogram::new(spec);
        for (_, part) in self.ask(Meter::histogram) {
            // One of another spec belongs to a histogram that was started meanwhile.
            if let Some(part) = part.filter(|part| part.spec() == spec) {
                sum.merge(&part);
            }
        }
        Some(sum)
    }

    /// Sets the limits, for requests that come from now on and those that wait.
    pub fn set_limits(&self, limits: Limits) {
        let key = self.shared.key;
        self.shared.gate.set(limits);
        for reactor in self.reactors() {
            // In order with the requests of the reactor; it also wakes those that wait there.
            reactor.send(move |cx| {
                if let Some(meter) = cx.find_local::<Meter>(key) {
                    meter.expect_waits(cx);
                }
            });
        }
        self.choose_mode();
    }

    fn choose_mode(&self) {
        let recording = lock(&self.shared.recording);
        let closely = recording.is_some() || self.limits().is_limited();
        self.shared.closely.store(closely, Ordering::Relaxed);
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.gate.limits()
    }

    fn reactors(&self) -> Vec<ReactorHandle> {
        lock(&self.shared.reactors).clone()
    }

    /// Asks the meters; reactors that have stopped say nothing.
    fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Meter) -> R + Send + Copy + 'static,
    ) -> Vec<(usize, R)> {
        let key = self.shared.key;
        let ask_one = |reactor: ReactorHandle| {
            let asked = reactor.call(move |cx| {
                let meter = cx.find_local::<Meter>(key)?;
                Some((cx.index(), question(&meter)))
            });
            asked.ok().flatten()
        };
        self.reactors().into_iter().filter_map(ask_one).collect()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let key = self.shared.key;
        for reactor in self.reactors() {
            reactor.send(move |cx| drop(cx.remove_local::<Meter>(key)));
        }
    }
}

impl Bdev for Counted {
    fn info(&self) -> Arc<BdevInfo> {
        self.inner.info()
    }

    fn resize(&self, resize: Resize) -> Result<(), ResizeError> {
        self.inner.resize(resize)
    }

    fn ends_what_is_given_up(&self) -> bool {
        self.inner.ends_what_is_given_up()
    }

    fn leeway(&self) -> Leeway {
        self.inner.leeway()
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        Ok(Box::new(self.open(cx)?))
    }

    fn open_client(&self, cx: &mut Cx) -> Result<ClientChannel, OpenError> {
        Ok(ClientChannel::Counted(self.open(cx)?))
    }
}

impl Counted {
    fn open(&self, cx: &mut Cx) -> Result<CountedChannel, OpenError> {
        let inner = self.inner.open_channel(cx)?;
        let meter = self.meter(cx);
        meter.join();
        Ok(CountedChannel::new(inner, meter, cx.turn_clock(), Arc::clone(&self.shared)))
    }

    fn meter(&self, cx: &mut Cx) -> Rc<Meter> {
        if let Some(meter) = cx.find_local::<Meter>(self.shared.key) {
            return meter;
        }
        let meter = cx.local::<Meter>(self.shared.key, |_| Meter::default());
        // First the reactor, then what is recorded: whoever starts a histogram in between asks it too.
        lock(&self.shared.reactors).push(cx.handle().clone());
        meter.set_histogram(*lock(&self.shared.recording));
        if self.limits().is_limited() {
            meter.expect_waits(cx);
        }
        meter
    }
}

#[cfg(test)]
mod tests;
