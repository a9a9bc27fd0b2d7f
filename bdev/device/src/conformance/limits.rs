//! Back-pressure, refusals, and buffers whose owners have gone.

use reactor::memory::IoBufMut;

use super::backends::{Backend, DEVICE_BYTES, File};
use super::rig::{POOL_BYTES, Rig, buffer_of};
use crate::limits::{
    CHANNEL_IN_FLIGHT_MAX, CHANNEL_OWN_SLOTS, COMPLETIONS_PER_POLL_MAX, ENGINE_CHANNELS_MAX,
    ENGINE_IN_FLIGHT_MAX,
};
use crate::{BdevIo, IoOp, IoStatus, NullBdev, NullSpec, OpenError};

/// Goal: a full channel hands the request back and takes it after a poll; polls are bounded;
/// nothing is lost. Method: one request more than the bound, before any poll.
pub(super) fn full_channel_hands_back(backend: Backend) {
    let Some(subject) = backend.make(4096) else { return };
    let mut rig = Rig::new(&*subject.bdev);
    for token in 0..CHANNEL_IN_FLIGHT_MAX as u64 {
        let buf = rig.buffer(4096, true);
        rig.channel.submit(BdevIo::read(token, token * 4096, buf)).unwrap();
    }
    let refused = rig.channel.submit(BdevIo::read(77, 4096, IoBufMut::heap(4096))).unwrap_err();
    assert_eq!((refused.token, refused.len_bytes), (77, 4096));
    assert!(matches!(refused.op, IoOp::Read { .. }));

    let mut done = Vec::new();
    while done.len() < CHANNEL_IN_FLIGHT_MAX {
        rig.reactor.turn();
        let before = done.len();
        let count = rig.channel.poll(&mut done);
        assert!(count <= COMPLETIONS_PER_POLL_MAX);
        assert_eq!(done.len() - before, count);
    }
    let mut tokens: Vec<_> = done.iter().map(|done| done.io.token).collect();
    tokens.sort_unstable();
    assert!(tokens.into_iter().eq(0..CHANNEL_IN_FLIGHT_MAX as u64));
    assert_eq!(rig.run(refused).status, IoStatus::Ok);
}

/// Goal: what cannot be served completes with the status that says so, gives its buffers back, and
/// changes nothing. Method: one of each kind.
pub(super) fn bad_requests_complete_with_a_status(backend: Backend) {
    let Some(subject) = backend.make(4096) else { return };
    let mut rig = Rig::new(&*subject.bdev);
    rig.write(0, &[0x11; 8192]);
    let write = |offset_bytes, len_bytes| {
        BdevIo::write(1, offset_bytes, buffer_of(&vec![0xee; len_bytes]), false)
    };
    let mut wrong_len = write(0, 4096);
    wrong_len.len_bytes = 8192;
    let bad = vec![
        write(512, 4096),
        write(0, 512),
        write(0, 0),
        write(DEVICE_BYTES, 4096),
        write(DEVICE_BYTES - 4096, 8192),
        write(u64::MAX - 4095, 4096),
        wrong_len,
        BdevIo::read(1, 100, IoBufMut::heap(4096)),
        BdevIo::write_zeroes(1, 0, u64::MAX - 4095, false),
        BdevIo::write_zeroes(1, 0, 100, false),
        BdevIo::unmap(1, 4096, DEVICE_BYTES),
        BdevIo::unmap(1, 0, 0),
    ];
    let count = bad.len();
    let done = rig.run_all(bad);
    assert_eq!(done.len(), count);
    let unmap = subject.bdev.info().supported.unmap;
    for done in done {
        let expected = match done.io.op {
            IoOp::Unmap if !unmap => IoStatus::Unsupported,
            _ => IoStatus::InvalidRequest,
        };
        assert_eq!(done.status, expected, "{:?}", done.io);
    }

    // A buffer that O_DIRECT cannot take is refused, not handed to the kernel.
    let mut odd = IoBufMut::heap(4096 + 1);
    drop(odd.split_to(1));
    odd.fill(0xee);
    let status = rig.run(BdevIo::write(1, 0, odd.freeze(), false)).status;
    let tolerant = match backend {
        Backend::Malloc | Backend::Error | Backend::Cached | Backend::Delay | Backend::Split => {
            true
        }
        Backend::Counted | Backend::Limited => true,
        Backend::Mapped | Backend::MappedSplit => true,
        Backend::Uring(File::Buffered) | Backend::Aio(File::Buffered) => true,
        Backend::Uring(file) | Backend::Aio(file) => {
            assert!(file == File::InMemory || status == IoStatus::InvalidRequest);
            status.is_ok()
        }
    };
    assert!(status == if tolerant { IoStatus::Ok } else { IoStatus::InvalidRequest });
    let expected = if tolerant { 0xee } else { 0x11 };
    assert!(rig.read(0, 4096).iter().all(|&byte| byte == expected));
    assert!(rig.read(4096, 4096).iter().all(|&byte| byte == 0x11));
}

