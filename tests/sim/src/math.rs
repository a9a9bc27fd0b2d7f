//! Arithmetic over GF(2^8) as a textbook has it, so that it is nobody's kernel.
//!
//! Not here: which strips (`shell`, `judge`).

/// Product of two elements: the eight steps of long multiplication, without a branch, so that a compiler makes
/// vectors of a loop over it.
#[must_use]
pub const fn mul(mut a: u8, b: u8) -> u8 {
    let mut product = 0;
    let mut bit = 0;
    while bit < 8 {
        product ^= a & (b >> bit & 1).wrapping_neg();
        a = (a << 1) ^ (0x1d & (a >> 7).wrapping_neg());
        bit += 1;
    }
    product
}

/// 2 to a power.
#[must_use]
pub fn power(exponent: u8) -> u8 {
    (0..exponent).fold(1, |value, _| mul(value, 2))
}

/// The inverse of an element that is not zero.
///
/// # Panics
/// For zero.
#[must_use]
pub fn inverse(a: u8) -> u8 {
    (1..=255).find(|&b| mul(a, b) == 1).expect("zero has no inverse")
}

/// `target` += `factor` * `source`.
pub fn add_scaled(target: &mut [u8], source: &[u8], factor: u8) {
    for (t, s) in target.iter_mut().zip(source) {
        *t ^= mul(*s, factor);
    }
}

/// `data` *= `factor`.
#[must_use]
pub fn scaled(data: &[u8], factor: u8) -> Vec<u8> {
    let mut product = vec![0; data.len()];
    add_scaled(&mut product, data, factor);
    product
}
