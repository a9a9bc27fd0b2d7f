//! The steps of a stripe operation, from its start to its end.
//!
//! Not here: the picture of the phases (`op`), what is queued (`shard`), deciding (`shard::decide`).

use super::op::{NONE, OpKind, Phase, Plan};
use super::{Gate, Shard, Writes};
use crate::event::{Access, Action, Actions, FailCause, Mismatch, OpId, PieceStatus, WorkKind};
use crate::lease::Acquire;
use crate::limits::READ_ERRORS_MAX;
use crate::plan::{Parities, ROLE_P, ROLE_Q, Recipe, Trust};
use crate::units::{RoleSet, Slot, SlotSet, StripeId};
use std::num::NonZeroU64;

impl Shard {
    /// Starts a queued operation unless something in its stripe is before it. An index that is stale,
    /// because its operation was merged or started meanwhile, is passed over.
    pub(super) fn try_start(&mut self, id: OpId, now_ns: u64, out: &mut Actions) {
        if self.ops.get(id).is_none_or(|op| op.phase != Phase::Queued) || !self.may_start(id) {
            return;
        }
        self.merge_into(id);
        if self.table.is_blocked(&self.ops, id) {
            if self.ops[id].blocked_since_ns.is_none() {
                self.counters.conflicts += 1;
                self.ops[id].blocked_since_ns = NonZeroU64::new(now_ns);
            }
            return;
        }
        if let Some(since_ns) = self.ops[id].blocked_since_ns.take() {
            self.counters.conflict_wait_ns += now_ns.saturating_sub(since_ns.get());
        }
        self.active += 1;
        if self.ops[id].needs_lease() {
            self.lease(id, now_ns, out);
        } else {
            self.plan(id, now_ns, out);
        }
    }

    /// Whether an operation of its kind may start at all now.
    fn may_start(&self, id: OpId) -> bool {
        let writes = matches!(self.ops[id].kind, OpKind::Write { .. } | OpKind::Mend);
        self.gate == Gate::Open && !(writes && self.writes == Writes::Held)
    }

    fn set_phase(&mut self, id: OpId, phase: Phase) {
        let was = self.ops[id].phase.is_in_flight();
        let is = phase.is_in_flight();
        self.ops[id].phase = phase;
        self.in_flight = self.in_flight + usize::from(is) - usize::from(was);
    }

    /// Before a member is written, the region's bit must be durable (**R1**). An array that is broken writes
    /// nothing, and nobody may ever grant what it asks for.
    fn lease(&mut self, id: OpId, now_ns: u64, out: &mut Actions) {
        if self.is_broken() {
            return self.end(id, false, now_ns, out);
        }
        let region = self.regions.of(self.ops[id].stripe);
        let evicted = |region| out.push_back(Action::ReturnLease { region });
        match self.leases.acquire(region, evicted) {
            Acquire::Held => {
                self.ops[id].leased = true;
                self.plan(id, now_ns, out);
            }
            answer @ (Acquire::Request | Acquire::Wait) => {
                if answer == Acquire::Request {
                    out.push_back(Action::RequestLease { region });
                }
                self.counters.lease_waits += 1;
                self.set_phase(id, Phase::Marking);
                self.marking.push_back(id);
            }
        }
    }

    pub(super) fn lease_granted(&mut self, now_ns: u64, region: u64, out: &mut Actions) {
        self.leases.granted(region, now_ns);
        for _ in 0..self.marking.len() {
            let Some(id) = self.marking.pop_front() else { break };
            if self.regions.of(self.ops[id].stripe) != region {
                self.marking.push_back(id);
            } else if self.may_start(id) {
                self.lease(id, now_ns, out);
            } else {
                // It starts anew when it may.
                self.set_phase(id, Phase::Queued);
                self.active -= 1;
            }
        }
        self.check_quiesced(out);
    }

    /// Nothing is written any more, so that nobody may ever grant what these operations wait for.
    pub(super) fn fail_marking(&mut self, now_ns: u64, out: &mut Actions) {
        while let Some(id) = self.marking.pop_front() {
            self.end(id, false, now_ns, out);
        }
    }