/// Goal: dropping a channel with requests in flight loses no buffer and harms no other channel.
/// Method: the pool is whole again afterwards, and a second channel goes on.
pub(super) fn dropped_channel_frees_its_buffers(backend: Backend) {
    let Some(subject) = backend.make(4096) else { return };
    let mut rig = Rig::new(&*subject.bdev);
    for round in 0..3 {
        let other = subject.bdev.open_channel(rig.reactor.cx()).unwrap();
        let mut channel = std::mem::replace(&mut rig.channel, other);
        for token in 0..64 {
            let mut buf = rig.reactor.cx().pool().alloc(4096).unwrap();
            buf.fill(0x33);
            let io = match token % 4 {
                0 => BdevIo::read(token, token * 4096, buf),
                1 => BdevIo::write_zeroes(token, token * 4096, DEVICE_BYTES / 2, true),
                2 => BdevIo::flush(token),
                _ => BdevIo::write(token, token * 4096, buf.freeze(), false),
            };
            channel.submit(io).unwrap();
        }
        // In the first round nothing has reached the kernel yet, in the others something has.
        for _ in 0..round {
            rig.reactor.turn();
        }
        drop(channel);
        let limit = reactor::Ticks::from_secs(20);
        rig.reactor.run_until(limit, |cx| cx.pool().free_bytes() == POOL_BYTES);
        rig.write(DEVICE_BYTES - 4096, &[0x44; 4096]);
        assert!(rig.read(DEVICE_BYTES - 4096, 4096).iter().all(|&byte| byte == 0x44));
    }
}

/// Goal: a reactor may end while the kernel has requests: it waits for them, so their memory is
/// freed only afterwards. Method: the reactor goes first, then the channel, with requests at every
/// stage; when both are gone, every write is on the device, which takes the kernel a while.
pub(super) fn engine_may_end_with_requests_in_flight(backend: Backend) {
    let Some(subject) = backend.make(4096) else { return };
    for turns in 0..3 {
        let mut rig = Rig::new(&*subject.bdev);
        let byte = 0x50 + turns as u8;
        for token in 0..100 {
            let buf = rig.buffer(4096, true);
            rig.channel.submit(BdevIo::read(token, DEVICE_BYTES / 2, buf)).unwrap();
            let mut buf = rig.buffer(4096, true);
            buf.fill(byte);
            rig.channel.submit(BdevIo::write(token, token * 4096, buf.freeze(), true)).unwrap();
        }
        for _ in 0..turns {
            rig.reactor.turn();
        }
        let Rig { channel, reactor } = rig;
        drop(reactor);
        drop(channel);

        let mut rig = Rig::new(&*subject.bdev);
        let written = rig.read(0, 100 * 4096);
        assert!(written.iter().all(|&found| found == byte), "dropped after {turns} turns");
    }
}

