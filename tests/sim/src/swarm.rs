//! What a seed draws for itself: shape, policies, load and faults. Many runs have each fault switched off
//! altogether, so that what hides behind a frequent fault is seen too.
//!
//! Not here: drawing during the run (`host`, `chaos`).

use crate::prng::Prng;
use raid::coordinator::{OnLogFailure, OnMemberFailure};
use raid::layout::{Layout, Level};
use raid::limits::{STRIPE_OPS_MAX, WORK_BYTES};

/// How blocks are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// One after the other.
    Sequential,
    /// Anywhere.
    Random,
    /// Mostly in a few stripes.
    HotSpot,
}

/// Faults: one in so many, 0 for never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Reads that fail once.
    pub read_error: u64,
    /// Steps at which a sector of a member becomes unreadable.
    pub bad_sector: u64,
    /// Member writes that fail.
    pub write_error: u64,
    /// Member flushes that fail.
    pub flush_error: u64,
    /// Member requests that are never answered.
    pub hang: u64,
    /// Steps at which a member's device goes.
    pub gone: u64,
    /// Steps at which the operator takes a member out.
    pub removed: u64,
    /// Writes and flushes of the log that fail.
    pub log_error: u64,
}

/// What an array finds of its log when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogAtStart {
    /// The log as it was left.
    Itself,
    /// Nothing.
    Missing,
    /// A device that cannot be read.
    Unreadable,
    /// A device on which there is no log.
    Blank,
    /// The log of an array with this many regions.
    Foreign(u64),
}

impl LogAtStart {
    /// What a start draws.
    #[must_use]
    pub fn draw(prng: &mut Prng, swaps: u64, regions: u64) -> Self {
        if swaps == 0 || !prng.one_in(swaps) {
            return Self::Itself;
        }
        let other = if regions > 1 && prng.one_in(2) { regions - 1 } else { regions + 1 };
        prng.pick(&[Self::Missing, Self::Blank, Self::Foreign(other)])
    }
}

/// When background actions have no permit: an array may share devices with others that work on theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permits {
    /// They always have it.
    Always,
    /// It comes and goes: changes once in so many host requests.
    Changing(u64),
    /// They have none before the end.
    Late,
}

impl Permits {
    /// What a seed draws.
    #[must_use]
    pub fn draw(prng: &mut Prng) -> Self {
        match prng.below(10) {
            0..6 => Self::Always,
            6..9 => Self::Changing(prng.pick(&[2, 8, 30])),
            _ => Self::Late,
        }
    }
}

/// What a run is like.
#[derive(Debug, Clone)]
pub struct Swarm {
    /// RAID level.
    pub level: Level,
    /// Layout.
    pub layout: Layout,
    /// Members.
    pub members: usize,
    /// Bytes of a strip.
    pub strip_bytes: u32,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// Rows of strips.
    pub stripes: u64,
    /// Rows of strips in a region.
    pub stripes_per_region: u64,
    /// Shards.
    pub shards: usize,
    /// Whether members carry superblocks.
    pub superblocks: bool,
    /// Whether the log is on a device.
    pub log_on_disk: bool,
    /// What happens when it fails.
    pub on_log_failure: OnLogFailure,
    /// What happens when a member fails and there are no superblocks.
    pub on_member_failure: OnMemberFailure,
    /// Whether the owner keeps a record of who is missing, which writes wait for.
    pub recorded: bool,
    /// Whether lives end in the middle of their first update of the superblocks.
    pub cuts_updates: bool,
    /// Whether parity is right at the beginning, or to be made so.
    pub begins_in_sync: bool,
    /// Whether devices have volatile caches.
    pub cached: bool,
    /// Whether reads of readable members go past the core.
    pub fast_reads: bool,
    /// Whether host requests may overlap in flight.
    pub overlap: bool,
    /// Host requests in flight.
    pub queue_depth: usize,
    /// Host requests of one life.
    pub requests: u64,
    /// Of a hundred host requests, reads.
    pub reads: u64,
    /// Of a hundred host requests, flushes.
    pub flushes: u64,
    /// Of a hundred writes, with force unit access.
    pub fua: u64,
    /// How blocks are chosen.
    pub pattern: Pattern,
    /// Most blocks of a request.
    pub blocks_max: u64,
    /// Pause after a request, at most, in ns.
    pub think_ns: u64,
    /// One pause in so many is long enough for leases to end.
    pub long_pause: u64,
    /// Slowest answer of a device, in ns.
    pub device_ns: u64,
    /// Slowest answer of the log's device, in ns.
    pub log_ns: u64,
    /// Slowest message, in ns.
    pub message_ns: u64,
    /// Bytes of scratch memory of a shard.
    pub scratch_bytes: usize,
    /// Lives that end in a crash before the one that ends in order.
    pub crashes: u64,
    /// Of a hundred crashes, losses of power; the others kill the process.
    pub power: u64,
    /// Of a hundred lives between, those that end in order.
    pub orderly: u64,
    /// Members that may be lost at the same time.
    pub lost_max: usize,
    /// Spare devices.
    pub spares: usize,
    /// Whether a member that was lost is tried again.
    pub returns: bool,
    /// Whether the operator insists when the array is refused.
    pub force: bool,
    /// Whether a repair or check is asked for now and then.
    pub checks: bool,
    /// One start in so many finds no log, a blank one, or another array's; 0 for none. Drawn from a stream
    /// of its own.
    pub log_swaps: u64,
    /// Most stripe operations of hosts on each shard; drawn from a stream of its own.
    pub host_ops_max: usize,
    /// Bytes of each member in a stretch of a background action; drawn from a stream of its own.
    pub stretch_bytes: u64,
    /// Blocks of the log's device; drawn from a stream of its own. Its sectors are atomic, they are not.
    pub log_block_bytes: u32,
    /// Whether a start that finds no log finds a device that cannot be read.
    pub log_unreadable: bool,
    /// The faults.
    pub faults: Faults,
}

