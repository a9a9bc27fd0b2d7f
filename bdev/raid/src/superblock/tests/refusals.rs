//! Every refusal names the field, the value and what would be right; what `encode` can be given is
//! refused there in the same words.

use super::*;

fn base() -> Superblock {
    let mut base = sample(Level::Raid5, Layout::LeftSymmetric, 4);
    base.events = 9;
    base.log = Some(log(LogHealth::Alive));
    base
}

fn refused(change: impl FnOnce(&mut Superblock), text: &str) {
    let mut superblock = base();
    change(&mut superblock);
    let mut bytes = [0x55; SUPERBLOCK_BYTES];
    assert_eq!(superblock.encode(&mut bytes).unwrap_err().to_string(), text);
    assert_eq!(bytes, [0x55; SUPERBLOCK_BYTES], "nothing was written");
}

/// What is decoded after bytes from `at` on are replaced and the checksum is put right.
fn decoded(at: usize, replacement: &[u8]) -> Result<Superblock, DecodeError> {
    let mut bytes = encoded(&base());
    bytes[at..at + replacement.len()].copy_from_slice(replacement);
    seal(&mut bytes);
    Superblock::decode(&bytes)
}

fn refused_bytes(at: usize, replacement: &[u8], text: &str) {
    assert_eq!(decoded(at, replacement).unwrap_err().to_string(), text);
}

#[test]
fn contents_that_mean_nothing_are_not_written() {
    let nil = "00000000-0000-0000-0000-000000000000";
    let text = format!("superblock: array_uuid is {nil}, but must be a UUID that is not nil");
    refused(|s| s.array_uuid = Uuid::nil(), &text);
    let text = format!("superblock: member_uuid is {nil}, but must be a UUID that is not nil");
    refused(|s| s.member_uuid = Uuid::nil(), &text);
    refused(
        |s| s.member_uuid = member_uuid(1),
        "superblock: member_uuid is 40404040-4040-4040-4040-404040404001, but must be \
         40404040-4040-4040-4040-404040404000, the member of slot 0",
    );
    let text = "superblock: slot is 4, but must be 0 to 3, or 255 for a spare";
    refused(|s| s.slot = Some(Slot(4)), text);
    let text = "superblock: events is 0, but must be at least 1: updates are counted from 1";
    refused(|s| s.events = 0, text);
    let text = "superblock: array_name is 0 bytes long, but must be 1 to 255 bytes long";
    refused(|s| s.array_name.clear(), text);
    let text = "superblock: array_name is 256 bytes long, but must be 1 to 255 bytes long";
    refused(|s| s.array_name = "é".repeat(128), text);
    let text = "superblock: log.name is 256 bytes long, but must be 1 to 255 bytes long";
    refused(|s| s.log.as_mut().unwrap().name = "l".repeat(256), text);
    let text = "superblock: log.name is 0 bytes long, but must be 1 to 255 bytes long";
    refused(|s| s.log.as_mut().unwrap().name.clear(), text);
}

