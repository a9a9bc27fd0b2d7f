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
//! A dropped channel closes. Its entry stays until the kernel has answered its last request, so
//! that neither its file nor its index is used for anything else before.
//!
//! Invariants: R6: a channel holds `CHANNEL_IN_FLIGHT_MAX` requests at most, an engine
//! `ENGINE_IN_FLIGHT_MAX`; full hands back.
//!
//! Not here: system calls (`uring`, `aio`), the course of one request (`request.rs`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use reactor::memory::{IoBuf, IoBufMut};
use reactor::{Cx, Interest, Layer, Poller, WatchId};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use super::disk::FileDisk;
use super::request::{Next, Request};
use crate::bdev::{IoChannel, OpenError};
use crate::io::{BdevIo, Completion};
use crate::limits::{
    CHANNEL_IN_FLIGHT_MAX, COMPLETIONS_PER_POLL_MAX, ENGINE_CHANNELS_MAX, ENGINE_IN_FLIGHT_MAX,
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

    /// Sets the engine up for the calling thread.
    fn create() -> io::Result<Self>;

    /// The descriptor that becomes readable when something may be reaped, provided that
    /// [`Self::may_sleep`] has said yes.
    fn event(&self) -> BorrowedFd<'_>;

    /// Makes a file known.
    fn attach(&mut self, disk: &Arc<FileDisk>) -> io::Result<Self::File>;

    /// Forgets a file that no request uses.
    fn detach(&mut self, file: Self::File);

    /// Whether `start` may be called.
    fn has_room(&self) -> bool;

    /// Takes a request and stages its step.
    fn start(&mut self, request: Request, file: &Self::File);

    /// Hands over what is staged: one system call, none when there is nothing to do.
    fn kick(&mut self);

    /// Gives back requests whose step is over.
    fn reap(&mut self, answers: &mut Vec<Answer>);

    /// Whether the reactor may sleep: nothing is staged, nothing can be reaped, and the event will
    /// announce what is in flight.
    fn may_sleep(&mut self) -> bool;
}

/// A request whose step is over: bytes moved or an error.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The request, which the kernel no longer touches.
    pub(crate) request: Request,
    /// What the kernel said.
    pub(crate) result: Result<usize, Errno>,
}

/// One reactor's engine.
pub(crate) struct Engine<K: Kernel> {
    kernel: K,
    channels: Vec<Option<Channel<K::File>>>,
    answers: Vec<Answer>,
    zeroes: Zeroes,
}

struct Channel<F> {
    disk: Arc<FileDisk>,
    file: F,
    done: VecDeque<Completion>,
    in_kernel: usize,
    open: bool,
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
    let kernel = K::create().map_err(failed)?;
    let watch = cx.try_watch_fd(kernel.event(), Interest::Readable).map_err(failed)?;
    let engine = cx.local(0, |_| {
        RefCell::new(Engine {
            kernel,
            channels: Vec::new(),
            answers: Vec::with_capacity(ENGINE_IN_FLIGHT_MAX),
            zeroes: Zeroes::default(),
        })
    });
    cx.add_poller(Box::new(EnginePoller { engine: Rc::clone(&engine), _watch: watch }));
    Ok(engine)
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
            in_kernel: 0,
            open: true,
        };
        if index == self.channels.len() {
            self.channels.push(None);
        }
        self.channels[index] = Some(channel);
        Ok(index as u16)
    }

    fn submit(&mut self, index: u16, io: BdevIo) -> Result<(), BdevIo> {
        let channel = open_channel_of(&mut self.channels, index);
        let held = channel.in_kernel + channel.done.len();
        if held == CHANNEL_IN_FLIGHT_MAX || !self.kernel.has_room() {
            return Err(io);
        }
        if let Err(refused) = channel.disk.admit(&io) {
            channel.done.push_back(io.complete(refused));
            return Ok(());
        }
        let request = Request::begin(io, index, &channel.disk, || self.zeroes.get());
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
    fn poll(&mut self) -> usize {
        let mut answers = std::mem::take(&mut self.answers);
        self.kernel.reap(&mut answers);
        let count = answers.len();
        for Answer { request, result } in answers.drain(..) {
            let index = request.channel;
            let channel = open_channel_of(&mut self.channels, index);
            if !channel.open {
                channel.in_kernel -= 1;
                drop(request);
                self.release_if_unused(index);
                continue;
            }
            match request.answer(result, &channel.disk.backing, || self.zeroes.get()) {
                Next::Again(request) => self.kernel.start(request, &channel.file),
                Next::Done(request, status) => {
                    channel.in_kernel -= 1;
                    channel.done.push_back(request.io.complete(status));
                }
            }
        }
        self.answers = answers;
        count
    }

    fn close(&mut self, index: u16) {
        let channel = open_channel_of(&mut self.channels, index);
        channel.open = false;
        channel.done.clear();
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

    fn poll(&mut self, _cx: &mut Cx) -> usize {
        self.engine.borrow_mut().poll()
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
