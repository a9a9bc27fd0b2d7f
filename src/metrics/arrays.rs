//! Metrics of arrays: states, members, background actions, the work of their shards, the dirty log.
//!
//! Not here: what is done with the array as a bdev, and with its members (`bdevs`).

use std::collections::BTreeSet;
use std::fmt;

use array::{RaidSnapshot, ShardSnapshot};
use raid::coordinator::Action;
use raid::dirty_log::LogHealth;
use raid::event::{FailCause, ShardCounters};
use raid::member::MemberState;
use raid::plan::WriteKind;
use serde::{Deserialize, Serialize};

use super::families::{Families, Family};
use super::seconds;
use crate::control::survey::ArraySurvey;
use crate::control::{Survey, action_word};

const MEMBER_STATES: [&str; 4] = ["in_sync", "rebuilding", "faulty", "missing"];
const ACTIONS: [&str; 6] = ["idle", "frozen", "resync", "recover", "check", "repair"];
const LOG_STATES: [&str; 5] = ["alive", "read_failed", "write_failed", "flush_failed", LOG_MISSING];
const WRITE_KINDS: [(WriteKind, &str); 5] = [
    (WriteKind::FullStripe, "full"),
    (WriteKind::ReadModifyWrite, "rmw"),
    (WriteKind::ReconstructWrite, "rcw"),
    (WriteKind::RecoverWrite, "degraded"),
    (WriteKind::DataOnly, "data_only"),
];

/// The state of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArrayState {
    /// Every member is in sync.
    Online,
    /// It is at work without some members, or before they are rebuilt.
    Degraded,
    /// It has lost more than parity can stand for.
    Failed,
    /// It is known, and does not run.
    Configuring,
}

impl ArrayState {
    const ALL: [Self; 4] = [Self::Online, Self::Degraded, Self::Failed, Self::Configuring];

    /// As metrics and documents have it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Configuring => "configuring",
        }
    }
}

impl fmt::Display for ArrayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Words for the states of members.
pub(crate) fn member_word(state: MemberState) -> &'static str {
    match state {
        MemberState::InSync => "in_sync",
        MemberState::Rebuilding => "rebuilding",
        MemberState::Faulty => "faulty",
        MemberState::Missing => "missing",
    }
}

/// Whether its background action waits for its turn.
pub(crate) fn is_delayed(snapshot: &RaidSnapshot) -> bool {
    matches!(snapshot.action, Action::Delayed(_))
}

/// md's words. An action that waits for its turn is that action.
pub(crate) fn sync_word(action: Action) -> &'static str {
    match action {
        Action::Idle => "idle",
        Action::Frozen => "frozen",
        Action::Running(kind) | Action::Delayed(kind) => action_word(kind),
    }
}

fn cause_word(cause: FailCause) -> &'static str {
    match cause {
        FailCause::Write => "write",
        FailCause::Read => "read",
        FailCause::Flush => "flush",
        FailCause::Superblock => "superblock",
        FailCause::TimedOut => "timed_out",
        FailCause::Gone => "gone",
        FailCause::Removed => "removed",
    }
}

/// The state of a log that an array should have, and runs without.
pub(crate) const LOG_MISSING: &str = "missing";

/// The log bdev that an array has, or should have, and its state.
pub(crate) fn log_of(snapshot: &RaidSnapshot) -> (Option<&str>, &'static str) {
    match snapshot.missing_log() {
        Some(log) => (Some(log), LOG_MISSING),
        None => (snapshot.log.as_deref(), log_word(snapshot.log_health)),
    }
}

/// Words for the health of logs.
pub(crate) fn log_word(health: LogHealth) -> &'static str {
    match health {
        LogHealth::Alive => "alive",
        LogHealth::ReadFailed => "read_failed",
        LogHealth::WriteFailed => "write_failed",
        LogHealth::FlushFailed => "flush_failed",
    }
}

/// The state of an array that runs.
pub(crate) fn array_state(snapshot: &RaidSnapshot) -> ArrayState {
    let optimal = snapshot.members.iter().all(|member| member.state == MemberState::InSync);
    match (snapshot.broken, optimal) {
        (true, _) => ArrayState::Failed,
        (false, false) => ArrayState::Degraded,
        (false, true) => ArrayState::Online,
    }
}

pub(super) fn collect(survey: &Survey, families: &mut Families) {
    identity(survey, families);
    members(survey, families);
    background(survey, families);
    if !survey.is_whole() {
        return;
    }
    errors(survey, families);
    work(survey, families);
    shards(survey, families);
    log(survey, families);
}

