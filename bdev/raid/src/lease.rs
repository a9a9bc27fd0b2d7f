//! Region leases of one shard: the shard's half of the write-intent bitmap.
//!
//! A region must be marked in the dirty log before any member of it is written (**R1**). A shard asks
//! the coordinator once and then writes freely in the region until it has been idle there for a while:
//!
//! ```text
//!            acquire              granted              last write ends
//!   absent ----------> requested ---------> held(n) <------------------> held(0)
//!     ^                                                                    | idle for long enough,
//!     +--------------------------------------------------------------------+ or evicted: table full
//! ```
//!
//! The coordinator clears the bit only when no shard holds the region (**R2**). The table is bounded
//! (**R6**), by more than a shard has operations: one of its regions is always idle.
//!
//! Not here: the log itself (`dirty_log`), and who waits for a grant (`shard`).

use crate::limits::LEASE_IDLE_NS;
use crate::region_map::RegionMap;

/// State of a region that is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lease {
    /// Asked for; the coordinator has not answered yet.
    Requested,
    /// Ours. `writes` operations run under it; idle since then when there are none.
    Held { writes: u32, idle_since_ns: u64 },
}

/// Answer to [`LeaseTable::acquire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquire {
    /// The region is leased: the write may go on, and must be released.
    Held,
    /// The lease was asked for just now: the caller must send the request, and wait.
    Request,
    /// The lease was asked for before: wait.
    Wait,
}

/// The leases of one shard, by region.
#[derive(Debug)]
pub struct LeaseTable {
    leases: RegionMap<Lease>,
    hand: u32,
    idle_ns: u64,
}

impl LeaseTable {
    /// An empty table for `capacity` regions, whose leases are kept for [`LEASE_IDLE_NS`].
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { leases: RegionMap::new(capacity), hand: 0, idle_ns: LEASE_IDLE_NS }
    }

    /// Changes for how long a lease is kept that nobody uses.
    pub fn set_idle_ns(&mut self, idle_ns: u64) {
        self.idle_ns = idle_ns;
    }

    /// Takes a share of the region's lease for one write. `evicted` is called with the region that had
    /// to make room, if any: its lease must be given back.
    ///
    /// # Panics
    /// If there is no room, and a write or a request in every region: a shard has fewer operations than leases.
    pub fn acquire(&mut self, region: u64, evicted: impl FnOnce(u64)) -> Acquire {
        match self.leases.get_mut(region) {
            Some(Lease::Requested) => return Acquire::Wait,
            Some(Lease::Held { writes, .. }) => {
                *writes += 1;
                return Acquire::Held;
            }
            None => {}
        }
        if self.leases.is_full() {
            let idle = self.idle_region().expect("fewer operations than leases");
            self.leases.remove(idle);
            evicted(idle);
        }
        self.leases.insert(region, Lease::Requested).expect("there is room");
        Acquire::Request
    }

    /// The coordinator granted the region.
    ///
    /// # Panics
    /// If it was not asked for.
    pub fn granted(&mut self, region: u64, now_ns: u64) {
        let lease = self.leases.get_mut(region).expect("a grant answers a request");
        assert_eq!(*lease, Lease::Requested, "region {region} was granted twice");
        *lease = Lease::Held { writes: 0, idle_since_ns: now_ns };
    }

    /// Gives one write's share back.
    ///
    /// # Panics
    /// If the region is not leased.
    pub fn release(&mut self, region: u64, now_ns: u64) {
        match self.leases.get_mut(region) {
            Some(Lease::Held { writes, idle_since_ns }) if *writes > 0 => {
                *writes -= 1;
                *idle_since_ns = now_ns;
            }
            lease => panic!("release of region {region} in state {lease:?}"),
        }
    }

    /// Drops every lease that has been idle for long enough and names it to `dropped`; with
    /// `all`, every idle lease.
    pub fn expire(&mut self, now_ns: u64, all: bool, mut dropped: impl FnMut(u64)) {
        for position in 0..self.leases.capacity() {
            let Some((region, &lease)) = self.leases.at(position) else { continue };
            let expired = match lease {
                Lease::Held { writes: 0, idle_since_ns } => {
                    all || now_ns.saturating_sub(idle_since_ns) >= self.idle_ns
                }
                Lease::Held { .. } | Lease::Requested => false,
            };
            if expired {
                self.leases.remove(region);
                dropped(region);
            }
        }
    }

    /// Regions in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether no region is leased or asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// The next idle region under the clock hand, so that eviction goes round and does not start over.
    fn idle_region(&mut self) -> Option<u64> {
        let capacity = self.leases.capacity();
        for _ in 0..capacity {
            let position = self.hand;
            self.hand = (self.hand + 1) % capacity;
            if let Some((region, Lease::Held { writes: 0, .. })) = self.leases.at(position) {
                return Some(region);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_eviction(region: u64) {
        panic!("region {region} was evicted");
    }

    #[test]
    fn a_region_pays_only_for_its_first_write() {
        let mut table = LeaseTable::new(4);
        assert_eq!(table.acquire(7, no_eviction), Acquire::Request);
        assert_eq!(table.acquire(7, no_eviction), Acquire::Wait);
        table.granted(7, 10);
        assert_eq!(table.acquire(7, no_eviction), Acquire::Held);
        assert_eq!(table.acquire(7, no_eviction), Acquire::Held);
        table.release(7, 20);
        table.release(7, 30);
        assert_eq!(table.acquire(7, no_eviction), Acquire::Held);
    }

    #[test]
    fn a_lease_expires_only_when_idle_for_long_enough() {
        let mut table = LeaseTable::new(4);
        let mut dropped = Vec::new();
        for region in [1, 2] {
            table.acquire(region, no_eviction);
            table.granted(region, 0);
        }
        assert_eq!(table.acquire(1, no_eviction), Acquire::Held);
        table.expire(LEASE_IDLE_NS - 1, false, |region| dropped.push(region));
        assert_eq!(dropped, []);
        table.expire(LEASE_IDLE_NS, false, |region| dropped.push(region));
        assert_eq!(dropped, [2], "region 1 has a write in flight");
        table.release(1, LEASE_IDLE_NS);
        table.expire(LEASE_IDLE_NS, true, |region| dropped.push(region));
        assert_eq!(dropped, [2, 1]);
        assert!(table.is_empty());
    }

    #[test]
    fn a_full_table_evicts_idle_regions_and_never_busy_ones() {
        let mut table = LeaseTable::new(3);
        for region in 0..3 {
            table.acquire(region, no_eviction);
            table.granted(region, 0);
            table.acquire(region, no_eviction);
        }
        for (region, idle) in [(9, 1), (10, 0)] {
            table.release(idle, 5);
            let mut evicted = None;
            assert_eq!(table.acquire(region, |region| evicted = Some(region)), Acquire::Request);
            assert_eq!(evicted, Some(idle));
        }
    }
}
