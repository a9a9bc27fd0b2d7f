//! One request on its way through the kernel: which step it is at, and what an answer means.
//!
//! ```text
//!   Read, Write ----> Transfer --short: the rest--.
//!                      ^   |  '-------------------'
//!                      |   '----------------------------------> Done
//!   Unmap ----------> PunchHole ------------------------------> Done
//!   WriteZeroes ----> ZeroRange ----fua----> Sync ------------> Done
//!                      |   '----------------------------------> Done
//!                      '--not supported--> ZeroFill ----------> Done   (written like Transfer)
//!   Flush ----------> Sync -----------------------------------> Done
//! ```
//!
//! Any step that meets a passing shortage (`EAGAIN`, `EINTR`, ...) is tried again, a bounded number
//! of times. The machine is pure: it sees numbers and decides; engines carry them to the kernel.
//!
//! Invariants: a request owns every buffer that its step lets the kernel touch, also the zeroes of
//! `ZeroFill`. A failed flush is reported and never tried again (R9).
//!
//! Not here: ownership while the kernel has it (`slab.rs`), queues (`engine.rs`).

use reactor::memory::{IoBuf, RegionId};
use rustix::io::Errno;

use super::backing::Backing;
use super::disk::FileDisk;
use super::errno::{Verdict, judge};
use crate::io::{BdevIo, IoOp, IoStatus, Sgl};
use crate::limits::{RETRIES_MAX, SEGMENTS_PER_TRANSFER_MAX, TRANSFER_BYTES_MAX};

/// A request and how far it has come.
#[derive(Debug)]
pub(crate) struct Request {
    /// What was submitted, with its buffers.
    pub(crate) io: BdevIo,
    /// Index of the channel that it came from.
    pub(crate) channel: u16,
    /// What the kernel is doing, or is to do next.
    pub(crate) step: Step,
    /// Bytes that the step has moved so far.
    pub(crate) done_bytes: u64,
    retries: u32,
}

/// One thing that the kernel does.
#[derive(Debug)]
pub(crate) enum Step {
    /// Reads into, or writes from, the request's buffers.
    Transfer,
    /// Deallocates the range.
    PunchHole,
    /// Zeroes the range without being given zeroes.
    ZeroRange,
    /// Writes these zeroes over the range, again and again.
    ZeroFill(IoBuf),
    /// Makes the file's data durable.
    Sync,
}

/// What an answer of the kernel leads to.
#[derive(Debug)]
pub(crate) enum Next {
    /// Hand the request to the kernel again.
    Again(Request),
    /// It is over.
    Done(Request, IoStatus),
}

impl Request {
    /// A request at its first step. `zeroes` is called when the step needs a buffer of them.
    pub(crate) fn begin(
        io: BdevIo,
        channel: u16,
        disk: &FileDisk,
        zeroes: impl FnOnce() -> IoBuf,
    ) -> Self {
        let step = match io.op {
            IoOp::Read { .. } | IoOp::Write { .. } => Step::Transfer,
            IoOp::Flush => Step::Sync,
            IoOp::Unmap => Step::PunchHole,
            IoOp::WriteZeroes { .. } if disk.fallocate && disk.backing.can_zero_range() => {
                Step::ZeroRange
            }
            IoOp::WriteZeroes { .. } => Step::ZeroFill(zeroes()),
        };
        Self { io, channel, step, done_bytes: 0, retries: 0 }
    }

    /// First byte on the device that the step has yet to reach.
    #[inline]
    pub(crate) fn offset_bytes(&self) -> u64 {
        self.io.offset_bytes + self.done_bytes
    }

    /// Bytes that the step has yet to do.
    #[inline]
    pub(crate) fn left_bytes(&self) -> u64 {
        self.io.len_bytes - self.done_bytes
    }

    /// Whether the step's writes must reach stable media.
    #[inline]
    pub(crate) fn fua(&self) -> bool {
        matches!(self.io.op, IoOp::Write { fua: true, .. } | IoOp::WriteZeroes { fua: true })
    }

    /// Takes the kernel's answer to the step: bytes moved (0 for steps that move none) or an error.
    pub(crate) fn answer(
        mut self,
        result: Result<usize, Errno>,
        backing: &Backing,
        zeroes: impl FnOnce() -> IoBuf,
    ) -> Next {
        match result {
            Ok(bytes) => self.advance(bytes, backing),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if matches!(self.step, Step::ZeroRange) => {
                backing.forget_zero_range();
                self.step = Step::ZeroFill(zeroes());
                Next::Again(self)
            }
            Err(errno) => match judge(errno) {
                // A sync that was not even begun may be begun again; one that has failed may not
                // (R9): the kernel has forgotten which pages it could not write.
                Verdict::Retry if matches!(self.step, Step::Sync) && !not_begun(errno) => {
                    Next::Done(self, IoStatus::MediaError)
                }
                Verdict::Retry => self.retry(),
                Verdict::Fail(status) => Next::Done(self, backing.refine(status)),
            },
        }
    }