fn name(array: &ArraySurvey) -> &str {
    &array.name
}

/// A family with one metric for each array.
fn each(family: &mut Family, survey: &Survey, value: impl Fn(&ArraySurvey) -> f64) {
    for array in &survey.arrays {
        family.add(&[("array", name(array))], value(array));
    }
}

fn identity(survey: &Survey, families: &mut Families) {
    families.gauge("raid_info", "What an array is.", |family| {
        for array in &survey.arrays {
            let snapshot = &array.snapshot;
            let policy = if snapshot.log.is_some() { "bitmap" } else { "resync" };
            let labels = [
                ("array", name(array)),
                ("level", &*snapshot.level.to_string()),
                ("layout", &*snapshot.layout.to_string()),
                ("strip_bytes", &*snapshot.strip_bytes.to_string()),
                ("uuid", &*array.info.uuid.to_string()),
                ("consistency_policy", policy),
                ("log_bdev", snapshot.log.as_deref().unwrap_or_default()),
                ("superblock", if snapshot.superblock { "true" } else { "false" }),
            ];
            family.count(&labels, 1);
        }
    });
    let help = "The state of an array: degraded is at work without some members, failed has lost more \
                than parity can stand for, configuring is known and does not run.";
    families.gauge("raid_state", help, |family| {
        let words = ArrayState::ALL.map(ArrayState::word);
        let mut tell = |name: &str, state: ArrayState| {
            family.states(&[("array", name)], "state", &words, |word| word == state.word());
        };
        for array in &survey.arrays {
            tell(name(array), array_state(&array.snapshot));
        }
        // Superblocks may be found of arrays that have one name.
        let mut named: BTreeSet<&str> = survey.arrays.iter().map(name).collect();
        let waiting = survey.waiting.iter().map(|waiting| &*waiting.superblock.array_name);
        for waiting in waiting.filter(|waiting| named.insert(waiting)) {
            tell(waiting, ArrayState::Configuring);
        }
    });
    families.gauge("raid_size_bytes", "Size of an array.", |family| {
        each(family, survey, |array| array.info.size_bytes() as f64);
    });
    let help = "Whether host writes wait until the owner allows them (message allow_writes).";
    families.gauge("raid_writes_held", help, |family| {
        each(family, survey, |array| f64::from(u8::from(array.snapshot.waiting_for_owner)));
    });
    let help = "Updates of the superblocks so far; 0 without superblocks.";
    families.gauge("raid_superblock_events", help, |family| {
        each(family, survey, |array| array.snapshot.events as f64);
    });
}

fn members(survey: &Survey, families: &mut Families) {
    let help = "Members by state; spares are those that the array has to itself.";
    families.gauge("raid_members", help, |family| {
        for array in &survey.arrays {
            let in_state = |state| {
                array.snapshot.members.iter().filter(|member| member.state == state).count() as u64
            };
            let counts = [
                ("active", in_state(MemberState::InSync)),
                ("rebuilding", in_state(MemberState::Rebuilding)),
                ("failed", in_state(MemberState::Faulty)),
                ("missing", in_state(MemberState::Missing)),
                ("spare", survey.spares(Some(name(array))).count() as u64),
            ];
            for (state, count) in counts {
                family.count(&[("array", name(array)), ("state", state)], count);
            }
        }
    });
    families.gauge("raid_members_required", "Members of a whole array.", |family| {
        each(family, survey, |array| array.snapshot.members.len() as f64);
    });
    families.gauge("raid_member_state", "The state of a member.", |family| {
        for_members(survey, |array, slot, member, place| {
            let labels = [("array", array), ("slot", slot), ("member", member)];
            let state = member_word(place.state);
            family.states(&labels, "state", &MEMBER_STATES, |word| word == state);
        });
    });
    let help = "Members that were taken out of use.";
    families.counter("raid_member_failures_total", help, |family| {
        for array in &survey.arrays {
            for (cause, count) in FailCause::ALL.into_iter().zip(array.snapshot.failures) {
                family.count(&[("array", name(array)), ("cause", cause_word(cause))], count);
            }
        }
    });
}

fn errors(survey: &Survey, families: &mut Families) {
    let help = "Requests that a member has failed since it took its slot; reads that were tried again \
                count twice.";
    families.counter("raid_member_errors_total", help, |family| {
        for_members(survey, |array, slot, member, place| {
            let errors = place.errors;
            for (op, count) in
                [("read", errors.reads), ("write", errors.writes), ("flush", errors.flushes)]
            {
                let labels = [("array", array), ("slot", slot), ("member", member), ("op", op)];
                family.count(&labels, count);
            }
        });
    });
    let help = "Read errors of a member that were corrected from parity since it took its slot; with superblocks \
                this lasts over restarts.";
    families.counter("raid_member_read_errors_corrected_total", help, |family| {
        for_members(survey, |array, slot, member, place| {
            let labels = [("array", array), ("slot", slot), ("member", member)];
            family.count(&labels, place.read_errors.into());
        });
    });
}

