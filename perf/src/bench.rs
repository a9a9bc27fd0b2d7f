//! What the examples that measure share: bdevs in memory, loads that must not fail, the machine and
//! who else wants it.
//!
//! Not here: what is compared (`examples/`, `service/`), several jobs in turn and what is made of their
//! figures (`ratio`).

use crate::job::{Job, Pattern};
use crate::report::Report;
use crate::run::{RunError, run};
use device::{Bdev, CreateError, MallocBdev, MallocSpec};
use reactor::{ReactorHandle, Ticks, clock};
use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a request that fills a bdev.
const FILL_BLOCK_BYTES: u64 = 256 << 10;

/// A bdev in memory, in blocks of 4 KiB.
///
/// # Errors
/// As [`MallocBdev::create`].
pub fn malloc(name: &str, size_bytes: u64) -> Result<Arc<dyn Bdev>, CreateError> {
    let block_size_bytes = 4096;
    MallocBdev::create(MallocSpec {
        name: name.to_owned(),
        uuid: None,
        block_size_bytes,
        num_blocks: size_bytes / u64::from(block_size_bytes),
    })
}

/// Runs a load of which no request may fail.
///
/// # Errors
/// As [`run`], and [`RunError::Failed`] with the load's table if one did.
pub fn run_well(job: Job, reactors: &[ReactorHandle]) -> Result<Report, RunError> {
    let case = format!("{:?} on {}", job.pattern, job.bdev.info().name);
    let report = run(job, reactors)?;
    match report.is_good() {
        true => Ok(report),
        false => Err(RunError::Failed { case, report: report.table().to_string() }),
    }
}

/// Writes all of a bdev once: the first touch of memory is the kernel's cost.
///
/// # Errors
/// As [`run_well`].
pub fn fill(bdev: &Arc<dyn Bdev>, reactors: &[ReactorHandle]) -> Result<(), RunError> {
    let job = Job {
        block_bytes: FILL_BLOCK_BYTES,
        io_depth: 4,
        ..Job::new(Arc::clone(bdev), Pattern::Write)
    };
    run_well(job, reactors).map(drop)
}

/// What was measured on, for whoever reads the figures: processor, cores, kernel, parity kernel.
#[must_use]
pub fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {cores} cores, Linux {}, parity kernel {}",
        model.map_or("unknown processor", |(_, model)| model),
        read("/proc/sys/kernel/osrelease").trim(),
        std::env::var("RAID456_PARITY").unwrap_or_else(|_| "chosen by the CPU".to_owned())
    )
}

/// What wanted the machine's cores before a measurement: the load averages of 1, 5 and 15 minutes.
#[must_use]
pub fn load_averages() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<_> = text.split_whitespace().take(3).collect();
    averages.join(", ")
}

/// What others have of the machine's cores from some moment on: the time in which a core was not idle, or a
/// hypervisor had it, less what this process has had.
#[derive(Clone, Copy, Debug)]
pub struct Others {
    since: Ticks,
    busy: Duration,
    own: Duration,
}

impl Others {
    /// From now on.
    #[must_use]
    pub fn since_now() -> Self {
        Self { since: clock::now(), busy: busy_time(), own: process_time() }
    }

    /// Cores that others have had until now, on average. The kernel counts in its ticks, so spans of less
    /// than some tenths of a second say little.
    #[must_use]
    pub fn cores(&self) -> f64 {
        let others = (busy_time() - self.busy).saturating_sub(process_time() - self.own);
        others.as_secs_f64() / (clock::now() - self.since).as_secs_f64().max(1e-9)
    }
}

/// Time of all cores that was neither idle nor waited for I/O, since the machine was started: proc(5), `stat`.
fn busy_time() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = text.lines().next().unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
    let columns = all.split_whitespace().skip(1).take(8).map(|ticks| ticks.parse().unwrap_or(0));
    let busy = columns.enumerate().filter(|(column, _)| !matches!(column, 3 | 4));
    let ticks: u64 = busy.map(|(_, ticks): (usize, u64)| ticks).sum();
    Duration::from_millis(ticks * 1000 / clock_ticks_per_second())
}

/// Time that this process has been on a core.
fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // Neither is negative for a clock that counts from 0.
    Duration::from_secs(time.tv_sec as u64) + Duration::from_nanos(time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what this process does is not put down to others, and nothing is less than nothing. Method: a
    /// span in which this thread is always at work; whatever else runs beside it has the other cores at most.
    #[test]
    fn own_work_is_not_that_of_others() {
        let own = process_time();
        let others = Others::since_now();
        while process_time() - own < Duration::from_millis(200) {
            std::hint::spin_loop();
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let seen = others.cores();
        assert!((0.0..=cores + 0.2).contains(&seen), "{seen} of {cores}");
        assert!(busy_time() > Duration::ZERO && !load_averages().is_empty());
    }
}
