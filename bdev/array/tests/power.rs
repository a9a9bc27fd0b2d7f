//! Power that is lost under load, with volatile caches on every device: what was flushed survives.
//!
//! ```text
//!   writes, flushes in flight --all caches cut at once, torn by a seed--> every device is gone
//!        ^                                                                       |
//!        '--- blocks compared, parity checked <-- assembled <-- power is back <--'
//! ```
//!
//! Goal: a block holds what was written last before the last flush that was acknowledged, or something
//! later; superblocks that were being written are one of the two; parity is right after the resync of the
//! dirty regions. Method: one reactor, so that no device has power a moment longer than another.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it is")]

mod support;

use array::{KnownRaid, RaidBdev, RaidOptions, RaidSpec, Tuning, probe};
use device::{Bdev, BdevIo, ErrorBdev, ErrorSpec, IoOp};
use raid::assemble::{Candidate, Patience, Seat, Verdict, assemble};
use raid::coordinator::Action;
use raid::event::WorkKind;
use raid::layout::{Layout, Level};
use raid::member::MemberState;
use reactor::memory::IoBufMut;
use reactor::{Reactors, Ticks, clock};
use std::sync::Arc;
use std::time::Duration;
use support::{Remote, Rng, malloc, reactors};
use uuid::Uuid;

const BLOCK: usize = 4096;
const STRIP: u32 = 16 << 10;
const MEMBER_BYTES: u64 = 3 << 20;
const OFFSET_BYTES: u64 = 1 << 20;
const REGION_BYTES: u64 = 64 << 10;
const DEPTH: usize = 12;

/// Rounds, unless `RAID456_POWER_ROUNDS` says otherwise.
const ROUNDS: u64 = 12;

/// What is known of one block, by numbers of writes.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// What it holds at least.
    durable: u64,
    /// What was acknowledged last.
    acked: u64,
    /// What was submitted last.
    begun: u64,
}

enum Flying {
    Write {
        first: usize,
        blocks: usize,
        version: u64,
        fua: bool,
    },
    /// With what was acknowledged when it was submitted.
    Flush(Vec<u64>),
}

struct World {
    reactors: Reactors,
    members: Vec<Arc<ErrorBdev>>,
    log: Arc<ErrorBdev>,
    blocks: Vec<Known>,
    version: u64,
    rng: Rng,
}

fn cached(name: &str, size_bytes: u64) -> Arc<ErrorBdev> {
    let base = malloc(&format!("{name} base"), BLOCK as u32, size_bytes);
    ErrorBdev::create(ErrorSpec { name: name.into(), uuid: None, base, volatile_cache: true })
}

fn bdev(device: &Arc<ErrorBdev>) -> Arc<dyn Bdev> {
    device.clone()
}

fn stamp(block: usize, version: u64) -> Vec<u8> {
    if version == 0 {
        return vec![0; BLOCK];
    }
    let mut bytes = Rng(version << 20 | block as u64).bytes(BLOCK);
    bytes[..8].copy_from_slice(&version.to_le_bytes());
    bytes
}

impl World {
    fn new(level: Level, members: usize, seed: u64) -> Self {
        let members: Vec<_> =
            (0..members).map(|slot| cached(&format!("m{slot}"), MEMBER_BYTES)).collect();
        Self {
            reactors: reactors("0"),
            log: cached("log", 1 << 20),
            blocks: Vec::new(),
            version: 0,
            rng: Rng(seed | 1),
            members,
        }
        .sized(level)
    }

    fn sized(mut self, level: Level) -> Self {
        let data = self.members.len() - level.parity_count();
        let blocks = data * (MEMBER_BYTES - OFFSET_BYTES) as usize / BLOCK;
        self.blocks = vec![Known::default(); blocks];
        self
    }

    fn create(&self, level: Level) -> Arc<RaidBdev> {
        let spec = RaidSpec {
            name: "r0".into(),
            uuid: None,
            level,
            layout: Layout::default_for(level),
            strip_bytes: STRIP,
            data_offsets_bytes: vec![OFFSET_BYTES; self.members.len()],
            members: self.members.iter().map(|member| Some(bdev(member))).collect(),
            assume_clean: false,
            options: RaidOptions {
                log: Some(bdev(&self.log)),
                region_bytes: Some(REGION_BYTES),
                superblock: true,
                ..RaidOptions::default()
            },
        };
        RaidBdev::create(self.reactors.handles(), spec).unwrap()
    }

