//! Devices that do not answer, for a time or for ever.
//!
//! The devices are error bdevs that keep requests: what they have kept reaches the medium, and their
//! completions the array, once they are resumed.
//!
//! Not here: every fault in every order (`tests/sim`), the daemon (`tests/blackbox`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod support;

use array::RaidBdev;
use device::blocking::{self, BlockingError};
use device::{
    Bdev, BdevInfo, BdevIo, Completion, ErrorBdev, ErrorSpec, Fault, Injection, IoChannel, IoOp,
    IoStatus, MappedBdev, MappedSpec, MappedTable, OpenError, ResumeError, Segment, SegmentTarget,
    Sgl, SuspendMode, Victims, lingering_requests,
};
use raid::coordinator::OnMemberFailure;
use raid::layout::{Layout, Level};
use raid::member::MemberState;
use raid::units::{Slot, StripeId};
use reactor::memory::IoBufMut;
use reactor::{Cx, Reactors};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{Remote, Rng, create, malloc, spec, two_reactors, wait};
use uuid::Uuid;

const STRIP: u32 = 16 << 10;
const MEMBER_BYTES: u64 = 2 << 20;
const IO_TIMEOUT: Duration = Duration::from_millis(300);

/// An array of members that can be made to hang.
struct Rig {
    reactors: Reactors,
    array: Arc<RaidBdev>,
    bdev: Arc<dyn Bdev>,
    members: Vec<Arc<ErrorBdev>>,
    bytes: Vec<u8>,
}

fn error_bdev(name: &str, size_bytes: u64) -> Arc<ErrorBdev> {
    let base = malloc(&format!("{name}_disk"), 512, size_bytes);
    ErrorBdev::create(ErrorSpec { name: name.into(), uuid: None, base, volatile_cache: false })
}

fn hang(device: &ErrorBdev, victims: Victims) {
    device.inject(&Injection::next(victims, Fault::Pending, Injection::FOR_EVER)).unwrap();
}

impl Rig {
    fn new(level: Level, layout: Layout, count: usize) -> Self {
        Self::with_members(level, layout, count, STRIP, MEMBER_BYTES)
    }

    fn with_members(
        level: Level,
        layout: Layout,
        count: usize,
        strip_bytes: u32,
        size_bytes: u64,
    ) -> Self {
        let reactors = two_reactors();
        let member = |slot| error_bdev(&format!("m{slot}"), size_bytes);
        let members: Vec<_> = (0..count).map(member).collect();
        let seats = members.iter().map(|member| Some(member.clone() as Arc<dyn Bdev>)).collect();
        let mut spec = spec(level, layout, strip_bytes, seats);
        spec.options.io_timeout = IO_TIMEOUT;
        let (array, bdev) = create(&reactors, spec);
        let bytes = Rng(count as u64).bytes(bdev.info().size_bytes() as usize);
        let rig = Self { reactors, array, bdev, members, bytes };
        rig.remote(0).write_all(&rig.bytes);
        rig
    }

    fn remote(&self, reactor: usize) -> Remote {
        let handles = self.reactors.handles();
        Remote::open(&handles[reactor % handles.len()], &self.bdev)
    }

    /// The member that has the first data strip of a stripe.
    fn first_data(&self, stripe: u64) -> usize {
        let geometry = self.array.geometry();
        geometry.data_slot(geometry.rotation(StripeId(stripe)), 0).index()
    }

    fn state(&self, slot: usize) -> MemberState {
        self.array.snapshot().members[slot].state
    }

    fn end(self) {
        self.array.stop().unwrap();
        self.reactors.stop();
    }
}

fn contents(op: &IoOp) -> Vec<u8> {
    let IoOp::Read { into } = op else { panic!("a read came back as {op:?}") };
    into.segments().flat_map(|segment| segment.to_vec()).collect()
}

