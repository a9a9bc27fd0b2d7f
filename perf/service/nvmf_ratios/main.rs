//! The NVMe/TCP target on one core, asked over loopback by our initiator on another one, beside what the
//! same two cores get through a bare socket in the same run. Prints the tables of `perf/results/nvmf.md`.
//!
//! ```text
//!   cargo run --release --example nvmf_ratios -- --core 0 --host-core 1 --rounds 20 --window-ms 50
//! ```
//!
//! All loads take turns in short windows. What two threads on two shared cores get depends on where the
//! machine puts them, so a figure is a ratio to the bare socket of the same rounds first.
//!
//! A queue of 128 entries holds 127 commands: that is what QD128 is here.
//!
//! Not here: the array without a network (`perf/examples/raid_ratios.rs`).

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a measurement that fails has to stop")]
#![expect(clippy::expect_used, reason = "a measurement that fails has to stop")]

mod host;
mod raw;
mod sample;

use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use device::nvme_tcp::{Connecting, read, write};
use host::{Host, Wanted};
use nvme::Nqn;
use nvme::pdu::Digests;
use perf::{Job, Pattern, run};
use raid456::control::{Control, Options};
use raid456::methods::{Boot, Methods};
use raw::Shape;
use reactor::{CpuSet, PollMode, ReactorHandle, Ticks, clock};
use rpc::Service;
use sample::{Sample, Samples, Window, thread_cpu};
use serde_json::{Value, json};

const NQN: &str = "nqn.2016-06.io.spdk:perf";
const BLOCK_BYTES: u32 = 4096;
const LONG_BYTES: u32 = 128 << 10;
const ENTRIES: u16 = 128;
const MEMBERS: u64 = 5;
const PORT: u16 = 44_270;

#[derive(Debug, Parser)]
struct Args {
    /// Core of the reactor, and of the server of bare sockets
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Core of the initiator, and of the client of bare sockets
    #[arg(long, default_value_t = 1)]
    host_core: usize,
    /// Windows of each load
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Length of a window
    #[arg(long, default_value_t = 50)]
    window_ms: u64,
    /// Size of a member of the array, in MiB; the bare malloc bdev is as large as four
    #[arg(long, default_value_t = 128)]
    member_mib: u64,
    /// Digests of headers and data
    #[arg(long)]
    digests: bool,
    /// Only loads whose name contains this, and what they are compared with
    #[arg(long)]
    only: Option<String>,
    /// File for the tables, beside printing them
    #[arg(long)]
    out: Option<PathBuf>,
}

/// A bdev that is exported.
#[derive(Clone, Copy, Debug)]
struct Space {
    name: &'static str,
    nsid: u32,
    size_blocks: u64,
}

/// The initiator, with both queues of its controller.
struct Initiator {
    io: Host,
    /// It is the controller's life.
    _admin: Host,
    sizes_blocks: Vec<u64>,
}

/// A load of the target.
#[derive(Clone, Copy, Debug)]
struct Load {
    nsid: u32,
    is_read: bool,
    block_bytes: u32,
    depth: usize,
}

#[derive(Clone, Copy, Debug)]
enum Case {
    Raw(Shape),
    Target(Load),
}

