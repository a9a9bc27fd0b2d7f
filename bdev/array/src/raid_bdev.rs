//! The control handle of an array: making it, changing its members, stopping it.
//!
//! Straight-line code on a control thread that sends commands to the reactors and waits for their
//! answers. A change of the members' states goes like this, so that no two shards ever act on different
//! maps (**R5**):
//!
//! ```text
//!   running --quiesce to all--> every shard quiesced --resume(new map) to all--> running
//! ```
//!
//! Not here: the data path (`shard`).

use crate::channel::ArrayChannel;
use crate::limits::QUIESCE_TIMEOUT_S;
use crate::member::Member;
use crate::message::{Mailbox, Post};
use crate::shard::{ArrayShard, Common, Parts, ShardPoller};
use crate::spec::{
    self, CreateError, MemberSnapshot, RaidSnapshot, RaidSpec, RemoveError, RestError,
    ResyncProgress, ShardSnapshot,
};
use crossbeam::channel::{RecvTimeoutError, bounded};
use device::{BackendDetail, Bdev, BdevInfo, IoChannel, IoTypes, OpenError};
use raid::coordinator::{Coordinator, Resync};
use raid::dirty_log::{DirtyLog, Initially, Regions};
use raid::geometry::Geometry;
use raid::limits::LEASES_MAX;
use raid::member::{MemberMap, MemberState};
use raid::shard::{Shard, ShardPlace};
use raid::units::Slot;
use reactor::{Cx, PollerId, ReactorHandle};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// Component bytes of one region, unless that would make more regions than [`REGIONS_MAX`].
const REGION_BYTES: u64 = 4 << 20;

/// Regions of a log in memory: dm-raid's own bound on bitmap chunks (linux-raid.md, section 7.15).
const REGIONS_MAX: u64 = 1 << 21;

/// A raid bdev.
#[derive(Debug)]
pub struct RaidBdev {
    key: u64,
    common: Arc<Common>,
    geometry: Arc<Geometry>,
    reactors: Vec<ReactorHandle>,
    control: Mutex<ControlState>,
}

/// What only control threads change.
#[derive(Debug)]
struct ControlState {
    members: Vec<Option<Arc<dyn Bdev>>>,
    map: MemberMap,
    stopped: bool,
}

/// What a reactor keeps of an array: the shard, and the poller that drives it.
struct Local {
    shard: std::rc::Rc<RefCell<ArrayShard>>,
    poller: Cell<Option<PollerId>>,
}

impl RaidBdev {
    /// Makes an array and starts it: a shard on every reactor. A resync starts unless all members are
    /// vouched for or one is missing.
    ///
    /// # Errors
    /// [`CreateError`] says what is wrong with which object; nothing is left behind.
    pub fn create(reactors: &[ReactorHandle], spec: RaidSpec) -> Result<Arc<Self>, CreateError> {
        static NEXT_KEY: AtomicU64 = AtomicU64::new(1);
        if reactors.is_empty() {
            return Err(CreateError::NoReactor { name: spec.name });
        }
        let geometry = Arc::new(spec::geometry(&spec)?);
        let forced = std::env::var("RAID456_PARITY").ok();
        let kernel = parity::select(forced.as_deref())
            .map_err(|source| CreateError::Kernel { name: spec.name.clone(), source })?;
        let states = spec.members.iter().map(|member| match member {
            Some(_) => MemberState::InSync,
            None => MemberState::Missing,
        });
        let map = MemberMap::new(states.collect());
        let common = Arc::new(Common { info: info(&spec, &geometry), kernel });
        let array = Arc::new(Self {
            key: NEXT_KEY.fetch_add(1, Ordering::Relaxed),
            common,
            geometry,
            reactors: reactors.to_vec(),
            control: Mutex::new(ControlState { members: spec.members, map, stopped: false }),
        });
        array.start(spec.assume_clean)?;
        Ok(array)
    }

