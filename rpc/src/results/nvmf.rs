//! Results of the methods of the NVMe/TCP target.

use serde::{Deserialize, Serialize};

/// An address: `listen_address` and `peer_address`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressEntry {
    /// "TCP".
    pub trtype: String,
    /// "IPv4" or "IPv6".
    pub adrfam: String,
    /// The address.
    pub traddr: String,
    /// The port.
    pub trsvcid: String,
}

/// One transport of `nvmf_get_transports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportEntry {
    /// "TCP".
    pub trtype: String,
    /// Entries of the largest I/O queue.
    pub max_queue_depth: u32,
    /// Queues of a controller.
    pub max_io_qpairs_per_ctrlr: u32,
    /// Largest data in a capsule, in bytes.
    pub in_capsule_data_size: u32,
    /// Largest transfer, in bytes.
    pub max_io_size: u32,
    /// Largest H2CData, in bytes.
    pub io_unit_size: u32,
    /// Entries of the largest Admin queue.
    pub max_aq_depth: u32,
    /// 0.
    pub iobuf_small_cache_size: u32,
    /// 0.
    pub iobuf_large_cache_size: u32,
    /// False.
    pub dif_insert_or_strip: bool,
    /// False.
    pub zcopy: bool,
    /// Whether the last data of a read may stand for its response.
    pub c2h_success: bool,
    /// 0.
    pub sock_priority: u32,
    /// 1.
    pub abort_timeout_sec: u32,
}

/// A host that may connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// Its NQN.
    pub nqn: String,
    /// Name of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhchap_key: Option<String>,
    /// Name of the controller's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhchap_ctrlr_key: Option<String>,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceEntry {
    /// Its identifier.
    pub nsid: u32,
    /// Its bdev.
    pub bdev_name: String,
    /// The same.
    pub name: String,
    /// 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nguid: Option<String>,
    /// 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eui64: Option<String>,
    /// Its UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Its ANA group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anagrpid: Option<u32>,
}

/// One subsystem of `nvmf_get_subsystems`. The discovery subsystem has what stands before
/// `serial_number` only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvmfSubsystemEntry {
    /// Its NQN.
    pub nqn: String,
    /// "Discovery" or "NVMe".
    pub subtype: String,
    /// Where it listens.
    pub listen_addresses: Vec<AddressEntry>,
    /// Whether any host may connect.
    pub allow_any_host: bool,
    /// Hosts that may.
    pub hosts: Vec<HostEntry>,
    /// What only subsystems with namespaces have.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub nvm: Option<NvmSubsystemPart>,
}

/// What a subsystem with namespaces has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvmSubsystemPart {
    /// Serial number.
    pub serial_number: String,
    /// Model number.
    pub model_number: String,
    /// Largest namespace identifier.
    pub max_namespaces: u32,
    /// False.
    #[serde(default)]
    pub passthrough: bool,
    /// Lowest controller identifier.
    pub min_cntlid: u16,
    /// Highest controller identifier.
    pub max_cntlid: u16,
    /// 0.
    #[serde(default)]
    pub dmrsl: u32,
    /// 0.
    #[serde(default)]
    pub wzsl: u8,
    /// Its namespaces.
    pub namespaces: Vec<NamespaceEntry>,
    /// Ours: whether ANA states are reported.
    #[serde(default)]
    pub ana_reporting: bool,
}

/// State of an ANA group through a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnaEntry {
    /// The group.
    pub ana_group: u32,
    /// "optimized", "non_optimized" or "inaccessible".
    pub ana_state: String,
}

/// One listener of `nvmf_subsystem_get_listeners`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerEntry {
    /// Where.
    pub address: AddressEntry,
    /// States of the groups, if the subsystem reports them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ana_states: Vec<AnaEntry>,
}

/// One controller of `nvmf_subsystem_get_controllers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerEntry {
    /// Its identifier.
    pub cntlid: u16,
    /// "io" or "discovery".
    pub cntrltype: String,
    /// NQN of its host.
    pub hostnqn: String,
    /// Identifier of its host, a UUID.
    pub hostid: String,
    /// Its I/O queues.
    pub num_io_qpairs: u32,
}

/// One queue of `nvmf_subsystem_get_qpairs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QpairEntry {
    /// Its controller.
    pub cntlid: u16,
    /// Its identifier.
    pub qid: u16,
    /// "active" or "deactivating".
    pub state: String,
    /// The thread that serves it.
    pub thread: String,
    /// NQN of its host.
    pub hostnqn: String,
    /// Where it came in.
    pub listen_address: AddressEntry,
    /// Where it came from.
    pub peer_address: AddressEntry,
}

/// `nvmf_get_stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NvmfStatsReply {
    /// Ticks in a second.
    pub tick_rate: u64,
    /// One for each reactor.
    pub poll_groups: Vec<PollGroupEntry>,
}

/// What one reactor does for the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollGroupEntry {
    /// The thread's name.
    pub name: String,
    /// Admin queues since the start.
    pub admin_qpairs: u64,
    /// I/O queues since the start.
    pub io_qpairs: u64,
    /// Admin queues now.
    pub current_admin_qpairs: u64,
    /// I/O queues now.
    pub current_io_qpairs: u64,
    /// Connections that are no queue yet.
    pub current_unassociated_qpairs: u64,
    /// Requests at bdevs.
    pub pending_bdev_io: u64,
    /// Commands that were completed.
    pub completed_nvme_io: u64,
    /// One for each transport.
    pub transports: Vec<PollGroupTransport>,
    /// Ours: bytes of its buffers that nobody has.
    #[serde(default)]
    pub free_buffer_bytes: u64,
}

/// A transport of a poll group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollGroupTransport {
    /// "TCP".
    pub trtype: String,
}

/// One key of `keyring_get_keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    /// Its name.
    pub name: String,
    /// "keyring_file".
    pub module: String,
    /// False.
    pub removed: bool,
    /// True: its file has been read.
    pub probed: bool,
    /// Hosts that have it.
    pub refcnt: u32,
    /// Its file.
    pub path: String,
}
