//! [`Run`]: a job on its way: workers on every chosen reactor, from start to report.
//!
//! ```text
//!   start                    wait, progress ...                                 finish
//!   Load: hire, go  ------->  outcomes of all  --+--------------------------->  Report
//!                                                |  stamped writes, no error
//!                                                v
//!                             ReadBack: dismiss, hire, go ---> outcomes of all
//! ```
//!
//! Straight-line control code on a thread that is no reactor's. Workers are built and opened on
//! their reactors first and then told to go together.
//!
//! Owns: when a run has ended, by whatever way, its workers are gone and their channels closed.
//!
//! Not here: what a worker does in a turn (`worker`).

use crate::buffers::{BufferHome, Buffers};
use crate::job::{Job, JobError, Limit, Plan, Share};
use crate::plain::Plain;
use crate::report::Report;
use crate::tally::{Counts, Gauge};
use crate::verify::{CheckedReads, Findings, ReadBack, StampedWrites, Written};
use crate::worker::{Outcome, Post, Signals, Worker};
use device::OpenError;
use reactor::{Cx, Poller, PollerId, ReactorHandle, Stopped, Ticks, clock};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use thiserror::Error;

/// Why a run could not start, or did not end in order.
#[derive(Debug, Error)]
pub enum RunError {
    /// The job is wrong.
    #[error(transparent)]
    Job(#[from] JobError),
    /// Nothing to run on.
    #[error("no reactor was chosen for the load: give at least one core")]
    NoReactor,
    /// A reactor could not open the bdev.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A reactor has stopped before the run was over.
    #[error("the load was cut short: {0}")]
    Stopped(#[from] Stopped),
    /// A reactor has dropped its worker before the run was over.
    #[error("the load was cut short: a reactor has stopped")]
    Lost,
    /// A case of a comparison failed.
    #[error("case {case}: requests failed, so it cannot be compared:\n{report}")]
    Failed {
        /// Name of the case.
        case: String,
        /// Its table.
        report: String,
    },
}

/// What a run is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Making the job's load.
    Load,
    /// Reading back what a verified job has written.
    ReadBack,
}

/// A look at a run on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What it is doing.
    pub stage: Stage,
    /// How long it has been doing that.
    pub elapsed: Ticks,
    /// What this stage has done so far, the ramp included.
    pub counts: Counts,
}

/// A job on its way. Dropping it ends it without a report.
#[derive(Debug)]
pub struct Run {
    job: Job,
    plan: Plan,
    reactors: Vec<ReactorHandle>,
    stage: Stage,
    crew: Crew,
    /// Of this stage, by worker.
    outcomes: Vec<Option<Outcome>>,
    /// Of the load, once it is over.
    load: Option<Load>,
    asked_to_stop: bool,
}

/// What the load has brought, while and after it is read back.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) home: BufferHome,
    pub(crate) read_back: Option<Vec<Outcome>>,
}

impl Run {
    /// Starts a job on these reactors.
    ///
    /// # Errors
    /// [`RunError`]; nothing is left running.
    ///
    /// # Panics
    /// On a reactor's thread.
    pub fn start(job: Job, reactors: &[ReactorHandle]) -> Result<Self, RunError> {
        if reactors.is_empty() {
            return Err(RunError::NoReactor);
        }
        let plan = job.plan(reactors.len())?;
        let tasks = plan.shares.iter().map(|share| Task::Load(*share));
        let crew = Crew::hire(&job, reactors, tasks)?;
        crew.go();
        Ok(Self {
            outcomes: reactors.iter().map(|_| None).collect(),
            reactors: reactors.to_vec(),
            job,
            plan,
            stage: Stage::Load,
            crew,
            load: None,
            asked_to_stop: false,
        })
    }

    /// What has been done so far.
    pub fn progress(&self) -> Progress {
        let mut counts = Counts::default();
        self.crew.gauges.iter().for_each(|gauge| counts += gauge.get());
        Progress { stage: self.stage, elapsed: clock::now() - self.crew.since, counts }
    }

