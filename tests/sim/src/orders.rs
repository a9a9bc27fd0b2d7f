//! The shell of the coordinator: carries its orders out.
//!
//! ```text
//!   input, answer --> coordinator --> orders: messages to every shard, log, flushes, superblocks
//! ```
//!
//! The log's bytes are those of the moment of the order. A superblock is written when both copies are on
//! the member, each flushed, one after the other.
//!
//! Not here: what the owner of a table and the operator do about events (`chaos`).

use crate::judge;
use crate::plant::Plant;
use crate::trace;
use crate::world::{Device, Happening, Io, Kind, Message, Purpose, World};
use raid::coordinator::{Input, Order, Orders, Permit};
use raid::event::Event;
use raid::shard::Writes;
use raid::superblock::{COPY_OFFSETS_BYTES, SUPERBLOCK_BYTES, copy_order};
use raid::units::Slot;

impl World {
    /// Tells the coordinator.
    pub fn coordinator_told(&mut self, input: Input) {
        trace!(self, "coordinator <- {input:?}");
        if let Input::Permit(permit) = input {
            self.life.permit = permit;
            self.stats.withheld += u64::from(permit == Permit::Withheld);
            if self.plant == Plant::PermitIgnored && permit == Permit::Withheld
                || self.plant == Plant::PermitForgotten && permit == Permit::Granted
            {
                return;
            }
        }
        if let Input::WorkDone { first, .. } = input {
            let shards = self.life.stretches_out.get_mut(&first);
            let shards = shards.expect("stretches: one that was not handed out is answered");
            *shards -= 1;
            if *shards == 0 {
                self.life.stretches_out.remove(&first);
            }
        }
        let mut orders = Orders::new();
        if let (Plant::GrantEarly, Input::Mark { shard, region }) = (self.plant, input)
            && self.prng.one_in(2)
        {
            let event = Event::LeaseGranted { region };
            self.life.coordinator.handle(self.now_ns, input, &mut orders);
            orders.retain(|o| !matches!(o, Order::Grant { shard: s, region: r } if (*s, *r) == (shard, region)));
            self.life.granted_early.insert((shard, region));
            self.tell(crate::world::Party::Coordinator, shard, Message::Event(event));
        } else {
            self.life.coordinator.handle(self.now_ns, input, &mut orders);
        }
        judge::regions_called_clean(self);
        self.obey(orders);
        self.coordinator_turn();
    }

    /// The coordinator ends its turn.
    pub fn coordinator_unplugged(&mut self) {
        let mut orders = Orders::new();
        let bytes = self.life.foreground_bytes;
        self.life.coordinator.unplug(self.now_ns, bytes, &mut orders);
        judge::regions_called_clean(self);
        self.obey(orders);
        self.look_for_owner();
        if let Some(due) = self.life.coordinator.due_ns() {
            let at = due.max(self.now_ns + 1000);
            if self.life.timer_ns.is_none_or(|timer| timer > at) {
                self.life.timer_ns = Some(at);
                self.schedule(at, Happening::Timer);
            }
        }
    }

    fn obey(&mut self, mut orders: Orders) {
        while let Some(order) = orders.pop_front() {
            trace!(self, "order {order:?}");
            let from = crate::world::Party::Coordinator;
            match order {
                Order::Grant { shard, region } => {
                    if !self.life.granted_early.remove(&(shard, region)) {
                        let event = Event::LeaseGranted { region };
                        self.tell(from, shard, Message::Event(event));
                    }
                }
                Order::RegionSync { region, in_sync } => {
                    judge::region_sync(self, region, in_sync);
                    self.tell_all(&Message::Event(Event::RegionSync { region, in_sync }));
                }
                Order::RegionRebuilt { region } => {
                    judge::region_rebuilt(self, region);
                    self.tell_all(&Message::Event(Event::RegionRebuilt { region }));
                }
                Order::StartWork(work) => {
                    let permit = self.life.permit;
                    let granted = permit == Permit::Granted;
                    assert!(granted, "permit: {work:?} is handed out without it");
                    self.stats.stretches += 1;
                    self.life.aborting = false;
                    self.stats.stretches_beside += u64::from(!self.life.stretches_out.is_empty());
                    let twice = self.life.stretches_out.insert(work.first, self.swarm.shards);
                    assert_eq!(twice, None, "stretches: {work:?} is handed out twice");
                    self.tell_all(&Message::StartWork(work));
                }
                Order::AbortWork => {
                    let twice = std::mem::replace(&mut self.life.aborting, true);
                    assert!(!twice, "stretches: what is given up is given up again");
                    self.tell_all(&Message::AbortWork);
                }
                Order::Quiesce => self.tell_all(&Message::Quiesce),
                Order::Resume { stale, writes } => {
                    judge::map_changed(self);
                    if writes == Writes::Allowed {
                        judge::writes_allowed(self);
                    }
                    let map = Box::new(self.life.coordinator.map().clone());
                    let stale = stale.then(|| Box::new(self.life.coordinator.stale().clone()));
                    self.tell_all(&Message::Resume { map, stale, writes });
                }
                Order::AllowWrites => {
                    judge::writes_allowed(self);
                    self.tell_all(&Message::AllowWrites);
                }
                Order::WriteLog { offset_bytes, len_bytes } => {
                    self.write_log(offset_bytes, len_bytes);
                }
                Order::FlushLog => self.flush_log(),
                Order::FlushMember { slot } => self.flush_member(slot),
                Order::WriteSuperblock { slot } => self.write_superblock(slot),
                Order::Event(event) => self.event(event),
                Order::Stopped => self.life.stopped = true,
            }
        }
    }

