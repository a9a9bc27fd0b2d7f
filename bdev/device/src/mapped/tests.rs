//! What a mapped device promises: its table, suspending, resuming, and that no byte is lost by either.
//!
//! That it is a bdev like any other is in `conformance`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reactor::LocalReactor;
use reactor::memory::IoBufMut;

use super::*;
use crate::conformance::backends::{DEVICE_BYTES, memory};
use crate::conformance::data::Model;
use crate::conformance::rig::{Dice, Rig, buffer_of, contents};
use crate::io::{Completion, IoOp, IoStatus, Sgl};
use crate::limits::{CHANNEL_IN_FLIGHT_MAX, MAPPED_SEGMENTS_MAX};
use crate::{
    Counted, DelayBdev, DelaySpec, ErrorBdev, ErrorSpec, Fault, Injection, NullBdev, NullSpec,
    Victims,
};

const PATIENCE: Duration = Duration::from_secs(20);
const BLOCK: u64 = 512;

fn device() -> Arc<MappedBdev> {
    MappedBdev::create(MappedSpec { name: "dm0".into(), uuid: None, read_only: false })
}

fn on(bdev: &Arc<dyn Bdev>, offset_bytes: u64) -> SegmentTarget {
    SegmentTarget::Bdev { bdev: Arc::clone(bdev), offset_bytes }
}

/// Segments of these lengths, one after the other.
fn table(parts: Vec<(u64, SegmentTarget)>) -> MappedTable {
    MappedTable::new(segments(parts, None)).unwrap()
}

fn segments(parts: Vec<(u64, SegmentTarget)>, boundary_bytes: Option<u64>) -> Vec<Segment> {
    let mut start_bytes = 0;
    let segment = |(len_bytes, target)| {
        let segment = Segment { start_bytes, len_bytes, target, boundary_bytes };
        start_bytes = start_bytes.wrapping_add(len_bytes);
        segment
    };
    parts.into_iter().map(segment).collect()
}

fn error_over(base: Arc<dyn Bdev>) -> Arc<ErrorBdev> {
    ErrorBdev::create(ErrorSpec { name: "e0".into(), uuid: None, base, volatile_cache: false })
}

/// Does something that waits for the reactor, which turns meanwhile, and its channel is polled.
fn meanwhile<R: Send>(
    rig: &mut Rig,
    done: &mut Vec<Completion>,
    f: impl FnOnce() -> R + Send,
) -> R {
    std::thread::scope(|scope| {
        let thread = scope.spawn(f);
        while !thread.is_finished() {
            rig.reactor.turn();
            rig.channel.poll(done);
        }
        thread.join().unwrap()
    })
}

/// As `meanwhile`, where nothing is to complete.
fn quietly<R: Send>(rig: &mut Rig, f: impl FnOnce() -> R + Send) -> R {
    let mut done = Vec::new();
    let result = meanwhile(rig, &mut done, f);
    assert!(done.is_empty(), "{done:?}");
    result
}

/// Waits, as nothing else is there to wait for.
fn pause(span: Duration) {
    let (_nobody, never) = mpsc::channel::<()>();
    assert!(never.recv_timeout(span).is_err());
}

/// Goal: what is no table is refused in words that say why. Method: one of each.
#[test]
fn tables_are_checked() {
    let small: Arc<dyn Bdev> = memory(512);
    let large: Arc<dyn Bdev> = memory(4096);
    let zero = || SegmentTarget::Zero;
    let mut gap = segments(vec![(512, zero()), (512, zero())], None);
    gap[1].start_bytes = 1024;
    let cases = [
        (Vec::new(), "the table has no segment: give at least one"),
        (
            segments(vec![(512, zero()); MAPPED_SEGMENTS_MAX + 1], None),
            "the table has 4097 segments: give at most 4096",
        ),
        (gap, "segment 1 starts at byte 1024: it should start at 512"),
        (
            segments(vec![(0, zero())], None),
            "segment 0 at byte 0 has 0 bytes: give at least 1, and less than 2^63 in all",
        ),
        (
            segments(vec![(512, zero()), (u64::MAX - 511, zero())], None),
            "segment 1 at byte 512 has 18446744073709551104 bytes: give at least 1, and less than \
             2^63 in all",
        ),
        (
            segments(vec![(4096, on(&large, 0)), (512, on(&small, 0))], None),
            "segment 1: length 512 is not a multiple of the block size 4096",
        ),
        (
            segments(vec![(4096, on(&small, 100))], None),
            "segment 0: offset 100 is not a multiple of the block size 512",
        ),
        (
            segments(vec![(4096, on(&small, 0))], Some(1000)),
            "segment 0: boundary 1000 is not a multiple of the block size 512",
        ),
        (
            segments(vec![(4096, on(&small, DEVICE_BYTES - 512))], None),
            "segment 0: bdev malloc0 has 8388608 bytes, and 4096 from byte 8388096 on do not fit",
        ),
        (
            segments(vec![(4096, on(&small, u64::MAX - 511))], None),
            "segment 0: bdev malloc0 has 8388608 bytes, and 4096 from byte 18446744073709551104 on \
             do not fit",
        ),
    ];
    for (segments, text) in cases {
        assert_eq!(MappedTable::new(segments).unwrap_err().to_string(), text);
    }
    let table = table(vec![(8192, on(&large, 0)), (4096, on(&small, 512)), (4096, on(&large, 0))]);
    assert_eq!((table.size_bytes(), table.bdevs().len(), table.segments().len()), (16384, 2, 3));
}

