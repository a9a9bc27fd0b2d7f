//! Superblocks: no bytes panic, and what is read encodes to the same bytes.
#![no_main]

use fuzz::Input;
use libfuzzer_sys::fuzz_target;
use raid::superblock::{SUPERBLOCK_BYTES, Superblock, decode_pair, foreign};

/// Where the checksum is, which covers everything but itself. A fuzzer does not guess it, so it is set
/// right unless the input says otherwise.
const CRC_AT: usize = 16;
const MAGIC: &[u8; 8] = b"raid456\0";

/// A superblock whose bytes are the input's, first the fixed part, then the members.
fn image(input: &mut Input<'_>, sealed: bool) -> Vec<u8> {
    const FIXED_BYTES: usize = 1024;
    const MEMBERS_AT: usize = 4096;
    let mut bytes = vec![0; SUPERBLOCK_BYTES];
    let fixed = input.0.len().min(FIXED_BYTES);
    bytes[..fixed].copy_from_slice(&input.0[..fixed]);
    let members = &input.0[fixed..];
    let members = &members[..members.len().min(SUPERBLOCK_BYTES - MEMBERS_AT)];
    bytes[MEMBERS_AT..MEMBERS_AT + members.len()].copy_from_slice(members);
    if sealed {
        bytes[..MAGIC.len()].copy_from_slice(MAGIC);
        bytes[CRC_AT..CRC_AT + 4].fill(0);
        let crc = crc32c::crc32c(&bytes);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let how = input.byte();
    let first = image(&mut input, how & 1 == 0);
    let _ = foreign(&first);
    let mut second = first.clone();
    if how & 2 != 0 {
        second[usize::from(how) * 64 % SUPERBLOCK_BYTES] ^= how;
    }
    let pair = decode_pair(Ok(&first), Ok(&second));
    let Ok(superblock) = Superblock::decode(&first) else { return };
    assert!(pair.is_ok() || how & 2 != 0, "{superblock:?}");
    let mut again = [0; SUPERBLOCK_BYTES];
    superblock.encode(&mut again).expect("what was read can be written");
    let read = Superblock::decode(&again).expect("what was written can be read");
    assert_eq!(read, superblock);
});
