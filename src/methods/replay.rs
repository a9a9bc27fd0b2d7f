//! Running a configuration file.
//!
//! All names of methods are checked before the first entry is run, so that a misspelt one does not
//! leave half of a configuration behind it. The first entry that is refused ends it.
//!
//! Not here: the file's shape (`control::config`).

use rpc::{Caller, RpcError};

use super::{Boot, Context, find};
use crate::control::{Config, ConfigError, Control};

impl Control {
    /// Runs all entries of `config` in their order, and [finishes the
    /// start](Control::finish_startup).
    ///
    /// # Errors
    ///
    /// Names file, place, method and reason. What the entries before have made is there until the
    /// shutdown, which also removes the files that were made for it.
    pub fn apply(&self, config: &Config) -> Result<(), ConfigError> {
        self.replay(config)?;
        self.finish_startup();
        Ok(())
    }

    /// Likewise, and leaves the start unfinished.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn replay(&self, config: &Config) -> Result<(), ConfigError> {
        let calls = config.entries().iter().map(|entry| match find(&entry.method) {
            Some(handler) => Ok((entry, handler)),
            None => Err(config.refused(entry, RpcError::method_not_found(&entry.method))),
        });
        let context = Context { control: self, caller: &Caller::default(), boot: &Boot::default() };
        for (entry, handler) in calls.collect::<Result<Vec<_>, _>>()? {
            (handler.run)(context, entry.params.clone())
                .map_err(|error| config.refused(entry, error))?;
        }
        Ok(())
    }
}
