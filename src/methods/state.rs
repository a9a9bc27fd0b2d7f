//! The state file: what clients have made survives a restart.
//!
//! ```text
//!   start:   --config --> all dirty --> the state's calls, one by one; what is refused is kept
//!   change:  calls of now + kept ones --> FILE.new, synced --> renamed to FILE, directory synced
//!            --> writes that wait for it (a member has failed) go on
//!   end:     arrays stopped with their parity right --> not dirty
//! ```
//!
//! It has the shape of a configuration. What `--config` makes is not in it. A call that fails at the
//! start, because a member is missing say, stays in the file, and is kept (`kept`). A file that cannot be
//! read is put aside, not overwritten.
//!
//! Nothing but the state knows whether an array without superblocks and without a log was stopped in
//! order: calls that make arrays are `dirty` for as long as the service runs.
//!
//! Invariants: a change is answered after it is on the disk; the file is whole at any time, and of a service
//! that runs. **R4** for arrays without superblocks: a failure is in the file before a write is
//! acknowledged past it. **R7**: what was not stopped in order is dirty.
//!
//! Not here: which calls make what there is (`save`), which are tried again (`kept`); holding writes
//! (`control`, crate `raid`).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::kept::{self, name_in, namespace_in};
use super::replay::call_of;
use super::{save, save_nvmf};
use crate::control::{CallSource, Config, ConfigError, Control, Unrecorded};

/// The state of a service in a file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// Never held while a call is made, which may want the file written.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Whether the calls of the file were made, so that it may be written.
    loaded: bool,
    /// Calls for keyring and target that would make what the configuration makes.
    configured_calls: Vec<Value>,
    /// Subsystems and bdevs of namespaces that it asks for, and that are not there yet.
    configured_namespaces: Vec<(String, String)>,
    /// What the file says.
    written: String,
}

impl Store {
    /// The state in this file, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// Makes the calls of the file, after those of the configuration. What fails is kept.
    ///
    /// # Errors
    ///
    /// When a file that cannot be used cannot be put aside either.
    pub(super) fn load(&self, control: &Control) -> io::Result<()> {
        let names = control.bdevs().into_iter().map(|view| view.bdev.info().name.clone());
        let configured: BTreeSet<String> = names.chain(kept::configured(control)).collect();
        {
            let mut inner = self.inner();
            let asked = control.kept().of(CallSource::Config);
            inner.configured_namespaces = asked.iter().filter_map(namespace_in).collect();
            inner.configured_calls = save_nvmf::keyring_calls(control);
            inner.configured_calls.extend(save_nvmf::nvmf_calls(control));
        }
        let calls = self.read()?;
        let running: Vec<Value> = calls.iter().map(|call| with_dirty(call, true)).collect();
        if running != calls {
            // Before the first of them can be written to: should this start be cut off, they are.
            replace(&self.path, text_of(by_subsystem(running)).as_bytes())?;
        }
        control.begin_keeping(configured);
        for call in calls {
            if let Err(error) = kept::make(control, &call) {
                let (file, method) = (self.path.display(), &call["method"]);
                tracing::error!(%file, %method, error, "a part of the state is not there; it is kept");
                kept::keep(control, CallSource::State, call, error);
            }
        }
        self.inner().loaded = true;
        Ok(())
    }

