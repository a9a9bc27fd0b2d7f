//! What a service does at its start, and what its clients may call.
//!
//! ```text
//!   the service starts, or framework_start_init --> configuration --> state --> started
//!   something has changed --> what could not be made is tried again --> the state says so
//!   the service has stopped --> the state says how
//! ```
//!
//! Not here: what a configuration or a state consists of (`replay`, `state`), what is tried again (`kept`).

use std::error::Error;
use std::io;
use std::sync::{Mutex, PoisonError};

use rpc::schema::Method;
use signal_hook::consts::SIGTERM;

use super::kept;
use super::state::Store;
use crate::control::{Config, ConfigError, Control};

/// See the module's notes. The default has nothing to do and allows everything.
#[derive(Debug, Default)]
pub struct Boot {
    /// What is made first.
    pub(super) config: Option<Config>,
    /// What is made then, and kept up to date.
    pub(super) state: Option<Store>,
    /// The only methods that clients may call, by name; all if absent.
    pub(super) allowed: Option<Vec<String>>,
    /// Set when the start was begun; with why it failed, if it did.
    begun: Mutex<Option<Result<(), String>>>,
}

/// Why a service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The configuration cannot be applied.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state cannot be used, and cannot be put aside.
    #[error("state: {0}")]
    State(#[from] io::Error),
}

impl Boot {
    /// A service that makes `config`, then `state`, and lets clients call what is `allowed`.
    #[must_use]
    pub fn new(config: Option<Config>, state: Option<Store>, allowed: Option<Vec<String>>) -> Self {
        Self { config, state, allowed, begun: Mutex::new(None) }
    }

    /// Whether clients may call the method.
    pub(super) fn allows(&self, method: &Method) -> bool {
        let is_meant = |name: &String| name == method.name || method.aliases.contains(&&**name);
        self.allowed.as_ref().is_none_or(|allowed| allowed.iter().any(is_meant))
    }

    /// Starts the service.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub fn run(&self, control: &Control) -> Result<(), BootError> {
        if let Some(config) = &self.config {
            control.replay_keeping(config)?;
        }
        if let Some(state) = &self.state {
            state.load(control)?;
        }
        control.finish_startup();
        Ok(self.settle(control)?)
    }

    /// Something may have changed: tries again what could not be made, and records what there is.
    ///
    /// # Errors
    ///
    /// When that cannot be written.
    pub(super) fn settle(&self, control: &Control) -> io::Result<()> {
        // What waits for the record does not wait for what is tried again, which may take its time.
        let recorded = self.record(control);
        let again = if kept::retry(control) { self.record(control) } else { Ok(()) };
        recorded.and(again)
    }

    /// Writes the state if it would say something else.
    ///
    /// # Errors
    ///
    /// When that cannot be written.
    pub(super) fn record(&self, control: &Control) -> io::Result<()> {
        self.state.as_ref().map_or(Ok(()), |state| state.write(control))
    }

    /// Starts the service because a client says so. If it cannot, the service ends.
    pub(super) fn start(&self, control: &Control) -> Result<(), BootError> {
        {
            let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
            // A configuration may ask for the start that it is a part of.
            if begun.is_some() {
                return Ok(());
            }
            *begun = Some(Ok(()));
        }
        let outcome = self.run(control);
        if let Err(error) = &outcome {
            let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
            *begun = Some(Err(error.to_string()));
            if let Err(error) = signal_hook::low_level::raise(SIGTERM) {
                tracing::error!(%error, "the service goes on without its configuration");
            }
        }
        outcome
    }

    /// The service has stopped: its state says how.
    ///
    /// # Errors
    ///
    /// When that cannot be written.
    pub fn close(&self, control: &Control) -> Result<(), BootError> {
        self.state.as_ref().map_or(Ok(()), |state| Ok(state.close(control)?))
    }

    /// Why the start that a client asked for has failed, if it has.
    ///
    /// # Errors
    ///
    /// That.
    pub fn outcome(&self) -> Result<(), Box<dyn Error>> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        match &*begun {
            Some(Err(error)) => Err(error.clone().into()),
            Some(Ok(())) | None => Ok(()),
        }
    }
}
