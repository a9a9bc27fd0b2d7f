//! The shell of a shard: carries its actions out, as crate `array` does on a reactor.
//!
//! ```text
//!   message, answer of a device --> shard --> actions: buffers, reads, arithmetic, writes, answers
//! ```
//!
//! Not here: the coordinator's orders (`orders`), arithmetic (`compute`), requests of hosts (`host`).

use crate::judge;
use crate::plant::Plant;
use crate::trace;
use crate::truth::sectors;
use crate::world::{Device, Happening, Io, Kind, Message, Party, Purpose, World};
use raid::coordinator::{Input, Orders};
use raid::event::{Access, Action, Actions, Event, OpId, PieceId, PieceSpec, PieceStatus, Work};
use raid::shard::op::OpKind;
use raid::units::{Role, Slot, SlotSet};

impl World {
    /// A message arrives at a reactor.
    pub fn reactor_told(&mut self, reactor: usize, message: Message) {
        trace!(self, "reactor {reactor} <- {message:?}");
        let mut out = Actions::new();
        let now_ns = self.now_ns;
        if let Message::Resume { map, .. } = &message {
            let old = self.life.reactors[reactor].core.map().clone();
            judge::note_lost(self, &old);
            judge::note_lost(self, map);
        }
        if let Message::Event(Event::RegionSync { region, in_sync }) = &message {
            let at = usize::try_from(*region).expect("few regions");
            self.truth.doubted[at] = self.step;
            self.life.reactors[reactor].trusted[at] = *in_sync;
        }
        if let Message::Event(Event::RegionRebuilt { .. }) = &message {
            let map = self.life.reactors[reactor].core.map().clone();
            judge::note_lost(self, &map);
        }
        let at = &mut self.life.reactors[reactor];
        match message {
            Message::Event(event) => at.core.handle(now_ns, event, &mut out),
            Message::Piece(host, spec) => {
                at.backlog.push_back((host, spec));
                self.admit(reactor);
            }
            Message::Answer { host, ok } => self.part_ended(host, ok),
            Message::Quiesce => {
                at.quiescing = true;
                at.core.quiesce(&mut out);
            }
            Message::Resume { map, stale, writes } => {
                at.quiescing = false;
                let writes = match self.plant {
                    Plant::AllowAtOnce => raid::shard::Writes::Allowed,
                    _ => writes,
                };
                at.core.resume(*map, stale.map(|stale| *stale), writes, now_ns, &mut out);
            }
            Message::AllowWrites => at.core.allow_writes(now_ns, &mut out),
            Message::StartWork(work) => {
                at.core.start_work(work, &mut out);
                self.answer_early(reactor, work);
            }
            Message::AbortWork => at.core.abort_work(&mut out),
        }
        self.execute(reactor, out);
        self.look_at_held(reactor);
        self.turn(reactor);
    }

    /// A planted bug.
    fn answer_early(&mut self, shard: usize, work: Work) {
        if self.plant == Plant::WorkAnsweredEarly && self.prng.one_in(4) {
            let Work { first, .. } = work;
            self.life.answered_early.insert((shard, first));
            let input = Input::WorkDone { first, ok: true, mismatched_rows: 0 };
            self.input(Party::Reactor(shard), input);
        }
    }

    /// A reactor ends its turn: what was staged starts.
    pub fn reactor_turned(&mut self, reactor: usize) {
        self.life.reactors[reactor].turning = false;
        self.admit(reactor);
        let mut out = Actions::new();
        self.life.reactors[reactor].core.unplug(self.now_ns, &mut out);
        self.execute(reactor, out);
    }

    /// Pieces enter the shard as long as it has room.
    fn admit(&mut self, reactor: usize) {
        let at = &mut self.life.reactors[reactor];
        while let Some(&(host, spec)) = at.backlog.front() {
            let Ok(piece) = at.core.submit(spec) else { break };
            at.backlog.pop_front();
            at.pieces.insert(piece, (host, spec.stripe));
        }
    }

    /// Tells a shard what happened.
    pub fn shard_event(&mut self, shard: usize, event: Event) {
        let mut out = Actions::new();
        self.life.reactors[shard].core.handle(self.now_ns, event, &mut out);
        self.execute(shard, out);
        self.turn(shard);
    }

