//! The method that tells how everything is.
//!
//! Not here: what is told (`crate::status`).

use rpc::RpcError;
use rpc::params::Raid456GetStatus;
use serde_json::Value;

use super::{Call, Context, Effect, json};
use crate::status;

impl Call for Raid456GetStatus {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        json(status::of(context.control))
    }
}
