//! RAID levels and layouts by name: md's, mdadm's and device-mapper's words for the same
//! arrangements.
//!
//! A *layout* says which member holds P, Q and each data strip of a row. The names come from three
//! programs that agree on the bytes and on little else (md's raid5.h, mdadm's maps.c, dm-raid.c;
//! linux-raid.md, sections 2.3 and 4):
//!
//! ```text
//!   mdadm, md                dm-raid              level  who holds parity
//!   parity-first             raid4                4, 5   the first member
//!   parity-last              raid5_n, raid6_n_6   4..6   the last member (level 6: the last two)
//!   left-, right-...         raid5_la ...         5      rotates over all members
//!   left-, right-...         (none)               6      P and Q rotate side by side
//!   left-...-6, right-...-6  raid6_la_6 ...       6      P rotates, Q stays on the last
//!   parity-first-6           (none)               6      P first, Q last
//!   ddf-...                  raid6_zr, _nr, _nc   6      P and Q rotate; Q in the order of DDF
//!
//!   left:  parity starts at the end and moves towards the first member
//!   right: parity starts at the first member and moves towards the end
//!   asymmetric (restart): data starts at the first member in every row
//!   symmetric (continue): data starts after the parity, so consecutive strips visit every member
//! ```
//!
//! "RAID 4" alone means three things: md's native level 4 and dm-raid45 put parity on the *last*
//! member, dm-raid's type `raid4` on the *first* (section 4.3 there), and dm-raid45 can name any.
//! Here [`Level::Raid4`] without a layout is md's; [`Layout::from_dm_type`] gives dm-raid's.
//!
//! Not here: the positions themselves (`geometry`).

use core::fmt;
use core::str::FromStr;

use crate::units::{Slot, SlotSet};

/// RAID level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// P on a member of its own.
    Raid4,
    /// P, rotating or not.
    Raid5,
    /// P and Q.
    Raid6,
}

impl Level {
    /// Every level.
    pub const ALL: [Self; 3] = [Self::Raid4, Self::Raid5, Self::Raid6];

    /// Strips of a stripe that hold parity, which is also how many members may be lost: 1 or 2.
    #[inline]
    #[must_use]
    pub const fn parity_count(self) -> usize {
        match self {
            Self::Raid4 | Self::Raid5 => 1,
            Self::Raid6 => 2,
        }
    }

    /// md's number of the level: 4, 5 or 6.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Raid4 => 4,
            Self::Raid5 => 5,
            Self::Raid6 => 6,
        }
    }
}

/// `raid4`, `raid5` or `raid6`.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "raid{}", self.number())
    }
}

/// Takes md's and SPDK's words in any case: `raid4`, `4`, `raid5`, `5`, `raid5f`, `5f`, `raid6`,
/// `6`.
///
/// The level alone does not give SPDK's bytes: its raid5f is [`Layout::LeftAsymmetric`].
impl FromStr for Level {
    type Err = LayoutError;

    fn from_str(name: &str) -> Result<Self, LayoutError> {
        let is = |word: &&str| name.eq_ignore_ascii_case(word);
        if ["raid4", "4"].iter().any(is) {
            Ok(Self::Raid4)
        } else if ["raid5", "5", "raid5f", "5f"].iter().any(is) {
            Ok(Self::Raid5)
        } else if ["raid6", "6"].iter().any(is) {
            Ok(Self::Raid6)
        } else {
            Err(LayoutError::UnknownLevel { name: name.to_owned() })
        }
    }
}

