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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::tests::{spec, tell_and_unplug};
    use crate::coordinator::{CoordinatorSpec, Input};
    use crate::layout::{Layout, Level};
    use crate::superblock::{Shutdown, tests::sample};
    use std::collections::VecDeque;

    /// Goal: an array that is told to stop while it starts is recorded as stopped in order (R7). Method: the word
    /// comes after each number of answers to its first orders; the devices do all that they are asked.
    #[test]
    fn a_stop_during_the_start_is_recorded() {
        for answers_before in 0..12 {
            let superblock = Some(sample(Level::Raid5, Layout::LeftSymmetric, 3));
            let mut array = Coordinator::new(CoordinatorSpec { superblock, ..spec(3, 1) });
            let mut inputs = VecDeque::from([Input::Start]);
            let mut answers = 0;
            let mut is_told = false;
            loop {
                if !is_told && (answers == answers_before || inputs.is_empty()) {
                    inputs.push_front(Input::Stop);
                    is_told = true;
                }
                let Some(input) = inputs.pop_front() else { break };
                answers += 1;
                let orders = tell_and_unplug(&mut array, input);
                inputs.extend(orders.into_iter().filter_map(|order| match order {
                    Order::WriteSuperblock { slot } => {
                        Some(Input::SuperblockWritten { slot, ok: true })
                    }
                    Order::FlushMember { slot } => Some(Input::MemberFlushed { slot, ok: true }),
                    _ => None,
                }));
            }
            assert!(array.is_stopped(), "after {answers_before} answers");
            let recorded = array.superblocks().map(|superblock| superblock.shutdown);
            assert_eq!(recorded, Some(Shutdown::Clean), "after {answers_before} answers");
        }
    }
}
