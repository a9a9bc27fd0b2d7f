//! AVX2: 32 bytes a vector, 16 registers. Doubling is four instructions (the compare makes a
//! mask of the bytes whose top bit is set), a product two shuffles of nibble tables.
//!
//! Unsafe here: loads, stores, and intrinsics, which are safe only inside functions with the
//! feature switched on. [`Avx2::detect`] is the only way to a value of [`Avx2`], so every method
//! that has one knows that the CPU has AVX2.
//!
//! Not here: the algorithms ([`crate::passes`]).

#![expect(unsafe_code, reason = "vector intrinsics, loads and stores behind the detected token")]

use core::arch::x86_64::*;

use crate::gf;
use crate::isa::{Isa, Pass, run};
use crate::nibbles::{NIBBLES, Nibbles};

/// Proof that the CPU has AVX2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The token, if this CPU and its operating system have AVX2.
    pub(crate) fn detect() -> Option<&'static Self> {
        static TOKEN: Avx2 = Avx2(());
        is_x86_feature_detected!("avx2").then_some(&TOKEN)
    }

    /// The entries twice: AVX2's shuffle looks each half's bytes up in the same half.
    #[inline(always)]
    fn both_halves(self, entries: &[u8; 16]) -> __m256i {
        // SAFETY: the array is as long as the vector, and every x86-64 CPU has SSE2.
        let entries = unsafe { _mm_loadu_si128(entries.as_ptr().cast()) };
        // SAFETY: `self` exists, so `detect` has found AVX2.
        unsafe { _mm256_broadcastsi128_si256(entries) }
    }
}

/// A vector at any address.
#[repr(C, packed)]
struct Unaligned(__m256i);

impl Isa for Avx2 {
    const NAME: &'static str = "avx2";
    const BYTES: usize = size_of::<__m256i>();
    const REGISTERS: usize = 16;
    const HORNER: bool = true;

    type Vector = __m256i;
    /// A nibble table's low and high part, each in both halves of a vector.
    type Factor = (__m256i, __m256i);

    #[inline(always)]
    fn enter<P: Pass>(self, len_bytes: usize, pass: &mut P) {
        #[target_feature(enable = "avx2")]
        fn with_avx2<P: Pass>(isa: Avx2, len_bytes: usize, pass: &mut P) {
            run(isa, len_bytes, pass);
        }
        // SAFETY: `self` exists, so `detect` has found AVX2.
        unsafe { with_avx2(self, len_bytes, pass) }
    }

    #[inline(always)]
    fn zero(self) -> __m256i {
        // SAFETY: `self` exists, so `detect` has found AVX2.
        unsafe { _mm256_setzero_si256() }
    }

    /// Volatile, to keep loads in the order in which they are written. Left alone, LLVM loads the
    /// eight vectors of a column in an order of its own; hardware prefetchers then lose the
    /// stream, and cold memory took up to 1.5 times as long.
    #[inline(always)]
    fn load(self, from: &[u8]) -> __m256i {
        assert!(from.len() == Self::BYTES, "a vector has {} bytes", Self::BYTES);
        let from = from.as_ptr().cast::<Unaligned>();
        // SAFETY: the slice is as long as the vector, asserted above, and any address is aligned
        // for a packed struct.
        unsafe { from.read_volatile().0 }
    }

    #[inline(always)]
    fn store(self, to: &mut [u8], v: __m256i) {
        assert!(to.len() == Self::BYTES, "a vector has {} bytes", Self::BYTES);
        // SAFETY: the slice is ours to write and as long as the vector, asserted above; no alignment
        // is needed; `self` exists, so `detect` has found AVX2.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn store_streaming(self, to: &mut [u8], v: __m256i) {
        assert!(to.len() == Self::BYTES, "a vector has {} bytes", Self::BYTES);
        if !to.as_ptr().addr().is_multiple_of(Self::BYTES) {
            return self.store(to, v);
        }
        // SAFETY: as in `store`, and aligned to the vector, tested above; nobody reads it before the
        // fence with which every streaming pass ends.
        unsafe { _mm256_stream_si256(to.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn finish_streaming(self) {
        // SAFETY: every x86-64 CPU has SSE's fence.
        unsafe { _mm_sfence() }
    }

    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` exists, so `detect` has found AVX2.
        unsafe { _mm256_xor_si256(a, b) }
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` exists, so `detect` has found AVX2.
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    fn is_zero(self, v: __m256i) -> bool {
        // SAFETY: `self` exists, so `detect` has found AVX2.
        unsafe { _mm256_testz_si256(v, v) == 1 }
    }

    #[inline(always)]
    fn factor(self, exponent: u8) -> Self::Factor {
        let Nibbles { low, high } = &NIBBLES[usize::from(exponent)];
        (self.both_halves(low), self.both_halves(high))
    }

    #[inline(always)]
    fn mul(self, (low, high): Self::Factor, v: __m256i) -> __m256i {
        #[target_feature(enable = "avx2")]
        #[inline]
        fn product(low: __m256i, high: __m256i, v: __m256i) -> __m256i {
            let nibble = _mm256_set1_epi8(0x0f);
            let of_low = _mm256_shuffle_epi8(low, _mm256_and_si256(v, nibble));
            let v_high = _mm256_and_si256(_mm256_srli_epi64::<4>(v), nibble);
            _mm256_xor_si256(of_low, _mm256_shuffle_epi8(high, v_high))
        }
        // SAFETY: `self` exists, so `detect` has found AVX2.
        unsafe { product(low, high, v) }
    }

    #[inline(always)]
    fn double(self, v: __m256i) -> __m256i {
        #[target_feature(enable = "avx2")]
        #[inline]
        fn doubled(v: __m256i) -> __m256i {
            let overflows = _mm256_cmpgt_epi8(_mm256_setzero_si256(), v);
            let reduction = _mm256_set1_epi8(gf::REDUCTION as i8);
            _mm256_xor_si256(_mm256_add_epi8(v, v), _mm256_and_si256(overflows, reduction))
        }
        // SAFETY: `self` exists, so `detect` has found AVX2.
        unsafe { doubled(v) }
    }
}