fn lists(len: usize) -> [Sgl<IoBufMut>; 2] {
    let cut = [512, len / 2, len - len / 2 - 512];
    [Sgl::One(IoBufMut::heap(len)), Sgl::Many(cut.map(IoBufMut::heap).into())]
}

/// Goal: reads that a hung member has a part of are answered with the right bytes, and what it writes
/// into its old part later is nowhere to be seen. Method: reads of one strip, of two, of stripes and more
/// (longer than what is out at a time), in one buffer and in several, from two reactors; the member goes
/// on after they are answered.
#[test]
fn reads_of_a_hung_member_are_answered() {
    let strip = STRIP as usize;
    for len in [strip, 2 * strip, 7 * strip + 4096, 80 * strip] {
        let rig = Rig::new(Level::Raid5, Layout::LeftSymmetric, 4);
        let hung = rig.first_data(0);
        hang(&rig.members[hung], Victims::Read);
        let remotes = [rig.remote(0), rig.remote(1)];
        for (remote, at) in remotes.iter().zip([0, 4096]) {
            for (token, into) in (0..).zip(lists(len)) {
                remote.submit(BdevIo::read(token, at, into));
            }
        }
        let mut answers = Vec::new();
        for (remote, at) in remotes.iter().zip([0, 4096]) {
            answers.extend([(at, remote.answer()), (at, remote.answer())]);
        }
        wait(|| rig.state(hung) == MemberState::Faulty);
        rig.members[hung].resume_pending();
        assert_eq!(remotes[0].read(0, 4096).unwrap(), rig.bytes[..4096]);
        for (at, done) in &answers {
            assert_eq!((done.status, done.io.len_bytes), (IoStatus::Ok, len as u64));
            let right = &rig.bytes[*at as usize..*at as usize + len];
            assert!(contents(&done.io.op) == right, "{len} bytes at {at}");
        }
        drop(remotes);
        rig.end();
    }
}

/// Goal: the same where a lost strip is computed of what the hung member has, in bands and cells. Method:
/// a RAID 6 without one member, of which another hangs.
#[test]
fn degraded_reads_of_a_hung_member_are_answered() {
    let rig = Rig::new(Level::Raid6, Layout::LeftSymmetric, 5);
    let (lost, hung) = (rig.first_data(0), (rig.first_data(0) + 1) % 5);
    rig.array.remove_member(Slot(lost as u8)).unwrap();
    hang(&rig.members[hung], Victims::Read);
    let remote = rig.remote(0);
    let len = 2 * STRIP as usize + 8192;
    for (token, into) in (0..).zip(lists(len)) {
        remote.submit(BdevIo::read(token, 512, into));
    }
    for _ in 0..2 {
        let done = remote.answer();
        assert_eq!(done.status, IoStatus::Ok);
        assert!(contents(&done.io.op) == rig.bytes[512..512 + len]);
    }
    wait(|| rig.state(hung) == MemberState::Faulty);
    rig.members[hung].resume_pending();
    drop(remote);
    rig.end();
}

fn mapped_over(base: &Arc<dyn Bdev>) -> Result<Arc<MappedBdev>, ResumeError> {
    let segment = |start_bytes: u64, len_bytes| Segment {
        start_bytes,
        len_bytes,
        target: SegmentTarget::Bdev { bdev: base.clone(), offset_bytes: start_bytes },
        boundary_bytes: None,
    };
    let (first, size) = (4096, base.info().size_bytes());
    let segments = vec![segment(0, first), segment(first, size - first)];
    let spec = MappedSpec { name: "dm0".into(), uuid: None, read_only: false };
    let mapped = MappedBdev::create(spec);
    mapped.resume(Some(MappedTable::new(segments).unwrap())).map(|()| mapped)
}

