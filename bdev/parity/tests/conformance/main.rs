//! Every kernel that this CPU can run computes what the reference computes: over source counts,
//! lengths around vector and column boundaries, alignments, both of md's Q orders and every pair
//! of lost strips. The reference goes through the same tests, so that its own recoveries must
//! give the data back; fixed answers (`golden`) anchor it. What stops the suite from passing for
//! nothing is `planted`: every method broken once, and found.

mod golden;
mod planted;
mod properties;
mod stripe;

use std::panic::{AssertUnwindSafe, catch_unwind};

use parity::{Kernel, Lost, available};
use stripe::{Placement, Stripe, ddf_order, md_order, noise};

const PLACEMENTS: [Placement; 3] = [Placement::Aligned, Placement::Halfway, Placement::Scattered];

/// Runs `check` on every kernel and stripe, and says which of them failed.
fn on_every_kernel(
    exponents: &[u8],
    len: usize,
    check: impl Fn(&Stripe, &dyn Kernel) -> Result<(), String>,
) {
    for placement in PLACEMENTS {
        let stripe = Stripe::new(exponents.to_vec(), len, placement);
        for kernel in available() {
            if let Err(fault) = check(&stripe, *kernel) {
                let name = kernel.name();
                panic!("{name}: {fault} (exponents {exponents:?}, {len} bytes, {placement:?})");
            }
        }
    }
}

/// One, and the neighbours of every multiple at which some kernel changes its stride: words of 8,
/// vectors of 16, 32 and 64, columns of four or eight vectors, pages.
fn lengths() -> Vec<usize> {
    let boundaries = [0, 8, 16, 32, 64, 128, 256, 512, 576, 1024, 1536, 4096];
    let around = boundaries.iter().flat_map(|&at: &usize| [at.saturating_sub(1), at, at + 1]);
    let mut lengths: Vec<_> = around.collect();
    lengths.dedup();
    lengths
}

#[test]
fn every_length_at_every_alignment() {
    for len in lengths() {
        on_every_kernel(&md_order(4, 1), len, Stripe::check_all);
        on_every_kernel(&ddf_order(5, 2), len, Stripe::check_all);
    }
}

#[test]
fn every_source_count_and_every_pair_of_lost_strips() {
    for count in 1..=32 {
        on_every_kernel(&md_order(count, 0), 199, Stripe::check_all);
        on_every_kernel(&ddf_order(count, count / 2), 71, Stripe::check_all);
    }
}

#[test]
fn every_rotation_of_both_orders() {
    for count in 1..=9 {
        for first in 0..count + 2 {
            on_every_kernel(&md_order(count, first), 137, Stripe::check_all);
            on_every_kernel(&ddf_order(count, first), 137, Stripe::check_all);
        }
    }
}

#[test]
fn the_widest_stripes() {
    for exponents in [md_order(253, 0), md_order(253, 100), ddf_order(253, 7), md_order(255, 254)] {
        on_every_kernel(&exponents, 600, |stripe, kernel| {
            stripe.check_generation(kernel)?;
            stripe.check_checks(kernel)?;
            for (x, y) in [(0, 1), (1, 0), (126, 127), (0, 252), (252, 251), (9, 200)] {
                stripe.check_one_lost(kernel, x)?;
                stripe.check_deltas(kernel, y)?;
                stripe.check_two_lost(kernel, x, y)?;
            }
            Ok(())
        });
    }
}

#[test]
fn exponents_need_no_order_and_wrap_at_255() {
    let wrapping = [vec![255], vec![254, 255], vec![255, 254], vec![1, 255, 2], vec![200, 3, 255]];
    for exponents in wrapping {
        on_every_kernel(&exponents, 333, Stripe::check_all);
    }
    // Every neighbour of 0 and 255, which Horner's rule tells apart by differences.
    for exponent in 1..=254 {
        on_every_kernel(&[0, exponent, 255 - exponent], 41, Stripe::check_generation);
        on_every_kernel(&[exponent, 255, 0, exponent], 41, Stripe::check_generation);
        on_every_kernel(&[255, exponent, 0, 255], 41, Stripe::check_generation);
    }
}

#[test]
fn every_product_of_every_kernel() {
    // All 256 bytes times all 256 coefficients, one source: Q is the product.
    let bytes: Vec<u8> = (0..=255).collect();
    for kernel in available() {
        for exponent in 0..=255 {
            let mut q = [0; 256];
            kernel.q_gen(&mut q, &[&bytes], &[exponent]);
            let product = |&byte: &u8| parity::gf::mul(parity::gf::exp(exponent), byte);
            let wanted: Vec<_> = bytes.iter().map(product).collect();
            assert_eq!(q[..], wanted, "{}: g^{exponent}", kernel.name());
        }
    }
}

