//! The world: everything that outlives a crash, everything that does not, and time.
//!
//! ```text
//!   World  disks, the log's device, the table owner's notes, oracle, truth     outlive a crash
//!     Life   queue of what happens next, reactors with their shards,           end with one
//!            coordinator, host requests
//!
//!   step: take the next happening --> shard, coordinator or host --> actions and orders
//!                 ^                                                        |
//!                 +------- answers of devices, messages, turns, timers <---+
//! ```
//!
//! Time is virtual and jumps to the next happening. Messages between two parties arrive in the order in
//! which they were sent, after a random delay; devices answer in any order.
//!
//! Not here: carrying out actions (`shell`) and orders (`orders`), hosts (`host`), faults (`chaos`),
//! starting (`boot`), what is right (`judge`, `oracle`).

use crate::disk::{Disk, FlushTicket, SECTOR};
use crate::host::Host;
use crate::oracle::Oracle;
use crate::plant::Plant;
use crate::prng::{Prng, mix};
use crate::stats::Stats;
use crate::swarm::{LogAtStart, Permits, Swarm};
use crate::truth::Truth;
use raid::coordinator::{Coordinator, Input, Permit};
use raid::dirty_log::Regions;
use raid::event::{Event, OpId, PieceId, PieceSpec, Work};
use raid::geometry::Geometry;
use raid::member::MemberMap;
use raid::plan::Trust;
use raid::shard::{Shard, Writes};
use raid::superblock::SUPERBLOCK_BYTES;
use raid::units::{RoleSet, Slot, SlotSet, StripeId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use uuid::Uuid;

/// A second of virtual time.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Which device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// A member's or a spare's.
    Member(usize),
    /// The log's.
    Log,
}

/// Who speaks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A reactor with its shard.
    Reactor(usize),
    /// The coordinator.
    Coordinator,
}

/// What a reactor is told.
#[derive(Debug, Clone)]
pub enum Message {
    /// An event for its shard.
    Event(Event),
    /// A piece of a host request that arrived elsewhere.
    Piece(u64, PieceSpec),
    /// A piece of a request of its own was answered.
    Answer {
        /// The request.
        host: u64,
        /// Whether it was done.
        ok: bool,
    },
    /// Come to rest.
    Quiesce,
    /// Go on.
    Resume {
        /// The members.
        map: Box<MemberMap>,
        /// Regions in which those being rebuilt do not hold what they should, if that is new.
        stale: Option<Box<raid::bitmap::Bitmap>>,
        /// Whether host writes may start.
        writes: Writes,
    },
    /// Writes may go on.
    AllowWrites,
    /// Work.
    StartWork(Work),
    /// Give up the rest of it.
    AbortWork,
}

/// What happens next.
#[derive(Debug, Clone)]
pub enum Happening {
    /// A device answers, or its shell gives it up.
    Io {
        /// The request.
        id: u64,
        /// It is given up.
        abandoned: bool,
    },
    /// A message arrives at a reactor.
    Tell(usize, Message),
    /// A message arrives at the coordinator.
    Input(Input),
    /// A reactor ends its turn.
    Turn(usize),
    /// The coordinator ends its turn.
    CoordinatorTurn,
    /// A timer of the coordinator.
    Timer,
    /// Reactors look at their leases.
    Tick,
    /// A host issues its next request.
    Request,
    /// The owner of the table takes note of failures and allows writes.
    OwnerAllows,
    /// The operator looks for a device for an empty slot.
    Repair,
}

/// What a device was asked.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Read so many bytes.
    Read(usize),
    /// Write these bytes.
    Write {
        /// What to write.
        bytes: Vec<u8>,
        /// Force unit access.
        fua: bool,
    },
    /// Flush.
    Flush(FlushTicket),
}

