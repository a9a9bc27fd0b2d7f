//! Signatures of others at the start of a device, so that a refusal to overwrite can say whose they
//! are.
//!
//! | byte | signature | whose |
//! |---:|---|---|
//! | 0, 4096 | fc 4e 2b a9 | Linux md, versions 1.1 and 1.2 |
//! | 0 | `DmRd` | dm-raid's metadata device |
//! | 0 | `rRiM` | dm-log: a dirty log, perhaps ours |
//! | 0 | `SPDKRAID` | SPDK's raid module |
//! | 0, 512, 1024, 1536 | `LABELONE` | LVM2 |
//! | 0 | `LUKS` ba be | LUKS |
//! | 0 | `XFSB` | XFS |
//! | 512, 4096 | `EFI PART` | GPT, with blocks of 512 and of 4096 bytes |
//! | 1080 | 53 ef | ext2, ext3, ext4 |
//!
//! The two-byte signature is last, being the one that chance gives away.
//!
//! Not here: our own magic (`codec`); signatures at the end of a device (md 0.90 and 1.0, DDF) or
//! beyond the first 8 KiB (btrfs).

/// Bytes from the start of a device that [`foreign`] wants to see.
pub const FOREIGN_BYTES: usize = 8 << 10;

const MD: &str = "Linux md RAID";
const LVM: &str = "LVM2";
const GPT: &str = "a GPT partition table";

const SIGNATURES: [(usize, &[u8], &str); 14] = [
    (0, &[0xfc, 0x4e, 0x2b, 0xa9], MD),
    (4096, &[0xfc, 0x4e, 0x2b, 0xa9], MD),
    (0, b"DmRd", "dm-raid metadata"),
    (0, b"rRiM", "a dm dirty log"),
    (0, b"SPDKRAID", "SPDK RAID"),
    (0, b"LABELONE", LVM),
    (512, b"LABELONE", LVM),
    (1024, b"LABELONE", LVM),
    (1536, b"LABELONE", LVM),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0, b"XFSB", "XFS"),
    (512, b"EFI PART", GPT),
    (4096, b"EFI PART", GPT),
    (1080, &[0x53, 0xef], "ext2, ext3 or ext4"),
];

/// Whose signature the first [`FOREIGN_BYTES`] of a device carry, as a word for a message; `None`
/// if it is nobody's that is known. Fewer bytes are searched as far as they go.
#[must_use]
pub fn foreign(first: &[u8]) -> Option<&'static str> {
    let carries = |at: usize, signature: &[u8]| {
        first.get(at..).is_some_and(|rest| rest.starts_with(signature))
    };
    SIGNATURES.iter().find(|(at, bytes, _)| carries(*at, bytes)).map(|(_, _, whose)| *whose)
}
