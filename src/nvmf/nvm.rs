//! NVM commands to requests of a bdev: what is asked, whether it may be, and what an outcome is called.
//!
//! ```text
//!   flags -> opcode -> namespace -> ANA state -> write protection -> size -> range -> Request
//! ```
//!
//! Pure functions. Not here: buffers; who reads for Compare and Verify.

use device::IoStatus;
use nvme::command::{self, CDW12_DEAC, CDW12_FUA, DSM_DEALLOCATE, DsmRange, io};
use nvme::{Layout, Sqe, Status};

use super::limits::TRANSFER_BYTES_MAX;
use super::transfer::Transfer;
use super::view::{Namespace, View, check_ana};

/// Most ranges, 256, in bytes.
const LIST_BYTES_MAX: u32 = 256 * DsmRange::SIZE as u32;

/// What a command wants of the bdev.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read into the buffer.
    Read,
    /// Write from the buffer.
    Write {
        /// Force unit access.
        fua: bool,
    },
    /// Make everything durable that was written.
    Flush,
    /// Give back the ranges in the buffer ([`ranges`]), or leave it: a host may not count on it.
    Deallocate {
        /// Ranges in the buffer.
        count: u16,
        /// Bytes of the buffer: those of the ranges at least. Linux sends room for all 256 ranges
        /// whatever the count.
        list_bytes: u32,
        /// The host asked for it, and the bdev can.
        effective: bool,
    },
    /// Make the range read as zeroes.
    WriteZeroes {
        /// Force unit access.
        fua: bool,
        /// An unmap does the same, and the host would like it.
        deallocate: bool,
    },
    /// Read, and compare with the buffer.
    Compare,
    /// Read, and throw it away.
    Verify,
}

/// A command that may be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The namespace.
    pub nsid: u32,
    /// [`Namespace::key`].
    pub key: u64,
    /// What to do.
    pub op: Op,
    /// First byte of the bdev; 0 for those without a range.
    pub offset_bytes: u64,
    /// Length; 0 for those without a range.
    pub len_bytes: u32,
}

impl Request {
    /// Whether it changes the namespace.
    #[inline]
    #[must_use]
    pub fn modifies(&self) -> bool {
        match self.op {
            Op::Write { .. } | Op::WriteZeroes { .. } | Op::Deallocate { .. } => true,
            Op::Read | Op::Flush | Op::Compare | Op::Verify => false,
        }
    }

    /// What it moves between host and buffer.
    #[must_use]
    pub fn transfer(&self) -> Transfer {
        let len_bytes = self.len_bytes;
        match self.op {
            Op::Read => Transfer::ToHost { len_bytes },
            Op::Write { .. } | Op::Compare => Transfer::FromHost { len_bytes },
            Op::Deallocate { list_bytes, .. } => Transfer::FromHost { len_bytes: list_bytes },
            Op::Flush | Op::WriteZeroes { .. } | Op::Verify => Transfer::None,
        }
    }
}

/// Flags that no command may have: anything but SGLs, and fused operations, which Identify says are not
/// supported (FUSES is 0; Base, 3.3.3.1).
///
/// # Errors
/// `Invalid Field in Command`.
#[inline]
pub fn check_flags(sqe: &Sqe) -> Result<(), Status> {
    let wanted = command::FLAGS_PSDT | command::FLAGS_FUSE;
    match sqe.flags & wanted == command::FLAG_SGL {
        true => Ok(()),
        false => Err(Status::INVALID_FIELD.finally()),
    }
}

/// Judges an I/O command.
///
/// # Errors
/// The status to refuse it with.
#[inline]
pub fn plan(sqe: &Sqe, view: &View) -> Result<Request, Status> {
    check_flags(sqe)?;
    let writes = match sqe.opcode {
        io::READ | io::COMPARE | io::VERIFY | io::FLUSH => false,
        io::WRITE | io::WRITE_ZEROES | io::DATASET_MANAGEMENT => true,
        _ => return Err(Status::INVALID_OPCODE.finally()),
    };
    let namespace = view.namespace(sqe.nsid)?;
    check_ana(namespace.ana_state)?;
    if writes && !namespace.supported.write {
        return Err(Status::NAMESPACE_WRITE_PROTECTED.finally());
    }
    let op = op_of(sqe, namespace)?;
    let Namespace { nsid, key, .. } = *namespace;
    match op {
        Op::Flush | Op::Deallocate { .. } => {
            Ok(Request { nsid, key, op, offset_bytes: 0, len_bytes: 0 })
        }
        Op::Read | Op::Write { .. } | Op::Compare | Op::Verify | Op::WriteZeroes { .. } => {
            // 65,536 blocks of 4 KiB are below 4 GiB.
            let len_bytes = sqe.blocks() * namespace.block_size_bytes;
            let limited = !matches!(op, Op::WriteZeroes { .. });
            if limited && len_bytes > TRANSFER_BYTES_MAX {
                // MDTS; of Verify VSL (Base, 5.17.2.1; NVM, 4.1.5.4).
                return Err(Status::INVALID_FIELD.finally());
            }
            let start_block = sqe.start_block();
            check_range(namespace, start_block, u64::from(sqe.blocks()))?;
            let offset_bytes = start_block * u64::from(namespace.block_size_bytes);
            Ok(Request { nsid, key, op, offset_bytes, len_bytes })
        }
    }
}

