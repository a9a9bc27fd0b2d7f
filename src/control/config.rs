//! The configuration file: SPDK's shape, read whole and checked before anything of it is run.
//!
//! ```text
//!   { "metrics": { "listen": "127.0.0.1:9456" },         ours; other members of the root are ignored
//!     "subsystems": [
//!       { "subsystem": "bdev",
//!         "config": [                                    may be null or missing
//!           { "method": "bdev_null_create", "params": {...} },
//!           [ {...}, {...} ]                             a batch: its entries in their order
//!   ] } ] }
//! ```
//!
//! SPDK skips subsystems that it does not have; here they are errors, because an array whose half is
//! missing is worse than a service that does not start. So are members of an entry that are
//! misspelt.
//!
//! Not here: running the entries (`methods::replay`).

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rpc::RpcError;
use serde_json::{Map, Value};

use super::listen::{Listen, NoAddress};
use crate::limits::CONFIG_BYTES_MAX;

/// The subsystems that entries may stand in, by SPDK's names, each behind those that it depends on.
pub const SUBSYSTEMS: &[&str] = &["iobuf", "keyring", "bdev", "nvmf"];

/// Why a configuration cannot be used. Names the file and the place in it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("config {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is too large to be a configuration.
    #[error("config {path}: larger than {CONFIG_BYTES_MAX} bytes, so it is no configuration")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not JSON. The source says where.
    #[error("config {path}: not JSON: {source}")]
    NotJson {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// A value is not what belongs there.
    #[error("config {path}: {place}: {problem}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// Where in the file: `subsystems[0] "bdev", config[3]`, counted from 0.
        place: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// An entry was refused.
    #[error("config {path}: {place} ({method}): {error}")]
    Entry {
        /// The file.
        path: PathBuf,
        /// Where in the file: `subsystems[0] "bdev", config[3]`, counted from 0.
        place: String,
        /// The entry's method.
        method: String,
        /// What the method says.
        error: RpcError,
    },
}

/// A place in the file while it is read.
#[derive(Debug, Clone, Default)]
struct Place {
    subsystem: Option<(usize, Option<String>)>,
    entry: Option<usize>,
    batch: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((index, name)) = &self.subsystem else { return f.write_str("root") };
        write!(f, "subsystems[{index}]")?;
        if let Some(name) = name {
            write!(f, " {name:?}")?;
        }
        if let Some(entry) = self.entry {
            write!(f, ", config[{entry}]")?;
        }
        if let Some(batch) = self.batch {
            write!(f, "[{batch}]")?;
        }
        Ok(())
    }
}

/// One call that the file asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigEntry {
    /// Where it stands: `subsystems[0] "bdev", config[3]`, counted from 0.
    pub place: String,
    /// The method.
    pub method: String,
    /// Its parameters.
    pub params: Option<Value>,
}

/// What a configuration file asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    path: PathBuf,
    metrics: Option<Listen>,
    entries: Vec<ConfigEntry>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is not JSON, or not of the shape above.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mut text = Vec::new();
        file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > CONFIG_BYTES_MAX {
            return Err(ConfigError::TooLarge { path: path.to_owned() });
        }
        Self::parse(path, &text)
    }

    /// Takes the text of a file; `path` is for messages.
    ///
    /// # Errors
    ///
    /// When it is not JSON, or not of the shape above.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Self, ConfigError> {
        let root: Value = serde_json::from_slice(text)
            .map_err(|source| ConfigError::NotJson { path: path.to_owned(), source })?;
        let mut entries = Vec::new();
        let wrong = |(place, problem): Problem| ConfigError::Shape {
            path: path.to_owned(),
            place: place.to_string(),
            problem,
        };
        read_root(&root, &mut entries).map_err(wrong)?;
        let metrics = read_metrics(&root).map_err(wrong)?;
        Ok(Self { path: path.to_owned(), metrics, entries })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same without the calls of methods whose names begin so.
    #[must_use]
    pub fn without(mut self, prefix: &str) -> Self {
        self.entries.retain(|entry| !entry.method.starts_with(prefix));
        self
    }

    /// Where metrics and the status page are to be had.
    pub fn metrics(&self) -> Option<&Listen> {
        self.metrics.as_ref()
    }

    /// The calls in their order.
    pub fn entries(&self) -> &[ConfigEntry] {
        &self.entries
    }

    /// The error of an entry.
    pub(crate) fn refused(&self, entry: &ConfigEntry, error: RpcError) -> ConfigError {
        ConfigError::Entry {
            path: self.path.clone(),
            place: entry.place.clone(),
            method: entry.method.clone(),
            error,
        }
    }
}

