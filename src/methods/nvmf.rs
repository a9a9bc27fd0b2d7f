//! Methods of the NVMe/TCP target.
//!
//! Codes are SPDK's: -32602 for what is wrong with the parameters, which includes a subsystem that does not
//! exist, -32603 for what cannot be made. Texts begin with the words that its clients look for.
//!
//! Not here: the target (`nvmf`), claims (`control`), saving (`save_nvmf`), reading (`nvmf_get`).

use std::net::SocketAddr;

use nvme::Nqn;
use nvme::log::AnaState;
use rpc::RpcError;
use rpc::error::errno;
use rpc::params as p;
use serde_json::Value;

use super::{Call, Context, Effect, errno_error};
use crate::control::{ControlError, NamespaceRequest};
use crate::nvmf::auth::{Group, Hash, Secret};
use crate::nvmf::limits::{
    ADMIN_ENTRIES_MAX, CNTLID_MAX, IO_QUEUES_MAX, NAMESPACES_MAX, SUBSYSTEMS_MAX,
    TRANSFER_BYTES_MAX,
};
use crate::nvmf::shell::{ServiceError, Transport, TransportError, same_address};
use crate::nvmf::subsystem::{Address, HostEntry, SubsystemSpec, TargetError};

/// What is wrong with a parameter, in SPDK's words and then ours.
pub(super) fn invalid(key: &str, value: impl std::fmt::Display, right: &str) -> RpcError {
    RpcError::invalid_params(format_args!("{key} {value}: {right}"))
}

/// The reply for what the target refuses.
pub(super) fn refused_by_target(error: &ServiceError) -> RpcError {
    match error {
        ServiceError::Target(TargetError::NoSubsystem { .. }) => {
            RpcError::new(rpc::error::INVALID_PARAMS, error.to_string())
        }
        ServiceError::Target(TargetError::SubsystemExists { .. })
        | ServiceError::Transport(TransportError::Exists) => RpcError::internal(error.to_string()),
        ServiceError::Listen(error) => {
            let code = error.source.raw_os_error().unwrap_or(errno::EIO);
            errno_error(code, error)
        }
        ServiceError::Stopping => errno_error(errno::ESHUTDOWN, error),
        ServiceError::Transport(_) | ServiceError::Export(_) => {
            RpcError::internal(error.to_string())
        }
        ServiceError::Target(_) | ServiceError::Address { .. } | ServiceError::NoTransport => {
            RpcError::invalid_params(error)
        }
    }
}

fn refused(error: &ControlError) -> RpcError {
    match error {
        ControlError::Nvmf(error) => refused_by_target(error),
        // SPDK says the same of bdevs that are not there and of those that somebody has.
        other => {
            let text = rpc::error::errno_text(other.errno());
            RpcError::invalid_params(format_args!("{text}: {other}"))
        }
    }
}

fn done(outcome: Result<(), ServiceError>) -> Result<Value, RpcError> {
    outcome.map(|()| Value::from(true)).map_err(|error| refused_by_target(&error))
}

/// The name of a subsystem or host.
pub(super) fn nqn(key: &str, text: &str) -> Result<Nqn, RpcError> {
    Nqn::parse(text).map_err(|error| RpcError::invalid_params(format_args!("{key}: {error}")))
}

/// The name of a subsystem that is to be there. What is no name is not there.
pub(super) fn subsystem(text: &str) -> Result<Nqn, RpcError> {
    Nqn::parse(text).map_err(|error| {
        let words = format!("Invalid parameters: Subsystem with NQN '{text}' not found: {error}");
        RpcError::new(rpc::error::INVALID_PARAMS, words)
    })
}

fn address(address: &p::ListenAddress) -> Result<(Address, SocketAddr), RpcError> {
    let p::ListenAddress { trtype, adrfam, traddr, trsvcid } = address;
    same_address(trtype, adrfam.as_deref(), traddr, trsvcid.as_deref())
        .map_err(|error| refused_by_target(&error))
}

pub(super) fn ana_state(word: p::AnaStateWord) -> AnaState {
    match word {
        p::AnaStateWord::Optimized => AnaState::Optimized,
        p::AnaStateWord::NonOptimized => AnaState::NonOptimized,
        p::AnaStateWord::Inaccessible => AnaState::Inaccessible,
    }
}

/// Only TCP.
fn is_tcp(trtype: &str) -> Result<(), RpcError> {
    match trtype.eq_ignore_ascii_case("tcp") {
        true => Ok(()),
        false => Err(invalid("trtype", format_args!("{trtype:?}"), "the transport is TCP")),
    }
}

/// What is not there must not be asked for.
fn only(key: &str, value: impl std::fmt::Display, right: bool, why: &str) -> Result<(), RpcError> {
    if right { Ok(()) } else { Err(invalid(key, value, why)) }
}