    fn start(&self, assume_clean: bool) -> Result<(), CreateError> {
        let control = self.lock();
        // Without every member there is nothing that parity could be compared with: it is all that
        // stands for the missing one, and has to be trusted.
        let initially = if assume_clean || !control.map.is_optimal() {
            Initially::InSync
        } else {
            Initially::OutOfSync
        };
        let mailboxes: Arc<[Mailbox]> =
            self.reactors.iter().map(|reactor| Mailbox::new(reactor.waker())).collect();
        for (index, reactor) in self.reactors.iter().enumerate() {
            let seed = ShardSeed {
                key: self.key,
                common: self.common.clone(),
                geometry: self.geometry.clone(),
                regions: self.regions(),
                place: ShardPlace { index, count: self.reactors.len() },
                members: control.members.clone(),
                map: control.map.clone(),
                initially,
                mailboxes: mailboxes.clone(),
            };
            let name = || self.common.info.name.clone();
            let planted = reactor
                .call(move |cx| seed.plant(cx))
                .map_err(|_| CreateError::Stopped { name: name(), reactor: reactor.index() })
                .and_then(|planted| planted);
            if let Err(error) = planted {
                self.uproot();
                return Err(error);
            }
        }
        if initially == Initially::OutOfSync {
            let key = self.key;
            self.reactors[0].send(move |cx| {
                let now = cx.now();
                if let Some(local) = cx.find_local::<Local>(key) {
                    local.shard.borrow_mut().start_resync(now);
                }
            });
        }
        Ok(())
    }

    /// Takes a member out while the array runs: it is degraded from then on.
    ///
    /// # Errors
    /// When there is no such member, or the array cannot do without it.
    pub fn remove_member(&self, slot: Slot) -> Result<(), RemoveError> {
        let name = || self.common.info.name.clone();
        let snapshot = self.snapshot();
        let mut control = self.lock();
        if !matches!(control.members.get(slot.index()), Some(Some(_))) {
            let present = (0..control.members.len()).filter(|&i| control.members[i].is_some());
            let present = present.collect();
            return Err(RemoveError::NoMember { name: name(), slot: slot.index(), present });
        }
        let missing = control.map.missing().len();
        let allowed = self.geometry.parity_strips();
        if missing >= allowed {
            let level = self.geometry.level();
            return Err(RemoveError::NotRedundant { name: name(), missing, level, allowed });
        }
        if snapshot.regions_in_sync < snapshot.regions {
            let unsynced = snapshot.regions - snapshot.regions_in_sync;
            let regions = snapshot.regions;
            return Err(RemoveError::NotInSync { name: name(), unsynced, regions });
        }
        let map = control.map.with_state(slot, MemberState::Missing);
        let rested = self.quiesce();
        // Whether or not all came to rest, those that did must go on. With the old map: then nothing
        // has changed.
        let map = if rested.is_ok() { map } else { control.map.clone() };
        self.resume(&map);
        rested?;
        control.map = map;
        control.members[slot.index()] = None;
        tracing::warn!(
            array = self.common.info.name,
            slot = slot.index(),
            "member removed: the array is degraded"
        );
        Ok(())
    }

    /// The array as it is now.
    #[must_use]
    pub fn snapshot(&self) -> RaidSnapshot {
        let key = self.key;
        let mut shards = Vec::new();
        let mut status = None;
        for reactor in &self.reactors {
            let answer = reactor.call(move |cx| {
                cx.find_local::<Local>(key).map(|local| local.shard.borrow().status())
            });
            if let Ok(Some((shard, log))) = answer {
                shards.push(shard);
                status = status.or(log);
            }
        }
        let log = status.unwrap_or_default();
        let control = self.lock();
        let members = (0u8..).zip(&control.members).map(|(slot, member)| MemberSnapshot {
            name: member.as_ref().map(|member| member.info().name.clone()),
            uuid: member.as_ref().map(|member| member.info().uuid),
            data_offset_bytes: self.geometry.data_offset_bytes(Slot(slot)),
            data_size_bytes: self.geometry.component_bytes(),
        });
        let running = log
            .resyncing
            .then_some(ResyncProgress { regions_done: log.regions_in_sync, regions: log.regions });
        RaidSnapshot {
            level: self.geometry.level(),
            layout: self.geometry.layout(),
            strip_bytes: self.geometry.strip_bytes(),
            members: members.collect(),
            resync: running,
            regions: log.regions,
            regions_in_sync: log.regions_in_sync,
            regions_dirty: log.regions_dirty,
            mismatched_rows: log.mismatched_rows,
            shards,
        }
    }

