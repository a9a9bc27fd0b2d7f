//! The two kinds of buffer: [`IoBufMut`], owned by one, and [`IoBuf`], shared and read-only.
//!
//! Owns: *exclusive or shared*. The argument, from which every `unsafe` below follows:
//!
//! 1. A new block has exactly one `IoBufMut`, which covers the bytes that were asked for.
//! 2. `split_to` divides the bytes of one `IoBufMut` between two; nothing makes an `IoBufMut` of
//!    bytes that another one has. So the `IoBufMut`s of a block are disjoint.
//! 3. `freeze` turns an `IoBufMut` into an `IoBuf` of the same bytes; only `IoBuf`s are cloned.
//!    So an `IoBuf` and an `IoBufMut` of one block are disjoint too.
//! 4. `try_into_mut` goes back only while the block has one view: then nobody else has any byte.
//! 5. `Rejoin` (its own file) trades disjoint parts for the range that they fill exactly.
//! 6. All pointers come from the block's base pointer, so a `&mut` to one range says nothing about
//!    another range. Every byte is initialised: the heap and the kernel hand out zeroed memory.
//!
//! What the kernel or a device writes into a buffer in flight is outside of this model: whoever
//! hands the address out keeps the `IoBufMut` and does not look until the completion is in.
//!
//! Not here: counting (`block`), where blocks come from (`pool`).
#![expect(unsafe_code, reason = "slices are made of raw pointers; the module argues why")]

use super::block::View;
use super::region::RegionId;
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::slice;

/// Uniquely owned view of part of an aligned block. 24 bytes, cheap to move, `Send`.
///
/// Dropping it gives its part up; the block goes home with its last view.
pub struct IoBufMut(View);

/// Shared read-only view of part of an aligned block. 24 bytes; a clone costs one atomic add.
#[derive(Clone)]
pub struct IoBuf(Shared);

/// `View` itself is not `Clone`, because an `IoBufMut` must not be.
struct Shared(View);

impl Clone for Shared {
    #[inline]
    fn clone(&self) -> Self {
        Self(self.0.part(0..self.0.len()))
    }
}

impl IoBufMut {
    /// A zeroed buffer on the heap, 4096-aligned, freed with its last view. For tests and for the
    /// control path: it allocates, and no ring has it registered.
    pub fn heap(len_bytes: usize) -> Self {
        Self(View::heap(len_bytes))
    }

    /// A heap buffer that holds a copy of `bytes`.
    pub fn heap_copy(bytes: &[u8]) -> Self {
        let mut buf = Self::heap(bytes.len());
        buf.copy_from_slice(bytes);
        buf
    }

    /// Wraps the only view of bytes that nobody else has.
    #[inline]
    pub(super) fn from_view(view: View) -> Self {
        Self(view)
    }

    #[inline]
    pub(super) fn view(&self) -> &View {
        &self.0
    }

    /// Length in bytes: of the view, not of the block.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the view has no byte.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Takes `[0, at_bytes)` out; `self` keeps `[at_bytes, len)`.
    ///
    /// # Panics
    /// If `at_bytes` is more than the length.
    #[inline]
    pub fn split_to(&mut self, at_bytes: usize) -> Self {
        Self(self.0.split_to(at_bytes))
    }

    /// Gives up the right to write; the result can be cloned and sliced.
    #[inline]
    pub fn freeze(self) -> IoBuf {
        IoBuf(Shared(self.0))
    }

    /// The registered region that holds these bytes and the offset of the first one in it (for
    /// io_uring's fixed buffers and for DMA); `None` on the heap.
    #[inline]
    pub fn region(&self) -> Option<(RegionId, usize)> {
        self.0.region()
    }

    /// Address of the first byte, for an I/O that outlives a borrow.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.0.ptr().as_ptr()
    }

    /// Address of the first byte, for an I/O that outlives a borrow.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.ptr().as_ptr()
    }
}

impl Deref for IoBufMut {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes are in a live block and initialised (6); only this `IoBufMut` could
        // write them (2, 3), and it is borrowed.
        unsafe { slice::from_raw_parts(self.0.ptr().as_ptr(), self.0.len()) }
    }
}

impl DerefMut for IoBufMut {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the bytes are in a live block and initialised (6); no other view has any of
        // them (2, 3), and this one is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.0.ptr().as_ptr(), self.0.len()) }
    }
}

impl IoBuf {
    /// Length in bytes: of the view, not of the block.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.0.len()
    }

    /// Whether the view has no byte.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Another view of a part of these bytes.
    ///
    /// # Panics
    /// If `range` is not inside the view.
    #[inline]
    pub fn slice(&self, range: Range<usize>) -> Self {
        Self(Shared(self.0.0.part(range)))
    }

    /// Back to an owned buffer.
    ///
    /// # Errors
    /// The buffer itself, when it is not the only view of its block.
    #[inline]
    pub fn try_into_mut(self) -> Result<IoBufMut, Self> {
        if self.0.0.is_only() { Ok(IoBufMut(self.0.0)) } else { Err(self) }
    }

    /// The registered region that holds these bytes and the offset of the first one in it (for
    /// io_uring's fixed buffers and for DMA); `None` on the heap.
    #[inline]
    pub fn region(&self) -> Option<(RegionId, usize)> {
        self.0.0.region()
    }

    /// Address of the first byte, for an I/O that outlives a borrow.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.0.0.ptr().as_ptr()
    }
}

impl Deref for IoBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the bytes are in a live block and initialised (6); no `IoBufMut` has any of
        // them while this view lives (3, 4), so nobody writes them.
        unsafe { slice::from_raw_parts(self.0.0.ptr().as_ptr(), self.0.0.len()) }
    }
}

impl From<IoBufMut> for IoBuf {
    #[inline]
    fn from(buf: IoBufMut) -> Self {
        buf.freeze()
    }
}

impl fmt::Debug for IoBufMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_view(f, "IoBufMut", &self.0)
    }
}

impl fmt::Debug for IoBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_view(f, "IoBuf", &self.0.0)
    }
}

/// Where and how long, never the contents: they are a user's data.
fn debug_view(f: &mut fmt::Formatter<'_>, name: &str, view: &View) -> fmt::Result {
    f.debug_struct(name)
        .field("ptr", &view.ptr())
        .field("len_bytes", &view.len())
        .field("region", &view.region())
        .finish()
}