/// Goal: where a request is cut depends on borders and boundaries only. Method: every block of a small
/// table, against a plain count.
#[test]
fn room_ends_at_borders() {
    for boundary_blocks in [0, 1, 2, 3, 7] {
        let parts = vec![(5 * BLOCK, SegmentTarget::Zero), (9 * BLOCK, SegmentTarget::Error)];
        let table = MappedTable::new(segments(parts, Some(boundary_blocks * BLOCK))).unwrap();
        for block in 0..14_u64 {
            let (start, end) = if block < 5 { (0, 5) } else { (5, 14) };
            let is_border = |at: &u64| {
                *at == end || boundary_blocks > 0 && (at - start).is_multiple_of(boundary_blocks)
            };
            let border = (block + 1..=end).find(is_border).unwrap();
            let at = block * BLOCK;
            let place = table.place(at);
            assert_eq!(place.start_bytes, start * BLOCK);
            assert_eq!(place.room_bytes(at), (border - block) * BLOCK, "{boundary_blocks} {block}");
        }
    }
}

/// Goal: a device has the size, kind and abilities of its table, from none to another one, and any name.
#[test]
fn description_follows_the_table() {
    let mapped = device();
    assert_eq!((mapped.state(), mapped.info().num_blocks), (MappedState::NoTable, 0));
    let error = mapped.resume(None).unwrap_err();
    assert_eq!(error.to_string(), "mapped device dm0: it has no table: load one first");
    mapped.suspend(SuspendMode::Flush, PATIENCE).unwrap();
    assert_eq!(mapped.state(), MappedState::NoTable);

    mapped.resume(Some(table(vec![(1 << 20, on(&memory(512), 0))]))).unwrap();
    let info = mapped.info();
    assert_eq!((info.num_blocks, info.block_size_bytes), (2048, 512));
    assert_eq!(info.product_name, "Mapped device");
    let other = || table(vec![(1 << 20, on(&memory(4096), 0)), (1 << 20, SegmentTarget::Zero)]);
    let error = mapped.resume(Some(other())).unwrap_err();
    assert_eq!(error.errno(), -libc::EBUSY);
    mapped.resume(None).unwrap();
    mapped.suspend(SuspendMode::NoFlush, PATIENCE).unwrap();
    assert_eq!((mapped.state(), mapped.info().num_blocks), (MappedState::Suspended, 2048));
    mapped.rename("other");
    mapped.resume(Some(other())).unwrap();
    assert_eq!((mapped.info().num_blocks, mapped.info().block_size_bytes), (512, 4096));
    assert_eq!((mapped.name().as_str(), mapped.info().uuid), ("other", info.uuid));
    assert_eq!(mapped.table().unwrap().segments().len(), 2);
}

/// Goal: without a table requests fail, as dm's do; with one the channel that was open before works.
#[test]
fn requests_before_the_first_table() {
    let mapped = device();
    let mut rig = Rig::new(&*mapped);
    let done = rig.run(BdevIo::read(5, 0, IoBufMut::heap(512)));
    assert_eq!((done.status, done.io.token), (IoStatus::MediaError, 5));
    let first = table(vec![(4096, on(&memory(512), 0))]);
    quietly(&mut rig, || mapped.resume(Some(first))).unwrap();
    rig.write(0, &[1; 4096]);
    assert_eq!(rig.read(0, 4096), [1; 4096]);
}

