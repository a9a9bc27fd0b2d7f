//! Metrics of the service itself: what it is, its reactors, the scrape.
//!
//! Not here: its process (`process`), its methods (a source of `methods`).

use reactor::{ReactorStats, Ticks};

use super::families::{Families, Family};
use super::seconds;
use crate::control::{CallSource, Survey};

/// The commit that it was built from, where the build says so.
const COMMIT: &str = match option_env!("RAID456_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

pub(super) fn collect(survey: &Survey, families: &mut Families) {
    families.gauge("build_info", "The version that runs.", |family| {
        family.count(&[("version", env!("CARGO_PKG_VERSION")), ("commit", COMMIT)], 1);
    });
    let help = "Whether the configuration is applied, so that the service is ready.";
    families.gauge("started", help, |family| family.count(&[], survey.started.into()));
    let help = "Calls that configuration (config) and state ask for, and that cannot be made yet.";
    families.gauge("kept_calls", help, |family| {
        for source in CallSource::ALL {
            let count = survey.kept.iter().filter(|kept| kept.source == source).count();
            family.count(&[("source", source.word())], count as u64);
        }
    });
    families.gauge("reactor_up", "Whether a reactor answers.", |family| {
        for reactor in &survey.reactors {
            let core = reactor.view.core.to_string();
            family.count(&[("core", &core)], reactor.answers.into());
        }
    });
    let help = "Time of a reactor by what it did: busy in turns that found work, idle in turns that \
                found none, asleep in the kernel.";
    families.counter("reactor_seconds_total", help, |family| {
        for reactor in &survey.reactors {
            let core = reactor.view.core.to_string();
            let ReactorStats { busy_ticks, idle_ticks, sleep_ticks, .. } = reactor.view.stats;
            for (mode, ns) in [("busy", busy_ticks), ("idle", idle_ticks), ("asleep", sleep_ticks)]
            {
                family.add(&[("core", &core), ("mode", mode)], seconds(ns));
            }
        }
    });
    let fill = |family: &mut Family, value: fn(&ReactorStats) -> u64| {
        for reactor in &survey.reactors {
            family.count(&[("core", &reactor.view.core.to_string())], value(&reactor.view.stats));
        }
    };
    families.counter("reactor_polls_total", "Turns of a reactor.", |family| {
        fill(family, |stats| stats.turns);
    });
    families.counter("reactor_messages_total", "Messages that a reactor ran.", |family| {
        fill(family, |stats| stats.messages);
    });
    families.counter("reactor_timers_total", "Timers that a reactor ran.", |family| {
        fill(family, |stats| stats.timers);
    });
    families.counter("reactor_sleeps_total", "Sleeps of a reactor.", |family| {
        fill(family, |stats| stats.sleeps);
    });
}

/// About the scrape itself, at its end.
pub(super) fn collect_scrape(survey: &Survey, took: Ticks, families: &mut Families) {
    families.gauge("scrape_duration_seconds", "How long this scrape has taken so far.", |family| {
        family.add(&[], took.as_secs_f64());
    });
    let help =
        "Whether a command held the registry, so that the list of bdevs may be of a moment before.";
    families.gauge("scrape_listing_is_old", help, |family| {
        family.count(&[], survey.listing_is_old.into());
    });
}
