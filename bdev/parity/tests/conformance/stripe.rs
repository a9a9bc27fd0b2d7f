//! What the tests share: stripes at chosen alignments, in both of md's Q orders, and the
//! checks that a kernel treats one of them as the reference does.
//!
//! The checks return what is wrong instead of panicking: a test plants faults and wants them found.

use parity::{Kernel, Lost, Mismatch};

/// The byte that surrounds every output. A kernel that writes outside its slice changes one.
const GUARD: u8 = 0xa5;
/// Guard bytes on either side: more than one vector of any instruction set.
const GUARD_BYTES: usize = 96;
/// Alignments are counted from this boundary.
const BOUNDARY_BYTES: usize = 64;

/// The kernel that defines what is right.
pub(crate) fn reference() -> &'static dyn Kernel {
    parity::select(Some("reference")).expect("it runs everywhere")
}

/// Where slices start, against 64-byte boundaries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Placement {
    /// All on a boundary, as buffers of real arrays are.
    Aligned,
    /// All between two boundaries: aligned for every vector but the longest.
    Halfway,
    /// Every slice somewhere else, none in the same place as its neighbours.
    Scattered,
}

/// A slice at a chosen alignment between guards.
#[derive(Debug)]
pub(crate) struct Guarded {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
    placement: Placement,
    index: usize,
}

impl Guarded {
    /// `content` at an offset from a boundary that depends on `index` where they are scattered.
    pub(crate) fn new(content: &[u8], placement: Placement, index: usize) -> Self {
        let offset = match placement {
            Placement::Aligned => 0,
            Placement::Halfway => BOUNDARY_BYTES / 2,
            Placement::Scattered => 1 + index * 7 % (BOUNDARY_BYTES - 1),
        };
        let len = content.len();
        let mut bytes = vec![GUARD; len + 2 * (GUARD_BYTES + BOUNDARY_BYTES)];
        let first = bytes.as_ptr().addr() + GUARD_BYTES;
        let start = GUARD_BYTES + first.next_multiple_of(BOUNDARY_BYTES) - first + offset;
        bytes[start..start + len].copy_from_slice(content);
        Self { bytes, start, len, placement, index }
    }

    /// The same bytes at the same alignment.
    pub(crate) fn copy(&self) -> Self {
        Self::new(self.get(), self.placement, self.index)
    }

    /// A slice for output, full of bytes that are no answer.
    pub(crate) fn blank(len: usize, placement: Placement, index: usize) -> Self {
        Self::new(&vec![0x5a; len], placement, index)
    }

    pub(crate) fn get(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    pub(crate) fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    /// The slice with a guard byte at each end.
    pub(crate) fn with_guards(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start - 1..self.start + self.len + 1]
    }

    /// Fails unless the slice holds `wanted` and the guards are whole.
    pub(crate) fn expect(&self, what: &str, wanted: &[u8]) -> Result<(), String> {
        let (before, rest) = self.bytes.split_at(self.start);
        let (found, after) = rest.split_at(self.len);
        if before.iter().chain(after).any(|&byte| byte != GUARD) {
            return Err(format!("{what}: wrote outside its slice"));
        }
        match found.iter().zip(wanted).position(|(found, wanted)| found != wanted) {
            Some(at) => Err(format!("{what}: byte {at} is {}, not {}", found[at], wanted[at])),
            None => Ok(()),
        }
    }
}

/// Bytes that look random, the same for the same seed.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// md's own Q order: consecutive exponents, counted from the strip after Q, so rotated by `first`
/// against the order of the slots.
pub(crate) fn md_order(sources: usize, first: usize) -> Vec<u8> {
    (0..sources).map(|i| ((i + first) % sources) as u8).collect()
}

