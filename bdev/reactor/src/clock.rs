//! Time: [`Ticks`], and the one real clock of the project.
//!
//! Owns: time never goes back for one reader. Everything else takes the time as an argument.
//!
//! Not here: wall-clock time.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A moment, or a span: nanoseconds of the monotonic clock, counted from the first look at it in
/// this process. Sums and differences saturate, so [`Ticks::MAX`] means never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Ticks(pub u64);

impl Ticks {
    /// The first moment, and no time at all.
    pub const ZERO: Self = Self(0);
    /// Never.
    pub const MAX: Self = Self(u64::MAX);

    /// A span of nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A span of microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// A span of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// A span of seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Seconds with their fraction, for people and for metrics.
    pub fn as_secs_f64(self) -> f64 {
        Duration::from(self).as_secs_f64()
    }
}

impl Add for Ticks {
    type Output = Self;

    fn add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign for Ticks {
    fn add_assign(&mut self, span: Self) {
        *self = *self + span;
    }
}

impl Sub for Ticks {
    type Output = Self;

    /// The span from `earlier` to this moment; zero if `earlier` is not earlier.
    fn sub(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl From<Duration> for Ticks {
    fn from(span: Duration) -> Self {
        Self(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Ticks> for Duration {
    fn from(span: Ticks) -> Self {
        Self::from_nanos(span.0)
    }
}

impl fmt::Display for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", Duration::from(*self))
    }
}

/// The time now. For control code and tools; on a reactor ask `Cx::now`, which is read once a turn.
#[expect(clippy::disallowed_methods, reason = "this is the one real clock")]
pub fn now() -> Ticks {
    static START: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    // Whoever reads first starts the count; saturating, because another thread may have read its
    // own `now` a little earlier than the start.
    now.saturating_duration_since(*START.get_or_init(|| now)).into()
}

/// Holds back a reading that is earlier than the one before it.
///
/// The monotonic clock has been seen to go back on faulty hardware and under hypervisors (see the
/// notes in Rust's `std::time::Instant`). For deadlines it is safe to stand still until it
/// has caught up; to go back is not.
#[derive(Debug, Default)]
pub struct Guard {
    latest: Ticks,
}

impl Guard {
    /// The later of `reading` and everything that was seen before.
    #[inline]
    pub fn forward(&mut self, reading: Ticks) -> Ticks {
        self.latest = self.latest.max(reading);
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences_saturate() {
        assert_eq!(Ticks(5) - Ticks(3), Ticks(2));
        assert_eq!(Ticks(3) - Ticks(5), Ticks::ZERO);
        assert_eq!(Ticks::MAX + Ticks(1), Ticks::MAX);
        assert_eq!(Ticks::from_secs(u64::MAX), Ticks::MAX);
        let mut at = Ticks::from_millis(1);
        at += Ticks::from_micros(1);
        assert_eq!(at.as_nanos(), 1_001_000);
    }

    #[test]
    fn spans_convert_to_durations_and_back() {
        for span in [Ticks::ZERO, Ticks::from_micros(1), Ticks::from_secs(3), Ticks::MAX] {
            assert_eq!(Ticks::from(Duration::from(span)), span);
        }
        assert_eq!(Ticks::from(Duration::MAX), Ticks::MAX);
        assert_eq!(Ticks::from_millis(1500).to_string(), "1.5s");
        assert_eq!(Ticks::from_millis(1500).as_secs_f64(), 1.5);
    }

    #[test]
    fn a_clock_that_goes_back_is_held() {
        let mut guard = Guard::default();
        let seen: Vec<_> = [3, 5, 4, 5, 9].map(|t| guard.forward(Ticks(t)).0).into();
        assert_eq!(seen, [3, 5, 5, 5, 9]);
    }

    #[test]
    fn the_clock_runs() {
        let start = now();
        while now() <= start {
            std::hint::spin_loop();
        }
    }
}
