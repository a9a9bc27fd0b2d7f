//! Issuing host requests: the fast path of reads, and pieces for everything else.
//!
//! A read of members in sync goes from the reactor on which it arrived straight to the member's channel
//! on that reactor: no message, no stripe state, no allocation. What needs a stripe's owner (writes,
//! reads that touch a missing member, reads that a member failed) goes there as a piece.
//!
//! Not here: what becomes of pieces (`execute`).

use crate::host::{Body, Host};
use crate::limits::PARTS_MAX;
use crate::member::Purpose;
use crate::message::{Message, PieceData};
use crate::segments;
use crate::shard::{ArrayShard, Incoming};
use device::{BdevIo, IoOp, IoStatus, Sgl};
use raid::coordinator::Input;
use raid::event::{FailCause, PieceKind, PieceSpec, PieceStatus, span_at};
use raid::geometry::{Geometry, Location, Rotation};
use raid::rectangle::Span;
use raid::shard::{Writes, shard_of};
use raid::units::{Role, Slot, StripeId};
use reactor::Ticks;
use reactor::memory::IoBufMut;

impl ArrayShard {
    /// Where a request is a read inside one strip whose member is there: that member, and the byte on
    /// it.
    pub(crate) fn direct_place(&self, io: &BdevIo) -> Option<(Slot, u64)> {
        if !matches!(io.op, IoOp::Read { .. }) {
            return None;
        }
        let geometry = self.core.geometry();
        let at = geometry.locate(io.offset_bytes);
        if u64::from(at.offset) + io.len_bytes > u64::from(geometry.strip_bytes()) {
            return None;
        }
        let slot = geometry.data_slot(geometry.rotation(at.stripe), at.strip);
        let readable = self.core.is_readable(slot, at.stripe);
        readable.then(|| (slot, geometry.member_byte(slot, at.stripe, at.offset)))
    }

    /// Hands a direct read that its member failed to the stripe's owner.
    pub(crate) fn recover_direct(
        &mut self,
        client: u32,
        token: u64,
        offset_bytes: u64,
        slot: Slot,
        io: BdevIo,
    ) {
        let host = Host {
            client,
            token,
            offset_bytes,
            len_bytes: io.len_bytes,
            issued_bytes: io.len_bytes,
            pending: 1,
            status: IoStatus::Ok,
            body: Body::Lent,
        };
        let id = self.hosts.insert(host).expect("every direct read has an entry in reserve");
        self.strip_read_done(id, slot, io, IoStatus::MediaError);
    }

    /// Issues parts of a request, up to the bound on parts under way. A request whose user is gone ends when
    /// the parts have that are under way.
    pub(crate) fn issue(&mut self, id: u32) {
        if self.is_given_up(id) {
            let host = &mut self.hosts[id];
            host.status = IoStatus::Aborted;
            if host.pending == 0 {
                self.complete_host(id, None);
            }
            return;
        }
        loop {
            let host = &self.hosts[id];
            if matches!(host.body, Body::Flush { .. }) {
                return self.issue_flush(id);
            }
            if host.is_issued() || host.pending >= PARTS_MAX || !host.status.is_ok() {
                return;
            }
            let at = self.core.geometry().locate(host.offset_bytes + host.issued_bytes);
            let left = host.len_bytes - host.issued_bytes;
            match host.body {
                Body::Read(_) | Body::Reading { .. } => self.issue_read(id, at, left),
                Body::Write { fua, .. } | Body::Zeroes { fua, .. } => {
                    self.issue_write(id, at, left, fua);
                }
                Body::Lent | Body::LentWrite { .. } | Body::Torn(_) | Body::Flush { .. } => {
                    panic!("request {id} is issued already: {host:?}")
                }
            }
        }
    }

