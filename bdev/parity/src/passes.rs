//! The algorithms, written once for all instruction sets: what one column of each computation is.
//!
//! P is the plain sum of the sources and Q the sum of g^e · source. Both stay in registers while
//! the column's sources stream through, so that memory is read once and written once:
//!
//! ```text
//! source 0 --+--------- + ---------> P          source k --+---- + ------> P
//!            |                                             |
//!            +-- · g^e0 + ---------> Q                     Q := Q·g^gap + source k
//!        independent products                         Horner's rule, highest k first
//! ```
//!
//! Where one instruction multiplies (GFNI), Q is a sum of independent products, and sources go in
//! pairs because a three-operand xor folds two of them at once. (P alone goes source by source: an
//! xor with memory costs no more than the load.) Elsewhere a product costs six instructions and a
//! doubling four, and Horner's rule needs only doublings while the exponents fall by one from
//! source to source (AVX2: 1.4 times as fast). Gaps and wraps in them, which md's DDF order and a
//! missing source bring, cost one product each.
//!
//! Wide stripes need no blocking of their own: P and Q never leave the registers before they are
//! final. Groups of 4, 8 or 16 sources over blocks of 2 to 8 KiB, with P and Q in L1 between the
//! groups, were 5 to 25 % slower than this up to 64 sources.
//!
//! Not here: checks of what callers pass in ([`crate::kernel`]); anything unsafe.

use crate::gf;
use crate::isa::{Column, Isa, Pass, Stride, lane};

/// `p` := sum of `start` and `sources`.
///
/// With no `start` this is P; with P as `start` and the surviving data as `sources`, the lost
/// data. `STREAM` writes past the caches.
pub(crate) struct Xor<'a, const STREAM: bool> {
    pub(crate) p: &'a mut [u8],
    pub(crate) start: Option<&'a [u8]>,
    pub(crate) sources: &'a [&'a [u8]],
}

impl<const STREAM: bool> Pass for Xor<'_, STREAM> {
    const STRIDE: Stride = if STREAM { Stride::Short } else { Stride::Long { accumulators: 1 } };

    #[inline(always)]
    fn column<I: Isa, const N: usize>(&mut self, isa: I, column: impl Column<I, N>) {
        let start = match self.start {
            Some(start) => column.load(isa, start),
            None => [isa.zero(); N],
        };
        let p = sum(isa, column, start, self.sources);
        if STREAM {
            column.store_streaming(isa, self.p, p);
        } else {
            column.store(isa, self.p, p);
        }
    }

    #[inline(always)]
    fn finish<I: Isa>(&mut self, isa: I) {
        if STREAM {
            isa.finish_streaming();
        }
    }
}

/// `p` := sum of the sources, `q` := sum of g^exponent · source.
pub(crate) struct Pq<'a, const STREAM: bool> {
    pub(crate) p: &'a mut [u8],
    pub(crate) q: &'a mut [u8],
    pub(crate) terms: Terms<'a>,
}

impl<const STREAM: bool> Pass for Pq<'_, STREAM> {
    const STRIDE: Stride = if STREAM { Stride::Short } else { Stride::Long { accumulators: 2 } };

    #[inline(always)]
    fn column<I: Isa, const N: usize>(&mut self, isa: I, column: impl Column<I, N>) {
        let (p, q) = syndromes::<true, I, N>(isa, column, self.terms);
        if STREAM {
            column.store_streaming(isa, self.p, p);
            column.store_streaming(isa, self.q, q);
        } else {
            column.store(isa, self.p, p);
            column.store(isa, self.q, q);
        }
    }

    #[inline(always)]
    fn finish<I: Isa>(&mut self, isa: I) {
        if STREAM {
            isa.finish_streaming();
        }
    }
}

/// `q` := sum of g^exponent · source.
pub(crate) struct Q<'a> {
    pub(crate) q: &'a mut [u8],
    pub(crate) terms: Terms<'a>,
}

