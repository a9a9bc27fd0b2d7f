//! The planner, proved symbolically and exhaustively on small stripes.
//!
//! Goal: whatever the layout, the written set and the failures, a plan leaves every strip that can be
//! written holding what it must, reads nothing that it may not read, and refuses only what is
//! impossible. Method: the contents of a strip are a vector over GF(2^8) whose basis is the old and the
//! new contents of every data strip; a plan is executed on vectors, so one run stands for all contents.
//! The exponents of Q are a parameter, so md's and DDF's order are the same proof; a layout enters a
//! plan only through them and through which slot has which role.

use super::*;
use crate::geometry::{Geometry, GeometrySpec};
use crate::layout::{Layout, Level};
use crate::member::{MemberMap, MemberState};
use crate::units::StripeId;
use proptest::prelude::*;

/// GF(2^8) product, bit by bit (polynomial 0x11d): slow, and independent of crate `parity`.
fn mul(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        let carry = a & 0x80 != 0;
        a <<= 1;
        if carry {
            a ^= 0x1d;
        }
        b >>= 1;
    }
    product
}

fn power(exponent: u8) -> u8 {
    (0..exponent).fold(1, |value, _| mul(value, 2))
}

fn inverse(a: u8) -> u8 {
    (1..=255).find(|&b| mul(a, b) == 1).expect("every non-zero element has an inverse")
}

/// Contents of a strip: coefficient of old strip `i` at `i`, of new strip `i` at `i + K`.
type Contents = Vec<u8>;

fn add_scaled(target: &mut Contents, source: &Contents, factor: u8) {
    for (t, s) in target.iter_mut().zip(source) {
        *t ^= mul(*s, factor);
    }
}

struct Model {
    strips: usize,
    exponents: Vec<u8>,
}

impl Model {
    fn basis(&self, index: usize) -> Contents {
        let mut contents = vec![0; 2 * self.strips];
        contents[index] = 1;
        contents
    }

    fn old(&self, strip: usize) -> Contents {
        self.basis(strip)
    }

    fn current(&self, strip: usize, written: RoleSet) -> Contents {
        let is_new = written.contains(u8::try_from(strip).unwrap());
        self.basis(if is_new { strip + self.strips } else { strip })
    }

    fn parity(&self, role: u8, data: impl Fn(usize) -> Contents) -> Contents {
        let mut sum = vec![0; 2 * self.strips];
        for strip in 0..self.strips {
            let factor = if role == ROLE_P { 1 } else { power(self.exponents[strip]) };
            add_scaled(&mut sum, &data(strip), factor);
        }
        sum
    }

    /// The old contents of a role, as a read returns them.
    fn on_disk(&self, role: u8) -> Contents {
        match role {
            ROLE_P | ROLE_Q => self.parity(role, |strip| self.old(strip)),
            strip => self.old(usize::from(strip)),
        }
    }

    /// Solves for the lost strips from what was read, using nothing else.
    fn recover(&self, recovery: Recovery, read: &[Option<Contents>]) -> Vec<(u8, Contents)> {
        let lost = recovery.outputs();
        let syndrome = |role: u8| {
            let mut sum = read[usize::from(role)].clone().expect("the parity was read");
            for (strip, data) in read.iter().enumerate().take(self.strips) {
                if !lost.contains(u8::try_from(strip).unwrap()) {
                    let factor = if role == ROLE_P { 1 } else { power(self.exponents[strip]) };
                    let data = data.as_ref().expect("every other strip was read");
                    add_scaled(&mut sum, data, factor);
                }
            }
            sum
        };
        let scaled = |contents: &Contents, factor: u8| {
            contents.iter().map(|&c| mul(c, factor)).collect::<Contents>()
        };
        match recovery {
            Recovery::FromP(x) => vec![(x, syndrome(ROLE_P))],
            Recovery::FromQ(x) => {
                let factor = inverse(power(self.exponents[usize::from(x)]));
                vec![(x, scaled(&syndrome(ROLE_Q), factor))]
            }
            Recovery::Two(x, y) => {
                // x + y = sp and gx x + gy y = sq, hence (gx + gy) y = gx sp + sq.
                let (gx, gy) =
                    (power(self.exponents[usize::from(x)]), power(self.exponents[usize::from(y)]));
                let (sp, sq) = (syndrome(ROLE_P), syndrome(ROLE_Q));
                let mut right = scaled(&sp, gx);
                add_scaled(&mut right, &sq, 1);
                let y_contents = scaled(&right, inverse(gx ^ gy));
                let mut x_contents = sp;
                add_scaled(&mut x_contents, &y_contents, 1);
                vec![(x, x_contents), (y, y_contents)]
            }
        }
    }

