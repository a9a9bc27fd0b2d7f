//! The thread's side of a copy: it reads or writes the file, if there is one, and sees the pump to
//! its end.
//!
//! Owns: when a copy has ended, by whatever way, its pump is gone and its channels are closed.
//!
//! Not here: the reactor's side (`pump`), opening files (`file`).

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use device::OpenError;
use reactor::memory::IoBufMut;
use reactor::{PollerId, ReactorHandle};

use super::file::{FileInput, FileOutput};
use super::plan::Plan;
use super::pump::{Chunk, Ends, Pump, Queues, ToPump, ToThread};

/// How often the thread looks for signals and moves the bar while nothing else happens.
const LOOK: Duration = Duration::from_millis(100);

/// How far a copy came.
pub(super) struct Pumped {
    pub(super) copied_bytes: u64,
    pub(super) outcome: Result<(), Box<dyn Error>>,
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
        let queues = Queues { to_thread, from_thread, copied: Arc::clone(&copied) };
        let (plan, sides) = (*plan, ends.clone());
        let id = reactor.call(move |cx| {
            let pump = Pump::new(cx, plan, &sides, queues)?;
            Ok::<_, OpenError>(cx.add_poller(Box::new(pump)))
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
                    let given_up = if self.gave_up { Err("interrupted".into()) } else { Ok(()) };
                    return outcome.and(end).and(given_up);
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

#[cfg(test)]
mod tests;
