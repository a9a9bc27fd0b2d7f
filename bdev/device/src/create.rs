//! Why a bdev could not be created, and the checks that all kinds share.
//!
//! Every variant names the object, the value and what would be right; [`CreateError::errno`]
//! gives the number that SPDK answers with for the same mistake.
//!
//! Not here: opening files (`files/`) and mapping memory (`malloc/memory.rs`), which build these
//! errors.

use std::io;
use std::path::PathBuf;

use uuid::Uuid;

use crate::limits::BLOCK_SIZES_BYTES;

/// The UUID of a new bdev: the one that was asked for, else one that is drawn. The nil UUID asks for none, as
/// with SPDK: many bdevs would have it, and it tells none of them from the others.
#[must_use]
pub fn uuid_or_new(asked: Option<Uuid>) -> Uuid {
    asked.filter(|uuid| !uuid.is_nil()).unwrap_or_else(Uuid::new_v4)
}

/// Why a bdev could not be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A block size that no part of the project can work with.
    #[error("bdev {name}: block size {block_size_bytes} is not supported: give 512 or 4096")]
    BlockSize {
        /// Name of the bdev.
        name: String,
        /// The refused value.
        block_size_bytes: u32,
    },
    /// A regular file has no block size of its own.
    #[error(
        "bdev {name}: {filename} is a regular file, which has no block size of its own: give block_size 512 or 4096",
        filename = filename.display()
    )]
    BlockSizeMissing {
        /// Name of the bdev.
        name: String,
        /// The file.
        filename: PathBuf,
    },
    /// Blocks smaller than the device's own cannot be written one by one.
    #[error(
        "bdev {name}: block size {block_size_bytes} is not a multiple of the logical block size {device_bytes} of {filename}: give {device_bytes} or a multiple of it",
        filename = filename.display()
    )]
    BlockSizeBelowDevice {
        /// Name of the bdev.
        name: String,
        /// The device.
        filename: PathBuf,
        /// The refused value.
        block_size_bytes: u32,
        /// Logical block size of the device.
        device_bytes: u32,
    },
    /// A device without blocks.
    #[error("bdev {name}: num_blocks is 0: give at least 1")]
    NoBlocks {
        /// Name of the bdev.
        name: String,
    },
    /// A size that does not fit a signed 64-bit file offset.
    #[error(
        "bdev {name}: {num_blocks} blocks of {block_size_bytes} bytes are more than 2^63 bytes: give fewer blocks"
    )]
    TooLarge {
        /// Name of the bdev.
        name: String,
        /// The refused value.
        num_blocks: u64,
        /// Bytes in a block.
        block_size_bytes: u32,
    },
    /// Memory for a RAM disk.
    #[error(
        "bdev {name}: {len_bytes} bytes of memory could not be mapped: {source}; give fewer blocks"
    )]
    Memory {
        /// Name of the bdev.
        name: String,
        /// Bytes that were asked for.
        len_bytes: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file could not be opened.
    #[error("bdev {name}: {filename} could not be opened: {source}", filename = filename.display())]
    Open {
        /// Name of the bdev.
        name: String,
        /// The file.
        filename: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file could not be asked about itself.
    #[error(
        "bdev {name}: {what} of {filename} could not be read: {source}",
        filename = filename.display()
    )]
    Inspect {
        /// Name of the bdev.
        name: String,
        /// The file.
        filename: PathBuf,
        /// What was asked.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another bdev of this process writes to the file.
    #[error(
        "bdev {name}: {filename} is still that of bdev {holder}: use that one, or delete it and wait until its last request has ended",
        filename = filename.display()
    )]
    FileInUse {
        /// Name of the bdev.
        name: String,
        /// The file.
        filename: PathBuf,
        /// The bdev that has it.
        holder: String,
    },
    /// Somebody else writes to the file, or may still.
    #[error(
        "bdev {name}: {filename} is locked: another process writes to it, or the kernel still has requests of one that has ended: stop that process (fuser shows it), or wait until they have ended",
        filename = filename.display()
    )]
    FileLocked {
        /// Name of the bdev.
        name: String,
        /// The file.
        filename: PathBuf,
    },
    /// The file could not be locked, though its file system has locks.
    #[error("bdev {name}: {filename} could not be locked: {source}", filename = filename.display())]
    Lock {
        /// Name of the bdev.
        name: String,
        /// The file.
        filename: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Neither a regular file nor a block device.
    #[error(
        "bdev {name}: {filename} is a {kind}: give a regular file or a block device",
        filename = filename.display()
    )]
    FileKind {
        /// Name of the bdev.
        name: String,
        /// The file.
        filename: PathBuf,
        /// What it is instead.
        kind: &'static str,
    },
    /// A file that does not hold a whole number of blocks, or none at all.
    #[error(
        "bdev {name}: the size of {filename}, {size_bytes} bytes, is not a multiple of the block size {block_size_bytes}: give another block size, truncate it to {below_bytes} or extend it to {above_bytes}",
        filename = filename.display(),
        below_bytes = size_bytes - size_bytes % u64::from(*block_size_bytes),
        above_bytes = size_bytes - size_bytes % u64::from(*block_size_bytes)
            + u64::from(*block_size_bytes)
    )]
    FileSize {
        /// Name of the bdev.
        name: String,
        /// The file.
        filename: PathBuf,
        /// Its size.
        size_bytes: u64,
        /// Bytes in a block.
        block_size_bytes: u32,
    },
    /// An empty file.
    #[error(
        "bdev {name}: {filename} is empty: extend it to at least {block_size_bytes} bytes",
        filename = filename.display()
    )]
    FileEmpty {
        /// Name of the bdev.
        name: String,
        /// The file.
        filename: PathBuf,
        /// Bytes in a block.
        block_size_bytes: u32,
    },
}

