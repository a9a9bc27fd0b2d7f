//! The fixture tables of linux-raid.md, section 4.2, verbatim in `fixtures.txt`. They were made by
//! another program and compared there with mdadm's `geo_map`.

use super::*;
use crate::layout::Layout::{
    LeftAsymmetric, LeftAsymmetric6, LeftSymmetric, LeftSymmetric6, N6, NContinue, NRestart,
    ParityFirst, ParityLast, RightAsymmetric, RightAsymmetric6, RightSymmetric, RightSymmetric6,
    ZeroRestart,
};

const FIXTURES: &str = include_str!("fixtures.txt");

/// What the headings mean, in the order of the file.
const TABLES: [(&str, Level, Layout, usize); 15] = [
    ("dm-raid \"raid4\" (PARITY_0), 4 devices", Raid4, ParityFirst, 4),
    ("raid5_n, 4 devices", Raid5, ParityLast, 4),
    ("raid5_la, 4 devices", Raid5, LeftAsymmetric, 4),
    ("raid5_ra, 4 devices", Raid5, RightAsymmetric, 4),
    ("raid5_ls, 4 devices", Raid5, LeftSymmetric, 4),
    ("raid5_rs, 4 devices", Raid5, RightSymmetric, 4),
    ("raid6_zr, 5 devices", Raid6, ZeroRestart, 5),
    ("raid6_nr, 5 devices", Raid6, NRestart, 5),
    ("raid6_nc, 5 devices", Raid6, NContinue, 5),
    ("raid6_n_6, 5 devices", Raid6, N6, 5),
    ("raid6_la_6, 5 devices", Raid6, LeftAsymmetric6, 5),
    ("raid6_ra_6, 5 devices", Raid6, RightAsymmetric6, 5),
    ("raid6_ls_6, 5 devices", Raid6, LeftSymmetric6, 5),
    ("raid6_rs_6, 5 devices", Raid6, RightSymmetric6, 5),
    ("md raid6 left-symmetric (mdadm default), 5 devices", Raid6, LeftSymmetric, 5),
];

/// Draws a row as the tables do: array strips by their number, then the exponents by slot.
fn draw(geometry: &Geometry, stripe: u64) -> Vec<String> {
    let rotation = geometry.rotation(StripeId(stripe));
    let slots = || (0..geometry.members()).map(|slot| geometry.role(rotation, Slot(slot as u8)));
    let mut row = vec![format!("s{stripe}:")];
    row.extend(slots().map(|role| match role {
        Role::Data(strip) => {
            let at = geometry.array_byte(Location { stripe: StripeId(stripe), strip, offset: 0 });
            format!("D{}", at / u64::from(geometry.strip_bytes()))
        }
        parity => parity.to_string(),
    }));
    if geometry.q_slot(rotation).is_some() {
        let exponents = slots().map(|role| match role {
            Role::Data(strip) => geometry.q_exponent(rotation, strip).to_string(),
            Role::P | Role::Q => "-".to_owned(),
        });
        let drawn = format!("Qexp[{}]", exponents.collect::<Vec<_>>().join(" "));
        row.extend(drawn.split_whitespace().map(str::to_owned));
    }
    row
}

#[test]
fn the_fixture_tables_are_drawn_again() {
    let mut tables = TABLES.iter();
    let mut current = None;
    let mut rows = 0;
    for line in FIXTURES.lines() {
        if let Some(heading) = line.strip_prefix("-- ") {
            let &(name, level, layout, members) = tables.next().expect("as many as headings");
            assert_eq!(heading, name);
            current = Some(Geometry::new(spec(level, layout, members, 8)).unwrap());
            rows = 0;
            continue;
        }
        let geometry = current.as_ref().expect("a heading comes first");
        let expected: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(draw(geometry, rows), expected, "{}", name_of(geometry));
        rows += 1;
    }
    assert!(tables.next().is_none(), "every table has a heading in the file");
    assert_eq!(FIXTURES.lines().count(), 15 + 6 * 4 + 9 * 5);
}
