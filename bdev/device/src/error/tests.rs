//! An error bdev over memory: each fault as its user sees it, the cache, and losses of power.
//!
//! Not here: which requests a rule hits (`injection`), what a cache keeps (`cache::blocks`), what
//! every bdev promises (`conformance`).

use std::sync::Arc;

use reactor::Ticks;
use reactor::memory::IoBufMut;

use super::*;
use crate::conformance::rig::{Rig, buffer_of, contents};
use crate::io::{BdevIo, Completion, IoOp, IoStatus};
use crate::limits::{CACHE_BLOCKS_MAX, CACHE_WRITE_BLOCKS_MAX, CHANNEL_IN_FLIGHT_MAX};
use crate::{MallocBdev, MallocSpec};

const BLOCK: usize = 512;

/// An error bdev, its base, and a channel of it.
struct Subject {
    error: Arc<ErrorBdev>,
    base: Arc<dyn Bdev>,
    rig: Rig,
}

fn subject(volatile_cache: bool) -> Subject {
    let spec = MallocSpec {
        name: "m0".into(),
        uuid: None,
        block_size_bytes: BLOCK as u32,
        num_blocks: 1 << 16,
    };
    let base = MallocBdev::create(spec).unwrap();
    let (name, uuid) = ("EE_m0".to_owned(), None);
    let error =
        ErrorBdev::create(ErrorSpec { name, uuid, base: Arc::clone(&base), volatile_cache });
    let rig = Rig::new(&*error);
    Subject { error, base, rig }
}

impl Subject {
    fn inject(&self, victims: Victims, fault: Fault, count: u32) {
        self.error.inject(&Injection::next(victims, fault, count)).unwrap();
    }

    fn try_read(&mut self, block: u64) -> IoStatus {
        self.rig.run(read(block)).status
    }

    fn try_write(&mut self, block: u64, byte: u8) -> IoStatus {
        self.rig.run(write(block, byte)).status
    }

    /// The first byte of each of the first `blocks` blocks.
    fn seen(&mut self, blocks: usize) -> Vec<u8> {
        self.rig.read(0, blocks * BLOCK).chunks(BLOCK).map(|block| block[0]).collect()
    }

    /// The same of the base.
    fn on_base(&self, blocks: usize) -> Vec<u8> {
        let mut rig = Rig::new(&*self.base);
        rig.read(0, blocks * BLOCK).chunks(BLOCK).map(|block| block[0]).collect()
    }

    fn lose_and_restore(&mut self, seed: Option<u64>) {
        self.error.lose_power(seed);
        assert_eq!(self.try_read(0), IoStatus::Gone);
        self.error.restore_power();
    }
}

fn read(block: u64) -> BdevIo {
    BdevIo::read(0, block * BLOCK as u64, IoBufMut::heap(BLOCK))
}

fn write(block: u64, byte: u8) -> BdevIo {
    BdevIo::write(0, block * BLOCK as u64, buffer_of(&[byte; BLOCK]), false)
}

/// Turns a few times; what completes then.
fn settle(rig: &mut Rig) -> Vec<Completion> {
    let mut done = Vec::new();
    for _ in 0..20 {
        rig.reactor.turn();
        rig.channel.poll(&mut done);
    }
    done
}

/// Goal: it looks like its base under another name; only a cache of its own is volatile.
#[test]
fn it_is_described_as_its_base() {
    for volatile_cache in [false, true] {
        let subject = subject(volatile_cache);
        let (info, base) = (subject.error.info(), subject.base.info());
        assert_eq!((info.name.as_str(), info.product_name), ("EE_m0", "Error Injection Disk"));
        assert_eq!((info.block_size_bytes, info.num_blocks), (base.block_size_bytes, 1 << 16));
        assert_ne!(info.uuid, base.uuid);
        assert_eq!(info.volatile_cache, volatile_cache);
        assert_eq!(subject.error.snapshot().base_bdev, "m0");
    }
}

