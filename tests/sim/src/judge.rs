//! The judge: what must be true, checked at the moment when it could break. A violation is a panic that
//! names the invariant.
//!
//! | | checked at |
//! |---|---|
//! | R1 | every member write: the region's bit on the log's device, cache lost |
//! | R2 | when a region is called clean: members complete, flushed, nothing in flight, parity right; all but the first again when the bit is written |
//! | R3 | every member access: no other operation writes on these rows |
//! | R4 | every answer of a write: who was left out is on record as out, on every survivor |
//! | R5 | every member read: the sectors are valid; every write: in its place; recipes trust only regions in sync |
//! | R6 | after every call: the tables' and the memory's bounds |
//! | R7 | starts (`boot`): what is dirty is not trusted to stand for data; what is in sync is right |
//! | R8 | starts and rebuilds (`boot`), and through R5 |
//! | R9 | flushes and log writes after a failure (`orders`) |
//! | R10 | ends of resyncs, when every member is there again, and the contents |
//!
//! Not here: legal contents (`oracle`), whole images (`images`).

use crate::host::{Host, HostKind};
use crate::images;
use crate::world::{Device, Kind, World};
use raid::coordinator::OnLogFailure;
use raid::event::{Access, Mismatch, OpId, WorkKind};
use raid::limits::{LEASES_MAX, PIECES_MAX, STRETCHES_MAX, STRIPE_OPS_MAX};
use raid::member::{MemberMap, MemberState};
use raid::plan::{Parities, Recipe, Trust};
use raid::shard::op::{OpKind, Phase};
use raid::superblock::{DATA_OFFSET_BYTES_MIN, LogHealth, MemberRecordState};
use raid::units::{RoleSet, Slot, SlotSet, StripeId};

/// Bounds (R6).
pub fn bounds(world: &World, shard: usize) {
    let at = &world.life.reactors[shard];
    let active = at.core.active();
    assert!(active <= STRIPE_OPS_MAX, "R6: {active} operations of shard {shard}");
    assert!(at.pieces.len() <= PIECES_MAX, "R6: {} pieces of shard {shard}", at.pieces.len());
    let most = world.swarm.scratch_bytes.max(world.swarm.members * at.core.band_bytes() as usize);
    assert!(at.buffer_bytes <= most, "R6: {} bytes of scratch memory", at.buffer_bytes);
    let leases = at.core.leases();
    assert!(leases <= LEASES_MAX, "R6: {leases} leases of shard {shard}");
    let hosts = at.core.host_ops();
    assert!(hosts <= world.swarm.host_ops_max, "R6: {hosts} operations of hosts on shard {shard}");
    let stretches = world.life.stretches_out.len();
    assert!(stretches <= STRETCHES_MAX, "R6: {stretches} stretches");
}

fn region_of(world: &World, stripe: StripeId) -> usize {
    usize::try_from(world.regions.of(stripe)).expect("few regions")
}

/// Whether an operator insisted on the region, so that nothing is promised.
#[must_use]
pub fn is_weak(world: &World, stripe: StripeId) -> bool {
    world.truth.weak[region_of(world, stripe)]
}

fn place_of(access: &Access) -> std::ops::Range<usize> {
    crate::truth::sectors(access.offset_bytes - DATA_OFFSET_BYTES_MIN, u64::from(access.len_bytes))
}

/// R3 and R5 before a member is read.
pub fn before_read(world: &mut World, shard: usize, access: &Access) {
    let (stripe, rows) = touch(world, shard, access, false);
    let device = world.life.device_of[access.slot.index()];
    let Some(device) = device else { panic!("R5: read of empty slot: {access:?}") };
    if let Phase::Verifying { .. } = world.life.reactors[shard].core.op(access.op).phase {
        // Whoever fails here is out.
        let wrote = world.life.wrote[&(shard, access.op)];
        assert!(wrote.contains(access.role), "R5: {access:?} reads back what was not written");
    }
    let valid = world.truth.is_valid(device, place_of(access));
    assert!(
        valid || is_weak(world, stripe),
        "R5: {access:?} reads what device {device} does not hold: stripe {stripe}, rows {rows:?}"
    );
}

