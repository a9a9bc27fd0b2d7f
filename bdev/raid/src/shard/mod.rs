//! One core's share of an array: the stripes it owns, what is queued and in flight on them.
//!
//! ```text
//!   submit(piece) --> fragments --> operations, queued --unplug--> merge --> start
//!                                                                             |
//!       complete(piece) <-- every fragment ended <-- phases of `op` <---------+
//! ```
//!
//! A piece (the part of a host request that falls into one stripe) is cut into rectangles; each becomes
//! a stripe operation, or joins one. Operations start at the end of the reactor's turn, so that what
//! arrives together is merged. The shard is synchronous and deterministic: the same calls give the same
//! actions. It owns **R3** (one owner, overlapping ranges one at a time), the shard's half of **R1**
//! and **R2** (leases) and **R6** for its tables: when they are full, pieces wait in order of arrival,
//! and [`Shard::submit`] gives a piece back when even that queue is full.
//!
//! Not here: buffers, channels and messages (crate `array`); array-wide decisions (`coordinator`).

pub mod op;

mod decide;
mod merge;
mod step;
mod sync;
mod table;

use crate::bitmap::Bitmap;
use crate::dirty_log::Regions;
use crate::event::{
    Action, Actions, Event, OpId, PieceId, PieceKind, PieceSpec, PieceStatus, ShardCounters,
};
use crate::geometry::Geometry;
use crate::lease::LeaseTable;
use crate::limits::{
    FRAGMENTS_MAX, LEASES_MAX, PIECES_MAX, STRIPE_OPS_MAX, STRIPE_OPS_MIN, band_bytes,
};
use crate::member::{MemberMap, MemberState};
use crate::plan::{Parities, Trust};
use crate::rectangle;
use crate::slab::Slab;
use crate::units::{RoleSet, Slot, SlotSet, StripeId};
use op::{Fragment, NONE, OpKind, Phase, StripeOp};
use std::collections::VecDeque;
use std::sync::Arc;
use sync::SyncWalk;
use table::StripeTable;

/// Which shard of an array owns a stripe: neighbours belong to different shards, so that a sequential
/// stream uses all cores.
#[must_use]
pub fn shard_of(stripe: StripeId, shards: usize) -> usize {
    usize::try_from(stripe.0 % shards as u64).expect("less than the number of shards")
}

/// A piece that is admitted and not answered yet.
#[derive(Debug)]
struct Piece {
    spec: PieceSpec,
    /// Row from which rectangles have not been cut yet; the strip size when all are.
    next_row: u32,
    /// Fragments in operations.
    pending: u32,
    status: PieceStatus,
}

/// Whether operations may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Operations in flight end, none starts; the caller waits for `Quiesced`.
    Closing,
    Closed,
}

/// Whether host writes may start, and those that a member failed be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// They may.
    Allowed,
    /// A member's failure is not durable yet (**R4**).
    Held,
}

/// Place of a shard in its array.
#[derive(Debug, Clone, Copy)]
pub struct ShardPlace {
    /// Index, from 0.
    pub index: usize,
    /// Number of shards.
    pub count: usize,
}

/// The shard.
#[derive(Debug)]
pub struct Shard {
    geometry: Arc<Geometry>,
    map: MemberMap,
    place: ShardPlace,
    parities: Parities,
    regions: Regions,
    band_bytes: u32,
    in_sync: Bitmap,
    /// Slots that parity may stand for in the other regions.
    vouched: SlotSet,
    pieces: Slab<Piece>,
    fragments: Slab<Fragment>,
    ops: Slab<StripeOp>,
    /// Operations that carry host data, and most of them.
    host_ops: usize,
    host_ops_max: usize,
    table: StripeTable,
    leases: LeaseTable,
    /// Operations to start at the end of the turn.
    staged: VecDeque<OpId>,
    /// Operations that wait for scratch memory, in order.
    starved: VecDeque<OpId>,
    /// Operations that wait for their region's lease.
    marking: VecDeque<OpId>,
    /// Pieces of which rectangles are still to be cut, in order.
    uncut: VecDeque<PieceId>,
    /// Regions in which the members that are being rebuilt do not hold what they should.
    stale: Bitmap,
    /// Reads in a row that each member has failed.
    read_errors: Vec<u32>,
    sync: SyncWalk,
    gate: Gate,
    writes: Writes,
    /// Operations that are past `Queued`.
    active: usize,
    /// Operations that the shell or a member is at work on.
    in_flight: usize,
    counters: ShardCounters,
}

