//! Names of devices in tables, and the one question that a table asks about them.
//!
//! ```text
//!   /dev/ram3  --find-->  Device { name: 1:3, sectors: 32768, .. }     in a parsed table, and printed
//! ```
//!
//! A name is what the caller knows devices by: a bdev's name, a UUID, `major:minor`. It may be given in
//! several ways and is printed in one, the one in [`Device::name`], by which the caller must find the
//! device again. That is also how one device in two places is found out.
//!
//! Not here: bdevs, and who uses them (`control`).

use std::fmt;

use super::words::quoted;

/// A device as tables name it: not empty, no control characters, and not `-`, which stands for none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName(String);

impl DeviceName {
    /// The name, if it can be one.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let is_name = !name.is_empty() && name != NONE && !name.contains(char::is_control);
        is_name.then(|| Self(name.to_owned()))
    }

    /// The name, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As it stands in a table: blanks and backslashes have a backslash before them.
impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        quoted(&self.0).fmt(f)
    }
}

/// What a table has to know of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its one canonical name.
    pub name: DeviceName,
    /// Its size.
    pub sectors: u64,
    /// Its logical block.
    pub block_bytes: u32,
    /// Whether it does nothing but fail: a mapped device of `error` targets, which stands for a member
    /// that is missing.
    pub fails: bool,
}

/// Where a table's devices are looked up.
pub trait Devices {
    /// The device of that name, if it is there.
    fn find(&self, name: &str) -> Option<Device>;
}

impl<F: Fn(&str) -> Option<Device>> Devices for F {
    fn find(&self, name: &str) -> Option<Device> {
        self(name)
    }
}

/// The word for no device.
pub(super) const NONE: &str = "-";

/// The name, or `-`.
pub(super) fn or_none(name: Option<&DeviceName>) -> impl fmt::Display {
    fmt::from_fn(move |f| match name {
        Some(name) => write!(f, "{name}"),
        None => f.write_str(NONE),
    })
}

/// A device that is named twice, if there is one.
pub(super) fn named_twice<'a>(
    names: impl Iterator<Item = &'a DeviceName>,
) -> Option<&'a DeviceName> {
    let mut names: Vec<&DeviceName> = names.collect();
    names.sort();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}