/// R5 before a member is read past the core.
pub fn before_direct(world: &World, slot: Slot, stripe: StripeId, row: u32, len: u32) {
    let Some(device) = world.life.device_of[slot.index()] else { return };
    let at = world.geometry.member_byte(slot, stripe, row) - DATA_OFFSET_BYTES_MIN;
    let valid = world.truth.is_valid(device, crate::truth::sectors(at, u64::from(len)));
    assert!(valid || is_weak(world, stripe), "R5: direct read of stale slot {slot}, {stripe}");
}

/// R1, R3 and R5 before a member is written.
pub fn before_write(world: &mut World, shard: usize, access: &Access) {
    let (stripe, _) = touch(world, shard, access, true);
    world.life.wrote.get_mut(&(shard, access.op)).expect("it computed").insert(access.role);
    let core = &world.life.reactors[shard].core;
    let state = core.map().state(access.slot);
    let is_rebuild = matches!(core.op(access.op).kind, OpKind::Work(WorkKind::Rebuild));
    if is_rebuild && state == MemberState::Rebuilding {
        return;
    }
    let region = world.regions.of(stripe);
    let coordinator = &world.life.coordinator;
    if !world.life.log_used {
        let marked = !coordinator.log().is_clean(region);
        assert!(marked, "R1: {access:?} in region {region} that is not marked");
        // The bits on a device that is not there now must not be believed when it is there again.
        let distrusted = !world.swarm.log_on_disk || log_failure_recorded(world);
        assert!(distrusted, "R1: {access:?}, and the log that is not there is still trusted");
        return;
    }
    if !images::is_clean_on_log(world, region) {
        return;
    }
    let waived = world.life.log_failed
        && match world.swarm.on_log_failure {
            _ if world.life.log_waived => log_failure_recorded(world),
            OnLogFailure::Continue => log_failure_recorded(world),
            OnLogFailure::Block => false,
        };
    assert!(waived, "R1: {access:?} in region {region} that is clean on the log's device");
}

/// Whether everybody who counts has it on record that the log failed.
#[must_use]
pub fn log_failure_recorded(world: &World) -> bool {
    if !world.swarm.superblocks {
        return world.noted_log_failed;
    }
    survivors(world).all(|device| {
        let found = world.durable_superblock(device);
        found.and_then(|found| found.log).is_none_or(|log| log.health == LogHealth::Failed)
    })
}

/// Devices that are in sync, have not been given a fatal fault, and count at a start: one that was
/// promoted a moment ago is on no record yet, so what its superblock says is not believed (R8).
fn survivors(world: &World) -> impl Iterator<Item = usize> + '_ {
    let map = world.life.coordinator.map();
    let slots = map.writable().difference(map.rebuilding()).difference(world.life.doomed);
    let mut devices: Vec<usize> =
        slots.iter().filter_map(|slot| world.life.device_of[slot.index()]).collect();
    devices.retain(|&device| world.disks[device].present);
    let found = devices.iter().filter_map(|&device| world.durable_superblock(device));
    if let Some(newest) = found.max_by_key(|superblock| superblock.events) {
        let believed = |device: &usize| {
            let record = newest.members.iter().find(|m| m.member_uuid == world.uuids[*device]);
            record.is_some_and(|record| record.state == MemberRecordState::InSync)
        };
        devices.retain(believed);
    }
    devices.into_iter()
}

