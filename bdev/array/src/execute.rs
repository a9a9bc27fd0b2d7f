//! Carrying out what the core and other shards ask for.
//!
//! Not here: when (`shard`), the recipes (`compute`), the coordinator's orders (`conduct`).

use crate::compute::Workbench;
use crate::issue::io_status;
use crate::member::Purpose;
use crate::message::{Command, Message};
use crate::piece::{PieceBody, PieceSlot};
use crate::segments;
use crate::shard::{ArrayShard, Incoming, LentCells};
use device::{BdevIo, IoOp, Sgl};
use raid::coordinator::Input;
use raid::event::{Access, Action, Event, OpId};
use raid::shard::op::OpKind;
use raid::units::RoleSet;
use reactor::Ticks;
use reactor::memory::{IoBuf, IoBufMut};

/// Shard on which the coordinator is.
pub(crate) const COORDINATOR: usize = 0;

impl ArrayShard {
    pub(crate) fn execute(&mut self, now: Ticks, action: Action) {
        match action {
            Action::Acquire { op, roles, len_bytes } => {
                let ok = self.acquire(op, roles, len_bytes as usize);
                self.event(now, Event::Acquired { op, ok });
            }
            Action::Read(access) => self.read_member(access),
            Action::Compute { op, recipe } => {
                let height = u64::from(self.core.op(op).len_bytes());
                self.counters.computed_bytes += height * recipe.strips() as u64;
                let mut bench = Workbench {
                    kernel: self.common.kernel(),
                    core: &self.core,
                    pieces: &self.pieces,
                    buffers: &mut self.buffers,
                    zeroes: &self.zeroes,
                };
                let mismatch = bench.run(op, recipe);
                self.event(now, Event::Computed { op, mismatch });
            }
            Action::Write { access, fua } => self.write_member(access, fua),
            Action::Release { op } => self.release(op),
            Action::Complete { piece, status } => {
                let PieceSlot { origin, host, body } = self.pieces.take(piece);
                let (status, data) = (io_status(status), body.close());
                if origin == self.index {
                    self.piece_done(host, status, data);
                } else {
                    self.post.send(origin, Message::PieceDone { host, status, data });
                }
            }
            Action::RequestLease { region } => {
                self.tell_coordinator(now, Input::Mark { shard: self.index, region });
            }
            Action::ReturnLease { region } => self.tell_coordinator(now, Input::Release { region }),
            Action::WriteFailed { region } => {
                self.tell_coordinator(now, Input::WriteFailed { region });
            }
            Action::MemberFailed { slot, cause } => {
                self.tell_coordinator(now, Input::MemberFailed { slot, cause });
            }
            Action::ReadCorrected { slot } => {
                self.tell_coordinator(now, Input::ReadCorrected { slot });
            }
            Action::WorkDone { first, ok, mismatched_rows } => {
                self.tell_coordinator(now, Input::WorkDone { first, ok, mismatched_rows });
            }
            Action::Quiesced => self.note_quiesced(),
        }
    }

    fn event(&mut self, now: Ticks, event: Event) {
        self.core.handle(now.0, event, &mut self.actions);
    }

    /// Gives the core the next piece.
    pub(crate) fn admit(&mut self) {
        let Some(Incoming { origin, host, spec, data }) = self.incoming.pop_front() else { return };
        let strip_bytes = self.core.geometry().strip_bytes();
        let body = PieceBody::open(data, &spec, strip_bytes, self.core.band_bytes());
        let piece = self.core.submit(spec).expect("the core has room: checked by the caller");
        self.pieces.put(piece, PieceSlot { origin, host, body });
    }

    /// All buffers that an operation needs, or none. What a device that was given up has of the scratch
    /// memory may never come back: as long as there is such a device the heap stands in, for as many
    /// buffers as all operations need at most.
    fn acquire(&mut self, op: OpId, roles: RoleSet, len: usize) -> bool {
        for role in roles.iter() {
            let lent = !self.graveyard.is_empty();
            let buffer = self.pool.alloc(len).or_else(|| lent.then(|| IoBufMut::heap(len)));
            let Some(buffer) = buffer else {
                self.buffers.clear(op);
                return false;
            };
            self.buffers.put(op, role, Sgl::One(buffer));
        }
        let stripe_op = self.core.op(op);
        if stripe_op.kind == OpKind::Read {
            let (row, strips) = (stripe_op.row, stripe_op.strips);
            let fragment = self.core.fragments(op).next().expect("a read has a fragment");
            let piece = fragment.piece;
            for strip in strips.iter() {
                let cell = self.pieces.get_mut(piece).body.lend(strip, row);
                self.buffers.put(op, strip, cell);
            }
            self.lent[op as usize] = Some(LentCells { piece, row, strips });
        }
        true
    }