/// Goal: `zero` and `error` do what their names say, also for the part of a request that hits them; a
/// flush fails for neither.
#[test]
fn zero_and_error_targets() {
    let mapped = device();
    let parts = vec![
        (4096, on(&memory(512), 0)),
        (4096, SegmentTarget::Zero),
        (4096, SegmentTarget::Error),
    ];
    mapped.resume(Some(table(parts))).unwrap();
    let mut rig = Rig::new(&*mapped);
    rig.write(0, &[9; 8192]);
    assert_eq!(rig.read(0, 8192), [[9; 4096], [0; 4096]].concat());
    for io in [
        BdevIo::read(1, 8192, IoBufMut::heap(512)),
        BdevIo::read(1, 2048, IoBufMut::heap(8192)),
        BdevIo::write(1, 4096, buffer_of(&[7; 8192]), true),
        BdevIo::write_zeroes(1, 0, 12288, false),
        BdevIo::unmap(1, 8192, 4096),
    ] {
        let (offset, len) = (io.offset_bytes, io.len_bytes);
        let done = rig.run(io);
        assert_eq!(done.status, IoStatus::MediaError, "{done:?}");
        assert_eq!((done.io.token, done.io.offset_bytes, done.io.len_bytes), (1, offset, len));
    }
    assert_eq!(rig.run(BdevIo::flush(2)).status, IoStatus::Ok);
}

/// Goal: a read-only device takes no write whatever its table, and reads.
#[test]
fn read_only_devices() {
    let mapped = MappedBdev::create(MappedSpec { name: "ro".into(), uuid: None, read_only: true });
    mapped.resume(Some(table(vec![(4096, on(&memory(512), 0))]))).unwrap();
    let mut rig = Rig::new(&*mapped);
    let done = rig.run(BdevIo::write(0, 0, buffer_of(&[1; 512]), false));
    assert_eq!(done.status, IoStatus::Unsupported);
    assert_eq!(rig.read(0, 512), [0; 512]);
}

/// Goal: a request that crosses borders is whole again: its buffers, in order, also empty ones, and the
/// first error. Method: reads and writes over borders at every second block, lists of odd buffers.
#[test]
fn split_requests_are_whole_again() {
    let base = memory(512);
    let parts = (0..8).map(|part| (1024, on(&base, (7 - part) * 4096))).collect();
    let mapped = device();
    mapped.resume(Some(table(parts))).unwrap();
    let mut rig = Rig::new(&*mapped);
    let bytes: Vec<u8> = (0..8192_u32).map(|at| (at / 31) as u8).collect();
    let lens = [512, 0, 1536, 3072, 0, 512, 2560];
    let mut rest = &bytes[..];
    let mut cut = |len| {
        let (front, back) = rest.split_at(len);
        rest = back;
        buffer_of(front)
    };
    let from: Vec<_> = lens.into_iter().map(&mut cut).collect();
    let done = rig.run(BdevIo::write(3, 0, Sgl::Many(from), true));
    assert_eq!((done.status, done.io.token), (IoStatus::Ok, 3));
    assert_eq!(contents(&done.io), bytes);

    let into = lens.into_iter().map(IoBufMut::heap).collect();
    let done = rig.run(BdevIo::read(4, 0, Sgl::Many(into)));
    let IoOp::Read { into } = &done.io.op else { panic!("{done:?}") };
    assert!(into.segments().map(|buf| buf.len()).eq(lens));
    assert_eq!(contents(&done.io), bytes);
    assert_eq!(rig.read(1536, 4096), bytes[1536..5632]);
}

/// Goal: more parts than slots: one request of many parts completes, others with it.
#[test]
fn requests_of_many_parts() {
    let mapped = device();
    let parts = vec![(DEVICE_BYTES, on(&memory(512), 0))];
    mapped.resume(Some(MappedTable::new(segments(parts, Some(1024))).unwrap())).unwrap();
    let mut rig = Rig::new(&*mapped);
    rig.write(0, &vec![5; DEVICE_BYTES as usize]);
    let zeroes = (0..CHANNEL_IN_FLIGHT_MAX as u64)
        .map(|token| BdevIo::write_zeroes(token, token << 14, 1 << 14, false))
        .collect();
    for done in rig.run_all(zeroes) {
        assert_eq!(done.status, IoStatus::Ok);
    }
    let all = rig.read(0, DEVICE_BYTES as usize);
    assert!(all[..4 << 20].iter().all(|&byte| byte == 0));
    assert!(all[4 << 20..].iter().all(|&byte| byte == 5));
}