    /// Runs a write plan and returns what each role holds afterwards, `None` where it was not written.
    fn run(&self, plan: &WritePlan, written: RoleSet) -> Vec<Option<Contents>> {
        let mut buffers: Vec<Option<Contents>> = vec![None; 256];
        for role in plan.reads.iter() {
            buffers[usize::from(role)] = Some(self.on_disk(role));
        }
        let mut out: Vec<Option<Contents>> = vec![None; 256];
        let generate = |buffers: &[Option<Contents>], role| {
            self.parity(role, |strip| {
                if written.contains(u8::try_from(strip).unwrap()) {
                    self.basis(strip + self.strips)
                } else {
                    buffers[strip].clone().expect("every kept strip is at hand")
                }
            })
        };
        match plan.recipe {
            Recipe::None => {}
            Recipe::Delta(parities) => {
                for role in parities.roles().iter() {
                    let mut sum = buffers[usize::from(role)].clone().expect("old parity was read");
                    for strip in written.iter() {
                        let factor = match role {
                            ROLE_P => 1,
                            _ => power(self.exponents[usize::from(strip)]),
                        };
                        let old = buffers[usize::from(strip)].as_ref().expect("old data was read");
                        add_scaled(&mut sum, old, factor);
                        let new = self.basis(usize::from(strip) + self.strips);
                        add_scaled(&mut sum, &new, factor);
                    }
                    out[usize::from(role)] = Some(sum);
                }
            }
            Recipe::Generate(parities) => {
                for role in parities.roles().iter() {
                    out[usize::from(role)] = Some(generate(&buffers, role));
                }
            }
            Recipe::RecoverThenGenerate(recovery, parities) => {
                for (strip, contents) in self.recover(recovery, &buffers) {
                    buffers[usize::from(strip)] = Some(contents);
                }
                for role in parities.roles().iter() {
                    out[usize::from(role)] = Some(generate(&buffers, role));
                }
            }
            Recipe::Recover(_) | Recipe::Check(_) | Recipe::RecoverThenCheck(..) => {
                panic!("not a write's recipe: {plan:?}")
            }
        }
        for strip in written.iter() {
            out[usize::from(strip)] = Some(self.basis(usize::from(strip) + self.strips));
        }
        out
    }
}

fn subsets(items: &[u8]) -> impl Iterator<Item = RoleSet> + '_ {
    (0u32..1 << items.len()).map(|bits| {
        let mut set = RoleSet::empty();
        for (i, &item) in items.iter().enumerate() {
            if bits >> i & 1 == 1 {
                set.insert(item);
            }
        }
        set
    })
}

/// Every stripe of 2 to 6 data strips, P or P and Q, both orders of Q's exponents, every set of
/// unreadable roles up to the parity count, every subset of it absent, every subset of the rest stale, and whatever
/// parity is worth.
fn every_stripe(mut check: impl FnMut(&Model, &StripeState)) {
    for strips in 2..=6u8 {
        for q in [false, true] {
            let parities = Parities { p: true, q };
            let roles: Vec<u8> = (0..strips).chain(parities.roles().iter()).collect();
            for exponents in
                [(0..strips).collect::<Vec<u8>>(), (0..strips).map(|i| 2 * i + 1).collect()]
            {
                let model = Model { strips: usize::from(strips), exponents };
                for unreadable in subsets(&roles).filter(|set| set.len() <= parities.count() + 1) {
                    let lost: Vec<u8> = unreadable.iter().collect();
                    for absent in subsets(&lost) {
                        let present: Vec<u8> = unreadable.difference(absent).iter().collect();
                        for stale in subsets(&present) {
                            for trust in [Trust::Right, Trust::WhereWritten, Trust::Unknown] {
                                let state = StripeState {
                                    data_strips: strips,
                                    parities,
                                    unreadable,
                                    absent,
                                    stale,
                                    trust,
                                };
                                check(&model, &state);
                            }
                        }
                    }
                }
            }
        }
    }
}