/// A load by its name, the bare socket that it is compared with, and what has been seen.
struct Entry {
    name: String,
    case: Case,
    bound: Option<String>,
    goal: &'static str,
    samples: Samples,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    core_affinity::set_for_current(core_affinity::CoreId { id: args.host_core });
    let options = Options {
        cores: CpuSet::single(args.core),
        // It sleeps while bare sockets have the core.
        poll: PollMode::Adaptive,
        buffer_bytes: 256 << 20,
        ..Options::default()
    };
    let control = Control::start(options)?;
    control.finish_startup();
    let methods = Methods::new(Arc::clone(&control), Arc::new(Boot::default()));
    let bdevs = export(&control, &methods, args.member_mib)?;
    let mut initiator = connect(&bdevs, &args)?;
    let mut entries = entries(&bdevs);
    if let Some(only) = &args.only {
        let wanted = |entry: &Entry| entry.name.contains(only.as_str());
        let bounds = entries.iter().filter(|entry| wanted(entry));
        let bounds: Vec<_> = bounds.filter_map(|entry| entry.bound.clone()).collect();
        entries.retain(|entry| wanted(entry) || bounds.contains(&entry.name));
    }
    let window = Window { ramp: Ticks::from_millis(10), len: Ticks::from_millis(args.window_ms) };
    for round in 0..args.rounds {
        eprintln!("round {} of {}", round + 1, args.rounds);
        for entry in &mut entries {
            let sample = match entry.case {
                Case::Raw(shape) => raw::window(args.core, shape, window)?,
                Case::Target(load) => {
                    target_window(&control.reactors()[0], &mut initiator, load, window, round)?
                }
            };
            entry.samples.0.push(sample);
        }
    }
    drop(initiator);
    control.shutdown()?;
    let text = markdown(&args, &entries);
    print!("{text}");
    if let Some(out) = &args.out {
        std::fs::write(out, text)?;
    }
    Ok(())
}

/// Null, malloc and an array, each a namespace.
fn export(
    control: &Control,
    methods: &Methods,
    member_mib: u64,
) -> Result<Vec<Space>, Box<dyn Error>> {
    let ask = |method: &str, params: Value| methods.call(method, Some(params)).unwrap();
    let blocks = |mib: u64| (mib << 20) / u64::from(BLOCK_BYTES);
    let bdev = |kind: &str, name: &str, mib: u64| {
        let params = json!({ "name": name, "block_size": BLOCK_BYTES, "num_blocks": blocks(mib) });
        ask(kind, params);
    };
    bdev("bdev_null_create", "null", 64 << 10);
    bdev("bdev_malloc_create", "malloc", (MEMBERS - 1) * member_mib);
    let members: Vec<_> = (0..MEMBERS).map(|slot| format!("m{slot}")).collect();
    members.iter().for_each(|member| bdev("bdev_malloc_create", member, member_mib));
    ask(
        "bdev_raid_create",
        json!({ "name": "raid5", "raid_level": "raid5", "strip_size_kb": 64,
                "base_bdevs": members, "assume_clean": true }),
    );
    ask("nvmf_create_transport", json!({ "trtype": "TCP" }));
    ask("nvmf_create_subsystem", json!({ "nqn": NQN, "allow_any_host": true }));
    let mut bdevs = Vec::new();
    for (at, name) in ["null", "malloc", "raid5"].into_iter().enumerate() {
        ask("nvmf_subsystem_add_ns", json!({ "nqn": NQN, "namespace": { "bdev_name": name } }));
        let bdev = control.bdev(name).unwrap();
        bdevs.push(Space { name, nsid: at as u32 + 1, size_blocks: bdev.info().num_blocks });
        if name != "null" {
            // The first touch of memory is the kernel's cost.
            let block_bytes = 256 << 10;
            let fill = Job { block_bytes, io_depth: 4, ..Job::new(bdev, Pattern::Write) };
            let report = run(fill, control.reactors())?;
            assert!(report.is_good(), "{}", report.table());
        }
    }
    let listen_address = json!({ "trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1",
                                 "trsvcid": PORT.to_string() });
    ask("nvmf_subsystem_add_listener", json!({ "nqn": NQN, "listen_address": listen_address }));
    Ok(bdevs)
}

/// Admin and I/O queue of one controller.
fn connect(bdevs: &[Space], args: &Args) -> Result<Initiator, Box<dyn Error>> {
    let connecting = Connecting {
        subsystem: Nqn::parse(NQN).unwrap(),
        host: Nqn::parse("nqn.2014-08.org.nvmexpress:uuid:0f01fb42-9f7f-4856-b0b3-51e60b8de349")
            .unwrap(),
        host_id: [7; 16],
        keep_alive_ms: 0,
        entries: ENTRIES,
        flow_control: false,
    };
    let wanted = Wanted {
        connecting,
        digests: Digests { header: args.digests, data: args.digests },
        in_capsule_bytes: 8192,
        buffer_bytes: LONG_BYTES as usize,
    };
    let (admin, facts) = Host::admin(PORT, &wanted)?;
    let in_capsule_bytes = facts.in_capsule_bytes();
    let mut io = Host::io(PORT, &Wanted { in_capsule_bytes, ..wanted }, facts.cntlid)?;
    // With digests of data the data has to be the same for all.
    io.buffers().iter_mut().for_each(|buffer| buffer.fill(0x5a));
    let sizes_blocks = bdevs.iter().map(|bdev| bdev.size_blocks).collect();
    Ok(Initiator { io, _admin: admin, sizes_blocks })
}

