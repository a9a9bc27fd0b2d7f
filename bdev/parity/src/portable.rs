//! The kernel for any CPU: 64-bit words, safe Rust, eight bytes side by side.
//!
//! Doubling all eight at once, as Linux's `lib/raid6/int.uc` does it: shift the word left by one
//! with each byte's top bit masked out, and xor the polynomial's low byte into the bytes that had
//! that bit.
//!
//! ```text
//! v        80 01 c0 ..     top bits   80 00 80 ..     shifted   00 02 80 ..
//! carry = (top << 1) - (top >> 7)  =  ff 00 ff ..     & 1d      1d 00 1d ..   sum  1d 02 9d ..
//! ```
//!
//! A product is the sum over the bits of what the factor makes of each: with a zero or one in
//! every byte, multiplying a word by a byte cannot carry from one byte into the next.
//!
//! Not here: `std::simd`, which is not stable; anything that depends on the CPU. Wider vectors
//! made of words were no faster: compilers split them up again.

use crate::gf;
use crate::isa::{Isa, Pass, run};

/// Every CPU has words, so this token proves nothing and anybody in the crate may make one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

impl Isa for Portable {
    const NAME: &'static str = "portable";
    const BYTES: usize = size_of::<u64>();
    const REGISTERS: usize = 16;
    const HORNER: bool = true;

    type Vector = u64;
    /// What the factor makes of each of a byte's bits.
    type Factor = &'static [u8; 8];

    #[inline(always)]
    fn enter<P: Pass>(self, len_bytes: usize, pass: &mut P) {
        run(self, len_bytes, pass);
    }

    #[inline(always)]
    fn zero(self) -> u64 {
        0
    }

    #[inline(always)]
    fn load(self, from: &[u8]) -> u64 {
        u64::from_ne_bytes(from.try_into().expect("a vector has 8 bytes"))
    }

    #[inline(always)]
    fn store(self, to: &mut [u8], v: u64) {
        to.copy_from_slice(&v.to_ne_bytes());
    }

    #[inline(always)]
    fn xor(self, a: u64, b: u64) -> u64 {
        a ^ b
    }

    #[inline(always)]
    fn or(self, a: u64, b: u64) -> u64 {
        a | b
    }

    #[inline(always)]
    fn is_zero(self, v: u64) -> bool {
        v == 0
    }

    #[inline(always)]
    fn factor(self, exponent: u8) -> &'static [u8; 8] {
        gf::images(exponent)
    }

    #[inline(always)]
    fn mul(self, images: &'static [u8; 8], v: u64) -> u64 {
        let mut product = 0;
        for (bit, &image) in images.iter().enumerate() {
            product ^= (v >> bit & splat(1)) * u64::from(image);
        }
        product
    }

    #[inline(always)]
    fn double(self, v: u64) -> u64 {
        let top = v & splat(0x80);
        let carry = (top << 1).wrapping_sub(top >> 7);
        (v << 1 & splat(0xfe)) ^ (carry & splat(gf::REDUCTION))
    }
}

/// The word with `byte` in every byte.
const fn splat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_doubles_and_multiplies_in_every_place() {
        for byte in 0..=255u8 {
            for place in 0..8 {
                // Neighbours full of ones: whatever leaks out of a byte shows.
                let mut bytes = [0xff; 8];
                bytes[place] = byte;
                let word = Portable.load(&bytes);
                for exponent in [0, 1, 2, 7, 8, 100, 254, 255] {
                    let product = bytes.map(|byte| gf::mul(gf::exp(exponent), byte));
                    let found = Portable.mul(Portable.factor(exponent), word);
                    assert_eq!(found.to_ne_bytes(), product, "g^{exponent} * {bytes:02x?}");
                }
                let doubled = bytes.map(|byte| gf::mul(gf::GENERATOR, byte));
                assert_eq!(Portable.double(word).to_ne_bytes(), doubled, "2 * {bytes:02x?}");
            }
        }
    }
}
