//! Fixed answers: the syndromes that md's formulas give for known bytes, and stripes of a known
//! pattern whose parities a separate program computed by polynomial division. They anchor the
//! reference, which the other tests take for the truth.

use parity::{Lost, available};

/// Exponents for the data bytes 11, 22, 33, and their Q. P is 00 whatever the order.
const Q_OF_11_22_33: [([u8; 3], u8); 7] = [
    ([0, 1, 2], 0x99),
    ([2, 3, 4], 0x5e),
    ([0, 3, 4], 0x0b),
    ([0, 1, 4], 0x42),
    ([1, 2, 3], 0x2f),
    ([1, 2, 0], 0x99),
    ([2, 0, 1], 0x00),
];

/// P of the first 16 bytes of six strips with (31 · strip + 7 · byte + 1) mod 251 in them.
const PATTERN_P: [u8; 16] = [
    0xa1, 0x2b, 0x21, 0x27, 0x21, 0x9b, 0xe1, 0xff, 0xe1, 0x9b, 0x21, 0x27, 0x21, 0x2b, 0x5c, 0x60,
];

/// Exponents for those strips, and their Q: md's order after a Q in the middle, DDF's with two
/// holes, and a wide array's.
const PATTERN_Q: [([u8; 6], [u8; 16]); 3] = [
    (
        [3, 4, 5, 0, 1, 2],
        [
            0x6f, 0xe4, 0x02, 0x21, 0x2f, 0xbf, 0xd4, 0x8f, 0xec, 0x6b, 0xd1, 0x25, 0xfc, 0x7c,
            0x01, 0x95,
        ],
    ),
    (
        [0, 1, 2, 5, 6, 7],
        [
            0x31, 0xa6, 0xb1, 0x32, 0x24, 0x50, 0xd7, 0xef, 0x7f, 0xf8, 0x52, 0x07, 0xc7, 0x54,
            0xa5, 0x6c,
        ],
    ),
    (
        [10, 60, 110, 160, 210, 252],
        [
            0xd1, 0x6d, 0xdb, 0xc3, 0xc7, 0x89, 0x44, 0x02, 0x24, 0x44, 0xc0, 0x97, 0xdc, 0x65,
            0xc7, 0xa2,
        ],
    ),
];

#[test]
fn known_bytes_have_known_syndromes() {
    for kernel in available() {
        // Lengths that go through the tail, single vectors and whole columns.
        for len in [1, 9, 64, 100, 512, 1000] {
            let data = [0x11, 0x22, 0x33].map(|byte| vec![byte; len]);
            let sources = data.each_ref().map(Vec::as_slice);
            for (exponents, q_byte) in Q_OF_11_22_33 {
                let (mut p, mut q) = (vec![1; len], vec![1; len]);
                kernel.pq_gen(&mut p, &mut q, &sources, &exponents);
                let name = kernel.name();
                assert_eq!(p, vec![0x00; len], "{name}: P of {len} bytes");
                assert_eq!(q, vec![q_byte; len], "{name}: Q of {len} bytes, {exponents:?}");
            }
        }
    }
}

#[test]
fn patterned_strips_have_known_parities_and_come_back() {
    let strip = |i: usize| (0..16).map(|j| ((31 * i + 7 * j + 1) % 251) as u8).collect::<Vec<_>>();
    let data: [_; 6] = std::array::from_fn(strip);
    let sources = data.each_ref().map(Vec::as_slice);
    for kernel in available() {
        for (exponents, pattern_q) in PATTERN_Q {
            let name = kernel.name();
            let (mut p, mut q) = ([0; 16], [0; 16]);
            kernel.pq_gen(&mut p, &mut q, &sources, &exponents);
            assert_eq!(p, PATTERN_P, "{name}: P");
            assert_eq!(q, pattern_q, "{name}: Q, {exponents:?}");

            let (mut x, mut y) = ([0; 16], [0; 16]);
            kernel.recover_two_data(
                Lost { out: &mut x, exponent: exponents[1] },
                Lost { out: &mut y, exponent: exponents[4] },
                &PATTERN_P,
                &pattern_q,
                &[sources[0], sources[2], sources[3], sources[5]],
                &[exponents[0], exponents[2], exponents[3], exponents[5]],
            );
            assert_eq!([&x[..], &y[..]], [sources[1], sources[4]], "{name}: {exponents:?}");
        }
    }
}
