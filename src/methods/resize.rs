//! Methods that change the size of a bdev.
//!
//! Not here: what may change (`control::resize`).

use rpc::RpcError;
use rpc::params::{BdevAioRescan, BdevNullResize, BdevUringRescan};
use serde_json::Value;

use super::{Call, Context, refused};
use crate::control::{ControlError, Kind};

fn done(outcome: Result<(), ControlError>) -> Result<Value, RpcError> {
    outcome.map(|()| Value::from(true)).map_err(|error| refused(&error))
}

impl Call for BdevNullResize {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        done(context.control.resize_null(&self.name, self.new_size))
    }
}

impl Call for BdevAioRescan {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        done(context.control.rescan(Kind::Aio, &self.name))
    }
}

impl Call for BdevUringRescan {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        done(context.control.rescan(Kind::Uring, &self.name))
    }
}