/// A member in its slot.
struct Place {
    state: MemberState,
    read_errors: u32,
    errors: array::MemberErrors,
}

fn for_members(survey: &Survey, mut each: impl FnMut(&str, &str, &str, Place)) {
    for array in &survey.arrays {
        for (slot, member) in array.snapshot.members.iter().enumerate() {
            let mut errors = array::MemberErrors::default();
            for shard in array.snapshot.shards.iter().filter_map(|s| s.member_errors.get(slot)) {
                errors.reads += shard.reads;
                errors.writes += shard.writes;
                errors.flushes += shard.flushes;
            }
            let member_name = member.name.as_deref().unwrap_or_default();
            let place = Place { state: member.state, read_errors: member.read_errors, errors };
            each(name(array), &slot.to_string(), member_name, place);
        }
    }
}

fn background(survey: &Survey, families: &mut Families) {
    families.gauge("raid_sync_action", "What goes on in the background.", |family| {
        for array in &survey.arrays {
            let now = sync_word(array.snapshot.action);
            family.states(&[("array", name(array))], "action", &ACTIONS, |word| word == now);
        }
    });
    let help = "Whether the background action waits until that of another array has finished, with which \
                it shares a device.";
    families.gauge("raid_sync_delayed", help, |family| {
        each(family, survey, |array| f64::from(u8::from(is_delayed(&array.snapshot))));
    });
    let bytes = |array: &ArraySurvey, regions: u64| {
        let component = array.snapshot.members.first().map_or(0, |member| member.data_size_bytes);
        (regions * array.snapshot.region_bytes).min(component) as f64
    };
    let help = "How far the background action is, on each member; 0 when there is none.";
    families.gauge("raid_sync_completed_bytes", help, |family| {
        each(family, survey, |array| bytes(array, array.snapshot.progress.map_or(0, |p| p.done)));
    });
    let help = "What the background action goes over, on each member; 0 when there is none.";
    families.gauge("raid_sync_size_bytes", help, |family| {
        each(family, survey, |array| bytes(array, array.snapshot.progress.map_or(0, |p| p.total)));
    });
    let help = "Bounds of the speed of background actions, on each member.";
    families.gauge("raid_sync_limit_bytes_per_second", help, |family| {
        for array in &survey.arrays {
            let (rates, array) = (array.snapshot.rates, name(array));
            let max = match rates.max_bytes_per_s {
                u64::MAX => f64::INFINITY,
                max => max as f64,
            };
            family.count(&[("array", array), ("limit", "min")], rates.min_bytes_per_s);
            family.add(&[("array", array), ("limit", "max")], max);
        }
    });
    let help = "Sectors of 512 bytes whose parity the last check or repair found wrong, in md's counting: \
                after a repair what it has made right; 0 when another action has run since.";
    families.gauge("raid_mismatches", help, |family| {
        each(family, survey, |array| (array.snapshot.checked_mismatched_rows() * 8) as f64);
    });
    let help = "When the last check or repair of all of the array ended; 0 if none has since the service was \
         started, which does not keep it.";
    families.gauge("raid_last_check_timestamp_seconds", help, |family| {
        each(family, survey, |array| array.checked_unix_ms.unwrap_or(0) as f64 / 1000.0);
    });
}

