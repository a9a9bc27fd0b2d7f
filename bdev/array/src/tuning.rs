//! What can be changed while an array runs: the stripe cache, how long marks stay, the kernel.
//!
//! ```text
//!   stripes of the array --> a share for each reactor, at least one operation each
//! ```
//!
//! Not here: rates of background actions (`raid::coordinator::pace`).

use crate::raid_bdev::RaidBdev;
use raid::shard::Shard;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What can be changed while an array runs, beside the rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// No background action starts before one is requested.
    pub frozen: bool,
    /// Stripe operations of hosts at a time, on all reactors together: md's `stripe_cache_size`; at
    /// least one a reactor, at most `raid::limits::STRIPE_OPS_MAX` on each.
    pub stripes: u32,
    /// For how long a region stays marked in which nobody writes any more: md's `daemon_sleep`.
    pub lease_idle: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            frozen: false,
            stripes: u32::MAX,
            lease_idle: Duration::from_nanos(raid::limits::LEASE_IDLE_NS),
        }
    }
}

impl RaidBdev {
    /// Changes what can be changed while the array runs; `frozen` is not looked at, which is
    /// [`interrupt`](Self::interrupt)'s.
    pub fn set_tuning(&self, tuning: Tuning) {
        let count = self.reactors.len();
        self.on_every_shard(move |shard, now| {
            tune(&mut shard.core, tuning, count);
            shard.pump(now);
        });
    }

    /// Computes parity with another kernel from now on, one of `parity::available()`; says whether there is
    /// one of that name.
    pub fn set_kernel(&self, name: &str) -> bool {
        let place = place_of(name);
        if let Some(place) = place {
            self.common.kernel.store(place, Ordering::Relaxed);
        }
        place.is_some()
    }

    /// The kernel that parity is computed with.
    #[must_use]
    pub fn kernel(&self) -> &'static str {
        self.common.kernel().name()
    }
}

/// The place of a kernel among `parity::available()`.
pub(crate) fn place_of(kernel: &str) -> Option<usize> {
    parity::available().iter().position(|other| other.name() == kernel)
}

/// Tells one of `count` shards what its share is.
pub(crate) fn tune(core: &mut Shard, tuning: Tuning, count: usize) {
    core.set_lease_idle_ns(u64::try_from(tuning.lease_idle.as_nanos()).unwrap_or(u64::MAX));
    core.set_host_ops_max((tuning.stripes as usize).div_ceil(count.max(1)));
}
