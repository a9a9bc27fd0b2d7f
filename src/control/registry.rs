//! Which bdevs there are, under which names, and who uses whom.
//!
//! ```text
//!   entries, in the order of creation: what an array is made of stands before the array
//!
//!   m0  m1  m2   r0        m3         rr
//!    ^   ^   ^---| claims   ^          |
//!    `---`-------'          `----------'   a bdev has one claim at most
//! ```
//!
//! A name belongs to one bdev, and so does a UUID, which is an alias. A bdev with a claim can be
//! looked at, but neither deleted nor claimed again. Because arrays can only be made of what is
//! there, walking the entries backwards meets every array before its members.
//!
//! Not here: making and stopping bdevs (`super`), and any lock: a registry is a plain value.

use std::fmt;
use std::sync::Arc;

use array::RaidBdev;
use device::Bdev;
use raid::units::Slot;
use uuid::Uuid;

use super::error::ControlError;
use super::new_file::NewFile;
use crate::limits;

/// The kinds of bdevs, as the methods' names have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Completes everything and moves no byte.
    Null,
    /// In memory.
    Malloc,
    /// A file behind `io_uring`.
    Uring,
    /// A file behind Linux AIO.
    Aio,
    /// An array.
    Raid,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Malloc => "malloc",
            Self::Uring => "uring",
            Self::Aio => "aio",
            Self::Raid => "raid",
        })
    }
}

/// That a bdev is a member of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Name of the array.
    pub array: String,
    /// The member's place in it.
    pub slot: Slot,
}

/// Completes "the bdev is ...".
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "claimed by array {:?} as slot {}", self.array, self.slot)
    }
}

/// What a bdev is to the registry.
#[derive(Debug)]
pub(crate) enum Backing {
    Null,
    Malloc,
    /// With the file that was made for it, while that may still be taken back.
    Uring(Option<NewFile>),
    /// Likewise.
    Aio(Option<NewFile>),
    Raid(Arc<RaidBdev>),
}

impl Backing {
    fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Malloc => Kind::Malloc,
            Self::Uring(_) => Kind::Uring,
            Self::Aio(_) => Kind::Aio,
            Self::Raid(_) => Kind::Raid,
        }
    }
}

/// One bdev.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) bdev: Arc<dyn Bdev>,
    backing: Backing,
    pub(crate) claim: Option<Claim>,
}

impl Entry {
    pub(crate) fn name(&self) -> &str {
        &self.bdev.info().name
    }

    pub(crate) fn kind(&self) -> Kind {
        self.backing.kind()
    }

    /// The array, if it is one.
    pub(crate) fn raid(&self) -> Option<&Arc<RaidBdev>> {
        match &self.backing {
            Backing::Raid(raid) => Some(raid),
            Backing::Null | Backing::Malloc | Backing::Uring(_) | Backing::Aio(_) => None,
        }
    }

    fn answers_to(&self, name: &str) -> bool {
        self.name() == name || name.parse().is_ok_and(|uuid: Uuid| uuid == self.bdev.info().uuid)
    }

    /// The file that was made for it is there to stay.
    fn keep_file(&mut self) {
        if let Backing::Uring(file) | Backing::Aio(file) = &mut self.backing
            && let Some(file) = file.take()
        {
            file.keep();
        }
    }
}

/// All bdevs.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: Vec<Entry>,
}

impl Registry {
    /// Whether a bdev of this name and UUID could be added.
    pub(crate) fn admit(&self, name: &str, uuid: Option<Uuid>) -> Result<(), ControlError> {
        let named = !name.is_empty() && name.len() <= limits::NAME_BYTES_MAX;
        if !named || name.chars().any(char::is_control) {
            return Err(ControlError::BadName { name: name.to_owned() });
        }
        if let Some(holder) = self.find(name) {
            return Err(ControlError::NameTaken { name: name.to_owned(), kind: holder.kind() });
        }
        // Also as another's name: a UUID is an alias, and an alias is a name.
        if let Some(uuid) = uuid
            && let Some(holder) = self.find(&uuid.to_string())
        {
            let holder = holder.name().to_owned();
            return Err(ControlError::UuidTaken { name: name.to_owned(), uuid, holder });
        }
        if self.entries.len() >= limits::BDEVS_MAX {
            return Err(ControlError::TooMany { name: name.to_owned() });
        }
        Ok(())
    }

    /// Adds a bdev that was admitted.
    pub(crate) fn insert(&mut self, bdev: Arc<dyn Bdev>, backing: Backing) {
        self.entries.push(Entry { bdev, backing, claim: None });
    }