/// Goal: channels that together ask for more than the engine takes are refused, not lost, and the
/// engine takes them when it has room again. Method: one channel more than fill what is everybody's,
/// which has its own slots and no more.
fn full_engine_hands_back(backend: Backend) {
    let subject = backend.make(4096).unwrap();
    let mut rig = Rig::new(&*subject.bdev);
    let mut fillers = Vec::new();
    let common = ENGINE_IN_FLIGHT_MAX - ENGINE_CHANNELS_MAX * CHANNEL_OWN_SLOTS;
    for _ in 0..common / CHANNEL_IN_FLIGHT_MAX {
        let mut channel = subject.bdev.open_channel(rig.reactor.cx()).unwrap();
        for token in 0..CHANNEL_IN_FLIGHT_MAX as u64 {
            let buf = rig.buffer(4096, true);
            channel.submit(BdevIo::read(token, token * 4096, buf)).unwrap();
        }
        fillers.push(channel);
    }
    for token in 0..CHANNEL_OWN_SLOTS as u64 {
        rig.channel.submit(BdevIo::flush(token)).unwrap();
    }
    let refused = rig.channel.submit(BdevIo::flush(77)).unwrap_err();
    assert_eq!(refused.token, 77);
    assert!(rig.finish(CHANNEL_OWN_SLOTS).iter().all(|done| done.status.is_ok()));
    assert_eq!(rig.run(refused).status, IoStatus::Ok);
    let mut done = Vec::new();
    rig.reactor.run_until(reactor::Ticks::from_secs(20), |_| {
        fillers.iter_mut().for_each(|channel| {
            channel.poll(&mut done);
        });
        done.len() == common
    });
    assert!(done.iter().all(|done| done.status.is_ok()));
}

/// Goal: an engine serves a bounded number of channels, says so, and closed channels make room.
/// Method: all of them at once, one more, then many one after the other.
fn channels_are_bounded_and_reused(backend: Backend) {
    let subject = backend.make(4096).unwrap();
    let mut rig = Rig::new(&*subject.bdev);
    let mut channels = Vec::new();
    for _ in 1..ENGINE_CHANNELS_MAX {
        channels.push(subject.bdev.open_channel(rig.reactor.cx()).unwrap());
    }
    let error = subject.bdev.open_channel(rig.reactor.cx()).unwrap_err();
    assert!(matches!(error, OpenError::EngineFull { channels_max: ENGINE_CHANNELS_MAX, .. }));
    assert_eq!(error.errno(), -libc::ENOMEM);
    assert!(error.to_string().contains("close one or use more reactors"), "{error}");
    channels.clear();
    for _ in 0..ENGINE_CHANNELS_MAX + 10 {
        rig.channel = subject.bdev.open_channel(rig.reactor.cx()).unwrap();
    }
    assert!(rig.read(0, 4096).iter().all(|&byte| byte == 0));
}

#[test]
fn uring_engine_is_bounded() {
    full_engine_hands_back(Backend::Uring(File::OnDisk));
    channels_are_bounded_and_reused(Backend::Uring(File::OnDisk));
}

#[test]
fn aio_engine_is_bounded() {
    full_engine_hands_back(Backend::Aio(File::OnDisk));
    channels_are_bounded_and_reused(Backend::Aio(File::OnDisk));
}

/// Goal: the null bdev keeps the promises that are not about data. Method: the same bounds and
/// refusals; and a read leaves its buffer as it is.
#[test]
fn null_keeps_bounds_and_touches_nothing() {
    let spec =
        NullSpec { name: "null0".into(), uuid: None, block_size_bytes: 4096, num_blocks: 512 };
    let bdev = NullBdev::create(spec).unwrap();
    assert_eq!(bdev.info().product_name, "Null disk");
    let mut rig = Rig::new(&*bdev);
    let mut buf = IoBufMut::heap(4096);
    buf.fill(0x77);
    let done = rig.run(BdevIo::read(1, 0, buf));
    assert_eq!(done.status, IoStatus::Ok);
    assert!(super::rig::contents(&done.io).iter().all(|&byte| byte == 0x77));
    let outside = rig.run(BdevIo::unmap(2, 512 * 4096, 4096));
    assert_eq!(outside.status, IoStatus::InvalidRequest);

    for token in 0..CHANNEL_IN_FLIGHT_MAX as u64 {
        rig.channel.submit(BdevIo::flush(token)).unwrap();
    }
    let refused = rig.channel.submit(BdevIo::flush(9)).unwrap_err();
    let mut done = Vec::new();
    assert_eq!(rig.channel.poll(&mut done), COMPLETIONS_PER_POLL_MAX);
    let tokens: Vec<_> = done.iter().map(|done| done.io.token).collect();
    assert!(tokens.into_iter().eq(0..COMPLETIONS_PER_POLL_MAX as u64), "out of order");
    rig.channel.submit(refused).unwrap();
}
