//! Goal: what a turn does and in which order, on a reactor that is turned by hand. Method: every
//! part of a turn writes its name into one log, and the log is compared.

use reactor::{Cx, Layer, LocalReactor, Message, Poller, PollerId, ReactorHandle, Ticks, limits};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

const BUFFER_BYTES: usize = 64 << 10;

type Log = Rc<RefCell<Vec<String>>>;
type Numbers = RefCell<Vec<usize>>;

fn take(log: &Log) -> String {
    log.take().join(" ")
}

/// Logs what is done to it and runs a script while it is polled.
struct Scribe {
    name: &'static str,
    layer: Layer,
    log: Log,
    script: Option<Script>,
}

type Script = Box<dyn FnMut(&mut Cx) -> usize>;

impl Scribe {
    fn boxed(name: &'static str, log: &Log) -> Box<Self> {
        Box::new(Self { name, layer: Layer::Client, log: Rc::clone(log), script: None })
    }

    fn layered(name: &'static str, layer: Layer, log: &Log) -> Box<Self> {
        Box::new(Self { layer, ..*Self::boxed(name, log) })
    }

    fn scripted(
        name: &'static str,
        log: &Log,
        script: impl FnMut(&mut Cx) -> usize + 'static,
    ) -> Box<Self> {
        Box::new(Self { script: Some(Box::new(script)), ..*Self::boxed(name, log) })
    }

    fn write(&self, what: &str) {
        self.log.borrow_mut().push(format!("{}{what}", self.name));
    }
}

impl Poller for Scribe {
    fn name(&self) -> &str {
        self.name
    }

    fn poll(&mut self, cx: &mut Cx) -> usize {
        self.write("+");
        self.script.as_mut().map_or(0, |script| script(cx))
    }

    fn unplug(&mut self, _: &mut Cx) {
        self.write("-");
    }

    fn layer(&self) -> Layer {
        self.layer
    }
}

