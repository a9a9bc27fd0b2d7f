//! Devices that do not make it into their slot, or out of it.

use super::*;
use crate::spec::{RaidOptions, RaidSpec};
use device::{
    BdevIo, ErrorBdev, ErrorSpec, Fault, Injection, IoStatus, MallocBdev, MallocSpec, Victims,
    blocking,
};
use raid::layout::{Layout, Level};
use reactor::memory::IoBufMut;
use reactor::{PollMode, Reactors, ReactorsConfig};
use std::time::Duration;

pub(crate) const BYTES: u64 = 2 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn device(name: &str) -> Arc<ErrorBdev> {
    let (block_size_bytes, num_blocks) = (512, BYTES / 512);
    let spec =
        MallocSpec { name: format!("{name}_disk"), uuid: None, block_size_bytes, num_blocks };
    let base = MallocBdev::create(spec).expect("there is memory");
    ErrorBdev::create(ErrorSpec { name: name.into(), uuid: None, base, volatile_cache: false })
}

pub(crate) fn inject(device: &ErrorBdev, victims: Victims, fault: Fault) {
    device.inject(&Injection::next(victims, fault, Injection::FOR_EVER)).expect("it can");
}

pub(crate) fn reactors() -> Reactors {
    let config = ReactorsConfig {
        cores: "0".parse().expect("a core"),
        poll: PollMode::Adaptive,
        buffer_bytes: 4 << 20,
    };
    Reactors::start(config).expect("they start")
}

/// A RAID 5 of three slots, the first of which have these devices.
pub(crate) fn spec_of(devices: &[Arc<ErrorBdev>]) -> RaidSpec {
    let mut members: Vec<Option<Arc<dyn Bdev>>> = vec![None; 3];
    for (member, device) in members.iter_mut().zip(devices) {
        *member = Some(device.clone());
    }
    RaidSpec {
        name: "r0".into(),
        uuid: None,
        level: Level::Raid5,
        layout: Layout::LeftSymmetric,
        strip_bytes: 16 << 10,
        data_offsets_bytes: vec![0; 3],
        members,
        assume_clean: true,
        options: RaidOptions::default(),
    }
}

pub(crate) fn array_of(
    reactors: &Reactors,
    devices: &[Arc<ErrorBdev>],
    change: impl FnOnce(&mut RaidSpec),
) -> Arc<RaidBdev> {
    let mut spec = spec_of(devices);
    change(&mut spec);
    RaidBdev::create(reactors.handles(), spec).expect("its members fit")
}

/// Reactors, and a RAID 5 with superblocks of which the last slot is empty.
fn degraded() -> (Reactors, Vec<Arc<ErrorBdev>>, Arc<RaidBdev>) {
    let reactors = reactors();
    let devices: Vec<_> = (0..2).map(|slot| device(&format!("m{slot}"))).collect();
    let array = array_of(&reactors, &devices, |spec| {
        spec.data_offsets_bytes = vec![1 << 20; 3];
        spec.options.superblock = true;
    });
    (reactors, devices, array)
}

/// Goal: a device that has not joined when the patience is at its end does not join later, when it has no
/// channels any more; the array goes on, and it joins once nothing is in its way. Method: a read that
/// hangs keeps the array from coming to rest.
#[test]
fn a_device_that_comes_too_late_is_taken_back() {
    let (reactors, devices, array) = degraded();
    let late: Arc<dyn Bdev> = device("late");
    inject(&devices[0], Victims::Read, Fault::Pending);
    let (reactor, bdev) = (reactors.handles()[0].clone(), array.clone() as Arc<dyn Bdev>);
    let size_bytes = bdev.info().size_bytes();
    let reader = std::thread::spawn({
        let bdev = bdev.clone();
        move || blocking::read(&reactor, &bdev, 0, 1 << 20, PATIENCE).map(|bytes| bytes.len())
    });
    let in_flight = || array.snapshot().shards.iter().map(|shard| shard.hosts).sum::<usize>() > 0;
    while !in_flight() {
        std::thread::yield_now();
    }
    let add = |seconds| array.add_member_within(seconds, &late, None, Scope::Whole, Uuid::new_v4());
    let refused = add(1).expect_err("the array does not come to rest");
    let text = "raid bdev r0: requests are still in flight after 1 s; a member may hang";
    assert_eq!((refused.errno(), refused.to_string()), (-110, text.to_owned()));
    devices[0].resume_pending();
    assert_eq!(reader.join().expect("it ends").expect("it is answered"), 1 << 20);
    // The change that was begun for it has come to its end without it.
    let write = |byte| {
        let bytes = IoBufMut::heap_copy(&vec![byte; 1 << 20]).freeze();
        let io = BdevIo::write(0, size_bytes - (1 << 20), bytes, false);
        blocking::run_one(&reactors.handles()[0], &bdev, io, PATIENCE).map(|done| done.status)
    };
    assert_eq!(write(1).expect("it is answered"), IoStatus::Ok);
    assert_eq!(array.snapshot().members[2].state, MemberState::Missing);
    assert_eq!(add(60).expect("nothing is in its way"), Slot(2));
    assert_eq!(write(2).expect("it is answered"), IoStatus::Ok);
    array.stop().expect("it comes to rest");
    reactors.stop();
}

