//! Rows of strips: read from some bdevs, added up, and written to another. What a rebuild does without
//! an array around it, and with one source a plain copy: the bound that a rebuild is held against.
//!
//! ```text
//!   reactor i of n takes rows i, i + n, ...; `depth` of them are under way:
//!
//!   begin --read--> source 0 ... source k --all back--> P of them --write--> target --> begin
//! ```
//!
//! The same channels, buffers and kernel as an array's, and nothing of what an array needs to be safe.
//!
//! Owns: `depth` rows under way on each reactor, of one strip of each source (R6).
//!
//! Not here: figures over time (`window`), other loads (`job`).

use arrayvec::ArrayVec;
use device::{Bdev, BdevIo, Completion, IoChannel, IoOp, IoStatus, OpenError, Sgl};
use parity::{Kernel, SOURCES_MAX};
use reactor::memory::IoBufMut;
use reactor::{Cx, Poller, PollerId, ReactorHandle, Stopped, clock};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use thiserror::Error;

/// What is read, and where the sum goes.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Every row is one strip of each.
    pub sources: Vec<Arc<dyn Bdev>>,
    /// Gets the sum of each row; with one source, its strips.
    pub target: Arc<dyn Bdev>,
    /// Bytes of a strip.
    pub strip_bytes: usize,
    /// Rows under way on each reactor.
    pub depth: usize,
    /// Bytes of each bdev that are walked over; what is left behind the last whole strip is not.
    pub len_bytes: u64,
}

/// Why rows were not all done.
#[derive(Debug, Error)]
pub enum RowsError {
    /// A reactor could not open a bdev.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A reactor has stopped.
    #[error("the rows were cut short: {0}")]
    Stopped(#[from] Stopped),
    /// A bdev did not do what it was asked.
    #[error("row {row}: a read or write failed: {status}")]
    Io {
        /// The row.
        row: u64,
        /// How.
        status: IoStatus,
    },
    /// No buffer, or a channel without room.
    #[error("row {row} finds no buffer, or a full channel: take a smaller depth, or larger pools")]
    Full {
        /// The row.
        row: u64,
    },
}

impl Rows {
    /// Walks over all rows once, and gives bytes a second of each bdev.
    ///
    /// # Errors
    /// [`RowsError`]; no row is under way any more then.
    ///
    /// # Panics
    /// On a reactor's thread.
    pub fn run(&self, reactors: &[ReactorHandle]) -> Result<f64, RowsError> {
        let begin = clock::now();
        let mut walks = Vec::new();
        let mut outcome = Ok(());
        for (index, reactor) in reactors.iter().enumerate() {
            let (rows, step) = (self.clone(), reactors.len() as u64);
            match reactor.call(move |cx| Walk::begin(&rows, index as u64, step, cx)) {
                Ok(Ok((id, ended))) => walks.push((reactor, id, ended)),
                Ok(Err(error)) => outcome = outcome.and(Err(error.into())),
                Err(stopped) => outcome = outcome.and(Err(stopped.into())),
            }
        }
        let mut ended_at = begin;
        for (reactor, id, ended) in walks {
            // A walk that is lost went with its reactor, which says so below.
            outcome = outcome.and(ended.recv().unwrap_or(Ok(())));
            ended_at = ended_at.max(clock::now());
            outcome = outcome.and(reactor.call(move |cx| cx.remove_poller(id)).map_err(Into::into));
        }
        outcome?;
        let walked_bytes = self.count() * self.strip_bytes as u64;
        Ok(walked_bytes as f64 * 1e9 / (ended_at - begin).as_nanos().max(1) as f64)
    }

    fn count(&self) -> u64 {
        self.len_bytes / self.strip_bytes as u64
    }
}

/// What is done with a place for a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Row {
    /// Nothing.
    Free,
    /// Strips of this row are read; so many are not back.
    Reading(u64, usize),
    /// Its sum is written.
    Writing(u64),
}

/// One reactor's share.
struct Walk {
    sources: Vec<Box<dyn IoChannel>>,
    target: Box<dyn IoChannel>,
    kernel: &'static dyn Kernel,
    strip_bytes: usize,
    /// By the token of their requests.
    rows: Vec<Row>,
    /// What has been read of each, by source.
    strips: Vec<Vec<Option<IoBufMut>>>,
    next: u64,
    step: u64,
    end: u64,
    /// Places that are not free.
    under_way: usize,
    failed: Option<RowsError>,
    done: Vec<Completion>,
    /// Until it is told.
    ended: Option<SyncSender<Result<(), RowsError>>>,
}

