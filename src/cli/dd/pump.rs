//! [`Pump`]: the poller that moves chunks, and the thread's side of each kind of copy.
//!
//! ```text
//!                    chunk {at, buf}                    chunk
//!   input port  --------------------> ready  ---------------------> output port
//!   or thread                                                       or thread
//!        ^                                                              |
//!        '------------------------- buffers ----------------------------'
//!
//!   Copying -- all written --> Flushing -- flushed --> Over
//!      |  a request failed, or told to give up            ^
//!      '------------------> Draining -- all back ---------'
//! ```
//!
//! Owns: as many buffers as the depth, which go round; so every queue is bounded by that number and
//! none of the sends can find its queue full (R6). A failed flush is reported and not repeated (R9).
//!
//! Not here: files (`file`), what may be copied at all (`plan`).

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use device::{Bdev, BdevIo, Completion, IoChannel, IoOp, IoStatus, OpenError, Sgl};
use perf::take_buffer;
use reactor::memory::{IoBuf, IoBufMut};
use reactor::{Cx, Poller, PollerId, ReactorHandle};

use super::file::{FileInput, FileOutput};
use super::plan::Plan;

/// How often the thread looks for signals and moves the bar while nothing else happens.
const LOOK: Duration = Duration::from_millis(100);

/// The bdevs of a copy; a side without one is the thread's.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub(super) input: Option<Arc<dyn Bdev>>,
    pub(super) output: Option<Arc<dyn Bdev>>,
}

/// How far a copy came.
pub(super) struct Pumped {
    pub(super) copied_bytes: u64,
    pub(super) outcome: Result<(), Box<dyn Error>>,
}

/// A piece of the copy.
struct Chunk {
    /// Where it belongs, counted from the start of the copy.
    at_bytes: u64,
    /// How much of the buffer is the input's; the rest is padding.
    len_bytes: u64,
    buf: IoBufMut,
}

enum ToThread {
    /// To be filled.
    Buffer(IoBufMut),
    /// To be written.
    Chunk(Chunk),
    /// Nothing more comes.
    End(Result<(), Fault>),
}

enum ToPump {
    /// To be read into.
    Buffer(IoBufMut),
    /// To be written.
    Chunk(Chunk),
    /// The input has ended.
    NoMore,
    /// Take back what is in flight and end.
    GiveUp,
}

/// The request that failed.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Read { offset_bytes: u64, len_bytes: u64, status: IoStatus },
    Write { offset_bytes: u64, len_bytes: u64, status: IoStatus },
    Flush { status: IoStatus },
}

impl Fault {
    fn describe(&self, ends: &Ends) -> String {
        let name = |end: &Option<Arc<dyn Bdev>>| {
            end.as_ref().map_or_else(String::new, |bdev| bdev.info().name.clone())
        };
        let (input, output) = (name(&ends.input), name(&ends.output));
        match self {
            Self::Read { offset_bytes, len_bytes, status } => {
                format!(
                    "input bdev {input:?}: reading {len_bytes} bytes at byte {offset_bytes}: {status}"
                )
            }
            Self::Write { offset_bytes, len_bytes, status } => {
                format!(
                    "output bdev {output:?}: writing {len_bytes} bytes at byte {offset_bytes}: \
                     {status}"
                )
            }
            Self::Flush { status } => {
                format!("output bdev {output:?}: making it durable: {status}")
            }
        }
    }
}

/// One bdev of the copy on the reactor.
struct Port {
    channel: Box<dyn IoChannel>,
    first_bytes: u64,
    in_flight: usize,
    refused: Option<BdevIo>,
}

impl Port {
    fn open(bdev: &Arc<dyn Bdev>, first_bytes: u64, cx: &mut Cx) -> Result<Self, OpenError> {
        Ok(Self { channel: bdev.open_channel(cx)?, first_bytes, in_flight: 0, refused: None })
    }

    /// Only while nothing is refused.
    fn submit(&mut self, mut io: BdevIo) {
        io.offset_bytes += self.first_bytes;
        self.submit_again(io);
    }

    fn submit_again(&mut self, io: BdevIo) {
        match self.channel.submit(io) {
            Ok(()) => self.in_flight += 1,
            Err(io) => self.refused = Some(io),
        }
    }

    fn poll(&mut self, done: &mut Vec<Completion>) {
        self.in_flight -= self.channel.poll(done);
        if let Some(io) = self.refused.take() {
            self.submit_again(io);
        }
    }