    /// Decides what to do, and asks for the buffers that it takes.
    fn plan(&mut self, id: OpId, now_ns: u64, out: &mut Actions) {
        if !self.starved.is_empty() && self.starved.front() != Some(&id) {
            // Whoever waits for memory already comes first, or a large operation would never run.
            self.starve(id);
            return;
        }
        self.forget_absent_targets(id);
        match self.decide(id) {
            Ok(Some(plan)) => {
                self.set_phase(id, Phase::Acquiring(plan));
                let roles = self.scratch_roles(id, &plan);
                let len_bytes = self.ops[id].len_bytes();
                out.push_back(Action::Acquire { op: id, roles, len_bytes });
            }
            Ok(None) => self.end(id, true, now_ns, out),
            Err(_) => self.end(id, false, now_ns, out),
        }
    }

    /// What was to be written back to a member that is gone since need not be any more.
    fn forget_absent_targets(&mut self, id: OpId) {
        if !self.ops[id].targets.is_empty() {
            let absent = self.roles(&self.ops[id], self.map.missing());
            self.ops[id].targets = self.ops[id].targets.difference(absent);
        }
    }

    /// The roles that need a buffer of ours: what is read or computed and is not the host's.
    fn scratch_roles(&self, id: OpId, plan: &Plan) -> RoleSet {
        let computed = match plan.recipe {
            Recipe::None | Recipe::Check(_) => RoleSet::empty(),
            Recipe::Delta(parities) | Recipe::Generate(parities) => parities.roles(),
            Recipe::Recover(recovery) => recovery.outputs(),
            Recipe::RecoverThenCheck(recovery, _) => recovery.outputs(),
            Recipe::RecoverThenGenerate(recovery, parities) => {
                recovery.outputs().union(parities.roles())
            }
        };
        let all = plan.reads.union(computed);
        match self.ops[id].kind {
            OpKind::Read => all.difference(self.ops[id].strips),
            OpKind::Write { .. } | OpKind::Work(_) | OpKind::Mend => all,
        }
    }

    pub(super) fn acquired(&mut self, now_ns: u64, id: OpId, ok: bool, out: &mut Actions) {
        let plan = match self.ops[id].phase {
            Phase::Acquiring(plan) => plan,
            Phase::VerifyAcquiring => return self.verify(now_ns, id, ok, out),
            phase => panic!("operation {id} got buffers in phase {phase:?}"),
        };
        if !ok {
            self.starve(id);
            return;
        }
        let was_starved = self.starved.front() == Some(&id);
        if was_starved {
            self.starved.pop_front();
        }
        let pending = u32::try_from(plan.reads.len()).expect("at most 256");
        let failed = RoleSet::empty();
        self.set_phase(id, Phase::Reading { plan, pending, failed });
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
        self.count_read(id, role, ok, out);
        match &mut self.ops[id].phase {
            Phase::Reading { plan, pending, failed } => {
                *pending -= 1;
                if !ok {
                    failed.insert(role);
                }
                if *pending == 0 {
                    let (plan, failed) = (*plan, *failed);
                    self.all_read(now_ns, id, plan, failed, out);
                }
            }
            Phase::Verifying { pending, failed } => {
                *pending -= 1;
                if !ok {
                    failed.insert(role);
                }
                if *pending == 0 {
                    let failed = *failed;
                    self.all_verified(now_ns, id, failed, out);
                }
            }
            phase => panic!("operation {id} got data in phase {phase:?}"),
        }
    }

    /// A member that fails one read after the other is of no use, even if each can be mended.
    fn count_read(&mut self, id: OpId, role: u8, ok: bool, out: &mut Actions) {
        let slot = self.slot_of(id, role);
        let in_a_row = &mut self.read_errors[slot.index()];
        if ok {
            *in_a_row = 0;
            return;
        }
        *in_a_row += 1;
        if *in_a_row > READ_ERRORS_MAX {
            *in_a_row = 0;
            out.push_back(Action::MemberFailed { slot, cause: FailCause::Read });
        }
    }

    fn all_read(&mut self, now_ns: u64, id: OpId, plan: Plan, failed: RoleSet, out: &mut Actions) {
        if failed.is_empty() {
            return self.compute(id, plan, out);
        }
        // What cannot be read is lost for this operation; the rest may stand for it.
        self.counters.replans += 1;
        let in_sync = self.is_in_sync(self.ops[id].stripe);
        let op = &mut self.ops[id];
        op.unreadable = op.unreadable.union(failed);
        out.push_back(Action::Release { op: id });
        match op.kind {
            OpKind::Read => self.queue_mend(id, failed),
            OpKind::Write { .. } => {
                let rest = failed.difference(plan.writes);
                if !rest.is_empty() {
                    self.queue_mend(id, rest);
                }
            }
            // Only what nobody has yet is computed by parity that is not in sync (R10).
            OpKind::Work(WorkKind::Rebuild) if !in_sync => {}
            OpKind::Work(_) | OpKind::Mend => op.targets = op.targets.union(failed),
        }
        if self.ops[id].needs_lease() && !self.ops[id].leased {
            self.lease(id, now_ns, out);
        } else {
            self.plan(id, now_ns, out);
        }
        self.feed(now_ns, out);
        self.check_quiesced(out);
    }

