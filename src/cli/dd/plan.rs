//! [`Plan`]: what is copied from where to where, decided before anything is touched.
//!
//! ```text
//!   input   |..skip..|============ total ============|...        total: the least of what there
//!   output  |....seek....|============ total ============|..      is and count blocks
//!                                              ^ last chunk, padded to the output's block
//! ```
//!
//! Not here: bytes.

use std::sync::Arc;

use device::Bdev;
use thiserror::Error;

use crate::limits::{DD_BLOCK_BYTES_MAX, DD_BUFFERS_BYTES_MAX};

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) block_bytes: u64,
    pub(super) count: Option<u64>,
    pub(super) skip: u64,
    pub(super) seek: u64,
    pub(super) depth: usize,
    pub(super) pad_zero: bool,
}

/// What is known of the input.
#[derive(Clone, Debug)]
pub(super) enum InputEnd {
    Bdev {
        name: String,
        size_bytes: u64,
        block_size_bytes: u64,
    },
    /// `None`: a pipe or the like, which ends when it ends.
    File {
        path: String,
        size_bytes: Option<u64>,
    },
}

/// What is known of the output.
#[derive(Clone, Debug)]
pub(super) enum OutputEnd {
    Bdev { name: String, size_bytes: u64, block_size_bytes: u64, writable: bool },
    File,
}

impl InputEnd {
    pub(super) fn of_bdev(bdev: &Arc<dyn Bdev>) -> Self {
        let info = bdev.info();
        Self::Bdev {
            name: info.name.clone(),
            size_bytes: info.size_bytes(),
            block_size_bytes: info.block_size_bytes.into(),
        }
    }

    fn size_bytes(&self) -> Option<u64> {
        match self {
            Self::Bdev { size_bytes, .. } => Some(*size_bytes),
            Self::File { size_bytes, .. } => *size_bytes,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Bdev { name, .. } => format!("bdev {name:?}"),
            Self::File { path, .. } => format!("file {path}"),
        }
    }
}

impl OutputEnd {
    pub(super) fn of_bdev(bdev: &Arc<dyn Bdev>) -> Self {
        let info = bdev.info();
        Self::Bdev {
            name: info.name.clone(),
            size_bytes: info.size_bytes(),
            block_size_bytes: info.block_size_bytes.into(),
            writable: info.supported.write,
        }
    }
}

/// Why there is nothing that could be copied like that.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum PlanError {
    #[error("--bs {block_bytes}: give 1 to {DD_BLOCK_BYTES_MAX} bytes")]
    BlockBytes { block_bytes: u64 },
    #[error(
        "--bs {block_bytes} is not a multiple of the block size of bdev {name:?}: give a multiple \
         of {block_size_bytes}"
    )]
    BlockSize { block_bytes: u64, name: String, block_size_bytes: u64 },
    #[error(
        "--iodepth {depth}: {depth} blocks of {block_bytes} bytes: give at least 1 block and at \
         most {DD_BUFFERS_BYTES_MAX} bytes together"
    )]
    Depth { depth: usize, block_bytes: u64 },
    #[error(
        "--{option} {blocks}: that many blocks of {block_bytes} bytes pass the end of any device"
    )]
    TooFar { option: &'static str, blocks: u64, block_bytes: u64 },
    #[error("--skip {skip}: byte {at} is past the end of {input}, which has {size_bytes} bytes")]
    SkipPastEnd { skip: u64, at: u64, input: String, size_bytes: u64 },
    #[error("bdev {name:?} cannot be written: give another --ob")]
    ReadOnly { name: String },
    #[error(
        "--seek {seek}: byte {at} is past the end of bdev {name:?}, which has {size_bytes} bytes"
    )]
    SeekPastEnd { seek: u64, at: u64, name: String, size_bytes: u64 },
    #[error(
        "{input} has {total_bytes} bytes to copy, and bdev {name:?} has room for {room_bytes}: \
         give a smaller --count or --seek"
    )]
    NoRoom { input: String, total_bytes: u64, name: String, room_bytes: u64 },
    #[error(
        "{input} has {total_bytes} bytes to copy, which is not a multiple of the block size \
         {block_size_bytes} of bdev {name:?}: give --pad-zero to fill the last block with zeroes, \
         or a --count that leaves it out"
    )]
    Tail { input: String, total_bytes: u64, name: String, block_size_bytes: u64 },
    #[error(
        "bdev {name:?}: bytes {from} to {from_end} would be copied over bytes {to} to {to_end} of \
         the same bdev: give ranges that do not overlap"
    )]
    Overlap { name: String, from: u64, from_end: u64, to: u64, to_end: u64 },
}

