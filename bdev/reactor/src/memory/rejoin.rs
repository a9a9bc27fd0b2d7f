//! [`Rejoin`]: makes one buffer again of the parts it was split into.
//!
//! Owns: bytes are handed out once. The argument: when a rejoin begins, every byte of the buffer
//! is in the one `IoBufMut` that it hands on. From then on a byte is either in exactly one
//! `IoBufMut` (splitting keeps them disjoint) or absorbed; `absorb` consumes the part, so a byte is
//! absorbed at most once, and it refuses parts of other buffers. When the lengths of what was
//! absorbed add up to the whole, every byte has come back, nobody else has one, and the whole may
//! be given out. A part that was frozen cannot become an `IoBufMut` behind our back, for
//! `try_into_mut` wants to be the block's only view and the rejoin holds one too. That view also
//! keeps the block from being freed and lent again, so an equal address means the same loan.
//!
//! Not here: in which order parts come back. Any will do.

use super::block::View;
use super::buf::IoBufMut;
use std::fmt;

/// Takes the disjoint parts of one [`IoBufMut`] back until it is whole again: for a read that is
/// split over members and completes in any order.
///
/// ```
/// use reactor::memory::{IoBufMut, Rejoin};
///
/// let (mut rejoin, mut rest) = Rejoin::begin(IoBufMut::heap(8192));
/// let front = rest.split_to(4096);
/// rejoin.absorb(rest).expect("a part of ours");
/// rejoin.absorb(front).expect("a part of ours");
/// assert_eq!(rejoin.finish().expect("every byte is back").len(), 8192);
/// ```
pub struct Rejoin {
    /// The whole range. Nobody reads or writes through it before `finish`.
    whole: View,
    absorbed_bytes: usize,
}

impl Rejoin {
    /// Remembers what the whole is; the buffer is handed back to be split.
    pub fn begin(buf: IoBufMut) -> (Self, IoBufMut) {
        let whole = buf.view().part(0..buf.len());
        (Self { whole, absorbed_bytes: 0 }, buf)
    }

    /// Takes a part back.
    ///
    /// # Errors
    /// The part itself, when it is not made of bytes of this buffer.
    pub fn absorb(&mut self, part: IoBufMut) -> Result<(), IoBufMut> {
        if !self.is_part(&part) {
            return Err(part);
        }
        self.absorbed_bytes += part.len();
        Ok(())
    }

    /// Whether a buffer is made of bytes of this one.
    pub fn is_part(&self, part: &IoBufMut) -> bool {
        self.whole.covers(part.view())
    }

    /// Length of the whole.
    pub fn len_bytes(&self) -> usize {
        self.whole.len()
    }

    /// Bytes that are still out.
    pub fn missing_bytes(&self) -> usize {
        self.whole.len() - self.absorbed_bytes
    }

    /// The whole buffer.
    ///
    /// # Errors
    /// The rejoin itself, when some bytes are still out.
    pub fn finish(self) -> Result<IoBufMut, Self> {
        if self.missing_bytes() > 0 {
            return Err(self);
        }
        Ok(IoBufMut::from_view(self.whole))
    }
}

impl fmt::Debug for Rejoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejoin")
            .field("len_bytes", &self.whole.len())
            .field("missing_bytes", &self.missing_bytes())
            .finish_non_exhaustive()
    }
}
