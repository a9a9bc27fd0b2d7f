//! An array as those see it who look at it from outside.
//!
//! Not here: looking (`look`).

use raid::coordinator::pace::Rates;
use raid::coordinator::{Action, LogCounters, Progress};
use raid::dirty_log::LogHealth;
use raid::event::{FailCause, WorkKind};
use raid::layout::{Layout, Level};
use raid::member::MemberState;
use raid::units::Slot;
use reactor::Latencies;
use uuid::Uuid;

/// One member of an array, as it is now.
#[derive(Debug, Clone)]
pub struct MemberSnapshot {
    /// Name of the bdev; `None` where it is missing.
    pub name: Option<String>,
    /// Its UUID.
    pub uuid: Option<Uuid>,
    /// Its state.
    pub state: MemberState,
    /// Read errors that were corrected from parity since it took its slot.
    pub read_errors: u32,
    /// Where the array's data begins on it.
    pub data_offset_bytes: u64,
    /// How much of it holds data.
    pub data_size_bytes: u64,
}

/// An array as it is now.
#[derive(Debug, Clone)]
pub struct RaidSnapshot {
    /// Level.
    pub level: Level,
    /// Layout.
    pub layout: Layout,
    /// Strip size in bytes.
    pub strip_bytes: u32,
    /// Members by slot.
    pub members: Vec<MemberSnapshot>,
    /// What goes on in the background.
    pub action: Action,
    /// How far that is.
    pub progress: Option<Progress>,
    /// The background action that ran last, or runs.
    pub last_action: Option<WorkKind>,
    /// How the log bdev is.
    pub log_health: LogHealth,
    /// Name of the log bdev, where there is one.
    pub log: Option<String>,
    /// Whether what is on the log's bdev may be believed at a start.
    pub log_believed: bool,
    /// Name of the log bdev that the superblocks have on record. Where `log` is none it was not there at
    /// the start, or could not be read, and the array runs without it.
    pub log_recorded: Option<String>,
    /// Whether members have superblocks.
    pub superblock: bool,
    /// The update of the superblocks that was written last.
    pub events: u64,
    /// Whether host writes wait for the owner's word.
    pub waiting_for_owner: bool,
    /// Whether more members have failed than parity can stand for.
    pub broken: bool,
    /// Bounds of the speed of background actions.
    pub rates: Rates,
    /// Regions of the dirty log.
    pub regions: u64,
    /// Regions in sync.
    pub regions_in_sync: u64,
    /// Regions with writes under way, or not long ago.
    pub regions_dirty: u64,
    /// How often members were taken out of use, by cause in the order of `FailCause::ALL`.
    pub failures: [u64; FailCause::ALL.len()],
    /// Bytes of every member that one region stands for.
    pub region_bytes: u64,
    /// What was written to the log bdev.
    pub log_counters: LogCounters,
    /// How long that took: from the first write of a commit to the end of its last request.
    pub log_latencies: Latencies,
    /// Rows of 4 KiB whose parity the last background action found wrong.
    pub mismatched_rows: u64,
    /// Work of each shard, by reactor.
    pub shards: Vec<ShardSnapshot>,
}

/// Requests that one member has failed, on one shard, since it took its slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemberErrors {
    /// Reads, those that were tried again too.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
}

/// The work of one shard.
#[derive(Debug, Clone, Default)]
pub struct ShardSnapshot {
    /// The core that it runs on.
    pub on_core: usize,
    /// Work of the core.
    pub core: raid::event::ShardCounters,
    /// Work of the shell.
    pub shell: crate::shard::ShellCounters,
    /// Stripe operations that carry host data now.
    pub host_ops: usize,
    /// Host requests under way, but for reads that went straight to a member.
    pub hosts: usize,
    /// Whether more work of hosts would only wait: its stripe cache, or its table of requests, is full.
    pub full: bool,
    /// Stripe operations under way.
    pub active: usize,
    /// Regions that it holds leases of, or waits for.
    pub leases: usize,
    /// What members have failed, by slot.
    pub member_errors: Vec<MemberErrors>,
}

impl RaidSnapshot {
    /// What the shards have done together.
    #[must_use]
    pub fn work(&self) -> (raid::event::ShardCounters, crate::shard::ShellCounters) {
        let mut core = raid::event::ShardCounters::default();
        let mut shell = crate::shard::ShellCounters::default();
        for shard in &self.shards {
            core.merge(&shard.core);
            shell.merge(&shard.shell);
        }
        (core, shell)
    }

    /// Rows of 4 KiB whose parity a check or repair found wrong, if that is what has run last. After a
    /// resync the number says nothing: what it found was never claimed to be right.
    #[must_use]
    pub fn checked_mismatched_rows(&self) -> u64 {
        match self.last_action {
            Some(WorkKind::Check | WorkKind::Repair) => self.mismatched_rows,
            Some(WorkKind::Resync | WorkKind::Rebuild) | None => 0,
        }
    }

    /// Name of the log bdev that the array should have, and runs without.
    #[must_use]
    pub fn missing_log(&self) -> Option<&str> {
        self.log_recorded.as_deref().filter(|_| self.log.is_none())
    }

    /// Slots without a member that works.
    pub fn missing(&self) -> impl Iterator<Item = Slot> {
        let absent = |state| matches!(state, MemberState::Missing | MemberState::Faulty);
        (0u8..).zip(&self.members).filter(move |(_, m)| absent(m.state)).map(|(slot, _)| Slot(slot))
    }
}