impl Call for p::NvmfSetConfig {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        if let Some(passthru) = &self.admin_cmd_passthru {
            let right = "no Admin command is passed through: leave it false";
            only("admin_cmd_passthru", true, !passthru.identify_ctrlr, right)?;
        }
        let policy = self.dup_host_policy.is_none_or(|policy| policy == p::DupHostPolicy::Allow);
        only("dup_host_policy", "restrict_per_listener", policy, "only \"allow\" is supported")?;
        for (key, flags, known) in [
            ("dhchap_digests", &self.dhchap_digests, DIGESTS),
            ("dhchap_dhgroups", &self.dhchap_dhgroups, GROUPS),
        ] {
            let given = flags.iter().flat_map(|flags| flags.0.iter());
            for word in given {
                let right = format!("use some of {}", known.join(", "));
                only(key, format_args!("{word:?}"), known.contains(&word.as_str()), &right)?;
            }
        }
        let chosen = |flags: &Option<p::Flags>, known: &[&str]| -> Option<Vec<usize>> {
            let flags = flags.as_ref()?;
            Some((0..known.len()).filter(|at| flags.0.iter().any(|it| it == known[*at])).collect())
        };
        let hashes = chosen(&self.dhchap_digests, DIGESTS);
        let groups = chosen(&self.dhchap_dhgroups, GROUPS);
        context.control.nvmf().set_authentication(
            hashes.map(|all| all.into_iter().map(|at| Hash::ALL[at]).collect()),
            groups.map(|all| all.into_iter().map(|at| Group::ALL[at]).collect()),
        );
        Ok(Value::from(true))
    }
}

/// In the order of [`Hash::ALL`].
pub(super) const DIGESTS: &[&str] = &["sha256", "sha384", "sha512"];
/// In the order of [`Group::ALL`].
pub(super) const GROUPS: &[&str] =
    &["null", "ffdhe2048", "ffdhe3072", "ffdhe4096", "ffdhe6144", "ffdhe8192"];

impl Call for p::NvmfSetMaxSubsystems {
    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        let fits = self.max_subsystems as usize <= SUBSYSTEMS_MAX;
        let right = format!("there are {SUBSYSTEMS_MAX} at most");
        only("max_subsystems", self.max_subsystems, fits, &right)?;
        Ok(Value::from(true))
    }
}

impl Call for p::NvmfCreateTransport {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        is_tcp(&self.trtype)?;
        only("max_queue_depth", self.max_queue_depth, self.max_queue_depth >= 2, "give 2 or more")?;
        let queues = self.max_io_qpairs_per_ctrlr;
        only("max_io_qpairs_per_ctrlr", queues, queues >= 2, "give 2 or more")?;
        let capsule = self.in_capsule_data_size;
        let fits = capsule.is_multiple_of(16) && capsule <= 128 << 10;
        let right = "give a multiple of 16, at most 131072";
        only("in_capsule_data_size", capsule, fits, right)?;
        let fits = (128 << 10..=TRANSFER_BYTES_MAX).contains(&self.max_io_size);
        only("max_io_size", self.max_io_size, fits, "give 131072 to 1048576")?;
        let entries = 32..=u32::from(ADMIN_ENTRIES_MAX);
        let fits = entries.contains(&self.max_aq_depth);
        only("max_aq_depth", self.max_aq_depth, fits, "give 32 to 128")?;
        let right = "there is no protection information: leave it false";
        only("dif_insert_or_strip", true, !self.dif_insert_or_strip, right)?;
        done(context.control.nvmf().create_transport(Transport {
            in_capsule_bytes: capsule,
            io_queues_max: (queues - 1).min(IO_QUEUES_MAX),
            c2h_success: self.c2h_success,
        }))
    }
}

impl Call for p::NvmfCreateSubsystem {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let name = nqn("nqn", &self.nqn)?;
        for (key, is_default) in [
            ("dmrsl", self.dmrsl == 0),
            ("wzsl", self.wzsl == 0),
            ("passthrough", !self.passthrough),
            ("enable_nssr", !self.enable_nssr),
        ] {
            only(key, "", is_default, "it is not supported: leave it out")?;
        }
        let namespaces_max =
            if self.max_namespaces == 0 { NAMESPACES_MAX } else { self.max_namespaces };
        done(context.control.nvmf().add_subsystem(SubsystemSpec {
            serial: self.serial_number.unwrap_or_else(|| serial_of(&name)),
            model: self.model_number.unwrap_or_else(|| MODEL.to_owned()),
            nqn: name,
            namespaces_max,
            cntlid_min: self.min_cntlid,
            cntlid_max: self.max_cntlid.min(CNTLID_MAX),
            allow_any_host: self.allow_any_host,
            ana_reporting: self.ana_reporting,
        }))
    }
}

const MODEL: &str = "raid456";

/// The serial number of a subsystem that was given none: the same for the same name (FNV-1a, 64 bits).
fn serial_of(nqn: &Nqn) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("R456{:016X}", nqn.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

impl Call for p::NvmfDeleteSubsystem {
    const EFFECT: Effect = Effect::DeletesSubsystem;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let name = subsystem(&self.nqn)?;
        let deleted = context.control.delete_subsystem(&name);
        deleted.map(|()| Value::from(true)).map_err(|error| refused(&error))
    }
}

