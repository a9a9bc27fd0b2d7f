//! The keyring: secrets by name, read from files.
//!
//! Invariants: what is secret is never shown; a file that others may read is refused.
//!
//! Not here: what a secret is good for (`nvmf`).

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::{KEY_FILE_BYTES_MAX, KEYS_MAX};

/// Why a key is refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The name is taken.
    #[error("key {name:?} exists: remove it first, with keyring_file_remove_key")]
    Exists {
        /// The name.
        name: String,
    },
    /// No key has this name.
    #[error("key {name:?}: keyring_get_keys lists those that are there")]
    NoSuchKey {
        /// The name.
        name: String,
    },
    /// A host has it.
    #[error(
        "key {name:?} is in use by host {host}: take it away with nvmf_subsystem_set_keys first"
    )]
    InUse {
        /// The name.
        name: String,
        /// The host.
        host: String,
    },
    /// There is no room.
    #[error("key {name:?}: there are {KEYS_MAX} keys already: remove one first")]
    Full {
        /// The name.
        name: String,
    },
    /// The file cannot be used.
    #[error("key {name:?}: {}: {problem}", .path.display())]
    File {
        /// The name.
        name: String,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// A secret.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// What is secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A key, and where it is from.
#[derive(Clone, Debug)]
pub struct Key {
    /// The file.
    pub path: PathBuf,
    /// What is in it.
    pub secret: Secret,
}

/// All keys.
#[derive(Clone, Debug, Default)]
pub struct Keyring(Arc<Mutex<BTreeMap<String, Key>>>);

impl Keyring {
    fn keys(&self) -> MutexGuard<'_, BTreeMap<String, Key>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the key in a file.
    ///
    /// # Errors
    /// If the name is taken, or the file is not one that may hold a secret.
    pub fn add_file(&self, name: &str, path: &Path) -> Result<(), KeyError> {
        let mut keys = self.keys();
        if keys.contains_key(name) {
            return Err(KeyError::Exists { name: name.to_owned() });
        }
        if keys.len() >= KEYS_MAX {
            return Err(KeyError::Full { name: name.to_owned() });
        }
        let secret = read(path).map_err(|problem| KeyError::File {
            name: name.to_owned(),
            path: path.to_owned(),
            problem,
        })?;
        keys.insert(name.to_owned(), Key { path: path.to_owned(), secret });
        Ok(())
    }

    /// Removes a key. `user` is the host that has it, if one does.
    ///
    /// # Errors
    /// If there is no such key, or it is in use.
    pub fn remove(&self, name: &str, user: Option<String>) -> Result<(), KeyError> {
        let mut keys = self.keys();
        if !keys.contains_key(name) {
            return Err(KeyError::NoSuchKey { name: name.to_owned() });
        }
        if let Some(host) = user {
            return Err(KeyError::InUse { name: name.to_owned(), host });
        }
        keys.remove(name);
        Ok(())
    }

    /// A key.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn get(&self, name: &str) -> Result<Key, KeyError> {
        let found = self.keys().get(name).cloned();
        found.ok_or_else(|| KeyError::NoSuchKey { name: name.to_owned() })
    }

    /// All of them, by name.
    #[must_use]
    pub fn list(&self) -> Vec<(String, Key)> {
        self.keys().iter().map(|(name, key)| (name.clone(), key.clone())).collect()
    }
}

/// The secret in a file, or what is wrong with it.
fn read(path: &Path) -> Result<Secret, String> {
    if !path.is_absolute() {
        return Err("the path has to be absolute".to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no file".to_owned());
    }
    // SPDK's rule: 0600 or less.
    if metadata.mode() & 0o177 != 0 {
        let mode = metadata.mode() & 0o777;
        return Err(format!("its mode is {mode:04o}: others may read it; it has to be 0600"));
    }
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own {
        let owner = metadata.uid();
        return Err(format!("it belongs to user {owner} and has to belong to user {own}"));
    }
    let mut text = String::new();
    file.take(KEY_FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    let secret = text.trim_end_matches(['\n', '\r']);
    if secret.is_empty() || text.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(format!("it has to hold a key of 1 to {KEY_FILE_BYTES_MAX} bytes"));
    }
    Ok(Secret(secret.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Goal: a secret is taken from a file that only its owner may read, is not shown, and stays while
    /// somebody uses it. Method: one of each.
    #[test]
    fn secrets_are_kept() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key");
        fs::write(&path, "DHHC-1:00:c2VjcmV0:\n").unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let keyring = Keyring::default();
        for (bits, word) in [(0o644, "0644"), (0o660, "0660")] {
            mode(bits);
            let error = keyring.add_file("k", &path).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        mode(0o600);
        keyring.add_file("k", &path).unwrap();
        assert!(matches!(keyring.add_file("k", &path), Err(KeyError::Exists { .. })));
        assert_eq!(keyring.get("k").unwrap().secret.expose(), "DHHC-1:00:c2VjcmV0:");
        assert!(!format!("{keyring:?}").contains("DHHC"));
        assert!(matches!(keyring.remove("k", Some("h".into())), Err(KeyError::InUse { .. })));
        keyring.remove("k", None).unwrap();
        assert!(matches!(keyring.get("k"), Err(KeyError::NoSuchKey { .. })));
        assert!(keyring.add_file("r", Path::new("key")).is_err(), "not absolute");
        assert!(keyring.add_file("d", place.path()).is_err(), "a directory");
    }
}
