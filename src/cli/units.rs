//! Numbers for people: sizes, rates, times, bars.
//!
//! Not here: numbers for programs, which are plain.

use reactor::{LATENCY_BOUNDS, Latencies};

/// A size, with three digits or so: 512 B, 1.5 KiB, 10 GiB.
pub(super) fn size(bytes: f64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 99.95);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A number of things: 999, 1.5 k, 10 M.
pub(super) fn count(number: f64) -> String {
    const UNITS: [&str; 4] = ["", " k", " M", " G"];
    let mut value = number;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 99.95);
    format!("{value:.digits$}{}", UNITS[unit])
}

/// Seconds as h:mm:ss.
pub(super) fn clock(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A time of microseconds: 12 us, 3.4 ms, 1.2 s; a dash for none.
pub(super) fn latency(micros: Option<f64>) -> String {
    match micros {
        None => "-".to_owned(),
        Some(us) if us < 1000.0 => format!("{us:.0} us"),
        Some(us) if us < 1_000_000.0 => format!("{:.1} ms", us / 1e3),
        Some(us) => format!("{:.1} s", us / 1e6),
    }
}

/// A bar of `width` characters between brackets.
pub(super) fn bar(ratio: f64, width: usize) -> String {
    let full = (ratio.clamp(0.0, 1.0) * width as f64).round() as usize;
    format!("[{}{}]", "=".repeat(full), " ".repeat(width - full))
}

/// The latency in microseconds that this part of the requests in the buckets does not exceed, as
/// Prometheus's `histogram_quantile` guesses it: evenly spread inside a bucket. `None` if there are none.
pub(super) fn quantile(counts: &[u64], part: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = part * total as f64;
    let mut below = 0.0;
    for (bucket, count) in counts.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && below + count >= rank {
            let bound = |bucket: usize| Latencies::bound_ns(bucket) as f64 / 1e3;
            let start = bucket.checked_sub(1).map_or(0.0, bound);
            if bucket >= LATENCY_BOUNDS {
                // There is no end to go by.
                return Some(start);
            }
            return Some(start + (bound(bucket) - start) * (rank - below) / count);
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let sizes = [0.0, 999.0, 1000.0, 1536.0, 1048576.0, 1e12].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "931 GiB"]);
        let counts = [0.0, 999.0, 1000.0, 123_456.0, 2e9].map(count);
        assert_eq!(counts, ["0", "999", "1.0 k", "123 k", "2.0 G"]);
        assert_eq!([0, 61, 3600 * 30].map(clock), ["0:00:00", "0:01:01", "30:00:00"]);
        let times = [None, Some(5.4), Some(1500.0), Some(2.5e6)].map(latency);
        assert_eq!(times, ["-", "5 us", "1.5 ms", "2.5 s"]);
        assert_eq!([-1.0, 0.5, 2.0].map(|ratio| bar(ratio, 4)), ["[    ]", "[==  ]", "[====]"]);
    }

    /// Goal: quantiles are inside the bucket that they belong to, and in proportion.
    #[test]
    fn quantiles_are_where_they_belong() {
        let mut counts = vec![0; LATENCY_BOUNDS + 1];
        assert_eq!(quantile(&counts, 0.5), None);
        counts[0] = 50;
        counts[3] = 50;
        assert_eq!(quantile(&counts, 0.25), Some(0.5));
        assert_eq!(quantile(&counts, 0.5), Some(1.0));
        assert_eq!(quantile(&counts, 0.75), Some(6.0));
        assert_eq!(quantile(&counts, 1.0), Some(8.0));
        counts[LATENCY_BOUNDS] = 900;
        assert_eq!(quantile(&counts, 0.99), Some(8_388_608.0));
    }
}
