//! May an array that is put together start, and which of its regions are in sync.
//!
//! Invariant owned: **R7**. Parity that may not match the data gives wrong bytes for a missing
//! member, and nothing shows that they are wrong. The data that is missing is computed from it only
//! if the array is known to be in sync, or the operator insists.
//!
//! | log | no data is missing | data is missing |
//! |---|---|---|
//! | alive and read, no region dirty | dirty regions (none) out of sync | trusted |
//! | alive and read, some dirty | dirty regions out of sync | refused |
//! | in memory, stopped clean | in sync up to where the superblock says | refused |
//! | in memory, not stopped | all out of sync | refused |
//! | failed, missing, unreadable, stopped clean | the same, but for who is missing or rebuilt: all out of sync | refused |
//! | failed, missing, unreadable, not stopped | all out of sync | refused |
//!
//! *No data is missing* holds of a complete array, and of one that misses only members that hold
//! nothing but parity in every row. Before all that: an array that was stopped clean and in sync everywhere, and
//! misses whoever it may, is trusted. While a member is missing, dirty bits stay as they are (R2), so a degraded
//! array that was stopped in order has some. *Refused* gives way to force, and the parity is then trusted; and an
//! array that is fresh ([`Superblock::is_fresh`]) is not refused: its parity is right where it was
//! written, so it starts as if no data were missing.
//!
//! An array that was stopped in order needs no log to be in sync, as with md, which does not resync after
//! a clean shutdown whatever its bitmap says: what was out of sync the superblock says. It needs the log
//! for members that are rebuilt where the log is dirty, so with one of those everything counts as dirty.
//!
//! A log that is missing or unreadable is a refusal by itself if the policy is to block writes when
//! the log fails; it gives way to force too, and does not arise where a log that had failed before, or was never all
//! there, can be begun anew. A log with another number of regions than the array
//! has never does: it is another array's.
//!
//! Not here: who takes part (`assemble`), reading the log (`dirty_log` and its device).

use uuid::Uuid;

use super::Assembly;
use super::refusal::slots;
use crate::superblock::{
    IN_SYNC_EVERYWHERE, LogHealth, LogRecord, OnLogFailure, Shutdown, Superblock,
};
use crate::units::SlotSet;

/// What was found of the dirty log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFound {
    /// No log on a device was looked for.
    Memory,
    /// The log was read.
    Loaded {
        /// Regions that are dirty in it.
        dirty: u64,
        /// Regions that it has.
        regions: u64,
    },
    /// There is a bdev, and no log on it: one can be begun there.
    Blank,
    /// There is a bdev, but it cannot be read, or holds something else.
    Unreadable,
    /// There is no such bdev.
    Missing,
}

/// How an array starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// In sync up to here, out of sync from here on: it was stopped in order, and no log says more.
    InSyncTo {
        /// Bytes of each component; [`IN_SYNC_EVERYWHERE`] if everywhere.
        bytes: u64,
        /// The log on a device is not to be used, but begun anew if it is there.
        log_failed: bool,
    },
    /// Regions that are dirty in the log are out of sync, all others in sync.
    DirtyRegionsOutOfSync {
        /// Number of the former.
        dirty: u64,
    },
    /// Every region is out of sync.
    AllOutOfSync {
        /// The log on a device is not to be used.
        log_failed: bool,
    },
    /// Data that is missing is computed from parity. Bits that are dirty stay dirty.
    Trusted {
        /// Only because the operator insists: what is dirty is not in sync, so that it is written as what is fresh
        /// is ([`Superblock::fresh`]), and resynced when every member is there. Else every region is in sync.
        forced: bool,
        /// The log on a device is not to be used: every region counts as dirty, so that a member
        /// that comes back is rebuilt in full.
        log_failed: bool,
    },
}

/// Why an array does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartRefusal {
    /// The log is not of this array.
    #[error(
        "array {array}: log {log} has {found} regions, but must have {recorded}, of {region_bytes} \
         bytes: use the log that belongs to the array"
    )]
    LogMismatch {
        /// Name of the array.
        array: String,
        /// Name of the log.
        log: String,
        /// Regions of the log.
        found: u64,
        /// Regions of the array.
        recorded: u64,
        /// Bytes of each component in one region.
        region_bytes: u64,
    },
    /// The log is not there, and the array is not to run without it.
    #[error(
        "array {array}: log {log} ({uuid}) {state}, and the array blocks writes when its log fails: \
         bring the log back, or force to resync everything"
    )]
    LogGone {
        /// Name of the array.
        array: String,
        /// Name of the log.
        log: String,
        /// UUID of the log.
        uuid: Uuid,
        /// `is missing` or `cannot be read`.
        state: &'static str,
    },
    /// Parity may not match the data, and would be needed to compute data (R7).
    #[error(
        "array {array} is dirty and degraded: {} of {regions} regions may have wrong parity, and {} \
         would be computed from it: bring the missing members back, or force to trust the parity",
        dirty_text(*.dirty), slots(*.missing)
    )]
    DirtyDegraded {
        /// Name of the array.
        array: String,
        /// Regions that are dirty; `None`: no log says, it may be all.
        dirty: Option<u64>,
        /// Regions of the array.
        regions: u64,
        /// Slots that are empty or being rebuilt.
        missing: SlotSet,
    },
}

