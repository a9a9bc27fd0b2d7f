//! The ring: requests become submission entries, completion entries become answers.
//!
//! ```text
//!   start --push--> SQ --kick: io_uring_enter--> kernel --CQE--> CQ --reap--> answers
//!     |                                                                ^
//!     '--> slab: owns the request from the push until its CQE ---------'
//! ```
//!
//! # System calls
//!
//! One `io_uring_enter` a turn at most, and none when there is nothing to submit and the kernel has
//! nothing for us: completions are read from shared memory. With `DEFER_TASKRUN` the kernel posts
//! them only inside of an enter; it says so by the `TASKRUN` flag, which `kick` looks at, so that
//! the enter that submits one batch also posts the completions of the last.
//!
//! # Sleeping
//!
//! A ring with `DEFER_TASKRUN` does not become readable before its thread has entered it, so the
//! ring's descriptor cannot wake a reactor that sleeps. An eventfd that is registered with the ring
//! does: the kernel signals it when it has work for us. While the reactor is awake the signal is
//! switched off in the shared CQ flags, so busy rings do not pay for it:
//!
//! ```text
//!   Silent --may_sleep, something in flight--> Armed --answers reaped, or submission--> Silent
//! ```
//!
//! No wake-up is lost: we switch the signal on, then look whether there is something to reap; the
//! kernel makes something to reap, then looks at the switch. One of the two sees the other.
//!
//! Not here: what requests mean (`files/request.rs`), which memory is registered (`buffers.rs`).

#![expect(unsafe_code, reason = "the kernel reads and writes memory by address")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use io_uring::types::{Fixed, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{Builder, IoUring, Submitter, opcode, squeue};
use reactor::memory::{regions, regions_generation};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

use super::buffers::{BufferTable, Update};
use crate::files::disk::FileDisk;
use crate::files::engine::{Answer, Kernel, Sizes};
use crate::files::request::{Answered, Piece, Request, Step};
use crate::files::slab::Slab;
use crate::limits::{
    BUFFER_SLOTS_MAX, DRAIN_SECONDS_MAX, ENGINE_CHANNELS_MAX, ENGINE_IN_FLIGHT_MAX,
    REAPED_PER_TURN_MAX, URING_IN_FLIGHT_LEAST,
};

/// One reactor's io_uring.
pub(super) struct Ring {
    ring: IoUring,
    slab: Slab,
    event: OwnedFd,
    signal: Signal,
    files: Vec<bool>,
    buffers: BufferTable,
}

/// Whether the kernel signals the eventfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Silent,
    Armed,
}

/// Slot of the ring's file table.
pub(super) struct FileSlot(u32);

impl Kernel for Ring {
    const NAME: &'static str = "io_uring";
    const HINT: &'static str = "io_uring needs Linux 5.11 or later, kernel.io_uring_disabled = 0, \
                                and a seccomp filter that lets io_uring_setup through";
    type File = FileSlot;

    fn sizes(_reactors: usize) -> Sizes {
        Sizes { wanted: ENGINE_IN_FLIGHT_MAX, least: URING_IN_FLIGHT_LEAST }
    }

    fn create(slots: usize) -> io::Result<Self> {
        Self::over(set_up(&builders(), slots)?, slots)
    }

    fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    fn attach(&mut self, disk: &Arc<FileDisk>) -> io::Result<FileSlot> {
        let slot = self.files.iter().position(|taken| !taken);
        let slot = slot.ok_or_else(|| io::Error::from(Errno::MFILE))?;
        // The table keeps it open.
        let own = disk.backing.open_again();
        let file = own.as_ref().map_or(disk.backing.fd(), AsFd::as_fd);
        self.ring.submitter().register_files_update(slot as u32, &[file.as_raw_fd()])?;
        self.files[slot] = true;
        Ok(FileSlot(slot as u32))
    }