fn op_of(sqe: &Sqe, namespace: &Namespace) -> Result<Op, Status> {
    let fua = sqe.cdw12 & CDW12_FUA != 0;
    let zeroes = namespace.supported.unmap && namespace.unmap_reads_zero;
    match sqe.opcode {
        io::READ => Ok(Op::Read),
        io::WRITE => Ok(Op::Write { fua }),
        io::COMPARE => Ok(Op::Compare),
        io::VERIFY => Ok(Op::Verify),
        io::FLUSH => Ok(Op::Flush),
        io::WRITE_ZEROES if namespace.supported.write_zeroes => {
            let deallocate = sqe.cdw12 & CDW12_DEAC != 0 && zeroes && !fua;
            Ok(Op::WriteZeroes { fua, deallocate })
        }
        io::DATASET_MANAGEMENT => {
            let count = (sqe.cdw10 & 0xff) as u16 + 1;
            let effective = sqe.cdw11 & DSM_DEALLOCATE != 0 && namespace.supported.unmap;
            let listed = u32::from(count) * DsmRange::SIZE as u32;
            let given = sqe.sgl().len_bytes;
            let list_bytes =
                if (listed..=LIST_BYTES_MAX).contains(&given) { given } else { listed };
            Ok(Op::Deallocate { count, list_bytes, effective })
        }
        _ => Err(Status::INVALID_OPCODE.finally()),
    }
}

/// The subtraction is on the side that cannot overflow.
fn check_range(namespace: &Namespace, start_block: u64, blocks: u64) -> Result<(), Status> {
    let size = namespace.size_blocks;
    match start_block <= size && blocks <= size - start_block {
        true => Ok(()),
        false => Err(Status::LBA_OUT_OF_RANGE.finally()),
    }
}

/// The ranges of Dataset Management, in bytes of the bdev: offset and length. Empty ones are left out.
/// All are judged before the first is returned: a command that fails has done nothing.
///
/// # Errors
/// `LBA Out of Range` if one leaves the namespace.
///
/// # Panics
/// If `bytes` are fewer than `count` ranges.
pub fn ranges<'a>(
    bytes: &'a [u8],
    count: u16,
    namespace: &Namespace,
) -> Result<impl Iterator<Item = (u64, u64)> + use<'a>, Status> {
    let bytes = &bytes[..usize::from(count) * DsmRange::SIZE];
    for range in bytes.chunks_exact(DsmRange::SIZE).map(DsmRange::get) {
        check_range(namespace, range.start_block, u64::from(range.blocks))?;
    }
    let block_bytes = u64::from(namespace.block_size_bytes);
    Ok(bytes
        .chunks_exact(DsmRange::SIZE)
        .map(DsmRange::get)
        .filter(|range| range.blocks > 0)
        .map(move |range| (range.start_block * block_bytes, u64::from(range.blocks) * block_bytes)))
}

/// What a host is told of a bdev's outcome.
#[must_use]
pub fn status_of(status: IoStatus, op: Op) -> Status {
    match (status, op) {
        (IoStatus::Ok, _) => Status::SUCCESS,
        (IoStatus::MediaError, Op::Read | Op::Compare | Op::Verify) => Status::UNRECOVERED_READ,
        (IoStatus::MediaError, _) => Status::WRITE_FAULT,
        (IoStatus::InvalidRequest, _) => Status::INVALID_FIELD.finally(),
        (IoStatus::NoSpace, _) => Status::CAPACITY_EXCEEDED.finally(),
        (IoStatus::Unsupported, _) => Status::INVALID_OPCODE.finally(),
        (IoStatus::Aborted, _) => Status::ABORT_REQUESTED,
        // It may do better next time.
        (IoStatus::TimedOut, _) => Status::INTERNAL_ERROR,
        // It will not.
        (IoStatus::Gone, _) => Status::NAMESPACE_NOT_READY.finally(),
    }
}

#[cfg(test)]
mod tests;
