//! Why the control plane refuses, with the number that SPDK answers with for the same mistake.
//!
//! Every message names the object, the value and what would be right. What crates below refuse is
//! passed on as they put it.
//!
//! Not here: codes and envelopes of JSON-RPC (`methods`).

use std::io;
use std::path::PathBuf;

use raid::units::Slot;
use rpc::error::errno;
use uuid::Uuid;

use super::registry::{Claim, Kind};
use crate::limits;

/// Why a command was refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No bdev has this name or alias.
    #[error("bdev {name:?}: bdev_get_bdevs lists those that are there")]
    NoSuchBdev {
        /// As given.
        name: String,
    },
    /// The bdev is there, and is of another kind than the command is for.
    #[error("bdev {name:?} is a {kind} bdev and not a {wanted} bdev: use bdev_{kind}_delete")]
    OtherKind {
        /// As given.
        name: String,
        /// What it is.
        kind: Kind,
        /// What the command is for.
        wanted: Kind,
    },
    /// The name is in use, as a name or as an alias.
    #[error("bdev {name:?}: the name is taken by a {kind} bdev: choose another or delete that one")]
    NameTaken {
        /// The name.
        name: String,
        /// What has it.
        kind: Kind,
    },
    /// The UUID is in use.
    #[error(
        "bdev {name:?}: UUID {uuid} is taken by bdev {holder:?}: choose another or leave it out"
    )]
    UuidTaken {
        /// Name of the new bdev.
        name: String,
        /// The UUID.
        uuid: Uuid,
        /// The bdev that has it.
        holder: String,
    },
    /// A name that no bdev can have.
    #[error(
        "a bdev's name has 1 to {} bytes and no control characters, so {name:?} cannot be one",
        limits::NAME_BYTES_MAX
    )]
    BadName {
        /// As given.
        name: String,
    },
    /// Every place is taken.
    #[error("bdev {name:?}: there are {} bdevs already: delete one first", limits::BDEVS_MAX)]
    TooMany {
        /// Name of the new bdev.
        name: String,
    },
    /// An array uses the bdev, so it can be neither deleted...
    #[error(
        "bdev {name:?} is {claim}: delete the array first, or take the bdev out of it with \
         bdev_raid_remove_base_bdev"
    )]
    InUse {
        /// The bdev.
        name: String,
        /// Who uses it.
        claim: Claim,
    },
    /// ... nor used a second time.
    #[error("base bdev {name:?} for slot {slot} is {claim}: give a bdev that nobody uses")]
    Claimed {
        /// The bdev.
        name: String,
        /// The slot that it was given for.
        slot: Slot,
        /// Who uses it.
        claim: Claim,
    },
    /// One bdev was given for two slots.
    #[error("base bdev {name:?} is given for slot {first} and for slot {second}: give each once")]
    Duplicate {
        /// The bdev.
        name: String,
        /// The slot that it was given for first.
        first: Slot,
        /// The slot that it was given for again.
        second: Slot,
    },
    /// A member that is not there.
    #[error(
        "base bdev {name:?} for slot {slot}: create it first, or give null for a missing member"
    )]
    NoSuchMember {
        /// As given.
        name: String,
        /// The slot that it was given for.
        slot: Slot,
    },
    /// The bdev belongs to no array, or not to the one that is named.
    #[error(
        "bdev {name:?} is no member of {}: bdev_raid_get_bdevs lists the members",
        .array.as_ref().map_or("an array".to_owned(), |array| format!("array {array:?}"))
    )]
    NotAMember {
        /// As given.
        name: String,
        /// As given.
        array: Option<String>,
    },
    /// Level and layout do not go together, or one of them does not exist.
    #[error(transparent)]
    Layout(#[from] raid::layout::LayoutError),
    /// A number that makes no sense where it stands.
    #[error("{what} {value}: {right}")]
    BadValue {
        /// Name of the parameter.
        what: &'static str,
        /// As given.
        value: String,
        /// What would be right.
        right: String,
    },
    /// Something that is planned, and not there.
    #[error("{what} is not supported yet: {instead}")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// What can be done instead.
        instead: &'static str,
    },
    /// A backend refused.
    #[error(transparent)]
    Device(#[from] device::CreateError),
    /// The file for a bdev could not be made.
    #[error("bdev {name:?}: cannot {action} {}: {source}", .path.display())]
    NewFile {
        /// Name of the bdev.
        name: String,
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The array could not be made.
    #[error(transparent)]
    Array(#[from] array::CreateError),
    /// The array cannot do without this member, or not now.
    #[error(transparent)]
    Remove(#[from] array::RemoveError),
    /// The array was stopped, and something went wrong with it.
    #[error("the array is deleted, but not cleanly: {0}")]
    Stop(array::RestError),
    /// The service is on its way out.
    #[error("bdev {name:?}: the service is stopping")]
    Stopping {
        /// The bdev in question.
        name: String,
    },
}

impl ControlError {
    /// What SPDK would answer with, as a positive Linux error number.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoSuchBdev { .. }
            | Self::OtherKind { .. }
            | Self::NoSuchMember { .. }
            | Self::NotAMember { .. } => errno::ENODEV,
            Self::NameTaken { .. } | Self::UuidTaken { .. } => errno::EEXIST,
            Self::BadName { .. } | Self::Layout(_) | Self::BadValue { .. } => errno::EINVAL,
            Self::TooMany { .. } => errno::ENOSPC,
            Self::InUse { .. } => errno::EBUSY,
            // What `spdk_bdev_open_ext` and `spdk_bdev_module_claim_bdev` say of a bdev with a claim.
            Self::Claimed { .. } | Self::Duplicate { .. } => errno::EPERM,
            Self::Unsupported { .. } => errno::ENOTSUP,
            Self::Device(error) => error.errno().abs(),
            Self::NewFile { source, .. } => source.raw_os_error().unwrap_or(errno::EIO),
            Self::Array(error) => error.errno().abs(),
            Self::Remove(error) => error.errno().abs(),
            Self::Stop(_) => errno::EIO,
            Self::Stopping { .. } => errno::ESHUTDOWN,
        }
    }
}
