//! A host's load over NVMe/TCP: several queues write stamped blocks, read them back, and keep account of
//! what was asked for and what was acknowledged, until the connection ends.
//!
//! Not here: what becomes of the service meanwhile (`served`), what blocks may hold then (`model`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::thread::{self, JoinHandle};

use device::nvme_tcp::{flush, read, write};

use super::victim::{CHUNK_BLOCKS, Record, Said};
use crate::nvmf::host::Queue;
use crate::rig::{BLOCK, Rng, stamped, version_of};

/// I/O queues with load.
pub(super) const WRITERS: u16 = 2;

/// Commands in flight on each.
const DEPTH: usize = 12;

/// Blocks of the largest read of [`Host::read_all`].
const READ_BLOCKS: u64 = 128;

const NSID: u32 = 1;

/// A connected host.
pub(super) struct Host {
    port: u16,
    _admin: Queue,
    cntlid: u16,
    queue: Queue,
}

impl Host {
    pub(super) fn connect(port: u16) -> io::Result<Self> {
        let (admin, facts) = Queue::admin(port, false)?;
        let queue = Queue::io(port, false, facts.cntlid, 1)?;
        Ok(Self { port, _admin: admin, cntlid: facts.cntlid, queue })
    }

    /// Reads these blocks; the outer error is that the connection is over.
    pub(super) fn read(&mut self, first: u64, blocks: u64) -> io::Result<Vec<u8>> {
        let room = vec![0; blocks as usize * BLOCK];
        let (cqe, bytes) = self.queue.call(read(NSID, first, blocks as u32, BLOCK as u32), room)?;
        let status = cqe.status();
        if status.is_ok() { Ok(bytes) } else { Err(io::Error::other(format!("{status:?}"))) }
    }

    pub(super) fn read_all(&mut self, blocks: u64) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() as u64 / (BLOCK as u64) < blocks {
            let first = all.len() as u64 / BLOCK as u64;
            all.extend(self.read(first, READ_BLOCKS.min(blocks - first)).unwrap());
        }
        all
    }

    pub(super) fn write(&mut self, block: u64, version: u64) {
        let command = write(NSID, block, 1, BLOCK as u32, false);
        let (cqe, _) = self.queue.call(command, stamped(block, 1, version)).unwrap();
        assert!(cqe.status().is_ok(), "{:?}", cqe.status());
    }

    /// Begins a load over a window of the array, with versions from `first_version` on.
    pub(super) fn load(self, blocks: u64, seed: u64, first_version: u64) -> Load {
        let chunks = blocks / CHUNK_BLOCKS;
        let window = chunks / 3;
        let start = seed % (chunks - window);
        let writer = |index: u16| {
            let queue = Queue::io(self.port, false, self.cntlid, 2 + index).unwrap();
            let own = (start + u64::from(index)..start + window).step_by(usize::from(WRITERS));
            let mut writer = Writer {
                queue,
                rng: Rng::new(seed.wrapping_add(u64::from(index))),
                chunks: own.collect(),
                version: first_version + u64::from(index),
                busy: BTreeMap::new(),
                known: BTreeMap::new(),
                records: Vec::new(),
            };
            thread::spawn(move || {
                // What ends it is the end of the connection.
                let Err(_) = writer.run();
                writer.records
            })
        };
        Load { writers: (0..WRITERS).map(writer).collect(), _host: self }
    }
}

/// A load that goes on until the service ends.
pub(super) struct Load {
    writers: Vec<JoinHandle<Vec<Record>>>,
    _host: Host,
}

impl Load {
    /// Whether a writer has given up already.
    pub(super) fn has_ended(&self) -> bool {
        self.writers.iter().any(JoinHandle::is_finished)
    }

    /// What was asked for and what was acknowledged, once the service has ended. Writers have no block
    /// in common, so the order between them says nothing.
    pub(super) fn journal(self) -> Vec<Record> {
        self.writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    }
}

#[derive(Debug, Clone, Copy)]
enum Asked {
    Read { first: u64 },
    Write { first: u64, blocks: u64, version: u64 },
    Flush,
}

/// One queue. No two of its commands are in one chunk.
struct Writer {
    queue: Queue,
    rng: Rng,
    chunks: Vec<u64>,
    version: u64,
    busy: BTreeMap<u64, Asked>,
    /// The last acknowledged write of this life, by block.
    known: BTreeMap<u64, u64>,
    records: Vec<Record>,
}

impl Writer {
    fn run(&mut self) -> io::Result<std::convert::Infallible> {
        loop {
            while self.busy.len() < DEPTH && self.ask()? {}
            let (number, cqe, bytes) = self.queue.next()?;
            let asked = self.busy.remove(&number).unwrap();
            let status = cqe.status();
            // Redundancy is never exceeded: nothing may fail but because the service ends, and then the
            // connection does.
            assert!(status.is_ok(), "{asked:?}: {status:?}");
            self.finish(asked, &bytes);
        }
    }

    /// Sends one more command, if the chunk that comes up is free.
    fn ask(&mut self) -> io::Result<bool> {
        if self.rng.one_in(64) {
            let number = self.queue.submit(flush(NSID), Vec::new())?.unwrap();
            self.busy.insert(number, Asked::Flush);
            return Ok(true);
        }
        let chunk = self.chunks[self.rng.below(self.chunks.len())];
        let in_use: BTreeSet<u64> = self.busy.values().filter_map(Asked::chunk).collect();
        if in_use.contains(&chunk) {
            return Ok(false);
        }
        let blocks = [1, 1, 2, 7, 16, CHUNK_BLOCKS][self.rng.below(6)];
        let within = self.rng.below((CHUNK_BLOCKS - blocks + 1) as usize) as u64;
        let first = chunk * CHUNK_BLOCKS + within;
        let bytes = blocks as usize * BLOCK;
        let (asked, command, buffer) = if self.rng.one_in(5) {
            let command = read(NSID, first, blocks as u32, BLOCK as u32);
            (Asked::Read { first }, command, vec![0; bytes])
        } else {
            let version = self.version;
            self.version += u64::from(WRITERS);
            self.records.push(Record { said: Said::Begun, first_block: first, blocks, version });
            let command = write(NSID, first, blocks as u32, BLOCK as u32, self.rng.one_in(16));
            let data = stamped(first, blocks as usize, version);
            (Asked::Write { first, blocks, version }, command, data)
        };
        let number = self.queue.submit(command, buffer)?.unwrap();
        self.busy.insert(number, asked);
        Ok(true)
    }

    fn finish(&mut self, asked: Asked, bytes: &[u8]) {
        match asked {
            Asked::Flush => {}
            Asked::Write { first, blocks, version } => {
                let said = Said::Done;
                self.records.push(Record { said, first_block: first, blocks, version });
                self.known.extend((first..first + blocks).map(|block| (block, version)));
            }
            Asked::Read { first } => {
                for (block, bytes) in (first..).zip(bytes.chunks_exact(BLOCK)) {
                    let Some(known) = self.known.get(&block) else { continue };
                    let found = version_of(block, bytes);
                    assert_eq!(found, Some(*known), "block {block} does not hold that write");
                }
            }
        }
    }
}

impl Asked {
    fn chunk(&self) -> Option<u64> {
        match self {
            Self::Read { first } | Self::Write { first, .. } => Some(first / CHUNK_BLOCKS),
            Self::Flush => None,
        }
    }
}
