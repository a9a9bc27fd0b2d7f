//! What bdevs that stand on another bdev have in common.
//!
//! ```text
//!   user's BdevIo, token t --> Slots: slot s holds (t, what to do when it is back) --> base, token s
//!   user's Completion,   t <-- Slots: slot s is free again                        <-- base's, token s
//! ```
//!
//! The submitter's token need not be unique, so it cannot tell what a completion belongs to; the
//! number of a slot can.
//!
//! Invariants: R6 (there are as many slots as a channel may have requests in flight, made when it is
//! opened: a request allocates nothing).
//!
//! Not here: what is done with a request (`error`, `delay`), claims on the base (the service).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reactor::Waker;
use uuid::Uuid;

use crate::bdev::{BackendDetail, BdevInfo};
use crate::create::uuid_or_new;
use crate::limits::CHANNEL_IN_FLIGHT_MAX;

/// What is a bdev's own that otherwise is like its base, with the size that the base has now.
#[derive(Debug)]
pub(crate) struct Likeness {
    pub(crate) name: String,
    uuid: Uuid,
    product_name: &'static str,
}

impl Likeness {
    pub(crate) fn new(name: String, uuid: Option<Uuid>, product_name: &'static str) -> Self {
        Self { name, uuid: uuid_or_new(uuid), product_name }
    }

    /// The description of the bdev over `base`.
    pub(crate) fn of(&self, base: &BdevInfo) -> BdevInfo {
        BdevInfo {
            name: self.name.clone(),
            uuid: self.uuid,
            product_name: self.product_name,
            detail: BackendDetail::None,
            ..base.clone()
        }
    }
}

/// Locks. Whoever panicked has changed nothing half: the states behind these locks are tables of
/// independent entries.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known of the requests that the base has.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    /// As many as a channel may have requests in flight.
    pub(crate) fn new() -> Self {
        Self {
            entries: (0..CHANNEL_IN_FLIGHT_MAX).map(|_| None).collect(),
            free: (0..CHANNEL_IN_FLIGHT_MAX as u32).rev().collect(),
        }
    }

    /// Whether `put` may be called.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// How many are taken.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Takes a slot, whose number is the token for the base.
    #[inline]
    pub(crate) fn put(&mut self, entry: T) -> u64 {
        let slot = self.free.pop().expect("the caller has asked whether there is room");
        self.entries[slot as usize] = Some(entry);
        u64::from(slot)
    }

    /// What is in the slot of that token.
    #[inline]
    pub(crate) fn get_mut(&mut self, token: u64) -> &mut T {
        self.entries[token as usize].as_mut().expect("the slot is taken")
    }

    /// Frees the slot of that token.
    #[inline]
    pub(crate) fn take(&mut self, token: u64) -> T {
        let slot = token as usize;
        let entry = self.entries[slot].take().expect("a base gives back what it was given, once");
        self.free.push(slot as u32);
        entry
    }

    /// Frees all slots, and says what was in them.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        std::mem::replace(self, Self::new()).entries.into_iter().flatten()
    }
}

/// The reactors that have channels of a bdev, to be woken when something has happened to it that
/// none of their own devices will announce.
#[derive(Debug, Default)]
pub(crate) struct Wakers(Mutex<(u64, BTreeMap<u64, Waker>)>);

impl Wakers {
    /// A channel has come; returns its name here.
    pub(crate) fn join(&self, waker: Waker) -> u64 {
        let mut wakers = lock(&self.0);
        wakers.0 += 1;
        let id = wakers.0;
        wakers.1.insert(id, waker);
        id
    }

    /// A channel has gone.
    pub(crate) fn leave(&self, id: u64) {
        lock(&self.0).1.remove(&id);
    }

    /// Has every reactor with a channel poll, now.
    pub(crate) fn wake(&self) {
        for waker in lock(&self.0).1.values() {
            waker.wake();
        }
    }
}

/// Scrambles a number (the finaliser of splitmix64): equal inputs give equal outputs, and close ones
/// have nothing in common.
pub(crate) fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: slots are told apart, come back, and there are no more than a channel may use.
    #[test]
    fn slots_come_back() {
        let mut slots = Slots::new();
        let tokens: Vec<u64> = (0..CHANNEL_IN_FLIGHT_MAX).map(|entry| slots.put(entry)).collect();
        assert!(!slots.has_room());
        assert_eq!(slots.len(), CHANNEL_IN_FLIGHT_MAX);
        for (entry, token) in tokens.into_iter().enumerate() {
            assert_eq!(slots.take(token), entry);
        }
        assert!(slots.has_room());
        assert_eq!(slots.len(), 0);
    }
}
