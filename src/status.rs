//! The state of a service in one document: for the status page, `raid456 status` and `raid456 top`.
//!
//! ```text
//!   Survey --of--> Status --JSON--> /status.json --> the page
//!                     `--method raid456_get_status--> raid456 status, raid456 top
//! ```
//!
//! Numbers are counters since the start, so that whoever looks twice knows what happened in between.
//! Health is judged here, once, for all who show it.
//!
//! Not here: the names of metrics (`metrics`), how anything is shown (`cli`, `web`).

use array::RaidSnapshot;
use device::{IoKind, IoStats};
use raid::coordinator::Action;
use raid::dirty_log::LogHealth;
use raid::member::MemberState;
use serde::{Deserialize, Serialize};

use crate::control::survey::{ArraySurvey, Survey};
use crate::control::{Control, KeptCall, WaitingRaid, unix_ms};
use crate::limits::{NAMES_TOLD_MAX, STATUS_EVENTS_MAX};
use crate::metrics::{
    ArrayState, LOG_MISSING, array_state, is_delayed, log_of, log_word, member_word, sync_word,
};

/// How well it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Every array has all of its members, and nothing has failed.
    Healthy,
    /// Everything is served, but the next failure may be one too many: an array is degraded, or runs without
    /// its log, or a check has found wrong parity.
    Warning,
    /// Something is not served, or not safe: an array has failed or does not run, its writes are held, its
    /// log has failed, a reactor does not turn, something that the configuration or the state asks for
    /// cannot be made.
    Critical,
}

/// See the module's notes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The service's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When this was, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The same on a clock that does not jump, in nanoseconds, to take differences of.
    pub at_ns: u64,
    /// Whether the configuration is applied.
    pub started: bool,
    /// How well it is, the worst of everything.
    pub health: Health,
    /// Why it is not healthy.
    pub reasons: Vec<String>,
    /// Whether every reactor has answered. Sums over the reactors are wrong otherwise: whoever takes
    /// differences of them would see them fall and leap.
    #[serde(default = "yes")]
    pub whole: bool,
    /// Reactors in ascending order of their cores.
    pub reactors: Vec<ReactorStatus>,
    /// Arrays that run, then known arrays that do not.
    pub arrays: Vec<ArrayStatus>,
    /// Spares that any array may have.
    pub spares: Vec<String>,
    /// What configuration and state ask for, and cannot be made yet.
    #[serde(default)]
    pub kept: Vec<KeptStatus>,
    /// The last events, the newest first.
    pub events: Vec<EventStatus>,
}

fn yes() -> bool {
    true
}

/// A call that cannot be made yet; it is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptStatus {
    /// Who asks for it: config or state.
    pub source: String,
    /// The method.
    pub method: String,
    /// The bdev that it is about; empty where there is none.
    pub bdev: String,
    /// Why it was refused last.
    pub reason: String,
}

/// A reactor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReactorStatus {
    /// Its core.
    pub core: usize,
    /// Whether it answers.
    pub answers: bool,
    /// Time in turns that found work, in nanoseconds.
    pub busy_ns: u64,
    /// Time in turns that found none.
    pub idle_ns: u64,
    /// Time asleep.
    pub asleep_ns: u64,
}

/// An array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArrayStatus {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// raid4, raid5 or raid6.
    pub level: String,
    /// mdadm's name of the layout.
    pub layout: String,
    /// Its size; 0 if it does not run.
    pub size_bytes: u64,
    /// Size of a strip.
    pub strip_bytes: u32,
    /// Its state.
    pub state: ArrayState,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Whether writes wait for the owner's word.
    pub writes_held: bool,
    /// The slots.
    pub members: Vec<MemberStatus>,
    /// Spares of its own.
    pub spares: Vec<String>,
    /// idle, frozen, resync, recover, check or repair.
    pub sync_action: String,
    /// Whether that waits until another array has finished, with which this one shares a device.
    #[serde(default)]
    pub sync_delayed: bool,
    /// Which one that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_delayed_behind: Option<String>,
    /// How far that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncStatus>,
    /// Sectors of 512 bytes whose parity a check or repair found wrong, if that is what ran last.
    pub mismatches: u64,
    /// When the last check or repair of all of it ended, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_unix_ms: Option<u64>,
    /// The dirty log.
    pub log: LogStatus,
    /// What hosts did with it.
    pub io: IoStatus,
    /// What its shards did.
    pub work: WorkStatus,
}

