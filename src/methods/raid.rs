//! Methods that list, make, change and delete arrays.
//!
//! Unlike with SPDK a new array is never "configuring": members that are not there yet are an error, and a
//! member that is missing on purpose is null. A known array, whose superblocks were found, is while it
//! waits for members or is refused; `reason` says why. One that has lost more than parity can stand for
//! is "offline".
//!
//! Not here: the checks behind the commands (`control::raid`, crate `array`).

use std::time::Duration;

use ::raid::coordinator::pace::Rates;
use ::raid::coordinator::{self, Action, Progress};
use ::raid::event::WorkKind;
use ::raid::layout::{Layout, Level};
use ::raid::member::MemberState;
use ::raid::superblock::{DATA_OFFSET_BYTES_MIN, MemberRecordState};
use array::{Before, LastEnd, MemberSnapshot, RaidBdev, RaidSnapshot};
use device::{Bdev, BdevInfo};
use rpc::RpcError;
use rpc::error::errno_text;
use rpc::params::{
    BdevExamine, BdevRaidAddBaseBdev, BdevRaidAddSpare, BdevRaidAssemble, BdevRaidCreate,
    BdevRaidDelete, BdevRaidGetBdevs, BdevRaidMessage, BdevRaidRemoveBaseBdev, BdevRaidSetOptions,
    BdevRaidSetRates, BdevRaidSetTrace, BdevWaitForExamine, Category, DataOffset, OnFailure,
    OnLogFailure, RaidLevel, RaidWord,
};
use rpc::results::{
    BaseBdevEntry, RaidEntry, RaidInfo, RaidLog, RaidProcess, RaidProgress, RaidState,
};
use serde_json::Value;
use uuid::Uuid;

use super::{Call, Context, Effect, json, refused};
use crate::control::{Control, ControlError, RaidMessage, RaidRequest, WaitingRaid, action_word};

impl Call for BdevRaidCreate {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let name = self.name.clone();
        request(self).and_then(|request| context.control.create_raid(request)).map_err(
            |error| {
                let (code, text) = (error.errno(), errno_text(error.errno()));
                let message = format!("Failed to create RAID bdev {name}: {text}: {error}");
                RpcError::new(-i64::from(code), message)
            },
        )?;
        Ok(Value::from(true))
    }
}

/// What the parameters ask for.
fn request(params: BdevRaidCreate) -> Result<RaidRequest, ControlError> {
    let members = params.base_bdevs.0;
    let data_offsets_sectors = match params.data_offset {
        None if params.superblock => vec![DATA_OFFSET_BYTES_MIN / 512; members.len()],
        None => vec![0; members.len()],
        Some(DataOffset::All(sectors)) => vec![sectors; members.len()],
        Some(DataOffset::Each(sectors)) => sectors,
    };
    let spares: Option<Vec<String>> = match params.spares {
        None => Some(Vec::new()),
        Some(names) => names.0.into_iter().collect(),
    };
    let spares = spares.ok_or_else(|| ControlError::BadValue {
        what: "spares",
        value: "null".to_owned(),
        right: "give names of bdevs".to_owned(),
    })?;
    Ok(RaidRequest {
        name: params.name,
        uuid: params.uuid,
        level: match params.raid_level {
            RaidLevel::Raid4 => Level::Raid4,
            RaidLevel::Raid5 => Level::Raid5,
            RaidLevel::Raid6 => Level::Raid6,
        },
        layout: params.layout,
        parity_slot: params.parity_device,
        strip_size_kib: params.strip_size_kb,
        members,
        data_offsets_sectors,
        assume_clean: params.assume_clean,
        log: params.log_bdev,
        region_size_kib: params.region_size_kb,
        superblock: params.superblock,
        on_log_failure: params.on_log_failure.map(|word| match word {
            OnLogFailure::Continue => coordinator::OnLogFailure::Continue,
            OnLogFailure::Block => coordinator::OnLogFailure::Block,
        }),
        on_member_failure: match params.on_failure {
            OnFailure::Hold => coordinator::OnMemberFailure::Hold,
            OnFailure::Continue => coordinator::OnMemberFailure::Continue,
        },
        io_timeout: params.io_timeout_s.map(|s| Duration::from_secs(s.max(1).into())),
        force: params.force,
        before: before(params.dirty, params.log_failed),
        spares,
    })
}