    /// Puts the array together from what its members say, without force.
    fn assemble(&self, uuid: Uuid) -> Arc<RaidBdev> {
        let reactor = &self.reactors.handles()[0];
        let candidate = |member: &Arc<ErrorBdev>| Candidate {
            name: member.info().name.clone(),
            size_bytes: member.info().size_bytes(),
            found: probe(reactor, &bdev(member)).unwrap().superblock,
        };
        let candidates: Vec<_> = self.members.iter().map(candidate).collect();
        let verdict = assemble(uuid, &candidates, Patience::Wait).unwrap();
        let Verdict::Ready(assembly) = verdict else { panic!("{verdict:?}") };
        let member = |seat: &Seat| match seat {
            Seat::Taken { candidate, .. } => Some(bdev(&self.members[*candidate])),
            Seat::Empty { .. } => None,
        };
        let members = assembly.seats.iter().map(member).collect();
        let RaidOptions { rates, permit, io_timeout, .. } = RaidOptions::default();
        let known = KnownRaid {
            members,
            log: Some(bdev(&self.log)),
            rates,
            permit,
            io_timeout,
            force: false,
            events: None,
            name: None,
            metadata: Vec::new(),
            resync: false,
            tuning: Tuning::default(),
            assembly: *assembly,
        };
        RaidBdev::assemble(self.reactors.handles(), known).unwrap()
    }

    /// Writes and flushes until the power is gone, somewhere in the middle.
    fn load_and_cut(&mut self, array: &Arc<RaidBdev>) {
        let disk: Arc<dyn Bdev> = array.clone();
        let remote = Remote::open(&self.reactors.handles()[0], &disk);
        let mut flying: Vec<Option<Flying>> = (0..DEPTH).map(|_| None).collect();
        for _ in 0..20 + self.rng.below(150) {
            match flying.iter().position(Option::is_none) {
                Some(place) => flying[place] = self.submit(&remote, place, &flying),
                None => self.answered(&remote.answer(), &mut flying),
            }
        }
        let mut devices = self.members.clone();
        devices.push(self.log.clone());
        let seed = self.rng.next();
        let torn = !self.rng.one_in(3);
        let cut = move |_: &mut reactor::Cx| {
            for (index, device) in (0..).zip(&devices) {
                device.lose_power(torn.then_some(seed ^ index));
            }
        };
        self.reactors.handles()[0].call(cut).unwrap();
        while flying.iter().any(Option::is_some) {
            self.answered(&remote.answer(), &mut flying);
        }
    }

    fn submit(
        &mut self,
        remote: &Remote,
        place: usize,
        flying: &[Option<Flying>],
    ) -> Option<Flying> {
        let token = place as u64;
        if self.rng.one_in(12) {
            remote.submit(BdevIo::flush(token));
            return Some(Flying::Flush(self.blocks.iter().map(|known| known.acked).collect()));
        }
        let blocks = [1, 2, 5, 16][self.rng.below(4)];
        // A third of the array, so that regions stay clean.
        let first = self.rng.below(self.blocks.len() / 3);
        let busy = |flying: &Flying| match flying {
            Flying::Write { first: other, blocks: count, .. } => {
                *other < first + blocks && first < other + count
            }
            Flying::Flush(_) => false,
        };
        if flying.iter().flatten().any(busy) {
            return None;
        }
        self.version += 1;
        let (version, fua) = (self.version, self.rng.one_in(8));
        let bytes: Vec<u8> =
            (first..first + blocks).flat_map(|block| stamp(block, version)).collect();
        self.blocks[first..first + blocks].iter_mut().for_each(|known| known.begun = version);
        let from = IoBufMut::heap_copy(&bytes).freeze();
        remote.submit(BdevIo::write(token, (first * BLOCK) as u64, from, fua));
        Some(Flying::Write { first, blocks, version, fua })
    }

