//! Other people's signatures are known by their words.

use super::*;

#[test]
fn signatures_are_known_where_they_are() {
    let known: [(usize, &[u8], &str); 14] = [
        (0, &0xa92b_4efc_u32.to_le_bytes(), "Linux md RAID"),
        (4096, &0xa92b_4efc_u32.to_le_bytes(), "Linux md RAID"),
        (0, &0x6452_6d44_u32.to_le_bytes(), "dm-raid metadata"),
        (0, &0x4d69_5272_u32.to_le_bytes(), "a dm dirty log"),
        (0, b"SPDKRAID", "SPDK RAID"),
        (0, b"LABELONE", "LVM2"),
        (512, b"LABELONE", "LVM2"),
        (1024, b"LABELONE", "LVM2"),
        (1536, b"LABELONE", "LVM2"),
        (0, b"LUKS\xba\xbe", "LUKS"),
        (0, b"XFSB", "XFS"),
        (512, b"EFI PART", "a GPT partition table"),
        (4096, b"EFI PART", "a GPT partition table"),
        (1080, &0xef53_u16.to_le_bytes(), "ext2, ext3 or ext4"),
    ];
    for (at, signature, whose) in known {
        let mut bytes = [0; FOREIGN_BYTES];
        bytes[at..at + signature.len()].copy_from_slice(signature);
        assert_eq!(foreign(&bytes), Some(whose), "byte {at}");
        for short in [at, at + signature.len() - 1] {
            assert_eq!(foreign(&bytes[..short]), None, "{whose}, {short} bytes of it");
        }
    }
}

#[test]
fn our_own_and_blank_devices_are_not_foreign() {
    let mut device = vec![0; FOREIGN_BYTES];
    assert_eq!(foreign(&device), None);
    assert_eq!(foreign(&[]), None);
    let ours = encoded(&sample(Level::Raid5, Layout::LeftSymmetric, 3));
    device[4096..].copy_from_slice(&ours[..4096]);
    assert_eq!(foreign(&device), None);
}
