//! The shapes of results that SPDK's clients decode.
//!
//! SPDK's fields stand first, in SPDK's order, with SPDK's names and units (the C code counts:
//! `lib/bdev/bdev_rpc.c`, `module/bdev/raid/bdev_raid.c`); what we add stands behind them. All of
//! them can be decoded again, for our own clients; a field that another server does not send has
//! its default then.
//!
//! Not here: what the values are.

mod dm;
mod nvmf;
mod watch;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

pub use dm::{DmDepsOf, DmDeviceInfo, DmIo, DmListed, DmTarget, DmTargetVersion, DmTargetsOf};
pub use nvmf::{
    AddressEntry, AnaEntry, ControllerEntry, HostEntry, KeyEntry, ListenerEntry, NamespaceEntry,
    NvmSubsystemPart, NvmfStatsReply, NvmfSubsystemEntry, PollGroupEntry, PollGroupTransport,
    QpairEntry, TransportEntry,
};
pub use watch::{
    BdevIostat, BordersReply, ChannelIostat, ChannelIostatReply, ContextSwitchReply,
    HistogramReply, IoChannelEntry, IobufCounts, IobufEntry, Iostat, IostatReply, LwThread,
    NotificationEntry, PollerEntry, ReactorEntry, ReactorsReply, SchedulerEntry, SubsystemEntry,
    ThreadChannels, ThreadPollers, ThreadStats, ThreadsReply,
};

/// `spdk_get_version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionEntry {
    /// Name and version for a human.
    pub version: String,
    /// The same in parts.
    pub fields: VersionFields,
}

/// The parts of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionFields {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number.
    pub patch: u32,
    /// What follows the numbers, such as "-pre"; may be empty.
    pub suffix: String,
    /// The commit it was built from, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// One bdev of `bdev_get_bdevs`. Sizes without a unit in their name are SPDK's: in blocks, but
/// `block_size` in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BdevEntry {
    /// The bdev's name.
    pub name: String,
    /// Other names that it is found by; its UUID is one.
    pub aliases: Vec<String>,
    /// "AIO disk", "Malloc disk", "Null disk", "URING bdev", "Raid Volume" ...: clients match it.
    pub product_name: String,
    /// Bytes in a block.
    pub block_size: u32,
    /// Blocks in the bdev.
    pub num_blocks: u64,
    /// 0 for none.
    #[serde(default)]
    pub preferred_write_alignment: u32,
    /// 0 for none.
    #[serde(default)]
    pub preferred_write_granularity: u32,
    /// 0 for none; for an array, its stripe.
    #[serde(default)]
    pub optimal_write_size: u32,
    /// 0 for none.
    #[serde(default)]
    pub preferred_unmap_alignment: u32,
    /// 0 for none.
    #[serde(default)]
    pub preferred_unmap_granularity: u32,
    /// The bdev's UUID.
    pub uuid: Uuid,
    /// The NUMA node of its memory or device, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_id: Option<i32>,
    /// How much may be done with it in a second.
    #[serde(default)]
    pub assigned_rate_limits: RateLimits,
    /// Whether something (an array, a namespace) has it for itself.
    pub claimed: bool,
    /// SPDK's name for the way of claiming, if it is claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_type: Option<String>,
    /// False.
    #[serde(default)]
    pub zoned: bool,
    /// What it can do.
    pub supported_io_types: SupportedIoTypes,
    /// An object with one member named after the driver.
    pub driver_specific: Value,
    /// Ours: whether writes may sit in a volatile cache until a flush.
    #[serde(default)]
    pub volatile_write_cache: bool,
    /// Ours: whether unmapped blocks read as zeroes.
    #[serde(default)]
    pub unmap_reads_zero: bool,
    /// Ours: least bytes of a request that is not wasteful; for an array, its strip; 0 for no preference.
    #[serde(default)]
    pub minimum_io_bytes: u32,
    /// Ours: best bytes of a request; for an array, its stripe; 0 for no preference.
    #[serde(default)]
    pub optimal_io_bytes: u64,
    /// Ours: whether more requests would only wait, here or below, of arrays and mapped devices.
    #[serde(default)]
    pub congested: bool,
}

