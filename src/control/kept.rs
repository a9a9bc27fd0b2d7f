//! Calls that configuration and state ask for, and that cannot be made yet.
//!
//! ```text
//!   start: refused for a device that is not there --> kept --tried again--> made, or not wanted any more
//!                                                       `--> survey --> status, metrics
//! ```
//!
//! Not here: which calls are kept, and making them (`methods::kept`).

use std::sync::{Mutex, MutexGuard, TryLockError};

use serde_json::Value;

use super::lock;

/// Who asks for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallSource {
    /// The file of `--config`.
    Config,
    /// The file of `--state`.
    State,
}

impl CallSource {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Config, Self::State];

    /// As it is shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::State => "state",
        }
    }
}

/// A call that cannot be made yet.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptCall {
    /// Who asks for it.
    pub source: CallSource,
    /// It, as an entry of a configuration.
    pub call: Value,
    /// The bdev that it is about; empty where there is none.
    pub bdev: String,
    /// Why it was refused last.
    pub reason: String,
}

impl KeptCall {
    /// The method.
    pub fn method(&self) -> &str {
        self.call["method"].as_str().unwrap_or_default()
    }
}

/// All of them, in the order in which they are to be made. There are no more than the files have.
#[derive(Debug, Default)]
pub struct KeptCalls {
    /// Never held while a call is made.
    calls: Mutex<Vec<KeptCall>>,
    /// Held while they are tried again, by one at a time.
    turn: Mutex<()>,
}

impl KeptCalls {
    /// One more, behind the others.
    pub(crate) fn add(&self, call: KeptCall) {
        lock(&self.calls).push(call);
    }

    /// The right to try them again, unless somebody has it.
    pub(crate) fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// All of them.
    pub fn all(&self) -> Vec<KeptCall> {
        lock(&self.calls).clone()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        lock(&self.calls).is_empty()
    }

    /// Those that one file asks for.
    pub(crate) fn of(&self, source: CallSource) -> Vec<Value> {
        let calls = lock(&self.calls);
        calls.iter().filter(|kept| kept.source == source).map(|kept| kept.call.clone()).collect()
    }

    /// It was refused again. Says whether for another reason.
    pub(crate) fn refuse_again(&self, call: &KeptCall, reason: &str) -> bool {
        let mut calls = lock(&self.calls);
        let same = |kept: &&mut KeptCall| kept.source == call.source && kept.call == call.call;
        let Some(kept) = calls.iter_mut().find(same) else { return false };
        let is_new = kept.reason != reason;
        reason.clone_into(&mut kept.reason);
        is_new
    }

    /// Forgets those of which `is_over` says so. Says whether there were some.
    pub(crate) fn forget(&self, is_over: impl Fn(&KeptCall) -> bool) -> bool {
        let mut calls = lock(&self.calls);
        let before = calls.len();
        calls.retain(|kept| !is_over(kept));
        calls.len() < before
    }
}
