//! The control handle of an array: making it, telling it what to do, stopping it.
//!
//! Straight-line code on a control thread that sends commands to the reactors and waits for their
//! answers. What becomes of a command is the coordinator's business; here it is only asked and waited
//! for:
//!
//! ```text
//!   create, assemble   foundation --> shards on every reactor --> Start
//!   stop               hosts drained --> Stop --> Stopped --> shards removed
//! ```
//!
//! Not here: the data path (`shard`), what an array starts with (`start`), changing its members
//! (`seats`).

use crate::channel::ArrayChannel;
use crate::conduct::Conductor;
use crate::limits::{DRAIN_BLOCKED_S, FIRST_UPDATE_S, LEASE_CHECK_NS, QUIESCE_TIMEOUT_S};
use crate::look::Seen;
use crate::member::Member;
use crate::message::{Mailbox, Post};
use crate::patience;
use crate::shard::{ArrayShard, Common, Parts, ShardPoller};
use crate::snapshot::{MemberSnapshot, RaidSnapshot};
use crate::spec::{self, ArrayEvent, CreateError, KnownRaid, RaidSpec, RestError};
use crate::start::{self, Foundation};
use crate::tuning::{self, Tuning};
use crossbeam::channel::{Sender, bounded};
use crossbeam::utils::CachePadded;
use device::{BackendDetail, Bdev, BdevInfo, IoChannel, IoTypes, Leeway, OpenError, uuid_or_new};
use raid::coordinator::pace::Rates;
use raid::coordinator::{Action, ActionError, Coordinator, CoordinatorSpec, Input, Permit, Policy};
use raid::dirty_log::LogHealth;
use raid::event::WorkKind;
use raid::geometry::Geometry;
use raid::shard::{Shard, ShardPlace, Writes};
use raid::superblock::Superblock;
use raid::units::{Slot, SlotSet};
use reactor::{Cx, PollerId, ReactorHandle, Ticks, TimerId};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// A raid bdev.
#[derive(Debug)]
pub struct RaidBdev {
    key: u64,
    pub(crate) common: Arc<Common>,
    pub(crate) geometry: Arc<Geometry>,
    pub(crate) reactors: Vec<ReactorHandle>,
    log: Option<String>,
    /// The devices in the slots; held for a moment only, so that looking on never waits for a command.
    seats: Mutex<Vec<Option<Arc<dyn Bdev>>>>,
    /// One command at a time: whether the array is stopped.
    control: Mutex<bool>,
    /// The members at the end of an array that is stopped.
    end: OnceLock<Vec<MemberSnapshot>>,
}

/// What a reactor keeps of an array: the shard, and the poller that drives it.
pub(crate) struct Local {
    pub(crate) shard: std::rc::Rc<RefCell<ArrayShard>>,
    poller: Cell<Option<PollerId>>,
    timer: Cell<Option<TimerId>>,
}

impl RaidBdev {
    /// Makes an array and starts it: a shard on every reactor. A resync starts unless all members are
    /// vouched for or one is missing.
    ///
    /// # Errors
    /// [`CreateError`] says what is wrong with which object; nothing is left behind.
    pub fn create(reactors: &[ReactorHandle], spec: RaidSpec) -> Result<Arc<Self>, CreateError> {
        let reactor = first(reactors, &spec.name)?;
        let geometry = spec::geometry(&spec)?;
        let devices = spec.members.iter().chain(&spec.options.metadata).flatten();
        start::check_lingering(&spec.name, devices.chain(&spec.options.log))?;
        start::check_log(reactor, &spec)?;
        let info = info(&spec.name, spec.uuid, &spec.members, &geometry);
        let foundation = start::new_array(reactor, &spec, &info, &geometry)?;
        let options = &spec.options;
        let behaviour = Behaviour {
            policy: options.policy,
            rates: options.rates,
            permit: options.permit,
            io_timeout: options.io_timeout,
            events: options.events.clone(),
            tuning: options.tuning,
        };
        let devices = Devices { members: spec.members, metadata: spec.options.metadata };
        Self::build(reactors, info, geometry, devices, foundation, behaviour)
    }

