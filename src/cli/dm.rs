//! `raid456 dm`: dmsetup's verbs, options and output for the mapped devices of a running service.
//!
//! ```text
//!   raid456 dm create r0 --table "0 98304 raid raid5_ls 1 128 4 - m0 - m1 - m2 - m3"
//!   raid456 dm status r0          0 98304 raid raid5_ls 4 AAAA 32768/32768 idle 0 0 -
//! ```
//!
//! What dmsetup prints is printed here, on stdout; where a number stands for a bdev that has none, its
//! name stands for it. Devices come in the order of their names. With `--json` the replies of the service
//! are printed instead. Exit codes: 0 done, 1 refused, with dmsetup's words on stderr and the kernel's
//! sentence, which dmsetup leaves in the kernel's log, under them, 2 wrong usage.
//!
//! Not here: what verbs do (`control::mapped`), the forms (`print`, `report`, `tree`).

mod print;
mod report;
mod tree;

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

use super::socket::SocketArgs;
use crate::control::MAJOR;
use print::{Naming, out};
use report::{Layout, ReportArgs};
use tree::TreeOptions;

/// Arguments of `raid456 dm`.
#[derive(Debug, Args)]
pub struct DmArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the description of the command")]
    pub socket: SocketArgs,
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

/// Which devices.
#[derive(Debug, Args)]
pub struct Which {
    /// The devices
    pub names: Vec<String>,
    /// The device with this UUID
    #[arg(short, long, conflicts_with = "names")]
    pub uuid: Option<String>,
    /// The device with this number, as --minor says
    #[arg(short = 'j', long, requires = "minor", conflicts_with_all = ["names", "uuid"])]
    pub major: Option<u32>,
    /// The device with this number, as --major says
    #[arg(short, long, requires = "major")]
    pub minor: Option<u32>,
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
        #[arg(short, long, conflicts_with_all = ["file", "table"])]
        notable: bool,
        /// Device-mapper's UUID
        #[arg(short, long)]
        uuid: Option<String>,
        /// Its number is to be this one, as --minor says; there is one major number
        #[arg(short = 'j', long, requires = "minor")]
        major: Option<u32>,
        /// Its number is to be this one, as --major says
        #[arg(short, long, requires = "major")]
        minor: Option<u32>,
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
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for the description of the command")]
        which: Which,
    },
    /// Let what is in flight end, and have what comes then wait
    Suspend {
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for the description of the command")]
        which: Which,
        /// What is in flight need not be on the devices
        #[arg(long)]
        noflush: bool,
        /// For dmsetup's sake: there is no file system to lock
        #[arg(long)]
        nolockfs: bool,
    },
    /// Make the inactive table the active one, if there is one, and let requests go on
    Resume {
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for the description of the command")]
        which: Which,
    },
    /// Remove devices
    Remove {
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for the description of the command")]
        which: Which,
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
    /// Remove all devices that nobody uses
    #[command(name = "remove_all")]
    RemoveAll {
        /// Have requests fail first
        #[arg(short, long)]
        force: bool,
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
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for the description of the command")]
        which: Which,
        /// Targets of this type only
        #[arg(long)]
        target: Option<String>,
        /// For dmsetup's sake: status never flushes here
        #[arg(long)]
        noflush: bool,
    },
    /// The tables
    Table {
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for the description of the command")]
        which: Which,
        /// Targets of this type only
        #[arg(long)]
        target: Option<String>,
        /// The inactive tables
        #[arg(long)]
        inactive: bool,
    },
    /// What devices are made of
    Deps {
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for the description of the command")]
        which: Which,
        /// How devices are named: devno, devname or blkdevname
        #[arg(short = 'o', value_name = "OPTION")]
        options: Option<String>,
    },
    /// Describe devices
    Info {
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for the description of the command")]
        which: Which,
        #[command(flatten)]
        #[expect(missing_docs, reason = "clap would take it for the description of the command")]
        report: ReportArgs,
    },
    /// List devices
    Ls {
        /// Those with a target of this type only
        #[arg(long)]
        target: Option<String>,
        /// How devices are named: devno, devname or blkdevname; with --tree ascii, utf, inverted, active,
        /// open, rw, uuid, blkdevname, device and nodevice, with commas between them
        #[arg(short = 'o', value_name = "OPTIONS")]
        options: Option<String>,
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

impl Refused {
    /// What dmsetup says of a command line that it cannot read.
    fn usage(text: &str) -> Self {
        Self(format!("{text}\nCouldn't process command line."))
    }
}

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
    let client = args.socket.connect(limit)?;
    let mut session = Session { client, json: args.json };
    match args.verb {
        Verb::Wait { name, event, .. } => {
            let params = json!({ "name": name, "event_nr": event });
            let number: u32 = session.call("waitevent", &who(&name, ""), "dm_wait", params)?;
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
        verb @ (Verb::Status { .. }
        | Verb::Table { .. }
        | Verb::Deps { .. }
        | Verb::Info { .. }
        | Verb::Ls { .. }) => session.look(verb),
        verb => session.change(verb),
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

    /// Carries out a verb that changes nothing.
    fn look(&mut self, verb: Verb) -> Outcome {
        match verb {
            Verb::Status { which, target, .. } => {
                self.show_targets("dm_status", which, target, json!({}))
            }
            Verb::Table { which, target, inactive } => {
                self.show_targets("dm_table", which, target, json!({ "inactive": inactive }))
            }
            Verb::Deps { which, options } => {
                let naming = Naming::parse(options.as_deref())?;
                let names = self.names("deps", which)?;
                let told: Vec<DmDepsOf> = self.each("dm_deps", &names, json!({}))?;
                let infos: Vec<DmDeviceInfo> = self.each("dm_info", &[], json!({}))?;
                let one = names.len() == 1;
                self.show(&told, |told| print::deps(told, &infos, naming, one))
            }
            Verb::Info { which, report } => {
                let layout = Layout::of(&report)?;
                let names = self.names("info", which)?;
                let told: Vec<DmDeviceInfo> = self.each("dm_info", &names, json!({}))?;
                let Some(layout) = layout else {
                    return self.show(&told, |told| print::info(told));
                };
                let all: Vec<DmDeviceInfo> = self.each("dm_info", &[], json!({}))?;
                let deps: Vec<DmDepsOf> = self.each("dm_deps", &[], json!({}))?;
                self.show(&told, |told| layout.print(told, &all, &deps))
            }
            Verb::Ls { target, options, tree: false } => {
                let naming = Naming::parse(options.as_deref())?;
                let params = json!({ "target": target });
                let mut told: Vec<DmListed> = self.call("ls", "", "dm_ls", params)?;
                told.sort_by(|a, b| a.name.cmp(&b.name));
                let any = target.is_some() && self.any_devices()?;
                self.show(&told, |told| print::list(told, naming, target.is_some(), any))
            }
            Verb::Ls { options, .. } => {
                let options = TreeOptions::parse(options.as_deref().unwrap_or_default())?;
                let infos: Vec<DmDeviceInfo> = self.each("dm_info", &[], json!({}))?;
                let deps: Vec<DmDepsOf> = self.each("dm_deps", &[], json!({}))?;
                self.show(&deps, |deps| tree::print(&infos, deps, options))
            }
            _ => Ok(()),
        }
    }

    fn show_targets(
        &mut self,
        method: &str,
        which: Which,
        target: Option<String>,
        mut more: Value,
    ) -> Outcome {
        let names = self.names(method.trim_start_matches("dm_"), which)?;
        more["target"] = json!(target);
        let told: Vec<DmTargetsOf> = self.each(method, &names, more)?;
        let any = target.is_some() && self.any_devices()?;
        self.show(&told, |told| print::targets(told, names.len() == 1, any))
    }

    fn any_devices(&mut self) -> Result<bool, Box<dyn Error>> {
        Ok(!self.call::<Vec<DmListed>>("ls", "", "dm_ls", json!({}))?.is_empty())
    }

    /// The names of devices that were given, maybe by UUID or number; none for all.
    fn names(&mut self, ioctl: &str, which: Which) -> Result<Vec<String>, Box<dyn Error>> {
        let Which { names, uuid, major, minor } = which;
        let is_it = |info: &DmDeviceInfo| match (&uuid, major, minor) {
            (Some(uuid), ..) => info.uuid == *uuid,
            (None, Some(major), Some(minor)) => (info.major, info.minor) == (major, minor),
            _ => false,
        };
        if uuid.is_none() && major.is_none() {
            return Ok(names);
        }
        let all: Vec<DmDeviceInfo> = self.each("dm_info", &[], json!({}))?;
        match all.into_iter().find(is_it) {
            Some(info) => Ok(vec![info.name]),
            None => Err(no_device(ioctl, &who("", uuid.as_deref().unwrap_or_default()))),
        }
    }

    /// The same for verbs that need one at least.
    fn some_names(&mut self, ioctl: &str, which: Which) -> Result<Vec<String>, Box<dyn Error>> {
        let names = self.names(ioctl, which)?;
        match names.is_empty() {
            true => Err(Box::new(Refused("No device specified.\nCommand failed.".to_owned()))),
            false => Ok(names),
        }
    }

    /// Calls a method. What is refused is put as dmsetup does: `ioctl` is its name of the verb, `who` the
    /// device's name and UUID, as far as they were given.
    fn call<T: DeserializeOwned>(
        &mut self,
        ioctl: &str,
        who: &str,
        method: &str,
        params: Value,
    ) -> Result<T, Box<dyn Error>> {
        match self.client.call(method, Some(params)) {
            Ok(reply) => Ok(serde_json::from_value(reply)?),
            Err(error) => Err(refused(ioctl, who, error)),
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
        if names.is_empty() {
            let mut all: Vec<Value> = self.call(ioctl, "", method, more)?;
            // As a kernel has them.
            let name = |device: &Value| device["name"].as_str().map(str::to_owned);
            all.sort_by_key(name);
            return Ok(serde_json::from_value(Value::Array(all))?);
        }
        let mut all = Vec::new();
        for name in names {
            let mut params = more.clone();
            params["name"] = json!(name);
            all.extend(self.call::<Vec<T>>(ioctl, &who(name, ""), method, params)?);
        }
        Ok(all)
    }

    /// Carries out a verb that changes something, and prints nothing but JSON.
    fn change(&mut self, verb: Verb) -> Outcome {
        let calls: Vec<(&str, String, &str, Value)> = match verb {
            Verb::Create { name, file, table, notable, uuid, major, minor, readonly } => {
                check_major(major)?;
                check_name(&name)?;
                let table = if notable { None } else { Some(read_table(file, table)?) };
                let params = json!({
                    "name": name, "table": table, "uuid": uuid, "minor": minor, "readonly": readonly,
                });
                vec![("create", who(&name, &uuid.unwrap_or_default()), "dm_create", params)]
            }
            Verb::Load { name, file, table } => {
                let params = json!({ "name": name, "table": read_table(file, table)? });
                vec![("reload", who(&name, ""), "dm_table_load", params)]
            }
            Verb::Clear { which } => {
                let names = self.some_names("clear", which)?;
                of_each(names, "clear", "dm_table_clear", &json!({}))
            }
            Verb::Suspend { which, noflush, .. } => {
                let names = self.some_names("suspend", which)?;
                of_each(names, "suspend", "dm_suspend", &json!({ "noflush": noflush }))
            }
            Verb::Resume { which } => {
                let names = self.some_names("resume", which)?;
                of_each(names, "resume", "dm_resume", &json!({}))
            }
            Verb::Remove { which, deferred, force, retry } => {
                let names = self.some_names("remove", which)?;
                let params = json!({ "deferred": deferred, "force": force });
                return self.remove(names, &params, retry);
            }
            Verb::RemoveAll { force } => return self.remove_all(force),
            Verb::Rename { name, new, setuuid } => {
                if !setuuid {
                    check_name(&new)?;
                }
                let key = if setuuid { "new_uuid" } else { "new_name" };
                let mut params = json!({ "name": name });
                params[key] = json!(new);
                vec![("rename", who(&name, ""), "dm_rename", params)]
            }
            Verb::Message { name, sector, words } => {
                let message = words.join(" ");
                let params = json!({ "name": name, "sector": sector, "message": message });
                vec![("message", who(&name, ""), "dm_message", params)]
            }
            _ => Vec::new(),
        };
        for (ioctl, who, method, params) in calls {
            let reply: Value = self.call(ioctl, &who, method, params)?;
            self.show(&reply, |_| String::new())?;
        }
        Ok(())
    }

    /// Removes what nobody uses, until there is no more of it.
    fn remove_all(&mut self, force: bool) -> Outcome {
        let params = json!({ "force": force });
        let mut removed = 0;
        loop {
            let all: Vec<DmListed> = self.call("ls", "", "dm_ls", json!({}))?;
            let before = removed;
            let names = all.into_iter().map(|device| device.name).collect();
            for (ioctl, who, method, params) in of_each(names, "remove", "dm_remove", &params) {
                match self.client.call(method, Some(params)) {
                    Ok(_) => removed += 1,
                    Err(error) if is_busy(&error) || is_gone(&error) => {}
                    Err(error) => return Err(refused(ioctl, &who, error)),
                }
            }
            if removed == before {
                return self.show(&removed, |_| String::new());
            }
        }
    }

    fn remove(&mut self, names: Vec<String>, params: &Value, retry: bool) -> Outcome {
        const RETRIES: u32 = 25;
        const PAUSE: Duration = Duration::from_millis(200);
        for (ioctl, who, method, params) in of_each(names, "remove", "dm_remove", params) {
            let mut left = if retry { RETRIES } else { 0 };
            let reply = loop {
                match self.client.call(method, Some(params.clone())) {
                    Ok(reply) => break reply,
                    Err(error) if left > 0 && is_busy(&error) => left -= 1,
                    Err(error) => return Err(refused(ioctl, &who, error)),
                }
                let (_keep, never) = bounded::<()>(0);
                let _ = never.recv_timeout(PAUSE);
            };
            self.show(&reply, |_| String::new())?;
        }
        Ok(())
    }
}

/// What messages say between "on" and "failed".
fn who(name: &str, uuid: &str) -> String {
    format!("{name} {uuid}")
}

fn check_name(name: &str) -> Outcome {
    match name.contains('/') {
        true => {
            let text = format!("Name \"{name}\" invalid. It contains \"/\".\nCommand failed.");
            Err(Box::new(Refused(text)))
        }
        false => Ok(()),
    }
}

/// There is one major number.
fn check_major(major: Option<u32>) -> Outcome {
    match major {
        Some(major) if major != MAJOR => Err(Box::new(Refused(format!(
            "--major {major}: mapped devices have the major number {MAJOR}\nCommand failed."
        )))),
        _ => Ok(()),
    }
}

fn is_gone(error: &ClientError) -> bool {
    error.rpc().is_some_and(|error| error.code == -i64::from(rpc::error::errno::ENXIO))
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
        (ioctl, who(&name, ""), method, params)
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
            text = read.map_err(|error| {
                let file = file.display();
                Refused(format!("Couldn't open '{file}' for reading.\n{error}\nCommand failed."))
            })?;
        }
        None => {
            io::stdin().read_to_string(&mut text)?;
        }
    }
    Ok(text)
}

/// What the service refuses, as dmsetup puts it.
fn refused(ioctl: &str, who: &str, error: ClientError) -> Box<dyn Error> {
    if is_gone(&error) {
        return no_device(ioctl, who);
    }
    let Some(rpc) = error.rpc() else { return Box::new(error) };
    let (text, detail) = rpc.message.split_once(": ").unwrap_or((&rpc.message, ""));
    // dmsetup creates, loads and resumes one after the other; a table is refused when it is loaded.
    let ioctl = if detail.contains(": table: ") { "reload" } else { ioctl };
    Box::new(Refused(format!(
        "device-mapper: {ioctl} ioctl on {who} failed: {text}\n{detail}\nCommand failed."
    )))
}

/// There is no such device.
fn no_device(ioctl: &str, who: &str) -> Box<dyn Error> {
    let text = match ioctl {
        "status" | "info" => "Device does not exist.".to_owned(),
        _ => format!("device-mapper: {ioctl} ioctl on {who} failed: No such device or address"),
    };
    Box::new(Refused(format!("{text}\nCommand failed.")))
}