/// Which member holds which strip of a row. What each one means in formulas stands in
/// linux-raid.md, section 4, and in `geometry`.
///
/// Five names of level 5 return at level 6 with two parities side by side; a layout therefore means
/// something only together with its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layout {
    /// Levels 4, 5, 6: parity on the first member (level 6: P, then Q).
    ParityFirst,
    /// Levels 4, 5: parity on the last member.
    ParityLast,
    /// Levels 4, 5: parity on the member of this slot, as dm-raid45's raid4 can have it.
    ParityAt(u8),
    /// Levels 5, 6: parity rotates from the last member to the first; data restarts in every row.
    LeftAsymmetric,
    /// Levels 5, 6: parity rotates from the first member to the last; data restarts in every row.
    RightAsymmetric,
    /// Levels 5, 6: parity rotates from the last member to the first; data continues after it. The
    /// default of md.
    LeftSymmetric,
    /// Levels 5, 6: parity rotates from the first member to the last; data continues after it.
    RightSymmetric,
    /// Level 6, DDF: as [`RightAsymmetric`](Self::RightAsymmetric) with Q in DDF's order.
    ZeroRestart,
    /// Level 6, DDF: its row r is row r + 1 of [`LeftAsymmetric`](Self::LeftAsymmetric), with Q in
    /// DDF's order.
    NRestart,
    /// Level 6, DDF: P as in [`LeftSymmetric`](Self::LeftSymmetric), Q on the member before it and
    /// in DDF's order.
    NContinue,
    /// Level 6: P and Q on the last two members.
    N6,
    /// Level 6: left-asymmetric level 5 with Q on one more member at the end.
    LeftAsymmetric6,
    /// Level 6: right-asymmetric level 5 with Q on one more member at the end.
    RightAsymmetric6,
    /// Level 6: left-symmetric level 5 with Q on one more member at the end.
    LeftSymmetric6,
    /// Level 6: right-symmetric level 5 with Q on one more member at the end.
    RightSymmetric6,
    /// Level 6: P on the first member, Q on the last.
    ParityFirst6,
}

