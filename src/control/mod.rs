//! The control plane: what exists, and how it comes and goes.
//!
//! [`Control`] is the one object of a running service: the reactors and the registry of bdevs. Its
//! methods are straight-line code on the caller's thread: they check, build, and only then change
//! the registry, under one lock, so that each happens entirely or not at all and none sees another
//! half done. Where a reactor has to act, they send it a message and wait for the answer; reactors
//! never take this lock.
//!
//! ```text
//!   Starting --- finish_startup ---> Running --- shutdown ---> Stopped
//!      |                                                         ^
//!      `---------- shutdown: files made so far are removed ------'
//! ```
//!
//! Files that a configuration makes are provisional until the whole of it has been applied: a
//! service that refuses to start leaves nothing behind.
//!
//! Mapped devices, whose tables change, are `mapped`'s.
//!
//! Invariants: R6 through [`crate::limits`]; R9: a flush that fails on the way out is reported, not
//! repeated.
//!
//! Not here: JSON (`methods`, and `config` for its shape), threads of the RPC server (`rpc`).

mod assembly;
pub mod config;
mod cores;
mod error;
mod faults;
mod flush;
mod hints;
mod keeping;
mod kept;
mod listen;
mod mapped;
mod new_file;
mod notices;
mod nvmf;
mod occupied;
mod permits;
mod raid;
mod recipe;
mod registry;
mod resize;
mod spares;
mod split;
pub mod survey;
mod switches;
#[cfg(test)]
mod tests;
mod wall;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::raid::coordinator::pace::Rates;
use array::{ArrayEvent, RaidBdev};
use crossbeam::channel::{Sender, bounded};
use device::{
    AioBdev, AioSpec, Bdev, DelayBdev, ErrorBdev, Limits, MallocBdev, MallocSpec, NullBdev,
    NullSpec, UringBdev, UringSpec,
};
use reactor::{CpuSet, PollMode, ReactorHandle, Reactors, ReactorsConfig, clock};
use uuid::Uuid;

pub use assembly::WaitingRaid;
pub use config::{Config, ConfigError};
pub use error::ControlError;
pub use faults::DelayRequest;
pub use flush::flush;
pub use hints::Hints;
pub(crate) use keeping::Unrecorded;
pub use kept::{CallSource, KeptCall, KeptCalls};
pub use listen::{Listen, NoAddress};
pub use mapped::{MAJOR, MappedError, MappedInfo, MappedRequest, MappedStatus, Remade, TargetLine};
pub(crate) use notices::action_word;
pub use notices::{Notice, NoticeKind};
pub use nvmf::NamespaceRequest;
pub use raid::{RaidMessage, RaidRequest};
pub use reactor::StartError;
pub use recipe::Recipe;
pub use registry::{Claim, Kind, Membership};
pub use split::Part;
pub use survey::Survey;
pub use wall::unix_ms;
pub use watch::{Keeper, ReactorView, ThreadView};

use crate::keyring::Keyring;
use crate::limits;
use crate::nvmf::shell::Service;
use assembly::Known;
use keeping::Parity;
use new_file::NewFile;
use notices::Notices;
use registry::{Backing, Entry, Registry};
use survey::LastListing;
use switches::SwitchMonitor;
use watch::ChangeHook;

/// How the reactors of a service are to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// One reactor on each of these cores.
    pub cores: CpuSet,
    /// What they do when there is nothing to do.
    pub poll: PollMode,
    /// Buffers of each reactor, in bytes.
    pub buffer_bytes: usize,
    /// How long after the start a known array waits for members that are missing.
    pub patience: Duration,
    /// What arrays are given that ask for nothing else.
    pub defaults: RaidDefaults,
}

/// How arrays behave that ask for nothing else.
#[derive(Debug, Clone, Copy)]
pub struct RaidDefaults {
    /// How fast background actions go.
    pub rates: Rates,
    /// How long a request may be with a member.
    pub io_timeout: Duration,
}