    fn detach(&mut self, FileSlot(slot): FileSlot) {
        // A slot that could not be cleared is not used again: the kernel still holds the file.
        match self.ring.submitter().register_files_update(slot, &[-1]) {
            Ok(_) => self.files[slot as usize] = false,
            Err(refused) => {
                tracing::warn!(%refused, "a file could not be unregistered from io_uring");
            }
        }
    }

    #[inline]
    fn in_flight(&self) -> usize {
        self.slab.len()
    }

    fn start(&mut self, request: Request, &FileSlot(slot): &FileSlot) {
        let index = self.slab.insert(request);
        let entry = self.describe(index, Fixed(slot)).user_data(u64::from(index));
        // SAFETY: the entry points to buffers and to a segment list that belong to the slab's slot
        // `index`. They stay there until `reap` has seen the CQE of that number; `Drop` waits for
        // it or leaks the slab.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.expect("the ring has an entry for each slot of the slab");
    }

    fn kick(&mut self) {
        self.prune_buffers();
        if self.slab.is_empty() {
            return;
        }
        let queue = self.ring.submission();
        let staged = !queue.is_empty();
        let wanted = staged || queue.taskrun() || queue.cq_overflow();
        drop(queue);
        if !wanted {
            return;
        }
        if staged {
            self.silence();
        }
        match self.ring.submit() {
            Ok(_) => {}
            // Out of memory for requests, or out of room for completions until we reap: the next
            // turn's enter takes what is left.
            Err(refused) if is_passing(&refused) => {}
            Err(refused) => panic!("io_uring_enter on a ring of our own cannot fail: {refused}"),
        }
    }

    fn reap(&mut self, answers: &mut Vec<Answer>) {
        if self.slab.is_empty() {
            return;
        }
        for entry in self.ring.completion().take(REAPED_PER_TURN_MAX) {
            let request = self.slab.remove(entry.user_data() as u32);
            answers.push(Answer { request, answered: decode(entry.result()) });
        }
        if !answers.is_empty() {
            self.silence();
        }
    }

    fn may_sleep(&mut self) -> bool {
        if self.slab.is_empty() {
            // The signal of an answer that was reaped awake would end every sleep at once.
            let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
            return true;
        }
        if self.signal == Signal::Silent {
            self.ring.completion().enable_eventfd();
            self.signal = Signal::Armed;
        }
        // What was signalled before is looked at now; what is signalled from here on ends the sleep.
        let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
        fence(Ordering::SeqCst);
        let queue = self.ring.submission();
        let idle = queue.is_empty() && !queue.taskrun() && !queue.cq_overflow();
        drop(queue);
        idle && self.ring.completion().is_empty()
    }
}

impl Ring {
    /// Gives a ring its tables and its eventfd.
    fn over(ring: IoUring, slots: usize) -> io::Result<Self> {
        let submitter = ring.submitter();
        let files = register_file_table(&submitter)?;
        let has_buffer_table = submitter.register_buffers_sparse(BUFFER_SLOTS_MAX as u32).is_ok();
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        submitter.register_eventfd(event.as_raw_fd())?;
        let mut ring = Self {
            ring,
            slab: Slab::new(slots),
            event,
            signal: Signal::Armed,
            files: vec![false; files],
            buffers: BufferTable::new(has_buffer_table),
        };
        ring.silence();
        Ok(ring)
    }

    /// Switches the eventfd off: whoever is awake looks at the ring by himself.
    #[inline]
    fn silence(&mut self) {
        if self.signal == Signal::Armed {
            self.ring.completion().disable_eventfd();
            self.signal = Signal::Silent;
        }
    }

