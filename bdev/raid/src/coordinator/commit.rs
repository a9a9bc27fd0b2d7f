//! Group commit of the dirty log: all marks that wait share one write and one flush.
//!
//! ```text
//!   Idle --something touched--> Writing --all written--> Flushing --flushed--> Idle, grants
//!                                | ^                        ^ |
//!                                | '-- header of a new log -|-'
//!                                '---- only clears ---------|----------------> Idle
//! ```
//!
//! The header of a log that was begun anew is written when all of its bits are there for good: what the device
//! held before, and is not overwritten when the power goes, would be taken for this log's.
//!
//! A region that is marked while a commit is under way belongs to the next one. A region pays only for
//! its first write after it was clean; a bit that is set already is durable, or its commit is known.
//!
//! Owns **R1**: a grant goes out only when the commit that carries the mark has been flushed, or the
//! policy says that the log does not count any more and the superblocks say so too.
//!
//! Not here: when bits are cleared (`flushes`).

use super::{Coordinator, OnLogFailure, Order, Orders};
use crate::dirty_log::{LogFailure, Touched};
use crate::limits::LOG_IO_BYTES_MAX;
use crate::region_map::RegionMap;
use std::collections::VecDeque;

/// Where the log's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Writing { pending: u32, failed: bool, flush: bool },
    Flushing,
}

/// A region that shards hold.
#[derive(Debug)]
struct Holder {
    holders: u32,
    /// The commit that carries its mark; 0 if it was marked long ago, in this life of the array.
    commit: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waiter {
    shard: usize,
    region: u64,
    commit: u64,
}

/// What was written to a log bdev since the coordinator was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogCounters {
    /// Commits with regions that were marked: written and flushed before anybody went on.
    pub mark_commits: u64,
    /// Commits in which regions were only cleared, which nobody waited for.
    pub clear_commits: u64,
    /// Leases that were not granted at once.
    pub waits: u64,
}

/// Commits of one log.
#[derive(Debug)]
pub(super) struct Commit {
    state: State,
    pub(super) counters: LogCounters,
    /// Number of the last commit that was begun.
    begun: u64,
    /// Number of the last one that is durable.
    durable: u64,
    /// Bits that were cleared are on the log bdev, and it was not flushed since. That costs a needless
    /// resync at worst, unless the array stops in order.
    unflushed: bool,
    waiting: VecDeque<Waiter>,
    holders: RegionMap<Holder>,
}

impl Commit {
    /// For shards that hold at most `leases` regions together.
    pub(super) fn new(leases: usize) -> Self {
        Self {
            state: State::Idle,
            counters: LogCounters::default(),
            begun: 0,
            durable: 0,
            unflushed: false,
            waiting: VecDeque::with_capacity(leases),
            holders: RegionMap::new(leases),
        }
    }

    /// Whether a shard holds the region, or waits for it.
    pub(super) fn is_held(&mut self, region: u64) -> bool {
        self.holders.get_mut(region).is_some()
    }

    /// Whether no shard holds a region, or waits for one.
    pub(super) fn holds_nothing(&self) -> bool {
        self.holders.is_empty()
    }

    /// Whether the log, all of which is written at a start, has been on its bdev for good since.
    pub(super) fn is_durable(&self) -> bool {
        self.durable > 0
    }

    /// Whether the log bdev has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Whether everything that was written to the log bdev is on it for good.
    pub(super) fn is_flushed(&self) -> bool {
        !self.unflushed
    }
}

impl Coordinator {
    pub(super) fn mark(&mut self, shard: usize, region: u64, orders: &mut Orders) {
        self.flushes.forget(region);
        self.delay_stop();
        let on_device = self.log.area().is_some();
        let was_clean = self.log.is_clean(region);
        self.log.mark(region);
        let next = self.commit.begun + 1;
        let commit = match self.commit.holders.get_mut(region) {
            Some(holder) => {
                holder.holders += 1;
                holder.commit
            }
            None => {
                let commit = match (on_device, was_clean) {
                    (true, true) => next,
                    // A log that was just resumed may be dirty in memory only: the first commit
                    // writes all of it.
                    (true, false) if self.commit.durable == 0 => 1,
                    (true, false) | (false, _) => 0,
                };
                let holder = Holder { holders: 1, commit };
                self.commit.holders.insert(region, holder).expect("leases are bounded per shard");
                commit
            }
        };
        self.commit.waiting.push_back(Waiter { shard, region, commit });
        self.grant(orders);
        // Whoever still waits keeps their order, so this one would be the last.
        let last = self.commit.waiting.back();
        let waits = last.is_some_and(|last| last.shard == shard && last.region == region);
        self.commit.counters.waits += u64::from(waits);
    }

