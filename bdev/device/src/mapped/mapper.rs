//! Requests through a table, on one channel.
//!
//! ```text
//!   request --one place--> slot: its token and shift ---------> base channel
//!           `-borders----> Parent --part--> slot: of which -----> base channels
//!                            ^   as many at a time as there is room
//!                            `-- first error wins; whole again when all parts are back
//! ```
//!
//! A table that is one stretch of one bdev needs none of that: the request passes with its offset
//! shifted, and as all requests are shifted alike, nothing has to be remembered ([`Straight`]).
//!
//! Invariants: R6 (slots and parents are bounded; what does not fit is handed back or waits inside of
//! its parent).
//!
//! Not here: when requests may enter (`channel`, `gate`).

use std::collections::VecDeque;
use std::sync::Arc;

use reactor::Cx;

use super::split::{Buffers, Lists};
use super::table::{Behind, MappedTable, Place};
use crate::bdev::{BdevInfo, IoChannel, OpenError};
use crate::io::{BdevIo, Completion, IoOp, IoStatus};
use crate::limits::{COMPLETIONS_PER_POLL_MAX, MAPPED_PARTS_MAX};
use crate::stacked::Slots;

/// A table with channels to what is behind it.
pub(super) enum Plan {
    /// No table was ever there: everything fails.
    None,
    Straight(Straight),
    Mapped(Box<Mapper>),
}

impl Plan {
    /// Opens channels to all bdevs of the table.
    pub(super) fn open(
        table: &Arc<MappedTable>,
        info: &Arc<BdevInfo>,
        cx: &mut Cx,
    ) -> Result<Self, OpenError> {
        let channels = table.bdevs().iter().map(|bdev| bdev.open_channel(cx));
        let mut channels = channels.collect::<Result<Vec<_>, _>>()?;
        let (info, table) = (Arc::clone(info), Arc::clone(table));
        // A read-only device has to look at every request.
        let straight = table.straight().filter(|_| info.supported.write);
        if let (Some(shift), Some(base)) = (straight, channels.pop_if(|_| straight.is_some())) {
            let size_bytes = info.size_bytes();
            return Ok(Self::Straight(Straight { base, shift, size_bytes, info }));
        }
        Ok(Self::Mapped(Box::new(Mapper {
            info,
            table,
            channels,
            slots: Slots::new(),
            parents: Slots::new(),
            stalled: VecDeque::new(),
            lists: Lists::default(),
            taken: Vec::with_capacity(COMPLETIONS_PER_POLL_MAX),
        })))
    }
}

/// One stretch of one bdev.
pub(super) struct Straight {
    base: Box<dyn IoChannel>,
    shift: u64,
    size_bytes: u64,
    info: Arc<BdevInfo>,
}

impl Straight {
    #[inline]
    pub(super) fn submit(
        &mut self,
        mut io: BdevIo,
        ready: &mut VecDeque<Completion>,
    ) -> Result<(), BdevIo> {
        let inside = io.len_bytes <= self.size_bytes
            && io.offset_bytes <= self.size_bytes - io.len_bytes
            || matches!(io.op, IoOp::Flush);
        if !inside {
            let refused = self.info.admit(&io).err().unwrap_or(IoStatus::InvalidRequest);
            ready.push_back(io.complete(refused));
            return Ok(());
        }
        io.offset_bytes = io.offset_bytes.wrapping_add(self.shift);
        self.base.submit(io).map_err(|mut io| {
            io.offset_bytes = io.offset_bytes.wrapping_sub(self.shift);
            io
        })
    }

    #[inline]
    pub(super) fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let count = self.base.poll(done);
        if self.shift != 0 {
            let from = done.len() - count;
            for completion in &mut done[from..] {
                let offset_bytes = &mut completion.io.offset_bytes;
                *offset_bytes = offset_bytes.wrapping_sub(self.shift);
            }
        }
        count
    }
}

/// What a base has a request for.
#[derive(Debug)]
enum AtBase {
    Whole {
        token: u64,
        shift: u64,
    },
    Part {
        parent: u64,
        /// The buffer of the parent's in which it begins.
        from: usize,
    },
}

/// A request that goes out in parts.
#[derive(Debug)]
struct Parent {
    token: u64,
    offset_bytes: u64,
    len_bytes: u64,
    buffers: Buffers,
    /// Of the first part that failed.
    status: IoStatus,
    /// What is cut next: a byte of the device, or for a flush a bdev of the table.
    next: u64,
    /// Where that ends.
    end: u64,
    /// Parts at the bases.
    out: u32,
    /// A part that its base has had no room for.
    stuck: Option<(usize, BdevIo, AtBase)>,
}

