//! Syncs that fail, and what the others on the same disk are told. The kernel is made up: the real one fails a
//! sync only with a broken disk below.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use reactor::LocalReactor;
use reactor::memory::IoBufMut;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use super::kernels::{buffered_disk_over, disk_over};
use crate::files::disk::FileDisk;
use crate::files::engine::{Answer, Kernel, Sizes, open_channel};
use crate::files::request::{Answered, Request};
use crate::{BdevIo, IoChannel, IoStatus};

/// Token of the request that is told of what could not be written.
const TOLD: u64 = 77;

/// A kernel that answers one request at a time, in the order in which they came, and tells one of them, and
/// no other one, that pages are lost.
struct Forgetful {
    event: OwnedFd,
    started: VecDeque<Request>,
}

impl Kernel for Forgetful {
    const NAME: &'static str = "forgetful";
    const HINT: &'static str = "this is a test";
    type File = ();

    fn sizes(_reactors: usize) -> Sizes {
        Sizes { wanted: 64, least: 64 }
    }

    fn create(_slots: usize) -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event, started: VecDeque::new() })
    }

    fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    fn attach(&mut self, _disk: &Arc<FileDisk>) -> io::Result<()> {
        Ok(())
    }

    fn detach(&mut self, (): ()) {}

    fn in_flight(&self) -> usize {
        self.started.len()
    }

    fn start(&mut self, request: Request, (): &()) {
        self.started.push_back(request);
    }

    fn kick(&mut self) {}

    fn reap(&mut self, answers: &mut Vec<Answer>) {
        answers.extend(self.started.pop_front().map(|request| {
            let answered = match request.io.token {
                TOLD => Answered::Failed(Errno::IO),
                _ => Answered::Moved(request.left_bytes() as usize),
            };
            Answer { request, answered }
        }));
    }

    fn may_sleep(&mut self) -> bool {
        self.started.is_empty()
    }
}

fn write(token: u64, fua: bool) -> BdevIo {
    BdevIo::write(token, 0, IoBufMut::heap(4096).freeze(), fua)
}

/// What a channel has been told, by token.
fn told(channel: &mut dyn IoChannel) -> Vec<(u64, IoStatus)> {
    let mut done = Vec::new();
    channel.poll(&mut done);
    done.iter().map(|done| (done.io.token, done.status)).collect()
}

/// Goal (R9): of syncs that are on their way together none is told that it has succeeded when one has failed,
/// whichever answer comes first; nor is any later one on that disk, through whatever channel. What is not a
/// sync goes on at once. Method: a kernel that tells the second of three; writes with FUA and without.
#[test]
fn syncs_beside_one_that_fails_fail() {
    use IoStatus::{MediaError, Ok as Fine};
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let disk = Arc::new(buffered_disk_over(&file));
    let mut reactor = LocalReactor::new(1 << 20);
    let mut open = || open_channel::<Forgetful>(&disk, reactor.cx()).unwrap();
    let (mut channel, mut other) = (open(), open());
    for io in [BdevIo::flush(1), write(2, true), write(3, false), BdevIo::flush(TOLD)] {
        channel.submit(io).unwrap();
    }
    for _ in 0..3 {
        reactor.turn();
    }
    assert_eq!(told(&mut *channel), [(3, Fine)], "the others wait for the last one");
    channel.submit(BdevIo::flush(4)).unwrap();
    reactor.turn();
    let failed = [(TOLD, MediaError), (1, MediaError), (2, MediaError)];
    assert_eq!(told(&mut *channel), failed, "and not for what came later");
    other.submit(BdevIo::flush(5)).unwrap();
    other.submit(write(6, false)).unwrap();
    for _ in 0..3 {
        reactor.turn();
    }
    assert_eq!(told(&mut *channel), [(4, MediaError)]);
    assert_eq!(told(&mut *other), [(5, MediaError), (6, Fine)]);
}

/// Goal: where there is no page cache between, each sync is told what it is told; after one has failed no
/// other is believed all the same, also if nobody has heard of it.
#[test]
fn direct_syncs_wait_for_nobody() {
    let file = NamedTempFile::with_prefix_in("device-test-", super::backends::beside_the_test());
    let file = file.unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    let disk = Arc::new(disk_over(&file));
    assert!(disk.backing.is_direct());
    let mut reactor = LocalReactor::new(1 << 20);
    let mut open = || open_channel::<Forgetful>(&disk, reactor.cx()).unwrap();
    let (mut channel, mut other) = (open(), open());
    channel.submit(BdevIo::flush(1)).unwrap();
    channel.submit(BdevIo::flush(TOLD)).unwrap();
    reactor.turn();
    assert_eq!(told(&mut *channel), [(1, IoStatus::Ok)]);
    drop(channel);
    reactor.turn();
    other.submit(BdevIo::flush(2)).unwrap();
    reactor.turn();
    assert_eq!(told(&mut *other), [(2, IoStatus::MediaError)]);
}
