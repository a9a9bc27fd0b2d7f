//! Arrays under random load from several reactors at once, against a plain byte array.
//!
//! Goal: reads return the last bytes written and at the end every stripe's parity is right, healthy,
//! degraded from the start and degraded under load. Method: requests in flight together never overlap
//! in bytes, so the model is exact; they share stripes and rows all the time. The members are read back
//! with the array stopped.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod support;

use array::RaidBdev;
use device::{Bdev, BdevIo, IoOp, IoStatus, Sgl};
use raid::layout::{Layout, Level};
use raid::units::Slot;
use reactor::Reactors;
use reactor::memory::IoBufMut;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use support::{Remote, Rng, create, malloc, spec, two_reactors, wrong_stripes};

const BLOCK: usize = 4096;
const STRIP: u32 = 16 << 10;

struct Load {
    rng: Rng,
    remotes: Vec<Remote>,
    model: Vec<u8>,
    flying: BTreeMap<u64, Flying>,
    next: u64,
}

struct Flying {
    range: Range<usize>,
    written: Option<Vec<u8>>,
}

impl Load {
    fn new(seed: u64, reactors: &Reactors, bdev: &Arc<dyn Bdev>) -> Self {
        let remotes: Vec<_> = reactors.handles().iter().map(|r| Remote::open(r, bdev)).collect();
        let model = remotes[0].read_all(bdev.info().size_bytes()).unwrap();
        Self { rng: Rng(seed), remotes, model, flying: BTreeMap::new(), next: 0 }
    }

    fn submit(&mut self) {
        let blocks = self.model.len() / BLOCK;
        let longest = [2, 5, 40, 200][self.rng.below(4)];
        let start = self.rng.below(blocks);
        let len = (1 + self.rng.below(longest)).min(blocks - start) * BLOCK;
        let range = start * BLOCK..start * BLOCK + len;
        let overlaps = |f: &Flying| f.range.start < range.end && range.start < f.range.end;
        if self.flying.values().any(overlaps) {
            return;
        }
        let (token, offset) = (self.next, range.start as u64);
        self.next += 1;
        let (io, written) = match self.rng.below(8) {
            0..3 => (BdevIo::read(token, offset, self.buffers(len)), None),
            3 => {
                let fua = self.rng.one_in(2);
                (BdevIo::write_zeroes(token, offset, len as u64, fua), Some(vec![0; len]))
            }
            4 => (BdevIo::unmap(token, offset, len as u64), Some(vec![0; len])),
            _ => {
                let data = self.rng.bytes(len);
                let fua = self.rng.one_in(8);
                (BdevIo::write(token, offset, self.filled(&data), fua), Some(data))
            }
        };
        self.flying.insert(token, Flying { range, written });
        let remote = self.rng.below(self.remotes.len());
        self.remotes[remote].submit(io);
    }

    /// One buffer, or several whose borders are not those of blocks.
    fn buffers(&mut self, len: usize) -> Sgl<IoBufMut> {
        if self.rng.one_in(3) {
            let mut list = Vec::new();
            let mut left = len;
            while left > 0 {
                let part = (1 + self.rng.below(3)) * 512;
                let part = part.min(left);
                list.push(IoBufMut::heap(part));
                left -= part;
            }
            Sgl::Many(list)
        } else {
            Sgl::One(IoBufMut::heap(len))
        }
    }

    fn filled(&mut self, data: &[u8]) -> Sgl<reactor::memory::IoBuf> {
        let mut at = 0;
        let mut fill = |mut buffer: IoBufMut| {
            let len = buffer.len();
            buffer.copy_from_slice(&data[at..at + len]);
            at += len;
            buffer.freeze()
        };
        match self.buffers(data.len()) {
            Sgl::One(buffer) => Sgl::One(fill(buffer)),
            Sgl::Many(list) => Sgl::Many(list.into_iter().map(fill).collect()),
        }
    }