/// Any other table.
pub(super) struct Mapper {
    info: Arc<BdevInfo>,
    table: Arc<MappedTable>,
    channels: Vec<Box<dyn IoChannel>>,
    slots: Slots<AtBase>,
    parents: Slots<Parent>,
    /// Parents that have something left to send.
    stalled: VecDeque<u64>,
    lists: Lists,
    /// Room for one poll of a base.
    taken: Vec<Completion>,
}

impl Mapper {
    pub(super) fn submit(
        &mut self,
        io: BdevIo,
        ready: &mut VecDeque<Completion>,
    ) -> Result<(), BdevIo> {
        if let Err(refused) = self.info.admit(&io) {
            ready.push_back(io.complete(refused));
            return Ok(());
        }
        if !matches!(io.op, IoOp::Flush) {
            let place = self.table.place(io.offset_bytes);
            let fits = io.len_bytes <= place.room_bytes(io.offset_bytes);
            // Where others have taken all slots it waits as a request of one part.
            if fits && self.slots.has_room() {
                return self.send_whole(io, place, ready);
            }
        }
        if !self.parents.has_room() {
            return Err(io);
        }
        let BdevIo { token, op, offset_bytes, len_bytes } = io;
        let (next, end) = match op {
            IoOp::Flush => (0, self.channels.len() as u64),
            _ => (offset_bytes, offset_bytes + len_bytes),
        };
        let parent = self.parents.put(Parent {
            token,
            offset_bytes,
            len_bytes,
            buffers: Buffers::begin(op, &mut self.lists),
            status: IoStatus::Ok,
            next,
            end,
            out: 0,
            stuck: None,
        });
        self.advance(parent, ready);
        Ok(())
    }

    fn send_whole(
        &mut self,
        mut io: BdevIo,
        place: Place,
        ready: &mut VecDeque<Completion>,
    ) -> Result<(), BdevIo> {
        let Behind::Bdev { index, shift } = place.behind else {
            let status = without_bdev(place.behind, &mut io.op);
            ready.push_back(io.complete(status));
            return Ok(());
        };
        let token = io.token;
        io.token = self.slots.put(AtBase::Whole { token, shift });
        io.offset_bytes = io.offset_bytes.wrapping_add(shift);
        self.channels[index].submit(io).map_err(|mut io| {
            self.slots.take(io.token);
            io.token = token;
            io.offset_bytes = io.offset_bytes.wrapping_sub(shift);
            io
        })
    }

    /// Sends as many parts as there is room for; what is left goes on at the next poll.
    /// Says how many those are.
    fn advance(&mut self, id: u64, ready: &mut VecDeque<Completion>) -> usize {
        let mut sent = 0;
        while self.send_part(id) {
            sent += 1;
        }
        let parent = self.parents.get_mut(id);
        if parent.stuck.is_some() || parent.next < parent.end {
            self.stalled.push_back(id);
        } else if parent.out == 0 {
            self.finish(id, ready);
        }
        sent
    }

    /// Whether a part was sent, or answered here.
    fn send_part(&mut self, id: u64) -> bool {
        let parent = self.parents.get_mut(id);
        if parent.out == MAPPED_PARTS_MAX || !self.slots.has_room() {
            return false;
        }
        let cut = parent.stuck.take().or_else(|| {
            let Parent { token, buffers, next, end, status, .. } = parent;
            while *next < *end {
                let Some(part) = cut(&self.table, *token, id, buffers, next, *end, &mut self.lists)
                else {
                    continue;
                };
                let (behind, mut io, at_base) = part;
                if let Behind::Bdev { index, .. } = behind {
                    return Some((index, io, at_base));
                }
                let outcome = without_bdev(behind, &mut io.op);
                if status.is_ok() {
                    *status = outcome;
                }
                if let AtBase::Part { from, .. } = at_base {
                    let ours = buffers.absorb(io.op, from, &mut self.lists);
                    debug_assert!(ours, "it has just been cut off");
                }
            }
            None
        });
        let Some((index, mut io, at_base)) = cut else { return false };
        io.token = self.slots.put(at_base);
        match self.channels[index].submit(io) {
            Ok(()) => {
                parent.out += 1;
                true
            }
            Err(io) => {
                let at_base = self.slots.take(io.token);
                parent.stuck = Some((index, io, at_base));
                false
            }
        }
    }

