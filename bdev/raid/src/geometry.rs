//! Geometry: where an array's bytes are, and which member has which role in each row.
//!
//! ```text
//!   array       | D0 | D1 | D2 | D3 | D4 | D5 | D6 | ...   strips of strip_bytes, in address order
//!
//!   stripe                      0    1    2                a row of strips at the same place
//!   member 0    | offset 0   | D0 | D4 | D8 | ...
//!   member 1    | offset 1   | D1 | D5 | P  | ...          (left-symmetric, level 5, 4 members)
//!   member 2    | offset 2   | D2 | P  | D6 | ...
//!   member 3    | offset 3   | P  | D3 | D7 | ...
//!
//!   array byte               --locate------>  Location { stripe, strip, offset }    and back
//!   stripe                   --rotation---->  Rotation: which row of the role tables holds
//!   Rotation                 --data_slot, p_slot, q_slot, role, q_exponent-->  who holds what
//!   slot, stripe, offset     --member_byte->  byte on the member
//! ```
//!
//! The arrangements and formulas are Linux's, byte for byte (md's `raid5_compute_sector`;
//! linux-raid.md, section 4): an array that the kernel wrote is read here and the other way round.
//!
//! Every function here is pure and total within the array; questions beyond it are the caller's bug
//! and panic. Nothing allocates but [`Geometry::new`], which refuses whatever is outside the bounds
//! of [`limits`](crate::limits) (**R6**). `locate` and `rotation` run for every I/O: the strip size
//! is a power of two, and the number of data strips and the period are divided by multiplication
//! (`geometry/reciprocal.rs`).
//!
//! Not here: which members are readable (`plan`), names of layouts (`layout`), field arithmetic
//! (crate `parity`).

mod reciprocal;
mod rotation;

pub use rotation::Rotation;

use crate::layout::{Layout, Level, names_of};
use crate::limits::{BLOCK_BYTES_MIN, MEMBERS_MAX, STRIP_BYTES_MAX, STRIP_BYTES_MIN};
use crate::units::{Role, Slot, StripeId};
use reciprocal::Reciprocal;
use rotation::RoleTables;

/// Fewest data strips of a stripe: with fewer, parity would be a mirror.
const DATA_STRIPS_MIN: usize = 2;

const _: () = assert!(MEMBERS_MAX == u8::MAX as usize, "slots and data ordinals are bytes");
const _: () = assert!(STRIP_BYTES_MIN.is_power_of_two() && STRIP_BYTES_MAX.is_power_of_two());
const _: () = assert!(
    u64::MAX / (STRIP_BYTES_MIN as u64) < reciprocal::NUMERATOR_END,
    "strips and stripes of the largest array are still divided exactly"
);

/// What a geometry is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeometrySpec {
    /// RAID level.
    pub level: Level,
    /// A layout of that level.
    pub layout: Layout,
    /// Number of members, parities included.
    pub members: usize,
    /// Bytes of a strip: a power of two from 4 KiB to 16 MiB.
    pub strip_bytes: u32,
    /// Bytes of a block of the array: a power of two, at least 512, at most a strip.
    pub block_size_bytes: u32,
    /// Bytes of each member that the array may use, after the data offset; what is left over after
    /// the last whole strip stays unused.
    pub member_bytes: u64,
    /// Where the array's data begins on each member, by slot: multiples of the block size.
    pub data_offsets_bytes: Vec<u64>,
}

/// Where a byte of the array is: the `offset`-th byte of data strip `strip` of `stripe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The stripe.
    pub stripe: StripeId,
    /// Ordinal of the data strip in the stripe.
    pub strip: u8,
    /// Bytes from the start of the strip.
    pub offset: u32,
}

/// Addresses and roles of one array. Immutable; shared by every core that serves the array.
#[derive(Debug, Clone)]
pub struct Geometry {
    strip_shift: u32,
    data_strips: Reciprocal,
    period: Reciprocal,
    stripes: u64,
    array_bytes: u64,
    tables: RoleTables,
    spec: GeometrySpec,
}

