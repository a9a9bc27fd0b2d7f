//! Whole images: parity against data, and data against the legal values, region by region.
//!
//! Not here: when to look (`judge`, `run`).

use crate::disk::SECTOR;
use crate::judge::is_weak;
use crate::math::add_scaled;
use crate::world::World;
use raid::member::MemberState;
use raid::plan::{ROLE_P, ROLE_Q, Recovery};
use raid::superblock::{self, COPY_OFFSETS_BYTES, SUPERBLOCK_BYTES, Superblock, decode_pair};
use raid::units::{Slot, SlotSet, StripeId};

/// Whether a region is clean on the log's device, its cache lost.
#[must_use]
pub fn is_clean_on_log(world: &World, region: u64) -> bool {
    bit_of(region, |at| world.log_disk.durable(at, SECTOR))
}

/// Whether a region is clean on the log's device as a start would read it.
#[must_use]
pub fn is_read_as_clean(world: &World, region: u64) -> bool {
    bit_of(region, |at| world.log_disk.current(at, SECTOR))
}

/// dm-log's header: a magic number and version 1 or 2. What has none is no log, whatever its bits are.
fn bit_of<'a>(region: u64, sector_at: impl Fn(u64) -> &'a [u8]) -> bool {
    if !matches!(sector_at(0)[..8], [b'r', b'R', b'i', b'M', 1 | 2, 0, 0, 0]) {
        return false;
    }
    let at = 1024 + region / 8;
    let sector = sector_at(at / 512 * 512);
    sector[(at % 512) as usize] >> (region % 8) & 1 == 1
}

impl World {
    /// The superblock of a device as it is now.
    #[must_use]
    pub fn read_superblock(&self, device: usize) -> Option<Superblock> {
        let disk = &self.disks[device];
        let copy = |index: usize| disk.current(COPY_OFFSETS_BYTES[index], SUPERBLOCK_BYTES);
        decode_pair(Ok(copy(0)), Ok(copy(1))).ok().map(|pair| pair.superblock)
    }

    /// The superblock of a device if its cache were lost.
    #[must_use]
    pub fn durable_superblock(&self, device: usize) -> Option<Superblock> {
        let disk = &self.disks[device];
        let copy = |index: usize| disk.durable(COPY_OFFSETS_BYTES[index], SUPERBLOCK_BYTES);
        decode_pair(Ok(copy(0)), Ok(copy(1))).ok().map(|pair| pair.superblock)
    }

    /// Bytes of a strip on its member.
    fn strip(&self, stripe: StripeId, role: u8, durable: bool) -> Vec<u8> {
        let slot = self.slot_of(stripe, role);
        let device = self.life.device_of[slot.index()].expect("the caller asked who is there");
        let at = self.geometry.member_byte(slot, stripe, 0);
        let len = self.swarm.strip_bytes as usize;
        let disk = &self.disks[device];
        if durable { disk.durable(at, len).to_vec() } else { disk.current(at, len).to_vec() }
    }

    /// Slots whose device is there, in sync and right on all rows of a stripe.
    fn sound(&self, stripe: StripeId) -> SlotSet {
        let map = self.life.coordinator.map();
        let sectors = self.stripe_sectors(stripe);
        SlotSet::first_n(self.swarm.members)
            .iter()
            .filter(|slot| {
                let in_sync = map.state(*slot) == MemberState::InSync;
                let device = self.life.device_of[slot.index()];
                in_sync
                    && device.is_some_and(|d| {
                        self.disks[d].present && self.truth.is_valid(d, sectors.clone())
                    })
            })
            .collect()
    }

    fn parity_roles(&self) -> &'static [u8] {
        if self.geometry.parity_strips() == 2 { &[ROLE_P, ROLE_Q] } else { &[ROLE_P] }
    }
}