impl Pass for Q<'_> {
    const STRIDE: Stride = Stride::Long { accumulators: 1 };

    #[inline(always)]
    fn column<I: Isa, const N: usize>(&mut self, isa: I, column: impl Column<I, N>) {
        let (_, q) = syndromes::<false, I, N>(isa, column, self.terms);
        column.store(isa, self.q, q);
    }
}

/// `p` := p + old + new.
pub(crate) struct PDelta<'a> {
    pub(crate) p: &'a mut [u8],
    pub(crate) old: &'a [u8],
    pub(crate) new: &'a [u8],
}

impl Pass for PDelta<'_> {
    const STRIDE: Stride = Stride::Short;

    #[inline(always)]
    fn column<I: Isa, const N: usize>(&mut self, isa: I, column: impl Column<I, N>) {
        let p = column.load(isa, self.p);
        let p = sum(isa, column, p, &[self.old, self.new]);
        column.store(isa, self.p, p);
    }
}

/// `q` := q + g^exponent · (old + new).
pub(crate) struct QDelta<'a> {
    pub(crate) q: &'a mut [u8],
    pub(crate) old: &'a [u8],
    pub(crate) new: &'a [u8],
    pub(crate) exponent: u8,
}

impl Pass for QDelta<'_> {
    const STRIDE: Stride = Stride::Short;

    #[inline(always)]
    fn column<I: Isa, const N: usize>(&mut self, isa: I, column: impl Column<I, N>) {
        let change = add(isa, column.load(isa, self.old), column.load(isa, self.new));
        let q = add_scaled(isa, column.load(isa, self.q), self.exponent, change);
        column.store(isa, self.q, q);
    }
}

/// [`PDelta`] and [`QDelta`] of the same change in one pass.
pub(crate) struct PqDelta<'a> {
    pub(crate) p: &'a mut [u8],
    pub(crate) q: &'a mut [u8],
    pub(crate) old: &'a [u8],
    pub(crate) new: &'a [u8],
    pub(crate) exponent: u8,
}

impl Pass for PqDelta<'_> {
    const STRIDE: Stride = Stride::Short;

    #[inline(always)]
    fn column<I: Isa, const N: usize>(&mut self, isa: I, column: impl Column<I, N>) {
        let change = add(isa, column.load(isa, self.old), column.load(isa, self.new));
        let p = add(isa, column.load(isa, self.p), change);
        let q = add_scaled(isa, column.load(isa, self.q), self.exponent, change);
        column.store(isa, self.p, p);
        column.store(isa, self.q, q);
    }
}

/// `wrong` := whether p differs anywhere from the sum of the sources.
///
/// There is no early way out: stripes that are wrong are rare, and a branch for each column is
/// not free.
pub(crate) struct CheckP<'a> {
    pub(crate) p: &'a [u8],
    pub(crate) sources: &'a [&'a [u8]],
    pub(crate) wrong: bool,
}

impl Pass for CheckP<'_> {
    const STRIDE: Stride = Stride::Long { accumulators: 1 };

    #[inline(always)]
    fn column<I: Isa, const N: usize>(&mut self, isa: I, column: impl Column<I, N>) {
        let p = sum(isa, column, column.load(isa, self.p), self.sources);
        self.wrong |= any(isa, p);
    }
}

/// As [`CheckP`], of both parities.
pub(crate) struct CheckPq<'a> {
    pub(crate) p: &'a [u8],
    pub(crate) q: &'a [u8],
    pub(crate) terms: Terms<'a>,
    pub(crate) p_wrong: bool,
    pub(crate) q_wrong: bool,
}

impl Pass for CheckPq<'_> {
    const STRIDE: Stride = Stride::Long { accumulators: 2 };

    #[inline(always)]
    fn column<I: Isa, const N: usize>(&mut self, isa: I, column: impl Column<I, N>) {
        let (p, q) = syndromes::<true, I, N>(isa, column, self.terms);
        self.p_wrong |= any(isa, add(isa, column.load(isa, self.p), p));
        self.q_wrong |= any(isa, add(isa, column.load(isa, self.q), q));
    }
}

