//! Linux AIO's binary interface (include/uapi/linux/aio_abi.h and fs/aio.c), which the C library
//! does not wrap: structures, numbers, system calls.
//!
//! ```text
//!   struct aio_ring, mapped by io_setup at the address that is the context's id:
//!   0      4      8      12     16      20       24         28        32
//!   | id   | nr   | head | tail | magic | compat | incompat | header  | io_event 0 | io_event 1 ...
//!                   ^ ours  ^ the kernel's         0          32 bytes   32 bytes each
//! ```
//!
//! Not here: when which call is made (`context.rs`).

#![expect(unsafe_code, reason = "system calls without a wrapper, and memory that the kernel maps")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;

/// `IOCB_CMD_PREAD` and its siblings.
pub(super) const CMD_PREAD: u16 = 0;
pub(super) const CMD_PWRITE: u16 = 1;
pub(super) const CMD_FDSYNC: u16 = 3;
pub(super) const CMD_PREADV: u16 = 7;
pub(super) const CMD_PWRITEV: u16 = 8;

/// `IOCB_FLAG_RESFD`: signal the eventfd `resfd` on completion.
pub(super) const FLAG_RESFD: u32 = 1;

/// `AIO_RING_MAGIC`: the layout above.
const RING_MAGIC: u32 = 0xa10a_10a1;

/// `struct iocb`, little-endian.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Iocb {
    pub(super) data: u64,
    #[cfg(target_endian = "little")]
    pub(super) key: u32,
    pub(super) rw_flags: i32,
    #[cfg(target_endian = "big")]
    pub(super) key: u32,
    pub(super) opcode: u16,
    pub(super) reqprio: i16,
    pub(super) fd: u32,
    pub(super) buf: u64,
    pub(super) nbytes: u64,
    pub(super) offset: i64,
    pub(super) reserved: u64,
    pub(super) flags: u32,
    pub(super) resfd: u32,
}

/// `struct io_event`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct IoEvent {
    pub(super) data: u64,
    pub(super) obj: u64,
    pub(super) res: i64,
    pub(super) res2: i64,
}

/// `struct aio_ring` without the events.
#[repr(C)]
struct RingHeader {
    id: AtomicU32,
    nr: AtomicU32,
    head: AtomicU32,
    tail: AtomicU32,
    magic: AtomicU32,
    compat_features: AtomicU32,
    incompat_features: AtomicU32,
    header_length: AtomicU32,
}

const _: () = assert!(size_of::<Iocb>() == 64);
const _: () = assert!(size_of::<IoEvent>() == 32);
const _: () = assert!(size_of::<RingHeader>() == 32);

/// An AIO context, and the window to its completion ring.
#[derive(Debug)]
pub(super) struct Context {
    id: NonNull<RingHeader>,
    readable: bool,
    abandoned: bool,
}

impl Context {
    /// `io_setup`: a context for `requests_max` requests in flight.
    pub(super) fn set_up(requests_max: usize) -> Result<Self, Errno> {
        let mut id: usize = 0;
        // SAFETY: the kernel writes one machine word to `id`, which must be 0 before.
        let done = unsafe { libc::syscall(libc::SYS_io_setup, requests_max, &raw mut id) };
        answer(done)?;
        let id = std::ptr::with_exposed_provenance_mut(id);
        let id = NonNull::new(id).ok_or(Errno::FAULT)?;
        let mut context = Self { id, readable: false, abandoned: false };
        let header = context.header();
        context.readable = header.magic.load(Ordering::Relaxed) == RING_MAGIC
            && header.incompat_features.load(Ordering::Relaxed) == 0
            && header.header_length.load(Ordering::Relaxed) as usize == size_of::<RingHeader>();
        if !context.readable {
            tracing::info!(
                "the AIO completion ring has an unknown layout; polling makes system calls"
            );
        }
        Ok(context)
    }

    fn header(&self) -> &RingHeader {
        // SAFETY: io_setup mapped the ring at this address, aligned to a page, and only `Drop`
        // unmaps it. All fields are atomics, so the kernel may change them meanwhile.
        unsafe { self.id.as_ref() }
    }

    /// `io_submit`: how many requests from the front of the list the kernel has taken.
    ///
    /// # Safety
    ///
    /// Each request's memory must stay as the request says until its event has been reaped.
    pub(super) unsafe fn submit(&self, requests: &mut [*mut Iocb]) -> Result<usize, Errno> {
        // SAFETY: the list is a slice of pointers to requests of ours; the rest is the caller's
        // promise.
        let done = unsafe {
            libc::syscall(
                libc::SYS_io_submit,
                self.id.as_ptr(),
                requests.len(),
                requests.as_mut_ptr(),
            )
        };
        answer(done)
    }

    /// Whether nothing can be reaped now. Always false when the ring cannot be read.
    pub(super) fn is_quiet(&self) -> bool {
        let header = self.header();
        self.readable && header.head.load(Ordering::Relaxed) == header.tail.load(Ordering::Acquire)
    }

    /// Takes events out of the completion ring: without a system call if the ring can be read.
    pub(super) fn reap(&self, events: &mut [IoEvent]) -> usize {
        if !self.readable {
            return self.get_events(events);
        }
        let header = self.header();
        let nr = header.nr.load(Ordering::Relaxed);
        let mut head = header.head.load(Ordering::Relaxed);
        let tail = header.tail.load(Ordering::Acquire);
        let mut count = 0;
        while head != tail && count < events.len() {
            events[count] = self.event(head);
            count += 1;
            head = if head + 1 == nr { 0 } else { head + 1 };
        }
        if count != 0 {
            // The kernel may overwrite the events from here on, not before.
            header.head.store(head, Ordering::Release);
        }
        count
    }

    fn event(&self, index: u32) -> IoEvent {
        // SAFETY: the events follow the header in the same mapping.
        let first = unsafe { self.id.add(1) }.cast::<IoEvent>();
        // SAFETY: `index` is a position that the kernel has used, hence below `nr`.
        let event = unsafe { first.add(index as usize) };
        // SAFETY: the kernel wrote the event before it moved the tail past it, and leaves it alone
        // until we move the head past it.
        unsafe { event.read_volatile() }
    }

    /// `io_getevents`, without waiting.
    fn get_events(&self, events: &mut [IoEvent]) -> usize {
        let mut no_time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes at most `events.len()` events to the slice.
        let done = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.id.as_ptr(),
                0,
                events.len(),
                events.as_mut_ptr(),
                &raw mut no_time,
            )
        };
        answer(done).unwrap_or(0)
    }

    /// Has every reap make a system call, as if the ring's layout were unknown.
    #[cfg(test)]
    pub(super) fn hide_ring(&mut self) {
        self.readable = false;
    }

    /// Leaves the context to the end of the process, because destroying it would wait for
    /// requests that do not end.
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.abandoned {
            return;
        }
        // SAFETY: the context is ours and nobody uses it afterwards. The call waits for requests
        // that are still in flight.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.id.as_ptr()) };
    }
}

fn answer(done: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(done).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::IO)
    })
}
