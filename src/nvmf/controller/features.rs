//! Get and Set Features (Base, 5.15 and 5.27).
//!
//! Not here: the events that one of them configures.

use nvme::command::admin;
use nvme::feature::{
    CAPABILITY_CHANGEABLE, HOST_BEHAVIOR_BYTES, HOST_ID_BYTES, SAVE, id, queues, queues_of, select,
};
use nvme::{Sqe, Status};

use super::{Controller, Kind};
use crate::nvmf::connection::Completion;
use crate::nvmf::limits::KEEP_ALIVE_MS_MIN;

/// Features that hold what they are given and change nothing: identifier, bits that may be set.
const HELD: [(u8, u32); 4] = [
    (id::ARBITRATION, 0xffff_ff07),
    // Threshold in kelvins, sensor and type.
    (id::TEMPERATURE_THRESHOLD, 0x003f_ffff),
    // Time limited error recovery; errors of deallocated blocks (DULBE) are not supported.
    (id::ERROR_RECOVERY, 0x0000_ffff),
    (id::WRITE_ATOMICITY, 0x0000_0001),
];

#[derive(Debug)]
pub(super) struct Features {
    held: [u32; HELD.len()],
    keep_alive_ms: u32,
    keep_alive_default_ms: u32,
    /// I/O queues granted.
    queues: u16,
    host_behavior: [u8; HOST_BEHAVIOR_BYTES],
}

impl Features {
    pub(super) fn new(keep_alive_ms: u32, queues: u16) -> Self {
        Self {
            held: [0; HELD.len()],
            keep_alive_ms,
            keep_alive_default_ms: keep_alive_ms,
            queues,
            host_behavior: [0; HOST_BEHAVIOR_BYTES],
        }
    }

    pub(super) fn keep_alive_ms(&self) -> u32 {
        self.keep_alive_ms
    }
}

/// Whether Get Features asks for a value, and not for what can be done with it.
pub(super) fn is_value(sqe: &Sqe) -> bool {
    sqe.opcode != admin::GET_FEATURES || select_of(sqe) != select::CAPABILITIES
}

fn select_of(sqe: &Sqe) -> u32 {
    sqe.cdw10 >> 8 & 7
}

/// Whether a controller of this kind has the feature.
fn is_known(kind: Kind, feature: u8) -> bool {
    match feature {
        id::ASYNC_EVENT_CONFIG | id::KEEP_ALIVE | id::HOST_ID => true,
        id::POWER_MANAGEMENT
        | id::VOLATILE_WRITE_CACHE
        | id::NUMBER_OF_QUEUES
        | id::HOST_BEHAVIOR => kind == Kind::Io,
        _ => kind == Kind::Io && HELD.iter().any(|held| held.0 == feature),
    }
}

fn is_changeable(feature: u8) -> bool {
    !matches!(feature, id::HOST_ID | id::POWER_MANAGEMENT | id::VOLATILE_WRITE_CACHE)
}

