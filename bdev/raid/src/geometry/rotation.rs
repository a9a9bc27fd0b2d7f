//! The role tables: who holds what in each row, for as many rows as it takes until they repeat.
//!
//! Every layout of md (`raid5_compute_sector`; linux-raid.md, section 4) is three choices, and this
//! file is the one place that makes them ([`rule`]):
//!
//! ```text
//!   P     stays at a slot, or falls (last, last - 1, ...) or rises (0, 1, ...) row by row
//!   Q     follows P, precedes P, or stays on the last slot (P then rotates over the others)
//!   data  walks over all slots in ascending order, cyclically, past the parities; it starts at
//!         slot 0 (restart) or at P (continue)
//!
//!   left-symmetric, 4 members          raid6_ls_6, 5 members           md raid6 left-symmetric
//!   row 0   D0  D1  D2  P              row 0   D0  D1  D2  P   Q       row 0   Q   D0  D1  D2  P
//!   row 1   D1  D2  P   D0             row 1   D1  D2  P   D0  Q       row 1   D0  D1  D2  P   Q
//!   row 2   D2  P   D0  D1             row 2   D2  P   D0  D1  Q       row 2   D1  D2  P   Q   D0
//! ```
//!
//! The section gives closed formulas per layout instead; `geometry`'s tests compute those, so the
//! two descriptions check each other.
//!
//! A table has at most 255 rows of 255 members. It is built once per array; reading it is a load.
//!
//! Not here: addresses (`geometry`), names (`layout`), field arithmetic (crate `parity`).

use crate::layout::{Layout, Level};
use crate::units::{Role, Slot, SlotSet};
use core::fmt;

/// Which row of the role tables holds for a stripe: obtained once per operation from
/// [`Geometry::rotation`](super::Geometry::rotation), then handed to every question about roles. It
/// means something only to the geometry that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rotation(u16);

impl Rotation {
    /// The row's number within the period, 0 to 254.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Role tables of one array. `rows` are the period of the layout.
#[derive(Clone)]
pub(super) struct RoleTables {
    data_strips: usize,
    /// rows x members.
    roles: Box<[Role]>,
    /// rows x data strips.
    data_slots: Box<[Slot]>,
    /// rows x data strips; empty where there is no Q.
    exponents: Box<[u8]>,
    /// rows.
    parities: Box<[Parities]>,
}

#[derive(Clone, Copy)]
struct Parities {
    p: Slot,
    q: Option<Slot>,
}

impl RoleTables {
    /// Builds the tables. The caller has checked that the level has the layout, that there are
    /// enough members and at most 255 of them, and that the slot of [`Layout::ParityAt`] is one of
    /// theirs.
    pub(super) fn new(level: Level, layout: Layout, members: usize) -> Self {
        let rule = rule(level, layout);
        let data_strips = members - level.parity_count();
        let period = rule.period(members);
        let mut roles = vec![Role::P; period * members].into_boxed_slice();
        let mut data_slots = Vec::with_capacity(period * data_strips);
        let mut exponents = Vec::with_capacity(period * data_strips);
        let mut parities = Vec::with_capacity(period);
        for (row, roles) in roles.chunks_exact_mut(members).enumerate() {
            let parity = rule.parities(members, row);
            for (d, slot) in rule.data_slots(members, parity).enumerate() {
                roles[slot.index()] = Role::Data(byte(d));
                data_slots.push(slot);
            }
            if let Some(q) = parity.q {
                roles[q.index()] = Role::Q;
                let row_slots = &data_slots[row * data_strips..];
                exponents.extend(rule.exponents(members, parity, q, row_slots));
            }
            parities.push(parity);
        }
        Self {
            data_strips,
            roles,
            data_slots: data_slots.into_boxed_slice(),
            exponents: exponents.into_boxed_slice(),
            parities: parities.into_boxed_slice(),
        }
    }

    /// Rows until roles repeat, 1 to 255.
    pub(super) fn period(&self) -> u8 {
        byte(self.parities.len())
    }