/// What a caller knows of an array's life before.
pub(super) fn before(dirty: Option<bool>, log_failed: bool) -> Before {
    let end = match dirty {
        None => LastEnd::Unknown,
        Some(true) => LastEnd::CutOff,
        Some(false) => LastEnd::InOrder,
    };
    Before { end, log_failed }
}

impl Call for BdevRaidGetBdevs {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let running = context.control.raids().into_iter().map(|raid| {
            let name = raid.info().name.clone();
            RaidEntry { name, info: raid_info(context.control, &raid) }
        });
        let waiting = context.control.waiting_raids().into_iter().map(|raid| waiting(&raid));
        let wanted = |entry: &RaidEntry| match self.category {
            Category::All => true,
            Category::Online => entry.info.state == RaidState::Online,
            Category::Configuring => entry.info.state == RaidState::Configuring,
            Category::Offline => entry.info.state == RaidState::Offline,
        };
        json(running.chain(waiting).filter(wanted).collect::<Vec<_>>())
    }
}

impl Call for BdevRaidDelete {
    const EFFECT: Effect = Effect::DeletesBdev;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        context.control.delete_raid(&self.name, self.clear_sb).map_err(|error| refused(&error))?;
        Ok(Value::from(true))
    }
}

impl Call for BdevRaidRemoveBaseBdev {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let name = self.name.or(self.base_bdev).ok_or_else(|| {
            RpcError::invalid_params("name is missing: it should be the name of a base bdev")
        })?;
        context.control.remove_base_bdev(&name, self.raid_bdev.as_deref()).map_err(|error| {
            let text = errno_text(error.errno());
            let message = format!("Failed to remove base bdev from raid bdev: {text}: {error}");
            RpcError::new(-i64::from(error.errno()), message)
        })?;
        Ok(Value::from(true))
    }
}

impl Call for BdevRaidAddBaseBdev {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let Self { raid_bdev, base_bdev, force } = self;
        context.control.add_base_bdev(&raid_bdev, &base_bdev, force).map_err(|error| {
            let text = errno_text(error.errno());
            let message = format!("Failed to add base bdev to RAID bdev: {text}: {error}");
            RpcError::new(-i64::from(error.errno()), message)
        })?;
        Ok(Value::from(true))
    }
}

impl Call for BdevRaidAddSpare {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let Self { base_bdev, raid_bdev, force } = self;
        let added = context.control.add_spare(&base_bdev, raid_bdev.as_deref(), force);
        added.map_err(|error| refused(&error))?;
        Ok(Value::from(true))
    }
}

impl Call for BdevRaidAssemble {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let assembled = context.control.assemble_raid(&self.name, self.force);
        Ok(Value::from(assembled.map_err(|error| refused(&error))?))
    }
}

impl Call for BdevRaidMessage {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let message = match self.message {
            RaidWord::Idle => RaidMessage::Idle,
            RaidWord::Frozen => RaidMessage::Frozen,
            RaidWord::Resync => RaidMessage::Resync,
            RaidWord::Recover => RaidMessage::Recover,
            RaidWord::Check => RaidMessage::Check,
            RaidWord::Repair => RaidMessage::Repair,
            RaidWord::AllowWrites => RaidMessage::AllowWrites,
        };
        context.control.message_raid(&self.name, message).map_err(|error| refused(&error))?;
        Ok(Value::from(true))
    }
}

impl Call for BdevRaidSetRates {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let change = |rates: &mut Rates| {
            if let Some(min) = self.min_kb_per_s {
                rates.min_bytes_per_s = min.saturating_mul(1024);
            }
            match self.max_kb_per_s {
                None => {}
                Some(0) => rates.max_bytes_per_s = u64::MAX,
                Some(max) => rates.max_bytes_per_s = max.saturating_mul(1024),
            }
        };
        context.control.set_rates(&self.name, change).map_err(|error| refused(&error))?;
        Ok(Value::from(true))
    }
}

impl Call for BdevRaidSetTrace {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let raids = context.control.raids_of(&self.name).map_err(|error| refused(&error))?;
        raids.iter().for_each(|raid| raid.trace(if self.enable { self.requests } else { 0 }));
        tracing::info!(array = self.name, on = self.enable, requests = self.requests, "trace");
        Ok(Value::from(true))
    }
}

