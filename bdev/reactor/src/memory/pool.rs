//! [`Pool`]: lends the blocks of one region to one thread; they come home from any.
//!
//! Owns: every block that was lent is returned exactly once, and the memory outlives all views.
//!
//! ```text
//!              alloc                                   last view dropped
//!   home   ------------> warm list, else buddy     home thread:    warm list, else buddy
//!   thread                                         other threads:  `returns` queue --> home
//! ```
//!
//! - **Warm lists.** A block that comes home is kept as it is on a short list of its order and is
//!   lent again first, while its bytes are still in the cache; joining it with its buddies just to
//!   split it again would cost more than all the rest. When an allocation finds nothing, the lists
//!   are emptied into the buddy allocator first, so they never cost a success.
//! - **Foreign returns.** Other threads push the block's first unit into an `ArrayQueue` with room
//!   for every unit. A unit is in it at most once per loan, so it can never be full.
//! - **Who frees the pool.** Blocks hold no reference to the pool: that would be one more atomic
//!   operation per loan. Instead the home thread counts `lent` (loans minus returns at home), and
//!   foreign threads count down `balance`. While the pool is open `balance` is minus the number of
//!   foreign returns. Dropping the `Pool` adds `lent`: from then on `balance` is the number of
//!   blocks that are out, everybody (also the home thread) counts it down, and who brings it to
//!   zero frees the pool. It cannot reach zero from above before, since it starts at zero and only
//!   falls. A foreign thread counts down *after* its push and then touches the pool no more, so a
//!   block that is on its way home still counts.
//!
//! ```text
//!   open  --- Pool dropped, blocks out --->  orphaned  --- last block returned --->  freed
//!     +------ Pool dropped, nothing out -------------------------------------------->+
//! ```
//!
//! Not here: zeroing. A block has the bytes of whoever had it before; readers get only what an I/O
//! or a copy has put there.
#![expect(unsafe_code, reason = "headers point to their pool, and the pool frees itself")]

use super::BUF_ALIGN_BYTES;
use super::block::{Block, View};
use super::buddy::{Buddy, ORDERS, order_for};
use super::buf::IoBufMut;
use super::home::HomeOnly;
use super::region::{PageKind, Region};
use crate::limits;
use crossbeam::queue::ArrayQueue;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

/// Lends power-of-two blocks (4 KiB at least) of one [`Region`]. At home on the thread that made
/// it; its views may go anywhere, and outlive it.
///
/// ```
/// let pool = reactor::memory::Pool::new(1 << 20)?;
/// let buf = pool.alloc(4096).expect("a new pool has a block");
/// drop(pool);
/// std::thread::spawn(move || assert_eq!(buf.len(), 4096)).join().expect("no panic");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// ```compile_fail
/// let pool = reactor::memory::Pool::new(1 << 20).unwrap();
/// std::thread::spawn(move || pool.alloc(4096)); // a pool stays on its home thread
/// ```
pub struct Pool {
    shared: NonNull<PoolShared>,
    /// A pool must not leave its home thread.
    not_send: PhantomData<*const ()>,
}

/// The part that lives until the last view is gone.
pub(super) struct PoolShared {
    region: Arc<Region>,
    /// One per unit; set right after `PoolShared` has its address, which they hold.
    headers: OnceLock<Box<[Block]>>,
    home: HomeOnly<Home>,
    /// First units of blocks that were dropped elsewhere.
    returns: ArrayQueue<u32>,
    /// See the module's notes.
    balance: AtomicI64,
}

/// Views reach the shared part from any thread: through raw pointers, which the compiler does not
/// check, so it is asked here.
const _: () = {
    const fn usable_from_any_thread<T: Send + Sync>() {}
    usable_from_any_thread::<PoolShared>();
};

/// What only the home thread touches.
struct Home {
    buddy: Buddy,
    warm: [Vec<u32>; ORDERS],
    warm_units: usize,
    /// Loans minus returns on this thread.
    lent: i64,
    state: State,
    /// Small blocks, and others.
    loans: [LoanCounts; 2],
}

/// How often a block of some sizes was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LoanCounts {
    /// A warm one was there.
    pub warm: u64,
    /// Another one was.
    pub cold: u64,
    /// There was none.
    pub refused: u64,
}

/// What is known of a pool: how often blocks were asked for since it was made, and what is left.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PoolStats {
    /// Blocks of at most [`limits::SMALL_BUFFER_BYTES_MAX`].
    pub small: LoanCounts,
    /// Larger ones.
    pub large: LoanCounts,
    /// The whole memory, in bytes.
    pub bytes: usize,
    /// What of it is not lent, in bytes.
    pub free_bytes: usize,
}

