//! [`CpuSet`]: which cores the reactors run on, as people write it.
//!
//! ```text
//!   0-3,6      a list of cores and ranges, as taskset and the kernel write it
//!   [0,2-4]    the same in brackets, as SPDK writes it
//!   0x4f       a mask, lowest bit = core 0, as SPDK and DPDK write it
//! ```
//!
//! Not here: whether a core exists (`affinity`).

use crate::limits::CORES_MAX;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A set of core numbers, at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CpuSet(BTreeSet<usize>);

/// Why a text is not a set of cores.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CpuSetError {
    /// No core is named.
    #[error(
        "cpu set \"{text}\": it names no core; write a list such as 0-3,6 or a mask such as 0x4f"
    )]
    Empty {
        /// The whole text.
        text: String,
    },
    /// A part is neither a number nor a range.
    #[error(
        "cpu set \"{text}\": \"{part}\" is not a core number or a range; write a list such as \
         0-3,6 or a mask such as 0x4f"
    )]
    NotANumber {
        /// The whole text.
        text: String,
        /// The part that is wrong.
        part: String,
    },
    /// A range ends before it starts.
    #[error("cpu set \"{text}\": range {first}-{last} ends before it starts")]
    Backwards {
        /// The whole text.
        text: String,
        /// Start of the range.
        first: usize,
        /// End of the range.
        last: usize,
    },
    /// A core number that no machine has.
    #[error("cpu set \"{text}\": core {core} is too large; at most {} is right", CORES_MAX - 1)]
    TooLarge {
        /// The whole text.
        text: String,
        /// The core as it was written.
        core: String,
    },
}

impl CpuSet {
    /// The set of one core.
    ///
    /// # Panics
    /// If `core` is not below [`CORES_MAX`].
    pub fn single(core: usize) -> Self {
        assert!(core < CORES_MAX, "core {core}: at most {} is right", CORES_MAX - 1);
        Self(BTreeSet::from([core]))
    }

    /// The set of these cores; `None` when there is none, or one is not below [`CORES_MAX`].
    pub fn from_cores(cores: impl IntoIterator<Item = usize>) -> Option<Self> {
        let cores: BTreeSet<_> = cores.into_iter().collect();
        let named = cores.last().is_some_and(|last| *last < CORES_MAX);
        named.then_some(Self(cores))
    }

    /// The cores in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().copied()
    }

    /// How many cores; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a set of no core cannot be made")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `core` is in the set.
    pub fn contains(&self, core: usize) -> bool {
        self.0.contains(&core)
    }
}

impl FromStr for CpuSet {
    type Err = CpuSetError;

    fn from_str(text: &str) -> Result<Self, CpuSetError> {
        let parser = Parser { text };
        let trimmed = text.trim();
        let cores = match trimmed.strip_prefix("0x").or_else(|| trimmed.strip_prefix("0X")) {
            Some(digits) => parser.mask(digits)?,
            None => parser.list(trimmed)?,
        };
        if cores.is_empty() {
            Err(CpuSetError::Empty { text: text.into() })
        } else {
            Ok(Self(cores))
        }
    }
}

/// The whole text, which every error names.
struct Parser<'a> {
    text: &'a str,
}

