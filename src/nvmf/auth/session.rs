//! The controller's side of one transaction, on one queue (Base, 8.13.5).
//!
//! ```text
//!   Negotiate --> Challenge --> Reply --> Success1 --> Done
//!       |             |           |           '------> Success2 --> Done    if the host asked for proof
//!       '-------------+-----------+--> Failure1 --> Failed
//! ```
//! `Challenge`, `Success1` and `Failure1` wait for Authentication Receive, the others for Send.

use nvme::fabrics::{Authentication, kind};
use nvme::{Nqn, Sqe, Status};

use crate::nvmf::limits::AUTH_BYTES_MAX;
use crate::nvmf::transfer::Transfer;

use super::group::EXPONENT_BYTES;
use super::{Group, Hash, Secret, Statement, is_same, response};

/// Types of messages (Base, figure 440).
const COMMON: u8 = 0x00;
const DH_HMAC_CHAP: u8 = 0x01;

/// Identifiers of messages (Base, figure 440).
const NEGOTIATE: u8 = 0x00;
const CHALLENGE: u8 = 0x01;
const REPLY: u8 = 0x02;
const SUCCESS1: u8 = 0x03;
const SUCCESS2: u8 = 0x04;
const FAILURE2: u8 = 0xf0;
const FAILURE1: u8 = 0xf1;

/// Why a transaction failed (Base, figure 443); the reason code itself is always 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Failure {
    Failed = 1,
    NotUsable = 2,
    ConcatenationMismatch = 3,
    HashNotUsable = 4,
    GroupNotUsable = 5,
    Payload = 6,
    Message = 7,
}

/// What a controller asks of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// The host's key.
    pub secret: Secret,
    /// The controller's key, if it can prove anything.
    pub controller_secret: Option<Secret>,
    /// Hashes that may be used; the host's first that is here is.
    pub hashes: Vec<Hash>,
    /// Groups that may be used; the host's first that is here is.
    pub groups: Vec<Group>,
}

/// What Authentication Send and Receive move (Base, 6.1 and 6.2): SECP E9h, both protocol specific fields
/// 1, and a length.
///
/// # Errors
/// `Invalid Field in Command`.
pub fn transfer(sqe: &Sqe) -> Result<Transfer, Status> {
    let Authentication { specific0, specific1, protocol, len_bytes } = sqe.specific();
    let known = (protocol, specific0, specific1) == (0xe9, 1, 1);
    if !known || !(1..=AUTH_BYTES_MAX).contains(&len_bytes) {
        return Err(Status::INVALID_FIELD.finally());
    }
    match sqe.fabrics_kind() {
        kind::AUTHENTICATION_SEND => Ok(Transfer::FromHost { len_bytes }),
        kind::AUTHENTICATION_RECEIVE => Ok(Transfer::ToHost { len_bytes }),
        _ => Err(Status::INVALID_FIELD.finally()),
    }
}

/// What a message has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The transaction goes on.
    Pending,
    /// The host has proved who it is: `Queue::authenticated`.
    Authenticated,
    /// It has not, and knows. Close the connection.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Negotiate,
    Challenge(Chosen),
    Reply(Chosen),
    /// With the controller's response, if the host asked for it.
    Success1 {
        chosen: Chosen,
        response: Option<Vec<u8>>,
    },
    Success2,
    Failure1(Failure),
    Done,
    Failed,
}

/// What was agreed on, and the challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chosen {
    hash: Hash,
    group: Group,
    challenge: Vec<u8>,
    sequence: u32,
    exponent: [u8; EXPONENT_BYTES],
    /// The controller's value. Computed once: a host may ask for the challenge as often as it likes.
    value: Vec<u8>,
}

/// One transaction.
#[derive(Clone, Debug)]
pub struct Session {
    config: AuthConfig,
    host: Nqn,
    subsystem: Nqn,
    state: State,
    transaction: u16,
    secure_channel: u8,
}

