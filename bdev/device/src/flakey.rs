//! The flakey bdev: dm-flakey, a disk that is well for a while and misbehaves for a while.
//!
//! ```text
//!   created                                          time -->
//!     |<-- up: all pass -->|<-- down: judged -->|<-- up -->|...
//! ```
//!
//! What is judged is decided when a request comes, by dm's rules: without any feature all fails; else
//! reads fail (`error_reads`), writes are dropped or fail, one byte of a request gets a value, and what no
//! feature is for passes. As in dm everything but reads counts as a write, flushes too. Flags that a
//! corruption may ask for are those of Linux 6.1's `bi_opf` (include/linux/blk_types.h); a request here has
//! its direction (bit 0) and `REQ_FUA` (bit 17), so others never match.
//!
//! Invariants: R6 (what was answered here counts as in flight).
//!
//! Not here: failures that are told one by one (`error`), a table's words (the service).

use std::collections::VecDeque;
use std::sync::Arc;

use reactor::memory::{IoBuf, IoBufMut};
use reactor::{Cx, Ticks, TurnClock, clock};
use uuid::Uuid;

use crate::bdev::{Bdev, BdevInfo, IoChannel, Leeway, OpenError};
use crate::io::{BdevIo, Completion, IoOp, IoStatus, Sgl};
use crate::limits::{CHANNEL_IN_FLIGHT_MAX, COMPLETIONS_PER_POLL_MAX};
use crate::stacked::{Likeness, Slots};

/// `REQ_FUA`.
const FLAG_FUA: u32 = 1 << 17;

/// What becomes of writes while it is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlakeyWrites {
    /// They are dropped and succeed.
    Drop,
    /// They fail.
    Error,
}

/// A byte that is made wrong while it is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlakeyByte {
    /// Which byte of a request, from 1. Shorter requests stay as they are.
    pub nth: u32,
    /// Of writes, not of reads.
    pub of_writes: bool,
    /// What it becomes.
    pub value: u8,
    /// Only of requests that have all these flags.
    pub flags: u32,
}

/// How it misbehaves; without anything all fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlakeyFeatures {
    /// Reads fail.
    pub error_reads: bool,
    /// What becomes of writes.
    pub writes: Option<FlakeyWrites>,
    /// A byte that is made wrong.
    pub corrupt: Option<FlakeyByte>,
}

/// What a flakey bdev is made from.
#[derive(Clone, Debug)]
pub struct FlakeySpec {
    /// Unique name in the service.
    pub name: String,
    /// Drawn at random when absent.
    pub uuid: Option<Uuid>,
    /// What it stands on.
    pub base: Arc<dyn Bdev>,
    /// Seconds for which everything passes.
    pub up_s: u32,
    /// Seconds for which it misbehaves after that; 0 with an `up_s` of 0 is never.
    pub down_s: u32,
    /// How.
    pub features: FlakeyFeatures,
}

/// A bdev that is down now and then.
#[derive(Debug)]
pub struct FlakeyBdev {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    likeness: Likeness,
    base: Arc<dyn Bdev>,
    created: Ticks,
    up: Ticks,
    down: Ticks,
    features: FlakeyFeatures,
}

impl FlakeyBdev {
    /// Makes the device; its first interval begins now.
    #[must_use]
    pub fn create(spec: FlakeySpec) -> Arc<Self> {
        let FlakeySpec { name, uuid, base, up_s, down_s, features } = spec;
        Arc::new(Self {
            shared: Arc::new(Shared {
                likeness: Likeness::new(name, uuid, "Flakey disk"),
                base,
                created: clock::now(),
                up: Ticks::from_secs(u64::from(up_s)),
                down: Ticks::from_secs(u64::from(down_s)),
                features,
            }),
        })
    }

    /// The bdev that it stands on.
    #[must_use]
    pub fn base(&self) -> &Arc<dyn Bdev> {
        &self.shared.base
    }
}

impl Bdev for FlakeyBdev {
    fn info(&self) -> Arc<BdevInfo> {
        Arc::new(self.shared.likeness.of(&self.shared.base.info()))
    }