    fn is_quiet(&self) -> bool {
        self.in_flight == 0 && self.refused.is_none()
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Copying,
    Flushing,
    Draining(Option<Fault>),
    Over,
}

/// See the module's notes.
struct Pump {
    plan: Plan,
    input: Option<Port>,
    output: Option<Port>,
    flushes: bool,
    to_thread: SyncSender<ToThread>,
    from_thread: Receiver<ToPump>,
    copied: Arc<AtomicU64>,
    state: State,
    /// Ready to be read into, here or by the thread.
    buffers: Vec<IoBufMut>,
    /// Written, but somebody below has not let go of them yet.
    shared: Vec<IoBuf>,
    /// Read, and not written yet.
    ready: VecDeque<Chunk>,
    /// Where the next read begins, counted from the start of the copy.
    next_bytes: u64,
    /// Zeroes after the last chunk, where the output's blocks are larger than the input's.
    padding: Option<IoBufMut>,
    /// Place and length of a chunk whose write is longer, by its padding.
    padded: Option<(u64, u64)>,
    input_ended: bool,
    done: Vec<Completion>,
}

impl Pump {
    fn hear(&mut self) -> usize {
        let mut heard = 0;
        while let Ok(message) = self.from_thread.try_recv() {
            heard += 1;
            match message {
                ToPump::Buffer(buf) => self.buffers.push(buf),
                ToPump::Chunk(chunk) => self.ready.push_back(chunk),
                ToPump::NoMore => self.input_ended = true,
                ToPump::GiveUp => self.fail(None),
            }
        }
        heard
    }

    fn tell(&self, message: ToThread) {
        // There is room, and a thread that is gone wants to know nothing.
        let _ = self.to_thread.try_send(message);
    }

    fn fail(&mut self, fault: Option<Fault>) {
        if matches!(self.state, State::Copying | State::Flushing) {
            self.state = State::Draining(fault);
            for port in [&mut self.input, &mut self.output].into_iter().flatten() {
                port.refused = None;
            }
        }
    }

    fn take_reads(&mut self) -> usize {
        let Some(input) = &mut self.input else { return 0 };
        let mut done = std::mem::take(&mut self.done);
        input.poll(&mut done);
        let count = done.len();
        for Completion { io, status } in done.drain(..) {
            let (at_bytes, len_bytes) = (io.token, io.len_bytes);
            match io.op {
                IoOp::Read { into: Sgl::One(buf) } if status.is_ok() => {
                    self.ready.push_back(Chunk { at_bytes, len_bytes, buf });
                }
                _ => {
                    let offset_bytes = io.offset_bytes;
                    self.fail(Some(Fault::Read { offset_bytes, len_bytes, status }));
                }
            }
        }
        self.done = done;
        count
    }

    fn take_writes(&mut self) -> usize {
        let Some(output) = &mut self.output else { return 0 };
        let mut done = std::mem::take(&mut self.done);
        output.poll(&mut done);
        let count = done.len();
        for Completion { io, status } in done.drain(..) {
            let (offset_bytes, len_bytes) = (io.offset_bytes, io.len_bytes);
            match io.op {
                IoOp::Write { from, .. } if status.is_ok() => {
                    self.count(io.token, len_bytes);
                    // The last chunk with its padding is not needed again.
                    self.shared.extend(from.into_one());
                }
                IoOp::Flush if status.is_ok() => self.end(Ok(())),
                IoOp::Flush => self.fail(Some(Fault::Flush { status })),
                _ => self.fail(Some(Fault::Write { offset_bytes, len_bytes, status })),
            }
        }
        self.done = done;
        count
    }

    fn count(&self, at_bytes: u64, written_bytes: u64) {
        let copied = match self.padded {
            Some((at, len_bytes)) if at == at_bytes => len_bytes,
            _ => written_bytes,
        };
        // One writer: the reactor's thread.
        self.copied.store(self.copied.load(Ordering::Relaxed) + copied, Ordering::Relaxed);
    }

    /// Buffers that nobody else has any more can be used again.
    fn reclaim(&mut self) {
        for buf in std::mem::take(&mut self.shared) {
            match buf.try_into_mut() {
                Ok(buf) => self.buffers.push(buf),
                Err(buf) => self.shared.push(buf),
            }
        }
    }

