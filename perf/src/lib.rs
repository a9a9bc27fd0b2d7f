//! A load generator on the project's own reactors, in the manner of bdevperf and fio, and what
//! measures with it.
//!
//! A [`Job`] says which requests go to which bdev; [`run()`] (or [`Run`], which can be watched and
//! stopped) puts a worker on each chosen reactor that keeps `io_depth` requests in flight there, and
//! gives a [`Report`].
//!
//! ```text
//!   control thread         reactor 0                     reactor 1
//!   --------------         ---------                     ---------
//!   Run::start --call--->  Worker<Source> --+            Worker<Source> --+
//!   go ----------flag--->    prepare        | IoChannel    prepare        | IoChannel
//!   progress <---gauge---    settle       <-+              settle       <-+
//!   finish <-----outcome-
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`units`] | sizes, spans and rates as people write them |
//! | [`limits`] | every bound |
//! | [`ratio`] | several jobs in alternating short windows of one run |
//! | [`rows`] | what a rebuild does, without an array; copies |
//! | [`bench`](mod@bench) | what the examples that measure share |
//! | `job`, `run`, `report`, `table` | what is asked, done, told, shown |
//! | `worker`, `source`, `plain`, `buffers` | requests in flight on one reactor |
//! | `verify`, `stamp` | writing what can be recognised, and recognising it |
//! | `tally`, `window` | counts, latencies, and whether the thread had its core |
//! | `random` | numbers and permutations from a seed |
//! | [`kernels`], [`isal`] | stripes for the parity kernel benches, and the peer they are compared with |
//!
//! Owns: in the steady state a request costs the generator no allocation, no lock and no system
//! call (R6: depth and buffers are fixed before the load starts).
//!
//! Not here: names and configuration of bdevs: the service's `perf` command wires a job to one.

#![deny(unsafe_code)]

pub mod bench;
mod buffers;
pub mod isal;
mod job;
pub mod kernels;
pub mod limits;
mod plain;
mod random;
pub mod ratio;
mod report;
pub mod rows;
mod run;
mod source;
mod stamp;
mod table;
mod tally;
pub mod units;
mod verify;
mod window;
mod worker;

pub use buffers::{BufferHome, take_buffer};
pub use job::{Job, JobError, LatencyClock, Limit, OnError, Pattern, READ_PERCENT_DEFAULT};
pub use report::{
    CleanReport, DirectionReport, FirstError, JobReport, LatencyReport, ReactorReport,
    ReadBackState, Report, VerifyReport,
};
pub use run::{Progress, Run, RunError, Stage, run};
pub use stamp::Stamp;
pub use tally::Counts;
pub use verify::Mismatch;
pub use window::{CLEAN_CPU_SHARE, CLEAN_SHARE_MIN};