/// R3, and that the access is where its operation says.
fn touch(
    world: &mut World,
    shard: usize,
    access: &Access,
    write: bool,
) -> (StripeId, std::ops::Range<u32>) {
    let core = &world.life.reactors[shard].core;
    let op = core.op(access.op);
    let (stripe, rows) = (op.stripe, op.row..op.row_end);
    let place = world.geometry.member_byte(access.slot, stripe, rows.start);
    let slot = world.slot_of(stripe, access.role);
    let right = place == access.offset_bytes
        && slot == access.slot
        && access.len_bytes == rows.end - rows.start;
    assert!(right, "R5: {access:?} is not where {op:?} says");
    let state = core.map().state(access.slot);
    let in_use = matches!(state, MemberState::InSync | MemberState::Rebuilding);
    assert!(in_use, "R5: {access:?} of a member that is {state:?}");
    for (other_shard, other, at, other_rows, writes) in &world.life.touching {
        let same = *other_shard == shard && *other == access.op;
        let overlap = *at == stripe.0 && other_rows.start < rows.end && rows.start < other_rows.end;
        assert!(
            same || !overlap || !(write || *writes),
            "R3: {access:?} of shard {shard} beside operation {other} of shard {other_shard}"
        );
    }
    world.life.touching.push((shard, access.op, stripe.0, rows.clone(), write));
    (stripe, rows)
}

/// A member access of an operation has ended.
pub fn access_ended(world: &mut World, shard: usize, op: OpId) {
    let touching = &mut world.life.touching;
    let at = touching.iter().position(|t| t.0 == shard && t.1 == op).expect("it was begun");
    touching.swap_remove(at);
}

/// What parity of a stripe is worth for these slots, as far as its shard knows.
fn trust_in(world: &World, shard: usize, stripe: StripeId, lost: SlotSet) -> Trust {
    let at = &world.life.reactors[shard];
    match at.trusted[region_of(world, stripe)] {
        true => Trust::Right,
        false if lost.is_subset_of(at.vouched) => Trust::WhereWritten,
        false => Trust::Unknown,
    }
}

/// An operation was planned: parity of its rows may be used as far as its region could be trusted then, as far
/// as the shard knew. What fails later is a write of other rows (R3), perhaps of another shard.
pub fn planned(world: &mut World, shard: usize, op: OpId) {
    let stripe = world.life.reactors[shard].core.op(op).stripe;
    let mut lost = SlotSet::empty();
    if let Phase::Acquiring(plan) = world.life.reactors[shard].core.op(op).phase
        && let Recipe::Recover(recovery) | Recipe::RecoverThenGenerate(recovery, _) = plan.recipe
    {
        lost = recovery.outputs().iter().map(|strip| world.slot_of(stripe, strip)).collect();
    }
    let trust = trust_in(world, shard, stripe, lost);
    world.life.reactors[shard].planned.insert(op, trust);
}

/// R5 and R10 before something is computed; and who the operation leaves out.
pub fn before_compute(world: &mut World, shard: usize, op: OpId, recipe: Recipe) {
    let stripe_op = world.life.reactors[shard].core.op(op).clone();
    let (stripe, rows) = (stripe_op.stripe, stripe_op.row..stripe_op.row_end);
    world.life.wrote.insert((shard, op), RoleSet::empty());
    let trust = world.life.reactors[shard].planned[&op];
    let (trusted, lost) = match recipe {
        Recipe::Delta(_) => (trust == Trust::Right, None),
        Recipe::RecoverThenCheck(recovery, _) => (trust == Trust::Right, Some(recovery)),
        Recipe::Recover(recovery) | Recipe::RecoverThenGenerate(recovery, _) => {
            let corrects = match stripe_op.kind {
                OpKind::Read | OpKind::Write { .. } | OpKind::Work(WorkKind::Rebuild) => false,
                OpKind::Mend | OpKind::Work(_) => true,
            };
            let needed = |trust| !corrects || trust == Trust::Right;
            (trust != Trust::Unknown && needed(trust), Some(recovery))
        }
        Recipe::None | Recipe::Generate(_) | Recipe::Check(_) => (true, None),
    };
    assert!(trusted, "R10: {recipe:?} on stripe {stripe}, whose parity is {trust:?}");
    if let (Trust::WhereWritten, Some(lost)) = (trust, lost) {
        give_up_unwritten(world, stripe, &rows, lost.outputs());
    }
    let (OpKind::Write { .. }, Phase::Computing(plan)) = (stripe_op.kind, stripe_op.phase) else {
        return;
    };
    let parities = Parities { p: true, q: world.geometry.parity_strips() == 2 };
    let should = stripe_op.strips.union(parities.roles());
    assert!(plan.writes.is_subset_of(should), "R5: {plan:?} writes more than {should:?}");
    let left_out = should.difference(plan.writes);
    let strip = u64::from(world.swarm.strip_bytes);
    let from = stripe.0 * strip + u64::from(rows.start);
    let sectors = crate::truth::sectors(from, u64::from(rows.end - rows.start));
    for role in left_out.iter() {
        let slot = world.slot_of(stripe, role);
        world.truth.missed(slot, &sectors);
        if let Some(device) = world.life.device_of[slot.index()] {
            world.host_writes_skipped(shard, op, device);
        }
    }
}

