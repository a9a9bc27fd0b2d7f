//! Results of the methods of mapped devices.
//!
//! Not here: parameters (`params::dm`).

use serde::{Deserialize, Serialize};

/// `dm_info`: a mapped device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmDeviceInfo {
    /// Its name.
    pub name: String,
    /// Device-mapper's UUID; empty if it has none.
    pub uuid: String,
    /// As Linux numbers block devices: always 253.
    pub major: u32,
    /// Its number among mapped devices.
    pub minor: u32,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Whether nothing may be written to it.
    pub readonly: bool,
    /// Whether it has an active table.
    pub live_table: bool,
    /// Whether it has an inactive one.
    pub inactive_table: bool,
    /// Whether it goes when nobody uses it any more.
    pub deferred_remove: bool,
    /// Who uses it.
    pub open_count: u32,
    /// Its event number.
    pub event_nr: u32,
    /// Targets of the active table.
    pub target_count: u32,
}

/// `dm_status`, `dm_table`: a mapped device and its targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmTargetsOf {
    /// Its name.
    pub name: String,
    /// The targets in order; none if there is no such table.
    pub targets: Vec<DmTarget>,
    /// How requests to it are best cut, and whether it has as many as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<DmIo>,
}

/// A target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmTarget {
    /// First sector.
    pub start: u64,
    /// Sectors.
    pub length: u64,
    /// Its type.
    pub target: String,
    /// What dmsetup prints behind that.
    pub text: String,
}

/// How requests are best cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmIo {
    /// Least that is not wasteful, in bytes; 0: as the devices below want it.
    pub minimum_bytes: u32,
    /// Best, in bytes; likewise.
    pub optimal_bytes: u64,
    /// Requests that wait because the device is suspended.
    pub queued: u64,
    /// Longest that a request has waited for the last suspend to end, in microseconds.
    #[serde(default)]
    pub queued_longest_us: u64,
    /// Whether more requests would only wait: the device is suspended, an array in it holds writes back or
    /// has its stripe cache full, or that is so of a device that it is made of.
    pub congested: bool,
}

/// `dm_deps`: a mapped device and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmDepsOf {
    /// Its name.
    pub name: String,
    /// Names of bdevs.
    pub devices: Vec<String>,
}

/// `dm_ls`: a mapped device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmListed {
    /// Its name.
    pub name: String,
    /// Always 253.
    pub major: u32,
    /// Its number.
    pub minor: u32,
}

/// `dm_targets`: a type of target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmTargetVersion {
    /// Its name.
    pub name: String,
    /// Major, minor, patch level.
    pub version: [u32; 3],
}
