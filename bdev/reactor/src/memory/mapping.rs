//! One mapping of anonymous memory, from mmap to munmap.
//!
//! Owns: a [`Mapping`] is mapped readable and writable for as long as it lives, and it alone unmaps
//! its range.
//!
//! Not here: which kind of page is wanted (`region`), and who uses the bytes (`pool`).
#![expect(unsafe_code, reason = "mmap, madvise and munmap")]

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use std::io;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

/// Private anonymous memory, zeroed by the kernel.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is an address range with an owner. It reads and writes no byte by itself, and
// unmapping is legal on any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` tells address and length, or gives advice that keeps the contents.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `len` bytes of plain pages.
    pub(super) fn plain(len: usize) -> io::Result<Self> {
        Self::new(len, MapFlags::PRIVATE)
    }

    /// `len` bytes, a multiple of 2 MiB, of reserved huge pages.
    pub(super) fn of_huge_pages(len: usize) -> io::Result<Self> {
        Self::new(len, MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::HUGE_2MB)
    }

    /// `len` bytes of plain pages at a multiple of `align`, a power of two of whole pages: maps that
    /// much more and gives back what sticks out at both ends.
    pub(super) fn aligned(len: usize, align: usize) -> io::Result<Self> {
        let wide = ManuallyDrop::new(Self::plain(len + align)?);
        let head = wide.base.as_ptr().align_offset(align);
        // SAFETY: the head is shorter than `align`, by which the mapping is longer than `len`.
        let base = unsafe { wide.base.add(head) };
        // SAFETY: as above, so this is inside of the mapping or at its end.
        let tail = unsafe { base.add(len) };
        // SAFETY: the head was mapped just now, nobody knows it, and `wide` will not unmap it.
        unsafe { unmap(wide.base, head) };
        // SAFETY: the same holds for the tail.
        unsafe { unmap(tail, align - head) };
        Ok(Self { base, len })
    }

    fn new(len: usize, flags: MapFlags) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping at an address of the kernel's choice takes no memory away
        // from anybody.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), len, access, flags) }?;
        let base = NonNull::new(base.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { base, len })
    }

    /// Asks for transparent huge pages; tells whether the kernel knows them.
    pub(super) fn ask_for_huge_pages(&self) -> bool {
        // SAFETY: the range is mapped by us, and this advice keeps its contents.
        let done = unsafe { madvise(self.base.as_ptr().cast(), self.len, Advice::LinuxHugepage) };
        done.is_ok()
    }

    /// Touches every page now. Kernels before 5.14 do not know how and fault pages in later.
    pub(super) fn populate(&self) -> io::Result<()> {
        let advice = Advice::LinuxPopulateWrite;
        // SAFETY: the range is mapped by us, and this advice keeps its contents.
        let done = unsafe { madvise(self.base.as_ptr().cast(), self.len, advice) };
        match done {
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// The first byte.
    #[inline]
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Length in bytes.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: we mapped the range; whoever lends its bytes keeps the mapping alive until the
        // last view of them is gone (`pool`).
        unsafe { unmap(self.base, self.len) };
    }
}

/// Unmaps a range; an empty one is fine.
///
/// # Safety
/// The range is mapped by `Mapping::new`, and nobody uses or unmaps it any more.
unsafe fn unmap(base: NonNull<u8>, len: usize) {
    if len == 0 {
        return;
    }
    // SAFETY: the caller's promise.
    let done = unsafe { munmap(base.as_ptr().cast(), len) };
    if let Err(e) = done {
        // The kernel splits what it had joined with a neighbour, and the number of mappings of a
        // process is limited. The memory stays ours and unused.
        tracing::error!("munmap of {len} bytes at {base:?}: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_mappings_are_aligned_and_usable_to_the_last_page() {
        let align = 2 << 20;
        for len in [4096, align, align + 4096] {
            let mapping = Mapping::aligned(len, align).expect("memory");
            assert!(mapping.base().as_ptr().addr().is_multiple_of(align));
            assert_eq!(mapping.len(), len);
            mapping.populate().expect("every page is there and writable");
        }
    }

    #[test]
    fn what_the_kernel_refuses_is_an_error() {
        assert!(Mapping::plain(1 << 60).is_err());
    }
}
