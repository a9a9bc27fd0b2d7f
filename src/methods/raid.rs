//! Methods that list, make, change and delete arrays.
//!
//! Unlike SPDK an array is never "configuring": members that are not there yet are an error, and a
//! member that is missing on purpose is null. So every array that is listed is online.
//!
//! Not here: the checks behind the commands (`control::raid`, crate `array`).

use std::sync::Arc;

use ::raid::layout::{Layout, Level};
use array::{MemberSnapshot, RaidBdev, RaidSnapshot, ResyncProgress};
use device::{Bdev, BdevInfo};
use rpc::RpcError;
use rpc::error::errno_text;
use rpc::params::{
    BdevRaidCreate, BdevRaidDelete, BdevRaidGetBdevs, BdevRaidRemoveBaseBdev, Category, DataOffset,
    RaidLevel,
};
use rpc::results::{BaseBdevEntry, RaidEntry, RaidInfo, RaidProcess, RaidProgress, RaidState};
use serde_json::Value;
use uuid::Uuid;

use super::{Call, Context, json, refused};
use crate::control::{ControlError, RaidRequest};

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
    if params.superblock {
        return Err(ControlError::Unsupported {
            what: "superblock true",
            instead: "leave it out, and create the array from the configuration at each start",
        });
    }
    let members = params.base_bdevs.0;
    let data_offsets_sectors = match params.data_offset {
        None => vec![0; members.len()],
        Some(DataOffset::All(sectors)) => vec![sectors; members.len()],
        Some(DataOffset::Each(sectors)) => sectors,
    };
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
    })
}

impl Call for BdevRaidGetBdevs {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let raids = match self.category {
            Category::All | Category::Online => context.control.raids(),
            Category::Configuring | Category::Offline => Vec::new(),
        };
        let entry = |raid: &Arc<RaidBdev>| RaidEntry {
            name: raid.info().name.clone(),
            info: raid_info(raid),
        };
        json(raids.iter().map(entry).collect::<Vec<_>>())
    }
}

impl Call for BdevRaidDelete {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        // There are no superblocks yet, so `clear_sb` finds none to clear.
        context.control.delete_raid(&self.name).map_err(|error| refused(&error))?;
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

/// An array as clients see it.
pub(super) fn raid_info(raid: &RaidBdev) -> RaidInfo {
    describe(raid.info(), &raid.snapshot())
}

fn describe(info: &BdevInfo, snapshot: &RaidSnapshot) -> RaidInfo {
    let slots = snapshot.members.len() as u32;
    let missing = snapshot.missing().count() as u32;
    RaidInfo {
        uuid: info.uuid,
        strip_size_kb: snapshot.strip_bytes / 1024,
        state: RaidState::Online,
        raid_level: snapshot.level.to_string(),
        superblock: false,
        num_base_bdevs: slots,
        num_base_bdevs_discovered: slots - missing,
        num_base_bdevs_operational: slots - missing,
        process: snapshot.resync.map(|progress| resync(progress, info.num_blocks)),
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
        num_base_bdevs_degraded: missing,
        in_sync: snapshot.regions_in_sync == snapshot.regions,
    }
}

fn resync(progress: ResyncProgress, num_blocks: u64) -> RaidProcess {
    let ResyncProgress { regions_done, regions } = progress;
    let part_of = |whole: u64| {
        let part = u128::from(whole) * u128::from(regions_done) / u128::from(regions.max(1));
        u64::try_from(part).unwrap_or(whole)
    };
    RaidProcess {
        kind: "resync".to_owned(),
        target: String::new(),
        progress: RaidProgress { blocks: part_of(num_blocks), percent: part_of(100) as u32 },
    }
}

fn base_bdev(member: &MemberSnapshot, block_size_bytes: u32) -> BaseBdevEntry {
    let is_configured = member.name.is_some();
    let blocks = |bytes: u64| bytes / u64::from(block_size_bytes);
    BaseBdevEntry {
        name: member.name.clone(),
        uuid: member.uuid.unwrap_or(Uuid::nil()),
        is_configured,
        data_offset: blocks(member.data_offset_bytes),
        data_size: blocks(member.data_size_bytes),
        state: if is_configured { "in_sync" } else { "missing" }.to_owned(),
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
