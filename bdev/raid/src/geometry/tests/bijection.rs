//! Addresses: every byte of the array is one byte of one member, no two are the same one, and no
//! parity strip holds data.

use super::*;
use proptest::prelude::*;
use proptest::sample::select;

/// Where a byte of the array is stored.
fn stored_at(geometry: &Geometry, array_byte: u64) -> (Slot, u64) {
    let at = geometry.locate(array_byte);
    let slot = geometry.data_slot(geometry.rotation(at.stripe), at.strip);
    (slot, geometry.member_byte(slot, at.stripe, at.offset))
}

/// Goal: strip by strip, every layout: the data strips fill exactly the cells (member, row) that
/// hold no parity, in address order row by row.
#[test]
fn data_fills_exactly_what_parity_leaves() {
    const STRIPES: u64 = 21;
    every_array(&[3, 4, 5, 6, 7, 8, 9], STRIPES, |geometry| {
        let strip_bytes = u64::from(geometry.strip_bytes());
        let mut holders = vec![None; STRIPES as usize * geometry.members()];
        for (strip, first) in (0..geometry.array_bytes()).step_by(strip_bytes as usize).enumerate()
        {
            let (slot, byte) = stored_at(geometry, first);
            assert_eq!(byte % strip_bytes, 0);
            assert_eq!(
                stored_at(geometry, first + strip_bytes - 1),
                (slot, byte + strip_bytes - 1)
            );
            let row = byte / strip_bytes;
            assert_eq!(row, strip as u64 / geometry.data_strips() as u64);
            let cell = row as usize * geometry.members() + slot.index();
            assert_eq!(holders[cell].replace(strip), None, "{} strip {strip}", name_of(geometry));
        }
        for (cell, holder) in holders.iter().enumerate() {
            let (row, slot) = (cell / geometry.members(), cell % geometry.members());
            let role = geometry.role(geometry.rotation(StripeId(row as u64)), Slot(slot as u8));
            assert_eq!(holder.is_some(), matches!(role, Role::Data(_)), "{}", name_of(geometry));
        }
    });
}

/// Goal: the same byte by byte for one array, with nothing taken for granted.
#[test]
fn no_two_bytes_share_a_place() {
    let offsets = [512, 0, 4096, 8192, 1024];
    let spec =
        GeometrySpec { data_offsets_bytes: offsets.to_vec(), ..spec(Raid6, LeftSymmetric, 5, 7) };
    let geometry = Geometry::new(spec).unwrap();
    let mut taken = vec![false; 5 * 64 * 1024];
    for byte in 0..geometry.array_bytes() {
        let (slot, member_byte) = stored_at(&geometry, byte);
        let within = member_byte - offsets[slot.index()];
        assert!(within < geometry.component_bytes());
        let place = &mut taken[slot.index() * 64 * 1024 + member_byte as usize];
        assert!(!*place, "byte {byte} shares byte {member_byte} of slot {slot}");
        *place = true;
        assert_eq!(geometry.array_byte(geometry.locate(byte)), byte);
    }
    assert_eq!(taken.iter().filter(|&&taken| taken).count() as u64, geometry.array_bytes());
}

/// Any array within the bounds, up to the longest.
fn any_geometry() -> impl Strategy<Value = Geometry> {
    let level = select(&Level::ALL[..]);
    let sizes = (12u32..=24, 9u32..=12, any::<u64>(), 0u32..52);
    (level, 3usize..=255, any::<prop::sample::Index>(), sizes, any::<u32>()).prop_map(
        |(level, members, layout, (strip_shift, block_shift, length, shorter), offset)| {
            let members = members.max(DATA_STRIPS_MIN + level.parity_count());
            let choices: Vec<Layout> = layouts(level, members).collect();
            let strip_bytes = 1 << strip_shift;
            let longest = (u64::MAX / (members - level.parity_count()) as u64) >> shorter;
            let block_size_bytes = 1 << block_shift;
            let offset = u64::from(offset) << 13;
            let step = u64::from(block_size_bytes);
            Geometry::new(GeometrySpec {
                level,
                layout: *layout.get(&choices),
                members,
                strip_bytes,
                block_size_bytes,
                member_bytes: (length % longest.saturating_sub(offset + 255 * step).max(1))
                    .max(u64::from(strip_bytes)),
                data_offsets_bytes: (0..members as u64).map(|n| offset + n * step).collect(),
            })
            .expect("all within bounds")
        },
    )
}

proptest! {
    /// Goal: there and back, for arrays of any size: from the array to the member and from what the
    /// member's byte says alone (its slot and address) to the array.
    #[test]
    fn addresses_have_an_inverse(
        geometry in any_geometry(),
        bytes in proptest::collection::vec(any::<u64>(), 1..40),
    ) {
        for byte in bytes.into_iter().map(|byte| byte % geometry.array_bytes()) {
            let at = geometry.locate(byte);
            prop_assert_eq!(geometry.array_byte(at), byte);
            prop_assert!(at.stripe.0 < geometry.stripes() && at.offset < geometry.strip_bytes());

            let (slot, member_byte) = stored_at(&geometry, byte);
            let within = member_byte - geometry.data_offset_bytes(slot);
            prop_assert!(within < geometry.component_bytes());
            let strip_bytes = u64::from(geometry.strip_bytes());
            let (stripe, offset) = (StripeId(within / strip_bytes), (within % strip_bytes) as u32);
            let role = geometry.role(geometry.rotation(stripe), slot);
            prop_assert_eq!(role, Role::Data(at.strip));
            prop_assert_eq!((stripe, offset), (at.stripe, at.offset));
        }
    }

    /// Goal: locations are what the definitions say, in plain arithmetic.
    #[test]
    fn locations_are_quotients_and_remainders(geometry in any_geometry(), byte in any::<u64>()) {
        let byte = byte % geometry.array_bytes();
        let (strip_bytes, k) = (u64::from(geometry.strip_bytes()), geometry.data_strips() as u64);
        let at = geometry.locate(byte);
        prop_assert_eq!(u64::from(at.offset), byte % strip_bytes);
        prop_assert_eq!(u64::from(at.strip), byte / strip_bytes % k);
        prop_assert_eq!(at.stripe.0, byte / strip_bytes / k);
        prop_assert_eq!(geometry.array_bytes(), geometry.component_bytes() * k);
        prop_assert_eq!(geometry.stripe_bytes(), strip_bytes * k);
    }
}