type Problem = (Place, String);

fn read_root(root: &Value, entries: &mut Vec<ConfigEntry>) -> Result<(), Problem> {
    let place = Place::default();
    let members = object(root, &place)?;
    let Some(Value::Array(subsystems)) = members.get("subsystems") else {
        return Err((place, "\"subsystems\" should be an array of subsystems".to_owned()));
    };
    for (index, subsystem) in subsystems.iter().enumerate() {
        read_subsystem(index, subsystem, entries)?;
    }
    Ok(())
}

/// Where metrics are to be had. SPDK has no such member, so it is looked at closely.
fn read_metrics(root: &Value) -> Result<Option<Listen>, Problem> {
    let wrong = |problem: String| (Place::default(), problem);
    let Some(metrics) = root.get("metrics").filter(|metrics| !metrics.is_null()) else {
        return Ok(None);
    };
    let shape = || wrong("\"metrics\" should be { \"listen\": \"HOST:PORT\" }".to_owned());
    let members = metrics.as_object().ok_or_else(shape)?;
    let listen = members.get("listen").and_then(Value::as_str).ok_or_else(shape)?;
    if members.len() > 1 {
        return Err(shape());
    }
    let listen = listen.parse().map_err(|error: NoAddress| wrong(format!("metrics: {error}")))?;
    Ok(Some(listen))
}

fn read_subsystem(
    index: usize,
    subsystem: &Value,
    entries: &mut Vec<ConfigEntry>,
) -> Result<(), Problem> {
    let mut place = Place { subsystem: Some((index, None)), ..Place::default() };
    let members = object(subsystem, &place)?;
    let Some(Value::String(name)) = members.get("subsystem") else {
        return Err((place, "\"subsystem\" should be the subsystem's name".to_owned()));
    };
    place.subsystem = Some((index, Some(name.clone())));
    let config = match members.get("config") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(config)) => config,
        Some(_) => return Err((place, "\"config\" should be an array of entries".to_owned())),
    };
    if !config.is_empty() && !SUBSYSTEMS.contains(&name.as_str()) {
        let problem = format!("there is no subsystem {name:?}: use {SUBSYSTEMS:?}");
        return Err((place, problem));
    }
    for (index, entry) in config.iter().enumerate() {
        let place = Place { entry: Some(index), ..place.clone() };
        match entry {
            Value::Array(batch) => {
                for (index, entry) in batch.iter().enumerate() {
                    let place = Place { batch: Some(index), ..place.clone() };
                    entries.push(read_entry(entry, place)?);
                }
            }
            entry => entries.push(read_entry(entry, place)?),
        }
    }
    Ok(())
}

fn read_entry(entry: &Value, place: Place) -> Result<ConfigEntry, Problem> {
    let members = object(entry, &place)?;
    if let Some(unknown) = members.keys().find(|key| !["method", "params"].contains(&key.as_str()))
    {
        let problem = format!("unknown member {unknown:?}: an entry has \"method\" and \"params\"");
        return Err((place, problem));
    }
    let Some(Value::String(method)) = members.get("method") else {
        return Err((place, "\"method\" should be the method's name".to_owned()));
    };
    let params = match members.get("params") {
        None | Some(Value::Null) => None,
        Some(params @ Value::Object(_)) => Some(params.clone()),
        Some(_) => return Err((place, "\"params\" should be an object".to_owned())),
    };
    Ok(ConfigEntry { place: place.to_string(), method: method.clone(), params })
}

