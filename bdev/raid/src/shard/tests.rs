//! Shards and coordinator against a plain byte array.
//!
//! Goal: whatever the layout, the failures and the order in which members answer, every read returns
//! the last bytes written, and when all is quiet every parity that exists matches the data.
//! Method: a seeded world executes the actions on members in memory and answers them in random order;
//! requests in flight at the same time never overlap in bytes, so the model is exact, but they share
//! rows and stripes all the time. A failing seed is printed.

mod stripe_cache;

use super::*;
use crate::coordinator::tests::spec;
use crate::coordinator::{
    Action as Background, Coordinator, CoordinatorSpec, Input, Order, Orders,
};
use crate::dirty_log::{DirtyLog, Initially};
use crate::event::{Access, FailCause, Mismatch, WorkKind, span_at};
use crate::geometry::GeometrySpec;
use crate::layout::{Layout, Level};
use crate::member::MemberState;
use crate::plan::{ROLE_P, ROLE_Q, Recipe, Recovery, WriteKind};
use crate::rectangle::Span;
use crate::units::Slot;
use std::collections::BTreeMap;

mod math;

use math::{Rng, add_scaled, inverse, mul, power};

const STRIP: usize = 4096;
const BLOCK: usize = 512;

/// Something that a member or the coordinator will answer later.
enum Pending {
    Read(usize, Access),
    Write(usize, Access, Vec<u8>),
    Grant(usize, u64),
}

struct HostOp {
    start: usize,
    data: Vec<u8>,
    is_read: bool,
    pieces: usize,
}

struct World {
    seed: u64,
    rng: Rng,
    geometry: Arc<Geometry>,
    shards: Vec<Shard>,
    coordinator: Coordinator,
    members: Vec<Vec<u8>>,
    model: Vec<u8>,
    buffers: BTreeMap<(usize, OpId, u8), Vec<u8>>,
    pieces: BTreeMap<(usize, PieceId), usize>,
    hosts: BTreeMap<usize, HostOp>,
    next_host: usize,
    pending: Vec<Pending>,
    /// A member that fails one read in so many.
    flaky: Option<(Slot, usize)>,
    reads_checked: usize,
}

impl World {
    fn new(seed: u64, level: Level, layout: Layout, members: usize, initially: Initially) -> Self {
        let mut rng = Rng(seed * 0x9e37_79b9 + 1);
        let stripes = 8;
        let geometry = Arc::new(
            Geometry::new(GeometrySpec {
                level,
                layout,
                members,
                strip_bytes: STRIP as u32,
                block_size_bytes: BLOCK as u32,
                member_bytes: (stripes * STRIP) as u64,
                data_offsets_bytes: vec![0; members],
            })
            .expect("a valid geometry"),
        );
        let map = MemberMap::new(vec![MemberState::InSync; members]);
        let regions = Regions::new(2 * STRIP as u64, STRIP as u32, geometry.stripes());
        let count = 1 + rng.below(3);
        let in_sync = Bitmap::new(regions.count(), initially == Initially::InSync);
        let shards = (0..count)
            .map(|index| {
                let place = ShardPlace { index, count };
                let vouched = SlotSet::empty();
                Shard::new(geometry.clone(), map.clone(), place, regions, in_sync.clone(), vouched)
            })
            .collect();
        let coordinator = Coordinator::new(CoordinatorSpec {
            log: DirtyLog::new(regions.count(), initially),
            regions,
            shards: count,
            map,
            stale: Bitmap::new(regions.count(), false),
            // A stripe, so that a region is several stretches.
            stretch_bytes: STRIP as u64,
            strip_bytes: STRIP as u32,
            ..spec(members, geometry.parity_strips())
        });
        let mut contents = vec![vec![0; stripes * STRIP]; members];
        if initially == Initially::OutOfSync {
            for byte in contents.iter_mut().flatten() {
                *byte = rng.next() as u8;
            }
        }
        let mut world = Self {
            seed,
            rng,
            shards,
            coordinator,
            members: contents,
            model: Vec::new(),
            buffers: BTreeMap::new(),
            pieces: BTreeMap::new(),
            hosts: BTreeMap::new(),
            next_host: 0,
            pending: Vec::new(),
            flaky: None,
            reads_checked: 0,
            geometry,
        };
        world.model = world.data_on_members();
        world.tell(Input::Start);
        // Resync begins when a test asks for it.
        world.coordinator.interrupt(true, &mut Orders::new());
        world
    }

