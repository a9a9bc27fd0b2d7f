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

use super::mapped::MappedError;
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
    /// The bdev is there, and is of another kind than the command deletes.
    #[error(
        "bdev {name:?} is {} bdev and not {} bdev: use {}",
        .kind.with_article(), .wanted.with_article(), .kind.deleted_with()
    )]
    OtherKind {
        /// As given.
        name: String,
        /// What it is.
        kind: Kind,
        /// What the command deletes.
        wanted: Kind,
    },
    /// The name is in use, as a name or as an alias.
    #[error("bdev {name:?}: the name is taken by {} bdev: choose another or delete that one", .kind.with_article())]
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
    /// Somebody uses the bdev, so that it cannot be deleted or taken.
    #[error("bdev {name:?} is {claim}: {}", .claim.remedy())]
    InUse {
        /// The bdev.
        name: String,
        /// Who uses it.
        claim: Claim,
    },
    /// Somebody uses the bdev that is to be a member.
    #[error("base bdev {name:?} for slot {slot} is {claim}: give a bdev that nobody uses")]
    Claimed {
        /// The bdev.
        name: String,
        /// The slot that it was given for.
        slot: Slot,
        /// Who uses it.
        claim: Claim,
    },
    /// The bdev is still at work for somebody who has given it up.
    #[error(
        "bdev {name:?} still has {requests} requests from before it was given up: wait until they have ended"
    )]
    Lingering {
        /// The bdev.
        name: String,
        /// Requests.
        requests: usize,
    },
    /// Somebody uses the bdev on which another one is to stand.
    #[error("base bdev {name:?} is {claim}: give a bdev that nobody uses")]
    BaseClaimed {
        /// The bdev.
        name: String,
        /// Who uses it.
        claim: Claim,
    },
    /// Nothing is there to stand on.
    #[error("base bdev {name:?}: create it first")]
    NoSuchBase {
        /// As given.
        name: String,
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
    /// Something is on the bdev, and nobody has said that it may go.
    #[error("bdev {name:?} carries {what}: clear it first, or force to overwrite it")]
    Occupied {
        /// The bdev.
        name: String,
        /// What was found on it.
        what: String,
    },
    /// A backend refused.
    #[error(transparent)]
    Device(#[from] device::CreateError),
    /// An error bdev refused an injection.
    #[error(transparent)]
    Inject(#[from] device::InjectError),
    /// A bdev keeps its size.
    #[error(transparent)]
    Resize(#[from] device::ResizeError),
    /// A delay bdev refused a latency.
    #[error(transparent)]
    Delay(#[from] device::DelayError),
    /// A bdev could not be cut so.
    #[error(transparent)]
    Split(#[from] device::SplitError),
    /// The bdev is not cut into parts.
    #[error("bdev {name:?} is not split: give the base bdev, not its parts")]
    NotSplit {
        /// As given.
        name: String,
    },
    /// The bdev is there, and is of another kind than the command changes.
    #[error(
        "bdev {name:?} is {} bdev and not {} bdev: give one of that kind",
        .kind.with_article(), .wanted.with_article()
    )]
    WrongKind {
        /// As given.
        name: String,
        /// What it is.
        kind: Kind,
        /// What the command changes.
        wanted: Kind,
    },
    /// The bdev was deleted, and its cache could not be emptied.
    #[error("the bdev is deleted, but not everything is known to be on its base: {0}")]
    NotFlushed(device::blocking::BlockingError),
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
    /// A device could not take a slot of an array.
    #[error(transparent)]
    Add(#[from] array::AddError),
    /// The members that are there make no array.
    #[error(transparent)]
    Assemble(#[from] raid::assemble::Refusal),
    /// Members of a known array are still to come.
    #[error(
        "array {array:?} waits for its members in slots {missing}: create them, or start without them \
         with bdev_raid_assemble"
    )]
    Incomplete {
        /// The array.
        array: String,
        /// Slots of members that are not there.
        missing: String,
    },
    /// The members of a known array are there, and its log is still to come.
    #[error(
        "array {array:?} waits for its log bdev {log:?}: create it, or start without it with \
         bdev_raid_assemble"
    )]
    LogMissing {
        /// The array.
        array: String,
        /// Name of the log bdev.
        log: String,
    },
    /// No array of that name waits.
    #[error("array {name:?}: none of that name or UUID is known: bdev_raid_get_bdevs lists them")]
    NoSuchArray {
        /// As given.
        name: String,
    },
    /// A background action could not be requested.
    #[error("array {array:?}: {source}")]
    Action {
        /// The array.
        array: String,
        /// What stands in the way.
        source: raid::coordinator::ActionError,
    },
    /// A device could not be read or written.
    #[error(transparent)]
    Blocking(#[from] device::blocking::BlockingError),
    /// A bdev is free, and is still marked as something that it is not any more.
    #[error(
        "bdev {name:?} is free, but its superblock may still be there: {source}; clear it before it is used"
    )]
    NotWiped {
        /// The bdev.
        name: String,
        /// What the device said.
        source: device::blocking::BlockingError,
    },
    /// A bdev could not be marked as a spare, and may be marked half.
    #[error(
        "bdev {name:?} is no spare: {source}; part of a superblock may be left on it, which cannot be wiped either: \
         {left}; clear it before it is used"
    )]
    HalfMarked {
        /// The bdev.
        name: String,
        /// What the device said.
        source: device::blocking::BlockingError,
        /// What it said then.
        left: Box<device::blocking::BlockingError>,
    },
    /// A new array has nothing that a spare could carry yet.
    #[error(
        "array {array:?} has not begun to write its superblocks, as a member of it has failed or hangs: try again when \
         it is told of that"
    )]
    NoUpdate {
        /// The array.
        array: String,
    },
    /// The array was stopped, and something went wrong with it.
    #[error("the array is deleted, but not cleanly: {0}")]
    Stop(array::RestError),
    /// A verb of mapped devices was refused.
    #[error(transparent)]
    Mapped(#[from] MappedError),
    /// The NVMe/TCP target refused.
    #[error(transparent)]
    Nvmf(#[from] crate::nvmf::shell::ServiceError),
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
            | Self::WrongKind { .. }
            | Self::NoSuchMember { .. }
            | Self::NoSuchBase { .. }
            | Self::NotAMember { .. } => errno::ENODEV,
            // SPDK's answer for a base bdev with another array's superblock, too.
            Self::NameTaken { .. } | Self::UuidTaken { .. } | Self::Occupied { .. } => {
                errno::EEXIST
            }
            Self::BadName { .. } | Self::Layout(_) | Self::BadValue { .. } => errno::EINVAL,
            Self::TooMany { .. } => errno::ENOSPC,
            Self::InUse { .. } | Self::Lingering { .. } | Self::NoUpdate { .. } => errno::EBUSY,
            // What `spdk_bdev_open_ext` and `spdk_bdev_module_claim_bdev` say of a bdev with a claim.
            Self::Claimed { .. } | Self::BaseClaimed { .. } | Self::Duplicate { .. } => {
                errno::EPERM
            }
            Self::Unsupported { .. } => errno::ENOTSUP,
            Self::Device(error) => error.errno().abs(),
            Self::NewFile { source, .. } => source.raw_os_error().unwrap_or(errno::EIO),
            Self::Array(error) => error.errno().abs(),
            Self::Remove(error) => error.errno().abs(),
            Self::Add(error) => error.errno().abs(),
            Self::Assemble(_) => errno::EINVAL,
            Self::Incomplete { .. } | Self::LogMissing { .. } | Self::Action { .. } => errno::EBUSY,
            Self::NoSuchArray { .. } => errno::ENODEV,
            Self::Blocking(_) => errno::EIO,
            Self::Resize(error) => error.errno().abs(),
            Self::Inject(error) => error.errno().abs(),
            Self::Delay(error) => error.errno().abs(),
            Self::Split(error) => error.errno().abs(),
            // SPDK has no configuration of such a split then.
            Self::NotSplit { .. } => errno::ENOENT,
            Self::Stop(_)
            | Self::NotFlushed(_)
            | Self::NotWiped { .. }
            | Self::HalfMarked { .. } => errno::EIO,
            Self::Mapped(error) => error.errno(),
            Self::Nvmf(_) => errno::EINVAL,
            Self::Stopping { .. } => errno::ESHUTDOWN,
        }
    }
}
