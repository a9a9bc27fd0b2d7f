//! Context switches: whether the kernel takes reactors off their cores, told in the log every second.
//!
//! A reactor that polls should have its core for itself; each involuntary switch is a delay of the
//! requests there. (Voluntary ones are its sleeps.)
//!
//! Not here: who asks (`methods`).

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;

use super::{Control, lock};
use crate::limits::SWITCHES_TOLD_EVERY;

/// The thread that looks, while there is one: it ends when its sender goes.
#[derive(Debug, Default)]
pub(super) struct SwitchMonitor(Mutex<Option<Sender<()>>>);

/// How often a thread has left its core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Switches {
    voluntary: u64,
    involuntary: u64,
}

/// A reactor's thread: its core, its number in the system, what it had when it was looked at last.
struct Watched {
    core: usize,
    tid: u64,
    seen: Switches,
}

impl Control {
    /// Begins or ends telling context switches, if asked to; returns whether they are told.
    pub fn monitor_context_switches(&self, enabled: Option<bool>) -> bool {
        let mut running = lock(&self.switches.0);
        match enabled {
            Some(true) if running.is_none() => *running = self.start_looking(),
            Some(false) => *running = None,
            Some(true) | None => {}
        }
        running.is_some()
    }

    fn start_looking(&self) -> Option<Sender<()>> {
        let threads = self.reactor_views().into_iter().zip(self.thread_views());
        let watched = threads
            .map(|(reactor, thread)| {
                let (core, tid) = (reactor.core, thread.tid);
                Watched { core, tid, seen: switches_of(tid).unwrap_or_default() }
            })
            .collect();
        let (running, ended) = channel();
        let builder = thread::Builder::new().name("switches".to_owned());
        match builder.spawn(move || look(watched, &ended)) {
            Ok(_) => Some(running),
            Err(error) => {
                tracing::error!(%error, "context switches are not told");
                None
            }
        }
    }
}

fn look(mut watched: Vec<Watched>, ended: &Receiver<()>) {
    while ended.recv_timeout(SWITCHES_TOLD_EVERY) == Err(RecvTimeoutError::Timeout) {
        for Watched { core, tid, seen } in &mut watched {
            let Some(now) = switches_of(*tid) else { continue };
            let voluntary = now.voluntary.saturating_sub(seen.voluntary);
            let involuntary = now.involuntary.saturating_sub(seen.involuntary);
            if now != *seen {
                tracing::info!(core, voluntary, involuntary, "context switches in the last second");
            }
            *seen = now;
        }
    }
}

fn switches_of(tid: u64) -> Option<Switches> {
    parse(&std::fs::read_to_string(format!("/proc/self/task/{tid}/status")).ok()?)
}

/// The two lines of `/proc/.../status` (proc(5)).
fn parse(status: &str) -> Option<Switches> {
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().parse().ok()
    };
    Some(Switches {
        voluntary: number("voluntary_ctxt_switches:")?,
        involuntary: number("nonvoluntary_ctxt_switches:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the two numbers are told apart, and a text without them is none.
    #[test]
    fn the_numbers_are_read() {
        let text = "Name:\tx\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(parse(text), Some(Switches { voluntary: 12, involuntary: 3 }));
        assert_eq!(parse("Name:\tx\n"), None);
        assert!(switches_of(std::process::id().into()).is_some());
    }
}
