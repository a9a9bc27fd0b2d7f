//! A device's channel on one reactor, with the requests that it has, and those that it had no room for.
//!
//! ```text
//!   submit(io) --> table: what it was for, since when --> channel
//!                    |                                       |
//!                    | overdue, or given up                  | completion, with its own buffers
//!                    v                                       v
//!               a failure with buffers of ours          the completion
//! ```
//!
//! Every request stands in a table until it comes back, so that a device that does not answer cannot hold
//! the array for ever: [`Member::abandon`] answers for it and hands the channel to a [`Graveyard`], which
//! keeps it until the device has let go of everything. Only then may the device be used again: what it
//! still has might reach its medium later. The count of it is the device's (`device::Lingering`), so that
//! it outlives the array.
//!
//! Tokens say what a completion belongs to:
//!
//! ```text
//!   63    56 55         32 31           8 7        0
//!   | kind  |   unused    | index        | role or slot |
//! ```
//!
//! Times are the shard's, which stand still when it does (`patience`). A request's time begins when the
//! channel takes it: while the channel hands it back the device has not heard of it. A channel that takes
//! nothing may be full of ours, which are overdue sooner, or of what others have asked of the same device or
//! engine; only after several times as long (`REFUSED_TIMES_MAX`) without any of ours is it given up for
//! that.
//!
//! While a device holds requests back on purpose (`Leeway::waits`) no time passes for them; they begin anew
//! when it goes on.
//!
//! Not here: what is done with a completion (`shard`), and what a failure leads to (crate `raid`).

use device::{Bdev, BdevIo, Completion, IoChannel, IoOp, IoStatus, Leeway, Lingering, Sgl};
use raid::event::OpId;
use raid::slab::Slab;
use raid::units::Slot;
use reactor::Cx;
use reactor::memory::IoBufMut;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use uuid::Uuid;

use crate::limits::{LEASE_CHECK_NS, MEMBER_IN_FLIGHT_MAX, REFUSED_TIMES_MAX};
use crate::patience::limit_ns;

/// What a request to a device was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A host read of one strip. The slot tells where it was.
    DirectRead { index: u32, slot: Slot },
    /// One strip of a longer host read.
    HostRead { host: u32, slot: Slot },
    /// A host flush.
    HostFlush { host: u32, slot: Slot },
    /// A read of a stripe operation.
    OpRead { op: OpId, role: u8 },
    /// The same once more, by itself, because it failed: md's rule (linux-raid.md, section 5.4).
    OpReadAgain { op: OpId, role: u8 },
    /// A write of a stripe operation.
    OpWrite { op: OpId, role: u8 },
    /// A flush that the coordinator asked for.
    Flush { slot: Slot },
    /// A write, or the flush after it, of a copy of a superblock.
    Superblock { slot: Slot },
    /// A write to the log bdev.
    LogWrite,
    /// A flush of the log bdev.
    LogFlush,
}

impl Purpose {
    pub(crate) fn token(self) -> u64 {
        let (kind, index, low) = match self {
            Self::HostRead { host, slot } => (0, host, slot.0),
            Self::HostFlush { host, slot } => (1, host, slot.0),
            Self::OpRead { op, role } => (2, op, role),
            Self::OpWrite { op, role } => (3, op, role),
            Self::Flush { slot } => (4, 0, slot.0),
            Self::DirectRead { index, slot } => (5, index, slot.0),
            Self::Superblock { slot } => (6, 0, slot.0),
            Self::LogWrite => (7, 0, 0),
            Self::LogFlush => (8, 0, 0),
            Self::OpReadAgain { op, role } => (9, op, role),
        };
        (kind << 56) | (u64::from(index) << 8) | u64::from(low)
    }

    pub(crate) fn of(token: u64) -> Self {
        let low = (token & 0xff) as u8;
        let index = (token >> 8 & 0xff_ffff) as u32;
        match token >> 56 {
            0 => Self::HostRead { host: index, slot: Slot(low) },
            1 => Self::HostFlush { host: index, slot: Slot(low) },
            2 => Self::OpRead { op: index, role: low },
            3 => Self::OpWrite { op: index, role: low },
            4 => Self::Flush { slot: Slot(low) },
            5 => Self::DirectRead { index, slot: Slot(low) },
            6 => Self::Superblock { slot: Slot(low) },
            7 => Self::LogWrite,
            8 => Self::LogFlush,
            9 => Self::OpReadAgain { op: index, role: low },
            _ => panic!("token {token:#x} was not made here"),
        }
    }
}

/// What a request does, without its buffers.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Read,
    Write { fua: bool },
    Flush,
}

/// A request that has not come back.
#[derive(Debug, Clone, Copy)]
struct InFlight {
    token: u64,
    offset_bytes: u64,
    len_bytes: u64,
    /// Since when the channel has it; absent: it has handed it back so far.
    since_ns: Option<u64>,
    kind: Kind,
}