/// Who asked, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A shard's read.
    Read {
        /// Index of the shard.
        shard: usize,
        /// The operation.
        op: OpId,
        /// What of it.
        role: u8,
    },
    /// A shard's write.
    Write {
        /// Index of the shard.
        shard: usize,
        /// The operation.
        op: OpId,
        /// What of it.
        role: u8,
    },
    /// A shard's write that a planted bug has answered already.
    Late {
        /// Index of the shard.
        shard: usize,
        /// The operation.
        op: OpId,
    },
    /// A read past the core: bytes from `at` on of the request.
    Direct {
        /// The request.
        host: u64,
        /// Where it arrived.
        reactor: usize,
        /// Place in the request's data.
        at: usize,
    },
    /// A host's flush.
    HostFlush {
        /// The request.
        host: u64,
        /// The member.
        slot: Slot,
    },
    /// The coordinator's flush of a member.
    MemberFlush {
        /// The member.
        slot: Slot,
    },
    /// The coordinator's write of the log.
    LogWrite,
    /// Its flush.
    LogFlush,
    /// A superblock: step 0 to 3 are write, flush, write, flush.
    Superblock {
        /// The member.
        slot: Slot,
        /// Which step.
        step: u8,
    },
}

/// A request to a device.
#[derive(Debug, Clone)]
pub struct Io {
    /// To which.
    pub device: Device,
    /// First byte.
    pub offset_bytes: u64,
    /// What.
    pub kind: Kind,
    /// Why.
    pub purpose: Purpose,
}

/// A reactor: one shard of the core, and what its shell keeps for it.
#[derive(Debug)]
pub struct Reactor {
    /// The shard.
    pub core: Shard,
    /// Buffers by operation and role.
    pub buffers: BTreeMap<(OpId, u8), Vec<u8>>,
    /// Bytes in them.
    pub buffer_bytes: usize,
    /// Host requests by piece, and the stripe of it.
    pub pieces: BTreeMap<PieceId, (u64, StripeId)>,
    /// Pieces that found no room.
    pub backlog: VecDeque<(u64, PieceSpec)>,
    /// A turn is under way.
    pub turning: bool,
    /// Told to come to rest, and not yet to go on.
    pub quiescing: bool,
    /// The core is at rest, the coordinator was not told yet.
    pub rest_untold: bool,
    /// Reads past the core.
    pub direct: usize,
    /// Requests that wait until it goes on.
    pub held: Vec<u64>,
    /// By region: whether its parity can be trusted, as far as the shard was told or has told.
    pub trusted: Vec<bool>,
    /// Slots that parity may stand for in the other regions.
    pub vouched: SlotSet,
    /// By operation: what parity was worth when it was last planned.
    pub planned: BTreeMap<OpId, Trust>,
}

