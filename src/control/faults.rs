//! Error and delay bdevs: making them over another bdev, and telling them what to do.
//!
//! Not here: what faults do (crate `device`), deleting (`super`).

use std::sync::Arc;

use device::{Bdev, DelayBdev, DelaySpec, ErrorBdev, ErrorSpec, Injection, Latency};
use uuid::Uuid;

use super::error::ControlError;
use super::flush::flush;
use super::registry::{Backing, Entry};
use super::{Control, Kind};
use crate::limits;

/// What a delay bdev is to be.
#[derive(Debug, Clone)]
pub struct DelayRequest {
    /// Name of the new bdev.
    pub name: String,
    /// Drawn at random when absent.
    pub uuid: Option<Uuid>,
    /// Name of the bdev below.
    pub base: String,
    /// In microseconds, in the order of [`Latency::ALL`].
    pub latencies_us: [u64; 4],
}

impl Control {
    /// Makes an error bdev over `base`, which is claimed, and returns its name: that of the base with
    /// `EE_` before it.
    ///
    /// # Errors
    ///
    /// A base that is not there or in use; a name or UUID that is taken.
    pub fn create_error(
        &self,
        base: &str,
        uuid: Option<Uuid>,
        volatile_cache: bool,
    ) -> Result<String, ControlError> {
        // An alias is a name too, and SPDK's rule is about the name.
        let name_of = |base: &Arc<dyn Bdev>| format!("EE_{}", base.info().name);
        self.create_over(base, name_of, uuid, |name, base| {
            let error = ErrorBdev::create(ErrorSpec { name, uuid, base, volatile_cache });
            Ok((Arc::clone(&error) as Arc<dyn Bdev>, Backing::Error(error)))
        })
    }

    /// Makes a delay bdev, whose base is claimed, and returns its name.
    ///
    /// # Errors
    ///
    /// As [`create_error`](Self::create_error), and latencies that make no sense.
    pub fn create_delay(&self, request: DelayRequest) -> Result<String, ControlError> {
        let DelayRequest { name, uuid, base, latencies_us } = request;
        let name_of = |_: &Arc<dyn Bdev>| name;
        self.create_over(&base, name_of, uuid, |name, base| {
            let delay = DelayBdev::create(DelaySpec { name, uuid, base, latencies_us })?;
            Ok((Arc::clone(&delay) as Arc<dyn Bdev>, Backing::Delay(delay)))
        })
    }

    fn create_over(
        &self,
        base: &str,
        name_of: impl FnOnce(&Arc<dyn Bdev>) -> String,
        uuid: Option<Uuid>,
        make: impl FnOnce(String, Arc<dyn Bdev>) -> Result<(Arc<dyn Bdev>, Backing), ControlError>,
    ) -> Result<String, ControlError> {
        let mut state = self.state();
        state.admit_change(base)?;
        state.registry.check_rest(base)?;
        let base = state.registry.base(base)?;
        let name = name_of(&base);
        state.registry.admit(&name, uuid)?;
        let (bdev, backing) = make(name.clone(), Arc::clone(&base))?;
        self.add_over(&mut state, bdev, backing, Some(&base));
        tracing::info!(bdev = name, base = base.info().name, "created");
        self.examine_new(state);
        Ok(name)
    }

    /// Has requests to an error bdev go wrong.
    ///
    /// # Errors
    ///
    /// When there is no such error bdev, or the injection makes no sense.
    pub fn inject_error(&self, name: &str, injection: &Injection) -> Result<(), ControlError> {
        let error = self.error_bdev(name)?;
        error.inject(injection)?;
        tracing::info!(bdev = name, ?injection, "injected");
        Ok(())
    }

    /// The error bdev of that name or alias.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn error_bdev(&self, name: &str) -> Result<Arc<ErrorBdev>, ControlError> {
        self.of_kind(name, Kind::Error, Entry::error)
    }

    /// Changes one latency of a delay bdev.
    ///
    /// # Errors
    ///
    /// When there is no such delay bdev, or the latency makes no sense.
    pub fn update_latency(
        &self,
        name: &str,
        latency: Latency,
        micros: u64,
    ) -> Result<(), ControlError> {
        let delay = self.of_kind(name, Kind::Delay, Entry::delay)?;
        delay.set_latency(latency, micros)?;
        tracing::info!(bdev = name, latency = latency.word(), micros, "latency changed");
        Ok(())
    }

    fn of_kind<T>(
        &self,
        name: &str,
        wanted: Kind,
        as_kind: impl FnOnce(&Entry) -> Option<&Arc<T>>,
    ) -> Result<Arc<T>, ControlError> {
        let state = self.state();
        let entry = state.registry.get(name)?;
        as_kind(entry).cloned().ok_or_else(|| {
            let (name, kind) = (name.to_owned(), entry.kind());
            ControlError::WrongKind { name, kind, wanted }
        })
    }

    /// Empties the cache of an error bdev that is about to go, with nothing wrong any more. Those
    /// that have none are left alone.
    pub(super) fn empty_cache(
        &self,
        error: &Arc<ErrorBdev>,
    ) -> Result<(), device::blocking::BlockingError> {
        error.settle();
        let Some(reactor) = self.reactors().first().filter(|_| error.has_cache()) else {
            return Ok(());
        };
        let bdev = Arc::clone(error) as Arc<dyn Bdev>;
        flush(reactor, &bdev, limits::FLUSH_TIME_LIMIT)
    }
}
