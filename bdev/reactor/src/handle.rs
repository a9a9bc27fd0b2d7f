//! [`ReactorHandle`]: how the rest of the process talks to a reactor.
//!
//! Owns: waiting for a reply on a reactor's own thread is refused, for it could never end.
//!
//! Not here: the queue (`inbox`), the loop (`turn`, `thread`).

use crate::cx::Cx;
use crate::inbox::{self, Inbox, Message};
use crate::memory::home::ThreadToken;
use crate::sleep::{Doorbell, Waker};
use crate::stats::{Counters, ReactorStats};
use crossbeam::utils::CachePadded;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use thiserror::Error;

/// A reactor has left its loop, so it does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("reactor {index} on core {core} has stopped")]
pub struct Stopped {
    /// The reactor's index.
    pub index: usize,
    /// The core that it ran on.
    pub core: usize,
}

/// Which one a reactor is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Among all, from 0.
    pub(crate) index: usize,
    /// The core that it runs on.
    pub(crate) core: usize,
    /// How many there are.
    pub(crate) reactors: usize,
}

/// What a reactor shares with those who talk to it.
#[derive(Debug)]
pub(crate) struct Shared {
    place: Place,
    /// The thread that runs the reactor, once it does.
    home: OnceLock<ThreadToken>,
    stopping: AtomicBool,
    doorbell: Arc<Doorbell>,
    inbox: Arc<Inbox>,
    /// Written every turn: on lines of their own, so that senders do not share them.
    counters: CachePadded<Counters>,
}

/// Sends messages to a reactor. Cheap to clone; any thread.
#[derive(Clone)]
pub struct ReactorHandle(Arc<Shared>);

impl ReactorHandle {
    pub(crate) fn new(place: Place, may_sleep: bool) -> io::Result<Self> {
        let doorbell = Arc::new(Doorbell::new(may_sleep)?);
        Ok(Self(Arc::new(Shared {
            place,
            home: OnceLock::new(),
            stopping: AtomicBool::new(false),
            inbox: Arc::new(Inbox::new(Arc::clone(&doorbell))),
            doorbell,
            counters: CachePadded::default(),
        })))
    }

    /// Position among the reactors, from 0.
    #[inline]
    pub fn index(&self) -> usize {
        self.0.place.index
    }

    /// How many reactors there are.
    #[inline]
    pub(crate) fn reactors(&self) -> usize {
        self.0.place.reactors
    }

    /// The core that it runs on.
    #[inline]
    pub fn core(&self) -> usize {
        self.0.place.core
    }

    /// Runs `f` on the reactor, in one of its next turns. Control path: one allocation.
    ///
    /// Messages of one thread run in the order in which they were sent. While the inbox is full a
    /// control thread waits; a reactor's own thread never does: its messages are kept and sent on
    /// in the following turns. When the reactor has stopped, or the sending reactor stops before it
    /// could send on, `f` is dropped without being run.
    ///
    /// # Panics
    /// On a reactor's thread, when more than `limits::OUTBOX_MESSAGES_MAX` messages are kept.
    pub fn send(&self, f: impl FnOnce(&mut Cx) + Send + 'static) {
        if on_reactor() || self.lives_here() {
            inbox::send_or_keep(&self.0.inbox, Box::new(f));
        } else {
            inbox::send_and_wait(&self.0.inbox, Box::new(f));
        }
    }

    /// As [`ReactorHandle::send`], but a full inbox is the sender's business: for code on a reactor
    /// that can hold its work back.
    ///
    /// # Errors
    /// The message, when the inbox is full, or older messages of this thread wait for room in it.
    pub fn try_send(&self, message: Message) -> Result<(), Message> {
        inbox::send_in_turn(&self.0.inbox, message)
    }

    /// Runs `f` on the reactor and waits for what it returns.
    ///
    /// # Errors
    /// [`Stopped`] when the reactor has stopped, or died, before `f` returned.
    ///
    /// # Panics
    /// When called on a reactor's thread: it could wait for ever, for itself or in a circle.
    pub fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Cx) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        assert!(
            !on_reactor() && !self.lives_here(),
            "call to reactor {} on core {} from a reactor's thread: it would wait for ever; send \
             a message and have the answer sent back",
            self.index(),
            self.core()
        );
        let (reply, answer) = mpsc::sync_channel(1);
        let message = Box::new(move |cx: &mut Cx| {
            // The caller waits below, so there is somebody to take it.
            let _ = reply.send(f(cx));
        });
        inbox::send_and_wait(&self.0.inbox, message);
        answer.recv().map_err(|_| Stopped { index: self.index(), core: self.core() })
    }

    /// For queues of one's own: wakes the reactor so that it polls.
    pub fn waker(&self) -> Waker {
        Waker::new(Arc::clone(&self.0.doorbell))
    }

    /// What the reactor has done so far.
    pub fn stats(&self) -> ReactorStats {
        self.0.counters.snapshot()
    }

    /// Whether the reactor has left its loop: messages are dropped.
    pub fn is_stopped(&self) -> bool {
        self.0.inbox.is_closed()
    }

    /// Asks the reactor to leave its loop after the current turn.
    pub(crate) fn ask_to_stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.0.doorbell.ring();
    }

    #[inline]
    pub(crate) fn is_asked_to_stop(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.0.inbox
    }

    pub(crate) fn doorbell(&self) -> &Arc<Doorbell> {
        &self.0.doorbell
    }

    #[inline]
    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// The calling thread is the one that runs this reactor.
    pub(crate) fn settle(&self) {
        self.0.home.get_or_init(ThreadToken::current);
    }

    fn lives_here(&self) -> bool {
        self.0.home.get() == Some(&ThreadToken::current())
    }
}

impl fmt::Debug for ReactorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReactorHandle")
            .field("index", &self.index())
            .field("core", &self.core())
            .field("stopped", &self.is_stopped())
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// How many guards of [`OnReactor`] live on this thread.
    static ON_REACTOR: Cell<usize> = const { Cell::new(0) };
}

/// Whether the calling thread is running a reactor now.
pub(crate) fn on_reactor() -> bool {
    ON_REACTOR.get() > 0
}

/// While it lives, the calling thread counts as a reactor's: a whole life for the threads of
/// `Reactors`, a turn for a `LocalReactor`.
#[derive(Debug)]
pub(crate) struct OnReactor {
    not_send: PhantomData<*const ()>,
}

impl OnReactor {
    pub(crate) fn enter() -> Self {
        ON_REACTOR.set(ON_REACTOR.get() + 1);
        Self { not_send: PhantomData }
    }
}

impl Drop for OnReactor {
    fn drop(&mut self) {
        ON_REACTOR.set(ON_REACTOR.get() - 1);
    }
}