/// Goal: a device that fails in the moment in which it takes its slot is reported at once, and another one
/// takes the slot. Method: its writes fail, so that its superblock does.
#[test]
fn a_device_that_fails_at_once_is_reported_at_once() {
    let (reactors, _, array) = degraded();
    let broken = device("broken");
    inject(&broken, Victims::Write, Fault::Failure);
    let (broken, sound): (Arc<dyn Bdev>, Arc<dyn Bdev>) = (broken, device("sound"));
    let text = "raid bdev r0: base bdev broken failed as soon as it had taken slot 2: look at what is wrong \
                with it, or add another one";
    let mut told = 0;
    for round in 0..200 {
        let add = array.add_member_within(20, &broken, None, Scope::Whole, Uuid::new_v4());
        // Whether it is still in its slot when somebody looks is a matter of luck.
        if let Err(error) = add {
            assert_eq!((error.errno(), error.to_string()), (-5, text.to_owned()));
            told += 1;
        }
        array.wait_for(|seen| seen.map.missing().contains(Slot(2))).expect("it is out");
        array
            .poll_until(20, || array.check_add(Slot(2)).is_ok())
            .expect("what it was asked is answered");
        if told > 0 && round >= 20 {
            break;
        }
    }
    assert!(told > 0, "it was in its slot whenever somebody looked");
    let added = array.add_member(&sound, None, Scope::Whole, Uuid::new_v4());
    assert_eq!(added.expect("it is sound"), Slot(2));
    array.stop().expect("it comes to rest");
    reactors.stop();
}

/// Goal: a slot that cannot be taken, or has nobody to leave it, says why, word for word, and the array goes on.
/// Method: a slot with a member; one whose member has left while its superblock, on a device of its own, was being
/// written; an array that is stopped.
#[test]
fn slots_that_cannot_be_taken_say_why() {
    let reactors = reactors();
    let devices: Vec<_> = (0..3).map(|slot| device(&format!("m{slot}"))).collect();
    let metadata: Vec<_> = (0..3).map(|slot| device(&format!("meta{slot}"))).collect();
    inject(&metadata[1], Victims::Write, Fault::Pending);
    let array = array_of(&reactors, &devices, |spec| {
        spec.options.superblock = true;
        let metadata = metadata.iter().map(|device| Some(device.clone() as Arc<dyn Bdev>));
        spec.options.metadata = metadata.collect();
    });
    let begun = || array.snapshot().events == 1;
    array.poll_until(60, begun).expect("the first superblocks are being written");
    let late: Arc<dyn Bdev> = device("late");
    let refusal = |slot: u8| {
        let add = array.add_member(&late, Some(Slot(slot)), Scope::Whole, Uuid::new_v4());
        let error = add.expect_err("it cannot be taken");
        (error.errno(), error.to_string())
    };
    let taken = "raid bdev r0: slot 0 has a member: take it out first, or choose an empty slot";
    assert_eq!(refusal(0), (-16, taken.to_owned()));
    array.remove_member(Slot(1)).expect("the others are in sync");
    let leaving = "raid bdev r0: slot 1: what was asked of its last member is still under way: wait until that \
                   has ended";
    assert_eq!(refusal(1), (-16, leaving.to_owned()));
    let error = array.remove_member(Slot(1)).expect_err("nobody is there");
    let nobody = "raid bdev r0: slot 1 has no member; members are in slots [0, 2]";
    assert_eq!((error.errno(), error.to_string()), (-19, nobody.to_owned()));

    metadata[1].resume_pending();
    array.poll_until(60, || array.check_add(Slot(1)).is_ok()).expect("it is answered");
    array.add_member(&late, Some(Slot(1)), Scope::Whole, Uuid::new_v4()).expect("it is free");
    array.stop().expect("it comes to rest");
    let stopped = "raid bdev r0: it, or the reactor it runs on, is stopped";
    assert_eq!(refusal(0), (-110, stopped.to_owned()));
    reactors.stop();
}
