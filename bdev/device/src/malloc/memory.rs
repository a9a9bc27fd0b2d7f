//! The memory of a RAM disk, treated as a device: reactors copy into it and out of it at the same
//! time without locks.
//!
//! # Soundness
//!
//! Two reactors may write the same block at once; on a disk that leaves either one's bytes or a
//! mix, and here it must not leave more than that. In Rust's memory model two plain copies that
//! overlap are a data race, hence undefined behaviour, whatever the processor makes of them. So no
//! plain access ever touches this memory:
//!
//! * it is mapped here, its address never leaves this file, and no reference or slice to it is
//!   ever made: the compiler knows nothing about its content;
//! * every access is one of the copies below. On x86-64 these are assembly, which to the compiler
//!   is a call to foreign code; what it does is allowed in Rust too, because it is a loop of
//!   relaxed atomic accesses to single bytes (each byte of an x86 string or vector access is
//!   atomic, nothing is claimed for larger units). Elsewhere the copies are relaxed atomic
//!   accesses to 64-bit words, always the same words.
//!
//! The other side of a copy is an ordinary slice: exclusive when it is written to, shared when it
//! is read.
//!
//! # Non-temporal stores
//!
//! Long writes go around the cache: the target is cold nearly always, and a plain store would
//! first read it. Measured: 128 KiB to random places of 1 GiB in 5.3 us against 10.2 us. Short
//! ones do not, since a read-modify-write has just read the lines that it writes (0.64 against
//! 1.01 M/s for RAID5's 4 KiB). They are weakly ordered, so every such copy ends with a fence.
//!
//! Not here: who may access which range (`BdevInfo::admit`), and when (`malloc/mod.rs`).

#![expect(unsafe_code, reason = "a RAM disk is memory that several cores copy to and from at once")]

use std::io;
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Size of a transparent huge page on x86-64, and on aarch64 with pages of 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Writes and fills of at least this length go around the cache.
const NON_TEMPORAL_BYTES_MIN: usize = 16 << 10;

/// A zeroed mapping that many threads copy from and to.
pub(super) struct Memory {
    base: NonNull<u8>,
    len_bytes: usize,
    mapped_bytes: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and this value alone unmaps it.
unsafe impl Send for Memory {}
// SAFETY: every access through a shared reference is one of the racing-safe copies of this file.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps `len_bytes` of zeroes, for which huge pages are asked. No page is touched, so memory is
    /// taken only when it is first written to.
    ///
    /// Huge pages that an administrator has set aside (`MAP_HUGETLB`) are left to buffers: without
    /// touching them nobody knows whether a cgroup lets us have them, and being refused later is a
    /// SIGBUS.
    pub(super) fn map(len_bytes: u64) -> io::Result<Self> {
        let no_memory = || io::Error::from(Errno::NOMEM);
        let len_bytes = usize::try_from(len_bytes).map_err(|_| no_memory())?;
        let mapped_bytes =
            len_bytes.checked_next_multiple_of(HUGE_PAGE_BYTES).ok_or_else(no_memory)?;
        // SAFETY: a new private mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                mapped_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(no_memory)?;
        // SAFETY: the range is the mapping that was just made; the advice does not change bytes.
        let advised = unsafe { madvise(base.as_ptr().cast(), mapped_bytes, Advice::LinuxHugepage) };
        if let Err(refused) = advised {
            tracing::debug!(%refused, "no transparent huge pages for a RAM disk");
        }
        Ok(Self { base, len_bytes, mapped_bytes })
    }

    /// Copies the device's bytes at `offset_bytes` into the slice.
    pub(super) fn read(&self, offset_bytes: u64, into: &mut [u8]) {
        let from = self.at(offset_bytes, into.len());
        // SAFETY: `at` has checked that the source lies in the mapping; the target is a slice
        // that the caller has for itself, so the two cannot overlap.
        unsafe { copy::out_of_device(into.as_mut_ptr(), from, into.len()) }
    }

