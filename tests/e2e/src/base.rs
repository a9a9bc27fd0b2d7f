//! Makes the two files that every guest boots from, once, and keeps them below `target/`.
//!
//! ```text
//!   /boot/vmlinuz-R    setup | packed kernel  --unpack-->  vmlinux     QEMU boots it without the 10 s
//!                                                                      that unpacking takes in there
//!   busybox, dmsetup, ... their libraries     --pack---->  base.cpio   and /init
//!   /lib/modules/R: those of MODULES and what they need
//! ```
//!
//! The folder is named after what went in: other tools or another `init.sh` make another one. Files are
//! made under another name and renamed when they are whole, so tests of several processes may meet here.
//!
//! Not here: what differs from guest to guest (`guest`).

use crate::cpio::Archive;
use crate::tools::Tools;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

const INIT: &str = include_str!("init.sh");

/// Modules that a guest can load.
const MODULES: [&str; 33] = [
    // Devices of QEMU.
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "9p",
    "9pnet_virtio",
    // Block devices and what dm and md are made of.
    "brd",
    "loop",
    "dm-mod",
    "dm-delay",
    "dm-flakey",
    "dm-log",
    "dm-mirror",
    "dm-raid",
    "dm-region-hash",
    "dm-snapshot",
    "dm-zero",
    "raid456",
    // NVMe over TCP, both sides.
    "nvme",
    "nvme-tcp",
    "nvmet",
    "nvmet-tcp",
    // What is asked for by name at run time.
    "crc32c_generic",
    "crc32c-intel",
    "libcrc32c",
    "nvme-auth",
    "dh_generic",
    "hmac",
    "sha256_generic",
    "sha256-ssse3",
    "sha512_generic",
    "sha512-ssse3",
    "ext4",
    "xfs",
];

/// Indexes of modules that `modprobe` reads.
const INDEXES: [&str; 9] = [
    "modules.alias.bin",
    "modules.builtin",
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.dep",
    "modules.dep.bin",
    "modules.order",
    "modules.softdep",
    "modules.symbols.bin",
];

/// What guests boot from.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
}

impl Base {
    /// The files, made if they are not there.
    pub(crate) fn make(tools: &Tools, cache: &Path) -> io::Result<Self> {
        let folder = cache.join(format!("guest-{}-{:016x}", tools.release, fingerprint(tools)?));
        let base = Self { kernel: folder.join("vmlinux"), initramfs: folder.join("base.cpio") };
        fs::create_dir_all(&folder)?;
        if !base.kernel.exists() {
            put(&base.kernel, &unpack_kernel(&tools.kernel)?)?;
        }
        if !base.initramfs.exists() {
            put(&base.initramfs, &pack(tools)?)?;
        }
        Ok(base)
    }
}

/// Changes when what is packed does.
fn fingerprint(tools: &Tools) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    (INIT, MODULES, INDEXES).hash(&mut hasher);
    for file in tools.programs.iter().chain([&tools.kernel]) {
        let metadata = fs::metadata(file)?;
        let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        (file, metadata.len(), changed).hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// Writes a file that is either whole or not there.
fn put(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().expect("a file in the cache");
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(contents)?;
    file.persist(path)?;
    Ok(())
}

/// The ELF kernel inside a bzImage (Documentation/x86/boot.rst: `setup_sects`, `payload_offset`,
/// `payload_length`).
fn unpack_kernel(packed: &Path) -> io::Result<Vec<u8>> {
    let image = fs::read(packed)?;
    let bad = |what: &str| io::Error::other(format!("{}: {what}", packed.display()));
    let number = |at: usize| {
        let bytes = image.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(|bytes| u32::from_le_bytes(bytes) as usize).ok_or_else(|| bad("not a bzImage"))
    };
    let setup_sectors = match number(0x1f1)? & 0xff {
        0 => 4,
        sectors => sectors,
    };
    let start = (setup_sectors + 1) * 512 + number(0x248)?;
    let payload = image.get(start..start + number(0x24c)?).ok_or_else(|| bad("cut short"))?;
    let unpacker: &[&str] = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => &["xz", "-dc", "--single-stream"],
        [0x28, 0xb5, 0x2f, 0xfd, ..] => &["zstd", "-dcq"],
        [0x1f, 0x8b, ..] => &["gzip", "-dcq"],
        _ => return Err(bad("packed in a way that is neither xz, zstd nor gzip")),
    };
    let mut input = tempfile::tempfile()?;
    input.write_all(payload)?;
    io::Seek::rewind(&mut input)?;
    // What follows on the payload makes some of them complain; what counts is what came out.
    let output = Command::new(unpacker[0]).args(&unpacker[1..]).stdin(input).output()?;
    if !output.stdout.starts_with(b"\x7fELF") {
        return Err(bad(&format!("no kernel in it: {}", String::from_utf8_lossy(&output.stderr))));
    }
    Ok(output.stdout)
}