    fn leeway(&self) -> Leeway {
        self.shared.base.leeway()
    }

    fn open_channel(&self, cx: &mut Cx) -> Result<Box<dyn IoChannel>, OpenError> {
        Ok(Box::new(FlakeyChannel {
            base: self.shared.base.open_channel(cx)?,
            shared: Arc::clone(&self.shared),
            clock: cx.turn_clock(),
            slots: Slots::new(),
            ready: VecDeque::with_capacity(CHANNEL_IN_FLIGHT_MAX),
            in_flight: 0,
        }))
    }
}

/// Whether it is down at `age` after it was made.
fn is_down(age: Ticks, up: Ticks, down: Ticks) -> bool {
    let (age, up, down) = (age.as_nanos(), up.as_nanos(), down.as_nanos());
    age.checked_rem(up.saturating_add(down)).is_some_and(|at| at >= up)
}

/// What is to become of a request while it is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Succeed,
    Fail,
    /// This byte becomes that.
    Corrupt(usize, u8),
}

fn judge(op: &IoOp, features: &FlakeyFeatures) -> Verdict {
    let FlakeyFeatures { error_reads, writes, corrupt } = *features;
    if !error_reads && writes.is_none() && corrupt.is_none() {
        return Verdict::Fail;
    }
    let is_write = !matches!(op, IoOp::Read { .. });
    match (is_write, writes) {
        (false, _) if error_reads => return Verdict::Fail,
        (true, Some(FlakeyWrites::Drop)) => return Verdict::Succeed,
        (true, Some(FlakeyWrites::Error)) => return Verdict::Fail,
        _ => {}
    }
    let len_bytes = match op {
        IoOp::Read { into } => into.len_bytes(),
        IoOp::Write { from, .. } => from.len_bytes(),
        IoOp::Flush | IoOp::Unmap | IoOp::WriteZeroes { .. } => 0,
    };
    let fua = matches!(op, IoOp::Write { fua: true, .. });
    let flags = u32::from(is_write) | if fua { FLAG_FUA } else { 0 };
    match corrupt {
        Some(FlakeyByte { nth, of_writes, value, flags: wanted })
            if of_writes == is_write
                && flags & wanted == wanted
                && (1..=len_bytes).contains(&u64::from(nth)) =>
        {
            Verdict::Corrupt(nth as usize - 1, value)
        }
        _ => Verdict::Pass,
    }
}

/// What is to be done with a request when it is back.
#[derive(Debug)]
enum Mark {
    Nothing,
    /// This byte of what was read becomes that.
    Read(usize, u8),
    /// The base got other bytes; these are the submitter's.
    Swapped(Sgl<IoBuf>),
}

struct FlakeyChannel {
    shared: Arc<Shared>,
    base: Box<dyn IoChannel>,
    clock: TurnClock,
    /// The submitter's token.
    slots: Slots<(u64, Mark)>,
    /// Answered here.
    ready: VecDeque<Completion>,
    /// Requests between `submit` and `poll`, wherever they are.
    in_flight: usize,
}

impl FlakeyChannel {
    fn send(&mut self, mut io: BdevIo, mark: Mark) -> Result<(), BdevIo> {
        let token = io.token;
        io.token = self.slots.put((token, mark));
        self.base.submit(io).map_err(|mut io| {
            let (token, mark) = self.slots.take(io.token);
            io.token = token;
            restore(&mut io, mark, false);
            io
        })
    }
}