/// Goal: a failure fails as often as it was asked for, and the base does not see the request.
#[test]
fn failures_are_counted() {
    let mut subject = subject(false);
    subject.inject(Victims::Write, Fault::Failure, 2);
    assert_eq!(subject.try_read(0), IoStatus::Ok);
    assert_eq!(subject.try_write(0, 1), IoStatus::MediaError);
    assert_eq!(
        subject.rig.run(BdevIo::write_zeroes(0, 0, 512, false)).status,
        IoStatus::MediaError
    );
    assert_eq!(subject.on_base(1), [0]);
    assert_eq!(subject.try_write(0, 2), IoStatus::Ok);
    assert!(subject.error.snapshot().injections.is_empty());

    subject.inject(Victims::All, Fault::Failure, Injection::FOR_EVER);
    assert_eq!(subject.rig.run(BdevIo::flush(0)).status, IoStatus::MediaError);
    assert_eq!(subject.rig.run(BdevIo::unmap(0, 0, 512)).status, IoStatus::MediaError);
    // What is wrong in itself is no victim.
    assert_eq!(subject.rig.run(BdevIo::unmap(0, 7, 512)).status, IoStatus::InvalidRequest);
    subject.error.clear();
    assert_eq!(subject.seen(1), [2]);
}

/// Goal: pending requests count as in flight and stay away until they are resumed; then they are
/// judged anew. Method: a full channel of them.
#[test]
fn pending_requests_wait_for_their_resumption() {
    let mut subject = subject(false);
    subject.inject(Victims::Read, Fault::Pending, Injection::FOR_EVER);
    for token in 0..CHANNEL_IN_FLIGHT_MAX as u64 {
        let io = BdevIo { token, ..read(token) };
        subject.rig.channel.submit(io).unwrap();
    }
    assert_eq!(subject.rig.channel.submit(write(0, 1)).unwrap_err().len_bytes, 512);
    assert!(settle(&mut subject.rig).is_empty());
    subject.error.clear();
    assert!(settle(&mut subject.rig).is_empty(), "clearing resumes nothing, as in SPDK");

    subject.inject(Victims::Read, Fault::Failure, 3);
    subject.error.resume_pending();
    let done = subject.rig.finish(CHANNEL_IN_FLIGHT_MAX);
    let failed: Vec<_> =
        done.iter().filter(|done| !done.status.is_ok()).map(|done| done.io.token).collect();
    assert_eq!(failed, [0, 1, 2], "in order");

    subject.inject(Victims::Write, Fault::Pending, 1);
    subject.rig.channel.submit(write(0, 1)).unwrap();
    assert!(settle(&mut subject.rig).is_empty());
    subject.error.lose_power(None);
    subject.error.restore_power();
    assert_eq!(subject.rig.finish(1)[0].status, IoStatus::Gone, "the power was away");
}

/// Goal: corruption changes one byte, of the copy that it is for, and reports success. Method: reads
/// and writes of several segments; the submitter's buffers come back as they were.
#[test]
fn corruption_changes_one_byte() {
    let mut subject = subject(false);
    let fault = Fault::CorruptData { offset_bytes: 700, value: 0x0f };
    subject.inject(Victims::Write, fault, 1);
    let segments = || vec![buffer_of(&[0x11; 512]), buffer_of(&[0x11; 512])];
    let done = subject.rig.run(BdevIo::write(7, 0, crate::Sgl::Many(segments()), false));
    assert_eq!((done.status, done.io.token), (IoStatus::Ok, 7));
    assert_eq!(contents(&done.io), [0x11; 1024]);
    let mut expected = vec![0x11; 1024];
    expected[700] = 0x1e;
    assert!(subject.rig.read(0, 1024) == expected);

    subject.inject(Victims::Read, fault, 1);
    let into = crate::Sgl::Many(vec![IoBufMut::heap(512), IoBufMut::heap(512)]);
    let done = subject.rig.run(BdevIo::read(8, 0, into));
    assert!(contents(&done.io) == [0x11; 1024], "twice is never");
    assert!(subject.rig.read(0, 1024) == expected);

    let beyond = Fault::CorruptData { offset_bytes: 1024, value: 1 };
    subject.inject(Victims::Read, beyond, 1);
    assert!(subject.rig.read(0, 1024) == expected, "there is no such byte");
}

/// Goal: without memory the request comes back, as often as that was asked for.
#[test]
fn nomem_hands_back() {
    let mut subject = subject(false);
    subject.inject(Victims::Read, Fault::NoMemory, 2);
    let io = subject.rig.channel.submit(read(3)).unwrap_err();
    let io = subject.rig.channel.submit(io).unwrap_err();
    assert_eq!(subject.rig.run(io).status, IoStatus::Ok);
}

