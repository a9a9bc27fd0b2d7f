//! Goal: a turn allocates nothing, and neither do buffers of a pool; time goes by in none of them.
//! Method: a global allocator that counts on the calling thread, around turns that are warm.
//!
//! This file holds `unsafe`, as every global allocator does; it only counts and passes on.

use reactor::{Cx, LocalReactor, Poller, Ticks};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::thread;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: each method passes its arguments on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise about the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise about pointer and layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations and frees of this thread during `f`.
fn allocations(f: impl FnOnce()) -> usize {
    let before = COUNT.get();
    f();
    COUNT.get() - before
}

struct Idle;

impl Poller for Idle {
    fn name(&self) -> &str {
        "idle"
    }

    fn poll(&mut self, _: &mut Cx) -> usize {
        0
    }
}

/// Takes and returns buffers of many sizes, shares and splits them.
struct Juggler;

impl Poller for Juggler {
    fn name(&self) -> &str {
        "juggler"
    }

    fn poll(&mut self, cx: &mut Cx) -> usize {
        for len in [512, 4096, 10_000, 65_536] {
            let mut buf = cx.pool().alloc(len).expect("the pool is large enough");
            let front = buf.split_to(len / 2).freeze();
            let clone = front.slice(0..1);
            drop((buf, front, clone));
        }
        1
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 2);
}

#[test]
fn an_idle_turn_allocates_nothing() {
    let mut reactor = LocalReactor::new(1 << 20);
    for _ in 0..3 {
        reactor.cx().add_poller(Box::new(Idle));
    }
    reactor.turn();
    let allocations = allocations(|| {
        for _ in 0..1000 {
            assert_eq!(reactor.turn(), 0);
        }
    });
    assert_eq!(allocations, 0);
}

#[test]
fn buffers_of_a_pool_come_and_go_without_an_allocation() {
    let mut reactor = LocalReactor::new(1 << 20);
    reactor.cx().add_poller(Box::new(Juggler));
    reactor.turn();
    assert_eq!(
        allocations(|| {
            for _ in 0..1000 {
                assert_eq!(reactor.turn(), 1);
            }
        }),
        0
    );
    // Also when other threads give them back.
    let blocks: Vec<_> = (0..16).filter_map(|_| reactor.cx().pool().alloc(4096)).collect();
    assert_eq!(blocks.len(), 16);
    thread::spawn(move || drop(blocks)).join().expect("no panic");
    let again = allocations(|| {
        let all = reactor.cx().pool().alloc(1 << 20);
        assert_eq!(all.expect("everything has joined").len(), 1 << 20);
    });
    assert_eq!(again, 0);
}

#[test]
fn a_periodic_timer_allocates_nothing_when_it_runs() {
    let mut reactor = LocalReactor::new(1 << 20);
    let start = reactor.cx().now();
    reactor.cx().add_timer(start, Box::new(|cx| Some(cx.now() + Ticks(1))));
    reactor.turn_at(start);
    let mut at = start;
    let allocations = allocations(|| {
        for _ in 0..1000 {
            at += Ticks(1);
            assert_eq!(reactor.turn_at(at), 1);
        }
    });
    assert_eq!(allocations, 0);
}
