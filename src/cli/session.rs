//! A service inside a tool's process: what `perf` and `dd` share.
//!
//! ```text
//!   signals caught --> config read --> reactors --> config applied --> the tool's work --> shutdown
//! ```
//!
//! The first SIGINT or SIGTERM asks the tool to come to an end in order, so that arrays are left
//! clean; the second one ends the process at once.
//!
//! Not here: what the tools do.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use device::Bdev;
use reactor::ReactorHandle;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::ReactorArgs;
use crate::control::{Config, Control, Options};
use crate::limits::{NAMES_TOLD_MAX, TOOL_BUFFER_BYTES_MAX};

/// Exit code of a process that a second signal ends: 128 and the number of SIGINT, as shells have it.
const KILLED: i32 = 130;

/// Reactors and bdevs of a configuration, for one tool.
#[derive(Debug)]
pub(super) struct Session {
    control: Arc<Control>,
    stop: Arc<AtomicBool>,
}

impl Session {
    /// Starts everything. Each reactor's pool has `extra_bytes` more than a service's.
    pub(super) fn start(
        config: &Path,
        reactors: &ReactorArgs,
        extra_bytes: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, KILLED, Arc::clone(&stop))?;
            flag::register(signal, Arc::clone(&stop))?;
        }
        // Tools use bdevs, and export none.
        let config = Config::load(config)?.without("nvmf_");
        let mut options = Options::from(reactors);
        options.buffer_bytes = options.buffer_bytes.saturating_add(extra_bytes);
        let control = Control::start(options)?;
        // On an error the control is dropped, which takes back what was made so far.
        control.apply(&config)?;
        Ok(Self { control, stop })
    }

    /// The reactors, in ascending order of their cores.
    pub(super) fn reactors(&self) -> &[ReactorHandle] {
        self.control.reactors()
    }

    /// Set once somebody has asked the process to end.
    pub(super) fn is_interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A bdev to be read.
    pub(super) fn readable(&self, name: &str) -> Result<Arc<dyn Bdev>, Box<dyn Error>> {
        self.control.bdev(name).map_err(|_| self.no_such_bdev(name).into())
    }

    /// A bdev to be written. The members of an array belong to it: writing to one behind its back
    /// would make its parity wrong.
    pub(super) fn writable(&self, name: &str) -> Result<Arc<dyn Bdev>, Box<dyn Error>> {
        let bdev = self.readable(name)?;
        let name = &bdev.info().name;
        let views = self.control.bdevs();
        let claim = views.into_iter().find(|view| view.bdev.info().name == *name);
        if let Some(claim) = claim.and_then(|view| view.claim) {
            return Err(format!(
                "bdev {name:?} is {claim}: write to {:?}, or take it out of the configuration",
                claim.holder()
            )
            .into());
        }
        Ok(bdev)
    }

    fn no_such_bdev(&self, name: &str) -> String {
        let views = self.control.bdevs();
        let mut names: Vec<_> = views.iter().map(|view| view.bdev.name()).collect();
        if names.len() > NAMES_TOLD_MAX {
            names.truncate(NAMES_TOLD_MAX);
            names.push("...".to_owned());
        }
        match names.join(", ") {
            none if none.is_empty() => format!("no bdev {name:?}: the configuration has none"),
            names => format!("no bdev {name:?}: the configuration has {names}"),
        }
    }

    /// Names of arrays that are still making their parity, which takes time from everything else.
    pub(super) fn resyncing(&self) -> Vec<String> {
        let views = self.control.bdevs().into_iter();
        let raids = views.filter_map(|view| Some((view.bdev.info().name.clone(), view.raid?)));
        let busy = |raid: &array::RaidBdev| raid.snapshot().progress.is_some();
        raids.filter(|(_, raid)| busy(raid)).map(|(name, _)| name).collect()
    }

    /// Stops everything. The tool's own failure comes first, then what could not be made durable.
    pub(super) fn end(self, outcome: Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
        let stopped = self.control.shutdown();
        outcome?;
        Ok(stopped?)
    }
}

/// Bytes of a reactor's pool that hold that many buffers and leave it room for everybody else.
pub(super) fn pool_bytes(buffers: usize, buffer_bytes: u64) -> usize {
    let each = usize::try_from(buffer_bytes).unwrap_or(usize::MAX).checked_next_power_of_two();
    each.unwrap_or(usize::MAX).saturating_mul(buffers).saturating_mul(2).min(TOOL_BUFFER_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_have_room_and_an_end() {
        assert_eq!(pool_bytes(32, 4096), 32 * 4096 * 2);
        assert_eq!(pool_bytes(8, 5000), 8 * 8192 * 2);
        assert_eq!(pool_bytes(usize::MAX, u64::MAX), TOOL_BUFFER_BYTES_MAX);
    }
}
