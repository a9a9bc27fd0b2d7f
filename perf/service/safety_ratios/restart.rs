//! Starts of the service after kill -9 under load, and after stops in order under the same load.
//!
//! ```text
//!   load --> kill -9 or SIGTERM --> what the log says --> start --> a host has read --> at rest --> load
//!                                                         |---- serving after ----|
//! ```
//!
//! A service of its own process, over files on a disk, with a state file; a host over NVMe/TCP that writes
//! 4 KiB blocks at random to a tenth of the array, another tenth in each round. A host connects again and
//! again until a read of it has succeeded.
//!
//! How many regions are resynced is seen twice: by the bits of the log before the start, and by what is read
//! of a member until the array is at rest. Between stops in order and kills that differs by the resync.
//!
//! Not here: whether what was acknowledged is there (`tests/blackbox/crash`).

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use device::nvme_tcp::{Connecting, read, write};
use nvme::Nqn;
use nvme::pdu::Digests;
use perf::ratio::Spread;
use raid::dirty_log::{DirtyLog, DiskArea, SyncOption};
use reactor::{Ticks, clock};
use rpc::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Args;
use crate::bench::{MEMBERS, MIB, Result, folder, pause, wait_for, zeroes};
use crate::queue::{Host, Wanted};

const NQN: &str = "nqn.2016-06.io.spdk:safety";
const HOST_NQN: &str = "nqn.2014-08.org.nvmexpress:uuid:0f01fb42-9f7f-4856-b0b3-51e60b8de349";
const ARRAY: &str = "r0";
const NSID: u32 = 1;
const BLOCK_BYTES: u32 = 4096;
/// 1 MiB of a member is in front of the data.
const COMPONENT_MIB: u64 = 64;
const REGION_KIB: u64 = 64;
const REGIONS: u64 = COMPONENT_MIB * 1024 / REGION_KIB;
const BLOCKS: u64 = COMPONENT_MIB * MIB * (MEMBERS as u64 - 1) / BLOCK_BYTES as u64;
const ENTRIES: u16 = 64;
const IO_DEPTH: usize = 32;
/// The load is written to one part in so many.
const PARTS: u64 = 10;

/// How the service ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Kill,
    InOrder,
}

/// One end, and the start after it.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// Writes that were acknowledged before the end.
    acknowledged: u64,
    /// From the start of the process until a host has read.
    serving_ms: f64,
    /// Regions that are dirty in the log before the start.
    dirty: u64,
    /// Regions that are out of sync when a host has read.
    out_of_sync: u64,
    /// Read of a member, on average, until the array is at rest.
    read_kib: f64,
    /// From when a host has read until then.
    resync_ms: f64,
}

pub(crate) fn restart(args: &Args) -> Result<String> {
    let place = Place::new(args)?;
    place.make()?;
    let (mut daemon, _) = place.start()?;
    let (mut kills, mut stops) = (Vec::new(), Vec::new());
    for round in 0..args.kills as u64 {
        for (at, end) in [End::Kill, End::InOrder].into_iter().enumerate() {
            // The same moment for both: from 50 to 250 ms after the load has begun.
            let moment = Ticks::from_millis(50 + round * 97 % 200);
            let acknowledged = place.load_until(daemon, end, moment, 2 * round + at as u64)?;
            let seen;
            (daemon, seen) = place.start()?;
            let into = if end == End::Kill { &mut kills } else { &mut stops };
            into.push(Round { acknowledged, ..seen });
        }
    }
    daemon.end(Signal::TERM)?;
    Ok(table(&kills, &stops))
}

/// A service that runs. One that is dropped is killed.
struct Daemon {
    child: Child,
}

impl Daemon {
    fn end(mut self, signal: Signal) -> Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), signal)?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails when it has ended, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Files, socket and port of the service.
struct Place {
    data: TempDir,
    /// With a short path, because a socket's has 107 bytes at most.
    run: TempDir,
    core: usize,
    port: u16,
    wanted: Wanted,
}

impl Place {
    fn new(args: &Args) -> Result<Self> {
        let data = folder(args)?;
        for name in (0..MEMBERS).map(member) {
            zeroes(&data.path().join(name), (COMPONENT_MIB + 1) * MIB)?;
        }
        zeroes(&data.path().join("log"), MIB)?;
        let connecting = Connecting {
            subsystem: Nqn::parse(NQN)?,
            host: Nqn::parse(HOST_NQN)?,
            host_id: [7; 16],
            keep_alive_ms: 0,
            entries: ENTRIES,
            flow_control: false,
        };
        Ok(Self {
            data,
            run: tempfile::tempdir()?,
            core: args.core,
            port: TcpListener::bind("127.0.0.1:0")?.local_addr()?.port(),
            wanted: Wanted {
                connecting,
                digests: Digests { header: false, data: false },
                in_capsule_bytes: 8192,
                buffer_bytes: BLOCK_BYTES as usize,
            },
        })
    }

    fn socket(&self) -> PathBuf {
        self.run.path().join("rpc.sock")
    }

