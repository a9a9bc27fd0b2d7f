//! Requests that the kernel has, by the number under which it answers.
//!
//! The slab is where a request lives from the moment its description goes to the kernel until the
//! answer has come: its buffers cannot be dropped or touched meanwhile, because nobody else can
//! reach them. The list of segments of a vectored request stays with the slot: it has room for
//! `SEGMENTS_RESERVED` from the start and keeps what it has grown to, so that requests do not
//! allocate.
//!
//! Invariant: a slot that the kernel has is occupied; `remove` is called once for each answer.
//!
//! Not here: what the request does (`request.rs`), and who talks to the kernel.

use super::request::Request;
use crate::limits::SEGMENTS_RESERVED;

/// The table. Fills up to its bound and never shrinks.
#[derive(Debug)]
pub(crate) struct Slab {
    slots: Vec<Slot>,
    free: Vec<u32>,
    slots_max: usize,
}

#[derive(Debug)]
struct Slot {
    request: Option<Request>,
    segments: Vec<libc::iovec>,
}

impl Slab {
    /// An empty table for at most `slots_max` requests.
    pub(crate) fn new(slots_max: usize) -> Self {
        let (slots, free) = (Vec::with_capacity(slots_max), Vec::with_capacity(slots_max));
        Self { slots, free, slots_max }
    }

    /// Requests in it.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether the kernel has nothing.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a request and names it.
    ///
    /// # Panics
    ///
    /// When there is no room: the engine asks first.
    #[inline]
    pub(crate) fn insert(&mut self, request: Request) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            assert!(self.slots.len() < self.slots_max, "request table overflow");
            let segments = Vec::with_capacity(SEGMENTS_RESERVED);
            self.slots.push(Slot { request: None, segments });
            self.slots.len() as u32 - 1
        });
        self.slots[index as usize].request = Some(request);
        index
    }

    /// The request under this name, and the room for its list of segments.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> (&mut Request, &mut Vec<libc::iovec>) {
        let slot = &mut self.slots[index as usize];
        let request = slot.request.as_mut().expect("the slot holds a request");
        (request, &mut slot.segments)
    }

    /// Gives a request back when the kernel has answered it.
    ///
    /// # Panics
    ///
    /// When the kernel answers what it was not asked.
    #[inline]
    pub(crate) fn remove(&mut self, index: u32) -> Request {
        let request = self.slots.get_mut(index as usize).and_then(|slot| slot.request.take());
        let request = request.expect("the kernel answers each request once");
        self.free.push(index);
        request
    }
}