#[test]
fn wrong_shapes_are_refused_with_what_would_be_right() {
    let (short, long) = (noise(63, 1), noise(64, 2));
    let (s, l): (&[u8], &[u8]) = (&short, &long);
    let many = vec![l; 256];
    for &k in available() {
        let two = |x: &mut [u8], y: &mut [u8], exponent_y| {
            let (x, y) = (Lost { out: x, exponent: 0 }, Lost { out: y, exponent: exponent_y });
            k.recover_two_data(x, y, l, l, &[], &[]);
        };
        let refused = |call: &dyn Fn(&mut [u8], &mut [u8])| refusal(k.name(), call);

        let expected = "source 1 has 63 bytes: 64 are needed";
        assert_eq!(refused(&|p, _| k.xor_gen(p, &[l, s])), expected);
        assert_eq!(refused(&|p, _| k.xor_gen_stream(p, &[l, s])), expected);
        assert_eq!(refused(&|p, q| k.pq_gen(p, q, &[l, s], &[0, 1])), expected);
        assert_eq!(refused(&|p, _| _ = k.check_p(p, &[l, s])), expected);
        assert_eq!(refused(&|p, _| k.recover_data_from_p(p, l, &[l, s])), expected);

        let expected = "parity of no sources: at least one is needed";
        assert_eq!(refused(&|p, _| k.xor_gen(p, &[])), expected);
        assert_eq!(refused(&|p, q| k.pq_gen(p, q, &[], &[])), expected);
        assert_eq!(refused(&|_, q| k.q_gen(q, &[], &[])), expected);
        assert_eq!(refused(&|p, _| _ = k.check_p(p, &[])), expected);
        assert_eq!(refused(&|p, q| _ = k.check_pq(p, q, &[], &[])), expected);

        let expected = "256 sources: at most 255 have coefficients";
        assert_eq!(refused(&|p, _| k.xor_gen(p, &many)), expected);
        assert_eq!(refused(&|p, q| k.pq_gen(p, q, &many, &[0; 256])), expected);

        let expected = "1 exponents for 2 sources: each needs one";
        assert_eq!(refused(&|p, q| k.pq_gen(p, q, &[l, l], &[0])), expected);
        assert_eq!(refused(&|p, _| k.recover_data_from_q(p, l, &[l, l], &[0], 1)), expected);

        let expected = "q has 63 bytes: 64 are needed";
        assert_eq!(refused(&|p, q| k.pq_gen(p, &mut q[1..], &[l], &[0])), expected);
        assert_eq!(refused(&|p, q| k.pq_gen_stream(p, &mut q[1..], &[l], &[0])), expected);
        assert_eq!(refused(&|p, q| k.pq_delta(p, &mut q[1..], l, l, 0)), expected);
        assert_eq!(refused(&|p, q| _ = k.check_pq(p, &q[1..], &[l], &[0])), expected);
        assert_eq!(refused(&|p, _| k.recover_data_from_q(p, s, &[], &[], 0)), expected);

        assert_eq!(refused(&|p, _| k.p_delta(p, s, l)), "old has 63 bytes: 64 are needed");
        assert_eq!(refused(&|_, q| k.q_delta(q, l, s, 0)), "new has 63 bytes: 64 are needed");
        let from_short_p = refused(&|x, _| k.recover_data_from_p(x, s, &[l]));
        assert_eq!(from_short_p, "p has 63 bytes: 64 are needed");
        let two_lengths = refused(&|x, y| two(&mut x[1..], y, 1));
        assert_eq!(two_lengths, "y has 64 bytes: 63 are needed");

        let twins = refused(&|x, y| two(x, y, 255));
        assert_eq!(twins, "exponents 0 and 255 are the same coefficient");
    }
}

/// The message with which a call over two slices of 64 bytes panics.
fn refusal(kernel: &str, call: &dyn Fn(&mut [u8], &mut [u8])) -> String {
    let outcome = catch_unwind(AssertUnwindSafe(|| call(&mut [0; 64], &mut [0; 64])));
    let payload = outcome.expect_err(kernel);
    match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => (*payload.downcast::<&str>().expect("panics have messages")).to_owned(),
    }
}