    fn pass_on(&mut self) -> usize {
        let mut passed = 0;
        while self.output.as_ref().is_none_or(|port| port.refused.is_none()) {
            let Some(chunk) = self.ready.pop_front() else { break };
            passed += 1;
            match self.output.take() {
                None => self.tell(ToThread::Chunk(chunk)),
                Some(mut port) => {
                    port.submit(self.write_of(chunk));
                    self.output = Some(port);
                }
            }
        }
        passed
    }

    fn write_of(&mut self, chunk: Chunk) -> BdevIo {
        let Chunk { at_bytes, len_bytes, buf } = chunk;
        let is_last = self.plan.total_bytes == Some(at_bytes + len_bytes);
        let padding = if is_last { self.padding.take() } else { None };
        let from = match padding {
            None => Sgl::One(buf.freeze()),
            Some(padding) => Sgl::Many(vec![buf.freeze(), padding.freeze()]),
        };
        let io = BdevIo::write(at_bytes, at_bytes, from, false);
        if io.len_bytes != len_bytes {
            self.padded = Some((at_bytes, len_bytes));
        }
        io
    }

    /// Reads ahead as far as there are buffers; without an input port they are the thread's to fill.
    fn read_on(&mut self) -> usize {
        let total_bytes = self.plan.total_bytes.unwrap_or(self.plan.limit_bytes);
        let mut begun = 0;
        while self.input.as_ref().is_none_or(|port| port.refused.is_none()) {
            if self.input_ended {
                break;
            }
            if self.input.is_some() && self.next_bytes == total_bytes {
                self.input_ended = true;
                return begun + 1;
            }
            let Some(buf) = self.buffers.pop() else { break };
            begun += 1;
            match self.input.take() {
                None => self.tell(ToThread::Buffer(buf)),
                Some(mut port) => {
                    port.submit(self.read_into(buf, total_bytes));
                    self.input = Some(port);
                }
            }
        }
        begun
    }

    fn read_into(&mut self, mut buf: IoBufMut, total_bytes: u64) -> BdevIo {
        let at_bytes = self.next_bytes;
        let len_bytes = self.plan.block_bytes.min(total_bytes - at_bytes);
        self.next_bytes += len_bytes;
        if len_bytes < self.plan.block_bytes {
            // The last chunk: its buffer is not needed again, so it may be divided.
            let mut rest = buf;
            buf = rest.split_to(len_bytes as usize);
            let padding_bytes = self.plan.padded(len_bytes) - len_bytes;
            if self.output.is_some() && padding_bytes > 0 {
                let mut padding = rest.split_to(padding_bytes as usize);
                padding.fill(0);
                self.padding = Some(padding);
            }
        }
        BdevIo::read(at_bytes, at_bytes, buf)
    }

    fn is_quiet(&self) -> bool {
        [&self.input, &self.output].into_iter().flatten().all(Port::is_quiet)
    }

    fn copy_on(&mut self) -> usize {
        let progress = self.pass_on() + self.read_on();
        // With everything read and nothing in flight or waiting, everything is written.
        if !self.input_ended || !self.ready.is_empty() || !self.is_quiet() {
            return progress;
        }
        match &mut self.output {
            Some(port) if self.flushes => {
                self.state = State::Flushing;
                port.submit(BdevIo::flush(0));
            }
            _ => self.end(Ok(())),
        }
        progress + 1
    }

    fn end(&mut self, outcome: Result<(), Fault>) {
        self.state = State::Over;
        self.tell(ToThread::End(outcome));
    }
}

impl Poller for Pump {
    fn name(&self) -> &str {
        "dd"
    }

    fn poll(&mut self, _cx: &mut Cx) -> usize {
        if matches!(self.state, State::Over) {
            return 0;
        }
        let mut progress = self.hear() + self.take_writes() + self.take_reads();
        self.reclaim();
        match self.state {
            State::Copying => progress += self.copy_on(),
            State::Draining(fault) if self.is_quiet() => {
                self.end(fault.map_or(Ok(()), Err));
                progress += 1;
            }
            State::Flushing | State::Draining(_) | State::Over => {}
        }
        progress
    }

