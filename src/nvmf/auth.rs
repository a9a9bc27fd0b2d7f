//! DH-HMAC-CHAP: how a host proves that it has a key, and a controller that it has another (Base, 8.13.5).
//!
//! ```text
//!   host                                controller
//!    | -- AUTH_Negotiate ---------------> |      hashes and groups that it has
//!    | <------------ Challenge (C1, g^x)--|
//!    | -- Reply (HMAC over C1, C2, g^y)-> |
//!    | <------ Success1 (HMAC over C2) ---|      or Failure1
//!    | -- Success2 ---------------------> |      only if the host asked for proof
//! ```
//!
//! Invariants: responses are compared in constant time; a challenge is answered once; after a failure
//! nothing but the failure is told.
//!
//! Not here: where keys are kept, randomness (an argument), TLS.

mod group;
mod secret;
mod session;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha384, Sha512};

pub use group::Group;
pub use secret::{Secret, SecretError};
pub use session::{AuthConfig, Progress, Session, transfer};

/// A hash function (Base, figure 447).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its identifier.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha384 => 2,
            Self::Sha512 => 3,
        }
    }

    /// Of its identifier.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.number() == number)
    }

    /// Bytes of what it yields.
    #[must_use]
    pub fn len_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    /// HMAC over the parts, one after the other.
    fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, parts),
            Self::Sha384 => mac::<Hmac<Sha384>>(key, parts),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, parts),
        }
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// What a response is computed over, beside the challenge (Base, 8.13.5.4 and 8.13.5.5).
#[derive(Clone, Copy, Debug)]
struct Statement<'a> {
    sequence: u32,
    transaction: u16,
    secure_channel: u8,
    role: &'a str,
    first: &'a str,
    second: &'a str,
}

/// A response: HMAC with the transformed key over the challenge, which a DH value augments.
fn response(
    hash: Hash,
    key: &[u8],
    challenge: &[u8],
    shared: Option<&[u8]>,
    statement: &Statement<'_>,
) -> Vec<u8> {
    let augmented = shared.map(|shared| hash.hmac(&hash.digest(shared), &[challenge]));
    let parts: [&[u8]; 8] = [
        augmented.as_deref().unwrap_or(challenge),
        &statement.sequence.to_le_bytes(),
        &statement.transaction.to_le_bytes(),
        &[statement.secure_channel],
        statement.role.as_bytes(),
        statement.first.as_bytes(),
        &[0],
        statement.second.as_bytes(),
    ];
    hash.hmac(key, &parts)
}

/// Whether two responses are the same, in a time that does not depend on where they differ.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    let difference = left
        .iter()
        .zip(right)
        .fold(0, |found, (left, right)| std::hint::black_box(found | (left ^ right)));
    left.len() == right.len() && difference == 0
}

#[cfg(test)]
mod tests;
