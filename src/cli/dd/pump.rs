//! [`Pump`]: the poller that moves chunks between bdevs, or between a bdev and the thread.
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
//! Not here: the thread's side (`remote`), what may be copied at all (`plan`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use device::limits::COMPLETIONS_PER_POLL_MAX;
use device::{Bdev, BdevIo, Completion, IoChannel, IoOp, IoStatus, OpenError, Sgl};
use perf::take_buffer;
use reactor::memory::{IoBuf, IoBufMut};
use reactor::{Cx, Poller};

use super::plan::Plan;

/// The bdevs of a copy; a side without one is the thread's.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub(super) input: Option<Arc<dyn Bdev>>,
    pub(super) output: Option<Arc<dyn Bdev>>,
}

/// A piece of the copy.
pub(super) struct Chunk {
    /// Where it belongs, counted from the start of the copy.
    pub(super) at_bytes: u64,
    /// How much of the buffer is the input's; the rest is padding.
    pub(super) len_bytes: u64,
    pub(super) buf: IoBufMut,
}

/// What the pump sends.
pub(super) enum ToThread {
    /// To be filled.
    Buffer(IoBufMut),
    /// To be written.
    Chunk(Chunk),
    /// Nothing more comes.
    End(Result<(), Fault>),
}

/// What the thread sends.
pub(super) enum ToPump {
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
pub(super) enum Fault {
    Read { offset_bytes: u64, len_bytes: u64, status: IoStatus },
    Write { offset_bytes: u64, len_bytes: u64, status: IoStatus },
    Flush { status: IoStatus },
}

impl Fault {
    pub(super) fn describe(&self, ends: &Ends) -> String {
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

/// What a pump shares with the thread.
pub(super) struct Queues {
    pub(super) to_thread: SyncSender<ToThread>,
    pub(super) from_thread: Receiver<ToPump>,
    /// Bytes of the input that are where they belong.
    pub(super) copied: Arc<AtomicU64>,
}

/// See the module's notes.
pub(super) struct Pump {
    plan: Plan,
    input: Option<Port>,
    output: Option<Port>,
    flushes: bool,
    queues: Queues,
    state: State,
    /// Ready to be read into, here or by the thread.
    buffers: Vec<IoBufMut>,
    /// Written, but somebody below has not let go of them yet.
    shared: VecDeque<IoBuf>,
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
    /// Opens the bdevs and allocates the buffers. Both queues have room for all of these.
    pub(super) fn new(
        cx: &mut Cx,
        plan: Plan,
        ends: &Ends,
        queues: Queues,
    ) -> Result<Self, OpenError> {
        let mut port = |bdev: &Option<Arc<dyn Bdev>>, first_bytes| {
            bdev.as_ref().map(|bdev| Port::open(bdev, first_bytes, cx)).transpose()
        };
        let input = port(&ends.input, plan.input_offset_bytes)?;
        let output = port(&ends.output, plan.output_offset_bytes)?;
        let len_bytes = plan.block_bytes as usize;
        Ok(Self {
            input,
            output,
            flushes: ends.output.as_ref().is_some_and(|bdev| bdev.info().supported.flush),
            queues,
            state: State::Copying,
            buffers: (0..plan.depth).map(|_| take_buffer(cx, len_bytes).0).collect(),
            shared: VecDeque::with_capacity(plan.depth),
            ready: VecDeque::with_capacity(plan.depth),
            next_bytes: 0,
            padding: None,
            padded: None,
            input_ended: false,
            done: Vec::with_capacity(COMPLETIONS_PER_POLL_MAX),
            plan,
        })
    }

    fn hear(&mut self) -> usize {
        let mut heard = 0;
        while let Ok(message) = self.queues.from_thread.try_recv() {
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
        let _ = self.queues.to_thread.try_send(message);
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
        let total = self.queues.copied.load(Ordering::Relaxed) + copied;
        self.queues.copied.store(total, Ordering::Relaxed);
    }

    /// Buffers that nobody else has any more can be used again.
    fn reclaim(&mut self) {
        for _ in 0..self.shared.len() {
            let Some(buf) = self.shared.pop_front() else { return };
            match buf.try_into_mut() {
                Ok(buf) => self.buffers.push(buf),
                Err(buf) => self.shared.push_back(buf),
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
