//! The discovery log: what a host may connect to, and where (Base, 5.16.1.23; Fabrics, 5).

use std::sync::Arc;

use nvme::Nqn;
use nvme::fabrics::CNTLID_DYNAMIC;
use nvme::log::{DiscoveryEntry, discovery};

use super::{Address, Changes, Target, Update};
use crate::nvmf::controller::Kind;
use crate::nvmf::limits::{ADMIN_ENTRIES_MAX, DISCOVERY_ENTRIES_MAX};

/// The log as one host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DiscoveryLog {
    /// GENCTR.
    pub generation: u64,
    /// The discovery subsystem that is asked first, then the others by name.
    pub entries: Vec<DiscoveryEntry>,
}

fn entry(address: &Address, port_id: u16, nqn: &Nqn, kind: u8) -> DiscoveryEntry {
    let mut entry = DiscoveryEntry {
        transport: discovery::TRANSPORT_TCP,
        family: if address.ipv6 { discovery::FAMILY_IPV6 } else { discovery::FAMILY_IPV4 },
        kind,
        requirements: discovery::REQUIREMENTS,
        port_id,
        cntlid: CNTLID_DYNAMIC,
        admin_entries: ADMIN_ENTRIES_MAX,
        nqn: nqn.to_field(),
        ..DiscoveryEntry::default()
    };
    // ASCII strings are filled up with spaces (Base, 1.4.2).
    entry.service = nvme::ascii(&address.service);
    entry.address = nvme::ascii(&address.address);
    entry
}

impl Target {
    /// What `host` may connect to, asked at `address`.
    #[must_use]
    pub fn discovery_log(&self, host: &Nqn, address: &Address) -> Arc<DiscoveryLog> {
        let mut entries = Vec::new();
        if let Some(port_id) = self.ports.get(address) {
            let kind = discovery::KIND_CURRENT_DISCOVERY;
            let mut own = entry(address, *port_id, &Nqn::discovery(), kind);
            own.flags = discovery::FLAGS_PERSISTENT;
            entries.push(own);
        }
        let open = self.subsystems.values().filter(|one| one.allows(host));
        let listed = open.flat_map(|one| {
            one.listeners.iter().map(|(address, listener)| {
                entry(address, listener.port_id, &one.spec.nqn, discovery::KIND_NVM)
            })
        });
        entries.extend(listed.take(DISCOVERY_ENTRIES_MAX - entries.len()));
        Arc::new(DiscoveryLog { generation: self.discovery_generation, entries })
    }

    /// Every discovery controller gets the log anew.
    pub(super) fn discovery_changed(&mut self, changes: &mut Changes) {
        self.discovery_generation += 1;
        let asking = self.associations.iter().filter(|(_, one)| one.kind == Kind::Discovery);
        changes.0.extend(asking.map(|(id, one)| {
            (*id, Update::Discovery(self.discovery_log(&one.host, &one.address)))
        }));
    }
}