    fn can_sleep(&self) -> bool {
        // Devices and the thread wake the reactor; a full channel and a shared buffer do not.
        let refused =
            [&self.input, &self.output].into_iter().flatten().any(|port| port.refused.is_some());
        matches!(self.state, State::Over) || (!refused && self.shared.is_empty())
    }
}

/// The thread's end of a pump. Dropping it removes the pump and waits until that is gone.
struct Remote {
    reactor: ReactorHandle,
    id: PollerId,
    inbox: Receiver<ToThread>,
    outbox: SyncSender<ToPump>,
    copied: Arc<AtomicU64>,
    ends: Ends,
    gave_up: bool,
}

impl Remote {
    fn start(reactor: &ReactorHandle, plan: &Plan, ends: &Ends) -> Result<Self, Box<dyn Error>> {
        // Each buffer is in one message at most; the rest is for the few without one.
        let room = plan.depth + 4;
        let (to_thread, inbox) = sync_channel(room);
        let (outbox, from_thread) = sync_channel(room);
        let copied = Arc::new(AtomicU64::new(0));
        let (plan, sides, count) = (*plan, ends.clone(), Arc::clone(&copied));
        let id = reactor.call(move |cx| -> Result<PollerId, OpenError> {
            let input = sides.input.as_ref();
            let input = input.map(|bdev| Port::open(bdev, plan.input_offset_bytes, cx));
            let output = sides.output.as_ref();
            let output = output.map(|bdev| Port::open(bdev, plan.output_offset_bytes, cx));
            let flushes = sides.output.is_some_and(|bdev| bdev.info().supported.flush);
            let len_bytes = plan.block_bytes as usize;
            let pump = Pump {
                input: input.transpose()?,
                output: output.transpose()?,
                flushes,
                to_thread,
                from_thread,
                copied: count,
                state: State::Copying,
                buffers: (0..plan.depth).map(|_| take_buffer(cx, len_bytes).0).collect(),
                shared: Vec::with_capacity(plan.depth),
                ready: VecDeque::with_capacity(plan.depth),
                next_bytes: 0,
                padding: None,
                padded: None,
                input_ended: false,
                done: Vec::new(),
                plan,
            };
            Ok(cx.add_poller(Box::new(pump)))
        })??;
        let (reactor, ends) = (reactor.clone(), ends.clone());
        Ok(Self { reactor, id, inbox, outbox, copied, ends, gave_up: false })
    }

    fn send(&self, message: ToPump) {
        // A pump that is gone is found out when it is listened to.
        let _ = self.outbox.send(message);
        self.reactor.waker().wake();
    }

    fn give_up(&mut self) {
        if !self.gave_up {
            self.gave_up = true;
            self.send(ToPump::GiveUp);
        }
    }

