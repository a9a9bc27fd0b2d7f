//! The AIO context of one reactor: requests become iocbs, events become answers.
//!
//! ```text
//!   start --stage--> list --kick: io_submit--> kernel --event--> ring --reap--> answers
//!     |    '--fallocate--> allocator thread --------outcome------------^
//!     '--> slab: owns the request from start until its event or outcome
//! ```
//!
//! One `io_submit` a turn takes what all channels have staged. Events are read from the completion
//! ring that the kernel maps into the process, without a system call. Every iocb names the
//! engine's eventfd, so that a sleeping reactor is woken.
//!
//! A request that the kernel refuses in `io_submit` itself is answered at the next reap, as one that it has not
//! begun: whatever fails after that is told by an event (`io_submit_one` in fs/aio.c).
//!
//! Not here: structures and calls (`abi.rs`).

#![expect(unsafe_code, reason = "the kernel reads and writes memory by address")]

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::abi::{
    CMD_FDSYNC, CMD_PREAD, CMD_PREADV, CMD_PWRITE, CMD_PWRITEV, Context, FLAG_RESFD, IoEvent, Iocb,
};
use super::allocator::{Allocator, Job};
use crate::files::disk::FileDisk;
use crate::files::engine::{Answer, Kernel, Sizes};
use crate::files::request::{Answered, Request, Step};
use crate::files::slab::Slab;
use crate::limits::{
    AIO_IN_FLIGHT_LEAST, AIO_SHARE_DIVISOR, DRAIN_SECONDS_MAX, ENGINE_IN_FLIGHT_MAX,
    REAPED_PER_TURN_MAX,
};

/// How many AIO requests the contexts of the whole system may have.
const MAX_NR: &str = "/proc/sys/fs/aio-max-nr";

/// What Linux has there unless it is told otherwise (`aio_max_nr` in fs/aio.c).
const MAX_NR_DEFAULT: u64 = 65_536;

/// One reactor's AIO.
pub(super) struct Aio {
    context: Context,
    slab: Slab,
    /// One per slot of the slab; filled in while its request is staged.
    iocbs: Box<[Iocb]>,
    /// Slots that `kick` hands to the kernel.
    staged: Vec<u32>,
    /// What `io_submit` is given: addresses of staged iocbs.
    list: Vec<*mut Iocb>,
    /// Slots that the kernel has refused.
    refused: Vec<(u32, Errno)>,
    events: Box<[IoEvent]>,
    allocator: Allocator,
    event: Arc<OwnedFd>,
}

/// A disk, and the open file by which one channel reaches it, if it has one of its own.
pub(super) struct AioFile {
    disk: Arc<FileDisk>,
    own: Option<OwnedFd>,
}

impl AioFile {
    fn fd(&self) -> BorrowedFd<'_> {
        self.own.as_ref().map_or(self.disk.backing.fd(), AsFd::as_fd)
    }
}

impl Kernel for Aio {
    const NAME: &'static str = "aio";
    const HINT: &'static str = "if the limit on AIO requests is reached, raise fs.aio-max-nr";
    type File = AioFile;

    fn sizes(reactors: usize) -> Sizes {
        sizes_of(fs::read_to_string(MAX_NR).ok().as_deref(), reactors)
    }

    fn create(slots: usize) -> io::Result<Self> {
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok(Self {
            context: Context::set_up(slots)?,
            slab: Slab::new(slots),
            iocbs: vec![Iocb::default(); slots].into_boxed_slice(),
            staged: Vec::with_capacity(slots),
            list: Vec::with_capacity(slots),
            refused: Vec::new(),
            events: vec![IoEvent::default(); REAPED_PER_TURN_MAX].into_boxed_slice(),
            allocator: Allocator::new(&event, slots),
            event,
        })
    }

    fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    fn attach(&mut self, disk: &Arc<FileDisk>) -> io::Result<Self::File> {
        Ok(AioFile { own: disk.backing.open_again(), disk: Arc::clone(disk) })
    }

    fn detach(&mut self, file: Self::File) {
        drop(file);
    }

    #[inline]
    fn in_flight(&self) -> usize {
        self.slab.len()
    }

    fn start(&mut self, request: Request, file: &AioFile) {
        let mode = match request.step {
            Step::PunchHole => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            Step::ZeroRange => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
            Step::Transfer | Step::ZeroFill(_) | Step::Sync => {
                let index = self.slab.insert(request);
                self.iocbs[index as usize] = self.describe(index, file.fd());
                self.staged.push(index);
                return;
            }
        };
        let (offset_bytes, len_bytes) = (request.offset_bytes(), request.left_bytes());
        let index = self.slab.insert(request);
        let disk = Arc::clone(&file.disk);
        self.allocator.push(Job { index, disk, mode, offset_bytes, len_bytes });
    }

