//! Methods that describe the NVMe/TCP target, and those of the keyring.
//!
//! Not here: methods that change the target (`nvmf`).

use std::path::Path;

use nvme::Nqn;
use nvme::log::AnaState;
use rpc::RpcError;
use rpc::error::errno;
use rpc::params as p;
use rpc::results::{
    AddressEntry, AnaEntry, ControllerEntry, HostEntry, KeyEntry, ListenerEntry, NamespaceEntry,
    NvmSubsystemPart, NvmfStatsReply, NvmfSubsystemEntry, PollGroupEntry, PollGroupTransport,
    QpairEntry, TransportEntry,
};
use serde_json::Value;
use uuid::Uuid;

use super::framework::{TICK_RATE, thread_name};
use super::nvmf::{refused_by_target, subsystem as name_of};
use super::{Call, Context, Effect, errno_error, json};
use crate::keyring::KeyError;
use crate::nvmf::controller::Kind;
use crate::nvmf::limits::{
    ADMIN_ENTRIES_MAX, MAX_H2C_DATA_BYTES, QUEUE_ENTRIES_MAX, TRANSFER_BYTES_MAX,
};
use crate::nvmf::shell::ServiceError;
use crate::nvmf::subsystem::{Address, Subsystem, TargetError};

impl Call for p::NvmfGetTransports {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let transport = context.control.nvmf().transport();
        if let Some(trtype) = &self.trtype
            && (transport.is_none() || !trtype.eq_ignore_ascii_case("tcp"))
        {
            let detail = format_args!("transport {trtype:?}: nvmf_create_transport makes TCP");
            return Err(errno_error(errno::ENODEV, detail));
        }
        let entry = |transport: crate::nvmf::shell::Transport| TransportEntry {
            trtype: "TCP".to_owned(),
            max_queue_depth: QUEUE_ENTRIES_MAX.into(),
            max_io_qpairs_per_ctrlr: u32::from(transport.io_queues_max) + 1,
            in_capsule_data_size: transport.in_capsule_bytes,
            max_io_size: TRANSFER_BYTES_MAX,
            io_unit_size: MAX_H2C_DATA_BYTES,
            max_aq_depth: ADMIN_ENTRIES_MAX.into(),
            iobuf_small_cache_size: 0,
            iobuf_large_cache_size: 0,
            dif_insert_or_strip: false,
            zcopy: false,
            c2h_success: transport.c2h_success,
            sock_priority: 0,
            abort_timeout_sec: 1,
        };
        json(transport.into_iter().map(entry).collect::<Vec<_>>())
    }
}

pub(super) fn address_entry(address: &Address) -> AddressEntry {
    AddressEntry {
        trtype: "TCP".to_owned(),
        adrfam: if address.ipv6 { "IPv6" } else { "IPv4" }.to_owned(),
        traddr: address.address.clone(),
        trsvcid: address.service.clone(),
    }
}

/// The discovery subsystem, which is found wherever somebody listens.
fn discovery(context: Context<'_>) -> NvmfSubsystemEntry {
    NvmfSubsystemEntry {
        nqn: Nqn::discovery().to_string(),
        subtype: "Discovery".to_owned(),
        listen_addresses: context.control.nvmf().addresses().iter().map(address_entry).collect(),
        allow_any_host: true,
        hosts: Vec::new(),
        nvm: None,
    }
}

/// Names of bdevs by subsystem and identifier.
pub(super) type Names = std::collections::BTreeMap<(Nqn, u32), String>;

