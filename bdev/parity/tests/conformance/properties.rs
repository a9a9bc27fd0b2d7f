//! What holds for any stripe, on every kernel: random shapes, bytes and exponents in any order.

use parity::{Lost, available};
use proptest::prelude::*;
use proptest::sample::subsequence;

use crate::stripe::{Guarded, Placement, Stripe, noise, reference};

/// Different exponents in any order, at least `least` of them.
fn exponents(least: usize) -> impl Strategy<Value = Vec<u8>> {
    let all: Vec<u8> = (0..=254).collect();
    subsequence(all, least..=40).prop_shuffle()
}

fn placement() -> impl Strategy<Value = Placement> {
    prop_oneof![Just(Placement::Aligned), Just(Placement::Halfway), Just(Placement::Scattered)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_kernel_agrees_with_the_reference(
        exponents in exponents(1),
        len in 0..2000usize,
        placement in placement(),
    ) {
        let stripe = Stripe::new(exponents, len, placement);
        for kernel in available() {
            prop_assert_eq!(stripe.check_generation(*kernel), Ok(()), "{}", kernel.name());
            prop_assert_eq!(stripe.check_checks(*kernel), Ok(()), "{}", kernel.name());
        }
    }

    #[test]
    fn any_two_lost_strips_come_back(
        exponents in exponents(2),
        len in 0..2000usize,
        picks in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        placement in placement(),
    ) {
        let x = picks.0.index(exponents.len());
        let y = (x + 1 + picks.1.index(exponents.len() - 1)) % exponents.len();
        let stripe = Stripe::new(exponents, len, placement);
        for kernel in available() {
            prop_assert_eq!(stripe.check_one_lost(*kernel, x), Ok(()), "{}", kernel.name());
            prop_assert_eq!(stripe.check_two_lost(*kernel, x, y), Ok(()), "{}", kernel.name());
        }
    }

    /// Parity is linear: that of a sum of stripes is the sum of theirs.
    #[test]
    fn parity_of_a_sum_is_the_sum_of_parities(exponents in exponents(1), len in 1..600usize) {
        let strips = |seed: u64| -> Vec<Vec<u8>> {
            (0..exponents.len() as u64).map(|i| noise(len, seed + i)).collect()
        };
        let (a, b) = (strips(1), strips(1000));
        let sum: Vec<Vec<u8>> = a.iter().zip(&b).map(|(a, b)| xor(a, b)).collect();
        for kernel in available() {
            let q = |strips: &[Vec<u8>]| {
                let sources: Vec<&[u8]> = strips.iter().map(Vec::as_slice).collect();
                let mut q = vec![0; len];
                kernel.q_gen(&mut q, &sources, &exponents);
                q
            };
            prop_assert_eq!(q(&sum), xor(&q(&a), &q(&b)), "{}", kernel.name());
        }
    }

    /// A chain of updates, each by another kernel, ends where generation from scratch does.
    #[test]
    fn updates_by_changing_kernels_keep_the_parities(
        exponents in exponents(1),
        len in 1..600usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..12),
    ) {
        let stripe = Stripe::new(exponents, len, Placement::Scattered);
        let mut data: Vec<Vec<u8>> = stripe.sources().iter().map(|s| s.to_vec()).collect();
        let (mut p, mut q) = (stripe.p.copy(), stripe.q.copy());
        for ((slot, seed), kernel) in changes.iter().zip(available().iter().cycle()) {
            let slot = slot.index(data.len());
            let new = noise(len, *seed);
            let exponent = stripe.exponents[slot];
            kernel.pq_delta(p.get_mut(), q.get_mut(), &data[slot], &new, exponent);
            data[slot] = new;
        }
        let sources: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
        let left = reference().check_pq(p.get(), q.get(), &sources, &stripe.exponents);
        prop_assert!(!left.any(), "{:?}", left);
    }

    /// Recovery trusts its inputs: a flipped bit in a survivor moves to the recovered strip, in
    /// the same byte, and spreads no further.
    #[test]
    fn a_byte_depends_on_its_own_column_only(
        exponents in exponents(3),
        len in 1..600usize,
        at in any::<prop::sample::Index>(),
    ) {
        let stripe = Stripe::new(exponents, len, Placement::Scattered);
        let at = at.index(len);
        let (mut others, exponents) = stripe.others(&[0, 1]);
        let mut spoilt = Guarded::new(others[0], Placement::Scattered, 3);
        spoilt.get_mut()[at] ^= 0x10;
        others[0] = spoilt.get();
        for kernel in available() {
            let (mut x, mut y) = (vec![0; len], vec![0; len]);
            kernel.recover_two_data(
                Lost { out: &mut x, exponent: stripe.exponents[0] },
                Lost { out: &mut y, exponent: stripe.exponents[1] },
                stripe.p.get(),
                stripe.q.get(),
                &others,
                &exponents,
            );
            for (out, right) in [(x, stripe.data[0].get()), (y, stripe.data[1].get())] {
                let wrong: Vec<_> = (0..len).filter(|&i| out[i] != right[i]).collect();
                prop_assert_eq!(wrong, vec![at], "{}", kernel.name());
            }
        }
    }
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}