impl LoanCounts {
    fn merge(&mut self, other: &Self) {
        self.warm += other.warm;
        self.cold += other.cold;
        self.refused += other.refused;
    }
}

impl PoolStats {
    /// Adds those of another pool.
    pub fn merge(&mut self, other: &Self) {
        self.small.merge(&other.small);
        self.large.merge(&other.large);
        self.bytes += other.bytes;
        self.free_bytes += other.free_bytes;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Orphaned,
}

impl Pool {
    /// A pool of at least `len_bytes`, rounded up to whole pages as [`Region::map`] does.
    ///
    /// # Errors
    /// As [`Region::map`]; also `InvalidInput` above [`limits::POOL_BYTES_MAX`].
    pub fn new(len_bytes: usize) -> io::Result<Self> {
        if len_bytes > limits::POOL_BYTES_MAX {
            let max = limits::POOL_BYTES_MAX;
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a pool of {len_bytes} bytes: at most {max} is right"),
            ));
        }
        let region = Region::map(len_bytes)?;
        let units = u32::try_from(region.len_bytes() / BUF_ALIGN_BYTES)
            .expect("the largest pool is whole pages, so rounding up does not pass its limit");
        let base = region.base();
        let shared = Box::new(PoolShared {
            region,
            headers: OnceLock::new(),
            home: HomeOnly::new(Home::new(units)),
            returns: ArrayQueue::new(units as usize),
            balance: AtomicI64::new(0),
        });
        let shared = NonNull::from(Box::leak(shared));
        let headers = (0..units)
            .map(|unit| {
                // SAFETY: there are as many units as fit into the region.
                let start = unsafe { base.add(unit as usize * BUF_ALIGN_BYTES) };
                Block::in_pool(shared, unit, start)
            })
            .collect();
        let pool = Self { shared, not_send: PhantomData };
        pool.shared().headers.set(headers).expect("a new pool has no headers yet");
        Ok(pool)
    }

    /// Lends a block of at least `len_bytes`; the view has exactly `len_bytes`. The bytes are what
    /// they were: nothing is zeroed. The address is a multiple of 4096, and in pools of 2 MiB and
    /// more also of the block's size, up to 2 MiB.
    ///
    /// `None` when no free block is large enough. Who waits for one must keep the reactor from
    /// sleeping (`Poller::can_sleep`): a block that comes home from another thread wakes nobody.
    #[inline]
    pub fn alloc(&self, len_bytes: usize) -> Option<IoBufMut> {
        let order = order_for(len_bytes.div_ceil(BUF_ALIGN_BYTES));
        let shared = self.shared();
        let unit = shared.home.with(|home| home.lend(order, &shared.returns))??;
        let header = &shared.headers.get()?[unit as usize];
        // SAFETY: the unit has just left the free memory as a block of `2^order` units, which is
        // enough for `len_bytes`.
        Some(IoBufMut::from_view(unsafe { View::of_free_block(NonNull::from(header), len_bytes) }))
    }

    /// What the memory is made of.
    pub fn page_kind(&self) -> PageKind {
        self.shared().region.page_kind()
    }

    /// The memory that this pool lends.
    pub fn region(&self) -> &Arc<Region> {
        &self.shared().region
    }

    /// Bytes that are not lent, in blocks of whatever size.
    pub fn free_bytes(&self) -> usize {
        let shared = self.shared();
        let free_units = shared.home.with(|home| {
            home.take_returns(&shared.returns, usize::MAX);
            home.buddy.free_units() + home.warm_units
        });
        free_units.unwrap_or(0) * BUF_ALIGN_BYTES
    }

    /// What is known of it.
    pub fn stats(&self) -> PoolStats {
        let loans = self.shared().home.with(|home| home.loans);
        let [small, large] = loans.unwrap_or_default();
        PoolStats { small, large, bytes: self.region().len_bytes(), free_bytes: self.free_bytes() }
    }

    #[inline]
    fn shared(&self) -> &PoolShared {
        // SAFETY: the shared part is freed only after this `Pool` was dropped.
        unsafe { self.shared.as_ref() }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let lent = self.shared().home.with(|home| {
            home.state = State::Orphaned;
            home.lent
        });
        let lent = lent.expect("a pool is not Send and so is dropped at home");
        let out_before = self.shared().balance.fetch_add(lent, Ordering::AcqRel);
        if out_before + lent == 0 {
            // SAFETY: no block is out, so nobody else knows the pool, and nobody will.
            unsafe { PoolShared::free(self.shared) };
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("region", self.region())
            .field("free_bytes", &self.free_bytes())
            .finish_non_exhaustive()
    }
}

