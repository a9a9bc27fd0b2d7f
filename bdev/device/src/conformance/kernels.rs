//! A kernel by itself, without channels: that it carries requests, and that its event tells a
//! sleeper of every answer. Older kernels' ways are tested by this on new ones.

use std::path::Path;
use std::sync::Arc;

use reactor::memory::IoBufMut;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::backends::plain_file;
use super::rig::{buffer_of, contents};
use crate::bdev::BackendDetail;
use crate::files::backing::{Backing, BackingSpec};
use crate::files::disk::{DiskSpec, FileDisk};
use crate::files::engine::{Answer, Kernel};
use crate::files::request::{Answered, Request};
use crate::{BdevIo, IoOp};

/// Requests in each round.
const BATCH: u64 = 50;

/// Writes, syncs, zeroes and reads back. Between the answers it sleeps as a reactor does: only
/// when the kernel agrees, and only on the event.
pub(crate) fn carries_requests_and_wakes<K: Kernel>(mut kernel: K) {
    let (file, _) = plain_file(1 << 20);
    let disk = Arc::new(disk_over(&file));
    let attached = kernel.attach(&disk).unwrap();
    let write = |token| BdevIo::write(token, token * 4096, buffer_of(&[token as u8; 4096]), false);
    let zero = |token| BdevIo::write_zeroes(token, token * 4096, 4096, token % 2 == 0);
    let read = |token| BdevIo::read(token, token * 4096, IoBufMut::heap(4096));
    let rounds: [&dyn Fn(u64) -> BdevIo; 4] = [&write, &BdevIo::flush, &zero, &read];
    for (round, request) in rounds.into_iter().enumerate() {
        // The third round leaves every other block alone.
        let tokens = (0..BATCH).filter(|token| round != 2 || token % 3 == 0);
        let batch: Vec<_> = tokens.map(request).collect();
        let answers = finish(&mut kernel, &attached, &disk, batch);
        if round != 3 {
            continue;
        }
        for Answer { request, .. } in answers {
            assert!(matches!(request.io.op, IoOp::Read { .. }));
            let expected = if request.io.token % 3 == 0 { 0 } else { request.io.token as u8 };
            assert!(contents(&request.io).iter().all(|&byte| byte == expected));
        }
    }
    kernel.detach(attached);
}

fn finish<K: Kernel>(
    kernel: &mut K,
    file: &K::File,
    disk: &FileDisk,
    batch: Vec<BdevIo>,
) -> Vec<Answer> {
    let count = batch.len();
    // Zeroes may be with a thread of the kernel's own already, which will tell.
    let staged = batch.iter().all(|io| !matches!(io.op, IoOp::WriteZeroes { .. }));
    for io in batch {
        let zeroes = || IoBufMut::heap(4096).freeze();
        kernel.start(Request::begin(io, 0, disk, zeroes), file);
    }
    assert!(!(staged && kernel.may_sleep()), "a kernel with staged requests would sleep");
    let mut answers = Vec::new();
    while answers.len() < count {
        kernel.kick();
        kernel.reap(&mut answers);
        if answers.len() < count && kernel.may_sleep() {
            let event = kernel.event();
            let mut event = [PollFd::new(&event, PollFlags::IN)];
            let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
            assert_ne!(poll(&mut event, Some(&patience)), Ok(0), "{}: no wake-up", K::NAME);
        }
    }
    let moved = |answer: &Answer| matches!(answer.answered, Answered::Moved(_));
    assert!(answers.iter().all(moved), "{answers:?}");
    answers
}

/// A disk over a file of any kind.
pub(crate) fn disk_over(file: &tempfile::NamedTempFile) -> FileDisk {
    disk_by(file, |path, flags| open(path, flags, Mode::empty()))
}

/// The same past no page cache.
pub(crate) fn buffered_disk_over(file: &tempfile::NamedTempFile) -> FileDisk {
    let disk = disk_by(file, |path, flags| match flags.contains(OFlags::DIRECT) {
        true => Err(Errno::INVAL),
        false => open(path, flags, Mode::empty()),
    });
    assert!(!disk.backing.is_direct());
    disk
}

fn disk_by(
    file: &tempfile::NamedTempFile,
    open: impl FnMut(&Path, OFlags) -> Result<OwnedFd, Errno>,
) -> FileDisk {
    let name = "kernel0".to_owned();
    let spec = BackingSpec {
        name: name.clone(),
        filename: file.path().into(),
        block_size_bytes: Some(4096),
        readonly: false,
    };
    let (product_name, detail) = ("URING bdev", BackendDetail::None);
    let (readonly, fallocate) = (false, true);
    let disk = DiskSpec { name, uuid: None, product_name, readonly, fallocate, detail };
    FileDisk::new(Backing::open_by(spec, open).unwrap(), disk)
}