    /// The handle of a row below the period.
    #[inline]
    pub(super) fn rotation(&self, row: u64) -> Rotation {
        debug_assert!(row < self.parities.len() as u64, "row {row} is beyond the period");
        Rotation(row as u16)
    }

    #[inline]
    pub(super) fn p_slot(&self, rotation: Rotation) -> Slot {
        self.parities[rotation.index()].p
    }

    #[inline]
    pub(super) fn q_slot(&self, rotation: Rotation) -> Option<Slot> {
        self.parities[rotation.index()].q
    }

    /// The slots of data strips 0, 1, ... in this order.
    #[inline]
    pub(super) fn data_slots(&self, rotation: Rotation) -> &[Slot] {
        row_of(&self.data_slots, rotation, self.data_strips)
    }

    /// The exponents of data strips 0, 1, ... in this order.
    #[inline]
    pub(super) fn exponents(&self, rotation: Rotation) -> &[u8] {
        assert!(!self.exponents.is_empty(), "an array without Q has no exponents");
        row_of(&self.exponents, rotation, self.data_strips)
    }

    /// The roles of slots 0, 1, ... in this order.
    #[inline]
    pub(super) fn roles(&self, rotation: Rotation) -> &[Role] {
        row_of(&self.roles, rotation, self.roles.len() / self.parities.len())
    }
}

/// Sizes only: the contents follow from level, layout and members.
impl fmt::Debug for RoleTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleTables")
            .field("period", &self.parities.len())
            .field("data_strips", &self.data_strips)
            .finish_non_exhaustive()
    }
}

#[inline]
fn row_of<T>(table: &[T], rotation: Rotation, width: usize) -> &[T] {
    &table[rotation.index() * width..][..width]
}

fn byte(value: usize) -> u8 {
    u8::try_from(value).expect("an array has at most 255 members")
}

/// A layout as the three choices of the module's text, and the order of Q's exponents.
struct Rule {
    p: PlaceP,
    q: PlaceQ,
    data: DataOrder,
    exponents: ExponentOrder,
}

enum PlaceP {
    At(u8),
    /// On the last slot, or on the last but one if Q is there.
    Last,
    /// In row r where [`Falling`](Self::Falling) is in row r + 1.
    FallingFromSecond,
    Falling,
    Rising,
}

#[derive(PartialEq, Eq)]
enum PlaceQ {
    None,
    AfterP,
    BeforeP,
    Last,
}

enum DataOrder {
    Restart,
    Continue,
}

/// Which power of the generator multiplies a data strip in Q (section 4.1).
enum ExponentOrder {
    /// md: data strips are numbered 0, 1, ... from Q on, cyclically. Also stands where
    /// there is no Q.
    Md,
    /// DDF: the number of the slot; parities count as zeroes and leave gaps.
    Ddf,
}

