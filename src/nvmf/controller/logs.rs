//! Get Log Page (Base, 5.16).
//!
//! A page is never made in one piece: whoever writes it writes all of it through a [`Window`], which
//! keeps what was asked for.

use nvme::command::{NSID_ALL, admin, io};
use nvme::log::{
    ANA_GROUPS_ONLY, AnaGroup, AnaHeader, DiscoveryEntry, DiscoveryHeader, EFFECTS_BYTES,
    EFFECTS_IO_AT, Firmware, LOG_SUPPORTED, SUPPORTED_BYTES, Smart, Wanted, ana_bytes, effects, id,
};
use nvme::{Layout, Sqe, Status, ascii};

use super::{Controller, Kind};
use crate::nvmf::limits::ERRORS_MAX;
use crate::nvmf::view::Health;

/// The part of a log page that is asked for.
struct Window<'a> {
    offset_bytes: u64,
    buffer: &'a mut [u8],
}

impl Window<'_> {
    /// Writes bytes that stand at `at` of the page.
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let (at, end) = (at as u64, at as u64 + bytes.len() as u64);
        let from = self.offset_bytes.max(at);
        let upto = end.min(self.offset_bytes.saturating_add(self.buffer.len() as u64));
        if from >= upto {
            return;
        }
        let source = &bytes[(from - at) as usize..(upto - at) as usize];
        let start = (from - self.offset_bytes) as usize;
        self.buffer[start..start + source.len()].copy_from_slice(source);
    }
}

const PAGES_IO: [u8; 7] = [
    id::SUPPORTED,
    id::ERROR,
    id::SMART,
    id::FIRMWARE,
    id::CHANGED_NAMESPACES,
    id::EFFECTS,
    id::ANA,
];
const PAGES_DISCOVERY: [u8; 3] = [id::SUPPORTED, id::ERROR, id::DISCOVERY];

