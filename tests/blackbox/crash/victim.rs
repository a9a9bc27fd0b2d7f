//! The process that is killed: it assembles the array, writes to it as fast as it can, and keeps a journal
//! of what it has asked for and what it was told.
//!
//! ```text
//!   journal: Begun(blocks, version) --> submit ... completion --> Done(blocks, version)
//! ```
//!
//! The journal is a file that is appended to without a buffer: what was written before a kill -9 is in
//! it. A write counts as acknowledged when its `Done` is there.
//!
//! It is this test binary again, started with [`ORDERS`] in its environment.
//!
//! Not here: who starts and kills it (`rounds`).

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use device::{Bdev, BdevIo, Completion, IoChannel, IoOp};
use reactor::memory::IoBufMut;
use reactor::{Cx, Poller};
use serde_json::{Value, json};

use crate::rig::{ARRAY, BLOCK, Rig, Rng, stamped, version_of};

/// Names the file that says what to do.
const ORDERS: &str = "RAID456_CRASH_VICTIM";

/// Blocks that one write at a time may be in: a stripe of three data strips of 64 KiB.
pub(super) const CHUNK_BLOCKS: u64 = 48;

/// Requests in flight on each reactor.
const DEPTH: usize = 12;

/// Longest life of a victim that nobody kills.
const LIFE: Duration = Duration::from_secs(60);

/// What a victim is to do.
pub(super) struct Orders {
    pub(super) entries: Vec<Value>,
    pub(super) journal: PathBuf,
    pub(super) seed: u64,
    /// Versions of its writes begin here.
    pub(super) first_version: u64,
    pub(super) force: bool,
}

impl Orders {
    pub(super) fn start(&self, file: &std::path::Path) -> Child {
        let orders = json!({
            "entries": self.entries, "journal": self.journal, "seed": self.seed,
            "first_version": self.first_version, "force": self.force,
        });
        fs::write(file, orders.to_string()).unwrap();
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::victim::is_killed", "--nocapture", "--test-threads=1"])
            .env(ORDERS, file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// What the victim says when it begins to write.
pub(super) const READY: &str = "writing";

/// Not a test by itself: the victim's `main`.
#[test]
fn is_killed() {
    let Some(file) = std::env::var_os(ORDERS) else { return };
    let orders: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let number = |key: &str| orders[key].as_u64().unwrap();
    let rig = Rig::start();
    rig.apply(orders["entries"].as_array().unwrap()).unwrap();
    if orders["force"] == true && rig.raid().is_none() {
        rig.ask("bdev_raid_assemble", json!({ "name": ARRAY, "force": true }));
    }
    let disk: Arc<dyn Bdev> = rig.raid().unwrap_or_else(|| panic!("{}", rig.reason()));
    let journal = PathBuf::from(orders["journal"].as_str().unwrap());
    let writers = rig.control.reactors().len();
    let chunks = disk.info().num_blocks / CHUNK_BLOCKS;
    // Not all of the array, so that some regions stay clean.
    let window = chunks / 3;
    let first_chunk = number("seed") % (chunks - window);
    for (index, reactor) in rig.control.reactors().iter().enumerate() {
        let (disk, journal) = (disk.clone(), journal.clone());
        let seed = number("seed").wrapping_add(index as u64);
        let version = number("first_version") + index as u64;
        let plant = move |cx: &mut Cx| {
            let channel = disk.open_channel(cx).unwrap();
            let journal = OpenOptions::new().append(true).create(true).open(journal).unwrap();
            let place = Share { index, writers, chunks, first_chunk, window, version };
            cx.add_poller(Box::new(Writer::new(channel, journal, Rng::new(seed), place)));
        };
        reactor.call(plant).unwrap();
    }
    println!("{READY}");
    thread::park_timeout(LIFE);
    std::process::exit(5);
}

/// What a record of the journal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Begun,
    Done,
}

/// One record of the journal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) said: Said,
    pub(super) first_block: u64,
    pub(super) blocks: u64,
    pub(super) version: u64,
}

const RECORD_BYTES: usize = 24;

impl Record {
    fn encode(self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let kind = u64::from(self.said == Said::Done);
        bytes[..8].copy_from_slice(&(self.blocks << 1 | kind).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first_block.to_le_bytes());
        bytes[16..].copy_from_slice(&self.version.to_le_bytes());
        bytes
    }

