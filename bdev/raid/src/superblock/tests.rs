//! The superblock: its bytes are pinned (`golden`), every content comes back and no damage goes
//! unnoticed (`identity`), every refusal says what is wrong (`refusals`), two copies (`pair`) and
//! other people's signatures (`foreign`). Here is what the tests of this module and of `assemble`
//! build from.

mod foreign;
mod golden;
mod identity;
mod pair;
mod refusals;

use super::*;

pub(crate) type Bytes = [u8; SUPERBLOCK_BYTES];

/// The UUID of the member that is `index`-th in a test.
pub(crate) fn member_uuid(index: u8) -> Uuid {
    let mut bytes = [0x40; 16];
    bytes[15] = index;
    Uuid::from_bytes(bytes)
}

/// A healthy, running array of event 1 as its first member carries it: strips of 64 KiB, 1 GiB of
/// each member, data from 1 MiB on, regions of 4 MiB, the log in memory.
pub(crate) fn sample(level: Level, layout: Layout, members: u8) -> Superblock {
    let record = |index| MemberRecord {
        member_uuid: member_uuid(index),
        data_offset_bytes: DATA_OFFSET_BYTES_MIN,
        state: MemberRecordState::InSync,
        read_errors: 0,
    };
    Superblock {
        array_uuid: Uuid::from_bytes([0xaa; 16]),
        array_name: "a".to_owned(),
        member_uuid: member_uuid(0),
        slot: Some(Slot(0)),
        events: 1,
        shape: Shape {
            level,
            layout,
            strip_bytes: 64 << 10,
            block_size_bytes: 4096,
            component_bytes: 1 << 30,
        },
        shutdown: Shutdown::Running,
        in_sync_to_bytes: IN_SYNC_EVERYWHERE,
        region_bytes: 4 << 20,
        log: None,
        on_log_failure: OnLogFailure::Continue,
        fresh: false,
        members: (0..members).map(record).collect(),
    }
}

/// The record of a log bdev `l`.
pub(crate) fn log(health: LogHealth) -> LogRecord {
    LogRecord { name: "l".to_owned(), uuid: Uuid::from_bytes([0xbb; 16]), health }
}

fn encoded(superblock: &Superblock) -> Bytes {
    let mut bytes = [0xff; SUPERBLOCK_BYTES];
    superblock.encode(&mut bytes).unwrap();
    bytes
}

/// CRC32C bit by bit: slow, and independent of the crate.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1));
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Puts the checksum right after the bytes were changed on purpose.
fn seal(bytes: &mut Bytes) {
    bytes[16..20].fill(0);
    let crc = crc32c(bytes);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn the_checksum_is_the_castagnoli_one() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of its catalogue entry");
    let bytes = encoded(&sample(Level::Raid5, Layout::LeftSymmetric, 3));
    let mut sealed = bytes;
    seal(&mut sealed);
    assert_eq!(bytes, sealed);
}

#[test]
fn carriers_differ_and_the_update_is_the_same() {
    let first = sample(Level::Raid5, Layout::LeftSymmetric, 3);
    let second = first.carried_by(member_uuid(1), Some(Slot(1)));
    assert_ne!(first, second);
    assert!(first.is_same_update(&second) && second.is_same_update(&first));
    let renamed = Superblock { array_name: "b".to_owned(), ..second.clone() };
    let later = Superblock { events: 2, ..second };
    assert!(!first.is_same_update(&renamed) && !first.is_same_update(&later));
    assert_eq!(first.slot_of(member_uuid(2)), Some(Slot(2)));
    assert_eq!(first.slot_of(member_uuid(3)), None);
    let mut vacant = first;
    vacant.members[1].member_uuid = Uuid::nil();
    assert_eq!(vacant.slot_of(Uuid::nil()), None, "nil is nobody");
}
