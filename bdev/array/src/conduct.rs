//! The coordinator's shell, on shard 0: carries its orders out and tells it what came of them.
//!
//! ```text
//!   shards' messages --Input--> Coordinator --Order--> commands to the shards
//!   log bdev's, members' answers --Input-->      \---> log bdev: write, flush
//!                                                 \--> members: flush; superblocks
//!   superblock of a member:  copy A --> flush --> copy B --> flush --> SuperblockWritten
//! ```
//!
//! Not here: any decision (`raid::coordinator`); reading logs and superblocks at the start (`start`).

use crate::execute::COORDINATOR;
use crate::member::{Member, Purpose};
use crate::message::{Command, Message};
use crate::shard::ArrayShard;
use crate::spec::ArrayEvent;
use crossbeam::channel::Sender;
use device::{BdevIo, Completion, IoStatus};
use raid::bitmap::Bitmap;
use raid::coordinator::{Action, Coordinator, Input, Order, Orders, RaidEvent};
use raid::event::{Event, FailCause};
use raid::superblock::{COPY_OFFSETS_BYTES, SUPERBLOCK_BYTES, copy_order};
use raid::units::Slot;
use reactor::memory::{IoBuf, IoBufMut};
use reactor::{Latencies, Ticks};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A step of writing a member's superblock: of its first or second copy, in the order of the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Write(usize),
    Flush(usize),
}

#[derive(Debug)]
struct SuperblockWrite {
    bytes: IoBuf,
    order: [usize; 2],
    step: Step,
}

/// The coordinator and what it has under way.
#[derive(Debug)]
pub(crate) struct Conductor {
    pub(crate) core: Coordinator,
    orders: Orders,
    log: Option<Member>,
    /// The devices of the superblocks, where they are not on the members.
    pub(crate) metadata: Option<BTreeMap<Slot, Member>>,
    superblocks: BTreeMap<Slot, SuperblockWrite>,
    events: Option<Sender<ArrayEvent>>,
    stopped: Option<Sender<()>>,
    /// Something has happened since the coordinator was last unplugged.
    stirred: bool,
    due_ns: Option<u64>,
    /// When the commit under way began.
    commit_since: Option<Ticks>,
    pub(crate) log_latencies: Latencies,
    done: Vec<Completion>,
}

impl Conductor {
    pub(crate) fn new(
        core: Coordinator,
        log: Option<Member>,
        events: Option<Sender<ArrayEvent>>,
    ) -> Self {
        Self {
            core,
            orders: Orders::new(),
            log,
            metadata: None,
            superblocks: BTreeMap::new(),
            events,
            stopped: None,
            stirred: true,
            due_ns: None,
            commit_since: None,
            log_latencies: Latencies::default(),
            done: Vec::new(),
        }
    }

    /// Whether nothing is to be done that no device and no other shard will announce. While a background
    /// action is paced its reactor stays awake: timers are too coarse for it.
    pub(crate) fn can_sleep(&self) -> bool {
        let running = matches!(self.core.action(), Action::Running(_));
        !self.stirred && !running && self.orders.is_empty()
    }

    /// The devices that are its own.
    pub(crate) fn into_devices(self) -> impl Iterator<Item = Member> {
        self.log.into_iter().chain(self.metadata.unwrap_or_default().into_values())
    }

    /// Whether there is a log bdev.
    pub(crate) fn has_log(&self) -> bool {
        self.log.is_some()
    }

    fn is_due(&self, now: Ticks) -> bool {
        self.stirred || self.due_ns.is_some_and(|due| due <= now.0)
    }
}

impl ArrayShard {
    /// Tells the coordinator, which is here.
    ///
    /// # Panics
    /// On another shard.
    pub(crate) fn coordinate(&mut self, now: Ticks, input: Input) {
        if let Input::MemberFailed { slot, cause: FailCause::TimedOut } = input {
            // Nobody waits for it any longer, or the array could not come to rest.
            self.tell_all(now, Command::Abandon { slot, status: IoStatus::TimedOut });
        }
        let conductor = self.conductor.as_mut().expect("the coordinator is on shard 0");
        let on_log = matches!(input, Input::LogWritten { .. } | Input::LogFlushed { .. });
        conductor.core.handle(now.0, input, &mut conductor.orders);
        conductor.stirred = true;
        if on_log
            && conductor.core.is_log_idle()
            && let Some(since) = conductor.commit_since.take()
        {
            conductor.log_latencies.record((now - since).0);
        }
    }