    fn collect(&mut self) -> usize {
        let mut count = 0;
        for index in 0..self.remotes.len() {
            while let Some(done) = self.remotes[index].try_answer() {
                count += 1;
                let flying = self.flying.remove(&done.io.token).expect("answered once");
                let Flying { range, written } = flying;
                assert_eq!(done.status, IoStatus::Ok, "{range:?}");
                assert_eq!(done.io.offset_bytes, range.start as u64);
                assert_eq!(done.io.len_bytes, range.len() as u64);
                match (done.io.op, written) {
                    (IoOp::Read { into }, None) => {
                        let found = into.segments().map(|s| &s[..]).collect::<Vec<_>>().concat();
                        assert!(found == self.model[range.clone()], "read of {range:?}");
                    }
                    (_, Some(data)) => self.model[range].copy_from_slice(&data),
                    (op, None) => panic!("a read came back as {op:?}"),
                }
            }
        }
        count
    }

    fn run(&mut self, requests: u64) {
        let end = self.next + requests;
        while self.next < end {
            if self.flying.len() < 48 {
                self.submit();
            }
            self.collect();
        }
    }

    fn settle(&mut self) {
        while !self.flying.is_empty() {
            if self.collect() == 0 {
                std::thread::yield_now();
            }
        }
    }
}

/// Stops the array and looks at what is on its members.
fn assert_members_right(
    array: &Arc<RaidBdev>,
    reactors: &Reactors,
    members: &[Option<Arc<dyn Bdev>>],
    model: &[u8],
) {
    let geometry = array.geometry().clone();
    array.stop().unwrap();
    let contents: Vec<Option<Vec<u8>>> = members
        .iter()
        .map(|member| {
            let member = member.as_ref()?;
            let remote = Remote::open(&reactors.handles()[0], member);
            Some(remote.read_all(member.info().size_bytes()).unwrap())
        })
        .collect();
    assert_eq!(wrong_stripes(&geometry, &contents, model), []);
}

fn arrays() -> Vec<(Level, Layout, usize)> {
    vec![
        (Level::Raid4, Layout::ParityFirst, 4),
        (Level::Raid5, Layout::LeftSymmetric, 5),
        (Level::Raid5, Layout::RightAsymmetric, 3),
        (Level::Raid6, Layout::LeftSymmetric, 6),
        (Level::Raid6, Layout::NContinue, 7),
    ]
}

fn members(count: usize) -> Vec<Option<Arc<dyn Bdev>>> {
    (0..count).map(|i| Some(malloc(&format!("m{i}"), 512, 40 * u64::from(STRIP)))).collect()
}

#[test]
fn healthy_arrays_behave_like_a_byte_array() {
    let reactors = two_reactors();
    for (seed, (level, layout, count)) in (1..).zip(arrays()) {
        let members = members(count);
        let (array, bdev) = create(&reactors, spec(level, layout, STRIP, members.clone()));
        let mut load = Load::new(seed, &reactors, &bdev);
        load.run(1200);
        load.settle();
        let model = std::mem::take(&mut load.model);
        assert_members_right(&array, &reactors, &members, &model);
    }
    reactors.stop();
}

#[test]
fn degraded_arrays_behave_like_a_byte_array() {
    let reactors = two_reactors();
    for (seed, (level, layout, count)) in (10..).zip(arrays()) {
        let mut members = members(count);
        let (array, bdev) = create(&reactors, spec(level, layout, STRIP, members.clone()));
        let remote = Remote::open(&reactors.handles()[0], &bdev);
        let data = Rng(seed).bytes(bdev.info().size_bytes() as usize);
        remote.write_all(&data);
        array.stop().unwrap();
        for slot in 0..level.parity_count() {
            members[(slot + seed as usize) % count] = None;
        }
        let (array, bdev) = create(&reactors, spec(level, layout, STRIP, members.clone()));
        let mut load = Load::new(seed, &reactors, &bdev);
        assert!(load.model == data, "a degraded {level:?} reads other bytes");
        load.run(1000);
        load.settle();
        let model = std::mem::take(&mut load.model);
        assert_members_right(&array, &reactors, &members, &model);
    }
    reactors.stop();
}

