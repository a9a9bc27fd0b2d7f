//! Goal: timers run when they are due, in order, as often as they ask, and never after they were
//! cancelled. Method: turns at chosen times; a random history against a plain list.

use proptest::prelude::*;
use reactor::{Cx, LocalReactor, Ticks, TimerFn, TimerId};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

const BUFFER_BYTES: usize = 4096;

type Log = Rc<RefCell<Vec<(u64, u32)>>>;

/// A timer that logs (time since the start, name) and asks for what `next` says.
fn logging(
    log: &Log,
    name: u32,
    start: Ticks,
    mut next: impl FnMut(&mut Cx) -> Option<Ticks> + 'static,
) -> TimerFn {
    let log = Rc::clone(log);
    Box::new(move |cx| {
        log.borrow_mut().push(((cx.now() - start).0, name));
        next(cx)
    })
}

/// A reactor, and a moment that its clock has not reached: times count from there.
fn reactor() -> (LocalReactor, Ticks) {
    let mut reactor = LocalReactor::new(BUFFER_BYTES);
    let start = reactor.cx().now() + Ticks::from_secs(1000);
    (reactor, start)
}

#[test]
fn timers_run_once_in_order_of_deadline_then_of_setting() {
    let (mut reactor, start) = reactor();
    let log = Log::default();
    for (name, at) in [(1, 30), (2, 10), (3, 20), (4, 10), (5, 99)] {
        reactor.cx().add_timer(start + Ticks(at), logging(&log, name, start, |_| None));
    }
    assert_eq!(reactor.turn_at(start + Ticks(9)), 0);
    assert_eq!(reactor.turn_at(start + Ticks(10)), 2);
    assert_eq!(reactor.turn_at(start + Ticks(40)), 2);
    assert_eq!(reactor.turn_at(start + Ticks(50)), 0);
    assert_eq!(*log.borrow(), [(10, 2), (10, 4), (40, 3), (40, 1)]);
    assert_eq!(reactor.handle().stats().timers, 4);
}

#[test]
fn a_periodic_timer_runs_again_when_it_says() {
    let (mut reactor, start) = reactor();
    let log = Log::default();
    let periodic = logging(&log, 1, start, |cx| Some(cx.now() + Ticks(10)));
    reactor.cx().add_timer(start, periodic);
    for at in [0, 9, 10, 15, 27, 36, 37] {
        reactor.turn_at(start + Ticks(at));
    }
    assert_eq!(*log.borrow(), [(0, 1), (10, 1), (27, 1), (37, 1)]);
}

#[test]
fn a_deadline_in_the_past_waits_for_the_next_turn() {
    let (mut reactor, start) = reactor();
    let log = Log::default();
    reactor.cx().add_timer(start, logging(&log, 1, start, |_| Some(Ticks::ZERO)));
    let adding = logging(&log, 2, start, {
        let log = Rc::clone(&log);
        move |cx| {
            cx.add_timer(Ticks::ZERO, logging(&log, 3, start, |_| None));
            None
        }
    });
    reactor.cx().add_timer(start, adding);
    assert_eq!(reactor.turn_at(start), 2);
    assert_eq!(reactor.turn_at(start + Ticks(1)), 2);
    assert_eq!(*log.borrow(), [(0, 1), (0, 2), (1, 1), (1, 3)]);
}

#[test]
fn a_cancelled_timer_never_runs_and_its_name_is_not_given_again() {
    let (mut reactor, start) = reactor();
    let log = Log::default();
    let first = reactor.cx().add_timer(start, logging(&log, 1, start, |_| None));
    reactor.cx().cancel_timer(first);
    reactor.cx().cancel_timer(first);
    let second = reactor.cx().add_timer(start, logging(&log, 2, start, |_| None));
    assert_ne!(first, second);
    // The old name does not reach the new timer.
    reactor.cx().cancel_timer(first);
    assert_eq!(reactor.turn_at(start), 1);
    reactor.cx().cancel_timer(second);
    assert_eq!(*log.borrow(), [(0, 2)]);
}

