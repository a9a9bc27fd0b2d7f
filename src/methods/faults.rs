//! Methods that rehearse failures: error and delay bdevs.
//!
//! Not here: what the faults do (crate `device`), and who may make which (`control`).

use device::{DelayBdev, ErrorBdev, Fault, Injection, InjectionView, Latency, Victims};
use rpc::RpcError;
use rpc::error::errno;
use rpc::params::{
    BdevDelayCreate, BdevDelayDelete, BdevDelayUpdateLatency, BdevErrorCreate, BdevErrorDelete,
    BdevErrorInjectError, BdevErrorLosePower, BdevErrorRestorePower, BdevErrorResumePending,
    ErrorIoType, ErrorType, LatencyType,
};
use rpc::schema::{Param, Params};
use serde_json::{Map, Value, json};

use super::bdev::{created, deleted};
use super::{Call, Context, Effect, errno_error, refused};
use crate::control::{ControlError, DelayRequest};

fn done(result: Result<(), ControlError>) -> Result<Value, RpcError> {
    result.map(|()| Value::from(true)).map_err(|error| refused(&error))
}

impl Call for BdevErrorCreate {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let Self { base_name, uuid, volatile_cache } = self;
        done(context.control.create_error(&base_name, uuid, volatile_cache).map(drop))
    }
}

impl Call for BdevErrorDelete {
    const EFFECT: Effect = Effect::DeletesBdev;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        deleted(context, crate::control::Kind::Error, &self.name)
    }
}

impl Call for BdevErrorInjectError {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let Some(victims) = victims(self.io_type) else {
            return done(context.control.error_bdev(&self.name).map(|error| error.clear()));
        };
        let injection = injection(victims, &self)?;
        done(context.control.inject_error(&self.name, &injection))
    }
}

/// None for "clear".
fn victims(io_type: ErrorIoType) -> Option<Victims> {
    Some(match io_type {
        ErrorIoType::Clear => return None,
        ErrorIoType::Read => Victims::Read,
        ErrorIoType::Write => Victims::Write,
        ErrorIoType::Unmap => Victims::Unmap,
        ErrorIoType::Flush => Victims::Flush,
        ErrorIoType::All => Victims::All,
    })
}

fn injection(victims: Victims, params: &BdevErrorInjectError) -> Result<Injection, RpcError> {
    let method = BdevErrorInjectError::METHOD.name;
    let Some(error_type) = params.error_type else {
        return Err(RpcError::invalid_params(format_args!(
            "{method}: error_type is missing: it should be {}",
            ErrorType::TYPE
        )));
    };
    let fault = match error_type {
        ErrorType::Failure => Fault::Failure,
        ErrorType::Pending => Fault::Pending,
        ErrorType::CorruptData => {
            Fault::CorruptData { offset_bytes: params.corrupt_offset, value: params.corrupt_value }
        }
        ErrorType::Nomem => Fault::NoMemory,
        ErrorType::Gone => Fault::Gone,
        ErrorType::NvmeFailure => {
            let what = "error_type nvme_failure";
            let instead = "bdevs carry no NVMe status: give failure";
            return Err(refused(&ControlError::Unsupported { what, instead }));
        }
    };
    if params.nvme_sct != 0 || params.nvme_sc != 0 {
        let detail = "nvme_sct and nvme_sc are for error_type nvme_failure: leave them out";
        return Err(errno_error(errno::EINVAL, detail));
    }
    let range_blocks = match (params.offset_blocks, params.num_blocks) {
        (None, None) => None,
        (Some(first), num_blocks) => Some(first..first.saturating_add(num_blocks.unwrap_or(1))),
        (None, Some(num_blocks)) => {
            let detail = format_args!("num_blocks {num_blocks}: give offset_blocks with it");
            return Err(errno_error(errno::EINVAL, detail));
        }
    };
    let until_written = params.until_written;
    let count = if until_written { Injection::FOR_EVER } else { 1 };
    Ok(Injection {
        count: params.num.unwrap_or(count),
        queue_depth: params.queue_depth,
        range_blocks,
        until_written,
        ..Injection::next(victims, fault, 0)
    })
}

impl Call for BdevErrorResumePending {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        done(context.control.error_bdev(&self.name).map(|error| error.resume_pending()))
    }
}

impl Call for BdevErrorLosePower {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        done(context.control.error_bdev(&self.name).map(|error| error.lose_power(self.seed)))
    }
}

impl Call for BdevErrorRestorePower {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        done(context.control.error_bdev(&self.name).map(|error| error.restore_power()))
    }
}

impl Call for BdevDelayCreate {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        created(context.control.create_delay(DelayRequest {
            name: self.name,
            uuid: self.uuid,
            base: self.base_bdev_name,
            latencies_us: [
                self.avg_read_latency,
                self.p99_read_latency,
                self.avg_write_latency,
                self.p99_write_latency,
            ],
        }))
    }
}

impl Call for BdevDelayUpdateLatency {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let latency = match self.latency_type {
            LatencyType::AvgRead => Latency::AvgRead,
            LatencyType::P99Read => Latency::P99Read,
            LatencyType::AvgWrite => Latency::AvgWrite,
            LatencyType::P99Write => Latency::P99Write,
        };
        done(context.control.update_latency(&self.delay_bdev_name, latency, self.latency_us))
    }
}

impl Call for BdevDelayDelete {
    const EFFECT: Effect = Effect::DeletesBdev;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        deleted(context, crate::control::Kind::Delay, &self.name)
    }
}

/// `driver_specific` of an error bdev: SPDK's one field, and ours behind it.
pub(super) fn error_specific(error: &ErrorBdev) -> Value {
    let now = error.snapshot();
    json!({ "error_disk": {
        "base_bdev": now.base_bdev,
        "volatile_cache": now.volatile_cache,
        "has_power": now.has_power,
        "gone": now.gone,
        "unflushed_blocks": now.unflushed_blocks,
        "injections": now.injections.iter().map(injection_specific).collect::<Vec<_>>(),
    } })
}

fn injection_specific(rule: &InjectionView) -> Value {
    let mut fields = Map::new();
    fields.insert("io_type".to_owned(), rule.victims.word().into());
    fields.insert("error_type".to_owned(), rule.fault.word().into());
    fields.insert("num".to_owned(), rule.left.into());
    if let Some(range) = &rule.range_blocks {
        fields.insert("offset_blocks".to_owned(), range.start.into());
        fields.insert("num_blocks".to_owned(), (range.end - range.start).into());
    }
    if let Some(bad_blocks) = rule.bad_blocks {
        fields.insert("bad_blocks".to_owned(), bad_blocks.into());
    }
    fields.into()
}

/// `driver_specific` of a delay bdev.
pub(super) fn delay_specific(name: &str, delay: &DelayBdev) -> Value {
    let mut fields = Map::new();
    fields.insert("name".to_owned(), name.into());
    fields.insert("base_bdev_name".to_owned(), delay.base().info().name.clone().into());
    for latency in Latency::ALL {
        fields.insert(format!("{}_latency", latency.word()), delay.latency_us(latency).into());
    }
    json!({ "delay": fields })
}
