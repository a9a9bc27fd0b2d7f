//! Disks that do not answer, and others on the same engine; what bdevs over others say of the time that those
//! take. The kernel is made up: the real one always answers in the end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use reactor::{Cx, LocalReactor, Ticks};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::backends::memory;
use super::kernels::disk_over;
use crate::files::disk::FileDisk;
use crate::files::engine::{self, Answer, Kernel, Sizes, open_channel};
use crate::files::request::{Answered, Request};
use crate::limits::{
    AIO_IN_FLIGHT_LEAST, CHANNEL_IN_FLIGHT_MAX, CHANNEL_OWN_SLOTS, ENGINE_IN_FLIGHT_MAX,
};
use crate::{
    Bdev, BdevInfo, BdevIo, Counted, DelayBdev, DelaySpec, ErrorBdev, ErrorSpec, FlakeyBdev,
    FlakeyFeatures, FlakeySpec, IoChannel, LagBdev, LagClass, LagSpec, Leeway, MappedBdev,
    MappedSpec, MappedTable, OpenError, Segment, SegmentTarget, SplitBdev, SplitSpec, SuspendMode,
};

/// A kernel that does everything at once, and never answers for files whose names say that they hang. It is to
/// have `WANTED` slots, and the system has no more than `SLOTS_MAX` to give.
struct Silent<const WANTED: usize, const SLOTS_MAX: usize> {
    event: OwnedFd,
    done: Vec<Request>,
    kept: Vec<Request>,
}

/// Whether a file answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Temper {
    Well,
    Hung,
}

impl<const WANTED: usize, const SLOTS_MAX: usize> Kernel for Silent<WANTED, SLOTS_MAX> {
    const NAME: &'static str = "silent";
    const HINT: &'static str = "this is a test";
    type File = Temper;

    fn sizes(_reactors: usize) -> Sizes {
        Sizes { wanted: WANTED, least: AIO_IN_FLIGHT_LEAST }
    }

    fn create(slots: usize) -> io::Result<Self> {
        if slots > SLOTS_MAX {
            return Err(Errno::AGAIN.into());
        }
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event, done: Vec::new(), kept: Vec::new() })
    }

    fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    fn attach(&mut self, disk: &Arc<FileDisk>) -> io::Result<Temper> {
        let hung = disk.backing.filename.to_string_lossy().contains("hung-");
        Ok(if hung { Temper::Hung } else { Temper::Well })
    }

    fn detach(&mut self, _: Temper) {}

    fn in_flight(&self) -> usize {
        self.done.len() + self.kept.len()
    }

    fn start(&mut self, request: Request, temper: &Temper) {
        assert!(self.in_flight() < SLOTS_MAX, "it has a slot for what it is given");
        match temper {
            Temper::Well => self.done.push(request),
            Temper::Hung => self.kept.push(request),
        }
    }

    fn kick(&mut self) {}

    fn reap(&mut self, answers: &mut Vec<Answer>) {
        let done = self.done.drain(..);
        answers.extend(done.map(|request| {
            let answered = Answered::Moved(request.left_bytes() as usize);
            Answer { request, answered }
        }));
    }

    fn may_sleep(&mut self) -> bool {
        self.done.is_empty()
    }
}

/// A reactor with channels to a disk that hangs, which have all that the engine gives them. Half of them have
/// been given up.
struct Stuck {
    _channels: Vec<Box<dyn IoChannel>>,
    reactor: LocalReactor,
    disks: [Arc<FileDisk>; 2],
    _files: [NamedTempFile; 2],
}

impl Stuck {
    fn new<K: Kernel>() -> Self {
        let files = ["hung-", "well-"].map(|prefix| NamedTempFile::with_prefix(prefix).unwrap());
        files.iter().for_each(|file| file.as_file().set_len(1 << 20).unwrap());
        let disks = [&files[0], &files[1]].map(|file| Arc::new(disk_over(file)));
        let mut reactor = LocalReactor::new(1 << 20);
        let mut channels = Vec::new();
        let mut taken = CHANNEL_IN_FLIGHT_MAX;
        while taken == CHANNEL_IN_FLIGHT_MAX {
            let mut channel = open_channel::<K>(&disks[0], reactor.cx()).unwrap();
            taken = (0..).take_while(|&token| channel.submit(BdevIo::flush(token)).is_ok()).count();
            reactor.turn();
            channels.push(channel);
        }
        channels.truncate(channels.len() / 2);
        Self { _channels: channels, reactor, disks, _files: files }
    }
}