/// R10 after parity was compared with data: where it is trusted, also with a strip missing, it is right.
pub fn after_compute(world: &World, shard: usize, op: OpId, mismatch: Mismatch) {
    let at = &world.life.reactors[shard];
    let stripe_op = at.core.op(op);
    let stripe = stripe_op.stripe;
    let compares = matches!(stripe_op.kind, OpKind::Work(_));
    let trusted = at.planned[&op] == Trust::Right && !is_weak(world, stripe);
    assert!(
        !compares || !trusted || mismatch.rows == 0,
        "R10: {:?} of stripe {stripe} finds {mismatch:?} where parity is trusted",
        stripe_op.kind
    );
}

/// What nobody has written yet is what anybody computes for it.
fn give_up_unwritten(
    world: &mut World,
    stripe: StripeId,
    rows: &std::ops::Range<u32>,
    lost: RoleSet,
) {
    let now = world.stamp();
    for strip in lost.iter() {
        let at = raid::geometry::Location { stripe, strip, offset: rows.start };
        let first = world.geometry.array_byte(at);
        for sector in crate::truth::sectors(first, u64::from(rows.end - rows.start)) {
            if world.oracle.is_unwritten(sector) {
                world.oracle.give_up(sector, now);
            }
        }
    }
}

/// R4 before a piece of a write is answered; and that what was written can be read (R10).
pub fn before_ack(world: &mut World, shard: usize, host: u64, stripe: StripeId) {
    let skipped: Vec<_> = world.life.hosts[&host].skipped.iter().copied().collect();
    for (_, device) in skipped.into_iter().filter(|&(at, _)| at == stripe) {
        let slot = world.truth.home[device].expect("whoever is left out had a slot");
        let is_data = usize::from(world.role_of(stripe, slot)) < usize::from(world.strips());
        let trust = trust_in(world, shard, stripe, SlotSet::single(slot));
        let readable = !is_data || trust != Trust::Unknown;
        assert!(
            readable,
            "R10: write {host} of stripe {stripe} is answered, and nobody can read it"
        );
        if world.life.known_out.contains(&device) {
            continue;
        }
        let uuid = world.uuids[device];
        let trusts = |found: raid::superblock::Superblock| {
            let mut members = found.members.iter();
            members.any(|m| m.member_uuid == uuid && m.state == MemberRecordState::InSync)
        };
        let known = if world.swarm.superblocks {
            survivors(world).all(|at| world.durable_superblock(at).is_none_or(|s| !trusts(s)))
        } else {
            !world.notes.iter().any(|note| note.device == device && note.in_sync)
        };
        assert!(known, "R4: write {host} is answered, and device {device} is not known to be out");
        world.life.known_out.insert(device);
    }
}

/// R2 before the log is written: what is called clean now must be beyond doubt.
pub fn before_log_write(world: &mut World, offset_bytes: u64, bytes: &[u8]) {
    assert!(!world.life.log_failed, "R9: the log is written after it failed");
    let regions = world.regions.count();
    for region in 0..regions {
        let at = 1024 + region / 8;
        let Some(byte) = at.checked_sub(offset_bytes).and_then(|at| usize::try_from(at).ok())
        else {
            continue;
        };
        let Some(byte) = bytes.get(byte) else { continue };
        let was = world.log_disk.current(at / 512 * 512, 512)[(at % 512) as usize];
        let bit = 1 << (region % 8);
        if byte & bit != 0 && was & bit == 0 {
            region_is_beyond_doubt(world, region);
        }
    }
}

