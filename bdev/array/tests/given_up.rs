//! Requests of users who have gone, and members that are taken out while others are failing.
//!
//! Not here: devices below the array that were given up (`hung`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod support;

use array::{RaidBdev, RemoveError};
use device::{
    Bdev, BdevIo, ErrorBdev, ErrorSpec, Fault, Injection, IoStatus, Victims, lingering_requests,
};
use raid::coordinator::OnMemberFailure;
use raid::layout::{Layout, Level};
use raid::member::MemberState;
use raid::units::Slot;
use reactor::Reactors;
use reactor::memory::IoBufMut;
use std::sync::Arc;
use std::time::Duration;
use support::{Remote, create, malloc, spec, two_reactors, wait};

const STRIP: u32 = 16 << 10;
const MEMBER_BYTES: u64 = 8 << 20;

/// An array of three members that can be made to fail, which goes on without one.
struct Rig {
    reactors: Reactors,
    array: Arc<RaidBdev>,
    bdev: Arc<dyn Bdev>,
    members: Vec<Arc<ErrorBdev>>,
}

impl Rig {
    fn new(io_timeout: Duration) -> Self {
        let reactors = two_reactors();
        let member = |slot| {
            let base = malloc(&format!("m{slot}_disk"), 512, MEMBER_BYTES);
            let name = format!("m{slot}");
            ErrorBdev::create(ErrorSpec { name, uuid: None, base, volatile_cache: false })
        };
        let members: Vec<_> = (0..3).map(member).collect();
        let seats = members.iter().map(|member| Some(member.clone() as Arc<dyn Bdev>)).collect();
        let mut spec = spec(Level::Raid5, Layout::LeftSymmetric, STRIP, seats);
        spec.options.io_timeout = io_timeout;
        spec.options.policy.member = OnMemberFailure::Continue;
        let (array, bdev) = create(&reactors, spec);
        Self { reactors, array, bdev, members }
    }

    /// Somebody asks for something and is gone at once.
    fn give_up(&self, io: BdevIo) {
        let bdev = self.bdev.clone();
        let submit = move |cx: &mut reactor::Cx| {
            let mut channel = bdev.open_channel(cx).unwrap();
            channel.submit(io).unwrap();
        };
        self.reactors.handles()[0].call(submit).unwrap();
    }

    fn lingering(&self) -> usize {
        lingering_requests(self.bdev.info().uuid)
    }

    fn remote(&self) -> Remote {
        Remote::open(&self.reactors.handles()[1], &self.bdev)
    }

    fn end(self) {
        self.array.stop().unwrap();
        self.reactors.stop();
    }
}

fn hang(device: &ErrorBdev, victims: Victims) {
    device.inject(&Injection::next(victims, Fault::Pending, Injection::FOR_EVER)).unwrap();
}

/// Goal: what is left of a long request whose user is gone never lands on what somebody else has written since.
/// Method: zeroes over all of the array, and a write at its end once that is out of sight.
#[test]
fn a_long_request_ends_with_its_user() {
    let rig = Rig::new(Duration::from_secs(30));
    let size = rig.bdev.info().size_bytes();
    rig.give_up(BdevIo::write_zeroes(0, 0, size, false));
    let remote = rig.remote();
    let late = [7; 4096];
    assert_eq!(remote.write(size - 4096, &late), IoStatus::Ok);
    wait(|| rig.lingering() == 0);
    assert_eq!(remote.read(size - 4096, 4096).unwrap(), late);
    drop(remote);
    rig.end();
}

/// Goal: a write whose user is gone is known of until it has ended, however that is. Method: a member hangs.
#[test]
fn what_is_given_up_lingers_until_it_has_ended() {
    let rig = Rig::new(Duration::from_millis(300));
    let slow = &rig.members[0];
    hang(slow, Victims::Write);
    let stripe = IoBufMut::heap_copy(&vec![1; 2 * STRIP as usize]).freeze();
    rig.give_up(BdevIo::write(0, 0, stripe, false));
    assert_eq!(rig.lingering(), 1);
    wait(|| rig.array.snapshot().members[0].state != MemberState::InSync);
    wait(|| rig.lingering() == 0);
    slow.resume_pending();
    rig.end();
}

/// Goal: a member that fails counts before the shards have come to rest: none of the others can be taken out.
/// Method: reads of one member hang, so that the array cannot come to rest; another fails a write.
#[test]
fn nobody_is_taken_out_beside_one_that_fails() {
    let rig = Rig::new(Duration::from_secs(30));
    let write = rig.remote();
    assert_eq!(write.write(0, &vec![1; 2 * STRIP as usize]), IoStatus::Ok);
    let geometry = rig.array.geometry();
    let data = |strip| geometry.data_slot(geometry.rotation(raid::units::StripeId(1)), strip);
    let (slow, failing) = (data(0), data(1));
    hang(&rig.members[slow.index()], Victims::Read);
    let read = rig.remote();
    read.submit(BdevIo::read(0, 2 * u64::from(STRIP), IoBufMut::heap(4096)));
    let fails = Injection::next(Victims::Write, Fault::Failure, 1);
    rig.members[failing.index()].inject(&fails).unwrap();
    write.submit(BdevIo::write(
        0,
        0,
        IoBufMut::heap_copy(&vec![2; 2 * STRIP as usize]).freeze(),
        false,
    ));
    // It is out for the coordinator at once, and for the map when the read has been given up.
    let refused = || match rig.array.remove_member(slow) {
        Err(RemoveError::NotRedundant { missing, .. }) => missing == 1,
        other => panic!("slot {slow} was taken out: {other:?}"),
    };
    wait(|| rig.array.snapshot().failures.iter().sum::<u64>() == 1);
    assert!(refused());
    assert_eq!(rig.array.snapshot().members[failing.index()].state, MemberState::InSync);
    rig.members[slow.index()].resume_pending();
    assert!(read.answer().status.is_ok() && write.answer().status.is_ok());
    assert_eq!(rig.array.snapshot().missing().collect::<Vec<Slot>>(), [failing]);
    drop((read, write));
    rig.end();
}
