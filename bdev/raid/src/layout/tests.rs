//! Names: every word that md, mdadm and dm-raid use is understood, canonical names come back, and
//! what is not understood is refused with what would be.

use super::*;
use proptest::prelude::*;

use Layout::{
    LeftAsymmetric, LeftAsymmetric6, LeftSymmetric, LeftSymmetric6, N6, NContinue, NRestart,
    ParityAt, ParityFirst, ParityFirst6, ParityLast, RightAsymmetric, RightAsymmetric6,
    RightSymmetric, RightSymmetric6, ZeroRestart,
};
use Level::{Raid4, Raid5, Raid6};

/// mdadm's tables `r5layout` and `r6layout`: name and md's number.
const MDADM_RAID5: [(&str, u8); 14] = [
    ("left-asymmetric", 0),
    ("right-asymmetric", 1),
    ("left-symmetric", 2),
    ("right-symmetric", 3),
    ("default", 2),
    ("la", 0),
    ("ra", 1),
    ("ls", 2),
    ("rs", 3),
    ("parity-first", 4),
    ("parity-last", 5),
    ("ddf-zero-restart", 1),
    ("ddf-N-restart", 0),
    ("ddf-N-continue", 2),
];
const MDADM_RAID6: [(&str, u8); 19] = [
    ("left-asymmetric", 0),
    ("right-asymmetric", 1),
    ("left-symmetric", 2),
    ("right-symmetric", 3),
    ("default", 2),
    ("la", 0),
    ("ra", 1),
    ("ls", 2),
    ("rs", 3),
    ("parity-first", 4),
    ("parity-last", 5),
    ("ddf-zero-restart", 8),
    ("ddf-N-restart", 9),
    ("ddf-N-continue", 10),
    ("left-asymmetric-6", 16),
    ("right-asymmetric-6", 17),
    ("left-symmetric-6", 18),
    ("right-symmetric-6", 19),
    ("parity-first-6", 20),
];

/// dm-raid's table: type, md level, md's number (linux-raid.md, section 2.3).
const DM_RAID: [(&str, u8, u8); 14] = [
    ("raid4", 5, 4),
    ("raid5_n", 5, 5),
    ("raid5_la", 5, 0),
    ("raid5_ra", 5, 1),
    ("raid5_ls", 5, 2),
    ("raid5_rs", 5, 3),
    ("raid6_zr", 6, 8),
    ("raid6_nr", 6, 9),
    ("raid6_nc", 6, 10),
    ("raid6_n_6", 6, 5),
    ("raid6_la_6", 6, 16),
    ("raid6_ra_6", 6, 17),
    ("raid6_ls_6", 6, 18),
    ("raid6_rs_6", 6, 19),
];

/// A name, and the same name in the two cases that people type.
fn cases(name: &str) -> [String; 3] {
    [name.to_owned(), name.to_ascii_lowercase(), name.to_ascii_uppercase()]
}

#[test]
fn levels_are_known_by_their_words() {
    let words = [
        (Raid4, &["raid4", "4"][..]),
        (Raid5, &["raid5", "5", "raid5f", "5f"]),
        (Raid6, &["raid6", "6"]),
    ];
    for (level, names) in words {
        for name in names.iter().flat_map(|name| cases(name)) {
            assert_eq!(name.parse(), Ok(level), "{name}");
        }
        assert_eq!(level.to_string().parse(), Ok(level));
    }
    assert_eq!(Level::ALL.map(Level::number), [4, 5, 6]);
    assert_eq!(Level::ALL.map(Level::parity_count), [1, 1, 2]);
    for wrong in ["", "raid", "raid0", "raid1", "10", " raid5", "raid55", "6f"] {
        let error = wrong.parse::<Level>().unwrap_err().to_string();
        assert!(error.contains(&format!("{wrong:?}")) && error.contains("raid6 (6)"), "{error}");
    }
}

#[test]
fn every_name_of_mdadm_means_what_mdadm_means() {
    let tables = [(Raid5, &MDADM_RAID5[..]), (Raid6, &MDADM_RAID6[..])];
    for (level, table) in tables {
        for &(name, number) in table {
            for name in cases(name) {
                let layout = Layout::parse(level, &name).unwrap();
                assert_eq!(layout.md_algorithm(), Some(number), "{level} {name}");
            }
        }
    }
}

#[test]
fn every_type_of_dm_raid_means_what_dm_raid_means() {
    for (name, md_level, number) in DM_RAID {
        for name in cases(name) {
            let (level, layout) = Layout::from_dm_type(&name).unwrap();
            assert_eq!(layout.md_algorithm(), Some(number), "{name}");
            assert_eq!(level == Raid6, md_level == 6, "{name}");
            assert_eq!(level == Raid4, name.eq_ignore_ascii_case("raid4"), "{name}");
            assert_eq!(layout.dm_type(level), Some(name.to_ascii_lowercase().as_str()));
            assert_eq!(Layout::parse(level, &name), Ok(layout), "{name}");
        }
    }
    // The kernel refuses these: `raid: Unrecognised raid_type`.
    for wrong in
        ["raid5", "raid6", "raid5_0", "raid6_0_6", "raid6_ls", "left-symmetric", "raid1", ""]
    {
        let error = Layout::from_dm_type(wrong).unwrap_err().to_string();
        assert!(error.contains(&format!("{wrong:?}")) && error.contains("raid6_zr"), "{error}");
    }
}