    /// Copies the slice over the device's bytes at `offset_bytes`.
    pub(super) fn write(&self, offset_bytes: u64, from: &[u8]) {
        let into = self.at(offset_bytes, from.len());
        if from.len() >= NON_TEMPORAL_BYTES_MIN {
            // SAFETY: as in `read`, with source and target exchanged; nobody writes to the slice
            // while it is borrowed.
            unsafe { copy::into_device_around_cache(into, from.as_ptr(), from.len()) }
        } else {
            // SAFETY: as above.
            unsafe { copy::into_device(into, from.as_ptr(), from.len()) }
        }
    }

    /// Zeroes `len_bytes` of the device at `offset_bytes`.
    pub(super) fn zero(&self, offset_bytes: u64, len_bytes: usize) {
        let into = self.at(offset_bytes, len_bytes);
        // SAFETY: `at` has checked that the range lies in the mapping.
        unsafe { copy::zero_device(into, len_bytes) }
    }

    /// Has the processor fetch the first lines at `offset_bytes`, because they are copied soon. Its
    /// own prefetcher follows from there, so a few lines are enough (2 to 16: the same; 64: none of
    /// the gain).
    #[inline]
    pub(super) fn prefetch(&self, offset_bytes: u64) {
        if offset_bytes < self.len_bytes as u64 {
            copy::prefetch(self.base.as_ptr().wrapping_add(offset_bytes as usize));
        }
    }

    /// Address of a range that lies in the device; the one bounds check of all copies.
    fn at(&self, offset_bytes: u64, len_bytes: usize) -> *mut u8 {
        let offset = usize::try_from(offset_bytes).unwrap_or(usize::MAX);
        assert!(
            offset <= self.len_bytes && len_bytes <= self.len_bytes - offset,
            "{len_bytes} bytes at {offset_bytes} leave a RAM disk of {} bytes",
            self.len_bytes
        );
        self.base.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping; with the last owner gone no copy is
        // running and no address is left.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.mapped_bytes) };
        if let Err(refused) = unmapped {
            tracing::error!(%refused, "a RAM disk could not be unmapped");
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("len_bytes", &self.len_bytes).finish_non_exhaustive()
    }
}

/// The copies in assembly. `rep movsb` is as fast as the C library's copy on cold memory, which
/// is what a disk is made of (512 ns per 4 KiB, both), and needs no choice by processor; vector
/// stores are needed only for the non-temporal kind.
#[cfg(target_arch = "x86_64")]
mod copy {
    use std::arch::asm;

    /// Bytes in a cache line, the unit of the non-temporal loops.
    const LINE_BYTES: usize = 64;

    /// # Safety
    ///
    /// `from` must be valid for reads of device memory and `into` for writes of ordinary memory
    /// that nobody else accesses, `len_bytes` each.
    pub(super) unsafe fn out_of_device(into: *mut u8, from: *const u8, len_bytes: usize) {
        // SAFETY: the contract is the caller's; the direction flag is clear by the ABI.
        unsafe { move_bytes(into, from, len_bytes) }
    }

    /// # Safety
    ///
    /// `into` must be valid for writes of device memory and `from` for reads of ordinary memory
    /// that nobody writes to, `len_bytes` each.
    pub(super) unsafe fn into_device(into: *mut u8, from: *const u8, len_bytes: usize) {
        // SAFETY: the contract is the caller's.
        unsafe { move_bytes(into, from, len_bytes) }
    }

    /// # Safety
    ///
    /// As [`into_device`].
    pub(super) unsafe fn into_device_around_cache(
        into: *mut u8,
        from: *const u8,
        len_bytes: usize,
    ) {
        let head_bytes = into.align_offset(LINE_BYTES).min(len_bytes);
        let lines_bytes = (len_bytes - head_bytes) / LINE_BYTES * LINE_BYTES;
        let tail_at = head_bytes + lines_bytes;
        // SAFETY: the three ranges make up the caller's one.
        unsafe { move_bytes(into, from, head_bytes) }
        if lines_bytes != 0 {
            // SAFETY: as above; the target is aligned to a line and the length is one of lines.
            unsafe {
                stream_lines(
                    into.wrapping_add(head_bytes),
                    from.wrapping_add(head_bytes),
                    lines_bytes,
                )
            }
        }
        let tail_bytes = len_bytes - tail_at;
        // SAFETY: as above.
        unsafe { move_bytes(into.wrapping_add(tail_at), from.wrapping_add(tail_at), tail_bytes) }
    }

