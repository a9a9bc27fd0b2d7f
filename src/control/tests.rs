//! Commands against each other, in sequences that nobody should think of and somebody will: a control plane
//! in this process, RAM disks, no JSON.
//!
//! | module | what |
//! |---|---|
//! | `memory` | superblocks that were read, and do not hold any more |
//! | `marks` | what is left on bdevs, and what is written over |
//! | `lingering` | devices that are reached another way while they still have requests |
//! | `names` | bdevs that are just being made |
//! | `occupied` | bdevs that carry something, and whose that is |
//!
//! Not here: one command at a time, refusals word for word (`tests/blackbox`).

mod lingering;
mod marks;
mod memory;
mod names;
mod occupied;

use std::thread;

use ::raid::member::MemberState;
use array::RaidSnapshot;
use device::blocking;
use reactor::memory::IoBufMut;

use super::*;
use ::raid::coordinator::{Action, OnLogFailure, OnMemberFailure};
use ::raid::layout::Level;

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of a disk.
const DISK_BYTES: u64 = 5 << 20;

const BLOCK_BYTES: u32 = 4096;

/// The array that tests are about.
const ARRAY: &str = "r0";

/// A control plane between its start and its end, where arrays wait for all of their members.
pub(super) struct Plane {
    pub(super) control: Arc<Control>,
}

impl Plane {
    pub(super) fn start() -> Self {
        let options = Options {
            cores: CpuSet::single(0),
            buffer_bytes: 8 << 20,
            patience: Duration::from_secs(3600),
            ..Options::default()
        };
        let control = Control::start(options).unwrap();
        control.finish_startup();
        Self { control }
    }

    pub(super) fn disks(&self, names: &[&str]) {
        for name in names {
            self.disk(name, DISK_BYTES);
        }
    }

    fn disk(&self, name: &str, size_bytes: u64) {
        let blocks = size_bytes / u64::from(BLOCK_BYTES);
        self.control.create_malloc(Some(name.to_owned()), None, BLOCK_BYTES, blocks).unwrap();
    }

    /// Makes an array with superblocks, and waits until its parity is right.
    pub(super) fn array(&self, members: &[&str], change: impl FnOnce(&mut RaidRequest)) {
        let mut request = request(members);
        change(&mut request);
        self.control.create_raid(request).unwrap();
        self.settle();
    }

    pub(super) fn snapshot(&self) -> RaidSnapshot {
        self.control.raid(ARRAY).unwrap().snapshot()
    }

    pub(super) fn states(&self) -> Vec<MemberState> {
        self.snapshot().members.iter().map(|member| member.state).collect()
    }

    pub(super) fn runs(&self) -> bool {
        self.control.raid(ARRAY).is_ok()
    }

    /// Waits until nothing is left to be done.
    pub(super) fn settle(&self) {
        self.wait_until("at rest", |plane| {
            let now = plane.snapshot();
            let rebuilding = now.members.iter().any(|m| m.state == MemberState::Rebuilding);
            let whole = now.members.iter().all(|m| m.state == MemberState::InSync);
            let in_sync = now.regions_in_sync == now.regions || !whole;
            now.action == Action::Idle && !rebuilding && in_sync
        });
    }

    pub(super) fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begin = clock::now();
        while !is_so(self) {
            let waited = Duration::from_nanos(clock::now().as_nanos() - begin.as_nanos());
            assert!(waited < PATIENCE, "not in time: {what}");
            thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn examine(&self, names: &[&str]) {
        names.iter().for_each(|name| self.control.examine_bdev(name).unwrap());
    }

    /// Why the array waits.
    fn reason(&self) -> String {
        self.control.waiting_raids().into_iter().map(|raid| raid.reason).collect()
    }

    pub(super) fn claim(&self, name: &str) -> Option<Claim> {
        self.control.state().registry.get(name).unwrap().claim.clone()
    }

    fn bdev(&self, name: &str) -> Arc<dyn Bdev> {
        self.control.bdev(name).unwrap()
    }

    fn read(&self, name: &str, offset_bytes: u64, len: usize) -> Vec<u8> {
        let (reactor, bdev) = (&self.control.reactors()[0], self.bdev(name));
        blocking::read(reactor, &bdev, offset_bytes, len, PATIENCE).unwrap().to_vec()
    }

    fn write(&self, name: &str, offset_bytes: u64, bytes: &[u8]) {
        let (reactor, bdev) = (&self.control.reactors()[0], self.bdev(name));
        let bytes = IoBufMut::heap_copy(bytes).freeze();
        blocking::write_durably(reactor, &bdev, offset_bytes, bytes, PATIENCE).unwrap();
    }

    /// Zeroes where superblocks would be.
    fn wipe(&self, name: &str) {
        array::wipe(&self.control.reactors()[0], &self.bdev(name)).unwrap();
    }

    /// Whether a superblock is found there.
    fn is_marked(&self, name: &str) -> bool {
        array::probe(&self.control.reactors()[0], &self.bdev(name)).is_ok()
    }

    pub(super) fn mapped(&self, name: &str, table: &str) {
        let request = MappedRequest { table: Some(table), ..MappedRequest::default() };
        self.control.dm_create(name, request).unwrap();
    }

    pub(super) fn stop(self) {
        self.control.shutdown().unwrap();
    }
}

fn request(members: &[&str]) -> RaidRequest {
    RaidRequest {
        name: ARRAY.to_owned(),
        uuid: None,
        level: Level::Raid5,
        layout: None,
        parity_slot: None,
        strip_size_kib: 64,
        members: members.iter().map(|name| Some((*name).to_owned())).collect(),
        data_offsets_sectors: vec![2048; members.len()],
        assume_clean: false,
        log: None,
        region_size_kib: Some(256),
        superblock: true,
        on_log_failure: Some(OnLogFailure::Continue),
        on_member_failure: OnMemberFailure::Continue,
        io_timeout: None,
        force: false,
        before: array::Before::default(),
        spares: Vec::new(),
    }
}
