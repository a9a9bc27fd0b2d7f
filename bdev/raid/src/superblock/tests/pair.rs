//! Two copies: every pair of what a copy can be, against a table.

use super::*;

fn at_events(events: u64) -> Superblock {
    Superblock { events, ..sample(Level::Raid5, Layout::LeftSymmetric, 3) }
}

fn unreadable() -> Result<Bytes, ReadFailed> {
    Err(ReadFailed { reason: "input/output error".to_owned() })
}

fn damaged() -> Bytes {
    let mut bytes = encoded(&at_events(9));
    bytes[300] = 1;
    bytes
}

fn later_version() -> Bytes {
    let mut bytes = encoded(&at_events(9));
    bytes[8] = 2;
    seal(&mut bytes);
    bytes
}

fn pair(
    first: &Result<Bytes, ReadFailed>,
    second: &Result<Bytes, ReadFailed>,
) -> Result<Pair, NoValidCopy> {
    let slice = |copy: &Result<Bytes, ReadFailed>| copy.clone();
    let (first, second) = (slice(first), slice(second));
    decode_pair(
        first.as_ref().map(|b| &b[..]).map_err(Clone::clone),
        second.as_ref().map(|b| &b[..]).map_err(Clone::clone),
    )
}

#[test]
fn the_higher_event_count_wins() {
    let copies = |first, second| {
        pair(&Ok(encoded(&at_events(first))), &Ok(encoded(&at_events(second)))).unwrap()
    };
    assert_eq!(copies(7, 7), Pair { superblock: at_events(7), other: OtherCopy::Same });
    for (first, second) in [(8, 7), (7, 8)] {
        let right = Pair { superblock: at_events(8), other: OtherCopy::Outdated { events: 7 } };
        assert_eq!(copies(first, second), right);
    }
    let other = Superblock { array_name: "b".to_owned(), ..at_events(7) };
    let tie = pair(&Ok(encoded(&at_events(7))), &Ok(encoded(&other))).unwrap();
    let right = Pair { superblock: at_events(7), other: OtherCopy::Outdated { events: 7 } };
    assert_eq!(tie, right, "copy 0 is written first");
}

#[test]
fn one_valid_copy_is_enough() {
    let valid = Ok(encoded(&at_events(3)));
    for lost in [unreadable(), Ok(damaged()), Ok([0; SUPERBLOCK_BYTES])] {
        for found in [pair(&valid, &lost), pair(&lost, &valid)] {
            let Pair { superblock, other } = found.unwrap();
            assert_eq!(superblock, at_events(3));
            assert!(matches!(other, OtherCopy::Lost(_)), "{other:?}");
        }
    }
}

#[test]
fn what_was_there_is_said_when_no_copy_is_valid() {
    let blank = || Ok([0; SUPERBLOCK_BYTES]);
    let no_magic = "no superblock: it begins with \"\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\", not \
                    with \"raid456\\x00\"";
    let failed = "it cannot be read: input/output error";
    let checksum = |bytes: &Bytes| Superblock::decode(bytes).unwrap_err().to_string();
    let bad = checksum(&damaged());
    let version = "superblock: version 2.0 is not understood, only 1.x is";
    let unusable = "there is a superblock that cannot be used.";
    let cases = [
        (blank(), blank(), "there is no superblock".to_owned()),
        (
            blank(),
            unreadable(),
            format!("no superblock was found. Copy 0: {no_magic}. Copy 1: {failed}"),
        ),
        (
            unreadable(),
            unreadable(),
            format!("no superblock was found. Copy 0: {failed}. Copy 1: {failed}"),
        ),
        (Ok(damaged()), blank(), format!("{unusable} Copy 0: {bad}. Copy 1: {no_magic}")),
        (unreadable(), Ok(damaged()), format!("{unusable} Copy 0: {failed}. Copy 1: {bad}")),
        (Ok(damaged()), Ok(damaged()), format!("{unusable} Copy 0: {bad}. Copy 1: {bad}")),
        (Ok(later_version()), blank(), format!("copy 0: {version}")),
        (blank(), Ok(later_version()), format!("copy 1: {version}")),
        (Ok(encoded(&at_events(99))), Ok(later_version()), format!("copy 1: {version}")),
    ];
    for (first, second, text) in cases {
        assert_eq!(pair(&first, &second).unwrap_err().to_string(), text);
    }
}

#[test]
fn a_copy_of_the_wrong_length_is_none() {
    let bytes = encoded(&at_events(1));
    let error = decode_pair(Ok(&bytes[..512]), Ok(&[])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no superblock was found. Copy 0: a superblock has 16384 bytes, not 512. Copy 1: a \
         superblock has 16384 bytes, not 0"
    );
}

/// Goal: however often updates are cut off, a member says at least what the last one that ended has said, and
/// never nothing. Method: every sequence of six updates, each of which ends or is cut off before, in or
/// after the write of a copy, or ends; before each the last one is written again, as at a start, which may be
/// cut off too. A sector is old or new: writing what is there already tears nothing.
#[test]
fn the_better_copy_is_never_overwritten() {
    fn cut_off(copies: [Option<u64>; 2], events: u64) -> [[Option<u64>; 2]; 4] {
        let [first, second] = copy_order(events);
        let with = |mut copies: [Option<u64>; 2], copy: usize, content| {
            copies[copy] = content;
            copies
        };
        let torn = |copies: [Option<u64>; 2], copy: usize| {
            with(copies, copy, copies[copy].filter(|there| *there == events))
        };
        let begun = with(copies, first, Some(events));
        [copies, torn(copies, first), begun, torn(begun, second)]
    }
    fn go(copies: [Option<u64>; 2], ended: u64, updates_left: u32) {
        let found = copies.into_iter().flatten().max().expect("one of the copies says something");
        assert!(found >= ended, "{copies:?} after update {ended}");
        if updates_left == 0 {
            return;
        }
        for left in cut_off(copies, found) {
            go(left, ended, updates_left - 1);
        }
        let events = found + 1;
        for left in cut_off([Some(found); 2], events) {
            go(left, ended, updates_left - 1);
        }
        go([Some(events); 2], events, updates_left - 1);
    }
    go([Some(1); 2], 1, 6);
    go([Some(2); 2], 2, 6);
}
