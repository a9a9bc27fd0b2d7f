//! Parameters of the methods of the NVMe/TCP target, and of the keyring.
//!
//! Not here: what is exported, and to whom (the service).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::schema::{Param, Type};

/// Where a subsystem listens: SPDK's `nvmf_listen_address`. Case does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenAddress {
    /// "TCP".
    pub trtype: String,
    /// "IPv4" or "IPv6".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adrfam: Option<String>,
    /// An address.
    pub traddr: String,
    /// A port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trsvcid: Option<String>,
}

impl Param for ListenAddress {
    const TYPE: Type = Type::Object(
        "an address like {\"trtype\": \"TCP\", \"adrfam\": \"IPv4\", \"traddr\": \"192.0.2.1\", \
         \"trsvcid\": \"4420\"}",
    );

    fn from_json(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        Some(Self {
            trtype: member(members, "trtype")??,
            adrfam: member(members, "adrfam")?,
            traddr: member(members, "traddr")??,
            trsvcid: match members.get("trsvcid") {
                // Ports are strings; some clients write numbers all the same.
                Some(Value::Number(port)) => Some(port.to_string()),
                _ => member(members, "trsvcid")?,
            },
        })
    }
}

/// A bdev as a namespace: SPDK's `nvmf_namespace`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceParam {
    /// The bdev.
    pub bdev_name: String,
    /// Its identifier; the lowest that is free if it is absent or 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nsid: Option<u32>,
    /// 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nguid: Option<String>,
    /// 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eui64: Option<String>,
    /// A UUID; that of the bdev if it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
    /// Its ANA group; the one of its identifier if it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anagrpid: Option<u32>,
    /// A file for reservations, which are not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ptpl_file: Option<String>,
    /// Only hosts that are named may see it, which is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_auto_visible: Option<bool>,
}

impl Param for NamespaceParam {
    const TYPE: Type = Type::Object(
        "a namespace like {\"bdev_name\": \"r0\"}, with nsid, nguid, eui64, uuid and anagrpid if they \
         matter",
    );

    fn from_json(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        Some(Self {
            bdev_name: member(members, "bdev_name")??,
            nsid: member(members, "nsid")?,
            nguid: member(members, "nguid")?,
            eui64: member(members, "eui64")?,
            uuid: member(members, "uuid")?,
            anagrpid: match members.get("anagrpid") {
                Some(Value::String(digits)) => Some(digits.parse().ok()?),
                _ => member(members, "anagrpid")?,
            },
            ptpl_file: member(members, "ptpl_file")?,
            no_auto_visible: member(members, "no_auto_visible")?,
        })
    }
}

/// A member: absent or null is `Some(None)`, one of a wrong type `None`.
fn member<T: Param>(members: &Map<String, Value>, key: &str) -> Option<Option<T>> {
    match members.get(key) {
        None | Some(Value::Null) => Some(None),
        Some(value) => T::from_json(value).map(Some),
    }
}

/// A list of words that are checked by the method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags(pub Vec<String>);

impl Param for Flags {
    const TYPE: Type = Type::Names;

    fn from_json(value: &Value) -> Option<Self> {
        Vec::from_json(value).map(Self)
    }
}

/// Which Admin commands go through to a device: SPDK's `nvmf_admin_cmd_passthru`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminCmdPassthru {
    /// Identify.
    pub identify_ctrlr: bool,
}

impl Param for AdminCmdPassthru {
    const TYPE: Type = Type::Object("an object like {\"identify_ctrlr\": false}");

    fn from_json(value: &Value) -> Option<Self> {
        Some(Self { identify_ctrlr: member(value.as_object()?, "identify_ctrlr")?? })
    }
}

words! {
    /// State of an ANA group, as clients may set it.
    pub enum AnaStateWord {
        /// The best path.
        Optimized = "optimized",
        /// A path that works.
        NonOptimized = "non_optimized",
        /// No path.
        Inaccessible = "inaccessible",
    }
}

words! {
    /// What happens when a host connects twice.
    pub enum DupHostPolicy {
        /// It may.
        Allow = "allow",
        /// Not through one listener.
        RestrictPerListener = "restrict_per_listener",
    }
}

