//! Mapped devices: device-mapper's, a table of stretches of other bdevs that can be changed under load.
//!
//! ```text
//!            create            resume(table)          suspend
//!   (none) ----------> NoTable -----------> Running ------------> Suspended
//!                                              ^ <---timed out------'  |
//!                                              `----resume(none: the same table; table: another)
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `table` | the table and its checks |
//! | `mapper` | requests through a table |
//! | `split` | buffers of requests that cross borders |
//! | `channel` | one user's channel: passes, or queues |
//! | `gate` | all channels on one reactor |
//!
//! What it promises is what dm promises:
//!
//! - Without a table requests fail, and the size is 0.
//! - While it is suspended requests wait, as many as a channel takes; after that `submit` hands them back.
//! - When `suspend` returns, every request that had passed has completed, on every reactor, also those of
//!   channels that were dropped meanwhile. With [`SuspendMode::Flush`] the bdevs behind it have then been
//!   flushed too; with [`SuspendMode::NoFlush`] requests that a bdev failed while it was being suspended
//!   wait for the next table instead of failing (dm's targets may ask for that; here all do).
//! - `resume` opens channels to the new bdevs for every user before it changes anything: if one cannot be
//!   opened the device stays suspended with its old table. Then the old table is gone everywhere before
//!   the first request passes through the new one on the same channel, in the order in which they came.
//! - A suspend that takes too long is taken back: the device runs on.
//!
//! While a device runs, a request costs a flag and the way through the table; the reactors share nothing
//! that changes. Opening and closing is done by messages to the reactors that have channels.
//!
//! Invariants: R6 (see `channel`), R9 (a flush that fails is told, not tried again).
//!
//! Not here: verbs, inactive tables, event numbers (the service); freezing a file system.

mod channel;
mod gate;
mod mapper;
mod split;
mod table;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reactor::{Cx, ReactorHandle, Ticks, clock};
use uuid::Uuid;

pub use table::{MappedTable, Segment, SegmentTarget, TableError};

use crate::bdev::{BackendDetail, Bdev, BdevInfo, IoChannel, IoTypes, Leeway, OpenError};
use crate::blocking::{self, BlockingError};
use crate::create::uuid_or_new;
use crate::io::BdevIo;
use crate::stacked::lock;
use channel::{Core, MappedChannel};
use gate::Gate;
use mapper::Plan;

/// What a mapped device is made from.
#[derive(Clone, Debug)]
pub struct MappedSpec {
    /// Unique name in the service; [`MappedBdev::rename`] changes it.
    pub name: String,
    /// Drawn at random when absent.
    pub uuid: Option<Uuid>,
    /// Whether writes are refused whatever the table.
    pub read_only: bool,
}

/// What happens to requests that are on their way when a device is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuspendMode {
    /// They complete, and the bdevs behind it are flushed.
    Flush,
    /// They complete, or wait for the next table if they fail; nothing is flushed.
    NoFlush,
}

/// Why a device is not suspended.
#[derive(Debug, thiserror::Error)]
pub enum SuspendError {
    /// Requests did not come back; it runs on.
    #[error(
        "mapped device {name}: {requests} requests are not back after {limit:?}: it runs on; see to what is behind it"
    )]
    Stuck {
        /// Name of the device.
        name: String,
        /// How many are out.
        requests: usize,
        /// How long it was waited for.
        limit: Duration,
    },
    /// A bdev behind it could not be flushed; it runs on.
    #[error(
        "mapped device {name}: not everything is known to be on stable media, and it runs on: {source}"
    )]
    Flush {
        /// Name of the device.
        name: String,
        /// Which bdev, and what it said.
        source: BlockingError,
    },
}

impl SuspendError {
    /// What dm would say, negative as elsewhere: -4 (`EINTR`) or -5 (`EIO`).
    pub fn errno(&self) -> i32 {
        match self {
            Self::Stuck { .. } => -libc::EINTR,
            Self::Flush { .. } => -libc::EIO,
        }
    }
}