/// `out` := the one data strip that Q lacks: (q + sum of the others' terms) · g^-exponent.
pub(crate) struct DataFromQ<'a> {
    pub(crate) out: &'a mut [u8],
    pub(crate) q: &'a [u8],
    pub(crate) terms: Terms<'a>,
    /// The exponent of g^-exponent.
    pub(crate) inverse: u8,
}

impl Pass for DataFromQ<'_> {
    const STRIDE: Stride = Stride::Long { accumulators: 1 };

    #[inline(always)]
    fn column<I: Isa, const N: usize>(&mut self, isa: I, column: impl Column<I, N>) {
        let (_, q) = syndromes::<false, I, N>(isa, column, self.terms);
        let q = add(isa, column.load(isa, self.q), q);
        column.store(isa, self.out, scale(isa, self.inverse, q));
    }
}

/// `out_x`, `out_y` := the two data strips that P and Q lack.
///
/// With P' and Q' the parities plus what the survivors contribute, Dx + Dy = P' and
/// g^x·Dx + g^y·Dy = Q'. Hence Dy = g^a·P' + g^b·Q' with the exponents of [`Solution::new`].
pub(crate) struct TwoData<'a> {
    pub(crate) out_x: &'a mut [u8],
    pub(crate) out_y: &'a mut [u8],
    pub(crate) p: &'a [u8],
    pub(crate) q: &'a [u8],
    pub(crate) terms: Terms<'a>,
    pub(crate) solution: Solution,
}

/// Dy = g^`of_p` · P' + g^`of_q` · Q'.
#[derive(Clone, Copy)]
pub(crate) struct Solution {
    of_p: u8,
    of_q: u8,
}

impl Solution {
    /// For lost strips with these two different exponents: 1 / (g^x + g^y) for Q', and g^x as
    /// much for P'.
    pub(crate) fn new(x: u8, y: u8) -> Self {
        let of_q = gf::exponent_negated(gf::log(gf::exp(x) ^ gf::exp(y)));
        Self { of_p: gf::exponent_sum(of_q, x), of_q }
    }
}

impl Pass for TwoData<'_> {
    const STRIDE: Stride = Stride::Long { accumulators: 2 };

    #[inline(always)]
    fn column<I: Isa, const N: usize>(&mut self, isa: I, column: impl Column<I, N>) {
        let (p, q) = syndromes::<true, I, N>(isa, column, self.terms);
        let p = add(isa, column.load(isa, self.p), p);
        let q = add(isa, column.load(isa, self.q), q);
        let y = add_scaled(isa, scale(isa, self.solution.of_q, q), self.solution.of_p, p);
        column.store(isa, self.out_x, add(isa, p, y));
        column.store(isa, self.out_y, y);
    }
}

/// The sources of Q and the exponent of each one's coefficient, as many as sources.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) sources: &'a [&'a [u8]],
    pub(crate) exponents: &'a [u8],
}

/// P (if `WITH_P`, else zeros) and Q of one column.
#[inline(always)]
fn syndromes<const WITH_P: bool, I: Isa, const N: usize>(
    isa: I,
    column: impl Column<I, N>,
    terms: Terms<'_>,
) -> ([I::Vector; N], [I::Vector; N]) {
    if I::HORNER {
        by_horners_rule::<WITH_P, I, N>(isa, column, terms)
    } else {
        by_products::<WITH_P, I, N>(isa, column, terms)
    }
}

