//! A counted bdev on reactors whose time is ours, and on real ones.

use std::time::Duration;

use reactor::memory::IoBufMut;
use reactor::{CpuSet, LocalReactor, PollMode, Reactors, ReactorsConfig, Ticks};

use super::*;
use crate::io::{BdevIo, Completion, IoStatus};
use crate::limits::CHANNEL_IN_FLIGHT_MAX;
use crate::{MallocBdev, MallocSpec, NullBdev, NullSpec};

fn null() -> Arc<Counted> {
    let (name, uuid) = ("n0".to_owned(), None);
    let spec = NullSpec { name, uuid, block_size_bytes: 512, num_blocks: 1 << 20 };
    Counted::over(NullBdev::create(spec).unwrap())
}

fn read(token: u64) -> BdevIo {
    BdevIo::read(token, 0, IoBufMut::heap(4096))
}

/// A channel on a reactor of this thread.
struct Rig {
    channel: Box<dyn IoChannel>,
    meter: Rc<Meter>,
    reactor: LocalReactor,
    now: Ticks,
}

impl Rig {
    fn new(bdev: &Counted) -> Self {
        let mut reactor = LocalReactor::new(1 << 20);
        let channel = bdev.open_channel(reactor.cx()).unwrap();
        let meter = reactor.cx().find_local::<Meter>(bdev.shared.key).unwrap();
        // As `set_limits` does, whose message a reactor of this thread could not answer.
        meter.expect_waits(reactor.cx());
        let mut rig = Self { channel, meter, reactor, now: Ticks::from_secs(1 << 20) };
        rig.after(Ticks::ZERO);
        rig
    }

    /// What comes back when `span` has gone by.
    fn after(&mut self, span: Ticks) -> Vec<Completion> {
        self.now += span;
        self.reactor.turn_at(self.now);
        let mut done = Vec::new();
        self.channel.poll(&mut done);
        done
    }
}

/// Goal: the user's tokens come back whatever they are, and latencies are from submit to poll.
#[test]
fn latencies_go_from_submit_to_poll() {
    let bdev = null();
    let mut rig = Rig::new(&bdev);
    for token in [7, 7, u64::MAX] {
        rig.channel.submit(read(token)).unwrap();
    }
    let tokens: Vec<_> =
        rig.after(Ticks::from_micros(30)).iter().map(|done| done.io.token).collect();
    assert_eq!(tokens, [7, 7, u64::MAX]);
    rig.channel.submit(read(1)).unwrap();
    assert_eq!(rig.after(Ticks::from_micros(10)).len(), 1);
    rig.channel.submit(BdevIo::unmap(2, 1, 1)).unwrap();
    assert_eq!(rig.after(Ticks::ZERO)[0].status, IoStatus::InvalidRequest);

    let stats = rig.meter.snapshot(Reset::None);
    let expected = KindStats {
        ios: 4,
        bytes: 4 * 4096,
        latency_ns: 100_000,
        max_latency_ns: 30_000,
        min_latency_ns: 10_000,
    };
    assert_eq!(*stats.of(IoKind::Read), expected);
    assert_eq!(stats.of(IoKind::Unmap).ios, 0);
}

/// Goal: requests that are on their way when the way of counting changes come back as they went.
#[test]
fn counting_can_change_under_way() {
    let bdev = null();
    let mut rig = Rig::new(&bdev);
    let mut expected = Vec::new();
    let mut seen = Vec::new();
    for round in 0..6_u64 {
        // As a control thread would, but without waiting for this thread's reactor.
        bdev.shared.closely.store(round % 2 == 0, Ordering::Relaxed);
        let submitted = rig.now;
        for token in [round, round, u64::MAX - round] {
            rig.channel.submit(read(token)).unwrap();
            expected.push(token);
        }
        let done = rig.after(Ticks::from_micros(10));
        assert!(rig.now > submitted);
        seen.extend(done.iter().map(|done| done.io.token));
    }
    assert_eq!(seen, expected);
    let read = *rig.meter.snapshot(Reset::None).of(IoKind::Read);
    assert_eq!((read.ios, read.latency_ns), (18, 18 * 10_000));
    assert_eq!((read.min_latency_ns, read.max_latency_ns), (10_000, 10_000));
}