    /// Tells the coordinator, and does what it says.
    fn tell(&mut self, input: Input) {
        let mut orders = Orders::new();
        self.coordinator.handle(0, input, &mut orders);
        self.obey(orders);
    }

    fn start_resync(&mut self) {
        self.coordinator.request(WorkKind::Resync).expect("nothing else is running");
    }

    /// The array's contents as the data strips on the members say.
    fn data_on_members(&self) -> Vec<u8> {
        (0..self.geometry.array_bytes())
            .map(|byte| {
                let at = self.geometry.locate(byte);
                let slot = self.geometry.data_slot(self.geometry.rotation(at.stripe), at.strip);
                let offset = self.geometry.member_byte(slot, at.stripe, at.offset);
                self.members[slot.index()][offset as usize]
            })
            .collect()
    }

    /// Submits a random request that overlaps none in flight; `false` when it found no room.
    fn submit_random(&mut self) -> bool {
        let blocks = self.model.len() / BLOCK;
        let stripe_blocks = self.geometry.stripe_bytes() as usize / BLOCK;
        let longest = if self.rng.one_in(3) { 2 * stripe_blocks } else { 10 };
        let start = self.rng.below(blocks);
        let len = (1 + self.rng.below(longest)).min(blocks - start) * BLOCK;
        let start = start * BLOCK;
        let overlaps =
            |host: &HostOp| start < host.start + host.data.len() && host.start < start + len;
        if self.hosts.values().any(overlaps) {
            return false;
        }
        let is_read = self.rng.one_in(3);
        let data = (0..len).map(|_| if is_read { 0 } else { self.rng.next() as u8 }).collect();
        let host = self.next_host;
        self.next_host += 1;
        self.hosts.insert(host, HostOp { start, data, is_read, pieces: 0 });
        let kind = if is_read { PieceKind::Read } else { PieceKind::Write { fua: false } };
        let mut at = start as u64;
        let end = (start + len) as u64;
        while at < end {
            let location = self.geometry.locate(at);
            let span = span_at(location, STRIP as u32, u64::MAX);
            let len = (self.geometry.stripe_bytes() - span.start).min(end - at);
            let spec = PieceSpec {
                kind,
                stripe: location.stripe,
                span: span_at(location, STRIP as u32, len),
            };
            let shard = shard_of(location.stripe, self.shards.len());
            let piece = self.shards[shard].submit(spec).expect("far from full");
            self.pieces.insert((shard, piece), host);
            self.hosts.get_mut(&host).expect("just inserted").pieces += 1;
            at += len;
        }
        true
    }

    fn unplug(&mut self) {
        for shard in 0..self.shards.len() {
            let mut out = Actions::new();
            self.shards[shard].unplug(0, &mut out);
            self.execute(shard, out);
        }
        let mut orders = Orders::new();
        self.coordinator.unplug(0, 0, &mut orders);
        self.obey(orders);
    }

    fn handle(&mut self, shard: usize, event: Event) {
        let mut out = Actions::new();
        self.shards[shard].handle(0, event, &mut out);
        self.execute(shard, out);
    }

