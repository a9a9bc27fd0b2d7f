//! [`WindowOpening`] and [`Window`]: the time in which a worker counted, and how much of it the
//! thread really had.
//!
//! On a shared machine a figure is worth something only if the thread had its core. The kernel
//! tells each thread how long it has been on a CPU, less what a hypervisor took away where that
//! is known; the rest of the time that the reactor was awake was stolen. The clock of
//! `CLOCK_THREAD_CPUTIME_ID` is the same account as the first number of `/proc/thread-self/schedstat`
//! and is brought up to date by the question, which the file is not (it lags by a timer tick).
//!
//! Not here: what is a clean window (`report`).

use reactor::{Cx, ReactorStats, Ticks};
use rustix::time::{ClockId, clock_gettime};

/// Taken on the reactor's thread when counting begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowOpening {
    at: Ticks,
    cpu: Ticks,
    stats: ReactorStats,
}

impl WindowOpening {
    /// Opens a window now. Two system calls' worth of time, once.
    pub(crate) fn now(cx: &Cx) -> Self {
        Self { at: cx.now(), cpu: thread_cpu(), stats: cx.handle().stats() }
    }

    pub(crate) fn at(&self) -> Ticks {
        self.at
    }

    /// The window that ends now, on the same thread.
    pub(crate) fn close(&self, cx: &Cx) -> Window {
        let stats = cx.handle().stats();
        Window {
            wall: cx.now() - self.at,
            cpu: thread_cpu() - self.cpu,
            busy: Ticks(stats.busy_ticks) - Ticks(self.stats.busy_ticks),
            asleep: Ticks(stats.sleep_ticks) - Ticks(self.stats.sleep_ticks),
            turns: stats.turns - self.stats.turns,
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
}

/// At most 1: the two clocks are not read at the same moment.
fn share(part: Ticks, of: Ticks) -> f64 {
    if of == Ticks::ZERO { 0.0 } else { (part.0 as f64 / of.0 as f64).min(1.0) }
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
    use reactor::{LocalReactor, clock};

    /// Goal: a window's spans are those of the thread. Method: spin for 20 ms of CPU time.
    #[test]
    fn a_spinning_thread_has_its_cpu() {
        let mut local = LocalReactor::new(1 << 20);
        local.turn();
        let opening = WindowOpening::now(local.cx());
        let start = thread_cpu();
        while thread_cpu() - start < Ticks::from_millis(20) {
            local.turn();
        }
        let turn_after = clock::now();
        local.turn_at(turn_after);
        let window = opening.close(local.cx());
        assert_eq!(window.wall, local.cx().now() - opening.at());
        assert!(window.cpu >= Ticks::from_millis(20) && window.turns > 1, "{window:?}");
        assert!(window.cpu_share() > 0.0 && window.cpu_share() <= 1.0);
        assert_eq!(Window::default().cpu_share(), 0.0);
    }

    #[test]
    fn sleep_is_not_stolen_time() {
        let window = Window {
            wall: Ticks(1000),
            cpu: Ticks(190),
            busy: Ticks(150),
            asleep: Ticks(800),
            turns: 1,
        };
        assert_eq!(window.cpu_share(), 0.95);
        assert_eq!(window.busy_share(), 0.15);
    }
}
