//! Specs that make no array, word for word.
//!
//! Not here: what the service's clients can ask for (`tests/blackbox`).

use super::*;
use crate::raid_bdev::RaidBdev;
use crate::seats::tests::{BYTES, device, spec_of};

/// What is said of three members of 2 MiB and strips of 16 KiB with something changed.
fn refusal(change: impl FnOnce(&mut RaidSpec)) -> (i32, String) {
    let devices: Vec<_> = (0..3).map(|slot| device(&format!("m{slot}"))).collect();
    let mut spec = spec_of(&devices);
    assert!(geometry(&spec).is_ok());
    change(&mut spec);
    let error = geometry(&spec).expect_err("it makes no array");
    (error.errno(), error.to_string())
}

/// Goal: what tables and superblocks are checked for before, and the library checks all the same, is refused in
/// exact words.
#[test]
fn specs_that_make_no_array() {
    let rebuild = |slots: &[u8]| slots.iter().copied().map(Slot).collect::<SlotSet>();
    let absent = refusal(|spec| {
        spec.members[1] = None;
        spec.options.rebuild = rebuild(&[1]);
    });
    let text = "raid bdev r0: slot 1 is to be rebuilt, and has no member: give it one";
    assert_eq!(absent, (-22, text.to_owned()));
    let beyond = refusal(|spec| spec.options.rebuild = rebuild(&[0, 3]));
    let text = "raid bdev r0: slot 3 is to be rebuilt, and has no member: give it one";
    assert_eq!(beyond, (-22, text.to_owned()));
    let two = refusal(|spec| spec.options.rebuild = rebuild(&[0, 2]));
    let text = "raid bdev r0: 2 of 3 members are missing; raid5 can do without 1";
    assert_eq!(two, (-22, text.to_owned()));
    let larger = refusal(|spec| spec.options.component_bytes = Some(BYTES + (16 << 10)));
    let text = "raid bdev r0: base bdev m0 has 2097152 bytes, too few: its data offset and 2113536 bytes of data \
                take more";
    assert_eq!(larger, (-22, text.to_owned()));
    let twice = refusal(|spec| spec.members[2] = spec.members[0].clone());
    let text =
        "raid bdev r0: base bdev m0 stands in slots 0 and 2; each member must be a bdev of its own";
    assert_eq!(twice, (-22, text.to_owned()));
    let offsets = refusal(|spec| spec.data_offsets_bytes = vec![0; 4]);
    let text = "raid bdev r0: 4 data offsets for 3 members; give one for each";
    assert_eq!(offsets, (-22, text.to_owned()));
}

/// Goal: an array that has nothing to run on is refused.
#[test]
fn an_array_without_a_reactor() {
    let devices: Vec<_> = (0..3).map(|slot| device(&format!("m{slot}"))).collect();
    let error = RaidBdev::create(&[], spec_of(&devices)).expect_err("nothing runs it");
    let text = "raid bdev r0: there is no reactor to run it on; start at least one";
    assert_eq!((error.errno(), error.to_string()), (-19, text.to_owned()));
}