    fn copied_bytes(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// Handles what the pump sends until its end. `take` may fail: then the pump is told to give up,
    /// and the first failure is the outcome.
    fn listen(
        &mut self,
        stop: impl Fn() -> bool,
        mut take: impl FnMut(&Self, ToThread) -> Result<(), Box<dyn Error>>,
        watch: impl Fn(&Self),
    ) -> Result<(), Box<dyn Error>> {
        let mut outcome = Ok(());
        loop {
            if stop() {
                self.give_up();
            }
            match self.inbox.recv_timeout(LOOK) {
                Ok(ToThread::End(end)) => {
                    let end = end.map_err(|fault| fault.describe(&self.ends).into());
                    return outcome.and(end);
                }
                Ok(message) if outcome.is_ok() => {
                    outcome = take(self, message);
                    if outcome.is_err() {
                        self.give_up();
                    }
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return outcome.and(Err("the reactor has stopped".into()));
                }
            }
            watch(self);
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let id = self.id;
        self.reactor.send(move |cx| cx.remove_poller(id));
        while self.inbox.recv().is_ok() {}
    }
}

/// Starts a pump and does `work` beside it.
fn with_pump(
    reactor: &ReactorHandle,
    plan: &Plan,
    ends: &Ends,
    work: impl FnOnce(&mut Remote) -> Result<(), Box<dyn Error>>,
) -> Pumped {
    match Remote::start(reactor, plan, ends) {
        Ok(mut remote) => {
            let outcome = work(&mut remote);
            Pumped { copied_bytes: remote.copied_bytes(), outcome }
        }
        Err(error) => Pumped { copied_bytes: 0, outcome: Err(error) },
    }
}

/// Copies from bdev to bdev.
pub(super) fn between_bdevs(
    reactor: &ReactorHandle,
    plan: &Plan,
    ends: Ends,
    stop: impl Fn() -> bool,
    watch: impl Fn(u64),
) -> Pumped {
    let watch = |remote: &Remote| watch(remote.copied_bytes());
    with_pump(reactor, plan, &ends, |remote| remote.listen(stop, |_, _| Ok(()), watch))
}

/// Copies from a bdev to a file, in order.
pub(super) fn to_file(
    reactor: &ReactorHandle,
    plan: &Plan,
    ends: Ends,
    file: &mut FileOutput,
    stop: impl Fn() -> bool,
    watch: impl Fn(u64),
) -> Pumped {
    // Chunks that came before their predecessors.
    let mut early = BTreeMap::new();
    let mut next_bytes = 0;
    let take = |remote: &Remote, message| {
        let ToThread::Chunk(chunk) = message else { return Ok(()) };
        early.insert(chunk.at_bytes, chunk);
        while let Some(chunk) = early.remove(&next_bytes) {
            file.write(&chunk.buf)?;
            next_bytes += chunk.len_bytes;
            // One writer: this thread, as the pump has no output to count.
            remote.copied.store(next_bytes, Ordering::Relaxed);
            remote.send(ToPump::Buffer(chunk.buf));
        }
        Ok(())
    };
    let watch = |remote: &Remote| watch(remote.copied_bytes());
    let mut pumped = with_pump(reactor, plan, &ends, |remote| remote.listen(stop, take, watch));
    if pumped.outcome.is_ok() {
        pumped.outcome = file.sync();
    }
    pumped
}

/// Copies from a file to a bdev.
pub(super) fn from_file(
    reactor: &ReactorHandle,
    plan: &Plan,
    ends: Ends,
    file: &mut FileInput,
    stop: impl Fn() -> bool,
    watch: impl Fn(u64),
) -> Pumped {
    let output = ends.output.as_ref().map_or_else(String::new, |bdev| bdev.info().name.clone());
    let mut filler = Filler { plan, file, output, at_bytes: 0, ended: false, left_over: false };
    let take = |remote: &Remote, message| match message {
        ToThread::Buffer(buf) => filler.fill(remote, buf),
        ToThread::Chunk(_) | ToThread::End(_) => Ok(()),
    };
    let watch = |remote: &Remote| watch(remote.copied_bytes());
    let mut pumped = with_pump(reactor, plan, &ends, |remote| remote.listen(stop, take, watch));
    if pumped.outcome.is_ok() && filler.left_over {
        pumped.outcome = Err(filler.no_room());
    }
    pumped
}

/// Fills buffers from a file.
struct Filler<'a> {
    plan: &'a Plan,
    file: &'a mut FileInput,
    output: String,
    at_bytes: u64,
    ended: bool,
    /// The output is full and the input is not at its end.
    left_over: bool,
}

impl Filler<'_> {
    fn fill(&mut self, remote: &Remote, mut buf: IoBufMut) -> Result<(), Box<dyn Error>> {
        if self.ended {
            return Ok(());
        }
        let limit_bytes = self.plan.total_bytes.unwrap_or(self.plan.limit_bytes);
        let wanted = (limit_bytes - self.at_bytes).min(self.plan.block_bytes) as usize;
        let filled = self.file.fill(&mut buf[..wanted])?;
        let len_bytes = filled as u64;
        if filled > 0 {
            self.plan.check_tail(len_bytes, "the input's last block", &self.output)?;
            let padded = self.plan.padded(len_bytes) as usize;
            buf[filled..padded].fill(0);
            let at_bytes = self.at_bytes;
            self.at_bytes += len_bytes;
            let chunk = Chunk { at_bytes, len_bytes, buf: exactly(buf, padded) };
            remote.send(ToPump::Chunk(chunk));
        }
        let at_limit = self.at_bytes == limit_bytes;
        if at_limit && self.plan.limit_is_room {
            self.left_over = self.file.fill(&mut [0])? > 0;
        }
        if at_limit || filled < wanted {
            self.ended = true;
            remote.send(ToPump::NoMore);
        }
        Ok(())
    }

    fn no_room(&self) -> Box<dyn Error> {
        let (name, at_bytes) = (&self.output, self.plan.output_offset_bytes + self.at_bytes);
        format!("output bdev {name:?}: it is full at byte {at_bytes}, and the input goes on").into()
    }
}

/// The first bytes of a buffer; only the last chunk is not a whole one.
fn exactly(mut buf: IoBufMut, len_bytes: usize) -> IoBufMut {
    if buf.len() == len_bytes { buf } else { buf.split_to(len_bytes) }
}