fn written_sets(state: &StripeState) -> Vec<RoleSet> {
    let strips: Vec<u8> = (0..state.data_strips).collect();
    subsets(&strips).filter(|set| !set.is_empty()).collect()
}

/// Goal: after a planned write every parity that exists matches all data, and every written strip
/// that exists holds the new contents; nothing unreadable is read, nothing absent is written.
#[test]
fn a_planned_write_leaves_data_and_parity_right() {
    let mut cases = 0;
    every_stripe(|model, state| {
        for written in written_sets(state) {
            let Ok(plan) = write(state, written) else { continue };
            cases += 1;
            let context = || format!("{state:?} written {written:?}: {plan:?}");
            assert!(plan.reads.is_disjoint_from(state.unreadable), "{}", context());
            assert!(plan.writes.is_disjoint_from(state.absent), "{}", context());
            let after = model.run(&plan, written);
            for role in state.parities.roles().difference(state.absent).iter() {
                assert!(plan.writes.contains(role), "{}", context());
                let right = model.parity(role, |strip| model.current(strip, written));
                assert_eq!(after[usize::from(role)].as_ref(), Some(&right), "{}", context());
            }
            let expected = written.union(state.parities.roles()).difference(state.absent);
            assert_eq!(plan.writes, expected, "{}", context());
        }
    });
    assert!(cases > 50_000, "only {cases} cases were planned");
}

/// Goal: a write is refused only when it is impossible: never within the redundancy of the level where parity can
/// be trusted, and elsewhere only when contents that stay are lost, or what is written could not be read back.
#[test]
fn a_write_is_refused_only_when_lost_contents_are_needed() {
    every_stripe(|_, state| {
        for written in written_sets(state) {
            let kept = state.data().difference(written);
            let gone = state.absent.union(state.stale);
            let lost = state.data().intersection(state.unreadable);
            let computed = match state.trust {
                Trust::Right => true,
                Trust::WhereWritten => lost.is_subset_of(gone),
                Trust::Unknown => false,
            };
            let possible = if state.unreadable.len() <= state.parities.count() && computed {
                true
            } else if computed {
                continue;
            } else {
                let within = state.absent.len() <= state.parities.count();
                let no_parity = state.parities.roles().is_subset_of(state.absent);
                let readable = state.trust != Trust::Unknown || written.is_disjoint_from(gone);
                within && (no_parity || kept.is_disjoint_from(state.unreadable) && readable)
            };
            let plan = write(state, written);
            assert_eq!(plan.is_ok(), possible, "{state:?} written {written:?}: {plan:?}");
        }
    });
}

/// Goal: parity that is not in sync is never carried on by read-modify-write, and not read at all where nothing is
/// known of it; what is written there can be read back by what is then known.
#[test]
fn parity_is_not_trusted_on_rows_out_of_sync() {
    every_stripe(|_, state| {
        let gone = state.absent.union(state.stale);
        if state.trust == Trust::Right || gone.len() > state.parities.count() {
            return;
        }
        for written in written_sets(state) {
            let Ok(plan) = write(state, written) else { continue };
            let context = || format!("{state:?} written {written:?}: {plan:?}");
            assert_ne!(plan.kind, WriteKind::ReadModifyWrite, "{}", context());
            if state.trust == Trust::Unknown {
                assert!(plan.reads.is_disjoint_from(state.parities.roles()), "{}", context());
            }
            // What could not be read on a member that is there has been overwritten.
            let after = StripeState { unreadable: gone, ..*state };
            assert!(read(&after, written).is_ok(), "{}", context());
        }
    });
}

/// Goal: no plan reads more than the cheapest way that is open.
#[test]
fn a_write_reads_as_little_as_it_can() {
    every_stripe(|_, state| {
        for written in written_sets(state) {
            let Ok(plan) = write(state, written) else { continue };
            let kept = state.data().difference(written);
            let old = written.union(state.parities.roles().difference(state.absent));
            let reconstruct = kept.is_disjoint_from(state.unreadable).then_some(kept.len());
            let modify = (state.trust == Trust::Right && old.is_disjoint_from(state.unreadable))
                .then_some(old.len());
            let best = [reconstruct, modify].into_iter().flatten().min();
            match plan.kind {
                WriteKind::DataOnly => assert!(plan.reads.is_empty()),
                WriteKind::RecoverWrite => {
                    assert_eq!(best, None, "{state:?} {written:?}: {plan:?}")
                }
                WriteKind::FullStripe
                | WriteKind::ReadModifyWrite
                | WriteKind::ReconstructWrite => {
                    assert_eq!(Some(plan.reads.len()), best, "{state:?} {written:?}: {plan:?}");
                }
            }
        }
    });
}

