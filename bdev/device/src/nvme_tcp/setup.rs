//! What has to be said on an Admin queue before I/O: one command at a time (Base, 3.5.2).
//!
//! ```text
//!   Connect -> CAP -> CC.EN -> CSTS (again, until RDY) -> Identify -> Number of Queues -> Ready
//! ```
//!
//! Not here: the connection, I/O queues (each is one Connect), authentication.

use nvme::command::admin;
use nvme::fabrics::{
    CNTLID_DYNAMIC, PropertyGet, PropertySet, RESULT_AUTHENTICATION_REQUIRED, kind,
};
use nvme::feature;
use nvme::identify::{self, cns};
use nvme::register::{Cap, Cc, Csts, offset};
use nvme::{Cqe, Layout, Sqe, Status};

use super::command::{Command, Connecting, connect};
use super::queue::Data;

/// How often CSTS is asked for.
const READY_POLL_US: u64 = 100_000;

/// What is known of a controller that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerFacts {
    /// CNTLID: for the Connect of I/O queues.
    pub cntlid: u16,
    /// Entries of the largest queue.
    pub queue_entries_max: u32,
    /// I/O queues that were granted.
    pub io_queues: u16,
    /// What it says of itself.
    pub controller: identify::Controller,
}

impl ControllerFacts {
    /// Largest transfer, in bytes; `None` is without limit (MDTS).
    #[must_use]
    pub fn transfer_bytes_max(&self) -> Option<u64> {
        match self.controller.mdts {
            0 => None,
            mdts => 4096_u64.checked_shl(u32::from(mdts)),
        }
    }

    /// Largest data in the capsule of an I/O command, in bytes (IOCCSZ).
    #[must_use]
    pub fn in_capsule_bytes(&self) -> u32 {
        self.controller.command_capsule_16.saturating_mul(16).saturating_sub(64)
    }
}

/// Why a controller could not be brought up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// It refused a command.
    #[error("the controller answers {what} with {status}, result {result:#x}")]
    Refused {
        /// Which command.
        what: &'static str,
        /// Its status.
        status: Status,
        /// Dword 0.
        result: u32,
    },
    /// It wants to know who we are.
    #[error("the controller wants DH-HMAC-CHAP, and no key is given")]
    Authentication,
    /// CSTS.CFS.
    #[error("the controller reports a fatal status when it is enabled (CSTS {csts:#x})")]
    Fatal {
        /// The property.
        csts: u32,
    },
    /// CSTS.RDY does not come within CAP.TO.
    #[error("the controller is not ready after {waited_us} us")]
    NotReady {
        /// How long it has been waited for.
        waited_us: u64,
    },
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupStep {
    /// Send this, and pass on its completion.
    Submit(Command),
    /// Wait so long, then call [`Setup::waited`].
    Wait {
        /// How long.
        us: u64,
    },
    /// I/O queues may be connected.
    Ready(Box<ControllerFacts>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connect,
    Cap,
    Enable,
    Status { waited_us: u64 },
    Identify,
    Queues,
    Ready,
}

/// The bringing up of one controller.
#[derive(Debug)]
pub struct Setup {
    state: State,
    io_queues: u16,
    cntlid: u16,
    cap: Cap,
    controller: identify::Controller,
}

impl Setup {
    /// Begins, for `io_queues` I/O queues (at least 1): the first command. Its data is in `buffer`, which
    /// is the command's and has at least 4096 bytes for all that follow.
    ///
    /// # Panics
    /// If the buffer has fewer than 1024 bytes.
    pub fn start(what: &Connecting, io_queues: u16, buffer: &mut [u8]) -> (Self, Command) {
        let setup = Self {
            state: State::Connect,
            io_queues,
            cntlid: 0,
            cap: Cap { queue_entries_max: 1, timeout_500ms: 0 },
            controller: identify::Controller::default(),
        };
        (setup, connect(what, 0, CNTLID_DYNAMIC, buffer))
    }

    /// The command was completed; `buffer` is its own.
    ///
    /// # Errors
    /// Why the controller cannot be used.
    pub fn completed(&mut self, cqe: &Cqe, buffer: &[u8]) -> Result<SetupStep, SetupError> {
        let status = cqe.status();
        if !status.is_ok() {
            let result = cqe.result as u32;
            return Err(SetupError::Refused { what: self.what(), status, result });
        }
        match self.state {
            State::Connect => {
                if cqe.result as u32 & RESULT_AUTHENTICATION_REQUIRED != 0 {
                    return Err(SetupError::Authentication);
                }
                self.cntlid = cqe.result as u16;
                self.state = State::Cap;
                Ok(get(offset::CAP, 1))
            }
            State::Cap => {
                self.cap = Cap::from_bits(cqe.result);
                self.state = State::Enable;
                let value = u64::from(Cc::ENABLED.0);
                let set = PropertySet { size_code: 0, offset: offset::CC, value };
                Ok(plain(Sqe::fabrics(kind::PROPERTY_SET, &set)))
            }
            State::Enable => {
                self.state = State::Status { waited_us: 0 };
                Ok(get(offset::CSTS, 0))
            }
            State::Status { waited_us } => self.status(Csts(cqe.result as u32), waited_us),
            State::Identify => {
                self.controller = Layout::get(buffer);
                self.state = State::Queues;
                let cdw10 = u32::from(feature::id::NUMBER_OF_QUEUES);
                let cdw11 = feature::queues(self.io_queues);
                Ok(plain(Sqe { opcode: admin::SET_FEATURES, cdw10, cdw11, ..Sqe::default() }))
            }
            State::Queues | State::Ready => {
                let (submission, completion) = feature::queues_of(cqe.result as u32);
                let granted = submission.min(completion).min(u32::from(self.io_queues));
                self.state = State::Ready;
                Ok(SetupStep::Ready(Box::new(ControllerFacts {
                    cntlid: self.cntlid,
                    queue_entries_max: self.cap.queue_entries_max,
                    io_queues: granted as u16,
                    controller: self.controller,
                })))
            }
        }
    }

    fn status(&mut self, csts: Csts, waited_us: u64) -> Result<SetupStep, SetupError> {
        let patience_us = u64::from(self.cap.timeout_500ms) * 500_000;
        if csts.is_fatal() {
            return Err(SetupError::Fatal { csts: csts.0 });
        }
        if !csts.is_ready() {
            if waited_us >= patience_us {
                return Err(SetupError::NotReady { waited_us });
            }
            self.state = State::Status { waited_us: waited_us + READY_POLL_US };
            return Ok(SetupStep::Wait { us: READY_POLL_US });
        }
        self.state = State::Identify;
        let sqe =
            Sqe { opcode: admin::IDENTIFY, cdw10: u32::from(cns::CONTROLLER), ..Sqe::default() };
        let len_bytes = identify::IDENTIFY_BYTES as u32;
        Ok(SetupStep::Submit(Command { sqe, data: Data::ToHost { len_bytes } }))
    }

    /// The time of [`SetupStep::Wait`] is over.
    pub fn waited(&mut self) -> SetupStep {
        get(offset::CSTS, 0)
    }

    fn what(&self) -> &'static str {
        match self.state {
            State::Connect => "Connect",
            State::Cap => "Property Get of CAP",
            State::Enable => "Property Set of CC",
            State::Status { .. } => "Property Get of CSTS",
            State::Identify => "Identify",
            State::Queues | State::Ready => "Set Features of Number of Queues",
        }
    }
}

