//! AVX-512 with GFNI: 64 bytes a vector, 32 registers. One instruction multiplies 64 bytes by a
//! constant, another xors three vectors.
//!
//! GFNI's multiply instruction is of no use: its polynomial is 0x11b (AES), RAID 6's is 0x11d.
//! But a product with a constant is linear over GF(2), and GFNI's affine instruction takes any
//! 8x8 bit matrix. Result bit i is the parity of the byte that is ANDed with the matrix's
//! byte 7 - i (Intel SDM, GF2P8AFFINEQB), so bit j of that byte is bit i of c · 2^j:
//!
//! ```text
//! matrix byte 7-i, bit j  =  bit i of c·2^j          c = 2:   bit 7 .. 0 of the byte
//!                                                    byte 7   1 . . . . . . .    r0 = b7
//!                                                    byte 6   . . . . . . . 1    r1 = b0
//!                                                    byte 5   1 . . . . . 1 .    r2 = b1 + b7
//!                                                    ...
//! ```
//!
//! Unsafe here: loads, stores, and intrinsics, which are safe only inside functions with the
//! feature switched on. [`Avx512::detect`] is the only way to a value of [`Avx512`], so every
//! method that has one knows what the CPU has.
//!
//! Not here: the algorithms ([`crate::passes`]).

#![expect(unsafe_code, reason = "vector intrinsics, loads and stores behind the detected token")]

use core::arch::x86_64::*;

use crate::gf;
use crate::isa::{Isa, Pass, run};

/// The matrix of g^e for every exponent e: 2 KiB.
static MATRICES: [u64; 256] = matrices();

/// Proof that the CPU has AVX-512 F and GFNI.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The token, if this CPU has both and its operating system saves the registers.
    pub(crate) fn detect() -> Option<&'static Self> {
        static TOKEN: Avx512 = Avx512(());
        let found = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("gfni");
        found.then_some(&TOKEN)
    }
}

/// A vector at any address.
#[repr(C, packed)]
struct Unaligned(__m512i);

impl Isa for Avx512 {
    const NAME: &'static str = "avx512-gfni";
    const BYTES: usize = size_of::<__m512i>();
    const REGISTERS: usize = 32;
    const HORNER: bool = false;

    type Vector = __m512i;
    /// The matrix, eight times.
    type Factor = __m512i;

    #[inline(always)]
    fn enter<P: Pass>(self, len_bytes: usize, pass: &mut P) {
        #[target_feature(enable = "avx512f,gfni")]
        fn with_avx512<P: Pass>(isa: Avx512, len_bytes: usize, pass: &mut P) {
            run(isa, len_bytes, pass);
        }
        // SAFETY: `self` exists, so `detect` has found AVX-512 F and GFNI.
        unsafe { with_avx512(self, len_bytes, pass) }
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: `self` exists, so `detect` has found AVX-512 F.
        unsafe { _mm512_setzero_si512() }
    }

    /// Volatile, to keep loads in the order in which they are written. Left alone, LLVM loads the
    /// eight vectors of a column in an order of its own; hardware prefetchers then lose the
    /// stream, and cold memory took up to 1.5 times as long.
    #[inline(always)]
    fn load(self, from: &[u8]) -> __m512i {
        assert!(from.len() == Self::BYTES, "a vector has {} bytes", Self::BYTES);
        let from = from.as_ptr().cast::<Unaligned>();
        // SAFETY: the slice is as long as the vector, asserted above, and any address is aligned
        // for a packed struct.
        unsafe { from.read_volatile().0 }
    }

    #[inline(always)]
    fn store(self, to: &mut [u8], v: __m512i) {
        assert!(to.len() == Self::BYTES, "a vector has {} bytes", Self::BYTES);
        // SAFETY: the slice is ours to write and as long as the vector, asserted above; no alignment
        // is needed; `self` exists, so `detect` has found AVX-512 F.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn store_streaming(self, to: &mut [u8], v: __m512i) {
        assert!(to.len() == Self::BYTES, "a vector has {} bytes", Self::BYTES);
        if !to.as_ptr().addr().is_multiple_of(Self::BYTES) {
            return self.store(to, v);
        }
        // SAFETY: as in `store`, and aligned to the vector, tested above; nobody reads it before the
        // fence with which every streaming pass ends.
        unsafe { _mm512_stream_si512(to.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn finish_streaming(self) {
        // SAFETY: every x86-64 CPU has SSE's fence.
        unsafe { _mm_sfence() }
    }

    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` exists, so `detect` has found AVX-512 F.
        unsafe { _mm512_xor_si512(a, b) }
    }

    #[inline(always)]
    fn xor3(self, a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        /// The truth table of a ^ b ^ c.
        const XOR3: i32 = 0x96;
        // SAFETY: `self` exists, so `detect` has found AVX-512 F.
        unsafe { _mm512_ternarylogic_epi64::<XOR3>(a, b, c) }
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` exists, so `detect` has found AVX-512 F.
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    fn is_zero(self, v: __m512i) -> bool {
        // SAFETY: `self` exists, so `detect` has found AVX-512 F.
        unsafe { _mm512_test_epi64_mask(v, v) == 0 }
    }

    #[inline(always)]
    fn factor(self, exponent: u8) -> __m512i {
        let matrix = MATRICES[usize::from(exponent)].cast_signed();
        // SAFETY: `self` exists, so `detect` has found AVX-512 F.
        unsafe { _mm512_set1_epi64(matrix) }
    }

    #[inline(always)]
    fn mul(self, matrix: __m512i, v: __m512i) -> __m512i {
        // SAFETY: `self` exists, so `detect` has found AVX-512 F and GFNI.
        unsafe { _mm512_gf2p8affine_epi64_epi8::<0>(v, matrix) }
    }
}

const fn matrices() -> [u64; 256] {
    let mut table = [0; 256];
    let mut coefficient = 1;
    let mut exponent = 0;
    while exponent < 256 {
        table[exponent] = matrix(coefficient);
        coefficient = gf::mul_bitwise(coefficient, gf::GENERATOR);
        exponent += 1;
    }
    table
}

/// The matrix of multiplication by `coefficient`, as drawn above.
const fn matrix(coefficient: u8) -> u64 {
    let mut matrix = 0;
    let mut j = 0;
    while j < 8 {
        let image = gf::mul_bitwise(coefficient, 1 << j);
        let mut i = 0;
        while i < 8 {
            let bit = (image >> i & 1) as u64;
            matrix |= bit << (8 * (7 - i) + j);
            i += 1;
        }
        j += 1;
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_of_two_is_the_one_drawn_above() {
        let rows = MATRICES[1].to_be_bytes();
        assert_eq!(rows, [0x80, 0x01, 0x82, 0x84, 0x88, 0x10, 0x20, 0x40]);
    }

    #[test]
    fn matrices_times_bytes_are_all_products() {
        for exponent in 0..=255 {
            let matrix = MATRICES[usize::from(exponent)].to_le_bytes();
            for byte in 0..=255u8 {
                let mut product = 0;
                for i in 0..8 {
                    product |= ((matrix[7 - i] & byte).count_ones() as u8 & 1) << i;
                }
                assert_eq!(product, gf::mul(gf::exp(exponent), byte), "g^{exponent} * {byte:#04x}");
            }
        }
    }
}