/// The root file system of every guest.
fn pack(tools: &Tools) -> io::Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["bin", "sbin", "dev", "proc", "sys", "run", "tmp", "etc/nvme", "share", "job"]
    {
        archive.directory(directory);
    }
    archive.program("init", INIT.as_bytes());
    archive.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n");
    let mut libraries = BTreeSet::new();
    for (index, program) in tools.programs.iter().enumerate() {
        let name = program.file_name().expect("a program").to_string_lossy();
        let folder = if index == 0 { "bin" } else { "sbin" };
        archive.program(&format!("{folder}/{name}"), &fs::read(program)?);
        libraries.extend(libraries_of(program)?);
    }
    for name in ["modprobe", "insmod", "rmmod", "lsmod", "modinfo"] {
        archive.link(&format!("sbin/{name}"), "kmod");
    }
    for library in libraries {
        archive.program(library.trim_start_matches('/'), &fs::read(&library)?);
    }
    let folder = format!("lib/modules/{}", tools.release);
    for index in INDEXES {
        if let Ok(contents) = fs::read(tools.modules.join(index)) {
            archive.file(&format!("{folder}/{index}"), &contents);
        }
    }
    let dependencies = fs::read_to_string(tools.modules.join("modules.dep"))?;
    for module in with_dependencies(&MODULES, &dependencies) {
        archive.file(&format!("{folder}/{module}"), &fs::read(tools.modules.join(module))?);
    }
    Ok(archive.finish())
}

/// The shared libraries of a program, with the loader; none if it is static.
fn libraries_of(program: &Path) -> io::Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).stderr(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect())
}

/// Files of modules and of all that they need, from the text of `modules.dep`: one line a module,
/// `file: file of one it needs, directly or not, ...`. Modules that are not in it are built in.
fn with_dependencies<'a>(names: &[&str], modules_dep: &'a str) -> BTreeSet<&'a str> {
    let lines = modules_dep.lines().filter_map(|line| line.split_once(':'));
    let by_name: BTreeMap<String, (&str, &str)> =
        lines.map(|(file, needs)| (module_name(file), (file, needs))).collect();
    let found = names.iter().filter_map(|name| by_name.get(&name.replace('-', "_")));
    found.flat_map(|(file, needs)| needs.split_whitespace().chain([*file])).collect()
}

/// `kernel/drivers/md/dm-raid.ko.xz` is `dm_raid`.
fn module_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split(".ko").next().unwrap_or(name).replace('-', "_")
}

/// A file of the cache, for reading.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_with_what_they_need() {
        let text = "kernel/md/dm-raid.ko: kernel/md/raid456.ko kernel/md/md-mod.ko\n\
                    kernel/md/raid456.ko.xz: kernel/md/md-mod.ko\n\
                    kernel/md/md-mod.ko:\nkernel/other.ko: kernel/md/md-mod.ko\n";
        let found: Vec<&str> =
            with_dependencies(&["dm_raid", "builtin"], text).into_iter().collect();
        assert_eq!(found, ["kernel/md/dm-raid.ko", "kernel/md/md-mod.ko", "kernel/md/raid456.ko"]);
        assert_eq!(with_dependencies(&["raid456"], text).len(), 2);
    }
}
