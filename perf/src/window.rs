//! The time in which a worker counts, and how much of it the thread really had: [`Window`] for all
//! of it, [`Slices`] for its undisturbed moments.
//!
//! On a shared machine a figure is worth something only if the thread had its core. The kernel
//! tells each thread how long it has been on a CPU, less what a hypervisor took away where that
//! is known; the rest of the time that the reactor was awake was stolen. The clock of
//! `CLOCK_THREAD_CPUTIME_ID` is the same account as the first number of `/proc/thread-self/schedstat`
//! and is brought up to date by the question, which the file is not (it lags by a timer tick).
//!
//! Where others compete for the core, the thread has it in turns of some milliseconds. So the
//! window is cut into slices of one millisecond, and the slices that were not disturbed are summed
//! up on their own: their figure is that of a core of one's own.
//!
//! ```text
//!   window  |------------------------------------------------------------------|
//!   thread  =========================            ===================       =====
//!   slices  | c | c | c | c | c |  disturbed  | c | c | c |  disturbed  | c |
//! ```
//!
//! Not here: what is done in that time (`worker`).

use reactor::{Cx, ReactorStats, Ticks, clock};
use rustix::time::{ClockId, clock_gettime};

/// A thread that had its core for less than this share of its awake time was disturbed. Noise of
/// the timer and of the machine's own work stays above it.
pub const CLEAN_CPU_SHARE: f64 = 0.985;

/// Figures of undisturbed moments say something if those were at least this share of the time.
pub const CLEAN_SHARE_MIN: f64 = 0.1;

/// Length of a slice: shorter than what the kernel's scheduler gives to a thread at a time
/// (about 3 ms), and so long that its two readings of the clocks cost nothing.
const SLICE: Ticks = Ticks::from_millis(1);

/// Taken on the reactor's thread when counting begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowOpening {
    at: Ticks,
    cpu: Ticks,
    stats: ReactorStats,
}

impl WindowOpening {
    /// Opens a window now. One system call.
    pub(crate) fn now(cx: &Cx) -> Self {
        Self { at: clock::now(), cpu: thread_cpu(), stats: cx.handle().stats() }
    }

    pub(crate) fn at(&self) -> Ticks {
        self.at
    }

    /// The window that ends now, on the same thread.
    pub(crate) fn close(&self, cx: &Cx) -> Window {
        self.until(&Self::now(cx))
    }

    fn until(&self, end: &Self) -> Window {
        let span = |from: u64, until: u64| Ticks(until) - Ticks(from);
        Window {
            wall: end.at - self.at,
            cpu: end.cpu - self.cpu,
            busy: span(self.stats.busy_ticks, end.stats.busy_ticks),
            asleep: span(self.stats.sleep_ticks, end.stats.sleep_ticks),
            turns: end.stats.turns - self.stats.turns,
        }
    }
}

/// Spans of one window.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Window {
    /// How long it was.
    pub(crate) wall: Ticks,
    /// How long the thread was on a CPU in it.
    pub(crate) cpu: Ticks,
    /// How long the reactor's turns made progress.
    pub(crate) busy: Ticks,
    /// How long the reactor slept because there was nothing to do.
    pub(crate) asleep: Ticks,
    /// Turns of the reactor.
    pub(crate) turns: u64,
}

impl Window {
    /// Share of the awake time in which the thread had a CPU: 1 is all of it.
    pub(crate) fn cpu_share(&self) -> f64 {
        share(self.cpu, self.wall - self.asleep)
    }

    /// Share of the time in which the reactor made progress.
    pub(crate) fn busy_share(&self) -> f64 {
        share(self.busy, self.wall)
    }

    /// Whether nobody took the core away to speak of.
    pub(crate) fn is_clean(&self) -> bool {
        self.cpu_share() >= CLEAN_CPU_SHARE
    }
}

/// At most 1: the two clocks are not read at the same moment.
fn share(part: Ticks, of: Ticks) -> f64 {
    if of == Ticks::ZERO { 0.0 } else { (part.0 as f64 / of.0 as f64).min(1.0) }
}

/// What was done in undisturbed slices.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Clean {
    pub(crate) wall: Ticks,
    pub(crate) ios: u64,
}