impl Shard {
    /// A shard of an array of which the regions in `in_sync` are in sync; in the others parity may stand for the
    /// slots in `vouched`.
    ///
    /// # Panics
    /// If `in_sync` is not over all regions.
    #[must_use]
    pub fn new(
        geometry: Arc<Geometry>,
        map: MemberMap,
        place: ShardPlace,
        regions: Regions,
        in_sync: Bitmap,
        vouched: SlotSet,
    ) -> Self {
        let band_bytes = band_bytes(geometry.members(), geometry.strip_bytes());
        let parities = Parities { p: true, q: geometry.parity_strips() == 2 };
        assert_eq!(in_sync.len(), regions.count(), "a bit for every region");
        let members = geometry.members();
        Self {
            geometry,
            map,
            place,
            parities,
            regions,
            band_bytes,
            in_sync,
            vouched,
            pieces: Slab::new(PIECES_MAX),
            fragments: Slab::new(FRAGMENTS_MAX),
            ops: Slab::new(STRIPE_OPS_MAX),
            host_ops: 0,
            host_ops_max: STRIPE_OPS_MAX,
            table: StripeTable::new(STRIPE_OPS_MAX),
            leases: LeaseTable::new(LEASES_MAX),
            staged: VecDeque::with_capacity(STRIPE_OPS_MAX),
            starved: VecDeque::with_capacity(STRIPE_OPS_MAX),
            marking: VecDeque::with_capacity(STRIPE_OPS_MAX),
            uncut: VecDeque::with_capacity(PIECES_MAX),
            stale: Bitmap::new(regions.count(), false),
            read_errors: vec![0; members],
            sync: SyncWalk::new(),
            gate: Gate::Open,
            writes: Writes::Allowed,
            active: 0,
            in_flight: 0,
            counters: ShardCounters::default(),
        }
    }

    /// Admits a piece of a host request. Nothing starts before [`Self::unplug`].
    ///
    /// # Errors
    /// The spec, when the table of pieces is full: try again after a completion.
    ///
    /// # Panics
    /// If the stripe is not this shard's, or the span not inside it.
    pub fn submit(&mut self, spec: PieceSpec) -> Result<PieceId, PieceSpec> {
        let owner = shard_of(spec.stripe, self.place.count);
        assert_eq!(owner, self.place.index, "stripe {:?} belongs to another shard", spec.stripe);
        let end = spec.span.start + spec.span.len;
        assert!(spec.span.len > 0 && end <= self.geometry.stripe_bytes(), "span of {spec:?}");
        let piece = Piece { spec, next_row: 0, pending: 0, status: PieceStatus::Done };
        let id = self.pieces.insert(piece).map_err(|piece| piece.spec)?;
        self.uncut.push_back(id);
        self.cut();
        Ok(id)
    }