/// Limits of a bdev; 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimits {
    /// Reads and writes per second.
    pub rw_ios_per_sec: u64,
    /// MiB read and written per second.
    pub rw_mbytes_per_sec: u64,
    /// MiB read per second.
    pub r_mbytes_per_sec: u64,
    /// MiB written per second.
    pub w_mbytes_per_sec: u64,
}

/// SPDK's I/O types, in its order. Those beyond write zeroes exist for its clients' sake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the documentation, and they are SPDK's")]
pub struct SupportedIoTypes {
    pub read: bool,
    pub write: bool,
    pub unmap: bool,
    pub flush: bool,
    pub reset: bool,
    pub nvme_admin: bool,
    pub nvme_io: bool,
    pub nvme_io_md: bool,
    pub write_zeroes: bool,
    pub zcopy: bool,
    pub get_zone_info: bool,
    pub zone_management: bool,
    pub zone_append: bool,
    pub compare: bool,
    pub compare_and_write: bool,
    pub abort: bool,
    pub seek_hole: bool,
    pub seek_data: bool,
    pub copy: bool,
    pub nvme_iov_md: bool,
    pub nvme_nssr: bool,
    pub write_uncorrectable: bool,
}

/// One array of `bdev_raid_get_bdevs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaidEntry {
    /// The array's name.
    pub name: String,
    /// What `driver_specific.raid` of `bdev_get_bdevs` shows as well.
    #[serde(flatten)]
    pub info: RaidInfo,
}

/// An array without its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaidInfo {
    /// The array's UUID. (SPDK sends it twice in `bdev_raid_get_bdevs`.)
    pub uuid: Uuid,
    /// The strip in KiB.
    pub strip_size_kb: u32,
    /// Whether it serves I/O.
    pub state: RaidState,
    /// "raid4", "raid5" or "raid6".
    pub raid_level: String,
    /// Whether the members have superblocks.
    pub superblock: bool,
    /// Slots.
    pub num_base_bdevs: u32,
    /// Members that are there.
    pub num_base_bdevs_discovered: u32,
    /// Members that the array needs or has in operation.
    pub num_base_bdevs_operational: u32,
    /// What runs in the background, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<RaidProcess>,
    /// The slots.
    pub base_bdevs_list: Vec<BaseBdevEntry>,
    /// Ours: the layout by mdadm's name.
    #[serde(default)]
    pub layout: String,
    /// Ours: the slot of the parity device, where it is always the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parity_device: Option<u32>,
    /// Ours: the strip in bytes.
    #[serde(default)]
    pub strip_size_bytes: u32,
    /// Ours: bytes in a block.
    #[serde(default)]
    pub block_size: u32,
    /// Ours: blocks in the array.
    #[serde(default)]
    pub num_blocks: u64,
    /// Ours: members that are missing or failed.
    #[serde(default)]
    pub num_base_bdevs_degraded: u32,
    /// Ours: whether all parity is known to be right.
    #[serde(default)]
    pub in_sync: bool,
    /// Ours: the dirty log.
    #[serde(default)]
    pub log: RaidLog,
    /// Ours: what goes on in the background, in md's words.
    #[serde(default)]
    pub sync_action: String,
    /// Ours: sectors whose parity the last action found wrong, in md's counting.
    #[serde(default)]
    pub mismatch_sectors: u64,
    /// Ours: updates of the superblocks so far; 0 without.
    #[serde(default)]
    pub events: u64,
    /// Ours: whether writes wait for the message allow_writes.
    #[serde(default)]
    pub writes_held: bool,
    /// Ours: why the array does not run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The dirty log of an array.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaidLog {
    /// "core" in memory, "disk" on a bdev.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the bdev.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bdev: Option<String>,
    /// dm-log's letter: A alive, D read or write failed, F flush failed.
    pub health: String,
    /// Regions.
    pub regions: u64,
    /// Regions that are in sync.
    pub regions_in_sync: u64,
    /// Regions that may have writes under way.
    pub regions_dirty: u64,
}