/// R2 when the coordinator calls a region clean. A member may leave before the bit is written; until the
/// next mark of the region it misses nothing there.
pub fn regions_called_clean(world: &mut World) {
    for region in 0..world.regions.count() {
        let at = usize::try_from(region).expect("few regions");
        let is_clean = world.life.coordinator.log().is_clean(region);
        let was_clean = std::mem::replace(&mut world.life.clean[at], is_clean);
        if is_clean && !was_clean && world.life.log_used {
            let optimal = world.life.coordinator.map().is_optimal();
            assert!(optimal, "R2: region {region} is cleared while a member is missing");
            region_is_beyond_doubt(world, region);
        }
    }
}

fn region_is_beyond_doubt(world: &mut World, region: u64) {
    let stripes = world.regions.stripes(region);
    let busy = world.life.touching.iter().find(|t| t.4 && stripes.contains(&t.2));
    assert!(busy.is_none(), "R2: region {region} is cleared while {busy:?} writes in it");
    let strip = u64::from(world.swarm.strip_bytes);
    let from = DATA_OFFSET_BYTES_MIN + stripes.start * strip;
    let len = usize::try_from((stripes.end - stripes.start) * strip).expect("small");
    let map = world.life.coordinator.map();
    for slot in map.writable().difference(map.rebuilding()).iter() {
        let Some(device) = world.life.device_of[slot.index()] else { continue };
        // What a device that is gone holds is of no interest: nobody knows that it is gone yet.
        let durable = world.disks[device].is_durable(from, len) || !world.disks[device].present;
        assert!(durable, "R2: region {region} is cleared, and device {device} was not flushed");
    }
    images::parity_is_right(world, region, true, "R2: a region is cleared");
}

/// R10 when the core begins or ceases to trust a region.
pub fn region_sync(world: &mut World, region: u64, in_sync: bool) {
    let at = usize::try_from(region).expect("few regions");
    if in_sync {
        world.truth.weak[at] = false;
        images::parity_is_right(world, region, false, "R10: a resync ends");
    }
    world.truth.trusted[at] = in_sync;
    world.truth.doubted[at] = world.step;
}

/// R10 when every member is there again: what was rebuilt where a region is trusted matches the rest.
pub fn whole_again(world: &World) {
    for region in 0..world.regions.count() {
        if world.truth.trusted[usize::try_from(region).expect("few regions")] {
            images::parity_is_right(world, region, false, "R10: every member is there again");
        }
    }
}

/// A rebuild says that a region is done.
pub fn region_rebuilt(world: &mut World, region: u64) {
    let strip = u64::from(world.swarm.strip_bytes);
    let stripes = world.regions.stripes(region);
    let sectors =
        crate::truth::sectors(stripes.start * strip, (stripes.end - stripes.start) * strip);
    for slot in world.life.coordinator.map().rebuilding().iter() {
        let Some(device) = world.life.device_of[slot.index()] else { continue };
        let present = world.disks[device].present && !world.life.doomed.contains(slot);
        let valid = world.truth.is_valid(device, sectors.clone());
        assert!(valid || !present, "R8: region {region} of slot {slot} is not rebuilt");
    }
}

/// Members that are not in sync by a map are lost until now.
pub fn note_lost(world: &mut World, map: &MemberMap) {
    for slot in map.missing().union(map.rebuilding()).iter() {
        world.truth.lost[slot.index()] = world.step;
    }
}

/// The shards are about to get a new map.
pub fn map_changed(world: &mut World) {
    let map = world.life.coordinator.map().clone();
    note_lost(world, &map);
    for (slot, state) in (0u8..).map(Slot).zip(map.states()) {
        match state {
            MemberState::Faulty | MemberState::Missing => {}
            MemberState::InSync => {
                // Whoever is in sync has been rebuilt with what it was left out of.
                if let Some(device) = world.life.device_of[slot.index()] {
                    for host in world.life.hosts.values_mut() {
                        host.skipped.retain(|&(_, skipped)| skipped != device);
                    }
                }
                let note = &mut world.notes[slot.index()];
                note.in_sync |= note.rebuild;
                note.rebuild = false;
            }
            MemberState::Rebuilding => {}
        }
    }
}