    fn execute(&mut self, shard: usize, mut actions: Actions) {
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Acquire { op, roles, len_bytes } => {
                    let held = self.buffers.keys().any(|&(s, ..)| s == shard);
                    let ok = !(held && self.rng.one_in(5));
                    if ok {
                        for role in roles.iter() {
                            let buffer = vec![0xee; len_bytes as usize];
                            let old = self.buffers.insert((shard, op, role), buffer);
                            assert!(old.is_none(), "a buffer was acquired twice");
                        }
                    }
                    self.shards[shard].handle(0, Event::Acquired { op, ok }, &mut actions);
                }
                Action::Read(access) => {
                    assert_eq!(self.shards[shard].map().state(access.slot), MemberState::InSync);
                    self.pending.push(Pending::Read(shard, access));
                }
                Action::Write { access, .. } => {
                    let map = self.shards[shard].map();
                    assert_eq!(map.state(access.slot), MemberState::InSync);
                    let region =
                        self.shards[shard].regions.of(self.shards[shard].op(access.op).stripe);
                    assert!(!self.coordinator.log().is_clean(region), "R1: write before mark");
                    let data = self.contents(shard, access.op, access.role);
                    self.pending.push(Pending::Write(shard, access, data));
                }
                Action::Compute { op, recipe } => {
                    let mismatch = self.compute(shard, op, recipe);
                    self.shards[shard].handle(0, Event::Computed { op, mismatch }, &mut actions);
                }
                Action::Release { op } => {
                    let range = (shard, op, 0)..=(shard, op, u8::MAX);
                    let keys: Vec<_> = self.buffers.range(range).map(|(&key, _)| key).collect();
                    for key in keys {
                        self.buffers.remove(&key);
                    }
                }
                Action::Complete { piece, status } => self.complete(shard, piece, status),
                Action::RequestLease { region } => self.tell(Input::Mark { shard, region }),
                Action::ReturnLease { region } => self.tell(Input::Release { region }),
                Action::WriteFailed { .. } => panic!("no write fails here"),
                Action::MemberFailed { slot, cause } => {
                    self.tell(Input::MemberFailed { slot, cause })
                }
                Action::ReadCorrected { slot } => self.tell(Input::ReadCorrected { slot }),
                Action::WorkDone { first, ok, mismatched_rows } => {
                    self.tell(Input::WorkDone { first, ok, mismatched_rows });
                }
                Action::Quiesced => self.tell(Input::Quiesced),
            }
        }
    }

    fn obey(&mut self, mut orders: Orders) {
        while let Some(order) = orders.pop_front() {
            match order {
                Order::Grant { shard, region } => self.pending.push(Pending::Grant(shard, region)),
                Order::RegionSync { region, in_sync } => {
                    self.all_handle(Event::RegionSync { region, in_sync });
                }
                Order::RegionRebuilt { region } => self.all_handle(Event::RegionRebuilt { region }),
                Order::StartWork(work) => self.all(|shard, out| shard.start_work(work, out)),
                Order::AbortWork => self.all(Shard::abort_work),
                Order::Quiesce => self.all(Shard::quiesce),
                Order::Resume { stale, writes } => {
                    let map = self.coordinator.map().clone();
                    let stale = stale.then(|| self.coordinator.stale().clone());
                    self.all(|shard, out| {
                        shard.resume(map.clone(), stale.clone(), writes, 0, out);
                    });
                }
                Order::AllowWrites => self.all(|shard, out| shard.allow_writes(0, out)),
                Order::FlushMember { slot } => self.tell(Input::MemberFlushed { slot, ok: true }),
                Order::Event(_) => {}
                order @ (Order::WriteLog { .. }
                | Order::FlushLog
                | Order::WriteSuperblock { .. }
                | Order::Stopped) => panic!("{order:?} of an array without log and superblocks"),
            }
        }
    }

    fn all(&mut self, act: impl Fn(&mut Shard, &mut Actions)) {
        for shard in 0..self.shards.len() {
            let mut out = Actions::new();
            act(&mut self.shards[shard], &mut out);
            self.execute(shard, out);
        }
    }

    fn all_handle(&mut self, event: Event) {
        self.all(|shard, out| shard.handle(0, event, out));
    }

    /// Answers one pending thing, picked at random.
    fn answer_one(&mut self) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let index = self.rng.below(self.pending.len());
        match self.pending.swap_remove(index) {
            Pending::Grant(shard, region) => self.handle(shard, Event::LeaseGranted { region }),
            Pending::Read(shard, access) => {
                let fails =
                    self.flaky.is_some_and(|(slot, n)| slot == access.slot && self.rng.one_in(n));
                let ok = !fails;
                if ok {
                    let start = access.offset_bytes as usize;
                    let end = start + access.len_bytes as usize;
                    let data = self.members[access.slot.index()][start..end].to_vec();
                    self.store(shard, access.op, access.role, data);
                }
                self.handle(shard, Event::ReadDone { op: access.op, role: access.role, ok });
            }
            Pending::Write(shard, access, data) => {
                let start = access.offset_bytes as usize;
                self.members[access.slot.index()][start..start + data.len()].copy_from_slice(&data);
                let (op, role) = (access.op, access.role);
                self.handle(shard, Event::WriteDone { op, role, ok: true });
            }
        }
        true
    }

    /// Contents of (op, role): the host's where a fragment brings them, else the buffer's.
    fn contents(&self, shard: usize, op: OpId, role: u8) -> Vec<u8> {
        let core = &self.shards[shard];
        let stripe_op = core.op(op);
        if !matches!(stripe_op.kind, OpKind::Write { .. }) || !stripe_op.strips.contains(role) {
            return self.buffers[&(shard, op, role)].clone();
        }
        let mut data = vec![None; stripe_op.len_bytes() as usize];
        for fragment in core.fragments(op).filter(|f| (f.first..=f.last).contains(&role)) {
            let host = &self.hosts[&self.pieces[&(shard, fragment.piece)]];
            let base = self.piece_start(core.piece(fragment.piece)) - host.start;
            let offset = core.piece(fragment.piece).buffer_offset(role, fragment.row, STRIP as u32);
            for i in 0..(fragment.row_end - fragment.row) as usize {
                let at = (fragment.row - stripe_op.row) as usize + i;
                assert!(data[at].is_none(), "two fragments bring the same byte");
                data[at] = Some(host.data[base + offset + i]);
            }
        }
        data.into_iter().map(|byte| byte.expect("fragments cover the rectangle")).collect()
    }

    fn piece_start(&self, spec: &PieceSpec) -> usize {
        (spec.stripe.0 * self.geometry.stripe_bytes() + spec.span.start) as usize
    }

    /// Puts what was read or recovered where it belongs.
    fn store(&mut self, shard: usize, op: OpId, role: u8, data: Vec<u8>) {
        let core = &self.shards[shard];
        let stripe_op = core.op(op);
        if stripe_op.kind != OpKind::Read || !stripe_op.strips.contains(role) {
            *self.buffers.get_mut(&(shard, op, role)).expect("acquired") = data;
            return;
        }
        let fragment = *core.fragments(op).next().expect("a read has one fragment");
        let spec = *core.piece(fragment.piece);
        let offset = spec.buffer_offset(role, stripe_op.row, STRIP as u32);
        let start = self.piece_start(&spec);
        let host = self.hosts.get_mut(&self.pieces[&(shard, fragment.piece)]).expect("in flight");
        let at = start - host.start + offset;
        host.data[at..at + data.len()].copy_from_slice(&data);
    }

    fn load(&self, shard: usize, op: OpId, role: u8) -> Vec<u8> {
        let core = &self.shards[shard];
        let stripe_op = core.op(op);
        if stripe_op.kind != OpKind::Read || !stripe_op.strips.contains(role) {
            return self.contents(shard, op, role);
        }
        let fragment = *core.fragments(op).next().expect("a read has one fragment");
        let spec = core.piece(fragment.piece);
        let host = &self.hosts[&self.pieces[&(shard, fragment.piece)]];
        let offset = spec.buffer_offset(role, stripe_op.row, STRIP as u32);
        let at = self.piece_start(spec) - host.start + offset;
        host.data[at..at + stripe_op.len_bytes() as usize].to_vec()
    }

    fn factor(&self, stripe: StripeId, role: u8, strip: u8) -> u8 {
        let rotation = self.geometry.rotation(stripe);
        if role == ROLE_P { 1 } else { power(self.geometry.q_exponent(rotation, strip)) }
    }

    fn compute(&mut self, shard: usize, op: OpId, recipe: Recipe) -> Mismatch {
        let (stripe, len, written) = {
            let op = self.shards[shard].op(op);
            (op.stripe, op.len_bytes() as usize, op.strips)
        };
        let strips = self.geometry.data_strips() as u8;
        match recipe {
            Recipe::None => {}
            Recipe::Delta(parities) => {
                for role in parities.roles().iter() {
                    let mut sum = self.buffers[&(shard, op, role)].clone();
                    for strip in written.iter() {
                        let factor = self.factor(stripe, role, strip);
                        add_scaled(&mut sum, &self.buffers[&(shard, op, strip)], factor);
                        add_scaled(&mut sum, &self.contents(shard, op, strip), factor);
                    }
                    self.store(shard, op, role, sum);
                }
            }
            Recipe::Generate(parities) => {
                for role in parities.roles().iter() {
                    let mut sum = vec![0; len];
                    for strip in 0..strips {
                        let factor = self.factor(stripe, role, strip);
                        add_scaled(&mut sum, &self.contents(shard, op, strip), factor);
                    }
                    self.store(shard, op, role, sum);
                }
            }
            Recipe::Recover(recovery) => self.recover(shard, op, recovery),
            Recipe::RecoverThenGenerate(recovery, parities) => {
                self.recover(shard, op, recovery);
                return self.compute(shard, op, Recipe::Generate(parities));
            }
            Recipe::RecoverThenCheck(recovery, parities) => {
                self.recover(shard, op, recovery);
                return self.compute(shard, op, Recipe::Check(parities));
            }
            Recipe::Check(parities) => {
                let mut mismatch = Mismatch::default();
                for role in parities.roles().iter() {
                    let mut sum = self.buffers[&(shard, op, role)].clone();
                    for strip in 0..strips {
                        let factor = self.factor(stripe, role, strip);
                        add_scaled(&mut sum, &self.buffers[&(shard, op, strip)].clone(), factor);
                    }
                    if sum.iter().any(|&byte| byte != 0) {
                        let stored = self.buffers[&(shard, op, role)].clone();
                        let right = stored.iter().zip(&sum).map(|(a, b)| a ^ b).collect();
                        self.store(shard, op, role, right);
                        if role == ROLE_P {
                            mismatch.p = true;
                        } else {
                            mismatch.q = true;
                        }
                        mismatch.rows = 1;
                    }
                }
                return mismatch;
            }
        }
        Mismatch::default()
    }

    /// Old contents of a role, as read: for a write that is the scratch buffer even where it writes.
    fn old(&self, shard: usize, op: OpId, role: u8) -> Vec<u8> {
        match self.buffers.get(&(shard, op, role)) {
            Some(buffer) => buffer.clone(),
            None => self.load(shard, op, role),
        }
    }

    fn recover(&mut self, shard: usize, op: OpId, recovery: Recovery) {
        let stripe = self.shards[shard].op(op).stripe;
        let lost = recovery.outputs();
        let syndrome = |role: u8| {
            let mut sum = self.buffers[&(shard, op, role)].clone();
            for strip in 0..self.geometry.data_strips() as u8 {
                if !lost.contains(strip) {
                    let factor = self.factor(stripe, role, strip);
                    add_scaled(&mut sum, &self.old(shard, op, strip), factor);
                }
            }
            sum
        };
        let scaled = |data: &[u8], factor: u8| {
            data.iter().map(|&byte| mul(byte, factor)).collect::<Vec<u8>>()
        };
        let found = match recovery {
            Recovery::FromP(x) => vec![(x, syndrome(ROLE_P))],
            Recovery::FromQ(x) => {
                let factor = inverse(self.factor(stripe, ROLE_Q, x));
                vec![(x, scaled(&syndrome(ROLE_Q), factor))]
            }
            Recovery::Two(x, y) => {
                let (gx, gy) = (self.factor(stripe, ROLE_Q, x), self.factor(stripe, ROLE_Q, y));
                let (sp, mut right) = (syndrome(ROLE_P), syndrome(ROLE_Q));
                add_scaled(&mut right, &sp, gx);
                let dy = scaled(&right, inverse(gx ^ gy));
                let mut dx = sp;
                add_scaled(&mut dx, &dy, 1);
                vec![(x, dx), (y, dy)]
            }
        };
        for (strip, data) in found {
            // A recovered strip that the operation writes is an old value: it has a buffer.
            match self.buffers.get_mut(&(shard, op, strip)) {
                Some(buffer) => *buffer = data,
                None => self.store(shard, op, strip, data),
            }
        }
    }

    fn complete(&mut self, shard: usize, piece: PieceId, status: PieceStatus) {
        assert_eq!(status, PieceStatus::Done, "seed {}: a piece failed", self.seed);
        let id = self.pieces.remove(&(shard, piece)).expect("answered once");
        let host = self.hosts.get_mut(&id).expect("in flight");
        host.pieces -= 1;
        if host.pieces > 0 {
            return;
        }
        let host = self.hosts.remove(&id).expect("in flight");
        let range = host.start..host.start + host.data.len();
        if host.is_read {
            assert!(
                self.model[range.clone()] == host.data[..],
                "seed {}: read {range:?}",
                self.seed
            );
            self.reads_checked += 1;
        } else {
            self.model[range].copy_from_slice(&host.data);
        }
    }

    fn settle(&mut self) {
        for _ in 0..1_000_000 {
            self.unplug();
            let working = matches!(self.coordinator.action(), Background::Running(_));
            if !self.answer_one() && !working {
                assert!(self.hosts.is_empty(), "seed {}: requests hang", self.seed);
                return;
            }
        }
        panic!("seed {}: never settles", self.seed);
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.rng.below(4) {
                0 if self.hosts.len() < 24 => {
                    self.submit_random();
                }
                1 => self.unplug(),
                _ => {
                    self.answer_one();
                }
            }
        }
    }

    /// Takes a member away between two operations, as the array does: quiesce, new map, resume.
    fn lose(&mut self, slot: Slot) {
        self.tell(Input::MemberFailed { slot, cause: FailCause::Removed });
        while self.coordinator.map().state(slot) == MemberState::InSync {
            assert!(self.answer_one(), "seed {}: quiesce hangs", self.seed);
        }
        for byte in &mut self.members[slot.index()] {
            *byte = self.rng.next() as u8;
        }
    }

    fn assert_consistent(&self) {
        let map = self.shards[0].map();
        let data = self.data_on_members();
        for (byte, (&on_member, &right)) in data.iter().zip(&self.model).enumerate() {
            let at = self.geometry.locate(byte as u64);
            let slot = self.geometry.data_slot(self.geometry.rotation(at.stripe), at.strip);
            let present = map.state(slot) == MemberState::InSync;
            assert!(!present || on_member == right, "seed {}: byte {byte}", self.seed);
        }
        let stripe_bytes = self.geometry.stripe_bytes() as usize;
        for stripe in (0..self.geometry.stripes()).map(StripeId) {
            let rotation = self.geometry.rotation(stripe);
            let parities = [
                (ROLE_P, Some(self.geometry.p_slot(rotation))),
                (ROLE_Q, self.geometry.q_slot(rotation)),
            ];
            for (role, slot) in parities {
                let Some(slot) = slot.filter(|&s| map.state(s) == MemberState::InSync) else {
                    continue;
                };
                let mut sum = vec![0; STRIP];
                for strip in 0..self.geometry.data_strips() {
                    let start = stripe.0 as usize * stripe_bytes + strip * STRIP;
                    let factor = self.factor(stripe, role, strip as u8);
                    add_scaled(&mut sum, &self.model[start..start + STRIP], factor);
                }
                let at = self.geometry.member_byte(slot, stripe, 0) as usize;
                let stored = &self.members[slot.index()][at..at + STRIP];
                assert!(stored == sum, "seed {}: parity {role} of stripe {stripe:?}", self.seed);
            }
        }
        for shard in &self.shards {
            assert!(shard.is_idle() && shard.active() == 0, "seed {}: not idle", self.seed);
        }
        assert!(self.buffers.is_empty(), "seed {}: buffers leak", self.seed);
    }
}

