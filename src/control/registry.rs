//! Which bdevs there are, under which names, and who uses whom.
//!
//! ```text
//!   entries, in the order of creation: what a bdev is made of stands before it
//!
//!   m0  m1  m2   r0        m3       EE_m3
//!    ^   ^   ^---| claims   ^          |
//!    `---`-------'          `----------'   a bdev has one claim at most
//! ```
//!
//! A name belongs to one bdev, and so does a UUID, which is an alias. A bdev with a claim can be
//! looked at, but neither deleted nor claimed again. Because bdevs can only be made of what is
//! there, walking the entries backwards meets every one before what it is made of.
//!
//! Not here: making and stopping bdevs (`super`), and any lock: a registry is a plain value.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use array::RaidBdev;
use device::{Bdev, Counted, DelayBdev, ErrorBdev, still_lingering};
use raid::units::Slot;
use uuid::Uuid;

use super::error::ControlError;
use super::mapped::Mapped;
use super::new_file::NewFile;
use super::split::Part;
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
    /// Fails when it is told to, over another bdev.
    Error,
    /// Answers late, over another bdev.
    Delay,
    /// A part of another bdev.
    Split,
    /// An array.
    Raid,
    /// A mapped device, over what its table says.
    Mapped,
}

impl Kind {
    /// With its article, for messages.
    pub(crate) fn with_article(self) -> String {
        match self {
            Self::Aio | Self::Error => format!("an {self}"),
            Self::Null
            | Self::Malloc
            | Self::Uring
            | Self::Delay
            | Self::Split
            | Self::Raid
            | Self::Mapped => {
                format!("a {self}")
            }
        }
    }

    /// The method that deletes one.
    pub(crate) fn deleted_with(self) -> String {
        match self {
            Self::Mapped => "dm_remove".to_owned(),
            _ => format!("bdev_{self}_delete"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Malloc => "malloc",
            Self::Uring => "uring",
            Self::Aio => "aio",
            Self::Error => "error",
            Self::Delay => "delay",
            Self::Split => "split",
            Self::Raid => "raid",
            Self::Mapped => "mapped",
        })
    }
}

/// Whose spares those are that belong to no array.
const POOL: &str = "the shared pool";

/// That a bdev is used by another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is a member of an array.
    Member(Membership),
    /// An error or delay bdev stands on it.
    Base {
        /// What stands on it.
        kind: Kind,
        /// That bdev's name.
        above: String,
    },
    /// It is cut into parts.
    Split {
        /// Their names.
        parts: Vec<String>,
    },
    /// It holds the dirty log of an array.
    Log {
        /// Name of the array.
        array: String,
    },
    /// It waits to take the place of a member that fails.
    Spare {
        /// Of which array; `None`: of any.
        array: Option<String>,
    },
    /// It stands in tables of mapped devices.
    Mapped {
        /// Their names.
        devices: Vec<String>,
        /// Whether one of them uses it for an array, so that nobody else may.
        exclusive: bool,
    },
    /// It is being removed.
    Removal,
    /// Hosts use it as a namespace.
    Namespace {
        /// The subsystem.
        nqn: String,
        /// Its identifier there.
        nsid: u32,
    },
}

/// That a bdev is a member of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Name of the array.
    pub array: String,
    /// The member's place in it.
    pub slot: Slot,
}

impl Claim {
    /// Name of the bdev that has the claim.
    pub fn holder(&self) -> &str {
        match self {
            Self::Member(membership) => &membership.array,
            Self::Base { above, .. } => above,
            // They come and go together.
            Self::Split { parts } => parts.first().map_or("", String::as_str),
            Self::Log { array } => array,
            Self::Spare { array } => array.as_deref().unwrap_or(POOL),
            Self::Namespace { nqn, .. } => nqn,
            Self::Mapped { devices, .. } => devices.first().map_or("", String::as_str),
            Self::Removal => "",
        }
    }

    /// How many have it.
    pub(crate) fn users(&self) -> u32 {
        match self {
            Self::Mapped { devices, .. } => u32::try_from(devices.len()).unwrap_or(u32::MAX),
            _ => 1,
        }
    }

    /// How a bdev gets rid of it.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::Member(_) => "delete the array first, or take the bdev out of it with \
                                bdev_raid_remove_base_bdev"
                .to_owned(),
            Self::Base { kind, .. } => {
                format!("delete that one first, with bdev_{kind}_delete")
            }
            Self::Split { .. } => "delete its parts first, with bdev_split_delete".to_owned(),
            Self::Log { .. } => "delete the array first".to_owned(),
            Self::Spare { .. } => "take it back with bdev_raid_remove_base_bdev".to_owned(),
            Self::Mapped { .. } => {
                "remove that first with dm_remove, or load another table".to_owned()
            }
            Self::Removal => "it is gone in a moment".to_owned(),
            Self::Namespace { .. } => {
                "take the namespace out first, with nvmf_subsystem_remove_ns".to_owned()
            }
        }
    }
}

