//! What an array starts with: the members' states, its log, its superblocks.
//!
//! ```text
//!   a new array      members looked at --> log loaded, or begun --> superblocks made up
//!   a known array    assembly (raid::assemble) --> log loaded --> may it start? --> superblocks as found
//!                                                                        \
//!                                                                         Foundation --> shards, coordinator
//! ```
//!
//! Nothing is written here: the coordinator writes the log and the superblocks when the array starts, so
//! a refusal leaves everything as it was.
//!
//! Not here: what is on a device before (`occupant`); who belongs together and what the rules are
//! (`raid::assemble`).

use crate::occupant::{log_occupant, occupant};
use crate::spec::{Before, CreateError, KnownRaid, LastEnd, RaidOptions, RaidSpec};
use device::blocking::{self, BlockingError};
use device::{Bdev, BdevInfo, still_lingering};
use raid::assemble::{Footing, LogAtHand, LogFound, Start, footing, start};
use raid::bitmap::Bitmap;
use raid::dirty_log::{
    DirtyLog, DiskArea, Found, Initially, Loaded, Loader, Regions, SyncOption, check_regions,
};
use raid::geometry::Geometry;
use raid::layout::Level;
use raid::limits::LOG_IO_BYTES_MAX;
use raid::member::{MemberMap, MemberState};
use raid::superblock::{
    self, DATA_OFFSET_BYTES_MIN, IN_SYNC_EVERYWHERE, LogRecord, MemberRecord, MemberRecordState,
    Shape, Shutdown, Superblock,
};
use raid::units::{Slot, SlotSet};
use reactor::ReactorHandle;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Component bytes of one region, unless that would make more regions than [`REGIONS_MAX`].
const REGION_BYTES: u64 = 4 << 20;

/// Regions of a log, unless others are asked for: dm-raid's own bound on bitmap chunks (linux-raid.md,
/// section 7.15).
const REGIONS_MAX: u64 = 1 << 21;

/// Regions of any log: their bits take 12 MiB of memory three times over.
const REGIONS_LIMIT: u64 = 100_000_000;

/// How long a device of its own may take to answer at the start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for a device that may have to give up others first.
pub(crate) fn start_timeout(bdev: &Arc<dyn Bdev>) -> Duration {
    START_TIMEOUT.max(bdev.leeway().answers_within)
}

/// What an array starts with.
#[derive(Debug)]
pub(crate) struct Foundation {
    pub(crate) regions: Regions,
    pub(crate) map: MemberMap,
    pub(crate) stale: Bitmap,
    pub(crate) log: DirtyLog,
    pub(crate) log_bdev: Option<Arc<dyn Bdev>>,
    pub(crate) superblock: Option<Superblock>,
    /// Slots that parity may stand for where it is not in sync.
    pub(crate) vouched: SlotSet,
}

/// Refuses to begin a log on what may be somebody's.
pub(crate) fn check_log(reactor: &ReactorHandle, spec: &RaidSpec) -> Result<(), CreateError> {
    let Some(log) = spec.options.log.as_ref().filter(|_| !spec.options.force) else {
        return Ok(());
    };
    match log_occupant(reactor, log) {
        None => Ok(()),
        Some(what) => {
            let (name, log) = (spec.name.clone(), log.info().name.clone());
            Err(CreateError::LogInUse { name, log, what })
        }
    }
}

/// How regions lie over an array, and whether that is possible.
pub(crate) fn regions(
    name: &str,
    geometry: &Geometry,
    wanted: Option<u64>,
) -> Result<Regions, CreateError> {
    let component_bytes = geometry.component_bytes();
    let strip_bytes = u64::from(geometry.strip_bytes());
    let region_bytes = match wanted {
        None => {
            let least = component_bytes.div_ceil(REGIONS_MAX).next_power_of_two();
            REGION_BYTES.max(least).max(strip_bytes)
        }
        Some(region_bytes) => {
            let least = component_bytes.div_ceil(REGIONS_LIMIT).next_power_of_two();
            let least = least.max(strip_bytes);
            let most = (1 << 40).max(least);
            if !region_bytes.is_power_of_two() || !(least..=most).contains(&region_bytes) {
                let name = name.to_owned();
                return Err(CreateError::Region { name, region_bytes, least, most });
            }
            region_bytes
        }
    };
    Ok(Regions::new(region_bytes, geometry.strip_bytes(), geometry.stripes()))
}

/// Refuses devices that still have requests of somebody who has given them up: what they write late would
/// replace what this array has written.
pub(crate) fn check_lingering<'a>(
    name: &str,
    devices: impl Iterator<Item = &'a Arc<dyn Bdev>>,
) -> Result<(), CreateError> {
    for device in devices {
        let info = device.info();
        let requests = still_lingering(info.uuid);
        if requests > 0 {
            let (name, device) = (name.to_owned(), info.name.clone());
            return Err(CreateError::Lingering { name, device, requests });
        }
    }
    Ok(())
}

