//! The process in the metrics that every Prometheus client library has, under their names.
//!
//! Read from `/proc/self` (proc(5)); what cannot be read is left out.
//!
//! Not here: the service (`service`).

use std::fs;

use prometheus::proto::MetricType;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::families::Families;

/// What `/proc/self/stat` says of a process, in its units.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Clock ticks in programs and in the kernel.
    cpu_ticks: u64,
    threads: u64,
    /// Clock ticks from the start of the machine to that of the process.
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn read(text: &str) -> Option<Self> {
        // The second field, the name, may hold anything but ends with the last bracket; what comes
        // next is field 3.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// When the machine was started, in seconds since 1970, by `/proc/stat`.
fn boot_time_s(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

pub(super) fn collect(families: &mut Families) {
    let mut add = |name: &str, help: &str, kind, value: f64| {
        families.foreign(name, help, kind, value);
    };
    let ticks_per_s = clock_ticks_per_second().max(1) as f64;
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(stat) = Stat::read(&stat) {
        let help = "Time that the process has had on cores, in programs and in the kernel.";
        let cpu_s = stat.cpu_ticks as f64 / ticks_per_s;
        add("process_cpu_seconds_total", help, MetricType::COUNTER, cpu_s);
        let help = "Address space of the process.";
        let size = stat.virtual_bytes as f64;
        add("process_virtual_memory_bytes", help, MetricType::GAUGE, size);
        let help = "Memory of the process.";
        let resident = (stat.resident_pages * page_size() as u64) as f64;
        add("process_resident_memory_bytes", help, MetricType::GAUGE, resident);
        add("process_threads", "Threads.", MetricType::GAUGE, stat.threads as f64);
        let machine = fs::read_to_string("/proc/stat").unwrap_or_default();
        if let Some(boot_s) = boot_time_s(&machine) {
            let help = "When the process was started, in seconds since 1970.";
            let start_s = boot_s as f64 + stat.start_ticks as f64 / ticks_per_s;
            add("process_start_time_seconds", help, MetricType::GAUGE, start_s);
        }
    }
    if let Ok(fds) = fs::read_dir("/proc/self/fd") {
        // One of them is the directory itself.
        let open = fds.count().saturating_sub(1) as f64;
        add("process_open_fds", "Open file descriptors.", MetricType::GAUGE, open);
    }
    let most = getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |max| max as f64);
    add("process_max_fds", "File descriptors that it may have.", MetricType::GAUGE, most);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: fields are found whatever the name of the program, and nothing short is taken for a whole one.
    #[test]
    fn the_stat_of_a_process_is_read() {
        let after = "S 1 2 3 4 5 6 7 8 9 10 140 15 0 0 20 0 7 0 2200 23000 24 99";
        let expected = Stat {
            cpu_ticks: 155,
            threads: 7,
            start_ticks: 2200,
            virtual_bytes: 23000,
            resident_pages: 24,
        };
        assert_eq!(Stat::read(&format!("1 (a) b) {after}")), Some(expected));
        assert_eq!(Stat::read("1 (a) S 1 2"), None);
        assert_eq!(Stat::read(""), None);
        assert_eq!(boot_time_s("cpu 1 2\nbtime 1700000000\nx 1\n"), Some(1_700_000_000));
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(Stat::read(&own).unwrap().resident_pages > 0);
    }
}
