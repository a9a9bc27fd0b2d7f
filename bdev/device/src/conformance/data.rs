//! The byte model: what is read is what was written.

use reactor::memory::IoBufMut;

use super::backends::{Backend, DEVICE_BYTES};
use super::rig::{Dice, Rig, contents};
use crate::limits::{MALLOC_ZERO_STEP_BYTES, SEGMENTS_PER_TRANSFER_MAX, ZERO_BUFFER_BYTES};
use crate::{Bdev, BdevIo, IoOp, IoStatus, Sgl};

/// Goal: any mix of reads, writes (also vectored, also FUA), write-zeroes, unmaps and flushes
/// leaves what a plain vector of bytes would hold. Method: batches of random requests on disjoint
/// ranges, all in flight at once, at both block sizes; then the whole device is read.
pub(super) fn agrees_with_a_byte_model(backend: Backend) {
    for (block_size_bytes, seed) in [(512, 1), (4096, 2)] {
        let Some(subject) = backend.make(block_size_bytes) else { return };
        let mut rig = Rig::new(&*subject.bdev);
        let mut model = Model::new(0, DEVICE_BYTES, block_size_bytes, Dice(seed));
        for _ in 0..8 {
            model.run_batch(&mut rig, &*subject.bdev);
        }
        assert!(rig.read(0, DEVICE_BYTES as usize) == model.bytes, "the device differs");
    }
}

/// Goal: reactors share a device without disturbing each other. Method: two threads, each with its
/// own reactor, channel and half of the device, run random requests at the same time; then each
/// half is read by a third.
pub(super) fn two_reactors_on_disjoint_ranges(backend: Backend) {
    let Some(subject) = backend.make(512) else { return };
    let half = DEVICE_BYTES / 2;
    let halves: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let run = |first_byte: u64| {
            let bdev = &*subject.bdev;
            scope.spawn(move || {
                let mut rig = Rig::new(bdev);
                let mut model = Model::new(first_byte, half, 512, Dice(first_byte + 3));
                for _ in 0..6 {
                    model.run_batch(&mut rig, bdev);
                }
                model.bytes
            })
        };
        let threads = [run(0), run(half)];
        threads.map(|thread| thread.join().unwrap()).into()
    });
    let mut rig = Rig::new(&*subject.bdev);
    for (first_byte, bytes) in [0, half].into_iter().zip(halves) {
        assert!(rig.read(first_byte, half as usize) == bytes, "half at {first_byte} differs");
    }
}

/// Goal: requests beyond every bound of a single kernel request still complete as a whole. Method:
/// more segments than the kernel takes at once, and zeroes and unmaps over the whole device.
pub(super) fn long_and_scattered_requests(backend: Backend) {
    let Some(subject) = backend.make(512) else { return };
    let mut rig = Rig::new(&*subject.bdev);
    let segments = SEGMENTS_PER_TRANSFER_MAX * 2 + 5;
    let mut whole = IoBufMut::heap(segments * 512);
    Dice(7).fill(&mut whole);
    let expected = whole.to_vec();
    let mut parts: Vec<_> = (1..segments).map(|_| whole.split_to(512)).collect();
    parts.push(whole);
    // Empty segments move nothing.
    parts.insert(3, IoBufMut::heap(0));
    let from = Sgl::Many(parts.into_iter().map(IoBufMut::freeze).collect());
    assert_eq!(rig.run(BdevIo::write(0, 1024, from, false)).status, IoStatus::Ok);
    assert!(rig.read(1024, segments * 512) == expected, "the scattered write differs");

    let into = Sgl::Many((0..segments).map(|_| IoBufMut::heap(512)).collect());
    let done = rig.run(BdevIo::read(0, 1024, into));
    assert_eq!(done.status, IoStatus::Ok);
    assert!(contents(&done.io) == expected, "the scattered read differs");

    // Longer than the buffers of zeroes and the steps of all backends, and not a multiple of them.
    assert!(DEVICE_BYTES as usize > ZERO_BUFFER_BYTES.max(MALLOC_ZERO_STEP_BYTES) * 4);
    let len_bytes = DEVICE_BYTES - 4096;
    rig.write(DEVICE_BYTES - 4096, &[0x5a; 4096]);
    let done = rig.run(BdevIo::write_zeroes(0, 0, len_bytes, true));
    assert_eq!(done.status, IoStatus::Ok);
    let all = rig.read(0, DEVICE_BYTES as usize);
    assert!(all[..len_bytes as usize].iter().all(|&byte| byte == 0), "not zeroed");
    assert!(all[len_bytes as usize..].iter().all(|&byte| byte == 0x5a), "zeroed too much");

    if subject.bdev.info().supported.unmap {
        let done = rig.run(BdevIo::unmap(0, 0, DEVICE_BYTES));
        assert_eq!(done.status, IoStatus::Ok);
        assert!(subject.bdev.info().unmap_reads_zero);
        assert!(rig.read(0, DEVICE_BYTES as usize).iter().all(|&byte| byte == 0), "not unmapped");
    }
}