impl InFlight {
    fn of(io: &BdevIo, now_ns: u64) -> Self {
        let kind = match io.op {
            IoOp::Read { .. } => Kind::Read,
            IoOp::Write { fua, .. } => Kind::Write { fua },
            IoOp::Flush => Kind::Flush,
            IoOp::Unmap | IoOp::WriteZeroes { .. } => panic!("arrays send no {io:?}"),
        };
        let BdevIo { token, offset_bytes, len_bytes, .. } = *io;
        Self { token, offset_bytes, len_bytes, since_ns: Some(now_ns), kind }
    }

    /// An answer in the device's place, with a buffer where the device still has the real one.
    fn answer(self, status: IoStatus) -> Completion {
        let Self { token, offset_bytes, len_bytes, kind, .. } = self;
        let op = match kind {
            Kind::Read => IoOp::Read {
                into: Sgl::One(IoBufMut::heap(usize::try_from(len_bytes).expect("it fit before"))),
            },
            Kind::Write { fua } => IoOp::Write { from: Sgl::Many(Vec::new()), fua },
            Kind::Flush => IoOp::Flush,
        };
        BdevIo { token, op, offset_bytes, len_bytes }.complete(status)
    }
}

/// One device on one reactor.
#[derive(Debug)]
pub(crate) struct Member {
    /// Absent: a stand-in, which is no device.
    device: Option<Device>,
    channel: Box<dyn IoChannel>,
    /// What the channel has, and what it has handed back.
    in_flight: Slab<InFlight>,
    /// What the channel has handed back, in order.
    refused: VecDeque<BdevIo>,
    /// While there is any: when the channel last took or answered something, or began to refuse.
    moved_ns: u64,
    /// What has no place in the table yet.
    waiting: VecDeque<BdevIo>,
    /// Before this time the device is not asked whether it holds requests back.
    ask_at_ns: u64,
    /// Whether it did when it was asked last.
    waits: bool,
    /// When it was last asked whether it still did.
    waited_ns: u64,
    /// Before this time nothing can be overdue.
    check_at_ns: u64,
}

/// Whose channel it is.
#[derive(Debug)]
struct Device {
    uuid: Uuid,
    /// To be asked how it is; the array keeps it, not the shard.
    bdev: Weak<dyn Bdev>,
}

impl Device {
    fn leeway(&self) -> Leeway {
        self.bdev.upgrade().map_or_else(Leeway::default, |bdev| bdev.leeway())
    }
}

impl Member {
    pub(crate) fn new(bdev: &Arc<dyn Bdev>, channel: Box<dyn IoChannel>) -> Self {
        let device = Device { uuid: bdev.info().uuid, bdev: Arc::downgrade(bdev) };
        Self::over(Some(device), channel)
    }

    fn over(device: Option<Device>, channel: Box<dyn IoChannel>) -> Self {
        Self {
            device,
            channel,
            in_flight: Slab::new(MEMBER_IN_FLIGHT_MAX),
            refused: VecDeque::new(),
            moved_ns: 0,
            waiting: VecDeque::new(),
            ask_at_ns: 0,
            waits: false,
            waited_ns: 0,
            check_at_ns: 0,
        }
    }

    /// A device that fails everything at once: it stands in for one that was given up, until nobody asks it
    /// for anything any more.
    pub(crate) fn dead(status: IoStatus) -> Self {
        Self::over(None, Box::new(Dead { status, done: VecDeque::new() }))
    }

    /// Whether it is such a stand-in.
    pub(crate) fn is_dead(&self) -> bool {
        self.device.is_none()
    }

    /// Submits, or keeps the request until there is room.
    pub(crate) fn submit(&mut self, io: BdevIo, now_ns: u64) {
        if self.in_flight.vacant() == 0 || !self.waiting.is_empty() {
            self.waiting.push_back(io);
            return;
        }
        self.start(io, now_ns);
    }

    fn start(&mut self, mut io: BdevIo, now_ns: u64) {
        let index = self.in_flight.insert(InFlight::of(&io, now_ns)).expect("there is room");
        io.token = u64::from(index);
        if !self.refused.is_empty() {
            self.in_flight[index].since_ns = None;
            self.refused.push_back(io);
        } else if let Err(io) = self.channel.submit(io) {
            self.in_flight[index].since_ns = None;
            self.refused.push_back(io);
            self.moved_ns = now_ns;
        }
    }

    /// Takes completions, and submits what was kept as far as there is room.
    pub(crate) fn poll(&mut self, now_ns: u64, done: &mut Vec<Completion>) -> usize {
        if self.in_flight.is_empty() {
            return 0;
        }
        let first = done.len();
        let count = self.channel.poll(done);
        for completion in &mut done[first..] {
            let index = u32::try_from(completion.io.token).expect("tokens are indexes");
            completion.io.token = self.in_flight.remove(index).token;
        }
        if !self.refused.is_empty() {
            self.offer(now_ns, count > 0);
        }
        while self.in_flight.vacant() > 0 {
            let Some(io) = self.waiting.pop_front() else { break };
            self.start(io, now_ns);
        }
        count
    }

