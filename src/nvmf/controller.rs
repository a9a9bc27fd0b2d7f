//! A controller: its properties, its Admin commands, its events, its keep alive timer.
//!
//! ```text
//!   Disabled --CC.EN 1--> Ready --CC.EN 0--> Disabled (its I/O queues go)
//!      '--not supported--> Fatal   '--CC.SHN--> ShutDown
//! ```
//!
//! It lives with its Admin queue. Everything is answered at once but Asynchronous Event Requests, which
//! are held until there is something to tell.
//!
//! Invariants: never more events held than Identify says; an event is told once until its log page is
//! read; data of an answer is written into the command's buffer, nothing is allocated for it.
//!
//! Not here: I/O commands (`nvm`), who may connect (`subsystem`).

mod events;
mod features;
mod identify;
mod logs;

use std::sync::Arc;

use nvme::command::{FABRICS, admin};
use nvme::fabrics::{PropertyGet, PropertySet, kind};
use nvme::feature::{HOST_BEHAVIOR_BYTES, HOST_ID_BYTES, id};
use nvme::log::{ErrorEntry, Wanted};
use nvme::register::{Cap, Cc, Csts, VERSION, offset};
use nvme::{Nqn, Sqe, Status};

use super::connection::{Completion, Tag};
use super::limits::{
    ADMIN_BYTES_MAX, DISCOVERY_KEEP_ALIVE_MS, ERRORS_MAX, KEEP_ALIVE_MS_MIN, QUEUE_ENTRIES_MAX,
};
use super::nvm::check_flags;
use super::subsystem::DiscoveryLog;
use super::transfer::Transfer;
use super::view::View;
use events::Events;
use features::Features;

/// What a controller is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Namespaces.
    Io,
    /// Finding subsystems.
    Discovery,
}

/// What a controller says of its subsystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What it is for.
    pub kind: Kind,
    /// NQN of the subsystem.
    pub nqn: Nqn,
    /// Serial number, up to 20 ASCII characters.
    pub serial: String,
    /// Model number, up to 40 ASCII characters.
    pub model: String,
    /// Firmware revision, up to 8 ASCII characters.
    pub firmware: String,
    /// Whether ANA states are reported.
    pub ana_reporting: bool,
    /// Largest data in the capsule of an I/O command, in bytes.
    pub in_capsule_bytes: u32,
    /// I/O queues that a host may have.
    pub io_queues_max: u16,
}

/// Who connected, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// CNTLID of the controller that it got.
    pub cntlid: u16,
    /// NQN of the host.
    pub nqn: Nqn,
    /// Host identifier.
    pub id: [u8; 16],
    /// Keep alive timeout that it asked for, in milliseconds; 0 is none.
    pub keep_alive_ms: u32,
}

/// Counters for SMART / Health Information, which the shell keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Usage {
    /// Read commands.
    pub reads: u64,
    /// Write commands.
    pub writes: u64,
    /// Commands that neither read nor write.
    pub others: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads and writes that failed at the medium.
    pub media_errors: u64,
    /// Commands that failed, or were refused.
    pub errors: u64,
}

/// What an Admin command did to the controller itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// It was enabled: I/O queues may be connected. The model's owner is told before the host is.
    Enabled,
    /// It was reset or shut down: its I/O queues go.
    Disabled,
}

/// How an Admin command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answer it.
    Complete {
        /// How.
        completion: Completion,
        /// With so many bytes of its buffer.
        data_bytes: u32,
    },
    /// It is answered when [`Controller::next_event`] says so.
    Held,
}

impl Outcome {
    fn of(result: Result<(Completion, u32), Status>) -> Self {
        let (completion, data_bytes) =
            result.unwrap_or_else(|status| (Completion::of(status.finally()), 0));
        Self::Complete { completion, data_bytes }
    }
}

/// An error of a queue for Error Information, which the controller will count (Base, 5.16.1.2).
#[must_use]
pub fn error_entry(sq_id: u16, sqe: &Sqe, status: Status) -> ErrorEntry {
    ErrorEntry {
        count: 0,
        sq_id,
        cid: sqe.cid,
        status_field: status.bits() << 1,
        parameter_at: 0xffff,
        start_block: if sq_id == 0 { 0 } else { sqe.start_block() },
        nsid: sqe.nsid,
        transport: 3,
        opcode: sqe.opcode,
    }
}

/// The state of one controller.
#[derive(Debug)]
pub struct Controller {
    identity: Arc<Identity>,
    host: HostFacts,
    view: Arc<View>,
    discovery: Arc<DiscoveryLog>,
    /// For SMART / Health Information.
    pub usage: Usage,
    cc: Cc,
    csts: Csts,
    events: Events,
    features: Features,
    errors: [ErrorEntry; ERRORS_MAX],
    error_count: u64,
    heard_us: u64,
}