#[test]
fn members_removed_under_load_cost_no_byte() {
    let reactors = two_reactors();
    let mut degraded_reads = 0;
    for (seed, (level, layout, count)) in (20..).zip(arrays()) {
        let mut members = members(count);
        let (array, bdev) = create(&reactors, spec(level, layout, STRIP, members.clone()));
        let mut load = Load::new(seed, &reactors, &bdev);
        load.run(500);
        for _ in 0..level.parity_count() {
            let slot = loop {
                let slot = load.rng.below(count);
                if members[slot].is_some() {
                    break slot;
                }
            };
            array.remove_member(Slot(slot as u8)).unwrap();
            members[slot] = None;
            load.run(500);
        }
        let present = members.iter().position(Option::is_some).unwrap();
        let refused = array.remove_member(Slot(present as u8)).unwrap_err();
        assert_eq!(refused.errno(), -16, "{refused}");
        load.settle();
        let snapshot = array.snapshot();
        assert_eq!(snapshot.missing().count(), level.parity_count());
        degraded_reads += snapshot.shards.iter().map(|s| s.core.degraded_reads).sum::<u64>();
        let model = std::mem::take(&mut load.model);
        assert_members_right(&array, &reactors, &members, &model);
    }
    // Not of every array: the member that was removed may hold parity only.
    assert!(degraded_reads > 0);
    reactors.stop();
}

#[test]
fn resync_under_load_makes_parity_right() {
    let reactors = two_reactors();
    for (seed, (level, layout, count)) in (30..).zip(arrays()) {
        let members = members(count);
        let mut rng = Rng(seed);
        for member in members.iter().flatten() {
            let garbage = rng.bytes(member.info().size_bytes() as usize);
            Remote::open(&reactors.handles()[0], member).write_all(&garbage);
        }
        let mut spec = spec(level, layout, STRIP, members.clone());
        spec.assume_clean = false;
        let (array, bdev) = create(&reactors, spec);
        let mut load = Load::new(seed, &reactors, &bdev);
        load.run(400);
        load.settle();
        loop {
            let snapshot = array.snapshot();
            if matches!(snapshot.action, raid::coordinator::Action::Idle)
                && snapshot.regions_in_sync == snapshot.regions
            {
                assert!(snapshot.mismatched_rows > 0);
                break;
            }
            std::thread::yield_now();
        }
        let model = std::mem::take(&mut load.model);
        assert_members_right(&array, &reactors, &members, &model);
    }
    reactors.stop();
}

/// Goal: an array is a bdev like any other. Method: a RAID 5 over three RAID 5s, the same load.
#[test]
fn an_array_can_be_a_member_of_another() {
    let reactors = two_reactors();
    let (mut lower, mut tops) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (array, bdev) =
            create(&reactors, spec(Level::Raid5, Layout::LeftSymmetric, STRIP, members(3)));
        lower.push(array);
        tops.push(Some(bdev));
    }
    let upper = spec(Level::Raid5, Layout::LeftSymmetric, 2 * STRIP, tops.clone());
    let (array, bdev) = create(&reactors, upper);
    let mut load = Load::new(40, &reactors, &bdev);
    load.run(800);
    array.remove_member(Slot(1)).unwrap();
    tops[1] = None;
    load.run(400);
    load.settle();
    let model = std::mem::take(&mut load.model);
    assert_members_right(&array, &reactors, &tops, &model);
    for array in lower {
        array.stop().unwrap();
    }
    reactors.stop();
}

#[test]
fn a_stopped_array_answers_gone() {
    let reactors = two_reactors();
    let (array, bdev) =
        create(&reactors, spec(Level::Raid5, Layout::LeftSymmetric, STRIP, members(4)));
    let remote = Remote::open(&reactors.handles()[0], &bdev);
    assert_eq!(remote.write(0, &[7; BLOCK]), IoStatus::Ok);
    array.stop().unwrap();
    assert_eq!(remote.write(0, &[8; BLOCK]), IoStatus::Gone);
    assert_eq!(remote.read(0, BLOCK), Err(IoStatus::Gone));
    array.stop().expect("a second stop does nothing");
    let again = reactors.handles()[0].call(move |cx| bdev.open_channel(cx).map(|_| ()));
    assert!(again.unwrap().is_err());
    reactors.stop();
}