/// Why a device is not resumed.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// There is nothing to run.
    #[error("mapped device {name}: it has no table: load one first")]
    NoTable {
        /// Name of the device.
        name: String,
    },
    /// Its requests would be in two tables.
    #[error("mapped device {name}: it is running: suspend it before another table takes its place")]
    Running {
        /// Name of the device.
        name: String,
    },
    /// A bdev of the new table; the old one stays, suspended.
    #[error("mapped device {name}: it keeps its old table: {source}")]
    Open {
        /// Name of the device.
        name: String,
        /// Which, and why.
        source: OpenError,
    },
}

impl ResumeError {
    /// What dm would say, negative as elsewhere.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoTable { .. } => -libc::EINVAL,
            Self::Running { .. } => -libc::EBUSY,
            Self::Open { source, .. } => source.errno(),
        }
    }
}

/// What a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappedState {
    /// It has had no table yet: requests fail.
    NoTable,
    /// Requests pass.
    Running,
    /// Requests wait.
    Suspended,
}

/// What requests have waited since a device was last suspended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queueing {
    /// Requests that came while it was suspended.
    pub requests: u64,
    /// The longest time that one waited; of those that still wait nothing.
    pub longest: Duration,
}

/// A table with the description that it gives the device.
#[derive(Clone, Debug)]
struct Loaded {
    table: Arc<MappedTable>,
    info: Arc<BdevInfo>,
}

/// What channels that are opened must know.
#[derive(Debug)]
struct State {
    phase: MappedState,
    info: Arc<BdevInfo>,
    active: Option<Loaded>,
    /// A table that is about to come.
    incoming: Option<Loaded>,
    /// Reactors that have a gate.
    reactors: Vec<ReactorHandle>,
}

/// A mapped device.
#[derive(Debug)]
pub struct MappedBdev {
    /// Names its gates on every reactor.
    key: u64,
    read_only: bool,
    /// Held for a moment only, also on reactors.
    state: Mutex<State>,
    /// Held by whoever suspends or resumes, never on a reactor.
    verb: Mutex<()>,
}

