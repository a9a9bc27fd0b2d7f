//! Two copies into one superblock: the valid one with the higher event count.
//!
//! | copy 0 | copy 1 | what it was |
//! |---|---|---|
//! | k | k | the rule |
//! | k | k - 1, or the other way round | a crash between the two writes |
//! | valid | unreadable, damaged or blank | a bad block; the other copy is what the second one is for |
//! | any | intact, of another version | a refusal: a later version was at work, and its copy may be fresher (R8) |
//! | damaged | damaged | a superblock of ours was here: not to be overwritten without a question |
//! | no magic | no magic | none: blank or somebody else's (`foreign`) |
//!
//! The next update begins with the worse one ([`copy_order`](super::copy_order)).
//!
//! Not here: reading them.

use super::Superblock;
use super::codec::DecodeError;

/// A copy that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be read: {reason}")]
pub struct ReadFailed {
    /// Why, in the words of who tried.
    pub reason: String,
}

/// What is wrong with one copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// It was not read.
    #[error(transparent)]
    Unreadable(#[from] ReadFailed),
    /// It was read, and is no superblock.
    #[error(transparent)]
    Invalid(#[from] DecodeError),
}

/// What two copies make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The contents that count.
    pub superblock: Superblock,
    /// What became of the copy that does not.
    pub other: OtherCopy,
}

/// The copy that does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtherCopy {
    /// Says the same.
    Same,
    /// Says something else. Of two copies with the same event count copy 0 counts.
    Outdated {
        /// Its event count.
        events: u64,
    },
    /// Says nothing.
    Lost(CopyError),
}

/// Why no copy counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoValidCopy {
    /// No copy has our magic: the device is blank or somebody else's.
    #[error("there is no superblock")]
    None,
    /// At least one copy is not readable and none is ours: what is on the device is unknown.
    #[error("no superblock was found. Copy 0: {}. Copy 1: {}", .0[0], .0[1])]
    Unreadable(Box<[CopyError; 2]>),
    /// At least one copy is ours, and none can be used.
    #[error("there is a superblock that cannot be used. Copy 0: {}. Copy 1: {}", .0[0], .0[1])]
    Damaged(Box<[CopyError; 2]>),
    /// At least one copy is of a version that is not understood, and may be the fresher one.
    #[error("copy {copy}: {error}")]
    Version {
        /// Which copy.
        copy: usize,
        /// The version, and what would be right.
        error: DecodeError,
    },
}

/// Decides which of the two copies of a member counts; each is
/// [`SUPERBLOCK_BYTES`](super::SUPERBLOCK_BYTES) long.
///
/// # Errors
/// [`NoValidCopy`], if none counts.
pub fn decode_pair(
    copy_0: Result<&[u8], ReadFailed>,
    copy_1: Result<&[u8], ReadFailed>,
) -> Result<Pair, NoValidCopy> {
    let copies = [decode_copy(copy_0), decode_copy(copy_1)];
    for (copy, found) in copies.iter().enumerate() {
        if let Err(CopyError::Invalid(error @ DecodeError::Version { .. })) = found {
            return Err(NoValidCopy::Version { copy, error: error.clone() });
        }
    }
    match copies {
        [Ok(first), Ok(second)] => Ok(newer(first, second)),
        [Ok(superblock), Err(error)] | [Err(error), Ok(superblock)] => {
            Ok(Pair { superblock, other: OtherCopy::Lost(error) })
        }
        [Err(first), Err(second)] => Err(none_valid([first, second])),
    }
}

fn decode_copy(copy: Result<&[u8], ReadFailed>) -> Result<Superblock, CopyError> {
    Ok(Superblock::decode(copy?)?)
}

fn newer(first: Superblock, second: Superblock) -> Pair {
    if first == second {
        return Pair { superblock: first, other: OtherCopy::Same };
    }
    let (superblock, other) = match first.events >= second.events {
        true => (first, second),
        false => (second, first),
    };
    Pair { superblock, other: OtherCopy::Outdated { events: other.events } }
}

fn none_valid(errors: [CopyError; 2]) -> NoValidCopy {
    let is_ours = |error: &CopyError| match error {
        CopyError::Unreadable(_)
        | CopyError::Invalid(DecodeError::NoMagic { .. } | DecodeError::Length { .. }) => false,
        CopyError::Invalid(
            DecodeError::BadChecksum { .. } | DecodeError::Version { .. } | DecodeError::Field(_),
        ) => true,
    };
    let is_blank =
        |error: &CopyError| matches!(error, CopyError::Invalid(DecodeError::NoMagic { .. }));
    if errors.iter().any(is_ours) {
        NoValidCopy::Damaged(Box::new(errors))
    } else if errors.iter().all(is_blank) {
        NoValidCopy::None
    } else {
        NoValidCopy::Unreadable(Box::new(errors))
    }
}
