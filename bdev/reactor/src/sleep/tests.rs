//! Goal: a sleep ends for each of its reasons, and no wake-up is lost. Method: the doorbell's
//! race is run many times and its outcome checked as a statement about both sides; the idle
//! machine is walked through every transition; sleeps are real ones.

use super::*;
use crate::clock::now;
use crossbeam::utils::Backoff;
use std::hint::{black_box, spin_loop};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicUsize;
use std::thread;

fn sleeper() -> (Sleeper, Arc<Doorbell>) {
    let doorbell = Arc::new(Doorbell::new(true).expect("an eventfd"));
    (Sleeper::new(Arc::clone(&doorbell)).expect("an epoll fd"), doorbell)
}

/// Whether a sleep without end would end at once. (It is given an end, so that a failure is one.)
fn wakes_at_once(sleeper: &mut Sleeper) -> bool {
    let before = now();
    sleeper.sleep(Some(Ticks::from_millis(200)));
    now() - before < Ticks::from_millis(150)
}

#[test]
fn nobody_is_rung_while_awake() {
    let (mut sleeper, doorbell) = sleeper();
    doorbell.ring();
    assert!(!wakes_at_once(&mut sleeper));
}

#[test]
fn a_ring_after_arming_ends_the_sleep_once() {
    let (mut sleeper, doorbell) = sleeper();
    doorbell.arm();
    doorbell.ring();
    doorbell.ring();
    assert!(wakes_at_once(&mut sleeper));
    doorbell.arm();
    assert!(!wakes_at_once(&mut sleeper), "one ring, one wake-up");
    doorbell.disarm();
    doorbell.ring();
    assert!(!wakes_at_once(&mut sleeper), "disarmed");
}

#[test]
fn a_reactor_that_never_sleeps_is_never_rung() {
    let doorbell = Arc::new(Doorbell::new(false).expect("an eventfd"));
    let mut sleeper = Sleeper::new(Arc::clone(&doorbell)).expect("an epoll fd");
    doorbell.arm();
    doorbell.ring();
    assert!(!wakes_at_once(&mut sleeper));
}

/// Lets two threads go at the same moment, more nearly than a `Barrier` that sleeps.
#[derive(Default)]
struct Gate(AtomicUsize);

impl Gate {
    /// Waits until threads have come here `total` times in all.
    fn pass(&self, total: usize) {
        self.0.fetch_add(1, Ordering::AcqRel);
        let backoff = Backoff::new();
        while self.0.load(Ordering::Acquire) < total {
            backoff.snooze();
        }
    }
}

/// The statement of the module: of "the sender has seen ASLEEP" and "the reactor's last look has
/// seen the work" at least one is true. Run with both sides let loose at the same moment.
#[test]
fn the_work_is_seen_or_the_bell_is_rung() {
    const ROUNDS: usize = 50_000;
    let doorbell = Doorbell::new(true).expect("an eventfd");
    let work = AtomicUsize::new(0);
    let gate = Gate::default();
    let mut lost = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                gate.pass(4 * round - 2);
                // Both sides share both lines first: stores then wait for them, loads do not.
                black_box(doorbell.is_armed());
                for _ in 0..round % 8 {
                    spin_loop();
                }
                work.store(round, Ordering::Relaxed);
                doorbell.ring();
                gate.pass(4 * round);
            }
        });
        for round in 1..=ROUNDS {
            gate.pass(4 * round - 2);
            black_box(work.load(Ordering::Relaxed));
            for _ in 0..round / 8 % 8 {
                spin_loop();
            }
            doorbell.arm();
            let last_look = work.load(Ordering::Relaxed) == round;
            gate.pass(4 * round);
            let was_rung = !doorbell.is_armed();
            if !last_look && !was_rung {
                lost.push(round);
            }
            doorbell.disarm();
        }
    });
    assert!(lost.is_empty(), "the reactor would sleep for ever in {} of {ROUNDS}", lost.len());
}

