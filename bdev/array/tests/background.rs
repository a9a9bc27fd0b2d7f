//! Background actions on real reactors, where the core's own tests cannot see: what is computed.
//!
//! Not here: which stretch is worked on when (crate `raid`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod support;

use array::RaidBdev;
use device::Bdev;
use raid::coordinator::Action;
use raid::event::WorkKind;
use raid::layout::{Layout, Level};
use raid::units::{Slot, StripeId};
use std::sync::Arc;
use std::time::Duration;
use support::{Remote, Rng, create, malloc, spec, two_reactors};

const STRIP: u32 = 16 << 10;
const MEMBERS: usize = 5;

fn wait(array: &RaidBdev, kind: WorkKind) -> u64 {
    array.request(kind).unwrap();
    for _ in 0..30_000 {
        let now = array.snapshot();
        if now.last_action == Some(kind) && now.action == Action::Idle {
            return now.mismatched_rows;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("{kind:?} does not end");
}

/// Goal: a degraded RAID 6 is checked and repaired as far as a parity is left to compare with. Method: each
/// member in turn is missing; in one stripe of which it holds P one byte of Q is changed, in one of which it
/// holds Q one of P, and in one of which it holds data one of Q: each is found once, and repaired.
#[test]
fn a_degraded_raid6_is_checked_by_the_parity_that_is_left() {
    let reactors = two_reactors();
    for missing in 0..MEMBERS {
        let mut members: Vec<Option<Arc<dyn Bdev>>> =
            (0..MEMBERS).map(|slot| Some(malloc(&format!("m{slot}"), 4096, 1 << 20))).collect();
        let layout = Layout::default_for(Level::Raid6);
        let (array, bdev) = create(&reactors, spec(Level::Raid6, layout, STRIP, members.clone()));
        let data = Rng(7).bytes(bdev.info().size_bytes() as usize);
        Remote::open(&reactors.handles()[0], &bdev).write_all(&data);
        let geometry = array.geometry().clone();
        array.stop().unwrap();

        let out = Slot(missing as u8);
        let stripes = (0..geometry.stripes()).map(StripeId);
        let with = |wanted: fn(&raid::geometry::Geometry, StripeId) -> Slot| {
            stripes.clone().find(|stripe| wanted(&geometry, *stripe) == out).unwrap()
        };
        let p_slot = |g: &raid::geometry::Geometry, s| g.p_slot(g.rotation(s));
        let q_slot = |g: &raid::geometry::Geometry, s| g.q_slot(g.rotation(s)).unwrap();
        let data_slot = |g: &raid::geometry::Geometry, s| g.data_slot(g.rotation(s), 0);
        let (lost_p, lost_q, lost_data) = (with(p_slot), with(q_slot), with(data_slot));
        for (stripe, left) in [
            (lost_p, q_slot(&geometry, lost_p)),
            (lost_q, p_slot(&geometry, lost_q)),
            (lost_data, q_slot(&geometry, lost_data)),
        ] {
            let member = members[left.index()].clone().unwrap();
            let remote = Remote::open(&reactors.handles()[0], &member);
            let at = geometry.member_byte(left, stripe, 4096);
            let mut block = remote.read(at, 4096).unwrap();
            block[9] ^= 0x40;
            assert!(remote.write(at, &block).is_ok());
        }

        members[missing] = None;
        let (array, bdev) = create(&reactors, spec(Level::Raid6, layout, STRIP, members));
        assert_eq!(wait(&array, WorkKind::Check), 3, "member {missing} is missing");
        assert_eq!(wait(&array, WorkKind::Repair), 3);
        assert_eq!(wait(&array, WorkKind::Check), 0);
        let found = Remote::open(&reactors.handles()[0], &bdev).read_all(data.len() as u64);
        assert!(found.unwrap() == data, "member {missing} is missing");
        array.stop().unwrap();
    }
    reactors.stop();
}
