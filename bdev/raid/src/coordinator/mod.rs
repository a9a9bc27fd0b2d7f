//! The coordinator of an array: a pure machine that owns the dirty log, the members' states, their
//! superblocks and the background actions. Inputs in, orders out; time is an argument.
//!
//! ```text
//!   shard --- Mark(region) ------> commit       write + flush the log, then the grant     (R1)
//!   shard <-- Grant(region) ------
//!   shard --- Release(region) ---> flushes      last holder gone: flush members, clear    (R2, R9)
//!   shard --- MemberFailed ------> change       quiesce, new map, resume, superblocks,
//!   shard <-- AllowWrites --------                 and only then are writes answered      (R4)
//!   shard <-- StartWork ---------- background   resync, rebuild, check, repair
//!   shard --- WorkDone ---------->
//! ```
//!
//! | module | what it decides |
//! |---|---|
//! | [`order`] | the language |
//! | `commit` | when the log is written, and who waits for it |
//! | `flushes` | when members are flushed, and what that is good for |
//! | `change` | how members leave and join |
//! | `ledger` | when superblocks are written |
//! | `background` | which region is worked on next, and what it is good for afterwards |
//! | `stretches` | which stretches of it shards have, and when it is over |
//! | [`pace`] | how fast |
//! | `stop` | coming to an end in order |
//!
//! It owns the array-wide halves of **R1**, **R2**, **R4** and **R9**.
//!
//! Not here: which members belong together (`assemble`), the superblock's bytes (`superblock`), the log's
//! (`dirty_log`); how messages travel and who does I/O (crate `array`, or the simulator).

mod background;
mod change;
mod commit;
mod flushes;
mod ledger;
pub mod order;
pub mod pace;
mod stop;
mod stretches;
#[cfg(test)]
pub(crate) mod tests;

pub use background::{Action, ActionError, Permit, Progress};
pub use change::{AddRefusal, RemoveRefusal};
pub use commit::LogCounters;
pub use order::{Input, Order, Orders, RaidEvent, Scope};

use crate::bitmap::Bitmap;
use crate::dirty_log::{DirtyLog, LogFailure, LogHealth, Regions};
use crate::event::FailCause;
use crate::limits::LEASES_MAX;
use crate::member::MemberMap;
pub use crate::superblock::OnLogFailure;
use crate::superblock::Superblock;
use crate::units::SlotSet;
use background::Background;
use change::Change;
use commit::Commit;
use flushes::Flushes;
use ledger::Ledger;
use stop::Stop;

/// What is done when something fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// When the log bdev fails.
    pub log: OnLogFailure,
    /// When a member fails and there are no superblocks to record it in.
    pub member: OnMemberFailure,
    /// Whether the owner keeps a record of who is missing and of the log, which writes wait for where there
    /// are no superblocks ([`Input::Recorded`]).
    pub recorded: bool,
}

/// What becomes of writes when a member has failed and no superblock can record it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMemberFailure {
    /// They wait until the owner of the table allows them (raid45's `allow_writes`).
    Hold,
    /// They go on: the owner does not need to know first.
    Continue,
}

/// What a coordinator is made from.
#[derive(Debug)]
pub struct CoordinatorSpec {
    /// The log, as it was loaded.
    pub log: DirtyLog,
    /// How the log bdev is; alive where there is none.
    pub log_health: LogHealth,
    /// How regions lie over stripes.
    pub regions: Regions,
    /// Number of shards, each of which holds at most [`LEASES_MAX`] regions.
    pub shards: usize,
    /// The members' states.
    pub map: MemberMap,
    /// Regions in which members that are being rebuilt do not hold what they should.
    pub stale: Bitmap,
    /// Parity strips of a stripe.
    pub parity_strips: usize,
    /// Slots that hold parity in every row.
    pub parity_slots: SlotSet,
    /// Bytes of a strip.
    pub strip_bytes: u32,
    /// What the members' superblocks say, for arrays that have them.
    pub superblock: Option<Superblock>,
    /// Slots that parity may stand for where it is not in sync: all of them while it is right wherever it was written
    /// ([`Superblock::fresh`]), those that are out when the array is started by force, none after a crash.
    pub vouched: SlotSet,
    /// What is done when something fails.
    pub policy: Policy,
    /// How fast background actions go.
    pub rates: pace::Rates,
    /// Component bytes of one stretch of theirs: [`WORK_BYTES`](crate::limits::WORK_BYTES).
    pub stretch_bytes: u64,
    /// Whether none starts before one is requested.
    pub frozen: bool,
    /// Whether they may work from the start.
    pub permit: Permit,
}

/// The coordinator.
#[derive(Debug)]
pub struct Coordinator {
    log: DirtyLog,
    log_health: LogHealth,
    regions: Regions,
    shards: usize,
    strip_bytes: u32,
    parity_strips: usize,
    parity_slots: SlotSet,
    vouched: SlotSet,
    policy: Policy,
    map: MemberMap,
    stale: Bitmap,
    commit: Commit,
    flushes: Flushes,
    change: Change,
    ledger: Ledger,
    background: Background,
    stop: Stop,
    now_ns: u64,
    foreground_bytes: u64,
}

