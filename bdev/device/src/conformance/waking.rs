//! Reactors that sleep while the kernel works are woken by its answers.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use reactor::{Cx, PollMode, Poller, Reactors, ReactorsConfig, Ticks};

use super::backends::{Backend, File};
use super::rig::buffer_of;
use crate::{BdevIo, Completion, IoChannel, IoStatus};

/// Rounds of one write and one flush.
const ROUNDS: u64 = 40;

/// A user that has one request in flight at a time and would let the reactor sleep for ever.
struct Patient {
    channel: Box<dyn IoChannel>,
    done: Vec<Completion>,
    finished: u64,
    report: Sender<Ticks>,
}

impl Patient {
    /// Alternately a write and the flush of it, which takes a while.
    fn next(&mut self) {
        let io = match self.finished % 2 {
            0 => BdevIo::write(0, self.finished * 4096, buffer_of(&[0x66; 65536]), false),
            _ => BdevIo::flush(0),
        };
        self.channel.submit(io).unwrap();
    }
}

impl Poller for Patient {
    fn name(&self) -> &str {
        "patient"
    }

    fn poll(&mut self, cx: &mut Cx) -> usize {
        let count = self.channel.poll(&mut self.done);
        for done in self.done.drain(..) {
            assert_eq!(done.status, IoStatus::Ok);
            self.finished += 1;
        }
        if count != 0 {
            match self.finished {
                finished if finished < ROUNDS * 2 => self.next(),
                _ => self.report.send(cx.now()).unwrap(),
            }
        }
        count
    }
}

fn wakes_for_completions(backend: Backend) {
    let subject = backend.make(4096).unwrap();
    let config = ReactorsConfig {
        cores: "0".parse().unwrap(),
        poll: PollMode::Adaptive,
        buffer_bytes: 1 << 20,
    };
    let reactors = Reactors::start(config).unwrap();
    let handle = reactors.handles()[0].clone();
    let (report, end) = channel();
    let bdev = subject.bdev.clone();
    handle.send(move |cx| {
        let channel = bdev.open_channel(cx).unwrap();
        let mut patient = Patient { channel, done: Vec::new(), finished: 0, report };
        patient.next();
        cx.add_poller(Box::new(patient));
    });
    let ended = end.recv_timeout(Duration::from_secs(20));
    assert!(ended.is_ok(), "a reactor slept through a completion: {:?}", handle.stats());
    let stats = handle.stats();
    assert!(stats.sleeps > 0, "nothing was slow enough to sleep for: {stats:?}");
    // The last answer was signalled too. That signal may end one more sleep, but not every one.
    let never = end.recv_timeout(Duration::from_millis(100));
    assert!(never.is_err());
    let sleeps = handle.stats().sleeps - stats.sleeps;
    assert!(sleeps < 10, "{sleeps} sleeps in 100 ms without work");
    reactors.stop();
}

/// Goal: no completion of io_uring is slept through, although the ring's own descriptor does not
/// tell with deferred task work. Method: a reactor with no timers and no messages; if a wake-up is
/// lost, it never ends.
#[test]
fn uring_wakes_a_sleeping_reactor() {
    wakes_for_completions(Backend::Uring(File::OnDisk));
}

/// Goal and method: the same for AIO and its eventfd.
#[test]
fn aio_wakes_a_sleeping_reactor() {
    wakes_for_completions(Backend::Aio(File::OnDisk));
}