impl Controller {
    /// A controller that a host has just connected to.
    #[must_use]
    pub fn new(
        identity: Arc<Identity>,
        host: HostFacts,
        view: Arc<View>,
        discovery: Arc<DiscoveryLog>,
        now_us: u64,
    ) -> Self {
        let keep_alive_ms = match (identity.kind, host.keep_alive_ms) {
            (Kind::Discovery, 0) => DISCOVERY_KEEP_ALIVE_MS,
            (_, 0) => 0,
            (_, ms) => ms.max(KEEP_ALIVE_MS_MIN),
        };
        let features = Features::new(keep_alive_ms, identity.io_queues_max);
        Self {
            events: Events::new(identity.kind, identity.ana_reporting),
            identity,
            host,
            view,
            discovery,
            usage: Usage::default(),
            cc: Cc::default(),
            csts: Csts::default(),
            features,
            errors: [ErrorEntry::default(); ERRORS_MAX],
            error_count: 0,
            heard_us: now_us,
        }
    }

    /// Who is connected.
    #[must_use]
    pub fn host(&self) -> &HostFacts {
        &self.host
    }

    /// Whether I/O queues may be connected.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.csts.is_ready()
    }

    /// Any command, on any of its queues, is a sign of life (traffic based keep alive; Base, 3.9.4).
    pub fn heard(&mut self, now_us: u64) {
        self.heard_us = now_us;
    }

    /// When the keep alive timer runs out, in the same time as [`heard`](Self::heard). One granule of a
    /// second is granted (KAS).
    #[must_use]
    pub fn expires_us(&self) -> Option<u64> {
        let timeout_ms = self.features.keep_alive_ms();
        (timeout_ms > 0).then(|| {
            self.heard_us.saturating_add((u64::from(timeout_ms) + 1000).saturating_mul(1000))
        })
    }

    /// Whether the host has been silent for too long: the association ends.
    #[must_use]
    pub fn is_expired(&self, now_us: u64) -> bool {
        self.expires_us().is_some_and(|expires_us| now_us > expires_us)
    }

    /// What an Admin command moves.
    ///
    /// # Errors
    /// The status to refuse it with.
    pub fn transfer(&self, sqe: &Sqe) -> Result<Transfer, Status> {
        check_flags(sqe)?;
        if sqe.opcode == FABRICS {
            return Ok(Transfer::None);
        }
        if !self.csts.is_ready() {
            return Err(Status::SEQUENCE_ERROR.finally());
        }
        let feature = sqe.cdw10 as u8;
        let feature_bytes = match feature {
            id::HOST_BEHAVIOR => Some(HOST_BEHAVIOR_BYTES as u32),
            id::HOST_ID => Some(HOST_ID_BYTES as u32),
            _ => None,
        };
        let is_data = features::is_value(sqe);
        match sqe.opcode {
            admin::IDENTIFY => Ok(Transfer::ToHost { len_bytes: 4096 }),
            admin::GET_LOG_PAGE => match u32::try_from(Wanted::of(sqe).len_bytes) {
                Ok(len_bytes) if len_bytes <= ADMIN_BYTES_MAX => Ok(Transfer::ToHost { len_bytes }),
                _ => Err(Status::INVALID_FIELD.finally()),
            },
            admin::GET_FEATURES if is_data => {
                Ok(feature_bytes.map_or(Transfer::None, |len_bytes| Transfer::ToHost { len_bytes }))
            }
            admin::SET_FEATURES => {
                Ok(feature_bytes
                    .map_or(Transfer::None, |len_bytes| Transfer::FromHost { len_bytes }))
            }
            admin::GET_FEATURES | admin::ABORT | admin::ASYNC_EVENT_REQUEST | admin::KEEP_ALIVE => {
                Ok(Transfer::None)
            }
            _ => Err(Status::INVALID_OPCODE.finally()),
        }
    }

    /// Executes an Admin command, or Property Get and Set. `buffer` is the command's: it holds what came
    /// from the host, and takes what goes there; as long as [`transfer`](Self::transfer) said.
    pub fn execute(
        &mut self,
        now_us: u64,
        tag: Tag,
        sqe: &Sqe,
        buffer: &mut [u8],
    ) -> (Outcome, Effect) {
        self.heard(now_us);
        let before = self.csts;
        let outcome = self.dispatch(tag, sqe, buffer);
        if let Outcome::Complete { completion, .. } = outcome
            && !completion.status.is_ok()
        {
            self.note_error(sqe, completion.status);
        }
        let effect = match (before.is_ready(), self.csts.is_ready()) {
            (false, true) => Effect::Enabled,
            (true, false) => Effect::Disabled,
            (true, true) | (false, false) => Effect::None,
        };
        (outcome, effect)
    }

    fn dispatch(&mut self, tag: Tag, sqe: &Sqe, buffer: &mut [u8]) -> Outcome {
        let done = |completion| Ok((completion, 0));
        Outcome::of(match sqe.opcode {
            FABRICS => match sqe.fabrics_kind() {
                kind::PROPERTY_GET => {
                    self.property(&sqe.specific()).map(|value| (Completion::result(value), 0))
                }
                kind::PROPERTY_SET => {
                    self.set_property(&sqe.specific()).map(|()| (Completion::OK, 0))
                }
                _ => Err(Status::INVALID_OPCODE),
            },
            // The answers below need a controller that is ready; `transfer` has looked.
            admin::IDENTIFY => self.identify(sqe, buffer).map(|()| (Completion::OK, 4096)),
            admin::GET_LOG_PAGE => self
                .log_page(&Wanted::of(sqe), sqe, buffer)
                .map(|()| (Completion::OK, buffer.len() as u32)),
            admin::GET_FEATURES => self.feature(sqe, buffer),
            admin::SET_FEATURES => self.set_feature(sqe, buffer).and_then(done),
            admin::ABORT => done(self.events.abort(sqe)),
            admin::KEEP_ALIVE => done(Completion::OK),
            admin::ASYNC_EVENT_REQUEST => match self.events.hold(tag, sqe.cid) {
                Ok(()) => return Outcome::Held,
                Err(status) => Err(status),
            },
            _ => Err(Status::INVALID_OPCODE),
        })
    }

    /// An error of its Admin queue, for Error Information.
    pub fn note_error(&mut self, sqe: &Sqe, status: Status) {
        self.log_error(error_entry(0, sqe, status));
    }

    /// An error of any of its queues.
    pub fn log_error(&mut self, entry: ErrorEntry) {
        self.error_count += 1;
        self.errors.rotate_right(1);
        self.errors[0] = ErrorEntry { count: self.error_count, ..entry };
    }

    /// An answer to an Asynchronous Event Request that is due, until there is none.
    pub fn next_event(&mut self) -> Option<(Tag, Completion)> {
        self.events.next()
    }

    /// The association ends: the requests that are held, which the shell completes (with `Command Aborted
    /// due to SQ Deletion`) to have their slots and buffers back.
    pub fn take_held(&mut self) -> Vec<Tag> {
        self.events.take_held()
    }

    /// Namespaces (`changed` of them) or ANA states have changed.
    pub fn set_view(&mut self, view: Arc<View>, changed: &[u32]) {
        if view.ana_changes != self.view.ana_changes {
            self.events.ana_changed();
        }
        if view.health().0 > self.view.health().0 {
            self.events.reliability_degraded();
        }
        self.view = view;
        self.events.namespaces_changed(changed);
    }

    /// The discovery log has changed.
    pub fn set_discovery(&mut self, log: Arc<DiscoveryLog>) {
        if log.generation != self.discovery.generation {
            self.events.discovery_changed();
        }
        self.discovery = log;
    }

    // ---- properties (Base, 3.1.3)

    fn property(&self, get: &PropertyGet) -> Result<u64, Status> {
        let (size_code, value) = match get.offset {
            offset::CAP => {
                let entries = u32::from(QUEUE_ENTRIES_MAX);
                (1, Cap { queue_entries_max: entries, timeout_500ms: 30 }.to_bits())
            }
            offset::VS => (0, u64::from(VERSION)),
            offset::CC => (0, u64::from(self.cc.0)),
            offset::CSTS => (0, u64::from(self.csts.0)),
            offset::NSSR => (0, 0),
            _ => return Err(Status::INVALID_FIELD),
        };
        if get.size_code & 7 == size_code { Ok(value) } else { Err(Status::INVALID_FIELD) }
    }

    fn set_property(&mut self, set: &PropertySet) -> Result<(), Status> {
        if set.offset != offset::CC || set.size_code & 7 != 0 {
            return Err(Status::INVALID_FIELD);
        }
        let (old, new) = (self.cc, Cc(set.value as u32));
        self.cc = new;
        match (old.is_enabled(), new.is_enabled()) {
            (true, false) => {
                self.csts = Csts::default();
                self.events.reset();
            }
            (false, true) if self.is_supported(new) => self.csts = Csts(Csts::READY),
            (false, true) => self.csts = Csts(Csts::FATAL),
            (true, true) | (false, false) => {}
        }
        if new.shutdown() != 0 {
            // There is nothing that is not written yet: what was acknowledged is the bdevs' to keep.
            self.csts = Csts(Csts::SHUTDOWN_COMPLETE);
        }
        Ok(())
    }

    /// Whether a configuration is one that this controller has: the NVM command set, pages of 4 KiB,
    /// entries of 64 and 16 bytes.
    fn is_supported(&self, cc: Cc) -> bool {
        let entries = match self.identity.kind {
            Kind::Io => cc.sq_entry_size() == 6 && cc.cq_entry_size() == 4,
            // It has no I/O queues.
            Kind::Discovery => true,
        };
        matches!(cc.command_set(), 0 | 6) && cc.page_size() == 0 && entries
    }
}
