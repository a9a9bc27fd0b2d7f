//! Parity kernels as ratios to ISA-L, in alternating windows of one run.
//!
//! ```text
//! cargo run --release -p perf --example parity_ratios -- perf/results
//! ```
//!
//! Prints the table and, given a directory, writes `parity.md` and `parity.json` into it.
//!
//! Each round gives every contender one window on the same stripes; a window in which the thread
//! had less than [`CLEAN_CPU_SHARE`] of its CPU is repeated. A ratio is the median over the rounds
//! of the two rates within a round, so what the machine does from second to second cancels out.
//! *Hot* is one stripe over and over, in each round another, because where strips happen to lie
//! decides how they share the first cache; *cold* is as many stripes as fill a GiB, one after
//! another.
//! Rates are bytes of data (not of parity) per second; copies count what they copied.
//!
//! Not here: absolute figures to gate on; those belong to the machine.

use perf::CLEAN_CPU_SHARE;
use perf::isal::Isal;
use perf::kernels::{Contender, Shape, Stripe, Stripes, Work};
use reactor::clock;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

const COMMAND: &str =
    "taskset -c 1 nice -n -15 cargo run --release -p perf --example parity_ratios -- perf/results";

/// Whose rate is 1.
const PEER: &str = "ISA-L";

/// Windows that were disturbed are repeated so often, then counted all the same.
const REPEATS_MAX: usize = 30;

/// Which memory a contest runs over, and how long.
#[derive(Clone, Copy, Debug)]
struct Setting {
    name: &'static str,
    memory: Memory,
    window_nanos: u64,
    rounds: usize,
}

/// How many stripes there are, and which is next.
#[derive(Clone, Copy, Debug)]
enum Memory {
    /// So many; one in each round, over and over.
    Hot { stripes: usize },
    /// As many as fit; one after another.
    Cold { bytes: usize },
}

const HOT: Setting = Setting {
    name: "hot",
    memory: Memory::Hot { stripes: 17 },
    window_nanos: 1_500_000,
    rounds: 51,
};
const COLD: Setting = Setting {
    name: "cold",
    memory: Memory::Cold { bytes: 1 << 30 },
    window_nanos: 4_000_000,
    rounds: 41,
};

/// Ratio to ISA-L that the fastest kernel should reach, by work and memory; streaming when cold.
fn target(work: Work, memory: Memory) -> Option<f64> {
    match (work, memory) {
        (Work::Xor, Memory::Hot { .. }) => Some(0.95),
        (Work::Pq, Memory::Hot { .. }) => Some(1.3),
        (Work::TwoData, Memory::Hot { .. }) => Some(3.0),
        (Work::Xor | Work::Pq, Memory::Cold { .. }) => Some(1.0),
        (Work::TwoData, Memory::Cold { .. }) => None,
    }
}

#[derive(Debug, Serialize)]
struct Results {
    command: &'static str,
    cpu: String,
    /// Medians over the windows of each contest.
    contests: Vec<Contest>,
    summary: Vec<Summary>,
}

#[derive(Debug, Serialize)]
struct Contest {
    work: String,
    shape: String,
    setting: &'static str,
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
struct Figure {
    contender: String,
    gb_per_s: f64,
    /// Median over the rounds of the rate against ISA-L's in the same round.
    ratio: Option<f64>,
}

/// The contender on whom a target lies, over all shapes of one work.
#[derive(Debug, Serialize)]
struct Summary {
    work: String,
    setting: &'static str,
    contender: String,
    ratio_geometric_mean: f64,
    target: Option<f64>,
    /// Shapes whose own ratio is below the target.
    below: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).map(PathBuf::from);
    let isal = Isal::open().inspect_err(|error| eprintln!("no ratios: {error}")).ok();
    let mut results =
        Results { command: COMMAND, cpu: cpu_model()?, contests: vec![], summary: vec![] };
    for (work, widths) in
        [(Work::Xor, &[4, 8][..]), (Work::Pq, &[4, 8, 16]), (Work::TwoData, &[4, 8, 16])]
    {
        for setting in [HOT, COLD] {
            let mut contests = vec![];
            for &data_strips in widths {
                for strip_bytes in [4 << 10, 64 << 10, 128 << 10] {
                    let shape = Shape { work, data_strips, strip_bytes };
                    eprintln!("{work} {shape} {}", setting.name);
                    contests.push(contest(shape, setting, isal));
                }
            }
            results.summary.extend(summarise(work, setting, &contests));
            results.contests.append(&mut contests);
        }
    }
    let table = markdown(&results)?;
    print!("{table}");
    if let Some(directory) = directory {
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join("parity.md"), table)?;
        let mut json = serde_json::to_string_pretty(&results)?;
        json.push('\n');
        std::fs::write(directory.join("parity.json"), json)?;
    }
    Ok(())
}