params! {
    /// Settings of the target that hold for all transports.
    /// Accepted for the sake of configurations; but for the digests and groups of DH-HMAC-CHAP, which
    /// limit what is offered, only the defaults make sense.
    #[method("nvmf_set_config", Startup, "true")]
    pub struct NvmfSetConfig {
        /// Without effect: no Admin command is passed through.
        admin_cmd_passthru: Option<AdminCmdPassthru>,
        /// Without effect: connections are spread over all reactors.
        poll_groups_mask: Option<String>,
        /// Without effect: a discovery log names all listeners of a subsystem.
        discovery_filter: Option<String>,
        /// Without effect, likewise.
        discovery_filters: Option<Flags>,
        /// Hash functions that hosts may authenticate with: sha256, sha384, sha512.
        dhchap_digests: Option<Flags>,
        /// Diffie-Hellman groups that hosts may authenticate with: null, ffdhe2048 and so on.
        dhchap_dhgroups: Option<Flags>,
        /// Without effect but "allow".
        dup_host_policy: Option<DupHostPolicy>,
    }
}

params! {
    /// Bounds the number of subsystems.
    /// Accepted for the sake of configurations; the bound is fixed, and asking for more is an error.
    #[method("nvmf_set_max_subsystems", Startup, "true")]
    pub struct NvmfSetMaxSubsystems {
        /// The bound, without the discovery subsystem.
        max_subsystems: u32,
    }
}

params! {
    /// Makes a transport, which listeners need.
    /// There is one kind, TCP, and one of that kind. A second time is -32603.
    #[method("nvmf_create_transport", Runtime, "true")]
    pub struct NvmfCreateTransport {
        /// "TCP", in any case.
        trtype: String,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
        /// Entries of the largest I/O queue, 2 to 128.
        max_queue_depth: u16 = 128,
        /// I/O queues of a controller and its Admin queue, at least 2.
        max_io_qpairs_per_ctrlr: u16 = 128,
        /// Bytes that an I/O command may carry in its capsule; a multiple of 16, at most 131072.
        in_capsule_data_size: u32 = 8192,
        /// Without effect but 131072 to 1048576: hosts are told 1048576 (MDTS).
        max_io_size: u32 = 1048576,
        /// Without effect (deprecated).
        io_unit_size: Option<u32>,
        /// Entries of the largest Admin queue, 32 to 128.
        max_aq_depth: u32 = 128,
        /// Without effect (deprecated): each reactor has buffers of its own.
        num_shared_buffers: Option<u32>,
        /// Without effect (deprecated).
        buf_cache_size: Option<u32>,
        /// Without effect.
        iobuf_small_cache_size: Option<u32>,
        /// Without effect.
        iobuf_large_cache_size: Option<u32>,
        /// Without effect: data is received into the buffers of requests in any case.
        zcopy: bool = false,
        /// Of another transport.
        num_cqe: Option<i32>,
        /// Of another transport.
        max_srq_depth: Option<u32>,
        /// Of another transport.
        no_srq: Option<bool>,
        /// Whether the last data of a read may stand for its response.
        c2h_success: bool = true,
        /// Without effect but false: there is no protection information.
        dif_insert_or_strip: bool = false,
        /// Without effect.
        sock_priority: u32 = 0,
        /// Connections that the kernel keeps until they are accepted.
        acceptor_backlog: Option<i32>,
        /// Without effect.
        abort_timeout_sec: u32 = 1,
        /// Of another transport.
        no_wr_batching: Option<bool>,
        /// Without effect.
        control_msg_num: Option<u16>,
        /// Of another transport.
        disable_mappable_bar0: Option<bool>,
        /// Of another transport.
        disable_adaptive_irq: Option<bool>,
        /// Of another transport.
        disable_shadow_doorbells: Option<bool>,
        /// Without effect: connections are accepted as they come.
        acceptor_poll_rate: Option<u32>,
        /// Without effect.
        ack_timeout: Option<u32>,
        /// Of another transport.
        data_wr_pool_size: Option<u32>,
        /// Without effect: no command is passed through.
        disable_command_passthru: Option<bool>,
        /// Without effect.
        kas: Option<u16>,
        /// Without effect.
        min_kato: Option<u32>,
        /// Without effect.
        masked_oncs: Option<Flags>,
        /// Without effect.
        masked_fuses: Option<Flags>,
    }
}

params! {
    /// Describes the transports, or one.
    /// A kind that is not there is -19.
    #[method(
        "nvmf_get_transports",
        Runtime,
        "an array of {trtype: string, max_queue_depth, max_io_qpairs_per_ctrlr, in_capsule_data_size, \
         max_io_size, io_unit_size, max_aq_depth: numbers, c2h_success: boolean, ...}"
    )]
    pub struct NvmfGetTransports {
        /// Without effect: there is one target.
        tgt_name: Option<String>,
        /// Only of this kind.
        trtype: Option<String>,
    }
}