/// DDF's Q order: the exponent is the slot, and P and Q at `hole` and after it have one as well.
pub(crate) fn ddf_order(sources: usize, hole: usize) -> Vec<u8> {
    let slots = sources + 2;
    let holes = [hole % slots, (hole + 1) % slots];
    (0..slots).filter(|slot| !holes.contains(slot)).map(|slot| slot as u8).collect()
}

/// A stripe's data, exponents and right parities.
#[derive(Debug)]
pub(crate) struct Stripe {
    pub(crate) data: Vec<Guarded>,
    pub(crate) exponents: Vec<u8>,
    pub(crate) p: Guarded,
    pub(crate) q: Guarded,
    pub(crate) placement: Placement,
    pub(crate) len: usize,
}

impl Stripe {
    /// Noise, with P and Q as the reference has them.
    pub(crate) fn new(exponents: Vec<u8>, len: usize, placement: Placement) -> Self {
        let count = exponents.len();
        let strip = |i| Guarded::new(&noise(len, (i * 1009 + len + 1) as u64), placement, i);
        let data = (0..count).map(strip).collect();
        let p = Guarded::blank(len, placement, count);
        let q = Guarded::blank(len, placement, count + 1);
        let mut stripe = Self { data, exponents, p, q, placement, len };
        (stripe.p, stripe.q) = stripe.parities(&stripe.sources());
        stripe
    }

    /// P and Q of `sources` with this stripe's exponents, by the reference.
    fn parities(&self, sources: &[&[u8]]) -> (Guarded, Guarded) {
        let (mut p, mut q) = (self.p.copy(), self.q.copy());
        reference().pq_gen(p.get_mut(), q.get_mut(), sources, &self.exponents);
        (p, q)
    }

    pub(crate) fn sources(&self) -> Vec<&[u8]> {
        self.data.iter().map(Guarded::get).collect()
    }

    /// The sources and exponents without those of the slots in `lost`.
    pub(crate) fn others(&self, lost: &[usize]) -> (Vec<&[u8]>, Vec<u8>) {
        let left = (0..self.data.len()).filter(|slot| !lost.contains(slot));
        left.map(|slot| (self.data[slot].get(), self.exponents[slot])).unzip()
    }

    fn blank(&self, index: usize) -> Guarded {
        Guarded::blank(self.len, self.placement, index)
    }

    /// Everything below, for all single strips and all pairs of data strips.
    pub(crate) fn check_all(&self, kernel: &dyn Kernel) -> Result<(), String> {
        let count = self.data.len();
        self.check_generation(kernel)?;
        self.check_checks(kernel)?;
        for slot in 0..count {
            self.check_deltas(kernel, slot)?;
            self.check_one_lost(kernel, slot)?;
        }
        for x in 0..count {
            for y in (0..count).filter(|&y| y != x) {
                self.check_two_lost(kernel, x, y)?;
            }
        }
        Ok(())
    }

    /// P, Q and both (which is also the repair of a stripe that has lost both).
    pub(crate) fn check_generation(&self, kernel: &dyn Kernel) -> Result<(), String> {
        let sources = self.sources();
        for stream in [false, true] {
            let mut p = self.blank(3);
            let xor = if stream { Kernel::xor_gen_stream } else { Kernel::xor_gen };
            xor(kernel, p.get_mut(), &sources);
            p.expect(if stream { "xor_gen_stream" } else { "xor_gen" }, self.p.get())?;

            let (mut p, mut q) = (self.blank(5), self.blank(8));
            let pq = if stream { Kernel::pq_gen_stream } else { Kernel::pq_gen };
            pq(kernel, p.get_mut(), q.get_mut(), &sources, &self.exponents);
            p.expect(if stream { "pq_gen_stream, p" } else { "pq_gen, p" }, self.p.get())?;
            q.expect(if stream { "pq_gen_stream, q" } else { "pq_gen, q" }, self.q.get())?;
        }
        let mut q = self.blank(2);
        kernel.q_gen(q.get_mut(), &sources, &self.exponents);
        q.expect("q_gen", self.q.get())
    }