/// A bdev of which no channel can be opened, as an array that is stopped.
#[derive(Debug)]
struct Shut(Arc<dyn Bdev>);

impl Bdev for Shut {
    fn info(&self) -> Arc<BdevInfo> {
        self.0.info()
    }

    fn open_channel(&self, _cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        Err(OpenError::Unavailable { bdev: self.0.name(), reason: "it is stopped".to_owned() })
    }
}

/// Goal: who comes while a device is suspended waits for the table that is to come, though what the old
/// one stands on is gone; a table that cannot be opened does not come. Method: a bdev that is shut.
#[test]
fn who_comes_between_two_tables_waits() {
    let shut: Arc<dyn Bdev> = Arc::new(Shut(memory(512)));
    let mapped = device();
    mapped.resume(Some(table(vec![(4096, on(&shut, 0))]))).unwrap();
    let mut reactor = LocalReactor::new(1 << 20);
    let refused = mapped.open_channel(reactor.cx()).unwrap_err();
    assert!(matches!(refused, OpenError::Unavailable { .. }), "{refused}");
    std::thread::scope(|scope| {
        let suspend = scope.spawn(|| mapped.suspend(SuspendMode::NoFlush, PATIENCE));
        while !suspend.is_finished() {
            reactor.turn();
        }
        suspend.join().unwrap().unwrap();
    });

    let channel = mapped.open_channel(reactor.cx()).unwrap();
    let mut rig = Rig { channel, reactor };
    rig.channel.submit(BdevIo::write(1, 512, buffer_of(&[6; 512]), false)).unwrap();
    let refused = quietly(&mut rig, || mapped.resume(Some(table(vec![(4096, on(&shut, 0))]))));
    assert!(matches!(refused, Err(ResumeError::Open { .. })), "{refused:?}");
    let new: Arc<dyn Bdev> = memory(512);
    let mut done = Vec::new();
    let next = table(vec![(4096, on(&new, 1024))]);
    meanwhile(&mut rig, &mut done, || mapped.resume(Some(next))).unwrap();
    let left = 1 - done.len();
    done.extend(rig.finish(left));
    assert_eq!(done[0].status, IoStatus::Ok);
    assert_eq!(Rig::new(&*new).read(1536, 512), [6; 512]);
}

/// Goal: while it is suspended requests wait, in a number that is bounded; then they are done in their
/// order, on the new table, and how long they waited is known. Method: as many writes of one block as a
/// channel takes; the old bdev never sees them, the new one holds the last.
#[test]
fn requests_wait_while_suspended() {
    let (old, new) = (memory(512), memory(512));
    let mapped = device();
    mapped.resume(Some(table(vec![(4096, on(&old, 0))]))).unwrap();
    let mut rig = Rig::new(&*mapped);
    rig.write(0, &[1; 512]);
    quietly(&mut rig, || mapped.suspend(SuspendMode::Flush, PATIENCE)).unwrap();
    for token in 0..CHANNEL_IN_FLIGHT_MAX as u64 {
        let io = BdevIo::write(token, 512, buffer_of(&[token as u8; 512]), false);
        rig.channel.submit(io).unwrap();
    }
    let back = rig.channel.submit(BdevIo::flush(999)).unwrap_err();
    assert_eq!(back.token, 999);
    let span = Duration::from_millis(20);
    quietly(&mut rig, || pause(span));

    // Twice the size: what lies in the new half is judged by the new table.
    let wide = table(vec![(8192, on(&new, 4096))]);
    let mut done = Vec::new();
    meanwhile(&mut rig, &mut done, || mapped.resume(Some(wide))).unwrap();
    let left = CHANNEL_IN_FLIGHT_MAX - done.len();
    done.extend(rig.finish(left));
    assert!(done.iter().all(|done| done.status.is_ok() && done.io.offset_bytes == 512));
    assert_eq!(rig.read(512, 512), [255; 512]);
    assert_eq!(rig.read(0, 512), [0; 512]);
    rig.write(7680, &[3; 512]);
    assert_eq!(Rig::new(&*new).read(4096 + 512, 512), [255; 512]);
    assert_eq!(Rig::new(&*old).read(0, 1024), [[1; 512], [0; 512]].concat());
    let queueing = quietly(&mut rig, || mapped.queueing());
    assert_eq!(queueing.requests, CHANNEL_IN_FLIGHT_MAX as u64);
    assert!(queueing.longest >= span && queueing.longest < PATIENCE, "{queueing:?}");
}