/// A copy that can be done as far as can be known before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    pub(super) block_bytes: u64,
    pub(super) depth: usize,
    pub(super) input_offset_bytes: u64,
    pub(super) output_offset_bytes: u64,
    /// Absent when only the end of the input will tell.
    pub(super) total_bytes: Option<u64>,
    /// Most to copy when the total is not known: what was asked for, or what the output holds.
    pub(super) limit_bytes: u64,
    /// Whether more input than the limit is an error and not just left over.
    pub(super) limit_is_room: bool,
    /// Writes are multiples of this; 1 for files.
    pub(super) granule_bytes: u64,
    pub(super) pad_zero: bool,
}

impl Plan {
    pub(super) fn new(
        request: &Request,
        input: &InputEnd,
        output: &OutputEnd,
    ) -> Result<Self, PlanError> {
        let input_granule = match input {
            InputEnd::Bdev { name, block_size_bytes, .. } => (name.as_str(), *block_size_bytes),
            InputEnd::File { .. } => ("", 1),
        };
        let output_granule = match output {
            OutputEnd::Bdev { name, block_size_bytes, .. } => (name.as_str(), *block_size_bytes),
            OutputEnd::File => ("", 1),
        };
        check_block(request, [input_granule, output_granule])?;
        let input_offset_bytes = offset(request, "skip", request.skip)?;
        let output_offset_bytes = offset(request, "seek", request.seek)?;
        let asked_bytes = request.count.map(|count| offset(request, "count", count)).transpose()?;
        let total_bytes = match input.size_bytes() {
            Some(size_bytes) if input_offset_bytes > size_bytes => {
                return Err(PlanError::SkipPastEnd {
                    skip: request.skip,
                    at: input_offset_bytes,
                    input: input.describe(),
                    size_bytes,
                });
            }
            Some(size_bytes) => {
                Some((size_bytes - input_offset_bytes).min(asked_bytes.unwrap_or(u64::MAX)))
            }
            None => None,
        };
        let plan = Self {
            block_bytes: request.block_bytes,
            depth: request.depth,
            input_offset_bytes,
            output_offset_bytes,
            total_bytes,
            limit_bytes: asked_bytes.unwrap_or(u64::MAX),
            limit_is_room: false,
            granule_bytes: output_granule.1,
            pad_zero: request.pad_zero,
        };
        match output {
            OutputEnd::File => Ok(plan),
            OutputEnd::Bdev { name, writable: false, .. } => {
                Err(PlanError::ReadOnly { name: name.clone() })
            }
            OutputEnd::Bdev { name, size_bytes, .. } => plan.fit(request, input, name, *size_bytes),
        }
    }

    /// The plan for an output bdev of that size.
    fn fit(
        mut self,
        request: &Request,
        input: &InputEnd,
        name: &str,
        size_bytes: u64,
    ) -> Result<Self, PlanError> {
        let name = name.to_owned();
        let Some(room_bytes) = size_bytes.checked_sub(self.output_offset_bytes) else {
            let (seek, at) = (request.seek, self.output_offset_bytes);
            return Err(PlanError::SeekPastEnd { seek, at, name, size_bytes });
        };
        match self.total_bytes {
            Some(total_bytes) if total_bytes > room_bytes => {
                let input = input.describe();
                Err(PlanError::NoRoom { input, total_bytes, name, room_bytes })
            }
            Some(total_bytes) => {
                self.check_tail(total_bytes, &input.describe(), &name)?;
                Ok(self)
            }
            None => {
                self.limit_is_room = room_bytes < self.limit_bytes;
                self.limit_bytes = self.limit_bytes.min(room_bytes);
                Ok(self)
            }
        }
    }

