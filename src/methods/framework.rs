//! Methods about the service itself: what it is, how it starts and ends, what its threads do.
//!
//! Not here: bdevs; what a start consists of (`boot`).

use rpc::RpcError;
use rpc::error::errno;
use rpc::params::{
    FrameworkGetConfig, FrameworkGetReactors, FrameworkGetScheduler, FrameworkGetSubsystems,
    FrameworkStartInit, FrameworkWaitInit, IobufSetOptions, NotifyGetNotifications, NotifyGetTypes,
    RpcGetMethods, SignalName, SpdkGetVersion, SpdkKillInstance, ThreadGetIoChannels,
    ThreadGetPollers, ThreadGetStats,
};
use rpc::results::{
    IoChannelEntry, LwThread, NotificationEntry, PollerEntry, ReactorEntry, ReactorsReply,
    SchedulerEntry, SubsystemEntry, ThreadChannels, ThreadPollers, ThreadStats, ThreadsReply,
    VersionEntry, VersionFields,
};
use serde_json::Value;
use signal_hook::consts::{SIGKILL, SIGTERM};

use device::{Bdev, Reset};

use super::state::subsystem_of;
use super::threads::SCHEDULER;
use super::{Call, Context, Effect, HANDLERS, errno_error, json, save, save_nvmf};
use crate::control::{Control, NoticeKind, ReactorView, config};
use crate::limits::WAIT_SLICE;

/// Ticks in a second: they are nanoseconds.
pub(super) const TICK_RATE: u64 = 1_000_000_000;

/// SPDK's least sizes of pools and buffers.
const SMALL_POOL_MIN: u64 = 64;
const LARGE_POOL_MIN: u64 = 8;
const SMALL_BUFFER_MIN: u32 = 4096;
const LARGE_BUFFER_MIN: u32 = 8192;

impl Call for RpcGetMethods {
    const EFFECT: Effect = Effect::Looks;
    /// The answer is honest: what is listed can be called, and what is not is -32601.
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let started = context.control.is_started();
        let listed = HANDLERS
            .iter()
            .map(|handler| &handler.method)
            .filter(|method| context.boot.allows(method))
            .filter(|method| !self.current || method.phase.allows(started));
        let aliases_max = if self.include_aliases { usize::MAX } else { 0 };
        let names = listed.flat_map(|method| {
            let aliases = method.aliases.iter().copied().take(aliases_max);
            std::iter::once(method.name).chain(aliases)
        });
        json(names.collect::<Vec<_>>())
    }
}

impl Call for SpdkGetVersion {
    const EFFECT: Effect = Effect::Looks;
    /// Ours, in SPDK's shape: clients read `version` for humans and compare `fields`.
    fn call(self, _context: Context<'_>) -> Result<Value, RpcError> {
        let number = |text: &str| text.parse().unwrap_or(0);
        json(VersionEntry {
            version: concat!("raid456 v", env!("CARGO_PKG_VERSION")).to_owned(),
            fields: VersionFields {
                major: number(env!("CARGO_PKG_VERSION_MAJOR")),
                minor: number(env!("CARGO_PKG_VERSION_MINOR")),
                patch: number(env!("CARGO_PKG_VERSION_PATCH")),
                suffix: env!("CARGO_PKG_VERSION_PRE").to_owned(),
                commit: None,
            },
        })
    }
}

impl Call for SpdkKillInstance {
    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        let signal = match self.sig_name {
            SignalName::Sigkill => SIGKILL,
            SignalName::Sigint
            | SignalName::Sigterm
            | SignalName::Sigquit
            | SignalName::Sighup
            | SignalName::Sigusr1 => SIGTERM,
        };
        tracing::warn!(signal = ?self.sig_name, "asked to end");
        let raised = signal_hook::low_level::raise(signal);
        raised.map_err(|error| RpcError::internal(error.to_string()))?;
        Ok(Value::from(true))
    }
}

impl Call for FrameworkStartInit {
    const MAY_WAIT: bool = true;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let started = context.boot.start(context.control);
        started.map_err(|error| RpcError::internal(error.to_string()))?;
        Ok(Value::from(true))
    }
}

impl Call for FrameworkWaitInit {
    const MAY_WAIT: bool = true;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        while !context.control.is_started() {
            if context.caller.has_left() {
                return Err(errno_error(errno::ECANCELED, "the service has not started"));
            }
            std::thread::park_timeout(WAIT_SLICE);
        }
        Ok(Value::from(true))
    }
}