/// What does not outlive a crash.
#[derive(Debug)]
pub struct Life {
    /// What happens, by time and order.
    pub queue: BTreeMap<(u64, u64), Happening>,
    /// Reactors, one per shard.
    pub reactors: Vec<Reactor>,
    /// The coordinator.
    pub coordinator: Coordinator,
    /// Devices by slot.
    pub device_of: Vec<Option<usize>>,
    /// Requests to devices.
    pub ios: BTreeMap<u64, Io>,
    /// Host requests.
    pub hosts: BTreeMap<u64, Host>,
    /// Last arrival by sender and receiver.
    pub channels: BTreeMap<(Party, Party), u64>,
    /// The coordinator's turn is under way.
    pub coordinator_turning: bool,
    /// Its next timer.
    pub timer_ns: Option<u64>,
    /// By region: whether the coordinator called it clean when it was last looked at.
    pub clean: Vec<bool>,
    /// Host requests that have been issued.
    pub issued: u64,
    /// Host requests to issue.
    pub to_issue: u64,
    /// A request is about to be issued.
    pub requesting: bool,
    /// Told to stop.
    pub stopping: bool,
    /// Stopped in order.
    pub stopped: bool,
    /// The owner of the table is about to allow writes.
    pub owner_asked: bool,
    /// The operator is about to look for a device.
    pub repairing: bool,
    /// The owner allowed writes though the log failed.
    pub log_waived: bool,
    /// What the coordinator was told last of whether background actions may work.
    pub permit: Permit,
    /// Host bytes so far.
    pub foreground_bytes: u64,
    /// Superblocks on their way: bytes by slot, and the order of the copies.
    pub superblocks: BTreeMap<u8, (Vec<u8>, [usize; 2])>,
    /// Slots that were given a fault that costs them their place.
    pub doomed: SlotSet,
    /// Slots that failed a flush of the coordinator.
    pub flush_failed: SlotSet,
    /// The log on its device is in use.
    pub log_used: bool,
    /// Devices that joined again before it was on record that they were out.
    pub unrecorded: BTreeSet<usize>,
    /// Devices that have failed a flush.
    pub flush_latched: BTreeSet<usize>,
    /// The log failed a write or a flush.
    pub log_failed: bool,
    /// Member reads and writes of operations under way (R3): stripe, rows, operation, whether a write.
    pub touching: Vec<(usize, OpId, u64, std::ops::Range<u32>, bool)>,
    /// Roles that operations of shards have written since they computed.
    pub wrote: BTreeMap<(usize, OpId), RoleSet>,
    /// Grants that a planted bug gave too early.
    pub granted_early: BTreeSet<(usize, u64)>,
    /// Stretches, by shard and first stripe, that were answered before they were done.
    pub answered_early: BTreeSet<(usize, u64)>,
    /// Stretches that are not over, by first stripe: shards that have not answered.
    pub stretches_out: BTreeMap<u64, usize>,
    /// What is handed out was given up since.
    pub aborting: bool,
    /// Devices that are out for good: writes were allowed without them.
    pub out: BTreeSet<usize>,
    /// Devices that every survivor is known to have on record as out.
    pub known_out: BTreeSet<usize>,
    /// When the oldest read under way began is found here: host requests that read.
    pub reads: BTreeMap<u64, u64>,
}

/// What the owner of a table without superblocks knows of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// The device.
    pub device: usize,
    /// Whether it is a member in sync.
    pub in_sync: bool,
    /// Whether it has to be rebuilt; otherwise it is out.
    pub rebuild: bool,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    /// The seed.
    pub seed: u64,
    /// What it drew.
    pub swarm: Swarm,
    /// Its chances.
    pub prng: Prng,
    /// Chances of permits: a stream of its own, so that seeds that were found before stay what they were.
    pub permit_prng: Prng,
    /// Chances of what the swarm has drawn since: another stream, for the same reason.
    pub later_prng: Prng,
    /// When background actions have a permit.
    pub permits: Permits,
    /// Chances of joins that are taken back, if there are any.
    pub takes_back: Option<Prng>,
    /// The bug that is planted.
    pub plant: Plant,
    /// Virtual time.
    pub now_ns: u64,
    /// Steps so far.
    pub step: u64,
    /// Numbers for what is queued and requested.
    pub next: u64,
    /// Number of the next write.
    pub next_write: u32,
    /// The array's geometry.
    pub geometry: Arc<Geometry>,
    /// Its regions.
    pub regions: Regions,
    /// Devices: members first, then spares.
    pub disks: Vec<Disk>,
    /// Their UUIDs.
    pub uuids: Vec<Uuid>,
    /// The log's device.
    pub log_disk: Disk,
    /// What this start finds of the log.
    pub log_at_start: LogAtStart,
    /// The owner's notes by slot.
    pub notes: Vec<Note>,
    /// The owner knows that the log failed.
    pub noted_log_failed: bool,
    /// The owner knows that the array was stopped in order, and whether it was in sync.
    pub noted_stop: Option<bool>,
    /// Legal contents.
    pub oracle: Oracle,
    /// What is right, whatever the core believes.
    pub truth: Truth,
    /// Whether faults happen.
    pub faults_on: bool,
    /// The last life ended in order with nothing to resync.
    pub stopped_in_sync: bool,
    /// The same, without every member.
    pub stopped_degraded_in_sync: bool,
    /// Counts.
    pub stats: Stats,
    /// Hash of all that happened.
    pub digest: u64,
    /// Whether to print it.
    pub tracing: bool,
    /// This life.
    pub life: Life,
}

