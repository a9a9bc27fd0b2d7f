//! The two exposition formats: OpenMetrics 1.0 (openmetrics.io's specification, which Prometheus asks for
//! first) and Prometheus's text format 0.0.4.
//!
//! ```text
//!   # HELP raid456_bdev_bytes Bytes read and written.      a counter's family has no _total ...
//!   # TYPE raid456_bdev_bytes counter
//!   # UNIT raid456_bdev_bytes bytes                         if the name ends in a unit
//!   raid456_bdev_bytes_total{bdev="m0",op="read"} 4096      ... its samples do
//!   # EOF
//! ```
//!
//! So OpenMetrics. The text format has `_total` in the family's name too, and neither `# UNIT` nor `# EOF`.
//!
//! Bounds of buckets are OpenMetrics' canonical floats (1.0, 1e-06; section "Considerations: Canonical
//! Numbers"), in the text format as Go's client has them (1, 1e-06); other numbers are as short as they can be.
//!
//! The crate `prometheus` writes the text format too, at twice the time; here it is what the tests compare
//! with. Not here: the families.

use std::fmt::Write;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::Format;

/// Units in which names may end.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// Writes families.
pub(super) fn encode(families: &[MetricFamily], format: Format) -> String {
    let mut text = String::new();
    for family in families {
        write_family(&mut text, family, format);
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

/// Writes one family. Its buckets have the same bounds in all of its metrics, and they are most of a scrape:
/// they are put into words once.
fn write_family(text: &mut String, family: &MetricFamily, format: Format) {
    let kind = family.get_field_type();
    let samples = family.name();
    let name = match (kind, format) {
        (MetricType::COUNTER, Format::OpenMetrics) => {
            samples.strip_suffix("_total").unwrap_or(samples)
        }
        _ => samples,
    };
    write_head(text, family, name, format);
    let (mut labels, mut bounds) = (String::new(), Vec::new());
    for metric in family.get_metric() {
        labels.clear();
        push_labels(&mut labels, metric.get_label());
        match kind {
            MetricType::COUNTER => {
                push_sample(text, samples, &labels, metric.get_counter().get_value());
            }
            MetricType::HISTOGRAM => {
                let buckets = metric.get_histogram().get_bucket();
                for bucket in &buckets[bounds.len().min(buckets.len())..] {
                    bounds.push(bound(bucket.upper_bound(), format));
                }
                push_histogram(text, name, &labels, metric, &bounds);
            }
            MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => {
                push_sample(text, samples, &labels, metric.get_gauge().get_value());
            }
        }
    }
}

fn write_head(text: &mut String, family: &MetricFamily, name: &str, format: Format) {
    let open = format == Format::OpenMetrics;
    let word = match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::HISTOGRAM => "histogram",
        MetricType::GAUGE => "gauge",
        MetricType::SUMMARY | MetricType::UNTYPED if open => "unknown",
        MetricType::SUMMARY | MetricType::UNTYPED => "untyped",
    };
    push(text, &["# HELP ", name, " "]);
    // Only OpenMetrics has quotes of a help escaped.
    push_escaped(text, family.help(), open);
    push(text, &["\n# TYPE ", name, " ", word, "\n"]);
    if let Some(unit) = UNITS.iter().find(|unit| open && name.ends_with(&format!("_{unit}"))) {
        push(text, &["# UNIT ", name, " ", unit, "\n"]);
    }
}

fn push_histogram(text: &mut String, name: &str, labels: &str, metric: &Metric, bounds: &[String]) {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count() as f64;
    // All buckets of a metric begin alike.
    let comma = if labels.is_empty() { "" } else { "," };
    let before = [name, "_bucket{", labels, comma, "le=\""].concat();
    for (bucket, bound) in histogram.get_bucket().iter().zip(bounds) {
        push(text, &[&before, bound, "\"} "]);
        push_number(text, bucket.cumulative_count() as f64);
        text.push('\n');
    }
    push(text, &[&before, "+Inf\"} "]);
    push_number(text, count);
    text.push('\n');
    push_sample(text, &[name, "_sum"].concat(), labels, histogram.get_sample_sum());
    push_sample(text, &[name, "_count"].concat(), labels, count);
}

fn push_sample(text: &mut String, name: &str, labels: &str, value: f64) {
    if labels.is_empty() {
        push(text, &[name, " "]);
    } else {
        push(text, &[name, "{", labels, "} "]);
    }
    push_number(text, value);
    text.push('\n');
}

fn push_labels(text: &mut String, labels: &[LabelPair]) {
    for (index, label) in labels.iter().enumerate() {
        push(text, &[if index > 0 { "," } else { "" }, label.name(), "=\""]);
        push_escaped(text, label.value(), true);
        text.push('"');
    }
}

/// Texts that may hold anything.
fn push_escaped(text: &mut String, value: &str, quotes: bool) {
    if !value.contains(['\\', '"', '\n']) {
        text.push_str(value);
        return;
    }
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' if quotes => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

/// A bound is a label, and has to look the same always.
fn bound(bound: f64, format: Format) -> String {
    let mut text = String::new();
    push_number(&mut text, bound);
    if bound.fract() == 0.0 && format == Format::OpenMetrics {
        text.push_str(".0");
    }
    text
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
    use crate::metrics::Families;

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
        for (value, expected) in [(1e-6, "1e-06"), (0.001024, "0.001024"), (1.0, "1.0")] {
            assert_eq!(bound(value, Format::OpenMetrics), expected);
        }
        assert_eq!(bound(1.0, Format::Text), "1");
    }

    /// Goal: the text format is what the crate `prometheus` makes of the same families, to the letter.
    /// Method: bounds and values that both write alike; names and helps in which everything occurs that has
    /// to be escaped.
    #[test]
    fn the_text_format_is_the_crates() {
        let odd = "a \"b\" \\ \n é";
        let mut families = Families::default();
        families.counter("things_total", odd, |family| {
            family.add(&[("one", odd), ("two", "")], 1.5);
            family.count(&[], u64::from(u32::MAX));
        });
        families.gauge("size_bytes", "A size.", |family| family.add(&[("one", "x")], -0.25));
        let registry = prometheus::Registry::new();
        let options = prometheus::HistogramOpts::new("took_seconds", odd);
        let options = options.buckets(vec![0.000_128, 1.0, 2.5]).const_label("some", odd);
        let histogram = prometheus::Histogram::with_opts(options).unwrap();
        registry.register(Box::new(histogram.clone())).unwrap();
        for seconds in [0.000_064, 0.5, 0.75, 3.0] {
            histogram.observe(seconds);
        }
        let families = [families.protos(), &registry.gather()].concat();
        let expected = prometheus::TextEncoder::new().encode_to_string(&families).unwrap();
        assert_eq!(encode(&families, Format::Text), expected);
        assert!(expected.contains("took_seconds_bucket{some="), "{expected}");
    }
}