    /// Carries actions out.
    pub fn execute(&mut self, shard: usize, mut actions: Actions) {
        let from = Party::Reactor(shard);
        while let Some(action) = actions.pop_front() {
            trace!(self, "shard {shard} {action:?}");
            match action {
                Action::Acquire { op, roles, len_bytes } => {
                    judge::planned(self, shard, op);
                    let ok = self.acquire(shard, op, roles, len_bytes as usize);
                    let event = Event::Acquired { op, ok };
                    self.life.reactors[shard].core.handle(self.now_ns, event, &mut actions);
                }
                Action::Read(access) => self.read(shard, access),
                Action::Compute { op, recipe } => {
                    judge::before_compute(self, shard, op, recipe);
                    let mismatch = self.compute(shard, op, recipe);
                    judge::after_compute(self, shard, op, mismatch);
                    let event = Event::Computed { op, mismatch };
                    self.life.reactors[shard].core.handle(self.now_ns, event, &mut actions);
                }
                Action::Write { access, fua } => self.write(shard, access, fua),
                Action::Release { op } => self.release(shard, op),
                Action::Complete { piece, status } => self.complete(shard, piece, status),
                Action::RequestLease { region } => self.input(from, Input::Mark { shard, region }),
                Action::ReturnLease { region } => self.input(from, Input::Release { region }),
                Action::WriteFailed { region } => {
                    let at = usize::try_from(region).expect("few regions");
                    self.life.reactors[shard].trusted[at] = false;
                    self.life.reactors[shard].vouched = SlotSet::empty();
                    self.input(from, Input::WriteFailed { region });
                }
                Action::MemberFailed { slot, cause } => {
                    self.input(from, Input::MemberFailed { slot, cause });
                }
                Action::ReadCorrected { slot } => {
                    // Counted only, so it need not travel.
                    let input = Input::ReadCorrected { slot };
                    self.life.coordinator.handle(self.now_ns, input, &mut Orders::new());
                }
                Action::WorkDone { first, ok, mismatched_rows } => {
                    if !self.life.answered_early.remove(&(shard, first)) {
                        self.input(from, Input::WorkDone { first, ok, mismatched_rows });
                    }
                }
                Action::Quiesced => {
                    self.life.reactors[shard].rest_untold = true;
                    self.look_at_rest(shard);
                }
            }
        }
        judge::bounds(self, shard);
    }

    /// The coordinator hears that a reactor is at rest when its reads past the core have ended too.
    pub fn look_at_rest(&mut self, reactor: usize) {
        let at = &mut self.life.reactors[reactor];
        if at.rest_untold && at.direct == 0 {
            at.rest_untold = false;
            self.input(Party::Reactor(reactor), Input::Quiesced);
        }
    }

    fn acquire(&mut self, shard: usize, op: OpId, roles: raid::units::RoleSet, len: usize) -> bool {
        let bound = self.swarm.scratch_bytes;
        let at = &mut self.life.reactors[shard];
        let bytes = roles.len() * len;
        // An operation alone always gets what it needs, as there is room for one over all members; where a
        // device that was given up keeps some of it, crate `array` takes it from the heap instead.
        let fits = at.buffers.is_empty() || at.buffer_bytes + bytes <= bound;
        if !fits && self.plant != Plant::NoBound {
            return false;
        }
        for role in roles.iter() {
            let old = at.buffers.insert((op, role), vec![0xee; len]);
            assert!(old.is_none(), "buffer ({op}, {role}) of shard {shard} was acquired twice");
        }
        at.buffer_bytes += bytes;
        true
    }

    fn release(&mut self, shard: usize, op: OpId) {
        let at = &mut self.life.reactors[shard];
        let keys: Vec<_> = at.buffers.range((op, 0)..=(op, u8::MAX)).map(|(&key, _)| key).collect();
        for key in keys {
            let buffer = at.buffers.remove(&key).expect("it was there");
            at.buffer_bytes -= buffer.len();
        }
    }

    fn read(&mut self, shard: usize, access: Access) {
        judge::before_read(self, shard, &access);
        let Access { op, role, slot, offset_bytes, len_bytes } = access;
        let purpose = Purpose::Read { shard, op, role };
        let kind = Kind::Read(len_bytes as usize);
        self.submit_member(slot, offset_bytes, kind, purpose);
    }