fn arrays() -> Vec<(Level, Layout, usize)> {
    vec![
        (Level::Raid4, Layout::ParityLast, 3),
        (Level::Raid5, Layout::LeftSymmetric, 5),
        (Level::Raid5, Layout::RightAsymmetric, 4),
        (Level::Raid6, Layout::LeftSymmetric, 6),
        (Level::Raid6, Layout::ZeroRestart, 5),
        (Level::Raid6, Layout::RightSymmetric6, 7),
    ]
}

fn each_world(initially: Initially, seeds: u64, mut run: impl FnMut(&mut World)) -> ShardCounters {
    let mut total = ShardCounters::default();
    for (level, layout, members) in arrays() {
        for seed in 1..=seeds {
            let mut world = World::new(seed, level, layout, members, initially);
            run(&mut world);
            world.assert_consistent();
            assert!(world.reads_checked > 0);
            for shard in &world.shards {
                total.merge(shard.counters());
            }
        }
    }
    total
}

#[test]
fn healthy_arrays_keep_every_byte() {
    let counters = each_world(Initially::InSync, 12, |world| {
        world.run(3000);
        world.settle();
    });
    assert!(counters.writes_of(WriteKind::FullStripe) > 0, "{counters:?}");
    assert!(counters.writes_of(WriteKind::ReadModifyWrite) > 0, "{counters:?}");
    assert!(counters.writes_of(WriteKind::ReconstructWrite) > 0, "{counters:?}");
    assert!(counters.merges > 0 && counters.conflicts > 0, "{counters:?}");
    assert!(counters.starvations > 0, "{counters:?}");
}