    /// The records of a journal. A torn last one was not written.
    pub(super) fn read_all(journal: &[u8]) -> Vec<Self> {
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        let record = |bytes: &[u8]| Self {
            said: if word(&bytes[..8]) & 1 == 1 { Said::Done } else { Said::Begun },
            blocks: word(&bytes[..8]) >> 1,
            first_block: word(&bytes[8..16]),
            version: word(&bytes[16..]),
        };
        journal.chunks_exact(RECORD_BYTES).map(record).collect()
    }
}

/// Which blocks and versions are a writer's own.
struct Share {
    index: usize,
    writers: usize,
    chunks: u64,
    first_chunk: u64,
    window: u64,
    version: u64,
}

/// Writes from one reactor. No two of its requests are in one chunk.
struct Writer {
    channel: Box<dyn IoChannel>,
    journal: File,
    rng: Rng,
    share: Share,
    /// By chunk.
    busy: Vec<bool>,
    /// The last acknowledged write by block; 0 if none of this life.
    known: Vec<u64>,
    in_flight: usize,
    refused: Option<BdevIo>,
    done: Vec<Completion>,
}

impl Writer {
    fn new(channel: Box<dyn IoChannel>, journal: File, rng: Rng, share: Share) -> Self {
        Self {
            busy: vec![false; share.chunks as usize],
            known: vec![0; (share.chunks * CHUNK_BLOCKS) as usize],
            in_flight: 0,
            refused: None,
            done: Vec::new(),
            channel,
            journal,
            rng,
            share,
        }
    }

    fn say(&mut self, said: Said, first_block: u64, blocks: u64, version: u64) {
        let record = Record { said, first_block, blocks, version };
        self.journal.write_all(&record.encode()).unwrap();
    }

    fn next_request(&mut self) -> Option<BdevIo> {
        if self.rng.one_in(64) {
            return Some(BdevIo::flush(0));
        }
        let own = self.share.window as usize / self.share.writers;
        let chunk = self.rng.below(own) * self.share.writers + self.share.index;
        let chunk = chunk + self.share.first_chunk as usize;
        if self.busy[chunk] {
            return None;
        }
        let chunk_start = chunk as u64 * CHUNK_BLOCKS;
        let blocks = [1, 1, 2, 7, 16, CHUNK_BLOCKS][self.rng.below(6)];
        let first = chunk_start + self.rng.below((CHUNK_BLOCKS - blocks + 1) as usize) as u64;
        self.busy[chunk] = true;
        let len = blocks as usize * BLOCK;
        if self.rng.one_in(5) {
            return Some(BdevIo::read(0, first * BLOCK as u64, IoBufMut::heap(len)));
        }
        let version = self.share.version;
        self.share.version += self.share.writers as u64;
        let bytes = IoBufMut::heap_copy(&stamped(first, blocks as usize, version)).freeze();
        self.say(Said::Begun, first, blocks, version);
        Some(BdevIo::write(version, first * BLOCK as u64, bytes, self.rng.one_in(16)))
    }

    fn finish(&mut self, completion: Completion) {
        let Completion { io, status } = completion;
        self.in_flight -= 1;
        let (first, blocks) = (io.offset_bytes / BLOCK as u64, io.len_bytes / BLOCK as u64);
        // Redundancy is never exceeded, so nothing may fail.
        if !status.is_ok() {
            fail(&format!("{:?} of {blocks} blocks from {first}: {status}", io.op));
        }
        match &io.op {
            IoOp::Write { .. } => {
                self.say(Said::Done, first, blocks, io.token);
                self.known[first as usize..(first + blocks) as usize].fill(io.token);
            }
            IoOp::Read { into } => {
                let bytes: Vec<&[u8]> = into.segments().map(|segment| &segment[..]).collect();
                self.verify(first, &bytes.concat());
            }
            _ => return,
        }
        self.busy[(first / CHUNK_BLOCKS) as usize] = false;
    }

    fn verify(&self, first: u64, bytes: &[u8]) {
        for (block, bytes) in (first..).zip(bytes.chunks_exact(BLOCK)) {
            let known = self.known[block as usize];
            if known != 0 && version_of(block, bytes) != Some(known) {
                fail(&format!("block {block} does not hold write {known:#x}"));
            }
        }
    }
}

/// Ends the victim: a test that fails, and not one that was killed.
fn fail(what: &str) -> ! {
    eprintln!("victim: {what}");
    std::process::exit(3);
}

impl Poller for Writer {
    fn name(&self) -> &str {
        "writer"
    }

    fn poll(&mut self, _: &mut Cx) -> usize {
        let mut done = std::mem::take(&mut self.done);
        let progress = self.channel.poll(&mut done);
        for completion in done.drain(..) {
            self.finish(completion);
        }
        self.done = done;
        while self.in_flight < DEPTH {
            let Some(io) = self.refused.take().or_else(|| self.next_request()) else { break };
            if let Err(io) = self.channel.submit(io) {
                self.refused = Some(io);
                break;
            }
            self.in_flight += 1;
        }
        progress
    }

    fn can_sleep(&self) -> bool {
        false
    }
}