/// Prints a line of the trace, if somebody wants it.
#[macro_export]
macro_rules! trace {
    ($world:expr, $($what:tt)*) => {
        if $world.tracing {
            println!("{:>14} {:>7} {}", $world.now_ns, $world.step, format!($($what)*));
        }
    };
}

impl World {
    /// Something will happen.
    pub fn schedule(&mut self, at_ns: u64, what: Happening) {
        self.next += 1;
        self.life.queue.insert((at_ns.max(self.now_ns), self.next), what);
    }

    /// Something will happen after a random time of at most `most_ns`.
    pub fn schedule_within(&mut self, most_ns: u64, what: Happening) {
        let at = self.now_ns + self.prng.below(most_ns + 1);
        self.schedule(at, what);
    }

    fn arrival(&mut self, from: Party, to: Party) -> u64 {
        let delay = if from == to { 0 } else { self.prng.within(1, self.swarm.message_ns) };
        let last = self.life.channels.entry((from, to)).or_insert(0);
        *last = (*last).max(self.now_ns + delay);
        *last
    }

    /// Sends a message to a reactor.
    pub fn tell(&mut self, from: Party, to: usize, message: Message) {
        let at = self.arrival(from, Party::Reactor(to));
        self.schedule(at, Happening::Tell(to, message));
    }

    /// Sends a message to the coordinator.
    pub fn input(&mut self, from: Party, input: Input) {
        let at = self.arrival(from, Party::Coordinator);
        self.schedule(at, Happening::Input(input));
    }

    /// Sends a message to every reactor.
    pub fn tell_all(&mut self, message: &Message) {
        for reactor in 0..self.life.reactors.len() {
            self.tell(Party::Coordinator, reactor, message.clone());
        }
    }

    /// Ends a reactor's turn soon.
    pub fn turn(&mut self, reactor: usize) {
        if !std::mem::replace(&mut self.life.reactors[reactor].turning, true) {
            let most = self.swarm.message_ns.min(20_000);
            self.schedule_within(most, Happening::Turn(reactor));
        }
    }

    /// Ends the coordinator's turn soon.
    pub fn coordinator_turn(&mut self) {
        if !std::mem::replace(&mut self.life.coordinator_turning, true) {
            let most = self.swarm.message_ns.min(20_000);
            self.schedule_within(most, Happening::CoordinatorTurn);
        }
    }

    /// Adds to the digest of what happened.
    pub fn note(&mut self, what: u64) {
        self.digest = mix(self.digest ^ what);
    }

    fn note_io(&mut self, device: Device, offset_bytes: u64, kind: &Kind) {
        let device = match device {
            Device::Member(index) => index as u64,
            Device::Log => u64::MAX,
        };
        self.note(device);
        self.note(offset_bytes);
        match kind {
            Kind::Write { bytes, fua } => {
                self.note(bytes.len() as u64 * 2 + u64::from(*fua));
                self.note_bytes(bytes);
            }
            Kind::Read(_) => self.note(0),
            Kind::Flush(_) => self.note(1),
        }
    }

    /// Adds bytes. Of more than a superblock the beginnings of sectors will do: data says there who has written
    /// it, and so does parity of it.
    pub fn note_bytes(&mut self, bytes: &[u8]) {
        let step = if bytes.len() > SUPERBLOCK_BYTES { SECTOR } else { 8 };
        for part in bytes.chunks(step) {
            let word = part.first_chunk().expect("sectors are whole");
            self.note(u64::from_le_bytes(*word));
        }
    }