#[test]
fn members_lost_under_load_cost_no_byte() {
    let counters = each_world(Initially::InSync, 12, |world| {
        world.run(1000);
        for _ in 0..world.geometry.parity_strips() {
            let slots = world.geometry.members();
            let slot = loop {
                let slot = Slot(world.rng.below(slots) as u8);
                if world.shards[0].map().state(slot) == MemberState::InSync {
                    break slot;
                }
            };
            world.lose(slot);
            world.run(1500);
        }
        world.settle();
    });
    assert!(counters.degraded_reads > 0, "{counters:?}");
    assert!(counters.writes_of(WriteKind::RecoverWrite) > 0, "{counters:?}");
    assert!(counters.writes_of(WriteKind::DataOnly) > 0, "{counters:?}");
}

#[test]
fn read_errors_within_the_redundancy_are_reconstructed() {
    let counters = each_world(Initially::InSync, 8, |world| {
        let slot = Slot(world.rng.below(world.geometry.members()) as u8);
        let one_in = [1, 4][(world.seed % 2) as usize];
        world.flaky = Some((slot, one_in));
        world.run(3000);
        world.settle();
        let corrected: u64 = world.shards.iter().map(|shard| shard.counters().mends).sum();
        let mut right = vec![0; world.geometry.members()];
        right[slot.index()] = u32::try_from(corrected).unwrap();
        assert_eq!(world.coordinator.read_errors(), right, "seed {}", world.seed);
    });
    assert!(counters.replans > 0, "{counters:?}");
    assert!(counters.mends > 0, "{counters:?}");
}