impl IoChannel for FlakeyChannel {
    fn submit(&mut self, mut io: BdevIo) -> Result<(), BdevIo> {
        if self.in_flight == CHANNEL_IN_FLIGHT_MAX {
            return Err(io);
        }
        let Shared { created, up, down, features, .. } = &*self.shared;
        let verdict = match is_down(self.clock.now() - *created, *up, *down) {
            true => judge(&io.op, features),
            false => Verdict::Pass,
        };
        match verdict {
            Verdict::Pass => self.send(io, Mark::Nothing)?,
            Verdict::Succeed | Verdict::Fail => {
                // What no disk would serve is refused as one would.
                let status = match self.shared.base.info().admit(&io) {
                    Err(refused) => refused,
                    Ok(()) if verdict == Verdict::Fail => IoStatus::MediaError,
                    Ok(()) => IoStatus::Ok,
                };
                self.ready.push_back(io.complete(status));
            }
            Verdict::Corrupt(at, value) => {
                let mark = corrupted(&mut io, at, value);
                self.send(io, mark)?;
            }
        }
        self.in_flight += 1;
        Ok(())
    }

    fn poll(&mut self, done: &mut Vec<Completion>) -> usize {
        let before = done.len();
        self.base.poll(done);
        for completion in &mut done[before..] {
            let (token, mark) = self.slots.take(completion.io.token);
            completion.io.token = token;
            restore(&mut completion.io, mark, completion.status.is_ok());
        }
        let room = COMPLETIONS_PER_POLL_MAX.saturating_sub(done.len() - before);
        done.extend(self.ready.drain(..self.ready.len().min(room)));
        let count = done.len() - before;
        self.in_flight -= count;
        count
    }
}

/// A request that will move a wrong byte: a write gets other buffers, a read is changed when it is back.
fn corrupted(io: &mut BdevIo, at: usize, value: u8) -> Mark {
    let IoOp::Write { from, .. } = &mut io.op else { return Mark::Read(at, value) };
    let mut copy = IoBufMut::heap(usize::try_from(from.len_bytes()).unwrap_or(usize::MAX));
    let mut filled = 0;
    for segment in from.segments() {
        copy[filled..filled + segment.len()].copy_from_slice(segment);
        filled += segment.len();
    }
    copy[at] = value;
    Mark::Swapped(std::mem::replace(from, Sgl::One(copy.freeze())))
}

