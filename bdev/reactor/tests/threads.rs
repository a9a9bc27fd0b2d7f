//! Goal: reactors on threads of their own: start, messages, sleep and every reason to wake, stop.
//! Method: real threads and real sleeps. Nothing here depends on how fast the machine is: a test
//! waits for what must come, and gives up after a time that only a lost wake-up takes.

use reactor::{
    CpuSet, Cx, LocalReactor, PollMode, Poller, Reactors, ReactorsConfig, StartError, Stopped,
    Ticks, Waker, clock, limits,
};
use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// Longer than any wake-up takes, however loaded the machine is.
const LOST: Duration = Duration::from_secs(20);

fn online() -> CpuSet {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").expect("Linux lists its cores");
    text.trim().parse().expect("the kernel's own notation")
}

fn config(poll: PollMode, count: usize) -> ReactorsConfig {
    let cores = CpuSet::from_cores(online().iter().take(count)).expect("one core at least");
    ReactorsConfig { cores, poll, buffer_bytes: 1 << 20 }
}

fn start(poll: PollMode, count: usize) -> Reactors {
    Reactors::start(config(poll, count)).expect("reactors start")
}

/// Spins until `done`; a test that fails here has lost a wake-up.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let give_up = clock::now() + LOST.into();
    while !done() {
        assert!(clock::now() < give_up, "gave up waiting for: {what}");
        thread::yield_now();
    }
}

/// Waits until the reactor is in the kernel, as far as that can be told from outside.
fn wait_for_sleep(handle: &reactor::ReactorHandle) {
    let mut last = (handle.stats().turns, clock::now());
    wait_until("no more turns", || {
        let turns = handle.stats().turns;
        if turns != last.0 {
            last = (turns, clock::now());
        }
        clock::now() - last.1 > Ticks::from_millis(20)
    });
}

#[test]
fn reactors_are_pinned_named_and_numbered() {
    let reactors = start(PollMode::Adaptive, 2);
    for (index, (handle, core)) in reactors.handles().iter().zip(online().iter()).enumerate() {
        assert_eq!((handle.index(), handle.core()), (index, core));
        let seen = handle.call(|cx| {
            let status = fs::read_to_string("/proc/thread-self/status").expect("procfs");
            let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            let name = thread::current().name().map(String::from);
            (cx.index(), name, allowed.map(|list| list.trim().to_string()))
        });
        let expected = (index, Some(format!("reactor_{core}")), Some(core.to_string()));
        assert_eq!(seen, Ok(expected));
    }
    reactors.stop();
}