#[test]
fn a_timer_may_cancel_itself_and_its_neighbours() {
    let (mut reactor, start) = reactor();
    let log = Log::default();
    let ids: Rc<Cell<Option<[TimerId; 2]>>> = Rc::default();
    let known = Rc::clone(&ids);
    let cancels = logging(&log, 1, start, move |cx| {
        for id in known.get().into_iter().flatten() {
            cx.cancel_timer(id);
        }
        Some(cx.now() + Ticks(1))
    });
    let this = reactor.cx().add_timer(start, cancels);
    let other = reactor.cx().add_timer(start, logging(&log, 2, start, |_| None));
    ids.set(Some([this, other]));
    assert_eq!(reactor.turn_at(start), 1, "the neighbour was due in the same turn");
    assert_eq!(reactor.turn_at(start + Ticks(10)), 0);
    assert_eq!(*log.borrow(), [(0, 1)]);
}

#[test]
fn a_timer_drops_what_it_holds_when_it_ends() {
    let (mut reactor, start) = reactor();
    let held = Rc::new(());
    let hold = |next: Option<Ticks>| {
        let held = Rc::clone(&held);
        Box::new(move |_: &mut Cx| {
            let _ = &held;
            next
        })
    };
    reactor.cx().add_timer(start, hold(None));
    reactor.cx().add_timer(start, hold(Some(Ticks::MAX)));
    let cancelled = reactor.cx().add_timer(start, hold(None));
    assert_eq!(Rc::strong_count(&held), 4);
    reactor.cx().cancel_timer(cancelled);
    assert_eq!(Rc::strong_count(&held), 3);
    reactor.turn_at(start);
    assert_eq!(Rc::strong_count(&held), 2);
    drop(reactor);
    assert_eq!(Rc::strong_count(&held), 1);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A timer that is due after so long, and again after that period as often as is said.
    Add { after: u64, period: u64, again: u32 },
    /// Cancels the n-th timer that was ever added.
    Cancel(usize),
    /// A turn after so long.
    Turn(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let add = (0..50_u64, 0..30_u64, 0..4_u32);
    let step = prop_oneof![
        add.prop_map(|(after, period, again)| Step::Add { after, period, again }),
        (0..40_usize).prop_map(Step::Cancel),
        (0..20_u64).prop_map(Step::Turn),
    ];
    prop::collection::vec(step, 0..200)
}

/// A timer of the plain model.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Plain {
    at: u64,
    set: u64,
    name: u32,
    period: u64,
    again: u32,
}

proptest! {
    /// Random timers, cancellations and turns against a list that is sorted every turn.
    #[test]
    fn timers_do_what_a_sorted_list_does(steps in steps()) {
        let (mut reactor, start) = reactor();
        let log = Log::default();
        let mut expected = Vec::new();
        let mut model: BTreeMap<u32, Plain> = BTreeMap::new();
        let mut ids = Vec::new();
        let (mut now, mut set) = (0, 0);
        for step in steps {
            set += 1;
            match step {
                Step::Add { after, period, again } => {
                    let name = ids.len() as u32;
                    let mut left = again;
                    let timer = logging(&log, name, start, move |cx| {
                        left = left.checked_sub(1)?;
                        Some(cx.now() + Ticks(period))
                    });
                    let at = now + after;
                    ids.push(reactor.cx().add_timer(start + Ticks(at), timer));
                    model.insert(name, Plain { at, set, name, period, again });
                }
                Step::Cancel(n) if n < ids.len() => {
                    reactor.cx().cancel_timer(ids[n]);
                    model.remove(&(n as u32));
                }
                Step::Cancel(_) => {}
                Step::Turn(after) => {
                    now += after;
                    let mut due: Vec<_> = model.values().copied().filter(|t| t.at <= now).collect();
                    due.sort_unstable();
                    for mut timer in due {
                        expected.push((now, timer.name));
                        model.remove(&timer.name);
                        if let Some(again) = timer.again.checked_sub(1) {
                            set += 1;
                            (timer.at, timer.set, timer.again) = (now + timer.period, set, again);
                            model.insert(timer.name, timer);
                        }
                    }
                    reactor.turn_at(start + Ticks(now));
                    prop_assert_eq!(&*log.borrow(), &expected);
                }
            }
        }
    }
}