    fn issue_read(&mut self, id: u32, at: Location, left: u64) {
        let geometry = self.core.geometry();
        let rotation = geometry.rotation(at.stripe);
        if !self.core.map().is_optimal() {
            let span = self.stripe_span(at, left);
            if self.touches_unreadable(at.stripe, rotation, span) {
                let buffers = self.lend(id, span.len);
                let spec = PieceSpec { kind: PieceKind::Read, stripe: at.stripe, span };
                return self.send_piece(id, spec, PieceData::Read(buffers));
            }
        }
        let geometry = self.core.geometry();
        let len = u64::from(geometry.strip_bytes() - at.offset).min(left);
        let slot = geometry.data_slot(rotation, at.strip);
        let offset_bytes = geometry.member_byte(slot, at.stripe, at.offset);
        let token = Purpose::HostRead { host: id, slot }.token();
        let op = IoOp::Read { into: self.lend(id, len) };
        self.direct += 1;
        self.counters.direct_reads += 1;
        self.submit_to_member(slot, BdevIo { token, op, offset_bytes, len_bytes: len });
    }

    fn issue_write(&mut self, id: u32, at: Location, left: u64, fua: bool) {
        let span = self.stripe_span(at, left);
        let host = &mut self.hosts[id];
        let from = host.issued_bytes as usize;
        let whole = host.issued_bytes == 0 && span.len == host.len_bytes;
        host.issued_bytes += span.len;
        host.pending += 1;
        let data = match &host.body {
            Body::Write { .. } if whole => {
                match std::mem::replace(&mut host.body, Body::LentWrite { fua }) {
                    Body::Write { from, .. } => PieceData::Write(from),
                    body => panic!("{body:?} is not what it was"),
                }
            }
            Body::Write { from: buffers, .. } => {
                PieceData::Write(segments::slice(buffers, from..from + span.len as usize))
            }
            _ => PieceData::Zeroes,
        };
        let spec = PieceSpec { kind: PieceKind::Write { fua }, stripe: at.stripe, span };
        self.send_piece(id, spec, data);
    }

    /// Flushes every member. While a failure is not durable the answer would promise too much: what the
    /// failed member had not made durable is only safe once nobody takes it for a member any more.
    fn issue_flush(&mut self, id: u32) {
        if self.core.is_broken() {
            self.hosts[id].status = IoStatus::MediaError;
            return self.complete_host(id, None);
        }
        if self.core.writes() == Writes::Held {
            self.parked_flushes.push(id);
            return;
        }
        let slots = self.core.map().writable();
        let host = &mut self.hosts[id];
        host.body = Body::Flush { failed: false };
        host.pending = u32::try_from(slots.len()).expect("at most 255 members");
        self.direct += slots.len();
        for slot in slots.iter() {
            let token = Purpose::HostFlush { host: id, slot }.token();
            self.submit_to_member(slot, BdevIo::flush(token));
        }
    }

    /// A member's part of a host flush came back. One that failed it is out, and the flush waits until
    /// that is durable, and is made again without it.
    pub(crate) fn flush_part_done(&mut self, now: Ticks, id: u32, slot: Slot, status: IoStatus) {
        self.direct -= 1;
        let host = &mut self.hosts[id];
        host.pending -= 1;
        let over = host.pending == 0;
        let Body::Flush { failed } = &mut host.body else { panic!("{:?} is no flush", host.body) };
        *failed |= !status.is_ok();
        let failed = *failed;
        if !status.is_ok() {
            self.tell_coordinator(now, Input::MemberFailed { slot, cause: FailCause::Flush });
        }
        match (over, failed) {
            (true, false) => self.complete_host(id, None),
            (true, true) => self.parked_flushes.push(id),
            (false, _) => {}
        }
    }

    /// Makes the flushes again that waited for a failure to become durable.
    pub(crate) fn retry_flushes(&mut self) {
        for id in std::mem::take(&mut self.parked_flushes) {
            if self.may_issue() { self.issue(id) } else { self.hold(id) }
        }
    }

    /// Cuts the next `len` bytes of a read's buffers off, and counts the part.
    fn lend(&mut self, id: u32, len: u64) -> Sgl<IoBufMut> {
        let host = &mut self.hosts[id];
        let whole = host.issued_bytes == 0 && len == host.len_bytes;
        host.issued_bytes += len;
        host.pending += 1;
        if let Body::Read(_) = host.body {
            let Body::Read(buffers) = std::mem::replace(&mut host.body, Body::Lent) else {
                panic!("the body is a read's");
            };
            if whole {
                return buffers;
            }
            let (join, rest) = segments::open(buffers);
            host.body = Body::Reading { rest, join };
        }
        match &mut host.body {
            Body::Reading { rest, .. } => rest.take(len as usize),
            body => panic!("buffers of {body:?} were lent before"),
        }
    }