/// Everybody's figures for one shape.
fn contest(shape: Shape, setting: Setting, isal: Option<Isal>) -> Contest {
    let contenders = contenders(shape, setting.memory, isal);
    let mut memory = Stripes::new(
        shape,
        match setting.memory {
            Memory::Hot { stripes } => stripes * shape.stripe_bytes(),
            Memory::Cold { bytes } => bytes,
        },
    );
    let step = match setting.memory {
        Memory::Hot { .. } => 0,
        Memory::Cold { .. } => 1,
    };
    let mut field = Field { stripes: memory.cut(), next: 0, step };
    let calls: Vec<_> =
        contenders.iter().map(|contender| field.calls(contender, setting.window_nanos)).collect();
    let mut rates = vec![vec![]; contenders.len()];
    for round in 0..setting.rounds {
        if let Memory::Hot { stripes } = setting.memory {
            field.next = round % stripes;
        }
        for ((contender, &calls), rates) in contenders.iter().zip(&calls).zip(&mut rates) {
            rates.push(field.clean_rate(contender, calls));
        }
    }
    let peer = contenders.iter().position(|contender| contender.name() == PEER);
    let figure = |(contender, own): (&Contender, &Vec<f64>)| Figure {
        contender: contender.name().to_owned(),
        gb_per_s: median(own.clone()),
        ratio: peer.map(|peer| {
            median(own.iter().zip(&rates[peer]).map(|(own, peer)| own / peer).collect())
        }),
    };
    Contest {
        work: shape.work.to_string(),
        shape: shape.to_string(),
        setting: setting.name,
        figures: contenders.iter().zip(&rates).map(figure).collect(),
    }
}

/// ISA-L, the kernels but the reference, streaming where that could help, and plain memory.
fn contenders(shape: Shape, memory: Memory, isal: Option<Isal>) -> Vec<Contender> {
    let mut all: Vec<_> = isal.into_iter().map(|isal| Contender::isal(isal, shape)).collect();
    let kernels = &parity::available()[1..];
    all.extend(kernels.iter().map(|kernel| Contender::kernel(*kernel, shape)));
    if let Memory::Cold { .. } = memory {
        all.extend(kernels.last().and_then(|kernel| Contender::streaming(*kernel, shape)));
    }
    all.extend([Contender::read(shape), Contender::copy(shape)]);
    all
}

/// The stripes, which one is next, and how many further the one after that is.
struct Field<'a> {
    stripes: Vec<Stripe<'a>>,
    next: usize,
    step: usize,
}

impl Field<'_> {
    fn run(&mut self, contender: &Contender, calls: u64) {
        for _ in 0..calls {
            contender.run(&mut self.stripes[self.next]);
            self.next += self.step;
            if self.next == self.stripes.len() {
                self.next = 0;
            }
        }
    }

    /// How many calls fill a window. In CPU time: had the thread lost its CPU just now, wall time
    /// would say that a single call does.
    fn calls(&mut self, contender: &Contender, window_nanos: u64) -> u64 {
        let mut calls = 1;
        loop {
            let start = thread_cpu_nanos();
            self.run(contender, calls);
            let nanos = (thread_cpu_nanos() - start).max(1);
            if nanos * 4 >= window_nanos {
                return (calls * window_nanos / nanos).max(1);
            }
            calls *= 2;
        }
    }

    /// Bytes per nanosecond in a window in which the thread had its CPU.
    fn clean_rate(&mut self, contender: &Contender, calls: u64) -> f64 {
        let mut repeats = 0;
        loop {
            let (start, cpu_start) = (clock::now(), thread_cpu_nanos());
            self.run(contender, calls);
            let cpu = thread_cpu_nanos() - cpu_start;
            let nanos = (clock::now() - start).0;
            if cpu as f64 >= CLEAN_CPU_SHARE * nanos as f64 || repeats == REPEATS_MAX {
                return (calls * contender.bytes() as u64) as f64 / nanos as f64;
            }
            repeats += 1;
        }
    }
}