impl Default for RaidDefaults {
    fn default() -> Self {
        let array::RaidOptions { rates, io_timeout, .. } = array::RaidOptions::default();
        Self { rates, io_timeout }
    }
}

impl Default for Options {
    /// Every core that the process may use and has the quota for, adaptive polling.
    fn default() -> Self {
        Self {
            cores: cores::default_cores(),
            poll: PollMode::Adaptive,
            buffer_bytes: limits::BUFFER_BYTES_PER_REACTOR,
            patience: Duration::ZERO,
            defaults: RaidDefaults::default(),
        }
    }
}

/// A bdev as others may see it.
#[derive(Debug, Clone)]
pub struct BdevView {
    /// The bdev.
    pub bdev: Arc<dyn Bdev>,
    /// The array, if it is one.
    pub raid: Option<Arc<RaidBdev>>,
    /// The error bdev, if it is one.
    pub error: Option<Arc<ErrorBdev>>,
    /// The delay bdev, if it is one.
    pub delay: Option<Arc<DelayBdev>>,
    /// The part of another bdev, if it is one.
    pub part: Option<Part>,
    /// Who uses it.
    pub claim: Option<Claim>,
    /// How much may be done with it in a second.
    pub limits: Limits,
    /// Whether the state of the service, if it keeps one, says how it is made.
    pub is_recorded: bool,
}

impl From<&Entry> for BdevView {
    fn from(entry: &Entry) -> Self {
        Self {
            bdev: Arc::clone(&entry.bdev),
            raid: entry.raid().cloned(),
            error: entry.error().cloned(),
            delay: entry.delay().cloned(),
            part: entry.part().cloned(),
            claim: entry.claim.clone(),
            limits: entry.counted.limits(),
            is_recorded: entry.is_recorded(),
        }
    }
}

/// Where a bdev's blocks are, for the kinds that live in files.
#[derive(Debug, Clone)]
pub struct FileRequest {
    /// Name of the new bdev.
    pub name: String,
    /// The file or block device.
    pub filename: PathBuf,
    /// Absent: the device's own.
    pub block_size_bytes: Option<u32>,
    /// Drawn at random when absent.
    pub uuid: Option<Uuid>,
    /// A file that is missing is made with this many MiB; absent: it has to be there.
    pub create_size_mib: Option<u64>,
}