impl Call for p::NvmfSubsystemAddNs {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let name = subsystem(&self.nqn)?;
        let p::NamespaceParam { bdev_name, nsid, nguid, eui64, uuid, anagrpid, .. } =
            self.namespace;
        let right = "there are no reservations: leave it out";
        only("ptpl_file", "", self.namespace.ptpl_file.is_none(), right)?;
        let visible = self.namespace.no_auto_visible != Some(true);
        only("no_auto_visible", true, visible, "every host sees every namespace: leave it out")?;
        let request = NamespaceRequest {
            nqn: name,
            bdev: bdev_name,
            nsid: nsid.filter(|nsid| *nsid != 0),
            uuid,
            nguid: nguid.map(|text| digits::<16>("nguid", &text)).transpose()?,
            eui64: eui64.map(|text| digits::<8>("eui64", &text)).transpose()?,
            ana_group: anagrpid.filter(|group| *group != 0),
        };
        context.control.export(request).map(Value::from).map_err(|error| refused(&error))
    }
}

/// Bytes in hexadecimal digits, among which dashes may stand.
fn digits<const N: usize>(key: &str, text: &str) -> Result<[u8; N], RpcError> {
    let wrong = || {
        let right = format!("give {} hexadecimal digits", 2 * N);
        invalid(key, format_args!("{text:?}"), &right)
    };
    let plain: String = text.chars().filter(|one| *one != '-').collect();
    if plain.len() != 2 * N || !plain.bytes().all(|one| one.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let pair = &plain[2 * at..2 * at + 2];
        *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

impl Call for p::NvmfSubsystemRemoveNs {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let name = subsystem(&self.nqn)?;
        let removed = context.control.unexport(&name, self.nsid);
        removed.map(|()| Value::from(true)).map_err(|error| refused(&error))
    }
}

impl Call for p::NvmfSubsystemAddListener {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let name = subsystem(&self.nqn)?;
        let right = "there is no TLS: leave it out";
        only("secure_channel", true, self.secure_channel != Some(true), right)?;
        let state = self.ana_state.map_or(AnaState::Optimized, ana_state);
        let address = address(&self.listen_address)?;
        done(context.control.nvmf().add_listener(&name, address, state))
    }
}

impl Call for p::NvmfSubsystemRemoveListener {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let (name, address) = (subsystem(&self.nqn)?, address(&self.listen_address)?.0);
        done(context.control.nvmf().remove_listener(&name, &address))
    }
}

impl Call for p::NvmfSubsystemListenerSetAnaState {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let (name, address) = (subsystem(&self.nqn)?, address(&self.listen_address)?.0);
        let state = ana_state(self.ana_state);
        done(context.control.nvmf().set_ana_state(&name, &address, self.anagrpid, state))
    }
}

/// The keys of a host, which have to be there.
fn keys(
    context: Context<'_>,
    key: Option<String>,
    controller_key: Option<String>,
) -> Result<HostEntry, RpcError> {
    for name in [&key, &controller_key].into_iter().flatten() {
        let found = context.control.keyring().get(name);
        let found = found.map_err(|error| RpcError::invalid_params(error.to_string()))?;
        Secret::parse(found.secret.expose())
            .map_err(|error| RpcError::invalid_params(format_args!("key {name:?}: {error}")))?;
    }
    if key.is_none() && controller_key.is_some() {
        let right = "it needs dhchap_key too: a host that proves nothing asks for no proof";
        return Err(invalid("dhchap_ctrlr_key", "", right));
    }
    Ok(HostEntry { key, controller_key })
}

impl Call for p::NvmfSubsystemAddHost {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let (name, host) = (subsystem(&self.nqn)?, nqn("host", &self.host)?);
        only("psk", "", self.psk.is_none(), "there is no TLS: leave it out")?;
        let entry = keys(context, self.dhchap_key, self.dhchap_ctrlr_key)?;
        done(context.control.nvmf().add_host(&name, host, entry))
    }
}

impl Call for p::NvmfSubsystemSetKeys {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let (name, host) = (subsystem(&self.nqn)?, nqn("host", &self.host)?);
        let entry = keys(context, self.dhchap_key, self.dhchap_ctrlr_key)?;
        done(context.control.nvmf().set_keys(&name, host, entry))
    }
}

impl Call for p::NvmfSubsystemRemoveHost {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let (name, host) = (subsystem(&self.nqn)?, nqn("host", &self.host)?);
        done(context.control.nvmf().remove_host(&name, &host))
    }
}

impl Call for p::NvmfSubsystemAllowAnyHost {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let name = subsystem(&self.nqn)?;
        done(context.control.nvmf().allow_any_host(&name, self.allow_any_host))
    }
}
