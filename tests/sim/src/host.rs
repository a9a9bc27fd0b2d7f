//! Hosts: requests, the way of each into the array, and what its answer is held against.
//!
//! ```text
//!   request --> reactor --+-- read of readable members: straight to them
//!                         +-- everything else: pieces, to the shards that own their stripes
//!                         +-- flush: to every member that is written
//! ```
//!
//! A flush is answered when writes are allowed and no member that failed it is in use any more.
//!
//! Not here: which values are legal (`oracle`), when a request may fail (`judge`).

use crate::disk::SECTOR;
use crate::judge;
use crate::swarm::Pattern;
use crate::trace;
use crate::world::{Device, Happening, Io, Kind, Message, Party, Purpose, SECOND_NS, World};
use raid::coordinator::Input;
use raid::event::{FailCause, PieceKind, PieceSpec, span_at};
use raid::shard::{Writes, shard_of};
use raid::units::{Slot, SlotSet, StripeId};
use std::collections::BTreeSet;

/// What a host wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    /// To read.
    Read,
    /// To write, as this write.
    Write {
        /// Number of the write.
        id: u32,
        /// Force unit access.
        fua: bool,
    },
    /// What was answered to be durable.
    Flush,
}

/// A request under way.
#[derive(Clone)]
pub struct Host {
    /// What it wants.
    pub kind: HostKind,
    /// First byte of the array.
    pub start: u64,
    /// The data.
    pub data: Vec<u8>,
    /// Where it arrived.
    pub reactor: usize,
    /// When.
    pub issued: u64,
    /// Step of that.
    pub step: u64,
    /// Parts without an answer.
    pub parts: usize,
    /// No part failed.
    pub ok: bool,
    /// Devices that its writes left out, by stripe.
    pub skipped: BTreeSet<(StripeId, usize)>,
    /// Members that failed its flush.
    pub flush_failed: SlotSet,
    /// Generation of the map by which they were flushed.
    pub flush_generation: u64,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, start, data, issued, parts, skipped, flush_failed, .. } = self;
        write!(
            f,
            "{issued} {kind:?} {start}+{}, {parts} parts, skipped {skipped:?}, flush {flush_failed:?}",
            data.len()
        )
    }
}