    /// # Safety
    ///
    /// `into` must be valid for writes of `len_bytes` of device memory.
    pub(super) unsafe fn zero_device(into: *mut u8, len_bytes: usize) {
        let head_bytes = into.align_offset(LINE_BYTES).min(len_bytes);
        let lines_bytes = (len_bytes - head_bytes) / LINE_BYTES * LINE_BYTES;
        let tail_at = head_bytes + lines_bytes;
        // SAFETY: the three ranges make up the caller's one.
        unsafe { zero_bytes(into, head_bytes) }
        if lines_bytes >= super::NON_TEMPORAL_BYTES_MIN {
            // SAFETY: as above; the target is aligned to a line and the length is one of lines.
            unsafe { stream_zero_lines(into.wrapping_add(head_bytes), lines_bytes) }
        } else {
            // SAFETY: as above.
            unsafe { zero_bytes(into.wrapping_add(head_bytes), lines_bytes) }
        }
        // SAFETY: as above.
        unsafe { zero_bytes(into.wrapping_add(tail_at), len_bytes - tail_at) }
    }

    /// Fetches four lines. Any address will do: a prefetch does not fault.
    #[inline]
    pub(super) fn prefetch(at: *const u8) {
        for line in 0..4 {
            let address = at.wrapping_add(line * LINE_BYTES);
            // SAFETY: the instruction neither faults nor changes anything that can be seen.
            unsafe {
                asm!("prefetcht0 [{}]", in(reg) address, options(nostack, preserves_flags));
            }
        }
    }