    pub(super) fn release(&mut self, region: u64) {
        let holder = self.commit.holders.get_mut(region).expect("only what is held is released");
        holder.holders -= 1;
        if holder.holders > 0 {
            return;
        }
        self.commit.holders.remove(region);
        self.note_idle(region);
    }

    /// Lets those go whose mark is durable.
    pub(super) fn grant(&mut self, orders: &mut Orders) {
        if !self.ledger.is_running() || self.is_stopped() {
            return;
        }
        let durable = match (self.log_health.is_alive(), self.policy.log) {
            (true, _) => self.commit.durable,
            // What was marked before the failure may go on either way.
            (false, OnLogFailure::Block) => self.commit.durable,
            (false, OnLogFailure::Continue) if self.is_log_failure_on_record() => u64::MAX,
            (false, OnLogFailure::Continue) => self.commit.durable,
        };
        for _ in 0..self.commit.waiting.len() {
            let Some(waiter) = self.commit.waiting.pop_front() else { break };
            if waiter.commit <= durable {
                let Waiter { shard, region, .. } = waiter;
                orders.push_back(Order::Grant { shard, region });
            } else {
                self.commit.waiting.push_back(waiter);
            }
        }
    }

    /// Starts to write what was touched.
    pub(super) fn begin_commit(&mut self, orders: &mut Orders) {
        if !self.commit.is_idle() || !self.log_health.is_alive() {
            return;
        }
        let counters = &mut self.commit.counters;
        let (flush, count) = match self.log.touched() {
            Touched::Nothing => return,
            Touched::Cleared => (false, &mut counters.clear_commits),
            Touched::Marked => (true, &mut counters.mark_commits),
        };
        *count += 1;
        let mut pending = 0;
        while let Some(range) = self.log.take_touched(LOG_IO_BYTES_MAX) {
            let (offset_bytes, len_bytes) = (range.start, range.end - range.start);
            orders.push_back(Order::WriteLog { offset_bytes, len_bytes });
            pending += 1;
        }
        self.commit.begun += 1;
        self.commit.state = State::Writing { pending, failed: false, flush };
        if pending == 0 {
            self.write_header(orders);
        }
    }

    /// Ends the first commit of a log that was begun anew; says whether it is one.
    fn write_header(&mut self, orders: &mut Orders) -> bool {
        let Some(range) = self.log.take_header() else { return false };
        let (offset_bytes, len_bytes) = (range.start, range.end - range.start);
        orders.push_back(Order::WriteLog { offset_bytes, len_bytes });
        self.commit.state = State::Writing { pending: 1, failed: false, flush: true };
        true
    }

    pub(super) fn log_written(&mut self, ok: bool, orders: &mut Orders) {
        let State::Writing { pending, failed, flush } = &mut self.commit.state else {
            panic!("the log was written in state {:?}", self.commit.state);
        };
        *pending -= 1;
        *failed |= !ok;
        if *pending > 0 {
            return;
        }
        match (*failed, *flush) {
            (true, _) => {
                self.commit.state = State::Idle;
                self.log_failed(LogFailure::Write, orders);
            }
            (false, true) => {
                self.commit.state = State::Flushing;
                orders.push_back(Order::FlushLog);
            }
            (false, false) => {
                self.commit.state = State::Idle;
                self.commit.unflushed = true;
            }
        }
    }

    /// Makes sure of what was written without a flush.
    pub(super) fn flush_commits(&mut self, orders: &mut Orders) {
        if self.commit.is_idle() && self.commit.unflushed && self.log_health.is_alive() {
            self.commit.state = State::Flushing;
            orders.push_back(Order::FlushLog);
        }
    }