    fn compute(&mut self, id: OpId, plan: Plan, out: &mut Actions) {
        if let Some(kind) = plan.kind {
            self.counters.writes[kind as usize] += 1;
        } else if self.ops[id].kind == OpKind::Read && matches!(plan.recipe, Recipe::Recover(_)) {
            self.counters.degraded_reads += 1;
        }
        self.set_phase(id, Phase::Computing(plan));
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
        let wrong = Parities { p: mismatch.p, q: mismatch.q }.roles();
        let (writes, fua) = match self.ops[id].kind {
            OpKind::Read => (RoleSet::empty(), false),
            OpKind::Write { fua } => (plan.writes, fua),
            OpKind::Work(kind) => {
                self.note_mismatch(self.ops[id].stripe, mismatch);
                (
                    if kind == WorkKind::Check { plan.writes } else { plan.writes.union(wrong) },
                    false,
                )
            }
            OpKind::Mend => (plan.writes, false),
        };
        if writes.is_empty() {
            self.end(id, true, now_ns, out);
            return;
        }
        let pending = u32::try_from(writes.len()).expect("at most 256");
        self.set_phase(id, Phase::Writing { pending, failed: RoleSet::empty() });
        for role in writes.iter() {
            out.push_back(Action::Write { access: self.access(id, role), fua });
        }
    }

    pub(super) fn write_done(
        &mut self,
        now_ns: u64,
        id: OpId,
        role: u8,
        ok: bool,
        out: &mut Actions,
    ) {
        let Phase::Writing { pending, failed } = &mut self.ops[id].phase else {
            panic!("operation {id} was written in phase {:?}", self.ops[id].phase);
        };
        *pending -= 1;
        if !ok {
            failed.insert(role);
        }
        if *pending > 0 {
            return;
        }
        let failed = *failed;
        if !failed.is_empty() {
            self.write_failed(now_ns, id, failed, out);
        } else if self.ops[id].targets.is_empty() {
            self.end(id, true, now_ns, out);
        } else {
            // What was rewritten because it could not be read is read back.
            let (roles, len_bytes) = (self.ops[id].targets, self.ops[id].len_bytes());
            self.set_phase(id, Phase::VerifyAcquiring);
            out.push_back(Action::Release { op: id });
            out.push_back(Action::Acquire { op: id, roles, len_bytes });
        }
    }

    /// Members failed their part of a write: they are out, and a host write waits until that is durable.
    fn write_failed(&mut self, now_ns: u64, id: OpId, failed: RoleSet, out: &mut Actions) {
        let slots: SlotSet = failed.iter().map(|role| self.slot_of(id, role)).collect();
        for slot in slots.iter() {
            out.push_back(Action::MemberFailed { slot, cause: FailCause::Write });
        }
        if matches!(self.ops[id].kind, OpKind::Write { .. }) {
            let generation = self.map.generation();
            self.set_phase(id, Phase::Faulting { generation, failed });
            out.push_back(Action::Release { op: id });
            self.feed(now_ns, out);
            self.check_quiesced(out);
        } else {
            self.end(id, false, now_ns, out);
        }
    }

    /// Answers a write whose members' failure has been dealt with.
    pub(super) fn end_faulted(&mut self, id: OpId, now_ns: u64, out: &mut Actions) {
        let Some(Phase::Faulting { generation, failed }) = self.ops.get(id).map(|op| op.phase)
        else {
            return;
        };
        if self.map.generation() == generation {
            return;
        }
        if self.is_broken() {
            // Some members have the new contents and some have not.
            let region = self.regions.of(self.ops[id].stripe);
            self.in_sync.set(region, false);
            self.vouched = SlotSet::empty();
            out.push_back(Action::WriteFailed { region });
            self.end(id, false, now_ns, out);
        } else if self.writes == Writes::Allowed {
            let readable = self.is_readable_back(id, failed);
            self.end(id, readable, now_ns, out);
        }
    }

