//! Copies over devices that complete out of order, refuse, hold buffers back, and fail.

use super::*;
use crate::cli::dd::plan::{InputEnd, OutputEnd, Request};
use device::{
    Bdev, BdevInfo, BdevIo, Completion, IoChannel, IoOp, IoStatus, MallocBdev, MallocSpec,
};
use reactor::memory::IoBuf;
use reactor::{CpuSet, Cx, LocalReactor, PollMode, Reactors, ReactorsConfig, Ticks};
use std::collections::VecDeque;
use std::path::PathBuf;

const BLOCK_BYTES: u64 = 4096;

fn reactors() -> Reactors {
    let (cores, poll) = (CpuSet::single(0), PollMode::Adaptive);
    Reactors::start(ReactorsConfig { cores, poll, buffer_bytes: 2 << 20 }).unwrap()
}

/// What goes wrong on a [`Rough`] device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trouble {
    Nothing,
    At(u64),
    Flush,
}

/// A RAM disk that takes three requests at a time, gives the youngest back first, lets go of written
/// buffers late, and fails where it is told to.
#[derive(Debug)]
struct Rough {
    disk: Arc<dyn Bdev>,
    trouble: Trouble,
}

struct RoughChannel {
    disk: Box<dyn IoChannel>,
    trouble: Trouble,
    in_flight: usize,
    waiting: Vec<Completion>,
    held: VecDeque<IoBuf>,
}

impl Bdev for Rough {
    fn info(&self) -> Arc<BdevInfo> {
        self.disk.info()
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        Ok(Box::new(RoughChannel {
            disk: self.disk.open_channel(cx)?,
            trouble: self.trouble,
            in_flight: 0,
            waiting: Vec::new(),
            held: VecDeque::new(),
        }))
    }
}

impl IoChannel for RoughChannel {
    fn submit(&mut self, io: BdevIo) -> Result<(), BdevIo> {
        if self.in_flight == 3 {
            return Err(io);
        }
        self.in_flight += 1;
        if let IoOp::Write { from, .. } = &io.op {
            self.held.extend(from.segments().cloned());
        }
        let failing = match (&io.op, self.trouble) {
            (IoOp::Flush, trouble) => trouble == Trouble::Flush,
            (_, Trouble::At(at)) => (io.offset_bytes..io.offset_bytes + io.len_bytes).contains(&at),
            _ => false,
        };
        if failing {
            self.waiting.push(io.complete(IoStatus::MediaError));
            return Ok(());
        }
        self.disk.submit(io)
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        self.held.pop_front();
        self.disk.poll(&mut self.waiting);
        let Some(youngest) = self.waiting.pop() else { return 0 };
        self.in_flight -= 1;
        done.push(youngest);
        1
    }
}

fn disk(name: &str, block_size_bytes: u32, size_bytes: u64, trouble: Trouble) -> Arc<dyn Bdev> {
    let num_blocks = size_bytes / u64::from(block_size_bytes);
    let spec = MallocSpec { name: name.into(), uuid: None, block_size_bytes, num_blocks };
    Arc::new(Rough { disk: MallocBdev::create(spec).unwrap(), trouble })
}

/// One request to a device, by hand.
fn ask(bdev: &Arc<dyn Bdev>, io: BdevIo) -> IoOp {
    let mut local = LocalReactor::new(1 << 20);
    let mut channel = bdev.open_channel(local.cx()).unwrap();
    channel.submit(io).unwrap();
    let mut done = Vec::new();
    local.run_until(Ticks::from_secs(20), |_| channel.poll(&mut done) > 0);
    let completion = done.pop().unwrap();
    assert_eq!(completion.status, IoStatus::Ok);
    completion.io.op
}

fn put(bdev: &Arc<dyn Bdev>, at_bytes: u64, bytes: &[u8]) {
    ask(bdev, BdevIo::write(0, at_bytes, IoBufMut::heap_copy(bytes).freeze(), false));
}

fn get(bdev: &Arc<dyn Bdev>, at_bytes: u64, len_bytes: usize) -> Vec<u8> {
    match ask(bdev, BdevIo::read(0, at_bytes, IoBufMut::heap(len_bytes))) {
        IoOp::Read { into } => into.into_one().unwrap().to_vec(),
        other => panic!("a read came back as {other:?}"),
    }
}

