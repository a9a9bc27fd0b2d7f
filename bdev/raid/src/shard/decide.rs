//! What an operation has to read, compute and write, with the members as they are now.
//!
//! Not here: the planner's rules (`plan`), carrying a plan out (`shard::step`).

use super::Shard;
use super::op::{OpKind, Plan, StripeOp};
use crate::event::{OpId, WorkKind};
use crate::member::MemberMap;
use crate::plan::{self, StripeState, Trust, Unplannable};
use crate::units::{RoleSet, SlotSet};

impl Shard {
    /// The plan of an operation; `None` when there is nothing to do.
    pub(super) fn decide(&self, id: OpId) -> Result<Option<Plan>, Unplannable> {
        let op = &self.ops[id];
        let rebuilding = self.roles(op, self.map.rebuilding());
        let state = self.state(op, rebuilding);
        let nothing = RoleSet::empty();
        let compute = |read: plan::ReadPlan, writes| {
            Ok(Some(Plan { kind: None, reads: read.reads, recipe: read.recipe, writes }))
        };
        let targets = op.targets;
        // Nothing is put right on a member that has it, by parity that is not in sync (R10).
        let strict = match state.trust {
            Trust::Right => state,
            Trust::WhereWritten | Trust::Unknown => StripeState { trust: Trust::Unknown, ..state },
        };
        match op.kind {
            OpKind::Read => compute(plan::read(&state, op.strips)?, nothing),
            OpKind::Write { .. } if self.is_broken() => Err(Unplannable::TooManyLost),
            OpKind::Write { .. } => {
                let write = plan::write(&state, op.strips)?;
                Ok(Some(Plan {
                    kind: Some(write.kind),
                    reads: write.reads,
                    recipe: write.recipe,
                    writes: write.writes,
                }))
            }
            OpKind::Work(WorkKind::Rebuild) => {
                let stale = self.stale.get(self.regions.of(op.stripe));
                let targets = if stale { targets.union(rebuilding) } else { targets };
                if targets.is_empty() {
                    return Ok(None);
                }
                compute(plan::reconstruct(&state, targets)?, targets)
            }
            OpKind::Mend if targets.is_empty() => Ok(None),
            OpKind::Mend => compute(plan::reconstruct(&strict, targets)?, targets),
            OpKind::Work(WorkKind::Resync | WorkKind::Repair | WorkKind::Check)
                if !targets.is_empty() =>
            {
                // Where parity is not trusted anyway, all of it is made afresh.
                let targets = if state.trust == Trust::Right {
                    targets
                } else {
                    targets.union(self.parities.roles()).difference(state.absent)
                };
                let unreadable = state.unreadable.union(targets);
                let strict = StripeState { unreadable, ..strict };
                compute(plan::reconstruct(&strict, targets)?, targets)
            }
            OpKind::Work(kind @ (WorkKind::Resync | WorkKind::Repair | WorkKind::Check)) => {
                match plan::check(&state) {
                    Ok(check) => compute(check, nothing),
                    // There is nothing to compare, and nothing that would be wrong.
                    Err(_) if kind == WorkKind::Check => Ok(None),
                    Err(_) if kind == WorkKind::Repair && state.trust == Trust::Right => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    }

    fn state(&self, op: &StripeOp, rebuilding: RoleSet) -> StripeState {
        let absent = self.roles(op, self.map.missing());
        let stale = !rebuilding.is_empty() && self.stale.get(self.regions.of(op.stripe));
        let unread = if stale { rebuilding } else { RoleSet::empty() };
        let unreadable = absent.union(op.unreadable).union(unread);
        StripeState {
            data_strips: u8::try_from(self.geometry.data_strips()).expect("at most 254"),
            parities: self.parities,
            unreadable,
            absent,
            stale: unread,
            trust: self.trust(op, unreadable),
        }
    }

    pub(super) fn roles(&self, op: &StripeOp, slots: SlotSet) -> RoleSet {
        if slots.is_empty() {
            return RoleSet::empty();
        }
        MemberMap::roles_of(slots, &self.geometry, op.rotation)
    }
}