    fn launch(&self) -> Result<Daemon> {
        let mut command = Command::new(std::env::current_exe()?);
        command.current_dir(self.data.path()).arg("serve").env_remove("RUST_LOG");
        command.arg("--rpc-socket").arg(self.socket());
        command.arg("--state").arg(self.data.path().join("state.json"));
        command.arg("--cores").arg(self.core.to_string());
        let log = File::create(self.run.path().join("log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(Daemon { child: command.spawn()? })
    }

    fn ask(&self, method: &str, params: Value) -> Result<Value> {
        Ok(Client::connect(self.socket())?.call(method, Some(params))?)
    }

    /// What an operator does once.
    fn make(&self) -> Result<()> {
        let daemon = self.launch()?;
        wait_for("the service answers", || Ok(self.ask("spdk_get_version", json!({})).is_ok()))?;
        let members: Vec<_> = (0..MEMBERS).map(member).collect();
        for name in members.iter().map(String::as_str).chain(["log"]) {
            let filename = self.data.path().join(name);
            let file = json!({ "name": name, "filename": filename, "block_size": BLOCK_BYTES });
            self.ask("bdev_uring_create", file)?;
        }
        self.ask(
            "bdev_raid_create",
            json!({
                "name": ARRAY, "raid_level": "raid5", "strip_size_kb": 64, "superblock": true,
                "base_bdevs": members, "log_bdev": "log", "region_size_kb": REGION_KIB,
                "assume_clean": true,
            }),
        )?;
        let regions = self.raid()?["log"]["regions"].as_u64();
        if regions != Some(REGIONS) {
            return Err(format!("the array has {regions:?} regions, not {REGIONS}").into());
        }
        self.ask("nvmf_create_transport", json!({ "trtype": "TCP" }))?;
        self.ask("nvmf_create_subsystem", json!({ "nqn": NQN, "allow_any_host": true }))?;
        let namespace = json!({ "nqn": NQN, "namespace": { "bdev_name": ARRAY } });
        self.ask("nvmf_subsystem_add_ns", namespace)?;
        let listen_address = json!({ "trtype": "TCP", "adrfam": "IPv4", "traddr": "127.0.0.1",
                                     "trsvcid": self.port.to_string() });
        let listener = json!({ "nqn": NQN, "listen_address": listen_address });
        self.ask("nvmf_subsystem_add_listener", listener)?;
        daemon.end(Signal::TERM)?;
        Ok(())
    }

    /// The array, as the service tells of it.
    fn raid(&self) -> Result<Value> {
        Ok(self.ask("bdev_raid_get_bdevs", json!({ "category": "all" }))?[0].take())
    }

    /// Starts the service, waits until a host has read, and then until the array is at rest.
    fn start(&self) -> Result<(Daemon, Round)> {
        let dirty = self.dirty()?;
        let begin = clock::now();
        let daemon = self.launch()?;
        wait_for("a host has read", || Ok(self.connect().is_ok()))?;
        let serving = clock::now();
        let told = self.raid()?;
        let in_sync = told["log"]["regions_in_sync"].as_u64().ok_or("no regions_in_sync")?;
        wait_for("the array is in sync", || {
            let told = self.raid()?;
            Ok(told["sync_action"] == "idle" && told["in_sync"] == true)
        })?;
        let in_sync_at = clock::now();
        let mut read_bytes = 0;
        for name in (0..MEMBERS).map(member) {
            let told = self.ask("bdev_get_iostat", json!({ "name": name }))?;
            read_bytes += told["bdevs"][0]["bytes_read"].as_u64().ok_or("no bytes_read")?;
        }
        // So that what is dirty at the next end is the next load's.
        wait_for("nothing is dirty", || Ok(self.raid()?["log"]["regions_dirty"] == 0))?;
        let millis = |span: Ticks| span.as_nanos() as f64 / 1e6;
        let round = Round {
            acknowledged: 0,
            serving_ms: millis(serving - begin),
            dirty,
            out_of_sync: REGIONS - in_sync,
            read_kib: read_bytes as f64 / 1024.0 / MEMBERS as f64,
            resync_ms: millis(in_sync_at - serving),
        };
        Ok((daemon, round))
    }

    /// A host that has read a block.
    fn connect(&self) -> io::Result<(Host, Host)> {
        let (admin, facts) = Host::admin(self.port, &self.wanted)?;
        let mut host = Host::io(self.port, &self.wanted, facts.cntlid)?;
        host.submit(read(NSID, 0, 1, BLOCK_BYTES)).ok_or(io::ErrorKind::WouldBlock)?;
        host.flush()?;
        loop {
            if let Some((_, cqe)) = host.next()? {
                let status = cqe.status();
                return if status.is_ok() {
                    Ok((admin, host))
                } else {
                    Err(io::Error::other(format!("{status:?}")))
                };
            }
        }
    }

    /// Ends the service under load, and says how many writes were acknowledged.
    fn load_until(&self, daemon: Daemon, end: End, moment: Ticks, seed: u64) -> Result<u64> {
        let (admin, host) = self.connect()?;
        let load = thread::spawn(move || {
            let acknowledged = load(host, seed);
            drop(admin);
            acknowledged
        });
        pause(moment);
        if load.is_finished() {
            return Err("the load has ended before the service".into());
        }
        let signal = if end == End::Kill { Signal::KILL } else { Signal::TERM };
        let status = daemon.end(signal)?;
        // What the kernel has of its requests is still written.
        pause(Ticks::from_millis(20));
        if end == End::InOrder && !status.success() {
            return Err(format!("a stop in order: {status}").into());
        }
        load.join().map_err(|_| "the load has panicked".into())
    }

    /// Regions that the log on its file calls dirty.
    fn dirty(&self) -> Result<u64> {
        let bytes = std::fs::read(self.data.path().join("log"))?;
        let area = DiskArea::new(BLOCK_BYTES, REGIONS);
        let image = bytes.get(..area.area_bytes() as usize);
        Ok(DirtyLog::load(image, area, SyncOption::Default).log.dirty_count())
    }
}

fn member(slot: usize) -> String {
    format!("m{slot}")
}

/// Writes until the connection ends, and says how often that was acknowledged.
fn load(mut host: Host, seed: u64) -> u64 {
    host.buffers().iter_mut().for_each(|buffer| buffer.fill(seed as u8));
    let window = BLOCKS / PARTS;
    let first = seed % PARTS * window;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut acknowledged = 0;
    let mut turn = || -> io::Result<()> {
        while host.in_flight() < IO_DEPTH {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let block = first + state % window;
            let command = write(NSID, block, 1, BLOCK_BYTES, false);
            host.submit(command).ok_or(io::ErrorKind::WouldBlock)?;
        }
        host.flush()?;
        while let Some((_, cqe)) = host.next()? {
            if !cqe.status().is_ok() {
                return Err(io::Error::other(format!("{:?}", cqe.status())));
            }
            acknowledged += 1;
        }
        Ok(())
    };
    // What ends it is the end of the service.
    while turn().is_ok() {}
    acknowledged
}

fn table(kills: &[Round], stops: &[Round]) -> String {
    let mut text = format!(
        "\n## Start of the service after kill -9 under load\n\n\
         RAID 5 of {MEMBERS} files of {} MiB through io_uring on this machine's disk, {REGIONS} regions of \
         {REGION_KIB} KiB, log on another file, one reactor. A host over NVMe/TCP writes 4 KiB blocks (QD \
         {IO_DEPTH}) at random to a tenth of the array, another one in each round, for 50 to 250 ms; then the \
         service is killed, or stopped in order.\n\n\
         | | kill -9 | stop in order |\n|---|---|---|\n",
        COMPONENT_MIB + 1
    );
    let mut line = |what: &str, figure: &dyn Fn(&[Round]) -> String| {
        let _ = writeln!(text, "| {what} | {} | {} |", figure(kills), figure(stops));
    };
    let spread =
        |rounds: &[Round], figure: fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
    line("times", &|rounds| rounds.len().to_string());
    line("writes acknowledged before", &|rounds| {
        spread(rounds, |round| round.acknowledged as f64).to_string()
    });
    line("from the start of the process until a host has read, ms", &|rounds| {
        format!("{:.0}", spread(rounds, |round| round.serving_ms))
    });
    line("the same, nine of ten within, ms", &|rounds| {
        let mut all: Vec<_> = rounds.iter().map(|round| round.serving_ms).collect();
        all.sort_by(f64::total_cmp);
        let nine_of_ten = (all.len() * 9).div_ceil(10).saturating_sub(1);
        format!("{:.0}", all.get(nine_of_ten).copied().unwrap_or_default())
    });
    let what = format!("regions dirty in the log at the start, of {REGIONS}: what is resynced");
    line(&what, &|rounds| spread(rounds, |round| round.dirty as f64).to_string());
    line("of those still out of sync when a host has read", &|rounds| {
        spread(rounds, |round| round.out_of_sync as f64).to_string()
    });
    line("read of a member until the array is in sync, KiB", &|rounds| {
        spread(rounds, |round| round.read_kib).to_string()
    });
    line("from the host's read until then, ms", &|rounds| {
        format!("{:.0}", spread(rounds, |round| round.resync_ms))
    });
    let ratio = kills.iter().zip(stops).map(|(kill, stop)| kill.serving_ms / stop.serving_ms);
    let dirty = |rounds: &[Round]| rounds.iter().map(|round| round.dirty).sum::<u64>();
    let read_kib = |rounds: &[Round]| rounds.iter().map(|round| round.read_kib).sum::<f64>();
    let _ = writeln!(
        text,
        "\nA start after a kill takes {:.2} times as long as the one after a stop in order of the same \
         round. Resynced after all {} kills together, by the bits of the log: {} of {} regions; by what is \
         read of a member beyond what a start after a stop in order reads: {:.0}. After all stops in order: \
         {}. What became of acknowledged writes after hundreds of kills is in kills.md.",
        Spread::of(ratio),
        kills.len(),
        dirty(kills),
        kills.len() as u64 * REGIONS,
        (read_kib(kills) - read_kib(stops)) / REGION_KIB as f64,
        dirty(stops),
    );
    text
}
