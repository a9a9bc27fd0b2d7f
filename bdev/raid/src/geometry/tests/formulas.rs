//! A second implementation: the table of linux-raid.md, section 4, formula by formula, and the
//! syndrome orders of its section 4.1. It shares nothing with `geometry/rotation.rs`, which builds
//! its tables from three choices per layout.

use super::*;
use crate::layout::Layout::{
    LeftAsymmetric, LeftAsymmetric6, LeftSymmetric6, N6, NContinue, NRestart, ParityFirst,
    ParityFirst6, RightAsymmetric, RightAsymmetric6, RightSymmetric, RightSymmetric6, ZeroRestart,
};
use std::collections::BTreeSet;

/// Who holds what in one row: P, Q, D(0), D(1), ... and the exponents of D(0), D(1), ...
#[derive(Debug, PartialEq, Eq)]
struct Row {
    p: u64,
    q: Option<u64>,
    data: Vec<u64>,
    exponents: Vec<u64>,
}

/// The position of P and, at level 6, of Q in `row` for `n` members.
fn parities(level: Level, layout: Layout, n: u64, row: u64) -> (u64, Option<u64>) {
    let k = n - level.parity_count() as u64;
    if level != Raid6 {
        let p = match layout {
            ParityLast => n - 1,
            ParityFirst => 0,
            ParityAt(p) => p.into(),
            LeftAsymmetric | LeftSymmetric => k - row % n,
            RightAsymmetric | RightSymmetric => row % n,
            other => panic!("{other} is no layout of {level}"),
        };
        return (p, None);
    }
    let wrap = |p: u64| (p, Some(if p == n - 1 { 0 } else { p + 1 }));
    match layout {
        ZeroRestart | RightAsymmetric => wrap(row % n),
        NRestart => wrap(n - 1 - (row + 1) % n),
        LeftAsymmetric => wrap(n - 1 - row % n),
        NContinue => {
            let p = n - 1 - row % n;
            (p, Some((p + n - 1) % n))
        }
        N6 => (n - 2, Some(n - 1)),
        LeftAsymmetric6 | LeftSymmetric6 => (k - row % (n - 1), Some(n - 1)),
        RightAsymmetric6 | RightSymmetric6 => (row % (n - 1), Some(n - 1)),
        ParityFirst6 => (0, Some(n - 1)),
        LeftSymmetric => {
            let p = n - 1 - row % n;
            (p, Some((p + 1) % n))
        }
        RightSymmetric => (row % n, Some((row % n + 1) % n)),
        ParityFirst => (0, Some(1)),
        ParityLast | ParityAt(_) => panic!("{layout} is no layout of {level}"),
    }
}

/// D(d): the position of data strip `d` in a row with P at `p`, for `n` members.
fn data(level: Level, layout: Layout, n: u64, p: u64, d: u64) -> u64 {
    if level != Raid6 {
        return match layout {
            ParityFirst => d + 1,
            ParityLast => d,
            ParityAt(_) | LeftAsymmetric | RightAsymmetric => d + u64::from(d >= p),
            _ => (p + 1 + d) % n,
        };
    }
    match layout {
        ZeroRestart | NRestart | LeftAsymmetric | RightAsymmetric => {
            if p == n - 1 {
                d + 1
            } else {
                d + if d >= p { 2 } else { 0 }
            }
        }
        NContinue => (p + 1 + d) % n,
        N6 => d,
        LeftAsymmetric6 | RightAsymmetric6 => d + u64::from(d >= p),
        LeftSymmetric6 | RightSymmetric6 => (p + 1 + d) % (n - 1),
        ParityFirst6 => d + 1,
        LeftSymmetric | RightSymmetric => (p + 2 + d) % n,
        ParityFirst => d + 2,
        ParityLast | ParityAt(_) => panic!("{layout} is no layout of {level}"),
    }
}

/// Section 4.1: DDF takes the member's number; md numbers the data members from the one after Q on.
fn exponent(layout: Layout, n: u64, row: &Row, slot: u64) -> u64 {
    if matches!(layout, ZeroRestart | NRestart | NContinue) {
        return slot;
    }
    let q = row.q.expect("level 6");
    let (mut at, mut number) = (if q == n - 1 { 0 } else { q + 1 }, 0);
    while at != slot {
        if at != row.p && at != q {
            number += 1;
        }
        at = (at + 1) % n;
    }
    number
}

fn row_by_formula(level: Level, layout: Layout, members: usize, row: u64) -> Row {
    let n = members as u64;
    let (p, q) = parities(level, layout, n, row);
    let k = n - level.parity_count() as u64;
    let mut result = Row { p, q, data: vec![], exponents: vec![] };
    result.data = (0..k).map(|d| data(level, layout, n, p, d)).collect();
    if q.is_some() {
        result.exponents =
            result.data.iter().map(|&slot| exponent(layout, n, &result, slot)).collect();
    }
    result
}

