//! Metric families while they are filled, in the model of the crate `prometheus`.
//!
//! Names are given without the prefix, and counters with their `_total`, as the text format has them.
//!
//! Not here: which families there are.

use std::fmt;

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use reactor::{LATENCY_BOUNDS, Latencies};

use super::seconds;

/// What every name begins with.
const PREFIX: &str = "raid456_";

/// Labels of one metric.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// Families, in the order in which they are written.
#[derive(Default)]
pub struct Families(Vec<MetricFamily>);

impl fmt::Debug for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(MetricFamily::name)).finish()
    }
}

impl Families {
    /// A family of counters; `fill` adds its metrics. One without any is left out.
    pub fn counter(&mut self, name: &str, help: &str, fill: impl FnOnce(&mut Family)) {
        self.family(&[PREFIX, name].concat(), help, MetricType::COUNTER, fill);
    }

    /// A family of gauges.
    pub fn gauge(&mut self, name: &str, help: &str, fill: impl FnOnce(&mut Family)) {
        self.family(&[PREFIX, name].concat(), help, MetricType::GAUGE, fill);
    }

    /// A family of histograms.
    pub fn histogram(&mut self, name: &str, help: &str, fill: impl FnOnce(&mut Family)) {
        self.family(&[PREFIX, name].concat(), help, MetricType::HISTOGRAM, fill);
    }

    /// A metric under a name that is not ours.
    pub(super) fn foreign(&mut self, name: &str, help: &str, kind: MetricType, value: f64) {
        self.family(name, help, kind, |family| family.add(&[], value));
    }

    fn family(&mut self, name: &str, help: &str, kind: MetricType, fill: impl FnOnce(&mut Family)) {
        debug_assert!(!self.0.iter().any(|family| family.name() == name), "{name} twice");
        let mut family = Family { kind, metrics: Vec::new() };
        fill(&mut family);
        if family.metrics.is_empty() {
            return;
        }
        let mut proto = MetricFamily::default();
        proto.set_name(name.to_owned());
        proto.set_help(help.to_owned());
        proto.set_field_type(kind);
        proto.set_metric(family.metrics);
        self.0.push(proto);
    }

    pub(super) fn protos(&self) -> &[MetricFamily] {
        &self.0
    }
}

/// One family.
#[derive(Debug)]
pub struct Family {
    kind: MetricType,
    metrics: Vec<Metric>,
}

impl Family {
    /// Adds a counter or gauge.
    pub fn add(&mut self, labels: Labels<'_>, value: f64) {
        let mut metric = metric(labels);
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.metrics.push(metric);
    }

    /// Adds a number of things.
    pub fn count(&mut self, labels: Labels<'_>, count: u64) {
        self.add(labels, count as f64);
    }

    /// Adds a state set: a metric for each of `states`, 1 where `is` says so.
    pub fn states<'a>(
        &mut self,
        labels: Labels<'a>,
        key: &'static str,
        states: &[&'a str],
        is: impl Fn(&str) -> bool,
    ) {
        for state in states {
            let labels = [labels, &[(key, *state)]].concat();
            self.count(&labels, is(state).into());
        }
    }

    /// Adds a histogram.
    pub fn latencies(&mut self, labels: Labels<'_>, latencies: &Latencies) {
        let mut below = 0;
        let buckets = latencies.counts()[..LATENCY_BOUNDS].iter().enumerate();
        let buckets = buckets.map(|(bucket, count)| {
            below += count;
            let mut proto = Bucket::default();
            proto.set_cumulative_count(below);
            proto.set_upper_bound(seconds(Latencies::bound_ns(bucket)));
            proto
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(latencies.count());
        histogram.set_sample_sum(seconds(latencies.sum_ns()));
        let mut metric = metric(labels);
        metric.set_histogram(histogram);
        self.metrics.push(metric);
    }
}

fn metric(labels: Labels<'_>) -> Metric {
    let pair = |(name, value): &(&'static str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}