impl Coordinator {
    /// A coordinator that has not started.
    #[must_use]
    pub fn new(spec: CoordinatorSpec) -> Self {
        let regions = spec.log.regions();
        let is_fresh = SlotSet::first_n(spec.map.states().len()).is_subset_of(spec.vouched);
        Self {
            commit: Commit::new(spec.shards * LEASES_MAX),
            flushes: Flushes::new(regions),
            change: Change::new(),
            ledger: Ledger::new(spec.superblock, is_fresh, spec.map.states().len()),
            background: Background::new(
                spec.rates,
                (spec.stretch_bytes / u64::from(spec.strip_bytes)).max(1),
                spec.permit,
                spec.frozen,
            ),
            stop: Stop::No,
            log: spec.log,
            log_health: spec.log_health,
            regions: spec.regions,
            shards: spec.shards,
            strip_bytes: spec.strip_bytes,
            parity_strips: spec.parity_strips,
            parity_slots: spec.parity_slots,
            vouched: spec.vouched,
            policy: spec.policy,
            map: spec.map,
            stale: spec.stale,
            now_ns: 0,
            foreground_bytes: 0,
        }
    }

    /// What happened.
    ///
    /// # Panics
    /// If it cannot have happened: an answer to what was not asked.
    pub fn handle(&mut self, now_ns: u64, input: Input, orders: &mut Orders) {
        self.now_ns = now_ns;
        match input {
            Input::Start => self.start(orders),
            Input::Mark { shard, region } => self.mark(shard, region, orders),
            Input::Release { region } => self.release(region),
            Input::WriteFailed { region } => self.write_failed(region, orders),
            Input::MemberFailed { slot, cause } => self.member_failed(slot, cause, orders),
            Input::ReadCorrected { slot } => self.read_corrected(slot),
            Input::Quiesced => self.quiesced(orders),
            Input::WorkDone { first, ok, mismatched_rows } => {
                self.work_done(first, ok, mismatched_rows, orders);
            }
            Input::LogWritten { ok } => self.log_written(ok, orders),
            Input::LogFlushed { ok } => self.log_flushed(ok, orders),
            Input::MemberFlushed { slot, ok } => self.member_flushed(slot, ok, orders),
            Input::SuperblockWritten { slot, ok } => self.superblock_written(slot, ok, orders),
            Input::Permit(permit) => self.set_permit(permit),
            Input::AllowWrites => self.allow_writes(orders),
            Input::Recorded { missing, log_failed } => {
                self.recorded(missing, log_failed, orders);
            }
            Input::AddMember { slot, scope, member_uuid } => {
                self.add_member(slot, scope, member_uuid, orders);
            }
            Input::CancelAdd { slot } => self.cancel_add(slot),
            Input::Stop => self.begin_stop(),
        }
    }

    /// End of a turn: starts what has become due. `foreground_bytes` counts what hosts have read and
    /// written since the array was made.
    pub fn unplug(&mut self, now_ns: u64, foreground_bytes: u64, orders: &mut Orders) {
        self.now_ns = now_ns;
        self.foreground_bytes = foreground_bytes;
        self.begin_change(orders);
        self.begin_superblocks(orders);
        self.begin_flushes(orders);
        self.begin_commit(orders);
        self.begin_work(orders);
        self.advance_stop(orders);
    }

    /// When [`Self::unplug`] should be called though nothing happens; `None` when that is never.
    #[must_use]
    pub fn due_ns(&self) -> Option<u64> {
        [self.flushes_due_ns(), self.work_due_ns()].into_iter().flatten().min()
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &DirtyLog {
        &self.log
    }

    /// Bytes of every member that one region stands for; the last region may be shorter.
    #[must_use]
    pub fn region_bytes(&self) -> u64 {
        self.regions.stripes_per_region() * u64::from(self.strip_bytes)
    }

    /// What was written to the log bdev so far.
    #[must_use]
    pub fn log_counters(&self) -> LogCounters {
        self.commit.counters
    }

    /// Whether the log bdev has nothing to do.
    #[must_use]
    pub fn is_log_idle(&self) -> bool {
        self.commit.is_idle()
    }

    /// How often members were taken out of use, by cause in the order of `FailCause::ALL`.
    #[must_use]
    pub fn failures(&self) -> [u64; FailCause::ALL.len()] {
        self.change.failures
    }

    /// Whether what is on the log's bdev may be believed at a start: it has not failed, and all of one that
    /// was begun anew is there for good.
    #[must_use]
    pub fn is_log_believed(&self) -> bool {
        let is_elsewhere = self.log.area().is_none() || self.log.is_begun_anew();
        self.log_health.is_alive() && (self.commit.is_durable() || !is_elsewhere)
    }

    /// How the log bdev is.
    #[must_use]
    pub fn log_health(&self) -> LogHealth {
        self.log_health
    }

    /// The members' states.
    #[must_use]
    pub fn map(&self) -> &MemberMap {
        &self.map
    }

    /// Regions in which members that are being rebuilt do not hold what they should.
    #[must_use]
    pub fn stale(&self) -> &Bitmap {
        &self.stale
    }

    /// How regions lie over stripes.
    #[must_use]
    pub fn regions(&self) -> Regions {
        self.regions
    }

    /// Whether too much is lost for anything to be written.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.map.is_broken(self.parity_strips)
    }

    /// Whether all data is there, and a parity that can be made to match it.
    fn can_resync(&self) -> bool {
        let out = self.map.missing().union(self.map.rebuilding());
        out.len() < self.parity_strips && out.is_subset_of(self.parity_slots)
    }

    fn start(&mut self, orders: &mut Orders) {
        self.start_ledger(orders);
        if self.map.is_optimal() {
            self.clean_up();
        }
    }

    fn write_failed(&mut self, region: u64, orders: &mut Orders) {
        if self.log.in_sync(region) {
            self.log.mark(region);
            self.log.set_region_sync(region, false);
            orders.push_back(Order::RegionSync { region, in_sync: false });
        }
    }

    fn log_failed(&mut self, failure: LogFailure, orders: &mut Orders) {
        if self.log_health.fail(failure) {
            orders.push_back(Order::Event(RaidEvent::LogFailed));
            if self.ledger.is_caught_up() {
                self.ledger.log_failed();
            }
        }
    }
}
