//! The shapes that every call of every kernel must have, asserted in release builds too: a strip
//! of the wrong length is a bug of the caller, and going on would write wrong parity.
//!
//! Not here: what the slices are.

use crate::gf;

/// Most sources of one call: Q has no more coefficients than the field has nonzero elements.
pub const SOURCES_MAX: usize = gf::ORDER as usize;

/// Asserts that there is something to compute a parity of.
pub(crate) fn assert_some(sources: &[&[u8]]) {
    assert!(!sources.is_empty(), "parity of no sources: at least one is needed");
}

/// Asserts that there are not too many sources and that each has `len_bytes`.
pub(crate) fn assert_sources(len_bytes: usize, sources: &[&[u8]]) {
    let count = sources.len();
    assert!(count <= SOURCES_MAX, "{count} sources: at most {SOURCES_MAX} have coefficients");
    for (i, source) in sources.iter().enumerate() {
        let len = source.len();
        assert!(len == len_bytes, "source {i} has {len} bytes: {len_bytes} are needed");
    }
}

/// Asserts what [`assert_sources`] does, and that each source has its exponent.
pub(crate) fn assert_terms(len_bytes: usize, sources: &[&[u8]], exponents: &[u8]) {
    assert_sources(len_bytes, sources);
    let (count, given) = (sources.len(), exponents.len());
    assert!(count == given, "{given} exponents for {count} sources: each needs one");
}

/// Asserts that the slice called `name` has `len_bytes`.
pub(crate) fn assert_len(name: &str, slice: &[u8], len_bytes: usize) {
    let len = slice.len();
    assert!(len == len_bytes, "{name} has {len} bytes: {len_bytes} are needed");
}

/// Asserts that Q tells the two lost strips apart.
pub(crate) fn assert_distinct(exponent_x: u8, exponent_y: u8) {
    let distinct = gf::exp(exponent_x) != gf::exp(exponent_y);
    assert!(distinct, "exponents {exponent_x} and {exponent_y} are the same coefficient");
}