impl Call for BdevRaidSetOptions {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        if let Some(mib) = self.process_max_bandwidth_mb_sec {
            context.control.set_defaults(|defaults| {
                defaults.rates.max_bytes_per_s = match mib {
                    0 => u64::MAX,
                    mib => u64::from(mib) << 20,
                };
                let Rates { min_bytes_per_s, max_bytes_per_s, .. } = &mut defaults.rates;
                *min_bytes_per_s = (*min_bytes_per_s).min(*max_bytes_per_s);
            });
        }
        Ok(Value::from(true))
    }
}

impl Call for BdevExamine {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        context.control.examine_bdev(&self.name).map_err(|error| refused(&error))?;
        Ok(Value::from(true))
    }
}

impl Call for BdevWaitForExamine {
    const MAY_WAIT: bool = true;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        context.control.wait_for_examine();
        Ok(Value::from(true))
    }
}

/// An array as clients see it.
pub(super) fn raid_info(control: &Control, raid: &RaidBdev) -> RaidInfo {
    let behind = control.delayed_behind(&raid.info().name);
    describe(&raid.info(), &raid.snapshot(), behind)
}

fn describe(info: &BdevInfo, snapshot: &RaidSnapshot, behind: Option<String>) -> RaidInfo {
    let slots = snapshot.members.len() as u32;
    let count = |state| snapshot.members.iter().filter(|m| m.state == state).count() as u32;
    let in_sync = count(MemberState::InSync);
    RaidInfo {
        uuid: info.uuid,
        strip_size_kb: snapshot.strip_bytes / 1024,
        state: if snapshot.broken { RaidState::Offline } else { RaidState::Online },
        raid_level: snapshot.level.to_string(),
        superblock: snapshot.superblock,
        num_base_bdevs: slots,
        num_base_bdevs_discovered: in_sync + count(MemberState::Rebuilding),
        num_base_bdevs_operational: in_sync,
        process: process(snapshot, info.num_blocks, behind),
        base_bdevs_list: snapshot
            .members
            .iter()
            .map(|member| base_bdev(member, info.block_size_bytes))
            .collect(),
        layout: snapshot.layout.to_string(),
        parity_device: parity_device(snapshot.layout, slots),
        strip_size_bytes: snapshot.strip_bytes,
        block_size: info.block_size_bytes,
        num_blocks: info.num_blocks,
        num_base_bdevs_degraded: slots - in_sync,
        in_sync: snapshot.regions_in_sync == snapshot.regions,
        log: RaidLog {
            kind: if snapshot.log.is_some() { "disk" } else { "core" }.to_owned(),
            bdev: snapshot.log.clone(),
            health: snapshot.log_health.letter().to_string(),
            regions: snapshot.regions,
            regions_in_sync: snapshot.regions_in_sync,
            regions_dirty: snapshot.regions_dirty,
        },
        sync_action: sync_action(snapshot.action).to_owned(),
        // md counts by rows of 4 KiB.
        mismatch_sectors: snapshot.mismatched_rows * 8,
        events: snapshot.events,
        writes_held: snapshot.waiting_for_owner,
        reason: String::new(),
    }
}