impl World {
    /// The next number of an order in time that nothing shares.
    pub fn stamp(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Makes sure that requests keep coming.
    pub fn more_requests(&mut self) {
        let life = &self.life;
        let wanted = life.issued < life.to_issue && life.hosts.len() < self.swarm.queue_depth;
        if !wanted || life.requesting || life.stopping {
            return;
        }
        self.life.requesting = true;
        if self.prng.one_in(self.swarm.long_pause) {
            let at = self.now_ns + self.prng.within(SECOND_NS, 12 * SECOND_NS);
            self.schedule(at, Happening::Request);
        } else {
            self.schedule_within(self.swarm.think_ns, Happening::Request);
        }
    }

    /// A host issues a request.
    pub fn request(&mut self) {
        self.life.requesting = false;
        if self.life.stopping || self.life.issued >= self.life.to_issue {
            return;
        }
        self.life.issued += 1;
        self.chaos();
        let kind = self.draw_kind();
        let (start, len) = match kind {
            HostKind::Flush => (0, 0),
            HostKind::Read | HostKind::Write { .. } => self.draw_place(),
        };
        let clash =
            |host: &Host| start < host.start + host.data.len() as u64 && host.start < start + len;
        if !self.swarm.overlap && self.life.hosts.values().any(clash) {
            return self.more_requests();
        }
        self.issue(kind, start, len);
        self.more_requests();
    }

    fn draw_kind(&mut self) -> HostKind {
        if self.prng.percent(self.swarm.flushes) {
            return HostKind::Flush;
        }
        if self.prng.percent(self.swarm.reads) {
            return HostKind::Read;
        }
        self.next_write += 1;
        HostKind::Write { id: self.next_write, fua: self.prng.percent(self.swarm.fua) }
    }

    fn draw_place(&mut self) -> (u64, u64) {
        let block = u64::from(self.swarm.block_bytes);
        let blocks = self.geometry.array_bytes() / block;
        let longest = self.swarm.blocks_max.min(blocks);
        let len = match self.prng.below(8) {
            0 => (self.geometry.stripe_bytes() / block).min(longest.max(16)).min(blocks),
            _ => self.prng.within(1, longest),
        };
        let start = match self.swarm.pattern {
            Pattern::Sequential => (self.life.issued * longest) % blocks,
            Pattern::Random => self.prng.below(blocks),
            Pattern::HotSpot if self.prng.percent(80) => {
                self.prng.below(blocks.min(2 * self.geometry.stripe_bytes() / block))
            }
            Pattern::HotSpot => self.prng.below(blocks),
        };
        let start = start.min(blocks - len);
        (start * block, len * block)
    }

    /// Issues a request.
    pub fn issue(&mut self, kind: HostKind, start: u64, len: u64) -> u64 {
        let issued = self.stamp();
        let reactor = self.prng.index(self.life.reactors.len());
        let (first, count) = sector_range(start, len);
        let data = match kind {
            HostKind::Write { id, .. } => {
                self.oracle.issued(first, count, id, issued);
                self.oracle.data(first, count, id)
            }
            HostKind::Read | HostKind::Flush => vec![0; count * SECTOR],
        };
        if kind == HostKind::Read {
            self.life.reads.insert(issued, issued);
        }
        let host = Host {
            kind,
            start,
            data,
            reactor,
            issued,
            step: self.step,
            parts: 0,
            ok: true,
            skipped: BTreeSet::new(),
            flush_failed: SlotSet::empty(),
            flush_generation: 0,
        };
        trace!(self, "host {issued} {kind:?} {start}+{len} at reactor {reactor}");
        self.life.hosts.insert(issued, host);
        self.stats.requests += 1;
        self.life.foreground_bytes += len;
        if kind == HostKind::Flush || self.life.reactors[reactor].quiescing {
            self.life.reactors[reactor].held.push(issued);
            self.look_at_held(reactor);
        } else {
            self.start_request(issued);
        }
        issued
    }

    /// Requests that waited for a reactor to go on, if it does.
    pub fn look_at_held(&mut self, reactor: usize) {
        self.look_at_rest(reactor);
        let at = &mut self.life.reactors[reactor];
        if at.quiescing || at.held.is_empty() {
            return;
        }
        let mut wait = Vec::new();
        for host in std::mem::take(&mut at.held) {
            let is_flush = self.life.hosts[&host].kind == HostKind::Flush;
            let held = self.life.reactors[reactor].core.writes() == Writes::Held;
            if is_flush && held {
                wait.push(host);
            } else if is_flush && self.life.hosts[&host].flush_failed.is_empty() {
                self.start_flush(host);
            } else if is_flush {
                // It was flushed, and waited for a member that failed it to be out.
                self.host(host).parts += 1;
                self.part_ended(host, true);
            } else {
                self.start_request(host);
            }
        }
        self.life.reactors[reactor].held.append(&mut wait);
    }

    fn start_request(&mut self, id: u64) {
        let host = &self.life.hosts[&id];
        let (kind, reactor, start) = (host.kind, host.reactor, host.start);
        let end = start + host.data.len() as u64;
        let piece_kind = match kind {
            HostKind::Read => PieceKind::Read,
            HostKind::Write { fua, .. } => PieceKind::Write { fua },
            HostKind::Flush => panic!("a flush has no pieces"),
        };
        // Held open until all parts are out.
        self.host(id).parts += 1;
        let mut at = start;
        while at < end {
            let location = self.geometry.locate(at);
            let open = span_at(location, self.swarm.strip_bytes, 0);
            let len = (self.geometry.stripe_bytes() - open.start).min(end - at);
            let span = span_at(location, self.swarm.strip_bytes, len);
            let spec = PieceSpec { kind: piece_kind, stripe: location.stripe, span };
            if kind == HostKind::Read && self.may_go_direct(reactor, &spec) {
                self.go_direct(id, reactor, &spec);
            } else {
                self.send_piece(id, spec);
            }
            at += len;
        }
        self.part_ended(id, true);
    }

    fn send_piece(&mut self, id: u64, spec: PieceSpec) {
        let host = self.host(id);
        host.parts += 1;
        let from = Party::Reactor(host.reactor);
        let owner = shard_of(spec.stripe, self.life.reactors.len());
        self.tell(from, owner, Message::Piece(id, spec));
    }

    /// (strip, first row, length) of every strip of a piece.
    fn parts_of(&self, spec: &PieceSpec) -> Vec<(u8, u32, u32)> {
        let strip_bytes = u64::from(self.swarm.strip_bytes);
        let (mut at, end) = (spec.span.start, spec.span.start + spec.span.len);
        let mut parts = Vec::new();
        while at < end {
            let len = (strip_bytes - at % strip_bytes).min(end - at);
            let narrow = |bytes: u64| u32::try_from(bytes).expect("less than a strip");
            let strip = u8::try_from(at / strip_bytes).expect("less than a stripe");
            parts.push((strip, narrow(at % strip_bytes), narrow(len)));
            at += len;
        }
        parts
    }

    fn may_go_direct(&self, reactor: usize, spec: &PieceSpec) -> bool {
        let core = &self.life.reactors[reactor].core;
        self.swarm.fast_reads
            && self.parts_of(spec).iter().all(|&(strip, ..)| {
                let slot = self.slot_of(spec.stripe, strip);
                let readable = match self.plant {
                    crate::plant::Plant::ReadStale => !core.map().missing().contains(slot),
                    _ => core.is_readable(slot, spec.stripe),
                };
                readable && self.life.device_of[slot.index()].is_some()
            })
    }

    fn go_direct(&mut self, id: u64, reactor: usize, spec: &PieceSpec) {
        let base = self.piece_start(id, spec);
        let mut done = 0;
        for (strip, row, len) in self.parts_of(spec) {
            let slot = self.slot_of(spec.stripe, strip);
            self.host(id).parts += 1;
            self.life.reactors[reactor].direct += 1;
            judge::before_direct(self, slot, spec.stripe, row, len);
            let purpose = Purpose::Direct { host: id, reactor, at: base + done };
            let at = self.geometry.member_byte(slot, spec.stripe, row);
            self.submit_member(slot, at, Kind::Read(len as usize), purpose);
            done += len as usize;
        }
    }

    /// A read past the core has ended; what failed goes to the owner of the stripe.
    pub fn direct_ended(
        &mut self,
        id: u64,
        reactor: usize,
        at: usize,
        device: usize,
        io: &Io,
        ok: bool,
    ) {
        let Kind::Read(len) = io.kind else { return };
        self.life.reactors[reactor].direct -= 1;
        if ok {
            let data = self.disks[device].current(io.offset_bytes, len).to_vec();
            self.host(id).data[at..at + len].copy_from_slice(&data);
        } else {
            let byte = self.host(id).start + at as u64;
            let location = self.geometry.locate(byte);
            let span = span_at(location, self.swarm.strip_bytes, len as u64);
            self.send_piece(id, PieceSpec { kind: PieceKind::Read, stripe: location.stripe, span });
        }
        self.look_at_rest(reactor);
        self.part_ended(id, true);
    }

    fn start_flush(&mut self, id: u64) {
        self.host(id).parts += 1;
        let reactor = self.host(id).reactor;
        let map = self.life.reactors[reactor].core.map();
        let (writable, generation) = (map.writable(), map.generation());
        self.host(id).flush_generation = generation;
        for slot in writable.iter() {
            let Some(device) = self.life.device_of[slot.index()] else { continue };
            self.host(id).parts += 1;
            self.submit_flush(Device::Member(device), Purpose::HostFlush { host: id, slot });
        }
        self.part_ended(id, true);
    }

    /// A member has answered a host's flush.
    pub fn host_flush_ended(&mut self, id: u64, slot: Slot, device: usize, ok: bool) {
        // What became of a device that has left its slot since is of no interest.
        let gone = self.life.device_of[slot.index()] != Some(device);
        if !ok && !gone && self.plant != crate::plant::Plant::FlushRetried {
            self.host(id).flush_failed.insert(slot);
            let from = Party::Reactor(self.host(id).reactor);
            self.input(from, Input::MemberFailed { slot, cause: FailCause::Flush });
        }
        self.part_ended(id, true);
    }

    fn host(&mut self, id: u64) -> &mut Host {
        self.life.hosts.get_mut(&id).expect("the request is under way")
    }

    /// A part of a request has ended.
    pub fn part_ended(&mut self, id: u64, ok: bool) {
        let host = self.host(id);
        host.parts -= 1;
        host.ok &= ok;
        if host.parts > 0 {
            return;
        }
        if host.kind == HostKind::Flush && !self.flush_is_over(id) {
            // It is looked at again when the members have changed.
            let reactor = self.host(id).reactor;
            self.life.reactors[reactor].held.push(id);
            return;
        }
        let host = self.life.hosts.remove(&id).expect("the request is under way");
        self.answered(id, &host);
        self.more_requests();
    }

    /// Whether the members that failed a flush are out, and that is known for good.
    fn flush_is_over(&mut self, id: u64) -> bool {
        let host = self.host(id);
        let (reactor, failed, generation) =
            (host.reactor, host.flush_failed, host.flush_generation);
        if failed.is_empty() {
            return true;
        }
        let at = &self.life.reactors[reactor];
        let over = !at.quiescing
            && at.core.writes() == Writes::Allowed
            && at.core.map().generation() > generation;
        if over {
            self.host(id).flush_failed = SlotSet::empty();
            self.stats.held_flushes += 1;
        }
        over
    }

    fn answered(&mut self, id: u64, host: &Host) {
        let now = self.stamp();
        let (first, count) = sector_range(host.start, host.data.len() as u64);
        trace!(self, "host {id} {:?} answered {}", host.kind, host.ok);
        self.note(id << 1 | u64::from(host.ok));
        match host.kind {
            HostKind::Read => {
                self.life.reads.remove(&id);
                if host.ok {
                    self.note_bytes(&host.data);
                    judge::read_answered(self, host, first, now);
                }
            }
            HostKind::Write { id, fua } => {
                let floor = self.read_floor();
                self.oracle.acked((first, count), id, now, host.ok, fua, floor);
            }
            HostKind::Flush if self.life.coordinator.is_broken() => {}
            HostKind::Flush => {
                let floor = self.read_floor();
                self.oracle.flushed(host.issued, floor);
            }
        }
        if !host.ok {
            judge::may_fail(self, host);
            self.stats.failed_requests += 1;
        }
    }

    /// When the oldest read under way began.
    #[must_use]
    pub fn read_floor(&self) -> u64 {
        self.life.reads.first_key_value().map_or(u64::MAX, |(&first, _)| first)
    }
}

/// First sector and number of sectors of a range of bytes.
#[must_use]
pub fn sector_range(start: u64, len: u64) -> (usize, usize) {
    let range = crate::truth::sectors(start, len);
    (range.start, range.len())
}
