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
fn wrong_shapes_are_refused() {
    let (short, long) = (noise(63, 1), noise(64, 2));
    let empty: Vec<&[u8]> = Vec::new();
    let many = vec![&long[..]; 256];
    let refused = |what: &str, kernel: &dyn Kernel, call: &dyn Fn(&mut [u8], &mut [u8])| {
        let outcome = catch_unwind(AssertUnwindSafe(|| call(&mut [0; 64], &mut [0; 64])));
        assert!(outcome.is_err(), "{}: {what} was accepted", kernel.name());
    };
    for &k in available() {
        let (s, l): (&[u8], &[u8]) = (&short, &long);
        refused("a short source", k, &|p, _| k.xor_gen(p, &[l, s]));
        refused("a short source, streaming", k, &|p, _| k.xor_gen_stream(p, &[l, s]));
        refused("no source", k, &|p, _| k.xor_gen(p, &empty));
        refused("no source of P and Q", k, &|p, q| k.pq_gen(p, q, &empty, &[]));
        refused("no source of Q", k, &|_, q| k.q_gen(q, &empty, &[]));
        refused("256 sources", k, &|p, _| k.xor_gen(p, &many));
        refused("256 terms", k, &|p, q| k.pq_gen(p, q, &many, &[0; 256]));
        refused("a missing exponent", k, &|p, q| k.pq_gen(p, q, &[l, l], &[0]));
        refused("an exponent too many", k, &|_, q| k.q_gen(q, &[l], &[0, 1]));
        refused("a short Q", k, &|p, q| k.pq_gen(p, &mut q[1..], &[l], &[0]));
        refused("a short Q, streaming", k, &|p, q| k.pq_gen_stream(p, &mut q[1..], &[l], &[0]));
        refused("a short old", k, &|p, _| k.p_delta(p, s, l));
        refused("a short new", k, &|_, q| k.q_delta(q, l, s, 0));
        refused("a short Q of two", k, &|p, q| k.pq_delta(p, &mut q[1..], l, l, 0));
        refused("a check of nothing", k, &|p, _| assert!(!k.check_p(p, &empty)));
        refused("a check of a short P", k, &|p, _| assert!(!k.check_p(&p[1..], &[l])));
        refused("a check of a short Q", k, &|p, q| {
            assert!(!k.check_pq(p, &q[1..], &[l], &[0]).any());
        });
        refused("recovery from a short P", k, &|p, _| k.recover_data_from_p(p, s, &[l]));
        refused("recovery from a short Q", k, &|p, _| k.recover_data_from_q(p, s, &[], &[], 0));
        refused("recovery without exponents", k, &|p, _| {
            k.recover_data_from_q(p, l, &[l], &[], 0);
        });
        let two = |x: &mut [u8], y: &mut [u8], exponent_y| {
            let (x, y) = (Lost { out: x, exponent: 0 }, Lost { out: y, exponent: exponent_y });
            k.recover_two_data(x, y, l, l, &[], &[]);
        };
        refused("two strips of one coefficient", k, &|x, y| two(x, y, 0));
        refused("two strips of one coefficient by wrapping", k, &|x, y| two(x, y, 255));
        refused("recovery into slices of two lengths", k, &|x, y| two(&mut x[1..], y, 1));
    }
}