/// Goal: suspending waits for what is out, and not for ever: it says how much that is, and the device
/// runs on; so does one whose channel was dropped. Method: an error bdev that holds two reads.
#[test]
fn stuck_requests_are_waited_for() {
    let error = error_over(memory(512));
    let mapped = device();
    mapped.resume(Some(table(vec![(4096, on(&(error.clone() as Arc<dyn Bdev>), 0))]))).unwrap();
    let mut rig = Rig::new(&*mapped);
    error.inject(&Injection::next(Victims::Read, Fault::Pending, 2)).unwrap();
    for token in [7, 8] {
        rig.channel.submit(BdevIo::read(token, 0, IoBufMut::heap(512))).unwrap();
    }
    let limit = Duration::from_millis(30);
    let refused = quietly(&mut rig, || mapped.suspend(SuspendMode::Flush, limit)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "mapped device dm0: 2 requests are not back after 30ms: it runs on; see to what is behind it"
    );
    assert_eq!(mapped.state(), MappedState::Running);
    assert_eq!(rig.run(BdevIo::flush(9)).status, IoStatus::Ok);

    let other = mapped.open_channel(rig.reactor.cx()).unwrap();
    drop(std::mem::replace(&mut rig.channel, other));
    let refused = quietly(&mut rig, || mapped.suspend(SuspendMode::Flush, limit)).unwrap_err();
    assert!(refused.to_string().contains("2 requests are not back"), "{refused}");
    error.resume_pending();
    quietly(&mut rig, || mapped.suspend(SuspendMode::Flush, PATIENCE)).unwrap();
    assert_eq!(mapped.state(), MappedState::Suspended);
}

/// Goal: without flushing, what a failing bdev fails while the device is suspended is done by the next
/// table; with flushing its user is told. Method: reads and writes are held, the power goes, they fail.
#[test]
fn failures_wait_for_the_next_table() {
    for (mode, pushed_back) in [(SuspendMode::NoFlush, true), (SuspendMode::Flush, false)] {
        for boundary_bytes in [None, Some(512)] {
            let error = error_over(memory(512));
            let good = memory(512);
            let mapped = device();
            let base = error.clone() as Arc<dyn Bdev>;
            let first = segments(vec![(8192, on(&base, 0))], boundary_bytes);
            mapped.resume(Some(MappedTable::new(first).unwrap())).unwrap();
            let mut rig = Rig::new(&*mapped);
            error
                .inject(&Injection::next(Victims::All, Fault::Pending, Injection::FOR_EVER))
                .unwrap();
            let write = BdevIo::write(1, 0, buffer_of(&[6; 1024]), false);
            rig.channel.submit(write).unwrap();
            rig.channel.submit(BdevIo::read(2, 4096, IoBufMut::heap(1024))).unwrap();
            let mut done = Vec::new();
            meanwhile(&mut rig, &mut done, || {
                std::thread::scope(|scope| {
                    let suspending = scope.spawn(|| mapped.suspend(mode, PATIENCE));
                    pause(Duration::from_millis(20));
                    error.lose_power(None);
                    // A flush of a device that is gone fails, and the device runs on.
                    let suspended = suspending.join().unwrap();
                    assert_eq!(suspended.is_ok(), pushed_back, "{suspended:?}");
                });
            });
            if !pushed_back {
                assert_eq!(done.len(), 2);
                assert!(done.iter().all(|done| done.status == IoStatus::Gone), "{done:?}");
                assert_eq!(mapped.state(), MappedState::Running);
                continue;
            }
            assert!(done.is_empty(), "{done:?}");
            let next = table(vec![(8192, on(&good, 0))]);
            meanwhile(&mut rig, &mut done, || mapped.resume(Some(next))).unwrap();
            let left = 2 - done.len();
            done.extend(rig.finish(left));
            assert!(done.iter().all(|done| done.status.is_ok()), "{done:?}");
            assert_eq!(rig.read(0, 1024), [6; 1024]);
            assert_eq!(quietly(&mut rig, || mapped.queueing()).requests, 2);
        }
    }
}

