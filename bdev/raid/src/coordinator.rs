//! The coordinator of an array: a pure machine that owns the dirty log and runs the resync.
//!
//! Shards ask it to mark regions and give them back; it answers with grants and with orders to resync:
//!
//! ```text
//!   shard --- Mark(region) ------> coordinator       log.mark, then the grant        (R1)
//!   shard <-- Grant(region) ------
//!   shard --- Release(region) --->                   last holder gone: log.clear     (R2)
//!   shard --- WriteFailed(region)>                   region leaves sync, is resynced
//!
//!   resync:   idle --> region r: SyncRegion(r) to every shard --> every shard answers
//!              ^                                                     | all well: r in sync, told to all
//!              +---- no region left, or degraded <-------------------+ next region
//! ```
//!
//! It owns the array-wide half of **R1** and **R2**. Time and shards are arguments.
//!
//! Not here: a log on a device, superblocks and member failures; how messages travel (crate `array`).

use crate::dirty_log::DirtyLog;
use crate::region_map::RegionMap;
use std::collections::VecDeque;

/// What the coordinator wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Tell one shard that it may write in the region.
    Grant {
        /// Index of the shard.
        shard: usize,
        /// The region.
        region: u64,
    },
    /// Tell every shard that the region's parity can, or can no longer, be trusted.
    RegionSync {
        /// The region.
        region: u64,
        /// Whether parity matches data.
        in_sync: bool,
    },
    /// Tell every shard to compare and repair the parity of its stripes in the region.
    SyncRegion {
        /// The region.
        region: u64,
    },
    /// The resync came to its end: no region out of sync is left to try.
    ResyncEnded,
}

/// Where the resync is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resync {
    /// Nothing to do, or not allowed.
    Idle,
    /// Shards are at work on a region.
    Running {
        /// The region.
        region: u64,
        /// Shards that have not answered yet.
        pending: usize,
        /// A shard could not finish its part.
        failed: bool,
    },
}

/// The coordinator.
#[derive(Debug)]
pub struct Coordinator {
    log: DirtyLog,
    shards: usize,
    holders: RegionMap<u32>,
    resync: Resync,
    degraded: bool,
    mismatched_rows: u64,
}

impl Coordinator {
    /// A coordinator for `shards` shards, each of which holds at most `leases` regions.
    #[must_use]
    pub fn new(log: DirtyLog, shards: usize, leases: usize, degraded: bool) -> Self {
        let holders = RegionMap::new(shards * leases);
        Self { log, shards, holders, resync: Resync::Idle, degraded, mismatched_rows: 0 }
    }

    /// A shard wants to write in a region.
    ///
    /// # Panics
    /// If the shards hold more regions than they said they would.
    pub fn mark(&mut self, shard: usize, region: u64, orders: &mut VecDeque<Order>) {
        match self.holders.get_mut(region) {
            Some(holders) => *holders += 1,
            None => self.holders.insert(region, 1).expect("leases are bounded per shard"),
        }
        self.log.mark(region);
        orders.push_back(Order::Grant { shard, region });
    }

    /// A shard gives a region back: no write of its own is in flight there.
    ///
    /// # Panics
    /// If no shard holds the region.
    pub fn release(&mut self, region: u64) {
        let holders = self.holders.get_mut(region).expect("only what is held is released");
        *holders -= 1;
        if *holders == 0 {
            self.holders.remove(region);
            // While a member is missing its copy of the region is out of date: the bit stays (R2).
            if !self.degraded && self.log.in_sync(region) {
                self.log.clear(region);
            }
        }
    }

    /// A write of the region failed on a member: its parity may no longer match.
    pub fn write_failed(&mut self, region: u64, orders: &mut VecDeque<Order>) {
        if self.log.in_sync(region) {
            self.log.mark(region);
            self.log.set_region_sync(region, false);
            orders.push_back(Order::RegionSync { region, in_sync: false });
        }
    }

    /// Members went missing, or all are there again.
    pub fn set_degraded(&mut self, degraded: bool) {
        self.degraded = degraded;
    }

    /// Starts the resync, if there is anything to do and every member is there to do it with.
    pub fn start_resync(&mut self, orders: &mut VecDeque<Order>) {
        if self.resync == Resync::Idle {
            self.log.rewind();
            self.next_region(orders);
        }
    }

