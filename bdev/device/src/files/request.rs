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
//! Any step that meets a passing shortage (`EAGAIN`, `EINTR`, ...) is tried again, for a bounded
//! time. The machine is pure: it sees numbers and a clock and decides; engines carry them to the
//! kernel.
//!
//! Invariants: a request owns every buffer that its step lets the kernel touch, also the zeroes of
//! `ZeroFill`. R9: what fails while it syncs is reported and never tried again, and from then on nothing
//! that promises to be durable succeeds on that disk (`Backing::lose_writes`). What the kernel refuses to
//! begin has not failed; AIO tells the one from the other, io_uring has one kind of answer for both.
//!
//! Not here: ownership while the kernel has it (`slab.rs`), queues (`engine.rs`).

use reactor::Ticks;
use reactor::memory::{IoBuf, RegionId};
use rustix::io::Errno;

use super::backing::Backing;
use super::disk::FileDisk;
use super::errno::{Verdict, judge};
use crate::io::{BdevIo, IoOp, IoStatus, Sgl};
use crate::limits::{RETRIES_LEAST, RETRY_TIME, SEGMENTS_PER_TRANSFER_MAX, TRANSFER_BYTES_MAX};

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
    /// Its number among the syncs of its channel, where those are counted.
    pub(crate) sync: Option<u64>,
    shortage: Option<Shortage>,
}

/// That a step has not come on for want of something.
#[derive(Clone, Copy, Debug)]
struct Shortage {
    since: Ticks,
    tries: u32,
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

/// An answer of the kernel to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// It is done: bytes moved, 0 for steps that move none.
    Moved(usize),
    /// It has failed, or may not have been begun.
    Failed(Errno),
    /// It has not been begun: the submission itself was refused.
    Refused(Errno),
}

impl From<Result<usize, Errno>> for Answered {
    fn from(result: Result<usize, Errno>) -> Self {
        match result {
            Ok(bytes) => Self::Moved(bytes),
            Err(errno) => Self::Failed(errno),
        }
    }
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
        Self { io, channel, step, done_bytes: 0, sync: None, shortage: None }
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

    /// Whether its success says that data are durable.
    #[inline]
    pub(crate) fn is_sync(&self) -> bool {
        matches!(self.io.op, IoOp::Flush) || self.fua()
    }

    /// Whether the step makes data durable: its own, or with that all that was written before.
    #[inline]
    fn syncs(&self) -> bool {
        match self.step {
            Step::Sync => true,
            Step::Transfer | Step::ZeroFill(_) => self.writes() && self.fua(),
            Step::PunchHole | Step::ZeroRange => false,
        }
    }

    /// Takes the kernel's answer to the step.
    ///
    /// The kernel tells of pages that it could not write once for each open file, to whichever sync
    /// asks first, also a write's with `RWF_DSYNC`; after that it has forgotten them. So one sync that
    /// fails stands for all: those that are on their way fail as well when they come back.
    pub(crate) fn answer(
        self,
        answered: Answered,
        backing: &Backing,
        now: Ticks,
        zeroes: impl FnOnce() -> IoBuf,
    ) -> Next {
        let syncs = self.syncs();
        if let Answered::Failed(errno) = answered
            && syncs
            && may_tell_of_lost_pages(errno)
        {
            backing.lose_writes(errno);
        }
        match self.step_on(answered, backing, now, zeroes) {
            Next::Done(request, IoStatus::Ok) if syncs && backing.has_lost_writes() => {
                Next::Done(request, IoStatus::MediaError)
            }
            next => next,
        }
    }

    fn step_on(
        mut self,
        answered: Answered,
        backing: &Backing,
        now: Ticks,
        zeroes: impl FnOnce() -> IoBuf,
    ) -> Next {
        let (errno, begun) = match answered {
            Answered::Moved(bytes) => return self.advance(bytes, backing, now),
            Answered::Failed(errno) => (errno, !not_begun(errno)),
            Answered::Refused(errno) => (errno, false),
        };
        if let (Errno::OPNOTSUPP | Errno::NOSYS, Step::ZeroRange) = (errno, &self.step) {
            backing.forget_zero_range();
            self.step = Step::ZeroFill(zeroes());
            return Next::Again(self);
        }
        match judge(errno) {
            // A sync that was not even begun may be begun again; one that has failed may not (R9).
            Verdict::Retry if self.syncs() && begun => Next::Done(self, IoStatus::MediaError),
            Verdict::Retry => self.retry(now),
            Verdict::Fail(status) => Next::Done(self, backing.refine(status)),
        }
    }

