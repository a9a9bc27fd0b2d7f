//! What a controller sees of its subsystem through its listener: namespaces and ANA states. Immutable.
//!
//! Every change makes a new view with a higher generation; queues on every reactor share it by `Arc` and
//! get the new one by message.
//!
//! Not here: who makes them (`subsystem`).

use device::IoTypes;
use nvme::Status;
use nvme::log::AnaState;

/// What never changes about a namespace while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identifiers {
    /// UUID.
    pub uuid: [u8; 16],
    /// NGUID.
    pub nguid: [u8; 16],
    /// EUI64; zero if there is none.
    pub eui64: [u8; 8],
}

/// How well the storage below a namespace is, as far as hosts are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Health {
    /// As it should be.
    #[default]
    Whole,
    /// An array works without a member, or a member of it is being rebuilt.
    Degraded,
    /// An array has lost more than its parity stands for: nothing can be written.
    Broken,
}

/// A namespace as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its identifier, from 1.
    pub nsid: u32,
    /// What it is known by.
    pub ids: Identifiers,
    /// ANAGRPID.
    pub ana_group: u32,
    /// State of that group through this listener.
    pub ana_state: AnaState,
    /// Bytes in a logical block: 512 or 4096.
    pub block_size_bytes: u32,
    /// Size, in logical blocks.
    pub size_blocks: u64,
    /// Writes of multiples of this many bytes, so aligned, are best; 0 is no preference.
    pub optimal_write_bytes: u32,
    /// Strip of the array below, in bytes: writes inside of one touch one member less; 0 is none.
    pub strip_bytes: u32,
    /// Whether a completed write may be lost with the power until a flush.
    pub volatile_cache: bool,
    /// Whether deallocated blocks read as zeroes.
    pub unmap_reads_zero: bool,
    /// Requests that the bdev serves.
    pub supported: IoTypes,
    /// How well its bdev is.
    pub health: Health,
    /// The shell's own name for the bdev; nobody here looks at it.
    pub key: u64,
}

impl Namespace {
    /// Size, in bytes.
    #[inline]
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_blocks * u64::from(self.block_size_bytes)
    }
}

/// Namespaces and ANA states as seen through one listener.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct View {
    /// Rises with every change.
    pub generation: u64,
    /// In the order of their identifiers.
    pub namespaces: Vec<Namespace>,
    /// ANA groups that have namespaces: group, state through this listener. In order.
    pub groups: Vec<(u32, AnaState)>,
    /// Change count of ANA states.
    pub ana_changes: u64,
    /// MNAN and NN: the largest namespace identifier.
    pub namespaces_max: u32,
}

impl View {
    /// A namespace by its identifier.
    ///
    /// # Errors
    /// `Invalid Namespace or Format` if there is none (Base, 3.2.1.5).
    #[inline]
    pub fn namespace(&self, nsid: u32) -> Result<&Namespace, Status> {
        // Identifiers are usually without gaps.
        let guess = (nsid as usize).wrapping_sub(1);
        if let Some(namespace) = self.namespaces.get(guess)
            && namespace.nsid == nsid
        {
            return Ok(namespace);
        }
        let found = self.namespaces.binary_search_by_key(&nsid, |namespace| namespace.nsid);
        found.map(|at| &self.namespaces[at]).map_err(|_| Status::INVALID_NAMESPACE.finally())
    }

    /// How well its worst namespace is, and its best.
    #[must_use]
    pub fn health(&self) -> (Health, Health) {
        let all = || self.namespaces.iter().map(|namespace| namespace.health);
        (all().max().unwrap_or_default(), all().min().unwrap_or_default())
    }

    /// Whether an identifier may ever name a namespace (Base, 3.2.1.1).
    #[must_use]
    pub fn is_valid(&self, nsid: u32) -> bool {
        (1..=self.namespaces_max).contains(&nsid)
    }
}

/// The status of I/O through a listener in this state (Base, 8.1.3). Without DNR: another path may do.
///
/// # Errors
/// If there is no I/O in it.
#[inline]
pub fn check_ana(state: AnaState) -> Result<(), Status> {
    match state {
        AnaState::Optimized | AnaState::NonOptimized => Ok(()),
        AnaState::Inaccessible => Err(Status::ANA_INACCESSIBLE),
        AnaState::PersistentLoss => Err(Status::ANA_PERSISTENT_LOSS),
        AnaState::Change => Err(Status::ANA_TRANSITION),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A namespace of 1000 blocks of 512 bytes.
    pub(crate) fn namespace(nsid: u32) -> Namespace {
        Namespace {
            nsid,
            ids: Identifiers { uuid: [nsid as u8; 16], nguid: [nsid as u8; 16], eui64: [0; 8] },
            ana_group: 1,
            ana_state: AnaState::Optimized,
            block_size_bytes: 512,
            size_blocks: 1000,
            optimal_write_bytes: 0,
            strip_bytes: 0,
            volatile_cache: true,
            unmap_reads_zero: true,
            supported: IoTypes::ALL,
            health: Health::Whole,
            key: 0,
        }
    }

    /// Goal: a namespace is found by its identifier and by nothing else. Method: every small set.
    #[test]
    fn namespaces_are_found() {
        for set in 0_u32..1 << 6 {
            let nsids: Vec<u32> = (1..=6).filter(|nsid| set & 1 << (nsid - 1) != 0).collect();
            let namespaces = nsids.iter().map(|nsid| namespace(*nsid)).collect();
            let view = View { namespaces, ..View::default() };
            for nsid in [0, 1, 2, 3, 4, 5, 6, 7, u32::MAX] {
                let found = view.namespace(nsid).ok().map(|namespace| namespace.nsid);
                assert_eq!(found, nsids.contains(&nsid).then_some(nsid), "{nsids:?}");
            }
        }
    }
}