fn restore(io: &mut BdevIo, mark: Mark, was_read: bool) {
    match (mark, &mut io.op) {
        (Mark::Read(mut at, value), IoOp::Read { into }) if was_read => {
            for segment in into.segments_mut() {
                if let Some(byte) = segment.get_mut(at) {
                    *byte = value;
                    return;
                }
                at -= segment.len();
            }
        }
        (Mark::Swapped(original), IoOp::Write { from, .. }) => *from = original,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::backends::memory;
    use crate::conformance::rig::{Rig, buffer_of, contents};

    /// Goal: up and down alternate from the beginning on. Method: every second of some periods.
    #[test]
    fn intervals_alternate() {
        let seconds = Ticks::from_secs;
        for (up, down, expected) in [
            (2, 1, "..#..#..#"),
            (0, 1, "#########"),
            (3, 0, "........."),
            (0, 0, "........."),
            (1, 3, ".###.###."),
        ] {
            let seen: String = (0..9)
                .map(
                    |age| if is_down(seconds(age), seconds(up), seconds(down)) { '#' } else { '.' },
                )
                .collect();
            assert_eq!(seen, expected, "up {up} down {down}");
        }
        let almost = seconds(2) - Ticks::from_micros(1);
        assert!(!is_down(almost, seconds(2), seconds(1)));
    }

    /// Goal: dm-flakey's rules. Method: every combination of features with every kind of request, against
    /// the table of its documentation.
    #[test]
    fn every_feature_for_every_kind() {
        let ops = || {
            [
                IoOp::Read { into: Sgl::One(IoBufMut::heap(512)) },
                IoOp::Write { from: Sgl::One(IoBufMut::heap(512).freeze()), fua: false },
                IoOp::Write { from: Sgl::One(IoBufMut::heap(512).freeze()), fua: true },
                IoOp::Flush,
                IoOp::Unmap,
                IoOp::WriteZeroes { fua: true },
            ]
        };
        let byte = |nth, of_writes, flags| FlakeyByte { nth, of_writes, value: 7, flags };
        let corruptions = [
            None,
            Some(byte(512, false, 0)),
            Some(byte(513, false, 0)),
            Some(byte(1, true, 0)),
            Some(byte(1, true, FLAG_FUA)),
            Some(byte(1, false, 1 << 12)),
        ];
        for error_reads in [false, true] {
            for writes in [None, Some(FlakeyWrites::Drop), Some(FlakeyWrites::Error)] {
                for corrupt in corruptions {
                    let features = FlakeyFeatures { error_reads, writes, corrupt };
                    for (kind, op) in ops().iter().enumerate() {
                        let expected = match (kind, writes, corrupt) {
                            _ if features == FlakeyFeatures::default() => Verdict::Fail,
                            (0, ..) if error_reads => Verdict::Fail,
                            (0, _, Some(c)) if c == byte(512, false, 0) => Verdict::Corrupt(511, 7),
                            (0, ..) => Verdict::Pass,
                            (_, Some(FlakeyWrites::Drop), _) => Verdict::Succeed,
                            (_, Some(FlakeyWrites::Error), _) => Verdict::Fail,
                            (1 | 2, _, Some(c)) if c == byte(1, true, 0) => Verdict::Corrupt(0, 7),
                            (2, _, Some(c)) if c == byte(1, true, FLAG_FUA) => {
                                Verdict::Corrupt(0, 7)
                            }
                            _ => Verdict::Pass,
                        };
                        assert_eq!(judge(op, &features), expected, "{features:?} {op:?}");
                    }
                }
            }
        }
    }

    fn always_down(features: FlakeyFeatures) -> (Arc<dyn Bdev>, Rig) {
        let base = memory(512);
        let spec = FlakeySpec {
            name: "f0".into(),
            uuid: None,
            base: Arc::clone(&base),
            up_s: 0,
            down_s: 1,
            features,
        };
        (base, Rig::new(&*FlakeyBdev::create(spec)))
    }

    /// Goal: what is corrupted is one byte on its way; the submitter's buffers stay its own.
    #[test]
    fn bytes_go_wrong() {
        for of_writes in [false, true] {
            let corrupt = Some(FlakeyByte { nth: 600, of_writes, value: 0xee, flags: 0 });
            let (base, mut rig) =
                always_down(FlakeyFeatures { corrupt, ..FlakeyFeatures::default() });
            let from = vec![buffer_of(&[1; 512]), buffer_of(&[2; 512])];
            let done = rig.run(BdevIo::write(5, 0, Sgl::Many(from), false));
            assert_eq!((done.status, done.io.token), (IoStatus::Ok, 5));
            let clean = [[1; 512], [2; 512]].concat();
            assert_eq!(contents(&done.io), clean);
            let mut wrong = clean.clone();
            wrong[599] = 0xee;
            assert_eq!(Rig::new(&*base).read(0, 1024), if of_writes { &*wrong } else { &*clean });
            let into = vec![IoBufMut::heap(512), IoBufMut::heap(512)];
            assert_eq!(contents(&rig.run(BdevIo::read(0, 0, Sgl::Many(into))).io), wrong);
        }
    }

    /// Goal: dropped writes succeed and are not there; failing everything fails flushes too; what is wrong
    /// is refused as ever.
    #[test]
    fn writes_are_dropped_and_all_fails() {
        let writes = Some(FlakeyWrites::Drop);
        let (_base, mut rig) = always_down(FlakeyFeatures { writes, ..FlakeyFeatures::default() });
        rig.write(0, &[3; 512]);
        assert_eq!(rig.read(0, 512), [0; 512]);
        let (_base, mut rig) = always_down(FlakeyFeatures::default());
        for (io, expected) in [
            (BdevIo::read(1, 0, IoBufMut::heap(512)), IoStatus::MediaError),
            (BdevIo::flush(2), IoStatus::MediaError),
            (BdevIo::unmap(3, 0, 512), IoStatus::MediaError),
            (BdevIo::unmap(3, 0, 100), IoStatus::InvalidRequest),
        ] {
            assert_eq!(rig.run(io).status, expected);
        }
    }
}