    fn kick(&mut self) {
        let mut taken = 0;
        while taken < self.staged.len() {
            let iocbs = self.iocbs.as_mut_ptr();
            self.list.clear();
            self.list.extend(
                self.staged[taken..].iter().map(|&index| iocbs.wrapping_add(index as usize)),
            );
            // SAFETY: each iocb points to buffers and to a segment list that belong to its slot
            // of the slab. They stay there until `reap` has seen the event of that number; `Drop`
            // waits for it or leaks the slab.
            let submitted = unsafe { self.context.submit(&mut self.list) };
            match submitted {
                Ok(count) => {
                    taken += count;
                    // Less than all: the next one is at fault or there is no room; the next turn
                    // will tell.
                    break;
                }
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(errno) => {
                    self.refused.push((self.staged[taken], errno));
                    taken += 1;
                }
            }
        }
        self.staged.drain(..taken);
    }

    fn reap(&mut self, answers: &mut Vec<Answer>) {
        if self.slab.is_empty() {
            return;
        }
        for (index, errno) in self.refused.drain(..) {
            let request = self.slab.remove(index);
            answers.push(Answer { request, answered: Answered::Refused(errno) });
        }
        while let Some((index, outcome)) = self.allocator.pop() {
            let request = self.slab.remove(index);
            answers.push(Answer { request, answered: outcome.map(|()| 0).into() });
        }
        let count = self.context.reap(&mut self.events);
        for event in &self.events[..count] {
            let request = self.slab.remove(event.data as u32);
            answers.push(Answer { request, answered: decode(event.res) });
        }
    }

    fn may_sleep(&mut self) -> bool {
        // What was signalled before is looked at now; what is signalled from here on ends the
        // sleep: the kernel and the thread first make something to reap, then signal. With nothing
        // in flight too: the signal of an answer that was reaped awake would end every sleep.
        let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
        fence(Ordering::SeqCst);
        if self.slab.is_empty() {
            return true;
        }
        self.staged.is_empty()
            && self.refused.is_empty()
            && self.allocator.is_quiet()
            && self.context.is_quiet()
    }
}

impl Aio {
    /// The iocb for a request's step.
    fn describe(&mut self, index: u32, file: BorrowedFd<'_>) -> Iocb {
        let (request, segments) = self.slab.get_mut(index);
        let mut iocb = Iocb {
            data: u64::from(index),
            fd: file.as_raw_fd() as u32,
            flags: FLAG_RESFD,
            resfd: self.event.as_raw_fd() as u32,
            offset: request.offset_bytes() as i64,
            ..Iocb::default()
        };
        if matches!(request.step, Step::Sync) {
            // The kernel takes no range with a sync, and refuses one that is given.
            return Iocb { opcode: CMD_FDSYNC, offset: 0, ..iocb };
        }
        if request.writes() && request.fua() {
            iocb.rw_flags = libc::RWF_DSYNC;
        }
        if let Some(piece) = request.piece() {
            iocb.opcode = if request.writes() { CMD_PWRITE } else { CMD_PREAD };
            iocb.buf = piece.base.expose_provenance() as u64;
            iocb.nbytes = u64::from(piece.len_bytes);
        } else {
            request.gather(segments);
            iocb.opcode = if request.writes() { CMD_PWRITEV } else { CMD_PREADV };
            iocb.buf = segments.as_ptr().expose_provenance() as u64;
            iocb.nbytes = segments.len() as u64;
        }
        iocb
    }

    /// Waits until the kernel has answered everything; false when it does not.
    fn drain(&mut self) -> bool {
        let one_second = Timespec { tv_sec: 1, tv_nsec: 0 };
        let mut idle_seconds = 0;
        let mut answers = Vec::new();
        while !self.slab.is_empty() {
            let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
            self.kick();
            self.reap(&mut answers);
            if answers.is_empty() {
                if idle_seconds == DRAIN_SECONDS_MAX {
                    return false;
                }
                let mut signalled = [PollFd::new(&self.event, PollFlags::IN)];
                // Whatever it says, the completion ring tells whether there was progress.
                let _ = poll(&mut signalled, Some(&one_second));
                idle_seconds += 1;
            } else {
                answers.clear();
                idle_seconds = 0;
            }
        }
        true
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        if !self.drain() {
            tracing::error!(
                requests = self.slab.len(),
                "the kernel still has requests of an AIO context that ends; their buffers are \
                 leaked"
            );
            std::mem::forget(std::mem::replace(&mut self.slab, Slab::new(0)));
            self.context.abandon();
        }
    }
}