/// Goal: whoever stands on an array takes the buffers that come in place of those that a hung member
/// keeps. Method: a mapped device that cuts requests in two, and an array of which the array is a member.
#[test]
fn devices_above_take_other_buffers() {
    let rig = Rig::new(Level::Raid5, Layout::LeftSymmetric, 4);
    let (mapped, hung) = (mapped_over(&rig.bdev).unwrap(), rig.first_data(0));
    hang(&rig.members[hung], Victims::Read);
    let above: Arc<dyn Bdev> = mapped;
    let remote = Remote::open(&rig.reactors.handles()[0], &above);
    for (token, into) in (0..).zip(lists(8192)) {
        remote.submit(BdevIo::read(token, 0, into));
    }
    for _ in 0..2 {
        let done = remote.answer();
        assert_eq!(done.status, IoStatus::Ok);
        assert!(contents(&done.io.op) == rig.bytes[..8192]);
    }
    rig.members[hung].resume_pending();
    drop(remote);
    rig.end();

    let rig = Rig::new(Level::Raid5, Layout::LeftSymmetric, 4);
    let others = (1..3).map(|slot| malloc(&format!("o{slot}"), 512, rig.bytes.len() as u64));
    let seats = std::iter::once(rig.bdev.clone()).chain(others).map(Some).collect();
    let mut upper = spec(Level::Raid5, Layout::LeftSymmetric, 4096, seats);
    upper.name = "upper".into();
    let (array, bdev) = create(&rig.reactors, upper);
    let remote = Remote::open(&rig.reactors.handles()[0], &bdev);
    remote.write_all(&rig.bytes);
    let hung = rig.first_data(0);
    hang(&rig.members[hung], Victims::Read);
    let done = remote.run(BdevIo::read(0, 0, IoBufMut::heap(1 << 20)));
    assert_eq!(done.status, IoStatus::Ok);
    assert!(contents(&done.io.op) == rig.bytes[..1 << 20], "the upper array reads the wrong bytes");
    rig.members[hung].resume_pending();
    drop(remote);
    assert_eq!(array.snapshot().missing().count(), 0, "the lower array has answered itself");
    array.stop().unwrap();
    rig.end();
}

/// Goal: an array whose scratch memory is with a hung device goes on without it, and with what it has
/// once it comes back. Method: more full-stripe writes than there are buffers for their parity, to a
/// RAID 4 whose parity member hangs; its answers come long after.
#[test]
fn scratch_memory_that_hangs_stops_nobody() {
    // Parity of 32 MiB: eight times the scratch memory of a shard.
    let rig = Rig::with_members(Level::Raid4, Layout::ParityLast, 3, 64 << 10, 32 << 20);
    let parity = 2;
    hang(&rig.members[parity], Victims::Write);
    let remotes = [rig.remote(0), rig.remote(1)];
    let bytes = Rng(99).bytes(rig.bytes.len());
    let len = 128 << 10;
    for (index, stripe) in bytes.chunks(len).enumerate() {
        let from = IoBufMut::heap_copy(stripe).freeze();
        let io = BdevIo::write(index as u64, (index * len) as u64, from, false);
        remotes[index % 2].submit(io);
    }
    for index in 0..bytes.len() / len {
        assert_eq!(remotes[index % 2].answer().status, IoStatus::Ok);
    }
    wait(|| rig.state(parity) == MemberState::Faulty);
    assert!(remotes[0].read_all(bytes.len() as u64).unwrap() == bytes);
    rig.members[parity].resume_pending();
    assert_eq!(remotes[1].write(0, &bytes[..4096]), IoStatus::Ok);
    drop(remotes);
    rig.end();
}

/// A device of which each answer takes a turn longer than that of its base, as where the kernel has to be
/// entered for it.
#[derive(Debug)]
struct Tardy(Arc<dyn Bdev>);

struct TardyChannel {
    base: Box<dyn IoChannel>,
    kept: Vec<Completion>,
}

impl Bdev for Tardy {
    fn info(&self) -> Arc<BdevInfo> {
        self.0.info()
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        Ok(Box::new(TardyChannel { base: self.0.open_channel(cx)?, kept: Vec::new() }))
    }
}