/// What a new array starts with.
pub(crate) fn new_array(
    reactor: &ReactorHandle,
    spec: &RaidSpec,
    info: &BdevInfo,
    geometry: &Geometry,
) -> Result<Foundation, CreateError> {
    let options = &spec.options;
    let regions = regions(&spec.name, geometry, options.region_bytes)?;
    if options.superblock && options.metadata.is_empty() {
        check_members(reactor, spec)?;
    }
    let map = |rebuild: SlotSet| {
        let states = (0u8..).zip(&spec.members).map(|(slot, member)| match member {
            Some(_) if rebuild.contains(Slot(slot)) => MemberState::Rebuilding,
            Some(_) => MemberState::InSync,
            None => MemberState::Missing,
        });
        MemberMap::new(states.collect())
    };
    let Beginning { mut log, parity } = beginning(reactor, spec, regions, &map(options.rebuild))?;
    let mut rebuild = options.rebuild;
    if let Some(slot) = half_known(spec, &map(rebuild)).filter(|_| parity == Parity::Unknown) {
        let array = &spec.name;
        tracing::info!(array, %slot, "rebuilt, so that both parities match what is there");
        rebuild.insert(slot);
    }
    let map = map(rebuild);
    let is_forced = parity == Parity::Forced;
    if is_forced {
        tell_forced(&spec.name);
    } else if !map.is_optimal() {
        log.assume_in_sync();
    }
    Ok(Foundation {
        // Nobody has written it yet, or whoever has does not ask for that.
        vouched: match is_forced {
            true => map.missing().union(map.rebuilding()),
            false if options.superblock && !options.resync => SlotSet::first_n(spec.members.len()),
            false => SlotSet::empty(),
        },
        stale: Bitmap::new(regions.count(), !rebuild.is_empty()),
        superblock: options
            .superblock
            .then(|| new_superblock(spec, rebuild, info, geometry, regions)),
        log_bdev: options.log.clone(),
        regions,
        map,
        log,
    })
}

/// The log of a new array.
struct Beginning {
    log: DirtyLog,
    parity: Parity,
}

/// What is known of the parity of a new array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parity {
    /// Nothing.
    Unknown,
    /// Somebody who knows says that it matches the data, but for what is out of sync in the log.
    Vouched,
    /// The same, but what is out of sync may not match, and a member is missing: the operator has it trusted as far
    /// as that is needed.
    Forced,
}

/// On record, as a loss may follow from it.
fn tell_forced(array: &str) {
    tracing::warn!(array, "dirty and degraded: parity is trusted by force");
}

fn beginning(
    reactor: &ReactorHandle,
    spec: &RaidSpec,
    regions: Regions,
    map: &MemberMap,
) -> Result<Beginning, CreateError> {
    let options = &spec.options;
    let vouched = spec.assume_clean || options.before.end == LastEnd::InOrder;
    let (log, parity) = match &options.log {
        Some(bdev) => {
            let Beginning { log, parity } = new_log(reactor, spec, bdev, regions, map)?;
            (log, if vouched { Parity::Vouched } else { parity })
        }
        None if options.before.end == LastEnd::CutOff
            && !(options.superblock || map.is_optimal()) =>
        {
            if !options.force {
                let (name, regions) = (spec.name.clone(), regions.count());
                return Err(CreateError::DirtyDegraded { name, dirty: regions, regions });
            }
            (DirtyLog::new(regions.count(), Initially::OutOfSync), Parity::Forced)
        }
        // Without every member there is nothing that parity could be compared with: it is all that
        // stands for the missing one, and has to be trusted.
        None => {
            let trusted = spec.assume_clean || !map.is_optimal();
            let initially = if trusted { Initially::InSync } else { Initially::OutOfSync };
            let parity = if vouched { Parity::Vouched } else { Parity::Unknown };
            (DirtyLog::new(regions.count(), initially), parity)
        }
    };
    Ok(Beginning { log, parity })
}

/// A member that a new array of RAID 6 has to rebuild when just one other is missing. That one is what either of
/// the parities says, and nothing makes them agree: an update of both by the difference leaves them as they
/// were, and what is computed from both when a second member fails is wrong. Without two members both
/// parities together say what these hold; so one more is made what they say. It is the last one, where most
/// layouts with a fixed place for Q have it.
fn half_known(spec: &RaidSpec, map: &MemberMap) -> Option<Slot> {
    let lost = map.missing().union(map.rebuilding());
    if spec.level != Level::Raid6 || lost.len() != 1 || !map.rebuilding().is_empty() {
        return None;
    }
    let present = (0u8..).map(Slot).zip(&spec.members).filter(|(_, member)| member.is_some());
    present.map(|(slot, _)| slot).last()
}