    fn advance(mut self, bytes: usize, backing: &Backing) -> Next {
        match self.step {
            Step::Transfer | Step::ZeroFill(_) => {
                // The kernel counts no more than it was asked for; a device that lies must not
                // make the position run past the end.
                let moved_bytes = (bytes as u64).min(self.left_bytes());
                if moved_bytes == self.left_bytes() {
                    return Next::Done(self, IoStatus::Ok);
                }
                if moved_bytes == 0 {
                    // The end of the file lies inside of the device: it was truncated or removed.
                    return Next::Done(self, backing.refine(IoStatus::MediaError));
                }
                let resumed_bytes = moved_bytes - moved_bytes % backing.resume_align_bytes();
                if resumed_bytes == 0 {
                    return self.retry();
                }
                self.done_bytes += resumed_bytes;
                self.retries = 0;
                Next::Again(self)
            }
            Step::ZeroRange if self.fua() => {
                self.step = Step::Sync;
                Next::Again(self)
            }
            Step::ZeroRange | Step::PunchHole | Step::Sync => Next::Done(self, IoStatus::Ok),
        }
    }

    fn retry(mut self) -> Next {
        if self.retries == RETRIES_MAX {
            return Next::Done(self, IoStatus::TimedOut);
        }
        self.retries += 1;
        Next::Again(self)
    }

    /// Whether the step writes to the device.
    #[inline]
    pub(crate) fn writes(&self) -> bool {
        !matches!(self.io.op, IoOp::Read { .. })
    }

    /// The memory of the step's next transfer when that is one piece, which it nearly always is.
    #[inline]
    pub(crate) fn piece(&mut self) -> Option<Piece> {
        let (base, len_bytes, region) = match (&self.step, &mut self.io.op) {
            (Step::Transfer, IoOp::Read { into: Sgl::One(buf) }) => {
                (buf.as_mut_ptr(), buf.len(), buf.region())
            }
            // The kernel only reads through these pointers.
            (Step::Transfer, IoOp::Write { from: Sgl::One(buf), .. }) => {
                (buf.as_ptr().cast_mut(), buf.len(), buf.region())
            }
            (Step::ZeroFill(zeroes), _) => {
                let left_bytes = self.io.len_bytes - self.done_bytes;
                let len_bytes = left_bytes.min(zeroes.len() as u64);
                let base = zeroes.as_ptr().cast_mut();
                return Some(Piece { base, len_bytes: len_bytes as u32, region: None });
            }
            _ => return None,
        };
        // What is done lies inside of the buffer, so it fits the type of the buffer's length.
        let skip_bytes = self.done_bytes as usize;
        Some(Piece {
            base: base.wrapping_add(skip_bytes),
            len_bytes: (len_bytes - skip_bytes).min(TRANSFER_BYTES_MAX) as u32,
            region: region.map(|(id, offset_bytes)| (id, offset_bytes + skip_bytes)),
        })
    }

    /// Lists the memory of the step's next transfer when it is in several pieces: as many as one
    /// kernel request may have, the rest is for later. The kernel only reads through the pointers
    /// of a write.
    pub(crate) fn gather(&mut self, segments: &mut Vec<libc::iovec>) {
        segments.clear();
        let mut room = Room { skip_bytes: self.done_bytes, left_bytes: TRANSFER_BYTES_MAX as u64 };
        match &mut self.io.op {
            IoOp::Read { into } => {
                for buf in into.segments_mut() {
                    room.push(buf.as_mut_ptr(), buf.len(), segments);
                }
            }
            IoOp::Write { from, .. } => {
                for buf in from.segments() {
                    room.push(buf.as_ptr().cast_mut(), buf.len(), segments);
                }
            }
            IoOp::Flush | IoOp::Unmap | IoOp::WriteZeroes { .. } => {}
        }
    }
}

/// One piece of memory that a transfer fills or writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// First byte.
    pub(crate) base: *mut u8,
    /// Length, at most `TRANSFER_BYTES_MAX`.
    pub(crate) len_bytes: u32,
    /// The memory region that it lies in, and where.
    pub(crate) region: Option<(RegionId, usize)>,
}

/// Errors that say that the kernel has not started the request.
fn not_begun(errno: Errno) -> bool {
    matches!(errno, Errno::INTR | Errno::AGAIN)
}

/// What still fits into one transfer.
struct Room {
    skip_bytes: u64,
    left_bytes: u64,
}

impl Room {
    fn push(&mut self, base: *mut u8, len_bytes: usize, segments: &mut Vec<libc::iovec>) {
        let len = len_bytes as u64;
        if self.skip_bytes >= len {
            self.skip_bytes -= len;
            return;
        }
        let taken_bytes = (len - self.skip_bytes).min(self.left_bytes);
        if taken_bytes == 0 || segments.len() == SEGMENTS_PER_TRANSFER_MAX {
            self.left_bytes = 0;
            return;
        }
        segments.push(libc::iovec {
            iov_base: base.wrapping_add(self.skip_bytes as usize).cast(),
            iov_len: taken_bytes as usize,
        });
        self.left_bytes -= taken_bytes;
        self.skip_bytes = 0;
    }
}
