//! The service inside the test's own process: the same methods as over the socket, and a data path.
//!
//! The daemon has no way in for data yet, so whoever has to see what becomes of writes runs the service
//! here: a configuration of one entry is a call.
//!
//! Not here: what is tested; the real daemon (`daemon`).

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use array::{RaidBdev, RaidSnapshot};
use device::blocking::{self, BlockingError};
use device::{Bdev, BdevIo, IoKind, IoStatus, Reset};
use raid::coordinator::Action;
use raid::member::MemberState;
use raid456::control::{Claim, Config, ConfigError, Control, NoticeKind, Options};
use reactor::memory::IoBufMut;
use rpc::RpcError;
use serde_json::{Value, json};

use crate::daemon::PATIENCE;

/// The array that tests are about.
pub(crate) const ARRAY: &str = "r0";

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// A service in this process. It is stopped in order when it is dropped.
pub(crate) struct Rig {
    pub(crate) control: Arc<Control>,
}

impl Rig {
    /// On as many reactors as there are cores, two at most.
    pub(crate) fn start() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::start_on(if cores > 1 { "0-1" } else { "0" })
    }

    pub(crate) fn start_on(cores: &str) -> Self {
        let options = Options { cores: cores.parse().unwrap(), ..Options::default() };
        Self { control: Control::start(options).unwrap() }
    }

    /// Applies the entries of a configuration.
    pub(crate) fn apply(&self, entries: &[Value]) -> Result<(), ConfigError> {
        let config = json!({ "subsystems": [{ "subsystem": "bdev", "config": entries }] });
        let config = Config::parse(Path::new("rig"), config.to_string().as_bytes()).unwrap();
        self.control.apply(&config)
    }

    pub(crate) fn call(&self, method: &str, params: Value) -> Result<(), RpcError> {
        match self.apply(&[json!({ "method": method, "params": params })]) {
            Ok(()) => Ok(()),
            Err(ConfigError::Entry { error, .. }) => Err(error),
            Err(error) => panic!("{error}"),
        }
    }

    /// Calls a method that has to succeed.
    pub(crate) fn ask(&self, method: &str, params: Value) {
        let shown = params.to_string();
        self.call(method, params).unwrap_or_else(|error| panic!("{method} {shown}: {error}"));
    }

    /// Calls a method that has to be refused.
    pub(crate) fn refused(&self, method: &str, params: Value) -> RpcError {
        let shown = params.to_string();
        self.call(method, params).expect_err(&format!("{method} {shown}"))
    }

    pub(crate) fn message(&self, word: &str) {
        self.ask("bdev_raid_message", json!({ "name": ARRAY, "message": word }));
    }

    pub(crate) fn inject(&self, name: &str, io_type: &str, error_type: &str, num: u32) {
        let params = json!({
            "name": name, "io_type": io_type, "error_type": error_type, "num": num,
        });
        self.ask("bdev_error_inject_error", params);
    }

    /// Nothing goes wrong with an error bdev any more.
    pub(crate) fn heal(&self, name: &str) {
        self.ask("bdev_error_inject_error", json!({ "name": name, "io_type": "clear" }));
    }

    /// The array, if it runs.
    pub(crate) fn raid(&self) -> Option<Arc<RaidBdev>> {
        self.control.raid(ARRAY).ok()
    }

    pub(crate) fn snapshot(&self) -> RaidSnapshot {
        self.raid().unwrap_or_else(|| panic!("{ARRAY} does not run: {}", self.reason())).snapshot()
    }

    /// Why the array does not run.
    pub(crate) fn reason(&self) -> String {
        let waiting = self.control.waiting_raids();
        waiting.iter().map(|raid| raid.reason.clone()).collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn states(&self) -> Vec<MemberState> {
        self.snapshot().members.iter().map(|member| member.state).collect()
    }

    pub(crate) fn claim(&self, name: &str) -> Option<Claim> {
        let views = self.control.bdevs();
        views.into_iter().find(|view| view.bdev.info().name == name).and_then(|view| view.claim)
    }

    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let step = Duration::from_millis(2);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            if is_so(self) {
                return;
            }
            thread::park_timeout(step);
        }
        panic!("not within {PATIENCE:?}: {what}: {:?}", self.snapshot());
    }

    /// Waits until nothing goes on in the background, and nothing is left to be done.
    pub(crate) fn settle(&self) {
        self.wait_until("at rest", |rig| is_at_rest(&rig.snapshot()));
    }

    /// Rows of 4 KiB whose parity is wrong, by a check of all of the array.
    pub(crate) fn check(&self) -> u64 {
        self.settle();
        self.message("check");
        let checked = |rig: &Self| {
            let now = rig.snapshot();
            now.last_action == Some(raid::event::WorkKind::Check) && now.action == Action::Idle
        };
        self.wait_until("checked", checked);
        self.snapshot().mismatched_rows
    }

    /// What was said with the events of a kind, as `notify_get_notifications` has it, the oldest first.
    pub(crate) fn told(&self, kind: NoticeKind) -> Vec<Option<String>> {
        let notices = self.control.notices_since(0, usize::MAX).into_iter();
        notices.filter(|notice| notice.kind == kind).map(|notice| notice.detail).collect()
    }

    /// Bytes that were written to a bdev since the service started, as `bdev_get_iostat` has it.
    pub(crate) fn written_bytes(&self, name: &str) -> u64 {
        let stats = self.control.counted(name).unwrap().stats(Reset::None);
        stats.iter().map(|(_, _, stats)| stats.of(IoKind::Write).bytes).sum()
    }

    fn disk(&self, name: &str) -> Arc<dyn Bdev> {
        self.control.bdev(name).unwrap()
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.disk(ARRAY).info().size_bytes()
    }

    /// Writes to the array; the outer error is that there was no answer.
    pub(crate) fn write(&self, offset_bytes: u64, bytes: &[u8]) -> Result<(), IoStatus> {
        let io = BdevIo::write(0, offset_bytes, IoBufMut::heap_copy(bytes).freeze(), false);
        status_of(blocking::run_one(&self.control.reactors()[0], &self.disk(ARRAY), io, PATIENCE))
    }

    pub(crate) fn flush(&self) -> Result<(), IoStatus> {
        let io = BdevIo::flush(0);
        status_of(blocking::run_one(&self.control.reactors()[0], &self.disk(ARRAY), io, PATIENCE))
    }

    /// A write of which the answer is waited for elsewhere.
    pub(crate) fn write_later(&self, offset_bytes: u64, bytes: Vec<u8>) -> Later {
        let (disk, reactor) = (self.disk(ARRAY), self.control.reactors()[0].clone());
        let (tell, answer) = mpsc::channel();
        thread::spawn(move || {
            let io = BdevIo::write(0, offset_bytes, IoBufMut::heap_copy(&bytes).freeze(), false);
            // Nobody listens any more when the test has failed, or does not want to know.
            let _ = tell.send(blocking::run_one(&reactor, &disk, io, PATIENCE).map(drop));
        });
        Later(answer)
    }

    pub(crate) fn read(&self, offset_bytes: u64, len: usize) -> Result<Vec<u8>, IoStatus> {
        let (reactor, disk) = (&self.control.reactors()[0], self.disk(ARRAY));
        match blocking::read(reactor, &disk, offset_bytes, len, PATIENCE) {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(error) => Err(failed(error)),
        }
    }

    pub(crate) fn read_all(&self) -> Vec<u8> {
        let size = self.size_bytes();
        let mut all = Vec::new();
        while (all.len() as u64) < size {
            let len = CHUNK.min((size - all.len() as u64) as usize);
            all.extend(self.read(all.len() as u64, len).unwrap());
        }
        all
    }

    /// Stops it in order, which has to succeed.
    pub(crate) fn stop(self) {
        self.control.shutdown().unwrap();
    }
}

