//! Starting, asking and ending a real `raid456 serve`.
//!
//! Every wait is bounded, and a daemon that is dropped is killed, so a test that fails ends.
//!
//! Not here: what is tested.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rpc::{Client, RpcError};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest that anything here may take; far more than it does, because machines may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_raid456");

/// A place of its own for one test.
pub(crate) struct Place {
    /// On a real file system, where `O_DIRECT` works.
    data: TempDir,
    /// With a short path, because a socket's path has at most 107 bytes.
    run: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self { data, run: tempfile::tempdir().unwrap() }
    }

    /// The directory that the daemon runs in.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// A path in that directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.data().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.run.path().join("rpc.sock")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.run.path().join("rpc.sock.lock")
    }

    /// Makes a file of `len_bytes` zeroes and returns its path.
    pub(crate) fn file(&self, name: &str, len_bytes: u64) -> String {
        File::create(self.data().join(name)).unwrap().set_len(len_bytes).unwrap();
        self.path(name)
    }

    /// Everything in the directory, by path.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                }
                found.push(path);
            }
        }
        let mut found = Vec::new();
        walk(self.data(), &mut found);
        found.sort();
        found
    }

    /// Writes a configuration with these entries for the bdev subsystem, and returns its path.
    pub(crate) fn config(&self, entries: &[Value]) -> PathBuf {
        let config = json!({ "subsystems": [{ "subsystem": "bdev", "config": entries }] });
        self.config_text(&config.to_string())
    }

    pub(crate) fn config_text(&self, text: &str) -> PathBuf {
        let path = self.run.path().join("config.json");
        fs::write(&path, text).unwrap();
        path
    }

    /// `raid456 serve`, on this place's socket and one core unless the arguments say otherwise.
    fn serve(&self, args: &[&OsStr]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.data()).arg("serve").args(args);
        if !args.contains(&"--cores".as_ref()) {
            command.args(["--cores", "0"]);
        }
        if !args.contains(&"--rpc-socket".as_ref()) {
            command.arg("--rpc-socket").arg(self.socket());
        }
        command.stdin(Stdio::null()).env_remove("RUST_LOG");
        command
    }

    /// Starts a daemon that has to become ready.
    pub(crate) fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    pub(crate) fn start_with_config(&self, config: &Path) -> Daemon {
        self.start_with(&["--config".as_ref(), config.as_os_str()])
    }

    pub(crate) fn start_with(&self, args: &[&OsStr]) -> Daemon {
        self.launch(self.serve(args))
    }

    /// The same with these variables in its environment.
    pub(crate) fn start_in(&self, variables: &[(&str, &str)], args: &[&OsStr]) -> Daemon {
        let mut command = self.serve(args);
        command.envs(variables.iter().copied());
        self.launch(command)
    }

    /// Starts a daemon whose memory, as far as the allocator has it, is in one piece: what it still holds
    /// is what is in use, and not what one arena for each of many threads has left over.
    pub(crate) fn start_in_one_arena(&self) -> Daemon {
        let mut command = self.serve(&[]);
        command.env("MALLOC_ARENA_MAX", "1");
        self.launch(command)
    }

    /// Starts a daemon, and kills it before it may be ready.
    pub(crate) fn kill_at_start(&self, args: &[&OsStr], after: Duration) {
        let mut child =
            self.serve(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::park_timeout(after);
        assert_eq!(child.try_wait().unwrap(), None, "it has ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn launch(&self, mut command: Command) -> Daemon {
        let log = self.run.path().join("log");
        command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let mut daemon = Daemon { child, socket: self.socket(), log, ready: String::new() };
        daemon.ready = match lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                panic!("the daemon did not become ready:\n{}", daemon.log())
            }
        };
        daemon
    }

    /// Starts a daemon that has to refuse to start, and returns what it said.
    pub(crate) fn fail_to_start(&self, args: &[&OsStr]) -> String {
        let output = output_of(self.serve(args));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Runs `raid456` in this place's directory.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.data()).args(args);
        output_of(command)
    }

    /// Runs `raid456 rpc` with this place's socket.
    pub(crate) fn rpc(&self, args: &[&str]) -> Output {
        let mut command = Command::new(PROGRAM);
        command.arg("rpc").arg("--socket").arg(self.socket()).args(args);
        output_of(command)
    }
}