/// A message, read from its start.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Failure> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Failure::Payload)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Failure> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn short(&mut self) -> Result<u16, Failure> {
        self.take(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    fn long(&mut self) -> Result<u32, Failure> {
        self.take(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

impl Session {
    /// A transaction that has not begun.
    #[must_use]
    pub fn new(host: Nqn, subsystem: Nqn, config: AuthConfig) -> Self {
        let state = State::Negotiate;
        Self { config, host, subsystem, state, transaction: 0, secure_channel: 0 }
    }

    /// A message of the host (Authentication Send). What is wrong with it is told in the next answer.
    pub fn send(&mut self, message: &[u8], random: &mut dyn FnMut(&mut [u8])) -> Progress {
        let next = self.judge(message, random);
        self.state = next.unwrap_or_else(State::Failure1);
        match self.state {
            State::Done => Progress::Authenticated,
            State::Failed => Progress::Failed,
            _ => Progress::Pending,
        }
    }

    fn judge(
        &mut self,
        message: &[u8],
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<State, Failure> {
        let mut reader = Reader(message);
        let (kind, id) = (reader.byte()?, reader.byte()?);
        reader.take(2)?;
        let transaction = reader.short()?;
        let state = std::mem::replace(&mut self.state, State::Failed);
        if (kind, id) == (COMMON, NEGOTIATE) && matches!(state, State::Negotiate | State::Done) {
            self.transaction = transaction;
            return self.negotiate(reader, random);
        }
        if transaction != self.transaction {
            return Err(Failure::Payload);
        }
        match (state, kind, id) {
            (State::Reply(chosen), DH_HMAC_CHAP, REPLY) => self.reply(reader, chosen),
            (State::Success2, DH_HMAC_CHAP, SUCCESS2) => Ok(State::Done),
            (
                State::Challenge(_) | State::Reply(_) | State::Success2,
                COMMON | DH_HMAC_CHAP,
                FAILURE2,
            ) => Ok(State::Failed),
            _ => Err(Failure::Message),
        }
    }

    /// AUTH_Negotiate (8.13.5.2): the first of the host's hashes and groups that may be used.
    fn negotiate(
        &mut self,
        mut reader: Reader<'_>,
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<State, Failure> {
        self.secure_channel = reader.byte()?;
        if self.secure_channel != 0 {
            // A TLS channel is not made of this.
            return Err(Failure::ConcatenationMismatch);
        }
        let protocols = reader.byte()?;
        let mut found = None;
        for _ in 0..protocols {
            let descriptor = reader.take(64)?;
            if descriptor[0] == DH_HMAC_CHAP && found.is_none() {
                found = Some(descriptor);
            }
        }
        let descriptor = found.ok_or(Failure::NotUsable)?;
        let (hashes, groups) = (usize::from(descriptor[2]), usize::from(descriptor[3]));
        if hashes > 30 || groups > 30 {
            return Err(Failure::Payload);
        }
        let hash = descriptor[4..4 + hashes]
            .iter()
            .filter_map(|number| Hash::from_number(*number))
            .find(|hash| self.config.hashes.contains(hash))
            .ok_or(Failure::HashNotUsable)?;
        let group = descriptor[34..34 + groups]
            .iter()
            .filter_map(|number| Group::from_number(*number))
            .find(|group| self.config.groups.contains(group))
            .ok_or(Failure::GroupNotUsable)?;
        let mut challenge = vec![0; hash.len_bytes()];
        random(&mut challenge);
        let mut exponent = [0; EXPONENT_BYTES];
        random(&mut exponent);
        let mut sequence = [0; 4];
        random(&mut sequence);
        // 0 means that there is none.
        let sequence = u32::from_le_bytes(sequence).max(1);
        let value = match group {
            Group::Null => Vec::new(),
            _ => group.public(&exponent),
        };
        Ok(State::Challenge(Chosen { hash, group, challenge, sequence, exponent, value }))
    }

    /// DH-HMAC-CHAP_Reply (8.13.5.4).
    fn reply(&self, mut reader: Reader<'_>, chosen: Chosen) -> Result<State, Failure> {
        let Chosen { hash, group, ref challenge, sequence, ref exponent, .. } = chosen;
        let hash_bytes = usize::from(reader.byte()?);
        reader.take(1)?;
        let wants_proof = reader.byte()? & 1 == 1;
        reader.take(1)?;
        let value_bytes = usize::from(reader.short()?);
        let host_sequence = reader.long()?;
        if hash_bytes != hash.len_bytes() || value_bytes != group.len_bytes() {
            return Err(Failure::Payload);
        }
        let (found, host_challenge) = (reader.take(hash_bytes)?, reader.take(hash_bytes)?);
        let value = reader.take(value_bytes)?;
        let shared = match group {
            Group::Null => None,
            _ => Some(group.shared(value, exponent).ok_or(Failure::Payload)?),
        };
        let (host, subsystem) = (self.host.as_str(), self.subsystem.as_str());
        let of_host = self.statement(sequence, "HostHost", host, subsystem);
        let key = self.config.secret.transformed(&self.host);
        let right = response(hash, &key, challenge, shared.as_deref(), &of_host);
        if !is_same(&right, found) {
            return Err(Failure::Failed);
        }
        let response = match (wants_proof, &self.config.controller_secret) {
            (false, _) => None,
            // It cannot prove what the host wants to know.
            (true, None) => return Err(Failure::Failed),
            (true, Some(secret)) => {
                let of_us = self.statement(host_sequence, "Controller", subsystem, host);
                let key = secret.transformed(&self.subsystem);
                Some(response(hash, &key, host_challenge, shared.as_deref(), &of_us))
            }
        };
        Ok(State::Success1 { chosen, response })
    }

    fn statement<'a>(
        &self,
        sequence: u32,
        role: &'a str,
        first: &'a str,
        second: &'a str,
    ) -> Statement<'a> {
        let Self { transaction, secure_channel, .. } = *self;
        Statement { sequence, transaction, secure_channel, role, first, second }
    }

    /// The controller's message (Authentication Receive): how many bytes it has, and what has changed.
    ///
    /// # Errors
    /// `Command Sequence Error` if it is the host's turn, `Invalid Field in Command` if the buffer is too
    /// small for the message.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, Progress), Status> {
        let (message, next) = match &self.state {
            State::Challenge(chosen) => (self.challenge(chosen), State::Reply(chosen.clone())),
            State::Success1 { chosen, response } => {
                let next = if response.is_some() { State::Success2 } else { State::Done };
                (self.success(chosen.hash, response.as_deref()), next)
            }
            State::Failure1(failure) => {
                let message = self.message(COMMON, FAILURE1, &[1, *failure as u8]);
                (message, State::Failed)
            }
            State::Negotiate | State::Reply(_) | State::Success2 | State::Done | State::Failed => {
                return Err(Status::SEQUENCE_ERROR.finally());
            }
        };
        let place = buffer.get_mut(..message.len()).ok_or(Status::INVALID_FIELD.finally())?;
        place.copy_from_slice(&message);
        let progress = match next {
            State::Done => Progress::Authenticated,
            State::Failed => Progress::Failed,
            _ => Progress::Pending,
        };
        self.state = next;
        Ok((message.len(), progress))
    }

    fn message(&self, kind: u8, id: u8, rest: &[u8]) -> Vec<u8> {
        let mut message = vec![kind, id, 0, 0];
        message.extend(self.transaction.to_le_bytes());
        message.extend(rest);
        message
    }

    /// DH-HMAC-CHAP_Challenge (8.13.5.3).
    fn challenge(&self, chosen: &Chosen) -> Vec<u8> {
        let Chosen { hash, group, challenge, sequence, value, .. } = chosen;
        let mut rest = vec![hash.len_bytes() as u8, 0, hash.number(), group.number()];
        rest.extend((value.len() as u16).to_le_bytes());
        rest.extend(sequence.to_le_bytes());
        rest.extend(challenge);
        rest.extend(value);
        self.message(DH_HMAC_CHAP, CHALLENGE, &rest)
    }

    /// DH-HMAC-CHAP_Success1 (8.13.5.5).
    fn success(&self, hash: Hash, response: Option<&[u8]>) -> Vec<u8> {
        let mut rest = vec![hash.len_bytes() as u8, 0, u8::from(response.is_some())];
        rest.extend([0; 7]);
        rest.extend(response.unwrap_or(&vec![0; hash.len_bytes()]));
        self.message(DH_HMAC_CHAP, SUCCESS1, &rest)
    }
}