/// Completes "the bdev is ...".
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(Membership { array, slot }) => {
                write!(f, "claimed by array {array:?} as slot {slot}")
            }
            Self::Base { kind, above } => write!(f, "claimed by {kind} bdev {above:?} as its base"),
            Self::Split { parts } => {
                write!(f, "split into {} parts, {:?} and so on", parts.len(), self.holder())
            }
            Self::Log { array } => write!(f, "claimed by array {array:?} as its log"),
            Self::Spare { array: Some(array) } => {
                write!(f, "claimed by array {array:?} as a spare")
            }
            Self::Spare { array: None } => f.write_str("claimed as a spare of any array"),
            Self::Mapped { devices, .. } => {
                write!(f, "claimed by the tables of mapped devices {}", devices.join(", "))
            }
            Self::Removal => f.write_str("being removed"),
            Self::Namespace { nqn, nsid } => {
                write!(f, "claimed by subsystem {nqn} as namespace {nsid}")
            }
        }
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
    Error(Arc<ErrorBdev>),
    Delay(Arc<DelayBdev>),
    Split(Part),
    Raid(Arc<RaidBdev>),
    Mapped(Arc<Mapped>),
}

impl Backing {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Malloc => Kind::Malloc,
            Self::Uring(_) => Kind::Uring,
            Self::Aio(_) => Kind::Aio,
            Self::Error(_) => Kind::Error,
            Self::Delay(_) => Kind::Delay,
            Self::Split(_) => Kind::Split,
            Self::Raid(_) => Kind::Raid,
            Self::Mapped(_) => Kind::Mapped,
        }
    }
}

/// One bdev.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What everybody uses: the counted one.
    pub(crate) bdev: Arc<dyn Bdev>,
    pub(crate) counted: Arc<Counted>,
    backing: Backing,
    pub(crate) claim: Option<Claim>,
    /// How often it was claimed: what was read from it before one of these may not be so any more.
    claims: u64,
}

impl Entry {
    /// How often it was claimed.
    pub(crate) fn claims(&self) -> u64 {
        self.claims
    }

    fn set_claim(&mut self, claim: Claim) {
        self.claim = Some(claim);
        self.claims += 1;
    }

    pub(crate) fn name(&self) -> String {
        self.bdev.name()
    }

    pub(crate) fn kind(&self) -> Kind {
        self.backing.kind()
    }

    /// The array, if it is one.
    pub(crate) fn raid(&self) -> Option<&Arc<RaidBdev>> {
        match &self.backing {
            Backing::Raid(raid) => Some(raid),
            _ => None,
        }
    }

    /// The mapped device, if it is one.
    pub(crate) fn mapped(&self) -> Option<&Arc<Mapped>> {
        match &self.backing {
            Backing::Mapped(mapped) => Some(mapped),
            _ => None,
        }
    }

    /// The error bdev, if it is one.
    pub(crate) fn error(&self) -> Option<&Arc<ErrorBdev>> {
        match &self.backing {
            Backing::Error(error) => Some(error),
            _ => None,
        }
    }

    /// The delay bdev, if it is one.
    pub(crate) fn delay(&self) -> Option<&Arc<DelayBdev>> {
        match &self.backing {
            Backing::Delay(delay) => Some(delay),
            _ => None,
        }
    }

    /// The part of another bdev, if it is one.
    pub(crate) fn part(&self) -> Option<&Part> {
        match &self.backing {
            Backing::Split(part) => Some(part),
            _ => None,
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
            let holder = holder.name();
            return Err(ControlError::UuidTaken { name: name.to_owned(), uuid, holder });
        }
        if self.entries.len() >= limits::BDEVS_MAX {
            return Err(ControlError::TooMany { name: name.to_owned() });
        }
        Ok(())
    }

