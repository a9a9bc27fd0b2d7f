//! Methods that cut bdevs into parts.
//!
//! Not here: how they are cut (`control::split`).

use rpc::RpcError;
use rpc::params::{BdevSplitCreate, BdevSplitDelete};
use serde_json::{Value, json};

use super::{Call, Context, Effect, refused};
use crate::control::Part;

impl Call for BdevSplitCreate {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let Self { base_bdev, split_count, split_size_mb } = self;
        let names = context.control.create_split(&base_bdev, split_count, split_size_mb);
        names.map(Value::from).map_err(|error| refused(&error))
    }
}

impl Call for BdevSplitDelete {
    const EFFECT: Effect = Effect::DeletesBdev;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let deleted = context.control.delete_split(&self.base_bdev);
        deleted.map(|()| Value::from(true)).map_err(|error| refused(&error))
    }
}

/// `driver_specific` of a part, as SPDK has it.
pub(super) fn split_specific(part: &Part) -> Value {
    json!({ "split": {
        "base_bdev": part.bdev.base().info().name.clone(),
        "offset_blocks": part.bdev.offset_blocks(),
    } })
}
