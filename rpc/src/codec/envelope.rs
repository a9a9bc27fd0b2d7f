//! The members of requests and replies.
//!
//! | member | request | reply |
//! |---|---|---|
//! | `jsonrpc` | "2.0" or absent | "2.0" |
//! | `id` | string, number; null = absent = a notification | the request's, or null |
//! | `method` | string | - |
//! | `params` | object or array; null = absent | - |
//! | `result` / `error` | - | exactly one of them |
//!
//! Anything else in a request is -32600, for that request alone. An id is echoed whenever it can
//! be read, also in the answer to a request that is refused (SPDK sends null there): a client with
//! many requests in flight could not tell otherwise which of them failed.
//!
//! Numbers that are ids come back as they were up to 64 bits; beyond that as a double.
//!
//! Not here: where one value ends and the next begins (`frame`); what parameters mean (`schema`).

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::codec::frame::{FrameError, FrameLimits, Framer};
use crate::error::{RpcError, shown};
use crate::limits;

/// What a reply is matched by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A JSON number.
    Number(Number),
    /// A JSON string.
    Text(String),
}

impl From<u64> for Id {
    fn from(id: u64) -> Self {
        Self::Number(id.into())
    }
}

/// One call. Without an `id` it is a notification: a result is not sent, an error is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// None for a notification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// The method's name as it was sent: it may be an alias, or no method at all.
    pub method: String,
    /// An object or an array; never null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
}

/// JSON that is no request: what to answer, and to whom as far as that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The id, if there is a legible one.
    pub id: Option<Id>,
    /// Always -32600.
    pub error: RpcError,
}

/// A request, or what stands in its place.
pub type Item = Result<Request, Refusal>;

/// One JSON value of the stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// To be answered by itself.
    Single(Item),
    /// To be answered by one array, unless all of them are notifications that succeed. Not empty.
    Batch(Vec<Item>),
}

/// Turns the bytes of a connection into messages.
///
/// Push what was read, take messages until there is none, and only then push more: that bounds
/// what it holds to [`limits::REQUEST_BYTES_MAX`] and one read.
#[derive(Debug)]
pub struct Decoder(Framer);

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self(Framer::new(FrameLimits::REQUEST))
    }

    /// Adds bytes, cut anywhere. After an error they are thrown away.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    /// Says that the stream has ended, so that an unfinished value becomes an error.
    pub fn push_end(&mut self) {
        self.0.push_end();
    }

    /// The next message, or none until more bytes are there.
    ///
    /// # Errors
    ///
    /// -32700, once: the stream is no longer legible, so the reply is to be sent and the
    /// connection closed. After it there are no more messages.
    pub fn next_message(&mut self) -> Result<Option<Message>, RpcError> {
        let value = self.0.next_value().map_err(RpcError::parse)?;
        Ok(value.map(interpret))
    }
}

fn interpret(value: Value) -> Message {
    match value {
        Value::Array(items) if items.is_empty() => {
            Message::Single(Err(Refusal::new(None, "a batch must have at least one request")))
        }
        Value::Array(items) => Message::Batch(items.into_iter().map(item).collect()),
        other => Message::Single(item(other)),
    }
}

fn item(value: Value) -> Item {
    let Value::Object(members) = value else {
        return Err(Refusal::new(
            None,
            format_args!("{} should be an object", shown_value(&value)),
        ));
    };
    request(members)
}

fn request(mut members: Map<String, Value>) -> Item {
    let id = match members.remove("id") {
        None | Some(Value::Null) => None,
        Some(Value::Number(number)) => Some(Id::Number(number)),
        Some(Value::String(text)) => Some(Id::Text(text)),
        Some(other) => {
            let what = format!("id: {} should be a string, a number or null", shown_value(&other));
            return Err(Refusal::new(None, what));
        }
    };
    let refuse = |what: String| Refusal::new(id.clone(), what);
    match members.remove("jsonrpc") {
        None => {}
        Some(Value::String(version)) if version == "2.0" => {}
        Some(other) => {
            let what = format!("jsonrpc: {} should be \"2.0\" or left out", shown_value(&other));
            return Err(refuse(what));
        }
    }
    let method = match members.remove("method") {
        Some(Value::String(method)) => method,
        Some(other) => {
            return Err(refuse(format!("method: {} should be a string", shown_value(&other))));
        }
        None => return Err(refuse("method is missing: it should be a string".to_owned())),
    };
    let params = match members.remove("params") {
        None | Some(Value::Null) => None,
        Some(params @ (Value::Object(_) | Value::Array(_))) => Some(params),
        Some(other) => {
            let what = format!("params: {} should be an object or null", shown_value(&other));
            return Err(refuse(what));
        }
    };
    if let Some(unknown) = members.keys().next() {
        let name = shown(unknown);
        let what = format!("{name:?}: only jsonrpc, id, method and params may stand in a request");
        return Err(refuse(what));
    }
    Ok(Request { id, method, params })
}

/// A value as it stands in a message: JSON, cut to a length that fits.
pub(crate) fn shown_value(value: &Value) -> String {
    shown(&value.to_string()).into_owned()
}

