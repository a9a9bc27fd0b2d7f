//! Geometry against section 4 of linux-raid.md three times over: its fixture tables (`fixtures`),
//! its formulas (`formulas`), and what the kernel wrote (`golden`). Then what must hold of any
//! geometry (`bijection`), the division by multiplication, and here the bounds.

mod bijection;
mod fixtures;
mod formulas;
mod golden;
mod reciprocal;

use super::*;
use crate::layout::Layout::{LeftSymmetric, ParityAt, ParityLast};
use crate::layout::Level::{Raid4, Raid5, Raid6};

const KIB: u32 = 1 << 10;

/// A small array: strips of 4 KiB, blocks of 512 bytes, data from byte 0 on.
fn spec(level: Level, layout: Layout, members: usize, stripes: u64) -> GeometrySpec {
    let strip_bytes = 4 * KIB;
    GeometrySpec {
        level,
        layout,
        members,
        strip_bytes,
        block_size_bytes: 512,
        member_bytes: stripes * u64::from(strip_bytes),
        data_offsets_bytes: vec![0; members],
    }
}

/// The layouts of a level, with parity on each of the members in turn where the level has that.
fn layouts(level: Level, members: usize) -> impl Iterator<Item = Layout> {
    let parity_at = (0..members).map(|slot| ParityAt(slot as u8));
    let all = Layout::of_level(level).iter().copied().chain(parity_at);
    all.filter(move |layout| layout.is_of_level(level))
}

/// Every level, every layout, these numbers of members where the level takes them.
fn every_array(members: &[usize], stripes: u64, mut check: impl FnMut(&Geometry)) {
    for level in Level::ALL {
        for &members in members {
            if members < DATA_STRIPS_MIN + level.parity_count() {
                continue;
            }
            for layout in layouts(level, members) {
                let geometry = Geometry::new(spec(level, layout, members, stripes)).unwrap();
                check(&geometry);
            }
        }
    }
}

fn name_of(geometry: &Geometry) -> String {
    format!("{} {} of {}", geometry.level(), geometry.layout(), geometry.members())
}

#[test]
fn sizes_follow_from_members_and_strips() {
    let spec = GeometrySpec {
        strip_bytes: 64 * KIB,
        block_size_bytes: 4096,
        member_bytes: (3 << 30) + 65_535,
        data_offsets_bytes: vec![1 << 20, 0, 4096, 1 << 40, 0, 8192],
        ..spec(Raid6, LeftSymmetric, 6, 1)
    };
    let geometry = Geometry::new(spec).unwrap();
    assert_eq!((geometry.level(), geometry.layout()), (Raid6, LeftSymmetric));
    assert_eq!((geometry.members(), geometry.data_strips(), geometry.parity_strips()), (6, 4, 2));
    assert_eq!((geometry.strip_bytes(), geometry.block_size_bytes()), (64 * KIB, 4096));
    assert_eq!(geometry.stripe_bytes(), 256 << 10);
    assert_eq!(geometry.stripes(), 3 << 14);
    assert_eq!(geometry.component_bytes(), 3 << 30, "the last 65535 bytes are no strip");
    assert_eq!(geometry.array_bytes(), 12 << 30);
    assert_eq!(geometry.data_offset_bytes(Slot(3)), 1 << 40);
    assert_eq!(geometry.member_byte(Slot(0), StripeId(0), 0), 1 << 20);
    assert_eq!(geometry.member_byte(Slot(3), StripeId(5), 17), (1 << 40) + 5 * 65_536 + 17);
    let last = geometry.locate(geometry.array_bytes() - 1);
    assert_eq!(last, Location { stripe: StripeId((3 << 14) - 1), strip: 3, offset: 65_535 });
}

#[test]
fn the_bounds_themselves_are_accepted() {
    let fine = [
        spec(Raid4, ParityLast, 3, 1),
        spec(Raid5, LeftSymmetric, 255, 1),
        spec(Raid6, LeftSymmetric, 4, 1),
        spec(Raid6, LeftSymmetric, 255, 1),
        spec(Raid4, ParityAt(254), 255, 1),
        GeometrySpec {
            strip_bytes: 16 << 20,
            member_bytes: 16 << 20,
            ..spec(Raid5, LeftSymmetric, 3, 1)
        },
        GeometrySpec { block_size_bytes: 4096, ..spec(Raid5, LeftSymmetric, 3, 1) },
        GeometrySpec { member_bytes: u64::MAX / 2, ..spec(Raid5, LeftSymmetric, 3, 1) },
        GeometrySpec {
            data_offsets_bytes: vec![u64::MAX - 8191; 3],
            ..spec(Raid5, LeftSymmetric, 3, 1)
        },
    ];
    for spec in fine {
        let geometry = Geometry::new(spec.clone()).unwrap();
        let last = geometry.locate(geometry.array_bytes() - 1);
        assert_eq!(last.stripe.0, geometry.stripes() - 1, "{spec:?}");
        assert_eq!(usize::from(last.strip), geometry.data_strips() - 1, "{spec:?}");
        assert_eq!(geometry.array_byte(last), geometry.array_bytes() - 1, "{spec:?}");
    }
}

