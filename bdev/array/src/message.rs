//! Messages between the shards of an array, and the mailboxes in which they travel.
//!
//! ```text
//!   shard a --Piece--> mailbox b --> shard b      a's part of a stripe that b owns
//!   shard a <-PieceDone- mailbox a <-- shard b
//!   shard n --Input--> shard 0, where the coordinator is
//!   shard n <-Command-- shard 0
//! ```
//!
//! A mailbox is a bounded lock-free queue (crossbeam); buffers travel in it by ownership. A sender
//! keeps what does not fit (**R6**) and wakes the receivers once a turn, not once a message.
//!
//! Not here: what a message makes a shard do (`shard`).

use crate::limits::MAILBOX_MAX;
use crossbeam::queue::ArrayQueue;
use device::{IoStatus, Sgl};
use raid::bitmap::Bitmap;
use raid::coordinator::Input;
use raid::event::{Event, PieceSpec, Work};
use raid::member::MemberMap;
use raid::shard::Writes;
use raid::units::Slot;
use reactor::Waker;
use reactor::memory::{IoBuf, IoBufMut};
use std::collections::VecDeque;
use std::sync::Arc;

/// The bytes of a piece.
#[derive(Debug)]
pub(crate) enum PieceData {
    /// Where a read goes.
    Read(Sgl<IoBufMut>),
    /// What is written.
    Write(Sgl<IoBuf>),
    /// Zeroes are written.
    Zeroes,
}

/// What one shard tells another.
#[derive(Debug)]
pub(crate) enum Message {
    /// Do this piece of my host request.
    Piece { origin: usize, host: u32, spec: PieceSpec, data: PieceData },
    /// Your piece is done.
    PieceDone { host: u32, status: IoStatus, data: PieceData },
    /// To the coordinator.
    Input(Input),
    /// From the coordinator.
    Command(Command),
}

/// What the coordinator tells a shard.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// For the core.
    Event(Event),
    /// Work on your stripes of a stretch.
    StartWork(Work),
    /// Give up the rest of it.
    AbortWork,
    /// Come to rest.
    Quiesce,
    /// Go on with these members.
    Resume { map: Arc<MemberMap>, stale: Option<Arc<Bitmap>>, writes: Writes },
    /// Writes may go on.
    AllowWrites,
    /// A member does not answer: answer for it.
    Abandon { slot: Slot, status: IoStatus },
}

/// One shard's mailbox, and the way to wake its reactor.
#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: ArrayQueue<Message>,
    waker: Waker,
}

impl Mailbox {
    pub(crate) fn new(waker: Waker) -> Self {
        Self { queue: ArrayQueue::new(MAILBOX_MAX), waker }
    }

    pub(crate) fn take(&self) -> Option<Message> {
        self.queue.pop()
    }
}

/// One shard's end of all mailboxes.
#[derive(Debug)]
pub(crate) struct Post {
    mailboxes: Arc<[Mailbox]>,
    /// What did not fit, by receiver, in order.
    waiting: Vec<VecDeque<Message>>,
    /// Receivers that must be woken at the end of the turn.
    to_wake: Vec<bool>,
}

impl Post {
    pub(crate) fn new(mailboxes: Arc<[Mailbox]>) -> Self {
        let waiting = mailboxes.iter().map(|_| VecDeque::new()).collect();
        let to_wake = vec![false; mailboxes.len()];
        Self { mailboxes, waiting, to_wake }
    }

    /// Number of shards.
    pub(crate) fn shards(&self) -> usize {
        self.mailboxes.len()
    }

    /// Sends, or keeps for later, behind what was kept before.
    pub(crate) fn send(&mut self, to: usize, message: Message) {
        self.to_wake[to] = true;
        let refused = if self.waiting[to].is_empty() {
            self.mailboxes[to].queue.push(message).err()
        } else {
            Some(message)
        };
        if let Some(message) = refused {
            self.waiting[to].push_back(message);
        }
    }

    /// Sends what was kept, as far as it fits now, and wakes the receivers.
    pub(crate) fn flush(&mut self) {
        for (to, mailbox) in self.mailboxes.iter().enumerate() {
            while let Some(message) = self.waiting[to].pop_front() {
                if let Err(message) = mailbox.queue.push(message) {
                    self.waiting[to].push_front(message);
                    break;
                }
                self.to_wake[to] = true;
            }
            if std::mem::take(&mut self.to_wake[to]) {
                mailbox.waker.wake();
            }
        }
    }

    /// Takes the next message for shard `index`.
    pub(crate) fn take(&self, index: usize) -> Option<Message> {
        self.mailboxes[index].take()
    }

    /// Whether nothing waits for a mailbox to have room.
    pub(crate) fn is_flushed(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }
}