#[test]
fn a_sleep_ends_at_its_time_and_not_before() {
    let (mut sleeper, _) = sleeper();
    for millis in [0, 1, 20] {
        let before = now();
        sleeper.sleep(Some(Ticks::from_millis(millis) + Ticks::from_micros(900)));
        // Rounded down to whole milliseconds; the kernel never wakes early.
        assert!(now() - before >= Ticks::from_millis(millis));
    }
}

#[test]
fn a_watched_fd_ends_the_sleep_until_the_watch_ends() {
    let (mut sleeper, _) = sleeper();
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let watch = sleeper.watch(ours.as_fd(), Interest::Readable).expect("sockets can be watched");
    assert!(!wakes_at_once(&mut sleeper));
    write(&theirs, b"x").expect("room in the socket");
    assert!(wakes_at_once(&mut sleeper));
    assert!(wakes_at_once(&mut sleeper), "level-triggered: it is still there");
    drop(watch);
    assert!(!wakes_at_once(&mut sleeper));
}

#[test]
fn interest_can_change() {
    let (mut sleeper, _) = sleeper();
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let watch = sleeper.watch(ours.as_fd(), Interest::Readable).expect("sockets can be watched");
    watch.set_interest(Interest::Writable);
    assert!(wakes_at_once(&mut sleeper), "there is room to write");
    watch.set_interest(Interest::Readable);
    assert!(!wakes_at_once(&mut sleeper));
    write(&theirs, b"x").expect("room in the socket");
    watch.set_interest(Interest::Both);
    assert!(wakes_at_once(&mut sleeper));
}

#[test]
fn a_watch_outlives_its_fd_and_its_reactor() {
    let (mut sleeper, _) = sleeper();
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let watch = sleeper.watch(ours.as_fd(), Interest::Readable).expect("sockets can be watched");
    drop(ours);
    write(&theirs, b"x").expect("the watch keeps the socket open");
    assert!(wakes_at_once(&mut sleeper));
    drop(sleeper);
    drop(watch);
    write(&theirs, b"x").expect_err("now both are gone");
}

#[test]
fn a_regular_file_cannot_be_watched() {
    let (sleeper, _) = sleeper();
    let file = std::fs::File::open("/proc/self/exe").expect("the test itself");
    let error = sleeper.watch(file.as_fd(), Interest::Readable).expect_err("EPERM");
    assert_eq!(error.raw_os_error(), Some(Errno::PERM.raw_os_error()));
}

#[test]
fn the_idle_machine_walks_as_drawn() {
    const FULL: Ticks = limits::IDLE_BEFORE_SLEEP;
    let at = |since: u64| Ticks(1_000) + Ticks(since);
    let never_asked = || -> bool { panic!("asked too early") };

    let mut idle = Idle::Awake;
    assert_eq!(idle.after_turn(at(0), 1, never_asked), Next::Turn);
    assert_eq!(idle.after_turn(at(0), 0, never_asked), Next::Pause);
    assert_eq!(idle, Idle::Spinning { since: at(0) });
    assert_eq!(idle.after_turn(at(FULL.0 - 1), 0, never_asked), Next::Pause);
    // A poller minds: asked again every turn.
    assert_eq!(idle.after_turn(at(FULL.0), 0, || false), Next::Pause);
    assert_eq!(idle, Idle::Spinning { since: at(0) });
    assert_eq!(idle.after_turn(at(FULL.0), 0, || true), Next::Arm);
    assert_eq!(idle, Idle::Armed);

    // The last look finds something, or somebody minds after all, or nothing: sleep.
    let mut found = idle;
    assert_eq!(found.after_turn(at(FULL.0), 3, never_asked), Next::Disarm);
    assert_eq!(found, Idle::Awake);
    let mut minds = idle;
    assert_eq!(minds.after_turn(at(FULL.0), 0, || false), Next::Disarm);
    assert_eq!(minds, Idle::Spinning { since: at(FULL.0) });
    assert_eq!(idle.after_turn(at(FULL.0), 0, || true), Next::Sleep);
    assert_eq!(idle, Idle::Awake);

    let mut spinning = Idle::Spinning { since: at(0) };
    assert_eq!(spinning.after_turn(at(FULL.0), 1, never_asked), Next::Turn);
    assert_eq!(spinning, Idle::Awake);
}
