//! What is on a device: superblocks of ours, dirty logs, signatures of others.
//!
//! ```text
//!   two copies of a superblock --+-- one counts ---+--> Ours
//!                                |                 `--> Replaced: somebody has begun over it since
//!                                +-- none counts, one may be ours -----------------------> Unusable
//!                                `-- none ---> the first bytes ---> somebody's signature -> Stranger
//! ```
//!
//! Here is also how a spare is marked, and how a mark is wiped. Nothing else is written.
//!
//! Not here: the formats (`raid::superblock`, `raid::dirty_log`); whether a device may be written over in spite of
//! what is on it (the service, and `start` for new arrays).

use crate::start::start_timeout;
use device::Bdev;
use device::blocking::{self, BlockingError};
use raid::dirty_log::is_log;
use raid::superblock::{
    self, COPY_OFFSETS_BYTES, DecodeError, FOREIGN_BYTES, NoValidCopy, Pair, ReadFailed,
    SUPERBLOCK_BYTES, Superblock,
};
use reactor::ReactorHandle;
use reactor::memory::IoBufMut;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// Bytes before the first copy of a superblock.
const FRONT_BYTES: usize = COPY_OFFSETS_BYTES[0] as usize;

/// What is on a device that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occupant {
    /// A member or spare of an array of ours.
    Ours(Box<Superblock>),
    /// The same once, and somebody else's since ([`replaced_by`]).
    Replaced {
        /// Its superblock, or what is left of it.
        before: Box<Superblock>,
        /// Whose signature is on it now.
        whose: &'static str,
    },
    /// What may be ours, and cannot be used.
    Unusable(NoValidCopy),
    /// Somebody's signature.
    Stranger(&'static str),
}

/// Completes "the bdev carries ...".
impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(superblock) => f.write_str(&describe(superblock)),
            Self::Replaced { before, whose } => {
                write!(f, "{whose}, over what was {}", describe(before))
            }
            Self::Unusable(error) => write!(f, "something that may be ours: {error}"),
            Self::Stranger(whose) => f.write_str(whose),
        }
    }
}

/// What a bdev with that superblock carries.
#[must_use]
pub fn describe(superblock: &Superblock) -> String {
    let Superblock { array_name, array_uuid, events, slot, .. } = superblock;
    let what = if slot.is_some() { "member" } else { "spare" };
    format!("a {what} of array {array_name:?} ({array_uuid}, event {events})")
}

/// Looks for the superblock of a bdev.
///
/// # Errors
/// [`NoValidCopy`] says what is there instead.
pub fn probe(reactor: &ReactorHandle, bdev: &Arc<dyn Bdev>) -> Result<Pair, NoValidCopy> {
    let size_bytes = bdev.info().size_bytes();
    let copies = COPY_OFFSETS_BYTES.map(|offset_bytes| {
        if offset_bytes + SUPERBLOCK_BYTES as u64 > size_bytes {
            return Ok(None);
        }
        blocking::read(reactor, bdev, offset_bytes, SUPERBLOCK_BYTES, start_timeout(bdev))
            .map(Some)
            .map_err(|error| ReadFailed { reason: error.to_string() })
    });
    let view = |index: usize| match &copies[index] {
        Ok(Some(bytes)) => Ok(&bytes[..]),
        Ok(None) => Err(ReadFailed { reason: "the device is too small".to_owned() }),
        Err(error) => Err(error.clone()),
    };
    superblock::decode_pair(view(0), view(1))
}

/// Writes zeroes over both copies of a bdev's superblock, over the second one too if the first one fails.
///
/// # Errors
/// What the device said first.
pub fn wipe(reactor: &ReactorHandle, bdev: &Arc<dyn Bdev>) -> Result<(), BlockingError> {
    let wiped = COPY_OFFSETS_BYTES.map(|offset_bytes| {
        let zeroes = IoBufMut::heap_copy(&[0; SUPERBLOCK_BYTES]).freeze();
        blocking::write_durably(reactor, bdev, offset_bytes, zeroes, start_timeout(bdev))
    });
    wiped.into_iter().collect()
}

