//! A real Linux kernel as the peer of tests: a Debian kernel in QEMU that runs a script.
//!
//! The machines that tests run on have no dm, md or NVMe in their kernel, and no test should need a
//! kernel of one's own to fail safely. A guest takes 3 to 5 s from start to end. README.md tells how to
//! write a test.
//!
//! ```text
//!   tools   what of Debian's packages is there
//!     |
//!   base    kernel and initramfs, made once, kept below target/      cpio
//!     |                                                               |
//!   guest   one boot: script, files, disks, folder, network  ---------+
//! ```
//!
//! Where the tools are not installed, [`lab`] says what is missing and tests are skipped; with
//! `RAID456_REQUIRE_E2E=1` that is a failure. Only tests depend on this crate, so whatever goes wrong
//! here is a panic and not an error.
//!
//! Not here: anything of ours. The tests beside this crate bring it.

#![forbid(unsafe_code)]

mod base;
mod cpio;
mod guest;
mod tools;

pub use guest::{End, Guest, Outcome, Running};

use base::Base;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tools::Tools;

/// What guests are started with.
#[derive(Debug)]
pub struct Lab {
    pub(crate) qemu: PathBuf,
    pub(crate) base: Base,
    config: PathBuf,
}

impl Lab {
    /// Whether the kernel is built with an option like `CONFIG_NVME_HOST_AUTH`, or has it as a module.
    #[must_use]
    pub fn kernel_has(&self, option: &str) -> bool {
        let text = std::fs::read_to_string(&self.config).unwrap_or_default();
        text.lines().any(|line| {
            line.strip_prefix(option).is_some_and(|value| value == "=y" || value == "=m")
        })
    }
}

/// The lab, made at the first call. `cache` is where kernel and initramfs are kept: a test passes
/// `env!("CARGO_TARGET_TMPDIR")`. `None`, and a line that says why, if this machine cannot have one.
///
/// # Panics
/// If this machine cannot have one although `RAID456_REQUIRE_E2E` is 1.
#[must_use]
pub fn lab(cache: &str) -> Option<&'static Lab> {
    static LAB: OnceLock<Result<Lab, String>> = OnceLock::new();
    let reason = match LAB.get_or_init(|| make(Path::new(cache))) {
        Ok(lab) => return Some(lab),
        Err(reason) => reason,
    };
    let required = std::env::var("RAID456_REQUIRE_E2E").is_ok_and(|value| value == "1");
    assert!(!required, "no guest with a Linux kernel: {reason}");
    println!("skipped, no guest with a Linux kernel: {reason}");
    None
}

fn make(cache: &Path) -> Result<Lab, String> {
    let tools = Tools::find()?;
    let base = Base::make(&tools, cache).map_err(|error| error.to_string())?;
    Ok(Lab { qemu: tools.qemu, base, config: tools.config })
}
