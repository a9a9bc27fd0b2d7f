//! Methods about the service itself.
//!
//! Not here: bdevs.

use rpc::RpcError;
use rpc::params::{RpcGetMethods, SpdkGetVersion};
use rpc::results::{VersionEntry, VersionFields};
use serde_json::Value;

use super::{Call, Context, HANDLERS, json};

impl Call for RpcGetMethods {
    /// The answer is honest: what is listed can be called, and what is not is -32601.
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let started = context.control.is_started();
        let listed = HANDLERS
            .iter()
            .map(|handler| &handler.method)
            .filter(|method| !self.current || method.phase.allows(started));
        let aliases_max = if self.include_aliases { usize::MAX } else { 0 };
        let names = listed.flat_map(|method| {
            let aliases = method.aliases.iter().copied().take(aliases_max);
            std::iter::once(method.name).chain(aliases)
        });
        json(names.collect::<Vec<_>>())
    }
}

impl Call for SpdkGetVersion {
    /// Ours, in SPDK's shape: clients read `version` for humans and compare `fields`.
    fn call(self, _context: Context<'_>) -> Result<Value, RpcError> {
        let number = |text: &str| text.parse().unwrap_or(0);
        json(VersionEntry {
            version: concat!("raid456 v", env!("CARGO_PKG_VERSION")).to_owned(),
            fields: VersionFields {
                major: number(env!("CARGO_PKG_VERSION_MAJOR")),
                minor: number(env!("CARGO_PKG_VERSION_MINOR")),
                patch: number(env!("CARGO_PKG_VERSION_PATCH")),
                suffix: env!("CARGO_PKG_VERSION_PRE").to_owned(),
                commit: None,
            },
        })
    }
}