/// A slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Name of the bdev, if there is one.
    pub name: Option<String>,
    /// in_sync, rebuilding, faulty or missing.
    pub state: String,
    /// Requests that it has failed.
    pub errors: u64,
    /// What the array did with it.
    pub io: IoStatus,
}

/// A background action that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncStatus {
    /// How far it is, on each member.
    pub done_bytes: u64,
    /// What it goes over.
    pub size_bytes: u64,
    /// Speed on each member.
    pub speed_bytes_per_s: u64,
    /// Seconds that are left at this speed; none when it stands still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<u64>,
}

impl SyncStatus {
    /// How much is done, from 0 to 1.
    pub fn ratio(&self) -> f64 {
        if self.size_bytes == 0 { 0.0 } else { self.done_bytes as f64 / self.size_bytes as f64 }
    }
}

/// A dirty log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LogStatus {
    /// Name of its bdev; none where it is in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bdev: Option<String>,
    /// alive, read_failed, write_failed or flush_failed; missing if the array runs without it.
    pub state: String,
    /// Regions.
    pub regions: u64,
    /// Regions with writes under way, or not long ago.
    pub dirty_regions: u64,
    /// Regions whose parity matches the data.
    pub in_sync_regions: u64,
    /// Bytes of every member that a region stands for.
    pub region_bytes: u64,
}

/// What was done with a bdev.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IoStatus {
    /// Reads.
    pub read: OpStatus,
    /// Writes.
    pub write: OpStatus,
}

/// Requests of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OpStatus {
    /// How many.
    pub ops: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The time in flight of all together, in nanoseconds.
    pub time_ns: u64,
    /// How many took at most 1, 2, 4 ... 8388608 microseconds, and longer, of those that were watched;
    /// empty if none was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latencies: Vec<u64>,
}

/// What the shards of an array did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkStatus {
    /// Stripe writes by kind: full, rmw, rcw, degraded, data_only.
    pub stripe_writes: [u64; 5],
    /// Reads that had to reconstruct.
    pub degraded_reads: u64,
    /// Strips that could not be read and were mended.
    pub read_repairs: u64,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventStatus {
    /// Its number.
    pub id: u64,
    /// When it was, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// What happened, in the words of `notify_get_types`.
    #[serde(rename = "type")]
    pub kind: String,
    /// To which bdev.
    pub bdev: String,
    /// More.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The state of a service now.
#[must_use]
pub fn of(control: &Control) -> Status {
    let survey = control.survey();
    let mut status = describe(&survey);
    status.events = control
        .last_notices(STATUS_EVENTS_MAX)
        .into_iter()
        .map(|notice| EventStatus {
            id: notice.id,
            at_unix_ms: notice.at_unix_ms,
            kind: notice.kind.word().to_owned(),
            bdev: notice.bdev,
            detail: notice.detail,
        })
        .collect();
    status
}

fn describe(survey: &Survey) -> Status {
    let places = survey.places();
    let io_of = |name: &str| {
        places.get(name).map(|place| io(&survey.bdevs[*place].stats)).unwrap_or_default()
    };
    let running = survey.arrays.iter().map(|array| {
        let spares = survey.spares(Some(&array.name)).map(str::to_owned).collect();
        let hosts = array.bdev.map(|place| io(&survey.bdevs[place].stats)).unwrap_or_default();
        running(array, hosts, spares, &io_of)
    });
    let arrays: Vec<_> = running.chain(survey.waiting.iter().map(waiting)).collect();
    let reactors: Vec<_> = survey
        .reactors
        .iter()
        .map(|reactor| ReactorStatus {
            core: reactor.view.core,
            answers: reactor.answers,
            busy_ns: reactor.view.stats.busy_ticks,
            idle_ns: reactor.view.stats.idle_ticks,
            asleep_ns: reactor.view.stats.sleep_ticks,
        })
        .collect();
    let kept: Vec<_> = survey.kept.iter().map(kept).collect();
    let (health, reasons) = judge(&reactors, &arrays, &kept);
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        at_unix_ms: unix_ms(),
        at_ns: survey.now.as_nanos(),
        started: survey.started,
        health,
        reasons,
        whole: survey.is_whole(),
        reactors,
        arrays,
        spares: survey.spares(None).map(str::to_owned).collect(),
        kept,
        events: Vec::new(),
    }
}