impl RaidInfo {
    /// The `driver_specific` of the array's bdev.
    ///
    /// # Errors
    ///
    /// Never in practice: the struct has string keys and finite numbers only.
    pub fn driver_specific(&self) -> Result<Value, serde_json::Error> {
        Ok(json!({ "raid": serde_json::to_value(self)? }))
    }
}

/// SPDK's states of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RaidState {
    /// It serves I/O.
    Online,
    /// It lacks members.
    Configuring,
    /// It has stopped.
    Offline,
}

/// What an array does in the background.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaidProcess {
    /// SPDK: "rebuild". Ours as well: "resync", "check", "repair".
    #[serde(rename = "type")]
    pub kind: String,
    /// The member that is rebuilt; empty if it is all of them.
    pub target: String,
    /// How far it is.
    pub progress: RaidProgress,
    /// Ours: whether it waits for its permit, because the array shares a device with another one.
    #[serde(default)]
    pub delayed: bool,
    /// Ours: the array that has to finish first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delayed_behind: Option<String>,
}

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaidProgress {
    /// Blocks of the array that are done.
    pub blocks: u64,
    /// The same in whole percent.
    pub percent: u32,
    /// Ours: speed on each member in KiB a second.
    #[serde(default)]
    pub speed_kb_per_s: u64,
    /// Ours: seconds that are left at this speed; none when it stands still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u64>,
}

