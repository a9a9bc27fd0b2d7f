//! How an adaptive reactor goes to sleep and is woken, without losing a wake-up.
//!
//! Owns the race between "nothing to do, so sleep" and "something to do, so wake":
//!
//! ```text
//!   reactor                               sender
//!   -------                               ------
//!   asleep = true                         put work where the reactor looks
//!   fence(SeqCst)                         fence(SeqCst)
//!   one more turn: inbox, pollers         asleep?  then write the eventfd
//!   nothing: epoll_wait
//! ```
//!
//! The fences are in one total order. If the sender's comes first, the turn finds the work; if the
//! reactor's comes first, the sender finds it asleep and the eventfd ends the `epoll_wait`, also
//! when it was written before that began. Either way the work is seen.
//!
//! When to do which is the pure machine [`Idle`]:
//!
//! ```text
//!            idle turn               idle for long, everybody agrees
//!     Awake -----------> Spinning ------------------------------------> Armed
//!      ^ ^                |   ^              (asleep = true)            | | |
//!      | +--- progress ---+   +--- a poller minds, a timer is near -----+ | |
//!      +------------------------------ progress --------------------------+ |
//!      +------------------- woken <-- epoll_wait <-- idle turn -------------+
//! ```
//!
//! Not here: who works in a turn (`turn`).

use crate::clock::Ticks;
use crate::limits;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::{Errno, read, write};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The sender's side of a sleep.
#[derive(Debug)]
pub(crate) struct Doorbell {
    /// False when this reactor never sleeps (busy polling): then ringing is free.
    may_sleep: bool,
    asleep: AtomicBool,
    eventfd: OwnedFd,
}

impl Doorbell {
    pub(crate) fn new(may_sleep: bool) -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { may_sleep, asleep: AtomicBool::new(false), eventfd })
    }

    /// Wakes the reactor if it sleeps or is about to. Call it after the work has been put where
    /// the reactor will look for it.
    #[inline]
    pub(crate) fn ring(&self) {
        if !self.may_sleep {
            return;
        }
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        // Of several senders one makes the system call.
        if self.asleep.swap(false, Ordering::AcqRel) {
            // Only a counter at its end refuses, and then the eventfd is readable anyway.
            let _ = write(&self.eventfd, &1_u64.to_ne_bytes());
        }
    }

    /// From now on senders ring. The reactor must look for work once more before it sleeps.
    pub(crate) fn arm(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    #[cfg(test)]
    pub(crate) fn is_armed(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }

    /// Awake again: senders need not ring.
    pub(crate) fn disarm(&self) {
        self.asleep.swap(false, Ordering::AcqRel);
    }

    fn drain(&self) {
        // Nothing to read means that somebody has rung but not written yet; that write will end
        // the next sleep early, which does no harm.
        let _ = read(&self.eventfd, &mut [0; 8]);
    }
}

/// Wakes a reactor for work that is not a message: for queues of one's own that a poller empties.
/// Costs a fence and one load while the reactor is awake.
#[derive(Clone)]
pub struct Waker(Arc<Doorbell>);

impl Waker {
    pub(crate) fn new(doorbell: Arc<Doorbell>) -> Self {
        Self(doorbell)
    }

    /// Makes the reactor poll (again), now. Call it after the work has been queued.
    #[inline]
    pub fn wake(&self) {
        self.0.ring();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

/// What about a watched fd ends a sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// It can be read, or the other side has hung up.
    Readable,
    /// It can be written.
    Writable,
    /// Either.
    Both,
}

impl From<Interest> for EventFlags {
    fn from(interest: Interest) -> Self {
        match interest {
            Interest::Readable => Self::IN,
            Interest::Writable => Self::OUT,
            Interest::Both => Self::IN | Self::OUT,
        }
    }
}

/// A watched fd. The watch ends when this is dropped or handed to `Cx::unwatch`.
///
/// It holds a duplicate of the fd, so that it can end in order whatever happened to the original;
/// a socket is therefore closed only when both are gone.
#[must_use = "the watch ends when this is dropped"]
pub struct WatchId {
    epoll: Rc<OwnedFd>,
    fd: OwnedFd,
}

impl WatchId {
    /// Changes what about the fd ends a sleep.
    pub fn set_interest(&self, interest: Interest) {
        epoll::modify(&*self.epoll, &self.fd, EventData::new_u64(WATCHED), interest.into())
            .expect("a watch holds its own fd, so the kernel still knows it");
    }
}

impl Drop for WatchId {
    fn drop(&mut self) {
        let done = epoll::delete(&*self.epoll, &self.fd);
        debug_assert_eq!(done, Ok(()), "a watch holds its own fd, so the kernel still knows it");
    }
}

impl fmt::Debug for WatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchId").field("fd", &self.fd).finish_non_exhaustive()
    }
}