impl Swarm {
    /// What a seed draws.
    #[must_use]
    pub fn draw(prng: &mut Prng) -> Self {
        let level = prng.pick(&Level::ALL);
        let least = 2 + level.parity_count();
        let members = usize::try_from(prng.within(least as u64, 8)).expect("small");
        let layout = prng.pick(Layout::of_level(level));
        let strip_bytes = 4096 << prng.below(3);
        let block_bytes = if prng.one_in(3) { 4096 } else { 512 };
        let superblocks = prng.percent(65);
        let stripes_per_region = 1 << prng.below(3);
        let stripes = prng.within(3, 16);
        let parities = level.parity_count();
        let lost_max = match prng.below(8) {
            0 => parities + 1,
            1 | 2 => 0,
            _ => parities,
        };
        Self {
            level,
            layout,
            members,
            strip_bytes,
            block_bytes,
            stripes,
            stripes_per_region,
            shards: prng.pick(&[1, 1, 2, 3, 4]),
            superblocks,
            log_on_disk: prng.percent(70),
            on_log_failure: prng.pick(&[OnLogFailure::Continue, OnLogFailure::Block]),
            on_member_failure: prng.pick(&[OnMemberFailure::Hold, OnMemberFailure::Continue]),
            recorded: false,
            cuts_updates: false,
            begins_in_sync: prng.percent(70),
            cached: prng.percent(80),
            fast_reads: prng.percent(70),
            overlap: prng.percent(40),
            queue_depth: prng.pick(&[1, 2, 4, 8, 16, 32]),
            requests: prng.within(20, 150),
            reads: prng.pick(&[5, 20, 35, 50]),
            flushes: prng.pick(&[0, 2, 5, 15]),
            fua: prng.pick(&[0, 0, 10, 50]),
            pattern: prng.pick(&[
                Pattern::Sequential,
                Pattern::Random,
                Pattern::Random,
                Pattern::HotSpot,
            ]),
            blocks_max: prng.pick(&[1, 8, 32, 128]),
            think_ns: prng.pick(&[0, 20_000, 500_000, 50_000_000]),
            long_pause: prng.pick(&[0, 30, 100]),
            device_ns: prng.pick(&[20_000, 200_000, 5_000_000]),
            log_ns: prng.pick(&[20_000, 200_000, 50_000_000]),
            message_ns: prng.pick(&[200, 5_000, 500_000]),
            scratch_bytes: usize::try_from(prng.pick(&[1 << 14, 1 << 17, 1 << 22])).expect("small"),
            crashes: prng.pick(&[0, 1, 1, 2, 3]),
            power: prng.pick(&[0, 50, 100, 100]),
            orderly: prng.pick(&[0, 30]),
            lost_max,
            spares: prng.index(3),
            returns: prng.percent(60),
            force: prng.percent(30),
            checks: prng.percent(20),
            log_swaps: 0,
            host_ops_max: STRIPE_OPS_MAX,
            stretch_bytes: WORK_BYTES,
            log_block_bytes: 512,
            log_unreadable: false,
            faults: Faults::draw(prng, lost_max > 0),
        }
    }

    /// What a seed draws beside that, from a stream of its own: layouts that md's tables do not name, and logs
    /// that are not what they were.
    pub fn draw_more(&mut self, prng: &mut Prng) {
        let slot = u8::try_from(prng.index(self.members)).expect("few members");
        if self.level == Level::Raid4 && prng.one_in(2) {
            self.layout = Layout::ParityAt(slot);
        }
        self.log_swaps = prng.pick(&[0, 0, 1, 3]);
    }

    /// Bytes that the array uses of each member.
    #[must_use]
    pub fn component_bytes(&self) -> u64 {
        self.stripes * u64::from(self.strip_bytes)
    }
}

impl Faults {
    fn draw(prng: &mut Prng, may_lose: bool) -> Self {
        let mut rate = |switch: bool, rates: &[u64]| {
            let on = prng.percent(40);
            let rate = prng.pick(rates);
            if on && switch { rate } else { 0 }
        };
        Self {
            read_error: rate(true, &[30, 200, 1000]),
            bad_sector: rate(true, &[50, 300]),
            write_error: rate(may_lose, &[200, 1000, 3000]),
            flush_error: rate(may_lose, &[20, 100]),
            hang: rate(may_lose, &[300, 2000]),
            gone: rate(may_lose, &[300, 1000, 3000]),
            removed: rate(may_lose, &[500, 2000]),
            log_error: rate(true, &[10, 50, 200]),
        }
    }
}