    /// The next happening. `false` when there is none, ever.
    pub fn advance(&mut self) -> bool {
        let Some(((at_ns, _), what)) = self.life.queue.pop_first() else { return false };
        self.now_ns = at_ns;
        self.step += 1;
        self.note(at_ns);
        match what {
            Happening::Io { id, abandoned } => self.io_ended(id, abandoned),
            Happening::Tell(reactor, message) => self.reactor_told(reactor, message),
            Happening::Input(input) => self.coordinator_told(input),
            Happening::Turn(reactor) => self.reactor_turned(reactor),
            Happening::CoordinatorTurn => {
                self.life.coordinator_turning = false;
                self.coordinator_unplugged();
            }
            Happening::Timer => {
                self.life.timer_ns = None;
                self.coordinator_unplugged();
            }
            Happening::Tick => self.tick(),
            Happening::Request => self.request(),
            Happening::OwnerAllows => self.owner_allows(),
            Happening::Repair => self.repair(),
        }
        true
    }

    fn tick(&mut self) {
        for reactor in 0..self.life.reactors.len() {
            let mut out = raid::event::Actions::new();
            let all = self.life.stopping;
            self.life.reactors[reactor].core.return_leases(self.now_ns, all, &mut out);
            self.execute(reactor, out);
        }
        let at = self.now_ns + if self.life.stopping { SECOND_NS / 10 } else { SECOND_NS };
        self.schedule(at, Happening::Tick);
    }

    /// Asks a device for something.
    pub fn submit(&mut self, device: Device, offset_bytes: u64, kind: Kind, purpose: Purpose) {
        self.next += 1;
        let id = self.next;
        self.note_io(device, offset_bytes, &kind);
        trace!(self, "io {id} {device:?} {offset_bytes} {} for {purpose:?}", kind.word());
        let slowest = match device {
            Device::Member(_) => self.swarm.device_ns,
            Device::Log => self.swarm.log_ns,
        };
        let latency = self.prng.within(slowest / 20, slowest);
        let hangs = self.hangs(device, &kind, purpose);
        self.life.ios.insert(id, Io { device, offset_bytes, kind, purpose });
        let at = if hangs { self.now_ns + 2 * SECOND_NS } else { self.now_ns + latency };
        self.schedule(at, Happening::Io { id, abandoned: hangs });
    }

    /// Asks a device for a flush.
    pub fn submit_flush(&mut self, device: Device, purpose: Purpose) {
        let ticket = self.disk(device).begin_flush();
        self.submit(device, 0, Kind::Flush(ticket), purpose);
    }

    /// The device.
    pub fn disk(&mut self, device: Device) -> &mut Disk {
        match device {
            Device::Member(index) => &mut self.disks[index],
            Device::Log => &mut self.log_disk,
        }
    }

    fn io_ended(&mut self, id: u64, abandoned: bool) {
        let io = self.life.ios.remove(&id).expect("a request ends once");
        let ok = !abandoned && self.succeeds(&io);
        if let (true, Device::Member(device)) = (abandoned, io.device) {
            self.note_read_fault(device, &io);
            if let Kind::Flush(_) = io.kind {
                self.life.flush_latched.insert(device);
            }
        }
        let Self { disks, log_disk, prng, .. } = self;
        let disk = match io.device {
            Device::Member(index) => &mut disks[index],
            Device::Log => log_disk,
        };
        match &io.kind {
            Kind::Read(_) => {}
            Kind::Write { bytes, fua } if ok => {
                disk.write(prng, io.offset_bytes, bytes, *fua);
            }
            Kind::Write { bytes, .. } if disk.present => {
                disk.write_torn(prng, io.offset_bytes, bytes);
            }
            Kind::Write { .. } => {}
            Kind::Flush(ticket) => disk.end_flush(*ticket, ok),
        }
        self.note(id << 1 | u64::from(ok));
        trace!(self, "io {id} {} {:?}", if ok { "done" } else { "FAILED" }, io.purpose);
        self.answer(io, ok);
    }
}

impl Kind {
    fn word(&self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::Write { fua: false, .. } => "write",
            Self::Write { fua: true, .. } => "write fua",
            Self::Flush(_) => "flush",
        }
    }
}