/// The same row as the geometry answers, question by question.
fn row_by_geometry(geometry: &Geometry, row: u64) -> Row {
    let rotation = geometry.rotation(StripeId(row));
    let strips = 0..geometry.data_strips() as u8;
    let q = geometry.q_slot(rotation);
    Row {
        p: geometry.p_slot(rotation).0.into(),
        q: q.map(|q| q.0.into()),
        data: strips.clone().map(|d| geometry.data_slot(rotation, d).0.into()).collect(),
        exponents: match q {
            Some(_) => strips.map(|d| geometry.q_exponent(rotation, d).into()).collect(),
            None => vec![],
        },
    }
}

/// Goal: tables and formulas agree: every layout, 3 to 9 members, 60 rows, which is what mdadm's
/// `geo_map` was compared over.
#[test]
fn tables_agree_with_the_formulas() {
    let mut rows = 0;
    every_array(&[3, 4, 5, 6, 7, 8, 9], 60, |geometry| {
        for row in 0..60 {
            let (level, layout, n) = (geometry.level(), geometry.layout(), geometry.members());
            let expected = row_by_formula(level, layout, n, row);
            assert_eq!(row_by_geometry(geometry, row), expected, "{} row {row}", name_of(geometry));
            rows += 1;
        }
    });
    // Levels 4 and 5: 2 and 6 named layouts of 3 to 9 members, 42 slots for parity-at at each;
    // level 6: 14 layouts of 4 to 9.
    assert_eq!(rows, 60 * ((2 + 6) * 7 + 2 * 42 + 14 * 6));
}

/// Goal: the same for the widest arrays and for the last rows of the longest ones.
#[test]
fn tables_agree_with_the_formulas_at_the_bounds() {
    for (level, members) in [Raid4, Raid5, Raid6]
        .into_iter()
        .flat_map(|l| [4, 63, 64, 65, 253, 254, 255].map(|n| (l, n)))
    {
        for layout in Layout::of_level(level).iter().copied().chain([ParityAt(3)]) {
            if !layout.is_of_level(level) {
                continue;
            }
            let data_strips = (members - level.parity_count()) as u64;
            let member_bytes = u64::MAX / data_strips;
            let spec = GeometrySpec { member_bytes, ..spec(level, layout, members, 1) };
            let geometry = Geometry::new(spec).unwrap();
            let last = geometry.stripes() - 1;
            for row in (0..2).chain(254..257).chain(last - 256..=last) {
                let expected = row_by_formula(level, layout, members, row);
                assert_eq!(
                    row_by_geometry(&geometry, row),
                    expected,
                    "{} row {row}",
                    name_of(&geometry)
                );
            }
        }
    }
}

/// Goal: in every row each member has exactly one role, and the exponents of Q are distinct powers.
#[test]
fn every_row_is_a_permutation_with_distinct_exponents() {
    every_array(&[3, 4, 5, 6, 7, 8, 9, 254, 255], 60, |geometry| {
        if matches!(geometry.layout(), ParityAt(slot) if slot > 9) {
            return;
        }
        for row in 0..60 {
            let rotation = geometry.rotation(StripeId(row));
            let mut slots: Vec<Slot> = geometry.data_slots(rotation).to_vec();
            slots.push(geometry.p_slot(rotation));
            slots.extend(geometry.q_slot(rotation));
            assert_eq!(slots.len(), geometry.members());
            let distinct: BTreeSet<Slot> = slots.iter().copied().collect();
            let all: BTreeSet<Slot> = (0..geometry.members()).map(|n| Slot(n as u8)).collect();
            assert_eq!(distinct, all, "{} row {row}", name_of(geometry));

            for (d, &slot) in (0u8..).zip(geometry.data_slots(rotation)) {
                assert_eq!(geometry.role(rotation, slot), Role::Data(d));
            }
            assert_eq!(geometry.role(rotation, geometry.p_slot(rotation)), Role::P);
            if let Some(q) = geometry.q_slot(rotation) {
                assert_eq!(geometry.role(rotation, q), Role::Q);
                let exponents = geometry.q_exponents(rotation);
                let distinct: BTreeSet<u8> = exponents.iter().copied().collect();
                assert_eq!(
                    distinct.len(),
                    geometry.data_strips(),
                    "{} row {row}",
                    name_of(geometry)
                );
                assert!(exponents.iter().all(|&e| e < 255), "g has order 255");
            }
            assert_eq!(geometry.q_slot(rotation).is_some(), geometry.level() == Raid6);
        }
    });
}

/// Goal: a rotation stands for one arrangement, and tables are no longer than they must be: two
/// rows have the same rotation exactly if every member has the same role in both.
#[test]
fn rows_with_the_same_roles_have_the_same_rotation() {
    every_array(&[3, 4, 5, 6, 7, 8, 9], 60, |geometry| {
        for (a, b) in (0..30).flat_map(|a| (0..30).map(move |b| (a, b))) {
            let (x, y) = (geometry.rotation(StripeId(a)), geometry.rotation(StripeId(b)));
            let same_roles = geometry.roles(x) == geometry.roles(y);
            assert_eq!(x == y, same_roles, "{} rows {a} and {b}", name_of(geometry));
            assert!(x.index() < geometry.members());
        }
    });
}
