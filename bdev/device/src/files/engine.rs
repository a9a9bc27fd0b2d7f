//! What the io_uring and the AIO engine have in common: channels, their queues, one poller.
//!
//! ```text
//!   FileChannel 0   FileChannel 1  ...          users, on this reactor
//!        | submit        ^ poll
//!        v               |
//!   +----------------------------------+
//!   | Engine<K>   channels: done queues |
//!   |             requests that go on   |
//!   +-----|---------------------^-------+
//!         | start               | reap
//!   +-----v---------------------|-------+
//!   | K: Kernel  owns what is in flight | --kick, once a turn--> Linux
//!   +-----------------------------------+
//! ```
//!
//! A turn: `poll` reaps answers and either puts completions into the channels' queues or starts
//! the next step; users submit, which stages; `unplug` kicks: one system call for all channels.
//!
//! Of files in the page cache some answers wait for others first (`syncs.rs`).
//!
//! A dropped channel closes. Its entry stays until the kernel has answered its last request, so
//! that neither its file nor its index is used for anything else before.
//!
//! What a device does not answer stays with the kernel, also when its channel was given up. So that
//! devices that hang take no healthy one with them, half of the slots are kept for single channels:
//!
//! ```text
//!   | everybody's, first come first served | channel 0's | channel 1's | ...
//!     then full, maybe for ever              CHANNEL_OWN_SLOTS each, always to be had
//! ```
//!
//! Invariants: R6: a channel holds `CHANNEL_IN_FLIGHT_MAX` requests at most, an engine
//! `ENGINE_IN_FLIGHT_MAX`; full hands back. A channel that has slots of its own and fewer requests with the
//! kernel than those is never full. Every channel has them in an engine of the full size; in a smaller one
//! those do that came first, as many as it has room for.
//!
//! Not here: system calls (`uring`, `aio`), the course of one request (`request.rs`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use reactor::memory::{IoBuf, IoBufMut};
use reactor::{Cx, Interest, Layer, Poller, Ticks, WatchId};
use rustix::fd::BorrowedFd;

use super::disk::FileDisk;
use super::request::{Answered, Next, Request};
use super::syncs::Syncs;
use crate::bdev::{IoChannel, OpenError};
use crate::io::{BdevIo, Completion, IoStatus};
use crate::limits::{
    CHANNEL_IN_FLIGHT_MAX, CHANNEL_OWN_SLOTS, COMPLETIONS_PER_POLL_MAX, ENGINE_CHANNELS_MAX,
    ZERO_BUFFER_BYTES,
};

/// One way of handing requests to Linux.
///
/// An implementation owns every request from `start` until it is among the answers, whatever
/// happens to the channel; when it is dropped it waits for the kernel before it frees them.
pub(crate) trait Kernel: Sized + 'static {
    /// For logs and errors.
    const NAME: &'static str;
    /// What usually helps when the kernel refuses an engine.
    const HINT: &'static str;
    /// How the kernel knows an attached file.
    type File;

    /// How large an engine is to be on one of so many reactors.
    fn sizes(reactors: usize) -> Sizes;

    /// Sets the engine up for the calling thread, with so many slots.
    fn create(slots: usize) -> io::Result<Self>;

    /// The descriptor that becomes readable when something may be reaped, provided that
    /// [`Self::may_sleep`] has said yes.
    fn event(&self) -> BorrowedFd<'_>;

    /// Makes a file known.
    fn attach(&mut self, disk: &Arc<FileDisk>) -> io::Result<Self::File>;

    /// Forgets a file that no request uses.
    fn detach(&mut self, file: Self::File);

    /// How many slots are taken.
    fn in_flight(&self) -> usize;

    /// Takes a request and stages its step. There is a free slot for it.
    fn start(&mut self, request: Request, file: &Self::File);

    /// Hands over what is staged: one system call, none when there is nothing to do.
    fn kick(&mut self);

    /// Gives back requests whose step is over.
    fn reap(&mut self, answers: &mut Vec<Answer>);

    /// Whether the reactor may sleep: nothing is staged, nothing can be reaped, and the event will
    /// announce what is in flight.
    fn may_sleep(&mut self) -> bool;
}

/// A request whose step is over.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The request, which the kernel no longer touches.
    pub(crate) request: Request,
    /// What the kernel said.
    pub(crate) answered: Answered,
}

/// How many slots an engine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// What is asked for first.
    pub(crate) wanted: usize,
    /// What is asked for where the system is short of them.
    pub(crate) least: usize,
}