impl MappedBdev {
    /// Makes a device without a table.
    #[must_use]
    pub fn create(spec: MappedSpec) -> Arc<Self> {
        static NEXT_KEY: AtomicU64 = AtomicU64::new(1);
        let MappedSpec { name, uuid, read_only } = spec;
        let info = BdevInfo {
            name,
            uuid: uuid_or_new(uuid),
            product_name: "Mapped device",
            block_size_bytes: 512,
            num_blocks: 0,
            volatile_cache: false,
            unmap_reads_zero: false,
            optimal_write_bytes: 0,
            supported: if read_only { IoTypes::READ_ONLY } else { IoTypes::ALL },
            detail: BackendDetail::None,
        };
        let state = State {
            phase: MappedState::NoTable,
            info: Arc::new(info),
            active: None,
            incoming: None,
            reactors: Vec::new(),
        };
        let key = NEXT_KEY.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { key, read_only, state: Mutex::new(state), verb: Mutex::new(()) })
    }

    /// Gives it another name.
    pub fn rename(&self, name: &str) {
        let mut state = lock(&self.state);
        let name = name.to_owned();
        state.info = Arc::new(BdevInfo { name, ..BdevInfo::clone(&state.info) });
    }

    /// What it does now.
    #[must_use]
    pub fn state(&self) -> MappedState {
        lock(&self.state).phase
    }

    /// The table that is in force.
    #[must_use]
    pub fn table(&self) -> Option<Arc<MappedTable>> {
        lock(&self.state).active.as_ref().map(|loaded| Arc::clone(&loaded.table))
    }

    /// Has requests wait, and returns when every request that had passed has completed. A device that is
    /// suspended, or has no table, stays as it is.
    ///
    /// # Errors
    ///
    /// [`SuspendError`]; the device runs on.
    ///
    /// # Panics
    /// On a reactor's thread, which could not wait for the others.
    pub fn suspend(&self, mode: SuspendMode, limit: Duration) -> Result<(), SuspendError> {
        let _verb = lock(&self.verb);
        let (reactors, table) = {
            let mut state = lock(&self.state);
            let (MappedState::Running, Some(active)) = (state.phase, &state.active) else {
                return Ok(());
            };
            let table = Arc::clone(&active.table);
            state.phase = MappedState::Suspended;
            (state.reactors.clone(), table)
        };
        let end = clock::now() + Ticks::from_micros(limit.as_micros() as u64);
        self.drain(&reactors, mode, end)
            .map_err(|requests| SuspendError::Stuck { name: self.name(), requests, limit })
            .and_then(|()| match mode {
                SuspendMode::Flush => self.flush(&reactors, &table, end),
                SuspendMode::NoFlush => Ok(()),
            })
            .inspect_err(|_| self.run())
    }

    /// Closes all gates and waits until nothing is out; says how much is if it takes too long.
    fn drain(
        &self,
        reactors: &[ReactorHandle],
        mode: SuspendMode,
        end: Ticks,
    ) -> Result<(), usize> {
        let (report, reports) = mpsc::channel();
        for reactor in reactors {
            let report = report.clone();
            self.tell(reactor, move |gate, _| gate.close(mode == SuspendMode::NoFlush, report));
        }
        drop(report);
        loop {
            let left = until(end);
            match reports.recv_timeout(left) {
                Ok(()) => {}
                // All have reported, but for reactors that have stopped.
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.ask(reactors, |gate| gate.out()).into_iter().sum());
                }
            }
        }
    }

    fn flush(
        &self,
        reactors: &[ReactorHandle],
        table: &MappedTable,
        end: Ticks,
    ) -> Result<(), SuspendError> {
        // Nobody has ever had a channel: there is nothing to flush.
        let Some(reactor) = reactors.first() else { return Ok(()) };
        for bdev in table.bdevs().iter().filter(|bdev| bdev.info().supported.flush) {
            let left = until(end);
            blocking::run_one(reactor, bdev, BdevIo::flush(0), left)
                .map_err(|source| SuspendError::Flush { name: self.name(), source })?;
        }
        Ok(())
    }

    /// Lets requests pass through `table`, or through the one that is there.
    ///
    /// # Errors
    ///
    /// [`ResumeError`]; the device is as it was.
    ///
    /// # Panics
    /// On a reactor's thread, which could not wait for the others.
    pub fn resume(&self, table: Option<MappedTable>) -> Result<(), ResumeError> {
        let _verb = lock(&self.verb);
        let Some(table) = table else { return self.resume_as_it_was() };
        let (loaded, reactors) = {
            let mut state = lock(&self.state);
            if state.phase == MappedState::Running {
                return Err(ResumeError::Running { name: state.info.name.clone() });
            }
            let info = Arc::new(table.describe(&state.info, self.read_only));
            let loaded = Loaded { table: Arc::new(table), info };
            // Channels that are opened from now on come prepared.
            state.incoming = Some(loaded.clone());
            (loaded, state.reactors.clone())
        };
        if let Err(source) = self.prepare(&reactors, &loaded) {
            lock(&self.state).incoming = None;
            let reactors = lock(&self.state).reactors.clone();
            reactors.iter().for_each(|reactor| self.tell(reactor, |gate, _| gate.forget()));
            return Err(ResumeError::Open { name: self.name(), source });
        }
        {
            let mut state = lock(&self.state);
            state.incoming = None;
            // The name may have changed meanwhile.
            let name = state.info.name.clone();
            state.info = Arc::new(BdevInfo { name, ..BdevInfo::clone(&loaded.info) });
            state.active = Some(loaded);
        }
        self.run();
        Ok(())
    }

    fn resume_as_it_was(&self) -> Result<(), ResumeError> {
        match self.state() {
            MappedState::NoTable => return Err(ResumeError::NoTable { name: self.name() }),
            MappedState::Running => {}
            MappedState::Suspended => self.run(),
        }
        Ok(())
    }

    fn prepare(&self, reactors: &[ReactorHandle], loaded: &Loaded) -> Result<(), OpenError> {
        let key = self.key;
        for reactor in reactors {
            let Loaded { table, info } = loaded.clone();
            let prepared = reactor.call(move |cx| match cx.find_local::<Gate>(key) {
                Some(gate) => gate.prepare(&table, &info, cx),
                None => Ok(()),
            });
            // A reactor that has stopped has no users.
            prepared.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    /// Opens all gates.
    fn run(&self) {
        let reactors = {
            let mut state = lock(&self.state);
            // Whoever opens a channel after that finds it running, all others are on the list.
            state.phase = MappedState::Running;
            state.reactors.clone()
        };
        reactors.iter().for_each(|reactor| self.tell(reactor, |gate, _| gate.open()));
        // Messages run in order: who is told that it runs finds it running.
        drop(self.ask(&reactors, |_| ()));
    }

    /// What requests have waited since it was last suspended.
    ///
    /// # Panics
    /// On a reactor's thread, which could not wait for the others.
    #[must_use]
    pub fn queueing(&self) -> Queueing {
        let reactors = lock(&self.state).reactors.clone();
        let seen = self.ask(&reactors, |gate| gate.waiting.get());
        let longest = seen.iter().map(|(_, longest)| *longest).max().unwrap_or(Ticks::ZERO);
        Queueing {
            requests: seen.iter().map(|(requests, _)| requests).sum(),
            longest: Duration::from_nanos(longest.as_nanos()),
        }
    }

    fn tell(&self, reactor: &ReactorHandle, f: impl FnOnce(&Gate, &mut Cx) + Send + 'static) {
        let key = self.key;
        reactor.send(move |cx| {
            if let Some(gate) = cx.find_local::<Gate>(key) {
                f(&gate, cx);
            }
        });
    }

    /// Asks the gates; reactors that have stopped say nothing.
    fn ask<R: Send + 'static>(
        &self,
        reactors: &[ReactorHandle],
        question: impl FnOnce(&Gate) -> R + Send + Copy + 'static,
    ) -> Vec<R> {
        let key = self.key;
        let ask_one = |reactor: &ReactorHandle| {
            let asked = reactor.call(move |cx| Some(question(&*cx.find_local::<Gate>(key)?)));
            asked.ok().flatten()
        };
        reactors.iter().filter_map(ask_one).collect()
    }
}