type Ended = Receiver<Result<(), RowsError>>;

impl Walk {
    fn begin(
        rows: &Rows,
        index: u64,
        step: u64,
        cx: &mut Cx,
    ) -> Result<(PollerId, Ended), OpenError> {
        let (ended, answer) = sync_channel(1);
        let open = |bdev: &Arc<dyn Bdev>| bdev.open_channel(cx);
        let sources = rows.sources.iter().map(open).collect::<Result<_, _>>()?;
        let mut walk = Self {
            sources,
            target: rows.target.open_channel(cx)?,
            kernel: parity::select(None).expect("no kernel is asked for by name"),
            strip_bytes: rows.strip_bytes,
            rows: vec![Row::Free; rows.depth],
            strips: (0..rows.depth).map(|_| rows.sources.iter().map(|_| None).collect()).collect(),
            next: index,
            step,
            end: rows.count(),
            under_way: 0,
            failed: None,
            done: Vec::new(),
            ended: Some(ended),
        };
        (0..rows.depth).for_each(|place| walk.read_row(place, cx));
        Ok((cx.add_poller(Box::new(walk)), answer))
    }

    /// Begins the next row, unless there is none or one has failed.
    fn read_row(&mut self, place: usize, cx: &Cx) {
        if self.next >= self.end || self.failed.is_some() {
            return;
        }
        let row = self.next;
        self.next += self.step;
        let mut pending = 0;
        for source in &mut self.sources {
            let submitted = cx.pool().alloc(self.strip_bytes).is_some_and(|into| {
                let offset_bytes = row * self.strip_bytes as u64;
                source.submit(BdevIo::read(place as u64, offset_bytes, into)).is_ok()
            });
            pending += usize::from(submitted);
            if !submitted {
                self.failed.get_or_insert(RowsError::Full { row });
            }
        }
        if pending > 0 {
            self.under_way += 1;
            self.rows[place] = Row::Reading(row, pending);
        }
    }

    fn read(&mut self, place: usize, source: usize, op: IoOp, status: IoStatus, cx: &Cx) {
        let Row::Reading(row, pending) = self.rows[place] else {
            panic!("a read of place {place} came back: {:?}", self.rows[place]);
        };
        match op {
            IoOp::Read { into: Sgl::One(strip) } if status.is_ok() => {
                self.strips[place][source] = Some(strip);
            }
            _ => drop(self.failed.get_or_insert(RowsError::Io { row, status })),
        }
        self.rows[place] = Row::Reading(row, pending - 1);
        if pending > 1 {
            return;
        }
        let written = self.failed.is_none()
            && self.sum(place, cx).is_some_and(|sum| {
                let offset_bytes = row * self.strip_bytes as u64;
                let io = BdevIo::write(place as u64, offset_bytes, sum.freeze(), false);
                self.target.submit(io).is_ok()
            });
        self.strips[place].fill_with(|| None);
        if written {
            self.rows[place] = Row::Writing(row);
        } else {
            self.failed.get_or_insert(RowsError::Full { row });
            self.free(place);
        }
    }

    fn written(&mut self, place: usize, status: IoStatus, cx: &Cx) {
        let Row::Writing(row) = self.rows[place] else {
            panic!("a write of place {place} came back: {:?}", self.rows[place]);
        };
        if !status.is_ok() {
            self.failed.get_or_insert(RowsError::Io { row, status });
        }
        self.free(place);
        self.read_row(place, cx);
    }

    fn free(&mut self, place: usize) {
        self.rows[place] = Row::Free;
        self.under_way -= 1;
    }

    /// The sum of what was read; `None` when there is no buffer for it.
    fn sum(&mut self, place: usize, cx: &Cx) -> Option<IoBufMut> {
        let strips = &mut self.strips[place];
        if let [strip] = &mut strips[..] {
            return strip.take();
        }
        let mut sum = cx.pool().alloc(self.strip_bytes)?;
        let sources: ArrayVec<&[u8], SOURCES_MAX> =
            strips.iter().flatten().map(|strip| &strip[..]).collect();
        self.kernel.xor_gen(&mut sum, &sources);
        Some(sum)
    }
}

impl Poller for Walk {
    fn name(&self) -> &str {
        "perf rows"
    }

