//! Division by multiplication against the processor's: every divisor, every numerator that could be
//! on the edge.

use crate::geometry::reciprocal::{NUMERATOR_END, Reciprocal};
use proptest::prelude::*;

fn check(divisor: u8, numerator: u64) {
    let wide = u64::from(divisor);
    assert_eq!(
        Reciprocal::new(divisor).div_rem(numerator),
        (numerator / wide, numerator % wide),
        "{numerator} by {divisor}"
    );
}

/// The approximation is largest just below a multiple of the divisor and grows with the numerator,
/// so these are the numerators that would fail first: around multiples of the divisor near every
/// power of two up to the end, and around the powers themselves.
#[test]
fn division_is_exact_around_every_boundary() {
    for divisor in 1..=u8::MAX {
        for shift in 0..=NUMERATOR_END.trailing_zeros() {
            let power = 1u64 << shift;
            let multiple = power - power % u64::from(divisor);
            for middle in [power, multiple, multiple.saturating_sub(divisor.into())] {
                for numerator in middle.saturating_sub(300)..=middle + 300 {
                    if numerator < NUMERATOR_END {
                        check(divisor, numerator);
                    }
                }
            }
        }
    }
}

#[test]
fn division_is_exact_for_all_small_numerators() {
    for divisor in 1..=u8::MAX {
        (0..20_000).for_each(|numerator| check(divisor, numerator));
    }
}

proptest! {
    #[test]
    fn division_is_exact(divisor in 1..=u8::MAX, numerator in 0..NUMERATOR_END) {
        check(divisor, numerator);
    }
}