/// Runs a command that ends by itself.
pub(crate) fn output_of(mut command: Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = Pid::from_child(&child);
    let (done, finished) = mpsc::channel();
    thread::spawn(move || done.send(child.wait_with_output()));
    finished
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|error| {
            let _ = kill_process(pid, Signal::KILL);
            panic!("{command:?}: {error}")
        })
        .unwrap()
}

/// The lines of a pipe, which is read to its end whether anybody listens or not.
fn lines_of(pipe: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (line, lines) = mpsc::channel();
    thread::spawn(move || {
        for read in BufReader::new(pipe).lines().map_while(Result::ok) {
            drop(line.send(read));
        }
    });
    lines
}

/// A running daemon.
pub(crate) struct Daemon {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
    ready: String,
}

impl Daemon {
    /// The line that says that it is ready.
    pub(crate) fn ready_line(&self) -> &str {
        &self.ready
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.socket).unwrap().with_time_limit(PATIENCE)
    }

    /// A bare connection.
    pub(crate) fn stream(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Calls a method; the outer error, that there is no answer, fails the test.
    pub(crate) fn call(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        let params = (!params.is_null()).then_some(params);
        self.client().call(method, params).map_err(|error| match error.rpc() {
            Some(refusal) => refusal.clone(),
            None => panic!("{error}\n{}", self.log()),
        })
    }

    /// Calls a method that has to succeed.
    pub(crate) fn ask(&self, method: &str, params: Value) -> Value {
        let shown = params.to_string();
        self.call(method, params).unwrap_or_else(|error| panic!("{method} {shown}: {error}"))
    }

    /// Calls a method that has to be refused.
    pub(crate) fn refused(&self, method: &str, params: Value) -> RpcError {
        let shown = params.to_string();
        match self.call(method, params) {
            Err(error) => error,
            Ok(result) => panic!("{method} {shown}: not refused but {result}"),
        }
    }

    /// The one bdev of that name.
    pub(crate) fn bdev(&self, name: &str) -> Value {
        self.ask("bdev_get_bdevs", json!({ "name": name }))[0].take()
    }

    /// The names of all bdevs.
    pub(crate) fn bdevs(&self) -> Vec<String> {
        let bdevs = self.ask("bdev_get_bdevs", Value::Null);
        let names = bdevs.as_array().unwrap().iter().map(|bdev| bdev["name"].as_str().unwrap());
        names.map(str::to_owned).collect()
    }

    /// The files below `directory` that it has open, however often.
    pub(crate) fn open_files(&self, directory: &Path) -> BTreeSet<PathBuf> {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        // One that is closed meanwhile has no link any more.
        let links = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        links.filter(|path| path.starts_with(directory)).collect()
    }

    /// The time that it has had on a core so far, in clock ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The second field, the name, may hold anything but ends with the last bracket.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// How many entries one of its directories in /proc has: `fd`, `task`.
    pub(crate) fn entries_of_proc(&self, directory: &str) -> usize {
        fs::read_dir(format!("/proc/{}/{directory}", self.child.id())).unwrap().count()
    }

    /// Its memory that is resident, in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Waits until `true` comes out.
    pub(crate) fn wait_until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let step = Duration::from_millis(20);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            if is_so(self) {
                return;
            }
            thread::park_timeout(step);
        }
        panic!("not within {PATIENCE:?}: {what}\n{}", self.log());
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.ended()
    }

    /// Waits for the end that something else has asked for.
    pub(crate) fn ended(mut self) -> ExitStatus {
        let step = Duration::from_millis(20);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            thread::park_timeout(step);
        }
        panic!("did not end within {PATIENCE:?}:\n{}", self.log());
    }

    /// Ends it in order, which has to succeed.
    pub(crate) fn stop(self) {
        let log = self.log.clone();
        let status = self.end(Signal::TERM);
        assert_eq!(status.code(), Some(0), "{status}:\n{}", fs::read_to_string(log).unwrap());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Fails when it has ended already, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Parameters of a RAM disk of `mib` MiB.
pub(crate) fn malloc(name: &str, mib: u64) -> Value {
    json!({ "name": name, "block_size": 4096, "num_blocks": mib * 256 })
}

/// An entry of a configuration.
pub(crate) fn entry(method: &str, params: Value) -> Value {
    json!({ "method": method, "params": params })
}

/// Parameters of a RAID 5 with strips of 64 KiB.
pub(crate) fn raid5(name: &str, members: &[&str]) -> Value {
    json!({ "name": name, "raid_level": "raid5", "strip_size_kb": 64, "base_bdevs": members })
}