    /// The submission entry for a request's step.
    fn describe(&mut self, index: u32, file: Fixed) -> squeue::Entry {
        let (request, segments) = self.slab.get_mut(index);
        let offset_bytes = request.offset_bytes();
        let mode = match request.step {
            Step::Sync => return opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build(),
            Step::PunchHole => libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
            Step::ZeroRange => libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE,
            Step::Transfer | Step::ZeroFill(_) => {
                if let Some(piece) = request.piece() {
                    let (writes, fua) = (request.writes(), request.fua());
                    let slot = self.registered(piece);
                    return one_piece(file, offset_bytes, piece, slot, writes, fua);
                }
                request.gather(segments);
                return several_pieces(file, offset_bytes, segments, request);
            }
        };
        opcode::Fallocate::new(file, request.left_bytes()).offset(offset_bytes).mode(mode).build()
    }

    /// The slot of the ring's buffer table that covers a piece of memory.
    #[inline]
    fn registered(&mut self, piece: Piece) -> Option<u16> {
        let (id, offset_bytes) = piece.region?;
        let submitter = self.ring.submitter();
        self.buffers.slot_of(id, offset_bytes, piece.len_bytes as usize, regions, |update| {
            apply(&submitter, update)
        })
    }

    #[inline]
    fn prune_buffers(&mut self) {
        let submitter = self.ring.submitter();
        self.buffers.prune(regions_generation(), regions, |update| apply(&submitter, update));
    }

    /// Waits until the kernel has answered everything; false when it does not.
    fn drain(&mut self) -> bool {
        let one_second = Timespec::new().sec(1);
        let patience = SubmitArgs::new().timespec(&one_second);
        let mut idle_seconds = 0;
        let mut answers = Vec::new();
        while !self.slab.is_empty() {
            self.reap(&mut answers);
            if answers.is_empty() {
                if idle_seconds == DRAIN_SECONDS_MAX {
                    return false;
                }
                // Whatever it says, the completion queue tells whether there was progress.
                let _ = self.ring.submitter().submit_with_args(1, &patience);
                idle_seconds += 1;
            } else {
                answers.clear();
                idle_seconds = 0;
            }
        }
        true
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.drain() {
            tracing::error!(
                requests = self.slab.len(),
                "the kernel still has requests of a ring that ends; their buffers are leaked"
            );
            std::mem::forget(std::mem::replace(&mut self.slab, Slab::new(0)));
        }
    }
}

/// Ways to set a ring up, the best first: with the flags of Linux 6.6, 6.1, 5.19, and with none.
fn builders() -> [Builder; 4] {
    let mut deferred = IoUring::builder();
    deferred.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
    let mut without_array = deferred.clone();
    without_array.setup_no_sqarray();
    let mut cooperative = IoUring::builder();
    cooperative.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
    [without_array, deferred, cooperative, IoUring::builder()]
}

