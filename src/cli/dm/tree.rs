//! `ls --tree`: devices with what they are made of below them, as dmsetup draws it.
//!
//! ```text
//!   top (253:4)                      1:4, inverted
//!    `-over (253:1)                   `-over (253:1)
//!       `- (1:4)                         `-top (253:4)
//! ```
//!
//! Lines are drawn as the locale has it, UTF-8 or ASCII, as with dmsetup.
//!
//! Not here: dmsetup's `compact`.

use std::fmt::Write as _;

use rpc::results::{DmDepsOf, DmDeviceInfo};

use super::Refused;
use super::print::NO_DEVICES;

/// How a tree is drawn, and what stands behind the names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TreeOptions {
    ascii: bool,
    inverted: bool,
    no_device: bool,
    blkdevname: bool,
    active: bool,
    open: bool,
    rw: bool,
    uuid: bool,
}

impl TreeOptions {
    /// dmsetup's words, with commas between them.
    pub(super) fn parse(text: &str) -> Result<Self, Refused> {
        // What a program asks for its locale, in the order of setlocale(3).
        let variables = ["LC_ALL", "LC_CTYPE", "LANG"];
        let locale =
            variables.iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
        let mut options = Self { ascii: !is_utf8(&locale.unwrap_or_default()), ..Self::default() };
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match word {
                "ascii" => options.ascii = true,
                "utf" | "vt100" => options.ascii = false,
                "inverted" => options.inverted = true,
                "device" => options.no_device = false,
                "nodevice" => options.no_device = true,
                "blkdevname" => options.blkdevname = true,
                "active" => options.active = true,
                "open" => options.open = true,
                "rw" => options.rw = true,
                "uuid" => options.uuid = true,
                // Lines are never cut off.
                "notrunc" => {}
                other => {
                    return Err(Refused::usage(&format!("Tree options not recognised: {other}.")));
                }
            }
        }
        Ok(options)
    }

    fn label(self, name: &str, info: Option<&DmDeviceInfo>) -> String {
        let mut label = String::new();
        if info.is_some() {
            label.push_str(name);
        }
        if self.blkdevname {
            let _ = match info {
                // Without a table there is no block device.
                Some(info) if info.live_table || info.inactive_table => {
                    write!(label, " <dm-{}>", info.minor)
                }
                Some(_) => Ok(()),
                None => write!(label, " <{name}>"),
            };
        }
        if !self.no_device {
            let _ = match info {
                Some(info) => write!(label, " ({}:{})", info.major, info.minor),
                None => write!(label, " ({name})"),
            };
        }
        let words = info.map(|info| self.words(info)).unwrap_or_default();
        if !words.is_empty() {
            let _ = write!(label, " [{}]", words.join(", "));
        }
        label
    }

    fn words(self, info: &DmDeviceInfo) -> Vec<String> {
        let active = if info.suspended { "SUSPENDED" } else { "ACTIVE" };
        let rw = if info.readonly { "RO" } else { "RW" };
        [
            self.active.then(|| active.to_owned()),
            self.rw.then(|| rw.to_owned()),
            self.open.then(|| info.open_count.to_string()),
            self.uuid.then(|| info.uuid.clone()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Draws the tree.
pub(super) fn print(infos: &[DmDeviceInfo], deps: &[DmDepsOf], options: TreeOptions) -> String {
    if infos.is_empty() {
        return NO_DEVICES.to_owned();
    }
    let forest = Forest { infos, deps, options };
    let mut text = String::new();
    for root in forest.roots() {
        let _ = writeln!(text, "{}", options.label(root, forest.info(root)));
        forest.branch(root, " ", &mut text);
    }
    text
}

struct Forest<'a> {
    infos: &'a [DmDeviceInfo],
    deps: &'a [DmDepsOf],
    options: TreeOptions,
}

impl<'a> Forest<'a> {
    fn info(&self, name: &str) -> Option<&'a DmDeviceInfo> {
        self.infos.iter().find(|info| info.name == name)
    }

    fn made_of(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let device = self.deps.iter().find(|device| device.name == name);
        // A kernel has the last one that a table named in front.
        let parts = device.into_iter().flat_map(|device| device.devices.iter().rev());
        parts.map(String::as_str)
    }

    fn users(&self, name: &str) -> Vec<&'a str> {
        let users = self.deps.iter().filter(|device| device.devices.iter().any(|d| d == name));
        users.map(|device| device.name.as_str()).collect()
    }

    fn roots(&self) -> Vec<&'a str> {
        let mut roots: Vec<&str> = Vec::new();
        for info in self.infos {
            let bottoms = match self.options.inverted {
                false if self.users(&info.name).is_empty() => vec![info.name.as_str()],
                false => Vec::new(),
                true if self.made_of(&info.name).next().is_none() => vec![info.name.as_str()],
                true => self.made_of(&info.name).filter(|part| self.info(part).is_none()).collect(),
            };
            for bottom in bottoms {
                if !roots.contains(&bottom) {
                    roots.push(bottom);
                }
            }
        }
        roots
    }

    fn children(&self, name: &str) -> Vec<&'a str> {
        match (self.options.inverted, self.options.no_device) {
            (true, _) => self.users(name),
            (false, false) => self.made_of(name).collect(),
            (false, true) => self.made_of(name).filter(|part| self.info(part).is_some()).collect(),
        }
    }

    fn branch(&self, name: &str, before: &str, text: &mut String) {
        let [tee, corner, bar] = match self.options.ascii {
            true => ["|-", "`-", "|  "],
            false => ["├─", "└─", "│  "],
        };
        let children = self.children(name);
        for (number, child) in children.iter().enumerate() {
            let last = number + 1 == children.len();
            let label = self.options.label(child, self.info(child));
            let _ = writeln!(text, "{before}{}{label}", if last { corner } else { tee });
            let further = format!("{before}{}", if last { "   " } else { bar });
            self.branch(child, &further, text);
        }
    }
}
