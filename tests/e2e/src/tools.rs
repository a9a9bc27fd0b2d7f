//! The tools of this machine that a guest is made of, and the Debian packages that bring them.
//!
//! ```text
//!   qemu-system-x86    runs the guest               busybox-static   its shell and small programs
//!   linux-image-amd64  its kernel and modules       kmod             loads modules
//!   dmsetup mdadm nvme-cli e2fsprogs xfsprogs       what tests drive the kernel with
//!   xz-utils zstd                                   unpack kernel and modules
//! ```
//!
//! The kernel is this machine's newest one, or the newest one below the folder that `RAID456_E2E_ROOT` names:
//! a package that is unpacked there, and not installed.
//!
//! Not here: making anything of them (`base`).

use std::fs;
use std::path::{Path, PathBuf};

/// Programs that go into the guest, by name and package.
const GUEST_PROGRAMS: [(&str, &str); 9] = [
    ("busybox", "busybox-static"),
    ("kmod", "kmod"),
    ("dmsetup", "dmsetup"),
    ("mdadm", "mdadm"),
    ("nvme", "nvme-cli"),
    ("mkfs.ext4", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("xfs_repair", "xfsprogs"),
];

const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// What was found.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) qemu: PathBuf,
    /// The packed kernel.
    pub(crate) kernel: PathBuf,
    /// What it is built with.
    pub(crate) config: PathBuf,
    /// Its modules: `lib/modules/<release>`.
    pub(crate) modules: PathBuf,
    /// Release of the kernel.
    pub(crate) release: String,
    /// Programs for the guest; busybox is the first.
    pub(crate) programs: Vec<PathBuf>,
}

impl Tools {
    /// Looks for all of them.
    ///
    /// # Errors
    /// Names the Debian packages that are missing.
    pub(crate) fn find() -> Result<Self, String> {
        let mut missing = Vec::new();
        let mut need = |name: &str, package: &str| {
            let found = PLACES.iter().map(|place| Path::new(place).join(name)).find(|p| p.exists());
            if found.is_none() {
                missing.push(package.to_owned());
            }
            found.unwrap_or_default()
        };
        let qemu = need("qemu-system-x86_64", "qemu-system-x86");
        let programs = GUEST_PROGRAMS.map(|(name, package)| need(name, package)).to_vec();
        need("xz", "xz-utils");
        need("zstd", "zstd");
        need("ldd", "libc-bin");
        let root = std::env::var_os("RAID456_E2E_ROOT").map_or_else(|| "/".into(), PathBuf::from);
        let modules = ["lib/modules", "usr/lib/modules"].map(|folder| root.join(folder));
        let modules = modules.into_iter().find(|folder| folder.exists()).unwrap_or_default();
        let release = newest_release(&root, &modules);
        if release.is_none() {
            missing.push("linux-image-amd64".to_owned());
        }
        match release {
            Some(release) if missing.is_empty() => Ok(Self {
                qemu,
                kernel: root.join(format!("boot/vmlinuz-{release}")),
                config: root.join(format!("boot/config-{release}")),
                modules: modules.join(&release),
                release,
                programs,
            }),
            _ => Err(format!("not installed: {} (Debian packages)", missing.join(" "))),
        }
    }
}

/// The newest kernel for 64-bit PCs that is there with its modules.
fn newest_release(root: &Path, modules: &Path) -> Option<String> {
    let entries = fs::read_dir(modules).ok()?.flatten();
    let releases = entries.filter_map(|entry| entry.file_name().into_string().ok());
    releases
        .filter(|release| release.ends_with("-amd64"))
        .filter(|release| root.join(format!("boot/vmlinuz-{release}")).exists())
        .filter(|release| modules.join(release).join("modules.dep.bin").exists())
        .max_by_key(|release| numbers(release))
}

/// The numbers in a release, to compare by.
fn numbers(release: &str) -> Vec<u32> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert!(numbers("6.12.9-amd64") > numbers("6.1.0-56-amd64"));
        assert!(numbers("6.1.0-56-amd64") > numbers("6.1.0-9-amd64"));
    }
}
