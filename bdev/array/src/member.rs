//! A member's channel on one reactor, with the requests that it had no room for.
//!
//! Tokens say what a completion belongs to:
//!
//! ```text
//!   63    56 55         32 31           8 7        0
//!   | kind  |   unused    | index        | role or slot |
//! ```
//!
//! Not here: what is done with a completion (`shard`).

use device::{BdevIo, Completion, IoChannel};
use raid::event::OpId;
use raid::units::Slot;
use std::collections::VecDeque;

/// What a member request was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A host read of one strip. The slot tells where it was.
    DirectRead { index: u32, slot: Slot },
    /// One strip of a longer host read.
    HostRead { host: u32, slot: Slot },
    /// A host flush.
    HostFlush { host: u32 },
    /// A read of a stripe operation.
    OpRead { op: OpId, role: u8 },
    /// A write of a stripe operation.
    OpWrite { op: OpId, role: u8 },
    /// The flush at the array's end.
    LastFlush,
}

impl Purpose {
    pub(crate) fn token(self) -> u64 {
        let (kind, index, low) = match self {
            Self::HostRead { host, slot } => (0, host, slot.0),
            Self::HostFlush { host } => (1, host, 0),
            Self::OpRead { op, role } => (2, op, role),
            Self::OpWrite { op, role } => (3, op, role),
            Self::LastFlush => (4, 0, 0),
            Self::DirectRead { index, slot } => (5, index, slot.0),
        };
        (kind << 56) | (u64::from(index) << 8) | u64::from(low)
    }

    pub(crate) fn of(token: u64) -> Self {
        let low = (token & 0xff) as u8;
        let index = (token >> 8 & 0xff_ffff) as u32;
        match token >> 56 {
            0 => Self::HostRead { host: index, slot: Slot(low) },
            1 => Self::HostFlush { host: index },
            2 => Self::OpRead { op: index, role: low },
            3 => Self::OpWrite { op: index, role: low },
            4 => Self::LastFlush,
            5 => Self::DirectRead { index, slot: Slot(low) },
            _ => panic!("token {token:#x} was not made here"),
        }
    }
}

/// One member on one reactor.
#[derive(Debug)]
pub(crate) struct Member {
    channel: Box<dyn IoChannel>,
    refused: VecDeque<BdevIo>,
    in_flight: usize,
}

impl Member {
    pub(crate) fn new(channel: Box<dyn IoChannel>) -> Self {
        Self { channel, refused: VecDeque::new(), in_flight: 0 }
    }

    /// Submits, or keeps the request until the channel has room.
    pub(crate) fn submit(&mut self, io: BdevIo) {
        self.in_flight += 1;
        if self.refused.is_empty() {
            if let Err(io) = self.channel.submit(io) {
                self.refused.push_back(io);
            }
        } else {
            self.refused.push_back(io);
        }
    }

    /// Takes completions, and submits what was kept as far as there is room.
    pub(crate) fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        if self.in_flight == 0 {
            return 0;
        }
        let count = self.channel.poll(done);
        self.in_flight -= count;
        while let Some(io) = self.refused.pop_front() {
            if let Err(io) = self.channel.submit(io) {
                self.refused.push_front(io);
                break;
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_purpose() {
        for purpose in [
            Purpose::HostRead { host: 0xff_ffff, slot: Slot(254) },
            Purpose::HostFlush { host: 7 },
            Purpose::OpRead { op: 511, role: 255 },
            Purpose::OpWrite { op: 0, role: 254 },
            Purpose::LastFlush,
            Purpose::DirectRead { index: 1 << 20, slot: Slot(3) },
        ] {
            assert_eq!(Purpose::of(purpose.token()), purpose);
        }
    }
}