    fn write(&mut self, shard: usize, mut access: Access, fua: bool) {
        if self.plant == Plant::WriteElsewhere && self.prng.one_in(20) {
            access.offset_bytes ^= u64::from(self.swarm.strip_bytes / 2);
        }
        judge::before_write(self, shard, &access);
        let bytes = self.contents(shard, access.op, access.role);
        let Access { op, role, slot, offset_bytes, .. } = access;
        let mut purpose = Purpose::Write { shard, op, role };
        if self.plant == Plant::AnswerEarly && self.prng.one_in(10) {
            purpose = Purpose::Late { shard, op };
            let event = Event::WriteDone { op, role, ok: true };
            self.schedule(self.now_ns + 1, Happening::Tell(shard, Message::Event(event)));
        }
        self.submit_member(slot, offset_bytes, Kind::Write { bytes, fua }, purpose);
    }

    /// Asks the device in a slot.
    pub fn submit_member(&mut self, slot: Slot, offset_bytes: u64, kind: Kind, purpose: Purpose) {
        let device = self.life.device_of[slot.index()];
        let device = device.unwrap_or_else(|| panic!("R5: {purpose:?} of empty slot {slot}"));
        self.submit(Device::Member(device), offset_bytes, kind, purpose);
    }

    /// A device has answered.
    pub fn answer(&mut self, io: Io, ok: bool) {
        let Device::Member(device) = io.device else { return self.log_answered(&io, ok) };
        match io.purpose {
            Purpose::Read { shard, op, role } => {
                if let (Kind::Read(len), true) = (&io.kind, ok) {
                    let data = self.disks[device].current(io.offset_bytes, *len).to_vec();
                    self.store(shard, op, role, data);
                }
                judge::access_ended(self, shard, op);
                self.shard_event(shard, Event::ReadDone { op, role, ok });
            }
            Purpose::Write { shard, op, role } => {
                self.write_ended(shard, op, device, &io, ok);
                judge::access_ended(self, shard, op);
                self.shard_event(shard, Event::WriteDone { op, role, ok });
            }
            Purpose::Late { shard, op } => judge::access_ended(self, shard, op),
            Purpose::Direct { host, reactor, at } => {
                self.direct_ended(host, reactor, at, device, &io, ok);
            }
            Purpose::HostFlush { host, slot } => self.host_flush_ended(host, slot, device, ok),
            Purpose::MemberFlush { slot } => self.member_flush_ended(slot, ok),
            Purpose::Superblock { slot, step } => self.superblock_step_ended(slot, step, ok),
            Purpose::LogWrite | Purpose::LogFlush => panic!("the log is no member"),
        }
    }

    fn write_ended(&mut self, shard: usize, op: OpId, device: usize, io: &Io, ok: bool) {
        let Kind::Write { bytes, .. } = &io.kind else { return };
        let data = io.offset_bytes - raid::superblock::DATA_OFFSET_BYTES_MIN;
        let range = sectors(data, bytes.len() as u64);
        if ok {
            self.truth.written(device, range);
        } else {
            self.truth.suspect.push((device, range));
            self.host_writes_skipped(shard, op, device);
        }
    }

    /// The host requests whose writes left a device out must not be answered before that is durable.
    pub fn host_writes_skipped(&mut self, shard: usize, op: OpId, device: usize) {
        let Self { life, .. } = self;
        let at = &life.reactors[shard];
        if !matches!(at.core.op(op).kind, OpKind::Write { .. }) {
            return;
        }
        for fragment in at.core.fragments(op) {
            let (host, stripe) = at.pieces[&fragment.piece];
            if let Some(host) = life.hosts.get_mut(&host) {
                host.skipped.insert((stripe, device));
            }
        }
    }

    fn complete(&mut self, shard: usize, piece: PieceId, status: PieceStatus) {
        let pieces = &mut self.life.reactors[shard].pieces;
        let (host, stripe) = pieces.remove(&piece).expect("a piece is answered once");
        let ok = status == PieceStatus::Done;
        if ok {
            judge::before_ack(self, shard, host, stripe);
        }
        let reactor = self.life.hosts[&host].reactor;
        self.tell(Party::Reactor(shard), reactor, Message::Answer { host, ok });
    }

