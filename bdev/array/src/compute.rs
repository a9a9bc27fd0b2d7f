//! Runs the core's recipes with a parity kernel over the buffers of an operation.
//!
//! A recipe names roles; a role's bytes may lie in several buffers (merged host writes, scattered host
//! memory). So a recipe is run in steps, each as long as all its sources and targets are contiguous:
//! in the usual case that is one kernel call over the whole height.
//!
//! Not here: the arithmetic (crate `parity`), what to compute (crate `raid`).

use crate::piece::{OpBuffers, PieceBody, Pieces};
use crate::segments::{run_at, run_at_mut};
use arrayvec::ArrayVec;
use device::Sgl;
use parity::{Kernel, Lost};
use raid::event::{Mismatch, OpId};
use raid::geometry::{Geometry, Rotation};
use raid::limits::MEMBERS_MAX;
use raid::plan::{Parities, ROLE_P, ROLE_Q, Recipe, Recovery};
use raid::shard::Shard;
use raid::shard::op::{OpKind, StripeOp};
use raid::units::RoleSet;
use reactor::memory::{IoBuf, IoBufMut};

/// Rows that md counts mismatches by (linux-raid.md, section 5.6).
const MISMATCH_ROW_BYTES: usize = 4096;

type Sources<'a> = ArrayVec<&'a [u8], MEMBERS_MAX>;
type Exponents = ArrayVec<u8, MEMBERS_MAX>;

/// What a recipe works on.
pub(crate) struct Workbench<'a> {
    pub(crate) kernel: &'static dyn Kernel,
    pub(crate) core: &'a Shard,
    pub(crate) pieces: &'a Pieces,
    pub(crate) buffers: &'a mut OpBuffers,
    pub(crate) zeroes: &'a IoBuf,
}

/// Targets that are taken out of the table while they are computed.
struct Targets {
    p: Option<Sgl<IoBufMut>>,
    q: Option<Sgl<IoBufMut>>,
}

impl Targets {
    /// `len` bytes from `row` on of each target. Targets are scratch: one contiguous buffer each.
    fn slices(&mut self, row: usize, len: usize) -> (Option<&mut [u8]>, Option<&mut [u8]>) {
        let cut = |target| &mut run_at_mut(target, row)[..len];
        (self.p.as_mut().map(cut), self.q.as_mut().map(cut))
    }
}

