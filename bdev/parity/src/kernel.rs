//! What a kernel can do, and how every instruction set does it.
//!
//! [`Kernel`] is the crate's interface. It is implemented twice: by the readable reference, and
//! here for every [`Isa`], where each method checks the shapes of its slices and runs one of
//! [`crate::passes`].
//!
//! Not here: the arithmetic; the choice of a kernel.

use std::fmt::Debug;

use crate::gf;
use crate::isa::Isa;
use crate::passes::{
    CheckP, CheckPq, DataFromQ, PDelta, Pq, PqDelta, Q, QDelta, Solution, Terms, TwoData, Xor,
};
use crate::shape::{assert_distinct, assert_len, assert_some, assert_sources, assert_terms};

/// A strip to be recovered into `out`, whose coefficient in Q is g^`exponent`.
#[derive(Debug)]
pub struct Lost<'a> {
    /// Where the strip's bytes go.
    pub out: &'a mut [u8],
    /// The strip's exponent.
    pub exponent: u8,
}

/// Which parities differ from what the sources give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// P is wrong.
    pub p: bool,
    /// Q is wrong.
    pub q: bool,
}

impl Mismatch {
    /// Whether either is wrong.
    pub fn any(self) -> bool {
        self.p || self.q
    }
}

/// One implementation of the arithmetic.
///
/// All slices of one call have the same length, which may be anything, at any alignment (strips
/// that start on a cache line are fastest). `exponents` has one exponent for each source; any
/// byte is valid, and 255 means the same as 0. `sources` come in any order.
///
/// Nothing is allocated and nothing outside the slices is touched.
///
/// # Panics
/// Every method panics when the lengths differ, when sources and exponents are not as many, and
/// when there are more sources than [`SOURCES_MAX`](crate::SOURCES_MAX), or none where there must be one.
pub trait Kernel: Debug + Sync {
    /// The name by which [`select`](crate::select()) finds it.
    fn name(&self) -> &'static str;

    /// P of at least one source: `p` := Σ source.
    fn xor_gen(&self, p: &mut [u8], sources: &[&[u8]]);

    /// As [`Kernel::xor_gen`], with stores that bypass the caches if the kernel and the target's
    /// alignment allow them: for targets that are cold and will not be read soon. On targets in
    /// the cache it is several times slower.
    fn xor_gen_stream(&self, p: &mut [u8], sources: &[&[u8]]) {
        self.xor_gen(p, sources);
    }

    /// P and Q of at least one source in one pass: `p` := Σ source, `q` := Σ g^e · source.
    fn pq_gen(&self, p: &mut [u8], q: &mut [u8], sources: &[&[u8]], exponents: &[u8]);

    /// As [`Kernel::pq_gen`], with stores as in [`Kernel::xor_gen_stream`].
    fn pq_gen_stream(&self, p: &mut [u8], q: &mut [u8], sources: &[&[u8]], exponents: &[u8]) {
        self.pq_gen(p, q, sources, exponents);
    }

    /// Q of at least one source, for a stripe whose P is missing: `q` := Σ g^e · source.
    fn q_gen(&self, q: &mut [u8], sources: &[&[u8]], exponents: &[u8]);

    /// Brings P up to date with one source's change: `p` += old + new.
    fn p_delta(&self, p: &mut [u8], old: &[u8], new: &[u8]);

    /// Brings Q up to date with one source's change: `q` += g^exponent · (old + new).
    fn q_delta(&self, q: &mut [u8], old: &[u8], new: &[u8], exponent: u8);

    /// Brings P and Q up to date with one source's change, in one pass.
    fn pq_delta(&self, p: &mut [u8], q: &mut [u8], old: &[u8], new: &[u8], exponent: u8);

    /// Whether `p` is P of the sources, of which there is at least one.
    fn check_p(&self, p: &[u8], sources: &[&[u8]]) -> bool;

    /// Which of `p` and `q` are not P and Q of the sources, of which there is at least one.
    fn check_pq(&self, p: &[u8], q: &[u8], sources: &[&[u8]], exponents: &[u8]) -> Mismatch;

    /// The one data strip that is not among the `others` (which may be none), from P:
    /// `out` := p + Σ other.
    fn recover_data_from_p(&self, out: &mut [u8], p: &[u8], others: &[&[u8]]);

    /// The one data strip that is not among the `others` (which may be none), from Q:
    /// `out` := g^-missing · (q + Σ g^e · other).
    fn recover_data_from_q(
        &self,
        out: &mut [u8],
        q: &[u8],
        others: &[&[u8]],
        exponents: &[u8],
        missing_exponent: u8,
    );

    /// The two data strips that are not among the `others` (which may be none), from P and Q, in
    /// one pass. With P' = p + Σ other and Q' = q + Σ g^e · other:
    ///
    /// y := (g^x + g^y)^-1 · (Q' + g^x · P'), x := P' + y.
    ///
    /// # Panics
    /// Also when both strips have the same exponent: then Q says nothing that P does not.
    fn recover_two_data(
        &self,
        x: Lost<'_>,
        y: Lost<'_>,
        p: &[u8],
        q: &[u8],
        others: &[&[u8]],
        exponents: &[u8],
    );
}

