//! Sizes, spans and rates as people write and read them. The one place for both directions.
//!
//! ```text
//!   4k 64K 1m 2g 1t     binary: k = 1024, as in fio and dd
//!   4KiB 1MiB           the same, in full
//!   512 512b            bytes
//!   5 0.5 5s 500ms 2m   a span: seconds unless it says otherwise
//! ```
//!
//! Sizes are printed with binary units, rates and counts with decimal ones, because that is how
//! block sizes and bandwidths are quoted. `kB` is refused: to dd it means 1000, to others 1024.
//!
//! Not here: which sizes an option allows.

use reactor::Ticks;
use thiserror::Error;

/// Why a text is not a size or a span.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum UnitError {
    /// No number, or an unknown unit.
    #[error("size \"{text}\": write a whole number of bytes, or one with k, m, g or t (4k = 4096)")]
    Size {
        /// As it was written.
        text: String,
    },
    /// More than 2^64 - 1.
    #[error("size \"{text}\" is too large: at most {} bytes are right", u64::MAX)]
    SizeTooLarge {
        /// As it was written.
        text: String,
    },
    /// No number, or an unknown unit.
    #[error("time \"{text}\": write seconds such as 5 or 0.5, or a number with ms, s, m or h")]
    Span {
        /// As it was written.
        text: String,
    },
}

/// Reads a size in bytes.
///
/// # Errors
/// [`UnitError`], which names the text and what would be right.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let wrong = || UnitError::Size { text: text.to_owned() };
    let trimmed = text.trim();
    let digits_end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(digits_end);
    if digits.is_empty() {
        return Err(wrong());
    }
    let shift = match unit {
        "" | "b" | "B" => 0,
        "k" | "K" | "Ki" | "KiB" | "kib" => 10,
        "m" | "M" | "Mi" | "MiB" | "mib" => 20,
        "g" | "G" | "Gi" | "GiB" | "gib" => 30,
        "t" | "T" | "Ti" | "TiB" | "tib" => 40,
        _ => return Err(wrong()),
    };
    // All digits, so the only thing that can be wrong with the number is its size.
    let number = digits.parse::<u64>().ok();
    number
        .and_then(|number| number.checked_mul(1 << shift))
        .ok_or_else(|| UnitError::SizeTooLarge { text: text.to_owned() })
}

