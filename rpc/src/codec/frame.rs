//! Framing: finds the JSON values in a stream of bytes that has no delimiters.
//!
//! A boundary scan, which looks at every byte once, knows where a value ends; serde_json alone
//! knows whether it is JSON. So a value that arrives a byte at a time costs linear time, which
//! parsing the buffer again after every read would not.
//!
//! ```text
//!   Between --- { [ ---> Inside <---> Text, Scalar         closing bracket: ends after it
//!      |---- " --------> Text (a backslash escapes)        closing quote: ends after it
//!      `---- 0-9a-z- --> Scalar                            any other byte: ended before it
//! ```
//!
//! An unfinished value is checked for errors as well, so that a client that sends rubbish and waits
//! is answered. Such checks do cost a look at the value from its beginning, and are rationed
//! (`limits::RECHECK_*`); one that is left out only delays the same verdict.
//!
//! The invariant: how the stream is cut into reads changes neither the values nor whether an error
//! follows them (`tests/codec.rs` holds it for every cut). Owns R6 for input: at most the longest
//! value and one read are held.
//!
//! Not here: what the values mean (`envelope`), sockets.

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::limits;

/// How long and how full a value may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameLimits {
    pub(crate) bytes_max: usize,
    pub(crate) values_max: usize,
}

impl FrameLimits {
    pub(crate) const REQUEST: Self =
        Self { bytes_max: limits::REQUEST_BYTES_MAX, values_max: limits::REQUEST_VALUES_MAX };
    /// A reply is trusted more than a request: only its length is bounded.
    pub(crate) const REPLY: Self =
        Self { bytes_max: limits::RESPONSE_BYTES_MAX, values_max: usize::MAX };
}

/// Why the rest of a stream cannot be read. Each of them ends the stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not JSON; the detail is serde_json's, with line and column counted within the value.
    #[error("{0}")]
    Syntax(String),
    /// No value ends within this many bytes.
    #[error("a JSON value is longer than {0} bytes")]
    TooLong(usize),
    /// More JSON values within one than this.
    #[error("more than {0} JSON values in one")]
    TooMany(usize),
    /// The input ended within a value.
    #[error("the input ends inside a JSON value")]
    Truncated,
}

/// Where the scan stands.
#[derive(Debug, Clone, Copy)]
enum Scan {
    /// Between two top-level values.
    Between,
    /// In an object or array, outside its strings and scalars.
    Inside,
    /// In a string; `escaped`: the last byte was a backslash.
    Text { escaped: bool },
    /// In a number or literal (or rubbish) that begins at this index of the buffer.
    Scalar { start: usize },
}

/// What one more byte means.
enum Step {
    Onward,
    /// The value ends after this byte.
    EndAfter,
    /// The value ended before this byte, which is not consumed.
    EndBefore,
    /// No value can begin with this byte.
    Stray,
}

/// Cuts a stream of bytes into JSON values. Feed with [`push`](Self::push), take with
/// [`next_value`](Self::next_value) until it has no more, and say when the stream has ended.
#[derive(Debug)]
pub(crate) struct Framer {
    limits: FrameLimits,
    buffer: Vec<u8>,
    /// Index of the first byte of the value being scanned; everything before it is done with.
    start: usize,
    /// Index of the first byte that the scan has not seen.
    scanned: usize,
    scan: Scan,
    /// Open objects and arrays.
    depth: usize,
    /// JSON values seen in this value.
    values: usize,
    /// Bytes of this value that may still be looked at again while it is unfinished.
    recheck_bytes: usize,
    end: End,
}

/// Whether more can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// The peer has said that no more bytes will come.
    Ended,
    /// An error was returned; whatever comes is thrown away.
    Failed,
}

impl Framer {
    pub(crate) fn new(limits: FrameLimits) -> Self {
        Self {
            limits,
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            scan: Scan::Between,
            depth: 0,
            values: 0,
            recheck_bytes: limits::RECHECK_BYTES_FREE,
            end: End::Open,
        }
    }

