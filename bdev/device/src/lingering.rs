//! Requests that devices still have of users that have given them up.
//!
//! ```text
//!   a user gives a device up --> Lingering: so many of this device --late completion--> one less
//!                                                                   `--- the user ends ---> keep
//!   keep   a poller of the reactor has the channel until the device has let go of all of them
//! ```
//!
//! What a device has not answered it may still do: a write that was given up may reach the medium after
//! later ones, whoever made those. So the count belongs to the device, by its UUID and for the life of the
//! process, and not to the user: whoever is about to rely on what he writes to a device asks
//! [`still_lingering`] first. It is touched when a device is given up and when it answers late, never
//! on the way of a request.
//!
//! Invariant: a channel with lingering requests is polled until there is none.
//!
//! Not here: when a device is given up (its user), who refuses to use it (array, the service).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Duration;

use reactor::{Cx, Poller, PollerId, clock};
use uuid::Uuid;

use crate::bdev::IoChannel;
use crate::io::Completion;
use crate::limits::{COMPLETIONS_PER_POLL_MAX, LINGERING_PATIENCE};
use crate::stacked::lock;

/// Requests by device. Devices without any are not in it.
static REQUESTS: Mutex<BTreeMap<Uuid, usize>> = Mutex::new(BTreeMap::new());

/// Requests that a device still has of users that have given it up. While there are any, what is written
/// to it now may be overwritten by what was written before.
#[must_use]
pub fn lingering_requests(device: Uuid) -> usize {
    lock(&REQUESTS).get(&device).copied().unwrap_or(0)
}

/// The same, after a moment in which a device that answers at all has answered: one that was let go of in good
/// health, with a request on its way, is not one that hangs. Waits, so it is not for a reactor's thread.
#[must_use]
pub fn still_lingering(device: Uuid) -> usize {
    let end = clock::now() + LINGERING_PATIENCE;
    loop {
        let requests = lingering_requests(device);
        if requests == 0 || clock::now() >= end {
            return requests;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Requests of one channel to a device that was given up.
#[derive(Debug)]
pub struct Lingering {
    device: Uuid,
    requests: usize,
}

impl Lingering {
    /// A device is given up with so many requests.
    #[must_use]
    pub fn begin(device: Uuid, requests: usize) -> Self {
        if requests > 0 {
            *lock(&REQUESTS).entry(device).or_default() += requests;
        }
        Self { device, requests }
    }

    /// Some of them have come back.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn ended(&mut self, requests: usize) {
        assert!(requests <= self.requests, "{requests} of {} requests came back", self.requests);
        self.requests -= requests;
        if requests == 0 {
            return;
        }
        let mut table = lock(&REQUESTS);
        let left = table.get_mut(&self.device).map_or(0, |count| {
            *count -= requests;
            *count
        });
        if left == 0 {
            table.remove(&self.device);
        }
    }

    /// Whether all have.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.requests == 0
    }

    /// Has the reactor keep a channel until all have come back, unheard.
    pub fn keep(self, cx: &mut Cx, channel: Box<dyn IoChannel>) {
        if self.is_over() {
            return;
        }
        let id = Rc::<Cell<Option<PollerId>>>::default();
        let done = Vec::with_capacity(COMPLETIONS_PER_POLL_MAX);
        let keeper = Keeper { channel, lingering: self, done, id: Rc::clone(&id) };
        id.set(Some(cx.add_poller(Box::new(keeper))));
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        // The reactor ends, and the process with it.
        self.ended(self.requests);
    }
}

struct Keeper {
    channel: Box<dyn IoChannel>,
    lingering: Lingering,
    done: Vec<Completion>,
    id: Rc<Cell<Option<PollerId>>>,
}

impl Poller for Keeper {
    fn name(&self) -> &str {
        "lingering"
    }

    fn poll(&mut self, cx: &mut Cx) -> usize {
        let count = self.channel.poll(&mut self.done);
        self.done.clear();
        self.lingering.ended(count);
        if self.lingering.is_over()
            && let Some(id) = self.id.take()
        {
            cx.remove_poller(id);
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a device lingers exactly as long as a request of anybody's does. Method: two users of one
    /// device, and one of another.
    #[test]
    fn requests_count_by_device() {
        let (device, other) = (Uuid::new_v4(), Uuid::new_v4());
        assert_eq!(lingering_requests(device), 0);
        let mut first = Lingering::begin(device, 3);
        let second = Lingering::begin(device, 1);
        let _other = Lingering::begin(other, 1);
        assert_eq!(lingering_requests(device), 4);
        first.ended(0);
        first.ended(2);
        assert_eq!((lingering_requests(device), first.is_over()), (2, false));
        drop(second);
        first.ended(1);
        assert_eq!((lingering_requests(device), first.is_over()), (0, true));
        assert_eq!(lingering_requests(other), 1);
        assert!(Lingering::begin(device, 0).is_over());
        assert!(!lock(&REQUESTS).contains_key(&device), "nothing stays behind");
    }

    /// Goal: a request that ends in a moment is waited for, one that does not is told of.
    #[test]
    fn who_answers_in_a_moment_does_not_linger() {
        let (device, hung) = (Uuid::new_v4(), Uuid::new_v4());
        let mut answered = Lingering::begin(device, 1);
        let _never = Lingering::begin(hung, 2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::park_timeout(Duration::from_millis(50));
                answered.ended(1);
            });
            assert_eq!(still_lingering(device), 0);
        });
        assert_eq!(still_lingering(hung), 2);
    }
}
