//! Arrays without superblocks that are started by force: dirty after a crash, with a member missing.
//!
//! What the crash left is made by hand: parity of one row that does not match. Force trusts parity for what the
//! missing member held, and for nothing else; whatever else is there stays as it is, and no parity is left wrong.
//!
//! Not here: the refusal without force, arrays with superblocks (`tests/blackbox/known.rs`), every other order
//! of failures (`tests/sim`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod support;

use array::{Before, LastEnd, RaidBdev, RaidOptions, RaidSpec};
use device::Bdev;
use raid::coordinator::{Action, Scope};
use raid::event::WorkKind;
use raid::geometry::Geometry;
use raid::layout::{Layout, Level};
use raid::member::MemberState;
use raid::units::{Slot, StripeId};
use reactor::{ReactorHandle, Reactors};
use std::sync::Arc;
use support::{Remote, Rng, create, malloc, spec, two_reactors, wait};
use uuid::Uuid;

const STRIP: u32 = 16 << 10;
const MEMBER_BYTES: u64 = 10 * STRIP as u64;
const BLOCK: usize = 4096;

/// A parity that a crash may have left behind.
#[derive(Debug, Clone, Copy)]
enum Torn {
    P,
    Q,
}

/// Members of an array that was written, was cut off, and has parity that does not match in every stripe.
struct Crashed {
    level: Level,
    members: Vec<Arc<dyn Bdev>>,
    log: Option<Arc<dyn Bdev>>,
    data: Vec<u8>,
    geometry: Arc<Geometry>,
}

impl Crashed {
    fn new(reactors: &Reactors, level: Level, torn: Torn, with_log: bool) -> Self {
        let count = 3 + level.parity_count();
        let members: Vec<_> =
            (0..count).map(|slot| malloc(&format!("m{slot}"), 512, MEMBER_BYTES)).collect();
        // Nobody has written to it: every region is dirty.
        let log = with_log.then(|| malloc("log", 512, 1 << 20));
        let whole = members.iter().cloned().map(Some).collect();
        let (array, bdev) = create(reactors, spec(level, Layout::default_for(level), STRIP, whole));
        let data = Rng(5).bytes(bdev.info().size_bytes() as usize);
        let reactor = &reactors.handles()[0];
        Remote::open(reactor, &bdev).write_all(&data);
        array.stop().unwrap();
        let geometry = array.geometry().clone();
        for stripe in (0..geometry.stripes()).map(StripeId) {
            let rotation = geometry.rotation(stripe);
            let slot = match torn {
                Torn::P => geometry.p_slot(rotation),
                Torn::Q => geometry.q_slot(rotation).unwrap(),
            };
            let member = Remote::open(reactor, &members[slot.index()]);
            let at = geometry.member_byte(slot, stripe, BLOCK as u32);
            let old = member.read(at, BLOCK).unwrap();
            member.write(at, &old.iter().map(|byte| byte ^ 0x11).collect::<Vec<_>>());
        }
        Self { level, members, log, data, geometry }
    }

    fn spec(&self, missing: Slot, force: bool) -> RaidSpec {
        let mut members: Vec<_> = self.members.iter().cloned().map(Some).collect();
        members[missing.index()] = None;
        let options = RaidOptions {
            log: self.log.clone(),
            force,
            before: Before { end: LastEnd::CutOff, log_failed: false },
            ..RaidOptions::default()
        };
        let spec = spec(self.level, Layout::default_for(self.level), STRIP, members);
        RaidSpec { assume_clean: false, options, ..spec }
    }

