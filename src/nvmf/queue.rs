//! Which commands a queue takes now, and whose they are.
//!
//! ```text
//!   Unconnected --Connect--> Authenticating --success--> Live
//!                   '------- no keys -------------------->'
//! ```
//!
//! Not here: executing them.

use std::sync::Arc;

use nvme::command::FABRICS;
use nvme::fabrics::kind;
use nvme::{Sqe, Status};

use super::nvm::{self, Request, check_flags};
use super::transfer::Transfer;
use super::view::View;

/// Which queue it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The Admin queue of a controller.
    Admin,
    /// An I/O queue.
    Io,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unconnected,
    Authenticating(Role),
    Live(Role),
}

/// Whose a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Of the model's owner: `subsystem::Target::connect`.
    Connect,
    /// Of the queue's authentication.
    Authentication,
    /// Of the controller: `Controller::transfer`, `Controller::execute`.
    Admin,
    /// Of a bdev.
    Io(Request),
    /// Answer it, then close the connection.
    Disconnect,
}

/// What a queue is, as far as commands ask.
#[derive(Debug)]
pub struct Queue {
    state: State,
    view: Arc<View>,
}

/// What Connect moves.
pub const CONNECT_TRANSFER: Transfer = Transfer::FromHost { len_bytes: 1024 };

impl Default for Queue {
    fn default() -> Self {
        Self { state: State::Unconnected, view: Arc::default() }
    }
}

impl Queue {
    /// Connect was accepted.
    pub fn connected(&mut self, role: Role, view: Arc<View>, authenticate: bool) {
        self.state = if authenticate { State::Authenticating(role) } else { State::Live(role) };
        self.view = view;
    }

    /// The host has proved who it is.
    pub fn authenticated(&mut self) {
        if let State::Authenticating(role) = self.state {
            self.state = State::Live(role);
        }
    }

    /// Namespaces or ANA states have changed.
    pub fn set_view(&mut self, view: Arc<View>) {
        self.view = view;
    }

    /// What the queue sees.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Which queue it is, once it is one.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        match self.state {
            State::Unconnected => None,
            State::Authenticating(role) | State::Live(role) => Some(role),
        }
    }

    /// Judges a command.
    ///
    /// # Errors
    /// The status to refuse it with (Base, 3.3.2.1 and 6).
    #[inline]
    pub fn judge(&self, sqe: &Sqe) -> Result<Work, Status> {
        if sqe.opcode == FABRICS {
            return self.judge_fabrics(sqe);
        }
        match self.state {
            State::Live(Role::Io) => nvm::plan(sqe, &self.view).map(Work::Io),
            State::Live(Role::Admin) => Ok(Work::Admin),
            State::Authenticating(_) => Err(Status::AUTHENTICATION_REQUIRED),
            State::Unconnected => Err(Status::SEQUENCE_ERROR.finally()),
        }
    }

    fn judge_fabrics(&self, sqe: &Sqe) -> Result<Work, Status> {
        check_flags(sqe)?;
        match (self.state, sqe.fabrics_kind()) {
            (State::Unconnected, kind::CONNECT) => Ok(Work::Connect),
            (State::Unconnected, _) | (_, kind::CONNECT) => Err(Status::SEQUENCE_ERROR.finally()),
            (_, kind::AUTHENTICATION_SEND | kind::AUTHENTICATION_RECEIVE) => {
                Ok(Work::Authentication)
            }
            (State::Authenticating(_), _) => Err(Status::AUTHENTICATION_REQUIRED),
            (State::Live(Role::Admin), kind::PROPERTY_GET | kind::PROPERTY_SET) => Ok(Work::Admin),
            (State::Live(Role::Io), kind::DISCONNECT) => Ok(Work::Disconnect),
            (State::Live(Role::Admin), kind::DISCONNECT) => {
                Err(Status::INVALID_QUEUE_TYPE.finally())
            }
            (State::Live(_), _) => Err(Status::INVALID_OPCODE.finally()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: in every state exactly the commands of that state are taken, and the others refused as the
    /// specification says. Method: every state against every kind of command.
    #[test]
    fn states_take_their_commands() {
        let fabrics = |kind| Sqe { opcode: FABRICS, nsid: kind, flags: 0x40, ..Sqe::default() };
        let (connect, get, set) = (fabrics(1), fabrics(4), fabrics(0));
        let (send, receive, disconnect) = (fabrics(5), fabrics(6), fabrics(8));
        let unknown = fabrics(0xc0);
        let plain = Sqe { opcode: 0x18, flags: 0x40, ..Sqe::default() };
        let sequence = Err(Status::SEQUENCE_ERROR.finally());
        let opcode = Err(Status::INVALID_OPCODE.finally());
        let required = Err(Status::AUTHENTICATION_REQUIRED);

        let mut queue = Queue::default();
        assert_eq!(queue.judge(&connect), Ok(Work::Connect));
        assert_eq!(queue.judge(&Sqe { flags: 0, ..connect }), Err(Status::INVALID_FIELD.finally()));
        for sqe in [get, set, send, receive, disconnect, unknown, plain] {
            assert_eq!(queue.judge(&sqe), sequence);
        }
        for role in [Role::Admin, Role::Io] {
            queue.connected(role, Arc::default(), true);
            for sqe in [get, set, disconnect, unknown, plain] {
                assert_eq!(queue.judge(&sqe), required);
            }
            assert_eq!(queue.judge(&connect), sequence);
            for sqe in [send, receive] {
                assert_eq!(queue.judge(&sqe), Ok(Work::Authentication));
            }
            queue.authenticated();
            assert_eq!(queue.role(), Some(role));
            assert_eq!(queue.judge(&connect), sequence);
            assert_eq!(queue.judge(&unknown), opcode);
            let of_admin = if role == Role::Admin { Ok(Work::Admin) } else { opcode };
            assert_eq!((queue.judge(&get), queue.judge(&set)), (of_admin, of_admin));
            assert_eq!(queue.judge(&plain), of_admin);
            let expected = match role {
                Role::Admin => Err(Status::INVALID_QUEUE_TYPE.finally()),
                Role::Io => Ok(Work::Disconnect),
            };
            assert_eq!(queue.judge(&disconnect), expected);
        }
    }
}
