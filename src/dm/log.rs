//! The dirty-log arguments with which tables of `raid45` and `raid456` begin, and the log's words in
//! status lines (linux-raid.md, 3.1 and 3.5).
//!
//! ```text
//!   core <#params> <region_size> [sync|nosync]                   INFO  1 core
//!   disk <#params> <log_dev> <region_size> [sync|nosync]         INFO  3 disk <log_dev> <A|D|F>
//!        \---------------- #params words -------------/
//! ```
//!
//! A region is a power of two of sectors, at least 2, and at most what the log covers: a component, not
//! the array. `sync` and `nosync` act at every resume, so whoever owns the table drops them after the first.
//!
//! Not here: the log itself (`raid::dirty_log`); type `userspace`, which needs a daemon of its own.

use std::fmt;

use raid::dirty_log::{DiskArea, LogHealth, LogType, SyncOption, status_info, status_table};

use super::device::{DeviceName, Devices};
use super::words::{Words, unsigned};

/// A dirty log as a table asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpec {
    /// Where its bits are.
    pub place: LogPlace,
    /// Sectors of a region.
    pub region_sectors: u32,
    /// `sync`, `nosync`, or what the log says.
    pub sync: SyncOption,
}

/// Where the bits of a log are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPlace {
    /// In memory.
    Core,
    /// On a device.
    Disk {
        /// The device.
        device: DeviceName,
    },
}

impl LogSpec {
    /// Reads the parameters of a log of type `kind` over `sectors` sectors of a component.
    ///
    /// # Errors
    ///
    /// What dm-log says in the kernel's log; the target has a sentence of its own.
    pub fn parse(
        kind: &str,
        params: Words<'_>,
        sectors: u64,
        devices: &dyn Devices,
    ) -> Result<Self, String> {
        match kind {
            "core" => Self::context(params, sectors, |_| Ok(LogPlace::Core)),
            "disk" => {
                if !(2..=3).contains(&params.len()) {
                    return Err(told("wrong number of arguments to disk dirty region log"));
                }
                let (mut params, mut device) = (params, None);
                if let Some(name) = params.shift() {
                    device = devices.find(name);
                }
                let Some(device) = device else {
                    return Err(told("the log device is not there"));
                };
                Self::context(params, sectors, |regions| {
                    let block_bytes = device.block_bytes;
                    let need = if block_bytes.is_power_of_two() && block_bytes >= 512 {
                        DiskArea::new(block_bytes, regions).area_bytes()
                    } else {
                        u64::MAX
                    };
                    if need.div_ceil(512) > device.sectors {
                        let name = &device.name;
                        let problem = format!("log device {name} too small: need {need} bytes");
                        return Err(told(&problem));
                    }
                    Ok(LogPlace::Disk { device: device.name })
                })
            }
            other => Err(told(&format!("Module for logging type \"{other}\" not found."))),
        }
    }

    /// What both types have in common, in dm-log's order.
    fn context(
        mut params: Words<'_>,
        sectors: u64,
        place: impl FnOnce(u64) -> Result<LogPlace, String>,
    ) -> Result<Self, String> {
        let wrong_number = || told("wrong number of arguments to dirty region log");
        let count = params.len();
        let region = params.shift().filter(|_| count <= 2).ok_or_else(wrong_number)?;
        let sync = match params.shift() {
            None => SyncOption::Default,
            Some("sync") => SyncOption::Sync,
            Some("nosync") => SyncOption::NoSync,
            Some(other) => {
                let problem = format!("unrecognised sync argument to dirty region log: {other}");
                return Err(told(&problem));
            }
        };
        let fits = |size: &u64| *size >= 2 && *size <= sectors && size.is_power_of_two();
        let size = unsigned(region).filter(fits).and_then(|size| u32::try_from(size).ok());
        let region_sectors = size.ok_or_else(|| told(&format!("invalid region size {region}")))?;
        let place = place(sectors.div_ceil(u64::from(region_sectors)))?;
        Ok(Self { place, region_sectors, sync })
    }

    /// Its device, if it has one.
    #[must_use]
    pub fn device(&self) -> Option<&DeviceName> {
        match &self.place {
            LogPlace::Core => None,
            LogPlace::Disk { device } => Some(device),
        }
    }

    /// What `dmsetup status` shows of it.
    pub fn info(&self, health: LogHealth) -> impl fmt::Display {
        let device = self.device().map(DeviceName::to_string);
        fmt::from_fn(move |f| write!(f, "{}", status_info(log_type(device.as_deref()), health)))
    }
}

/// What `dmsetup table` shows of it, with a space at the end.
impl fmt::Display for LogSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.device().map(DeviceName::to_string);
        let log = log_type(device.as_deref());
        status_table(log, u64::from(self.region_sectors), self.sync).fmt(f)
    }
}

fn log_type(device: Option<&str>) -> LogType<'_> {
    match device {
        None => LogType::Core,
        Some(device) => LogType::Disk { device },
    }
}

fn told(problem: &str) -> String {
    format!("dirty region log: {problem}")
}
