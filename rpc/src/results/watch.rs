//! Results of the methods that look at the service: statistics, threads, events.
//!
//! Not here: bdevs and arrays (`super`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `bdev_get_iostat` of several bdevs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IostatReply {
    /// Ticks in a second.
    pub tick_rate: u64,
    /// Now.
    pub ticks: u64,
    /// The bdevs.
    pub bdevs: Vec<BdevIostat>,
}

/// The statistics of one bdev.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BdevIostat {
    /// Its name.
    pub name: String,
    /// The numbers.
    #[serde(flatten)]
    pub numbers: Iostat,
}

/// `bdev_get_iostat` of one bdev with `per_channel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelIostatReply {
    /// Ticks in a second.
    pub tick_rate: u64,
    /// Now.
    pub ticks: u64,
    /// The bdev.
    pub name: String,
    /// Its reactors.
    pub channels: Vec<ChannelIostat>,
}

/// The statistics of one bdev on one reactor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelIostat {
    /// As `thread_get_stats` has it.
    pub thread_id: u64,
    /// The numbers.
    #[serde(flatten)]
    pub numbers: Iostat,
}

/// What was done. Latencies are sums over the requests, in ticks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are the documentation, and they are SPDK's")]
pub struct Iostat {
    pub bytes_read: u64,
    pub num_read_ops: u64,
    pub bytes_written: u64,
    pub num_write_ops: u64,
    pub bytes_unmapped: u64,
    pub num_unmap_ops: u64,
    pub bytes_copied: u64,
    pub num_copy_ops: u64,
    pub read_latency_ticks: u64,
    pub max_read_latency_ticks: u64,
    pub min_read_latency_ticks: u64,
    pub write_latency_ticks: u64,
    pub max_write_latency_ticks: u64,
    pub min_write_latency_ticks: u64,
    pub unmap_latency_ticks: u64,
    pub max_unmap_latency_ticks: u64,
    pub min_unmap_latency_ticks: u64,
    pub copy_latency_ticks: u64,
    pub max_copy_latency_ticks: u64,
    pub min_copy_latency_ticks: u64,
    /// How many failed, by what they failed with; those that did not are left out.
    pub io_error: BTreeMap<String, u64>,
    /// Ours.
    pub num_flush_ops: u64,
    /// Ours.
    pub flush_latency_ticks: u64,
    /// Ours.
    pub bytes_zeroed: u64,
    /// Ours.
    pub num_write_zeroes_ops: u64,
    /// Ours.
    pub write_zeroes_latency_ticks: u64,
}

/// `bdev_get_histogram`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistogramReply {
    /// The counts, little-endian numbers of 64 bits, in base64.
    pub histogram: String,
    /// Each range has two to the power of this many buckets.
    pub granularity: u8,
    /// The first range.
    pub min_range: u32,
    /// The end of the ranges.
    pub max_range: u32,
    /// Ticks in a second.
    pub tsc_rate: u64,
}

/// `bdev_get_histogram_borders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BordersReply {
    /// Requests up to each border, and behind them all.
    pub borders_count: Vec<u64>,
}

/// One subsystem of `framework_get_subsystems`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubsystemEntry {
    /// Its name.
    pub subsystem: String,
    /// Those that start before it.
    pub depends_on: Vec<String>,
}

/// `framework_get_reactors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactorsReply {
    /// Ticks in a second.
    pub tick_rate: u64,
    /// Of the service.
    pub pid: u32,
    /// The reactors.
    pub reactors: Vec<ReactorEntry>,
}

