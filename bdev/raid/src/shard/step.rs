//! The steps of a stripe operation, from its start to its end.
//!
//! Not here: the picture of the phases (`op`), what is queued (`shard`).

use super::op::{NONE, OpKind, Phase, Plan};
use super::{Gate, Shard};
use crate::event::{Access, Action, Actions, Mismatch, OpId, PieceStatus};
use crate::lease::Acquire;
use crate::plan::{self, Parities, ROLE_P, ROLE_Q, Recipe, StripeState, Unplannable};
use crate::units::{RoleSet, Slot};

impl Shard {
    /// Starts a queued operation unless something in its stripe is before it. An index that is stale,
    /// because its operation was merged or started meanwhile, is passed over.
    pub(super) fn try_start(&mut self, id: OpId, now_ns: u64, out: &mut Actions) {
        if self.ops.get(id).is_none_or(|op| op.phase != Phase::Queued) {
            return;
        }
        self.merge_into(id);
        if self.table.is_blocked(&self.ops, id) {
            self.counters.conflicts += 1;
            return;
        }
        self.active += 1;
        match self.ops[id].kind {
            OpKind::Read => self.plan(id, now_ns, out),
            OpKind::Write { .. } | OpKind::Sync => self.lease(id, now_ns, out),
        }
    }

    /// Before a member is written, the region's bit must be durable (**R1**).
    fn lease(&mut self, id: OpId, now_ns: u64, out: &mut Actions) {
        let region = self.regions.of(self.ops[id].stripe);
        let evicted = |region| out.push_back(Action::ReturnLease { region });
        match self.leases.acquire(region, evicted) {
            Acquire::Held => self.plan(id, now_ns, out),
            answer @ (Acquire::Request | Acquire::Wait) => {
                if answer == Acquire::Request {
                    out.push_back(Action::RequestLease { region });
                }
                self.ops[id].phase = Phase::Marking;
                self.marking.push_back(id);
            }
            Acquire::Full => self.starve(id, false),
        }
    }

    pub(super) fn lease_granted(&mut self, now_ns: u64, region: u64, out: &mut Actions) {
        self.leases.granted(region, now_ns);
        for _ in 0..self.marking.len() {
            let Some(id) = self.marking.pop_front() else { break };
            if self.regions.of(self.ops[id].stripe) == region {
                self.lease(id, now_ns, out);
            } else {
                self.marking.push_back(id);
            }
        }
    }

    /// Decides what to do, and asks for the buffers that it takes.
    fn plan(&mut self, id: OpId, now_ns: u64, out: &mut Actions) {
        if !self.starved.is_empty() && self.starved.front() != Some(&id) {
            // Whoever waits for memory already comes first, or a large operation would never run.
            let leased = self.ops[id].kind != OpKind::Read;
            self.starve(id, leased);
            return;
        }
        match self.decide(id) {
            Ok(plan) => {
                self.ops[id].phase = Phase::Acquiring(plan);
                let roles = self.scratch_roles(id, &plan);
                let len_bytes = self.ops[id].len_bytes();
                out.push_back(Action::Acquire { op: id, roles, len_bytes });
            }
            Err(_) => self.end(id, false, now_ns, out),
        }
    }

    fn decide(&self, id: OpId) -> Result<Plan, Unplannable> {
        let op = &self.ops[id];
        let absent = if self.map.is_optimal() {
            RoleSet::empty()
        } else {
            self.map.missing_roles(&self.geometry, op.rotation)
        };
        let state = StripeState {
            data_strips: u8::try_from(self.geometry.data_strips()).expect("at most 254"),
            parities: self.parities,
            unreadable: absent.union(op.unreadable),
            absent,
            in_sync: self.is_in_sync(op.stripe),
        };
        let nothing = RoleSet::empty();
        match op.kind {
            OpKind::Read => {
                let read = plan::read(&state, op.strips)?;
                Ok(Plan { kind: None, reads: read.reads, recipe: read.recipe, writes: nothing })
            }
            OpKind::Write { .. } => {
                let write = plan::write(&state, op.strips)?;
                Ok(Plan {
                    kind: Some(write.kind),
                    reads: write.reads,
                    recipe: write.recipe,
                    writes: write.writes,
                })
            }
            OpKind::Sync => {
                let check = plan::check(&state)?;
                Ok(Plan { kind: None, reads: check.reads, recipe: check.recipe, writes: nothing })
            }
        }
    }