/// Goal: what a limit holds back comes when it is time, in order, and is not lost when limits end.
#[test]
fn limits_hold_back_and_let_go() {
    let bdev = null();
    bdev.set_limits(Limits { rw_ios: 1000, ..Limits::default() });
    assert_eq!(bdev.limits().rw_ios, 1000);
    let mut rig = Rig::new(&bdev);
    for token in 0..10 {
        rig.channel.submit(read(token)).unwrap();
    }
    let mut seen: Vec<u64> = Vec::new();
    for _ in 0..5 {
        seen.extend(rig.after(Ticks::from_millis(1)).iter().map(|done| done.io.token));
    }
    assert!((5..=7).contains(&seen.len()), "{seen:?}");
    bdev.set_limits(Limits::default());
    for _ in 0..2 {
        seen.extend(rig.after(Ticks::ZERO).iter().map(|done| done.io.token));
    }
    assert_eq!(seen, (0..10).collect::<Vec<u64>>());
    let longest = rig.meter.snapshot(Reset::None).of(IoKind::Read).max_latency_ns;
    assert!(longest >= 5_000_000, "waiting counts: {longest}");
}

/// Goal: a channel that holds back all it can says so.
#[test]
fn a_full_channel_hands_back() {
    let bdev = null();
    bdev.set_limits(Limits { rw_ios: 1, ..Limits::default() });
    let mut rig = Rig::new(&bdev);
    let refused = (0..2 * CHANNEL_IN_FLIGHT_MAX as u64)
        .find_map(|token| rig.channel.submit(read(token)).err().map(|io| io.token));
    assert!(refused.is_some_and(|token| token >= CHANNEL_IN_FLIGHT_MAX as u64), "{refused:?}");
}

/// Goal: numbers are those of all reactors, stay when channels go, and go with the bdev.
#[test]
fn control_threads_see_all_reactors() {
    let cores = CpuSet::single(0);
    let (poll, buffer_bytes) = (PollMode::Adaptive, 2 << 20);
    let reactors = Reactors::start(ReactorsConfig { cores, poll, buffer_bytes }).unwrap();
    let reactor = &reactors.handles()[0];
    let spec = MallocSpec { name: "m".into(), uuid: None, block_size_bytes: 512, num_blocks: 64 };
    let counted = Counted::over(MallocBdev::create(spec).unwrap());
    let bdev = Arc::clone(&counted) as Arc<dyn Bdev>;
    assert!(counted.stats(Reset::None).is_empty());
    let limit = Duration::from_secs(60);
    counted.start_histogram(HistogramSpec::default(), None).unwrap();
    crate::blocking::read(reactor, &bdev, 0, 1024, limit).unwrap();
    crate::blocking::write_durably(reactor, &bdev, 0, IoBufMut::heap(512).freeze(), limit).unwrap();

    let stats = counted.stats(Reset::All);
    let [(index, _, stats)] = &stats[..] else { panic!("{stats:?}") };
    let counts = IoKind::ALL.map(|kind| stats.of(kind).ios);
    assert_eq!((*index, counts), (0, [1, 1, 1, 0, 0]));
    assert_eq!(stats.of(IoKind::Read).bytes, 1024);
    assert_eq!(counted.stats(Reset::None)[0].2, IoStats::default());
    assert_eq!(counted.histogram().unwrap().counts_up_to(&[]), [3]);
    counted.stop_histogram();
    assert_eq!(counted.histogram(), None);

    let key = counted.shared.key;
    drop((bdev, counted));
    let left = reactor.call(move |cx| cx.find_local::<Meter>(key).is_some()).unwrap();
    assert!(!left);
    reactors.stop();
}