    fn release(&mut self, op: OpId) {
        if let Some(LentCells { piece, row, strips }) = self.lent[op as usize].take() {
            for strip in strips.iter() {
                let cell = self.buffers.take(op, strip).expect("lent cells come back");
                self.pieces.get_mut(piece).body.give_back(strip, row, cell);
            }
        }
        self.buffers.clear(op);
    }

    fn read_member(&mut self, access: Access) {
        let Access { op, role, slot, offset_bytes, len_bytes } = access;
        let into = self.buffers.take(op, role).expect("the core acquired it");
        let token = Purpose::OpRead { op, role }.token();
        let op = IoOp::Read { into };
        let io = BdevIo { token, op, offset_bytes, len_bytes: u64::from(len_bytes) };
        self.submit_to_member(slot, io);
    }

    fn write_member(&mut self, access: Access, fua: bool) {
        let Access { op, role, slot, offset_bytes, len_bytes } = access;
        let stripe_op = self.core.op(op);
        let from_host =
            matches!(stripe_op.kind, OpKind::Write { .. }) && stripe_op.strips.contains(role);
        let from = if from_host { self.host_data(op, role) } else { self.scratch_data(op, role) };
        let token = Purpose::OpWrite { op, role }.token();
        let op = IoOp::Write { from, fua };
        let io = BdevIo { token, op, offset_bytes, len_bytes: u64::from(len_bytes) };
        self.submit_to_member(slot, io);
    }

    fn scratch_data(&mut self, op: OpId, role: u8) -> Sgl<IoBuf> {
        match self.buffers.take(op, role).expect("what is written was computed") {
            Sgl::One(buffer) => Sgl::One(buffer.freeze()),
            Sgl::Many(list) => Sgl::Many(list.into_iter().map(IoBufMut::freeze).collect()),
        }
    }

    /// The host's bytes for one strip of a write, in order of rows.
    fn host_data(&mut self, op: OpId, strip: u8) -> Sgl<IoBuf> {
        let mut list = self.lists.pop().unwrap_or_default();
        let strip_bytes = self.core.geometry().strip_bytes();
        let mut row = self.core.op(op).row;
        let row_end = self.core.op(op).row_end;
        while row < row_end {
            let fragment = self
                .core
                .fragments(op)
                .find(|f| f.row == row && (f.first..=f.last).contains(&strip))
                .expect("fragments cover what is written");
            let len = (fragment.row_end - fragment.row) as usize;
            match &self.pieces.get(fragment.piece).body {
                PieceBody::Write(buffers) => {
                    let spec = self.core.piece(fragment.piece);
                    let start = spec.buffer_offset(strip, row, strip_bytes);
                    segments::slice_into(buffers, start..start + len, &mut list);
                }
                PieceBody::Zeroes => list.push(self.zeroes.slice(0..len)),
                PieceBody::ReadWhole(_) | PieceBody::ReadCells { .. } => {
                    panic!("a write carries a read's piece")
                }
            }
            row = fragment.row_end;
        }
        if list.len() == 1
            && let Some(only) = list.pop()
        {
            self.lists.push(list);
            return Sgl::One(only);
        }
        Sgl::Many(list)
    }

    /// Tells the coordinator, here or on its shard.
    pub(crate) fn tell_coordinator(&mut self, now: Ticks, input: Input) {
        if self.index == COORDINATOR {
            self.coordinate(now, input);
        } else {
            self.post.send(COORDINATOR, Message::Input(input));
        }
    }

    pub(crate) fn on_message(&mut self, now: Ticks, message: Message) {
        match message {
            Message::Piece { origin, host, spec, data } => {
                self.incoming.push_back(Incoming { origin, host, spec, data });
            }
            Message::PieceDone { host, status, data } => self.piece_done(host, status, data),
            Message::Input(input) => self.coordinate(now, input),
            Message::Command(command) => self.on_command(now, command),
        }
    }

    pub(crate) fn on_command(&mut self, now: Ticks, command: Command) {
        match command {
            Command::Event(event) => self.event(now, event),
            Command::StartWork(work) => self.core.start_work(work, &mut self.actions),
            Command::AbortWork => self.core.abort_work(&mut self.actions),
            Command::Quiesce => self.quiesce(),
            Command::Resume { map, stale, writes } => self.resume(now, &map, stale, writes),
            Command::AllowWrites => {
                self.core.allow_writes(now.0, &mut self.actions);
                self.retry_flushes();
            }
            Command::Abandon { slot, status } => self.abandon(now, slot, status),
        }
    }
}