    /// Whether [`Self::submit`] would give a piece back.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pieces.vacant() == 0
    }

    /// End of the turn: merges and starts what was staged.
    pub fn unplug(&mut self, now_ns: u64, out: &mut Actions) {
        if self.gate != Gate::Open {
            return;
        }
        // Those that end at once, because too much is lost, make room for others, which nobody would start
        // later: there may be no further turn.
        while let Some(id) = self.staged.pop_front() {
            self.try_start(id, now_ns, out);
        }
    }

    /// What happened to something that the shard asked for.
    pub fn handle(&mut self, now_ns: u64, event: Event, out: &mut Actions) {
        match event {
            Event::Acquired { op, ok } => self.acquired(now_ns, op, ok, out),
            Event::ReadDone { op, role, ok } => self.read_done(now_ns, op, role, ok, out),
            Event::Computed { op, mismatch } => self.computed(now_ns, op, mismatch, out),
            Event::WriteDone { op, role, ok } => self.write_done(now_ns, op, role, ok, out),
            Event::LeaseGranted { region } => self.lease_granted(now_ns, region, out),
            Event::RegionSync { region, in_sync } => {
                self.in_sync.set(region, in_sync);
            }
            Event::RegionRebuilt { region } => {
                self.stale.set(region, false);
            }
        }
    }

    /// Scratch memory has come back that no operation had any more: whoever waits for some tries again.
    pub fn feed_starved(&mut self, now_ns: u64, out: &mut Actions) {
        self.feed(now_ns, out);
    }

    /// Gives back the leases of regions that have been idle for long enough; with `all`,
    /// those of every idle region.
    pub fn return_leases(&mut self, now_ns: u64, all: bool, out: &mut Actions) {
        self.leases.expire(now_ns, all, |region| out.push_back(Action::ReturnLease { region }));
    }

    /// Changes for how long a region stays marked in which nobody writes any more: md's `daemon_sleep`.
    pub fn set_lease_idle_ns(&mut self, idle_ns: u64) {
        self.leases.set_idle_ns(idle_ns);
    }

    /// Changes how many stripe operations may carry host data at a time: md's `stripe_cache_size`. Those
    /// that are too many already end as usual. Operations of background actions, and those that mend, do
    /// not count, so that neither starves.
    pub fn set_host_ops_max(&mut self, max: usize) {
        self.host_ops_max = max.clamp(STRIPE_OPS_MIN, STRIPE_OPS_MAX);
        self.cut();
    }

    /// Most stripe operations that carry host data at a time.
    #[must_use]
    pub fn host_ops_max(&self) -> usize {
        self.host_ops_max
    }

    /// Stripe operations that carry host data.
    #[must_use]
    pub fn host_ops(&self) -> usize {
        self.host_ops
    }

    /// Whether host pieces wait though the tables have room.
    fn is_throttled(&self) -> bool {
        self.host_ops >= self.host_ops_max
    }

    /// Lets what is in flight end and starts nothing more, until [`Self::resume`]. Pieces are still
    /// admitted, as long as there is room. [`Action::Quiesced`] says that nothing is in flight; what waits
    /// for a lease, or for a failure to be durable, goes on waiting.
    pub fn quiesce(&mut self, out: &mut Actions) {
        self.gate = Gate::Closing;
        self.check_quiesced(out);
    }

    /// Starts what was held back, with the members as they are now. `stale` are the regions in which
    /// members that are now being rebuilt do not hold what they should; without it they stay as they were.
    ///
    /// # Panics
    /// If the members changed and operations are in flight: the shard was not quiesced.
    pub fn resume(
        &mut self,
        map: MemberMap,
        stale: Option<Bitmap>,
        writes: Writes,
        now_ns: u64,
        out: &mut Actions,
    ) {
        let unchanged = map.generation() == self.map.generation();
        assert!(self.gate == Gate::Closed || unchanged, "a new map needs a quiesced shard");
        self.map = map;
        if let Some(stale) = stale {
            self.stale = stale;
        }
        self.gate = Gate::Open;
        self.writes = writes;
        self.restart(now_ns, out);
    }

    /// The last failure of a member is durable: writes go on.
    pub fn allow_writes(&mut self, now_ns: u64, out: &mut Actions) {
        self.writes = Writes::Allowed;
        if self.gate == Gate::Open {
            self.restart(now_ns, out);
        }
    }

    /// Answers the writes whose members' failure is dealt with, and starts what may start.
    fn restart(&mut self, now_ns: u64, out: &mut Actions) {
        self.staged.clear();
        if self.is_broken() {
            self.fail_marking(now_ns, out);
        }
        for id in 0..u32::try_from(STRIPE_OPS_MAX).expect("a small constant") {
            self.end_faulted(id, now_ns, out);
            // In the order of their stripe: whoever is passed over behind one that is then merged into
            // another, and is not there any more, would never be tried again.
            if let Some(op) = self.ops.get(id).filter(|op| op.phase == Phase::Queued) {
                self.wake(op.stripe, now_ns, out);
            }
        }
        self.feed(now_ns, out);
        self.continue_sync(out);
    }

    /// The geometry.
    #[must_use]
    pub fn geometry(&self) -> &Arc<Geometry> {
        &self.geometry
    }

    /// Height of a band in bytes: no operation covers rows of two bands.
    #[must_use]
    pub fn band_bytes(&self) -> u32 {
        self.band_bytes
    }

    /// The members as this shard knows them.
    #[must_use]
    pub fn map(&self) -> &MemberMap {
        &self.map
    }

    /// Whether parity can be trusted on the rows of a stripe.
    #[must_use]
    pub fn is_in_sync(&self, stripe: StripeId) -> bool {
        self.in_sync.is_full() || self.in_sync.get(self.regions.of(stripe))
    }

    /// What parity is worth to an operation that cannot read these roles.
    fn trust(&self, op: &StripeOp, lost: RoleSet) -> Trust {
        if self.is_in_sync(op.stripe) {
            Trust::Right
        } else if lost.is_subset_of(self.roles(op, self.vouched)) {
            Trust::WhereWritten
        } else {
            Trust::Unknown
        }
    }

    /// Whether a member may be read, as what it should hold, on the rows of a stripe.
    #[must_use]
    pub fn is_readable(&self, slot: Slot, stripe: StripeId) -> bool {
        self.map.is_optimal()
            || match self.map.state(slot) {
                MemberState::InSync => true,
                MemberState::Rebuilding => !self.stale.get(self.regions.of(stripe)),
                MemberState::Faulty | MemberState::Missing => false,
            }
    }

    /// Whether too much is lost for anything to be written.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.map.is_broken(self.geometry.parity_strips())
    }

    /// Whether host writes are held back, because a failure is not durable.
    #[must_use]
    pub fn writes(&self) -> Writes {
        self.writes
    }

    /// An operation that actions have named and that has not ended.
    #[must_use]
    pub fn op(&self, id: OpId) -> &StripeOp {
        &self.ops[id]
    }

    /// The fragments of host data that an operation carries.
    pub fn fragments(&self, id: OpId) -> impl Iterator<Item = &Fragment> {
        let mut at = self.ops[id].fragments;
        std::iter::from_fn(move || {
            let fragment = self.fragments.get(at)?;
            at = fragment.next;
            Some(fragment)
        })
    }

    /// What an admitted piece asks for.
    #[must_use]
    pub fn piece(&self, id: PieceId) -> &PieceSpec {
        &self.pieces[id].spec
    }

    /// Counters since the shard was built.
    #[must_use]
    pub fn counters(&self) -> &ShardCounters {
        &self.counters
    }

    /// Regions that are leased, or asked for.
    #[must_use]
    pub fn leases(&self) -> usize {
        self.leases.len()
    }

    /// Operations past their queue.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active
    }

    /// Whether no piece is unanswered and no operation is queued or in flight.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pieces.is_empty() && self.ops.is_empty()
    }

    /// Cuts waiting pieces into operations, first come first served, while the tables have room.
    fn cut(&mut self) {
        while let Some(&id) = self.uncut.front() {
            let strip_bytes = self.geometry.strip_bytes();
            let (spec, row) = (self.pieces[id].spec, self.pieces[id].next_row);
            match rectangle::next(spec.span, strip_bytes, self.band_bytes, row) {
                None => {
                    self.pieces[id].next_row = strip_bytes;
                    self.uncut.pop_front();
                }
                Some(part) => {
                    let full = self.ops.vacant() == 0 || self.fragments.vacant() == 0;
                    if full || self.is_throttled() {
                        return;
                    }
                    self.pieces[id].next_row = part.row_end;
                    self.pieces[id].pending += 1;
                    self.queue_fragment(id, spec, part);
                }
            }
        }
    }

    fn queue_fragment(&mut self, piece: PieceId, spec: PieceSpec, part: rectangle::Rectangle) {
        let fragment = Fragment {
            piece,
            row: part.row,
            row_end: part.row_end,
            first: part.first,
            last: part.last,
            next: NONE,
        };
        let fragment = self.fragments.insert(fragment).expect("checked by the caller");
        let kind = match spec.kind {
            PieceKind::Read => OpKind::Read,
            PieceKind::Write { fua } => OpKind::Write { fua },
        };
        let strips = RoleSet::first_n(usize::from(part.last) + 1)
            .difference(RoleSet::first_n(usize::from(part.first)));
        self.host_ops += 1;
        self.counters.host_ops_most = self.counters.host_ops_most.max(self.host_ops as u64);
        self.queue_op(StripeOp {
            kind,
            stripe: spec.stripe,
            rotation: self.geometry.rotation(spec.stripe),
            row: part.row,
            row_end: part.row_end,
            strips,
            unreadable: RoleSet::empty(),
            targets: RoleSet::empty(),
            leased: false,
            phase: Phase::Queued,
            blocked_since_ns: None,
            fragments: fragment,
            fragments_tail: fragment,
            fragment_count: 1,
            next: NONE,
            prev: NONE,
        });
    }

    fn queue_op(&mut self, op: StripeOp) {
        let id = self.ops.insert(op).expect("checked by the caller");
        self.table.link(&mut self.ops, id);
        self.staged.push_back(id);
    }

    fn check_quiesced(&mut self, out: &mut Actions) {
        if self.gate == Gate::Closing && self.in_flight == 0 {
            self.gate = Gate::Closed;
            out.push_back(Action::Quiesced);
        }
    }
}

#[cfg(test)]
mod tests;