fn object<'a>(value: &'a Value, place: &Place) -> Result<&'a Map<String, Value>, Problem> {
    value.as_object().ok_or_else(|| (place.clone(), "should be an object".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(Path::new("a.json"), text.as_bytes())
    }

    /// Goal: everything that SPDK's own files have is taken, in the order of the file.
    #[test]
    fn takes_what_spdk_writes() {
        let config = parse(
            r#"{
              "comment": 1,
              "subsystems": [
                { "subsystem": "scheduler", "config": null },
                { "subsystem": "keyring", "config": [] },
                { "subsystem": "sock" },
                { "subsystem": "bdev", "config": [
                    { "method": "a", "params": { "x": 1 } },
                    [ { "method": "b" }, { "method": "c", "params": null } ],
                    { "params": {}, "method": "d" } ] }
              ]
            }"#,
        )
        .unwrap();
        let entries: Vec<_> = config
            .entries()
            .iter()
            .map(|entry| (entry.method.as_str(), entry.params.is_some(), entry.place.as_str()))
            .collect();
        assert_eq!(
            entries,
            [
                ("a", true, "subsystems[3] \"bdev\", config[0]"),
                ("b", false, "subsystems[3] \"bdev\", config[1][0]"),
                ("c", false, "subsystems[3] \"bdev\", config[1][1]"),
                ("d", true, "subsystems[3] \"bdev\", config[2]"),
            ]
        );
    }

    /// Goal: where metrics are to be had is taken, or refused with what would be right.
    #[test]
    fn metrics_have_an_address() {
        let metrics = |text: &str| parse(&format!(r#"{{"metrics":{text},"subsystems":[]}}"#));
        assert_eq!(metrics("null").unwrap().metrics(), None);
        let listen = metrics(r#"{"listen":"127.0.0.1:1"}"#).unwrap();
        assert_eq!(listen.metrics().unwrap().to_string(), "127.0.0.1:1");
        for text in ["3", "{}", r#"{"listen":7}"#, r#"{"listen":"1","port":2}"#] {
            let error = metrics(text).unwrap_err().to_string();
            let expected =
                "config a.json: root: \"metrics\" should be { \"listen\": \"HOST:PORT\" }";
            assert_eq!(error, expected);
        }
        let error = metrics(r#"{"listen":":80"}"#).unwrap_err().to_string();
        assert!(
            error.starts_with("config a.json: root: metrics: \":80\" is no address"),
            "{error}"
        );
    }

    /// Goal: what is wrong is found before anything is run, and named with its place.
    #[test]
    fn names_the_place_of_what_is_wrong() {
        for (text, message) in [
            ("[]", "config a.json: root: should be an object"),
            ("{}", "config a.json: root: \"subsystems\" should be an array of subsystems"),
            (r#"{"subsystems":[3]}"#, "config a.json: subsystems[0]: should be an object"),
            (
                r#"{"subsystems":[{"config":[]}]}"#,
                "config a.json: subsystems[0]: \"subsystem\" should be the subsystem's name",
            ),
            (
                r#"{"subsystems":[{"subsystem":"bdev","config":{}}]}"#,
                "config a.json: subsystems[0] \"bdev\": \"config\" should be an array of entries",
            ),
            (
                r#"{"subsystems":[{"subsystem":"bdve","config":[{"method":"a"}]}]}"#,
                "config a.json: subsystems[0] \"bdve\": there is no subsystem \"bdve\": use \
                 [\"iobuf\", \"keyring\", \"bdev\", \"nvmf\"]",
            ),
            (
                r#"{"subsystems":[{"subsystem":"bdev","config":[{"method":"a"},{"name":"b"}]}]}"#,
                "config a.json: subsystems[0] \"bdev\", config[1]: unknown member \"name\": an \
                 entry has \"method\" and \"params\"",
            ),
            (
                r#"{"subsystems":[{"subsystem":"bdev","config":[{"method":7}]}]}"#,
                "config a.json: subsystems[0] \"bdev\", config[0]: \"method\" should be the \
                 method's name",
            ),
            (
                r#"{"subsystems":[{"subsystem":"bdev","config":[[{"method":"a","params":[1]}]]}]}"#,
                "config a.json: subsystems[0] \"bdev\", config[0][0]: \"params\" should be an \
                 object",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
        let error = parse("{\n  \"subsystems\": [,]\n}").unwrap_err().to_string();
        assert!(error.starts_with("config a.json: not JSON: ") && error.contains("line 2"));
    }

    /// Goal: a missing file is named, and an endless one does not fill the memory.
    #[test]
    fn unreadable_files_are_named() {
        let error = Config::load("/no/such/file.json").unwrap_err().to_string();
        assert_eq!(error, "config /no/such/file.json: No such file or directory (os error 2)");
        assert!(matches!(Config::load("/dev/zero"), Err(ConfigError::TooLarge { .. })));
    }
}
