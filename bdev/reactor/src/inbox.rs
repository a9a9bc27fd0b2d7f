//! Control messages: the bounded inbox of a reactor, and the outbox of a thread of reactors.
//!
//! Owns:
//!
//! - messages of one sender to one reactor run in the order in which they were sent;
//! - a message is run or dropped, exactly once: one that comes too late for the last turn is
//!   dropped, and whoever waits for its reply learns that the reactor has stopped;
//! - a reactor never waits for another one's inbox (two full ones would wait for each other). What
//!   does not fit is kept in the thread's outbox and sent on in the following turns.
//!
//! The race at the end is settled as the one in `sleep`: the reactor sets `closed` and empties the
//! queue; a sender pushes and looks at `closed`, with a fence between on both sides. One of them
//! sees the other, and either may empty the queue.
//!
//! Not here: bulk data between reactors, which has queues of its own and uses a `Waker`.

use crate::cx::Cx;
use crate::limits;
use crate::sleep::Doorbell;
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::Backoff;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::thread;
use std::time::Duration;

/// What a message is: it runs on the reactor.
pub type Message = Box<dyn FnOnce(&mut Cx) + Send>;

pub(crate) struct Inbox {
    queue: ArrayQueue<Message>,
    closed: AtomicBool,
    doorbell: Arc<Doorbell>,
}

impl Inbox {
    pub(crate) fn new(doorbell: Arc<Doorbell>) -> Self {
        let queue = ArrayQueue::new(limits::INBOX_MESSAGES_MAX);
        Self { queue, closed: AtomicBool::new(false), doorbell }
    }

    /// Whether there is nothing to run: two loads.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The oldest message.
    pub(crate) fn pop(&self) -> Option<Message> {
        self.queue.pop()
    }

    /// Puts a message in and wakes the reactor; a closed inbox drops it.
    ///
    /// # Errors
    /// The message, when the inbox is full.
    fn try_push(&self, message: Message) -> Result<(), Message> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.queue.push(message)?;
        self.pushed();
        Ok(())
    }

    /// Wakes the reactor for a message; if it closed the inbox just before the push, takes the
    /// message out again.
    fn pushed(&self) {
        self.doorbell.ring();
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            self.discard();
        }
    }

    /// No message runs any more. Those that wait, and those to come, are dropped.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        self.discard();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn discard(&self) {
        while self.queue.pop().is_some() {}
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("messages", &self.queue.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// Messages of this thread that found an inbox full, oldest first.
type Outbox = VecDeque<(Arc<Inbox>, Message)>;

thread_local! {
    static OUTBOX: RefCell<Outbox> = const { RefCell::new(VecDeque::new()) };
}

/// Sends without ever waiting: for code on a reactor.
///
/// # Panics
/// When the outbox is full too.
pub(crate) fn send_or_keep(inbox: &Arc<Inbox>, message: Message) {
    if let Err(message) = send_in_turn(inbox, message) {
        OUTBOX.with_borrow_mut(|outbox| {
            assert!(
                outbox.len() < limits::OUTBOX_MESSAGES_MAX,
                "{} control messages wait for full inboxes: at most that many are right",
                outbox.len()
            );
            outbox.push_back((Arc::clone(inbox), message));
        });
    }
}

/// Sends and waits while the inbox is full: for control threads.
pub(crate) fn send_and_wait(inbox: &Arc<Inbox>, message: Message) {
    let backoff = Backoff::new();
    let mut message = message;
    loop {
        flush_outbox();
        match send_in_turn(inbox, message) {
            Ok(()) => return,
            Err(refused) => message = refused,
        }
        if backoff.is_completed() {
            thread::park_timeout(FULL_WAIT);
        } else {
            backoff.snooze();
        }
    }
}

/// How long a control thread waits between looks at an inbox that stays full.
const FULL_WAIT: Duration = Duration::from_micros(100);

/// Pushes unless an older message of this thread waits for the same inbox.
///
/// # Errors
/// The message, when the inbox is full or an older one waits.
pub(crate) fn send_in_turn(inbox: &Arc<Inbox>, message: Message) -> Result<(), Message> {
    let overtakes =
        OUTBOX.with_borrow(|outbox| outbox.iter().any(|(waiting, _)| Arc::ptr_eq(waiting, inbox)));
    if overtakes { Err(message) } else { inbox.try_push(message) }
}

/// Whether no message of this thread waits for a full inbox.
#[inline]
pub(crate) fn outbox_is_empty() -> bool {
    OUTBOX.with_borrow(VecDeque::is_empty)
}

/// Sends on what found an inbox full. Returns how many messages left.
pub(crate) fn flush_outbox() -> usize {
    if outbox_is_empty() {
        return 0;
    }
    // Taken out while pushing, because a push into a closed inbox runs destructors.
    let waiting = OUTBOX.take();
    let before = waiting.len();
    let mut kept = Outbox::new();
    for (inbox, message) in waiting {
        let overtakes = kept.iter().any(|(full, _)| Arc::ptr_eq(full, &inbox));
        let refused = if overtakes { Err(message) } else { inbox.try_push(message) };
        if let Err(message) = refused {
            kept.push_back((inbox, message));
        }
    }
    let left = before - kept.len();
    OUTBOX.with_borrow_mut(|outbox| {
        kept.append(outbox);
        *outbox = kept;
    });
    left
}

#[cfg(test)]
mod tests;
