//! The definition, byte by byte, to be read. Every other kernel is compared with this one.
//!
//! Not here: speed.

use crate::gf::{exp, inverse, mul};
use crate::kernel::{Kernel, Lost, Mismatch};
use crate::shape::{assert_distinct, assert_len, assert_some, assert_sources, assert_terms};

#[derive(Debug)]
pub(crate) struct Reference;

/// Σ source at byte `at`.
fn p_at(at: usize, sources: &[&[u8]]) -> u8 {
    sources.iter().fold(0, |sum, source| sum ^ source[at])
}

/// Σ g^e · source at byte `at`.
fn q_at(at: usize, sources: &[&[u8]], exponents: &[u8]) -> u8 {
    let terms = sources.iter().zip(exponents);
    terms.fold(0, |sum, (source, &e)| sum ^ mul(exp(e), source[at]))
}

impl Kernel for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn xor_gen(&self, p: &mut [u8], sources: &[&[u8]]) {
        assert_some(sources);
        assert_sources(p.len(), sources);
        for (at, p) in p.iter_mut().enumerate() {
            *p = p_at(at, sources);
        }
    }

    fn pq_gen(&self, p: &mut [u8], q: &mut [u8], sources: &[&[u8]], exponents: &[u8]) {
        assert_len("q", q, p.len());
        self.xor_gen(p, sources);
        self.q_gen(q, sources, exponents);
    }

    fn q_gen(&self, q: &mut [u8], sources: &[&[u8]], exponents: &[u8]) {
        assert_some(sources);
        assert_terms(q.len(), sources, exponents);
        for (at, q) in q.iter_mut().enumerate() {
            *q = q_at(at, sources, exponents);
        }
    }

    fn p_delta(&self, p: &mut [u8], old: &[u8], new: &[u8]) {
        self.q_delta(p, old, new, 0);
    }

    fn q_delta(&self, q: &mut [u8], old: &[u8], new: &[u8], exponent: u8) {
        assert_len("old", old, q.len());
        assert_len("new", new, q.len());
        for (at, q) in q.iter_mut().enumerate() {
            *q ^= mul(exp(exponent), old[at] ^ new[at]);
        }
    }

    fn pq_delta(&self, p: &mut [u8], q: &mut [u8], old: &[u8], new: &[u8], exponent: u8) {
        assert_len("q", q, p.len());
        self.p_delta(p, old, new);
        self.q_delta(q, old, new, exponent);
    }

    fn check_p(&self, p: &[u8], sources: &[&[u8]]) -> bool {
        assert_some(sources);
        assert_sources(p.len(), sources);
        p.iter().enumerate().all(|(at, &p)| p == p_at(at, sources))
    }

    fn check_pq(&self, p: &[u8], q: &[u8], sources: &[&[u8]], exponents: &[u8]) -> Mismatch {
        assert_len("q", q, p.len());
        assert_terms(q.len(), sources, exponents);
        let q_is_right = q.iter().enumerate().all(|(at, &q)| q == q_at(at, sources, exponents));
        Mismatch { p: !self.check_p(p, sources), q: !q_is_right }
    }

    fn recover_data_from_p(&self, out: &mut [u8], p: &[u8], others: &[&[u8]]) {
        assert_len("p", p, out.len());
        assert_sources(out.len(), others);
        for (at, out) in out.iter_mut().enumerate() {
            *out = p[at] ^ p_at(at, others);
        }
    }

    fn recover_data_from_q(
        &self,
        out: &mut [u8],
        q: &[u8],
        others: &[&[u8]],
        exponents: &[u8],
        missing_exponent: u8,
    ) {
        assert_len("q", q, out.len());
        assert_terms(out.len(), others, exponents);
        for (at, out) in out.iter_mut().enumerate() {
            *out = mul(inverse(exp(missing_exponent)), q[at] ^ q_at(at, others, exponents));
        }
    }

    fn recover_two_data(
        &self,
        x: Lost<'_>,
        y: Lost<'_>,
        p: &[u8],
        q: &[u8],
        others: &[&[u8]],
        exponents: &[u8],
    ) {
        assert_len("y", y.out, x.out.len());
        assert_len("p", p, x.out.len());
        assert_len("q", q, x.out.len());
        assert_terms(x.out.len(), others, exponents);
        assert_distinct(x.exponent, y.exponent);
        let (gx, gy) = (exp(x.exponent), exp(y.exponent));
        for (at, (x, y)) in x.out.iter_mut().zip(y.out).enumerate() {
            // x + y = sum and gx·x + gy·y = weighted, solved for y.
            let sum = p[at] ^ p_at(at, others);
            let weighted = q[at] ^ q_at(at, others, exponents);
            *y = mul(inverse(gx ^ gy), weighted ^ mul(gx, sum));
            *x = sum ^ *y;
        }
    }
}