/// Goal: a planned read yields every wanted strip, and is refused only beyond the redundancy.
#[test]
fn a_planned_read_yields_what_was_wanted() {
    every_stripe(|model, state| {
        for wanted in written_sets(state) {
            let lost = wanted.intersection(state.unreadable);
            match read(state, wanted) {
                Ok(plan) => {
                    assert!(plan.reads.is_disjoint_from(state.unreadable), "{state:?} {plan:?}");
                    let mut buffers = vec![None; 256];
                    for role in plan.reads.iter() {
                        buffers[usize::from(role)] = Some(model.on_disk(role));
                    }
                    if let Recipe::Recover(recovery) = plan.recipe {
                        assert_ne!(state.trust, Trust::Unknown, "{state:?}");
                        for (strip, contents) in model.recover(recovery, &buffers) {
                            buffers[usize::from(strip)] = Some(contents);
                        }
                    }
                    for strip in wanted.iter() {
                        let strip = usize::from(strip);
                        assert_eq!(buffers[strip].as_ref(), Some(&model.old(strip)), "{state:?}");
                    }
                }
                Err(why) => {
                    assert!(!lost.is_empty(), "{state:?} wanted {wanted:?}: {why}");
                    assert!(
                        state.trust == Trust::Unknown
                            || state.unreadable.len() > state.parities.count(),
                        "{state:?} wanted {wanted:?}: {why}"
                    );
                }
            }
        }
    });
}

/// Goal: a comparison covers every parity that something is left to compare with, reads nothing that it may
/// not, and trusts P only on rows in sync; it is refused only where nothing is left. Method: what is compared
/// has to be equal when it is computed from what was read.
#[test]
fn a_planned_check_compares_all_that_can_be_compared() {
    let mut by_recovery = 0;
    every_stripe(|model, state| {
        let lost = state.data().intersection(state.unreadable);
        let kept = state.parities.roles().difference(state.absent);
        let whole = lost.is_empty() && !kept.is_empty();
        let by_p = lost.len() == 1 && kept.len() == 2 && state.trust == Trust::Right;
        let possible = kept.is_disjoint_from(state.unreadable) && (whole || by_p);
        let plan = check(state);
        assert_eq!(plan.is_ok(), possible, "{state:?}: {plan:?}");
        let Ok(plan) = plan else { return };
        assert!(plan.reads.is_disjoint_from(state.unreadable), "{state:?} {plan:?}");
        let mut buffers = vec![None; 256];
        for role in plan.reads.iter() {
            buffers[usize::from(role)] = Some(model.on_disk(role));
        }
        let (compared, used) = match plan.recipe {
            Recipe::Check(parities) => (parities, RoleSet::empty()),
            Recipe::RecoverThenCheck(recovery, parities) => {
                by_recovery += 1;
                for (strip, contents) in model.recover(recovery, &buffers) {
                    buffers[usize::from(strip)] = Some(contents);
                }
                (parities, recovery.sources())
            }
            recipe => panic!("not a check's recipe: {recipe:?}"),
        };
        assert_eq!(compared.roles(), kept.difference(used), "{state:?} {plan:?}");
        for role in compared.roles().iter() {
            let right = model.parity(role, |strip| buffers[strip].clone().expect("all strips"));
            assert_eq!(buffers[usize::from(role)].as_ref(), Some(&right), "{state:?} {plan:?}");
        }
    });
    assert!(by_recovery > 0);
}

/// Goal: the same with every layout as it lies on members: for each row of each layout, each set of
/// missing slots and each written set, the plan is right and names no missing slot. Method: roles and
/// exponents come from the geometry, failures are slots and become roles as they do in a shard.
#[test]
fn every_layout_plans_right_with_every_failure_set() {
    let mut cases = 0;
    for level in Level::ALL {
        let at = (0..3).map(Layout::ParityAt).filter(|_| level == Level::Raid4);
        for layout in Layout::of_level(level).iter().copied().chain(at) {
            let least = 2 + level.parity_count();
            for members in least.max(3)..=least + 2 {
                cases += check_layout(level, layout, members);
            }
        }
    }
    assert!(cases > 10_000, "only {cases} cases were planned");
}