    /// Waits until the run is over, but no longer than `limit`; returns whether it is over.
    ///
    /// # Errors
    /// [`RunError`] when a reactor stops meanwhile, or the read-back cannot start.
    pub fn wait(&mut self, limit: Duration) -> Result<bool, RunError> {
        let until = clock::now() + Ticks::from(limit);
        while !self.is_over() {
            let left = until - clock::now();
            match self.crew.results.recv_timeout(left.into()) {
                Ok(outcome) => self.take(outcome)?,
                Err(RecvTimeoutError::Timeout) => return Ok(false),
                Err(RecvTimeoutError::Disconnected) => return Err(RunError::Lost),
            }
        }
        Ok(true)
    }

    /// Has the workers take back what is in flight and end. What was written is not read back then.
    pub fn stop(&mut self) {
        self.asked_to_stop = true;
        self.crew.stop();
    }

    /// Waits for the end and sums up.
    ///
    /// # Errors
    /// As [`Run::wait`].
    pub fn finish(mut self) -> Result<Report, RunError> {
        while !self.wait(Duration::from_secs(3600))? {}
        self.crew.dismiss();
        let load = self.load.take().ok_or(RunError::Lost)?;
        Ok(Report::new(&self.job, self.plan.blocks, &self.reactors, load, self.asked_to_stop))
    }

    fn is_over(&self) -> bool {
        match (&self.load, self.stage) {
            (None, _) => false,
            (Some(_), Stage::Load) => true,
            (Some(load), Stage::ReadBack) => load.read_back.is_some(),
        }
    }

    fn take(&mut self, outcome: Outcome) -> Result<(), RunError> {
        let worker = outcome.worker;
        self.outcomes[worker] = Some(outcome);
        if self.outcomes.iter().any(Option::is_none) {
            return Ok(());
        }
        let outcomes: Vec<_> = self.outcomes.iter_mut().filter_map(Option::take).collect();
        match &mut self.load {
            Some(load) => load.read_back = Some(outcomes),
            None => self.end_load(outcomes)?,
        }
        Ok(())
    }

    fn end_load(&mut self, outcomes: Vec<Outcome>) -> Result<(), RunError> {
        let failed = outcomes.iter().any(|outcome| outcome.counts.errors() > 0);
        let written: Vec<_> =
            outcomes.iter().filter_map(|outcome| outcome.findings.written).collect();
        self.load = Some(Load { outcomes, home: self.crew.home, read_back: None });
        if failed || self.asked_to_stop || written.is_empty() {
            return Ok(());
        }
        self.crew.dismiss();
        // Each reactor reads what the one before it has written.
        let tasks = (0..written.len()).map(|at| Task::ReadBack(written[(at + 1) % written.len()]));
        self.crew = Crew::hire(&self.job, &self.reactors, tasks)?;
        self.stage = Stage::ReadBack;
        self.crew.go();
        Ok(())
    }
}

impl Outcome {
    /// The findings of several, together.
    pub(crate) fn findings_of(outcomes: Vec<Self>) -> Findings {
        let mut all = Findings::default();
        outcomes.into_iter().for_each(|outcome| all.absorb(outcome.findings));
        all
    }
}

/// What one worker is hired for.
#[derive(Clone, Copy, Debug)]
enum Task {
    Load(Share),
    ReadBack(Written),
}

/// The workers of one stage. Dropping it ends them and waits until they are gone.
#[derive(Debug)]
struct Crew {
    workers: Vec<(ReactorHandle, PollerId)>,
    signals: Arc<Signals>,
    gauges: Vec<Arc<Gauge>>,
    results: Receiver<Outcome>,
    home: BufferHome,
    since: Ticks,
}