impl IoChannel for TardyChannel {
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        self.base.submit(io)
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let count = self.kept.len();
        done.append(&mut self.kept);
        self.base.poll(&mut self.kept);
        count
    }
}

/// Blocks reactors for a time, as a process that is stopped is.
fn pause(reactors: &Reactors, span: Duration, meanwhile: impl FnOnce()) {
    let paused: Vec<_> = reactors
        .handles()
        .iter()
        .map(|reactor| {
            let (tell, told) = crossbeam::channel::bounded::<()>(0);
            let (keep, never) = crossbeam::channel::bounded::<()>(0);
            reactor.send(move |_| {
                let _keep = keep;
                tell.send(()).unwrap();
                assert!(never.recv_timeout(span).is_err());
            });
            told.recv().unwrap();
        })
        .collect();
    meanwhile();
    drop(paused);
    let turned = reactors.handles().iter().map(|reactor| reactor.call(|_| ()));
    turned.for_each(|turned| turned.unwrap());
}

/// Goal: a pause of the process costs neither members nor the log their place, and a member that hangs is
/// given up after it as before. Method: all of them have requests when the reactors stop for far longer
/// than devices may take; the answers are there when they go on, but take a turn to fetch.
#[test]
fn a_pause_of_the_process_is_no_fault_of_the_members() {
    let reactors = two_reactors();
    let devices: Vec<_> = (0..5).map(|i| error_bdev(&format!("d{i}"), MEMBER_BYTES)).collect();
    let tardy = |device: &Arc<ErrorBdev>| Arc::new(Tardy(device.clone())) as Arc<dyn Bdev>;
    let seats = devices[..4].iter().map(|device| Some(tardy(device))).collect();
    let mut spec = spec(Level::Raid6, Layout::LeftSymmetric, STRIP, seats);
    spec.options.io_timeout = Duration::from_secs(3);
    spec.options.region_bytes = Some(64 << 10);
    spec.options.log = Some(tardy(&devices[4]));
    let (array, bdev) = create(&reactors, spec);
    let remote = Remote::open(&reactors.handles()[0], &bdev);
    assert_eq!(remote.write(0, &[1; 4096]), IoStatus::Ok);
    // The log hangs first, then the members.
    for hung in [4..5, 0..4] {
        devices[hung.clone()].iter().for_each(|device| hang(device, Victims::All));
        let bytes = IoBufMut::heap(256 << 10).freeze();
        remote.submit(BdevIo::write(1, 1 << 20, bytes, false));
        if hung.start == 0 {
            remote.submit(BdevIo::read(2, 0, IoBufMut::heap(256 << 10)));
        }
        std::thread::park_timeout(Duration::from_millis(50));
        assert!(remote.try_answer().is_none(), "it is held up");
        pause(&reactors, Duration::from_secs(4), || {
            devices.iter().for_each(|device| device.resume_pending());
        });
        assert_eq!(remote.answer().status, IoStatus::Ok);
        if hung.start == 0 {
            assert_eq!(remote.answer().status, IoStatus::Ok);
        }
        let snapshot = array.snapshot();
        assert_eq!(snapshot.missing().count(), 0, "{hung:?}");
        assert!(snapshot.log_health.is_alive(), "{hung:?}");
    }
    hang(&devices[3], Victims::Read);
    let done = remote.run(BdevIo::read(0, 0, IoBufMut::heap(256 << 10)));
    assert_eq!(done.status, IoStatus::Ok);
    wait(|| array.snapshot().missing().collect::<Vec<_>>() == [Slot(3)]);
    devices[3].resume_pending();
    drop(remote);
    array.stop().unwrap();
    reactors.stop();
}