impl Controller {
    fn pages(&self) -> impl Iterator<Item = u8> + '_ {
        let pages: &[u8] = match self.identity.kind {
            Kind::Io => &PAGES_IO,
            Kind::Discovery => &PAGES_DISCOVERY,
        };
        let ana = self.identity.ana_reporting;
        pages.iter().copied().filter(move |page| ana || *page != id::ANA)
    }

    /// Fills the buffer with what is asked for of a log page, and zeroes behind its end.
    pub(super) fn log_page(
        &mut self,
        wanted: &Wanted,
        sqe: &Sqe,
        buffer: &mut [u8],
    ) -> Result<(), Status> {
        if !self.pages().any(|page| page == wanted.id) {
            return Err(Status::INVALID_LOG_PAGE);
        }
        let size_bytes = self.log_bytes(wanted) as u64;
        let offset_bytes = wanted.offset_bytes;
        let misplaced = !offset_bytes.is_multiple_of(4) || offset_bytes > size_bytes;
        if wanted.is_index || misplaced {
            return Err(Status::INVALID_FIELD);
        }
        // SMART of one namespace is not supported (LPA, bit 0).
        if wanted.id == id::SMART && ![0, NSID_ALL].contains(&sqe.nsid) {
            return Err(Status::INVALID_FIELD);
        }
        buffer.fill(0);
        let window = Window { offset_bytes, buffer };
        match wanted.id {
            id::SUPPORTED => self.put_supported(window),
            id::ERROR => self.put_errors(window),
            id::SMART => self.put_smart(window),
            id::FIRMWARE => self.put_firmware(window),
            id::CHANGED_NAMESPACES => self.put_changed(window),
            id::EFFECTS => put_effects(window),
            id::ANA => self.put_ana(wanted, window),
            _ => self.put_discovery(window),
        }
        self.events.read(wanted.id, wanted.retain_event);
        Ok(())
    }

    fn log_bytes(&self, wanted: &Wanted) -> usize {
        match wanted.id {
            id::SUPPORTED => SUPPORTED_BYTES,
            id::ERROR => ERRORS_MAX * 64,
            id::SMART => Smart::SIZE,
            id::FIRMWARE => Firmware::SIZE,
            id::CHANGED_NAMESPACES | id::EFFECTS => EFFECTS_BYTES,
            id::ANA if wanted.specific & ANA_GROUPS_ONLY != 0 => {
                ana_bytes(self.view.groups.len(), 0)
            }
            id::ANA => ana_bytes(self.view.groups.len(), self.view.namespaces.len()),
            _ => DiscoveryHeader::SIZE + self.discovery.entries.len() * DiscoveryEntry::SIZE,
        }
    }

    fn put_supported(&self, mut window: Window<'_>) {
        for page in self.pages() {
            window.put(usize::from(page) * 4, &LOG_SUPPORTED.to_le_bytes());
        }
    }

    fn put_errors(&self, mut window: Window<'_>) {
        for (index, entry) in self.errors.iter().enumerate() {
            window.put(index * 64, &entry.to_bytes());
        }
    }

    fn put_smart(&self, mut window: Window<'_>) {
        let usage = &self.usage;
        // Thousands of 512 bytes, rounded up (Base, figure 206).
        let units = |bytes: u64| u128::from(bytes.div_ceil(512_000));
        let (worst, best) = self.view.health();
        // Reliability is degraded by one namespace; the media is read-only if all of it is.
        let (degraded, read_only) = (worst != Health::Whole, best == Health::Broken);
        let smart = Smart {
            critical_warning: u8::from(degraded) << 2 | u8::from(read_only) << 3,
            // There is no sensor; 0 would read as -273 degrees.
            temperature_k: 300,
            spare_percent: 100,
            spare_threshold_percent: 10,
            read_units: units(usage.read_bytes),
            written_units: units(usage.written_bytes),
            reads: u128::from(usage.reads),
            writes: u128::from(usage.writes),
            media_errors: u128::from(usage.media_errors),
            error_entries: u128::from(self.error_count),
            ..Smart::default()
        };
        window.put(0, &smart.to_bytes());
    }

    fn put_firmware(&self, mut window: Window<'_>) {
        let firmware = Firmware { active: 1, revision: ascii(&self.identity.firmware) };
        window.put(0, &firmware.to_bytes());
    }

    fn put_changed(&self, mut window: Window<'_>) {
        for (index, nsid) in self.events.changed().iter().enumerate() {
            window.put(index * 4, &nsid.to_le_bytes());
        }
    }

    /// Every group with its state through this listener, and its namespaces unless only groups are asked
    /// for (Base, 5.16.1.13).
    fn put_ana(&self, wanted: &Wanted, mut window: Window<'_>) {
        let view = &self.view;
        let header = AnaHeader { change_count: view.ana_changes, groups: view.groups.len() as u16 };
        window.put(0, &header.to_bytes());
        let mut at = AnaHeader::SIZE;
        for (group, state) in &view.groups {
            let members = || view.namespaces.iter().filter(|one| one.ana_group == *group);
            let listed = wanted.specific & ANA_GROUPS_ONLY == 0;
            let descriptor = AnaGroup {
                group: *group,
                namespaces: if listed { members().count() as u32 } else { 0 },
                change_count: view.ana_changes,
                state: state.number(),
            };
            window.put(at, &descriptor.to_bytes());
            at += AnaGroup::SIZE;
            for namespace in members().filter(|_| listed) {
                window.put(at, &namespace.nsid.to_le_bytes());
                at += 4;
            }
        }
    }

    fn put_discovery(&self, mut window: Window<'_>) {
        let log = &self.discovery;
        let header = DiscoveryHeader {
            generation: log.generation,
            records: log.entries.len() as u64,
            record_format: 0,
        };
        window.put(0, &header.to_bytes());
        for (index, entry) in log.entries.iter().enumerate() {
            let at = DiscoveryHeader::SIZE + index * DiscoveryEntry::SIZE;
            window.put(at, &entry.to_bytes());
        }
    }
}

/// Commands Supported and Effects (Base, 5.16.1.6).
fn put_effects(mut window: Window<'_>) {
    let admin_commands = [
        admin::GET_LOG_PAGE,
        admin::IDENTIFY,
        admin::ABORT,
        admin::SET_FEATURES,
        admin::GET_FEATURES,
        admin::ASYNC_EVENT_REQUEST,
        admin::KEEP_ALIVE,
    ];
    for opcode in admin_commands {
        window.put(usize::from(opcode) * 4, &effects::SUPPORTED.to_le_bytes());
    }
    let reading = [io::FLUSH, io::READ, io::COMPARE, io::VERIFY].map(|opcode| (opcode, 0));
    let writing = [io::WRITE, io::WRITE_ZEROES, io::DATASET_MANAGEMENT];
    for (opcode, more) in
        reading.into_iter().chain(writing.map(|opcode| (opcode, effects::CONTENT)))
    {
        let at = EFFECTS_IO_AT + usize::from(opcode) * 4;
        window.put(at, &(effects::SUPPORTED | more).to_le_bytes());
    }
}
