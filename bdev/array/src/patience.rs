//! The clock by which devices are given up: it stands still while their shard does.
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
//! Not here: how long a device is waited for (`limits`), who asks (`shard`, `conduct`).

use crate::limits::LEASE_CHECK_NS;
use reactor::Ticks;

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

#[cfg(test)]
mod tests {
    use super::*;

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