/// One slot of an array.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseBdevEntry {
    /// The member's name; null for an empty slot.
    pub name: Option<String>,
    /// The member's UUID; zero for an empty slot.
    pub uuid: Uuid,
    /// Whether the member takes part.
    pub is_configured: bool,
    /// Where its data begins, in blocks.
    pub data_offset: u64,
    /// How long its data is, in blocks.
    pub data_size: u64,
    /// Ours: in_sync, rebuilding, faulty, spare or missing.
    #[serde(default)]
    pub state: String,
    /// Ours: read errors that were corrected from parity since it took its slot.
    #[serde(default)]
    pub read_errors: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether these keys are written, and in this order.
    fn in_order(value: &impl Serialize, keys: &[&str]) -> bool {
        let text = serde_json::to_string(value).unwrap();
        let places = keys.iter().map(|key| text.find(&format!("\"{key}\":")).unwrap());
        places.is_sorted()
    }

    fn raid() -> RaidEntry {
        let member = BaseBdevEntry {
            name: None,
            uuid: Uuid::nil(),
            is_configured: false,
            data_offset: 0,
            data_size: 2048,
            state: "missing".to_owned(),
            read_errors: 0,
        };
        let progress =
            RaidProgress { blocks: 512, percent: 50, speed_kb_per_s: 1000, eta_s: Some(7) };
        let info = RaidInfo {
            uuid: Uuid::nil(),
            strip_size_kb: 64,
            state: RaidState::Online,
            raid_level: "raid5".to_owned(),
            superblock: false,
            num_base_bdevs: 3,
            num_base_bdevs_discovered: 2,
            num_base_bdevs_operational: 2,
            process: Some(RaidProcess {
                kind: "rebuild".to_owned(),
                target: "n1".to_owned(),
                progress,
                delayed: false,
                delayed_behind: None,
            }),
            base_bdevs_list: vec![member],
            layout: "left-symmetric".to_owned(),
            parity_device: None,
            strip_size_bytes: 65536,
            block_size: 4096,
            num_blocks: 1024,
            num_base_bdevs_degraded: 1,
            in_sync: true,
            log: RaidLog::default(),
            sync_action: "recover".to_owned(),
            mismatch_sectors: 0,
            events: 9,
            writes_held: false,
            reason: String::new(),
        };
        RaidEntry { name: "r0".to_owned(), info }
    }

    #[test]
    fn an_array_has_spdks_fields_first_and_ours_behind_them() {
        let keys = [
            "name",
            "uuid",
            "strip_size_kb",
            "state",
            "raid_level",
            "superblock",
            "num_base_bdevs",
            "num_base_bdevs_discovered",
            "num_base_bdevs_operational",
            "process",
            "base_bdevs_list",
            "layout",
            "strip_size_bytes",
            "in_sync",
        ];
        assert!(in_order(&raid(), &keys));

        let value = serde_json::to_value(raid()).unwrap();
        assert_eq!(value["state"], "online");
        assert_eq!(value["process"]["type"], "rebuild");
        let progress = json!({"blocks": 512, "percent": 50, "speed_kb_per_s": 1000, "eta_s": 7});
        assert_eq!(value["process"]["progress"], progress);
        assert_eq!(value["base_bdevs_list"][0]["name"], Value::Null);
        assert_eq!(value["base_bdevs_list"][0]["uuid"], "00000000-0000-0000-0000-000000000000");
        assert_eq!(serde_json::from_value::<RaidEntry>(value).unwrap(), raid());
    }

    #[test]
    fn an_array_from_spdk_is_understood() {
        let upstream = json!({
            "name": "r0", "uuid": Uuid::nil(), "strip_size_kb": 64, "state": "configuring",
            "raid_level": "raid5f", "superblock": true, "num_base_bdevs": 3,
            "num_base_bdevs_discovered": 0, "num_base_bdevs_operational": 3,
            "base_bdevs_list": [],
        });
        let entry: RaidEntry = serde_json::from_value(upstream).unwrap();
        assert_eq!((entry.info.state, entry.info.process), (RaidState::Configuring, None));
    }

    #[test]
    fn the_driver_specific_part_has_no_name() {
        let specific = raid().info.driver_specific().unwrap();
        assert_eq!(specific["raid"]["raid_level"], "raid5");
        assert_eq!(specific["raid"].get("name"), None);
    }

    #[test]
    fn a_bdev_has_spdks_fields_first_and_ours_behind_them() {
        let io_types = SupportedIoTypes { read: true, write: true, ..Default::default() };
        let entry = BdevEntry {
            name: "m0".to_owned(),
            aliases: vec![Uuid::nil().to_string()],
            product_name: "Malloc disk".to_owned(),
            block_size: 512,
            num_blocks: 2048,
            preferred_write_alignment: 0,
            preferred_write_granularity: 0,
            optimal_write_size: 0,
            preferred_unmap_alignment: 0,
            preferred_unmap_granularity: 0,
            uuid: Uuid::nil(),
            numa_id: None,
            assigned_rate_limits: RateLimits::default(),
            claimed: true,
            claim_type: Some("exclusive_write".to_owned()),
            zoned: false,
            supported_io_types: io_types,
            driver_specific: json!({}),
            volatile_write_cache: false,
            unmap_reads_zero: true,
            minimum_io_bytes: 65536,
            optimal_io_bytes: 196_608,
            congested: false,
        };
        let expected = [
            "name",
            "aliases",
            "product_name",
            "block_size",
            "num_blocks",
            "preferred_write_alignment",
            "preferred_write_granularity",
            "optimal_write_size",
            "preferred_unmap_alignment",
            "preferred_unmap_granularity",
            "uuid",
            "assigned_rate_limits",
            "claimed",
            "claim_type",
            "zoned",
            "supported_io_types",
            "driver_specific",
            "volatile_write_cache",
            "unmap_reads_zero",
            "minimum_io_bytes",
            "optimal_io_bytes",
            "congested",
        ];
        assert!(in_order(&entry, &expected));
        let value = serde_json::to_value(&entry).unwrap();
        assert_eq!(value.as_object().unwrap().len(), expected.len());
        assert_eq!(value["supported_io_types"].as_object().unwrap().len(), 22);
        assert_eq!(value["supported_io_types"]["write_uncorrectable"], false);
        assert_eq!(value["assigned_rate_limits"]["rw_ios_per_sec"], 0);
        assert_eq!(serde_json::from_value::<BdevEntry>(value).unwrap(), entry);
    }
}