    /// The bdev of that name or alias.
    pub(crate) fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.answers_to(name))
    }

    /// As `find`, where it must be there.
    pub(crate) fn get(&self, name: &str) -> Result<&Entry, ControlError> {
        self.find(name).ok_or_else(|| ControlError::NoSuchBdev { name: name.to_owned() })
    }

    /// All of them in the order of their creation.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// A name for a malloc bdev that was given none: "Malloc" and the lowest number that is free.
    pub(crate) fn free_malloc_name(&self) -> String {
        (0..=self.entries.len())
            .map(|number| format!("Malloc{number}"))
            .find(|name| self.find(name).is_none())
            .expect("there is one more name than there are bdevs")
    }

    /// The bdevs for the slots of a new array, none of which anybody uses.
    pub(crate) fn members(
        &self,
        names: &[Option<String>],
    ) -> Result<Vec<Option<Arc<dyn Bdev>>>, ControlError> {
        let mut members: Vec<Option<Arc<dyn Bdev>>> = Vec::with_capacity(names.len());
        for (slot, name) in slots(names) {
            let Some(name) = name else {
                members.push(None);
                continue;
            };
            let Some(entry) = self.find(name) else {
                return Err(ControlError::NoSuchMember { name: name.clone(), slot });
            };
            if let Some(claim) = entry.claim.clone() {
                return Err(ControlError::Claimed { name: name.clone(), slot, claim });
            }
            // By identity, because one of the two names may be an alias.
            let same = |earlier: &Option<Arc<dyn Bdev>>| {
                earlier.as_ref().is_some_and(|earlier| Arc::ptr_eq(earlier, &entry.bdev))
            };
            if let Some((first, _)) = slots(&members).find(|(_, earlier)| same(earlier)) {
                return Err(ControlError::Duplicate { name: name.clone(), first, second: slot });
            }
            members.push(Some(Arc::clone(&entry.bdev)));
        }
        Ok(members)
    }

    /// Marks `members` as used by `array`.
    pub(crate) fn claim(&mut self, array: &str, members: &[Option<Arc<dyn Bdev>>]) {
        for (slot, member) in slots(members) {
            let Some(member) = member else { continue };
            let entry = self.entries.iter_mut().find(|entry| Arc::ptr_eq(&entry.bdev, member));
            let entry = entry.expect("members come from this registry");
            entry.claim = Some(Claim { array: array.to_owned(), slot });
        }
    }

    /// The array that uses the bdev, and the slot that it has there.
    pub(crate) fn user_of(&self, name: &str) -> Result<(Arc<RaidBdev>, Claim), ControlError> {
        let not_a_member = || ControlError::NotAMember { name: name.to_owned(), array: None };
        let claim = self.get(name)?.claim.clone().ok_or_else(not_a_member)?;
        let array = self.find(&claim.array).and_then(Entry::raid).ok_or_else(not_a_member)?;
        Ok((Arc::clone(array), claim))
    }

    /// Nobody uses the bdev any more.
    pub(crate) fn release(&mut self, name: &str) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.answers_to(name)) {
            entry.claim = None;
        }
    }

    /// Whether a bdev may be deleted by a command for bdevs of `wanted` kind.
    pub(crate) fn check_delete(&self, wanted: Kind, name: &str) -> Result<&Entry, ControlError> {
        let entry = self.get(name)?;
        if entry.kind() != wanted {
            let (name, kind) = (name.to_owned(), entry.kind());
            return Err(ControlError::OtherKind { name, kind, wanted });
        }
        if let Some(claim) = entry.claim.clone() {
            return Err(ControlError::InUse { name: name.to_owned(), claim });
        }
        Ok(entry)
    }

    /// Takes a bdev out, and gives its members back if it is an array. A file that was made for it
    /// stays: deleting a bdev deletes no data.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Entry> {
        let place = self.entries.iter().position(|entry| entry.answers_to(name))?;
        let mut removed = self.entries.remove(place);
        removed.keep_file();
        for entry in &mut self.entries {
            entry.claim.take_if(|claim| claim.array == removed.name());
        }
        Some(removed)
    }

    /// The files that were made so far are there to stay.
    pub(crate) fn keep_files(&mut self) {
        self.entries.iter_mut().for_each(Entry::keep_file);
    }

    /// Takes all bdevs out; the last one made comes first, so arrays come before their members.
    pub(crate) fn drain_backwards(&mut self) -> Vec<Entry> {
        let mut entries = std::mem::take(&mut self.entries);
        entries.reverse();
        entries
    }
}

fn slots<T>(members: &[T]) -> impl Iterator<Item = (Slot, &T)> {
    // The registry of methods admits at most 255 base bdevs.
    members.iter().enumerate().map(|(slot, member)| (Slot(slot as u8), member))
}

#[cfg(test)]
mod tests {
    use device::{NullBdev, NullSpec};

    use super::*;