/// A range of a device as a vector of bytes.
pub(crate) struct Model {
    first_byte: u64,
    block_size_bytes: u64,
    pub(crate) bytes: Vec<u8>,
    dice: Dice,
}

impl Model {
    pub(crate) fn new(first_byte: u64, len_bytes: u64, block_size_bytes: u32, dice: Dice) -> Self {
        let bytes = vec![0; len_bytes as usize];
        Self { first_byte, block_size_bytes: u64::from(block_size_bytes), bytes, dice }
    }

    /// One batch: the range is cut at random, and each part gets at most one request.
    pub(crate) fn run_batch(&mut self, rig: &mut Rig, bdev: &dyn Bdev) {
        let mut requests = Vec::new();
        let mut expected = Vec::new();
        let blocks = self.bytes.len() as u64 / self.block_size_bytes;
        let mut block = 0;
        while block < blocks && requests.len() < 200 {
            let gap = self.dice.below(24);
            let len = match self.dice.below(10) {
                0 => 64 + self.dice.below(200),
                _ => 1 + self.dice.below(16),
            };
            block += gap;
            if block + len > blocks {
                break;
            }
            let (at, len) = (block * self.block_size_bytes, len * self.block_size_bytes);
            let token = requests.len() as u64;
            requests.push(self.draw(token, at as usize, len as usize, rig, bdev));
            expected.push(self.bytes[at as usize..(at + len) as usize].to_vec());
            block += len / self.block_size_bytes;
        }
        for done in rig.run_all(requests) {
            assert_eq!(done.status, IoStatus::Ok, "{:?}", done.io);
            if matches!(done.io.op, IoOp::Read { .. }) {
                let same = contents(&done.io) == expected[done.io.token as usize];
                assert!(same, "{} bytes at {} differ", done.io.len_bytes, done.io.offset_bytes);
            }
        }
    }

    /// A random request on a range of the model, which changes as the device will.
    fn draw(
        &mut self,
        token: u64,
        at: usize,
        len: usize,
        rig: &mut Rig,
        bdev: &dyn Bdev,
    ) -> BdevIo {
        let offset_bytes = self.first_byte + at as u64;
        let range = &mut self.bytes[at..at + len];
        let fua = self.dice.below(16) == 0;
        let pooled = self.dice.below(3) != 0;
        match self.dice.below(20) {
            0 => BdevIo::flush(token),
            1 | 2 => {
                range.fill(0);
                BdevIo::write_zeroes(token, offset_bytes, len as u64, fua)
            }
            3 if bdev.info().supported.unmap => {
                range.fill(0);
                BdevIo::unmap(token, offset_bytes, len as u64)
            }
            4..=11 => {
                self.dice.fill(range);
                let mut buf = rig.buffer(len, pooled);
                buf.copy_from_slice(range);
                let from = match self.cut(buf) {
                    Sgl::One(buf) => Sgl::One(buf.freeze()),
                    Sgl::Many(bufs) => Sgl::Many(bufs.into_iter().map(IoBufMut::freeze).collect()),
                };
                BdevIo::write(token, offset_bytes, from, fua)
            }
            _ => {
                let buf = rig.buffer(len, pooled);
                BdevIo::read(token, offset_bytes, self.cut(buf))
            }
        }
    }

    /// One buffer, or parts of it at multiples of the block size.
    fn cut(&mut self, mut buf: IoBufMut) -> Sgl<IoBufMut> {
        if self.dice.below(2) == 0 {
            return Sgl::One(buf);
        }
        let mut parts = Vec::new();
        while buf.len() as u64 > self.block_size_bytes && parts.len() < 6 {
            let blocks = buf.len() as u64 / self.block_size_bytes;
            let cut = 1 + self.dice.below(blocks - 1);
            parts.push(buf.split_to((cut * self.block_size_bytes) as usize));
        }
        parts.push(buf);
        Sgl::Many(parts)
    }
}
