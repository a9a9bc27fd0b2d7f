//! Why a table or a message is refused: device-mapper's sentence, its errno, and what it adds to its log.
//!
//! ```text
//!   dmsetup    device-mapper: reload ioctl on r (253:0) failed: Invalid argument        Errno::text
//!   kernel     device-mapper: raid: Unable to parse RAID parameter: bogus               detail
//!              device-mapper: table: 253:0: raid: Unable to parse RAID parameter (-EINVAL)
//!                                           \_____________ TableError _________________/
//! ```
//!
//! Sentences of the kernel are given to the letter, also where they are misspelt: programs look for them.
//!
//! Not here: errors of the control plane (`control::error`).

use std::borrow::Cow;
use std::fmt;

/// The errors that targets answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errno {
    /// It is not allowed now.
    Perm,
    /// Too much is missing.
    Io,
    /// The device is given already.
    Nxio,
    /// dm-raid45 says so when it cannot make its dirty log, whatever the reason.
    NoMem,
    /// Something is under way.
    Busy,
    /// There is no such device.
    NoDev,
    /// An argument is wrong.
    Inval,
    /// Something does not fit.
    NoSpc,
    /// The kernel has it, we do not yet.
    OpNotSupp,
}

impl Errno {
    /// Its name: `EINVAL`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// Its number on Linux, positive.
    #[must_use]
    pub const fn code(self) -> i32 {
        self.row().0
    }

    /// What the C library says: `Invalid argument`.
    #[must_use]
    pub const fn text(self) -> &'static str {
        self.row().2
    }

    const fn row(self) -> (i32, &'static str, &'static str) {
        match self {
            Self::Perm => (1, "EPERM", "Operation not permitted"),
            Self::Io => (5, "EIO", "Input/output error"),
            Self::Nxio => (6, "ENXIO", "No such device or address"),
            Self::NoMem => (12, "ENOMEM", "Cannot allocate memory"),
            Self::Busy => (16, "EBUSY", "Device or resource busy"),
            Self::NoDev => (19, "ENODEV", "No such device"),
            Self::Inval => (22, "EINVAL", "Invalid argument"),
            Self::NoSpc => (28, "ENOSPC", "No space left on device"),
            Self::OpNotSupp => (95, "EOPNOTSUPP", "Operation not supported"),
        }
    }
}

/// The name: `EINVAL`.
impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a target does not take its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetError {
    /// The sentence.
    pub text: Cow<'static, str>,
    /// The errno.
    pub errno: Errno,
    /// What the kernel says in its log besides, or what would be right.
    pub detail: Option<String>,
}

impl TargetError {
    /// An argument is wrong.
    pub(super) fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Errno::Inval, text)
    }

    /// Something else is wrong.
    pub(super) fn new(errno: Errno, text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), errno, detail: None }
    }

    /// The same with a detail.
    #[must_use]
    pub(super) fn with(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// As the kernel puts it in its log: `Bad raid type (-EINVAL)`, and the detail.
impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (-{})", self.text, self.errno)?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TargetError {}

/// Why a table is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// dmsetup's word: a line has fewer than three words, or does not begin with two numbers.
    #[error("Invalid format on line {line} of table")]
    Format {
        /// The line, from 1.
        line: usize,
    },
    /// Nothing but comments.
    #[error("populate_table: no targets specified")]
    NoTargets,
    /// Too many lines.
    #[error("table of {lines} targets: at most {max}")]
    TooMany {
        /// As many as there are.
        lines: usize,
        /// As many as there may be.
        max: usize,
    },
    /// A line of no sectors.
    #[error("zero-length target")]
    ZeroLength {
        /// The line, from 1.
        line: usize,
    },
    /// A line ends where no device does.
    #[error("line {line} of table ends at sector {end}: a device has at most {max}")]
    TooLong {
        /// The line, from 1.
        line: usize,
        /// Where it ends.
        end: u64,
        /// Where it may.
        max: u64,
    },
    /// No target has this name.
    #[error("{target}: unknown target type")]
    UnknownTarget {
        /// The line, from 1.
        line: usize,
        /// The word.
        target: String,
    },
    /// The line does not begin where the one before it ended, the first one not at 0.
    #[error("{target}: Gap in table (-EINVAL)")]
    Gap {
        /// The line, from 1.
        line: usize,
        /// Its target.
        target: String,
    },
    /// The target does not take its arguments.
    #[error("{target}: {error}")]
    Target {
        /// The line, from 1.
        line: usize,
        /// The target.
        target: String,
        /// Why.
        error: TargetError,
    },
}

impl TableError {
    /// The errno of the ioctl.
    #[must_use]
    pub fn errno(&self) -> Errno {
        match self {
            Self::Target { error, .. } => error.errno,
            _ => Errno::Inval,
        }
    }
}