    /// A shard ended its part of the region being resynced. `mismatched_rows` counts rows of 4 KiB
    /// whose parity was wrong and has been rewritten.
    ///
    /// # Panics
    /// If that region is not being resynced.
    pub fn region_synced(
        &mut self,
        region: u64,
        ok: bool,
        mismatched_rows: u64,
        orders: &mut VecDeque<Order>,
    ) {
        self.mismatched_rows += mismatched_rows;
        let Resync::Running { region: current, pending, failed } = &mut self.resync else {
            panic!("region {region} was synced while no resync runs");
        };
        assert_eq!(*current, region, "shards answer for the region that was ordered");
        *pending -= 1;
        *failed |= !ok;
        if *pending > 0 {
            return;
        }
        let in_sync = !*failed && !self.degraded;
        self.log.set_region_sync(region, in_sync);
        if in_sync {
            orders.push_back(Order::RegionSync { region, in_sync: true });
            if self.holders.get_mut(region).is_none() {
                self.log.clear(region);
            }
        }
        self.next_region(orders);
    }

    /// Where the resync is.
    #[must_use]
    pub fn resync(&self) -> Resync {
        self.resync
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &DirtyLog {
        &self.log
    }

    /// Rows of 4 KiB whose parity resync found wrong, since the start.
    #[must_use]
    pub fn mismatched_rows(&self) -> u64 {
        self.mismatched_rows
    }

    fn next_region(&mut self, orders: &mut VecDeque<Order>) {
        let was_running = self.resync != Resync::Idle;
        let work = if self.degraded { None } else { self.log.resync_work() };
        match work {
            Some(region) => {
                self.resync = Resync::Running { region, pending: self.shards, failed: false };
                orders.push_back(Order::SyncRegion { region });
            }
            None => {
                self.resync = Resync::Idle;
                if was_running {
                    orders.push_back(Order::ResyncEnded);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dirty_log::Initially;

    fn drain(orders: &mut VecDeque<Order>) -> Vec<Order> {
        orders.drain(..).collect()
    }

    #[test]
    fn a_bit_is_cleared_when_the_last_holder_lets_go() {
        let mut orders = VecDeque::new();
        let log = DirtyLog::new(4, Initially::InSync);
        let mut coordinator = Coordinator::new(log, 2, 4, false);
        coordinator.mark(0, 3, &mut orders);
        coordinator.mark(1, 3, &mut orders);
        let grants = [0, 1].map(|shard| Order::Grant { shard, region: 3 });
        assert_eq!(drain(&mut orders), grants);
        coordinator.release(3);
        assert!(!coordinator.log().is_clean(3), "shard 1 still writes there");
        coordinator.release(3);
        assert!(coordinator.log().is_clean(3));
    }

    #[test]
    fn a_bit_stays_while_a_member_is_missing_or_the_region_is_out_of_sync() {
        let mut orders = VecDeque::new();
        let log = DirtyLog::new(4, Initially::InSync);
        let mut coordinator = Coordinator::new(log, 1, 4, true);
        coordinator.mark(0, 1, &mut orders);
        coordinator.release(1);
        assert!(!coordinator.log().is_clean(1));
        coordinator.set_degraded(false);
        coordinator.mark(0, 2, &mut orders);
        coordinator.write_failed(2, &mut orders);
        coordinator.release(2);
        assert!(!coordinator.log().is_clean(2));
    }

    #[test]
    fn resync_visits_every_region_out_of_sync_and_trusts_only_what_every_shard_finished() {
        let mut orders = VecDeque::new();
        let log = DirtyLog::new(2, Initially::OutOfSync);
        let mut coordinator = Coordinator::new(log, 2, 4, false);
        coordinator.start_resync(&mut orders);
        assert_eq!(drain(&mut orders), [Order::SyncRegion { region: 0 }]);
        coordinator.region_synced(0, true, 1, &mut orders);
        assert_eq!(drain(&mut orders), []);
        coordinator.region_synced(0, true, 2, &mut orders);
        let told = Order::RegionSync { region: 0, in_sync: true };
        assert_eq!(drain(&mut orders), [told, Order::SyncRegion { region: 1 }]);
        coordinator.region_synced(1, false, 0, &mut orders);
        coordinator.region_synced(1, true, 0, &mut orders);
        assert_eq!(drain(&mut orders), [Order::ResyncEnded]);
        assert_eq!((coordinator.log().sync_count(), coordinator.mismatched_rows()), (1, 3));
    }

    #[test]
    fn a_degraded_array_does_not_resync() {
        let mut orders = VecDeque::new();
        let log = DirtyLog::new(2, Initially::OutOfSync);
        let mut coordinator = Coordinator::new(log, 1, 4, true);
        coordinator.start_resync(&mut orders);
        assert_eq!(drain(&mut orders), []);
        assert_eq!(coordinator.resync(), Resync::Idle);
    }
}