    /// Blocks of the array that the missing member holds and that a torn P gives wrong.
    fn may_differ(&self, block: usize, missing: Slot, torn: Torn) -> bool {
        let byte = (block * BLOCK) as u64;
        let stripe = StripeId(byte / self.geometry.stripe_bytes());
        let within = byte % self.geometry.stripe_bytes();
        let strip = within / u64::from(STRIP);
        let slot = self.geometry.data_slot(self.geometry.rotation(stripe), strip as u8);
        let is_torn_row = within % u64::from(STRIP) == BLOCK as u64;
        // P stands for it, or Q where P is missing too, which is not with one member missing.
        slot == missing && is_torn_row && matches!(torn, Torn::P)
    }
}

fn contents(reactor: &ReactorHandle, members: &[Arc<dyn Bdev>]) -> Vec<Vec<u8>> {
    let read = |member: &Arc<dyn Bdev>| Remote::open(reactor, member).read_all(MEMBER_BYTES);
    members.iter().map(|member| read(member).unwrap()).collect()
}

fn at_rest(array: &RaidBdev) {
    wait(|| {
        let now = array.snapshot();
        let there = now.members.iter().all(|member| member.state == MemberState::InSync);
        there && now.action == Action::Idle && now.regions_in_sync == now.regions
    });
}

fn start_by_force(reactors: &Reactors, crashed: &Crashed, missing: Slot, torn: Torn, shown: &str) {
    let reactor = &reactors.handles()[0];
    let before = contents(reactor, &crashed.members);
    assert!(RaidBdev::create(reactors.handles(), crashed.spec(missing, false)).is_err(), "{shown}");
    let (array, bdev) = create(reactors, crashed.spec(missing, true));
    let remote = Remote::open(reactor, &bdev);
    let mut data = crashed.data.clone();
    let compare = |data: &[u8], when: &str| {
        let found = remote.read_all(data.len() as u64).unwrap();
        for (block, (found, right)) in found.chunks(BLOCK).zip(data.chunks(BLOCK)).enumerate() {
            let right = found == right || crashed.may_differ(block, missing, torn);
            assert!(right, "{shown}: block {block} holds something else {when}");
        }
    };
    compare(&data, "after the start");
    // Nobody has vouched for more than what is missing.
    let other = Slot(if missing == Slot(1) { 0 } else { 1 });
    assert!(array.remove_member(other).is_err(), "{shown}");
    assert!(contents(reactor, &crashed.members) == before, "{shown}: something was rewritten");
    // A write goes beside what is torn, into the same stripe.
    let at = u64::from(STRIP) * 2 + 512;
    let new = Rng(77).bytes(1024);
    assert!(remote.write(at, &new).is_ok(), "{shown}");
    data[at as usize..][..new.len()].copy_from_slice(&new);
    compare(&data, "after a write");
    let fresh = malloc("fresh", 512, MEMBER_BYTES);
    array.add_member(&fresh, None, Scope::Whole, Uuid::new_v4()).unwrap();
    at_rest(&array);
    compare(&data, "after the rebuild");
    array.request(WorkKind::Check).unwrap();
    wait(|| array.snapshot().last_action == Some(WorkKind::Check));
    at_rest(&array);
    assert_eq!(array.snapshot().mismatched_rows, 0, "{shown}: parity is wrong");
    drop(remote);
    array.stop().unwrap();
}

/// Goal: a start by force reads what was there, changes nothing on the members that are there, and ends with
/// parity that matches, once the array is whole again. Method: P, or Q, of one row of every stripe damaged; every
/// slot missing, with a log and without.
#[test]
fn force_trusts_parity_only_for_what_is_missing() {
    let reactors = two_reactors();
    for (level, torn) in [(Level::Raid5, Torn::P), (Level::Raid6, Torn::P), (Level::Raid6, Torn::Q)]
    {
        for with_log in [false, true] {
            for missing in 0..3 + level.parity_count() as u8 {
                let shown = format!("{level}, {torn:?} torn, log {with_log}, without {missing}");
                let crashed = Crashed::new(&reactors, level, torn, with_log);
                start_by_force(&reactors, &crashed, Slot(missing), torn, &shown);
            }
        }
    }
    reactors.stop();
}