/// Goal: a bad sector fails every read that touches it, until it is written.
#[test]
fn a_write_heals_a_bad_sector() {
    let mut subject = subject(false);
    subject.error.inject(&Injection::bad_blocks(4..6)).unwrap();
    for _ in 0..3 {
        assert_eq!(subject.try_read(4), IoStatus::MediaError);
        assert_eq!(subject.try_read(6), IoStatus::Ok);
    }
    // A write that fails heals nothing.
    subject.inject(Victims::Write, Fault::Failure, 1);
    assert_eq!(subject.try_write(4, 1), IoStatus::MediaError);
    assert_eq!(subject.try_read(4), IoStatus::MediaError);
    assert_eq!(subject.try_write(4, 1), IoStatus::Ok);
    assert_eq!(subject.try_read(4), IoStatus::Ok);
    assert_eq!(subject.try_read(5), IoStatus::MediaError);
    assert_eq!(subject.try_write(5, 1), IoStatus::Ok);
    assert!(!lock(&subject.error.shared.state).injections.is_armed());
    assert_eq!(subject.error.shared.tide.load(Ordering::Relaxed), 0);
}

/// Goal: a device that is gone answers everything with `Gone`, also what is in flight; it comes back
/// with what it had.
#[test]
fn gone_is_gone_until_cleared() {
    let mut subject = subject(false);
    assert_eq!(subject.try_write(0, 9), IoStatus::Ok);
    subject.inject(Victims::Write, Fault::Pending, 1);
    subject.rig.channel.submit(write(1, 1)).unwrap();
    subject.rig.channel.submit(read(0)).unwrap();
    subject.inject(Victims::All, Fault::Gone, 1);
    let done = subject.rig.finish(2);
    assert!(done.iter().all(|done| done.status == IoStatus::Gone), "{done:?}");
    for _ in 0..5 {
        assert_eq!(subject.rig.run(BdevIo::flush(0)).status, IoStatus::Gone);
        assert_eq!(subject.try_read(1 << 40), IoStatus::Gone, "nobody is there to judge it");
    }
    assert!(subject.error.snapshot().gone);
    subject.error.clear();
    assert_eq!(subject.seen(2), [9, 0]);
}

/// Goal: what was flushed, or written with FUA, outlives the power, and nothing else does.
#[test]
fn without_power_only_what_was_flushed_is_left() {
    let mut subject = subject(true);
    for block in 0..4 {
        assert_eq!(subject.try_write(block, 1), IoStatus::Ok);
    }
    assert_eq!((subject.seen(5), subject.on_base(5)), (vec![1, 1, 1, 1, 0], vec![0; 5]));
    assert_eq!(subject.error.snapshot().unflushed_blocks, 4);
    assert_eq!(subject.rig.run(BdevIo::flush(0)).status, IoStatus::Ok);
    assert_eq!(subject.on_base(5), [1, 1, 1, 1, 0]);
    assert_eq!(subject.error.snapshot().unflushed_blocks, 0);

    assert_eq!(subject.try_write(0, 2), IoStatus::Ok);
    let zeroes = BdevIo::write_zeroes(0, BLOCK as u64, BLOCK as u64, false);
    assert_eq!(subject.rig.run(zeroes).status, IoStatus::Ok);
    let fua = BdevIo::write(0, 2 * BLOCK as u64, buffer_of(&[3; BLOCK]), true);
    assert_eq!(subject.rig.run(fua).status, IoStatus::Ok);
    assert_eq!(subject.seen(5), [2, 0, 3, 1, 0]);
    subject.lose_and_restore(None);
    assert_eq!(subject.seen(5), [1, 1, 3, 1, 0]);
    assert_eq!(subject.on_base(5), [1, 1, 3, 1, 0]);
    subject.error.restore_power();
    assert_eq!(subject.seen(5), [1, 1, 3, 1, 0], "twice does nothing");
}

/// Goal: a read of cached and other blocks sees both. Method: every second block is cached, and the
/// buffers are cut inside of blocks.
#[test]
fn reads_lay_the_cache_over_the_base() {
    let mut subject = subject(true);
    subject.rig.write(0, &[5; 8 * BLOCK]);
    assert_eq!(subject.rig.run(BdevIo::flush(0)).status, IoStatus::Ok);
    for block in [1, 3, 5, 7] {
        subject.try_write(block, block as u8);
    }
    let lens = [700, 1, 1000, 8 * BLOCK - 1701];
    let into = crate::Sgl::Many(lens.map(IoBufMut::heap).into());
    let done = subject.rig.run(BdevIo::read(0, 0, into));
    assert_eq!(done.status, IoStatus::Ok);
    let expected: Vec<u8> =
        [5, 1, 5, 3, 5, 5, 5, 7].into_iter().flat_map(|byte| [byte; BLOCK]).collect();
    assert!(contents(&done.io) == expected);
}