/// Canonical names come back as the same layout, and a level has no layout but those listed for it.
#[test]
fn canonical_names_round_trip() {
    for level in Level::ALL {
        let parity_at = (level != Raid6).then_some((0..=u8::MAX).map(ParityAt));
        let all = Layout::of_level(level).iter().copied().chain(parity_at.into_iter().flatten());
        for layout in all {
            assert!(layout.is_of_level(level), "{level} {layout}");
            for name in cases(&layout.to_string()) {
                assert_eq!(Layout::parse(level, &name), Ok(layout), "{level} {name}");
            }
            if let Some(name) = layout.mdadm_name() {
                assert_eq!(layout.to_string(), name);
            }
            if let Some(name) = layout.dm_type(level) {
                assert_eq!(Layout::parse(level, name), Ok(layout), "{level} {name}");
            }
        }
        assert!(Layout::default_for(level).is_of_level(level));
        assert_eq!(Layout::parse(level, "default"), Ok(Layout::default_for(level)));
    }
}

#[test]
fn names_of_one_level_are_not_those_of_another() {
    for layout in
        [ParityFirst, ParityLast, LeftAsymmetric, RightAsymmetric, LeftSymmetric, RightSymmetric]
    {
        assert!(layout.is_of_level(Raid5));
    }
    let only_at_6 = [
        ZeroRestart,
        NRestart,
        NContinue,
        N6,
        LeftAsymmetric6,
        RightAsymmetric6,
        LeftSymmetric6,
        RightSymmetric6,
        ParityFirst6,
    ];
    for layout in only_at_6 {
        assert!(
            layout.is_of_level(Raid6) && !layout.is_of_level(Raid5) && !layout.is_of_level(Raid4)
        );
    }
    assert!(ParityFirst.is_of_level(Raid6), "md has it at level 6: P, then Q");
    assert!(!ParityLast.is_of_level(Raid6), "there it is N6");
    assert!(!ParityAt(1).is_of_level(Raid6));
    assert!(!LeftSymmetric.is_of_level(Raid4));
}

/// Section 4.3: three conventions for RAID 4, and no room for a fourth.
#[test]
fn raid4_means_the_last_member_unless_device_mapper_says_it() {
    assert_eq!(Layout::default_for(Raid4), ParityLast);
    assert_eq!(Layout::from_dm_type("raid4"), Ok((Raid4, ParityFirst)));
    assert_eq!(Layout::parse(Raid4, "raid4"), Ok(ParityFirst));
    assert_eq!(Layout::parse(Raid4, "parity-at-2"), Ok(ParityAt(2)));
    assert_eq!(Layout::from_dm_type("raid5_n"), Ok((Raid5, ParityLast)));
    assert_eq!(Layout::parse(Raid5, "raid5_0"), Ok(ParityFirst));
    assert_eq!(Layout::parse(Raid6, "raid6_0_6"), Ok(ParityFirst6));
    assert_eq!(ParityAt(2).dm_type(Raid4), None);
    assert_eq!((ParityAt(2).mdadm_name(), ParityAt(2).md_algorithm()), (None, None));
    assert_eq!((LeftSymmetric.dm_type(Raid6), LeftSymmetric.dm_type(Raid4)), (None, None));
}

#[test]
fn refusals_name_the_value_and_what_is_right() {
    let refusals = [
        (Raid4, "left-symmetric", "parity-last, parity-first or parity-at-<slot>"),
        (Raid5, "left-symmetric-6", "left-symmetric, left-asymmetric, right-symmetric, "),
        (Raid5, "parity-at-256", "parity-first or parity-at-<slot>"),
        (Raid5, "parity-at-+1", "parity-at-<slot>"),
        (Raid5, "parity-at-", "parity-at-<slot>"),
        (Raid6, "parity-at-1", "right-asymmetric-6 or parity-first-6"),
        (Raid6, "raid5_ls", "ddf-zero-restart"),
        (Raid6, "", "left-symmetric"),
    ];
    for (level, name, right) in refusals {
        let error = Layout::parse(level, name).unwrap_err().to_string();
        let start = format!("{level} has no layout {name:?}: use ");
        assert!(error.starts_with(&start) && error.contains(right), "{error}");
    }
}

proptest! {
    /// Table words and JSON strings come from outside: none may panic.
    #[test]
    fn no_word_panics(word in "\\PC{0,24}", tail in "[-_0-9a-zé]{0,8}") {
        for name in [word.clone(), format!("parity-at-{tail}"), format!("parity-at{tail}{word}")] {
            for level in Level::ALL {
                if let Ok(layout) = Layout::parse(level, &name) {
                    prop_assert!(layout.is_of_level(level));
                }
            }
            let known = DM_RAID.iter().any(|row| row.0.eq_ignore_ascii_case(&name));
            prop_assert_eq!(Layout::from_dm_type(&name).is_ok(), known);
        }
    }
}
