//! The language of device-mapper: tables, status lines, messages and the sentences of refusal. Pure.
//!
//! ```text
//!             text                                              plain values
//!   "0 98304 raid raid5_ls 1 128 4 - a ..."  --Table::parse-->  Table: lines of typed Targets
//!                                            <----Display-----    |
//!             TableError: sentence, errno                         +--> ArrayFacts   what to build
//!                                                                 +--> IoHints, devices
//!   "raid5_ls 4 AaAA 2056/32768 recover 0 0 -"  <----info------ state of the array, of the log
//!   "check", "str set 512"                   ---Message::parse--> message  --admit, Change--> effect
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`table`] | several targets, one after the other |
//! | [`raid`], [`raid45`], [`raid456`] | the arrays, each with its grammar |
//! | [`simple`] | `linear`, `error`, `zero`, `delay`, `flakey` |
//! | [`log`] | dirty-log arguments of the latter two |
//! | [`facts`] | the three in one form, for whoever makes the array |
//! | [`status`], [`message`] | what goes out, what comes in |
//! | [`words`], [`device`], [`error`] | words and numbers, names, sentences |
//!
//! Invariants:
//!
//! - A parsed table is canonical: printed and read again it is the same. What is printed is what a kernel
//!   prints, to the letter, and so is the sentence for what is refused (`tests`: 77 tables and 98
//!   status lines of a 6.1 kernel, and one list of where we mean to differ, `golden::intended`).
//! - No text makes a parser panic.
//! - Devices are names. Their sizes are asked for through [`device::Devices`], once for each word.
//!
//! Not here: mapped devices, suspend and resume, events (`control`); JSON (`methods`).

pub mod device;
pub mod error;
pub mod facts;
pub mod log;
pub mod message;
pub mod raid;
pub mod raid45;
pub mod raid456;
pub mod simple;
pub mod status;
pub mod table;
pub mod words;

#[cfg(test)]
mod tests;

pub use device::{Device, DeviceName, Devices};
pub use error::{Errno, TableError, TargetError};
pub use facts::{ArrayFacts, IoHints, Start};
pub use message::Message;
pub use table::{Table, TableLine, Target};
