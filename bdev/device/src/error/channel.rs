//! The data path of an error bdev on one reactor: everything passes through, but for what is hit.
//!
//! ```text
//!   submit --not armed-----------------------------------> base
//!          `-armed--> judge --Pass, Corrupt--------------> base
//!                          |--Fail, Gone---> ready
//!                          |--Hold---------> held --resumed--> judge again
//!                          `--HandBack-----> back to the caller
//!   poll <--- ready, and what the base has completed; Gone if the device has vanished meanwhile
//! ```
//!
//! While nothing is injected a request costs one load of an atomic number, the *tide*: its lowest bit
//! says that something is armed, the rest counts how often the device has vanished. Only when it is
//! armed is the mutex of the injections taken.
//!
//! Invariants: R6: a request that is held or waits to be sent counts as in flight.
//!
//! Not here: which requests are hit (`injection`), the cache (`cache`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use reactor::Cx;
use reactor::memory::{IoBuf, IoBufMut};

use super::Shared;
use super::injection::Verdict;
use crate::bdev::{IoChannel, OpenError};
use crate::io::{BdevIo, Completion, IoOp, IoStatus, Sgl};
use crate::limits::{CHANNEL_IN_FLIGHT_MAX, COMPLETIONS_PER_POLL_MAX};
use crate::stacked::{Slots, lock};

/// What is to be done with a request when it is back.
#[derive(Debug)]
enum Mark {
    /// Nothing.
    None,
    /// A byte of what was read is changed.
    CorruptRead { offset_bytes: u64, value: u8 },
    /// The base got other bytes; these are the submitter's.
    Swapped(Sgl<IoBuf>),
}

/// A request that the base has.
#[derive(Debug)]
struct AtBase {
    token: u64,
    /// How often the device had vanished when it was submitted.
    vanished: u64,
    mark: Mark,
}

/// A request that was taken and is not at the base.
#[derive(Debug)]
struct Kept {
    io: BdevIo,
    mark: Mark,
    /// How often pending requests had been resumed when it came.
    resumed: u64,
    /// How often the device had vanished when it came.
    vanished: u64,
}

pub(super) struct ErrorChannel {
    shared: Arc<Shared>,
    id: u64,
    base: Box<dyn IoChannel>,
    slots: Slots<AtBase>,
    /// Finished without the base.
    ready: VecDeque<Completion>,
    /// Until pending requests are resumed.
    held: VecDeque<Kept>,
    /// Until the base has room.
    waiting: VecDeque<Kept>,
    /// Requests between `submit` and `poll`, wherever they are.
    in_flight: usize,
}

impl ErrorChannel {
    pub(super) fn open(shared: &Arc<Shared>, cx: &mut Cx) -> Result<Self, OpenError> {
        let base = shared.lower.open_channel(cx)?;
        Ok(Self {
            shared: Arc::clone(shared),
            id: shared.wakers.join(cx.handle().waker()),
            base,
            slots: Slots::new(),
            ready: VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX),
            held: VecDeque::new(),
            waiting: VecDeque::new(),
            in_flight: 0,
        })
    }

    /// Sends a request to the base, which may be full. `vanished` is from the moment at which it was
    /// let through: if the device vanishes between then and now, the answer is `Gone`.
    #[inline]
    fn send(&mut self, mut io: BdevIo, mark: Mark, vanished: u64) -> Result<(), (BdevIo, Mark)> {
        let token = io.token;
        io.token = self.slots.put(AtBase { token, vanished, mark });
        self.base.submit(io).map_err(|mut io| {
            let AtBase { token, mark, .. } = self.slots.take(io.token);
            io.token = token;
            (io, mark)
        })
    }

    /// As `send`, for requests that are taken already.
    fn send_or_wait(&mut self, kept: Kept) {
        let Kept { io, mark, resumed, vanished } = kept;
        if let Err((io, mark)) = self.send(io, mark, vanished) {
            self.waiting.push_back(Kept { io, mark, resumed, vanished });
        }
    }

    /// Does with a request what the injections say. Handed back: it is not taken.
    #[cold]
    fn judged(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        let info = self.shared.lower.info();
        let (verdict, resumed, vanished) = {
            let mut state = lock(&self.shared.state);
            let verdict = match info.admit(&io) {
                _ if state.is_dead() => Verdict::Gone,
                Ok(()) => state.injections.judge(&io, info.block_size_bytes, self.slots.len()),
                // The base says what is wrong with it.
                Err(_) => Verdict::Pass,
            };
            self.shared.settle_tide(&state);
            (verdict, state.resumed, state.vanished)
        };
        match verdict {
            Verdict::Pass => return self.send(io, Mark::None, vanished).map_err(|(io, _)| io),
            Verdict::HandBack => return Err(io),
            Verdict::Fail => self.ready.push_back(io.complete(IoStatus::MediaError)),
            Verdict::Gone => self.ready.push_back(io.complete(IoStatus::Gone)),
            Verdict::Hold => {
                self.held.push_back(Kept { io, mark: Mark::None, resumed, vanished });
            }
            Verdict::Corrupt { offset_bytes, value } => {
                let (io, mark) = corrupted(io, offset_bytes, value);
                self.send_or_wait(Kept { io, mark, resumed, vanished });
            }
        }
        Ok(())
    }

    /// A request is back from the base.
    #[inline]
    fn settle(&self, completion: &mut Completion, at_base: AtBase, tide: u64) {
        completion.io.token = at_base.token;
        match (at_base.mark, &mut completion.io.op) {
            (Mark::CorruptRead { offset_bytes, value }, IoOp::Read { into })
                if completion.status.is_ok() =>
            {
                corrupt_list(into, offset_bytes, value);
            }
            (Mark::Swapped(original), IoOp::Write { from, .. }) => *from = original,
            _ => {}
        }
        if at_base.vanished != tide >> 1 {
            completion.status = IoStatus::Gone;
        } else if tide & 1 == 1 && completion.status.is_ok() {
            self.heal(&completion.io);
        }
    }

    #[cold]
    fn heal(&self, io: &BdevIo) {
        if matches!(io.op, IoOp::Write { .. } | IoOp::WriteZeroes { .. }) {
            let mut state = lock(&self.shared.state);
            state.injections.heal(io, self.shared.lower.info().block_size_bytes);
            self.shared.settle_tide(&state);
        }
    }

    /// Goes on with what is resumed and with what the base had no room for.
    #[cold]
    fn go_on(&mut self) {
        let (resumed, vanished) = {
            let state = lock(&self.shared.state);
            (state.resumed, state.vanished)
        };
        for _ in 0..self.waiting.len() {
            match self.waiting.pop_front() {
                Some(kept) if kept.vanished != vanished => self.answer_gone(kept),
                Some(kept) => self.send_or_wait(kept),
                None => break,
            }
        }
        while let Some(kept) = self.held.pop_front_if(|kept| kept.resumed < resumed) {
            if kept.vanished != vanished {
                self.answer_gone(kept);
            } else if let Err(io) = self.judged(kept.io) {
                // It is taken, so neither a full base nor an injection hands it back any more.
                self.waiting.push_back(Kept { io, mark: Mark::None, resumed, vanished });
            }
        }
    }

    /// The device has vanished under a request that was taken.
    fn answer_gone(&mut self, kept: Kept) {
        let Kept { mut io, mark, .. } = kept;
        if let (Mark::Swapped(original), IoOp::Write { from, .. }) = (mark, &mut io.op) {
            *from = original;
        }
        self.ready.push_back(io.complete(IoStatus::Gone));
    }
}

