//! Counters of a reactor: one writer, any reader, never a lock.
//!
//! Owns: only the reactor's thread writes, so a plain load and store of a relaxed atomic is exact
//! and costs no more than a plain integer. Readers see each counter whole, but not all of them at
//! one moment.
//!
//! Not here: latencies (`latency`), names for Prometheus (the service).

use crate::clock::Ticks;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a reactor has done since it started.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ReactorStats {
    /// Turns of the loop.
    pub turns: u64,
    /// Nanoseconds of turns that made progress.
    pub busy_ticks: u64,
    /// Nanoseconds of turns that found nothing to do.
    pub idle_ticks: u64,
    /// Nanoseconds asleep in the kernel.
    pub sleep_ticks: u64,
    /// Messages that were run, or are running.
    pub messages: u64,
    /// Timers that were run, or are running.
    pub timers: u64,
    /// Sleeps in the kernel.
    pub sleeps: u64,
}

/// The counters where they are counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    turns: Counter,
    busy_ticks: Counter,
    idle_ticks: Counter,
    sleep_ticks: Counter,
    messages: Counter,
    timers: Counter,
    sleeps: Counter,
}

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    #[inline]
    fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// A turn begins.
    #[inline]
    pub(crate) fn turn(&self) {
        self.turns.add(1);
    }

    /// Time has gone by awake, in a turn that made progress or in one that did not.
    #[inline]
    pub(crate) fn awake(&self, span: Ticks, busy: bool) {
        if busy { &self.busy_ticks } else { &self.idle_ticks }.add(span.0);
    }

    #[inline]
    pub(crate) fn message(&self) {
        self.messages.add(1);
    }

    #[inline]
    pub(crate) fn timer(&self) {
        self.timers.add(1);
    }

    pub(crate) fn slept(&self, span: Ticks) {
        self.sleeps.add(1);
        self.sleep_ticks.add(span.0);
    }

    pub(crate) fn snapshot(&self) -> ReactorStats {
        ReactorStats {
            turns: self.turns.get(),
            busy_ticks: self.busy_ticks.get(),
            idle_ticks: self.idle_ticks.get(),
            sleep_ticks: self.sleep_ticks.get(),
            messages: self.messages.get(),
            timers: self.timers.get(),
            sleeps: self.sleeps.get(),
        }
    }
}