fn kept(call: &KeptCall) -> KeptStatus {
    KeptStatus {
        source: call.source.word().to_owned(),
        method: call.method().to_owned(),
        bdev: call.bdev.clone(),
        reason: call.reason.clone(),
    }
}

fn running(
    array: &ArraySurvey,
    hosts: IoStatus,
    spares: Vec<String>,
    io_of: &impl Fn(&str) -> IoStatus,
) -> ArrayStatus {
    let (info, snapshot) = (&array.info, &array.snapshot);
    let members = snapshot.members.iter().enumerate().map(|(slot, member)| MemberStatus {
        name: member.name.clone(),
        state: member_word(member.state).to_owned(),
        errors: errors(snapshot, slot),
        io: member.name.as_deref().map(io_of).unwrap_or_default(),
    });
    let (core, _) = snapshot.work();
    let (log, log_state) = log_of(snapshot);
    ArrayStatus {
        name: array.name.clone(),
        uuid: info.uuid.to_string(),
        level: snapshot.level.to_string(),
        layout: snapshot.layout.to_string(),
        size_bytes: info.size_bytes(),
        strip_bytes: snapshot.strip_bytes,
        state: array_state(snapshot),
        reason: String::new(),
        writes_held: snapshot.waiting_for_owner,
        members: members.collect(),
        spares,
        sync_action: sync_word(snapshot.action).to_owned(),
        sync_delayed: is_delayed(snapshot),
        sync_delayed_behind: array.delayed_behind.clone().filter(|_| is_delayed(snapshot)),
        sync: sync(snapshot),
        mismatches: snapshot.checked_mismatched_rows() * 8,
        checked_unix_ms: array.checked_unix_ms,
        log: LogStatus {
            bdev: log.map(str::to_owned),
            state: log_state.to_owned(),
            regions: snapshot.regions,
            dirty_regions: snapshot.regions_dirty,
            in_sync_regions: snapshot.regions_in_sync,
            region_bytes: snapshot.region_bytes,
        },
        io: hosts,
        work: WorkStatus {
            stripe_writes: core.writes,
            degraded_reads: core.degraded_reads,
            read_repairs: core.mends,
        },
    }
}

fn errors(snapshot: &RaidSnapshot, slot: usize) -> u64 {
    let shards = snapshot.shards.iter().filter_map(|shard| shard.member_errors.get(slot));
    shards.map(|errors| errors.reads + errors.writes + errors.flushes).sum()
}

fn sync(snapshot: &RaidSnapshot) -> Option<SyncStatus> {
    let Action::Running(_) = snapshot.action else { return None };
    let progress = snapshot.progress?;
    let component = snapshot.members.first().map_or(0, |member| member.data_size_bytes);
    let bytes = |regions: u64| (regions * snapshot.region_bytes).min(component);
    let (done_bytes, size_bytes) = (bytes(progress.done), bytes(progress.total));
    let speed_bytes_per_s = progress.speed_bytes_per_s;
    let eta_s = (size_bytes - done_bytes.min(size_bytes)).checked_div(speed_bytes_per_s);
    Some(SyncStatus { done_bytes, size_bytes, speed_bytes_per_s, eta_s })
}

