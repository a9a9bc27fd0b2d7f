//! GF(2^8) as RAID 6 uses it: polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d), generator g = 2.
//!
//! Bytes are polynomials over GF(2), addition is xor, multiplication is modulo 0x11d. The
//! generator runs through all 255 nonzero elements, so every nonzero element is a power of it
//! and multiplying is adding exponents modulo 255 (H. P. Anvin, "The mathematics of RAID-6",
//! section 1). The tables here follow from [`mul_bitwise`], which is the definition; the tests
//! compare all 65536 products with it.
//!
//! The kernels name a coefficient by its exponent: g^e is `e`, a byte. Q never multiplies by
//! zero, so nothing is lost, and a row that md numbers with gaps (its DDF layouts count the
//! positions of P and Q too) is the same kernel with other bytes.
//!
//! Not here: anything wider than a byte.

/// The field's polynomial, with its x^8 term.
pub const POLYNOMIAL: u16 = 0x11d;

/// The generator g.
pub const GENERATOR: u8 = 2;

/// What x^8 is congruent to: the polynomial's low byte, xored in when a doubling overflows.
pub(crate) const REDUCTION: u8 = (POLYNOMIAL & 0xff) as u8;

/// Number of nonzero elements: g^255 = g^0 = 1.
pub const ORDER: u8 = 255;

/// g^e for every exponent. From entry 255 on they repeat, so that any byte is a valid exponent
/// and has its eight [`images`].
static POWERS: [u8; 256 + 7] = powers();

/// The exponent of every nonzero element; entry 0 is unused.
static LOGARITHMS: [u8; 256] = logarithms();

/// Product by shift and reduce: the definition that everything else is compared with.
pub const fn mul_bitwise(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut product) = (a, b, 0);
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = double(a);
        b >>= 1;
    }
    product
}

/// Product of two elements.
pub fn mul(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 { 0 } else { exp(exponent_sum(log(a), log(b))) }
}

/// g^`exponent`.
pub fn exp(exponent: u8) -> u8 {
    POWERS[usize::from(exponent)]
}

/// What g^`exponent` makes of a byte's bits: its products with 2^0, 2^1 .. 2^7, whose sums are
/// all its products. Bits are powers of g themselves, so these are eight neighbours in a table.
pub(crate) fn images(exponent: u8) -> &'static [u8; 8] {
    let (images, _) = POWERS[usize::from(exponent)..].split_first_chunk().expect("7 are spare");
    images
}

/// The exponent e in 0..=254 with g^e = `element`.
///
/// # Panics
/// When `element` is zero, which is no power of g.
pub fn log(element: u8) -> u8 {
    assert!(element != 0, "zero has no logarithm in GF(2^8)");
    LOGARITHMS[usize::from(element)]
}

/// The element whose product with `element` is one.
///
/// # Panics
/// When `element` is zero, which has no inverse.
pub fn inverse(element: u8) -> u8 {
    exp(exponent_negated(log(element)))
}

/// The exponent of g^`a` · g^`b`.
pub fn exponent_sum(a: u8, b: u8) -> u8 {
    let sum = u16::from(a) + u16::from(b);
    // Below 255 after the remainder, so the low byte is all of it.
    (sum % u16::from(ORDER)) as u8
}

/// The exponent of the inverse of g^`exponent`.
pub fn exponent_negated(exponent: u8) -> u8 {
    (ORDER - exponent % ORDER) % ORDER
}

/// Twice `a`: one shift, and the polynomial when the shift overflows.
const fn double(a: u8) -> u8 {
    (a << 1) ^ if a & 0x80 != 0 { REDUCTION } else { 0 }
}

const fn powers() -> [u8; 256 + 7] {
    let mut table = [1; 256 + 7];
    let mut e = 1;
    while e < table.len() {
        table[e] = double(table[e - 1]);
        e += 1;
    }
    table
}

const fn logarithms() -> [u8; 256] {
    let powers = powers();
    let mut table = [0; 256];
    let mut e = 0;
    while e < ORDER {
        table[powers[e as usize] as usize] = e;
        e += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_is_the_bitwise_one() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(mul(a, b), mul_bitwise(a, b), "{a:#04x} * {b:#04x}");
            }
        }
    }

    #[test]
    fn the_bitwise_product_is_the_polynomial_one() {
        // Carry-less product first, reduction by long division after: another route entirely.
        for a in 0..=255u8 {
            for b in 0..=255u8 {
                let mut wide = 0u16;
                for bit in 0..8 {
                    wide ^= (u16::from(a) << bit) * u16::from(b >> bit & 1);
                }
                for degree in (8..16).rev() {
                    wide ^= (POLYNOMIAL << (degree - 8)) * (wide >> degree & 1);
                }
                assert_eq!(u16::from(mul_bitwise(a, b)), wide, "{a:#04x} * {b:#04x}");
            }
        }
    }

    #[test]
    fn every_element_times_its_inverse_is_one() {
        for a in 1..=255 {
            assert_eq!(mul_bitwise(a, inverse(a)), 1, "{a:#04x}");
        }
        assert_eq!([inverse(0x02), inverse(0x03), inverse(0x1d)], [0x8e, 0xf4, 0x83]);
    }

    #[test]
    fn powers_are_those_that_md_prints() {
        let first = [
            0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1d, 0x3a, 0x74, 0xe8, 0xcd, 0x87,
            0x13, 0x26, 0x4c, 0x98, 0x2d, 0x5a, 0xb4, 0x75, 0xea, 0xc9, 0x8f, 0x03, 0x06, 0x0c,
            0x18, 0x30, 0x60, 0xc0,
        ];
        for (e, power) in (0..).zip(first) {
            assert_eq!(exp(e), power, "g^{e}");
        }
        assert_eq!([exp(254), exp(255)], [0x8e, 0x01]);
    }

    #[test]
    fn exponents_add_where_elements_multiply() {
        for a in 0..=255 {
            assert_eq!(mul_bitwise(exp(a), exp(exponent_negated(a))), 1, "g^-{a}");
            assert_eq!(exp(log(exp(a))), exp(a), "log g^{a}");
            for b in 0..=255 {
                assert_eq!(exp(exponent_sum(a, b)), mul_bitwise(exp(a), exp(b)), "g^{a} * g^{b}");
            }
        }
    }

    #[test]
    fn images_are_the_products_with_single_bits() {
        for exponent in 0..=255 {
            for (bit, &image) in images(exponent).iter().enumerate() {
                assert_eq!(image, mul_bitwise(exp(exponent), 1 << bit), "g^{exponent} * 2^{bit}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "zero has no logarithm")]
    fn zero_has_no_inverse() {
        inverse(0);
    }
}
