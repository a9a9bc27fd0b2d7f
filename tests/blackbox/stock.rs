//! SPDK's own client from PyPI, unmodified: `spdk-rpc` for every method that it has a command for and we
//! serve, `save_config` and `load_config`, and `spdk-cli` with its tree.
//!
//! The client is installed into a throw-away environment. Where that cannot be, these tests say so and
//! pass, unless `RAID456_REQUIRE_E2E` is 1.
//!
//! Not here: what the answers mean (`spdk`).

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rpc::params::{METHODS, find};
use serde_json::{Value, json};

use crate::daemon::{Daemon, PATIENCE, Place, entry, malloc, raid5};
use crate::spdk::{bdevs, populate};

/// Between two looks at something that takes a while.
const STEP: Duration = Duration::from_millis(50);

/// The directory with SPDK's programs: from `RAID456_SPDK_CLIENT`, or installed from PyPI; none where
/// neither works, which is a failure when `RAID456_REQUIRE_E2E` is 1.
fn stock_client() -> Option<&'static Path> {
    static INSTALLED: OnceLock<Option<PathBuf>> = OnceLock::new();
    INSTALLED.get_or_init(install).as_deref()
}

fn install() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("RAID456_SPDK_CLIENT") {
        return Some(given.into());
    }
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("spdk-client-cli");
    let bin = place.join("bin");
    let run = |program: &Path, args: &[&str]| {
        let mut quiet = Command::new(program);
        quiet.args(args).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    };
    let made = run(&bin.join("python"), &["-c", "import spdk.spdk_cli"])
        || (run(Path::new("python3"), &["-m", "venv", place.to_str().unwrap()])
            && run(&bin.join("pip"), &["install", "-q", "spdk[cli]==26.9"]));
    let required = std::env::var("RAID456_REQUIRE_E2E").is_ok_and(|value| value == "1");
    assert!(made || !required, "the stock client cannot be installed");
    if !made {
        println!("skipped: the stock client cannot be installed");
    }
    made.then_some(bin)
}

/// Runs one of SPDK's programs on the daemon's socket; it has to succeed.
fn run(program: &str, place: &Place, args: &[&str], input: Stdio) -> String {
    let mut command = Command::new(stock_client().unwrap().join(program));
    // spdk-cli keeps a history and settings below the home directory.
    command.arg("-s").arg(place.socket()).args(args).stdin(input).env("HOME", place.data());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {out}\n{err}");
    out
}

/// `spdk-rpc --server`: one process for many calls, a connection for each.
struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    socket: PathBuf,
}

