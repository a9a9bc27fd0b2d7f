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
        /// Whether something is on it in spite of which it was taken, and still is: asked for again, it takes
        /// force.
        forced: bool,
    },
    /// It stands in tables of mapped devices.
    Mapped {
        /// Their names.
        devices: Vec<String>,
        /// Whether one of them uses it for an array, so that nobody else may.
        exclusive: bool,
    },
    /// It is being removed, or wiped.
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
            Self::Spare { array, .. } => array.as_deref().unwrap_or(POOL),
            Self::Namespace { nqn, .. } => nqn,
            Self::Mapped { devices, .. } => devices.first().map_or("", String::as_str),
            Self::Removal => "",
        }
    }

    /// How many have it.
    pub(crate) fn count(&self) -> u32 {
        match self {
            Self::Mapped { devices, .. } => u32::try_from(devices.len()).unwrap_or(u32::MAX),
            _ => 1,
        }
    }

    /// Names of the bdevs that have it. Others may have it whose names are no bdev's.
    pub(crate) fn users(&self) -> Vec<&str> {
        match self {
            Self::Member(Membership { array, .. })
            | Self::Log { array }
            | Self::Spare { array: Some(array), .. } => vec![array],
            Self::Base { above, .. } => vec![above],
            Self::Split { parts: users } | Self::Mapped { devices: users, .. } => {
                users.iter().map(String::as_str).collect()
            }
            Self::Spare { array: None, .. } | Self::Removal | Self::Namespace { .. } => Vec::new(),
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
            Self::Removal => "wait a moment".to_owned(),
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
            Self::Spare { array: Some(array), .. } => {
                write!(f, "claimed by array {array:?} as a spare")
            }
            Self::Spare { array: None, .. } => f.write_str("claimed as a spare of any array"),
            Self::Mapped { devices, .. } => {
                write!(f, "claimed by the tables of mapped devices {}", devices.join(", "))
            }
            Self::Removal => f.write_str("being removed or wiped"),
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
    /// Number of the last time that somebody may have begun to write to it, or that it has come to be
    /// something else. No two in a registry are equal, so this is one bdev in one time of its life.
    touched: u64,
    /// Whether it has been claimed.
    was_claimed: bool,
    /// The array whose member or spare it was last.
    served: Option<Served>,
    /// Whether the state of the service says how it is made, whatever it is called by now.
    is_recorded: bool,
}

/// That a bdev was a member or spare of an array.
#[derive(Debug)]
struct Served {
    /// UUID of the array.
    array: Uuid,
    /// What the bdev was then.
    standing: Standing,
}

impl Entry {
    /// Whether somebody has used it, or does.
    pub(crate) fn was_claimed(&self) -> bool {
        self.was_claimed
    }

    pub(crate) fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    fn set_claim(&mut self, claim: Option<Claim>, touched: u64) {
        self.was_claimed |= claim.is_some();
        (self.claim, self.touched) = (claim, touched);
    }

    pub(crate) fn name(&self) -> String {
        self.bdev.name()
    }

    pub(crate) fn kind(&self) -> Kind {
        self.backing.kind()
    }

    /// Whether nobody uses it.
    pub(crate) fn is_free(&self) -> bool {
        self.claim.is_none()
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

/// What a bdev and all that it is made of were when it was read. As long as it is equal nobody else has
/// had leave to write there: what was read still holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing(Vec<u64>);

/// A name and a UUID that a bdev will have that is just being made.
#[derive(Debug)]
struct Reserved {
    name: String,
    uuid: Option<Uuid>,
    kind: Kind,
}

/// All bdevs.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: Vec<Entry>,
    reserved: Vec<Reserved>,
    /// How often a bdev has been touched.
    touches: u64,
    /// Names of the bdevs that the configuration makes, once a state says how all others are made.
    configured: Option<BTreeSet<String>>,
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
        if let Some(holder) = self.reserved(name) {
            return Err(ControlError::NameTaken { name: name.to_owned(), kind: holder.kind });
        }
        // Also as another's name: a UUID is an alias, and an alias is a name.
        if let Some(uuid) = uuid {
            let alias = uuid.to_string();
            let holder = self.find(&alias).map(Entry::name);
            let holder = holder.or_else(|| self.reserved(&alias).map(|it| it.name.clone()));
            if let Some(holder) = holder {
                return Err(ControlError::UuidTaken { name: name.to_owned(), uuid, holder });
            }
        }
        if self.entries.len() + self.reserved.len() >= limits::BDEVS_MAX {
            return Err(ControlError::TooMany { name: name.to_owned() });
        }
        Ok(())
    }

    /// Keeps a name and a UUID, which were admitted, for a bdev that is being made.
    pub(crate) fn reserve(&mut self, name: &str, uuid: Option<Uuid>, kind: Kind) {
        self.reserved.push(Reserved { name: name.to_owned(), uuid, kind });
    }

    /// It is made, or is not.
    pub(crate) fn unreserve(&mut self, name: &str) {
        self.reserved.retain(|reserved| reserved.name != name);
    }

    fn reserved(&self, name: &str) -> Option<&Reserved> {
        let answers = |it: &&Reserved| {
            it.name == name || it.uuid.is_some_and(|uuid| name.parse() == Ok(uuid))
        };
        self.reserved.iter().find(answers)
    }

    /// Adds a bdev that was admitted.
    pub(crate) fn insert(&mut self, bdev: Arc<dyn Bdev>, backing: Backing) {
        let counted = Counted::over(bdev);
        let bdev = Arc::clone(&counted) as Arc<dyn Bdev>;
        let touched = self.next_touch();
        let is_recorded = self.will_be_recorded(&bdev.name());
        self.entries.push(Entry {
            bdev,
            counted,
            backing,
            claim: None,
            touched,
            was_claimed: false,
            served: None,
            is_recorded,
        });
    }

    /// From now on a state says how bdevs are made, but for those that are there and those of these names.
    pub(crate) fn begin_recording(&mut self, configured: BTreeSet<String>) {
        self.configured = Some(configured);
    }

    /// Whether a state will say how a bdev is made that is added now.
    pub(crate) fn will_be_recorded(&self, name: &str) -> bool {
        self.configured.as_ref().is_some_and(|configured| !configured.contains(name))
    }

    fn next_touch(&mut self) -> u64 {
        self.touches += 1;
        self.touches
    }

    /// A bdev is not what it was, though nobody has claimed it: it has another table, or another size.
    pub(crate) fn touch(&mut self, name: &str) {
        let touched = self.next_touch();
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.answers_to(name)) {
            entry.touched = touched;
        }
    }

    /// What a bdev stands on now.
    pub(crate) fn standing(&self, name: &str) -> Standing {
        let below = self.below(name);
        let touched = below.iter().filter_map(|name| self.find(name)).map(|entry| entry.touched);
        let mut touched: Vec<u64> = touched.collect();
        touched.sort_unstable();
        Standing(touched)
    }

    /// A bdev and all that it is made of, by name.
    pub(crate) fn below(&self, name: &str) -> BTreeSet<String> {
        let mut below = BTreeSet::new();
        let mut next: Vec<String> = self.find(name).map(Entry::name).into_iter().collect();
        while let Some(name) = next.pop() {
            let parts = self.parts(&name);
            if below.insert(name) {
                next.extend(parts);
            }
        }
        below
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
        (0..=self.entries.len() + self.reserved.len())
            .map(|number| format!("Malloc{number}"))
            .find(|name| self.find(name).is_none() && self.reserved(name).is_none())
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
            // Of itself the array asks.
            self.check_rest_below(name)?;
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
        let touched = self.next_touch();
        let whose = match &claim {
            Claim::Member(Membership { array, .. }) | Claim::Spare { array: Some(array), .. } => {
                self.find(array).map(|entry| entry.bdev.info().uuid)
            }
            _ => None,
        };
        let place = self.entries.iter().position(|entry| Arc::ptr_eq(&entry.bdev, bdev));
        let place = place.expect("it comes from this registry");
        self.entries[place].set_claim(Some(claim), touched);
        // With this claim: as long as nobody has another one, the bdev is what the array has left.
        let standing = self.standing(&self.entries[place].name());
        self.entries[place].served = whose.map(|array| Served { array, standing });
    }

    /// Whether a bdev was a member or spare of that array last, with nobody else since who could have written
    /// to it, or to what it is made of.
    pub(crate) fn had_last(&self, array: Uuid, name: &str) -> bool {
        let served = self.find(name).and_then(|entry| entry.served.as_ref());
        served.is_some_and(|it| it.array == array && it.standing == self.standing(name))
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
            Some(Claim::Spare { array, .. }) => array.as_deref() == whose,
            _ => false,
        };
        self.entries.iter().filter(is_its).map(|entry| Arc::clone(&entry.bdev))
    }

    /// The bdev that another is to stand on, which nobody uses.
    pub(crate) fn base(&self, name: &str) -> Result<Arc<dyn Bdev>, ControlError> {
        let entry = self.find(name);
        let entry = entry.ok_or_else(|| ControlError::NoSuchBase { name: name.to_owned() })?;
        if let Some(claim) = entry.claim.clone() {
            return Err(ControlError::BaseClaimed { name: name.to_owned(), claim });
        }
        self.check_rest_below(name)?;
        Ok(Arc::clone(&entry.bdev))
    }

    /// Refuses a bdev that still has requests of somebody who has given it up, or is made of one that has:
    /// what they write late would replace what is written from now on.
    pub(crate) fn check_rest(&self, name: &str) -> Result<(), ControlError> {
        let at_rest = |name: &String| match self.find(name).map(|entry| entry.bdev.info().uuid) {
            Some(uuid) => match still_lingering(uuid) {
                0 => Ok(()),
                requests => Err(ControlError::Lingering { name: name.clone(), requests }),
            },
            None => Ok(()),
        };
        self.below(name).iter().try_for_each(at_rest)
    }

    /// The same of what it is made of.
    pub(crate) fn check_rest_below(&self, name: &str) -> Result<(), ControlError> {
        self.parts(&self.get(name)?.name()).iter().try_for_each(|part| self.check_rest(part))
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
        // Made anew, or reached another way, nobody would know of them. An array ends its own, or its members linger.
        let requests = match wanted {
            Kind::Raid => 0,
            _ => still_lingering(entry.bdev.info().uuid),
        };
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
        let name = removed.name();
        for entry in &mut self.entries {
            entry.claim.take_if(|claim| match claim {
                Claim::Member(_) | Claim::Base { .. } | Claim::Log { .. } | Claim::Spare { .. } => {
                    claim.users().contains(&&*name)
                }
                // Parts go together, and the first of them last.
                Claim::Split { parts } => parts.first() == Some(&name),
                // Set anew by whoever removes a mapped device.
                Claim::Mapped { .. } => false,
                Claim::Removal | Claim::Namespace { .. } => false,
            });
        }
        Some(removed)
    }

    /// The files that were made so far are there to stay.
    pub(crate) fn keep_files(&mut self) {
        self.entries.iter_mut().for_each(Entry::keep_file);
    }

    /// Marks one bdev as used.
    pub(crate) fn claim_named(&mut self, name: &str, claim: Claim) {
        let touched = self.next_touch();
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.answers_to(name)) {
            entry.set_claim(Some(claim), touched);
        }
    }

    /// Sets the claims of mapped devices anew, as `claim_of` says by name.
    pub(crate) fn set_mapped_claims(&mut self, mut claim_of: impl FnMut(&str) -> Option<Claim>) {
        for entry in &mut self.entries {
            let claim = claim_of(&entry.name());
            let is_theirs = matches!(entry.claim, None | Some(Claim::Mapped { .. }));
            if is_theirs && claim != entry.claim {
                self.touches += 1;
                entry.set_claim(claim, self.touches);
            }
        }
    }

    /// The names of what a bdev is made of.
    pub(crate) fn parts(&self, name: &str) -> Vec<String> {
        let is_part = |entry: &&Entry| {
            entry.claim.as_ref().is_some_and(|claim| claim.users().contains(&name))
        };
        self.entries.iter().filter(is_part).map(Entry::name).collect()
    }

    /// Takes all bdevs out, each before what it is made of: of those that nobody uses any more, the last
    /// one made comes first. Mapped devices can be made of what is younger than they are.
    pub(crate) fn drain_backwards(&mut self) -> Vec<Entry> {
        let mut drained = Vec::with_capacity(self.entries.len());
        while !self.entries.is_empty() {
            let names: BTreeSet<String> = self.entries.iter().map(Entry::name).collect();
            let is_free = |entry: &Entry| {
                let users = entry.claim.iter().flat_map(Claim::users);
                users.into_iter().all(|user| !names.contains(user))
            };
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
mod tests;