/// One reactor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReactorEntry {
    /// Its core.
    pub lcore: u32,
    /// The NUMA node of its core; 0 where that is not known.
    pub numa_id: i32,
    /// Its thread's number in the system.
    pub tid: u64,
    /// Ticks with work.
    pub busy: u64,
    /// Ticks without.
    pub idle: u64,
    /// False: it polls.
    pub in_interrupt: bool,
    /// What its core has spent with interrupts, in jiffies.
    pub irq: u64,
    /// What its core has spent in the kernel, in jiffies.
    pub sys: u64,
    /// What its core has spent in programs, in jiffies.
    pub usr: u64,
    /// Its one thread.
    pub lw_threads: Vec<LwThread>,
    /// Ours: ticks asleep, which `idle` contains.
    #[serde(default)]
    pub asleep: u64,
}

/// A thread on a reactor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LwThread {
    /// Its name.
    pub name: String,
    /// Its number, from 1.
    pub id: u64,
    /// Its core as a mask in hexadecimal digits.
    pub cpumask: String,
    /// Ticks since it began.
    pub elapsed: u64,
}

/// `framework_get_scheduler`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerEntry {
    /// "static".
    pub scheduler_name: String,
    /// 0: nothing is moved.
    pub scheduler_period: u64,
    /// "0", as SPDK writes the empty mask.
    pub isolated_core_mask: String,
    /// The first reactor's.
    pub scheduling_core: u32,
}

/// `framework_monitor_context_switch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextSwitchReply {
    /// Whether context switches are told in the log.
    pub enabled: bool,
}

/// One module of `iobuf_get_stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IobufEntry {
    /// Who takes buffers.
    pub module: String,
    /// Buffers of at most 8 KiB.
    pub small_pool: IobufCounts,
    /// Larger ones.
    pub large_pool: IobufCounts,
    /// Ours: the memory of all of them.
    #[serde(default)]
    pub pool_bytes: u64,
    /// Ours: what of it is not in use.
    #[serde(default)]
    pub free_bytes: u64,
}

/// How often a buffer was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IobufCounts {
    /// One that came back a moment ago.
    pub cache: u64,
    /// Another one.
    pub main: u64,
    /// In vain: there was none, and the request had to wait.
    pub retry: u64,
}

/// `thread_get_stats`, `thread_get_pollers` and `thread_get_io_channels`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadsReply<T> {
    /// Ticks in a second.
    pub tick_rate: u64,
    /// The threads.
    pub threads: Vec<T>,
}

/// How busy a thread is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadStats {
    /// Its name.
    pub name: String,
    /// Its number, from 1.
    pub id: u64,
    /// Its core as a mask in hexadecimal digits.
    pub cpumask: String,
    /// Ticks with work.
    pub busy: u64,
    /// Ticks without.
    pub idle: u64,
    /// Its pollers.
    pub active_pollers_count: u64,
    /// 0: there are none here.
    pub timed_pollers_count: u64,
    /// 0: there are none here.
    pub paused_pollers_count: u64,
}

/// What a thread polls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadPollers {
    /// Its name.
    pub name: String,
    /// Its number, from 1.
    pub id: u64,
    /// Its pollers.
    pub active_pollers: Vec<PollerEntry>,
    /// None here.
    pub timed_pollers: Vec<PollerEntry>,
    /// None here.
    pub paused_pollers: Vec<PollerEntry>,
}

/// One poller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollerEntry {
    /// Its name.
    pub name: String,
    /// Its number on its thread.
    pub id: u64,
    /// "waiting", as SPDK says of those that are not running at this moment.
    pub state: String,
    /// How often it was polled.
    pub run_count: u64,
    /// How often that was progress.
    pub busy_count: u64,
}

/// Which bdevs a thread has open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadChannels {
    /// Its name.
    pub name: String,
    /// The bdevs.
    pub io_channels: Vec<IoChannelEntry>,
}

/// One bdev that is open on a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoChannelEntry {
    /// The bdev's name.
    pub name: String,
    /// How many channels.
    #[serde(rename = "ref")]
    pub references: u32,
}

/// One event of `notify_get_notifications`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationEntry {
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the bdev that it is about.
    pub ctx: String,
    /// Its number.
    pub id: u64,
    /// Ours: more, for a human.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
