//! The header of a block of memory, and the untyped view that every buffer type wraps.
//!
//! Owns: a block is released exactly once, when its last view goes.
//!
//! A [`View`] is (pointer, length, header). Each view holds one reference of its header; `Clone`,
//! `slice`, `split_to` and `drop` are the only operations that touch the counter. The header is
//! immutable but for that counter, so views may be read and dropped on any thread.
//!
//! Why views are `Send` and `Sync`: a view never gives access to bytes by itself. `IoBufMut` and
//! `IoBuf` decide that: the former exists once per byte, the latter only lends `&[u8]`.
//!
//! Not here: which bytes may be written (`buf`, `rejoin`), where pool blocks go (`pool`).
#![expect(unsafe_code, reason = "raw memory: header and data are reached through pointers")]

use super::BUF_ALIGN_BYTES;
use super::pool::PoolShared;
use super::region::RegionId;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::Range;
use std::process::abort;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Header of one block. Headers of pool blocks live in the pool, those of heap blocks in a `Box`.
#[derive(Debug)]
pub(super) struct Block {
    /// Views of this block; 0 while it is free.
    refs: AtomicU32,
    /// First unit of the block in its pool; unused on the heap.
    unit: u32,
    /// First byte of the block.
    base: NonNull<u8>,
    owner: Owner,
}

#[derive(Debug)]
enum Owner {
    Heap(Layout),
    Pool(NonNull<PoolShared>),
}

/// More references than this are a leak; as in `Arc`, half the range is left so that racing
/// threads cannot pass the end before one of them aborts.
const REFS_MAX: u32 = u32::MAX / 2;

// SAFETY: a header is immutable but for its atomic counter, and its pointers are only followed by
// `View` and `release`, which may do so on any thread (see the module's notes and `pool`).
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    /// Header of the block that starts at `unit` of the pool.
    pub(super) fn in_pool(pool: NonNull<PoolShared>, unit: u32, base: NonNull<u8>) -> Self {
        Self { refs: AtomicU32::new(0), unit, base, owner: Owner::Pool(pool) }
    }

    /// Gives the block back to where it came from.
    ///
    /// # Safety
    /// The caller has just given up the last reference; nobody else knows the block any more.
    unsafe fn release(block: NonNull<Self>) {
        // SAFETY: the header lives until it is released, which happens below.
        let header = unsafe { block.as_ref() };
        match header.owner {
            // SAFETY: the header says that this unit belongs to that pool, and a pool outlives
            // each block that it lent; the caller gives up the block's last reference.
            Owner::Pool(pool) => unsafe { PoolShared::give_back(pool, header.unit) },
            Owner::Heap(layout) => {
                // SAFETY: `View::heap` made the data with this very layout, and no view is left.
                unsafe { dealloc(header.base.as_ptr(), layout) };
                // SAFETY: `View::heap` made the header by `Box::leak`, and no view is left.
                drop(unsafe { Box::from_raw(block.as_ptr()) });
            }
        }
    }
}

/// One counted reference to a block, and a range of its bytes.
pub(super) struct View {
    ptr: NonNull<u8>,
    len: usize,
    block: NonNull<Block>,
}

// SAFETY: the header is immutable but for its atomic counter, and a view alone reads or writes no
// byte; see the module's notes.
unsafe impl Send for View {}
// SAFETY: as above; `&View` allows only counting up and reading the immutable header.
unsafe impl Sync for View {}

impl View {
    /// A view of a new zeroed block of at least `len_bytes` on the heap.
    pub(super) fn heap(len_bytes: usize) -> Self {
        let layout = len_bytes
            .max(1)
            .checked_next_multiple_of(BUF_ALIGN_BYTES)
            .and_then(|size| Layout::from_size_align(size, BUF_ALIGN_BYTES).ok())
            .unwrap_or_else(|| panic!("a buffer of {len_bytes} bytes: more than isize::MAX"));
        // SAFETY: the size is at least one page, so not zero.
        let data = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(data) else { handle_alloc_error(layout) };
        let header = Block { refs: AtomicU32::new(1), unit: 0, base, owner: Owner::Heap(layout) };
        Self { ptr: base, len: len_bytes, block: NonNull::from(Box::leak(Box::new(header))) }
    }

    /// The first view of a free pool block.
    ///
    /// # Safety
    /// The pool has just taken the block out of its free memory and lends it to the caller; the
    /// block has at least `len_bytes`.
    #[inline]
    pub(super) unsafe fn of_free_block(block: NonNull<Block>, len_bytes: usize) -> Self {
        // SAFETY: headers live as long as their pool, which lends the block.
        let header = unsafe { block.as_ref() };
        header.refs.store(1, Ordering::Relaxed);
        Self { ptr: header.base, len: len_bytes, block }
    }

    #[inline]
    pub(super) fn ptr(&self) -> NonNull<u8> {
        self.ptr
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn header(&self) -> &Block {
        // SAFETY: this view holds a reference, so the header has not been released.
        unsafe { self.block.as_ref() }
    }

    /// Another view of a part of these bytes.
    ///
    /// # Panics
    /// If `range` is not inside the view.
    #[inline]
    pub(super) fn part(&self, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "range {range:?} is not inside a buffer of {} bytes",
            self.len
        );
        if self.header().refs.fetch_add(1, Ordering::Relaxed) > REFS_MAX {
            abort();
        }
        // SAFETY: the start is at most the length, so the pointer stays in the block or one past.
        let ptr = unsafe { self.ptr.add(range.start) };
        Self { ptr, len: range.end - range.start, block: self.block }
    }

    /// Takes `[0, at_bytes)` out; `self` keeps the rest.
    #[inline]
    pub(super) fn split_to(&mut self, at_bytes: usize) -> Self {
        let front = self.part(0..at_bytes);
        // SAFETY: `part` has checked that `at_bytes` is at most the length.
        self.ptr = unsafe { self.ptr.add(at_bytes) };
        self.len -= at_bytes;
        front
    }

    /// Whether no other view of the block exists, anywhere.
    #[inline]
    pub(super) fn is_only(&self) -> bool {
        // Acquire pairs with the release in `drop`: what others did with the block is over.
        self.header().refs.load(Ordering::Acquire) == 1
    }

    /// Whether `part` is made of bytes of this view.
    pub(super) fn covers(&self, part: &Self) -> bool {
        let offset = part.ptr.addr().get().checked_sub(self.ptr.addr().get());
        self.block == part.block && offset.is_some_and(|at| at + part.len <= self.len)
    }

    /// Region and offset in it of the first byte.
    #[inline]
    pub(super) fn region(&self) -> Option<(RegionId, usize)> {
        match self.header().owner {
            Owner::Heap(_) => None,
            Owner::Pool(pool) => {
                // SAFETY: a pool's shared part outlives every block that it lent.
                let region = unsafe { pool.as_ref() }.region();
                Some((region.id(), self.ptr.addr().get() - region.as_ptr().addr()))
            }
        }
    }
}

impl Drop for View {
    #[inline]
    fn drop(&mut self) {
        // A sole view needs no read-modify-write: only a view can make another one, and this is
        // the only one. That is the usual case, and it keeps a buffer's way home free of them.
        let last = self.is_only() || self.header().refs.fetch_sub(1, Ordering::AcqRel) == 1;
        if last {
            // SAFETY: the counter says that this was the last reference, and this view is gone.
            unsafe { Block::release(self.block) }
        }
    }
}