impl Refusal {
    fn new(id: Option<Id>, detail: impl std::fmt::Display) -> Self {
        Self { id, error: RpcError::invalid_request(detail) }
    }
}

impl Request {
    /// The request as it goes over the wire, with a newline after it.
    pub fn encode(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Envelope<'a> {
            jsonrpc: &'static str,
            #[serde(flatten)]
            request: &'a Request,
        }
        let mut bytes = Bounded::new(usize::MAX);
        bytes.json(&Envelope { jsonrpc: "2.0", request: self }).expect("there is no bound");
        bytes.newline()
    }
}

/// The reply to the request `id`, with a newline after it; none if there is nothing to send,
/// because a notification has succeeded. A result that is too long becomes an error.
pub fn encode_reply(id: Option<&Id>, outcome: &Result<Value, RpcError>) -> Option<Vec<u8>> {
    let room_bytes = limits::RESPONSE_BYTES_MAX - 1;
    Some(encode_within(room_bytes, id, outcome)?.newline())
}

/// The array that answers a batch, in the order in which its requests are done.
#[derive(Debug, Default)]
pub struct BatchReply {
    /// The opening bracket and the replies so far, with commas; empty before the first one.
    bytes: Vec<u8>,
}

impl BatchReply {
    /// Adds the reply to one of the batch's requests, if it has one.
    pub fn push(&mut self, id: Option<&Id>, outcome: &Result<Value, RpcError>) {
        // Brackets, comma and newline.
        let room_bytes = limits::RESPONSE_BYTES_MAX.saturating_sub(self.bytes.len() + 3);
        let Some(reply) = encode_within(room_bytes, id, outcome) else { return };
        self.bytes.push(if self.bytes.is_empty() { b'[' } else { b',' });
        self.bytes.extend_from_slice(&reply.bytes);
    }

    /// The whole array with a newline after it; none if no request has a reply.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if self.bytes.is_empty() {
            return None;
        }
        self.bytes.extend_from_slice(b"]\n");
        Some(self.bytes)
    }
}

/// One reply of at most `bytes_max`, or a short error in its place; none for nothing to send.
fn encode_within(
    bytes_max: usize,
    id: Option<&Id>,
    outcome: &Result<Value, RpcError>,
) -> Option<Bounded> {
    #[derive(Serialize)]
    struct Envelope<'a> {
        jsonrpc: &'static str,
        id: Option<&'a Id>,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a RpcError>,
    }
    if outcome.is_ok() && id.is_none() {
        return None;
    }
    let (result, error) = (outcome.as_ref().ok(), outcome.as_ref().err());
    let mut reply = Bounded::new(bytes_max);
    if reply.json(&Envelope { jsonrpc: "2.0", id, result, error }).is_err() {
        let max = limits::RESPONSE_BYTES_MAX;
        let error = RpcError::internal(format!("the response is longer than {max} bytes"));
        reply = Bounded::new(usize::MAX);
        reply
            .json(&Envelope { jsonrpc: "2.0", id, result: None, error: Some(&error) })
            .expect("there is no bound");
    }
    Some(reply)
}

/// Bytes that refuse to grow beyond a bound, so that a huge result is never built.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Bounded {
    fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max }
    }

    fn json(&mut self, value: &impl Serialize) -> Result<(), serde_json::Error> {
        serde_json::to_writer(self, value)
    }

    fn newline(mut self) -> Vec<u8> {
        self.bytes.push(b'\n');
        self.bytes
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes_max - self.bytes.len() < bytes.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An answer as a client sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// None if the server could not read the request's id.
    pub id: Option<Id>,
    /// The result, or the error.
    pub outcome: Result<Value, RpcError>,
}

/// Turns the bytes that a server sends into replies. It is lenient: members that it does not know
/// are ignored.
#[derive(Debug)]
pub struct ReplyDecoder(Framer);

impl Default for ReplyDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplyDecoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self(Framer::new(FrameLimits::REPLY))
    }

    /// Adds bytes, cut anywhere.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    /// The next reply, or none until more bytes are there.
    ///
    /// # Errors
    ///
    /// When the stream is not JSON, or its next value is no reply (`FrameError::Syntax`).
    pub fn next_reply(&mut self) -> Result<Option<Reply>, FrameError> {
        #[derive(Deserialize)]
        struct Envelope {
            id: Option<Id>,
            #[serde(default, deserialize_with = "present")]
            result: Option<Value>,
            error: Option<RpcError>,
        }
        /// A null result is a result.
        fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
            Value::deserialize(from).map(Some)
        }

        let Some(value) = self.0.next_value()? else { return Ok(None) };
        let no_reply = |detail: String| FrameError::Syntax(format!("not a reply: {detail}"));
        let Envelope { id, result, error } =
            serde_json::from_value(value).map_err(|error| no_reply(error.to_string()))?;
        let outcome = match (result, error) {
            (_, Some(error)) => Err(error),
            (Some(result), None) => Ok(result),
            (None, None) => return Err(no_reply("it has neither result nor error".to_owned())),
        };
        Ok(Some(Reply { id, outcome }))
    }
}