impl CreateError {
    /// The number that SPDK would answer with, negative as there: -2 (`ENOENT`) for a missing
    /// file, -22 (`EINVAL`) for a wrong parameter; -16 (`EBUSY`) for a file that another process has and
    /// -1 (`EPERM`) for one that another bdev has, both of which SPDK would open all the same.
    pub fn errno(&self) -> i32 {
        match self {
            Self::BlockSize { .. }
            | Self::BlockSizeMissing { .. }
            | Self::BlockSizeBelowDevice { .. }
            | Self::NoBlocks { .. }
            | Self::TooLarge { .. }
            | Self::FileKind { .. }
            | Self::FileSize { .. }
            | Self::FileEmpty { .. } => -libc::EINVAL,
            Self::Memory { .. } => -libc::ENOMEM,
            Self::FileLocked { .. } => -libc::EBUSY,
            // As for a bdev that is claimed.
            Self::FileInUse { .. } => -libc::EPERM,
            Self::Open { source, .. }
            | Self::Inspect { source, .. }
            | Self::Lock { source, .. } => -source.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

/// Refuses block sizes that the project does not have.
pub(crate) fn check_block_size(name: &str, block_size_bytes: u32) -> Result<(), CreateError> {
    if BLOCK_SIZES_BYTES.contains(&block_size_bytes) {
        Ok(())
    } else {
        Err(CreateError::BlockSize { name: name.to_owned(), block_size_bytes })
    }
}

/// Size in bytes of a device that is given in blocks.
pub(crate) fn check_size(
    name: &str,
    block_size_bytes: u32,
    num_blocks: u64,
) -> Result<u64, CreateError> {
    check_block_size(name, block_size_bytes)?;
    if num_blocks == 0 {
        return Err(CreateError::NoBlocks { name: name.to_owned() });
    }
    num_blocks
        .checked_mul(u64::from(block_size_bytes))
        .filter(|&size_bytes| i64::try_from(size_bytes).is_ok())
        .ok_or_else(|| CreateError::TooLarge {
            name: name.to_owned(),
            num_blocks,
            block_size_bytes,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a wrong size is refused with a text that names the object, the value and the remedy,
    /// and with SPDK's number. Method: one example of each.
    #[test]
    fn wrong_sizes_are_named() {
        assert_eq!(check_size("m0", 4096, 256).unwrap(), 1 << 20);
        for (block_size_bytes, num_blocks, text) in [
            (1000, 8, "bdev m0: block size 1000 is not supported: give 512 or 4096"),
            (0, 8, "bdev m0: block size 0 is not supported: give 512 or 4096"),
            (512, 0, "bdev m0: num_blocks is 0: give at least 1"),
            (
                512,
                1 << 54,
                "bdev m0: 18014398509481984 blocks of 512 bytes are more than 2^63 bytes: give fewer blocks",
            ),
        ] {
            let error = check_size("m0", block_size_bytes, num_blocks).unwrap_err();
            assert_eq!(error.to_string(), text);
            assert_eq!(error.errno(), -libc::EINVAL);
        }
    }

    /// Goal: a UUID is what was asked for, and never nil.
    #[test]
    fn nil_is_no_uuid() {
        let asked = Uuid::from_u128(1);
        assert_eq!(uuid_or_new(Some(asked)), asked);
        let drawn = [None, Some(Uuid::nil())].map(uuid_or_new);
        assert!(drawn[0] != drawn[1] && !drawn.contains(&Uuid::nil()));
    }

    /// Goal: the error about a file's size gives both sizes that would be right.
    #[test]
    fn wrong_file_size_says_what_is_right() {
        let error = CreateError::FileSize {
            name: "u0".into(),
            filename: "/srv/disk".into(),
            size_bytes: 5000,
            block_size_bytes: 4096,
        };
        assert_eq!(
            error.to_string(),
            "bdev u0: the size of /srv/disk, 5000 bytes, is not a multiple of the block size 4096: give another block size, truncate it to 4096 or extend it to 8192"
        );
    }
}