fn write_one(reactors: &Reactors, bdev: &Arc<dyn Bdev>, byte: u8) -> Result<(), BlockingError> {
    let io = BdevIo::write(0, 0, IoBufMut::heap_copy(&[byte; 4096]).freeze(), false);
    blocking::run_one(&reactors.handles()[0], bdev, io, Duration::from_millis(200)).map(|_| ())
}

/// Goal: a request that a control thread has given up counts as its device's until the device has let go
/// of it. Method: a write to a device that hangs.
#[test]
fn a_request_that_was_given_up_lingers() {
    let reactors = two_reactors();
    let device = error_bdev("d", MEMBER_BYTES);
    let (bdev, uuid) = (device.clone() as Arc<dyn Bdev>, device.info().uuid);
    write_one(&reactors, &bdev, 1).unwrap();
    assert_eq!(lingering_requests(uuid), 0);
    hang(&device, Victims::Write);
    for count in 1..3 {
        assert!(matches!(write_one(&reactors, &bdev, 2), Err(BlockingError::TimedOut { .. })));
        assert_eq!(lingering_requests(uuid), count);
    }
    device.resume_pending();
    wait(|| lingering_requests(uuid) == 0);
    let found = Remote::open(&reactors.handles()[0], &bdev).read(0, 4096).unwrap();
    assert_eq!(found, [2; 4096], "it was written late, and it is known when");
    reactors.stop();
}

/// Goal: what a device has of an array that is gone keeps it out of every other array until it has let go of
/// it, as member and as log; then it is like any other. Method: two members and the log of an array hang until
/// it is broken; it is stopped, and made again.
#[test]
fn what_lingers_outlives_its_array() {
    let reactors = two_reactors();
    let devices: Vec<_> = (0..5).map(|i| error_bdev(&format!("d{i}"), MEMBER_BYTES)).collect();
    let plan = |with_log: bool| {
        let seats = devices[..4].iter().map(|device| Some(device.clone() as Arc<dyn Bdev>));
        let mut spec = spec(Level::Raid5, Layout::LeftSymmetric, STRIP, seats.collect());
        spec.options.io_timeout = IO_TIMEOUT;
        spec.options.region_bytes = Some(64 << 10);
        spec.options.log = with_log.then(|| devices[4].clone() as Arc<dyn Bdev>);
        spec
    };
    let refused_for = |device: usize| {
        let error = RaidBdev::create(reactors.handles(), plan(true)).unwrap_err();
        let requests = lingering_requests(devices[device].info().uuid);
        assert!(requests > 0, "{error}");
        let text = format!(
            "raid bdev r0: bdev d{device} still has {requests} requests from before it was given up; what it \
             writes late would be wrong, so it cannot be used before they end"
        );
        assert_eq!((error.errno(), error.to_string()), (-16, text));
    };
    let (array, bdev) = create(&reactors, plan(true));
    let remote = Remote::open(&reactors.handles()[0], &bdev);
    hang(&devices[4], Victims::All);
    assert_eq!(remote.write(0, &[1; 4096]), IoStatus::Ok, "it goes on without its log");
    for device in &devices[..2] {
        hang(device, Victims::Write);
    }
    let stripe = [2; 3 * STRIP as usize];
    assert_eq!(remote.write(1 << 20, &stripe), IoStatus::MediaError);
    drop(remote);
    array.stop().unwrap_err();
    refused_for(0);
    for (device, next) in [(0, 1), (1, 4)] {
        devices[device].resume_pending();
        wait(|| lingering_requests(devices[device].info().uuid) == 0);
        refused_for(next);
    }
    let (array, _) = create(&reactors, plan(false));
    array.stop().unwrap();
    devices[4].resume_pending();
    wait(|| lingering_requests(devices[4].info().uuid) == 0);
    let (array, _) = create(&reactors, plan(true));
    array.stop().unwrap();
    reactors.stop();
}

/// A device that hands everything back while it is full, and has whatever UUID it was given.
#[derive(Debug)]
struct Odd {
    base: Arc<ErrorBdev>,
    uuid: Uuid,
    full: Arc<AtomicBool>,
}