impl Layout {
    /// The layouts of a level, those in common use first. [`ParityAt`](Self::ParityAt), of which
    /// there is one per member, is not listed.
    #[must_use]
    pub const fn of_level(level: Level) -> &'static [Self] {
        match level {
            Level::Raid4 => &[Self::ParityLast, Self::ParityFirst],
            Level::Raid5 => &[
                Self::LeftSymmetric,
                Self::LeftAsymmetric,
                Self::RightSymmetric,
                Self::RightAsymmetric,
                Self::ParityLast,
                Self::ParityFirst,
            ],
            Level::Raid6 => &[
                Self::LeftSymmetric,
                Self::LeftAsymmetric,
                Self::RightSymmetric,
                Self::RightAsymmetric,
                Self::N6,
                Self::ParityFirst,
                Self::ZeroRestart,
                Self::NRestart,
                Self::NContinue,
                Self::LeftSymmetric6,
                Self::LeftAsymmetric6,
                Self::RightSymmetric6,
                Self::RightAsymmetric6,
                Self::ParityFirst6,
            ],
        }
    }

    /// Slots of an array of so many members that hold parity in every row.
    #[must_use]
    pub fn parity_slots(self, level: Level, members: usize) -> SlotSet {
        let last = members.saturating_sub(1) as u8;
        let slots: &[u8] = match self {
            Self::ParityFirst if level == Level::Raid6 => &[0, 1],
            Self::ParityFirst => &[0],
            Self::ParityLast => &[last],
            Self::ParityAt(slot) => &[slot],
            Self::N6 => &[last.saturating_sub(1), last],
            Self::ParityFirst6 => &[0, last],
            Self::LeftAsymmetric6
            | Self::RightAsymmetric6
            | Self::LeftSymmetric6
            | Self::RightSymmetric6 => &[last],
            Self::LeftAsymmetric
            | Self::RightAsymmetric
            | Self::LeftSymmetric
            | Self::RightSymmetric
            | Self::ZeroRestart
            | Self::NRestart
            | Self::NContinue => &[],
        };
        slots.iter().copied().map(Slot).collect()
    }

    /// Whether the level has this layout.
    #[must_use]
    pub fn is_of_level(self, level: Level) -> bool {
        match self {
            Self::ParityAt(_) => level != Level::Raid6,
            listed => Self::of_level(level).contains(&listed),
        }
    }

    /// What an array of this level gets when no layout is named: md's and mdadm's choice.
    #[must_use]
    pub const fn default_for(level: Level) -> Self {
        match level {
            Level::Raid4 => Self::ParityLast,
            Level::Raid5 | Level::Raid6 => Self::LeftSymmetric,
        }
    }

    /// Finds a layout of `level` by name, in any case: mdadm's long and short names (`default`
    /// among them), dm-raid's types, `parity-at-<slot>`, and the two names that dm-raid would have
    /// used for what it does not take, `raid5_0` and `raid6_0_6`. At level 5 mdadm's `ddf-...` are
    /// second names of rotating layouts.
    ///
    /// # Errors
    /// [`LayoutError::UnknownLayout`], which lists what the level has.
    pub fn parse(level: Level, name: &str) -> Result<Self, LayoutError> {
        let is = |word: &str| name.eq_ignore_ascii_case(word);
        if is("default") {
            return Ok(Self::default_for(level));
        }
        let listed = Self::of_level(level).iter().copied().find(|layout| {
            layout.mdadm_name().is_some_and(is)
                || layout.dm_type(level).is_some_and(is)
                || layout.aliases(level).iter().any(|alias| is(alias))
        });
        listed
            .or_else(|| parity_at(name).filter(|layout| layout.is_of_level(level)))
            .ok_or_else(|| LayoutError::UnknownLayout { level, name: name.to_owned() })
    }

    /// Level and layout of a dm-raid type, in any case: exactly the types that dm-raid takes
    /// (linux-raid.md, section 2.3). dm-raid45 shares the names of level 5 but means another
    /// `raid4`: the member that its table names, or the last.
    ///
    /// # Errors
    /// [`LayoutError::UnknownDmType`].
    pub fn from_dm_type(name: &str) -> Result<(Level, Self), LayoutError> {
        // Level 5 before level 4, whose last member layout is dm-raid's level 5 `raid5_n` too.
        for level in [Level::Raid5, Level::Raid6] {
            for &layout in Self::of_level(level) {
                if layout.dm_type(level).is_some_and(|word| name.eq_ignore_ascii_case(word)) {
                    let dedicated = layout == Self::ParityFirst;
                    return Ok((if dedicated { Level::Raid4 } else { level }, layout));
                }
            }
        }
        Err(LayoutError::UnknownDmType { name: name.to_owned() })
    }

    /// mdadm's name; `None` for [`ParityAt`](Self::ParityAt), which md does not have. The name is
    /// the same at every level that has the layout. [`Display`](fmt::Display) gives a name that
    /// [`parse`](Self::parse) takes in every case.
    #[must_use]
    pub const fn mdadm_name(self) -> Option<&'static str> {
        Some(match self {
            Self::ParityFirst => "parity-first",
            Self::ParityLast | Self::N6 => "parity-last",
            Self::ParityAt(_) => return None,
            Self::LeftAsymmetric => "left-asymmetric",
            Self::RightAsymmetric => "right-asymmetric",
            Self::LeftSymmetric => "left-symmetric",
            Self::RightSymmetric => "right-symmetric",
            Self::ZeroRestart => "ddf-zero-restart",
            Self::NRestart => "ddf-N-restart",
            Self::NContinue => "ddf-N-continue",
            Self::LeftAsymmetric6 => "left-asymmetric-6",
            Self::RightAsymmetric6 => "right-asymmetric-6",
            Self::LeftSymmetric6 => "left-symmetric-6",
            Self::RightSymmetric6 => "right-symmetric-6",
            Self::ParityFirst6 => "parity-first-6",
        })
    }

    /// dm-raid's type for an array of this level and layout; `None` where dm-raid has none: md's
    /// native layouts of level 6, and [`ParityAt`](Self::ParityAt).
    #[must_use]
    pub const fn dm_type(self, level: Level) -> Option<&'static str> {
        Some(match (level, self) {
            (Level::Raid4 | Level::Raid5, Self::ParityFirst) => "raid4",
            (Level::Raid4 | Level::Raid5, Self::ParityLast) => "raid5_n",
            (Level::Raid5, Self::LeftAsymmetric) => "raid5_la",
            (Level::Raid5, Self::RightAsymmetric) => "raid5_ra",
            (Level::Raid5, Self::LeftSymmetric) => "raid5_ls",
            (Level::Raid5, Self::RightSymmetric) => "raid5_rs",
            (Level::Raid6, Self::ZeroRestart) => "raid6_zr",
            (Level::Raid6, Self::NRestart) => "raid6_nr",
            (Level::Raid6, Self::NContinue) => "raid6_nc",
            (Level::Raid6, Self::N6) => "raid6_n_6",
            (Level::Raid6, Self::LeftAsymmetric6) => "raid6_la_6",
            (Level::Raid6, Self::RightAsymmetric6) => "raid6_ra_6",
            (Level::Raid6, Self::LeftSymmetric6) => "raid6_ls_6",
            (Level::Raid6, Self::RightSymmetric6) => "raid6_rs_6",
            _ => return None,
        })
    }

    /// md's number of the layout (`ALGORITHM_...` in its raid5.h), as superblocks store it; `None`
    /// for [`ParityAt`](Self::ParityAt). md's native level 4 works as number 5 without storing it.
    #[must_use]
    pub const fn md_algorithm(self) -> Option<u8> {
        Some(match self {
            Self::LeftAsymmetric => 0,
            Self::RightAsymmetric => 1,
            Self::LeftSymmetric => 2,
            Self::RightSymmetric => 3,
            Self::ParityFirst => 4,
            Self::ParityLast | Self::N6 => 5,
            Self::ZeroRestart => 8,
            Self::NRestart => 9,
            Self::NContinue => 10,
            Self::LeftAsymmetric6 => 16,
            Self::RightAsymmetric6 => 17,
            Self::LeftSymmetric6 => 18,
            Self::RightSymmetric6 => 19,
            Self::ParityFirst6 => 20,
            Self::ParityAt(_) => return None,
        })
    }

    /// Further names that [`parse`](Self::parse) takes.
    const fn aliases(self, level: Level) -> &'static [&'static str] {
        match (level, self) {
            (Level::Raid5, Self::LeftAsymmetric) => &["la", "ddf-N-restart"],
            (Level::Raid5, Self::RightAsymmetric) => &["ra", "ddf-zero-restart"],
            (Level::Raid5, Self::LeftSymmetric) => &["ls", "ddf-N-continue"],
            (_, Self::LeftAsymmetric) => &["la"],
            (_, Self::RightAsymmetric) => &["ra"],
            (_, Self::LeftSymmetric) => &["ls"],
            (_, Self::RightSymmetric) => &["rs"],
            (Level::Raid4 | Level::Raid5, Self::ParityFirst) => &["raid5_0"],
            (Level::Raid6, Self::ParityFirst6) => &["raid6_0_6"],
            _ => &[],
        }
    }
}

