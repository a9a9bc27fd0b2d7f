//! Diffie-Hellman groups: the safe primes of RFC 7919, and powers modulo them.
//!
//! The primes are computed from their definition (RFC 7919, appendix A):
//! `2^b - 2^(b-64) + (floor(2^(b-130) * e) + X) * 2^64 - 1`, that is 64 ones, the digits of *e*, 64 ones.
//!
//! Not here: who chooses the group.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, Odd};

/// Bytes of a private exponent: twice the strength of the largest group, and more (RFC 7919, 5.2).
pub(super) const EXPONENT_BYTES: usize = 64;

/// A group (Base, figure 448).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// None: HMAC alone.
    Null,
    /// ffdhe2048.
    Ffdhe2048,
    /// ffdhe3072.
    Ffdhe3072,
    /// ffdhe4096.
    Ffdhe4096,
    /// ffdhe6144.
    Ffdhe6144,
    /// ffdhe8192.
    Ffdhe8192,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Null,
        Self::Ffdhe2048,
        Self::Ffdhe3072,
        Self::Ffdhe4096,
        Self::Ffdhe6144,
        Self::Ffdhe8192,
    ];

    /// Its identifier.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Ffdhe2048 => 1,
            Self::Ffdhe3072 => 2,
            Self::Ffdhe4096 => 3,
            Self::Ffdhe6144 => 4,
            Self::Ffdhe8192 => 5,
        }
    }

    /// Of its identifier.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.number() == number)
    }

    /// Bytes of a value; 0 of the null group.
    #[must_use]
    pub fn len_bytes(self) -> usize {
        self.definition().0 as usize / 8
    }

    /// Bits, and X.
    fn definition(self) -> (u32, u32) {
        match self {
            Self::Null => (0, 0),
            Self::Ffdhe2048 => (2048, 560_316),
            Self::Ffdhe3072 => (3072, 2_625_351),
            Self::Ffdhe4096 => (4096, 5_736_041),
            Self::Ffdhe6144 => (6144, 15_705_020),
            Self::Ffdhe8192 => (8192, 10_965_728),
        }
    }

    /// The prime, big-endian.
    pub(super) fn prime(self) -> Vec<u8> {
        let (bits, x) = self.definition();
        let mut middle = e_digits(bits);
        // Below, 64 ones are the -1 that is taken here.
        add_small(&mut middle, x - 1);
        let digits: Vec<u8> = middle.iter().flat_map(|limb| limb.to_be_bytes()).collect();
        [&[0xff; 8][..], &digits, &[0xff; 8]].concat()
    }

    /// The value that belongs to a private exponent: 2 to its power.
    pub(super) fn public(self, exponent: &[u8; EXPONENT_BYTES]) -> Vec<u8> {
        self.power(&[2], exponent)
    }

    /// The secret that is shared with whoever sent `value`; `None` if the value is not of the group, or one
    /// of those that give the secret away (RFC 7919, 5.1).
    pub(super) fn shared(self, value: &[u8], exponent: &[u8; EXPONENT_BYTES]) -> Option<Vec<u8>> {
        if value.len() != self.len_bytes() {
            return None;
        }
        let prime = self.prime();
        let mut last = prime.clone();
        // The prime is odd.
        *last.last_mut()? -= 1;
        let small =
            value[..value.len() - 1].iter().all(|byte| *byte == 0) && value.last() <= Some(&1);
        let large = value >= &last[..];
        (!small && !large).then(|| self.power(value, exponent))
    }

    /// In a time that does not depend on the exponent.
    fn power(self, base: &[u8], exponent: &[u8; EXPONENT_BYTES]) -> Vec<u8> {
        let (bits, _) = self.definition();
        let number = |bytes: &[u8], bits| BoxedUint::from_be_slice(bytes, bits).expect("it fits");
        let prime = Odd::new(number(&self.prime(), bits)).into_option().expect("primes are odd");
        let params = BoxedMontyParams::new(prime);
        let base = BoxedMontyForm::new(number(base, bits), &params);
        let exponent = number(exponent, EXPONENT_BYTES as u32 * 8);
        base.pow(&exponent).retrieve().to_be_bytes().into_vec()
    }
}

/// floor(2^(bits-130) * e), in bits - 128 bits, big-endian limbs.
fn e_digits(bits: u32) -> Vec<u32> {
    // e = 1 + 1/1! + 1/2! + ..., with `bits` bits behind the point: 130 more than are wanted, so that what
    // the divisions leave out does not reach them.
    let limbs = bits as usize / 32 + 1;
    let mut term = vec![0; limbs];
    term[0] = 1;
    let mut sum = term.clone();
    let mut divisor = 1;
    while term.iter().any(|limb| *limb != 0) {
        divide_small(&mut term, divisor);
        add(&mut sum, &term);
        divisor += 1;
    }
    // Down by 130 bits: four limbs and two bits.
    let kept = &sum[..limbs - 4];
    let mut above = 0;
    let shifted: Vec<u32> = kept
        .iter()
        .map(|limb| {
            let shifted = above << 30 | limb >> 2;
            above = *limb;
            shifted
        })
        .collect();
    // The top limb was the integral part, 2, and has gone into the next.
    shifted[1..].to_vec()
}

fn divide_small(number: &mut [u32], divisor: u32) {
    let mut rest = 0_u64;
    for limb in number {
        let value = rest << 32 | u64::from(*limb);
        *limb = (value / u64::from(divisor)) as u32;
        rest = value % u64::from(divisor);
    }
}

fn add(number: &mut [u32], other: &[u32]) {
    let mut carry = 0_u64;
    for (limb, other) in number.iter_mut().zip(other).rev() {
        let sum = u64::from(*limb) + u64::from(*other) + carry;
        *limb = sum as u32;
        carry = sum >> 32;
    }
}

fn add_small(number: &mut [u32], other: u32) {
    let mut carry = u64::from(other);
    for limb in number.iter_mut().rev() {
        let sum = u64::from(*limb) + carry;
        *limb = sum as u32;
        carry = sum >> 32;
    }
}