impl Crew {
    fn hire(
        job: &Job,
        reactors: &[ReactorHandle],
        tasks: impl Iterator<Item = Task>,
    ) -> Result<Self, RunError> {
        let (sender, results) = sync_channel(reactors.len());
        let mut crew = Self {
            workers: Vec::new(),
            signals: Arc::default(),
            gauges: reactors.iter().map(|_| Arc::default()).collect(),
            results,
            home: BufferHome::Pool,
            since: clock::now(),
        };
        // Declared after the crew, so dropped before it: while this sender lived, a crew that is
        // dropped half hired would wait for ever.
        let sender = sender;
        for (worker, (reactor, task)) in reactors.iter().zip(tasks).enumerate() {
            let contract = Contract {
                worker,
                job: job.clone(),
                task,
                signals: Arc::clone(&crew.signals),
                gauge: Arc::clone(&crew.gauges[worker]),
                outcomes: sender.clone(),
            };
            let (id, home) = reactor.call(move |cx| contract.sign(cx))??;
            crew.workers.push((reactor.clone(), id));
            if home == BufferHome::Heap {
                crew.home = home;
            }
        }
        Ok(crew)
    }

    fn go(&self) {
        self.signals.go();
        self.wake();
    }

    fn stop(&self) {
        self.signals.stop();
        self.wake();
    }

    fn wake(&self) {
        self.workers.iter().for_each(|(reactor, _)| reactor.waker().wake());
    }

    /// Removes the workers and waits until they are dropped. Their senders tell when that is.
    fn dismiss(&mut self) {
        for (reactor, id) in self.workers.drain(..) {
            reactor.send(move |cx| cx.remove_poller(id));
        }
        while self.results.recv().is_ok() {}
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.stop();
        self.dismiss();
    }
}

/// All that is needed to make a worker on its reactor.
struct Contract {
    worker: usize,
    job: Job,
    task: Task,
    signals: Arc<Signals>,
    gauge: Arc<Gauge>,
    outcomes: SyncSender<Outcome>,
}

impl Contract {
    /// Opens the channel, allocates the buffers and adds the worker, which waits for the go.
    fn sign(mut self, cx: &mut Cx) -> Result<(PollerId, BufferHome), OpenError> {
        let budget = match self.task {
            Task::Load(share) => share.ios,
            Task::ReadBack(_) => {
                (self.job.limit, self.job.ramp) = (Limit::OnePass, Ticks::ZERO);
                None
            }
        };
        let channel = self.job.bdev.open_client(cx)?;
        let buffers = match self.task {
            Task::Load(_) => Buffers::allocate(cx, &self.job),
            Task::ReadBack(_) => Buffers::allocate_reads(cx, &self.job),
        };
        let post = Post {
            worker: self.worker,
            channel,
            ios: buffers.ios,
            budget,
            signals: self.signals,
            gauge: self.gauge,
            outcomes: self.outcomes,
        };
        let (job, worker) = (&self.job, self.worker);
        let poller: Box<dyn Poller> = match self.task {
            Task::ReadBack(written) => {
                Box::new(Worker::new(job, post, ReadBack::new(job, written)))
            }
            Task::Load(Share { part, .. }) => match (job.verify, job.pattern.writes()) {
                (false, _) => {
                    let source = Plain::new(job, part, worker, buffers.stock);
                    Box::new(Worker::new(job, post, source))
                }
                (true, true) => {
                    let source = StampedWrites::new(job, part, worker, buffers.stock);
                    Box::new(Worker::new(job, post, source))
                }
                (true, false) => {
                    Box::new(Worker::new(job, post, CheckedReads::new(job, part, worker)))
                }
            },
        };
        Ok((cx.add_poller(poller), buffers.home))
    }
}

/// Starts a job and waits for its report.
///
/// # Errors
/// [`RunError`]
pub fn run(job: Job, reactors: &[ReactorHandle]) -> Result<Report, RunError> {
    Run::start(job, reactors)?.finish()
}