/// Goal: with a seed a loss tears writes apart, in the same way each time; what has survived is as
/// good as flushed. Method: one write of many blocks, on two devices.
#[test]
fn a_seed_tears_writes() {
    let torn = |seed| {
        let mut subject = subject(true);
        subject.rig.write(0, &[1; 64 * BLOCK]);
        subject.rig.run(BdevIo::flush(0));
        subject.rig.write(0, &[2; 64 * BLOCK]);
        subject.lose_and_restore(Some(seed));
        let seen = subject.seen(64);
        assert!(seen.contains(&1) && seen.contains(&2), "{seen:?}");
        subject.rig.write(0, &[3; 64 * BLOCK]);
        subject.lose_and_restore(None);
        assert_eq!(subject.seen(64), seen, "what had survived is lost");
        assert_eq!(subject.rig.run(BdevIo::flush(0)).status, IoStatus::Ok);
        assert_eq!(subject.on_base(64), seen);
        seen
    };
    assert_eq!(torn(7), torn(7));
    assert_ne!(torn(7), torn(8));
}

/// Goal: the cache is bounded: writes beyond it push the oldest out, and long ones go past it; what
/// is read is right throughout.
#[test]
fn a_full_cache_writes_back() {
    let mut subject = subject(true);
    let step = CACHE_WRITE_BLOCKS_MAX;
    let steps = CACHE_BLOCKS_MAX / step + 3;
    for at in 0..steps {
        subject.rig.write((at * step * BLOCK) as u64, &vec![at as u8 + 1; step * BLOCK]);
    }
    assert!(subject.error.snapshot().unflushed_blocks <= CACHE_BLOCKS_MAX);
    let blocks = steps * step;
    let base = subject.on_base(blocks);
    assert!(base[..2 * step].iter().all(|&byte| byte != 0), "the oldest");
    assert!(base[blocks - step..].iter().all(|&byte| byte == 0), "the youngest");
    let seen = subject.seen(blocks);
    assert!(seen.iter().enumerate().all(|(block, &byte)| usize::from(byte) == block / step + 1));

    subject.rig.write(0, &vec![99; (step + 1) * BLOCK]);
    assert!(subject.on_base(step + 1).iter().all(|&byte| byte == 99));
    let unmap = BdevIo::unmap(0, (BLOCK * (blocks - step)) as u64, (step * BLOCK) as u64);
    assert_eq!(subject.rig.run(unmap).status, IoStatus::Ok);
    let seen = subject.seen(blocks);
    assert!(seen[..=step].iter().all(|&byte| byte == 99));
    assert!(seen[blocks - step..].iter().all(|&byte| byte == 0));
}

/// Goal: a flush that the base fails says so, and the blocks stay to be flushed again. Method: two
/// error bdevs, one on the other.
#[test]
fn a_failed_write_back_is_told_and_loses_nothing() {
    let below = subject(false);
    let (name, uuid, volatile_cache) = ("EE_EE_m0".to_owned(), None, true);
    let base = Arc::clone(&below.error) as Arc<dyn Bdev>;
    let error = ErrorBdev::create(ErrorSpec { name, uuid, base, volatile_cache });
    let rig = Rig::new(&*error);
    let mut above = Subject { error, base: Arc::clone(&below.base), rig };
    above.try_write(0, 4);
    below.inject(Victims::Write, Fault::Failure, 1);
    assert_eq!(above.rig.run(BdevIo::flush(0)).status, IoStatus::MediaError);
    assert_eq!(above.error.snapshot().unflushed_blocks, 1);
    below.inject(Victims::Flush, Fault::Failure, 1);
    assert_eq!(above.rig.run(BdevIo::flush(0)).status, IoStatus::MediaError);
    assert_eq!(above.rig.run(BdevIo::flush(0)).status, IoStatus::Ok);
    assert_eq!((above.seen(1), below.on_base(1)), (vec![4], vec![4]));
}