    fn read(&self) -> io::Result<Vec<Value>> {
        let error = match Config::load(&self.path) {
            Ok(config) => return Ok(calls_of(&config)),
            Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Vec::new());
            }
            Err(error) => error,
        };
        let aside = (0..)
            .map(|number| self.path.with_added_extension(format!("broken{number}")))
            .find(|path| !path.exists());
        if let Some(aside) = aside {
            tracing::error!(%error, aside = %aside.display(), "the state cannot be used: put aside");
            fs::rename(&self.path, aside)?;
        }
        Ok(Vec::new())
    }

    /// Writes the file if it would say something else; what waits for what it says goes on.
    ///
    /// # Errors
    ///
    /// When it cannot be written, or the service is at its end and there is nothing any more to be kept.
    pub(super) fn write(&self, control: &Control) -> io::Result<()> {
        let mut inner = self.inner();
        if !inner.loaded {
            return Ok(());
        }
        let unrecorded = control.unrecorded();
        let calls = inner.calls(control);
        let named: BTreeSet<String> =
            calls.iter().filter(|call| makes_arrays(call)).filter_map(name_in).collect();
        let text = text_of(by_subsystem(calls));
        if text != inner.written {
            // Asked when the text is there: at its end a service has less and less.
            if control.is_stopped() {
                return Err(io::Error::other("the service is stopping"));
            }
            replace(&self.path, text.as_bytes())?;
            inner.written = text;
        }
        let said = unrecorded.iter().filter(|array| named.contains(array.bdev()));
        said.for_each(Unrecorded::release_writes);
        Ok(())
    }

    /// The service has stopped: arrays that were stopped with their parity right are not dirty.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub(super) fn close(&self, control: &Control) -> io::Result<()> {
        let mut inner = self.inner();
        if !inner.loaded || inner.written.is_empty() {
            return Ok(());
        }
        inner.loaded = false;
        let in_order = control.stopped_in_order();
        let config = Config::parse(&self.path, inner.written.as_bytes());
        let config = config.map_err(|error| io::Error::other(error.to_string()))?;
        let kept = control.kept().of(CallSource::State);
        let calls = calls_of(&config).into_iter().map(|call| {
            // One that was not there is as it was.
            let kept = kept.iter().find(|kept| with_dirty(kept, true) == call);
            let stopped = name_in(&call).is_some_and(|name| in_order.contains(&name));
            kept.cloned().unwrap_or_else(|| with_dirty(&call, !stopped))
        });
        let text = text_of(by_subsystem(calls.collect()));
        if text != inner.written {
            replace(&self.path, text.as_bytes())?;
            inner.written = text;
        }
        Ok(())
    }
}

impl Inner {
    /// What the file is to say.
    fn calls(&self, control: &Control) -> Vec<Value> {
        let is_ours = |call: &Value| {
            let is_asked = |namespace| self.configured_namespaces.contains(&namespace);
            !self.configured_calls.contains(call) && !namespace_in(call).is_some_and(is_asked)
        };
        let mut calls = save_nvmf::keyring_calls(control);
        calls.extend(save_nvmf::nvmf_calls(control));
        calls.retain(is_ours);
        calls.extend(save::calls(control, |view| view.is_recorded));
        calls.extend(control.kept().of(CallSource::State));
        calls.iter().map(|call| with_dirty(call, true)).collect()
    }
}

/// The calls of a configuration.
fn calls_of(config: &Config) -> Vec<Value> {
    config.entries().iter().map(call_of).collect()
}

/// Calls as sections of a configuration, in the order in which these depend on each other.
fn by_subsystem(calls: Vec<Value>) -> Vec<Value> {
    let mut sections = Vec::new();
    for subsystem in ["keyring", save::SUBSYSTEM, "nvmf"] {
        let calls = calls.iter().filter(|call| subsystem_of(call) == subsystem);
        let calls: Vec<Value> = calls.cloned().collect();
        if !calls.is_empty() || subsystem == save::SUBSYSTEM {
            sections.push(json!({ "subsystem": subsystem, "config": calls }));
        }
    }
    sections
}

fn text_of(sections: Vec<Value>) -> String {
    format!("{:#}\n", json!({ "subsystems": sections }))
}

/// The call with its arrays marked as dirty or not; as it is if it makes none.
fn with_dirty(call: &Value, dirty: bool) -> Value {
    let mut call = call.clone();
    if makes_arrays(&call) && call["params"].is_object() {
        call["params"]["dirty"] = dirty.into();
    }
    call
}

/// Whether a call makes an array, or may make one.
fn makes_arrays(call: &Value) -> bool {
    matches!(call["method"].as_str(), Some("bdev_raid_create" | "dm_create"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The subsystem of a call.
pub(super) fn subsystem_of(call: &Value) -> &'static str {
    match call["method"].as_str() {
        Some(method) if method.starts_with("keyring_") => "keyring",
        Some(method) if method.starts_with("nvmf_") => "nvmf",
        _ => save::SUBSYSTEM,
    }
}

/// Writes a file so that at any time there is the old one or the new one.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_added_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
