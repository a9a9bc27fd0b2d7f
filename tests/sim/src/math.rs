//! Arithmetic over GF(2^8) as a textbook has it, so that it is nobody's kernel.
//!
//! Not here: which strips (`shell`, `judge`).

/// Product of two elements.
#[must_use]
pub const fn mul(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = (a << 1) ^ if a & 0x80 != 0 { 0x1d } else { 0 };
        b >>= 1;
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
    if factor == 1 {
        for (t, s) in target.iter_mut().zip(source) {
            *t ^= *s;
        }
        return;
    }
    let mut table = [0; 256];
    for (byte, entry) in (0..=255u8).zip(&mut table) {
        *entry = mul(byte, factor);
    }
    for (t, s) in target.iter_mut().zip(source) {
        *t ^= table[usize::from(*s)];
    }
}

/// `data` *= `factor`.
#[must_use]
pub fn scaled(data: &[u8], factor: u8) -> Vec<u8> {
    let mut product = vec![0; data.len()];
    add_scaled(&mut product, data, factor);
    product
}