    /// The roles that need a buffer of ours: what is read or computed and is not the host's.
    fn scratch_roles(&self, id: OpId, plan: &Plan) -> RoleSet {
        let computed = match plan.recipe {
            Recipe::None | Recipe::Check(_) => RoleSet::empty(),
            Recipe::Delta(parities) | Recipe::Generate(parities) => parities.roles(),
            Recipe::Recover(recovery) => recovery.outputs(),
            Recipe::RecoverThenGenerate(recovery, parities) => {
                recovery.outputs().union(parities.roles())
            }
        };
        let all = plan.reads.union(computed);
        match self.ops[id].kind {
            OpKind::Read => all.difference(self.ops[id].strips),
            OpKind::Write { .. } | OpKind::Sync => all,
        }
    }

    pub(super) fn acquired(&mut self, now_ns: u64, id: OpId, ok: bool, out: &mut Actions) {
        let Phase::Acquiring(plan) = self.ops[id].phase else {
            panic!("operation {id} got buffers in phase {:?}", self.ops[id].phase);
        };
        if !ok {
            let leased = self.ops[id].kind != OpKind::Read;
            self.starve(id, leased);
            return;
        }
        let was_starved = self.starved.front() == Some(&id);
        if was_starved {
            self.starved.pop_front();
        }
        let pending = u32::try_from(plan.reads.len()).expect("at most 256");
        let failed = RoleSet::empty();
        self.ops[id].phase = Phase::Reading { plan, pending, failed };
        if pending == 0 {
            self.compute(id, plan, out);
        }
        for role in plan.reads.iter() {
            out.push_back(Action::Read(self.access(id, role)));
        }
        if was_starved {
            self.feed(now_ns, out);
        }
    }

    pub(super) fn read_done(
        &mut self,
        now_ns: u64,
        id: OpId,
        role: u8,
        ok: bool,
        out: &mut Actions,
    ) {
        let Phase::Reading { plan, pending, failed } = &mut self.ops[id].phase else {
            panic!("operation {id} got data in phase {:?}", self.ops[id].phase);
        };
        *pending -= 1;
        if !ok {
            failed.insert(role);
        }
        if *pending > 0 {
            return;
        }
        let (plan, failed) = (*plan, *failed);
        if failed.is_empty() {
            self.compute(id, plan, out);
        } else {
            // What cannot be read is lost for this operation; the rest may stand for it.
            self.counters.replans += 1;
            self.ops[id].unreadable = self.ops[id].unreadable.union(failed);
            out.push_back(Action::Release { op: id });
            self.plan(id, now_ns, out);
            self.feed(now_ns, out);
        }
    }

    fn compute(&mut self, id: OpId, plan: Plan, out: &mut Actions) {
        if let Some(kind) = plan.kind {
            self.counters.writes[kind as usize] += 1;
        } else if matches!(plan.recipe, Recipe::Recover(_)) {
            self.counters.degraded_reads += 1;
        }
        self.ops[id].phase = Phase::Computing(plan);
        out.push_back(Action::Compute { op: id, recipe: plan.recipe });
    }

    pub(super) fn computed(
        &mut self,
        now_ns: u64,
        id: OpId,
        mismatch: Mismatch,
        out: &mut Actions,
    ) {
        let Phase::Computing(plan) = self.ops[id].phase else {
            panic!("operation {id} was computed in phase {:?}", self.ops[id].phase);
        };
        let (writes, fua) = match self.ops[id].kind {
            OpKind::Read => (RoleSet::empty(), false),
            OpKind::Write { fua } => (plan.writes, fua),
            OpKind::Sync => {
                self.note_mismatch(mismatch);
                (Parities { p: mismatch.p, q: mismatch.q }.roles(), false)
            }
        };
        if writes.is_empty() {
            self.end(id, true, now_ns, out);
            return;
        }
        let pending = u32::try_from(writes.len()).expect("at most 256");
        self.ops[id].phase = Phase::Writing { pending, failed: false };
        for role in writes.iter() {
            out.push_back(Action::Write { access: self.access(id, role), fua });
        }
    }