    /// Changes something about the coordinator, which is here.
    pub(crate) fn command<R>(
        &mut self,
        now: Ticks,
        act: impl FnOnce(&mut Coordinator, &mut Orders) -> R,
    ) -> R {
        let conductor = self.conductor.as_mut().expect("the coordinator is on shard 0");
        let result = act(&mut conductor.core, &mut conductor.orders);
        conductor.stirred = true;
        self.pump(now);
        self.post.flush();
        result
    }

    /// Has `stopped` told when the array is stopped in order, and asks for it.
    pub(crate) fn begin_stop(&mut self, now: Ticks, stopped: Sender<()>) {
        // Leases that were given back must not arrive after it.
        while let Some(message) = self.post.take(self.index) {
            self.on_message(now, message);
        }
        self.pump(now);
        if let Some(conductor) = &mut self.conductor {
            conductor.stopped = Some(stopped);
        }
        self.coordinate(now, Input::Stop);
    }

    /// End of the turn: the coordinator starts what is due.
    pub(crate) fn conduct(&mut self, now: Ticks) {
        let Some(conductor) = &mut self.conductor else { return };
        if !conductor.is_due(now) {
            return;
        }
        let foreground = self.common.foreground_bytes();
        conductor.core.unplug(now.0, foreground, &mut conductor.orders);
        // What it has ordered may have made something else due: it is asked again in the next turn.
        conductor.stirred = !conductor.orders.is_empty();
        conductor.due_ns = conductor.core.due_ns();
        let waits = conductor.core.is_waiting_for_owner();
        self.common.waits_for_owner.store(waits, Ordering::Relaxed);
        self.pump(now);
    }

    pub(crate) fn next_order(&mut self) -> Option<Order> {
        self.conductor.as_mut()?.orders.pop_front()
    }

    pub(crate) fn obey(&mut self, now: Ticks, order: Order) {
        match order {
            Order::Grant { shard, region } => {
                self.tell(now, shard, Command::Event(Event::LeaseGranted { region }));
            }
            Order::RegionSync { region, in_sync } => {
                self.tell_all(now, Command::Event(Event::RegionSync { region, in_sync }));
            }
            Order::RegionRebuilt { region } => {
                self.tell_all(now, Command::Event(Event::RegionRebuilt { region }));
            }
            Order::StartWork(work) => self.tell_all(now, Command::StartWork(work)),
            Order::AbortWork => self.tell_all(now, Command::AbortWork),
            Order::Quiesce => self.tell_all(now, Command::Quiesce),
            Order::Resume { stale, writes } => {
                let core = self.coordinator();
                let map = Arc::new(core.map().clone());
                let stale: Option<Arc<Bitmap>> = stale.then(|| Arc::new(core.stale().clone()));
                self.tell_all(now, Command::Resume { map, stale, writes });
            }
            Order::AllowWrites => self.tell_all(now, Command::AllowWrites),
            Order::WriteLog { offset_bytes, len_bytes } => {
                self.write_log(now, offset_bytes, len_bytes);
            }
            Order::FlushLog => {
                self.submit_to_log(now, BdevIo::flush(Purpose::LogFlush.token()));
            }
            Order::FlushMember { slot } => {
                self.submit_to_member(slot, BdevIo::flush(Purpose::Flush { slot }.token()));
            }
            Order::WriteSuperblock { slot } => self.write_superblock(now, slot),
            Order::Event(event) => self.announce(event),
            Order::Stopped => {
                let stopped = self.conductor.as_mut().and_then(|c| c.stopped.take());
                if let Some(stopped) = stopped {
                    // A control thread that no longer listens has given up.
                    let _ = stopped.try_send(());
                }
            }
        }
    }