/// Goal: the power may go at any moment of a flush: every request is answered, and a block is either
/// old or new, and stays what it is. Method: after each number of turns.
#[test]
fn the_power_may_go_during_a_flush() {
    for turns in 0..6 {
        let mut subject = subject(true);
        subject.rig.write(0, &[1; 300 * BLOCK]);
        subject.rig.channel.submit(BdevIo::flush(0)).unwrap();
        subject.rig.channel.submit(write(9, 2)).unwrap();
        let mut done = Vec::new();
        for _ in 0..turns {
            subject.rig.reactor.turn();
            subject.rig.channel.poll(&mut done);
        }
        subject.error.lose_power(None);
        let left = 2 - done.len();
        done.extend(subject.rig.finish(left));
        let flushed = done
            .iter()
            .any(|done| matches!(done.io.op, IoOp::Flush) && done.status == IoStatus::Ok);
        subject.error.restore_power();
        let seen = subject.seen(300);
        assert!(!flushed || seen.iter().all(|&byte| byte != 0), "after {turns} turns");
        subject.lose_and_restore(None);
        assert_eq!(subject.seen(300), seen, "after {turns} turns");
    }
}

/// Goal: reactors share the cache and the injections. Method: two channels on two reactors; one
/// flushes what the other has written, both flush at once, one heals the other's bad sector.
#[test]
fn reactors_share_one_state() {
    let mut subject = subject(true);
    let mut other = Rig::new(&*subject.error);
    subject.rig.write(0, &[1; 600 * BLOCK]);
    assert!(other.read(0, 600 * BLOCK).iter().all(|&byte| byte == 1));
    subject.rig.channel.submit(BdevIo::flush(0)).unwrap();
    other.channel.submit(BdevIo::flush(0)).unwrap();
    other.write(0, &[2; 600 * BLOCK]);
    let mut done = Vec::new();
    let rig = &mut subject.rig;
    other.reactor.run_until(Ticks::from_secs(20), |_| {
        other.channel.poll(&mut done);
        rig.reactor.turn();
        rig.channel.poll(&mut done);
        done.len() >= 2
    });
    assert!(done.iter().all(|done| done.status == IoStatus::Ok));
    assert!(subject.rig.read(0, 600 * BLOCK).iter().all(|&byte| byte == 2));
    assert_eq!(subject.rig.run(BdevIo::flush(0)).status, IoStatus::Ok);
    assert!(subject.on_base(600).iter().all(|&byte| byte == 2));

    subject.error.inject(&Injection::bad_blocks(3..4)).unwrap();
    assert_eq!(other.run(read(3)).status, IoStatus::MediaError);
    assert_eq!(subject.try_write(3, 7), IoStatus::Ok);
    assert_eq!(other.run(read(3)).status, IoStatus::Ok);
}

/// What a block may hold.
#[derive(Clone, Default)]
struct BlockModel {
    /// What was flushed last, or went past the cache.
    durable: u8,
    /// The newest that was not.
    unflushed: Option<u8>,
}

impl BlockModel {
    fn newest(&self) -> u8 {
        self.unflushed.unwrap_or(self.durable)
    }

    fn settle(&mut self, byte: u8) {
        *self = Self { durable: byte, unflushed: None };
    }
}