/// Parity of a region must match its data, where both are there.
pub fn parity_is_right(world: &World, region: u64, durable: bool, when: &str) {
    for stripe in world.regions.stripes(region).map(StripeId) {
        let written = |t: &(usize, u32, u64, std::ops::Range<u32>, bool)| t.4 && t.2 == stripe.0;
        let sectors = world.stripe_sectors(stripe);
        let doubtful = |s: &(usize, std::ops::Range<usize>)| {
            s.1.start < sectors.end && sectors.start < s.1.end
        };
        // What a member has failed to write is wrong on it until it is out.
        let busy = !durable && world.life.touching.iter().any(written)
            || world.truth.suspect.iter().any(doubtful);
        let sound = world.sound(stripe);
        let has = |role| sound.contains(world.slot_of(stripe, role));
        if !(0..world.strips()).all(has) || is_weak(world, stripe) || busy {
            continue;
        }
        for &role in world.parity_roles().iter().filter(|&&role| has(role)) {
            let mut right = vec![0; world.swarm.strip_bytes as usize];
            for strip in 0..world.strips() {
                let factor = world.factor(stripe, role, strip);
                add_scaled(&mut right, &world.strip(stripe, strip, durable), factor);
            }
            let stored = world.strip(stripe, role, durable);
            let wrong = right.iter().zip(&stored).position(|(a, b)| a != b);
            assert!(
                wrong.is_none(),
                "{when}: region {region}, stripe {stripe}: parity {role} is wrong at row {wrong:?}"
            );
        }
    }
}

/// Every data strip that is there must hold legal values; with `lost`, so must what is computed for strips
/// that are not there.
pub fn data_is_legal(world: &mut World, region: u64, compute_lost: bool, when: &str) {
    for stripe in world.regions.stripes(region).map(StripeId) {
        let sound = world.sound(stripe);
        let lost: Vec<u8> = (0..world.strips())
            .filter(|&strip| !sound.contains(world.slot_of(stripe, strip)))
            .collect();
        for strip in (0..world.strips()).filter(|strip| !lost.contains(strip)) {
            let data = world.strip(stripe, strip, false);
            check_strip(world, stripe, strip, &data, when);
        }
        let has = |role: u8| {
            (role == ROLE_P || world.geometry.parity_strips() == 2)
                && sound.contains(world.slot_of(stripe, role))
        };
        let recovery = match lost[..] {
            [x] if has(ROLE_P) => Recovery::FromP(x),
            [x] if has(ROLE_Q) => Recovery::FromQ(x),
            [x, y] if has(ROLE_P) && has(ROLE_Q) => Recovery::Two(x, y),
            _ => continue,
        };
        if compute_lost {
            let found = world.recovered(stripe, recovery, |w, role| w.strip(stripe, role, false));
            for (strip, data) in found {
                check_strip(world, stripe, strip, &data, when);
            }
        }
    }
}

fn check_strip(world: &mut World, stripe: StripeId, strip: u8, data: &[u8], when: &str) {
    let at = raid::geometry::Location { stripe, strip, offset: 0 };
    let first = usize::try_from(world.geometry.array_byte(at)).expect("small") / SECTOR;
    let now = world.next + 1;
    for (sector, bytes) in (first..).zip(data.chunks(SECTOR)) {
        if let Err(found) = world.oracle.check(sector, bytes, now, None) {
            panic!("{when}: stripe {stripe}, strip {strip}: {found}");
        }
    }
}

/// Nothing is known of a region's data any more.
pub fn give_up(world: &mut World, region: u64) {
    let now = world.stamp();
    for stripe in world.regions.stripes(region) {
        let bytes = world.geometry.stripe_bytes();
        let sectors = crate::truth::sectors(stripe * bytes, bytes);
        for sector in sectors {
            world.oracle.give_up(sector, now);
        }
    }
}

/// Puts parity on devices that are filled for the first time.
pub fn preset_parity(world: &mut World) {
    for stripe in (0..world.geometry.stripes()).map(StripeId) {
        for &role in world.parity_roles() {
            let mut parity = vec![0; world.swarm.strip_bytes as usize];
            for strip in 0..world.strips() {
                let factor = world.factor(stripe, role, strip);
                add_scaled(&mut parity, &world.strip(stripe, strip, false), factor);
            }
            preset_strip(world, stripe, role, &parity);
        }
    }
}

/// Puts a strip on its device for good.
pub fn preset_strip(world: &mut World, stripe: StripeId, role: u8, data: &[u8]) {
    let slot: Slot = world.slot_of(stripe, role);
    let device = slot.index();
    let at = world.geometry.member_byte(slot, stripe, 0);
    world.disks[device].preset(at, data);
}

const _: () = assert!(superblock::DATA_OFFSET_BYTES_MIN.is_multiple_of(SECTOR as u64));