#[test]
fn resync_under_load_makes_every_parity_right_and_changes_no_data() {
    let mut mismatched_rows = 0;
    let counters = each_world(Initially::OutOfSync, 8, |world| {
        world.run(300);
        world.start_resync();
        world.run(2500);
        world.settle();
        let log = world.coordinator.log();
        assert_eq!(log.sync_count(), log.regions(), "seed {}", world.seed);
        mismatched_rows += world.coordinator.mismatched_rows();
        assert!(world.shards.iter().all(|shard| shard.in_sync.is_full()));
    });
    assert!(counters.writes_of(WriteKind::ReconstructWrite) > 0, "{counters:?}");
    assert!(mismatched_rows > 0, "random contents were never wrong");
}

#[test]
fn rows_out_of_sync_are_never_read_modified_written() {
    let counters = each_world(Initially::OutOfSync, 2, |world| {
        world.run(1000);
        world.settle();
        // Nothing made the parity of untouched rows right: give the checker what it wants to see.
        assert_eq!(
            world
                .shards
                .iter()
                .map(|s| s.counters().writes_of(WriteKind::ReadModifyWrite))
                .sum::<u64>(),
            0
        );
        world.start_resync();
        world.settle();
    });
    assert_eq!(counters.writes_of(WriteKind::ReadModifyWrite), 0);
}

