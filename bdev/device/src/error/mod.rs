//! The error bdev: a disk that fails when it is told to, to rehearse what an array does then.
//!
//! It stands on any other bdev and is SPDK's error bdev in its names, kinds of errors and counts. Ours
//! are: ranges, bad sectors that a write heals, devices that vanish, and a volatile cache with a power
//! that can be cut.
//!
//! ```text
//!   channel, reactor 0      channel, reactor 1          one injection state for all reactors
//!         |  \                    /  |
//!         |   Shared: tide, injections, power
//!         v                          v
//!       [cache: Blocks, shared, if it was asked for]
//!         v                          v
//!       base's channel          base's channel
//! ```
//!
//! What the injections do to an array, or to any other user:
//!
//! | fault | what the user sees |
//! |---|---|
//! | failure | `MediaError`; the base has not seen the request |
//! | pending | nothing, until pending requests are resumed; then it is judged anew, as in SPDK |
//! | corrupt_data | success, with one wrong byte |
//! | nomem | `submit` hands the request back, as when the channel is full: the owner tries again. SPDK completes it with NOMEM, which its bdev layer answers by trying again, too |
//! | gone, power lost | `Gone`, also for what was in flight or pending |
//!
//! Owns: nothing is injected unless it was asked for, and then the data path takes no lock.
//! Invariants: R6 (rules, bad blocks and the cache are bounded).
//!
//! | file | what |
//! |---|---|
//! | `injection` | which requests are hit |
//! | `channel` | the data path |
//! | `cache` | the volatile cache |
//!
//! Not here: names and claims (the service); NVMe status codes, which `IoStatus` does not carry.

mod cache;
mod channel;
mod injection;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use reactor::Cx;
use uuid::Uuid;

use crate::bdev::{Bdev, BdevInfo, IoChannel, Leeway, OpenError};
use crate::stacked::{Likeness, Wakers, lock};
use cache::CacheBdev;
use channel::ErrorChannel;
use injection::Injections;

pub use injection::{Fault, InjectError, Injection, InjectionView, Victims};

/// What an error bdev is made from.
#[derive(Clone, Debug)]
pub struct ErrorSpec {
    /// Unique name in the service. SPDK's are "EE_" and the base's name.
    pub name: String,
    /// Drawn at random when absent.
    pub uuid: Option<Uuid>,
    /// What it stands on.
    pub base: Arc<dyn Bdev>,
    /// Whether writes stay in memory until they are flushed.
    pub volatile_cache: bool,
}

/// A bdev that fails when it is told to.
#[derive(Debug)]
pub struct ErrorBdev {
    shared: Arc<Shared>,
}

/// What is wrong with an error bdev at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorSnapshot {
    /// The base's name.
    pub base_bdev: String,
    /// Whether it has a volatile cache of its own.
    pub volatile_cache: bool,
    /// Whether the power is on.
    pub has_power: bool,
    /// Whether it was told to vanish.
    pub gone: bool,
    /// Blocks that a loss of power would lose.
    pub unflushed_blocks: usize,
    /// What is still to go wrong.
    pub injections: Vec<InjectionView>,
}

/// What the channels of one error bdev share.
#[derive(Debug)]
struct Shared {
    likeness: Likeness,
    base: Arc<dyn Bdev>,
    cache: Option<Arc<CacheBdev>>,
    /// The cache if there is one, else the base.
    lower: Arc<dyn Bdev>,
    /// How often the device has vanished, and in the lowest bit whether the state must be asked.
    tide: AtomicU64,
    state: Mutex<State>,
    wakers: Wakers,
}

#[derive(Debug, Default)]
struct State {
    injections: Injections,
    power_lost: bool,
    /// How often the device has vanished.
    vanished: u64,
    /// How often pending requests were resumed.
    resumed: u64,
}

impl State {
    /// Whether everything completes with `Gone`.
    fn is_dead(&self) -> bool {
        self.power_lost || self.injections.is_gone()
    }

    /// The device vanishes; pending requests are answered.
    fn vanish(&mut self) {
        self.vanished += 1;
        self.resumed += 1;
    }
}

impl Shared {
    /// Tells the data path what has become of the state, which the caller has locked.
    fn settle_tide(&self, state: &State) {
        let armed = state.power_lost || state.injections.is_armed();
        self.tide.store(state.vanished << 1 | u64::from(armed), Ordering::Release);
    }
}

