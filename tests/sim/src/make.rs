//! A world that begins: its devices, filled, and what its seed draws.
//!
//! Not here: starting the array on them (`boot`).

use crate::disk::Disk;
use crate::images;
use crate::oracle::Oracle;
use crate::plant::Plant;
use crate::prng::{Prng, mix};
use crate::stats::Stats;
use crate::swarm::{LogAtStart, Permits, Swarm};
use crate::truth::Truth;
use crate::world::{Life, Note, SECOND_NS, World};
use raid::dirty_log::{DirtyLog, DiskArea, Regions, SyncOption};
use raid::geometry::{Geometry, GeometrySpec};
use raid::superblock::{
    self, DATA_OFFSET_BYTES_MIN, IN_SYNC_EVERYWHERE, LogRecord, MemberRecord, MemberRecordState,
    SUPERBLOCK_BYTES, Shape, Shutdown, Superblock,
};
use raid::units::{Slot, StripeId};
use std::sync::Arc;
use uuid::Uuid;

/// UUID of the array.
pub const ARRAY_UUID: Uuid = Uuid::from_bytes([0xaa; 16]);
/// Tell the streams of permits, of the stripe cache, of stretches, of joins that are taken back, of the owner's
/// record, of updates that are cut off, of the log's device and of what came later from that of
/// everything else, so that seeds keep their runs: those of the joins do in seven of eight, those
/// of the record, and of each of two draws of the log's device, in three of four, those of the updates in fifteen
/// of sixteen.
const PERMIT_STREAM: u64 = 0x7065_726d_6974;
const LATER_STREAM: u64 = 0x6c61_7465_7273;
const TAKE_BACK_STREAM: u64 = 0x7461_6b65_6261_636b;
const UPDATE_STREAM: u64 = 0x6375_7475_7064_6174;
const RECORD_STREAM: u64 = 0x7265_636f_7264_6564;
const STRIPE_CACHE_STREAM: u64 = 0x7374_7269_7065_7321;
const STRETCH_STREAM: u64 = 0x7374_7265_7463_6821;
const LOG_DEVICE_STREAM: u64 = 0x6c6f_6764_6576;
/// Names the stream that says which new arrays find an old log.
const OLD_LOG: u64 = 0x6f6c_645f_6c6f_6700;

const LOG_UUID: Uuid = Uuid::from_bytes([0xbb; 16]);

impl World {
    /// A world of a seed, with an array that was just made on it.
    #[must_use]
    pub fn new(seed: u64, plant: Plant, tracing: bool) -> Self {
        let mut prng = Prng::new(seed);
        let mut later_prng = Prng::new(mix(seed ^ LATER_STREAM));
        let swarm = draw_swarm(seed, &mut prng, &mut later_prng);
        let mut permit_prng = Prng::new(mix(seed ^ PERMIT_STREAM));
        let permits = Permits::draw(&mut permit_prng);
        let mut take_back = Prng::new(mix(seed ^ TAKE_BACK_STREAM));
        let takes_back = take_back.one_in(8).then_some(take_back);
        let component = swarm.component_bytes();
        let spec = GeometrySpec {
            level: swarm.level,
            layout: swarm.layout,
            members: swarm.members,
            strip_bytes: swarm.strip_bytes,
            block_size_bytes: swarm.block_bytes,
            member_bytes: component,
            data_offsets_bytes: vec![DATA_OFFSET_BYTES_MIN; swarm.members],
        };
        let geometry = Arc::new(Geometry::new(spec).expect("the seed draws what fits"));
        let region_bytes = swarm.stripes_per_region * u64::from(swarm.strip_bytes);
        let regions = Regions::new(region_bytes, swarm.strip_bytes, geometry.stripes());
        let devices = swarm.members + swarm.spares;
        let bytes = usize::try_from(component).expect("devices are small");
        let disks = (0..devices).map(|_| Disk::new(bytes, true, swarm.cached)).collect();
        let area = DiskArea::new(swarm.log_block_bytes, regions.count()).area_bytes();
        let log_disk = Disk::new(usize::try_from(area).expect("small"), false, swarm.cached);
        let sectors = usize::try_from(geometry.array_bytes()).expect("small") / 512;
        let region_count = usize::try_from(regions.count()).expect("few");
        let sync = swarm.begins_in_sync;
        let truth = Truth::new(swarm.members, devices, bytes / 512, region_count, sync);
        let note = |device| Note { device, in_sync: true, rebuild: false };
        let life = Life::empty(&swarm, &geometry, regions);
        let mut world = Self {
            seed,
            plant,
            now_ns: SECOND_NS,
            step: 0,
            next: 0,
            next_write: 0,
            disks,
            uuids: (1..=devices as u128).map(Uuid::from_u128).collect(),
            log_disk,
            log_at_start: LogAtStart::Itself,
            notes: (0..swarm.members).map(note).collect(),
            noted_log_failed: false,
            noted_stop: Some(sync),
            oracle: Oracle::new(sectors, mix(seed)),
            truth,
            faults_on: true,
            stopped_in_sync: sync,
            stopped_degraded_in_sync: false,
            stats: Stats { seeds: 1, ..Stats::default() },
            digest: seed,
            tracing,
            life,
            geometry,
            regions,
            swarm,
            prng,
            permit_prng,
            later_prng,
            permits,
            takes_back,
        };
        world.make();
        world
    }