params! {
    /// Makes a subsystem.
    /// Nobody may connect to it until hosts are added or all are allowed.
    #[method("nvmf_create_subsystem", Runtime, "true", aliases: "nvmf_subsystem_create")]
    pub struct NvmfCreateSubsystem {
        /// Its NQN: nqn.2016-06.io.spdk:name, or nqn.2014-08.org.nvmexpress:uuid:...
        nqn: String,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
        /// Serial number: up to 20 ASCII characters.
        serial_number: Option<String>,
        /// Model number: up to 40 ASCII characters.
        model_number: Option<String>,
        /// Without effect.
        admin_label: Option<String>,
        /// Largest namespace identifier; 32 if it is absent or 0.
        max_namespaces: u32 = 0,
        /// Whether any host may connect.
        allow_any_host: bool = false,
        /// Whether ANA states are reported.
        ana_reporting: bool = false,
        /// Lowest controller identifier.
        min_cntlid: u16 = 1,
        /// Highest controller identifier.
        max_cntlid: u16 = 65519,
        /// Without effect but 0.
        dmrsl: u32 = 0,
        /// Without effect but 0.
        wzsl: u8 = 0,
        /// Without effect but false.
        passthrough: bool = false,
        /// Without effect but false.
        enable_nssr: bool = false,
    }
}

params! {
    /// Removes a subsystem.
    /// Its hosts are disconnected; its bdevs stay.
    #[method("nvmf_delete_subsystem", Runtime, "true", aliases: "delete_nvmf_subsystem")]
    pub struct NvmfDeleteSubsystem {
        /// The subsystem.
        nqn: String,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
    }
}

params! {
    /// Describes the subsystems, or one.
    /// The discovery subsystem is the first.
    #[method(
        "nvmf_get_subsystems",
        Runtime,
        "an array of {nqn, subtype: strings, listen_addresses: array, allow_any_host: boolean, hosts: \
         array, serial_number, model_number: strings, max_namespaces, min_cntlid, max_cntlid: numbers, \
         namespaces: array of {nsid, bdev_name, name, nguid, uuid, anagrpid}}",
        aliases: "get_nvmf_subsystems"
    )]
    pub struct NvmfGetSubsystems {
        /// Only this one.
        nqn: Option<String>,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
    }
}

params! {
    /// Adds a bdev to a subsystem as a namespace.
    /// The bdev is claimed. Hosts that are connected are told.
    #[method(
        "nvmf_subsystem_add_ns",
        Runtime,
        "the namespace's identifier, a number"
    )]
    pub struct NvmfSubsystemAddNs {
        /// The subsystem.
        nqn: String,
        /// The namespace.
        namespace: NamespaceParam,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
    }
}

params! {
    /// Takes a namespace out of a subsystem.
    /// Commands that are at work end first. Hosts that are connected are told.
    #[method("nvmf_subsystem_remove_ns", Runtime, "true")]
    pub struct NvmfSubsystemRemoveNs {
        /// The subsystem.
        nqn: String,
        /// The namespace's identifier.
        nsid: u32,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
    }
}

params! {
    /// Has a subsystem listen at an address.
    /// The discovery subsystem is found at every one of them.
    #[method("nvmf_subsystem_add_listener", Runtime, "true")]
    pub struct NvmfSubsystemAddListener {
        /// The subsystem.
        nqn: String,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
        /// Where it listens.
        listen_address: ListenAddress,
        /// Without effect but false: there is no TLS.
        secure_channel: Option<bool>,
        /// ANA state of all groups through this listener.
        ana_state: Option<AnaStateWord>,
        /// Without effect.
        sock_impl: Option<String>,
        /// Without effect.
        numa_id: Option<i32>,
    }
}

params! {
    /// Has a subsystem no longer listen at an address.
    /// Hosts that came in there are disconnected.
    #[method("nvmf_subsystem_remove_listener", Runtime, "true")]
    pub struct NvmfSubsystemRemoveListener {
        /// The subsystem.
        nqn: String,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
        /// Where it listens.
        listen_address: ListenAddress,
    }
}

params! {
    /// Lists the listeners of a subsystem.
    #[method(
        "nvmf_subsystem_get_listeners",
        Runtime,
        "an array of {address: {trtype, adrfam, traddr, trsvcid}, ana_states: array of {ana_group: \
         number, ana_state: string}}"
    )]
    pub struct NvmfSubsystemGetListeners {
        /// The subsystem.
        nqn: String,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
    }
}