    /// The share of a request that falls into the stripe of `at`.
    fn stripe_span(&self, at: Location, left: u64) -> Span {
        let geometry = self.core.geometry();
        let mut span = span_at(at, geometry.strip_bytes(), left);
        span.len = span.len.min(geometry.stripe_bytes() - span.start);
        span
    }

    /// Whether a span has bytes on a member that cannot be read there.
    fn touches_unreadable(&self, stripe: StripeId, rotation: Rotation, span: Span) -> bool {
        let geometry = self.core.geometry();
        let strip_bytes = u64::from(geometry.strip_bytes());
        let (first, last) = (span.start / strip_bytes, (span.start + span.len - 1) / strip_bytes);
        let map = self.core.map();
        map.missing().union(map.rebuilding()).iter().any(|slot| {
            match geometry.role(rotation, slot) {
                Role::Data(strip) => {
                    (first..=last).contains(&u64::from(strip))
                        && !self.core.is_readable(slot, stripe)
                }
                Role::P | Role::Q => false,
            }
        })
    }

    fn send_piece(&mut self, host: u32, spec: PieceSpec, data: PieceData) {
        let owner = shard_of(spec.stripe, self.post.shards());
        let origin = self.index;
        if owner == self.index {
            self.counters.local_pieces += 1;
            self.incoming.push_back(Incoming { origin, host, spec, data });
        } else {
            self.counters.forwards += 1;
            self.post.send(owner, Message::Piece { origin, host, spec, data });
        }
    }

    /// A strip of a host read came back from its member. What the member failed, the owner reconstructs.
    pub(crate) fn strip_read_done(&mut self, host: u32, slot: Slot, io: BdevIo, status: IoStatus) {
        if status.is_ok() {
            return self.part_ended(host, status, Some(io.op));
        }
        self.counters.failed_direct_reads += 1;
        let IoOp::Read { into } = io.op else { panic!("a read came back as {:?}", io.op) };
        let geometry = self.core.geometry();
        let at = location_of(geometry, slot, io.offset_bytes);
        let span = span_at(at, geometry.strip_bytes(), io.len_bytes);
        let spec = PieceSpec { kind: PieceKind::Read, stripe: at.stripe, span };
        self.send_piece(host, spec, PieceData::Read(into));
    }

    /// A piece came back.
    pub(crate) fn piece_done(&mut self, host: u32, status: IoStatus, data: PieceData) {
        let part = match data {
            PieceData::Read(into) => Some(IoOp::Read { into }),
            PieceData::Write(from) => Some(IoOp::Write { from, fua: false }),
            PieceData::Zeroes => None,
        };
        self.part_ended(host, status, part);
    }

    /// A part of a request ended; the last one answers it.
    pub(crate) fn part_ended(&mut self, id: u32, status: IoStatus, part: Option<IoOp>) {
        let host = &mut self.hosts[id];
        host.part_ended(status);
        let part = host.take_part(part);
        let quiet = host.pending == 0;
        if host.is_torn() && host.status.is_ok() {
            if !quiet {
                return;
            }
            host.begin_again();
        }
        let over = host.is_issued() || !host.status.is_ok();
        if quiet && over {
            self.complete_host(id, part);
        } else if !over && self.may_issue() {
            self.issue(id);
        } else if quiet {
            self.hold(id);
        }
    }
}

/// The status of a request whose piece ended so.
pub(crate) fn io_status(status: PieceStatus) -> IoStatus {
    match status {
        PieceStatus::Done => IoStatus::Ok,
        PieceStatus::Failed => IoStatus::MediaError,
    }
}

/// Where a byte of a member that holds data lies in its stripe.
fn location_of(geometry: &Geometry, slot: Slot, member_byte: u64) -> Location {
    let strip_bytes = u64::from(geometry.strip_bytes());
    let byte = member_byte - geometry.data_offset_bytes(slot);
    let stripe = StripeId(byte / strip_bytes);
    let Role::Data(strip) = geometry.role(geometry.rotation(stripe), slot) else {
        panic!("slot {slot:?} holds parity at byte {member_byte}, and was read as data");
    };
    let offset = u32::try_from(byte % strip_bytes).expect("a strip has at most 16 MiB");
    Location { stripe, strip, offset }
}