impl Call for FrameworkGetSubsystems {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        let entry = |(place, name): (usize, &&str)| SubsystemEntry {
            subsystem: (*name).to_owned(),
            depends_on: config::SUBSYSTEMS[..place].iter().map(|name| (*name).to_owned()).collect(),
        };
        json(config::SUBSYSTEMS.iter().enumerate().map(entry).collect::<Vec<_>>())
    }
}

impl Call for FrameworkGetConfig {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let mut calls = match self.name.as_str() {
            save::SUBSYSTEM => save::calls(context.control, |_| true),
            "keyring" => save_nvmf::keyring_calls(context.control),
            "nvmf" => save_nvmf::nvmf_calls(context.control),
            name if config::SUBSYSTEMS.contains(&name) => Vec::new(),
            // SPDK's words.
            name => {
                return Err(RpcError::invalid_params(format_args!(
                    "Subsystem '{name}' not found: framework_get_subsystems lists them"
                )));
            }
        };
        // Whoever saves this while a disk is away must not lose it.
        let kept = context.control.kept().all().into_iter().map(|kept| kept.call);
        calls.extend(kept.filter(|call| subsystem_of(call) == self.name));
        json(calls)
    }
}

/// The number of the thread of a reactor; SPDK counts from 1.
pub(super) fn thread_id(index: usize) -> u64 {
    index as u64 + 1
}

/// A name with "poll" in it: clients take such threads for those that do the work.
pub(super) fn thread_name(index: usize) -> String {
    format!("poll_group_{index:03}")
}

/// A core as a mask in hexadecimal digits.
pub(super) fn cpumask(core: usize) -> String {
    format!("{:x}{}", 1 << (core % 4), "0".repeat(core / 4))
}

impl Call for FrameworkGetReactors {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let threads = context.control.thread_views();
        let entry = |(reactor, thread): (ReactorView, crate::control::ThreadView)| {
            let ReactorView { index, core, stats } = reactor;
            let (usr, sys, irq) = jiffies(&stat, core);
            ReactorEntry {
                lcore: u32::try_from(core).unwrap_or(u32::MAX),
                numa_id: 0,
                tid: thread.tid,
                busy: stats.busy_ticks,
                idle: stats.idle_ticks + stats.sleep_ticks,
                in_interrupt: false,
                irq,
                sys,
                usr,
                lw_threads: vec![LwThread {
                    name: thread_name(index),
                    id: thread_id(index),
                    cpumask: cpumask(core),
                    elapsed: stats.busy_ticks + stats.idle_ticks + stats.sleep_ticks,
                }],
                asleep: stats.sleep_ticks,
            }
        };
        let reactors = context.control.reactor_views().into_iter().zip(threads).map(entry);
        json(ReactorsReply {
            tick_rate: TICK_RATE,
            pid: std::process::id(),
            reactors: reactors.collect(),
        })
    }
}

/// What a core has spent in programs, in the kernel and with interrupts, as `/proc/stat` has it.
fn jiffies(stat: &str, core: usize) -> (u64, u64, u64) {
    let name = format!("cpu{core}");
    let words = stat.lines().map(str::split_whitespace);
    let line = words.filter_map(|mut words| (words.next()? == name).then_some(words)).next();
    let numbers: Vec<u64> =
        line.into_iter().flatten().map(|word| word.parse().unwrap_or(0)).collect();
    // user nice system idle iowait irq
    let number = |at: usize| numbers.get(at).copied().unwrap_or(0);
    (number(0) + number(1), number(2), number(5))
}

impl Call for FrameworkGetScheduler {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let first = context.control.reactors().first().map_or(0, |reactor| reactor.core());
        json(SchedulerEntry {
            scheduler_name: SCHEDULER.to_owned(),
            scheduler_period: 0,
            isolated_core_mask: "0".to_owned(),
            scheduling_core: u32::try_from(first).unwrap_or(u32::MAX),
        })
    }
}