fn get(offset: u32, size_code: u8) -> SetupStep {
    plain(Sqe::fabrics(kind::PROPERTY_GET, &PropertyGet { size_code, offset }))
}

fn plain(sqe: Sqe) -> SetupStep {
    SetupStep::Submit(Command { sqe, data: Data::None })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a controller that refuses, is fatal, or is never ready is given up, with the reason; one that
    /// takes its time is waited for. Method: answers by hand.
    #[test]
    fn controllers_are_brought_up() {
        let ok = |result| Cqe { result, ..Cqe::default() };
        let buffer = [0; 4096];
        let at_status = || {
            let nqn = nvme::Nqn::discovery();
            let what = Connecting {
                subsystem: nqn.clone(),
                host: nqn,
                host_id: [1; 16],
                keep_alive_ms: 0,
                entries: 32,
                flow_control: false,
            };
            let (mut setup, first) = Setup::start(&what, 4, &mut [0; 4096]);
            assert_eq!(first.data, Data::FromHost { len_bytes: 1024 });
            setup.completed(&ok(7), &buffer).unwrap();
            let cap = Cap { queue_entries_max: 128, timeout_500ms: 1 };
            setup.completed(&ok(cap.to_bits()), &buffer).unwrap();
            setup.completed(&ok(0), &buffer).unwrap();
            setup
        };
        let mut setup = at_status();
        for _ in 0..5 {
            let step = setup.completed(&ok(0), &buffer);
            assert_eq!(step, Ok(SetupStep::Wait { us: READY_POLL_US }));
            assert!(matches!(setup.waited(), SetupStep::Submit(_)));
        }
        let late = Err(SetupError::NotReady { waited_us: 500_000 });
        assert_eq!(setup.completed(&ok(0), &buffer), late);
        assert_eq!(at_status().completed(&ok(2), &buffer), Err(SetupError::Fatal { csts: 2 }));

        let mut setup = at_status();
        setup.completed(&ok(1), &buffer).unwrap();
        let refused = ok(0).with_status(Status::INVALID_FIELD);
        let error =
            SetupError::Refused { what: "Identify", status: Status::INVALID_FIELD, result: 0 };
        assert_eq!(setup.completed(&refused, &buffer), Err(error));
        setup.completed(&ok(0), &buffer).unwrap();
        let ready = setup.completed(&ok(u64::from(feature::queues(2))), &buffer);
        let Ok(SetupStep::Ready(facts)) = ready else { panic!("{ready:?}") };
        assert_eq!((facts.cntlid, facts.queue_entries_max, facts.io_queues), (7, 128, 2));
    }
}