/// How the contender with the target did over all shapes; nothing without a peer.
fn summarise(work: Work, setting: Setting, contests: &[Contest]) -> Option<Summary> {
    let fastest = parity::available().last()?.name();
    let streams = |contest: &Contest| {
        let streaming = format!("{fastest}, streaming");
        contest.figures.iter().any(|figure| figure.contender == streaming).then_some(streaming)
    };
    let contender = contests.first().and_then(streams).unwrap_or_else(|| fastest.to_owned());
    let ratios: Vec<(&str, f64)> = contests
        .iter()
        .filter_map(|contest| {
            let figure = contest.figures.iter().find(|figure| figure.contender == contender)?;
            Some((contest.shape.as_str(), figure.ratio?))
        })
        .collect();
    if ratios.is_empty() {
        return None;
    }
    let logs: f64 = ratios.iter().map(|(_, ratio)| ratio.ln()).sum();
    let target = target(work, setting.memory);
    let below = ratios.iter().filter(|(_, ratio)| target.is_some_and(|target| *ratio < target));
    Some(Summary {
        work: work.to_string(),
        setting: setting.name,
        contender,
        ratio_geometric_mean: (logs / ratios.len() as f64).exp(),
        target,
        below: below.map(|(shape, ratio)| format!("{shape} ({ratio:.2})")).collect(),
    })
}

fn markdown(results: &Results) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "# Parity kernels against ISA-L\n")?;
    writeln!(out, "`{}`\n", results.command)?;
    writeln!(
        out,
        "CPU: {}. GB/s (1e9 bytes of data), medians of alternating windows of one run; in brackets \
         the ratio to {PEER} in the same rounds. Hot: one stripe over and over, another in each round. Cold: stripes that \
         fill a GiB in turn; there *streaming* stores past the caches. Read and copy: plain Rust \
         over the same memory; copies count what they copied.\n",
        results.cpu
    )?;
    writeln!(out, "| work | set | contender | geometric mean of ratios | target | shapes below |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for summary in &results.summary {
        let Summary { work, setting, contender, ratio_geometric_mean: ratio, .. } = summary;
        let target = summary.target.map_or("-".to_owned(), |target| format!("{target:.2}"));
        let below = summary.below.join(", ");
        writeln!(out, "| {work} | {setting} | {contender} | {ratio:.2} | {target} | {below} |")?;
    }
    let mut last = (String::new(), "");
    for contest in &results.contests {
        if last != (contest.work.clone(), contest.setting) {
            last = (contest.work.clone(), contest.setting);
            writeln!(out, "\n## {}, {}\n", contest.work, contest.setting)?;
            let names: Vec<_> = contest.figures.iter().map(|f| f.contender.as_str()).collect();
            writeln!(out, "| shape | {} |", names.join(" | "))?;
            writeln!(out, "|---|{}", "---|".repeat(names.len()))?;
        }
        write!(out, "| {} |", contest.shape)?;
        for figure in &contest.figures {
            write!(out, " {:.1}", figure.gb_per_s)?;
            match figure.ratio {
                Some(ratio) if figure.contender != PEER => write!(out, " ({ratio:.2}) |")?,
                _ => write!(out, " |")?,
            }
        }
        writeln!(out)?;
    }
    Ok(out)
}

/// The middle of the values, of which there is at least one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2])
}

/// Time that this thread has been on a CPU.
fn thread_cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative for a clock that counts from 0.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What the kernel calls the CPU.
fn cpu_model() -> std::io::Result<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map(|model| model.trim_start_matches([' ', '\t', ':']).to_owned());
    Ok(model.unwrap_or_else(|| format!("unnamed {}", std::env::consts::ARCH)))
}