const DOORBELL: u64 = 0;
const WATCHED: u64 = 1;

/// The reactor's side of a sleep.
pub(crate) struct Sleeper {
    epoll: Rc<OwnedFd>,
    doorbell: Arc<Doorbell>,
    events: Vec<Event>,
}

impl Sleeper {
    pub(crate) fn new(doorbell: Arc<Doorbell>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &doorbell.eventfd, EventData::new_u64(DOORBELL), EventFlags::IN)?;
        let events = Vec::with_capacity(limits::EVENTS_PER_SLEEP_MAX);
        Ok(Self { epoll: Rc::new(epoll), doorbell, events })
    }

    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<WatchId> {
        let fd = fd.as_fd().try_clone_to_owned()?;
        epoll::add(&*self.epoll, &fd, EventData::new_u64(WATCHED), interest.into())?;
        Ok(WatchId { epoll: Rc::clone(&self.epoll), fd })
    }

    /// Sleeps until somebody rings, a watched fd is ready, or `span` is over. `None`: no end.
    pub(crate) fn sleep(&mut self, span: Option<Ticks>) {
        let timeout = span.map(whole_millis);
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&*self.epoll, spare, timeout.as_ref()) {
            // A signal is as good a reason to look around as any.
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => panic!("epoll_wait on an epoll of our own cannot fail: {e}"),
        }
        if self.events.iter().any(|event| event.data.u64() == DOORBELL) {
            self.doorbell.drain();
        }
    }
}

/// Rounded down to what `epoll_wait` can measure: the rest is spun, and timers are not late.
fn whole_millis(span: Ticks) -> Timespec {
    let millis = span.as_millis().min(i32::MAX as u64);
    Timespec { tv_sec: (millis / 1000) as i64, tv_nsec: (millis % 1000 * 1_000_000) as i64 }
}

/// When to spin, when to arm the doorbell and when to sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Idle {
    /// The last turn made progress.
    Awake,
    /// Turns have made no progress since then.
    Spinning { since: Ticks },
    /// The doorbell is armed; the turn that follows decides.
    Armed,
}

/// What the loop does before the next turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    Turn,
    /// Turn at once, but be kind to the sibling hyperthread.
    Pause,
    /// Arm the doorbell.
    Arm,
    /// Disarm the doorbell.
    Disarm,
    /// Sleep, then disarm.
    Sleep,
}

impl Idle {
    /// A turn that began at `now` has ended with `progress`; `may_sleep` tells whether all pollers
    /// agree and no timer is near (asked only when it matters).
    #[inline]
    pub(crate) fn after_turn(
        &mut self,
        now: Ticks,
        progress: usize,
        may_sleep: impl FnOnce() -> bool,
    ) -> Next {
        let (state, next) = match (*self, progress) {
            (Self::Awake, 0) => (Self::Spinning { since: now }, Next::Pause),
            (Self::Spinning { since }, 0) if now - since < limits::IDLE_BEFORE_SLEEP => {
                return Next::Pause;
            }
            (Self::Spinning { since }, 0) => match may_sleep() {
                true => (Self::Armed, Next::Arm),
                false => (Self::Spinning { since }, Next::Pause),
            },
            (Self::Armed, 0) => match may_sleep() {
                true => (Self::Awake, Next::Sleep),
                false => (Self::Spinning { since: now }, Next::Disarm),
            },
            (Self::Armed, _) => (Self::Awake, Next::Disarm),
            (Self::Awake | Self::Spinning { .. }, _) => (Self::Awake, Next::Turn),
        };
        *self = state;
        next
    }
}

#[cfg(test)]
mod tests;