/// One reactor's engine.
pub(crate) struct Engine<K: Kernel> {
    kernel: K,
    shares: Shares,
    channels: Vec<Option<Channel<K::File>>>,
    answers: Vec<Answer>,
    zeroes: Zeroes,
}

struct Channel<F> {
    disk: Arc<FileDisk>,
    file: F,
    done: VecDeque<Completion>,
    /// Of a file in the page cache.
    syncs: Option<Syncs>,
    in_kernel: usize,
    slots: Slots,
    open: bool,
}

/// Which slots a channel may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slots {
    /// Some of its own, and everybody's.
    Own,
    /// Everybody's.
    Common,
}

impl<F> Channel<F> {
    /// Requests between `submit` and `poll`.
    #[inline]
    fn held(&self) -> usize {
        let kept = self.syncs.as_ref().map_or(0, Syncs::kept);
        self.in_kernel + self.done.len() + kept
    }

    /// The kernel is done with a request.
    #[inline]
    fn finish(&mut self, request: Request, status: IoStatus) {
        self.in_kernel -= 1;
        let Request { io, sync, .. } = request;
        match (&mut self.syncs, sync) {
            (Some(syncs), Some(number)) => {
                syncs.end(number);
                match status {
                    IoStatus::Ok => syncs.keep(io.complete(status)),
                    _ => self.done.push_back(io.complete(status)),
                }
                while let Some(mut completion) = syncs.pop() {
                    if self.disk.backing.has_lost_writes() {
                        completion.status = IoStatus::MediaError;
                    }
                    self.done.push_back(completion);
                }
            }
            _ => self.done.push_back(io.complete(status)),
        }
    }
}

/// Whose an engine's slots are.
///
/// Of the requests that a channel has beyond its own slots there are never more than `common` in all:
/// such a one is taken only while that many slots are not in use altogether. So what is in flight
/// fits, whoever has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shares {
    /// Everybody's.
    common: usize,
    /// Kept for each channel that has some of its own.
    own: usize,
    /// How many channels do at most.
    owners_max: usize,
}

impl Shares {
    /// One half is everybody's, and the other is kept.
    const fn of(slots: usize) -> Self {
        let own = CHANNEL_OWN_SLOTS;
        let owners_max = slots / 2 / own;
        Self { common: slots - owners_max * own, own, owners_max }
    }

    /// Whether a channel with `of_channel` requests in flight may have one more, when there are
    /// `in_flight` altogether.
    #[inline]
    fn admit(self, in_flight: usize, slots: Slots, of_channel: usize) -> bool {
        in_flight < self.common || slots == Slots::Own && of_channel < self.own
    }
}

/// The engine's buffer of zeroes, made when it is first needed.
#[derive(Default)]
struct Zeroes(Option<IoBuf>);

impl Zeroes {
    fn get(&mut self) -> IoBuf {
        self.0.get_or_insert_with(|| IoBufMut::heap(ZERO_BUFFER_BYTES).freeze()).clone()
    }
}

/// Opens a channel to the disk on the engine of this reactor, which is set up if need be.
pub(crate) fn open_channel<K: Kernel>(
    disk: &Arc<FileDisk>,
    cx: &mut Cx,
) -> Result<Box<dyn IoChannel>, OpenError> {
    let engine = engine_of_reactor::<K>(disk, cx)?;
    let index = engine.borrow_mut().open(disk, cx.index())?;
    Ok(Box::new(FileChannel { engine, index }))
}

fn engine_of_reactor<K: Kernel>(
    disk: &FileDisk,
    cx: &mut Cx,
) -> Result<Rc<RefCell<Engine<K>>>, OpenError> {
    if let Some(engine) = cx.find_local::<RefCell<Engine<K>>>(0) {
        return Ok(engine);
    }
    let reactor = cx.index();
    let failed = |source| OpenError::Engine {
        bdev: disk.described.fixed().name.clone(),
        engine: K::NAME,
        reactor,
        source,
        hint: K::HINT,
    };
    let (kernel, slots) = create::<K>(reactor, K::sizes(cx.reactors())).map_err(failed)?;
    let watch = cx.try_watch_fd(kernel.event(), Interest::Readable).map_err(failed)?;
    let engine = cx.local(0, |_| {
        RefCell::new(Engine {
            kernel,
            shares: Shares::of(slots),
            channels: Vec::new(),
            answers: Vec::with_capacity(slots),
            zeroes: Zeroes::default(),
        })
    });
    cx.add_poller(Box::new(EnginePoller { engine: Rc::clone(&engine), _watch: watch }));
    Ok(engine)
}

