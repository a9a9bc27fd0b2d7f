//! The bytes of one superblock, pinned: where this test must change, arrays that exist are lost.
//!
//! Method: a superblock with a value of its own in every field. All bytes that are not zero are
//! listed in hex, written from the table in the module's docs, and compared with what `encode`
//! writes.

use super::*;
use MemberRecordState::{Faulty, InSync, Missing, Rebuilding};

fn golden() -> Superblock {
    let record = |uuid: u128, data_offset_bytes, state, read_errors| MemberRecord {
        member_uuid: Uuid::from_u128(uuid),
        data_offset_bytes,
        state,
        read_errors,
    };
    Superblock {
        array_uuid: Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        array_name: "raid-é".to_owned(),
        member_uuid: Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888),
        slot: Some(Slot(2)),
        events: 0x0102_0304_0506_0708,
        shape: Shape {
            level: Level::Raid4,
            layout: Layout::ParityAt(3),
            strip_bytes: 0x0002_0000,
            block_size_bytes: 0x1000,
            component_bytes: 0x1234_5678_0000,
        },
        shutdown: Shutdown::Clean,
        in_sync_to_bytes: 0x1122_3344_5566,
        region_bytes: 0x40_0000,
        log: Some(LogRecord {
            name: "log0".to_owned(),
            uuid: Uuid::from_u128(0xf0f1_f2f3_f4f5_f6f7_f8f9_fafb_fcfd_feff),
            health: LogHealth::Failed,
        }),
        on_log_failure: OnLogFailure::Block,
        fresh: false,
        members: vec![
            record(1, 0x10_0000, InSync, 0x0a0b_0c0d),
            record(0, 0x10_1000, Missing { since: 0x11 }, 0),
            record(
                0x1111_2222_3333_4444_5555_6666_7777_8888,
                0x20_0000,
                Rebuilding { recovered_to_bytes: 0x55_6677, partial: true },
                0,
            ),
            record(3, 0x10_0000, Faulty { failed_at: 0x0102_0304 }, 7),
        ],
    }
}

/// Byte and contents of everything that is not zero.
const BYTES: &[(usize, &str)] = &[
    (0, "72616964343536 00"),
    (8, "01000000"),
    (16, "6d03d823"),
    (20, "01000000"),
    (24, "00112233445566778899aabbccddeeff"),
    (40, "11112222333344445555666677778888"),
    (56, "0807060504030201"),
    (64, "02 04 ff 03 01 02 07 04"),
    (72, "04000000 00000200 00100000"),
    (88, "0000785634120000"),
    (96, "6655443322110000"),
    (104, "0000400000000000"),
    // 0x123456780000 / 0x400000 = 0x48d159.e, rounded up.
    (112, "5ad1480000000000"),
    (120, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"),
    (256, "726169642d c3a9"),
    (512, "6c6f6730"),
    (4096, "00000000000000000000000000000001 0000100000000000 0000000000000000 0d0c0b0a 01 00"),
    (4144, "00000000000000000000000000000000 0010100000000000 1100000000000000 00000000 03 00"),
    (4192, "11112222333344445555666677778888 0000200000000000 7766550000000000 00000000 04 01"),
    (4240, "00000000000000000000000000000003 0000100000000000 0403020100000000 07000000 02 00"),
];

fn pinned() -> Bytes {
    let mut bytes = [0; SUPERBLOCK_BYTES];
    for (at, hex) in BYTES {
        let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
        for (index, pair) in digits.chunks(2).enumerate() {
            let byte = u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
            bytes[at + index] = byte;
        }
    }
    bytes
}

#[test]
fn the_bytes_are_these() {
    let (found, right) = (encoded(&golden()), pinned());
    for (at, (found, right)) in found.iter().zip(&right).enumerate() {
        assert_eq!(format!("{found:02x}"), format!("{right:02x}"), "byte {at}");
    }
    assert_eq!(Superblock::decode(&right), Ok(golden()));
}

#[test]
fn a_spare_without_a_log_differs_in_these_bytes() {
    let mut spare = golden().carried_by(Uuid::from_u128(9), None);
    spare.log = None;
    spare.on_log_failure = OnLogFailure::Continue;
    spare.shutdown = Shutdown::Running;
    spare.shape.layout = Layout::ParityLast;
    let bytes = encoded(&spare);
    assert_eq!(bytes[20..24], [0; 4], "flags");
    assert_eq!(encoded(&Superblock { fresh: true, ..spare.clone() })[20..24], [2, 0, 0, 0]);
    assert_eq!(encoded(&Superblock { fresh: true, ..golden() })[20..24], [3, 0, 0, 0]);
    assert_eq!(bytes[40..56], Uuid::from_u128(9).into_bytes());
    assert_eq!(bytes[64..72], [255, 4, 5, 0, 0, 0, 7, 0]);
    assert_eq!(bytes[120..136], [0; 16], "UUID of the log");
    assert_eq!(bytes[512..4096], [0; 3584], "name of the log");
    assert_eq!(bytes[4096..], encoded(&golden())[4096..]);
}

/// md's numbers are written at every level that has the layout, and read back as the same layout.
#[test]
fn every_layout_of_every_level_comes_back() {
    for level in Level::ALL {
        let parity_at = (0..4).map(Layout::ParityAt).filter(|layout| layout.is_of_level(level));
        for layout in Layout::of_level(level).iter().copied().chain(parity_at) {
            let superblock = sample(level, layout, 4);
            let bytes = encoded(&superblock);
            assert_eq!(bytes[65], level.number());
            assert_eq!(bytes[66], layout.md_algorithm().unwrap_or(255));
            assert_eq!(Superblock::decode(&bytes), Ok(superblock));
        }
    }
}

#[test]
fn the_copies_are_where_the_picture_says() {
    assert_eq!(COPY_OFFSETS_BYTES, [4096, 524_288]);
    assert_eq!((SUPERBLOCK_BYTES, DATA_OFFSET_BYTES_MIN), (16_384, 1_048_576));
}
