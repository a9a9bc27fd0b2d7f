//! Running a configuration file.
//!
//! All names of methods are checked before the first entry is run, so that a misspelt one does not
//! leave half of a configuration behind it. The first entry that is refused ends it, unless what refuses it
//! may go away by itself, and somebody is there to try again (`kept`).
//!
//! Not here: the file's shape (`control::config`).

use rpc::{Caller, RpcError};
use serde_json::{Value, json};

use super::{Boot, Context, Effect, find, kept};
use crate::control::config::ConfigEntry;
use crate::control::{CallSource, Config, ConfigError, Control};

/// What becomes of an entry for a device that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absent {
    /// It ends the run.
    Refused,
    /// It is kept, and tried again while the service runs.
    Kept,
}

impl Control {
    /// Runs all entries of `config` in their order, and [finishes the
    /// start](Control::finish_startup).
    ///
    /// # Errors
    ///
    /// Names file, place, method and reason. What the entries before have made is there until the
    /// shutdown, which also removes the files that were made for it.
    pub fn apply(&self, config: &Config) -> Result<(), ConfigError> {
        self.replay(config, Absent::Refused)?;
        self.finish_startup();
        Ok(())
    }

    /// Likewise, but leaves the start unfinished, and keeps entries for devices that are not there.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub(super) fn replay_keeping(&self, config: &Config) -> Result<(), ConfigError> {
        self.replay(config, Absent::Kept)
    }

    fn replay(&self, config: &Config, absent: Absent) -> Result<(), ConfigError> {
        let calls = config.entries().iter().map(|entry| match find(&entry.method) {
            Some(handler) => Ok((entry, handler)),
            None => Err(config.refused(entry, RpcError::method_not_found(&entry.method))),
        });
        let context = Context { control: self, caller: &Caller::default(), boot: &Boot::default() };
        for (entry, handler) in calls.collect::<Result<Vec<_>, _>>()? {
            let Err(error) = (handler.run)(context, entry.params.clone()) else { continue };
            let (method, call) = (handler.method.name, call_of(entry));
            if absent == Absent::Refused || !kept::may_come(self, method, &call, &error) {
                return Err(config.refused(entry, error));
            }
            let (file, place, error) = (config.path().display(), &entry.place, error.message);
            // A call that only asks has nothing to make.
            if handler.effect == Effect::Looks {
                tracing::warn!(%file, place, method, error, "it cannot be told yet");
                continue;
            }
            tracing::warn!(%file, place, method, error, "it cannot be made yet, and is kept");
            kept::keep(self, CallSource::Config, call, error);
        }
        Ok(())
    }
}

/// An entry as a call.
pub(super) fn call_of(entry: &ConfigEntry) -> Value {
    match &entry.params {
        Some(params) => json!({ "method": entry.method, "params": params }),
        None => json!({ "method": entry.method }),
    }
}