/// A kernel of the size that is wanted, or of half of it and so on down to the least one where the system has no more
/// to give: locked memory, `fs.aio-max-nr`.
pub(crate) fn create<K: Kernel>(reactor: usize, sizes: Sizes) -> io::Result<(K, usize)> {
    let Sizes { wanted, least } = sizes;
    let mut slots = wanted;
    loop {
        match K::create(slots) {
            Ok(kernel) => {
                if slots < wanted {
                    tracing::warn!(
                        reactor,
                        engine = K::NAME,
                        slots,
                        wanted,
                        "the system has no more: a device that hangs may slow others down; {}",
                        K::HINT
                    );
                }
                return Ok((kernel, slots));
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOMEM | libc::EAGAIN) if slots > least => {
                    slots = (slots / 2).max(least)
                }
                _ => return Err(error),
            },
        }
    }
}

impl<K: Kernel> Engine<K> {
    fn open(&mut self, disk: &Arc<FileDisk>, reactor: usize) -> Result<u16, OpenError> {
        let free = self.channels.iter().position(Option::is_none);
        let index = free.unwrap_or(self.channels.len());
        if index == ENGINE_CHANNELS_MAX {
            return Err(OpenError::EngineFull {
                bdev: disk.described.fixed().name.clone(),
                engine: K::NAME,
                reactor,
                channels_max: ENGINE_CHANNELS_MAX,
            });
        }
        let file = self.kernel.attach(disk).map_err(|source| OpenError::Attach {
            bdev: disk.described.fixed().name.clone(),
            filename: disk.backing.filename.clone(),
            engine: K::NAME,
            reactor,
            source,
        })?;
        let channel = Channel {
            disk: Arc::clone(disk),
            file,
            done: VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX),
            syncs: (!disk.backing.is_direct()).then(Syncs::new),
            in_kernel: 0,
            slots: self.slots_of_next(reactor),
            open: true,
        };
        if index == self.channels.len() {
            self.channels.push(None);
        }
        self.channels[index] = Some(channel);
        Ok(index as u16)
    }

    /// Which slots the next channel may take. One that is closed and not yet answered has those that it had.
    fn slots_of_next(&self, reactor: usize) -> Slots {
        let owners = self.channels.iter().flatten();
        let owners = owners.filter(|channel| channel.slots == Slots::Own).count();
        let owners_max = self.shares.owners_max;
        if owners < owners_max {
            return Slots::Own;
        }
        if owners == self.channels.iter().flatten().count() {
            tracing::warn!(
                reactor,
                engine = K::NAME,
                channels = owners_max,
                "no more channels have slots of their own: a device that hangs may hold up those that are \
                 opened from now on; {}",
                K::HINT
            );
        }
        Slots::Common
    }

    fn submit(&mut self, index: u16, io: BdevIo) -> Result<(), BdevIo> {
        let channel = open_channel_of(&mut self.channels, index);
        let held = channel.held();
        let in_flight = self.kernel.in_flight();
        let admitted = self.shares.admit(in_flight, channel.slots, channel.in_kernel);
        if held == CHANNEL_IN_FLIGHT_MAX || !admitted {
            return Err(io);
        }
        if let Err(refused) = channel.disk.admit(&io) {
            channel.done.push_back(io.complete(refused));
            return Ok(());
        }
        let mut request = Request::begin(io, index, &channel.disk, || self.zeroes.get());
        if let Some(syncs) = channel.syncs.as_mut().filter(|_| request.is_sync()) {
            request.sync = Some(syncs.begin());
        }
        channel.in_kernel += 1;
        self.kernel.start(request, &channel.file);
        Ok(())
    }

    fn take_done(&mut self, index: u16, done: &mut Vec<Completion>) -> usize {
        let finished = &mut open_channel_of(&mut self.channels, index).done;
        let count = finished.len().min(COMPLETIONS_PER_POLL_MAX);
        done.extend(finished.drain(..count));
        count
    }

    /// Reaps, and carries every request on. Returns the number of answers.
    fn poll(&mut self, now: Ticks) -> usize {
        let mut answers = std::mem::take(&mut self.answers);
        self.kernel.reap(&mut answers);
        let count = answers.len();
        for Answer { request, answered } in answers.drain(..) {
            let index = request.channel;
            let channel = open_channel_of(&mut self.channels, index);
            if !channel.open {
                channel.in_kernel -= 1;
                // A sync that has failed counts, whoever hears of it.
                drop(request.answer(answered, &channel.disk.backing, now, || self.zeroes.get()));
                self.release_if_unused(index);
                continue;
            }
            match request.answer(answered, &channel.disk.backing, now, || self.zeroes.get()) {
                Next::Again(request) => self.kernel.start(request, &channel.file),
                Next::Done(request, status) => channel.finish(request, status),
            }
        }
        self.answers = answers;
        count
    }

    fn close(&mut self, index: u16) {
        let channel = open_channel_of(&mut self.channels, index);
        channel.open = false;
        channel.done.clear();
        channel.syncs.iter_mut().for_each(Syncs::forget);
        self.release_if_unused(index);
    }

    /// Frees the entry of a closed channel when the kernel has no request of it.
    fn release_if_unused(&mut self, index: u16) {
        let entry = &mut self.channels[usize::from(index)];
        if let Some(channel) = entry.take_if(|channel| !channel.open && channel.in_kernel == 0) {
            self.kernel.detach(channel.file);
        }
    }
}