impl Parser<'_> {
    fn mask(&self, digits: &str) -> Result<BTreeSet<usize>, CpuSetError> {
        let mut cores = BTreeSet::new();
        for (place, digit) in digits.chars().rev().enumerate() {
            let bits = digit.to_digit(16).ok_or_else(|| self.not_a_number(digits))?;
            for bit in (0..4).filter(|bit| bits & (1 << bit) != 0) {
                let core = place * 4 + bit;
                cores.insert(self.in_range(core, &core.to_string())?);
            }
        }
        Ok(cores)
    }

    fn list(&self, list: &str) -> Result<BTreeSet<usize>, CpuSetError> {
        let inner = match list.strip_prefix('[') {
            Some(open) => open.strip_suffix(']').ok_or_else(|| self.not_a_number(list))?,
            None => list,
        };
        let mut cores = BTreeSet::new();
        if inner.trim().is_empty() {
            return Ok(cores);
        }
        for part in inner.split(',').map(str::trim) {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (self.core(part, first)?, self.core(part, last)?),
                None => {
                    let core = self.core(part, part)?;
                    (core, core)
                }
            };
            if last < first {
                return Err(CpuSetError::Backwards { text: self.text.into(), first, last });
            }
            cores.extend(first..=last);
        }
        Ok(cores)
    }

    fn core(&self, part: &str, digits: &str) -> Result<usize, CpuSetError> {
        let digits = digits.trim();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.not_a_number(part));
        }
        // All digits: a number that does not fit `usize` is just too large.
        self.in_range(digits.parse().unwrap_or(usize::MAX), digits)
    }

    fn in_range(&self, core: usize, written: &str) -> Result<usize, CpuSetError> {
        if core < CORES_MAX {
            return Ok(core);
        }
        Err(CpuSetError::TooLarge { text: self.text.into(), core: written.into() })
    }

    fn not_a_number(&self, part: &str) -> CpuSetError {
        CpuSetError::NotANumber { text: self.text.into(), part: part.into() }
    }
}

impl fmt::Display for CpuSet {
    /// The list form: `0-3,6`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cores = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = cores.next() {
            let mut last = first;
            while let Some(next) = cores.next_if_eq(&(last + 1)) {
                last = next;
            }
            if first == last {
                write!(f, "{separator}{first}")?;
            } else {
                write!(f, "{separator}{first}-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cores(text: &str) -> Vec<usize> {
        text.parse::<CpuSet>().expect("a set").iter().collect()
    }

    fn error(text: &str) -> String {
        text.parse::<CpuSet>().expect_err("not a set").to_string()
    }

    #[test]
    fn the_three_forms_are_read() {
        assert_eq!(cores("0-3,6"), [0, 1, 2, 3, 6]);
        assert_eq!(cores("[0,2-4]"), [0, 2, 3, 4]);
        assert_eq!(cores("0x4f"), [0, 1, 2, 3, 6]);
        assert_eq!(cores("0X10000000000000001"), [0, 64]);
        assert_eq!(cores(" 5 , 1-1 ,5"), [1, 5]);
    }

    #[test]
    fn errors_name_the_value_and_what_would_be_right() {
        for empty in ["", "[]", "0x0", "0x", " "] {
            let message = error(empty);
            assert!(message.contains("names no core") && message.contains("0-3,6"), "{message}");
        }
        for (text, part) in [
            ("0,x", "\"x\""),
            ("1,,2", "\"\""),
            ("[0,1", "\"[0,1\""),
            ("0x4g", "\"4g\""),
            ("-1", "\"-1\""),
            ("1-2-3", "\"1-2-3\""),
            ("+1", "\"+1\""),
        ] {
            let message = error(text);
            assert!(message.contains(&format!("\"{text}\"")), "{message}");
            assert!(message.contains(&format!("{part} is not a core number")), "{message}");
        }
        assert_eq!(error("3-1"), "cpu set \"3-1\": range 3-1 ends before it starts");
        let message = "cpu set \"0-1024\": core 1024 is too large; at most 1023 is right";
        assert_eq!(error("0-1024"), message);
        assert!(error("99999999999999999999999").contains("too large"));
        assert!(error(&format!("0x1{}", "0".repeat(256))).contains("core 1024 is too large"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(set in prop::collection::btree_set(0..CORES_MAX, 1..40)) {
            let set = CpuSet(set);
            prop_assert_eq!(set.to_string().parse::<CpuSet>(), Ok(set.clone()));
            prop_assert_eq!(format!("[{set}]").parse::<CpuSet>(), Ok(set));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<CpuSet>();
        }
    }
}