    /// Where in its request's data a piece begins.
    pub fn piece_start(&self, host: u64, spec: &PieceSpec) -> usize {
        let byte = spec.stripe.0 * self.geometry.stripe_bytes() + spec.span.start;
        usize::try_from(byte - self.life.hosts[&host].start).expect("requests are small")
    }

    /// What is to be written of a role: the host's data where a fragment brings it, else the buffer.
    pub fn contents(&self, shard: usize, op: OpId, role: u8) -> Vec<u8> {
        let at = &self.life.reactors[shard];
        let stripe_op = at.core.op(op);
        if !matches!(stripe_op.kind, OpKind::Write { .. }) || !stripe_op.strips.contains(role) {
            return at.buffers[&(op, role)].clone();
        }
        let mut data = vec![0; stripe_op.len_bytes() as usize];
        let mut covered = 0;
        for fragment in at.core.fragments(op).filter(|f| (f.first..=f.last).contains(&role)) {
            let (host, _) = at.pieces[&fragment.piece];
            let spec = at.core.piece(fragment.piece);
            let from = self.piece_start(host, spec)
                + spec.buffer_offset(role, fragment.row, self.swarm.strip_bytes);
            let len = (fragment.row_end - fragment.row) as usize;
            let into = (fragment.row - stripe_op.row) as usize;
            let source = &self.life.hosts[&host].data[from..from + len];
            data[into..into + len].copy_from_slice(source);
            covered += len;
        }
        assert_eq!(covered, data.len(), "fragments cover the rectangle once");
        data
    }

    /// Puts what was read or computed where it belongs.
    pub fn store(&mut self, shard: usize, op: OpId, role: u8, data: Vec<u8>) {
        let at = &mut self.life.reactors[shard];
        let stripe_op = at.core.op(op);
        if let Some(buffer) = at.buffers.get_mut(&(op, role)) {
            *buffer = data;
            return;
        }
        assert!(stripe_op.kind == OpKind::Read, "no buffer for role {role} of {stripe_op:?}");
        let fragment = *at.core.fragments(op).next().expect("a read has a fragment");
        let row = stripe_op.row;
        let (host, _) = at.pieces[&fragment.piece];
        let spec = *at.core.piece(fragment.piece);
        let from =
            self.piece_start(host, &spec) + spec.buffer_offset(role, row, self.swarm.strip_bytes);
        let host = self.life.hosts.get_mut(&host).expect("in flight");
        host.data[from..from + data.len()].copy_from_slice(&data);
    }

    /// What was read or recovered of a role, whatever is to be written there.
    pub fn old(&self, shard: usize, op: OpId, role: u8) -> Vec<u8> {
        let at = &self.life.reactors[shard];
        if let Some(buffer) = at.buffers.get(&(op, role)) {
            return buffer.clone();
        }
        let stripe_op = at.core.op(op);
        let fragment = *at.core.fragments(op).next().expect("a read has a fragment");
        let (host, _) = at.pieces[&fragment.piece];
        let spec = at.core.piece(fragment.piece);
        let from = self.piece_start(host, spec)
            + spec.buffer_offset(role, stripe_op.row, self.swarm.strip_bytes);
        self.life.hosts[&host].data[from..from + stripe_op.len_bytes() as usize].to_vec()
    }

    /// The slot of a role in a stripe.
    #[must_use]
    pub fn slot_of(&self, stripe: raid::units::StripeId, role: u8) -> Slot {
        let rotation = self.geometry.rotation(stripe);
        match role {
            raid::plan::ROLE_P => self.geometry.p_slot(rotation),
            raid::plan::ROLE_Q => self.geometry.q_slot(rotation).expect("the level has a Q"),
            strip => self.geometry.data_slot(rotation, strip),
        }
    }

    /// The role of a slot in a stripe, as the core numbers it.
    #[must_use]
    pub fn role_of(&self, stripe: raid::units::StripeId, slot: Slot) -> u8 {
        match self.geometry.role(self.geometry.rotation(stripe), slot) {
            Role::Data(strip) => strip,
            Role::P => raid::plan::ROLE_P,
            Role::Q => raid::plan::ROLE_Q,
        }
    }
}