    fn null(name: &str, uuid: Option<Uuid>) -> Arc<dyn Bdev> {
        let spec = NullSpec { name: name.into(), uuid, block_size_bytes: 512, num_blocks: 64 };
        NullBdev::create(spec).unwrap()
    }

    fn with(names: &[&str]) -> Registry {
        let mut registry = Registry::default();
        for name in names {
            registry.admit(name, None).unwrap();
            registry.insert(null(name, None), Backing::Null);
        }
        registry
    }

    fn some(names: &[&str]) -> Vec<Option<String>> {
        names.iter().map(|name| Some((*name).to_owned())).collect()
    }

    /// Goal: names and aliases live in one space. Method: every pair of name and alias clashes.
    #[test]
    fn names_and_uuids_are_unique() {
        let uuid: Uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap();
        let mut registry = with(&["a"]);
        registry.admit("b", Some(uuid)).unwrap();
        registry.insert(null("b", Some(uuid)), Backing::Null);

        let refused = |name: &str, uuid| registry.admit(name, uuid).unwrap_err();
        assert!(matches!(refused("a", None), ControlError::NameTaken { kind: Kind::Null, .. }));
        assert!(matches!(refused(&uuid.to_string(), None), ControlError::NameTaken { .. }));
        assert!(matches!(refused("c", Some(uuid)), ControlError::UuidTaken { .. }));
        assert_eq!(refused("c", Some(uuid)).errno(), rpc::error::errno::EEXIST);
        for bad in ["", "a\nb", &"x".repeat(256)] {
            assert!(matches!(refused(bad, None), ControlError::BadName { .. }), "{bad:?}");
        }
        assert_eq!(registry.get(&uuid.to_string().to_uppercase()).unwrap().name(), "b");
        assert_eq!(registry.get("z").unwrap_err().errno(), rpc::error::errno::ENODEV);
    }

    /// Goal: a member is there, once, and free. Method: one wrong list of each sort.
    #[test]
    fn members_must_be_there_once_and_free() {
        let mut registry = with(&["a", "b", "c", "d"]);
        let alias = registry.get("a").unwrap().bdev.info().uuid.to_string();
        let members = registry.members(&[Some("a".into()), None, Some("c".into())]).unwrap();
        assert!(members[1].is_none());

        let error = registry.members(&some(&["a", "b", &alias])).unwrap_err();
        assert!(
            matches!(error, ControlError::Duplicate { first: Slot(0), second: Slot(2), .. }),
            "{error}"
        );
        let error = registry.members(&some(&["a", "x"])).unwrap_err();
        assert!(matches!(error, ControlError::NoSuchMember { slot: Slot(1), .. }), "{error}");

        registry.claim("r0", &members);
        let error = registry.members(&some(&["b", "c", "d"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "base bdev \"c\" for slot 1 is claimed by array \"r0\" as slot 2: give a bdev that \
             nobody uses"
        );
        assert_eq!(error.errno(), 1);
        let error = registry.check_delete(Kind::Null, "c").unwrap_err();
        assert_eq!(error.errno(), rpc::error::errno::EBUSY);
        assert!(registry.check_delete(Kind::Null, "b").is_ok());
        let error = registry.check_delete(Kind::Malloc, "b").unwrap_err();
        assert_eq!(
            error.to_string(),
            "bdev \"b\" is a null bdev and not a malloc bdev: use bdev_null_delete"
        );
        registry.release("c");
        assert!(registry.members(&some(&["b", "c", "d"])).is_ok());
    }

    /// Goal: nobody has to think of a name for a RAM disk.
    #[test]
    fn malloc_names_fill_gaps() {
        let mut registry = with(&["Malloc0", "Malloc2", "other"]);
        assert_eq!(registry.free_malloc_name(), "Malloc1");
        registry.insert(null("Malloc1", None), Backing::Malloc);
        assert_eq!(registry.free_malloc_name(), "Malloc3");
        registry.remove("Malloc0").unwrap();
        assert_eq!(registry.free_malloc_name(), "Malloc0");
    }

    /// Goal: deleting a bdev leaves its file, dropping an unsettled registry does not.
    #[test]
    fn files_are_taken_back_until_they_are_kept() {
        let top = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = top.path().join(name);
            (NewFile::make_if_missing(name, &path, 4096).unwrap(), path)
        };
        let mut registry = Registry::default();
        let (deleted, deleted_path) = file("deleted");
        registry.insert(null("deleted", None), Backing::Uring(deleted));
        let (kept, kept_path) = file("kept");
        registry.insert(null("kept", None), Backing::Aio(kept));
        drop(registry.remove("deleted"));
        registry.keep_files();
        let (dropped, dropped_path) = file("dropped");
        registry.insert(null("dropped", None), Backing::Uring(dropped));
        drop(registry);
        assert!(deleted_path.exists() && kept_path.exists() && !dropped_path.exists());
    }
}
