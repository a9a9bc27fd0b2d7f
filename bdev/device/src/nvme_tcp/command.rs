//! The commands that an initiator sends, and what they move.
//!
//! Not here: command identifiers and SGLs, which `queue` fills in.

use nvme::command::{CDW12_DEAC, CDW12_FUA, DSM_DEALLOCATE, DsmRange, admin, io};
use nvme::fabrics::{CATTR_NO_FLOW_CONTROL, Connect, ConnectData, kind};
use nvme::limits::DSM_RANGES_MAX;
use nvme::{Layout, Nqn, Sqe};

use super::queue::Data;

/// A command, and what it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// The command, without identifier and SGL.
    pub sqe: Sqe,
    /// What it moves.
    pub data: Data,
}

fn of_blocks(opcode: u8, nsid: u32, start_block: u64, blocks: u32) -> Sqe {
    Sqe { opcode, nsid, ..Sqe::default() }.with_blocks(start_block, blocks)
}

/// Read `blocks` blocks, 1 to 65,536.
#[must_use]
pub fn read(nsid: u32, start_block: u64, blocks: u32, block_size_bytes: u32) -> Command {
    let sqe = of_blocks(io::READ, nsid, start_block, blocks);
    Command { sqe, data: Data::ToHost { len_bytes: blocks * block_size_bytes } }
}

/// Write `blocks` blocks, 1 to 65,536.
#[must_use]
pub fn write(
    nsid: u32,
    start_block: u64,
    blocks: u32,
    block_size_bytes: u32,
    fua: bool,
) -> Command {
    let mut sqe = of_blocks(io::WRITE, nsid, start_block, blocks);
    if fua {
        sqe.cdw12 |= CDW12_FUA;
    }
    Command { sqe, data: Data::FromHost { len_bytes: blocks * block_size_bytes } }
}

/// Compare `blocks` blocks, 1 to 65,536, with the buffer.
#[must_use]
pub fn compare(nsid: u32, start_block: u64, blocks: u32, block_size_bytes: u32) -> Command {
    let sqe = of_blocks(io::COMPARE, nsid, start_block, blocks);
    Command { sqe, data: Data::FromHost { len_bytes: blocks * block_size_bytes } }
}

/// Have `blocks` blocks read where they are.
#[must_use]
pub fn verify(nsid: u32, start_block: u64, blocks: u32) -> Command {
    Command { sqe: of_blocks(io::VERIFY, nsid, start_block, blocks), data: Data::None }
}

/// Zeroes over `blocks` blocks; the controller may deallocate them if `deallocate`.
#[must_use]
pub fn write_zeroes(nsid: u32, start_block: u64, blocks: u32, deallocate: bool) -> Command {
    let mut sqe = of_blocks(io::WRITE_ZEROES, nsid, start_block, blocks);
    if deallocate {
        sqe.cdw12 |= CDW12_DEAC;
    }
    Command { sqe, data: Data::None }
}

/// Make everything durable that was written to the namespace.
#[must_use]
pub fn flush(nsid: u32) -> Command {
    Command { sqe: Sqe { opcode: io::FLUSH, nsid, ..Sqe::default() }, data: Data::None }
}

/// Deallocate ranges of (first block, blocks). They are written to the start of `buffer`, which is the
/// command's.
///
/// # Panics
/// On no range, on more than 256, and if the buffer is too small.
pub fn deallocate(nsid: u32, ranges: &[(u64, u32)], buffer: &mut [u8]) -> Command {
    assert!((1..=DSM_RANGES_MAX).contains(&ranges.len()), "{} ranges", ranges.len());
    for ((start_block, blocks), bytes) in ranges.iter().zip(buffer.chunks_mut(DsmRange::SIZE)) {
        let range = DsmRange { attributes: 0, blocks: *blocks, start_block: *start_block };
        range.put(bytes);
    }
    let sqe = Sqe {
        opcode: io::DATASET_MANAGEMENT,
        nsid,
        cdw10: ranges.len() as u32 - 1,
        cdw11: DSM_DEALLOCATE,
        ..Sqe::default()
    };
    let len_bytes = (ranges.len() * DsmRange::SIZE) as u32;
    Command { sqe, data: Data::FromHost { len_bytes } }
}

/// A sign of life.
#[must_use]
pub fn keep_alive() -> Command {
    Command { sqe: Sqe { opcode: admin::KEEP_ALIVE, ..Sqe::default() }, data: Data::None }
}

/// Who connects to what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connecting {
    /// The subsystem.
    pub subsystem: Nqn,
    /// This host.
    pub host: Nqn,
    /// Host identifier.
    pub host_id: [u8; 16],
    /// Keep alive timeout, in milliseconds; 0 is none. Of the Admin queue.
    pub keep_alive_ms: u32,
    /// Entries of the queue.
    pub entries: u16,
    /// Whether SQHD is to be kept. Without, controllers may leave out responses of reads.
    pub flow_control: bool,
}

/// Connect to queue `qid` of controller `cntlid` (FFFFh: a new one). The data is written to the start of
/// `buffer`, which is the command's.
///
/// # Panics
/// If the buffer has fewer than 1024 bytes.
pub fn connect(what: &Connecting, qid: u16, cntlid: u16, buffer: &mut [u8]) -> Command {
    let connect = Connect {
        record_format: 0,
        qid,
        sq_size: what.entries - 1,
        attributes: if what.flow_control { 0 } else { CATTR_NO_FLOW_CONTROL },
        keep_alive_ms: if qid == 0 { what.keep_alive_ms } else { 0 },
    };
    let data = ConnectData {
        host_id: what.host_id,
        cntlid,
        subsystem_nqn: what.subsystem.to_field(),
        host_nqn: what.host.to_field(),
    };
    data.put(buffer);
    let len_bytes = ConnectData::SIZE as u32;
    Command { sqe: Sqe::fabrics(kind::CONNECT, &connect), data: Data::FromHost { len_bytes } }
}