/// A known array that does not run.
fn waiting(raid: &WaitingRaid) -> RaidEntry {
    let superblock = &raid.superblock;
    let slots = superblock.members.len() as u32;
    let found = raid.members.iter().flatten().count() as u32;
    let block_bytes = u64::from(superblock.shape.block_size_bytes.max(1));
    let list = superblock.members.iter().zip(&raid.members).map(|(record, name)| BaseBdevEntry {
        name: name.clone(),
        uuid: if name.is_some() { record.member_uuid } else { Uuid::nil() },
        is_configured: name.is_some(),
        data_offset: record.data_offset_bytes / block_bytes,
        data_size: superblock.shape.component_bytes / block_bytes,
        state: match (record.state, name) {
            (_, None) => "missing",
            (MemberRecordState::InSync, _) => "in_sync",
            (MemberRecordState::Rebuilding { .. }, _) => "rebuilding",
            (MemberRecordState::Faulty { .. } | MemberRecordState::Missing { .. }, _) => "faulty",
        }
        .to_owned(),
        read_errors: record.read_errors,
    });
    let info = RaidInfo {
        uuid: superblock.array_uuid,
        strip_size_kb: superblock.shape.strip_bytes / 1024,
        state: RaidState::Configuring,
        raid_level: superblock.shape.level.to_string(),
        superblock: true,
        num_base_bdevs: slots,
        num_base_bdevs_discovered: found,
        num_base_bdevs_operational: slots,
        process: None,
        base_bdevs_list: list.collect(),
        layout: superblock.shape.layout.to_string(),
        parity_device: parity_device(superblock.shape.layout, slots),
        strip_size_bytes: superblock.shape.strip_bytes,
        block_size: superblock.shape.block_size_bytes,
        num_blocks: 0,
        num_base_bdevs_degraded: slots - found,
        in_sync: false,
        log: RaidLog::default(),
        sync_action: "idle".to_owned(),
        mismatch_sectors: 0,
        events: superblock.events,
        writes_held: false,
        reason: raid.reason.clone(),
    };
    RaidEntry { name: superblock.array_name.clone(), info }
}

/// md's words. As there, an action that is delayed is going on.
fn sync_action(action: Action) -> &'static str {
    match action {
        Action::Idle => "idle",
        Action::Frozen => "frozen",
        Action::Running(kind) | Action::Delayed(kind) => action_word(kind),
    }
}

fn process(
    snapshot: &RaidSnapshot,
    num_blocks: u64,
    behind: Option<String>,
) -> Option<RaidProcess> {
    let (kind, delayed) = match snapshot.action {
        Action::Idle | Action::Frozen => return None,
        Action::Running(kind) => (kind, false),
        Action::Delayed(kind) => (kind, true),
    };
    // What waits for its turn has done nothing yet.
    let nothing = Progress { done: 0, total: snapshot.regions, speed_bytes_per_s: 0 };
    let Progress { done, total, speed_bytes_per_s } = snapshot.progress.unwrap_or(nothing);
    let part_of = |whole: u64| {
        let part = u128::from(whole) * u128::from(done) / u128::from(total.max(1));
        u64::try_from(part).unwrap_or(whole)
    };
    let component_bytes = snapshot.members.first().map_or(0, |member| member.data_size_bytes);
    let region_bytes = component_bytes / snapshot.regions.max(1);
    let left_bytes = total.saturating_sub(done).saturating_mul(region_bytes);
    let rebuilding = snapshot.members.iter().find(|m| m.state == MemberState::Rebuilding);
    Some(RaidProcess {
        kind: if kind == WorkKind::Rebuild { "rebuild" } else { sync_action(snapshot.action) }
            .to_owned(),
        target: match kind {
            WorkKind::Rebuild => rebuilding.and_then(|m| m.name.clone()).unwrap_or_default(),
            _ => String::new(),
        },
        progress: RaidProgress {
            blocks: part_of(num_blocks),
            percent: part_of(100) as u32,
            speed_kb_per_s: speed_bytes_per_s / 1024,
            eta_s: left_bytes.checked_div(speed_bytes_per_s),
        },
        delayed,
        delayed_behind: behind.filter(|_| delayed),
    })
}

fn base_bdev(member: &MemberSnapshot, block_size_bytes: u32) -> BaseBdevEntry {
    let blocks = |bytes: u64| bytes / u64::from(block_size_bytes);
    BaseBdevEntry {
        name: member.name.clone(),
        uuid: member.uuid.unwrap_or(Uuid::nil()),
        is_configured: matches!(member.state, MemberState::InSync | MemberState::Rebuilding),
        data_offset: blocks(member.data_offset_bytes),
        data_size: blocks(member.data_size_bytes),
        state: match member.state {
            MemberState::InSync => "in_sync",
            MemberState::Rebuilding => "rebuilding",
            MemberState::Faulty => "faulty",
            MemberState::Missing => "missing",
        }
        .to_owned(),
        read_errors: member.read_errors,
    }
}

/// The slot of the parity, where one slot has all of it.
fn parity_device(layout: Layout, slots: u32) -> Option<u32> {
    match layout {
        Layout::ParityFirst => Some(0),
        Layout::ParityLast => slots.checked_sub(1),
        Layout::ParityAt(slot) => Some(slot.into()),
        _ => None,
    }
}