    fn coordinator(&self) -> &Coordinator {
        &self.conductor.as_ref().expect("the coordinator is on shard 0").core
    }

    fn tell_all(&mut self, now: Ticks, command: Command) {
        for shard in 0..self.post.shards() {
            self.tell(now, shard, command.clone());
        }
    }

    fn tell(&mut self, now: Ticks, shard: usize, command: Command) {
        if shard == COORDINATOR {
            self.on_command(now, command);
        } else {
            self.post.send(shard, Message::Command(command));
        }
    }

    fn announce(&mut self, event: RaidEvent) {
        let array = &self.common.info.name;
        match event {
            RaidEvent::MemberFailed { slot, cause } => {
                tracing::warn!(array, %slot, %cause, "member failed");
            }
            RaidEvent::Degraded => tracing::warn!(array, "degraded"),
            RaidEvent::Broken => {
                tracing::error!(array, "more members have failed than parity can stand for");
            }
            RaidEvent::Optimal => tracing::info!(array, "every member is in sync"),
            RaidEvent::MemberAdded { slot } => tracing::info!(array, %slot, "member added"),
            RaidEvent::LogFailed => tracing::error!(array, "the log bdev failed"),
            RaidEvent::SyncDelayed { kind } => {
                tracing::debug!(array, ?kind, "waits for its permit")
            }
            RaidEvent::SyncStarted { kind } => tracing::info!(array, ?kind, "started"),
            RaidEvent::SyncEnded { kind, complete } => {
                tracing::info!(array, ?kind, complete, "ended");
            }
        }
        if let Some(events) = self.conductor.as_ref().and_then(|c| c.events.as_ref()) {
            // Events say that something happened; whoever missed one looks at the state anyway.
            let _ = events.try_send(ArrayEvent { array: array.clone(), event });
        }
    }

    fn write_log(&mut self, now: Ticks, offset_bytes: u64, len_bytes: u64) {
        let len = usize::try_from(len_bytes).expect("a run of the log fits into memory");
        let pooled = self.log_pool.as_ref().and_then(|pool| pool.alloc(len));
        let mut bytes = pooled.unwrap_or_else(|| IoBufMut::heap(len));
        self.coordinator().log().copy_taken(offset_bytes, &mut bytes);
        let token = Purpose::LogWrite.token();
        self.submit_to_log(now, BdevIo::write(token, offset_bytes, bytes.freeze(), false));
    }

    fn submit_to_log(&mut self, now: Ticks, io: BdevIo) {
        let conductor = self.conductor.as_mut().expect("the coordinator is on shard 0");
        conductor.commit_since.get_or_insert(now);
        let log = conductor.log.as_mut().expect("a log that is written has a bdev");
        log.submit(io, self.patience.now_ns());
    }

    /// Completions of the log bdev; one that does not answer in time has failed.
    pub(crate) fn poll_log(&mut self, now: Ticks) -> usize {
        let Some(conductor) = &mut self.conductor else { return 0 };
        let Some(log) = &mut conductor.log else { return 0 };
        let mut done = std::mem::take(&mut conductor.done);
        let patience_ns = self.patience.now_ns();
        let count = log.poll(patience_ns, &mut done);
        if log.is_overdue(patience_ns, self.common.io_timeout_ns)
            && let Some(log) = conductor.log.replace(Member::dead(IoStatus::TimedOut))
        {
            done.extend(log.abandon(IoStatus::TimedOut, &mut self.graveyard));
        }
        for completion in done.drain(..) {
            let ok = completion.status.is_ok();
            match Purpose::of(completion.io.token) {
                Purpose::LogWrite => self.coordinate(now, Input::LogWritten { ok }),
                Purpose::LogFlush => self.coordinate(now, Input::LogFlushed { ok }),
                purpose => panic!("{purpose:?} is not for the log bdev"),
            }
        }
        if let Some(conductor) = &mut self.conductor {
            conductor.done = done;
        }
        count
    }

