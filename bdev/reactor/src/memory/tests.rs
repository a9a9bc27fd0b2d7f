//! Goal: the promises of the memory module, from the outside: who may see which byte, when blocks
//! go home, and that memory outlives its pool. Method: fill, hand around, compare; the file is also
//! what valgrind and the address sanitizer are run on, so every byte of a view is touched.

use super::*;
use crate::limits;
use proptest::prelude::*;
use std::mem::size_of;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

const UNIT: usize = BUF_ALIGN_BYTES;

fn pool(units: usize) -> Pool {
    Pool::new(units * UNIT).expect("memory for a small pool")
}

fn region_is_live(id: RegionId) -> bool {
    regions().iter().any(|region| region.id() == id)
}

#[test]
fn views_are_three_words_and_options_cost_nothing() {
    assert_eq!(size_of::<IoBufMut>(), 24);
    assert_eq!(size_of::<IoBuf>(), 24);
    assert_eq!(size_of::<Option<IoBufMut>>(), 24);
    assert_eq!(size_of::<Result<IoBufMut, ()>>(), 24);
}

#[test]
fn heap_buffers_are_zeroed_and_aligned() {
    for len in [0, 1, 4095, 4096, 4097, 100_000] {
        let mut buf = IoBufMut::heap(len);
        assert_eq!(buf.len(), len);
        assert_eq!(buf.is_empty(), len == 0);
        assert!(buf.as_ptr().addr().is_multiple_of(BUF_ALIGN_BYTES));
        assert!(buf.iter().all(|byte| *byte == 0));
        assert_eq!(buf.region(), None);
        buf.fill(0xa5);
        assert!(buf.freeze().iter().all(|byte| *byte == 0xa5));
    }
    assert_eq!(*IoBufMut::heap_copy(b"hello"), *b"hello");
}

#[test]
#[should_panic(expected = "more than isize::MAX")]
fn a_heap_buffer_of_impossible_length_is_refused() {
    drop(IoBufMut::heap(usize::MAX));
}

#[test]
fn split_divides_and_slices_share() {
    let mut tail = IoBufMut::heap(100);
    for (i, byte) in tail.iter_mut().enumerate() {
        *byte = i as u8;
    }
    let mut head = tail.split_to(40);
    assert_eq!((head.len(), tail.len()), (40, 60));
    head[39] = 200;
    tail[0] = 201;
    let (head, tail) = (head.freeze(), tail.freeze());
    assert_eq!(head[38..], [38, 200]);
    assert_eq!(tail[..2], [201, 41]);
    let slice = tail.slice(1..3);
    let again = slice.clone();
    drop(tail);
    assert_eq!((&slice[..], &again[..]), (&[41, 42][..], &[41, 42][..]));
    assert!(head.slice(40..40).is_empty());
}

#[test]
#[should_panic(expected = "range 0..101 is not inside a buffer of 100 bytes")]
fn splitting_past_the_end_is_refused() {
    drop(IoBufMut::heap(100).split_to(101));
}

