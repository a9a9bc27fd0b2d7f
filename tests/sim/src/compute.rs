//! What a recipe asks for, over the buffers of an operation.
//!
//! Not here: the arithmetic itself (`math`).

use crate::math::{add_scaled, inverse, power, scaled};
use crate::plant::Plant;
use crate::world::World;
use raid::event::{Mismatch, OpId};
use raid::plan::{Parities, ROLE_P, ROLE_Q, Recipe, Recovery};
use raid::units::{RoleSet, StripeId};

impl World {
    /// What a strip counts in a parity.
    #[must_use]
    pub fn factor(&self, stripe: StripeId, parity: u8, strip: u8) -> u8 {
        let rotation = self.geometry.rotation(stripe);
        if parity == ROLE_P { 1 } else { power(self.geometry.q_exponent(rotation, strip)) }
    }

    /// Data strips of a stripe.
    #[must_use]
    pub fn strips(&self) -> u8 {
        u8::try_from(self.geometry.data_strips()).expect("at most 254")
    }

    /// Carries a recipe out.
    pub fn compute(&mut self, shard: usize, op: OpId, recipe: Recipe) -> Mismatch {
        match recipe {
            Recipe::None => {}
            Recipe::Delta(parities) => self.delta(shard, op, parities),
            Recipe::Generate(parities) => self.generate(shard, op, parities),
            Recipe::Recover(recovery) => self.recover(shard, op, recovery),
            Recipe::RecoverThenGenerate(recovery, parities) => {
                self.recover(shard, op, recovery);
                self.generate(shard, op, parities);
            }
            Recipe::Check(parities) => return self.check(shard, op, parities),
            Recipe::RecoverThenCheck(recovery, parities) => {
                self.recover(shard, op, recovery);
                return self.check(shard, op, parities);
            }
        }
        Mismatch::default()
    }

    fn stripe_of(&self, shard: usize, op: OpId) -> StripeId {
        self.life.reactors[shard].core.op(op).stripe
    }

    fn delta(&mut self, shard: usize, op: OpId, parities: Parities) {
        let stripe = self.stripe_of(shard, op);
        let written = self.life.reactors[shard].core.op(op).strips;
        for role in parities.roles().iter() {
            let mut sum = self.old(shard, op, role);
            for strip in written.iter() {
                let factor = self.factor(stripe, role, strip);
                add_scaled(&mut sum, &self.old(shard, op, strip), factor);
                add_scaled(&mut sum, &self.contents(shard, op, strip), factor);
            }
            self.store(shard, op, role, sum);
        }
    }

    fn generate(&mut self, shard: usize, op: OpId, parities: Parities) {
        let stripe = self.stripe_of(shard, op);
        let len = self.life.reactors[shard].core.op(op).len_bytes() as usize;
        for role in parities.roles().iter() {
            let mut sum = vec![0; len];
            for strip in 0..self.strips() {
                let factor = self.factor(stripe, role, strip);
                add_scaled(&mut sum, &self.contents(shard, op, strip), factor);
            }
            self.store(shard, op, role, sum);
        }
    }

    fn recover(&mut self, shard: usize, op: OpId, recovery: Recovery) {
        let stripe = self.stripe_of(shard, op);
        let lost = recovery.outputs();
        let found = self.recovered(stripe, recovery, |world, role| {
            assert!(!lost.contains(role), "what is lost is no source");
            world.old(shard, op, role)
        });
        for (strip, data) in found {
            self.store(shard, op, strip, data);
        }
    }

    /// Lost strips from what is left.
    pub fn recovered(
        &self,
        stripe: StripeId,
        recovery: Recovery,
        old: impl Fn(&Self, u8) -> Vec<u8>,
    ) -> Vec<(u8, Vec<u8>)> {
        let lost: RoleSet = recovery.outputs();
        let syndrome = |role: u8| {
            let mut sum = old(self, role);
            for strip in (0..self.strips()).filter(|&strip| !lost.contains(strip)) {
                add_scaled(&mut sum, &old(self, strip), self.factor(stripe, role, strip));
            }
            sum
        };
        match recovery {
            Recovery::FromP(x) => vec![(x, syndrome(ROLE_P))],
            Recovery::FromQ(x) => {
                let factor = inverse(self.factor(stripe, ROLE_Q, x));
                vec![(x, scaled(&syndrome(ROLE_Q), factor))]
            }
            Recovery::Two(x, y) => {
                let (gx, gy) = (self.factor(stripe, ROLE_Q, x), self.factor(stripe, ROLE_Q, y));
                let (mut dx, mut right) = (syndrome(ROLE_P), syndrome(ROLE_Q));
                add_scaled(&mut right, &dx, gx);
                let dy = scaled(&right, inverse(gx ^ gy));
                add_scaled(&mut dx, &dy, 1);
                vec![(x, dx), (y, dy)]
            }
        }
    }

    fn check(&mut self, shard: usize, op: OpId, parities: Parities) -> Mismatch {
        let stripe = self.stripe_of(shard, op);
        let mut mismatch = Mismatch::default();
        for role in parities.roles().iter() {
            let stored = self.old(shard, op, role);
            let mut right = vec![0; stored.len()];
            for strip in 0..self.strips() {
                let factor = self.factor(stripe, role, strip);
                add_scaled(&mut right, &self.old(shard, op, strip), factor);
            }
            if right == stored {
                continue;
            }
            if self.plant == Plant::DataFromParity && role == ROLE_P {
                self.spoil_data(shard, op, &stored, &right);
            }
            self.store(shard, op, role, right);
            mismatch.p |= role == ROLE_P;
            mismatch.q |= role == ROLE_Q;
            mismatch.rows = 1;
        }
        mismatch
    }

    /// The planted bug: strip 0 is made to fit the parity.
    fn spoil_data(&mut self, shard: usize, op: OpId, stored: &[u8], right: &[u8]) {
        let (stripe, row) = {
            let op = self.life.reactors[shard].core.op(op);
            (op.stripe, op.row)
        };
        let mut data = self.old(shard, op, 0);
        add_scaled(&mut data, stored, 1);
        add_scaled(&mut data, right, 1);
        let slot = self.slot_of(stripe, 0);
        if let Some(device) = self.life.device_of[slot.index()] {
            let at = self.geometry.member_byte(slot, stripe, row);
            self.disks[device].preset(at, &data);
        }
    }
}