impl Workbench<'_> {
    /// Runs a recipe; what a check found is returned, and nothing for other recipes.
    pub(crate) fn run(&mut self, op: OpId, recipe: Recipe) -> Mismatch {
        match recipe {
            Recipe::None => {}
            Recipe::Delta(parities) => self.delta(op, parities),
            Recipe::Generate(parities) => self.generate(op, parities),
            Recipe::Recover(recovery) => self.recover(op, recovery),
            Recipe::RecoverThenGenerate(recovery, parities) => {
                self.recover(op, recovery);
                self.generate(op, parities);
            }
            Recipe::Check(parities) => return self.check(op, parities),
            Recipe::RecoverThenCheck(recovery, parities) => {
                self.recover(op, recovery);
                return self.check(op, parities);
            }
        }
        Mismatch::default()
    }

    /// P and Q exchange the old contents of every written strip for the new.
    fn delta(&mut self, op: OpId, parities: Parities) {
        let mut targets = self.take(op, parities);
        let stripe_op = self.core.op(op);
        let height = stripe_op.len_bytes() as usize;
        for strip in stripe_op.strips.iter() {
            let exponent =
                self.exponents(stripe_op.rotation).get(usize::from(strip)).copied().unwrap_or(0);
            let old = self.buffers.get(op, strip);
            let mut row = 0;
            while row < height {
                let new = self.host_run(op, stripe_op, strip, row);
                let old = run_at(old, row);
                let len = new.len().min(old.len()).min(height - row);
                let (old, new) = (&old[..len], &new[..len]);
                match targets.slices(row, len) {
                    (Some(p), None) => self.kernel.p_delta(p, old, new),
                    (None, Some(q)) => self.kernel.q_delta(q, old, new, exponent),
                    (Some(p), Some(q)) => self.kernel.pq_delta(p, q, old, new, exponent),
                    (None, None) => {}
                }
                row += len;
            }
        }
        self.put_back(op, targets);
    }

    /// P and Q of all data strips: the host's where it writes, what was read elsewhere.
    fn generate(&mut self, op: OpId, parities: Parities) {
        let mut targets = self.take(op, parities);
        let stripe_op = self.core.op(op);
        let height = stripe_op.len_bytes() as usize;
        let strips = RoleSet::first_n(self.geometry().data_strips());
        let exponents = self.exponents(stripe_op.rotation);
        let mut row = 0;
        while row < height {
            let mut sources = Sources::new();
            let len = gather(&mut sources, strips, height - row, |strip| {
                self.current_run(op, stripe_op, strip, row)
            });
            match targets.slices(row, len) {
                (Some(p), None) => self.kernel.xor_gen(p, &sources),
                (None, Some(q)) => self.kernel.q_gen(q, &sources, exponents),
                (Some(p), Some(q)) => self.kernel.pq_gen(p, q, &sources, exponents),
                (None, None) => {}
            }
            row += len;
        }
        self.put_back(op, targets);
    }

    /// Lost data strips, as they were, from what was read.
    fn recover(&mut self, op: OpId, recovery: Recovery) {
        let lost = recovery.outputs();
        let mut outputs: ArrayVec<(u8, Sgl<IoBufMut>), 2> = lost
            .iter()
            .map(|strip| (strip, self.buffers.take(op, strip).expect("outputs have buffers")))
            .collect();
        let stripe_op = self.core.op(op);
        let height = stripe_op.len_bytes() as usize;
        let rotation = stripe_op.rotation;
        let others = RoleSet::first_n(self.geometry().data_strips()).difference(lost);
        let mut row = 0;
        while row < height {
            let room = outputs
                .iter()
                .map(|(_, output)| run_at(output, row).len())
                .fold(height - row, usize::min);
            let mut sources = Sources::new();
            let len = gather(&mut sources, others, room, |strip| {
                run_at(self.buffers.get(op, strip), row)
            });
            self.recover_step(op, rotation, recovery, &mut outputs, &sources, row, len);
            row += len;
        }
        for (strip, output) in outputs {
            self.buffers.put(op, strip, output);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one step of the loop above, split to fit a screen"
    )]
    fn recover_step(
        &self,
        op: OpId,
        rotation: Rotation,
        recovery: Recovery,
        outputs: &mut [(u8, Sgl<IoBufMut>)],
        sources: &[&[u8]],
        row: usize,
        len: usize,
    ) {
        let parity = |role| &run_at(self.buffers.get(op, role), row)[..len];
        let exponent = |strip| self.geometry().q_exponent(rotation, strip);
        let exponents = || -> Exponents {
            RoleSet::first_n(self.geometry().data_strips())
                .difference(recovery.outputs())
                .iter()
                .map(exponent)
                .collect()
        };
        match (recovery, outputs) {
            (Recovery::FromP(_), [(_, x)]) => {
                let out = &mut run_at_mut(x, row)[..len];
                self.kernel.recover_data_from_p(out, parity(ROLE_P), sources);
            }
            (Recovery::FromQ(strip), [(_, x)]) => {
                let out = &mut run_at_mut(x, row)[..len];
                let (q, missing) = (parity(ROLE_Q), exponent(strip));
                self.kernel.recover_data_from_q(out, q, sources, &exponents(), missing);
            }
            (Recovery::Two(a, b), [(_, x), (_, y)]) => {
                let x = Lost { out: &mut run_at_mut(x, row)[..len], exponent: exponent(a) };
                let y = Lost { out: &mut run_at_mut(y, row)[..len], exponent: exponent(b) };
                let (p, q) = (parity(ROLE_P), parity(ROLE_Q));
                self.kernel.recover_two_data(x, y, p, q, sources, &exponents());
            }
            (recovery, outputs) => panic!("{recovery:?} with {} outputs", outputs.len()),
        }
    }

    /// Compares parity with data, 4 KiB by 4 KiB, and computes it afresh where it is wrong anywhere.
    fn check(&mut self, op: OpId, parities: Parities) -> Mismatch {
        let mut found = Mismatch::default();
        let stripe_op = self.core.op(op);
        let height = stripe_op.len_bytes() as usize;
        let strips = RoleSet::first_n(self.geometry().data_strips());
        let exponents = self.exponents(stripe_op.rotation);
        let mut row = 0;
        while row < height {
            let step = MISMATCH_ROW_BYTES.min(height - row);
            let mut sources = Sources::new();
            let len = gather(&mut sources, strips, step, |strip| {
                run_at(self.buffers.get(op, strip), row)
            });
            let stored = |role| &run_at(self.buffers.get(op, role), row)[..len];
            let (p_wrong, q_wrong) = match (parities.p, parities.q) {
                (true, true) => {
                    let wrong =
                        self.kernel.check_pq(stored(ROLE_P), stored(ROLE_Q), &sources, exponents);
                    (wrong.p, wrong.q)
                }
                (true, false) => (!self.kernel.check_p(stored(ROLE_P), &sources), false),
                (false, true) => (false, self.is_q_wrong(stored(ROLE_Q), &sources, exponents)),
                (false, false) => (false, false),
            };
            found.p |= p_wrong;
            found.q |= q_wrong;
            found.rows += u64::from(p_wrong || q_wrong);
            row += len;
        }
        let wrong = Parities { p: found.p, q: found.q };
        if wrong.count() > 0 {
            self.generate(op, wrong);
        }
        found
    }

    /// Whether Q is wrong where P is missing. There is no kernel for that: it is computed and compared.
    fn is_q_wrong(&self, stored: &[u8], sources: &[&[u8]], exponents: &[u8]) -> bool {
        let mut right = [0; MISMATCH_ROW_BYTES];
        let right = &mut right[..stored.len()];
        self.kernel.q_gen(right, sources, exponents);
        right != stored
    }

    /// What a data strip will hold: the host's bytes where it writes, what was read elsewhere.
    fn current_run(&self, op: OpId, stripe_op: &StripeOp, strip: u8, row: usize) -> &[u8] {
        if matches!(stripe_op.kind, OpKind::Write { .. }) && stripe_op.strips.contains(strip) {
            self.host_run(op, stripe_op, strip, row)
        } else {
            run_at(self.buffers.get(op, strip), row)
        }
    }

    /// The host's bytes for a strip that it writes, from `row` of the operation on.
    fn host_run(&self, op: OpId, stripe_op: &StripeOp, strip: u8, row: usize) -> &[u8] {
        let at = stripe_op.row as usize + row;
        let fragment = self
            .core
            .fragments(op)
            .find(|f| {
                (f.first..=f.last).contains(&strip)
                    && (f.row as usize..f.row_end as usize).contains(&at)
            })
            .expect("fragments cover what is written");
        let left = fragment.row_end as usize - at;
        let bytes = match &self.pieces.get(fragment.piece).body {
            PieceBody::Write(buffers) => {
                let spec = self.core.piece(fragment.piece);
                let start = spec.buffer_offset(strip, fragment.row, self.geometry().strip_bytes());
                run_at(buffers, start + at - fragment.row as usize)
            }
            PieceBody::Zeroes => self.zeroes,
            PieceBody::ReadWhole(_) | PieceBody::ReadCells { .. } => {
                panic!("a write carries a read's piece")
            }
        };
        &bytes[..bytes.len().min(left)]
    }

    /// The exponents of all data strips in Q; none where there is no Q.
    fn exponents(&self, rotation: Rotation) -> &[u8] {
        match self.geometry().parity_strips() {
            1 => &[],
            _ => self.geometry().q_exponents(rotation),
        }
    }

    fn geometry(&self) -> &Geometry {
        self.core.geometry()
    }

    fn take(&mut self, op: OpId, parities: Parities) -> Targets {
        let mut take = |wanted: bool, role| {
            wanted.then(|| self.buffers.take(op, role).expect("parity has a buffer"))
        };
        Targets { p: take(parities.p, ROLE_P), q: take(parities.q, ROLE_Q) }
    }

    fn put_back(&mut self, op: OpId, targets: Targets) {
        if let Some(p) = targets.p {
            self.buffers.put(op, ROLE_P, p);
        }
        if let Some(q) = targets.q {
            self.buffers.put(op, ROLE_Q, q);
        }
    }
}

/// Collects the runs of `strips`, cut to the longest length that all of them have, and returns it.
/// The list is the caller's: as a return value it would be copied, 4 KiB of it.
fn gather<'a>(
    sources: &mut Sources<'a>,
    strips: RoleSet,
    len_max: usize,
    run: impl Fn(u8) -> &'a [u8],
) -> usize {
    let mut len = len_max;
    for strip in strips.iter() {
        let source = run(strip);
        len = len.min(source.len());
        sources.push(source);
    }
    debug_assert!(len > 0, "a strip has no bytes");
    for source in sources {
        *source = &source[..len];
    }
    len
}