    /// Adds bytes. The caller takes all values out before it adds more, which bounds the buffer.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.end != End::Open {
            return;
        }
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        if let Scan::Scalar { start } = &mut self.scan {
            *start -= self.start;
        }
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
        let earned = bytes.len().saturating_mul(limits::RECHECK_BYTES_PER_BYTE);
        self.recheck_bytes = self.recheck_bytes.saturating_add(earned);
    }

    /// No more bytes will come.
    pub(crate) fn push_end(&mut self) {
        if self.end == End::Open {
            self.end = End::Ended;
        }
    }

    /// The next whole value, or none until more bytes are there. An error is returned once; after
    /// it there is never a value again.
    pub(crate) fn next_value(&mut self) -> Result<Option<Value>, FrameError> {
        if self.end == End::Failed {
            return Ok(None);
        }
        let next = self.scan_value();
        if next.is_err() {
            self.end = End::Failed;
            self.buffer = Vec::new();
        }
        next
    }

    fn scan_value(&mut self) -> Result<Option<Value>, FrameError> {
        while let Some(&byte) = self.buffer.get(self.scanned) {
            if self.scanned - self.start >= self.limits.bytes_max {
                return Err(FrameError::TooLong(self.limits.bytes_max));
            }
            let step = self.step(byte);
            self.scanned += usize::from(!matches!(step, Step::EndBefore));
            if self.values > self.limits.values_max {
                return Err(FrameError::TooMany(self.limits.values_max));
            }
            match step {
                Step::Onward => {}
                Step::EndAfter | Step::EndBefore => return self.take_value().map(Some),
                Step::Stray => {
                    let what = format!("no JSON value begins with byte 0x{byte:02x}");
                    return Err(FrameError::Syntax(what));
                }
            }
        }
        match (self.scan, self.end) {
            (Scan::Between, _) => Ok(None),
            (Scan::Scalar { .. }, End::Ended) if self.depth == 0 => self.take_value().map(Some),
            (_, End::Ended) => Err(FrameError::Truncated),
            (_, End::Open | End::Failed) => self.recheck(),
        }
    }

    fn step(&mut self, byte: u8) -> Step {
        match (self.scan, byte) {
            (Scan::Between, b' ' | b'\t' | b'\n' | b'\r') => self.start += 1,
            (Scan::Between, b'{' | b'[' | b'"') => return self.structure(byte),
            (Scan::Between, _) if is_scalar(byte) => return self.scalar(),
            (Scan::Between, _) => return Step::Stray,
            (Scan::Text { escaped: true }, _) => self.scan = Scan::Text { escaped: false },
            (Scan::Text { .. }, b'\\') => self.scan = Scan::Text { escaped: true },
            (Scan::Text { .. }, b'"') => return self.leave(Step::EndAfter),
            (Scan::Text { .. }, _) => {}
            (Scan::Scalar { start }, _) if is_scalar(byte) => {
                // A literal needs nothing after it to be whole, unlike a number.
                let text = &self.buffer[start..=self.scanned];
                if self.depth == 0 && matches!(text, b"null" | b"true" | b"false") {
                    return Step::EndAfter;
                }
            }
            (Scan::Scalar { .. }, _) if self.depth == 0 => return Step::EndBefore,
            (Scan::Scalar { .. } | Scan::Inside, _) => return self.structure(byte),
        }
        Step::Onward
    }

    /// A byte where a value or punctuation is due.
    fn structure(&mut self, byte: u8) -> Step {
        self.scan = Scan::Inside;
        match byte {
            b'{' | b'[' => {
                self.depth += 1;
                self.values += 1;
            }
            b'}' | b']' => {
                self.depth -= 1;
                self.values += 1;
                return self.leave(Step::EndAfter);
            }
            b'"' => {
                self.values += 1;
                self.scan = Scan::Text { escaped: false };
            }
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => {}
            _ => return self.scalar(),
        }
        Step::Onward
    }

    fn scalar(&mut self) -> Step {
        self.values += 1;
        self.scan = Scan::Scalar { start: self.scanned };
        Step::Onward
    }

    /// A string, object or array has ended: either a part, or the whole value.
    fn leave(&mut self, end: Step) -> Step {
        if self.depth == 0 {
            return end;
        }
        self.scan = Scan::Inside;
        Step::Onward
    }

    /// The value from `start` to `scanned`, which the scan says is whole.
    fn take_value(&mut self) -> Result<Value, FrameError> {
        let value = serde_json::from_slice(&self.buffer[self.start..self.scanned]);
        self.start = self.scanned;
        self.scan = Scan::Between;
        self.depth = 0;
        self.values = 0;
        self.recheck_bytes = limits::RECHECK_BYTES_FREE;
        value.map_err(|error| FrameError::Syntax(error.to_string()))
    }

    /// Looks for an error in an unfinished value, if its ration allows a look.
    fn recheck(&mut self) -> Result<Option<Value>, FrameError> {
        let len_bytes = self.scanned - self.start;
        let Some(rest) = self.recheck_bytes.checked_sub(len_bytes) else { return Ok(None) };
        self.recheck_bytes = rest;
        self.malformed().map_or(Ok(None), Err)
    }

    /// The syntax error in the unfinished value, if no continuation could mend it.
    fn malformed(&self) -> Option<FrameError> {
        // serde_json takes the end of a number that may go on for an error. Its first digit is a
        // number already, which is enough to see whether one may stand there.
        let end = match self.scan {
            Scan::Scalar { start } if self.buffer[start] == b'-' => start,
            Scan::Scalar { start } if self.buffer[start].is_ascii_digit() => start + 1,
            _ => self.scanned,
        };
        match serde_json::from_slice::<IgnoredAny>(&self.buffer[self.start..end]) {
            Err(error) if !error.is_eof() => Some(FrameError::Syntax(error.to_string())),
            _ => None,
        }
    }
}

/// Bytes that numbers and literals are made of.
fn is_scalar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}