pub(super) fn bdev_names(control: &crate::control::Control) -> Names {
    let exports = control.nvmf().exports().into_iter();
    exports.map(|(nqn, nsid, bdev)| ((nqn, nsid), bdev.name())).collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn subsystem_entry(subsystem: &Subsystem, names: &Names) -> NvmfSubsystemEntry {
    let spec = &subsystem.spec;
    let host = |(nqn, entry): (&Nqn, &crate::nvmf::subsystem::HostEntry)| HostEntry {
        nqn: nqn.to_string(),
        dhchap_key: entry.key.clone(),
        dhchap_ctrlr_key: entry.controller_key.clone(),
    };
    let namespaces = subsystem.namespaces.iter().map(|(nsid, entry)| {
        let name = names.get(&(spec.nqn.clone(), *nsid)).cloned().unwrap_or_default();
        NamespaceEntry {
            nsid: *nsid,
            bdev_name: name.clone(),
            name,
            nguid: Some(hex(&entry.ids.nguid)),
            eui64: (entry.ids.eui64 != [0; 8]).then(|| hex(&entry.ids.eui64)),
            uuid: Some(Uuid::from_bytes(entry.ids.uuid).to_string()),
            anagrpid: spec.ana_reporting.then_some(entry.ana_group),
        }
    });
    NvmfSubsystemEntry {
        nqn: spec.nqn.to_string(),
        subtype: "NVMe".to_owned(),
        listen_addresses: subsystem.listeners.keys().map(address_entry).collect(),
        allow_any_host: spec.allow_any_host,
        hosts: subsystem.hosts.iter().map(host).collect(),
        nvm: Some(NvmSubsystemPart {
            serial_number: spec.serial.clone(),
            model_number: spec.model.clone(),
            max_namespaces: spec.namespaces_max,
            passthrough: false,
            min_cntlid: spec.cntlid_min,
            max_cntlid: spec.cntlid_max,
            dmrsl: 0,
            wzsl: 0,
            namespaces: namespaces.collect(),
            ana_reporting: spec.ana_reporting,
        }),
    }
}

/// A subsystem that has to be there.
fn found(context: Context<'_>, nqn: &str) -> Result<Subsystem, RpcError> {
    let nqn = name_of(nqn)?;
    let subsystems = context.control.nvmf().subsystems().into_iter();
    subsystems
        .into_iter()
        .find(|subsystem| subsystem.spec.nqn == nqn)
        .ok_or_else(|| refused_by_target(&ServiceError::Target(TargetError::NoSubsystem { nqn })))
}

impl Call for p::NvmfGetSubsystems {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let names = bdev_names(context.control);
        match self.nqn {
            Some(nqn) if nqn == Nqn::discovery().as_str() => json([discovery(context)]),
            Some(nqn) => json([subsystem_entry(&found(context, &nqn)?, &names)]),
            None => {
                let subsystems = context.control.nvmf().subsystems();
                let others = subsystems.iter().map(|one| subsystem_entry(one, &names));
                json(std::iter::once(discovery(context)).chain(others).collect::<Vec<_>>())
            }
        }
    }
}

pub(super) fn state_word(state: AnaState) -> &'static str {
    match state {
        AnaState::Optimized => "optimized",
        AnaState::NonOptimized => "non_optimized",
        AnaState::Inaccessible | AnaState::PersistentLoss | AnaState::Change => "inaccessible",
    }
}

impl Call for p::NvmfSubsystemGetListeners {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let subsystem = found(context, &self.nqn)?;
        let spec = &subsystem.spec;
        let groups = 0..if spec.ana_reporting { spec.namespaces_max } else { 0 };
        let entries = subsystem.listeners.iter().map(|(address, listener)| ListenerEntry {
            address: address_entry(address),
            ana_states: groups
                .clone()
                .map(|below| below + 1)
                .map(|group| AnaEntry {
                    ana_group: group,
                    ana_state: state_word(
                        listener.groups.get(&group).copied().unwrap_or(listener.state),
                    )
                    .to_owned(),
                })
                .collect(),
        });
        json(entries.collect::<Vec<_>>())
    }
}

impl Call for p::NvmfSubsystemGetControllers {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let nqn = found(context, &self.nqn)?.spec.nqn;
        let associations = context.control.nvmf().associations();
        let of_it = associations.values().filter(|one| one.nqn == nqn);
        let entries = of_it.map(|one| ControllerEntry {
            cntlid: one.cntlid,
            cntrltype: match one.kind {
                Kind::Io => "io",
                Kind::Discovery => "discovery",
            }
            .to_owned(),
            hostnqn: one.host.to_string(),
            hostid: Uuid::from_bytes(one.host_id).to_string(),
            num_io_qpairs: one.io_queues.len() as u32,
        });
        json(entries.collect::<Vec<_>>())
    }
}