impl Geometry {
    /// Checks the specification and computes the role tables: at most 255 rows of 255 members.
    ///
    /// # Errors
    /// Any [`GeometryError`], the first that applies.
    pub fn new(spec: GeometrySpec) -> Result<Self, GeometryError> {
        check_members(&spec)?;
        check_sizes(&spec)?;
        let GeometrySpec { level, layout, members, .. } = spec;
        let strip_shift = spec.strip_bytes.trailing_zeros();
        let stripes = spec.member_bytes >> strip_shift;
        check_offsets(&spec, stripes << strip_shift)?;
        let data_strips = members - level.parity_count();
        let array_bytes = (stripes << strip_shift)
            .checked_mul(data_strips as u64)
            .ok_or(GeometryError::ArrayTooLarge { data_strips, member_bytes: spec.member_bytes })?;
        let tables = RoleTables::new(level, layout, members);
        Ok(Self {
            strip_shift,
            data_strips: Reciprocal::new(data_strips as u8),
            period: Reciprocal::new(tables.period()),
            stripes,
            array_bytes,
            tables,
            spec,
        })
    }

    /// RAID level.
    #[must_use]
    pub fn level(&self) -> Level {
        self.spec.level
    }

    /// Layout.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.spec.layout
    }

    /// Number of members, parities included.
    #[inline]
    #[must_use]
    pub fn members(&self) -> usize {
        self.spec.members
    }

    /// Data strips of a stripe: members without parities. "K" of the formulas.
    #[inline]
    #[must_use]
    pub fn data_strips(&self) -> usize {
        self.spec.members - self.parity_strips()
    }

    /// Parity strips of a stripe: 1 or 2.
    #[inline]
    #[must_use]
    pub fn parity_strips(&self) -> usize {
        self.spec.level.parity_count()
    }

    /// Bytes of a block of the array.
    #[inline]
    #[must_use]
    pub fn block_size_bytes(&self) -> u32 {
        self.spec.block_size_bytes
    }

    /// Bytes of a strip, a power of two.
    #[inline]
    #[must_use]
    pub fn strip_bytes(&self) -> u32 {
        self.spec.strip_bytes
    }

    /// Bytes of data of a stripe: a write of so many, aligned, needs no reads.
    #[inline]
    #[must_use]
    pub fn stripe_bytes(&self) -> u64 {
        (self.data_strips() as u64) << self.strip_shift
    }

    /// Number of stripes.
    #[inline]
    #[must_use]
    pub fn stripes(&self) -> u64 {
        self.stripes
    }

    /// Bytes of the array: the data of all stripes.
    #[inline]
    #[must_use]
    pub fn array_bytes(&self) -> u64 {
        self.array_bytes
    }

    /// Bytes that the array uses of each member: whole strips, the data offset not counted.
    #[inline]
    #[must_use]
    pub fn component_bytes(&self) -> u64 {
        self.stripes << self.strip_shift
    }

    /// Where the array's data begins on a member.
    ///
    /// # Panics
    /// If the array has no such slot.
    #[inline]
    #[must_use]
    pub fn data_offset_bytes(&self, slot: Slot) -> u64 {
        self.spec.data_offsets_bytes[slot.index()]
    }

    /// Where a byte of the array is.
    ///
    /// # Panics
    /// If it is beyond the end of the array.
    #[inline]
    #[must_use]
    pub fn locate(&self, array_byte: u64) -> Location {
        assert!(array_byte < self.array_bytes, "byte {array_byte} is beyond {}", self.array_bytes);
        let (stripe, strip) = self.data_strips.div_rem(array_byte >> self.strip_shift);
        let offset = array_byte as u32 & (self.spec.strip_bytes - 1);
        Location { stripe: StripeId(stripe), strip: strip as u8, offset }
    }

    /// The byte of the array at a location: the inverse of [`locate`](Self::locate).
    ///
    /// # Panics
    /// If the array has no such location.
    #[inline]
    #[must_use]
    pub fn array_byte(&self, at: Location) -> u64 {
        let (data_strips, strip) = (self.data_strips() as u64, u64::from(at.strip));
        assert!(
            at.stripe.0 < self.stripes && strip < data_strips && at.offset < self.strip_bytes(),
            "{at:?} is not in an array of {} stripes",
            self.stripes
        );
        ((at.stripe.0 * data_strips + strip) << self.strip_shift) + u64::from(at.offset)
    }

    /// The roles that hold in a stripe, as a handle for the questions below.
    ///
    /// # Panics
    /// If the array has no such stripe.
    #[inline]
    #[must_use]
    pub fn rotation(&self, stripe: StripeId) -> Rotation {
        assert!(stripe.0 < self.stripes, "stripe {stripe} is beyond {}", self.stripes);
        self.tables.rotation(self.period.div_rem(stripe.0).1)
    }

    /// The slot that holds data strip `d`.
    ///
    /// # Panics
    /// If a stripe has no such data strip.
    #[inline]
    #[must_use]
    pub fn data_slot(&self, rotation: Rotation, d: u8) -> Slot {
        self.data_slots(rotation)[usize::from(d)]
    }

    /// The slots that hold data strips 0, 1, ... in this order.
    #[inline]
    #[must_use]
    pub fn data_slots(&self, rotation: Rotation) -> &[Slot] {
        self.tables.data_slots(rotation)
    }

    /// The slot that holds P.
    #[inline]
    #[must_use]
    pub fn p_slot(&self, rotation: Rotation) -> Slot {
        self.tables.p_slot(rotation)
    }

    /// The slot that holds Q; `None` at levels 4 and 5.
    #[inline]
    #[must_use]
    pub fn q_slot(&self, rotation: Rotation) -> Option<Slot> {
        self.tables.q_slot(rotation)
    }

    /// What a slot holds.
    ///
    /// # Panics
    /// If the array has no such slot.
    #[inline]
    #[must_use]
    pub fn role(&self, rotation: Rotation, slot: Slot) -> Role {
        self.roles(rotation)[slot.index()]
    }

    /// What slots 0, 1, ... hold, in this order.
    #[inline]
    #[must_use]
    pub fn roles(&self, rotation: Rotation) -> &[Role] {
        self.tables.roles(rotation)
    }

    /// The exponent `e` with which data strip `d` enters Q, the sum of `g^e * D` (linux-raid.md,
    /// section 4.1). Exponents of a stripe are distinct and below 255, the order of `g`.
    ///
    /// # Panics
    /// If a stripe has no such data strip, or no Q: levels 4 and 5.
    #[inline]
    #[must_use]
    pub fn q_exponent(&self, rotation: Rotation, d: u8) -> u8 {
        self.q_exponents(rotation)[usize::from(d)]
    }

    /// The exponents of data strips 0, 1, ... in this order: see [`q_exponent`](Self::q_exponent).
    ///
    /// # Panics
    /// If a stripe has no Q: levels 4 and 5.
    #[inline]
    #[must_use]
    pub fn q_exponents(&self, rotation: Rotation) -> &[u8] {
        self.tables.exponents(rotation)
    }

    /// The byte on the member, data offset included, of the `offset`-th byte of its strip in a
    /// stripe, whatever its role there.
    ///
    /// # Panics
    /// If the array has no such slot, or the stripe no such byte.
    #[inline]
    #[must_use]
    pub fn member_byte(&self, slot: Slot, stripe: StripeId, offset: u32) -> u64 {
        assert!(
            stripe.0 < self.stripes && offset < self.strip_bytes(),
            "byte {offset} of stripe {stripe} is not in an array of {} stripes",
            self.stripes
        );
        self.data_offset_bytes(slot) + (stripe.0 << self.strip_shift) + u64::from(offset)
    }
}