impl PoolShared {
    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    /// Takes a block back, on any thread.
    ///
    /// # Safety
    /// `unit` is the first unit of a block that `shared` has lent; its last view is gone.
    #[inline]
    pub(super) unsafe fn give_back(shared: NonNull<Self>, unit: u32) {
        // SAFETY: the block that comes back here still counts as lent, so the pool is alive. The
        // reference is not used after `balance` went down.
        let pool = unsafe { shared.as_ref() };
        let at_home = pool.home.with(|home| match home.state {
            State::Open => home.take_back(unit),
            State::Orphaned => false,
        });
        match at_home {
            Some(true) => return,
            // Orphaned: nothing is lent any more, only counted.
            Some(false) => {}
            None => pool.returns.push(unit).expect("the queue has room for every unit"),
        }
        if pool.balance.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: the `Pool` is gone (before, the balance is never above zero), and this was
            // the last block that was out.
            unsafe { Self::free(shared) };
        }
    }

    /// Frees the pool and with it its hold of the region.
    ///
    /// # Safety
    /// The `Pool` is dropped, no block is out, and the caller is the one who found that out.
    #[cold]
    unsafe fn free(shared: NonNull<Self>) {
        // SAFETY: `Pool::new` leaked it from a `Box`; the caller is the last who knows it.
        drop(unsafe { Box::from_raw(shared.as_ptr()) });
    }
}

/// Where in `loans` blocks of an order are counted.
#[inline]
fn size_of_order(order: usize) -> usize {
    usize::from(BUF_ALIGN_BYTES << order > limits::SMALL_BUFFER_BYTES_MAX)
}

impl Home {
    fn new(units: u32) -> Self {
        // Lists of orders that cannot exist stay empty; the others never have to grow.
        let warm = std::array::from_fn(|order| match units >> order {
            0 => Vec::new(),
            _ => Vec::with_capacity(limits::POOL_WARM_BLOCKS_MAX),
        });
        Self {
            buddy: Buddy::new(units),
            warm,
            warm_units: 0,
            lent: 0,
            state: State::Open,
            loans: Default::default(),
        }
    }

    #[inline]
    fn lend(&mut self, order: usize, returns: &ArrayQueue<u32>) -> Option<u32> {
        let warm = self.warm.get_mut(order)?.pop();
        let unit = match warm {
            Some(unit) => {
                self.warm_units -= 1 << order;
                self.loans[size_of_order(order)].warm += 1;
                unit
            }
            None => self.lend_cold(order, returns)?,
        };
        self.lent += 1;
        Some(unit)
    }

    /// Nothing warm: looks at what came back from elsewhere, then takes from the free memory.
    #[cold]
    fn lend_cold(&mut self, order: usize, returns: &ArrayQueue<u32>) -> Option<u32> {
        let found = self.find_cold(order, returns);
        let loans = &mut self.loans[size_of_order(order)];
        match found {
            Some(_) => loans.cold += 1,
            None => loans.refused += 1,
        }
        found
    }

    fn find_cold(&mut self, order: usize, returns: &ArrayQueue<u32>) -> Option<u32> {
        self.take_returns(returns, limits::POOL_RETURNS_PER_ALLOC_MAX);
        if let Some(unit) = self.warm[order].pop() {
            self.warm_units -= 1 << order;
            return Some(unit);
        }
        self.buddy.alloc(order).or_else(|| {
            self.take_returns(returns, usize::MAX);
            self.cool();
            self.buddy.alloc(order)
        })
    }

    /// Puts at most `limit` blocks that other threads gave back into the free memory.
    fn take_returns(&mut self, returns: &ArrayQueue<u32>, limit: usize) {
        for _ in 0..limit {
            let Some(unit) = returns.pop() else { break };
            self.keep(unit);
        }
    }

    /// A block came back on this thread. Always true: it is home.
    #[inline]
    fn take_back(&mut self, unit: u32) -> bool {
        self.lent -= 1;
        self.keep(unit);
        true
    }

    #[inline]
    fn keep(&mut self, unit: u32) {
        let order = self.buddy.order_of(unit);
        let warm = &mut self.warm[order];
        if warm.len() < limits::POOL_WARM_BLOCKS_MAX {
            warm.push(unit);
            self.warm_units += 1 << order;
        } else {
            self.buddy.free(unit);
        }
    }

    /// Empties the warm lists, so that blocks can join.
    fn cool(&mut self) {
        for warm in &mut self.warm {
            for unit in warm.drain(..) {
                self.buddy.free(unit);
            }
        }
        self.warm_units = 0;
    }
}