/// The slices of a window that is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slices {
    opening: WindowOpening,
    ios_before: u64,
    clean: Clean,
    /// End of the last slice that was disturbed.
    disturbed_until: Ticks,
}

impl Slices {
    /// The first slice begins with the window.
    pub(crate) fn begin(opening: WindowOpening) -> Self {
        let disturbed_until = Ticks::ZERO;
        Self { opening, ios_before: 0, clean: Clean::default(), disturbed_until }
    }

    /// Whether a request that was submitted then was under way while the core was away.
    #[inline]
    pub(crate) fn is_tainted(&self, submitted: Ticks) -> bool {
        submitted < self.disturbed_until
    }

    /// Whether the slice is old enough.
    #[inline]
    pub(crate) fn is_due(&self, now: Ticks) -> bool {
        now >= self.opening.at + SLICE
    }

    /// Ends the slice and says whether it was clean. `ios` is how many requests were counted since
    /// the window was opened.
    pub(crate) fn cut(&mut self, cx: &Cx, ios: u64) -> bool {
        self.cut_at(WindowOpening::now(cx), ios)
    }

    /// What the slices so far have brought.
    pub(crate) fn clean(&self) -> Clean {
        self.clean
    }

    fn cut_at(&mut self, end: WindowOpening, ios: u64) -> bool {
        let slice = self.opening.until(&end);
        let clean = slice.is_clean();
        if clean {
            self.clean.wall += slice.wall;
            self.clean.ios += ios - self.ios_before;
        } else {
            self.disturbed_until = end.at;
        }
        (self.opening, self.ios_before) = (end, ios);
        clean
    }
}

/// Time that the calling thread has been on a CPU since it began.
fn thread_cpu() -> Ticks {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative for a clock that counts from 0.
    Ticks::from_secs(time.tv_sec as u64) + Ticks::from_nanos(time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reactor::LocalReactor;

    /// Goal: a window's spans are those of the thread, and its undisturbed part is a part of it.
    /// Method: spin for 20 ms of CPU time.
    #[test]
    fn a_spinning_thread_has_its_cpu() {
        let mut local = LocalReactor::new(1 << 20);
        local.turn();
        let opening = WindowOpening::now(local.cx());
        let mut slices = Slices::begin(opening);
        let start = thread_cpu();
        let mut ios = 0;
        while thread_cpu() - start < Ticks::from_millis(20) {
            local.turn();
            ios += 3;
            if slices.is_due(local.cx().now()) {
                slices.cut(local.cx(), ios);
            }
        }
        slices.cut(local.cx(), ios);
        let clean = slices.clean();
        let window = opening.close(local.cx());
        assert!(window.cpu >= Ticks::from_millis(20) && window.turns > 1, "{window:?}");
        assert!(window.cpu_share() > 0.0 && window.cpu_share() <= 1.0);
        assert!(clean.wall <= window.wall && clean.ios <= ios, "{clean:?} of {window:?}");
        assert_eq!(Window::default().cpu_share(), 0.0);
    }

    /// Goal: only the slices with a core of their own are summed. Method: readings of three slices,
    /// of which the second lost a quarter of its time.
    #[test]
    fn disturbed_slices_are_left_out() {
        let reading = |at: u64, cpu: u64| WindowOpening {
            at: Ticks(at),
            cpu: Ticks(cpu),
            stats: ReactorStats::default(),
        };
        let mut slices = Slices::begin(reading(0, 0));
        assert!(slices.cut_at(reading(1000, 1000), 10));
        assert!(!slices.is_tainted(Ticks(1)));
        assert!(!slices.cut_at(reading(2000, 1750), 17));
        assert!(slices.cut_at(reading(3000, 2740), 28));
        assert_eq!(slices.clean, Clean { wall: Ticks(2000), ios: 21 });
        assert!(slices.is_tainted(Ticks(1999)) && !slices.is_tainted(Ticks(2000)));
    }

    #[test]
    fn sleep_is_not_stolen_time() {
        let window = Window {
            wall: Ticks(1000),
            cpu: Ticks(199),
            busy: Ticks(150),
            asleep: Ticks(800),
            turns: 1,
        };
        assert_eq!(window.cpu_share(), 0.995);
        assert_eq!(window.busy_share(), 0.15);
        assert!(window.is_clean());
        assert!(!Window { asleep: Ticks(700), ..window }.is_clean());
    }
}