    /// Whether the last chunk can be written.
    pub(super) fn check_tail(
        &self,
        total_bytes: u64,
        input: &str,
        name: &str,
    ) -> Result<(), PlanError> {
        if self.pad_zero || total_bytes.is_multiple_of(self.granule_bytes) {
            return Ok(());
        }
        Err(PlanError::Tail {
            input: input.to_owned(),
            total_bytes,
            name: name.to_owned(),
            block_size_bytes: self.granule_bytes,
        })
    }

    /// Chunks are read ahead, so what is written would be read again where the ranges of one bdev
    /// overlap.
    pub(super) fn check_overlap(&self, name: &str) -> Result<(), PlanError> {
        let total_bytes = self.total_bytes.unwrap_or(self.limit_bytes);
        let (from, to) = (self.input_offset_bytes, self.output_offset_bytes);
        let (from_end, to_end) = (from + total_bytes, to + total_bytes);
        if from < to_end && to < from_end {
            let name = name.to_owned();
            return Err(PlanError::Overlap { name, from, from_end, to, to_end });
        }
        Ok(())
    }

    /// Length of a write of `len_bytes` of input.
    pub(super) fn padded(&self, len_bytes: u64) -> u64 {
        len_bytes.next_multiple_of(self.granule_bytes)
    }
}

fn check_block(request: &Request, granules: [(&str, u64); 2]) -> Result<(), PlanError> {
    let Request { block_bytes, depth, .. } = *request;
    if block_bytes == 0 || block_bytes > DD_BLOCK_BYTES_MAX {
        return Err(PlanError::BlockBytes { block_bytes });
    }
    for (name, block_size_bytes) in granules {
        if !block_bytes.is_multiple_of(block_size_bytes) {
            let name = name.to_owned();
            return Err(PlanError::BlockSize { block_bytes, name, block_size_bytes });
        }
    }
    if depth == 0 || depth as u64 > DD_BUFFERS_BYTES_MAX / block_bytes {
        return Err(PlanError::Depth { depth, block_bytes });
    }
    Ok(())
}

