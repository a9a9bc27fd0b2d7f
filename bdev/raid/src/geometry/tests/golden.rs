//! What the Linux kernel wrote (crate `golden`) is where the geometry says and what section 4.1 of
//! linux-raid.md says, byte for byte: data, P, and Q with our exponents.

use super::*;
use ::golden::GoldenSet;

/// `factor` times every byte, over GF(2^8) with polynomial 0x11d, bit by bit.
fn multiples_of(factor: u8) -> [u8; 256] {
    std::array::from_fn(|byte| {
        let (mut product, mut doubled) = (0, factor);
        for bit in 0..8 {
            if byte >> bit & 1 == 1 {
                product ^= doubled;
            }
            doubled = doubled << 1 ^ if doubled & 0x80 != 0 { 0x1d } else { 0 };
        }
        product
    })
}

/// Tables that multiply by g^0, g^1, ..., g = 2, for as many exponents as the sets' members need.
fn multiples_of_powers() -> Vec<[u8; 256]> {
    let double = multiples_of(2);
    let powers = std::iter::successors(Some(1u8), |&power| Some(double[usize::from(power)]));
    powers.take(8).map(multiples_of).collect()
}

fn geometry_of(
    level: &str,
    layout: &str,
    devices: usize,
    strip_bytes: u32,
    member_bytes: u64,
) -> Geometry {
    let level: Level = level.parse().unwrap();
    Geometry::new(GeometrySpec {
        level,
        layout: Layout::parse(level, layout).unwrap(),
        members: devices,
        strip_bytes,
        block_size_bytes: 512,
        member_bytes,
        data_offsets_bytes: vec![0; devices],
    })
    .unwrap()
}

fn geometry_of_set(set: &GoldenSet) -> Geometry {
    geometry_of(&set.level, &set.layout, set.devices, set.strip_bytes(), set.member_bytes)
}

/// The strip of a slot in a stripe.
fn strip_of<'a>(
    geometry: &Geometry,
    members: &'a [Vec<u8>],
    slot: Slot,
    stripe: StripeId,
) -> &'a [u8] {
    let start = geometry.member_byte(slot, stripe, 0) as usize;
    &members[slot.index()][start..start + geometry.strip_bytes() as usize]
}

/// Compares the data strips with the contents of the array, and returns the bytes compared.
fn check_data(geometry: &Geometry, set: &GoldenSet, members: &[Vec<u8>]) -> usize {
    let strip_bytes = geometry.strip_bytes() as usize;
    let mut expected = vec![0; strip_bytes];
    let mut compared = 0;
    for byte in (0..geometry.array_bytes()).step_by(strip_bytes) {
        ::golden::content(byte, &mut expected);
        let at = geometry.locate(byte);
        let slot = geometry.data_slot(geometry.rotation(at.stripe), at.strip);
        let strip = strip_of(geometry, members, slot, at.stripe);
        assert!(strip == expected, "{}: array byte {byte} is not at {at:?}", set.name);
        compared += strip.len();
    }
    compared
}

/// Computes P and Q of every stripe from its data strips, compares, and returns the bytes compared.
fn check_parity(
    geometry: &Geometry,
    set: &GoldenSet,
    members: &[Vec<u8>],
    powers: &[[u8; 256]],
) -> usize {
    let strip_bytes = geometry.strip_bytes() as usize;
    let mut compared = 0;
    for stripe in (0..geometry.stripes()).map(StripeId) {
        let rotation = geometry.rotation(stripe);
        let (mut p, mut q) = (vec![0u8; strip_bytes], vec![0u8; strip_bytes]);
        for d in 0..geometry.data_strips() as u8 {
            let data = strip_of(geometry, members, geometry.data_slot(rotation, d), stripe);
            for (p, data) in p.iter_mut().zip(data) {
                *p ^= data;
            }
            if geometry.q_slot(rotation).is_some() {
                let multiples = &powers[usize::from(geometry.q_exponent(rotation, d))];
                for (q, &data) in q.iter_mut().zip(data) {
                    *q ^= multiples[usize::from(data)];
                }
            }
        }
        let parities = [(Some(geometry.p_slot(rotation)), p), (geometry.q_slot(rotation), q)];
        for (slot, expected) in parities {
            if let Some(slot) = slot {
                let strip = strip_of(geometry, members, slot, stripe);
                assert!(strip == expected, "{}: parity of {stripe} is not on {slot}", set.name);
                compared += strip.len();
            }
        }
    }
    compared
}

/// Goal: an array that Linux wrote is read here. Every byte of every member is accounted for.
#[test]
fn the_kernels_arrays_are_where_and_what_geometry_says() {
    let powers = multiples_of_powers();
    for set in ::golden::sets() {
        let geometry = geometry_of_set(&set);
        let members = set.members();
        assert_eq!(geometry.array_bytes(), set.array_bytes, "{}", set.name);
        assert_eq!(geometry.component_bytes(), set.member_bytes, "{}", set.name);
        let compared = check_data(&geometry, &set, &members)
            + check_parity(&geometry, &set, &members, &powers);
        assert_eq!(compared as u64, set.member_bytes * set.devices as u64, "{}", set.name);
    }
}

/// Goal: the sets leave no layout out that md or dm-raid has.
#[test]
fn the_kernels_arrays_cover_every_layout() {
    let geometries: Vec<Geometry> = ::golden::sets().iter().map(geometry_of_set).collect();
    for level in [Raid5, Raid6] {
        for &layout in Layout::of_level(level) {
            let covered = geometries.iter().any(|geometry| {
                // dm-raid calls it raid4, md level 5 parity-first.
                let level_of = if geometry.level() == Raid4 { Raid5 } else { geometry.level() };
                (level_of, geometry.layout()) == (level, layout)
            });
            assert!(covered, "{level} {layout}");
        }
    }
}

/// Goal: mdadm's name of an arrangement and dm-raid's are one arrangement here too, since the
/// kernel wrote the same images for both.
#[test]
fn names_that_the_kernel_takes_for_one_layout_are_one_here() {
    let sets = ::golden::sets();
    for twin in ::golden::twins() {
        let set = sets.iter().find(|set| set.name == twin.same_images_as).expect("its set");
        let strip_bytes = twin.strip_sectors * ::golden::SECTOR_BYTES as u32;
        let ours = geometry_of_set(set);
        let theirs =
            geometry_of(&twin.level, &twin.layout, twin.devices, strip_bytes, set.member_bytes);
        for stripe in (0..ours.stripes().min(60)).map(StripeId) {
            let (a, b) = (ours.rotation(stripe), theirs.rotation(stripe));
            assert_eq!(ours.roles(a), theirs.roles(b), "{} and {}", set.name, twin.name);
            if ours.level() == Raid6 {
                assert_eq!(ours.q_exponents(a), theirs.q_exponents(b), "{}", twin.name);
            }
        }
    }
}