/// Refuses to overwrite what may be somebody's.
fn check_members(reactor: &ReactorHandle, spec: &RaidSpec) -> Result<(), CreateError> {
    for (slot, &offset_bytes) in spec.data_offsets_bytes.iter().enumerate() {
        let least = DATA_OFFSET_BYTES_MIN;
        if offset_bytes < least {
            let name = spec.name.clone();
            return Err(CreateError::NoRoomForSuperblock { name, slot, offset_bytes, least });
        }
    }
    if spec.options.force {
        return Ok(());
    }
    for member in spec.members.iter().flatten() {
        let found = occupant(reactor, member).map_err(|source| blocked(&spec.name, source))?;
        if let Some(found) = found {
            let (name, member) = (spec.name.clone(), member.info().name.clone());
            return Err(CreateError::InUse { name, member, what: found.to_string() });
        }
    }
    Ok(())
}

/// The log of a new array: what is on its bdev counts, as with dm-log, unless the array is new by all
/// accounts, its parity is vouched for, or the log is known to have failed. One that calls everything clean
/// vouches for it.
fn new_log(
    reactor: &ReactorHandle,
    spec: &RaidSpec,
    bdev: &Arc<dyn Bdev>,
    regions: Regions,
    map: &MemberMap,
) -> Result<Beginning, CreateError> {
    let RaidOptions { before, force, superblock, resync, .. } = spec.options;
    let (degraded, is_new) = (!map.is_optimal(), superblock || resync);
    let vouched = spec.assume_clean || is_new && degraded;
    let in_sync = before.end == LastEnd::InOrder && !is_new && !degraded;
    let sync = match (vouched, is_new || before.log_failed) {
        (true, _) => SyncOption::NoSync,
        (false, true) => SyncOption::Sync,
        (false, false) => SyncOption::Default,
    };
    let loaded = load(reactor, &spec.name, bdev, regions.count(), sync)?;
    let error = |source| CreateError::Log { name: spec.name.clone(), source };
    check_regions(&bdev.info().name, loaded.found, regions.count()).map_err(error)?;
    if degraded && !vouched {
        let dirty = doubtful(&before, &loaded, regions.count());
        if dirty > 0 {
            if force {
                return Ok(Beginning { log: loaded.log, parity: Parity::Forced });
            }
            let (name, regions) = (spec.name.clone(), regions.count());
            return Err(CreateError::DirtyDegraded { name, dirty, regions });
        }
        if loaded.found == Found::Fresh && !before.log_failed {
            let begun = load(reactor, &spec.name, bdev, regions.count(), SyncOption::NoSync)?;
            return Ok(Beginning { log: begun.log, parity: Parity::Unknown });
        }
    }
    if in_sync && loaded.log.dirty_count() > 0 {
        // Whatever became of the log at the end.
        let begun = load(reactor, &spec.name, bdev, regions.count(), SyncOption::NoSync)?;
        return Ok(Beginning { log: begun.log, parity: Parity::Vouched });
    }
    let is_clean = matches!(loaded.found, Found::Existing { .. }) && loaded.log.dirty_count() == 0;
    let parity = if is_clean { Parity::Vouched } else { Parity::Unknown };
    Ok(Beginning { log: loaded.log, parity })
}

/// Regions whose parity may be wrong, by a log and by what is known besides (**R7**). Of a log that is not
/// there nobody knows what it said.
fn doubtful(before: &Before, loaded: &Loaded, regions: u64) -> u64 {
    match (before.end, loaded.found) {
        (LastEnd::InOrder, _) => 0,
        _ if before.log_failed => regions,
        (LastEnd::Unknown, Found::Fresh) => 0,
        (_, Found::Existing { .. }) => loaded.log.dirty_count(),
        (_, Found::Fresh | Found::ReadError | Found::BadVersion { .. }) => regions,
    }
}

/// Reads a log. What cannot be read makes a log of which every region is dirty.
fn load(
    reactor: &ReactorHandle,
    name: &str,
    bdev: &Arc<dyn Bdev>,
    regions: u64,
    sync: SyncOption,
) -> Result<Loaded, CreateError> {
    let info = bdev.info();
    let area = DiskArea::new(info.block_size_bytes, regions);
    area.check_fits(&info.name, info.size_bytes())
        .map_err(|source| CreateError::Log { name: name.to_owned(), source })?;
    let mut loader = Loader::new(area, sync);
    let mut at = 0;
    while loader.missing_bytes() > 0 {
        let len = usize::try_from(loader.missing_bytes().min(LOG_IO_BYTES_MAX)).expect("small");
        match blocking::read(reactor, bdev, at, len, start_timeout(bdev)) {
            Ok(bytes) => loader.feed(&bytes),
            Err(error) => {
                tracing::error!(array = name, log = info.name, %error, "the log cannot be read");
                break;
            }
        }
        at += len as u64;
    }
    Ok(loader.finish())
}

