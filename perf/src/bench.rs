//! What the examples that measure share: bdevs in memory, loads that must not fail, medians.
//!
//! Not here: what is compared (`examples/`), several jobs in turn (`ratio`).

use crate::job::{Job, Pattern};
use crate::report::Report;
use crate::run::{RunError, run};
use device::{Bdev, CreateError, MallocBdev, MallocSpec};
use reactor::ReactorHandle;
use std::sync::Arc;

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

/// The middle of some figures; of the two in the middle, what lies between. 0 of none.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => 0.0,
        len if len % 2 == 0 => f64::midpoint(figures[middle - 1], figures[middle]),
        _ => figures[middle],
    }
}