    /// Fills the devices.
    fn make(&mut self) {
        let (geometry, sync) = (self.geometry.clone(), self.swarm.begins_in_sync);
        let strip_bytes = self.swarm.strip_bytes as usize;
        for stripe in (0..geometry.stripes()).map(StripeId) {
            for strip in 0..self.strips() {
                let at = raid::geometry::Location { stripe, strip, offset: 0 };
                let first = usize::try_from(geometry.array_byte(at)).expect("small") / 512;
                let data = self.oracle.data(first, strip_bytes / 512, 0);
                images::preset_strip(self, stripe, strip, &data);
            }
        }
        if sync {
            images::preset_parity(self);
        }
        let is_clean = sync || self.has_old_log();
        let option = if is_clean { SyncOption::NoSync } else { SyncOption::Sync };
        let area = self.log_area();
        let log = DirtyLog::load(None, area, option).log;
        let mut image = vec![0; usize::try_from(area.area_bytes()).expect("small")];
        log.copy_out(0, &mut image);
        self.log_disk.preset(0, &image);
        if self.swarm.superblocks {
            self.make_superblocks();
        }
    }

    /// Whether the log's device holds the log of an earlier array, all clean, when the array is new. Not
    /// drawn from the stream of the others, so that it does not change what they are.
    fn has_old_log(&self) -> bool {
        let Swarm { superblocks, log_on_disk, begins_in_sync, .. } = self.swarm;
        superblocks && log_on_disk && !begins_in_sync && mix(self.seed ^ OLD_LOG).is_multiple_of(8)
    }

    fn make_superblocks(&mut self) {
        let swarm = &self.swarm;
        let members = self.uuids[..swarm.members].iter().map(|&member_uuid| MemberRecord {
            member_uuid,
            data_offset_bytes: DATA_OFFSET_BYTES_MIN,
            state: MemberRecordState::InSync,
            read_errors: 0,
        });
        let log = LogRecord {
            name: "log".to_owned(),
            uuid: LOG_UUID,
            // As it is when an array is created.
            health: match self.has_old_log() {
                true => superblock::LogHealth::Failed,
                false => superblock::LogHealth::Alive,
            },
        };
        let first = Superblock {
            array_uuid: ARRAY_UUID,
            array_name: "sim".to_owned(),
            member_uuid: self.uuids[0],
            slot: Some(Slot(0)),
            events: 1,
            shape: Shape {
                level: swarm.level,
                layout: swarm.layout,
                strip_bytes: swarm.strip_bytes,
                block_size_bytes: swarm.block_bytes,
                component_bytes: swarm.component_bytes(),
            },
            shutdown: Shutdown::Clean,
            in_sync_to_bytes: if swarm.begins_in_sync { IN_SYNC_EVERYWHERE } else { 0 },
            region_bytes: self.regions.region_bytes(),
            log: swarm.log_on_disk.then_some(log),
            on_log_failure: swarm.on_log_failure,
            fresh: !swarm.begins_in_sync,
            members: members.collect(),
        };
        for device in 0..self.swarm.members {
            let slot = u8::try_from(device).expect("few members");
            let superblock = first.carried_by(self.uuids[device], Some(Slot(slot)));
            let mut bytes = [0; SUPERBLOCK_BYTES];
            superblock.encode(&mut bytes).expect("it means something");
            for at in superblock::COPY_OFFSETS_BYTES {
                self.disks[device].preset(at, &bytes);
            }
        }
    }
}

/// What a run is like; what was added later is drawn from streams of its own.
fn draw_swarm(seed: u64, prng: &mut Prng, later_prng: &mut Prng) -> Swarm {
    let apart = |stream| Prng::new(mix(seed ^ stream));
    let mut swarm = Swarm::draw(prng);
    swarm.host_ops_max = apart(STRIPE_CACHE_STREAM).pick(&[1, 2, 8, 512, 512, 512]);
    swarm.draw_more(later_prng);
    swarm.stretch_bytes =
        u64::from(swarm.strip_bytes) * apart(STRETCH_STREAM).pick(&[1, 1, 2, 256]);
    swarm.cuts_updates = swarm.superblocks && apart(UPDATE_STREAM).one_in(16);
    if swarm.cuts_updates {
        (swarm.crashes, swarm.power, swarm.orderly) = (4, 100, 0);
    }
    swarm.recorded = !swarm.superblocks && apart(RECORD_STREAM).one_in(4);
    let mut log_device = apart(LOG_DEVICE_STREAM);
    if log_device.one_in(4) {
        swarm.log_block_bytes = 4096;
    }
    swarm.log_unreadable = log_device.one_in(4);
    swarm
}
