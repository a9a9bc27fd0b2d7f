//! Looking on: statistics of bdevs and reactors, limits, and who is told of changes.
//!
//! Everything here asks; only limits, resets and histograms change something, and none of them what a
//! bdev is.
//!
//! Not here: the counting (crate `device`, crate `reactor`), what it is called outside (`methods`).

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use device::{Counted, Limits};
use reactor::{PollerStats, ReactorStats};

use super::error::ControlError;
use super::notices::Notice;
use super::registry::Entry;
use super::{Control, lock};

/// A reactor as others may see it.
#[derive(Debug, Clone)]
pub struct ReactorView {
    /// Its place among them.
    pub index: usize,
    /// The core that it runs on.
    pub core: usize,
    /// What it has done.
    pub stats: ReactorStats,
}

/// What a reactor's thread runs.
#[derive(Debug, Clone, Default)]
pub struct ThreadView {
    /// Its number in the system; 0 where it is not known.
    pub tid: u64,
    /// Its pollers.
    pub pollers: Vec<PollerStats>,
}

/// Who keeps the state of the service: it is told that something has changed, and whether this is the time
/// to try again what has failed. It answers when the state is durable.
pub type Keeper = dyn Fn(bool) -> io::Result<()> + Send + Sync;

#[derive(Default)]
pub(super) struct ChangeHook(Mutex<Option<Arc<Keeper>>>);

impl fmt::Debug for ChangeHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChangeHook").field(&lock(&self.0).is_some()).finish()
    }
}

impl Control {
    /// The statistics of a bdev, by its name or alias.
    ///
    /// # Errors
    ///
    /// When there is no such bdev.
    pub fn counted(&self, name: &str) -> Result<Arc<Counted>, ControlError> {
        self.state().registry.get(name).map(|entry| Arc::clone(&entry.counted))
    }

    /// Those of all bdevs, in the order of their creation.
    pub fn all_counted(&self) -> Vec<Arc<Counted>> {
        let counted = |entry: &Entry| Arc::clone(&entry.counted);
        self.state().registry.entries().iter().map(counted).collect()
    }

    /// That somebody uses that bdev, or has done so; completes "the bdev ...".
    pub(crate) fn was_used(&self, name: &str) -> Option<String> {
        let state = self.state();
        let entry = state.registry.find(name)?;
        let was_claimed = || entry.was_claimed().then(|| "was used since the start".to_owned());
        entry.claim.as_ref().map(|claim| format!("is {claim}")).or_else(was_claimed)
    }

    /// Changes the limits of a bdev.
    ///
    /// # Errors
    ///
    /// When there is no such bdev.
    pub fn set_limits(
        &self,
        name: &str,
        change: impl FnOnce(&mut Limits),
    ) -> Result<(), ControlError> {
        let counted = self.counted(name)?;
        // Under the lock, so that two changes do not undo each other.
        let _state = self.state();
        let mut limits = counted.limits();
        change(&mut limits);
        counted.set_limits(limits);
        tracing::info!(bdev = name, ?limits, "limits set");
        Ok(())
    }

    /// At most `max` events from number `id` on.
    pub fn notices_since(&self, id: u64, max: usize) -> Vec<Notice> {
        self.notices.since(id, max)
    }

    /// The last `max` events, the newest first.
    pub fn last_notices(&self, max: usize) -> Vec<Notice> {
        self.notices.last(max)
    }

    /// What the reactors have done.
    pub fn reactor_views(&self) -> Vec<ReactorView> {
        let view = |reactor: &reactor::ReactorHandle| ReactorView {
            index: reactor.index(),
            core: reactor.core(),
            stats: reactor.stats(),
        };
        self.reactors().iter().map(view).collect()
    }

    /// What the reactors' threads run, in the order of the reactors.
    pub fn thread_views(&self) -> Vec<ThreadView> {
        let ask = |reactor: &reactor::ReactorHandle| {
            let asked = reactor.call(|cx| ThreadView { tid: own_tid(), pollers: cx.pollers() });
            asked.unwrap_or_default()
        };
        self.reactors().iter().map(ask).collect()
    }

    /// Has `keeper` be called when something has changed by itself, and before requests go to the new
    /// table of a mapped device.
    pub fn on_change(&self, keeper: Arc<Keeper>) {
        *lock(&self.hook.0) = Some(keeper);
    }

    /// Something has changed: what failed before is tried again, and the state is written.
    pub(super) fn tell_changed(&self) {
        self.log_unwritten(self.tell_keeper(true));
    }

    /// A member has failed, and writes may wait until the state says so: nothing else comes first.
    pub(super) fn tell_failed(&self) {
        self.log_unwritten(self.tell_keeper(false));
    }

    fn log_unwritten(&self, told: io::Result<()>) {
        if let Err(error) = told
            && !self.is_stopped()
        {
            tracing::error!(%error, "the state cannot be written: it is tried again");
        }
    }

    /// # Errors
    /// Why the state cannot be written; without a keeper there is none.
    pub(super) fn tell_keeper(&self, retries: bool) -> io::Result<()> {
        let keeper = lock(&self.hook.0).clone();
        keeper.map_or(Ok(()), |keeper| keeper(retries))
    }
}

/// The number that the system has for this thread: the last part of `<pid>/task/<tid>`.
fn own_tid() -> u64 {
    let link = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    let last = link.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
    last.unwrap_or(0)
}