fn dirty_text(dirty: Option<u64>) -> String {
    dirty.map_or_else(|| "all".to_owned(), |dirty| dirty.to_string())
}

/// The log, as far as it counts.
#[derive(Debug, Clone, Copy)]
enum Log {
    Memory,
    Usable { dirty: u64 },
    Gone,
}

/// Decides how an array starts. A log that was found counts only if the superblock has one on
/// record; if it has and none was looked for, it is missing.
///
/// # Errors
/// Any [`StartRefusal`]; `force` helps against all but [`StartRefusal::LogMismatch`].
pub fn start(assembly: &Assembly, log: LogFound, force: bool) -> Result<Start, StartRefusal> {
    let superblock = &assembly.superblock;
    let log = match &superblock.log {
        None => Log::Memory,
        Some(record) => judge_log(superblock, record, log, force)?,
    };
    let missing = assembly.missing();
    let log_failed = matches!(log, Log::Gone);
    let was_in_sync =
        superblock.shutdown == Shutdown::Clean && superblock.in_sync_to_bytes == IN_SYNC_EVERYWHERE;
    if was_in_sync && !missing.is_empty() {
        return Ok(Start::Trusted { forced: false, log_failed });
    }
    if missing.is_subset_of(superblock.parity_slots()) {
        return Ok(start_with_all_data(superblock, log, missing));
    }
    if matches!(log, Log::Usable { dirty: 0 }) {
        return Ok(Start::Trusted { forced: false, log_failed });
    }
    if superblock.is_fresh() {
        return Ok(start_with_all_data(superblock, log, missing));
    }
    if force {
        return Ok(Start::Trusted { forced: true, log_failed });
    }
    Err(StartRefusal::DirtyDegraded {
        array: superblock.array_name.clone(),
        dirty: match log {
            Log::Usable { dirty } => Some(dirty),
            Log::Memory | Log::Gone => None,
        },
        regions: superblock.regions(),
        missing,
    })
}

fn judge_log(
    superblock: &Superblock,
    record: &LogRecord,
    found: LogFound,
    force: bool,
) -> Result<Log, StartRefusal> {
    let state = match found {
        LogFound::Loaded { dirty, regions } if regions == superblock.regions() => {
            return Ok(match record.health {
                LogHealth::Alive => Log::Usable { dirty },
                LogHealth::Failed => Log::Gone,
            });
        }
        LogFound::Loaded { regions, .. } => {
            return Err(StartRefusal::LogMismatch {
                array: superblock.array_name.clone(),
                log: record.name.clone(),
                found: regions,
                recorded: superblock.regions(),
                region_bytes: superblock.region_bytes,
            });
        }
        // It has never been all there, or was written off: that it is not is no loss.
        LogFound::Blank if record.health == LogHealth::Failed => return Ok(Log::Gone),
        LogFound::Blank | LogFound::Unreadable => "cannot be read",
        LogFound::Missing | LogFound::Memory => "is missing",
    };
    match superblock.on_log_failure {
        OnLogFailure::Block if !force => Err(StartRefusal::LogGone {
            array: superblock.array_name.clone(),
            log: record.name.clone(),
            uuid: record.uuid,
            state,
        }),
        OnLogFailure::Block | OnLogFailure::Continue => Ok(Log::Gone),
    }
}

/// Nothing has to be computed from parity that may not match: that is made to.
fn start_with_all_data(superblock: &Superblock, log: Log, missing: SlotSet) -> Start {
    let in_sync_to =
        |log_failed| Start::InSyncTo { bytes: superblock.in_sync_to_bytes, log_failed };
    match (log, superblock.shutdown) {
        (Log::Usable { dirty }, _) => Start::DirtyRegionsOutOfSync { dirty },
        (Log::Gone, Shutdown::Clean) if missing.is_empty() => in_sync_to(true),
        (Log::Gone, _) => Start::AllOutOfSync { log_failed: true },
        (Log::Memory, Shutdown::Clean) => in_sync_to(false),
        (Log::Memory, Shutdown::Running) => Start::AllOutOfSync { log_failed: false },
    }
}
