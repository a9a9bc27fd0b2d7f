//! Metrics for Prometheus: what is made of a survey, under which names, in which format.
//!
//! ```text
//!   GET /metrics --> Exporter --survey--> families (bdevs, arrays, reactors, process, rpc, ...)
//!                       |                    |
//!                       `- Accept ----> text 0.0.4 or OpenMetrics 1.0
//! ```
//!
//! | module | what |
//! |---|---|
//! | `exposition` | the two formats |
//! | `families` | metric families while they are filled |
//! | `arrays`, `bdevs`, `service` | what is made of a survey |
//! | `nvmf` | what is made of a look at the NVMe/TCP target |
//! | `process` | the process, by the names that every exporter has |
//! | [`Source`] | the seam for whoever has numbers that no survey knows: RPC |
//!
//! Names follow prometheus.io's rules: one prefix, base units, `_total` on counters, one meaning each; rates
//! and percentiles are for the one who asks. Labels are bounded: names of bdevs and arrays (at most
//! [`BDEVS_MAX`](crate::limits::BDEVS_MAX)), slots, cores, and words from fixed lists. UUIDs stand in
//! `_info` metrics only.
//!
//! A scrape sends messages to reactors as [`Survey`] explains, and takes no lock that the data path takes:
//! there is none.
//!
//! Not here: HTTP (`web`), counting (the crates below `bdev/`).

mod arrays;
mod bdevs;
mod exposition;
mod families;
mod nvmf;
mod process;
mod service;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use reactor::{Ticks, clock};

pub use arrays::ArrayState;
pub(crate) use arrays::{
    LOG_MISSING, array_state, is_delayed, log_of, log_word, member_word, sync_word,
};
pub use families::{Families, Family};

use crate::control::{Control, Survey};

/// Whoever has numbers of its own.
pub trait Source: Send + Sync {
    /// Adds its families. It is called on the scraper's thread and should wait for nobody.
    fn collect(&self, families: &mut Families);
}

/// The formats that metrics are given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The one that a client would rather have (RFC 9110, section 12.5.1); the text format for one that
    /// does not say, or knows neither.
    #[must_use]
    pub fn negotiate(accept: Option<&str>) -> Self {
        let (mut text, mut open) = (0.0, 0.0);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0_f32, None);
            for parameter in parts {
                match parameter.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                    Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                    Some(("version", value)) => version = Some(value.trim_matches('"')),
                    _ => {}
                }
            }
            let best = |of: &mut f32| *of = of.max(quality);
            match (kind, version) {
                ("application/openmetrics-text", None | Some("1.0.0")) => best(&mut open),
                ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => best(&mut text),
                _ => {}
            }
        }
        if open > 0.0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// For the header `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Gives the metrics of a service.
pub struct Exporter {
    control: Arc<Control>,
    sources: Vec<Arc<dyn Source>>,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}

impl Exporter {
    /// Of this service, and of those besides.
    #[must_use]
    pub fn new(control: Arc<Control>, sources: Vec<Arc<dyn Source>>) -> Self {
        Self { control, sources }
    }

    /// The metrics as they are now.
    #[must_use]
    pub fn scrape(&self, format: Format) -> String {
        let begin = clock::now();
        let survey = self.control.survey();
        let mut families = families_of(&survey);
        nvmf::collect(&self.control.nvmf().look(), &mut families);
        process::collect(&mut families);
        for source in &self.sources {
            source.collect(&mut families);
        }
        service::collect_scrape(&survey, clock::now() - begin, &mut families);
        exposition::encode(families.protos(), format)
    }
}

/// What is made of a survey.
fn families_of(survey: &Survey) -> Families {
    let mut families = Families::default();
    service::collect(survey, &mut families);
    bdevs::collect(survey, &mut families);
    arrays::collect(survey, &mut families);
    families
}

/// Seconds, the base unit.
fn seconds(ns: u64) -> f64 {
    Ticks(ns).as_secs_f64()
}