/// Goal: writes of the same bytes that arrive together are not merged; each block ends as one of them
/// left it, and parity matches. Method: ten requests for overlapping ranges of a stripe in one turn.
#[test]
fn overlapping_writes_leave_whole_blocks_and_right_parity() {
    for (level, layout, members) in arrays() {
        for seed in 1..=5 {
            let mut world = World::new(seed, level, layout, members, Initially::InSync);
            let half = world.geometry.stripe_bytes() as usize / BLOCK / 2;
            let mut writes: Vec<(usize, Vec<u8>)> = Vec::new();
            for host in 0..10 {
                let start = world.rng.below(half) * BLOCK;
                let len = (1 + world.rng.below(half)) * BLOCK;
                let data: Vec<u8> = (0..len).map(|_| world.rng.next() as u8).collect();
                let spec = PieceSpec {
                    kind: PieceKind::Write { fua: false },
                    stripe: StripeId(0),
                    span: Span { start: start as u64, len: len as u64 },
                };
                let piece = world.shards[0].submit(spec).expect("far from full");
                world.pieces.insert((0, piece), host);
                writes.push((start, data.clone()));
                world.hosts.insert(host, HostOp { start, data, is_read: false, pieces: 1 });
            }
            world.settle();
            world.model = world.data_on_members();
            world.assert_consistent();
            for at in (0..2 * half * BLOCK).step_by(BLOCK) {
                let block = &world.model[at..at + BLOCK];
                let mut candidates = writes
                    .iter()
                    .filter(|(start, data)| (*start..start + data.len()).contains(&at))
                    .map(|(start, data)| &data[at - start..at - start + BLOCK])
                    .peekable();
                let untouched = candidates.peek().is_none();
                assert!(
                    untouched || candidates.any(|candidate| candidate == block),
                    "seed {seed}: the block at {at} is a mixture"
                );
            }
        }
    }
}

#[test]
fn leases_are_returned_when_a_region_is_idle() {
    let mut world = World::new(3, Level::Raid5, Layout::LeftSymmetric, 4, Initially::InSync);
    world.run(500);
    world.settle();
    assert!(world.coordinator.log().dirty_count() > 0);
    for shard in 0..world.shards.len() {
        let mut out = Actions::new();
        world.shards[shard].return_leases(crate::limits::LEASE_IDLE_NS, false, &mut out);
        world.execute(shard, out);
    }
    assert_eq!(world.coordinator.log().dirty_count(), 0);
}