/// Goal: a disk that hangs, however many users it had, keeps no other one on its reactor from its work: it has
/// no healthy member of an array fail for it. Method: channels to it fill the engine, and some are dropped,
/// of which the kernel keeps the requests; a channel to another disk does a thousand. Engines of the full size,
/// of that of AIO on 64 reactors, and of the least, where the system has no more.
#[test]
fn a_hung_disk_leaves_room_for_the_others() {
    leaves_room::<Silent<ENGINE_IN_FLIGHT_MAX, ENGINE_IN_FLIGHT_MAX>>();
    leaves_room::<Silent<512, 512>>();
    leaves_room::<Silent<512, AIO_IN_FLIGHT_LEAST>>();
}

fn leaves_room<K: Kernel>() {
    let mut stuck = Stuck::new::<K>();
    let mut channel = open_channel::<K>(&stuck.disks[1], stuck.reactor.cx()).unwrap();
    let (mut next, mut done) = (0, Vec::new());
    stuck.reactor.run_until(Ticks::from_secs(20), |_| {
        while next < 1000 && channel.submit(BdevIo::flush(next)).is_ok() {
            next += 1;
        }
        channel.poll(&mut done);
        done.len() == 1000
    });
    assert!(done.iter().all(|done| done.status.is_ok()));
}

/// Goal: an engine takes no less than half of what the system has, and fails where that is less than the least.
/// Method: a system with so many slots.
#[test]
fn an_engine_takes_what_there_is() {
    fn slots<K: Kernel>() -> Option<usize> {
        engine::create::<K>(0, K::sizes(1)).ok().map(|(_, slots)| slots)
    }
    assert_eq!(slots::<Silent<8192, 8192>>(), Some(8192));
    assert_eq!(slots::<Silent<8192, 5000>>(), Some(4096));
    assert_eq!(slots::<Silent<512, 300>>(), Some(256));
    assert_eq!(slots::<Silent<8192, AIO_IN_FLIGHT_LEAST>>(), Some(AIO_IN_FLIGHT_LEAST));
    assert_eq!(slots::<Silent<8192, { AIO_IN_FLIGHT_LEAST - 1 }>>(), None);
}

/// Goal: where the system gives an engine less, as many channels have slots of their own as it has room for;
/// what does not fit is handed back, and nothing is taken that has no slot; a channel that goes leaves its slots
/// to the next one that comes. Method: the same with a small kernel, and more channels than that.
#[test]
fn a_small_engine_hands_back() {
    type Small = Silent<512, AIO_IN_FLIGHT_LEAST>;
    let mut stuck = Stuck::new::<Small>();
    let mut open = || open_channel::<Small>(&stuck.disks[1], stuck.reactor.cx()).unwrap();
    let takes = |channel: &mut Box<dyn IoChannel>| {
        (0..).take_while(|&token| channel.submit(BdevIo::flush(token)).is_ok()).count()
    };
    // One was that of the disk that hangs.
    let owners = AIO_IN_FLIGHT_LEAST / 2 / CHANNEL_OWN_SLOTS - 1;
    let mut channels: Vec<_> = (0..owners + 2).map(|_| open()).collect();
    assert_eq!(takes(&mut channels[owners]), 0);
    drop(channels.remove(0));
    channels.push(open());
    let taken: Vec<_> = channels.iter_mut().map(takes).collect();
    let mut expected = vec![CHANNEL_OWN_SLOTS; owners + 2];
    expected[owners - 1..=owners].fill(0);
    assert_eq!(taken, expected);
}

/// Memory that needs a leeway, as an array does.
#[derive(Debug)]
struct Leisurely(Arc<dyn Bdev>, Leeway);

impl Bdev for Leisurely {
    fn info(&self) -> Arc<BdevInfo> {
        self.0.info()
    }

    fn leeway(&self) -> Leeway {
        self.1
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        self.0.open_channel(cx)
    }
}

