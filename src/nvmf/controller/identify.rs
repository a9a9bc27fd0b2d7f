//! Identify: what a controller and its namespaces say of themselves (Base, 5.17).

use nvme::command::NSID_ALL;
use nvme::identify::{self as id, CSI_NVM, Descriptor, cns, format, oncs};
use nvme::limits::NAMESPACE_LIST_MAX;
use nvme::register::VERSION;
use nvme::{Layout, Sqe, Status, ascii};

use super::{Controller, ERRORS_MAX, Kind};
use crate::nvmf::limits::{ASYNC_EVENTS_MAX, MDTS_PAGES_LOG2, QUEUE_ENTRIES_MAX};
use crate::nvmf::view::Namespace;

/// ANACAP: all states are reported; identifiers of groups are in Identify Namespace (bit 7).
const ANACAP: u8 = 0x1f | 0x80;

/// SGLS: SGLs without alignment, offsets into the capsule, transport data blocks.
const SGLS: u32 = 1 | 1 << 20 | 1 << 21;

impl Controller {
    /// Fills the buffer with the data structure that is asked for.
    pub(super) fn identify(&self, sqe: &Sqe, buffer: &mut [u8]) -> Result<(), Status> {
        buffer.fill(0);
        let which = sqe.cdw10 as u8;
        let command_set = (sqe.cdw11 >> 24) as u8;
        if which == cns::CONTROLLER {
            self.identify_controller().put(buffer);
            return Ok(());
        }
        if self.identity.kind == Kind::Discovery {
            return Err(Status::INVALID_FIELD);
        }
        let of_set = matches!(
            which,
            cns::NAMESPACE_OF_SET | cns::CONTROLLER_OF_SET | cns::ACTIVE_NAMESPACES_OF_SET
        );
        if of_set && command_set != CSI_NVM {
            return Err(Status::INVALID_FIELD);
        }
        match which {
            cns::NAMESPACE => {
                if let Some(namespace) = self.namespace_or_zeroes(sqe.nsid)? {
                    identify_namespace(namespace).put(buffer);
                }
            }
            // All zero: no protection information, no formats with storage tags.
            cns::NAMESPACE_OF_SET => {
                self.namespace_or_zeroes(sqe.nsid)?;
            }
            cns::NAMESPACE_INDEPENDENT => {
                if let Some(namespace) = self.namespace_or_zeroes(sqe.nsid)? {
                    identify_independent(namespace).put(buffer);
                }
            }
            cns::ACTIVE_NAMESPACES | cns::ACTIVE_NAMESPACES_OF_SET => {
                self.put_active(sqe.nsid, buffer)?;
            }
            cns::DESCRIPTORS => put_descriptors(self.view.namespace(sqe.nsid)?, buffer),
            cns::CONTROLLER_OF_SET => {
                id::ControllerNvm { vsl: MDTS_PAGES_LOG2, ..id::ControllerNvm::default() }
                    .put(buffer);
            }
            // One combination: NVM.
            cns::COMMAND_SETS => buffer[0] = 1,
            _ => return Err(Status::INVALID_FIELD),
        }
        Ok(())
    }

