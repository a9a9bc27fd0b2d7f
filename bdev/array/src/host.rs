//! Host requests on the reactor where they arrive: how each falls into parts, and how it is answered.
//!
//! ```text
//!   request --+-- part: a strip read straight from its member (the owner-free fast path)
//!             +-- part: a piece, the share of one stripe, to the shard that owns the stripe
//!             +-- part: a flush of one member
//! ```
//!
//! A request of one part, the usual case, hands its buffers to the part and gets them back with it.
//! Otherwise reads are cut and joined, writes are sliced. A request is issued a bounded number of
//! parts at a time (**R6**), so its length does not matter.
//!
//! A member that is given up keeps the buffers that it has. A read that had cut its own for it begins
//! again with new ones when its other parts are back, and the user gets those: the member may still
//! write to the old ones.
//!
//! Not here: the parts' own ways (`shard`), pieces on their owner (`piece`).

use crate::segments::{Join, Rest};
use device::{BdevIo, Completion, IoOp, IoStatus, Sgl};
use reactor::memory::{IoBuf, IoBufMut};

/// What a request is, and where its buffers are.
#[derive(Debug)]
pub(crate) enum Body {
    /// Not issued yet.
    Read(Sgl<IoBufMut>),
    /// Cut into parts.
    Reading { rest: Rest, join: Join },
    /// A part came back in a buffer of somebody else's: when all others are back the read begins again,
    /// with these.
    Torn(Sgl<IoBufMut>),
    /// Not issued yet, or sliced: the parts share these buffers.
    Write { from: Sgl<IoBuf>, fua: bool },
    /// The only part has the buffers.
    Lent,
    /// The same, of a write.
    LentWrite { fua: bool },
    /// Zeroes over a range.
    Zeroes { fua: bool, unmap: bool },
    /// All members are flushed.
    Flush {
        /// One of them failed.
        failed: bool,
    },
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) client: u32,
    pub(crate) token: u64,
    pub(crate) offset_bytes: u64,
    pub(crate) len_bytes: u64,
    /// Bytes that parts have been issued for.
    pub(crate) issued_bytes: u64,
    /// Parts without an answer.
    pub(crate) pending: u32,
    pub(crate) status: IoStatus,
    pub(crate) body: Body,
}

impl Host {
    pub(crate) fn new(client: u32, io: BdevIo) -> Self {
        let BdevIo { token, op, offset_bytes, len_bytes } = io;
        let body = match op {
            IoOp::Read { into } => Body::Read(into),
            IoOp::Write { from, fua } => Body::Write { from, fua },
            IoOp::Flush => Body::Flush { failed: false },
            IoOp::Unmap => Body::Zeroes { fua: false, unmap: true },
            IoOp::WriteZeroes { fua } => Body::Zeroes { fua, unmap: false },
        };
        Self {
            client,
            token,
            offset_bytes,
            len_bytes,
            issued_bytes: 0,
            pending: 0,
            status: IoStatus::Ok,
            body,
        }
    }

    /// Whether every part has been issued.
    pub(crate) fn is_issued(&self) -> bool {
        self.issued_bytes == self.len_bytes
    }

    /// Counts a part's answer. The first failure is the request's.
    pub(crate) fn part_ended(&mut self, status: IoStatus) {
        self.pending -= 1;
        if self.status.is_ok() {
            self.status = status;
        }
    }

    /// Takes a part of a read, or of a write, back where it was one of several.
    pub(crate) fn take_part(&mut self, part: Option<IoOp>) -> Option<IoOp> {
        match (&mut self.body, part) {
            (Body::Reading { join, .. }, Some(IoOp::Read { into })) => {
                if !join.absorb(into) {
                    self.body = Body::Torn(join.afresh());
                }
                None
            }
            (Body::Write { .. } | Body::Torn(_), _) => None,
            (_, part) => part,
        }
    }

    /// Whether it can only end by beginning again, or by failing.
    pub(crate) fn is_torn(&self) -> bool {
        matches!(self.body, Body::Torn(_))
    }

    /// Begins a read again of which no part is out any more.
    pub(crate) fn begin_again(&mut self) {
        if let Body::Torn(into) = std::mem::replace(&mut self.body, Body::Lent) {
            self.body = Body::Read(into);
            self.issued_bytes = 0;
        }
    }

    /// The answer, once every part has ended. `part` is what the only part brings back.
    pub(crate) fn into_completion(self, part: Option<IoOp>) -> Completion {
        let op = match self.body {
            Body::Read(into) | Body::Torn(into) => IoOp::Read { into },
            Body::Reading { rest, mut join } => {
                join.absorb_rest(rest);
                IoOp::Read { into: join.close() }
            }
            Body::Write { from, fua } => IoOp::Write { from, fua },
            Body::Lent => part.expect("the only part brings the buffers back"),
            Body::LentWrite { fua } => match part {
                Some(IoOp::Write { from, .. }) => IoOp::Write { from, fua },
                part => panic!("a write came back as {part:?}"),
            },
            Body::Zeroes { unmap: true, .. } => IoOp::Unmap,
            Body::Zeroes { fua, unmap: false } => IoOp::WriteZeroes { fua },
            Body::Flush { .. } => IoOp::Flush,
        };
        let Self { token, offset_bytes, len_bytes, status, .. } = self;
        Completion { io: BdevIo { token, op, offset_bytes, len_bytes }, status }
    }
}