/// What has gone wrong on the way out. Everything is stopped all the same.
#[derive(Debug, thiserror::Error)]
#[error("not everything is known to be on its device: {}", .0.join("; "))]
pub struct ShutdownError(Vec<String>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lifecycle {
    Starting,
    Running,
    Stopped,
}

#[derive(Debug)]
struct State {
    lifecycle: Lifecycle,
    registry: Registry,
    known: Known,
    /// How the arrays without superblocks were asked for, by name.
    requests: BTreeMap<String, RaidRequest>,
    /// Arrays whose background actions wait for those of others.
    queue: permits::Queue,
    /// What is to be looked at for superblocks, by whoever has added it.
    unexamined: Vec<assembly::Examinee>,
    /// How many are being looked at.
    examining: usize,
}

impl State {
    /// Refuses changes while the service is on its way out.
    fn admit_change(&self, name: &str) -> Result<(), ControlError> {
        match self.lifecycle {
            Lifecycle::Starting | Lifecycle::Running => Ok(()),
            Lifecycle::Stopped => Err(ControlError::Stopping { name: name.to_owned() }),
        }
    }
}

/// The running service: reactors and bdevs. Any thread may use it, except a reactor's. Dropping it
/// shuts it down.
#[derive(Debug)]
pub struct Control {
    handles: Vec<ReactorHandle>,
    reactors: Mutex<Option<Reactors>>,
    state: Mutex<State>,
    defaults: Mutex<RaidDefaults>,
    patience: Duration,
    events: Sender<ArrayEvent>,
    notices: Notices,
    hook: ChangeHook,
    nvmf: Service,
    keyring: Keyring,
    switches: SwitchMonitor,
    last_listing: LastListing,
    kept: KeptCalls,
    /// Whether a device that was kept has come, so that arrays wait for the others once more.
    has_come: AtomicBool,
    /// Bdevs whose arrays were stopped with their parity right.
    stopped: Mutex<BTreeSet<String>>,
    /// Whether the lifecycle is `Running`, for those who do not want to wait for the state.
    serving: AtomicBool,
    /// Whenever a bdev has come or gone or been looked at, or the service has stopped.
    changed: Condvar,
}

impl Control {
    /// Starts the reactors. There are no bdevs yet.
    ///
    /// # Errors
    ///
    /// A core that does not exist, or what the system refuses.
    pub fn start(options: Options) -> Result<Arc<Self>, StartError> {
        let Options { cores, poll, buffer_bytes, patience, defaults } = options;
        let reactors = Reactors::start(ReactorsConfig { cores, poll, buffer_bytes })?;
        for reactor in reactors.handles() {
            let core = reactor.core();
            // Only one that has just died does not answer, and then nothing else will go well.
            if let Ok(pages) = reactor.call(|cx| cx.pool().page_kind()) {
                tracing::info!(core, ?poll, buffer_bytes, ?pages, "reactor turns");
            }
        }
        let (events, watched) = bounded(limits::EVENTS_MAX);
        let keyring = Keyring::default();
        let control = Arc::new(Self {
            defaults: Mutex::new(defaults),
            patience,
            events,
            notices: Notices::default(),
            hook: ChangeHook::default(),
            nvmf: Service::new(reactors.handles(), keyring.clone()),
            keyring,
            switches: SwitchMonitor::default(),
            last_listing: LastListing::default(),
            kept: KeptCalls::default(),
            has_come: AtomicBool::new(false),
            stopped: Mutex::default(),
            serving: AtomicBool::new(false),
            handles: reactors.handles().to_vec(),
            reactors: Mutex::new(Some(reactors)),
            state: Mutex::new(State {
                lifecycle: Lifecycle::Starting,
                registry: Registry::default(),
                known: Known::default(),
                requests: BTreeMap::new(),
                queue: permits::Queue::default(),
                unexamined: Vec::new(),
                examining: 0,
            }),
            changed: Condvar::new(),
        });
        control.start_monitor(watched, patience);
        Ok(control)
    }

    /// How arrays behave that ask for nothing else.
    pub(crate) fn defaults(&self) -> RaidDefaults {
        *lock(&self.defaults)
    }

    /// Changes that, for arrays that are made from now on.
    pub fn set_defaults(&self, change: impl FnOnce(&mut RaidDefaults)) {
        change(&mut lock(&self.defaults));
    }

    /// Whether its end has begun: from then on bdevs go without anybody having asked for it.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state().lifecycle == Lifecycle::Stopped
    }

    /// Secrets by name.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// What configuration and state ask for, and cannot be made yet.
    pub fn kept(&self) -> &KeptCalls {
        &self.kept
    }

    /// The reactors, in ascending order of their cores.
    pub fn reactors(&self) -> &[ReactorHandle] {
        &self.handles
    }

    /// The configuration is applied, or there is none: from now on clients may ask for changes, and
    /// files that were made for bdevs stay.
    pub fn finish_startup(&self) {
        let mut state = self.state();
        if state.lifecycle == Lifecycle::Starting {
            state.lifecycle = Lifecycle::Running;
            state.registry.keep_files();
            self.serving.store(true, Ordering::Release);
        }
        drop(state);
        if self.patience.is_zero() {
            self.assemble_waiting();
        }
    }

    /// Whether [`finish_startup`](Self::finish_startup) was called.
    pub fn is_started(&self) -> bool {
        self.state().lifecycle != Lifecycle::Starting
    }

    /// Whether it is between its start and its end. Does not wait for commands that are under way.
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    /// The bdev of that name or alias.
    ///
    /// # Errors
    ///
    /// `NoSuchBdev`.
    pub fn bdev(&self, name: &str) -> Result<Arc<dyn Bdev>, ControlError> {
        self.state().registry.get(name).map(|entry| Arc::clone(&entry.bdev))
    }

    /// All bdevs in the order of their creation.
    pub fn bdevs(&self) -> Vec<BdevView> {
        self.state().registry.entries().iter().map(BdevView::from).collect()
    }

    /// The bdev of that name or alias, which may take until `patience` is at its end to appear.
    /// Gives up early when `give_up` says so or the service stops.
    ///
    /// # Errors
    ///
    /// `NoSuchBdev`.
    pub fn wait_for_bdev(
        &self,
        name: &str,
        patience: Duration,
        give_up: impl Fn() -> bool,
    ) -> Result<BdevView, ControlError> {
        let begin = clock::now();
        let mut state = self.state();
        loop {
            let found = state.registry.get(name).map(BdevView::from);
            let waited = Duration::from_nanos(clock::now().as_nanos() - begin.as_nanos());
            let left = patience.min(limits::WAIT_MAX).saturating_sub(waited);
            let over = left.is_zero() || state.lifecycle == Lifecycle::Stopped || give_up();
            if found.is_ok() || over {
                return found;
            }
            let slice = left.min(limits::WAIT_SLICE);
            let woken = self.changed.wait_timeout(state, slice);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Makes a null bdev and returns its name.
    ///
    /// # Errors
    ///
    /// A name or UUID that is taken; what the device refuses.
    pub fn create_null(&self, spec: NullSpec) -> Result<String, ControlError> {
        let name = spec.name.clone();
        self.create(
            Kind::Null,
            |_| name,
            spec.uuid,
            |_| Ok((NullBdev::create(spec)?, Backing::Null)),
        )
    }

    /// Makes a RAM disk and returns its name, which is made up if none is given.
    ///
    /// # Errors
    ///
    /// As [`create_null`](Self::create_null).
    pub fn create_malloc(
        &self,
        name: Option<String>,
        uuid: Option<Uuid>,
        block_size_bytes: u32,
        num_blocks: u64,
    ) -> Result<String, ControlError> {
        let name_of = |registry: &Registry| name.unwrap_or_else(|| registry.free_malloc_name());
        self.create(Kind::Malloc, name_of, uuid, |name| {
            let spec = MallocSpec { name, uuid, block_size_bytes, num_blocks };
            Ok((MallocBdev::create(spec)?, Backing::Malloc))
        })
    }

    /// Makes a bdev of a file or block device behind `io_uring` and returns its name.
    ///
    /// # Errors
    ///
    /// As [`create_null`](Self::create_null), and what the file system refuses.
    pub fn create_uring(&self, request: FileRequest) -> Result<String, ControlError> {
        let FileRequest { name, filename, block_size_bytes, uuid, create_size_mib } = request;
        self.create(
            Kind::Uring,
            |_| name,
            uuid,
            |name| {
                let file = make_file(&name, &filename, create_size_mib)?;
                let bdev = UringBdev::create(UringSpec { name, filename, block_size_bytes, uuid });
                let (bdev, file) = NewFile::of(bdev, file)?;
                Ok((bdev, Backing::Uring(file)))
            },
        )
    }

    /// Makes a bdev of a file or block device behind Linux AIO and returns its name. `fallocate`
    /// offers unmap and write-zeroes.
    ///
    /// # Errors
    ///
    /// As [`create_uring`](Self::create_uring).
    pub fn create_aio(
        &self,
        request: FileRequest,
        readonly: bool,
        fallocate: bool,
    ) -> Result<String, ControlError> {
        let FileRequest { name, filename, block_size_bytes, uuid, create_size_mib } = request;
        self.create(
            Kind::Aio,
            |_| name,
            uuid,
            |name| {
                let file = make_file(&name, &filename, create_size_mib)?;
                let bdev = AioBdev::create(AioSpec {
                    name,
                    filename,
                    block_size_bytes,
                    uuid,
                    readonly,
                    fallocate,
                });
                let (bdev, file) = NewFile::of(bdev, file)?;
                Ok((bdev, Backing::Aio(file)))
            },
        )
    }

    /// The frame of every creation: name, admit, make, add. It is made without the state, and its name is
    /// kept for it meanwhile: a file system that does not answer holds up who asks for it, and nobody else.
    fn create(
        &self,
        kind: Kind,
        name: impl FnOnce(&Registry) -> String,
        uuid: Option<Uuid>,
        make: impl FnOnce(String) -> Result<(Arc<dyn Bdev>, Backing), ControlError>,
    ) -> Result<String, ControlError> {
        let mut state = self.state();
        let name = name(&state.registry);
        state.admit_change(&name)?;
        state.registry.admit(&name, uuid)?;
        state.registry.reserve(&name, uuid, kind);
        drop(state);
        let made = make(name.clone());
        state = self.state();
        state.registry.unreserve(&name);
        let (bdev, backing) = made?;
        state.admit_change(&name)?;
        self.add(&mut state, bdev, backing);
        tracing::info!(bdev = name, "created");
        self.examine_new(state);
        Ok(name)
    }

    /// Adds a bdev. Whoever does so ends with [`examine_new`](Self::examine_new).
    fn add(&self, state: &mut State, bdev: Arc<dyn Bdev>, backing: Backing) {
        self.add_over(state, bdev, backing, None);
    }

    /// Adds a bdev that stands on another one, which it claims. Only then is it examined, or the array of
    /// its superblock would have two bdevs that are the same member.
    fn add_over(
        &self,
        state: &mut State,
        bdev: Arc<dyn Bdev>,
        backing: Backing,
        base: Option<&Arc<dyn Bdev>>,
    ) {
        let kind = backing.kind();
        let name = bdev.info().name.clone();
        self.notices.push(NoticeKind::BdevRegister, &name, None);
        if kind == Kind::Raid {
            state.queue.forget(&permits::Who::Bdev(name.clone()));
            self.notices.push(NoticeKind::RaidOnline, &name, None);
        }
        state.registry.insert(bdev, backing);
        if let Some(base) = base {
            state.registry.claim_base(kind, &name, base);
        }
        if state.lifecycle == Lifecycle::Running {
            state.registry.keep_files();
        }
        if assembly::is_examined(kind) {
            state.will_examine(&name, false);
        }
        self.changed.notify_all();
    }

    /// Deletes a bdev of the kind that is named. What is on its device stays.
    ///
    /// # Errors
    ///
    /// When there is no such bdev, it is of another kind, or another bdev uses it.
    pub fn delete(&self, kind: Kind, name: &str) -> Result<(), ControlError> {
        let mut state = self.state();
        state.admit_change(name)?;
        let (removed, stopped) = self.delete_in(&mut state, kind, name)?;
        drop(state);
        drop(removed);
        tracing::info!(bdev = name, "deleted");
        stopped
    }

    /// The same for those who hold the state: what was deleted, to be dropped without it, and how it stopped.
    fn delete_in(
        &self,
        state: &mut State,
        kind: Kind,
        name: &str,
    ) -> Result<(Option<Entry>, Result<(), ControlError>), ControlError> {
        let entry = state.registry.check_delete(kind, name)?;
        // Stopped before its members are given back: nobody else may have them while it writes.
        let stopped = match (entry.raid(), entry.error()) {
            (Some(raid), _) => raid.stop().map_err(ControlError::Stop),
            (None, Some(error)) => self.empty_cache(error).map_err(ControlError::NotFlushed),
            (None, None) => Ok(()),
        };
        let removed = state.registry.remove(name);
        if let Some(entry) = &removed {
            state.known.forget(&entry.name());
            state.requests.remove(&entry.name());
            self.notices.push(NoticeKind::BdevUnregister, &entry.name(), None);
            if entry.raid().is_some() {
                state.known.forget_array(entry.bdev.info().uuid);
            }
        }
        self.changed.notify_all();
        Ok((removed, stopped))
    }

    /// Stops everything, top of the stack first: hosts are disconnected, arrays stopped, then files
    /// flushed, then all bdevs dropped, then the reactors stopped. The second call does nothing.
    ///
    /// # Errors
    ///
    /// What could not be flushed.
    pub fn shutdown(&self) -> Result<(), ShutdownError> {
        let (errors, mapped) = {
            let mut state = self.state();
            state.lifecycle = Lifecycle::Stopped;
            self.serving.store(false, Ordering::Release);
            self.changed.notify_all();
            let entries = state.registry.entries().iter();
            let errors: Vec<_> = entries.clone().filter_map(Entry::error).cloned().collect();
            let mapped: Vec<_> = entries.filter_map(Entry::mapped).cloned().collect();
            (errors, mapped)
        };
        // Hosts first: to them an error would be the device's, a connection that is lost is only that.
        self.nvmf.disconnect();
        // Whoever stops waits for what is pending below.
        errors.iter().for_each(|error| error.resume_pending());
        mapped.iter().for_each(|mapped| mapped.let_go());
        self.nvmf.stop();
        let entries = self.state().registry.drain_backwards();
        let mut problems = Vec::new();
        for entry in entries {
            tracing::debug!(bdev = entry.name(), "stopping");
            match self.stop_entry(&entry) {
                Ok(parity) => self.note_stopped(&entry, parity),
                Err(problem) => {
                    tracing::error!(bdev = entry.name(), problem, "cannot stop cleanly");
                    problems.push(problem);
                }
            }
        }
        let reactors = lock(&self.reactors).take();
        if let Some(reactors) = reactors {
            reactors.stop();
        }
        if problems.is_empty() { Ok(()) } else { Err(ShutdownError(problems)) }
    }

    /// Stops an array, which flushes its members, and tells how it was then; empties caches of error bdevs; flushes what nobody
    /// above has flushed.
    fn stop_entry(&self, entry: &Entry) -> Result<Parity, String> {
        if let Some(raid) = entry.raid() {
            return keeping::stop_for_good(raid);
        }
        match entry.mapped() {
            Some(mapped) => mapped.stop(),
            None => self.flush_entry(entry).map(|()| Parity::Unknown),
        }
    }

    fn flush_entry(&self, entry: &Entry) -> Result<(), String> {
        if let Some(error) = entry.error().filter(|error| error.has_cache()) {
            return self.empty_cache(error).map_err(|error| error.to_string());
        }
        let info = entry.bdev.info();
        let may_hold_writes = info.volatile_cache && info.supported.write && info.supported.flush;
        if entry.claim.is_some() || !may_hold_writes {
            return Ok(());
        }
        let Some(reactor) = self.handles.first() else { return Ok(()) };
        flush(reactor, &entry.bdev, limits::FLUSH_TIME_LIMIT).map_err(|error| error.to_string())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Err(error) = self.shutdown() {
            tracing::error!(%error, "the service did not stop cleanly");
        }
    }
}

fn make_file(
    name: &str,
    path: &Path,
    size_mib: Option<u64>,
) -> Result<Option<NewFile>, ControlError> {
    let Some(size_mib) = size_mib else { return Ok(None) };
    let size_bytes = size_mib.checked_mul(1 << 20).filter(|bytes| i64::try_from(*bytes).is_ok());
    match size_bytes {
        Some(size_bytes) if size_bytes > 0 => NewFile::make_if_missing(name, path, size_bytes),
        _ => Err(ControlError::BadValue {
            what: "create_size_mib",
            value: size_mib.to_string(),
            right: "give 1 to 8796093022207 (less than 2^63 bytes)".to_owned(),
        }),
    }
}

/// Locks. A thread that panicked has changed nothing: changes are made last, and in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
