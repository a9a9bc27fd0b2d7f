//! Writes what the Linux kernel unpacks as its first root file system: cpio archives in format newc.
//!
//! ```text
//!   archive  | entry | entry | ... | entry TRAILER!!! |        several archives in a row are one
//!   entry    | 070701, 13 numbers of 8 hex digits | name, NUL | pad to 4 | contents | pad to 4 |
//! ```
//!
//! Invariant: parents come before what lies in them, and each once; [`Archive`] makes them.
//!
//! Not here: owners, times and devices. Everything is root's and of 1970.

use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;

/// An archive under construction.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// A directory, with those above it.
    pub(crate) fn directory(&mut self, path: &str) {
        if path.is_empty() || self.directories.contains(path) {
            return;
        }
        self.parent(path);
        self.directories.insert(path.to_owned());
        self.entry(path, DIRECTORY, &[]);
    }

    /// A file.
    pub(crate) fn file(&mut self, path: &str, contents: &[u8]) {
        self.parent(path);
        self.entry(path, FILE, contents);
    }

    /// A file that can be run.
    pub(crate) fn program(&mut self, path: &str, contents: &[u8]) {
        self.parent(path);
        self.entry(path, PROGRAM, contents);
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.parent(path);
        self.entry(path, LINK, target.as_bytes());
    }

    /// The archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(contents.len()).expect("files of an initramfs are small");
        let name_size = u32::try_from(path.len() + 1).expect("so are names");
        // inode, mode, user, group, links, time, size, device numbers (4), name size, checksum
        let numbers = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        for number in numbers {
            self.bytes.extend(format!("{number:08x}").bytes());
        }
        self.bytes.extend(path.bytes().chain([0]));
        self.pad();
        self.bytes.extend(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_byte_for_byte() {
        let mut archive = Archive::default();
        archive.file("a/b", b"hello");
        archive.link("a/c", "b");
        let zeros = "00000000".repeat(4);
        let directory = format!(
            "070701{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{zeros}{:08x}{:08x}a\0",
            1, 0o040_755, 0, 0, 1, 0, 0, 2, 0
        );
        let text = String::from_utf8(archive.finish()).unwrap();
        assert_eq!(text.len() % 4, 0);
        assert!(text.starts_with(&directory), "{text}");
        assert_eq!(text.matches("070701").count(), 4, "a, a/b, a/c and the trailer");
        assert!(text.contains("a/b\0\0\0hello\0\0\x00070701"), "{text}");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"), "{text}");
    }
}