    /// Completions of the metadata devices; one that does not answer in time has failed.
    pub(crate) fn poll_metadata(&mut self, now: Ticks) -> usize {
        let Some(conductor) = &mut self.conductor else { return 0 };
        let Some(devices) = &mut conductor.metadata else { return 0 };
        let mut done = std::mem::take(&mut conductor.done);
        for device in devices.values_mut() {
            device.poll(self.patience.now_ns(), &mut done);
            if device.is_overdue(self.patience.now_ns(), self.common.io_timeout_ns) {
                let dead = Member::dead(IoStatus::TimedOut);
                let device = std::mem::replace(device, dead);
                done.extend(device.abandon(IoStatus::TimedOut, &mut self.graveyard));
            }
        }
        let count = done.len();
        for completion in done.drain(..) {
            let ok = completion.status.is_ok();
            match Purpose::of(completion.io.token) {
                Purpose::Superblock { slot } => self.superblock_step(now, slot, ok),
                purpose => panic!("{purpose:?} is not for a metadata device"),
            }
        }
        if let Some(conductor) = &mut self.conductor {
            conductor.done = done;
        }
        count
    }

    fn write_superblock(&mut self, now: Ticks, slot: Slot) {
        let mut bytes = IoBufMut::heap(SUPERBLOCK_BYTES);
        let target: &mut [u8; SUPERBLOCK_BYTES] =
            (&mut bytes[..]).try_into().expect("it was allocated so");
        let superblock = self.coordinator().superblock(slot);
        if let Err(error) = superblock.encode(target) {
            tracing::error!(array = self.common.info.name, %slot, %error, "bad superblock");
            return self.coordinate(now, Input::SuperblockWritten { slot, ok: false });
        }
        let order = copy_order(superblock.events);
        let conductor = self.conductor.as_mut().expect("the coordinator is on shard 0");
        if conductor.metadata.as_ref().is_some_and(|devices| !devices.contains_key(&slot)) {
            // Nothing can be on record with it, so it does not count (**R4**).
            return self.coordinate(now, Input::SuperblockWritten { slot, ok: false });
        }
        let write = SuperblockWrite { bytes: bytes.freeze(), order, step: Step::Write(0) };
        conductor.superblocks.insert(slot, write);
        self.submit_superblock(slot);
    }

    fn submit_superblock(&mut self, slot: Slot) {
        let conductor = self.conductor.as_ref().expect("the coordinator is on shard 0");
        let SuperblockWrite { bytes, order, step } = &conductor.superblocks[&slot];
        let token = Purpose::Superblock { slot }.token();
        let io = match *step {
            Step::Write(nth) => {
                BdevIo::write(token, COPY_OFFSETS_BYTES[order[nth]], bytes.clone(), false)
            }
            Step::Flush(_) => BdevIo::flush(token),
        };
        let conductor = self.conductor.as_mut().expect("the coordinator is on shard 0");
        match &mut conductor.metadata {
            None => self.submit_to_member(slot, io),
            Some(devices) => {
                let device = devices.get_mut(&slot).expect("it was there when this began");
                device.submit(io, self.patience.now_ns());
            }
        }
    }

    /// A write or flush of a superblock ended: on to the next step, or the coordinator is told.
    pub(crate) fn superblock_step(&mut self, now: Ticks, slot: Slot, ok: bool) {
        let conductor = self.conductor.as_mut().expect("the coordinator is on shard 0");
        let write = conductor.superblocks.get_mut(&slot).expect("it is being written");
        let next = match write.step {
            _ if !ok => None,
            Step::Write(nth) => Some(Step::Flush(nth)),
            Step::Flush(nth) => (nth + 1 < write.order.len()).then_some(Step::Write(nth + 1)),
        };
        match next {
            Some(step) => {
                write.step = step;
                self.submit_superblock(slot);
            }
            None => {
                conductor.superblocks.remove(&slot);
                self.coordinate(now, Input::SuperblockWritten { slot, ok });
            }
        }
    }
}