fn entries(bdevs: &[Space]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut add = |name: String, case, bound: Option<String>, goal| {
        entries.push(Entry { name, case, bound, goal, samples: Samples::default() });
    };
    let directions = [(true, "read"), (false, "write")];
    let raw_small = |word, depth: usize| format!("socket: 4K {word} shape QD{depth}");
    let raw_long = |word| format!("socket: stream of 128K, {word}");
    for (is_read, word) in directions {
        for depth in [1, 32, 128] {
            // A command of 72 bytes; C2HData with 4 KiB that stands for the response, or the response.
            let (request_bytes, reply_bytes) = if is_read { (72, 4120) } else { (4168, 24) };
            let shape = Shape::RoundTrips { request_bytes, reply_bytes, depth: depth.min(127) };
            add(raw_small(word, depth), Case::Raw(shape), None, "");
        }
        let write_bytes = LONG_BYTES as usize;
        let shape = Shape::Stream { write_bytes, to_client: is_read };
        add(raw_long(word), Case::Raw(shape), None, "");
    }
    for Space { name, nsid, .. } in bdevs {
        for (is_read, word) in directions {
            for depth in [1, 32, 128] {
                let load =
                    Load { nsid: *nsid, is_read, block_bytes: BLOCK_BYTES, depth: depth.min(127) };
                let goal = goal(name, is_read, depth);
                let what = format!("{name}: 4K rand{word} QD{depth}");
                add(what, Case::Target(load), Some(raw_small(word, depth)), goal);
            }
            let load = Load { nsid: *nsid, is_read, block_bytes: LONG_BYTES, depth: 32 };
            let goal = goal(name, is_read, 0);
            let what = format!("{name}: 128K rand{word} QD32");
            add(what, Case::Target(load), Some(raw_long(word)), goal);
        }
    }
    entries
}

/// 1.2 times SPDK's figures (on another machine of this kind), and what was set as goal.
fn goal(name: &str, is_read: bool, depth: usize) -> &'static str {
    match (name, is_read, depth) {
        ("null", true, 1) => "89 k; p50 10-12 us",
        ("null", true, 32) => "602 k",
        ("null", true, 128) => "948 k",
        ("null", true, 0) => "53 k, 7.0 GB/s",
        ("null", false, 32) => "684 k",
        ("null", false, 128) => "1082 k",
        ("null", false, 0) => "44 k, 5.8 GB/s",
        ("malloc", true, 1) => "72 k; p50 10-12 us",
        ("malloc", true, 32) => "481 k",
        ("malloc", true, 128) => "678 k",
        ("malloc", true, 0) => "31 k, 4.1 GB/s",
        ("malloc", false, 1) => "86 k; p50 10-12 us",
        ("malloc", false, 32) => "514 k",
        ("malloc", false, 128) => "623 k",
        ("malloc", false, 0) => "37 k, 4.9 GB/s",
        _ => "",
    }
}

/// What the reactor has had of its core while it was awake, and how long it was busy.
fn reactor_time(reactor: &ReactorHandle) -> (Ticks, Ticks, u64, u64) {
    let (cpu, now) = reactor.call(|_| (thread_cpu(), clock::now())).unwrap();
    let stats = reactor.stats();
    (cpu, now, stats.sleep_ticks, stats.busy_ticks)
}

