//! Parameters of the methods that make, list and remove arrays.
//!
//! `bdev_raid_create` is SPDK's with more levels, and with keys appended that say what Linux's
//! tools say: layout, parity device, data offset.
//!
//! Not here: which combinations make an array; the service knows.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::limits;
use crate::schema::{Param, Type};

params! {
    /// Makes an array of base bdevs.
    /// Unlike with SPDK its base bdevs have to exist; one that is missing on purpose is null.
    #[method("bdev_raid_create", Runtime, "true")]
    pub struct BdevRaidCreate {
        /// The name of the new array.
        name: String,
        /// The level. SPDK's raid5f is taken for raid5.
        raid_level: RaidLevel,
        /// The size of a strip in KiB, a power of two.
        strip_size_kb: u32,
        /// The names of the base bdevs by slot; null for a member that is missing. Old clients send
        /// one string with names between spaces.
        base_bdevs: BaseBdevs,
        /// The layout, by mdadm's name ("left-symmetric", "ra", "parity-last") or dm-raid's
        /// ("raid5_ls", "raid6_zr"); left-symmetric if absent, and parity-last for raid4.
        layout: Option<String>,
        /// The array's UUID; a random one if absent.
        uuid: Option<Uuid>,
        /// Whether each member gets a superblock, so that the array is found again; not there yet,
        /// so true is refused.
        superblock: bool = false,
        /// Where the data begins on the members, in sectors of 512 bytes; 0 if absent, or behind
        /// the superblock.
        data_offset: Option<DataOffset>,
        /// Whether parity is taken for right as it is, instead of being computed first.
        assume_clean: bool = false,
        /// The slot of the parity device, for raid4 only.
        parity_device: Option<u32>,
    }
}

params! {
    /// Describes arrays.
    #[method("bdev_raid_get_bdevs", Runtime, "an array of arrays")]
    pub struct BdevRaidGetBdevs {
        /// Which ones: those that serve I/O (online), those that lack members (configuring), those
        /// that have stopped (offline), or all.
        category: Category = "all",
    }
}

params! {
    /// Removes an array.
    /// Its members keep what is on them. An unknown name is -19.
    #[method("bdev_raid_delete", Runtime, "true")]
    pub struct BdevRaidDelete {
        /// The array's name.
        name: String,
        /// Whether the members' superblocks are wiped.
        clear_sb: bool = false,
    }
}

params! {
    /// Takes a member out of its array, which goes on without it.
    /// Refused when the array cannot do without it.
    #[method("bdev_raid_remove_base_bdev", Runtime, "true")]
    pub struct BdevRaidRemoveBaseBdev {
        /// The member's name.
        name: Option<String>,
        /// The same, as some clients send it.
        base_bdev: Option<String>,
        /// The array's name. It need not be given; if it is, it has to be right.
        raid_bdev: Option<String>,
    }
}

/// The levels of this service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum RaidLevel {
    /// One parity member, always the same.
    #[serde(rename = "raid4")]
    Raid4,
    /// One parity strip a stripe, on every member in turn.
    #[serde(rename = "raid5")]
    Raid5,
    /// Two parity strips a stripe.
    #[serde(rename = "raid6")]
    Raid6,
}

impl RaidLevel {
    /// The canonical spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raid4 => "raid4",
            Self::Raid5 => "raid5",
            Self::Raid6 => "raid6",
        }
    }
}

impl Param for RaidLevel {
    const TYPE: Type = Type::RaidLevel;

    fn from_json(value: &Value) -> Option<Self> {
        match (value.as_str(), u32::from_json(value)) {
            (Some("raid4" | "4"), _) | (_, Some(4)) => Some(Self::Raid4),
            (Some("raid5" | "5" | "raid5f" | "5f"), _) | (_, Some(5)) => Some(Self::Raid5),
            (Some("raid6" | "6"), _) | (_, Some(6)) => Some(Self::Raid6),
            _ => None,
        }
    }
}

/// The members of an array by slot; none for one that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct BaseBdevs(pub Vec<Option<String>>);

impl Param for BaseBdevs {
    const TYPE: Type = Type::BaseBdevs;

    fn from_json(value: &Value) -> Option<Self> {
        let names: Vec<Option<String>> = match value {
            Value::Array(names) => names.iter().map(slot).collect::<Option<_>>()?,
            Value::String(names) => {
                names.split_whitespace().map(|name| Some(name.to_owned())).collect()
            }
            _ => return None,
        };
        (names.len() <= limits::BASE_BDEVS_MAX).then_some(Self(names))
    }
}

/// One slot: a name or null.
fn slot(value: &Value) -> Option<Option<String>> {
    match value {
        Value::Null => Some(None),
        name => String::from_json(name).map(Some),
    }
}

/// Where the members' data begins, in sectors of 512 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum DataOffset {
    /// At the same place on all of them.
    All(u64),
    /// For each slot its own.
    Each(Vec<u64>),
}

impl Param for DataOffset {
    const TYPE: Type = Type::DataOffset;

    fn from_json(value: &Value) -> Option<Self> {
        if let Value::Array(offsets) = value {
            return offsets.iter().map(u64::from_json).collect::<Option<_>>().map(Self::Each);
        }
        u64::from_json(value).map(Self::All)
    }
}

/// Which arrays to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Every array.
    All,
    /// Those that serve I/O.
    Online,
    /// Those that lack members.
    Configuring,
    /// Those that have stopped.
    Offline,
}

impl Param for Category {
    const TYPE: Type = Type::Word(&["all", "online", "configuring", "offline"]);

    fn from_json(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "all" => Some(Self::All),
            "online" => Some(Self::Online),
            "configuring" => Some(Self::Configuring),
            "offline" => Some(Self::Offline),
            _ => None,
        }
    }
}