/// mdadm's name, or `parity-at-<slot>`: what [`Layout::parse`] takes back at the same level.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ParityAt(slot) => write!(f, "{PARITY_AT}{slot}"),
            named => f.write_str(named.mdadm_name().expect("mdadm names all but parity-at")),
        }
    }
}

const PARITY_AT: &str = "parity-at-";

fn parity_at(name: &str) -> Option<Layout> {
    let (prefix, slot) = name.split_at_checked(PARITY_AT.len())?;
    let plain = prefix.eq_ignore_ascii_case(PARITY_AT) && slot.bytes().all(|b| b.is_ascii_digit());
    slot.parse().ok().filter(|_| plain).map(Layout::ParityAt)
}

/// A word that names no level or no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Not a level.
    #[error("raid level {name:?} is unknown: use raid4 (4), raid5 (5, raid5f, 5f) or raid6 (6)")]
    UnknownLevel {
        /// The word as given.
        name: String,
    },
    /// Not a layout of this level.
    #[error("{level} has no layout {name:?}: use {}", names_of(*.level))]
    UnknownLayout {
        /// The level for which a layout was looked up.
        level: Level,
        /// The word as given.
        name: String,
    },
    /// Not a type of dm-raid.
    #[error("dm-raid type {name:?} is unknown: use {}", dm_types())]
    UnknownDmType {
        /// The word as given.
        name: String,
    },
}

/// The names of a level's layouts, for the end of a message.
pub(crate) fn names_of(level: Level) -> String {
    let names = Layout::of_level(level).iter().filter_map(|layout| layout.mdadm_name());
    let parity_at = Layout::ParityAt(0).is_of_level(level).then_some("parity-at-<slot>");
    one_of(names.chain(parity_at))
}

fn dm_types() -> String {
    let types_of = |level: Level| {
        Layout::of_level(level).iter().filter_map(move |layout| layout.dm_type(level))
    };
    one_of(types_of(Level::Raid5).chain(types_of(Level::Raid6)))
}

/// "a, b or c".
fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.collect();
    match words.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        few => few.concat(),
    }
}

#[cfg(test)]
mod tests;