    /// Whether all that an operation has written can be read: where parity is worth nothing, what a member has
    /// failed to write is nowhere, whoever has its slot now.
    fn is_readable_back(&self, id: OpId, failed: RoleSet) -> bool {
        let op = &self.ops[id];
        let lost = failed.union(self.roles(op, self.map.missing()));
        self.trust(op, lost) != Trust::Unknown || op.strips.is_disjoint_from(lost)
    }

    /// Reads back what was rewritten. Without memory it is left out: whoever reads there next will see.
    fn verify(&mut self, now_ns: u64, id: OpId, ok: bool, out: &mut Actions) {
        let roles = self.ops[id].targets;
        if !ok {
            return self.end(id, true, now_ns, out);
        }
        let pending = u32::try_from(roles.len()).expect("at most 256");
        self.set_phase(id, Phase::Verifying { pending, failed: RoleSet::empty() });
        for role in roles.iter() {
            out.push_back(Action::Read(self.access(id, role)));
        }
    }

    fn all_verified(&mut self, now_ns: u64, id: OpId, failed: RoleSet, out: &mut Actions) {
        let corrected = self.ops[id].targets.difference(failed);
        self.counters.mends += corrected.len() as u64;
        for role in corrected.iter() {
            let slot = self.slot_of(id, role);
            out.push_back(Action::ReadCorrected { slot });
        }
        for role in failed.iter() {
            let slot = self.slot_of(id, role);
            out.push_back(Action::MemberFailed { slot, cause: FailCause::Read });
        }
        self.end(id, failed.is_empty(), now_ns, out);
    }

    /// Ends an operation: its buffers go back, its pieces are answered, and what waited for its rows,
    /// its memory or its place in the tables goes on.
    fn end(&mut self, id: OpId, ok: bool, now_ns: u64, out: &mut Actions) {
        if self.starved.front() == Some(&id) {
            self.starved.pop_front();
        }
        out.push_back(Action::Release { op: id });
        self.set_phase(id, Phase::Queued);
        self.table.unlink(&mut self.ops, id);
        let op = self.ops.remove(id);
        self.active -= 1;
        if matches!(op.kind, OpKind::Read | OpKind::Write { .. }) {
            self.host_ops -= 1;
        }
        if op.leased {
            self.leases.release(self.regions.of(op.stripe), now_ns);
        }
        self.end_fragments(op.fragments, ok, out);
        if matches!(op.kind, OpKind::Work(_)) {
            self.work_op_ended(op.stripe, ok);
        }
        if self.gate == Gate::Open {
            self.wake(op.stripe, now_ns, out);
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

    /// Starts what may start in a stripe, oldest first.
    pub(super) fn wake(&mut self, stripe: StripeId, now_ns: u64, out: &mut Actions) {
        // The list changes under us (merging takes operations out), so every start begins it anew;
        // what cannot start stays queued and is not tried twice.
        let mut passed = 0;
        loop {
            let next = self
                .table
                .bucket(&self.ops, stripe)
                .filter(|(_, op)| op.stripe == stripe && op.phase == Phase::Queued)
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
    pub(super) fn feed(&mut self, now_ns: u64, out: &mut Actions) {
        let Some(&id) = self.starved.front() else { return };
        if self.ops[id].phase == Phase::Starved {
            self.plan(id, now_ns, out);
        }
    }

    fn starve(&mut self, id: OpId) {
        self.set_phase(id, Phase::Starved);
        if self.starved.front() != Some(&id) {
            self.counters.starvations += 1;
            self.starved.push_back(id);
        }
    }

    /// The member that holds a role of an operation's stripe.
    #[must_use]
    pub fn slot_of(&self, id: OpId, role: u8) -> Slot {
        let rotation = self.ops[id].rotation;
        match role {
            ROLE_P => self.geometry.p_slot(rotation),
            ROLE_Q => self.geometry.q_slot(rotation).expect("Q is planned where there is one"),
            strip => self.geometry.data_slot(rotation, strip),
        }
    }

    fn access(&self, id: OpId, role: u8) -> Access {
        let op = &self.ops[id];
        let slot = self.slot_of(id, role);
        Access {
            op: id,
            role,
            slot,
            offset_bytes: self.geometry.member_byte(slot, op.stripe, op.row),
            len_bytes: op.len_bytes(),
        }
    }
}
