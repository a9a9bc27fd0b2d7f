//! What is exported, and the keyring, as calls that would make them again.
//!
//! Not here: bdevs (`save`), files (`state`).

use nvme::log::AnaState;
use rpc::params as p;
use rpc::schema::Params;
use serde_json::{Value, json};
use uuid::Uuid;

use super::nvmf::{DIGESTS, GROUPS};
use super::nvmf_get::{Names, address_entry, bdev_names, hex, state_word};
use crate::control::Control;
use crate::nvmf::auth::{Group, Hash};
use crate::nvmf::shell::Transport;
use crate::nvmf::subsystem::{Address, Listener, Subsystem};

/// The calls that would make the keyring.
pub(super) fn keyring_calls(control: &Control) -> Vec<Value> {
    let call = |(name, key): (String, crate::keyring::Key)| {
        let path = key.path.to_string_lossy().into_owned();
        call::<p::KeyringFileAddKey>(json!({ "name": name, "path": path }))
    };
    control.keyring().list().into_iter().map(call).collect()
}

/// The calls that would make the target.
pub(super) fn nvmf_calls(control: &Control) -> Vec<Value> {
    let nvmf = control.nvmf();
    let names = bdev_names(control);
    let mut calls: Vec<Value> = authentication(control).into_iter().collect();
    calls.extend(nvmf.transport().map(transport));
    for subsystem in nvmf.subsystems() {
        calls.extend(subsystem_calls(&subsystem, &names));
    }
    calls
}

fn call<P: Params>(given: Value) -> Value {
    json!({ "method": P::METHOD.name, "params": given })
}

/// Only what is not the default.
fn authentication(control: &Control) -> Option<Value> {
    let (hashes, groups) = control.nvmf().authentication();
    let mut params = json!({});
    if hashes != Hash::ALL {
        let words = (0..).zip(Hash::ALL).filter(|(_, hash)| hashes.contains(hash));
        params["dhchap_digests"] = words.map(|(at, _): (usize, _)| DIGESTS[at]).collect();
    }
    if groups != Group::ALL {
        let words = (0..).zip(Group::ALL).filter(|(_, group)| groups.contains(group));
        params["dhchap_dhgroups"] = words.map(|(at, _): (usize, _)| GROUPS[at]).collect();
    }
    params.as_object().is_some_and(|all| !all.is_empty()).then(|| call::<p::NvmfSetConfig>(params))
}

fn transport(transport: Transport) -> Value {
    let Transport { in_capsule_bytes, io_queues_max, c2h_success } = transport;
    call::<p::NvmfCreateTransport>(json!({
        "trtype": "TCP",
        "max_io_qpairs_per_ctrlr": io_queues_max + 1,
        "in_capsule_data_size": in_capsule_bytes,
        "c2h_success": c2h_success,
    }))
}

fn subsystem_calls(subsystem: &Subsystem, names: &Names) -> Vec<Value> {
    let spec = &subsystem.spec;
    let nqn = spec.nqn.as_str();
    let mut calls = vec![call::<p::NvmfCreateSubsystem>(json!({
        "nqn": nqn,
        "allow_any_host": spec.allow_any_host,
        "serial_number": spec.serial,
        "model_number": spec.model,
        "max_namespaces": spec.namespaces_max,
        "min_cntlid": spec.cntlid_min,
        "max_cntlid": spec.cntlid_max,
        "ana_reporting": spec.ana_reporting,
    }))];
    calls.extend(subsystem.hosts.iter().map(|(host, keys)| {
        let mut params = json!({ "nqn": nqn, "host": host.as_str() });
        for (key, name) in [("dhchap_key", &keys.key), ("dhchap_ctrlr_key", &keys.controller_key)] {
            if let Some(name) = name {
                params[key] = json!(name);
            }
        }
        call::<p::NvmfSubsystemAddHost>(params)
    }));
    calls.extend(subsystem.namespaces.iter().filter_map(|(nsid, entry)| {
        let name = names.get(&(spec.nqn.clone(), *nsid))?;
        let mut namespace = json!({
            "nsid": nsid,
            "bdev_name": name,
            "nguid": hex(&entry.ids.nguid),
            "uuid": Uuid::from_bytes(entry.ids.uuid),
            "anagrpid": entry.ana_group,
        });
        if entry.ids.eui64 != [0; 8] {
            namespace["eui64"] = json!(hex(&entry.ids.eui64));
        }
        Some(call::<p::NvmfSubsystemAddNs>(json!({ "nqn": nqn, "namespace": namespace })))
    }));
    let listeners = subsystem.listeners.iter();
    calls.extend(listeners.flat_map(|(address, listener)| {
        listener_calls(nqn, address, listener, spec.ana_reporting)
    }));
    calls
}

fn listener_calls(nqn: &str, address: &Address, listener: &Listener, ana: bool) -> Vec<Value> {
    let address = json!(address_entry(address));
    let mut params = json!({ "nqn": nqn, "listen_address": address });
    if ana && listener.state != AnaState::Optimized {
        params["ana_state"] = json!(state_word(listener.state));
    }
    let mut calls = vec![call::<p::NvmfSubsystemAddListener>(params)];
    let groups = listener.groups.iter().filter(|_| ana);
    calls.extend(groups.map(|(group, state)| {
        call::<p::NvmfSubsystemListenerSetAnaState>(json!({
            "nqn": nqn,
            "listen_address": address,
            "ana_state": state_word(*state),
            "anagrpid": group,
        }))
    }));
    calls
}