    /// Right parities pass, and one wrong bit anywhere is found in the parity that has it.
    pub(crate) fn check_checks(&self, kernel: &dyn Kernel) -> Result<(), String> {
        let sources = self.sources();
        let found = |p: &Guarded, q: &Guarded| {
            let both = kernel.check_pq(p.get(), q.get(), &sources, &self.exponents);
            (kernel.check_p(p.get(), &sources), both)
        };
        let expect = |p_wrong: bool, q_wrong, found: (bool, Mismatch)| {
            let wanted = (!p_wrong, Mismatch { p: p_wrong, q: q_wrong });
            let message = || Err(format!("check_p, check_pq: {found:?}, not {wanted:?}"));
            if found == wanted { Ok(()) } else { message() }
        };
        expect(false, false, found(&self.p, &self.q))?;
        for at in [0, self.len / 3, self.len.saturating_sub(1)] {
            if at == self.len {
                break;
            }
            let (mut p, mut q) = (self.p.copy(), self.q.copy());
            p.get_mut()[at] ^= 1 << (at % 8);
            q.get_mut()[at] ^= 0x80 >> (at % 8);
            expect(true, false, found(&p, &self.q))?;
            expect(false, true, found(&self.p, &q))?;
            expect(true, true, found(&p, &q))?;
        }
        Ok(())
    }

    /// One strip changes: parities brought up to date equal parities computed anew.
    pub(crate) fn check_deltas(&self, kernel: &dyn Kernel, slot: usize) -> Result<(), String> {
        let (old, exponent) = (self.data[slot].get(), self.exponents[slot]);
        let new = Guarded::new(&noise(self.len, slot as u64 + 77), self.placement, slot + 9);
        let mut sources = self.sources();
        sources[slot] = new.get();
        let (p_new, q_new) = self.parities(&sources);

        let mut p = self.p.copy();
        kernel.p_delta(p.get_mut(), old, new.get());
        p.expect("p_delta", p_new.get())?;
        let mut q = self.q.copy();
        kernel.q_delta(q.get_mut(), old, new.get(), exponent);
        q.expect("q_delta", q_new.get())?;
        let (mut p, mut q) = (self.p.copy(), self.q.copy());
        kernel.pq_delta(p.get_mut(), q.get_mut(), old, new.get(), exponent);
        p.expect("pq_delta, p", p_new.get())?;
        q.expect("pq_delta, q", q_new.get())
    }

    /// A data strip is lost, alone, with Q (P recovers it) or with P (Q recovers it).
    pub(crate) fn check_one_lost(&self, kernel: &dyn Kernel, slot: usize) -> Result<(), String> {
        let (others, exponents) = self.others(&[slot]);
        let wanted = self.data[slot].get();
        let mut out = self.blank(slot);
        kernel.recover_data_from_p(out.get_mut(), self.p.get(), &others);
        out.expect("recover_data_from_p", wanted)?;
        let mut out = self.blank(slot + 4);
        let missing = self.exponents[slot];
        kernel.recover_data_from_q(out.get_mut(), self.q.get(), &others, &exponents, missing);
        out.expect("recover_data_from_q", wanted)
    }

    /// Two data strips are lost.
    pub(crate) fn check_two_lost(
        &self,
        kernel: &dyn Kernel,
        x: usize,
        y: usize,
    ) -> Result<(), String> {
        let (others, exponents) = self.others(&[x, y]);
        let (mut out_x, mut out_y) = (self.blank(x), self.blank(y + 1));
        kernel.recover_two_data(
            Lost { out: out_x.get_mut(), exponent: self.exponents[x] },
            Lost { out: out_y.get_mut(), exponent: self.exponents[y] },
            self.p.get(),
            self.q.get(),
            &others,
            &exponents,
        );
        out_x.expect("recover_two_data, x", self.data[x].get())?;
        out_y.expect("recover_two_data, y", self.data[y].get())
    }
}