/// Goal: after a loss of power every block holds what was flushed last, or with a seed the newest
/// that was not, and nothing else ever. Method: random requests by two reactors and random losses
/// against a model; every read is compared, and after a loss every block.
#[test]
fn losses_agree_with_a_model() {
    const BLOCKS: u64 = 48;
    let mut subject = subject(true);
    let mut other = Rig::new(&*subject.error);
    let mut model = vec![BlockModel::default(); BLOCKS as usize];
    let mut dice = crate::conformance::rig::Dice(11);
    for step in 0..4000_u32 {
        let rig = if dice.below(2) == 0 { &mut subject.rig } else { &mut other };
        let first = dice.below(BLOCKS);
        let count = 1 + dice.below((BLOCKS - first).min(9));
        let touched = first as usize..(first + count) as usize;
        let (offset_bytes, len_bytes) = (first * BLOCK as u64, count * BLOCK as u64);
        let byte = (step % 250) as u8 + 1;
        let fua = dice.below(8) == 0;
        let io = match dice.below(40) {
            0..=17 => {
                model[touched.clone()].iter_mut().for_each(|block| block.unflushed = Some(byte));
                let from = buffer_of(&vec![byte; len_bytes as usize]);
                BdevIo::write(0, offset_bytes, from, fua)
            }
            18..=20 => {
                model[touched.clone()].iter_mut().for_each(|block| block.unflushed = Some(0));
                BdevIo::write_zeroes(0, offset_bytes, len_bytes, fua)
            }
            21..=23 => {
                model[touched.clone()].iter_mut().for_each(|block| block.settle(0));
                BdevIo::unmap(0, offset_bytes, len_bytes)
            }
            24 => {
                let newest = |block: &mut BlockModel| block.settle(block.newest());
                model.iter_mut().for_each(newest);
                BdevIo::flush(0)
            }
            25 => {
                let seed = (dice.below(2) == 0).then(|| dice.next());
                subject.lose_and_restore(seed);
                check_loss(&mut model, &subject.seen(BLOCKS as usize), seed, step);
                continue;
            }
            _ => {
                let seen = rig.read(offset_bytes, len_bytes as usize);
                for (block, bytes) in model[touched].iter().zip(seen.chunks(BLOCK)) {
                    assert_eq!(bytes, [block.newest(); BLOCK], "step {step}");
                }
                continue;
            }
        };
        let durable = fua && !matches!(io.op, IoOp::Flush | IoOp::Unmap);
        assert_eq!(rig.run(io).status, IoStatus::Ok);
        if durable {
            let newest = |block: &mut BlockModel| block.settle(block.newest());
            model[touched].iter_mut().for_each(newest);
        }
    }
}

/// Compares every block with what it may hold, and goes on from what it does hold.
fn check_loss(model: &mut [BlockModel], seen: &[u8], seed: Option<u64>, step: u32) {
    for (place, (block, &byte)) in model.iter_mut().zip(seen).enumerate() {
        let survived = seed.is_some() && byte == block.newest();
        assert!(byte == block.durable || survived, "step {step}, block {place}: {byte}");
        block.settle(byte);
    }
}

/// Goal: what a thread has flushed is there whenever the power goes, with requests of others under
/// way. Method: two threads write and flush their own blocks while a third cuts the power again and
/// again; each block is what was flushed last or was written since.
#[test]
fn flushed_blocks_survive_threads_and_losses() {
    const OWN: u64 = 40;
    let subject = subject(true);
    let (error, stop) = (&subject.error, &std::sync::atomic::AtomicBool::new(false));
    // Who sends nothing while the power is off does not learn of it, so it is told here.
    let losses = &AtomicU64::new(0);
    let run = |first: u64| {
        move || {
            let mut rig = Rig::new(&**error);
            let (mut flushed, mut since, mut rounds) = (0, Vec::new(), 0_u32);
            while !stop.load(Ordering::Relaxed) || rounds == 0 {
                let byte = (rounds % 250) as u8 + 1;
                since.push(byte);
                let before = losses.load(Ordering::SeqCst);
                let from = buffer_of(&[byte; OWN as usize * BLOCK]);
                let written = rig.run(BdevIo::write(0, first * BLOCK as u64, from, false)).status;
                let done = written.is_ok()
                    && rig.run(BdevIo::flush(0)).status.is_ok()
                    && losses.load(Ordering::SeqCst) == before;
                let into = IoBufMut::heap(OWN as usize * BLOCK);
                let read = rig.run(BdevIo::read(0, first * BLOCK as u64, into));
                if done {
                    (flushed, since) = (byte, Vec::new());
                }
                if read.status.is_ok() {
                    for block in contents(&read.io).chunks(BLOCK) {
                        let known = block[0] == flushed || since.contains(&block[0]);
                        assert!(known, "{} and not {flushed} or {since:?}", block[0]);
                    }
                }
                rounds += u32::from(done);
            }
            rounds
        }
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(run(0)), scope.spawn(run(OWN))];
        for round in 0..300_u64 {
            losses.fetch_add(1, Ordering::SeqCst);
            error.lose_power((round % 2 == 0).then_some(round));
            error.restore_power();
            std::thread::park_timeout(std::time::Duration::from_micros(700));
        }
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            assert!(thread.join().unwrap() > 0);
        }
    });
}