/// A bdev that has no channels.
#[derive(Debug)]
struct Closed(Arc<dyn Bdev>);

impl Bdev for Closed {
    fn info(&self) -> Arc<BdevInfo> {
        self.0.info()
    }

    fn open_channel(&self, _cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        let (bdev, reason) = (self.name(), "it never is".to_owned());
        Err(OpenError::Unavailable { bdev, reason })
    }
}

/// Goal: a table of which a bdev cannot be opened changes nothing. Method: for one channel of two the new
/// table is prepared; afterwards the device is suspended, and runs on with the old one.
#[test]
fn a_table_that_cannot_be_opened() {
    let old = memory(512);
    let mapped = device();
    mapped.resume(Some(table(vec![(4096, on(&old, 0))]))).unwrap();
    let mut rig = Rig::new(&*mapped);
    rig.write(0, &[4; 512]);
    quietly(&mut rig, || mapped.suspend(SuspendMode::Flush, PATIENCE)).unwrap();
    rig.channel.submit(BdevIo::read(0, 0, IoBufMut::heap(512))).unwrap();
    let closed: Arc<dyn Bdev> = Arc::new(Closed(memory(512)));
    let bad = table(vec![(8192, on(&memory(512), 0)), (4096, on(&closed, 0))]);
    let error = quietly(&mut rig, || mapped.resume(Some(bad))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "mapped device dm0: it keeps its old table: bdev malloc0: not available: it never is"
    );
    assert_eq!((mapped.state(), mapped.info().num_blocks), (MappedState::Suspended, 8));
    let mut done = Vec::new();
    meanwhile(&mut rig, &mut done, || mapped.resume(None)).unwrap();
    let left = 1 - done.len();
    done.extend(rig.finish(left));
    assert_eq!(contents(&done[0].io), [4; 512]);
}

/// Goal: channels that are opened while it is suspended wait like all others, on a reactor that had none
/// before, too.
#[test]
fn channels_that_come_late() {
    let mapped = device();
    mapped.resume(Some(table(vec![(4096, on(&memory(512), 0))]))).unwrap();
    mapped.suspend(SuspendMode::Flush, PATIENCE).unwrap();
    let mut rig = Rig::new(&*mapped);
    rig.channel.submit(BdevIo::write(1, 0, buffer_of(&[8; 512]), false)).unwrap();
    quietly(&mut rig, || pause(Duration::from_millis(5)));
    let mut done = Vec::new();
    meanwhile(&mut rig, &mut done, || mapped.resume(None)).unwrap();
    let left = 1 - done.len();
    done.extend(rig.finish(left));
    assert_eq!(rig.read(0, 512), [8; 512]);
}

/// Goal: devices stand on devices; a device that is gone lets its channels finish.
#[test]
fn devices_on_devices() {
    let (lower, upper) = (device(), device());
    lower.resume(Some(table(vec![(8192, on(&memory(512), 4096))]))).unwrap();
    let base = Arc::clone(&lower) as Arc<dyn Bdev>;
    upper.resume(Some(table(vec![(4096, on(&base, 4096)), (4096, on(&base, 0))]))).unwrap();
    let mut rig = Rig::new(&*upper);
    rig.write(2048, &[2; 4096]);
    quietly(&mut rig, || lower.suspend(SuspendMode::Flush, PATIENCE)).unwrap();
    rig.channel.submit(BdevIo::read(0, 2048, IoBufMut::heap(4096))).unwrap();
    let stuck = quietly(&mut rig, || {
        upper.suspend(SuspendMode::NoFlush, Duration::from_millis(20)).unwrap_err()
    });
    assert!(matches!(stuck, SuspendError::Stuck { requests: 1, .. }), "{stuck}");
    let mut done = Vec::new();
    meanwhile(&mut rig, &mut done, || lower.resume(None)).unwrap();
    drop((lower, base, upper));
    let left = 1 - done.len();
    done.extend(rig.finish(left));
    assert_eq!(contents(&done[0].io), [2; 4096]);
}

/// Where the bytes of the model really are: stretches of `STRETCH` bytes, scattered over two disks.
const STRETCH: u64 = 1 << 20;