/// Whether nothing goes on, and nothing is left to be done.
pub(crate) fn is_at_rest(snapshot: &RaidSnapshot) -> bool {
    let rebuilding = snapshot.members.iter().any(|m| m.state == MemberState::Rebuilding);
    let optimal = snapshot.members.iter().all(|m| m.state == MemberState::InSync);
    let in_sync = snapshot.regions_in_sync == snapshot.regions || !optimal;
    snapshot.action == Action::Idle && !rebuilding && in_sync
}

/// The answer of a write, whenever it comes.
pub(crate) struct Later(Receiver<Result<(), BlockingError>>);

impl Later {
    /// Whether there is no answer for a while.
    pub(crate) fn is_held(&self) -> bool {
        let answer = self.0.recv_timeout(Duration::from_millis(200));
        matches!(answer, Err(RecvTimeoutError::Timeout))
    }

    pub(crate) fn answer(self) -> Result<(), IoStatus> {
        status_of(self.0.recv_timeout(PATIENCE).expect("an answer"))
    }
}

fn status_of<T>(answer: Result<T, BlockingError>) -> Result<(), IoStatus> {
    answer.map(drop).map_err(failed)
}

fn failed(error: BlockingError) -> IoStatus {
    match error {
        BlockingError::Failed { status, .. } => status,
        error @ (BlockingError::Open(_) | BlockingError::TimedOut { .. }) => panic!("{error}"),
    }
}

/// Random numbers that a seed gives again.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Block of the arrays here.
pub(crate) const BLOCK: usize = 4096;

/// Bytes that a block holds after a write: every word depends on the block and the write.
pub(crate) fn stamp(block: u64, version: u64, into: &mut [u8]) {
    let seed = mix(version ^ block.rotate_left(32));
    for (at, word) in into.chunks_exact_mut(8).enumerate() {
        let value = match at {
            0 => version,
            1 => block,
            at => seed.wrapping_mul(at as u64 | 1),
        };
        word.copy_from_slice(&value.to_le_bytes());
    }
}

/// Which write a block holds; 0 if none has been there yet, `None` if it is torn or of another block.
pub(crate) fn version_of(block: u64, bytes: &[u8]) -> Option<u64> {
    let (version, _) = bytes.split_first_chunk()?;
    let version = u64::from_le_bytes(*version);
    let mut right = vec![0; bytes.len()];
    if version != 0 {
        stamp(block, version, &mut right);
    }
    (right == bytes).then_some(version)
}

/// Stamped blocks.
pub(crate) fn stamped(first_block: u64, blocks: usize, version: u64) -> Vec<u8> {
    let mut bytes = vec![0; blocks * BLOCK];
    for (block, into) in (first_block..).zip(bytes.chunks_exact_mut(BLOCK)) {
        stamp(block, version, into);
    }
    bytes
}