/// Writes go on: from now on nobody may count on what members that are out have failed to write. Before, a
/// crash may bring them back.
pub fn writes_allowed(world: &mut World) {
    if world.life.coordinator.is_broken() {
        // It leaves its superblocks as they are.
        return;
    }
    for slot in world.life.coordinator.map().missing().iter() {
        if let Some(device) = world.life.device_of[slot.index()] {
            world.truth.left(device);
            world.life.out.insert(device);
        }
    }
}

/// What a read returned.
pub fn read_answered(world: &mut World, host: &Host, first: usize, now: u64) {
    let floor = world.read_floor();
    for (sector, bytes) in (first..).zip(host.data.chunks(512)) {
        let settle = Some((now, floor));
        if let Err(found) = world.oracle.check(sector, bytes, host.issued, settle) {
            panic!("read {} returns what it must not: {found}", host.issued);
        }
    }
}

/// Whether a request may fail: only where more is lost than parity can stand for.
pub fn may_fail(world: &World, host: &Host) {
    if host.kind == HostKind::Flush {
        return;
    }
    if world.life.coordinator.is_broken() {
        return;
    }
    let (start, end) = (host.start, host.start + host.data.len() as u64);
    let mut stripe = world.geometry.locate(start).stripe;
    let last = world.geometry.locate(end - 1).stripe;
    while stripe <= last {
        let lost = lost_slots(world, stripe, host.step);
        let region = region_of(world, stripe);
        let trusted = world.truth.trusted[region] && world.truth.doubted[region] < host.step;
        let owner = raid::shard::shard_of(stripe, world.life.reactors.len());
        let trusted = trusted && world.life.reactors[owner].core.is_in_sync(stripe);
        // A write may fail there for what a member that is there, or not known to be gone, cannot read.
        let stands =
            lost.is_subset_of(world.life.reactors[owner].vouched) && host.kind == HostKind::Read;
        let enough = match trusted || stands {
            true => lost.len() > world.geometry.parity_strips(),
            false => !lost.is_empty(),
        };
        if enough {
            return;
        }
        stripe = StripeId(stripe.0 + 1);
    }
    panic!("request {host:?} failed, and nothing is lost that parity could not stand for");
}

/// Slots that cannot be read on some rows of a stripe, or could not since a step.
fn lost_slots(world: &World, stripe: StripeId, since: u64) -> SlotSet {
    let strip = world.swarm.strip_bytes;
    let map = world.life.coordinator.map();
    let mut lost = map.missing().union(world.life.doomed);
    for slot in SlotSet::first_n(world.swarm.members).iter() {
        let Some(device) = world.life.device_of[slot.index()] else {
            lost.insert(slot);
            continue;
        };
        let disk = &world.disks[device];
        let at = world.geometry.member_byte(slot, stripe, 0);
        let sectors = world.stripe_sectors(stripe);
        let owner = raid::shard::shard_of(stripe, world.life.reactors.len());
        let stale = !world.life.reactors[owner].core.is_readable(slot, stripe)
            || map.rebuilding().contains(slot)
                && world.life.coordinator.stale().get(world.regions.of(stripe));
        let fault =
            world.truth.read_faults.iter().any(|f| f.0 == stripe.0 && f.1 == slot && f.2 >= since);
        if !disk.present
            || world.truth.lost[slot.index()] >= since
            || stale
            || fault
            || disk.is_bad(at, strip as usize)
            || !world.truth.is_valid(device, sectors)
        {
            lost.insert(slot);
        }
    }
    lost
}

/// Requests to members that have not been answered.
#[must_use]
pub fn writes_in_flight(world: &World) -> usize {
    let member = |device| matches!(device, Device::Member(_));
    world
        .life
        .ios
        .values()
        .filter(|io| member(io.device) && matches!(io.kind, Kind::Write { .. }))
        .count()
}