fn target_window(
    reactor: &ReactorHandle,
    initiator: &mut Initiator,
    load: Load,
    window: Window,
    seed: usize,
) -> Result<Sample, Box<dyn Error>> {
    let Load { nsid, is_read, block_bytes, depth } = load;
    let blocks = block_bytes / BLOCK_BYTES;
    let Initiator { io: host, sizes_blocks, .. } = initiator;
    let places = sizes_blocks[nsid as usize - 1] / u64::from(blocks);
    let mut state = seed as u64 + 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = state % places * u64::from(blocks);
        match is_read {
            true => read(nsid, at, blocks, BLOCK_BYTES),
            false => write(nsid, at, blocks, BLOCK_BYTES, false),
        }
    };
    let mut begun = vec![clock::now(); usize::from(ENTRIES)];
    let before = reactor_time(reactor);
    let mut counting = window.begin();
    for _ in 0..depth {
        let tag = host.submit(next()).expect("the queue is empty");
        begun[usize::from(tag)] = clock::now();
    }
    host.flush()?;
    while counting.goes_on() {
        let mut ended = 0;
        while let Some((tag, cqe)) = host.next()? {
            assert!(cqe.status().is_ok(), "{}", cqe.status());
            counting.took(begun[usize::from(tag)]);
            ended += 1;
            if ended == depth as u64 {
                break;
            }
        }
        // Not before all ends were looked at: a tag is free when its command has ended.
        for _ in 0..ended {
            let tag = host.submit(next()).expect("as many have ended");
            begun[usize::from(tag)] = clock::now();
        }
        host.flush()?;
        counting.count(ended);
    }
    let mut sample = counting.end();
    while host.next()?.is_some() || host.in_flight() > 0 {
        host.flush()?;
    }
    let after = reactor_time(reactor);
    let awake = (after.1 - before.1).0.saturating_sub(after.2 - before.2);
    let share = (after.0 - before.0).0 as f64 / awake as f64;
    sample.target_share = share.min(1.0);
    // Of the whole time, so the part of the window is as its share of it.
    let part = sample.seconds / (after.1 - before.1).as_secs_f64();
    let busy_ns = Ticks(after.3 - before.3).as_nanos() as f64 * part;
    sample.target_busy_ns = Some(busy_ns as u64);
    sample.bytes = sample.ios * u64::from(block_bytes);
    Ok(sample)
}

fn markdown(args: &Args, entries: &[Entry]) -> String {
    let mut text = format!(
        "# NVMe/TCP on loopback: one reactor, one initiator\n\n    cargo run --release --example \
         nvmf_ratios -- --core {} --host-core {} --rounds {} --window-ms {}{}\n\n{} rounds; medians \
         over windows in which both threads had their cores (over all, where fewer than three \
         were). Latencies in microseconds, over the same windows. \"reactor\" is the time of turns \
         that moved something, in nanoseconds for one request.\n\n",
        args.core,
        args.host_core,
        args.rounds,
        args.window_ms,
        if args.digests { " --digests" } else { "" },
        args.rounds
    );
    text.push_str(
        "| load | k IOPS min | med | max | GB/s | of the socket | reactor ns | p50 | p99 | p99.9 \
         | goal | clean |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for entry in entries {
        let iops = entry.samples.iops();
        let found = |bound: &String| entries.iter().find(|other| other.name == *bound);
        let of_bound = entry.bound.as_ref().and_then(found).map_or_else(String::new, |bound| {
            format!("{:.2}", iops.median / bound.samples.iops().median)
        });
        let busy = entry.samples.busy_ns().map_or_else(String::new, |ns| format!("{ns:.0}"));
        let latencies = entry.samples.latencies_us(&[50.0, 99.0, 99.9]).unwrap_or_default();
        let latency =
            |at: usize| latencies.get(at).map_or_else(String::new, |us| format!("{us:.1}"));
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.1} | {:.1} | {:.2} | {of_bound} | {busy} | {} | {} | {} | {} | {} |",
            entry.name,
            iops.min / 1e3,
            iops.median / 1e3,
            iops.max / 1e3,
            entry.samples.bytes_per_s() / 1e9,
            latency(0),
            latency(1),
            latency(2),
            entry.goal,
            entry.samples.clean(),
        );
    }
    text
}
