//! OpenMetrics 1.0 (the text format of openmetrics.io's specification, which Prometheus asks for first).
//!
//! ```text
//!   # HELP raid456_bdev_bytes Bytes read and written.      a counter's family has no _total ...
//!   # TYPE raid456_bdev_bytes counter
//!   # UNIT raid456_bdev_bytes bytes                         if the name ends in a unit
//!   raid456_bdev_bytes_total{bdev="m0",op="read"} 4096      ... its samples do
//!   # EOF
//! ```
//!
//! Bounds of buckets are canonical floats (1.0, 1e-06), as the specification's section "Considerations:
//! Canonical Numbers" has them; other numbers are as short as they can be.
//!
//! Not here: the older format, which the crate `prometheus` writes.

use std::fmt::Write;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// Units in which names may end.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// Writes families.
pub(super) fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        write_family(&mut text, family);
    }
    text.push_str("# EOF\n");
    text
}

fn write_family(text: &mut String, family: &MetricFamily) {
    let kind = family.get_field_type();
    let name = match kind {
        MetricType::COUNTER => family.name().strip_suffix("_total").unwrap_or(family.name()),
        _ => family.name(),
    };
    let word = match kind {
        MetricType::COUNTER => "counter",
        MetricType::HISTOGRAM => "histogram",
        MetricType::GAUGE => "gauge",
        MetricType::SUMMARY | MetricType::UNTYPED => "unknown",
    };
    push(text, &["# HELP ", name, " "]);
    push_escaped(text, family.help());
    push(text, &["\n# TYPE ", name, " ", word, "\n"]);
    if let Some(unit) = UNITS.iter().find(|unit| name.ends_with(&format!("_{unit}"))) {
        push(text, &["# UNIT ", name, " ", unit, "\n"]);
    }
    let mut labels = String::new();
    for metric in family.get_metric() {
        labels.clear();
        push_labels(&mut labels, metric.get_label());
        match kind {
            MetricType::COUNTER => {
                let value = metric.get_counter().get_value();
                push_sample(text, &[name, "_total"], &labels, value);
            }
            MetricType::HISTOGRAM => push_histogram(text, name, &labels, metric),
            MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => {
                push_sample(text, &[name], &labels, metric.get_gauge().get_value());
            }
        }
    }
}

fn push_histogram(text: &mut String, name: &str, labels: &str, metric: &Metric) {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count() as f64;
    // All buckets of a metric begin alike.
    let comma = if labels.is_empty() { "" } else { "," };
    let before = [name, "_bucket{", labels, comma, "le=\""].concat();
    for bucket in histogram.get_bucket() {
        text.push_str(&before);
        push_bound(text, bucket.upper_bound());
        text.push_str("\"} ");
        push_number(text, bucket.cumulative_count() as f64);
        text.push('\n');
    }
    push(text, &[&before, "+Inf\"} "]);
    push_number(text, count);
    text.push('\n');
    push_sample(text, &[name, "_sum"], labels, histogram.get_sample_sum());
    push_sample(text, &[name, "_count"], labels, count);
}

fn push_sample(text: &mut String, name: &[&str], labels: &str, value: f64) {
    push(text, name);
    if !labels.is_empty() {
        push(text, &["{", labels, "}"]);
    }
    text.push(' ');
    push_number(text, value);
    text.push('\n');
}

fn push_labels(text: &mut String, labels: &[LabelPair]) {
    for (index, label) in labels.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        push(text, &[label.name(), "=\""]);
        push_escaped(text, label.value());
        text.push('"');
    }
}

/// Both kinds of text that may hold anything are escaped alike.
fn push_escaped(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

/// A bound is a label, and has to look the same always: a canonical float.
fn push_bound(text: &mut String, bound: f64) {
    push_number(text, bound);
    if bound.fract() == 0.0 {
        text.push_str(".0");
    }
}

fn push_number(text: &mut String, value: f64) {
    /// Beyond this whole numbers have gaps, and an exponent says as much.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    // Writing into a string does not fail.
    let _ = if value.is_nan() {
        write!(text, "NaN")
    } else if value.is_infinite() {
        write!(text, "{}Inf", if value > 0.0 { '+' } else { '-' })
    } else if value.fract() == 0.0 && value.abs() < EXACT_MAX {
        write!(text, "{}", value as i64)
    } else if value != 0.0 && value.abs() < 1e-4 {
        push_exponential(text, value)
    } else {
        write!(text, "{value}")
    };
}

/// As C's and Go's `%g`: at least two digits of exponent.
fn push_exponential(text: &mut String, value: f64) -> std::fmt::Result {
    let plain = format!("{value:e}");
    let (digits, exponent) = plain.split_once('e').unwrap_or((&plain, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    write!(text, "{digits}e{sign}{:02}", exponent.unsigned_abs())
}

fn push(text: &mut String, parts: &[&str]) {
    for part in parts {
        text.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: numbers look as the specification has its examples, and read as what they are.
    #[test]
    fn numbers_are_canonical() {
        for (value, expected) in [
            (0.0, "0"),
            (1.0, "1"),
            (-3.0, "-3"),
            (1e-6, "1e-06"),
            (6.4e-5, "6.4e-05"),
            (0.000128, "0.000128"),
            (8.388608, "8.388608"),
            (1e15, "1000000000000000"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            let mut text = String::new();
            push_number(&mut text, value);
            assert_eq!(text, expected);
            let read: f64 = text.parse().unwrap();
            assert!(read == value || value.is_nan(), "{text}");
        }
        for (bound, expected) in [(1e-6, "1e-06"), (0.001024, "0.001024"), (1.0, "1.0")] {
            let mut text = String::new();
            push_bound(&mut text, bound);
            assert_eq!(text, expected);
        }
    }
}
