//! Methods of mapped devices: device-mapper's verbs.
//!
//! Errors are those of the ioctl: a negative errno, its text, then the device and the target's sentence
//! as a kernel has it in its log, because programs look for either.
//!
//! Not here: what verbs do (`control::mapped`), tables and messages (`dm`).

use std::time::Duration;

use rpc::RpcError;
use rpc::params::{
    DmCreate, DmDeps, DmInfo, DmLs, DmMessage, DmRemove, DmRename, DmResume, DmStatus, DmSuspend,
    DmTable, DmTableClear, DmTableLoad, DmTargets, DmWait,
};
use rpc::results::{
    DmDepsOf, DmDeviceInfo, DmIo, DmListed, DmTarget, DmTargetVersion, DmTargetsOf,
};
use serde_json::Value;

use super::raid::before;
use super::{Call, Context, Effect, json, refused};
use crate::control::{Hints, MAJOR, MappedInfo, MappedRequest, MappedStatus};
use crate::dm::table::TARGETS;

impl Call for DmCreate {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let (uuid, table) = (self.uuid.as_deref(), self.table.as_deref());
        let (bdev_uuid, minor) = (self.bdev_uuid, self.minor);
        let (readonly, before) = (self.readonly, before(self.dirty, self.log_failed));
        let request = MappedRequest { uuid, bdev_uuid, minor, table, readonly, before };
        let made = context.control.dm_create(&self.name, request);
        json(described(made.map_err(|error| refused(&error))?))
    }
}

impl Call for DmTableLoad {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let loaded = context.control.dm_load(&self.name, &self.table);
        loaded.map_err(|error| refused(&error))?;
        Ok(Value::from(true))
    }
}

impl Call for DmTableClear {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        context.control.dm_clear(&self.name).map_err(|error| refused(&error))?;
        Ok(Value::from(true))
    }
}

impl Call for DmSuspend {
    // It waits for what is in flight, and others must be able to let that go on.
    const MAY_WAIT: bool = true;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let suspended = context.control.dm_suspend(&self.name, self.noflush);
        suspended.map_err(|error| refused(&error))?;
        Ok(Value::from(true))
    }
}

impl Call for DmResume {
    const MAY_WAIT: bool = true;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        context.control.dm_resume(&self.name).map_err(|error| refused(&error))?;
        Ok(Value::from(true))
    }
}

impl Call for DmRemove {
    const EFFECT: Effect = Effect::DeletesBdev;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let removed = context.control.dm_remove(&self.name, self.deferred, self.force);
        Ok(Value::from(removed.map_err(|error| refused(&error))?))
    }
}

impl Call for DmRename {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let done = match (&self.new_name, &self.new_uuid) {
            (Some(new), None) => context.control.dm_rename(&self.name, new),
            (None, Some(uuid)) => context.control.dm_set_uuid(&self.name, uuid),
            _ => {
                return Err(RpcError::invalid_params(
                    "dm_rename: give new_name or new_uuid, one of them",
                ));
            }
        };
        done.map_err(|error| refused(&error))?;
        Ok(Value::from(true))
    }
}

impl Call for DmMessage {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let sent = context.control.dm_message(&self.name, self.sector, &self.message);
        sent.map_err(|error| refused(&error))?;
        Ok(Value::from(true))
    }
}

impl Call for DmStatus {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let told = context.control.dm_status(self.name.as_deref());
        let told = told.map_err(|error| refused(&error))?;
        json(targets(told, self.target.as_deref(), true))
    }
}

impl Call for DmTable {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let told = context.control.dm_table(self.name.as_deref(), self.inactive);
        let told = told.map_err(|error| refused(&error))?;
        json(targets(told, self.target.as_deref(), false))
    }
}

/// Devices with their targets of that type; without a type, all.
fn targets(told: Vec<MappedStatus>, wanted: Option<&str>, io: bool) -> Vec<DmTargetsOf> {
    let device = |told: MappedStatus| {
        let io = io.then(|| {
            let Hints { min_bytes, optimal_bytes } = told.hints;
            DmIo {
                minimum_bytes: min_bytes,
                optimal_bytes,
                queued: told.queued,
                queued_longest_us: u64::try_from(told.queued_longest.as_micros())
                    .unwrap_or(u64::MAX),
                congested: told.congested,
            }
        });
        let lines = told.lines.into_iter();
        let lines = lines.filter(|line| wanted.is_none_or(|wanted| line.target == wanted));
        let target = lines.map(|line| DmTarget {
            start: line.start,
            length: line.sectors,
            target: line.target.to_owned(),
            text: line.text,
        });
        DmTargetsOf { name: told.name, targets: target.collect(), io }
    };
    let devices = told.into_iter().map(device);
    devices.filter(|device| wanted.is_none() || !device.targets.is_empty()).collect()
}

impl Call for DmDeps {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let infos = context.control.dm_info(self.name.as_deref());
        let infos = infos.map_err(|error| refused(&error))?.into_iter();
        let deps = infos.map(|info| DmDepsOf { name: info.name, devices: info.devices });
        json(deps.collect::<Vec<_>>())
    }
}

impl Call for DmInfo {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let infos = context.control.dm_info(self.name.as_deref());
        let infos = infos.map_err(|error| refused(&error))?;
        json(infos.into_iter().map(described).collect::<Vec<_>>())
    }
}

fn described(info: MappedInfo) -> DmDeviceInfo {
    DmDeviceInfo {
        name: info.name,
        uuid: info.uuid,
        major: MAJOR,
        minor: info.minor,
        suspended: info.suspended,
        readonly: info.readonly,
        live_table: info.live,
        inactive_table: info.inactive,
        deferred_remove: info.deferred,
        open_count: info.open_count,
        event_nr: info.events,
        target_count: u32::try_from(info.targets.len()).unwrap_or(u32::MAX),
    }
}

impl Call for DmLs {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let infos = context.control.dm_info(None).map_err(|error| refused(&error))?.into_iter();
        let wanted = |info: &MappedInfo| {
            let wanted = self.target.as_deref();
            wanted.is_none_or(|wanted| info.targets.contains(&wanted))
        };
        let listed = infos.filter(wanted).map(|info| DmListed {
            name: info.name,
            major: MAJOR,
            minor: info.minor,
        });
        json(listed.collect::<Vec<_>>())
    }
}

impl Call for DmWait {
    const EFFECT: Effect = Effect::Looks;
    const MAY_WAIT: bool = true;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let patience = self.timeout_s.map(Duration::from_secs);
        let left = || context.caller.has_left();
        let waited = context.control.dm_wait(&self.name, self.event_nr, patience, left);
        Ok(Value::from(waited.map_err(|error| refused(&error))?))
    }
}

impl Call for DmTargets {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        let targets = TARGETS
            .iter()
            .map(|&(name, version)| DmTargetVersion { name: name.to_owned(), version });
        json(targets.collect::<Vec<_>>())
    }
}