/// A known array that does not run.
fn waiting(raid: &WaitingRaid) -> ArrayStatus {
    let superblock = &raid.superblock;
    let member = |name: &Option<String>| MemberStatus {
        name: name.clone(),
        state: if name.is_some() { "in_sync" } else { "missing" }.to_owned(),
        errors: 0,
        io: IoStatus::default(),
    };
    ArrayStatus {
        name: superblock.array_name.clone(),
        uuid: superblock.array_uuid.to_string(),
        level: superblock.shape.level.to_string(),
        layout: superblock.shape.layout.to_string(),
        size_bytes: 0,
        strip_bytes: superblock.shape.strip_bytes,
        state: ArrayState::Configuring,
        reason: raid.reason.clone(),
        writes_held: false,
        members: raid.members.iter().map(member).collect(),
        spares: Vec::new(),
        sync_action: sync_word(Action::Idle).to_owned(),
        sync_delayed: false,
        sync_delayed_behind: None,
        sync: None,
        mismatches: 0,
        checked_unix_ms: None,
        log: LogStatus {
            bdev: superblock.log.as_ref().map(|log| log.name.clone()),
            state: log_word(LogHealth::Alive).to_owned(),
            ..LogStatus::default()
        },
        io: IoStatus::default(),
        work: WorkStatus::default(),
    }
}

fn io(stats: &IoStats) -> IoStatus {
    let op = |kind| {
        let (numbers, latencies) = (stats.of(kind), stats.latencies_of(kind));
        let seen = latencies.count() > 0;
        OpStatus {
            ops: numbers.ios,
            bytes: numbers.bytes,
            time_ns: numbers.latency_ns,
            latencies: if seen { latencies.counts().to_vec() } else { Vec::new() },
        }
    };
    IoStatus { read: op(IoKind::Read), write: op(IoKind::Write) }
}

/// The worst of everything, and what is wrong.
fn judge(
    reactors: &[ReactorStatus],
    arrays: &[ArrayStatus],
    kept: &[KeptStatus],
) -> (Health, Vec<String>) {
    let mut worst = Health::Healthy;
    let mut reasons = Vec::new();
    let mut note = |health: Health, reason: String| {
        worst = worst.max(health);
        reasons.push(reason);
    };
    for reactor in reactors.iter().filter(|reactor| !reactor.answers) {
        note(Health::Critical, format!("the reactor on core {} does not answer", reactor.core));
    }
    for KeptStatus { source, method, bdev, reason } in kept.iter().take(NAMES_TOLD_MAX) {
        let what = format!("{method} {bdev}");
        note(Health::Critical, format!("{} of the {source} is not made: {reason}", what.trim()));
    }
    if kept.len() > NAMES_TOLD_MAX {
        let more = kept.len() - NAMES_TOLD_MAX;
        note(Health::Critical, format!("{more} more calls are not made"));
    }
    for array in arrays {
        let ArrayStatus { name, state, members, .. } = array;
        let out = members.iter().filter(|member| member.state != member_word(MemberState::InSync));
        let (out, all) = (out.count(), members.len());
        let out = format!("{out} of {all} members not in sync");
        match state {
            ArrayState::Online => {}
            ArrayState::Degraded => {
                note(Health::Warning, format!("array {name} is degraded: {out}"));
            }
            ArrayState::Failed => {
                let what = "has lost more than parity can stand for";
                note(Health::Critical, format!("array {name} {what}: {out}"));
            }
            ArrayState::Configuring => {
                let why =
                    if array.reason.is_empty() { "members are missing" } else { &array.reason };
                note(Health::Critical, format!("array {name} does not run: {why}"));
            }
        }
        if array.writes_held {
            let what = "holds writes until the message allow_writes";
            note(Health::Critical, format!("array {name} {what}"));
        }
        match (&array.log.bdev, &*array.log.state) {
            (None, _) => {}
            (Some(log), LOG_MISSING) => {
                let what = "a crash costs a resync of everything";
                note(Health::Warning, format!("array {name} runs without its log {log}: {what}"));
            }
            (Some(_), state) if state == log_word(LogHealth::Alive) => {}
            (Some(_), state) => {
                note(Health::Critical, format!("array {name}: its log has failed ({state})"));
            }
        }
        if array.mismatches > 0 {
            let sectors = array.mismatches;
            let what = "sectors with wrong parity were found";
            note(Health::Warning, format!("array {name}: {sectors} {what}"));
        }
    }
    (worst, reasons)
}

#[cfg(test)]
mod tests;
