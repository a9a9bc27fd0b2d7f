//! One request and its outcome: an owned operation goes in, an owned completion comes out.
//!
//! A [`BdevIo`] carries its buffers by value from the moment it is submitted until its
//! [`Completion`] is taken, so nothing that the kernel or a device writes to can be freed or
//! looked at meanwhile: the type system is the lock. The `token` is the submitter's own and comes
//! back untouched.
//!
//! ```text
//!   submitter --submit(BdevIo)--> channel --SQE/iocb--> kernel
//!       ^                            |                     |
//!       '----poll: Completion--------'<------CQE-----------'
//! ```
//!
//! Invariants: a media error is an outcome, never an `Err` of `submit`; `submit` may only hand a
//! request back (R6).
//!
//! Not here: who performs a request ([`crate::IoChannel`] and the backends).

use std::fmt;
use std::ops::Deref;

use reactor::memory::{IoBuf, IoBufMut};

/// A scatter-gather list: the buffers of one request in the order of the device's bytes.
#[derive(Debug)]
pub enum Sgl<B> {
    /// The usual case, which needs no list.
    One(B),
    /// Several buffers, one after the other. Empty ones are allowed and move nothing.
    Many(Vec<B>),
}

impl<B> Sgl<B> {
    /// The buffers in order.
    #[inline]
    pub fn as_slice(&self) -> &[B] {
        match self {
            Self::One(buf) => std::slice::from_ref(buf),
            Self::Many(bufs) => bufs,
        }
    }

    /// The buffers in order.
    #[inline]
    pub fn segments(&self) -> std::slice::Iter<'_, B> {
        self.as_slice().iter()
    }

    /// The buffers in order, to be written to.
    #[inline]
    pub fn segments_mut(&mut self) -> std::slice::IterMut<'_, B> {
        match self {
            Self::One(buf) => std::slice::from_mut(buf).iter_mut(),
            Self::Many(bufs) => bufs.iter_mut(),
        }
    }

    /// The only buffer.
    ///
    /// # Errors
    ///
    /// The list itself when it has no buffer or several.
    pub fn into_one(self) -> Result<B, Self> {
        match self {
            Self::One(buf) => Ok(buf),
            Self::Many(mut bufs) if bufs.len() == 1 => match bufs.pop() {
                Some(buf) => Ok(buf),
                None => Err(Self::Many(bufs)),
            },
            Self::Many(bufs) => Err(Self::Many(bufs)),
        }
    }
}

impl<B: Deref<Target = [u8]>> Sgl<B> {
    /// Sum of the buffers' lengths, in bytes.
    #[inline]
    pub fn len_bytes(&self) -> u64 {
        match self {
            Self::One(buf) => buf.len() as u64,
            Self::Many(bufs) => bufs.iter().map(|buf| buf.len() as u64).sum(),
        }
    }
}

impl<B> From<B> for Sgl<B> {
    fn from(buf: B) -> Self {
        Self::One(buf)
    }
}

/// What a request asks for.
#[derive(Debug)]
pub enum IoOp {
    /// Fill the buffers from the device.
    Read {
        /// Where the bytes go. Their content is undefined when the request fails. A completion may have
        /// others than the request had (see [`IoChannel::poll`](crate::IoChannel::poll)).
        into: Sgl<IoBufMut>,
    },
    /// Put the buffers on the device.
    Write {
        /// Where the bytes come from.
        from: Sgl<IoBuf>,
        /// Force unit access: complete only when the bytes are on stable media.
        fua: bool,
    },
    /// Make every write that has completed durable. It covers the whole device: offset and length
    /// of the request are not looked at.
    Flush,
    /// Give the range back to the device. What it reads as afterwards is
    /// [`BdevInfo::unmap_reads_zero`](crate::BdevInfo::unmap_reads_zero).
    Unmap,
    /// Make the range read as zeroes.
    WriteZeroes {
        /// Complete only when the zeroes are on stable media.
        fua: bool,
    },
}

/// One request to a bdev.
#[derive(Debug)]
pub struct BdevIo {
    /// The submitter's name for the request; the device does not look at it.
    pub token: u64,
    /// What to do, with the buffers.
    pub op: IoOp,
    /// First byte on the device, a multiple of the block size.
    pub offset_bytes: u64,
    /// Length in bytes, a multiple of the block size and, for reads and writes, the sum of the
    /// buffers' lengths.
    pub len_bytes: u64,
}

