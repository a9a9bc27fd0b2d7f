//! Methods about reactors and their threads that change something, or would in SPDK: here every thread
//! is pinned to its reactor's core, because its stripes and buffers are there.
//!
//! Not here: those that ask (`framework`).

use reactor::CpuSet;
use reactor::memory::{LoanCounts, PoolStats};
use rpc::RpcError;
use rpc::error::errno;
use rpc::params::{
    FrameworkMonitorContextSwitch, FrameworkSetScheduler, IobufGetStats, ThreadSetCpumask,
};
use rpc::results::{ContextSwitchReply, IobufCounts, IobufEntry};
use serde_json::Value;

use super::framework::{cpumask, thread_id, thread_name};
use super::{Call, Context, Effect, errno_error, json};
use crate::control::Control;

/// The one scheduler that there is.
pub(super) const SCHEDULER: &str = "static";

impl Call for FrameworkSetScheduler {
    /// The code is SPDK's for a scheduler that it does not have.
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        if self.name != SCHEDULER {
            return Err(RpcError::internal(format!(
                "Invalid argument: scheduler {:?}: only \"static\" is there, reactors are pinned",
                self.name
            )));
        }
        self.mappings.iter().try_for_each(|text| check_mappings(context.control, text))?;
        Ok(Value::from(true))
    }
}

/// `thread:core,...`: every thread has to be where it is.
fn check_mappings(control: &Control, text: &str) -> Result<(), RpcError> {
    for part in text.split(',') {
        let numbers = part.split_once(':').and_then(|(id, core)| {
            Some((id.trim().parse::<u64>().ok()?, core.trim().parse::<usize>().ok()?))
        });
        let Some((id, core)) = numbers else {
            return Err(RpcError::invalid_params(format_args!(
                "mappings: {part:?} should be thread:core, such as 1:0"
            )));
        };
        let actual = core_of(control, id)?;
        if actual != core {
            return Err(pinned(id, actual, &format!("core {core}")));
        }
    }
    Ok(())
}

/// The core of a thread.
fn core_of(control: &Control, id: u64) -> Result<usize, RpcError> {
    let found = control.reactors().iter().find(|reactor| thread_id(reactor.index()) == id);
    // SPDK's words.
    found.map(|reactor| reactor.core()).ok_or_else(|| {
        let text =
            format_args!("Thread {id} does not exist: thread_get_stats lists them").to_string();
        RpcError::new(rpc::error::INVALID_PARAMS, text)
    })
}

fn pinned(id: u64, core: usize, wanted: &str) -> RpcError {
    let name = thread_name(usize::try_from(id).unwrap_or(usize::MAX).saturating_sub(1));
    let detail = format_args!(
        "thread {id} ({name}) is pinned to core {core}, not to be moved to {wanted}: its stripes and \
         buffers are there; choose cores with raid456 serve --cores"
    );
    errno_error(errno::ENOTSUP, detail)
}

impl Call for FrameworkMonitorContextSwitch {
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        json(ContextSwitchReply { enabled: context.control.monitor_context_switches(self.enabled) })
    }
}

impl Call for ThreadSetCpumask {
    /// Codes and first words are SPDK's, in its order of looking.
    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let core = core_of(context.control, self.id)?;
        let set = parse_mask(&self.cpumask).ok_or_else(|| {
            RpcError::internal(format!(
                "Invalid cpumask {}: give a mask such as 0x4f or a list such as [0,2-3]",
                self.cpumask
            ))
        })?;
        let reactors = context.control.reactors();
        if !reactors.iter().any(|reactor| set.contains(reactor.core())) {
            let masks: Vec<_> = reactors.iter().map(|reactor| cpumask(reactor.core())).collect();
            return Err(RpcError::internal(format!(
                "No CPU is selected from reactor mask: {} names none of the reactors' cores, {}",
                self.cpumask,
                masks.join(" ")
            )));
        }
        if !set.contains(core) {
            return Err(pinned(self.id, core, &self.cpumask));
        }
        Ok(Value::from(true))
    }
}

/// Cores as SPDK's tools write them: hexadecimal digits with or without 0x, or a list in brackets.
fn parse_mask(text: &str) -> Option<CpuSet> {
    let text = text.trim();
    if text.starts_with('[') {
        return text.parse().ok();
    }
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    format!("0x{digits}").parse().ok()
}

impl Call for IobufGetStats {
    const EFFECT: Effect = Effect::Looks;

    fn call(self, context: Context<'_>) -> Result<Value, RpcError> {
        let mut sums = [PoolStats::default(); 2];
        for reactor in context.control.reactors() {
            // Only one that has stopped does not answer.
            let seen = reactor.call(|cx| cx.pool_stats()).unwrap_or_default();
            sums.iter_mut().zip(&seen).for_each(|(sum, part)| sum.merge(part));
        }
        let counts = |LoanCounts { warm, cold, refused }| IobufCounts {
            cache: warm,
            main: cold,
            retry: refused,
        };
        let entry =
            |(module, PoolStats { small, large, bytes, free_bytes }): (&str, _)| IobufEntry {
                module: module.to_owned(),
                small_pool: counts(small),
                large_pool: counts(large),
                pool_bytes: bytes as u64,
                free_bytes: free_bytes as u64,
            };
        json(["bdev", "raid"].into_iter().zip(sums).map(entry).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: masks are read as SPDK writes them, "1" being core 0.
    #[test]
    fn masks_are_read_as_they_are_written() {
        for core in [0, 1, 5, 130] {
            assert_eq!(parse_mask(&cpumask(core)), Some(CpuSet::single(core)));
        }
        let cores = |text| parse_mask(text).map(|set| set.iter().collect::<Vec<_>>());
        assert_eq!(cores("0X3"), Some(vec![0, 1]));
        assert_eq!(cores("[0,2-3]"), Some(vec![0, 2, 3]));
        for wrong in ["", "0x0", "0", "xyz", "[1", "-1", "[]"] {
            assert_eq!(cores(wrong), None, "{wrong}");
        }
    }
}