struct OddChannel {
    base: Box<dyn IoChannel>,
    full: Arc<AtomicBool>,
}

impl Bdev for Odd {
    fn info(&self) -> Arc<BdevInfo> {
        Arc::new(BdevInfo { uuid: self.uuid, ..BdevInfo::clone(&self.base.info()) })
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        let (base, full) = (self.base.open_channel(cx)?, Arc::clone(&self.full));
        Ok(Box::new(OddChannel { base, full }))
    }
}

impl IoChannel for OddChannel {
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        match self.full.load(Ordering::Relaxed) {
            true => Err(io),
            false => self.base.submit(io),
        }
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        self.base.poll(done)
    }
}

/// A RAID 5 of three, of which the first is odd.
fn with_an_odd_member(
    reactors: &Reactors,
    io_timeout: Duration,
    uuid: Uuid,
) -> (Arc<RaidBdev>, Arc<dyn Bdev>, Arc<Odd>) {
    let (base, full) = (error_bdev("odd", MEMBER_BYTES), Arc::default());
    let odd = Arc::new(Odd { base, uuid, full });
    let others = (1..3).map(|slot| error_bdev(&format!("m{slot}"), MEMBER_BYTES));
    let mut seats: Vec<Option<Arc<dyn Bdev>>> = vec![Some(odd.clone())];
    seats.extend(others.map(|member| Some(member as Arc<dyn Bdev>)));
    let mut spec = spec(Level::Raid5, Layout::LeftSymmetric, STRIP, seats);
    spec.options.io_timeout = io_timeout;
    let (array, bdev) = create(reactors, spec);
    (array, bdev, odd)
}

/// Goal: a device that has not been given a request has not failed it: a channel that is full for longer than
/// requests may take costs its member nothing. Method: reads and writes of a member whose channel hands all
/// of them back for twice that time, from both reactors.
#[test]
fn a_full_channel_is_no_fault_of_its_member() {
    let reactors = two_reactors();
    let io_timeout = Duration::from_secs(1);
    let (array, bdev, odd) = with_an_odd_member(&reactors, io_timeout, Uuid::new_v4());
    let handles = reactors.handles();
    let remotes = [0, 1].map(|at: usize| Remote::open(&handles[at % handles.len()], &bdev));
    let bytes = Rng(5).bytes(8 * STRIP as usize);
    assert_eq!(remotes[0].write(0, &bytes), IoStatus::Ok);
    odd.full.store(true, Ordering::Relaxed);
    for remote in &remotes {
        remote.submit(BdevIo::read(1, 0, IoBufMut::heap(bytes.len())));
        let from = IoBufMut::heap_copy(&bytes[..4096]).freeze();
        remote.submit(BdevIo::write(2, 0, from, false));
    }
    std::thread::park_timeout(2 * io_timeout);
    assert!(remotes[0].try_answer().is_none(), "it is held up");
    odd.full.store(false, Ordering::Relaxed);
    for remote in &remotes {
        for _ in 0..2 {
            assert_eq!(remote.answer().status, IoStatus::Ok);
        }
        assert!(remote.read_all(bytes.len() as u64).unwrap() == bytes);
    }
    assert_eq!(array.snapshot().missing().count(), 0);
    drop(remotes);
    array.stop().unwrap();
    reactors.stop();
}

/// Goal: what is never taken holds nobody up for ever. Method: a member whose channel hands everything back from
/// now on: it is out in the end, and has nothing that could come back late.
#[test]
fn a_channel_that_is_full_for_ever_is_given_up() {
    let reactors = two_reactors();
    let (array, bdev, odd) = with_an_odd_member(&reactors, IO_TIMEOUT, Uuid::new_v4());
    let remote = Remote::open(&reactors.handles()[0], &bdev);
    odd.full.store(true, Ordering::Relaxed);
    let bytes = Rng(6).bytes(4 * STRIP as usize);
    assert_eq!(remote.write(0, &bytes), IoStatus::Ok);
    assert_eq!(array.snapshot().missing().collect::<Vec<_>>(), [Slot(0)]);
    assert!(remote.read_all(bytes.len() as u64).unwrap() == bytes);
    assert_eq!(lingering_requests(odd.uuid), 0);
    drop(remote);
    array.stop().unwrap();
    reactors.stop();
}