    fn poll(&mut self, cx: &mut Cx) -> usize {
        let mut done = std::mem::take(&mut self.done);
        let mut count = 0;
        for source in 0..self.sources.len() {
            count += self.sources[source].poll(&mut done);
            for Completion { io, status } in done.drain(..) {
                self.read(io.token as usize, source, io.op, status, cx);
            }
        }
        count += self.target.poll(&mut done);
        for Completion { io, status } in done.drain(..) {
            self.written(io.token as usize, status, cx);
        }
        self.done = done;
        if self.under_way == 0
            && let Some(ended) = self.ended.take()
        {
            // Whoever asked waits for it.
            let _ = ended.send(self.failed.take().map_or(Ok(()), Err));
        }
        count
    }

    fn can_sleep(&self) -> bool {
        self.under_way == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::malloc;
    use reactor::{CpuSet, PollMode, Reactors, ReactorsConfig};

    const STRIP: usize = 4096;

    fn reactors(buffer_bytes: usize) -> Reactors {
        let cores = CpuSet::single(0);
        Reactors::start(ReactorsConfig { cores, poll: PollMode::Adaptive, buffer_bytes }).unwrap()
    }

    /// Has a bdev in memory do one request, and gives it back.
    fn done(reactor: &ReactorHandle, bdev: &Arc<dyn Bdev>, io: BdevIo) -> BdevIo {
        let bdev = Arc::clone(bdev);
        let answer = reactor.call(move |cx| {
            let mut channel = bdev.open_channel(cx).unwrap();
            channel.submit(io).unwrap();
            let mut done = Vec::new();
            while channel.poll(&mut done) == 0 {}
            done.remove(0)
        });
        let Completion { io, status } = answer.unwrap();
        assert_eq!(status, IoStatus::Ok);
        io
    }

    fn contents(reactor: &ReactorHandle, bdev: &Arc<dyn Bdev>, len: usize) -> Vec<u8> {
        let io = done(reactor, bdev, BdevIo::read(0, 0, IoBufMut::heap(len)));
        let IoOp::Read { into } = io.op else { panic!("a read came back as {:?}", io.op) };
        into.segments().flat_map(|segment| segment.to_vec()).collect()
    }

    /// Goal: the target holds the sum of the sources in every whole strip, and what it held in the rest.
    /// Method: one to three sources of known bytes, at depths below, at and above the number of rows.
    #[test]
    fn the_target_is_the_sum_of_the_sources() {
        let reactors = reactors(1 << 20);
        let reactor = &reactors.handles()[0];
        let (rows, size) = (7, 8 * STRIP);
        for count in 1..=3 {
            for depth in [1, 7, 16] {
                let mut sources = Vec::new();
                let mut right = vec![0; size];
                for source in 0..count {
                    let bdev = malloc(&format!("s{source}"), size as u64).unwrap();
                    let mut bytes = IoBufMut::heap(size);
                    for (at, byte) in bytes.iter_mut().enumerate() {
                        *byte = (at * (source + 3) / 251 + at) as u8;
                    }
                    let whole = (rows * STRIP).min(size);
                    right[..whole].iter_mut().zip(&bytes[..]).for_each(|(sum, byte)| *sum ^= byte);
                    done(reactor, &bdev, BdevIo::write(0, 0, bytes.freeze(), false));
                    sources.push(bdev);
                }
                let target = malloc("target", size as u64).unwrap();
                let len_bytes = (rows * STRIP + STRIP / 2) as u64;
                let walk =
                    Rows { sources, target: target.clone(), strip_bytes: STRIP, depth, len_bytes };
                assert!(walk.run(reactors.handles()).unwrap() > 0.0);
                assert!(
                    contents(reactor, &target, size) == right,
                    "{count} sources, depth {depth}"
                );
            }
        }
        reactors.stop();
    }

    /// Goal: what cannot be done is said, and nothing stays behind. Method: a target that is too small,
    /// and a pool that is.
    #[test]
    fn what_fails_is_said() {
        let small = reactors(64 << 10);
        let bdev = |size| malloc("m", size).unwrap();
        let rows = Rows {
            sources: vec![bdev(1 << 20), bdev(1 << 20)],
            target: bdev(5 * STRIP as u64),
            strip_bytes: STRIP,
            depth: 2,
            len_bytes: 1 << 20,
        };
        let error = rows.run(small.handles()).unwrap_err().to_string();
        assert!(error.starts_with("row 5: a read or write failed: "), "{error}");
        let error = Rows { depth: 64, ..rows }.run(small.handles()).unwrap_err().to_string();
        assert!(error.contains("finds no buffer, or a full channel: take a smaller"), "{error}");
        let stats = small.handles()[0].call(|cx| cx.pool_stats()[0]).unwrap();
        assert_eq!(stats.free_bytes, stats.bytes, "buffers of rows that were given up");
        small.stop();
    }
}