/// Reads a span of time.
///
/// # Errors
/// [`UnitError::Span`], which names the text and what would be right.
pub fn parse_span(text: &str) -> Result<Ticks, UnitError> {
    let wrong = || UnitError::Span { text: text.to_owned() };
    let trimmed = text.trim();
    let number_end = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(number_end);
    let unit_secs = match unit {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let secs = number.parse::<f64>().map_err(|_| wrong())? * unit_secs;
    // The upper bound keeps sums of moments and spans far from the end of the clock.
    if !(0.0..=1e9).contains(&secs) {
        return Err(wrong());
    }
    Ok(Ticks::from_nanos((secs * 1e9) as u64))
}

/// A size with the largest binary unit that divides it: `4 KiB`, `1536 KiB`, `513 B`.
pub fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    match fits {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

/// A count or a count per second with three digits: `9.65 M`, `128 k`, `17`.
pub fn count(value: f64) -> String {
    let (scaled, unit) = decimal(value);
    three_digits(scaled, if unit.is_empty() { "" } else { " " }, unit)
}

/// Bytes per second with three digits: `5.03 GB/s`.
pub fn rate(bytes_per_s: f64) -> String {
    let (scaled, unit) = decimal(bytes_per_s);
    three_digits(scaled, " ", &format!("{unit}B/s"))
}

/// A latency of that many nanoseconds with three digits: `815 ns`, `7.31 us`, `1.20 ms`.
pub fn latency(nanos: u64) -> String {
    let value = nanos as f64;
    let (scaled, unit) = match value {
        v if v < 999.5 => (v, "ns"),
        v if v < 999.5e3 => (v / 1e3, "us"),
        v if v < 999.5e6 => (v / 1e6, "ms"),
        v => (v / 1e9, "s"),
    };
    // Below a microsecond there is no fraction to show.
    if unit == "ns" { format!("{nanos} ns") } else { three_digits(scaled, " ", unit) }
}

fn decimal(value: f64) -> (f64, &'static str) {
    match value {
        v if v < 999.5 => (v, ""),
        v if v < 999.5e3 => (v / 1e3, "k"),
        v if v < 999.5e6 => (v / 1e6, "M"),
        v if v < 999.5e9 => (v / 1e9, "G"),
        v => (v / 1e12, "T"),
    }
}

fn three_digits(value: f64, gap: &str, unit: &str) -> String {
    let decimals = match value {
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    // A whole number below 1000 is a plain count and has no fraction.
    let decimals = if unit.is_empty() && value.fract() == 0.0 { 0 } else { decimals };
    format!("{value:.decimals$}{gap}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512b", 512),
            ("4k", 4096),
            ("64K", 65_536),
            ("4KiB", 4096),
            ("1m", 1 << 20),
            ("1MiB", 1 << 20),
            ("2g", 2 << 30),
            (" 3T ", 3 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    /// Goal: a wrong size is named, with what would be right; nothing wraps. Method: an example of
    /// each mistake.
    #[test]
    fn wrong_sizes_are_named() {
        for text in ["", "k", "-1", "+4k", "4kB", "4x", "1.5m", "4 k k", "0x10"] {
            let message = parse_size(text).unwrap_err().to_string();
            assert!(message.contains(&format!("\"{text}\"")), "{message}");
            assert!(message.contains("4k = 4096"), "{message}");
        }
        for text in ["18446744073709551616", "16777216t", "99999999999999999999999"] {
            let message = parse_size(text).unwrap_err().to_string();
            assert!(message.contains("too large"), "{text}: {message}");
        }
    }

    #[test]
    fn spans_are_read() {
        for (text, millis) in
            [("5", 5000), ("0.5", 500), ("5s", 5000), ("250ms", 250), ("2m", 120_000), ("0", 0)]
        {
            assert_eq!(parse_span(text), Ok(Ticks::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1", "5x", "1e99", "nan", "inf"] {
            let message = parse_span(text).unwrap_err().to_string();
            assert!(message.contains(&format!("time \"{text}\"")), "{message}");
        }
    }

    #[test]
    fn sizes_are_printed_with_the_unit_that_divides_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (513, "513 B"),
            (4096, "4 KiB"),
            (1_572_864, "1536 KiB"),
            (1 << 20, "1 MiB"),
            (5 << 30, "5 GiB"),
            (1 << 50, "1024 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (17.0, "17"),
            (999.0, "999"),
            (999.9, "1.00 k"),
            (1234.0, "1.23 k"),
            (128_000.0, "128 k"),
            (9_650_000.0, "9.65 M"),
            (12_345_678_901.0, "12.3 G"),
        ] {
            assert_eq!(count(value), text);
        }
        assert_eq!(rate(5.03e9), "5.03 GB/s");
        assert_eq!(rate(7e6), "7.00 MB/s");
        assert_eq!(rate(12.0), "12.0 B/s");
        for (nanos, text) in [
            (0, "0 ns"),
            (815, "815 ns"),
            (999, "999 ns"),
            (1000, "1.00 us"),
            (7312, "7.31 us"),
            (1_200_000, "1.20 ms"),
            (999_999_999, "1.00 s"),
        ] {
            assert_eq!(latency(nanos), text);
        }
    }

    #[test]
    fn what_is_printed_without_a_gap_is_read_back() {
        for bytes in [0, 1, 511, 512, 4096, 1_572_864, 3 << 40] {
            assert_eq!(parse_size(&size(bytes).replace(' ', "")), Ok(bytes));
        }
    }
}