/// Level, layout and the number of members.
fn check_members(spec: &GeometrySpec) -> Result<(), GeometryError> {
    let &GeometrySpec { level, layout, members, .. } = spec;
    let members_min = DATA_STRIPS_MIN + level.parity_count();
    if !(members_min..=MEMBERS_MAX).contains(&members) {
        return Err(GeometryError::Members { level, members, members_min });
    }
    if !layout.is_of_level(level) {
        return Err(GeometryError::LayoutNotOfLevel { level, layout });
    }
    match layout {
        Layout::ParityAt(slot) if usize::from(slot) >= members => {
            Err(GeometryError::ParitySlot { slot: Slot(slot), members })
        }
        _ => Ok(()),
    }
}

/// Sizes of strips, blocks and members.
fn check_sizes(spec: &GeometrySpec) -> Result<(), GeometryError> {
    let &GeometrySpec { strip_bytes, block_size_bytes, member_bytes, .. } = spec;
    if !strip_bytes.is_power_of_two() || !(STRIP_BYTES_MIN..=STRIP_BYTES_MAX).contains(&strip_bytes)
    {
        return Err(GeometryError::Strip { strip_bytes });
    }
    if !block_size_bytes.is_power_of_two()
        || !(BLOCK_BYTES_MIN..=strip_bytes).contains(&block_size_bytes)
    {
        return Err(GeometryError::BlockSize { block_size_bytes, strip_bytes });
    }
    if member_bytes < u64::from(strip_bytes) {
        return Err(GeometryError::NoStripe { member_bytes, strip_bytes });
    }
    Ok(())
}

