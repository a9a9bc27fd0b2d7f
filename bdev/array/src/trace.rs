//! Following the requests of one array, one by one, while somebody asks for it.
//!
//! ```text
//!   submit --> off: one comparison --> shard
//!              on:  noted (what, since when), while fewer than TRACED_IN_FLIGHT_MAX are
//!   poll   --> one comparison; what was noted and comes back is a line of the log
//! ```
//!
//! Writing a line is a system call on the reactor, so each order follows a number of requests and then ends
//! by itself.
//!
//! Invariant: R6 (how many are noted at a time, and how many lines an order makes).
//!
//! Not here: what happens to a request (`shard`).

use crate::limits::TRACED_IN_FLIGHT_MAX;
use device::{BdevIo, Completion, IoOp};
use reactor::Ticks;

/// A request that is followed.
#[derive(Debug)]
struct Followed {
    client: u32,
    token: u64,
    number: u64,
    since: Ticks,
}

/// Follows the requests of a shard.
#[derive(Debug, Default)]
pub(crate) struct Tracer {
    /// Requests that are still to be followed.
    left: u64,
    /// Requests that were followed so far.
    number: u64,
    followed: Vec<Followed>,
}

impl Tracer {
    /// Follows so many requests from now on; 0 for no more.
    pub(crate) fn follow(&mut self, requests: u64) {
        self.left = requests;
    }

    /// Whether a request that comes now is to be followed.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.left > 0
    }

    /// Whether any request that is followed has not come back.
    #[inline]
    pub(crate) fn has_followed(&self) -> bool {
        !self.followed.is_empty()
    }

    /// A request goes to the shard.
    #[cold]
    pub(crate) fn submitted(&mut self, array: &str, client: u32, io: &BdevIo, now: Ticks) {
        if self.followed.len() >= TRACED_IN_FLIGHT_MAX {
            return;
        }
        let BdevIo { token, op, offset_bytes, len_bytes } = io;
        let (op, offset_bytes, len_bytes) = (word(op), *offset_bytes, *len_bytes);
        let number = self.number;
        self.left -= 1;
        self.number += 1;
        self.followed.push(Followed { client, token: *token, number, since: now });
        tracing::info!(array, number, client, op, offset_bytes, len_bytes, "request");
    }

    /// The shard had no room for the one that was noted last.
    #[cold]
    pub(crate) fn handed_back(&mut self, array: &str) {
        if let Some(Followed { number, .. }) = self.followed.pop() {
            tracing::info!(array, number, "no room");
        }
    }

    /// Requests come back.
    #[cold]
    pub(crate) fn answered(&mut self, array: &str, client: u32, done: &[Completion], now: Ticks) {
        for Completion { io, status } in done {
            let is_it = |one: &Followed| one.client == client && one.token == io.token;
            let Some(place) = self.followed.iter().position(is_it) else { continue };
            let Followed { number, since, .. } = self.followed.remove(place);
            let took_us = (now - since).as_micros();
            tracing::info!(array, number, %status, took_us, "answer");
        }
    }

    /// A user is gone, and hears of no answer.
    pub(crate) fn forget(&mut self, client: u32) {
        self.followed.retain(|one| one.client != client);
    }
}

fn word(op: &IoOp) -> &'static str {
    match op {
        IoOp::Read { .. } => "read",
        IoOp::Write { fua: false, .. } => "write",
        IoOp::Write { fua: true, .. } => "write fua",
        IoOp::Flush => "flush",
        IoOp::Unmap => "unmap",
        IoOp::WriteZeroes { .. } => "write zeroes",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use device::IoStatus;

    /// Goal: an order follows as many requests as it says, each from its start to its end, and those of one
    /// user are not taken for another's.
    #[test]
    fn an_order_ends_by_itself() {
        let mut tracer = Tracer::default();
        assert!(!tracer.is_on());
        tracer.follow(2);
        for client in [1, 2] {
            assert!(tracer.is_on());
            tracer.submitted("r", client, &BdevIo::flush(7), Ticks(0));
        }
        assert!(!tracer.is_on() && tracer.has_followed());
        let back = || [BdevIo::flush(7).complete(IoStatus::Ok)];
        tracer.answered("r", 3, &back(), Ticks(1));
        tracer.answered("r", 1, &back(), Ticks(1));
        assert!(tracer.has_followed());
        tracer.forget(2);
        assert!(!tracer.has_followed());
        tracer.follow(1);
        tracer.submitted("r", 1, &BdevIo::flush(1), Ticks(0));
        tracer.handed_back("r");
        assert!(!tracer.has_followed());
    }

    /// Goal: what is noted is bounded, whatever never comes back.
    #[test]
    fn what_is_noted_is_bounded() {
        let mut tracer = Tracer::default();
        tracer.follow(u64::MAX);
        for token in 0..2 * TRACED_IN_FLIGHT_MAX as u64 {
            tracer.submitted("r", 1, &BdevIo::flush(token), Ticks(0));
        }
        assert_eq!(tracer.followed.len(), TRACED_IN_FLIGHT_MAX);
    }
}