#[test]
#[should_panic(expected = "is not inside a buffer of 10 bytes")]
fn slicing_past_the_end_of_the_view_is_refused_though_the_block_goes_on() {
    let buf = IoBufMut::heap(4096).freeze();
    drop(buf.slice(0..10).slice(5..11));
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
#[should_panic(expected = "is not inside a buffer")]
fn slicing_backwards_is_refused() {
    drop(IoBufMut::heap(4096).freeze().slice(5..4));
}

#[test]
fn only_a_sole_view_becomes_writable() {
    let mut rest = IoBufMut::heap(8192);
    let front = rest.split_to(4096).freeze();
    let front = front.try_into_mut().expect_err("the other half is still out");
    drop(rest);
    let twin = front.clone();
    let front = front.try_into_mut().expect_err("there is a clone");
    drop(twin);
    let mut front = front.try_into_mut().expect("the only view");
    front.fill(1);
    assert_eq!(front.len(), 4096);
}

#[test]
fn rejoin_makes_the_whole_of_parts_in_any_order() {
    let mut buf = IoBufMut::heap(12_288);
    let _outside = buf.split_to(1000);
    let (start, len) = (buf.as_ptr(), buf.len());
    let (mut rejoin, mut rest) = Rejoin::begin(buf);
    let mut parts = Vec::new();
    for at in [1, 0, 4096, 100] {
        parts.push(rest.split_to(at));
    }
    parts.push(rest);
    for (i, part) in parts.iter_mut().enumerate() {
        part.fill(i as u8 + 1);
    }
    parts.swap(0, 3);
    for part in parts {
        assert!(rejoin.missing_bytes() > 0);
        rejoin = rejoin.finish().expect_err("some bytes are still out");
        rejoin.absorb(part).expect("a part of ours");
    }
    assert_eq!(rejoin.missing_bytes(), 0);
    let whole = rejoin.finish().expect("every byte is back");
    assert_eq!((whole.as_ptr(), whole.len()), (start, len));
    assert_eq!(whole[..2], [1, 3]);
    assert_eq!(whole[4096..4098], [3, 4]);
    assert_eq!(whole[len - 1], 5);
}

#[test]
fn rejoin_refuses_what_is_not_its_own() {
    let mut after = IoBufMut::heap(3 * 4096);
    let before = after.split_to(4096);
    let (mut rejoin, mut rest) = Rejoin::begin(after.split_to(4096));
    for other in [before, after, IoBufMut::heap(4096)] {
        drop(rejoin.absorb(other).expect_err("other bytes, of the same block or of another"));
    }
    assert_eq!(rejoin.missing_bytes(), 4096);
    let first = rest.split_to(10);
    drop(first);
    rejoin.absorb(rest).expect("a part of ours");
    assert_eq!(rejoin.missing_bytes(), 10);
    drop(rejoin.finish().expect_err("a dropped part never comes back"));
}

#[test]
fn rejoin_refuses_even_an_empty_view_of_the_next_block() {
    let pool = pool(2);
    let mut blocks = [pool.alloc(UNIT), pool.alloc(UNIT)].map(|block| block.expect("a block"));
    blocks.sort_by_key(|block| block.as_ptr());
    let [ours, mut next] = blocks;
    let (mut rejoin, part) = Rejoin::begin(ours);
    let empty = next.split_to(0);
    assert_eq!(empty.as_ptr(), part.as_ptr_range().end);
    drop(rejoin.absorb(empty).expect_err("it starts where ours ends, but is not ours"));
    rejoin.absorb(part).expect("a part of ours");
}

#[test]
fn rejoin_knows_a_new_loan_of_the_same_block_from_the_old() {
    let pool = pool(1);
    let buf = pool.alloc(UNIT).expect("a block");
    let (mut rejoin, part) = Rejoin::begin(buf);
    drop(part);
    assert!(pool.alloc(UNIT).is_none(), "the rejoin holds the block");
    let stranger = IoBufMut::heap(UNIT);
    drop(rejoin.absorb(stranger).expect_err("not ours"));
    drop(rejoin);
    assert!(pool.alloc(UNIT).is_some());
}

#[test]
fn rejoin_keeps_frozen_parts_from_becoming_writable() {
    let (mut rejoin, mut rest) = Rejoin::begin(IoBufMut::heap(8192));
    let frozen = rest.split_to(4096).freeze();
    rejoin.absorb(rest).expect("a part of ours");
    let frozen = frozen.try_into_mut().expect_err("the rejoin might give the same bytes out");
    drop(rejoin);
    frozen.try_into_mut().expect("now it is the only view");
}

#[test]
fn rejoins_nest() {
    let (mut outer, mut rest) = Rejoin::begin(IoBufMut::heap(300));
    let (mut inner, mut part) = Rejoin::begin(rest.split_to(100));
    let half = part.split_to(50);
    inner.absorb(part).expect("a part of the inner one");
    outer.absorb(rest).expect("a part of the outer one");
    inner.absorb(half).expect("a part of the inner one");
    let part = inner.finish().expect("the inner one is whole");
    outer.absorb(part).expect("a part of the outer one");
    assert_eq!(outer.finish().expect("whole").len(), 300);
}

#[test]
fn a_pool_lends_all_it_has_and_then_says_so() {
    let pool = pool(16);
    assert_eq!(pool.free_bytes(), 16 * UNIT);
    let blocks: Vec<_> = (0..16).map(|_| pool.alloc(1).expect("a block")).collect();
    assert!(pool.alloc(1).is_none());
    assert!(pool.alloc(0).is_none(), "an empty view takes a block too");
    assert_eq!(pool.free_bytes(), 0);
    assert_eq!(blocks[3].len(), 1);
    drop(blocks);
    assert_eq!(pool.free_bytes(), 16 * UNIT);
    assert!(pool.alloc(16 * UNIT + 1).is_none(), "more than the pool");
    assert!(pool.alloc(usize::MAX).is_none(), "more than the world");
    let all = pool.alloc(16 * UNIT).expect("small blocks have joined");
    assert_eq!(all.region(), Some((pool.region().id(), 0)));
}

#[test]
fn a_block_goes_home_with_its_last_view() {
    let pool = pool(2);
    let mut rest = pool.alloc(2 * UNIT).expect("a block");
    let front = rest.split_to(100).freeze();
    let clone = front.slice(10..20);
    drop(rest);
    drop(front);
    assert_eq!(pool.free_bytes(), 0);
    drop(clone);
    assert_eq!(pool.free_bytes(), 2 * UNIT);
}

#[test]
fn region_offsets_are_those_of_the_view() {
    let pool = pool(8);
    let _first = pool.alloc(UNIT).expect("a block");
    let mut buf = pool.alloc(2 * UNIT).expect("a block");
    let (id, offset) = buf.region().expect("pool memory is in a region");
    assert_eq!(id, pool.region().id());
    assert_eq!(pool.region().as_ptr().addr() + offset, buf.as_ptr().addr());
    let _front = buf.split_to(512);
    assert_eq!(buf.region(), Some((id, offset + 512)));
    assert_eq!(buf.freeze().slice(8..16).region(), Some((id, offset + 520)));
}

#[test]
fn large_pools_align_blocks_to_their_size() {
    let pool = pool(1024);
    let _odd = pool.alloc(UNIT).expect("a block");
    for units in [1, 2, 64, 256, 512] {
        let buf = pool.alloc(units * UNIT).expect("a block");
        assert!(buf.as_ptr().addr().is_multiple_of(units * UNIT), "{units} units: {buf:?}");
    }
}

#[test]
fn page_kinds_are_told() {
    assert_eq!(pool(1).page_kind(), PageKind::Base);
    let huge = Path::new("/sys/kernel/mm/transparent_hugepage").exists();
    assert_eq!(pool(512).page_kind() != PageKind::Base, huge);
    assert_eq!(Pool::new(5000).expect("memory").free_bytes(), 8192);
    assert_eq!(Pool::new((2 << 20) + 1).expect("memory").free_bytes(), 4 << 20);
}

#[test]
fn impossible_pools_are_refused_with_the_length() {
    for len in [0, limits::POOL_BYTES_MAX + 1, usize::MAX] {
        let error = Pool::new(len).expect_err("impossible").to_string();
        assert!(error.contains(&format!("{len} bytes")), "{error}");
    }
    for len in [0, 1 << 60, usize::MAX] {
        let error = Region::map(len).expect_err("impossible").to_string();
        assert!(error.contains(&format!("{len} bytes")), "{error}");
    }
}

#[test]
fn live_regions_are_listed() {
    let before = regions_generation();
    let pool = pool(1);
    let id = pool.region().id();
    assert!(region_is_live(id));
    assert!(regions_generation() > before);
    let mapped = regions_generation();
    drop(pool);
    assert!(!region_is_live(id));
    assert!(regions_generation() > mapped);
}

#[test]
fn views_outlive_their_pool() {
    let pool = pool(4);
    let id = pool.region().id();
    let mut at_home = pool.alloc(UNIT).expect("a block");
    let mut elsewhere = pool.alloc(UNIT).expect("a block");
    drop(pool.alloc(UNIT));
    drop(pool);
    at_home.fill(1);
    assert!(region_is_live(id));
    let elsewhere = thread::spawn(move || {
        elsewhere.fill(2);
        assert_eq!(elsewhere[UNIT - 1], 2);
        drop(elsewhere);
    });
    elsewhere.join().expect("no panic");
    assert!(region_is_live(id));
    assert_eq!(at_home[UNIT - 1], 1);
    drop(at_home);
    assert!(!region_is_live(id), "the last view takes the memory with it");
}

#[test]
fn the_last_view_may_be_dropped_elsewhere() {
    let pool = pool(4);
    let id = pool.region().id();
    let returned_while_open = pool.alloc(UNIT).expect("a block");
    let last = pool.alloc(UNIT).expect("a block");
    thread::spawn(move || drop(returned_while_open)).join().expect("no panic");
    drop(pool);
    assert!(region_is_live(id));
    thread::spawn(move || drop(last)).join().expect("no panic");
    assert!(!region_is_live(id));
}

#[test]
fn blocks_that_are_dropped_elsewhere_can_be_lent_again() {
    let pool = pool(16);
    for round in 0..3 {
        let blocks: Vec<_> = (0..16).map(|_| pool.alloc(UNIT).expect("a block")).collect();
        assert!(pool.alloc(UNIT).is_none());
        thread::spawn(move || drop(blocks)).join().expect("no panic");
        assert_eq!(pool.alloc(16 * UNIT).map(|all| all.len()), Some(16 * UNIT), "round {round}");
    }
    assert_eq!(pool.free_bytes(), 16 * UNIT);
}

/// Foreign returns race with loans and with the end of the pool; each byte is checked on its way.
#[test]
fn blocks_travel_between_threads_while_the_pool_ends() {
    const BLOCKS: usize = 400;
    let pool = pool(64);
    let id = pool.region().id();
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..3)
            .map(|_| {
                let (lane, blocks) = mpsc::sync_channel::<(u8, IoBufMut)>(8);
                scope.spawn(move || {
                    for (mark, mut block) in blocks {
                        let front = block.split_to(block.len() / 2).freeze();
                        let twin = front.clone();
                        assert!(front.iter().chain(block.iter()).all(|byte| *byte == mark));
                        drop(block);
                        drop(front);
                        assert_eq!(twin[0], mark);
                    }
                });
                lane
            })
            .collect();
        for i in 0..BLOCKS {
            let mut block = loop {
                match pool.alloc((1 + i % 4) * UNIT) {
                    Some(block) => break block,
                    None => thread::yield_now(),
                }
            };
            block.fill(i as u8);
            lanes[i % 3].send((i as u8, block)).expect("the lane is open");
        }
        drop(pool);
    });
    assert!(!region_is_live(id), "all came home, though late");
}

