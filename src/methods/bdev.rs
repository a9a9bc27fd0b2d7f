//! Methods that list, make and delete plain bdevs.
//!
//! Not here: arrays (`raid`) and bdevs that fail (`faults`), though `bdev_get_bdevs` shows them too.

use std::time::Duration;

use device::{BackendDetail, Limits, NullSpec};
use rpc::RpcError;
use rpc::error::errno;
use rpc::params::{
    BdevAioCreate, BdevAioDelete, BdevGetBdevs, BdevMallocCreate, BdevMallocDelete, BdevNullCreate,
    BdevNullDelete, BdevUringCreate, BdevUringDelete,
};
use rpc::results::{BdevEntry, RateLimits, SupportedIoTypes};
use serde_json::{Value, json};

use super::faults::{delay_specific, error_specific};
use super::raid::raid_info;
use super::split::split_specific;
use super::{Call, Context, Effect, errno_error, json as to_json, refused};
use crate::control::{BdevView, Control, FileRequest, Kind};

/// SPDK's name for the claims that its raid, error and delay modules make.
const CLAIM_TYPE: &str = "exclusive_write";

impl Call for BdevGetBdevs {
    const EFFECT: Effect = Effect::Looks;
    const MAY_WAIT: bool = true;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let views = match self.name {
            None => context.control.bdevs(),
            Some(name) => {
                let patience = Duration::from_millis(self.timeout);
                let left = || context.caller.has_left();
                let found = context.control.wait_for_bdev(&name, patience, left);
                vec![found.map_err(|error| refused(&error))?]
            }
        };
        to_json(
            views.iter().map(|view| entry(context.control, view)).collect::<Result<Vec<_>, _>>()?,
        )
    }
}

fn entry(control: &Control, view: &BdevView) -> Result<BdevEntry, RpcError> {
    let info = view.bdev.info();
    let supported = info.supported;
    let hints = control.io_hints(&info.name);
    let blocks = |bytes: u32| bytes / info.block_size_bytes;
    Ok(BdevEntry {
        name: info.name.clone(),
        aliases: vec![info.uuid.to_string()],
        product_name: info.product_name.to_owned(),
        block_size: info.block_size_bytes,
        num_blocks: info.num_blocks,
        preferred_write_alignment: blocks(hints.min_bytes),
        preferred_write_granularity: blocks(hints.min_bytes),
        optimal_write_size: info.optimal_write_bytes / info.block_size_bytes,
        preferred_unmap_alignment: 0,
        preferred_unmap_granularity: 0,
        uuid: info.uuid,
        numa_id: None,
        assigned_rate_limits: rate_limits(view.limits),
        claimed: view.claim.is_some(),
        claim_type: view.claim.is_some().then(|| CLAIM_TYPE.to_owned()),
        zoned: false,
        supported_io_types: SupportedIoTypes {
            read: supported.read,
            write: supported.write,
            unmap: supported.unmap,
            flush: supported.flush,
            write_zeroes: supported.write_zeroes,
            ..SupportedIoTypes::default()
        },
        driver_specific: driver_specific(control, view)?,
        volatile_write_cache: info.volatile_cache,
        unmap_reads_zero: info.unmap_reads_zero,
        minimum_io_bytes: hints.min_bytes,
        optimal_io_bytes: hints.optimal_bytes,
        congested: control.is_congested(&info.name),
    })
}

fn rate_limits(limits: Limits) -> RateLimits {
    let Limits { rw_ios, rw_bytes, r_bytes, w_bytes } = limits;
    RateLimits {
        rw_ios_per_sec: rw_ios,
        rw_mbytes_per_sec: rw_bytes >> 20,
        r_mbytes_per_sec: r_bytes >> 20,
        w_mbytes_per_sec: w_bytes >> 20,
    }
}

fn driver_specific(control: &Control, view: &BdevView) -> Result<Value, RpcError> {
    if let Some(raid) = &view.raid {
        let info = raid_info(control, raid).driver_specific();
        return info.map_err(|error| RpcError::internal(error.to_string()));
    }
    if let Some(error) = &view.error {
        return Ok(error_specific(error));
    }
    if let Some(delay) = &view.delay {
        return Ok(delay_specific(&view.bdev.info().name, delay));
    }
    if let Some(part) = &view.part {
        return Ok(split_specific(part));
    }
    Ok(match &view.bdev.info().detail {
        BackendDetail::None | BackendDetail::Null | BackendDetail::Malloc => json!({}),
        BackendDetail::Uring { filename, direct } => {
            json!({ "uring": { "filename": filename, "direct": direct } })
        }
        BackendDetail::Aio { filename, direct, block_size_override, readonly, fallocate } => {
            json!({ "aio": {
                "filename": filename,
                "block_size_override": block_size_override,
                "readonly": readonly,
                "fallocate": fallocate,
                "nowait": false,
                "direct": direct,
            } })
        }
    })
}

/// Parameters of SPDK that ask for what is not there must not be passed over in silence.
fn only_default(what: &str, is_default: bool) -> Result<(), RpcError> {
    if is_default {
        return Ok(());
    }
    let detail = format_args!("{what}: bdevs have no metadata and no protection: leave it out");
    Err(errno_error(errno::ENOTSUP, detail))
}

pub(super) fn created(
    result: Result<String, crate::control::ControlError>,
) -> Result<Value, RpcError> {
    result.map(Value::from).map_err(|error| refused(&error))
}

pub(super) fn deleted(context: Context<'_>, kind: Kind, name: &str) -> Result<Value, RpcError> {
    context.control.delete(kind, name).map_err(|error| refused(&error))?;
    Ok(Value::from(true))
}

impl Call for BdevNullCreate {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        only_default("md_size", self.md_size == 0)?;
        only_default("dif_type", self.dif_type == 0)?;
        created(context.control.create_null(NullSpec {
            name: self.name,
            uuid: self.uuid,
            block_size_bytes: self.block_size,
            num_blocks: self.num_blocks,
        }))
    }
}

impl Call for BdevNullDelete {
    const EFFECT: Effect = Effect::DeletesBdev;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        deleted(context, Kind::Null, &self.name)
    }
}

impl Call for BdevMallocCreate {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        only_default("md_size", self.md_size == 0)?;
        only_default("dif_type", self.dif_type == 0)?;
        let Self { name, uuid, block_size, num_blocks, .. } = self;
        created(context.control.create_malloc(name, uuid, block_size, num_blocks))
    }
}

impl Call for BdevMallocDelete {
    const EFFECT: Effect = Effect::DeletesBdev;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        deleted(context, Kind::Malloc, &self.name)
    }
}

impl Call for BdevUringCreate {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        created(context.control.create_uring(FileRequest {
            name: self.name,
            filename: self.filename.into(),
            block_size_bytes: (self.block_size != 0).then_some(self.block_size),
            uuid: self.uuid,
            create_size_mib: self.create_size_mib,
        }))
    }
}

impl Call for BdevUringDelete {
    const EFFECT: Effect = Effect::DeletesBdev;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        deleted(context, Kind::Uring, &self.name)
    }
}

impl Call for BdevAioCreate {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let request = FileRequest {
            name: self.name,
            filename: self.filename.into(),
            block_size_bytes: (self.block_size != 0).then_some(self.block_size),
            uuid: self.uuid,
            create_size_mib: self.create_size_mib,
        };
        created(context.control.create_aio(request, self.readonly, self.fallocate))
    }
}

impl Call for BdevAioDelete {
    const EFFECT: Effect = Effect::DeletesBdev;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        deleted(context, Kind::Aio, &self.name)
    }
}