/// How large a context is to be on one of so many reactors, where the system has what this text says.
/// `io_setup` counts the whole size of each against that, whoever has it.
fn sizes_of(max_nr: Option<&str>, reactors: usize) -> Sizes {
    let max_nr = max_nr.and_then(|text| text.trim().parse::<u64>().ok());
    let share = max_nr.unwrap_or(MAX_NR_DEFAULT) / AIO_SHARE_DIVISOR / reactors.max(1) as u64;
    let share = usize::try_from(share).unwrap_or(usize::MAX);
    let wanted = share.clamp(AIO_IN_FLIGHT_LEAST, ENGINE_IN_FLIGHT_MAX);
    Sizes { wanted, least: AIO_IN_FLIGHT_LEAST }
}

/// An event's result: a count, or an error number with its sign turned.
#[inline]
fn decode(result: i64) -> Answered {
    let moved = usize::try_from(result).map_err(|_| {
        let errno = i32::try_from(-result).unwrap_or(libc::EIO);
        Errno::from_raw_os_error(errno)
    });
    moved.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::kernels::carries_requests_and_wakes;
    use crate::limits::CHANNEL_IN_FLIGHT_MAX;

    /// Goal: the context carries requests and wakes a sleeper, with a ring that it can read and
    /// with one that it cannot.
    #[test]
    fn both_ways_of_reaping_work() {
        carries_requests_and_wakes(Aio::create(64).unwrap());
        let mut aio = Aio::create(64).unwrap();
        aio.context.hide_ring();
        carries_requests_and_wakes(aio);
    }

    /// Goal: however many reactors there are, their contexts leave others half of what the system has; 64 have
    /// one at Linux's default, in which one device that hangs does not take the slots of the others; few have the
    /// full size. Method: every number of them.
    #[test]
    fn contexts_leave_room_for_others() {
        let default = MAX_NR_DEFAULT.to_string();
        let of = |reactors| sizes_of(Some(&default), reactors);
        for reactors in 1..=64 {
            let Sizes { wanted, least } = of(reactors);
            assert!(wanted * reactors <= MAX_NR_DEFAULT as usize / 2, "{reactors}: {wanted}");
            assert!(wanted / 2 >= CHANNEL_IN_FLIGHT_MAX && least <= wanted, "{reactors}: {wanted}");
        }
        assert_eq!(of(4).wanted, ENGINE_IN_FLIGHT_MAX);
        assert_eq!(of(64).wanted, 512);
        assert_eq!(of(1 << 20).wanted, AIO_IN_FLIGHT_LEAST);
        for (text, reactors, wanted) in [
            (None, 8, 4096),
            (Some("1048576\n"), 64, 8192),
            (Some("18446744073709551615"), 1, 8192),
            (Some("0"), 1, 128),
            (Some("much"), 0, 8192),
        ] {
            assert_eq!(sizes_of(text, reactors).wanted, wanted, "{text:?}");
        }
    }

    /// Goal: what the kernel refuses in the submission itself is answered as not begun, and does not hold up
    /// the requests behind it. Method: iocbs without a file between good ones.
    #[test]
    fn refused_submissions_are_answered() {
        let mut aio = Aio::create(64).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let disk = Arc::new(crate::conformance::kernels::disk_over(&file));
        let attached = aio.attach(&disk).unwrap();
        for token in 0..6 {
            let io = crate::BdevIo::flush(token);
            let zeroes = || unreachable!("a flush needs no zeroes");
            aio.start(Request::begin(io, 0, &disk, zeroes), &attached);
        }
        for index in [0, 3, 4] {
            aio.iocbs[index].fd = u32::MAX;
        }
        let mut answers = Vec::new();
        while answers.len() < 6 {
            aio.kick();
            aio.reap(&mut answers);
        }
        answers.sort_by_key(|answer| answer.request.io.token);
        let answered: Vec<_> = answers.iter().map(|answer| answer.answered).collect();
        let (refused, done) = (Answered::Refused(Errno::BADF), Answered::Moved(0));
        assert_eq!(answered, [refused, done, done, refused, refused, done]);
    }
}
