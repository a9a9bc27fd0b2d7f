//! Keys as people keep them: `DHHC-1:hh:base64 of key and CRC-32:` (Base, 8.13.5.8; nvme-cli gen-dhchap-key).
//!
//! Not here: the files that they are in.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nvme::Nqn;

use super::Hash;

/// A key. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// What transforms it; none: it is used as it is.
    hash: Option<Hash>,
    key: Vec<u8>,
}

/// Why a text is no key. The text itself is not repeated: it may be one nearly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not of the form.
    #[error("a DH-HMAC-CHAP key has the form DHHC-1:hh:base64:")]
    Form,
    /// Unknown hash.
    #[error(
        "the hash of a DH-HMAC-CHAP key is 00 (none), 01 (SHA-256), 02 (SHA-384) or 03 (SHA-512)"
    )]
    Hash,
    /// Not base64.
    #[error("a DH-HMAC-CHAP key holds something that is not base64")]
    Base64,
    /// A length that keys do not have.
    #[error("a DH-HMAC-CHAP key has 32, 48 or 64 bytes, as many as its hash, not {found}")]
    Length {
        /// How many it has.
        found: usize,
    },
    /// A typing error.
    #[error("the CRC of a DH-HMAC-CHAP key is wrong: it was not copied right")]
    Crc,
}

impl Secret {
    /// Of its text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let rest = text.trim_end().strip_prefix("DHHC-1:").ok_or(SecretError::Form)?;
        let (hash, rest) = rest.split_once(':').ok_or(SecretError::Form)?;
        let encoded = rest.strip_suffix(':').ok_or(SecretError::Form)?;
        let hash = match hash {
            "00" => None,
            "01" => Some(Hash::Sha256),
            "02" => Some(Hash::Sha384),
            "03" => Some(Hash::Sha512),
            _ => return Err(SecretError::Hash),
        };
        let mut key = STANDARD.decode(encoded).map_err(|_| SecretError::Base64)?;
        let found = key.len().saturating_sub(4);
        let right = hash.map_or([32, 48, 64].contains(&found), |hash| hash.len_bytes() == found);
        if !right {
            return Err(SecretError::Length { found });
        }
        let crc = key.split_off(found);
        if crc != crc32fast::hash(&key).to_le_bytes() {
            return Err(SecretError::Crc);
        }
        Ok(Self { hash, key })
    }

    /// The key that responses are computed with: bound to the one who has it.
    pub(super) fn transformed(&self, of: &Nqn) -> Vec<u8> {
        match self.hash {
            None => self.key.clone(),
            Some(hash) => hash.hmac(&self.key, &[of.as_str().as_bytes(), b"NVMe-over-Fabrics"]),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(of {} bytes, {:?})", self.key.len(), self.hash)
    }
}
