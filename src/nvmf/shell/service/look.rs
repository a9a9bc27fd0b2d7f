//! What is seen of the target by those who only look on.
//!
//! A change may hold the model for as long as a device takes, and nobody who looks on waits for one: then what
//! was seen last is told again.
//!
//! Not here: SPDK's statistics of poll groups, for which reactors are asked (`Service::stats`).

use std::sync::{PoisonError, TryLockError};
use std::thread;

use nvme::Nqn;

use super::{Inner, Service};
use crate::limits::{REGISTRY_TRIES, REGISTRY_TRY_WAIT};
use crate::nvmf::shell::TrafficView;

/// A subsystem, who is connected to it, and what they did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubsystemLook {
    /// Its name.
    pub nqn: Nqn,
    /// Serial number.
    pub serial: String,
    /// Model number.
    pub model: String,
    /// Namespaces.
    pub namespaces: u64,
    /// Listeners.
    pub listeners: u64,
    /// Controllers.
    pub controllers: u64,
    /// I/O queues of those.
    pub io_queues: u64,
    /// What was done since it was made, as of up to a second ago.
    pub traffic: TrafficView,
}

/// The target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetLook {
    /// In the order of their names, without the discovery subsystem.
    pub subsystems: Vec<SubsystemLook>,
    /// Connections that are open, of whatever is connected or not yet.
    pub connections: u64,
    /// Connections that are closed while bdevs have requests of them.
    pub connections_closing: u64,
    /// Connects that were refused since the start.
    pub connects_refused: u64,
}

impl Inner {
    fn look(&self) -> TargetLook {
        let subsystems = self.target.subsystems().values().map(|subsystem| {
            let nqn = &subsystem.spec.nqn;
            let associations = self.target.associations().values().filter(|one| one.nqn == *nqn);
            let queues = associations.map(|one| one.io_queues.len() as u64);
            let (controllers, io_queues) = queues.fold((0, 0), |sum, io| (sum.0 + 1, sum.1 + io));
            SubsystemLook {
                nqn: nqn.clone(),
                serial: subsystem.spec.serial.clone(),
                model: subsystem.spec.model.clone(),
                namespaces: subsystem.namespaces.len() as u64,
                listeners: subsystem.listeners.len() as u64,
                controllers,
                io_queues,
                traffic: self.traffic.get(nqn).map(|traffic| traffic.view()).unwrap_or_default(),
            }
        });
        let subsystems = subsystems.collect();
        let closing = self.links.values().filter(|record| record.view.is_closed).count() as u64;
        TargetLook {
            subsystems,
            connections: self.links.len() as u64 - closing,
            connections_closing: closing,
            connects_refused: self.refused,
        }
    }
}

impl Service {
    /// The target as it is, or as it was a moment ago.
    #[must_use]
    pub fn look(&self) -> TargetLook {
        let last = || self.last_look.lock().unwrap_or_else(PoisonError::into_inner);
        for attempt in 0..REGISTRY_TRIES {
            if attempt > 0 {
                thread::park_timeout(REGISTRY_TRY_WAIT);
            }
            let look = match self.shared.inner.try_lock() {
                Ok(inner) => inner.look(),
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().look(),
                Err(TryLockError::WouldBlock) => continue,
            };
            last().clone_from(&look);
            return look;
        }
        last().clone()
    }
}
