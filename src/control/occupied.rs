//! Whether a bdev may be written over: what is on it, and who asks for it.
//!
//! | on the bdev | who asks | |
//! |---|---|---|
//! | nothing that is known | anybody | taken |
//! | a superblock of the array, of a member or spare, however old | that array | taken: its own |
//! | anything | the array whose member it is, and has failed as | taken: its own |
//! | anything | the array without superblocks that had it last, with nobody since | taken: its own |
//! | anything else | anybody | refused, unless by `force` |
//!
//! An array without superblocks leaves nothing on its members that says whose they are: there may well be a file
//! system, the array's own. So what this service has seen counts; of a bdev that it has not seen in the array, what
//! is on it does.
//!
//! Decided when a bdev is asked for: by `bdev_raid_add_base_bdev`, by `bdev_raid_add_spare`, and by
//! `bdev_raid_create` for its spares, before anything is made. From then on the bdev is claimed, and a spare that
//! takes a slot, or a member that comes back by its superblock, is not asked about again. A table of a mapped device
//! that names a device is its owner's word, as with the kernel.
//!
//! Not here: reading it (`array::occupant`); members of new arrays (crate `array`).

use std::sync::{Arc, MutexGuard};

use array::{Occupant, RaidBdev};
use device::Bdev;
use device::blocking::BlockingError;
use raid::assemble::Candidate;
use uuid::Uuid;

use super::error::ControlError;
use super::registry::{Claim, Entry};
use super::{Control, State};

/// What was found on a bdev: `None` if nothing that is known.
pub(super) type Found = Result<Option<Occupant>, BlockingError>;

/// Who asks for a bdev.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    /// The array's UUID, where its members carry superblocks.
    superblock: Option<Uuid>,
    /// Whether this service knows that the bdev is the array's, whatever is on it.
    is_known: bool,
    /// The operator insists.
    force: bool,
}

/// On which terms a bdev is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Terms {
    /// Nothing is on it that is known.
    Blank,
    /// What is on it is the array's own.
    Own,
    /// What is on it is given up by force. It says nothing about the array.
    Forced,
}

impl Asker {
    /// Nobody's yet: the pool of spares, or an array that is about to be made.
    pub(super) fn new(force: bool) -> Self {
        Self { superblock: None, is_known: false, force }
    }

    /// An array. Of a bdev that has failed as its member, and was not let go, it `is_known` whose it is.
    pub(super) fn array(
        state: &State,
        raid: &RaidBdev,
        bdev: &str,
        is_known: bool,
        force: bool,
    ) -> Self {
        let superblock = raid.superblock().map(|superblock| superblock.array_uuid);
        let had_it = || state.registry.had_last(raid.info().uuid, bdev);
        Self { superblock, is_known: is_known || superblock.is_none() && had_it(), force }
    }
}

/// Whether somebody may have a bdev with that on it; `None` if not.
fn decide(found: Option<&Occupant>, asker: Asker) -> Option<Terms> {
    let is_own = match found {
        None => return Some(Terms::Blank),
        Some(Occupant::Ours(superblock)) => asker.superblock == Some(superblock.array_uuid),
        Some(Occupant::Replaced { .. } | Occupant::Unusable(_) | Occupant::Stranger(_)) => false,
    };
    match (is_own || asker.is_known, asker.force) {
        (true, _) => Some(Terms::Own),
        (false, true) => Some(Terms::Forced),
        (false, false) => None,
    }
}

/// On which terms somebody may have a bdev, for the array of that name, if it is for one.
///
/// # Errors
/// What is on it, or why that cannot be told.
pub(super) fn admit(
    array: Option<&str>,
    bdev: &Arc<dyn Bdev>,
    asker: Asker,
    found: Found,
) -> Result<Terms, ControlError> {
    let found = match found {
        Ok(found) => found,
        Err(_) if asker.is_known => return Ok(Terms::Own),
        Err(_) if asker.force => return Ok(Terms::Forced),
        Err(error) => return Err(error.into()),
    };
    match (decide(found.as_ref(), asker), found) {
        (Some(terms), _) => Ok(terms),
        (None, found) => {
            let what = found.map(|found| found.to_string()).unwrap_or_default();
            let member = bdev.name();
            Err(match array {
                Some(name) => {
                    array::CreateError::InUse { name: name.to_owned(), member, what }.into()
                }
                None => ControlError::Occupied { name: member, what },
            })
        }
    }
}