impl Controller {
    /// Get Features: its completion, and how many bytes of data.
    pub(super) fn feature(
        &self,
        sqe: &Sqe,
        buffer: &mut [u8],
    ) -> Result<(Completion, u32), Status> {
        let feature = sqe.cdw10 as u8;
        if !is_known(self.identity.kind, feature) {
            return Err(Status::INVALID_FIELD);
        }
        let default = match select_of(sqe) {
            select::CURRENT => false,
            // Nothing is saved, so what would be is the default.
            select::DEFAULT | select::SAVED => true,
            select::CAPABILITIES => {
                let result = if is_changeable(feature) { CAPABILITY_CHANGEABLE } else { 0 };
                return Ok((Completion::result(u64::from(result)), 0));
            }
            _ => return Err(Status::INVALID_FIELD),
        };
        let features = &self.features;
        let value = match feature {
            id::NUMBER_OF_QUEUES if default => queues(self.identity.io_queues_max),
            id::NUMBER_OF_QUEUES => queues(features.queues),
            id::KEEP_ALIVE if default => features.keep_alive_default_ms,
            id::KEEP_ALIVE => features.keep_alive_ms,
            id::ASYNC_EVENT_CONFIG if default => 0,
            id::ASYNC_EVENT_CONFIG => self.events.config(),
            id::VOLATILE_WRITE_CACHE => 1,
            id::POWER_MANAGEMENT => 0,
            id::HOST_BEHAVIOR => {
                let none = [0; HOST_BEHAVIOR_BYTES];
                let value = if default { &none } else { &features.host_behavior };
                buffer[..HOST_BEHAVIOR_BYTES].copy_from_slice(value);
                return Ok((Completion::OK, HOST_BEHAVIOR_BYTES as u32));
            }
            id::HOST_ID if sqe.cdw11 & 1 == 0 => {
                // Over Fabrics they have 128 bits (EXHID; Base, 5.27.1.25).
                return Err(Status::INVALID_FIELD);
            }
            id::HOST_ID => {
                buffer[..HOST_ID_BYTES].copy_from_slice(&self.host.id);
                return Ok((Completion::OK, HOST_ID_BYTES as u32));
            }
            _ if default => 0,
            _ => self.held_at(feature).map_or(0, |at| features.held[at]),
        };
        Ok((Completion::result(u64::from(value)), 0))
    }

    fn held_at(&self, feature: u8) -> Option<usize> {
        HELD.iter().position(|held| held.0 == feature)
    }

    /// Set Features.
    pub(super) fn set_feature(&mut self, sqe: &Sqe, buffer: &[u8]) -> Result<Completion, Status> {
        let feature = sqe.cdw10 as u8;
        if !is_known(self.identity.kind, feature) {
            return Err(Status::INVALID_FIELD);
        }
        if sqe.cdw10 & SAVE != 0 {
            return Err(Status::FEATURE_NOT_SAVEABLE);
        }
        let value = sqe.cdw11;
        match feature {
            id::NUMBER_OF_QUEUES => return self.set_queues(value),
            id::KEEP_ALIVE => {
                let rounded = value.div_ceil(KEEP_ALIVE_MS_MIN).saturating_mul(KEEP_ALIVE_MS_MIN);
                self.features.keep_alive_ms = rounded;
            }
            id::ASYNC_EVENT_CONFIG => self.events.set_config(value),
            // The cache is the bdevs'; it cannot be switched off here.
            id::VOLATILE_WRITE_CACHE if value & 1 == 1 => {}
            id::VOLATILE_WRITE_CACHE => return Err(Status::FEATURE_NOT_CHANGEABLE),
            // There is one power state.
            id::POWER_MANAGEMENT if value & 0x1f == 0 => {}
            id::POWER_MANAGEMENT => return Err(Status::INVALID_FIELD),
            // Connect has said who the host is (Base, 5.27.1.25).
            id::HOST_ID => return Err(Status::SEQUENCE_ERROR),
            id::HOST_BEHAVIOR => {
                let bytes = &buffer[..HOST_BEHAVIOR_BYTES];
                // ACRE; the rest is of extensions that are not supported.
                if bytes[0] > 1 {
                    return Err(Status::INVALID_FIELD);
                }
                self.features.host_behavior[0] = bytes[0];
            }
            _ => {
                let at = self.held_at(feature).ok_or(Status::INVALID_FIELD)?;
                if value & !HELD[at].1 != 0 {
                    return Err(Status::INVALID_FIELD);
                }
                self.features.held[at] = value;
            }
        }
        Ok(Completion::OK)
    }

    /// Number of Queues: as many as both want (Base, 5.27.1.5).
    fn set_queues(&mut self, value: u32) -> Result<Completion, Status> {
        let (submission, completion) = queues_of(value);
        // FFFFh is not a count.
        if submission > 0xffff || completion > 0xffff {
            return Err(Status::INVALID_FIELD);
        }
        let asked = submission.min(completion);
        let granted = asked.min(u32::from(self.identity.io_queues_max)) as u16;
        self.features.queues = granted;
        Ok(Completion::result(u64::from(queues(granted))))
    }
}