#[test]
fn shapes_of_no_array_are_not_written() {
    let text = "superblock: members is 2, but must be 3 to 255 for raid5";
    refused(|s| s.members.truncate(2), text);
    let text = "superblock: members is 0, but must be 3 to 255 for raid5";
    refused(|s| s.members.clear(), text);
    let many = |s: &mut Superblock| s.members = vec![s.members[0].clone(); 256];
    refused(many, "superblock: members is 256, but must be 3 to 255 for raid5");
    let raid6 = |s: &mut Superblock| {
        s.shape.level = Level::Raid6;
        s.members.truncate(3);
    };
    refused(raid6, "superblock: members is 3, but must be 4 to 255 for raid6");
    refused(
        |s| s.shape.layout = Layout::N6,
        "superblock: layout is parity-last, but must be a layout of raid5: left-symmetric, \
         left-asymmetric, right-symmetric, right-asymmetric, parity-last, parity-first or \
         parity-at-<slot>",
    );
    let text = "superblock: parity_slot is 4, but must be 0 to 3";
    refused(|s| s.shape.layout = Layout::ParityAt(4), text);
    for strip_bytes in [0, 2048, 65_537, 96 << 10, 32 << 20] {
        let text = format!(
            "superblock: strip_bytes is {strip_bytes}, but must be a power of two from 4096 to \
             16777216"
        );
        refused(|s| s.shape.strip_bytes = strip_bytes, &text);
    }
    for block_size_bytes in [0, 256, 513, 128 << 10] {
        let text = format!(
            "superblock: block_size_bytes is {block_size_bytes}, but must be a power of two from \
             512 to a strip, 65536"
        );
        refused(|s| s.shape.block_size_bytes = block_size_bytes, &text);
    }
    for component_bytes in [0, 65_535, 65_537, u64::MAX - 65_535] {
        let text = format!(
            "superblock: component_bytes is {component_bytes}, but must be a multiple of a strip, \
             65536, up to 6148914691236517205"
        );
        refused(|s| s.shape.component_bytes = component_bytes, &text);
    }
}

#[test]
fn states_that_cannot_be_are_not_written() {
    refused(
        |s| s.in_sync_to_bytes = (1 << 30) + 1,
        "superblock: in_sync_to_bytes is 1073741825, but must be up to 1073741824, or \
         18446744073709551615 for everywhere",
    );
    for region_bytes in [0, 32 << 10, 65_537, 3 << 20] {
        let text = format!(
            "superblock: region_bytes is {region_bytes}, but must be a power of two, at least a \
             strip, 65536"
        );
        refused(|s| s.region_bytes = region_bytes, &text);
    }
    for offset in [0, (1 << 20) - 4096, (1 << 20) + 512, u64::MAX] {
        let text = format!(
            "superblock: members[2].data_offset_bytes is {offset}, but must be a multiple of a \
             block, 4096, from 1048576 to 18446744072635809791"
        );
        refused(|s| s.members[2].data_offset_bytes = offset, &text);
    }
    for update in [0, 10] {
        let text =
            format!("superblock: members[2].failed_at is {update}, but must be 1 to 9, the events");
        refused(|s| s.members[2].state = MemberRecordState::Faulty { failed_at: update }, &text);
        let text =
            format!("superblock: members[2].since is {update}, but must be 1 to 9, the events");
        refused(|s| s.members[2].state = MemberRecordState::Missing { since: update }, &text);
    }
    let beyond =
        MemberRecordState::Rebuilding { recovered_to_bytes: (1 << 30) + 1, partial: false };
    refused(
        |s| s.members[3].state = beyond,
        "superblock: members[3].recovered_to_bytes is 1073741825, but must be up to 1073741824, \
         the component",
    );
    refused(
        |s| s.members[3].member_uuid = Uuid::nil(),
        "superblock: members[3].member_uuid is 00000000-0000-0000-0000-000000000000, but must be a \
         UUID that is not nil: only a missing member has none",
    );
    refused(
        |s| s.members[3].member_uuid = member_uuid(1),
        "superblock: members[3].member_uuid is 40404040-4040-4040-4040-404040404001, but must be \
         another than that of slot 1",
    );
}

#[test]
fn two_slots_may_never_have_had_a_device() {
    let mut superblock = base();
    for slot in [1, 2] {
        superblock.members[slot].member_uuid = Uuid::nil();
        superblock.members[slot].state = MemberRecordState::Missing { since: 1 };
    }
    assert_eq!(Superblock::decode(&encoded(&superblock)), Ok(superblock));
}