    /// Starts a known array again, as its members' superblocks describe it.
    ///
    /// # Errors
    /// [`CreateError`] says why it may not start; nothing has changed on the members then.
    pub fn assemble(
        reactors: &[ReactorHandle],
        known: KnownRaid,
    ) -> Result<Arc<Self>, CreateError> {
        let superblock = &known.assembly.superblock;
        let name = known.name.clone().unwrap_or_else(|| superblock.array_name.clone());
        let reactor = first(reactors, &name)?;
        let geometry = Geometry::new(superblock.geometry_spec())
            .map_err(|source| CreateError::Geometry { name: name.clone(), source })?;
        let devices = known.members.iter().chain(&known.metadata).flatten();
        start::check_lingering(&name, devices.chain(&known.log))?;
        let info = info(&name, Some(superblock.array_uuid), &known.members, &geometry);
        let foundation = start::known_array(reactor, &known, &geometry)?;
        let behaviour = Behaviour {
            policy: Policy {
                log: superblock.on_log_failure,
                member: raid::coordinator::OnMemberFailure::Continue,
                recorded: false,
            },
            rates: known.rates,
            permit: known.permit,
            io_timeout: known.io_timeout,
            events: known.events,
            tuning: known.tuning,
        };
        let devices = Devices { members: known.members, metadata: known.metadata };
        Self::build(reactors, info, geometry, devices, foundation, behaviour)
    }

    fn build(
        reactors: &[ReactorHandle],
        info: BdevInfo,
        geometry: Geometry,
        devices: Devices,
        foundation: Foundation,
        behaviour: Behaviour,
    ) -> Result<Arc<Self>, CreateError> {
        static NEXT_KEY: AtomicU64 = AtomicU64::new(1);
        let forced = std::env::var("RAID456_PARITY").ok();
        let kernel = parity::select(forced.as_deref())
            .map_err(|source| CreateError::Kernel { name: info.name.clone(), source })?;
        let kernel = AtomicUsize::new(tuning::place_of(kernel.name()).unwrap_or_default());
        let io_timeout_ns = u64::try_from(behaviour.io_timeout.as_nanos()).unwrap_or(u64::MAX);
        let host_bytes = reactors.iter().map(|_| CachePadded::new(AtomicU64::new(0))).collect();
        let array = Arc::new(Self {
            key: NEXT_KEY.fetch_add(1, Ordering::Relaxed),
            common: Arc::new(Common {
                info: Arc::new(info),
                kernel,
                io_timeout_ns,
                waits_for_owner: AtomicBool::new(false),
                host_bytes,
            }),
            geometry: Arc::new(geometry),
            reactors: reactors.to_vec(),
            log: foundation.log_bdev.as_ref().map(|bdev| bdev.info().name.clone()),
            seats: Mutex::new(devices.members),
            control: Mutex::new(false),
            end: OnceLock::new(),
        });
        array.start(foundation, behaviour, devices.metadata)?;
        Ok(array)
    }