/// Goal: whatever the UUID of a device is, it is given up when it hangs. Method: the one that says nothing.
#[test]
fn a_device_without_a_uuid_is_given_up_too() {
    let reactors = two_reactors();
    let (array, bdev, odd) = with_an_odd_member(&reactors, IO_TIMEOUT, Uuid::nil());
    let remote = Remote::open(&reactors.handles()[0], &bdev);
    let bytes = Rng(7).bytes(4 * STRIP as usize);
    assert_eq!(remote.write(0, &bytes), IoStatus::Ok);
    hang(&odd.base, Victims::All);
    assert!(remote.read_all(bytes.len() as u64).unwrap() == bytes);
    wait(|| array.snapshot().missing().collect::<Vec<_>>() == [Slot(0)]);
    odd.base.resume_pending();
    wait(|| lingering_requests(Uuid::nil()) == 0);
    drop(remote);
    array.stop().unwrap();
    reactors.stop();
}

/// A RAID 5 of which the first member is this bdev.
fn raid_over(
    reactors: &Reactors,
    name: &str,
    first: &Arc<dyn Bdev>,
    io_timeout: Duration,
) -> (Arc<RaidBdev>, Arc<dyn Bdev>) {
    let size_bytes = first.info().size_bytes();
    let others = (1..3).map(|slot| malloc(&format!("{name}_{slot}"), 512, size_bytes));
    let seats = std::iter::once(first.clone()).chain(others).map(Some).collect();
    let mut spec = spec(Level::Raid5, Layout::LeftSymmetric, STRIP, seats);
    spec.name = name.into();
    spec.options.io_timeout = io_timeout;
    create(reactors, spec)
}

/// Goal: a device that hangs costs the array that it is a member of one member, and no array above anything:
/// who is above waits until the one below has answered, in every depth. Method: an array on an array on an
/// array, the lowest through a mapped device, all with the same time; one of the lowest members hangs. It is
/// a matter of who looks first, so it is done several times.
#[test]
fn a_hung_device_costs_arrays_above_nothing() {
    for run in 0..4 {
        let rig = Rig::new(Level::Raid5, Layout::LeftSymmetric, 4);
        let mapped: Arc<dyn Bdev> = mapped_over(&rig.bdev).unwrap();
        let (middle, middle_bdev) = raid_over(&rig.reactors, "middle", &mapped, IO_TIMEOUT);
        let (top, top_bdev) = raid_over(&rig.reactors, "top", &middle_bdev, IO_TIMEOUT);
        let hung = rig.first_data(0);
        hang(&rig.members[hung], Victims::Write);
        let handles = rig.reactors.handles();
        let remote = Remote::open(&handles[run % handles.len()], &top_bdev);
        let bytes = Rng(run as u64 + 1).bytes(1 << 20);
        assert_eq!(remote.write(0, &bytes), IoStatus::Ok);
        wait(|| rig.state(hung) == MemberState::Faulty);
        assert_eq!(middle.snapshot().missing().count(), 0, "run {run}");
        assert_eq!(top.snapshot().missing().count(), 0, "run {run}");
        rig.members[hung].resume_pending();
        assert!(remote.read_all(bytes.len() as u64).unwrap() == bytes);
        drop(remote);
        top.stop().unwrap();
        middle.stop().unwrap();
        rig.end();
    }
}

