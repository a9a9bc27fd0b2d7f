//! Division by a small number that is fixed when the array is built: a multiplication.
//!
//! With `r = floor(2^63 / d) + 1`, the quotient of `n` is the high part of one 128-bit product:
//!
//! ```text
//!   floor(n / d) = floor(n * r / 2^63)     for all n < 2^55, 1 <= d <= 255
//! ```
//!
//! Proof: `r = (2^63 + e) / d` with `1 <= e <= d`, so `n * r / 2^63 = n / d + n * e / (d * 2^63)`.
//! The second term is below `1 / d` because `n * e < 2^55 * 2^8`, and `n / d` is at least `1 / d`
//! below the next whole number, so the floor is the same. (Granlund and Montgomery, "Division by
//! invariant integers using multiplication", 1994, theorem 4.2.)
//!
//! What it is worth, measured for `locate`, `rotation`, `data_slot` and `member_byte` of one byte
//! that depends on the one before: 9.8 to 11.2 ns with it, 12.1 to 13.6 ns with `/` and `%`, on an
//! AMD EPYC (family 25), whose divider is among the fastest; older processors take several times as
//! long to divide 64 bits.
//!
//! 2^63 and not 2^64, so that `r` fits into a word for `d = 1` too and no divisor is special.
//!
//! Not here: the shift and mask for strips, whose size is a power of two.

/// Numerators must be below this.
pub(super) const NUMERATOR_END: u64 = 1 << 55;

/// A divisor of 1 to 255.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reciprocal {
    divisor: u64,
    reciprocal: u64,
}

impl Reciprocal {
    /// # Panics
    /// If `divisor` is 0.
    pub(super) fn new(divisor: u8) -> Self {
        let divisor = u64::from(divisor);
        Self { divisor, reciprocal: (1 << 63) / divisor + 1 }
    }

    /// Quotient and remainder of `numerator`, which is below [`NUMERATOR_END`].
    #[inline]
    pub(super) fn div_rem(self, numerator: u64) -> (u64, u64) {
        debug_assert!(numerator < NUMERATOR_END, "{numerator} is too large to divide exactly");
        let product = u128::from(numerator) * u128::from(self.reciprocal);
        let quotient = (product >> 63) as u64;
        (quotient, numerator - quotient * self.divisor)
    }
}