    /// A namespace, or nothing if the identifier is valid and not in use: its data is zero then.
    fn namespace_or_zeroes(&self, nsid: u32) -> Result<Option<&Namespace>, Status> {
        match self.view.namespace(nsid) {
            Ok(namespace) => Ok(Some(namespace)),
            Err(_) if self.view.is_valid(nsid) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Identifiers above `nsid` that are in use (Base, 5.17.2.2).
    fn put_active(&self, nsid: u32, buffer: &mut [u8]) -> Result<(), Status> {
        if nsid >= NSID_ALL - 1 {
            return Err(Status::INVALID_NAMESPACE);
        }
        let active = self.view.namespaces.iter().map(|namespace| namespace.nsid);
        let listed = active.filter(|active| *active > nsid).take(NAMESPACE_LIST_MAX);
        for (active, entry) in listed.zip(buffer.chunks_exact_mut(4)) {
            entry.copy_from_slice(&active.to_le_bytes());
        }
        Ok(())
    }

    fn identify_controller(&self) -> id::Controller {
        let identity = &self.identity;
        let common = id::Controller {
            serial: ascii(&identity.serial),
            model: ascii(&identity.model),
            firmware: ascii(&identity.firmware),
            mdts: MDTS_PAGES_LOG2,
            cntlid: self.host.cntlid,
            version: VERSION,
            oaes: self.events.supported(),
            // Host identifiers of 128 bits, traffic based keep alive.
            ctratt: 1 | 1 << 6,
            kind: if identity.kind == Kind::Io { 1 } else { 2 },
            acl: 3,
            aerl: ASYNC_EVENTS_MAX as u8 - 1,
            // Extended data for Get Log Page, effects, supported pages.
            lpa: 1 << 1 | 1 << 2 | 1 << 5,
            elpe: ERRORS_MAX as u8 - 1,
            kas_100ms: 10,
            maxcmd: QUEUE_ENTRIES_MAX,
            sgls: SGLS,
            nqn: identity.nqn.to_field(),
            ..id::Controller::default()
        };
        if identity.kind == Kind::Discovery {
            return common;
        }
        let ana = identity.ana_reporting;
        id::Controller {
            rab: 6,
            // Several ports and controllers.
            cmic: 1 | 1 << 1 | u8::from(ana) << 3,
            // Slot 1, read-only.
            frmw: 1 | 1 << 1,
            warning_temperature_k: 0x0157,
            critical_temperature_k: 0x0161,
            ana_transition_s: if ana { 10 } else { 0 },
            anacap: if ana { ANACAP } else { 0 },
            ana_group_max: if ana { self.view.namespaces_max } else { 0 },
            ana_groups: if ana { self.view.namespaces_max } else { 0 },
            sqes: 0x66,
            cqes: 0x44,
            namespaces: self.view.namespaces_max,
            namespaces_max: self.view.namespaces_max,
            oncs: oncs::COMPARE | oncs::DATASET_MANAGEMENT | oncs::WRITE_ZEROES | oncs::VERIFY,
            // A cache that may be volatile, always: a host that was told otherwise once would not flush
            // a namespace that comes later. Flush is for one namespace.
            vwc: 1 | 2 << 1,
            command_capsule_16: (64 + identity.in_capsule_bytes) / 16,
            response_capsule_16: 1,
            sgl_descriptors: 1,
            ofcs: 1,
            ..common
        }
    }
}

/// 0's based, in logical blocks; `None` if it is not a positive multiple of them or does not fit.
fn zero_based(len_bytes: u32, namespace: &Namespace) -> Option<u16> {
    let block_bytes = namespace.block_size_bytes;
    if len_bytes == 0 || !len_bytes.is_multiple_of(block_bytes) {
        return None;
    }
    u16::try_from(len_bytes / block_bytes - 1).ok()
}

/// Writes are best in whole strips, and best of all in whole stripes: Linux takes NPWG and NPWA for the
/// smallest and NOWS for the optimal size of its I/O, and file systems take those for strip and stripe.
fn identify_namespace(namespace: &Namespace) -> id::Namespace {
    let optimal = zero_based(namespace.optimal_write_bytes, namespace);
    let strip = zero_based(namespace.strip_bytes, namespace).or(optimal);
    let (nsfeat, npwg, nows) = match (strip, optimal) {
        (Some(strip), Some(optimal)) => (1 << 4, strip, optimal),
        _ => (0, 0, 0),
    };
    let deallocates = namespace.supported.unmap && namespace.unmap_reads_zero;
    let blocks = namespace.size_blocks;
    id::Namespace {
        size_blocks: blocks,
        capacity_blocks: blocks,
        used_blocks: blocks,
        // Atomicity beyond one block is not promised (bit 1 is clear): an array has a write hole.
        nsfeat,
        nmic: 1,
        dlfeat: if deallocates { 1 | 1 << 3 } else { 0 },
        capacity_bytes: u128::from(namespace.size_bytes()),
        npwg,
        npwa: npwg,
        npdg: npwg,
        npda: npwg,
        nows,
        ana_group: namespace.ana_group,
        nsattr: u8::from(!namespace.supported.write),
        nguid: namespace.ids.nguid,
        eui64: namespace.ids.eui64,
        format_0: format(namespace.block_size_bytes),
        ..id::Namespace::default()
    }
}

fn identify_independent(namespace: &Namespace) -> id::NamespaceIndependent {
    id::NamespaceIndependent {
        nsfeat: 0,
        nmic: 1,
        ana_group: namespace.ana_group,
        nsattr: u8::from(!namespace.supported.write),
        nstat: 1,
    }
}

/// Base, 5.17.2.3. Identifiers that are zero are not there.
fn put_descriptors(namespace: &Namespace, buffer: &mut [u8]) {
    let ids = &namespace.ids;
    let list = [
        (ids.eui64 != [0; 8]).then_some(Descriptor::Eui64(ids.eui64)),
        (ids.nguid != [0; 16]).then_some(Descriptor::Nguid(ids.nguid)),
        (ids.uuid != [0; 16]).then_some(Descriptor::Uuid(ids.uuid)),
        Some(Descriptor::CommandSet(CSI_NVM)),
    ];
    let mut at = 0;
    for descriptor in list.into_iter().flatten() {
        at += descriptor.put(&mut buffer[at..]);
    }
}