/// The time that is left.
fn until(end: Ticks) -> Duration {
    Duration::from_nanos((end - clock::now()).as_nanos())
}

impl Bdev for MappedBdev {
    fn info(&self) -> Arc<BdevInfo> {
        Arc::clone(&lock(&self.state).info)
    }

    fn leeway(&self) -> Leeway {
        let (phase, table) = {
            let state = lock(&self.state);
            let table = state.active.as_ref().map(|loaded| Arc::clone(&loaded.table));
            (state.phase, table)
        };
        let below = Leeway::over(table.iter().flat_map(|table| table.bdevs()));
        Leeway { waits: below.waits || phase == MappedState::Suspended, ..below }
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        // First on the list, then the state: a change that is not seen here comes by message.
        let gate = Gate::of_reactor(self.key, cx, |handle| {
            lock(&self.state).reactors.push(handle.clone());
        });
        let (phase, active, incoming) = {
            let state = lock(&self.state);
            (state.phase, state.active.clone(), state.incoming.clone())
        };
        let mut open = |loaded: Option<Loaded>| {
            loaded.map(|Loaded { table, info }| Plan::open(&table, &info, cx)).transpose()
        };
        let closed = phase == MappedState::Suspended;
        let plan = match open(active) {
            Ok(plan) => plan.unwrap_or(Plan::None),
            // What the table stands on may be gone already: another one is about to come, and until then
            // nothing passes.
            Err(_) if closed => Plan::None,
            Err(error) => return Err(error),
        };
        let next = open(incoming)?;
        let mut core = Core::new(plan, closed, Rc::clone(&gate.waiting), cx.turn_clock());
        core.prepare(next);
        let core = Rc::new(RefCell::new(core));
        gate.join(&core);
        Ok(Box::new(MappedChannel::new(core, gate)))
    }
}

impl Drop for MappedBdev {
    fn drop(&mut self) {
        let key = self.key;
        for reactor in &lock(&self.state).reactors {
            reactor.send(move |cx| {
                if let Some(gate) = cx.remove_local::<Gate>(key) {
                    gate.end();
                }
            });
        }
    }
}