/// The table of section 4: one line per layout, two where level 6 uses a name of level 5.
fn rule(level: Level, layout: Layout) -> Rule {
    use DataOrder::{Continue, Restart};
    use ExponentOrder::{Ddf, Md};
    use Layout as L;
    use PlaceP::{At, Falling, FallingFromSecond, Last, Rising};
    use PlaceQ::{AfterP, BeforeP};

    let (p, q, data, exponents) = match (level, layout) {
        (Level::Raid6, L::ParityFirst) => (At(0), AfterP, Restart, Md),
        (Level::Raid6, L::LeftAsymmetric) => (Falling, AfterP, Restart, Md),
        (Level::Raid6, L::RightAsymmetric) => (Rising, AfterP, Restart, Md),
        (Level::Raid6, L::LeftSymmetric) => (Falling, AfterP, Continue, Md),
        (Level::Raid6, L::RightSymmetric) => (Rising, AfterP, Continue, Md),
        (_, L::ParityFirst) => (At(0), PlaceQ::None, Restart, Md),
        (_, L::ParityLast) => (Last, PlaceQ::None, Restart, Md),
        (_, L::ParityAt(slot)) => (At(slot), PlaceQ::None, Restart, Md),
        (_, L::LeftAsymmetric) => (Falling, PlaceQ::None, Restart, Md),
        (_, L::RightAsymmetric) => (Rising, PlaceQ::None, Restart, Md),
        (_, L::LeftSymmetric) => (Falling, PlaceQ::None, Continue, Md),
        (_, L::RightSymmetric) => (Rising, PlaceQ::None, Continue, Md),
        (_, L::ZeroRestart) => (Rising, AfterP, Restart, Ddf),
        (_, L::NRestart) => (FallingFromSecond, AfterP, Restart, Ddf),
        (_, L::NContinue) => (Falling, BeforeP, Continue, Ddf),
        (_, L::N6) => (Last, PlaceQ::Last, Restart, Md),
        (_, L::LeftAsymmetric6) => (Falling, PlaceQ::Last, Restart, Md),
        (_, L::RightAsymmetric6) => (Rising, PlaceQ::Last, Restart, Md),
        (_, L::LeftSymmetric6) => (Falling, PlaceQ::Last, Continue, Md),
        (_, L::RightSymmetric6) => (Rising, PlaceQ::Last, Continue, Md),
        (_, L::ParityFirst6) => (At(0), PlaceQ::Last, Restart, Md),
    };
    Rule { p, q, data, exponents }
}

impl Rule {
    /// Slots that P visits or could visit: all, but for a Q that stays on the last one.
    fn ring(&self, members: usize) -> usize {
        members - usize::from(self.q == PlaceQ::Last)
    }

    /// Rows until roles repeat.
    fn period(&self, members: usize) -> usize {
        match self.p {
            PlaceP::At(_) | PlaceP::Last => 1,
            PlaceP::Falling | PlaceP::FallingFromSecond | PlaceP::Rising => self.ring(members),
        }
    }

    fn parities(&self, members: usize, row: usize) -> Parities {
        let ring = self.ring(members);
        let p = match self.p {
            PlaceP::At(slot) => usize::from(slot),
            PlaceP::Last => ring - 1,
            PlaceP::Falling => ring - 1 - row % ring,
            PlaceP::FallingFromSecond => ring - 1 - (row + 1) % ring,
            PlaceP::Rising => row % ring,
        };
        let q = match self.q {
            PlaceQ::None => None,
            PlaceQ::AfterP => Some((p + 1) % members),
            PlaceQ::BeforeP => Some((p + members - 1) % members),
            PlaceQ::Last => Some(members - 1),
        };
        Parities { p: Slot(byte(p)), q: q.map(|q| Slot(byte(q))) }
    }

    /// The slots of data strips 0, 1, ... of a row.
    fn data_slots(&self, members: usize, parity: Parities) -> impl Iterator<Item = Slot> {
        let start = match self.data {
            DataOrder::Restart => 0,
            DataOrder::Continue => parity.p.index(),
        };
        walk_data(start, members, parity)
    }

    /// The exponents of the data strips on `slots`, in their order.
    fn exponents(
        &self,
        members: usize,
        parity: Parities,
        q: Slot,
        slots: &[Slot],
    ) -> impl Iterator<Item = u8> {
        let mut by_slot = vec![0; members];
        for (number, slot) in walk_data(q.index(), members, parity).enumerate() {
            by_slot[slot.index()] = match self.exponents {
                ExponentOrder::Md => byte(number),
                ExponentOrder::Ddf => slot.0,
            };
        }
        slots.iter().map(move |slot| by_slot[slot.index()])
    }
}

/// All slots from `start` on, cyclically, but for the parities.
fn walk_data(start: usize, members: usize, parity: Parities) -> impl Iterator<Item = Slot> {
    let mut parities = SlotSet::single(parity.p);
    if let Some(q) = parity.q {
        parities.insert(q);
    }
    (start..start + members)
        .map(move |step| Slot(byte(step % members)))
        .filter(move |&slot| !parities.contains(slot))
}