impl Control {
    /// What is on a bdev that nobody uses.
    pub(super) fn occupant(&self, bdev: &Arc<dyn Bdev>) -> Found {
        self.reactors().first().map_or(Ok(None), |reactor| array::occupant(reactor, bdev))
    }

    /// Reads what is on a bdev that an array, or the pool of spares, asks for, and returns the state in which that is
    /// so. A superblock that counts is known from then on. Nothing is read of what others use.
    ///
    /// # Errors
    /// When there is no such bdev or array.
    pub(super) fn recall(
        &self,
        name: &str,
        array: Option<&str>,
    ) -> Result<(MutexGuard<'_, State>, Found), ControlError> {
        loop {
            let state = self.state();
            let array = array.map(|array| state.registry.get(array)).transpose()?.map(Entry::name);
            let entry = state.registry.get(name)?;
            let is_free = match &entry.claim {
                None => true,
                Some(Claim::Member(membership)) => array.as_ref() == Some(&membership.array),
                Some(_) => false,
            };
            if !is_free {
                return Ok((state, Ok(None)));
            }
            let (bdev, standing) = (Arc::clone(&entry.bdev), state.registry.standing(name));
            drop(state);
            let found = self.occupant(&bdev);
            let mut state = self.state();
            state.registry.get(name)?;
            if state.registry.standing(name) != standing {
                // Somebody had it meanwhile.
                continue;
            }
            let (name, size_bytes) = (bdev.name(), bdev.info().size_bytes());
            match &found {
                Ok(Some(Occupant::Ours(found))) => {
                    let found = (**found).clone();
                    state.known.add(Candidate { name, size_bytes, found }, standing);
                }
                Ok(_) | Err(_) => state.known.forget(&name),
            }
            return Ok((state, found));
        }
    }
}

#[cfg(test)]
mod tests {
    use raid::layout::{Layout, Level};
    use raid::superblock::{
        CopyError, DecodeError, NoValidCopy, OnLogFailure, ReadFailed, Shape, Shutdown, Superblock,
    };
    use raid::units::Slot;

    use super::*;

    fn ours(array_uuid: Uuid) -> Box<Superblock> {
        Box::new(Superblock {
            array_uuid,
            array_name: "r0".to_owned(),
            member_uuid: Uuid::from_u128(9),
            slot: Some(Slot(0)),
            events: 7,
            shape: Shape {
                level: Level::Raid5,
                layout: Layout::LeftSymmetric,
                strip_bytes: 64 << 10,
                block_size_bytes: 4096,
                component_bytes: 1 << 20,
            },
            shutdown: Shutdown::Clean,
            in_sync_to_bytes: 0,
            fresh: false,
            region_bytes: 1 << 20,
            log: None,
            on_log_failure: OnLogFailure::Continue,
            members: Vec::new(),
        })
    }

    /// Goal: nothing but what is blank or the array's own is taken without force, and with it everything is; only
    /// what is its own counts as such. Method: everything that can be on a bdev, for everybody who can ask.
    #[test]
    fn only_what_is_blank_or_own_is_taken() {
        let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let unread = || CopyError::Unreadable(ReadFailed { reason: "it hangs".to_owned() });
        let damaged = CopyError::Invalid(DecodeError::BadChecksum { found: 1, right: 2 });
        let whose = "LUKS";
        let on_it = [
            Some(Occupant::Ours(ours(other))),
            Some(Occupant::Replaced { before: ours(own), whose }),
            Some(Occupant::Replaced { before: ours(other), whose }),
            Some(Occupant::Unusable(NoValidCopy::Damaged(Box::new([damaged, unread()])))),
            Some(Occupant::Unusable(NoValidCopy::Unreadable(Box::new([unread(), unread()])))),
            Some(Occupant::Stranger(whose)),
        ];
        for superblock in [None, Some(own)] {
            for (is_known, force) in [(false, false), (false, true), (true, false), (true, true)] {
                let asker = Asker { superblock, is_known, force };
                assert_eq!(decide(None, asker), Some(Terms::Blank), "{asker:?}");
                let terms = match (is_known, force) {
                    (true, _) => Some(Terms::Own),
                    (false, true) => Some(Terms::Forced),
                    (false, false) => None,
                };
                for found in &on_it {
                    assert_eq!(decide(found.as_ref(), asker), terms, "{found:?} {asker:?}");
                }
                let mine = decide(Some(&Occupant::Ours(ours(own))), asker);
                let expected = if superblock.is_some() { Some(Terms::Own) } else { terms };
                assert_eq!(mine, expected, "{asker:?}");
            }
        }
    }
}