    pub(super) fn write_done(&mut self, now_ns: u64, id: OpId, ok: bool, out: &mut Actions) {
        let Phase::Writing { pending, failed } = &mut self.ops[id].phase else {
            panic!("operation {id} was written in phase {:?}", self.ops[id].phase);
        };
        *pending -= 1;
        *failed |= !ok;
        if *pending == 0 {
            let failed = *failed;
            if failed {
                let region = self.regions.of(self.ops[id].stripe);
                self.in_sync.set(region, false);
                out.push_back(Action::WriteFailed { region });
            }
            self.end(id, !failed, now_ns, out);
        }
    }

    /// Ends an operation: its buffers go back, its pieces are answered, and what waited for its rows,
    /// its memory or its place in the tables goes on.
    fn end(&mut self, id: OpId, ok: bool, now_ns: u64, out: &mut Actions) {
        if self.starved.front() == Some(&id) {
            self.starved.pop_front();
        }
        out.push_back(Action::Release { op: id });
        self.table.unlink(&mut self.ops, id);
        let op = self.ops.remove(id);
        self.active -= 1;
        if op.kind != OpKind::Read {
            self.leases.release(self.regions.of(op.stripe), now_ns);
        }
        self.end_fragments(op.fragments, ok, out);
        if op.kind == OpKind::Sync {
            self.sync_op_ended(ok);
        }
        if self.gate == Gate::Open {
            self.wake(&op, now_ns, out);
        }
        self.feed(now_ns, out);
        self.cut();
        self.continue_sync(out);
        self.check_quiesced(out);
    }

    fn end_fragments(&mut self, first: u32, ok: bool, out: &mut Actions) {
        let mut at = first;
        while at != NONE {
            let fragment = self.fragments.remove(at);
            at = fragment.next;
            let piece = &mut self.pieces[fragment.piece];
            piece.pending -= 1;
            if !ok {
                piece.status = PieceStatus::Failed;
            }
            if piece.pending == 0 && piece.next_row == self.geometry.strip_bytes() {
                let status = piece.status;
                self.pieces.remove(fragment.piece);
                out.push_back(Action::Complete { piece: fragment.piece, status });
            }
        }
    }

    /// Starts what waited for the rows of `ended`.
    fn wake(&mut self, ended: &super::op::StripeOp, now_ns: u64, out: &mut Actions) {
        // The list changes under us (merging takes operations out), so every start begins it anew;
        // what cannot start stays queued and is not tried twice.
        let mut passed = 0;
        loop {
            let next = self
                .table
                .bucket(&self.ops, ended.stripe)
                .filter(|(_, op)| op.stripe == ended.stripe && op.phase == Phase::Queued)
                .nth(passed)
                .map(|(id, _)| id);
            let Some(id) = next else { break };
            self.try_start(id, now_ns, out);
            if self.ops.get(id).is_some_and(|op| op.phase == Phase::Queued) {
                passed += 1;
            }
        }
    }

    /// Gives the first starved operation another try.
    fn feed(&mut self, now_ns: u64, out: &mut Actions) {
        let Some(&id) = self.starved.front() else { return };
        let Phase::Starved { leased } = self.ops[id].phase else { return };
        if leased || self.ops[id].kind == OpKind::Read {
            self.plan(id, now_ns, out);
        } else {
            self.starved.pop_front();
            self.lease(id, now_ns, out);
        }
    }

    fn starve(&mut self, id: OpId, leased: bool) {
        self.ops[id].phase = Phase::Starved { leased };
        if self.starved.front() != Some(&id) {
            self.counters.starvations += 1;
            self.starved.push_back(id);
        }
    }

    fn access(&self, id: OpId, role: u8) -> Access {
        let op = &self.ops[id];
        let slot = match role {
            ROLE_P => self.geometry.p_slot(op.rotation),
            ROLE_Q => self.geometry.q_slot(op.rotation).expect("Q is planned where there is one"),
            strip => self.geometry.data_slot(op.rotation, strip),
        };
        Access {
            op: id,
            role,
            slot: Slot(slot.0),
            offset_bytes: self.geometry.member_byte(slot, op.stripe, op.row),
            len_bytes: op.len_bytes(),
        }
    }
}