/// Writes the superblock of a spare to a bdev, so that it is found as one at the next start: what an update says that
/// was begun, as one event count has one content. What stands
/// before it goes: nobody else's signature is on a spare ([`replaced_by`]).
///
/// # Errors
/// What the device said. One copy may be there, and makes a spare of it at the next start: it has to be wiped.
pub fn mark_spare(
    reactor: &ReactorHandle,
    bdev: &Arc<dyn Bdev>,
    superblock: &Superblock,
) -> Result<(), BlockingError> {
    let mut bytes = IoBufMut::heap(SUPERBLOCK_BYTES);
    let target: &mut [u8; SUPERBLOCK_BYTES] =
        (&mut bytes[..]).try_into().expect("it was allocated so");
    let spare = superblock.carried_by(Uuid::new_v4(), None);
    spare.encode(target).expect("the array's own superblock can be written");
    let bytes = bytes.freeze();
    let zeroes = IoBufMut::heap_copy(&[0; FRONT_BYTES]).freeze();
    blocking::write_durably(reactor, bdev, 0, zeroes, start_timeout(bdev))?;
    for offset_bytes in COPY_OFFSETS_BYTES {
        blocking::write_durably(reactor, bdev, offset_bytes, bytes.clone(), start_timeout(bdev))?;
    }
    Ok(())
}

/// Whose signature is on a bdev on which a superblock of ours was found, so that this does not count: it was
/// written before. `None` if it counts.
///
/// A spare has nothing before its superblock, so any signature is younger. On a member somebody's may be left
/// from before; it is younger if the place of the first copy has no superblock at all, not even a torn one: a
/// partition table, or a new file system, goes over the first copy and not over the second.
///
/// # Errors
/// When a spare cannot be read. A member that cannot is what its superblock says.
pub fn replaced_by(
    reactor: &ReactorHandle,
    bdev: &Arc<dyn Bdev>,
    found: &Superblock,
) -> Result<Option<&'static str>, BlockingError> {
    let first = read_first(reactor, bdev, FRONT_BYTES + SUPERBLOCK_BYTES);
    if found.slot.is_some() {
        let Ok(first) = &first else { return Ok(None) };
        let copy = Superblock::decode(first.get(FRONT_BYTES..).unwrap_or_default());
        if !matches!(copy, Err(DecodeError::NoMagic { .. })) {
            return Ok(None);
        }
    }
    Ok(superblock::foreign(&first?))
}

/// The first bytes of a bdev, as many as it has.
fn read_first(
    reactor: &ReactorHandle,
    bdev: &Arc<dyn Bdev>,
    len: usize,
) -> Result<Box<[u8]>, BlockingError> {
    let len = len.min(usize::try_from(bdev.info().size_bytes()).unwrap_or(usize::MAX));
    Ok(blocking::read(reactor, bdev, 0, len, start_timeout(bdev))?[..].into())
}

/// What a bdev carries that a dirty log would overwrite; `None` if that is a dirty log or nothing that is
/// known. What cannot be read is left to whoever reads the log.
#[must_use]
pub fn log_occupant(reactor: &ReactorHandle, bdev: &Arc<dyn Bdev>) -> Option<String> {
    let first = read_first(reactor, bdev, FOREIGN_BYTES).ok()?;
    if is_log(&first) {
        return None;
    }
    match probe(reactor, bdev) {
        // Logs are small: there may be no room for a second copy.
        Err(NoValidCopy::None | NoValidCopy::Unreadable(_)) => {
            superblock::foreign(&first).map(str::to_owned)
        }
        Ok(pair) => Some(describe(&pair.superblock)),
        Err(error) => Some(Occupant::Unusable(error).to_string()),
    }
}

/// What is on a bdev, and would be written over; `None` if nothing that is known.
///
/// # Errors
/// When it cannot be read.
pub fn occupant(
    reactor: &ReactorHandle,
    bdev: &Arc<dyn Bdev>,
) -> Result<Option<Occupant>, BlockingError> {
    let stranger = || {
        let first = read_first(reactor, bdev, FOREIGN_BYTES)?;
        Ok(superblock::foreign(&first).map(Occupant::Stranger))
    };
    match probe(reactor, bdev) {
        Ok(Pair { superblock, .. }) => {
            let whose = replaced_by(reactor, bdev, &superblock)?;
            let found = Box::new(superblock);
            Ok(Some(match whose {
                None => Occupant::Ours(found),
                Some(whose) => Occupant::Replaced { before: found, whose },
            }))
        }
        Err(NoValidCopy::None) => stranger(),
        // Nothing that has no room for both copies can be ours.
        Err(NoValidCopy::Unreadable(_)) if !has_room(bdev.info().size_bytes()) => stranger(),
        Err(error) => Ok(Some(Occupant::Unusable(error))),
    }
}

/// Whether a device of this size can be a member or spare of an array with superblocks.
fn has_room(size_bytes: u64) -> bool {
    COPY_OFFSETS_BYTES.iter().all(|at| at + SUPERBLOCK_BYTES as u64 <= size_bytes)
}