/// What the shards of an array did together.
fn work(survey: &Survey, families: &mut Families) {
    let sums: Vec<(&str, ShardCounters, array::ShellCounters)> = survey
        .arrays
        .iter()
        .map(|array| {
            let (core, shell) = array.snapshot.work();
            (name(array), core, shell)
        })
        .collect();
    let help = "Stripe writes: full needs no read; rmw and rcw read old data and parity, or what is not \
                written; degraded reconstructs first; data_only has no parity to write.";
    families.counter("raid_stripe_writes_total", help, |family| {
        for (array, core, _) in &sums {
            for (kind, word) in WRITE_KINDS {
                family.count(&[("array", array), ("kind", word)], core.writes_of(kind));
            }
        }
    });
    let mut count = |name, help, value: fn(&ShardCounters, &array::ShellCounters) -> u64| {
        families.counter(name, help, |family| {
            for (array, core, shell) in &sums {
                family.count(&[("array", array)], value(core, shell));
            }
        });
    };
    let help = "Reads that had to reconstruct what is lost.";
    count("raid_degraded_reads_total", help, |core, _| core.degraded_reads);
    let help = "Reads of one strip that went straight to its member.";
    count("raid_direct_reads_total", help, |_, shell| shell.direct_reads);
    let help = "Strips that could not be read, and were computed, written back and read again.";
    count("raid_read_repairs_total", help, |core, _| core.mends);
    let help = "Stripe operations that were planned again because a strip could not be read.";
    count("raid_replans_total", help, |core, _| core.replans);
    let help = "Stripe operations that were merged into another one.";
    count("raid_merges_total", help, |core, _| core.merges);
    let help = "Bytes of parity and of lost strips that were computed or compared.";
    count("raid_parity_bytes_total", help, |_, shell| shell.computed_bytes);
}

/// What belongs to one core.
fn shards(survey: &Survey, families: &mut Families) {
    let fill = |family: &mut Family, value: fn(&ShardSnapshot) -> f64| {
        for array in &survey.arrays {
            for shard in &array.snapshot.shards {
                let core = shard.on_core.to_string();
                family.add(&[("array", name(array)), ("core", &core)], value(shard));
            }
        }
    };
    let help = "Stripe operations that waited for an overlapping one.";
    families.counter("raid_stripe_waits_total", help, |family| {
        fill(family, |shard| shard.core.conflicts as f64);
    });
    families.counter("raid_stripe_wait_seconds_total", "How long they waited.", |family| {
        fill(family, |shard| seconds(shard.core.conflict_wait_ns));
    });
    families.gauge("raid_stripes_inflight", "Stripe operations under way.", |family| {
        fill(family, |shard| shard.active as f64);
    });
    let help = "Pieces of requests that were handed to the core that owns their stripe.";
    families.counter("raid_cross_core_forwards_total", help, |family| {
        fill(family, |shard| shard.shell.forwards as f64);
    });
    let help = "Stripe operations that waited for memory or for room in the table of leases.";
    families.counter("raid_starvations_total", help, |family| {
        fill(family, |shard| shard.core.starvations as f64);
    });
    let help = "Regions of the dirty log that the core may write in, or has asked for.";
    families.gauge("log_leases", help, |family| fill(family, |shard| shard.leases as f64));
    let help = "Stripe operations that waited until their region was marked in the dirty log.";
    families.counter("log_waits_total", help, |family| {
        fill(family, |shard| shard.core.lease_waits as f64);
    });
}

fn log(survey: &Survey, families: &mut Families) {
    families.gauge("log_regions", "Regions of the dirty log.", |family| {
        each(family, survey, |array| array.snapshot.regions as f64);
    });
    let help = "Regions that have writes under way, or had them not long ago.";
    families.gauge("log_dirty_regions", help, |family| {
        each(family, survey, |array| array.snapshot.regions_dirty as f64);
    });
    families.gauge("log_in_sync_regions", "Regions whose parity matches the data.", |family| {
        each(family, survey, |array| array.snapshot.regions_in_sync as f64);
    });
    let help = "Bytes of every member that one region stands for.";
    families.gauge("log_region_size_bytes", help, |family| {
        each(family, survey, |array| array.snapshot.region_bytes as f64);
    });
    let logged = || survey.arrays.iter().filter(|array| array.snapshot.log.is_some());
    let help = "The state of a log bdev: what it failed first; missing if it was not there at the start, or \
                could not be read, and the array runs without it.";
    families.gauge("log_state", help, |family| {
        for array in &survey.arrays {
            let (Some(log), state) = log_of(&array.snapshot) else { continue };
            let labels = [("array", name(array)), ("log_bdev", log)];
            family.states(&labels, "state", &LOG_STATES, |word| word == state);
        }
    });
    let help = "Commits of the dirty log to its bdev: with regions that were marked, which somebody \
                waits for, and with regions that were only cleared.";
    families.counter("log_writes_total", help, |family| {
        for array in logged() {
            let counters = array.snapshot.log_counters;
            for (reason, count) in
                [("set", counters.mark_commits), ("clear", counters.clear_commits)]
            {
                family.count(&[("array", name(array)), ("reason", reason)], count);
            }
        }
    });
    let help = "How long commits of the dirty log took, with the flush where there is one.";
    families.histogram("log_write_duration_seconds", help, |family| {
        for array in logged() {
            family.latencies(&[("array", name(array))], &array.snapshot.log_latencies);
        }
    });
}
