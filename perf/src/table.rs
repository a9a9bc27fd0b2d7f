//! A report as a table for a terminal.
//!
//! Not here: the figures (`report`).

use crate::report::{DirectionReport, ReadBackState, Report, VerifyReport};
use crate::units;
use crate::window::CLEAN_SHARE_MIN;
use std::fmt::Write;

/// Heads of the table's columns. The first is for the direction.
const COLUMNS: [&str; 13] = [
    "", "IOPS", "rate", "ios", "errors", "min", "mean", "p50", "p90", "p99", "p99.9", "p99.99",
    "max",
];

impl Report {
    /// The report for people: one line a direction, then who did it, then what was found.
    pub fn table(&self) -> String {
        let mut text = self.head();
        let mut rows = vec![COLUMNS.map(str::to_owned)];
        rows.extend(self.read.as_ref().map(|read| row("read", read)));
        rows.extend(self.write.as_ref().map(|write| row("write", write)));
        if self.read.is_some() && self.write.is_some() {
            rows.push(row("total", &self.total));
        }
        text.push_str(&aligned(&rows));
        text.push_str(&self.reactor_lines());
        text.push_str(&self.remarks());
        text
    }

    fn head(&self) -> String {
        let job = &self.job;
        let mix = job.rwmixread_percent.map_or(String::new(), |reads| format!(" {reads} % reads"));
        let reactors = match self.reactors.len() {
            1 => "1 reactor".to_owned(),
            many => format!("{many} reactors"),
        };
        format!(
            "{} ({}): {}{mix}, {}, depth {}, {reactors}, {:.2} s\n",
            job.bdev,
            job.product_name,
            job.rw,
            units::size(job.block_bytes),
            job.io_depth,
            self.elapsed_s
        )
    }

    fn reactor_lines(&self) -> String {
        self.reactors.iter().fold(String::new(), |mut text, reactor| {
            let _ = writeln!(
                text,
                "reactor {} on core {}: {} IOPS, {:.1} % of all; had its core for {:.1} %, busy \
                 {:.1} %",
                reactor.index,
                reactor.core,
                units::count(reactor.iops),
                100.0 * reactor.share,
                100.0 * reactor.cpu_share,
                100.0 * reactor.busy_share
            );
            text
        })
    }

    fn clean_line(&self) -> String {
        let clean = &self.clean;
        if clean.time_share < CLEAN_SHARE_MIN {
            return "disturbed: others used the cores nearly all the time".to_owned();
        }
        let mut line = format!(
            "disturbed: others used the cores too; in the {:.1} % of the time in which they did \
             not: {} IOPS, {}",
            100.0 * clean.time_share,
            units::count(clean.iops),
            units::rate(clean.bytes_per_s)
        );
        if let Some(latency) = &clean.latency {
            let [p50, p99, p99_9] =
                [latency.p50_ns, latency.p99_ns, latency.p99_9_ns].map(units::latency);
            let _ = write!(line, ", p50 {p50}, p99 {p99}, p99.9 {p99_9}");
        }
        line
    }

    fn remarks(&self) -> String {
        let mut text = format!("latency: {}\n", self.latency_method);
        let mut remark = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        if self.disturbed {
            remark(self.clean_line());
        }
        if self.interrupted {
            remark("interrupted before its limit".to_owned());
        }
        if let Some(error) = &self.first_error {
            remark(format!(
                "first error: {} at byte {}: {}",
                error.direction, error.offset_bytes, error.status
            ));
        }
        if let Some(verify) = &self.verify {
            remark(verify_lines(verify));
        }
        text
    }
}

fn verify_lines(verify: &VerifyReport) -> String {
    let state = match verify.read_back {
        ReadBackState::Done => "all that was written was read back",
        ReadBackState::NotNeeded => "every read was checked",
        ReadBackState::Skipped => "what was written was not read back",
    };
    let mut text = format!(
        "verify: {} blocks compared, {} wrong; {state}",
        verify.blocks_checked, verify.blocks_wrong
    );
    for mismatch in &verify.mismatches {
        let _ = write!(text, "\n  {mismatch}");
    }
    let unlisted = verify.blocks_wrong - verify.mismatches.len() as u64;
    if unlisted > 0 {
        let _ = write!(text, "\n  and {unlisted} more");
    }
    text
}

fn row(name: &str, direction: &DirectionReport) -> [String; COLUMNS.len()] {
    let latency = direction.latency.as_ref();
    let span = |nanos: Option<u64>| nanos.map_or_else(|| "-".to_owned(), units::latency);
    [
        name.to_owned(),
        units::count(direction.iops),
        units::rate(direction.bytes_per_s),
        direction.ios.to_string(),
        direction.errors.to_string(),
        span(latency.map(|latency| latency.min_ns)),
        span(latency.map(|latency| latency.mean_ns.round() as u64)),
        span(latency.map(|latency| latency.p50_ns)),
        span(latency.map(|latency| latency.p90_ns)),
        span(latency.map(|latency| latency.p99_ns)),
        span(latency.map(|latency| latency.p99_9_ns)),
        span(latency.map(|latency| latency.p99_99_ns)),
        span(latency.map(|latency| latency.max_ns)),
    ]
}

/// Rows with their cells right-aligned, but for the first.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let _ = match at {
                0 => write!(text, "{cell:<width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["", "a"], ["read", "17"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows), "       a\nread  17\n");
    }
}