    /// Adds a bdev that was admitted.
    pub(crate) fn insert(&mut self, bdev: Arc<dyn Bdev>, backing: Backing) {
        let counted = Counted::over(bdev);
        let bdev = Arc::clone(&counted) as Arc<dyn Bdev>;
        self.entries.push(Entry { bdev, counted, backing, claim: None, claims: 0 });
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

    /// The members as an array is to use them. Null bdevs are there to measure what is above them, so
    /// nothing is counted of what arrays do with theirs.
    pub(crate) fn as_used(&self, members: &[Option<Arc<dyn Bdev>>]) -> Vec<Option<Arc<dyn Bdev>>> {
        let used = |member: &Arc<dyn Bdev>| {
            let entry = self.entries.iter().find(|entry| Arc::ptr_eq(&entry.bdev, member));
            let null = entry.filter(|entry| entry.kind() == Kind::Null);
            Arc::clone(null.map_or(member, |entry| entry.counted.inner()))
        };
        members.iter().map(|member| member.as_ref().map(used)).collect()
    }

    /// Marks `members` as used by `array`.
    pub(crate) fn claim(&mut self, array: &str, members: &[Option<Arc<dyn Bdev>>]) {
        for (slot, member) in slots(members) {
            let Some(member) = member else { continue };
            self.claim_one(member, Claim::Member(Membership { array: array.to_owned(), slot }));
        }
    }

    /// Marks one bdev as used.
    pub(crate) fn claim_one(&mut self, bdev: &Arc<dyn Bdev>, claim: Claim) {
        let entry = self.entries.iter_mut().find(|entry| Arc::ptr_eq(&entry.bdev, bdev));
        entry.expect("it comes from this registry").set_claim(claim);
    }

    /// Frees whoever is in a slot of an array.
    pub(crate) fn release_slot(&mut self, array: &str, slot: Slot) {
        let membership = Membership { array: array.to_owned(), slot };
        for entry in &mut self.entries {
            entry.claim.take_if(|claim| *claim == Claim::Member(membership.clone()));
        }
    }

    /// The spares that an array may have: its own, then those of any.
    pub(crate) fn spares_for(&self, array: &str) -> Vec<Arc<dyn Bdev>> {
        let mut spares = self.own_spares(array);
        spares.extend(self.spares_of(None));
        spares
    }

    /// The spares that no other array may have.
    pub(crate) fn own_spares(&self, array: &str) -> Vec<Arc<dyn Bdev>> {
        self.spares_of(Some(array)).collect()
    }

    fn spares_of(&self, whose: Option<&str>) -> impl Iterator<Item = Arc<dyn Bdev>> {
        let is_its = move |entry: &&Entry| match &entry.claim {
            Some(Claim::Spare { array }) => array.as_deref() == whose,
            _ => false,
        };
        self.entries.iter().filter(is_its).map(|entry| Arc::clone(&entry.bdev))
    }

    /// The bdev that another is to stand on, which nobody uses.
    pub(crate) fn base(&self, name: &str) -> Result<Arc<dyn Bdev>, ControlError> {
        let entry = self.find(name);
        let entry = entry.ok_or_else(|| ControlError::NoSuchBase { name: name.to_owned() })?;
        match entry.claim.clone() {
            None => Ok(Arc::clone(&entry.bdev)),
            Some(claim) => Err(ControlError::BaseClaimed { name: name.to_owned(), claim }),
        }
    }

    /// Marks `base` as that of `above`.
    pub(crate) fn claim_base(&mut self, kind: Kind, above: &str, base: &Arc<dyn Bdev>) {
        self.claim_one(base, Claim::Base { kind, above: above.to_owned() });
    }

    /// The array that uses the bdev, and the slot that it has there.
    pub(crate) fn user_of(&self, name: &str) -> Result<(Arc<RaidBdev>, Membership), ControlError> {
        let not_a_member = || ControlError::NotAMember { name: name.to_owned(), array: None };
        let Some(Claim::Member(membership)) = self.get(name)?.claim.clone() else {
            return Err(not_a_member());
        };
        let array = self.find(&membership.array).and_then(Entry::raid).ok_or_else(not_a_member)?;
        Ok((Arc::clone(array), membership))
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
        // Made anew, nobody would know of them.
        let requests = still_lingering(entry.bdev.info().uuid);
        if requests > 0 {
            return Err(ControlError::Lingering { name: name.to_owned(), requests });
        }
        Ok(entry)
    }

    /// Takes a bdev out, and gives back what it was made of. A file that was made for it
    /// stays: deleting a bdev deletes no data.
    pub(crate) fn remove(&mut self, name: &str) -> Option<Entry> {
        let place = self.entries.iter().position(|entry| entry.answers_to(name))?;
        let mut removed = self.entries.remove(place);
        removed.keep_file();
        for entry in &mut self.entries {
            entry.claim.take_if(|claim| claim.holder() == removed.name());
        }
        Some(removed)
    }

    /// The files that were made so far are there to stay.
    pub(crate) fn keep_files(&mut self) {
        self.entries.iter_mut().for_each(Entry::keep_file);
    }

    /// Marks one bdev as used.
    pub(crate) fn claim_named(&mut self, name: &str, claim: Claim) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.answers_to(name)) {
            entry.set_claim(claim);
        }
    }

    /// Sets the claims of mapped devices anew, as `claim_of` says by name.
    pub(crate) fn set_mapped_claims(&mut self, mut claim_of: impl FnMut(&str) -> Option<Claim>) {
        for entry in &mut self.entries {
            let claim = claim_of(&entry.name());
            if matches!(entry.claim, None | Some(Claim::Mapped { .. })) {
                entry.claims += u64::from(claim != entry.claim);
                entry.claim = claim;
            }
        }
    }

    /// The names of what a bdev is made of.
    pub(crate) fn parts(&self, name: &str) -> Vec<String> {
        let is_part = |entry: &&Entry| match &entry.claim {
            Some(Claim::Mapped { devices: users, .. } | Claim::Split { parts: users }) => {
                users.iter().any(|user| user == name)
            }
            Some(claim) => claim.holder() == name,
            None => false,
        };
        self.entries.iter().filter(is_part).map(Entry::name).collect()
    }

    /// Takes all bdevs out, each before what it is made of: of those that nobody uses any more, the last
    /// one made comes first. Mapped devices can be made of what is younger than they are.
    pub(crate) fn drain_backwards(&mut self) -> Vec<Entry> {
        let mut drained = Vec::with_capacity(self.entries.len());
        while !self.entries.is_empty() {
            let users = |entry: &Entry| match &entry.claim {
                None | Some(Claim::Removal) => Vec::new(),
                Some(Claim::Mapped { devices: users, .. } | Claim::Split { parts: users }) => {
                    users.clone()
                }
                Some(claim) => vec![claim.holder().to_owned()],
            };
            let names: BTreeSet<String> = self.entries.iter().map(Entry::name).collect();
            let is_free = |entry: &Entry| users(entry).iter().all(|user| !names.contains(user));
            let free: Vec<bool> = self.entries.iter().map(is_free).collect();
            // Nothing is made of itself; should it seem so, the order is as good as any.
            let stuck = free.iter().all(|free| !free);
            let entries = std::mem::take(&mut self.entries);
            let (now, later) =
                entries.into_iter().zip(free).partition::<Vec<_>, _>(|e| e.1 || stuck);
            self.entries = later.into_iter().map(|(entry, _)| entry).collect();
            drained.extend(now.into_iter().rev().map(|(entry, _)| entry));
        }
        drained
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

        let late = device::Lingering::begin(registry.get("b").unwrap().bdev.info().uuid, 2);
        let error = registry.check_delete(Kind::Null, "b").unwrap_err();
        assert_eq!(
            error.to_string(),
            "bdev \"b\" still has 2 requests from before it was given up: wait until they have ended"
        );
        assert_eq!(error.errno(), rpc::error::errno::EBUSY);
        drop(late);
        assert!(registry.check_delete(Kind::Null, "b").is_ok());
    }

    /// Goal: what another bdev stands on is its own, like a member of an array, and free when that is
    /// deleted.
    #[test]
    fn a_base_is_claimed() {
        let mut registry = with(&["a", "b"]);
        let alias = registry.get("a").unwrap().bdev.info().uuid.to_string();
        let base = registry.base(&alias).unwrap();
        registry.insert(null("EE_a", None), Backing::Null);
        registry.claim_base(Kind::Error, "EE_a", &base);
        for (error, text, errno) in [
            (
                registry.base("a").unwrap_err(),
                "base bdev \"a\" is claimed by error bdev \"EE_a\" as its base: give a bdev that \
                 nobody uses",
                rpc::error::errno::EPERM,
            ),
            (
                registry.members(&some(&["b", "a"])).unwrap_err(),
                "base bdev \"a\" for slot 1 is claimed by error bdev \"EE_a\" as its base: give a \
                 bdev that nobody uses",
                rpc::error::errno::EPERM,
            ),
            (
                registry.check_delete(Kind::Null, "a").unwrap_err(),
                "bdev \"a\" is claimed by error bdev \"EE_a\" as its base: delete that one first, \
                 with bdev_error_delete",
                rpc::error::errno::EBUSY,
            ),
            (
                registry.base("x").unwrap_err(),
                "base bdev \"x\": create it first",
                rpc::error::errno::ENODEV,
            ),
        ] {
            assert_eq!((error.to_string().as_str(), error.errno()), (text, errno));
        }
        let error = registry.user_of("a").unwrap_err();
        assert!(matches!(error, ControlError::NotAMember { .. }), "{error}");
        registry.remove("EE_a").unwrap();
        assert!(registry.base("a").is_ok());
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