    /// Where bytes lie.
    #[must_use]
    pub fn geometry(&self) -> &Arc<Geometry> {
        &self.geometry
    }

    /// Stops the array: requests in flight end, members are flushed, their channels are closed. Later
    /// requests are answered with `Gone`. A second call does nothing.
    ///
    /// # Errors
    /// When requests do not end, or members cannot be flushed; the array is stopped nevertheless.
    pub fn stop(&self) -> Result<(), RestError> {
        let mut control = self.lock();
        if std::mem::replace(&mut control.stopped, true) {
            return Ok(());
        }
        let rested = self.drain().and_then(|()| self.quiesce()).and_then(|()| self.flush());
        self.uproot();
        control.members.iter_mut().for_each(|member| *member = None);
        rested
    }

    /// Waits until every host request is answered; new ones are refused.
    fn drain(&self) -> Result<(), RestError> {
        self.on_every_shard(|shard, _| shard.drain());
        const STEP: Duration = Duration::from_millis(1);
        for _ in 0..QUIESCE_TIMEOUT_S * 1000 {
            let key = self.key;
            let drained = self.reactors.iter().all(|reactor| {
                let answer = reactor.call(move |cx| {
                    cx.find_local::<Local>(key).is_none_or(|l| l.shard.borrow().is_drained())
                });
                answer.unwrap_or(true)
            });
            if drained {
                return Ok(());
            }
            let (_keep, never) = bounded::<()>(0);
            let _ = never.recv_timeout(STEP);
        }
        Err(RestError::TimedOut { name: self.common.info.name.clone(), seconds: QUIESCE_TIMEOUT_S })
    }

    /// Brings every shard to rest.
    fn quiesce(&self) -> Result<(), RestError> {
        let (ready, rested) = bounded(self.reactors.len());
        self.on_every_shard(move |shard, cx| shard.quiesce(cx.now(), ready.clone()));
        for _ in &self.reactors {
            self.wait(rested.recv_timeout(Duration::from_secs(QUIESCE_TIMEOUT_S)))?;
        }
        Ok(())
    }

    fn resume(&self, map: &MemberMap) {
        let map = map.clone();
        self.on_every_shard(move |shard, cx| shard.resume(cx.now(), map.clone()));
    }

    /// Flushes every member once.
    fn flush(&self) -> Result<(), RestError> {
        let (ready, flushed) = bounded(1);
        let key = self.key;
        self.reactors[0].send(move |cx| {
            if let Some(local) = cx.find_local::<Local>(key) {
                local.shard.borrow_mut().flush_members(ready);
            }
        });
        let failed = self.wait(flushed.recv_timeout(Duration::from_secs(QUIESCE_TIMEOUT_S)))?;
        match failed.first() {
            None => Ok(()),
            Some(&status) => Err(RestError::Flush {
                name: self.common.info.name.clone(),
                count: failed.len(),
                status,
            }),
        }
    }

