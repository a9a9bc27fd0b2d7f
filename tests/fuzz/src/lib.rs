//! Fuzzing: every grammar and format that comes from outside, thrown bytes at.
//!
//! | target | what is fuzzed | what has to hold, besides that nothing panics |
//! |---|---|---|
//! | `dm_table` | tables of device-mapper | what is read prints itself, and reads as the same |
//! | `dm_message` | messages to a target | what they change stays within its bounds |
//! | `rpc_codec` | requests and replies on a stream | it does not matter where the stream is cut |
//! | `rpc_params` | the parameters of every method | the canonical form is its own canonical form |
//! | `config` | configuration files | refusals name the file |
//! | `superblock` | superblocks, their pairs, and foreign ones | what is read encodes to the same bytes |
//! | `dirty_log` | dirty logs | counts, marks and writes agree with the bits |
//! | `nvmf_connection` | connections of NVMe/TCP hosts | a host understands every byte that comes back; nothing is left at the end |
//!
//! ```sh
//! .ci/run fuzz                                                      # a while of each
//! cargo install cargo-fuzz
//! cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none dm_table    # one, until it finds something
//! ```
//!
//! None of the code below these targets is unsafe, so no sanitizer is needed, and with that no nightly
//! compiler. `seeds/` has a few inputs of each to begin with. What is found becomes a test beside the
//! code that was mended, and its input a seed.
//!
//! Not here: what needs more than bytes: the data path (`tests/sim`), the service (`tests/blackbox`).

#![forbid(unsafe_code)]

use raid456::dm::{Device, DeviceName};

/// Takes bytes off the front of an input, zeroes where there are none left.
#[derive(Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    /// A number of four bytes.
    pub fn number(&mut self) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }
}

/// The device that a name in a table stands for: all names stand for one, but some for devices that are
/// small, have large blocks or fail, and those that begin with "no" for none.
#[must_use]
pub fn device(name: &str) -> Option<Device> {
    if name.starts_with("no") {
        return None;
    }
    let has = |what: &str| name.contains(what);
    Some(Device {
        name: DeviceName::new(name)?,
        sectors: if has("small") { 100 } else { 1 << 40 },
        block_bytes: if has("4k") { 4096 } else { 512 },
        fails: has("error"),
    })
}
