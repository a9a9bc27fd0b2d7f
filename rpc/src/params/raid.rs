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
        /// Whether each member gets a superblock, so that the array is found again at the next start. In
        /// a configuration: an array of this name that is found already is not made anew.
        superblock: bool = false,
        /// Where the data begins on the members, in sectors of 512 bytes; if absent 0, or 2048 (1 MiB)
        /// with a superblock.
        data_offset: Option<DataOffset>,
        /// Whether parity is taken for right as it is, instead of being computed first.
        assume_clean: bool = false,
        /// The slot of the parity device, for raid4 only.
        parity_device: Option<u32>,
        /// The bdev that holds the dirty log, in dm-log's format; in memory if absent, and then a crash
        /// makes all of the array resync.
        log_bdev: Option<String>,
        /// The size of a region of the dirty log in KiB of each member, a power of two; 4096 if absent.
        region_size_kb: Option<u64>,
        /// When the log fails: go on without it (continue), or let writes wait (block) until the message
        /// allow_writes. If absent: continue where a superblock or the service's state says so, otherwise what
        /// on_failure does.
        on_log_failure: Option<OnLogFailure>,
        /// When a member fails and there is no superblock to record it: let writes wait (hold) until the
        /// message allow_writes, or go on (continue).
        on_failure: OnFailure = "hold",
        /// Seconds that a member may take for a request before it counts as failed; 30 if absent.
        io_timeout_s: Option<u32>,
        /// Whether to overwrite what is on the members, the log and the spares, and to trust the parity of an
        /// array that is dirty and degraded.
        force: bool = false,
        /// For an array without superblocks that has run before: whether it was not stopped in order, or
        /// (false) was. With all of its members it starts either way. Without one, what its log calls dirty
        /// has it refused unless it was stopped in order; one that was not, and has no log that says what is
        /// dirty, is refused. If absent, nobody knows, and the log counts.
        dirty: Option<bool>,
        /// For an array without superblocks that has run before: whether its log had failed, so that what is
        /// on the log bdev is not believed, and begun anew.
        log_failed: bool = false,
        /// The names of bdevs that take the place of members that fail. They carry nothing, unless by force, and fit.
        spares: Option<BaseBdevs>,
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
    /// Takes a member out of its array, which goes on without it, or takes a spare back.
    /// Refused when the array cannot do without it. A spare's superblock is wiped.
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

params! {
    /// Puts a bdev into an empty or failed slot of an array, and rebuilds it.
    /// One that was a member before is rebuilt only where something has changed since. One that carries something
    /// else is refused (-17), unless by force.
    #[method("bdev_raid_add_base_bdev", Runtime, "true")]
    pub struct BdevRaidAddBaseBdev {
        /// The array's name.
        raid_bdev: String,
        /// The name of the bdev.
        base_bdev: String,
        /// Whether to overwrite what is on it, whatever that is. Without it that is done only to what is this
        /// array's own: it carries the array's superblock, however old; it has failed as its member; or the array
        /// has no superblocks, and this service has seen it in the array, and nobody else with it since.
        force: bool = false,
    }
}

params! {
    /// Adds a hot spare: a bdev that takes the place of a member that fails.
    /// bdev_raid_remove_base_bdev takes it back. One that carries something is refused (-17), unless by force,
    /// and so is one that is too small for the array, or has larger blocks (-22).
    #[method("bdev_raid_add_spare", Runtime, "true")]
    pub struct BdevRaidAddSpare {
        /// The name of the bdev.
        base_bdev: String,
        /// The array that may use it; any array if absent.
        raid_bdev: Option<String>,
        /// Whether to overwrite what is on it, whatever that is. Without it that is done only to what is this
        /// array's own, as with bdev_raid_add_base_bdev. To any array nothing is its own.
        force: bool = false,
    }
}

params! {
    /// Starts a known array that waits for members, or for its log, without them.
    #[method("bdev_raid_assemble", Runtime, "the array's name")]
    pub struct BdevRaidAssemble {
        /// The array's name or UUID.
        name: String,
        /// Whether to start it even though it is dirty and degraded, or split, or is to block without its log.
        force: bool = false,
    }
}

params! {
    /// Sends a message to an array: dm-raid's, or raid45's allow_writes.
    /// A check or repair while another action runs is -16.
    #[method("bdev_raid_message", Runtime, "true")]
    pub struct BdevRaidMessage {
        /// The array's name.
        name: String,
        /// What to do.
        message: RaidWord,
    }
}

params! {
    /// Changes how fast background actions of an array go, in KiB a second on each member.
    #[method("bdev_raid_set_rates", Runtime, "true")]
    pub struct BdevRaidSetRates {
        /// The array's name.
        name: String,
        /// What they take in any case; unchanged if absent.
        min_kb_per_s: Option<u64>,
        /// What they never exceed, 0 for no bound; unchanged if absent.
        max_kb_per_s: Option<u64>,
    }
}

params! {
    /// Has requests of an array be followed in the log, one by one: what is asked for, and what comes of it after how long.
    /// It ends by itself. Each line costs its reactor a system call.
    #[method("bdev_raid_set_trace", Runtime, "true")]
    pub struct BdevRaidSetTrace {
        /// The array's name, or that of a mapped device: all of its arrays.
        name: String,
        /// Whether requests are followed.
        enable: bool,
        /// How many, on each reactor.
        requests: u64 = 1000,
    }
}

params! {
    /// Sets what arrays are given that are made or assembled from now on.
    /// A running array is told with bdev_raid_set_rates.
    #[method("bdev_raid_set_options", Both, "true")]
    pub struct BdevRaidSetOptions {
        /// KiB that a background action works on at a time; without effect, it is a region's stripes.
        process_window_size_kb: Option<u32>,
        /// MiB per second and member that background actions may use; 0 is no limit.
        process_max_bandwidth_mb_sec: Option<u32>,
    }
}

params! {
    /// Looks for a superblock on a bdev again.
    #[method("bdev_examine", Runtime, "true")]
    pub struct BdevExamine {
        /// The bdev's name.
        name: String,
    }
}

params! {
    /// Waits until no bdev is being looked at for a superblock.
    #[method("bdev_wait_for_examine", Runtime, "true")]
    pub struct BdevWaitForExamine {
    }
}

words! {
    /// What becomes of writes when the log has failed.
    pub enum OnLogFailure {
        /// They go on.
        Continue = "continue",
        /// They wait.
        Block = "block",
    }
}

words! {
    /// What becomes of writes when a member has failed and nothing can record it.
    pub enum OnFailure {
        /// They wait.
        Hold = "hold",
        /// They go on.
        Continue = "continue",
    }
}

words! {
    /// Messages to an array.
    pub enum RaidWord {
        /// Interrupt what runs; what is needed starts again by itself.
        Idle = "idle",
        /// Interrupt what runs, and let nothing start.
        Frozen = "frozen",
        /// Go on with the resync.
        Resync = "resync",
        /// Go on with the rebuild.
        Recover = "recover",
        /// Compare and count.
        Check = "check",
        /// Compare and make right.
        Repair = "repair",
        /// Failures are recorded: writes go on.
        AllowWrites = "allow_writes",
    }
}

words! {
    /// Which arrays to list.
    pub enum Category {
        /// Every array.
        All = "all",
        /// Those that serve I/O.
        Online = "online",
        /// Those that lack members.
        Configuring = "configuring",
        /// Those that have stopped.
        Offline = "offline",
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