/// Bytes of which no two pieces are alike.
fn painted(len_bytes: usize) -> Vec<u8> {
    (0..len_bytes).map(|at| ((at / 512 * 7) ^ (at % 251)) as u8).collect()
}

struct Scene {
    reactors: Reactors,
    directory: tempfile::TempDir,
    request: Request,
}

impl Scene {
    fn new() -> Self {
        let request = Request {
            block_bytes: BLOCK_BYTES,
            count: None,
            skip: 0,
            seek: 0,
            depth: 5,
            pad_zero: false,
        };
        Self { reactors: reactors(), directory: tempfile::tempdir().unwrap(), request }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("f")
    }

    fn between(&self, from: &Arc<dyn Bdev>, to: &Arc<dyn Bdev>) -> Pumped {
        let (input, output) = (InputEnd::of_bdev(from), OutputEnd::of_bdev(to));
        let plan = Plan::new(&self.request, &input, &output).unwrap();
        let ends = Ends { input: Some(Arc::clone(from)), output: Some(Arc::clone(to)) };
        between_bdevs(&self.reactors.handles()[0], &plan, ends, || false, |_| ())
    }

    fn export(&self, from: &Arc<dyn Bdev>) -> Pumped {
        let plan = Plan::new(&self.request, &InputEnd::of_bdev(from), &OutputEnd::File).unwrap();
        let ends = Ends { input: Some(Arc::clone(from)), output: None };
        let mut file = FileOutput::open(&self.path(), plan.output_offset_bytes, true).unwrap();
        to_file(&self.reactors.handles()[0], &plan, ends, &mut file, || false, |_| ())
    }

    fn import(&self, to: &Arc<dyn Bdev>, stop: bool) -> Pumped {
        let mut file = FileInput::open(&self.path()).unwrap();
        let plan = Plan::new(&self.request, &file.end(), &OutputEnd::of_bdev(to)).unwrap();
        file.skip_to(plan.input_offset_bytes).unwrap();
        let ends = Ends { input: None, output: Some(Arc::clone(to)) };
        from_file(&self.reactors.handles()[0], &plan, ends, &mut file, || stop, |_| ())
    }
}

fn message(pumped: &Pumped) -> String {
    pumped.outcome.as_ref().unwrap_err().to_string()
}

/// Goal: every byte arrives where it belongs, whatever order the device answers in. Method: each
/// kind of copy at offsets, with a last chunk that is not whole.
#[test]
fn bytes_arrive_in_their_places() {
    let mut scene = Scene::new();
    let bytes = painted(41 * 512);
    let from = disk("a", 512, 64 << 10, Trouble::Nothing);
    put(&from, 4096, &bytes);
    scene.request.skip = 1;
    (scene.request.seek, scene.request.count) = (2, Some(10));
    let to = disk("b", 512, 64 << 10, Trouble::Nothing);
    let pumped = scene.between(&from, &to);
    pumped.outcome.unwrap();
    assert_eq!(pumped.copied_bytes, 40_960);
    let expected: Vec<_> = get(&from, 4096, 40_960);
    assert_eq!(get(&to, 8192, 40_960), expected);
    assert!(get(&to, 0, 8192).iter().all(|byte| *byte == 0));
    assert!(get(&to, 49_152, 16_384).iter().all(|byte| *byte == 0));

    let pumped = scene.export(&from);
    pumped.outcome.unwrap();
    assert_eq!(std::fs::read(scene.path()).unwrap()[8192..], expected);

    std::fs::write(scene.path(), [&[9; 4096], &bytes[..]].concat()).unwrap();
    scene.request.count = None;
    let to = disk("b", 512, 64 << 10, Trouble::Nothing);
    let pumped = scene.import(&to, false);
    pumped.outcome.unwrap();
    assert_eq!(pumped.copied_bytes, 41 * 512);
    assert_eq!(get(&to, 8192, 41 * 512), bytes);
    scene.reactors.stop();
}

