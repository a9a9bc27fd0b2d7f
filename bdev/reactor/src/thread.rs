//! [`Reactors`]: one pinned thread a core, from start to stop.
//!
//! Owns: `start` returns when every reactor turns, or stops those that do and says why; `stop`
//! (or dropping it) returns when every thread has ended.
//!
//! ```text
//!   spawn --> pin --> pool, epoll (on the core's own memory) --> loop --> close, drop, end
//!                            | failed                              ^ stop asked
//!                            +--> StartError
//! ```
//!
//! A panic on a reactor's thread aborts the process in release builds. Where panics unwind (tests),
//! the reactor closes as it would in order, callers get `Stopped`, and `stop` goes on with the
//! panic.
//!
//! Not here: what a turn does (`turn`).

use crate::affinity;
use crate::clock::{self, Guard};
use crate::cpuset::CpuSet;
use crate::handle::{OnReactor, Place, ReactorHandle, on_reactor};
use crate::turn::Reactor;
use std::hint::spin_loop;
use std::io;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use thiserror::Error;

/// What a reactor does when there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PollMode {
    /// Spins for a while, then sleeps in the kernel until something happens.
    Adaptive,
    /// Spins for ever: the lowest latency, and a core at full load.
    Busy,
}

/// How reactors are started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReactorsConfig {
    /// One reactor runs on each of these cores.
    pub cores: CpuSet,
    /// What they do when there is nothing to do.
    pub poll: PollMode,
    /// Size of each reactor's buffer pool in bytes.
    pub buffer_bytes: usize,
}

/// Why reactors could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The machine does not have this core.
    #[error("no core {core} for a reactor: this machine has cores {online}")]
    NoSuchCore {
        /// The core that was asked for.
        core: usize,
        /// The cores that are online.
        online: CpuSet,
    },
    /// The kernel refused a thread.
    #[error("reactor on core {core}: no thread: {source}")]
    Thread {
        /// The core that the reactor was for.
        core: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused buffers, an eventfd or an epoll fd.
    #[error("reactor on core {core}: {source}")]
    Resources {
        /// The core that the reactor was for.
        core: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The running reactors. Dropping it stops them.
#[derive(Debug)]
pub struct Reactors {
    handles: Vec<ReactorHandle>,
    threads: Vec<JoinHandle<()>>,
}

impl Reactors {
    /// Starts one reactor on each core of the set, in ascending order.
    ///
    /// # Errors
    /// [`StartError`]; whatever had been started is stopped again.
    pub fn start(config: ReactorsConfig) -> Result<Self, StartError> {
        if let Some(online) = affinity::online()
            && let Some(core) = config.cores.iter().find(|core| !online.contains(*core))
        {
            return Err(StartError::NoSuchCore { core, online });
        }
        let mut reactors = Self { handles: Vec::new(), threads: Vec::new() };
        let mut starts = Vec::new();
        for (index, core) in config.cores.iter().enumerate() {
            let place = Place { index, core, reactors: config.cores.len() };
            starts.push((core, reactors.spawn(place, &config)?));
        }
        for (core, start) in starts {
            let Ok(started) = start.recv() else {
                reactors.stop();
                unreachable!(
                    "a reactor that ends without a word has panicked; stop went on with it"
                );
            };
            started.map_err(|source| StartError::Resources { core, source })?;
        }
        Ok(reactors)
    }

    fn spawn(
        &mut self,
        place: Place,
        config: &ReactorsConfig,
    ) -> Result<Receiver<io::Result<()>>, StartError> {
        let core = place.core;
        let may_sleep = config.poll == PollMode::Adaptive;
        let handle = ReactorHandle::new(place, may_sleep)
            .map_err(|source| StartError::Resources { core, source })?;
        let (started, start) = mpsc::sync_channel(1);
        let life = Life { handle: handle.clone(), poll: config.poll, started };
        let buffer_bytes = config.buffer_bytes;
        let thread = thread::Builder::new()
            .name(format!("reactor_{core}"))
            .spawn(move || life.run(buffer_bytes))
            .map_err(|source| StartError::Thread { core, source })?;
        self.handles.push(handle);
        self.threads.push(thread);
        Ok(start)
    }

    /// The reactors, in ascending order of their cores.
    pub fn handles(&self) -> &[ReactorHandle] {
        &self.handles
    }

    /// Asks every reactor to leave its loop after the current turn, and waits until all have.
    /// Messages that have not run by then are dropped; their callers get `Stopped`.
    ///
    /// # Panics
    /// When called on a reactor's thread, and to go on with the panic of a reactor's thread.
    pub fn stop(mut self) {
        assert!(
            !on_reactor(),
            "reactors stopped from a reactor's thread: it would wait for itself"
        );
        if let Some(panic) = self.join_all() {
            resume_unwind(panic);
        }
    }

    /// Returns the first panic.
    fn join_all(&mut self) -> Option<Box<dyn std::any::Any + Send>> {
        self.handles.iter().for_each(ReactorHandle::ask_to_stop);
        let panics = self.threads.drain(..).filter_map(|thread| thread.join().err());
        // Not lazily: all must be joined.
        panics.fold(None, |first, panic| first.or(Some(panic)))
    }
}

impl Drop for Reactors {
    /// Stops the reactors; on a reactor's own thread without waiting for them.
    fn drop(&mut self) {
        if on_reactor() {
            self.handles.iter().for_each(ReactorHandle::ask_to_stop);
            return;
        }
        if self.join_all().is_some() {
            tracing::error!("a reactor's thread has panicked");
        }
    }
}

/// All that a reactor's thread needs.
struct Life {
    handle: ReactorHandle,
    poll: PollMode,
    started: SyncSender<io::Result<()>>,
}

impl Life {
    fn run(self, buffer_bytes: usize) {
        let _on_reactor = OnReactor::enter();
        let core = self.handle.core();
        if !affinity::pin(core) {
            tracing::warn!(core, "the system does not let a reactor be pinned; it runs unpinned");
        }
        // `start` waits for the answer, unless it has failed already and is about to stop us.
        match Reactor::new(self.handle.clone(), buffer_bytes) {
            Ok(reactor) => {
                let _ = self.started.send(Ok(()));
                self.turn_until_stop(reactor);
            }
            Err(error) => {
                self.handle.inbox().close();
                let _ = self.started.send(Err(error));
            }
        }
    }

    fn turn_until_stop(&self, mut reactor: Reactor) {
        let mut guard = Guard::default();
        let mut read_clock = move || guard.forward(clock::now());
        loop {
            let now = read_clock();
            let progress = reactor.turn(now);
            if self.handle.is_asked_to_stop() {
                return;
            }
            match self.poll {
                PollMode::Adaptive => reactor.rest(now, progress, &mut read_clock),
                PollMode::Busy if progress == 0 => spin_loop(),
                PollMode::Busy => {}
            }
        }
    }
}