#[test]
fn a_core_that_does_not_exist_is_an_error_that_names_it() {
    let config = ReactorsConfig { cores: CpuSet::single(1023), ..config(PollMode::Busy, 1) };
    let error = Reactors::start(config).expect_err("no machine of ours has that core");
    assert!(matches!(error, StartError::NoSuchCore { core: 1023, .. }));
    let expected = format!("no core 1023 for a reactor: this machine has cores {}", online());
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_pool_that_cannot_be_had_is_an_error_and_stops_the_others() {
    let config = ReactorsConfig { buffer_bytes: 1 << 60, ..config(PollMode::Busy, 2) };
    let error = Reactors::start(config).expect_err("no machine has that much").to_string();
    assert!(error.starts_with("reactor on core ") && error.contains("1152921504606846976 bytes"));
}

#[test]
fn messages_of_one_sender_keep_their_order() {
    const MESSAGES: u64 = 20_000;
    let reactors = start(PollMode::Adaptive, 1);
    let handle = &reactors.handles()[0];
    // More than the inbox holds: the senders have to wait for room.
    thread::scope(|scope| {
        for sender in 0..3_u64 {
            scope.spawn(move || {
                for i in 0..MESSAGES {
                    handle.send(move |cx| {
                        cx.local(sender, |_| RefCell::new(Vec::new())).borrow_mut().push(i);
                    });
                }
            });
        }
    });
    for sender in 0..3 {
        let got = handle.call(move |cx| {
            cx.find_local::<RefCell<Vec<u64>>>(sender).expect("it got messages").take()
        });
        assert!(got.expect("it runs").into_iter().eq(0..MESSAGES), "sender {sender}");
    }
    assert_eq!(handle.stats().messages, 3 * MESSAGES + 3);
    reactors.stop();
}

#[test]
fn many_threads_call_many_reactors() {
    let reactors = start(PollMode::Adaptive, 2);
    thread::scope(|scope| {
        for caller in 0..8_usize {
            let handles = reactors.handles();
            scope.spawn(move || {
                for i in 0..500 {
                    let handle = &handles[(caller + i) % handles.len()];
                    assert_eq!(handle.call(move |cx| cx.index() + i), Ok(handle.index() + i));
                }
            });
        }
    });
    reactors.stop();
}

#[test]
fn reactors_talk_to_each_other_without_waiting() {
    const ROUNDS: u64 = 3 * limits::INBOX_MESSAGES_MAX as u64;
    let reactors = start(PollMode::Adaptive, 2);
    let (a, b) = (&reactors.handles()[0], reactors.handles().last().expect("one at least"));
    let (done, finished) = mpsc::channel();
    // Both flood each other within one turn: if a full inbox made them wait, both would for ever.
    for (from, to) in [(a, b), (b, a)] {
        let (to, done) = (to.clone(), done.clone());
        from.send(move |_| {
            for i in 0..ROUNDS {
                let done = done.clone();
                to.send(move |_| done.send(i).expect("the test waits"));
            }
        });
    }
    let mut next = [0, 0];
    for _ in 0..2 * ROUNDS {
        let i = finished.recv_timeout(LOST).expect("every message runs");
        let lane = usize::from(i != next[0]);
        assert_eq!(i, next[lane], "messages of one sender keep their order");
        next[lane] += 1;
    }
    reactors.stop();
}

/// What found an inbox full is sent on though its sender has nothing else to do.
#[test]
fn kept_messages_keep_their_sender_awake() {
    const MESSAGES: u64 = limits::INBOX_MESSAGES_MAX as u64 + 10;
    let reactors = start(PollMode::Adaptive, 1);
    let mut slow = LocalReactor::new(4096);
    let arrived: Arc<AtomicU64> = Arc::default();
    let (to, counter) = (slow.handle(), Arc::clone(&arrived));
    let sent = reactors.handles()[0].call(move |_| {
        for _ in 0..MESSAGES {
            let counter = Arc::clone(&counter);
            to.send(move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(sent, Ok(()));
    let later = clock::now() + Ticks(5 * limits::IDLE_BEFORE_SLEEP.0);
    wait_until("the sender to be idle", || clock::now() > later);
    slow.run_until(LOST.into(), |_| arrived.load(Ordering::Relaxed) == MESSAGES);
    reactors.stop();
}

#[test]
fn a_sleeping_reactor_is_woken_by_a_message() {
    let reactors = start(PollMode::Adaptive, 1);
    let handle = &reactors.handles()[0];
    for _ in 0..3 {
        wait_for_sleep(handle);
        let sleeps = handle.stats().sleeps;
        assert_eq!(handle.call(|_| 1), Ok(1));
        wait_until("the sleep is counted", || handle.stats().sleeps > sleeps);
    }
    assert!(handle.stats().sleep_ticks > 0);
    reactors.stop();
}

#[test]
fn a_sleeping_reactor_is_woken_by_a_timer() {
    let reactors = start(PollMode::Adaptive, 1);
    let handle = &reactors.handles()[0];
    let (ran, runs) = mpsc::channel();
    let start = clock::now();
    handle.send(move |cx| {
        let first = cx.now() + Ticks::from_millis(30);
        let mut left = 3;
        cx.add_timer(
            first,
            Box::new(move |cx| {
                ran.send(cx.now()).expect("the test waits");
                left -= 1;
                (left > 0).then(|| cx.now() + Ticks::from_millis(10))
            }),
        );
    });
    let mut earliest = start + Ticks::from_millis(30);
    for _ in 0..3 {
        let at = runs.recv_timeout(LOST).expect("the timer runs");
        assert!(at >= earliest, "a timer was early");
        earliest = at + Ticks::from_millis(10);
    }
    assert!(runs.recv_timeout(LOST).is_err(), "it has ended, and its closure is gone");
    let stats = handle.stats();
    assert!(stats.sleeps >= 3 && stats.timers == 3, "{stats:?}");
    reactors.stop();
}

/// Counts what comes in at a socket.
struct Reader {
    socket: UnixStream,
    got: Arc<AtomicU64>,
}

impl Poller for Reader {
    fn name(&self) -> &str {
        "reader"
    }

    fn poll(&mut self, _: &mut Cx) -> usize {
        let mut buf = [0; 16];
        let got = std::io::Read::read(&mut self.socket, &mut buf).unwrap_or(0);
        self.got.fetch_add(got as u64, Ordering::Release);
        got
    }
}

#[test]
fn a_sleeping_reactor_is_woken_by_a_watched_fd() {
    let reactors = start(PollMode::Adaptive, 1);
    let handle = &reactors.handles()[0];
    let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
    ours.set_nonblocking(true).expect("sockets can be non-blocking");
    let got: Arc<AtomicU64> = Arc::default();
    let counted = Arc::clone(&got);
    let added = handle.call(move |cx| {
        let watch = cx.watch_fd(ours.as_fd());
        cx.local(0, |_| watch);
        cx.add_poller(Box::new(Reader { socket: ours, got: counted }));
    });
    assert_eq!(added, Ok(()));
    for i in 1..=3 {
        wait_for_sleep(handle);
        theirs.write_all(b"x").expect("the reader is there");
        wait_until("the byte", || got.load(Ordering::Acquire) == i);
    }
    reactors.stop();
}

/// Empties a queue of its own.
struct Drain {
    queue: mpsc::Receiver<u64>,
    drained: Arc<AtomicU64>,
}

impl Poller for Drain {
    fn name(&self) -> &str {
        "drain"
    }

    fn poll(&mut self, _: &mut Cx) -> usize {
        match self.queue.try_recv() {
            Ok(i) => {
                self.drained.store(i, Ordering::Release);
                1
            }
            Err(_) => 0,
        }
    }
}

/// Work arrives just when the reactor goes to sleep, thousands of times, by message and by a queue
/// of a poller's own with a waker. One lost wake-up, and the test would wait for ever.
#[test]
fn no_wake_up_is_lost() {
    const ROUNDS: u64 = 3_000;
    let reactors = start(PollMode::Adaptive, 1);
    let handle = &reactors.handles()[0];
    let drained: Arc<AtomicU64> = Arc::default();
    let (lane, queue) = mpsc::sync_channel(1);
    let seen = Arc::clone(&drained);
    let drain = move |cx: &mut Cx| cx.add_poller(Box::new(Drain { queue, drained: seen }));
    handle.call(drain).expect("it runs");
    let waker: Waker = handle.waker();
    for round in 1..=ROUNDS {
        // Around the moment when the doorbell is armed, a little earlier or later each time.
        let pause = limits::IDLE_BEFORE_SLEEP.0 * (90 + round % 30) / 100;
        let until = clock::now() + Ticks(pause);
        while clock::now() < until {
            std::hint::spin_loop();
        }
        if round % 2 == 0 {
            lane.send(round).expect("the poller is there");
            waker.wake();
        } else {
            let drained = Arc::clone(&drained);
            handle.send(move |_| drained.store(round, Ordering::Release));
        }
        wait_until("work to be noticed", || drained.load(Ordering::Acquire) == round);
    }
    reactors.stop();
}

/// In flight, and nothing watched announces its end.
struct Insomniac(Arc<AtomicBool>);

impl Poller for Insomniac {
    fn name(&self) -> &str {
        "insomniac"
    }

    fn poll(&mut self, _: &mut Cx) -> usize {
        0
    }

    fn can_sleep(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn a_poller_keeps_its_reactor_awake() {
    let reactors = start(PollMode::Adaptive, 1);
    let handle = &reactors.handles()[0];
    let may_sleep: Arc<AtomicBool> = Arc::default();
    let asked = Arc::clone(&may_sleep);
    handle.call(|cx| cx.add_poller(Box::new(Insomniac(asked)))).expect("it runs");
    for _ in 0..5 {
        let later = clock::now() + Ticks(10 * limits::IDLE_BEFORE_SLEEP.0);
        wait_until("it would have gone to sleep", || clock::now() > later);
        let turns = handle.stats().turns;
        wait_until("it turns on", || handle.stats().turns > turns + 2);
    }
    may_sleep.store(true, Ordering::Relaxed);
    wait_for_sleep(handle);
    reactors.stop();
}

#[test]
fn busy_reactors_spin_and_never_sleep() {
    let reactors = start(PollMode::Busy, 1);
    let handle = &reactors.handles()[0];
    let before = handle.stats();
    let until = clock::now() + Ticks::from_millis(20);
    wait_until("20 ms", || clock::now() > until);
    assert_eq!(handle.call(|_| 1), Ok(1));
    let stats = handle.stats();
    assert!(stats.turns > before.turns + 100, "{stats:?}");
    assert!(stats.idle_ticks > before.idle_ticks, "{stats:?}");
    assert_eq!((stats.sleeps, stats.sleep_ticks), (0, 0));
    reactors.stop();
}

/// Says on which thread it ends.
struct Farewell(&'static str, mpsc::Sender<(&'static str, Option<String>)>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let thread = thread::current().name().map(String::from);
        self.1.send((self.0, thread)).expect("the test waits");
    }
}

impl Poller for Farewell {
    fn name(&self) -> &str {
        self.0
    }

    fn poll(&mut self, _: &mut Cx) -> usize {
        0
    }
}

#[test]
fn stop_is_orderly_and_on_the_reactors_own_thread() {
    for poll in [PollMode::Adaptive, PollMode::Busy] {
        let reactors = start(poll, 1);
        let handle = reactors.handles()[0].clone();
        let (log, ends) = mpsc::channel();
        let buf = handle.call(move |cx| {
            cx.local(0, |_| Farewell("local", log.clone()));
            cx.add_poller(Box::new(Farewell("first poller", log.clone())));
            cx.add_poller(Box::new(Farewell("second poller", log)));
            cx.pool().alloc(4096).expect("a new pool has a block")
        });
        let mut buf = buf.expect("it runs");
        if poll == PollMode::Adaptive {
            wait_for_sleep(&handle);
        }
        reactors.stop();
        let name = Some(format!("reactor_{}", handle.core()));
        let ends: Vec<_> = ends.iter().collect();
        let expected = ["second poller", "first poller", "local"].map(|end| (end, name.clone()));
        assert_eq!(ends, expected);
        buf.fill(1);
        assert_eq!(handle.call(|_| ()), Err(Stopped { index: 0, core: handle.core() }));
        handle.send(|_| panic!("a stopped reactor runs nothing"));
        handle.waker().wake();
    }
}

#[test]
fn callers_that_wait_when_reactors_stop_learn_it() {
    for _ in 0..20 {
        let reactors = start(PollMode::Adaptive, 1);
        let handle = reactors.handles()[0].clone();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| while handle.call(|_| ()).is_ok() {});
            }
            wait_until("some calls", || handle.stats().messages > 50);
            drop(reactors);
        });
        assert!(handle.is_stopped());
    }
}

#[test]
fn a_panic_on_a_reactor_does_not_hang_its_callers() {
    let reactors = start(PollMode::Adaptive, 1);
    let handle = reactors.handles()[0].clone();
    let stopped = Stopped { index: 0, core: handle.core() };
    assert_eq!(handle.call(|_| -> () { panic!("planted") }), Err(stopped));
    assert_eq!(handle.call(|_| ()), Err(stopped));
    let panic = thread::spawn(|| reactors.stop()).join().expect_err("stop goes on with the panic");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"planted"));
}