/// Q as a sum of independent products, two sources at a time.
#[inline(always)]
fn by_products<const WITH_P: bool, I: Isa, const N: usize>(
    isa: I,
    column: impl Column<I, N>,
    terms: Terms<'_>,
) -> ([I::Vector; N], [I::Vector; N]) {
    let (mut p, mut q) = ([isa.zero(); N], [isa.zero(); N]);
    let (source_pairs, source_rest) = terms.sources.as_chunks();
    let (exponent_pairs, exponent_rest) = terms.exponents.as_chunks();
    for ([a, b], &[exponent_a, exponent_b]) in source_pairs.iter().zip(exponent_pairs) {
        let (part_a, part_b) = (column.part(a), column.part(b));
        let (factor_a, factor_b) = (isa.factor(exponent_a), isa.factor(exponent_b));
        for k in 0..N {
            let (a, b) = (lane(isa, &part_a, k), lane(isa, &part_b, k));
            if WITH_P {
                p[k] = isa.xor3(p[k], a, b);
            }
            q[k] = isa.xor3(q[k], isa.mul(factor_a, a), isa.mul(factor_b, b));
        }
    }
    for (a, &exponent) in source_rest.iter().zip(exponent_rest) {
        let a = column.load(isa, a);
        if WITH_P {
            p = add(isa, p, a);
        }
        q = add_scaled(isa, q, exponent, a);
    }
    (p, q)
}

/// Q by Horner's rule from the last source to the first: each step multiplies what is there by
/// the power of g between two neighbours' exponents.
#[inline(always)]
fn by_horners_rule<const WITH_P: bool, I: Isa, const N: usize>(
    isa: I,
    column: impl Column<I, N>,
    terms: Terms<'_>,
) -> ([I::Vector; N], [I::Vector; N]) {
    let zeros = [isa.zero(); N];
    let mut backwards = terms.sources.iter().zip(terms.exponents).rev();
    let Some((last, &last_exponent)) = backwards.next() else { return (zeros, zeros) };

    let mut q = column.load(isa, last);
    let mut p = if WITH_P { q } else { zeros };
    let mut power = last_exponent;
    for (source, &exponent) in backwards {
        let a = column.load(isa, source);
        q = if exponent.checked_add(1) == Some(power) {
            double(isa, q)
        } else {
            scale(isa, exponent_gap(power, exponent), q)
        };
        q = add(isa, q, a);
        if WITH_P {
            p = add(isa, p, a);
        }
        power = exponent;
    }
    (p, if power == 0 { q } else { scale(isa, power, q) })
}

/// The exponent of g^`high` / g^`low`: their difference modulo 255, which a borrow lowers by one
/// against modulo 256.
#[inline(always)]
fn exponent_gap(high: u8, low: u8) -> u8 {
    let (gap, borrow) = high.overflowing_sub(low);
    gap.wrapping_sub(u8::from(borrow))
}

/// v · g.
#[inline(always)]
fn double<I: Isa, const N: usize>(isa: I, mut v: [I::Vector; N]) -> [I::Vector; N] {
    for v in &mut v {
        *v = isa.double(*v);
    }
    v
}

/// v · g^`exponent`.
#[inline(always)]
fn scale<I: Isa, const N: usize>(isa: I, exponent: u8, mut v: [I::Vector; N]) -> [I::Vector; N] {
    let factor = isa.factor(exponent);
    for v in &mut v {
        *v = isa.mul(factor, *v);
    }
    v
}

/// a + g^`exponent` · b.
#[inline(always)]
fn add_scaled<I: Isa, const N: usize>(
    isa: I,
    a: [I::Vector; N],
    exponent: u8,
    b: [I::Vector; N],
) -> [I::Vector; N] {
    add(isa, a, scale(isa, exponent, b))
}

/// a + b.
#[inline(always)]
fn add<I: Isa, const N: usize>(isa: I, mut a: [I::Vector; N], b: [I::Vector; N]) -> [I::Vector; N] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = isa.xor(*a, b);
    }
    a
}

/// `total` plus the sources.
#[inline(always)]
fn sum<I: Isa, const N: usize>(
    isa: I,
    column: impl Column<I, N>,
    mut total: [I::Vector; N],
    sources: &[&[u8]],
) -> [I::Vector; N] {
    for source in sources {
        total = add(isa, total, column.load(isa, source));
    }
    total
}

/// Whether any bit of the column is set.
#[inline(always)]
fn any<I: Isa, const N: usize>(isa: I, v: [I::Vector; N]) -> bool {
    let mut bits = isa.zero();
    for v in v {
        bits = isa.or(bits, v);
    }
    !isa.is_zero(bits)
}
