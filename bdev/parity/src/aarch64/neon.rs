//! NEON: 16 bytes a vector, 32 registers. Doubling is four instructions (the compare makes a
//! mask of the bytes whose top bit is set), a product two look-ups in nibble tables.
//!
//! Unsafe here: loads, stores, and intrinsics, which are safe only inside functions with the
//! feature switched on. [`Neon::detect`] is the only way to a value of [`Neon`], so every method
//! that has one knows that the CPU has NEON.
//!
//! `.ci/run` compiles it for its target, and the conformance tests have run it under QEMU; how fast it
//! is on a real CPU is not known yet.
//!
//! Not here: the algorithms ([`crate::passes`]); non-temporal stores, for which there are no
//! intrinsics; three-operand xor, which is an extension of its own (SHA3).

#![expect(unsafe_code, reason = "vector intrinsics, loads and stores behind the detected token")]

use core::arch::aarch64::*;
use std::arch::is_aarch64_feature_detected;

use crate::gf;
use crate::isa::{Isa, Pass, run};
use crate::nibbles::{NIBBLES, Nibbles};

/// Proof that the CPU has NEON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon(());

impl Neon {
    /// The token, if this CPU has NEON.
    pub(crate) fn detect() -> Option<&'static Self> {
        static TOKEN: Neon = Neon(());
        is_aarch64_feature_detected!("neon").then_some(&TOKEN)
    }
}

impl Isa for Neon {
    const NAME: &'static str = "neon";
    const BYTES: usize = size_of::<uint8x16_t>();
    const REGISTERS: usize = 32;
    const HORNER: bool = true;

    type Vector = uint8x16_t;
    /// A nibble table's low and high part.
    type Factor = (uint8x16_t, uint8x16_t);

    #[inline(always)]
    fn enter<P: Pass>(self, len_bytes: usize, pass: &mut P) {
        #[target_feature(enable = "neon")]
        fn with_neon<P: Pass>(isa: Neon, len_bytes: usize, pass: &mut P) {
            run(isa, len_bytes, pass);
        }
        // SAFETY: `self` exists, so `detect` has found NEON.
        unsafe { with_neon(self, len_bytes, pass) }
    }

    #[inline(always)]
    fn zero(self) -> uint8x16_t {
        // SAFETY: `self` exists, so `detect` has found NEON.
        unsafe { vdupq_n_u8(0) }
    }

    #[inline(always)]
    fn load(self, from: &[u8]) -> uint8x16_t {
        assert!(from.len() == Self::BYTES, "a vector has {} bytes", Self::BYTES);
        // SAFETY: the slice is as long as the vector, asserted above; no alignment is needed;
        // `self` exists, so `detect` has found NEON.
        unsafe { vld1q_u8(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, to: &mut [u8], v: uint8x16_t) {
        assert!(to.len() == Self::BYTES, "a vector has {} bytes", Self::BYTES);
        // SAFETY: as in `load`, and the slice is ours to write.
        unsafe { vst1q_u8(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn xor(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        // SAFETY: `self` exists, so `detect` has found NEON.
        unsafe { veorq_u8(a, b) }
    }

    #[inline(always)]
    fn or(self, a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        // SAFETY: `self` exists, so `detect` has found NEON.
        unsafe { vorrq_u8(a, b) }
    }

    #[inline(always)]
    fn is_zero(self, v: uint8x16_t) -> bool {
        // SAFETY: `self` exists, so `detect` has found NEON.
        unsafe { vmaxvq_u8(v) == 0 }
    }

    #[inline(always)]
    fn factor(self, exponent: u8) -> Self::Factor {
        let Nibbles { low, high } = &NIBBLES[usize::from(exponent)];
        (self.load(low), self.load(high))
    }

    #[inline(always)]
    fn mul(self, (low, high): Self::Factor, v: uint8x16_t) -> uint8x16_t {
        #[target_feature(enable = "neon")]
        #[inline]
        fn product(low: uint8x16_t, high: uint8x16_t, v: uint8x16_t) -> uint8x16_t {
            let of_low = vqtbl1q_u8(low, vandq_u8(v, vdupq_n_u8(0x0f)));
            veorq_u8(of_low, vqtbl1q_u8(high, vshrq_n_u8::<4>(v)))
        }
        // SAFETY: `self` exists, so `detect` has found NEON.
        unsafe { product(low, high, v) }
    }

    #[inline(always)]
    fn double(self, v: uint8x16_t) -> uint8x16_t {
        #[target_feature(enable = "neon")]
        #[inline]
        fn doubled(v: uint8x16_t) -> uint8x16_t {
            let overflows = vcltzq_s8(vreinterpretq_s8_u8(v));
            let reduction = vandq_u8(overflows, vdupq_n_u8(gf::REDUCTION));
            veorq_u8(vshlq_n_u8::<1>(v), reduction)
        }
        // SAFETY: `self` exists, so `detect` has found NEON.
        unsafe { doubled(v) }
    }
}
