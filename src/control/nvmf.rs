//! Bdevs as namespaces: the target's changes that the registry has to know of.
//!
//! A bdev that is a namespace is claimed for it, so it is neither deleted nor made a member meanwhile.
//!
//! Not here: the target itself (`nvmf::shell`), JSON (`methods`).

use array::RaidBdev;
use nvme::Nqn;
use raid::member::MemberState;
use uuid::Uuid;

use super::Control;
use super::error::ControlError;
use super::hints::hints_of;
use super::registry::{Claim, Entry};
use crate::nvmf::shell::Service;
use crate::nvmf::view::{Health, Identifiers};

/// A bdev to be made a namespace.
#[derive(Clone, Debug)]
pub struct NamespaceRequest {
    /// The subsystem.
    pub nqn: Nqn,
    /// The bdev, by name or alias.
    pub bdev: String,
    /// Its identifier; the lowest free one if there is none.
    pub nsid: Option<u32>,
    /// UUID; the bdev's if there is none.
    pub uuid: Option<Uuid>,
    /// NGUID; the UUID's bytes if there is none.
    pub nguid: Option<[u8; 16]>,
    /// EUI64.
    pub eui64: Option<[u8; 8]>,
    /// ANA group; one of its own if there is none.
    pub ana_group: Option<u32>,
}

impl Control {
    /// The NVMe/TCP target.
    pub fn nvmf(&self) -> &Service {
        &self.nvmf
    }

    /// Makes a bdev a namespace; the answer is its identifier.
    ///
    /// # Errors
    ///
    /// When there is no such bdev, somebody uses it, or the target refuses.
    pub fn export(&self, request: NamespaceRequest) -> Result<u32, ControlError> {
        let mut state = self.state();
        state.admit_change(&request.bdev)?;
        let entry = state.registry.get(&request.bdev)?;
        if let Some(claim) = entry.claim.clone() {
            return Err(ControlError::InUse { name: request.bdev, claim });
        }
        state.registry.check_rest(&request.bdev)?;
        let bdev = std::sync::Arc::clone(&entry.bdev);
        let strip_bytes = hints_of(&state.registry, &entry.name()).min_bytes;
        let uuid = request.uuid.unwrap_or(bdev.info().uuid).into_bytes();
        let ids = Identifiers {
            uuid,
            nguid: request.nguid.unwrap_or(uuid),
            eui64: request.eui64.unwrap_or_default(),
        };
        let spec = (request.nsid, ids, request.ana_group);
        let nsid = self.nvmf.add_namespace(&request.nqn, &bdev, strip_bytes, spec)?;
        let claim = Claim::Namespace { nqn: request.nqn.to_string(), nsid };
        self.nvmf.set_health(
            &bdev.name(),
            state.registry.find(&bdev.name()).map_or(Health::Whole, health_of),
        );
        state.registry.claim_one(&bdev, claim);
        Ok(nsid)
    }

    /// Something has happened to the array, or the arrays of the mapped device, of that name.
    pub(super) fn look_at_health(&self, name: &str) {
        let state = self.state();
        if let Some(entry) = state.registry.find(name) {
            self.nvmf.set_health(&entry.name(), health_of(entry));
        }
    }

    /// Takes a namespace out of its subsystem.
    ///
    /// # Errors
    ///
    /// When there is no such namespace.
    pub fn unexport(&self, nqn: &Nqn, nsid: u32) -> Result<(), ControlError> {
        // Its claim keeps the bdev where it is while requests end.
        let bdev = self.nvmf.remove_namespace(nqn, nsid)?;
        if let Some(bdev) = bdev {
            self.state().registry.release(&bdev.name());
        }
        self.remove_deferred();
        Ok(())
    }

    /// Removes a subsystem with its namespaces.
    ///
    /// # Errors
    ///
    /// When there is no such subsystem.
    pub fn delete_subsystem(&self, nqn: &Nqn) -> Result<(), ControlError> {
        let bdevs = self.nvmf.remove_subsystem(nqn)?;
        let mut state = self.state();
        for bdev in bdevs {
            state.registry.release(&bdev.name());
        }
        drop(state);
        self.remove_deferred();
        Ok(())
    }
}

/// How well a bdev is: an array, or the arrays of a mapped device; of others nothing is known.
fn health_of(entry: &Entry) -> Health {
    let mapped = entry.mapped().map(|device| device.raids()).unwrap_or_default();
    entry
        .raid()
        .into_iter()
        .chain(&mapped)
        .map(|raid| health_of_array(raid))
        .max()
        .unwrap_or_default()
}

fn health_of_array(raid: &RaidBdev) -> Health {
    let seen = raid.snapshot();
    let whole = seen.members.iter().all(|member| member.state == MemberState::InSync);
    match (seen.broken, whole) {
        (true, _) => Health::Broken,
        (false, false) => Health::Degraded,
        (false, true) => Health::Whole,
    }
}