impl Call for p::NvmfSubsystemGetQpairs {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let nqn = found(context, &self.nqn)?.spec.nqn;
        let nvmf = context.control.nvmf();
        let associations = nvmf.associations();
        let entries = nvmf.links().into_iter().filter_map(|link| {
            let (association, qid) = link.queue?;
            let association = associations.get(&association).filter(|one| one.nqn == nqn)?;
            let (ip, port) = (link.peer.ip(), link.peer.port());
            let peer =
                Address { ipv6: ip.is_ipv6(), address: ip.to_string(), service: port.to_string() };
            Some(QpairEntry {
                cntlid: association.cntlid,
                qid,
                state: if link.is_closed { "deactivating" } else { "active" }.to_owned(),
                thread: thread_name(link.reactor),
                hostnqn: association.host.to_string(),
                listen_address: address_entry(&link.address),
                peer_address: address_entry(&peer),
            })
        });
        json(entries.collect::<Vec<_>>())
    }
}

impl Call for p::NvmfGetStats {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let nvmf = context.control.nvmf();
        let transports: Vec<_> = nvmf
            .transport()
            .map(|_| PollGroupTransport { trtype: "TCP".to_owned() })
            .into_iter()
            .collect();
        let groups = nvmf.stats().into_iter().enumerate().map(|(index, stats)| PollGroupEntry {
            name: thread_name(index),
            admin_qpairs: stats.admin_queues,
            io_qpairs: stats.io_queues,
            current_admin_qpairs: stats.admin_queues_now,
            current_io_qpairs: stats.io_queues_now,
            current_unassociated_qpairs: stats.unassociated_now,
            pending_bdev_io: stats.pending_requests,
            completed_nvme_io: stats.completed,
            transports: transports.clone(),
            free_buffer_bytes: stats.free_buffer_bytes,
        });
        json(NvmfStatsReply { tick_rate: TICK_RATE, poll_groups: groups.collect() })
    }
}

fn key_refused(error: &KeyError) -> RpcError {
    let code = match error {
        KeyError::Exists { .. } => errno::EEXIST,
        KeyError::NoSuchKey { .. } => errno::ENOENT,
        KeyError::InUse { .. } => errno::EBUSY,
        KeyError::Full { .. } => errno::ENOSPC,
        KeyError::File { .. } => errno::EINVAL,
    };
    errno_error(code, error)
}

impl Call for p::KeyringFileAddKey {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let added = context.control.keyring().add_file(&self.name, Path::new(&self.path));
        added.map(|()| Value::from(true)).map_err(|error| key_refused(&error))
    }
}

/// Hosts that have a key.
fn users(context: Context<'_>, key: &str) -> Vec<String> {
    let subsystems = context.control.nvmf().subsystems();
    let hosts = subsystems.iter().flat_map(|subsystem| subsystem.hosts.iter());
    let has = |entry: &crate::nvmf::subsystem::HostEntry| {
        entry.key.as_deref() == Some(key) || entry.controller_key.as_deref() == Some(key)
    };
    hosts.filter(|(_, entry)| has(entry)).map(|(nqn, _)| nqn.to_string()).collect()
}

impl Call for p::KeyringFileRemoveKey {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let user = users(context, &self.name).into_iter().next();
        let removed = context.control.keyring().remove(&self.name, user);
        removed.map(|()| Value::from(true)).map_err(|error| key_refused(&error))
    }
}

impl Call for p::KeyringGetKeys {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let entries = context.control.keyring().list().into_iter().map(|(name, key)| KeyEntry {
            module: "keyring_file".to_owned(),
            removed: false,
            probed: true,
            refcnt: users(context, &name).len() as u32,
            path: key.path.to_string_lossy().into_owned(),
            name,
        });
        json(entries.collect::<Vec<_>>())
    }
}