#[test]
fn stopping_reactors_from_a_reactor_is_refused_and_still_stops_them() {
    let reactors = start(PollMode::Adaptive, 2);
    let handles = reactors.handles().to_vec();
    let (said, says) = mpsc::channel();
    handles[0].send(move |_| {
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| reactors.stop()));
        let message = refused.expect_err("it must panic");
        said.send(message.downcast_ref::<&str>().copied()).expect("the test waits");
    });
    let message = says.recv_timeout(LOST).expect("it does not hang").expect("a text");
    assert!(message.contains("it would wait for itself"), "{message}");
    wait_until("all have stopped", || handles.iter().all(reactor::ReactorHandle::is_stopped));
}

#[test]
fn calls_from_a_reactor_are_refused() {
    let reactors = start(PollMode::Adaptive, 2);
    let last = reactors.handles().last().expect("one at least").clone();
    let (said, says) = mpsc::channel();
    reactors.handles()[0].send(move |_| {
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| last.call(|_| ())));
        let message = refused.expect_err("it must panic");
        said.send(message.downcast_ref::<String>().cloned()).expect("the test waits");
    });
    let message = says.recv_timeout(LOST).expect("it does not hang").expect("a text");
    assert!(message.contains("from a reactor's thread: it would wait for ever"), "{message}");
    reactors.stop();
}