    fn finish(&mut self, id: u64, ready: &mut VecDeque<Completion>) {
        let parent = self.parents.get_mut(id);
        if matches!(parent.buffers, Buffers::Torn { .. }) && parent.status.is_ok() {
            return self.begin_again(id, ready);
        }
        let parent = self.parents.take(id);
        let Parent { token, offset_bytes, len_bytes, buffers, status, .. } = parent;
        let op = buffers.finish(&mut self.lists);
        ready.push_back(BdevIo { token, op, offset_bytes, len_bytes }.complete(status));
    }

    /// A part of a read came back in a buffer of somebody else's: nothing more of it is sent, until those
    /// that are out are back.
    #[cold]
    fn tear(&mut self, id: u64) {
        let parent = self.parents.get_mut(id);
        parent.next = parent.end;
        parent.stuck = None;
        self.stalled.retain(|&stalled| stalled != id);
    }

    #[cold]
    fn begin_again(&mut self, id: u64, ready: &mut VecDeque<Completion>) {
        let parent = self.parents.get_mut(id);
        let op = std::mem::replace(&mut parent.buffers, Buffers::Flush).finish(&mut self.lists);
        parent.buffers = Buffers::begin(op, &mut self.lists);
        parent.next = parent.offset_bytes;
        self.advance(id, ready);
    }

    /// Takes what the bases have finished, and sends what has been waiting for room. Says how much of both
    /// there was: that is progress, though no request may be whole again.
    pub(super) fn poll(&mut self, ready: &mut VecDeque<Completion>) -> usize {
        let mut taken = std::mem::take(&mut self.taken);
        let mut moved = 0;
        for index in 0..self.channels.len() {
            moved += self.channels[index].poll(&mut taken);
            for completion in taken.drain(..) {
                self.settle(completion, ready);
            }
        }
        self.taken = taken;
        for _ in 0..self.stalled.len() {
            let Some(id) = self.stalled.pop_front() else { break };
            moved += self.advance(id, ready);
        }
        moved
    }

    fn settle(&mut self, mut completion: Completion, ready: &mut VecDeque<Completion>) {
        match self.slots.take(completion.io.token) {
            AtBase::Whole { token, shift } => {
                completion.io.token = token;
                let offset_bytes = &mut completion.io.offset_bytes;
                *offset_bytes = offset_bytes.wrapping_sub(shift);
                ready.push_back(completion);
            }
            AtBase::Part { parent: id, from } => {
                let parent = self.parents.get_mut(id);
                let ours = parent.buffers.absorb(completion.io.op, from, &mut self.lists);
                parent.out -= 1;
                if parent.status.is_ok() {
                    parent.status = completion.status;
                }
                if !ours {
                    self.tear(id);
                }
                let parent = self.parents.get_mut(id);
                if parent.out == 0 && parent.stuck.is_none() && parent.next == parent.end {
                    self.finish(id, ready);
                }
            }
        }
    }
}

/// Cuts the next part; none where a flush has nothing to do.
fn cut(
    table: &MappedTable,
    token: u64,
    parent: u64,
    buffers: &mut Buffers,
    next: &mut u64,
    end: u64,
    lists: &mut Lists,
) -> Option<(Behind, BdevIo, AtBase)> {
    if matches!(buffers, Buffers::Flush) {
        let index = *next as usize;
        *next += 1;
        let flushes = table.flushes[index];
        let behind = Behind::Bdev { index, shift: 0 };
        return flushes.then(|| (behind, BdevIo::flush(token), AtBase::Part { parent, from: 0 }));
    }
    let place = table.place(*next);
    let len_bytes = place.room_bytes(*next).min(end - *next);
    let shift = match place.behind {
        Behind::Bdev { shift, .. } => shift,
        Behind::Zero | Behind::Error => 0,
    };
    let offset_bytes = next.wrapping_add(shift);
    let (op, from) = buffers.cut(len_bytes, lists);
    *next += len_bytes;
    let io = BdevIo { token, op, offset_bytes, len_bytes };
    Some((place.behind, io, AtBase::Part { parent, from }))
}

/// Performs what needs no bdev.
fn without_bdev(behind: Behind, op: &mut IoOp) -> IoStatus {
    match (behind, op) {
        (Behind::Zero, IoOp::Read { into }) => {
            into.segments_mut().for_each(|buf| buf.fill(0));
            IoStatus::Ok
        }
        (Behind::Zero, _) => IoStatus::Ok,
        (Behind::Error | Behind::Bdev { .. }, _) => IoStatus::MediaError,
    }
}