params! {
    /// Changes the ANA state of a listener.
    /// Hosts that are connected are told.
    #[method("nvmf_subsystem_listener_set_ana_state", Runtime, "true")]
    pub struct NvmfSubsystemListenerSetAnaState {
        /// The subsystem, which was made with ana_reporting.
        nqn: String,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
        /// The listener's address.
        listen_address: ListenAddress,
        /// The state that it has from now on.
        ana_state: AnaStateWord,
        /// Only of this group; of all if it is absent.
        anagrpid: Option<u32>,
    }
}

params! {
    /// Lets a host connect to a subsystem.
    /// With keys it has to prove who it is (DH-HMAC-CHAP).
    #[method("nvmf_subsystem_add_host", Runtime, "true")]
    pub struct NvmfSubsystemAddHost {
        /// The subsystem.
        nqn: String,
        /// NQN of the host.
        host: String,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
        /// Not supported: there is no TLS.
        psk: Option<String>,
        /// Name of the host's key in the keyring.
        dhchap_key: Option<String>,
        /// Name of the key that we prove who we are with.
        dhchap_ctrlr_key: Option<String>,
    }
}

params! {
    /// Does not let a host connect to a subsystem any more.
    /// It is disconnected.
    #[method("nvmf_subsystem_remove_host", Runtime, "true")]
    pub struct NvmfSubsystemRemoveHost {
        /// The subsystem.
        nqn: String,
        /// NQN of the host.
        host: String,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
        /// Without effect: it is disconnected when this is answered.
        timeout_ms: Option<u64>,
    }
}

params! {
    /// Lets any host connect to a subsystem, or only those that were added.
    #[method("nvmf_subsystem_allow_any_host", Runtime, "true")]
    pub struct NvmfSubsystemAllowAnyHost {
        /// The subsystem.
        nqn: String,
        /// Whether any may.
        allow_any_host: bool,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
    }
}

params! {
    /// Changes the keys of a host.
    /// They hold for connections from now on.
    #[method("nvmf_subsystem_set_keys", Runtime, "true")]
    pub struct NvmfSubsystemSetKeys {
        /// The subsystem.
        nqn: String,
        /// NQN of the host.
        host: String,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
        /// Name of the host's key in the keyring; none if it is absent.
        dhchap_key: Option<String>,
        /// Name of the key that we prove who we are with; none if it is absent.
        dhchap_ctrlr_key: Option<String>,
    }
}

params! {
    /// Lists the controllers of a subsystem, each of which is a host that is connected.
    #[method(
        "nvmf_subsystem_get_controllers",
        Runtime,
        "an array of {cntlid: number, cntrltype, hostnqn, hostid: strings, num_io_qpairs: number}"
    )]
    pub struct NvmfSubsystemGetControllers {
        /// The subsystem.
        nqn: String,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
    }
}

params! {
    /// Lists the queues of a subsystem, each of which is a connection.
    #[method(
        "nvmf_subsystem_get_qpairs",
        Runtime,
        "an array of {cntlid, qid: numbers, state, thread, hostnqn: strings, listen_address, \
         peer_address: objects}"
    )]
    pub struct NvmfSubsystemGetQpairs {
        /// The subsystem.
        nqn: String,
        /// Without effect: there is one target.
        tgt_name: Option<String>,
    }
}

params! {
    /// Counts connections and commands of each reactor.
    #[method(
        "nvmf_get_stats",
        Runtime,
        "{tick_rate: number, poll_groups: array of {name: string, admin_qpairs, io_qpairs, \
         current_admin_qpairs, current_io_qpairs, current_unassociated_qpairs, pending_bdev_io, \
         completed_nvme_io: numbers, transports: array}}"
    )]
    pub struct NvmfGetStats {
        /// Without effect: there is one target.
        tgt_name: Option<String>,
    }
}

params! {
    /// Adds a key from a file to the keyring.
    /// The file belongs to the user that the service runs as, and nobody else may read or write it.
    #[method("keyring_file_add_key", Both, "true")]
    pub struct KeyringFileAddKey {
        /// Name of the key.
        name: String,
        /// The file, which holds DHHC-1:...: as nvme gen-dhchap-key prints it.
        path: String,
    }
}

params! {
    /// Removes a key that came from a file from the keyring.
    /// A key that a host has is refused.
    #[method("keyring_file_remove_key", Both, "true")]
    pub struct KeyringFileRemoveKey {
        /// Name of the key.
        name: String,
    }
}

params! {
    /// Lists the keys of the keyring, without what is secret.
    #[method(
        "keyring_get_keys",
        Both,
        "an array of {name: string, module: string, removed, probed: booleans, refcnt: number, path: \
         string}"
    )]
    pub struct KeyringGetKeys {}
}
