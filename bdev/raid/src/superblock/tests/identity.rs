//! Every content comes back, no damage goes unnoticed, and no bytes panic.

use super::*;
use crate::geometry::Geometry;
use proptest::collection::vec;
use proptest::prelude::*;

fn state(events: u64, component_bytes: u64) -> impl Strategy<Value = MemberRecordState> {
    prop_oneof![
        Just(MemberRecordState::InSync),
        (1..=events).prop_map(|failed_at| MemberRecordState::Faulty { failed_at }),
        (1..=events).prop_map(|since| MemberRecordState::Missing { since }),
        (0..=component_bytes, any::<bool>()).prop_map(|(recovered_to_bytes, partial)| {
            MemberRecordState::Rebuilding { recovered_to_bytes, partial }
        }),
    ]
}

/// Level, layout and the number of members.
fn arrangement() -> impl Strategy<Value = (Level, Layout, u8)> {
    (0..3_usize, any::<prop::sample::Index>(), 0..=251_u8).prop_map(|(level, pick, members)| {
        let level = Level::ALL[level];
        let members = members + 4;
        let mut layouts = Layout::of_level(level).to_vec();
        if level != Level::Raid6 {
            layouts.extend([Layout::ParityAt(0), Layout::ParityAt(members - 1)]);
        }
        (level, *pick.get(&layouts), members)
    })
}

fn shape() -> impl Strategy<Value = (Shape, u8)> {
    (arrangement(), 12..=24_u32, 9..=24_u32, 1..1_000_000_u64).prop_map(
        |((level, layout, members), strip, block, strips)| {
            let shape = Shape {
                level,
                layout,
                strip_bytes: 1 << strip,
                block_size_bytes: 1 << block.min(strip),
                component_bytes: strips << strip,
            };
            (shape, members)
        },
    )
}

fn a_log() -> impl Strategy<Value = Option<LogRecord>> {
    let health = prop_oneof![Just(LogHealth::Alive), Just(LogHealth::Failed)];
    let record = ("\\PC{1,60}", any::<u128>(), health);
    prop::option::of(record.prop_map(|(name, uuid, health)| LogRecord {
        name,
        uuid: Uuid::from_u128(uuid),
        health,
    }))
}

fn superblock() -> impl Strategy<Value = Superblock> {
    (shape(), 1..=u64::MAX, a_log(), any::<[bool; 4]>(), any::<[u64; 3]>(), "\\PC{1,60}")
        .prop_flat_map(|((shape, members), events, log, coins, numbers, array_name)| {
            let records = vec(
                (state(events, shape.component_bytes), 0..1_000_u64, any::<u32>()),
                usize::from(members),
            );
            records.prop_map(move |records| {
                let block = u64::from(shape.block_size_bytes);
                let record =
                    |(index, (state, blocks, read_errors)): (usize, (_, u64, u32))| MemberRecord {
                        member_uuid: Uuid::from_u128(index as u128 + 1),
                        data_offset_bytes: (DATA_OFFSET_BYTES_MIN.max(block)) + blocks * block,
                        state,
                        read_errors,
                    };
                let [clean, block_writes, everywhere, fresh] = coins;
                let slot = (numbers[0] % (u64::from(members) + 1)) as u8;
                let region_shift = shape.strip_bytes.trailing_zeros() + (numbers[1] % 30) as u32;
                Superblock {
                    array_uuid: Uuid::from_u128(u128::from(numbers[2]) + 1),
                    array_name: array_name.clone(),
                    member_uuid: Uuid::from_u128(u128::from(slot) + 1),
                    slot: (slot < members).then_some(Slot(slot)),
                    events,
                    shape,
                    shutdown: if clean { Shutdown::Clean } else { Shutdown::Running },
                    in_sync_to_bytes: match everywhere {
                        true => IN_SYNC_EVERYWHERE,
                        false => numbers[2] % (shape.component_bytes + 1),
                    },
                    region_bytes: 1 << region_shift,
                    log: log.clone(),
                    on_log_failure: match block_writes {
                        true => OnLogFailure::Block,
                        false => OnLogFailure::Continue,
                    },
                    fresh,
                    members: records.into_iter().enumerate().map(record).collect(),
                }
            })
        })
}

/// Bytes that begin like a superblock and have a right checksum, but whose fields are mostly noise.
fn forged() -> impl Strategy<Value = Bytes> {
    let changes = vec((prop_oneof![8..800_usize, 4096..5000_usize], any::<u8>()), 0..4);
    (superblock(), changes).prop_map(|(superblock, changes)| {
        let mut bytes = encoded(&superblock);
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        seal(&mut bytes);
        bytes
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(superblock in superblock()) {
        prop_assert_eq!(Superblock::decode(&encoded(&superblock)), Ok(superblock.clone()));
        prop_assert!(Geometry::new(superblock.geometry_spec()).is_ok());
    }

    /// Whatever passes is the one encoding of its content, and makes a geometry.
    #[test]
    fn what_is_decoded_is_encoded(bytes in forged()) {
        if let Ok(superblock) = Superblock::decode(&bytes) {
            if bytes[12..16] == [0; 4] {
                prop_assert_eq!(&encoded(&superblock)[..], &bytes[..]);
            }
            prop_assert!(Geometry::new(superblock.geometry_spec()).is_ok());
        }
    }

    #[test]
    fn noise_is_refused(noise in vec(any::<u8>(), 0..SUPERBLOCK_BYTES + 1)) {
        prop_assert!(Superblock::decode(&noise).is_err());
        let mut bytes = [0; SUPERBLOCK_BYTES];
        bytes[..noise.len()].copy_from_slice(&noise);
        bytes[..8].copy_from_slice(b"raid456\0");
        prop_assert!(Superblock::decode(&bytes).is_err());
        bytes[8..16].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        seal(&mut bytes);
        prop_assert!(Superblock::decode(&bytes).is_err());
    }
}

/// Goal: no damage to a byte goes unnoticed. Method: every byte of a full superblock, one bit and
/// all bits of it.
#[test]
fn any_flipped_byte_is_refused() {
    let mut bytes = encoded(&sample(Level::Raid6, Layout::LeftSymmetric, 255));
    for at in 0..SUPERBLOCK_BYTES {
        for mask in [1 << (at % 8), 0xff] {
            bytes[at] ^= mask;
            match Superblock::decode(&bytes) {
                Err(DecodeError::NoMagic { .. }) => assert!(at < 8, "byte {at}"),
                Err(DecodeError::BadChecksum { .. }) => assert!(at >= 8, "byte {at}"),
                other => panic!("byte {at}: {other:?}"),
            }
            bytes[at] ^= mask;
        }
    }
    assert!(Superblock::decode(&bytes).is_ok());
}