/// Goal: a member that is a suspended device is waited for, as device-mapper would, also by an array above; no
/// time has passed for it when it goes on. Method: it is suspended for far longer than requests may take,
/// with reads and writes on their way.
#[test]
fn a_suspended_member_is_waited_for() {
    let reactors = two_reactors();
    let mapped = mapped_over(&malloc("d", 512, MEMBER_BYTES)).unwrap();
    let (base, io_timeout) = (mapped.clone() as Arc<dyn Bdev>, Duration::from_secs(1));
    let (lower, lower_bdev) = raid_over(&reactors, "lower", &base, io_timeout);
    let (upper, upper_bdev) = raid_over(&reactors, "upper", &lower_bdev, io_timeout);
    let handles = reactors.handles();
    let remotes = [0, 1].map(|at: usize| Remote::open(&handles[at % handles.len()], &upper_bdev));
    let bytes = Rng(8).bytes(1 << 20);
    assert_eq!(remotes[0].write(0, &bytes), IoStatus::Ok);
    mapped.suspend(SuspendMode::Flush, Duration::from_secs(5)).unwrap();
    for remote in &remotes {
        remote.submit(BdevIo::read(1, 0, IoBufMut::heap(1 << 20)));
        remote.submit(BdevIo::write(2, 0, IoBufMut::heap_copy(&bytes).freeze(), false));
    }
    std::thread::park_timeout(3 * io_timeout);
    assert!(remotes[0].try_answer().is_none(), "it is held up");
    mapped.resume(None).unwrap();
    for remote in &remotes {
        for _ in 0..2 {
            assert_eq!(remote.answer().status, IoStatus::Ok);
        }
        assert!(remote.read_all(1 << 20).unwrap() == bytes);
    }
    for array in [&lower, &upper] {
        assert_eq!(array.snapshot().missing().count(), 0);
    }
    drop(remotes);
    upper.stop().unwrap();
    lower.stop().unwrap();
    reactors.stop();
}

/// Goal: an array that holds writes until its owner allows them costs the array above it nothing, however long that
/// takes. Method: a member of the lower one fails a write; it is allowed to go on after far longer than requests may
/// take.
#[test]
fn a_member_that_waits_for_its_owner_is_waited_for() {
    let reactors = two_reactors();
    let io_timeout = Duration::from_secs(1);
    let members: Vec<_> =
        (0..3).map(|slot| error_bdev(&format!("m{slot}"), MEMBER_BYTES)).collect();
    let seats = members.iter().map(|member| Some(member.clone() as Arc<dyn Bdev>)).collect();
    let mut lower = spec(Level::Raid5, Layout::LeftSymmetric, STRIP, seats);
    lower.name = "lower".into();
    lower.options.policy.member = OnMemberFailure::Hold;
    lower.options.io_timeout = io_timeout;
    let (lower, lower_bdev) = create(&reactors, lower);
    let (upper, upper_bdev) = raid_over(&reactors, "upper", &lower_bdev, io_timeout);
    let remote = Remote::open(&reactors.handles()[0], &upper_bdev);
    members[1].inject(&Injection::next(Victims::Write, Fault::Failure, 1)).unwrap();
    let bytes = Rng(9).bytes(1 << 20);
    remote.submit(BdevIo::write(1, 0, IoBufMut::heap_copy(&bytes).freeze(), false));
    wait(|| lower.snapshot().waiting_for_owner);
    std::thread::park_timeout(lower_bdev.leeway().answers_within + 2 * io_timeout);
    assert!(remote.try_answer().is_none(), "it is held up");
    assert_eq!(upper.snapshot().missing().count(), 0);
    lower.allow_writes();
    assert_eq!(remote.answer().status, IoStatus::Ok);
    assert!(remote.read_all(1 << 20).unwrap() == bytes);
    assert_eq!(upper.snapshot().missing().count(), 0);
    drop(remote);
    upper.stop().unwrap();
    lower.stop().unwrap();
    reactors.stop();
}
