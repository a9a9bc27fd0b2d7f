//! The gate: all channels of one mapped device on one reactor, opened and closed by messages.
//!
//! ```text
//!   control          gate                          channels
//!   close  ------->  close all  -----------------> requests wait
//!          <-report  end of a turn: nothing is out
//!   prepare ------>  open channels to the new bdevs, for each
//!   open  -------->  open all  ------------------> the new plan; what waited goes first
//! ```
//!
//! Closing is reported at the end of a turn, when the users of the channels have polled them.
//!
//! Channels that are dropped while something is on its way stay here until it has come back: a device
//! that says that it is suspended has nothing out, whoever has lost interest in it.
//!
//! Not here: when to do what (`super`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use reactor::{Cx, Layer, Poller, PollerId, ReactorHandle, Ticks};

use super::channel::Core;
use super::mapper::Plan;
use super::table::MappedTable;
use crate::bdev::{BdevInfo, OpenError};
use crate::io::Completion;
use crate::limits::COMPLETIONS_PER_POLL_MAX;

/// How long requests have waited on one reactor since the gate was last closed, and whether they move.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    requests: Cell<u64>,
    longest: Cell<Ticks>,
    /// Something has moved in a channel this turn, which its user need not have seen.
    stirred: Cell<bool>,
}

impl Waiting {
    pub(super) fn note_request(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    pub(super) fn note_time(&self, waited: Ticks) {
        self.longest.set(self.longest.get().max(waited));
    }

    /// Something moves: the reactor has to turn again.
    #[inline]
    pub(super) fn stir(&self) {
        self.stirred.set(true);
    }

    pub(super) fn get(&self) -> (u64, Ticks) {
        (self.requests.get(), self.longest.get())
    }

    fn reset(&self) {
        self.requests.set(0);
        self.longest.set(Ticks::ZERO);
    }
}

type Shared = Rc<RefCell<Core>>;

/// The channels of one mapped device on one reactor.
#[derive(Default)]
pub(super) struct Gate {
    users: RefCell<Vec<Shared>>,
    /// Their users are gone.
    orphans: RefCell<Vec<Shared>>,
    /// Who wants to know when nothing is out.
    report: RefCell<Option<Sender<()>>>,
    pub(super) waiting: Rc<Waiting>,
    poller: Cell<Option<PollerId>>,
    /// The device is gone.
    ended: Cell<bool>,
}

impl Gate {
    /// That of the device `key` on this reactor, which joins the device's list with its first channel.
    pub(super) fn of_reactor(key: u64, cx: &mut Cx, join: impl FnOnce(&ReactorHandle)) -> Rc<Self> {
        if let Some(gate) = cx.find_local::<Self>(key) {
            return gate;
        }
        join(cx.handle());
        let gate = cx.local::<Self>(key, |_| Self::default());
        let taken = Vec::with_capacity(COMPLETIONS_PER_POLL_MAX);
        let poller = GatePoller { gate: Rc::clone(&gate), taken };
        gate.poller.set(Some(cx.add_poller(Box::new(poller))));
        gate
    }

    pub(super) fn join(&self, core: &Shared) {
        self.users.borrow_mut().push(Rc::clone(core));
    }

    /// A channel is dropped.
    pub(super) fn leave(&self, core: &Shared) {
        self.users.borrow_mut().retain(|user| !Rc::ptr_eq(user, core));
        core.borrow_mut().abandon();
        if core.borrow().out() > 0 {
            self.orphans.borrow_mut().push(Rc::clone(core));
        }
    }

    fn each(&self, f: impl FnMut(&mut Core)) {
        let (users, orphans) = (self.users.borrow(), self.orphans.borrow());
        users.iter().chain(&*orphans).map(|core| core.borrow_mut()).for_each({
            let mut f = f;
            move |mut core| f(&mut core)
        });
    }

    /// Requests that are out.
    pub(super) fn out(&self) -> usize {
        let mut out = 0;
        self.each(|core| out += core.out());
        out
    }

    /// Has requests wait, and reports once nothing is out.
    pub(super) fn close(&self, push_back: bool, report: Sender<()>) {
        self.waiting.reset();
        self.each(|core| core.close(push_back));
        *self.report.borrow_mut() = Some(report);
    }

    /// Opens channels to what is behind a table that is about to come.
    pub(super) fn prepare(
        &self,
        table: &Arc<MappedTable>,
        info: &Arc<BdevInfo>,
        cx: &mut Cx,
    ) -> Result<(), OpenError> {
        let users = self.users.borrow();
        for core in &*users {
            let plan = Plan::open(table, info, cx)?;
            core.borrow_mut().prepare(Some(plan));
        }
        Ok(())
    }

    /// The table does not come.
    pub(super) fn forget(&self) {
        self.each(|core| core.prepare(None));
    }

    /// Lets requests pass.
    pub(super) fn open(&self) {
        *self.report.borrow_mut() = None;
        self.each(Core::open);
    }

    /// The device is gone. Channels that are still there go on.
    pub(super) fn end(&self) {
        self.ended.set(true);
    }
}

struct GatePoller {
    gate: Rc<Gate>,
    /// What orphans are told.
    taken: Vec<Completion>,
}

impl Poller for GatePoller {
    fn name(&self) -> &str {
        "mapped"
    }

    fn poll(&mut self, cx: &mut Cx) -> usize {
        // Users poll their channels later in the turn.
        self.gate.waiting.stirred.set(false);
        let mut orphans = self.gate.orphans.borrow_mut();
        if !orphans.is_empty() {
            orphans.retain(|core| {
                core.borrow_mut().poll(&mut self.taken);
                self.taken.clear();
                core.borrow_mut().abandon();
                core.borrow().out() > 0
            });
        } else if self.gate.ended.get() && self.gate.users.borrow().is_empty() {
            cx.remove_poller(self.gate.poller.get().expect("set when it was added"));
        }
        0
    }

    fn unplug(&mut self, _cx: &mut Cx) {
        if self.gate.report.borrow().is_some() && self.gate.out() == 0 {
            self.gate.each(Core::closed);
            if let Some(report) = self.gate.report.borrow_mut().take() {
                // Nobody listens any more when it took too long.
                let _ = report.send(());
            }
        }
    }

    fn layer(&self) -> Layer {
        Layer::Array
    }

    /// Parts of requests that came back, and made room for others, are no completion that anybody has
    /// seen; a base in memory wakes nobody.
    fn can_sleep(&self) -> bool {
        !self.gate.waiting.stirred.get()
    }
}
