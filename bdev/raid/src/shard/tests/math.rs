//! Numbers for the shards' tests: a generator, and the field of 256 elements done plainly.
//!
//! Not here: anything fast (crate `parity`).

/// A generator of numbers that look random.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

pub(super) fn mul(mut a: u8, mut b: u8) -> u8 {
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

pub(super) fn power(exponent: u8) -> u8 {
    (0..exponent).fold(1, |value, _| mul(value, 2))
}

pub(super) fn inverse(a: u8) -> u8 {
    (1..=255).find(|&b| mul(a, b) == 1).expect("a is not zero")
}

pub(super) fn add_scaled(target: &mut [u8], source: &[u8], factor: u8) {
    let table: Vec<u8> = (0..=255).map(|byte| mul(byte, factor)).collect();
    for (t, s) in target.iter_mut().zip(source) {
        *t ^= table[usize::from(*s)];
    }
}
