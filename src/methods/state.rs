//! The state file: what clients have made survives a restart.
//!
//! ```text
//!   start:   --config --> the state's calls, one by one; what is refused is kept and tried again
//!   change:  calls of now + kept ones --> FILE.new, synced --> renamed to FILE, directory synced
//! ```
//!
//! It has the shape of a configuration. What `--config` makes is not in it. A call that fails at the
//! start, because a member is missing say, is an error in the log and stays in the file; it is tried
//! again whenever something has changed, until it succeeds or its bdev is deleted. A file that cannot be
//! read is put aside, not overwritten.
//!
//! Invariants: a change is answered after it is on the disk; the file is whole at any time; a service that
//! stops takes its bdevs apart and says nothing of that here.
//!
//! Not here: which calls make what there is (`save`).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rpc::Caller;
use serde_json::{Value, json};

use super::boot::Boot;
use super::{Context, find, save, save_nvmf};
use crate::control::{Config, ConfigError, Control};

/// The state of a service in a file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Whether the calls of the file were made, so that it may be written.
    loaded: bool,
    /// Bdevs that the configuration makes.
    configured: BTreeSet<String>,
    /// Calls for keyring and target that would make what the configuration makes.
    configured_calls: Vec<Value>,
    /// Calls that have failed.
    kept: Vec<Value>,
    /// What the file says.
    written: String,
}

impl Store {
    /// The state in this file, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the calls of the file, after those of the configuration. What fails is kept.
    ///
    /// # Errors
    ///
    /// When a file that cannot be used cannot be put aside either.
    pub(super) fn load(&self, control: &Control) -> io::Result<()> {
        let mut inner = self.inner();
        let names = control.bdevs().into_iter().map(|view| view.bdev.info().name.clone());
        inner.configured = names.collect();
        inner.configured_calls = save_nvmf::keyring_calls(control);
        inner.configured_calls.extend(save_nvmf::nvmf_calls(control));
        for entry in self.read()? {
            let call = json!({ "method": entry.0, "params": entry.1 });
            if let Err(error) = try_call(control, &call) {
                let (file, method) = (self.path.display(), &entry.0);
                tracing::error!(%file, method, error, "a part of the state is not there; it is kept");
                inner.kept.push(call);
            }
        }
        inner.loaded = true;
        Ok(())
    }

    fn read(&self) -> io::Result<Vec<(String, Value)>> {
        let error = match Config::load(&self.path) {
            Ok(config) => {
                let entries = config.entries().iter();
                let pair = |entry: &crate::control::config::ConfigEntry| {
                    (entry.method.clone(), entry.params.clone().unwrap_or_default())
                };
                return Ok(entries.map(pair).collect());
            }
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

    /// Something may have changed: tries again what has failed, and writes the file if it would say
    /// something else.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(super) fn save(&self, control: &Control) -> io::Result<()> {
        let mut inner = self.inner();
        if !inner.loaded {
            return Ok(());
        }
        let kept = std::mem::take(&mut inner.kept);
        inner.kept = kept.into_iter().filter(|call| !is_settled(control, call)).collect();
        let text = format!("{:#}\n", json!({ "subsystems": inner.sections(control) }));
        // Looked at last: if the end has not begun by now, what was listed is all of it.
        if control.is_stopped() {
            return Ok(());
        }
        if text != inner.written {
            replace(&self.path, text.as_bytes())?;
            inner.written = text;
        }
        Ok(())
    }

    /// Forgets the calls of a subsystem that is deleted.
    pub(super) fn forget_subsystem(&self, nqn: &str) {
        self.inner().kept.retain(|call| call["params"]["nqn"].as_str() != Some(nqn));
    }

    /// Forgets a call that has failed, and whose bdev is not wanted any more. Says whether there was one.
    pub(super) fn forget(&self, name: &str) -> bool {
        let mut inner = self.inner();
        let before = inner.kept.len();
        inner.kept.retain(|call| name_in(call).as_deref() != Some(name));
        inner.kept.len() < before
    }
}

impl Inner {
    /// What the file is to say: the subsystems in the order in which they depend on each other.
    fn sections(&self, control: &Control) -> Vec<Value> {
        let mut sections = Vec::new();
        let is_ours = |call: &Value| !self.configured_calls.contains(call);
        for subsystem in ["keyring", save::SUBSYSTEM, "nvmf"] {
            let mut calls = match subsystem {
                "keyring" => save_nvmf::keyring_calls(control),
                "nvmf" => save_nvmf::nvmf_calls(control),
                _ => save::calls(control, |name| !self.configured.contains(name)),
            };
            if subsystem != save::SUBSYSTEM {
                calls.retain(is_ours);
            }
            calls.extend(self.kept.iter().filter(|call| subsystem_of(call) == subsystem).cloned());
            if !calls.is_empty() || subsystem == save::SUBSYSTEM {
                sections.push(json!({ "subsystem": subsystem, "config": calls }));
            }
        }
        sections
    }
}

/// The subsystem of a call.
fn subsystem_of(call: &Value) -> &'static str {
    match call["method"].as_str() {
        Some(method) if method.starts_with("keyring_") => "keyring",
        Some(method) if method.starts_with("nvmf_") => "nvmf",
        _ => save::SUBSYSTEM,
    }
}