#[test]
fn bytes_of_no_meaning_are_refused() {
    refused_bytes(65, &[7], "superblock: level is 7, but must be 4, 5 or 6");
    refused_bytes(
        66,
        &[8],
        "superblock: layout is 8, but must be md's number of a layout of raid5, or 255",
    );
    refused_bytes(64, &[4], "superblock: slot is 4, but must be 0 to 3, or 255 for a spare");
    let text = "superblock: shutdown is 2, but must be 0 (running) or 1 (clean)";
    refused_bytes(68, &[2], text);
    let text = "superblock: log is 3, but must be 0 (none), 1 (alive) or 2 (failed)";
    refused_bytes(69, &[3], text);
    let text = "superblock: flags is 0x80000001, but must be 0x00000000 to 0x00000003";
    refused_bytes(20, &[1, 0, 0, 0x80], text);
    refused_bytes(72, &[0, 1], "superblock: members is 256, but must be up to 255");
    refused_bytes(72, &[2], "superblock: members is 2, but must be 3 to 255 for raid5");
    let text = "superblock: array_name is \"\\xff\", but must be UTF-8";
    refused_bytes(256, &[0xff], text);
    refused_bytes(512, &[0xc3], "superblock: log.name is \"\\xc3\", but must be UTF-8");
    refused_bytes(
        112,
        &[1, 1],
        "superblock: regions is 257, but must be 256, for regions of 4194304 bytes of components \
         of 1073741824",
    );
    let text = "superblock: members[1].state is 0, but must be 1 (in sync), 2 (faulty), 3 (missing) \
                or 4 (rebuilding)";
    refused_bytes(4096 + 48 + 36, &[0], text);
}

#[test]
fn reserved_bytes_are_zero() {
    let text = |at, value| format!("superblock: reserved byte {at} is {value}, but must be 0x00");
    // Between fields, behind a name, behind the last name, within a member and behind the last one;
    // the parity slot of another layout, the number and the mark of a member in sync.
    for at in [84, 136, 257, 511, 513, 767, 4095, 4134, 4143, 4288, 16_383, 67, 4120, 4133] {
        refused_bytes(at, &[0x5a], &text(at, "0x5a"));
    }
    let mut bytes = encoded(&sample(Level::Raid5, Layout::LeftSymmetric, 4));
    bytes[120] = 1;
    seal(&mut bytes);
    assert_eq!(Superblock::decode(&bytes).unwrap_err().to_string(), text(120, "0x01"), "no log");
}

#[test]
fn later_versions() {
    refused_bytes(8, &[2], "superblock: version 2.0 is not understood, only 1.x is");
    refused_bytes(8, &[0, 0, 0, 0, 3], "superblock: version 0.3 is not understood, only 1.x is");
    assert_eq!(decoded(12, &[1]), Ok(base()), "a later minor version");
    let mut bytes = encoded(&base());
    (bytes[12], bytes[84]) = (1, 0x5a);
    seal(&mut bytes);
    assert_eq!(
        Superblock::decode(&bytes),
        Ok(base()),
        "that has put something into reserved bytes"
    );
    bytes[20] = 4;
    seal(&mut bytes);
    assert!(Superblock::decode(&bytes).is_err(), "a policy is never ignored");
}

#[test]
fn damage_and_strangers() {
    let mut bytes = encoded(&base());
    let right = u32::from_le_bytes([bytes[16], bytes[17], bytes[18], bytes[19]]);
    bytes[16] ^= 1;
    let text = format!(
        "superblock: the checksum is {:#010x}, but that of the contents is {right:#010x}",
        right ^ 1
    );
    assert_eq!(Superblock::decode(&bytes).unwrap_err().to_string(), text);
    bytes[..8].copy_from_slice(b"SPDKRAID");
    assert_eq!(
        Superblock::decode(&bytes).unwrap_err().to_string(),
        "no superblock: it begins with \"SPDKRAID\", not with \"raid456\\x00\""
    );
    let text = "a superblock has 16384 bytes, not 16383";
    assert_eq!(Superblock::decode(&bytes[1..]).unwrap_err().to_string(), text);
}
