//! `raid456 dm`: dmsetup's verbs, options and output for the mapped devices of a running service.
//!
//! ```text
//!   raid456 dm create r0 --table "0 98304 raid raid5_ls 1 128 4 - m0 - m1 - m2 - m3"
//!   raid456 dm status r0          0 98304 raid raid5_ls 4 AAAA 32768/32768 idle 0 0 -
//! ```
//!
//! What dmsetup prints is printed here, on stdout; where a number stands for a bdev that has none,
//! `(name)` stands for it. With `--json` the replies of the service are printed instead. Exit codes: 0
//! done, 1 refused, with dmsetup's words on stderr and the kernel's sentence under them, 2 wrong usage.
//!
//! Not here: what verbs do (`control::mapped`), the forms (`print`).

mod print;

use std::error::Error;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use crossbeam::channel::bounded;
use rpc::client::ClientError;
use rpc::results::{DmDepsOf, DmDeviceInfo, DmListed, DmTargetVersion, DmTargetsOf};
use rpc::{Client, limits};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{SOCKET_PATH, SOCKET_VARIABLE};
use print::out;

/// Arguments of `raid456 dm`.
#[derive(Debug, Args)]
pub struct DmArgs {
    /// Unix socket of the service
    #[arg(short, long, value_name = "PATH", default_value = SOCKET_PATH, env = SOCKET_VARIABLE, global = true)]
    pub socket: PathBuf,
    /// Seconds to wait for the reply, but for wait, which waits
    #[arg(long, value_name = "SECONDS", default_value_t = limits::CALL_TIME_LIMIT.as_secs(), global = true)]
    pub timeout: u64,
    /// Print the service's replies as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// dmsetup's verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a device, and load and resume a table, which comes from --table, a file or stdin
    Create {
        /// Its name
        name: String,
        /// A file with the table
        file: Option<PathBuf>,
        /// The table
        #[arg(long, conflicts_with = "file")]
        table: Option<String>,
        /// Without a table
        #[arg(long, conflicts_with_all = ["file", "table"])]
        notable: bool,
        /// Device-mapper's UUID
        #[arg(short, long)]
        uuid: Option<String>,
        /// Nothing may be written to it
        #[arg(short, long)]
        readonly: bool,
    },
    /// Load a table, which comes from --table, a file or stdin; resume makes it the active one
    #[command(alias = "reload")]
    Load {
        /// The device
        name: String,
        /// A file with the table
        file: Option<PathBuf>,
        /// The table
        #[arg(long, conflicts_with = "file")]
        table: Option<String>,
    },
    /// Drop the inactive table
    Clear {
        /// The devices
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Let what is in flight end, and have what comes then wait
    Suspend {
        /// The devices
        #[arg(required = true)]
        names: Vec<String>,
        /// What is in flight need not be on the devices
        #[arg(long)]
        noflush: bool,
        /// For dmsetup's sake: there is no file system to lock
        #[arg(long)]
        nolockfs: bool,
    },
    /// Make the inactive table the active one, if there is one, and let requests go on
    Resume {
        /// The devices
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Remove devices
    Remove {
        /// The devices
        #[arg(required = true)]
        names: Vec<String>,
        /// Later, if one is in use
        #[arg(long)]
        deferred: bool,
        /// Have requests fail first
        #[arg(short, long)]
        force: bool,
        /// Try for a few seconds
        #[arg(long)]
        retry: bool,
    },
    /// Give a device another name, or a UUID
    Rename {
        /// The device
        name: String,
        /// The new name, or the UUID
        new: String,
        /// It is the UUID
        #[arg(long)]
        setuuid: bool,
    },
    /// Send a message to the target at a sector
    Message {
        /// The device
        name: String,
        /// A sector of the target; 0 for the first
        sector: u64,
        /// The words
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// How the targets are
    Status {
        /// The devices; all if none is given
        names: Vec<String>,
        /// Targets of this type only
        #[arg(long)]
        target: Option<String>,
        /// For dmsetup's sake: status never flushes here
        #[arg(long)]
        noflush: bool,
    },
    /// The tables
    Table {
        /// The devices; all if none is given
        names: Vec<String>,
        /// Targets of this type only
        #[arg(long)]
        target: Option<String>,
        /// The inactive tables
        #[arg(long)]
        inactive: bool,
    },
    /// What devices are made of
    Deps {
        /// The devices; all if none is given
        names: Vec<String>,
    },
    /// Describe devices
    Info {
        /// The devices; all if none is given
        names: Vec<String>,
        /// In columns
        #[arg(short = 'c', short_alias = 'C', long)]
        columns: bool,
        /// Without their headings
        #[arg(long)]
        noheadings: bool,
    },
    /// List devices
    Ls {
        /// Those with a target of this type only
        #[arg(long)]
        target: Option<String>,
        /// With what they are made of
        #[arg(long)]
        tree: bool,
    },
    /// Wait until the event number is above the one given, or above what it is now
    Wait {
        /// The device
        name: String,
        /// The event number
        event: Option<u32>,
        /// For dmsetup's sake: it never flushes here
        #[arg(long)]
        noflush: bool,
    },
    /// The types of targets
    Targets,
    /// Versions
    Version,
}

/// What the service refuses, in dmsetup's words.
#[derive(Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Refused {}

type Outcome = Result<(), Box<dyn Error>>;

/// Carries a verb out.
///
/// # Errors
///
/// A service that is not there, or what it refuses.
pub fn run(args: DmArgs) -> Outcome {
    let waits = matches!(args.verb, Verb::Wait { .. });
    let limit = if waits { crate::limits::WAIT_MAX } else { Duration::from_secs(args.timeout) };
    let client = Client::connect(&args.socket)?.with_time_limit(limit);
    let mut session = Session { client, json: args.json };
    match args.verb {
        verb @ (Verb::Create { .. }
        | Verb::Load { .. }
        | Verb::Clear { .. }
        | Verb::Suspend { .. }
        | Verb::Resume { .. }
        | Verb::Remove { .. }
        | Verb::Rename { .. }
        | Verb::Message { .. }) => session.change(verb),
        Verb::Status { names, target, .. } => {
            let told = session.targets("dm_status", &names, target.as_deref(), json!({}))?;
            session.show(&told, |told| print::targets(told, names.len() == 1))
        }
        Verb::Table { names, target, inactive } => {
            let more = json!({ "inactive": inactive });
            let told = session.targets("dm_table", &names, target.as_deref(), more)?;
            session.show(&told, |told| print::targets(told, names.len() == 1))
        }
        Verb::Deps { names } => {
            let told: Vec<DmDepsOf> = session.each("dm_deps", &names, json!({}))?;
            session.show(&told, |told| print::deps(told, names.len() == 1))
        }
        Verb::Info { names, columns, noheadings } => {
            let told: Vec<DmDeviceInfo> = session.each("dm_info", &names, json!({}))?;
            session.show(&told, |told| match columns {
                true => print::columns(told, !noheadings),
                false => print::info(told),
            })
        }
        Verb::Ls { target, tree: false } => {
            let told: Vec<DmListed> =
                session.call("ls", "", "dm_ls", json!({ "target": target }))?;
            session.show(&told, |told| print::list(told))
        }
        Verb::Ls { tree: true, .. } => {
            let infos: Vec<DmDeviceInfo> = session.each("dm_info", &[], json!({}))?;
            let deps: Vec<DmDepsOf> = session.each("dm_deps", &[], json!({}))?;
            session.show(&deps, |deps| print::tree(&infos, deps))
        }
        Verb::Wait { name, event, .. } => {
            let params = json!({ "name": name, "event_nr": event });
            let number: u32 = session.call("waitevent", &name, "dm_wait", params)?;
            session.show(&number, |_| String::new())
        }
        Verb::Targets => {
            let told: Vec<DmTargetVersion> =
                session.call("targets", "", "dm_targets", json!({}))?;
            session.show(&told, |told| print::versions(told))
        }
        Verb::Version => {
            let told: Value = session.call("version", "", "spdk_get_version", json!({}))?;
            session.show(&told, |_| print::version())
        }
    }
}

struct Session {
    client: Client,
    json: bool,
}

impl Session {
    /// Prints a result in dmsetup's form, or as JSON.
    fn show<T: serde::Serialize>(&self, told: &T, form: impl FnOnce(&T) -> String) -> Outcome {
        match self.json {
            true => out(&format!("{}\n", serde_json::to_string_pretty(told)?)),
            false => out(&form(told)),
        }
    }

    /// Calls a method. What is refused is put as dmsetup does: `ioctl` is its name of the verb.
    fn call<T: DeserializeOwned>(
        &mut self,
        ioctl: &str,
        name: &str,
        method: &str,
        params: Value,
    ) -> Result<T, Box<dyn Error>> {
        match self.client.call(method, Some(params)) {
            Ok(reply) => Ok(serde_json::from_value(reply)?),
            Err(error) => Err(refused(ioctl, name, error)),
        }
    }

    /// The replies for several devices, or for all.
    fn each<T: DeserializeOwned>(
        &mut self,
        method: &str,
        names: &[String],
        more: Value,
    ) -> Result<Vec<T>, Box<dyn Error>> {
        let ioctl = method.trim_start_matches("dm_");
        let mut all = Vec::new();
        if names.is_empty() {
            return self.call(ioctl, "", method, more);
        }
        for name in names {
            let mut params = more.clone();
            params["name"] = json!(name);
            all.extend(self.call::<Vec<T>>(ioctl, name, method, params)?);
        }
        Ok(all)
    }

    fn targets(
        &mut self,
        method: &str,
        names: &[String],
        target: Option<&str>,
        mut more: Value,
    ) -> Result<Vec<DmTargetsOf>, Box<dyn Error>> {
        more["target"] = json!(target);
        self.each(method, names, more)
    }

    /// Carries out a verb that changes something, and prints nothing but JSON.
    fn change(&mut self, verb: Verb) -> Outcome {
        let calls: Vec<(&str, String, &str, Value)> = match verb {
            Verb::Create { name, file, table, notable, uuid, readonly } => {
                let table = if notable { None } else { Some(read_table(file, table)?) };
                let params =
                    json!({ "name": name, "table": table, "uuid": uuid, "readonly": readonly });
                vec![("create", name, "dm_create", params)]
            }
            Verb::Load { name, file, table } => {
                let params = json!({ "name": name, "table": read_table(file, table)? });
                vec![("reload", name, "dm_table_load", params)]
            }
            Verb::Clear { names } => of_each(names, "clear", "dm_table_clear", &json!({})),
            Verb::Suspend { names, noflush, .. } => {
                of_each(names, "suspend", "dm_suspend", &json!({ "noflush": noflush }))
            }
            Verb::Resume { names } => of_each(names, "resume", "dm_resume", &json!({})),
            Verb::Remove { names, deferred, force, retry } => {
                let params = json!({ "deferred": deferred, "force": force });
                return self.remove(names, &params, retry);
            }
            Verb::Rename { name, new, setuuid } => {
                let key = if setuuid { "new_uuid" } else { "new_name" };
                let mut params = json!({ "name": name });
                params[key] = json!(new);
                vec![("rename", name, "dm_rename", params)]
            }
            Verb::Message { name, sector, words } => {
                let message = words.join(" ");
                let params = json!({ "name": name, "sector": sector, "message": message });
                vec![("message", name, "dm_message", params)]
            }
            _ => Vec::new(),
        };
        for (ioctl, name, method, params) in calls {
            let reply: Value = self.call(ioctl, &name, method, params)?;
            self.show(&reply, |_| String::new())?;
        }
        Ok(())
    }

    fn remove(&mut self, names: Vec<String>, params: &Value, retry: bool) -> Outcome {
        const RETRIES: u32 = 25;
        const PAUSE: Duration = Duration::from_millis(200);
        for (ioctl, name, method, params) in of_each(names, "remove", "dm_remove", params) {
            let mut left = if retry { RETRIES } else { 0 };
            let reply = loop {
                match self.client.call(method, Some(params.clone())) {
                    Ok(reply) => break reply,
                    Err(error) if left > 0 && is_busy(&error) => left -= 1,
                    Err(error) => return Err(refused(ioctl, &name, error)),
                }
                let (_keep, never) = bounded::<()>(0);
                let _ = never.recv_timeout(PAUSE);
            };
            self.show(&reply, |_| String::new())?;
        }
        Ok(())
    }
}

fn is_busy(error: &ClientError) -> bool {
    error.rpc().is_some_and(|error| error.code == -i64::from(rpc::error::errno::EBUSY))
}

/// The same call for several devices.
fn of_each<'a>(
    names: Vec<String>,
    ioctl: &'a str,
    method: &'a str,
    params: &Value,
) -> Vec<(&'a str, String, &'a str, Value)> {
    let call = |name: String| {
        let mut params = params.clone();
        params["name"] = json!(name);
        (ioctl, name, method, params)
    };
    names.into_iter().map(call).collect()
}

/// The table from where it is.
fn read_table(file: Option<PathBuf>, table: Option<String>) -> Result<String, Box<dyn Error>> {
    if let Some(table) = table {
        return Ok(table);
    }
    let mut text = String::new();
    match file {
        Some(file) => {
            let read = fs::read_to_string(&file);
            text = read.map_err(|error| format!("{}: {error}", file.display()))?;
        }
        None => {
            io::stdin().read_to_string(&mut text)?;
        }
    }
    Ok(text)
}

/// What the service refuses, as dmsetup puts it.
fn refused(ioctl: &str, name: &str, error: ClientError) -> Box<dyn Error> {
    let Some(rpc) = error.rpc() else { return Box::new(error) };
    let (text, detail) = rpc.message.split_once(": ").unwrap_or((&rpc.message, ""));
    if rpc.code == -i64::from(rpc::error::errno::ENXIO) {
        return Box::new(Refused(format!("Device {name} not found\nCommand failed.")));
    }
    // dmsetup creates, loads and resumes one after the other; a table is refused when it is loaded.
    let ioctl = if detail.contains(": table: ") { "reload" } else { ioctl };
    Box::new(Refused(format!(
        "device-mapper: {ioctl} ioctl on {name} failed: {text}\n{detail}\nCommand failed."
    )))
}
