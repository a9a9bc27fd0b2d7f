//! The clock by which devices are given up, and for how long they are waited for. It stands still while the
//! shard does.
//!
//! ```text
//!   turn --short--> turn --short--> turn ----long: the process was stopped----> turn
//!        all of it       all of it       a bit of it
//! ```
//!
//! A process that is stopped (SIGSTOP, a frozen cgroup, a debugger), or a reactor that a system call
//! blocks, finds everything overdue when it goes on, with the answers still to be fetched. So no turn
//! counts for more than the time after which the next one is due anyway: a device is given up only when
//! that many turns have asked it in vain.
//!
//! A device that stands on an array is waited for longer: that array waits for its own devices, gives up
//! those that hang, one after the other as long as it has parity for it, and answers then. Who is above it
//! began to wait no later, and must not give it up for what one of its devices has done:
//!
//! ```text
//!   disk       0        T                     T: the time that is asked for, where it is the same
//!   array 1    |--wait--|--answers, at most ANSWER_MARGIN_NS later, for each device in turn
//!   array 2    |--wait----------------------|--...
//! ```
//!
//! Not here: who asks (`member`, `shard`, `conduct`).

use crate::limits::{ANSWER_MARGIN_NS, LEASE_CHECK_NS};
use device::Leeway;
use reactor::Ticks;
use std::time::Duration;

/// See the module's notes.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    last: Ticks,
    waited_ns: u64,
}

impl Patience {
    /// The shard takes its turn.
    pub(crate) fn turn(&mut self, now: Ticks) {
        self.waited_ns += now.0.saturating_sub(self.last.0).min(LEASE_CHECK_NS);
        self.last = now;
    }

    /// The time in which devices could have been heard.
    pub(crate) fn now_ns(&self) -> u64 {
        self.waited_ns
    }
}

/// How long a request may be with a device that needs this leeway, if `io_timeout_ns` is asked for.
pub(crate) fn limit_ns(io_timeout_ns: u64, leeway: Leeway) -> u64 {
    io_timeout_ns.max(u64::try_from(leeway.answers_within.as_nanos()).unwrap_or(u64::MAX))
}

/// The leeway that an array needs which waits so long for a request, over devices that need the leeway
/// `below`, and goes on without `faults` of them. One more than those fails it, so there it need not be
/// waited for.
pub(crate) fn leeway(io_timeout_ns: u64, below: Leeway, faults: usize) -> Leeway {
    let faults = u64::try_from(faults).unwrap_or(u64::MAX);
    let waited_ns = limit_ns(io_timeout_ns, below).saturating_mul(faults);
    let answers_within = Duration::from_nanos(waited_ns.saturating_add(ANSWER_MARGIN_NS));
    Leeway { answers_within, ..below }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: who is above waits longer than who is below, in every depth, whatever either was asked for;
    /// a device of its own is waited for as long as was asked for. Method: towers of arrays.
    #[test]
    fn who_is_above_waits_longer() {
        let second_ns = 1_000_000_000;
        assert_eq!(limit_ns(7, Leeway::default()), 7);
        for times_s in [[30, 30, 30], [1, 30, 60], [60, 1, 0], [30, 0, 1]] {
            for faults in 1..=3 {
                let mut below = Leeway::default();
                for io_timeout_s in times_s {
                    let asked_ns = io_timeout_s * second_ns;
                    let waits_ns = limit_ns(asked_ns, below);
                    assert!(waits_ns >= asked_ns);
                    assert!(u128::from(waits_ns) >= below.answers_within.as_nanos());
                    let above = leeway(asked_ns, below, faults);
                    let answered_ns = u128::from(waits_ns) * faults as u128;
                    assert!(above.answers_within.as_nanos() >= answered_ns + 2_000_000_000);
                    below = above;
                }
            }
        }
        assert!(leeway(u64::MAX, Leeway::default(), 2).answers_within.as_secs() > 1 << 30);
        let waits = Leeway { waits: true, ..Leeway::default() };
        assert!(leeway(1, waits, 1).waits, "what waits below is waited for above");
    }

    /// Goal: turns as they should be count in full, and a gap for one of them; a clock that went back
    /// counts for nothing. Method: a clock by hand.
    #[test]
    fn a_gap_counts_as_one_turn() {
        let mut patience = Patience::default();
        patience.turn(Ticks(1 << 60));
        let start_ns = patience.now_ns();
        let mut now_ns = 1 << 60;
        for step_ns in [1, 1000, LEASE_CHECK_NS] {
            now_ns += step_ns;
            patience.turn(Ticks(now_ns));
        }
        assert_eq!(patience.now_ns() - start_ns, 1001 + LEASE_CHECK_NS);
        patience.turn(Ticks(now_ns + 3600 * 1_000_000_000));
        assert_eq!(patience.now_ns() - start_ns, 1001 + 2 * LEASE_CHECK_NS);
        patience.turn(Ticks(now_ns));
        assert_eq!(patience.now_ns() - start_ns, 1001 + 2 * LEASE_CHECK_NS);
    }
}
