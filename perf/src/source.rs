//! [`Source`]: what decides the next request of a worker and looks at each one that comes back.
//!
//! A worker keeps requests in flight and measures; a source knows what they are for. The worker is
//! generic over its source, so a plain load pays nothing for verification.
//!
//! ```text
//!             prepare(io)                     inspect(io, status)
//!   idle io ---------------> worker submits --------------------> idle io
//! ```
//!
//! Not here: channels, clocks, counters (`worker`).

use crate::verify::Findings;
use device::{BdevIo, IoOp, IoStatus};

/// What became of an idle request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Prepared {
    /// It is the next request now.
    Ready,
    /// There is one, but not before something in flight has come back.
    Wait,
    /// There is none any more.
    Exhausted,
}

/// Which way the bytes of a request go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Read,
    Write,
}

impl Direction {
    /// The direction of a request that a source has prepared: they are all reads or writes.
    #[inline]
    pub(crate) fn of(op: &IoOp) -> Self {
        if matches!(op, IoOp::Read { .. }) { Self::Read } else { Self::Write }
    }
}

/// Decides requests. Lives on one reactor.
pub(crate) trait Source {
    /// Makes `io` the next request: its offset, and its operation where that changes. `note` is
    /// kept while the request is in flight and given to `inspect`.
    fn prepare(&mut self, io: &mut BdevIo, note: &mut u64) -> Prepared;

    /// Looks at a request that has come back.
    fn inspect(&mut self, io: &BdevIo, note: u64, status: IoStatus);

    /// What it has found out; called once, with nothing in flight.
    fn findings(&mut self) -> Findings;
}
