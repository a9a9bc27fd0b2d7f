//! [`Cx`]: what code on a reactor may reach: time, memory, its own singletons, pollers, timers.
//!
//! Owns: everything in it belongs to one thread. A `Cx` is lent to messages, pollers and timers one
//! at a time and is never reachable otherwise, so nothing in it needs a lock.
//!
//! Not here: running any of it (`turn`).

use crate::clock::Ticks;
use crate::handle::ReactorHandle;
use crate::memory::{Pool, PoolStats};
use crate::poller::{Changes, Poller, PollerId, PollerStats};
use crate::sleep::{Interest, Sleeper, WatchId};
use crate::timer::{TimerFn, TimerId, Timers};
use std::any::{Any, TypeId, type_name};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// The time of a reactor's turn, for code that is called on the reactor without its [`Cx`].
#[derive(Clone, Debug)]
pub struct TurnClock(Rc<Cell<Ticks>>);

impl TurnClock {
    /// As [`Cx::now`].
    #[inline]
    pub fn now(&self) -> Ticks {
        self.0.get()
    }
}

/// What a message, a poller or a timer may reach on its reactor. Not `Send`.
pub struct Cx {
    now: TurnClock,
    pool: Rc<Pool>,
    /// Pools of those who need more.
    more_pools: Vec<Weak<Pool>>,
    handle: ReactorHandle,
    locals: Locals,
    pub(crate) changes: Changes,
    pub(crate) timers: Timers,
    pub(crate) sleeper: Sleeper,
}

impl Cx {
    pub(crate) fn new(handle: ReactorHandle, buffer_bytes: usize) -> io::Result<Self> {
        Ok(Self {
            now: TurnClock(Rc::new(Cell::new(Ticks::ZERO))),
            pool: Rc::new(Pool::new(buffer_bytes)?),
            more_pools: Vec::new(),
            sleeper: Sleeper::new(Arc::clone(handle.doorbell()))?,
            handle,
            locals: Locals::default(),
            changes: Changes::default(),
            timers: Timers::default(),
        })
    }

    /// Position of this reactor among all, from 0.
    #[inline]
    pub fn index(&self) -> usize {
        self.handle.index()
    }

    /// How many reactors there are: what the system has once is to be enough for all of them.
    pub fn reactors(&self) -> usize {
        self.handle.reactors()
    }

    /// The time, read once at the start of the turn.
    #[inline]
    pub fn now(&self) -> Ticks {
        self.now.now()
    }

    /// The same for code that is called without a `Cx`, such as a channel's `submit`.
    pub fn turn_clock(&self) -> TurnClock {
        self.now.clone()
    }

    pub(crate) fn set_now(&mut self, now: Ticks) {
        self.now.0.set(now);
    }

