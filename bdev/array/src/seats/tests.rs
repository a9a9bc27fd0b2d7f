//! Devices that do not make it into their slot.

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

const BYTES: u64 = 2 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

fn device(name: &str) -> Arc<ErrorBdev> {
    let (block_size_bytes, num_blocks) = (512, BYTES / 512);
    let spec =
        MallocSpec { name: format!("{name}_disk"), uuid: None, block_size_bytes, num_blocks };
    let base = MallocBdev::create(spec).expect("there is memory");
    ErrorBdev::create(ErrorSpec { name: name.into(), uuid: None, base, volatile_cache: false })
}

fn inject(device: &ErrorBdev, victims: Victims, fault: Fault) {
    device.inject(&Injection::next(victims, fault, Injection::FOR_EVER)).expect("it can");
}

/// Reactors, and a RAID 5 with superblocks of which the last slot is empty.
fn degraded() -> (Reactors, Vec<Arc<ErrorBdev>>, Arc<RaidBdev>) {
    let config = ReactorsConfig {
        cores: "0".parse().expect("a core"),
        poll: PollMode::Adaptive,
        buffer_bytes: 4 << 20,
    };
    let reactors = Reactors::start(config).expect("they start");
    let devices: Vec<_> = (0..2).map(|slot| device(&format!("m{slot}"))).collect();
    let seats = devices.iter().map(|device| Some(device.clone() as Arc<dyn Bdev>));
    let spec = RaidSpec {
        name: "r0".into(),
        uuid: None,
        level: Level::Raid5,
        layout: Layout::LeftSymmetric,
        strip_bytes: 16 << 10,
        data_offsets_bytes: vec![1 << 20; 3],
        members: seats.chain([None]).collect(),
        assume_clean: true,
        options: RaidOptions { superblock: true, ..RaidOptions::default() },
    };
    let array = RaidBdev::create(reactors.handles(), spec).expect("its members fit");
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
    assert!(matches!(refused, AddError::Rest(RestError::TimedOut { .. })), "{refused}");
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
    for _ in 0..20 {
        let add = array.add_member_within(20, &broken, None, Scope::Whole, Uuid::new_v4());
        // Whether it is still in its slot when somebody looks is a matter of luck.
        if let Err(error) = add {
            assert!(matches!(error, AddError::Failed { slot: Slot(2), .. }), "{error}");
            assert_eq!(error.errno(), -5);
        }
        array.wait_for(|seen| seen.map.missing().contains(Slot(2))).expect("it is out");
        array
            .poll_until(20, || array.check_add(Slot(2)).is_ok())
            .expect("what it was asked is answered");
    }
    let added = array.add_member(&sound, None, Scope::Whole, Uuid::new_v4());
    assert_eq!(added.expect("it is sound"), Slot(2));
    array.stop().expect("it comes to rest");
    reactors.stop();
}