/// The first ring that the kernel knows how to set up, with so many entries for submissions.
fn set_up(builders: &[Builder], entries: usize) -> io::Result<IoUring> {
    let mut refused = io::Error::from(Errno::INVAL);
    for builder in builders {
        match builder.build(entries as u32) {
            Ok(ring) if ring.params().is_feature_ext_arg() => return Ok(ring),
            // Before 5.11 there is no wait with a time limit, and the CQ has no flags.
            Ok(_) => return Err(Errno::NOSYS.into()),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

/// Registers an empty file table and says how many slots it has: as many as files may be open, up
/// to the bound.
fn register_file_table(submitter: &Submitter<'_>) -> io::Result<usize> {
    let open_max = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let slots = open_max.map_or(ENGINE_CHANNELS_MAX, |max| {
        usize::try_from(max).unwrap_or(ENGINE_CHANNELS_MAX).min(ENGINE_CHANNELS_MAX)
    });
    submitter
        .register_files_sparse(slots as u32)
        .or_else(|_| submitter.register_files(&vec![-1; slots]))?;
    Ok(slots)
}

/// Changes the ring's buffer table.
fn apply(submitter: &Submitter<'_>, update: Update<'_>) -> io::Result<()> {
    // SAFETY: the pieces are those of a mapped region, or empty. The kernel takes its own hold of
    // the pages, and a slot is named only together with a buffer that keeps its region mapped.
    unsafe { submitter.register_buffers_update(u32::from(update.first_slot), update.pieces, None) }
}

/// A read or write of one piece of memory.
#[inline]
fn one_piece(
    file: Fixed,
    offset_bytes: u64,
    piece: Piece,
    slot: Option<u16>,
    writes: bool,
    fua: bool,
) -> squeue::Entry {
    let Piece { base, len_bytes, .. } = piece;
    match (writes, slot) {
        (false, Some(slot)) => {
            opcode::ReadFixed::new(file, base, len_bytes, slot).offset(offset_bytes).build()
        }
        (false, None) => opcode::Read::new(file, base, len_bytes).offset(offset_bytes).build(),
        (true, Some(slot)) => opcode::WriteFixed::new(file, base, len_bytes, slot)
            .offset(offset_bytes)
            .rw_flags(write_flags(fua))
            .build(),
        (true, None) => opcode::Write::new(file, base, len_bytes)
            .offset(offset_bytes)
            .rw_flags(write_flags(fua))
            .build(),
    }
}

/// A read or write of a list of pieces.
fn several_pieces(
    file: Fixed,
    offset_bytes: u64,
    segments: &[libc::iovec],
    request: &Request,
) -> squeue::Entry {
    let (list, count) = (segments.as_ptr(), segments.len() as u32);
    if request.writes() {
        opcode::Writev::new(file, list, count)
            .offset(offset_bytes)
            .rw_flags(write_flags(request.fua()))
            .build()
    } else {
        opcode::Readv::new(file, list, count).offset(offset_bytes).build()
    }
}

#[inline]
fn write_flags(fua: bool) -> i32 {
    if fua { libc::RWF_DSYNC } else { 0 }
}

/// A completion entry's result: a count, or an error number with its sign turned.
#[inline]
fn decode(result: i32) -> Answered {
    usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result)).into()
}

/// Errors of an enter after which the same enter may succeed.
fn is_passing(refused: &io::Error) -> bool {
    matches!(refused.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::kernels::carries_requests_and_wakes;
    use crate::files::lock::is_locked;

    /// Goal: rings of every age carry requests and wake a sleeper. Method: each way of setting one
    /// up by itself; those that this kernel is too old for are said.
    #[test]
    fn every_way_of_setting_up_works() {
        for (way, builder) in builders().into_iter().enumerate() {
            match set_up(&[builder], 64) {
                Ok(ring) => carries_requests_and_wakes(Ring::over(ring, 64).unwrap()),
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                    println!("skipped, this kernel is too old for way {way}");
                }
                Err(error) => panic!("way {way}: {error}"),
            }
        }
    }

    /// Goal: a file is locked as long as a ring has it, when no descriptor of it is left: so are those of a
    /// process that was killed, until its rings have ended. Method: the file is taken from a ring, and the ring
    /// ends, which it does by itself.
    #[test]
    fn a_ring_keeps_its_files_locked() {
        for ends in [false, true] {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(1 << 20).unwrap();
            let disk = Arc::new(crate::conformance::kernels::disk_over(&file));
            let mut ring = Ring::create(64).unwrap();
            let slot = ring.attach(&disk).unwrap();
            drop(disk);
            assert!(is_locked(file.path()), "no descriptor is left");
            if ends {
                drop(ring);
            } else {
                ring.detach(slot);
            }
            let end = reactor::clock::now() + reactor::Ticks::from_secs(20);
            while is_locked(file.path()) {
                assert!(reactor::clock::now() < end, "it is locked for ever");
                std::thread::yield_now();
            }
        }
    }

    /// Goal: a ring without a buffer table works with plain addresses.
    #[test]
    fn works_without_registered_buffers() {
        let mut ring = Ring::create(64).unwrap();
        ring.buffers = BufferTable::new(false);
        carries_requests_and_wakes(ring);
    }
}