    /// This reactor's buffers.
    #[inline]
    pub fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// A pool for one user on this reactor, which is part of [`Cx::pool_stats`] while it lives.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn new_pool(&mut self, len_bytes: usize) -> io::Result<Rc<Pool>> {
        let pool = Rc::new(Pool::new(len_bytes)?);
        self.more_pools.retain(|pool| pool.strong_count() > 0);
        self.more_pools.push(Rc::downgrade(&pool));
        Ok(pool)
    }

    /// What is known of this reactor's buffers, and then of the pools of its users, all together.
    pub fn pool_stats(&self) -> [PoolStats; 2] {
        let mut users = PoolStats::default();
        let live = self.more_pools.iter().filter_map(Weak::upgrade);
        live.for_each(|pool| users.merge(&pool.stats()));
        [self.pool.stats(), users]
    }

    /// A handle of this reactor, to be given to others.
    #[inline]
    pub fn handle(&self) -> &ReactorHandle {
        &self.handle
    }

    /// This reactor's singleton of type `T` under `key`; made by `init` when there is none. `init`
    /// may ask for other singletons.
    ///
    /// # Panics
    /// If `init` asks for the very singleton that it is making.
    pub fn local<T: 'static>(&mut self, key: u64, init: impl FnOnce(&mut Self) -> T) -> Rc<T> {
        if let Some(found) = self.find_local(key) {
            return found;
        }
        let made = Rc::new(init(self));
        let before = self.locals.insert(key, Rc::clone(&made));
        assert!(before.is_none(), "{} {key}: made while it was being made", type_name::<T>());
        made
    }

    /// This reactor's singleton of type `T` under `key`, if there is one.
    pub fn find_local<T: 'static>(&self, key: u64) -> Option<Rc<T>> {
        self.locals.find(key)
    }

    /// Takes the singleton of type `T` under `key` out; it lives until its last `Rc` goes.
    pub fn remove_local<T: 'static>(&mut self, key: u64) -> Option<Rc<T>> {
        self.locals.remove(key)
    }

    /// Adds a poller. While pollers are being polled this waits for the end of the phase, and the
    /// poller is unplugged in this turn and polled from the next one on.
    pub fn add_poller(&mut self, poller: Box<dyn Poller>) -> PollerId {
        self.changes.add(poller)
    }

    /// Removes a poller and drops it on this thread: at the end of the turn while pollers are being
    /// polled, else before the next polls. An id that is gone already is fine.
    pub fn remove_poller(&mut self, id: PollerId) {
        self.changes.remove(id);
    }

    /// The pollers that are there, in the order of their coming.
    pub fn pollers(&self) -> Vec<PollerStats> {
        self.changes.list()
    }

    /// Runs `f` in the first turn at or after `at`, and again at each deadline that it returns.
    pub fn add_timer(&mut self, at: Ticks, f: TimerFn) -> TimerId {
        self.timers.insert(at, f)
    }

    /// The timer does not run (again). An id that has ended already is fine; a timer may cancel
    /// itself, and then its next deadline counts for nothing.
    pub fn cancel_timer(&mut self, id: TimerId) {
        self.timers.cancel(id);
    }

    /// Has `fd` end a sleep of this reactor while it can be read. Level-triggered: a poller must
    /// take away what there is to read. The watch ends when the id is dropped.
    ///
    /// # Panics
    /// If the kernel refuses: `fd` is a regular file or the process is out of fds. Where that can
    /// happen, use [`Cx::try_watch_fd`].
    pub fn watch_fd(&mut self, fd: BorrowedFd<'_>) -> WatchId {
        self.try_watch_fd(fd, Interest::Readable)
            .unwrap_or_else(|e| panic!("reactor {}: cannot watch {fd:?}: {e}", self.index()))
    }

    /// As [`Cx::watch_fd`], for whatever `interest` says.
    ///
    /// # Errors
    /// What the kernel said: regular files cannot be watched, and fds may run out.
    pub fn try_watch_fd(&mut self, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<WatchId> {
        self.sleeper.watch(fd, interest)
    }

    /// Ends a watch; the same as dropping its id.
    pub fn unwatch(&mut self, watch: WatchId) {
        drop(watch);
    }

    /// The end: drops the timers, then the singletons, the youngest first.
    pub(crate) fn drop_timers_and_locals(&mut self) {
        self.timers = Timers::default();
        while let Some(youngest) = self.locals.pop() {
            drop(youngest);
        }
    }
}

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("handle", &self.handle)
            .field("now", &self.now())
            .field("pool", &self.pool)
            .field("locals", &self.locals)
            .field("timers", &self.timers)
            .finish_non_exhaustive()
    }
}

/// Singletons by type and key.
#[derive(Default)]
struct Locals {
    by_name: BTreeMap<(TypeId, u64), Local>,
    /// How many were ever made.
    made: u64,
}

struct Local {
    age: u64,
    type_name: &'static str,
    value: Rc<dyn Any>,
}

impl Locals {
    fn find<T: 'static>(&self, key: u64) -> Option<Rc<T>> {
        let local = self.by_name.get(&(TypeId::of::<T>(), key))?;
        Some(typed(Rc::clone(&local.value)))
    }

    fn insert<T: 'static>(&mut self, key: u64, value: Rc<T>) -> Option<Local> {
        self.made += 1;
        let local = Local { age: self.made, type_name: type_name::<T>(), value };
        self.by_name.insert((TypeId::of::<T>(), key), local)
    }

    fn remove<T: 'static>(&mut self, key: u64) -> Option<Rc<T>> {
        Some(typed(self.by_name.remove(&(TypeId::of::<T>(), key))?.value))
    }

    fn pop(&mut self) -> Option<Rc<dyn Any>> {
        let (name, _) = self.by_name.iter().max_by_key(|(_, local)| local.age)?;
        let name = *name;
        Some(self.by_name.remove(&name)?.value)
    }
}

fn typed<T: 'static>(value: Rc<dyn Any>) -> Rc<T> {
    value.downcast().expect("a singleton is kept under its own type")
}

impl fmt::Debug for Locals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.by_name.iter().map(|((_, key), local)| (local.type_name, key));
        f.debug_list().entries(names).finish()
    }
}
