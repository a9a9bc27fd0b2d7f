//! Qualified names: who a host is, and what a subsystem is called.
//!
//! ```text
//!   nqn.2014-08.org.nvmexpress:uuid:12345678-...      by a UUID       Base, 4.5
//!   nqn.yyyy-mm.reverse.domain:anything                by a domain
//! ```
//!
//! Not here: which names exist.

use std::fmt;

use crate::limits::NQN_BYTES_MAX;

/// The well-known name of the discovery subsystem (Base, 4.5).
pub const DISCOVERY: &str = "nqn.2014-08.org.nvmexpress.discovery";

/// A qualified name, up to 223 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nqn(Box<str>);

/// Why a text is no qualified name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NqnError {
    /// Empty, or longer than [`NQN_BYTES_MAX`].
    #[error("NQN \"{0}\" has {len} bytes, it must have 12 to {NQN_BYTES_MAX}", len = .0.len())]
    Length(String),
    /// Does not begin with the date of a domain.
    #[error("NQN \"{0}\" does not begin with \"nqn.yyyy-mm.\" and a reversed domain")]
    Date(String),
    /// After the date no domain.
    #[error("NQN \"{0}\" names no reversed domain of labels of letters, digits and hyphens")]
    Domain(String),
    /// Something after the UUID, or no UUID.
    #[error("NQN \"{0}\" does not end with a UUID of 8-4-4-4-12 hexadecimal digits")]
    Uuid(String),
    /// A field of 256 bytes without a terminator, or with bytes that are not UTF-8.
    #[error("the field of an NQN holds no UTF-8 text that ends with a zero within 224 bytes")]
    Field,
}

const UUID_PREFIX: &str = "nqn.2014-08.org.nvmexpress:uuid:";

impl Nqn {
    /// Of a text.
    ///
    /// # Errors
    /// Says what is wrong with its form.
    pub fn parse(text: &str) -> Result<Self, NqnError> {
        let error = |kind: fn(String) -> NqnError| Err(kind(text.to_owned()));
        if text.len() < 12 || text.len() > NQN_BYTES_MAX {
            return error(NqnError::Length);
        }
        if !has_date(text) {
            return error(NqnError::Date);
        }
        if let Some(uuid) = text.strip_prefix(UUID_PREFIX) {
            return if is_uuid(uuid) { Ok(Self(text.into())) } else { error(NqnError::Uuid) };
        }
        let domain = text[12..].split(':').next().unwrap_or_default();
        if !domain.split('.').all(is_label) {
            return error(NqnError::Domain);
        }
        Ok(Self(text.into()))
    }

    /// Of a field of 256 bytes, as Connect carries it: the text up to the first zero.
    ///
    /// # Errors
    /// If there is no zero within the longest name, no UTF-8, or the form is wrong.
    pub fn from_field(field: &[u8; 256]) -> Result<Self, NqnError> {
        let len = field.iter().position(|byte| *byte == 0).ok_or(NqnError::Field)?;
        if len > NQN_BYTES_MAX {
            return Err(NqnError::Field);
        }
        Self::parse(std::str::from_utf8(&field[..len]).map_err(|_| NqnError::Field)?)
    }

    /// As a field of 256 bytes, filled up with zeroes.
    #[must_use]
    pub fn to_field(&self) -> [u8; 256] {
        let mut field = [0; 256];
        field[..self.0.len()].copy_from_slice(self.0.as_bytes());
        field
    }

    /// The name of the discovery subsystem.
    #[must_use]
    pub fn discovery() -> Self {
        Self(DISCOVERY.into())
    }

    /// Whether this is the discovery subsystem.
    #[must_use]
    pub fn is_discovery(&self) -> bool {
        &*self.0 == DISCOVERY
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Nqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `nqn.yyyy-mm.`
fn has_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes[at].is_ascii_digit();
    bytes.starts_with(b"nqn.")
        && (4..8).all(digit)
        && bytes[8] == b'-'
        && digit(9)
        && digit(10)
        && (1..=12).contains(&((bytes[9] - b'0') * 10 + (bytes[10] - b'0')))
        && bytes[11] == b'.'
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_uuid(text: &str) -> bool {
    let groups = [8, 4, 4, 4, 12];
    let mut parts = text.split('-');
    groups.iter().all(|len| {
        parts.next().is_some_and(|part| {
            part.len() == *len && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: names that hosts and SPDK use are taken, others are refused for the reason that holds.
    /// Method: examples of each.
    #[test]
    fn names_are_judged() {
        let long = format!("nqn.2016-06.io.spdk:{}", "x".repeat(203));
        for good in [
            DISCOVERY,
            "nqn.2016-06.io.spdk:cnode1",
            "nqn.2014-08.org.nvmexpress:uuid:0f01fb42-9f7f-4856-b0b3-51e60b8de349",
            "nqn.2024-12.com.example",
            &long,
        ] {
            let nqn = Nqn::parse(good).unwrap();
            assert_eq!(nqn.as_str(), good);
            assert_eq!(Nqn::from_field(&nqn.to_field()).unwrap(), nqn);
        }
        type Kind = fn(String) -> NqnError;
        let bad: [(&str, Kind); 9] = [
            ("", NqnError::Length),
            (&format!("{long}x"), NqnError::Length),
            ("iqn.2016-06.io.spdk:cnode1", NqnError::Date),
            ("nqn.2016-13.io.spdk:cnode1", NqnError::Date),
            ("nqn.201x-06.io.spdk:cnode1", NqnError::Date),
            ("nqn.2016-06.:cnode1", NqnError::Domain),
            ("nqn.2016-06.io..spdk:c", NqnError::Domain),
            ("nqn.2016-06.io.-spdk:c", NqnError::Domain),
            ("nqn.2014-08.org.nvmexpress:uuid:0f01fb42", NqnError::Uuid),
        ];
        for (text, kind) in bad {
            assert_eq!(Nqn::parse(text), Err(kind(text.to_owned())), "{text}");
        }
        assert_eq!(Nqn::from_field(&[b'a'; 256]), Err(NqnError::Field));
        let mut field = [0; 256];
        field[..2].copy_from_slice(&[0xff, 0xfe]);
        assert_eq!(Nqn::from_field(&field), Err(NqnError::Field));
    }
}