/// Makes a call of the file.
fn try_call(control: &Control, call: &Value) -> Result<(), String> {
    let method = call["method"].as_str().unwrap_or_default();
    let handler = find(method).ok_or_else(|| format!("there is no method {method:?}"))?;
    let (caller, boot) = (Caller::default(), Boot::default());
    let context = Context { control, caller: &caller, boot: &boot };
    let params = call.get("params").filter(|params| !params.is_null()).cloned();
    (handler.run)(context, params).map(drop).map_err(|error| error.to_string())
}

/// Whether a call that had failed need not be made any more.
fn is_settled(control: &Control, call: &Value) -> bool {
    if save_nvmf::nvmf_calls(control).contains(call)
        || save_nvmf::keyring_calls(control).contains(call)
    {
        return true;
    }
    let makes = call["method"].as_str().is_some_and(|method| method.ends_with("_create"));
    // Somebody has made it, as it was or otherwise.
    if makes && name_in(call).is_some_and(|name| control.bdev(&name).is_ok()) {
        return true;
    }
    try_call(control, call)
        .inspect(|()| tracing::info!(call = %call["method"], "a part of the state is back"))
        .is_ok()
}

/// The name of the bdev that a call is about.
fn name_in(call: &Value) -> Option<String> {
    let params = &call["params"];
    let error_bdev = || params["base_name"].as_str().map(|base| format!("EE_{base}"));
    let first_part = || {
        let is_split = call["method"] == "bdev_split_create";
        params["base_bdev"].as_str().filter(|_| is_split).map(|base| format!("{base}p0"))
    };
    params["name"].as_str().map(str::to_owned).or_else(error_bdev).or_else(first_part)
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
mod tests {
    use reactor::CpuSet;

    use super::*;
    use crate::control::Options;

    /// Goal: what is taken apart when a service stops stays in the file. Method: an array's event asks for
    /// the file to be written at that moment.
    #[test]
    fn the_end_is_not_a_change() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state.json");
        let store = Store::new(&path);
        let options =
            Options { cores: CpuSet::single(0), buffer_bytes: 2 << 20, ..Options::default() };
        let control = Control::start(options).unwrap();
        store.load(&control).unwrap();
        control.finish_startup();
        control.create_malloc(Some("m".to_owned()), None, 512, 8).unwrap();
        store.save(&control).unwrap();
        let before = fs::read_to_string(&path).unwrap();
        assert!(before.contains("\"m\""), "{before}");
        control.shutdown().unwrap();
        store.save(&control).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
    }

    #[test]
    fn files_are_replaced_as_a_whole() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state.json");
        for text in ["first", "second, longer", "3"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing else is left");
        assert!(replace(&place.path().join("no/such/place"), b"x").is_err());
    }

    #[test]
    fn calls_have_the_name_of_their_bdev() {
        let named = json!({ "method": "bdev_null_create", "params": { "name": "n" } });
        let error = json!({ "method": "bdev_error_create", "params": { "base_name": "n" } });
        let split = json!({ "method": "bdev_split_create", "params": { "base_bdev": "n" } });
        let spare = json!({ "method": "bdev_raid_add_spare", "params": { "base_bdev": "n" } });
        assert_eq!(name_in(&split).as_deref(), Some("np0"));
        assert_eq!(name_in(&spare), None);
        let other = json!({ "method": "bdev_wait_for_examine" });
        assert_eq!(name_in(&named).as_deref(), Some("n"));
        assert_eq!(name_in(&error).as_deref(), Some("EE_n"));
        assert_eq!(name_in(&other), None);
    }
}
