//! I/O commands at bdevs: which requests one makes, what becomes of them, and the channels they take.
//!
//! ```text
//!   ready --begin--> submit --full--> stalled --retry--'
//!                      '--taken--> in flight --done--> the next of its requests, or the answer
//! ```
//!
//! A command is one request, but Deallocate, which is one for each of its ranges. Compare reads into the
//! second half of its buffer; Verify reads into one that nobody sees.
//!
//! Invariants: a command is answered when none of its requests is at a bdev any more; nothing that changes a
//! namespace is sent while a ghost is there (`fence`).
//!
//! Not here: what a command asks for (`nvmf::nvm`).

use std::sync::Arc;

use device::{BdevIo, ClientChannel, IoChannel, IoOp, IoStatus, Lingering};
use nvme::Status;
use reactor::Cx;
use reactor::memory::IoBufMut;
use uuid::Uuid;

use super::fence::Fence;
use super::link::{Link, Stage};
use crate::nvmf::connection::{Completion, Tag};
use crate::nvmf::nvm::{self, Op, Request, ranges};
use crate::nvmf::queue::Work;
use crate::nvmf::transfer::Transfer;

/// A command that a bdev works on.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: Request,
    /// What the host sent, for Compare and Deallocate.
    host: Option<IoBufMut>,
    /// A request that the channel had no room for.
    parked: Option<BdevIo>,
    /// Ranges of Deallocate that have been taken care of.
    ranges_begun: u16,
    /// Requests at the bdev.
    in_flight: u16,
    /// The first that went wrong.
    status: Status,
}

impl Job {
    /// Bytes of the buffer that a command has.
    pub(crate) fn buffer_bytes(work: &Work, transfer: Transfer) -> usize {
        let moved = match transfer {
            Transfer::None => 0,
            Transfer::FromHost { len_bytes } | Transfer::ToHost { len_bytes } => len_bytes,
        };
        let len = match work {
            Work::Io(Request { op: Op::Verify, len_bytes, .. }) => *len_bytes,
            Work::Io(Request { op: Op::Compare, .. }) => 2 * moved,
            _ => moved,
        };
        len as usize
    }

    fn new(request: Request) -> Self {
        Self {
            request,
            host: None,
            parked: None,
            ranges_begun: 0,
            in_flight: 0,
            status: Status::SUCCESS,
        }
    }

    /// Nothing more is sent to the bdev. Says whether nothing is there.
    pub(crate) fn abandon(&mut self) -> bool {
        self.parked = None;
        self.ranges_begun = u16::MAX;
        self.in_flight == 0
    }

    /// Nothing comes back from the bdev any more.
    pub(crate) fn forget(&mut self) {
        self.in_flight = 0;
    }
}

/// A bdev on this reactor.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) channel: ClientChannel,
    pub(crate) in_flight: usize,
    /// Of its namespace.
    key: u64,
    /// Whose requests linger when they are given up; `None` if what comes later never suffers from them.
    device: Option<Uuid>,
    /// The namespace goes: nothing new is taken.
    pub(crate) retires: bool,
    /// Of the namespace, on all reactors.
    pub(crate) fence: Arc<Fence>,
}

impl Channel {
    /// The namespace is gone, and the bdev may still do what it was asked for: as long as it may, the channel
    /// is kept, and nobody relies on what he writes to the bdev.
    pub(crate) fn give_up(self, cx: &mut Cx) {
        if let Some(device) = self.device {
            Lingering::begin(device, self.in_flight).keep(cx, Box::new(self.channel));
        }
    }
}

/// Where a channel is in its list. The rest of a key tells apart those that were in one place in turn.
pub(crate) fn place_of(key: u64) -> usize {
    key as u32 as usize
}

/// Bdevs on this reactor by the key of their namespaces. A key finds its own bdev or none.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    list: Vec<Option<Channel>>,
}

impl Channels {
    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut Channel> {
        let channel = self.list.get_mut(place_of(key)).and_then(Option::as_mut);
        channel.filter(|channel| channel.key == key)
    }