impl IoChannel for ErrorChannel {
    #[inline]
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        if self.in_flight == CHANNEL_IN_FLIGHT_MAX {
            return Err(io);
        }
        let tide = self.shared.tide.load(Ordering::Acquire);
        if tide & 1 == 0 {
            self.send(io, Mark::None, tide >> 1).map_err(|(io, _)| io)?;
        } else {
            self.judged(io)?;
        }
        self.in_flight += 1;
        Ok(())
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let before = done.len();
        self.base.poll(done);
        if done.len() > before {
            let tide = self.shared.tide.load(Ordering::Acquire);
            for completion in &mut done[before..] {
                let at_base = self.slots.take(completion.io.token);
                self.settle(completion, at_base, tide);
            }
        }
        if !self.held.is_empty() || !self.waiting.is_empty() {
            self.go_on();
        }
        let room = COMPLETIONS_PER_POLL_MAX.saturating_sub(done.len() - before);
        let ready = self.ready.len().min(room);
        done.extend(self.ready.drain(..ready));
        let count = done.len() - before;
        self.in_flight -= count;
        count
    }
}

impl Drop for ErrorChannel {
    fn drop(&mut self) {
        self.shared.wakers.leave(self.id);
    }
}

/// A request that will move a wrong byte: a write gets other buffers, a read is changed when it is
/// back.
fn corrupted(mut io: BdevIo, offset_bytes: u64, value: u8) -> (BdevIo, Mark) {
    let mark = match &mut io.op {
        IoOp::Write { from, .. } => {
            let mut copy = IoBufMut::heap(io.len_bytes as usize);
            let mut at = 0;
            for segment in from.segments() {
                copy[at..at + segment.len()].copy_from_slice(segment);
                at += segment.len();
            }
            corrupt(&mut copy, offset_bytes, value);
            Mark::Swapped(std::mem::replace(from, Sgl::One(copy.freeze())))
        }
        IoOp::Read { .. } => Mark::CorruptRead { offset_bytes, value },
        IoOp::Flush | IoOp::Unmap | IoOp::WriteZeroes { .. } => Mark::None,
    };
    (io, mark)
}

fn corrupt_list(bufs: &mut Sgl<IoBufMut>, mut offset_bytes: u64, value: u8) {
    for segment in bufs.segments_mut() {
        if corrupt(segment, offset_bytes, value) {
            return;
        }
        offset_bytes -= segment.len() as u64;
    }
}

/// Whether the byte is there.
fn corrupt(bytes: &mut [u8], offset_bytes: u64, value: u8) -> bool {
    let byte = usize::try_from(offset_bytes).ok().and_then(|at| bytes.get_mut(at));
    byte.map(|byte| *byte ^= value).is_some()
}