    fn advance(mut self, bytes: usize, backing: &Backing, now: Ticks) -> Next {
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
                    return self.retry(now);
                }
                self.done_bytes += resumed_bytes;
                self.shortage = None;
                Next::Again(self)
            }
            Step::ZeroRange if self.fua() => {
                self.step = Step::Sync;
                Next::Again(self)
            }
            Step::ZeroRange | Step::PunchHole | Step::Sync => Next::Done(self, IoStatus::Ok),
        }
    }

    fn retry(mut self, now: Ticks) -> Next {
        let shortage = self.shortage.get_or_insert(Shortage { since: now, tries: 0 });
        if shortage.tries >= RETRIES_LEAST && now - shortage.since >= RETRY_TIME {
            return Next::Done(self, IoStatus::TimedOut);
        }
        shortage.tries = shortage.tries.saturating_add(1);
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

/// Errors that say that the kernel has not begun the request, also where it answers like any other one.
fn not_begun(errno: Errno) -> bool {
    matches!(errno, Errno::INTR | Errno::AGAIN)
}

/// Errors of a sync that may be about pages that were to be written: all but those that say that the request
/// was not begun, or is one that the file can never serve. `EROFS` is what a file system says that has given
/// up.
fn may_tell_of_lost_pages(errno: Errno) -> bool {
    let refused = matches!(
        errno,
        Errno::INVAL | Errno::FAULT | Errno::BADF | Errno::OPNOTSUPP | Errno::NOSYS
    );
    !(refused || not_begun(errno))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bdev::BackendDetail;
    use crate::files::backing::BackingSpec;
    use crate::files::disk::DiskSpec;
    use reactor::memory::IoBufMut;

    /// A disk of 1 MiB in a file of its own.
    fn disk(fallocate: bool) -> FileDisk {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let spec = BackingSpec {
            name: "d0".into(),
            filename: file.path().into(),
            block_size_bytes: Some(512),
            readonly: false,
        };
        let spec_of_disk = DiskSpec {
            name: "d0".into(),
            uuid: None,
            product_name: "URING bdev",
            readonly: false,
            fallocate,
            detail: BackendDetail::None,
        };
        FileDisk::new(Backing::open(spec).unwrap(), spec_of_disk)
    }

    fn zeroes() -> IoBuf {
        IoBufMut::heap(4096).freeze()
    }

    fn begin(io: BdevIo, disk: &FileDisk) -> Request {
        Request::begin(io, 0, disk, zeroes)
    }

    /// Answers a request at a time and expects that it goes on.
    fn again_at(
        now: Ticks,
        request: Request,
        answered: impl Into<Answered>,
        disk: &FileDisk,
    ) -> Request {
        let answered = answered.into();
        match request.answer(answered, &disk.backing, now, zeroes) {
            Next::Again(request) => request,
            Next::Done(_, status) => panic!("over with {status} after {answered:?}"),
        }
    }

    fn again(request: Request, answered: impl Into<Answered>, disk: &FileDisk) -> Request {
        again_at(Ticks::ZERO, request, answered, disk)
    }

    /// Answers a request at a time and expects that it is over.
    fn over_at(
        now: Ticks,
        request: Request,
        answered: impl Into<Answered>,
        disk: &FileDisk,
    ) -> IoStatus {
        let answered = answered.into();
        match request.answer(answered, &disk.backing, now, zeroes) {
            Next::Done(_, status) => status,
            Next::Again(request) => panic!("goes on after {answered:?}: {:?}", request.step),
        }
    }

    fn over(request: Request, answered: impl Into<Answered>, disk: &FileDisk) -> IoStatus {
        over_at(Ticks::ZERO, request, answered, disk)
    }

    /// Goal: a short transfer goes on exactly where the kernel stopped, rounded down to what it
    /// can address. Method: the piece that each next transfer names.
    #[test]
    fn short_transfers_go_on_where_they_stopped() {
        let disk = disk(true);
        let align = disk.backing.resume_align_bytes();
        let buf = IoBufMut::heap(16_384);
        let base = buf.as_ptr().addr();
        let mut request = begin(BdevIo::read(1, 8192, buf), &disk);
        for (moved, expected) in [(4096, 4096), (4100, 8192 + 4 / align * 4)] {
            request = again(request, Ok(moved), &disk);
            assert_eq!(request.done_bytes, expected);
            assert_eq!(request.offset_bytes(), 8192 + expected);
            let piece = request.piece().unwrap();
            assert_eq!(piece.base.addr(), base + expected as usize);
            assert_eq!(u64::from(piece.len_bytes), 16_384 - expected);
        }
        let left = request.left_bytes() as usize;
        assert_eq!(over(request, Ok(left), &disk), IoStatus::Ok);
    }

    /// Goal: a vectored request that was cut short names the rest of its segments, and never more
    /// than the kernel takes. Method: cuts inside of segments and between them.
    #[test]
    fn gathered_segments_skip_what_is_done() {
        let disk = disk(true);
        let bufs: Vec<_> = [512, 0, 1024, 2048].map(IoBufMut::heap).into();
        let bases: Vec<_> = bufs.iter().map(|buf| buf.as_ptr().addr()).collect();
        let mut request = begin(BdevIo::read(1, 0, Sgl::Many(bufs)), &disk);
        assert!(request.piece().is_none());
        for (done_bytes, expected) in [
            (0, vec![(bases[0], 512), (bases[2], 1024), (bases[3], 2048)]),
            (512, vec![(bases[2], 1024), (bases[3], 2048)]),
            (1024, vec![(bases[2] + 512, 512), (bases[3], 2048)]),
            (3072, vec![(bases[3] + 1536, 512)]),
        ] {
            request.done_bytes = done_bytes;
            let mut segments = Vec::new();
            request.gather(&mut segments);
            let found: Vec<_> =
                segments.iter().map(|segment| (segment.iov_base.addr(), segment.iov_len)).collect();
            assert_eq!(found, expected, "after {done_bytes} bytes");
        }

        let many: Vec<_> =
            (0..SEGMENTS_PER_TRANSFER_MAX + 9).map(|_| IoBufMut::heap(512).freeze()).collect();
        let mut request = begin(BdevIo::write(1, 0, Sgl::Many(many), false), &disk);
        let mut segments = Vec::new();
        request.gather(&mut segments);
        assert_eq!(segments.len(), SEGMENTS_PER_TRANSFER_MAX);
    }

    /// Goal: passing shortages are tried again for a bounded time, however often that is; progress starts
    /// the time anew, and one in which the process stood still is not enough. Method: errors on a clock by
    /// hand, until it gives up.
    #[test]
    fn shortages_are_bounded() {
        let disk = disk(true);
        let mut request = begin(BdevIo::read(1, 0, IoBufMut::heap(8192)), &disk);
        for errno in [Errno::AGAIN, Errno::INTR, Errno::BUSY, Errno::NOMEM] {
            request = again(request, Err(errno), &disk);
        }
        for turn in 0..100_000 {
            request = again_at(Ticks(turn), request, Err(Errno::NOMEM), &disk);
        }
        let start = RETRY_TIME + RETRY_TIME;
        request = again_at(start, request, Ok(4096), &disk);
        assert_eq!(request.done_bytes, 4096);
        request = again_at(start, request, Err(Errno::AGAIN), &disk);
        let almost = start + Ticks(RETRY_TIME.0 - 1);
        for _ in 0..RETRIES_LEAST {
            request = again_at(almost, request, Err(Errno::AGAIN), &disk);
        }
        let end = start + RETRY_TIME;
        assert_eq!(over_at(end, request, Err(Errno::AGAIN), &disk), IoStatus::TimedOut);

        let mut request = begin(BdevIo::read(1, 0, IoBufMut::heap(8192)), &disk);
        for step in 0..RETRIES_LEAST {
            let now = Ticks(RETRY_TIME.0 * 10 * u64::from(step.min(1)));
            request = again_at(now, request, Err(Errno::AGAIN), &disk);
        }
        let end = Ticks(RETRY_TIME.0 * 10);
        assert_eq!(over_at(end, request, Err(Errno::AGAIN), &disk), IoStatus::TimedOut);
    }

    /// Goal: the end of the file inside of the device ends the request. Method: a transfer of 0.
    #[test]
    fn end_of_file_ends_the_request() {
        let disk = disk(true);
        let request = begin(BdevIo::read(1, 0, IoBufMut::heap(8192)), &disk);
        let request = again(request, Ok(4096), &disk);
        assert_eq!(over(request, Ok(0), &disk), IoStatus::MediaError);
    }

    fn write(fua: bool) -> BdevIo {
        BdevIo::write(1, 0, IoBufMut::heap(4096).freeze(), fua)
    }

    /// Goal (R9): a sync that has failed is never tried again, whether it is a flush or a part of a write;
    /// one that was not begun is. Method: errors of both kinds.
    #[test]
    fn failed_sync_is_final() {
        for errno in [Errno::IO, Errno::NOMEM, Errno::BUSY, Errno::NOSPC] {
            for io in [BdevIo::flush(1), write(true)] {
                let disk = disk(true);
                assert!(!over(begin(io, &disk), Err(errno), &disk).is_ok(), "{errno}");
            }
        }
        let disk = disk(true);
        for io in [BdevIo::flush(1), write(true), write(false)] {
            let moved = io.len_bytes as usize;
            let request = again(begin(io, &disk), Err(Errno::AGAIN), &disk);
            assert_eq!(over(request, Ok(moved), &disk), IoStatus::Ok);
        }
        let request = again(begin(write(false), &disk), Err(Errno::NOMEM), &disk);
        assert_eq!(over(request, Ok(4096), &disk), IoStatus::Ok);
    }

    /// Goal: a sync that the kernel has refused to begin has lost nothing: it is begun again for the usual time,
    /// and whatever becomes of it, later ones are believed. Method: every error in the submission, to every kind
    /// of sync.
    #[test]
    fn a_refused_sync_has_not_failed() {
        let syncs = || [BdevIo::flush(1), write(true), BdevIo::write_zeroes(1, 0, 4096, true)];
        let disk = disk(false);
        for errno in (1..=libc::EHWPOISON).map(Errno::from_raw_os_error) {
            for io in syncs() {
                let refused = Answered::Refused(errno);
                let moved = io.len_bytes as usize;
                let request = begin(io, &disk);
                let Verdict::Fail(expected) = judge(errno) else {
                    let mut request = again(request, refused, &disk);
                    for _ in 1..RETRIES_LEAST {
                        request = again_at(Ticks(RETRY_TIME.0 - 1), request, refused, &disk);
                    }
                    assert_eq!(over(request, Ok(moved), &disk), IoStatus::Ok, "{errno}");
                    continue;
                };
                assert_eq!(over(request, refused, &disk), expected, "{errno}");
            }
        }
        let mut request = begin(BdevIo::flush(1), &disk);
        for _ in 0..RETRIES_LEAST {
            request = again(request, Answered::Refused(Errno::NOMEM), &disk);
        }
        let refused = Answered::Refused(Errno::NOMEM);
        assert_eq!(over_at(RETRY_TIME, request, refused, &disk), IoStatus::TimedOut);
        assert_eq!(over(begin(BdevIo::flush(1), &disk), Ok(0), &disk), IoStatus::Ok);
    }

    /// Goal (R9): the kernel tells of what it could not write once, so a sync that fails stands for every
    /// other one of that disk, before and after; what promises nothing goes on. Method: two of every kind
    /// on their way, of which the first fails; then one more. An error that is about the request only
    /// changes nothing.
    #[test]
    fn failed_sync_stands_for_all() {
        let syncs = || [BdevIo::flush(1), write(true), BdevIo::write_zeroes(1, 0, 4096, true)];
        for errno in [Errno::IO, Errno::NOSPC, Errno::ROFS, Errno::NOMEM] {
            for (first, second) in (0..3).flat_map(|a| (0..3).map(move |b| (a, b))) {
                let disk = disk(false);
                let [failing, other] = [first, second].map(|kind| {
                    let io = syncs().into_iter().nth(kind).unwrap();
                    begin(io, &disk)
                });
                assert!(!over(failing, Err(errno), &disk).is_ok());
                let moved = other.left_bytes() as usize;
                assert_eq!(over(other, Ok(moved), &disk), IoStatus::MediaError, "{errno}");
                for io in syncs() {
                    let moved = io.len_bytes as usize;
                    assert_eq!(over(begin(io, &disk), Ok(moved), &disk), IoStatus::MediaError);
                }
                assert_eq!(over(begin(write(false), &disk), Ok(4096), &disk), IoStatus::Ok);
            }
        }
        let disk = disk(false);
        for errno in [Errno::INVAL, Errno::OPNOTSUPP] {
            assert!(!over(begin(write(true), &disk), Err(errno), &disk).is_ok());
        }
        assert!(!over(begin(write(false), &disk), Err(Errno::IO), &disk).is_ok());
        assert_eq!(over(begin(BdevIo::flush(1), &disk), Ok(0), &disk), IoStatus::Ok);
    }

    /// Goal: write-zeroes takes the best way that works: fallocate, then a sync for FUA; where
    /// fallocate is not supported it writes zeroes, for this request and all later ones.
    #[test]
    fn write_zeroes_falls_back() {
        let disk = disk(true);
        let write_zeroes = |fua| begin(BdevIo::write_zeroes(1, 4096, 10_240, fua), &disk);
        assert_eq!(over(write_zeroes(false), Ok(0), &disk), IoStatus::Ok);
        let request = again(write_zeroes(true), Ok(0), &disk);
        assert!(matches!(request.step, Step::Sync));
        assert_eq!(over(request, Ok(0), &disk), IoStatus::Ok);

        let mut request = again(write_zeroes(true), Err(Errno::OPNOTSUPP), &disk);
        for (offset_bytes, len_bytes) in [(4096, 4096), (8192, 4096), (12_288, 2048)] {
            let piece = request.piece().unwrap();
            assert_eq!((request.offset_bytes(), piece.len_bytes), (offset_bytes, len_bytes));
            assert!(request.writes() && request.fua());
            if len_bytes == 2048 {
                break;
            }
            request = again(request, Ok(len_bytes as usize), &disk);
        }
        assert_eq!(over(request, Ok(2048), &disk), IoStatus::Ok);
        assert!(matches!(write_zeroes(false).step, Step::ZeroFill(_)));
    }

    /// Goal: where fallocate may not be used it is not. Method: a disk without it.
    #[test]
    fn write_zeroes_without_fallocate_writes() {
        let disk = disk(false);
        let request = begin(BdevIo::write_zeroes(1, 0, 4096, false), &disk);
        assert!(matches!(request.step, Step::ZeroFill(_)));
        assert!(!disk.described.fixed().supported.unmap);
    }

    /// Goal: unmap has no way out: what the kernel cannot punch is reported. Method: `EOPNOTSUPP`.
    #[test]
    fn unmap_has_no_fallback() {
        let disk = disk(true);
        let request = begin(BdevIo::unmap(1, 0, 4096), &disk);
        assert!(matches!(request.step, Step::PunchHole));
        assert_eq!(over(request, Err(Errno::OPNOTSUPP), &disk), IoStatus::Unsupported);
    }

    proptest::proptest! {
        /// Goal: whatever the kernel moves at a time, each byte of the device meets the byte of
        /// the buffers that belongs to it, once. Method: random segments and random answers, with
        /// a kernel that notes addresses instead of moving bytes.
        #[test]
        fn every_byte_meets_its_buffer(
            blocks in proptest::collection::vec(0_usize..9, 1..12),
            answers in proptest::collection::vec(1_usize..6000, 1..64),
        ) {
            // Less than a block at a time gets nowhere past the page cache; that this ends is
            // `shortages_are_bounded`.
            let moves = answers.iter().any(|&answer| answer >= 512);
            proptest::prop_assume!(moves && blocks.iter().sum::<usize>() > 0);
            let disk = disk(true);
            let bufs: Vec<_> = blocks.iter().map(|count| IoBufMut::heap(count * 512)).collect();
            let expected: Vec<usize> = bufs
                .iter()
                .flat_map(|buf| (0..buf.len()).map(|at| buf.as_ptr().addr() + at))
                .collect();
            let into = if blocks.len() == 1 {
                bufs.into_iter().next().map_or(Sgl::Many(Vec::new()), Sgl::One)
            } else {
                Sgl::Many(bufs)
            };
            let mut request = begin(BdevIo::read(1, 8192, into), &disk);
            let mut met = vec![0; expected.len()];
            for answer in answers.iter().cycle() {
                let first = (request.offset_bytes() - 8192) as usize;
                let mut pieces = Vec::new();
                match request.piece() {
                    Some(piece) => pieces.push((piece.base.addr(), piece.len_bytes as usize)),
                    None => {
                        let mut segments = Vec::new();
                        request.gather(&mut segments);
                        pieces.extend(segments.iter().map(|s| (s.iov_base.addr(), s.iov_len)));
                    }
                }
                let named: Vec<usize> =
                    pieces.iter().flat_map(|&(base, len)| base..base + len).collect();
                let moved = (*answer).min(named.len());
                met[first..first + moved].copy_from_slice(&named[..moved]);
                let answered = Answered::Moved(moved);
                match request.answer(answered, &disk.backing, Ticks::ZERO, zeroes) {
                    Next::Again(next) => request = next,
                    Next::Done(_, status) => {
                        proptest::prop_assert_eq!(status, IoStatus::Ok);
                        break;
                    }
                }
            }
            proptest::prop_assert_eq!(met, expected);
        }
    }
}
