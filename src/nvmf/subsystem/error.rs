//! Why a change of the model is refused.

use nvme::Nqn;

use super::{Address, BdevFacts, SubsystemSpec};
use crate::nvmf::limits::{CNTLID_MAX, NAMESPACES_BOUND};

/// Why a change of the model is refused. Nothing has been changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// SPDK's clients look for this text.
    #[error("Invalid parameters: Subsystem with NQN '{nqn}' not found")]
    NoSubsystem {
        /// The name.
        nqn: Nqn,
    },
    /// It exists.
    #[error("Unable to create subsystem {nqn}: it exists")]
    SubsystemExists {
        /// The name.
        nqn: Nqn,
    },
    /// A field of a subsystem is wrong.
    #[error("subsystem {nqn}: {field} is \"{value}\", it must be {wanted}")]
    Field {
        /// The name.
        nqn: Nqn,
        /// Which field.
        field: &'static str,
        /// What it is.
        value: String,
        /// What would be right.
        wanted: String,
    },
    /// No such namespace.
    #[error("subsystem {nqn} has no namespace {nsid}")]
    NoNamespace {
        /// The name.
        nqn: Nqn,
        /// The identifier.
        nsid: u32,
    },
    /// The identifier is taken.
    #[error("subsystem {nqn} has a namespace {nsid} already")]
    NamespaceExists {
        /// The name.
        nqn: Nqn,
        /// The identifier.
        nsid: u32,
    },
    /// The identifier is out of range.
    #[error("subsystem {nqn}: namespace identifier {nsid} is out of range, it must be 1 to {max}")]
    NamespaceRange {
        /// The name.
        nqn: Nqn,
        /// The identifier.
        nsid: u32,
        /// The largest.
        max: u32,
    },
    /// The group is out of range.
    #[error("subsystem {nqn}: ANA group {group} is out of range, it must be 1 to {max}")]
    GroupRange {
        /// The name.
        nqn: Nqn,
        /// The group.
        group: u32,
        /// The largest.
        max: u32,
    },
    /// ANA is off.
    #[error("subsystem {nqn} does not report ANA states: it was created without ana_reporting")]
    NoAna {
        /// The name.
        nqn: Nqn,
    },
    /// The subsystem is not reachable there.
    #[error(
        "subsystem {nqn} has no listener {}:{}", .address.address, .address.service
    )]
    NoListener {
        /// The name.
        nqn: Nqn,
        /// Where.
        address: Address,
    },
    /// The subsystem is reachable there.
    #[error(
        "subsystem {nqn} has a listener {}:{} already", .address.address, .address.service
    )]
    ListenerExists {
        /// The name.
        nqn: Nqn,
        /// Where.
        address: Address,
    },
    /// An address that the discovery log cannot name.
    #[error("listener address \"{value}\": {field} must have 1 to {max} bytes of ASCII")]
    Address {
        /// Which part.
        field: &'static str,
        /// What it is.
        value: String,
        /// How long it may be.
        max: usize,
    },
    /// The host is not listed.
    #[error("subsystem {nqn} does not list host {host}")]
    NoHost {
        /// The name.
        nqn: Nqn,
        /// The host.
        host: Nqn,
    },
    /// There is no room.
    #[error("there are {max} {what} already, which is the most there may be")]
    Full {
        /// Of what.
        what: &'static str,
        /// How many.
        max: usize,
    },
}

pub(super) fn check_subsystem(spec: &SubsystemSpec) -> Result<(), TargetError> {
    let field = |field, value: &dyn std::fmt::Display, wanted: String| {
        Err(TargetError::Field { nqn: spec.nqn.clone(), field, value: value.to_string(), wanted })
    };
    let printable = |text: &str, max: usize| {
        text.len() <= max && text.bytes().all(|b| (b' '..=b'~').contains(&b))
    };
    if !printable(&spec.serial, 20) {
        let wanted = "up to 20 printable ASCII characters".to_owned();
        return field("serial_number", &spec.serial, wanted);
    }
    if !printable(&spec.model, 40) {
        let wanted = "up to 40 printable ASCII characters".to_owned();
        return field("model_number", &spec.model, wanted);
    }
    if !(1..=NAMESPACES_BOUND).contains(&spec.namespaces_max) {
        let wanted = format!("1 to {NAMESPACES_BOUND}");
        return field("max_namespaces", &spec.namespaces_max, wanted);
    }
    if !(1..=CNTLID_MAX).contains(&spec.cntlid_min) {
        return field("min_cntlid", &spec.cntlid_min, format!("1 to {CNTLID_MAX}"));
    }
    if !(spec.cntlid_min..=CNTLID_MAX).contains(&spec.cntlid_max) {
        let wanted = format!("min_cntlid ({}) to {CNTLID_MAX}", spec.cntlid_min);
        return field("max_cntlid", &spec.cntlid_max, wanted);
    }
    Ok(())
}

pub(super) fn check_group(nqn: &Nqn, group: u32, max: u32) -> Result<(), TargetError> {
    match (1..=max).contains(&group) {
        true => Ok(()),
        false => Err(TargetError::GroupRange { nqn: nqn.clone(), group, max }),
    }
}

pub(super) fn check_bdev(nqn: &Nqn, bdev: &BdevFacts) -> Result<(), TargetError> {
    let size = bdev.block_size_bytes;
    if size.is_power_of_two() && (512..=4096).contains(&size) && bdev.size_blocks > 0 {
        return Ok(());
    }
    Err(TargetError::Field {
        nqn: nqn.clone(),
        field: "the bdev of a namespace",
        value: format!("{} blocks of {size} bytes", bdev.size_blocks),
        wanted: "at least one block of 512 to 4096 bytes".to_owned(),
    })
}

pub(super) fn check_address(address: &Address) -> Result<(), TargetError> {
    for (field, value, max) in
        [("traddr", &address.address, 255), ("trsvcid", &address.service, 31)]
    {
        if value.is_empty() || value.len() > max || !value.is_ascii() {
            return Err(TargetError::Address { field, value: value.clone(), max });
        }
    }
    Ok(())
}
