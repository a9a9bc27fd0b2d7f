//! Waking a reactor for what becomes due there without any device saying so.
//!
//! ```text
//!   channels, in poll: note(at) ---> first ---> end of the turn: a timer for it
//! ```
//!
//! A channel that holds something back says when it is due each time it is polled. At the end of the
//! turn a poller of the reactor sets a timer for the first of them, so that it may sleep until then.
//!
//! Not here: what is held back (`delay`, `counted`).

use std::cell::Cell;
use std::rc::Rc;

use reactor::{Cx, Layer, Poller, Ticks, TimerId};

/// When the first thing is due on one reactor.
#[derive(Debug)]
pub(crate) struct Due {
    first: Cell<Ticks>,
}

impl Due {
    /// That of the reactor that `cx` belongs to, with its poller running.
    pub(crate) fn of_reactor(cx: &mut Cx) -> Rc<Self> {
        if let Some(due) = cx.find_local::<Self>(0) {
            return due;
        }
        let due = cx.local::<Self>(0, |_| Self { first: Cell::new(Ticks::MAX) });
        cx.add_poller(Box::new(DuePoller { due: Rc::clone(&due), timer: None }));
        due
    }

    /// Something is due then. It counts until that time; whoever still waits after it says so again.
    pub(crate) fn note(&self, at: Ticks) {
        self.first.set(self.first.get().min(at));
    }
}

struct DuePoller {
    due: Rc<Due>,
    timer: Option<(Ticks, TimerId)>,
}

impl Poller for DuePoller {
    fn name(&self) -> &str {
        "due"
    }

    fn poll(&mut self, cx: &mut Cx) -> usize {
        if self.due.first.get() <= cx.now() {
            // Channels note what is next when they are polled.
            self.due.first.set(Ticks::MAX);
        }
        0
    }

    fn unplug(&mut self, cx: &mut Cx) {
        // A timer that is due has run in this turn.
        let timer = self.timer.take_if(|(at, _)| *at > cx.now());
        let first = self.due.first.get();
        self.timer = match timer {
            Some(timer) if timer.0 <= first => Some(timer),
            late => {
                if let Some((_, id)) = late {
                    cx.cancel_timer(id);
                }
                (first != Ticks::MAX).then(|| (first, cx.add_timer(first, Box::new(|_| None))))
            }
        };
    }

    fn layer(&self) -> Layer {
        Layer::Engine
    }
}