impl ErrorBdev {
    /// Makes the device. Nothing is injected yet.
    #[must_use]
    pub fn create(spec: ErrorSpec) -> Arc<Self> {
        let ErrorSpec { name, uuid, base, volatile_cache } = spec;
        let cache = volatile_cache.then(|| Arc::new(CacheBdev::new(Arc::clone(&base))));
        let lower = match &cache {
            Some(cache) => Arc::clone(cache) as Arc<dyn Bdev>,
            None => Arc::clone(&base),
        };
        let likeness = Likeness::new(name, uuid, "Error Injection Disk");
        let (tide, state, wakers) = (AtomicU64::new(0), Mutex::default(), Wakers::default());
        Arc::new(Self {
            shared: Arc::new(Shared { likeness, base, cache, lower, tide, state, wakers }),
        })
    }

    /// Has something go wrong.
    ///
    /// # Errors
    ///
    /// What cannot go wrong in this way; nothing has changed then.
    pub fn inject(&self, injection: &Injection) -> Result<(), InjectError> {
        self.change(|state| {
            let was_gone = state.injections.is_gone();
            state.injections.add(injection, &self.info())?;
            if state.injections.is_gone() && !was_gone {
                state.vanish();
            }
            Ok(())
        })
    }

    /// Nothing goes wrong any more; a device that had vanished is back. Requests that are pending
    /// stay so, and the power stays as it is.
    pub fn clear(&self) {
        self.change(|state| state.injections.clear());
    }

    /// Ends all injections of pending requests. Those that are pending go on.
    pub fn resume_pending(&self) {
        self.change(|state| {
            state.injections.stop_holding();
            state.resumed += 1;
        });
    }

    /// Cuts the power: everything completes with `Gone`, and what was written and not flushed is
    /// lost if there is a volatile cache. With a seed some of it survives, block by block, as
    /// scattered as the seed has it. What is on its way to the base at this moment gets there.
    /// Without effect while the power is off.
    pub fn lose_power(&self, seed: Option<u64>) {
        let lost = self.change(|state| {
            let lost = !std::mem::replace(&mut state.power_lost, true);
            if lost {
                state.vanish();
            }
            lost
        });
        if let Some(cache) = &self.shared.cache
            && lost
        {
            cache.lose(seed);
        }
    }

    /// The power is back, and the device with it. Without effect while it is on. Whoever has sent
    /// nothing while it was off does not learn of it.
    pub fn restore_power(&self) {
        if !lock(&self.shared.state).power_lost {
            return;
        }
        // What was let through as the power went, and was answered with `Gone`.
        if let Some(cache) = &self.shared.cache {
            cache.lose(None);
        }
        self.change(|state| state.power_lost = false);
    }

    /// Makes the device well, so that it can be flushed a last time.
    pub fn settle(&self) {
        self.clear();
        self.resume_pending();
        self.restore_power();
    }

    /// Whether it has a volatile cache of its own.
    #[must_use]
    pub fn has_cache(&self) -> bool {
        self.shared.cache.is_some()
    }

    /// What is wrong with it now.
    #[must_use]
    pub fn snapshot(&self) -> ErrorSnapshot {
        let state = lock(&self.shared.state);
        ErrorSnapshot {
            base_bdev: self.shared.base.info().name.clone(),
            volatile_cache: self.has_cache(),
            has_power: !state.power_lost,
            gone: state.injections.is_gone(),
            unflushed_blocks: self.shared.cache.as_ref().map_or(0, |cache| cache.dirty_blocks()),
            injections: state.injections.list(),
        }
    }

    fn change<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        let mut state = lock(&self.shared.state);
        let result = f(&mut state);
        self.shared.settle_tide(&state);
        drop(state);
        // Whoever has a request that waits for this looks again.
        self.shared.wakers.wake();
        result
    }
}

impl Bdev for ErrorBdev {
    fn info(&self) -> Arc<BdevInfo> {
        Arc::new(self.shared.likeness.of(&self.shared.lower.info()))
    }

    fn leeway(&self) -> Leeway {
        self.shared.lower.leeway()
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        Ok(Box::new(ErrorChannel::open(&self.shared, cx)?))
    }
}