    #[inline]
    unsafe fn move_bytes(into: *mut u8, from: *const u8, len_bytes: usize) {
        // SAFETY: the contract is the caller's; the direction flag is clear by the ABI.
        unsafe {
            asm!(
                "rep movsb",
                inout("rdi") into => _,
                inout("rsi") from => _,
                inout("rcx") len_bytes => _,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline]
    unsafe fn zero_bytes(into: *mut u8, len_bytes: usize) {
        // SAFETY: the contract is the caller's; the direction flag is clear by the ABI.
        unsafe {
            asm!(
                "rep stosb",
                inout("rdi") into => _,
                inout("rcx") len_bytes => _,
                in("al") 0_u8,
                options(nostack, preserves_flags),
            );
        }
    }

    /// `into` aligned to a line, `len_bytes` a multiple of a line and not 0.
    unsafe fn stream_lines(into: *mut u8, from: *const u8, len_bytes: usize) {
        // SAFETY: the contract is the caller's.
        unsafe {
            asm!(
                "2:",
                "movups {a}, [{from}]",
                "movups {b}, [{from} + 16]",
                "movups {c}, [{from} + 32]",
                "movups {d}, [{from} + 48]",
                "movntps [{into}], {a}",
                "movntps [{into} + 16], {b}",
                "movntps [{into} + 32], {c}",
                "movntps [{into} + 48], {d}",
                "add {from}, 64",
                "add {into}, 64",
                "sub {left}, 64",
                "jnz 2b",
                "sfence",
                into = inout(reg) into => _,
                from = inout(reg) from => _,
                left = inout(reg) len_bytes => _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack),
            );
        }
    }

    /// `into` aligned to a line, `len_bytes` a multiple of a line and not 0.
    unsafe fn stream_zero_lines(into: *mut u8, len_bytes: usize) {
        // SAFETY: the contract is the caller's.
        unsafe {
            asm!(
                "xorps {zero}, {zero}",
                "2:",
                "movntps [{into}], {zero}",
                "movntps [{into} + 16], {zero}",
                "movntps [{into} + 32], {zero}",
                "movntps [{into} + 48], {zero}",
                "add {into}, 64",
                "sub {left}, 64",
                "jnz 2b",
                "sfence",
                into = inout(reg) into => _,
                left = inout(reg) len_bytes => _,
                zero = out(xmm_reg) _,
                options(nostack),
            );
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
use portable as copy;

/// The copies in portable Rust: 64-bit words of the device, accessed atomically and relaxed.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use std::sync::atomic::{AtomicU64, Ordering};

    const WORD_BYTES: usize = size_of::<u64>();

    /// # Safety
    ///
    /// `from` must be valid for reads of device memory and `into` for writes of ordinary memory
    /// that nobody else accesses, `len_bytes` each.
    pub(super) unsafe fn out_of_device(into: *mut u8, from: *const u8, len_bytes: usize) {
        for_words(from, len_bytes, |word, bytes, at| {
            // SAFETY: the word holds a byte of the caller's range and the mapping ends at a page.
            let word = unsafe { &*word };
            let value = word.load(Ordering::Relaxed).to_ne_bytes();
            // SAFETY: `at..at + bytes.len()` lies in the caller's target.
            let target =
                unsafe { std::slice::from_raw_parts_mut(into.wrapping_add(at), bytes.len()) };
            target.copy_from_slice(&value[bytes]);
        });
    }

    /// # Safety
    ///
    /// `into` must be valid for writes of device memory and `from` for reads of ordinary memory
    /// that nobody writes to, `len_bytes` each.
    pub(super) unsafe fn into_device(into: *mut u8, from: *const u8, len_bytes: usize) {
        for_words(into, len_bytes, |word, bytes, at| {
            // SAFETY: as in `out_of_device`.
            let word = unsafe { &*word };
            // SAFETY: `at..at + bytes.len()` lies in the caller's source.
            let source = unsafe { std::slice::from_raw_parts(from.wrapping_add(at), bytes.len()) };
            // A word at the edge of a segment keeps its other bytes. Those belong to the same
            // block, hence to the same request.
            let mut value = match bytes.len() {
                WORD_BYTES => [0; WORD_BYTES],
                _ => word.load(Ordering::Relaxed).to_ne_bytes(),
            };
            value[bytes].copy_from_slice(source);
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        });
    }

    /// # Safety
    ///
    /// As [`into_device`].
    pub(super) unsafe fn into_device_around_cache(
        into: *mut u8,
        from: *const u8,
        len_bytes: usize,
    ) {
        // SAFETY: the contract is the caller's.
        unsafe { into_device(into, from, len_bytes) }
    }

    /// # Safety
    ///
    /// `into` must be valid for writes of `len_bytes` of device memory.
    pub(super) unsafe fn zero_device(into: *mut u8, len_bytes: usize) {
        for_words(into, len_bytes, |word, bytes, _| {
            // SAFETY: as in `out_of_device`.
            let word = unsafe { &*word };
            let mut value = word.load(Ordering::Relaxed).to_ne_bytes();
            value[bytes].fill(0);
            word.store(u64::from_ne_bytes(value), Ordering::Relaxed);
        });
    }

    /// Leaves it to the processor.
    #[inline]
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn prefetch(_at: *const u8) {}

    /// Calls `f` with each aligned word of a device range: the word, which of its bytes are in the
    /// range, and how far into the range they are.
    fn for_words(
        device: *const u8,
        len_bytes: usize,
        mut f: impl FnMut(*const AtomicU64, std::ops::Range<usize>, usize),
    ) {
        let mut at = 0;
        while at < len_bytes {
            let address = device.wrapping_add(at);
            let skip = address.addr() % WORD_BYTES;
            let bytes = (WORD_BYTES - skip).min(len_bytes - at);
            f(address.wrapping_sub(skip).cast(), skip..skip + bytes, at);
            at += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE_BYTES: u64 = 4 << 20;

    /// A pattern in which neighbouring bytes, lines and pages differ.
    fn painted(len_bytes: usize, seed: usize) -> Vec<u8> {
        (0..len_bytes).map(|at| ((at + seed) % 251) as u8).collect()
    }

    /// Goal: every copy moves the right bytes and no others, at any alignment and around both
    /// thresholds. Method: the whole device is compared with a plain vector after each step.
    #[test]
    fn copies_agree_with_a_byte_vector() {
        let memory = Memory::map(DEVICE_BYTES).unwrap();
        let mut model = vec![0_u8; DEVICE_BYTES as usize];
        let mut all = vec![0xee_u8; DEVICE_BYTES as usize];
        memory.read(0, &mut all);
        assert!(all == model, "a new device is not all zeroes");
        let lengths = [0, 1, 7, 63, 64, 65, 511, 512, 4096, 16383, 16384, 16385, 131_072, 131_099];
        for (round, &len_bytes) in lengths.iter().enumerate() {
            for skew in [0, 1, 8, 13, 64, 512] {
                let offset = 4096 * (round + 1) + skew;
                let source = painted(len_bytes + skew, round * 7 + skew);
                memory.write(offset as u64, &source[skew..]);
                model[offset..offset + len_bytes].copy_from_slice(&source[skew..]);
                let zero_at = offset + len_bytes / 3;
                memory.zero(zero_at as u64, len_bytes / 2);
                model[zero_at..zero_at + len_bytes / 2].fill(0);
            }
            memory.read(0, &mut all);
            assert!(all == model, "contents differ after writes of {len_bytes} bytes");
        }
    }

    /// Goal: the portable copies do what the assembly does. Method: the same writes and fills by
    /// both, to two devices.
    #[test]
    fn portable_copies_agree() {
        let one = Memory::map(1 << 20).unwrap();
        let other = Memory::map(1 << 20).unwrap();
        for (round, len_bytes) in [1, 5, 8, 9, 512, 4096, 20_000].into_iter().enumerate() {
            for skew in 0..9 {
                let offset = 32_768 * (round as u64 + 1) + skew;
                let source = painted(len_bytes, round);
                one.write(offset, &source);
                // SAFETY: in range of the device, from a slice of that length.
                unsafe {
                    portable::into_device_around_cache(
                        other.at(offset, len_bytes),
                        source.as_ptr(),
                        len_bytes,
                    );
                }
                one.zero(offset + 2, len_bytes / 2);
                // SAFETY: in range of the device.
                unsafe {
                    portable::zero_device(other.at(offset + 2, len_bytes / 2), len_bytes / 2);
                }
                let mut expected = vec![0; len_bytes + 16];
                one.read(offset - 8, &mut expected);
                let mut found = vec![0; len_bytes + 16];
                // SAFETY: in range of the device, into a vector of that length.
                unsafe {
                    portable::out_of_device(
                        found.as_mut_ptr(),
                        other.at(offset - 8, found.len()),
                        found.len(),
                    );
                }
                assert_eq!(found, expected, "{len_bytes} bytes at {offset}");
            }
        }
    }

    /// Goal: an overlap of writers leaves bytes of theirs and nothing else. Method: two threads
    /// paint the same block with their own byte while a third reads it.
    #[test]
    fn overlapping_writers_leave_their_own_bytes() {
        let memory = Memory::map(DEVICE_BYTES).unwrap();
        std::thread::scope(|scope| {
            for byte in [0x11_u8, 0x22] {
                let memory = &memory;
                scope.spawn(move || {
                    for round in 0..2000 {
                        let len_bytes = if round % 2 == 0 { 4096 } else { 32_768 };
                        memory.write(0, &vec![byte; len_bytes]);
                    }
                });
            }
            for _ in 0..2000 {
                let mut seen = vec![0xee; 4096];
                memory.read(0, &mut seen);
                assert!(seen.iter().all(|byte| [0, 0x11, 0x22].contains(byte)));
            }
        });
    }

    /// Goal: the bounds check holds on both sides of the end and against overflow.
    #[test]
    fn ranges_outside_panic() {
        let memory = Memory::map(4096).unwrap();
        memory.write(4096, &[]);
        for (offset, len_bytes) in [(4096, 1), (0, 4097), (u64::MAX, 1), (1, usize::MAX)] {
            let outside = std::panic::catch_unwind(|| memory.zero(offset, len_bytes));
            assert!(outside.is_err(), "{len_bytes} bytes at {offset} were let through");
        }
    }
}