    fn start(
        &self,
        foundation: Foundation,
        behaviour: Behaviour,
        metadata: Vec<Option<Arc<dyn Bdev>>>,
    ) -> Result<(), CreateError> {
        let _command = self.lock();
        let members = self.members();
        let mailboxes: Arc<[Mailbox]> =
            self.reactors.iter().map(|reactor| Mailbox::new(reactor.waker())).collect();
        let map = foundation.map.clone();
        let in_sync = foundation.log.in_sync_bits().clone();
        let (regions, stale) = (foundation.regions, foundation.stale.clone());
        let vouched = foundation.vouched;
        let (tuning, count) = (behaviour.tuning, self.reactors.len());
        let mut chair = Some(Chair { foundation, behaviour, metadata });
        for (index, reactor) in self.reactors.iter().enumerate() {
            let place = ShardPlace { index, count };
            let (geometry, in_sync) = (self.geometry.clone(), in_sync.clone());
            let mut core = Shard::new(geometry, map.clone(), place, regions, in_sync, vouched);
            tuning::tune(&mut core, tuning, count);
            if !map.rebuilding().is_empty() {
                let mut nothing = raid::event::Actions::new();
                core.resume(map.clone(), Some(stale.clone()), Writes::Allowed, 0, &mut nothing);
            }
            let seed = ShardSeed {
                key: self.key,
                common: self.common.clone(),
                core,
                place,
                members: members.clone(),
                chair: chair.take(),
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
        self.on_shard(0, |shard, now| shard.coordinate(now, Input::Start));
        Ok(())
    }

    /// Requests a check or repair, or that what is left to resync or rebuild goes on.
    ///
    /// # Errors
    /// While another action runs, or when the array cannot.
    pub fn request(&self, kind: WorkKind) -> Result<(), ActionError> {
        let asked =
            self.on_shard(0, move |shard, now| shard.command(now, |core, _| core.request(kind)));
        asked.unwrap_or(Err(ActionError::Unable))
    }

    /// Interrupts the background action; with `frozen` none starts until the next request.
    pub fn interrupt(&self, frozen: bool) {
        self.on_shard(0, move |shard, now| {
            shard.command(now, |core, orders| core.interrupt(frozen, orders));
        });
    }

    /// Changes the bounds of the speed of background actions.
    pub fn set_rates(&self, rates: Rates) {
        self.on_shard(0, move |shard, now| shard.command(now, |core, _| core.set_rates(rates)));
    }

    /// Whether background actions may work: arrays that share a device do so one after the other.
    pub fn set_permit(&self, permit: Permit) {
        self.on_shard(0, move |shard, now| shard.coordinate(now, Input::Permit(permit)));
    }

    /// What goes on in the background.
    #[must_use]
    pub fn action(&self) -> Action {
        let action = |shard: &mut ArrayShard, _| {
            shard.conductor.as_ref().map(|conductor| conductor.core.action())
        };
        self.on_shard(0, action).flatten().unwrap_or(Action::Idle)
    }

    /// Has so many requests of each reactor be followed in the log, from now on; 0 for no more.
    pub fn trace(&self, requests: u64) {
        self.on_every_shard(move |shard, _| shard.tracer.follow(requests));
    }

    /// The owner has taken note of what failed: held writes go on.
    pub fn allow_writes(&self) {
        self.on_shard(0, |shard, now| shard.coordinate(now, Input::AllowWrites));
    }

    /// The owner has recorded durably that these slots have no member, and whether the log has failed: if
    /// that is all there is to say, writes that wait for it go on.
    pub fn recorded(&self, missing: SlotSet, log_failed: bool) {
        let recorded = Input::Recorded { missing, log_failed };
        self.on_shard(0, move |shard, now| shard.coordinate(now, recorded));
    }

    /// What the members' superblocks say in the last update that was begun, for arrays that have them. The first one
    /// of a new array is waited for, but not for long: its event count is 0 if there is none yet.
    #[must_use]
    pub fn superblock(&self) -> Option<Superblock> {
        let told = || {
            let found = self.on_shard(0, |shard, _| {
                shard.conductor.as_ref().and_then(|conductor| conductor.core.superblocks().cloned())
            });
            found.flatten()
        };
        let has_begun = || told().is_none_or(|superblock| superblock.events > 0);
        // Whoever asks sees by the count whether it has.
        let _ = self.poll_until(FIRST_UPDATE_S, has_begun);
        told()
    }

    /// The devices in the slots, whatever their state.
    #[must_use]
    pub fn members(&self) -> Vec<Option<Arc<dyn Bdev>>> {
        self.seats().clone()
    }

    /// Name of the log bdev, where there is one.
    #[must_use]
    pub fn log_name(&self) -> Option<&str> {
        self.log.as_deref()
    }

    /// The members as they are; of an array that is stopped, as they were at its end.
    #[must_use]
    pub fn members_known(&self) -> Vec<MemberSnapshot> {
        let now = self.snapshot().members;
        // In this order: what was asked before the end is as good.
        self.end.get().cloned().unwrap_or(now)
    }

    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    pub(crate) fn reactors(&self) -> &[ReactorHandle] {
        &self.reactors
    }

    /// Where bytes lie.
    #[must_use]
    pub fn geometry(&self) -> &Arc<Geometry> {
        &self.geometry
    }

    /// Stops the array: requests in flight end, members are flushed, log and superblocks say that it was
    /// stopped in order, channels are closed. Later requests are answered with `Gone`. A second call does
    /// nothing.
    ///
    /// # Errors
    /// When requests do not end, or too many members have failed; the array is stopped nevertheless.
    pub fn stop(&self) -> Result<(), RestError> {
        self.stop_telling().1
    }

    /// The same. Tells how the array was at its very end: a member may have failed the last flush (**R9**).
    pub fn stop_telling(&self) -> (RaidSnapshot, Result<(), RestError>) {
        self.stop_within(self.quiesce_timeout_s())
    }

    /// How long the control path waits for it to come to rest. Requests that are with devices that hang end
    /// when these are given up, one after the other, and those may be arrays that do the same below.
    pub(crate) fn quiesce_timeout_s(&self) -> u64 {
        QUIESCE_TIMEOUT_S.max(self.leeway().answers_within.as_secs() + 1)
    }

    /// The same with a patience of `seconds`, once for requests in flight and once for what is recorded.
    fn stop_within(&self, seconds: u64) -> (RaidSnapshot, Result<(), RestError>) {
        let before = self.snapshot();
        if *self.lock() {
            return (before, Ok(()));
        }
        let patience = if before.waiting_for_owner { DRAIN_BLOCKED_S } else { seconds };
        let rested = self.drain(patience).and_then(|()| self.stop_in_order(seconds));
        let end = self.snapshot();
        // Before the shards are gone: who asks meanwhile gets one or the other.
        let _ = self.end.set(end.members.clone());
        self.uproot();
        *self.lock() = true;
        self.seats().iter_mut().for_each(|member| *member = None);
        let outcome = rested.and_then(|()| match end.broken {
            true => Err(RestError::Broken { name: self.common.info.name.clone() }),
            false => Ok(()),
        });
        (end, outcome)
    }

    /// Waits until every host request is answered; new ones are refused.
    fn drain(&self, seconds: u64) -> Result<(), RestError> {
        self.on_every_shard(|shard, _| shard.drain());
        self.poll_until(seconds, || {
            let drained = |index| self.on_shard(index, |shard, _| shard.is_drained());
            (0..self.reactors.len()).all(|index| drained(index).unwrap_or(true))
        })
    }

    fn stop_in_order(&self, seconds: u64) -> Result<(), RestError> {
        let name = || self.common.info.name.clone();
        let (tell, stopped) = bounded(1);
        self.on_shard(0, move |shard, now| shard.begin_stop(now, tell));
        stopped.recv_timeout(Duration::from_secs(seconds)).map_err(|error| match error {
            crossbeam::channel::RecvTimeoutError::Timeout => {
                RestError::TimedOut { name: name(), seconds }
            }
            crossbeam::channel::RecvTimeoutError::Disconnected => {
                RestError::Stopped { name: name() }
            }
        })
    }

    /// Waits until the coordinator is in a state.
    pub(crate) fn wait_for(&self, is_so: impl Fn(&Seen) -> bool) -> Result<(), RestError> {
        self.poll_until(self.quiesce_timeout_s(), || {
            let seen = self.on_shard(0, |shard, _| shard.see());
            seen.flatten().is_none_or(|seen| is_so(&seen))
        })
    }

    pub(crate) fn poll_until(
        &self,
        seconds: u64,
        is_so: impl Fn() -> bool,
    ) -> Result<(), RestError> {
        const STEP: Duration = Duration::from_millis(1);
        // A reactor that sleeps, or has much to do, takes longer to ask than a step is.
        let end = reactor::clock::now() + Ticks::from_secs(seconds);
        while !is_so() {
            if reactor::clock::now() >= end {
                return Err(RestError::TimedOut { name: self.common.info.name.clone(), seconds });
            }
            let (_keep, never) = bounded::<()>(0);
            let _ = never.recv_timeout(STEP);
        }
        Ok(())
    }

    /// Removes the shards from their reactors.
    fn uproot(&self) {
        let key = self.key;
        for reactor in &self.reactors {
            // A reactor that is stopped has dropped the shard already.
            let _ = reactor.call(move |cx| {
                if let Some(local) = cx.remove_local::<Local>(key) {
                    local.shard.borrow_mut().stop(cx);
                    if let Some(poller) = local.poller.take() {
                        cx.remove_poller(poller);
                    }
                    if let Some(timer) = local.timer.take() {
                        cx.cancel_timer(timer);
                    }
                }
            });
        }
    }

    /// Does something on one shard; `None` if it is gone.
    pub(crate) fn on_shard<R: Send + 'static>(
        &self,
        index: usize,
        act: impl FnOnce(&mut ArrayShard, Ticks) -> R + Send + 'static,
    ) -> Option<R> {
        let key = self.key;
        let answer = self.reactors[index].call(move |cx| {
            let now = cx.now();
            cx.find_local::<Local>(key).map(|local| act(&mut local.shard.borrow_mut(), now))
        });
        answer.ok().flatten()
    }

    pub(crate) fn on_every_shard(
        &self,
        act: impl Fn(&mut ArrayShard, Ticks) + Clone + Send + 'static,
    ) {
        for index in 0..self.reactors.len() {
            self.on_shard(index, act.clone());
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, bool> {
        // A control thread that panicked has left no change half done: states are set last.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn seats(&self) -> MutexGuard<'_, Vec<Option<Arc<dyn Bdev>>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn first<'a>(reactors: &'a [ReactorHandle], name: &str) -> Result<&'a ReactorHandle, CreateError> {
    reactors.first().ok_or_else(|| CreateError::NoReactor { name: name.to_owned() })
}

impl Bdev for RaidBdev {
    fn info(&self) -> Arc<BdevInfo> {
        Arc::clone(&self.common.info)
    }

    fn ends_what_is_given_up(&self) -> bool {
        true
    }

    fn leeway(&self) -> Leeway {
        let mut below = Leeway::over(self.seats().iter().flatten());
        below.waits |= self.common.waits_for_owner.load(Ordering::Relaxed);
        let faults = self.geometry.parity_strips() + usize::from(self.log.is_some());
        patience::leeway(self.common.io_timeout_ns, below, faults)
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

/// How an array behaves, whether it is new or known.
#[derive(Debug)]
struct Behaviour {
    policy: Policy,
    rates: Rates,
    permit: Permit,
    io_timeout: Duration,
    events: Option<Sender<ArrayEvent>>,
    tuning: Tuning,
}

/// The devices of an array, by slot.
struct Devices {
    members: Vec<Option<Arc<dyn Bdev>>>,
    metadata: Vec<Option<Arc<dyn Bdev>>>,
}

/// What the shard with the coordinator is given besides.
#[derive(Debug)]
struct Chair {
    foundation: Foundation,
    behaviour: Behaviour,
    metadata: Vec<Option<Arc<dyn Bdev>>>,
}

/// What travels to a reactor to become a shard there.
struct ShardSeed {
    key: u64,
    common: Arc<Common>,
    core: Shard,
    place: ShardPlace,
    members: Vec<Option<Arc<dyn Bdev>>>,
    chair: Option<Chair>,
    mailboxes: Arc<[Mailbox]>,
}

impl ShardSeed {
    fn plant(self, cx: &mut Cx) -> Result<(), CreateError> {
        let name = self.common.info.name.clone();
        let mut open = |bdev: &Arc<dyn Bdev>| {
            let channel = bdev
                .open_channel(cx)
                .map_err(|source| CreateError::Open { name: name.clone(), source })?;
            Ok::<Member, CreateError>(Member::new(bdev, channel))
        };
        let map = self.core.map();
        let mut members = Vec::new();
        for (slot, member) in (0u8..).zip(&self.members) {
            let usable = member.as_ref().filter(|_| !map.missing().contains(Slot(slot)));
            members.push(usable.map(&mut open).transpose()?);
        }
        let conductor = match self.chair {
            None => None,
            Some(chair) => {
                let log = chair.foundation.log_bdev.as_ref().map(&mut open).transpose()?;
                let mut metadata = BTreeMap::new();
                for (slot, device) in (0u8..).zip(&chair.metadata) {
                    let slot = Slot(slot);
                    if let Some(device) = device {
                        metadata.insert(slot, open(device)?);
                    }
                }
                let apart = !chair.metadata.is_empty();
                let mut conductor = conductor(chair, log, &self.core, self.place.count);
                conductor.metadata = apart.then_some(metadata);
                Some(Box::new(conductor))
            }
        };
        let post = Post::new(self.mailboxes);
        let index = self.place.index;
        let parts =
            Parts { common: self.common.clone(), index, core: self.core, conductor, members, post };
        let shard = ArrayShard::new(parts, cx)
            .map_err(|source| CreateError::Memory { name: name.clone(), source })?;
        let shard = std::rc::Rc::new(RefCell::new(shard));
        let poller = cx.add_poller(Box::new(ShardPoller::new(shard.clone())));
        // Wakes a reactor that sleeps, so that leases and timeouts are looked at.
        let first = Ticks(cx.now().0 + LEASE_CHECK_NS);
        let timer = cx.add_timer(first, Box::new(|cx| Some(Ticks(cx.now().0 + LEASE_CHECK_NS))));
        let (poller, timer) = (Cell::new(Some(poller)), Cell::new(Some(timer)));
        cx.local::<Local>(self.key, |_| Local { shard, poller, timer });
        Ok(())
    }
}

fn conductor(chair: Chair, log: Option<Member>, core: &Shard, shards: usize) -> Conductor {
    let Chair { foundation, behaviour, .. } = chair;
    let geometry = core.geometry();
    let coordinator = Coordinator::new(CoordinatorSpec {
        log: foundation.log,
        log_health: LogHealth::Alive,
        regions: foundation.regions,
        shards,
        map: foundation.map,
        stale: foundation.stale,
        parity_strips: geometry.parity_strips(),
        parity_slots: geometry.layout().parity_slots(geometry.level(), geometry.members()),
        strip_bytes: geometry.strip_bytes(),
        superblock: foundation.superblock,
        vouched: foundation.vouched,
        policy: behaviour.policy,
        rates: behaviour.rates,
        stretch_bytes: raid::limits::WORK_BYTES,
        frozen: behaviour.tuning.frozen,
        permit: behaviour.permit,
    });
    Conductor::new(coordinator, log, behaviour.events)
}

fn info(
    name: &str,
    uuid: Option<Uuid>,
    members: &[Option<Arc<dyn Bdev>>],
    geometry: &Geometry,
) -> BdevInfo {
    let mut members = members.iter().flatten().map(|member| member.info());
    BdevInfo {
        name: name.to_owned(),
        uuid: uuid_or_new(uuid),
        product_name: "Raid Volume",
        block_size_bytes: geometry.block_size_bytes(),
        num_blocks: geometry.array_bytes() / u64::from(geometry.block_size_bytes()),
        volatile_cache: members.any(|info| info.volatile_cache),
        unmap_reads_zero: true,
        optimal_write_bytes: u32::try_from(geometry.stripe_bytes()).unwrap_or(0),
        supported: IoTypes::ALL,
        detail: BackendDetail::None,
    }
}

#[cfg(test)]
mod tests;