/// Data offsets, for members of which the array uses `component_bytes`.
fn check_offsets(spec: &GeometrySpec, component_bytes: u64) -> Result<(), GeometryError> {
    let offsets = spec.data_offsets_bytes.len();
    if offsets != spec.members {
        return Err(GeometryError::OffsetCount { offsets, members: spec.members });
    }
    let block_size_bytes = spec.block_size_bytes;
    for (slot, &offset_bytes) in spec.data_offsets_bytes.iter().enumerate() {
        let slot = Slot(slot as u8);
        if !offset_bytes.is_multiple_of(u64::from(block_size_bytes)) {
            return Err(GeometryError::OffsetAlignment { slot, offset_bytes, block_size_bytes });
        }
        if offset_bytes.checked_add(component_bytes).is_none() {
            return Err(GeometryError::MemberTooLarge { slot, offset_bytes, component_bytes });
        }
    }
    Ok(())
}

/// Why a [`GeometrySpec`] describes no array.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// Too few or too many members.
    #[error("{level} needs {members_min} to {MEMBERS_MAX} members, not {members}")]
    Members {
        /// The level.
        level: Level,
        /// As given.
        members: usize,
        /// Fewest that the level can have.
        members_min: usize,
    },
    /// The level has no such layout.
    #[error("{level} has no layout {layout}: use {}", names_of(*.level))]
    LayoutNotOfLevel {
        /// The level.
        level: Level,
        /// As given.
        layout: Layout,
    },
    /// The slot of `parity-at-<slot>` is not one of the array's.
    #[error("parity slot {slot} is not one of {members} members: use 0 to {}", .members - 1)]
    ParitySlot {
        /// As given.
        slot: Slot,
        /// Number of members.
        members: usize,
    },
    /// The strip size is out of bounds or no power of two.
    #[error(
        "strip size of {strip_bytes} bytes must be a power of two from {STRIP_BYTES_MIN} to \
         {STRIP_BYTES_MAX}"
    )]
    Strip {
        /// As given.
        strip_bytes: u32,
    },
    /// The block size is out of bounds or no power of two.
    #[error(
        "block size of {block_size_bytes} bytes must be a power of two from {BLOCK_BYTES_MIN} to \
         the strip size of {strip_bytes}"
    )]
    BlockSize {
        /// As given.
        block_size_bytes: u32,
        /// The strip size.
        strip_bytes: u32,
    },
    /// A member has no room for a strip.
    #[error("{member_bytes} bytes per member hold no strip of {strip_bytes}")]
    NoStripe {
        /// As given.
        member_bytes: u64,
        /// The strip size.
        strip_bytes: u32,
    },
    /// Not one data offset per member.
    #[error("{offsets} data offsets were given for {members} members: give one for each")]
    OffsetCount {
        /// Number of offsets given.
        offsets: usize,
        /// Number of members.
        members: usize,
    },
    /// A data offset is in the middle of a block.
    #[error(
        "slot {slot}: data offset of {offset_bytes} bytes must be a multiple of the block size of \
         {block_size_bytes}"
    )]
    OffsetAlignment {
        /// The member.
        slot: Slot,
        /// As given.
        offset_bytes: u64,
        /// The block size.
        block_size_bytes: u32,
    },
    /// A member's last byte has no 64-bit address.
    #[error(
        "slot {slot}: {component_bytes} bytes from data offset {offset_bytes} on are more than 64 \
         bits can address"
    )]
    MemberTooLarge {
        /// The member.
        slot: Slot,
        /// As given.
        offset_bytes: u64,
        /// Bytes that the array would use of it.
        component_bytes: u64,
    },
    /// The array's last byte has no 64-bit address.
    #[error(
        "{data_strips} members' data of {member_bytes} bytes are more than 64 bits can address"
    )]
    ArrayTooLarge {
        /// Data strips of a stripe.
        data_strips: usize,
        /// As given.
        member_bytes: u64,
    },
}

#[cfg(test)]
mod tests;