/// Goal: a write that waited for room when the power went is not done afterwards. Method: a full
/// cache, and power that is back before anybody looks.
#[test]
fn a_write_that_waits_goes_with_the_power() {
    let mut subject = subject(true);
    let step = CACHE_WRITE_BLOCKS_MAX;
    for at in 0..CACHE_BLOCKS_MAX / step {
        subject.rig.write((at * step * BLOCK) as u64, &vec![1; step * BLOCK]);
    }
    assert_eq!(subject.error.snapshot().unflushed_blocks, CACHE_BLOCKS_MAX);
    let last = CACHE_BLOCKS_MAX as u64;
    subject.rig.channel.submit(write(last, 2)).unwrap();
    subject.error.lose_power(None);
    subject.error.restore_power();
    assert_eq!(subject.rig.finish(1)[0].status, IoStatus::Gone);
    assert!(subject.seen(CACHE_BLOCKS_MAX + 1).iter().all(|&byte| byte == 0));
}

/// Goal: so does one that waited for the base. Method: a base that hands everything back, and a
/// write that was taken because a byte of it is to be changed.
#[test]
fn a_write_that_waits_for_the_base_goes_with_the_power() {
    let below = subject(false);
    let (name, uuid, volatile_cache) = ("EE_EE_m0".to_owned(), None, false);
    let base = Arc::clone(&below.error) as Arc<dyn Bdev>;
    let error = ErrorBdev::create(ErrorSpec { name, uuid, base, volatile_cache });
    let mut rig = Rig::new(&*error);
    below.inject(Victims::Write, Fault::NoMemory, Injection::FOR_EVER);
    let fault = Fault::CorruptData { offset_bytes: 0, value: 1 };
    error.inject(&Injection::next(Victims::Write, fault, 2)).unwrap();
    rig.channel.submit(write(0, 4)).unwrap();
    assert!(settle(&mut rig).is_empty());
    error.lose_power(None);
    error.restore_power();
    below.error.clear();
    let done = rig.finish(1).pop().unwrap();
    assert_eq!((done.status, contents(&done.io)), (IoStatus::Gone, vec![4; BLOCK]));
    assert_eq!(below.on_base(1), [0]);

    // Without a loss it is done when there is room.
    below.inject(Victims::Write, Fault::NoMemory, 3);
    rig.channel.submit(write(0, 4)).unwrap();
    assert_eq!((rig.finish(1)[0].status, below.on_base(1)), (IoStatus::Ok, vec![5]));
}

/// A user with one request in flight, who lets the reactor sleep.
struct Patient {
    channel: Box<dyn IoChannel>,
    done: Vec<Completion>,
    report: std::sync::mpsc::Sender<IoStatus>,
}

impl reactor::Poller for Patient {
    fn name(&self) -> &str {
        "patient"
    }

    fn poll(&mut self, _cx: &mut Cx) -> usize {
        self.channel.poll(&mut self.done);
        self.done.drain(..).map(|done| self.report.send(done.status).unwrap()).count()
    }
}

/// Goal: a reactor that sleeps over a pending request wakes when it may go on. Method: nothing else
/// would wake it.
#[test]
fn a_sleeping_reactor_wakes_for_what_is_resumed() {
    let subject = subject(true);
    subject.inject(Victims::Read, Fault::Pending, 1);
    let config = reactor::ReactorsConfig {
        cores: "0".parse().unwrap(),
        poll: reactor::PollMode::Adaptive,
        buffer_bytes: 1 << 20,
    };
    let reactors = reactor::Reactors::start(config).unwrap();
    let (report, reported) = std::sync::mpsc::channel();
    let error = Arc::clone(&subject.error);
    reactors.handles()[0].send(move |cx| {
        let mut channel = error.open_channel(cx).unwrap();
        channel.submit(read(0)).unwrap();
        cx.add_poller(Box::new(Patient { channel, done: Vec::new(), report }));
    });
    // It sleeps when it has stopped turning; a sleep is counted at its end.
    let turns = || reactors.handles()[0].stats().turns;
    let asleep = (0..1000).any(|_| {
        let before = turns();
        let pending = reported.recv_timeout(std::time::Duration::from_millis(20));
        assert!(pending.is_err(), "it is pending");
        before > 0 && before == turns()
    });
    assert!(asleep, "it never slept: {:?}", reactors.handles()[0].stats());
    subject.error.resume_pending();
    let status = reported.recv_timeout(std::time::Duration::from_secs(20));
    assert_eq!(status, Ok(IoStatus::Ok), "a reactor slept on: {:?}", reactors.handles()[0].stats());
    reactors.stop();
}