/// The entry of a channel that is open or still has requests in the kernel.
#[inline]
fn open_channel_of<F>(channels: &mut [Option<Channel<F>>], index: u16) -> &mut Channel<F> {
    channels[usize::from(index)].as_mut().expect("a channel's entry outlives its requests")
}

/// One user's channel to a file.
struct FileChannel<K: Kernel> {
    engine: Rc<RefCell<Engine<K>>>,
    index: u16,
}

impl<K: Kernel> IoChannel for FileChannel<K> {
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        self.engine.borrow_mut().submit(self.index, io)
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        self.engine.borrow_mut().take_done(self.index, done)
    }
}

impl<K: Kernel> Drop for FileChannel<K> {
    fn drop(&mut self) {
        self.engine.borrow_mut().close(self.index);
    }
}

struct EnginePoller<K: Kernel> {
    engine: Rc<RefCell<Engine<K>>>,
    /// Ends a sleep when the kernel answers; the watch lasts as long as the poller.
    _watch: WatchId,
}

impl<K: Kernel> Poller for EnginePoller<K> {
    fn name(&self) -> &str {
        K::NAME
    }

    fn poll(&mut self, cx: &mut Cx) -> usize {
        self.engine.borrow_mut().poll(cx.now())
    }

    fn unplug(&mut self, _cx: &mut Cx) {
        self.engine.borrow_mut().kernel.kick();
    }

    fn can_sleep(&self) -> bool {
        self.engine.borrow_mut().kernel.may_sleep()
    }

    fn layer(&self) -> Layer {
        Layer::Engine
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ENGINE_IN_FLIGHT_MAX;
    use std::collections::BTreeSet;

    /// Goal: whatever channels take and give back, what is in flight fits, and a channel gets its own
    /// slots. Method: every state that three channels can come to with few slots, of which two have some of
    /// their own.
    #[test]
    fn shares_fit_and_are_kept() {
        let shares = Shares { common: 5, own: 2, owners_max: 2 };
        let slots = [Slots::Own, Slots::Common, Slots::Own];
        let mut seen = BTreeSet::from([[0_usize; 3]]);
        let mut next: Vec<[usize; 3]> = seen.iter().copied().collect();
        while let Some(state) = next.pop() {
            let in_flight: usize = state.iter().sum();
            assert!(in_flight <= shares.common + shares.owners_max * shares.own, "{state:?}");
            for channel in 0..3 {
                let admitted = shares.admit(in_flight, slots[channel], state[channel]);
                let has_own = slots[channel] == Slots::Own && state[channel] < shares.own;
                assert!(admitted || !has_own, "{state:?}");
                let (mut more, mut less) = (state, state);
                more[channel] += usize::from(admitted);
                less[channel] = less[channel].saturating_sub(1);
                next.extend([more, less].into_iter().filter(|&state| seen.insert(state)));
            }
        }
        let most = seen.iter().map(|state| state.iter().sum::<usize>()).max();
        assert!(most > Some(shares.common), "{most:?}");
    }

    /// Goal: the shares of an engine of any size are what it has, all of it; one of the full size has slots for
    /// every channel that there may be.
    #[test]
    fn shares_of_every_size() {
        for slots in 1..=ENGINE_IN_FLIGHT_MAX {
            let Shares { common, own, owners_max } = Shares::of(slots);
            assert_eq!(common + own * owners_max, slots);
            assert!(common >= slots / 2 && common < slots / 2 + 1 + CHANNEL_OWN_SLOTS);
        }
        let of = |slots| (Shares::of(slots).common, Shares::of(slots).owners_max);
        assert_eq!(of(ENGINE_IN_FLIGHT_MAX), (4096, ENGINE_CHANNELS_MAX));
        assert_eq!(of(512), (256, 64));
    }
}