/// Logs its own end: a part of a poller, a timer or a singleton.
struct Grave(&'static str, Log);

impl Drop for Grave {
    fn drop(&mut self) {
        self.1.borrow_mut().push(format!("~{}", self.0));
    }
}

struct Mortal(&'static str, #[expect(dead_code, reason = "it logs the poller's end")] Grave);

impl Poller for Mortal {
    fn name(&self) -> &str {
        self.0
    }

    fn poll(&mut self, _: &mut Cx) -> usize {
        0
    }
}

fn mortal(name: &'static str, log: &Log) -> Box<Mortal> {
    Box::new(Mortal(name, Grave(name, Rc::clone(log))))
}

#[test]
fn a_turn_runs_messages_then_pollers_up_then_timers_then_pollers_down() {
    let log = Log::default();
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    reactor.cx().add_poller(Scribe::boxed("a", &log));
    reactor.cx().add_poller(Scribe::boxed("b", &log));
    let timer_log = Rc::clone(&log);
    reactor.cx().add_timer(
        Ticks::ZERO,
        Box::new(move |_| {
            timer_log.borrow_mut().push("timer".into());
            None
        }),
    );
    reactor.cx().local(0, |_| Rc::clone(&log));
    reactor.handle().send(|cx| {
        cx.find_local::<Log>(0).expect("it was made").borrow_mut().push("message".into());
    });
    assert!(reactor.turn() >= 2);
    assert_eq!(take(&log), "message a+ b+ timer b- a-");
    assert_eq!(reactor.turn(), 0);
    assert_eq!(take(&log), "a+ b+ b- a-");
}

#[test]
fn layers_come_before_registration() {
    let log = Log::default();
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    for (name, layer) in [
        ("client1", Layer::Client),
        ("array1", Layer::Array),
        ("engine1", Layer::Engine),
        ("client2", Layer::Client),
        ("engine2", Layer::Engine),
    ] {
        reactor.cx().add_poller(Scribe::layered(name, layer, &log));
    }
    reactor.turn();
    assert_eq!(
        take(&log),
        "engine1+ engine2+ array1+ client1+ client2+ client2- client1- array1- engine2- engine1-"
    );
}

#[test]
fn progress_is_the_sum_of_what_was_done() {
    let log = Log::default();
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    reactor.cx().add_poller(Scribe::scripted("a", &log, |_| 3));
    reactor.cx().add_poller(Scribe::scripted("b", &log, |_| 4));
    reactor.turn();
    assert_eq!(reactor.turn(), 7);
    reactor.handle().send(|_| {});
    assert_eq!(reactor.turn(), 8);
    let stats = reactor.handle().stats();
    assert_eq!((stats.turns, stats.messages, stats.sleeps), (3, 1, 0));
}

#[test]
fn a_poller_that_is_added_by_a_poller_is_unplugged_at_once_and_polled_next() {
    let log = Log::default();
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    let new: Rc<RefCell<Option<Box<Scribe>>>> = Rc::default();
    let waiting = Rc::clone(&new);
    reactor.cx().add_poller(Scribe::scripted("old", &log, move |cx| {
        if let Some(new) = waiting.take() {
            cx.add_poller(new);
        }
        0
    }));
    reactor.turn();
    assert_eq!(take(&log), "old+ old-");
    new.replace(Some(Scribe::layered("new", Layer::Engine, &log)));
    assert_eq!(reactor.turn(), 1, "a change is progress");
    assert_eq!(take(&log), "old+ old- new-");
    reactor.turn();
    assert_eq!(take(&log), "new+ old+ old- new-");
}

#[test]
fn a_poller_that_is_removed_by_a_poller_ends_with_the_turn() {
    let log = Log::default();
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    let ids = Rc::new(Cell::new(None::<[PollerId; 2]>));
    let known = Rc::clone(&ids);
    let killer = Scribe::scripted("killer", &log, move |cx| {
        for id in known.take().into_iter().flatten() {
            cx.remove_poller(id);
            cx.remove_poller(id);
        }
        0
    });
    let killer = reactor.cx().add_poller(killer);
    let victim = reactor.cx().add_poller(Scribe::boxed("victim", &log));
    ids.set(Some([killer, victim]));
    reactor.turn();
    assert_eq!(take(&log), "killer+ victim+ victim- killer-");
    reactor.turn();
    assert_eq!(take(&log), "");
}

#[test]
fn a_poller_that_is_removed_between_turns_is_not_polled_again() {
    let log = Log::default();
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    let id = reactor.cx().add_poller(mortal("a", &log));
    reactor.turn();
    reactor.cx().remove_poller(id);
    reactor.turn();
    assert_eq!(take(&log), "~a");
    // One that was never polled is dropped, too.
    let id = reactor.cx().add_poller(mortal("b", &log));
    reactor.cx().remove_poller(id);
    reactor.turn();
    assert_eq!(take(&log), "~b");
}

#[test]
fn messages_of_a_turn_are_bounded_and_in_order() {
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    let log = reactor.cx().local(0, |_| Numbers::default());
    let handle = reactor.handle();
    for i in 0..limits::MESSAGES_PER_TURN_MAX + 1 {
        handle.send(move |cx| cx.local(0, |_| Numbers::default()).borrow_mut().push(i));
    }
    assert_eq!(reactor.turn(), limits::MESSAGES_PER_TURN_MAX);
    assert_eq!(log.borrow().len(), limits::MESSAGES_PER_TURN_MAX);
    assert_eq!(reactor.turn(), 1);
    assert!(log.borrow().is_sorted() && log.borrow().len() == limits::MESSAGES_PER_TURN_MAX + 1);
}

/// A reactor that sends to itself, or two that send to each other, must not wait for room.
#[test]
fn a_reactor_may_send_itself_more_than_its_inbox_holds() {
    const MESSAGES: usize = 2 * limits::INBOX_MESSAGES_MAX;
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    let log = reactor.cx().local(0, |_| Numbers::default());
    let handle = reactor.handle();
    for i in 0..MESSAGES {
        handle.send(move |cx| cx.local(0, |_| Numbers::default()).borrow_mut().push(i));
    }
    reactor.run_until(Ticks::from_secs(10), |_| log.borrow().len() == MESSAGES);
    assert!(log.borrow().is_sorted());
}

#[test]
fn a_full_inbox_hands_the_message_back_to_who_asks_for_that() {
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    let log = reactor.cx().local(0, |_| Numbers::default());
    let handle = reactor.handle();
    let message = |i| -> Message {
        Box::new(move |cx| cx.local(0, |_| Numbers::default()).borrow_mut().push(i))
    };
    for i in 0..limits::INBOX_MESSAGES_MAX {
        assert!(handle.try_send(message(i)).is_ok());
    }
    let refused = handle.try_send(message(limits::INBOX_MESSAGES_MAX)).err();
    let mut refused = Some(refused.expect("the inbox is full"));
    // A kept message goes first, also when there is room again.
    handle.send(|cx| cx.local(0, |_| Numbers::default()).borrow_mut().push(usize::MAX));
    reactor.handle().send(|_| {});
    assert!(handle.try_send(message(0)).is_err());
    reactor.run_until(Ticks::from_secs(10), |_| {
        refused = refused.take().and_then(|message| handle.try_send(message).err());
        refused.is_none() && log.borrow().len() == limits::INBOX_MESSAGES_MAX + 2
    });
    let tail = [usize::MAX, limits::INBOX_MESSAGES_MAX];
    assert!(log.take().into_iter().eq((0..limits::INBOX_MESSAGES_MAX).chain(tail)));
}

#[test]
fn messages_may_send_and_add_anything() {
    let log = Log::default();
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    reactor.cx().local(0, |_| Rc::clone(&log));
    reactor.handle().send(|cx| {
        let log = cx.find_local::<Log>(0).expect("it was made");
        cx.add_poller(Scribe::boxed("p", &log));
        cx.handle().clone().send(move |cx| {
            cx.find_local::<Log>(0).expect("it was made").borrow_mut().push("again".into());
        });
    });
    reactor.turn();
    reactor.turn();
    assert_eq!(take(&log), "again p+ p- p+ p-");
}

#[test]
fn singletons_are_made_once_for_each_type_and_key() {
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    let cx = reactor.cx();
    assert!(cx.find_local::<u32>(1).is_none());
    let one = cx.local(1, |cx| *cx.local(2, |_| 20_u32) + 1);
    assert_eq!(*one, 21);
    assert!(Rc::ptr_eq(&one, &cx.local(1, |_| -> u32 { panic!("it is there") })));
    assert_eq!(*cx.local(1, |_| "another type"), "another type");
    assert_eq!(cx.remove_local::<u32>(1).as_deref(), Some(&21));
    assert!(cx.find_local::<u32>(1).is_none() && cx.remove_local::<u32>(1).is_none());
    assert_eq!(cx.find_local::<u32>(2).as_deref(), Some(&20));
}

#[test]
#[should_panic(expected = "u32 1: made while it was being made")]
fn a_singleton_cannot_be_made_of_itself() {
    LocalReactor::new(BUFFER_BYTES).cx().local(1, |cx| *cx.local(1, |_| 1_u32));
}

#[test]
fn the_end_is_in_order_and_buffers_stay() {
    let log = Log::default();
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    let grave = |name| Grave(name, Rc::clone(&log));
    reactor.cx().local(0, |_| grave("oldest local"));
    reactor.cx().local(1, |cx| {
        cx.local(2, |_| grave("inner local"));
        grave("outer local")
    });
    reactor.cx().add_poller(mortal("first poller", &log));
    reactor.cx().add_poller(mortal("second poller", &log));
    reactor.turn();
    reactor.cx().add_poller(mortal("third poller", &log));
    let timer = grave("timer");
    reactor.cx().add_timer(
        Ticks::MAX,
        Box::new(move |_| {
            let _ = &timer;
            None
        }),
    );
    let mut buf = reactor.cx().pool().alloc(4096).expect("a new pool has a block");
    drop(reactor);
    assert_eq!(
        take(&log),
        "~third poller ~second poller ~first poller ~timer ~outer local ~inner local ~oldest local"
    );
    buf.fill(1);
}

#[test]
fn a_stopped_reactor_drops_messages_and_says_so() {
    let reactor = LocalReactor::with_index(3, BUFFER_BYTES);
    let handle = reactor.handle();
    assert!(!handle.is_stopped());
    drop(reactor);
    assert!(handle.is_stopped());
    let token = Arc::new(());
    let sent = Arc::clone(&token);
    handle.send(move |_| drop(sent));
    assert_eq!(Arc::strong_count(&token), 1);
    let stopped = std::thread::spawn(move || handle.call(|_| ())).join().expect("no panic");
    let message = stopped.expect_err("it has stopped").to_string();
    assert_eq!(message, "reactor 3 on core 3 has stopped");
}

#[test]
fn another_thread_may_call_while_this_one_turns() {
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    let handle = reactor.handle();
    let caller = std::thread::spawn(move || handle.call(|cx| cx.index() + 7));
    reactor.run_until(Ticks::from_secs(10), |_| caller.is_finished());
    assert_eq!(caller.join().expect("no panic"), Ok(7));
}

#[test]
#[should_panic(expected = "call to reactor 0 on core 0 from a reactor's thread")]
fn a_call_to_a_reactor_of_the_same_thread_is_refused() {
    let reactor = LocalReactor::new(BUFFER_BYTES);
    let _ = reactor.handle().call(|_| ());
}

#[test]
#[should_panic(expected = "call to reactor 5 on core 5 from a reactor's thread")]
fn a_call_from_within_a_turn_is_refused() {
    let other: ReactorHandle =
        std::thread::spawn(|| LocalReactor::with_index(5, BUFFER_BYTES).handle())
            .join()
            .expect("no panic");
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    reactor.handle().send(move |_| other.call(|_| ()).expect("it is not even tried"));
    reactor.turn();
}

#[test]
fn time_is_read_once_a_turn_and_never_goes_back() {
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    let start = reactor.cx().now();
    let later = start + Ticks::from_secs(1000);
    reactor.turn_at(later);
    assert_eq!(reactor.cx().now(), later);
    reactor.turn_at(start);
    assert_eq!(reactor.cx().now(), later);
    reactor.turn();
    assert_eq!(reactor.cx().now(), later);
}

#[test]
fn busy_and_idle_time_are_told_apart() {
    let log = Log::default();
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    let busy = Rc::new(Cell::new(0));
    let progress = Rc::clone(&busy);
    reactor.cx().add_poller(Scribe::scripted("a", &log, move |_| progress.get()));
    let start = reactor.cx().now();
    reactor.turn_at(start);
    let before = reactor.handle().stats();
    // A turn's progress colours the time until the next one.
    let mut at = start + Ticks(1);
    for (work, span) in [(1, 10), (0, 200), (5, 3000), (0, 40_000)] {
        busy.set(work);
        reactor.turn_at(at);
        at += Ticks(span);
    }
    reactor.turn_at(at);
    let stats = reactor.handle().stats();
    assert_eq!(stats.busy_ticks - before.busy_ticks, 1 + 3010, "the first turn added the poller");
    assert_eq!(stats.idle_ticks - before.idle_ticks, 40_200);
}

#[test]
#[should_panic(expected = "not done after")]
fn waiting_for_what_never_comes_has_an_end() {
    LocalReactor::new(BUFFER_BYTES).run_until(Ticks::from_millis(2), |_| false);
}

#[test]
fn everything_can_be_printed() {
    let log = Log::default();
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    reactor.cx().add_poller(Scribe::boxed("scribe", &log));
    reactor.cx().local(9, |_| 1_u8);
    let waiting = format!("{reactor:?}");
    reactor.turn();
    let polled = format!("{reactor:?}");
    for text in [waiting, polled] {
        assert!(text.contains("Pool") && text.contains("(\"u8\", 9)"), "{text}");
    }
}