    pub(super) fn log_flushed(&mut self, ok: bool, orders: &mut Orders) {
        assert_eq!(self.commit.state, State::Flushing, "a flush of the log was answered");
        self.commit.state = State::Idle;
        if ok && self.write_header(orders) {
            return;
        }
        if ok {
            self.commit.durable = self.commit.begun;
            self.commit.unflushed = false;
            if self.ledger.is_caught_up() {
                self.ledger.log_is_durable();
            }
            self.grant(orders);
        } else {
            self.log_failed(LogFailure::Flush, orders);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitmap::Bitmap;
    use crate::coordinator::tests::{spec, tell, tell_and_unplug};
    use crate::coordinator::{CoordinatorSpec, Input};
    use crate::dirty_log::{DirtyLog, DiskArea, Regions, SyncOption};

    const REGIONS: u64 = 3 * 4096;
    const BLOCK_BYTES: u64 = 512;

    fn writes(orders: &Orders) -> Vec<(u64, u64)> {
        let write = |order: &Order| match *order {
            Order::WriteLog { offset_bytes, len_bytes } => Some((offset_bytes, len_bytes)),
            _ => None,
        };
        orders.iter().filter_map(write).collect()
    }

    fn granted(orders: &Orders) -> Vec<u64> {
        let grant = |order: &Order| match *order {
            Order::Grant { region, .. } => Some(region),
            _ => None,
        };
        orders.iter().filter_map(grant).collect()
    }

    /// A log on a device, all clean, that has been written once.
    fn array() -> Coordinator {
        let area = DiskArea::new(512, REGIONS);
        let mut array = Coordinator::new(CoordinatorSpec {
            log: DirtyLog::load(None, area, SyncOption::NoSync).log,
            regions: Regions::new(4096, 4096, REGIONS),
            stale: Bitmap::new(REGIONS, false),
            ..spec(4, 1)
        });
        let mut orders = tell_and_unplug(&mut array, Input::Start);
        while let Some(order) = orders.pop_front() {
            let answer = match order {
                Order::WriteLog { .. } => Input::LogWritten { ok: true },
                Order::FlushLog => Input::LogFlushed { ok: true },
                _ => continue,
            };
            orders.extend(tell_and_unplug(&mut array, answer));
        }
        assert!(array.commit.is_durable());
        array
    }

    /// Goal: all marks that wait share one write of the blocks they touch, and one flush; none is granted before that
    /// (R1); a region that is dirty costs nothing. Method: one mark, and while it is on its way 100 in two blocks
    /// that are not neighbours.
    #[test]
    fn marks_that_wait_share_one_commit() {
        let mut array = array();
        let before = array.log_counters();
        let mark = |region| Input::Mark { shard: 0, region };
        let orders = tell_and_unplug(&mut array, mark(5));
        assert_eq!(writes(&orders), [(1024, BLOCK_BYTES)]);
        assert!(granted(&orders).is_empty());
        let many: Vec<u64> = (100..150).chain(2 * 4096 + 100..2 * 4096 + 150).collect();
        for &region in &many {
            assert!(tell_and_unplug(&mut array, mark(region)).is_empty(), "region {region}");
        }
        assert_eq!(tell(&mut array, Input::LogWritten { ok: true }), [Order::FlushLog]);
        let orders = tell_and_unplug(&mut array, Input::LogFlushed { ok: true });
        assert_eq!(granted(&orders), [5]);
        let blocks = [(1024, BLOCK_BYTES), (1024 + 2 * BLOCK_BYTES, BLOCK_BYTES)];
        assert_eq!(writes(&orders), blocks);
        assert!(tell_and_unplug(&mut array, Input::LogWritten { ok: true }).is_empty());
        let orders = tell_and_unplug(&mut array, Input::LogWritten { ok: true });
        assert_eq!(orders, [Order::FlushLog]);
        let orders = tell_and_unplug(&mut array, Input::LogFlushed { ok: true });
        assert_eq!(granted(&orders), many);
        assert!(writes(&orders).is_empty());
        assert_eq!(array.log_counters().mark_commits, before.mark_commits + 2);

        tell_and_unplug(&mut array, Input::Release { region: 100 });
        let orders = tell_and_unplug(&mut array, mark(100));
        assert_eq!(granted(&orders), [100], "it is still dirty on the log");
        assert!(writes(&orders).is_empty());
    }
}
