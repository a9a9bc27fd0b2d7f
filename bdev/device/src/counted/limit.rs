//! Limits on what is done with a bdev in a second, over all reactors.
//!
//! ```text
//!   next: when the rate has been used up to      now < next - BURST: wait
//!   ------+------------------------------------> time
//!         `-- a request moves it on by cost / rate, from now if it lies behind
//! ```
//!
//! This is the generic cell rate algorithm, a token bucket that needs one number and no refilling: the
//! reactors share it without a lock, and each rate holds for all of them together, wherever the load is.
//! Reactors that ask at the same moment may each be let through once beyond it.
//!
//! Not here: where requests wait (`super`).

use std::sync::atomic::{AtomicU64, Ordering};

use reactor::Ticks;

use super::stats::IoKind;
use crate::limits::LIMIT_BURST_NS;

/// How much may be done in a second; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Reads and writes.
    pub rw_ios: u64,
    /// Bytes read and written.
    pub rw_bytes: u64,
    /// Bytes read.
    pub r_bytes: u64,
    /// Bytes written.
    pub w_bytes: u64,
}

impl Limits {
    /// Whether there is any.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        *self != Self::default()
    }
}

/// One rate.
#[derive(Debug, Default)]
struct Bucket {
    per_second: AtomicU64,
    /// When everything that was let through would have been done at this rate.
    next_ns: AtomicU64,
}

impl Bucket {
    /// The earliest time for the next request.
    fn opens_at(&self) -> Ticks {
        match self.per_second.load(Ordering::Relaxed) {
            0 => Ticks::ZERO,
            _ => Ticks(self.next_ns.load(Ordering::Relaxed).saturating_sub(LIMIT_BURST_NS)),
        }
    }

    fn charge(&self, cost: u64, now: Ticks) {
        let per_second = self.per_second.load(Ordering::Relaxed);
        if per_second == 0 {
            return;
        }
        let span_ns = u128::from(cost) * 1_000_000_000 / u128::from(per_second);
        let span_ns = u64::try_from(span_ns).unwrap_or(u64::MAX);
        let move_on = |next_ns: u64| Some(next_ns.max(now.0).saturating_add(span_ns));
        // It always moves, so there is no failure.
        let _ = self.next_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, move_on);
    }

    fn set(&self, per_second: u64) {
        self.per_second.store(per_second, Ordering::Relaxed);
        self.next_ns.store(0, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.per_second.load(Ordering::Relaxed)
    }
}

/// The limits of a bdev, shared by its reactors.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    rw_ios: Bucket,
    rw_bytes: Bucket,
    r_bytes: Bucket,
    w_bytes: Bucket,
}

impl Gate {
    pub(crate) fn set(&self, limits: Limits) {
        self.rw_ios.set(limits.rw_ios);
        self.rw_bytes.set(limits.rw_bytes);
        self.r_bytes.set(limits.r_bytes);
        self.w_bytes.set(limits.w_bytes);
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            rw_ios: self.rw_ios.get(),
            rw_bytes: self.rw_bytes.get(),
            r_bytes: self.r_bytes.get(),
            w_bytes: self.w_bytes.get(),
        }
    }

    /// Lets a request through and counts it, or says when to ask again.
    pub(crate) fn pass(&self, kind: IoKind, bytes: u64, now: Ticks) -> Result<(), Ticks> {
        let directed = match kind {
            IoKind::Read => &self.r_bytes,
            IoKind::Write => &self.w_bytes,
            // As in SPDK only what moves data has a rate.
            IoKind::Unmap | IoKind::Flush | IoKind::WriteZeroes => return Ok(()),
        };
        let costs = [(&self.rw_ios, 1), (&self.rw_bytes, bytes), (directed, bytes)];
        let opens_at = costs.iter().map(|(bucket, _)| bucket.opens_at()).max();
        if let Some(opens_at) = opens_at
            && opens_at > now
        {
            return Err(opens_at);
        }
        for (bucket, cost) in costs {
            bucket.charge(cost, now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many requests of 4 KiB get through in a second when they are asked for all the time.
    fn through(limits: Limits, kind: IoKind) -> u64 {
        let gate = Gate::default();
        gate.set(limits);
        let begin = Ticks::from_secs(100);
        let end = begin + Ticks::from_secs(1);
        let (mut now, mut count) = (begin, 0);
        while now < end && count < 1_000_000 {
            match gate.pass(kind, 4096, now) {
                Ok(()) => count += 1,
                Err(at) => now = at,
            }
        }
        count
    }

    /// Goal: each rate holds for what it is of, up to the burst.
    #[test]
    fn rates_hold() {
        let ios = Limits { rw_ios: 10_000, ..Limits::default() };
        let reads = Limits { r_bytes: 4096 * 1000, ..Limits::default() };
        let both = Limits { rw_bytes: 4096 * 5000, r_bytes: 4096 * 2000, ..Limits::default() };
        let unlimited = 1_000_000;
        for (limits, kind, rate) in [
            (ios, IoKind::Read, 10_000),
            (ios, IoKind::Write, 10_000),
            (ios, IoKind::Flush, unlimited),
            (reads, IoKind::Read, 1000),
            (reads, IoKind::Write, unlimited),
            (both, IoKind::Read, 2000),
            (both, IoKind::Write, 5000),
            (Limits::default(), IoKind::Read, unlimited),
        ] {
            let count = through(limits, kind);
            let most = rate + rate * LIMIT_BURST_NS / 1_000_000_000 + 1;
            assert!(count >= rate && count <= most, "{limits:?} {kind:?}: {count}");
        }
    }

    /// Goal: time without requests is not saved up.
    #[test]
    fn an_idle_hour_is_no_credit() {
        let gate = Gate::default();
        gate.set(Limits { rw_ios: 1000, ..Limits::default() });
        let now = Ticks::from_secs(3600);
        let at_once = (0..100).take_while(|_| gate.pass(IoKind::Read, 512, now).is_ok()).count();
        assert!(at_once <= 3, "{at_once}");
    }

    #[test]
    fn limits_can_be_read_and_taken_back() {
        let gate = Gate::default();
        let limits = Limits { rw_ios: 1, rw_bytes: 2, r_bytes: 3, w_bytes: 4 };
        gate.set(limits);
        assert_eq!(gate.limits(), limits);
        assert!(limits.is_limited());
        assert!(gate.pass(IoKind::Read, 4096, Ticks(5)).is_ok());
        assert!(gate.pass(IoKind::Read, 4096, Ticks(5)).is_err());
        gate.set(Limits::default());
        assert!(gate.pass(IoKind::Read, 4096, Ticks(5)).is_ok());
    }
}