impl<I: Isa> Kernel for I {
    fn name(&self) -> &'static str {
        I::NAME
    }

    fn xor_gen(&self, p: &mut [u8], sources: &[&[u8]]) {
        xor_gen::<I, false>(*self, p, sources);
    }

    fn xor_gen_stream(&self, p: &mut [u8], sources: &[&[u8]]) {
        xor_gen::<I, true>(*self, p, sources);
    }

    fn pq_gen(&self, p: &mut [u8], q: &mut [u8], sources: &[&[u8]], exponents: &[u8]) {
        pq_gen::<I, false>(*self, p, q, sources, exponents);
    }

    fn pq_gen_stream(&self, p: &mut [u8], q: &mut [u8], sources: &[&[u8]], exponents: &[u8]) {
        pq_gen::<I, true>(*self, p, q, sources, exponents);
    }

    fn q_gen(&self, q: &mut [u8], sources: &[&[u8]], exponents: &[u8]) {
        assert_some(sources);
        let terms = terms(q.len(), sources, exponents);
        self.enter(q.len(), &mut Q { q, terms });
    }

    fn p_delta(&self, p: &mut [u8], old: &[u8], new: &[u8]) {
        assert_len("old", old, p.len());
        assert_len("new", new, p.len());
        self.enter(p.len(), &mut PDelta { p, old, new });
    }

    fn q_delta(&self, q: &mut [u8], old: &[u8], new: &[u8], exponent: u8) {
        assert_len("old", old, q.len());
        assert_len("new", new, q.len());
        self.enter(q.len(), &mut QDelta { q, old, new, exponent });
    }

    fn pq_delta(&self, p: &mut [u8], q: &mut [u8], old: &[u8], new: &[u8], exponent: u8) {
        assert_len("q", q, p.len());
        assert_len("old", old, p.len());
        assert_len("new", new, p.len());
        self.enter(p.len(), &mut PqDelta { p, q, old, new, exponent });
    }

    fn check_p(&self, p: &[u8], sources: &[&[u8]]) -> bool {
        assert_some(sources);
        assert_sources(p.len(), sources);
        let mut pass = CheckP { p, sources, wrong: false };
        self.enter(p.len(), &mut pass);
        !pass.wrong
    }

    fn check_pq(&self, p: &[u8], q: &[u8], sources: &[&[u8]], exponents: &[u8]) -> Mismatch {
        assert_some(sources);
        assert_len("q", q, p.len());
        let terms = terms(p.len(), sources, exponents);
        let mut pass = CheckPq { p, q, terms, p_wrong: false, q_wrong: false };
        self.enter(p.len(), &mut pass);
        Mismatch { p: pass.p_wrong, q: pass.q_wrong }
    }

    fn recover_data_from_p(&self, out: &mut [u8], p: &[u8], others: &[&[u8]]) {
        assert_len("p", p, out.len());
        assert_sources(out.len(), others);
        self.enter(out.len(), &mut Xor::<false> { p: out, start: Some(p), sources: others });
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
        let terms = terms(out.len(), others, exponents);
        let inverse = gf::exponent_negated(missing_exponent);
        self.enter(out.len(), &mut DataFromQ { out, q, terms, inverse });
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
        let len_bytes = x.out.len();
        assert_len("y", y.out, len_bytes);
        assert_len("p", p, len_bytes);
        assert_len("q", q, len_bytes);
        assert_distinct(x.exponent, y.exponent);
        let terms = terms(len_bytes, others, exponents);
        let solution = Solution::new(x.exponent, y.exponent);
        let (out_x, out_y) = (x.out, y.out);
        self.enter(len_bytes, &mut TwoData { out_x, out_y, p, q, terms, solution });
    }
}

fn xor_gen<I: Isa, const STREAM: bool>(isa: I, p: &mut [u8], sources: &[&[u8]]) {
    assert_some(sources);
    assert_sources(p.len(), sources);
    isa.enter(p.len(), &mut Xor::<STREAM> { p, start: None, sources });
}

fn pq_gen<I: Isa, const STREAM: bool>(
    isa: I,
    p: &mut [u8],
    q: &mut [u8],
    sources: &[&[u8]],
    exponents: &[u8],
) {
    assert_some(sources);
    assert_len("q", q, p.len());
    let terms = terms(p.len(), sources, exponents);
    isa.enter(p.len(), &mut Pq::<STREAM> { p, q, terms });
}

fn terms<'a>(len_bytes: usize, sources: &'a [&'a [u8]], exponents: &'a [u8]) -> Terms<'a> {
    assert_terms(len_bytes, sources, exponents);
    Terms { sources, exponents }
}