fn check_layout(level: Level, layout: Layout, members: usize) -> u32 {
    let geometry = Geometry::new(GeometrySpec {
        level,
        layout,
        members,
        strip_bytes: 4096,
        block_size_bytes: 512,
        member_bytes: 4096 * 2 * members as u64,
        data_offsets_bytes: vec![0; members],
    })
    .expect("a valid geometry");
    let parities = Parities { p: true, q: level.parity_count() == 2 };
    let strips = u8::try_from(geometry.data_strips()).unwrap();
    let slots: Vec<u8> = (0..members as u8).collect();
    let mut cases = 0;
    for stripe in 0..geometry.stripes() {
        let rotation = geometry.rotation(StripeId(stripe));
        let exponents: Vec<u8> = (0..strips)
            .map(|strip| if parities.q { geometry.q_exponent(rotation, strip) } else { strip })
            .collect();
        let model = Model { strips: usize::from(strips), exponents };
        for missing in subsets(&slots).filter(|set| set.len() <= parities.count()) {
            let states = slots.iter().map(|&slot| match missing.contains(slot) {
                true => MemberState::Missing,
                false => MemberState::InSync,
            });
            let map = MemberMap::new(states.collect());
            let absent = MemberMap::roles_of(map.missing(), &geometry, rotation);
            assert_eq!(absent.len(), missing.len());
            let slot_of = |role| match role {
                ROLE_P => geometry.p_slot(rotation),
                ROLE_Q => geometry.q_slot(rotation).expect("level 6 has Q"),
                strip => geometry.data_slot(rotation, strip),
            };
            let state = StripeState {
                data_strips: strips,
                parities,
                unreadable: absent,
                absent,
                stale: RoleSet::empty(),
                trust: Trust::Right,
            };
            for written in written_sets(&state) {
                let plan = write(&state, written).expect("within the redundancy");
                let after = model.run(&plan, written);
                for role in parities.roles().difference(absent).iter() {
                    let right = model.parity(role, |strip| model.current(strip, written));
                    assert_eq!(
                        after[usize::from(role)].as_ref(),
                        Some(&right),
                        "{layout:?} {plan:?}"
                    );
                }
                for role in plan.reads.union(plan.writes).iter() {
                    let slot = slot_of(role);
                    assert!(
                        !missing.contains(slot.0),
                        "{layout:?} row {stripe}: {slot:?} {plan:?}"
                    );
                }
                cases += 1;
            }
        }
    }
    cases
}

proptest! {
    /// Goal: the same for wide stripes, where every set cannot be tried.
    #[test]
    fn wide_stripes_plan_like_narrow_ones(
        strips in 6..=253u8,
        q in any::<bool>(),
        written in proptest::collection::vec(0..253u8, 1..40),
        lost in proptest::collection::vec(0..255usize, 0..3),
        trust in proptest::sample::select(vec![Trust::Right, Trust::WhereWritten, Trust::Unknown]),
    ) {
        let parities = Parities { p: true, q };
        let roles: Vec<u8> = (0..strips).chain(parities.roles().iter()).collect();
        let mut absent = RoleSet::empty();
        for index in lost.into_iter().take(parities.count()) {
            absent.insert(roles[index % roles.len()]);
        }
        let mut set = RoleSet::empty();
        for strip in written {
            set.insert(strip % strips);
        }
        let stale = RoleSet::empty();
        let state =
            StripeState { data_strips: strips, parities, unreadable: absent, absent, stale, trust };
        let model = Model { strips: usize::from(strips), exponents: (0..strips).collect() };
        if let Ok(plan) = write(&state, set) {
            prop_assert!(plan.reads.is_disjoint_from(state.unreadable));
            let after = model.run(&plan, set);
            for role in parities.roles().difference(absent).iter() {
                let right = model.parity(role, |strip| model.current(strip, set));
                prop_assert_eq!(after[usize::from(role)].as_ref(), Some(&right));
            }
        } else {
            prop_assert_eq!(trust, Trust::Unknown);
        }
    }
}
