//! Products by table look-up, for instruction sets whose only way is a 16-entry byte shuffle.
//!
//! A byte is its low nibble plus its high nibble, so its product with c is the sum of two
//! entries of 16: c·0 .. c·15, and c·00 .. c·f0 (Anvin, "The mathematics of RAID-6", section 4;
//! Plank, Greenan, Miller, FAST'13).
//!
//! Not here: the shuffles themselves.

use crate::gf;

/// The two tables of one coefficient.
#[repr(C, align(32))]
pub(crate) struct Nibbles {
    pub(crate) low: [u8; 16],
    pub(crate) high: [u8; 16],
}

/// The tables of g^e for every exponent e: 8 KiB.
pub(crate) static NIBBLES: [Nibbles; 256] = tables();

const fn tables() -> [Nibbles; 256] {
    let mut tables = [const { Nibbles { low: [0; 16], high: [0; 16] } }; 256];
    let mut coefficient = 1;
    let mut exponent = 0;
    while exponent < 256 {
        let mut nibble = 0;
        while nibble < 16 {
            tables[exponent].low[nibble] = gf::mul_bitwise(coefficient, nibble as u8);
            tables[exponent].high[nibble] = gf::mul_bitwise(coefficient, (nibble as u8) << 4);
            nibble += 1;
        }
        coefficient = gf::mul_bitwise(coefficient, gf::GENERATOR);
        exponent += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nibbles_add_up_to_every_product() {
        for exponent in 0..=255 {
            let Nibbles { low, high } = &NIBBLES[usize::from(exponent)];
            for byte in 0..=255 {
                let product = low[usize::from(byte & 15)] ^ high[usize::from(byte >> 4)];
                assert_eq!(product, gf::mul(gf::exp(exponent), byte), "g^{exponent} * {byte:#04x}");
            }
        }
    }
}