    fn answered(&mut self, done: &device::Completion, flying: &mut [Option<Flying>]) {
        let what = flying[done.io.token as usize].take().unwrap();
        if !done.status.is_ok() {
            return;
        }
        match what {
            Flying::Write { first, blocks, version, fua } => {
                for known in &mut self.blocks[first..first + blocks] {
                    known.acked = version;
                    if fua {
                        known.durable = version;
                    }
                }
            }
            Flying::Flush(acked) => {
                for (known, acked) in self.blocks.iter_mut().zip(acked) {
                    known.durable = known.durable.max(acked);
                }
            }
        }
        assert!(!matches!(done.io.op, IoOp::Read { .. }));
    }

    /// Compares every block with what it may hold; what it holds is durable from then on.
    fn compare(&mut self, array: &Arc<RaidBdev>, shown: &str) {
        let disk: Arc<dyn Bdev> = array.clone();
        let remote = Remote::open(&self.reactors.handles()[0], &disk);
        let bytes = remote.read_all(disk.info().size_bytes()).unwrap();
        assert_eq!(bytes.len(), self.blocks.len() * BLOCK);
        for (block, (found, known)) in bytes.chunks_exact(BLOCK).zip(&mut self.blocks).enumerate() {
            let version = u64::from_le_bytes(found[..8].try_into().unwrap());
            assert!(found == stamp(block, version), "{shown}: block {block} is torn: {known:?}");
            let possible = known.durable..=known.begun;
            assert!(possible.contains(&version), "{shown}: block {block}: {version}, {known:?}");
            *known = Known { durable: version, acked: version, begun: version };
        }
    }
}

/// Waits until the array is at rest, and in sync.
fn settle(array: &RaidBdev, shown: &str) {
    for _ in 0..60_000 {
        let now = array.snapshot();
        if now.action == Action::Idle && now.regions_in_sync == now.regions {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("{shown}: {:?}", array.snapshot());
}

fn check(array: &RaidBdev, shown: &str) -> u64 {
    array.request(WorkKind::Check).unwrap();
    for _ in 0..60_000 {
        let now = array.snapshot();
        if now.last_action == Some(WorkKind::Check) && now.action == Action::Idle {
            return now.mismatched_rows;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    panic!("{shown}: {:?}", array.snapshot());
}

fn survives_power_loss(level: Level, members: usize) {
    let number = |variable: &str, otherwise| {
        std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
    };
    let seed: u64 = number("RAID456_POWER_SEED", u64::from(std::process::id()));
    let mut world = World::new(level, members, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut array = world.create(level);
    let uuid = array.info().uuid;
    let (mut resynced, mut regions) = (0, 0);
    for round in 0..number("RAID456_POWER_ROUNDS", ROUNDS) {
        let shown = format!("{level}, RAID456_POWER_SEED={seed}, round {round}");
        world.load_and_cut(&array);
        // It has lost everything, and must not take long to find out.
        let begin = clock::now();
        assert!(array.stop().is_err(), "{shown}: stopped cleanly without power");
        assert!(clock::now() - begin < Ticks::from_secs(20), "{shown}: it took long to stop");
        for device in world.members.iter().chain([&world.log]) {
            device.restore_power();
        }
        array = world.assemble(uuid);
        let now = array.snapshot();
        resynced += now.regions - now.regions_in_sync;
        regions += now.regions;
        let states = now.members.iter().map(|member| member.state);
        assert!(states.clone().all(|state| state == MemberState::InSync), "{shown}: {now:?}");
        world.compare(&array, &shown);
        // Another loss may come before the resync has ended.
        if world.rng.one_in(3) {
            continue;
        }
        settle(&array, &shown);
        world.compare(&array, &shown);
        assert_eq!(check(&array, &shown), 0, "{shown}: rows with wrong parity");
    }
    settle(&array, "at the end");
    array.stop().unwrap();
    eprintln!("{level}, seed {seed}: {resynced} of {regions} regions resynced");
    world.reactors.stop();
}

#[test]
fn raid5_survives_power_loss() {
    survives_power_loss(Level::Raid5, 4);
}

#[test]
fn raid6_survives_power_loss() {
    survives_power_loss(Level::Raid6, 5);
}
