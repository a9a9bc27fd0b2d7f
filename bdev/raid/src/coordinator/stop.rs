//! Coming to an end in order, so that nothing has to be resynced at the next start.
//!
//! ```text
//!   No --Stop--> Settling --no work, no change, no lease--> Flushing --members flushed, bits cleared-->
//!      Committing --log written and flushed--> Recording --superblocks say Clean--> Done
//! ```
//!
//! A lease that a shard asks for meanwhile leads back to Settling. Each step waits for what it needs and is looked at again at the end of every turn. A failure on the
//! way is handled as at any other time, and the stop goes on after it. An array that is broken records
//! nothing.
//!
//! Not here: ending host requests first (crate `array`).

use super::flushes::Purposes;
use super::{Coordinator, Order, Orders};

/// How far the stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    No,
    Settling,
    Flushing,
    Committing,
    Recording,
    Done,
}

impl Stop {
    pub(super) fn is_begun(self) -> bool {
        self != Self::No
    }
}

impl Coordinator {
    pub(super) fn begin_stop(&mut self) {
        if self.stop == Stop::No {
            self.stop = Stop::Settling;
        }
    }

    /// Whether the array is stopped in order.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop == Stop::Done
    }

    /// Goes as many steps as it can: nothing may follow that would call for another look.
    pub(super) fn advance_stop(&mut self, orders: &mut Orders) {
        loop {
            let before = self.stop;
            self.step_stop(orders);
            if self.stop == before {
                return;
            }
        }
    }

    fn step_stop(&mut self, orders: &mut Orders) {
        let settled = self.change.is_settled() || self.is_broken();
        match self.stop {
            Stop::No | Stop::Flushing | Stop::Done => {}
            Stop::Settling => {
                if !self.background.is_idle() {
                    self.abort_work(orders);
                }
                let quiet = self.background.is_idle() && self.flushes.is_idle();
                // Whoever waits for a lease of a broken array waits for ever.
                let released = self.commit.holds_nothing() || self.is_broken();
                // One that is still starting would say that it runs after it has said that it is stopped.
                let started = self.ledger.is_caught_up() || self.is_broken();
                if quiet && settled && released && started {
                    self.stop = Stop::Flushing;
                    self.flushes.want(Purposes { stop: true, ..Purposes::default() });
                    self.begin_flushes(orders);
                }
            }
            Stop::Committing => {
                let written = self.log.touched() == crate::dirty_log::Touched::Nothing;
                if written {
                    self.flush_commits(orders);
                }
                let durable = written && self.commit.is_flushed();
                if settled && self.commit.is_idle() && (durable || !self.log_health.is_alive()) {
                    self.stop = Stop::Recording;
                    self.record_stop(orders);
                }
            }
            Stop::Recording => {
                if self.is_broken() || (settled && self.ledger.is_settled()) {
                    self.stop = Stop::Done;
                    orders.push_back(Order::Stopped);
                }
            }
        }
    }

    /// The last flush round is over; a member that failed it is on its way out.
    pub(super) fn stop_flushed(&mut self, good: bool) {
        if self.stop != Stop::Flushing {
            return;
        }
        self.stop = if good || self.is_broken() { Stop::Committing } else { Stop::Settling };
    }

    /// A shard wants to write after all: what a member could not read is mended without a host's request.
    /// The stop begins again; if the superblocks may say `Clean` already, they say that the array runs
    /// before the shard may write.
    pub(super) fn delay_stop(&mut self) {
        match self.stop {
            Stop::No | Stop::Settling | Stop::Done => return,
            Stop::Flushing | Stop::Committing => {}
            Stop::Recording => self.ledger.started(),
        }
        self.stop = Stop::Settling;
    }

    fn record_stop(&mut self, orders: &mut Orders) {
        let in_sync_to_bytes = self.in_sync_to_bytes();
        self.ledger.stopped(in_sync_to_bytes);
        self.begin_superblocks(orders);
    }
}