impl BdevIo {
    /// A read of as many bytes as the buffers hold.
    #[inline]
    pub fn read(token: u64, offset_bytes: u64, into: impl Into<Sgl<IoBufMut>>) -> Self {
        let into = into.into();
        let len_bytes = into.len_bytes();
        Self { token, op: IoOp::Read { into }, offset_bytes, len_bytes }
    }

    /// A write of all the bytes in the buffers.
    #[inline]
    pub fn write(token: u64, offset_bytes: u64, from: impl Into<Sgl<IoBuf>>, fua: bool) -> Self {
        let from = from.into();
        let len_bytes = from.len_bytes();
        Self { token, op: IoOp::Write { from, fua }, offset_bytes, len_bytes }
    }

    /// A flush of the whole device.
    #[inline]
    pub fn flush(token: u64) -> Self {
        Self { token, op: IoOp::Flush, offset_bytes: 0, len_bytes: 0 }
    }

    /// An unmap of a range.
    #[inline]
    pub fn unmap(token: u64, offset_bytes: u64, len_bytes: u64) -> Self {
        Self { token, op: IoOp::Unmap, offset_bytes, len_bytes }
    }

    /// Zeroes over a range.
    #[inline]
    pub fn write_zeroes(token: u64, offset_bytes: u64, len_bytes: u64, fua: bool) -> Self {
        Self { token, op: IoOp::WriteZeroes { fua }, offset_bytes, len_bytes }
    }

    /// The request's completion with this outcome.
    #[inline]
    pub fn complete(self, status: IoStatus) -> Completion {
        Completion { io: self, status }
    }
}

/// Outcome of a request. Small on purpose: the data path carries no texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoStatus {
    /// Done, all of it.
    Ok,
    /// The device could not read or write the medium (also: any error that nothing else names).
    MediaError,
    /// The request itself is wrong: range, alignment, length of the buffers.
    InvalidRequest,
    /// The device, or the file system under it, has no room for the write.
    NoSpace,
    /// The device does not do this kind of request.
    Unsupported,
    /// Given up on request, not by the device.
    Aborted,
    /// The device, or a resource on the way to it, did not answer in time.
    TimedOut,
    /// The device is no longer there. Nothing sent to it later will succeed.
    Gone,
}

impl IoStatus {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::MediaError,
        Self::InvalidRequest,
        Self::NoSpace,
        Self::Unsupported,
        Self::Aborted,
        Self::TimedOut,
        Self::Gone,
    ];

    /// Whether the request was done.
    #[inline]
    pub fn is_ok(self) -> bool {
        self == Self::Ok
    }
}

impl fmt::Display for IoStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::MediaError => "media error",
            Self::InvalidRequest => "invalid request",
            Self::NoSpace => "no space",
            Self::Unsupported => "unsupported",
            Self::Aborted => "aborted",
            Self::TimedOut => "timed out",
            Self::Gone => "gone",
        })
    }
}

/// A request that has come back, with its buffers.
#[derive(Debug)]
pub struct Completion {
    /// The request as it was submitted.
    pub io: BdevIo,
    /// What became of it.
    pub status: IoStatus,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the list's methods agree about order, length and the only buffer. Method: small lists.
    #[test]
    fn list_methods_agree() {
        let one = Sgl::One(IoBufMut::heap(512));
        assert_eq!(one.len_bytes(), 512);
        assert_eq!(one.as_slice().len(), 1);
        assert_eq!(one.into_one().map(|buf| buf.len()).ok(), Some(512));

        let mut many =
            Sgl::Many(vec![IoBufMut::heap(512), IoBufMut::heap(4096), IoBufMut::heap(1024)]);
        assert_eq!(many.len_bytes(), 512 + 4096 + 1024);
        for (at, segment) in many.segments_mut().enumerate() {
            segment.fill(at as u8);
        }
        let firsts: Vec<u8> = many.segments().map(|segment| segment[0]).collect();
        assert_eq!(firsts, [0, 1, 2]);
        let many = many.into_one().unwrap_err();
        assert_eq!(many.as_slice().len(), 3);

        let single = Sgl::Many(vec![IoBufMut::heap(512)]);
        assert!(single.into_one().is_ok());
        assert!(Sgl::<IoBufMut>::Many(Vec::new()).into_one().is_err());
    }

    /// Goal: moving a request costs less than two cache lines. Method: its size, pinned here.
    #[test]
    fn request_stays_small() {
        assert!(size_of::<BdevIo>() <= 72, "{} bytes", size_of::<BdevIo>());
        assert!(size_of::<Completion>() <= 80, "{} bytes", size_of::<Completion>());
    }
}