    fn write_log(&mut self, offset_bytes: u64, len_bytes: u64) {
        let mut bytes = vec![0; usize::try_from(len_bytes).expect("logs are small")];
        self.life.coordinator.log().copy_taken(offset_bytes, &mut bytes);
        if self.plant == Plant::ClearEarly && self.prng.one_in(8) {
            let header = usize::try_from(1024_u64.saturating_sub(offset_bytes)).expect("small");
            for byte in bytes.iter_mut().skip(header) {
                *byte |= 1 << self.prng.below(3);
            }
        }
        judge::before_log_write(self, offset_bytes, &bytes);
        self.submit(
            Device::Log,
            offset_bytes,
            Kind::Write { bytes, fua: false },
            Purpose::LogWrite,
        );
    }

    fn flush_log(&mut self) {
        assert!(!self.life.log_failed, "R9: the log is flushed after it failed");
        if self.plant == Plant::LogFlushDropped && self.prng.one_in(3) {
            return self.schedule(self.now_ns, Happening::Input(Input::LogFlushed { ok: true }));
        }
        self.submit_flush(Device::Log, Purpose::LogFlush);
    }

    /// The log's device has answered.
    pub fn log_answered(&mut self, io: &Io, ok: bool) {
        self.life.log_failed |= !ok;
        if ok && io.purpose == Purpose::LogFlush && !self.life.log_failed {
            // A new log is there for good.
            self.noted_log_failed = false;
        }
        let believed = ok || self.plant == Plant::LogErrorIgnored;
        self.coordinator_told(match io.purpose {
            Purpose::LogWrite => Input::LogWritten { ok: believed },
            _ => Input::LogFlushed { ok: believed },
        });
    }

    fn flush_member(&mut self, slot: Slot) {
        let failed = self.life.flush_failed.contains(slot);
        assert!(!failed, "R9: slot {slot} is flushed again after its flush failed");
        let purpose = Purpose::MemberFlush { slot };
        let device = self.life.device_of[slot.index()];
        let device = device.unwrap_or_else(|| panic!("R5: flush of empty slot {slot}"));
        if self.plant == Plant::FlushDropped && self.prng.one_in(3) {
            let input = Input::MemberFlushed { slot, ok: true };
            return self.schedule(self.now_ns, Happening::Input(input));
        }
        self.submit_flush(Device::Member(device), purpose);
    }

    /// A member has answered the coordinator's flush.
    pub fn member_flush_ended(&mut self, slot: Slot, ok: bool) {
        if !ok {
            self.life.flush_failed.insert(slot);
        }
        if !ok && self.plant == Plant::FlushRetried {
            return self.flush_member(slot);
        }
        self.coordinator_told(Input::MemberFlushed { slot, ok });
    }

    fn write_superblock(&mut self, slot: Slot) {
        let superblock = self.life.coordinator.superblock(slot);
        let mut bytes = vec![0; SUPERBLOCK_BYTES];
        let out: &mut [u8; SUPERBLOCK_BYTES] =
            bytes.as_mut_slice().try_into().expect("as long as a copy");
        if let Err(error) = superblock.encode(out) {
            panic!("superblock of slot {slot} means nothing: {error}");
        }
        if self.plant == Plant::SuperblockForgotten && self.prng.one_in(2) {
            let input = Input::SuperblockWritten { slot, ok: true };
            return self.schedule_within(self.swarm.device_ns, Happening::Input(input));
        }
        self.life.superblocks.insert(slot.0, (bytes, copy_order(superblock.events)));
        self.superblock_step(slot, 0);
    }

    fn superblock_step(&mut self, slot: Slot, step: u8) {
        let purpose = Purpose::Superblock { slot, step };
        let device = self.life.device_of[slot.index()];
        let device = device.unwrap_or_else(|| panic!("superblock of empty slot {slot}"));
        if step % 2 == 1 {
            return self.submit_flush(Device::Member(device), purpose);
        }
        let (bytes, order) = self.life.superblocks[&slot.0].clone();
        let offset_bytes = COPY_OFFSETS_BYTES[order[usize::from(step / 2)]];
        self.submit(
            Device::Member(device),
            offset_bytes,
            Kind::Write { bytes, fua: false },
            purpose,
        );
    }

    /// A step of writing a superblock has ended.
    pub fn superblock_step_ended(&mut self, slot: Slot, step: u8, ok: bool) {
        if ok && step < 3 {
            return self.superblock_step(slot, step + 1);
        }
        self.coordinator_told(Input::SuperblockWritten { slot, ok });
    }
}