/// A random table that maps the same bytes to the same places: cut differently, with other boundaries,
/// over other bdevs on the same disks, and sometimes with more behind it.
fn same_bytes(disks: &[Vec<Arc<dyn Bdev>>; 2], dice: &mut Dice) -> MappedTable {
    let boundary_bytes = [None, Some(512), Some(4096), Some(12288), Some(1 << 20)];
    let mut parts = Vec::new();
    for stretch in 0..DEVICE_BYTES / STRETCH {
        let place = (stretch * 5 + 3) % 8;
        let mut at = 0;
        while at < STRETCH {
            let longest = (STRETCH - at) / 512;
            let blocks = match dice.below(3) {
                0 => 1 + dice.below(longest.min(64)),
                1 => 1 + dice.below(longest),
                _ => longest,
            };
            let views = &disks[(place % 2) as usize];
            let view = &views[dice.below(views.len() as u64) as usize];
            parts.push((blocks * 512, on(view, place / 2 * STRETCH + at)));
            at += blocks * 512;
        }
    }
    if dice.below(2) == 0 {
        parts.push((
            1 << 20,
            [SegmentTarget::Zero, SegmentTarget::Error][dice.below(2) as usize].clone(),
        ));
    }
    MappedTable::new(segments(parts, boundary_bytes[dice.below(5) as usize])).unwrap()
}

/// A disk as itself and under other bdevs.
fn views(disk: Arc<dyn Bdev>) -> Vec<Arc<dyn Bdev>> {
    let (name, uuid, base, latencies_us) = ("d0".into(), None, disk.clone(), [20, 300, 30, 400]);
    let delay = DelayBdev::create(DelaySpec { name, uuid, base, latencies_us }).unwrap();
    let counted = Counted::over(disk.clone());
    vec![disk.clone(), delay, counted, error_over(disk)]
}

/// Goal: no table swap loses, doubles or misplaces a byte, fails a request or reorders what was ordered.
/// Method: two reactors run random requests against byte models of their halves of the device, while a
/// third thread suspends and resumes it at random moments with random tables for the same bytes.
#[test]
fn tables_are_swapped_under_random_requests() {
    for seed in 1..=2 {
        let disks = [views(memory(512)), views(memory(512))];
        let mapped = device();
        let mut dice = Dice(seed);
        mapped.resume(Some(same_bytes(&disks, &mut dice))).unwrap();
        let (over, half) = (AtomicBool::new(false), DEVICE_BYTES / 2);
        let halves: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let run = |first_byte: u64| {
                let (mapped, over) = (&*mapped, &over);
                scope.spawn(move || {
                    let mut rig = Rig::new(mapped);
                    let mut model = Model::new(first_byte, half, 512, Dice(first_byte + seed));
                    while !over.load(Ordering::Relaxed) {
                        model.run_batch(&mut rig, mapped);
                    }
                    model.bytes
                })
            };
            let threads = [run(0), run(half)];
            for _ in 0..40 {
                pause(Duration::from_micros(dice.below(3000)));
                let mode = [SuspendMode::Flush, SuspendMode::NoFlush][dice.below(2) as usize];
                mapped.suspend(mode, PATIENCE).unwrap();
                pause(Duration::from_micros(dice.below(500)));
                let next = (dice.below(4) > 0).then(|| same_bytes(&disks, &mut dice));
                mapped.resume(next).unwrap();
            }
            over.store(true, Ordering::Relaxed);
            threads.map(|thread| thread.join().unwrap()).into()
        });
        let mut rig = Rig::new(&*mapped);
        for (first_byte, bytes) in [0, half].into_iter().zip(halves) {
            assert!(rig.read(first_byte, half as usize) == bytes, "half at {first_byte} differs");
        }
    }
}

/// Goal: a null bdev that has grown gives a table more room; the bdev may not shrink under a table, which
/// is the service's to see to.
#[test]
fn a_table_is_checked_against_the_size_of_now() {
    let spec = NullSpec { name: "n0".into(), uuid: None, block_size_bytes: 512, num_blocks: 8 };
    let null = NullBdev::create(spec).unwrap();
    let wide = || MappedTable::new(segments(vec![(8192, on(&null, 0))], None));
    assert!(wide().is_err());
    let (to, may_shrink) = (crate::NewSize::Blocks(16), false);
    null.resize(crate::Resize { to, may_shrink }).unwrap();
    assert_eq!(wide().unwrap().size_bytes(), 8192);
}