#[test]
fn every_refusal_names_the_value_and_what_is_right() {
    let good = || spec(Raid5, LeftSymmetric, 4, 8);
    let refusals = [
        (GeometrySpec { members: 2, ..good() }, "raid5 needs 3 to 255 members, not 2"),
        (GeometrySpec { members: 0, ..good() }, "raid5 needs 3 to 255 members, not 0"),
        (GeometrySpec { members: 256, ..good() }, "raid5 needs 3 to 255 members, not 256"),
        (spec(Raid6, LeftSymmetric, 3, 8), "raid6 needs 4 to 255 members, not 3"),
        (
            spec(Raid4, LeftSymmetric, 4, 8),
            "raid4 has no layout left-symmetric: use parity-last, parity-first or parity-at-<slot>",
        ),
        (spec(Raid6, ParityLast, 4, 8), "raid6 has no layout parity-last: use left-symmetric, "),
        (spec(Raid5, Layout::NRestart, 4, 8), "raid5 has no layout ddf-N-restart: use left-"),
        (spec(Raid5, ParityAt(4), 4, 8), "parity slot 4 is not one of 4 members: use 0 to 3"),
        (
            GeometrySpec { strip_bytes: 12 * KIB, ..good() },
            "strip size of 12288 bytes must be a power of two from 4096 to 16777216",
        ),
        (GeometrySpec { strip_bytes: 0, ..good() }, "strip size of 0 bytes"),
        (GeometrySpec { strip_bytes: 2 * KIB, ..good() }, "strip size of 2048 bytes"),
        (GeometrySpec { strip_bytes: 32 << 20, ..good() }, "strip size of 33554432 bytes"),
        (
            GeometrySpec { block_size_bytes: 8 * KIB, ..good() },
            "block size of 8192 bytes must be a power of two from 512 to the strip size of 4096",
        ),
        (GeometrySpec { block_size_bytes: 0, ..good() }, "block size of 0 bytes"),
        (GeometrySpec { block_size_bytes: 256, ..good() }, "block size of 256 bytes"),
        (GeometrySpec { block_size_bytes: 520, ..good() }, "block size of 520 bytes"),
        (
            GeometrySpec { member_bytes: 4095, ..good() },
            "4095 bytes per member hold no strip of 4096",
        ),
        (
            GeometrySpec { data_offsets_bytes: vec![0; 3], ..good() },
            "3 data offsets were given for 4 members: give one for each",
        ),
        (
            GeometrySpec { data_offsets_bytes: vec![0, 0, 513, 0], ..good() },
            "slot 2: data offset of 513 bytes must be a multiple of the block size of 512",
        ),
        (
            GeometrySpec { data_offsets_bytes: vec![0, u64::MAX - 511, 0, 0], ..good() },
            "slot 1: 32768 bytes from data offset 18446744073709551104 on are more than 64 bits",
        ),
        (
            GeometrySpec { member_bytes: 1 << 63, ..good() },
            "3 members' data of 9223372036854775808 bytes are more than 64 bits can address",
        ),
    ];
    for (spec, right) in refusals {
        let error = Geometry::new(spec).expect_err(right).to_string();
        assert!(error.starts_with(right), "{error}");
    }
}

fn small() -> Geometry {
    Geometry::new(spec(Raid5, LeftSymmetric, 4, 8)).unwrap()
}

#[test]
#[should_panic(expected = "byte 98304 is beyond 98304")]
fn no_byte_beyond_the_array_is_located() {
    let _ = small().locate(8 * 3 * 4096);
}

#[test]
#[should_panic(expected = "stripe 8 is beyond 8")]
fn no_stripe_beyond_the_array_has_roles() {
    let _ = small().rotation(StripeId(8));
}

#[test]
#[should_panic(expected = "byte 4096 of stripe 7 is not in an array of 8 stripes")]
fn no_member_byte_is_beyond_its_strip() {
    let _ = small().member_byte(Slot(0), StripeId(7), 4096);
}

#[test]
#[should_panic(expected = "byte 0 of stripe 8 is not in an array of 8 stripes")]
fn no_member_byte_is_beyond_the_array() {
    let _ = small().member_byte(Slot(0), StripeId(8), 0);
}

#[test]
#[should_panic(expected = "is not in an array of 8 stripes")]
fn no_array_byte_is_in_a_strip_that_is_not_data() {
    let _ = small().array_byte(Location { stripe: StripeId(0), strip: 3, offset: 0 });
}

#[test]
#[should_panic(expected = "an array without Q has no exponents")]
fn level_5_has_no_exponents() {
    let geometry = small();
    let _ = geometry.q_exponent(geometry.rotation(StripeId(0)), 0);
}