/// Blocks in bytes; sums of two of them stay far from the end of the numbers.
fn offset(request: &Request, option: &'static str, blocks: u64) -> Result<u64, PlanError> {
    let block_bytes = request.block_bytes;
    blocks
        .checked_mul(block_bytes)
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or(PlanError::TooFar { option, blocks, block_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Request =
        Request { block_bytes: 8192, count: None, skip: 0, seek: 0, depth: 8, pad_zero: false };

    fn input(size_bytes: u64) -> InputEnd {
        InputEnd::Bdev { name: "a".into(), size_bytes, block_size_bytes: 512 }
    }

    fn file(size_bytes: Option<u64>) -> InputEnd {
        InputEnd::File { path: "/f".into(), size_bytes }
    }

    fn output(size_bytes: u64) -> OutputEnd {
        let name = "b".into();
        OutputEnd::Bdev { name, size_bytes, block_size_bytes: 4096, writable: true }
    }

    fn total(request: Request, input: &InputEnd, output: &OutputEnd) -> Option<u64> {
        Plan::new(&request, input, output).unwrap().total_bytes
    }

    #[test]
    fn what_there_is_is_copied() {
        let out = output(1 << 20);
        assert_eq!(total(REQUEST, &input(65_536), &out), Some(65_536));
        let two = Request { count: Some(2), ..REQUEST };
        assert_eq!(total(two, &input(65_536), &out), Some(16_384));
        let last = Request { count: Some(2), skip: 7, ..REQUEST };
        assert_eq!(total(last, &input(65_536), &out), Some(8192));
        assert_eq!(total(Request { skip: 8, ..REQUEST }, &input(65_536), &out), Some(0));
        assert_eq!(total(REQUEST, &file(Some(12_345)), &OutputEnd::File), Some(12_345));
        let padded = Request { pad_zero: true, ..REQUEST };
        assert_eq!(total(padded, &file(Some(5000)), &output(8192)), Some(5000));
        let plan = Plan::new(&padded, &file(Some(5000)), &output(8192)).unwrap();
        assert_eq!((plan.padded(5000), plan.padded(4096)), (8192, 4096));
    }

    #[test]
    fn a_pipe_is_limited_by_the_output() {
        let plan = Plan::new(&REQUEST, &file(None), &output(1 << 20)).unwrap();
        assert_eq!((plan.total_bytes, plan.limit_bytes, plan.limit_is_room), (None, 1 << 20, true));
        let two = Request { count: Some(2), ..REQUEST };
        let plan = Plan::new(&two, &file(None), &output(1 << 20)).unwrap();
        assert_eq!((plan.limit_bytes, plan.limit_is_room), (16_384, false));
    }

    /// Goal: each wrong request is refused with a text that names the object, the value and what
    /// would be right.
    #[test]
    fn wrong_requests_are_named() {
        let wrong = |request: Request, input: InputEnd, output: OutputEnd| {
            Plan::new(&request, &input, &output).unwrap_err().to_string()
        };
        let with = |change: fn(&mut Request)| {
            let mut request = REQUEST;
            change(&mut request);
            wrong(request, input(65_536), output(65_536))
        };
        for (message, parts) in [
            (with(|r| r.block_bytes = 0), ["--bs 0", "give 1 to"]),
            (with(|r| r.block_bytes = 2 << 30), ["--bs 2147483648", "1073741824"]),
            (with(|r| r.block_bytes = 1000), ["--bs 1000", "bdev \"a\": give a multiple of 512"]),
            (with(|r| r.block_bytes = 512), ["--bs 512", "bdev \"b\": give a multiple of 4096"]),
            (with(|r| r.depth = 0), ["--iodepth 0", "at least 1 block"]),
            (with(|r| r.depth = 1 << 20), ["--iodepth 1048576", "at most 4294967296"]),
            (with(|r| r.skip = 9), ["--skip 9: byte 73728", "bdev \"a\", which has 65536"]),
            (with(|r| r.seek = 9), ["--seek 9: byte 73728", "bdev \"b\", which has 65536"]),
            (with(|r| r.seek = u64::MAX), ["--seek 18446744073709551615", "pass the end"]),
            (with(|r| r.count = Some(u64::MAX)), ["--count 18446744073709551615", "pass"]),
            (with(|r| r.seek = 1), ["bdev \"a\" has 65536", "bdev \"b\" has room for 57344"]),
            (
                wrong(
                    REQUEST,
                    input(65_536),
                    OutputEnd::Bdev {
                        name: "c".into(),
                        size_bytes: 65_536,
                        block_size_bytes: 512,
                        writable: false,
                    },
                ),
                ["bdev \"c\" cannot be written", "another --ob"],
            ),
            (
                wrong(REQUEST, file(Some(5000)), output(65_536)),
                ["file /f has 5000 bytes", "multiple of the block size 4096 of bdev \"b\""],
            ),
        ] {
            assert!(parts.iter().all(|part| message.contains(part)), "{message}: {parts:?}");
        }
    }

    #[test]
    fn overlapping_ranges_of_one_bdev_are_refused() {
        let plan = |skip, seek| {
            let request = Request { count: Some(2), skip, seek, ..REQUEST };
            Plan::new(&request, &input(65_536), &output(65_536)).unwrap()
        };
        for (skip, seek, fine) in
            [(0, 2, true), (2, 0, true), (0, 1, false), (1, 0, false), (3, 3, false)]
        {
            assert_eq!(plan(skip, seek).check_overlap("a").is_ok(), fine, "{skip} to {seek}");
        }
        let message = plan(0, 1).check_overlap("a").unwrap_err().to_string();
        assert!(message.contains("bytes 0 to 16384") && message.contains("8192 to 24576"));
    }
}