    pub(crate) fn insert(
        &mut self,
        key: u64,
        channel: ClientChannel,
        device: Option<Uuid>,
        fence: Arc<Fence>,
    ) {
        let at = place_of(key);
        if self.list.len() <= at {
            self.list.resize_with(at + 1, || None);
        }
        self.list[at] = Some(Channel { channel, in_flight: 0, key, device, retires: false, fence });
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<Channel> {
        self.get_mut(key)?;
        self.list[place_of(key)].take()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Channel> {
        self.list.iter_mut().flatten()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.list.iter().flatten().map(|channel| channel.in_flight).sum()
    }
}

/// The submitter's name of a request: the link's place and the command.
pub(crate) fn token(slot: usize, tag: Tag) -> u64 {
    (slot as u64) << 16 | u64::from(tag)
}

/// The other way round.
pub(crate) fn of_token(token: u64) -> (usize, Tag) {
    ((token >> 16) as usize, token as u16)
}

/// Executes an I/O command whose data is there.
pub(crate) fn begin(
    link: &mut Link,
    slot: usize,
    tag: Tag,
    request: Request,
    channels: &mut Channels,
) {
    let stage = std::mem::replace(&mut link.commands[usize::from(tag)].stage, Stage::Asked);
    let Stage::Receiving(buffer) = stage else {
        unreachable!("a command that is ready has its buffer")
    };
    let Request { op, offset_bytes, len_bytes, .. } = request;
    let (name, len) = (token(slot, tag), u64::from(len_bytes));
    let mut job = Job::new(request);
    match (op, buffer) {
        (Op::Read | Op::Verify, Some(buffer)) => {
            job.parked = Some(BdevIo::read(name, offset_bytes, buffer));
        }
        (Op::Write { fua }, Some(buffer)) => {
            job.parked = Some(BdevIo::write(name, offset_bytes, buffer.freeze(), fua));
        }
        (Op::Compare, Some(mut buffer)) => {
            job.host = Some(buffer.split_to(len_bytes as usize));
            job.parked = Some(BdevIo::read(name, offset_bytes, buffer));
        }
        (Op::Flush, _) => job.parked = Some(BdevIo::flush(name)),
        (Op::WriteZeroes { deallocate: true, .. }, _) => {
            job.parked = Some(BdevIo::unmap(name, offset_bytes, len));
        }
        (Op::WriteZeroes { fua, deallocate: false }, _) => {
            job.parked = Some(BdevIo::write_zeroes(name, offset_bytes, len, fua));
        }
        (Op::Deallocate { .. }, buffer) => job.host = buffer,
        (Op::Read | Op::Write { .. } | Op::Compare | Op::Verify, None) => {
            unreachable!("a command that moves data has a buffer")
        }
    }
    link.commands[usize::from(tag)].stage = Stage::Io(job);
    go_on(link, slot, tag, channels);
}

/// Tries again what the channels had no room for, in its order.
pub(crate) fn retry(link: &mut Link, slot: usize, channels: &mut Channels) -> usize {
    let mut progress = 0;
    for _ in 0..link.stalled.len() {
        let Some(tag) = link.stalled.pop_front() else { break };
        let before = link.stalled.len();
        go_on(link, slot, tag, channels);
        progress += usize::from(link.stalled.len() == before);
    }
    progress
}

/// Sends what of a command is not sent yet, as far as there is room, and answers it if nothing is left.
fn go_on(link: &mut Link, slot: usize, tag: Tag, channels: &mut Channels) {
    let stage = std::mem::replace(&mut link.commands[usize::from(tag)].stage, Stage::Asked);
    let Stage::Io(mut job) = stage else { unreachable!("the command is at its bdev") };
    let open = channels.get_mut(job.request.key).filter(|channel| !channel.retires);
    let Some(channel) = open else {
        job.status = Status::INVALID_NAMESPACE.finally();
        job.abandon();
        return settle(link, tag, job, None);
    };
    let has_room = match job.request.op {
        _ if job.request.modifies() && channel.fence.is_up() => false,
        Op::Deallocate { count, effective, .. } => {
            send_ranges(link, slot, tag, &mut job, channel, (count, effective))
        }
        _ => send(&mut job, channel),
    };
    if !has_room {
        link.stalled.push_back(tag);
        link.commands[usize::from(tag)].stage = Stage::Io(job);
        return;
    }
    settle(link, tag, job, None);
}

/// Sends the one request. Says whether there was room.
fn send(job: &mut Job, channel: &mut Channel) -> bool {
    let Some(io) = job.parked.take() else { return true };
    match channel.channel.submit(io) {
        Ok(()) => {
            channel.in_flight += 1;
            job.in_flight += 1;
            true
        }
        Err(io) => {
            job.parked = Some(io);
            false
        }
    }
}

/// Sends an unmap for each range. Says whether there was room for all.
fn send_ranges(
    link: &Link,
    slot: usize,
    tag: Tag,
    job: &mut Job,
    channel: &mut Channel,
    (count, effective): (u16, bool),
) -> bool {
    let bytes = job.host.as_deref().unwrap_or_default();
    let namespace = link.queue.view().namespace(job.request.nsid);
    let list = match namespace.and_then(|namespace| ranges(bytes, count, namespace)) {
        Ok(list) => list,
        Err(status) => {
            job.status = status;
            return true;
        }
    };
    if !effective {
        return true;
    }
    for (offset_bytes, len_bytes) in list.skip(usize::from(job.ranges_begun)) {
        let io = BdevIo::unmap(token(slot, tag), offset_bytes, len_bytes);
        if channel.channel.submit(io).is_err() {
            return false;
        }
        channel.in_flight += 1;
        job.in_flight += 1;
        job.ranges_begun += 1;
    }
    true
}

/// A request has come back from its bdev.
pub(crate) fn done(link: &mut Link, tag: Tag, completion: device::Completion) {
    let stage = std::mem::replace(&mut link.commands[usize::from(tag)].stage, Stage::Asked);
    let Stage::Io(mut job) = stage else { unreachable!("the command is at its bdev") };
    job.in_flight -= 1;
    let device::Completion { io, status } = completion;
    link.done.media_errors += u64::from(status == IoStatus::MediaError);
    if !status.is_ok() && job.status.is_ok() {
        job.status = nvm::status_of(status, job.request.op);
    }
    let buffer = match io.op {
        IoOp::Read { into } => into.into_one().ok(),
        IoOp::Write { .. } | IoOp::Flush | IoOp::Unmap | IoOp::WriteZeroes { .. } => None,
    };
    settle(link, tag, job, buffer);
}

/// The bdev is gone with what was there: the command is answered.
pub(crate) fn tear(link: &mut Link, tag: Tag) {
    let stage = std::mem::replace(&mut link.commands[usize::from(tag)].stage, Stage::Asked);
    let Stage::Io(mut job) = stage else { unreachable!("the command is at its bdev") };
    job.abandon();
    job.forget();
    job.status = Status::NAMESPACE_NOT_READY;
    link.stalled.retain(|other| *other != tag);
    settle(link, tag, job, None);
}

/// The connection of a link has ended: what of it is at bdevs and changes them are ghosts from now on.
pub(crate) fn haunt(link: &Link, channels: &mut Channels) {
    for command in &link.commands {
        if let Stage::Io(job) = &command.stage
            && job.request.modifies()
            && let Some(channel) = channels.get_mut(job.request.key)
        {
            channel.fence.raise(u64::from(job.in_flight));
        }
    }
}

/// A request of such a link has come back from its bdev.
pub(crate) fn exorcise(link: &Link, tag: Tag, channels: &mut Channels) {
    if let Stage::Io(job) = &link.commands[usize::from(tag)].stage
        && job.request.modifies()
        && let Some(channel) = channels.get_mut(job.request.key)
    {
        channel.fence.lower();
    }
}

/// Answers a command if nothing of it is at its bdev or waits to be sent there.
fn settle(link: &mut Link, tag: Tag, job: Job, read: Option<IoBufMut>) {
    if job.in_flight > 0 || link.stalled.contains(&tag) {
        link.commands[usize::from(tag)].stage = Stage::Io(job);
        return;
    }
    count(link, &job.request);
    let mut status = job.status;
    if status.is_ok() && job.request.op == Op::Compare && read.as_deref() != job.host.as_deref() {
        status = Status::COMPARE_FAILURE.finally();
    }
    if !status.is_ok() {
        link.note_error(tag, status);
    }
    let data_bytes = match job.request.op {
        Op::Read if status.is_ok() => job.request.len_bytes,
        _ => 0,
    };
    link.complete(tag, Completion::of(status), read, data_bytes);
}

/// For SMART / Health Information, and for metrics.
fn count(link: &mut Link, request: &Request) {
    let len = u64::from(request.len_bytes);
    match request.op {
        Op::Read | Op::Compare | Op::Verify => {
            link.done.reads += 1;
            link.done.read_bytes += len;
        }
        Op::Write { .. } => {
            link.done.writes += 1;
            link.done.written_bytes += len;
        }
        Op::Flush | Op::Deallocate { .. } | Op::WriteZeroes { .. } => link.done.others += 1,
    }
}