/// One of each kind of bdev over these, of which most use the first only.
fn over(bases: [&Arc<dyn Bdev>; 2]) -> Vec<Arc<dyn Bdev>> {
    let ([first, second], name) = (bases.map(Arc::clone), || "above".to_owned());
    let base = || Arc::clone(&first);
    let error = |volatile_cache| {
        ErrorBdev::create(ErrorSpec { name: name(), uuid: None, base: base(), volatile_cache })
    };
    let delay = DelaySpec { name: name(), uuid: None, base: base(), latencies_us: [0; 4] };
    let (offset_blocks, num_blocks) = (0, 8);
    let split = SplitSpec { name: name(), uuid: None, base: base(), offset_blocks, num_blocks };
    let features = FlakeyFeatures::default();
    let flakey =
        FlakeySpec { name: name(), uuid: None, base: base(), up_s: 0, down_s: 0, features };
    let class = |bdev| LagClass { bdev, offset_bytes: 0, delay_ms: 0 };
    let lag = LagSpec {
        name: name(),
        uuid: None,
        size_bytes: 4096,
        read: class(base()),
        write: Some(class(Arc::clone(&second))),
        flush: None,
    };
    let segment = |start_bytes, bdev| Segment {
        start_bytes,
        len_bytes: 4096,
        target: SegmentTarget::Bdev { bdev, offset_bytes: 0 },
        boundary_bytes: None,
    };
    let table = MappedTable::new(vec![segment(0, base()), segment(4096, Arc::clone(&second))]);
    let mapped = MappedBdev::create(MappedSpec { name: name(), uuid: None, read_only: false });
    mapped.resume(Some(table.unwrap())).unwrap();
    vec![
        Counted::over(base()),
        error(false),
        error(true),
        DelayBdev::create(delay).unwrap(),
        SplitBdev::create(split).unwrap(),
        FlakeyBdev::create(flakey),
        LagBdev::create(lag).unwrap(),
        mapped,
    ]
}

/// Goal: who stands on a bdev hands on what it says of its answers, through any number of layers; who stands
/// on several says the most of it. Method: every kind over every kind.
#[test]
fn leeways_are_handed_on() {
    let (answers_within, waits) = (Duration::from_secs(40), true);
    let leeway = Leeway { answers_within, waits };
    let slow: Arc<dyn Bdev> = Arc::new(Leisurely(memory(512), leeway));
    let plain = memory(512);
    assert_eq!(plain.leeway(), Leeway::default());
    for middle in over([&slow, &plain]) {
        assert_eq!(middle.leeway(), leeway, "{middle:?}");
        for top in over([&middle, &plain]) {
            assert_eq!(top.leeway(), leeway, "{top:?}");
        }
    }
    for (at, above) in over([&plain, &slow]).iter().enumerate() {
        let expected = if at < 6 { Leeway::default() } else { leeway };
        assert_eq!(above.leeway(), expected, "{above:?}");
    }
}

/// Goal: a mapped device says that it waits as long as it is suspended, and so does who stands on it.
#[test]
fn a_suspended_device_says_that_it_waits() {
    let plain = memory(512);
    let mapped = MappedBdev::create(MappedSpec { name: "d".into(), uuid: None, read_only: false });
    let whole = Segment {
        start_bytes: 0,
        len_bytes: 1 << 20,
        target: SegmentTarget::Bdev { bdev: Arc::clone(&plain), offset_bytes: 0 },
        boundary_bytes: None,
    };
    let base: Arc<dyn Bdev> = Arc::clone(&mapped) as Arc<dyn Bdev>;
    assert!(!base.leeway().waits, "without a table requests fail");
    mapped.resume(Some(MappedTable::new(vec![whole]).unwrap())).unwrap();
    let above = over([&base, &plain]);
    let waits = |expected: bool| {
        assert_eq!(base.leeway(), Leeway { waits: expected, ..Leeway::default() });
        assert!(above.iter().all(|above| above.leeway() == base.leeway()));
    };
    waits(false);
    mapped.suspend(SuspendMode::NoFlush, Duration::from_secs(5)).unwrap();
    waits(true);
    mapped.resume(None).unwrap();
    waits(false);
}