/// Goal: where the input ends within a block of the output, zeroes fill it, from a file and from a
/// bdev with smaller blocks alike, and only the input's bytes are counted.
#[test]
fn the_last_block_is_padded() {
    let mut scene = Scene::new();
    scene.request.pad_zero = true;
    let bytes = painted(9 * 4096 + 512);
    let from = disk("a", 512, 9 * 4096 + 512, Trouble::Nothing);
    put(&from, 0, &bytes);
    std::fs::write(scene.path(), &bytes[..9 * 4096 + 100]).unwrap();
    for from_file in [false, true] {
        let to = disk("b", 4096, 64 << 10, Trouble::Nothing);
        put(&to, 0, &[0xee; 64 << 10]);
        let (pumped, len_bytes) = if from_file {
            (scene.import(&to, false), 9 * 4096 + 100)
        } else {
            (scene.between(&from, &to), 9 * 4096 + 512)
        };
        pumped.outcome.unwrap();
        assert_eq!(pumped.copied_bytes, len_bytes as u64);
        let found = get(&to, 0, 64 << 10);
        assert_eq!(found[..len_bytes], bytes[..len_bytes]);
        assert!(found[len_bytes..40_960].iter().all(|byte| *byte == 0));
        assert!(found[40_960..].iter().all(|byte| *byte == 0xee));
    }
    scene.reactors.stop();
}

/// Goal: a request that fails ends the copy, and the message names side, bdev and place.
#[test]
fn failures_name_the_side_and_the_place() {
    let mut scene = Scene::new();
    scene.request.seek = 1;
    let good = || disk("good", 512, 64 << 10, Trouble::Nothing);
    let bad = || disk("bad", 512, 128 << 10, Trouble::At(40_000));
    let small = Request { count: Some(15), ..scene.request };
    scene.request = small;
    let read = "input bdev \"bad\": reading 4096 bytes at byte 36864: media error";
    assert_eq!(message(&scene.between(&bad(), &good())), read);
    assert_eq!(message(&scene.export(&bad())), read);
    let write = "output bdev \"bad\": writing 4096 bytes at byte 36864: media error";
    let pumped = scene.between(&good(), &bad());
    assert_eq!(message(&pumped), write);
    assert!(pumped.copied_bytes < 15 * 4096);
    std::fs::write(scene.path(), painted(64 << 10)).unwrap();
    assert_eq!(message(&scene.import(&bad(), false)), write);
    let unflushed = disk("bad", 512, 128 << 10, Trouble::Flush);
    let pumped = scene.import(&unflushed, false);
    assert_eq!(message(&pumped), "output bdev \"bad\": making it durable: media error");
    scene.reactors.stop();
}

/// Goal: a file that cannot be written, a stop, and an endless input end the copy.
#[test]
fn the_thread_s_side_can_end_it() {
    let mut scene = Scene::new();
    let from = disk("a", 512, 64 << 10, Trouble::Nothing);
    let plan = Plan::new(&scene.request, &InputEnd::of_bdev(&from), &OutputEnd::File).unwrap();
    let ends = Ends { input: Some(Arc::clone(&from)), output: None };
    let mut full = FileOutput::open("/dev/full".as_ref(), 0, true).unwrap();
    let reactor = &scene.reactors.handles()[0];
    let pumped = to_file(reactor, &plan, ends, &mut full, || false, |_| ());
    assert!(message(&pumped).starts_with("output file /dev/full: writing 4096 bytes at byte 0: "));
    assert_eq!(pumped.copied_bytes, 0);

    std::fs::write(scene.path(), painted(64 << 10)).unwrap();
    let to = disk("b", 512, 64 << 10, Trouble::Nothing);
    assert_eq!(message(&scene.import(&to, true)), "interrupted");

    scene.request.seek = 3;
    let mut zeroes = FileInput::open("/dev/zero".as_ref()).unwrap();
    let plan = Plan::new(&scene.request, &zeroes.end(), &OutputEnd::of_bdev(&to)).unwrap();
    let ends = Ends { input: None, output: Some(Arc::clone(&to)) };
    let pumped = from_file(reactor, &plan, ends, &mut zeroes, || false, |_| ());
    let full = "output bdev \"b\": it is full at byte 65536, and the input goes on";
    assert_eq!(message(&pumped), full);
    assert_eq!(pumped.copied_bytes, 13 * 4096);
    scene.reactors.stop();
}

/// Goal: nothing to copy is copied at once.
#[test]
fn an_empty_copy_ends() {
    let mut scene = Scene::new();
    scene.request.count = Some(0);
    let (a, b) = (disk("a", 512, 8192, Trouble::Nothing), disk("b", 512, 8192, Trouble::Nothing));
    std::fs::write(scene.path(), b"").unwrap();
    for pumped in [scene.between(&a, &b), scene.export(&a), scene.import(&a, false)] {
        pumped.outcome.unwrap();
        assert_eq!(pumped.copied_bytes, 0);
    }
    scene.reactors.stop();
}
