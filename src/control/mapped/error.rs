//! Why a verb is refused, in device-mapper's words where it has some.
//!
//! Not here: errors of tables (`dm::error`).

use rpc::error::errno;

use super::super::registry::Claim;
use crate::dm::{Errno, TableError};

/// Why a verb is refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum MappedError {
    /// There is none.
    #[error("mapped device {name:?}: dm_ls lists those that are there")]
    NoDevice {
        /// As given.
        name: String,
    },
    /// A bdev has that name.
    #[error("mapped device {name:?}: the name or UUID is taken: choose another")]
    NameTaken {
        /// As given.
        name: String,
    },
    /// The table is not a table, or a target does not take its line.
    #[error("mapped device {name:?}: table: {source}")]
    Table {
        /// The device.
        name: String,
        /// Device-mapper's sentence.
        source: TableError,
    },
    /// A device of the table has another user.
    #[error(
        "mapped device {name:?}: table: {target}: {sentence} (-EBUSY): bdev {bdev:?} is {claim}"
    )]
    InUse {
        /// The device.
        name: String,
        /// The target.
        target: &'static str,
        /// What that target says of devices that it cannot have.
        sentence: &'static str,
        /// The bdev.
        bdev: String,
        /// Who uses it.
        claim: Claim,
    },
    /// The array of a target cannot run.
    #[error("mapped device {name:?}: table: {target}: {sentence} (-{errno}): {detail}")]
    Array {
        /// The device.
        name: String,
        /// The target.
        target: &'static str,
        /// What the target says then.
        sentence: &'static str,
        /// With which errno.
        errno: Errno,
        /// Why.
        detail: String,
    },
    /// A message was not understood, or not taken.
    #[error("mapped device {name:?}: message {message:?}: {}", .errno.text())]
    Message {
        /// The device.
        name: String,
        /// As given.
        message: String,
        /// What the target answers with.
        errno: Errno,
    },
    /// Somebody uses it.
    #[error("mapped device {name:?} is {claim}: remove that first, or defer the removal")]
    Busy {
        /// The device.
        name: String,
        /// Who uses it.
        claim: Claim,
    },
    /// No event in the time given.
    #[error("mapped device {name:?}: no event in the time given: its number is still {number}")]
    NoEvent {
        /// The device.
        name: String,
        /// What the number is.
        number: u32,
    },
    /// What is in flight does not end, or the data plane says something else.
    #[error("mapped device {name:?}: {reason}")]
    Plane {
        /// The device.
        name: String,
        /// What is wrong.
        reason: String,
        /// With which number.
        errno: i32,
    },
    /// Something else stands in the way.
    #[error("mapped device {name:?}: {why}")]
    Refused {
        /// The device.
        name: String,
        /// With which number.
        errno: i32,
        /// What, and what would be right.
        why: String,
    },
}

impl MappedError {
    /// What device-mapper would answer with, as a positive Linux error number.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoDevice { .. } => errno::ENXIO,
            Self::NameTaken { .. } | Self::InUse { .. } | Self::Busy { .. } => errno::EBUSY,
            Self::Table { source, .. } => source.errno().code(),
            Self::Array { errno, .. } | Self::Message { errno, .. } => errno.code(),
            Self::NoEvent { .. } => errno::ETIMEDOUT,
            Self::Plane { errno, .. } | Self::Refused { errno, .. } => *errno,
        }
    }
}