fn new_superblock(
    spec: &RaidSpec,
    rebuild: SlotSet,
    info: &BdevInfo,
    geometry: &Geometry,
    regions: Regions,
) -> Superblock {
    let offsets = spec.data_offsets_bytes.iter();
    let members = (0u8..).zip(spec.members.iter().zip(offsets)).map(|(slot, (member, &offset))| {
        let rebuilt = rebuild.contains(Slot(slot));
        let (member_uuid, state) = match member {
            Some(_) if rebuilt => {
                let state = MemberRecordState::Rebuilding { recovered_to_bytes: 0, partial: false };
                (Uuid::new_v4(), state)
            }
            Some(_) => (Uuid::new_v4(), MemberRecordState::InSync),
            None => (Uuid::nil(), MemberRecordState::Missing { since: 1 }),
        };
        MemberRecord { member_uuid, data_offset_bytes: offset, state, read_errors: 0 }
    });
    Superblock {
        array_uuid: info.uuid,
        array_name: spec.name.clone(),
        member_uuid: info.uuid,
        slot: None,
        events: 0,
        shape: Shape {
            level: spec.level,
            layout: spec.layout,
            strip_bytes: spec.strip_bytes,
            block_size_bytes: geometry.block_size_bytes(),
            component_bytes: geometry.component_bytes(),
        },
        shutdown: Shutdown::Running,
        in_sync_to_bytes: if spec.assume_clean { IN_SYNC_EVERYWHERE } else { 0 },
        region_bytes: regions.region_bytes(),
        log: spec.options.log.as_ref().map(|bdev| LogRecord {
            name: bdev.info().name.clone(),
            uuid: bdev.info().uuid,
            // Until all of the new log is there for good: what the bdev holds now may be the log of an
            // earlier array, and say that this one is in sync.
            health: superblock::LogHealth::Failed,
        }),
        on_log_failure: spec.options.policy.log,
        fresh: spec.options.superblock && !spec.options.resync,
        members: members.collect(),
    }
}

/// What a known array starts with.
pub(crate) fn known_array(
    reactor: &ReactorHandle,
    known: &KnownRaid,
    geometry: &Geometry,
) -> Result<Foundation, CreateError> {
    let superblock = known.assembly.superblock.clone();
    let name = superblock.array_name.clone();
    // What a superblock says is held to what a new array may have.
    let regions = regions(&name, geometry, Some(superblock.region_bytes))?;
    let (found, loaded) = find_log(reactor, known, regions.count())?;
    let how = start(&known.assembly, found, known.force)?;
    if matches!(how, Start::Trusted { forced: true, .. }) {
        tell_forced(&name);
    }
    let usable = loaded.as_ref().is_some_and(|loaded| loaded.found.health().is_alive());
    let log_bdev = if usable { known.log.clone() } else { None };
    let area =
        log_bdev.as_ref().map(|bdev| DiskArea::new(bdev.info().block_size_bytes, regions.count()));
    let log = LogAtHand { found: loaded.map(|loaded| loaded.log), area };
    let Footing { log, map, stale, vouched } =
        footing(&known.assembly, how, log, regions, known.resync);
    Ok(Foundation { regions, map, stale, log, log_bdev, superblock: Some(superblock), vouched })
}

/// The log of a known array, and what the rules have to know of it.
fn find_log(
    reactor: &ReactorHandle,
    known: &KnownRaid,
    regions: u64,
) -> Result<(LogFound, Option<Loaded>), CreateError> {
    let superblock = &known.assembly.superblock;
    if superblock.log.is_none() {
        return Ok((LogFound::Memory, None));
    }
    let Some(bdev) = &known.log else { return Ok((LogFound::Missing, None)) };
    let loaded = load(reactor, &superblock.array_name, bdev, regions, SyncOption::Default)?;
    let found = match loaded.found {
        Found::Existing { regions } => {
            LogFound::Loaded { dirty: loaded.log.dirty_count(), regions }
        }
        // Somebody has wiped it, or it was never begun: it says nothing of this array, but can be used.
        Found::Fresh => LogFound::Blank,
        Found::BadVersion { .. } | Found::ReadError => LogFound::Unreadable,
    };
    Ok((found, Some(loaded)))
}

fn blocked(name: &str, source: BlockingError) -> CreateError {
    CreateError::Blocking { name: name.to_owned(), source }
}