#[test]
fn clones_race_and_the_block_goes_home_once() {
    let pool = pool(1);
    for _ in 0..200 {
        let mut block = pool.alloc(UNIT).expect("the block is home again");
        block.fill(7);
        let shared = block.freeze();
        thread::scope(|scope| {
            for _ in 0..3 {
                let shared = shared.clone();
                scope.spawn(move || assert_eq!(shared.slice(1..9)[7], 7));
            }
            drop(shared);
        });
    }
    assert_eq!(pool.free_bytes(), UNIT);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Alloc(usize),
    /// Drops the n-th lent block here.
    Drop(usize),
    /// Drops the n-th lent block on another thread.
    DropElsewhere(usize),
    /// Splits the n-th lent block and drops the front.
    Halve(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..40_000_usize).prop_map(Step::Alloc),
        2 => (0..32_usize).prop_map(Step::Drop),
        2 => (0..32_usize).prop_map(Step::DropElsewhere),
        1 => (0..32_usize).prop_map(Step::Halve),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No two views share a byte, whatever the history; at the end the pool is whole again.
    #[test]
    fn lent_blocks_never_overlap(steps in steps()) {
        const UNITS: usize = 32;
        let pool = pool(UNITS);
        let (elsewhere, blocks) = mpsc::channel::<(u8, IoBufMut)>();
        let other = thread::spawn(move || {
            for (mark, block) in blocks {
                assert!(block.iter().all(|byte| *byte == mark));
            }
        });
        let mut lent: Vec<(u8, IoBufMut)> = Vec::new();
        for (mark, step) in steps.into_iter().enumerate() {
            match step {
                Step::Alloc(len) => {
                    if let Some(mut block) = pool.alloc(len) {
                        prop_assert_eq!(block.len(), len);
                        block.fill(mark as u8);
                        lent.push((mark as u8, block));
                    }
                }
                Step::Drop(n) if n < lent.len() => {
                    let (mark, block) = lent.swap_remove(n);
                    prop_assert!(block.iter().all(|byte| *byte == mark));
                }
                Step::DropElsewhere(n) if n < lent.len() => {
                    elsewhere.send(lent.swap_remove(n)).expect("the other thread runs");
                }
                Step::Halve(n) if n < lent.len() => {
                    let half = lent[n].1.len() / 2;
                    drop(lent[n].1.split_to(half));
                }
                Step::Drop(_) | Step::DropElsewhere(_) | Step::Halve(_) => {}
            }
        }
        drop(elsewhere);
        other.join().expect("each block had its own bytes");
        for (mark, block) in lent {
            prop_assert!(block.iter().all(|byte| *byte == mark));
        }
        prop_assert_eq!(pool.free_bytes(), UNITS * UNIT);
        prop_assert!(pool.alloc(UNITS * UNIT).is_some(), "everything has joined");
    }
}

/// Goal: a loan counts once, by size, as warm, cold or refused. Method: a pool of four blocks.
#[test]
fn loans_are_counted() {
    let pool = pool(4);
    let bytes = pool.region().len_bytes();
    assert_eq!(pool.stats(), PoolStats { bytes, free_bytes: bytes, ..PoolStats::default() });
    drop(pool.alloc(UNIT));
    let held = pool.alloc(1).unwrap();
    drop(pool.alloc(2 * UNIT));
    drop(pool.alloc(3 * UNIT));
    drop(held);
    let large = pool.alloc(3 * UNIT);
    let PoolStats { small, large: of_large, free_bytes, .. } = pool.stats();
    assert_eq!(free_bytes, if large.is_some() { bytes - 4 * UNIT } else { bytes });
    assert_eq!(small, LoanCounts { warm: 1, cold: 2, refused: 0 });
    assert_eq!(of_large, LoanCounts { warm: 0, cold: u64::from(large.is_some()), refused: 1 });
}