    /// Submits what the channel has handed back, until it does so again.
    #[cold]
    fn offer(&mut self, now_ns: u64, answered: bool) {
        if answered {
            self.moved_ns = now_ns;
        }
        while let Some(io) = self.refused.pop_front() {
            let index = u32::try_from(io.token).expect("tokens are indexes");
            if let Err(io) = self.channel.submit(io) {
                self.refused.push_front(io);
                break;
            }
            self.in_flight[index].since_ns = Some(now_ns);
            self.moved_ns = now_ns;
        }
    }

    /// Whether a request has been with the device for `io_timeout_ns` and what leeway the device needs, or
    /// the device has taken none for so much longer that it never will.
    pub(crate) fn is_overdue(&mut self, now_ns: u64, io_timeout_ns: u64) -> bool {
        if now_ns < self.ask_at_ns {
            return false;
        }
        self.ask_at_ns = now_ns.saturating_add(LEASE_CHECK_NS / 2);
        let Some(device) = self.device.as_ref().filter(|_| !self.in_flight.is_empty()) else {
            return false;
        };
        let leeway = device.leeway();
        // It may have gone on only just now.
        if std::mem::replace(&mut self.waits, leeway.waits) || leeway.waits {
            (self.waited_ns, self.moved_ns) = (now_ns, now_ns);
            return false;
        }
        if now_ns < self.check_at_ns {
            return false;
        }
        let limit_ns = limit_ns(io_timeout_ns, leeway);
        let due_ns = self.due_ns(limit_ns);
        // What the channel takes from now on is overdue later than that.
        let next_ns = now_ns.saturating_add(limit_ns);
        self.check_at_ns = due_ns.map_or(next_ns, |due_ns| due_ns.min(next_ns));
        due_ns.is_some_and(|due_ns| due_ns <= now_ns)
    }

    fn due_ns(&self, limit_ns: u64) -> Option<u64> {
        match self.in_flight.iter().filter_map(|entry| entry.since_ns).min() {
            Some(oldest_ns) => Some(oldest_ns.max(self.waited_ns).saturating_add(limit_ns)),
            None if self.refused.is_empty() => None,
            None => Some(self.moved_ns.saturating_add(limit_ns.saturating_mul(REFUSED_TIMES_MAX))),
        }
    }

    /// Gives the device up: everything that it has not answered is answered for it.
    pub(crate) fn abandon(
        mut self,
        status: IoStatus,
        graveyard: &mut Graveyard,
    ) -> Vec<Completion> {
        let mut answers: Vec<Completion> =
            self.in_flight.iter().map(|entry| entry.answer(status)).collect();
        answers.extend(self.waiting.drain(..).map(|io| io.complete(status)));
        let refused = self.refused.drain(..).count();
        let left = self.in_flight.len() - refused;
        if let Some(device) = self.device.filter(|_| left > 0) {
            let left = Lingering::begin(device.uuid, left);
            graveyard.0.push(Grave { channel: self.channel, left });
        }
        answers
    }
}

/// The channel of a device that fails everything.
struct Dead {
    status: IoStatus,
    done: VecDeque<Completion>,
}

impl IoChannel for Dead {
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        self.done.push_back(io.complete(self.status));
        Ok(())
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let count = self.done.len();
        done.extend(self.done.drain(..));
        count
    }
}

#[derive(Debug)]
struct Grave {
    channel: Box<dyn IoChannel>,
    left: Lingering,
}

/// Channels of devices that were given up and still have requests.
#[derive(Debug, Default)]
pub(crate) struct Graveyard(Vec<Grave>);

impl Graveyard {
    /// Takes late answers, of which nobody hears. Says whether there were any: buffers have come back.
    pub(crate) fn poll(&mut self, scratch: &mut Vec<Completion>) -> bool {
        let mut answers = 0;
        self.0.retain_mut(|grave| {
            let count = grave.channel.poll(scratch);
            scratch.clear();
            grave.left.ended(count);
            answers += count;
            !grave.left.is_over()
        });
        answers > 0
    }

    /// Whether no device has anything any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The shard ends: the reactor keeps the channels on.
    pub(crate) fn hand_over(&mut self, cx: &mut Cx) {
        self.0.drain(..).for_each(|Grave { channel, left }| left.keep(cx, channel));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_purpose() {
        for purpose in [
            Purpose::HostRead { host: 0xff_ffff, slot: Slot(254) },
            Purpose::HostFlush { host: 7, slot: Slot(9) },
            Purpose::OpRead { op: 511, role: 255 },
            Purpose::OpReadAgain { op: 3, role: 9 },
            Purpose::OpWrite { op: 0, role: 254 },
            Purpose::Flush { slot: Slot(2) },
            Purpose::DirectRead { index: 1 << 20, slot: Slot(3) },
            Purpose::Superblock { slot: Slot(200) },
            Purpose::LogWrite,
            Purpose::LogFlush,
        ] {
            assert_eq!(Purpose::of(purpose.token()), purpose);
        }
    }
}