impl Call for ThreadGetStats {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let threads = context.control.thread_views();
        let entry = |(reactor, thread): (ReactorView, crate::control::ThreadView)| ThreadStats {
            name: thread_name(reactor.index),
            id: thread_id(reactor.index),
            cpumask: cpumask(reactor.core),
            busy: reactor.stats.busy_ticks,
            idle: reactor.stats.idle_ticks + reactor.stats.sleep_ticks,
            active_pollers_count: thread.pollers.len() as u64,
            timed_pollers_count: 0,
            paused_pollers_count: 0,
        };
        let threads = context.control.reactor_views().into_iter().zip(threads).map(entry);
        json(ThreadsReply { tick_rate: TICK_RATE, threads: threads.collect() })
    }
}

impl Call for ThreadGetPollers {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let views = context.control.thread_views().into_iter().enumerate();
        let threads = views.map(|(index, thread)| ThreadPollers {
            name: thread_name(index),
            id: thread_id(index),
            active_pollers: thread
                .pollers
                .into_iter()
                .map(|poller| PollerEntry {
                    name: poller.name,
                    id: poller.id.number(),
                    state: "waiting".to_owned(),
                    run_count: poller.polls,
                    busy_count: poller.busy_polls,
                })
                .collect(),
            timed_pollers: Vec::new(),
            paused_pollers: Vec::new(),
        });
        json(ThreadsReply { tick_rate: TICK_RATE, threads: threads.collect() })
    }
}

impl Call for ThreadGetIoChannels {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let control: &Control = context.control;
        let mut threads: Vec<_> = (0..control.reactors().len())
            .map(|index| ThreadChannels { name: thread_name(index), io_channels: Vec::new() })
            .collect();
        for bdev in control.all_counted() {
            let name = &bdev.info().name;
            for (index, references, _) in bdev.stats(Reset::None) {
                if let Some(thread) = threads.get_mut(index).filter(|_| references > 0) {
                    let name = name.clone();
                    thread.io_channels.push(IoChannelEntry { name, references });
                }
            }
        }
        json(ThreadsReply { tick_rate: TICK_RATE, threads })
    }
}

impl Call for NotifyGetTypes {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        json(NoticeKind::ALL.map(NoticeKind::word))
    }
}

impl Call for NotifyGetNotifications {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let max = self.max.and_then(|max| usize::try_from(max).ok()).unwrap_or(usize::MAX);
        let entries = context.control.notices_since(self.id, max).into_iter();
        let entries = entries.map(|notice| NotificationEntry {
            kind: notice.kind.word().to_owned(),
            ctx: notice.bdev,
            id: notice.id,
            detail: notice.detail,
        });
        json(entries.collect::<Vec<_>>())
    }
}

impl Call for IobufSetOptions {
    fn call(self, _: Context<'_>) -> Result<Value, RpcError> {
        let too_small = |what: &str, value: u64, least: u64| {
            errno_error(errno::EINVAL, format_args!("{what} {value}: give at least {least}"))
        };
        let small_bytes = self.small_bufsize.unwrap_or(SMALL_BUFFER_MIN);
        let large_least = LARGE_BUFFER_MIN.max(small_bytes.saturating_add(1));
        for (what, value, least) in [
            ("small_pool_count", self.small_pool_count, SMALL_POOL_MIN),
            ("large_pool_count", self.large_pool_count, LARGE_POOL_MIN),
            ("small_bufsize", self.small_bufsize.map(u64::from), SMALL_BUFFER_MIN.into()),
            ("large_bufsize", self.large_bufsize.map(u64::from), large_least.into()),
        ] {
            if let Some(value) = value.filter(|value| *value < least) {
                return Err(too_small(what, value, least));
            }
        }
        Ok(Value::from(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_hexadecimal() {
        let masks = [0, 1, 3, 4, 130].map(cpumask);
        let expected = ["1", "2", "8", "10", &format!("4{}", "0".repeat(32))];
        assert_eq!(masks, expected);
    }

    #[test]
    fn times_of_a_core_are_read() {
        let stat = "cpu  9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7\ncpu10 10 20 30 40 50 60 70\nintr 5\n";
        assert_eq!(jiffies(stat, 0), (3, 3, 6));
        assert_eq!(jiffies(stat, 10), (30, 30, 60));
        assert_eq!(jiffies(stat, 1), (0, 0, 0));
        assert_eq!(jiffies("", 0), (0, 0, 0));
    }

    #[test]
    fn the_clock_has_the_tick_rate() {
        assert_eq!(reactor::Ticks::from_secs(1).as_nanos(), TICK_RATE);
    }
}