    fn wait<T>(&self, answer: Result<T, RecvTimeoutError>) -> Result<T, RestError> {
        let name = || self.common.info.name.clone();
        answer.map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                RestError::TimedOut { name: name(), seconds: QUIESCE_TIMEOUT_S }
            }
            RecvTimeoutError::Disconnected => RestError::Stopped { name: name() },
        })
    }

    /// Removes the shards from their reactors.
    fn uproot(&self) {
        let key = self.key;
        for reactor in &self.reactors {
            // A reactor that is stopped has dropped the shard already.
            let _ = reactor.call(move |cx| {
                if let Some(local) = cx.remove_local::<Local>(key) {
                    local.shard.borrow_mut().stop();
                    if let Some(poller) = local.poller.take() {
                        cx.remove_poller(poller);
                    }
                }
            });
        }
    }

    fn on_every_shard(&self, f: impl Fn(&mut ArrayShard, &mut Cx) + Clone + Send + 'static) {
        let key = self.key;
        for reactor in &self.reactors {
            let f = f.clone();
            reactor.send(move |cx| {
                if let Some(local) = cx.find_local::<Local>(key) {
                    f(&mut local.shard.borrow_mut(), cx);
                }
            });
        }
    }

    fn regions(&self) -> Regions {
        let component_bytes = self.geometry.component_bytes();
        let least = (component_bytes.div_ceil(REGIONS_MAX)).next_power_of_two();
        let region_bytes = REGION_BYTES.max(least);
        Regions::new(region_bytes, self.geometry.strip_bytes(), self.geometry.stripes())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ControlState> {
        // A control thread that panicked has left no change half done: states are set last.
        self.control.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Bdev for RaidBdev {
    fn info(&self) -> &BdevInfo {
        &self.common.info
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        let unavailable = |reason: &str| OpenError::Unavailable {
            bdev: self.common.info.name.clone(),
            reason: reason.to_owned(),
        };
        let local = cx
            .find_local::<Local>(self.key)
            .ok_or_else(|| unavailable("it is stopped, or does not run on this reactor"))?;
        let channel = ArrayChannel::open(local.shard.clone())
            .ok_or_else(|| unavailable("it has too many users on this reactor; close one"))?;
        Ok(Box::new(channel))
    }
}

/// What travels to a reactor to become a shard there.
struct ShardSeed {
    key: u64,
    common: Arc<Common>,
    geometry: Arc<Geometry>,
    regions: Regions,
    place: ShardPlace,
    members: Vec<Option<Arc<dyn Bdev>>>,
    map: MemberMap,
    initially: Initially,
    mailboxes: Arc<[Mailbox]>,
}

impl ShardSeed {
    fn plant(self, cx: &mut Cx) -> Result<(), CreateError> {
        let name = || self.common.info.name.clone();
        let mut members = Vec::new();
        for member in &self.members {
            let channel = match member {
                Some(bdev) => Some(
                    bdev.open_channel(cx)
                        .map_err(|source| CreateError::Open { name: name(), source })?,
                ),
                None => None,
            };
            members.push(channel.map(Member::new));
        }
        let coordinator = (self.place.index == 0).then(|| {
            let log = DirtyLog::new(self.regions.count(), self.initially);
            Coordinator::new(log, self.place.count, LEASES_MAX, !self.map.is_optimal())
        });
        let index = self.place.index;
        let core =
            Shard::new(self.geometry.clone(), self.map, self.place, self.regions, self.initially);
        let post = Post::new(self.mailboxes);
        let parts = Parts { common: self.common.clone(), index, core, coordinator, members, post };
        let shard = ArrayShard::new(parts)
            .map_err(|source| CreateError::Memory { name: name(), source })?;
        let shard = std::rc::Rc::new(RefCell::new(shard));
        let poller = cx.add_poller(Box::new(ShardPoller::new(shard.clone())));
        cx.local::<Local>(self.key, |_| Local { shard, poller: Cell::new(Some(poller)) });
        Ok(())
    }
}

/// What shard 0 tells about the log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LogStatus {
    resyncing: bool,
    regions: u64,
    regions_in_sync: u64,
    regions_dirty: u64,
    mismatched_rows: u64,
}

impl ArrayShard {
    fn status(&self) -> (ShardSnapshot, Option<LogStatus>) {
        let shard = ShardSnapshot { core: *self.core.counters(), shell: self.counters };
        let log = self.coordinator.as_ref().map(|coordinator| LogStatus {
            resyncing: coordinator.resync() != Resync::Idle,
            regions: coordinator.log().regions(),
            regions_in_sync: coordinator.log().sync_count(),
            regions_dirty: coordinator.log().dirty_count(),
            mismatched_rows: coordinator.mismatched_rows(),
        });
        (shard, log)
    }
}

fn info(spec: &RaidSpec, geometry: &Geometry) -> BdevInfo {
    let members = || spec.members.iter().flatten().map(|member| member.info());
    BdevInfo {
        name: spec.name.clone(),
        uuid: spec.uuid.unwrap_or_else(Uuid::new_v4),
        product_name: "Raid Volume",
        block_size_bytes: geometry.block_size_bytes(),
        num_blocks: geometry.array_bytes() / u64::from(geometry.block_size_bytes()),
        volatile_cache: members().any(|info| info.volatile_cache),
        unmap_reads_zero: true,
        optimal_write_bytes: u32::try_from(geometry.stripe_bytes()).unwrap_or(0),
        supported: IoTypes::ALL,
        detail: BackendDetail::None,
    }
}