impl Session {
    fn new(place: &Place) -> Self {
        let mut command = Command::new(stock_client().unwrap().join("spdk-rpc"));
        command.arg("--server").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output, socket: place.socket() }
    }

    /// What it prints, and whether it is content.
    fn call(&mut self, command: &str) -> (String, bool) {
        writeln!(self.input, "-s {} {command}", self.socket.display()).unwrap();
        let mut printed = String::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "{command}: it has ended");
            match line.trim() {
                "**STATUS=0" => return (printed, true),
                "**STATUS=1" => return (printed, false),
                _ => printed.push_str(&line),
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a command has to come to.
enum Expect {
    /// It succeeds.
    Done,
    /// It succeeds and prints just this.
    Prints(&'static str),
    /// It succeeds, and what it prints is JSON with this value (as JSON) at this place.
    Has(&'static str, &'static str),
    /// The same, after a while: it is asked again.
    Becomes(&'static str, &'static str),
    /// It fails and prints these words.
    Refused(&'static str),
}
use Expect::{Becomes, Done, Has, Prints, Refused};

/// Commands of a service that waits for `framework_start_init`.
const AT_START: &[(&str, Expect)] = &[
    ("rpc_get_methods --current", Done),
    ("iobuf_set_options --small-pool-count 8192 --large-pool-count 1024", Done),
    ("bdev_set_options -p 65535 -c 256 --auto-examine", Done),
    ("framework_set_scheduler static -p 1000000", Done),
    ("nvmf_set_max_subsystems -x 64", Done),
    ("nvmf_set_config --dhchap-digests sha256,sha512", Done),
    ("framework_start_init", Done),
    ("framework_wait_init", Done),
    ("framework_start_init", Refused("Method may only be called before framework is initialized")),
];

/// Commands about the service itself.
const FRAMEWORK: &[(&str, Expect)] = &[
    ("rpc_get_methods -c -i", Has("/0", "\"rpc_get_methods\"")),
    ("spdk_get_version", Has("/fields/suffix", "\"\"")),
    ("framework_get_subsystems", Has("/2/subsystem", "\"bdev\"")),
    ("framework_get_config bdev", Has("/0/method", "\"bdev_malloc_create\"")),
    ("framework_get_reactors", Has("/reactors/0/lcore", "0")),
    ("framework_get_scheduler", Has("/scheduler_name", "\"static\"")),
    ("framework_set_scheduler static --mappings 1:0", Done),
    ("framework_set_scheduler dynamic --load-limit 20", Refused("reactors are pinned")),
    ("framework_monitor_context_switch --monitor", Has("/enabled", "true")),
    ("framework_monitor_context_switch --no-monitor", Has("/enabled", "false")),
    ("framework_monitor_context_switch", Has("/enabled", "false")),
    ("thread_get_stats", Has("/threads/0/cpumask", "\"1\"")),
    ("thread_get_pollers", Has("/threads/0/timed_pollers", "[]")),
    ("thread_get_io_channels", Has("/threads/0/name", "\"poll_group_000\"")),
    ("thread_set_cpumask -i 1 -m 0x1", Done),
    ("thread_set_cpumask -i 9 -m 0x1", Refused("Thread 9 does not exist")),
    ("iobuf_get_stats", Has("/0/module", "\"bdev\"")),
    ("log_set_level INFO", Done),
    ("log_get_level", Prints("\"INFO\"")),
    ("log_set_print_level DEBUG", Done),
    ("log_get_print_level", Prints("\"DEBUG\"")),
    ("log_set_flag rpc", Done),
    ("log_get_flags", Has("/rpc", "true")),
    ("log_clear_flag rpc", Done),
    ("log_enable_timestamps --timestamps", Done),
    ("notify_get_types", Has("/0", "\"bdev_register\"")),
    ("notify_get_notifications -i 0 -n 1", Has("/0/ctx", "\"m0\"")),
];

/// Commands about bdevs; m0 is there, and files disk0 and disk1.
const BDEVS: &[(&str, Expect)] = &[
    ("bdev_malloc_create -b m1 4 4096", Prints("m1")),
    ("bdev_malloc_create -b m1 4 4096", Refused("File exists")),
    ("bdev_malloc_create 1 512", Prints("Malloc0")),
    ("bdev_malloc_delete Malloc0", Done),
    ("bdev_malloc_delete Malloc0", Refused("No such device")),
    ("bdev_null_create n0 4 4096", Prints("n0")),
    ("bdev_null_resize n0 8", Done),
    ("bdev_set_qd_sampling_period n0 0", Done),
    ("bdev_aio_create disk0 a0 4096", Prints("a0")),
    ("bdev_aio_rescan a0", Done),
    ("bdev_uring_create disk1 u0 4096", Prints("u0")),
    ("bdev_uring_rescan u0", Done),
    ("bdev_split_create u0 2", Done),
    ("bdev_split_delete u0", Done),
    ("bdev_get_bdevs -b a0 -t 100", Has("/0/product_name", "\"AIO disk\"")),
    ("bdev_get_bdevs -b nobody", Refused("No such device")),
    ("bdev_examine -b m1", Done),
    ("bdev_wait_for_examine", Done),
    ("bdev_get_iostat", Has("/tick_rate", "1000000000")),
    ("bdev_get_iostat --names m1,m0 --reset-mode none", Has("/bdevs/1/name", "\"m0\"")),
    ("bdev_get_iostat --names m1 -c", Has("/name", "\"m1\"")),
    ("bdev_reset_iostat -b m1 -m maxmin", Done),
    ("bdev_enable_histogram m1 --histogram -o read", Done),
    ("bdev_get_histogram m1", Has("/tsc_rate", "1000000000")),
    ("bdev_get_histogram_borders m1 --borders 1,1000", Has("/borders_count/1", "0")),
    ("bdev_enable_histogram m1 --no-histogram", Done),
    ("bdev_get_histogram m1", Refused("Bad address")),
    ("bdev_set_qos_limit m1 --rw-ios-per-sec 2000 --w-mbytes-per-sec 9", Done),
    ("bdev_get_bdevs -b m1", Has("/0/assigned_rate_limits/w_mbytes_per_sec", "9")),
    ("bdev_error_create m1", Has("", "true")),
    ("bdev_error_inject_error EE_m1 read failure -n 3", Done),
    ("bdev_error_resume_pending EE_m1", Done),
    ("bdev_delay_create -b EE_m1 -d slow -r 1 -t 2 -w 3 -n 4", Prints("slow")),
    ("bdev_delay_update_latency slow p99_read 9", Has("", "true")),
    ("bdev_error_delete EE_m1", Refused("Device or resource busy")),
    ("bdev_delay_delete slow", Done),
    ("bdev_error_delete EE_m1", Done),
    ("bdev_nvme_get_controllers", Refused("Method not found")),
    ("bdev_nvme_attach_controller -b x -t pcie -a 0:0.0", Refused("Method not found")),
];

/// Commands about the NVMe/TCP target.
const TARGET: &[(&str, Expect)] = &[
    ("framework_get_config nvmf", Has("/0/params/dhchap_digests/1", "\"sha512\"")),
    ("nvmf_create_transport -t TCP -c 8192 -q 128 -m 64", Done),
    ("nvmf_create_transport -t tcp", Refused("Transport type 'TCP' already exists")),
    ("nvmf_get_transports --trtype TCP", Has("/0/max_io_qpairs_per_ctrlr", "64")),
    ("nvmf_create_subsystem nqn.2016-06.io.spdk:c1 -s SPDK1 -d model -m 4 -r", Done),
    ("nvmf_create_subsystem nqn.2016-06.io.spdk:c1", Refused("Unable to create subsystem")),
    ("bdev_malloc_create -b ns0 4 4096", Prints("ns0")),
    ("nvmf_subsystem_add_ns nqn.2016-06.io.spdk:c1 ns0 -n 2 -a 3", Done),
    ("nvmf_subsystem_add_ns nqn.2016-06.io.spdk:c1 none", Refused("Invalid parameters")),
    ("bdev_malloc_delete ns0", Refused("claimed by subsystem")),
    ("nvmf_subsystem_add_host nqn.2016-06.io.spdk:c1 nqn.2016-06.io.spdk:h1", Done),
    ("nvmf_subsystem_set_keys nqn.2016-06.io.spdk:c1 nqn.2016-06.io.spdk:h1", Done),
    (
        "nvmf_subsystem_set_keys nqn.2016-06.io.spdk:c1 nqn.2016-06.io.spdk:h1 --dhchap-key k",
        Refused("keyring_get_keys"),
    ),
    ("nvmf_subsystem_allow_any_host nqn.2016-06.io.spdk:c1 --allow-any-host", Done),
    (
        "nvmf_subsystem_add_listener nqn.2016-06.io.spdk:c1 -t tcp -a 127.45.6.7 -s 4420 -f ipv4",
        Done,
    ),
    (
        "nvmf_subsystem_listener_set_ana_state nqn.2016-06.io.spdk:c1 -n inaccessible -t tcp \
         -a 127.45.6.7 -s 4420 -f ipv4 -g 3",
        Done,
    ),
    (
        "nvmf_subsystem_get_listeners nqn.2016-06.io.spdk:c1",
        Has("/0/ana_states/2/ana_state", "\"inaccessible\""),
    ),
    ("nvmf_subsystem_get_listeners nqn.2016-06.io.spdk:c9", Refused("' not found")),
    ("nvmf_get_subsystems", Has("/1/listen_addresses/0/trtype", "\"TCP\"")),
    ("nvmf_get_subsystems nqn.2016-06.io.spdk:c1", Has("/0/namespaces/0/nsid", "2")),
    ("nvmf_subsystem_get_controllers nqn.2016-06.io.spdk:c1", Has("", "[]")),
    ("nvmf_subsystem_get_qpairs nqn.2016-06.io.spdk:c1", Has("", "[]")),
    ("nvmf_get_stats", Has("/poll_groups/0/pending_bdev_io", "0")),
    ("keyring_file_add_key k /no/such/file", Refused("Invalid argument")),
    ("keyring_get_keys", Has("", "[]")),
    ("keyring_file_remove_key k", Refused("No such file or directory")),
    ("nvmf_subsystem_remove_listener nqn.2016-06.io.spdk:c1 -t tcp -a 127.45.6.7 -s 4420", Done),
    ("nvmf_subsystem_remove_host nqn.2016-06.io.spdk:c1 nqn.2016-06.io.spdk:h1", Done),
    ("nvmf_subsystem_remove_ns nqn.2016-06.io.spdk:c1 2", Done),
    ("bdev_malloc_delete ns0", Done),
    ("nvmf_delete_subsystem nqn.2016-06.io.spdk:c1", Done),
];

/// Commands about arrays, and those that take away what is there.
const ARRAYS: &[(&str, Expect)] = &[
    ("bdev_raid_set_options -w 1024 -b 100", Done),
    ("bdev_malloc_create -b m2 4 4096", Prints("m2")),
    ("bdev_raid_create -n r0 -r 5f -z 64 -b \"m0 m1 m2\" -s", Done),
    ("bdev_raid_create -n r1 -r 5f -z 64 -b \"m0 m1 m2\"", Refused("claimed by array")),
    ("bdev_raid_get_bdevs all", Has("/0/num_base_bdevs_discovered", "3")),
    ("bdev_raid_get_bdevs all", Becomes("/0/in_sync", "true")),
    ("bdev_raid_get_bdevs offline", Has("", "[]")),
    ("bdev_raid_remove_base_bdev m1", Done),
    ("bdev_raid_get_bdevs online", Has("/0/num_base_bdevs_discovered", "2")),
    ("bdev_raid_add_base_bdev r0 m1", Done),
    ("bdev_raid_delete r0 -c", Done),
    ("bdev_raid_delete r0", Refused("No such device")),
    ("bdev_aio_delete a0", Done),
    ("bdev_uring_delete u0", Done),
    ("bdev_null_delete n0", Done),
    ("spdk_kill_instance SIGTERM", Done),
];

/// Calls one command of a table and compares.
fn check(session: &mut Session, command: &str, expect: &Expect) {
    let (mut printed, mut done) = session.call(command);
    let method = command.split(' ').next().unwrap();
    if find(method).is_none() {
        assert!(!done && printed.contains("Method not found"), "{command}: {printed}");
        return;
    }
    let has = |printed: &str, place: &str, value: &str| {
        let json = serde_json::from_str::<Value>(printed).unwrap_or(Value::Null);
        json.pointer(place) == Some(&value.parse().unwrap())
    };
    let right = match expect {
        Done => done,
        Prints(text) => done && printed.trim() == *text,
        Has(place, value) => done && has(&printed, place, value),
        Becomes(place, value) => {
            for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
                if has(&printed, place, value) {
                    break;
                }
                std::thread::park_timeout(STEP);
                (printed, done) = session.call(command);
            }
            done && has(&printed, place, value)
        }
        Refused(words) => !done && printed.contains(words),
    };
    assert!(right, "{command}: {}\n{printed}", if done { "done" } else { "refused" });
}

/// The commands that `spdk-rpc` has.
fn commands() -> Vec<String> {
    let program = stock_client().unwrap().join("spdk-rpc");
    let help = Command::new(program).arg("-h").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let lines = help.lines().filter_map(|line| line.strip_prefix("    "));
    let words =
        lines.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split(' ').next());
    words.map(str::to_owned).collect()
}

/// Goal: `spdk-rpc`, unmodified, has its way with every method that it has a command for and we serve,
/// and what we do not serve is "Method not found". Method: tables of commands, which have to be complete.
#[test]
fn every_command_of_the_stock_client_works() {
    if stock_client().is_none() {
        return;
    }
    let tables = [AT_START, FRAMEWORK, BDEVS, TARGET, ARRAYS];
    let tried = |name: &str| {
        let mut tried = tables.iter().flat_map(|table| table.iter());
        tried.any(|(command, _)| command.split(' ').next() == Some(name))
    };
    let known = commands();
    assert!(known.len() > 200, "the help is not understood: {known:?}");
    for method in METHODS {
        let missing = known.iter().any(|name| name == method.name) && !tried(method.name);
        assert!(!missing, "{}: put it into a table", method.name);
    }

    let place = Place::new();
    for name in ["disk0", "disk1"] {
        place.file(name, 8 << 20);
    }
    let config = place.config(&[entry("bdev_malloc_create", malloc("m0", 4))]);
    let args = ["--wait-for-rpc".as_ref(), "--config".as_ref(), config.as_os_str()];
    let daemon = place.start_with(&args);
    let mut session = Session::new(&place);
    for (command, expect) in tables.iter().flat_map(|table| table.iter()) {
        check(&mut session, command, expect);
    }
    assert_eq!(daemon.ended().code(), Some(0));
}

/// The arrays as `bdev_raid_get_bdevs` shows them, without what a run changes.
fn arrays(daemon: &Daemon) -> Value {
    let mut arrays = daemon.ask("bdev_raid_get_bdevs", json!({ "category": "all" }));
    for array in arrays.as_array_mut().unwrap() {
        for changing in ["process", "in_sync", "sync_action", "log", "mismatch_sectors"] {
            array.as_object_mut().unwrap().remove(changing);
        }
    }
    arrays
}

/// Goal: what the stock client saves brings back the same bdevs and arrays when it loads it, limits,
/// rates and spares with them; and one subsystem alone is saved and loaded as well.
#[test]
fn the_stock_client_saves_and_loads() {
    if stock_client().is_none() {
        return;
    }
    let place = Place::new();
    let daemon = place.start();
    populate(&place, &daemon);
    let before = (bdevs(&daemon), arrays(&daemon));
    assert_eq!(before.1[0]["name"], "r0");
    let saved = run("spdk-rpc", &place, &["save_config"], Stdio::null());
    for kept in ["bdev_set_qos_limit", "bdev_raid_set_rates", "bdev_raid_add_spare"] {
        assert!(saved.contains(kept), "{saved}");
    }
    let part = ["save_subsystem_config", "-n", "bdev"];
    let subsystem = run("spdk-rpc", &place, &part, Stdio::null());
    daemon.stop();

    for (command, text) in [("load_config", &saved), ("load_subsystem_config", &subsystem)] {
        let daemon = place.start();
        let file = File::open(place.config_text(text)).unwrap();
        run("spdk-rpc", &place, &[command], file.into());
        assert_eq!((bdevs(&daemon), arrays(&daemon)), before, "{command}");
        let again = run("spdk-rpc", &place, &["save_config"], Stdio::null());
        assert_eq!(again, saved, "{command}");
        daemon.stop();
    }
}

/// Goal: `spdk-cli`, unmodified, shows the tree of what is there, makes and deletes in it, and says so
/// while the service waits to be started.
#[test]
fn spdkcli_shows_the_tree() {
    if stock_client().is_none() {
        return;
    }
    let place = Place::new();
    let cli = |args: &[&str]| run("spdk-cli", &place, args, Stdio::null());
    let daemon = place.start_with(&["--wait-for-rpc".as_ref()]);
    let early = cli(&["ls"]);
    assert!(early.contains("o- bdevs"), "{early}");
    cli(&["framework_start_init"]);
    for name in ["m0", "m1", "m2"] {
        cli(&["/bdevs/malloc", "create", "4", "4096", name]);
    }
    // Its own way of making an array trips over the answer "true", with SPDK as well.
    daemon.ask("bdev_raid_create", raid5("r0", &["m0", "m1", "m2"]));
    cli(&["/bdevs/null", "create", "n0", "1", "512"]);
    cli(&["/bdevs/error", "create", "n0"]);
    place.file("disk", 8 << 20);
    cli(&["/bdevs/aio", "create", "a0", "disk", "512"]);

    let tree = cli(&["ls"]);
    let line = |name: &str| {
        let found = tree.lines().find(|line| line.contains(&format!("o- {name} ")));
        found.unwrap_or_else(|| panic!("no {name}:\n{tree}"))
    };
    for (name, says) in [
        ("aio", "[Bdevs: 1]"),
        ("malloc", "[Bdevs: 3]"),
        ("raid_volume", "[Bdevs: 1]"),
        ("error", "[Bdevs: 1]"),
        ("nvme", "[Bdevs: 0]"),
        ("lvol_stores", "[Lvol stores: 0]"),
        ("m1", "Size=4.0M, Claimed]"),
        ("n0", "Size=1.0M, Claimed]"),
        ("a0", "Size=8.0M, Not claimed]"),
        ("r0", "Size=8.0M, Not claimed]"),
    ] {
        assert!(line(name).ends_with(says), "{says}:\n{tree}");
    }
    assert_eq!(tree.matches("Not claimed").count(), 3, "{tree}");

    let details = cli(&["/bdevs/raid_volume/r0", "show_details"]);
    assert!(details.contains("\"raid_level\": \"raid5\""), "{details}");
    let iostat = cli(&["/bdevs/malloc", "get_bdev_iostat", "m0"]);
    assert!(iostat.contains("\"num_read_ops\""), "{iostat}");
    cli(&["/bdevs/raid_volume", "delete", "r0"]);
    cli(&["/bdevs/malloc", "delete_all"]);
    assert_eq!(daemon.bdevs(), ["n0", "EE_n0", "a0"]);
    daemon.stop();
}
