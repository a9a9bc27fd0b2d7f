//! Members that are lost while a new array has not been resynced yet: parity is right wherever it was written, so
//! nothing that was acknowledged is lost, over restarts in order too.
//!
//! Not here: crashes meanwhile, after which nobody knows (`crash`, `tests/sim`).

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use array::RaidSnapshot;
use raid::member::MemberState::{self, Faulty, InSync, Missing};
use serde_json::{Value, json};

use crate::daemon::{Place, entry};
use crate::rig::{ARRAY, BLOCK, Rig, Rng, stamped};

/// Long enough for its resync to be stopped on the way.
const MEMBER_BYTES: u64 = 128 << 20;
const NOISE_BYTES: u64 = 4 << 20;
const STRIP: u64 = 64 << 10;

/// Members `EE_u0` and so on, of an array of a level whose first resync stands still.
struct Bench {
    place: Place,
    rig: Rig,
    level: &'static str,
    members: usize,
}

impl Bench {
    fn new(level: &'static str, members: usize) -> Self {
        let place = Place::new();
        for member in 0..members {
            let name = format!("u{member}");
            place.file(&name, MEMBER_BYTES);
            // At the end, where the test writes, so that no parity is right by chance.
            let mut random = Rng::new(member as u64);
            let noise: Vec<u8> =
                (0..NOISE_BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect();
            let file = OpenOptions::new().write(true).open(place.path(&name)).unwrap();
            file.write_all_at(&noise, MEMBER_BYTES - NOISE_BYTES).unwrap();
        }
        place.file("log", 1 << 20);
        let rig = Rig::start();
        let bench = Self { place, rig, level, members };
        bench.begin();
        bench
    }

    fn begin(&self) {
        let mut entries: Vec<Value> = Vec::new();
        for member in 0..self.members {
            let name = format!("u{member}");
            let file =
                json!({ "name": name, "filename": self.place.path(&name), "block_size": 4096 });
            entries.push(entry("bdev_uring_create", file));
            entries.push(entry("bdev_error_create", json!({ "base_name": name })));
        }
        // Last, so that the array is not found before all of the others have their error bdev.
        let log = json!({ "name": "log", "filename": self.place.path("log"), "block_size": 4096 });
        entries.push(entry("bdev_uring_create", log));
        let members: Vec<String> = (0..self.members).map(|slot| format!("EE_u{slot}")).collect();
        let array = json!({
            "name": ARRAY, "raid_level": self.level, "strip_size_kb": STRIP >> 10,
            "superblock": true, "base_bdevs": members, "region_size_kb": 1024, "log_bdev": "log",
        });
        entries.push(entry("bdev_raid_create", array));
        self.rig.apply(&entries).unwrap();
        self.rig.message("frozen");
    }

    fn restart(self) -> Self {
        let Self { place, rig, level, members } = self;
        rig.stop();
        let bench = Self { place, rig: Rig::start(), level, members };
        bench.begin();
        bench
    }

    /// Parts of rows at the end of the array, which a resync comes to last.
    fn writes(&self) -> Vec<(u64, Vec<u8>)> {
        let size = self.rig.size_bytes();
        let at = |index: u64| size - STRIP * 40 + index * (STRIP + 3 * BLOCK as u64);
        let bytes = |offset: u64, index: u64| {
            stamped(offset / BLOCK as u64, [1, 5, 16][(index % 3) as usize], index + 1)
        };
        (0..30).map(|index| (at(index), bytes(at(index), index))).collect()
    }

    fn verify(&self) {
        for (offset, bytes) in self.writes() {
            assert!(self.rig.read(offset, bytes.len()).unwrap() == bytes, "at {offset}");
        }
    }
}

fn is_unsynced(snapshot: &RaidSnapshot) -> bool {
    snapshot.regions_in_sync < snapshot.regions
}

/// Goal: what was written to a new array is read back without as many members as its level can do without, before
/// its first resync has come there; it is written again in that state, survives a restart in order, and a rebuild
/// and the resync then make everything right. Method: RAID 5 and 6, their resync frozen; members that fail writes. What
/// one fails to read while it is still there cannot be computed for a write beside it: that is answered with an error.
#[test]
fn a_member_that_is_lost_before_the_first_resync_costs_nothing() {
    for (level, members, lost) in [("raid5", 4, 1), ("raid6", 5, 2)] {
        let bench = Bench::new(level, members);
        let writes = bench.writes();
        let (early, late) = writes.split_at(20);
        for (offset, bytes) in early {
            bench.rig.write(*offset, bytes).unwrap();
        }
        let mut bench = bench.restart();
        assert!(is_unsynced(&bench.rig.snapshot()));
        for slot in 1..=lost {
            bench.rig.inject(&format!("EE_u{slot}"), "write", "failure", u32::MAX);
        }
        for (offset, bytes) in late {
            bench.rig.write(*offset, bytes).unwrap();
        }
        bench.rig.wait_until("they are out", |rig| {
            rig.states().iter().filter(|&&state| state == Faulty).count() == lost
        });
        bench.verify();
        bench = bench.restart();
        assert!(is_unsynced(&bench.rig.snapshot()));
        bench.verify();
        let is_free = |state: &MemberState| matches!(state, Faulty | Missing);
        bench.rig.message("recover");
        bench.rig.settle();
        while let Some(slot) = bench.rig.states().iter().position(is_free) {
            let array = json!({ "raid_bdev": ARRAY, "base_bdev": format!("EE_u{slot}") });
            bench.rig.ask("bdev_raid_add_base_bdev", array);
            bench.rig.settle();
        }
        assert_eq!(bench.rig.states(), vec![InSync; members]);
        assert!(!is_unsynced(&bench.rig.snapshot()), "the first resync goes on by itself");
        assert_eq!(bench.rig.check(), 0);
        bench.verify();
        bench.rig.stop();
    }
}
